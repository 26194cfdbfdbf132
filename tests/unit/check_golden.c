#include "config.h"

#include "sim/check.h"
#include "sim/golden.h"
#include "tests/unit/harness.h"

/* Every folder of tests/golden: see the README there. */
static const char *const folders[] = {
    "deepseek_v2",      "deepseek_v2_lite",
    "deepseek_v3",      "dots1",
    "ernie4_5_moe",     "flex_olmo",
    "glm4_moe",         "glm4_moe_lite",
    "hunyuan_v1_moe",   "longcat_flash",
    "mimo_v2_flash",    "minimax_m2",
    "mixtral",          "olmoe",
    "olmoe-tiny",       "olmoe_renorm",
    "phimoe",           "qwen2_moe",
    "qwen3_moe",        "tokenizers/deepseek3",
    "tokenizers/gpt2",  "tokenizers/llama3",
    "tokenizers/o200k", "tokenizers/qwen",
};

START_TEST(agrees_with_the_reference)
{
    g_autofree char *relative = g_build_filename("tests/golden", folders[_i], NULL);
    g_autofree char *path = source_file(relative);
    g_autoptr(GPtrArray) checks = moe_checks_new();
    g_autoptr(GError) error = NULL;
    ck_assert(moe_golden_check(path, NULL, checks, NULL, &error));
    assert_no_error(error);
    ck_assert_uint_ge(checks->len, 3);
    for (guint i = 0; i < checks->len; i++) {
        const MoeCheck *check = g_ptr_array_index(checks, i);
        ck_assert_msg(moe_check_passed(check), "%s: %g, bound %g (%s)", check->what, check->worst,
                      check->bound, check->note);
    }
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("golden");
    TCase *tests = tcase_create("golden");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, agrees_with_the_reference, 0, (int)G_N_ELEMENTS(folders));
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "sim/check.h"
#include "sim/golden.h"
#include "tests/unit/harness.h"

/* Every folder of tests/golden, of its tokenizers and of its GGUF files: see the README there. */
static GPtrArray *folders;

static int by_name(gconstpointer a, gconstpointer b)
{
    return g_strcmp0(*(char *const *)a, *(char *const *)b);
}

static void find_folders(const char *relative)
{
    g_autofree char *path = source_file(relative);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    if (dir == NULL)
        return; /* finds_the_folders() tells; asserts need a running test */
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        if (g_file_test(inner, G_FILE_TEST_IS_DIR) && g_strcmp0(name, "tokenizers") != 0 &&
            g_strcmp0(name, "gguf") != 0)
            g_ptr_array_add(folders, g_build_filename(relative, name, NULL));
    }
}

START_TEST(agrees_with_the_reference)
{
    g_autofree char *path = source_file(folders->pdata[_i]);
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

START_TEST(finds_the_folders)
{
    ck_assert_uint_ge(folders->len, 50);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("golden");
    TCase *tests = tcase_create("golden");
    folders = g_ptr_array_new_with_free_func(g_free);
    find_folders("tests/golden");
    find_folders("tests/golden/tokenizers");
    find_folders("tests/golden/gguf");
    g_ptr_array_sort(folders, by_name);
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, finds_the_folders);
    tcase_add_loop_test(tests, agrees_with_the_reference, 0, (int)folders->len);
    suite_add_tcase(suite, tests);
    return suite;
}

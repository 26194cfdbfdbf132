#include "config.h"

#include "sim/base/file.h"
#include "sim/base/preset.h"
#include "tests/unit/harness.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static char *find(const char *name, const char *base_dir, GError **error)
{
    return moe_preset_find(name, "topologies/presets", ".yaml", "topology", base_dir, error);
}

static void assert_found(const char *name, const char *base_dir, const char *wanted)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = find(name, base_dir, &error);
    assert_no_error(error);
    ck_assert_str_eq(path, wanted);
}

/* The folder of presets is data: look at it with other means and compare. */
START_TEST(lists_what_is_there)
{
    static const struct {
        const char *kind, *suffix, *member;
    } kinds[] = {
        {"topologies/presets", ".yaml", "h800"},
        {"topologies/presets/gpus", ".yaml", "h800-sxm"},
        {"models/presets", "", "olmoe-tiny"},
    };
    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
        g_auto(GStrv) names = moe_preset_list(kinds[k].kind, kinds[k].suffix);
        ck_assert(g_strv_contains((const char *const *)names, kinds[k].member));
        for (guint i = 0; names[i] != NULL; i++) {
            g_autofree char *file = g_strconcat(names[i], kinds[k].suffix, NULL);
            g_autofree char *path = g_build_filename(moe_data_dir(), kinds[k].kind, file, NULL);
            ck_assert_msg(g_file_test(path, G_FILE_TEST_EXISTS), "%s", path);
            if (i > 0)
                ck_assert_msg(strcmp(names[i - 1], names[i]) < 0, "%s after %s", names[i],
                              names[i - 1]);
        }
    }
    g_auto(GStrv) none = moe_preset_list("no/such/kind", ".yaml");
    ck_assert_ptr_nonnull(none);
    ck_assert_ptr_null(none[0]);
}
END_TEST

START_TEST(finds_presets)
{
    g_autofree char *wanted =
        g_build_filename(moe_data_dir(), "topologies/presets/h800.yaml", NULL);
    assert_found("h800", NULL, wanted);
    assert_found("h800", test_folder(), wanted);
    g_autoptr(GError) error = NULL;
    g_autofree char *model =
        moe_preset_find("olmoe-tiny", "models/presets", "", "model", NULL, &error);
    assert_no_error(error);
    ck_assert(g_file_test(model, G_FILE_TEST_IS_DIR));
}
END_TEST

START_TEST(finds_paths)
{
    g_autofree char *file = test_file("cluster.yaml", "", -1);
    g_autofree char *plain = test_file("cluster", "", -1);
    /* Absolute, relative to the base, relative to the working folder. */
    assert_found(file, NULL, file);
    assert_found(file, "/", file);
    assert_found("cluster.yaml", test_folder(), file);
    assert_found("cluster", test_folder(), plain);
    g_autofree char *dotted = g_build_filename(test_folder(), "./cluster.yaml", NULL);
    assert_found("./cluster.yaml", test_folder(), dotted);
    ck_assert_int_eq(g_chdir(test_folder()), 0);
    assert_found("cluster.yaml", NULL, "cluster.yaml");
    assert_found("cluster", NULL, "cluster");
}
END_TEST

/* A file that happens to be called like a preset does not change what a scenario means. */
START_TEST(prefers_presets_to_plain_names)
{
    g_free(test_file("h800", "", -1));
    g_autofree char *preset =
        g_build_filename(moe_data_dir(), "topologies/presets/h800.yaml", NULL);
    assert_found("h800", test_folder(), preset);
    g_autofree char *dotted = g_build_filename(test_folder(), "./h800", NULL);
    assert_found("./h800", test_folder(), dotted);
}
END_TEST

static const struct {
    const char *name, *message;
} bad[] = {
    {"h8000", "'h8000' is neither a file nor a preset topology; did you mean h800? ("},
    {"zzzzzzzz", "'zzzzzzzz' is neither a file nor a preset topology; the presets are: a100, "},
    {"", "'' is neither a file nor a preset topology; the presets are: "},
    {"./h800", "'./h800' is neither a file nor a preset topology; "},
    {"no/such/file.yaml", "'no/such/file.yaml' is neither a file nor a preset topology; "},
    /* A folder beside the presets is none, and no name leads out of their folder. */
    {"gpus", "'gpus' is neither a file nor a preset topology; "},
    {"gpus/h800-sxm", "'gpus/h800-sxm' is neither a file nor a preset topology; "},
};

START_TEST(refuses_what_is_nowhere)
{
    g_autofree char *empty = g_build_filename(test_folder(), "empty", NULL);
    g_mkdir_with_parents(empty, 0777);
    GError *error = NULL;
    ck_assert_ptr_null(find(bad[_i].name, empty, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("preset");
    TCase *tests = tcase_create("preset");
    tcase_add_test(tests, lists_what_is_there);
    tcase_add_test(tests, finds_presets);
    tcase_add_test(tests, finds_paths);
    tcase_add_test(tests, prefers_presets_to_plain_names);
    tcase_add_loop_test(tests, refuses_what_is_nowhere, 0, (int)G_N_ELEMENTS(bad));
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "tests/unit/harness.h"

#include "sim/base/rng.h"

#include <glib/gstdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *folder = NULL;

void assert_error(GError **error, MoeErrorCode code, const char *part)
{
    ck_assert_msg(*error != NULL, "no error where one with '%s' belongs", part);
    ck_assert_msg((*error)->domain == MOE_ERROR && (*error)->code == (int)code,
                  "error code %d instead of %d: %s", (*error)->code, (int)code, (*error)->message);
    ck_assert_msg(strstr((*error)->message, part) != NULL, "'%s' does not contain '%s'",
                  (*error)->message, part);
    g_clear_error(error);
}

void assert_no_error(const GError *error)
{
    ck_assert_msg(error == NULL, "%s", error != NULL ? error->message : "");
}

void assert_close(double a, double b, double relative)
{
    ck_assert_msg(fabs(a - b) <= relative * fabs(b), "%.17g is not within %.3g of %.17g", a,
                  relative, b);
}

float *random_floats(const char *stream, gsize n)
{
    GRand *rng = moe_rng_new(1, stream);
    float *x = g_new(float, n);
    for (gsize i = 0; i < n; i++)
        x[i] = (float)g_rand_double_range(rng, -1, 1);
    g_rand_free(rng);
    return x;
}

double error_of(const float *got, const float *expected, gsize n)
{
    double worst = 0, largest = 0;
    for (gsize i = 0; i < n; i++) {
        ck_assert(isfinite(got[i]));
        worst = fmax(worst, fabs((double)got[i] - expected[i]));
        largest = fmax(largest, fabs((double)expected[i]));
    }
    return worst == 0 ? 0 : worst / largest;
}

const char *test_folder(void)
{
    return folder;
}

char *test_file(const char *name, const void *data, gssize length)
{
    char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GError) error = NULL;
    g_file_set_contents(path, data, length, &error);
    ck_assert_msg(error == NULL, "%s", error != NULL ? error->message : "");
    return path;
}

char *source_file(const char *path)
{
    return g_build_filename(MOESIM_SRCDIR, path, NULL);
}

static void remove_tree(const char *path)
{
    GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        remove_tree(inner);
    }
    if (dir != NULL)
        g_dir_close(dir);
    g_remove(path);
}

int main(void)
{
    folder = g_dir_make_tmp("moesim-test-XXXXXX", NULL);
    if (folder == NULL)
        return EXIT_FAILURE;
    SRunner *runner = srunner_create(moe_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (failed == 0)
        remove_tree(folder);
    g_free(folder);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#include "config.h"

#include "models/weights.h"
#include "tests/unit/harness.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

/* --- folders --------------------------------------------------------------------------------- */

/* A folder with config.json and nothing else; the caller frees its path. */
static char *new_folder(const char *name)
{
    char *folder = g_build_filename(test_folder(), name, NULL);
    ck_assert_int_eq(g_mkdir_with_parents(folder, 0777), 0);
    g_autofree char *config = g_build_filename(name, "config.json", NULL);
    g_free(test_file(config, "{}", -1));
    return folder;
}

static void add_file(const char *folder, const char *name, const MoeTensor *tensors, guint n)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_safetensors_write(path, TRUE, tensors, n, NULL, &error));
    assert_no_error(error);
}

static void add_text(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    ck_assert(g_file_set_contents(path, text, -1, NULL));
}

static const float values[6] = {1, 2, 3, 4, 5, 6};
static const guint16 halves[4] = {0x3C00, 0x4000, 0x4200, 0xC400}; /* 1, 2, 3, -4 */
static const guint16 brains[4] = {0x3F80, 0x4000, 0x4040, 0xC080}; /* the same as bf16 */
static const double doubles[1] = {1};

static const MoeTensor matrix_a = {"a", MOE_ST_F32, 2, {2, 3}, 6, values};
static const MoeTensor vector_b = {"b", MOE_ST_F16, 1, {4}, 4, halves};
static const MoeTensor vector_c = {"c", MOE_ST_BF16, 1, {4}, 4, brains};
static const MoeTensor double_d = {"d", MOE_ST_F64, 1, {1}, 1, doubles};

static char *single_folder(const char *name)
{
    char *folder = new_folder(name);
    const MoeTensor tensors[] = {matrix_a, vector_b, vector_c, double_d};
    add_file(folder, "model.safetensors", tensors, G_N_ELEMENTS(tensors));
    return folder;
}

/* --- what is there --------------------------------------------------------------------------- */

static void assert_contents(MoeWeights *weights)
{
    g_autoptr(GError) error = NULL;
    MoeMatrix matrix = {0};
    ck_assert(moe_weights_matrix(weights, "a", 2, 3, &matrix, &error));
    assert_no_error(error);
    ck_assert(matrix.dtype == MOE_F32 && matrix.rows == 2 && matrix.cols == 3);
    ck_assert_mem_eq(matrix.data, values, sizeof(values));
    ck_assert(moe_weights_check_finite(weights, &matrix, &error));
    static const float expected[] = {1, 2, 3, -4};
    const float *b = moe_weights_vector(weights, "b", 4, &error),
                *c = moe_weights_vector(weights, "c", 4, &error);
    assert_no_error(error);
    ck_assert_mem_eq(b, expected, sizeof(expected));
    ck_assert_mem_eq(c, expected, sizeof(expected));
    ck_assert(moe_weights_has(weights, "a") && !moe_weights_has(weights, "aa"));
}

START_TEST(reads_one_file)
{
    g_autofree char *folder = single_folder("single");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    assert_contents(weights);
}
END_TEST

START_TEST(reads_shards)
{
    g_autofree char *folder = new_folder("shards");
    const MoeTensor both[] = {matrix_a, vector_c};
    add_file(folder, "model-00001-of-00002.safetensors", both, 2);
    add_file(folder, "model-00002-of-00002.safetensors", &vector_b, 1);
    /* With an index, model.safetensors is not looked at. */
    add_text(folder, "model.safetensors", "rubbish");
    add_text(folder, "model.safetensors.index.json",
             "{\"metadata\": {\"total_size\": 40}, \"weight_map\": {"
             "\"a\": \"model-00001-of-00002.safetensors\","
             "\"c\": \"model-00001-of-00002.safetensors\","
             "\"b\": \"model-00002-of-00002.safetensors\"}}");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    assert_contents(weights);
}
END_TEST

/* Shards "1.safetensors" with a and c, "11.safetensors" with b and d. */
static const struct {
    const char *index, *message;
} bad_index[] = {
    {"[]", "is a list; it must be an object"},
    {"{", "index.json:1:"},
    {"{}", "weight_map is missing"},
    {"{\"weight_map\": {\"a\": 1}}", "a is a number; it must be a string"},
    {"{\"weight_map\": {\"a\": \"1.safetensors\", \"x\": \"2.safetensors\"}}",
     "shard 2 of 2 named by"},
    {"{\"weight_map\": {\"a\": \"../1.safetensors\"}}", "'../1.safetensors' is not a plain file"},
    {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "'/etc/passwd' is not a plain file name"},
    {"{\"weight_map\": {\"a\": \"sub/1.safetensors\"}}", "is not a plain file name"},
    {"{\"weight_map\": {\"a\": \"..\"}}", "'..' is not a plain file name"},
    {"{\"weight_map\": {\"a\": \"\"}}", "'' is not a plain file name"},
    {"{\"weight_map\": {\"a\": \"1.safetensors\", \"x\": \"1.safetensors\"}}",
     "weight_map: tensor 'x' is not in '1.safetensors'"},
    {"{\"weight_map\": {\"a\": \"11.safetensors\", \"b\": \"1.safetensors\"}}", "is not in '1"},
    /* The name of the one shard ends in that of the other. */
    {"{\"weight_map\": {\"a\": \"1.safetensors\", \"b\": \"1.safetensors\", "
     "\"d\": \"11.safetensors\"}}",
     "weight_map: tensor 'b' is not in '1.safetensors'"},
    {"{\"weight_map\": {\"a\": \"1.safetensors\", \"c\": \"again.safetensors\"}}",
     "tensor 'c' is in"},
    {"{\"weight_map\": {\"a\": \"1.safetensors\", \"b\": \"rubbish.safetensors\"}}",
     "rubbish.safetensors"},
};

START_TEST(refuses_what_the_index_gets_wrong)
{
    g_autofree char *folder = new_folder("index");
    const MoeTensor first[] = {matrix_a, vector_c}, second[] = {vector_b, double_d};
    add_file(folder, "1.safetensors", first, 2);
    add_file(folder, "11.safetensors", second, 2);
    add_file(folder, "again.safetensors", &vector_c, 1);
    add_text(folder, "rubbish.safetensors", "rubbish");
    add_text(folder, "model.safetensors.index.json", bad_index[_i].index);
    GError *error = NULL;
    ck_assert_ptr_null(moe_weights_open(folder, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad_index[_i].message);
}
END_TEST

START_TEST(refuses_folders_without_weights)
{
    g_autofree char *folder = new_folder("bare");
    g_autofree char *missing = g_build_filename(folder, "missing", NULL);
    GError *error = NULL;
    add_text(folder, "pytorch_model.bin", "x");
    ck_assert_ptr_null(moe_weights_open(folder, &error));
    assert_error(&error, MOE_ERROR_INPUT, "must be converted to safetensors first");
    ck_assert_ptr_null(moe_weights_open(missing, &error));
    assert_error(&error, MOE_ERROR_INPUT, missing);
}
END_TEST

/* --- one tensor ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    gint64 rows, cols; /* 0 columns: a vector */
    const char *message;
} unfit[] = {
    {"x", 2, 3, "tensor 'x' is missing"},
    {"x", 4, 0, "tensor 'x' is missing"},
    {"a", 3, 2, "tensor 'a' has the shape [2, 3]; it must be [3, 2]"},
    {"a", 6, 0, "tensor 'a' has the shape [2, 3]; it must be [6]"},
    {"b", 1, 4, "tensor 'b' has the shape [4]; it must be [1, 4]"},
    {"b", 5, 0, "tensor 'b' has the shape [4]; it must be [5]"},
    {"d", 1, 0, "tensor 'd' has the type F64; it must be F16, BF16, F32"},
};

START_TEST(refuses_tensors_that_do_not_fit)
{
    g_autofree char *folder = single_folder("unfit");
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    MoeMatrix matrix = {.rows = 77};
    if (unfit[_i].cols > 0)
        ck_assert(!moe_weights_matrix(weights, unfit[_i].name, unfit[_i].rows, unfit[_i].cols,
                                      &matrix, &error));
    else
        ck_assert_ptr_null(moe_weights_vector(weights, unfit[_i].name, unfit[_i].rows, &error));
    ck_assert(matrix.rows == 77 && matrix.data == NULL); /* untouched */
    assert_error(&error, MOE_ERROR_INPUT, unfit[_i].message);
}
END_TEST

/* Patterns that are no finite numbers. */
static const struct {
    MoeStType type;
    guint32 pattern;
} special[] = {
    {MOE_ST_F32, 0x7FC00000}, {MOE_ST_F32, 0x7F800000}, {MOE_ST_F32, 0xFF800000},
    {MOE_ST_F16, 0x7E00},     {MOE_ST_F16, 0xFC00},     {MOE_ST_BF16, 0x7FC0},
    {MOE_ST_BF16, 0x7F80},
};

START_TEST(names_elements_that_are_not_finite)
{
    g_autofree char *folder = new_folder("special");
    guint32 data[12] = {0}; /* [3, 4], zero in every type */
    const int at = 2 * 4 + 1;
    if (special[_i].type == MOE_ST_F32)
        data[at] = special[_i].pattern;
    else
        ((guint16 *)(void *)data)[at] = (guint16)special[_i].pattern;
    const MoeTensor tensors[] = {
        {"m", special[_i].type, 2, {3, 4}, 12, data},
        {"v", special[_i].type, 1, {12}, 12, data},
    };
    add_file(folder, "model.safetensors", tensors, 2);
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    MoeMatrix matrix;
    ck_assert(moe_weights_matrix(weights, "m", 3, 4, &matrix, &error));
    ck_assert(!moe_weights_check_finite(weights, &matrix, &error));
    assert_error(&error, MOE_ERROR_INPUT,
                 "model.safetensors: tensor 'm': element [2, 1] is not a finite number");
    ck_assert_ptr_null(moe_weights_vector(weights, "v", 12, &error));
    assert_error(&error, MOE_ERROR_INPUT, "tensor 'v': element [0, 9] is not a finite number");
}
END_TEST

START_TEST(tells_tensors_that_nobody_used)
{
    static const char *const none[] = {NULL}, *const some[] = {"x.inv_freq", "c", NULL};
    g_autofree char *folder = new_folder("used");
    const MoeTensor tensors[] = {matrix_a, vector_b, vector_c};
    add_file(folder, "model.safetensors", tensors, 3);
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    MoeMatrix matrix;
    ck_assert(moe_weights_matrix(weights, "a", 2, 3, &matrix, &error));
    ck_assert(!moe_weights_check_used(weights, some, &error));
    assert_error(&error, MOE_ERROR_INPUT,
                 "tensor 'b' does not belong to this model's architecture");
    ck_assert_ptr_nonnull(moe_weights_vector(weights, "b", 4, &error));
    ck_assert(!moe_weights_check_used(weights, none, &error));
    assert_error(&error, MOE_ERROR_INPUT, "tensor 'c' does not belong");
    ck_assert(moe_weights_check_used(weights, some, &error));
    ck_assert(moe_weights_has(weights, "c")); /* asking is not using */
    ck_assert(!moe_weights_check_used(weights, none, &error));
    g_clear_error(&error);
    ck_assert_ptr_nonnull(moe_weights_vector(weights, "c", 4, &error));
    ck_assert(moe_weights_check_used(weights, none, &error));
    assert_no_error(error);
}
END_TEST

/* --- digest ---------------------------------------------------------------------------------- */

static char *digest(const char *folder)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    char *text = weights != NULL ? moe_weights_digest(weights, &error) : NULL;
    assert_no_error(error);
    ck_assert(g_str_has_prefix(text, "sha256:"));
    ck_assert_uint_eq(strlen(text), strlen("sha256:") + 64);
    return text;
}

START_TEST(digest_follows_every_byte)
{
    g_autofree char *folder = single_folder("digest"), *copy = single_folder("digest2");
    g_autofree char *first = digest(folder), *second = digest(copy);
    ck_assert_str_eq(first, second); /* the folder's name does not count */
    float changed[6];
    memcpy(changed, values, sizeof(values));
    changed[5] = nextafterf(changed[5], 0);
    MoeTensor tensors[] = {matrix_a, vector_b, vector_c, double_d};
    tensors[0].data = changed;
    add_file(copy, "model.safetensors", tensors, G_N_ELEMENTS(tensors));
    g_autofree char *third = digest(copy);
    ck_assert_str_ne(first, third);
    add_text(folder, "config.json", "{ }");
    g_autofree char *fourth = digest(folder);
    ck_assert_str_ne(first, fourth);
}
END_TEST

START_TEST(digest_needs_every_file)
{
    g_autofree char *folder = single_folder("undigested");
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    g_autofree char *config = g_build_filename(folder, "config.json", NULL);
    ck_assert_int_eq(g_remove(config), 0);
    ck_assert_ptr_null(moe_weights_digest(weights, &error));
    assert_error(&error, MOE_ERROR_INPUT, config);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("weights");
    TCase *tests = tcase_create("weights");
    tcase_add_test(tests, reads_one_file);
    tcase_add_test(tests, reads_shards);
    tcase_add_loop_test(tests, refuses_what_the_index_gets_wrong, 0, (int)G_N_ELEMENTS(bad_index));
    tcase_add_test(tests, refuses_folders_without_weights);
    tcase_add_loop_test(tests, refuses_tensors_that_do_not_fit, 0, (int)G_N_ELEMENTS(unfit));
    tcase_add_loop_test(tests, names_elements_that_are_not_finite, 0, (int)G_N_ELEMENTS(special));
    tcase_add_test(tests, tells_tensors_that_nobody_used);
    tcase_add_test(tests, digest_follows_every_byte);
    tcase_add_test(tests, digest_needs_every_file);
    suite_add_tcase(suite, tests);
    return suite;
}

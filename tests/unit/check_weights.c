#include "config.h"

#include "models/safetensors.h"
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
    assert_error(&error, MOE_ERROR_INPUT, "must be converted first");
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

/* --- 8-bit floats, stacks, MXFP4 ------------------------------------------------------------- */

/* 1 to 8 as e4m3, times powers of two. */
static const guint8 codes[15] = {0x38, 0x40, 0x44, 0x48, 0x4A, 0x4C, 0x4E, 0x50,
                                 0x38, 0x40, 0x44, 0x48, 0x4A, 0x4C, 0x4E};
static const float factors[4] = {1, 10, 100, 1000};
static const guint8 powers[4] = {127, 128, 129, 130};

static const MoeTensor eighths = {"f", MOE_ST_F8_E4M3, 2, {3, 5}, 15, codes};
static const MoeTensor eighths_scales = {"f_scale_inv", MOE_ST_F32, 2, {2, 2}, 4, factors};

static MoeWeights *open_tensors(const char *folder_name, const MoeTensor *tensors, guint n)
{
    g_autofree char *folder = new_folder(folder_name);
    g_autoptr(GError) error = NULL;
    add_file(folder, "model.safetensors", tensors, n);
    MoeWeights *weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    return weights;
}

static void assert_matrix(const MoeMatrix *m, const float *expected)
{
    g_autofree float *wide = g_new(float, m->rows * m->cols);
    const float *rows = moe_matrix_rows(m, 0, m->rows, wide);
    for (gsize i = 0; i < m->rows * m->cols; i++)
        ck_assert_msg(rows[i] == expected[i], "[%zu, %zu]: %g, not %g", i / m->cols, i % m->cols,
                      (double)rows[i], (double)expected[i]);
}

START_TEST(multiplies_by_scales)
{
    static const char *const none[] = {NULL};
    static const float wide[] = {1, 2, 3, 40, 50, 6, 7, 8, 10, 20, 300, 400, 500, 6000, 7000};
    static const float doubled[] = {1, 2, 3, 8, 10, 6, 7, 8, 2, 4, 12, 16, 20, 48, 56};
    for (int as_powers = 0; as_powers < 2; as_powers++) {
        MoeTensor tensors[] = {eighths_scales, eighths};
        if (as_powers != 0) {
            tensors[0].type = MOE_ST_F8_E8M0;
            tensors[0].data = powers;
        }
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeWeights) weights = open_tensors("scaled", tensors, 2);
        MoeMatrix m;
        ck_assert(moe_weights_set_scale_block(weights, 2, 3, &error));
        ck_assert(moe_weights_matrix(weights, "f", 3, 5, &m, &error));
        assert_no_error(error);
        assert_matrix(&m, as_powers != 0 ? doubled : wide);
        ck_assert(moe_weights_check_finite(weights, &m, &error));
        ck_assert(moe_weights_check_used(weights, none, &error)); /* scales are used too */
        assert_no_error(error);
    }
}
END_TEST

/* weight_block_size (0: none) and the scales that are there. */
static const struct {
    gint64 rows, cols;
    MoeTensor scales;
    const char *message;
} bad_scales[] = {
    {0, 0, {"x", MOE_ST_U8, 1, {1}, 1, codes}, "no quantization_config with a weight_block_size"},
    {2, 3, {"x", MOE_ST_U8, 1, {1}, 1, codes}, "tensor 'f_scale_inv' is missing"},
    {1, 3, {"f_scale_inv", MOE_ST_F32, 2, {2, 2}, 4, factors}, "it must be [3, 2]"},
    {128, 128, {"f_scale_inv", MOE_ST_F32, 2, {2, 2}, 4, factors}, "it must be [1, 1]"},
    {G_MAXINT64, G_MAXINT64, {"f_scale_inv", MOE_ST_F32, 2, {2, 2}, 4, factors}, "be [1, 1]"},
    {2, 3, {"f_scale_inv", MOE_ST_F32, 1, {4}, 4, factors}, "has the shape [4]; it must be [2, 2]"},
    {2, 3, {"f_scale_inv", MOE_ST_U8, 2, {2, 2}, 4, powers}, "has the type U8; it must be F8_E8M0"},
};

START_TEST(refuses_scales_that_do_not_fit)
{
    const MoeTensor tensors[] = {bad_scales[_i].scales, eighths};
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = open_tensors("unscaled", tensors, 2);
    MoeMatrix m = {.rows = 77};
    if (bad_scales[_i].rows > 0)
        ck_assert(
            moe_weights_set_scale_block(weights, bad_scales[_i].rows, bad_scales[_i].cols, &error));
    ck_assert(!moe_weights_matrix(weights, "f", 3, 5, &m, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad_scales[_i].message);
    ck_assert(m.rows == 77 && m.data == NULL);
}
END_TEST

START_TEST(refuses_blocks_without_elements)
{
    static const gint64 sizes[][2] = {{0, 128}, {128, 0}, {-1, 128}, {128, G_MININT64}};
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = open_tensors("empty", &eighths, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        ck_assert(!moe_weights_set_scale_block(weights, sizes[i][0], sizes[i][1], &error));
        assert_error(&error, MOE_ERROR_INPUT, "both must be positive");
    }
}
END_TEST

START_TEST(names_scales_that_are_not_finite)
{
    static const float infinite[4] = {1, 1, 1, INFINITY};
    MoeTensor tensors[] = {eighths_scales, eighths};
    tensors[0].data = infinite;
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = open_tensors("infinite", tensors, 2);
    MoeMatrix m;
    ck_assert(moe_weights_set_scale_block(weights, 2, 3, &error));
    ck_assert(moe_weights_matrix(weights, "f", 3, 5, &m, &error));
    ck_assert(!moe_weights_check_finite(weights, &m, &error));
    assert_error(&error, MOE_ERROR_INPUT, "tensor 'f': element [2, 3] is not a finite number");
    const MoeMatrix turned = moe_matrix_transpose(&m);
    ck_assert(!moe_weights_check_finite(weights, &turned, &error));
    assert_error(&error, MOE_ERROR_INPUT, "tensor 'f': element [2, 3] is not a finite number");
}
END_TEST

START_TEST(gives_the_matrices_of_a_stack)
{
    static const float whole[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    const MoeTensor tensor = {"s", MOE_ST_F32, 3, {2, 2, 3}, 12, whole};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeWeights) weights = open_tensors("stack", &tensor, 1);
    MoeMatrix m[2];
    ck_assert(moe_weights_stack(weights, "s", 2, 2, 3, FALSE, m, &error));
    assert_no_error(error);
    assert_matrix(&m[0], whole);
    assert_matrix(&m[1], whole + 6);
    ck_assert(moe_weights_stack(weights, "s", 2, 3, 2, TRUE, m, &error));
    assert_no_error(error);
    static const float turned[] = {6, 9, 7, 10, 8, 11}, odd[] = {7, 10};
    assert_matrix(&m[1], turned);
    const MoeMatrix part = moe_matrix_view(&m[1], 1, 2, 1, 0, 2);
    assert_matrix(&part, odd);
    GError *refused = NULL;
    m[0].rows = 77;
    ck_assert(!moe_weights_stack(weights, "s", 2, 3, 2, FALSE, m, &refused));
    assert_error(&refused, MOE_ERROR_INPUT, "has the shape [2, 2, 3]; it must be [2, 3, 2]");
    ck_assert_uint_eq(m[0].rows, 77);
}
END_TEST

START_TEST(names_elements_of_a_stack_that_are_not_finite)
{
    float some[12] = {0};
    some[10] = NAN; /* [1, 1, 1] */
    const MoeTensor tensor = {"s", MOE_ST_F32, 3, {2, 2, 3}, 12, some};
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = open_tensors("nan-stack", &tensor, 1);
    MoeMatrix m[2];
    ck_assert(moe_weights_stack(weights, "s", 2, 3, 2, TRUE, m, &error));
    ck_assert(moe_weights_check_finite(weights, &m[0], &error));
    ck_assert(!moe_weights_check_finite(weights, &m[1], &error));
    assert_error(&error, MOE_ERROR_INPUT, "tensor 's': element [1, 1, 1] is not a finite number");
    const MoeMatrix even = moe_matrix_view(&m[1], 0, 2, 2, 0, 2);
    ck_assert(moe_weights_check_finite(weights, &even, &error));
    const MoeMatrix odd = moe_matrix_view(&m[1], 1, 2, 1, 0, 2);
    ck_assert(!moe_weights_check_finite(weights, &odd, &error));
    assert_error(&error, MOE_ERROR_INPUT, "tensor 's': element [1, 1, 1] is not a finite number");
}
END_TEST

START_TEST(gives_scaled_matrices_of_a_stack)
{
    /* Two matrices of 2 x 3 in blocks of 1 x 2: scales [2, 2, 2]. */
    static const float scales[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const MoeTensor tensors[] = {{"s_scale_inv", MOE_ST_F32, 3, {2, 2, 2}, 8, scales},
                                 {"s", MOE_ST_F8_E4M3, 3, {2, 2, 3}, 12, codes}};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeWeights) weights = open_tensors("scaled-stack", tensors, 2);
    MoeMatrix m[2];
    ck_assert(moe_weights_set_scale_block(weights, 1, 2, &error));
    ck_assert(moe_weights_stack(weights, "s", 2, 2, 3, FALSE, m, &error));
    assert_no_error(error);
    static const float expected[2][6] = {{1, 2, 6, 16, 20, 48}, {112, 128, 32, 128, 192, 512}};
    static const float turned[] = {112, 128, 128, 192, 32, 512};
    assert_matrix(&m[0], expected[0]);
    assert_matrix(&m[1], expected[1]);
    ck_assert(moe_weights_stack(weights, "s", 2, 3, 2, TRUE, m, &error));
    assert_matrix(&m[1], turned);
}
END_TEST

enum { MX_N = 2, MX_ROWS = 2, MX_COLS = 64 };

/* Code i % 16 at column i, the lower half of a byte first; the scales of all rows differ. */
static MoeWeights *open_mxfp4(const char *folder, guint8 last_scale)
{
    static guint8 blocks[MX_N * MX_ROWS * MX_COLS / 2], scales[MX_N * MX_ROWS * 2];
    for (gsize i = 0; i < sizeof(blocks); i++)
        blocks[i] = (guint8)(2 * i % 16 | (2 * i + 1) % 16 << 4);
    for (gsize i = 0; i < sizeof(scales); i++)
        scales[i] = (guint8)(125 + i);
    scales[sizeof(scales) - 1] = last_scale;
    const MoeTensor tensors[] = {
        {"m_blocks", MOE_ST_U8, 4, {MX_N, MX_ROWS, 2, 16}, sizeof(blocks), blocks},
        {"m_scales", MOE_ST_U8, 3, {MX_N, MX_ROWS, 2}, sizeof(scales), scales}};
    return open_tensors(folder, tensors, 2);
}

START_TEST(reads_mxfp4)
{
    static const float numbers[16] = {0,  0.5F,  1,  1.5F,  2,  3,  4,  6,
                                      -0, -0.5F, -1, -1.5F, -2, -3, -4, -6};
    static const char *const none[] = {NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeWeights) weights = open_mxfp4("mxfp4", 132);
    MoeMatrix m[MX_N];
    ck_assert(moe_weights_mxfp4(weights, "m", MX_N, MX_ROWS, MX_COLS, m, &error));
    assert_no_error(error);
    float expected[MX_N][MX_ROWS * MX_COLS];
    for (int i = 0; i < MX_N * MX_ROWS * MX_COLS; i++)
        expected[i / (MX_ROWS * MX_COLS)][i % (MX_ROWS * MX_COLS)] =
            ldexpf(numbers[i % 16], i / 32 - 2);
    for (int i = 0; i < MX_N; i++) {
        assert_matrix(&m[i], expected[i]);
        const MoeMatrix odd = moe_matrix_view(&m[i], 1, 2, 1, 0, MX_COLS);
        assert_matrix(&odd, expected[i] + MX_COLS);
        ck_assert(moe_weights_check_finite(weights, &m[i], &error));
    }
    ck_assert(moe_weights_check_used(weights, none, &error));
    assert_no_error(error);
}
END_TEST

START_TEST(refuses_mxfp4_that_does_not_fit)
{
    GError *error = NULL;
    g_autoptr(MoeWeights) weights = open_mxfp4("bad-mxfp4", 255);
    MoeMatrix m[MX_N] = {{.rows = 77}};
    ck_assert(!moe_weights_mxfp4(weights, "m", MX_N, MX_ROWS, 33, m, &error));
    assert_error(&error, MOE_ERROR_INPUT, "rows of 33 elements; MXFP4 needs a multiple of 32");
    ck_assert(!moe_weights_mxfp4(weights, "m", 1, MX_ROWS, MX_COLS, m, &error));
    assert_error(&error, MOE_ERROR_INPUT, "has the shape [2, 2, 2, 16]; it must be [1, 2, 2, 16]");
    ck_assert(!moe_weights_mxfp4(weights, "x", MX_N, MX_ROWS, MX_COLS, m, &error));
    assert_error(&error, MOE_ERROR_INPUT, "tensor 'x_blocks' is missing");
    ck_assert_uint_eq(m[0].rows, 77);
    ck_assert(moe_weights_mxfp4(weights, "m", MX_N, MX_ROWS, MX_COLS, m, &error));
    ck_assert(moe_weights_check_finite(weights, &m[0], &error));
    ck_assert(!moe_weights_check_finite(weights, &m[1], &error));
    assert_error(&error, MOE_ERROR_INPUT, "'m_blocks': element [1, 1, 32] is not a finite number");
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
    tcase_add_test(tests, multiplies_by_scales);
    tcase_add_loop_test(tests, refuses_scales_that_do_not_fit, 0, (int)G_N_ELEMENTS(bad_scales));
    tcase_add_test(tests, refuses_blocks_without_elements);
    tcase_add_test(tests, names_scales_that_are_not_finite);
    tcase_add_test(tests, gives_the_matrices_of_a_stack);
    tcase_add_test(tests, names_elements_of_a_stack_that_are_not_finite);
    tcase_add_test(tests, gives_scaled_matrices_of_a_stack);
    tcase_add_test(tests, reads_mxfp4);
    tcase_add_test(tests, refuses_mxfp4_that_does_not_fit);
    tcase_add_test(tests, tells_tensors_that_nobody_used);
    tcase_add_test(tests, digest_follows_every_byte);
    tcase_add_test(tests, digest_needs_every_file);
    suite_add_tcase(suite, tests);
    return suite;
}

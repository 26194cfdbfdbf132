#include "config.h"

#include "kernels/case_data.h"
#include "kernels/decode.h"
#include "kernels/linear.h"
#include "models/safetensors.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* --- decoders -------------------------------------------------------------------------------- */

static gboolean same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b));
}

static void assert_same(const char *what, MoeDtype dtype, const float *got, const float *expected,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(same_float(got[i], expected[i]), "%s, %s: element %zu is %.9g, not %.9g",
                      what, moe_dtype_name(dtype), i, (double)got[i], (double)expected[i]);
}

/* The decoder in AVX2 code, where this machine can run it. */
static MoeDecoder avx2_decoder(MoeDtype dtype)
{
#if defined(HAVE_AVX2_OBJECTS)
    return __builtin_cpu_supports("avx2") ? moe_decoder_avx2(dtype) : moe_decoder_base(dtype);
#else
    return moe_decoder_base(dtype);
#endif
}

START_TEST(widens_as_others_do)
{
    g_autofree char *path =
        g_build_filename(MOESIM_SRCDIR, "tests/golden/quant/golden.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(path, &error);
    assert_no_error(error);
    int n_found = 0;
    for (int d = 0; d < MOE_DTYPE_COUNT; d++) {
        MoeDtype dtype = (MoeDtype)d;
        g_autofree char *upper = g_ascii_strup(moe_dtype_name(dtype), -1);
        g_autofree char *values = g_strconcat(upper, ".values", NULL);
        g_autofree char *blocks = g_strconcat(upper, ".blocks", NULL);
        const MoeTensor *expected = moe_safetensors_find(file, values);
        const MoeTensor *stored = moe_safetensors_find(file, blocks);
        if (expected == NULL)
            continue;
        if (stored == NULL)
            stored = moe_safetensors_find(file, "F8_E4M3.codes");
        size_t n = (size_t)expected->n_elements;
        ck_assert_uint_eq(moe_dtype_row_bytes(dtype, n), (size_t)stored->n_elements);
        g_autofree float *got = g_new(float, n);
        moe_widen(dtype, stored->data, n, got);
        assert_same("golden", dtype, got, expected->data, n);
        moe_widen_ref(dtype, stored->data, n, got);
        assert_same("golden, oracle", dtype, got, expected->data, n);
        n_found++;
    }
    ck_assert_int_eq(n_found, 17);
}
END_TEST

START_TEST(decoders_agree_with_the_oracle)
{
    enum { BLOCKS = 37 };
    MoeDtype dtype = (MoeDtype)_i;
    const size_t n = BLOCKS * moe_dtype_block(dtype), size = moe_dtype_row_bytes(dtype, n);
    g_autofree uint8_t *stored = g_malloc(size);
    g_autofree float *got = g_new(float, n + 1), *expected = g_new(float, n);
    uint64_t seed = 7;
    for (int round = 0; round < 40; round++) {
        /* Moderate values first, then any bytes at all. */
        moe_case_store(&seed, dtype, 1, n, stored);
        for (size_t i = 0; round >= 20 && i < size; i++)
            stored[i] = (uint8_t)moe_case_next(&seed);
        moe_widen_ref(dtype, stored, n, expected);
        if (dtype != MOE_F32) {
            moe_decoder_base(dtype)(stored, BLOCKS, got);
            assert_same("base", dtype, got, expected, n);
            avx2_decoder(dtype)(stored, BLOCKS, got);
            assert_same("avx2", dtype, got, expected, n);
        }
        for (size_t count = 0; count <= n; count += count < 70 ? 1 : 113) {
            got[count] = -7;
            moe_widen(dtype, stored, count, got);
            assert_same("widen", dtype, got, expected, count);
            ck_assert(got[count] == -7);
        }
    }
}
END_TEST

/* --- views ----------------------------------------------------------------------------------- */

/* A stored matrix of any type and a view of it, drawn from @seed. */
typedef struct {
    MoeMatrix m;
    void *data, *scales;
} View;

/* Blocks of scales: none, as DeepSeek-V3 and as MXFP4 have them, small ones. */
static const struct {
    MoeDtype dtype;
    size_t rows, cols;
} scale_kinds[] = {{MOE_F32, 0, 0},         {MOE_F32, 128, 128}, {MOE_F8_E8M0, 1, 32},
                   {MOE_F8_E8M0, 128, 128}, {MOE_BF16, 7, 5},    {MOE_F32, 1, 1000}};

static View view_new(uint64_t *seed, MoeDtype dtype, size_t rows, size_t cols)
{
    const size_t step = moe_case_between(seed, 1, 3), row = moe_case_between(seed, 0, 40);
    const size_t col = moe_case_between(seed, 0, 300), kind = moe_case_between(seed, 0, 5);
    const bool transposed = moe_case_between(seed, 0, 1) == 1;
    const size_t all_rows = row + rows * step + moe_case_between(seed, 0, 5);
    const size_t all_cols = col + cols + moe_case_between(seed, 0, 5);
    const size_t lines = transposed ? all_cols : all_rows,
                 length = transposed ? all_rows : all_cols;
    View v = {.data = g_malloc(lines * moe_dtype_row_bytes(dtype, length))};
    moe_case_store(seed, dtype, lines, length, v.data);
    MoeMatrix all = {v.data, dtype, lines, length};
    if (scale_kinds[kind].rows > 0) {
        const size_t height = (lines - 1) / scale_kinds[kind].rows + 1;
        const size_t width = (length - 1) / scale_kinds[kind].cols + 1;
        v.scales = g_malloc(height * width * moe_dtype_bytes(scale_kinds[kind].dtype));
        moe_case_store(seed, scale_kinds[kind].dtype, height, width, v.scales);
        all.scales = (MoeScales){v.scales, scale_kinds[kind].dtype, scale_kinds[kind].rows,
                                 scale_kinds[kind].cols, width};
    }
    if (transposed)
        all = moe_matrix_transpose(&all);
    v.m = moe_matrix_view(&all, row, step, rows, col, cols);
    ck_assert(v.m.rows == rows && v.m.cols == cols);
    return v;
}

static void view_free(View *v)
{
    g_free(v->data);
    g_free(v->scales);
}

/* Scales round a second time. */
static gboolean close_float(float a, float b)
{
    return fabs((double)a - b) <= ldexp(fabs((double)b), -23);
}

START_TEST(gives_rows_of_views)
{
    uint64_t seed = 11;
    for (int round = 0; round < 60; round++) {
        const size_t rows = moe_case_between(&seed, 1, 40), cols = moe_case_between(&seed, 1, 300);
        View v = view_new(&seed, (MoeDtype)_i, rows, cols);
        g_autofree float *got = g_new(float, rows *cols), *expected = g_new(float, rows *cols);
        moe_matrix_ref(&v.m, expected);
        const size_t first = moe_case_between(&seed, 0, rows - 1), n = rows - first;
        const float *wide = moe_matrix_rows(&v.m, first, n, got);
        for (size_t i = 0; i < n * cols; i++)
            ck_assert_msg(close_float(wide[i], expected[first * cols + i]),
                          "round %d: [%zu, %zu] is %.9g, not %.9g", round, first + i / cols,
                          i % cols, (double)wide[i], (double)expected[first * cols + i]);
        view_free(&v);
    }
}
END_TEST

START_TEST(view_of_a_view)
{
    /* 6 x 4 whole numbers; odd rows 1, 3, 5, of these the last two, columns 1 to 2. */
    float stored[24], rows[4];
    for (int i = 0; i < 24; i++)
        stored[i] = (float)i;
    const MoeMatrix all = {stored, MOE_F32, 6, 4};
    const MoeMatrix odd = moe_matrix_view(&all, 1, 2, 3, 0, 4);
    MoeMatrix part = moe_matrix_view(&odd, 1, 1, 2, 1, 2);
    static const float expected[] = {13, 14, 21, 22};
    ck_assert_mem_eq(moe_matrix_rows(&part, 0, 2, rows), expected, sizeof(expected));
    /* Rows 1 to 2, columns 1 to 2, turned around twice and once. */
    part = moe_matrix_view(&all, 1, 1, 2, 1, 2);
    const MoeMatrix turned = moe_matrix_transpose(&part), back = moe_matrix_transpose(&turned);
    static const float straight[] = {5, 6, 9, 10}, across[] = {5, 9, 6, 10};
    ck_assert_mem_eq(moe_matrix_rows(&back, 0, 2, rows), straight, sizeof(straight));
    ck_assert_mem_eq(moe_matrix_rows(&turned, 0, 2, rows), across, sizeof(across));
}
END_TEST

/* --- products -------------------------------------------------------------------------------- */

START_TEST(linear_takes_every_type)
{
    uint64_t seed = 13;
    for (int round = 0; round < 12; round++) {
        const size_t T = moe_case_between(&seed, 1, round % 2 == 0 ? 8 : 40);
        const size_t N = moe_case_between(&seed, 1, 600), cols = moe_case_between(&seed, 1, 600);
        View v = view_new(&seed, (MoeDtype)_i, N, cols);
        g_autofree float *x = random_floats("x", T * cols);
        g_autofree float *y = g_new(float, T *N), *ref = g_new(float, T *N);
        moe_linear(T, x, &v.m, y);
        moe_linear_ref(T, x, &v.m, ref);
        ck_assert(error_of(y, ref, T * N) <= 5e-6);
        g_autofree float *alone = g_new(float, T *N);
        omp_set_num_threads(1 + round % 3);
        moe_linear(T, x, &v.m, alone);
        ck_assert_mem_eq(y, alone, T * N * sizeof(float));
        view_free(&v);
    }
}
END_TEST

START_TEST(experts_take_every_type)
{
    enum { E = 3, H = 200, F = 150, P = 70 };
    const uint32_t offsets[E + 1] = {0, 2, 2, P};
    uint64_t seed = 17;
    View views[3 * E];
    MoeExpert experts[E];
    for (int e = 0; e < E; e++) {
        for (int i = 0; i < 3; i++)
            views[3 * e + i] = view_new(&seed, (MoeDtype)_i, i == 2 ? H : F, i == 2 ? F : H);
        experts[e] = (MoeExpert){views[3 * e].m, views[3 * e + 1].m, views[3 * e + 2].m};
    }
    g_autofree float *rows = random_floats("rows", P * H), *hidden = g_new(float, P *F);
    g_autofree float *out = g_new(float, P *H), *ref = g_new(float, P *H);
    moe_experts_swiglu(E, H, F, experts, offsets, rows, hidden, out);
    moe_experts_swiglu_ref(E, H, F, experts, offsets, rows, ref);
    ck_assert(error_of(out, ref, P * H) <= 1e-5);
    for (int i = 0; i < 3 * E; i++)
        view_free(&views[i]);
}
END_TEST

/* --- what is not finite ---------------------------------------------------------------------- */

/* Where a pattern makes one element (or the first of several) infinite or NaN. */
static const struct {
    MoeDtype dtype;
    int byte;
    uint8_t pattern[2];
    int width;
} bad[] = {
    {MOE_F8_E4M3, 0, {0x7F}, 1},   {MOE_F8_E4M3, 0, {0xFF}, 1},   {MOE_F8_E5M2, 0, {0x7C}, 1},
    {MOE_F8_E5M2, 0, {0xFD}, 1},   {MOE_F8_E8M0, 0, {0xFF}, 1},   {MOE_MXFP4, 0, {0xFF}, 1},
    {MOE_Q4_0, 0, {0, 0x7C}, 2},   {MOE_Q4_1, 2, {0, 0xFC}, 2},   {MOE_Q5_0, 0, {1, 0x7C}, 2},
    {MOE_Q5_1, 2, {0, 0x7E}, 2},   {MOE_Q8_0, 0, {0, 0x7E}, 2},   {MOE_Q2_K, 80, {0, 0x7E}, 2},
    {MOE_Q3_K, 108, {0, 0x7E}, 2}, {MOE_Q4_K, 2, {0, 0x7E}, 2},   {MOE_Q5_K, 0, {0, 0x7E}, 2},
    {MOE_Q6_K, 208, {0, 0x7E}, 2}, {MOE_IQ4_NL, 0, {0, 0x7E}, 2}, {MOE_IQ4_XS, 0, {0, 0x7E}, 2},
};

START_TEST(finds_blocks_that_are_not_finite)
{
    enum { BLOCKS = 700 };
    const MoeDtype dtype = bad[_i].dtype;
    const size_t block = moe_dtype_block(dtype), n = BLOCKS * block;
    g_autofree uint8_t *stored = g_malloc(moe_dtype_row_bytes(dtype, n));
    uint64_t seed = 19;
    moe_case_store(&seed, dtype, 1, n, stored);
    ck_assert(moe_find_nonfinite(dtype, stored, n) == SIZE_MAX);
    for (size_t at = BLOCKS; at-- > 0; at -= MIN(at, 40)) {
        memcpy(stored + at * moe_dtype_bytes(dtype) + bad[_i].byte, bad[_i].pattern,
               (size_t)bad[_i].width);
        ck_assert_uint_eq(moe_find_nonfinite(dtype, stored, n), at * block);
        ck_assert(moe_find_nonfinite(dtype, stored, at * block) == SIZE_MAX);
    }
}
END_TEST

START_TEST(finds_scales_that_are_not_finite)
{
    uint64_t seed = 23;
    for (int round = 0; round < 100; round++) {
        const size_t rows = moe_case_between(&seed, 1, 60), cols = moe_case_between(&seed, 1, 300);
        View v = view_new(&seed, round % 2 == 0 ? MOE_F8_E4M3 : MOE_F4_E2M1, rows, cols);
        ck_assert(moe_matrix_find_nonfinite(&v.m) == SIZE_MAX);
        if (v.m.scales.data != NULL) {
            /* The scale of the last element, so that the first bad one is in the same block. */
            const MoeScales *s = &v.m.scales;
            size_t row = v.m.first_row + (rows - 1) * v.m.row_step, col = v.m.first_col + cols - 1;
            size_t i = v.m.transposed ? col : row, j = v.m.transposed ? row : col;
            size_t bytes = moe_dtype_bytes(s->dtype);
            memset((char *)v.scales + (i / s->rows * s->stride + j / s->cols) * bytes, 0xFF, bytes);
            g_autofree float *wide = g_new(float, rows *cols);
            moe_matrix_ref(&v.m, wide);
            size_t first = 0;
            while (isfinite(wide[first]))
                first++;
            ck_assert_uint_eq(moe_matrix_find_nonfinite(&v.m), first);
        }
        view_free(&v);
    }
}
END_TEST

/* A product of two finite numbers need not be one. */
START_TEST(finds_products_that_are_not_finite)
{
    const float scale = 1e37F;
    const uint8_t codes[] = {0x38, 0xB8, 0x7E, 0x38}; /* 1, -1, 448, 1 */
    const MoeMatrix m = {codes, MOE_F8_E4M3, 2, 2, .scales = {&scale, MOE_F32, 128, 128, 1}};
    ck_assert_uint_eq(moe_matrix_find_nonfinite(&m), 2);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("quant");
    TCase *tests = tcase_create("quant");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, widens_as_others_do);
    tcase_add_loop_test(tests, decoders_agree_with_the_oracle, 0, MOE_DTYPE_COUNT);
    tcase_add_loop_test(tests, gives_rows_of_views, 0, MOE_DTYPE_COUNT);
    tcase_add_test(tests, view_of_a_view);
    tcase_add_loop_test(tests, linear_takes_every_type, 0, MOE_DTYPE_COUNT);
    tcase_add_loop_test(tests, experts_take_every_type, 0, MOE_DTYPE_COUNT);
    tcase_add_loop_test(tests, finds_blocks_that_are_not_finite, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, finds_scales_that_are_not_finite);
    tcase_add_test(tests, finds_products_that_are_not_finite);
    suite_add_tcase(suite, tests);
    return suite;
}

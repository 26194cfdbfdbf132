#include "config.h"

#include "kernels/attention_tile.h"
#include "kernels/experts.h"
#include "kernels/linear.h"
#include "kernels/product.h"
#include "kernels/simd.h"
#include "tests/unit/harness.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Products in bf16: what is rounded, what is summed, and that T changes nothing. */

static float of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* --- rounding -------------------------------------------------------------------------------- */

/* From the definition: the nearer of the two bf16 around a float, of two as near the even one. Behind
 * the largest bf16 comes 2^128, which is infinity. */
static float nearest(uint32_t bits)
{
    const uint32_t low = bits & 0xFFFF0000, high = low + 0x10000;
    const float x = of_bits(bits), below = of_bits(low);
    if (isnan(x) || isinf(x))
        return x;
    if (!isnormal(x))
        return of_bits(bits & 0x80000000);
    const double above = (high & 0x7F800000) == 0x7F800000 ? copysign(ldexp(1, 128), (double)x)
                                                           : (double)of_bits(high);
    const double to_low = fabs((double)x - below), to_high = fabs(above - x);
    if (to_low < to_high || (!(to_high < to_low) && (low & 0x10000) == 0))
        return below;
    return of_bits(high);
}

START_TEST(rounds_to_the_nearest)
{
    static const uint32_t rests[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
    enum { N = G_N_ELEMENTS(rests) };
    for (uint32_t upper = 0; upper < 1 << 16; upper++) {
        float from[N], out[N], ref[N];
        for (int i = 0; i < N; i++)
            from[i] = of_bits(upper << 16 | rests[i]);
        moe_round(MOE_PRECISION_BF16, N, from, out);
        moe_round_ref(MOE_PRECISION_BF16, N, from, ref);
        for (int i = 0; i < N; i++) {
            const uint32_t bits = upper << 16 | rests[i];
            const float expected = nearest(bits);
            if (isnan(expected))
                ck_assert_msg(isnan(out[i]) && isnan(ref[i]), "%#x", bits);
            else
                ck_assert_msg(bits_of(out[i]) == bits_of(expected) &&
                                  bits_of(ref[i]) == bits_of(expected),
                              "%#x: %#x, %#x instead of %#x", bits, bits_of(out[i]),
                              bits_of(ref[i]), bits_of(expected));
        }
        moe_round(MOE_PRECISION_F32, N, from, out);
        ck_assert_mem_eq(from, out, sizeof(from));
    }
}
END_TEST

/* --- products -------------------------------------------------------------------------------- */

typedef void (*Product)(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                        bool add, float *y, size_t stride, float *scratch);

typedef struct {
    const char *name;
    Product run;
    size_t (*floats)(size_t T, size_t n, size_t cols);
} Variant;

static size_t floats_of_machine(size_t T, size_t n, size_t cols)
{
    return moe_product_floats(MOE_PRECISION_BF16, T, n, cols);
}

/* That of this machine, and what every machine can do. */
static const Variant variants[] = {
    {"best", moe_product, floats_of_machine},
    {"rounded", moe_product_rounded, moe_product_floats_rounded},
};

/* Matrices [n, cols] of the same values, stored in every way that is packed in another. */
enum { PLAIN, NARROW, WITHIN, STEPPED, TRANSPOSED, LAYOUTS };

static MoeMatrix stored(int layout, size_t n, size_t cols, const float *values, char *data)
{
    float *floats = (float *)(void *)data;
    uint16_t *halves = (uint16_t *)(void *)data;
    const size_t stride = 2 * cols + 3;
    for (size_t r = 0; r < n; r++)
        for (size_t c = 0; c < cols; c++) {
            const float value = values[r * cols + c];
            const uint16_t half = (uint16_t)(bits_of(value) >> 16);
            if (layout == PLAIN)
                floats[r * cols + c] = value;
            else if (layout == NARROW)
                halves[r * cols + c] = half;
            else if (layout == WITHIN)
                halves[r * stride + 3 + c] = half;
            else if (layout == STEPPED)
                halves[(2 * r + 1) * cols + c] = half;
            else
                halves[c * n + r] = half;
        }
    MoeMatrix m = {data, layout == PLAIN ? MOE_F32 : MOE_BF16, n, cols};
    if (layout == WITHIN) {
        m.cols = stride;
        m = moe_matrix_view(&m, 0, 1, n, 3, cols);
    } else if (layout == STEPPED) {
        m.rows = 2 * n;
        m = moe_matrix_view(&m, 1, 2, n, 0, cols);
    } else if (layout == TRANSPOSED) {
        m.rows = cols;
        m.cols = n;
        m = moe_matrix_transpose(&m);
    }
    m.precision = MOE_PRECISION_BF16;
    return m;
}

/* Each sum of cols exact products is rounded once per product at most: within cols 2^-24 of the sum
 * of their sizes, and once more where it is added to what is there. */
static void assert_within(const char *name, size_t T, size_t n, size_t cols, const float *x,
                          const float *w, const float *before, const float *y)
{
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < n; i++) {
            double sum = before[t * n + i], size = fabs(sum);
            for (size_t k = 0; k < cols; k++) {
                const double product = (double)x[t * cols + k] * w[i * cols + k];
                sum += product;
                size += fabs(product);
            }
            const double error = fabs(y[t * n + i] - sum);
            ck_assert_msg(error <= size * (double)(cols + 2) * 0x1p-24,
                          "%s: [%zu, %zu] of [%zu, %zu, %zu]: %g is %g off", name, t, i, T, n, cols,
                          sum, error);
        }
}

/* Around the tiles: 12 tokens in steps of 4, 32 rows, 2048 columns in pairs. */
static const size_t shapes[][3] = {{1, 1, 1},     {1, 33, 2},   {2, 31, 3},    {3, 32, 65},
                                   {4, 64, 31},   {5, 5, 33},   {8, 20, 4097}, {9, 33, 2049},
                                   {12, 65, 128}, {13, 7, 127}, {25, 40, 63},  {300, 3, 6145}};

START_TEST(products_are_within_their_bound)
{
    const size_t T = shapes[_i][0], n = shapes[_i][1], cols = shapes[_i][2];
    g_autofree float *x = random_floats("x", T * cols), *w = random_floats("w", n * cols);
    g_autofree float *before = random_floats("y", T * n);
    float *y = moe_scratch(T * n * sizeof(float));
    char *data = moe_scratch(n * (2 * cols + 3) * sizeof(float));
    float *rounded = moe_scratch(T * cols * sizeof(float));
    moe_round_ref(MOE_PRECISION_BF16, T * cols, x, rounded);
    for (int layout = 0; layout < LAYOUTS; layout++) {
        if (layout == NARROW) /* from here on stored as they are */
            moe_round_ref(MOE_PRECISION_BF16, n * cols, w, w);
        const MoeMatrix m = stored(layout, n, cols, w, data);
        float *wide = moe_scratch(n * cols * sizeof(float));
        moe_round_ref(MOE_PRECISION_BF16, n * cols, w, wide);
        for (size_t v = 0; v < G_N_ELEMENTS(variants); v++) {
            float *scratch = moe_scratch(variants[v].floats(T, n, cols) * sizeof(float));
            memcpy(y, before, T * n * sizeof(float));
            variants[v].run(T, x, &m, 0, n, true, y, n, scratch);
            assert_within(variants[v].name, T, n, cols, rounded, wide, before, y);
            free(scratch);
        }
        free(wide);
    }
    void *owned[] = {y, data, rounded};
    for (size_t i = 0; i < G_N_ELEMENTS(owned); i++)
        free(owned[i]);
}
END_TEST

/* What is smaller than the normal floats counts as zero, what is not finite stays so, and numbers
 * that only bf16 tells apart do not differ. */
START_TEST(products_round_both_sides)
{
    static const struct {
        float x, w, expected;
    } cases[] = {
        {1 + 0x1p-8F, 1, 1}, /* a tie, to even */
        {1 + 0x1p-8F + 0x1p-20F, 1, 1 + 0x1p-7F},
        {1, 1 + 0x1.8p-7F, 1 + 0x1p-6F}, /* a tie, to even */
        {3, -1 - 0x1.4p-7F, -3 - 0x1.8p-6F},
        {0x1p-127F, 0x1p100F, 0},
        {0x1p100F, 0x1p-140F, 0},
        {FLT_MAX, 1, INFINITY},
        {INFINITY, -1, -INFINITY},
        {0x1p-126F, 0x1p100F, 0x1p-26F},
        {NAN, 1, NAN},
    };
    for (size_t v = 0; v < G_N_ELEMENTS(variants); v++) {
        float *scratch = moe_scratch(variants[v].floats(1, 1, 1) * sizeof(float));
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            const MoeMatrix m = {&cases[i].w, MOE_F32, 1, 1, .precision = MOE_PRECISION_BF16};
            float y = 7, ref = 7;
            variants[v].run(1, &cases[i].x, &m, 0, 1, false, &y, 1, scratch);
            moe_linear_ref(1, &cases[i].x, &m, &ref);
            if (isnan(cases[i].expected))
                ck_assert(isnan(y) && isnan(ref));
            else
                ck_assert_msg(y == cases[i].expected && ref == cases[i].expected, "%s, %zu: %g, %g",
                              variants[v].name, i, (double)y, (double)ref);
        }
        free(scratch);
    }
}
END_TEST

/* --- attention's tiles ------------------------------------------------------------------------ */

/* Scores of one head's queries and keys, and what the queries get of the values. */
static void run_tile(const MoeAttentionTile *tile, size_t rows, size_t keys, size_t D, size_t DV,
                     const float *x, float *scores, float *sums, float *out)
{
    const size_t wide = (DV + MOE_TILE_WIDTH - 1) / MOE_TILE_WIDTH * MOE_TILE_WIDTH;
    const size_t size = (MOE_TILE_WIDTH * D + MOE_TILE_KEYS * (D + wide)) * sizeof(float);
    float *q = moe_scratch(size), *k = q + MOE_TILE_WIDTH * D, *v = k + MOE_TILE_KEYS * D;
    memset(q, 0, size);
    tile->pack_queries(rows, D, 1, x, D, q);
    tile->pack_keys(keys, D, x + 1, D, k);
    tile->pack_values(keys, DV, x + 2, DV, v);
    tile->score(rows, keys, D, q, k, scores);
    float *row = moe_scratch(MOE_TILE_WIDTH * MOE_TILE_KEYS * sizeof(float));
    memcpy(row, scores, rows * MOE_TILE_KEYS * sizeof(float));
    memset(out, 0, rows * DV * sizeof(float));
    for (size_t r = 0; r < rows; r++) {
        float max = -INFINITY;
        sums[r] = 0;
        /* The first rows see fewer keys, at both ends. */
        tile->soften(row + r * MOE_TILE_KEYS, r < keys / 3 ? r : 0, r < keys / 2 ? keys - r : keys,
                     keys, &max, &sums[r], out + r * DV, DV);
    }
    tile->mix(rows, keys, DV, row, v, out);
    free(row);
    free(q);
}

/* Scores differ by the order of their sums. Shares differ in their last bit, and so may be rounded to
 * neighbours, 2^-8 of a share apart at most; the values are below 1. */
START_TEST(attention_tiles_agree)
{
    static const size_t tile_shapes[][4] = {{1, 1, 1, 1},      {2, 3, 5, 7},     {12, 33, 32, 32},
                                            {5, 64, 31, 33},   {9, 191, 64, 65}, {12, 192, 129, 15},
                                            {4, 17, 192, 128}, {7, 32, 300, 200}};
    if (!moe_has_avx512_bf16())
        return;
#if defined(HAVE_AVX512_BF16_OBJECTS)
    const size_t rows = tile_shapes[_i][0], keys = tile_shapes[_i][1];
    const size_t D = tile_shapes[_i][2], DV = tile_shapes[_i][3];
    const MoeAttentionTile *tiles[] = {&moe_attention_tile_bf16, &moe_attention_tile_rounded};
    g_autofree float *x = random_floats("x", MOE_TILE_KEYS * MAX(D, DV) + 2);
    float *scores[2], *out[2], sums[2][MOE_TILE_WIDTH];
    for (int i = 0; i < 2; i++) {
        scores[i] = moe_scratch(rows * MOE_TILE_KEYS * sizeof(float));
        out[i] = moe_scratch(rows * DV * sizeof(float));
        run_tile(tiles[i], rows, keys, D, DV, x, scores[i], sums[i], out[i]);
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < keys; j++) {
            const float apart = scores[0][r * MOE_TILE_KEYS + j] - scores[1][r * MOE_TILE_KEYS + j];
            ck_assert_msg(fabsf(apart) <= (float)(D * D) * 0x1p-23F, "[%zu, %zu]", r, j);
        }
        ck_assert(fabsf(sums[0][r] - sums[1][r]) <= 1e-4F * sums[1][r]);
        for (size_t d = 0; d < DV; d++)
            ck_assert_msg(fabsf(out[0][r * DV + d] - out[1][r * DV + d]) <= 0x1p-8F * sums[1][r],
                          "[%zu, %zu]: %g, %g of %g", r, d, (double)out[0][r * DV + d],
                          (double)out[1][r * DV + d], (double)sums[1][r]);
    }
    for (int i = 0; i < 2; i++) {
        free(scores[i]);
        free(out[i]);
    }
#endif
}
END_TEST

/* --- one token alone, and among others -------------------------------------------------------- */

/* In products by our own code. */
START_TEST(tokens_do_not_change_each_other)
{
    enum { T = 61, N = 75, COLS = 2100 };
    if (!moe_has_avx512())
        return;
    g_autofree float *x = random_floats("x", T * COLS), *w = random_floats("w", N * COLS);
    const MoePrecision precision = _i == 0 ? MOE_PRECISION_BF16 : MOE_PRECISION_F32;
    const MoeMatrix m = {w, MOE_F32, N, COLS, .precision = precision};
    float *all = moe_scratch(T * N * sizeof(float)), *some = moe_scratch(T * N * sizeof(float));
    void (*const product)(size_t, const float *restrict, const MoeMatrix *, float *restrict) =
        _i == 0 ? moe_linear : moe_linear_steady;
    product(T, x, &m, all);
    for (size_t step = 1; step <= 10; step += 3) {
        for (size_t t = 0; t < T; t += step)
            product(MIN(step, T - t), x + t * COLS, &m, some + t * N);
        ck_assert_mem_eq(all, some, T * N * sizeof(float));
    }
    free(all);
    free(some);
}
END_TEST

START_TEST(tokens_do_not_change_each_other_in_experts)
{
    enum { T = 70, H = 130, F = 45 };
    if (!moe_has_avx512())
        return;
    g_autofree float *x = random_floats("x", T * H), *w = random_floats("w", 3 * H * F);
    const MoeMatrix gate = {w, MOE_F32, F, H, .precision = MOE_PRECISION_BF16};
    MoeExpert expert = {.gate = gate, .up = gate, .down = gate};
    expert.up.data = w + H * F;
    expert.down.data = w + 2 * H * F;
    expert.down.rows = H;
    expert.down.cols = F;
    const uint32_t whole[] = {0, T}, single[] = {0, 1};
    float *all = moe_scratch(T * H * sizeof(float)), *hidden = moe_scratch(T * F * sizeof(float));
    moe_experts_swiglu(1, H, F, &expert, whole, x, hidden, all);
    for (size_t t = 0; t < T; t++) {
        float alone[H];
        moe_experts_swiglu(1, H, F, &expert, single, x + t * H, hidden, alone);
        ck_assert_mem_eq(alone, all + t * H, sizeof(alone));
    }
    free(all);
    free(hidden);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("bf16");
    TCase *tests = tcase_create("bf16");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, rounds_to_the_nearest);
    tcase_add_loop_test(tests, products_are_within_their_bound, 0, (int)G_N_ELEMENTS(shapes));
    tcase_add_test(tests, products_round_both_sides);
    tcase_add_loop_test(tests, attention_tiles_agree, 0, 8);
    tcase_add_loop_test(tests, tokens_do_not_change_each_other, 0, 2);
    tcase_add_test(tests, tokens_do_not_change_each_other_in_experts);
    suite_add_tcase(suite, tests);
    return suite;
}

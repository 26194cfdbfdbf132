#include "config.h"

#include "kernels/matrix.h"
#include "kernels/simd.h"
#include "tests/unit/harness.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERNS = 1 << 16 };

/* --- widening -------------------------------------------------------------------------------- */

static const struct {
    MoeDtype dtype;
    int exponent_bits, mantissa_bits;
} halves[] = {{MOE_F16, 5, 10}, {MOE_BF16, 8, 7}};

/* The value that IEEE 754 gives the 16 @bits, from its definition. NaN for every NaN. */
static double half_value(unsigned bits, int exponent_bits, int mantissa_bits)
{
    int mantissa = (int)(bits & ((1U << mantissa_bits) - 1));
    int exponent = (int)(bits >> mantissa_bits & ((1U << exponent_bits) - 1));
    int bias = (1 << (exponent_bits - 1)) - 1;
    double sign = (bits & 0x8000) != 0 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return mantissa == 0 ? sign * INFINITY : NAN;
    if (exponent == 0)
        return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

static void assert_same_float(float got, double expected, int bits)
{
    if (isnan(expected))
        ck_assert_msg(isnan(got), "pattern %#x is %g instead of NaN", bits, (double)got);
    else
        ck_assert_msg((double)got == expected && !signbit(got) == !signbit(expected),
                      "pattern %#x is %.9g instead of %.9g", bits, (double)got, expected);
}

START_TEST(widens_every_pattern)
{
    static uint16_t patterns[PATTERNS];
    static float wide[PATTERNS];
    for (int i = 0; i < PATTERNS; i++)
        patterns[i] = (uint16_t)i;
    moe_widen(halves[_i].dtype, patterns, PATTERNS, wide);
    for (int i = 0; i < PATTERNS; i++) {
        double expected =
            half_value((unsigned)i, halves[_i].exponent_bits, halves[_i].mantissa_bits);
        assert_same_float(wide[i], expected, i);
        /* Alone, a value takes the way of the last elements of an array. */
        float alone;
        moe_widen(halves[_i].dtype, &patterns[i], 1, &alone);
        assert_same_float(alone, expected, i);
    }
}
END_TEST

START_TEST(widens_every_length)
{
    /* 1.0 and its neighbours; what is behind the last element stays as it was. */
    uint16_t from[40];
    float out[41];
    for (int i = 0; i < 40; i++)
        from[i] = (uint16_t)((halves[_i].dtype == MOE_F16 ? 0x3C00 : 0x3F80) + i);
    for (size_t n = 0; n <= 40; n++) {
        for (int i = 0; i <= 40; i++)
            out[i] = -7;
        moe_widen(halves[_i].dtype, from, n, out);
        for (size_t i = 0; i <= 40; i++)
            ck_assert(out[i] ==
                      (i < n ? 1 + (float)i / (float)(1 << halves[_i].mantissa_bits) : -7.0F));
    }
}
END_TEST

START_TEST(copies_floats)
{
    const float from[] = {1, -0.0F, FLT_MAX, FLT_TRUE_MIN, INFINITY, NAN};
    float out[G_N_ELEMENTS(from)];
    moe_widen(MOE_F32, from, G_N_ELEMENTS(from), out);
    ck_assert_mem_eq(from, out, sizeof(from));
}
END_TEST

/* --- looking for what is not finite ---------------------------------------------------------- */

static const struct {
    MoeDtype dtype;
    uint32_t largest, bad[4]; /* patterns: the largest finite value; infinities and NaN */
} limits[] = {
    {MOE_F32, 0xFF7FFFFF, {0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001}},
    {MOE_F16, 0xFBFF, {0x7C00, 0xFC00, 0x7E00, 0xFC01}},
    {MOE_BF16, 0xFF7F, {0x7F80, 0xFF80, 0x7FC0, 0xFF81}},
};

static void put(MoeDtype dtype, void *array, size_t at, uint32_t pattern)
{
    if (dtype == MOE_F32)
        ((uint32_t *)array)[at] = pattern;
    else
        ((uint16_t *)array)[at] = (uint16_t)pattern;
}

START_TEST(finds_the_first_that_is_not_finite)
{
    enum { COUNT = 70001 }; /* several of the blocks that threads share */
    static uint32_t array[COUNT];
    static const size_t places[] = {0, 1, 7, 8, 16383, 16384, 16385, 50000, COUNT - 1};
    MoeDtype dtype = limits[_i].dtype;
    for (size_t i = 0; i < COUNT; i++)
        put(dtype, array, i, limits[_i].largest);
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        ck_assert(moe_find_nonfinite(dtype, array, COUNT) == SIZE_MAX);
        for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
            put(dtype, array, places[i], limits[_i].bad[i % 4]);
            ck_assert_uint_eq(moe_find_nonfinite(dtype, array, COUNT), places[i]);
            ck_assert_uint_eq(moe_find_nonfinite(dtype, array, places[i] + 1), places[i]);
            ck_assert(moe_find_nonfinite(dtype, array, places[i]) == SIZE_MAX);
            put(dtype, array, COUNT - 1, limits[_i].bad[0]); /* a second, later one */
            ck_assert_uint_eq(moe_find_nonfinite(dtype, array, COUNT), places[i]);
            put(dtype, array, COUNT - 1, limits[_i].largest);
            put(dtype, array, places[i], limits[_i].largest);
        }
    }
}
END_TEST

/* --- the rest -------------------------------------------------------------------------------- */

/* Bytes and elements of a block as github.com/ggml-org/ggml lays them out. */
static const struct {
    const char *name;
    size_t block, bytes;
} sizes[MOE_DTYPE_COUNT] = {
    {"f32", 1, 4},      {"f16", 1, 2},      {"bf16", 1, 2},       {"f8_e4m3", 1, 1},
    {"f8_e5m2", 1, 1},  {"f8_e8m0", 1, 1},  {"f4_e2m1", 2, 1},    {"q4_0", 32, 18},
    {"q4_1", 32, 20},   {"q5_0", 32, 22},   {"q5_1", 32, 24},     {"q8_0", 32, 34},
    {"q2_k", 256, 84},  {"q3_k", 256, 110}, {"q4_k", 256, 144},   {"q5_k", 256, 176},
    {"q6_k", 256, 210}, {"iq4_nl", 32, 18}, {"iq4_xs", 256, 136}, {"mxfp4", 32, 17},
};

START_TEST(names_types)
{
    for (int i = 0; i < MOE_DTYPE_COUNT; i++) {
        MoeDtype dtype = (MoeDtype)i;
        ck_assert_str_eq(moe_dtype_name(dtype), sizes[i].name);
        ck_assert_uint_eq(moe_dtype_block(dtype), sizes[i].block);
        ck_assert_uint_eq(moe_dtype_bytes(dtype), sizes[i].bytes);
        ck_assert_uint_eq(moe_dtype_row_bytes(dtype, 0), 0);
        ck_assert_uint_eq(moe_dtype_row_bytes(dtype, 1), sizes[i].bytes);
        ck_assert_uint_eq(moe_dtype_row_bytes(dtype, 512), 512 / sizes[i].block * sizes[i].bytes);
        ck_assert_uint_eq(moe_dtype_row_bytes(dtype, 513),
                          (512 / sizes[i].block + 1) * sizes[i].bytes);
    }
}
END_TEST

START_TEST(gives_rows)
{
    const float stored[] = {0, 1, 2, 3, 4, 5};
    const uint16_t halved[] = {0x0000, 0x3C00, 0x4000, 0x4200, 0x4400, 0x4500};
    const MoeMatrix wide = {stored, MOE_F32, 3, 2}, narrow = {halved, MOE_F16, 3, 2};
    float scratch[4];
    ck_assert(moe_matrix_rows(&wide, 1, 2, NULL) == stored + 2);
    ck_assert(moe_matrix_rows(&narrow, 1, 2, scratch) == scratch);
    ck_assert_mem_eq(scratch, stored + 2, sizeof(scratch));
}
END_TEST

START_TEST(aligns_scratch)
{
    for (size_t size = 0; size < 300; size += 37) {
        void *memory = moe_scratch(size);
        ck_assert_uint_eq((guintptr)memory % 64, 0);
        memset(memory, 1, size);
        free(memory);
    }
}
END_TEST

/* --- the exponential ------------------------------------------------------------------------- */

static float exp_of(float x)
{
    MoeV8 v;
    moe_v8_set(x, &v);
    moe_v8_exp(&v, &v);
    return v[5];
}

/* How many units in the last place of a float @got is away from e^x. */
static double ulp_off(float got, float x)
{
    double exact = exp((double)x);
    return fabs((double)got - exact) / ldexp(1, ilogb(exact) - 23);
}

static void assert_exp_grid(float from, float to)
{
    /* Steps of a prime number of floats visit all exponents and all mantissas' patterns. */
    const uint32_t stride = 397;
    uint32_t bits, last;
    memcpy(&bits, &from, sizeof(bits));
    memcpy(&last, &to, sizeof(last));
    for (; bits < last; bits += stride) {
        float x;
        memcpy(&x, &bits, sizeof(x));
        float got = exp_of(x);
        ck_assert_msg(ulp_off(got, x) <= 2, "exp(%.9g) = %.9g is %.2f ulp off", (double)x,
                      (double)got, ulp_off(got, x));
    }
}

START_TEST(exponential_is_within_two_ulp)
{
    assert_exp_grid(1e-6F, 88.722F);
    assert_exp_grid(-1e-6F, -87.33F);
    assert_exp_grid(-87.0F, -87.33F);
    assert_exp_grid(88.0F, 88.722F);
}
END_TEST

START_TEST(exponential_ends_where_floats_end)
{
    static const float low[] = {-87.34F, -88, -103, -1e4F, -FLT_MAX, -INFINITY};
    static const float high[] = {88.73F, 89, 1e4F, FLT_MAX, INFINITY};
    for (size_t i = 0; i < G_N_ELEMENTS(low); i++)
        ck_assert(exp_of(low[i]) == 0);
    for (size_t i = 0; i < G_N_ELEMENTS(high); i++)
        ck_assert(isfinite(exp_of(high[i])) && exp_of(high[i]) > 3.4e38F);
    ck_assert(exp_of(0) == 1 && exp_of(-0.0F) == 1);
}
END_TEST

START_TEST(exponential_keeps_lanes_apart)
{
    MoeV8 v = {-INFINITY, -1, 0, 1, 2, 100, -100, 10};
    const MoeV8 in = v;
    moe_v8_exp(&v, &v);
    for (int lane = 0; lane < MOE_LANES; lane++)
        ck_assert(v[lane] == exp_of(in[lane]));
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("matrix");
    TCase *tests = tcase_create("matrix");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, widens_every_pattern, 0, (int)G_N_ELEMENTS(halves));
    tcase_add_loop_test(tests, widens_every_length, 0, (int)G_N_ELEMENTS(halves));
    tcase_add_test(tests, copies_floats);
    tcase_add_loop_test(tests, finds_the_first_that_is_not_finite, 0, (int)G_N_ELEMENTS(limits));
    tcase_add_test(tests, names_types);
    tcase_add_test(tests, gives_rows);
    tcase_add_test(tests, aligns_scratch);
    tcase_add_test(tests, exponential_is_within_two_ulp);
    tcase_add_test(tests, exponential_ends_where_floats_end);
    tcase_add_test(tests, exponential_keeps_lanes_apart);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "kernels/attention.h"
#include "kernels/cases.h"
#include "kernels/experts.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/permute.h"
#include "kernels/rope.h"
#include "tests/unit/harness.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Kernels against their oracles, and against what can be said without one. */

/* --- the list of cases ----------------------------------------------------------------------- */

enum { N_KERNELS = 18, SHAPES_PER_KERNEL = 60 };

START_TEST(agrees_with_its_oracle)
{
    size_t n;
    const MoeKernel *kernel = &moe_kernels(&n)[_i];
    ck_assert_uint_eq(n, N_KERNELS);
    for (size_t i = 0; i < SHAPES_PER_KERNEL; i++) {
        const uint64_t seed = 2;
        MoeCaseShape shape = moe_case_shape(kernel, seed, i);
        MoeCase *c = moe_case_new(kernel, &shape);
        double error = moe_case_error(kernel, c);
        ck_assert_msg(error <= kernel->bound, "%s: seed %d, case %zu: error %g is over %g",
                      kernel->name, (int)seed, i, error, kernel->bound);
        ck_assert(kernel->flop(&shape) >= 0 && kernel->bytes(&shape) > 0);
        moe_case_free(c);
    }
}
END_TEST

START_TEST(draws_the_same_case_again)
{
    size_t n;
    const MoeKernel *kernel = &moe_kernels(&n)[_i];
    MoeCaseShape first = moe_case_shape(kernel, 5, 3), again = moe_case_shape(kernel, 5, 3);
    MoeCaseShape other = moe_case_shape(kernel, 6, 3);
    ck_assert_mem_eq(&first, &again, sizeof(first));
    ck_assert(first.seed != other.seed);
}
END_TEST

/* --- linear ---------------------------------------------------------------------------------- */

enum { PLAIN_TYPES = MOE_BF16 + 1 };

/* Whole numbers from -4 to 4 in the types of single elements: all sums below are exact. */
static const uint16_t whole_f16[] = {0xC400, 0xC200, 0xC000, 0xBC00, 0,
                                     0x3C00, 0x4000, 0x4200, 0x4400};

static int whole(size_t row, size_t col)
{
    uint32_t r = (uint32_t)row, c = (uint32_t)col;
    return (int)((r * 7 + c * 5 + (r & c)) % 9) - 4;
}

static void *stored_matrix(size_t rows, size_t cols, MoeDtype dtype)
{
    char *data = g_malloc(rows * cols * moe_dtype_bytes(dtype));
    for (size_t i = 0; i < rows * cols; i++) {
        int value = whole(i / cols, i % cols);
        float wide = (float)value;
        uint32_t bits;
        memcpy(&bits, &wide, sizeof(bits));
        if (dtype == MOE_F32)
            ((float *)(void *)data)[i] = wide;
        else
            ((uint16_t *)(void *)data)[i] =
                dtype == MOE_F16 ? whole_f16[value + 4] : (uint16_t)(bits >> 16);
    }
    return data;
}

/* Shapes around and over the tiles: 8 tokens, 1024, 256 rows, 32768 columns. */
static const size_t linear_shapes[][3] = {
    {1, 1, 1},       {8, 256, 5},      {9, 40, 32769}, {3, 257, 5},    {1024, 17, 33},
    {1025, 17, 33},  {2, 40, 8192},    {2, 40, 8193},  {5, 300, 8200}, {2050, 300, 9},
    {1025, 257, 80}, {1025, 20, 8193}, {200, 5, 45000}};

static void check_linear(size_t T, size_t N, size_t cols, MoeDtype dtype)
{
    g_autofree float *x = g_new(float, T *cols), *y = g_new(float, T *N);
    g_autofree void *data = stored_matrix(N, cols, dtype);
    const MoeMatrix w = {data, dtype, N, cols};
    for (size_t i = 0; i < T * cols; i++)
        x[i] = (float)whole(i % cols, i / cols);
    moe_linear(T, x, &w, y);
    /* Every output costs @cols products: a sample of rows, the tiles' edges among them. */
    size_t t_step = T > 20 ? 93 : 1, n_step = N > 20 ? 15 : 1;
    for (size_t t = 0; t < T; t += t_step) {
        for (size_t n = 0; n < N; n += n_step) {
            size_t row = N - 1 - n, token = T - 1 - t;
            gint64 sum = 0;
            for (size_t i = 0; i < cols; i++)
                sum += (gint64)whole(i, token) * whole(row, i);
            ck_assert_msg(y[token * N + row] == (float)sum, "[%zu, %zu, %zu] %s: y[%zu, %zu]", T, N,
                          cols, moe_dtype_name(dtype), token, row);
        }
    }
    g_autofree float *twice = g_memdup2(y, T * N * sizeof(float));
    moe_linear_add(T, x, &w, twice);
    for (size_t i = 0; i < T * N; i++)
        ck_assert(twice[i] == 2 * y[i]);
}

START_TEST(linear_is_exact_on_whole_numbers)
{
    const size_t *shape = linear_shapes[_i / PLAIN_TYPES];
    check_linear(shape[0], shape[1], shape[2], (MoeDtype)(_i % PLAIN_TYPES));
}
END_TEST

START_TEST(tiles_fit)
{
    for (size_t cols = 1; cols < 300000; cols = cols * 3 / 2 + 1) {
        for (size_t n = 1; n < 100; n += 7) {
            size_t rows = moe_tile_rows(cols, 1000, n);
            ck_assert(rows >= 16);
            ck_assert_msg(rows == 16 || rows * cols * sizeof(float) <= 1 << 22, "%zu x %zu", rows,
                          cols);
        }
    }
}
END_TEST

/* --- permutation ----------------------------------------------------------------------------- */

/* More than caches hold goes past them, whole vectors or not. */
START_TEST(many_rows_are_copied)
{
    const size_t T = 2100, K = 8, H = _i == 0 ? 1024 : 1023;
    g_autofree float *x = random_floats("x", T * H);
    g_autofree uint32_t *slots = g_new(uint32_t, T * K);
    float *out = moe_scratch(T * K * H * sizeof(float));
    for (size_t p = 0; p < T * K; p++)
        slots[p] = (uint32_t)(T * K - 1 - p);
    moe_permute_rows(T, K, H, x, slots, 0, T * K, out);
    for (size_t p = 0; p < T * K; p++)
        ck_assert(memcmp(out + slots[p] * H, x + p / K * H, H * sizeof(float)) == 0);
    free(out);
}
END_TEST

/* --- attention ------------------------------------------------------------------------------- */

typedef struct {
    size_t n_sequences, offsets[8];
    MoeAttentionShape shape;
} AttentionCase;

static const AttentionCase attention_cases[] = {
    {1, {0, 1}, {1, 1, 1, 1}},       {1, {0, 127}, {2, 1, 8, 0.4F}},
    {1, {0, 128}, {2, 2, 8, 0.4F}},  {1, {0, 129}, {4, 2, 7, 0.4F}},
    {1, {0, 1000}, {2, 1, 5, 0.5F}}, {7, {0, 0, 1, 1, 128, 257, 257, 257}, {3, 3, 6, 0.4F}},
    {2, {0, 0, 0}, {2, 1, 4, 0.5F}}, {4, {0, 300, 301, 301, 420}, {6, 2, 16, 0.25F}},
};

START_TEST(attention_agrees_at_every_length)
{
    const AttentionCase *c = &attention_cases[_i];
    size_t T = c->offsets[c->n_sequences];
    size_t n_q = T * c->shape.Q * c->shape.D, n_kv = T * c->shape.G * c->shape.D;
    g_autofree float *q = random_floats("q", n_q), *k = random_floats("k", n_kv),
                     *v = random_floats("v", n_kv);
    g_autofree float *out = g_new0(float, n_q + 1), *ref = g_new0(float, n_q + 1);
    out[n_q] = -7;
    moe_attention_causal(c->n_sequences, c->offsets, &c->shape, q, k, v, out);
    moe_attention_causal_ref(c->n_sequences, c->offsets, &c->shape, q, k, v, ref);
    ck_assert(error_of(out, ref, n_q) <= 5e-6);
    ck_assert(out[n_q] == -7);
    /* The first token of a sequence sees itself alone. */
    for (size_t s = 0; s < c->n_sequences; s++)
        for (size_t i = 0; i < c->shape.D && c->offsets[s + 1] > c->offsets[s]; i++) {
            size_t t = c->offsets[s];
            ck_assert(out[t * c->shape.Q * c->shape.D + i] == v[t * c->shape.G * c->shape.D + i]);
        }
}
END_TEST

START_TEST(attention_cannot_see_the_future)
{
    enum { T = 300, D = 8, CHANGED = 200 };
    const MoeAttentionShape shape = {1, 1, D, 0.35F};
    const size_t offsets[] = {0, T};
    g_autofree float *q = random_floats("q", T * D), *k = random_floats("k", T * D),
                     *v = random_floats("v", T * D);
    g_autofree float *before = g_new(float, T *D), *after = g_new(float, T *D);
    moe_attention_causal(1, offsets, &shape, q, k, v, before);
    for (size_t i = CHANGED * D; i < T * D; i++) {
        k[i] *= 1000;
        v[i] = 1000;
    }
    moe_attention_causal(1, offsets, &shape, q, k, v, after);
    ck_assert_mem_eq(before, after, CHANGED * D * sizeof(float));
    ck_assert(memcmp(before + CHANGED * D, after + CHANGED * D, D * sizeof(float)) != 0);
}
END_TEST

/* With queries of zero every visible key counts the same: the mean of their values, or, with a sink
 * of score ln 2, their sum over n + 2. Values are the positions, and narrower than the keys. */
START_TEST(attention_sees_its_window)
{
    enum { N = 300, D = 5 };
    static float q[N * 2 * D], k[N * D], v[N], out[N * 2];
    const float sinks[] = {logf(2), logf(2)};
    static const size_t offsets[] = {0, N};
    static const struct {
        size_t window, chunk;
    } rows[] = {{0, 0}, {1, 0}, {7, 0}, {200, 0}, {1000, 0}, {0, 1}, {0, 130}, {50, 64}};
    for (int i = 0; i < N; i++)
        v[i] = (float)i;
    for (int i = 0; i < N * D; i++)
        k[i] = (float)(i % 7);
    for (size_t r = 0; r < G_N_ELEMENTS(rows); r++) {
        for (int sink = 0; sink < 2; sink++) {
            const MoeAttentionShape shape = {.Q = 2,
                                             .G = 1,
                                             .D = D,
                                             .scale = 1,
                                             .DV = 1,
                                             .window = rows[r].window,
                                             .chunk = rows[r].chunk,
                                             .sinks = sink ? sinks : NULL};
            moe_attention_causal(1, offsets, &shape, q, k, v, out);
            for (int t = 0; t < N; t++) {
                int low = rows[r].chunk > 0 ? t - t % (int)rows[r].chunk : 0;
                if (rows[r].window > 0)
                    low = MAX(low, t + 1 - (int)rows[r].window);
                double n = t - low + 1, expected = n * (t + low) / 2 / (n + 2 * sink);
                for (int head = 0; head < 2; head++)
                    ck_assert(fabs((double)out[2 * t + head] - expected) <= 1e-5 * (expected + 1));
            }
        }
    }
}
END_TEST

START_TEST(attention_survives_large_scores)
{
    /* Keys along one axis, growing: the latest wins by far, so each token sees itself alone. */
    enum { T = 260, D = 4 };
    const MoeAttentionShape shape = {1, 1, D, 1};
    const size_t offsets[] = {0, T};
    float q[T * D] = {0}, k[T * D] = {0}, out[T * D];
    g_autofree float *v = random_floats("v", T * D);
    for (size_t t = 0; t < T; t++) {
        q[t * D] = 1e6F;
        k[t * D] = (float)t - 100;
    }
    moe_attention_causal(1, offsets, &shape, q, k, v, out);
    ck_assert_mem_eq(out, v, sizeof(out));
}
END_TEST

/* --- RoPE, norm, clip ------------------------------------------------------------------------ */

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

START_TEST(rope_keeps_position_zero_and_distances)
{
    enum { M = 500, D = 10, HEADS = 3 };
    float cos[M * D / 2], sin[M * D / 2], frequencies[D / 2];
    const MoeRopeScaling scaling = {.theta = 10000};
    moe_rope_frequencies(D, &scaling, frequencies);
    moe_rope_table(M, D, frequencies, 1, cos, sin);
    MoeRopePairs pairs = _i == 0 ? MOE_ROPE_HALVES : MOE_ROPE_NEIGHBOURS;
    g_autofree float *x = random_floats("x", 2 * HEADS * D);
    float moved[2 * HEADS * D], shifted[2 * HEADS * D];
    const uint32_t zero[] = {0, 0}, at[] = {7, 3}, later[] = {496, 492};
    memcpy(moved, x, sizeof(moved));
    moe_rope(2, HEADS, D, D, pairs, zero, cos, sin, moved);
    ck_assert_mem_eq(moved, x, sizeof(moved)); /* the identity */
    memcpy(shifted, x, sizeof(shifted));
    moe_rope(2, HEADS, D, D, pairs, at, cos, sin, moved);
    moe_rope(2, HEADS, D, D, pairs, later, cos, sin, shifted);
    for (size_t h = 0; h < HEADS; h++) {
        size_t i = h * D, j = (HEADS + h) * D;
        assert_close(dot(moved + i, moved + i, D), dot(x + i, x + i, D), 1e-5); /* a rotation */
        /* The product of two rotated vectors depends on their distance alone. */
        ck_assert(fabs(dot(moved + i, moved + j, D) - dot(shifted + i, shifted + j, D)) < 1e-4);
    }
}
END_TEST

START_TEST(rope_table_holds_cosines)
{
    enum { M = 5, D = 4 };
    float c[M * D / 2], s[M * D / 2];
    const float frequencies[] = {1, 0.1F};
    moe_rope_table(M, D, frequencies, 1, c, s);
    for (int m = 0; m < M; m++) {
        ck_assert(fabs(c[2 * m] - cos(m)) < 1e-7 && fabs(s[2 * m] - sin(m)) < 1e-7);
        ck_assert(fabs(c[2 * m + 1] - cos(0.1 * m)) < 1e-7);
        ck_assert(fabs(s[2 * m + 1] - sin(0.1 * m)) < 1e-7);
    }
}
END_TEST

/* Llama 3.1: wavelengths below original/high keep their frequency, above original/low all of it is
 * divided, and halfway between (in frequency) half of it is. */
START_TEST(rope_llama3_stretches_long_waves)
{
    enum { R = 64 };
    float plain[R / 2], f[R / 2];
    MoeRopeScaling s = {.theta = 5e5, .factor = 8, .original = 8192, .low = 1, .high = 4};
    moe_rope_frequencies(R, &s, plain);
    s.kind = MOE_ROPE_LLAMA3;
    moe_rope_frequencies(R, &s, f);
    for (size_t i = 0; i < R / 2; i++) {
        double wave = 2 * M_PI / (double)plain[i];
        double turns = 8192 / wave;
        double keep = turns > 4 ? 1 : turns < 1 ? 0 : (turns - 1) / 3;
        assert_close(f[i], (double)plain[i] * (keep + (1 - keep) / 8), 1e-6);
    }
    ck_assert(plain[0] == f[0] && f[R / 2 - 1] * 8 == plain[R / 2 - 1]);
}
END_TEST

/* DeepSeek-V3's: at theta 10000, R 64 and 4096 tokens, element i turns 4096 / (2 pi 10000^(i/32))
 * times. 32 turns: i = 32 log(4096 / 64 pi) / log(10000) = 10.47, 1 turn: 22.51; rounded outwards 10
 * and 23. */
START_TEST(rope_yarn_ramps_between_its_betas)
{
    enum { R = 64 };
    float plain[R / 2], f[R / 2];
    MoeRopeScaling s = {.theta = 1e4,
                        .factor = 40,
                        .original = 4096,
                        .beta_fast = 32,
                        .beta_slow = 1,
                        .truncate = 1};
    moe_rope_frequencies(R, &s, plain);
    s.kind = MOE_ROPE_YARN;
    moe_rope_frequencies(R, &s, f);
    for (size_t i = 0; i < R / 2; i++) {
        double keep = i <= 10 ? 1 : i >= 23 ? 0 : (23 - (double)i) / 13;
        assert_close(f[i], (double)plain[i] * (keep + (1 - keep) / 40), 1e-6);
    }
    s.truncate = 0;
    moe_rope_frequencies(R, &s, f);
    double first = 32 * log(4096 / (64 * M_PI)) / log(1e4), last = 32 * log(2048 / M_PI) / log(1e4);
    double keep = (last - 15) / (last - first);
    assert_close(f[15], (double)plain[15] * (keep + (1 - keep) / 40), 1e-6);
    s.beta_fast = s.beta_slow = 1; /* Kimi-K2's: a step */
    s.truncate = 1;
    moe_rope_frequencies(R, &s, f);
    ck_assert(f[22] == plain[22]);
    assert_close(f[24] * 40, plain[24], 1e-6);
}
END_TEST

START_TEST(rope_linear_and_long_divide)
{
    enum { R = 6 };
    const double divisors[] = {1, 1.5, 4};
    float plain[R / 2], linear[R / 2], longer[R / 2];
    MoeRopeScaling s = {.theta = 1e4, .factor = 2, .divisors = divisors};
    moe_rope_frequencies(R, &s, plain);
    s.kind = MOE_ROPE_LINEAR;
    moe_rope_frequencies(R, &s, linear);
    s.kind = MOE_ROPE_LONG;
    moe_rope_frequencies(R, &s, longer);
    for (size_t i = 0; i < R / 2; i++) {
        assert_close(linear[i] * 2, plain[i], 1e-6);
        assert_close(longer[i] * divisors[i], plain[i], 1e-6);
    }
}
END_TEST

START_TEST(layernorm_gives_known_answers)
{
    const float x[] = {1, 3, 5, 7}, weight[] = {1, 2, 1, -1}, bias[] = {0, 0, 10, 0};
    float out[4];
    moe_layernorm(1, 4, x, weight, bias, 1e-12F, out);
    const double r = sqrt(5); /* mean 4, variance 5 */
    const float expected[] = {(float)(-3 / r), (float)(-2 / r), (float)(10 + 1 / r),
                              (float)(-3 / r)};
    ck_assert(error_of(out, expected, 4) <= 1e-6);
    moe_layernorm(1, 4, x, weight, NULL, 1e-12F, out);
    ck_assert(fabs(out[2] - 1 / r) < 1e-6);
    moe_rmsnorm(1, 4, x, NULL, 1e-12F, out); /* no weight: ones */
    ck_assert(fabs(out[3] - 7 / sqrt(21)) < 1e-6);
}
END_TEST

START_TEST(norm_gives_known_answers)
{
    const float x[] = {3, 4, 0, 0, 0, 0, 2, 2}, weight[] = {1, 2, 1, -1};
    float out[8], in_place[8];
    moe_rmsnorm(2, 4, x, weight, 1e-12F, out);
    const float expected[] = {1.2F, 3.2F, 0, 0, 0, 0, sqrtf(2), -sqrtf(2)};
    ck_assert(error_of(out, expected, 8) <= 1e-6);
    memcpy(in_place, x, sizeof(x));
    moe_rmsnorm(2, 4, in_place, weight, 1e-12F, in_place);
    ck_assert_mem_eq(in_place, out, sizeof(out));
    const float zero[] = {0, 0, 0, 0};
    moe_rmsnorm(1, 4, zero, weight, 1e-5F, out);
    ck_assert(out[0] == 0 && out[3] == 0);
}
END_TEST

START_TEST(clips_both_sides)
{
    float x[] = {-3, -1.5F, -0.0F, 1.5F, 1.5000001F, FLT_MAX, -INFINITY, 0.5F};
    const float expected[] = {-1.5F, -1.5F, 0, 1.5F, 1.5F, 1.5F, -1.5F, 0.5F};
    moe_clip(G_N_ELEMENTS(x), 1.5F, x);
    for (size_t i = 0; i < G_N_ELEMENTS(x); i++)
        ck_assert(x[i] == expected[i]);
}
END_TEST

/* --- permutation and experts ----------------------------------------------------------------- */

START_TEST(plans_by_hand)
{
    /* Expert 2 gets nothing; pairs of one expert stay in token order. */
    const uint16_t experts[] = {3, 0, 1, 3, 0, 1};
    uint32_t offsets[5], slots[6];
    moe_permute_plan(3, 2, 4, experts, offsets, slots);
    const uint32_t expected_offsets[] = {0, 2, 4, 4, 6}, expected_slots[] = {4, 0, 2, 5, 1, 3};
    ck_assert_mem_eq(offsets, expected_offsets, sizeof(offsets));
    ck_assert_mem_eq(slots, expected_slots, sizeof(slots));
    const float x[] = {1, 10, 2, 20, 3, 30};
    float rows[12], y[] = {100, 0, 0, 0, 0, 0};
    moe_permute_rows(3, 2, 2, x, slots, 0, 6, rows);
    const float expected_rows[] = {1, 10, 3, 30, 2, 20, 3, 30, 1, 10, 2, 20};
    ck_assert_mem_eq(rows, expected_rows, sizeof(rows));
    const float weights[] = {0.5F, 0.25F, 1, 1, 2, 0};
    moe_combine_rows(3, 2, 2, rows, slots, 0, 6, weights, y);
    const float expected_y[] = {100.75F, 7.5F, 4, 40, 6, 60};
    ck_assert_mem_eq(y, expected_y, sizeof(y));
    /* In two parts: the slots before the third, and the others. */
    float some[8], again[] = {100, 0, 0, 0, 0, 0};
    for (size_t first = 0, end = 2; first < 6; first = end, end = 6) {
        moe_permute_rows(3, 2, 2, x, slots, first, end, some);
        ck_assert_mem_eq(some, expected_rows + 2 * first, (end - first) * 2 * sizeof(float));
        moe_combine_rows(3, 2, 2, some, slots, first, end, weights, again);
        moe_scale_rows(3, 2, 2, slots, first, end, weights, some);
        ck_assert(first > 0 || (some[0] == 0.25F && some[2] == 2 * 3)); /* of tokens 0 and 2 */
    }
    ck_assert_mem_eq(again, expected_y, sizeof(again));
    moe_permute_plan(0, 2, 4, experts, offsets, slots);
    ck_assert(offsets[0] == 0 && offsets[4] == 0);
}
END_TEST

START_TEST(experts_compute_swiglu)
{
    /* Width 1 and weights 1: rows_out = silu(a) * a. */
    const float one = 1, rows[] = {-100, -20, -1, -1e-3F, 0, 1e-3F, 1, 20, 88, 1000};
    enum { P = G_N_ELEMENTS(rows) };
    const MoeMatrix m = {&one, MOE_F32, 1, 1};
    const MoeExpert experts[] = {{m, m, m}, {m, m, m}, {m, m, m}};
    const uint32_t offsets[] = {0, 3, 3, P}; /* the second has no rows */
    float hidden[P], out[P];
    moe_experts_swiglu(3, 1, 1, experts, offsets, rows, hidden, out);
    for (size_t p = 0; p < P; p++) {
        double a = rows[p], exact = a * a / (1 + exp(-a));
        ck_assert_msg(fabs(out[p] - exact) <= 1e-6 * fabs(exact) + 1e-30, "%g gives %g", a,
                      (double)out[p]);
    }
    const uint32_t none[] = {0, 0, 0, 0};
    out[0] = -7;
    moe_experts_swiglu(3, 1, 1, experts, none, rows, hidden, out);
    ck_assert(out[0] == -7);
}
END_TEST

START_TEST(experts_agree_over_their_tiles)
{
    /* More rows than go through at a time, more columns than a tile of gate, up or down holds. */
    enum { E = 2, H = 300, F = 230, P = 330 };
    const uint32_t offsets[] = {0, 20, P};
    g_autofree float *rows = random_floats("rows", P * H), *hidden = g_new(float, P *F);
    g_autofree float *out = g_new(float, P *H), *ref = g_new(float, P *H);
    MoeDtype dtype = (MoeDtype)_i;
    g_autofree void *up = stored_matrix(F, H, dtype), *down = stored_matrix(H, F, dtype);
    g_autofree void *gate = stored_matrix(F, H, dtype);
    const MoeExpert one = {{gate, dtype, F, H}, {up, dtype, F, H}, {down, dtype, H, F}};
    const MoeExpert experts[E] = {one, one};
    moe_experts_swiglu(E, H, F, experts, offsets, rows, hidden, out);
    moe_experts_swiglu_ref(E, H, F, experts, offsets, rows, ref);
    ck_assert(error_of(out, ref, P * H) <= 5e-6);
}
END_TEST

/* Small whole numbers: every sum is exact; the sigmoid of 0 is 1/2, of ln 3 3/4. */
START_TEST(rows_are_added)
{
    float x[] = {1, 2, 3, 4, 5, 6};
    const float bias[] = {10, 20, 30}, y[] = {1, 1, 2, 2, 3, 3};
    moe_add_bias(2, 3, bias, x);
    static const float with_bias[] = {11, 22, 33, 14, 25, 36};
    ck_assert_mem_eq(x, with_bias, sizeof(x));
    moe_add_scaled(6, -2, y, x);
    static const float scaled[] = {9, 20, 29, 10, 19, 30};
    ck_assert_mem_eq(x, scaled, sizeof(x));
    const float logits[] = {0, logf(3)};
    static const float gated[] = {9.5F, 20.5F, 30, 11.5F, 21.25F, 32.25F};
    moe_add_gated(2, 3, logits, y, x);
    for (size_t i = 0; i < 6; i++)
        assert_close((double)x[i], (double)gated[i], 1e-6);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("kernels");
    TCase *tests = tcase_create("kernels");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, agrees_with_its_oracle, 0, N_KERNELS);
    tcase_add_loop_test(tests, draws_the_same_case_again, 0, N_KERNELS);
    tcase_add_loop_test(tests, linear_is_exact_on_whole_numbers, 0,
                        (int)G_N_ELEMENTS(linear_shapes) * PLAIN_TYPES);
    tcase_add_test(tests, tiles_fit);
    tcase_add_loop_test(tests, many_rows_are_copied, 0, 2);
    tcase_add_loop_test(tests, attention_agrees_at_every_length, 0,
                        (int)G_N_ELEMENTS(attention_cases));
    tcase_add_test(tests, attention_cannot_see_the_future);
    tcase_add_test(tests, attention_sees_its_window);
    tcase_add_test(tests, attention_survives_large_scores);
    tcase_add_loop_test(tests, rope_keeps_position_zero_and_distances, 0, 2);
    tcase_add_test(tests, rope_llama3_stretches_long_waves);
    tcase_add_test(tests, rope_yarn_ramps_between_its_betas);
    tcase_add_test(tests, rope_linear_and_long_divide);
    tcase_add_test(tests, layernorm_gives_known_answers);
    tcase_add_test(tests, rope_table_holds_cosines);
    tcase_add_test(tests, norm_gives_known_answers);
    tcase_add_test(tests, clips_both_sides);
    tcase_add_test(tests, plans_by_hand);
    tcase_add_test(tests, experts_compute_swiglu);
    tcase_add_loop_test(tests, experts_agree_over_their_tiles, 0, PLAIN_TYPES);
    tcase_add_test(tests, rows_are_added);
    suite_add_tcase(suite, tests);
    return suite;
}

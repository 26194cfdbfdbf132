#include "config.h"

#include "kernels/attention.h"
#include "kernels/experts.h"
#include "kernels/gate.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/permute.h"
#include "kernels/rope.h"
#include "sim/base/rng.h"
#include "tests/unit/harness.h"

#include <omp.h>
#include <string.h>

/* Every kernel gives the same bits whatever the number of threads. Shapes are large enough for
 * several pieces of work per thread, and no multiples of anything. */

enum { T = 1111, E = 23, K = 5, H = 70, F = 300, N = 601, Q = 6, G = 3, D = 22 };
enum { MOST = 1 << 20 };

/* Random numbers from which every kernel takes what it needs, and where its results go. */
typedef struct {
    float *x, *y;         /* [MOST] */
    uint16_t *stored;     /* [MOST]: f16 or bf16 patterns of values below 2 in size */
    uint16_t *experts;    /* [T, K] */
    uint32_t *offsets;    /* [E + 1] */
    uint32_t *slots;      /* [T, K] */
    uint32_t *positions;  /* [T] */
    float *scratch, *out; /* [MOST] */
    MoeExpert ffn[E];
} Arrays;

static size_t run_norm(Arrays *a)
{
    moe_rmsnorm(T, H, a->x, a->y, 1e-5F, a->out);
    return T * H;
}

static size_t run_clip(Arrays *a)
{
    memcpy(a->out, a->x, T * H * sizeof(float));
    moe_clip(T * H, 0.25F, a->out);
    return T * H;
}

static size_t run_rope_table(Arrays *a)
{
    const MoeRopeScaling scaling = {.kind = MOE_ROPE_DEFAULT, .theta = 10000};
    float frequencies[D / 2];
    moe_rope_frequencies(D, &scaling, frequencies);
    moe_rope_table(T, D, frequencies, 1, a->out, a->out + T * D / 2);
    return T * D;
}

static size_t run_rope(Arrays *a)
{
    memcpy(a->out, a->x, T * Q * D * sizeof(float));
    moe_rope(T, Q, D, D, MOE_ROPE_HALVES, a->positions, a->y, a->y + T * D / 2, a->out);
    return T * Q * D;
}

static MoeMatrix matrix(const Arrays *a, MoeDtype dtype)
{
    return (MoeMatrix){dtype == MOE_F32 ? (const void *)a->y : a->stored, dtype, N, H};
}

static size_t run_linear(Arrays *a, MoeDtype dtype)
{
    const MoeMatrix w = matrix(a, dtype);
    moe_linear(T, a->x, &w, a->out);
    return T * N;
}

static size_t run_linear_f32(Arrays *a)
{
    return run_linear(a, MOE_F32);
}

static size_t run_linear_f16(Arrays *a)
{
    return run_linear(a, MOE_F16);
}

static size_t run_linear_bf16(Arrays *a)
{
    return run_linear(a, MOE_BF16);
}

static size_t run_linear_in_bf16(Arrays *a)
{
    MoeMatrix w = matrix(a, MOE_F32);
    w.precision = MOE_PRECISION_BF16;
    moe_linear(T, a->x, &w, a->out);
    return T * N;
}

static size_t run_linear_add(Arrays *a)
{
    const MoeMatrix w = matrix(a, MOE_BF16);
    memcpy(a->out, a->y, T * N * sizeof(float));
    moe_linear_add(T, a->x, &w, a->out);
    return T * N;
}

static size_t run_attention(Arrays *a)
{
    const size_t offsets[] = {0, 700, 700, 701, 900, T};
    const MoeAttentionShape shape = {Q, G, D, 0.2F};
    moe_attention_causal(5, offsets, &shape, a->x, a->y, a->y + T * G * D, a->out);
    return T * Q * D;
}

static size_t run_attention_in_bf16(Arrays *a)
{
    const size_t offsets[] = {0, 700, 700, 701, 900, T};
    const MoeAttentionShape shape = {Q, G, D, 0.2F, .precision = MOE_PRECISION_BF16};
    moe_attention_causal(5, offsets, &shape, a->x, a->y, a->y + T * G * D, a->out);
    return T * Q * D;
}

static size_t run_gate(Arrays *a)
{
    uint16_t *experts = (uint16_t *)(void *)(a->out + T * K);
    const MoeGate gate = {.score = MOE_SCORE_SIGMOID, .groups = 1, .scale = 1};
    moe_gate(T, E, K, a->x, &gate, experts, a->out);
    return T * K + T * K / 2;
}

static size_t run_plan(Arrays *a)
{
    uint32_t *offsets = (uint32_t *)(void *)a->out;
    moe_permute_plan(T, K, E, a->experts, offsets, offsets + E + 1);
    return E + 1 + T * K;
}

static size_t run_rows(Arrays *a)
{
    moe_permute_rows(T, K, H, a->x, a->slots, 0, T * K, a->out);
    return T * K * H;
}

static size_t run_combine(Arrays *a)
{
    memcpy(a->out, a->y, T * H * sizeof(float));
    moe_combine_rows(T, K, H, a->x, a->slots, 0, T * K, a->y, a->out);
    return T * H;
}

static size_t run_experts(Arrays *a, MoeDtype dtype, MoePrecision precision)
{
    for (size_t e = 0; e < E; e++) {
        const void *data = dtype == MOE_F32 ? (const void *)(a->y + e) : a->stored + e;
        const MoeMatrix up = {data, dtype, F, H, .precision = precision};
        const MoeMatrix down = {data, dtype, H, F, .precision = precision};
        a->ffn[e] = (MoeExpert){up, up, down};
    }
    moe_experts_swiglu(E, H, F, a->ffn, a->offsets, a->x, a->scratch, a->out);
    return T * K * H;
}

static size_t run_experts_f32(Arrays *a)
{
    return run_experts(a, MOE_F32, MOE_PRECISION_F32);
}

static size_t run_experts_f16(Arrays *a)
{
    return run_experts(a, MOE_F16, MOE_PRECISION_F32);
}

static size_t run_experts_bf16(Arrays *a)
{
    return run_experts(a, MOE_BF16, MOE_PRECISION_F32);
}
static size_t run_experts_in_bf16(Arrays *a)
{
    return run_experts(a, MOE_BF16, MOE_PRECISION_BF16);
}

/* Each writes as many 4-byte words to a->out as it returns. */
static const struct {
    const char *name;
    size_t (*run)(Arrays *a);
} kernels[] = {
    {"rmsnorm", run_norm},
    {"clip", run_clip},
    {"rope table", run_rope_table},
    {"rope", run_rope},
    {"linear, f32", run_linear_f32},
    {"linear, f16", run_linear_f16},
    {"linear, bf16", run_linear_bf16},
    {"linear, in bf16", run_linear_in_bf16},
    {"linear, adding", run_linear_add},
    {"attention", run_attention},
    {"attention, in bf16", run_attention_in_bf16},
    {"gate", run_gate},
    {"plan", run_plan},
    {"permute", run_rows},
    {"combine", run_combine},
    {"experts, f32", run_experts_f32},
    {"experts, f16", run_experts_f16},
    {"experts, bf16", run_experts_bf16},
    {"experts, in bf16", run_experts_in_bf16},
};

static void fill(Arrays *a)
{
    GRand *rng = moe_rng_new(1, "threads");
    *a = (Arrays){
        .x = g_new(float, MOST),
        .y = g_new(float, MOST),
        .stored = g_new(uint16_t, MOST),
        .experts = g_new(uint16_t, T * K),
        .offsets = g_new(uint32_t, E + 1),
        .slots = g_new(uint32_t, T * K),
        .positions = g_new(uint32_t, T),
        .scratch = g_new(float, T *K *F),
        .out = g_new(float, MOST),
    };
    for (size_t i = 0; i < MOST; i++) {
        a->x[i] = (float)g_rand_double_range(rng, -1, 1);
        a->y[i] = (float)g_rand_double_range(rng, -1, 1);
        a->stored[i] = (uint16_t)g_rand_int(rng) & 0xBFFF;
    }
    for (size_t t = 0; t < T; t++) {
        /* The square makes loads uneven. */
        size_t start = (size_t)(g_rand_double(rng) * g_rand_double(rng) * E);
        for (size_t j = 0; j < K; j++)
            a->experts[t * K + j] = (uint16_t)((start + j) % E);
        a->positions[t] = (uint32_t)g_rand_int_range(rng, 0, T);
    }
    g_rand_free(rng);
    moe_permute_plan(T, K, E, a->experts, a->offsets, a->slots);
}

START_TEST(threads_do_not_change_a_bit)
{
    Arrays a;
    fill(&a);
    omp_set_num_threads(1);
    size_t n = kernels[_i].run(&a);
    ck_assert(n > 0 && n <= MOST);
    g_autofree float *first = g_memdup2(a.out, n * sizeof(float));
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int again = 0; again < 2; again++) {
            memset(a.out, 0xFF, n * sizeof(float));
            ck_assert_uint_eq(kernels[_i].run(&a), n);
            ck_assert_msg(memcmp(first, a.out, n * sizeof(float)) == 0, "%s, %d threads",
                          kernels[_i].name, threads);
        }
    }
    void *owned[] = {a.x,     a.y,         a.stored,  a.experts, a.offsets,
                     a.slots, a.positions, a.scratch, a.out};
    for (size_t i = 0; i < G_N_ELEMENTS(owned); i++)
        g_free(owned[i]);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("kernel threads");
    TCase *tests = tcase_create("kernel threads");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, threads_do_not_change_a_bit, 0, (int)G_N_ELEMENTS(kernels));
    suite_add_tcase(suite, tests);
    return suite;
}

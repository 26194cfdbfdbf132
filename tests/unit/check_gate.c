#include "config.h"

#include "kernels/gate.h"
#include "kernels/loops.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

/* Gates against their oracles, and against what can be worked out by hand. */

typedef struct {
    size_t E, K;
    float logits[8];
    int renormalise;
    uint16_t experts[8];
    double weights[8];
} GateCase;

/* e = 2.718..., s = 1 + e + e^2: softmax of (0, 1, 2) by hand. */
static const GateCase gate_cases[] = {
    {1, 1, {-3}, 0, {0}, {1}},
    {1, 1, {5e30F}, 1, {0}, {1}},
    {3,
     3,
     {0, 1, 2},
     0,
     {2, 1, 0},
     {0.66524095577482190, 0.24472847105479764, 0.09003057317038046}},
    {3, 2, {0, 1, 2}, 0, {2, 1}, {0.66524095577482190, 0.24472847105479764}},
    {3, 2, {0, 1, 2}, 1, {2, 1}, {0.73105857863000490, 0.26894142136999510}},
    /* Equal logits: the lower id first; a negative zero equals zero. */
    {4, 2, {7, 7, 7, 7}, 0, {0, 1}, {0.25, 0.25}},
    {4, 4, {-0.0F, 0, -0.0F, 0}, 1, {0, 1, 2, 3}, {0.25, 0.25, 0.25, 0.25}},
    {5, 2, {1, 3, 2, 3, 3}, 1, {1, 3}, {0.5, 0.5}},
    {8, 3, {0, 9, 0, 9, 0, 9, 9, 0}, 1, {1, 3, 5}, {1 / 3.0, 1 / 3.0, 1 / 3.0}},
    /* Probabilities that are the same float, logits that are not. */
    {3, 2, {0, 1e-30F, 2e-30F}, 1, {2, 1}, {0.5, 0.5}},
    {3, 3, {-1e-20F, 0, 1e-20F}, 0, {2, 1, 0}, {1 / 3.0, 1 / 3.0, 1 / 3.0}},
    /* Far beyond what exp() can hold. */
    {3, 3, {-1e30F, 1000, 0}, 0, {1, 2, 0}, {1, 0, 0}},
    {3, 2, {1e38F, 1e38F, -3e38F}, 0, {0, 1}, {0.5, 0.5}},
};

static void assert_gate(const GateCase *c, const uint16_t *experts, const float *weights)
{
    for (size_t j = 0; j < c->K; j++) {
        ck_assert_uint_eq(experts[j], c->experts[j]);
        ck_assert_msg(fabs((double)weights[j] - c->weights[j]) <= 1e-6, "weight %zu is %.9g", j,
                      (double)weights[j]);
    }
}

START_TEST(gate_gives_known_answers)
{
    const GateCase *c = &gate_cases[_i];
    uint16_t experts[8];
    float weights[8];
    const MoeGate gate = {.renormalise = c->renormalise, .scale = 1};
    moe_gate(1, c->E, c->K, c->logits, &gate, experts, weights);
    assert_gate(c, experts, weights);
    memset(experts, 0, sizeof(experts));
    moe_gate_ref(1, c->E, c->K, c->logits, &gate, experts, weights);
    assert_gate(c, experts, weights);
}
END_TEST

/* Sigmoids of 0, ln 3, -ln 3, 0 are 1/2, 3/4, 1/4, 1/2; with the bias 1/2, 3/4, 17/20, 1/2. */
static const struct {
    size_t top_groups, group_best, K;
    float masked;
    int renormalise;
    uint16_t experts[4];
    double weights[4];
} grouped_cases[] = {
    /* The groups' sums are 1.25 and 1.35, their best 0.75 and 0.85: the second is open. The weights
     * are without the bias. */
    {1, 2, 2, -INFINITY, 1, {3, 2}, {2.5 * 2 / 3, 2.5 / 3}},
    {1, 1, 2, -INFINITY, 0, {3, 2}, {1.25, 0.625}},
    /* Masked by 0, the first of the closed group is next. */
    {1, 2, 3, 0, 0, {0, 3, 2}, {1.25, 1.25, 0.625}},
    {2, 2, 2, -INFINITY, 0, {1, 2}, {1.875, 0.625}},
    {2, 1, 4, -INFINITY, 0, {1, 0, 3, 2}, {1.875, 1.25, 1.25, 0.625}},
};

START_TEST(gate_chooses_groups)
{
    static const float bias[] = {0, 0, 0.6F, 0};
    const float logits[] = {0, logf(3), -logf(3), 0};
    const MoeGate gate = {.score = MOE_SCORE_SIGMOID,
                          .bias = bias,
                          .groups = 2,
                          .top_groups = grouped_cases[_i].top_groups,
                          .group_best = grouped_cases[_i].group_best,
                          .masked = grouped_cases[_i].masked,
                          .renormalise = grouped_cases[_i].renormalise,
                          .scale = 2.5F};
    for (int ref = 0; ref < 2; ref++) {
        uint16_t experts[4];
        float weights[4];
        (ref ? moe_gate_ref : moe_gate)(1, 4, grouped_cases[_i].K, logits, &gate, experts, weights);
        for (size_t j = 0; j < grouped_cases[_i].K; j++) {
            ck_assert_uint_eq(experts[j], grouped_cases[_i].experts[j]);
            assert_close((double)weights[j], grouped_cases[_i].weights[j], 1e-6);
        }
    }
}
END_TEST

/* T, E, K at the edges of lanes, of the rows that go together, and of the contract. */
static const size_t gate_shapes[][3] = {{257, 7, 7},   {256, 8, 1},   {255, 9, 9},
                                        {3, 256, 8},   {2, 300, 256}, {2, 256, 256},
                                        {2, 65535, 9}, {513, 16, 16}, {0, 4, 2}};

START_TEST(gate_agrees_at_the_edges)
{
    size_t T = gate_shapes[_i][0], E = gate_shapes[_i][1], K = gate_shapes[_i][2];
    g_autofree float *logits = random_floats("logits", T * E);
    g_autofree float *w = g_new(float, T *K), *w_ref = g_new(float, T *K);
    g_autofree uint16_t *e = g_new(uint16_t, T * K), *e_ref = g_new(uint16_t, T * K);
    for (int renormalise = 0; renormalise < 2; renormalise++) {
        const MoeGate gate = {.renormalise = renormalise, .scale = 1};
        moe_gate(T, E, K, logits, &gate, e, w);
        moe_gate_ref(T, E, K, logits, &gate, e_ref, w_ref);
        ck_assert(T == 0 || memcmp(e, e_ref, T * K * sizeof(*e)) == 0);
        ck_assert(error_of(w, w_ref, T * K) <= 1e-6);
        for (size_t t = 0; t < T && (renormalise || K == E); t++) {
            double sum = 0;
            for (size_t j = 0; j < K; j++)
                sum += w[t * K + j];
            assert_close(sum, 1, 1e-5);
        }
    }
}
END_TEST

/* What this machine can run, of the instruction sets that gates are compiled for. */
typedef void (*GateRows)(size_t T, size_t E, size_t K, const float *logits, const MoeGate *gate,
                         uint16_t *experts, float *weights);

static size_t gate_variants(GateRows out[3])
{
    size_t n = 0;
    out[n++] = moe_gate_plain_base;
#if defined(HAVE_AVX2_OBJECTS) && defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        out[n++] = moe_gate_plain_avx2;
#endif
#if defined(HAVE_AVX512_OBJECTS)
    if (moe_gate_has_avx512())
        out[n++] = moe_gate_plain_avx512;
#endif
    return n;
}

/* Logits whose @kinds different values tie often; 0: none do. */
static float *tied_logits(size_t n, int kinds)
{
    float *x = random_floats("ties", n);
    for (size_t i = 0; i < n; i++) {
        x[i] = 20 * (kinds == 0 ? x[i] : floorf(x[i] * (float)kinds / 2) / (float)kinds);
        if (x[i] == 0 && i % 2 == 0)
            x[i] = -0.0F;
    }
    return x;
}

static const size_t gate_widths[] = {1, 5, 8, 9, 15, 16, 17, 48, 63, 64, 65, 100, 256, 300, 600};

/* T: more rows than go together, and not a multiple of them; all of them tied, none, and between. */
START_TEST(gate_is_the_same_for_all_instructions)
{
    enum { T = 37, K = 8 };
    static const int kinds[] = {0, 1, 2, 3, 10, 60};
    const size_t E = gate_widths[_i], most = E < K ? E : K;
    GateRows variants[3];
    size_t n = gate_variants(variants);
    for (size_t i = 0; i < G_N_ELEMENTS(kinds) * 4; i++) {
        const MoeGate gate = {.score = i % 4 < 2 ? MOE_SCORE_SOFTMAX : MOE_SCORE_SIGMOID,
                              .renormalise = i % 2 == 0,
                              .epsilon = i % 4 == 2 ? 1e-20F : 0,
                              .scale = 1.5F};
        g_autofree float *logits = tied_logits(T * E, kinds[i / 4]);
        for (size_t k = 1; k <= most; k++) {
            uint16_t experts[T * K], experts_ref[T * K];
            float weights[T * K + 1], weights_ref[T * K];
            moe_gate_ref(T, E, k, logits, &gate, experts_ref, weights_ref);
            for (size_t v = 0; v < n; v++) {
                weights[T * k] = 12345;
                variants[v](T, E, k, logits, &gate, experts, weights);
                ck_assert_mem_eq(experts, experts_ref, T * k * sizeof(*experts));
                ck_assert(error_of(weights, weights_ref, T * k) <= 1e-6);
                ck_assert(weights[T * k] == 12345);
            }
        }
    }
}
END_TEST

/* Worked out by hand: logits 1, 0.95, 0.5, -3 and jitter 0.05. Within 0.1 of the best, by
 * (1 - l) / max(|l|, 1): 1 and 0.95 ((1 - -3) / 3 is not). Without the first: 0.95, and nothing else,
 * for (0.95 - 0.5) / 0.95 > 0.1: its weight is 1, so it comes first. */
START_TEST(sparsemixer_gives_known_answers)
{
    const float logits[] = {0.5F, 1, 0.95F, -3};
    const MoeGate gate = {.score = MOE_SCORE_SPARSEMIXER, .jitter = 0.05F, .scale = 1};
    uint16_t experts[2];
    float weights[2];
    moe_gate(1, 4, 2, logits, &gate, experts, weights);
    ck_assert(experts[0] == 2 && experts[1] == 1);
    assert_close(weights[0], 1, 1e-6);
    assert_close(weights[1], 1 / (1 + exp(-0.05)), 1e-6);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("gate");
    TCase *tests = tcase_create("gate");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, gate_gives_known_answers, 0, (int)G_N_ELEMENTS(gate_cases));
    tcase_add_loop_test(tests, gate_chooses_groups, 0, (int)G_N_ELEMENTS(grouped_cases));
    tcase_add_loop_test(tests, gate_is_the_same_for_all_instructions, 0,
                        (int)G_N_ELEMENTS(gate_widths));
    tcase_add_loop_test(tests, gate_agrees_at_the_edges, 0, (int)G_N_ELEMENTS(gate_shapes));
    tcase_add_test(tests, sparsemixer_gives_known_answers);
    suite_add_tcase(suite, tests);
    return suite;
}

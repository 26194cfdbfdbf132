#include "config.h"

#include "kernels/cases.h"

#include "kernels/attention.h"
#include "kernels/experts.h"
#include "kernels/gate.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/permute.h"
#include "kernels/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ARRAYS = 16, THETA = 10000 };

struct MoeCase {
    MoeCaseShape shape;
    float *a, *b, *c, *weights; /* inputs */
    float *scratch, *out, *ref; /* [n_out] each, scratch apart */
    size_t n_out;
    uint32_t *positions, *offsets, *slots; /* integers, some of them results */
    uint32_t *offsets_ref, *slots_ref;
    uint16_t *experts, *experts_ref;
    size_t n_experts_out, n_slots_out;
    size_t *sequences;
    size_t n_sequences;
    MoeMatrix matrix;
    MoeExpert *ffn;
    void *owned[MOST_ARRAYS];
    size_t n_owned;
};

/* splitmix64 (Steele, Lea, Flood, 2014): enough for test data. */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

static size_t between(uint64_t *state, size_t low, size_t high)
{
    return low + next(state) % (high - low + 1);
}

/* In [-1, 1), with the 24 bits of a float. */
static float uniform(uint64_t *state)
{
    return (float)(next(state) >> 40) * 0x1p-23F - 1;
}

static void *own(MoeCase *c, size_t size)
{
    return c->owned[c->n_owned++] = moe_scratch(size);
}

static float *floats(MoeCase *c, size_t n)
{
    float *x = own(c, n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        x[i] = uniform(&c->shape.seed);
    return x;
}

static float *whole_floats(MoeCase *c, size_t n)
{
    float *x = own(c, n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        x[i] = (float)between(&c->shape.seed, 0, 8) - 4;
    return x;
}

static void outputs(MoeCase *c, size_t n)
{
    c->n_out = n;
    c->out = own(c, n * sizeof(float));
    c->ref = own(c, n * sizeof(float));
    memset(c->out, 0, n * sizeof(float));
    memset(c->ref, 0, n * sizeof(float));
}

/* Random stored weights: f16 and bf16 are random bit patterns of values below 2 in size. */
static MoeMatrix matrix(MoeCase *c, void *data, size_t rows, size_t cols)
{
    MoeDtype dtype = c->shape.dtype;
    if (dtype == MOE_F32) {
        for (size_t i = 0; i < rows * cols; i++)
            ((float *)data)[i] = uniform(&c->shape.seed);
    } else {
        for (size_t i = 0; i < rows * cols; i++)
            ((uint16_t *)data)[i] = (uint16_t)next(&c->shape.seed) & 0xBFFF;
    }
    return (MoeMatrix){data, dtype, rows, cols};
}

static MoeDtype draw_dtype(uint64_t *state)
{
    return (MoeDtype)between(state, 0, MOE_DTYPE_COUNT - 1);
}

/* --- RMSNorm --------------------------------------------------------------------------------- */

static void draw_norm(uint64_t *state, MoeCaseShape *s)
{
    s->T = between(state, 1, 200);
    s->H = between(state, 1, 300);
}

static void inputs_norm(MoeCase *c)
{
    c->a = floats(c, c->shape.T * c->shape.H);
    c->weights = floats(c, c->shape.H);
    outputs(c, c->shape.T * c->shape.H);
}

static void run_norm(MoeCase *c)
{
    moe_rmsnorm(c->shape.T, c->shape.H, c->a, c->weights, 1e-5F, c->out);
}

static void ref_norm(MoeCase *c)
{
    moe_rmsnorm_ref(c->shape.T, c->shape.H, c->a, c->weights, 1e-5F, c->ref);
}

static double flop_norm(const MoeCaseShape *s)
{
    return 4 * (double)s->T * (double)s->H;
}

static double bytes_norm(const MoeCaseShape *s)
{
    return 8 * (double)s->T * (double)s->H;
}

/* --- RoPE ------------------------------------------------------------------------------------ */

static void draw_rope(uint64_t *state, MoeCaseShape *s)
{
    s->T = between(state, 1, 300);
    s->Q = between(state, 1, 5);
    s->D = 2 * between(state, 1, 40);
}

static void inputs_rope(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    size_t n = s->T * s->Q * s->D;
    c->a = floats(c, n);
    c->positions = own(c, s->T * sizeof(uint32_t));
    for (size_t t = 0; t < s->T; t++)
        c->positions[t] = (uint32_t)between(&c->shape.seed, 0, s->T - 1);
    c->b = own(c, s->T * s->D / 2 * sizeof(float));
    c->c = own(c, s->T * s->D / 2 * sizeof(float));
    moe_rope_table(s->T, s->D, THETA, c->b, c->c);
    outputs(c, n);
}

static void run_rope(MoeCase *c)
{
    memcpy(c->out, c->a, c->n_out * sizeof(float));
    moe_rope_half(c->shape.T, c->shape.Q, c->shape.D, c->positions, c->b, c->c, c->out);
}

static void ref_rope(MoeCase *c)
{
    memcpy(c->ref, c->a, c->n_out * sizeof(float));
    moe_rope_half_ref(c->shape.T, c->shape.Q, c->shape.D, c->positions, THETA, c->ref);
}

static double flop_rope(const MoeCaseShape *s)
{
    return 3 * (double)(s->T * s->Q * s->D);
}

static double bytes_rope(const MoeCaseShape *s)
{
    return 8 * (double)(s->T * s->Q * s->D);
}

/* --- linear ---------------------------------------------------------------------------------- */

static void draw_linear(uint64_t *state, MoeCaseShape *s)
{
    s->T = between(state, 1, 150);
    s->N = between(state, 1, 300);
    s->H = between(state, 1, 300);
    s->dtype = draw_dtype(state);
}

static void inputs_linear(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->a = floats(c, s->T * s->H);
    c->matrix = matrix(c, own(c, s->N * s->H * sizeof(float)), s->N, s->H);
    outputs(c, s->T * s->N);
}

static void inputs_linear_whole(MoeCase *c)
{
    c->shape.dtype = MOE_F32;
    c->a = whole_floats(c, c->shape.T * c->shape.H);
    float *w = whole_floats(c, c->shape.N * c->shape.H);
    c->matrix = (MoeMatrix){w, MOE_F32, c->shape.N, c->shape.H};
    outputs(c, c->shape.T * c->shape.N);
}

static void run_linear(MoeCase *c)
{
    moe_linear(c->shape.T, c->a, &c->matrix, c->out);
}

static void ref_linear(MoeCase *c)
{
    moe_linear_ref(c->shape.T, c->a, &c->matrix, c->ref);
}

static double flop_linear(const MoeCaseShape *s)
{
    return 2 * (double)s->T * (double)s->N * (double)s->H;
}

static double bytes_linear(const MoeCaseShape *s)
{
    return 4 * (double)(s->T * (s->N + s->H)) + (double)(s->N * s->H * moe_dtype_size(s->dtype));
}

/* --- attention ------------------------------------------------------------------------------- */

static void draw_attention(uint64_t *state, MoeCaseShape *s)
{
    s->T = between(state, 1, 400);
    s->N = between(state, 1, 4); /* sequences */
    s->G = between(state, 1, 3);
    s->Q = s->G * between(state, 1, 3);
    s->D = between(state, 1, 70);
}

static void inputs_attention(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->a = floats(c, s->T * s->Q * s->D);
    c->b = floats(c, s->T * s->G * s->D);
    c->c = floats(c, s->T * s->G * s->D);
    c->sequences = own(c, (s->N + 1) * sizeof(size_t));
    c->n_sequences = s->N;
    for (size_t i = 0; i <= s->N; i++)
        c->sequences[i] = s->T * i * i / (s->N * s->N); /* unequal; some may be empty */
    outputs(c, s->T * s->Q * s->D);
}

static MoeAttentionShape attention_shape(const MoeCase *c)
{
    return (MoeAttentionShape){c->shape.Q, c->shape.G, c->shape.D, 1 / sqrtf((float)c->shape.D)};
}

static void run_attention(MoeCase *c)
{
    MoeAttentionShape shape = attention_shape(c);
    moe_attention_causal(c->n_sequences, c->sequences, &shape, c->a, c->b, c->c, c->out);
}

static void ref_attention(MoeCase *c)
{
    MoeAttentionShape shape = attention_shape(c);
    moe_attention_causal_ref(c->n_sequences, c->sequences, &shape, c->a, c->b, c->c, c->ref);
}

static double flop_attention(const MoeCaseShape *s)
{
    double pairs = 0, n = (double)s->N, T = (double)s->T;
    for (double i = 0; i < n; i++) {
        double length = T * (2 * i + 1) / (n * n);
        pairs += length * (length + 1) / 2;
    }
    return 4 * (double)(s->Q * s->D) * pairs;
}

static double bytes_attention(const MoeCaseShape *s)
{
    return 8 * (double)(s->T * s->D * (s->Q + s->G));
}

/* --- gate ------------------------------------------------------------------------------------ */

static void draw_gate(uint64_t *state, MoeCaseShape *s)
{
    s->T = between(state, 1, 400);
    s->E = between(state, 1, 300);
    s->K = between(state, 1, s->E < 20 ? s->E : 20);
    s->F = between(state, 0, 1); /* renormalise */
}

static void inputs_gate(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->a = floats(c, s->T * s->E);
    for (size_t i = 0; i < s->T * s->E; i++) {
        c->a[i] *= 8;
        if (i % 3 == 0) /* ties */
            c->a[i] = floorf(c->a[i]);
    }
    c->experts = own(c, s->T * s->K * sizeof(uint16_t));
    c->experts_ref = own(c, s->T * s->K * sizeof(uint16_t));
    c->n_experts_out = s->T * s->K;
    outputs(c, s->T * s->K);
}

static void run_gate(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    moe_gate_softmax(s->T, s->E, s->K, c->a, s->F != 0, c->experts, c->out);
}

static void ref_gate(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    moe_gate_softmax_ref(s->T, s->E, s->K, c->a, s->F != 0, c->experts_ref, c->ref);
}

static double flop_gate(const MoeCaseShape *s)
{
    return 2 * (double)(s->T * s->E);
}

static double bytes_gate(const MoeCaseShape *s)
{
    return 4 * (double)(s->T * s->E) + 6 * (double)(s->T * s->K);
}

/* --- permutation and combination ------------------------------------------------------------- */

static void draw_permute(uint64_t *state, MoeCaseShape *s)
{
    s->T = between(state, 1, 60);
    s->E = between(state, 1, 30);
    s->K = between(state, 1, s->E < 8 ? s->E : 8);
    s->H = between(state, 1, 100);
}

/* K distinct experts per token: a start and a stride that is coprime to E. */
static void draw_experts(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->experts = own(c, s->T * s->K * sizeof(uint16_t));
    for (size_t t = 0; t < s->T; t++) {
        size_t start = between(&c->shape.seed, 0, s->E - 1);
        for (size_t j = 0; j < s->K; j++)
            c->experts[t * s->K + j] = (uint16_t)((start + j) % s->E);
    }
}

static void plan_slots(MoeCase *c, int ref_too)
{
    const MoeCaseShape *s = &c->shape;
    c->offsets = own(c, (s->E + 1) * sizeof(uint32_t));
    c->slots = own(c, s->T * s->K * sizeof(uint32_t));
    moe_permute_plan(s->T, s->K, s->E, c->experts, c->offsets, c->slots);
    if (ref_too) {
        c->offsets_ref = own(c, (s->E + 1) * sizeof(uint32_t));
        c->slots_ref = own(c, s->T * s->K * sizeof(uint32_t));
        c->n_slots_out = s->T * s->K;
    }
}

static void inputs_permute(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    draw_experts(c);
    plan_slots(c, 1);
    c->a = floats(c, s->T * s->H);
    outputs(c, s->T * s->K * s->H);
}

static void run_permute(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    moe_permute_plan(s->T, s->K, s->E, c->experts, c->offsets, c->slots);
    moe_permute_rows(s->T, s->K, s->H, c->a, c->slots, c->out);
}

static void ref_permute(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    moe_permute_plan_ref(s->T, s->K, s->E, c->experts, c->offsets_ref, c->slots_ref);
    moe_permute_rows_ref(s->T, s->K, s->H, c->a, c->slots_ref, c->ref);
}

static double no_flop(const MoeCaseShape *s)
{
    (void)s;
    return 0;
}

static double bytes_permute(const MoeCaseShape *s)
{
    return 4 * (double)(s->T * s->H * (s->K + 1)) + 10 * (double)(s->T * s->K);
}

static void inputs_combine(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    draw_experts(c);
    plan_slots(c, 0);
    c->a = floats(c, s->T * s->K * s->H);
    c->weights = floats(c, s->T * s->K);
    c->b = floats(c, s->T * s->H);
    outputs(c, s->T * s->H);
}

static void run_combine(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    memcpy(c->out, c->b, c->n_out * sizeof(float));
    moe_combine_rows(s->T, s->K, s->H, c->a, c->slots, c->weights, c->out);
}

static void ref_combine(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    memcpy(c->ref, c->b, c->n_out * sizeof(float));
    moe_combine_rows_ref(s->T, s->K, s->H, c->a, c->slots, c->weights, c->ref);
}

static double flop_combine(const MoeCaseShape *s)
{
    return 2 * (double)(s->T * s->K * s->H);
}

static double bytes_combine(const MoeCaseShape *s)
{
    return 4 * (double)(s->T * s->H * (s->K + 2)) + 8 * (double)(s->T * s->K);
}

/* --- experts --------------------------------------------------------------------------------- */

static void draw_ffn(uint64_t *state, MoeCaseShape *s)
{
    draw_permute(state, s);
    s->F = between(state, 1, 80);
    s->dtype = draw_dtype(state);
}

static void inputs_ffn(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    draw_experts(c);
    plan_slots(c, 0);
    size_t one = s->H * s->F * moe_dtype_size(s->dtype);
    char *data = own(c, 3 * s->E * one);
    c->ffn = own(c, s->E * sizeof(MoeExpert));
    for (size_t e = 0; e < s->E; e++, data += 3 * one)
        c->ffn[e] = (MoeExpert){matrix(c, data, s->F, s->H), matrix(c, data + one, s->F, s->H),
                                matrix(c, data + 2 * one, s->H, s->F)};
    c->a = floats(c, s->T * s->K * s->H);
    c->scratch = own(c, s->T * s->K * s->F * sizeof(float));
    outputs(c, s->T * s->K * s->H);
}

static void run_ffn(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    moe_experts_swiglu(s->E, s->H, s->F, c->ffn, c->offsets, c->a, c->scratch, c->out);
}

static void ref_ffn(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    moe_experts_swiglu_ref(s->E, s->H, s->F, c->ffn, c->offsets, c->a, c->ref);
}

static double flop_ffn(const MoeCaseShape *s)
{
    return 6 * (double)(s->T * s->K) * (double)(s->H * s->F);
}

static double bytes_ffn(const MoeCaseShape *s)
{
    return 8 * (double)(s->T * s->K * s->H) +
           3 * (double)(s->E * s->H * s->F * moe_dtype_size(s->dtype));
}

/* --- the list -------------------------------------------------------------------------------- */

static const MoeKernel kernels[] = {
    {"rmsnorm", 2e-6, "float sums of up to 300 squares", draw_norm, inputs_norm, run_norm, ref_norm,
     flop_norm, bytes_norm},
    {"rope", 5e-7, "two float products and a sum", draw_rope, inputs_rope, run_rope, ref_rope,
     flop_rope, bytes_rope},
    {"linear", 2e-6, "float sums of up to 300 products", draw_linear, inputs_linear, run_linear,
     ref_linear, flop_linear, bytes_linear},
    {"linear, whole numbers", 0, "every sum is exact in float", draw_linear, inputs_linear_whole,
     run_linear, ref_linear, flop_linear, bytes_linear},
    {"attention", 5e-6, "exponentials within 2 ulp, float sums of up to 400 terms", draw_attention,
     inputs_attention, run_attention, ref_attention, flop_attention, bytes_attention},
    {"gate", 1e-6, "exponentials within 2 ulp; experts identical, ties too", draw_gate, inputs_gate,
     run_gate, ref_gate, flop_gate, bytes_gate},
    {"permute", 0, "rows are copied", draw_permute, inputs_permute, run_permute, ref_permute,
     no_flop, bytes_permute},
    {"experts", 5e-6, "float sums of up to 100 products, twice", draw_ffn, inputs_ffn, run_ffn,
     ref_ffn, flop_ffn, bytes_ffn},
    {"combine", 1e-6, "float sums of up to 9 products", draw_permute, inputs_combine, run_combine,
     ref_combine, flop_combine, bytes_combine},
};

const MoeKernel *moe_kernels(size_t *n_out)
{
    *n_out = sizeof(kernels) / sizeof(kernels[0]);
    return kernels;
}

MoeCaseShape moe_case_shape(const MoeKernel *kernel, uint64_t seed, size_t index)
{
    uint64_t state = seed * 1000003 + index;
    MoeCaseShape shape = {0};
    kernel->draw(&state, &shape);
    shape.seed = next(&state);
    return shape;
}

MoeCase *moe_case_new(const MoeKernel *kernel, const MoeCaseShape *shape)
{
    MoeCase *c = calloc(1, sizeof(*c));
    if (c == NULL)
        abort();
    c->shape = *shape;
    kernel->inputs(c);
    return c;
}

void moe_case_free(MoeCase *c)
{
    for (size_t i = 0; i < c->n_owned; i++)
        free(c->owned[i]);
    free(c);
}

static int differ(const void *a, const void *b, size_t size)
{
    return size > 0 && memcmp(a, b, size) != 0;
}

double moe_case_error(const MoeKernel *kernel, MoeCase *c)
{
    kernel->run(c);
    kernel->run_ref(c);
    size_t n_offsets = c->n_slots_out > 0 ? c->shape.E + 1 : 0;
    if (differ(c->experts, c->experts_ref, c->n_experts_out * sizeof(uint16_t)) ||
        differ(c->slots, c->slots_ref, c->n_slots_out * sizeof(uint32_t)) ||
        differ(c->offsets, c->offsets_ref, n_offsets * sizeof(uint32_t)))
        return INFINITY;
    double worst = 0, largest = 0;
    for (size_t i = 0; i < c->n_out; i++) {
        if (!isfinite(c->out[i]))
            return INFINITY;
        worst = fmax(worst, fabs((double)c->out[i] - c->ref[i]));
        largest = fmax(largest, fabs((double)c->ref[i]));
    }
    return worst == 0 ? 0 : worst / largest;
}

#include "config.h"

#include "kernels/cases.h"

#include "kernels/attention.h"
#include "kernels/case_data.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/permute.h"
#include "kernels/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { THETA = 10000 };

static MoeMatrix matrix(MoeCase *c, void *data, size_t rows, size_t cols)
{
    moe_case_store(&c->shape.seed, c->shape.dtype, rows, cols, data);
    return (MoeMatrix){data, c->shape.dtype, rows, cols, .precision = c->shape.precision};
}

static MoeDtype draw_dtype(uint64_t *state)
{
    return (MoeDtype)moe_case_between(state, 0, MOE_DTYPE_COUNT - 1);
}

/* --- RMSNorm --------------------------------------------------------------------------------- */

static void draw_norm(uint64_t *state, MoeCaseShape *s)
{
    s->T = moe_case_between(state, 1, 200);
    s->H = moe_case_between(state, 1, 300);
}

static void inputs_norm(MoeCase *c)
{
    c->a = moe_case_floats(c, c->shape.T * c->shape.H);
    c->weights = moe_case_floats(c, c->shape.H);
    moe_case_outputs(c, c->shape.T * c->shape.H);
}

static void run_norm(MoeCase *c)
{
    moe_rmsnorm(c->shape.T, c->shape.H, c->a, c->weights, 1e-5F, c->out);
}

static void ref_norm(MoeCase *c)
{
    moe_rmsnorm_ref(c->shape.T, c->shape.H, c->a, c->weights, 1e-5F, c->ref);
}

static void inputs_layernorm(MoeCase *c)
{
    inputs_norm(c);
    c->b = c->shape.T % 3 == 0 ? NULL : moe_case_floats(c, c->shape.H);
    for (size_t i = 0; i < c->shape.T * c->shape.H; i++)
        c->a[i] += 3; /* a mean worth taking off */
}

static void run_layernorm(MoeCase *c)
{
    moe_layernorm(c->shape.T, c->shape.H, c->a, c->weights, c->b, 1e-5F, c->out);
}

static void ref_layernorm(MoeCase *c)
{
    moe_layernorm_ref(c->shape.T, c->shape.H, c->a, c->weights, c->b, 1e-5F, c->ref);
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
    s->T = moe_case_between(state, 1, 300);
    s->Q = moe_case_between(state, 1, 5);
    s->D = 2 * moe_case_between(state, 1, 40);
    s->H = 2 * moe_case_between(state, 1, s->D / 2); /* rotated */
    s->K = moe_case_between(state, 0, 1);            /* neighbours */
}

static MoeRopePairs pairs_of(const MoeCaseShape *s)
{
    return s->K == 0 ? MOE_ROPE_HALVES : MOE_ROPE_NEIGHBOURS;
}

static void inputs_rope(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    size_t n = s->T * s->Q * s->D;
    c->a = moe_case_floats(c, n);
    c->positions = moe_case_own(c, s->T * sizeof(uint32_t));
    for (size_t t = 0; t < s->T; t++)
        c->positions[t] = (uint32_t)moe_case_between(&c->shape.seed, 0, s->T - 1);
    c->b = moe_case_own(c, s->T * s->H / 2 * sizeof(float));
    c->c = moe_case_own(c, s->T * s->H / 2 * sizeof(float));
    const MoeRopeScaling scaling = {.kind = MOE_ROPE_DEFAULT, .theta = THETA};
    c->weights = moe_case_own(c, s->H / 2 * sizeof(float));
    moe_rope_frequencies(s->H, &scaling, c->weights);
    moe_rope_table(s->T, s->H, c->weights, 1, c->b, c->c);
    moe_case_outputs(c, n);
}

static void run_rope(MoeCase *c)
{
    memcpy(c->out, c->a, c->n_out * sizeof(float));
    const MoeCaseShape *s = &c->shape;
    moe_rope(s->T, s->Q, s->D, s->H, pairs_of(s), c->positions, c->b, c->c, c->out);
}

static void ref_rope(MoeCase *c)
{
    memcpy(c->ref, c->a, c->n_out * sizeof(float));
    const MoeCaseShape *s = &c->shape;
    moe_rope_ref(s->T, s->Q, s->D, s->H, pairs_of(s), c->positions, c->weights, c->ref);
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
    s->T = moe_case_between(state, 1, 150);
    s->N = moe_case_between(state, 1, 300);
    s->H = moe_case_between(state, 1, 300);
    s->dtype = draw_dtype(state);
}

static void draw_linear_bf16(uint64_t *state, MoeCaseShape *s)
{
    draw_linear(state, s);
    s->precision = MOE_PRECISION_BF16;
}

static void inputs_linear(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->a = moe_case_floats(c, s->T * s->H);
    c->matrix = matrix(c, moe_case_own(c, s->N * moe_dtype_row_bytes(s->dtype, s->H)), s->N, s->H);
    moe_case_outputs(c, s->T * s->N);
}

static void inputs_linear_whole(MoeCase *c)
{
    c->shape.dtype = MOE_F32;
    c->a = moe_case_whole_floats(c, c->shape.T * c->shape.H);
    float *w = moe_case_whole_floats(c, c->shape.N * c->shape.H);
    c->matrix = (MoeMatrix){w, MOE_F32, c->shape.N, c->shape.H};
    moe_case_outputs(c, c->shape.T * c->shape.N);
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
    return 4 * (double)(s->T * (s->N + s->H)) +
           (double)(s->N * moe_dtype_row_bytes(s->dtype, s->H));
}

/* --- attention ------------------------------------------------------------------------------- */

static void draw_attention(uint64_t *state, MoeCaseShape *s)
{
    s->T = moe_case_between(state, 1, 400);
    s->N = moe_case_between(state, 1, 4); /* sequences */
    s->G = moe_case_between(state, 1, 3);
    s->Q = s->G * moe_case_between(state, 1, 3);
    s->D = moe_case_between(state, 1, 70);
}

/* F: another width of values; E: a window; K: a chunk; H: the past; the weights: sinks. */
static void draw_attention_window(uint64_t *state, MoeCaseShape *s)
{
    draw_attention(state, s);
    s->F = moe_case_between(state, 1, 70);
    s->E = moe_case_between(state, 0, 1) * moe_case_between(state, 1, 300);
    s->K = moe_case_between(state, 0, 1) * moe_case_between(state, 1, 300);
    s->H = moe_case_between(state, 0, 1) * moe_case_between(state, 1, 300);
}

static void draw_attention_bf16(uint64_t *state, MoeCaseShape *s)
{
    draw_attention_window(state, s);
    s->precision = MOE_PRECISION_BF16;
}

static size_t value_width(const MoeCaseShape *s)
{
    return s->F > 0 ? s->F : s->D;
}

static void inputs_attention(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->a = moe_case_floats(c, s->T * s->Q * s->D);
    c->b = moe_case_floats(c, (s->T + s->N * s->H) * s->G * s->D);
    c->c = moe_case_floats(c, (s->T + s->N * s->H) * s->G * value_width(s));
    c->weights = moe_case_floats(c, s->Q);
    c->sequences = moe_case_own(c, (s->N + 1) * sizeof(size_t));
    c->n_sequences = s->N;
    for (size_t i = 0; i <= s->N; i++)
        c->sequences[i] = s->T * i * i / (s->N * s->N); /* unequal; some may be empty */
    moe_case_outputs(c, s->T * s->Q * value_width(s));
}

static MoeAttentionShape attention_shape(const MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    return (MoeAttentionShape){.Q = s->Q,
                               .G = s->G,
                               .D = s->D,
                               .scale = 1 / sqrtf((float)s->D),
                               .DV = s->F,
                               .window = s->E,
                               .chunk = s->K,
                               .sinks = s->F % 2 == 1 ? c->weights : NULL,
                               .past = s->H,
                               .precision = s->precision};
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

/* --- permutation and combination ------------------------------------------------------------- */

static void draw_permute(uint64_t *state, MoeCaseShape *s)
{
    s->T = moe_case_between(state, 1, 60);
    s->E = moe_case_between(state, 1, 30);
    s->K = moe_case_between(state, 1, s->E < 8 ? s->E : 8);
    s->H = moe_case_between(state, 1, 100);
}

/* K distinct experts per token: a start and a stride that is coprime to E. */
static void draw_experts(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->experts = moe_case_own(c, s->T * s->K * sizeof(uint16_t));
    for (size_t t = 0; t < s->T; t++) {
        size_t start = moe_case_between(&c->shape.seed, 0, s->E - 1);
        for (size_t j = 0; j < s->K; j++)
            c->experts[t * s->K + j] = (uint16_t)((start + j) % s->E);
    }
}

static void plan_slots(MoeCase *c, int ref_too)
{
    const MoeCaseShape *s = &c->shape;
    c->offsets = moe_case_own(c, (s->E + 1) * sizeof(uint32_t));
    c->slots = moe_case_own(c, s->T * s->K * sizeof(uint32_t));
    moe_permute_plan(s->T, s->K, s->E, c->experts, c->offsets, c->slots);
    if (ref_too) {
        c->offsets_ref = moe_case_own(c, (s->E + 1) * sizeof(uint32_t));
        c->slots_ref = moe_case_own(c, s->T * s->K * sizeof(uint32_t));
        c->n_slots_out = s->T * s->K;
    }
}

static void inputs_permute(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    draw_experts(c);
    plan_slots(c, 1);
    c->a = moe_case_floats(c, s->T * s->H);
    moe_case_outputs(c, s->T * s->K * s->H);
}

static void run_permute(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    moe_permute_plan(s->T, s->K, s->E, c->experts, c->offsets, c->slots);
    moe_permute_rows(s->T, s->K, s->H, c->a, c->slots, 0, s->T * s->K, c->out);
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
    c->a = moe_case_floats(c, s->T * s->K * s->H);
    c->weights = moe_case_floats(c, s->T * s->K);
    c->b = moe_case_floats(c, s->T * s->H);
    moe_case_outputs(c, s->T * s->H);
}

static void run_combine(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    memcpy(c->out, c->b, c->n_out * sizeof(float));
    moe_combine_rows(s->T, s->K, s->H, c->a, c->slots, 0, s->T * s->K, c->weights, c->out);
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
    s->F = moe_case_between(state, 1, 80);
    s->dtype = draw_dtype(state);
    s->G = moe_case_between(state, 0, 5); /* SwiGLU; gpt-oss's with biases; others of act_of() */
}

static void draw_ffn_bf16(uint64_t *state, MoeCaseShape *s)
{
    draw_ffn(state, s);
    s->precision = MOE_PRECISION_BF16;
}

static MoeActivation act_of(const MoeCaseShape *s)
{
    return s->G < 2    ? MOE_ACT_SILU
           : s->G == 2 ? MOE_ACT_RELU
           : s->G == 3 ? MOE_ACT_GELU
                       : MOE_ACT_GELU_TANH;
}

static void inputs_ffn(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    draw_experts(c);
    plan_slots(c, 0);
    size_t up = s->F * moe_dtype_row_bytes(s->dtype, s->H);
    size_t down = s->H * moe_dtype_row_bytes(s->dtype, s->F);
    char *data = moe_case_own(c, s->E * (2 * up + down));
    const float *biases = s->G == 1 ? moe_case_floats(c, 2 * s->F + s->H) : NULL;
    c->ffn = moe_case_own(c, s->E * sizeof(MoeExpert));
    for (size_t e = 0; e < s->E; e++, data += 2 * up + down)
        c->ffn[e] = (MoeExpert){matrix(c, data, s->F, s->H), matrix(c, data + up, s->F, s->H),
                                matrix(c, data + 2 * up, s->H, s->F)};
    for (size_t e = 0; e < s->E && s->G == 1; e++) {
        c->ffn[e].gate_bias = biases;
        c->ffn[e].up_bias = biases + s->F;
        c->ffn[e].down_bias = biases + 2 * s->F;
        c->ffn[e].limit = 0.5F; /* so low that it decides */
    }
    for (size_t e = 0; e < s->E && s->G >= 2; e++) {
        c->ffn[e].act = act_of(s);
        if (s->G < 5)
            c->ffn[e].up.data = NULL; /* no gate */
    }
    c->a = moe_case_floats(c, s->T * s->K * s->H);
    c->scratch = moe_case_own(c, s->T * s->K * s->F * sizeof(float));
    moe_case_outputs(c, s->T * s->K * s->H);
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
           (double)(s->E * (2 * s->F * moe_dtype_row_bytes(s->dtype, s->H) +
                            s->H * moe_dtype_row_bytes(s->dtype, s->F)));
}

/* --- the list -------------------------------------------------------------------------------- */

static const MoeKernel kernels[] = {
    {"rmsnorm", 2e-6, "float sums of up to 300 squares", draw_norm, inputs_norm, run_norm, ref_norm,
     flop_norm, bytes_norm},
    {"layernorm", 2e-5, "differences of floats of 4 that are close", draw_norm, inputs_layernorm,
     run_layernorm, ref_layernorm, flop_norm, bytes_norm},
    {"rope", 5e-7, "two float products and a sum", draw_rope, inputs_rope, run_rope, ref_rope,
     flop_rope, bytes_rope},
    {"linear", 2e-6, "float sums of up to 300 products", draw_linear, inputs_linear, run_linear,
     ref_linear, flop_linear, bytes_linear},
    {"linear, whole numbers", 0, "every sum is exact in float", draw_linear, inputs_linear_whole,
     run_linear, ref_linear, flop_linear, bytes_linear},
    {"linear, bf16", 2e-6, "operands rounded alike; float sums of up to 300 products",
     draw_linear_bf16, inputs_linear, run_linear, ref_linear, flop_linear, bytes_linear},
    {"attention", 5e-6, "exponentials within 2 ulp, float sums of up to 400 terms", draw_attention,
     inputs_attention, run_attention, ref_attention, flop_attention, bytes_attention},
    {"attention, windows and sinks", 5e-6, "as above", draw_attention_window, inputs_attention,
     run_attention, ref_attention, flop_attention, bytes_attention},
    {"attention, bf16", 6e-3,
     "shares of the softmax within 2^-9 of themselves, whose sum may cancel", draw_attention_bf16,
     inputs_attention, run_attention, ref_attention, flop_attention, bytes_attention},
    {"attention, whole, biased or across", 5e-6, "as above", moe_draw_attention_whole,
     moe_inputs_attention_whole, moe_run_attention_whole, moe_ref_attention_whole,
     moe_flop_attention_whole, moe_bytes_attention_whole},
    {"gate (sparsemixer)", 1e-6, "float sums of up to 300 exponentials within 1 ulp",
     moe_draw_sparsemixer, moe_inputs_sparsemixer, moe_run_gate, moe_ref_gate, moe_flop_gate,
     moe_bytes_gate},
    {"gate", 1e-6, "exponentials within 2 ulp; experts identical, ties too", moe_draw_gate,
     moe_inputs_gate, moe_run_gate, moe_ref_gate, moe_flop_gate, moe_bytes_gate},
    {"gate, bias and groups", 2e-6, "exponentials within 2 ulp; experts identical, ties too",
     moe_draw_grouped_gate, moe_inputs_grouped_gate, moe_run_gate, moe_ref_gate, moe_flop_gate,
     moe_bytes_gate},
    {"gate, capacity", 0, "whole numbers", moe_draw_capacity, moe_inputs_capacity, moe_run_capacity,
     moe_ref_capacity, no_flop, moe_bytes_capacity},
    {"permute", 0, "rows are copied", draw_permute, inputs_permute, run_permute, ref_permute,
     no_flop, bytes_permute},
    {"experts", 3e-5, "float sums of up to 100 products, twice; a limit keeps little of large ones",
     draw_ffn, inputs_ffn, run_ffn, ref_ffn, flop_ffn, bytes_ffn},
    {"experts, bf16", 2e-2, "2^-7 where a hidden value rounds to the other neighbour",
     draw_ffn_bf16, inputs_ffn, run_ffn, ref_ffn, flop_ffn, bytes_ffn},
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
    shape.seed = moe_case_next(&state);
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

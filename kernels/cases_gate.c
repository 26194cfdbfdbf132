#include "config.h"

#include "kernels/case_data.h"
#include "kernels/gate.h"

#include <math.h>

void moe_draw_gate(uint64_t *state, MoeCaseShape *s)
{
    s->T = moe_case_between(state, 1, 400);
    s->E = moe_case_between(state, 1, 300);
    s->K = moe_case_between(state, 1, s->E < 20 ? s->E : 20);
    s->F = moe_case_between(state, 0, 1); /* renormalise */
}

void moe_inputs_gate(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->a = moe_case_floats(c, s->T * s->E);
    for (size_t i = 0; i < s->T * s->E; i++) {
        c->a[i] *= 8;
        if (i % 3 == 0) /* ties */
            c->a[i] = floorf(c->a[i]);
    }
    c->experts = moe_case_own(c, s->T * s->K * sizeof(uint16_t));
    c->experts_ref = moe_case_own(c, s->T * s->K * sizeof(uint16_t));
    c->n_experts_out = s->T * s->K;
    moe_case_outputs(c, s->T * s->K);
}

/* Groups of E/N experts of which Q are open. Few different scores and biases: they tie often, and
 * are far apart where they do not, so that rounding decides nothing. */
void moe_draw_grouped_gate(uint64_t *state, MoeCaseShape *s)
{
    size_t width = moe_case_between(state, 2, 20);
    s->T = moe_case_between(state, 1, 400);
    s->N = moe_case_between(state, 1, 16);
    s->Q = moe_case_between(state, 1, s->N);
    s->E = s->N * width;
    s->K = moe_case_between(state, 1, s->Q * width < 20 ? s->Q * width : 20);
    s->F = moe_case_between(state, 0, 1); /* renormalise */
    s->G = moe_case_between(state, 1, 2); /* group_best */
}

void moe_inputs_grouped_gate(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    moe_inputs_gate(c);
    for (size_t i = 0; i < s->T * s->E; i++)
        c->a[i] = floorf(c->a[i]) / 2 + 0.1F; /* sigmoid(x) + sigmoid(-x) is always 1 */
    c->b = moe_case_floats(c, s->E);
    /* Where two scores of a group are added, they have one bias: two sums of the same four numbers in
     * other orders may round differently. */
    for (size_t e = 0, width = s->E / s->N; e < s->E; e++)
        c->b[e] = floorf(c->b[s->G == 2 ? e / width * width : e] * 4) / 4;
}

void moe_draw_sparsemixer(uint64_t *state, MoeCaseShape *s)
{
    s->T = moe_case_between(state, 1, 400);
    s->E = moe_case_between(state, 2, 300);
    s->K = 2;
    s->D = 1;
}

/* Squares of whole numbers, so that some logits are within the jitter of the best, none on its edge,
 * and no two gaps are the same: the order of the two weights is never a matter of rounding. */
void moe_inputs_sparsemixer(MoeCase *c)
{
    moe_inputs_gate(c);
    for (size_t i = 0; i < c->shape.T * c->shape.E; i++) {
        float g = floorf(c->a[i] * 4);
        c->a[i] = g * fabsf(g) / 1000 + 0.003F;
    }
}

static MoeGate gate_of(const MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    if (s->D == 1)
        return (MoeGate){.score = MOE_SCORE_SPARSEMIXER, .jitter = 0.117F, .scale = 1.5F};
    if (c->b == NULL)
        return (MoeGate){.renormalise = s->F != 0, .scale = 1};
    return (MoeGate){.score = s->K % 2 == 0 ? MOE_SCORE_SIGMOID : MOE_SCORE_SOFTMAX,
                     .bias = s->E % 3 == 0 ? NULL : c->b,
                     .groups = s->N,
                     .top_groups = s->Q,
                     .group_best = s->G,
                     .masked = -INFINITY,
                     .renormalise = s->F != 0,
                     .epsilon = 1e-20F,
                     .scale = 2.5F};
}

void moe_run_gate(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    const MoeGate gate = gate_of(c);
    moe_gate(s->T, s->E, s->K, c->a, &gate, c->experts, c->out);
}

void moe_ref_gate(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    const MoeGate gate = gate_of(c);
    moe_gate_ref(s->T, s->E, s->K, c->a, &gate, c->experts_ref, c->ref);
}

double moe_flop_gate(const MoeCaseShape *s)
{
    return 2 * (double)(s->T * s->E);
}

double moe_bytes_gate(const MoeCaseShape *s)
{
    return 4 * (double)(s->T * s->E) + 6 * (double)(s->T * s->K);
}

/* --- capacity -------------------------------------------------------------------------------- */

/* N: sequences; G: the capacity; Q: tokens at a time, so that sequences go on from call to call. */
void moe_draw_capacity(uint64_t *state, MoeCaseShape *s)
{
    s->T = moe_case_between(state, 1, 400);
    s->E = moe_case_between(state, 1, 20);
    s->K = moe_case_between(state, 1, s->E < 3 ? s->E : 3);
    s->N = moe_case_between(state, 1, 5);
    s->G = moe_case_between(state, 1, 20);
    s->Q = moe_case_between(state, 1, 400);
}

void moe_inputs_capacity(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->experts = moe_case_own(c, s->T * s->K * sizeof(uint16_t));
    for (size_t t = 0; t < s->T; t++) {
        size_t first = moe_case_between(&c->shape.seed, 0, s->E - 1);
        for (size_t j = 0; j < s->K; j++)
            c->experts[t * s->K + j] = (uint16_t)((first + j) % s->E);
    }
    c->positions = moe_case_own(c, s->T * sizeof(uint32_t));
    for (size_t t = 0; t < s->T; t++)
        c->positions[t] = (uint32_t)(t % (s->T / s->N + 1));
    c->offsets = moe_case_own(c, s->E * sizeof(uint32_t));
    c->slots = moe_case_own(c, s->T * s->K * sizeof(uint32_t));
    c->slots_ref = moe_case_own(c, s->T * s->K * sizeof(uint32_t));
    c->n_slots_out = 0;
    moe_case_outputs(c, s->T * s->K);
}

void moe_run_capacity(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    uint8_t *dropped = (uint8_t *)c->slots;
    for (size_t t = 0; t < s->T; t += s->Q)
        moe_gate_capacity(s->T - t < s->Q ? s->T - t : s->Q, s->E, s->K, s->G, c->positions + t,
                          c->experts + t * s->K, c->offsets, dropped + t * s->K);
    for (size_t p = 0; p < s->T * s->K; p++)
        c->out[p] = (float)dropped[p];
}

void moe_ref_capacity(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    uint8_t *dropped = (uint8_t *)c->slots_ref;
    moe_gate_capacity_ref(s->T, s->K, s->G, c->positions, c->experts, dropped);
    for (size_t p = 0; p < s->T * s->K; p++)
        c->ref[p] = (float)dropped[p];
}

double moe_bytes_capacity(const MoeCaseShape *s)
{
    return (double)s->T * (4 + 3 * (double)s->K);
}

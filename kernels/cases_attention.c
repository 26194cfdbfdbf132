#include "config.h"

#include "kernels/attention.h"
#include "kernels/case_data.h"

#include <string.h>

/* What E chooses: causal with a bias; an encoder's, with one; across to other keys, without. */
enum { BIASED, WHOLE, ACROSS };

/* H: the past of a causal one, or the keys of each sequence across; K: how far the bias reaches; F:
 * its buckets. */
void moe_draw_attention_whole(uint64_t *state, MoeCaseShape *s)
{
    s->T = moe_case_between(state, 1, 400);
    s->N = moe_case_between(state, 1, 4); /* sequences */
    s->G = moe_case_between(state, 1, 3);
    s->Q = s->G * moe_case_between(state, 1, 3);
    s->D = moe_case_between(state, 1, 70);
    s->E = moe_case_between(state, BIASED, ACROSS);
    s->H = s->E == WHOLE ? 0 : moe_case_between(state, s->E == ACROSS ? 1 : 0, 300);
    s->F = 4 * moe_case_between(state, 1, 8);
    s->K = moe_case_between(state, s->F / 2 + 1, 300);
}

static size_t total_keys(const MoeCaseShape *s)
{
    return s->E == ACROSS ? s->N * s->H : s->T + s->N * s->H;
}

void moe_inputs_attention_whole(MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    c->a = moe_case_floats(c, s->T * s->Q * s->D);
    c->b = moe_case_floats(c, total_keys(s) * s->G * s->D);
    c->c = moe_case_floats(c, total_keys(s) * s->G * s->D);
    c->weights = moe_case_own(c, s->Q * (2 * s->K + 1) * sizeof(float));
    const float *table = moe_case_floats(c, s->F * s->Q);
    moe_relative_bias(s->Q, s->F, s->K, s->E == WHOLE, table, c->weights);
    /* Where the queries of each sequence are, and where its keys. */
    c->sequences = moe_case_own(c, 2 * (s->N + 1) * sizeof(size_t));
    c->n_sequences = s->N;
    for (size_t i = 0; i <= s->N; i++) {
        c->sequences[i] = s->T * i * i / (s->N * s->N);
        c->sequences[s->N + 1 + i] = s->E == ACROSS ? i * s->H : c->sequences[i];
    }
    moe_case_outputs(c, s->T * s->Q * s->D);
}

static MoeAttentionShape shape_of(const MoeCase *c)
{
    const MoeCaseShape *s = &c->shape;
    return (MoeAttentionShape){.Q = s->Q,
                               .G = s->G,
                               .D = s->D,
                               .scale = 1,
                               .past = s->E == BIASED ? s->H : 0,
                               .keys = s->E == BIASED ? NULL : c->sequences + s->N + 1,
                               .bias = s->E == ACROSS ? NULL : c->weights,
                               .far = s->K};
}

void moe_run_attention_whole(MoeCase *c)
{
    const MoeAttentionShape shape = shape_of(c);
    moe_attention_causal(c->n_sequences, c->sequences, &shape, c->a, c->b, c->c, c->out);
}

void moe_ref_attention_whole(MoeCase *c)
{
    const MoeAttentionShape shape = shape_of(c);
    moe_attention_causal_ref(c->n_sequences, c->sequences, &shape, c->a, c->b, c->c, c->ref);
}

/* Of sequences of equal length, the causal half taken as a whole. */
double moe_flop_attention_whole(const MoeCaseShape *s)
{
    return 4 * (double)(s->Q * s->D) * (double)s->T * (double)total_keys(s) / (double)s->N;
}

double moe_bytes_attention_whole(const MoeCaseShape *s)
{
    return 8 * (double)(s->D * (s->Q * s->T + s->G * total_keys(s)));
}

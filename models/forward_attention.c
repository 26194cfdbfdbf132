#include "config.h"

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "models/forward_run.h"

#include <math.h>
#include <string.h>

/* Of the norms inside latent attention, whatever rms_norm_eps says: as the reference has it. */
static const float LATENT_EPS = 1e-6F;

static gboolean is_latent(const MoeConfig *config)
{
    return config->kv_lora_rank > 0;
}

/* MLA: the latent and rotated key as projected; the latent again, normalised (or the compressed
 * queries before); keys and values of all heads. */
MoeAttentionWidths moe_attention_widths(const MoeAttention *a, const MoeConfig *config)
{
    const MoeAttentionShape *s = &a->shape;
    MoeAttentionWidths w = {.q = s->Q * s->D, .k = s->G * s->D, .v = s->G * s->DV};
    if (is_latent(config))
        w.wide = a->k.rows + MAX(a->v.cols, a->q_a.rows) + a->v.rows;
    return w;
}

static void project_with_bias(gsize n, const float *x, const MoeMatrix *w, const float *bias,
                              float *y)
{
    moe_linear(n, x, w, y);
    if (bias != NULL)
        moe_add_bias(n, w->rows, bias, y);
}

static void rotate(const MoeRun *run, const MoeAttention *a, gsize start, gsize n, gsize heads,
                   gsize stride, float *x)
{
    gsize R = (gsize)run->config->ropes[a->rope].dim;
    moe_rope(n, heads, stride, R, run->config->rope_pairs, run->rope_rows[a->rope] + start,
             run->cos[a->rope], run->sin[a->rope], x);
}

/* --- grouped-query attention ----------------------------------------------------------------- */

/* The norms of queries and keys: over all heads together, or over each. */
static void norm_heads(const MoeRun *run, const MoeAttention *a, gsize n, float *k)
{
    const MoeFamily *family = run->model->family;
    const MoeMatrix *matrices[] = {&a->q, &a->k};
    const float *norms[] = {a->q_norm, a->k_norm};
    float *rows[] = {run->q, k};
    gboolean unweighted = family->norm_unweighted && run->config->use_qk_norm && a->rope >= 0;
    for (int i = 0; i < 2; i++) {
        gsize width = family->norm_heads ? a->shape.D : matrices[i]->rows;
        if (norms[i] != NULL || unweighted)
            moe_rmsnorm(n * matrices[i]->rows / width, width, rows[i], norms[i],
                        (float)run->config->rms_norm_eps, rows[i]);
    }
}

/* Llama 4's temperature in blocks without RoPE (Nakanishi, 2025, arXiv 2501.19399). */
static void scale_queries(const MoeRun *run, const MoeAttention *a, gsize start, gsize n)
{
    const MoeConfig *c = run->config;
    gsize width = a->shape.Q * a->shape.D;
    for (gsize t = 0; t < n; t++) {
        double steps = floor(((double)run->positions[start + t] + 1) / c->temperature_floor);
        moe_scale(width, (float)(log1p(steps) * c->temperature_scale + 1), run->q + t * width);
    }
}

static void prepare_gqa(MoeRun *run, const MoeAttention *a, gsize start, gsize n, const float *h,
                        const MoeKeys *to)
{
    const MoeFamily *family = run->model->family;
    const MoeAttentionShape *s = &a->shape;
    project_with_bias(n, h, &a->q, a->q_bias, run->q);
    project_with_bias(n, h, &a->k, a->k_bias, to->k);
    project_with_bias(n, h, &a->v, a->v_bias, to->v);
    moe_run_lap(run, MOE_STAGE_PROJECTIONS);
    if (!family->norm_after_rope)
        norm_heads(run, a, n, to->k);
    if (a->clip > 0) {
        moe_clip(n * a->q.rows, a->clip, run->q);
        moe_clip(n * a->k.rows, a->clip, to->k);
        moe_clip(n * a->v.rows, a->clip, to->v);
    }
    if (a->v_scale < 1 || a->v_scale > 1)
        moe_scale(n * a->v.rows, a->v_scale, to->v);
    moe_run_lap(run, MOE_STAGE_NORM);
    if (a->rope >= 0) {
        rotate(run, a, start, n, s->Q, s->D, run->q);
        rotate(run, a, start, n, s->G, s->D, to->k);
    } else if (run->config->temperature_floor > 0) {
        scale_queries(run, a, start, n);
    }
    moe_run_lap(run, MOE_STAGE_ROPE);
    if (family->norm_after_rope)
        norm_heads(run, a, n, to->k);
}

/* --- latent attention ------------------------------------------------------------------------ */

/* k [n, Q, D] of the heads' own parts and the shared rotated one, and v [n, Q, DV]. */
static void assemble_heads(const MoeRun *run, const MoeAttention *a, gsize n, const float *shared,
                           gsize shared_stride, const float *heads, const MoeKeys *to)
{
    const MoeAttentionShape *s = &a->shape;
    gsize R = (gsize)run->config->qk_rope_head_dim, own = s->D - R;
#pragma omp parallel for schedule(static)
    for (gsize t = 0; t < n; t++) {
        for (gsize q = 0; q < s->Q; q++) {
            const float *from = heads + (t * s->Q + q) * (own + s->DV);
            float *k = to->k + (t * s->Q + q) * s->D;
            memcpy(k, from, own * sizeof(float));
            memcpy(k + own, shared + t * shared_stride, R * sizeof(float));
            memcpy(to->v + (t * s->Q + q) * s->DV, from + own, s->DV * sizeof(float));
        }
    }
}

static void prepare_mla(MoeRun *run, const MoeAttention *a, gsize start, gsize n, const float *h,
                        const MoeKeys *to)
{
    const MoeAttentionShape *s = &a->shape;
    gsize rank = a->q_a.rows, latent = a->v.cols, R = (gsize)run->config->qk_rope_head_dim;
    float *both = run->wide, *small = both + n * a->k.rows;
    float *heads = small + n * MAX(latent, rank);
    if (a->q_a.data != NULL) {
        moe_linear(n, h, &a->q_a, small);
        moe_rmsnorm(n, rank, small, a->q_norm, LATENT_EPS, small);
        if (a->latent_scale[0] < 1 || a->latent_scale[0] > 1)
            moe_scale(n * rank, a->latent_scale[0], small);
    }
    moe_linear(n, a->q_a.data != NULL ? small : h, &a->q, run->q);
    moe_linear(n, h, &a->k, both);
    for (gsize t = 0; t < n; t++)
        memcpy(small + t * latent, both + t * (latent + R), latent * sizeof(float));
    moe_rmsnorm(n, latent, small, a->k_norm, LATENT_EPS, small);
    if (a->latent_scale[1] < 1 || a->latent_scale[1] > 1)
        moe_scale(n * latent, a->latent_scale[1], small);
    moe_linear(n, small, &a->v, heads);
    moe_run_lap(run, MOE_STAGE_PROJECTIONS);
    rotate(run, a, start, n, s->Q, s->D, run->q + s->D - R);
    rotate(run, a, start, n, 1, latent + R, both + latent);
    assemble_heads(run, a, n, both + latent, latent + R, heads, to);
    moe_run_lap(run, MOE_STAGE_ROPE);
}

/* x += residual_scale * post_norm(o out + o_bias) for @n tokens; @out is overwritten. */
static void add_output(MoeRun *run, const MoeAttention *a, gsize n, float *out, float *x)
{
    gboolean plain = a->post_norm.weight == NULL && a->o_bias == NULL;
    if (plain && !(run->config->residual_multiplier < 1 || run->config->residual_multiplier > 1)) {
        moe_linear_add(n, out, &a->o, x);
        moe_run_lap(run, MOE_STAGE_PROJECTIONS);
        return;
    }
    project_with_bias(n, out, &a->o, a->o_bias, run->q);
    moe_run_lap(run, MOE_STAGE_PROJECTIONS);
    moe_run_add(run, &a->post_norm, n, run->q, x);
    moe_run_lap(run, MOE_STAGE_NORM);
}

/* Where the sequences of a piece begin in it. */
static size_t *offsets_of(const MoeRun *run, const MoePiece *piece)
{
    gsize n_sequences = piece->last - piece->first;
    size_t *offsets = g_new(size_t, n_sequences + 1);
    for (gsize i = 0; i < n_sequences; i++)
        offsets[i] = i == 0 ? 0 : run->job->offsets[piece->first + i] - piece->start;
    offsets[n_sequences] = piece->n;
    return offsets;
}

void moe_run_attention(MoeRun *run, const MoeAttention *a, const MoeKeys *keys,
                       const MoePiece *piece)
{
    gsize start = piece->start, n = piece->n;
    gsize H = (gsize)run->shape->hidden_size;
    MoeAttentionWidths widths = moe_attention_widths(a, run->config);
    MoeAttentionShape shape = a->shape;
    const MoeKeys to = {keys->k + piece->past * widths.k, keys->v + piece->past * widths.v};
    float *x = run->x + start * H;
    moe_run_touch(run, moe_attention_bytes(a));
    moe_run_norm(run, &a->norm, n, x, run->normed);
    moe_run_lap(run, MOE_STAGE_NORM);
    if (is_latent(run->config))
        prepare_mla(run, a, start, n, run->normed, &to);
    else
        prepare_gqa(run, a, start, n, run->normed, &to);
    g_autofree size_t *offsets = offsets_of(run, piece);
    shape.precision = a->o.precision;
    shape.past = piece->past;
    shape.keys = run->job->n_encoded > 0 && piece->stack == 0 ? offsets : NULL;
    shape.bias = run->relative[piece->stack];
    shape.far = (size_t)run->config->relative_far;
    moe_attention_causal(piece->last - piece->first, offsets, &shape, run->q, keys->k, keys->v,
                         run->normed);
    moe_run_lap(run, MOE_STAGE_ATTENTION);
    add_output(run, a, n, run->normed, x);
}

void moe_run_cross(MoeRun *run, const MoeAttention *a, const MoeKeys *keys, const MoePiece *piece)
{
    const gsize *of = run->job->offsets + piece->first - run->job->n_encoded;
    gsize H = (gsize)run->shape->hidden_size, n = piece->n;
    gsize n_sequences = piece->last - piece->first, n_keys = of[n_sequences] - of[0];
    float *x = run->x + piece->start * H;
    const float *encoded = run->x + of[0] * H;
    moe_run_touch(run, moe_attention_bytes(a));
    moe_run_norm(run, &a->norm, n, x, run->normed);
    moe_run_lap(run, MOE_STAGE_NORM);
    project_with_bias(n, run->normed, &a->q, a->q_bias, run->q);
    project_with_bias(n_keys, encoded, &a->k, a->k_bias, keys->k);
    project_with_bias(n_keys, encoded, &a->v, a->v_bias, keys->v);
    moe_run_lap(run, MOE_STAGE_PROJECTIONS);
    g_autofree size_t *offsets = offsets_of(run, piece);
    g_autofree size_t *key_offsets = g_new(size_t, n_sequences + 1);
    for (gsize i = 0; i <= n_sequences; i++)
        key_offsets[i] = of[i] - of[0];
    MoeAttentionShape shape = a->shape;
    shape.precision = a->o.precision;
    shape.keys = key_offsets;
    moe_attention_causal(n_sequences, offsets, &shape, run->q, keys->k, keys->v, run->normed);
    moe_run_lap(run, MOE_STAGE_ATTENTION);
    add_output(run, a, n, run->normed, x);
}

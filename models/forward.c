#include "config.h"

#include "models/forward.h"

#include "kernels/attention.h"
#include "kernels/gate.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/permute.h"
#include "kernels/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const stage_names[] = {
    [MOE_STAGE_NORM] = "norm",           [MOE_STAGE_PROJECTIONS] = "projections",
    [MOE_STAGE_ROPE] = "rope",           [MOE_STAGE_ATTENTION] = "attention",
    [MOE_STAGE_ROUTER] = "router",       [MOE_STAGE_GATE] = "gate",
    [MOE_STAGE_PERMUTE] = "permutation", [MOE_STAGE_EXPERTS] = "experts",
    [MOE_STAGE_COMBINE] = "combination", [MOE_STAGE_HEAD] = "LM head",
    [MOE_STAGE_CHECK] = "checks",
};

const char *moe_stage_name(MoeStage stage)
{
    return stage_names[stage];
}

/* The state of a run. Letters as in kernels/gate.h. */
typedef struct {
    const MoeForward *job;
    const MoeModelShape *shape;
    MoeEnds ends;
    MoeBlock *blocks;
    gsize T;
    float *x;                        /* [T, H] */
    uint32_t *positions;             /* [T] */
    float *cos, *sin;                /* [longest sequence, D/2] */
    gsize group, chunk;              /* most tokens at a time in attention and in the experts */
    float *normed, *q, *k, *v;       /* [group, .] */
    float *logits;                   /* [chunk, E], or [T, E] when wanted */
    float *hidden;                   /* [chunk, H], or [T, H] when wanted */
    uint16_t *experts;               /* [T, K] */
    float *weights;                  /* [T, K] */
    uint32_t *offsets, *slots;       /* [E + 1], [chunk, K] */
    float *rows, *middle, *rows_out; /* [chunk * K, .] */
    float *sum;                      /* [chunk, H]: an FFN's output that is not added as it is */
    gint64 lap_us;
} Run;

/* Adds the time since the last call to @stage. */
static void lap(Run *run, MoeStage stage)
{
    gint64 now = g_get_monotonic_time();
    if (run->job->seconds != NULL)
        run->job->seconds[stage] += (double)(now - run->lap_us) / G_USEC_PER_SEC;
    run->lap_us = now;
}

static gboolean check_batch(const MoeForward *job, gsize T, GError **error)
{
    for (gsize t = 0; t < T; t++)
        if ((gint64)job->ids[t] >= job->model->shape.vocab_size)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "token %" G_GSIZE_FORMAT
                            " has the id %u; the model's vocabulary has %" G_GINT64_FORMAT,
                            t, job->ids[t], job->model->shape.vocab_size);
    return TRUE;
}

static gboolean bind(Run *run, GError **error)
{
    const MoeForward *job = run->job;
    const MoeFamily *family = job->model->family;
    run->blocks = g_new0(MoeBlock, run->shape->num_hidden_layers);
    if (!moe_family_bind_ends(job->model, job->weights, &run->ends, error))
        return FALSE;
    for (int l = 0; l < run->shape->num_hidden_layers; l++)
        if (!moe_family_bind_block(job->model, job->weights, l, &run->blocks[l], error))
            return FALSE;
    return moe_weights_check_used(job->weights, family->ignored_tensors, error) &&
           moe_weights_check_finite(job->weights, &run->ends.embedding, error);
}

static gboolean check_ffn(const Run *run, const MoeExpert *ffn, GError **error)
{
    const MoeMatrix *matrices[] = {&ffn->gate, &ffn->up, &ffn->down};
    for (size_t i = 0; i < G_N_ELEMENTS(matrices); i++)
        if (matrices[i]->data != NULL &&
            !moe_weights_check_finite(run->job->weights, matrices[i], error))
            return FALSE;
    return TRUE;
}

static gboolean check_block(const Run *run, const MoeBlock *block, GError **error)
{
    const MoeMatrix *dense[] = {&block->q, &block->k,      &block->v,
                                &block->o, &block->router, &block->shared_router};
    for (size_t i = 0; i < G_N_ELEMENTS(dense); i++)
        if (dense[i]->data != NULL && !moe_weights_check_finite(run->job->weights, dense[i], error))
            return FALSE;
    for (gint64 e = 0; block->experts != NULL && e < run->shape->num_experts; e++)
        if (!check_ffn(run, &block->experts[e], error))
            return FALSE;
    return check_ffn(run, &block->dense, error) && check_ffn(run, &block->shared, error);
}

/* Whole sequences go through attention together, as many as give the products enough rows. */
static gsize group_end(const MoeForward *job, gsize first)
{
    const gsize enough = 4096;
    gsize s = first + 1;
    while (s < job->n_sequences && job->offsets[s + 1] - job->offsets[first] <= enough)
        s++;
    return s;
}

static void plan_memory(Run *run)
{
    const MoeForward *job = run->job;
    const MoeModelShape *s = run->shape;
    for (gsize first = 0; first < job->n_sequences; first = group_end(job, first))
        run->group = MAX(run->group, job->offsets[group_end(job, first)] - job->offsets[first]);
    gsize budget = job->scratch_bytes > 0 ? job->scratch_bytes : 512 << 20;
    gsize per_pair = (gsize)(2 * s->hidden_size + s->moe_intermediate_size) * sizeof(float);
    gsize per_token = per_pair * (gsize)s->num_experts_per_tok;
    /* Beyond some thousand tokens the experts' products gain nothing from more rows. */
    run->chunk = CLAMP(budget / per_token, 64, 8192);
    run->chunk = MIN(run->chunk, MAX(run->T, 1));
}

static void allocate(Run *run)
{
    const MoeModelShape *s = run->shape;
    gsize T = run->T, H = (gsize)s->hidden_size, E = (gsize)s->num_experts;
    gsize K = (gsize)s->num_experts_per_tok, F = (gsize)s->moe_intermediate_size;
    gsize D = (gsize)s->head_dim, pairs = run->chunk * K;
    gsize dense = (gsize)MAX(s->intermediate_size, s->shared_expert_intermediate_size);
    gsize q_width = MAX(H, (gsize)s->num_attention_heads * D);
    run->x = moe_scratch(T * H * sizeof(float));
    run->positions = moe_scratch(T * sizeof(uint32_t));
    run->normed = moe_scratch(run->group * q_width * sizeof(float));
    run->q = moe_scratch(run->group * q_width * sizeof(float));
    run->k = moe_scratch(run->group * (gsize)s->num_key_value_heads * D * sizeof(float));
    run->v = moe_scratch(run->group * (gsize)s->num_key_value_heads * D * sizeof(float));
    run->logits = moe_scratch((run->job->want_logits ? T : run->chunk) * E * sizeof(float));
    run->hidden = moe_scratch((run->job->want_hidden ? T : run->chunk) * H * sizeof(float));
    run->experts = moe_scratch(T * K * sizeof(uint16_t));
    run->weights = moe_scratch(T * K * sizeof(float));
    run->offsets = moe_scratch((E + 1) * sizeof(uint32_t));
    run->slots = moe_scratch(pairs * sizeof(uint32_t));
    run->rows = moe_scratch(pairs * H * sizeof(float));
    run->middle = moe_scratch(MAX(pairs * F, run->chunk * dense) * sizeof(float));
    run->rows_out = moe_scratch(pairs * H * sizeof(float));
    run->sum = moe_scratch(run->chunk * H * sizeof(float));
}

static void release(Run *run)
{
    float *floats[] = {run->x,    run->cos,    run->sin,      run->normed, run->q,
                       run->k,    run->v,      run->logits,   run->hidden, run->weights,
                       run->rows, run->middle, run->rows_out, run->sum};
    for (size_t i = 0; i < G_N_ELEMENTS(floats); i++)
        free(floats[i]);
    free(run->positions);
    free(run->experts);
    free(run->offsets);
    free(run->slots);
    for (int l = 0; run->blocks != NULL && l < run->shape->num_hidden_layers; l++)
        g_free(run->blocks[l].experts);
    g_free(run->blocks);
}

static void embed(Run *run)
{
    const MoeForward *job = run->job;
    const MoeMatrix *embedding = &run->ends.embedding;
    gsize H = embedding->cols, row_bytes = H * moe_dtype_size(embedding->dtype);
    gsize longest = 1;
    for (gsize t = 0; t < run->T; t++)
        moe_widen(embedding->dtype, (const char *)embedding->data + job->ids[t] * row_bytes, H,
                  run->x + t * H);
    for (gsize s = 0; s < job->n_sequences; s++) {
        longest = MAX(longest, job->offsets[s + 1] - job->offsets[s]);
        for (gsize t = job->offsets[s]; t < job->offsets[s + 1]; t++)
            run->positions[t] = (uint32_t)(t - job->offsets[s]);
    }
    gsize half = run->ends.rotary_dim / 2;
    run->cos = moe_scratch(longest * half * sizeof(float));
    run->sin = moe_scratch(longest * half * sizeof(float));
    moe_rope_table(longest, run->ends.rotary_dim, run->ends.rope_theta, run->cos, run->sin);
}

/* The norms of queries and keys: over all heads together, or over each. */
static void norm_heads(const Run *run, const MoeBlock *block, gsize n)
{
    const MoeFamily *family = run->job->model->family;
    gsize D = (gsize)run->shape->head_dim;
    const MoeMatrix *matrices[] = {&block->q, &block->k};
    const float *norms[] = {block->q_norm, block->k_norm};
    float *rows[] = {run->q, run->k};
    for (int i = 0; i < 2; i++) {
        gsize width = family->norm_heads ? D : matrices[i]->rows;
        if (norms[i] != NULL)
            moe_rmsnorm(n * matrices[i]->rows / width, width, rows[i], norms[i], run->ends.norm_eps,
                        rows[i]);
    }
}

static void project(Run *run, const MoeBlock *block, gsize n, const float *h)
{
    const MoeMatrix *matrices[] = {&block->q, &block->k, &block->v};
    const float *biases[] = {block->q_bias, block->k_bias, block->v_bias};
    float *out[] = {run->q, run->k, run->v};
    for (int i = 0; i < 3; i++) {
        moe_linear(n, h, matrices[i], out[i]);
        if (biases[i] != NULL)
            moe_add_bias(n, matrices[i]->rows, biases[i], out[i]);
    }
    lap(run, MOE_STAGE_PROJECTIONS);
}

/* Rotates, normalises and clips queries and keys, in the family's order. */
static void prepare_heads(Run *run, const MoeBlock *block, gsize start, gsize n)
{
    const MoeFamily *family = run->job->model->family;
    const MoeModelShape *s = run->shape;
    gsize D = (gsize)s->head_dim, R = run->ends.rotary_dim;
    if (!family->norm_after_rope)
        norm_heads(run, block, n);
    if (block->clip > 0) {
        moe_clip(n * block->q.rows, block->clip, run->q);
        moe_clip(n * block->k.rows, block->clip, run->k);
        moe_clip(n * block->v.rows, block->clip, run->v);
    }
    lap(run, MOE_STAGE_NORM);
    const uint32_t *positions = run->positions + start;
    moe_rope_half(n, (gsize)s->num_attention_heads, D, R, positions, run->cos, run->sin, run->q);
    moe_rope_half(n, (gsize)s->num_key_value_heads, D, R, positions, run->cos, run->sin, run->k);
    lap(run, MOE_STAGE_ROPE);
    if (family->norm_after_rope)
        norm_heads(run, block, n);
}

/* Attention of the sequences [first, last), which lie side by side. */
static void attend_group(Run *run, const MoeBlock *block, gsize first, gsize last)
{
    const MoeForward *job = run->job;
    const MoeModelShape *s = run->shape;
    gsize start = job->offsets[first], n = job->offsets[last] - start, H = (gsize)s->hidden_size;
    float *x = run->x + start * H, eps = run->ends.norm_eps;
    const MoeAttentionShape shape = {.Q = (size_t)s->num_attention_heads,
                                     .G = (size_t)s->num_key_value_heads,
                                     .D = (size_t)s->head_dim,
                                     .scale = 1 / sqrtf((float)s->head_dim),
                                     .window = block->window};
    if (block->attention_norm != NULL)
        moe_rmsnorm(n, H, x, block->attention_norm, eps, run->normed);
    lap(run, MOE_STAGE_NORM);
    project(run, block, n, block->attention_norm != NULL ? run->normed : x);
    prepare_heads(run, block, start, n);
    g_autofree size_t *offsets = g_new(size_t, last - first + 1);
    for (gsize i = first; i <= last; i++)
        offsets[i - first] = job->offsets[i] - start;
    moe_attention_causal(last - first, offsets, &shape, run->q, run->k, run->v, run->normed);
    lap(run, MOE_STAGE_ATTENTION);
    if (block->attention_post_norm == NULL) {
        moe_linear_add(n, run->normed, &block->o, x);
        lap(run, MOE_STAGE_PROJECTIONS);
        return;
    }
    moe_linear(n, run->normed, &block->o, run->q);
    lap(run, MOE_STAGE_PROJECTIONS);
    moe_rmsnorm(n, H, run->q, block->attention_post_norm, eps, run->q);
    moe_add_scaled(n * H, 1, run->q, x);
    lap(run, MOE_STAGE_NORM);
}

/* y += ffn(h), times sigmoid(router h) where there is a @router, for @n tokens. */
static void run_dense(Run *run, const MoeExpert *ffn, const MoeMatrix *router, gsize n,
                      const float *h, float *y)
{
    gsize H = (gsize)run->shape->hidden_size;
    const uint32_t offsets[] = {0, (uint32_t)n};
    moe_experts_swiglu(1, H, ffn->gate.rows, ffn, offsets, h, run->middle, run->rows_out);
    if (router->data == NULL) {
        moe_add_scaled(n * H, 1, run->rows_out, y);
    } else {
        moe_linear(n, h, router, run->middle);
        moe_add_gated(n, H, run->middle, run->rows_out, y);
    }
    lap(run, MOE_STAGE_EXPERTS);
}

/* y += the sum of weights * expert(h) for the tokens [start, start + n). */
static gboolean run_experts(Run *run, const MoeBlock *block, gsize start, gsize n, int layer,
                            const float *h, float *y, GError **error)
{
    const MoeModelShape *s = run->shape;
    gsize H = (gsize)s->hidden_size, E = (gsize)s->num_experts, K = (gsize)s->num_experts_per_tok;
    float *logits = run->logits + (run->job->want_logits ? start * E : 0);
    uint16_t *experts = run->experts + start * K;
    float *weights = run->weights + start * K;
    moe_linear(n, h, &block->router, logits);
    lap(run, MOE_STAGE_ROUTER);
    size_t bad = moe_find_nonfinite(MOE_F32, logits, n * E);
    lap(run, MOE_STAGE_CHECK);
    if (bad != SIZE_MAX)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "block %d: the router logits of token %" G_GSIZE_FORMAT
                        " are not finite: the activations overflow",
                        layer, start + bad / E);
    moe_gate(n, E, K, logits, &block->gate, experts, weights);
    lap(run, MOE_STAGE_GATE);
    moe_permute_plan(n, K, E, experts, run->offsets, run->slots);
    moe_permute_rows(n, K, H, h, run->slots, run->rows);
    lap(run, MOE_STAGE_PERMUTE);
    moe_experts_swiglu(E, H, (gsize)s->moe_intermediate_size, block->experts, run->offsets,
                       run->rows, run->middle, run->rows_out);
    lap(run, MOE_STAGE_EXPERTS);
    moe_combine_rows(n, K, H, run->rows_out, run->slots, weights, y);
    lap(run, MOE_STAGE_COMBINE);
    return TRUE;
}

/* The FFN, dense or of experts, of the tokens [start, start + n). */
static gboolean run_ffn(Run *run, const MoeBlock *block, gsize start, gsize n, int layer,
                        GError **error)
{
    gsize H = (gsize)run->shape->hidden_size;
    float *x = run->x + start * H, eps = run->ends.norm_eps;
    float *h = run->hidden + (run->job->want_hidden ? start * H : 0);
    /* Experts add to y what they compute of h: without a norm in front, h is x before that. */
    float *y = block->ffn_post_norm != NULL ? run->sum : x;
    if (block->ffn_norm != NULL)
        moe_rmsnorm(n, H, x, block->ffn_norm, eps, h);
    else
        memcpy(h, x, n * H * sizeof(float));
    if (block->ffn_post_norm != NULL)
        memset(y, 0, n * H * sizeof(float));
    lap(run, MOE_STAGE_NORM);
    if (block->dense.gate.data != NULL)
        run_dense(run, &block->dense, &(MoeMatrix){0}, n, h, y);
    else if (!run_experts(run, block, start, n, layer, h, y, error))
        return FALSE;
    if (block->shared.gate.data != NULL)
        run_dense(run, &block->shared, &block->shared_router, n, h, y);
    if (block->ffn_post_norm == NULL)
        return TRUE;
    moe_rmsnorm(n, H, y, block->ffn_post_norm, eps, y);
    moe_add_scaled(n * H, 1, y, x);
    lap(run, MOE_STAGE_NORM);
    return TRUE;
}

static gboolean run_block(Run *run, int layer, GError **error)
{
    const MoeForward *job = run->job;
    const MoeBlock *block = &run->blocks[layer];
    double done = (double)layer * (double)run->T,
           total = (double)run->T * (double)run->shape->num_hidden_layers;
    gboolean good = check_block(run, block, error);
    lap(run, MOE_STAGE_CHECK);
    if (!good)
        return FALSE;
    for (gsize first = 0; first < job->n_sequences;) {
        gsize last = group_end(job, first);
        attend_group(run, block, first, last);
        moe_progress_update(job->progress, done + (double)job->offsets[last] / 2, total);
        first = last;
    }
    for (gsize start = 0; start < run->T; start += run->chunk) {
        if (!run_ffn(run, block, start, MIN(run->chunk, run->T - start), layer, error))
            return FALSE;
        moe_progress_update(job->progress, done + (double)(run->T + start) / 2, total);
    }
    if (block->experts == NULL)
        return TRUE;
    const MoeRouting routing = {
        .layer = layer,
        .experts = run->experts,
        .weights = run->weights,
        .hidden = job->want_hidden ? run->hidden : NULL,
        .logits = job->want_logits ? run->logits : NULL,
    };
    return job->routing == NULL || job->routing(job->user, &routing, error);
}

static gboolean run_head(Run *run, GError **error)
{
    const MoeForward *job = run->job;
    if (job->n_head_tokens == 0)
        return TRUE;
    if (run->ends.head.data != run->ends.embedding.data &&
        !moe_weights_check_finite(job->weights, &run->ends.head, error))
        return FALSE;
    gsize H = (gsize)run->shape->hidden_size;
    float *last = moe_scratch(job->n_head_tokens * H * sizeof(float));
    for (gsize i = 0; i < job->n_head_tokens; i++)
        memcpy(last + i * H, run->x + job->head_tokens[i] * H, H * sizeof(float));
    moe_rmsnorm(job->n_head_tokens, H, last, run->ends.final_norm, run->ends.norm_eps, last);
    moe_linear(job->n_head_tokens, last, &run->ends.head, job->head_out);
    free(last);
    lap(run, MOE_STAGE_HEAD);
    return TRUE;
}

gboolean moe_forward(const MoeForward *job, GError **error)
{
    Run run = {.job = job,
               .shape = &job->model->shape,
               .T = job->offsets[job->n_sequences],
               .lap_us = g_get_monotonic_time()};
    gboolean good = check_batch(job, run.T, error) && bind(&run, error);
    if (good) {
        plan_memory(&run);
        allocate(&run);
        embed(&run);
        for (int l = 0; l < run.shape->num_hidden_layers && good; l++)
            good = run_block(&run, l, error);
        good = good && run_head(&run, error);
    }
    release(&run);
    return good;
}

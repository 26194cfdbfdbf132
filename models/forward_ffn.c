#include "config.h"

#include "kernels/gate.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/permute.h"
#include "models/forward_run.h"

#include <string.h>

/* y += ffn(h), times sigmoid(router h) where there is a @router, for @n tokens. */
static void run_dense(MoeRun *run, const MoeExpert *ffn, const MoeMatrix *router, gsize n,
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
    moe_run_lap(run, MOE_STAGE_EXPERTS);
}

/* Experts and weights of the tokens [start, start + n). */
static gboolean route(MoeRun *run, const MoeBlock *block, gsize start, gsize n, int layer,
                      const float *h, GError **error)
{
    gsize E = (gsize)run->shape->num_experts, K = (gsize)run->shape->num_experts_per_tok;
    float *logits = run->logits + (run->job->want_logits ? start * E : 0);
    moe_linear(n, h, &block->router, logits);
    if (block->router_bias != NULL)
        moe_add_bias(n, E, block->router_bias, logits);
    moe_run_lap(run, MOE_STAGE_ROUTER);
    size_t bad = moe_find_nonfinite(MOE_F32, logits, n * E);
    moe_run_lap(run, MOE_STAGE_CHECK);
    if (bad != SIZE_MAX)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "block %d: the router logits of token %" G_GSIZE_FORMAT
                        " are not finite: the activations overflow",
                        layer, start + bad / E);
    moe_gate(n, E, K, logits, &block->gate, run->experts + start * K, run->routed + start * K);
    if (block->capacity > 0)
        moe_gate_capacity(n, E, K, (size_t)block->capacity, run->positions + start,
                          run->experts + start * K, run->counts, run->dropped + start * K);
    moe_run_lap(run, MOE_STAGE_GATE);
    return TRUE;
}

/* The experts of the tokens [start, start + n), those that capacity dropped in one of their own. */
static const uint16_t *kept_experts(MoeRun *run, gsize start, gsize n)
{
    gsize E = (gsize)run->shape->num_experts, K = (gsize)run->shape->num_experts_per_tok;
    const uint16_t *experts = run->experts + start * K;
    if (run->dropped == NULL)
        return experts;
    for (gsize p = 0; p < n * K; p++)
        run->kept[p] = run->dropped[start * K + p] != 0 ? (uint16_t)E : experts[p];
    return run->kept;
}

/* y += the sum of weights * expert(h), or of expert(weights * h), for @n tokens. */
static void run_experts(MoeRun *run, const MoeBlock *block, gsize start, gsize n, const float *h,
                        float *y)
{
    const MoeModelShape *s = run->shape;
    gsize H = (gsize)s->hidden_size, E = (gsize)s->num_experts, K = (gsize)s->num_experts_per_tok;
    gsize computed = (gsize)(s->num_experts - s->identity_experts);
    const float *weights = run->routed + start * K;
    gsize bins = E + (run->dropped != NULL ? 1 : 0);
    moe_permute_plan(n, K, bins, kept_experts(run, start, n), run->offsets, run->slots);
    moe_permute_rows(n, K, H, h, run->slots, run->rows);
    if (run->model->family->weighs_input)
        moe_scale_rows(n, K, H, run->slots, weights, run->rows);
    moe_run_lap(run, MOE_STAGE_PERMUTE);
    moe_experts_swiglu(computed, H, (gsize)s->moe_intermediate_size, block->experts, run->offsets,
                       run->rows, run->middle, run->rows_out);
    gsize first = run->offsets[computed] * H, end = run->offsets[E] * H;
    memcpy(run->rows_out + first, run->rows + first, (end - first) * sizeof(float));
    memset(run->rows_out + end, 0, (n * K * H - end) * sizeof(float));
    moe_run_lap(run, MOE_STAGE_EXPERTS);
    moe_combine_rows(n, K, H, run->rows_out, run->slots,
                     run->model->family->weighs_input ? NULL : weights, y);
    moe_run_lap(run, MOE_STAGE_COMBINE);
}

gboolean moe_run_ffn(MoeRun *run, const MoeBlock *block, int part, gsize start, gsize n, int layer,
                     GError **error)
{
    gsize H = (gsize)run->shape->hidden_size;
    const MoeNorm *norm = &block->parts[part].norm, *post_norm = &block->parts[part].post_norm;
    float *x = run->x + start * H;
    gboolean sparse = part == 0 && block->experts != NULL, shortcut = block->n_parts > 1;
    /* run->rows is free until there are experts. */
    float *h = sparse ? run->hidden + (run->job->want_hidden ? start * H : 0) : run->rows;
    double multiplier = run->config->residual_multiplier;
    /* Experts add to y what they compute of h: without a norm in front, h is x before that. */
    gboolean apart = post_norm->weight != NULL || multiplier < 1 || multiplier > 1;
    float *y = apart ? run->sum : x;
    moe_run_norm(run, norm, n, x, h);
    if (apart)
        memset(y, 0, n * H * sizeof(float));
    if (shortcut && sparse)
        memset(run->shortcut + start * H, 0, n * H * sizeof(float));
    moe_run_lap(run, MOE_STAGE_NORM);
    if (sparse && !route(run, block, start, n, layer, h, error))
        return FALSE;
    if (sparse)
        run_experts(run, block, start, n, h, shortcut ? run->shortcut + start * H : y);
    if (block->parts[part].dense.gate.data != NULL)
        run_dense(run, &block->parts[part].dense, &(MoeMatrix){0}, n, h, y);
    if (sparse && block->shared.gate.data != NULL)
        run_dense(run, &block->shared, &block->shared_router, n, h, y);
    if (apart)
        moe_run_add(run, post_norm, n, y, x);
    moe_run_lap(run, MOE_STAGE_NORM);
    return TRUE;
}

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
    moe_run_touch(run, moe_expert_bytes(ffn));
    moe_experts_swiglu(1, H, ffn->gate.rows, ffn, offsets, h, run->middle, run->rows_out);
    if (router->data == NULL) {
        moe_add_scaled(n * H, 1, run->rows_out, y);
    } else {
        moe_linear_steady(n, h, router, run->middle);
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
    moe_linear_steady(n, h, &block->router, logits);
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

/* The experts from @first on that go through together: as many as there is room for the rows and the
 * weights of, one at least. Returns the next. */
static gsize group_end(const MoeRun *run, const MoeBlock *block, gsize first, double *bytes_out)
{
    gsize E = (gsize)run->shape->num_experts, end = first;
    gsize computed = E - (gsize)run->shape->identity_experts;
    double bytes = 0, more = 0;
    do {
        bytes += more;
        end++;
        more = end < computed ? moe_expert_bytes(&block->experts[end]) : 0;
    } while (end < E && run->offsets[end + 1] - run->offsets[first] <= run->plan.pairs &&
             bytes + more <= run->plan.window);
    *bytes_out = bytes;
    return end;
}

/* The rows of experts [first, end), gathered in run->rows, into run->rows_out. */
static void run_group(MoeRun *run, const MoeBlock *block, gsize first, gsize end)
{
    gsize H = (gsize)run->shape->hidden_size, F = (gsize)run->shape->moe_intermediate_size;
    gsize computed = (gsize)(run->shape->num_experts - run->shape->identity_experts);
    gsize last = CLAMP(computed, first, end), base = run->offsets[first];
    g_autofree uint32_t *offsets = g_new(uint32_t, last - first + 1);
    for (gsize e = first; e <= last; e++)
        offsets[e - first] = (uint32_t)(run->offsets[e] - base);
    if (last > first)
        moe_experts_swiglu(last - first, H, F, block->experts + first, offsets, run->rows,
                           run->middle, run->rows_out);
    gsize done = (run->offsets[last] - base) * H, all = (run->offsets[end] - base) * H;
    memcpy(run->rows_out + done, run->rows + done, (all - done) * sizeof(float)); /* identities */
}

static gboolean check_group(const MoeRun *run, const MoeBlock *block, gsize first, gsize end,
                            GError **error)
{
    gsize computed = (gsize)(run->shape->num_experts - run->shape->identity_experts);
    const gsize last = MIN(end, computed);
    gsize bad = last;
    /* Many small ones go to many threads; each large one does by itself. */
#pragma omp parallel for schedule(dynamic) reduction(min : bad) if (last > first + 1)
    for (gsize e = first; e < last; e++)
        if (!moe_run_check_ffn(run, &block->experts[e], NULL))
            bad = MIN(bad, e);
    return bad == last || moe_run_check_ffn(run, &block->experts[bad], error);
}

/* y += the sum of weights * expert(h), or of expert(weights * h), for the @n tokens from @start on of
 * block @layer. */
static gboolean run_experts(MoeRun *run, const MoeBlock *block, gsize start, gsize n, int layer,
                            const float *h, float *y, GError **error)
{
    const MoeModelShape *s = run->shape;
    gsize H = (gsize)s->hidden_size, E = (gsize)s->num_experts, K = (gsize)s->num_experts_per_tok;
    gboolean weighs_input = run->model->family->weighs_input;
    const int stack = moe_model_stack(s, layer);
    gsize bins = E + (run->dropped != NULL ? 1 : 0);
    const float *weights = run->routed + start * K;
    double bytes;
    moe_permute_plan(n, K, bins, kept_experts(run, start, n), run->offsets, run->slots);
    for (gsize first = 0, end; first < E; first = end) {
        end = group_end(run, block, first, &bytes);
        const uint32_t *slots = run->offsets;
        moe_run_touch(run, bytes);
        moe_run_prefetch_experts(run, block, end);
        if (end == E && start + n == run->stacks[stack].end_token)
            moe_run_prefetch_block(run, layer + 1);
        moe_run_lap(run, MOE_STAGE_PERMUTE);
        if (!run->checked && start == run->stacks[stack].first_token &&
            !check_group(run, block, first, end, error))
            return FALSE;
        moe_run_lap(run, MOE_STAGE_CHECK);
        moe_permute_rows(n, K, H, h, run->slots, slots[first], slots[end], run->rows);
        if (weighs_input)
            moe_scale_rows(n, K, H, run->slots, slots[first], slots[end], weights, run->rows);
        moe_run_lap(run, MOE_STAGE_PERMUTE);
        run_group(run, block, first, end);
        moe_run_lap(run, MOE_STAGE_EXPERTS);
        moe_combine_rows(n, K, H, run->rows_out, run->slots, slots[first], slots[end],
                         weighs_input ? NULL : weights, y);
        moe_run_lap(run, MOE_STAGE_COMBINE);
    }
    return TRUE;
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
    if (sparse && !run_experts(run, block, start, n, layer, h,
                               shortcut ? run->shortcut + start * H : y, error))
        return FALSE;
    if (block->parts[part].dense.gate.data != NULL)
        run_dense(run, &block->parts[part].dense, &(MoeMatrix){0}, n, h, y);
    if (sparse && block->shared.gate.data != NULL)
        run_dense(run, &block->shared, &block->shared_router, n, h, y);
    if (apart)
        moe_run_add(run, post_norm, n, y, x);
    moe_run_lap(run, MOE_STAGE_NORM);
    return TRUE;
}

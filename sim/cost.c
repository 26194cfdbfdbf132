#include "config.h"

#include "sim/cost.h"

#include <math.h>

static double activation_bytes(const MoeCost *cost)
{
    return cost->type == MOE_TYPE_F32 ? 4 : 2;
}

gboolean moe_cost_check(const MoeCost *cost, GError **error)
{
    if (!isnan(cost->gpu->peak[cost->type]))
        return TRUE;
    return moe_fail(error, MOE_ERROR_INPUT,
                    "compute: dtype: the GPU '%s' has no %s units; choose another dtype",
                    cost->gpu->name, moe_type_names()[cost->type]);
}

static double roofline(const MoeCost *cost, double flop, double bytes)
{
    const MoeGpu *gpu = cost->gpu;
    return fmax(flop / (gpu->peak[cost->type] * gpu->efficiency.compute),
                bytes / (gpu->hbm.bandwidth * gpu->efficiency.memory));
}

double moe_cost_kernel(const MoeCost *cost, double flop, double bytes)
{
    return roofline(cost, flop, bytes) + cost->gpu->launch;
}

/* A product of [rows, in] with stored weights [in, out]; @extra bytes of fused neighbours. */
static double product(const MoeCost *cost, double rows, double in, double out, double extra)
{
    double weights = in * out * moe_type_bytes(cost->type);
    return moe_cost_kernel(cost, 2 * rows * in * out,
                           weights + rows * (in + out) * activation_bytes(cost) + extra);
}

static double gqa(const MoeCost *cost, const MoeContext *c)
{
    const MoeModelShape *s = cost->shape;
    double T = (double)c->tokens, H = (double)s->hidden_size, a = activation_bytes(cost);
    double q = (double)(s->num_attention_heads * s->head_dim);
    double kv = (double)(s->num_key_value_heads * s->head_dim);
    /* The norm before reads and writes the states; RoPE does so with q and k. */
    double projections = product(cost, T, H, q + 2 * kv, 2 * T * H * a + 2 * T * (q + kv) * a);
    double core = moe_cost_kernel(cost, 4 * c->pairs * q, 2 * T * q * a + 2 * c->keys * kv * a);
    return projections + core + product(cost, T, q, H, 0);
}

/* What goes into an FFN's activation: gate and up, or up alone. */
static double widths_in(const MoeModelShape *s)
{
    return s->ffn_matrices == 2 ? 1 : 2;
}

static double mla(const MoeCost *cost, const MoeContext *c)
{
    const MoeModelShape *s = cost->shape;
    double T = (double)c->tokens, H = (double)s->hidden_size, a = activation_bytes(cost);
    double heads = (double)s->num_attention_heads, r = (double)s->kv_lora_rank;
    double nope = (double)s->qk_nope_head_dim, rope = (double)s->qk_rope_head_dim;
    double v = (double)s->v_head_dim, q_rank = (double)s->q_lora_rank;
    double norm = 2 * T * H * a, seconds;
    if (q_rank > 0)
        seconds = product(cost, T, H, q_rank + r + rope, norm) +
                  product(cost, T, q_rank, heads * (nope + rope), 0);
    else
        seconds = product(cost, T, H, heads * (nope + rope) + r + rope, norm);
    if (cost->decode) {
        /* q_nope times W_UK per head, attention over the latent cache, times W_UV per head. */
        seconds += product(cost, T, nope, heads * r, 0);
        seconds += moe_cost_kernel(cost, 2 * c->pairs * heads * (2 * r + rope),
                                   T * heads * (2 * r + rope) * a + c->keys * (r + rope) * a);
        seconds += product(cost, T, r, heads * v, 0);
    } else {
        seconds += product(cost, T, r, heads * (nope + v), 0);
        seconds += moe_cost_kernel(cost, 2 * c->pairs * heads * (nope + rope + v),
                                   T * heads * (nope + rope + v) * a +
                                       c->keys * heads * (nope + rope + v) * a);
    }
    return seconds + product(cost, T, heads * v, H, 0);
}

double moe_cost_attention(const MoeCost *cost, const MoeContext *context)
{
    if (context->tokens == 0)
        return 0;
    return cost->shape->attention == MOE_ATTENTION_MLA ? mla(cost, context) : gqa(cost, context);
}

double moe_cost_cross(const MoeCost *cost, const MoeContext *c)
{
    const MoeModelShape *s = cost->shape;
    double T = (double)c->tokens, H = (double)s->hidden_size, a = activation_bytes(cost);
    double q = (double)(s->num_attention_heads * s->head_dim);
    double kv = (double)(s->num_key_value_heads * s->head_dim);
    if (c->tokens == 0)
        return 0;
    double keys = cost->decode ? 0 : product(cost, c->keys, H, 2 * kv, 0);
    double core = moe_cost_kernel(cost, 4 * c->pairs * q, 2 * T * q * a + 2 * c->keys * kv * a);
    return product(cost, T, H, q, 2 * T * H * a) + keys + core + product(cost, T, q, H, 0);
}

double moe_cost_router(const MoeCost *cost, gint64 tokens)
{
    const MoeModelShape *s = cost->shape;
    double T = (double)tokens, H = (double)s->hidden_size, a = activation_bytes(cost);
    if (tokens == 0)
        return 0;
    return product(cost, T, H, (double)s->num_experts, 2 * T * H * a);
}

double moe_cost_experts(const MoeCost *cost, const gint64 *tokens, gint64 n)
{
    const MoeModelShape *s = cost->shape;
    double H = (double)s->hidden_size, F = (double)s->moe_intermediate_size,
           a = activation_bytes(cost);
    double w = moe_type_bytes(cost->type), seconds = 0, in = widths_in(s);
    for (gint64 e = 0; e < n; e++) {
        double T = (double)tokens[e];
        if (tokens[e] == 0)
            continue;
        /* Arriving rows are permuted (read and written), then gate and up; the activation is fused.
         */
        seconds += roofline(cost, 2 * in * T * H * F, in * H * F * w + T * (3 * H + in * F) * a);
        seconds += roofline(cost, 2 * T * H * F, H * F * w + T * (F + H) * a);
    }
    return seconds > 0 ? seconds + 2 * cost->gpu->launch : 0;
}

double moe_cost_ffn(const MoeCost *cost, gint64 tokens, gint64 width)
{
    double T = (double)tokens, H = (double)cost->shape->hidden_size, F = (double)width;
    if (tokens == 0 || width == 0)
        return 0;
    return product(cost, T, H, widths_in(cost->shape) * F, 0) + product(cost, T, F, H, 0);
}

double moe_cost_combine(const MoeCost *cost, gint64 tokens, gint64 copies)
{
    double H = (double)cost->shape->hidden_size, a = activation_bytes(cost);
    return roofline(cost, 0, (double)(copies + 2 * tokens) * H * a);
}

double moe_cost_head(const MoeCost *cost, gint64 rows)
{
    if (rows == 0)
        return 0;
    return product(cost, (double)rows, (double)cost->shape->hidden_size,
                   (double)cost->shape->vocab_size, 0);
}

double moe_cost_weights(const MoeCost *cost, gint64 n_ranks)
{
    const MoeModelShape *s = cost->shape;
    double routed = (double)(moe_model_moe_layers(s) * s->num_experts) * (widths_in(s) + 1) *
                    (double)s->hidden_size * (double)s->moe_intermediate_size;
    double all = (double)moe_model_parameters(s);
    return (all - routed + routed / (double)n_ranks) * moe_type_bytes(cost->type);
}

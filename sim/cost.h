/* cost.h - how long a GPU computes: a roofline for every kernel of a block.
 *
 * Layer: sim.
 *
 *   seconds = max(FLOP / (peak * compute efficiency),
 *                 bytes / (HBM bandwidth * memory efficiency)) + launch
 *
 * (Williams, Waterman, Patterson, 2009: the roofline; efficiencies and launch are the GPU
 * preset's.) Kernels counted, with a launch each: attention: q/k/v projection, core, output
 * projection (MLA: the compressions and expansions too); router: one product; FFNs: two (grouped)
 * products. Norms, RoPE, softmax and top-k, activations, permutation and weighted sum are fused
 * into their neighbours: their memory traffic is counted, a launch of their own is not. Weights are
 * read once per kernel; of routed experts only those that got tokens. Letters: T tokens, H hidden,
 * F width, in elements.
 */
#ifndef MOE_SIM_COST_H
#define MOE_SIM_COST_H

#include "models/model.h"
#include "topologies/gpu.h"

typedef struct {
    const MoeModelShape *shape;
    const MoeGpu *gpu;
    MoeType type; /* of weights and products; activations and KV cache take 2 bytes, 4 with f32 */
    gboolean decode; /* one token per sequence: latent attention in its absorbed form */
} MoeCost;

/* What the tokens of one rank see in attention. */
typedef struct {
    gint64 tokens;
    double pairs; /* sum over tokens of the keys that they attend to, themselves included */
    double keys; /* sum over sequences of their longest context: keys and values read from memory */
} MoeContext;

/* Checks that the GPU computes in the type. Errors: MOE_ERROR_INPUT. */
gboolean moe_cost_check(const MoeCost *cost, GError **error);

/* The roofline itself. */
double moe_cost_kernel(const MoeCost *cost, double flop, double bytes);

/* Attention of one block. GQA: projections 2T(2HQD + 2HGD) FLOP, core 4 Q D pairs FLOP over 2 G D
 * keys values in memory. MLA (arXiv 2405.04434): prefill expands keys and values, core 2 Q (d_nope
 * + d_rope + d_v) pairs FLOP; decode absorbs the expansions into q and o, core 2 Q (2 r + d_rope)
 * pairs FLOP over (r + d_rope) keys values, r = kv_lora_rank. Seconds; 0 without tokens. */
double moe_cost_attention(const MoeCost *cost, const MoeContext *context);

/* Cross attention of a block behind an encoder: GQA whose keys and values are projected from
 * context->keys states of the encoder, in prefill alone. */
double moe_cost_cross(const MoeCost *cost, const MoeContext *context);

/* Router of one block: 2 T H E FLOP. */
double moe_cost_router(const MoeCost *cost, gint64 tokens);

/* The routed experts of one rank, tokens[e] each, n of them: two grouped products. Each expert has
 * a roofline of its own and they add up, so an expert with few tokens costs the reading of its
 * weights. */
double moe_cost_experts(const MoeCost *cost, const gint64 *tokens, gint64 n);

/* A dense FFN of @width: shared experts, dense blocks. 6 T H F FLOP, without a gate 4. */
double moe_cost_ffn(const MoeCost *cost, gint64 tokens, gint64 width);

/* Adding up the @copies results that come back for @tokens tokens: memory traffic alone. */
double moe_cost_combine(const MoeCost *cost, gint64 tokens, gint64 copies);

/* LM head for @rows tokens: 2 rows H V FLOP. */
double moe_cost_head(const MoeCost *cost, gint64 rows);

/* Bytes of weights that each rank holds under expert parallelism over @n_ranks. */
double moe_cost_weights(const MoeCost *cost, gint64 n_ranks);

#endif

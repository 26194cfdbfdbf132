/* forward.h - runs a checkpoint over a batch, block by block, and reports its routing.
 *
 * Layer: models. All tokens go through block l before block l + 1 is touched, so the weights are
 * read once, from the mapping, and memory is the batch's states, one piece's attention, one group of
 * experts and their tokens. Pages of weights that have been used are given up as others are read, and
 * those that come next are asked for ahead. Results do not depend on the number of threads.
 */
#ifndef MOE_MODELS_FORWARD_H
#define MOE_MODELS_FORWARD_H

#include "models/family.h"
#include "sim/base/progress.h"

/* What the time goes to, for benchmarks and --verbose. */
typedef enum {
    MOE_STAGE_NORM,
    MOE_STAGE_PROJECTIONS, /* q, k, v and output */
    MOE_STAGE_ROPE,
    MOE_STAGE_ATTENTION,
    MOE_STAGE_ROUTER,
    MOE_STAGE_GATE,
    MOE_STAGE_PERMUTE,
    MOE_STAGE_EXPERTS,
    MOE_STAGE_COMBINE,
    MOE_STAGE_HEAD,
    MOE_STAGE_CHECK, /* of weights and logits for NaN */
    MOE_STAGE_COUNT
} MoeStage;

const char *moe_stage_name(MoeStage stage);

/* What the router of one block decided, for the T = n_tokens tokens of the batch that the block runs
 * over: all, or those of an encoder or a decoder; K = num_experts_per_tok. */
typedef struct {
    int layer; /* index of the block */
    gsize first_token, n_tokens;
    const uint16_t *experts; /* [T, K] */
    const float *weights;    /* [T, K] */
    const float *hidden;     /* [T, hidden_size]: what the router saw; NULL unless wanted */
    const float *logits;     /* [T, num_experts], before softmax; NULL unless wanted */
    const uint8_t *dropped;  /* [T, K]: 1 where capacity refused the pair; NULL: nothing can drop */
} MoeRouting;

/* Called after each block with experts; the arrays are valid during the call.
 * Returning FALSE with @error set ends the run. */
typedef gboolean (*MoeRoutingFunc)(void *user, const MoeRouting *routing, GError **error);

/* Called with the logits [n, vocab_size] of head_tokens[first ... first + n), some at a time, in
 * their order, valid during the call. Returning FALSE with @error set ends the run. */
typedef gboolean (*MoeHeadFunc)(void *user, gsize first, gsize n, const float *logits,
                                GError **error);

typedef struct {
    const MoeModel *model; /* with a family */
    MoeWeights *weights;
    const guint32 *ids; /* [T] */
    gsize n_sequences;
    const gsize *offsets; /* [n_sequences + 1]: sequence s is ids[offsets[s] ... offsets[s + 1]) */
    gsize
        n_encoded; /* the first half of the sequences is what an encoder reads; sequence n_encoded +
                        s is what the decoder reads behind sequence s. 0: there is no encoder */
    MoeRoutingFunc routing;
    void *user;
    gboolean want_hidden, want_logits; /* in MoeRouting */
    const gsize *head_tokens; /* [n_head_tokens]: tokens whose next-token logits are wanted */
    gsize n_head_tokens;
    float *head_out;  /* [n_head_tokens, vocab_size], or NULL: */
    MoeHeadFunc head; /* is told them instead */
    /* To go on with a run that was cut off: blocks below @first_block are passed over, with the states
     * [T, hidden_size] of all tokens before it; 0: from the beginning. */
    int first_block;
    const float *states;
    /* Called after each block, and its routing(), with the states before the next; NULL: nobody. */
    gboolean (*block_done)(void *user, int next_block, const float *states, GError **error);
    /* Of the products with weights and of attention; the routers' stay in floats, as norms, RoPE and
     * softmax do. In bf16 a last bit may grow to one of bf16; where AVX-512 is, a token's
     * decisions depend on those before it alone all the same (moe_product()). */
    MoePrecision precision;
    double memory_bytes;   /* the run may take, pages of weights included; 0: as much as is good */
    double caller_bytes;   /* of memory_bytes, what the caller needs itself */
    double *seconds;       /* [MOE_STAGE_COUNT], added to; NULL: not measured */
    MoeProgress *progress; /* told tokens and the block under way */
} MoeForward;

/* Runs the batch. Errors: MOE_ERROR_INPUT (sequences that do not pair, an id outside the vocabulary,
 * tensors missing, superfluous or of another shape, weights or router logits that are not finite;
 * memory_bytes that are not enough, with the number that is), or what routing() set. */
gboolean moe_forward(const MoeForward *job, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

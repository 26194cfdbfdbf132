/* trace.h - a routing trace: which experts every token went to, in every block.
 *
 * Layer: workloads. On disk it is one safetensors file, mapped when read:
 *
 *   layers.L.experts  u16 [pairs]         block L's choices, token by token (heaviest first when
 *                                         traced here)
 *   layers.L.weights  f32 or f16 [pairs]  their weights; absent when unknown
 *   layers.L.offsets  u32 [tokens + 1]    where each token's pairs begin; absent when all have
 *                                         top_k
 *   layers.L.dropped  u8 [pairs]          1 where capacity refused the pair; absent when nothing
 *                                         can drop
 *   tokens.id         u32 [tokens]        absent when unknown
 *   tokens.sequence   u32 [tokens]        sequence of the token, rising
 *   tokens.position   u32 [tokens]        its position in the sequence
 *   steps.offsets     u32 [steps + 1]     tokens of each step
 *
 * with the metadata format, model, weights, router, experts, top_k, hidden_size, workload, moesim, and
 * precision, of the products that led to the decisions, where it is known (models/forward.h).
 *
 * A model with an encoder and a decoder has both in one trace, and encoder_layers in the metadata:
 * blocks below it are the encoder's, the others the decoder's. Sequences alternate: 2 i is what the
 * encoder reads, 2 i + 1 what the decoder reads behind it. A token has pairs in its own stack's
 * blocks alone, so layers.L.offsets is always there.
 */
#ifndef MOE_WORKLOADS_TRACE_H
#define MOE_WORKLOADS_TRACE_H

#include "kernels/matrix.h"
#include "models/model.h"

typedef struct {
    int layer; /* index of the block in the model */
    gint64 n_pairs;
    const guint16 *experts; /* [n_pairs] */
    const void *weights;    /* [n_pairs] of weights_dtype, or NULL */
    MoeDtype weights_dtype; /* MOE_F32 or MOE_F16 */
    const guint32 *offsets; /* [n_tokens + 1], or NULL: pair p belongs to token p / top_k */
    const guint8 *dropped;  /* [n_pairs], or NULL */
} MoeTraceLayer;

typedef struct {
    char *model;     /* its name */
    char *weights;   /* its digest; "" when the trace was not made here */
    char *router;    /* the routing kernel and its parameters, in words */
    char *workload;  /* what was routed, in words */
    char *precision; /* of the products that led to it, "f32" or "bf16"; NULL: not known here */
    char *version;   /* of the moesim that wrote the file */
    gint64 n_experts, top_k;
    gint64 hidden_size;    /* 0: unknown */
    gint64 encoder_layers; /* 0: no encoder */
    gint64 n_tokens, n_steps;
    int n_layers;            /* blocks with experts */
    MoeTraceLayer *layers;   /* [n_layers], by rising block */
    const guint32 *ids;      /* [n_tokens], or NULL */
    const guint32 *sequence; /* [n_tokens] */
    const guint32 *position; /* [n_tokens] */
    const guint32 *steps;    /* [n_steps + 1] */
    GPtrArray *owned;        /* memory and the mapped file, freed with the trace */
    gpointer file;
} MoeTrace;

enum {
    MOE_TRACE_MOST_EXPERTS = 65535,
    MOE_TRACE_MOST_LAYERS = 4096,
    MOE_TRACE_MOST_K = 256,
};

/* An empty trace for @n_layers blocks; the strings are copied, as moe_text_printable() (names of
 * files need not be UTF-8). Free with moe_trace_free(). */
MoeTrace *moe_trace_new(const char *model, const char *weights, const char *router,
                        const char *workload, int n_layers);
void moe_trace_free(MoeTrace *trace);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeTrace, moe_trace_free)

/* @size bytes that live as long as the trace. */
void *moe_trace_alloc(MoeTrace *trace, gsize size);

/* Fills tokens.sequence and tokens.position from the lengths of consecutive sequences, and makes
 * the whole trace one step. */
void moe_trace_set_sequences(MoeTrace *trace, const gint64 *lengths, gsize n_sequences);

/* Numbers the blocks as the first of a model of @shape that have experts; unless it has fewer. */
void moe_trace_place(MoeTrace *trace, const MoeModelShape *shape);

/* Checks everything that the layout promises: blocks in range and rising, experts known, distinct
 * within a token and at most top_k, in the blocks of the token's stack alone, weights finite and
 * not negative, offsets and steps rising and complete, sequences in order with positions that rise.
 * Errors: MOE_ERROR_INPUT with block and token. */
gboolean moe_trace_check(const MoeTrace *trace, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Opens, maps and checks. Errors: MOE_ERROR_INPUT; NULL then. */
MoeTrace *moe_trace_load(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Writes atomically. Errors: MOE_ERROR_FAILED. */
gboolean moe_trace_save(const MoeTrace *trace, const char *path, gboolean force,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Which stack works on @token, and which has the block @layer: 0, or 1 for a decoder behind an
 * encoder. */
static inline int moe_trace_token_stack(const MoeTrace *trace, gint64 token)
{
    return trace->encoder_layers > 0 ? (int)(trace->sequence[token] & 1) : 0;
}

static inline int moe_trace_layer_stack(const MoeTrace *trace, int layer)
{
    return trace->encoder_layers > 0 && layer >= trace->encoder_layers ? 1 : 0;
}

/* The pairs of @token in @layer: first index and number. */
static inline gint64 moe_trace_pairs(const MoeTrace *trace, const MoeTraceLayer *layer,
                                     gint64 token, gint64 *n_out)
{
    if (layer->offsets == NULL) {
        *n_out = trace->top_k;
        return token * trace->top_k;
    }
    *n_out = (gint64)layer->offsets[token + 1] - layer->offsets[token];
    return layer->offsets[token];
}

#endif

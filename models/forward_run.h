/* forward_run.h - the state of a run of forward.c, for the files it is cut into.
 *
 * Layer: models. Private to forward*.c.
 */
#ifndef MOE_MODELS_FORWARD_RUN_H
#define MOE_MODELS_FORWARD_RUN_H

#include "models/forward.h"

/* Letters as in kernels/gate.h. */
typedef struct {
    const MoeForward *job;
    const MoeModelShape *shape;
    const MoeConfig *config;
    MoeEnds ends;
    MoeBlock *blocks;
    gsize T;
    float *x;               /* [T, H] */
    uint32_t *positions;    /* [T], of each token in its sequence */
    uint32_t *rope_rows[2]; /* [T], of each token in the tables; [0] and [1]: as config->ropes */
    float *cos[2], *sin[2];
    gsize group, chunk;               /* most tokens at a time in attention and in the experts */
    float *normed, *q, *k, *v, *wide; /* [group, .]; wide: MLA's latents */
    float *logits;                    /* [chunk, E], or [T, E] when wanted */
    float *hidden;                    /* [chunk, H], or [T, H] when wanted */
    uint16_t *experts;                /* [T, K] */
    float *weights;                   /* [T, K] */
    uint32_t *offsets, *slots;        /* [E + 1], [chunk, K] */
    float *rows, *middle, *rows_out;  /* [chunk * K, .] */
    float *sum;                       /* [chunk, H]: an FFN's output that is not added as it is */
    float *shortcut;                  /* [T, H]: the experts' output until the end of the block */
    gint64 lap_us;
} MoeRun;

/* Adds the time since the last call to @stage. */
void moe_run_lap(MoeRun *run, MoeStage stage);

/* out = norm(x) for @n rows of the hidden size, in place too; a copy where there is no norm. */
void moe_run_norm(const MoeRun *run, const MoeNorm *norm, gsize n, const float *x, float *out);

/* x += residual_multiplier * post_norm(y) for @n rows of the hidden size; y is overwritten. */
void moe_run_add(const MoeRun *run, const MoeNorm *post_norm, gsize n, float *y, float *x);

/* Attention of the sequences [first, last), which lie side by side: run->x += ... */
void moe_run_attention(MoeRun *run, const MoeAttention *attention, gsize first, gsize last);

/* Floats per token that its buffers need: q, k, v and wide. */
typedef struct {
    gsize q, k, v, wide;
} MoeAttentionWidths;
MoeAttentionWidths moe_attention_widths(const MoeAttention *attention, const MoeConfig *config);

/* The FFN of part @part of @block, dense or of experts, of the tokens [start, start + n). */
gboolean moe_run_ffn(MoeRun *run, const MoeBlock *block, int part, gsize start, gsize n, int layer,
                     GError **error);

#endif

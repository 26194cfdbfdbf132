/* forward_run.h - the state of a run of forward.c, for the files it is cut into.
 *
 * Layer: models. Private to forward*.c.
 */
#ifndef MOE_MODELS_FORWARD_RUN_H
#define MOE_MODELS_FORWARD_RUN_H

#include "models/forward.h"

/* Keys and values of one attention, a row per token of a sequence or of several side by side. */
typedef struct {
    float *k, *v;
} MoeKeys;

/* Tokens that go through attention together: those of whole sequences, or a part of one, behind
 * @past of its tokens whose keys are kept. */
typedef struct {
    gsize first, last; /* the sequences [first, last) */
    gsize start, n;    /* the tokens [start, start + n) of the batch */
    gsize past;
    int stack;
} MoePiece;

/* Floats per token that an attention's buffers and keys need. */
typedef struct {
    gsize q, k, v, wide;
} MoeAttentionWidths;

/* How a run is cut to fit its memory. */
typedef struct {
    gsize piece, chunk; /* most tokens at a time in attention and in a block's FFN */
    gsize pairs;        /* most rows at a time in experts; at least a chunk */
    double window;      /* bytes of weights that stay in memory at a time */
} MoePlan;

/* Letters as in kernels/gate.h. What a model has for all its batches: */
typedef struct {
    const MoeModel *model;
    MoeWeights *weights;
    const MoeModelShape *shape;
    const MoeConfig *config;
    MoeEnds ends;
    MoeBlock *blocks;
    float *cos[2], *sin[2]; /* tables of [table] positions; [0] and [1]: as config->ropes */
    gsize table;
    gboolean checked;   /* the weights are known to be finite */
    MoeKeys *cache;     /* [blocks, 2]: of the one sequence that a session runs; or NULL */
    gsize past;         /* tokens of it that the batch comes behind */
    float *relative[2]; /* the shape.bias of encoder's and decoder's own attentions; or NULL */
    /* And for one: */
    const MoeForward *job;
    gsize T;
    struct {
        gsize first, end;             /* its sequences */
        gsize first_token, end_token; /* and theirs */
    } stacks[2];            /* of encoder and decoder; without an encoder, the first alone */
    float *x;               /* [T, H] */
    uint32_t *positions;    /* [T], of each token in its sequence */
    uint32_t *rope_rows[2]; /* [T], of each token in the tables */
    MoePlan plan;
    double resident;                 /* bytes of weights touched since the last release */
    float *normed, *q, *wide;        /* [piece, .]; wide: MLA's latents */
    MoeKeys keys;                    /* of one attention at a time, without a cache */
    float *logits;                   /* [chunk, E], or [T, E] when wanted */
    float *hidden;                   /* [chunk, H], or [T, H] when wanted */
    uint16_t *experts;               /* [T, K] */
    float *routed;                   /* [T, K], their weights */
    uint32_t *offsets, *slots;       /* [E + 2], [chunk, K] */
    float *rows, *middle, *rows_out; /* [pairs, .] */
    uint8_t *dropped;                /* [T, K]: what capacity refused; NULL without one */
    uint32_t *counts;                /* [E], of moe_gate_capacity() */
    uint16_t *kept;                  /* [chunk, K]: experts, or num_experts for what is dropped */
    float *sum;                      /* [chunk, H]: an FFN's output that is not added as it is */
    float *shortcut;                 /* [T, H]: the experts' output until the end of the block */
    gint64 lap_us;
} MoeRun;

/* Finds the tensors of @weights, multiplies with them in @precision, and fills the tables for
 * @positions positions. moe_run_close() frees what it holds, after a failure too. Errors:
 * MOE_ERROR_INPUT. */
gboolean moe_run_open(MoeRun *run, const MoeModel *model, MoeWeights *weights,
                      MoePrecision precision, gsize positions, GError **error);
void moe_run_close(MoeRun *run);

/* Runs a batch; with a cache, of one sequence, which goes on there. Errors: as moe_forward(). */
gboolean moe_run_batch(MoeRun *run, const MoeForward *job, GError **error);

/* Makes the plan of a batch. Errors: MOE_ERROR_INPUT (more memory is needed than the job has). */
gboolean moe_run_plan(MoeRun *run, GError **error);

/* Room that every attention of the model fits in; *out_width: of the heads' outputs. */
MoeAttentionWidths moe_run_widest(const MoeRun *run, gsize *out_width);

/* Says that so many bytes of weights are about to be read: others are given up where both do not
 * fit the window. And of what: attention, an FFN, one expert. */
void moe_run_touch(MoeRun *run, double bytes);
double moe_matrix_bytes(const MoeMatrix *matrix);
double moe_attention_bytes(const MoeAttention *attention);
double moe_expert_bytes(const MoeExpert *expert);

/* Asks for what block @layer reads first, and for its experts from @first on, a window of them. */
void moe_run_prefetch_block(const MoeRun *run, int layer);
void moe_run_prefetch_experts(const MoeRun *run, const MoeBlock *block, gsize first);

/* Whether the weights of an FFN are finite. Errors: MOE_ERROR_INPUT. */
gboolean moe_run_check_ffn(const MoeRun *run, const MoeExpert *ffn, GError **error);

/* Adds the time since the last call to @stage. */
void moe_run_lap(MoeRun *run, MoeStage stage);

/* out = norm(x) for @n rows of the hidden size, in place too; a copy where there is no norm. */
void moe_run_norm(const MoeRun *run, const MoeNorm *norm, gsize n, const float *x, float *out);

/* x += residual_multiplier * post_norm(y) for @n rows of the hidden size; y is overwritten. */
void moe_run_add(const MoeRun *run, const MoeNorm *post_norm, gsize n, float *y, float *x);

/* Attention of a piece of the batch, whose keys and values go into @keys: run->x += ... */
void moe_run_attention(MoeRun *run, const MoeAttention *attention, const MoeKeys *keys,
                       const MoePiece *piece);

/* The same across, to the encoder's final states of the sequences that pair with the piece's. */
void moe_run_cross(MoeRun *run, const MoeAttention *attention, const MoeKeys *keys,
                   const MoePiece *piece);

MoeAttentionWidths moe_attention_widths(const MoeAttention *attention, const MoeConfig *config);

/* The FFN of part @part of @block, dense or of experts, of the tokens [start, start + n). */
gboolean moe_run_ffn(MoeRun *run, const MoeBlock *block, int part, gsize start, gsize n, int layer,
                     GError **error);

#endif

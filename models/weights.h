/* weights.h - the tensors of a model: a folder as the Hugging Face Hub lays it out, or GGUF files.
 *
 * Layer: models. model.safetensors, or shards named by model.safetensors.index.json; or a .gguf file
 * and its parts (gguf.h). Nothing is copied unless a function says so.
 */
#ifndef MOE_MODELS_WEIGHTS_H
#define MOE_MODELS_WEIGHTS_H

#include "models/tensor.h"

typedef struct MoeWeights MoeWeights;

/* Opens every shard of the model in @folder, or the GGUF file @folder with its parts. Free with
 * moe_weights_free().
 * Errors: MOE_ERROR_INPUT (no weights, a missing shard, a shard's name with a path in it, a tensor
 * in two shards or not where the index says); NULL then. */
MoeWeights *moe_weights_open(const char *folder, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for a part of a checkpoint, for who needs few of its tensors: shards of @folder that are
 * missing are left out. @file: this safetensors file in place of the folder's (NULL: those).
 * Errors: as above; a tensor that is not there is missed when it is asked for. */
MoeWeights *moe_weights_open_part(const char *folder, const char *file,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_weights_free(MoeWeights *weights);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeWeights, moe_weights_free)

/* Says that 8-bit floats NAME come with scales NAME_scale_inv, each of a block of @rows x @cols
 * elements, ragged at the edges: weight_block_size in config.json's quantization_config (DeepSeek-V3
 * and others). Errors: MOE_ERROR_INPUT (a block without elements). */
gboolean moe_weights_set_scale_block(MoeWeights *weights, gint64 rows, gint64 cols,
                                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The matrix @name, [rows, cols], of type f32, f16, bf16, or of 8-bit floats with scales; in GGUF
 * files of their blocks, and a row may be a vector there. Borrowed
 * data; outputs stay untouched on failure, here and below. Parts of a fused matrix:
 * moe_matrix_view(). Errors: MOE_ERROR_INPUT (missing, other shape or type, scales that are missing
 * or do not fit). */
gboolean moe_weights_matrix(MoeWeights *weights, const char *name, gint64 rows, gint64 cols,
                            MoeMatrix *matrix_out, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The @n matrices [rows, cols] of the tensor @name [n, rows, cols], for example an expert each, or,
 * when @transposed, [n, cols, rows]. @out: [n]. Otherwise as moe_weights_matrix(). */
gboolean moe_weights_stack(MoeWeights *weights, const char *name, gint64 n, gint64 rows,
                           gint64 cols, gboolean transposed, MoeMatrix *out,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The @n matrices [rows, cols] of 4-bit floats NAME_blocks, U8 [n, rows, cols / 32, 16], with
 * powers of two NAME_scales, U8 [n, rows, cols / 32], as gpt-oss stores its experts. @out: [n].
 * Errors: MOE_ERROR_INPUT, also for columns that are no multiple of 32. */
gboolean moe_weights_mxfp4(MoeWeights *weights, const char *name, gint64 n, gint64 rows,
                           gint64 cols, MoeMatrix *out, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Keys and values of latent attention as GGUF files have them, @k_name [heads, rank, keys] and
 * @v_name [heads, values, rank], as one matrix [heads * (keys + values), rank] of floats: a copy,
 * owned by @weights, checked to be finite. Errors: as moe_weights_matrix(). */
gboolean moe_weights_heads(MoeWeights *weights, const char *k_name, const char *v_name,
                           gint64 heads, gint64 keys, gint64 values, gint64 rank, MoeMatrix *out,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The vector @name of @n elements, [n] or [1, n], as floats; owned by @weights. NULL with
 * MOE_ERROR_INPUT. */
const float *moe_weights_vector(MoeWeights *weights, const char *name, gint64 n,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The table @name [rows, cols] as floats, as moe_weights_vector(); its rows sorted by place modulo
 * @step: with 2, first the elements at even places, then those at odd ones. */
const float *moe_weights_table(MoeWeights *weights, const char *name, gint64 rows, gint64 cols,
                               gint64 step, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Whether there is a tensor @name. */
gboolean moe_weights_has(const MoeWeights *weights, const char *name);

/* Counts the tensors whose names begin with @prefix as asked for. */
void moe_weights_ignore(MoeWeights *weights, const char *prefix);

/* Fails with MOE_ERROR_INPUT when a tensor was never asked for, unless its name ends in one of the
 * NULL-terminated @ignored: a checkpoint that holds more than the family knows is another model. */
gboolean moe_weights_check_used(const MoeWeights *weights, const char *const *ignored,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Fails with MOE_ERROR_INPUT, naming tensor and element, when @matrix (of these weights, or a view
 * of one) holds a NaN or an infinity, or a scale makes one. Reads all of it. */
gboolean moe_weights_check_finite(const MoeWeights *weights, const MoeMatrix *matrix,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Gives up the memory that mapped weights take in this process; they are read again when needed. */
void moe_weights_release(const MoeWeights *weights);

/* Asks the system to read the weights of @n matrices (data NULL: of none) from disk, and does not wait
 * for it. */
void moe_weights_prefetch(const MoeMatrix *const *matrices, gsize n);

/* What tells this checkpoint from another: "sha256:..." over the digests of config.json, unless it
 * is GGUF, and all files (moe_file_digest()). Free with g_free(); NULL with MOE_ERROR_INPUT. */
char *moe_weights_digest(const MoeWeights *weights, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

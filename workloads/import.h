/* import.h - routing that other programs recorded, as a trace.
 *
 * Layer: workloads.
 */
#ifndef MOE_WORKLOADS_IMPORT_H
#define MOE_WORKLOADS_IMPORT_H

#include "models/model.h"
#include "sim/base/progress.h"
#include "workloads/trace.h"

typedef struct {
    const char *model;          /* name for the trace */
    const MoeModelShape *shape; /* of that model, or NULL: unknown */
    gint64 n_experts;           /* per block; 0: one more than the largest id that occurs */
    gint64 hidden_size;         /* 0: unknown */
    gint64 top_k;               /* what it must be; 0: not checked */
    gint64 n_layers; /* of each token, where the file does not say; 0: the model's blocks */
    int first_layer; /* the block that the first layer of the file is; -1: the model's, or as a CSV
                        numbers it, or 0 */
} MoeImport;

/* Arrays [token, layer, rank] of expert ids. @files: paths (NULL-terminated), joined along the
 * tokens; the ending of the name says what each is:
 *   .npy          one array, as vLLM's routed_experts (docs.vllm.ai, "Routed Experts Return") and
 *                 most recorders write it
 *   .npz          the same, one array per member
 *   .jsonl        one response of SGLang or vLLM per line
 *   .safetensors  a tensor topk_ids_of_layer or topk_ids [layer, token, rank], as in the dumps of
 *                 SGLang's expert distribution recorder, or routed_experts [token, layer, rank]
 * Layers: the model's blocks with experts, or all its blocks, of which those with experts are kept.
 * @weights: as many .npy or .npz files with arrays of the same shapes (f2, f4 or f8), or NULL.
 * @lengths: as many specifications (moe_import_lengths()) of how the tokens of each file are cut
 * into sequences, or NULL: each array is one. Errors: MOE_ERROR_INPUT; MOE_ERROR_USAGE for another
 * ending; NULL then. */
MoeTrace *moe_import_arrays(const char *const *files, const char *const *weights,
                            const char *const *lengths, const MoeImport *import,
                            MoeProgress *progress, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A CSV with one line per pair: columns token (from 0), layer, expert, and perhaps weight and
 * sequence (default: one sequence). Lines in any order; the pairs of a token keep theirs; a layer
 * without a line is no block, but counts between those around it. Errors: MOE_ERROR_INPUT; NULL
 * then. */
MoeTrace *moe_import_csv(const char *path, const MoeImport *import, MoeProgress *progress,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Appends sequence lengths (gint64) to @lengths: "64,63,71", or a file: .npy (a vector), .json (a
 * list, or FILE.json:KEY.KEY, where a key of a list of objects is taken from each), else text with
 * numbers between blanks or commas. Errors: MOE_ERROR_INPUT. */
gboolean moe_import_lengths(const char *specification, GArray *lengths,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* moe_import_lengths(), or one sequence when @specification is NULL; they must add up to @tokens,
 * which @what has. Errors: MOE_ERROR_INPUT. */
gboolean moe_import_lengths_of(const char *specification, gint64 tokens, const char *what,
                               GArray *lengths, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

/* import.h - routing that other programs recorded, as a trace.
 *
 * Layer: workloads.
 */
#ifndef MOE_WORKLOADS_IMPORT_H
#define MOE_WORKLOADS_IMPORT_H

#include "sim/base/progress.h"
#include "workloads/trace.h"

typedef struct {
    const char *model;  /* name for the trace */
    gint64 n_experts;   /* per block; 0: one more than the largest id that occurs */
    gint64 hidden_size; /* 0: unknown */
    gint64 top_k;       /* what it must be; 0: not checked */
    int first_layer;    /* the block that the first layer of the file is; -1: as a CSV numbers it, 0
                           for arrays */
    gint64 n_layers;    /* how many blocks there must be; 0: not checked */
} MoeImport;

/* Arrays [token, layer, rank] of expert ids, as vLLM's routed_experts (docs.vllm.ai, "Routed
 * Experts Replay") and most recorders write them. @experts: paths of .npy files (NULL-terminated),
 * joined along the tokens. @weights: as many .npy files of the same shapes (f2, f4 or f8), or NULL.
 * @lengths: as many specifications (moe_import_lengths()) of how the tokens of each file are cut
 * into sequences, or NULL: each file is one. Errors: MOE_ERROR_INPUT; NULL then. */
MoeTrace *moe_import_npy(const char *const *experts, const char *const *weights,
                         const char *const *lengths, const MoeImport *import, MoeProgress *progress,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

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

#endif

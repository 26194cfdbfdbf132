/* hidden.h - routes hidden states that another program computed: the router alone decides, on its
 * real weights; nothing else of the model is needed.
 *
 * Layer: workloads.
 */
#ifndef MOE_WORKLOADS_HIDDEN_H
#define MOE_WORKLOADS_HIDDEN_H

#include "models/model.h"
#include "sim/base/progress.h"
#include "workloads/trace.h"

/* What to route, and by which router. */
typedef struct {
    const MoeModel *model; /* with a family */
    /* A safetensors file with the router's tensors under the names of the checkpoint, or NULL: the
     * model's folder, whose other tensors and shards may be missing. */
    const char *router;
    /* What the router of each block with experts saw, [tokens, hidden_size] of block L in f32, f16
     * or bf16: a folder with layer_L.npy or layers.L.hidden.npy, or a safetensors file with tensors
     * layers.L.hidden. Blocks without experts may be there, and are not read. */
    const char *states;
    const char *lengths; /* of the sequences, as moe_import_lengths(); NULL: one */
} MoeHidden;

/* Returns the trace, which the caller frees; its tokens have no ids. It does not depend on the number
 * of threads. Errors: MOE_ERROR_INPUT (a block that is missing, of another shape or type, not finite;
 * one that the model does not have); NULL then. */
MoeTrace *moe_record_hidden(const MoeHidden *job, MoeProgress *progress,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

/* loss.h - how well a model predicts a text.
 *
 * Layer: workloads.
 */
#ifndef MOE_WORKLOADS_LOSS_H
#define MOE_WORKLOADS_LOSS_H

#include "models/forward.h"
#include "workloads/batch.h"

typedef struct {
    gsize n_tokens; /* predicted: all but the first of each sequence */
    double nats;    /* mean of -ln p(token | those before it in its sequence); perplexity e^nats */
} MoeLoss;

/* Runs @batch through @model, dense or not, in @precision (as MoeForward), and sums in double
 * precision. Errors: MOE_ERROR_INPUT (as moe_forward(); no sequence of two tokens or more; logits
 * that are not finite). */
gboolean moe_loss(const MoeModel *model, const MoeBatch *batch, MoePrecision precision,
                  MoeProgress *progress, MoeLoss *out, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

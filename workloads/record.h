/* record.h - routes a batch by a real model and keeps every decision.
 *
 * Layer: workloads.
 */
#ifndef MOE_WORKLOADS_RECORD_H
#define MOE_WORKLOADS_RECORD_H

#include "models/forward.h"
#include "workloads/batch.h"
#include "workloads/trace.h"

/* Runs @batch through @model and returns the trace, which the caller frees. One pass over known
 * text also gives the decisions that decoding it would make, since attention is causal.
 * @seconds: as MoeForward; may be NULL. Errors: MOE_ERROR_INPUT; NULL then. */
MoeTrace *moe_record(const MoeModel *model, const MoeBatch *batch, double *seconds,
                     MoeProgress *progress, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

/* record.h - routes texts by a real model, given or written by it, and keeps every decision.
 *
 * Layer: workloads.
 */
#ifndef MOE_WORKLOADS_RECORD_H
#define MOE_WORKLOADS_RECORD_H

#include "models/generate.h"
#include "workloads/batch.h"
#include "workloads/trace.h"

/* Runs @batch (of a model with an encoder: moe_batch_pair()) through @model and returns the trace, which the caller frees. One pass over known
 * text also gives the decisions that decoding it would make, since attention is causal.
 * @seconds: as MoeForward; may be NULL. Errors: MOE_ERROR_INPUT; NULL then. */
MoeTrace *moe_record(const MoeModel *model, const MoeBatch *batch, double *seconds,
                     MoeProgress *progress, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Texts that a model writes behind prompts. */
typedef struct {
    const MoeModel *model;
    const MoeBatch *prompts;
    gsize n_tokens; /* to write behind each at most; as in MoeGeneration, as the next */
    const guint32 *stops;
    gsize n_stops;
    MoeSampling sampling;
    /* Called for each token of each text in order, those of the prompts too; FALSE with @error set
     * ends the run. */
    gboolean (*token)(void *user, gsize sequence, guint32 id, GError **error);
    void *user;
} MoeWriting;

/* Writes them and returns, in *trace_out, which the caller frees, the decisions for prompts and
 * written tokens; @trace_out NULL: nobody wants them. Errors: MOE_ERROR_INPUT, or what token() set.
 */
gboolean moe_record_writing(const MoeWriting *job, MoeTrace **trace_out,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

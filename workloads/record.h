/* record.h - routes texts by a real model, given or written by it, and keeps every decision.
 *
 * Layer: workloads.
 */
#ifndef MOE_WORKLOADS_RECORD_H
#define MOE_WORKLOADS_RECORD_H

#include "models/generate.h"
#include "workloads/batch.h"
#include "workloads/trace.h"

/* Known text, and how to run it. */
typedef struct {
    const MoeModel *model; /* with a family */
    const MoeBatch *batch;
    MoePrecision precision; /* as MoeForward */
    double memory_bytes;    /* the process may take; 0: what the machine has */
    /* A file in which the run is kept as it goes, so that it can go on where it was cut off; NULL:
     * nowhere. When it is there it must be of the same run. The caller removes it once the trace is
     * safe. It is written after a block when that costs at most a twentieth of the time; never
     * for models with an encoder. */
    const char *kept;
    gboolean kept_force;  /* pass over a file that is of another run */
    int *first_block_out; /* the block that the run went on at; NULL: nobody asks */
    double *seconds;      /* as MoeForward, may be NULL */
    MoeProgress *progress;
} MoeRecord;

/* Runs the batch (of a model with an encoder: moe_batch_pair()) through the model and returns the
 * trace, which the caller frees. One pass over known text also gives the decisions that decoding it
 * would make, since attention is causal. Errors: MOE_ERROR_INPUT (also a kept file of another run,
 * and too little memory), MOE_ERROR_FAILED (the kept file cannot be written); NULL then. */
MoeTrace *moe_record(const MoeRecord *job, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Texts that a model writes behind prompts. */
typedef struct {
    const MoeModel *model;
    const MoeBatch *prompts;
    MoePrecision precision;
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

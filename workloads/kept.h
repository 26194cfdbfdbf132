/* kept.h - a trace under way, in a file, so that a run that was cut off can go on.
 *
 * Layer: workloads. One safetensors file, replaced whole after a block: what has been decided so far,
 *
 *   states            f32 [tokens, hidden]  of all tokens before the next block
 *   layers.L.experts  u16 [pairs]           as in a trace
 *   layers.L.weights  f32 [pairs]
 *
 * with the metadata key (what tells this run from another), next_block, memory_bytes and digest, of
 * these two, the states and the decisions: a file that lost or changed bytes is refused.
 */
#ifndef MOE_WORKLOADS_KEPT_H
#define MOE_WORKLOADS_KEPT_H

#include "models/safetensors.h"
#include "workloads/batch.h"
#include "workloads/trace.h"

/* A digest of all that decides the result: the version, the model's weights and router, the precision
 * and the tokens. Free with g_free(). */
char *moe_kept_key(const MoeTrace *trace, const MoeBatch *batch);

/* Opens the file at @path, whose key must be @key: fills in the blocks of @trace that are decided
 * (copies), their number, the next block and the memory that the run was planned for. Returns the
 * file, which holds the states (tensor "states", [tokens, hidden_size]); the caller frees it. Errors:
 * MOE_ERROR_INPUT; NULL then. */
MoeSafetensors *moe_kept_load(const char *path, const char *key, MoeTrace *trace, int *n_layers_out,
                              int *next_block_out, double *memory_out,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Writes it, replacing what is there: the first @n_layers blocks of @trace, and the states [tokens,
 * hidden_size]. Errors: MOE_ERROR_FAILED. */
gboolean moe_kept_save(const char *path, const char *key, const MoeTrace *trace, int n_layers,
                       int next_block, double memory_bytes, const float *states,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

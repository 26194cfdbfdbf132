/* golden.h - compares moesim with what reference implementations answered.
 *
 * Layer: sim. A golden folder is one of
 *   - a tokenizer's: tokenizer.json and cases.json
 *     ({"cases": [{text, ids, with_special, decoded}]});
 *   - a model's: golden.safetensors (tokens.id, sequences.offsets, layers.L.router_logits,
 *     .experts, .weights, .hidden, .dropped, logits or logits_every_16; of an encoder and a decoder
 *     encoder.layers.L..., decoder.layers.L..., and decoder.tokens.id and decoder.sequences.offsets
 *     of what the decoder reads) beside config.json and the weights or model.gguf, or, without
 *     weights, with MANIFEST.json naming the model and, when there are any, the texts;
 *   - stored blocks: golden.safetensors with TYPE.blocks or TYPE.codes and TYPE.values.
 */
#ifndef MOE_SIM_GOLDEN_H
#define MOE_SIM_GOLDEN_H

#include "sim/base/progress.h"
#include "sim/check.h"

/* Appends one row per comparison of @folder to @checks. @model: a preset or folder that stands for
 * the one that MANIFEST.json names (NULL: that one). Differences are rows, not errors.
 *
 * Bounds: token ids and decoded bytes identical; expert sets identical wherever the score of the
 * k-th and the next expert differ by more than 1e-5 in the reference (what comes after another choice
 * in that sequence is left out, and said to be); weights within 1e-5; hidden
 * states, router logits and logits within 1e-4 of their largest absolute value; stored blocks
 * exact. Errors: MOE_ERROR_INPUT when the folder cannot be read or understood. */
gboolean moe_golden_check(const char *folder, const char *model, GPtrArray *checks,
                          MoeProgress *progress, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

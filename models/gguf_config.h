/* gguf_config.h - what the metadata of a GGUF file say about a model, as its config.json would.
 *
 * Layer: models. llama.cpp's keys (gguf-py/gguf/constants.py) name the same numbers for every
 * architecture; a family's own field table says what its config.json calls them.
 */
#ifndef MOE_MODELS_GGUF_CONFIG_H
#define MOE_MODELS_GGUF_CONFIG_H

#include "models/family.h"
#include "models/gguf.h"

/* The config.json that the @files of one model stand for, for moe_family_configure(), and the family
 * that it is of. Every key below general.architecture is honoured or refused. Free with
 * moe_node_free(). Errors: MOE_ERROR_INPUT, with the byte and the key; NULL then. */
MoeNode *moe_gguf_config(const GPtrArray *files, const MoeFamily **family_out,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Whether the sizes that the metadata below @architecture state are those of the tensors: widths,
 * heads, experts, vocabulary, blocks. @n_blocks: without those that predict further ahead. A width
 * of dense FFNs in a file that has none plays no part. Also that blocks are of version 2, which all
 * of them are read as. Source of what is written where: llama.cpp's conversion/. Errors:
 * MOE_ERROR_INPUT, with the byte, the key and the tensor. */
gboolean moe_gguf_check_sizes(const GPtrArray *files, const char *architecture,
                              const MoeFamily *family, gint64 n_blocks,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The type that most elements of all tensors have. */
MoeDtype moe_gguf_dtype(const GPtrArray *files);

/* The names of @family's tensors in GGUF files: NULL where it has none. */
MoeTensorNames moe_gguf_names(const MoeFamily *family);

#endif

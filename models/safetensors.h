/* safetensors.h - reads and writes the safetensors format.
 *
 * Layer: models. Format: 8 bytes little-endian header length, a JSON header {name: {dtype, shape,
 * data_offsets}}, the data (github.com/huggingface/safetensors, README "Format"). Read by mmap; a
 * header that lies is refused with the tensor and the offset.
 */
#ifndef MOE_MODELS_SAFETENSORS_H
#define MOE_MODELS_SAFETENSORS_H

#include "models/tensor.h"

typedef struct MoeSafetensors MoeSafetensors;

/* Opens @path and checks its header: length (at most 100 MB and inside the file), strict JSON,
 * known types, shapes that fill their offsets, data without gaps or overlaps, to the end of the
 * file. Free with moe_safetensors_free(). Errors: MOE_ERROR_INPUT; NULL then. */
MoeSafetensors *moe_safetensors_open(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_safetensors_free(MoeSafetensors *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeSafetensors, moe_safetensors_free)

/* The tensors in the order of their data; the one called @name or NULL; the metadata value of @key
 * or NULL; the file's path. Borrowed. */
const MoeTensor *moe_safetensors_tensors(const MoeSafetensors *file, guint *n_out);
const MoeTensor *moe_safetensors_find(const MoeSafetensors *file, const char *name);
const char *moe_safetensors_metadata(const MoeSafetensors *file, const char *key);
const char *moe_safetensors_path(const MoeSafetensors *file);

/* As moe_file_release(). */
void moe_safetensors_release(const MoeSafetensors *file);

/* Writes @n tensors (in this order of data when types are of one size; larger elements come first,
 * as the reference writer does) and the metadata, pairs of key and value, NULL-terminated or NULL.
 * Errors: MOE_ERROR_FAILED. */
gboolean moe_safetensors_write(const char *path, gboolean force, const MoeTensor *tensors, guint n,
                               const char *const *metadata,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

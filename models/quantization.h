/* quantization.h - how config.json says that weights are stored.
 *
 * Layer: models.
 */
#ifndef MOE_MODELS_QUANTIZATION_H
#define MOE_MODELS_QUANTIZATION_H

#include "kernels/matrix.h"
#include "sim/base/node.h"

typedef struct {
    MoeDtype dtype;        /* of most weights */
    gint64 scale_block[2]; /* rows and columns of 8-bit floats that share a scale; 0: no scales */
} MoeQuantization;

/* Reads quantization_config, else dtype or torch_dtype; bf16 when @config is silent. Activations
 * that a server would quantise stay floats. Errors: MOE_ERROR_INPUT, a way that is not read. */
gboolean moe_quantization_read(const MoeNode *config, MoeQuantization *out, GError **error);

#endif

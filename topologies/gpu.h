/* gpu.h - what a kind of GPU can do.
 *
 * Layer: topologies.
 */
#ifndef MOE_TOPOLOGIES_GPU_H
#define MOE_TOPOLOGIES_GPU_H

#include "sim/base/field.h"

/* The types that computation and communication are priced in. */
typedef enum { MOE_TYPE_F32, MOE_TYPE_F16, MOE_TYPE_BF16, MOE_TYPE_FP8, MOE_TYPE_COUNT } MoeType;

/* "f32", "f16", "bf16", "fp8", NULL-terminated. */
const char *const *moe_type_names(void);

/* Bytes of one number in memory, scales left out: 4, 2, 2, 1. */
double moe_type_bytes(MoeType type);

/* Bytes of @elements numbers on the wire: as in memory, but fp8 sends a 4-byte scale with every 128
 * begun (DeepEP: hidden * (1 + 4/128) bytes per token). */
gint64 moe_type_wire_bytes(MoeType type, gint64 elements);

typedef struct {
    char *name;
    struct {
        char *peak, *hbm, *efficiency, *launch;
    } sources;
    double
        peak[MOE_TYPE_COUNT]; /* FLOP/s of dense matrix products; NaN: the GPU has no such units */
    struct {
        double bandwidth, size; /* bytes/s; bytes */
    } hbm;
    struct {
        double compute, memory; /* shares of peak and of bandwidth that kernels reach at best */
    } efficiency;
    double launch; /* seconds that a kernel takes when it has nothing to do */
} MoeGpu;

extern const MoeField moe_gpu_fields[];

/* Loads the preset or file @name (relative to @base_dir). Clear with moe_gpu_clear().
 * Errors: MOE_ERROR_INPUT. */
gboolean moe_gpu_load(const char *name, const char *base_dir, MoeGpu *gpu,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_gpu_clear(MoeGpu *gpu);

#endif

/* npy.h - reads NumPy's .npy arrays.
 *
 * Layer: workloads. Format: numpy.lib.format, versions 1.0 to 3.0; little-endian integers and
 * floats, C order.
 */
#ifndef MOE_WORKLOADS_NPY_H
#define MOE_WORKLOADS_NPY_H

#include "sim/base/error.h"

typedef enum { MOE_NPY_SIGNED, MOE_NPY_UNSIGNED, MOE_NPY_FLOAT } MoeNpyKind;

typedef struct {
    MoeNpyKind kind;
    int size; /* bytes per element: 1, 2, 4, 8 */
    int n_dims;
    gint64 dims[8];
    gint64 n_elements;
    const guint8 *data; /* perhaps unaligned */
    GMappedFile *file;
} MoeNpy;

/* Maps the array at @path. Free with moe_npy_free(). Errors: MOE_ERROR_INPUT (not .npy, a header
 * that does not fit the file, a type or order that is not read, with what to do); NULL then. */
MoeNpy *moe_npy_open(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_npy_free(MoeNpy *array);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeNpy, moe_npy_free)

/* Element @index of an integer array. Unsigned 64-bit values above 2^63 - 1 come out as that. */
gint64 moe_npy_int(const MoeNpy *array, gint64 index);

#endif

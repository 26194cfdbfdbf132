/* npy.h - reads NumPy's .npy arrays and .npz archives of them.
 *
 * Layer: workloads. Format: numpy.lib.format, versions 1.0 to 3.0; little-endian integers and
 * floats, C order. bfloat16 is read where NumPy stores ml_dtypes' type, as two raw bytes ("V2").
 */
#ifndef MOE_WORKLOADS_NPY_H
#define MOE_WORKLOADS_NPY_H

#include "kernels/matrix.h"
#include "sim/base/error.h"

typedef enum { MOE_NPY_SIGNED, MOE_NPY_UNSIGNED, MOE_NPY_FLOAT, MOE_NPY_BFLOAT } MoeNpyKind;

typedef struct {
    MoeNpyKind kind;
    int size; /* bytes per element: 1, 2, 4, 8 */
    int n_dims;
    gint64 dims[8];
    gint64 n_elements;
    const guint8 *data; /* perhaps unaligned */
    gpointer owner;     /* of the data */
    GDestroyNotify free_owner;
} MoeNpy;

/* Maps the array at @path. Free with moe_npy_free(). Errors: MOE_ERROR_INPUT (not .npy, a header
 * that does not fit the file, a type or order that is not read, with what to do); NULL then. */
MoeNpy *moe_npy_open(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for the bytes of such a file; messages call it @name. The array keeps a reference of
 * @bytes. */
MoeNpy *moe_npy_read(GBytes *bytes, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Appends the arrays of the archive at @path to @arrays (MoeNpy *) and "path: member" to @names
 * (char *), in the archive's order: zip, members stored or deflated. Sizes that no deflated member
 * can have are refused before memory is taken. Errors: MOE_ERROR_INPUT, with the member and, where
 * its data are damaged, the offset in them. */
gboolean moe_npz_read(const char *path, GPtrArray *arrays, GPtrArray *names,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

void moe_npy_free(MoeNpy *array);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeNpy, moe_npy_free)

/* Element @index of an integer array. Unsigned 64-bit values above 2^63 - 1 come out as that. */
gint64 moe_npy_int(const MoeNpy *array, gint64 index);

/* The matrix type of an array of floats of 2 or 4 bytes; FALSE for another. */
gboolean moe_npy_dtype(const MoeNpy *array, MoeDtype *dtype_out);

#endif

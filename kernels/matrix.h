/* matrix.h - matrices in the types that checkpoints store, widened to float tile by tile.
 *
 * Layer: kernels (nothing of ours, no GLib). Plain arrays, row-major. Sizes are checked by the
 * callers: kernels have no run-time errors.
 */
#ifndef MOE_KERNELS_MATRIX_H
#define MOE_KERNELS_MATRIX_H

#include <stddef.h>
#include <stdint.h>

typedef enum { MOE_F32, MOE_F16, MOE_BF16 } MoeDtype;
enum { MOE_DTYPE_COUNT = 3 };

/* "f32", "f16", "bf16"; the bytes of one element. */
const char *moe_dtype_name(MoeDtype dtype);
size_t moe_dtype_size(MoeDtype dtype);

/* A view of a stored matrix, [rows, cols] row-major without gaps; @data is borrowed. */
typedef struct {
    const void *data;
    MoeDtype dtype;
    size_t rows, cols;
} MoeMatrix;

/* Writes @count stored elements of @dtype at @from as floats. Exact: every f16 and bf16 value,
 * subnormals, infinities and NaN payloads' being NaN included, is a float.
 * 4 bytes written per element, 2 or 4 read. */
void moe_widen(MoeDtype dtype, const void *from, size_t count, float *out);

/* The index of the first of @count stored elements that is a NaN or an infinity, or SIZE_MAX. */
size_t moe_find_nonfinite(MoeDtype dtype, const void *data, size_t count);

/* The rows [row, row + n) of @m as floats: a pointer into @m when it is stored as f32, else
 * @scratch ([n, cols]) filled by moe_widen(). */
const float *moe_matrix_rows(const MoeMatrix *m, size_t row, size_t n, float *scratch);

/* @size bytes aligned to 64, or the end of the process: callers bound sizes beforehand. free()
 * it. */
void *moe_scratch(size_t size);

#endif

/* matrix.h - matrices in the types that checkpoints store, widened to float tile by tile.
 *
 * Layer: kernels (nothing of ours, no GLib). Plain arrays, little-endian, row-major unless a matrix
 * says that it is transposed. Sizes are checked by the callers: kernels have no run-time errors.
 */
#ifndef MOE_KERNELS_MATRIX_H
#define MOE_KERNELS_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is stored. The floats, 8-bit ones as in "FP8 formats for deep learning" (arXiv 2209.05433):
 * e4m3 has no infinities (its "fn" form); e8m0 (OCP Microscaling Formats 1.0) is a power of two and
 * the type of scales. e2m1, 4 bits, two to a byte, the lower half first: MXFP4 as safetensors
 * stores it, its e8m0 scales apart; its zero has no sign here. From q4_0 on, blocks of GGUF files,
 * scales inside (github.com/ggml-org/ggml, docs/gguf.md and the layouts of ggml-common.h). */
typedef enum {
    MOE_F32,
    MOE_F16,
    MOE_BF16,
    MOE_F8_E4M3,
    MOE_F8_E5M2,
    MOE_F8_E8M0,
    MOE_F4_E2M1,
    MOE_Q4_0,
    MOE_Q4_1,
    MOE_Q5_0,
    MOE_Q5_1,
    MOE_Q8_0,
    MOE_Q2_K,
    MOE_Q3_K,
    MOE_Q4_K,
    MOE_Q5_K,
    MOE_Q6_K,
    MOE_IQ4_NL,
    MOE_IQ4_XS,
    MOE_MXFP4,
} MoeDtype;
enum { MOE_DTYPE_COUNT = MOE_MXFP4 + 1, MOE_DTYPE_MOST_BLOCK = 256 };

/* "f32", "q4_k"; the elements of a block (1 for plain types) and its bytes. */
const char *moe_dtype_name(MoeDtype dtype);
size_t moe_dtype_block(MoeDtype dtype);
size_t moe_dtype_bytes(MoeDtype dtype);

/* The bytes of @cols stored elements: whole blocks. */
size_t moe_dtype_row_bytes(MoeDtype dtype, size_t cols);

/* Factors of a matrix: the stored element [i, j] is multiplied by the element
 * [i / rows, j / cols] of @data, a type with blocks of one element. 128 x 128 for weight_scale_inv
 * of DeepSeek-V3, 1 x 32 for MXFP4. @stride: elements from one row of factors to the next. */
typedef struct {
    const void *data; /* NULL: there are none; borrowed */
    MoeDtype dtype;
    size_t rows, cols, stride;
} MoeScales;

/* How products with a matrix are computed. */
typedef enum {
    MOE_PRECISION_F32,  /* of what is stored and of vectors as they are */
    MOE_PRECISION_BF16, /* both rounded to bf16, to nearest, ties to even, subnormals to zero; the
                           products, which are exact then, summed as floats. What servers do that run a
                           model in bfloat16, and the processors' own instructions for it. */
} MoePrecision;

/* "f32", "bf16". */
enum { MOE_PRECISION_COUNT = MOE_PRECISION_BF16 + 1 };
const char *moe_precision_name(MoePrecision precision);

/* A view [rows, cols] of a stored matrix; @data, its first element, is borrowed. Element [r, c] of
 * the view is [i, j] = [first_row + r * row_step, first_col + c] of the matrix, stored at [i, j],
 * or, when @transposed, at [j, i]. {data, dtype, rows, cols} is a whole matrix without gaps. */
typedef struct {
    const void *data;
    MoeDtype dtype;
    size_t rows, cols;
    size_t stride;               /* bytes from one stored row to the next; 0: no gaps */
    size_t first_row, first_col; /* not 0 only with a stride */
    size_t row_step;             /* 0 means 1 */
    bool transposed;
    MoeScales scales;
    MoePrecision precision; /* of products (linear.h, experts.h); all else gives what is stored */
} MoeMatrix;

/* Rows @row, @row + @step ... (@rows of them) and columns [@col, @col + @cols) of @m. */
MoeMatrix moe_matrix_view(const MoeMatrix *m, size_t row, size_t step, size_t rows, size_t col,
                          size_t cols);

/* @m with rows and columns exchanged; nothing is moved. Not for views with a step. */
MoeMatrix moe_matrix_transpose(const MoeMatrix *m);

/* Where the stored elements of @m lie: the first byte, and how many bytes from there on hold all of
 * them (scales apart). */
const void *moe_matrix_span(const MoeMatrix *m, size_t *bytes_out);

/* Writes @count stored elements of @dtype at @from, the first of them the first of a block, as
 * floats. Every element of a plain type, subnormals, infinities and NaN's being NaN included, is a
 * float; values of blocks are rounded once. 4 bytes written per element. */
void moe_widen(MoeDtype dtype, const void *from, size_t count, float *out);

/* The same, one element after the other in double precision; the oracle. */
void moe_widen_ref(MoeDtype dtype, const void *from, size_t count, float *out);

/* The index of the first of @count stored elements that is a NaN or an infinity, or SIZE_MAX. */
size_t moe_find_nonfinite(MoeDtype dtype, const void *data, size_t count);

/* The same for the elements of @m after scaling: row * cols + column. */
size_t moe_matrix_find_nonfinite(const MoeMatrix *m);

/* The rows [row, row + n) of @m as floats, without gaps: a pointer into @m when it is stored so,
 * else @scratch ([n, cols]), filled. */
const float *moe_matrix_rows(const MoeMatrix *m, size_t row, size_t n, float *scratch);

/* Row @row of @m where it is stored, when its elements are bf16 that follow each other; else NULL. */
const void *moe_matrix_bf16(const MoeMatrix *m, size_t row);

/* out = @count floats as products of @precision take them, in place too. Rounded to bf16, the largest
 * become infinities. And one after the other in double precision; the oracle. */
void moe_round(MoePrecision precision, size_t count, const float *from, float *out);
void moe_round_ref(MoePrecision precision, size_t count, const float *from, float *out);

/* All of @m as floats [rows, cols], element by element by moe_widen_ref(); the oracle. */
void moe_matrix_ref(const MoeMatrix *m, float *out);

/* @size bytes aligned to 64, or the end of the process: callers bound sizes beforehand. free()
 * it. */
void *moe_scratch(size_t size);

#endif

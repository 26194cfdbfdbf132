/* product.h - tokens times some rows of a stored matrix, by one thread; private to kernels/.
 *
 * Layer: kernels. Where the machine has AVX-512, by product_avx512.c, which packs tokens and widened
 * weights faster than CBLAS libraries do and leaves the weights in the second-level cache; elsewhere
 * by CBLAS. Products in bf16 by product_bf16.c where the machine has AVX-512 BF16, twice as many
 * at a time.
 */
#ifndef MOE_KERNELS_PRODUCT_H
#define MOE_KERNELS_PRODUCT_H

#include "kernels/matrix.h"

/* Floats of scratch for products of at most @T tokens with at most @n rows of @cols columns. */
size_t moe_product_floats(MoePrecision precision, size_t T, size_t n, size_t cols);

/* y[t][i] = w[row + i] x[t] (+ y[t][i] when @add), t < T, i < n, in the precision of @w: x [T,
 * w->cols]; rows of y are @stride floats apart. @scratch as above. Every sum has an order that T and n
 * do not change, but in a CBLAS library's hands. */
void moe_product(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n, bool add,
                 float *y, size_t stride, float *scratch);

/* The AVX-512 code, of products in floats and in bf16. */
size_t moe_product_floats_avx512(size_t T, size_t cols);
void moe_product_avx512(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                        bool add, float *y, size_t stride, float *scratch);
size_t moe_product_floats_avx512_bf16(size_t T, size_t cols);
void moe_product_avx512_bf16(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                             bool add, float *y, size_t stride, float *scratch);

/* Products in bf16 where there are no instructions for them: of floats that are rounded before. */
size_t moe_product_floats_rounded(size_t T, size_t n, size_t cols);
void moe_product_rounded(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                         bool add, float *y, size_t stride, float *scratch);

#endif

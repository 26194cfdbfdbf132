/* linear.h - dense matrix products.
 *
 * Layer: kernels. Letters as in gate.h. GEMM is the CBLAS library's job; here the work is cut into
 * tiles of a fixed size, each multiplied by one thread, so that results do not depend on the number
 * of threads, and stored weights are widened to float next to the product that uses them.
 */
#ifndef MOE_KERNELS_LINEAR_H
#define MOE_KERNELS_LINEAR_H

#include "kernels/matrix.h"

/* y[t] = w x[t] in the precision of @w: y [T, N], x [T, w->cols], w [N, w->cols] stored in any
 * type. Work: 2*T*N*cols FLOP. In bf16 y[t] does not depend on T, but in a CBLAS library's hands
 * (product.h). */
void moe_linear(size_t T, const float *restrict x, const MoeMatrix *w, float *restrict y);

/* y[t] += w x[t], otherwise the same. */
void moe_linear_add(size_t T, const float *restrict x, const MoeMatrix *w, float *restrict y);

/* The same, where y[t] does not depend on T in floats either: some time more for few tokens. For
 * routers, whose margins may be small. */
void moe_linear_steady(size_t T, const float *restrict x, const MoeMatrix *w, float *restrict y);

/* The same in double precision; the oracle. */
void moe_linear_ref(size_t T, const float *x, const MoeMatrix *w, float *y);

/* How many of the @rows rows of a matrix with @cols columns to widen and multiply at a time, when the
 * tokens are cut in @n: the tile, as floats, fits a third-level cache; as many rows as possible, since
 * tokens are packed anew for each tile, but few enough for several threads. For experts.c. */
size_t moe_tile_rows(size_t cols, size_t rows, size_t n);

/* Called once before the first product: one thread per product, ours are the threads. Cheap. */
void moe_blas_single(void);

#endif

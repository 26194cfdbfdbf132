#include "config.h"

#include "kernels/product.h"

#include "kernels/simd.h"

#include <cblas.h>

size_t moe_product_floats(size_t T, size_t n, size_t cols)
{
#if defined(HAVE_AVX512_OBJECTS)
    if (moe_has_avx512())
        return moe_product_floats_avx512(T, cols);
#endif
    (void)T;
    return n * cols;
}

void moe_product(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n, bool add,
                 float *y, size_t stride, float *scratch)
{
#if defined(HAVE_AVX512_OBJECTS)
    if (moe_has_avx512()) {
        moe_product_avx512(T, x, w, row, n, add, y, stride, scratch);
        return;
    }
#endif
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)T, (int)n, (int)w->cols, 1, x,
                (int)w->cols, moe_matrix_rows(w, row, n, scratch), (int)w->cols, add ? 1 : 0, y,
                (int)stride);
}

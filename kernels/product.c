#include "config.h"

#include "kernels/product.h"

#include "kernels/simd.h"

#include <cblas.h>

static size_t floats_f32(size_t T, size_t n, size_t cols)
{
#if defined(HAVE_AVX512_OBJECTS)
    if (moe_has_avx512())
        return moe_product_floats_avx512(T, cols);
#endif
    (void)T;
    return n * cols;
}

static void product_f32(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                        bool add, float *y, size_t stride, float *scratch)
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

size_t moe_product_floats_rounded(size_t T, size_t n, size_t cols)
{
    return (T + n) * cols + floats_f32(T, n, cols);
}

void moe_product_rounded(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                         bool add, float *y, size_t stride, float *scratch)
{
    float *tokens = scratch, *rows = tokens + T * w->cols, *rest = rows + n * w->cols;
    const MoeMatrix rounded = {rows, MOE_F32, n, w->cols};
    moe_round(MOE_PRECISION_BF16, T * w->cols, x, tokens);
    moe_round(MOE_PRECISION_BF16, n * w->cols, moe_matrix_rows(w, row, n, rows), rows);
    product_f32(T, tokens, &rounded, 0, n, add, y, stride, rest);
}

size_t moe_product_floats(MoePrecision precision, size_t T, size_t n, size_t cols)
{
    if (precision == MOE_PRECISION_F32)
        return floats_f32(T, n, cols);
#if defined(HAVE_AVX512_BF16_OBJECTS)
    if (moe_has_avx512_bf16())
        return moe_product_floats_avx512_bf16(T, cols);
#endif
    return moe_product_floats_rounded(T, n, cols);
}

void moe_product(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n, bool add,
                 float *y, size_t stride, float *scratch)
{
    if (w->precision == MOE_PRECISION_F32) {
        product_f32(T, x, w, row, n, add, y, stride, scratch);
        return;
    }
#if defined(HAVE_AVX512_BF16_OBJECTS)
    if (moe_has_avx512_bf16()) {
        moe_product_avx512_bf16(T, x, w, row, n, add, y, stride, scratch);
        return;
    }
#endif
    moe_product_rounded(T, x, w, row, n, add, y, stride, scratch);
}

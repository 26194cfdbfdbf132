#include "config.h"

#include "kernels/product.h"
#include "kernels/simd.h"

#if defined(__AVX512F__)

#include <immintrin.h>
#include <string.h>

/* Panels of tokens and of weights meet over so many columns: a panel of weights, 128 KB, stays in the
 * second-level cache while all tokens pass. 12 x 2 vectors of sums, two of weights, one of tokens. */
enum { TOKENS = 12, WEIGHTS = 32, COLUMNS = 1024, STEP = 4 };
enum { MOST_PACKED = 1 << 22 }; /* floats of packed tokens, for a third-level cache */

/* What is packed for tokens whose number is no multiple of STEP. */
static size_t padded(size_t T)
{
    return (T + STEP - 1) / STEP * STEP;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many of @T tokens are packed at a time. */
static size_t at_once(size_t T, size_t cols)
{
    size_t most = MOST_PACKED / (cols > 0 ? cols : 1) / TOKENS * TOKENS;
    return least(padded(T), most > 8 * TOKENS ? most : 8 * TOKENS);
}

size_t moe_product_floats_avx512(size_t T, size_t cols)
{
    return at_once(T, cols) * cols + WEIGHTS * (cols + least(cols, COLUMNS));
}

/* Four rows of @k floats, the last of them zeros when fewer are there, become out[i * width + r]. */
static void pack_rows(size_t rows, size_t k, const float *from, size_t stride, size_t width,
                      float *out)
{
    const float *row[STEP];
    for (size_t r = 0; r < STEP; r++)
        row[r] = from + (r < rows ? r : 0) * stride;
    size_t i = 0;
    for (; rows == STEP && i + 4 <= k; i += 4) {
        __m128 a = _mm_loadu_ps(row[0] + i), b = _mm_loadu_ps(row[1] + i);
        __m128 c = _mm_loadu_ps(row[2] + i), d = _mm_loadu_ps(row[3] + i);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        _mm_storeu_ps(out + i * width, a);
        _mm_storeu_ps(out + (i + 1) * width, b);
        _mm_storeu_ps(out + (i + 2) * width, c);
        _mm_storeu_ps(out + (i + 3) * width, d);
    }
    for (; i < k; i++)
        for (size_t r = 0; r < STEP; r++)
            out[i * width + r] = r < rows ? row[r][i] : 0;
}

/* Panels of TOKENS tokens, the last one lower: [k, height] each. */
static void pack_tokens(size_t T, size_t k, const float *x, size_t stride, float *out)
{
    for (size_t t = 0; t < T; t += TOKENS) {
        size_t height = least(padded(T - t), TOKENS);
        for (size_t r = 0; r < height; r += STEP)
            pack_rows(least(T - t - r, STEP), k, x + (t + r) * stride, stride, height, out + r);
        out += height * k;
    }
}

/* One panel of weights, [k, WEIGHTS]. */
static void pack_weights(size_t n, size_t k, const float *w, size_t stride, float *out)
{
    for (size_t r = 0; r < WEIGHTS; r += STEP) {
        if (r < n)
            pack_rows(least(n - r, STEP), k, w + r * stride, stride, WEIGHTS, out + r);
        else
            for (size_t i = 0; i < k; i++)
                memset(out + i * WEIGHTS + r, 0, STEP * sizeof(float));
    }
}

/* @height (a constant) tokens times a panel of weights; @rows and @n of the sums are wanted. */
MOE_INLINE void meet(size_t height, size_t k, const float *x, const float *w, bool add, size_t rows,
                     size_t n, float *y, size_t stride)
{
    __m512 sums[TOKENS][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < height; r++)
        sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (size_t i = 0; i < k; i++, x += height, w += WEIGHTS) {
        const __m512 first = _mm512_loadu_ps(w), second = _mm512_loadu_ps(w + 16);
#pragma GCC unroll 12
        for (size_t r = 0; r < height; r++) {
            const __m512 token = _mm512_set1_ps(x[r]);
            sums[r][0] = _mm512_fmadd_ps(token, first, sums[r][0]);
            sums[r][1] = _mm512_fmadd_ps(token, second, sums[r][1]);
        }
    }
    const uint32_t wanted = n < WEIGHTS ? (1U << n) - 1 : ~0U;
#pragma GCC unroll 12
    for (size_t r = 0; r < height; r++) {
        for (size_t half = 0; half < 2 && r < rows; half++) {
            const __mmask16 mask = (__mmask16)(wanted >> (16 * half));
            float *to = y + r * stride + 16 * half;
            __m512 sum = sums[r][half];
            if (add)
                sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), sum);
            _mm512_mask_storeu_ps(to, mask, sum);
        }
    }
}

/* All packed tokens times one packed panel. */
static void meet_all(size_t T, size_t k, const float *x, const float *w, bool add, size_t n,
                     float *y, size_t stride)
{
    for (size_t t = 0; t < T; t += TOKENS, y += TOKENS * stride) {
        size_t height = least(padded(T - t), TOKENS), rows = least(T - t, TOKENS);
        if (height == TOKENS)
            meet(TOKENS, k, x, w, add, rows, n, y, stride);
        else if (height == 2 * STEP)
            meet(2 * STEP, k, x, w, add, rows, n, y, stride);
        else
            meet(STEP, k, x, w, add, rows, n, y, stride);
        x += height * k;
    }
}

/* @T packed tokens, at most at_once(), times all panels. */
static void meet_panels(size_t T, const float *tokens, const MoeMatrix *w, size_t row, size_t n,
                        bool add, float *y, size_t stride, float *panel)
{
    const size_t cols = w->cols;
    float *wide = panel + WEIGHTS * least(cols, COLUMNS);
    for (size_t i = 0; i < n; i += WEIGHTS) {
        size_t n_here = least(n - i, WEIGHTS);
        const float *rows = moe_matrix_rows(w, row + i, n_here, wide);
        for (size_t k = 0; k < cols; k += COLUMNS) {
            size_t here = least(cols - k, COLUMNS);
            pack_weights(n_here, here, rows + k, cols, panel);
            meet_all(T, here, tokens + padded(T) * k, panel, add || k > 0, n_here, y + i, stride);
        }
    }
}

void moe_product_avx512(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                        bool add, float *y, size_t stride, float *scratch)
{
    const size_t cols = w->cols, step = at_once(T, cols);
    float *panel = scratch + step * cols;
    for (size_t t = 0; t < T; t += step) {
        size_t here = least(T - t, step);
        for (size_t k = 0; k < cols; k += COLUMNS)
            pack_tokens(here, least(cols - k, COLUMNS), x + t * cols + k, cols,
                        scratch + padded(here) * k);
        meet_panels(here, scratch, w, row, n, add, y + t * stride, stride, panel);
    }
}

#endif

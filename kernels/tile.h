/* tile.h - packing and the innermost product of the AVX-512 code; private to kernels/.
 *
 * Layer: kernels. Rows of two matrices meet over their columns: up to TILE_ROWS rows of the one, a
 * broadcast float each, with a panel of TILE_WIDTH rows of the other, packed so that a column of it
 * is two vectors. 12 x 2 vectors of sums, two of the panel and one broadcast fill the registers. In
 * a source that defines TILE_PAIRS, what is called a float is a pair of bf16 side by side.
 */
#ifndef MOE_KERNELS_TILE_H
#define MOE_KERNELS_TILE_H

#include "kernels/simd.h"

#if defined(__AVX512F__)

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

enum { TILE_ROWS = 12, TILE_WIDTH = 32, TILE_STEP = 4 };

MOE_INLINE size_t tile_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* What is packed for @n rows that are no multiple of TILE_STEP. */
MOE_INLINE size_t tile_padded(size_t n)
{
    return (n + TILE_STEP - 1) / TILE_STEP * TILE_STEP;
}

/* Four rows of @k floats, the last of them zeros when fewer are there, become out[i * width + r]. */
MOE_INLINE void tile_pack_rows(size_t rows, size_t k, const float *from, size_t stride,
                               size_t width, float *out)
{
    const float *row[TILE_STEP];
    for (size_t r = 0; r < TILE_STEP; r++)
        row[r] = from + (r < rows ? r : 0) * stride;
    size_t i = 0;
    for (; rows == TILE_STEP && i + 4 <= k; i += 4) {
        __m128 a = _mm_loadu_ps(row[0] + i), b = _mm_loadu_ps(row[1] + i);
        __m128 c = _mm_loadu_ps(row[2] + i), d = _mm_loadu_ps(row[3] + i);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        _mm_storeu_ps(out + i * width, a);
        _mm_storeu_ps(out + (i + 1) * width, b);
        _mm_storeu_ps(out + (i + 2) * width, c);
        _mm_storeu_ps(out + (i + 3) * width, d);
    }
    for (; i < k; i++)
        for (size_t r = 0; r < TILE_STEP; r++)
            out[i * width + r] = r < rows ? row[r][i] : 0;
}

/* @n rows of @k floats, in panels of TILE_ROWS, the last one lower: [k, height] each. */
MOE_INLINE void tile_pack(size_t n, size_t k, const float *x, size_t stride, float *out)
{
    for (size_t t = 0; t < n; t += TILE_ROWS) {
        size_t height = tile_least(tile_padded(n - t), TILE_ROWS);
        for (size_t r = 0; r < height; r += TILE_STEP)
            tile_pack_rows(tile_least(n - t - r, TILE_STEP), k, x + (t + r) * stride, stride,
                           height, out + r);
        out += height * k;
    }
}

/* @n rows, at most TILE_WIDTH, as one panel: [k, TILE_WIDTH]. */
MOE_INLINE void tile_pack_panel(size_t n, size_t k, const float *w, size_t stride, float *out)
{
    for (size_t r = 0; r < TILE_WIDTH; r += TILE_STEP) {
        if (r < n)
            tile_pack_rows(tile_least(n - r, TILE_STEP), k, w + r * stride, stride, TILE_WIDTH,
                           out + r);
        else
            for (size_t i = 0; i < k; i++)
                memset(out + i * TILE_WIDTH + r, 0, TILE_STEP * sizeof(float));
    }
}

/* sum + a b, of both of a pair. */
MOE_INLINE __m512 tile_multiply_add(__m512 a, __m512 b, __m512 sum)
{
#if defined(TILE_PAIRS)
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#else
    return _mm512_fmadd_ps(a, b, sum);
#endif
}

/* @height (a constant) rows, their floats @x_row and columns @x_col apart, times a panel; @rows and @n
 * of the sums are wanted. */
MOE_INLINE void tile_meet(size_t height, size_t k, const float *x, size_t x_row, size_t x_col,
                          const float *w, bool add, size_t rows, size_t n, float *y, size_t stride)
{
    __m512 sums[TILE_ROWS][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < height; r++)
        sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (size_t i = 0; i < k; i++, x += x_col, w += TILE_WIDTH) {
        const __m512 first = _mm512_loadu_ps(w), second = _mm512_loadu_ps(w + 16);
#pragma GCC unroll 12
        for (size_t r = 0; r < height; r++) {
            const __m512 from_x = _mm512_set1_ps(x[r * x_row]);
            sums[r][0] = tile_multiply_add(from_x, first, sums[r][0]);
            sums[r][1] = tile_multiply_add(from_x, second, sums[r][1]);
        }
    }
    const uint32_t wanted = n < TILE_WIDTH ? (1U << n) - 1 : ~0U;
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

/* At most TILE_ROWS rows times a panel: rows that tile_pack() packed when @x_row is 0. */
MOE_INLINE void tile_meet_few(size_t rows, size_t k, const float *x, size_t x_row, const float *w,
                              bool add, size_t n, float *y, size_t stride)
{
    const size_t step = x_row > 0 ? x_row : 1;
    if (rows > 2 * TILE_STEP)
        tile_meet(TILE_ROWS, k, x, step, x_row > 0 ? 1 : TILE_ROWS, w, add, rows, n, y, stride);
    else if (rows > TILE_STEP)
        tile_meet(2 * TILE_STEP, k, x, step, x_row > 0 ? 1 : 2 * TILE_STEP, w, add, rows, n, y,
                  stride);
    else
        tile_meet(TILE_STEP, k, x, step, x_row > 0 ? 1 : TILE_STEP, w, add, rows, n, y, stride);
}

#endif
#endif

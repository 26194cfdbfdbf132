/* attention_soften.h - one row of scores meets its running softmax, by AVX-512; private to kernels/.
 *
 * Layer: kernels. For both precisions of attention's products: what is left of the row are floats, or in
 * a source that defines TILE_PAIRS bf16.
 */
#ifndef MOE_KERNELS_ATTENTION_SOFTEN_H
#define MOE_KERNELS_ATTENTION_SOFTEN_H

#include "kernels/simd.h"

#if defined(__AVX512F__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { SOFTEN_LANES = 16 };

/* As moe_v8_exp2(), but for the rounding of products that are added to. */
MOE_INLINE __m512 soften_exp2(__m512 x)
{
    const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-125.5F), _CMP_NLT_UQ);
    const __m512 magic = _mm512_set1_ps(12582912.0F);
    const __m512 whole = _mm512_add_ps(x, magic);
    const __m512 f = _mm512_sub_ps(x, _mm512_sub_ps(whole, magic));
    __m512 p = _mm512_fmadd_ps(f, _mm512_set1_ps(1.5353362e-4F), _mm512_set1_ps(1.33988739e-3F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.61843692e-3F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55033237e-2F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40226477e-1F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93147182e-1F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    const __m512i power = _mm512_slli_epi32(_mm512_castps_si512(whole), 23);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(normal, _mm512_castps_si512(p), power));
}

#if defined(TILE_PAIRS)
typedef uint16_t SoftenShare;
MOE_INLINE void soften_store(SoftenShare *to, __m512 p)
{
    _mm256_storeu_si256((__m256i *)(void *)to, (__m256i)_mm512_cvtneps_pbh(p));
}
#else
typedef float SoftenShare;
MOE_INLINE void soften_store(SoftenShare *to, __m512 p)
{
    _mm512_storeu_ps(to, p);
}
#endif

MOE_INLINE void soften_scale(float *out, size_t width, float factor)
{
    size_t d = 0;
    for (; d + SOFTEN_LANES <= width; d += SOFTEN_LANES)
        _mm512_storeu_ps(out + d, _mm512_mul_ps(_mm512_loadu_ps(out + d), _mm512_set1_ps(factor)));
    for (; d < width; d++)
        out[d] *= factor;
}

/* As moe_soften() (loops.h); the shares begin where the scores did, and are written behind what is
 * read. */
MOE_INLINE void soften_row(float *row, size_t from, size_t to, size_t n, float *max, float *sum,
                           float *out, size_t width)
{
    SoftenShare *shares = (SoftenShare *)(void *)row;
    const size_t first = from / SOFTEN_LANES * SOFTEN_LANES, end = n + n % 2; /* whole pairs */
    const __m512 nothing = _mm512_set1_ps(-INFINITY);
    if (from >= to) {
        memset(shares, 0, end * sizeof(*shares));
        return;
    }
    __m512 top = nothing, total = _mm512_setzero_ps();
    /* What is not seen at either end is made so; masks in the loops take time. */
    for (size_t i = first; i < from; i++)
        row[i] = -INFINITY;
    const size_t last = (to + SOFTEN_LANES - 1) / SOFTEN_LANES * SOFTEN_LANES;
    if (last > to)
        _mm512_mask_storeu_ps(row + last - SOFTEN_LANES,
                              (__mmask16)(0xFFFFU << (to + SOFTEN_LANES - last)), nothing);
    for (size_t i = first; i < to; i += SOFTEN_LANES)
        top = _mm512_max_ps(_mm512_loadu_ps(row + i), top);
    const float here = _mm512_reduce_max_ps(top), most = here > *max ? here : *max;
    const float factor = _mm512_cvtss_f32(soften_exp2(_mm512_set1_ps(*max - most)));
    top = _mm512_set1_ps(most);
    size_t i = first;
    for (; i < to; i += SOFTEN_LANES) {
        const __m512 p = soften_exp2(_mm512_sub_ps(_mm512_loadu_ps(row + i), top));
        soften_store(shares + i, p);
        total = _mm512_add_ps(total, p);
    }
    memset(shares, 0, first * sizeof(*shares));
    if (i < end)
        memset(shares + i, 0, (end - i) * sizeof(*shares));
    *sum = *sum * factor + _mm512_reduce_add_ps(total);
    *max = most;
    if (factor != 1)
        soften_scale(out, width, factor);
}

#endif
#endif

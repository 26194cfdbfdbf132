#include "config.h"

#include "kernels/attention_tile.h"
#include "kernels/tile.h"

#if defined(__AVX512F__)

#include <math.h>

enum { LANES = 16, KEYS = MOE_TILE_KEYS };

static void pack_queries(size_t n, size_t D, float scale, const float *from, size_t stride,
                         float *to)
{
    tile_pack(n, D, from, stride, to);
    for (size_t i = 0; i < tile_padded(n) * D; i++)
        to[i] *= scale;
}

static void pack_keys(size_t n, size_t D, const float *from, size_t stride, float *to)
{
    for (size_t i = 0; i < n; i += TILE_WIDTH)
        tile_pack_panel(tile_least(n - i, TILE_WIDTH), D, from + i * stride, stride, to + i * D);
}

static void pack_values(size_t n, size_t DV, const float *from, size_t stride, float *to)
{
    for (size_t d = 0; d < DV; d += LANES, from += LANES) {
        const __mmask16 mask = (__mmask16)((1U << tile_least(DV - d, LANES)) - 1);
        float *column = to + d / TILE_WIDTH * TILE_WIDTH * KEYS + d % TILE_WIDTH;
        for (size_t i = 0; i < n; i++)
            _mm512_storeu_ps(column + i * TILE_WIDTH,
                             _mm512_maskz_loadu_ps(mask, from + i * stride));
    }
}

static void score(size_t rows, size_t keys, size_t D, const float *q, const float *k, float *scores)
{
    for (size_t i = 0; i < keys; i += TILE_WIDTH)
        tile_meet_few(rows, D, q, 0, k + i * D, false, TILE_WIDTH, scores + i, KEYS);
}

static void mix(size_t rows, size_t keys, size_t DV, const float *scores, const float *v,
                float *out)
{
    for (size_t d = 0; d < DV; d += TILE_WIDTH)
        tile_meet_few(rows, keys, scores, KEYS, v + d * KEYS, true, tile_least(DV - d, TILE_WIDTH),
                      out + d, DV);
}

/* As moe_v8_exp2(), but for the rounding of products that are added to. */
MOE_INLINE __m512 exp2_of(__m512 x)
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

/* Which of the LANES keys from @first are in [from, to). */
MOE_INLINE __mmask16 seen(size_t first, size_t from, size_t to)
{
    const unsigned low = from > first ? ~0U << (from - first) : ~0U;
    const unsigned high = to - first < LANES ? (1U << (to - first)) - 1 : ~0U;
    return (__mmask16)(low & high);
}

static void soften(float *row, size_t from, size_t to, size_t n, float *max, float *sum, float *out,
                   size_t width)
{
    const size_t first = from / LANES * LANES;
    const __m512 nothing = _mm512_set1_ps(-INFINITY);
    if (from >= to) {
        memset(row, 0, n * sizeof(*row));
        return;
    }
    __m512 top = nothing, total = _mm512_setzero_ps();
    for (size_t i = first; i < to; i += LANES)
        top = _mm512_max_ps(_mm512_mask_loadu_ps(nothing, seen(i, from, to), row + i), top);
    const float here = _mm512_reduce_max_ps(top), most = here > *max ? here : *max;
    const float factor = _mm512_cvtss_f32(exp2_of(_mm512_set1_ps(*max - most)));
    top = _mm512_set1_ps(most);
    size_t i = first;
    for (; i < to; i += LANES) {
        const __m512 x = _mm512_mask_loadu_ps(nothing, seen(i, from, to), row + i);
        const __m512 p = exp2_of(_mm512_sub_ps(x, top));
        _mm512_storeu_ps(row + i, p);
        total = _mm512_add_ps(total, p);
    }
    memset(row, 0, first * sizeof(*row));
    if (i < n)
        memset(row + i, 0, (n - i) * sizeof(*row));
    *sum = *sum * factor + _mm512_reduce_add_ps(total);
    *max = most;
    for (size_t d = 0; d < width && factor != 1; d++)
        out[d] *= factor;
}

const MoeAttentionTile moe_attention_tile_avx512 = {
    .rows = TILE_ROWS,
    .pack_queries = pack_queries,
    .pack_keys = pack_keys,
    .pack_values = pack_values,
    .score = score,
    .soften = soften,
    .mix = mix,
};

#endif

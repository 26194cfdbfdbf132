#include "config.h"

#include "kernels/attention_tile.h"

#if defined(__AVX512BF16__)

#define TILE_PAIRS
#include "kernels/attention_soften.h"
#include "kernels/tile.h"

/* As attention_avx512.c, of pairs: queries and keys of two columns, shares and values of two keys.
 * What is packed takes half of its room. Rows are rounded in pieces of COLUMNS. */
enum { KEYS = MOE_TILE_KEYS, COLUMNS = 128, PAIRS = COLUMNS / 2 };

static size_t pairs_of(size_t n)
{
    return n / 2 + n % 2;
}

static __mmask16 first(size_t n)
{
    return (__mmask16)(n < 16 ? (1U << n) - 1 : 0xFFFF);
}

/* @n floats times @scale as pairs, an odd one with zero. */
MOE_INLINE void narrow(size_t n, float scale, const float *from, float *to)
{
    for (size_t i = 0; i < n; i += 32, to += 16) {
        const size_t here = tile_least(n - i, 32), rest = here > 16 ? here - 16 : 0;
        const __m512 factor = _mm512_set1_ps(scale);
        const __m512 low = _mm512_maskz_loadu_ps(first(here), from + i);
        const __m512 high = _mm512_maskz_loadu_ps(first(rest), from + i + (rest > 0 ? 16 : 0));
        const __m512bh both =
            _mm512_cvtne2ps_pbh(_mm512_mul_ps(high, factor), _mm512_mul_ps(low, factor));
        _mm512_mask_storeu_epi32(to, first(pairs_of(here)), (__m512i)both);
    }
}

/* Up to TILE_STEP rows of @D floats times @scale, as tile_pack_rows(). */
MOE_INLINE void pack_rows(size_t rows, size_t D, float scale, const float *from, size_t stride,
                          size_t width, float *out)
{
    float lines[TILE_STEP * PAIRS];
    for (size_t d = 0; d < D; d += COLUMNS, out += PAIRS * width) {
        const size_t here = tile_least(D - d, COLUMNS);
        for (size_t r = 0; r < rows; r++)
            narrow(here, scale, from + r * stride + d, lines + r * PAIRS);
        tile_pack_rows(rows, pairs_of(here), lines, PAIRS, width, out);
    }
}

static void pack_queries(size_t n, size_t D, float scale, const float *from, size_t stride,
                         float *to)
{
    for (size_t t = 0; t < n; t += TILE_ROWS) {
        const size_t height = tile_least(tile_padded(n - t), TILE_ROWS);
        for (size_t r = 0; r < height; r += TILE_STEP)
            pack_rows(tile_least(n - t - r, TILE_STEP), D, scale, from + (t + r) * stride, stride,
                      height, to + t * D + r);
    }
}

static void pack_keys(size_t n, size_t D, const float *from, size_t stride, float *to)
{
    for (size_t i = 0; i < n; i += TILE_WIDTH, to += TILE_WIDTH * D)
        for (size_t r = 0; r < TILE_WIDTH && i + r < n; r += TILE_STEP)
            pack_rows(tile_least(n - i - r, TILE_STEP), D, 1, from + (i + r) * stride, stride,
                      TILE_WIDTH, to + r);
}

/* The bf16 of both, alternating. */
MOE_INLINE __m512i alternate(__m512 a, __m512 b)
{
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(a));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(b));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

static void pack_values(size_t n, size_t DV, const float *from, size_t stride, float *to)
{
    for (size_t d = 0; d < DV; d += 16, from += 16) {
        const __mmask16 mask = first(DV - d);
        float *column = to + d / TILE_WIDTH * TILE_WIDTH * KEYS + d % TILE_WIDTH;
        for (size_t i = 0; i < n; i += 2, column += TILE_WIDTH) {
            const float *row = from + i * stride;
            const __m512 a = _mm512_maskz_loadu_ps(mask, row);
            const __m512 b =
                i + 1 < n ? _mm512_maskz_loadu_ps(mask, row + stride) : _mm512_setzero_ps();
            _mm512_storeu_si512(column, alternate(a, b));
        }
    }
}

static void score(size_t rows, size_t keys, size_t D, const float *q, const float *k, float *scores)
{
    for (size_t i = 0; i < keys; i += TILE_WIDTH)
        tile_meet_few(rows, pairs_of(D), q, 0, k + i * D, false, TILE_WIDTH, scores + i, KEYS);
}

static void mix(size_t rows, size_t keys, size_t DV, const float *scores, const float *v,
                float *out)
{
    for (size_t d = 0; d < DV; d += TILE_WIDTH)
        tile_meet_few(rows, pairs_of(keys), scores, KEYS, v + d * KEYS, true,
                      tile_least(DV - d, TILE_WIDTH), out + d, DV);
}

const MoeAttentionTile moe_attention_tile_bf16 = {
    .rows = TILE_ROWS,
    .pack_queries = pack_queries,
    .pack_keys = pack_keys,
    .pack_values = pack_values,
    .score = score,
    .soften = soften_row,
    .mix = mix,
};

#endif

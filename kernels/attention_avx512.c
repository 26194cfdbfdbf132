#include "config.h"

#include "kernels/attention_soften.h"
#include "kernels/attention_tile.h"
#include "kernels/tile.h"

#if defined(__AVX512F__)

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

const MoeAttentionTile moe_attention_tile_avx512 = {
    .rows = TILE_ROWS,
    .pack_queries = pack_queries,
    .pack_keys = pack_keys,
    .pack_values = pack_values,
    .score = score,
    .soften = soften_row,
    .mix = mix,
};

#endif

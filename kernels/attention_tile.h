/* attention_tile.h - what attention does to a few queries and a block of keys; private to kernels/.
 *
 * Layer: kernels. Once with CBLAS, and once for AVX-512, whose products take queries, keys and
 * values packed and leave out what the mask hides; in bf16 by AVX-512 BF16, or by one of the others
 * of what is rounded. All are called by attention.c alone.
 */
#ifndef MOE_KERNELS_ATTENTION_TILE_H
#define MOE_KERNELS_ATTENTION_TILE_H

#include <stddef.h>

/* A block has MOE_TILE_KEYS keys at most; values are packed in widths of MOE_TILE_WIDTH. */
enum { MOE_TILE_KEYS = 192, MOE_TILE_WIDTH = 32 };

typedef struct {
    size_t rows; /* queries that meet a block at a time, at most */
    /* Rows that lie @stride floats apart, packed: of queries, times @scale, as [n, D] floats so that
     * those from row r on, a multiple of @rows, begin at r * D; of keys as [MOE_TILE_KEYS, D]; of
     * values as [MOE_TILE_KEYS, DV rounded up to MOE_TILE_WIDTH]. */
    void (*pack_queries)(size_t n, size_t D, float scale, const float *from, size_t stride,
                         float *to);
    void (*pack_keys)(size_t n, size_t D, const float *from, size_t stride, float *to);
    void (*pack_values)(size_t n, size_t DV, const float *from, size_t stride, float *to);
    /* scores[r][i] = q[r] k[i]; rows of scores are MOE_TILE_KEYS apart. */
    void (*score)(size_t rows, size_t keys, size_t D, const float *q, const float *k,
                  float *scores);
    /* One row, as moe_soften() (loops.h); what it becomes is mix()'s business. */
    void (*soften)(float *row, size_t from, size_t to, size_t n, float *max, float *sum, float *out,
                   size_t width);
    /* out[r] += sum of scores[r][i] * v[i]; out [rows, DV]. */
    void (*mix)(size_t rows, size_t keys, size_t DV, const float *scores, const float *v,
                float *out);
} MoeAttentionTile;

extern const MoeAttentionTile moe_attention_tile_avx512, moe_attention_tile_bf16,
    moe_attention_tile_rounded;

#endif

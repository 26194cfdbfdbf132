#include "config.h"

#include "kernels/attention.h"

#include "kernels/linear.h"
#include "kernels/simd.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 128 }; /* queries and keys that meet at a time; a multiple of MOE_LANES */

typedef struct {
    float scores[BLOCK * BLOCK];
    float max[BLOCK], sum[BLOCK];
    float out[]; /* [BLOCK, D] */
} Scratch;

/* Turns one row of n scores into exp(score - new maximum), zero from @n to BLOCK, and rescales what
 * was gathered so far. */
MOE_INLINE void soften_row(float *row, size_t n, float scale, float *max, float *sum, float *out,
                           size_t D)
{
    MoeV8 v, top, total;
    for (size_t i = n; i < BLOCK; i++)
        row[i] = -INFINITY;
    moe_v8_set(-INFINITY, &top);
    for (size_t i = 0; i < n; i += MOE_LANES) {
        moe_v8_load(row + i, &v);
        v *= scale;
        moe_v8_store(row + i, &v);
        moe_v8_greater(&v, &top, &top);
    }
    float block_max = moe_v8_max(&top);
    float new_max = block_max > *max ? block_max : *max;
    moe_v8_set(*max - new_max, &v); /* -inf in the first block: factor 0 */
    moe_v8_exp(&v, &v);
    const float factor = v[0];
    moe_v8_set(new_max, &top);
    moe_v8_set(0, &total);
    for (size_t i = 0; i < BLOCK; i += MOE_LANES) {
        moe_v8_load(row + i, &v);
        v -= top;
        moe_v8_exp(&v, &v);
        moe_v8_store(row + i, &v);
        total += v;
    }
    *sum = *sum * factor + moe_v8_sum(&total);
    *max = new_max;
    if (factor != 1)
        for (size_t d = 0; d < D; d++)
            out[d] *= factor;
}

MOE_CLONES static void soften(Scratch *s, size_t rows, size_t first_query, size_t first_key,
                              size_t keys, float scale, size_t D)
{
    for (size_t r = 0; r < rows; r++) {
        size_t reach = first_query + r + 1 - first_key; /* keys that this query may see */
        soften_row(s->scores + r * BLOCK, reach < keys ? reach : keys, scale, s->max + r,
                   s->sum + r, s->out + r * D, D);
    }
}

MOE_CLONES static void finish(const Scratch *s, size_t rows, size_t D, size_t stride, float *out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t d = 0; d < D; d++)
            out[r * stride + d] = s->out[r * D + d] / s->sum[r];
}

/* Queries [first, first + rows) of one sequence and head; q, k, v, out start at the sequence. */
static void attend(Scratch *s, const MoeAttentionShape *shape, size_t first, size_t rows,
                   const float *q, const float *k, const float *v, float *out)
{
    size_t D = shape->D, q_stride = shape->Q * D, kv_stride = shape->G * D;
    for (size_t r = 0; r < rows; r++) {
        s->max[r] = -INFINITY;
        s->sum[r] = 0;
    }
    memset(s->out, 0, rows * D * sizeof(float));
    for (size_t key = 0; key < first + rows; key += BLOCK) {
        size_t keys = first + rows - key < BLOCK ? first + rows - key : BLOCK;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)keys, (int)D, 1,
                    q + first * q_stride, (int)q_stride, k + key * kv_stride, (int)kv_stride, 0,
                    s->scores, BLOCK);
        soften(s, rows, first, key, keys, shape->scale, D);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)D, (int)keys, 1,
                    s->scores, BLOCK, v + key * kv_stride, (int)kv_stride, 1, s->out, (int)D);
    }
    finish(s, rows, D, q_stride, out + first * q_stride);
}

typedef struct {
    size_t start, first,
        rows; /* the sequence's first token; the block's first query in it; queries */
} Block;

static Block *cut_blocks(size_t n_sequences, const size_t *offsets, size_t *n_out)
{
    size_t n = 0;
    for (size_t s = 0; s < n_sequences; s++)
        n += (offsets[s + 1] - offsets[s] + BLOCK - 1) / BLOCK;
    Block *blocks = moe_scratch(n * sizeof(*blocks));
    n = 0;
    for (size_t s = 0; s < n_sequences; s++) {
        size_t length = offsets[s + 1] - offsets[s];
        for (size_t first = 0; first < length; first += BLOCK)
            blocks[n++] =
                (Block){offsets[s], first, length - first < BLOCK ? length - first : BLOCK};
    }
    *n_out = n;
    return blocks;
}

void moe_attention_causal(size_t n_sequences, const size_t *offsets, const MoeAttentionShape *shape,
                          const float *restrict q, const float *restrict k, const float *restrict v,
                          float *restrict out)
{
    size_t n_blocks;
    Block *blocks = cut_blocks(n_sequences, offsets, &n_blocks);
    size_t group = shape->Q / shape->G, D = shape->D;
    moe_blas_single();
#pragma omp parallel
    {
        Scratch *s = moe_scratch(sizeof(*s) + BLOCK * D * sizeof(float));
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n_blocks * shape->Q; i++) {
            /* The longest rows of a sequence first: they take the most time. */
            const Block *b = &blocks[n_blocks - 1 - i / shape->Q];
            size_t head = i % shape->Q;
            size_t from_q = (b->start * shape->Q + head) * D;
            size_t from_kv = (b->start * shape->G + head / group) * D;
            attend(s, shape, b->first, b->rows, q + from_q, k + from_kv, v + from_kv, out + from_q);
        }
        free(s);
    }
    free(blocks);
}

void moe_attention_causal_ref(size_t n_sequences, const size_t *offsets,
                              const MoeAttentionShape *shape, const float *q, const float *k,
                              const float *v, float *out)
{
    size_t Q = shape->Q, G = shape->G, D = shape->D;
    for (size_t s = 0; s < n_sequences; s++) {
        double *scores = moe_scratch((offsets[s + 1] - offsets[s]) * sizeof(double));
        for (size_t t = offsets[s]; t < offsets[s + 1]; t++) {
            for (size_t head = 0; head < Q; head++) {
                const float *query = q + (t * Q + head) * D;
                size_t kv_head = head / (Q / G);
                size_t n = t - offsets[s] + 1;
                double max = -INFINITY, sum = 0;
                for (size_t j = 0; j < n; j++) {
                    const float *key = k + ((offsets[s] + j) * G + kv_head) * D;
                    scores[j] = 0;
                    for (size_t d = 0; d < D; d++)
                        scores[j] += (double)query[d] * key[d];
                    scores[j] *= shape->scale;
                    max = fmax(max, scores[j]);
                }
                for (size_t j = 0; j < n; j++)
                    sum += exp(scores[j] - max);
                for (size_t d = 0; d < D; d++) {
                    double mix = 0;
                    for (size_t j = 0; j < n; j++)
                        mix += exp(scores[j] - max) / sum *
                               v[((offsets[s] + j) * G + kv_head) * D + d];
                    out[(t * Q + head) * D + d] = (float)mix;
                }
            }
        }
        free(scores);
    }
}

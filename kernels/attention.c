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
    float out[]; /* [BLOCK, DV] */
} Scratch;

/* The first position that the query at @position may see. */
MOE_INLINE size_t first_seen(const MoeAttentionShape *shape, size_t position)
{
    size_t low = shape->chunk > 0 ? position - position % shape->chunk : 0;
    if (shape->window > 0 && position + 1 > shape->window && position + 1 - shape->window > low)
        low = position + 1 - shape->window;
    return low;
}

/* Turns the scores [from, n) of one row into exp(score - new maximum), zero elsewhere up to BLOCK,
 * and rescales what was gathered so far. */
MOE_INLINE void soften_row(float *row, size_t from, size_t n, float scale, float *max, float *sum,
                           float *out, size_t DV)
{
    MoeV8 v, top, total;
    if (from >= n) { /* nothing to see here */
        memset(row, 0, BLOCK * sizeof(*row));
        return;
    }
    for (size_t i = 0; i < from; i++)
        row[i] = -INFINITY;
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
        for (size_t d = 0; d < DV; d++)
            out[d] *= factor;
}

MOE_CLONES static void soften(Scratch *s, const MoeAttentionShape *shape, size_t rows,
                              size_t first_query, size_t first_key, size_t keys, size_t DV)
{
    for (size_t r = 0; r < rows; r++) {
        size_t position = first_query + r, low = first_seen(shape, position);
        /* Keys that this query may see. */
        size_t reach = position + 1 > first_key ? position + 1 - first_key : 0;
        soften_row(s->scores + r * BLOCK, low > first_key ? low - first_key : 0,
                   reach < keys ? reach : keys, shape->scale, s->max + r, s->sum + r,
                   s->out + r * DV, DV);
    }
}

MOE_CLONES static void finish(const Scratch *s, size_t rows, size_t DV, size_t stride, float *out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t d = 0; d < DV; d++)
            out[r * stride + d] = s->out[r * DV + d] / s->sum[r];
}

static size_t value_width(const MoeAttentionShape *shape)
{
    return shape->DV > 0 ? shape->DV : shape->D;
}

/* Queries at the positions [first, first + rows) of one sequence and @head; q and out start at the
 * first of them, k and v at the sequence. */
static void attend(Scratch *s, const MoeAttentionShape *shape, size_t head, size_t first,
                   size_t rows, const float *q, const float *k, const float *v, float *out)
{
    size_t D = shape->D, DV = value_width(shape);
    size_t q_stride = shape->Q * D, k_stride = shape->G * D, v_stride = shape->G * DV;
    for (size_t r = 0; r < rows; r++) {
        s->max[r] = shape->sinks != NULL ? shape->sinks[head] : -INFINITY;
        s->sum[r] = shape->sinks != NULL ? 1 : 0;
    }
    memset(s->out, 0, rows * DV * sizeof(float));
    /* The first query sees the furthest back. */
    size_t key = first_seen(shape, first) / BLOCK * BLOCK;
    for (; key < first + rows; key += BLOCK) {
        size_t keys = first + rows - key < BLOCK ? first + rows - key : BLOCK;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)keys, (int)D, 1, q,
                    (int)q_stride, k + key * k_stride, (int)k_stride, 0, s->scores, BLOCK);
        soften(s, shape, rows, first, key, keys, DV);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)DV, (int)keys, 1,
                    s->scores, BLOCK, v + key * v_stride, (int)v_stride, 1, s->out, (int)DV);
    }
    finish(s, rows, DV, shape->Q * DV, out);
}

/* A sequence, its first token, the block's first query in it, queries. */
typedef struct {
    size_t sequence, start, first, rows;
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
                (Block){s, offsets[s], first, length - first < BLOCK ? length - first : BLOCK};
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
    size_t group = shape->Q / shape->G, D = shape->D, DV = value_width(shape);
    moe_blas_single();
#pragma omp parallel
    {
        Scratch *s = moe_scratch(sizeof(*s) + BLOCK * DV * sizeof(float));
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n_blocks * shape->Q; i++) {
            /* The longest rows of a sequence first: they take the most time. */
            const Block *b = &blocks[n_blocks - 1 - i / shape->Q];
            size_t head = i % shape->Q;
            size_t q_head = (b->start + b->first) * shape->Q + head;
            size_t kv_head = (b->start + b->sequence * shape->past) * shape->G + head / group;
            attend(s, shape, head, shape->past + b->first, b->rows, q + q_head * D, k + kv_head * D,
                   v + kv_head * DV, out + q_head * DV);
        }
        free(s);
    }
    free(blocks);
}

void moe_attention_causal_ref(size_t n_sequences, const size_t *offsets,
                              const MoeAttentionShape *shape, const float *q, const float *k,
                              const float *v, float *out)
{
    size_t Q = shape->Q, G = shape->G, D = shape->D, DV = value_width(shape);
    for (size_t s = 0; s < n_sequences; s++) {
        size_t first_key = offsets[s] + s * shape->past;
        double *scores = moe_scratch((shape->past + offsets[s + 1] - offsets[s]) * sizeof(double));
        for (size_t t = offsets[s]; t < offsets[s + 1]; t++) {
            for (size_t head = 0; head < Q; head++) {
                const float *query = q + (t * Q + head) * D;
                size_t kv_head = head / (Q / G);
                size_t position = shape->past + t - offsets[s], n = position + 1;
                double max = shape->sinks != NULL ? shape->sinks[head] : -INFINITY, sum = 0;
                for (size_t j = 0; j < n; j++) {
                    scores[j] = -INFINITY;
                    if ((shape->window > 0 && position - j >= shape->window) ||
                        (shape->chunk > 0 && position / shape->chunk != j / shape->chunk))
                        continue;
                    const float *key = k + ((first_key + j) * G + kv_head) * D;
                    scores[j] = 0;
                    for (size_t d = 0; d < D; d++)
                        scores[j] += (double)query[d] * key[d];
                    scores[j] *= shape->scale;
                    max = fmax(max, scores[j]);
                }
                for (size_t j = 0; j < n; j++)
                    sum += exp(scores[j] - max);
                sum += shape->sinks != NULL ? exp(shape->sinks[head] - max) : 0;
                for (size_t d = 0; d < DV; d++) {
                    double mix = 0;
                    for (size_t j = 0; j < n; j++)
                        mix += exp(scores[j] - max) / sum *
                               v[((first_key + j) * G + kv_head) * DV + d];
                    out[(t * Q + head) * DV + d] = (float)mix;
                }
            }
        }
        free(scores);
    }
}

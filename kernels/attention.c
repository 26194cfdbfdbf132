#include "config.h"

#include "kernels/attention.h"

#include "kernels/linear.h"
#include "kernels/loops.h"
#include "kernels/simd.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A span of queries of one head meets its keys a block at a time, in rows of so many queries: the
 * block is brought together once, and it and the scores stay in the second-level cache. */
enum { SPAN = 512, ROWS = 64, KEYS = 192 };
static const float LOG2_E = 1.44269504F;

/* A sequence, its first token, the span's first query in it, queries. */
typedef struct {
    size_t sequence, start, first, n;
} Span;

typedef struct {
    float scores[ROWS * KEYS]; /* times log2(e) */
    float max[SPAN], sum[SPAN];
    float *q, *k, *v, *out; /* [SPAN, D], [KEYS, D], [KEYS, DV], [SPAN, DV] */
    float floats[];
} Scratch;

static Scratch *scratch_new(size_t D, size_t DV)
{
    Scratch *s = moe_scratch(sizeof(*s) + (SPAN + KEYS) * (D + DV) * sizeof(float));
    s->q = s->floats;
    s->k = s->q + SPAN * D;
    s->v = s->k + KEYS * D;
    s->out = s->v + KEYS * DV;
    return s;
}

/* The first position that the query at @position may see. */
MOE_INLINE size_t first_seen(const MoeAttentionShape *shape, size_t position)
{
    size_t low = shape->chunk > 0 ? position - position % shape->chunk : 0;
    if (shape->window > 0 && position + 1 > shape->window && position + 1 - shape->window > low)
        low = position + 1 - shape->window;
    return low;
}

/* @rows queries from the one at @position and row @r of the span, and @keys keys. */
static void soften(Scratch *s, const MoeAttentionShape *shape, size_t r, size_t rows,
                   size_t position, size_t first_key, size_t keys, size_t DV)
{
    for (size_t i = 0; i < rows; i++) {
        size_t low = first_seen(shape, position + i), end = position + i + 1;
        size_t reach = end > first_key ? end - first_key : 0; /* keys that this query may see */
        MOE_BEST(moe_soften)
        (s->scores + i * KEYS, low > first_key ? low - first_key : 0, reach < keys ? reach : keys,
         keys, s->max + r + i, s->sum + r + i, s->out + (r + i) * DV, DV);
    }
}

static size_t value_width(const MoeAttentionShape *shape)
{
    return shape->DV > 0 ? shape->DV : shape->D;
}

/* Rows that lie @stride floats apart, together. */
static void gather(size_t n, size_t width, const float *from, size_t stride, float *to)
{
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * width, from + i * stride, width * sizeof(float));
}

/* All rows of a span of @n queries, the first at @position, that see one of the keys in s->k. */
static void meet(Scratch *s, const MoeAttentionShape *shape, size_t n, size_t position, size_t key,
                 size_t keys)
{
    const size_t D = shape->D, DV = value_width(shape);
    for (size_t r = 0; r < n; r += ROWS) {
        size_t rows = n - r < ROWS ? n - r : ROWS, first = position + r, end = first + rows;
        if (end <= key || first_seen(shape, first) >= key + keys)
            continue;
        size_t here = end - key < keys ? end - key : keys;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)here, (int)D,
                    shape->scale * LOG2_E, s->q + r * D, (int)D, s->k, (int)D, 0, s->scores, KEYS);
        soften(s, shape, r, rows, first, key, here, DV);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)DV, (int)here, 1,
                    s->scores, KEYS, s->v, (int)DV, 1, s->out + r * DV, (int)DV);
    }
}

/* @n queries of one sequence and @head, the first at @position; q and out start at the first of
 * them, k and v at the sequence. */
static void attend(Scratch *s, const MoeAttentionShape *shape, size_t head, size_t position,
                   size_t n, const float *q, const float *k, const float *v, float *out)
{
    const size_t D = shape->D, DV = value_width(shape), end = position + n;
    for (size_t r = 0; r < n; r++) {
        s->max[r] = shape->sinks != NULL ? shape->sinks[head] * LOG2_E : -INFINITY;
        s->sum[r] = shape->sinks != NULL ? 1 : 0;
    }
    memset(s->out, 0, n * DV * sizeof(float));
    gather(n, D, q, shape->Q * D, s->q);
    /* The first query sees the furthest back. */
    for (size_t key = first_seen(shape, position) / KEYS * KEYS; key < end; key += KEYS) {
        size_t keys = end - key < KEYS ? end - key : KEYS;
        gather(keys, D, k + key * shape->G * D, shape->G * D, s->k);
        gather(keys, DV, v + key * shape->G * DV, shape->G * DV, s->v);
        meet(s, shape, n, position, key, keys);
    }
    for (size_t r = 0; r < n; r++)
        for (size_t d = 0; d < DV; d++)
            out[r * shape->Q * DV + d] = s->out[r * DV + d] / s->sum[r];
}

static Span *cut_spans(size_t n_sequences, const size_t *offsets, size_t *n_out)
{
    size_t n = 0;
    for (size_t s = 0; s < n_sequences; s++)
        n += (offsets[s + 1] - offsets[s] + SPAN - 1) / SPAN;
    Span *spans = moe_scratch(n * sizeof(*spans));
    n = 0;
    for (size_t s = 0; s < n_sequences; s++) {
        size_t length = offsets[s + 1] - offsets[s];
        for (size_t first = 0; first < length; first += SPAN)
            spans[n++] =
                (Span){s, offsets[s], first, length - first < SPAN ? length - first : SPAN};
    }
    *n_out = n;
    return spans;
}

void moe_attention_causal(size_t n_sequences, const size_t *offsets, const MoeAttentionShape *shape,
                          const float *restrict q, const float *restrict k, const float *restrict v,
                          float *restrict out)
{
    size_t n_spans;
    Span *spans = cut_spans(n_sequences, offsets, &n_spans);
    size_t group = shape->Q / shape->G, D = shape->D, DV = value_width(shape);
    moe_blas_single();
#pragma omp parallel
    {
        Scratch *s = scratch_new(D, DV);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n_spans * shape->Q; i++) {
            /* The longest rows of a sequence first: they take the most time. */
            const Span *b = &spans[n_spans - 1 - i / shape->Q];
            size_t head = i % shape->Q;
            size_t q_head = (b->start + b->first) * shape->Q + head;
            size_t kv_head = (b->start + b->sequence * shape->past) * shape->G + head / group;
            attend(s, shape, head, shape->past + b->first, b->n, q + q_head * D, k + kv_head * D,
                   v + kv_head * DV, out + q_head * DV);
        }
        free(s);
    }
    free(spans);
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

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

/* Adds the bias of each of @n keys, which are @distance, @distance + 1 ... behind their query; @bias
 * is that of the query's own position. */
static void add_bias(float *row, size_t n, const float *bias, ptrdiff_t far, ptrdiff_t distance)
{
    for (size_t i = 0; i < n; i++, distance++)
        row[i] += LOG2_E * bias[distance < -far ? -far : distance > far ? far : distance];
}

/* @rows queries from the one at @position and row @r of the span, and @keys keys. */
static void soften(Scratch *s, const MoeAttentionShape *shape, size_t head, size_t r, size_t rows,
                   size_t position, size_t first_key, size_t keys, size_t DV)
{
    const float *bias =
        shape->bias != NULL ? shape->bias + head * (2 * shape->far + 1) + shape->far : NULL;
    for (size_t i = 0; i < rows; i++) {
        size_t low = 0, reach = keys; /* keys that this query may see */
        if (shape->keys == NULL) {
            size_t end = position + i + 1;
            low = first_seen(shape, position + i);
            reach = end > first_key ? end - first_key : 0;
            reach = reach < keys ? reach : keys;
        }
        if (bias != NULL)
            add_bias(s->scores + i * KEYS, reach, bias, (ptrdiff_t)shape->far,
                     (ptrdiff_t)first_key - (ptrdiff_t)(position + i));
        MOE_BEST(moe_soften)
        (s->scores + i * KEYS, low > first_key ? low - first_key : 0, reach, keys, s->max + r + i,
         s->sum + r + i, s->out + (r + i) * DV, DV);
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
static void meet(Scratch *s, const MoeAttentionShape *shape, size_t head, size_t n, size_t position,
                 size_t key, size_t keys)
{
    const size_t D = shape->D, DV = value_width(shape);
    for (size_t r = 0; r < n; r += ROWS) {
        size_t rows = n - r < ROWS ? n - r : ROWS, first = position + r, end = first + rows;
        size_t here = keys;
        if (shape->keys == NULL) {
            if (end <= key || first_seen(shape, first) >= key + keys)
                continue;
            here = end - key < keys ? end - key : keys;
        }
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)here, (int)D,
                    shape->scale * LOG2_E, s->q + r * D, (int)D, s->k, (int)D, 0, s->scores, KEYS);
        soften(s, shape, head, r, rows, first, key, here, DV);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)DV, (int)here, 1,
                    s->scores, KEYS, s->v, (int)DV, 1, s->out + r * DV, (int)DV);
    }
}

/* @n queries of one sequence and @head, the first at @position, and the keys at positions below @end;
 * q and out start at the first of the queries, k and v at the sequence. */
static void attend(Scratch *s, const MoeAttentionShape *shape, size_t head, size_t position,
                   size_t n, size_t end, const float *q, const float *k, const float *v, float *out)
{
    const size_t D = shape->D, DV = value_width(shape);
    const size_t first = shape->keys != NULL ? 0 : first_seen(shape, position) / KEYS * KEYS;
    for (size_t r = 0; r < n; r++) {
        s->max[r] = shape->sinks != NULL ? shape->sinks[head] * LOG2_E : -INFINITY;
        s->sum[r] = shape->sinks != NULL ? 1 : 0;
    }
    memset(s->out, 0, n * DV * sizeof(float));
    gather(n, D, q, shape->Q * D, s->q);
    /* The first query sees the furthest back. */
    for (size_t key = first; key < end; key += KEYS) {
        size_t keys = end - key < KEYS ? end - key : KEYS;
        gather(keys, D, k + key * shape->G * D, shape->G * D, s->k);
        gather(keys, DV, v + key * shape->G * DV, shape->G * DV, s->v);
        meet(s, shape, head, n, position, key, keys);
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

/* The first key of sequence @s, and how many there are. */
static size_t first_key(const MoeAttentionShape *shape, const size_t *offsets, size_t s,
                        size_t *n_out)
{
    if (shape->keys != NULL) {
        *n_out = shape->keys[s + 1] - shape->keys[s];
        return shape->keys[s];
    }
    *n_out = shape->past + offsets[s + 1] - offsets[s];
    return offsets[s] + s * shape->past;
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
            size_t n_keys, first = shape->past + b->first;
            size_t kv = first_key(shape, offsets, b->sequence, &n_keys) * shape->G + head / group;
            attend(s, shape, head, first, b->n, shape->keys != NULL ? n_keys : first + b->n,
                   q + q_head * D, k + kv * D, v + kv * DV, out + q_head * DV);
        }
        free(s);
    }
    free(spans);
}

/* Whether the query at @position sees the key at @j, and the bias of its score. */
static int sees_ref(const MoeAttentionShape *shape, size_t position, size_t j)
{
    return shape->keys != NULL ||
           (j <= position && (shape->window == 0 || position - j < shape->window) &&
            (shape->chunk == 0 || position / shape->chunk == j / shape->chunk));
}

static double bias_ref(const MoeAttentionShape *shape, size_t head, size_t position, size_t j)
{
    if (shape->bias == NULL)
        return 0;
    double far = (double)shape->far, distance = (double)j - (double)position;
    return shape
        ->bias[head * (2 * shape->far + 1) + (size_t)(far + fmax(-far, fmin(far, distance)))];
}

void moe_attention_causal_ref(size_t n_sequences, const size_t *offsets,
                              const MoeAttentionShape *shape, const float *q, const float *k,
                              const float *v, float *out)
{
    size_t Q = shape->Q, G = shape->G, D = shape->D, DV = value_width(shape);
    for (size_t s = 0; s < n_sequences; s++) {
        size_t n, first = first_key(shape, offsets, s, &n);
        double *scores = moe_scratch((n + 1) * sizeof(double));
        for (size_t t = offsets[s]; t < offsets[s + 1]; t++) {
            for (size_t head = 0; head < Q; head++) {
                const float *query = q + (t * Q + head) * D;
                size_t kv_head = head / (Q / G), position = shape->past + t - offsets[s];
                double max = shape->sinks != NULL ? shape->sinks[head] : -INFINITY, sum = 0;
                for (size_t j = 0; j < n; j++) {
                    scores[j] = -INFINITY;
                    if (!sees_ref(shape, position, j))
                        continue;
                    const float *key = k + ((first + j) * G + kv_head) * D;
                    scores[j] = 0;
                    for (size_t d = 0; d < D; d++)
                        scores[j] += (double)query[d] * key[d];
                    scores[j] = scores[j] * shape->scale + bias_ref(shape, head, position, j);
                    max = fmax(max, scores[j]);
                }
                for (size_t j = 0; j < n; j++)
                    sum += exp(scores[j] - max);
                sum += shape->sinks != NULL ? exp(shape->sinks[head] - max) : 0;
                for (size_t d = 0; d < DV; d++) {
                    double mix = 0;
                    for (size_t j = 0; j < n; j++)
                        mix += exp(scores[j] - max) / sum * v[((first + j) * G + kv_head) * DV + d];
                    out[(t * Q + head) * DV + d] = (float)mix;
                }
            }
        }
        free(scores);
    }
}

/* --- relative positions ---------------------------------------------------------------------- */

/* In float, as the reference has it: the borders between buckets are where its rounding puts them. */
size_t moe_relative_bucket(size_t buckets, size_t far, int whole, ptrdiff_t distance)
{
    size_t first = 0, n = buckets;
    if (whole) {
        n /= 2;
        first = distance > 0 ? n : 0;
    } else if (distance > 0) {
        distance = 0;
    }
    size_t away = (size_t)(distance < 0 ? -distance : distance), exact = n / 2;
    if (away < exact)
        return first + away;
    float share = logf((float)away / (float)exact) / (float)log((double)far / (double)exact);
    size_t wide = exact + (size_t)(share * (float)(n - exact));
    return first + (wide < n ? wide : n - 1);
}

void moe_relative_bias(size_t Q, size_t buckets, size_t far, int whole, const float *table,
                       float *out)
{
    for (size_t i = 0; i <= 2 * far; i++) {
        size_t bucket = moe_relative_bucket(buckets, far, whole, (ptrdiff_t)i - (ptrdiff_t)far);
        for (size_t q = 0; q < Q; q++)
            out[q * (2 * far + 1) + i] = table[bucket * Q + q];
    }
}

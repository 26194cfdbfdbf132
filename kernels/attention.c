#include "config.h"

#include "kernels/attention.h"

#include "kernels/attention_tile.h"
#include "kernels/linear.h"
#include "kernels/loops.h"
#include "kernels/simd.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A span of queries of one head meets its keys a block at a time, a tile's rows of queries at once:
 * the block is packed once, and it and the scores stay in the second-level cache. */
enum { SPAN = 512, MOST_ROWS = 64, KEYS = MOE_TILE_KEYS };
static const float LOG2_E = 1.44269504F;

/* A sequence, its first token, the span's first query in it, queries. */
typedef struct {
    size_t sequence, start, first, n;
} Span;

typedef struct {
    float scores[MOST_ROWS * KEYS]; /* times log2(e) */
    float max[SPAN], sum[SPAN];
    const MoeAttentionTile *tile;
    float *q, *k, *v, *out; /* as the tile packs them; [SPAN, DV] */
    float floats[];
} Scratch;

static size_t value_width(const MoeAttentionShape *shape)
{
    return shape->DV > 0 ? shape->DV : shape->D;
}

/* --- tiles by CBLAS -------------------------------------------------------------------------- */

static void gather(size_t n, size_t width, const float *from, size_t stride, float *to)
{
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * width, from + i * stride, width * sizeof(float));
}

static void gather_scaled(size_t n, size_t width, float scale, const float *from, size_t stride,
                          float *to)
{
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < width; d++)
            to[i * width + d] = scale * from[i * stride + d];
}

static void score(size_t rows, size_t keys, size_t D, const float *q, const float *k, float *scores)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)keys, (int)D, 1, q, (int)D,
                k, (int)D, 0, scores, KEYS);
}

static void mix(size_t rows, size_t keys, size_t DV, const float *scores, const float *v,
                float *out)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)DV, (int)keys, 1, scores,
                KEYS, v, (int)DV, 1, out, (int)DV);
}

static void soften_row(float *row, size_t from, size_t to, size_t n, float *max, float *sum,
                       float *out, size_t width)
{
    MOE_BEST(moe_soften)(row, from, to, n, max, sum, out, width);
}

static const MoeAttentionTile tile_cblas = {
    .rows = MOST_ROWS,
    .pack_queries = gather_scaled,
    .pack_keys = gather,
    .pack_values = gather,
    .score = score,
    .soften = soften_row,
    .mix = mix,
};

static const MoeAttentionTile *tile_of_floats(void)
{
#if defined(HAVE_AVX512_OBJECTS)
    if (moe_has_avx512())
        return &moe_attention_tile_avx512;
#endif
    return &tile_cblas;
}

/* --- tiles of floats that are rounded --------------------------------------------------------- */

static size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

static void round_all(size_t n, float *x)
{
    moe_round(MOE_PRECISION_BF16, n, x, x);
}

static void pack_queries_rounded(size_t n, size_t D, float scale, const float *from, size_t stride,
                                 float *to)
{
    tile_of_floats()->pack_queries(n, D, scale, from, stride, to);
    round_all(round_up(n, MOE_TILE_WIDTH) * D, to);
}

static void pack_keys_rounded(size_t n, size_t D, const float *from, size_t stride, float *to)
{
    tile_of_floats()->pack_keys(n, D, from, stride, to);
    round_all(round_up(n, MOE_TILE_WIDTH) * D, to);
}

static void pack_values_rounded(size_t n, size_t DV, const float *from, size_t stride, float *to)
{
    tile_of_floats()->pack_values(n, DV, from, stride, to);
    round_all(KEYS * round_up(DV, MOE_TILE_WIDTH), to);
}

static void score_rounded(size_t rows, size_t keys, size_t D, const float *q, const float *k,
                          float *scores)
{
    tile_of_floats()->score(rows, keys, D, q, k, scores);
}

static void soften_rounded(float *row, size_t from, size_t to, size_t n, float *max, float *sum,
                           float *out, size_t width)
{
    tile_of_floats()->soften(row, from, to, n, max, sum, out, width);
    round_all(n, row);
}

static void mix_rounded(size_t rows, size_t keys, size_t DV, const float *scores, const float *v,
                        float *out)
{
    tile_of_floats()->mix(rows, keys, DV, scores, v, out);
}

const MoeAttentionTile moe_attention_tile_rounded = {
    .rows = 12, /* of the smaller of both */
    .pack_queries = pack_queries_rounded,
    .pack_keys = pack_keys_rounded,
    .pack_values = pack_values_rounded,
    .score = score_rounded,
    .soften = soften_rounded,
    .mix = mix_rounded,
};

static const MoeAttentionTile *best_tile(MoePrecision precision)
{
    if (precision == MOE_PRECISION_F32)
        return tile_of_floats();
#if defined(HAVE_AVX512_BF16_OBJECTS)
    if (moe_has_avx512_bf16())
        return &moe_attention_tile_bf16;
#endif
    return &moe_attention_tile_rounded;
}

/* --- spans and blocks ------------------------------------------------------------------------ */

static Scratch *scratch_new(const MoeAttentionShape *shape)
{
    const size_t D = shape->D, DV = value_width(shape);
    const size_t wide = round_up(DV, MOE_TILE_WIDTH);
    const size_t size = (SPAN + KEYS) * (D + wide) * sizeof(float);
    Scratch *s = moe_scratch(sizeof(*s) + size);
    s->tile = best_tile(shape->precision);
    if (s->tile == &moe_attention_tile_rounded) /* which rounds all of what is packed in parts */
        memset(s->floats, 0, size);
    s->q = s->floats;
    s->k = s->q + SPAN * D;
    s->v = s->k + KEYS * D;
    s->out = s->v + KEYS * wide;
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
        s->tile->soften(s->scores + i * KEYS, low > first_key ? low - first_key : 0, reach, keys,
                        s->max + r + i, s->sum + r + i, s->out + (r + i) * DV, DV);
    }
}

/* All rows of a span of @n queries, the first at @position, that see one of the keys in s->k. */
static void meet(Scratch *s, const MoeAttentionShape *shape, size_t head, size_t n, size_t position,
                 size_t key, size_t keys)
{
    const size_t D = shape->D, DV = value_width(shape), most = s->tile->rows;
    for (size_t r = 0; r < n; r += most) {
        size_t rows = n - r < most ? n - r : most, first = position + r, end = first + rows;
        size_t here = keys;
        if (shape->keys == NULL) {
            if (end <= key || first_seen(shape, first) >= key + keys)
                continue;
            here = end - key < keys ? end - key : keys;
        }
        s->tile->score(rows, here, D, s->q + r * D, s->k, s->scores);
        soften(s, shape, head, r, rows, first, key, here, DV);
        s->tile->mix(rows, here, DV, s->scores, s->v, s->out + r * DV);
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
    s->tile->pack_queries(n, D, shape->scale * LOG2_E, q, shape->Q * D, s->q);
    /* The first query sees the furthest back. */
    for (size_t key = first; key < end; key += KEYS) {
        size_t keys = end - key < KEYS ? end - key : KEYS;
        s->tile->pack_keys(keys, D, k + key * shape->G * D, shape->G * D, s->k);
        s->tile->pack_values(keys, DV, v + key * shape->G * DV, shape->G * DV, s->v);
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
        Scratch *s = scratch_new(shape);
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

static double operand_ref(const MoeAttentionShape *shape, float x)
{
    moe_round_ref(shape->precision, 1, &x, &x);
    return x;
}

static double score_ref(const MoeAttentionShape *shape, const float *query, const float *key)
{
    const int bf16 = shape->precision == MOE_PRECISION_BF16;
    const float scale = bf16 ? shape->scale * LOG2_E : 1;
    double score = 0;
    for (size_t d = 0; d < shape->D; d++)
        score += operand_ref(shape, query[d] * scale) * operand_ref(shape, key[d]);
    return bf16 ? score / (double)LOG2_E : score * shape->scale;
}

void moe_attention_causal_ref(size_t n_sequences, const size_t *offsets,
                              const MoeAttentionShape *shape, const float *q, const float *k,
                              const float *v, float *out)
{
    const size_t Q = shape->Q, G = shape->G, D = shape->D, DV = value_width(shape);
    for (size_t s = 0; s < n_sequences; s++) {
        size_t n, first = first_key(shape, offsets, s, &n);
        double *scores = moe_scratch((n + 1) * sizeof(double));
        for (size_t t = offsets[s]; t < offsets[s + 1]; t++) {
            for (size_t head = 0; head < Q; head++) {
                size_t kv_head = head / (Q / G), position = shape->past + t - offsets[s];
                double max = shape->sinks != NULL ? shape->sinks[head] : -INFINITY, sum = 0;
                for (size_t j = 0; j < n; j++) {
                    scores[j] = -INFINITY;
                    if (!sees_ref(shape, position, j))
                        continue;
                    scores[j] = score_ref(shape, q + (t * Q + head) * D,
                                          k + ((first + j) * G + kv_head) * D) +
                                bias_ref(shape, head, position, j);
                    max = fmax(max, scores[j]);
                }
                for (size_t j = 0; j < n; j++)
                    sum += exp(scores[j] - max);
                sum += shape->sinks != NULL ? exp(shape->sinks[head] - max) : 0;
                for (size_t d = 0; d < DV; d++) {
                    double mix = 0;
                    for (size_t j = 0; j < n; j++)
                        mix += exp(scores[j] - max) / sum *
                               operand_ref(shape, v[((first + j) * G + kv_head) * DV + d]);
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

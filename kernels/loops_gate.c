#include "config.h"

#include "kernels/loops.h"
#include "kernels/simd.h"

#include <math.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { MOST_K = 256, MOST_CANDIDATES = 64 };

typedef struct {
    float score[MOST_K];
    uint16_t expert[MOST_K];
    size_t count;
} Best;

/* Experts come in rising order, so "not greater" keeps the earlier one in front: the tie rule. */
MOE_INLINE void insert(Best *best, size_t K, float score, size_t expert)
{
    size_t at = best->count < K ? best->count++ : K - 1;
    for (; at > 0 && score > best->score[at - 1]; at--) {
        best->score[at] = best->score[at - 1];
        best->expert[at] = best->expert[at - 1];
    }
    best->score[at] = score;
    best->expert[at] = (uint16_t)expert;
}

MOE_INLINE int any_greater(const MoeV8 *v, float bar)
{
    typedef int64_t Wide __attribute__((vector_size(32)));
    MoeV8 bars;
    moe_v8_set(bar, &bars);
    const Wide mask = (Wide)(*v > bars);
    return ((mask[0] | mask[1]) | (mask[2] | mask[3])) != 0;
}

/* Bit i is set where lane i of a comparison holds. */
MOE_INLINE unsigned lanes_of(const MoeI8 *holds)
{
#if defined(__AVX2__)
    return (unsigned)_mm256_movemask_ps((__m256)*holds);
#else
    unsigned bits = 0;
    for (int i = 0; i < MOE_LANES; i++)
        bits |= ((unsigned)(*holds)[i] & 1) << i;
    return bits;
#endif
}

/* Up to 8 floats; the lanes behind them are -infinity. */
MOE_INLINE void load_up_to(const float *from, size_t n, MoeV8 *out)
{
    if (n >= MOE_LANES) {
        moe_v8_load(from, out);
        return;
    }
    moe_v8_set(-INFINITY, out);
    memcpy(out, from, n * sizeof(float));
}

/* The elements of at least @bar, in order, and -infinity behind them; SIZE_MAX when they are too
 * many. */
MOE_INLINE size_t collect(const float *row, size_t E, float bar, float *score, uint16_t *expert)
{
    size_t n = 0;
    for (size_t e = 0; e < E; e += 64) {
        uint64_t bits = 0;
        for (size_t i = 0; i < 64 && e + i < E; i += MOE_LANES) {
            MoeV8 v;
            load_up_to(row + e + i, E - e - i, &v);
            const MoeI8 holds = v >= bar;
            bits |= (uint64_t)lanes_of(&holds) << i;
        }
        if (n + (size_t)__builtin_popcountll(bits) > MOST_CANDIDATES)
            return SIZE_MAX;
        for (; bits != 0; bits &= bits - 1, n++) {
            size_t i = e + (size_t)__builtin_ctzll(bits);
            score[n] = row[i];
            expert[n] = (uint16_t)i;
        }
    }
    MoeV8 none;
    moe_v8_set(-INFINITY, &none);
    moe_v8_store(score + n, &none);
    return n;
}

/* For K <= 8: the K-th best is not below the least of the 8 lanes' maxima. Few reach that bar, and
 * each of them finds its rank by comparison with the others, without branches that are hard to
 * foresee. 0 when too many do, or fewer than K (none of them finite). */
MOE_INLINE int select_few(const float *row, size_t E, size_t K, Best *best)
{
    float score[MOST_CANDIDATES + MOE_LANES], bar;
    uint16_t expert[MOST_CANDIDATES];
    MoeV8 top, v;
    moe_v8_load(row, &top);
    for (size_t e = MOE_LANES; e + MOE_LANES <= E; e += MOE_LANES) {
        moe_v8_load(row + e, &v);
        moe_v8_greater(&v, &top, &top);
    }
    top = -top;
    bar = -moe_v8_max(&top);
    size_t n = bar > -INFINITY ? collect(row, E, bar, score, expert) : SIZE_MAX;
    if (n == SIZE_MAX || n < K)
        return 0;
    for (size_t i = 0; i < n; i++) {
        unsigned rank = 0;
        for (size_t j = 0; j < n; j += MOE_LANES) {
            moe_v8_load(score + j, &v);
            const MoeI8 greater = v > score[i], equal = v == score[i];
            const unsigned before = i <= j ? 0 : i - j >= MOE_LANES ? 0xFF : (1U << (i - j)) - 1;
            rank += (unsigned)__builtin_popcount(lanes_of(&greater) | (lanes_of(&equal) & before));
        }
        best->score[rank] = score[i];
        best->expert[rank] = expert[i];
    }
    best->count = K;
    return 1;
}

MOE_INLINE void select_best(const float *row, size_t E, size_t K, Best *best)
{
    size_t e = 0;
    if (K <= MOE_LANES && E >= 4 * MOE_LANES && select_few(row, E, K, best))
        return;
    best->count = 0;
    for (; e < K; e++)
        insert(best, K, row[e], e);
    for (; e + MOE_LANES <= E; e += MOE_LANES) {
        MoeV8 v;
        moe_v8_load(row + e, &v);
        if (!any_greater(&v, best->score[K - 1]))
            continue;
        for (size_t i = e; i < e + MOE_LANES; i++)
            if (row[i] > best->score[K - 1])
                insert(best, K, row[i], i);
    }
    for (; e < E; e++)
        if (row[e] > best->score[K - 1])
            insert(best, K, row[e], e);
}

/* The sum over e of exp(row[e] - max). */
MOE_INLINE float sum_exp(const float *row, size_t E, float max)
{
    MoeV8 sum, top;
    moe_v8_set(0, &sum);
    moe_v8_set(max, &top);
    size_t e = 0;
    MoeV8 v;
    for (; e + MOE_LANES <= E; e += MOE_LANES) {
        moe_v8_load(row + e, &v);
        v = (v - top) * 1.44269504F;
        moe_v8_exp2(&v, &v);
        sum += v;
    }
    if (e < E) {
        moe_v8_set(-INFINITY, &v);
        memcpy(&v, row + e, (E - e) * sizeof(float));
        v = (v - top) * 1.44269504F;
        moe_v8_exp2(&v, &v);
        sum += v;
    }
    return moe_v8_sum(&sum);
}

/* The scores of one row: softmax (max-subtracted) or sigmoid. */
MOE_INLINE void score_row(const float *row, size_t E, MoeScore score, float *out)
{
    MoeV8 v, total, top;
    moe_v8_set(-INFINITY, &top);
    for (size_t e = 0; e < E && score == MOE_SCORE_SOFTMAX; e += MOE_LANES) {
        load_up_to(row + e, E - e, &v);
        moe_v8_greater(&v, &top, &top);
    }
    const float shift = moe_v8_max(&top);
    moe_v8_set(0, &total);
    for (size_t e = 0; e < E; e += MOE_LANES) {
        size_t n = E - e < MOE_LANES ? E - e : MOE_LANES;
        moe_v8_set(score == MOE_SCORE_SOFTMAX ? -INFINITY : 0, &v);
        memcpy(&v, row + e, n * sizeof(float));
        v = score == MOE_SCORE_SOFTMAX ? v - shift : -v;
        moe_v8_exp(&v, &v);
        total += v;
        if (score == MOE_SCORE_SIGMOID)
            v = 1 / (1 + v);
        memcpy(out + e, &v, n * sizeof(float));
    }
    float sum = moe_v8_sum(&total);
    for (size_t e = 0; e < E && score == MOE_SCORE_SOFTMAX; e++)
        out[e] /= sum;
}

/* Sets @choice to gate->masked outside of the best groups. */
MOE_INLINE void mask_groups(const MoeGate *gate, size_t E, float *choice, Best *best)
{
    size_t width = E / gate->groups;
    float *quality = choice + E; /* [groups] */
    for (size_t g = 0; g < gate->groups; g++) {
        const float *of_group = choice + g * width;
        float first = -INFINITY, second = -INFINITY;
        for (size_t i = 0; i < width; i++) {
            if (of_group[i] > first) {
                second = first;
                first = of_group[i];
            } else if (of_group[i] > second) {
                second = of_group[i];
            }
        }
        quality[g] = gate->group_best == 2 ? first + second : first;
    }
    select_best(quality, gate->groups, gate->top_groups, best);
    for (size_t g = 0; g < gate->groups; g++)
        quality[g] = 0;
    for (size_t j = 0; j < gate->top_groups; j++)
        quality[best->expert[j]] = 1;
    for (size_t e = 0; e < E; e++)
        if (quality[e / width] == 0)
            choice[e] = gate->masked;
}

/* Weights of the chosen, heaviest first; equal ones by rising id. */
MOE_INLINE void finish_row(const MoeGate *gate, size_t K, uint16_t *experts, float *weights)
{
    for (size_t j = 1; j < K; j++) {
        float w = weights[j];
        uint16_t e = experts[j];
        size_t at = j;
        for (; at > 0 && (w > weights[at - 1] || (w == weights[at - 1] && e < experts[at - 1]));
             at--) {
            weights[at] = weights[at - 1];
            experts[at] = experts[at - 1];
        }
        weights[at] = w;
        experts[at] = e;
    }
    float sum = 0;
    for (size_t j = 0; j < K; j++)
        sum += weights[j];
    sum += gate->epsilon;
    for (size_t j = 0; j < K; j++)
        weights[j] = (gate->renormalise ? weights[j] / sum : weights[j]) * gate->scale;
}

/* Bias or groups: the choice is among changed scores. @scratch [2 E + groups]. */
void MOE_VARIANT(moe_gate_choose)(size_t T, size_t E, size_t K, const float *logits,
                                  const MoeGate *gate, float *scratch, uint16_t *experts,
                                  float *weights)
{
    Best best;
    float *scores = scratch, *choice = scratch + E;
    for (size_t t = 0; t < T; t++) {
        score_row(logits + t * E, E, gate->score, scores);
        for (size_t e = 0; e < E; e++)
            choice[e] = gate->bias != NULL ? scores[e] + gate->bias[e] : scores[e];
        if (gate->groups > 1)
            mask_groups(gate, E, choice, &best);
        select_best(choice, E, K, &best);
        for (size_t j = 0; j < K; j++) {
            experts[t * K + j] = best.expert[j];
            weights[t * K + j] = scores[best.expert[j]];
        }
        finish_row(gate, K, experts + t * K, weights + t * K);
    }
}

/* Neither: the largest logits have the largest scores. */
void MOE_VARIANT(moe_gate_plain)(size_t T, size_t E, size_t K, const float *logits,
                                 const MoeGate *gate, uint16_t *experts, float *weights)
{
    Best best;
    for (size_t t = 0; t < T; t++) {
        const float *row = logits + t * E;
        float *w = weights + t * K;
        select_best(row, E, K, &best);
        int softmax = gate->score == MOE_SCORE_SOFTMAX;
        float max = best.score[0], chosen = 0;
        for (size_t j = 0; j < K; j += MOE_LANES) {
            MoeV8 v;
            moe_v8_set(-INFINITY, &v);
            size_t n = K - j < MOE_LANES ? K - j : MOE_LANES;
            memcpy(&v, best.score + j, n * sizeof(float));
            v = softmax ? v - max : -v;
            moe_v8_exp(&v, &v);
            if (!softmax)
                v = 1 / (1 + v);
            memcpy(w + j, &v, n * sizeof(float));
        }
        for (size_t j = 0; j < K; j++)
            chosen += w[j];
        /* Renormalised, the softmax's own denominator cancels (a softmax's epsilon would not: it is
         * of no use there). */
        float divisor = gate->renormalise ? chosen + gate->epsilon
                        : softmax         ? sum_exp(row, E, max)
                                          : 1;
        for (size_t j = 0; j < K; j++)
            w[j] = w[j] / divisor * gate->scale;
        memcpy(experts + t * K, best.expert, K * sizeof(*experts));
    }
}

#include "config.h"

#include "kernels/gate.h"

#include "kernels/simd.h"

#include <math.h>
#include <string.h>

enum { MOST_K = 256, ROWS = 256 };

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

MOE_INLINE void select_best(const float *row, size_t E, size_t K, Best *best)
{
    size_t e = 0;
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
        v -= top;
        moe_v8_exp(&v, &v);
        sum += v;
    }
    if (e < E) {
        moe_v8_set(-INFINITY, &v);
        memcpy(&v, row + e, (E - e) * sizeof(float));
        v -= top;
        moe_v8_exp(&v, &v);
        sum += v;
    }
    return moe_v8_sum(&sum);
}

MOE_CLONES static void gate_rows(size_t T, size_t E, size_t K, const float *logits, int renormalise,
                                 uint16_t *experts, float *weights)
{
    Best best;
    for (size_t t = 0; t < T; t++) {
        const float *row = logits + t * E;
        float *w = weights + t * K;
        select_best(row, E, K, &best);
        float max = best.score[0], chosen = 0;
        float total = renormalise ? 1 : sum_exp(row, E, max);
        for (size_t j = 0; j < K; j += MOE_LANES) {
            MoeV8 v;
            moe_v8_set(-INFINITY, &v);
            size_t n = K - j < MOE_LANES ? K - j : MOE_LANES;
            memcpy(&v, best.score + j, n * sizeof(float));
            v -= max;
            moe_v8_exp(&v, &v);
            memcpy(w + j, &v, n * sizeof(float));
        }
        for (size_t j = 0; j < K; j++)
            chosen += w[j];
        /* Renormalised, the softmax's own denominator cancels. */
        float divisor = renormalise ? chosen : total;
        for (size_t j = 0; j < K; j++)
            w[j] /= divisor;
        memcpy(experts + t * K, best.expert, K * sizeof(*experts));
    }
}

void moe_gate_softmax(size_t T, size_t E, size_t K, const float *restrict logits, int renormalise,
                      uint16_t *restrict experts, float *restrict weights)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t += ROWS)
        gate_rows(T - t < ROWS ? T - t : ROWS, E, K, logits + t * E, renormalise, experts + t * K,
                  weights + t * K);
}

void moe_gate_softmax_ref(size_t T, size_t E, size_t K, const float *logits, int renormalise,
                          uint16_t *experts, float *weights)
{
    for (size_t t = 0; t < T; t++) {
        const float *row = logits + t * E;
        double total = 0, chosen = 0, max = row[0];
        for (size_t e = 1; e < E; e++)
            max = fmax(max, (double)row[e]);
        for (size_t e = 0; e < E; e++)
            total += exp(row[e] - max);
        for (size_t j = 0; j < K; j++) {
            size_t best = E;
            for (size_t e = 0; e < E; e++) {
                int taken = 0;
                for (size_t i = 0; i < j; i++)
                    taken |= experts[t * K + i] == e;
                if (!taken && (best == E || row[e] > row[best]))
                    best = e;
            }
            experts[t * K + j] = (uint16_t)best;
            chosen += exp(row[best] - max) / total;
        }
        for (size_t j = 0; j < K; j++) {
            double p = exp(row[experts[t * K + j]] - max) / total;
            weights[t * K + j] = (float)(renormalise ? p / chosen : p);
        }
    }
}

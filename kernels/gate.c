#include "config.h"

#include "kernels/gate.h"

#include "kernels/matrix.h"
#include "kernels/simd.h"

#include <math.h>
#include <stdlib.h>
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

/* The scores of one row: softmax (max-subtracted) or sigmoid. */
MOE_INLINE void score_row(const float *row, size_t E, MoeScore score, float *out)
{
    float shift = 0;
    for (size_t e = 0; e < E && score == MOE_SCORE_SOFTMAX; e++)
        shift = e == 0 || row[e] > shift ? row[e] : shift;
    MoeV8 v, total;
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
MOE_CLONES static void choose_rows(size_t T, size_t E, size_t K, const float *logits,
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
MOE_CLONES static void plain_rows(size_t T, size_t E, size_t K, const float *logits,
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

void moe_gate(size_t T, size_t E, size_t K, const float *restrict logits, const MoeGate *gate,
              uint16_t *restrict experts, float *restrict weights)
{
    if (gate->score == MOE_SCORE_SPARSEMIXER) {
        moe_gate_sparsemixer(T, E, logits, gate, experts, weights);
        return;
    }
    int plain = gate->bias == NULL && gate->groups <= 1;
#pragma omp parallel
    {
        float *scratch = plain ? NULL : moe_scratch((2 * E + gate->groups) * sizeof(float));
#pragma omp for schedule(static)
        for (size_t t = 0; t < T; t += ROWS) {
            size_t n = T - t < ROWS ? T - t : ROWS;
            if (plain)
                plain_rows(n, E, K, logits + t * E, gate, experts + t * K, weights + t * K);
            else
                choose_rows(n, E, K, logits + t * E, gate, scratch, experts + t * K,
                            weights + t * K);
        }
        free(scratch);
    }
}

/* --- the oracle ------------------------------------------------------------------------------ */

/* The index of the largest of @n values that is not @taken yet, the first of equals. */
static size_t largest(const double *values, const char *taken, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (!taken[i] && (best == n || values[i] > values[best]))
            best = i;
    return best;
}

static void mask_groups_ref(const MoeGate *gate, size_t E, double *choice)
{
    size_t n = gate->groups, width = E / n;
    double *quality = moe_scratch(n * sizeof(double));
    char *taken = moe_scratch(E), *open = moe_scratch(n);
    memset(taken, 0, E);
    memset(open, 0, n);
    for (size_t g = 0; g < n; g++) {
        quality[g] = 0;
        for (size_t j = 0; j < gate->group_best; j++) {
            size_t best = largest(choice + g * width, taken + g * width, width);
            taken[g * width + best] = 1;
            quality[g] += choice[g * width + best];
        }
        quality[g] = (float)quality[g];
    }
    for (size_t j = 0; j < gate->top_groups; j++)
        open[largest(quality, open, n)] = 1;
    for (size_t e = 0; e < E; e++)
        if (!open[e / width])
            choice[e] = gate->masked;
    free(quality);
    free(taken);
    free(open);
}

void moe_gate_ref(size_t T, size_t E, size_t K, const float *logits, const MoeGate *gate,
                  uint16_t *experts, float *weights)
{
    if (gate->score == MOE_SCORE_SPARSEMIXER) {
        moe_gate_sparsemixer_ref(T, E, logits, gate, experts, weights);
        return;
    }
    double *scores = moe_scratch(E * sizeof(double)), *choice = moe_scratch(E * sizeof(double));
    char *taken = moe_scratch(E);
    int plain = gate->bias == NULL && gate->groups <= 1;
    for (size_t t = 0; t < T; t++) {
        const float *row = logits + t * E;
        double total = 0, chosen = 0, max = -INFINITY;
        for (size_t e = 0; e < E; e++)
            max = fmax(max, (double)row[e]);
        for (size_t e = 0; e < E; e++)
            total += exp(row[e] - max);
        for (size_t e = 0; e < E; e++) {
            scores[e] = gate->score == MOE_SCORE_SIGMOID ? 1 / (1 + exp(-(double)row[e]))
                                                         : exp(row[e] - max) / total;
            choice[e] = plain
                            ? row[e]
                            : (float)((float)scores[e] + (gate->bias == NULL ? 0 : gate->bias[e]));
        }
        if (gate->groups > 1)
            mask_groups_ref(gate, E, choice);
        memset(taken, 0, E);
        for (size_t j = 0; j < K; j++) {
            size_t best = largest(choice, taken, E);
            taken[best] = 1;
            chosen += scores[best];
        }
        /* In the order of falling scores. */
        for (size_t j = 0; j < K; j++) {
            size_t best = E;
            for (size_t e = 0; e < E; e++)
                if (taken[e] && (best == E || (plain ? row[e] > row[best]
                                                     : (float)scores[e] > (float)scores[best])))
                    best = e;
            taken[best] = 0;
            experts[t * K + j] = (uint16_t)best;
            double w = gate->renormalise ? scores[best] / (chosen + gate->epsilon) : scores[best];
            weights[t * K + j] = (float)(w * gate->scale);
        }
    }
    free(scores);
    free(choice);
    free(taken);
}

#include "config.h"

#include "kernels/gate.h"

#include "kernels/loops.h"
#include "kernels/matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 256, MOST_AVX512_K = 8 };

bool moe_gate_has_avx512(void)
{
#if defined(HAVE_AVX512_OBJECTS) && defined(__x86_64__)
    return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2");
#else
    return false;
#endif
}

/* moe_gate_plain() of this machine. */
static void gate_plain(size_t T, size_t E, size_t K, const float *logits, const MoeGate *gate,
                       uint16_t *experts, float *weights)
{
#if defined(HAVE_AVX512_OBJECTS)
    if (K <= MOST_AVX512_K && moe_gate_has_avx512()) {
        moe_gate_plain_avx512(T, E, K, logits, gate, experts, weights);
        return;
    }
#endif
    MOE_BEST(moe_gate_plain)(T, E, K, logits, gate, experts, weights);
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
                gate_plain(n, E, K, logits + t * E, gate, experts + t * K, weights + t * K);
            else
                (MOE_BEST(moe_gate_choose))(n, E, K, logits + t * E, gate, scratch, experts + t * K,
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

#include "config.h"

#include "kernels/gate.h"
#include "kernels/matrix.h"

#include <math.h>
#include <stdlib.h>

static int near_best(float best, float logit, float jitter)
{
    float size = fabsf(logit) > best ? fabsf(logit) : best;
    return !((best - logit) / size > 2 * jitter);
}

/* The largest but @without, and its share of those near it. */
static size_t choose(size_t E, const float *row, size_t without, float jitter, float *share)
{
    size_t best = without == 0 ? 1 : 0;
    for (size_t e = 0; e < E; e++)
        if (e != without && row[e] > row[best])
            best = e;
    float sum = 0;
    for (size_t e = 0; e < E; e++)
        if (e != without && near_best(row[best], row[e], jitter))
            sum += expf(row[e] - row[best]);
    *share = 1 / sum;
    return best;
}

void moe_gate_sparsemixer(size_t T, size_t E, const float *restrict logits, const MoeGate *gate,
                          uint16_t *restrict experts, float *restrict weights)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t++) {
        const float *row = logits + t * E;
        float share[2];
        size_t first = choose(E, row, SIZE_MAX, gate->jitter, &share[0]);
        size_t second = choose(E, row, first, gate->jitter, &share[1]);
        int turn = share[1] > share[0];
        experts[2 * t + (size_t)turn] = (uint16_t)first;
        experts[2 * t + (size_t)!turn] = (uint16_t)second;
        weights[2 * t + (size_t)turn] = share[0] * gate->scale;
        weights[2 * t + (size_t)!turn] = share[1] * gate->scale;
    }
}

typedef struct {
    double logit;
    size_t expert;
} Ranked;

static int higher(const void *a, const void *b)
{
    const Ranked *x = a, *y = b;
    if (x->logit > y->logit || x->logit < y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->expert < y->expert ? -1 : 1;
}

void moe_gate_sparsemixer_ref(size_t T, size_t E, const float *logits, const MoeGate *gate,
                              uint16_t *experts, float *weights)
{
    Ranked *ranked = moe_scratch(E * sizeof(Ranked));
    for (size_t t = 0; t < T; t++) {
        for (size_t e = 0; e < E; e++)
            ranked[e] = (Ranked){(double)logits[t * E + e], e};
        qsort(ranked, E, sizeof(Ranked), higher);
        double share[2] = {0, 0};
        for (size_t i = 0; i < 2; i++) {
            float best = (float)ranked[i].logit;
            for (size_t j = i; j < E; j++) /* the threshold is compared in float, as a definition */
                if (near_best(best, (float)ranked[j].logit, gate->jitter))
                    share[i] += exp(ranked[j].logit - ranked[i].logit);
            share[i] = (double)gate->scale / share[i];
        }
        size_t first = share[1] > share[0] ? 1 : 0;
        for (size_t i = 0; i < 2; i++) {
            experts[2 * t + i] = (uint16_t)ranked[i == 0 ? first : 1 - first].expert;
            weights[2 * t + i] = (float)share[i == 0 ? first : 1 - first];
        }
    }
    free(ranked);
}

#include "config.h"

#include "kernels/permute.h"

#include "kernels/loops.h"
#include "kernels/simd.h"

#include <string.h>

enum { FLOATS_OF_CACHE = 16 << 20 };

void moe_permute_plan(size_t T, size_t K, size_t E, const uint16_t *restrict experts,
                      uint32_t *restrict offsets, uint32_t *restrict slots)
{
    memset(offsets, 0, (E + 1) * sizeof(*offsets));
    for (size_t p = 0; p < T * K; p++)
        offsets[experts[p] + 1]++;
    for (size_t e = 0; e < E; e++)
        offsets[e + 1] += offsets[e];
    /* offsets[e] runs through expert e's slots, and ends where e + 1 begins: shift back afterwards.
     */
    for (size_t p = 0; p < T * K; p++)
        slots[p] = offsets[experts[p]]++;
    memmove(offsets + 1, offsets, E * sizeof(*offsets));
    offsets[0] = 0;
}

void moe_permute_rows(size_t T, size_t K, size_t H, const float *restrict x,
                      const uint32_t *restrict slots, size_t first, size_t end, float *restrict out)
{
    /* What a third-level cache does not hold anyway need not be read into it to be written. */
    const int past = (end - first) * H > FLOATS_OF_CACHE;
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < K; j++) {
            const size_t slot = slots[t * K + j];
            if (slot < first || slot >= end)
                continue;
            if (past)
                MOE_BEST(moe_copy_past)(x + t * H, H, out + (slot - first) * H);
            else
                memcpy(out + (slot - first) * H, x + t * H, H * sizeof(float));
        }
}

/* The choices j of one token whose slots are in the range, by rising slot; how many there are. */
static size_t sort_choices(size_t K, const uint32_t *slots, size_t first, size_t end,
                           uint16_t *choices)
{
    size_t n = 0;
    for (size_t j = 0; j < K; j++) {
        if (slots[j] < first || slots[j] >= end)
            continue;
        size_t at = n++;
        for (; at > 0 && slots[choices[at - 1]] > slots[j]; at--)
            choices[at] = choices[at - 1];
        choices[at] = (uint16_t)j;
    }
    return n;
}

MOE_CLONES static void add_row(size_t H, float weight, const float *restrict row, float *restrict y)
{
    for (size_t h = 0; h < H; h++)
        y[h] += weight * row[h];
}

void moe_combine_rows(size_t T, size_t K, size_t H, const float *restrict rows,
                      const uint32_t *restrict slots, size_t first, size_t end,
                      const float *restrict weights, float *restrict y)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t++) {
        uint16_t choices[MOE_PERMUTE_MOST_K];
        size_t n = sort_choices(K, slots + t * K, first, end, choices);
        for (size_t i = 0; i < n; i++) {
            size_t pair = t * K + choices[i];
            add_row(H, weights != NULL ? weights[pair] : 1, rows + (slots[pair] - first) * H,
                    y + t * H);
        }
    }
}

void moe_scale_rows(size_t T, size_t K, size_t H, const uint32_t *restrict slots, size_t first,
                    size_t end, const float *restrict weights, float *restrict rows)
{
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < T * K; p++)
        for (size_t h = 0; slots[p] >= first && slots[p] < end && h < H; h++)
            rows[(slots[p] - first) * H + h] *= weights[p];
}

void moe_permute_plan_ref(size_t T, size_t K, size_t E, const uint16_t *experts, uint32_t *offsets,
                          uint32_t *slots)
{
    uint32_t slot = 0;
    for (size_t e = 0; e < E; e++) {
        offsets[e] = slot;
        for (size_t p = 0; p < T * K; p++)
            if (experts[p] == e)
                slots[p] = slot++;
    }
    offsets[E] = slot;
}

void moe_permute_rows_ref(size_t T, size_t K, size_t H, const float *x, const uint32_t *slots,
                          float *out)
{
    for (size_t slot = 0; slot < T * K; slot++)
        for (size_t p = 0; p < T * K; p++)
            if (slots[p] == slot)
                for (size_t h = 0; h < H; h++)
                    out[slot * H + h] = x[p / K * H + h];
}

void moe_combine_rows_ref(size_t T, size_t K, size_t H, const float *rows, const uint32_t *slots,
                          const float *weights, float *y)
{
    for (size_t t = 0; t < T; t++) {
        for (size_t h = 0; h < H; h++) {
            double sum = y[t * H + h];
            for (size_t j = 0; j < K; j++)
                sum += (weights != NULL ? (double)weights[t * K + j] : 1) *
                       rows[slots[t * K + j] * H + h];
            y[t * H + h] = (float)sum;
        }
    }
}

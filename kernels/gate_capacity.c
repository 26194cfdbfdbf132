#include "config.h"

#include "kernels/gate.h"

#include <string.h>

void moe_gate_capacity(size_t T, size_t E, size_t K, size_t capacity,
                       const uint32_t *restrict positions, const uint16_t *restrict experts,
                       uint32_t *restrict counts, uint8_t *restrict dropped)
{
    for (size_t t = 0; t < T; t++) {
        if (positions[t] == 0)
            memset(counts, 0, E * sizeof(*counts));
        for (size_t p = t * K; p < (t + 1) * K; p++)
            dropped[p] = counts[experts[p]]++ >= capacity;
    }
}

void moe_gate_capacity_ref(size_t T, size_t K, size_t capacity, const uint32_t *positions,
                           const uint16_t *experts, uint8_t *dropped)
{
    for (size_t p = 0; p < T * K; p++) {
        size_t first = (p / K - positions[p / K]) * K, before = 0;
        for (size_t other = first; other < p; other++)
            before += experts[other] == experts[p];
        dropped[p] = before >= capacity;
    }
}

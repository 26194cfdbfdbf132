/* loops.h - inner loops that gain from wider vectors; private to kernels/.
 *
 * Layer: kernels. loops*.c are compiled as decode.c is: once for every machine, once for AVX2. Both
 * give the same bits (simd.h).
 */
#ifndef MOE_KERNELS_LOOPS_H
#define MOE_KERNELS_LOOPS_H

#include "kernels/gate.h"

#include <stdbool.h>

/* The variant of @name for this machine. */
#if defined(HAVE_AVX2_OBJECTS) && defined(__x86_64__)
#define MOE_BEST(name) (__builtin_cpu_supports("avx2") ? name##_avx2 : name##_base)
#else
#define MOE_BEST(name) name##_base
#endif

/* A function with this name and parameters, declared in both variants. */
#define MOE_BOTH(type, name, ...)                                                                  \
    type name##_base(__VA_ARGS__);                                                                 \
    type name##_avx2(__VA_ARGS__)

/* The sum of @n products, in lanes of a fixed order. */
MOE_BOTH(float, moe_dot, const float *a, const float *b, size_t n);

/* moe_round() to bf16. */
MOE_BOTH(void, moe_round_bf16, size_t count, const float *from, float *out);

/* moe_gate() for few rows, by one thread: of logits alone, and with bias or groups, when the choice
 * is among changed scores; @scratch: [2 E + groups]. */
MOE_BOTH(void, moe_gate_plain, size_t T, size_t E, size_t K, const float *logits,
         const MoeGate *gate, uint16_t *experts, float *weights);
MOE_BOTH(void, moe_gate_choose, size_t T, size_t E, size_t K, const float *logits,
         const MoeGate *gate, float *scratch, uint16_t *experts, float *weights);

/* moe_gate_plain() for K <= 8 where moe_gate_has_avx512(): the same choice, weights that differ in
 * their last bits. gate_avx512.c. */
bool moe_gate_has_avx512(void);
void moe_gate_plain_avx512(size_t T, size_t E, size_t K, const float *logits, const MoeGate *gate,
                           uint16_t *experts, float *weights);

/* out[r][i] = silu(a[r][i]) * b[r][i] for rows of @n; @out has rows of @stride. */
MOE_BOTH(void, moe_silu_times, size_t rows, size_t n, const float *a, const float *b, float *out,
         size_t stride);

/* One row of scores, in units of a power of two, meets the running softmax of its query: the keys
 * [from, to) are seen, of @n; row becomes 2^(row - max), and 0 for keys that are not seen, up to @n
 * rounded up to MOE_LANES; max and sum are updated, and the @width floats of @out rescaled. Row
 * 32-byte aligned, to <= n. */
MOE_BOTH(void, moe_soften, float *row, size_t from, size_t to, size_t n, float *max, float *sum,
         float *out, size_t width);

/* Copies @n floats past the caches, for what is read much later: @to is 32-byte aligned and @n a
 * multiple of MOE_LANES, or it is memcpy(). */
MOE_BOTH(void, moe_copy_past, const float *from, size_t n, float *to);

#endif

/* rope.h - rotary position embedding.
 *
 * Layer: kernels. Letters as in gate.h; M positions in a table; R rotated elements of a head.
 */
#ifndef MOE_KERNELS_ROPE_H
#define MOE_KERNELS_ROPE_H

#include <stddef.h>
#include <stdint.h>

/* Fills the cosines and sines of the angles m * theta^(-2i/R), i < R/2, m < M
 * (Su et al., 2021, arXiv 2104.09864). Frequencies and angles are rounded to float first, as the
 * reference implementations do: at long positions that is part of what the model was trained with.
 *
 * cos, sin [M, R/2]; R even; theta > 0. */
void moe_rope_table(size_t M, size_t R, double theta, float *cos_out, float *sin_out);

/* Rotates the first R elements of each head in place, halves paired (element i with i + R/2:
 * GPT-NeoX, Llama, OLMoE), and leaves the others as they are:
 *
 *   x[i], x[i + R/2] = x[i] cos - x[i + R/2] sin,  x[i + R/2] cos + x[i] sin
 *
 * x [T, heads, D], R <= D; positions [T], each < M; cos, sin [M, R/2]. Work: 3*T*heads*R FLOP. */
void moe_rope_half(size_t T, size_t heads, size_t D, size_t R, const uint32_t *positions,
                   const float *restrict cos, const float *restrict sin, float *restrict x);

/* The same by complex multiplication in double precision, angles from @theta; the oracle. */
void moe_rope_half_ref(size_t T, size_t heads, size_t D, size_t R, const uint32_t *positions,
                       double theta, float *x);

#endif

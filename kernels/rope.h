/* rope.h - rotary position embedding.
 *
 * Layer: kernels. Letters as in gate.h; M positions in a table.
 */
#ifndef MOE_KERNELS_ROPE_H
#define MOE_KERNELS_ROPE_H

#include <stddef.h>
#include <stdint.h>

/* Fills the cosines and sines of the angles m * theta^(-2i/D), i < D/2, m < M
 * (Su et al., 2021, arXiv 2104.09864). Frequencies and angles are rounded to float first, as the
 * reference implementations do: at long positions that is part of what the model was trained with.
 *
 * cos, sin [M, D/2]; D even; theta > 0. */
void moe_rope_table(size_t M, size_t D, double theta, float *cos_out, float *sin_out);

/* Rotates each head in place, halves paired (element i with i + D/2: GPT-NeoX, Llama, OLMoE):
 *
 *   x[i], x[i + D/2] = x[i] cos - x[i + D/2] sin,  x[i + D/2] cos + x[i] sin
 *
 * x [T, heads, D]; positions [T], each < M; cos, sin [M, D/2]. Work: 3*T*heads*D FLOP. */
void moe_rope_half(size_t T, size_t heads, size_t D, const uint32_t *positions,
                   const float *restrict cos, const float *restrict sin, float *restrict x);

/* The same by complex multiplication in double precision, angles from @theta; the oracle. */
void moe_rope_half_ref(size_t T, size_t heads, size_t D, const uint32_t *positions, double theta,
                       float *x);

#endif

/* experts.h - the experts' feed-forward networks, all of a layer in one call.
 *
 * Layer: kernels. Letters as in gate.h.
 */
#ifndef MOE_KERNELS_EXPERTS_H
#define MOE_KERNELS_EXPERTS_H

#include "kernels/matrix.h"

/* One expert: gate and up [F, H], down [H, F], stored in any type. */
typedef struct {
    MoeMatrix gate, up, down;
} MoeExpert;

/* SwiGLU (Shazeer, 2020, arXiv 2002.05202) of every row by the expert that owns it:
 *
 *   rows_out[p] = down_e (silu(gate_e rows[p]) * up_e rows[p]),  offsets[e] <= p < offsets[e + 1]
 *
 * experts [E]; offsets [E + 1] as moe_permute_plan() makes them, P = offsets[E]; rows, rows_out [P,
 * H]; hidden [P, F] is scratch. silu(a) = a / (1 + exp(-a)). Each weight is widened once per call.
 * Work: 6*P*H*F FLOP. */
void moe_experts_swiglu(size_t E, size_t H, size_t F, const MoeExpert *experts,
                        const uint32_t *restrict offsets, const float *restrict rows,
                        float *restrict hidden, float *restrict rows_out);

/* The same in double precision; the oracle. */
void moe_experts_swiglu_ref(size_t E, size_t H, size_t F, const MoeExpert *experts,
                            const uint32_t *offsets, const float *rows, float *rows_out);

#endif

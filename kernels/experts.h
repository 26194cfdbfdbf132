/* experts.h - the experts' feed-forward networks, all of a layer in one call.
 *
 * Layer: kernels. Letters as in gate.h.
 */
#ifndef MOE_KERNELS_EXPERTS_H
#define MOE_KERNELS_EXPERTS_H

#include "kernels/matrix.h"

typedef enum {
    MOE_ACT_SILU, /* a / (1 + exp(-a)) */
    MOE_ACT_RELU, /* max(a, 0) */
    MOE_ACT_GELU, /* a (1 + erf(a / sqrt(2))) / 2 (Hendrycks and Gimpel, 2016, arXiv 1606.08415) */
    MOE_ACT_GELU_TANH, /* the same with tanh(sqrt(2 / pi) (a + 0.044715 a^3)) for erf */
} MoeActivation;

/* One expert: gate and up [F, H], down [H, F], stored in any type, of one precision; biases [F],
 * [F], [H], or NULL. A gate's output a and an up's output b make:
 *
 *   limit 0       act(a) b: SwiGLU and its kin (Shazeer, 2020, arXiv 2002.05202)
 *   limit > 0     gpt-oss's: a' = min(a, limit), b' clipped to [-limit, limit],
 *                 a' / (1 + exp(-1.702 a')) (b' + 1)  (GptOssExperts in Hugging Face transformers)
 *   up.data NULL  act(a): without a gate (T5, Switch Transformers) */
typedef struct {
    MoeMatrix gate, up, down;
    const float *gate_bias, *up_bias, *down_bias;
    float limit;
    MoeActivation act;
} MoeExpert;

/* Every row through the expert that owns it:
 *
 *   rows_out[p] = down_e make(gate_e rows[p] + gate_bias_e, up_e rows[p] + up_bias_e) + down_bias_e,
 *   offsets[e] <= p < offsets[e + 1]
 *
 * experts [E]; offsets [E + 1] as moe_permute_plan() makes them, P = offsets[E]; rows, rows_out [P,
 * H]; hidden [P, F] is scratch. Each weight is widened once per call.
 * Work: 6*P*H*F FLOP, without a gate 4*P*H*F. */
void moe_experts_swiglu(size_t E, size_t H, size_t F, const MoeExpert *experts,
                        const uint32_t *restrict offsets, const float *restrict rows,
                        float *restrict hidden, float *restrict rows_out);

/* The same in double precision; the oracle. */
void moe_experts_swiglu_ref(size_t E, size_t H, size_t F, const MoeExpert *experts,
                            const uint32_t *offsets, const float *rows, float *rows_out);

#endif

/* norm.h - normalisation, clipping, and sums of rows.
 *
 * Layer: kernels. Letters as in gate.h.
 */
#ifndef MOE_KERNELS_NORM_H
#define MOE_KERNELS_NORM_H

#include <stddef.h>

/* out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight   (Zhang and Sennrich, 2019, arXiv 1910.07467)
 *
 * x, out [T, H] (may be the same array), weight [H] or NULL (all ones), eps > 0.
 * Work: 4*T*H FLOP; bytes: 8*T*H. */
void moe_rmsnorm(size_t T, size_t H, const float *x, const float *weight, float eps, float *out);

/* The same in double precision; the oracle. */
void moe_rmsnorm_ref(size_t T, size_t H, const float *x, const float *weight, float eps,
                     float *out);

/* out[t] = (x[t] - mean) / sqrt(variance + eps) * weight + bias, mean and (biased) variance of x[t]
 * (Ba et al., 2016, arXiv 1607.06450)
 *
 * x, out [T, H] (may be the same array), weight, bias [H], bias NULL: none; eps > 0.
 * Work: 7*T*H FLOP; bytes: 8*T*H. */
void moe_layernorm(size_t T, size_t H, const float *x, const float *weight, const float *bias,
                   float eps, float *out);

/* The same in double precision; the oracle. */
void moe_layernorm_ref(size_t T, size_t H, const float *x, const float *weight, const float *bias,
                       float eps, float *out);

/* x[i] = min(max(x[i], -limit), limit) for i < n; limit > 0 (OLMoE's clip_qkv). */
void moe_clip(size_t n, float limit, float *x);

/* x[t] += bias: x [T, N], bias [N]. */
void moe_add_bias(size_t T, size_t N, const float *restrict bias, float *restrict x);

/* x[i] *= scale for i < n. */
void moe_scale(size_t n, float scale, float *x);

/* x[i] += scale * y[i] for i < n. */
void moe_add_scaled(size_t n, float scale, const float *restrict y, float *restrict x);

/* y[t] += x[t] / (1 + exp(-logits[t])): x, y [T, H], logits [T]. */
void moe_add_gated(size_t T, size_t H, const float *restrict logits, const float *restrict x,
                   float *restrict y);

#endif

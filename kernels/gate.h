/* gate.h - the router: which experts a token goes to, and with which weights.
 *
 * Layer: kernels.
 *
 * The letters of all kernels' shapes:
 *   T tokens              E experts of a layer       K experts per token     P = T*K pairs
 *   H hidden width        F width of an expert       V vocabulary
 *   Q query heads         G key/value heads          D width of a head       N outputs of a matrix
 * Arrays are row-major; "x [T, H]" has T rows of H. Results do not depend on the number of threads:
 * work is cut by shape alone, and every sum has a fixed order.
 */
#ifndef MOE_KERNELS_GATE_H
#define MOE_KERNELS_GATE_H

#include <stddef.h>
#include <stdint.h>

/* Softmax over all experts, then the K largest, as in OLMoE, Mixtral and Qwen (Hugging Face
 * transformers, OlmoeSparseMoeBlock.forward).
 *
 *   p[t] = softmax(logits[t]);  experts[t] = the K largest p[t], heaviest first
 *   weights[t][j] = p[t][experts[t][j]], divided by their sum when @renormalise
 *
 * logits [T, E] finite; experts [T, K]; weights [T, K]; 1 <= K <= E <= 65535, K <= 256.
 * Ties: of equal logits the lower expert id comes first. Selection compares logits, so
 * probabilities that round to the same float are still told apart. Work: one exponential per logit;
 * bytes: 4*T*E read, 6*T*K written. */
void moe_gate_softmax(size_t T, size_t E, size_t K, const float *restrict logits, int renormalise,
                      uint16_t *restrict experts, float *restrict weights);

/* The same in double precision, by sorting; the oracle. */
void moe_gate_softmax_ref(size_t T, size_t E, size_t K, const float *logits, int renormalise,
                          uint16_t *experts, float *weights);

#endif

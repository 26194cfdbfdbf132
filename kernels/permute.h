/* permute.h - tokens in expert order, and back.
 *
 * Layer: kernels. Letters as in gate.h. A pair is one (token, chosen expert); a slot is a pair's
 * place when all pairs are sorted by expert, pairs of one expert in token order.
 */
#ifndef MOE_KERNELS_PERMUTE_H
#define MOE_KERNELS_PERMUTE_H

#include <stddef.h>
#include <stdint.h>

/* Sorts the pairs: expert e owns the slots offsets[e] ... offsets[e + 1] - 1, and pair (t, j)
 * has slot slots[t*K + j].
 * experts [T, K], each < E, distinct within a token; offsets [E + 1]; slots [T, K]; T*K < 2^32.
 * Work: two passes over the pairs (a counting sort). */
void moe_permute_plan(size_t T, size_t K, size_t E, const uint16_t *restrict experts,
                      uint32_t *restrict offsets, uint32_t *restrict slots);

/* Copies each token's row to its slots from @first to before @end, for whoever has no room for all of
 * them: out[slots[t*K + j] - first] = x[t].
 * x [T, H]; out [end - first, H]. Bytes: 4*T*H read, 4*(end - first)*H written. */
void moe_permute_rows(size_t T, size_t K, size_t H, const float *restrict x,
                      const uint32_t *restrict slots, size_t first, size_t end,
                      float *restrict out);

/* Adds each token's weighted rows of these slots to y, by rising slot, so that slots in several parts
 * add up to the same: y[t] += sum over j of weights[t*K + j] * rows[slots[t*K + j] - first].
 * rows [end - first, H]; weights [T, K], or NULL: all ones; y [T, H]; K at most MOE_PERMUTE_MOST_K.
 * Work: 2*(end - first)*H FLOP. */
enum { MOE_PERMUTE_MOST_K = 256 };
void moe_combine_rows(size_t T, size_t K, size_t H, const float *restrict rows,
                      const uint32_t *restrict slots, size_t first, size_t end,
                      const float *restrict weights, float *restrict y);

/* Multiplies each pair's row by its weight, in place: rows[slots[t*K + j] - first] *= weights[t*K + j]
 * where that slot is from @first to before @end. rows [end - first, H]; weights [T, K]. */
void moe_scale_rows(size_t T, size_t K, size_t H, const uint32_t *restrict slots, size_t first,
                    size_t end, const float *restrict weights, float *restrict rows);

/* The same, slowly: the plan by scanning for each expert, the sum in double precision; the oracles.
 */
void moe_permute_plan_ref(size_t T, size_t K, size_t E, const uint16_t *experts, uint32_t *offsets,
                          uint32_t *slots);
void moe_permute_rows_ref(size_t T, size_t K, size_t H, const float *x, const uint32_t *slots,
                          float *out);
void moe_combine_rows_ref(size_t T, size_t K, size_t H, const float *rows, const uint32_t *slots,
                          const float *weights, float *y);

#endif

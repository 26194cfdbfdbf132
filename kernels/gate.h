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

typedef enum {
    MOE_SCORE_SOFTMAX,     /* over all experts */
    MOE_SCORE_SIGMOID,     /* of each */
    MOE_SCORE_SPARSEMIXER, /* moe_gate_sparsemixer(); of what follows, @jitter and @scale alone */
} MoeScore;

/* A router's rule. Zeroes but for @scale are the plain one. */
typedef struct {
    MoeScore score;
    const float *bias; /* [E], added to the scores for the choice alone, or NULL: none */
    size_t groups;     /* experts side by side in E/groups each choose together; <= 1: no groups */
    size_t top_groups; /* how many groups may be chosen from, 1 ... groups */
    size_t group_best; /* a group is as good as the sum of its so many best scores: 1 or 2 */
    float masked;      /* what the scores of the other groups become: -INFINITY, or 0 */
    int renormalise;   /* the chosen weights divided by (their sum + epsilon) */
    float epsilon;
    float scale;  /* of the weights, at the end */
    float jitter; /* sparsemixer: logits farther than 2 * jitter from the best are left out */
} MoeGate;

/* s = score(logits[t]); c = s + bias, c = masked outside the best top_groups groups
 * experts[t] = the K largest c; weights[t][j] = scale * s[experts[t][j]] (/ sum when @renormalise)
 *
 * This is, in Hugging Face transformers: Mixtral, OLMoE, Qwen-MoE (softmax; norm_topk_prob is
 * @renormalise); gpt-oss and Granite, which take the softmax of the chosen logits alone (the same
 * as @renormalise); DeepSeek-V2 (softmax, group_best 1, masked 0), DeepSeek-V3 and its kin (sigmoid,
 * bias, group_best 2, epsilon 1e-20; masked is 0 there, -INFINITY in DeepSeek's own inference/model.py).
 *
 * logits [T, E] finite; experts [T, K], in the order of falling weights; weights [T, K];
 * 1 <= K <= E <= 65535, K <= 256; E a multiple of groups, E/groups >= group_best, and at least K
 * experts in top_groups groups. Ties: of equal scores the lower expert or group id comes first.
 * Without bias and groups the selection compares logits, so scores that round to the same float are
 * still told apart. Work: one exponential per logit; bytes: 4*T*E read, 6*T*K written. */
void moe_gate(size_t T, size_t E, size_t K, const float *restrict logits, const MoeGate *gate,
              uint16_t *restrict experts, float *restrict weights);

/* The same in double precision, by sorting; the oracle. Scores are rounded to float before bias and
 * comparison, as the definition of a tie. */
void moe_gate_ref(size_t T, size_t E, size_t K, const float *logits, const MoeGate *gate,
                  uint16_t *experts, float *weights);

/* Phi-3.5-MoE's gate (Liu et al., 2024, arXiv 2409.12136; Hugging Face transformers' sparsemixer()
 * outside training). Twice, the second time without the expert that the first chose:
 *
 *   m = max l[e];  S = {e: not (m - l[e]) / max(|l[e]|, m) > 2 * jitter}
 *   expert: the first with l = m;  weight: scale / sum over S of exp(l[e] - m)
 *
 * logits [T, E] finite; experts, weights [T, 2], in the order of falling weights; 2 <= E <= 65535. */
void moe_gate_sparsemixer(size_t T, size_t E, const float *restrict logits, const MoeGate *gate,
                          uint16_t *restrict experts, float *restrict weights);

/* The same in double precision, over sorted logits; the oracle. */
void moe_gate_sparsemixer_ref(size_t T, size_t E, const float *logits, const MoeGate *gate,
                              uint16_t *experts, float *weights);

/* What expert capacity refuses (Switch Transformers, Fedus et al., 2021, arXiv 2101.03961, section
 * 2.2; as Hugging Face transformers counts it): of each sequence, an expert takes the first @capacity
 * pairs that choose it, in the order of tokens and of a token's choices.
 *
 * dropped[t][j] = 1 where the sequence has @capacity earlier pairs of the expert, else 0
 *
 * positions [T]: of each token in its sequence, 0 begins one; experts [T, K], each < E; dropped [T,
 * K]; counts [E]: pairs so far, for sequences that go on in the next call; the first call's first
 * token begins one. */
void moe_gate_capacity(size_t T, size_t E, size_t K, size_t capacity,
                       const uint32_t *restrict positions, const uint16_t *restrict experts,
                       uint32_t *restrict counts, uint8_t *restrict dropped);

/* The same for all tokens at once, each looking back for its equals; the oracle. */
void moe_gate_capacity_ref(size_t T, size_t K, size_t capacity, const uint32_t *positions,
                           const uint16_t *experts, uint8_t *dropped);

#endif

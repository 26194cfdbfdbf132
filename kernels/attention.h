/* attention.h - softmax attention over packed sequences.
 *
 * Layer: kernels. Letters as in gate.h.
 */
#ifndef MOE_KERNELS_ATTENTION_H
#define MOE_KERNELS_ATTENTION_H

#include "kernels/matrix.h"

/* Heads and who sees whom. Query head q reads key/value head q / (Q / G). */
typedef struct {
    size_t Q, G, D; /* Q a multiple of G */
    float scale;    /* of the scores, usually 1 / sqrt(D) */
    size_t DV;      /* width of a value and of an output head; 0: D (another in MLA) */
    size_t window;  /* a query sees its own and the window - 1 positions before; 0: all before */
    size_t chunk;   /* it sees those of its own chunk of so many positions; 0: of all */
    const float *sinks; /* [Q]: a score without a value in every softmax (gpt-oss); NULL: none */
    size_t past;        /* each sequence has so many more keys and values, before the first query */
    const size_t
        *keys;         /* [n_sequences + 1]: sequence s sees all of its keys keys[s] ... keys[s + 1]
                           - 1, at positions from 0; past, window and chunk are 0. NULL: causal */
    const float *bias; /* [Q, 2 * far + 1]: a head's score of a key that is d positions behind its
                           query gets, once scaled, bias[far + d], d cut to [-far, far]; NULL: none */
    size_t far;
    /* Of both products. In bf16 the queries, times scale and log2(e), keys and values are rounded, and
     * the shares of the softmax, 1 for the largest score so far, before they meet the values; scores,
     * the softmax's sum and the output are floats. As FlashAttention has it (Dao et al., 2022, arXiv
     * 2205.14135), which servers run. */
    MoePrecision precision;
} MoeAttentionShape;

/* out[t] = softmax(scale * q[t] k[low..t]^T) v[low..t], within each sequence and head, where low is
 * the first position that window and chunk let token t see.
 *
 * Sequence s holds the tokens offsets[s] ... offsets[s + 1] - 1 of the packed arrays:
 * q [T, Q, D]; k [T, G, D]; v [T, G, DV]; out [T, Q, DV]; offsets [n_sequences + 1], rising,
 * offsets[0] = 0. With a past, its first query is at position past, and its keys and values, as many
 * more, begin at offsets[s] + s * past. An encoder's attention has keys = offsets; cross attention has
 * another array's, k and v [keys[n_sequences], G, .], and a sequence with queries has keys.
 * Keys are met block by block with a running maximum and sum (Milakov and Gimelshein, 2018,
 * arXiv 1805.02867; Dao et al., 2022, arXiv 2205.14135), so beside its arguments it needs a
 * constant amount of memory per thread, whatever the length. Work: 2*Q*(D + DV) FLOP for each of the
 * n(n+1)/2 pairs of a sequence of n (and as much again for the masked half of the diagonal blocks).
 */
void moe_attention_causal(size_t n_sequences, const size_t *offsets, const MoeAttentionShape *shape,
                          const float *restrict q, const float *restrict k, const float *restrict v,
                          float *restrict out);

/* The same with whole rows of scores in double precision, shares never rounded; the oracle. */
void moe_attention_causal_ref(size_t n_sequences, const size_t *offsets,
                              const MoeAttentionShape *shape, const float *q, const float *k,
                              const float *v, float *out);

/* T5's relative positions (Raffel et al., 2020, arXiv 1910.10683, section 2.1; in Hugging Face
 * transformers T5Attention._relative_position_bucket()) as a @bias of MoeAttentionShape: distances
 * below half of the buckets have one each, larger ones share the other half, ever wider up to @far.
 * @whole: half of all buckets are for keys behind the query, otherwise there are none such.
 *
 * table [buckets, Q]; out [Q, 2 * far + 1]; buckets >= 2 (4 when @whole), far > buckets / 2. */
void moe_relative_bias(size_t Q, size_t buckets, size_t far, int whole, const float *table,
                       float *out);

/* The bucket of a key that is @distance positions behind its query (before it: negative). */
size_t moe_relative_bucket(size_t buckets, size_t far, int whole, ptrdiff_t distance);

#endif

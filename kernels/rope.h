/* rope.h - rotary position embedding.
 *
 * Layer: kernels. Letters as in gate.h; M positions in a table; R rotated elements of a head.
 */
#ifndef MOE_KERNELS_ROPE_H
#define MOE_KERNELS_ROPE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    MOE_ROPE_DEFAULT, /* Su et al., 2021, arXiv 2104.09864 */
    MOE_ROPE_LINEAR,  /* position interpolation: Chen et al., 2023, arXiv 2306.15595 */
    MOE_ROPE_YARN,    /* Peng et al., 2023, arXiv 2309.00071 */
    MOE_ROPE_LLAMA3,  /* Llama 3.1's, as published with it (Grattafiori et al., arXiv 2407.21783) */
    MOE_ROPE_LONG,    /* LongRoPE: Ding et al., 2024, arXiv 2402.13753 */
} MoeRopeKind;

/* How frequencies are stretched for contexts longer than @original, the one trained first. */
typedef struct {
    MoeRopeKind kind;
    double theta;    /* base, > 1 */
    double factor;   /* by which frequencies shrink, >= 1: all kinds but the first, last */
    double original; /* tokens: yarn, llama3 */
    double beta_fast, beta_slow; /* yarn: rotations over @original above, below which none, all is
                                    stretched; beta_fast >= beta_slow > 0 */
    int truncate;                /* yarn: these bounds rounded to whole elements */
    double high, low;            /* llama3: the same as beta_fast and beta_slow, by wavelength */
    const double *divisors;      /* long: [R/2], > 0 */
} MoeRopeScaling;

/* frequencies[i], i < R/2, rad per position, from f = theta^(-2i/R):
 *
 *   default f;  linear f / factor;  long f / divisors[i];
 *   yarn    f (1 - s) / factor + f s, s = 1 - clamp((i - a) / (b - a)), where a and b are the (not
 *           whole) i whose frequencies turn beta_fast and beta_slow times within @original;
 *   llama3  the same with s = clamp((original f / 2 pi - low) / (high - low)).
 *
 * As Hugging Face transformers' modeling_rope_utils.py computes them. R even. */
void moe_rope_frequencies(size_t R, const MoeRopeScaling *scaling, float *frequencies);

/* Fills cosines and sines of the angles m * frequencies[i], m < M, times @scale. Frequencies and
 * angles are rounded to float first, as the reference implementations do: at long positions that is
 * part of what the model was trained with.
 *
 * cos, sin [M, R/2]; frequencies [R/2]. */
void moe_rope_table(size_t M, size_t R, const float *frequencies, float scale, float *cos_out,
                    float *sin_out);

/* Which elements of a head are rotated together. */
typedef enum {
    MOE_ROPE_HALVES,     /* i and i + R/2: GPT-NeoX, Llama, Qwen */
    MOE_ROPE_NEIGHBOURS, /* 2i and 2i + 1: GPT-J, DeepSeek, Llama 4 */
} MoeRopePairs;

/* Rotates the first R elements of each head in place and leaves the others as they are:
 *
 *   x[a], x[b] = x[a] cos - x[b] sin,  x[b] cos + x[a] sin    for the i-th pair (a, b), i < R/2
 *
 * x [T, heads, D], R <= D; positions [T], each < M; cos, sin [M, R/2]. Work: 3*T*heads*R FLOP. */
void moe_rope(size_t T, size_t heads, size_t D, size_t R, MoeRopePairs pairs,
              const uint32_t *positions, const float *restrict cos, const float *restrict sin,
              float *restrict x);

/* The same by complex multiplication in double precision, angles from frequencies; the oracle. */
void moe_rope_ref(size_t T, size_t heads, size_t D, size_t R, MoeRopePairs pairs,
                  const uint32_t *positions, const float *frequencies, float *x);

#endif

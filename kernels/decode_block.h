/* decode_block.h - what the decoders of blocks share; private to decode*.c.
 *
 * Layer: kernels. A block is unpacked to vectors of bytes first, then these become floats.
 */
#ifndef MOE_KERNELS_DECODE_BLOCK_H
#define MOE_KERNELS_DECODE_BLOCK_H

#include "kernels/simd.h"

#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

/* What the 16 codes of the iq4 types mean. */
static const int8_t moe_iq4_values[16] __attribute__((unused)) = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* One half-precision number; subnormals come out right because the product normalises them. */
MOE_INLINE float moe_half(const uint8_t *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    uint32_t bits = (uint32_t)(half & 0x7FFF) << 13;
    float value;
    memcpy(&value, &bits, sizeof(value));
    value *= 0x1p112F;
    memcpy(&bits, &value, sizeof(bits));
    bits |= (half & 0x7C00) == 0x7C00 ? 0x7F800000 : 0;
    bits |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* 16 codes of a block. */
typedef uint8_t MoeB16 __attribute__((vector_size(16)));

/* The bits @shift and above of 16 bytes, as many as @mask has: fewer than 8 with @shift, so shifting
 * two bytes together brings nothing over from the neighbour. */
MOE_INLINE void moe_bits(const uint8_t *from, int shift, uint8_t mask, MoeB16 *out)
{
    typedef uint16_t Pairs __attribute__((vector_size(16)));
    Pairs pairs;
    memcpy(&pairs, from, sizeof(pairs));
    *out = (MoeB16)(pairs >> shift) & mask;
}

/* out[i] = d * q[i] - m for 16 codes, taken as signed. */
MOE_INLINE void moe_spread(const MoeB16 *q, float d, float m, float *restrict out)
{
#if defined(__AVX2__)
    __m128i codes;
    memcpy(&codes, q, sizeof(codes));
    const __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
    const __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)));
    const __m256 factor = _mm256_set1_ps(d), off = _mm256_set1_ps(m);
    _mm256_storeu_ps(out, _mm256_sub_ps(_mm256_mul_ps(first, factor), off));
    _mm256_storeu_ps(out + 8, _mm256_sub_ps(_mm256_mul_ps(second, factor), off));
#else
    int8_t codes[16];
    memcpy(codes, q, sizeof(codes));
    for (int i = 0; i < 16; i++)
        out[i] = d * (float)codes[i] - m;
#endif
}

/* 32 codes of 4 bits, the lower halves of 16 bytes first. */
MOE_INLINE void moe_nibbles(const uint8_t *from, MoeB16 q[2])
{
    moe_bits(from, 0, 15, &q[0]);
    moe_bits(from, 4, 15, &q[1]);
}

/* Each code, 0 to 15, becomes what the table has for it. */
MOE_INLINE void moe_look_up(const int8_t table[16], MoeB16 *q)
{
#if defined(__AVX2__)
    __m128i values, codes;
    memcpy(&values, table, sizeof(values));
    memcpy(&codes, q, sizeof(codes));
    codes = _mm_shuffle_epi8(values, codes);
    memcpy(q, &codes, sizeof(*q));
#else
    for (int i = 0; i < 16; i++)
        (*q)[i] = (uint8_t)table[(*q)[i]];
#endif
}

#endif

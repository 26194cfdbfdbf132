/* decode_block.h - what the decoders of blocks share; private to decode*.c.
 *
 * Layer: kernels. A block is unpacked to signed bytes first, then these become floats.
 */
#ifndef MOE_KERNELS_DECODE_BLOCK_H
#define MOE_KERNELS_DECODE_BLOCK_H

#include "kernels/simd.h"

#include <string.h>

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

/* out[i] = d * q[i] - m for n codes. */
MOE_INLINE void moe_spread(const int8_t *restrict q, int n, float d, float m, float *restrict out)
{
    for (int i = 0; i < n; i++)
        out[i] = d * (float)q[i] - m;
}

/* 32 codes of 4 bits, the lower halves of 16 bytes first. */
MOE_INLINE void moe_nibbles(const uint8_t *restrict from, int8_t *restrict q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)(from[i] & 15);
        q[i + 16] = (int8_t)(from[i] >> 4);
    }
}

#endif

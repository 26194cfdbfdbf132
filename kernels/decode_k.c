#include "config.h"

#include "kernels/decode.h"
#include "kernels/decode_block.h"

/* The 2-bit code at @shift of each of 32 bytes. */
MOE_INLINE void pairs(const uint8_t *restrict from, int shift, int8_t *restrict q)
{
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)(from[i] >> shift & 3);
}

/* 16 scales; 64 bytes of 2-bit codes, each 32 bytes holding 4 x 32 elements; d and minimum. */
static void q2_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 84) {
        const float d = moe_half(from + 80), least = moe_half(from + 82);
        for (int part = 0; part < 8; part++, out += 32) {
            const uint8_t *scale = from + 2 * part;
            int8_t q[32];
            pairs(from + 16 + part / 4 * 32, part % 4 * 2, q);
            moe_spread(q, 16, d * (float)(scale[0] & 15), least * (float)(scale[0] >> 4), out);
            moe_spread(q + 16, 16, d * (float)(scale[1] & 15), least * (float)(scale[1] >> 4),
                       out + 16);
        }
    }
}

/* 32 bytes of third bits (set: do not take off 4), 64 of 2-bit codes, 12 of 6-bit scales, d. */
static void q3_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 110) {
        const uint8_t *packed = from + 96;
        const float d = moe_half(from + 108);
        float scales[16];
        for (int i = 0; i < 16; i++) {
            int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
            int high = packed[8 + i % 4] >> i / 4 * 2 & 3;
            scales[i] = d * (float)((low | high << 4) - 32);
        }
        for (int part = 0; part < 8; part++, out += 32) {
            int8_t q[32];
            pairs(from + 32 + part / 4 * 32, part % 4 * 2, q);
            for (int i = 0; i < 32; i++)
                q[i] = (int8_t)(q[i] - 4 + ((from[i] >> part & 1) << 2));
            moe_spread(q, 16, scales[2 * part], 0, out);
            moe_spread(q + 16, 16, scales[2 * part + 1], 0, out + 16);
        }
    }
}

/* The 6-bit scale and minimum of part @i of 8, packed in 12 bytes. */
MOE_INLINE void scale_min(const uint8_t *packed, int i, float *scale, float *least)
{
    if (i < 4) {
        *scale = (float)(packed[i] & 63);
        *least = (float)(packed[i + 4] & 63);
    } else {
        *scale = (float)((packed[i + 4] & 15) | packed[i - 4] >> 6 << 4);
        *least = (float)(packed[i + 4] >> 4 | packed[i] >> 6 << 4);
    }
}

/* d, minimum, 12 bytes of scales, 128 bytes: 32 lower halves are one part, the upper the next. */
static void q4_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 144) {
        const float d = moe_half(from), least = moe_half(from + 2);
        for (int part = 0; part < 8; part++, out += 32) {
            const uint8_t *codes = from + 16 + part / 2 * 32;
            float scale, minimum;
            int8_t q[32];
            for (int i = 0; i < 32; i++)
                q[i] = (int8_t)(codes[i] >> part % 2 * 4 & 15);
            scale_min(from + 4, part, &scale, &minimum);
            moe_spread(q, 32, d * scale, least * minimum, out);
        }
    }
}

/* As q4_k, with 32 bytes of fifth bits, a bit for each part, before the codes. */
static void q5_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 176) {
        const float d = moe_half(from), least = moe_half(from + 2);
        for (int part = 0; part < 8; part++, out += 32) {
            const uint8_t *codes = from + 48 + part / 2 * 32, *fifth = from + 16;
            float scale, minimum;
            int8_t q[32];
            for (int i = 0; i < 32; i++)
                q[i] = (int8_t)((codes[i] >> part % 2 * 4 & 15) | (fifth[i] >> part & 1) << 4);
            scale_min(from + 4, part, &scale, &minimum);
            moe_spread(q, 32, d * scale, least * minimum, out);
        }
    }
}

/* 128 bytes of lower 4 bits, 64 of upper 2, 16 signed scales, d. Of a half of 128 elements, parts
 * 0 and 1 are the lower halves of its 64 bytes, 2 and 3 the upper. */
static void q6_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 210) {
        const float d = moe_half(from + 208);
        for (int part = 0; part < 8; part++, out += 32) {
            const uint8_t *low = from + part / 4 * 64 + part % 2 * 32;
            const uint8_t *high = from + 128 + part / 4 * 32;
            const int low_shift = part % 4 / 2 * 4, high_shift = part % 4 * 2;
            int8_t q[32], scales[2];
            for (int i = 0; i < 32; i++)
                q[i] =
                    (int8_t)(((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4) - 32);
            memcpy(scales, from + 192 + 2 * part, sizeof(scales));
            moe_spread(q, 16, d * (float)scales[0], 0, out);
            moe_spread(q + 16, 16, d * (float)scales[1], 0, out + 16);
        }
    }
}

/* d, the upper 2 bits of 8 scales, their lower 4, 8 parts of 16 bytes as in iq4_nl. */
static void iq4_xs(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 136) {
        const float d = moe_half(from);
        for (int part = 0; part < 8; part++, out += 32) {
            int low = from[4 + part / 2] >> part % 2 * 4 & 15;
            int high = from[2 + part / 4] >> part % 4 * 2 & 3;
            int8_t q[32];
            moe_nibbles(from + 8 + 16 * part, q);
            for (int i = 0; i < 32; i++)
                q[i] = moe_iq4_values[q[i]];
            moe_spread(q, 32, d * (float)((low | high << 4) - 32), 0, out);
        }
    }
}

MoeDecoder MOE_VARIANT(moe_decoder_k)(MoeDtype dtype)
{
    switch (dtype) {
    case MOE_Q2_K:
        return q2_k;
    case MOE_Q3_K:
        return q3_k;
    case MOE_Q4_K:
        return q4_k;
    case MOE_Q5_K:
        return q5_k;
    case MOE_Q6_K:
        return q6_k;
    case MOE_IQ4_XS:
        return iq4_xs;
    default:
        return NULL;
    }
}

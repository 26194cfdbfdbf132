#include "config.h"

#include "kernels/decode.h"
#include "kernels/decode_block.h"

/* All blocks have 256 elements: 8 parts of 32, or 16 of 16, each with a scale. */

/* 16 scales; 64 bytes of 2-bit codes, each 32 bytes holding 4 x 32 elements; d and minimum. */
static void q2_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 84) {
        const float d = moe_half(from + 80), least = moe_half(from + 82);
        for (int part = 0; part < 16; part++, out += 16) {
            MoeB16 q;
            moe_bits(from + 16 + part / 8 * 32 + part % 2 * 16, part % 8 / 2 * 2, 3, &q);
            moe_spread(&q, d * (float)(from[part] & 15), least * (float)(from[part] >> 4), out);
        }
    }
}

/* 32 bytes of third bits (set: do not take off 4), 64 of 2-bit codes, 12 of 6-bit scales, d. */
static void q3_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 110) {
        const uint8_t *packed = from + 96;
        const float d = moe_half(from + 108);
        for (int part = 0; part < 16; part++, out += 16) {
            int low = part < 8 ? packed[part] & 15 : packed[part - 8] >> 4;
            int high = packed[8 + part % 4] >> part / 4 * 2 & 3;
            MoeB16 q, third;
            moe_bits(from + 32 + part / 8 * 32 + part % 2 * 16, part % 8 / 2 * 2, 3, &q);
            moe_bits(from + part % 2 * 16, part / 2, 1, &third);
            q += third * 4 - 4;
            moe_spread(&q, d * (float)((low | high << 4) - 32), 0, out);
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

/* d, minimum, 12 bytes of scales, 128 bytes: 32 lower halves are one part, the upper the next. With
 * @fifth, 32 bytes of fifth bits, a bit for each part. */
MOE_INLINE void q45_k(const uint8_t *restrict from, const uint8_t *restrict fifth,
                      const uint8_t *restrict codes, float *restrict out)
{
    const float d = moe_half(from), least = moe_half(from + 2);
    for (int part = 0; part < 8; part++, out += 32) {
        float scale, minimum;
        scale_min(from + 4, part, &scale, &minimum);
        for (int i = 0; i < 32; i += 16) {
            MoeB16 q, bits;
            moe_bits(codes + part / 2 * 32 + i, part % 2 * 4, 15, &q);
            if (fifth != NULL) {
                moe_bits(fifth + i, part, 1, &bits);
                q += bits * 16;
            }
            moe_spread(&q, d * scale, least * minimum, out + i);
        }
    }
}

static void q4_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 144, out += 256)
        q45_k(from, NULL, from + 16, out);
}

static void q5_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 176, out += 256)
        q45_k(from, from + 16, from + 48, out);
}

/* 128 bytes of lower 4 bits, 64 of upper 2, 16 signed scales, d. Of a half of 128 elements, the
 * first 64 are the lower halves of its 64 bytes, the others the upper. */
static void q6_k(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 210) {
        const float d = moe_half(from + 208);
        for (int part = 0; part < 16; part++, out += 16) {
            MoeB16 q, high;
            moe_bits(from + part / 8 * 64 + part % 4 * 16, part % 8 / 4 * 4, 15, &q);
            moe_bits(from + 128 + part / 8 * 32 + part % 2 * 16, part % 8 / 2 * 2, 3, &high);
            q += high * 16 - 32;
            moe_spread(&q, d * (float)(int8_t)from[192 + part], 0, out);
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
            const float scale = d * (float)((low | high << 4) - 32);
            MoeB16 q[2];
            moe_nibbles(from + 8 + 16 * part, q);
            for (int i = 0; i < 2; i++) {
                moe_look_up(moe_iq4_values, &q[i]);
                moe_spread(&q[i], scale, 0, out + 16 * i);
            }
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

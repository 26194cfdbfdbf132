#include "config.h"

#include "kernels/decode.h"

#include "kernels/decode_block.h"

enum { BLOCK = 32 };

/* --- plain types ----------------------------------------------------------------------------- */

static void put_bits(uint32_t bits, float *out)
{
    memcpy(out, &bits, sizeof(bits));
}

static void f16(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = moe_half(from + 2 * i);
}

static void bf16(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof(half));
        put_bits((uint32_t)half << 16, &out[i]);
    }
}

static void f8_e4m3(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t i = 0; i < n; i++) {
        /* A subnormal gets the exponent of the smallest normal number, which is then taken off:
         * float subnormals would be slow on some machines. */
        const uint32_t code = from[i], tiny = (code & 0x78) == 0 ? ~0U : 0;
        const uint32_t bits = ((code & 0x7F) << 20) + (120U << 23) + (tiny & 1U << 23);
        float value, off;
        put_bits(bits, &value);
        put_bits(tiny & 121U << 23, &off);
        value -= off;
        uint32_t result;
        memcpy(&result, &value, sizeof(result));
        result |= (code & 0x7F) == 0x7F ? 0x7FC00000 : 0;
        put_bits(result | (code & 0x80) << 24, &out[i]);
    }
}

static void f8_e5m2(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t code = from[i], tiny = (code & 0x7C) == 0 ? ~0U : 0;
        const uint32_t bits = ((code & 0x7F) << 21) + (112U << 23) + (tiny & 1U << 23);
        float value, off;
        put_bits(bits, &value);
        put_bits(tiny & 113U << 23, &off);
        value -= off;
        uint32_t result;
        memcpy(&result, &value, sizeof(result));
        result |= (code & 0x7C) == 0x7C ? 0x7F800000 : 0;
        put_bits(result | (code & 0x80) << 24, &out[i]);
    }
}

/* 2^(code - 127), the smallest of them subnormal; 255 is NaN. */
static void f8_e8m0(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t code = from[i];
        put_bits(code == 0 ? 0x400000 : code == 255 ? 0x7FC00000 : code << 23, &out[i]);
    }
}

/* Twice the value of a 4-bit float without its sign: 0, 1, 2, 3, 4, 6, 8, 12. */
MOE_INLINE int8_t twice_e2m1(uint8_t code)
{
    const int8_t c = (int8_t)(code & 7);
    const int8_t size = (int8_t)(c + (c > 4 ? c - 4 : 0) + (c == 7 ? 2 : 0));
    return (int8_t)((code & 8) != 0 ? -size : size);
}

static void f4_pair(uint8_t code, float *out)
{
    out[0] = 0.5F * (float)twice_e2m1(code & 15);
    out[1] = 0.5F * (float)twice_e2m1(code >> 4);
    /* An integer has no negative zero. */
    out[0] = (code & 0x0F) == 0x08 ? -0.0F : out[0];
    out[1] = (code & 0xF0) == 0x80 ? -0.0F : out[1];
}

static void f4_e2m1(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t i = 0; i < n; i++)
        f4_pair(from[i], out + 2 * i);
}

/* --- blocks of 32 ---------------------------------------------------------------------------- */

static void q4_0(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 18, out += BLOCK) {
        int8_t q[BLOCK];
        moe_nibbles(from + 2, q);
        for (int i = 0; i < BLOCK; i++)
            q[i] = (int8_t)(q[i] - 8);
        moe_spread(q, BLOCK, moe_half(from), 0, out);
    }
}

static void q4_1(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 20, out += BLOCK) {
        int8_t q[BLOCK];
        moe_nibbles(from + 4, q);
        moe_spread(q, BLOCK, moe_half(from), -moe_half(from + 2), out);
    }
}

/* The fifth bits, element by element from the lowest of 32. */
MOE_INLINE void fifth_bits(const uint8_t *restrict from, int8_t *restrict q)
{
    for (int i = 0; i < BLOCK; i++)
        q[i] = (int8_t)(q[i] | (from[i / 8] >> i % 8 & 1) << 4);
}

static void q5_0(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 22, out += BLOCK) {
        int8_t q[BLOCK];
        moe_nibbles(from + 6, q);
        fifth_bits(from + 2, q);
        for (int i = 0; i < BLOCK; i++)
            q[i] = (int8_t)(q[i] - 16);
        moe_spread(q, BLOCK, moe_half(from), 0, out);
    }
}

static void q5_1(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 24, out += BLOCK) {
        int8_t q[BLOCK];
        moe_nibbles(from + 8, q);
        fifth_bits(from + 4, q);
        moe_spread(q, BLOCK, moe_half(from), -moe_half(from + 2), out);
    }
}

static void q8_0(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 34, out += BLOCK) {
        int8_t q[BLOCK];
        memcpy(q, from + 2, BLOCK);
        moe_spread(q, BLOCK, moe_half(from), 0, out);
    }
}

static void iq4_nl(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 18, out += BLOCK) {
        int8_t q[BLOCK];
        moe_nibbles(from + 2, q);
        for (int i = 0; i < BLOCK; i++)
            q[i] = moe_iq4_values[q[i]];
        moe_spread(q, BLOCK, moe_half(from), 0, out);
    }
}

static void mxfp4(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 17, out += BLOCK) {
        int8_t q[BLOCK];
        float scale;
        moe_nibbles(from + 1, q);
        for (int i = 0; i < BLOCK; i++)
            q[i] = twice_e2m1((uint8_t)q[i]);
        f8_e8m0(from, 1, &scale);
        moe_spread(q, BLOCK, 0.5F * scale, 0, out);
    }
}

MoeDecoder MOE_VARIANT(moe_decoder)(MoeDtype dtype)
{
    static const MoeDecoder decoders[MOE_DTYPE_COUNT] = {
        [MOE_F16] = f16,         [MOE_BF16] = bf16,       [MOE_F8_E4M3] = f8_e4m3,
        [MOE_F8_E5M2] = f8_e5m2, [MOE_F8_E8M0] = f8_e8m0, [MOE_F4_E2M1] = f4_e2m1,
        [MOE_Q4_0] = q4_0,       [MOE_Q4_1] = q4_1,       [MOE_Q5_0] = q5_0,
        [MOE_Q5_1] = q5_1,       [MOE_Q8_0] = q8_0,       [MOE_IQ4_NL] = iq4_nl,
        [MOE_MXFP4] = mxfp4,
    };
    return decoders[dtype] != NULL ? decoders[dtype] : MOE_VARIANT(moe_decoder_k)(dtype);
}

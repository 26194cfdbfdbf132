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

/* Twice the value of a 4-bit float: 2 * 0.5 is 1. */
static const int8_t twice_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 16 bytes, the lower half of each first. */
MOE_INLINE void f4_pairs(const uint8_t *restrict from, float *restrict out)
{
    MoeB16 q[2];
    moe_nibbles(from, q);
    const MoeB16 first =
        __builtin_shufflevector(q[0], q[1], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const MoeB16 second = __builtin_shufflevector(q[0], q[1], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                                  13, 29, 14, 30, 15, 31);
    q[0] = first;
    q[1] = second;
    for (int i = 0; i < 2; i++) {
        moe_look_up(twice_e2m1, &q[i]);
        moe_spread(&q[i], 0.5F, 0, out + 16 * i);
    }
}

static void f4_e2m1(const uint8_t *restrict from, size_t n, float *restrict out)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        f4_pairs(from + i, out + 2 * i);
    if (i < n) {
        uint8_t rest[16] = {0};
        float wide[BLOCK];
        memcpy(rest, from + i, n - i);
        f4_pairs(rest, wide);
        memcpy(out + 2 * i, wide, 2 * (n - i) * sizeof(float));
    }
}

/* --- blocks of 32 ---------------------------------------------------------------------------- */

MOE_INLINE void spread_both(const MoeB16 q[2], float d, float m, float *restrict out)
{
    moe_spread(&q[0], d, m, out);
    moe_spread(&q[1], d, m, out + 16);
}

/* The fifth bits of 32 codes, the first the lowest, from 4 bytes. */
MOE_INLINE void fifth_bits(const uint8_t *from, MoeB16 q[2])
{
    typedef uint64_t Pair __attribute__((vector_size(16)));
    const MoeB16 mask = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    for (int i = 0; i < 2; i++) {
        const Pair each = {from[2 * i], from[2 * i + 1]};
        const MoeB16 bytes = (MoeB16)(each * 0x0101010101010101U); /* eight times */
        q[i] |= (MoeB16)((bytes & mask) == mask) & 16;
    }
}

static void q4_0(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 18, out += BLOCK) {
        MoeB16 q[2];
        moe_nibbles(from + 2, q);
        q[0] -= 8;
        q[1] -= 8;
        spread_both(q, moe_half(from), 0, out);
    }
}

static void q4_1(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 20, out += BLOCK) {
        MoeB16 q[2];
        moe_nibbles(from + 4, q);
        spread_both(q, moe_half(from), -moe_half(from + 2), out);
    }
}

static void q5_0(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 22, out += BLOCK) {
        MoeB16 q[2];
        moe_nibbles(from + 6, q);
        fifth_bits(from + 2, q);
        q[0] -= 16;
        q[1] -= 16;
        spread_both(q, moe_half(from), 0, out);
    }
}

static void q5_1(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 24, out += BLOCK) {
        MoeB16 q[2];
        moe_nibbles(from + 8, q);
        fifth_bits(from + 4, q);
        spread_both(q, moe_half(from), -moe_half(from + 2), out);
    }
}

static void q8_0(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 34, out += BLOCK) {
        MoeB16 q[2];
        memcpy(q, from + 2, BLOCK);
        spread_both(q, moe_half(from), 0, out);
    }
}

static void iq4_nl(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 18, out += BLOCK) {
        MoeB16 q[2];
        moe_nibbles(from + 2, q);
        moe_look_up(moe_iq4_values, &q[0]);
        moe_look_up(moe_iq4_values, &q[1]);
        spread_both(q, moe_half(from), 0, out);
    }
}

static void mxfp4(const uint8_t *restrict from, size_t n, float *restrict out)
{
    for (size_t b = 0; b < n; b++, from += 17, out += BLOCK) {
        MoeB16 q[2];
        float scale;
        f8_e8m0(from, 1, &scale);
        moe_nibbles(from + 1, q);
        moe_look_up(twice_e2m1, &q[0]);
        moe_look_up(twice_e2m1, &q[1]);
        spread_both(q, 0.5F * scale, 0, out);
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

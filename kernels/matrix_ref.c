/* The oracle of the decoders: one element after the other, from the definition of each type. */
#include "config.h"

#include "kernels/matrix.h"

#include <math.h>
#include <string.h>

/* The value of a small float: sign, @exponent_bits, @mantissa_bits, without infinities and NaN. */
static double small_float(unsigned bits, int exponent_bits, int mantissa_bits)
{
    int mantissa = (int)(bits & ((1U << mantissa_bits) - 1));
    int exponent = (int)(bits >> mantissa_bits & ((1U << exponent_bits) - 1));
    int bias = (1 << (exponent_bits - 1)) - 1;
    double sign = (bits >> (exponent_bits + mantissa_bits) & 1) != 0 ? -1 : 1;
    if (exponent == 0)
        return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

/* The same where all exponent bits set mean an infinity or a NaN. */
static double ieee_float(unsigned bits, int exponent_bits, int mantissa_bits)
{
    unsigned largest = ((1U << exponent_bits) - 1) << mantissa_bits;
    unsigned size = bits & ((1U << (exponent_bits + mantissa_bits)) - 1);
    if (size > largest)
        return NAN;
    if (size == largest)
        return bits == size ? INFINITY : -INFINITY;
    return small_float(bits, exponent_bits, mantissa_bits);
}

static unsigned two_bytes(const uint8_t *from)
{
    return from[0] | (unsigned)from[1] << 8;
}

static double half(const uint8_t *from)
{
    return ieee_float(two_bytes(from), 5, 10);
}

static double power(uint8_t code)
{
    return code == 255 ? NAN : ldexp(1, code - 127);
}

/* Number @i of those of @width (1, 2, 4) bits that @from holds, the lowest bits first. */
static int bit_field(const uint8_t *from, int i, int width)
{
    int at = i * width;
    return from[at / 8] >> at % 8 & ((1 << width) - 1);
}

/* Code @i of 32 of 4 bits where byte b holds b and b + 16. */
static int nibble(const uint8_t *from, int i)
{
    return bit_field(from, i % 16 * 2 + i / 16, 4);
}

static int iq4(int code)
{
    static const int values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
    return values[code];
}

static double element_32(MoeDtype dtype, const uint8_t *b, int i)
{
    switch (dtype) {
    case MOE_Q4_0:
        return half(b) * (nibble(b + 2, i) - 8);
    case MOE_Q4_1:
        return half(b) * nibble(b + 4, i) + half(b + 2);
    case MOE_Q5_0:
        return half(b) * (nibble(b + 6, i) + 16 * bit_field(b + 2, i, 1) - 16);
    case MOE_Q5_1:
        return half(b) * (nibble(b + 8, i) + 16 * bit_field(b + 4, i, 1)) + half(b + 2);
    case MOE_Q8_0:
        return half(b) * (int8_t)b[2 + i];
    case MOE_IQ4_NL:
        return half(b) * iq4(nibble(b + 2, i));
    default: /* MOE_MXFP4: integers times half of the scale, so that zero has no sign */
        return power(b[0]) * small_float((unsigned)nibble(b + 1, i), 2, 1) + 0.0;
    }
}

/* Scale (@which 0) or minimum (1) of part @i of 8 of q4_k and q5_k. */
static int six_bits(const uint8_t *packed, int i, int which)
{
    if (i < 4)
        return packed[i + 4 * which] & 63;
    return bit_field(packed + 4 + i, which, 4) + 16 * (packed[i - 4 + 4 * which] >> 6);
}

static double element_q3(const uint8_t *b, int i)
{
    const uint8_t *packed = b + 96;
    int part = i / 16;
    int scale = bit_field(packed + part % 8, part / 8, 4) +
                16 * bit_field(packed + 8 + part % 4, part / 4, 2);
    int code = bit_field(b + 32 + i / 128 * 32 + i % 32, i % 128 / 32, 2);
    int third = bit_field(b + i % 32, i / 32, 1);
    return half(b + 108) * (scale - 32) * (code + 4 * third - 4);
}

static double element_q6(const uint8_t *b, int i)
{
    int in = i % 128;
    int low = bit_field(b + i / 128 * 64 + in % 64, in / 64, 4);
    int high = bit_field(b + 128 + i / 128 * 32 + in % 32, in / 32, 2);
    return half(b + 208) * (int8_t)b[192 + i / 16] * (low + 16 * high - 32);
}

static double element_256(MoeDtype dtype, const uint8_t *b, int i)
{
    int part = i / 32, code;
    switch (dtype) {
    case MOE_Q2_K:
        code = bit_field(b + 16 + i / 128 * 32 + i % 32, i % 128 / 32, 2);
        return half(b + 80) * (b[i / 16] & 15) * code - half(b + 82) * (b[i / 16] >> 4);
    case MOE_Q3_K:
        return element_q3(b, i);
    case MOE_Q4_K:
        code = bit_field(b + 16 + i / 64 * 32 + i % 32, part % 2, 4);
        return half(b) * six_bits(b + 4, part, 0) * code - half(b + 2) * six_bits(b + 4, part, 1);
    case MOE_Q5_K:
        code = bit_field(b + 48 + i / 64 * 32 + i % 32, part % 2, 4) +
               16 * bit_field(b + 16 + i % 32, part, 1);
        return half(b) * six_bits(b + 4, part, 0) * code - half(b + 2) * six_bits(b + 4, part, 1);
    case MOE_Q6_K:
        return element_q6(b, i);
    default: /* MOE_IQ4_XS */
        code = bit_field(b + 4, part, 4) + 16 * bit_field(b + 2, part, 2) - 32;
        return half(b) * code * iq4(nibble(b + 8 + 16 * part, i % 32));
    }
}

static double element(MoeDtype dtype, const uint8_t *from, size_t i)
{
    const size_t block = moe_dtype_block(dtype);
    const uint8_t *b = from + i / block * moe_dtype_bytes(dtype);
    float wide;
    switch (dtype) {
    case MOE_F32:
        memcpy(&wide, b, sizeof(wide));
        return wide;
    case MOE_F16:
        return half(b);
    case MOE_BF16:
        return ieee_float(two_bytes(b), 8, 7);
    case MOE_F8_E4M3:
        return (*b & 0x7F) == 0x7F ? NAN : small_float(*b, 4, 3);
    case MOE_F8_E5M2:
        return ieee_float(*b, 5, 2);
    case MOE_F8_E8M0:
        return power(*b);
    case MOE_F4_E2M1:
        return small_float((unsigned)bit_field(b, (int)(i % 2), 4), 2, 1) + 0.0; /* no -0 */
    default:
        return block == 32 ? element_32(dtype, b, (int)(i % block))
                           : element_256(dtype, b, (int)(i % block));
    }
}

void moe_widen_ref(MoeDtype dtype, const void *from, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)element(dtype, from, i);
}

static float round_bf16(float x)
{
    if (!isnormal(x))
        return isnan(x) || isinf(x) ? x : copysignf(0, x);
    int exponent;
    const double part = frexp((double)x, &exponent); /* 8 bits of it are kept */
    return (float)ldexp(nearbyint(ldexp(part, 8)), exponent - 8);
}

void moe_round_ref(MoePrecision precision, size_t count, const float *from, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = precision == MOE_PRECISION_BF16 ? round_bf16(from[i]) : from[i];
}

void moe_matrix_ref(const MoeMatrix *m, float *out)
{
    const MoeScales *s = &m->scales;
    size_t stride = m->stride;
    if (stride == 0)
        stride = moe_dtype_row_bytes(m->dtype, m->transposed ? m->rows : m->cols);
    for (size_t r = 0; r < m->rows; r++) {
        for (size_t c = 0; c < m->cols; c++) {
            size_t row = m->first_row + r * (m->row_step > 0 ? m->row_step : 1);
            size_t col = m->first_col + c;
            size_t i = m->transposed ? col : row, j = m->transposed ? row : col;
            double value = element(m->dtype, (const uint8_t *)m->data + i * stride, j);
            if (s->data != NULL)
                value *= element(s->dtype, s->data, i / s->rows * s->stride + j / s->cols);
            out[r * m->cols + c] = (float)value;
        }
    }
}

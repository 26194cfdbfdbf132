#include "config.h"

#include "kernels/loops.h"

#include "kernels/simd.h"

#include <math.h>
#include <string.h>

float MOE_VARIANT(moe_dot)(const float *a, const float *b, size_t n)
{
    MoeV8 x, y, sums[4] = {0};
    size_t i = 0;
    for (; i + 4 * MOE_LANES <= n; i += 4 * MOE_LANES) {
        for (size_t k = 0; k < 4; k++) {
            moe_v8_load(a + i + k * MOE_LANES, &x);
            moe_v8_load(b + i + k * MOE_LANES, &y);
            sums[k] += x * y;
        }
    }
    sums[0] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    float sum = moe_v8_sum(&sums[0]);
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

void MOE_VARIANT(moe_round_bf16)(size_t count, const float *from, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, from + i, sizeof(bits));
        const uint32_t exponent = bits & 0x7F800000, half = 0x7FFF + (bits >> 16 & 1);
        uint32_t rounded = bits + (exponent < 0x7F800000 ? half : 0);
        rounded |= (bits & 0x7FFFFFFF) > 0x7F800000 ? 0x400000 : 0; /* a NaN stays one */
        rounded &= exponent > 0 ? 0xFFFF0000 : 0x80000000;
        memcpy(out + i, &rounded, sizeof(rounded));
    }
}

void MOE_VARIANT(moe_silu_times)(size_t rows, size_t n, const float *a, const float *b, float *out,
                                 size_t stride)
{
    for (size_t r = 0; r < rows; r++, a += n, b += n, out += stride) {
        size_t i = 0;
        for (; i + MOE_LANES <= n; i += MOE_LANES) {
            MoeV8 x, y, e;
            moe_v8_load(a + i, &x);
            moe_v8_load(b + i, &y);
            e = -x;
            moe_v8_exp(&e, &e);
            x = x / (1 + e) * y;
            moe_v8_store(out + i, &x);
        }
        for (; i < n; i++) {
            MoeV8 e;
            moe_v8_set(-a[i], &e);
            moe_v8_exp(&e, &e);
            out[i] = a[i] / (1 + e[0]) * b[i];
        }
    }
}

/* @n floats, a multiple of 2 * MOE_LANES or one of MOE_LANES more. */
MOE_INLINE float max_of(const float *row, size_t n)
{
    MoeV8 v, top[2];
    moe_v8_load(row, &top[0]);
    top[1] = top[0];
    size_t i = MOE_LANES;
    for (; i + MOE_LANES < n; i += 2 * MOE_LANES) {
        moe_v8_load(row + i, &v);
        moe_v8_greater(&v, &top[0], &top[0]);
        moe_v8_load(row + i + MOE_LANES, &v);
        moe_v8_greater(&v, &top[1], &top[1]);
    }
    if (i < n) {
        moe_v8_load(row + i, &v);
        moe_v8_greater(&v, &top[0], &top[0]);
    }
    moe_v8_greater(&top[1], &top[0], &top[0]);
    return moe_v8_max(&top[0]);
}

void MOE_VARIANT(moe_soften)(float *row, size_t from, size_t to, size_t n, float *max, float *sum,
                             float *out, size_t width)
{
    size_t first = from / MOE_LANES * MOE_LANES;
    size_t last = (to + MOE_LANES - 1) / MOE_LANES * MOE_LANES;
    size_t end = (n + MOE_LANES - 1) / MOE_LANES * MOE_LANES;
    if (from >= to) { /* nothing to see here */
        memset(row, 0, end * sizeof(*row));
        return;
    }
    for (size_t i = first; i < from; i++)
        row[i] = -INFINITY;
    for (size_t i = to; i < last; i++)
        row[i] = -INFINITY;
    MoeV8 v, top, total;
    const float here = max_of(row + first, last - first), most = here > *max ? here : *max;
    moe_v8_set(*max - most, &v); /* -inf in the first block: factor 0 */
    moe_v8_exp2(&v, &v);
    const float factor = v[0];
    moe_v8_set(most, &top);
    moe_v8_set(0, &total);
    for (size_t i = first; i < last; i += MOE_LANES) {
        moe_v8_load(row + i, &v);
        v -= top;
        moe_v8_exp2(&v, &v);
        moe_v8_store(row + i, &v);
        total += v;
    }
    memset(row, 0, first * sizeof(*row));
    memset(row + last, 0, (end - last) * sizeof(*row));
    *sum = *sum * factor + moe_v8_sum(&total);
    *max = most;
    for (size_t i = 0; i < width && factor != 1; i++)
        out[i] *= factor;
}

void MOE_VARIANT(moe_copy_past)(const float *from, size_t n, float *to)
{
#if defined(__AVX2__)
    if ((uintptr_t)to % sizeof(MoeV8) == 0 && n % MOE_LANES == 0) {
        for (size_t i = 0; i < n; i += MOE_LANES)
            _mm256_stream_ps(to + i, _mm256_loadu_ps(from + i));
        _mm_sfence();
        return;
    }
#endif
    memcpy(to, from, n * sizeof(*to));
}

#include "config.h"

#include "kernels/loops.h"

#include "kernels/simd.h"

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

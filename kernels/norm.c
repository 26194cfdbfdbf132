#include "config.h"

#include "kernels/norm.h"

#include "kernels/simd.h"

#include <math.h>

enum { ROWS = 64 };

/* The sum of the squares of @x, in the order of PyTorch's sums over a row: what its last bit is
 * multiplies a whole row, and unscaled attention behind it is sensitive. */
MOE_INLINE float sum_squares(size_t H, const float *x)
{
    enum { WAYS = 4 };
    MoeV8 sums[WAYS], v;
    size_t whole = H / MOE_LANES, h = 0;
    for (size_t i = 0; i < WAYS; i++)
        moe_v8_set(0, &sums[i]);
    for (; h < whole; h++) {
        moe_v8_load(x + h * MOE_LANES, &v);
        sums[h < whole / WAYS * WAYS ? h % WAYS : 0] += v * v;
    }
    for (size_t i = 1; i < WAYS; i++)
        sums[0] += sums[i];
    float total = 0;
    for (h *= MOE_LANES; h < H; h++)
        total += x[h] * x[h];
    for (size_t i = 0; i < MOE_LANES; i++)
        total += sums[0][i];
    return total;
}

MOE_CLONES static void norm_rows(size_t T, size_t H, const float *x, const float *weight, float eps,
                                 float *out)
{
    for (size_t t = 0; t < T; t++, x += H, out += H) {
        float scale = 1 / sqrtf(sum_squares(H, x) / (float)H + eps);
        for (size_t h = 0; h < H; h++)
            out[h] = x[h] * scale * (weight != NULL ? weight[h] : 1);
    }
}

void moe_rmsnorm(size_t T, size_t H, const float *x, const float *weight, float eps, float *out)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t += ROWS)
        norm_rows(T - t < ROWS ? T - t : ROWS, H, x + t * H, weight, eps, out + t * H);
}

MOE_CLONES static void layernorm_row(size_t H, const float *x, const float *weight,
                                     const float *bias, float eps, float *out)
{
    double sum = 0, squares = 0;
    for (size_t h = 0; h < H; h++)
        sum += (double)x[h];
    float mean = (float)(sum / (double)H);
    for (size_t h = 0; h < H; h++) {
        float d = x[h] - mean;
        squares += (double)(d * d);
    }
    float scale = 1 / sqrtf((float)(squares / (double)H) + eps);
    for (size_t h = 0; h < H; h++)
        out[h] = (x[h] - mean) * scale * weight[h] + (bias != NULL ? bias[h] : 0);
}

void moe_layernorm(size_t T, size_t H, const float *x, const float *weight, const float *bias,
                   float eps, float *out)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t++)
        layernorm_row(H, x + t * H, weight, bias, eps, out + t * H);
}

void moe_clip(size_t n, float limit, float *x)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
}

void moe_add_bias(size_t T, size_t N, const float *restrict bias, float *restrict x)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < N; i++)
            x[t * N + i] += bias[i];
}

void moe_scale(size_t n, float scale, float *x)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

void moe_add_scaled(size_t n, float scale, const float *restrict y, float *restrict x)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        x[i] += scale * y[i];
}

void moe_add_gated(size_t T, size_t H, const float *restrict logits, const float *restrict x,
                   float *restrict y)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t++) {
        float gate = (float)(1 / (1 + exp(-(double)logits[t])));
        for (size_t i = 0; i < H; i++)
            y[t * H + i] += gate * x[t * H + i];
    }
}

void moe_rmsnorm_ref(size_t T, size_t H, const float *x, const float *weight, float eps, float *out)
{
    for (size_t t = 0; t < T; t++) {
        double sum = 0;
        for (size_t h = 0; h < H; h++)
            sum += (double)x[t * H + h] * x[t * H + h];
        double scale = 1 / sqrt(sum / (double)H + eps);
        for (size_t h = 0; h < H; h++)
            out[t * H + h] = (float)(x[t * H + h] * scale * (weight != NULL ? weight[h] : 1));
    }
}

void moe_layernorm_ref(size_t T, size_t H, const float *x, const float *weight, const float *bias,
                       float eps, float *out)
{
    for (size_t t = 0; t < T; t++) {
        double mean = 0, variance = 0;
        for (size_t h = 0; h < H; h++)
            mean += (double)x[t * H + h] / (double)H;
        for (size_t h = 0; h < H; h++)
            variance += pow((double)x[t * H + h] - mean, 2) / (double)H;
        for (size_t h = 0; h < H; h++)
            out[t * H + h] = (float)(((double)x[t * H + h] - mean) / sqrt(variance + (double)eps) *
                                         (double)weight[h] +
                                     (bias != NULL ? (double)bias[h] : 0));
    }
}

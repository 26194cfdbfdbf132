#include "config.h"

#include "kernels/rope.h"

#include "kernels/simd.h"

#include <complex.h>
#include <math.h>

void moe_rope_table(size_t M, size_t R, double theta, float *cos_out, float *sin_out)
{
    size_t half = R / 2;
#pragma omp parallel for schedule(static)
    for (size_t m = 0; m < M; m++) {
        for (size_t i = 0; i < half; i++) {
            float frequency = (float)(1 / pow(theta, 2 * (double)i / (double)R));
            float angle = (float)m * frequency;
            cos_out[m * half + i] = (float)cos((double)angle);
            sin_out[m * half + i] = (float)sin((double)angle);
        }
    }
}

MOE_CLONES static void rotate_token(size_t heads, size_t D, size_t R, const float *restrict cos,
                                    const float *restrict sin, float *restrict x)
{
    size_t half = R / 2;
    for (size_t head = 0; head < heads; head++, x += D) {
        for (size_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cos[i] - b * sin[i];
            x[i + half] = b * cos[i] + a * sin[i];
        }
    }
}

void moe_rope_half(size_t T, size_t heads, size_t D, size_t R, const uint32_t *positions,
                   const float *restrict cos, const float *restrict sin, float *restrict x)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t++)
        rotate_token(heads, D, R, cos + positions[t] * (R / 2), sin + positions[t] * (R / 2),
                     x + t * heads * D);
}

void moe_rope_half_ref(size_t T, size_t heads, size_t D, size_t R, const uint32_t *positions,
                       double theta, float *x)
{
    for (size_t t = 0; t < T; t++) {
        for (size_t head = 0; head < heads; head++) {
            float *v = x + (t * heads + head) * D;
            for (size_t i = 0; i < R / 2; i++) {
                float frequency = (float)(1 / pow(theta, 2 * (double)i / (double)R));
                float angle = (float)positions[t] * frequency;
                double complex z = (v[i] + I * v[i + R / 2]) * cexp(I * angle);
                v[i] = (float)creal(z);
                v[i + R / 2] = (float)cimag(z);
            }
        }
    }
}

#include "config.h"

#include "kernels/rope.h"

#include "kernels/simd.h"

#include <complex.h>
#include <math.h>

static double clamp01(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* The i whose frequency turns @rotations times within the original context. */
static double element_of(double rotations, size_t R, const MoeRopeScaling *s)
{
    return (double)R * log(s->original / (rotations * 2 * M_PI)) / (2 * log(s->theta));
}

/* The part of element i's frequency that is not stretched. */
static double kept(size_t i, double frequency, size_t R, const MoeRopeScaling *s)
{
    if (s->kind == MOE_ROPE_LLAMA3)
        return clamp01((s->original * frequency / (2 * M_PI) - s->low) / (s->high - s->low));
    double first = element_of(s->beta_fast, R, s), last = element_of(s->beta_slow, R, s);
    if (s->truncate) {
        first = floor(first);
        last = ceil(last);
    }
    first = fmax(first, 0);
    last = fmin(last, (double)R - 1);
    if (last <= first) /* transformers' way out of a division by zero */
        last = first + 0.001;
    return 1 - clamp01(((double)i - first) / (last - first));
}

void moe_rope_frequencies(size_t R, const MoeRopeScaling *s, float *frequencies)
{
    for (size_t i = 0; i < R / 2; i++) {
        double f = 1 / pow(s->theta, 2 * (double)i / (double)R);
        if (s->kind == MOE_ROPE_LINEAR) {
            f /= s->factor;
        } else if (s->kind == MOE_ROPE_LONG) {
            f /= s->divisors[i];
        } else if (s->kind != MOE_ROPE_DEFAULT) {
            double keep = kept(i, f, R, s);
            f = f / s->factor * (1 - keep) + f * keep;
        }
        frequencies[i] = (float)f;
    }
}

void moe_rope_table(size_t M, size_t R, const float *frequencies, float scale, float *cos_out,
                    float *sin_out)
{
    size_t half = R / 2;
#pragma omp parallel for schedule(static)
    for (size_t m = 0; m < M; m++) {
        for (size_t i = 0; i < half; i++) {
            float angle = (float)m * frequencies[i];
            cos_out[m * half + i] = (float)cos((double)angle) * scale;
            sin_out[m * half + i] = (float)sin((double)angle) * scale;
        }
    }
}

MOE_CLONES static void rotate_halves(size_t heads, size_t D, size_t R, const float *restrict cos,
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

MOE_CLONES static void rotate_neighbours(size_t heads, size_t D, size_t R,
                                         const float *restrict cos, const float *restrict sin,
                                         float *restrict x)
{
    for (size_t head = 0; head < heads; head++, x += D) {
        for (size_t i = 0; i < R / 2; i++) {
            float a = x[2 * i], b = x[2 * i + 1];
            x[2 * i] = a * cos[i] - b * sin[i];
            x[2 * i + 1] = b * cos[i] + a * sin[i];
        }
    }
}

void moe_rope(size_t T, size_t heads, size_t D, size_t R, MoeRopePairs pairs,
              const uint32_t *positions, const float *restrict cos, const float *restrict sin,
              float *restrict x)
{
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < T; t++) {
        const float *c = cos + positions[t] * (R / 2), *s = sin + positions[t] * (R / 2);
        if (pairs == MOE_ROPE_HALVES)
            rotate_halves(heads, D, R, c, s, x + t * heads * D);
        else
            rotate_neighbours(heads, D, R, c, s, x + t * heads * D);
    }
}

void moe_rope_ref(size_t T, size_t heads, size_t D, size_t R, MoeRopePairs pairs,
                  const uint32_t *positions, const float *frequencies, float *x)
{
    for (size_t t = 0; t < T; t++) {
        for (size_t head = 0; head < heads; head++) {
            for (size_t i = 0; i < R / 2; i++) {
                float *a = x + (t * heads + head) * D + (pairs == MOE_ROPE_HALVES ? i : 2 * i);
                float *b = a + (pairs == MOE_ROPE_HALVES ? R / 2 : 1);
                float angle = (float)positions[t] * frequencies[i];
                double complex z = (*a + I * *b) * cexp(I * angle);
                *a = (float)creal(z);
                *b = (float)cimag(z);
            }
        }
    }
}

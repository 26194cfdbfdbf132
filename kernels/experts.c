#include "config.h"

#include "kernels/experts.h"

#include "kernels/linear.h"
#include "kernels/loops.h"
#include "kernels/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 512, ROUND_ROWS = 16 };

/* Rows [first, first + n) of expert @e. */
typedef struct {
    size_t e, first, n;
} Rows;

/* gpt-oss's activation, as moe_silu_times(). */
static void clamped_times(size_t rows, size_t n, float limit, const float *a, const float *b,
                          float *out, size_t stride)
{
    for (size_t r = 0; r < rows; r++, a += n, b += n, out += stride) {
        for (size_t i = 0; i < n; i++) {
            float x = a[i] > limit ? limit : a[i];
            float y = b[i] > limit ? limit : b[i] < -limit ? -limit : b[i];
            out[i] = x / (1 + expf(-1.702F * x)) * (y + 1);
        }
    }
}

static float activate(MoeActivation act, float x)
{
    switch (act) {
    case MOE_ACT_RELU:
        return x > 0 ? x : 0;
    case MOE_ACT_GELU:
        return x * 0.5F * (1 + erff(x * 0.70710678F));
    case MOE_ACT_GELU_TANH:
        return x * 0.5F * (1 + tanhf(0.79788456F * (x + 0.044715F * x * x * x)));
    default:
        return x / (1 + expf(-x));
    }
}

/* @b NULL: no factor. */
static void activate_times(MoeActivation act, size_t rows, size_t n, const float *a, const float *b,
                           float *out, size_t stride)
{
    for (size_t r = 0; r < rows; r++, out += stride)
        for (size_t i = 0; i < n; i++)
            out[i] = activate(act, a[r * n + i]) * (b != NULL ? b[r * n + i] : 1);
}

static void add_bias(size_t rows, size_t n, const float *bias, float *y, size_t stride)
{
    for (size_t r = 0; bias != NULL && r < rows; r++, y += stride)
        for (size_t i = 0; i < n; i++)
            y[i] += bias[i];
}

static const float *from(const float *bias, size_t i)
{
    return bias != NULL ? bias + i : NULL;
}

/* Columns [f, f + n) of the hidden layer of one expert's rows. */
static void up_tile(const MoeExpert *expert, size_t f, size_t n, size_t F, size_t rows,
                    const float *x, float *hidden, float *scratch, float *pair)
{
    float *a = pair, *b = pair + rows * n;
    moe_product(rows, x, &expert->gate, f, n, false, a, n, scratch);
    add_bias(rows, n, from(expert->gate_bias, f), a, n);
    if (expert->up.data == NULL) {
        activate_times(expert->act, rows, n, a, NULL, hidden + f, F);
        return;
    }
    moe_product(rows, x, &expert->up, f, n, false, b, n, scratch);
    add_bias(rows, n, from(expert->up_bias, f), b, n);
    if (expert->limit > 0)
        clamped_times(rows, n, expert->limit, a, b, hidden + f, F);
    else if (expert->act != MOE_ACT_SILU)
        activate_times(expert->act, rows, n, a, b, hidden + f, F);
    else
        MOE_BEST(moe_silu_times)(rows, n, a, b, hidden + f, F);
}

/* Each expert's rows in equal parts of at most MOST_ROWS. */
static Rows *cut_rows(size_t E, const uint32_t *offsets, size_t *n_out)
{
    size_t n = 0;
    for (size_t e = 0; e < E; e++)
        n += (offsets[e + 1] - offsets[e] + MOST_ROWS - 1) / MOST_ROWS;
    Rows *parts = moe_scratch(n * sizeof(*parts));
    n = 0;
    for (size_t e = 0; e < E; e++) {
        size_t rows = offsets[e + 1] - offsets[e], n_parts = (rows + MOST_ROWS - 1) / MOST_ROWS;
        size_t step = n_parts > 0 ? (rows + n_parts - 1) / n_parts : 0;
        step = (step + ROUND_ROWS - 1) / ROUND_ROWS * ROUND_ROWS;
        for (size_t r = 0; r < rows; r += step)
            parts[n++] = (Rows){e, offsets[e] + r, rows - r < step ? rows - r : step};
    }
    *n_out = n;
    return parts;
}

void moe_experts_swiglu(size_t E, size_t H, size_t F, const MoeExpert *experts,
                        const uint32_t *restrict offsets, const float *restrict rows,
                        float *restrict hidden, float *restrict rows_out)
{
    size_t n;
    Rows *parts = cut_rows(E, offsets, &n);
    size_t up_width = moe_tile_rows(H, F, n), down_width = moe_tile_rows(F, H, n);
    size_t n_up = (F + up_width - 1) / up_width, n_down = (H + down_width - 1) / down_width;
    const MoePrecision precision = E > 0 ? experts[0].gate.precision : MOE_PRECISION_F32;
    size_t up_floats = moe_product_floats(precision, MOST_ROWS, up_width, H);
    size_t down_floats = moe_product_floats(precision, MOST_ROWS, down_width, F);
    moe_blas_single();
#pragma omp parallel
    {
        float *scratch =
            moe_scratch((up_floats > down_floats ? up_floats : down_floats) * sizeof(float));
        float *pair = moe_scratch(2 * MOST_ROWS * up_width * sizeof(float));
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n * n_up; i++) {
            const Rows *part = &parts[i / n_up];
            size_t f = i % n_up * up_width;
            up_tile(&experts[part->e], f, F - f < up_width ? F - f : up_width, F, part->n,
                    rows + part->first * H, hidden + part->first * F, scratch, pair);
        }
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n * n_down; i++) {
            const Rows *part = &parts[i / n_down];
            const MoeExpert *expert = &experts[part->e];
            size_t h = i % n_down * down_width, width = H - h < down_width ? H - h : down_width;
            float *out = rows_out + part->first * H + h;
            moe_product(part->n, hidden + part->first * F, &expert->down, h, width, false, out, H,
                        scratch);
            add_bias(part->n, width, from(expert->down_bias, h), out, H);
        }
        free(scratch);
        free(pair);
    }
    free(parts);
}

static double act_ref(const MoeExpert *expert, double a, double b)
{
    double limit = (double)expert->limit, factor = expert->up.data != NULL ? b : 1;
    if (expert->limit > 0) {
        double x = fmin(a, limit);
        return x / (1 + exp(-(double)1.702F * x)) * (fmax(fmin(b, limit), -limit) + 1);
    }
    switch (expert->act) {
    case MOE_ACT_RELU:
        return fmax(a, 0) * factor;
    case MOE_ACT_GELU:
        return a / 2 * (1 + erf(a / sqrt(2))) * factor;
    case MOE_ACT_GELU_TANH:
        return a / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (a + 0.044715 * a * a * a))) * factor;
    default:
        return a / (1 + exp(-a)) * factor;
    }
}

static double at_ref(const float *bias, size_t i)
{
    return bias != NULL ? (double)bias[i] : 0;
}

/* The matrix as products take it. */
static float *operand_ref(const MoeMatrix *m)
{
    float *wide = moe_scratch(m->rows * m->cols * sizeof(float));
    moe_matrix_ref(m, wide);
    moe_round_ref(m->precision, m->rows * m->cols, wide, wide);
    return wide;
}

static double sum_ref(size_t n, const float *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void vectors_ref(MoePrecision precision, size_t n, double *x)
{
    for (size_t i = 0; precision == MOE_PRECISION_BF16 && i < n; i++) {
        float value = (float)x[i];
        moe_round_ref(precision, 1, &value, &value);
        x[i] = value;
    }
}

/* [F, H] gate and up, [H, F] down; @row [H] and @hidden [F] are scratch. */
static void expert_ref(const MoeExpert *expert, size_t H, size_t F, size_t rows, const float *x,
                       float *out, double *row, double *hidden)
{
    float *gate = operand_ref(&expert->gate), *down = operand_ref(&expert->down);
    float *up = expert->up.data != NULL ? operand_ref(&expert->up) : NULL;
    for (size_t p = 0; p < rows; p++, x += H, out += H) {
        for (size_t h = 0; h < H; h++)
            row[h] = x[h];
        vectors_ref(expert->gate.precision, H, row);
        for (size_t f = 0; f < F; f++)
            hidden[f] = act_ref(
                expert, at_ref(expert->gate_bias, f) + sum_ref(H, gate + f * H, row),
                at_ref(expert->up_bias, f) + (up != NULL ? sum_ref(H, up + f * H, row) : 0));
        vectors_ref(expert->down.precision, F, hidden);
        for (size_t h = 0; h < H; h++)
            out[h] = (float)(at_ref(expert->down_bias, h) + sum_ref(F, down + h * F, hidden));
    }
    free(gate);
    free(up);
    free(down);
}

void moe_experts_swiglu_ref(size_t E, size_t H, size_t F, const MoeExpert *experts,
                            const uint32_t *offsets, const float *rows, float *rows_out)
{
    double *row = moe_scratch(H * sizeof(double)), *hidden = moe_scratch(F * sizeof(double));
    for (size_t e = 0; e < E; e++)
        expert_ref(&experts[e], H, F, offsets[e + 1] - offsets[e], rows + offsets[e] * H,
                   rows_out + offsets[e] * H, row, hidden);
    free(row);
    free(hidden);
}

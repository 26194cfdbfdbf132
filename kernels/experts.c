#include "config.h"

#include "kernels/experts.h"

#include "kernels/linear.h"
#include "kernels/loops.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 256 };

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

static void relu(size_t rows, size_t n, const float *a, float *out, size_t stride)
{
    for (size_t r = 0; r < rows; r++, a += n, out += stride)
        for (size_t i = 0; i < n; i++)
            out[i] = a[i] > 0 ? a[i] : 0;
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

static void product(size_t rows, size_t n, size_t cols, const float *x, const float *w, float *y,
                    size_t y_stride)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)n, (int)cols, 1, x,
                (int)cols, w, (int)cols, 0, y, (int)y_stride);
}

/* Columns [f, f + n) of one expert's hidden layer, for all of its rows. */
static void up_tile(const MoeExpert *expert, size_t f, size_t n, size_t F, size_t rows,
                    const float *x, float *hidden, float *tile, float *product_scratch)
{
    size_t H = expert->gate.cols;
    const float *gate = moe_matrix_rows(&expert->gate, f, n, tile);
    const float *up =
        expert->up.data != NULL ? moe_matrix_rows(&expert->up, f, n, tile + n * H) : NULL;
    for (size_t r = 0; r < rows; r += ROWS) {
        size_t here = rows - r < ROWS ? rows - r : ROWS;
        float *a = product_scratch, *b = product_scratch + ROWS * n;
        product(here, n, H, x + r * H, gate, a, n);
        add_bias(here, n, from(expert->gate_bias, f), a, n);
        if (up == NULL) {
            relu(here, n, a, hidden + r * F + f, F);
            continue;
        }
        product(here, n, H, x + r * H, up, b, n);
        add_bias(here, n, from(expert->up_bias, f), b, n);
        if (expert->limit > 0)
            clamped_times(here, n, expert->limit, a, b, hidden + r * F + f, F);
        else
            MOE_BEST(moe_silu_times)(here, n, a, b, hidden + r * F + f, F);
    }
}

void moe_experts_swiglu(size_t E, size_t H, size_t F, const MoeExpert *experts,
                        const uint32_t *restrict offsets, const float *restrict rows,
                        float *restrict hidden, float *restrict rows_out)
{
    size_t up_width = moe_tile_rows(2 * H), down_width = moe_tile_rows(F);
    size_t n_up = (F + up_width - 1) / up_width, n_down = (H + down_width - 1) / down_width;
    size_t tile_floats = 2 * up_width * H > down_width * F ? 2 * up_width * H : down_width * F;
    moe_blas_single();
#pragma omp parallel
    {
        float *tile = moe_scratch(tile_floats * sizeof(float));
        float *pair = moe_scratch(2 * ROWS * up_width * sizeof(float));
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < E * n_up; i++) {
            size_t e = i / n_up, f = i % n_up * up_width, n_rows = offsets[e + 1] - offsets[e];
            if (n_rows > 0)
                up_tile(&experts[e], f, F - f < up_width ? F - f : up_width, F, n_rows,
                        rows + offsets[e] * H, hidden + offsets[e] * F, tile, pair);
        }
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < E * n_down; i++) {
            size_t e = i / n_down, h = i % n_down * down_width,
                   n_rows = offsets[e + 1] - offsets[e];
            size_t n = H - h < down_width ? H - h : down_width;
            float *out = rows_out + offsets[e] * H + h;
            if (n_rows == 0)
                continue;
            product(n_rows, n, F, hidden + offsets[e] * F,
                    moe_matrix_rows(&experts[e].down, h, n, tile), out, H);
            add_bias(n_rows, n, from(experts[e].down_bias, h), out, H);
        }
        free(tile);
        free(pair);
    }
}

static double act_ref(const MoeExpert *expert, double a, double b)
{
    double limit = (double)expert->limit;
    if (expert->up.data == NULL)
        return fmax(a, 0);
    if (expert->limit > 0) {
        double x = fmin(a, limit);
        return x / (1 + exp(-(double)1.702F * x)) * (fmax(fmin(b, limit), -limit) + 1);
    }
    return a / (1 + exp(-a)) * b;
}

static double at_ref(const float *bias, size_t i)
{
    return bias != NULL ? (double)bias[i] : 0;
}

void moe_experts_swiglu_ref(size_t E, size_t H, size_t F, const MoeExpert *experts,
                            const uint32_t *offsets, const float *rows, float *rows_out)
{
    float *gate = moe_scratch(F * H * sizeof(float)), *up = moe_scratch(F * H * sizeof(float));
    float *down = moe_scratch(H * F * sizeof(float));
    double *hidden = moe_scratch(F * sizeof(double));
    for (size_t e = 0; e < E; e++) {
        moe_matrix_ref(&experts[e].gate, gate);
        memset(up, 0, F * H * sizeof(float));
        if (experts[e].up.data != NULL)
            moe_matrix_ref(&experts[e].up, up);
        moe_matrix_ref(&experts[e].down, down);
        for (size_t p = offsets[e]; p < offsets[e + 1]; p++) {
            for (size_t f = 0; f < F; f++) {
                double a = at_ref(experts[e].gate_bias, f), b = at_ref(experts[e].up_bias, f);
                for (size_t h = 0; h < H; h++) {
                    a += (double)gate[f * H + h] * rows[p * H + h];
                    b += (double)up[f * H + h] * rows[p * H + h];
                }
                hidden[f] = act_ref(&experts[e], a, b);
            }
            for (size_t h = 0; h < H; h++) {
                double sum = at_ref(experts[e].down_bias, h);
                for (size_t f = 0; f < F; f++)
                    sum += down[h * F + f] * hidden[f];
                rows_out[p * H + h] = (float)sum;
            }
        }
    }
    free(gate);
    free(up);
    free(down);
    free(hidden);
}

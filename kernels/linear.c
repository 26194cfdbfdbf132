#include "config.h"

#include "kernels/linear.h"

#include <cblas.h>
#include <stdlib.h>

enum { TOKENS = 1024, TILE_FLOATS = 1 << 17, LEAST_ROWS = 16, MOST_ROWS = 256 };

size_t moe_tile_rows(size_t cols)
{
    size_t rows = TILE_FLOATS / (cols > 0 ? cols : 1) / LEAST_ROWS * LEAST_ROWS;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
}

void moe_blas_single(void)
{
    openblas_set_num_threads(1);
}

static void linear(size_t T, const float *restrict x, const MoeMatrix *w, float beta,
                   float *restrict y)
{
    size_t N = w->rows, cols = w->cols;
    size_t width = moe_tile_rows(cols);
    size_t n_width = (N + width - 1) / width, n_tokens = (T + TOKENS - 1) / TOKENS;
    moe_blas_single();
#pragma omp parallel
    {
        float *scratch = moe_scratch(width * cols * sizeof(float));
#pragma omp for schedule(dynamic)
        for (size_t tile = 0; tile < n_width * n_tokens; tile++) {
            size_t n = tile % n_width * width, t = tile / n_width * TOKENS;
            size_t n_here = N - n < width ? N - n : width;
            size_t t_here = T - t < TOKENS ? T - t : TOKENS;
            const float *rows = moe_matrix_rows(w, n, n_here, scratch);
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)t_here, (int)n_here,
                        (int)cols, 1, x + t * cols, (int)cols, rows, (int)cols, beta, y + t * N + n,
                        (int)N);
        }
        free(scratch);
    }
}

void moe_linear(size_t T, const float *restrict x, const MoeMatrix *w, float *restrict y)
{
    linear(T, x, w, 0, y);
}

void moe_linear_add(size_t T, const float *restrict x, const MoeMatrix *w, float *restrict y)
{
    linear(T, x, w, 1, y);
}

void moe_linear_ref(size_t T, const float *x, const MoeMatrix *w, float *y)
{
    float *wide = moe_scratch(w->rows * w->cols * sizeof(float));
    moe_matrix_ref(w, wide);
    for (size_t n = 0; n < w->rows; n++) {
        const float *row = wide + n * w->cols;
        for (size_t t = 0; t < T; t++) {
            double sum = 0;
            for (size_t i = 0; i < w->cols; i++)
                sum += (double)x[t * w->cols + i] * row[i];
            y[t * w->rows + n] = (float)sum;
        }
    }
    free(wide);
}

#include "config.h"

#include "kernels/linear.h"

#include "kernels/loops.h"
#include "kernels/product.h"

#include <cblas.h>
#include <stdlib.h>

enum { TILE_FLOATS = 1 << 20, LEAST_ROWS = 16, MOST_ROWS = 1024, FEW_TOKENS = 8 };
/* Every tile of the weights packs its tokens anew, and every tile of the tokens its weights. */
enum { LEAST_TOKENS = 256, MOST_TOKENS = 1024, ENOUGH_TILES = 8 };

static size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

size_t moe_tile_rows(size_t cols, size_t rows, size_t n)
{
    size_t most = TILE_FLOATS / (cols > 0 ? cols : 1) / LEAST_ROWS * LEAST_ROWS;
    size_t even = round_up(rows * n / ENOUGH_TILES, LEAST_ROWS);
    most = most > MOST_ROWS ? MOST_ROWS : most;
    even = even < 2 * LEAST_ROWS ? 2 * LEAST_ROWS : even;
    most = even < most ? even : most;
    return most < LEAST_ROWS ? LEAST_ROWS : most;
}

void moe_blas_single(void)
{
    openblas_set_num_threads(1);
}

/* So few tokens that the products cost no more than the weights' way from memory: rows are widened
 * into the first-level cache and used there. */
static void linear_few(size_t T, const float *restrict x, const MoeMatrix *w, bool add,
                       float *restrict y)
{
    const size_t N = w->rows, cols = w->cols;
    /* Of what is stored transposed, a cache line at a time. */
    const size_t step = w->transposed ? LEAST_ROWS : 1;
#pragma omp parallel if (N * cols > (1 << 15))
    {
        float *scratch = moe_scratch(step * cols * sizeof(float));
#pragma omp for schedule(static)
        for (size_t tile = 0; tile < N; tile += step) {
            const size_t here = N - tile < step ? N - tile : step;
            const float *rows = moe_matrix_rows(w, tile, here, scratch);
            for (size_t n = 0; n < here; n++)
                for (size_t t = 0; t < T; t++) {
                    float *out = y + t * N + tile + n;
                    const float sum = MOE_BEST(moe_dot)(x + t * cols, rows + n * cols, cols);
                    *out = add ? *out + sum : sum;
                }
        }
        free(scratch);
    }
}

static void linear_many(size_t T, const float *restrict x, const MoeMatrix *w, bool add,
                        float *restrict y)
{
    size_t N = w->rows, cols = w->cols;
    size_t most = round_up(T / ENOUGH_TILES, LEAST_ROWS);
    most = most < LEAST_TOKENS ? LEAST_TOKENS : most > MOST_TOKENS ? MOST_TOKENS : most;
    size_t n_tokens = (T + most - 1) / most, width = moe_tile_rows(cols, N, n_tokens);
    size_t n_width = (N + width - 1) / width;
    moe_blas_single();
#pragma omp parallel if (T > FEW_TOKENS || N * cols > (1 << 15))
    {
        float *scratch = moe_scratch(
            moe_product_floats(w->precision, T < most ? T : most, width, cols) * sizeof(float));
#pragma omp for schedule(dynamic)
        for (size_t tile = 0; tile < n_width * n_tokens; tile++) {
            size_t n = tile % n_width * width, t = tile / n_width * most;
            moe_product(T - t < most ? T - t : most, x + t * cols, w, n,
                        N - n < width ? N - n : width, add, y + t * N + n, N, scratch);
        }
        free(scratch);
    }
}

static void linear(size_t T, const float *restrict x, const MoeMatrix *w, bool add,
                   float *restrict y)
{
    /* A last bit that depends on T may become one of bf16. */
    if (T <= FEW_TOKENS && w->precision == MOE_PRECISION_F32)
        linear_few(T, x, w, add, y);
    else
        linear_many(T, x, w, add, y);
}

void moe_linear(size_t T, const float *restrict x, const MoeMatrix *w, float *restrict y)
{
    linear(T, x, w, false, y);
}

void moe_linear_add(size_t T, const float *restrict x, const MoeMatrix *w, float *restrict y)
{
    linear(T, x, w, true, y);
}

void moe_linear_steady(size_t T, const float *restrict x, const MoeMatrix *w, float *restrict y)
{
    linear_many(T, x, w, false, y);
}

void moe_linear_ref(size_t T, const float *x, const MoeMatrix *w, float *y)
{
    float *wide = moe_scratch(w->rows * w->cols * sizeof(float));
    float *vectors = moe_scratch(T * w->cols * sizeof(float));
    moe_matrix_ref(w, wide);
    moe_round_ref(w->precision, w->rows * w->cols, wide, wide);
    moe_round_ref(w->precision, T * w->cols, x, vectors);
    for (size_t n = 0; n < w->rows; n++) {
        const float *row = wide + n * w->cols;
        for (size_t t = 0; t < T; t++) {
            double sum = 0;
            for (size_t i = 0; i < w->cols; i++)
                sum += (double)vectors[t * w->cols + i] * row[i];
            y[t * w->rows + n] = (float)sum;
        }
    }
    free(wide);
    free(vectors);
}

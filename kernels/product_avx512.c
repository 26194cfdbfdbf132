#include "config.h"

#include "kernels/product.h"
#include "kernels/tile.h"

#if defined(__AVX512F__)

/* Panels of tokens and of weights meet over so many columns: a panel of weights, 128 KB, stays in the
 * second-level cache while all tokens pass. */
enum { COLUMNS = 1024 };
enum { MOST_PACKED = 1 << 22 }; /* floats of packed tokens, for a third-level cache */

/* How many of @T tokens are packed at a time. */
static size_t at_once(size_t T, size_t cols)
{
    size_t most = MOST_PACKED / (cols > 0 ? cols : 1) / TILE_ROWS * TILE_ROWS;
    return tile_least(tile_padded(T), most > 8 * TILE_ROWS ? most : 8 * TILE_ROWS);
}

size_t moe_product_floats_avx512(size_t T, size_t cols)
{
    return at_once(T, cols) * cols + TILE_WIDTH * (cols + tile_least(cols, COLUMNS));
}

/* All packed tokens times one packed panel. */
static void meet_all(size_t T, size_t k, const float *x, const float *w, bool add, size_t n,
                     float *y, size_t stride)
{
    for (size_t t = 0; t < T; t += TILE_ROWS, x += TILE_ROWS * k, y += TILE_ROWS * stride)
        tile_meet_few(tile_least(T - t, TILE_ROWS), k, x, 0, w, add, n, y, stride);
}

/* @T packed tokens, at most at_once(), times all panels. */
static void meet_panels(size_t T, const float *tokens, const MoeMatrix *w, size_t row, size_t n,
                        bool add, float *y, size_t stride, float *panel)
{
    const size_t cols = w->cols;
    float *wide = panel + TILE_WIDTH * tile_least(cols, COLUMNS);
    for (size_t i = 0; i < n; i += TILE_WIDTH) {
        size_t n_here = tile_least(n - i, TILE_WIDTH);
        const float *rows = moe_matrix_rows(w, row + i, n_here, wide);
        for (size_t k = 0; k < cols; k += COLUMNS) {
            size_t here = tile_least(cols - k, COLUMNS);
            tile_pack_panel(n_here, here, rows + k, cols, panel);
            meet_all(T, here, tokens + tile_padded(T) * k, panel, add || k > 0, n_here, y + i,
                     stride);
        }
    }
}

void moe_product_avx512(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                        bool add, float *y, size_t stride, float *scratch)
{
    const size_t cols = w->cols, step = at_once(T, cols);
    float *panel = scratch + step * cols;
    for (size_t t = 0; t < T; t += step) {
        size_t here = tile_least(T - t, step);
        for (size_t k = 0; k < cols; k += COLUMNS)
            tile_pack(here, tile_least(cols - k, COLUMNS), x + t * cols + k, cols,
                      scratch + tile_padded(here) * k);
        meet_panels(here, scratch, w, row, n, add, y + t * stride, stride, panel);
    }
}

#endif

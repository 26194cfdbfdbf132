#include "config.h"

#include "kernels/product.h"

#if defined(__AVX512BF16__)

#define TILE_PAIRS
#include "kernels/tile.h"

/* As in product_avx512.c, of pairs of columns. */
enum { PAIRS = 1024, COLUMNS = 2 * PAIRS };
enum { MOST_PACKED = 1 << 22 }; /* pairs of packed tokens, for a third-level cache */
enum { LINE = PAIRS + 16 };     /* not all lines in the same sets of the first-level cache */
enum { LINES = TILE_STEP * LINE };

static size_t pairs_of(size_t cols)
{
    return cols / 2 + cols % 2;
}

/* How many of @T tokens are packed at a time. */
static size_t at_once(size_t T, size_t cols)
{
    size_t most = MOST_PACKED / (pairs_of(cols) + 1) / TILE_ROWS * TILE_ROWS;
    return tile_least(tile_padded(T), most > 8 * TILE_ROWS ? most : 8 * TILE_ROWS);
}

size_t moe_product_floats_avx512_bf16(size_t T, size_t cols)
{
    const size_t panel = tile_least(pairs_of(cols), PAIRS);
    return LINES + at_once(T, cols) * pairs_of(cols) + TILE_WIDTH * (cols + panel);
}

static __mmask16 first(size_t n)
{
    return (__mmask16)(n < 16 ? (1U << n) - 1 : 0xFFFF);
}

/* Rounds @n floats into pairs; an odd one is paired with zero. */
static void narrow(size_t n, const float *from, float *to)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32, to += 16) {
        const __m512 low = _mm512_loadu_ps(from + i), high = _mm512_loadu_ps(from + i + 16);
        _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    const size_t rest = n - i;
    if (rest == 0)
        return;
    const __m512 low = _mm512_maskz_loadu_ps(first(rest), from + i);
    const __m512 high =
        rest > 16 ? _mm512_maskz_loadu_ps(first(rest - 16), from + i + 16) : _mm512_setzero_ps();
    _mm512_mask_storeu_epi32(to, first(pairs_of(rest)), (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* @k columns of TILE_STEP rows, or fewer, rounded into @lines. */
static void narrow_rows(size_t rows, size_t k, const float *from, size_t stride, float *lines)
{
    for (size_t r = 0; r < rows; r++)
        narrow(k, from + r * stride, lines + r * LINE);
}

/* The same as they are stored, the row @row and those behind it. */
static void copy_rows(size_t rows, size_t k, const MoeMatrix *w, size_t row, size_t col,
                      float *lines)
{
    for (size_t r = 0; r < rows; r++) {
        lines[r * LINE + k / 2] = 0;
        memcpy(lines + r * LINE, (const uint16_t *)moe_matrix_bf16(w, row + r) + col,
               k * sizeof(uint16_t));
    }
}

/* tile_pack() of floats. */
static void pack_tokens(size_t n, size_t k, const float *x, size_t stride, float *lines, float *out)
{
    for (size_t t = 0; t < n; t += TILE_ROWS) {
        size_t height = tile_least(tile_padded(n - t), TILE_ROWS);
        for (size_t r = 0; r < height; r += TILE_STEP) {
            size_t rows = tile_least(n - t - r, TILE_STEP);
            narrow_rows(rows, k, x + (t + r) * stride, stride, lines);
            tile_pack_rows(rows, pairs_of(k), lines, LINE, height, out + r);
        }
        out += height * pairs_of(k);
    }
}

/* tile_pack_panel() of @n rows from @row on and @k columns from @col on; @wide: the rows as floats,
 * unless they are stored as bf16. */
static void pack_panel(const MoeMatrix *w, size_t row, size_t n, size_t col, size_t k,
                       const float *wide, float *lines, float *out)
{
    for (size_t r = 0; r < TILE_WIDTH; r += TILE_STEP) {
        size_t rows = r < n ? tile_least(n - r, TILE_STEP) : 0;
        if (wide == NULL)
            copy_rows(rows, k, w, row + r, col, lines);
        else
            narrow_rows(rows, k, wide + r * w->cols + col, w->cols, lines);
        if (rows > 0)
            tile_pack_rows(rows, pairs_of(k), lines, LINE, TILE_WIDTH, out + r);
        for (size_t i = 0; rows == 0 && i < pairs_of(k); i++)
            memset(out + i * TILE_WIDTH + r, 0, TILE_STEP * sizeof(float));
    }
}

/* All packed tokens times one packed panel. */
static void meet_all(size_t T, size_t pairs, const float *x, const float *w, bool add, size_t n,
                     float *y, size_t stride)
{
    for (size_t t = 0; t < T; t += TILE_ROWS, x += TILE_ROWS * pairs, y += TILE_ROWS * stride)
        tile_meet_few(tile_least(T - t, TILE_ROWS), pairs, x, 0, w, add, n, y, stride);
}

/* @T packed tokens, at most at_once(), times all panels. */
static void meet_panels(size_t T, const float *tokens, const MoeMatrix *w, size_t row, size_t n,
                        bool add, float *y, size_t stride, float *lines, float *panel)
{
    const size_t cols = w->cols;
    float *wide = panel + TILE_WIDTH * tile_least(pairs_of(cols), PAIRS);
    for (size_t i = 0; i < n; i += TILE_WIDTH) {
        const size_t n_here = tile_least(n - i, TILE_WIDTH);
        const float *rows =
            moe_matrix_bf16(w, row + i) == NULL ? moe_matrix_rows(w, row + i, n_here, wide) : NULL;
        for (size_t k = 0; k < cols; k += COLUMNS) {
            const size_t here = tile_least(cols - k, COLUMNS);
            pack_panel(w, row + i, n_here, k, here, rows, lines, panel);
            meet_all(T, pairs_of(here), tokens + tile_padded(T) * (k / 2), panel, add || k > 0,
                     n_here, y + i, stride);
        }
    }
}

void moe_product_avx512_bf16(size_t T, const float *x, const MoeMatrix *w, size_t row, size_t n,
                             bool add, float *y, size_t stride, float *scratch)
{
    const size_t cols = w->cols, step = at_once(T, cols);
    float *tokens = scratch + LINES, *panel = tokens + step * pairs_of(cols);
    for (size_t t = 0; t < T; t += step) {
        const size_t here = tile_least(T - t, step);
        for (size_t k = 0; k < cols; k += COLUMNS)
            pack_tokens(here, tile_least(cols - k, COLUMNS), x + t * cols + k, cols, scratch,
                        tokens + tile_padded(here) * (k / 2));
        meet_panels(here, tokens, w, row, n, add, y + t * stride, stride, scratch, panel);
    }
}

#endif

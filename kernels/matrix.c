#include "config.h"

#include "kernels/matrix.h"

#include "kernels/decode.h"
#include "kernels/loops.h"
#include "kernels/simd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const struct {
    const char *name;
    size_t block, bytes;
} dtypes[MOE_DTYPE_COUNT] = {
    [MOE_F32] = {"f32", 1, 4},           [MOE_F16] = {"f16", 1, 2},
    [MOE_BF16] = {"bf16", 1, 2},         [MOE_F8_E4M3] = {"f8_e4m3", 1, 1},
    [MOE_F8_E5M2] = {"f8_e5m2", 1, 1},   [MOE_F8_E8M0] = {"f8_e8m0", 1, 1},
    [MOE_F4_E2M1] = {"f4_e2m1", 2, 1},   [MOE_Q4_0] = {"q4_0", 32, 18},
    [MOE_Q4_1] = {"q4_1", 32, 20},       [MOE_Q5_0] = {"q5_0", 32, 22},
    [MOE_Q5_1] = {"q5_1", 32, 24},       [MOE_Q8_0] = {"q8_0", 32, 34},
    [MOE_Q2_K] = {"q2_k", 256, 84},      [MOE_Q3_K] = {"q3_k", 256, 110},
    [MOE_Q4_K] = {"q4_k", 256, 144},     [MOE_Q5_K] = {"q5_k", 256, 176},
    [MOE_Q6_K] = {"q6_k", 256, 210},     [MOE_IQ4_NL] = {"iq4_nl", 32, 18},
    [MOE_IQ4_XS] = {"iq4_xs", 256, 136}, [MOE_MXFP4] = {"mxfp4", 32, 17},
};

const char *moe_dtype_name(MoeDtype dtype)
{
    return dtypes[dtype].name;
}

const char *moe_precision_name(MoePrecision precision)
{
    return precision == MOE_PRECISION_BF16 ? "bf16" : "f32";
}

size_t moe_dtype_block(MoeDtype dtype)
{
    return dtypes[dtype].block;
}

size_t moe_dtype_bytes(MoeDtype dtype)
{
    return dtypes[dtype].bytes;
}

size_t moe_dtype_row_bytes(MoeDtype dtype, size_t cols)
{
    size_t block = dtypes[dtype].block;
    return (cols / block + (cols % block != 0)) * dtypes[dtype].bytes;
}

/* --- widening -------------------------------------------------------------------------------- */

static MoeDecoder decoder(MoeDtype dtype)
{
#if defined(HAVE_AVX2_OBJECTS) && defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return moe_decoder_avx2(dtype);
#endif
    return moe_decoder_base(dtype);
}

void moe_widen(MoeDtype dtype, const void *from, size_t count, float *out)
{
    if (dtype == MOE_F32) {
        memcpy(out, from, count * sizeof(float));
        return;
    }
    MoeDecoder decode = decoder(dtype);
    size_t block = dtypes[dtype].block, whole = count / block, rest = count % block;
    decode(from, whole, out);
    if (rest > 0) {
        float last[MOE_DTYPE_MOST_BLOCK];
        decode((const uint8_t *)from + whole * dtypes[dtype].bytes, 1, last);
        memcpy(out + whole * block, last, rest * sizeof(float));
    }
}

/* --- views ----------------------------------------------------------------------------------- */

static size_t step_of(const MoeMatrix *m)
{
    return m->row_step > 0 ? m->row_step : 1;
}

static size_t stride_of(const MoeMatrix *m)
{
    if (m->stride > 0)
        return m->stride;
    return moe_dtype_row_bytes(m->dtype, m->transposed ? m->rows : m->cols);
}

MoeMatrix moe_matrix_view(const MoeMatrix *m, size_t row, size_t step, size_t rows, size_t col,
                          size_t cols)
{
    MoeMatrix view = *m;
    view.rows = rows;
    view.cols = cols;
    view.stride = stride_of(m);
    view.first_row = m->first_row + row * step_of(m);
    view.first_col = m->first_col + col;
    view.row_step = step * step_of(m);
    return view;
}

MoeMatrix moe_matrix_transpose(const MoeMatrix *m)
{
    MoeMatrix view = *m;
    view.rows = m->cols;
    view.cols = m->rows;
    view.stride = stride_of(m);
    view.first_row = m->first_col;
    view.first_col = m->first_row;
    view.transposed = !m->transposed;
    return view;
}

const void *moe_matrix_span(const MoeMatrix *m, size_t *bytes_out)
{
    size_t first = m->transposed ? m->first_col : m->first_row;
    size_t n = m->transposed ? m->cols : (m->rows > 0 ? (m->rows - 1) * step_of(m) + 1 : 0);
    *bytes_out = n * stride_of(m);
    return (const char *)m->data + first * stride_of(m);
}

/* Multiplies stored elements [i, j] ... [i, j + n) by their factors. */
static void scale_span(const MoeScales *scales, size_t i, size_t j, size_t n, float *out)
{
    const char *row = (const char *)scales->data +
                      i / scales->rows * scales->stride * moe_dtype_bytes(scales->dtype);
    for (size_t at = 0; at < n;) {
        size_t k = (j + at) / scales->cols, here = (k + 1) * scales->cols - (j + at);
        here = here < n - at ? here : n - at;
        float factor;
        moe_widen(scales->dtype, row + k * moe_dtype_bytes(scales->dtype), 1, &factor);
        for (size_t end = at + here; at < end; at++)
            out[at] *= factor;
    }
}

/* The stored elements [i, j] ... [i, j + n), wherever in a block they begin. */
static void widen_span(const MoeMatrix *m, size_t i, size_t j, size_t n, float *out)
{
    const size_t block = moe_dtype_block(m->dtype), bytes = moe_dtype_bytes(m->dtype);
    const char *from = (const char *)m->data + i * stride_of(m) + j / block * bytes;
    size_t head = j % block, n_head = 0;
    if (head > 0) {
        float first[MOE_DTYPE_MOST_BLOCK];
        moe_widen(m->dtype, from, block, first);
        n_head = block - head < n ? block - head : n;
        memcpy(out, first + head, n_head * sizeof(float));
        from += bytes;
    }
    moe_widen(m->dtype, from, n - n_head, out + n_head);
    if (m->scales.data != NULL)
        scale_span(&m->scales, i, j, n, out);
}

/* The rows of a matrix that is stored transposed: squares are turned around in a buffer. */
static void widen_transposed(const MoeMatrix *m, size_t row, size_t n, float *out)
{
    enum { SPAN = 256, SIDE = 16 };
    float lines[SIDE][SPAN];
    const size_t step = step_of(m), most = step < SPAN ? SPAN / step : 1, cols = m->cols;
    for (size_t r = 0; r < n; r += most) {
        size_t rows = n - r < most ? n - r : most, j = m->first_row + (row + r) * step;
        for (size_t c = 0; c < cols; c += SIDE) {
            size_t side = cols - c < SIDE ? cols - c : SIDE;
            for (size_t k = 0; k < side; k++)
                widen_span(m, m->first_col + c + k, j, (rows - 1) * step + 1, lines[k]);
            for (size_t k = 0; k < rows; k++)
                for (size_t l = 0; l < side; l++)
                    out[(r + k) * cols + c + l] = lines[l][k * step];
        }
    }
}

/* Whether the rows of @m follow each other without gaps, in whole blocks, to be taken as stored. */
static bool is_plain(const MoeMatrix *m)
{
    return !m->transposed && step_of(m) == 1 && m->scales.data == NULL && m->first_col == 0 &&
           m->cols % moe_dtype_block(m->dtype) == 0 &&
           stride_of(m) == moe_dtype_row_bytes(m->dtype, m->cols);
}

const float *moe_matrix_rows(const MoeMatrix *m, size_t row, size_t n, float *scratch)
{
    if (m->transposed) {
        widen_transposed(m, row, n, scratch);
    } else if (is_plain(m)) {
        const char *from = (const char *)m->data + (m->first_row + row) * stride_of(m);
        if (m->dtype == MOE_F32)
            return (const float *)(const void *)from;
        moe_widen(m->dtype, from, n * m->cols, scratch);
    } else {
        for (size_t r = 0; r < n; r++)
            widen_span(m, m->first_row + (row + r) * step_of(m), m->first_col, m->cols,
                       scratch + r * m->cols);
    }
    return scratch;
}

const void *moe_matrix_bf16(const MoeMatrix *m, size_t row)
{
    if (m->dtype != MOE_BF16 || m->transposed || m->scales.data != NULL)
        return NULL;
    return (const char *)m->data + (m->first_row + row * step_of(m)) * stride_of(m) +
           m->first_col * sizeof(uint16_t);
}

void moe_round(MoePrecision precision, size_t count, const float *from, float *out)
{
    if (precision == MOE_PRECISION_BF16)
        MOE_BEST(moe_round_bf16)(count, from, out);
    else
        memmove(out, from, count * sizeof(float));
}

/* --- what is not finite ---------------------------------------------------------------------- */

enum { BLOCK = 1 << 12 };
/* Whether any element has all exponent bits set. */
MOE_CLONES static int any_special16(const uint16_t *from, size_t count, uint16_t mask)
{
    int any = 0;
    for (size_t i = 0; i < count; i++)
        any |= (from[i] & mask) == mask;
    return any;
}

MOE_CLONES static int any_special32(const uint32_t *from, size_t count)
{
    int any = 0;
    for (size_t i = 0; i < count; i++)
        any |= (from[i] & 0x7F800000) == 0x7F800000;
    return any;
}

/* Whether any of at most BLOCK elements from the block that @from is the first of. */
static int any_special(MoeDtype dtype, const void *data, size_t from, size_t count)
{
    if (dtype == MOE_F32)
        return any_special32((const uint32_t *)data + from, count);
    if (dtype == MOE_F16 || dtype == MOE_BF16)
        return any_special16((const uint16_t *)data + from, count,
                             dtype == MOE_F16 ? 0x7C00 : 0x7F80);
    float wide[BLOCK];
    moe_widen(dtype, (const char *)data + moe_dtype_row_bytes(dtype, from), count, wide);
    return any_special32((const uint32_t *)(const void *)wide, count);
}

/* The index of the first NaN or infinity of @count floats; there is one. */
static size_t first_special(const float *values)
{
    size_t i = 0;
    for (uint32_t bits = 0; (bits & 0x7F800000) != 0x7F800000; i++)
        memcpy(&bits, &values[i], sizeof(bits));
    return i - 1;
}

size_t moe_find_nonfinite(MoeDtype dtype, const void *data, size_t count)
{
    size_t first = SIZE_MAX;
#pragma omp parallel for schedule(static) reduction(min : first) if (count > (1 << 20))
    for (size_t block = 0; block < count; block += BLOCK) {
        size_t n = count - block < BLOCK ? count - block : BLOCK;
        if (block < first && any_special(dtype, data, block, n)) {
            float wide[BLOCK];
            moe_widen(dtype, (const char *)data + moe_dtype_row_bytes(dtype, block), n, wide);
            first = block + first_special(wide);
        }
    }
    return first;
}

size_t moe_matrix_find_nonfinite(const MoeMatrix *m)
{
    const size_t rows = m->rows, cols = m->cols;
    if (is_plain(m))
        return moe_find_nonfinite(m->dtype, (const char *)m->data + m->first_row * stride_of(m),
                                  rows * cols);
    /* Tiles of 16 rows: a cache line of what is stored transposed. */
    const size_t tile = 16;
    size_t first = SIZE_MAX;
#pragma omp parallel reduction(min : first) if (rows * cols > (1 << 20))
    {
        float *scratch = moe_scratch(tile * cols * sizeof(float));
#pragma omp for schedule(static)
        for (size_t row = 0; row < rows; row += tile) {
            size_t n = (rows - row < tile ? rows - row : tile) * cols;
            const float *wide =
                row * cols < first ? moe_matrix_rows(m, row, n / cols, scratch) : NULL;
            if (wide != NULL && any_special32((const uint32_t *)(const void *)wide, n))
                first = row * cols + first_special(wide);
        }
        free(scratch);
    }
    return first;
}

void *moe_scratch(size_t size)
{
    const size_t huge = 2 << 20;
    size_t unit = size < 2 * huge ? 64 : huge;
    void *memory = aligned_alloc(unit, (size / unit + 1) * unit);
    if (memory == NULL) {
        fprintf(stderr, "moesim: out of memory (%zu bytes)\n", size);
        abort();
    }
#if defined(MADV_HUGEPAGE)
    /* Packing goes down columns: a page per row. A refusal changes nothing but the time. */
    if (unit == huge)
        (void)madvise(memory, size / huge * huge, MADV_HUGEPAGE);
#endif
    return memory;
}

#include "config.h"

#include "kernels/loops.h"
#include "kernels/simd.h"

#if defined(__AVX512VBMI2__)

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Sixteen rows go together. Of each, the logits are cut into 16 lanes; the 8th largest of the lanes'
 * maxima bounds the 8th largest logit from below, and few logits reach it, mostly 8 to 16. These are
 * transposed, a row to a lane, where sorting networks need neither branches nor shuffles. */
enum { ROWS = 16, LANES = 16, SLOTS = 16, CHUNK = 64 };

/* How far ahead of a row others are brought near: to the first cache, whose half a block may fill, and
 * to the second. */
enum { NEAR_BYTES = 12 << 10, FAR_BYTES = 32 << 10 };

static const float log2_e = 1.44269504F, most_shift = 1 << 16;

typedef struct {
    float bound[ROWS], shift[ROWS];  /* shift: -max log2(e), rounded */
    __m512 sum[ROWS];                /* of exponentials, in lanes */
    uint16_t found[ROWS][2 * SLOTS]; /* candidates; behind them ids that exist */
    uint32_t count[ROWS];            /* of candidates; more than SLOTS: they are not all here */
    __m512 score[SLOTS];             /* [row][slot], and [slot][row] from sort_rows() on */
    __m512i expert[SLOTS];
} Block;

static const uint8_t place_of_byte[CHUNK] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

/* From here on @n logits of a row; -infinity behind them. */
MOE_INLINE __m512 load(const float *from, size_t n)
{
    if (n >= LANES)
        return _mm512_loadu_ps(from);
    return _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), (__mmask16)((1U << n) - 1), from);
}

/* Row i of 16 becomes lane i of each. */
MOE_INLINE void transpose(__m512 v[16])
{
    __m512 a[16], b[16];
#pragma GCC unroll 8
    for (size_t i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 16; i += 4) {
        for (size_t k = 0; k < 2; k++) {
            const __m512d low = _mm512_castps_pd(a[i + k]), high = _mm512_castps_pd(a[i + 2 + k]);
            b[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            b[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const __m512 even = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
        const __m512 odd = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xDD);
        const __m512 even_2 = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
        const __m512 odd_2 = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xDD);
        v[i] = _mm512_shuffle_f32x4(even, even_2, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(even, even_2, 0xDD);
        v[i + 4] = _mm512_shuffle_f32x4(odd, odd_2, 0x88);
        v[i + 12] = _mm512_shuffle_f32x4(odd, odd_2, 0xDD);
    }
}

/* Lane i becomes the sum of row i of 16. */
MOE_INLINE __m512 sum_lanes(const __m512 v[16])
{
    __m512 a[8], b[4];
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++)
        a[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                             _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const __m512d low = _mm512_castps_pd(a[2 * i]), high = _mm512_castps_pd(a[2 * i + 1]);
        b[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
    }
    for (size_t n = 4; n > 1; n /= 2)
        for (size_t i = 0; i < n / 2; i++)
            b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x88),
                                 _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xDD));
    return b[0];
}

/* Falling order of 8, by 19 comparators (Knuth, The Art of Computer Programming, vol. 3, 5.3.4). */
#define SORT_8(order, v)                                                                           \
    order(&v[0], &v[2]), order(&v[1], &v[3]), order(&v[4], &v[6]), order(&v[5], &v[7]),            \
        order(&v[0], &v[4]), order(&v[1], &v[5]), order(&v[2], &v[6]), order(&v[3], &v[7]),        \
        order(&v[0], &v[1]), order(&v[2], &v[3]), order(&v[4], &v[5]), order(&v[6], &v[7]),        \
        order(&v[2], &v[4]), order(&v[3], &v[5]), order(&v[1], &v[4]), order(&v[3], &v[6]),        \
        order(&v[1], &v[2]), order(&v[3], &v[4]), order(&v[5], &v[6])

/* Falling order of 8 that rise and then fall, or fall and then rise. */
#define MERGE_8(order, v)                                                                          \
    order(&v[0], &v[4]), order(&v[1], &v[5]), order(&v[2], &v[6]), order(&v[3], &v[7]),            \
        order(&v[0], &v[2]), order(&v[1], &v[3]), order(&v[4], &v[6]), order(&v[5], &v[7]),        \
        order(&v[0], &v[1]), order(&v[2], &v[3]), order(&v[4], &v[5]), order(&v[6], &v[7])

MOE_INLINE void order_floats(__m512 *a, __m512 *b)
{
    const __m512 high = _mm512_max_ps(*a, *b);
    *b = _mm512_min_ps(*a, *b);
    *a = high;
}

MOE_INLINE void order_keys(__m512i *a, __m512i *b)
{
    const __m512i high = _mm512_max_epi64(*a, *b);
    *b = _mm512_min_epi64(*a, *b);
    *a = high;
}

/* Bounds and maxima of @rows rows. A bound is finite: what load() adds does not reach it. */
MOE_INLINE void bound_rows(size_t rows, size_t E, const float *logits, Block *block)
{
    __m512 v[ROWS];
    for (size_t r = 0; r < ROWS; r++) {
        const float *row = logits + (r < rows ? r : 0) * E;
        __m512 even = load(row, E), odd = even;
        size_t e = LANES;
        for (; e + 2 * LANES <= E; e += 2 * LANES) {
            even = _mm512_max_ps(even, _mm512_loadu_ps(row + e));
            odd = _mm512_max_ps(odd, _mm512_loadu_ps(row + e + LANES));
        }
        for (; e < E; e += LANES)
            even = _mm512_max_ps(even, load(row + e, E - e));
        v[r] = _mm512_max_ps(even, odd);
    }
    transpose(v);
    __m512 *w = v + 8;
    SORT_8(order_floats, v);
    SORT_8(order_floats, w);
    __m512 bound = _mm512_max_ps(v[0], w[7]);
#pragma GCC unroll 8
    for (size_t i = 1; i < 8; i++)
        bound = _mm512_min_ps(bound, _mm512_max_ps(v[i], w[7 - i]));
    _mm512_storeu_ps(block->bound, _mm512_max_ps(bound, _mm512_set1_ps(-FLT_MAX)));
    _mm512_storeu_ps(block->shift,
                     _mm512_mul_ps(_mm512_max_ps(v[0], w[0]), _mm512_set1_ps(-log2_e)));
}

/* 2^y for y <= 1 up to a relative error of 2^-22: a sum's part. 2^fraction by a polynomial of degree
 * 5 with the least relative error on [0, 1), 7.5e-8. */
MOE_INLINE __m512 exp2_rough(__m512 y)
{
    const __m512 f = _mm512_reduce_ps(y, _MM_FROUND_TO_NEG_INF);
    __m512 p = _mm512_set1_ps(1.87757667e-3F);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(8.98934009e-3F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.58263181e-2F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40153617e-1F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93153073e-1F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.99999925e-1F));
    return _mm512_scalef_ps(p, y); /* p * 2^floor(y) */
}

/* e^x within 2 ulp; the polynomial is moe_v8_exp2()'s. */
MOE_INLINE __m512 exp_fine(__m512 x)
{
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(150)), _mm512_set1_ps(-150));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504F)),
                                          _MM_FROUND_TO_NEAREST_INT);
    __m512 f = _mm512_fmsub_ps(x, _mm512_set1_ps(1.44269504F), n);
    f = _mm512_fmadd_ps(x, _mm512_set1_ps(1.92596299e-8F), f);
    __m512 p = _mm512_set1_ps(1.5353362e-4F);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.33988739e-3F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.61843692e-3F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55033237e-2F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40226477e-1F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93147182e-1F));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

typedef enum { AT_LEAST, ABOVE, EQUAL } Is;

MOE_INLINE __mmask16 compare(__m512 x, __m512 bounds, Is is)
{
    if (is == AT_LEAST)
        return _mm512_cmp_ps_mask(x, bounds, _CMP_GE_OQ);
    if (is == ABOVE)
        return _mm512_cmp_ps_mask(x, bounds, _CMP_GT_OQ);
    return _mm512_cmp_ps_mask(x, bounds, _CMP_EQ_OQ);
}

/* Which of 16 logits compare as @is says; adds their exponentials to @sum unless it is NULL. */
MOE_INLINE __mmask16 look(__m512 x, __m512 bounds, Is is, __m512 shifts, __m512 *sum)
{
    if (sum != NULL)
        *sum = _mm512_add_ps(*sum, exp2_rough(_mm512_fmadd_ps(x, _mm512_set1_ps(log2_e), shifts)));
    return compare(x, bounds, is);
}

/* Appends the experts whose logits compare with @bound as @is says to the @n found, in order, and
 * adds all exponentials to @sum unless it is NULL. Returns how many are found. */
MOE_INLINE size_t scan(const float *row, size_t E, float bound, Is is, float shift, size_t n,
                       uint16_t *found, __m512 *sum)
{
    const __m512i places = _mm512_loadu_si512(place_of_byte);
    const __m512 bounds = _mm512_set1_ps(bound), shifts = _mm512_set1_ps(shift);
    for (size_t e = 0; e < E; e += CHUNK) {
        __mmask64 holds = 0;
        if (e + CHUNK <= E) {
            _Static_assert(CHUNK == 4 * LANES, "four masks are put together");
            __mmask16 part[4];
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++)
                part[i] = look(_mm512_loadu_ps(row + e + i * LANES), bounds, is, shifts, sum);
            holds = _mm512_kunpackd(_mm512_kunpackw(part[3], part[2]),
                                    _mm512_kunpackw(part[1], part[0]));
        } else {
            for (size_t i = 0; e + i < E; i += LANES)
                holds |= (__mmask64)look(load(row + e + i, E - e - i), bounds, is, shifts, sum)
                         << i;
        }
        const __m128i low = _mm512_castsi512_si128(_mm512_maskz_compress_epi8(holds, places));
        const __m256i ids =
            _mm256_add_epi16(_mm256_cvtepu8_epi16(low), _mm256_set1_epi16((short)e));
        _mm256_storeu_si256((__m256i *)(void *)(found + (n < SLOTS ? n : SLOTS)), ids);
        n += (size_t)__builtin_popcountll(holds);
    }
    return n;
}

/* Many tie with the bound: of those, the first are enough. */
static __attribute__((noinline)) size_t scan_ties(const float *row, size_t E, float bound,
                                                  uint16_t *found)
{
    size_t n = scan(row, E, bound, ABOVE, 0, 0, found, NULL);
    if (n > SLOTS)
        return n;
    n = scan(row, E, bound, EQUAL, 0, n, found, NULL);
    return n < SLOTS ? n : SLOTS;
}

/* The candidates of each row; the sums over all when @sum_all. */
MOE_INLINE void collect_rows(size_t rows, size_t E, const float *logits, bool sum_all, Block *block)
{
    for (size_t r = 0; r < rows; r++) {
        const float *row = logits + r * E, bound = block->bound[r];
        const uintptr_t here = (uintptr_t)row;
        for (size_t e = 0; e < E; e += LANES) {
            _mm_prefetch((const void *)(here + FAR_BYTES + e * sizeof(float)), _MM_HINT_T1);
            _mm_prefetch((const void *)(here + NEAR_BYTES + e * sizeof(float)), _MM_HINT_T0);
        }
        size_t n;
        if (sum_all) {
            __m512 sum = _mm512_setzero_ps();
            n = scan(row, E, bound, AT_LEAST, block->shift[r], 0, block->found[r], &sum);
            block->sum[r] = sum;
            n = fabsf(block->shift[r]) <= most_shift ? n : SIZE_MAX;
        } else {
            n = scan(row, E, bound, AT_LEAST, 0, 0, block->found[r], NULL);
        }
        if (n > SLOTS && n < SIZE_MAX)
            n = scan_ties(row, E, bound, block->found[r]);
        block->count[r] = (uint32_t)n;
    }
    /* Later, when the stores above are through. */
    for (size_t r = 0; r < rows; r++) {
        const __m256i *found = (const __m256i *)(const void *)block->found[r];
        block->expert[r] = _mm512_cvtepu16_epi32(_mm256_loadu_si256(found));
        float *scores = (float *)&block->score[r];
#pragma GCC unroll 16
        for (size_t i = 0; i < SLOTS; i++)
            scores[i] = logits[r * E + block->found[r][i]];
    }
}

/* Of each row, the best 8 in falling order, a row to a lane. Keys are scores as whole numbers, above
 * the complements of ids; those of no candidate are the least. */
MOE_INLINE void sort_rows(Block *block)
{
    const __m512i counts = _mm512_loadu_si512(block->count), ones = _mm512_set1_epi32(-1);
    transpose(block->score);
    transpose((__m512 *)block->expert);
    __m512i best[2][8];
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; half++) {
        __m512i v[SLOTS], *w = v + 8;
#pragma GCC unroll 16
        for (size_t i = 0; i < SLOTS; i++) {
            /* Adding 0 makes zeroes equal. */
            const __m512 score = _mm512_add_ps(block->score[i], _mm512_setzero_ps());
            const __m512i bits = _mm512_castps_si512(score);
            const __m512i flip = _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1);
            const __mmask16 there = _mm512_cmpgt_epu32_mask(counts, _mm512_set1_epi32((int)i));
            const __m512i high =
                _mm512_mask_xor_epi32(_mm512_set1_epi32(INT32_MIN), there, bits, flip);
            const __m512i low = _mm512_xor_si512(block->expert[i], ones);
            v[i] = half == 0 ? _mm512_unpacklo_epi32(low, high) : _mm512_unpackhi_epi32(low, high);
        }
        SORT_8(order_keys, v);
        SORT_8(order_keys, w);
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++)
            best[half][i] = _mm512_max_epi64(v[i], w[7 - i]);
        MERGE_8(order_keys, best[half]);
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        const __m512 a = _mm512_castsi512_ps(best[0][i]), b = _mm512_castsi512_ps(best[1][i]);
        const __m512i low = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
        const __m512i high = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xDD));
        const __m512i flip = _mm512_srli_epi32(_mm512_srai_epi32(high, 31), 1);
        block->expert[i] = _mm512_xor_si512(low, ones);
        block->score[i] = _mm512_castsi512_ps(_mm512_xor_si512(high, flip));
    }
}

/* The weights of the best K, instead of their scores. */
MOE_INLINE void weigh_rows(size_t K, const MoeGate *gate, Block *block)
{
    const __m512 one = _mm512_set1_ps(1), max = block->score[0];
    __m512 chosen = _mm512_setzero_ps(), divisor = one;
    for (size_t i = 0; i < K; i++) {
        __m512 x = block->score[i];
        if (gate->score == MOE_SCORE_SOFTMAX)
            x = exp_fine(_mm512_sub_ps(x, max));
        else
            x = _mm512_div_ps(one,
                              _mm512_add_ps(one, exp_fine(_mm512_sub_ps(_mm512_setzero_ps(), x))));
        chosen = _mm512_add_ps(chosen, x);
        block->score[i] = x;
    }
    if (gate->renormalise) {
        divisor = _mm512_add_ps(chosen, _mm512_set1_ps(gate->epsilon));
    } else if (gate->score == MOE_SCORE_SOFTMAX) {
        /* What rounding has added to the shift. */
        const __m512 shift = _mm512_loadu_ps(block->shift);
        const __m512 off = _mm512_fmadd_ps(max, _mm512_set1_ps(log2_e), shift);
        divisor = _mm512_mul_ps(sum_lanes(block->sum),
                                exp_fine(_mm512_mul_ps(off, _mm512_set1_ps(-0.693147181F))));
    }
    const __m512 factor = _mm512_div_ps(_mm512_set1_ps(gate->scale), divisor);
    for (size_t i = 0; i < K; i++)
        block->score[i] = _mm512_mul_ps(block->score[i], factor);
}

MOE_INLINE void write_rows(size_t rows, size_t K, Block *block, uint16_t *experts, float *weights)
{
    const __mmask8 wanted = (__mmask8)((1U << K) - 1);
    for (size_t i = 0; i < 8; i++)
        block->score[8 + i] = _mm512_castsi512_ps(block->expert[i]);
    transpose(block->score);
    for (size_t r = 0; r < rows; r++) {
        const __m512i both = _mm512_castps_si512(block->score[r]);
        const __m128i ids = _mm256_cvtepi32_epi16(_mm512_extracti64x4_epi64(both, 1));
        _mm256_mask_storeu_epi32(weights + r * K, wanted, _mm512_castsi512_si256(both));
        _mm_mask_storeu_epi16(experts + r * K, wanted, ids);
    }
}

void moe_gate_plain_avx512(size_t T, size_t E, size_t K, const float *logits, const MoeGate *gate,
                           uint16_t *experts, float *weights)
{
    const bool sum_all = gate->score == MOE_SCORE_SOFTMAX && !gate->renormalise;
    Block block;
    memset(&block, 0, sizeof(block));
    for (size_t t = 0; t < T; t += ROWS) {
        const size_t rows = T - t < ROWS ? T - t : ROWS;
        bound_rows(rows, E, logits + t * E, &block);
        collect_rows(rows, E, logits + t * E, sum_all, &block);
        sort_rows(&block);
        weigh_rows(K, gate, &block);
        write_rows(rows, K, &block, experts + t * K, weights + t * K);
        for (size_t r = t; r < t + rows; r++)
            if (block.count[r - t] > SLOTS || block.count[r - t] < K)
                (MOE_BEST(moe_gate_plain))(1, E, K, logits + r * E, gate, experts + r * K,
                                           weights + r * K);
    }
}

#endif

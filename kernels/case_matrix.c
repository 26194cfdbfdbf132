#include "config.h"

#include "kernels/case_data.h"

#include <string.h>

/* Where the half-precision numbers of a block are, -1: none. Random bytes there would often be NaN
 * or far too large. */
static const struct {
    int first, second;
} halves[MOE_DTYPE_COUNT] = {
    [MOE_F32] = {-1, -1},     [MOE_F16] = {-1, -1},     [MOE_BF16] = {-1, -1},
    [MOE_F8_E4M3] = {-1, -1}, [MOE_F8_E5M2] = {-1, -1}, [MOE_F8_E8M0] = {-1, -1},
    [MOE_F4_E2M1] = {-1, -1}, [MOE_Q4_0] = {0, -1},     [MOE_Q4_1] = {0, 2},
    [MOE_Q5_0] = {0, -1},     [MOE_Q5_1] = {0, 2},      [MOE_Q8_0] = {0, -1},
    [MOE_Q2_K] = {80, 82},    [MOE_Q3_K] = {108, -1},   [MOE_Q4_K] = {0, 2},
    [MOE_Q5_K] = {0, 2},      [MOE_Q6_K] = {208, -1},   [MOE_IQ4_NL] = {0, -1},
    [MOE_IQ4_XS] = {0, -1},   [MOE_MXFP4] = {-1, -1},
};

/* A number from 2^-6 to 2^-5, of either sign. */
static void put_half(uint64_t *state, uint8_t *to)
{
    uint16_t bits = (uint16_t)(0x2400 | (moe_case_next(state) & 0x83FF));
    memcpy(to, &bits, sizeof(bits));
}

static void fix_block(uint64_t *state, MoeDtype dtype, uint8_t *block)
{
    switch (dtype) {
    case MOE_F16:
    case MOE_BF16:
        block[1] &= 0xBF;
        break;
    case MOE_F8_E4M3:
    case MOE_F8_E5M2:
        block[0] &= 0xBF;
        break;
    case MOE_F8_E8M0:
    case MOE_MXFP4:
        block[0] = (uint8_t)(120 + (block[0] & 7));
        break;
    default:
        if (halves[dtype].first >= 0)
            put_half(state, block + halves[dtype].first);
        if (halves[dtype].second >= 0)
            put_half(state, block + halves[dtype].second);
    }
}

void moe_case_store(uint64_t *state, MoeDtype dtype, size_t rows, size_t cols, void *data)
{
    const size_t size = rows * moe_dtype_row_bytes(dtype, cols);
    if (dtype == MOE_F32) {
        for (size_t i = 0; i < rows * cols; i++)
            ((float *)data)[i] = moe_case_uniform(state);
        return;
    }
    uint8_t *bytes = data;
    for (size_t at = 0; at < size; at += 8) {
        uint64_t random = moe_case_next(state);
        memcpy(bytes + at, &random, size - at < 8 ? size - at : 8);
    }
    for (size_t at = 0; at < size; at += moe_dtype_bytes(dtype))
        fix_block(state, dtype, bytes + at);
}

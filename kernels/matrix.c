#include "config.h"

#include "kernels/matrix.h"

#include "kernels/simd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[MOE_DTYPE_COUNT] = {
    [MOE_F32] = {"f32", 4},
    [MOE_F16] = {"f16", 2},
    [MOE_BF16] = {"bf16", 2},
};

const char *moe_dtype_name(MoeDtype dtype)
{
    return dtypes[dtype].name;
}

size_t moe_dtype_size(MoeDtype dtype)
{
    return dtypes[dtype].size;
}

static uint32_t widen_f16_bits(uint16_t half)
{
    /* Moving the exponent field up and multiplying by 2^112 rebiases it; subnormals come out right
     * because the multiplication normalises them. */
    uint32_t bits = (uint32_t)(half & 0x7FFF) << 13;
    float value;
    memcpy(&value, &bits, sizeof(value));
    value *= 0x1p112F;
    memcpy(&bits, &value, sizeof(bits));
    if ((half & 0x7C00) == 0x7C00)
        bits |= 0x7F800000;
    return bits | (uint32_t)(half & 0x8000) << 16;
}

MOE_CLONES static void widen_f16(const uint16_t *from, size_t count, float *out)
{
    size_t i = 0;
    for (; i + MOE_LANES <= count; i += MOE_LANES) {
        uint16_t half[MOE_LANES];
        memcpy(half, from + i, sizeof(half));
        MoeU8 h;
        for (int lane = 0; lane < MOE_LANES; lane++)
            h[lane] = half[lane];
        const MoeU8 magnitude = (h & 0x7FFF) << 13;
        const MoeV8 scaled = (MoeV8)magnitude * 0x1p112F;
        const MoeU8 special = (MoeU8)((h & 0x7C00) == 0x7C00) & 0x7F800000;
        const MoeU8 bits = (MoeU8)scaled | special | (h & 0x8000) << 16;
        memcpy(out + i, &bits, sizeof(bits));
    }
    for (; i < count; i++) {
        uint32_t bits = widen_f16_bits(from[i]);
        memcpy(out + i, &bits, sizeof(bits));
    }
}

MOE_CLONES static void widen_bf16(const uint16_t *from, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(out + i, &bits, sizeof(bits));
    }
}

void moe_widen(MoeDtype dtype, const void *from, size_t count, float *out)
{
    switch (dtype) {
    case MOE_F32:
        memcpy(out, from, count * sizeof(float));
        break;
    case MOE_F16:
        widen_f16(from, count, out);
        break;
    case MOE_BF16:
        widen_bf16(from, count, out);
        break;
    }
}

enum { BLOCK = 1 << 14 };

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

static int any_special(MoeDtype dtype, const void *data, size_t from, size_t count)
{
    if (dtype == MOE_F32)
        return any_special32((const uint32_t *)data + from, count);
    return any_special16((const uint16_t *)data + from, count, dtype == MOE_F16 ? 0x7C00 : 0x7F80);
}

size_t moe_find_nonfinite(MoeDtype dtype, const void *data, size_t count)
{
    size_t first = SIZE_MAX;
#pragma omp parallel for schedule(static) reduction(min : first) if (count > (1 << 20))
    for (size_t block = 0; block < count; block += BLOCK) {
        size_t n = count - block < BLOCK ? count - block : BLOCK;
        if (block < first && any_special(dtype, data, block, n))
            for (size_t i = block; i < block + n && i < first; i++)
                if (any_special(dtype, data, i, 1))
                    first = i;
    }
    return first;
}

const float *moe_matrix_rows(const MoeMatrix *m, size_t row, size_t n, float *scratch)
{
    const char *from = (const char *)m->data + row * m->cols * moe_dtype_size(m->dtype);
    if (m->dtype == MOE_F32)
        return (const float *)(const void *)from;
    moe_widen(m->dtype, from, n * m->cols, scratch);
    return scratch;
}

void *moe_scratch(size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    if (memory == NULL) {
        fprintf(stderr, "moesim: out of memory (%zu bytes)\n", size);
        abort();
    }
    return memory;
}

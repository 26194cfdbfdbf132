/* simd.h - eight-lane vectors for the kernels' inner loops; private to kernels/.
 *
 * Layer: kernels. GCC's vector extension, so the same source is SSE, AVX2, AVX-512 or NEON. Lane
 * count and order of every sum are fixed here, and contraction to FMA is off (-ffp-contract=off),
 * so the results are the same bits whatever the instruction set.
 *
 * MOE_CLONES before a function compiles it for several instruction sets, chosen at load time. It
 * must not contain an OpenMP region (the outlined body would not be cloned): put it on the worker.
 */
#ifndef MOE_KERNELS_SIMD_H
#define MOE_KERNELS_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(HAVE_TARGET_CLONES)
#define MOE_CLONES __attribute__((target_clones("default", "avx2")))
#else
#define MOE_CLONES
#endif
/* The name of a function in a source that is compiled more than once: with it, the AVX2 objects of
 * Makefile.am and the others can be linked together. */
#if defined(MOE_VARIANT_AVX2)
#define MOE_VARIANT(name) name##_avx2
#else
#define MOE_VARIANT(name) name##_base
#endif
#define MOE_INLINE static inline __attribute__((always_inline, unused))

/* Whether the AVX-512 code is there and this machine runs it. */
MOE_INLINE bool moe_has_avx512(void)
{
#if defined(HAVE_AVX512_OBJECTS) && defined(__x86_64__)
    return __builtin_cpu_supports("avx512f");
#else
    return false;
#endif
}

/* And the code for its products of bf16. */
MOE_INLINE bool moe_has_avx512_bf16(void)
{
#if defined(HAVE_AVX512_BF16_OBJECTS) && defined(__x86_64__)
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

enum { MOE_LANES = 8 };
typedef float MoeV8 __attribute__((vector_size(32)));
typedef int32_t MoeI8 __attribute__((vector_size(32)));
typedef uint32_t MoeU8 __attribute__((vector_size(32)));

MOE_INLINE void moe_v8_load(const float *from, MoeV8 *out)
{
    __builtin_memcpy(out, from, sizeof(*out));
}

MOE_INLINE void moe_v8_store(float *to, const MoeV8 *v)
{
    __builtin_memcpy(to, v, sizeof(*v));
}

MOE_INLINE void moe_v8_set(float value, MoeV8 *out)
{
    *out = (MoeV8){value, value, value, value, value, value, value, value};
}

/* The lanes' sum, always in the same order. */
MOE_INLINE float moe_v8_sum(const MoeV8 *v)
{
    const MoeV8 a = *v;
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

MOE_INLINE float moe_v8_max(const MoeV8 *v)
{
    float max = (*v)[0];
    for (int i = 1; i < MOE_LANES; i++)
        max = (*v)[i] > max ? (*v)[i] : max;
    return max;
}

/* out = a > b ? a : b, lane by lane. */
MOE_INLINE void moe_v8_greater(const MoeV8 *a, const MoeV8 *b, MoeV8 *out)
{
#if defined(__AVX2__)
    *out = (MoeV8)_mm256_max_ps((__m256)*a, (__m256)*b); /* the same, in one instruction */
#else
    const MoeI8 mask = *a > *b;
    *out = (MoeV8)((mask & (MoeI8)*a) | (~mask & (MoeI8)*b));
#endif
}

/* e^x in each lane, within 2 ulp; 0 below -87.3, where e^x leaves the normal floats; finite
 * (3.4e38) above 88.7. Range reduction in two steps and a degree-6 polynomial on [-ln2/2, ln2/2],
 * as in Cephes' expf (S. Moshier). */
MOE_INLINE void moe_v8_exp(const MoeV8 *in, MoeV8 *out)
{
    MoeV8 low, high, x = *in;
    moe_v8_set(-87.33654F, &low);
    moe_v8_set(88.72283F, &high);
    const MoeI8 tiny = x < low;
    moe_v8_greater(&x, &low, &x);
    const MoeI8 big = x > high;
    x = (MoeV8)((big & (MoeI8)high) | (~big & (MoeI8)x));
    /* Adding 1.5 * 2^23 rounds to the nearest whole number. */
    const MoeV8 magic = x - x + 12582912.0F;
    const MoeV8 n = (x * 1.44269504F + magic) - magic;
    const MoeV8 r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
    MoeV8 p = r * 1.9875691500e-4F + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + r + 1.0F;
    /* 2^n in two factors: n is -126 ... 128, and 2^128 alone is no float. */
    const MoeI8 whole = __builtin_convertvector(n, MoeI8);
    const MoeI8 half = whole >> 1;
    const MoeV8 first = (MoeV8)((half + 127) << 23);
    const MoeV8 second = (MoeV8)((whole - half + 127) << 23);
    p = p * first * second;
    *out = (MoeV8)(~tiny & (MoeI8)p);
}

/* 2^x in each lane for x <= 127, within 2 ulp; 0 below -125.5. The fraction in [-1/2, 1/2] by a
 * polynomial of degree 6 with the least relative error (2e-9 before rounding), the whole part added
 * to the exponent. */
MOE_INLINE void moe_v8_exp2(const MoeV8 *in, MoeV8 *out)
{
    MoeV8 low, x = *in;
    moe_v8_set(-125.5F, &low);
    const MoeI8 tiny = x < low;
    moe_v8_greater(&x, &low, &x);
    /* Adding 1.5 * 2^23 rounds, and leaves the whole number in the lowest bits. */
    const MoeV8 whole = x + 12582912.0F;
    const MoeV8 f = x - (whole - 12582912.0F);
    MoeV8 p = f * 1.5353362e-4F + 1.33988739e-3F;
    p = p * f + 9.61843692e-3F;
    p = p * f + 5.55033237e-2F;
    p = p * f + 2.40226477e-1F;
    p = p * f + 6.93147182e-1F;
    p = p * f + 1.0F;
    *out = (MoeV8)(~tiny & ((MoeI8)p + ((MoeI8)whole << 23)));
}

#endif

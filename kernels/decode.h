/* decode.h - stored blocks to floats; private to kernels/.
 *
 * Layer: kernels. decode.c and decode_k.c are compiled once for every machine and, where the
 * compiler and the machine are x86, once more for AVX2 (MOE_VARIANT in simd.h): clones that the
 * compiler makes of a function do not get the wider vectors.
 */
#ifndef MOE_KERNELS_DECODE_H
#define MOE_KERNELS_DECODE_H

#include "kernels/matrix.h"

/* Writes @n blocks at @from as floats. */
typedef void (*MoeDecoder)(const uint8_t *from, size_t n, float *out);

/* The decoder of @dtype in plain code, and in AVX2 code. F32 has none: NULL. */
MoeDecoder moe_decoder_base(MoeDtype dtype);
MoeDecoder moe_decoder_avx2(MoeDtype dtype);

/* For decode.c: the 256-element blocks of decode_k.c; NULL for other types. */
MoeDecoder moe_decoder_k_base(MoeDtype dtype);
MoeDecoder moe_decoder_k_avx2(MoeDtype dtype);

#endif

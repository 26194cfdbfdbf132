/* roof.h - what this machine reaches at all: the roofline that benchmarks are compared with.
 *
 * Layer: kernels. For bench.c and tests/bench; not part of the program. All OpenMP threads work.
 */
#ifndef MOE_KERNELS_ROOF_H
#define MOE_KERNELS_ROOF_H

/* Seconds on a clock that never runs back. */
double moe_roof_now(void);

/* The FLOP/s of CBLAS's SGEMM: each thread multiplies 1024 x 1024 matrices of its own for
 * @seconds; the best call counts, times the number of threads. */
double moe_roof_flops(double seconds);

/* Bytes/s to and from memory: the sum of 256 MB read; 128 MB copied, read and written bytes both
 * counted. The best of at least three calls in @seconds each. */
double moe_roof_read(double seconds);
double moe_roof_copy(double seconds);

#endif

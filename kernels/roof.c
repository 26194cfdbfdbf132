#include "config.h"

#include "kernels/roof.h"

#include "kernels/linear.h"
#include "kernels/simd.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIDE = 1024, LEAST_CALLS = 3 };
static const size_t READ_BYTES = 256 << 20, COPY_BYTES = 128 << 20, BLOCK = 1 << 20;

double moe_roof_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double moe_roof_flops(double seconds)
{
    double least = INFINITY;
    int n_threads = 1;
    moe_blas_single();
#pragma omp parallel reduction(min : least)
    {
        float *a = moe_scratch(3 * SIDE * SIDE * sizeof(float));
        memset(a, 0, 3 * SIDE * SIDE * sizeof(float));
#pragma omp single
        n_threads = omp_get_num_threads();
        double begin = moe_roof_now();
        for (int i = 0; i < LEAST_CALLS || moe_roof_now() - begin < seconds; i++) {
            double start = moe_roof_now();
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SIDE, SIDE, SIDE, 1, a, SIDE,
                        a + SIDE * SIDE, SIDE, 0, a + 2 * SIDE * SIDE, SIDE);
            least = fmin(least, moe_roof_now() - start);
        }
        free(a);
    }
    return n_threads * 2.0 * SIDE * SIDE * SIDE / least;
}

MOE_CLONES static float sum_block(const float *from, size_t n)
{
    MoeV8 v, sums[4] = {0};
    for (size_t i = 0; i < n; i += 4 * MOE_LANES) {
        for (size_t k = 0; k < 4; k++) {
            moe_v8_load(from + i + k * MOE_LANES, &v);
            sums[k] += v;
        }
    }
    sums[0] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    return moe_v8_sum(&sums[0]);
}

static void read_all(char *to, const char *from)
{
    float sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (size_t at = 0; at < READ_BYTES; at += BLOCK)
        sum += sum_block((const float *)(const void *)(from + at), BLOCK / sizeof(float));
    memcpy(to, &sum, sizeof(sum)); /* so that it is needed */
}

static void copy_all(char *to, const char *from)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < COPY_BYTES; at += BLOCK)
        memcpy(to + at, from + at, BLOCK);
}

static double least_seconds(void (*call)(char *to, const char *from), double seconds)
{
    char *from = moe_scratch(READ_BYTES), *to = moe_scratch(COPY_BYTES);
    memset(from, 0, READ_BYTES);
    memset(to, 0, COPY_BYTES);
    double least = INFINITY, begin = moe_roof_now();
    for (int i = 0; i < LEAST_CALLS || moe_roof_now() - begin < seconds; i++) {
        double start = moe_roof_now();
        call(to, from);
        least = fmin(least, moe_roof_now() - start);
    }
    free(from);
    free(to);
    return least;
}

double moe_roof_read(double seconds)
{
    return (double)READ_BYTES / least_seconds(read_all, seconds);
}

double moe_roof_copy(double seconds)
{
    return 2 * (double)COPY_BYTES / least_seconds(copy_all, seconds);
}

/* bench.c - times every kernel at the shapes of real models, against what this machine can do at
 * all.
 *
 * Prints a table, or with --csv the columns kernel, shape, seconds, gflop_s, gbyte_s, roof_share.
 * The roof is measured in the same run: SGEMM of 2048 x 2048 and a copy of 256 MB, on all threads;
 * a kernel's share is of the slower side of its own roofline. Median of repeated calls.
 */
#include "config.h"

#include "kernels/cases.h"
#include "kernels/linear.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *kernel, *what;
    MoeCaseShape shape;
} benches[] = {
    {"rmsnorm", "4096 tokens of 2048", {.T = 4096, .H = 2048}},
    {"rope", "4096 tokens, 16 heads of 128", {.T = 4096, .Q = 16, .D = 128}},
    {"linear", "4096 x 2048 x 2048, bf16", {.T = 4096, .N = 2048, .H = 2048, .dtype = MOE_BF16}},
    {"attention",
     "4096 tokens in 2, 16 heads of 128",
     {.T = 4096, .N = 2, .Q = 16, .G = 16, .D = 128}},
    {"attention", "8192 tokens in 2, 4 heads of 32", {.T = 8192, .N = 2, .Q = 4, .G = 4, .D = 32}},
    {"gate", "65536 tokens, 8 of 256", {.T = 65536, .E = 256, .K = 8}},
    {"gate", "65536 tokens, 8 of 64", {.T = 65536, .E = 64, .K = 8}},
    {"permute", "4096 tokens x 8 of 2048", {.T = 4096, .E = 64, .K = 8, .H = 2048}},
    {"experts",
     "2048 tokens x 8, 64 of 2048 x 1024, bf16",
     {.T = 2048, .E = 64, .K = 8, .H = 2048, .F = 1024, .dtype = MOE_BF16}},
    {"experts",
     "8192 tokens x 8, 64 of 128 x 32, bf16",
     {.T = 8192, .E = 64, .K = 8, .H = 128, .F = 32, .dtype = MOE_BF16}},
    {"combine", "4096 tokens x 8 of 2048", {.T = 4096, .E = 64, .K = 8, .H = 2048}},
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median time of a call, of at least 5 calls and half a second. */
static double median_seconds(void (*call)(void *), void *data)
{
    enum { MOST = 200 };
    double times[MOST], begin = now_s();
    int n = 0;
    call(data); /* warm */
    while (n < MOST && (n < 5 || now_s() - begin < 0.5)) {
        double start = now_s();
        call(data);
        times[n++] = now_s() - start;
    }
    qsort(times, (size_t)n, sizeof(double), rising);
    return times[n / 2];
}

typedef struct {
    const MoeKernel *kernel;
    MoeCase *c;
} KernelCall;

static void call_kernel(void *data)
{
    KernelCall *call = data;
    call->kernel->run(call->c);
}

typedef struct {
    float *x, *y;
    size_t n;
    MoeMatrix w;
} Roof;

static void call_gemm(void *data)
{
    Roof *roof = data;
    moe_linear(roof->n, roof->x, &roof->w, roof->y);
}

enum { COPY_BYTES = 256 << 20, COPY_BLOCK = 1 << 20 };

static void call_copy(void *data)
{
    Roof *roof = data;
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < COPY_BYTES; at += COPY_BLOCK)
        memcpy((char *)roof->y + at, (char *)roof->x + at, COPY_BLOCK);
}

/* FLOP/s and bytes/s that this machine reaches. */
static void measure_roof(double *flop_s, double *bytes_s)
{
    const size_t n = 2048;
    Roof roof = {.x = moe_scratch(COPY_BYTES), .y = moe_scratch(COPY_BYTES), .n = n};
    memset(roof.x, 0, COPY_BYTES);
    memset(roof.y, 0, COPY_BYTES);
    *bytes_s = 2.0 * COPY_BYTES / median_seconds(call_copy, &roof);
    roof.w = (MoeMatrix){roof.x, MOE_F32, n, n};
    *flop_s = 2.0 * (double)(n * n * n) / median_seconds(call_gemm, &roof);
    free(roof.x);
    free(roof.y);
}

static const MoeKernel *find_kernel(const char *name)
{
    size_t n;
    const MoeKernel *kernels = moe_kernels(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(kernels[i].name, name) == 0)
            return &kernels[i];
    abort();
}

int main(int argc, char **argv)
{
    int csv = argc > 1 && strcmp(argv[1], "--csv") == 0;
    double flop_s, bytes_s;
    measure_roof(&flop_s, &bytes_s);
    if (csv)
        printf("kernel,shape,seconds,gflop_s,gbyte_s,roof_share\n");
    else
        printf("roof: SGEMM %.1f GFLOP/s, copy %.1f GB/s\n%-10s %-42s %10s %9s %7s %6s\n",
               flop_s * 1e-9, bytes_s * 1e-9, "kernel", "shape", "ms", "GFLOP/s", "GB/s", "roof");
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        KernelCall call = {find_kernel(benches[i].kernel), NULL};
        call.c = moe_case_new(call.kernel, &benches[i].shape);
        double seconds = median_seconds(call_kernel, &call);
        double flop = call.kernel->flop(&benches[i].shape),
               bytes = call.kernel->bytes(&benches[i].shape);
        double share = fmax(flop / flop_s, bytes / bytes_s) / seconds;
        printf(csv ? "%s,\"%s\",%.6g,%.4g,%.4g,%.3f\n" : "%-10s %-42s %10.3f %9.2f %7.2f %5.0f%%\n",
               benches[i].kernel, benches[i].what, csv ? seconds : seconds * 1e3,
               flop / seconds * 1e-9, bytes / seconds * 1e-9, csv ? share : share * 100);
        fflush(stdout);
        moe_case_free(call.c);
    }
    return EXIT_SUCCESS;
}

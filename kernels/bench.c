/* bench.c - times every kernel at the shapes of real models, against what this machine can do at
 * all.
 *
 * bench [--csv FILE] [KERNEL...]: prints a table; FILE has the columns kernel, shape, seconds,
 * gflop_s, gbyte_s, roof, roof_share. The roofs are measured in the same run, on all threads
 * (roof.h); a kernel's is what bounds it more, "sgemm" or "memory", the better of reading and
 * copying. Least of repeated calls.
 */
#include "config.h"

#include "kernels/cases.h"
#include "kernels/roof.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *kernel, *what;
    MoeCaseShape shape;
} benches[] = {
    {"rmsnorm", "4096 tokens of 2048", {.T = 4096, .H = 2048}},
    {"rope", "4096 tokens, 16 heads of 128", {.T = 4096, .Q = 16, .D = 128}},
    {"linear", "2048 x 1024 x 1024, f32", {.T = 2048, .N = 1024, .H = 1024}},
    {"linear", "4096 x 2048 x 2048, bf16", {.T = 4096, .N = 2048, .H = 2048, .dtype = MOE_BF16}},
    {"linear", "4096 x 2048 x 2048, q8_0", {.T = 4096, .N = 2048, .H = 2048, .dtype = MOE_Q8_0}},
    {"linear, bf16",
     "2048 x 1024 x 1024, f32",
     {.T = 2048, .N = 1024, .H = 1024, .precision = MOE_PRECISION_BF16}},
    {"linear, bf16",
     "4096 x 2048 x 2048, bf16",
     {.T = 4096, .N = 2048, .H = 2048, .dtype = MOE_BF16, .precision = MOE_PRECISION_BF16}},
    {"linear, bf16",
     "4096 x 2048 x 2048, q8_0",
     {.T = 4096, .N = 2048, .H = 2048, .dtype = MOE_Q8_0, .precision = MOE_PRECISION_BF16}},
    {"attention", "2048 tokens, 16 heads of 64", {.T = 2048, .N = 1, .Q = 16, .G = 16, .D = 64}},
    {"attention",
     "4096 tokens in 2, 16 heads of 128",
     {.T = 4096, .N = 2, .Q = 16, .G = 16, .D = 128}},
    {"attention", "8192 tokens in 2, 4 heads of 32", {.T = 8192, .N = 2, .Q = 4, .G = 4, .D = 32}},
    {"attention, bf16",
     "2048 tokens, 16 heads of 64",
     {.T = 2048, .N = 1, .Q = 16, .G = 16, .D = 64, .precision = MOE_PRECISION_BF16}},
    {"attention, bf16",
     "8192 tokens in 2, 4 heads of 32",
     {.T = 8192, .N = 2, .Q = 4, .G = 4, .D = 32, .precision = MOE_PRECISION_BF16}},
    {"gate", "65536 tokens, 8 of 256", {.T = 65536, .E = 256, .K = 8}},
    {"gate", "65536 tokens, 8 of 256, renormalised", {.T = 65536, .E = 256, .K = 8, .F = 1}},
    {"gate", "65536 tokens, 8 of 64", {.T = 65536, .E = 64, .K = 8}},
    {"permute", "4096 tokens x 8 of 2048", {.T = 4096, .E = 64, .K = 8, .H = 2048}},
    {"experts",
     "2048 tokens x 2, 16 of 1024 x 1024, f32",
     {.T = 2048, .E = 16, .K = 2, .H = 1024, .F = 1024}},
    {"experts",
     "2048 tokens x 8, 64 of 2048 x 1024, bf16",
     {.T = 2048, .E = 64, .K = 8, .H = 2048, .F = 1024, .dtype = MOE_BF16}},
    {"experts",
     "8192 tokens x 8, 64 of 128 x 32, bf16",
     {.T = 8192, .E = 64, .K = 8, .H = 128, .F = 32, .dtype = MOE_BF16}},
    {"experts, bf16",
     "2048 tokens x 8, 64 of 2048 x 1024, bf16",
     {.T = 2048,
      .E = 64,
      .K = 8,
      .H = 2048,
      .F = 1024,
      .dtype = MOE_BF16,
      .precision = MOE_PRECISION_BF16}},
    {"combine", "4096 tokens x 8 of 2048", {.T = 4096, .E = 64, .K = 8, .H = 2048}},
};

/* The least time of a call, of at least 5 calls and half a second. */
static double least_seconds(void (*call)(void *), void *data)
{
    double least = INFINITY, begin = moe_roof_now();
    for (int n = 0; n < 5 || moe_roof_now() - begin < 0.5; n++) {
        double start = moe_roof_now();
        call(data);
        least = fmin(least, moe_roof_now() - start);
    }
    return least;
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

static const MoeKernel *find_kernel(const char *name)
{
    size_t n;
    const MoeKernel *kernels = moe_kernels(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(kernels[i].name, name) == 0)
            return &kernels[i];
    abort();
}

typedef struct {
    double flop_s, bytes_s;
} Roof;

static Roof measure_roof(void)
{
    double read = moe_roof_read(0.5), copy = moe_roof_copy(0.5);
    Roof roof = {moe_roof_flops(1), fmax(read, copy)};
    printf("roof: SGEMM %.1f GFLOP/s; memory read %.1f GB/s, copy %.1f GB/s\n", roof.flop_s * 1e-9,
           read * 1e-9, copy * 1e-9);
    return roof;
}

static void bench(size_t i, const Roof *roof, FILE *csv)
{
    KernelCall call = {find_kernel(benches[i].kernel), NULL};
    call.c = moe_case_new(call.kernel, &benches[i].shape);
    double seconds = least_seconds(call_kernel, &call);
    double flop = call.kernel->flop(&benches[i].shape) / seconds;
    double bytes = call.kernel->bytes(&benches[i].shape) / seconds;
    const char *bound = flop / roof->flop_s > bytes / roof->bytes_s ? "sgemm" : "memory";
    double share = fmax(flop / roof->flop_s, bytes / roof->bytes_s);
    printf("%-15s %-42s %10.3f %9.2f %7.2f %-6s %5.0f%%\n", benches[i].kernel, benches[i].what,
           seconds * 1e3, flop * 1e-9, bytes * 1e-9, bound, share * 100);
    fflush(stdout);
    if (csv != NULL)
        fprintf(csv, "\"%s\",\"%s\",%.6g,%.4g,%.4g,%s,%.3f\n", benches[i].kernel, benches[i].what,
                seconds, flop * 1e-9, bytes * 1e-9, bound, share);
    moe_case_free(call.c);
}

static int wanted(const char *kernel, int n, char **names)
{
    for (int i = 0; i < n; i++)
        if (strcmp(kernel, names[i]) == 0)
            return 1;
    return n == 0;
}

int main(int argc, char **argv)
{
    FILE *csv = NULL;
    if (argc > 1 && strcmp(argv[1], "--csv") == 0) {
        csv = argc > 2 ? fopen(argv[2], "w") : NULL;
        if (csv == NULL) {
            fprintf(stderr, "bench: --csv needs a file that can be written\n");
            return EXIT_FAILURE;
        }
        argc -= 2;
        argv += 2;
    }
    Roof roof = measure_roof();
    printf("%-15s %-42s %10s %9s %7s %-6s %6s\n", "kernel", "shape", "ms", "GFLOP/s", "GB/s",
           "roof", "share");
    if (csv != NULL)
        fprintf(csv, "kernel,shape,seconds,gflop_s,gbyte_s,roof,roof_share\n");
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
        if (wanted(benches[i].kernel, argc - 1, argv + 1))
            bench(i, &roof, csv);
    return csv == NULL || fclose(csv) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

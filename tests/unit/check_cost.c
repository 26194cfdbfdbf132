#include "config.h"

#include "sim/base/csv.h"
#include "sim/cost.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <stdlib.h>

/* A GPU with round figures: 1 TFLOP/s and 1 GB/s within reach, 1 us per kernel. */
static const MoeGpu round_gpu = {
    .name = "round",
    .peak = {NAN, 2e12, 2e12, 4e12},
    .hbm = {.bandwidth = 2e9, .size = 1e9},
    .efficiency = {.compute = 0.5, .memory = 0.5},
    .launch = 1e-6,
};
static const double flops = 1e12, rate = 1e9, launch = 1e-6; /* what is within reach */

static const MoeModelShape gqa_shape = {
    .hidden_size = 64,
    .num_hidden_layers = 2,
    .vocab_size = 1000,
    .attention = MOE_ATTENTION_GQA,
    .num_attention_heads = 8,
    .num_key_value_heads = 2,
    .head_dim = 16,
    .num_experts = 4,
    .num_experts_per_tok = 2,
    .moe_intermediate_size = 32,
};

static MoeCost cost_of(const MoeModelShape *shape, MoeType type, gboolean decode)
{
    return (MoeCost){.shape = shape, .gpu = &round_gpu, .type = type, .decode = decode};
}

/* One kernel of the roofline, from its FLOP and bytes. */
static double kernel(double flop, double bytes)
{
    return fmax(flop / flops, bytes / rate) + launch;
}

START_TEST(roofline_takes_the_slower_side)
{
    MoeCost cost = cost_of(&gqa_shape, MOE_TYPE_BF16, FALSE);
    assert_close(moe_cost_kernel(&cost, 3e6, 1e3), 3e-6 + launch, 1e-12);
    assert_close(moe_cost_kernel(&cost, 1e3, 3e3), 3e-6 + launch, 1e-12);
    cost.type = MOE_TYPE_FP8; /* twice the FLOP/s */
    assert_close(moe_cost_kernel(&cost, 3e6, 0), 1.5e-6 + launch, 1e-12);
}
END_TEST

START_TEST(products_count_weights_and_activations)
{
    MoeCost cost = cost_of(&gqa_shape, MOE_TYPE_BF16, FALSE);
    double T = 10, H = 64, V = 1000, E = 4;
    assert_close(moe_cost_head(&cost, 10), kernel(2 * T * H * V, 2 * H * V + 2 * T * (H + V)),
                 1e-12);
    /* The router reads the states once more for the norm, and writes them. */
    assert_close(moe_cost_router(&cost, 10),
                 kernel(2 * T * H * E, 2 * H * E + 2 * T * (H + E) + 4 * T * H), 1e-12);
    double F = 48;
    assert_close(moe_cost_ffn(&cost, 10, 48),
                 kernel(4 * T * H * F, 4 * H * F + 2 * T * (H + 2 * F)) +
                     kernel(2 * T * H * F, 2 * H * F + 2 * T * (H + F)),
                 1e-12);
    cost.type = MOE_TYPE_FP8; /* weights of one byte, activations of two */
    assert_close(moe_cost_head(&cost, 1), kernel(0, H * V + 2 * (H + V)), 1e-12);
}
END_TEST

START_TEST(nothing_to_do_costs_nothing)
{
    MoeCost cost = cost_of(&gqa_shape, MOE_TYPE_BF16, FALSE);
    MoeContext none = {0};
    const gint64 idle[] = {0, 0};
    ck_assert(moe_cost_attention(&cost, &none) == 0);
    ck_assert(moe_cost_router(&cost, 0) == 0 && moe_cost_head(&cost, 0) == 0);
    ck_assert(moe_cost_ffn(&cost, 0, 48) == 0 && moe_cost_ffn(&cost, 10, 0) == 0);
    ck_assert(moe_cost_experts(&cost, idle, 2) == 0);
    ck_assert(moe_cost_combine(&cost, 0, 0) == 0);
}
END_TEST

START_TEST(attention_of_gqa)
{
    MoeCost cost = cost_of(&gqa_shape, MOE_TYPE_BF16, FALSE);
    /* A prompt of 100: token i attends to i + 1 keys. */
    MoeContext prompt = {.tokens = 100, .pairs = 100 * 101 / 2, .keys = 100};
    double T = 100, H = 64, q = 128, kv = 32;
    double expected =
        kernel(2 * T * H * (q + 2 * kv),
               2 * H * (q + 2 * kv) + 2 * T * (H + q + 2 * kv) + 4 * T * H + 4 * T * (q + kv)) +
        kernel(4 * prompt.pairs * q, 4 * T * q + 4 * prompt.keys * kv) +
        kernel(2 * T * q * H, 2 * q * H + 2 * T * (q + H));
    assert_close(moe_cost_attention(&cost, &prompt), expected, 1e-12);
}
END_TEST

static const MoeModelShape mla_shape = {
    .hidden_size = 64,
    .num_hidden_layers = 2,
    .vocab_size = 1000,
    .attention = MOE_ATTENTION_MLA,
    .num_attention_heads = 4,
    .kv_lora_rank = 32,
    .qk_nope_head_dim = 16,
    .qk_rope_head_dim = 8,
    .v_head_dim = 12,
    .num_experts = 4,
    .num_experts_per_tok = 2,
    .moe_intermediate_size = 32,
};

START_TEST(attention_of_mla)
{
    double T = 10, H = 64, heads = 4, r = 32, nope = 16, rope = 8, v = 12, pairs = 5000,
           keys = 5000;
    MoeContext context = {.tokens = 10, .pairs = pairs, .keys = keys};
    double in = heads * (nope + rope) + r + rope;
    double ends = kernel(2 * T * H * in, 2 * H * in + 2 * T * (H + in) + 4 * T * H) +
                  kernel(2 * T * heads * v * H, 2 * heads * v * H + 2 * T * (heads * v + H));
    double expand = kernel(2 * T * r * heads * (nope + v),
                           2 * r * heads * (nope + v) + 2 * T * (r + heads * (nope + v)));
    double wide = nope + rope + v;
    MoeCost prefill = cost_of(&mla_shape, MOE_TYPE_BF16, FALSE);
    assert_close(
        moe_cost_attention(&prefill, &context),
        ends + expand +
            kernel(2 * pairs * heads * wide, 2 * T * heads * wide + 2 * keys * heads * wide),
        1e-12);
    /* Decode: queries and outputs go through the latent space, and only it is read from the cache.
     */
    double absorb =
        kernel(2 * T * nope * heads * r, 2 * nope * heads * r + 2 * T * (nope + heads * r)) +
        kernel(2 * T * r * heads * v, 2 * r * heads * v + 2 * T * (r + heads * v));
    MoeCost decode = cost_of(&mla_shape, MOE_TYPE_BF16, TRUE);
    assert_close(moe_cost_attention(&decode, &context),
                 ends + absorb +
                     kernel(2 * pairs * heads * (2 * r + rope),
                            2 * T * heads * (2 * r + rope) + 2 * keys * (r + rope)),
                 1e-12);
}
END_TEST

START_TEST(experts_pay_for_their_own_tokens)
{
    MoeCost cost = cost_of(&gqa_shape, MOE_TYPE_BF16, FALSE);
    const gint64 even[] = {50, 50}, skewed[] = {99, 1}, one[] = {100, 0};
    double H = 64, F = 32;
    double expected = 2 * launch;
    for (int e = 0; e < 2; e++)
        expected += kernel(4 * 50 * H * F, 4 * H * F + 2 * 50 * (3 * H + 2 * F)) - launch +
                    kernel(2 * 50 * H * F, 2 * H * F + 2 * 50 * (F + H)) - launch;
    assert_close(moe_cost_experts(&cost, even, 2), expected, 1e-12);
    /* As many pairs over as many experts cost at least as much; fewer experts save reading weights.
     */
    ck_assert(moe_cost_experts(&cost, skewed, 2) >= moe_cost_experts(&cost, even, 2));
    ck_assert(moe_cost_experts(&cost, one, 2) < moe_cost_experts(&cost, even, 2));
}
END_TEST

START_TEST(missing_units_are_refused)
{
    GError *error = NULL;
    MoeCost cost = cost_of(&gqa_shape, MOE_TYPE_F32, FALSE);
    ck_assert(!moe_cost_check(&cost, &error));
    assert_error(&error, MOE_ERROR_INPUT, "the GPU 'round' has no f32 units");
}
END_TEST

/* --- measured -------------------------------------------------------------------------------- */

typedef struct {
    double errors[512];
    size_t n;
} Errors;

static void add_error(Errors *e, double predicted, double measured)
{
    ck_assert(e->n < G_N_ELEMENTS(e->errors));
    e->errors[e->n++] = fabs(predicted - measured) / measured;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void check_errors(Errors *e, size_t n, double mean_bound, double median_bound)
{
    ck_assert_uint_eq(e->n, n);
    qsort(e->errors, e->n, sizeof(double), rising);
    double mean = 0;
    for (size_t i = 0; i < e->n; i++)
        mean += e->errors[i] / (double)e->n;
    ck_assert_msg(mean <= mean_bound && e->errors[e->n / 2] <= median_bound,
                  "mean error %.3f, median %.3f over %zu rows", mean, e->errors[e->n / 2], e->n);
}

/* Calls @row with the wanted columns of every line of a file of tests/data/measured. */
static void read_rows(const char *name, const char *const *columns,
                      void (*row)(const double *values, const MoeGpu *gpu, Errors *errors),
                      const MoeGpu *gpu, Errors *errors)
{
    g_autofree char *inner = g_build_filename("tests/data/measured", name, NULL);
    g_autofree char *path = source_file(inner);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeCsv) csv = moe_csv_open(path, columns, &error);
    assert_no_error(error);
    while (moe_csv_next(csv, &error)) {
        double values[8];
        for (int i = 0; columns[i] != NULL; i++)
            ck_assert(moe_csv_number(csv, i, 0, 1e12, &values[i], &error));
        row(values, gpu, errors);
    }
    assert_no_error(error);
}

static void gemm_row(const double *v, const MoeGpu *gpu, Errors *errors)
{
    const MoeModelShape shape = {.hidden_size = (gint64)v[1], .vocab_size = (gint64)v[2]};
    const MoeCost cost = {.shape = &shape, .gpu = gpu, .type = MOE_TYPE_FP8};
    add_error(errors, moe_cost_head(&cost, (gint64)v[0]), v[3] * 1e-6);
}

static void grouped_row(const double *v, const MoeGpu *gpu, Errors *errors)
{
    const double E = v[0], T = v[1], H = v[2], F = v[3],
                 peak = gpu->peak[MOE_TYPE_FP8] * gpu->efficiency.compute;
    const double hbm = gpu->hbm.bandwidth * gpu->efficiency.memory;
    /* Up and down were timed apart; moe_cost_experts() is their sum. */
    const MoeModelShape shape = {.hidden_size = (gint64)H, .moe_intermediate_size = (gint64)F};
    const MoeCost cost = {.shape = &shape, .gpu = gpu, .type = MOE_TYPE_FP8};
    double down = E * fmax(2 * T * H * F / peak, (H * F + 2 * T * (F + H)) / hbm) + gpu->launch;
    gint64 tokens[256];
    for (int e = 0; e < (int)E; e++)
        tokens[e] = (gint64)T;
    double both = moe_cost_experts(&cost, tokens, (gint64)E);
    add_error(errors, both - down, v[4] * 1e-6);
    add_error(errors, down, v[5] * 1e-6);
}

/* The efficiencies of the preset were fitted on these rows: what is tested is that the model is as
 * good as the preset's source line says. */
START_TEST(h800_times_are_met)
{
    static const char *const gemm[] = {"m", "k", "n", "latency_us", NULL};
    static const char *const grouped[] = {
        "num_local_experts", "tokens_per_expert", "hidden_size", "intermediate_size",
        "up_proj_us",        "down_proj_us",      NULL};
    MoeGpu gpu = {0};
    g_autoptr(GError) error = NULL;
    ck_assert(moe_gpu_load("h800-sxm", NULL, &gpu, &error));
    Errors errors = {.n = 0};
    read_rows("gemm_h800_data.csv", gemm, gemm_row, &gpu, &errors);
    read_rows("grouped_gemm_prefill_h800_data.csv", grouped, grouped_row, &gpu, &errors);
    read_rows("grouped_gemm_decode_h800_data.csv", grouped, grouped_row, &gpu, &errors);
    check_errors(&errors, 252, 0.145, 0.095);
    moe_gpu_clear(&gpu);
}
END_TEST

static void mixtral_row(const double *v, const MoeGpu *gpu, Errors *errors)
{
    const MoeModelShape shape = {.hidden_size = (gint64)v[3],
                                 .moe_intermediate_size = (gint64)v[4]};
    const MoeCost cost = {.shape = &shape, .gpu = gpu, .type = MOE_TYPE_BF16};
    /* Uniform routing: how many of the experts T tokens are expected to meet, evenly loaded. */
    double T = v[0], E = v[1], k = v[2], met = E * (1 - pow(1 - k / E, T));
    gint64 tokens = (gint64)fmax(1, round(T * k / met));
    double one = moe_cost_experts(&cost, &tokens, 1) - 2 * gpu->launch;
    add_error(errors, met * one + 2 * gpu->launch, v[5] * 1e-3);
}

START_TEST(a100_times_are_met)
{
    static const char *const columns[] = {"num_tokens",  "num_experts",       "topk",
                                          "hidden_size", "intermediate_size", "grouped_gemm_ms",
                                          NULL};
    MoeGpu gpu = {0};
    g_autoptr(GError) error = NULL;
    ck_assert(moe_gpu_load("a100-sxm-80gb", NULL, &gpu, &error));
    Errors errors = {.n = 0};
    read_rows("grouped_gemm_a100_mixtral.csv", columns, mixtral_row, &gpu, &errors);
    check_errors(&errors, 259, 0.13, 0.11);
    moe_gpu_clear(&gpu);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("cost");
    TCase *tests = tcase_create("cost");
    tcase_add_test(tests, roofline_takes_the_slower_side);
    tcase_add_test(tests, products_count_weights_and_activations);
    tcase_add_test(tests, nothing_to_do_costs_nothing);
    tcase_add_test(tests, attention_of_gqa);
    tcase_add_test(tests, attention_of_mla);
    tcase_add_test(tests, experts_pay_for_their_own_tokens);
    tcase_add_test(tests, missing_units_are_refused);
    tcase_add_test(tests, h800_times_are_met);
    tcase_add_test(tests, a100_times_are_met);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "kernels/simd.h"
#include "models/generate.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Random models of many families, and a trained one: what is appended step by step must be what one
 * pass over the whole sequence gives, which `moesim verify --golden` holds against the reference. */
static const char *const folders[] = {
    "tests/golden/olmoe",         "tests/golden/mixtral",        "tests/golden/qwen2_moe",
    "tests/golden/qwen3_moe",     "tests/golden/granitemoe",     "tests/golden/dbrx",
    "tests/golden/deepseek_v2",   "tests/golden/deepseek_v3",    "tests/golden/deepseek_v3_fp8",
    "tests/golden/glm4_moe_lite", "tests/golden/longcat_flash",  "tests/golden/gpt_oss",
    "tests/golden/gpt_oss_mxfp4", "tests/golden/mimo_v2_flash",  "tests/golden/llama4_text",
    "tests/golden/minimax_m2",    "tests/golden/hunyuan_v1_moe", "tests/golden/glm4_moe",
    "models/presets/olmoe-tiny",
};

enum { PROMPT = 30, WRITTEN = 40, LENGTH = PROMPT + WRITTEN };

typedef struct {
    MoeModel *model;
    MoeWeights *weights;
    gsize K, V;
    MoePrecision precision;
} Fixture;

static Fixture f;

/* On one thread, unless a test says otherwise: the models are so small that threads only wait. */
static void open_model(const char *name)
{
    f.precision = MOE_PRECISION_F32;
    omp_set_num_threads(1);
    g_autofree char *folder = source_file(name);
    g_autoptr(GError) error = NULL;
    f.model = moe_model_load(folder, NULL, &error);
    assert_no_error(error);
    f.weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    f.K = (gsize)f.model->shape.num_experts_per_tok;
    f.V = (gsize)f.model->shape.vocab_size;
}

/* The test @i of a loop over the folders, in f32 and then in bf16. There a last bit may grow, so that
 * nothing is the same but where products do not depend on how many tokens there are: FALSE. */
static gboolean open_folder(int i)
{
    const int n = (int)G_N_ELEMENTS(folders);
    if (i >= n && !moe_has_avx512())
        return FALSE;
    open_model(folders[i % n]);
    f.precision = i < n ? MOE_PRECISION_F32 : MOE_PRECISION_BF16;
    return TRUE;
}

static void close_model(void)
{
    moe_weights_free(f.weights);
    moe_model_free(f.model);
}

static void fill_ids(guint32 *ids, gsize n)
{
    for (gsize i = 0; i < n; i++)
        ids[i] = (guint32)(3 + i * i * 7 % (f.V - 3));
}

/* The decisions of all tokens so far, block by block. */
typedef struct {
    GArray *experts[64], *weights[64]; /* guint16, float */
    GArray *ids;                       /* what token() got */
    gsize stop_after;                  /* tokens at which token() gives up; 0: never */
} Decisions;

static gboolean collect(void *user, const MoeRouting *routing, GError **error)
{
    (void)error;
    Decisions *d = user;
    int l = routing->layer;
    if (d->experts[l] == NULL) {
        d->experts[l] = g_array_new(FALSE, FALSE, sizeof(guint16));
        d->weights[l] = g_array_new(FALSE, FALSE, sizeof(float));
    }
    g_array_append_vals(d->experts[l], routing->experts, (guint)(routing->n_tokens * f.K));
    g_array_append_vals(d->weights[l], routing->weights, (guint)(routing->n_tokens * f.K));
    return TRUE;
}

static void decisions_clear(Decisions *d)
{
    for (gsize l = 0; l < G_N_ELEMENTS(d->experts); l++) {
        g_clear_pointer(&d->experts[l], g_array_unref);
        g_clear_pointer(&d->weights[l], g_array_unref);
    }
    g_clear_pointer(&d->ids, g_array_unref);
}

/* One pass over @ids: decisions and, unless NULL, the logits behind each of them. */
static void force(const guint32 *ids, gsize n, Decisions *d, float *logits)
{
    const gsize offsets[] = {0, n};
    g_autofree gsize *all = g_new(gsize, n);
    for (gsize i = 0; i < n; i++)
        all[i] = i;
    const MoeForward job = {.model = f.model,
                            .weights = f.weights,
                            .ids = ids,
                            .n_sequences = 1,
                            .offsets = offsets,
                            .routing = collect,
                            .user = d,
                            .head_tokens = all,
                            .n_head_tokens = logits != NULL ? n : 0,
                            .head_out = logits,
                            .precision = f.precision};
    g_autoptr(GError) error = NULL;
    ck_assert(moe_forward(&job, &error));
    assert_no_error(error);
}

/* The same experts in the same order, and weights that differ by rounding at most. */
static void assert_same(const Decisions *a, const Decisions *b)
{
    int blocks = 0;
    for (gsize l = 0; l < G_N_ELEMENTS(a->experts); l++) {
        ck_assert((a->experts[l] == NULL) == (b->experts[l] == NULL));
        if (a->experts[l] == NULL)
            continue;
        blocks++;
        ck_assert_uint_eq(a->experts[l]->len, b->experts[l]->len);
        for (guint p = 0; p < a->experts[l]->len; p++) {
            ck_assert_uint_eq(g_array_index(a->experts[l], guint16, p),
                              g_array_index(b->experts[l], guint16, p));
            float x = g_array_index(a->weights[l], float, p);
            float y = g_array_index(b->weights[l], float, p);
            ck_assert_msg(fabsf(x - y) <= 1e-4F * fmaxf(fabsf(y), 1), "%g and %g", x, y);
        }
    }
    ck_assert_int_eq(blocks, (int)moe_model_moe_layers(&f.model->shape));
}

static void assert_close_logits(const float *ours, const float *whole)
{
    float worst = 0, most = 0;
    for (gsize i = 0; i < f.V; i++) {
        worst = fmaxf(worst, fabsf(ours[i] - whole[i]));
        most = fmaxf(most, fabsf(whole[i]));
    }
    /* In bf16 there is nothing between the same and a step of bf16. */
    const float bound = f.precision == MOE_PRECISION_BF16 ? 0 : 1e-4F;
    ck_assert_msg(worst <= bound * most, "%g of %g", worst, most);
}

/* The prompt in pieces of several sizes, then tokens one by one. */
START_TEST(steps_equal_one_pass)
{
    if (!open_folder(_i))
        return;
    guint32 ids[LENGTH];
    fill_ids(ids, LENGTH);
    g_autofree float *whole = g_new(float, LENGTH *f.V), *ours = g_new(float, f.V);
    Decisions forced = {0}, stepped = {0};
    force(ids, LENGTH, &forced, whole);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeSession) session =
        moe_session_new(f.model, f.weights, f.precision, LENGTH, &error);
    assert_no_error(error);
    static const gsize pieces[] = {17, 1, 12};
    for (gsize at = 0, i = 0; at < LENGTH; i++) {
        gsize n = i < G_N_ELEMENTS(pieces) ? pieces[i] : 1;
        ck_assert_uint_eq(moe_session_length(session), at);
        ck_assert(moe_session_append(session, ids + at, n, collect, &stepped, ours, &error));
        assert_no_error(error);
        at += n;
        assert_close_logits(ours, whole + (at - 1) * f.V);
    }
    assert_same(&stepped, &forced);
    decisions_clear(&forced);
    decisions_clear(&stepped);
    g_clear_pointer(&session, moe_session_free);
    close_model();
}
END_TEST

static gboolean take_token(void *user, guint32 id, GError **error)
{
    Decisions *d = user;
    g_array_append_val(d->ids, id);
    return d->stop_after == 0 || d->ids->len < d->stop_after ||
           moe_fail(error, MOE_ERROR_FAILED, "enough");
}

static GArray *generate(const guint32 *prompt, gsize n, MoeSampling sampling, Decisions *d)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeSession) session =
        moe_session_new(f.model, f.weights, f.precision, PROMPT + n, &error);
    assert_no_error(error);
    const MoeGeneration job = {.session = session,
                               .prompt = prompt,
                               .n_prompt = PROMPT,
                               .n_tokens = n,
                               .sampling = sampling,
                               .token = d != NULL ? take_token : NULL,
                               .routing = d != NULL ? collect : NULL,
                               .user = d};
    ck_assert(moe_generate(&job, ids, &error));
    assert_no_error(error);
    return ids;
}

/* Greedy: each token is the largest logit of one pass over the text, and the experts are its. */
START_TEST(what_is_written_routes_as_if_read)
{
    if (!open_folder(_i))
        return;
    guint32 text[LENGTH];
    fill_ids(text, PROMPT);
    Decisions written = {.ids = g_array_new(FALSE, FALSE, sizeof(guint32))}, forced = {0};
    g_autoptr(GArray) ids = generate(text, WRITTEN, (MoeSampling){0}, &written);
    ck_assert_uint_eq(ids->len, WRITTEN);
    ck_assert_mem_eq(ids->data, written.ids->data, WRITTEN * sizeof(guint32));
    memcpy(text + PROMPT, ids->data, WRITTEN * sizeof(guint32));
    g_autofree float *whole = g_new(float, LENGTH *f.V);
    force(text, LENGTH, &forced, whole);
    assert_same(&written, &forced);
    for (gsize i = 0; i < WRITTEN; i++) {
        const float *logits = whole + (PROMPT + i - 1) * f.V;
        float most = -INFINITY;
        for (gsize v = 0; v < f.V; v++)
            most = fmaxf(most, logits[v]);
        /* Another may be as large but for rounding. */
        ck_assert(logits[text[PROMPT + i]] >= most - 1e-4F * fabsf(most));
    }
    decisions_clear(&written);
    decisions_clear(&forced);
    close_model();
}
END_TEST

/* Phi-3.5's long RoPE: the sequence's length decides how all of it is rotated. */
START_TEST(long_rope_turns)
{
    open_model("tests/golden/phimoe");
    double original = f.model->config != NULL
                          ? ((const MoeConfig *)f.model->config)->ropes[0].scaling.original
                          : 0;
    ck_assert(original > 1 && original + 3 <= (double)f.model->shape.max_position_embeddings);
    gsize before = (gsize)original, n = before + 3;
    g_autofree guint32 *ids = g_new(guint32, n);
    fill_ids(ids, n);
    g_autofree float *whole = g_new(float, n *f.V), *ours = g_new(float, f.V);
    Decisions d = {0}, forced = {0};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeSession) session = moe_session_new(f.model, f.weights, f.precision, n, &error);
    assert_no_error(error);
    ck_assert(moe_session_append(session, ids, before - 1, NULL, NULL, NULL, &error));
    ck_assert(moe_session_append(session, ids + before - 1, 1, NULL, NULL, ours, &error));
    force(ids, before, &forced, whole);
    assert_close_logits(ours, whole + (before - 1) * f.V);
    decisions_clear(&forced);
    force(ids, n, &forced, whole);
    for (gsize i = before; i < n; i++) {
        ck_assert(moe_session_append(session, ids + i, 1, collect, &d, ours, &error));
        assert_close_logits(ours, whole + i * f.V);
    }
    /* Only the new tokens' decisions are told. */
    int l = (int)moe_model_first_moe_layer(&f.model->shape);
    ck_assert_uint_eq(d.experts[l]->len, 3 * f.K);
    ck_assert_mem_eq(d.experts[l]->data, forced.experts[l]->data + before * f.K * sizeof(guint16),
                     3 * f.K * sizeof(guint16));
    decisions_clear(&d);
    decisions_clear(&forced);
    g_clear_pointer(&session, moe_session_free);
    close_model();
}
END_TEST

START_TEST(threads_and_seeds)
{
    open_model("models/presets/olmoe-tiny");
    guint32 prompt[PROMPT];
    fill_ids(prompt, PROMPT);
    const MoeSampling sampling = {.temperature = 1, .seed = 7},
                      other = {.temperature = 1, .seed = 8};
    omp_set_num_threads(3);
    g_autoptr(GArray) many = generate(prompt, WRITTEN, sampling, NULL);
    omp_set_num_threads(1);
    g_autoptr(GArray) one = generate(prompt, WRITTEN, sampling, NULL);
    g_autoptr(GArray) different = generate(prompt, WRITTEN, other, NULL);
    ck_assert_mem_eq(many->data, one->data, WRITTEN * sizeof(guint32));
    ck_assert(memcmp(many->data, different->data, WRITTEN * sizeof(guint32)) != 0);
    close_model();
}
END_TEST

START_TEST(ends_at_a_stop_and_when_told)
{
    open_model("tests/golden/olmoe");
    guint32 prompt[PROMPT];
    fill_ids(prompt, PROMPT);
    g_autoptr(GArray) all = generate(prompt, WRITTEN, (MoeSampling){0}, NULL);
    guint32 stop = g_array_index(all, guint32, 9);
    gsize first = 0;
    while (g_array_index(all, guint32, first) != stop)
        first++;
    g_autoptr(GArray) some = g_array_new(FALSE, FALSE, sizeof(guint32));
    Decisions d = {.ids = g_array_new(FALSE, FALSE, sizeof(guint32)), .stop_after = 2};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeSession) session =
        moe_session_new(f.model, f.weights, f.precision, LENGTH, &error);
    assert_no_error(error);
    MoeGeneration job = {.session = session,
                         .prompt = prompt,
                         .n_prompt = PROMPT,
                         .n_tokens = WRITTEN,
                         .stops = &stop,
                         .n_stops = 1,
                         .user = &d};
    ck_assert(moe_generate(&job, some, &error));
    ck_assert_uint_eq(some->len, first);
    ck_assert_mem_eq(some->data, all->data, first * sizeof(guint32));
    job.token = take_token;
    job.n_stops = 0;
    ck_assert(!moe_generate(&job, some, &error));
    assert_error(&error, MOE_ERROR_FAILED, "enough");
    ck_assert_uint_eq(d.ids->len, 2);
    decisions_clear(&d);
    job.token = NULL;
    job.n_tokens++;
    ck_assert(moe_generate(&job, some, &error)); /* the last is not run without a need */
    job.n_tokens++;
    ck_assert(!moe_generate(&job, some, &error));
    assert_error(&error, MOE_ERROR_INPUT, "71 tokens are more than the 70 that there is room for");
    ck_assert(moe_session_new(f.model, f.weights, f.precision, 513, &error) == NULL);
    assert_error(&error, MOE_ERROR_INPUT, "513 tokens are more than olmoe's context of 512");
    g_clear_pointer(&session, moe_session_free);
    close_model();
}
END_TEST

/* --- sampling -------------------------------------------------------------------------------- */

START_TEST(greedy_takes_the_first_of_equals)
{
    const float logits[] = {1, 3, -2, 3, 3};
    ck_assert_uint_eq(moe_sample(&(MoeSampling){0}, 5, logits, NULL), 1);
    ck_assert_uint_eq(moe_sample(&(MoeSampling){0}, 1, logits, NULL), 0);
}
END_TEST

/* Logits ln 1, ln 2, ln 3, ln 4: probabilities of 0.1 to 0.4 at temperature 1. */
static void count(MoeSampling sampling, guint *counts, guint n)
{
    const float logits[] = {logf(1), logf(2), logf(3), logf(4)};
    g_autoptr(GRand) random = g_rand_new_with_seed(5);
    memset(counts, 0, 4 * sizeof(*counts));
    for (guint i = 0; i < n; i++)
        counts[moe_sample(&sampling, 4, logits, random)]++;
}

static void assert_shares(MoeSampling sampling, const double *shares)
{
    enum { N = 100000 };
    guint counts[4];
    count(sampling, counts, N);
    for (int i = 0; i < 4; i++) {
        double sigma = sqrt(N * shares[i] * (1 - shares[i]));
        ck_assert_msg(fabs(counts[i] - N * shares[i]) <= 4.5 * sigma, "%d: %u, not %g of %d", i,
                      counts[i], shares[i], N);
    }
}

START_TEST(samples_the_distribution)
{
    assert_shares((MoeSampling){.temperature = 1}, (const double[]){0.1, 0.2, 0.3, 0.4});
    /* Half the temperature squares the odds: 1, 4, 9, 16 of 30. */
    assert_shares((MoeSampling){.temperature = 0.5},
                  (const double[]){1 / 30.0, 4 / 30.0, 9 / 30.0, 16 / 30.0});
    assert_shares((MoeSampling){.temperature = 1, .top_k = 2},
                  (const double[]){0, 0, 3 / 7.0, 4 / 7.0});
    /* 0.4 is not enough for 0.65, 0.4 + 0.3 is. */
    assert_shares((MoeSampling){.temperature = 1, .top_p = 0.65},
                  (const double[]){0, 0, 3 / 7.0, 4 / 7.0});
    /* Of the largest three, which have 0.9, 0.4 and 0.3 have 7/9. */
    assert_shares((MoeSampling){.temperature = 1, .top_k = 3, .top_p = 0.75},
                  (const double[]){0, 0, 3 / 7.0, 4 / 7.0});
    assert_shares((MoeSampling){.temperature = 1, .top_k = 1}, (const double[]){0, 0, 0, 1});
}
END_TEST

/* --- where a text ends ----------------------------------------------------------------------- */

static void assert_stops(const MoeModel *model, const char *expected)
{
    g_autoptr(GArray) stops = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_autoptr(GError) error = NULL;
    ck_assert(moe_generation_stops(model, NULL, stops, &error));
    assert_no_error(error);
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < stops->len; i++)
        g_string_append_printf(text, " %u", g_array_index(stops, guint32, i));
    ck_assert_str_eq(text->str, expected);
}

START_TEST(finds_the_stops)
{
    g_autofree char *config = test_file("config.json", "{\"eos_token_id\": 5}", -1);
    g_autofree char *folder = g_path_get_dirname(config);
    MoeModel model = {.path = folder};
    assert_stops(&model, " 5");
    g_free(test_file("generation_config.json", "{\"eos_token_id\": [7, 9]}", -1));
    assert_stops(&model, " 7 9");
    g_free(test_file("generation_config.json", "{\"eos_token_id\": null}", -1));
    assert_stops(&model, " 5");
    g_free(test_file("generation_config.json", "{\"eos_token_id\": [7, \"x\"]}", -1));
    g_autoptr(GArray) stops = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_autoptr(GError) error = NULL;
    ck_assert(!moe_generation_stops(&model, NULL, stops, &error));
    assert_error(&error, MOE_ERROR_INPUT, "eos_token_id: must be an id or a list of ids");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("generate");
    TCase *tests = tcase_create("generate");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, steps_equal_one_pass, 0, 2 * (int)G_N_ELEMENTS(folders));
    tcase_add_loop_test(tests, what_is_written_routes_as_if_read, 0,
                        2 * (int)G_N_ELEMENTS(folders));
    tcase_add_test(tests, long_rope_turns);
    tcase_add_test(tests, threads_and_seeds);
    tcase_add_test(tests, ends_at_a_stop_and_when_told);
    tcase_add_test(tests, greedy_takes_the_first_of_equals);
    tcase_add_test(tests, samples_the_distribution);
    tcase_add_test(tests, finds_the_stops);
    suite_add_tcase(suite, tests);
    return suite;
}

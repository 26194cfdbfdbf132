#include "config.h"

#include "kernels/attention.h"
#include "sim/lower.h"
#include "tests/unit/harness.h"
#include "workloads/record.h"

#include <math.h>
#include <string.h>

/* Models with an encoder and a decoder, on tests/golden/switch_transformers; that its numbers are
 * right is `moesim verify --golden`'s business. Here: what must and what must not change them, and
 * how they are kept and replayed. */
enum { TEXTS = 3, ENCODED = 40, DECODED = 25 };

static MoeModel *model;
static MoeWeights *weights;
static MoeBatch batch; /* TEXTS sequences for the encoder, then TEXTS for the decoder */
static guint32 ids[ENCODED + DECODED];
static gsize offsets[2 * TEXTS + 1] = {0, 20, 31, ENCODED, 50, 63, ENCODED + DECODED};

static void set_up(void)
{
    g_autofree char *folder = source_file("tests/golden/switch_transformers");
    g_autoptr(GError) error = NULL;
    model = moe_model_load(folder, NULL, &error);
    assert_no_error(error);
    weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    for (guint i = 0; i < G_N_ELEMENTS(ids); i++)
        ids[i] = 3 + i * i * 37 % 300;
    batch = (MoeBatch){.ids = ids,
                       .offsets = offsets,
                       .n_tokens = ENCODED + DECODED,
                       .n_sequences = 2 * TEXTS,
                       .n_encoded = TEXTS,
                       .description = (char *)"words"};
}

static void tear_down(void)
{
    moe_weights_free(weights);
    moe_model_free(model);
}

/* The logits of every token that the decoder read. */
/* @least: in hardly more memory than it takes at least, so in the smallest chunks. */
static float *logits_of(const MoeBatch *b, gboolean least)
{
    gsize first = b->offsets[b->n_encoded], n = b->n_tokens - first;
    gsize V = (gsize)model->shape.vocab_size;
    g_autofree gsize *tokens = g_new(gsize, n);
    float *out = g_new(float, n *V);
    for (gsize t = 0; t < n; t++)
        tokens[t] = first + t;
    MoeForward job = {.model = model,
                      .weights = weights,
                      .ids = b->ids,
                      .n_sequences = b->n_sequences,
                      .offsets = b->offsets,
                      .n_encoded = b->n_encoded,
                      .head_tokens = tokens,
                      .n_head_tokens = n,
                      .head_out = out,
                      .memory_bytes = least ? 90 << 20 : 0};
    g_autoptr(GError) error = NULL;
    while (!moe_forward(&job, &error) && least) {
        assert_error(&error, MOE_ERROR_INPUT, "of this model need about");
        job.memory_bytes *= 1.01;
    }
    assert_no_error(error);
    return out;
}

static double difference(const float *a, const float *b, gsize n)
{
    double worst = 0;
    for (gsize i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

/* --- the kernel ------------------------------------------------------------------------------ */

/* As transformers 4.57.3's T5Attention._relative_position_bucket() answers: of 32 buckets up to 128
 * and of 16 up to 40, in an encoder and in a decoder. */
static const struct {
    ptrdiff_t distance;
    size_t bucket[4];
} known[] = {
    {-200, {15, 31, 7, 15}}, {-127, {15, 31, 7, 15}}, {-64, {14, 26, 7, 15}},
    {-33, {12, 21, 7, 15}},  {-32, {12, 21, 7, 14}},  {-16, {10, 16, 6, 11}},
    {-12, {9, 12, 5, 10}},   {-9, {8, 9, 5, 8}},      {-8, {8, 8, 5, 8}},
    {-5, {5, 5, 4, 5}},      {-1, {1, 1, 1, 1}},      {0, {0, 0, 0, 0}},
    {1, {17, 0, 9, 0}},      {5, {21, 0, 12, 0}},     {9, {24, 0, 13, 0}},
    {16, {26, 0, 14, 0}},    {23, {27, 0, 15, 0}},    {32, {28, 0, 15, 0}},
    {90, {30, 0, 15, 0}},    {91, {31, 0, 15, 0}},    {200, {31, 0, 15, 0}},
};

START_TEST(buckets_are_those_of_t5)
{
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        for (int k = 0; k < 4; k++)
            ck_assert_uint_eq(moe_relative_bucket(k < 2 ? 32 : 16, k < 2 ? 128 : 40, k % 2 == 0,
                                                  known[i].distance),
                              known[i].bucket[k]);
}
END_TEST

/* --- the forward pass ------------------------------------------------------------------------ */

/* Each pair of sequences alone gives what it gives among the others. */
START_TEST(texts_do_not_see_each_other)
{
    gsize V = (gsize)model->shape.vocab_size;
    g_autofree float *together = logits_of(&batch, FALSE);
    for (gsize s = 0; s < TEXTS; s++) {
        gsize e = offsets[s + 1] - offsets[s], first = offsets[TEXTS + s];
        gsize d = offsets[TEXTS + s + 1] - first;
        g_autofree guint32 *some = g_new(guint32, e + d);
        memcpy(some, ids + offsets[s], e * sizeof(guint32));
        memcpy(some + e, ids + first, d * sizeof(guint32));
        gsize pair[] = {0, e, e + d};
        MoeBatch one = {
            .ids = some, .offsets = pair, .n_tokens = e + d, .n_sequences = 2, .n_encoded = 1};
        g_autofree float *alone = logits_of(&one, FALSE);
        ck_assert(difference(alone, together + (first - ENCODED) * V, d * V) < 2e-5);
    }
}
END_TEST

/* A chunk ends within sequences, whose experts' capacity goes on in the next. */
START_TEST(the_size_of_a_chunk_does_not_matter)
{
    g_autofree float *whole = logits_of(&batch, FALSE), *pieces = logits_of(&batch, TRUE);
    ck_assert(difference(whole, pieces, DECODED * (gsize)model->shape.vocab_size) < 2e-5);
}
END_TEST

/* The encoder sees what comes, the decoder does not. */
START_TEST(who_sees_the_future)
{
    gsize V = (gsize)model->shape.vocab_size;
    g_autofree float *before = logits_of(&batch, FALSE);
    ids[offsets[TEXTS + 1] - 1] = 2; /* the last token that the decoder reads of the first text */
    g_autofree float *later = logits_of(&batch, FALSE);
    gsize last = offsets[TEXTS + 1] - 1 - ENCODED;
    ck_assert(difference(before, later, last * V) < 1e-7);
    ck_assert(difference(before + last * V, later + last * V, V) > 1e-2);
    ids[offsets[1] - 1] = 2; /* the last that its encoder reads */
    g_autofree float *other = logits_of(&batch, FALSE);
    ck_assert(difference(later, other, V) > 1e-3);
    gsize next = offsets[TEXTS + 1] - ENCODED;
    ck_assert(difference(later + next * V, other + next * V, (DECODED - next) * V) < 1e-7);
}
END_TEST

START_TEST(refuses_sequences_that_do_not_pair)
{
    gsize empty[] = {0, 0, 5, 10, 15};
    const struct {
        gsize n_sequences, n_encoded;
        const gsize *offsets;
        const char *message;
    } rows[] = {
        {2, 0, offsets, "the model has an encoder and a decoder; the sequences are for another"},
        {3, 1, offsets, "the sequences are for another kind"},
        {4, 2, empty, "sequence 0 of the encoder has no tokens"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const MoeForward job = {.model = model,
                                .weights = weights,
                                .ids = ids,
                                .n_sequences = rows[i].n_sequences,
                                .offsets = rows[i].offsets,
                                .n_encoded = rows[i].n_encoded};
        GError *error = NULL;
        ck_assert(!moe_forward(&job, &error));
        assert_error(&error, MOE_ERROR_INPUT, rows[i].message);
    }
    GError *error = NULL;
    ck_assert_ptr_null(moe_session_new(model, weights, MOE_PRECISION_F32, 10, &error));
    assert_error(&error, MOE_ERROR_INPUT, "has an encoder and a decoder; only models without");
}
END_TEST

/* --- traces ---------------------------------------------------------------------------------- */

START_TEST(the_decoder_is_taught)
{
    guint32 words[] = {5, 6, 7, 8, 9}, other[] = {20, 21, 30, 40};
    gsize text_offsets[] = {0, 3, 5}, target_offsets[] = {0, 2, 3, 4};
    MoeBatch text = {words, text_offsets, 5, 2, 0, (char *)"text"};
    MoeBatch target = {other, target_offsets, 4, 3, 0, (char *)"target"};
    GError *error = NULL;
    g_autoptr(MoeBatch) same = moe_batch_pair(&text, NULL, FALSE, 1, &error);
    assert_no_error(error);
    static const guint32 expected[] = {5, 6, 7, 8, 9, 1, 5, 6, 1, 8}, cut[] = {1, 20, 1};
    ck_assert(same->n_tokens == 10 && same->n_sequences == 4 && same->n_encoded == 2);
    ck_assert_mem_eq(same->ids, expected, sizeof(expected));
    ck_assert_ptr_null(moe_batch_pair(&text, &target, FALSE, 1, &error));
    assert_error(&error, MOE_ERROR_INPUT, "the text has 2 sequences, its target 3");
    g_autoptr(MoeBatch) some = moe_batch_pair(&text, &target, TRUE, 1, &error);
    assert_no_error(error);
    ck_assert(some->n_tokens == 8 && some->offsets[3] == 7 && some->offsets[4] == 8);
    ck_assert_mem_eq(some->ids + 5, cut, sizeof(cut));
    ck_assert_ptr_null(moe_batch_pair(&target, &text, TRUE, 1, &error));
    assert_error(&error, MOE_ERROR_INPUT, "the text has 3 sequences, its target 2");
}
END_TEST

static MoeTrace *record(void)
{
    g_autoptr(GError) error = NULL;
    MoeTrace *trace = moe_record(&(MoeRecord){.model = model, .batch = &batch}, &error);
    assert_no_error(error);
    ck_assert(moe_trace_check(trace, &error));
    return trace;
}

/* No expert keeps more pairs of a sequence than its capacity, and what it drops comes behind. */
static gint64 check_capacity(const MoeTrace *trace, const MoeTraceLayer *layer, gint64 capacity)
{
    gint64 dropped = 0;
    g_autofree gint64 *kept = g_new(gint64, trace->n_experts);
    for (gint64 t = 0; t < trace->n_tokens; t++) {
        gint64 n, pair = moe_trace_pairs(trace, layer, t, &n);
        gboolean runs =
            moe_trace_token_stack(trace, t) == moe_trace_layer_stack(trace, layer->layer);
        ck_assert_int_eq(n, runs ? 1 : 0);
        if (trace->position[t] == 0)
            memset(kept, 0, (gsize)trace->n_experts * sizeof(gint64));
        if (n == 0)
            continue;
        gint64 before = kept[layer->experts[pair]]++;
        ck_assert_int_eq(layer->dropped[pair], before >= capacity ? 1 : 0);
        dropped += layer->dropped[pair];
    }
    return dropped;
}

START_TEST(a_trace_holds_both_stacks)
{
    g_autoptr(MoeTrace) trace = record();
    ck_assert(trace->encoder_layers == 4 && trace->n_layers == 4 && trace->top_k == 1);
    static const int blocks[] = {1, 3, 5, 7};
    static const gsize order[] = {0, 3, 1, 4, 2, 5};
    gint64 dropped = 0, t = 0;
    for (int l = 0; l < 4; l++) {
        ck_assert_int_eq(trace->layers[l].layer, blocks[l]);
        dropped += check_capacity(trace, &trace->layers[l], 6);
    }
    ck_assert_int_gt(dropped, 0);
    for (gsize s = 0; s < G_N_ELEMENTS(order); s++)
        for (gsize i = offsets[order[s]]; i < offsets[order[s] + 1]; i++, t++)
            ck_assert(trace->sequence[t] == s && trace->ids[t] == ids[i]);
    ck_assert_int_eq(t, trace->n_tokens);
    g_autofree char *path = g_build_filename(test_folder(), "both.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_trace_save(trace, path, TRUE, &error));
    g_autoptr(MoeTrace) back = moe_trace_load(path, &error);
    assert_no_error(error);
    ck_assert_int_eq(back->encoder_layers, 4);
    ck_assert_mem_eq(back->layers[2].offsets, trace->layers[2].offsets,
                     (gsize)(trace->n_tokens + 1) * sizeof(guint32));
}
END_TEST

START_TEST(a_token_stays_in_its_stack)
{
    g_autoptr(MoeTrace) trace = record();
    GError *error = NULL;
    trace->encoder_layers = 6; /* block 5 becomes the encoder's, its pairs are the decoder's */
    ck_assert(!moe_trace_check(trace, &error));
    assert_error(
        &error, MOE_ERROR_INPUT,
        "block 5: token 20 is the decoder's; it cannot have pairs in the encoder's blocks");
}
END_TEST

/* --- simulation ------------------------------------------------------------------------------ */

static const char shapes[] =
    "name: both\nsource: the test\nhidden_size: 256\nnum_hidden_layers: 4\nencoder_layers: 2\n"
    "vocab_size: 100\nnum_attention_heads: 4\nnum_key_value_heads: 4\nhead_dim: 64\n"
    "num_experts: 8\nnum_experts_per_tok: 1\nmoe_intermediate_size: 32\nffn_matrices: 2\n"
    "max_position_embeddings: 64\n";

static MoeScenario *scenario(const char *rest)
{
    g_free(test_file("shapes.yaml", shapes, -1));
    g_autofree char *text = g_strdup_printf(
        "model: ./shapes.yaml\nrouting: {synthetic: {kind: uniform, tokens: 80, sequence_length: "
        "10}}\ntopology: {preset: h800, nodes: 1}\n%s",
        rest);
    g_autofree char *file = test_file("scenario.yaml", text, -1);
    g_autoptr(GError) error = NULL;
    MoeScenario *s = moe_scenario_load(file, NULL, NULL, &error);
    assert_no_error(error);
    return s;
}

/* Each of 8 GPUs has a sequence of 10: four what the encoder reads, four what the decoder reads. */
START_TEST(blocks_work_on_their_own_tokens)
{
    g_autoptr(MoeScenario) s = scenario("plan: {expert: 8}\n");
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) steps = moe_assignments_new(s, &error);
    assert_no_error(error);
    g_autoptr(MoeAssignment) decoder = moe_assignment_of_stack(steps->pdata[0], s->trace, 1);
    ck_assert_int_eq(decoder->first[8], 40);
    MoeContext all = moe_assignment_context(steps->pdata[0], s->trace, 0, MOE_SEES_ALL, 0);
    ck_assert(all.tokens == 10 && all.pairs == 100 && all.keys == 10);
    MoeContext across = moe_assignment_context(decoder, s->trace, 1, MOE_SEES_ACROSS, 0);
    ck_assert(across.tokens == 10 && across.pairs == 100 && across.keys == 10);
    ck_assert_int_eq(decoder->first[1], 0); /* rank 0 has none */
    g_autoptr(MoeLowered) lowered = moe_lower(s, FALSE, &error);
    assert_no_error(error);
    ck_assert_uint_eq(lowered->loads->len, 4);
    for (guint l = 0; l < 4; l++) {
        const MoeBlockLoad *load = &g_array_index(lowered->loads, MoeBlockLoad, l);
        ck_assert_int_eq(load->pairs, 40);
        for (gint64 r = 0; r < 8; r++)
            ck_assert_int_eq(load->homes[r], (r % 2 == 0) == (l < 2) ? 10 : 0);
    }
}
END_TEST

START_TEST(only_the_decoder_writes)
{
    g_autoptr(MoeScenario) s =
        scenario("plan: {expert: 4}\nphase: {kind: decode, sequences_per_gpu: 1}\n");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeLowered) lowered = moe_lower(s, FALSE, &error);
    assert_no_error(error);
    for (guint l = 0; l < lowered->loads->len; l++) {
        const MoeBlockLoad *load = &g_array_index(lowered->loads, MoeBlockLoad, l);
        ck_assert_int_eq(load->pairs, load->layer < 2 ? 0 : 4);
    }
}
END_TEST

/* 4 blocks with attention of 4 H^2, 2 across, 8 experts of 2 matrices, a router, tied or not. */
START_TEST(parameters_are_counted)
{
    g_autoptr(MoeScenario) s = scenario("");
    gint64 H = 256, attention = 4 * H * H, expert = 2 * H * 32, router = 8 * H;
    ck_assert_int_eq(moe_model_parameters(&s->model->shape),
                     6 * attention + 4 * (8 * expert + router) + 2 * 100 * H);
    ck_assert_int_eq(moe_model_active_parameters(&s->model->shape),
                     6 * attention + 4 * (expert + router) + 100 * H);
}
END_TEST

/* Decoder blocks' attention across, by hand: 10 queries, 10 states of the encoder. */
START_TEST(attention_across_costs)
{
    g_autoptr(MoeScenario) s = scenario("");
    MoeCost cost = {.shape = &s->model->shape, .gpu = &s->topology->gpu, .type = MOE_TYPE_BF16};
    MoeContext c = {.tokens = 10, .pairs = 100, .keys = 10};
    double T = 10, K = 10, H = 256;
    double q = moe_cost_kernel(&cost, 2 * T * H * H, 2 * H * H + 4 * T * H + 4 * T * H);
    double kv = moe_cost_kernel(&cost, 4 * K * H * H, 4 * H * H + 2 * K * 3 * H);
    double core = moe_cost_kernel(&cost, 4 * c.pairs * H, 4 * T * H + 4 * K * H);
    double o = moe_cost_kernel(&cost, 2 * T * H * H, 2 * H * H + 4 * T * H);
    assert_close(moe_cost_cross(&cost, &c), q + kv + core + o, 1e-12);
    cost.decode = TRUE; /* keys and values are kept */
    assert_close(moe_cost_cross(&cost, &c), q + core + o, 1e-12);
    ck_assert(moe_cost_cross(&cost, &(MoeContext){0}) == 0);
    /* A FFN without a gate: two products of the same size. */
    double F = 32, in = moe_cost_kernel(&cost, 2 * T * H * F, 2 * H * F + 2 * T * (H + F));
    assert_close(moe_cost_ffn(&cost, 10, 32), 2 * in, 1e-12);
}
END_TEST

START_TEST(stacks_must_match)
{
    g_autoptr(MoeTrace) trace = record();
    g_autofree char *path = g_build_filename(test_folder(), "stacks.safetensors", NULL);
    GError *error = NULL;
    ck_assert(moe_trace_save(trace, path, TRUE, &error));
    g_free(test_file("shapes.yaml", shapes, -1));
    g_autofree char *file = test_file("scenario.yaml",
                                      "model: ./shapes.yaml\nrouting: ./stacks.safetensors\n"
                                      "topology: {preset: h800, nodes: 1}\n",
                                      -1);
    ck_assert_ptr_null(moe_scenario_load(file, NULL, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT,
                 "the trace has 4 blocks of an encoder, the model 'both' 2");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("encoder");
    TCase *kernel = tcase_create("kernel"), *forward = tcase_create("forward");
    TCase *sim = tcase_create("simulation");
    tcase_add_test(kernel, buckets_are_those_of_t5);
    suite_add_tcase(suite, kernel);
    tcase_set_timeout(forward, 120);
    tcase_set_timeout(sim, 120);
    tcase_add_checked_fixture(forward, set_up, tear_down);
    tcase_add_test(forward, texts_do_not_see_each_other);
    tcase_add_test(forward, the_size_of_a_chunk_does_not_matter);
    tcase_add_test(forward, who_sees_the_future);
    tcase_add_test(forward, refuses_sequences_that_do_not_pair);
    tcase_add_test(forward, the_decoder_is_taught);
    tcase_add_test(forward, a_trace_holds_both_stacks);
    tcase_add_test(forward, a_token_stays_in_its_stack);
    tcase_add_test(forward, stacks_must_match);
    suite_add_tcase(suite, forward);
    tcase_add_test(sim, blocks_work_on_their_own_tokens);
    tcase_add_test(sim, only_the_decoder_writes);
    tcase_add_test(sim, parameters_are_counted);
    tcase_add_test(sim, attention_across_costs);
    suite_add_tcase(suite, sim);
    return suite;
}

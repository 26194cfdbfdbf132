#include "config.h"

#include "models/safetensors.h"
#include "tests/unit/harness.h"
#include "workloads/trace.h"

#include <math.h>
#include <string.h>

/* --- there and back -------------------------------------------------------------------------- */

/* Two sequences of 2 and 1 tokens in two steps; block 3 has two pairs per token and weights, block
 * 5 a varying number of pairs, some dropped. */
static const guint16 fixed[] = {1, 0, 2, 3, 0, 3}, varying[] = {3, 1, 0};
static const float weights[] = {0.75f, 0.25f, 0.5f, 0.5f, 1, 0};
static const guint32 offsets[] = {0, 1, 1, 3}, steps[] = {0, 2, 3}, ids[] = {7, 8, 9};
static const guint8 dropped[] = {0, 1, 0};
static const gint64 lengths[] = {2, 1};

static MoeTrace *small_trace(void)
{
    MoeTrace *trace = moe_trace_new("model", "sha256:0", "softmax", "words", 2);
    trace->n_experts = 4;
    trace->top_k = 2;
    trace->hidden_size = 64;
    moe_trace_set_sequences(trace, lengths, 2);
    trace->ids = ids;
    trace->steps = steps;
    trace->n_steps = 2;
    trace->layers[0] = (MoeTraceLayer){
        .layer = 3, .n_pairs = 6, .experts = fixed, .weights = weights, .weights_dtype = MOE_F32};
    trace->layers[1] = (MoeTraceLayer){
        .layer = 5, .n_pairs = 3, .experts = varying, .offsets = offsets, .dropped = dropped};
    return trace;
}

START_TEST(what_is_saved_is_loaded)
{
    g_autoptr(MoeTrace) trace = small_trace();
    g_autofree char *path = g_build_filename(test_folder(), "trace.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_trace_save(trace, path, FALSE, &error));
    ck_assert(!moe_trace_save(trace, path, FALSE, &error)); /* it exists now */
    assert_error(&error, MOE_ERROR_FAILED, "trace.safetensors");
    g_autoptr(MoeTrace) back = moe_trace_load(path, &error);
    assert_no_error(error);
    ck_assert_str_eq(back->model, "model");
    ck_assert_str_eq(back->weights, "sha256:0");
    ck_assert_str_eq(back->router, "softmax");
    ck_assert_str_eq(back->workload, "words");
    ck_assert_str_eq(back->version, PACKAGE_VERSION);
    ck_assert(back->n_experts == 4 && back->top_k == 2 && back->hidden_size == 64);
    ck_assert(back->n_tokens == 3 && back->n_steps == 2 && back->n_layers == 2);
    static const guint32 sequence[] = {0, 0, 1}, position[] = {0, 1, 0};
    ck_assert_mem_eq(back->ids, ids, sizeof(ids));
    ck_assert_mem_eq(back->sequence, sequence, sizeof(sequence));
    ck_assert_mem_eq(back->position, position, sizeof(position));
    ck_assert_mem_eq(back->steps, steps, sizeof(steps));
    const MoeTraceLayer *a = &back->layers[0], *b = &back->layers[1];
    ck_assert(a->layer == 3 && a->n_pairs == 6 && b->layer == 5 && b->n_pairs == 3);
    ck_assert_mem_eq(a->experts, fixed, sizeof(fixed));
    ck_assert_mem_eq(a->weights, weights, sizeof(weights));
    ck_assert(a->weights_dtype == MOE_F32 && a->offsets == NULL && a->dropped == NULL);
    ck_assert_mem_eq(b->experts, varying, sizeof(varying));
    ck_assert_mem_eq(b->offsets, offsets, sizeof(offsets));
    ck_assert_mem_eq(b->dropped, dropped, sizeof(dropped));
    ck_assert_ptr_null(b->weights);
    gint64 n;
    ck_assert_int_eq(moe_trace_pairs(back, a, 1, &n), 2);
    ck_assert_int_eq(n, 2);
    ck_assert_int_eq(moe_trace_pairs(back, b, 1, &n), 1);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(moe_trace_pairs(back, b, 2, &n), 1);
    ck_assert_int_eq(n, 2);
}
END_TEST

/* --- what the check refuses ------------------------------------------------------------------ */

typedef enum {
    EXPERT,
    TWICE,
    PAIRS,
    OFFSETS_END,
    OFFSETS_FALL,
    TOP_K,
    WEIGHT,
    NEGATIVE,
    STEPS,
    POSITION,
    BLOCKS,
    EMPTY
} Mistake;

static const struct {
    Mistake mistake;
    const char *message;
} mistakes[] = {
    {EXPERT, "block 3: token 1 chose expert 4 of 4"},
    {TWICE, "block 3: token 0 chose expert 1 twice"},
    {PAIRS, "block 3: 4 pairs where 3 tokens with top-2 have 6"},
    {OFFSETS_END, "block 5: offsets run from 0 to 2; they must run from 0 to the 3 pairs"},
    {OFFSETS_FALL, "block 5: the offsets fall at token 1"},
    {TOP_K, "block 5: token 2 has 3 pairs, more than top-2"},
    {WEIGHT, "block 3: the weight of pair 5 is not finite"},
    {NEGATIVE, "block 3: the weight of pair 0 is negative"},
    {STEPS, "steps.offsets must rise from 0 to the 3 tokens"},
    {POSITION, "token 1: sequences must come in order, and positions rise"},
    {BLOCKS, "block 3 comes after block 3"},
    {EMPTY, "the trace is empty: 0 tokens"},
};

START_TEST(checks_what_the_layout_promises)
{
    g_autoptr(MoeTrace) trace = small_trace();
    guint16 experts[6];
    guint32 new_offsets[4], new_steps[3], positions[] = {0, 0, 0};
    float new_weights[6];
    memcpy(experts, fixed, sizeof(fixed));
    memcpy(new_offsets, offsets, sizeof(offsets));
    memcpy(new_steps, steps, sizeof(steps));
    memcpy(new_weights, weights, sizeof(weights));
    trace->layers[0].experts = experts;
    trace->layers[0].weights = new_weights;
    trace->layers[1].offsets = new_offsets;
    trace->steps = new_steps;
    g_autoptr(GError) error = NULL;
    ck_assert(moe_trace_check(trace, &error));
    switch (mistakes[_i].mistake) {
    case EXPERT:
        experts[3] = 4;
        break;
    case TWICE:
        experts[1] = 1;
        break;
    case PAIRS:
        trace->layers[0].n_pairs = 4;
        break;
    case OFFSETS_END:
        new_offsets[3] = 2;
        break;
    case OFFSETS_FALL:
        new_offsets[1] = 2;
        break;
    case TOP_K:
        memset(new_offsets, 0, 3 * sizeof(*new_offsets));
        break;
    case WEIGHT:
        new_weights[5] = NAN;
        break;
    case NEGATIVE:
        new_weights[0] = -0.5f;
        break;
    case STEPS:
        new_steps[1] = 4;
        break;
    case POSITION:
        trace->position = positions;
        break;
    case BLOCKS:
        trace->layers[1].layer = 3;
        break;
    case EMPTY:
        trace->n_tokens = 0;
        break;
    }
    ck_assert(!moe_trace_check(trace, &error));
    assert_error(&error, MOE_ERROR_INPUT, mistakes[_i].message);
}
END_TEST

/* --- what the reader refuses ----------------------------------------------------------------- */

static const char *const metadata[] = {"format", "moesim-trace-1", "experts", "4", "top_k",
                                       "2",      "hidden_size",    "0",       NULL};

/* Writes the trace's tensors with one replaced, or left out when @instead is NULL, and @key of the
 * metadata changed; returns the message of the reader. */
static void assert_refused(const char *name, const MoeTensor *instead, const char *key,
                           const char *value, const char *message)
{
    static const guint32 sequence[] = {0, 0, 1}, position[] = {0, 1, 0};
    const MoeTensor whole[] = {
        {"layers.3.experts", MOE_ST_U16, 1, {6}, 6, fixed},
        {"tokens.sequence", MOE_ST_U32, 1, {3}, 3, sequence},
        {"tokens.position", MOE_ST_U32, 1, {3}, 3, position},
        {"steps.offsets", MOE_ST_U32, 1, {3}, 3, steps},
    };
    MoeTensor tensors[5];
    guint n = 0;
    for (guint i = 0; i < G_N_ELEMENTS(whole); i++)
        if (strcmp(whole[i].name, name) != 0)
            tensors[n++] = whole[i];
    if (instead != NULL)
        tensors[n++] = *instead;
    const char *pairs[G_N_ELEMENTS(metadata)];
    memcpy(pairs, metadata, sizeof(metadata));
    for (int i = 0; pairs[i] != NULL; i += 2)
        if (key != NULL && strcmp(pairs[i], key) == 0)
            pairs[i + 1] = value;
    g_autofree char *path = g_build_filename(test_folder(), "bad.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_safetensors_write(path, TRUE, tensors, n, pairs, &error));
    g_autoptr(MoeTrace) trace = moe_trace_load(path, &error);
    if (message == NULL) {
        assert_no_error(error);
        return;
    }
    ck_assert_msg(trace == NULL, "accepted: %s", message);
    ck_assert(error != NULL && strstr(error->message, "bad.safetensors") != NULL);
    assert_error(&error, MOE_ERROR_INPUT, message);
}

START_TEST(refuses_other_files)
{
    static const MoeTensor wide = {"layers.3.experts", MOE_ST_I32, 1, {3}, 3, ids};
    static const MoeTensor flat = {"layers.3.experts", MOE_ST_U16, 2, {3, 2}, 6, fixed};
    static const MoeTensor ragged = {"layers.3.offsets", MOE_ST_U32, 1, {3}, 3, steps};
    static const MoeTensor one_step = {"steps.offsets", MOE_ST_U32, 1, {1}, 1, steps};
    static const MoeTensor two = {"tokens.id", MOE_ST_U32, 1, {2}, 2, ids};
    assert_refused("", NULL, NULL, NULL, NULL);
    assert_refused("tokens.sequence", NULL, NULL, NULL, "tokens.sequence");
    assert_refused("steps.offsets", NULL, NULL, NULL, "steps.offsets");
    assert_refused("steps.offsets", &one_step, NULL, NULL, "fewer than two elements");
    assert_refused("layers.3.experts", NULL, NULL, NULL, "0 blocks");
    assert_refused("layers.3.experts", &wide, NULL, NULL, "layers.3.experts");
    assert_refused("layers.3.experts", &flat, NULL, NULL, "layers.3.experts");
    assert_refused("", &ragged, NULL, NULL, "layers.3.offsets");
    assert_refused("", &two, NULL, NULL, "tokens.id");
    assert_refused("", NULL, "format", "moesim-trace-9", "format is 'moesim-trace-9'");
    assert_refused("", NULL, "experts", "many", "experts is 'many'");
    assert_refused("", NULL, "experts", "70000", "whole number from 1 to 65535");
    assert_refused("", NULL, "experts", "2", "token 1 chose expert 2 of 2");
    assert_refused("", NULL, "top_k", "0", "top_k is '0'");
    assert_refused("", NULL, "top_k", "3", "6 pairs where 3 tokens with top-3 have 9");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("trace");
    TCase *tests = tcase_create("trace");
    tcase_add_test(tests, what_is_saved_is_loaded);
    tcase_add_loop_test(tests, checks_what_the_layout_promises, 0, (int)G_N_ELEMENTS(mistakes));
    tcase_add_test(tests, refuses_other_files);
    suite_add_tcase(suite, tests);
    return suite;
}

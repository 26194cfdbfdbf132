#include "config.h"

#include "models/forward.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

/* The random model of tests/golden/olmoe; that its numbers are right is `moesim verify --golden`'s
 * business. Here: what must not change them. */
typedef struct {
    MoeModel *model;
    MoeWeights *weights;
    guint32 ids[96];
    gint64 K;
} Fixture;

static Fixture f;

static void set_up(void)
{
    g_autofree char *folder = source_file("tests/golden/olmoe");
    g_autoptr(GError) error = NULL;
    f.model = moe_model_load(folder, NULL, &error);
    assert_no_error(error);
    f.weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    f.K = f.model->shape.num_experts_per_tok;
    for (guint i = 0; i < G_N_ELEMENTS(f.ids); i++)
        f.ids[i] = i * 37 % (guint32)f.model->shape.vocab_size;
}

static void tear_down(void)
{
    moe_weights_free(f.weights);
    moe_model_free(f.model);
}

/* All blocks' decisions for @n tokens, one block after the other. */
typedef struct {
    gsize n;
    GArray *experts, *weights; /* guint16, float */
    int stop_at;               /* the block at which the callback gives up; -1: none */
} Decisions;

static gboolean collect(void *user, const MoeRouting *routing, GError **error)
{
    Decisions *d = user;
    if (routing->layer == d->stop_at)
        return moe_fail(error, MOE_ERROR_FAILED, "enough");
    g_array_append_vals(d->experts, routing->experts, (guint)(d->n * (gsize)f.K));
    g_array_append_vals(d->weights, routing->weights, (guint)(d->n * (gsize)f.K));
    return TRUE;
}

static Decisions *route(const gsize *offsets, gsize n_sequences, const guint32 *ids, double memory)
{
    Decisions *d = g_new0(Decisions, 1);
    d->n = offsets[n_sequences];
    d->experts = g_array_new(FALSE, FALSE, sizeof(guint16));
    d->weights = g_array_new(FALSE, FALSE, sizeof(float));
    d->stop_at = -1;
    const MoeForward job = {.model = f.model,
                            .weights = f.weights,
                            .ids = ids,
                            .n_sequences = n_sequences,
                            .offsets = offsets,
                            .routing = collect,
                            .user = d,
                            .memory_bytes = memory};
    g_autoptr(GError) error = NULL;
    ck_assert(moe_forward(&job, &error));
    assert_no_error(error);
    return d;
}

static void decisions_free(Decisions *d)
{
    g_array_unref(d->experts);
    g_array_unref(d->weights);
    g_free(d);
}

/* The first @n tokens of @a equal the tokens from @start on of @b in every block. */
static void assert_same(const Decisions *a, const Decisions *b, gsize n, gsize start)
{
    gsize K = (gsize)f.K;
    ck_assert_uint_eq(a->experts->len / a->n, b->experts->len / b->n);
    for (gsize l = 0; l < a->experts->len / (a->n * K); l++)
        for (gsize p = 0; p < n * K; p++) {
            gsize x = l * a->n * K + p, y = l * b->n * K + start * K + p;
            ck_assert_uint_eq(g_array_index(a->experts, guint16, x),
                              g_array_index(b->experts, guint16, y));
            ck_assert(fabsf(g_array_index(a->weights, float, x) -
                            g_array_index(b->weights, float, y)) < 1e-6f);
        }
}

START_TEST(a_sequence_does_not_see_its_neighbours)
{
    static const gsize packed[] = {0, 30, 31, 96}, alone[] = {0, 65}, single[] = {0, 1};
    Decisions *all = route(packed, 3, f.ids, 0);
    Decisions *last = route(alone, 1, f.ids + 31, 0);
    Decisions *one = route(single, 1, f.ids + 30, 0);
    assert_same(last, all, 65, 31);
    assert_same(one, all, 1, 30);
    decisions_free(all);
    decisions_free(last);
    decisions_free(one);
}
END_TEST

/* Teacher forcing gives the decisions of decoding. */
START_TEST(the_future_does_not_matter)
{
    static const gsize whole[] = {0, 96}, prefix[] = {0, 40};
    Decisions *all = route(whole, 1, f.ids, 0), *start = route(prefix, 1, f.ids, 0);
    assert_same(start, all, 40, 0);
    guint32 changed[96];
    memcpy(changed, f.ids, sizeof(changed));
    changed[40] = 1;
    Decisions *other = route(whole, 1, changed, 0);
    assert_same(start, other, 40, 0);
    gsize at = all->experts->len - (gsize)f.K; /* the last token saw the change */
    gboolean differs = FALSE;
    for (gsize j = 0; j < (gsize)f.K; j++)
        differs |= g_array_index(all->weights, float, at + j) !=
                   g_array_index(other->weights, float, at + j);
    ck_assert(differs);
    decisions_free(all);
    decisions_free(start);
    decisions_free(other);
}
END_TEST

/* Whether the run fits in @bytes. */
static gboolean fits(const gsize *offsets, double bytes)
{
    const MoeForward job = {.model = f.model,
                            .weights = f.weights,
                            .ids = f.ids,
                            .n_sequences = 1,
                            .offsets = offsets,
                            .memory_bytes = bytes};
    g_autoptr(GError) error = NULL;
    if (moe_forward(&job, &error))
        return TRUE;
    assert_error(&error, MOE_ERROR_INPUT, "of this model need about");
    return FALSE;
}

/* The least that is enough cuts the run into the smallest parts. */
START_TEST(memory_does_not_matter)
{
    static const gsize offsets[] = {0, 96};
    double low = 1, high = 1e9;
    while (high - low > 1000) {
        double middle = floor((low + high) / 2);
        *(fits(offsets, middle) ? &high : &low) = middle;
    }
    Decisions *large = route(offsets, 1, f.ids, 0), *small = route(offsets, 1, f.ids, high);
    assert_same(large, small, 96, 0);
    decisions_free(large);
    decisions_free(small);
}
END_TEST

/* What a run of two halves passes from one to the other. */
typedef struct {
    float *states;
    int next_block;
    Decisions *decisions;
} Halves;

static gboolean collect_half(void *user, const MoeRouting *routing, GError **error)
{
    return collect(((Halves *)user)->decisions, routing, error);
}

static gboolean stop_after_first(void *user, int next_block, const float *states, GError **error)
{
    Halves *halves = user;
    gsize n = halves->decisions->n * (gsize)f.model->shape.hidden_size;
    halves->next_block = next_block;
    halves->states = g_memdup2(states, n * sizeof(float));
    return moe_fail(error, MOE_ERROR_FAILED, "that was the first half");
}

START_TEST(goes_on_where_it_was_cut_off)
{
    static const gsize offsets[] = {0, 40, 96};
    Decisions *whole = route(offsets, 2, f.ids, 0);
    Decisions parts = {96, g_array_new(FALSE, FALSE, sizeof(guint16)),
                       g_array_new(FALSE, FALSE, sizeof(float)), -1};
    Halves halves = {.decisions = &parts};
    MoeForward job = {.model = f.model,
                      .weights = f.weights,
                      .ids = f.ids,
                      .n_sequences = 2,
                      .offsets = offsets,
                      .routing = collect_half,
                      .block_done = stop_after_first,
                      .user = &halves};
    g_autoptr(GError) error = NULL;
    ck_assert(!moe_forward(&job, &error));
    assert_error(&error, MOE_ERROR_FAILED, "first half");
    ck_assert_int_eq(halves.next_block, 1);
    ck_assert_uint_eq(parts.experts->len, 96 * (guint)f.K);
    job.first_block = halves.next_block;
    job.states = halves.states;
    job.block_done = NULL;
    ck_assert(moe_forward(&job, &error));
    ck_assert_uint_eq(parts.experts->len, whole->experts->len);
    ck_assert_mem_eq(parts.experts->data, whole->experts->data, parts.experts->len * 2);
    ck_assert_mem_eq(parts.weights->data, whole->weights->data, parts.weights->len * sizeof(float));
    g_free(halves.states);
    g_array_unref(parts.experts);
    g_array_unref(parts.weights);
    decisions_free(whole);
}
END_TEST

START_TEST(refuses_unknown_ids)
{
    static const gsize offsets[] = {0, 3};
    const guint32 ids[] = {0, 1, (guint32)f.model->shape.vocab_size};
    const MoeForward job = {
        .model = f.model, .weights = f.weights, .ids = ids, .n_sequences = 1, .offsets = offsets};
    g_autoptr(GError) error = NULL;
    ck_assert(!moe_forward(&job, &error));
    assert_error(&error, MOE_ERROR_INPUT, "token 2 has the id");
}
END_TEST

START_TEST(ends_when_told)
{
    static const gsize offsets[] = {0, 8};
    Decisions d = {8, g_array_new(FALSE, FALSE, sizeof(guint16)),
                   g_array_new(FALSE, FALSE, sizeof(float)), 1};
    const MoeForward job = {.model = f.model,
                            .weights = f.weights,
                            .ids = f.ids,
                            .n_sequences = 1,
                            .offsets = offsets,
                            .routing = collect,
                            .user = &d};
    g_autoptr(GError) error = NULL;
    ck_assert(!moe_forward(&job, &error));
    assert_error(&error, MOE_ERROR_FAILED, "enough");
    ck_assert_uint_eq(d.experts->len, 8 * (guint)f.K); /* of block 0 alone */
    g_array_unref(d.experts);
    g_array_unref(d.weights);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("forward");
    TCase *tests = tcase_create("forward");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_sequence_does_not_see_its_neighbours);
    tcase_add_test(tests, the_future_does_not_matter);
    tcase_add_test(tests, memory_does_not_matter);
    tcase_add_test(tests, goes_on_where_it_was_cut_off);
    tcase_add_test(tests, refuses_unknown_ids);
    tcase_add_test(tests, ends_when_told);
    suite_add_tcase(suite, tests);
    return suite;
}

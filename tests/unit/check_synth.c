#include "config.h"

#include "sim/base/rng.h"
#include "tests/unit/harness.h"
#include "workloads/analyze.h"
#include "workloads/synth.h"

#include <math.h>
#include <string.h>

static int kind_index(const char *name)
{
    int i = 0;
    while (strcmp(moe_synth_kinds()[i], name) != 0)
        i++;
    return i;
}

static MoeSynth synth_of(const char *kind)
{
    return (MoeSynth){
        .kind = kind_index(kind),
        .tokens = 4096,
        .steps = 1,
        .sequence_length = 64,
        .experts = 16,
        .top_k = 2,
        .layers = 2,
        .ranks = 4,
        .exponent = 1,
        .hot_experts = 2,
        .hot_share = 0.5,
        .idle_experts = 3,
        .spread = 1,
        .groups = 4,
        .seed = 5,
    };
}

static MoeTrace *make(const MoeSynth *s)
{
    g_autoptr(GError) error = NULL;
    MoeTrace *trace = moe_synth(s, NULL, &error);
    assert_no_error(error);
    ck_assert(moe_trace_check(trace, &error)); /* experts known and distinct, among others */
    return trace;
}

static gint64 *loads_of(const MoeTrace *trace, int row, gint64 step)
{
    gint64 *loads = g_new0(gint64, trace->n_experts);
    moe_trace_loads(trace, &trace->layers[row], trace->steps[step], trace->steps[step + 1], NULL,
                    loads);
    return loads;
}

/* Fails unless @n of @trials, each of probability @p, is within five standard deviations. */
static void assert_binomial(gint64 n, gint64 trials, double p)
{
    double mean = (double)trials * p, deviation = sqrt(mean * (1 - p));
    ck_assert_msg(fabs((double)n - mean) <= 5 * deviation, "%g of %g, expected %g +- %g", (double)n,
                  (double)trials, mean, deviation);
}

START_TEST(every_kind_is_a_function_of_its_seed)
{
    MoeSynth s = synth_of(moe_synth_kinds()[_i]);
    g_autoptr(MoeTrace) a = make(&s);
    g_autoptr(MoeTrace) b = make(&s);
    s.seed = 6;
    g_autoptr(MoeTrace) c = make(&s);
    gsize size = (gsize)(s.tokens * s.top_k) * sizeof(guint16);
    for (int l = 0; l < s.layers; l++)
        ck_assert_int_eq(memcmp(a->layers[l].experts, b->layers[l].experts, size), 0);
    gboolean same = memcmp(a->layers[0].experts, c->layers[0].experts, size) == 0;
    ck_assert_int_eq(same, s.kind == kind_index("balanced"));
}
END_TEST

/* After floor(E/k) tokens, where k divides E, every expert has had one pair; after E rounds of them
 * where it does not, each has had as many. */
START_TEST(balanced_is_exact)
{
    static const gint64 shapes[][2] = {{64, 8}, {256, 8}, {60, 4}, {10, 4},
                                       {7, 7},  {9, 1},   {16, 6}};
    gint64 E = shapes[_i][0], k = shapes[_i][1], round = E / k;
    gint64 tokens = E % k == 0 ? round : round * E;
    g_autofree gint64 *loads = g_new0(gint64, E);
    for (gint64 t = 0; t < tokens; t++) {
        guint64 seen[4] = {0};
        for (gint64 j = 0; j < k; j++) {
            guint16 e = moe_synth_balanced(t, j, E, k);
            ck_assert(e < E && (seen[e / 64] >> e % 64 & 1) == 0);
            seen[e / 64] |= (guint64)1 << e % 64;
            loads[e]++;
        }
    }
    for (gint64 e = 0; e < E; e++)
        ck_assert_int_eq(loads[e], tokens * k / E);
}
END_TEST

START_TEST(uniform_is_even_by_chance)
{
    MoeSynth s = synth_of("uniform");
    g_autoptr(MoeTrace) trace = make(&s);
    g_autofree gint64 *loads = loads_of(trace, 0, 0);
    for (gint64 e = 0; e < s.experts; e++)
        assert_binomial(loads[e], s.tokens, (double)s.top_k / (double)s.experts);
}
END_TEST

static int falling(const void *a, const void *b)
{
    gint64 x = *(const gint64 *)a, y = *(const gint64 *)b;
    return x > y ? -1 : x < y;
}

/* With one expert per token: rank r has probability r^-s / H. */
START_TEST(zipf_has_its_law)
{
    MoeSynth s = synth_of("zipf");
    s.top_k = 1;
    s.tokens = 65536;
    g_autoptr(MoeTrace) trace = make(&s);
    double sum = 0;
    for (int r = 1; r <= 16; r++)
        sum += 1.0 / r;
    g_autofree gint64 *loads = loads_of(trace, 0, 0);
    qsort(loads, 16, sizeof(*loads), falling);
    for (int r = 1; r <= 8; r++) /* where neighbours do not change places by chance */
        assert_binomial(loads[r - 1], s.tokens, 1 / (r * sum));
}
END_TEST

START_TEST(hot_sets_get_their_share)
{
    MoeSynth s = synth_of("hot-experts");
    s.top_k = 1;
    g_autoptr(MoeTrace) trace = make(&s);
    g_autofree gint64 *loads = loads_of(trace, 0, 0);
    qsort(loads, 16, sizeof(*loads), falling);
    assert_binomial(loads[0] + loads[1], s.tokens, 0.5);
    s.kind = kind_index("hot-rank");
    g_autoptr(MoeTrace) ranks = make(&s);
    g_autofree gint64 *by_expert = loads_of(ranks, 1, 0);
    assert_binomial(by_expert[0] + by_expert[1] + by_expert[2] + by_expert[3], s.tokens, 0.5);
}
END_TEST

START_TEST(idle_experts_are_idle)
{
    MoeSynth s = synth_of("idle-experts");
    g_autoptr(MoeTrace) trace = make(&s);
    for (int l = 0; l < 2; l++) {
        g_autofree gint64 *loads = loads_of(trace, l, 0);
        int idle = 0;
        for (gint64 e = 0; e < s.experts; e++)
            idle += loads[e] == 0;
        ck_assert_int_eq(idle, 3);
    }
}
END_TEST

/* The two hot experts of a step are cold in the next. */
START_TEST(rotating_moves_on)
{
    MoeSynth s = synth_of("rotating");
    s.steps = 4;
    s.top_k = 1;
    g_autoptr(MoeTrace) trace = make(&s);
    ck_assert_int_eq(trace->n_steps, 4);
    int hot_before = 0;
    for (gint64 step = 0; step < 4; step++) {
        g_autofree gint64 *loads = loads_of(trace, 0, step);
        int hot = 0;
        for (gint64 e = 0; e < s.experts; e++)
            hot |= loads[e] > 1024 / 8 ? 1 << e : 0; /* 1/4 each when hot, 1/28 when not */
        ck_assert_int_eq(__builtin_popcount((unsigned)hot), 2);
        ck_assert_int_eq(hot & hot_before, 0);
        hot_before = hot;
    }
}
END_TEST

/* ln(length / sequence_length) is normal with mean 0 and deviation `spread`. */
START_TEST(ragged_lengths_are_log_normal)
{
    MoeSynth s = synth_of("ragged");
    s.sequence_length = 1000;
    s.spread = 0.5;
    s.tokens = 2000000;
    s.experts = s.layers = s.top_k = 1;
    g_autoptr(MoeTrace) trace = make(&s);
    double sum = 0, squares = 0, n = 0;
    for (gint64 t = 0; t + 1 < s.tokens; t++) {
        if (trace->position[t + 1] != 0)
            continue;
        double x = log((trace->position[t] + 1) / 1000.0);
        sum += x;
        squares += x * x;
        n++;
    }
    ck_assert(n > 1000);
    double mean = sum / n, deviation = sqrt(squares / n - mean * mean);
    ck_assert(fabs(mean) < 5 * 0.5 / sqrt(n));
    ck_assert(fabs(deviation - 0.5) < 5 * 0.5 / sqrt(2 * n));
}
END_TEST

/* The definition, drawn: scores of all experts, the best groups by their best, the best experts of
 * those. Counts, over @tokens, of tokens that touch 1, 2 ... groups. */
static void count_by_scores(const MoeSynth *s, gint64 best, gint64 tokens, gint64 *counts)
{
    enum { MOST = 64 };
    gint64 size = s->experts / s->groups;
    GRand *rng = moe_rng_new(99, "scores");
    for (gint64 t = 0; t < tokens; t++) {
        double scores[MOST], tops[MOST] = {0};
        gboolean touched[MOST] = {FALSE};
        gint64 distinct = 0;
        for (gint64 e = 0; e < s->experts; e++) {
            scores[e] = fabs(moe_rng_normal(rng)) + 1;
            tops[e / size] = fmax(tops[e / size], scores[e]);
        }
        for (gint64 e = 0; e < s->experts; e++) {
            gint64 better = 0;
            for (gint64 g = 0; g < s->groups; g++)
                better += tops[g] > tops[e / size];
            scores[e] = better < best ? scores[e] : 0;
        }
        for (gint64 j = 0; j < s->top_k; j++) {
            gint64 top = 0;
            for (gint64 e = 1; e < s->experts; e++)
                top = scores[e] > scores[top] ? e : top;
            scores[top] = 0;
            distinct += !touched[top / size];
            touched[top / size] = TRUE;
        }
        counts[distinct]++;
    }
    g_rand_free(rng);
}

START_TEST(deepep_is_its_definition)
{
    static const struct {
        gint64 experts, groups, top_groups, best, top_k;
    } rows[] = {{64, 8, 0, 4, 8}, {64, 16, 3, 3, 6}, {32, 2, 0, 2, 4}};
    MoeSynth s = synth_of("deepep");
    s.experts = rows[_i].experts;
    s.groups = rows[_i].groups;
    s.top_groups = rows[_i].top_groups;
    s.top_k = rows[_i].top_k;
    g_autoptr(MoeTrace) trace = make(&s);
    gint64 counts[65] = {0}, expected[65] = {0}, trials = 20000;
    for (gint64 t = 0; t < s.tokens; t++) {
        guint64 touched = 0;
        for (gint64 j = 0; j < s.top_k; j++)
            touched |= G_GUINT64_CONSTANT(1)
                       << (trace->layers[0].experts[t * s.top_k + j] / (s.experts / s.groups));
        counts[__builtin_popcountll(touched)]++;
    }
    count_by_scores(&s, rows[_i].best, trials, expected);
    for (gint64 n = 0; n <= 64; n++) {
        double p = (double)expected[n] / (double)trials, mean = p * (double)s.tokens;
        ck_assert_msg(fabs((double)counts[n] - mean) <= 6 * sqrt(mean * (1 - p) * 1.25) + 1,
                      "%d tokens in %d groups, expected %g", (int)counts[n], (int)n, mean);
        ck_assert(n <= rows[_i].best || counts[n] == 0);
    }
    g_autofree gint64 *loads = loads_of(trace, 1, 0);
    for (gint64 e = 0; e < s.experts; e++)
        assert_binomial(loads[e], s.tokens, (double)s.top_k / (double)s.experts);
}
END_TEST

START_TEST(deepep_needs_groups)
{
    MoeSynth s = synth_of("deepep");
    GError *error = NULL;
    s.groups = 3;
    ck_assert_ptr_null(moe_synth(&s, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, "deepep needs groups that divide the 16 experts");
    s.groups = 16;
    s.top_k = 5;
    ck_assert_ptr_null(moe_synth(&s, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, "top_groups leaves 4 experts for top_k 5");
}
END_TEST

static const struct {
    const char *kind;
    gint64 experts, top_k, hot, idle, ranks;
    double share;
    const char *message;
} bad[] = {
    {"uniform", 0, 2, 2, 1, 4, 0.5, "experts is not given"},
    {"uniform", 4, 5, 2, 1, 4, 0.5, "top_k 5 of 4 experts"},
    {"idle-experts", 4, 2, 2, 3, 4, 0.5, "top_k 2 of 1 experts"},
    {"idle-experts", 4, 2, 2, 9, 4, 0.5, "top_k 2 of 0 experts"},
    {"hot-experts", 4, 2, 4, 1, 4, 0.5, "hot_experts 4 must be fewer than experts 4"},
    {"hot-experts", 8, 3, 2, 1, 4, 1, "hot_share leaves fewer than top_k 3"},
    {"rotating", 8, 7, 2, 1, 4, 0, "hot_share leaves fewer than top_k 7"},
    {"hot-rank", 8, 2, 2, 1, 3, 0.5, "divide the 8 experts"},
};

START_TEST(refuses_what_cannot_be)
{
    MoeSynth s = synth_of(bad[_i].kind);
    s.experts = bad[_i].experts;
    s.top_k = bad[_i].top_k;
    s.hot_experts = bad[_i].hot;
    s.idle_experts = bad[_i].idle;
    s.ranks = bad[_i].ranks;
    s.hot_share = bad[_i].share;
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(moe_synth(&s, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

START_TEST(refuses_blocks_beyond_a_trace)
{
    MoeSynth s = synth_of("uniform");
    s.first_layer = MOE_TRACE_MOST_LAYERS - 1;
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(moe_synth(&s, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, "2 layers from 4095; a trace has blocks 0 to 4095");
}
END_TEST

START_TEST(steps_differ_by_at_most_one_token)
{
    static const gint64 sizes[][2] = {{10, 4}, {5, 4}, {4, 4}, {1000, 7}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        MoeSynth s = synth_of("uniform");
        s.tokens = sizes[i][0];
        s.steps = sizes[i][1];
        g_autoptr(MoeTrace) trace = make(&s);
        ck_assert_int_eq(trace->n_steps, s.steps);
        for (gint64 step = 0; step < s.steps; step++) {
            gint64 tokens = trace->steps[step + 1] - trace->steps[step];
            ck_assert(tokens == s.tokens / s.steps || tokens == s.tokens / s.steps + 1);
        }
    }
}
END_TEST

/* Blocks 0, 2 and 3 of six are dense. */
START_TEST(a_model_says_which_blocks_have_experts)
{
    const MoeModelShape shape = {.num_hidden_layers = 6,
                                 .num_experts = 8,
                                 .num_experts_per_tok = 2,
                                 .hidden_size = 64,
                                 .first_k_dense_replace = 1,
                                 .dense_blocks = {1 << 2 | 1 << 3}};
    static const int blocks[] = {1, 4, 5};
    g_autoptr(GError) error = NULL;
    for (int first = 0; first < 3; first += 2) {
        MoeSynth s = synth_of("uniform");
        s.experts = s.top_k = s.layers = 0;
        s.first_layer = first;
        g_autoptr(MoeTrace) trace = moe_synth_for(&s, &shape, NULL, &error);
        assert_no_error(error);
        ck_assert(trace->n_experts == 8 && trace->top_k == 2 && trace->hidden_size == 64);
        ck_assert_int_eq(trace->n_layers, 3);
        for (int l = 0; l < 3; l++)
            ck_assert_int_eq(trace->layers[l].layer, first > 0 ? first + l : blocks[l]);
    }
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("synth");
    TCase *tests = tcase_create("synth");
    tcase_add_loop_test(tests, every_kind_is_a_function_of_its_seed, 0, 9);
    tcase_add_loop_test(tests, deepep_is_its_definition, 0, 3);
    tcase_add_test(tests, deepep_needs_groups);
    tcase_add_loop_test(tests, balanced_is_exact, 0, 7);
    tcase_add_test(tests, uniform_is_even_by_chance);
    tcase_add_test(tests, zipf_has_its_law);
    tcase_add_test(tests, hot_sets_get_their_share);
    tcase_add_test(tests, idle_experts_are_idle);
    tcase_add_test(tests, rotating_moves_on);
    tcase_add_test(tests, ragged_lengths_are_log_normal);
    tcase_add_loop_test(tests, refuses_what_cannot_be, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, refuses_blocks_beyond_a_trace);
    tcase_add_test(tests, steps_differ_by_at_most_one_token);
    tcase_add_test(tests, a_model_says_which_blocks_have_experts);
    suite_add_tcase(suite, tests);
    return suite;
}

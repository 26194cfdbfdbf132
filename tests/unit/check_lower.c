#include "config.h"

#include "sim/lower.h"
#include "sim/traffic.h"
#include "tests/unit/harness.h"
#include "workloads/synth.h"

#include <math.h>
#include <string.h>

/* A scenario of 4 blocks' worth of nothing but routing: the shapes of a model file, a trace made by
 * @synth, on one H800 node. */
static MoeScenario *scenario_on(const char *topology, const char *routing, const char *rest)
{
    static const char model[] =
        "name: small\nsource: the test\nhidden_size: 256\nnum_hidden_layers: 2\n"
        "vocab_size: 100\nnum_attention_heads: 4\nnum_key_value_heads: 4\nhead_dim: 64\n"
        "num_experts: 16\nnum_experts_per_tok: 4\nmoe_intermediate_size: 32\n"
        "max_position_embeddings: 64\n";
    g_free(test_file("shapes.yaml", model, -1));
    g_autofree char *text = g_strdup_printf("model: ./shapes.yaml\nrouting: %s\ntopology: %s\n%s",
                                            routing, topology, rest);
    g_autofree char *path = test_file("scenario.yaml", text, -1);
    g_autoptr(GError) error = NULL;
    MoeScenario *s = moe_scenario_load(path, NULL, NULL, &error);
    assert_no_error(error);
    return s;
}

static MoeScenario *scenario(const char *routing, const char *rest)
{
    return scenario_on("h800", routing, rest);
}

/* --- homes ----------------------------------------------------------------------------------- */

static GPtrArray *steps_of(const MoeScenario *s)
{
    g_autoptr(GError) error = NULL;
    GPtrArray *steps = moe_assignments_new(s, &error);
    assert_no_error(error);
    return steps;
}

/* Every token of a step has one home, and the trace's own steps cover every token once. */
static void check_homes(const MoeScenario *s, gint64 expected_tokens)
{
    g_autoptr(GPtrArray) steps = steps_of(s);
    g_autofree int *seen = g_new0(int, s->trace->n_tokens);
    gint64 n = 0;
    for (guint i = 0; i < steps->len; i++) {
        const MoeAssignment *a = steps->pdata[i];
        ck_assert_int_eq(a->first[0], 0);
        for (gint64 k = 0; k < a->first[a->n_ranks]; k++, n++)
            ck_assert_int_eq(seen[a->tokens[k]]++, 0);
    }
    ck_assert_int_eq(n, expected_tokens);
}

START_TEST(every_token_has_one_home)
{
    g_autoptr(MoeScenario) a = scenario("{synthetic: {kind: uniform, tokens: 1003, steps: 3}}", "");
    check_homes(a, 1003);
    g_autoptr(MoeScenario) b =
        scenario("{synthetic: {kind: uniform, tokens: 1003, sequence_length: 100}}",
                 "phase: {split: sequences}");
    check_homes(b, 1003);
    g_autoptr(MoeScenario) c = scenario("{synthetic: {kind: uniform, tokens: 1003}}",
                                        "phase: {tokens_per_gpu: 40, steps: 3}");
    check_homes(c, 40 * 8 * 3);
    g_autoptr(MoeScenario) d =
        scenario("{synthetic: {kind: uniform, tokens: 1024, sequence_length: 64}}",
                 "phase: {kind: decode, sequences_per_gpu: 16, steps: 7}");
    check_homes(d, 16 * 8 * 7);
}
END_TEST

/* What a few numbers ask for is refused before any of it is allocated. */
START_TEST(bounds_memory)
{
    static const char *const phases[] = {
        "phase: {tokens_per_gpu: 268435456, steps: 100000, repeat: true}",
        "phase: {kind: decode, sequences_per_gpu: 1048576, steps: 1000, repeat: true}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(phases); i++) {
        g_autoptr(MoeScenario) s = scenario_on(
            "{preset: h800, nodes: 8192}",
            "{synthetic: {kind: balanced, tokens: 65536, sequence_length: 1024}}", phases[i]);
        GError *error = NULL;
        ck_assert_ptr_null(moe_assignments_new(s, &error));
        assert_error(&error, MOE_ERROR_INPUT,
                     "scenario.yaml: phase: so many steps and tokens would take about");
    }
    g_autoptr(MoeScenario) s =
        scenario_on("{preset: h800, nodes: 8192}", "{synthetic: {kind: balanced, tokens: 65536}}",
                    "plan: 65536\ndispatch: pairwise\ncombine: pairwise");
    GError *error = NULL;
    ck_assert_ptr_null(moe_lower(s, FALSE, &error));
    assert_error(&error, MOE_ERROR_INPUT,
                 "scenario.yaml: so many ranks and steps would take about");
}
END_TEST

START_TEST(windows_differ_by_one_token)
{
    g_autoptr(MoeScenario) s = scenario("{synthetic: {kind: uniform, tokens: 1003}}", "");
    g_autoptr(GPtrArray) steps = steps_of(s);
    const MoeAssignment *a = steps->pdata[0];
    for (gint64 r = 0; r < 8; r++) {
        gint64 n = a->first[r + 1] - a->first[r];
        ck_assert(n == 125 || n == 126);
    }
}
END_TEST

/* Lengths 100, 100 ... 3: the first eight fill the ranks in order, the next go round again. */
START_TEST(sequences_go_to_the_emptiest_rank)
{
    g_autoptr(MoeScenario) s =
        scenario("{synthetic: {kind: uniform, tokens: 1003, sequence_length: 100}}",
                 "phase: {split: sequences}");
    g_autoptr(GPtrArray) steps = steps_of(s);
    const MoeAssignment *a = steps->pdata[0];
    const gint64 expected[] = {200, 200, 103, 100, 100, 100, 100, 100};
    for (gint64 r = 0; r < 8; r++)
        ck_assert_int_eq(a->first[r + 1] - a->first[r], expected[r]);
    ck_assert_int_eq(moe_assignment_sequences(a, s->trace, 0), 2);
    ck_assert_int_eq(moe_assignment_sequences(a, s->trace, 2), 2);
}
END_TEST

START_TEST(context_counts_keys)
{
    g_autoptr(MoeScenario) s =
        scenario("{synthetic: {kind: uniform, tokens: 80, sequence_length: 10}}", "");
    g_autoptr(GPtrArray) steps = steps_of(s);
    MoeContext c = moe_assignment_context(steps->pdata[0], s->trace, 3, MOE_SEES_BEFORE, 0);
    ck_assert_int_eq(c.tokens, 10);
    ck_assert(c.pairs == 55 && c.keys == 10); /* one whole sequence: 1 + 2 + ... + 10 */
    c = moe_assignment_context(steps->pdata[0], s->trace, 3, MOE_SEES_BEFORE, 4096);
    ck_assert(c.pairs == 10 * 4096);
    /* Decode takes the last tokens of each sequence: position 9, ten keys. */
    g_autoptr(MoeScenario) d =
        scenario("{synthetic: {kind: uniform, tokens: 80, sequence_length: 10}}",
                 "phase: {kind: decode, sequences_per_gpu: 1}");
    g_autoptr(GPtrArray) decode = steps_of(d);
    c = moe_assignment_context(decode->pdata[0], d->trace, 5, MOE_SEES_BEFORE, 0);
    ck_assert(c.tokens == 1 && c.pairs == 10 && c.keys == 10);
}
END_TEST

static const struct {
    const char *routing, *rest, *message;
} too_few[] = {
    {"{synthetic: {kind: uniform, tokens: 100}}", "phase: {tokens_per_gpu: 13}",
     "the steps need 104 tokens, the trace has 100; take fewer, a longer trace, or phase.repeat: "
     "true"},
    {"{synthetic: {kind: uniform, tokens: 100, steps: 2}}", "phase: {steps: 3}",
     "the steps need 3 steps, the trace has 2"},
    {"{synthetic: {kind: uniform, tokens: 100, sequence_length: 50}}",
     "phase: {kind: decode, sequences_per_gpu: 1, steps: 20}",
     "the steps need 8 runs of one sequence, the trace has 4"},
    {"{synthetic: {kind: uniform, tokens: 100, sequence_length: 5}}",
     "phase: {kind: decode, sequences_per_gpu: 1, steps: 6}",
     "no sequence of the trace is as long as the 6 steps"},
    {"{synthetic: {kind: uniform, tokens: 100}}", "phase: decode",
     "decode needs sequences_per_gpu"},
    {"{synthetic: {kind: uniform, tokens: 100, sequence_length: 50}}",
     "phase: {split: sequences, tokens_per_gpu: 49}", "sequence 0 is longer than tokens_per_gpu"},
    {"{synthetic: {kind: uniform, tokens: 100}}", "phase: {split: sequences, repeat: true}",
     "repeat goes with split tokens only"},
    {"{synthetic: {kind: uniform, tokens: 100}}", "plan: 3",
     "16 experts cannot be divided evenly among 3 ranks"},
    {"{synthetic: {kind: uniform, tokens: 100}}", "plan: 32",
     "16 experts cannot be divided evenly among 32 ranks"},
    {"{synthetic: {kind: uniform, tokens: 100}}", "compute: fp8",
     "the GPU 'A100 SXM4 80GB' has no fp8 units"},
};

START_TEST(what_does_not_fit_is_refused)
{
    /* The A100 has no units for fp8; the other rows do not care. */
    g_autoptr(MoeScenario) s = scenario_on("a100", too_few[_i].routing, too_few[_i].rest);
    GError *error = NULL;
    ck_assert(moe_lower(s, FALSE, &error) == NULL);
    assert_error(&error, MOE_ERROR_INPUT, too_few[_i].message);
}
END_TEST

START_TEST(a_trace_may_start_again)
{
    g_autoptr(MoeScenario) s = scenario("{synthetic: {kind: uniform, tokens: 100}}",
                                        "phase: {tokens_per_gpu: 20, repeat: true}");
    g_autoptr(GPtrArray) steps = steps_of(s);
    const MoeAssignment *a = steps->pdata[0];
    ck_assert_int_eq(a->first[8], 160);
    ck_assert_int_eq(a->tokens[99], 99);
    ck_assert_int_eq(a->tokens[100], 0);
}
END_TEST

/* --- traffic --------------------------------------------------------------------------------- */

/* Counted again, the slow way, from the definition; with two experts per rank, and with one. Some
 * ranks have the same tokens, as where a trace is repeated; some begin alike. */
START_TEST(traffic_is_counted_from_the_trace)
{
    const gint64 R = _i == 0 ? 8 : 16, own = 16 / R;
    g_autoptr(MoeScenario) s = scenario("{synthetic: {kind: zipf, tokens: 333, seed: 5}}", "");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePlacement) placement = moe_placement_new(0, 16, R, &error);
    const guint32 node_of[] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 1, 1, 0, 0, 1, 2};
    g_autoptr(MoeTraffic) traffic = moe_traffic_new(R, 16, node_of);
    gint64 first[17], tokens[333];
    for (gint64 r = 0; r <= R; r++)
        first[r] = r * 333 / R;
    for (gint64 i = 0; i < 333; i++)
        tokens[i] = i * 5 % 333;
    for (gint64 r = 0; r < R; r++) {
        if (r >= R / 2 && first[r + 1] - first[r] == first[1])
            memcpy(tokens + first[r], tokens, (gsize)first[1] * sizeof(*tokens));
        tokens[first[r]] = 0;
    }
    const MoeAssignment a = {R, first, tokens};
    const MoeTraceLayer *layer = &s->trace->layers[1];
    moe_traffic_count(traffic, s->trace, layer, &a, placement, FALSE);
    ck_assert(moe_traffic_check(traffic, &error));
    gint64 remote = 0;
    for (gint64 from = 0; from < R; from++) {
        for (gint64 to = 0; to < R; to++) {
            gint64 pairs = 0, unique = 0;
            for (gint64 i = first[from]; i < first[from + 1]; i++) {
                gint64 hits = 0;
                for (gint64 j = 0; j < 4; j++)
                    hits += layer->experts[tokens[i] * 4 + j] / own == to;
                pairs += hits;
                unique += hits > 0;
            }
            ck_assert_int_eq(traffic->pairs[from * R + to], pairs);
            ck_assert_int_eq(traffic->unique[from * R + to], unique);
            remote += from != to ? pairs : 0;
        }
        for (gint64 node = 0; node < 3; node++) {
            gint64 hits = 0;
            for (gint64 i = first[from]; i < first[from + 1]; i++) {
                gboolean hit = FALSE;
                for (gint64 j = 0; j < 4; j++)
                    hit |= node_of[layer->experts[tokens[i] * 4 + j] / own] == node;
                hits += hit;
            }
            ck_assert_int_eq(traffic->nodes[from * 3 + node], hits);
        }
    }
    ck_assert_int_eq(traffic->total, 333 * 4);
    ck_assert_int_le(remote, 333 * 4); /* a token is sourced once, not by every rank */
}
END_TEST

/* Buffers of experts and of ranks, as large as an even share asks for or as the fullest needs. */
START_TEST(padding_sends_whole_buffers)
{
    const guint32 node_of[] = {0, 0};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePlacement) placement = moe_placement_new(0, 4, 2, &error);
    g_autoptr(MoeTraffic) traffic = moe_traffic_new(2, 4, node_of);
    const gint64 chosen[] = {5, 3, 0, 2, 1, 1, 4, 4}, pairs[] = {8, 2, 2, 8},
                 unique[] = {5, 2, 1, 4};
    memcpy(traffic->chosen, chosen, sizeof(chosen));
    memcpy(traffic->pairs, pairs, sizeof(pairs));
    memcpy(traffic->unique, unique, sizeof(unique));
    traffic->top_k = 2;
    traffic->tokens[0] = traffic->tokens[1] = 5;
    gint64 copies[4];
    static const struct {
        int padding;
        gboolean deduplicate;
        double factor;
        gint64 expected; /* of every pair of ranks: the sources are alike */
    } rows[] = {
        {MOE_PADDING_EXPERT, FALSE, NAN, 2 * 5}, /* two experts, the fullest buffer has 5 */
        {MOE_PADDING_EXPERT, FALSE, 2.1, 2 * 6}, /* ceil(2.1 * 10 / 4) */
        {MOE_PADDING_RANK, FALSE, NAN, 8},       {MOE_PADDING_RANK, TRUE, NAN, 5},
        {MOE_PADDING_RANK, TRUE, 1.5, 8}, /* ceil(1.5 * 10 / 2) */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const MoeTransfer transfer = {.padding = rows[i].padding,
                                      .deduplicate = rows[i].deduplicate,
                                      .capacity_factor = rows[i].factor};
        ck_assert(moe_traffic_copies(traffic, placement, &transfer, copies, &error));
        for (int at = 0; at < 4; at++)
            ck_assert_int_eq(copies[at], rows[i].expected);
    }
    const MoeTransfer small = {.padding = MOE_PADDING_EXPERT, .capacity_factor = 1.25};
    GError *overflow = NULL; /* ceil(1.25 * 10 / 4) = 4 < 5 */
    ck_assert(!moe_traffic_copies(traffic, placement, &small, copies, &overflow));
    assert_error(
        &overflow, MOE_ERROR_INPUT,
        "capacity_factor: 1.25: buffers of rank 0 hold 4 copies, and 5 go to expert 0; write "
        "2 or more");
    const MoeTransfer pairs_only = {.capacity_factor = NAN},
                      once = {.deduplicate = TRUE, .capacity_factor = NAN};
    ck_assert(moe_traffic_copies(traffic, placement, &pairs_only, copies, &error));
    ck_assert_mem_eq(copies, pairs, sizeof(pairs));
    ck_assert(moe_traffic_copies(traffic, placement, &once, copies, &error));
    ck_assert_mem_eq(copies, unique, sizeof(unique));
}
END_TEST

START_TEST(bytes_of_a_token_on_the_wire)
{
    ck_assert_int_eq(moe_type_wire_bytes(MOE_TYPE_BF16, 7168), 14336);
    ck_assert_int_eq(moe_type_wire_bytes(MOE_TYPE_FP8, 7168), 7392); /* DeepEP's count */
    ck_assert_int_eq(moe_type_wire_bytes(MOE_TYPE_FP8, 129), 129 + 2 * 4);
}
END_TEST

START_TEST(dropped_pairs_do_not_travel)
{
    g_autoptr(MoeTrace) trace = moe_trace_new("m", "", "r", "w", 1);
    const gint64 lengths[] = {2};
    guint16 experts[] = {0, 1, 2, 3};
    guint8 dropped[] = {0, 1, 0, 0};
    trace->n_experts = 4;
    trace->top_k = 2;
    moe_trace_set_sequences(trace, lengths, 1);
    trace->layers[0] = (MoeTraceLayer){.n_pairs = 4, .experts = experts, .dropped = dropped};
    gint64 first[] = {0, 1, 2}, tokens[] = {0, 1};
    const MoeAssignment a = {2, first, tokens};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePlacement) placement = moe_placement_new(0, 4, 2, &error);
    const guint32 node_of[] = {0, 0};
    g_autoptr(MoeTraffic) traffic = moe_traffic_new(2, 4, node_of);
    moe_traffic_count(traffic, trace, &trace->layers[0], &a, placement, FALSE);
    ck_assert(moe_traffic_check(traffic, &error));
    ck_assert_int_eq(traffic->dropped, 1);
    ck_assert_int_eq(traffic->pairs[0], 1);
    ck_assert_int_eq(traffic->pairs[3], 2);
    ck_assert_int_eq(traffic->unique[3], 1);
    traffic->experts[0]++;
    ck_assert(!moe_traffic_check(traffic, &error));
    assert_error(&error, MOE_ERROR_FAILED, "invariant broken");
}
END_TEST

/* --- programs -------------------------------------------------------------------------------- */

START_TEST(programs_have_the_phases_in_order)
{
    static const MoePhase expected[] = {MOE_PHASE_ATTENTION, MOE_PHASE_ROUTER,  MOE_PHASE_DISPATCH,
                                        MOE_PHASE_EXPERTS,   MOE_PHASE_COMBINE, MOE_PHASE_COMBINE};
    g_autoptr(MoeScenario) s = scenario("{synthetic: {kind: uniform, tokens: 800, steps: 2}}", "");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeLowered) lowered = moe_lower(s, FALSE, &error);
    assert_no_error(error);
    const guint per_step = 2 * G_N_ELEMENTS(expected) + 1; /* blocks and LM head */
    for (gint64 r = 0; r < 8; r++) {
        const GArray *ops = lowered->programs->ranks[r].ops;
        ck_assert_uint_eq(ops->len, 2 * per_step);
        for (guint i = 0; i < ops->len; i++) {
            const MoeOp *op = &g_array_index(ops, MoeOp, i);
            guint at = i % per_step;
            ck_assert_int_eq(op->step, (int)(i / per_step));
            ck_assert_int_eq(op->layer, at < 12 ? (int)(at / 6) : -1);
            ck_assert_int_eq(op->phase, at < 12 ? expected[at % 6] : MOE_PHASE_HEAD);
        }
    }
    ck_assert_uint_eq(lowered->loads->len, 4);
}
END_TEST

/* Under the balanced control every rank computes and sends the same. */
START_TEST(the_control_is_balanced_per_rank)
{
    g_autoptr(MoeScenario) s = scenario("{synthetic: {kind: zipf, tokens: 1024, exponent: 2}}", "");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeLowered) control = moe_lower(s, TRUE, &error);
    assert_no_error(error);
    for (guint i = 0; i < control->loads->len; i++) {
        const MoeBlockLoad *load = &g_array_index(control->loads, MoeBlockLoad, i);
        for (gint64 r = 0; r < 8; r++)
            ck_assert_int_eq(load->received[r], 1024 * 4 / 8);
    }
    for (gint64 r = 0; r < 8; r++) {
        const GArray *sends = control->programs->ranks[r].sends;
        for (guint i = 0; i < sends->len;
             i++) /* 128 tokens x 4 experts over 8 ranks, 512 bytes each */
            ck_assert_int_eq(g_array_index(sends, MoeMessage, i).bytes, 128 * 4 / 8 * 512);
    }
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("lower");
    TCase *tests = tcase_create("lower");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_token_has_one_home);
    tcase_add_test(tests, bounds_memory);
    tcase_add_test(tests, windows_differ_by_one_token);
    tcase_add_test(tests, sequences_go_to_the_emptiest_rank);
    tcase_add_test(tests, context_counts_keys);
    tcase_add_loop_test(tests, what_does_not_fit_is_refused, 0, (int)G_N_ELEMENTS(too_few));
    tcase_add_test(tests, a_trace_may_start_again);
    tcase_add_loop_test(tests, traffic_is_counted_from_the_trace, 0, 2);
    tcase_add_test(tests, padding_sends_whole_buffers);
    tcase_add_test(tests, bytes_of_a_token_on_the_wire);
    tcase_add_test(tests, dropped_pairs_do_not_travel);
    tcase_add_test(tests, programs_have_the_phases_in_order);
    tcase_add_test(tests, the_control_is_balanced_per_rank);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "sim/scenario.h"
#include "tests/unit/harness.h"

#define MODEL    "model: olmoe-tiny\n"
#define ZIPF     "routing: {synthetic: {kind: zipf, tokens: 256, exponent: 1.2, seed: 3}}\n"
#define TOPOLOGY "topology: h800\n"

static const struct {
    const char *yaml, *message;
} bad[] = {
    {MODEL ZIPF, "routing.yaml:1:1: topology: missing"},
    {MODEL TOPOLOGY, "routing: missing"},
    {ZIPF TOPOLOGY, "model: missing; synthetic routing needs a model's shapes"},
    {MODEL ZIPF TOPOLOGY "plan: {experts: 8}\n",
     "routing.yaml:4:8: experts: unknown key; did you mean expert?"},
    {MODEL ZIPF TOPOLOGY "dispatch: {algorithm: dirct}\n",
     "routing.yaml:4:23: algorithm: 'dirct' is not known; did you mean direct?"},
    {MODEL ZIPF TOPOLOGY "dispatch: {dtype: fp9}\n", "did you mean fp8?"},
    {MODEL ZIPF TOPOLOGY "phase: {kind: prefill, tokens_per_gpu: 0}\n",
     "tokens_per_gpu: '0' is out of range"},
    {MODEL ZIPF TOPOLOGY "phase: {kind: prefill, tokens_per_gpu: 1.5}\n",
     "'1.5' is not a whole number"},
    {MODEL ZIPF TOPOLOGY "phase: {kind: prefill, repeat: yes}\n",
     "'yes' is not a truth value; write true or false"},
    {MODEL ZIPF TOPOLOGY "control: even\n", "control: 'even' is not known"},
    {MODEL ZIPF "topology: {preset: h800, nodes: 1}\nplan: {expert: 9}\n",
     "plan: expert: 9 ranks on 8 GPUs; add nodes (topology.nodes) or take fewer ranks"},
    {MODEL TOPOLOGY "routing: nowhere.safetensors\n",
     "nowhere.safetensors: no such file; give --set routing=TRACE"},
    {MODEL TOPOLOGY "routing: {synthetic: {kind: zipf}}\n", "tokens: missing"},
    {MODEL TOPOLOGY "plan: 8\nphase: {tokens_per_gpu: 268435456}\nrouting: {synthetic: zipf}\n",
     "routing.yaml:5:10: routing: 2147483648 tokens in all; at most 1073741824"},
    {"routing: {synthetic: {kind: zipf, tokens: 64}}\nphase: transfer\n" TOPOLOGY,
     "routing.yaml:1:10: routing: without a model, experts, top_k and hidden_size belong here"},
    {MODEL TOPOLOGY "routing: {synthetic: {tokens: 64}}\n",
     "routing.yaml:3:22: kind: missing; which rule"},
    {MODEL TOPOLOGY "routing: {}\n", "routing.yaml:3:10: synthetic: kind: missing"},
    {MODEL TOPOLOGY "routing: {synthetic: {kind: zipf, tokens: 64, experts: 32}}\n",
     "the trace has 32 experts, the model 'olmoe-tiny' 64"},
    {MODEL TOPOLOGY "routing: {synthetic: {kind: zipf, tokens: 64, top_k: 4}}\n",
     "the trace has 4 experts per token, the model 'olmoe-tiny' 8"},
    {MODEL TOPOLOGY "routing: {synthetic: {kind: zipf, tokens: 64, layers: 7}}\n",
     "the trace has 7 blocks with experts, the model 'olmoe-tiny' 8"},
    {MODEL TOPOLOGY "routing: {synthetic: {kind: zipf, tokens: 64, first_layer: 1}}\n",
     "the trace has block 1, which is not the model 'olmoe-tiny's block with experts number 1"},
    {MODEL TOPOLOGY "routing: {synthetic: {kind: zipf, tokens: 64, steps: 65}}\n",
     "64 tokens for 65 steps; take fewer steps"},
    {MODEL TOPOLOGY "routing: {synthetic: {kind: zipf, tokens: 5e8, layers: 4096}}\n",
     "so many tokens and layers would take about 32.7"},
    {MODEL TOPOLOGY "routing: {synthetic: {kind: hot-experts, tokens: 64, hot_experts: 64}}\n",
     "routing.yaml:3:10: routing: synthetic routing: hot_experts 64 must be fewer than experts 64"},
    {MODEL ZIPF TOPOLOGY "dispatch: {algorithm: pairwise, window: 4}\n",
     "routing.yaml:4:41: dispatch: window: pairwise does not take it; these do: windowed"},
    {MODEL ZIPF TOPOLOGY "combine: {chunks: 4}\n",
     "routing.yaml:4:19: combine: chunks: direct does not take it; these do: hierarchical, "
     "rail-forward, deepep-normal"},
    {MODEL ZIPF TOPOLOGY "dispatch: {algorithm: one-sided, deduplicate: false}\n",
     "dispatch: deduplicate: one-sided does not take it"},
    {MODEL ZIPF TOPOLOGY "dispatch: {padding: expert, deduplicate: true}\n",
     "routing.yaml:4:21: dispatch: padding: buffers of experts hold a copy for each of them"},
    {MODEL ZIPF TOPOLOGY "dispatch: {algorithm: windowed, window: 0}\n",
     "window: '0' is out of range"},
    {MODEL ZIPF TOPOLOGY "dispatch: {algorithm: hierarchical, chunks: 65537}\n",
     "chunks: '65537' is out of range"},
    {MODEL ZIPF "topology: {preset: h800, kernels: {deepep-norma: {startup: 1us}}}\n",
     "routing.yaml:3:36: kernels: deepep-norma: no algorithm has this name; did you mean "
     "deepep-normal?"},
    {MODEL ZIPF "topology: {preset: h800, kernels: {direct: {dispatch: {start: 1us}}}}\n",
     "routing.yaml:3:56: start: unknown key; did you mean startup?"},
    {MODEL ZIPF "topology: {preset: h800, kernels: [direct]}\n",
     "routing.yaml:3:35: kernels: must be a map such as"},
    {"model: olmo-tiny\n" ZIPF TOPOLOGY, "did you mean olmoe-tiny?"},
    {"[1, 2]\n", "a scenario is a map of keys and values"},
    {MODEL ZIPF "topology: [h800]\n", "a list where a preset's name or a map belongs"},
    {"a: {b: &x 1}\n", "anchors (&) are not supported"},
};

START_TEST(refuses_bad_scenarios)
{
    g_autofree char *path = test_file("routing.yaml", bad[_i].yaml, -1);
    GError *error = NULL;
    ck_assert(moe_scenario_load(path, NULL, NULL, &error) == NULL);
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

static const struct {
    const char *set;
    MoeErrorCode code;
    const char *message;
} bad_sets[] = {
    {"plan.expert", MOE_ERROR_USAGE, "'plan.expert' is not key=value"},
    {"=8", MOE_ERROR_USAGE, "'=8' is not key=value"},
    {"plan..expert=8", MOE_ERROR_USAGE, "has an empty key"},
    {"model.name=x", MOE_ERROR_USAGE, "'model' is 'olmoe-tiny' and has no keys of its own"},
    {"plan.expart=8", MOE_ERROR_INPUT, "expart: unknown key; did you mean expert?"},
    {"topology.nodes=[1", MOE_ERROR_INPUT, "did not find expected ',' or ']'"},
    {"topology.nics.per_node=3", MOE_ERROR_INPUT,
     "--set topology.nics.per_node: nics: per_node: 3 NICs do not divide"},
    {"topology.gpu=h900", MOE_ERROR_INPUT,
     "--set topology.gpu: gpu: 'h900' is neither a file nor a preset GPU"},
    {"topology.nodes=x", MOE_ERROR_INPUT, "nodes: 'x' is not a number"},
};

START_TEST(refuses_bad_assignments)
{
    g_autofree char *path = test_file("good.yaml", MODEL ZIPF TOPOLOGY, -1);
    const char *const set[] = {bad_sets[_i].set, NULL};
    GError *error = NULL;
    ck_assert(moe_scenario_load(path, set, NULL, &error) == NULL);
    assert_error(&error, bad_sets[_i].code, bad_sets[_i].message);
}
END_TEST

START_TEST(plan_and_cluster_size_each_other)
{
    static const struct {
        const char *set;
        gint64 ranks, nodes;
    } cases[] = {{"plan.expert=16", 16, 2}, {"plan.expert=4", 4, 1}, {"topology.nodes=4", 32, 4}};
    g_autofree char *path = test_file("sizes.yaml", MODEL ZIPF TOPOLOGY, -1);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *const set[] = {cases[i].set, NULL};
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeScenario) s = moe_scenario_load(path, set, NULL, &error);
        assert_no_error(error);
        ck_assert_int_eq(s->n_ranks, cases[i].ranks);
        ck_assert_int_eq(s->topology->file.nodes, cases[i].nodes);
    }
}
END_TEST

START_TEST(shorthands_and_overrides_mean_the_same)
{
    g_autofree char *path =
        test_file("short.yaml", MODEL ZIPF TOPOLOGY "dispatch: pairwise\nplan: 8\n", -1);
    const char *const set[] = {"topology.nics.bandwidth=100Gbps", "dispatch.dtype=fp8",
                               "combine=pairwise", NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeScenario) s = moe_scenario_load(path, set, NULL, &error);
    assert_no_error(error);
    ck_assert_int_eq(s->file.plan.expert, 8);
    ck_assert_int_eq(s->file.dispatch.algorithm, s->file.combine.algorithm);
    ck_assert_int_eq(s->file.dispatch.dtype, MOE_TYPE_FP8);
    assert_close(s->topology->file.nics.bandwidth, 12.5e9, 1e-12);
    ck_assert_str_eq(s->file.name, "short");
    ck_assert_int_eq(s->trace->n_tokens, 256);
}
END_TEST

/* What was not said is the algorithm's; what was said for another than --set chose is passed over. */
START_TEST(algorithms_have_defaults)
{
    static const struct {
        const char *yaml, *set;
        gint64 window, chunks;
        gboolean deduplicate;
    } rows[] = {
        {"dispatch: windowed\n", NULL, 8, 0, FALSE},
        {"dispatch: {algorithm: windowed, window: 3, deduplicate: true}\n", NULL, 3, 0, TRUE},
        {"dispatch: deepep-normal\n", NULL, 0, 32, TRUE},
        {"dispatch: {algorithm: hierarchical, chunks: 4}\n", NULL, 0, 4, FALSE},
        {"dispatch: {deduplicate: true, padding: rank}\n", "dispatch.algorithm=deepep-low-latency",
         0, 0, FALSE},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *yaml = g_strconcat(MODEL ZIPF TOPOLOGY, rows[i].yaml, NULL);
        g_autofree char *path = test_file("defaults.yaml", yaml, -1);
        const char *const set[] = {rows[i].set, NULL};
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeScenario) s = moe_scenario_load(path, set, NULL, &error);
        assert_no_error(error);
        ck_assert_int_eq(s->file.dispatch.window, rows[i].window);
        ck_assert_int_eq(s->file.dispatch.chunks, rows[i].chunks);
        ck_assert_int_eq(s->file.dispatch.deduplicate, rows[i].deduplicate);
        ck_assert_int_eq(s->file.dispatch.padding, MOE_PADDING_NONE);
    }
}
END_TEST

/* A part's constants, else both parts', else a launch and nothing. */
START_TEST(kernels_fall_back)
{
    g_autofree char *path =
        test_file("kernels.yaml",
                  MODEL ZIPF "topology:\n  preset: h800\n  kernels:\n"
                             "    direct: {startup: 9us, token: 2ns, sms: 4, combine: {startup: "
                             "7us, message: 1us, sms: 20}}\n",
                  -1);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeScenario) s = moe_scenario_load(path, NULL, NULL, &error);
    assert_no_error(error);
    MoeKernelCost cost;
    ck_assert(moe_kernels_cost(s->kernels, "direct", MOE_KERNEL_DISPATCH, &cost));
    ck_assert(cost.startup == 9e-6 && cost.message == 0 && cost.token == 2e-9 && cost.sms == 4);
    ck_assert(moe_kernels_cost(s->kernels, "direct", MOE_KERNEL_COMBINE, &cost));
    ck_assert(cost.startup == 7e-6 && cost.message == 1e-6 && cost.token == 2e-9 && cost.sms == 20);
    ck_assert(!moe_kernels_cost(s->kernels, "pairwise", MOE_KERNEL_COMBINE, &cost));
    ck_assert(cost.startup == s->topology->gpu.launch && cost.message == 0 && cost.token == 0);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("scenario");
    TCase *tests = tcase_create("scenario");
    tcase_add_loop_test(tests, refuses_bad_scenarios, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_loop_test(tests, refuses_bad_assignments, 0, (int)G_N_ELEMENTS(bad_sets));
    tcase_add_test(tests, algorithms_have_defaults);
    tcase_add_test(tests, kernels_fall_back);
    tcase_add_test(tests, plan_and_cluster_size_each_other);
    tcase_add_test(tests, shorthands_and_overrides_mean_the_same);
    suite_add_tcase(suite, tests);
    return suite;
}

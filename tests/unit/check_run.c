#include "config.h"

#include "sim/alltoall.h"
#include "sim/base/csv.h"
#include "sim/base/json.h"
#include "sim/folder.h"
#include "sim/report.h"
#include "tests/unit/harness.h"
#include "workloads/import.h"

#include <math.h>
#include <string.h>

static MoeScenario *load(const char *path, const char *const *set)
{
    g_autoptr(GError) error = NULL;
    MoeScenario *s = moe_scenario_load(path, set, NULL, &error);
    assert_no_error(error);
    return s;
}

static MoeRun *run(const MoeScenario *s)
{
    g_autoptr(GError) error = NULL;
    MoeRun *result = moe_run(s, NULL, &error);
    assert_no_error(error);
    return result;
}

static MoeScenario *synthetic(const char *routing, const char *set_or_null)
{
    g_autofree char *text =
        g_strdup_printf("model: olmoe-tiny\nrouting: {synthetic: %s}\ntopology: h800\n", routing);
    g_autofree char *path = test_file("synthetic.yaml", text, -1);
    const char *const set[] = {set_or_null, NULL};
    return load(path, set);
}

/* A direct all-to-all of 2,048 GPUs goes without words, one of 4,096 does not; nor does a broadcast by
 * ring among 4,096, whose messages are few. */
START_TEST(announces_what_takes_long)
{
    static const struct {
        gint64 messages, operations;
        const char *words;
    } rows[] = {
        {2048 * 2047, 2048, NULL},
        {4096 * 4095, 4096,
         "16,773,120 messages in 4,096 operations to simulate: about 2 minutes and 2.516 GB of"},
        {5000000, 1000000,
         "5,000,000 messages in 1,000,000 operations to simulate: about 1 minute and 820.0 MB of"},
        {2000000, 20000000,
         "2,000,000 messages in 20,000,000 operations to simulate: about 1 minute and 1.700 GB of"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *words = moe_run_effort(rows[i].messages, rows[i].operations);
        ck_assert((words == NULL) == (rows[i].words == NULL));
        ck_assert(words == NULL || g_str_has_prefix(words, rows[i].words));
    }
}
END_TEST

/* --- what a run says ------------------------------------------------------------------------- */

START_TEST(phases_add_up)
{
    g_autoptr(MoeScenario) s = synthetic("{kind: zipf, tokens: 4096, steps: 2}", "plan.expert=16");
    g_autoptr(MoeRun) r = run(s);
    double sum = 0, by_kind = 0;
    for (guint i = 0; i < r->result->phases->len; i++) {
        const MoePhaseTime *p = &g_array_index(r->result->phases, MoePhaseTime, i);
        ck_assert(p->seconds >= 0 && p->mean <= p->max * (1 + 1e-12));
        sum += p->seconds;
    }
    for (int p = 0; p < MOE_PHASE_COUNT; p++)
        by_kind += moe_result_phase_seconds(r->result, (MoePhase)p, -2);
    assert_close(sum, r->result->seconds, 1e-9);
    assert_close(by_kind, r->result->seconds, 1e-9);
}
END_TEST

/* Balanced routing is its own control. */
START_TEST(balanced_routing_equals_its_control)
{
    g_autoptr(MoeScenario) s = synthetic("{kind: balanced, tokens: 4096}", NULL);
    g_autoptr(MoeRun) r = run(s);
    assert_close(r->result->seconds, r->control->seconds, 1e-12);
    assert_close(moe_run_imbalance(r->lowered, -1), 1, 1e-12);
}
END_TEST

/* The more uneven, the slower. */
START_TEST(time_rises_with_imbalance)
{
    static const char *const routings[] = {
        "{kind: balanced, tokens: 8192}",
        "{kind: zipf, tokens: 8192, exponent: 0.5}",
        "{kind: zipf, tokens: 8192, exponent: 1}",
        "{kind: hot-rank, tokens: 8192, hot_share: 60%}",
    };
    double last_seconds = 0, last_imbalance = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(routings); i++) {
        g_autoptr(MoeScenario) s = synthetic(routings[i], "control=none");
        g_autoptr(MoeRun) r = run(s);
        ck_assert(r->control == NULL);
        double imbalance = moe_run_imbalance(r->lowered, -1);
        ck_assert_msg(imbalance > last_imbalance && r->result->seconds > last_seconds,
                      "%s: imbalance %g, %g s after %g, %g s", routings[i], imbalance,
                      r->result->seconds, last_imbalance, last_seconds);
        last_seconds = r->result->seconds;
        last_imbalance = imbalance;
    }
}
END_TEST

START_TEST(deduplication_and_fp8_send_less)
{
    static const char *const sets[] = {NULL, "dispatch.deduplicate=true", "dispatch.dtype=fp8"};
    gint64 bytes[3];
    double seconds[3];
    for (int i = 0; i < 3; i++) {
        g_autoptr(MoeScenario) s = synthetic("{kind: uniform, tokens: 8192}", sets[i]);
        g_autoptr(MoeRun) r = run(s);
        bytes[i] = g_array_index(r->lowered->loads, MoeBlockLoad, 0).dispatch.bytes;
        seconds[i] = moe_result_phase_seconds(r->result, MOE_PHASE_DISPATCH, -2);
    }
    ck_assert(bytes[1] < bytes[0] && seconds[1] < seconds[0]);
    ck_assert_int_eq(bytes[2] * 256, bytes[0] * 132); /* 128 of hidden: 128 + 4 bytes against 256 */
    ck_assert(seconds[2] < seconds[0]);
}
END_TEST

/* The all-to-alls alone, without a model: 64 balanced tokens on 8 GPUs, 8 of 8 experts each, send a
 * token of every GPU to every other. */
START_TEST(transfers_equal_their_closed_form)
{
    static const char text[] =
        "routing: {synthetic: {kind: balanced, experts: 8, top_k: 8, hidden_size: 7168}}\n"
        "topology: h800\nphase: {kind: transfer, tokens_per_gpu: 64}\nnetwork: simgrid\n";
    g_autofree char *path = test_file("transfer.yaml", text, -1);
    g_autoptr(MoeScenario) s = load(path, NULL);
    g_autoptr(MoeRun) r = run(s);
    ck_assert_uint_eq(r->result->phases->len, 2);
    double startup = s->topology->gpu.launch;
    double seconds = startup + 1e-6 + 7 * 64 * 7168 * 2 / (0.66 * 200e9);
    assert_close(moe_result_phase_seconds(r->result, MOE_PHASE_DISPATCH, 0), seconds, 1e-9);
    assert_close(moe_result_phase_seconds(r->result, MOE_PHASE_COMBINE, 0), seconds, 1e-9);
    g_autoptr(GString) report = g_string_new(NULL);
    moe_report(r, TRUE, report);
    ck_assert(strstr(report->str, "no model, all-to-alls alone of 512 tokens") != NULL);
    ck_assert(strstr(report->str, "assumed: the all-to-alls alone: nothing is computed") != NULL);
}
END_TEST

/* Few tokens take as long as one does (pass), many as their bytes do. */
START_TEST(a_kernel_lasts_as_long_as_one_token)
{
    static const char text[] =
        "routing: {synthetic: {kind: balanced, experts: 8, top_k: 8, hidden_size: 1000}}\n"
        "topology:\n"
        "  preset: h800\n"
        "  scale_up: {latency: 1us, bandwidth: 100GBps, efficiency: 100%}\n"
        "  kernels: {one-sided: {startup: 5us, dispatch: {pass: 30us}}}\n"
        "phase: {kind: transfer, tokens_per_gpu: 8}\ncontrol: none\n"
        "dispatch: one-sided\ncombine: one-sided\n";
    g_autofree char *path = test_file("pass.yaml", text, -1);
    const char *const many[] = {"phase.tokens_per_gpu=800", NULL};
    const char *const fast[] = {"network.sharing=fast", NULL};
    for (int i = 0; i < 3; i++) {
        g_autoptr(MoeScenario) s = load(path, i == 0 ? NULL : i == 1 ? many : fast);
        g_autoptr(MoeRun) r = run(s);
        double wire = 1e-6 + 7 * (i == 1 ? 800 : 8) * 2e3 / 100e9;
        double dispatch = moe_result_phase_seconds(r->result, MOE_PHASE_DISPATCH, -2);
        assert_close(dispatch, 5e-6 + fmax(wire, 30e-6), 1e-6);
        double combine = moe_result_phase_seconds(r->result, MOE_PHASE_COMBINE, -2);
        assert_close(combine, 5e-6 + wire, 1e-6);
    }
}
END_TEST

/* Distinct groups, of @groups alike, that 8 of 256 experts touch on average. */
static double distinct(int groups)
{
    double none = 1;
    for (int i = 0; i < 8; i++)
        none *= (256 - 256.0 / groups - i) / (256 - i);
    return groups * (1 - none);
}

/* DeepEP's table counts a token per node, the own one too, against the time. On two nodes a token is
 * forwarded to more GPUs of a node than on four, and NVLink, not the NICs, is what it waits for: 43
 * GB/s against 58 there. */
START_TEST(deepep_is_slower_on_two_nodes_than_on_four)
{
    static const char text[] =
        "routing: {synthetic: {kind: deepep, experts: 256, top_k: 8, hidden_size: 7168}}\n"
        "topology: h800\nphase: {kind: transfer, tokens_per_gpu: 2048}\ncontrol: none\n"
        "dispatch: {algorithm: deepep-normal, dtype: fp8}\ncombine: deepep-normal\n";
    g_autofree char *path = test_file("deepep.yaml", text, -1);
    static const char *const ranks[] = {"plan.expert=16", "plan.expert=32"};
    double rates[2];
    for (int i = 0; i < 2; i++) {
        const char *const set[] = {ranks[i], NULL};
        g_autoptr(MoeScenario) s = load(path, set);
        g_autoptr(MoeRun) r = run(s);
        double seconds = moe_result_phase_seconds(r->result, MOE_PHASE_DISPATCH, -2);
        rates[i] = distinct(2 << i) * 2048 * 7392 / seconds;
        /* What a GPU gets over NVLink, all but the 1/8 that it has already, at 160 GB/s. */
        double nvlink = 7.0 / 8 * distinct(16 << i) * 2048 * 7392 / 160e9;
        ck_assert_msg(seconds > nvlink, "%g s, but NVLink needs %g s", seconds, nvlink);
    }
    ck_assert_msg(rates[0] < 0.97 * rates[1], "%g bytes/s, then %g bytes/s", rates[0], rates[1]);
}
END_TEST

/* --- real routing ---------------------------------------------------------------------------- */

static char *import_deepseek(void)
{
    static const char *const tasks[] = {"intent", "law", "summary", "translation"};
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) lengths = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *folder = source_file("workloads/presets/deepseek-v2-lite");
    for (size_t i = 0; i < G_N_ELEMENTS(tasks); i++) {
        g_ptr_array_add(files, g_strdup_printf("%s/%s.expert_ids.npy", folder, tasks[i]));
        g_ptr_array_add(lengths,
                        g_strdup_printf("%s/meta.json:sets.%s.sequence_lengths", folder, tasks[i]));
    }
    g_ptr_array_add(files, NULL);
    g_ptr_array_add(lengths, NULL);
    const MoeImport import = {.model = "deepseek-v2-lite", .n_experts = 64, .first_layer = 1};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace =
        moe_import_arrays((const char *const *)files->pdata, NULL,
                          (const char *const *)lengths->pdata, &import, NULL, &error);
    assert_no_error(error);
    ck_assert_int_eq(trace->n_tokens, 8222 + 8327 + 8479 + 8251); /* meta.json */
    char *path = g_build_filename(test_folder(), "deepseek.safetensors", NULL);
    ck_assert(moe_trace_save(trace, path, TRUE, &error));
    return path;
}

/* On every size, uneven routing costs time, more ranks are more uneven, and the report says so. */
START_TEST(deepseek_on_h800)
{
    g_autofree char *trace = import_deepseek();
    g_autofree char *routing = g_strconcat("routing=", trace, NULL);
    g_autofree char *path = source_file("sim/presets/deepseek-v2-lite.yaml");
    double last_imbalance = 1, last_seconds = INFINITY;
    for (int ranks = 8; ranks <= 32; ranks *= 2) {
        g_autofree char *plan = g_strdup_printf("plan.expert=%d", ranks);
        const char *const set[] = {routing, plan, NULL};
        g_autoptr(MoeScenario) s = load(path, set);
        g_autoptr(MoeRun) r = run(s);
        double imbalance = moe_run_imbalance(r->lowered, -1);
        ck_assert(imbalance > last_imbalance);
        ck_assert(r->result->seconds > 1.1 * r->control->seconds &&
                  r->result->seconds < last_seconds);
        g_autoptr(GString) text = g_string_new(NULL);
        moe_report(r, FALSE, text);
        ck_assert(strstr(text->str, "slower than the same tokens under balanced routing by") !=
                  NULL);
        ck_assert(strstr(text->str, "most in block") != NULL);
        last_imbalance = imbalance;
        last_seconds = r->result->seconds;
    }
}
END_TEST

/* --- the folder ------------------------------------------------------------------------------ */

static const char *const names[] = {"run.json",  "layers.csv", "phases.csv",  "ranks.csv",
                                    "pairs.csv", "links.csv",  "experts.csv", "timeline.json"};

START_TEST(a_run_writes_the_same_bytes_twice)
{
    g_autofree char *first = g_build_filename(test_folder(), "run0", NULL);
    g_autofree char *second = g_build_filename(test_folder(), "run1", NULL);
    const char *const folders[] = {first, second};
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < 2; i++) {
        g_autoptr(MoeScenario) s = synthetic("{kind: zipf, tokens: 4096}", "plan.expert=16");
        g_autoptr(MoeRun) r = run(s);
        ck_assert(moe_folder_write(r, folders[i], FALSE, &error));
    }
    for (size_t f = 0; f < G_N_ELEMENTS(names); f++) {
        g_autofree char *a = g_build_filename(folders[0], names[f], NULL);
        g_autofree char *b = g_build_filename(folders[1], names[f], NULL);
        g_autofree char *x = NULL, *y = NULL;
        gsize m, n;
        ck_assert(g_file_get_contents(a, &x, &m, NULL) && g_file_get_contents(b, &y, &n, NULL));
        ck_assert_msg(m == n && memcmp(x, y, m) == 0, "%s differs", names[f]);
        if (g_str_has_suffix(names[f], ".json")) {
            g_autoptr(MoeJson) json = moe_json_load(a, 64 << 20, &error);
            assert_no_error(error);
            ck_assert_ptr_nonnull(json);
        }
    }
}
END_TEST

/* Sums a column of the run's CSV where another has @value. */
static double column_sum(const char *folder, const char *name, const char *column, const char *key,
                         const char *value)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    const char *const columns[] = {column, key, NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeCsv) csv = moe_csv_open(path, columns, &error);
    assert_no_error(error);
    double sum = 0, x = 0;
    while (moe_csv_next(csv, &error)) {
        if (strcmp(moe_csv_text(csv, 1), value) != 0)
            continue;
        ck_assert(moe_csv_number(csv, 0, -1e300, 1e300, &x, &error));
        sum += x;
    }
    assert_no_error(error);
    return sum;
}

/* The bytes of a phase, by block, by pair of GPUs, over the run and by link: on a cluster whose
 * routes cross two links each. */
static void check_bytes(const char *folder, const char *phase)
{
    double bytes = column_sum(folder, "layers.csv", "bytes", "phase", phase);
    ck_assert_double_eq(column_sum(folder, "pairs.csv", "bytes", "phase", phase), bytes);
    ck_assert_double_eq(column_sum(folder, "phases.csv", "bytes", "phase", phase), bytes);
    ck_assert_double_eq(column_sum(folder, "pairs.csv", "messages", "phase", phase),
                        column_sum(folder, "phases.csv", "messages", "phase", phase));
    if (bytes == 0)
        return;
    g_autofree char *column = g_strdup_printf("%s_bytes", phase);
    ck_assert_double_eq(column_sum(folder, "links.csv", column, "fabric", "scale-up") +
                            column_sum(folder, "links.csv", column, "fabric", "scale-out"),
                        2 * bytes);
}

START_TEST(tables_agree_with_each_other)
{
    g_autoptr(MoeScenario) s = synthetic("{kind: zipf, tokens: 4096}", "plan.expert=16");
    g_autoptr(MoeRun) r = run(s);
    g_autofree char *folder = g_build_filename(test_folder(), "tables", NULL);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_folder_write(r, folder, FALSE, &error));
    assert_close(column_sum(folder, "layers.csv", "seconds", "phase", "experts"),
                 moe_result_phase_seconds(r->result, MOE_PHASE_EXPERTS, -2), 1e-9);
    assert_close(column_sum(folder, "layers.csv", "control_s", "phase", "dispatch"),
                 moe_result_phase_seconds(r->control, MOE_PHASE_DISPATCH, -2), 1e-9);
    /* 4096 tokens, 8 experts each, in every block; seen by expert and by rank. */
    assert_close(column_sum(folder, "experts.csv", "pairs", "layer", "3"), 4096 * 8, 1e-12);
    assert_close(column_sum(folder, "ranks.csv", "pairs", "phase", "experts"), 4096.0 * 8 * 8,
                 1e-12);
    assert_close(column_sum(folder, "ranks.csv", "tokens", "phase", "router"), 4096.0 * 8, 1e-12);
    /* Every byte on the way goes out of one link and into another. */
    double travelled = column_sum(folder, "layers.csv", "bytes", "phase", "dispatch") +
                       column_sum(folder, "layers.csv", "bytes", "phase", "combine");
    double links = column_sum(folder, "links.csv", "bytes", "fabric", "scale-up") +
                   column_sum(folder, "links.csv", "bytes", "fabric", "scale-out");
    assert_close(links, 2 * travelled, 1e-12);
    check_bytes(folder, "dispatch");
    check_bytes(folder, "combine");
}
END_TEST

/* Every all-to-all, with and without copies per expert, on part of the last node, sends what its
 * tables say. */
START_TEST(every_algorithm_keeps_its_books)
{
    for (int a = 0; moe_alltoall_names()[a] != NULL; a++) {
        const char *name = moe_alltoall_names()[a];
        gboolean one_domain = strcmp(name, "one-sided") == 0;
        g_autofree char *text = g_strdup_printf(
            "model: olmoe-tiny\nrouting: {synthetic: {kind: zipf, tokens: 1024}}\n"
            "topology: {preset: h800, nodes: %d, gpus_per_node: %d, nics: {per_node: 4}}\n"
            "dispatch: %s\ncombine: %s\ncontrol: none\nplan: 4\n",
            one_domain ? 1 : 2, one_domain ? 8 : 4, name, name);
        g_autofree char *path = test_file("books.yaml", text, -1);
        for (int ranks = 1; ranks <= 8; ranks *= 2) {
            g_autofree char *expert = g_strdup_printf("plan.expert=%d", ranks);
            const char *const set[] = {expert, NULL};
            g_autoptr(MoeScenario) s = load(path, set);
            g_autoptr(MoeRun) r = run(s);
            g_autofree char *folder = g_strdup_printf("%s/books-%s-%d", test_folder(), name, ranks);
            g_autoptr(GError) error = NULL;
            ck_assert(moe_folder_write(r, folder, FALSE, &error));
            check_bytes(folder, "dispatch");
            check_bytes(folder, "combine");
        }
    }
}
END_TEST

START_TEST(a_full_folder_is_left_alone)
{
    g_autoptr(MoeScenario) s = synthetic("{kind: uniform, tokens: 64}", NULL);
    g_autoptr(MoeRun) r = run(s);
    g_autofree char *folder = g_build_filename(test_folder(), "mine", NULL);
    GError *error = NULL;
    ck_assert(moe_folder_write(r, folder, FALSE, &error));
    g_autofree char *precious = g_build_filename(folder, "notes.txt", NULL);
    ck_assert(g_file_set_contents(precious, "mine", -1, NULL));
    ck_assert(!moe_folder_write(r, folder, FALSE, &error));
    assert_error(&error, MOE_ERROR_FAILED,
                 "the folder is not empty; choose another or add --force");
    ck_assert(moe_folder_write(r, folder, TRUE, &error));
    g_autofree char *text = NULL;
    ck_assert(g_file_get_contents(precious, &text, NULL, NULL));
    ck_assert_str_eq(text, "mine");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("run");
    TCase *tests = tcase_create("run");
    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, announces_what_takes_long);
    tcase_add_test(tests, phases_add_up);
    tcase_add_test(tests, balanced_routing_equals_its_control);
    tcase_add_test(tests, time_rises_with_imbalance);
    tcase_add_test(tests, deduplication_and_fp8_send_less);
    tcase_add_test(tests, deepep_is_slower_on_two_nodes_than_on_four);
    tcase_add_test(tests, transfers_equal_their_closed_form);
    tcase_add_test(tests, a_kernel_lasts_as_long_as_one_token);
    tcase_add_test(tests, deepseek_on_h800);
    tcase_add_test(tests, a_run_writes_the_same_bytes_twice);
    tcase_add_test(tests, tables_agree_with_each_other);
    tcase_add_test(tests, every_algorithm_keeps_its_books);
    tcase_add_test(tests, a_full_folder_is_left_alone);
    suite_add_tcase(suite, tests);
    return suite;
}

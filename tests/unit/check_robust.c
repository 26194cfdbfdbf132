#include "config.h"

#include "sim/alltoall.h"
#include "sim/base/yaml.h"
#include "sim/collective.h"
#include "sim/result.h"
#include "tests/unit/cluster.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

/* What must hold for every all-to-all and every collective on every cluster. An exchange is one of
 * the all-to-alls or one (operation, algorithm) of the collectives. */

enum { N = 8, HALF = 4 };

/* The default of network.quantum. */
static const double quantum = 0.005;

typedef struct {
    const char *name; /* an all-to-all; NULL: a collective */
    MoeOperation operation;
    const char *algorithm;
} Exchange;

static GArray *list_exchanges(void)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(Exchange));
    for (int a = 0; moe_alltoall_names()[a] != NULL; a++) {
        Exchange e = {.name = moe_alltoall_names()[a]};
        g_array_append_val(list, e);
    }
    for (int o = 0; o < MOE_ALL_TO_ALL; o++) {
        g_autofree const char **names = moe_collective_algorithms((MoeOperation)o);
        for (int a = 0; names[a] != NULL; a++) {
            Exchange e = {NULL, (MoeOperation)o, names[a]};
            g_array_append_val(list, e);
        }
    }
    return list;
}

static const char *label(const Exchange *e)
{
    return e->name != NULL ? e->name : e->algorithm;
}

/* The programs of ranks 0 ... n - 1; NULL with an error. Collectives move the sum of @bytes. */
static MoePrograms *lower(const MoeTopology *t, gint64 n, const Exchange *e, const gint64 *bytes,
                          gint64 root, GError **error)
{
    g_autoptr(MoePrograms) programs = moe_programs_new(n);
    gint64 sum = 1;
    for (gint64 i = 0; i < n * n; i++)
        sum += bytes[i];
    const MoeKernelCost cost = {.startup = 3e-6};
    const MoeCollective job = {
        .topology = t,
        .operation = e->operation,
        .algorithm = e->algorithm,
        .bytes = sum,
        .root = root % n,
        .to = (root + n / 2) % n,
        .chunk = 512 << 10,
        .phase = MOE_PHASE_DISPATCH,
        .startup = 3e-6,
        .rate = NAN,
    };
    gboolean good = e->name != NULL ? moe_alltoall_bytes(t, e->name, bytes, MOE_PHASE_DISPATCH,
                                                         &cost, programs, error)
                                    : moe_collective_lower(&job, programs, error);
    return good ? g_steal_pointer(&programs) : NULL;
}

/* Seconds; -1 with an error. */
static double simulate(const MoeTopology *t, const MoePrograms *programs, int sharing,
                       GError **error)
{
    const MoeEngineOptions options = {.sharing = sharing, .quantum = quantum};
    g_autoptr(MoeTimes) times = moe_engine_run(t, programs, &options, NULL, error);
    g_autoptr(MoeResult) result = times != NULL ? moe_result_new(t, programs, times, error) : NULL;
    return result != NULL ? result->seconds : -1;
}

/* -1: the algorithm does not work there, which it says. */
static double seconds_of(const MoeTopology *t, const Exchange *e, const gint64 *bytes, gint64 root,
                         int sharing)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePrograms) programs = lower(t, N, e, bytes, root, &error);
    if (programs == NULL) {
        ck_assert_int_eq(error->code, MOE_ERROR_INPUT);
        return -1;
    }
    double seconds = simulate(t, programs, sharing, &error);
    assert_no_error(error);
    return seconds;
}

/* Heavy tails, many zeros. */
static void draw_bytes(GRand *rand, gint64 n, gint64 *bytes)
{
    for (gint64 i = 0; i < n * n; i++)
        bytes[i] = g_rand_int_range(rand, 0, 4) == 0
                       ? 0
                       : (gint64)exp(g_rand_double_range(rand, 0, log(4e6)));
}

/* --- twice the bandwidth ---------------------------------------------------------------------- */

static const char *const clusters[] = {
    ("{name: a, nodes: 2, gpus_per_node: 4, gpu: h100-sxm,"
     " scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"
     " nics: {per_node: 4, bandwidth: 20GBps}, scale_out: {latency: 2us}}"),
    ("{name: b, nodes: 2, gpus_per_node: 4, gpu: h100-sxm,"
     " scale_up: {kind: mesh, bandwidth: 90GBps, latency: 1us},"
     " nics: {per_node: 2, bandwidth: 40GBps, pcie: 30GBps}, scale_out: {latency: 2us}}"),
    ("{name: c, nodes: 4, gpus_per_node: 2, gpu: h100-sxm,"
     " scale_up: {kind: nvswitch, bandwidth: 50GBps, latency: 1us},"
     " nics: {per_node: 2, bandwidth: 20GBps},"
     " scale_out: {kind: rail-optimised, switch_nics: 2, oversubscription: 2, latency: 2us}}"),
    ("{name: d, nodes: 8, gpus_per_node: 1, gpu: h100-sxm, scale_up: {kind: none},"
     " nics: {per_node: 1, bandwidth: 20GBps}, scale_out: {kind: torus, dimensions: [2, 2, 2]}}"),
};

/* How far two runs may be apart that should not differ: under fast sharing, whose ends are within a
 * quantum, both of them. */
static double slack_of(int sharing)
{
    return sharing == MOE_SHARING_FAST ? 2 * quantum : 1e-9;
}

START_TEST(twice_the_bandwidth_of_a_kind_is_never_slower)
{
    const char *yaml = clusters[_i];
    guint32 seed = 4711 + (guint32)_i;
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    gint64 bytes[N * N];
    draw_bytes(rand, N, bytes);
    g_autoptr(GArray) exchanges = list_exchanges();
    g_autoptr(MoeTopology) slow = test_cluster(yaml);
    g_autoptr(GPtrArray) kinds = g_ptr_array_new();
    for (guint32 l = 0; l < slow->links->len; l++)
        if (!g_ptr_array_find_with_equal_func(kinds, moe_topology_link(slow, l)->kind, g_str_equal,
                                              NULL))
            g_ptr_array_add(kinds, (gpointer)moe_topology_link(slow, l)->kind);
    for (guint i = 0; i < exchanges->len; i++) {
        const Exchange *e = &g_array_index(exchanges, Exchange, i);
        int sharing = i % 2 == 0 ? MOE_SHARING_SIMGRID : MOE_SHARING_FAST;
        double before = seconds_of(slow, e, bytes, 0, sharing), slack = slack_of(sharing);
        for (guint k = 0; k < kinds->len && before > 0; k++) {
            g_autoptr(MoeTopology) fast = test_cluster(yaml);
            for (guint l = 0; l < fast->links->len; l++) {
                MoeLink *link = &g_array_index(fast->links, MoeLink, l);
                link->bandwidth *= g_str_equal(link->kind, kinds->pdata[k]) ? 2 : 1;
            }
            double after = seconds_of(fast, e, bytes, 0, sharing);
            ck_assert_msg(after <= before * (1 + slack) && after >= before / 2 * (1 - slack),
                          "seed %u: %s: %g s, with twice the %s %g s", seed, label(e), before,
                          (const char *)kinds->pdata[k], after);
        }
    }
}
END_TEST

/* --- other names ------------------------------------------------------------------------------ */

/* Nodes swapped: rank r becomes r XOR 4, which is r + 4 too, so that no algorithm's order of partners
 * tells them apart. But for a ring, which turns the other way in odd nodes: from its root on, it
 * leaves the node elsewhere. */
START_TEST(swapping_nodes_changes_nothing)
{
    guint32 seed = 815 + (guint32)_i;
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    gint64 bytes[N * N], swapped[N * N];
    draw_bytes(rand, N, bytes);
    for (int a = 0; a < N; a++)
        for (int b = 0; b < N; b++)
            swapped[(a ^ HALF) * N + (b ^ HALF)] = bytes[a * N + b];
    g_autoptr(GArray) exchanges = list_exchanges();
    g_autoptr(MoeTopology) t = test_cluster(clusters[_i]);
    gint64 root = g_rand_int_range(rand, 0, N);
    for (guint i = 0; i < exchanges->len; i++) {
        const Exchange *e = &g_array_index(exchanges, Exchange, i);
        if (e->name == NULL && e->operation == MOE_BROADCAST && g_str_equal(e->algorithm, "ring"))
            continue;
        double a = seconds_of(t, e, bytes, root, 0), b = seconds_of(t, e, swapped, root ^ HALF, 0);
        ck_assert_msg(fabs(a - b) <= 1e-9 * fabs(a), "seed %u: %s: %.12g s, swapped %.12g s", seed,
                      label(e), a, b);
    }
}
END_TEST

/* --- nothing dies ----------------------------------------------------------------------------- */

/* Anything from tiny to huge; everything either runs, with the result's invariants, or is refused
 * with a message about the input. */
static char *draw_cluster(GRand *rand)
{
    static const char *const ups[] = {"none", "nvswitch", "mesh", "ring", "pcie-tree"};
    static const char *const outs[] = {"non-blocking", "fat-tree", "rail-optimised", "rail-only",
                                       "torus",        "mesh",     "dragonfly"};
    int nodes = g_rand_int_range(rand, 1, 5), gpus = g_rand_int_range(rand, 1, 5);
    double rates[2], latencies[2];
    for (int i = 0; i < 2; i++) {
        rates[i] = exp(g_rand_double_range(rand, 0, log(1e15)));
        latencies[i] = g_rand_int_range(rand, 0, 3) == 0
                           ? 0
                           : exp(g_rand_double_range(rand, log(1e-12), log(1.0)));
    }
    int broken_node = g_rand_int_range(rand, 0, nodes),
        broken_gpu = g_rand_int_range(rand, 0, gpus);
    g_autofree char *links =
        g_rand_int_range(rand, 0, 3) == 0
            ? g_strdup_printf(", links: [{name: node%d nic%d *, %s}]", broken_node, broken_gpu,
                              g_rand_int_range(rand, 0, 2) == 0 ? "broken: true" : "share: 0.001%")
            : g_strdup("");
    return g_strdup_printf(
        "{name: r, nodes: %d, gpus_per_node: %d, gpu: h100-sxm,"
        " scale_up: {kind: %s, bandwidth: %.0fBps, latency: %.3gus},"
        " nics: {per_node: %d, bandwidth: %.0fBps}, scale_out: {kind: %s, latency: %.3gus}%s}",
        nodes, gpus, ups[g_rand_int_range(rand, 0, G_N_ELEMENTS(ups))], rates[0],
        latencies[0] * 1e6, gpus, rates[1], outs[g_rand_int_range(rand, 0, G_N_ELEMENTS(outs))],
        latencies[1] * 1e6, links);
}

static void check_message(const GError *error, guint32 seed, const char *yaml)
{
    ck_assert_msg(error->code == MOE_ERROR_INPUT && strstr(error->message, "died") == NULL,
                  "seed %u, %s: %s", seed, yaml, error->message);
}

START_TEST(nothing_dies)
{
    guint32 seed = 20000 + (guint32)_i;
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    g_autofree char *yaml = draw_cluster(rand);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeNode) node = moe_yaml_parse(yaml, strlen(yaml), "cluster", &error);
    assert_no_error(error);
    g_autoptr(MoeTopology) t = moe_topology_read(node, NULL, 0, &error);
    if (t == NULL) {
        check_message(error, seed, yaml);
        return;
    }
    gint64 n = g_rand_int_range(rand, 1, (gint32)t->n_gpus + 1);
    g_autofree gint64 *bytes = g_new(gint64, n * n);
    for (gint64 i = 0; i < n * n; i++)
        bytes[i] = g_rand_int_range(rand, 0, 3) == 0
                       ? 0
                       : (gint64)exp(g_rand_double_range(rand, 0, log(1e12)));
    g_autoptr(GArray) exchanges = list_exchanges();
    for (int i = 0; i < 3; i++) {
        const Exchange *e =
            &g_array_index(exchanges, Exchange, g_rand_int_range(rand, 0, (gint32)exchanges->len));
        g_autoptr(MoePrograms) programs =
            lower(t, n, e, bytes, g_rand_int_range(rand, 0, (gint32)n), &error);
        int sharing = i % 2 == 0 ? MOE_SHARING_FAST : MOE_SHARING_SIMGRID;
        if (programs != NULL && simulate(t, programs, sharing, &error) < 0)
            ck_abort_msg("seed %u, %s, %ld ranks, %s: %s", seed, yaml, (long)n, label(e),
                         error->message);
        if (programs == NULL)
            check_message(error, seed, yaml);
        g_clear_error(&error);
    }
}
END_TEST

/* --- no route --------------------------------------------------------------------------------- */

static const struct {
    const char *yaml, *message;
} cut[] = {
    {"{name: t, nodes: 2, gpus_per_node: 2, gpu: h100-sxm, scale_up: {kind: nvswitch, bandwidth: "
     "100GBps}, nics: {per_node: 2, bandwidth: 10GBps}, scale_out: {}, links: [{name: node1 nic0 "
     "in, broken: true}]}",
     "no route from node0 gpu0 (GPU 0) to node1 gpu0 (GPU 2)"},
    {"{name: t, nodes: 1, gpus_per_node: 2, gpu: h100-sxm, scale_up: {kind: mesh, bandwidth: "
     "100GBps}, links: [{name: '*', broken: true}]}",
     "no route from node0 gpu0 (GPU 0) to node0 gpu1 (GPU 1)"},
    {"{name: t, nodes: 2, gpus_per_node: 2, gpu: h100-sxm, scale_up: {kind: none}, nics: "
     "{per_node: "
     "2, bandwidth: 10GBps}, scale_out: {kind: rail-only}}",
     "no route from node0 gpu0 (GPU 0) to node0 gpu1 (GPU 1)"},
};

START_TEST(no_route_names_both_gpus)
{
    GError *error = NULL;
    g_autoptr(MoeNode) node = moe_yaml_parse(cut[_i].yaml, strlen(cut[_i].yaml), "cluster", &error);
    assert_no_error(error);
    ck_assert(moe_topology_read(node, NULL, 0, &error) == NULL);
    assert_error(&error, MOE_ERROR_INPUT, cut[_i].message);
}
END_TEST

/* Found only when an algorithm asks for it: the cluster is whole when it is read. */
START_TEST(every_algorithm_names_both_gpus)
{
    g_autoptr(MoeTopology) apart = test_cluster_of(N, 1);
    gint64 bytes[N * N];
    for (int i = 0; i < N * N; i++)
        bytes[i] = 1000;
    g_autoptr(GArray) exchanges = list_exchanges();
    for (guint i = 0; i < exchanges->len; i++) {
        const Exchange *e = &g_array_index(exchanges, Exchange, i);
        GError *error = NULL;
        g_autoptr(MoePrograms) programs = lower(apart, N, e, bytes, 0, &error);
        if (programs == NULL) { /* what works inside of one domain alone */
            ck_assert_msg(strstr(error->message, "one node") != NULL ||
                              (strstr(error->message, "GPU 0") != NULL &&
                               strstr(error->message, "GPU 1") != NULL),
                          "%s: %s", label(e), error->message);
            g_clear_error(&error);
        }
    }
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("robust");
    TCase *tests = tcase_create("robust");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, twice_the_bandwidth_of_a_kind_is_never_slower, 0,
                        (int)G_N_ELEMENTS(clusters));
    tcase_add_loop_test(tests, swapping_nodes_changes_nothing, 0, 2);
    tcase_add_loop_test(tests, nothing_dies, 0, 60);
    tcase_add_loop_test(tests, no_route_names_both_gpus, 0, (int)G_N_ELEMENTS(cut));
    tcase_add_test(tests, every_algorithm_names_both_gpus);
    suite_add_tcase(suite, tests);
    return suite;
}

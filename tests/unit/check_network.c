#include "config.h"

#include "sim/base/rng.h"
#include "sim/engine.h"
#include "sim/network.h"
#include "sim/result.h"
#include "tests/unit/cluster.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

/* --- any programs on any cluster, under both sharings ----------------------------------------- */

/* Scale-up and scale-out of all kinds; %d: nodes. */
static const char *const clusters[] = {
    "nodes: 1, gpus_per_node: 8, scale_up: {kind: nvswitch, bandwidth: 450GBps, latency: 1us}",
    "nodes: 1, gpus_per_node: 32, scale_up: {kind: nvswitch, bandwidth: 90GBps, latency: 0.5us}",
    "nodes: 1, gpus_per_node: 8, scale_up: {kind: mesh, bandwidth: 450GBps, latency: 1us}",
    "nodes: 1, gpus_per_node: 6, scale_up: {kind: ring, bandwidth: 100GBps, latency: 1us}",
    "nodes: 1, gpus_per_node: 8, scale_up: {kind: pcie-tree, bandwidth: 50GBps, latency: 1us,"
    " switch_gpus: 2, uplink_bandwidth: 40GBps, socket_bandwidth: 30GBps}",
    "nodes: 4, gpus_per_node: 4, scale_up: {kind: nvswitch, bandwidth: 160GBps, latency: 1us},"
    " nics: {per_node: 4, bandwidth: 400Gbps}, scale_out: {latency: 2us}",
    "nodes: 4, gpus_per_node: 8, scale_up: {kind: nvswitch, bandwidth: 160GBps, latency: 0.5us},"
    " nics: {per_node: 8, bandwidth: 400Gbps}, scale_out: {latency: 5us}",
    "nodes: 8, gpus_per_node: 2, scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"
    " nics: {per_node: 1, bandwidth: 200Gbps}, scale_out: {latency: 2us}",
    "nodes: 2, gpus_per_node: 2, scale_up: {kind: mesh, bandwidth: 100GBps, latency: 1us},"
    " nics: {per_node: 4, bandwidth: 100Gbps, pcie: 20GBps}, scale_out: {latency: 2us}",
    "nodes: 8, gpus_per_node: 2, scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"
    " nics: {per_node: 2, bandwidth: 200Gbps, pcie: 20GBps}, scale_out: {kind: fat-tree,"
    " switch_nics: 4, oversubscription: 2}",
    "nodes: 16, gpus_per_node: 1, scale_up: none, nics: {per_node: 1, bandwidth: 100Gbps},"
    " scale_out: {kind: fat-tree, levels: 3, switch_nics: 2, group_switches: 2,"
    " core_oversubscription: 2}",
    "nodes: 8, gpus_per_node: 4, scale_up: {kind: nvswitch, bandwidth: 160GBps, latency: 1us},"
    " nics: {per_node: 4, bandwidth: 400Gbps}, scale_out: {kind: rail-optimised, switch_nics: 4,"
    " oversubscription: 2}",
    "nodes: 4, gpus_per_node: 4, scale_up: {kind: nvswitch, bandwidth: 160GBps, latency: 1us},"
    " nics: {per_node: 4, bandwidth: 400Gbps}, scale_out: rail-only",
    "nodes: 12, gpus_per_node: 2, scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"
    " nics: {per_node: 2, bandwidth: 100Gbps}, scale_out: {kind: dragonfly, switch_nics: 2,"
    " group_switches: 3, global_links: 1, hop_latency: 0.3us}",
    "nodes: 16, gpus_per_node: 1, scale_up: none, nics: {per_node: 1, bandwidth: 50GBps},"
    " scale_out: {kind: torus, dimensions: [4, 4], hop_latency: 0.5us}",
    "nodes: 8, gpus_per_node: 1, scale_up: none, nics: {per_node: 1, bandwidth: 50GBps},"
    " scale_out: {kind: mesh, dimensions: [2, 2, 2], hop_latency: 0.5us}",
    "nodes: 4, gpus_per_node: 2, scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"
    " nics: {per_node: 2, bandwidth: 100Gbps}, scale_out: {kind: fat-tree, switch_nics: 2},"
    " links: [{name: node1 nic0 *, share: 25%}, {name: node2 gpu*, bandwidth: 37GBps}]",
    "nodes: 1, gpus_per_node: 2, scale_up: {kind: nvswitch, bandwidth: 450GBps, latency: 0us}",
};

/* Mostly small, some up to 64 MB, some nothing. */
static gint64 random_size(GRand *rng)
{
    if (g_rand_int_range(rng, 0, 5) == 0)
        return 0;
    return (gint64)fmin(64e6, 200 * pow(1 - g_rand_double(rng), -1.3));
}

/* All-to-alls that overlap: between them the ranks compute for times of their own. */
static MoePrograms *random_programs(GRand *rng, const MoeTopology *t, gint64 n)
{
    MoePrograms *programs = moe_programs_new(n);
    int exchanges = g_rand_int_range(rng, 1, 4);
    double sparse = g_rand_double(rng);
    for (int x = 0; x < exchanges; x++) {
        programs->layer = x;
        for (gint64 r = 0; r < n; r++)
            moe_programs_compute(programs, r, MOE_PHASE_EXPERTS,
                                 g_rand_boolean(rng) ? 300e-6 * g_rand_double(rng) : 0);
        moe_programs_exchange(programs, MOE_PHASE_DISPATCH, 0);
        for (gint64 a = 0; a < n; a++)
            for (gint64 b = 0; b < n; b++) {
                gint64 bytes = random_size(rng);
                if (a == b || bytes == 0 || g_rand_double(rng) < sparse)
                    continue;
                MoeFabric fabric = moe_topology_fabric(t, a, b);
                guint32 links[MOE_ROUTE_MOST];
                if (t->n_nics > 0 && g_rand_int_range(rng, 0, 10) == 0 &&
                    moe_topology_route(t, MOE_FABRIC_SCALE_OUT, a, b, links) > 0)
                    fabric = MOE_FABRIC_SCALE_OUT;
                moe_programs_send(programs, a, b, fabric, bytes);
            }
    }
    return programs;
}

static MoeTopology *cluster_of(const char *what)
{
    g_autofree char *yaml = g_strdup_printf("{name: t, gpu: h100-sxm, %s}", what);
    return test_cluster(yaml);
}

static MoeTimes *run(const MoeTopology *t, const MoePrograms *programs, int sharing, double quantum)
{
    const MoeEngineOptions options = {sharing, quantum, TRUE};
    g_autoptr(GError) error = NULL;
    MoeTimes *times = moe_engine_run(t, programs, &options, NULL, &error);
    assert_no_error(error);
    g_autoptr(MoeResult) result = moe_result_new(t, programs, times, &error);
    assert_no_error(error);
    ck_assert_ptr_nonnull(result); /* its invariants hold */
    return times;
}

/* The largest relative difference between the ends of messages and of operations. */
static double difference(const MoePrograms *programs, const MoeTimes *a, const MoeTimes *b)
{
    double worst = 0;
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        for (guint i = 0; i < programs->ranks[r].sends->len; i++)
            worst = fmax(worst, fabs(a->sends[r][i] - b->sends[r][i]) / b->sends[r][i]);
        for (guint i = 0; i < programs->ranks[r].ops->len; i++)
            worst = fmax(worst, fabs(a->ranks[r][i].end - b->ranks[r][i].end) /
                                    fmax(b->ranks[r][i].end, 1e-9));
    }
    return worst;
}

enum { CASES = 200, PER_TEST = 10 };

START_TEST(fast_is_as_simgrid)
{
    for (int c = _i * PER_TEST; c < (_i + 1) * PER_TEST; c++) {
        g_autoptr(GRand) rng = moe_rng_new((guint64)c, "network");
        g_autoptr(MoeTopology) t = cluster_of(clusters[c % (int)G_N_ELEMENTS(clusters)]);
        gint64 n = g_rand_int_range(rng, 2, (gint32)t->n_gpus + 1);
        g_autoptr(MoePrograms) programs = random_programs(rng, t, n);
        g_autoptr(MoeTimes) reference = run(t, programs, MOE_SHARING_SIMGRID, 0);
        g_autoptr(MoeTimes) exact = run(t, programs, MOE_SHARING_FAST, 0);
        g_autoptr(MoeTimes) near = run(t, programs, MOE_SHARING_FAST, 0.005);
        double a = difference(programs, exact, reference),
               b = difference(programs, near, reference);
        ck_assert_msg(a <= 1e-3 && b <= 1e-2,
                      "seed %d: off by %g %% with quantum 0, by %g %% with 0.5 %%", c, a * 100,
                      b * 100);
    }
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("network");
    TCase *tests = tcase_create("network");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, fast_is_as_simgrid, 0, CASES / PER_TEST);
    suite_add_tcase(suite, tests);
    return suite;
}

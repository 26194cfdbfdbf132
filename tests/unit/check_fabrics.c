#include "config.h"

#include "sim/engine.h"
#include "tests/unit/cluster.h"
#include "tests/unit/harness.h"
#include "topologies/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Clusters of @nodes nodes of @gpus GPUs with a NIC each: NVSwitch at 100 GB/s, NICs at 10 GB/s. */
#define CLUSTER(nodes, gpus, more)                                                                 \
    "{name: t, nodes: " #nodes ", gpus_per_node: " #gpus ", gpu: h100-sxm,"                        \
    " scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"                               \
    " nics: {per_node: " #gpus ", bandwidth: 10GBps}, " more "}"
#define NODE(kind, gpus)                                                                           \
    "{name: t, nodes: 1, gpus_per_node: " #gpus ", gpu: h100-sxm, scale_up: {" kind                \
    ", bandwidth: 100GBps, latency: 1us}}"

/* --- an oracle: breadth first over the links, knowing nothing of the kinds -------------------- */

static gboolean may_pass(const MoeTopology *t, MoeFabric fabric, guint32 vertex)
{
    return vertex >= t->n_gpus + t->n_nics || (fabric == MOE_FABRIC_SCALE_UP && vertex < t->n_gpus);
}

/* The fewest links of @fabric from vertex @from to vertex @to; -1: there is no way. */
static int fewest_links(const MoeTopology *t, MoeFabric fabric, guint32 from, guint32 to)
{
    guint n = t->vertices->len;
    g_autofree int *distance = g_new(int, n);
    for (guint v = 0; v < n; v++)
        distance[v] = -1;
    distance[from] = 0;
    for (int round = 0; round < (int)n && distance[to] < 0; round++) {
        gboolean moved = FALSE;
        for (guint32 l = t->first_link[fabric]; l < t->end_link[fabric]; l++) {
            const MoeLink *link = moe_topology_link(t, l);
            if (link->broken || distance[link->from] != round || distance[link->to] >= 0 ||
                (link->from != from && !may_pass(t, fabric, link->from)))
                continue;
            distance[link->to] = round + 1;
            moved = TRUE;
        }
        if (!moved)
            break;
    }
    return distance[to];
}

/* Whether @links lead from vertex @from to vertex @to without a gap, a broken link or a loop. */
static void assert_chain(const MoeTopology *t, const guint32 *links, int n, guint32 from,
                         guint32 to)
{
    guint32 at = from;
    for (int i = 0; i < n; i++) {
        const MoeLink *link = moe_topology_link(t, links[i]);
        ck_assert_uint_eq(link->from, at);
        ck_assert(!link->broken);
        at = link->to;
        for (int j = 0; j < i; j++)
            ck_assert_uint_ne(links[i], links[j]);
    }
    ck_assert_uint_eq(at, to);
}

/* --- every kind: routes against the oracle --------------------------------------------------- */

static const struct {
    const char *yaml;
    gboolean shortest; /* every route has the fewest links */
    int longest;       /* links of the longest route, lanes left out */
    double bisection;  /* bytes/s, by the formula beside it */
    MoeFabric fabric;
} fabrics[] = {
    /* Scale-up: halves of G GPUs at rate B. Switch: G/2 B. Mesh: (G/2)^2 B/(G-1). Ring: 2 B/2. */
    {NODE("kind: nvswitch", 8), TRUE, 2, 4 * 100e9, MOE_FABRIC_SCALE_UP},
    {NODE("kind: nvswitch", 72), TRUE, 2, 36 * 100e9, MOE_FABRIC_SCALE_UP},
    {NODE("kind: mesh", 8), TRUE, 1, 16 * 100e9 / 7, MOE_FABRIC_SCALE_UP},
    {NODE("kind: ring", 8), TRUE, 4, 100e9, MOE_FABRIC_SCALE_UP},
    {NODE("kind: ring", 7), TRUE, 3, 100e9, MOE_FABRIC_SCALE_UP},
    {NODE("kind: ring", 2), TRUE, 1, 100e9, MOE_FABRIC_SCALE_UP},
    /* PCIe tree, halves at the sockets: the link between them. */
    {NODE("kind: pcie-tree, switch_gpus: 2, socket_bandwidth: 20GBps", 8), TRUE, 5, 20e9,
     MOE_FABRIC_SCALE_UP},
    /* One socket: two uplinks per half. */
    {NODE("kind: pcie-tree, switch_gpus: 2, socket_switches: 4, uplink_bandwidth: 30GBps", 8), TRUE,
     4, 2 * 30e9, MOE_FABRIC_SCALE_UP},
    {NODE(
         "kind: custom, graph: {switches: [a, b], links: [{from: gpu0, to: a}, {from: gpu1, to: a},"
         " {from: gpu2, to: b}, {from: gpu3, to: b}, {from: a, to: b, bandwidth: 7GBps}]}",
         4),
     TRUE, 3, 7e9, MOE_FABRIC_SCALE_UP},
    /* Scale-out: halves of N NICs at rate B. Non-blocking: N/2 B. */
    {CLUSTER(4, 4, "scale_out: non-blocking"), TRUE, 2, 8 * 10e9, MOE_FABRIC_SCALE_OUT},
    /* Fat trees: N/2 B over the oversubscription of every level that the halves use. */
    {CLUSTER(8, 2, "scale_out: {kind: fat-tree, switch_nics: 4}"), TRUE, 4, 8 * 10e9,
     MOE_FABRIC_SCALE_OUT},
    {CLUSTER(8, 2, "scale_out: {kind: fat-tree, switch_nics: 4, oversubscription: 2}"), TRUE, 4,
     8 * 10e9 / 2, MOE_FABRIC_SCALE_OUT},
    {CLUSTER(8, 2, "scale_out: {kind: fat-tree, switch_nics: 4, link_bandwidth: 40GBps}"), TRUE, 4,
     8 * 10e9, MOE_FABRIC_SCALE_OUT},
    {CLUSTER(16, 2, "scale_out: {kind: fat-tree, levels: 3, switch_nics: 4, group_switches: 2}"),
     TRUE, 6, 16 * 10e9, MOE_FABRIC_SCALE_OUT},
    {CLUSTER(16, 4,
             "scale_out: {kind: fat-tree, levels: 3, switch_nics: 4, group_switches: 4,"
             " oversubscription: 2, core_oversubscription: 4}"),
     TRUE, 6, 32 * 10e9 / 8, MOE_FABRIC_SCALE_OUT},
    /* Rails: two leaves per rail here, so the halves meet over the spines. */
    {CLUSTER(8, 2, "scale_out: {kind: rail-optimised, switch_nics: 4, oversubscription: 2}"), TRUE,
     4, 8 * 10e9 / 2, MOE_FABRIC_SCALE_OUT},
    {CLUSTER(8, 4, "scale_out: rail-optimised"), TRUE, 4, 16 * 10e9, MOE_FABRIC_SCALE_OUT},
    /* Dragonfly, 4 groups of 3 routers with 1 cable each: 2 x 2 pairs of groups, 1 cable. */
    {CLUSTER(12, 2,
             "scale_out: {kind: dragonfly, switch_nics: 2, group_switches: 3, global_links: 1}"),
     FALSE, 5, 2 * 2 * 1 * 10e9, MOE_FABRIC_SCALE_OUT},
    /* 2 cables per pair, faster. */
    {CLUSTER(12, 2,
             "scale_out: {kind: dragonfly, switch_nics: 2, group_switches: 3, global_links: 2,"
             " global_bandwidth: 11GBps}"),
     FALSE, 5, 2 * 2 * 2 * 11e9, MOE_FABRIC_SCALE_OUT},
    /* Torus: 2 (wrap) x product of the other axes x B; mesh: half of it. */
    {CLUSTER(16, 1, "scale_out: {kind: torus, dimensions: [4, 4]}"), TRUE, 6, 2 * 4 * 10e9,
     MOE_FABRIC_SCALE_OUT},
    {CLUSTER(16, 1, "scale_out: {kind: mesh, dimensions: [4, 4]}"), TRUE, 8, 4 * 10e9,
     MOE_FABRIC_SCALE_OUT},
    {CLUSTER(16, 4, "scale_out: {kind: torus, dimensions: [4, 4, 4], link_bandwidth: 1GBps}"), TRUE,
     8, 2 * 16 * 1e9, MOE_FABRIC_SCALE_OUT},
    {CLUSTER(9, 4, "scale_out: {kind: mesh, dimensions: [4, 3, 3], link_bandwidth: 1GBps}"), TRUE,
     9, 9 * 1e9, MOE_FABRIC_SCALE_OUT},
    {CLUSTER(6, 4, "scale_out: {kind: torus, link_bandwidth: 1GBps}"), TRUE, 6, 6 * 1e9 * 2,
     MOE_FABRIC_SCALE_OUT}, /* 4 x 3 x 2 */
    {CLUSTER(16, 2, "scale_out: {kind: torus, switch_nics: 2, dimensions: [4, 4]}"), TRUE, 6,
     2 * 4 * 10e9, MOE_FABRIC_SCALE_OUT},
    {CLUSTER(4, 1,
             "scale_out: {kind: custom, graph: {switches: [a, b], links:"
             " [{from: node0 nic0, to: a}, {from: node1 nic0, to: a}, {from: node2 nic0, to: b},"
             " {from: node3 nic0, to: b}, {from: a, to: b, bandwidth: 3GBps},"
             " {from: a, to: b, bandwidth: 4GBps}]}}"),
     TRUE, 3, 7e9, MOE_FABRIC_SCALE_OUT},
    {CLUSTER(4, 2,
             "scale_out: {kind: custom, graph: {switches: [a, b], links:"
             " [{from: '* nic0', to: a}, {from: '* nic1', to: b}, {from: a, to: b}]}}"),
     TRUE, 3, 4 * 10e9, MOE_FABRIC_SCALE_OUT},
};

static guint32 endpoint(const MoeTopology *t, MoeFabric fabric, gint64 gpu)
{
    return fabric == MOE_FABRIC_SCALE_UP ? (guint32)gpu
                                         : moe_topology_nic_vertex(t, moe_topology_nic(t, gpu));
}

START_TEST(every_pair_has_a_route_as_short_as_the_graph_allows)
{
    g_autoptr(MoeTopology) t = test_cluster(fabrics[_i].yaml);
    MoeFabric fabric = fabrics[_i].fabric;
    int longest = 0;
    for (gint64 a = 0; a < t->n_gpus; a++)
        for (gint64 b = 0; b < t->n_gpus; b++) {
            if (a == b)
                continue;
            guint32 links[MOE_ROUTE_MOST];
            int n = moe_topology_route(t, fabric, a, b, links);
            ck_assert_int_gt(n, 0);
            guint32 from = endpoint(t, fabric, a), to = endpoint(t, fabric, b);
            assert_chain(t, links, n, from, to);
            int best = fewest_links(t, fabric, from, to);
            ck_assert_int_ge(n, best);
            if (fabrics[_i].shortest)
                ck_assert_int_eq(n, best);
            longest = MAX(longest, n);
        }
    ck_assert_int_eq(longest, fabrics[_i].longest);
}
END_TEST

START_TEST(bisection_is_the_formula)
{
    g_autoptr(MoeTopology) t = test_cluster(fabrics[_i].yaml);
    assert_close(moe_topology_bisection(t, fabrics[_i].fabric), fabrics[_i].bisection, 1e-9);
}
END_TEST

/* SimGrid's routes cross the same links: one message alone takes latency + bytes / bandwidth. */
START_TEST(simgrid_routes_as_we_do)
{
    g_autoptr(MoeTopology) t = test_cluster(fabrics[_i].yaml);
    const gint64 bytes = 12345678;
    MoeFabric fabric = fabrics[_i].fabric;
    for (gint64 b = t->n_gpus - 1; b > 0; b -= MAX(1, t->n_gpus / 3)) {
        g_autoptr(MoePrograms) programs = moe_programs_new(t->n_gpus);
        moe_programs_exchange(programs, MOE_PHASE_DISPATCH, 0);
        moe_programs_send(programs, 0, b, fabric, bytes);
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeTimes) times = moe_engine_run(t, programs, 0, NULL, &error);
        assert_no_error(error);
        assert_close(times->ranks[b][0].end,
                     moe_topology_latency(t, fabric, 0, b) +
                         (double)bytes / moe_topology_bandwidth(t, fabric, 0, b),
                     1e-9);
    }
}
END_TEST

/* --- trees: what goes up comes down, and links are used evenly -------------------------------- */

START_TEST(fat_trees_use_their_links_evenly)
{
    g_autoptr(MoeTopology) t = test_cluster(CLUSTER(
        16, 4, "scale_out: {kind: fat-tree, levels: 3, switch_nics: 8, group_switches: 2}"));
    g_autofree int *used = g_new0(int, t->links->len);
    for (gint64 a = 0; a < t->n_gpus; a++)
        for (gint64 b = 0; b < t->n_gpus; b++) {
            guint32 links[MOE_ROUTE_MOST];
            int n = a != b ? moe_topology_route(t, MOE_FABRIC_SCALE_OUT, a, b, links) : 0;
            ck_assert_int_eq(n % 2, 0);
            for (int i = 0; i < n; i++) {
                int up = g_array_index(t->vertices, MoeVertex, moe_topology_link(t, links[i])->to)
                             .level -
                         g_array_index(t->vertices, MoeVertex, moe_topology_link(t, links[i])->from)
                             .level;
                ck_assert_int_eq(up, i < n / 2 ? 1 : -1);
                used[links[i]]++;
            }
        }
    for (guint32 l = 2 * (guint32)t->n_nics + t->first_link[MOE_FABRIC_SCALE_OUT];
         l < t->end_link[MOE_FABRIC_SCALE_OUT]; l++) {
        const char *kind = moe_topology_link(t, l)->kind;
        /* Leaf to spine: 8 x 56 pairs over 8 links. Spine to core: 16 x 48 over 8 x 2. */
        ck_assert_int_eq(used[l], strcmp(kind, "leaf to spine") == 0 ? 56 : 48);
    }
}
END_TEST

/* --- rails ----------------------------------------------------------------------------------- */

START_TEST(rails_forward_in_the_scale_up_domain)
{
    static const char *const clusters[] = {
        CLUSTER(4, 4, "scale_out: rail-only"),
        CLUSTER(4, 4, "scale_out: {kind: rail-optimised, cross_rail: scale-up}"),
    };
    for (size_t c = 0; c < G_N_ELEMENTS(clusters); c++) {
        g_autoptr(MoeTopology) t = test_cluster(clusters[c]);
        for (gint64 a = 0; a < 4; a++)
            for (gint64 b = 4; b < 16; b++) {
                guint32 links[MOE_ROUTE_MOST];
                int n = moe_topology_route(t, MOE_FABRIC_SCALE_OUT, a, b, links);
                ck_assert_int_eq(n, a == b % 4 ? 2 : 4);
                if (n == 4) { /* NVLink to the GPU on b's rail, then that GPU's NIC */
                    assert_chain(t, links, 2, (guint32)a, (guint32)(b % 4));
                    assert_chain(t, links + 2, 2, moe_topology_nic_vertex(t, b % 4),
                                 moe_topology_nic_vertex(t, b));
                }
            }
        g_autoptr(MoePrograms) programs = moe_programs_new(16);
        moe_programs_exchange(programs, MOE_PHASE_DISPATCH, 0);
        moe_programs_send(programs, 0, 7, MOE_FABRIC_SCALE_OUT, 1000000);
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeTimes) times = moe_engine_run(t, programs, 0, NULL, &error);
        assert_no_error(error);
        assert_close(times->ranks[7][0].end, 1e-6 + 1e6 / 10e9, 1e-9);
    }
}
END_TEST

/* --- NICs ------------------------------------------------------------------------------------ */

START_TEST(several_nics_per_gpu_share_its_peers)
{
    g_autoptr(MoeTopology) t =
        test_cluster("{name: t, nodes: 8, gpus_per_node: 2, gpu: h100-sxm, scale_up: {kind: "
                     "nvswitch, bandwidth: 100GBps}, nics: {per_node: 8, bandwidth: 10GBps}}");
    int sends[128] = {0}, receives[128] = {0};
    for (gint64 a = 0; a < t->n_gpus; a++)
        for (gint64 b = 0; b < t->n_gpus; b++)
            if (moe_topology_node(t, a) != moe_topology_node(t, b)) {
                guint32 links[MOE_ROUTE_MOST];
                ck_assert_int_eq(moe_topology_route(t, MOE_FABRIC_SCALE_OUT, a, b, links), 2);
                guint32 first = t->first_link[MOE_FABRIC_SCALE_OUT];
                gint64 out = (links[0] - first) / 2, in = (links[1] - first) / 2;
                ck_assert_int_eq(out / 4, a);
                ck_assert_int_eq(in / 4, b);
                sends[out]++;
                receives[in]++;
            }
    for (int nic = 0; nic < 64; nic++) { /* 14 peers over 4 NICs */
        ck_assert_int_ge(sends[nic], 3);
        ck_assert_int_le(sends[nic], 4);
        ck_assert_int_ge(receives[nic], 3);
        ck_assert_int_le(receives[nic], 4);
    }
}
END_TEST

/* Eight NICs for GPUs and one for storage. */
START_TEST(a_ninth_nic_carries_nothing)
{
    g_autoptr(MoeTopology) t = test_cluster(
        "{name: t, nodes: 2, gpus_per_node: 8, gpu: h100-sxm, scale_up: {kind: nvswitch, "
        "bandwidth: "
        "100GBps}, nics: {per_node: 9, bandwidth: 10GBps, affinity: [0, 1, 2, 3, 4, 5, 6, 7]}}");
    ck_assert_int_eq(t->n_nics, 18);
    ck_assert_int_eq(moe_topology_nic(t, 8), 9);
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_OUT, 7, 15), 10e9, 1e-12);
}
END_TEST

START_TEST(pcie_limits_nics)
{
    g_autoptr(MoeTopology) t =
        test_cluster("{name: t, nodes: 2, gpus_per_node: 4, gpu: h100-sxm, scale_up: {kind: "
                     "nvswitch, bandwidth: "
                     "100GBps}, nics: {per_node: 2, bandwidth: 50GBps, pcie: 32GBps}}");
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_OUT, 0, 4), 32e9, 1e-12);
    g_autoptr(MoeTopology) tree = test_cluster(
        "{name: t, nodes: 2, gpus_per_node: 4, gpu: h100-sxm, scale_up: {kind: pcie-tree, "
        "bandwidth: 25GBps}, nics: {per_node: 2, bandwidth: 50GBps}}");
    guint32 up[MOE_ROUTE_MOST], out[MOE_ROUTE_MOST];
    moe_topology_route(tree, MOE_FABRIC_SCALE_UP, 0, 3, up);
    ck_assert_int_eq(moe_topology_route(tree, MOE_FABRIC_SCALE_OUT, 0, 7, out), 4);
    ck_assert_uint_eq(up[0], out[0]); /* the same lane */
    assert_close(moe_topology_bandwidth(tree, MOE_FABRIC_SCALE_OUT, 0, 7), 25e9, 1e-12);
}
END_TEST

/* --- nodes and links that differ -------------------------------------------------------------- */

START_TEST(groups_differ)
{
    g_autoptr(MoeTopology) t = test_cluster(
        "{name: t, gpus_per_node: 4, gpu: h100-sxm, scale_up: {kind: nvswitch, bandwidth: 100GBps},"
        " nics: {per_node: 4, bandwidth: 50GBps}, groups: [{nodes: 2}, {nodes: 1, gpu: "
        "a100-sxm-80gb, gpus_per_node: 2, scale_up: {kind: mesh, bandwidth: 60GBps}, nics: "
        "{per_node: 1, bandwidth: 25GBps}}]}");
    ck_assert_int_eq(t->n_gpus, 10);
    ck_assert_int_eq(t->n_nics, 9);
    ck_assert_int_eq(t->file.nodes, 3);
    ck_assert_int_eq(moe_topology_node(t, 9), 2);
    ck_assert_str_eq(moe_topology_gpu(t, 7)->name, "H100 SXM5 80GB");
    ck_assert_str_eq(moe_topology_gpu(t, 8)->name, "A100 SXM4 80GB");
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_UP, 8, 9), 60e9, 1e-12);
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_OUT, 0, 4), 50e9, 1e-12);
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_OUT, 0, 9), 25e9, 1e-12);
}
END_TEST

START_TEST(links_differ)
{
    g_autoptr(MoeTopology) t = test_cluster(
        CLUSTER(2, 2,
                "links: [{name: node0 nic1 *, share: 25%}, {name: node1 nic0 in, bandwidth: "
                "1GBps, latency: 9us}]"));
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_OUT, 0, 3), 10e9, 1e-12);
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_OUT, 1, 3), 2.5e9, 1e-12);
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_OUT, 0, 2), 1e9, 1e-12);
    assert_close(moe_topology_latency(t, MOE_FABRIC_SCALE_OUT, 0, 2), 9e-6, 1e-12);
}
END_TEST

/* Around a broken link: another spine, the other way round a ring, the NICs. */
START_TEST(routes_avoid_broken_links)
{
    static const struct {
        const char *yaml;
        MoeFabric fabric;
        gint64 from, to;
        int links;
    } cases[] = {
        {CLUSTER(4, 2,
                 "scale_out: {kind: fat-tree, switch_nics: 4}, links: [{name: leaf0 to spine0, "
                 "broken: true}, {name: leaf0 to spine2, broken: true}]"),
         MOE_FABRIC_SCALE_OUT, 0, 4, 4},
        {NODE("kind: ring", 8), MOE_FABRIC_SCALE_UP, 0, 1, 1},
        {"{name: t, nodes: 1, gpus_per_node: 8, gpu: h100-sxm, scale_up: {kind: ring, bandwidth: "
         "1GBps}, links: [{name: node0 gpu0 to gpu1, broken: true}]}",
         MOE_FABRIC_SCALE_UP, 0, 1, 7},
        {CLUSTER(2, 2, "links: [{name: node0 gpu0 scale-up out, broken: true}]"),
         MOE_FABRIC_SCALE_OUT, 0, 1, 2},
        {CLUSTER(16, 1,
                 "scale_out: {kind: torus, dimensions: [4, 4]}, links: [{name: router0-0 to "
                 "router1-0, broken: true}]"),
         MOE_FABRIC_SCALE_OUT, 0, 4, 5},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(MoeTopology) t = test_cluster(cases[i].yaml);
        gint64 a = cases[i].from, b = cases[i].to;
        ck_assert_int_eq(moe_topology_fabric(t, a, b), cases[i].fabric);
        guint32 links[MOE_ROUTE_MOST];
        int n = moe_topology_route(t, cases[i].fabric, a, b, links);
        ck_assert_msg(n == cases[i].links, "case %zu: %d links", i, n);
        assert_chain(t, links, n, endpoint(t, cases[i].fabric, a), endpoint(t, cases[i].fabric, b));
    }
}
END_TEST

START_TEST(stated_routes_are_taken)
{
    g_autoptr(MoeTopology) t = test_cluster(
        CLUSTER(2, 1,
                "scale_out: {kind: custom, graph: {switches: [a, b, c], links: [{from: node0 nic0, "
                "to: a}, {from: node1 nic0, to: b}, {from: a, to: b}, {from: a, to: c}, {from: c, "
                "to: b}], routes: [{from: node0 nic0, to: node1 nic0, via: [a, c, b]}]}}"));
    guint32 links[MOE_ROUTE_MOST];
    ck_assert_int_eq(moe_topology_route(t, MOE_FABRIC_SCALE_OUT, 0, 1, links), 4);
    ck_assert_int_eq(moe_topology_route(t, MOE_FABRIC_SCALE_OUT, 1, 0, links), 3);
}
END_TEST

/* --- metamorphic relations -------------------------------------------------------------------- */

static double all_to_all(const MoeTopology *t, const gint64 *bytes)
{
    g_autoptr(MoePrograms) programs = moe_programs_new(t->n_gpus);
    moe_programs_exchange(programs, MOE_PHASE_DISPATCH, 0);
    for (gint64 a = 0; a < t->n_gpus; a++)
        for (gint64 b = 0; b < t->n_gpus; b++)
            if (a != b)
                moe_programs_send(programs, a, b, moe_topology_fabric(t, a, b),
                                  bytes[a * t->n_gpus + b]);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTimes) times = moe_engine_run(t, programs, 0, NULL, &error);
    assert_no_error(error);
    double end = 0;
    for (gint64 r = 0; r < t->n_gpus; r++)
        end = fmax(end, times->ranks[r][0].end);
    return end;
}

static gint64 *random_bytes(gint64 n)
{
    gint64 *bytes = g_new(gint64, n * n);
    srand(11);
    for (gint64 i = 0; i < n * n; i++)
        bytes[i] = 1 + rand() % 2000000;
    return bytes;
}

/* One exchange of flows: with any kind of link twice as fast it never takes longer. */
START_TEST(twice_any_bandwidth_is_never_slower)
{
    g_autoptr(MoeTopology) t = test_cluster(fabrics[_i].yaml);
    if (t->n_gpus > 16)
        return;
    g_autofree gint64 *bytes = random_bytes(t->n_gpus);
    double before = all_to_all(t, bytes);
    g_autoptr(GArray) counts = moe_topology_count_links(t);
    for (guint c = 0; c < counts->len; c++) {
        const MoeLinkCount *count = &g_array_index(counts, MoeLinkCount, c);
        g_autoptr(MoeTopology) fast = test_cluster(fabrics[_i].yaml);
        for (guint32 l = 0; l < fast->links->len; l++) {
            MoeLink *link = &g_array_index(fast->links, MoeLink, l);
            if (strcmp(link->kind, count->kind) == 0)
                link->bandwidth *= 2;
        }
        double after = all_to_all(fast, bytes);
        ck_assert_msg(after <= before * (1 + 1e-9), "%s: %g s, then %g s", count->kind, before,
                      after);
    }
}
END_TEST

/* Ranks renamed by a symmetry of the graph that the routing respects: nodes turned round. */
START_TEST(renaming_ranks_changes_nothing)
{
    static const struct {
        const char *yaml;
        gint64 shift; /* GPUs */
    } cases[] = {
        {CLUSTER(8, 2, "scale_out: {kind: fat-tree, switch_nics: 4}"), 4},
        {CLUSTER(8, 2, "scale_out: {kind: rail-optimised, switch_nics: 4}"), 8},
        {CLUSTER(4, 4, "scale_out: rail-only"), 4},
        {CLUSTER(16, 1, "scale_out: {kind: torus, dimensions: [4, 4]}"), 8},
        {NODE("kind: ring", 8), 2},
        {NODE("kind: mesh", 8), 3},
        {NODE("kind: pcie-tree", 8), 4},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(MoeTopology) t = test_cluster(cases[i].yaml);
        gint64 n = t->n_gpus;
        g_autofree gint64 *bytes = random_bytes(n), *renamed = g_new0(gint64, n * n);
        for (gint64 a = 0; a < n; a++)
            for (gint64 b = 0; b < n; b++)
                renamed[(a + cases[i].shift) % n * n + (b + cases[i].shift) % n] = bytes[a * n + b];
        assert_close(all_to_all(t, renamed), all_to_all(t, bytes), 1e-9);
    }
}
END_TEST

/* --- size ------------------------------------------------------------------------------------- */

/* Regular fabrics keep no routes: 2048 GPUs take a few links per GPU. */
START_TEST(large_clusters_stay_small)
{
    g_autoptr(MoeTopology) t = test_cluster(CLUSTER(
        256, 8,
        "scale_out: {kind: rail-optimised, levels: 3, switch_nics: 32, group_switches: 8}"));
    ck_assert_int_eq(t->n_gpus, 2048);
    ck_assert_uint_lt(t->links->len, 8 * 2048 + 1);
    double sum = 0;
    for (gint64 a = 0; a < t->n_gpus; a++)
        for (gint64 b = a % 7; b < t->n_gpus; b += 7)
            if (a != b)
                sum += moe_topology_latency(t, moe_topology_fabric(t, a, b), a, b);
    ck_assert(sum > 0);
    GError *error = NULL;
    g_autoptr(MoeTopology) huge = test_cluster(CLUSTER(512, 8, "scale_out: rail-optimised"));
    g_autoptr(MoePrograms) programs = moe_programs_new(huge->n_gpus);
    ck_assert(moe_engine_run(huge, programs, 0, NULL, &error) == NULL);
    assert_error(&error, MOE_ERROR_INPUT, "SimGrid would need");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("fabrics");
    TCase *tests = tcase_create("fabrics");
    tcase_set_timeout(tests, 120);
    int n = (int)G_N_ELEMENTS(fabrics);
    tcase_add_loop_test(tests, every_pair_has_a_route_as_short_as_the_graph_allows, 0, n);
    tcase_add_loop_test(tests, bisection_is_the_formula, 0, n);
    tcase_add_loop_test(tests, simgrid_routes_as_we_do, 0, n);
    tcase_add_loop_test(tests, twice_any_bandwidth_is_never_slower, 0, n);
    tcase_add_test(tests, renaming_ranks_changes_nothing);
    tcase_add_test(tests, fat_trees_use_their_links_evenly);
    tcase_add_test(tests, rails_forward_in_the_scale_up_domain);
    tcase_add_test(tests, several_nics_per_gpu_share_its_peers);
    tcase_add_test(tests, a_ninth_nic_carries_nothing);
    tcase_add_test(tests, pcie_limits_nics);
    tcase_add_test(tests, groups_differ);
    tcase_add_test(tests, links_differ);
    tcase_add_test(tests, routes_avoid_broken_links);
    tcase_add_test(tests, stated_routes_are_taken);
    tcase_add_test(tests, large_clusters_stay_small);
    suite_add_tcase(suite, tests);
    return suite;
}

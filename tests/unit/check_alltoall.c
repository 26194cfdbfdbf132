#include "config.h"

#include "sim/result.h"
#include "sim/traffic.h"
#include "tests/unit/alltoalls.h"
#include "tests/unit/cluster.h"
#include "tests/unit/harness.h"
#include "workloads/synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- closed forms: balanced traffic, one switch per node and one above ------------------------- */

static const struct {
    int nodes, gpus;
} sizes[] = {{1, 2}, {2, 1}, {1, 8}, {2, 4}, {2, 8}, {8, 8}};

static const double up = TEST_UP_RATE, out = TEST_OUT_RATE, l = TEST_UP_LATENCY,
                    k = TEST_OUT_LATENCY;

/* Copies of a pair of ranks: divides into the chunks that the tests ask for. */
enum { COPIES = 960, TOKEN = 1000 };

/* Both directions take @expected seconds. */
static void check_both_ways(const MoeTopology *t, TestAllToAll what, double expected)
{
    what.cost.startup = 5e-6;
    what.token_bytes = TOKEN;
    for (int back = 0; back < 2; back++) {
        what.back = back;
        assert_close(test_alltoall_seconds(t, t->n_gpus, &what), 5e-6 + expected, 1e-6);
    }
}

/* As filled, run and drained: @a and @b seconds of bytes on fabrics with latencies @la and @lb. */
static double pipelined(double la, double a, double lb, double b, int chunks)
{
    double share = 1.0 / chunks;
    double steady = chunks > 1 ? fmax(la + a * (1 - share), lb + b * (1 - share)) : 0;
    return la + a * share + steady + lb + b * share;
}

/* One exchange; a window of w = 3 waits for its last message before the next begins. */
START_TEST(single_hops)
{
    int N = sizes[_i].nodes, G = sizes[_i].gpus;
    g_autoptr(MoeTopology) t = test_cluster_of(N, G);
    g_autofree gint64 *copies = test_equal(N * G, COPIES);
    double m = COPIES * TOKEN, peers = N * G - 1;
    double inside = G > 1 ? l + (G - 1) * m / up : 0,
           outside = N > 1 ? k + (N - 1) * G * m / out : 0;
    TestAllToAll what = {.algorithm = "direct", .copies = copies};
    check_both_ways(t, what, fmax(inside, outside));
    what.algorithm = "nccl-ep-low-latency";
    check_both_ways(t, what, fmax(inside, outside));
    what.algorithm = "deepep-low-latency";
    check_both_ways(t, what, fmax(inside, outside));
    what.local = MOE_LOCAL_SCALE_OUT;
    check_both_ways(t, what, k + peers * m / out);
    if (N > 1 && G > 1)
        return;
    what.algorithm = "windowed";
    what.window = 3;
    check_both_ways(t, what, ceil(peers / 3) * (N > 1 ? k : l) + peers * m / (N > 1 ? out : up));
    what.algorithm = "one-sided";
    if (N == 1)
        check_both_ways(t, what, inside);
}
END_TEST

START_TEST(hierarchical_has_three_stages)
{
    int N = sizes[_i].nodes, G = sizes[_i].gpus;
    g_autoptr(MoeTopology) t = test_cluster_of(N, G);
    g_autofree gint64 *copies = test_equal(N * G, COPIES);
    double m = COPIES * TOKEN;
    double gather = G == 1 ? 0 : l + (G - 1) * (G * (N - 1) + 1) * m / up;
    double exchange = N == 1 ? 0 : k + G * G * (N - 1) * m / out;
    double scatter = N == 1 || G == 1 ? 0 : l + (G - 1) * G * (N - 1) * m / up;
    const TestAllToAll what = {.algorithm = "hierarchical", .copies = copies};
    check_both_ways(t, what, gather + exchange + scatter);
}
END_TEST

static const int chunk_counts[] = {1, 2, 8, 32};

START_TEST(rail_forward_pipelines_its_hops)
{
    int N = sizes[_i].nodes, G = sizes[_i].gpus;
    g_autoptr(MoeTopology) t = test_cluster_of(N, G);
    g_autofree gint64 *copies = test_equal(N * G, COPIES);
    double m = COPIES * TOKEN, a = (G - 1) * N * m / up, b = G * (N - 1) * m / out;
    for (size_t c = 0; c < G_N_ELEMENTS(chunk_counts); c++) {
        int chunks = chunk_counts[c];
        TestAllToAll what = {.algorithm = "rail-forward", .copies = copies, .chunks = chunks};
        double hops = N == 1 ? l + a : pipelined(G > 1 ? l : 0, a, k, b, chunks);
        check_both_ways(t, what, hops);
    }
}
END_TEST

/* Every GPU of a node gets u of the v tokens that a rank sends to the node. */
START_TEST(deepep_normal_pipelines_its_hops)
{
    int N = sizes[_i].nodes, G = sizes[_i].gpus, R = N * G;
    const double u = COPIES, v = G > 1 ? 2 * COPIES : COPIES;
    g_autoptr(MoeTopology) t = test_cluster_of(N, G);
    g_autofree gint64 *copies = test_equal(R, COPIES), *nodes = g_new(gint64, R * N);
    for (int i = 0; i < R * N; i++)
        nodes[i] = (gint64)v;
    double a = (N - 1) * v * TOKEN / out, b = (G - 1) * N * u * TOKEN / up;
    for (size_t c = 0; c < G_N_ELEMENTS(chunk_counts); c++) {
        int chunks = chunk_counts[c];
        TestAllToAll what = {
            .algorithm = "deepep-normal", .copies = copies, .nodes = nodes, .chunks = chunks};
        check_both_ways(t, what, N == 1 ? l + b : pipelined(k, a, G > 1 ? l : 0, b, chunks));
    }
}
END_TEST

/* A rank's messages wait for what the kernel needs for its peers and tokens. */
START_TEST(kernels_charge_for_peers_and_tokens)
{
    enum { N = 8 };
    g_autoptr(MoeTopology) t = test_cluster_of(1, N);
    g_autofree gint64 *copies = test_equal(N, COPIES);
    TestAllToAll what = {.algorithm = "direct",
                         .copies = copies,
                         .token_bytes = TOKEN,
                         .cost = {.startup = 9e-6, .message = 3e-7, .token = 2e-9}};
    double link = l + (N - 1) * (double)COPIES * TOKEN / up;
    double kernel = 9e-6 + 7 * 3e-7 + 7 * COPIES * 2e-9;
    assert_close(test_alltoall_seconds(t, N, &what), kernel + link, 1e-6);
    what.algorithm = "pairwise"; /* the startup once, the latency in every round */
    assert_close(test_alltoall_seconds(t, N, &what), kernel + link + 6 * l, 1e-6);
    what.algorithm = "rail-forward";
    what.chunks = 32;
    assert_close(test_alltoall_seconds(t, N, &what), kernel + link, 1e-6);
    /* Chunks divide a peer's message: 2 nodes of 4, 4 peers by NIC, 3 by NVLink, twice the copies. */
    g_autoptr(MoeTopology) two = test_cluster_of(2, 4);
    double free, charged;
    what.cost = (MoeKernelCost){0};
    free = test_alltoall_seconds(two, N, &what);
    what.cost = (MoeKernelCost){.message = 3e-7, .token = 2e-9};
    charged = test_alltoall_seconds(two, N, &what);
    assert_close(charged - free, (3 + 1) * 3e-7 + (3 * 2 + 4) * COPIES * 2e-9, 1e-4);
}
END_TEST

/* --- relations --------------------------------------------------------------------------------- */

static gint64 *random_copies(gint64 n, guint seed)
{
    gint64 *matrix = g_new(gint64, n * n);
    srand(seed);
    for (gint64 i = 0; i < n * n; i++)
        matrix[i] = rand() % 4 == 0 ? 0 : 1 + rand() % 2000;
    return matrix;
}

START_TEST(a_full_window_is_direct)
{
    enum { N = 8 };
    g_autoptr(MoeTopology) t = test_cluster_of(2, 4);
    g_autofree gint64 *copies = random_copies(N, (guint)_i);
    TestAllToAll what = {.algorithm = "direct", .token_bytes = TOKEN, .copies = copies};
    double direct = test_alltoall_seconds(t, N, &what);
    what.algorithm = "windowed";
    what.window = N - 1;
    assert_close(test_alltoall_seconds(t, N, &what), direct, 1e-12);
    what.window = 1 << 16;
    assert_close(test_alltoall_seconds(t, N, &what), direct, 1e-12);
}
END_TEST

/* Seven ranks: pairwise shifts, and a window of one is the same. */
START_TEST(a_window_of_one_is_pairwise)
{
    enum { N = 7 };
    g_autoptr(MoeTopology) t = test_cluster_of(2, 4);
    g_autofree gint64 *copies = random_copies(N, (guint)_i);
    TestAllToAll what = {.algorithm = "pairwise", .token_bytes = TOKEN, .copies = copies};
    double pairwise = test_alltoall_seconds(t, N, &what);
    what.algorithm = "windowed";
    what.window = 1;
    assert_close(test_alltoall_seconds(t, N, &what), pairwise, 1e-12);
}
END_TEST

/* --- every token followed hop by hop ----------------------------------------------------------- */

static const struct {
    int nodes, gpus, ranks;
} shapes[] = {{1, 8, 8}, {2, 4, 8}, {3, 2, 6}, {2, 4, 6}, {4, 1, 4}, {3, 4, 12}, {2, 0, 6}};

/* The last shape's nodes differ: four GPUs and two. */
static MoeTopology *shape_cluster(int shape)
{
    if (shapes[shape].gpus > 0)
        return test_cluster_of(shapes[shape].nodes, shapes[shape].gpus);
    return test_cluster(
        "{name: mixed, gpus_per_node: 4, gpu: h100-sxm,"
        " scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"
        " nics: {per_node: 4, bandwidth: 10GBps}, scale_out: {latency: 2us},"
        " groups: [{nodes: 1}, {nodes: 1, gpus_per_node: 2, nics: {per_node: 2}}]}");
}

enum { EXPERTS = 48, TOP_K = 5 };

/* Routing of one block, and what it counts. */
typedef struct {
    gint64 n_ranks;
    MoeTopology *topology;
    MoeTrace *trace;
    MoePlacement *placement;
    MoeTraffic *traffic;
    gint64 *first, *tokens;
} World;

static World world_new(int shape, guint seed)
{
    int R = shapes[shape].ranks;
    g_autoptr(GError) error = NULL;
    World w = {.n_ranks = R,
               .topology = shape_cluster(shape),
               .placement = moe_placement_new(0, EXPERTS, R, &error),
               .first = g_new0(gint64, R + 1)};
    srand(seed);
    for (int r = 0; r < R; r++)
        w.first[r + 1] = w.first[r] + rand() % 60;
    gint64 n = w.first[R] + 1;
    w.first[R] = n;
    w.tokens = g_new(gint64, n);
    for (gint64 i = 0; i < n; i++)
        w.tokens[i] = i;
    const MoeSynth synth = {.kind = 2, /* zipf */
                            .tokens = n,
                            .steps = 1,
                            .sequence_length = n,
                            .experts = EXPERTS,
                            .top_k = TOP_K,
                            .layers = 1,
                            .exponent = rand() % 3,
                            .seed = seed};
    w.trace = moe_synth(&synth, NULL, &error);
    assert_no_error(error);
    w.traffic = moe_traffic_new(R, EXPERTS, w.topology->node_of);
    const MoeAssignment assignment = {R, w.first, w.tokens};
    moe_traffic_count(w.traffic, w.trace, &w.trace->layers[0], &assignment, w.placement, FALSE);
    ck_assert(moe_traffic_check(w.traffic, &error));
    return w;
}

static void world_clear(World *w)
{
    moe_topology_free(w->topology);
    moe_trace_free(w->trace);
    moe_placement_free(w->placement);
    moe_traffic_free(w->traffic);
    g_free(w->first);
    g_free(w->tokens);
}

/* Copies that cross from rank to rank, [fabrics, ranks, ranks]. */
typedef struct {
    const World *world;
    gint64 *crossing;
    gboolean back;
} Walk;

static gint64 node_of(const World *w, gint64 rank)
{
    return moe_topology_node(w->topology, rank);
}

static gint64 first_of(const World *w, gint64 node)
{
    return moe_topology_machine(w->topology, node)->first_gpu;
}

/* Of the ranks of a node, which may be fewer than its GPUs. */
static gint64 rail(const World *w, gint64 node, gint64 rank)
{
    gint64 place = rank - first_of(w, node_of(w, rank)), first = first_of(w, node), n = 0;
    while (first + n < w->n_ranks && node_of(w, first + n) == node)
        n++;
    return first + place % n;
}

static void hop(const Walk *walk, MoeFabric fabric, gint64 from, gint64 to)
{
    gint64 R = walk->world->n_ranks;
    if (from != to)
        walk->crossing[(fabric * R + (walk->back ? to : from)) * R + (walk->back ? from : to)]++;
}

static void nearest_hop(const Walk *walk, gint64 from, gint64 to)
{
    gboolean near = node_of(walk->world, from) == node_of(walk->world, to);
    hop(walk, near ? MOE_FABRIC_SCALE_UP : MOE_FABRIC_SCALE_OUT, from, to);
}

/* One copy from @from to @to. */
static void walk_copy(const Walk *walk, const char *algorithm, gint64 from, gint64 to)
{
    const World *w = walk->world;
    gint64 here = node_of(w, from), there = node_of(w, to);
    if (strcmp(algorithm, "hierarchical") == 0 && here != there) {
        nearest_hop(walk, from, first_of(w, here));
        nearest_hop(walk, first_of(w, here), first_of(w, there));
        nearest_hop(walk, first_of(w, there), to);
    } else if (strcmp(algorithm, "rail-forward") == 0 && here != there) {
        nearest_hop(walk, from, rail(w, here, to));
        nearest_hop(walk, rail(w, here, to), to);
    } else {
        nearest_hop(walk, from, to);
    }
}

/* One token: what it visits, in its experts' order. */
static void walk_token(const Walk *walk, const char *algorithm, gint64 home, const guint16 *experts)
{
    const World *w = walk->world;
    gboolean once = strcmp(algorithm, "one-sided") == 0,
             deepep = strcmp(algorithm, "deepep-normal") == 0;
    for (int j = 0; j < TOP_K; j++) {
        gint64 to = w->placement->rank_of[experts[j]], there = node_of(w, to);
        gboolean seen = FALSE, node_seen = there == node_of(w, home);
        for (int i = 0; i < j; i++) {
            seen |= w->placement->rank_of[experts[i]] == to;
            node_seen |= node_of(w, w->placement->rank_of[experts[i]]) == there;
        }
        if (deepep && !node_seen)
            hop(walk, MOE_FABRIC_SCALE_OUT, home, rail(w, there, home));
        if (deepep && !seen)
            hop(walk, MOE_FABRIC_SCALE_UP, rail(w, there, home), to);
        if (!deepep && !(once && seen))
            walk_copy(walk, algorithm, home, to);
    }
}

static const struct {
    const char *algorithm;
    int chunks;
    gboolean unique;
} walked[] = {
    {"direct", 0, FALSE},       {"pairwise", 0, FALSE},           {"windowed", 0, FALSE},
    {"hierarchical", 0, FALSE}, {"hierarchical", 7, FALSE},       {"rail-forward", 0, FALSE},
    {"rail-forward", 3, FALSE}, {"deepep-normal", 0, TRUE},       {"deepep-normal", 1, TRUE},
    {"deepep-normal", 5, TRUE}, {"deepep-low-latency", 0, FALSE}, {"nccl-ep-low-latency", 0, FALSE},
    {"one-sided", 0, TRUE},
};

static void check_walk(const World *w, size_t row, gboolean back)
{
    gint64 R = w->n_ranks;
    g_autofree gint64 *crossing = g_new0(gint64, MOE_FABRIC_COUNT * R * R);
    const Walk walk = {w, crossing, back};
    for (gint64 r = 0; r < R; r++)
        for (gint64 i = w->first[r]; i < w->first[r + 1]; i++)
            walk_token(&walk, walked[row].algorithm, r, w->trace->layers[0].experts + i * TOP_K);
    const TestAllToAll what = {.algorithm = walked[row].algorithm,
                               .chunks = walked[row].chunks,
                               .back = back,
                               .token_bytes = TOKEN,
                               .copies =
                                   walked[row].unique ? w->traffic->unique : w->traffic->pairs,
                               .nodes = w->traffic->nodes};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePrograms) programs = test_alltoall_lower(w->topology, R, &what, &error);
    assert_no_error(error);
    for (gint64 r = 0; r < R; r++) {
        const GArray *sends = programs->ranks[r].sends;
        for (guint i = 0; i < sends->len; i++) {
            const MoeMessage *m = &g_array_index(sends, MoeMessage, i);
            ck_assert_int_eq(m->bytes % TOKEN, 0);
            crossing[(m->fabric * R + r) * R + m->peer] -= m->bytes / TOKEN;
        }
    }
    for (gint64 i = 0; i < MOE_FABRIC_COUNT * R * R; i++)
        ck_assert_msg(crossing[i] == 0,
                      "%s, chunks %d, back %d: %d copies too few over fabric %d "
                      "from %d to %d",
                      walked[row].algorithm, walked[row].chunks, back, (int)crossing[i],
                      (int)(i / R / R), (int)(i / R % R), (int)(i % R));
}

START_TEST(tokens_take_the_hops_that_they_should)
{
    for (guint seed = 0; seed < 20; seed++) {
        World w = world_new((int)_i, 100 * (guint)_i + seed);
        for (size_t row = 0; row < G_N_ELEMENTS(walked); row++) {
            if (strcmp(walked[row].algorithm, "one-sided") == 0 && shapes[_i].nodes > 1)
                continue;
            check_walk(&w, row, FALSE);
            check_walk(&w, row, TRUE);
        }
        world_clear(&w);
    }
}
END_TEST

/* ... and arrive in a time that no link and no message contradicts. */
START_TEST(simulated_invariants_hold)
{
    World w = world_new((int)_i, 7000 + (guint)_i);
    for (size_t row = 0; row < G_N_ELEMENTS(walked); row++) {
        if (strcmp(walked[row].algorithm, "one-sided") == 0 && shapes[_i].nodes > 1)
            continue;
        for (int back = 0; back < 2; back++) {
            const TestAllToAll what = {.algorithm = walked[row].algorithm,
                                       .chunks = walked[row].chunks,
                                       .back = back,
                                       .token_bytes = TOKEN,
                                       .cost = {.startup = 2e-6, .message = 1e-7, .token = 1e-9},
                                       .copies = walked[row].unique ? w.traffic->unique
                                                                    : w.traffic->pairs,
                                       .nodes = w.traffic->nodes};
            ck_assert(test_alltoall_seconds(w.topology, w.n_ranks, &what) > 2e-6);
        }
    }
    world_clear(&w);
}
END_TEST

/* --- DeepEP's own numbers ---------------------------------------------------------------------- */

/* tests/test_internode.py on 2 nodes of 8 GPUs, 4096 tokens each: its counts on rank 8. */
START_TEST(deepep_counts_the_same_tokens)
{
    enum { R = 16, T = 4096, E = 256 };
    g_autoptr(GError) error = NULL;
    int kind = 0;
    while (strcmp(moe_synth_kinds()[kind], "deepep") != 0)
        kind++;
    const MoeSynth synth = {.kind = kind,
                            .tokens = R * T,
                            .steps = 1,
                            .sequence_length = T,
                            .experts = E,
                            .top_k = 8,
                            .layers = 1,
                            .groups = 2,
                            .seed = 1 + _i};
    g_autoptr(MoeTrace) trace = moe_synth(&synth, NULL, &error);
    assert_no_error(error);
    gint64 first[R + 1];
    g_autofree gint64 *tokens = g_new(gint64, R * T);
    guint32 nodes[R];
    for (gint64 i = 0; i < R * T; i++)
        tokens[i] = i;
    for (gint64 r = 0; r <= R; r++)
        first[r] = r * T;
    for (guint32 r = 0; r < R; r++)
        nodes[r] = r / 8;
    const MoeAssignment assignment = {R, first, tokens};
    g_autoptr(MoePlacement) placement = moe_placement_new(0, E, R, &error);
    g_autoptr(MoeTraffic) traffic = moe_traffic_new(R, E, nodes);
    moe_traffic_count(traffic, trace, &trace->layers[0], &assignment, placement, FALSE);
    double received = 0;
    for (int r = 0; r < R; r++)
        received += (double)traffic->unique[r * R + 8];
    assert_close((double)(traffic->nodes[8 * 2] + traffic->nodes[8 * 2 + 1]), 8166, 0.01);
    assert_close(received, 26757, 0.01);
}
END_TEST

/* --- what has no route ------------------------------------------------------------------------- */

static const struct {
    const char *cluster, *algorithm;
    int local;
    const char *message;
} apart[] = {
    {"nodes: 2, nics: {per_node: 2}", "one-sided", MOE_LOCAL_SCALE_UP,
     "one-sided must send from node0 gpu0 (GPU 0) to node1 gpu0 (GPU 2) over the "
     "scale-up "
     "fabric, which has no route; it works inside of one scale-up domain"},
    {"nodes: 2, nics: {per_node: 2}, links: [{name: node1 gpu1 scale-up out, broken: true}]",
     "deepep-normal", MOE_LOCAL_SCALE_UP,
     "deepep-normal must send from node1 gpu1 (GPU 3) to node1 gpu0 (GPU 2) over the scale-up "
     "fabric, which has no route; repair or add a link"},
    {"nodes: 2, nics: {per_node: 1}", "deepep-low-latency", MOE_LOCAL_SCALE_OUT,
     "deepep-low-latency must send from node0 gpu0 (GPU 0) to node0 gpu1 (GPU 1) over the "
     "scale-out "
     "fabric, which has no route"},
};

START_TEST(missing_routes_name_the_gpus)
{
    g_autofree char *yaml =
        g_strdup_printf("{preset: h800, gpus_per_node: 2, %s}", apart[_i].cluster);
    g_autoptr(MoeTopology) t = test_cluster(yaml);
    g_autofree gint64 *copies = test_equal(4, 100), *nodes = test_equal(4, 100);
    const TestAllToAll what = {.algorithm = apart[_i].algorithm,
                               .local = apart[_i].local,
                               .copies = copies,
                               .nodes = nodes};
    GError *error = NULL;
    ck_assert_ptr_null(test_alltoall_lower(t, 4, &what, &error));
    assert_error(&error, MOE_ERROR_INPUT, apart[_i].message);
}
END_TEST

/* A broken NVLink is no reason to fail for who can go by the NICs. */
START_TEST(direct_goes_around_a_broken_link)
{
    g_autoptr(MoeTopology) t = test_cluster(
        "{preset: h800, nodes: 1, links: [{name: node0 gpu1 scale-up out, broken: true}]}");
    g_autofree gint64 *copies = test_equal(8, 1000);
    TestAllToAll what = {.algorithm = "direct", .token_bytes = TOKEN, .copies = copies};
    double by_nic = 4e-6 + 7 * 1e6 / 45e9;
    assert_close(test_alltoall_seconds(t, 8, &what), by_nic, 1e-6);
    what.back = TRUE; /* the same link, now in the way of what comes back */
    assert_close(test_alltoall_seconds(t, 8, &what), by_nic, 1e-6);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("alltoall");
    TCase *tests = tcase_create("alltoall");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, single_hops, 0, (int)G_N_ELEMENTS(sizes));
    tcase_add_loop_test(tests, hierarchical_has_three_stages, 0, (int)G_N_ELEMENTS(sizes));
    tcase_add_loop_test(tests, rail_forward_pipelines_its_hops, 0, (int)G_N_ELEMENTS(sizes));
    tcase_add_loop_test(tests, deepep_normal_pipelines_its_hops, 0, (int)G_N_ELEMENTS(sizes));
    tcase_add_test(tests, kernels_charge_for_peers_and_tokens);
    tcase_add_loop_test(tests, a_full_window_is_direct, 0, 3);
    tcase_add_loop_test(tests, a_window_of_one_is_pairwise, 0, 3);
    tcase_add_loop_test(tests, tokens_take_the_hops_that_they_should, 0, (int)G_N_ELEMENTS(shapes));
    tcase_add_loop_test(tests, simulated_invariants_hold, 0, (int)G_N_ELEMENTS(shapes));
    tcase_add_loop_test(tests, deepep_counts_the_same_tokens, 0, 3);
    tcase_add_loop_test(tests, missing_routes_name_the_gpus, 0, (int)G_N_ELEMENTS(apart));
    tcase_add_test(tests, direct_goes_around_a_broken_link);
    suite_add_tcase(suite, tests);
    return suite;
}

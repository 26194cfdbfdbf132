#include "config.h"

#include "sim/child.h"
#include "sim/result.h"
#include "tests/unit/alltoalls.h"
#include "tests/unit/cluster.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double alltoall_seconds(const MoeTopology *t, const gint64 *bytes, gint64 n,
                               const char *algorithm, double startup)
{
    const TestAllToAll what = {
        .algorithm = algorithm, .cost = {.startup = startup}, .copies = bytes};
    return test_alltoall_seconds(t, n, &what);
}

/* --- closed forms ---------------------------------------------------------------------------- */

static const struct {
    int nodes, gpus;
} sizes[] = {{1, 2}, {1, 8}, {8, 8}, {2, 1}, {3, 2}};

/* Both fabrics work at once: a GPU sends (G-1) m on its scale-up link and (N-G) m through its NIC.
 */
START_TEST(direct_equals_its_closed_form)
{
    const double m = 1 << 20, startup = 5e-6;
    int nodes = sizes[_i].nodes, G = sizes[_i].gpus, N = nodes * G;
    g_autoptr(MoeTopology) t = test_cluster_of(nodes, G);
    g_autofree gint64 *bytes = test_equal(N, 1 << 20);
    double up = G > 1 ? TEST_UP_LATENCY + (G - 1) * m / TEST_UP_RATE : 0;
    double out = N > G ? TEST_OUT_LATENCY + (N - G) * m / TEST_OUT_RATE : 0;
    assert_close(alltoall_seconds(t, bytes, N, "direct", startup), startup + fmax(up, out), 1e-6);
}
END_TEST

/* With XOR partners all ranks are in the same fabric in the same round: no rank ever waits. */
START_TEST(pairwise_equals_its_closed_form)
{
    const double m = 1 << 20, startup = 5e-6;
    int nodes = sizes[_i].nodes, G = sizes[_i].gpus, N = nodes * G;
    if ((N & (N - 1)) != 0)
        return;
    g_autoptr(MoeTopology) t = test_cluster_of(nodes, G);
    g_autofree gint64 *bytes = test_equal(N, 1 << 20);
    double expected = startup + (G - 1) * (TEST_UP_LATENCY + m / TEST_UP_RATE) +
                      (N - G) * (TEST_OUT_LATENCY + m / TEST_OUT_RATE);
    assert_close(alltoall_seconds(t, bytes, N, "pairwise", startup), expected, 1e-6);
}
END_TEST

/* A number of ranks that is no power of two shifts: rank r to r + i. Ranks drift apart where a node
 * ends; the recurrence says when each is done with each round, for any sizes: the two ends of a
 * message start it together, and a rank goes on when both its messages are through. Its links are
 * its own. */
START_TEST(pairwise_equals_its_recurrence)
{
    enum { N = 6, G = 2 };
    g_autoptr(MoeTopology) t = test_cluster_of(N / G, G);
    gint64 bytes[N * N];
    srand(7);
    for (int i = 0; i < N * N; i++)
        bytes[i] = rand() % 5 == 0 ? 0 : 1000 + rand() % 3000000;
    double done[N] = {0};
    for (int round = 1; round < N; round++) {
        double next[N];
        memcpy(next, done, sizeof(next));
        for (int from = 0; from < N; from++) {
            int to = (from + round) % N;
            double m = (double)bytes[from * N + to];
            if (m == 0)
                continue;
            gboolean up = from / G == to / G;
            double takes =
                up ? TEST_UP_LATENCY + m / TEST_UP_RATE : TEST_OUT_LATENCY + m / TEST_OUT_RATE;
            double end = fmax(done[from], done[to]) + takes;
            next[from] = fmax(next[from], end);
            next[to] = fmax(next[to], end);
        }
        memcpy(done, next, sizeof(done));
    }
    double expected = 0;
    for (int r = 0; r < N; r++)
        expected = fmax(expected, done[r]);
    assert_close(alltoall_seconds(t, bytes, N, "pairwise", 0), expected, 1e-6);
}
END_TEST

START_TEST(pairs_without_bytes_cost_nothing)
{
    enum { N = 8 };
    const char *kind = moe_alltoall_names()[_i];
    g_autoptr(MoeTopology) t = test_cluster_of(1, N);
    gint64 bytes[N * N] = {0};
    assert_close(alltoall_seconds(t, bytes, N, kind, 3e-6), 3e-6, 1e-9); /* the start-up alone */
    bytes[2 * N + 5] = 1000000;
    assert_close(alltoall_seconds(t, bytes, N, kind, 0), TEST_UP_LATENCY + 1e6 / TEST_UP_RATE,
                 1e-6);
    bytes[3 * N + 3] = 1 << 30; /* to itself: does not travel */
    assert_close(alltoall_seconds(t, bytes, N, kind, 0), TEST_UP_LATENCY + 1e6 / TEST_UP_RATE,
                 1e-6);
}
END_TEST

/* Two messages out of one link share it evenly until the shorter is through: max-min fairness. */
START_TEST(sharing_is_max_min_fair)
{
    enum { N = 3 };
    g_autoptr(MoeTopology) t = test_cluster_of(1, N);
    gint64 bytes[N * N] = {0};
    bytes[0 * N + 1] = 1000000;
    bytes[0 * N + 2] = 3000000;
    const TestAllToAll direct = {.algorithm = "direct", .copies = bytes};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePrograms) programs = test_alltoall_lower(t, N, &direct, &error);
    g_autoptr(MoeTimes) times = moe_engine_run(t, programs, 0, NULL, &error);
    assert_no_error(error);
    assert_close(times->ranks[1][0].end, TEST_UP_LATENCY + 2e6 / TEST_UP_RATE, 1e-6);
    assert_close(times->ranks[2][0].end, TEST_UP_LATENCY + 4e6 / TEST_UP_RATE, 1e-6);
    assert_close(times->ranks[0][0].end, TEST_UP_LATENCY + 4e6 / TEST_UP_RATE, 1e-6);
}
END_TEST

/* A message starts when the later of its two ends has posted it. */
START_TEST(messages_wait_for_both_ends)
{
    g_autoptr(MoeTopology) t = test_cluster_of(1, 2);
    g_autoptr(MoePrograms) programs = moe_programs_new(2);
    moe_programs_compute(programs, 0, MOE_PHASE_EXPERTS, 10e-6);
    moe_programs_compute(programs, 1, MOE_PHASE_EXPERTS, 70e-6);
    moe_programs_exchange(programs, MOE_PHASE_COMBINE, 0);
    moe_programs_send(programs, 0, 1, MOE_FABRIC_SCALE_UP, 1000000);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTimes) times = moe_engine_run(t, programs, 0, NULL, &error);
    assert_no_error(error);
    double expected = 70e-6 + TEST_UP_LATENCY + 1e6 / TEST_UP_RATE;
    assert_close(times->ranks[0][1].start, 10e-6, 1e-9);
    assert_close(times->ranks[0][1].end, expected, 1e-9);
    assert_close(times->ranks[1][1].end, expected, 1e-9);
}
END_TEST

/* --- bounds and metamorphic relations -------------------------------------------------------- */

static gint64 *random_bytes(gint64 n, guint seed)
{
    gint64 *matrix = g_new(gint64, n * n);
    srand(seed);
    for (gint64 i = 0; i < n * n; i++)
        matrix[i] = rand() % 4 == 0 ? 0 : 1 + rand() % 2000000;
    return matrix;
}

START_TEST(twice_the_bandwidth_is_never_slower)
{
    enum { N = 8 };
    g_autoptr(MoeTopology) slow = test_cluster_of(2, 4);
    g_autoptr(MoeTopology) fast =
        test_cluster("{name: fast, nodes: 2, gpus_per_node: 4, gpu: h100-sxm,"
                     " scale_up: {kind: nvswitch, bandwidth: 200GBps, latency: 1us},"
                     " nics: {per_node: 4, bandwidth: 20GBps}, scale_out: {latency: 2us}}");
    g_autofree gint64 *bytes = random_bytes(N, (guint)_i);
    static const char *const algorithms[] = {"direct", "pairwise", "windowed", "hierarchical",
                                             "rail-forward"};
    for (size_t i = 0; i < G_N_ELEMENTS(algorithms); i++) {
        double a = alltoall_seconds(slow, bytes, N, algorithms[i], 0),
               b = alltoall_seconds(fast, bytes, N, algorithms[i], 0);
        ck_assert_msg(b <= a * (1 + 1e-9) && b >= a / 2, "seed %d, %s: %g s, then %g s", _i,
                      algorithms[i], a, b);
    }
}
END_TEST

START_TEST(renaming_ranks_changes_nothing)
{
    enum { N = 8, G = 4 };
    g_autoptr(MoeTopology) t = test_cluster_of(N / G, G);
    g_autofree gint64 *bytes = random_bytes(N, (guint)_i);
    gint64 renamed[N * N];
    for (int a = 0; a < N; a++)
        for (int b = 0; b < N; b++) { /* the nodes swapped, the GPUs of each turned round */
            int a2 = (a / G ^ 1) * G + (G - 1 - a % G), b2 = (b / G ^ 1) * G + (G - 1 - b % G);
            renamed[a2 * N + b2] = bytes[a * N + b];
        }
    assert_close(alltoall_seconds(t, renamed, N, "direct", 0),
                 alltoall_seconds(t, bytes, N, "direct", 0), 1e-9);
}
END_TEST

/* --- the fence ------------------------------------------------------------------------------- */

static void die(MoeChild *child, void *user)
{
    (void)child;
    (void)user;
    g_printerr("first line\nthe reason\n");
    abort();
}

static void answer(MoeChild *child, void *user)
{
    moe_child_send(child, user, 3);
    moe_child_progress(child, 1, 2);
    moe_child_send(child, "def", 3);
}

START_TEST(a_dying_engine_is_an_error)
{
    GError *error = NULL;
    ck_assert(moe_child_run("the engine", die, NULL, NULL, &error) == NULL);
    assert_error(&error, MOE_ERROR_FAILED, "the engine died (signal 6): first line\nthe reason");
    g_autoptr(GBytes) bytes = moe_child_run("the engine", answer, "abc", NULL, &error);
    assert_no_error(error);
    ck_assert_mem_eq(g_bytes_get_data(bytes, NULL), "abcdef", 6);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("engine");
    TCase *tests = tcase_create("engine");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, direct_equals_its_closed_form, 0, (int)G_N_ELEMENTS(sizes));
    tcase_add_loop_test(tests, pairwise_equals_its_closed_form, 0, (int)G_N_ELEMENTS(sizes));
    tcase_add_test(tests, pairwise_equals_its_recurrence);
    tcase_add_loop_test(tests, pairs_without_bytes_cost_nothing, 0, 2);
    tcase_add_test(tests, sharing_is_max_min_fair);
    tcase_add_test(tests, messages_wait_for_both_ends);
    tcase_add_loop_test(tests, twice_the_bandwidth_is_never_slower, 0, 5);
    tcase_add_loop_test(tests, renaming_ranks_changes_nothing, 0, 5);
    tcase_add_test(tests, a_dying_engine_is_an_error);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "sim/collective.h"
#include "sim/result.h"
#include "tests/unit/cluster.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static MoeCollective job_of(const MoeTopology *t, MoeOperation operation, const char *algorithm,
                            gint64 bytes)
{
    return (MoeCollective){
        .topology = t,
        .operation = operation,
        .algorithm = algorithm,
        .bytes = bytes,
        .chunk = 512 << 10,
        .rate = NAN,
        .phase = MOE_PHASE_COLLECTIVE,
    };
}

/* Simulates it; the result's invariants are checked. */
static double seconds_of(const MoeCollective *job, gint64 n)
{
    g_autoptr(MoePrograms) programs = moe_programs_new(n);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_collective_lower(job, programs, &error));
    g_autoptr(MoeTimes) times = moe_engine_run(job->topology, programs, 0, NULL, &error);
    assert_no_error(error);
    g_autoptr(MoeResult) result = moe_result_new(job->topology, programs, times, &error);
    assert_no_error(error);
    return result->seconds;
}

/* --- every algorithm computes its collective -------------------------------------------------- */

/* What each rank's buffer holds: how often the value of each rank has been added to each chunk. */
typedef struct {
    gint64 n_ranks;
    guint32 n_chunks;
    guint8 *counts; /* [ranks, chunks, contributors] */
} Buffers;

static guint8 *chunk_of(const Buffers *b, gint64 rank, guint32 chunk)
{
    return &b->counts[(rank * b->n_chunks + chunk) * b->n_ranks];
}

static gint64 owner_of(const Buffers *b, guint32 chunk)
{
    return chunk / (b->n_chunks / b->n_ranks);
}

static gboolean starts_with(const Buffers *b, const MoeCollective *job, gint64 rank, guint32 chunk)
{
    switch (job->operation) {
    case MOE_ALL_GATHER:
        return owner_of(b, chunk) == rank;
    case MOE_BROADCAST:
        return rank == job->root;
    default:
        return TRUE;
    }
}

static void apply(Buffers *b, const GArray *moves)
{
    gsize size = (gsize)(b->n_ranks * b->n_chunks * b->n_ranks);
    g_autofree guint8 *before = g_new(guint8, size);
    guint32 round = G_MAXUINT32;
    for (guint i = 0; i < moves->len; i++) {
        const MoeMove *m = &g_array_index(moves, MoeMove, i);
        if (m->round != round)
            memcpy(before, b->counts, size);
        round = m->round;
        Buffers old = {b->n_ranks, b->n_chunks, before};
        for (guint32 c = m->first; c < m->first + m->count; c++) {
            const guint8 *from = chunk_of(&old, m->from, c);
            guint8 *to = chunk_of(b, m->to, c);
            gboolean empty = TRUE;
            for (gint64 r = 0; r < b->n_ranks; r++) {
                to[r] = (guint8)((m->reduce ? to[r] : 0) + from[r]);
                empty = empty && from[r] == 0;
            }
            ck_assert_msg(!empty, "round %u: rank %u sends chunk %u, which it does not have",
                          m->round, m->from, c);
        }
    }
}

/* What @rank must have of @contributor in @chunk at the end; -1: whatever. */
static int wanted(const Buffers *b, const MoeCollective *job, gint64 rank, guint32 chunk,
                  gint64 contributor)
{
    switch (job->operation) {
    case MOE_ALL_REDUCE:
        return 1;
    case MOE_ALL_GATHER:
        return contributor == owner_of(b, chunk);
    case MOE_REDUCE_SCATTER:
        return owner_of(b, chunk) == rank ? 1 : -1;
    case MOE_BROADCAST:
        return contributor == job->root;
    default:
        return rank == job->to && rank != job->root ? contributor == job->root : -1;
    }
}

static void check_buffers(const Buffers *b, const MoeCollective *job)
{
    for (gint64 r = 0; r < b->n_ranks; r++)
        for (guint32 c = 0; c < b->n_chunks; c++)
            for (gint64 from = 0; from < b->n_ranks; from++) {
                int want = wanted(b, job, r, c, from), have = chunk_of(b, r, c)[from];
                ck_assert_msg(want < 0 || have == want,
                              "%s of %ld ranks by %s: chunk %u of rank %ld has rank %ld's %d times",
                              moe_operation_names()[job->operation], (long)b->n_ranks,
                              job->algorithm, c, (long)r, (long)from, have);
            }
}

/* The messages carry what the moves say: the same bytes between the same ranks, round by round. */
static void check_messages(const MoeCollective *job, const MoePrograms *programs, guint32 n_chunks)
{
    gint64 n = programs->n_ranks;
    g_autofree double *bytes = g_new0(double, n *n);
    for (guint i = 0; i < job->moves->len; i++) {
        const MoeMove *m = &g_array_index(job->moves, MoeMove, i);
        bytes[m->from * n + m->to] += (double)m->count * (double)job->bytes / n_chunks;
        ck_assert(m->round < programs->ranks[0].ops->len);
    }
    for (gint64 r = 0; r < n; r++)
        for (guint i = 0; i < programs->ranks[r].sends->len; i++) {
            const MoeMessage *m = &g_array_index(programs->ranks[r].sends, MoeMessage, i);
            bytes[r * n + m->peer] -= (double)m->bytes;
        }
    for (gint64 i = 0; i < n * n; i++)
        ck_assert_double_lt(fabs(bytes[i]), 1e-6 * (double)job->bytes + job->moves->len);
}

/* How many messages and rounds there would be was known before. */
static void check_estimate(const MoeCollective *job, const MoePrograms *programs)
{
    const MoeCollectiveSize about = moe_collective_size(job, programs->n_ranks);
    double made = (double)moe_programs_messages(programs), rounds = programs->ranks[0].ops->len;
    ck_assert_msg(about.messages >= made / 2 && about.messages <= made * 4 &&
                      about.rounds >= rounds / 4 && about.rounds <= rounds * 4,
                  "%s of %ld ranks by %s: %g in %g rounds, not %g in %g",
                  moe_operation_names()[job->operation], (long)programs->n_ranks, job->algorithm,
                  about.messages, about.rounds, made, rounds);
}

static void check_collective(MoeCollective *job, gint64 n)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePrograms) programs = moe_programs_new(n);
    job->moves = g_array_new(FALSE, FALSE, sizeof(MoeMove));
    ck_assert(moe_collective_lower(job, programs, &error));
    Buffers b = {n, (guint32)n, NULL};
    for (guint i = 0; i < job->moves->len; i++) {
        const MoeMove *m = &g_array_index(job->moves, MoeMove, i);
        b.n_chunks = i == 0 ? m->first + m->count : MAX(b.n_chunks, m->first + m->count);
    }
    b.counts = g_new0(guint8, n * b.n_chunks * n);
    for (gint64 r = 0; r < n; r++)
        for (guint32 c = 0; c < b.n_chunks; c++)
            chunk_of(&b, r, c)[r] = starts_with(&b, job, r, c) ? 1 : 0;
    apply(&b, job->moves);
    if (job->operation != MOE_SEND_RECEIVE || strcmp(job->algorithm, "direct") == 0)
        check_buffers(&b, job);
    check_messages(job, programs, b.n_chunks);
    check_estimate(job, programs);
    g_free(b.counts);
    g_array_unref(job->moves);
    job->moves = NULL;
}

/* Nodes, GPUs and NICs of each, ranks: also ranks that fill a node in part, and shared NICs. */
static const struct {
    int nodes, gpus, nics, ranks;
} shapes[] = {{1, 1, 1, 1},  {1, 2, 2, 2},  {1, 3, 3, 3},  {1, 7, 7, 7},
              {1, 8, 8, 8},  {2, 1, 1, 2},  {2, 2, 2, 4},  {2, 4, 4, 7},
              {3, 3, 3, 9},  {5, 1, 1, 5},  {2, 8, 8, 9},  {2, 8, 4, 16},
              {4, 8, 1, 32}, {3, 8, 2, 20}, {8, 8, 8, 64}, {7, 2, 2, 13}};

START_TEST(every_algorithm_computes_its_collective)
{
    g_autofree char *yaml =
        g_strdup_printf("{name: t, nodes: %d, gpus_per_node: %d, gpu: h100-sxm,"
                        " scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"
                        " nics: {per_node: %d, bandwidth: 10GBps}, scale_out: {latency: 2us}}",
                        shapes[_i].nodes, shapes[_i].gpus, shapes[_i].nics);
    g_autoptr(MoeTopology) t = test_cluster(yaml);
    gint64 n = shapes[_i].ranks;
    for (int o = 0; o < MOE_ALL_TO_ALL; o++) {
        g_autofree const char **names = moe_collective_algorithms((MoeOperation)o);
        for (int a = 0; names[a] != NULL && strcmp(names[a], "nvls") != 0; a++)
            for (gint64 root = 0; root < n; root += MAX(1, n / 3)) {
                MoeCollective job = job_of(t, (MoeOperation)o, names[a], 3000017);
                job.root = root;
                job.to = (root + n / 2) % n;
                if (root == 0 || o == MOE_BROADCAST || o == MOE_SEND_RECEIVE)
                    check_collective(&job, n);
            }
    }
}
END_TEST

/* --- closed forms ----------------------------------------------------------------------------- */

static const int sizes[] = {2, 8, 16, 64};

static const double B = 64e6;

/* One node: every rank's links are its own. */
START_TEST(one_node_equals_its_closed_forms)
{
    gint64 n = sizes[_i];
    g_autoptr(MoeTopology) t = test_cluster_of(1, (int)n);
    double N = (double)n, share = (N - 1) / N * B / TEST_UP_RATE, L = TEST_UP_LATENCY;
    const double pieces = ceil(B / (512 << 10)), startup = 4e-6, message = 3e-6;
    const struct {
        MoeOperation operation;
        const char *algorithm;
        double rounds, rest;
    } rows[] = {
        {MOE_ALL_REDUCE, "ring", 2 * (N - 1), 2 * share},
        {MOE_ALL_GATHER, "ring", N - 1, share},
        {MOE_REDUCE_SCATTER, "ring", N - 1, share},
        {MOE_BROADCAST, "ring", pieces + N - 2, (pieces + N - 2) * B / pieces / TEST_UP_RATE},
        {MOE_SEND_RECEIVE, "ring", 1, B / TEST_UP_RATE},
        {MOE_ALL_REDUCE, "direct", 2, 2 * share},
        {MOE_ALL_GATHER, "direct", 1, share},
        {MOE_REDUCE_SCATTER, "direct", 1, share},
        {MOE_BROADCAST, "direct", 1, (N - 1) * B / TEST_UP_RATE},
        {MOE_SEND_RECEIVE, "direct", 1, B / TEST_UP_RATE},
        {MOE_ALL_REDUCE, "hierarchical", 2, 2 * share},
        {MOE_ALL_GATHER, "hierarchical", 1, share},
        {MOE_REDUCE_SCATTER, "hierarchical", 1, share},
        {MOE_BROADCAST, "hierarchical", 2, 2 * share},
        {MOE_ALL_TO_ALL, "direct", 1, share},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        MoeCollective job = job_of(t, rows[i].operation, rows[i].algorithm, (gint64)B);
        job.startup = startup;
        gboolean alltoall = rows[i].operation == MOE_ALL_TO_ALL;
        double peers = alltoall ? 0 : strcmp(rows[i].algorithm, "ring") == 0 ? 1 : N - 1;
        if (rows[i].operation == MOE_SEND_RECEIVE)
            peers = 1;
        job.message = alltoall ? 0 : message;
        job.to = n - 1;
        double expected = startup + rows[i].rounds * (L + peers * message) + rows[i].rest,
               actual = seconds_of(&job, n);
        ck_assert_msg(fabs(actual - expected) < 2e-5 * expected, "%s of %ld by %s: %g s, not %g s",
                      moe_operation_names()[rows[i].operation], (long)n, rows[i].algorithm, actual,
                      expected);
    }
}
END_TEST

static const struct {
    int nodes, gpus;
} levels[] = {{2, 1}, {2, 4}, {4, 4}, {8, 8}, {3, 2}};

/* M nodes of G GPUs with a NIC each. The ring: G rings, so that a GPU passes G-1 of its parts on
 * inside of the node and one over its NIC, both at once. */
START_TEST(two_levels_equal_their_closed_forms)
{
    double M = levels[_i].nodes, G = levels[_i].gpus, N = M * G;
    g_autoptr(MoeTopology) t = test_cluster_of(levels[_i].nodes, levels[_i].gpus);
    double up = G > 1 ? TEST_UP_LATENCY + (G - 1) * B / (N * G) / TEST_UP_RATE : 0;
    double out = TEST_OUT_LATENCY + B / (N * G) / TEST_OUT_RATE, round = fmax(up, out);
    double inside = G > 1 ? TEST_UP_LATENCY + (G - 1) / G * B / TEST_UP_RATE : 0;
    double between = (M - 1) * (TEST_OUT_LATENCY + B / N / TEST_OUT_RATE);
    double direct = fmax(G > 1 ? TEST_UP_LATENCY + (G - 1) * B / N / TEST_UP_RATE : 0,
                         TEST_OUT_LATENCY + (N - G) * B / N / TEST_OUT_RATE);
    const struct {
        MoeOperation operation;
        const char *algorithm;
        double expected;
    } rows[] = {
        {MOE_ALL_REDUCE, "ring", 2 * (N - 1) * round},
        {MOE_ALL_GATHER, "ring", (N - 1) * round},
        {MOE_REDUCE_SCATTER, "ring", (N - 1) * round},
        {MOE_ALL_REDUCE, "hierarchical", 2 * inside + 2 * between},
        {MOE_ALL_GATHER, "hierarchical", inside + between},
        {MOE_REDUCE_SCATTER, "hierarchical", inside + between},
        {MOE_ALL_REDUCE, "direct", 2 * direct},
        {MOE_ALL_GATHER, "direct", direct},
        {MOE_ALL_TO_ALL, "direct", direct},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        MoeCollective job = job_of(t, rows[i].operation, rows[i].algorithm, (gint64)B);
        double actual = seconds_of(&job, (gint64)N);
        ck_assert_msg(fabs(actual - rows[i].expected) < 2e-5 * rows[i].expected,
                      "%s on %g x %g by %s: %g s, not %g s",
                      moe_operation_names()[rows[i].operation], M, G, rows[i].algorithm, actual,
                      rows[i].expected);
    }
}
END_TEST

/* Up and down two trees of height log2 N: a tiny buffer takes two latencies per level; a large one
 * comes near to 2 B / bandwidth, which is the least for an all-reduce of many ranks (Patarasu, Yuan
 * 2009: 2 (N-1)/N B / bandwidth), and every rank's busiest round holds 4 halves of a piece. */
START_TEST(trees_are_short_and_full)
{
    gint64 n = sizes[_i];
    g_autoptr(MoeTopology) t = test_cluster_of(1, (int)n);
    double N = (double)n, height = log2(N);
    MoeCollective job = job_of(t, MOE_ALL_REDUCE, "tree", 64);
    assert_close(seconds_of(&job, n), 2 * height * TEST_UP_LATENCY, 1e-2);
    job.bytes = (gint64)B;
    double pieces = ceil(B / 2 / (512 << 10)), most = n > 2 ? 4 : 2, seconds = seconds_of(&job, n);
    ck_assert_double_ge(seconds, 2 * (N - 1) / N * B / TEST_UP_RATE);
    ck_assert_double_le(seconds, (pieces - 1 + 2 * height) *
                                     (TEST_UP_LATENCY + most * B / 2 / pieces / TEST_UP_RATE) *
                                     (1 + 1e-6));
}
END_TEST

/* Over nodes, the trees of every rail work at once: NCCL's 2 B / (G NICs), at the least B / N per
 * NIC and direction twice. */
START_TEST(trees_use_every_rail)
{
    enum { M = 4, G = 4 };
    g_autoptr(MoeTopology) t = test_cluster_of(M, G);
    MoeCollective job = job_of(t, MOE_ALL_REDUCE, "tree", 64);
    /* Height: 2 links between 4 nodes, 3 inside. */
    assert_close(seconds_of(&job, M * G), 2 * (2 * TEST_OUT_LATENCY + 3 * TEST_UP_LATENCY), 1e-2);
    job.bytes = (gint64)B;
    double least = 2.0 * (M - 1) / M * B / G / TEST_OUT_RATE, seconds = seconds_of(&job, M * G);
    ck_assert_double_ge(seconds, least);
    ck_assert_double_le(seconds, 2 * least);
}
END_TEST

/* A protocol that handles what it sends at 50 GB/s before it is sent. */
START_TEST(a_protocol_has_a_rate)
{
    g_autoptr(MoeTopology) t = test_cluster_of(1, 8);
    MoeCollective job = job_of(t, MOE_ALL_REDUCE, "ring", (gint64)B);
    job.rate = 50e9;
    assert_close(seconds_of(&job, 8),
                 14 * TEST_UP_LATENCY + 14.0 / 8 * B * (1 / TEST_UP_RATE + 1 / 50e9), 1e-5);
}
END_TEST

/* Every rank's data goes into the switch once, its sum once more. */
START_TEST(sums_in_the_switch_equal_their_closed_form)
{
    g_autoptr(MoeTopology) t = test_cluster_of(1, 8);
    MoeCollective job = job_of(t, MOE_ALL_REDUCE, "nvls", (gint64)B);
    assert_close(seconds_of(&job, 8), TEST_UP_LATENCY + 9.0 / 8 * B / TEST_UP_RATE, 1e-6);
    g_autoptr(MoeTopology) two = test_cluster_of(2, 4);
    g_autoptr(MoePrograms) programs = moe_programs_new(8);
    GError *error = NULL;
    job.topology = two;
    ck_assert(!moe_collective_lower(&job, programs, &error));
    assert_error(&error, MOE_ERROR_INPUT,
                 "nvls works inside the switch of one node, and 8 ranks are on 2 nodes of kind");
}
END_TEST

START_TEST(too_many_ranks_are_an_error)
{
    g_autoptr(MoeTopology) t = test_cluster_of(1 << 13, 8);
    g_autoptr(MoePrograms) programs = moe_programs_new(1 << 16);
    MoeCollective job = job_of(t, MOE_ALL_REDUCE, "ring", (gint64)B);
    GError *error = NULL;
    ck_assert(!moe_collective_lower(&job, programs, &error));
    assert_error(&error, MOE_ERROR_INPUT, "a collective of so many ranks would take");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("collective");
    TCase *tests = tcase_create("collective");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, every_algorithm_computes_its_collective, 0,
                        (int)G_N_ELEMENTS(shapes));
    tcase_add_loop_test(tests, one_node_equals_its_closed_forms, 0, (int)G_N_ELEMENTS(sizes));
    tcase_add_loop_test(tests, two_levels_equal_their_closed_forms, 0, (int)G_N_ELEMENTS(levels));
    tcase_add_loop_test(tests, trees_are_short_and_full, 0, (int)G_N_ELEMENTS(sizes));
    tcase_add_test(tests, trees_use_every_rail);
    tcase_add_test(tests, a_protocol_has_a_rate);
    tcase_add_test(tests, sums_in_the_switch_equal_their_closed_form);
    tcase_add_test(tests, too_many_ranks_are_an_error);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "sim/alltoall.h"

/* HetuMoE's hierarchical all-to-all (arXiv 2203.14685, section 3.2): the ranks of a node hand what
 * is for other nodes to the first of them, the leaders exchange few large messages, each leader
 * hands on. What stays inside of a node goes directly, beside the first stage. N nodes of G ranks
 * that send m bytes to each other, scale-up rate u and latency l, NIC rate o and latency k, unchunked:
 *
 *   gather    l + (G-1)(G(N-1) + 1) m / u     into the leader, its own node's messages too
 *   exchange  k + G^2 (N-1) m / o
 *   scatter   l + (G-1) G (N-1) m / u         out of the leader */

enum { STAGES = 3 };

static gint64 leader(const MoeAllToAll *job, gint64 rank)
{
    return moe_alltoall_first(job, moe_topology_node(job->topology, rank));
}

/* Copies of @rank from all ranks of other nodes (@in), or to them. */
static gint64 outside(const MoeAllToAll *job, gint64 rank, gboolean in)
{
    gint64 R = job->programs->n_ranks, node = moe_topology_node(job->topology, rank), n = 0;
    for (gint64 other = 0; other < R; other++)
        if (moe_topology_node(job->topology, other) != node)
            n += job->copies[in ? other * R + rank : rank * R + other];
    return n;
}

static void gather(MoeAllToAll *job)
{
    gint64 R = job->programs->n_ranks;
    for (gint64 rank = 0; rank < R; rank++) {
        gint64 first = leader(job, rank);
        gint64 end = first + moe_alltoall_count(job, moe_topology_node(job->topology, rank));
        for (gint64 to = first; to < end; to++) {
            gint64 direct = job->copies[rank * R + to];
            gint64 tokens = direct + (to == first ? outside(job, rank, FALSE) : 0);
            if (to != rank)
                moe_alltoall_put(job, rank, to, moe_alltoall_fabric(job, rank, to), tokens, tokens,
                                 direct);
        }
    }
}

static void exchange(MoeAllToAll *job)
{
    gint64 R = job->programs->n_ranks, N = job->n_nodes;
    /* [nodes, nodes] */
    g_autofree gint64 *tokens = g_new0(gint64, N * N), *at_home = g_new0(gint64, N * N);
    g_autofree gint64 *at_end = g_new0(gint64, N * N);
    for (gint64 from = 0; from < R; from++) {
        for (gint64 to = 0; to < R; to++) {
            gint64 at =
                moe_topology_node(job->topology, from) * N + moe_topology_node(job->topology, to);
            gint64 n = job->copies[from * R + to];
            tokens[at] += n;
            at_home[at] += from == leader(job, from) ? n : 0;
            at_end[at] += to == leader(job, to) ? n : 0;
        }
    }
    for (gint64 a = 0; a < N; a++)
        for (gint64 offset = 1; offset < N; offset++) {
            gint64 b = (a + offset) % N, at = a * N + b;
            moe_alltoall_put(job, moe_alltoall_first(job, a), moe_alltoall_first(job, b),
                             MOE_FABRIC_SCALE_OUT, tokens[at], at_home[at], at_end[at]);
        }
}

static void scatter(MoeAllToAll *job)
{
    for (gint64 rank = 0; rank < job->programs->n_ranks; rank++) {
        gint64 from = leader(job, rank), tokens = outside(job, rank, TRUE);
        if (from != rank)
            moe_alltoall_put(job, from, rank, moe_alltoall_fabric(job, from, rank), tokens, 0,
                             tokens);
    }
}

static void lower(MoeAllToAll *job)
{
    static const MoeAllToAllStage stages[STAGES] = {gather, exchange, scatter};
    moe_alltoall_pipeline(job, stages, job->n_nodes > 1 ? STAGES : 1);
}

static gint64 exchanges(const MoeTransfer *transfer, gint64 n_ranks)
{
    (void)n_ranks;
    return moe_alltoall_pipeline_exchanges(transfer->chunks, STAGES);
}

const MoeAllToAllKind moe_alltoall_hierarchical = {
    .name = "hierarchical",
    .summary = "gather to a leader per node, leaders exchange, scatter",
    .takes = MOE_TAKES_CHUNKS | MOE_TAKES_DEDUPLICATE | MOE_TAKES_PADDING,
    .forwards = TRUE,
    .chunks = 1,
    .exchanges = exchanges,
    .lower = lower,
};

#include "config.h"

#include "sim/alltoall.h"

/* NCCL's PXN (NCCL 2.12, "PCI x NVLink"): what is for a GPU of another node goes over NVLink to the
 * GPU of the own node that is on its rail, which sends what the whole node has for that GPU as one
 * message over the rail. What stays inside of a node goes directly, beside the first hop. N nodes of
 * G ranks that send m bytes to each other, scale-up rate u, NIC rate o, without latencies:
 *
 *   first hop  a = (G-1) N m / u      second hop  b = G (N-1) m / o
 *
 * and max(a, b) + min(a, b) / chunks in all. */

enum { STAGES = 2 };

static void to_rail(MoeAllToAll *job)
{
    gint64 R = job->programs->n_ranks;
    g_autofree gint64 *tokens = g_new(gint64, R);
    for (gint64 rank = 0; rank < R; rank++) {
        gint64 node = moe_topology_node(job->topology, rank);
        gint64 first = moe_alltoall_first(job, node), end = first + moe_alltoall_count(job, node);
        for (gint64 to = first; to < end; to++)
            tokens[to] = 0;
        for (gint64 to = 0; to < R; to++)
            tokens[moe_alltoall_rail(job, node, to)] += job->copies[rank * R + to];
        for (gint64 to = first; to < end; to++)
            if (to != rank)
                moe_alltoall_put(job, rank, to, moe_alltoall_fabric(job, rank, to), tokens[to],
                                 tokens[to], job->copies[rank * R + to]);
    }
}

static void along_rail(MoeAllToAll *job)
{
    gint64 R = job->programs->n_ranks, N = job->n_nodes;
    for (gint64 to = 0; to < R; to++) {
        gint64 own = moe_topology_node(job->topology, to);
        for (gint64 offset = 1; offset < N; offset++) {
            gint64 node = (own + offset) % N, via = moe_alltoall_rail(job, node, to);
            gint64 first = moe_alltoall_first(job, node), tokens = 0;
            for (gint64 from = first; from < first + moe_alltoall_count(job, node); from++)
                tokens += job->copies[from * R + to];
            moe_alltoall_put(job, via, to, MOE_FABRIC_SCALE_OUT, tokens, job->copies[via * R + to],
                             tokens);
        }
    }
}

static void lower(MoeAllToAll *job)
{
    static const MoeAllToAllStage stages[STAGES] = {to_rail, along_rail};
    moe_alltoall_pipeline(job, stages, job->n_nodes > 1 ? STAGES : 1);
}

static gint64 exchanges(const MoeTransfer *transfer, gint64 n_ranks)
{
    (void)n_ranks;
    return moe_alltoall_pipeline_exchanges(transfer->chunks, STAGES);
}

const MoeAllToAllKind moe_alltoall_rail_forward = {
    .name = "rail-forward",
    .summary = "over NVLink to the GPU on the destination's rail, then along it (NCCL PXN)",
    .takes = MOE_TAKES_CHUNKS | MOE_TAKES_DEDUPLICATE | MOE_TAKES_PADDING,
    .forwards = TRUE,
    .chunks = 8,
    .exchanges = exchanges,
    .lower = lower,
};

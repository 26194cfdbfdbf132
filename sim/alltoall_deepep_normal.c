#include "config.h"

#include "sim/alltoall.h"

/* DeepEP's normal kernels (deepseek-ai/DeepEP, csrc/kernels/internode.cu and intranode.cu). Dispatch:
 * a token goes once to each node where an expert of it is, by RDMA to the GPU at the sender's place
 * there, which forwards it over NVLink to every other GPU of the node that needs it; what is for the
 * own node takes the second hop alone. Combine: the GPUs of a node send the sums of their experts'
 * results to the forwarder, which adds them up and sends one sum per token back.
 *
 * With nodes(s, n) tokens of rank s for node n and unique(s, g) for GPU g, token bytes t:
 *
 *   RDMA out of s       sum over other nodes n of nodes(s, n) t
 *   NVLink out of p     sum over the ranks s on p's rail, p too, and g != p of unique(s, g) t
 *
 * Balanced, the hops take a and b seconds and the whole max(a, b) + min(a, b) / chunks, without
 * latencies. The kernels send some tens of chunks: a channel (half of 20 multiprocessors) of 4096
 * tokens handles 410, 6 to 36 at a time (Buffer.get_dispatch_config). */

enum { STAGES = 2 };

static void by_rdma(MoeAllToAll *job)
{
    gint64 R = job->programs->n_ranks, N = job->n_nodes;
    for (gint64 from = 0; from < R; from++) {
        gint64 own = moe_topology_node(job->topology, from);
        for (gint64 offset = 1; offset < N; offset++) {
            gint64 node = (own + offset) % N, via = moe_alltoall_rail(job, node, from);
            gint64 tokens = job->nodes[from * N + node];
            moe_alltoall_put(job, from, via, MOE_FABRIC_SCALE_OUT, tokens, tokens,
                             job->copies[from * R + via]);
        }
    }
}

/* Of one node, whose ranks are @first to @first + @count - 1: tokens [count, count] that each passes
 * on to each, its own too. */
static void count_forwards(const MoeAllToAll *job, gint64 first, gint64 count, gint64 *tokens)
{
    gint64 R = job->programs->n_ranks, node = moe_topology_node(job->topology, first);
    for (gint64 i = 0; i < count * count; i++)
        tokens[i] = 0;
    for (gint64 from = 0; from < R; from++) {
        gint64 via = moe_alltoall_rail(job, node, from) - first;
        for (gint64 to = 0; to < count; to++)
            tokens[via * count + to] += job->copies[from * R + first + to];
    }
}

static void over_nvlink(MoeAllToAll *job)
{
    gint64 R = job->programs->n_ranks;
    for (gint64 node = 0; node < job->n_nodes; node++) {
        gint64 first = moe_alltoall_first(job, node), count = moe_alltoall_count(job, node);
        g_autofree gint64 *tokens = g_new(gint64, count * count);
        count_forwards(job, first, count, tokens);
        for (gint64 via = 0; via < count; via++) {
            for (gint64 offset = 1; offset < count; offset++) {
                gint64 to = (via + offset) % count, n = tokens[via * count + to];
                moe_alltoall_put(job, first + via, first + to, MOE_FABRIC_SCALE_UP, n,
                                 job->copies[(first + via) * R + first + to], n);
            }
        }
    }
}

static void lower(MoeAllToAll *job)
{
    static const MoeAllToAllStage stages[STAGES] = {by_rdma, over_nvlink};
    gboolean one = job->n_nodes == 1;
    moe_alltoall_pipeline(job, one ? stages + 1 : stages, one ? 1 : STAGES);
}

static gint64 exchanges(const MoeTransfer *transfer, gint64 n_ranks)
{
    (void)n_ranks;
    return moe_alltoall_pipeline_exchanges(transfer->chunks, STAGES);
}

const MoeAllToAllKind moe_alltoall_deepep_normal = {
    .name = "deepep-normal",
    .summary = "once per node by RDMA, then over NVLink; combine adds up on the way back",
    .takes = MOE_TAKES_CHUNKS,
    .unique = TRUE,
    .forwards = TRUE,
    .chunks = 32,
    .exchanges = exchanges,
    .lower = lower,
};

#include "config.h"

#include "sim/alltoall.h"

/* DeepEP's low-latency kernels (deepseek-ai/DeepEP, csrc/kernels/internode_ll.cu): one message per
 * token and expert, straight to the expert's GPU, and one back, nothing added up on the way. By RDMA
 * even inside of a node (local: scale-out, the kernels of February 2025), or over NVLink there. What
 * a GPU sends to another is one flow here; the kernel's constant per token is what each message
 * costs. Balanced over N nodes of G ranks, m bytes per pair of ranks, NIC rate o and latency k:
 * startup + k + (G N - 1) m / o by RDMA alone. */
static void lower(MoeAllToAll *job)
{
    if (job->transfer->local == MOE_LOCAL_SCALE_UP)
        moe_alltoall_send_all(job);
    else
        moe_alltoall_send_all_over(job, MOE_FABRIC_SCALE_OUT);
}

const MoeAllToAllKind moe_alltoall_deepep_low_latency = {
    .name = "deepep-low-latency",
    .summary = "one message per token and expert, by RDMA; inside of a node by NVLink or RDMA",
    .takes = MOE_TAKES_LOCAL,
    .exchanges = moe_alltoall_one_exchange,
    .once = TRUE,
    .lower = lower,
};

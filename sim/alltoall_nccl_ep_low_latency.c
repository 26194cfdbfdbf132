#include "config.h"

#include "sim/alltoall.h"

/* NCCL EP's low-latency mode (NVIDIA/nccl, contrib/nccl_ep, arXiv 2603.13606): loads and stores over
 * NVLink inside of a node, GPU-initiated RDMA between nodes, all at once. NCCL 2.29 sends one message
 * per token and expert; the dispatch of later versions sends a token once per GPU, with the list of
 * its experts (deduplicate: true). Time as direct. */
const MoeAllToAllKind moe_alltoall_nccl_ep_low_latency = {
    .name = "nccl-ep-low-latency",
    .summary = "one message per token and expert, by NVLink inside of a node, else by RDMA",
    .takes = MOE_TAKES_DEDUPLICATE,
    .exchanges = moe_alltoall_one_exchange,
    .once = TRUE,
    .lower = moe_alltoall_send_all,
};

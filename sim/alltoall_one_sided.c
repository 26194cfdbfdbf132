#include "config.h"

#include "sim/alltoall.h"

/* One-sided puts inside of one scale-up domain, as TensorRT-LLM's kernels on multi-node NVLink
 * (NVIDIA/TensorRT-LLM, cpp/tensorrt_llm/kernels/communicationKernels/moeAlltoAllKernels.cu): each
 * rank writes a token once into the buffer of every GPU that has an expert of it; the combine reads
 * one sum from each of these. With N ranks that send m bytes to each other, a rank is done after
 * startup + latency + (N-1) m / bandwidth. */
static void lower(MoeAllToAll *job)
{
    moe_alltoall_send_all_over(job, MOE_FABRIC_SCALE_UP);
}

const MoeAllToAllKind moe_alltoall_one_sided = {
    .name = "one-sided",
    .summary = "puts inside of one scale-up domain, once per GPU",
    .unique = TRUE,
    .exchanges = moe_alltoall_one_exchange,
    .once = TRUE,
    .lower = lower,
};

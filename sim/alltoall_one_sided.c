#include "config.h"

#include "sim/alltoall.h"

/* One-sided puts inside of one scale-up domain, as TensorRT-LLM's kernels on multi-node NVLink
 * (NVIDIA/TensorRT-LLM, cpp/tensorrt_llm/kernels/communicationKernels/moeAlltoAllKernels.cu): each
 * rank writes a token once into the buffer of every GPU that has an expert of it; the combine reads
 * one sum from each of these. With N ranks that send m bytes to each other, a rank is done after
 * startup + latency + (N-1) m / bandwidth. */
static void lower(MoeAllToAll *job)
{
    gint64 n = job->programs->n_ranks;
    moe_alltoall_exchange(job);
    for (gint64 from = 0; from < n; from++) {
        for (gint64 offset = 1; offset < n; offset++) {
            gint64 to = (from + offset) % n, tokens = job->copies[from * n + to];
            moe_alltoall_put(job, from, to, MOE_FABRIC_SCALE_UP, tokens, tokens, tokens);
        }
    }
}

const MoeAllToAllKind moe_alltoall_one_sided = {
    .name = "one-sided",
    .summary = "puts inside of one scale-up domain, once per GPU",
    .unique = TRUE,
    .exchanges = moe_alltoall_one_exchange,
    .once = TRUE,
    .lower = lower,
};

#include "config.h"

#include "sim/alltoall.h"

/* All messages at once. With N ranks in one non-blocking domain that send m bytes to each other, a
 * rank is done after startup + latency + (N-1) m / bandwidth. */
static void lower(MoeAllToAll *job)
{
    gint64 n = job->programs->n_ranks;
    moe_alltoall_exchange(job);
    for (gint64 from = 0; from < n; from++)
        for (gint64 offset = 1; offset < n; offset++)
            moe_alltoall_send(job, from, (from + offset) % n);
}

const MoeAllToAllKind moe_alltoall_direct = {
    .name = "direct",
    .summary = "every rank sends to all others at once",
    .takes = MOE_TAKES_DEDUPLICATE | MOE_TAKES_PADDING,
    .exchanges = moe_alltoall_one_exchange,
    .once = TRUE,
    .lower = lower,
};

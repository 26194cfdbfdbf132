#include "config.h"

#include "sim/alltoall.h"

/* All messages at once. With N ranks in one non-blocking domain that send m bytes to each other, a
 * rank is done after startup + latency + (N-1) m / bandwidth. */
const MoeAllToAllKind moe_alltoall_direct = {
    .name = "direct",
    .summary = "every rank sends to all others at once",
    .takes = MOE_TAKES_DEDUPLICATE | MOE_TAKES_PADDING,
    .exchanges = moe_alltoall_one_exchange,
    .once = TRUE,
    .lower = moe_alltoall_send_all,
};

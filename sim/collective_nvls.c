#include "config.h"

#include "sim/collective.h"

static MoeCollectiveSize size(const MoeCollective *job, const MoeRanks *ranks)
{
    (void)job;
    return (MoeCollectiveSize){(double)ranks->n_ranks, 1};
}

/* NVLink SHARP, as NCCL's NVLS: rank r asks the switch for the sum of all ranks' part r, and sends it
 * to all of them through the switch; both at once for all parts. Out of a GPU go B for the sums,
 * its own part's too, and B/N of its sum; as much comes in. B (1 + 1/N) / bandwidth. */
static void plan(const MoeCollective *job, MoeSchedule *schedule)
{
    moe_schedule_in_switch(
        schedule, job->bytes + (job->bytes - 1) / moe_schedule_ranks(schedule)->n_ranks + 1);
}

const MoeCollectiveKind moe_collective_nvls = {
    "nvls", "the node's switch adds up and sends to all", 1U << MOE_ALL_REDUCE, TRUE, plan, size};

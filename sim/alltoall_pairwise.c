#include "config.h"

#include "sim/alltoall.h"

/* N-1 rounds with one send and one receive per rank, as MPICH's pairwise exchange: in round i rank
 * r swaps with r XOR i when N is a power of two, else it sends to r+i and receives from r-i. With
 * equal messages of m bytes in one domain a rank is done after startup + (N-1) (latency + m /
 * bandwidth). A round in which a rank has nothing to send or receive costs it nothing. */
static void lower(MoeAllToAll *job)
{
    gint64 n = job->programs->n_ranks;
    gboolean power_of_two = (n & (n - 1)) == 0;
    for (gint64 round = 1; round < MAX(n, 2); round++) {
        moe_alltoall_exchange(job);
        for (gint64 rank = 0; rank < n && n > 1; rank++)
            moe_alltoall_send(job, rank, power_of_two ? rank ^ round : (rank + round) % n);
    }
}

static gint64 exchanges(const MoeTransfer *transfer, gint64 n_ranks)
{
    (void)transfer;
    return MAX(n_ranks - 1, 1);
}

const MoeAllToAllKind moe_alltoall_pairwise = {
    .name = "pairwise",
    .summary = "one partner at a time, N-1 rounds",
    .takes = MOE_TAKES_DEDUPLICATE | MOE_TAKES_PADDING,
    .exchanges = exchanges,
    .once = TRUE,
    .lower = lower,
};

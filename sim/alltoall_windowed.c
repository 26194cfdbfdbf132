#include "config.h"

#include "sim/alltoall.h"

/* w partners at a time: in round i rank r sends to r + iw + 1 ... r + iw + w and receives from as
 * many, and goes on when all of these are through. w = N-1 is direct; w = 1 has the rounds of
 * pairwise for a number of ranks that is no power of two. With equal messages of m bytes in one
 * domain a rank is done after startup + ceil((N-1) / w) latency + (N-1) m / bandwidth. */
static void lower(MoeAllToAll *job)
{
    gint64 n = job->programs->n_ranks, w = job->transfer->window;
    for (gint64 first = 1; first < MAX(n, 2); first += w) {
        moe_alltoall_exchange(job);
        for (gint64 rank = 0; rank < n; rank++)
            for (gint64 offset = first; offset < MIN(first + w, n); offset++)
                moe_alltoall_send(job, rank, (rank + offset) % n);
    }
}

static gint64 exchanges(const MoeTransfer *transfer, gint64 n_ranks)
{
    return MAX((n_ranks - 1 + transfer->window - 1) / transfer->window, 1);
}

const MoeAllToAllKind moe_alltoall_windowed = {
    .name = "windowed",
    .summary = "a window of partners at a time",
    .takes = MOE_TAKES_WINDOW | MOE_TAKES_DEDUPLICATE | MOE_TAKES_PADDING,
    .exchanges = exchanges,
    .once = TRUE,
    .lower = lower,
};

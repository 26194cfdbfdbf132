#include "config.h"

#include "sim/collective.h"

/* Every rank sends to all others at once: the fewest rounds, and every cable of a mesh works. The
 * all-reduce is the two-shot one of custom kernels: a reduce-scatter, then an all-gather, each
 * latency + (N-1)/N B / bandwidth. */
static void exchange(MoeSchedule *schedule, gint64 n, gboolean reduce)
{
    for (gint64 from = 0; from < n; from++)
        for (gint64 offset = 1; offset < n; offset++) {
            gint64 to = (from + offset) % n;
            moe_schedule_move(schedule, from, to, (guint32)(reduce ? to : from), 1, reduce);
        }
    moe_schedule_round(schedule);
}

static MoeCollectiveSize size(const MoeCollective *job, const MoeRanks *ranks)
{
    double n = (double)ranks->n_ranks, shots = job->operation == MOE_ALL_REDUCE ? 2 : 1;
    double each = job->operation == MOE_SEND_RECEIVE ? 1
                  : job->operation == MOE_BROADCAST  ? n - 1
                                                     : n * (n - 1);
    return (MoeCollectiveSize){shots * each, shots};
}

static void plan(const MoeCollective *job, MoeSchedule *schedule)
{
    gint64 n = moe_schedule_ranks(schedule)->n_ranks;
    if (job->operation == MOE_SEND_RECEIVE) {
        moe_schedule_move(schedule, job->root, job->to, 0, 1, FALSE);
        moe_schedule_round(schedule);
        return;
    }
    if (job->operation == MOE_BROADCAST) {
        for (gint64 to = 0; to < n; to++)
            moe_schedule_move(schedule, job->root, to, 0, 1, FALSE);
        moe_schedule_round(schedule);
        return;
    }
    moe_schedule_chunks(schedule, (guint32)n);
    if (job->operation != MOE_ALL_GATHER)
        exchange(schedule, n, TRUE);
    if (job->operation != MOE_REDUCE_SCATTER)
        exchange(schedule, n, FALSE);
}

const MoeCollectiveKind moe_collective_direct = {"direct",
                                                 "every rank sends to all others at once",
                                                 1U << MOE_ALL_REDUCE | 1U << MOE_ALL_GATHER |
                                                     1U << MOE_REDUCE_SCATTER |
                                                     1U << MOE_BROADCAST | 1U << MOE_SEND_RECEIVE,
                                                 FALSE,
                                                 plan,
                                                 size};

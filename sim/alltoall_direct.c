#include "config.h"

#include "sim/alltoall.h"

/* All messages at once. With N ranks in one non-blocking domain that send m bytes to each other, a
 * rank is done after startup + latency + (N-1) m / bandwidth. */
static void lower(const MoeAllToAll *job, MoePrograms *programs)
{
    gint64 n = programs->n_ranks;
    moe_programs_exchange(programs, job->phase, job->startup);
    for (gint64 from = 0; from < n; from++)
        for (gint64 offset = 1; offset < n; offset++)
            moe_alltoall_send(job, programs, from, (from + offset) % n);
}

const MoeAllToAllKind moe_alltoall_direct = {"direct", "every rank sends to all others at once",
                                             lower};

/* alltoall.h - all-to-all algorithms: which rank sends what to whom, and when.
 *
 * Layer: sim. An algorithm turns a matrix of bytes into exchanges of a program. A new one is one
 * file and one row of the table in alltoall.c.
 */
#ifndef MOE_SIM_ALLTOALL_H
#define MOE_SIM_ALLTOALL_H

#include "sim/program.h"

typedef struct {
    const MoeTopology *topology;
    const gint64 *bytes; /* [n_ranks, n_ranks]: from row to column; the diagonal does not travel */
    MoePhase phase;
    double startup; /* seconds before a rank's first message: its kernel's launch */
} MoeAllToAll;

typedef struct {
    const char *name;
    const char *summary;
    void (*lower)(const MoeAllToAll *job, MoePrograms *programs);
} MoeAllToAllKind;

/* The names of all algorithms, NULL-terminated; the one with number @index. */
const char *const *moe_alltoall_names(void);
const MoeAllToAllKind *moe_alltoall_kind(int index);

/* Sends @bytes from @from to @to over the fabric that connects them most directly; nothing when
 * there are none. */
void moe_alltoall_send(const MoeAllToAll *job, MoePrograms *programs, gint64 from, gint64 to);

extern const MoeAllToAllKind moe_alltoall_direct, moe_alltoall_pairwise;

#endif

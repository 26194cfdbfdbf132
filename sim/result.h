/* result.h - what a simulation says: when each phase of each block began and ended, and what
 * crossed the links.
 *
 * Layer: sim.
 */
#ifndef MOE_SIM_RESULT_H
#define MOE_SIM_RESULT_H

#include "sim/engine.h"

/* One phase of one block in one step, all ranks. Ranks need not be in step: `seconds` is how far
 * the phase moved the last rank on (its last end minus the last end of the phase before), so that
 * the phases of a run add up to its time. */
typedef struct {
    int step, layer;
    MoePhase phase;
    MoeInterval *ranks; /* [n_ranks] */
    double start, end;  /* of the last rank: the phase before's end, this one's end */
    double seconds;     /* end - start */
    double mean, max;   /* of the ranks' own durations, waiting included */
    gint64 bytes;       /* that travelled */
} MoePhaseTime;

typedef struct {
    gint64 n_ranks;
    GArray *phases;     /* MoePhaseTime, in time */
    double seconds;     /* until the last rank has finished */
    gint64 *link_bytes; /* [links of the topology] */
} MoeResult;

/* Gathers the times and checks the invariants: time never runs backwards; computing takes what it
 * was given; every byte sent is received; no exchange is faster than its largest message alone, nor
 * than its busiest link's bytes / bandwidth; no rank is done before its own computing. Free with
 * moe_result_free(). Errors: MOE_ERROR_FAILED "invariant broken: ..." (a bug); NULL then. */
MoeResult *moe_result_new(const MoeTopology *topology, const MoePrograms *programs,
                          const MoeTimes *times, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_result_free(MoeResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeResult, moe_result_free)

/* The seconds of all phases of kind @phase in block @layer (-2: all blocks), over all steps. */
double moe_result_phase_seconds(const MoeResult *result, MoePhase phase, int layer);

#endif

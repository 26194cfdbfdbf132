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
    MoeInterval *ranks;  /* [n_ranks] */
    double start, end;   /* of the last rank: the phase before's end, this one's end */
    double seconds;      /* end - start */
    double active;       /* seconds from its first rank's start to its last rank's end */
    double mean, max;    /* of the ranks' own durations, waiting included */
    gint64 bytes;        /* that travelled */
    int link;            /* the busiest; -1: nothing travelled */
    double link_seconds; /* its bytes / bandwidth */
} MoePhaseTime;

/* What travelled between two ranks, or two groups of ranks. */
typedef struct {
    gint64 bytes, messages;
} MoePair;

/* The most groups that pairs are counted for. */
enum { MOE_PAIRS_MOST = 256 };

typedef struct {
    gint64 n_ranks;
    GArray *phases;     /* MoePhaseTime, in time */
    double seconds;     /* until the last rank has finished */
    gint64 *link_bytes; /* [links of the topology] */
    /* The same by phase; NULL: nothing travelled in it. */
    gint64 *phase_link_bytes[MOE_PHASE_COUNT];
    /* [groups, groups] by phase and fabric, from row to column; NULL as above. A group is `group`
     * consecutive ranks: 1 up to MOE_PAIRS_MOST ranks, then as many as leave that many groups. */
    gint64 group, n_groups;
    MoePair *pairs[MOE_PHASE_COUNT][MOE_FABRIC_COUNT];
} MoeResult;

/* Gathers the times and checks the invariants: time never runs backwards; computing takes what it
 * was given; every byte sent is received; no exchange is faster than its largest message alone, nor
 * than its busiest link's bytes / bandwidth; no rank is done before its own computing. Free with
 * moe_result_free(). Errors: MOE_ERROR_FAILED "invariant broken: ..." (a bug); NULL then. */
MoeResult *moe_result_new(const MoeTopology *topology, const MoePrograms *programs,
                          const MoeTimes *times, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_result_free(MoeResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeResult, moe_result_free)

/* The @share-th quantile (0 to 1) of @n ascending values: the least of which at least that share is
 * not larger. n >= 1. */
double moe_quantile(const double *sorted, gsize n, double share);

/* One kind of phase over the whole run. The distribution is over the own durations (waiting
 * included) of every rank in every block and step. */
typedef struct {
    MoePhase phase;
    double seconds; /* by which it moved the last rank on, in all */
    double active;  /* that it was under way on any rank, summed over blocks and steps */
    gint64 samples; /* ranks x blocks x steps */
    double mean, p50, p90, p99, worst;
    gint64 bytes, messages; /* that travelled */
    /* Of the busiest link of each block and step: the sum of its bytes / bandwidth, at most
     * `active`; and the kind of link that most of it falls to (NULL: nothing travelled; static). */
    double bound_seconds;
    const char *bound_kind;
    int link;            /* the busiest of that kind over the run; -1: nothing travelled */
    double link_seconds; /* its bytes / bandwidth */
} MoePhaseSummary;

/* The kinds of phases that there are, in the order of MoePhase; GArray of MoePhaseSummary, free with
 * g_array_unref(). */
GArray *moe_result_summaries(const MoeResult *result, const MoeTopology *topology);

/* The seconds of all phases of kind @phase in block @layer (-2: all blocks), over all steps. */
double moe_result_phase_seconds(const MoeResult *result, MoePhase phase, int layer);

#endif

/* engine.h - simulates the programs of all ranks.
 *
 * Layer: sim. Implemented in engine_simgrid.c, the one file that knows SimGrid.
 */
#ifndef MOE_SIM_ENGINE_H
#define MOE_SIM_ENGINE_H

#include "sim/base/progress.h"
#include "sim/program.h"

/* When each operation of each rank began and ended, s from the start of the simulation. */
typedef struct {
    double start, end;
} MoeInterval;

typedef struct {
    gint64 n_ranks;
    MoeInterval **ranks; /* [n_ranks][operations of the rank] */
    double **sends;      /* [n_ranks][sends of the rank]: ends of messages; NULL: not asked for */
    double tolerance;    /* by which share of an exchange a link may seem faster than its rate */
} MoeTimes;

void moe_times_free(MoeTimes *times);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeTimes, moe_times_free)

/* Who solves the sharing of bandwidth. "simgrid": SimGrid's max-min solver, the reference; "fast":
 * ours (network.h, sharing.h), with SimGrid as clock. */
typedef enum { MOE_SHARING_SIMGRID, MOE_SHARING_FAST } MoeSharingKind;

typedef struct {
    int sharing;       /* MoeSharingKind */
    double quantum;    /* of "fast"; see sharing.h */
    gboolean messages; /* also note when each message ends; slower */
} MoeEngineOptions;

/* The names of the kinds; NULL-terminated. */
const char *const *moe_engine_sharings(void);

/* What run.json records of the engine: "SimGrid 3.32" and its settings, "key:value",
 * NULL-terminated. */
const char *moe_engine_version(void);
const char *const *moe_engine_settings(void);

/* Simulates in a child process; @options NULL: under SimGrid's sharing. Flows share links max-min
 * fairly (network model CM02, TCP window off, no cross-traffic); a message takes the sum of its
 * links' latencies, then its bytes at its share. Errors: MOE_ERROR_FAILED when the engine dies,
 * MOE_ERROR_INPUT when there is too much of it; NULL then. */
MoeTimes *moe_engine_run(const MoeTopology *topology, const MoePrograms *programs,
                         const MoeEngineOptions *options, MoeProgress *progress,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

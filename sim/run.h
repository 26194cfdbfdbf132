/* run.h - one simulation from scenario to result, and its balanced control.
 *
 * Layer: sim.
 */
#ifndef MOE_SIM_RUN_H
#define MOE_SIM_RUN_H

#include "sim/lower.h"
#include "sim/result.h"

typedef struct {
    const MoeScenario *scenario; /* borrowed */
    MoeLowered *lowered;
    MoeResult *result;
    MoeLowered *control_lowered; /* NULL: no control */
    MoeResult *control;
    char **assumptions; /* what the numbers rest on, in words; NULL-terminated */
} MoeRun;

/* Lowers and simulates @scenario, and, unless it says control: none, the same tokens under balanced
 * routing. What takes long is announced where @progress is. Free with moe_run_free(). Errors: as
 * moe_lower() and moe_engine_run(); NULL then. */
MoeRun *moe_run(const MoeScenario *scenario, MoeProgress *progress,
                GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_run_free(MoeRun *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeRun, moe_run_free)

/* What a user should know before so many messages, and operations of all ranks together, are
 * simulated: an estimate of time and memory, or NULL when they are few. Free with g_free(). */
char *moe_run_effort(gint64 messages, gint64 operations);

/* How unevenly the ranks' experts are loaded in block @layer (-1: all blocks): the pairs of the
 * fullest rank over the mean of all ranks, each step with its own fullest rank, summed before
 * dividing. 1: even. */
double moe_run_imbalance(const MoeLowered *lowered, int layer);

#endif

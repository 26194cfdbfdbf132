/* lower.h - turns a scenario into the programs of its ranks.
 *
 * Layer: sim. Data-parallel attention, expert-parallel FFNs over all ranks:
 *
 *   every block:  attention | router | dispatch | shared experts | experts | combine
 *   dense block:  attention | dense FFN
 *   at the end:   LM head (the last token of each sequence in prefill, every token in decode)
 *
 * Of an encoder and a decoder, a block works on its stack's tokens; a decoder's attention includes
 * the one across.
 *
 * Phase transfer: dispatch | combine of every block with experts, nothing else.
 * A scenario with a collective is that collective alone.
 */
#ifndef MOE_SIM_LOWER_H
#define MOE_SIM_LOWER_H

#include "sim/assignment.h"
#include "sim/placement.h"
#include "sim/program.h"

/* What leaves the GPUs in one all-to-all, all ranks together; of it, what they pass on for others. */
typedef struct {
    gint64 bytes, forwarded_bytes;
} MoeSent;

/* What the routing of one block in one step asked for; beside the programs, for reports. */
typedef struct {
    int step, layer;
    gint64 *received; /* [ranks]: pairs that each rank's experts compute */
    gint64 *experts;  /* [experts] */
    gint64 *homes;    /* [ranks]: tokens at home */
    MoeSent dispatch, combine;
    gint64 pairs, dropped;
} MoeBlockLoad;

typedef struct {
    MoePrograms *programs;
    MoePlacement *placement; /* NULL: a collective alone */
    GArray *loads;           /* MoeBlockLoad, by step and block */
    MoeCost cost;
    const char *algorithm, *protocol; /* of a collective alone, else NULL; borrowed */
} MoeLowered;

/* Lowers @scenario; with @balanced, under the balanced control's routing of the same tokens. Frees
 * with moe_lowered_free(). Errors: MOE_ERROR_INPUT (parts that do not fit); NULL then. */
MoeLowered *moe_lower(const MoeScenario *scenario, gboolean balanced,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for a collective alone. Of the variants that its kernels have, and, when the scenario
 * names no algorithm, of their algorithms, the one that moe_collective_estimate() finds fastest. */
MoeLowered *moe_lower_collective(const MoeScenario *scenario,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* About how many messages that makes, and operations of all ranks together, within a factor of four,
 * before it is done: the most that one of these variants makes. */
void moe_lower_collective_size(const MoeScenario *scenario, double *messages, double *operations);
void moe_lowered_free(MoeLowered *lowered);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeLowered, moe_lowered_free)

#endif

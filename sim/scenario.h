/* scenario.h - what is simulated: a model, its routing, a cluster, a plan.
 *
 * Layer: sim. Written in YAML; every key has a default but model (or a trace that names one),
 * routing and topology. Phase transfer with synthetic routing needs no model: the routing says what
 * is sent. A scenario with the key "collective" has neither. Paths are relative to the scenario's
 * folder.
 */
#ifndef MOE_SIM_SCENARIO_H
#define MOE_SIM_SCENARIO_H

#include "models/model.h"
#include "sim/alltoall.h"
#include "sim/base/progress.h"
#include "sim/engine.h"
#include "topologies/topology.h"
#include "workloads/trace.h"

/* transfer: the all-to-alls of the blocks alone, without computing: what benchmarks of kernels time.
 */
typedef enum { MOE_STEP_PREFILL, MOE_STEP_DECODE, MOE_STEP_TRANSFER } MoeStepKind;
typedef enum { MOE_SPLIT_TOKENS, MOE_SPLIT_SEQUENCES } MoeSplit;
typedef enum { MOE_CONTROL_BALANCED, MOE_CONTROL_NONE } MoeControl;

typedef struct {
    char *name, *model;
    const MoeNode *routing, *topology;
    struct {
        gint64 expert;
        int placement;
    } plan;
    struct {
        int kind, split;
        gint64 tokens_per_gpu, sequences_per_gpu, steps, context;
        gboolean repeat;
    } phase;
    MoeTransfer dispatch, combine;
    struct {
        int dtype; /* MoeType */
    } compute;
    MoeEngineOptions network;
    int control;
    struct {
        int operation;   /* MoeOperation */
        char *algorithm; /* NULL: the fastest of the topology's, else ring */
        double bytes, chunk;
        gint64 root, to; /* to -1: not given */
    } collective;
} MoeScenarioFile;

/* The keys of a scenario; of one with the key "collective", which simulates a collective alone. */
extern const MoeField moe_scenario_fields[], moe_collective_fields[];

/* A scenario with everything that it names loaded and found to fit together. */
typedef struct {
    MoeScenarioFile file;
    const MoeField *fields; /* that file was read by */
    MoeNode *root;          /* the tree that file's nodes borrow from */
    char *path;             /* of the scenario */
    char *trace_path;       /* NULL: the routing is synthetic */
    MoeModel *model;        /* NULL: a collective alone */
    MoeTopology *topology;
    MoeKernels *kernels; /* of the topology */
    MoeTrace *trace;     /* NULL: a collective alone */
    gint64 n_ranks;      /* GPUs that take part: plan.expert or plan.ranks */
} MoeScenario;

/* Whether it is a collective alone. */
static inline gboolean moe_scenario_is_collective(const MoeScenario *scenario)
{
    return scenario->fields == moe_collective_fields;
}

/* Reads @path, applies the assignments @set ("plan.expert=64"; NULL-terminated or NULL), loads
 * model, topology and trace. Free with moe_scenario_free(). Errors: MOE_ERROR_INPUT,
 * MOE_ERROR_USAGE (a bad assignment); NULL then. */
MoeScenario *moe_scenario_load(const char *path, const char *const *set, MoeProgress *progress,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for the tree @root, which is taken. @path: of the file that it is from. */
MoeScenario *moe_scenario_load_tree(MoeNode *root, const char *path, const char *const *set,
                                    MoeProgress *progress,
                                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_scenario_free(MoeScenario *scenario);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeScenario, moe_scenario_free)

#endif

#include "config.h"

#include "sim/collective.h"
#include "sim/lower.h"

#include <math.h>

static MoeCollective job_of(const MoeScenario *s, const MoeKernelVariant *variant,
                            const char *algorithm)
{
    return (MoeCollective){
        .topology = s->topology,
        .operation = (MoeOperation)s->file.collective.operation,
        .algorithm = algorithm,
        .bytes = (gint64)s->file.collective.bytes,
        .root = s->file.collective.root,
        .to = s->file.collective.to,
        .chunk = (gint64)s->file.collective.chunk,
        .phase = MOE_PHASE_COLLECTIVE,
        .startup = variant->startup,
        .message = variant->message,
        .rate = variant->rate,
    };
}

/* The programs of one variant of the kernels; NULL with an error. */
static MoePrograms *lower_variant(const MoeScenario *s, const MoeKernelVariant *variant,
                                  const char *algorithm, GError **error)
{
    g_autoptr(MoePrograms) programs = moe_programs_new(s->n_ranks);
    programs->layer = -1;
    const MoeCollective job = job_of(s, variant, algorithm);
    return moe_collective_lower(&job, programs, error) ? g_steal_pointer(&programs) : NULL;
}

/* What the topology says of the kernel, or a launch. */
static MoeKernelVariant plain_variant(const MoeScenario *s)
{
    int operation = s->file.collective.operation;
    MoeKernelCost cost;
    moe_kernels_cost(s->kernels,
                     operation == MOE_ALL_TO_ALL ? s->file.collective.algorithm
                                                 : moe_operation_names()[operation],
                     operation == MOE_ALL_TO_ALL ? MOE_KERNEL_DISPATCH : MOE_KERNEL_ALONE, &cost);
    return (MoeKernelVariant){.startup = cost.startup, .message = cost.message, .rate = NAN};
}

/* One way to do it. */
typedef struct {
    MoeKernelVariant variant;
    const char *algorithm; /* static */
} Candidate;

/* The variants of the kernels that fit, or one without constants; GArray of Candidate. */
static GArray *list_candidates(const MoeScenario *s)
{
    guint n;
    const char *wanted = s->file.collective.algorithm;
    const MoeKernelVariant *variants =
        moe_kernels_variants(s->kernels, moe_operation_names()[s->file.collective.operation], &n);
    g_autofree const char **all =
        moe_collective_algorithms((MoeOperation)s->file.collective.operation);
    GArray *candidates = g_array_new(FALSE, FALSE, sizeof(Candidate));
    for (guint i = 0; i < n; i++) {
        const char *own = variants[i].algorithm != NULL ? variants[i].algorithm : all[0];
        if (wanted != NULL && variants[i].algorithm != NULL && !g_str_equal(wanted, own))
            continue;
        Candidate candidate = {variants[i], wanted != NULL ? wanted : own};
        g_array_append_val(candidates, candidate);
    }
    if (candidates->len == 0) {
        Candidate candidate = {plain_variant(s), wanted != NULL ? wanted : all[0]};
        g_array_append_val(candidates, candidate);
    }
    return candidates;
}

void moe_lower_collective_size(const MoeScenario *scenario, double *messages, double *operations)
{
    g_autoptr(GArray) candidates = list_candidates(scenario);
    *messages = *operations = 0;
    for (guint i = 0; i < candidates->len; i++) {
        const Candidate *c = &g_array_index(candidates, Candidate, i);
        const MoeCollective job = job_of(scenario, &c->variant, c->algorithm);
        const MoeCollectiveSize size = moe_collective_size(&job, scenario->n_ranks);
        *messages = fmax(*messages, size.messages);
        *operations = fmax(*operations, size.rounds * (double)scenario->n_ranks);
    }
}

/* Of the candidates that work, the one with the best promise. */
static gboolean choose(const MoeScenario *s, MoeLowered *lowered, GError **error)
{
    g_autoptr(GArray) candidates = list_candidates(s);
    double best = INFINITY;
    g_autoptr(GError) last = NULL;
    for (guint i = 0; i < candidates->len; i++) {
        const Candidate *c = &g_array_index(candidates, Candidate, i);
        g_clear_error(&last);
        MoePrograms *programs = lower_variant(s, &c->variant, c->algorithm, &last);
        double promise = programs == NULL       ? INFINITY
                         : candidates->len == 1 ? 0
                                                : moe_collective_estimate(s->topology, programs);
        if (promise < best) {
            best = promise;
            moe_programs_free(lowered->programs);
            lowered->programs = g_steal_pointer(&programs);
            lowered->algorithm = c->algorithm;
            lowered->protocol = c->variant.protocol;
        }
        moe_programs_free(programs);
    }
    if (lowered->programs == NULL)
        g_propagate_prefixed_error(error, g_steal_pointer(&last), "%s: ", s->path);
    return lowered->programs != NULL;
}

MoeLowered *moe_lower_collective(const MoeScenario *scenario, GError **error)
{
    g_autoptr(MoeLowered) lowered = g_new0(MoeLowered, 1);
    lowered->loads = g_array_new(FALSE, FALSE, sizeof(MoeBlockLoad));
    return choose(scenario, lowered, error) ? g_steal_pointer(&lowered) : NULL;
}

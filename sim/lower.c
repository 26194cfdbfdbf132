#include "config.h"

#include "sim/lower.h"

#include "sim/alltoall.h"
#include "sim/base/memory.h"
#include "sim/engine.h"
#include "sim/traffic.h"

#include <string.h>

typedef struct {
    const MoeScenario *scenario;
    gboolean balanced;
    MoeLowered *out;
    const MoePlacement *placement;
    MoeTraffic *traffic;
    gint64 *bytes;        /* [ranks, ranks] */
    gint64 *local;        /* [experts]: tokens of one rank's experts */
    const MoeCost *costs; /* [ranks]: on the GPU of each */
    GError **error;
} Lowering;

static void load_clear(gpointer data)
{
    MoeBlockLoad *load = data;
    g_free(load->received);
    g_free(load->experts);
    g_free(load->homes);
}

static gint64 travelling(const gint64 *bytes, gint64 n_ranks)
{
    gint64 sum = 0;
    for (gint64 a = 0; a < n_ranks; a++)
        for (gint64 b = 0; b < n_ranks; b++)
            sum += a != b ? bytes[a * n_ranks + b] : 0;
    return sum;
}

static void transfer(Lowering *w, const MoeTransfer *transfer_file, MoePhase phase)
{
    const MoeScenario *s = w->scenario;
    const MoeAllToAllKind *kind = moe_alltoall_kind(transfer_file->algorithm);
    MoeKernelCost cost;
    moe_kernels_cost(s->kernels, kind->name,
                     phase == MOE_PHASE_COMBINE ? MOE_KERNEL_COMBINE : MOE_KERNEL_DISPATCH, &cost);
    const MoeAllToAll job = {
        .topology = s->topology,
        .bytes = w->bytes,
        .phase = phase,
        .startup = cost.startup,
    };
    moe_traffic_bytes(w->traffic, transfer_file, s->model->shape.hidden_size,
                      phase == MOE_PHASE_COMBINE, w->bytes);
    kind->lower(&job, w->out->programs);
}

static void compute_experts(Lowering *w)
{
    MoePrograms *programs = w->out->programs;
    const MoePlacement *placement = w->placement;
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        gint64 n = 0;
        for (gint64 e = 0; e < placement->n_experts; e++)
            if (placement->rank_of[e] == r)
                w->local[n++] = w->traffic->experts[e];
        moe_programs_compute(programs, r, MOE_PHASE_EXPERTS,
                             moe_cost_experts(&w->costs[r], w->local, n));
    }
}

static void keep_load(Lowering *w, const MoeAssignment *assignment, gint64 dispatch_bytes,
                      gint64 combine_bytes)
{
    const MoeTraffic *traffic = w->traffic;
    gint64 R = traffic->n_ranks;
    MoeBlockLoad load = {
        .step = w->out->programs->step,
        .layer = w->out->programs->layer,
        .received = g_new(gint64, R),
        .experts = g_memdup2(traffic->experts, (gsize)traffic->n_experts * sizeof(gint64)),
        .homes = g_new(gint64, R),
        .dispatch_bytes = dispatch_bytes,
        .combine_bytes = combine_bytes,
        .pairs = traffic->total,
        .dropped = traffic->dropped,
    };
    for (gint64 r = 0; r < R; r++) {
        load.received[r] = moe_traffic_received(traffic, w->placement, r);
        load.homes[r] = assignment->first[r + 1] - assignment->first[r];
    }
    g_array_append_val(w->out->loads, load);
}

static gboolean lower_experts(Lowering *w, const MoeAssignment *assignment,
                              const MoeTraceLayer *layer)
{
    const MoeScenario *s = w->scenario;
    const MoeCost *costs = w->costs;
    MoePrograms *programs = w->out->programs;
    moe_traffic_count(w->traffic, s->trace, layer, assignment, w->placement, w->balanced);
    if (!moe_traffic_check(w->traffic, w->error))
        return FALSE;
    gint64 R = programs->n_ranks;
    gboolean computes = s->file.phase.kind != MOE_STEP_TRANSFER;
    for (gint64 r = 0; r < R && computes; r++)
        moe_programs_compute(
            programs, r, MOE_PHASE_ROUTER,
            moe_cost_router(&costs[r], assignment->first[r + 1] - assignment->first[r]));
    transfer(w, &s->file.dispatch, MOE_PHASE_DISPATCH);
    gint64 dispatch_bytes = travelling(w->bytes, R);
    if (computes && w->out->cost.shape->shared_expert_intermediate_size > 0)
        for (gint64 r = 0; r < R; r++)
            moe_programs_compute(programs, r, MOE_PHASE_SHARED,
                                 moe_cost_ffn(&costs[r],
                                              assignment->first[r + 1] - assignment->first[r],
                                              w->out->cost.shape->shared_expert_intermediate_size));
    if (computes)
        compute_experts(w);
    transfer(w, &s->file.combine, MOE_PHASE_COMBINE);
    for (gint64 r = 0; r < R && computes; r++)
        moe_programs_compute(programs, r, MOE_PHASE_COMBINE,
                             moe_cost_combine(&costs[r],
                                              assignment->first[r + 1] - assignment->first[r],
                                              w->traffic->copies[r]));
    keep_load(w, assignment, dispatch_bytes, travelling(w->bytes, R));
    return TRUE;
}

/* The dispatch and the combine of every block, one after the other. */
static gboolean lower_transfers(Lowering *w, const MoeAssignment *assignment)
{
    const MoeTrace *trace = w->scenario->trace;
    for (int l = 0; l < trace->n_layers; l++) {
        w->out->programs->layer = trace->layers[l].layer;
        if (!lower_experts(w, assignment, &trace->layers[l]))
            return FALSE;
    }
    return TRUE;
}

static gboolean lower_step(Lowering *w, const MoeAssignment *assignment)
{
    const MoeScenario *s = w->scenario;
    const MoeCost *costs = w->costs;
    const MoeModelShape *shape = w->out->cost.shape;
    MoePrograms *programs = w->out->programs;
    gint64 R = programs->n_ranks;
    for (gint64 layer = 0; layer < shape->num_hidden_layers; layer++) {
        programs->layer = (int)layer;
        for (gint64 r = 0; r < R; r++) {
            MoeContext context = moe_assignment_context(
                assignment, s->trace, r, costs[r].decode ? s->file.phase.context : 0);
            moe_programs_compute(programs, r, MOE_PHASE_ATTENTION,
                                 moe_cost_attention(&costs[r], &context));
        }
        if (moe_model_has_experts(shape, layer)) {
            gint64 index = moe_model_moe_layers_before(shape, layer);
            if (!lower_experts(w, assignment, &s->trace->layers[index]))
                return FALSE;
            continue;
        }
        for (gint64 r = 0; r < R; r++)
            moe_programs_compute(programs, r, MOE_PHASE_DENSE,
                                 moe_cost_ffn(&costs[r],
                                              assignment->first[r + 1] - assignment->first[r],
                                              shape->intermediate_size));
    }
    programs->layer = -1;
    for (gint64 r = 0; r < R; r++)
        moe_programs_compute(
            programs, r, MOE_PHASE_HEAD,
            moe_cost_head(&costs[r], moe_assignment_sequences(assignment, s->trace, r)));
    return TRUE;
}

/* Bounds what the programs, their times and the traffic matrices take: a pair of ranks exchanges at
 * most one message per all-to-all, and a token sends at most top_k. */
static gboolean check_memory(const MoeScenario *s, const GPtrArray *steps, GError **error)
{
    const MoeModelShape *shape = &s->model->shape;
    double R = (double)s->n_ranks, blocks = (double)moe_model_moe_layers(shape);
    /* An all-to-all of rounds has an operation for each partner. */
    double rounds = 0, bytes = R * (4 * R + (double)shape->num_experts) * sizeof(gint64);
    const MoeTransfer *transfers[] = {&s->file.dispatch, &s->file.combine};
    for (size_t i = 0; i < G_N_ELEMENTS(transfers); i++)
        rounds += moe_alltoall_kind(transfers[i]->algorithm) == &moe_alltoall_pairwise ? R : 1;
    for (guint i = 0; i < steps->len; i++) {
        const MoeAssignment *assignment = steps->pdata[i];
        double sent = (double)assignment->first[s->n_ranks] * (double)s->trace->top_k;
        double operations =
            R * (2.0 * (double)shape->num_hidden_layers + blocks * (4 + rounds) + 1);
        bytes += operations * (sizeof(MoeOp) + sizeof(MoeInterval)) +
                 blocks * 2 * MIN(R * R, sent) * 2 * sizeof(MoeMessage) +
                 blocks * (2 * R + (double)shape->num_experts) * sizeof(gint64);
    }
    if (moe_memory_check(bytes, "so many ranks and steps", error))
        return TRUE;
    g_prefix_error(error, "%s: ", s->path);
    return FALSE;
}

MoeLowered *moe_lower(const MoeScenario *scenario, gboolean balanced, GError **error)
{
    if (moe_scenario_is_collective(scenario))
        return moe_lower_collective(scenario, error);
    const MoeModelShape *shape = &scenario->model->shape;
    g_autoptr(MoeLowered) lowered = g_new0(MoeLowered, 1);
    lowered->cost = (MoeCost){
        .shape = shape,
        .gpu = &scenario->topology->gpu,
        .type = (MoeType)scenario->file.compute.dtype,
        .decode = scenario->file.phase.kind == MOE_STEP_DECODE,
    };
    lowered->programs = moe_programs_new(scenario->n_ranks);
    lowered->loads = g_array_new(FALSE, FALSE, sizeof(MoeBlockLoad));
    g_array_set_clear_func(lowered->loads, load_clear);
    g_autoptr(GPtrArray) steps = moe_assignments_new(scenario, error);
    if (steps == NULL || !check_memory(scenario, steps, error))
        return NULL;
    lowered->placement = moe_placement_new(scenario->file.plan.placement, shape->num_experts,
                                           scenario->n_ranks, error);
    g_autofree MoeCost *costs = g_new(MoeCost, scenario->n_ranks);
    gboolean good = lowered->placement != NULL;
    for (gint64 r = 0; r < scenario->n_ranks; r++) {
        costs[r] = lowered->cost;
        costs[r].gpu = moe_topology_gpu(scenario->topology, r);
        good = good && moe_cost_check(&costs[r], error);
    }
    if (!good) {
        g_prefix_error(error, "%s: ", scenario->path);
        return NULL;
    }
    g_autoptr(MoeTraffic) traffic =
        moe_traffic_new(scenario->n_ranks, shape->num_experts, scenario->topology->node_of);
    g_autofree gint64 *bytes = g_new(gint64, scenario->n_ranks * scenario->n_ranks);
    g_autofree gint64 *local = g_new(gint64, shape->num_experts);
    Lowering w = {scenario, balanced, lowered, lowered->placement, traffic, bytes,
                  local,    costs,    error};
    for (guint step = 0; step < steps->len; step++) {
        lowered->programs->step = (int)step;
        gboolean computes = scenario->file.phase.kind != MOE_STEP_TRANSFER;
        if (!(computes ? lower_step : lower_transfers)(&w, steps->pdata[step]))
            return NULL;
    }
    return g_steal_pointer(&lowered);
}

void moe_lowered_free(MoeLowered *lowered)
{
    if (lowered == NULL)
        return;
    moe_programs_free(lowered->programs);
    moe_placement_free(lowered->placement);
    if (lowered->loads != NULL)
        g_array_unref(lowered->loads);
    g_free(lowered);
}

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
    gint64 *copies;                      /* [ranks, ranks] */
    gint64 *own, *forwarded, *delivered; /* [ranks] */
    gint64 *local;                       /* [experts]: tokens of one rank's experts */
    const MoeCost *costs;                /* [ranks]: on the GPU of each */
    GError **error;
} Lowering;

static void load_clear(gpointer data)
{
    MoeBlockLoad *load = data;
    g_free(load->received);
    g_free(load->experts);
    g_free(load->homes);
}

static gint64 sum(const gint64 *values, gint64 n)
{
    gint64 total = 0;
    for (gint64 i = 0; i < n; i++)
        total += values[i];
    return total;
}

/* Lowers one all-to-all; says what left the GPUs. */
static gboolean transfer(Lowering *w, MoePhase phase, MoeSent *sent_out)
{
    const MoeScenario *s = w->scenario;
    gboolean back = phase == MOE_PHASE_COMBINE;
    const MoeTransfer *file = back ? &s->file.combine : &s->file.dispatch;
    gint64 R = w->traffic->n_ranks;
    MoeAllToAll job = {
        .topology = s->topology,
        .transfer = file,
        .phase = phase,
        .back = back,
        .token_bytes = moe_type_wire_bytes((MoeType)file->dtype, s->model->shape.hidden_size),
        .copies = w->copies,
        .nodes = w->traffic->nodes,
        .n_nodes = w->traffic->n_nodes,
        .programs = w->out->programs,
        .own = w->own,
        .forwarded = w->forwarded,
        .delivered = w->delivered,
    };
    moe_kernels_cost(s->kernels, moe_alltoall_kind(file->algorithm)->name,
                     back ? MOE_KERNEL_COMBINE : MOE_KERNEL_DISPATCH, &job.cost);
    if (!moe_traffic_copies(w->traffic, w->placement, file, w->copies, w->error) ||
        !moe_alltoall_lower(&job, w->error)) {
        g_prefix_error(w->error, "%s: block %d: %s: ", s->path, w->out->programs->layer,
                       moe_phase_name(phase));
        return FALSE;
    }
    sent_out->forwarded_bytes = sum(w->forwarded, R) * job.token_bytes;
    sent_out->bytes = sum(w->own, R) * job.token_bytes + sent_out->forwarded_bytes;
    return TRUE;
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

static void keep_load(Lowering *w, const MoeAssignment *assignment, const MoeSent *dispatch,
                      const MoeSent *combine)
{
    const MoeTraffic *traffic = w->traffic;
    gint64 R = traffic->n_ranks;
    MoeBlockLoad load = {
        .step = w->out->programs->step,
        .layer = w->out->programs->layer,
        .received = g_new(gint64, R),
        .experts = g_memdup2(traffic->experts, (gsize)traffic->n_experts * sizeof(gint64)),
        .homes = g_new(gint64, R),
        .dispatch = *dispatch,
        .combine = *combine,
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
    MoeSent dispatch, combine;
    if (!transfer(w, MOE_PHASE_DISPATCH, &dispatch))
        return FALSE;
    if (computes && w->out->cost.shape->shared_expert_intermediate_size > 0)
        for (gint64 r = 0; r < R; r++)
            moe_programs_compute(programs, r, MOE_PHASE_SHARED,
                                 moe_cost_ffn(&costs[r],
                                              assignment->first[r + 1] - assignment->first[r],
                                              w->out->cost.shape->shared_expert_intermediate_size));
    if (computes)
        compute_experts(w);
    if (!transfer(w, MOE_PHASE_COMBINE, &combine))
        return FALSE;
    for (gint64 r = 0; r < R && computes; r++)
        moe_programs_compute(
            programs, r, MOE_PHASE_COMBINE,
            moe_cost_combine(&costs[r], assignment->first[r + 1] - assignment->first[r],
                             s->file.combine.deduplicate ? sum(w->traffic->unique + r * R, R)
                                                         : w->traffic->copies[r]));
    keep_load(w, assignment, &dispatch, &combine);
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

/* Of each rank, s: the same in every block of a stack. Free with g_free(). */
static double *attention_seconds(const Lowering *w, const MoeAssignment *assignment, int stack)
{
    const MoeScenario *s = w->scenario;
    gboolean encodes = w->out->cost.shape->encoder_layers > 0;
    MoeSees sees = encodes && stack == 0 ? MOE_SEES_ALL : MOE_SEES_BEFORE;
    double *seconds = g_new(double, s->n_ranks);
    for (gint64 r = 0; r < s->n_ranks; r++) {
        const MoeCost *cost = &w->costs[r];
        MoeContext context = moe_assignment_context(assignment, s->trace, r, sees,
                                                    cost->decode ? s->file.phase.context : 0);
        seconds[r] = moe_cost_attention(cost, &context);
        if (stack == 1) {
            context = moe_assignment_context(assignment, s->trace, r, MOE_SEES_ACROSS, 0);
            seconds[r] += moe_cost_cross(cost, &context);
        }
    }
    return seconds;
}

/* A block works on the tokens of its stack alone. */
static gboolean lower_step(Lowering *w, const MoeAssignment *whole)
{
    const MoeScenario *s = w->scenario;
    const MoeCost *costs = w->costs;
    const MoeModelShape *shape = w->out->cost.shape;
    MoePrograms *programs = w->out->programs;
    gint64 R = programs->n_ranks;
    gboolean encodes = shape->encoder_layers > 0;
    g_autoptr(MoeAssignment) encoder = encodes ? moe_assignment_of_stack(whole, s->trace, 0) : NULL;
    g_autoptr(MoeAssignment) decoder = encodes ? moe_assignment_of_stack(whole, s->trace, 1) : NULL;
    const MoeAssignment *const stacks[] = {encodes ? encoder : whole, decoder};
    g_autofree double *first = attention_seconds(w, stacks[0], 0);
    g_autofree double *second = encodes ? attention_seconds(w, decoder, 1) : NULL;
    const double *const attention[] = {first, second};
    for (gint64 layer = 0; layer < shape->num_hidden_layers; layer++) {
        int stack = moe_model_stack(shape, layer);
        const MoeAssignment *assignment = stacks[stack];
        programs->layer = (int)layer;
        for (gint64 r = 0; r < R; r++)
            moe_programs_compute(programs, r, MOE_PHASE_ATTENTION, attention[stack][r]);
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
        moe_programs_compute(programs, r, MOE_PHASE_HEAD,
                             moe_cost_head(&costs[r], moe_assignment_sequences(
                                                          stacks[encodes ? 1 : 0], s->trace, r)));
    return TRUE;
}

/* Bounds what the programs, their times and the traffic matrices take: a pair of ranks exchanges at
 * most one message per all-to-all, or per exchange of it, and a token sends at most top_k; buffers of
 * fixed size are sent by all pairs. */
static gboolean check_memory(const MoeScenario *s, const GPtrArray *steps, GError **error)
{
    const MoeModelShape *shape = &s->model->shape;
    double R = (double)s->n_ranks, blocks = (double)moe_model_moe_layers(shape);
    double exchanges = 0, meetings = 0;
    double bytes = R * (4 * R + (double)shape->num_experts) * sizeof(gint64) + 16 * R * R;
    const MoeTransfer *transfers[] = {&s->file.dispatch, &s->file.combine};
    gboolean padded = FALSE;
    for (size_t i = 0; i < G_N_ELEMENTS(transfers); i++) {
        const MoeAllToAllKind *kind = moe_alltoall_kind(transfers[i]->algorithm);
        double n = (double)kind->exchanges(transfers[i], s->n_ranks);
        exchanges += n;
        meetings += kind->once ? 1 : n;
        padded |= transfers[i]->padding != MOE_PADDING_NONE;
    }
    for (guint i = 0; i < steps->len; i++) {
        const MoeAssignment *assignment = steps->pdata[i];
        double sent = (double)assignment->first[s->n_ranks] * (double)s->trace->top_k;
        double operations =
            R * (2.0 * (double)shape->num_hidden_layers + blocks * (4 + exchanges) + 1);
        bytes += operations * (sizeof(MoeOp) + sizeof(MoeInterval)) +
                 blocks * meetings * (padded ? R * R : MIN(R * R, sent)) * 2 * sizeof(MoeMessage) +
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
    gint64 R = scenario->n_ranks;
    g_autofree gint64 *copies = g_new(gint64, R * R);
    g_autofree gint64 *per_rank = g_new(gint64, 3 * R);
    g_autofree gint64 *local = g_new(gint64, shape->num_experts);
    Lowering w = {
        .scenario = scenario,
        .balanced = balanced,
        .out = lowered,
        .placement = lowered->placement,
        .traffic = traffic,
        .copies = copies,
        .own = per_rank,
        .forwarded = per_rank + R,
        .delivered = per_rank + 2 * R,
        .local = local,
        .costs = costs,
        .error = error,
    };
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

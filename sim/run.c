#include "config.h"

#include "sim/run.h"

#include <math.h>

static void assume(GPtrArray *list, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void assume(GPtrArray *list, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(list, g_strdup_vprintf(format, args));
    va_end(args);
}

/* What flows that share links fairly do not show of a network. */
static void list_network(GPtrArray *list)
{
    assume(list, "left out of the network: congestion control (PFC, ECN, DCQCN) and its start-up, "
                 "queues and buffers, loss and retransmission, packet headers, adaptive routing; "
                 "efficiencies of links stand for them");
}

/* What kernels cost beside their bytes, and what they would take from computing. */
static void list_kernels(GPtrArray *list, const MoeScenario *s)
{
    const MoeTransfer *transfers[] = {&s->file.dispatch, &s->file.combine};
    static const char *const parts[] = {"dispatch", "combine"};
    const char *missing = NULL;
    for (int t = MOE_KERNEL_DISPATCH; t <= MOE_KERNEL_COMBINE; t++) {
        const char *kernel = moe_alltoall_kind(transfers[t]->algorithm)->name;
        MoeKernelCost cost;
        if (!moe_kernels_cost(s->kernels, kernel, (MoeKernelPart)t, &cost)) {
            if (missing != kernel)
                assume(list, "no constants for %s on %s: launch, latency and bytes alone", kernel,
                       s->topology->file.name);
            missing = kernel;
        } else if (cost.sms > 0)
            assume(list,
                   "the %s kernel %s takes %" G_GINT64_FORMAT
                   " multiprocessors, and nothing computes beside it",
                   parts[t], kernel, cost.sms);
    }
}

/* What computing takes, and whether it fits. */
static void list_computing(GPtrArray *list, const MoeScenario *s, const MoeLowered *lowered)
{
    const MoeScenarioFile *file = &s->file;
    const MoeTopology *topology = s->topology;
    assume(list, "activations and KV cache take %d bytes per element",
           file->compute.dtype == MOE_TYPE_F32 ? 4 : 2);
    if (file->phase.kind == MOE_STEP_PREFILL && file->phase.split == MOE_SPLIT_TOKENS)
        assume(list, "a sequence cut at a GPU's border goes on at the next, priced with its whole "
                     "prefix there");
    if (file->phase.kind == MOE_STEP_DECODE && file->phase.context > 0)
        assume(list,
               "every token attends to %" G_GINT64_FORMAT
               " keys, whatever its position in the trace",
               file->phase.context);
    double weights = moe_cost_weights(&lowered->cost, s->n_ranks);
    char need[MOE_UNITS_TEXT], have[MOE_UNITS_TEXT];
    double size = topology->gpu.hbm.size;
    for (gint64 r = 0; r < s->n_ranks; r++)
        size = fmin(size, moe_topology_gpu(topology, r)->hbm.size);
    moe_units_format(weights, MOE_UNIT_BYTES, need);
    moe_units_format(size, MOE_UNIT_BYTES, have);
    assume(
        list,
        weights > size
            ? "the weights do NOT fit: %s per GPU of %s"
            : "weights take %s per GPU of %s; KV cache and activations are not checked against it",
        need, have);
}

/* What a reader must know to trust the numbers. */
static char **list_assumptions(const MoeScenario *s, const MoeLowered *lowered)
{
    GPtrArray *list = g_ptr_array_new();
    const MoeScenarioFile *file = &s->file;
    const MoeTopology *topology = s->topology;
    gboolean computes = file->phase.kind != MOE_STEP_TRANSFER;
    if (s->n_ranks < topology->n_gpus)
        assume(list,
               "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " GPUs take part; the others are idle",
               s->n_ranks, topology->n_gpus);
    if (file->network.sharing == MOE_SHARING_FAST)
        assume(list,
               "links are shared by moesim's max-min solver: rates are out of date by up to a "
               "quantum of %g %%, so ends differ from SimGrid's by up to about twice that",
               file->network.quantum * 100);
    list_network(list);
    if (moe_scenario_is_collective(s)) {
        assume(list, "not priced: the adding up of a reduction, copies inside of a GPU");
        g_ptr_array_add(list, NULL);
        return (char **)g_ptr_array_free(list, FALSE);
    }
    assume(list, computes ? "nothing overlaps: a rank computes or communicates, never both"
                          : "the all-to-alls alone: nothing is computed");
    assume(list, "not priced: embedding rows, sampling, the routing metadata (expert ids and "
                 "weights) on the "
                 "wire, allocation, scheduling between steps");
    if (file->phase.repeat)
        assume(list, "the trace starts again when it ends: some tokens count more than once");
    if (s->trace->weights[0] == '\0')
        assume(list, "the routing was not traced here: %s (%s)", s->trace->router,
               s->trace->workload);
    list_kernels(list, s);
    if (computes)
        list_computing(list, s, lowered);
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

char *moe_run_effort(gint64 messages, gint64 operations)
{
    static const gint64 few_messages = 1 << 22, few_operations = 1 << 23;
    /* Measured for 1 to 17 million; the more GPUs, the more each message takes. */
    static const double message_s = 5e-6, operation_s = 5e-7;
    char of_messages[MOE_UNITS_TEXT], of_operations[MOE_UNITS_TEXT], memory[MOE_UNITS_TEXT];
    if (messages <= few_messages && operations <= few_operations)
        return NULL;
    double n = (double)messages, ops = (double)operations;
    double minutes = ceil((n * message_s + ops * operation_s) / 60);
    return g_strdup_printf(
        "%s messages in %s operations to simulate: about %.0f minute%s and %s of memory; "
        "fewer GPUs, blocks or rounds take less",
        moe_units_format_count(messages, of_messages),
        moe_units_format_count(operations, of_operations), minutes, minutes > 1 ? "s" : "",
        moe_units_format(n * MOE_MESSAGE_BYTES + ops * MOE_OPERATION_BYTES, MOE_UNIT_BYTES,
                         memory));
}

static void announce(gint64 messages, gint64 operations, MoeProgress *progress)
{
    g_autofree char *effort = moe_run_effort(messages, operations);
    if (effort != NULL)
        moe_progress_note(progress, effort);
}

static gboolean simulate(const MoeScenario *s, gboolean balanced, MoeProgress *progress,
                         MoeLowered **lowered_out, MoeResult **result_out, GError **error)
{
    *lowered_out = moe_lower(s, balanced, error);
    if (*lowered_out == NULL)
        return FALSE;
    const MoePrograms *programs = (*lowered_out)->programs;
    if (!moe_scenario_is_collective(s) && !balanced)
        announce(moe_programs_messages(programs), moe_programs_count(programs), progress);
    g_autoptr(MoeTimes) times =
        moe_engine_run(s->topology, programs, &s->file.network, progress, error);
    if (times == NULL)
        return FALSE;
    *result_out = moe_result_new(s->topology, programs, times, error);
    return *result_out != NULL;
}

MoeRun *moe_run(const MoeScenario *scenario, MoeProgress *progress, GError **error)
{
    g_autoptr(MoeRun) run = g_new0(MoeRun, 1);
    run->scenario = scenario;
    if (moe_scenario_is_collective(scenario)) {
        double messages, operations;
        moe_lower_collective_size(scenario, &messages, &operations);
        announce((gint64)messages, (gint64)operations, progress);
    }
    if (!simulate(scenario, FALSE, progress, &run->lowered, &run->result, error))
        return NULL;
    if (scenario->file.control == MOE_CONTROL_BALANCED && !moe_scenario_is_collective(scenario)) {
        moe_progress_again(progress, "simulating the balanced control");
        if (!simulate(scenario, TRUE, progress, &run->control_lowered, &run->control, error)) {
            g_prefix_error(error, "balanced control: ");
            return NULL;
        }
    }
    run->assumptions = list_assumptions(scenario, run->lowered);
    return g_steal_pointer(&run);
}

void moe_run_free(MoeRun *run)
{
    if (run == NULL)
        return;
    moe_lowered_free(run->lowered);
    moe_lowered_free(run->control_lowered);
    moe_result_free(run->result);
    moe_result_free(run->control);
    g_strfreev(run->assumptions);
    g_free(run);
}

double moe_run_imbalance(const MoeLowered *lowered, int layer)
{
    double largest = 0, means = 0;
    gint64 R = lowered->programs->n_ranks;
    for (guint i = 0; i < lowered->loads->len; i++) {
        const MoeBlockLoad *load = &g_array_index(lowered->loads, MoeBlockLoad, i);
        if (layer >= 0 && load->layer != layer)
            continue;
        gint64 most = 0, sum = 0;
        for (gint64 r = 0; r < R; r++) {
            most = MAX(most, load->received[r]);
            sum += load->received[r];
        }
        largest += (double)most;
        means += (double)sum / (double)R;
    }
    return means > 0 ? largest / means : 1;
}

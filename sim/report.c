#include "config.h"

#include "sim/report.h"

#include "sim/base/text.h"
#include "sim/collective.h"
#include "workloads/analyze.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const MoePhase main_phases[] = {MOE_PHASE_ATTENTION, MOE_PHASE_DISPATCH, MOE_PHASE_EXPERTS,
                                       MOE_PHASE_COMBINE};

static double layer_seconds(const MoeResult *result, int layer)
{
    double seconds = 0;
    for (int p = 0; p < MOE_PHASE_COUNT; p++)
        seconds += moe_result_phase_seconds(result, (MoePhase)p, layer);
    return seconds;
}

/* "2 x 8 h100-sxm". Free with g_free(). */
static char *list_gpus(const MoeScenario *s)
{
    GString *gpus = g_string_new(NULL);
    for (guint g = 0; g < s->topology->groups->len; g++) {
        const MoeGroup *group = &g_array_index(s->topology->groups, MoeGroup, g);
        g_string_append_printf(gpus, "%s%" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " %s",
                               g > 0 ? " + " : "", group->file.nodes, group->file.gpus_per_node,
                               group->gpu.name);
    }
    return g_string_free(gpus, FALSE);
}

/* The tokens of the first step, in both stacks of an encoder and a decoder. */
static gint64 tokens_per_step(const MoeRun *run)
{
    const GArray *loads = run->lowered->loads;
    gboolean seen[2] = {FALSE, FALSE};
    gint64 n = 0;
    for (guint i = 0; i < loads->len; i++) {
        const MoeBlockLoad *load = &g_array_index(loads, MoeBlockLoad, i);
        int stack = moe_model_stack(&run->scenario->model->shape, load->layer);
        for (gint64 r = 0; r < run->scenario->n_ranks && !seen[stack]; r++)
            n += load->homes[r];
        seen[stack] = TRUE;
    }
    return n;
}

static void add_head(const MoeRun *run, GString *text)
{
    const MoeScenario *s = run->scenario;
    char tokens[MOE_UNITS_TEXT];
    moe_units_format_count(tokens_per_step(run), tokens);
    static const char *const kinds[] = {"prefill", "decode", "all-to-alls alone"};
    g_autofree char *name = moe_text_printable(s->file.name, FALSE);
    g_autofree char *gpus = list_gpus(s);
    gboolean named = g_str_has_prefix(s->trace->router, s->trace->model); /* "synthetic zipf" */
    g_string_append_printf(
        text,
        "%s: %s, %s of %s tokens per step, EP %" G_GINT64_FORMAT " on %s (%s)\nrouting: %s%s%s\n",
        name, s->model->name, kinds[s->file.phase.kind], tokens, s->n_ranks, s->topology->file.name,
        gpus, named ? "" : s->trace->model, named ? "" : ", ", s->trace->router);
    g_autofree char *dropped = moe_trace_describe_dropped(s->trace);
    if (dropped != NULL)
        g_string_append_printf(text, "pairs dropped for capacity, and not sent: %s\n", dropped);
    g_string_append_c(text, '\n');
}

static void add_cell(GString *text, double seconds)
{
    g_string_append_printf(text, " %10.1f", seconds * 1e6);
}

/* One line: block @layer, -1 what is outside of the blocks, -2 the total. */
static void add_line(const MoeRun *run, int layer, GString *text)
{
    const MoeResult *result = run->result;
    double total = layer == -2 ? result->seconds : layer_seconds(result, layer), rest = total;
    if (layer >= 0)
        g_string_append_printf(text, "%6d", layer);
    else
        g_string_append_printf(text, "%6s", layer == -1 ? "head" : "total");
    for (size_t i = 0; i < G_N_ELEMENTS(main_phases); i++) {
        double seconds = moe_result_phase_seconds(result, main_phases[i], layer);
        add_cell(text, seconds);
        rest -= seconds;
    }
    add_cell(text, fmax(rest, 0));
    add_cell(text, total);
    gboolean routed =
        layer == -2 || (layer >= 0 && moe_model_has_experts(&run->scenario->model->shape, layer));
    if (routed)
        g_string_append_printf(text, " %9.2f",
                               moe_run_imbalance(run->lowered, layer == -2 ? -1 : layer));
    else
        g_string_append_printf(text, " %9s", "-");
    if (run->control != NULL) {
        double control = layer == -2 ? run->control->seconds : layer_seconds(run->control, layer);
        g_string_append_printf(text, " %+9.1f %%", control > 0 ? 100 * (total / control - 1) : 0);
    }
    g_string_append_c(text, '\n');
}

static void add_table(const MoeRun *run, GString *text)
{
    g_string_append_printf(text, "%6s %10s %10s %10s %10s %10s %10s %9s", "block", "attention",
                           "dispatch", "experts", "combine", "other", "total", "imbalance");
    g_string_append(text, run->control != NULL ? "  vs balanced\n" : "\n");
    g_string_append_printf(text, "%6s %10s %10s %10s %10s %10s %10s %9s\n", "", "us", "us", "us",
                           "us", "us", "us", "max/mean");
    for (int layer = 0; layer < run->scenario->model->shape.num_hidden_layers; layer++)
        add_line(run, layer, text);
    if (run->scenario->file.phase.kind != MOE_STEP_TRANSFER)
        add_line(run, -1, text);
    add_line(run, -2, text);
}

static gboolean is_group_limited(const MoeTrace *trace)
{
    return strstr(trace->router, " groups,") != NULL ||
           g_str_has_prefix(trace->router, "synthetic deepep,");
}

/* By how much the run is slower than its control, and in which phases and block. */
static void add_imbalance(const MoeRun *run, GString *text)
{
    char by[MOE_UNITS_TEXT];
    double excess = run->result->seconds - run->control->seconds;
    moe_units_format(fabs(excess), MOE_UNIT_TIME, by);
    g_string_append_printf(
        text, "\n%s than the same tokens under balanced routing%s by %s (%+.1f %%):",
        excess >= 0 ? "slower" : "faster",
        is_group_limited(run->scenario->trace) ? " (which has no group limit)" : "", by,
        100 * excess / run->control->seconds);
    const char *separator = "";
    gboolean hidden = FALSE;
    for (size_t i = 0; i < G_N_ELEMENTS(main_phases); i++) {
        double difference = moe_result_phase_seconds(run->result, main_phases[i], -2) -
                            moe_result_phase_seconds(run->control, main_phases[i], -2);
        if (fabs(difference) < 0.005 * fabs(excess))
            continue;
        moe_units_format(fabs(difference), MOE_UNIT_TIME, by);
        g_string_append_printf(text, "%s %s %s%s", separator, moe_phase_name(main_phases[i]),
                               difference < 0 ? "-" : "+", by);
        separator = ",";
        hidden = hidden || (main_phases[i] == MOE_PHASE_ATTENTION && difference < 0);
    }
    /* Ranks that wait less for the last one begin it earlier. */
    if (hidden)
        g_string_append(text, " (attention takes what it takes, but more of it passes while the "
                              "last ranks are in the phase before)");
    int worst = 0;
    double worst_excess = 0;
    for (int layer = 0; layer < run->scenario->model->shape.num_hidden_layers; layer++) {
        double here = layer_seconds(run->result, layer) - layer_seconds(run->control, layer);
        if (here > worst_excess) {
            worst = layer;
            worst_excess = here;
        }
    }
    moe_units_format(worst_excess, MOE_UNIT_TIME, by);
    if (excess > 0 && worst_excess > 0)
        g_string_append_printf(text, "; most in block %d (+%s)", worst, by);
    g_string_append_c(text, '\n');
}

/* Which link a phase waits for, or what else. */
static void add_limit(const MoeRun *run, const MoePhaseSummary *p, GString *text)
{
    static const double full = 1. / 3;
    double active = fmax(p->active, DBL_MIN), share = fmin(p->bound_seconds / active, 1);
    const MoeLink *link = moe_topology_link(run->scenario->topology, (guint32)p->link);
    char bytes[MOE_UNITS_TEXT];
    moe_units_format(p->link_seconds * link->bandwidth, MOE_UNIT_BYTES, bytes);
    if (share < full)
        g_string_append_printf(text, "  %s (%s: full for %.0f %%)",
                               p->seconds < full * active ? "waiting for the last rank"
                                                          : "latency and launch",
                               p->bound_kind, 100 * share);
    else
        g_string_append_printf(text, "  %s: full for %.0f %%; most: %s, %.0f %%, %s", p->bound_kind,
                               100 * share, link->name, 100 * fmin(p->link_seconds / active, 1),
                               bytes);
}

/* Per kind of phase: how long ranks take, and what limits them. */
static void add_phases(const MoeRun *run, GString *text)
{
    g_autoptr(GArray) summaries = moe_result_summaries(run->result, run->scenario->topology);
    g_string_append(text, "ranks' own durations in a block and step, waiting included");
    g_string_append(text, moe_scenario_is_collective(run->scenario)
                              ? ":\n"
                              : " (above: from the last rank's end of one phase to that of the "
                                "next):\n");
    g_string_append_printf(text, "%-10s %10s %10s %10s %10s %10s  %s\n", "phase", "mean", "p50",
                           "p90", "p99", "worst", "limited by");
    g_string_append_printf(text, "%-10s %10s %10s %10s %10s %10s\n", "", "us", "us", "us", "us",
                           "us");
    for (guint i = 0; i < summaries->len; i++) {
        const MoePhaseSummary *p = &g_array_index(summaries, MoePhaseSummary, i);
        if (p->worst <= 0)
            continue;
        g_string_append_printf(text, "%-10s", moe_phase_name(p->phase));
        const double values[] = {p->mean, p->p50, p->p90, p->p99, p->worst};
        for (size_t v = 0; v < G_N_ELEMENTS(values); v++)
            add_cell(text, values[v]);
        if (p->link >= 0)
            add_limit(run, p, text);
        g_string_append_c(text, '\n');
    }
    g_string_append(text,
                    "(full: the busiest link of each block, of the time from the first rank's "
                    "start to the last one's end; most: one link over all blocks)\n");
}

static void add_collective(const MoeRun *run, GString *text)
{
    const MoeScenario *s = run->scenario;
    MoeOperation operation = (MoeOperation)s->file.collective.operation;
    double bytes = s->file.collective.bytes, seconds = run->result->seconds;
    char size[MOE_UNITS_TEXT], time[MOE_UNITS_TEXT], rate[MOE_UNITS_TEXT], bus[MOE_UNITS_TEXT];
    g_autofree char *name = moe_text_printable(s->file.name, FALSE);
    g_autofree char *gpus = list_gpus(s);
    const char *protocol = run->lowered->protocol;
    gint64 messages = moe_programs_messages(run->lowered->programs);
    moe_units_format(bytes, MOE_UNIT_BYTES, size);
    g_string_append_printf(text,
                           "%s: %s of %s by %s%s%s, %" G_GINT64_FORMAT " GPU%s on %s (%s)\n\n",
                           name, moe_operation_names()[operation], size, run->lowered->algorithm,
                           protocol != NULL ? " " : "", protocol != NULL ? protocol : "",
                           s->n_ranks, s->n_ranks == 1 ? "" : "s", s->topology->file.name, gpus);
    moe_units_format(seconds, MOE_UNIT_TIME, time);
    moe_units_format(seconds > 0 ? bytes / seconds : 0, MOE_UNIT_RATE, rate);
    moe_units_format(seconds > 0 ? bytes / seconds * moe_operation_bus_factor(operation, s->n_ranks)
                                 : 0,
                     MOE_UNIT_RATE, bus);
    g_string_append_printf(text, "%12s  %16s  %14s  %8s  %10s\n", "time", "bytes / time",
                           "bus bandwidth", "rounds", "messages");
    g_string_append_printf(text, "%12s  %16s  %14s  %8u  %10" G_GINT64_FORMAT "\n\n", time, rate,
                           bus, run->lowered->programs->ranks[0].ops->len, messages);
}

/* What a reader must know in any case. */
static gboolean is_limit(const char *assumption)
{
    static const char *const limits[] = {"left out of", "not priced", "no constants for",
                                         "the weights do NOT fit"};
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++)
        if (g_str_has_prefix(assumption, limits[i]))
            return TRUE;
    return FALSE;
}

void moe_report(const MoeRun *run, gboolean verbose, GString *text)
{
    if (moe_scenario_is_collective(run->scenario)) {
        add_collective(run, text);
    } else {
        add_head(run, text);
        add_table(run, text);
        if (run->control != NULL)
            add_imbalance(run, text);
        else
            g_string_append_c(text, '\n');
    }
    add_phases(run, text);
    for (int i = 0; run->assumptions[i] != NULL; i++)
        if (is_limit(run->assumptions[i]))
            g_string_append_printf(text, "%s\n", run->assumptions[i]);
        else if (verbose)
            g_string_append_printf(text, "assumed: %s\n", run->assumptions[i]);
}

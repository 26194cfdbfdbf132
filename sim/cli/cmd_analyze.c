#include "config.h"

#include "sim/base/file.h"
#include "sim/base/units.h"
#include "sim/cli/cli.h"
#include "sim/placement.h"
#include "workloads/analyze.h"

typedef enum { FORMAT_TEXT, FORMAT_CSV } Format;

static const char *const formats[] = {"text", "csv", NULL};

/* What is printed of a trace; @drops: with the pairs that capacity refused. */
typedef struct {
    const MoeTrace *trace;
    gint64 first, last; /* tokens */
    const MoePlacement *placement;
    Format format;
    gboolean drops;
    GString *text;
} Table;

/* @dropped of @pairs of the block; of ranks the same. */
static void add_row(const Table *t, int layer, const char *of, const MoeLoad *load, gint64 pairs,
                    gint64 dropped)
{
    double share = pairs > 0 ? (double)dropped / (double)pairs : 0;
    if (t->format == FORMAT_CSV)
        g_string_append_printf(t->text,
                               "%d,%s,%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT
                               ",%.6g,%.6g,%.6g,%.6g,%.6g,%.6g",
                               layer, of, load->max, load->argmax, load->max_over_mean, load->cv,
                               load->gini, load->gini_floor, load->entropy, load->idle);
    else
        g_string_append_printf(t->text,
                               "%6d %-8s %9" G_GINT64_FORMAT " %7" G_GINT64_FORMAT
                               " %9.3f %7.3f %7.3f %7.3f %8.4f %6.3f",
                               layer, of, load->max, load->argmax, load->max_over_mean, load->cv,
                               load->gini, load->gini_floor, load->entropy, load->idle);
    if (t->drops && t->format == FORMAT_CSV)
        g_string_append_printf(t->text, ",%" G_GINT64_FORMAT ",%.6g", dropped, share);
    else if (t->drops)
        g_string_append_printf(t->text, " %9" G_GINT64_FORMAT " %6.1f %%", dropped, 100 * share);
    g_string_append_c(t->text, '\n');
}

static void add_header(const Table *t)
{
    if (t->format == FORMAT_CSV)
        g_string_append(
            t->text,
            "layer,of,max_pairs,fullest,max_over_mean,cv,gini,gini_by_chance,entropy,idle");
    else
        g_string_append_printf(t->text, "%6s %-8s %9s %7s %9s %7s %7s %7s %8s %6s", "block", "of",
                               "max pairs", "fullest", "max/mean", "CV", "Gini", "chance",
                               "entropy", "idle");
    if (t->drops && t->format == FORMAT_CSV)
        g_string_append(t->text, ",dropped,dropped_share");
    else if (t->drops)
        g_string_append_printf(t->text, " %9s %8s", "dropped", "of pairs");
    g_string_append_c(t->text, '\n');
}

static void analyze_layer(const Table *t, const MoeTraceLayer *layer)
{
    gint64 pairs, dropped;
    moe_trace_count_pairs(t->trace, layer, t->first, t->last, &pairs, &dropped);
    g_autofree gint64 *experts = g_new0(gint64, t->trace->n_experts);
    moe_trace_loads(t->trace, layer, t->first, t->last, NULL, experts);
    MoeLoad load = moe_load_statistics(experts, t->trace->n_experts);
    add_row(t, layer->layer, "experts", &load, pairs, dropped);
    if (t->placement == NULL)
        return;
    g_autofree gint64 *ranks = g_new0(gint64, t->placement->n_ranks);
    moe_trace_loads(t->trace, layer, t->first, t->last, t->placement->rank_of, ranks);
    load = moe_load_statistics(ranks, t->placement->n_ranks);
    add_row(t, layer->layer, "ranks", &load, pairs, dropped);
}

static gboolean analyze(const MoeCli *cli, int step, const MoePlacement *placement,
                        const MoeTrace *trace, Format format, GString *text, GError **error)
{
    if (step >= trace->n_steps)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--step: %d; the trace has %" G_GINT64_FORMAT " steps, counted from 0",
                        step, trace->n_steps);
    gint64 first = step >= 0 ? trace->steps[step] : 0;
    gint64 last = step >= 0 ? trace->steps[step + 1] : trace->n_tokens;
    char tokens[MOE_UNITS_TEXT];
    if (format == FORMAT_TEXT)
        g_string_append_printf(
            text,
            "%s: %s, %s\n%s token%s, top-%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
            " experts; chance: the Gini that even random routing would show\n\n",
            cli->argv[0], trace->model, trace->router, moe_units_format_count(last - first, tokens),
            last - first == 1 ? "" : "s", trace->top_k, trace->n_experts);
    g_autofree char *dropped = moe_trace_describe_dropped(trace);
    const Table table = {trace, first, last, placement, format, dropped != NULL, text};
    add_header(&table);
    for (int l = 0; l < trace->n_layers; l++)
        analyze_layer(&table, &trace->layers[l]);
    return TRUE;
}

static gboolean run(MoeCli *cli, GError **error)
{
    int ranks = MOE_CLI_UNSET, step = MOE_CLI_UNSET;
    gboolean force = FALSE;
    char *format_option = NULL, *output_option = NULL;
    const GOptionEntry entries[] = {
        {"ranks", 0, 0, G_OPTION_ARG_INT, &ranks,
         "Also load N ranks that hold the experts side by side", "N"},
        {"step", 0, 0, G_OPTION_ARG_INT, &step, "Only the tokens of step N (all)", "N"},
        {"format", 0, 0, G_OPTION_ARG_FILENAME, &format_option, "text (default) or csv", "FORMAT"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_option,
         "Write to FILE instead of standard output", "FILE"},
        {"force", 0, 0, G_OPTION_ARG_NONE, &force, "Replace an existing file", NULL},
        {NULL},
    };
    gboolean good = moe_cli_parse(cli, entries, 1, 1, error);
    g_autofree char *format_text = format_option, *output = output_option;
    int format = !good                 ? -1
                 : format_text == NULL ? FORMAT_TEXT
                                       : moe_cli_choice("format", format_text, formats, error);
    if (format < 0)
        return FALSE;
    if (!moe_cli_count("ranks", &ranks, 1, 65536, 0, error) ||
        !moe_cli_count("step", &step, 0, G_MAXINT, -1, error))
        return FALSE;
    g_autoptr(MoeTrace) trace = moe_trace_load(cli->argv[0], error);
    g_autoptr(MoePlacement) placement = NULL;
    if (trace == NULL)
        return FALSE;
    if (ranks > 0 && (placement = moe_placement_new(0, trace->n_experts, ranks, error)) == NULL)
        return FALSE;
    g_autoptr(GString) text = g_string_new(NULL);
    if (!analyze(cli, step, placement, trace, (Format)format, text, error))
        return FALSE;
    if (output != NULL)
        return moe_file_write(output, force, text->str, text->len, error);
    moe_cli_print(cli, "%s", text->str);
    return TRUE;
}

const MoeCommand moe_command_analyze = {
    .name = "analyze",
    .arguments = "TRACE",
    .summary = "Show how evenly a trace loads experts and ranks",
    .example = "moesim analyze sample.safetensors --ranks 8",
    .run = run,
};

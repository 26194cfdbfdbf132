#include "config.h"

#include "sim/cli/cli.h"

#include "sim/base/text.h"
#include "sim/base/units.h"
#include "workloads/analyze.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void indent_example(const char *example, GString *text)
{
    g_auto(GStrv) lines = g_strsplit(example, "\n", -1);
    g_string_append(text, "Example:\n");
    for (guint i = 0; lines[i] != NULL; i++)
        g_string_append_printf(text, "  %s\n", lines[i]);
}

/* GLib's own --help prints "…" as "?" where the locale is not UTF-8. */
static void print_help(GOptionContext *context)
{
    g_autofree char *text = g_option_context_get_help(context, TRUE, NULL);
    g_autoptr(GString) plain = g_string_new(text);
    g_string_replace(plain, "\xE2\x80\xA6", "...", 0);
    fputs(plain->str, stdout);
}

gboolean moe_cli_parse(MoeCli *cli, const GOptionEntry *entries, int least, int most,
                       GError **error)
{
    gboolean help = FALSE;
    const GOptionEntry common[] = {
        {"help", 'h', 0, G_OPTION_ARG_NONE, &help, "Print this and stop", NULL},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &cli->quiet, "Print nothing but errors", NULL},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &cli->verbose, "Print more", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(cli->command->arguments);
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_summary(context, cli->command->summary);
    g_autoptr(GString) example = g_string_new(NULL);
    indent_example(cli->command->example, example);
    g_option_context_set_description(context, example->str);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, common, NULL);
    g_autofree char *name = g_strconcat("moesim ", cli->command->name, NULL);
    g_set_prgname(name);
    g_autoptr(GError) inner = NULL;
    if (!g_option_context_parse(context, &cli->argc, &cli->argv, &inner))
        return moe_fail(error, MOE_ERROR_USAGE, "%s; see moesim %s --help", inner->message,
                        cli->command->name);
    if (help) {
        print_help(context);
        exit(EXIT_SUCCESS);
    }
    cli->argc--;
    cli->argv++;
    if (cli->argc > 0 && strcmp(cli->argv[0], "--") == 0) {
        cli->argc--;
        cli->argv++;
    }
    if (cli->argc < least || (most >= 0 && cli->argc > most))
        return moe_fail(error, MOE_ERROR_USAGE,
                        "%s %s; the arguments are: %s; see moesim %s --help",
                        cli->argc < least ? "too few" : "too many", "arguments",
                        cli->command->arguments, cli->command->name);
    return TRUE;
}

void moe_cli_print(const MoeCli *cli, const char *format, ...)
{
    if (cli->quiet)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *printable = moe_text_printable(text, TRUE);
    fputs(printable, stdout);
}

void moe_cli_print_trace(const MoeCli *cli, const MoeTrace *trace, const char *path)
{
    char tokens[MOE_UNITS_TEXT];
    gint64 sequences = (gint64)trace->sequence[trace->n_tokens - 1] + 1;
    moe_cli_print(cli,
                  "%s: %s token%s in %" G_GINT64_FORMAT
                  " sequence%s, %d block%s, top-%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                  " experts\n",
                  path, moe_units_format_count(trace->n_tokens, tokens),
                  trace->n_tokens == 1 ? "" : "s", sequences, sequences == 1 ? "" : "s",
                  trace->n_layers, trace->n_layers == 1 ? "" : "s", trace->top_k, trace->n_experts);
    g_autofree char *dropped = moe_trace_describe_dropped(trace);
    if (dropped != NULL)
        moe_cli_print(cli, "pairs dropped for capacity: %s\n", dropped);
}

MoeProgress *moe_cli_progress(const MoeCli *cli, const char *label, const char *unit)
{
    return cli->quiet ? NULL : moe_progress_new(label, unit);
}

MoeModel *moe_cli_load_model(const char *name, GError **error)
{
    g_autoptr(MoeModel) model = moe_model_load(name, NULL, error);
    if (model == NULL)
        return NULL;
    if (model->family == NULL) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: has shapes but no weights; routing needs a model folder", model->path);
        return NULL;
    }
    return g_steal_pointer(&model);
}

double moe_cli_peak_memory(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024;
}

int moe_cli_choice(const char *option, const char *text, const char *const *names, GError **error)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    const char *nearest = moe_nearest(text, names);
    g_autofree char *all = g_strjoinv(", ", (char **)names);
    if (nearest != NULL)
        moe_fail(error, MOE_ERROR_USAGE, "--%s: '%s' is not known; did you mean %s? (%s)", option,
                 text, nearest, all);
    else
        moe_fail(error, MOE_ERROR_USAGE, "--%s: '%s' is not known; write one of: %s", option, text,
                 all);
    return -1;
}

gboolean moe_cli_precision(const char *text, MoePrecision *out, GError **error)
{
    const char *names[MOE_PRECISION_COUNT + 1] = {NULL};
    for (int i = 0; i < MOE_PRECISION_COUNT; i++)
        names[i] = moe_precision_name((MoePrecision)i);
    int choice = text != NULL ? moe_cli_choice("precision", text, names, error) : 0;
    *out = (MoePrecision)MAX(choice, 0);
    return choice >= 0;
}

gboolean moe_cli_count(const char *option, int *value, int least, int most, int fallback,
                       GError **error)
{
    if (*value == MOE_CLI_UNSET)
        *value = fallback;
    else if (*value < least || *value > most)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--%s: %d is out of range; write a number from %d to %d", option, *value,
                        least, most);
    return TRUE;
}

gboolean moe_cli_set_threads(int threads, GError **error)
{
    if (!moe_cli_count("threads", &threads, 1, 1024, 0, error))
        return FALSE;
    if (threads > 0)
        omp_set_num_threads(threads);
    return TRUE;
}

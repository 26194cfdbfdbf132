#include "config.h"

#include "sim/base/csv.h"
#include "sim/base/file.h"
#include "sim/cli/cli.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

enum { N_FIGURES = 3 };
static const char *const figures[N_FIGURES + 1] = {"step", "load", "timeline", NULL};

/* What each reads of a run's folder. */
static const struct {
    const char *csv, *columns[8];
} sources[N_FIGURES] = {
    {"layers.csv", {"step", "layer", "phase", "seconds"}},
    {"experts.csv", {"layer", "expert", "rank", "pairs"}},
    {"ranks.csv", {"step", "layer", "phase", "rank", "start_s", "end_s"}},
};

/* Terminals: sized for a column of a two-column paper (84 mm). */
static const struct {
    const char *format, *terminal;
} formats[] = {
    {"pdf", "pdfcairo size 8.4cm,5.6cm font 'DejaVu Sans,6' linewidth 0.6"},
    {"svg", "svg size 504,336 dynamic font 'DejaVu Sans,9' linewidth 0.8 background '#ffffff'"},
    {"png", "pngcairo size 1680,1120 font 'DejaVu Sans,20' linewidth 2 background '#ffffff'"},
};

/* A string for gnuplot, in single quotes. */
static char *quote(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "'", -1);
    g_autofree char *joined = g_strjoinv("''", parts);
    return g_strconcat("'", joined, "'", NULL);
}

static gboolean gnuplot(const char *script, const char *definitions, GError **error)
{
    g_autofree char *found = g_find_program_in_path("gnuplot");
    if (found == NULL)
        return moe_fail(error, MOE_ERROR_FAILED,
                        "gnuplot is not installed; on Debian: apt-get install gnuplot-nox");
    char *argv[] = {found, "-e", (char *)definitions, (char *)script, NULL};
    g_autofree char *words = NULL;
    g_autoptr(GError) inner = NULL;
    int status;
    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &words,
                      &status, &inner) ||
        !g_spawn_check_wait_status(status, &inner)) {
        g_autofree char *name = g_path_get_basename(script);
        return moe_fail(error, MOE_ERROR_FAILED, "gnuplot failed on %s: %s", name,
                        words != NULL && *words != '\0' ? g_strstrip(words) : inner->message);
    }
    return TRUE;
}

typedef struct {
    const char *run, *output, *blocks;
} Plot;

/* Draws to a temporary name; the figure appears whole or not at all. */
static gboolean draw(const MoeCli *cli, const Plot *plot, const char *figure, size_t format,
                     GError **error)
{
    g_autofree char *name = g_strdup_printf("%s.%s", figure, formats[format].format);
    g_autofree char *target = g_build_filename(plot->output, name, NULL);
    g_autofree char *temporary = g_strdup_printf("%s.%d.tmp", target, (int)getpid());
    g_autofree char *script = g_strdup_printf("%s/plots/%s.gp", moe_data_dir(), figure);
    g_autofree char *run_quoted = quote(plot->run), *out_quoted = quote(temporary);
    g_autofree char *blocks_quoted = quote(plot->blocks);
    g_autofree char *definitions =
        g_strdup_printf("run=%s; blocks=%s; set terminal %s; set output %s", run_quoted,
                        blocks_quoted, formats[format].terminal, out_quoted);
    if (!gnuplot(script, definitions, error)) {
        g_unlink(temporary);
        return FALSE;
    }
    if (g_rename(temporary, target) != 0) {
        int code = errno;
        g_unlink(temporary);
        return moe_fail(error, MOE_ERROR_FAILED, "%s: cannot be written: %s", target,
                        g_strerror(code));
    }
    moe_cli_print(cli, "written: %s\n", target);
    return TRUE;
}

/* gnuplot's messages are about its scripts; ours are about the file. */
static gboolean check_source(const char *run, int figure, GError **error)
{
    g_autofree char *path = g_build_filename(run, sources[figure].csv, NULL);
    g_autoptr(MoeCsv) csv = moe_csv_open(path, sources[figure].columns, error);
    if (csv == NULL)
        return FALSE;
    guint rows = 0;
    g_autoptr(GError) inner = NULL;
    for (; moe_csv_next(csv, &inner); rows++) {
        double value;
        for (int c = 0; sources[figure].columns[c] != NULL; c++)
            if (strcmp(sources[figure].columns[c], "phase") != 0 &&
                !moe_csv_number(csv, c, -1e300, 1e300, &value, error))
                return FALSE;
    }
    if (inner != NULL) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return FALSE;
    }
    return rows > 0 ||
           moe_fail(error, MOE_ERROR_INPUT, "%s: no row follows the names of the columns", path);
}

static gboolean draw_all(const MoeCli *cli, const Plot *plot, const char *figure,
                         const char *const *names, GError **error)
{
    for (int f = 0; figures[f] != NULL; f++) {
        if (figure != NULL && strcmp(figure, figures[f]) != 0)
            continue;
        if (!check_source(plot->run, f, error))
            return FALSE;
        for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
            if (g_strv_contains(names, formats[i].format) && !draw(cli, plot, figures[f], i, error))
                return FALSE;
    }
    return TRUE;
}

static gboolean check_names(const char *const *names, GError **error)
{
    const char *known[G_N_ELEMENTS(formats) + 1] = {NULL};
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
        known[i] = formats[i].format;
    for (; *names != NULL; names++)
        if (moe_cli_choice("format", *names, known, error) < 0)
            return FALSE;
    return TRUE;
}

/* "3" or "0-7". */
static gboolean check_blocks(const char *text, GError **error)
{
    int first, last, end = 0;
    if ((sscanf(text, "%d-%d%n", &first, &last, &end) == 2 && text[end] == '\0' && first >= 0 &&
         last >= first) ||
        (sscanf(text, "%d%n", &first, &end) == 1 && text[end] == '\0' && first >= 0))
        return TRUE;
    return moe_fail(error, MOE_ERROR_USAGE, "--blocks: '%s' is not a range; write for example 0-3",
                    text);
}

static gboolean run(MoeCli *cli, GError **error)
{
    char *format_option = NULL, *output_option = NULL, *figure_option = NULL, *blocks_option = NULL;
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_option,
         "Write to the folder DIR (the run's own)", "DIR"},
        {"format", 0, 0, G_OPTION_ARG_STRING, &format_option,
         "Of pdf, svg, png, with commas between (pdf,svg,png)", "LIST"},
        {"figure", 0, 0, G_OPTION_ARG_STRING, &figure_option, "Only step, load or timeline",
         "NAME"},
        {"blocks", 0, 0, G_OPTION_ARG_STRING, &blocks_option, "Blocks of the timeline (0-3)",
         "A-B"},
        {NULL},
    };
    gboolean good = moe_cli_parse(cli, entries, 1, 1, error);
    g_autofree char *format = format_option, *output = output_option;
    g_autofree char *figure = figure_option, *blocks = blocks_option;
    if (!good || (figure != NULL && moe_cli_choice("figure", figure, figures, error) < 0) ||
        (blocks != NULL && !check_blocks(blocks, error)))
        return FALSE;
    g_auto(GStrv) names = g_strsplit(format != NULL ? format : "pdf,svg,png", ",", -1);
    if (!check_names((const char *const *)names, error))
        return FALSE;
    g_autofree char *json = g_build_filename(cli->argv[0], "run.json", NULL);
    if (!g_file_test(json, G_FILE_TEST_EXISTS))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: holds no run.json; give the folder that moesim run -o wrote",
                        cli->argv[0]);
    if (output != NULL && g_mkdir_with_parents(output, 0777) != 0)
        return moe_fail(error, MOE_ERROR_FAILED, "%s: cannot be created: %s", output,
                        g_strerror(errno));
    const Plot plot = {cli->argv[0], output != NULL ? output : cli->argv[0],
                       blocks != NULL ? blocks : "0-3"};
    return draw_all(cli, &plot, figure, (const char *const *)names, error);
}

const MoeCommand moe_command_plot = {
    .name = "plot",
    .arguments = "RUN",
    .summary = "Draw a run: where the time goes, expert load, GPU timeline",
    .example = "moesim plot runs/a --format pdf --figure timeline --blocks 0-1",
    .run = run,
};

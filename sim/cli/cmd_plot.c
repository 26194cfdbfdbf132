#include "config.h"

#include "sim/base/csv.h"
#include "sim/base/file.h"
#include "sim/base/preset.h"
#include "sim/cli/cli.h"
#include "sim/folder.h"
#include "topologies/read.h"
#include "topologies/summary.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { STEP, LOAD, TIMELINE, TRAFFIC, LINKS, N_FIGURES };
static const char *const figures[N_FIGURES + 1] = {"step",    "load",  "timeline",
                                                   "traffic", "links", NULL};

/* What each reads of a run's folder, and at which place: scripts count columns. Every value of the
 * column @inner has as many rows. */
static const struct {
    const char *csv, *columns[8];
    int places[8];
    const char *inner;
} sources[N_FIGURES] = {
    {"layers.csv", {"step", "layer", "phase", "seconds"}, {1, 2, 3, 6}, NULL},
    {"experts.csv", {"layer", "expert", "rank", "pairs"}, {1, 2, 3, 4}, "expert"},
    {"ranks.csv",
     {"step", "layer", "phase", "rank", "start_s", "end_s"},
     {1, 2, 3, 4, 5, 6},
     "rank"},
    {"pairs.csv", {"phase", "fabric", "from", "to", "ranks", "bytes"}, {1, 2, 3, 4, 5, 6}, NULL},
    {"links.csv",
     {"link", "fabric", "bandwidth_bytes_s", "bytes", "busy_share", "kind"},
     {1, 2, 3, 4, 5, 6},
     NULL},
};

enum { STEP_SECONDS = 3, TIMELINE_LAYER = 1 }; /* which column it is */

/* Columns that are numbers, and what a run can have there; of GPUs, what topologies may have. */
enum { MOST_GPUS = 1 << 16 };
static const struct {
    const char *column;
    gboolean whole;
    double least, most;
} numbers[] = {
    {"step", TRUE, 0, 1e6},
    {"layer", TRUE, -1, G_MAXUINT16},
    {"expert", TRUE, 0, G_MAXUINT16},
    {"rank", TRUE, 0, MOST_GPUS - 1},
    {"from", TRUE, 0, MOST_GPUS - 1},
    {"to", TRUE, 0, MOST_GPUS - 1},
    {"ranks", TRUE, 1, MOST_GPUS},
    {"pairs", TRUE, 0, 1e18},
    {"bytes", TRUE, 0, 1e18},
    {"seconds", FALSE, 0, MOE_FOLDER_LONGEST},
    {"start_s", FALSE, 0, MOE_FOLDER_LONGEST},
    {"end_s", FALSE, 0, MOE_FOLDER_LONGEST},
    {"bandwidth_bytes_s", FALSE, 0, 1e18},
    {"busy_share", FALSE, 0, 1},
};

/* Terminals: sized for a column of a two-column paper (84 mm). A whole file ends with @end. */
static const struct {
    const char *format, *terminal, *end;
} formats[] = {
    {"pdf", "pdfcairo size 8.4cm,5.6cm font 'DejaVu Sans,6' linewidth 0.6", "%%EOF"},
    {"svg", "svg size 504,336 dynamic font 'DejaVu Sans,9' linewidth 0.8 background '#ffffff'",
     "</svg>"},
    {"png", "pngcairo size 1680,1120 font 'DejaVu Sans,20' linewidth 2 background '#ffffff'",
     "IEND\xAE\x42\x60\x82"},
};

typedef struct {
    const char *run, *output;
    int first_block, last_block; /* of the timeline; -1: not asked for */
    gint64 rows[N_FIGURES];      /* that each table of the run has; -1: nobody knows */
    double seconds;              /* of the run; 0: nobody knows */
    const char *name;            /* of the figure's file; NULL: the figure's own */
    int script;                  /* a file with data and script; -1: the figure's script */
} Plot;

typedef struct {
    int in, out;
} Streams;

/* Runs in the child. */
static void prepare_gnuplot(gpointer data)
{
    const Streams *streams = data;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(streams->out, STDOUT_FILENO);
    if (streams->in >= 0) {
        lseek(streams->in, 0, SEEK_SET);
        dup2(streams->in, STDIN_FILENO);
    }
}

/* Draws to the file @out. gnuplot takes names that begin with '<', '|' or '~' for more than names: it
 * works in the run's folder and prints to what is open already, so that none reaches it. */
static gboolean gnuplot(const Plot *plot, const char *figure, const char *terminal, int out,
                        GError **error)
{
    g_autofree char *found = g_find_program_in_path("gnuplot");
    if (found == NULL)
        return moe_fail(error, MOE_ERROR_FAILED,
                        "gnuplot is not installed; on Debian: apt-get install gnuplot-nox");
    g_autofree char *blocks = plot->last_block < 0
                                  ? g_strdup("")
                                  : g_strdup_printf("%d-%d", plot->first_block, plot->last_block);
    g_autofree char *definitions =
        g_strdup_printf("run='.'; blocks='%s'; set terminal %s", blocks, terminal);
    g_autofree char *script = g_strdup_printf("%s/plots/%s.gp", moe_data_dir(), figure);
    char *argv[] = {found, "-d", "-e", definitions, plot->script >= 0 ? "-" : script, NULL};
    Streams streams = {plot->script, out};
    GSpawnFlags flags = plot->script >= 0 ? G_SPAWN_CHILD_INHERITS_STDIN : G_SPAWN_DEFAULT;
    g_autofree char *words = NULL;
    g_autoptr(GError) inner = NULL;
    int status;
    if (!g_spawn_sync(plot->run, argv, NULL, flags, prepare_gnuplot, &streams, NULL, &words,
                      &status, &inner) ||
        !g_spawn_check_wait_status(status, &inner))
        return moe_fail(error, MOE_ERROR_FAILED, "gnuplot failed on %s.gp: %s", figure,
                        words != NULL && *words != '\0' ? g_strstrip(words) : inner->message);
    return TRUE;
}

static gboolean is_whole(const char *drawing, size_t length, const char *end)
{
    size_t n = strlen(end);
    while (length > 0 && g_ascii_isspace(drawing[length - 1]))
        length--;
    return length > n && memcmp(drawing + length - n, end, n) == 0;
}

/* gnuplot does not notice that it cannot write: it draws to memory, and what is whole goes on. */
static gboolean draw_to(const Plot *plot, const char *figure, size_t format, const char *target,
                        MoeWriter *writer, GError **error)
{
    g_autoptr(GMappedFile) drawing = NULL;
    int fd = memfd_create("moesim-figure", MFD_CLOEXEC);
    if (fd < 0)
        return moe_fail(error, MOE_ERROR_FAILED, "%s: cannot be drawn: %s", target,
                        g_strerror(errno));
    gboolean good = gnuplot(plot, figure, formats[format].terminal, fd, error);
    if (good)
        drawing = g_mapped_file_new_from_fd(fd, FALSE, NULL);
    close(fd);
    if (!good)
        return FALSE;
    size_t length = drawing != NULL ? g_mapped_file_get_length(drawing) : 0;
    const char *bytes = drawing != NULL ? g_mapped_file_get_contents(drawing) : NULL;
    if (!is_whole(bytes, length, formats[format].end))
        return moe_fail(error, MOE_ERROR_FAILED,
                        "%s: cannot be written: gnuplot's drawing is cut short (memory or a limit "
                        "of the size of files)",
                        target);
    moe_writer_write(writer, bytes, length);
    return TRUE;
}

/* The figure appears whole or not at all. */
static gboolean draw(const MoeCli *cli, const Plot *plot, const char *figure, size_t format,
                     GError **error)
{
    g_autofree char *name =
        g_strdup_printf("%s.%s", plot->name != NULL ? plot->name : figure, formats[format].format);
    g_autofree char *target = g_build_filename(plot->output, name, NULL);
    g_autoptr(MoeWriter) writer = moe_writer_new(target, TRUE, error);
    if (writer == NULL || !draw_to(plot, figure, format, target, writer, error) ||
        !moe_writer_close(g_steal_pointer(&writer), error))
        return FALSE;
    moe_cli_print(cli, "written: %s\n", target);
    return TRUE;
}

/* The largest value and the sum of each column, and how many rows there are. */
typedef struct {
    double largest[8], sum[8];
    guint rows;
} Extent;

/* Cell @c of a row, if it is of a column that is a number. */
static gboolean read_number(const MoeCsv *csv, int c, const char *column, double *value_out,
                            GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (strcmp(column, numbers[i].column) != 0)
            continue;
        gint64 whole;
        if (!numbers[i].whole)
            return moe_csv_number(csv, c, numbers[i].least, numbers[i].most, value_out, error);
        if (!moe_csv_int(csv, c, (gint64)numbers[i].least, (gint64)numbers[i].most, &whole, error))
            return FALSE;
        *value_out = (double)whole;
    }
    return TRUE;
}

/* Phases and fabrics have names that the scripts know. */
static gboolean check_name(const MoeCsv *csv, int c, const char *column, GError **error)
{
    const char *text = moe_csv_text(csv, c);
    gboolean known = strcmp(column, "phase") != 0 && strcmp(column, "fabric") != 0;
    for (int p = 0; p < MOE_PHASE_COUNT && *column == 'p'; p++)
        known = known || strcmp(text, moe_phase_name((MoePhase)p)) == 0;
    for (int f = 0; f < MOE_FABRIC_COUNT && *column == 'f'; f++)
        known = known || strcmp(text, moe_fabric_name((MoeFabric)f)) == 0;
    return known || moe_csv_fail(csv, error,
                                 "%s: '%s' is none that a run has; run the scenario "
                                 "again",
                                 column, text);
}

static gboolean read_source(MoeCsv *csv, const char *const *columns, Extent *extent, GError **error)
{
    g_autoptr(GError) inner = NULL;
    for (; moe_csv_next(csv, &inner); extent->rows++) {
        for (int c = 0; columns[c] != NULL; c++) {
            double value = 0;
            if (!read_number(csv, c, columns[c], &value, error) ||
                !check_name(csv, c, columns[c], error))
                return FALSE;
            extent->sum[c] += value;
            extent->largest[c] = extent->rows == 0 ? value : MAX(extent->largest[c], value);
        }
    }
    if (inner == NULL)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&inner));
    return FALSE;
}

static gboolean check_places(const MoeCsv *csv, int figure, GError **error)
{
    for (int c = 0; sources[figure].columns[c] != NULL; c++)
        if (moe_csv_place(csv, c) != sources[figure].places[c])
            return moe_csv_fail(
                csv, error,
                "column '%s' is number %d; leave it where moesim run writes it, number %d",
                sources[figure].columns[c], moe_csv_place(csv, c), sources[figure].places[c]);
    return TRUE;
}

static gboolean check_blocks(const Plot *plot, double largest, GError **error)
{
    return plot->last_block <= largest ||
           moe_fail(error, MOE_ERROR_USAGE, "--blocks: %d-%d; the run has blocks 0 to %.0f",
                    plot->first_block, plot->last_block, largest);
}

/* gnuplot's messages are about its scripts; ours are about the file. */
static gboolean check_source(const Plot *plot, int figure, GError **error)
{
    const char *const *columns = sources[figure].columns;
    g_autofree char *path = g_build_filename(plot->run, sources[figure].csv, NULL);
    g_autoptr(MoeCsv) csv = moe_csv_open(path, columns, error);
    Extent extent = {0};
    if (csv == NULL || !check_places(csv, figure, error) ||
        !read_source(csv, columns, &extent, error))
        return FALSE;
    if (extent.rows == 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: no row follows the names of the columns",
                        path);
    if (!moe_csv_is_whole(csv))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: the file is cut short; run the scenario again",
                        path);
    if (plot->rows[figure] >= 0 && extent.rows != plot->rows[figure])
        return moe_csv_fail(csv, error,
                            "%u rows end here, and run.json has %" G_GINT64_FORMAT
                            "; run the scenario again",
                            extent.rows, plot->rows[figure]);
    if (figure == STEP && plot->seconds > 0 &&
        fabs(extent.sum[STEP_SECONDS] - plot->seconds) > 1e-6 * plot->seconds)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: the seconds add up to %.6g, and run.json has %.6g; run the scenario "
                        "again",
                        path, extent.sum[STEP_SECONDS], plot->seconds);
    for (int c = 0; columns[c] != NULL && sources[figure].inner != NULL; c++)
        if (strcmp(columns[c], sources[figure].inner) == 0 &&
            fmod(extent.rows, extent.largest[c] + 1) != 0)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: rows are missing or too many, %u for %.0f values of %s; run the "
                            "scenario again",
                            path, extent.rows, extent.largest[c] + 1, columns[c]);
    return figure != TIMELINE || check_blocks(plot, extent.largest[TIMELINE_LAYER], error);
}

/* Whether there is anything to draw: a collective alone has no experts, one GPU sends nothing. */
static gboolean has_source(const Plot *plot, int figure)
{
    if (plot->rows[figure] >= 0)
        return plot->rows[figure] > 0;
    g_autofree char *path = g_build_filename(plot->run, sources[figure].csv, NULL);
    if (figure != TRAFFIC)
        return figure != LOAD || g_file_test(path, G_FILE_TEST_EXISTS);
    g_autoptr(MoeCsv) csv = moe_csv_open(path, sources[figure].columns, NULL);
    return csv == NULL || moe_csv_next(csv, NULL);
}

static gboolean draw_all(const MoeCli *cli, const Plot *plot, const char *figure,
                         const char *const *names, GError **error)
{
    for (int f = 0; figures[f] != NULL; f++) {
        if (figure != NULL ? strcmp(figure, figures[f]) != 0 : !has_source(plot, f))
            continue;
        if (!check_source(plot, f, error))
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

/* The number that *@text begins with, which then is what follows; -1 when there is none. */
static int read_block(const char **text)
{
    char *end;
    gint64 block = g_ascii_isdigit(**text) ? g_ascii_strtoll(*text, &end, 10) : -1;
    if (block < 0 || block > G_MAXINT)
        return -1;
    *text = end;
    return (int)block;
}

/* "3" or "0-7". */
static gboolean read_blocks(const char *text, Plot *plot, GError **error)
{
    const char *at = text;
    plot->first_block = plot->last_block = read_block(&at);
    if (plot->first_block >= 0 && *at == '-') {
        at++;
        plot->last_block = read_block(&at);
    }
    if (plot->last_block >= plot->first_block && plot->first_block >= 0 && *at == '\0')
        return TRUE;
    return moe_fail(error, MOE_ERROR_USAGE, "--blocks: '%s' is not a range; write for example 0-3",
                    text);
}

/* What run.json says of the tables, where it does. */
static gboolean read_run(Plot *plot, GError **error)
{
    g_autofree char *path = g_build_filename(plot->run, "run.json", NULL);
    g_autoptr(MoeJson) json = moe_folder_load(plot->run, error);
    JsonObject *root = json != NULL ? moe_json_object(moe_json_root(json), path, error) : NULL;
    if (root == NULL || (!moe_json_is_null(root, "result") &&
                         !moe_folder_seconds(root, "result", path, &plot->seconds, error)))
        return FALSE;
    if (moe_json_is_null(root, "rows"))
        return TRUE;
    JsonObject *rows = moe_json_get_object(root, "rows", path, error);
    for (int f = 0; f < N_FIGURES && rows != NULL; f++) {
        plot->rows[f] = 0;
        if (!moe_json_is_null(rows, sources[f].csv) &&
            !moe_json_get_int(rows, sources[f].csv, 0, G_MAXINT64, path, &plot->rows[f], error))
            return FALSE;
    }
    return rows != NULL;
}

/* The topology as two blocks of data and the script that draws them, in a file without a name, so
 * that nothing can be left behind. -1 with MOE_ERROR_FAILED. */
static int write_topology(const MoeTopology *topology, GError **error)
{
    g_autoptr(GString) vertices = g_string_new(NULL);
    g_autoptr(GString) links = g_string_new(NULL);
    moe_topology_draw(topology, vertices, links);
    g_autofree char *path = g_strdup_printf("%s/plots/topology.gp", moe_data_dir());
    g_autofree char *script = NULL;
    size_t length;
    if (!moe_file_read(path, 1 << 20, &script, &length, error))
        return -1;
    int fd = memfd_create("moesim-plot", MFD_CLOEXEC);
    if (fd < 0 || dprintf(fd, "$vertices << END\n%sEND\n$links << END\n%sEND\n%s", vertices->str,
                          links->str, script) < 0) {
        moe_fail(error, MOE_ERROR_FAILED, "the drawing cannot be prepared: %s", g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static gboolean draw_topology(const MoeCli *cli, const char *output, int nodes,
                              const char *const *names, GError **error)
{
    g_autoptr(MoeTopology) topology = moe_topology_load(cli->argv[0], nodes, error);
    if (topology == NULL)
        return FALSE;
    g_autofree char *name = g_path_get_basename(cli->argv[0]);
    if (g_str_has_suffix(name, ".yaml"))
        name[strlen(name) - strlen(".yaml")] = '\0';
    Plot plot = {.run = ".",
                 .output = output != NULL ? output : ".",
                 .first_block = -1,
                 .last_block = -1,
                 .name = name,
                 .script = write_topology(topology, error)};
    gboolean good = plot.script >= 0;
    for (size_t i = 0; i < G_N_ELEMENTS(formats) && good; i++)
        if (g_strv_contains(names, formats[i].format))
            good = draw(cli, &plot, "topology", i, error);
    if (plot.script >= 0)
        close(plot.script);
    return good;
}

/* A folder is a run; a preset's name or a file is a topology. */
static gboolean is_topology(const char *what)
{
    g_auto(GStrv) presets = moe_preset_list("topologies/presets", ".yaml");
    return !g_file_test(what, G_FILE_TEST_IS_DIR) &&
           (g_strv_contains((const char *const *)presets, what) || g_str_has_suffix(what, ".yaml"));
}

static gboolean run(MoeCli *cli, GError **error)
{
    char *format_option = NULL, *output_option = NULL, *figure_option = NULL, *blocks_option = NULL;
    int nodes = MOE_CLI_UNSET;
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_option,
         "Write to the folder DIR (the run's own)", "DIR"},
        {"format", 0, 0, G_OPTION_ARG_FILENAME, &format_option,
         "Of pdf, svg, png, with commas between (pdf,svg,png)", "LIST"},
        {"figure", 0, 0, G_OPTION_ARG_FILENAME, &figure_option,
         "Only step, load, timeline, traffic or links", "NAME"},
        {"blocks", 0, 0, G_OPTION_ARG_FILENAME, &blocks_option,
         "Blocks of the timeline (the first four)", "A-B"},
        {"nodes", 0, 0, G_OPTION_ARG_INT, &nodes,
         "Nodes of a topology whose file does not say how many (2)", "N"},
        {NULL},
    };
    gboolean good = moe_cli_parse(cli, entries, 1, 1, error);
    g_autofree char *format = format_option, *output = output_option;
    g_autofree char *figure = figure_option, *blocks = blocks_option;
    if (!good || (figure != NULL && moe_cli_choice("figure", figure, figures, error) < 0))
        return FALSE;
    if (blocks != NULL && figure != NULL && strcmp(figure, figures[TIMELINE]) != 0)
        return moe_fail(error, MOE_ERROR_USAGE, "--blocks goes with the timeline, not with '%s'",
                        figure);
    Plot plot = {.run = cli->argv[0],
                 .output = output != NULL ? output : cli->argv[0],
                 .first_block = -1,
                 .last_block = -1,
                 .rows = {-1, -1, -1, -1, -1},
                 .script = -1};
    gboolean topology = is_topology(cli->argv[0]);
    if (topology && (figure != NULL || blocks != NULL))
        return moe_fail(error, MOE_ERROR_USAGE, "--%s goes with a run, not with a topology",
                        figure != NULL ? "figure" : "blocks");
    if (!topology && nodes != MOE_CLI_UNSET)
        return moe_fail(error, MOE_ERROR_USAGE, "--nodes goes with a topology, not with a run");
    if (!moe_cli_count("nodes", &nodes, 1, MOST_GPUS, 2, error))
        return FALSE;
    if (blocks != NULL && !read_blocks(blocks, &plot, error))
        return FALSE;
    if (format != NULL && *format == '\0')
        return moe_fail(error, MOE_ERROR_USAGE, "--format: is empty; write for example pdf,svg");
    g_auto(GStrv) names = g_strsplit(format != NULL ? format : "pdf,svg,png", ",", -1);
    if (!check_names((const char *const *)names, error) || (!topology && !read_run(&plot, error)) ||
        (output != NULL && !moe_folder_prepare(output, TRUE, error)))
        return FALSE;
    if (topology)
        return draw_topology(cli, output, nodes, (const char *const *)names, error);
    return draw_all(cli, &plot, figure, (const char *const *)names, error);
}

const MoeCommand moe_command_plot = {
    .name = "plot",
    .arguments = "WHAT",
    .summary = "Draw a run (where the time goes, loads, timeline, traffic, links) or a topology",
    .example = "moesim plot runs/a --format pdf --figure timeline --blocks 0-1\nmoesim plot h800 "
               "--nodes 4 --format svg",
    .run = run,
};

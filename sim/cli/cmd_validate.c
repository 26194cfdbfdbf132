#include "config.h"

#include "sim/base/preset.h"
#include "sim/cli/cli.h"
#include "sim/validate.h"

typedef struct {
    char *name;
    MoeVerdict counted;
} Line;

static void line_clear(gpointer data)
{
    g_free(((Line *)data)->name);
}

static gboolean validate(const MoeCli *cli, const char *name, const char *measured,
                         gboolean summary, GArray *lines, GError **error)
{
    g_autofree char *path = moe_preset_find(name, "sim/cases", ".yaml", "case", NULL, error);
    g_autoptr(MoePublished) published =
        path != NULL ? moe_published_load(path, measured, error) : NULL;
    if (published == NULL)
        return FALSE;
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, published->name, "rows");
    g_autoptr(MoeValidation) validation = moe_validate(published, progress, error);
    g_clear_pointer(&progress, moe_progress_free);
    if (validation == NULL)
        return FALSE;
    Line line = {g_strdup(published->name), validation->counted};
    g_array_append_val(lines, line);
    if (summary)
        return TRUE;
    g_autoptr(GString) text = g_string_new(NULL);
    moe_validation_report(validation, cli->verbose, text);
    moe_cli_print(cli, "%s\n", text->str);
    return TRUE;
}

static gboolean judge(const MoeCli *cli, const GArray *lines, GError **error)
{
    int width = 4;
    guint missed = 0, none = 0;
    for (guint i = 0; i < lines->len; i++)
        width = MAX(width, (int)g_utf8_strlen(g_array_index(lines, Line, i).name, -1));
    moe_cli_print(cli, "%-*s %8s %9s %9s\n", width, "case", "counted", "mean", "worst");
    for (guint i = 0; i < lines->len; i++) {
        const Line *line = &g_array_index(lines, Line, i);
        none += line->counted.n == 0 ? 1 : 0;
        missed += line->counted.within ? 0 : 1;
        if (line->counted.n == 0)
            moe_cli_print(cli, "%-*s %8u %9s %9s  NOT JUDGED\n", width, line->name, 0U, "-", "-");
        else
            moe_cli_print(cli, "%-*s %8u %7.1f %% %7.1f %%  %s\n", width, line->name,
                          line->counted.n, 100 * line->counted.mean, 100 * line->counted.worst,
                          line->counted.within ? "ok" : "MISSED");
    }
    if (missed > 0)
        return moe_fail(error, MOE_ERROR_FAILED, "%u of %u cases %s", missed, lines->len,
                        missed == 1 ? "misses its bounds" : "miss their bounds");
    if (none > 0)
        return moe_fail(error, MOE_ERROR_FAILED,
                        "%u of %u cases %s no row with a figure that is counted", none, lines->len,
                        none == 1 ? "has" : "have");
    return TRUE;
}

static gboolean run(MoeCli *cli, GError **error)
{
    char *measured_option = NULL;
    gboolean summary = FALSE;
    const GOptionEntry entries[] = {
        {"measured", 0, 0, G_OPTION_ARG_FILENAME, &measured_option,
         "Take the rows of another CSV with the columns of CASE, and judge them all", "FILE"},
        {"summary", 0, 0, G_OPTION_ARG_NONE, &summary, "Print one line per case, no rows", NULL},
        {NULL},
    };
    gboolean good = moe_cli_parse(cli, entries, 0, -1, error);
    g_autofree char *measured = measured_option;
    if (!good)
        return FALSE;
    if (measured != NULL && cli->argc != 1)
        return moe_fail(error, MOE_ERROR_USAGE, "--measured goes with one case; name it");
    g_auto(GStrv) all = moe_preset_list("sim/cases", ".yaml");
    char **names = cli->argc > 0 ? cli->argv : all;
    g_autoptr(GArray) lines = g_array_new(FALSE, FALSE, sizeof(Line));
    g_array_set_clear_func(lines, line_clear);
    for (int i = 0; cli->argc > 0 ? i < cli->argc : names[i] != NULL; i++)
        if (!validate(cli, names[i], measured, summary, lines, error))
            return FALSE;
    return judge(cli, lines, error);
}

const MoeCommand moe_command_validate = {
    .name = "validate",
    .arguments = "[CASE...]",
    .summary = "Compare published measurements with what is simulated for them",
    .example = "moesim validate --summary\nmoesim validate deepep-normal --measured mine.csv",
    .run = run,
};

#include "config.h"

#include "sim/base/file.h"
#include "sim/base/preset.h"
#include "sim/cli/cli.h"
#include "sim/folder.h"
#include "sim/report.h"

static gboolean simulate(const MoeCli *cli, const char *const *set, const char *output,
                         gboolean force, GError **error)
{
    g_autofree char *path =
        moe_preset_find(cli->argv[0], "sim/presets", ".yaml", "scenario", NULL, error);
    if (path == NULL)
        return FALSE;
    g_autoptr(MoeProgress) loading = moe_cli_progress(cli, "routing", NULL);
    g_autoptr(MoeScenario) scenario = moe_scenario_load(path, set, loading, error);
    g_clear_pointer(&loading, moe_progress_free);
    if (scenario == NULL || (output != NULL && !moe_folder_prepare(output, force, error)))
        return FALSE;
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, "simulating", NULL);
    g_autoptr(MoeRun) result = moe_run(scenario, progress, error);
    g_clear_pointer(&progress, moe_progress_free);
    if (result == NULL)
        return FALSE;
    g_autoptr(GString) text = g_string_new(NULL);
    moe_report(result, cli->verbose, text);
    moe_cli_print(cli, "%s", text->str);
    if (output == NULL)
        return TRUE;
    if (!moe_folder_write(result, output, force, error))
        return FALSE;
    moe_cli_print(cli, "written: %s (moesim plot %s draws it)\n", output, output);
    return TRUE;
}

static gboolean run(MoeCli *cli, GError **error)
{
    char *output_option = NULL, **set_option = NULL;
    gboolean force = FALSE;
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_option, "Write the run to the folder DIR",
         "DIR"},
        {"set", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &set_option,
         "Override a key of the scenario (moesim show --keys scenario)", "KEY=VALUE"},
        {"force", 0, 0, G_OPTION_ARG_NONE, &force, "Write into a folder that is not empty", NULL},
        {NULL},
    };
    gboolean good = moe_cli_parse(cli, entries, 1, 1, error);
    g_autofree char *output = output_option;
    g_auto(GStrv) set = set_option;
    return good && simulate(cli, (const char *const *)set, output, force, error);
}

const MoeCommand moe_command_run = {
    .name = "run",
    .arguments = "SCENARIO",
    .summary = "Simulate a scenario",
    .example = "moesim run scenario.yaml -o runs/a --set plan.expert=64 --set topology.nodes=8",
    .run = run,
};

#include "config.h"

#include "models/model.h"
#include "sim/cli/cli.h"
#include "workloads/import.h"

#include <string.h>

typedef struct {
    char *output, *model;
    char **weights, **lengths;
    int experts, hidden, layers, top_k, first_layer;
    gboolean force;
} Options;

static void options_clear(Options *o)
{
    g_free(o->output);
    g_free(o->model);
    g_strfreev(o->weights);
    g_strfreev(o->lengths);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static gboolean check_files(const MoeCli *cli, const Options *o, GError **error)
{
    guint n = (guint)cli->argc, n_csv = 0;
    for (int i = 0; i < cli->argc; i++)
        n_csv += g_str_has_suffix(cli->argv[i], ".csv") ? 1 : 0;
    if (n_csv > 0 && n > 1)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "give one .csv file, or .npy, .npz, .jsonl or .safetensors files");
    if (n_csv > 0 && (o->weights != NULL || o->lengths != NULL))
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--weights and --lengths go with arrays; a .csv file has columns for them");
    guint n_weights = o->weights != NULL ? g_strv_length(o->weights) : n;
    guint n_lengths = o->lengths != NULL ? g_strv_length(o->lengths) : n;
    if (n_weights != n || n_lengths != n)
        return moe_fail(
            error, MOE_ERROR_USAGE, "%u --%s for %u files of expert ids; give one each, in order",
            n_weights != n ? n_weights : n_lengths, n_weights != n ? "weights" : "lengths", n);
    return TRUE;
}

/* @model: of --model, or NULL. */
static gboolean fill_import(Options *o, const MoeModel *model, MoeImport *import, GError **error)
{
    const MoeModelShape none = {0}, *shape = model != NULL ? &model->shape : &none;
    if (!moe_cli_count("experts", &o->experts, 1, MOE_TRACE_MOST_EXPERTS, (int)shape->num_experts,
                       error) ||
        !moe_cli_count("hidden", &o->hidden, 1, 1 << 20, (int)shape->hidden_size, error) ||
        !moe_cli_count("layers", &o->layers, 1, MOE_TRACE_MOST_LAYERS, 0, error) ||
        !moe_cli_count("top-k", &o->top_k, 1, MOE_TRACE_MOST_K, (int)shape->num_experts_per_tok,
                       error) ||
        !moe_cli_count("first-layer", &o->first_layer, 0, MOE_TRACE_MOST_LAYERS - 1, -1, error))
        return FALSE;
    *import = (MoeImport){
        .model = model != NULL ? model->name : "unknown",
        .shape = model != NULL ? shape : NULL,
        .n_experts = o->experts,
        .hidden_size = o->hidden,
        .top_k = o->top_k,
        .n_layers = o->layers,
        .first_layer = o->first_layer,
    };
    return TRUE;
}

static gboolean import_files(const MoeCli *cli, Options *o, GError **error)
{
    MoeImport import;
    if (!check_files(cli, o, error))
        return FALSE;
    g_autoptr(MoeModel) model = o->model != NULL ? moe_model_load(o->model, NULL, error) : NULL;
    if ((o->model != NULL && (model == NULL || !moe_model_need_experts(model, error))) ||
        !fill_import(o, model, &import, error))
        return FALSE;
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, "importing", NULL);
    g_autoptr(MoeTrace) trace =
        g_str_has_suffix(cli->argv[0], ".csv")
            ? moe_import_csv(cli->argv[0], &import, progress, error)
            : moe_import_arrays((const char *const *)cli->argv, (const char *const *)o->weights,
                                (const char *const *)o->lengths, &import, progress, error);
    g_clear_pointer(&progress, moe_progress_free);
    if (trace == NULL || !moe_trace_save(trace, o->output, o->force, error))
        return FALSE;
    moe_cli_print_trace(cli, trace, o->output);
    return TRUE;
}

static gboolean run(MoeCli *cli, GError **error)
{
    g_auto(Options) o = {.experts = MOE_CLI_UNSET,
                         .hidden = MOE_CLI_UNSET,
                         .layers = MOE_CLI_UNSET,
                         .top_k = MOE_CLI_UNSET,
                         .first_layer = MOE_CLI_UNSET};
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &o.output, "Write the trace to FILE (required)",
         "FILE"},
        {"weights", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o.weights,
         "The pairs' weights, .npy or .npz of the same shapes; one per file of expert ids", "FILE"},
        {"lengths", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o.lengths,
         "The sequences' lengths: 64,63,..., a file, or FILE.json:KEY.KEY; one per file of expert "
         "ids",
         "LENGTHS"},
        {"model", 0, 0, G_OPTION_ARG_FILENAME, &o.model,
         "The model that routed; fills in and checks its shapes", "NAME"},
        {"experts", 0, 0, G_OPTION_ARG_INT, &o.experts,
         "Experts per block (the model's, or the largest id + 1)", "N"},
        {"hidden", 0, 0, G_OPTION_ARG_INT, &o.hidden, "Hidden size (the model's)", "N"},
        {"layers", 0, 0, G_OPTION_ARG_INT, &o.layers,
         "Layers of each token where SGLang's .jsonl does not say (all the model's blocks)", "N"},
        {"top-k", 0, 0, G_OPTION_ARG_INT, &o.top_k, "Experts per token (the model's)", "N"},
        {"first-layer", 0, 0, G_OPTION_ARG_INT, &o.first_layer,
         "Block that the file's first layer is (the model's first with experts; as the file says, "
         "or 0)",
         "N"},
        {"force", 0, 0, G_OPTION_ARG_NONE, &o.force, "Replace an existing file", NULL},
        {NULL},
    };
    if (!moe_cli_parse(cli, entries, 1, -1, error))
        return FALSE;
    if (o.output == NULL)
        return moe_fail(error, MOE_ERROR_USAGE, "-o FILE is missing; see moesim import --help");
    return import_files(cli, &o, error);
}

const MoeCommand moe_command_import = {
    .name = "import",
    .arguments = "FILE...",
    .summary = "Turn routing that another program recorded into a trace",
    .example = "moesim import law.expert_ids.npy --lengths meta.json:sets.law.sequence_lengths "
               "--model deepseek-v2-lite -o law.safetensors\n"
               "moesim import routing.csv --experts 64 -o routing.safetensors\n"
               "moesim import responses.jsonl --model olmoe-tiny -o served.safetensors",
    .run = run,
};

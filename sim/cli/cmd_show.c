#include "config.h"

#include "models/family.h"
#include "sim/alltoall.h"
#include "sim/base/preset.h"
#include "sim/base/text.h"
#include "sim/base/yaml.h"
#include "sim/cli/cli.h"
#include "sim/cli/show.h"
#include "sim/collective.h"
#include "sim/folder.h"
#include "sim/published.h"
#include "sim/scenario.h"
#include "topologies/read.h"
#include "workloads/analyze.h"
#include "workloads/synth.h"

#include <stdio.h>
#include <string.h>

/* One kind of thing that can be shown: how to add its lines. */
typedef struct {
    const char *name;
    const MoeField *fields;                                            /* for --keys; NULL: none */
    gboolean (*show)(const char *path, GString *text, GError **error); /* NULL: see run() */
} Kind;

void moe_show_line(GString *text, const char *name, const char *format, ...)
{
    g_string_append_printf(text, "  %-22s ", name);
    va_list args;
    va_start(args, format);
    g_autofree char *value = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *printable = moe_text_printable(value, FALSE);
    g_string_append_printf(text, "%s\n", printable);
}

/* --- model ----------------------------------------------------------------------------------- */

static void add_attention(const MoeModelShape *s, GString *text)
{
    if (s->attention == MOE_ATTENTION_GQA)
        moe_show_line(text, "attention",
                      "%" G_GINT64_FORMAT " heads of %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
                      " key/value heads",
                      s->num_attention_heads, s->head_dim, s->num_key_value_heads);
    else
        moe_show_line(text, "attention",
                      "latent: %" G_GINT64_FORMAT " heads of %" G_GINT64_FORMAT
                      " + %" G_GINT64_FORMAT " (rope), values of %" G_GINT64_FORMAT
                      ", cache of %" G_GINT64_FORMAT " + %" G_GINT64_FORMAT,
                      s->num_attention_heads, s->qk_nope_head_dim, s->qk_rope_head_dim,
                      s->v_head_dim, s->kv_lora_rank, s->qk_rope_head_dim);
}

static gboolean show_model(const char *path, GString *text, GError **error)
{
    g_autoptr(MoeModel) model = moe_model_load(path, NULL, error);
    if (model == NULL)
        return FALSE;
    const MoeModelShape *s = &model->shape;
    char all[MOE_UNITS_TEXT], active[MOE_UNITS_TEXT], count[MOE_UNITS_TEXT];
    g_string_append_printf(text, "model %s\n", model->name);
    moe_show_line(text, "family", "%s",
                  model->family != NULL ? model->family->title : "shapes only, cannot be traced");
    moe_show_line(text, "hidden size", "%" G_GINT64_FORMAT, s->hidden_size);
    moe_show_line(text, "blocks", "%" G_GINT64_FORMAT ", of them %" G_GINT64_FORMAT " dense",
                  s->num_hidden_layers, s->num_hidden_layers - moe_model_moe_layers(s));
    if (s->encoder_layers > 0)
        moe_show_line(text, "stacks",
                      "encoder of %" G_GINT64_FORMAT " blocks, decoder of %" G_GINT64_FORMAT,
                      s->encoder_layers, s->num_hidden_layers - s->encoder_layers);
    add_attention(s, text);
    if (s->num_experts == 0)
        moe_show_line(text, "feed-forward width", "%" G_GINT64_FORMAT, s->intermediate_size);
    else
        moe_show_line(text, "experts",
                      "%" G_GINT64_FORMAT " of width %" G_GINT64_FORMAT ", top-%" G_GINT64_FORMAT,
                      s->num_experts, s->moe_intermediate_size, s->num_experts_per_tok);
    if (s->shared_expert_intermediate_size > 0)
        moe_show_line(text, "shared experts", "of width %" G_GINT64_FORMAT " in all",
                      s->shared_expert_intermediate_size);
    if (model->family != NULL && s->num_experts > 0) {
        g_autofree char *router = moe_family_describe_router(model);
        moe_show_line(text, "router", "%s", router);
    }
    moe_show_line(text, "vocabulary", "%s%s", moe_units_format_count(s->vocab_size, count),
                  s->tie_word_embeddings ? ", tied" : "");
    moe_show_line(text, "context", "%s tokens",
                  moe_units_format_count(s->max_position_embeddings, count));
    moe_show_line(text, "weights", "%s", moe_dtype_name((MoeDtype)s->dtype));
    gint64 embedding = s->tie_word_embeddings ? 0 : s->vocab_size * s->hidden_size;
    moe_show_line(text, "parameters", "%s, active per token %s",
                  moe_units_format_count(moe_model_parameters(s), all),
                  moe_units_format_count(moe_model_active_parameters(s), active));
    moe_show_line(text, "", "(%s with the embedding table, which some publishers count)",
                  moe_units_format_count(moe_model_active_parameters(s) + embedding, active));
    if (model->source != NULL)
        moe_show_line(text, "source", "%s", model->source);
    return TRUE;
}

/* --- trace, scenario, run -------------------------------------------------------------------- */

static gboolean show_trace(const char *path, GString *text, GError **error)
{
    g_autoptr(MoeTrace) trace = moe_trace_load(path, error);
    if (trace == NULL)
        return FALSE;
    char tokens[MOE_UNITS_TEXT];
    const MoeTraceLayer *first = &trace->layers[0];
    g_string_append_printf(text, "trace %s\n", path);
    moe_show_line(text, "model", "%s", trace->model);
    moe_show_line(text, "weights", "%s",
                  trace->weights[0] != '\0' ? trace->weights : "not traced by moesim");
    moe_show_line(text, "router", "%s", trace->router);
    if (trace->precision != NULL)
        moe_show_line(text, "products", "in %s", trace->precision);
    moe_show_line(text, "workload", "%s", trace->workload);
    gint64 sequences = (gint64)trace->sequence[trace->n_tokens - 1] + 1;
    moe_show_line(text, "tokens",
                  "%s in %" G_GINT64_FORMAT " sequence%s, %" G_GINT64_FORMAT " step%s",
                  moe_units_format_count(trace->n_tokens, tokens), sequences,
                  sequences == 1 ? "" : "s", trace->n_steps, trace->n_steps == 1 ? "" : "s");
    moe_show_line(text, "blocks", "%d, the first is %d", trace->n_layers, first->layer);
    if (trace->encoder_layers > 0)
        moe_show_line(text, "stacks",
                      "blocks below %" G_GINT64_FORMAT
                      " an encoder's, which reads every other sequence",
                      trace->encoder_layers);
    moe_show_line(text, "experts", "%" G_GINT64_FORMAT ", top-%" G_GINT64_FORMAT "%s",
                  trace->n_experts, trace->top_k, first->offsets != NULL ? " at most" : "");
    moe_show_line(text, "pairs' weights", "%s",
                  first->weights != NULL ? moe_dtype_name(first->weights_dtype) : "none");
    g_autofree char *dropped = moe_trace_describe_dropped(trace);
    if (dropped != NULL)
        moe_show_line(text, "dropped for capacity", "%s", dropped);
    moe_show_line(text, "written by", "moesim %s", trace->version);
    return TRUE;
}

static gboolean is_file_in(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void add_keys(const char *path, const MoeField *fields, const MoeScenarioFile *file,
                     GString *text)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    moe_fields_to_json(fields, file, builder);
    json_builder_end_object(builder);
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    g_autofree char *json = moe_json_print(root);
    g_string_append_printf(text, "scenario %s, every key with its value:\n%s", path, json);
}

/* The trace that the scenario @root names and that is not there; NULL: all is. */
static const char *missing_trace(const MoeNode *root, const char *path)
{
    const MoeNode *routing = moe_node_get(root, "routing");
    if (routing == NULL || routing->kind != MOE_NODE_SCALAR)
        return NULL;
    g_autofree char *folder = g_path_get_dirname(path);
    const char *base = g_path_is_absolute(routing->text) ? "/" : folder;
    return is_file_in(base, routing->text) ? NULL : routing->text;
}

static gboolean show_scenario(const char *name, GString *text, GError **error)
{
    g_autofree char *path = moe_preset_find(name, "sim/presets", ".yaml", "scenario", NULL, error);
    g_autoptr(MoeNode) root = path != NULL ? moe_yaml_load(path, error) : NULL;
    if (root == NULL)
        return FALSE;
    const char *missing = missing_trace(root, path);
    if (missing != NULL) {
        MoeScenarioFile file = {0};
        if (!moe_fields_read(moe_scenario_fields, root, path, &file, error))
            return FALSE;
        add_keys(path, moe_scenario_fields, &file, text);
        moe_fields_clear(moe_scenario_fields, &file);
        moe_show_line(text, "routing", "%s is not there; run it with --set routing=TRACE", missing);
        return TRUE;
    }
    g_autoptr(MoeScenario) s = moe_scenario_load(path, NULL, NULL, error);
    if (s == NULL)
        return FALSE;
    add_keys(path, s->fields, &s->file, text);
    if (s->model != NULL)
        moe_show_line(text, "model", "%s", s->model->path);
    if (s->trace != NULL)
        moe_show_line(text, "routing", "%s",
                      s->trace_path != NULL ? s->trace_path : s->trace->router);
    moe_show_line(text, "topology", "%s, %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " GPUs",
                  s->topology->file.name, s->n_ranks, s->topology->n_gpus);
    return TRUE;
}

static gboolean add_control(JsonObject *root, const char *file, double seconds, GString *text,
                            GError **error)
{
    if (!json_object_has_member(root, "control"))
        return TRUE;
    double balanced;
    if (!moe_folder_seconds(root, "control", file, &balanced, error))
        return FALSE;
    char buffer[MOE_UNITS_TEXT];
    moe_show_line(text, "under balanced routing", "%s (%+.1f %%)",
                  moe_units_format(balanced, MOE_UNIT_TIME, buffer),
                  100 * (seconds / balanced - 1));
    return TRUE;
}

static gboolean add_phases(JsonObject *phases, const char *file, double seconds, GString *text,
                           GError **error)
{
    JsonObjectIter iter;
    const char *phase;
    char buffer[MOE_UNITS_TEXT];
    json_object_iter_init_ordered(&iter, phases);
    while (json_object_iter_next_ordered(&iter, &phase, NULL)) {
        double value;
        if (!moe_json_get_double(phases, phase, 0, MOE_FOLDER_LONGEST, file, &value, error))
            return FALSE;
        if (value > 0)
            moe_show_line(text, phase, "%s (%.1f %%)",
                          moe_units_format(value, MOE_UNIT_TIME, buffer), 100 * value / seconds);
    }
    return TRUE;
}

static gboolean show_run(const char *path, GString *text, GError **error)
{
    g_autofree char *file = g_build_filename(path, "run.json", NULL);
    g_autoptr(MoeJson) json = moe_folder_load(path, error);
    JsonObject *root = json != NULL ? moe_json_object(moe_json_root(json), file, error) : NULL;
    JsonObject *scenario = root != NULL ? moe_json_get_object(root, "scenario", file, error) : NULL;
    JsonObject *result = scenario != NULL ? moe_json_get_object(root, "result", file, error) : NULL;
    JsonObject *phases =
        result != NULL ? moe_json_get_object(result, "phase_seconds", file, error) : NULL;
    const char *name = phases != NULL ? moe_json_get_string(scenario, "name", file, error) : NULL;
    double seconds, imbalance;
    if (name == NULL || !moe_folder_seconds(root, "result", file, &seconds, error) ||
        !moe_json_get_double(result, "max_over_mean", 0, G_MAXUINT16, file, &imbalance, error))
        return FALSE;
    char buffer[MOE_UNITS_TEXT];
    g_autofree char *printable = moe_text_printable(name, FALSE);
    g_string_append_printf(text, "run %s of scenario %s\n", path, printable);
    moe_show_line(text, "time", "%s", moe_units_format(seconds, MOE_UNIT_TIME, buffer));
    if (!add_control(root, file, seconds, text, error))
        return FALSE;
    if (!json_object_has_member(scenario, "collective"))
        moe_show_line(text, "imbalance (max/mean)", "%.3f", imbalance);
    return add_phases(phases, file, seconds, text, error);
}

/* --- what is it? ----------------------------------------------------------------------------- */

enum { MODEL, TOPOLOGY, KERNELS, GPU, SCENARIO, COLLECTIVE, SYNTHETIC, CASE, TRACE, RUN, N_KINDS };

static const Kind kinds[N_KINDS] = {
    [MODEL] = {"model", moe_model_fields, show_model},
    [TOPOLOGY] = {"topology", moe_topology_fields, NULL},
    [KERNELS] = {"kernels", moe_kernel_fields, NULL},
    [GPU] = {"gpu", moe_gpu_fields, moe_show_gpu},
    [SCENARIO] = {"scenario", moe_scenario_fields, show_scenario},
    [COLLECTIVE] = {"collective", moe_collective_fields, NULL},
    [SYNTHETIC] = {"synthetic", moe_synth_fields, NULL},
    [CASE] = {"case", moe_published_fields, NULL},
    [TRACE] = {"trace", NULL, show_trace},
    [RUN] = {"run", NULL, show_run},
};

/* YAML files tell by their keys. */
static int kind_of_yaml(const char *path, GError **error)
{
    g_autoptr(MoeNode) root = moe_yaml_load(path, error);
    if (root == NULL)
        return -1;
    if (moe_node_get(root, "routing") != NULL || moe_node_get(root, "collective") != NULL)
        return SCENARIO;
    if (moe_node_get(root, "peak") != NULL)
        return GPU;
    return moe_node_get(root, "hidden_size") != NULL ? MODEL : TOPOLOGY;
}

/* Whatever a trace is called: the length of a header, which no text is like, and that header. */
static gboolean is_safetensors(const char *path)
{
    char begin[9] = "";
    FILE *file = fopen(path, "rb");
    size_t n = file != NULL ? fread(begin, 1, sizeof(begin), file) : 0;
    if (file != NULL)
        fclose(file);
    return n == sizeof(begin) && begin[7] == '\0' && begin[8] == '{';
}

static int kind_of(const char *name, GError **error)
{
    static const struct {
        const char *folder, *suffix;
        int kind;
    } presets[] = {
        {"models/presets", "", MODEL},
        {"topologies/presets", ".yaml", TOPOLOGY},
        {"topologies/presets/gpus", ".yaml", GPU},
        {"sim/presets", ".yaml", SCENARIO},
    };
    /* As moe_preset_find() has it. */
    gboolean plain = strchr(name, '/') == NULL &&
                     !(strchr(name, '.') != NULL && g_file_test(name, G_FILE_TEST_EXISTS));
    for (size_t i = 0; i < G_N_ELEMENTS(presets) && plain; i++) {
        g_auto(GStrv) names = moe_preset_list(presets[i].folder, presets[i].suffix);
        if (g_strv_contains((const char *const *)names, name))
            return presets[i].kind;
    }
    if (g_file_test(name, G_FILE_TEST_IS_DIR))
        return is_file_in(name, "run.json") ? RUN : MODEL;
    if (g_file_test(name, G_FILE_TEST_EXISTS) && !g_file_test(name, G_FILE_TEST_IS_REGULAR)) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: not a regular file", name);
        return -1;
    }
    if (g_str_has_suffix(name, ".safetensors") || is_safetensors(name))
        return TRACE;
    if (g_str_has_suffix(name, ".json") || g_str_has_suffix(name, ".gguf"))
        return MODEL;
    if (g_file_test(name, G_FILE_TEST_EXISTS))
        return kind_of_yaml(name, error);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(presets); i++) {
        g_auto(GStrv) names = moe_preset_list(presets[i].folder, presets[i].suffix);
        for (char **preset = names; *preset != NULL; preset++)
            if (g_hash_table_add(seen, g_strdup(*preset)))
                g_strv_builder_add(builder, *preset);
    }
    g_auto(GStrv) all = g_strv_builder_end(builder);
    g_autofree char *joined = g_strjoinv(", ", all);
    moe_fail(error, MOE_ERROR_INPUT, "'%s' is neither a file nor a preset; the presets are: %s",
             name, joined);
    return -1;
}

static gboolean show_keys(const char *name, GString *text, GError **error)
{
    const char *names[N_KINDS + 1] = {NULL};
    int n = 0;
    for (int k = 0; k < N_KINDS; k++)
        if (kinds[k].fields != NULL)
            names[n++] = kinds[k].name;
    int index = moe_cli_choice("keys", name, names, error);
    for (int k = 0; k < N_KINDS && index >= 0; k++)
        if (strcmp(kinds[k].name, names[index]) == 0)
            moe_fields_describe(kinds[k].fields, text);
    if (index >= 0 && strcmp(names[index], kinds[SCENARIO].name) == 0) {
        g_string_append(text, "\nalgorithms of dispatch and combine\n");
        moe_alltoall_describe(text);
    }
    return index >= 0;
}

static gboolean run(MoeCli *cli, GError **error)
{
    gboolean keys = FALSE;
    char *export_option = NULL;
    int nodes = MOE_CLI_UNSET;
    const GOptionEntry entries[] = {
        {"keys", 0, 0, G_OPTION_ARG_NONE, &keys,
         "List the keys of a kind of file: model, topology, kernels, gpu, scenario, collective, "
         "synthetic, case",
         NULL},
        {"export", 0, 0, G_OPTION_ARG_STRING, &export_option,
         "Print a topology as a platform file: simgrid", "FORMAT"},
        {"nodes", 0, 0, G_OPTION_ARG_INT, &nodes,
         "Nodes of a topology whose file does not say how many (2)", "N"},
        {NULL},
    };
    gboolean parsed = moe_cli_parse(cli, entries, 1, 1, error);
    g_autofree char *format = export_option;
    static const char *const formats[] = {"simgrid", NULL};
    if (!parsed || !moe_cli_count("nodes", &nodes, 1, MOE_TOPOLOGY_MOST_GPUS, 2, error) ||
        (format != NULL && moe_cli_choice("export", format, formats, error) < 0))
        return FALSE;
    g_autoptr(GString) text = g_string_new(NULL);
    const char *what = cli->argv[0];
    int kind = keys ? -1 : kind_of(what, error);
    if (format != NULL && (keys || (kind >= 0 && kind != TOPOLOGY)))
        return moe_fail(error, MOE_ERROR_USAGE, "--export: '%s' is no topology; take it away",
                        what);
    gboolean good = FALSE;
    if (keys)
        good = show_keys(what, text, error);
    else if (kind == TOPOLOGY)
        good = moe_show_topology(what, nodes, format, text, error);
    else if (kind >= 0)
        good = kinds[kind].show(what, text, error);
    if (good)
        moe_cli_print(cli, "%s", text->str);
    return good;
}

const MoeCommand moe_command_show = {
    .name = "show",
    .arguments = "WHAT",
    .summary = "Say what a model, topology, GPU, trace, scenario or run is",
    .example = "moesim show h800\nmoesim show h800 --export simgrid > h800.xml\nmoesim show --keys "
               "scenario",
    .run = run,
};

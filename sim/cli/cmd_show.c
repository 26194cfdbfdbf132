#include "config.h"

#include "models/family.h"
#include "sim/alltoall.h"
#include "sim/base/preset.h"
#include "sim/base/text.h"
#include "sim/base/yaml.h"
#include "sim/cli/cli.h"
#include "sim/collective.h"
#include "sim/folder.h"
#include "sim/published.h"
#include "sim/scenario.h"
#include "topologies/read.h"
#include "topologies/summary.h"
#include "workloads/analyze.h"
#include "workloads/synth.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* One kind of thing that can be shown: how to add its lines. */
typedef struct {
    const char *name;
    const MoeField *fields;                                            /* for --keys; NULL: none */
    gboolean (*show)(const char *path, GString *text, GError **error); /* NULL: see run() */
} Kind;

static void add_line(GString *text, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void add_line(GString *text, const char *name, const char *format, ...)
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
        add_line(text, "attention",
                 "%" G_GINT64_FORMAT " heads of %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
                 " key/value heads",
                 s->num_attention_heads, s->head_dim, s->num_key_value_heads);
    else
        add_line(text, "attention",
                 "latent: %" G_GINT64_FORMAT " heads of %" G_GINT64_FORMAT " + %" G_GINT64_FORMAT
                 " (rope), values of %" G_GINT64_FORMAT ", cache of %" G_GINT64_FORMAT
                 " + %" G_GINT64_FORMAT,
                 s->num_attention_heads, s->qk_nope_head_dim, s->qk_rope_head_dim, s->v_head_dim,
                 s->kv_lora_rank, s->qk_rope_head_dim);
}

static gboolean show_model(const char *path, GString *text, GError **error)
{
    g_autoptr(MoeModel) model = moe_model_load(path, NULL, error);
    if (model == NULL)
        return FALSE;
    const MoeModelShape *s = &model->shape;
    char all[MOE_UNITS_TEXT], active[MOE_UNITS_TEXT], count[MOE_UNITS_TEXT];
    g_string_append_printf(text, "model %s\n", model->name);
    add_line(text, "family", "%s",
             model->family != NULL ? model->family->title : "shapes only, cannot be traced");
    add_line(text, "hidden size", "%" G_GINT64_FORMAT, s->hidden_size);
    add_line(text, "blocks", "%" G_GINT64_FORMAT ", of them %" G_GINT64_FORMAT " dense",
             s->num_hidden_layers, s->num_hidden_layers - moe_model_moe_layers(s));
    if (s->encoder_layers > 0)
        add_line(text, "stacks",
                 "encoder of %" G_GINT64_FORMAT " blocks, decoder of %" G_GINT64_FORMAT,
                 s->encoder_layers, s->num_hidden_layers - s->encoder_layers);
    add_attention(s, text);
    if (s->num_experts == 0)
        add_line(text, "feed-forward width", "%" G_GINT64_FORMAT, s->intermediate_size);
    else
        add_line(text, "experts",
                 "%" G_GINT64_FORMAT " of width %" G_GINT64_FORMAT ", top-%" G_GINT64_FORMAT,
                 s->num_experts, s->moe_intermediate_size, s->num_experts_per_tok);
    if (s->shared_expert_intermediate_size > 0)
        add_line(text, "shared experts", "of width %" G_GINT64_FORMAT " in all",
                 s->shared_expert_intermediate_size);
    if (model->family != NULL && s->num_experts > 0) {
        g_autofree char *router = moe_family_describe_router(model);
        add_line(text, "router", "%s", router);
    }
    add_line(text, "vocabulary", "%s%s", moe_units_format_count(s->vocab_size, count),
             s->tie_word_embeddings ? ", tied" : "");
    add_line(text, "context", "%s tokens",
             moe_units_format_count(s->max_position_embeddings, count));
    add_line(text, "weights", "%s", moe_dtype_name((MoeDtype)s->dtype));
    gint64 embedding = s->tie_word_embeddings ? 0 : s->vocab_size * s->hidden_size;
    add_line(text, "parameters", "%s, active per token %s",
             moe_units_format_count(moe_model_parameters(s), all),
             moe_units_format_count(moe_model_active_parameters(s), active));
    add_line(text, "", "(%s with the embedding table, which some publishers count)",
             moe_units_format_count(moe_model_active_parameters(s) + embedding, active));
    if (model->source != NULL)
        add_line(text, "source", "%s", model->source);
    return TRUE;
}

/* --- topology and GPU ------------------------------------------------------------------------ */

static void add_quantity(GString *text, const char *name, double value, MoeUnit unit,
                         const char *source)
{
    char buffer[MOE_UNITS_TEXT];
    if (!isnan(value))
        add_line(text, name, "%-14s %s", moe_units_format(value, unit, buffer),
                 source != NULL ? source : "");
}

static void add_gpu(const MoeGpu *gpu, GString *text)
{
    add_line(text, "GPU", "%s", gpu->name);
    for (int t = 0; t < MOE_TYPE_COUNT; t++) {
        g_autofree char *name = g_strdup_printf("peak %s", moe_type_names()[t]);
        add_quantity(text, name, gpu->peak[t], MOE_UNIT_SPEED,
                     t == MOE_TYPE_BF16 ? gpu->sources.peak : NULL);
    }
    add_quantity(text, "memory bandwidth", gpu->hbm.bandwidth, MOE_UNIT_RATE, gpu->sources.hbm);
    add_quantity(text, "memory size", gpu->hbm.size, MOE_UNIT_BYTES, NULL);
    add_quantity(text, "compute efficiency", gpu->efficiency.compute, MOE_UNIT_RATIO,
                 gpu->sources.efficiency);
    add_quantity(text, "memory efficiency", gpu->efficiency.memory, MOE_UNIT_RATIO, NULL);
    add_quantity(text, "launch", gpu->launch, MOE_UNIT_TIME, gpu->sources.launch);
}

static gboolean show_gpu(const char *path, GString *text, GError **error)
{
    MoeGpu gpu = {0};
    if (!moe_gpu_load(path, NULL, &gpu, error))
        return FALSE;
    g_string_append_printf(text, "gpu %s\n", gpu.name);
    add_gpu(&gpu, text);
    moe_gpu_clear(&gpu);
    return TRUE;
}

static void add_cluster(const MoeTopology *t, GString *text)
{
    const MoeTopologyFile *file = &t->file;
    g_string_append_printf(text, "topology %s: %s\n", file->name,
                           file->description != NULL ? file->description : "");
    add_line(text, "GPUs", "%" G_GINT64_FORMAT " in %" G_GINT64_FORMAT " node%s", t->n_gpus,
             file->nodes, file->nodes == 1 ? "" : "s");
    add_line(text, "scale-out", "%s, %" G_GINT64_FORMAT " NICs", t->scale_out->name, t->n_nics);
    add_quantity(text, "  latency", file->scale_out.latency, MOE_UNIT_TIME,
                 file->sources.scale_out);
}

static void add_group(const MoeGroup *group, GString *text)
{
    const MoeTopologyFile *file = &group->file;
    add_line(text, "nodes", "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " GPUs, scale-up %s",
             file->nodes, file->gpus_per_node, group->scale_up->name);
    add_quantity(text, "  bandwidth", file->scale_up.bandwidth, MOE_UNIT_RATE,
                 file->sources.scale_up);
    add_quantity(text, "  efficiency", file->scale_up.efficiency, MOE_UNIT_RATIO, NULL);
    add_quantity(text, "  latency", file->scale_up.latency, MOE_UNIT_TIME, NULL);
    if (file->nics.per_node == 0)
        return;
    add_line(text, "NICs", "%" G_GINT64_FORMAT " per node", file->nics.per_node);
    add_quantity(text, "  bandwidth", file->nics.bandwidth, MOE_UNIT_RATE, file->sources.nics);
    add_quantity(text, "  efficiency", file->nics.efficiency, MOE_UNIT_RATIO, NULL);
    add_quantity(text, "  PCIe", file->nics.pcie, MOE_UNIT_RATE, NULL);
}

static void add_fabrics(const MoeTopology *t, GString *text)
{
    char rate[MOE_UNITS_TEXT], time[MOE_UNITS_TEXT], count[MOE_UNITS_TEXT];
    g_autoptr(GArray) counts = moe_topology_count_links(t);
    g_autoptr(GArray) rungs = moe_topology_ladder(t);
    g_string_append(text, "links, one per direction, payload\n");
    for (guint i = 0; i < counts->len; i++) {
        const MoeLinkCount *c = &g_array_index(counts, MoeLinkCount, i);
        add_line(text, c->kind, "%8s x %s%s", moe_units_format_count(c->count, count),
                 moe_units_format(c->bandwidth, MOE_UNIT_RATE, rate),
                 c->broken == 0          ? ""
                 : c->broken == c->count ? ", broken"
                                         : ", some broken");
    }
    g_string_append(text, "bisection, first half to second half\n");
    add_quantity(text, "scale-up, one node", moe_topology_bisection(t, MOE_FABRIC_SCALE_UP),
                 MOE_UNIT_RATE, NULL);
    add_quantity(text, "scale-out", moe_topology_bisection(t, MOE_FABRIC_SCALE_OUT), MOE_UNIT_RATE,
                 NULL);
    g_string_append(text, "ladder of GPU 0, one message alone\n");
    for (guint i = 0; i < rungs->len; i++) {
        const MoeRung *r = &g_array_index(rungs, MoeRung, i);
        g_autofree char *name = g_strdup_printf("%s, %d link%s", moe_fabric_name(r->fabric),
                                                r->links, r->links == 1 ? "" : "s");
        add_line(text, name, "%8s peers at %s, %s", moe_units_format_count(r->peers, count),
                 moe_units_format(r->bandwidth, MOE_UNIT_RATE, rate),
                 moe_units_format(r->latency, MOE_UNIT_TIME, time));
    }
}

static void add_kernels(const MoeKernels *kernels, GString *text)
{
    char times[3][MOE_UNITS_TEXT];
    for (const char *const *name = moe_alltoall_names(); *name != NULL; name++) {
        static const char *const parts[] = {"dispatch", "combine"};
        for (int part = MOE_KERNEL_DISPATCH; part <= MOE_KERNEL_COMBINE; part++) {
            MoeKernelCost cost;
            if (!moe_kernels_cost(kernels, *name, (MoeKernelPart)part, &cost))
                continue;
            const char *sources = moe_kernels_sources(kernels, *name);
            g_string_append_printf(text, "kernel %s, %s\n", *name, parts[part]);
            add_line(text, "  startup", "%-14s %s",
                     moe_units_format(cost.startup, MOE_UNIT_TIME, times[0]),
                     part == MOE_KERNEL_DISPATCH && sources != NULL ? sources : "");
            if (cost.pass > 0)
                add_line(text, "  one token's pass", "%s",
                         moe_units_format(cost.pass, MOE_UNIT_TIME, times[1]));
            add_line(text, "  per peer, per token", "%s, %s",
                     moe_units_format(cost.message, MOE_UNIT_TIME, times[1]),
                     moe_units_format(cost.token, MOE_UNIT_TIME, times[2]));
            if (cost.sms > 0)
                add_line(text, "  multiprocessors", "%" G_GINT64_FORMAT, cost.sms);
        }
    }
}

static void add_variants(const MoeKernels *kernels, GString *text)
{
    char times[2][MOE_UNITS_TEXT], rate[MOE_UNITS_TEXT];
    for (const char *const *name = moe_operation_names(); *name != NULL; name++) {
        MoeKernelCost cost;
        guint n;
        if (!moe_kernels_cost(kernels, *name, MOE_KERNEL_ALONE, &cost))
            continue;
        const char *sources = moe_kernels_sources(kernels, *name);
        const MoeKernelVariant *variants = moe_kernels_variants(kernels, *name, &n);
        g_string_append_printf(text, "kernel %s, startup and per peer%s%s\n", *name,
                               sources != NULL ? ": " : "", sources != NULL ? sources : "");
        const MoeKernelVariant plain = {NULL, NULL, cost.startup, cost.message, NAN};
        for (guint i = 0; i < MAX(n, 1); i++) {
            const MoeKernelVariant *v = n > 0 ? &variants[i] : &plain;
            g_autofree char *title =
                g_strdup_printf("  %s %s", v->algorithm != NULL ? v->algorithm : "any algorithm",
                                v->protocol != NULL ? v->protocol : "");
            add_line(text, title, "%s, %s%s%s",
                     moe_units_format(v->startup, MOE_UNIT_TIME, times[0]),
                     moe_units_format(v->message, MOE_UNIT_TIME, times[1]),
                     isnan(v->rate) ? "" : ", handles ",
                     isnan(v->rate) ? "" : moe_units_format(v->rate, MOE_UNIT_RATE, rate));
        }
    }
}

/* @format: NULL for the summary, or the platform file for a simulator's own tools. @nodes: where the
 * file does not say. */
static gboolean show_topology(const char *path, int nodes, const char *format, GString *text,
                              GError **error)
{
    g_autoptr(MoeTopology) t = moe_topology_load(path, nodes, error);
    g_autoptr(MoeKernels) kernels = t != NULL ? moe_kernels_read(t, error) : NULL;
    if (kernels == NULL)
        return FALSE;
    if (format != NULL) {
        if (!moe_topology_check_platform(t, error))
            return FALSE;
        g_autofree char *xml = moe_topology_platform(t);
        g_string_append(text, xml);
        return TRUE;
    }
    add_cluster(t, text);
    for (guint g = 0; g < t->groups->len; g++) {
        const MoeGroup *group = &g_array_index(t->groups, MoeGroup, g);
        if (t->groups->len > 1)
            g_string_append_printf(text, "group %u\n", g);
        add_group(group, text);
        add_gpu(&group->gpu, text);
    }
    add_fabrics(t, text);
    add_kernels(kernels, text);
    add_variants(kernels, text);
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
    add_line(text, "model", "%s", trace->model);
    add_line(text, "weights", "%s",
             trace->weights[0] != '\0' ? trace->weights : "not traced by moesim");
    add_line(text, "router", "%s", trace->router);
    if (trace->precision != NULL)
        add_line(text, "products", "in %s", trace->precision);
    add_line(text, "workload", "%s", trace->workload);
    gint64 sequences = (gint64)trace->sequence[trace->n_tokens - 1] + 1;
    add_line(text, "tokens", "%s in %" G_GINT64_FORMAT " sequence%s, %" G_GINT64_FORMAT " step%s",
             moe_units_format_count(trace->n_tokens, tokens), sequences, sequences == 1 ? "" : "s",
             trace->n_steps, trace->n_steps == 1 ? "" : "s");
    add_line(text, "blocks", "%d, the first is %d", trace->n_layers, first->layer);
    if (trace->encoder_layers > 0)
        add_line(text, "stacks",
                 "blocks below %" G_GINT64_FORMAT " an encoder's, which reads every other sequence",
                 trace->encoder_layers);
    add_line(text, "experts", "%" G_GINT64_FORMAT ", top-%" G_GINT64_FORMAT "%s", trace->n_experts,
             trace->top_k, first->offsets != NULL ? " at most" : "");
    add_line(text, "pairs' weights", "%s",
             first->weights != NULL ? moe_dtype_name(first->weights_dtype) : "none");
    g_autofree char *dropped = moe_trace_describe_dropped(trace);
    if (dropped != NULL)
        add_line(text, "dropped for capacity", "%s", dropped);
    add_line(text, "written by", "moesim %s", trace->version);
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
        add_line(text, "routing", "%s is not there; run it with --set routing=TRACE", missing);
        return TRUE;
    }
    g_autoptr(MoeScenario) s = moe_scenario_load(path, NULL, NULL, error);
    if (s == NULL)
        return FALSE;
    add_keys(path, s->fields, &s->file, text);
    if (s->model != NULL)
        add_line(text, "model", "%s", s->model->path);
    if (s->trace != NULL)
        add_line(text, "routing", "%s", s->trace_path != NULL ? s->trace_path : s->trace->router);
    add_line(text, "topology", "%s, %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " GPUs",
             s->topology->file.name, s->n_ranks, s->topology->n_gpus);
    return TRUE;
}

/* A run takes some time; shares of it can be computed. */
static gboolean get_seconds(JsonObject *object, const char *where, double *seconds_out,
                            GError **error)
{
    return moe_json_get_double(object, "seconds", DBL_MIN, DBL_MAX, where, seconds_out, error);
}

static gboolean add_control(JsonObject *root, const char *file, double seconds, GString *text,
                            GError **error)
{
    if (!json_object_has_member(root, "control"))
        return TRUE;
    JsonObject *control = moe_json_get_object(root, "control", file, error);
    double balanced;
    if (control == NULL || !get_seconds(control, file, &balanced, error))
        return FALSE;
    char buffer[MOE_UNITS_TEXT];
    add_line(text, "under balanced routing", "%s (%+.1f %%)",
             moe_units_format(balanced, MOE_UNIT_TIME, buffer), 100 * (seconds / balanced - 1));
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
        if (!moe_json_get_double(phases, phase, 0, DBL_MAX, file, &value, error))
            return FALSE;
        if (value > 0)
            add_line(text, phase, "%s (%.1f %%)", moe_units_format(value, MOE_UNIT_TIME, buffer),
                     100 * value / seconds);
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
    if (name == NULL || !get_seconds(result, file, &seconds, error) ||
        !moe_json_get_double(result, "max_over_mean", 0, DBL_MAX, file, &imbalance, error))
        return FALSE;
    char buffer[MOE_UNITS_TEXT];
    g_autofree char *printable = moe_text_printable(name, FALSE);
    g_string_append_printf(text, "run %s of scenario %s\n", path, printable);
    add_line(text, "time", "%s", moe_units_format(seconds, MOE_UNIT_TIME, buffer));
    if (!add_control(root, file, seconds, text, error))
        return FALSE;
    if (!json_object_has_member(scenario, "collective"))
        add_line(text, "imbalance (max/mean)", "%.3f", imbalance);
    return add_phases(phases, file, seconds, text, error);
}

/* --- what is it? ----------------------------------------------------------------------------- */

enum { MODEL, TOPOLOGY, KERNELS, GPU, SCENARIO, COLLECTIVE, SYNTHETIC, CASE, TRACE, RUN, N_KINDS };

static const Kind kinds[N_KINDS] = {
    [MODEL] = {"model", moe_model_fields, show_model},
    [TOPOLOGY] = {"topology", moe_topology_fields, NULL},
    [KERNELS] = {"kernels", moe_kernel_fields, NULL},
    [GPU] = {"gpu", moe_gpu_fields, show_gpu},
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
    if (g_str_has_suffix(name, ".safetensors"))
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
        good = show_topology(what, nodes, format, text, error);
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

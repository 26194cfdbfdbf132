#include "config.h"

#include "sim/scenario.h"

#include "sim/base/file.h"
#include "sim/base/preset.h"
#include "sim/base/yaml.h"
#include "sim/collective.h"
#include "sim/engine.h"
#include "sim/placement.h"
#include "workloads/synth.h"

#include <string.h>

static const char *const *step_kinds(void)
{
    static const char *const names[] = {"prefill", "decode", "transfer", NULL};
    return names;
}

static const char *const *splits(void)
{
    static const char *const names[] = {"tokens", "sequences", NULL};
    return names;
}

static const char *const *locals(void)
{
    static const char *const names[] = {"scale-up", "scale-out", NULL};
    return names;
}

static const char *const *paddings(void)
{
    static const char *const names[] = {"none", "expert", "rank", NULL};
    return names;
}

static const char *const *controls(void)
{
    static const char *const names[] = {"balanced", "none", NULL};
    return names;
}

#define AT(member)          offsetof(MoeScenarioFile, member)
#define INNER(part, member) offsetof(MoeScenarioFile, part.member) - offsetof(MoeScenarioFile, part)

static const MoeField plan_fields[] = {
    {"expert", MOE_FIELD_INT, INNER(plan, expert), "", .min = 1, .max = 1 << 16,
     .doc = "expert-parallel ranks, one per GPU; all GPUs if unset"},
    {"placement", MOE_FIELD_CHOICE, INNER(plan, placement), "contiguous",
     .choices = moe_placement_names, .doc = "which rank holds which expert"},
    {NULL},
};

static const MoeField phase_fields[] = {
    {"kind", MOE_FIELD_CHOICE, INNER(phase, kind), "prefill", .choices = step_kinds,
     .doc = "prompts, one token per sequence, or all-to-alls alone"},
    {"tokens_per_gpu", MOE_FIELD_INT, INNER(phase, tokens_per_gpu), "", .min = 1, .max = 1 << 28,
     .doc = "of a step; the trace's steps if unset"},
    {"split", MOE_FIELD_CHOICE, INNER(phase, split), "tokens", .choices = splits,
     .doc = "prefill: equal tokens, or whole sequences"},
    {"sequences_per_gpu", MOE_FIELD_INT, INNER(phase, sequences_per_gpu), "", .min = 1,
     .max = 1 << 20, .doc = "decode: the batch"},
    {"context", MOE_FIELD_INT, INNER(phase, context), "", .min = 1, .max = 1 << 28,
     .doc = "decode: keys per token; its position if unset"},
    {"steps", MOE_FIELD_INT, INNER(phase, steps), "", .min = 1, .max = 100000,
     .doc = "how many; 1, or all of the trace"},
    {"repeat", MOE_FIELD_BOOL, INNER(phase, repeat), "false",
     .doc = "start the trace again when it ends"},
    {NULL},
};

static const MoeField transfer_fields[] = {
    {"algorithm", MOE_FIELD_CHOICE, offsetof(MoeTransfer, algorithm), "direct",
     .choices = moe_alltoall_names, .doc = "all-to-all"},
    {"dtype", MOE_FIELD_CHOICE, offsetof(MoeTransfer, dtype), "bf16", .choices = moe_type_names,
     .doc = "of a token on the wire"},
    {"deduplicate", MOE_FIELD_BOOL, offsetof(MoeTransfer, deduplicate), "false",
     .doc = "one copy per token and GPU"},
    {"window", MOE_FIELD_INT, offsetof(MoeTransfer, window), "", .min = 1, .max = 1 << 16,
     .doc = "windowed: partners at a time; 8 if unset"},
    {"chunks", MOE_FIELD_INT, offsetof(MoeTransfer, chunks), "", .min = 1, .max = 1 << 16,
     .doc = "that hops are pipelined in; the algorithm's if unset"},
    {"local", MOE_FIELD_CHOICE, offsetof(MoeTransfer, local), "scale-up", .choices = locals,
     .doc = "deepep-low-latency: fabric inside of a node"},
    {"padding", MOE_FIELD_CHOICE, offsetof(MoeTransfer, padding), "none", .choices = paddings,
     .doc = "fixed-size buffers per expert or rank"},
    {"capacity_factor", MOE_FIELD_NUMBER, offsetof(MoeTransfer, capacity_factor), "", .min = 0.01,
     .max = 1e6, .doc = "padding: of an even share; what the fullest buffer needs if unset"},
    {NULL},
};

static const MoeField compute_fields[] = {
    {"dtype", MOE_FIELD_CHOICE, INNER(compute, dtype), "bf16", .choices = moe_type_names,
     .doc = "of weights and products"},
    {NULL},
};

static const MoeField network_fields[] = {
    {"sharing", MOE_FIELD_CHOICE, INNER(network, sharing), "fast", .choices = moe_engine_sharings,
     .doc = "who solves the bandwidth sharing"},
    {"quantum", MOE_FIELD_QUANTITY, INNER(network, quantum), "0.5%", .unit = MOE_UNIT_RATIO,
     .max = 0.1, .doc = "fast: ends this close fall together; 0: none"},
    {NULL},
};

const MoeField moe_scenario_fields[] = {
    {"name", MOE_FIELD_STRING, AT(name), "",
     .doc = "what reports call it; the file's name if unset"},
    {"model", MOE_FIELD_STRING, AT(model), "",
     .doc = "preset or folder; the trace's model if unset"},
    {"routing", MOE_FIELD_NODE, AT(routing),
     .doc = "a trace file, or {synthetic: {kind: ...}} (--keys synthetic)"},
    {"topology", MOE_FIELD_NODE, AT(topology),
     .doc = "a preset or file, or a map (--keys topology)"},
    {"plan", MOE_FIELD_MAP, AT(plan), .fields = plan_fields, .shorthand = "expert"},
    {"phase", MOE_FIELD_MAP, AT(phase), .fields = phase_fields, .shorthand = "kind"},
    {"dispatch", MOE_FIELD_MAP, AT(dispatch), .fields = transfer_fields, .shorthand = "algorithm"},
    {"combine", MOE_FIELD_MAP, AT(combine), .fields = transfer_fields, .shorthand = "algorithm"},
    {"compute", MOE_FIELD_MAP, AT(compute), .fields = compute_fields, .shorthand = "dtype"},
    {"network", MOE_FIELD_MAP, AT(network), .fields = network_fields, .shorthand = "sharing"},
    {"control", MOE_FIELD_CHOICE, AT(control), "balanced", .choices = controls,
     .doc = "also run with balanced routing, to compare"},
    {NULL},
};

static const MoeField collective_fields[] = {
    {"operation", MOE_FIELD_CHOICE, INNER(collective, operation), .choices = moe_operation_names,
     .doc = "what the ranks do together"},
    {"algorithm", MOE_FIELD_STRING, INNER(collective, algorithm), "",
     .doc = "ring, tree, hierarchical, direct, nvls; all-to-all: those of dispatch"},
    {"bytes", MOE_FIELD_QUANTITY, INNER(collective, bytes), .unit = MOE_UNIT_BYTES, .min = 1,
     .max = 1e15, .doc = "of the whole buffer, as nccl-tests count"},
    {"root", MOE_FIELD_INT, INNER(collective, root), "0", .min = 0, .max = 1 << 16,
     .doc = "broadcast, send-receive: the rank that has the buffer"},
    {"to", MOE_FIELD_INT, INNER(collective, to), "", .min = 0, .max = 1 << 16,
     .doc = "send-receive, direct: the rank that gets it; the last if unset"},
    {"chunk", MOE_FIELD_QUANTITY, INNER(collective, chunk), "512KiB", .unit = MOE_UNIT_BYTES,
     .min = 1, .max = 1e15, .doc = "trees, broadcasts: what is passed on at once"},
    {NULL},
};

static const MoeField ranks_fields[] = {
    {"ranks", MOE_FIELD_INT, INNER(plan, expert), "", .min = 1, .max = 1 << 16,
     .doc = "GPUs that take part; all if unset"},
    {NULL},
};

const MoeField moe_collective_fields[] = {
    {"name", MOE_FIELD_STRING, AT(name), "",
     .doc = "what reports call it; the file's name if unset"},
    {"collective", MOE_FIELD_MAP, AT(collective), .fields = collective_fields,
     .shorthand = "operation"},
    {"topology", MOE_FIELD_NODE, AT(topology),
     .doc = "a preset or file, or a map (--keys topology)"},
    {"plan", MOE_FIELD_MAP, AT(plan), .fields = ranks_fields, .shorthand = "ranks"},
    {"network", MOE_FIELD_MAP, AT(network), .fields = network_fields, .shorthand = "sharing"},
    {NULL},
};

/* Which key a scalar stands for when --set goes below it. */
static const char *shorthand(const char *path)
{
    if (strcmp(path, "topology") == 0)
        return "preset";
    return moe_fields_shorthand(moe_scenario_fields, path);
}

static const char *collective_shorthand(const char *path)
{
    return strcmp(path, "plan") == 0         ? "ranks"
           : strcmp(path, "collective") == 0 ? "operation"
                                             : shorthand(path);
}

static gboolean assign(MoeNode *root, const char *const *set, GError **error)
{
    if (root->kind != MOE_NODE_MAP)
        return moe_node_fail(root, error, "a scenario is a map of keys and values");
    gboolean collective = moe_node_get(root, "collective") != NULL;
    for (; set != NULL && *set != NULL; set++)
        if (!moe_node_set(root, *set, collective ? collective_shorthand : shorthand, error))
            return FALSE;
    return TRUE;
}

/* What a path in @node is relative to: the scenario's folder, or the working folder for --set. */
static const char *base_of(const MoeNode *node, const char *dir)
{
    return moe_node_is_set(node) ? NULL : dir;
}

/* Plan and cluster define each other's size: ranks default to all GPUs, nodes to what the ranks
 * need. */
static gboolean load_topology(MoeScenario *s, const char *dir, GError **error)
{
    g_autoptr(MoeNode) shorthand_map = NULL;
    const MoeNode *node = s->file.topology;
    if (node->kind == MOE_NODE_SCALAR) {
        shorthand_map = moe_node_new(MOE_NODE_MAP, NULL, node->file, node->line, node->column);
        MoeNode *key =
            moe_node_new(MOE_NODE_SCALAR, "preset", node->file, node->line, node->column);
        MoeNode *value =
            moe_node_new(MOE_NODE_SCALAR, node->text, node->file, node->line, node->column);
        if (!moe_node_append_take(shorthand_map, key, value, error))
            return FALSE;
        node = shorthand_map;
    }
    if (node->kind != MOE_NODE_MAP)
        return moe_node_fail(node, error,
                             "topology: a list where a preset's name or a map belongs");
    const MoeNode *preset = moe_node_get(node, "preset");
    dir = base_of(preset != NULL ? preset : node, dir);
    gint64 per_node = moe_topology_gpus_per_node(node, dir, error);
    if (per_node == 0)
        return FALSE;
    gint64 ranks = s->file.plan.expert;
    s->topology =
        moe_topology_read(node, dir, ranks > 0 ? (ranks + per_node - 1) / per_node : 1, error);
    s->kernels = s->topology != NULL ? moe_kernels_read(s->topology, error) : NULL;
    if (s->kernels == NULL)
        return FALSE;
    s->n_ranks = ranks > 0 ? ranks : s->topology->n_gpus;
    if (s->n_ranks > s->topology->n_gpus)
        return moe_node_fail(s->root, error,
                             "plan: %s: %" G_GINT64_FORMAT " ranks on %" G_GINT64_FORMAT
                             " GPUs; add nodes (topology.nodes) or take fewer ranks",
                             moe_scenario_is_collective(s) ? "ranks" : "expert", s->n_ranks,
                             s->topology->n_gpus);
    return TRUE;
}

/* A model of which only what is sent is known; nothing prices its computing. */
static MoeModel *bare_model(const MoeTrace *trace)
{
    MoeModel *model = g_new0(MoeModel, 1);
    model->name = g_strdup("no model");
    model->path = g_strdup("");
    model->shape.hidden_size = trace->hidden_size;
    model->shape.num_experts = trace->n_experts;
    model->shape.num_experts_per_tok = trace->top_k;
    model->shape.first_k_dense_replace = trace->layers[0].layer;
    model->shape.num_hidden_layers = trace->layers[0].layer + trace->n_layers;
    return model;
}

typedef struct {
    MoeSynth synth;
} Synthetic;

static gboolean set_tokens(const MoeScenario *s, const MoeNode *node, MoeSynth *synth,
                           GError **error)
{
    if (synth->tokens == 0)
        synth->tokens = s->file.phase.tokens_per_gpu * MAX(s->file.phase.steps, 1) * s->n_ranks;
    if (synth->tokens == 0)
        return moe_node_fail(node, error,
                             s->file.phase.kind == MOE_STEP_DECODE
                                 ? "routing: tokens: missing; how many in all"
                                 : "routing: tokens: missing; how many in all, or "
                                   "phase.tokens_per_gpu");
    if (synth->tokens > MOE_SYNTH_MOST_TOKENS)
        return moe_node_fail(node, error, "routing: %" G_GINT64_FORMAT " tokens in all; at most %d",
                             synth->tokens, MOE_SYNTH_MOST_TOKENS);
    return TRUE;
}

static gboolean make_synthetic(MoeScenario *s, const MoeNode *node, MoeProgress *progress,
                               GError **error)
{
    static const MoeField fields[] = {
        {"synthetic", MOE_FIELD_MAP, offsetof(Synthetic, synth), .fields = moe_synth_fields,
         .shorthand = "kind"},
        {NULL},
    };
    Synthetic synthetic = {0};
    if (!moe_fields_read(fields, node, "routing", &synthetic, error))
        return FALSE;
    gboolean bare = s->model == NULL && s->file.phase.kind == MOE_STEP_TRANSFER;
    if (s->model == NULL && !bare)
        return moe_node_fail(s->root, error,
                             "model: missing; synthetic routing needs a model's shapes");
    MoeSynth *synth = &synthetic.synth;
    synth->ranks = synth->ranks > 0 ? synth->ranks : s->n_ranks;
    synth->groups =
        synth->groups > 0 ? synth->groups : moe_topology_node(s->topology, s->n_ranks - 1) + 1;
    if (!set_tokens(s, node, synth, error))
        return FALSE;
    if (bare && (synth->hidden_size == 0 || synth->experts == 0 || synth->top_k == 0))
        return moe_node_fail(
            node, error, "routing: without a model, experts, top_k and hidden_size belong here");
    synth->layers = bare ? MAX(synth->layers, 1) : synth->layers;
    s->trace = bare ? moe_synth(synth, progress, error)
                    : moe_synth_for(synth, &s->model->shape, progress, error);
    if (s->trace == NULL)
        moe_node_prefix(node, "routing", error);
    else if (bare)
        s->model = bare_model(s->trace);
    return s->trace != NULL;
}

static gboolean load_routing(MoeScenario *s, const char *dir, MoeProgress *progress, GError **error)
{
    const MoeNode *node = s->file.routing;
    if (node->kind != MOE_NODE_SCALAR)
        return make_synthetic(s, node, progress, error);
    s->trace_path = g_path_is_absolute(node->text) || base_of(node, dir) == NULL
                        ? g_strdup(node->text)
                        : g_build_filename(dir, node->text, NULL);
    if (!g_file_test(s->trace_path, G_FILE_TEST_EXISTS))
        return moe_node_fail(node, error, "routing: %s: no such file; give --set routing=TRACE",
                             s->trace_path);
    s->trace = moe_trace_load(s->trace_path, error);
    return s->trace != NULL;
}

static gboolean fail_match(const MoeScenario *s, const char *what, gint64 trace, gint64 model,
                           GError **error)
{
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: the trace has %" G_GINT64_FORMAT " %s, the model '%s' %" G_GINT64_FORMAT
                    "; take a model of the trace's shape",
                    s->trace_path != NULL ? s->trace_path : s->path, trace, what, s->model->name,
                    model);
}

static gboolean check_match(const MoeScenario *s, GError **error)
{
    const MoeModelShape *shape = &s->model->shape;
    const MoeTrace *trace = s->trace;
    if (trace->n_experts != shape->num_experts)
        return fail_match(s, "experts", trace->n_experts, shape->num_experts, error);
    if (trace->top_k != shape->num_experts_per_tok)
        return fail_match(s, "experts per token", trace->top_k, shape->num_experts_per_tok, error);
    if (trace->encoder_layers != shape->encoder_layers)
        return fail_match(s, "blocks of an encoder", trace->encoder_layers, shape->encoder_layers,
                          error);
    if (trace->n_layers != moe_model_moe_layers(shape))
        return fail_match(s, "blocks with experts", trace->n_layers, moe_model_moe_layers(shape),
                          error);
    for (int l = 0; l < trace->n_layers; l++)
        if (!moe_model_has_experts(shape, trace->layers[l].layer) ||
            moe_model_moe_layers_before(shape, trace->layers[l].layer) != l)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: the trace has block %d, which is not the model '%s's block with "
                            "experts number %d; give moesim import --model or --first-layer",
                            s->trace_path != NULL ? s->trace_path : s->path, trace->layers[l].layer,
                            s->model->name, l + 1);
    return TRUE; /* of any hidden size: a small model's routing may drive a large one's shapes */
}

static gboolean load_model(MoeScenario *s, const char *dir, GError **error)
{
    if (s->file.model == NULL)
        return TRUE;
    s->model = moe_model_load(s->file.model, base_of(moe_node_get(s->root, "model"), dir), error);
    return s->model != NULL && moe_model_need_experts(s->model, error);
}

/* The preset that the trace names. The name is never a path: what a trace says does not choose files
 * of this machine. */
static gboolean load_trace_model(MoeScenario *s, GError **error)
{
    g_auto(GStrv) presets = moe_preset_list("models/presets", "");
    if (!g_strv_contains((const char *const *)presets, s->trace->model))
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: model: not given, and the trace's, '%s', is no preset; write the model's "
            "folder",
            s->path, s->trace->model);
    g_autofree char *folder =
        g_build_filename(moe_data_dir(), "models/presets", s->trace->model, NULL);
    s->model = moe_model_load(folder, NULL, error);
    return s->model != NULL;
}

/* A key of "collective" or, where it is not given, the map itself. */
static const MoeNode *collective_node(const MoeScenario *s, const char *key)
{
    const MoeNode *map = moe_node_get(s->root, "collective"), *node = moe_node_get(map, key);
    return node != NULL ? node : map;
}

static gboolean check_rank(const MoeScenario *s, const char *key, gint64 rank, GError **error)
{
    if (rank < s->n_ranks)
        return TRUE;
    return moe_node_fail(collective_node(s, key), error,
                         "collective: %s: %" G_GINT64_FORMAT " is none of the %" G_GINT64_FORMAT
                         " ranks; write 0 to %" G_GINT64_FORMAT,
                         key, rank, s->n_ranks, s->n_ranks - 1);
}

/* Fills in what depends on the operation and the number of ranks. */
static gboolean check_collective(MoeScenario *s, GError **error)
{
    const char *algorithm = s->file.collective.algorithm;
    if (algorithm == NULL && s->file.collective.operation == MOE_ALL_TO_ALL)
        s->file.collective.algorithm = g_strdup(moe_alltoall_names()[0]);
    else if (algorithm != NULL &&
             !moe_collective_does(moe_operation_names()[s->file.collective.operation], algorithm,
                                  error)) {
        moe_node_prefix(collective_node(s, "algorithm"), "collective", error);
        return FALSE;
    }
    if (collective_node(s, "to") == moe_node_get(s->root, "collective"))
        s->file.collective.to = s->n_ranks - 1;
    return check_rank(s, "root", s->file.collective.root, error) &&
           check_rank(s, "to", s->file.collective.to, error);
}

/* Keys of a phase that another kind does not take; as for algorithms, --set phase.kind=... leaves
 * those of the file behind. */
static gboolean check_phase(const MoeScenario *s, GError **error)
{
    static const struct {
        const char *key;
        guint kinds;
        const char *takers;
    } keys[] = {
        {"tokens_per_gpu", 1 << MOE_STEP_PREFILL | 1 << MOE_STEP_TRANSFER, "prefill and transfer"},
        {"sequences_per_gpu", 1 << MOE_STEP_DECODE, "decode"},
        {"context", 1 << MOE_STEP_DECODE, "decode"},
        {"split", 1 << MOE_STEP_PREFILL | 1 << MOE_STEP_TRANSFER, "prefill and transfer"},
    };
    const MoeNode *phase = moe_node_get(s->root, "phase");
    const MoeNode *kind = moe_node_get(phase, "kind");
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        const MoeNode *value = moe_node_get(phase, keys[i].key);
        if (value != NULL && !moe_node_is_null(value) &&
            !(keys[i].kinds & (1U << s->file.phase.kind)) && !moe_node_overrides(kind, value))
            return moe_node_fail(value, error, "phase: %s: goes with %s, not with %s", keys[i].key,
                                 keys[i].takers, step_kinds()[s->file.phase.kind]);
    }
    return TRUE;
}

static gboolean load_parts(MoeScenario *s, MoeProgress *progress, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(s->path);
    s->fields =
        moe_node_get(s->root, "collective") != NULL ? moe_collective_fields : moe_scenario_fields;
    if (!moe_fields_read(s->fields, s->root, s->path, &s->file, error) || !check_phase(s, error) ||
        !moe_alltoall_resolve(&s->file.dispatch, moe_node_get(s->root, "dispatch"), "dispatch",
                              error) ||
        !moe_alltoall_resolve(&s->file.combine, moe_node_get(s->root, "combine"), "combine", error))
        return FALSE;
    if (s->file.name == NULL) {
        s->file.name = g_path_get_basename(s->path);
        char *dot = strrchr(s->file.name, '.');
        if (dot != NULL)
            *dot = '\0';
    }
    if (moe_scenario_is_collective(s))
        return load_topology(s, dir, error) && check_collective(s, error);
    if (!load_model(s, dir, error) || !load_topology(s, dir, error) ||
        !load_routing(s, dir, progress, error))
        return FALSE;
    return (s->model != NULL || load_trace_model(s, error)) && check_match(s, error);
}

MoeScenario *moe_scenario_load_tree(MoeNode *root, const char *path, const char *const *set,
                                    MoeProgress *progress, GError **error)
{
    g_autoptr(MoeScenario) scenario = g_new0(MoeScenario, 1);
    scenario->path = g_strdup(path);
    scenario->root = root;
    if (!assign(root, set, error) || !load_parts(scenario, progress, error))
        return NULL;
    return g_steal_pointer(&scenario);
}

MoeScenario *moe_scenario_load(const char *path, const char *const *set, MoeProgress *progress,
                               GError **error)
{
    MoeNode *root = moe_yaml_load(path, error);
    return root != NULL ? moe_scenario_load_tree(root, path, set, progress, error) : NULL;
}

void moe_scenario_free(MoeScenario *scenario)
{
    if (scenario == NULL)
        return;
    if (scenario->fields != NULL)
        moe_fields_clear(scenario->fields, &scenario->file);
    moe_node_free(scenario->root);
    g_free(scenario->path);
    g_free(scenario->trace_path);
    moe_model_free(scenario->model);
    moe_kernels_free(scenario->kernels);
    moe_topology_free(scenario->topology);
    moe_trace_free(scenario->trace);
    g_free(scenario);
}

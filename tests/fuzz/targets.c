#include "config.h"

#include "models/forward.h"
#include "models/gguf.h"
#include "models/safetensors.h"
#include "models/tokenizer.h"
#include "models/vocabulary.h"
#include "sim/base/csv.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/units.h"
#include "sim/base/yaml.h"
#include "sim/folder.h"
#include "sim/kernels.h"
#include "tests/fuzz/fuzz.h"
#include "topologies/topology.h"
#include "workloads/batch.h"
#include "workloads/import.h"
#include "workloads/npy.h"
#include "workloads/trace.h"

#include <math.h>
#include <string.h>

static void run_units(const char *path, const char *data, size_t size)
{
    (void)path;
    g_autofree char *text = g_strndup(data, size);
    for (int unit = MOE_UNIT_BYTES; unit <= MOE_UNIT_RATIO; unit++) {
        g_autoptr(GError) error = NULL;
        double value = -1;
        gboolean good = moe_units_parse(text, (MoeUnit)unit, &value, &error);
        fuzz_require_error(!good, &error);
        fuzz_require(good ? value >= 0 && isfinite(value) : value == -1, "value");
        char buffer[MOE_UNITS_TEXT];
        if (good)
            fuzz_require(strlen(moe_units_format(value, (MoeUnit)unit, buffer)) < MOE_UNITS_TEXT,
                         "format");
    }
}

static void walk(const MoeNode *node, int depth)
{
    fuzz_require(depth <= MOE_NODE_DEEPEST, "depth");
    if (node->kind == MOE_NODE_SCALAR) {
        fuzz_require(node->text != NULL && g_utf8_validate(node->text, -1, NULL), "scalar");
        return;
    }
    if (node->kind == MOE_NODE_MAP)
        fuzz_require(node->keys->len == node->items->len, "keys");
    for (guint i = 0; i < node->items->len; i++)
        walk(g_ptr_array_index(node->items, i), depth + 1);
}

static void run_yaml(const char *path, const char *data, size_t size)
{
    (void)path;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeNode) root = moe_yaml_parse(data, size, "fuzz.yaml", &error);
    fuzz_require_error(root == NULL, &error);
    if (root != NULL)
        walk(root, 0);
}

static void run_json(const char *path, const char *data, size_t size)
{
    (void)path;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeJson) json = moe_json_parse(data, size, "fuzz.json", &error);
    fuzz_require_error(json == NULL, &error);
    if (json == NULL || moe_json_has_nul(json))
        return;
    g_autofree char *once = moe_json_print(moe_json_root(json));
    g_autoptr(MoeJson) again = moe_json_parse(once, strlen(once), "again.json", &error);
    fuzz_require(again != NULL, "what is printed can be read");
    g_autofree char *twice = moe_json_print(moe_json_root(again));
    fuzz_require(strcmp(once, twice) == 0, "and prints the same");
}

static void run_csv(const char *path, const char *data, size_t size)
{
    (void)data;
    static const char *const columns[] = {"token", "layer", "weight?", NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeCsv) csv = moe_csv_open(path, columns, &error);
    fuzz_require_error(csv == NULL, &error);
    if (csv == NULL)
        return;
    while (moe_csv_next(csv, &error)) {
        gint64 whole = -1;
        double number = -1;
        gboolean good = moe_csv_int(csv, 0, 0, 1000, &whole, &error);
        fuzz_require_error(!good, &error);
        fuzz_require(good ? whole >= 0 && whole <= 1000 : whole == -1, "whole");
        good = moe_csv_text(csv, 2) == NULL || moe_csv_number(csv, 2, 0, 1, &number, &error);
        fuzz_require_error(!good, &error);
        fuzz_require(number == -1 || (number >= 0 && number <= 1), "number");
    }
    if (error != NULL)
        fuzz_require_error(TRUE, &error);
    fuzz_require(moe_csv_offset(csv) <= (gint64)size, "offset");
}

static void run_topology(const char *path, const char *data, size_t size)
{
    (void)data;
    (void)size;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTopology) topology = moe_topology_load(path, 2, &error);
    fuzz_require_error(topology == NULL, &error);
    if (topology != NULL) {
        g_autoptr(MoeKernels) kernels = moe_kernels_read(topology, &error);
        fuzz_require_error(kernels == NULL, &error);
    }
    if (topology == NULL || topology->n_gpus < 2)
        return;
    gint64 last = topology->n_gpus - 1;
    guint32 links[MOE_ROUTE_MOST];
    MoeFabric fabric = moe_topology_fabric(topology, 0, last);
    int n = moe_topology_route(topology, fabric, 0, last, links);
    fuzz_require(n >= 1 && n <= MOE_ROUTE_MOST, "route");
    for (int i = 0; i < n; i++)
        fuzz_require(links[i] < topology->links->len, "link");
    fuzz_require(moe_topology_bandwidth(topology, fabric, 0, last) > 0, "bandwidth");
}

/* Reads all of it, for the sanitizers. */
static void touch(const void *data, size_t bytes)
{
    const volatile char *at = data;
    for (size_t b = 0; b < bytes; b++)
        (void)at[b];
}

static void run_safetensors(const char *path, const char *data, size_t size)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(path, &error);
    fuzz_require_error(file == NULL, &error);
    guint n = 0;
    const MoeTensor *tensors = file != NULL ? moe_safetensors_tensors(file, &n) : NULL;
    size_t sum = 0;
    for (guint i = 0; i < n; i++) {
        size_t bytes = (size_t)tensors[i].n_elements * moe_st_type_size(tensors[i].type);
        touch(tensors[i].data, bytes);
        sum += bytes;
        fuzz_require(moe_safetensors_find(file, tensors[i].name) == &tensors[i], "find");
    }
    fuzz_require(sum <= size, "data inside the file");
}

static void run_trace(const char *path, const char *data, size_t size)
{
    (void)data;
    (void)size;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = moe_trace_load(path, &error);
    fuzz_require_error(trace == NULL, &error);
    if (trace != NULL)
        fuzz_require(moe_trace_check(trace, NULL), "a loaded trace passes its check");
}

static void run_npy(const char *path, const char *data, size_t size)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeNpy) array = moe_npy_open(path, &error);
    fuzz_require_error(array == NULL, &error);
    if (array == NULL)
        return;
    fuzz_require((size_t)array->n_elements * (size_t)array->size <= size, "data inside the file");
    for (gint64 i = 0; i < array->n_elements && array->kind != MOE_NPY_FLOAT; i++)
        (void)moe_npy_int(array, i);
}

static void run_lengths(const char *path, const char *data, size_t size)
{
    (void)data;
    (void)size;
    g_autoptr(GArray) lengths = g_array_new(FALSE, FALSE, sizeof(gint64));
    g_autoptr(GError) error = NULL;
    gboolean good = moe_import_lengths(path, lengths, &error);
    fuzz_require_error(!good, &error);
}

static void run_routing_csv(const char *path, const char *data, size_t size)
{
    (void)data;
    (void)size;
    const MoeImport import = {.model = "fuzz"};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = moe_import_csv(path, &import, NULL, &error);
    fuzz_require_error(trace == NULL, &error);
    if (trace != NULL)
        fuzz_require(moe_trace_check(trace, NULL), "an imported trace passes its check");
}

/* Any format of arrays; the file's name says which. */
static void run_arrays(const char *path, const char *data, size_t size)
{
    (void)data;
    (void)size;
    const MoeImport import = {.model = "fuzz", .n_layers = 2, .top_k = 2};
    const char *const paths[] = {path, NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = moe_import_arrays(paths, NULL, NULL, &import, NULL, &error);
    fuzz_require_error(trace == NULL, &error);
    if (trace != NULL)
        fuzz_require(moe_trace_check(trace, NULL), "an imported trace passes its check");
}

static void run_config(const char *path, const char *data, size_t size)
{
    (void)data;
    (void)size;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(path, NULL, &error);
    fuzz_require_error(model == NULL, &error);
    if (model != NULL)
        fuzz_require(moe_model_parameters(&model->shape) >=
                         moe_model_active_parameters(&model->shape),
                     "parameters");
}

/* Ids that a tokenizer makes of a text are its own, and some text of each kind comes back. */
static void run_tokenizer(const char *path, const char *data, size_t size)
{
    static const char text[] = "The cat's 12 naïve\n\n 北京 \xf0\x9f\x98\x80 <|end|>";
    (void)data;
    (void)size;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_load(path, &error);
    fuzz_require_error(tokenizer == NULL, &error);
    if (tokenizer == NULL)
        return;
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    gboolean good = moe_tokenizer_encode(tokenizer, text, sizeof(text) - 1, TRUE, ids, &error);
    fuzz_require_error(!good, &error);
    for (guint i = 0; good && i < ids->len; i++)
        fuzz_require(g_array_index(ids, guint32, i) < moe_tokenizer_size(tokenizer), "id");
    GString *back =
        moe_tokenizer_decode(tokenizer, (const guint32 *)(void *)ids->data, ids->len, FALSE);
    fuzz_require(g_utf8_validate_len(back->str, back->len, NULL) || strlen(back->str) < back->len,
                 "decoded text is UTF-8");
    for (guint i = 0; i < ids->len; i++)
        moe_tokenizer_token_bytes(tokenizer, g_array_index(ids, guint32, i), i == 0, back);
    g_string_free(back, TRUE);
}

/* A model that loads runs two tokens; whatever its tensors do not fit is an error. */
static void run_two_tokens(const MoeModel *model)
{
    const guint32 ids[] = {0, 1};
    const gsize offsets[] = {0, 2};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeWeights) weights = moe_weights_open(model->path, &error);
    fuzz_require_error(weights == NULL, &error);
    if (weights == NULL)
        return;
    const MoeForward job = {
        .model = model, .weights = weights, .ids = ids, .n_sequences = 1, .offsets = offsets};
    gboolean good = moe_forward(&job, &error);
    fuzz_require_error(!good, &error);
}

static void run_gguf(const char *path, const char *data, size_t size)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeGguf) file = moe_gguf_open(path, &error);
    fuzz_require_error(file == NULL, &error);
    if (file == NULL)
        return;
    guint n;
    size_t sum = 0;
    const MoeTensor *tensors = moe_gguf_tensors(file, &n);
    for (guint i = 0; i < n; i++) {
        size_t bytes = moe_tensor_bytes(tensors[i].type, tensors[i].n_elements);
        touch(tensors[i].data, bytes);
        sum += bytes;
        fuzz_require(moe_gguf_tensor(file, tensors[i].name) == &tensors[i], "find");
    }
    fuzz_require(sum <= size, "data inside the file");
    const MoeGgufValue *values = moe_gguf_values(file, &n);
    for (guint i = 0; i < n; i++)
        for (gsize k = 0;
             k < (values[i].type == MOE_GGUF_STRING ? MIN(values[i].n, 1) : values[i].n); k++)
            g_free(moe_gguf_text(&values[i], k));
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_from_gguf(file, &error);
    fuzz_require_error(tokenizer == NULL, &error);
    g_autoptr(MoeModel) model = moe_model_load(path, NULL, &error);
    fuzz_require_error(model == NULL, &error);
    if (model != NULL)
        run_two_tokens(model);
}

static void run_jsonl(const char *path, const char *data, size_t size)
{
    (void)data;
    (void)size;
    g_autofree char *model =
        g_build_filename(moe_data_dir(), "models/presets/olmoe-tiny/tokenizer.json", NULL);
    g_autoptr(GError) error = NULL;
    static MoeTokenizer *tokenizer;
    if (tokenizer == NULL)
        tokenizer = moe_tokenizer_load(model, &error);
    fuzz_require(tokenizer != NULL, "the preset's tokenizer");
    const char *const paths[] = {path, NULL};
    g_autoptr(MoeBatch) batch = moe_batch_read(tokenizer, paths, 16, 0, TRUE, &error);
    fuzz_require_error(batch == NULL, &error);
    if (batch == NULL)
        return;
    fuzz_require(batch->offsets[batch->n_sequences] == batch->n_tokens, "offsets");
    for (gsize s = 0; s < batch->n_sequences; s++)
        fuzz_require(batch->offsets[s + 1] > batch->offsets[s] &&
                         batch->offsets[s + 1] - batch->offsets[s] <= 16,
                     "lengths");
}

static void run_run(const char *path, const char *data, size_t size)
{
    (void)data;
    (void)size;
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeJson) json = moe_folder_load(folder, &error);
    fuzz_require_error(json == NULL, &error);
    if (json == NULL)
        return;
    JsonObject *root = moe_json_object(moe_json_root(json), path, &error);
    double seconds = -1;
    gboolean good = moe_json_get_double(root, "seconds", 0, 1, path, &seconds, &error);
    fuzz_require_error(!good, &error);
    fuzz_require(good ? seconds >= 0 && seconds <= 1 : seconds == -1, "a number in its range");
}

/* The bytes are what follows --set, over a small scenario; a mistake may be one of usage. */
static void run_set(const char *path, const char *data, size_t size)
{
    static const char scenario[] = "topology: {preset: h800, nodes: 2}\nplan: 8\nlist: [1, 2]\n";
    (void)path;
    g_autofree char *assignment = g_strndup(data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeNode) root = moe_yaml_parse(scenario, strlen(scenario), "fuzz.yaml", &error);
    gboolean good = moe_node_set(root, assignment, NULL, &error);
    if (error != NULL && error->code == MOE_ERROR_USAGE)
        error->code = MOE_ERROR_INPUT;
    fuzz_require_error(!good, &error);
    walk(root, 0);
}

static const FuzzTarget targets[] = {
    {"config", "config.json", run_config},
    {"csv", "fuzz.csv", run_csv},
    {"gguf", "fuzz.gguf", run_gguf},
    {"json", NULL, run_json},
    {"jsonl", "fuzz.jsonl", run_jsonl},
    {"lengths", "lengths.json", run_lengths},
    {"npy", "fuzz.npy", run_npy},
    {"npz", "fuzz.npz", run_arrays},
    {"routing-csv", "routing.csv", run_routing_csv},
    {"run", "run.json", run_run},
    {"routing-jsonl", "routing.jsonl", run_arrays},
    {"routing-safetensors", "routing.safetensors", run_arrays},
    {"safetensors", "fuzz.safetensors", run_safetensors},
    {"set", NULL, run_set},
    {"tokenizer", "tokenizer.json", run_tokenizer},
    {"topology", "topology.yaml", run_topology},
    {"trace", "trace.safetensors", run_trace},
    {"units", NULL, run_units},
    {"yaml", NULL, run_yaml},
};

const FuzzTarget *fuzz_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++)
        if (strcmp(targets[i].name, name) == 0)
            return &targets[i];
    return NULL;
}

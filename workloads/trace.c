#include "config.h"

#include "workloads/trace.h"

#include "models/safetensors.h"
#include "sim/base/text.h"
#include "sim/base/units.h"

#include <math.h>
#include <string.h>

static const char format[] = "moesim-trace-1";

MoeTrace *moe_trace_new(const char *model, const char *weights, const char *router,
                        const char *workload, int n_layers)
{
    MoeTrace *trace = g_new0(MoeTrace, 1);
    trace->model = moe_text_printable(model, FALSE);
    trace->weights = moe_text_printable(weights, FALSE);
    trace->router = moe_text_printable(router, FALSE);
    trace->workload = moe_text_printable(workload, FALSE);
    trace->version = g_strdup(PACKAGE_VERSION);
    trace->n_layers = n_layers;
    trace->layers = g_new0(MoeTraceLayer, n_layers);
    trace->owned = g_ptr_array_new_with_free_func(g_free);
    return trace;
}

void moe_trace_free(MoeTrace *trace)
{
    if (trace == NULL)
        return;
    g_free(trace->model);
    g_free(trace->weights);
    g_free(trace->router);
    g_free(trace->workload);
    g_free(trace->precision);
    g_free(trace->version);
    g_free(trace->layers);
    g_ptr_array_unref(trace->owned);
    moe_safetensors_free(trace->file);
    g_free(trace);
}

void *moe_trace_alloc(MoeTrace *trace, gsize size)
{
    void *memory = g_malloc0(MAX(size, 1));
    g_ptr_array_add(trace->owned, memory);
    return memory;
}

void moe_trace_set_sequences(MoeTrace *trace, const gint64 *lengths, gsize n_sequences)
{
    gint64 total = 0;
    for (gsize s = 0; s < n_sequences; s++)
        total += lengths[s];
    guint32 *sequence = moe_trace_alloc(trace, (gsize)total * sizeof(guint32));
    guint32 *position = moe_trace_alloc(trace, (gsize)total * sizeof(guint32));
    guint32 *steps = moe_trace_alloc(trace, 2 * sizeof(guint32));
    gint64 t = 0;
    for (gsize s = 0; s < n_sequences; s++) {
        for (gint64 i = 0; i < lengths[s]; i++, t++) {
            sequence[t] = (guint32)s;
            position[t] = (guint32)i;
        }
    }
    steps[1] = (guint32)total;
    trace->n_tokens = total;
    trace->n_steps = 1;
    trace->sequence = sequence;
    trace->position = position;
    trace->steps = steps;
}

void moe_trace_place(MoeTrace *trace, const MoeModelShape *shape)
{
    if (trace->n_layers > moe_model_moe_layers(shape))
        return;
    int l = 0;
    for (int block = 0; l < trace->n_layers; block++)
        if (moe_model_has_experts(shape, block))
            trace->layers[l++].layer = block;
}

/* --- checks ---------------------------------------------------------------------------------- */

static gboolean check_layer_offsets(const MoeTrace *trace, const MoeTraceLayer *layer,
                                    GError **error)
{
    if (layer->offsets == NULL) {
        if (layer->n_pairs != trace->n_tokens * trace->top_k)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "block %d: %" G_GINT64_FORMAT " pairs where %" G_GINT64_FORMAT
                            " tokens with top-%" G_GINT64_FORMAT " have %" G_GINT64_FORMAT,
                            layer->layer, layer->n_pairs, trace->n_tokens, trace->top_k,
                            trace->n_tokens * trace->top_k);
        return TRUE;
    }
    if (layer->offsets[0] != 0 || layer->offsets[trace->n_tokens] != layer->n_pairs)
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "block %d: offsets run from %u to %u; they must run from 0 to the %" G_GINT64_FORMAT
            " pairs",
            layer->layer, layer->offsets[0], layer->offsets[trace->n_tokens], layer->n_pairs);
    for (gint64 t = 0; t < trace->n_tokens; t++) {
        if (layer->offsets[t] > layer->offsets[t + 1])
            return moe_fail(error, MOE_ERROR_INPUT,
                            "block %d: the offsets fall at token %" G_GINT64_FORMAT, layer->layer,
                            t);
        if (layer->offsets[t + 1] - layer->offsets[t] > trace->top_k)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "block %d: token %" G_GINT64_FORMAT
                            " has %u pairs, more than top-%" G_GINT64_FORMAT,
                            layer->layer, t, layer->offsets[t + 1] - layer->offsets[t],
                            trace->top_k);
    }
    return TRUE;
}

static gboolean check_layer_experts(const MoeTrace *trace, const MoeTraceLayer *layer,
                                    GError **error)
{
    g_autofree gint64 *last_token = g_new(gint64, trace->n_experts);
    for (gint64 e = 0; e < trace->n_experts; e++)
        last_token[e] = -1;
    int stack = moe_trace_layer_stack(trace, layer->layer);
    for (gint64 t = 0; t < trace->n_tokens; t++) {
        gint64 n, first = moe_trace_pairs(trace, layer, t, &n);
        if (n > 0 && moe_trace_token_stack(trace, t) != stack)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "block %d: token %" G_GINT64_FORMAT
                            " is the %s's; it cannot have pairs in the %s's blocks",
                            layer->layer, t, stack == 0 ? "decoder" : "encoder",
                            stack == 0 ? "encoder" : "decoder");
        for (gint64 p = first; p < first + n; p++) {
            guint16 expert = layer->experts[p];
            if (expert >= trace->n_experts)
                return moe_fail(error, MOE_ERROR_INPUT,
                                "block %d: token %" G_GINT64_FORMAT
                                " chose expert %u of %" G_GINT64_FORMAT,
                                layer->layer, t, expert, trace->n_experts);
            if (last_token[expert] == t)
                return moe_fail(error, MOE_ERROR_INPUT,
                                "block %d: token %" G_GINT64_FORMAT " chose expert %u twice",
                                layer->layer, t, expert);
            last_token[expert] = t;
        }
    }
    return TRUE;
}

static gboolean check_layer_weights(const MoeTraceLayer *layer, GError **error)
{
    if (layer->weights == NULL)
        return TRUE;
    size_t bad = moe_find_nonfinite(layer->weights_dtype, layer->weights, (size_t)layer->n_pairs);
    if (bad != SIZE_MAX)
        return moe_fail(error, MOE_ERROR_INPUT, "block %d: the weight of pair %zu is not finite",
                        layer->layer, bad);
    size_t size = moe_dtype_bytes(layer->weights_dtype);
    float block[1024];
    for (gint64 first = 0; first < layer->n_pairs; first += G_N_ELEMENTS(block)) {
        size_t n = (size_t)MIN(layer->n_pairs - first, (gint64)G_N_ELEMENTS(block));
        moe_widen(layer->weights_dtype, (const char *)layer->weights + (size_t)first * size, n,
                  block);
        for (size_t i = 0; i < n; i++)
            if (block[i] < 0)
                return moe_fail(error, MOE_ERROR_INPUT,
                                "block %d: the weight of pair %" G_GINT64_FORMAT " is negative",
                                layer->layer, first + (gint64)i);
    }
    return TRUE;
}

static gboolean check_tokens(const MoeTrace *trace, GError **error)
{
    for (gint64 t = 1; t < trace->n_tokens; t++) {
        gboolean same = trace->sequence[t] == trace->sequence[t - 1];
        if (trace->sequence[t] < trace->sequence[t - 1] ||
            (same && trace->position[t] <= trace->position[t - 1]))
            return moe_fail(error, MOE_ERROR_INPUT,
                            "token %" G_GINT64_FORMAT
                            ": sequences must come in order, and positions rise "
                            "within one",
                            t);
    }
    gboolean good = trace->n_steps >= 1 && trace->steps[0] == 0 &&
                    trace->steps[trace->n_steps] == trace->n_tokens;
    for (gint64 s = 0; s < trace->n_steps && good; s++)
        good = trace->steps[s] <= trace->steps[s + 1];
    if (!good)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "steps.offsets must rise from 0 to the %" G_GINT64_FORMAT " tokens",
                        trace->n_tokens);
    return TRUE;
}

gboolean moe_trace_check(const MoeTrace *trace, GError **error)
{
    if (trace->n_tokens > 0 && !check_tokens(trace, error))
        return FALSE;
    if (trace->n_layers < 1 || trace->n_tokens < 1)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "the trace is empty: %" G_GINT64_FORMAT " tokens, %d blocks",
                        trace->n_tokens, trace->n_layers);
    for (int l = 0; l < trace->n_layers; l++) {
        const MoeTraceLayer *layer = &trace->layers[l];
        if (layer->layer < 0 || layer->layer >= MOE_TRACE_MOST_LAYERS)
            return moe_fail(error, MOE_ERROR_INPUT, "block %d: a trace has blocks 0 to %d",
                            layer->layer, MOE_TRACE_MOST_LAYERS - 1);
        if (l > 0 && layer->layer <= trace->layers[l - 1].layer)
            return moe_fail(error, MOE_ERROR_INPUT, "block %d comes after block %d", layer->layer,
                            trace->layers[l - 1].layer);
        if (!check_layer_offsets(trace, layer, error) ||
            !check_layer_experts(trace, layer, error) || !check_layer_weights(layer, error))
            return FALSE;
    }
    return TRUE;
}

/* --- reading --------------------------------------------------------------------------------- */

typedef struct {
    const MoeSafetensors *file;
    const char *path;
    GError **error;
} Reader;

static gboolean read_count(const Reader *r, const char *key, gint64 min, gint64 max, gint64 *out)
{
    const char *text = moe_safetensors_metadata(r->file, key);
    double value;
    if (text == NULL)
        return moe_fail(r->error, MOE_ERROR_INPUT,
                        "%s: metadata: %s is missing; this is no moesim trace", r->path, key);
    if (!moe_units_parse_number(text, &value, NULL) || value != floor(value) ||
        value < (double)min || value > (double)max)
        return moe_fail(r->error, MOE_ERROR_INPUT,
                        "%s: metadata: %s is '%s'; it must be a whole number from %" G_GINT64_FORMAT
                        " to %" G_GINT64_FORMAT,
                        r->path, key, text, min, max);
    *out = (gint64)value;
    return TRUE;
}

/* The tensor @name as a vector of @n (-1: any) elements; NULL with the error set. */
static const MoeTensor *read_vector(const Reader *r, const char *name, guint types, gint64 n)
{
    const MoeTensor *tensor = moe_safetensors_find(r->file, name);
    return moe_tensor_check(tensor, r->path, name, types, 1, &n, r->error) ? tensor : NULL;
}

static gboolean read_tokens(const Reader *r, MoeTrace *trace)
{
    const guint u32 = 1U << MOE_ST_U32;
    const MoeTensor *sequence = read_vector(r, "tokens.sequence", u32, -1);
    if (sequence == NULL)
        return FALSE;
    trace->n_tokens = sequence->n_elements;
    trace->sequence = sequence->data;
    const MoeTensor *position = read_vector(r, "tokens.position", u32, trace->n_tokens);
    const MoeTensor *steps = position != NULL ? read_vector(r, "steps.offsets", u32, -1) : NULL;
    if (steps == NULL)
        return FALSE;
    if (steps->n_elements < 2)
        return moe_fail(r->error, MOE_ERROR_INPUT, "%s: steps.offsets has fewer than two elements",
                        r->path);
    trace->position = position->data;
    trace->steps = steps->data;
    trace->n_steps = steps->n_elements - 1;
    if (moe_safetensors_find(r->file, "tokens.id") == NULL)
        return TRUE;
    const MoeTensor *ids = read_vector(r, "tokens.id", u32, trace->n_tokens);
    if (ids == NULL)
        return FALSE;
    trace->ids = ids->data;
    return TRUE;
}

static gboolean read_layer(const Reader *r, const MoeTrace *trace, MoeTraceLayer *layer)
{
    g_autofree char *experts = g_strdup_printf("layers.%d.experts", layer->layer);
    g_autofree char *weights = g_strdup_printf("layers.%d.weights", layer->layer);
    g_autofree char *offsets = g_strdup_printf("layers.%d.offsets", layer->layer);
    g_autofree char *dropped = g_strdup_printf("layers.%d.dropped", layer->layer);
    g_autofree char *runs = g_strdup_printf("layers.%d.runs", layer->layer);
    const MoeTensor *tensor = read_vector(r, experts, 1U << MOE_ST_U16, -1);
    if (tensor == NULL)
        return FALSE;
    layer->experts = tensor->data;
    layer->n_pairs = tensor->n_elements;
    if (moe_safetensors_find(r->file, weights) != NULL) {
        tensor = read_vector(r, weights, 1U << MOE_ST_F32 | 1U << MOE_ST_F16, layer->n_pairs);
        if (tensor == NULL)
            return FALSE;
        layer->weights = tensor->data;
        layer->weights_dtype = tensor->type == MOE_ST_F16 ? MOE_F16 : MOE_F32;
    }
    if (moe_safetensors_find(r->file, offsets) != NULL) {
        tensor = read_vector(r, offsets, 1U << MOE_ST_U32, trace->n_tokens + 1);
        if (tensor == NULL)
            return FALSE;
        layer->offsets = tensor->data;
    }
    if (moe_safetensors_find(r->file, dropped) != NULL) {
        tensor = read_vector(r, dropped, 1U << MOE_ST_U8, layer->n_pairs);
        if (tensor == NULL)
            return FALSE;
        layer->dropped = tensor->data;
    }
    if (moe_safetensors_find(r->file, runs) != NULL)
        return moe_fail(
            r->error, MOE_ERROR_INPUT,
            "%s: %s: blocks that run a different number of times per token are not simulated",
            r->path, runs);
    return TRUE;
}

/* The blocks that have experts, rising. */
static GArray *list_layers(const MoeSafetensors *file)
{
    GArray *layers = g_array_new(FALSE, FALSE, sizeof(int));
    for (int l = 0; l < MOE_TRACE_MOST_LAYERS; l++) {
        g_autofree char *name = g_strdup_printf("layers.%d.experts", l);
        if (moe_safetensors_find(file, name) != NULL)
            g_array_append_val(layers, l);
    }
    return layers;
}

static const char *metadata(const MoeSafetensors *file, const char *key)
{
    const char *text = moe_safetensors_metadata(file, key);
    return text != NULL ? text : "";
}

static MoeTrace *read_trace(MoeSafetensors *file, GError **error)
{
    const Reader r = {file, moe_safetensors_path(file), error};
    g_autoptr(GArray) layers = list_layers(file);
    g_autoptr(MoeTrace) trace =
        moe_trace_new(metadata(file, "model"), metadata(file, "weights"), metadata(file, "router"),
                      metadata(file, "workload"), (int)layers->len);
    g_free(trace->version);
    trace->version = moe_text_printable(metadata(file, "moesim"), FALSE);
    if (moe_safetensors_metadata(file, "precision") != NULL)
        trace->precision = moe_text_printable(metadata(file, "precision"), FALSE);
    if (strcmp(metadata(file, "format"), format) != 0) {
        moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: metadata: format is '%s'; a trace of this version says '%s' (moesim import reads "
            "other tools' routing)",
            r.path, metadata(file, "format"), format);
        return NULL;
    }
    if (!read_count(&r, "experts", 1, MOE_TRACE_MOST_EXPERTS, &trace->n_experts) ||
        !read_count(&r, "top_k", 1, MOE_TRACE_MOST_K, &trace->top_k) ||
        !read_count(&r, "hidden_size", 0, 1 << 20, &trace->hidden_size) ||
        (moe_safetensors_metadata(file, "encoder_layers") != NULL &&
         !read_count(&r, "encoder_layers", 1, MOE_TRACE_MOST_LAYERS - 1, &trace->encoder_layers)) ||
        !read_tokens(&r, trace))
        return NULL;
    for (guint l = 0; l < layers->len; l++) {
        trace->layers[l].layer = g_array_index(layers, int, l);
        if (!read_layer(&r, trace, &trace->layers[l]))
            return NULL;
    }
    if (!moe_trace_check(trace, error)) {
        g_prefix_error(error, "%s: ", r.path);
        return NULL;
    }
    return g_steal_pointer(&trace);
}

MoeTrace *moe_trace_load(const char *path, GError **error)
{
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(path, error);
    MoeTrace *trace = file != NULL ? read_trace(file, error) : NULL;
    if (trace != NULL)
        trace->file = g_steal_pointer(&file);
    return trace;
}

/* --- writing --------------------------------------------------------------------------------- */

static void add_tensor(GArray *tensors, GStringChunk *names, const char *name, MoeStType type,
                       gint64 n, const void *data)
{
    if (data == NULL)
        return;
    MoeTensor tensor = {
        .name = g_string_chunk_insert(names, name),
        .type = type,
        .n_dims = 1,
        .dims = {n},
        .n_elements = n,
        .data = data,
    };
    g_array_append_val(tensors, tensor);
}

static void add_layer(GArray *tensors, GStringChunk *names, const MoeTrace *trace,
                      const MoeTraceLayer *layer)
{
    g_autofree char *experts = g_strdup_printf("layers.%d.experts", layer->layer);
    g_autofree char *weights = g_strdup_printf("layers.%d.weights", layer->layer);
    g_autofree char *offsets = g_strdup_printf("layers.%d.offsets", layer->layer);
    g_autofree char *dropped = g_strdup_printf("layers.%d.dropped", layer->layer);
    add_tensor(tensors, names, experts, MOE_ST_U16, layer->n_pairs, layer->experts);
    add_tensor(tensors, names, weights, layer->weights_dtype == MOE_F16 ? MOE_ST_F16 : MOE_ST_F32,
               layer->n_pairs, layer->weights);
    add_tensor(tensors, names, offsets, MOE_ST_U32, trace->n_tokens + 1, layer->offsets);
    add_tensor(tensors, names, dropped, MOE_ST_U8, layer->n_pairs, layer->dropped);
}

/* Behind the last of the NULL-terminated @pairs, unless @value is NULL. */
static void add_pair(const char **pairs, const char *key, const char *value)
{
    while (*pairs != NULL)
        pairs += 2;
    if (value != NULL) {
        pairs[0] = key;
        pairs[1] = value;
    }
}

gboolean moe_trace_save(const MoeTrace *trace, const char *path, gboolean force, GError **error)
{
    g_autoptr(GArray) tensors = g_array_new(FALSE, FALSE, sizeof(MoeTensor));
    GStringChunk *names = g_string_chunk_new(4096);
    add_tensor(tensors, names, "tokens.id", MOE_ST_U32, trace->n_tokens, trace->ids);
    add_tensor(tensors, names, "tokens.sequence", MOE_ST_U32, trace->n_tokens, trace->sequence);
    add_tensor(tensors, names, "tokens.position", MOE_ST_U32, trace->n_tokens, trace->position);
    add_tensor(tensors, names, "steps.offsets", MOE_ST_U32, trace->n_steps + 1, trace->steps);
    for (int l = 0; l < trace->n_layers; l++)
        add_layer(tensors, names, trace, &trace->layers[l]);
    g_autofree char *experts = g_strdup_printf("%" G_GINT64_FORMAT, trace->n_experts);
    g_autofree char *top_k = g_strdup_printf("%" G_GINT64_FORMAT, trace->top_k);
    g_autofree char *hidden = g_strdup_printf("%" G_GINT64_FORMAT, trace->hidden_size);
    g_autofree char *encoder = g_strdup_printf("%" G_GINT64_FORMAT, trace->encoder_layers);
    const char *pairs[32] = {
        "format",      format,        "model",    trace->model,    "weights", trace->weights,
        "router",      trace->router, "experts",  experts,         "top_k",   top_k,
        "hidden_size", hidden,        "workload", trace->workload, "moesim",  trace->version,
    };
    add_pair(pairs, "encoder_layers", trace->encoder_layers > 0 ? encoder : NULL);
    add_pair(pairs, "precision", trace->precision);
    gboolean good = moe_safetensors_write(
        path, force, (const MoeTensor *)(const void *)tensors->data, tensors->len, pairs, error);
    g_string_chunk_free(names);
    return good;
}

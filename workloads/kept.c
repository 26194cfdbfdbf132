#include "config.h"

#include "workloads/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "moesim-kept-1";

char *moe_kept_key(const MoeTrace *trace, const MoeBatch *batch)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    const char *const texts[] = {FORMAT,        PACKAGE_VERSION, trace->model,    trace->weights,
                                 trace->router, trace->workload, trace->precision};
    for (gsize i = 0; i < G_N_ELEMENTS(texts);
         i++) /* with the NUL, so that they do not run together */
        g_checksum_update(sum, (const guchar *)texts[i], (gssize)strlen(texts[i]) + 1);
    g_checksum_update(sum, (const guchar *)batch->offsets,
                      (gssize)((batch->n_sequences + 1) * sizeof(*batch->offsets)));
    g_checksum_update(sum, (const guchar *)batch->ids,
                      (gssize)(batch->n_tokens * sizeof(*batch->ids)));
    return g_strdup(g_checksum_get_string(sum));
}

/* @next_block, @memory: as in the metadata. */
static char *digest(const MoeTrace *trace, int n_layers, const char *next_block, const char *memory,
                    const float *states)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(sum, (const guchar *)next_block, (gssize)strlen(next_block) + 1);
    g_checksum_update(sum, (const guchar *)memory, (gssize)strlen(memory) + 1);
    for (int i = 0; i < n_layers; i++) {
        const MoeTraceLayer *layer = &trace->layers[i];
        g_checksum_update(sum, (const guchar *)layer->experts,
                          (gssize)layer->n_pairs * (gssize)sizeof(guint16));
        g_checksum_update(sum, layer->weights, (gssize)layer->n_pairs * (gssize)sizeof(float));
    }
    g_checksum_update(sum, (const guchar *)states,
                      (gssize)(trace->n_tokens * trace->hidden_size) * (gssize)sizeof(float));
    return g_strdup(g_checksum_get_string(sum));
}

/* The integer @key of the metadata, in [0, most]. */
static gboolean read_int(const MoeSafetensors *file, const char *key, int most, int *out,
                         GError **error)
{
    const char *text = moe_safetensors_metadata(file, key);
    guint64 value;
    if (text == NULL || !g_ascii_string_to_unsigned(text, 10, 0, (guint64)most, &value, NULL))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: metadata: %s is missing or out of range",
                        moe_safetensors_path(file), key);
    *out = (int)value;
    return TRUE;
}

static const MoeTensor *find(const MoeSafetensors *file, const char *name, MoeStType type,
                             int n_dims, const gint64 *dims, GError **error)
{
    const MoeTensor *tensor = moe_safetensors_find(file, name);
    return moe_tensor_check(tensor, moe_safetensors_path(file), name, 1U << type, n_dims, dims,
                            error)
               ? tensor
               : NULL;
}

/* Block @layer's decisions, as the next of @trace. */
static gboolean load_layer(const MoeSafetensors *file, MoeTrace *trace, int at, int layer,
                           GError **error)
{
    const gint64 pairs = trace->n_tokens * trace->top_k;
    g_autofree char *experts_name = g_strdup_printf("layers.%d.experts", layer);
    g_autofree char *weights_name = g_strdup_printf("layers.%d.weights", layer);
    const MoeTensor *experts = find(file, experts_name, MOE_ST_U16, 1, &pairs, error);
    const MoeTensor *weights =
        experts != NULL ? find(file, weights_name, MOE_ST_F32, 1, &pairs, error) : NULL;
    if (weights == NULL)
        return FALSE;
    guint16 *experts_copy = moe_trace_alloc(trace, (gsize)pairs * sizeof(guint16));
    float *weights_copy = moe_trace_alloc(trace, (gsize)pairs * sizeof(float));
    memcpy(experts_copy, experts->data, (gsize)pairs * sizeof(guint16));
    memcpy(weights_copy, weights->data, (gsize)pairs * sizeof(float));
    trace->layers[at] = (MoeTraceLayer){.layer = layer,
                                        .n_pairs = pairs,
                                        .experts = experts_copy,
                                        .weights = weights_copy,
                                        .weights_dtype = MOE_F32};
    return TRUE;
}

static gboolean load_layers(const MoeSafetensors *file, MoeTrace *trace, int next_block,
                            int *n_layers_out, GError **error)
{
    int n = 0;
    for (int layer = 0; layer < next_block && n < trace->n_layers; layer++) {
        g_autofree char *name = g_strdup_printf("layers.%d.experts", layer);
        if (moe_safetensors_find(file, name) == NULL)
            continue; /* a dense block; that none is missing, the digest says */
        if (!load_layer(file, trace, n, layer, error))
            return FALSE;
        n++;
    }
    *n_layers_out = n;
    return TRUE;
}

MoeSafetensors *moe_kept_load(const char *path, const char *key, MoeTrace *trace, int *n_layers_out,
                              int *next_block_out, double *memory_out, GError **error)
{
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(path, error);
    if (file == NULL)
        return NULL;
    if (g_strcmp0(moe_safetensors_metadata(file, "key"), key) != 0) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: what was kept of a run is of another one: of other texts, another model, "
                 "precision or moesim",
                 path);
        return NULL;
    }
    const gint64 dims[] = {trace->n_tokens, trace->hidden_size};
    const MoeTensor *states = find(file, "states", MOE_ST_F32, 2, dims, error);
    const char *memory = moe_safetensors_metadata(file, "memory_bytes");
    if (states == NULL ||
        !read_int(file, "next_block", MOE_TRACE_MOST_LAYERS, next_block_out, error) ||
        !load_layers(file, trace, *next_block_out, n_layers_out, error))
        return NULL;
    g_autofree char *expected =
        digest(trace, *n_layers_out, moe_safetensors_metadata(file, "next_block"),
               memory != NULL ? memory : "", states->data);
    if (memory == NULL || g_strcmp0(moe_safetensors_metadata(file, "digest"), expected) != 0) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: what was kept of a run is damaged", path);
        return NULL;
    }
    *memory_out = g_ascii_strtod(memory, NULL);
    return g_steal_pointer(&file);
}

gboolean moe_kept_save(const char *path, const char *key, const MoeTrace *trace, int n_layers,
                       int next_block, double memory_bytes, const float *states, GError **error)
{
    g_autofree MoeTensor *tensors = g_new0(MoeTensor, 2 * n_layers + 1);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    guint n = 0;
    tensors[n++] = (MoeTensor){.name = "states",
                               .type = MOE_ST_F32,
                               .n_dims = 2,
                               .dims = {trace->n_tokens, trace->hidden_size},
                               .n_elements = trace->n_tokens * trace->hidden_size,
                               .data = states};
    for (int i = 0; i < n_layers; i++) {
        const MoeTraceLayer *layer = &trace->layers[i];
        for (int part = 0; part < 2; part++) {
            char *name =
                g_strdup_printf("layers.%d.%s", layer->layer, part == 0 ? "experts" : "weights");
            g_ptr_array_add(names, name);
            tensors[n++] = (MoeTensor){.name = name,
                                       .type = part == 0 ? MOE_ST_U16 : MOE_ST_F32,
                                       .n_dims = 1,
                                       .dims = {layer->n_pairs},
                                       .n_elements = layer->n_pairs,
                                       .data = part == 0 ? layer->experts : layer->weights};
        }
    }
    g_autofree char *next = g_strdup_printf("%d", next_block);
    char memory[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_dtostr(memory, sizeof(memory), memory_bytes);
    g_autofree char *sum = digest(trace, n_layers, next, memory, states);
    const char *const metadata[] = {"format",       FORMAT, "key",    key, "next_block", next,
                                    "memory_bytes", memory, "digest", sum, NULL};
    return moe_safetensors_write(path, TRUE, tensors, n, metadata, error);
}

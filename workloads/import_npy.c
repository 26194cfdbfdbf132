#include "config.h"

#include "workloads/import.h"
#include "workloads/npy.h"

#include <string.h>

/* The files of one import, opened and found to agree. */
typedef struct {
    GPtrArray *experts, *weights; /* MoeNpy *; weights NULL when there are none */
    GArray *lengths;              /* gint64 */
    gint64 n_tokens, n_layers, top_k;
    gint64 largest; /* expert id */
} Files;

static gboolean check_shape(const MoeNpy *array, const char *path, const Files *files,
                            GError **error)
{
    if (array->n_dims != 3 || array->kind == MOE_NPY_FLOAT)
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: expert ids must be a whole-number array [token, layer, rank]; this one has %d "
            "dimensions%s",
            path, array->n_dims, array->kind == MOE_NPY_FLOAT ? " of floats" : "");
    if (array->dims[1] < 1 || array->dims[1] > MOE_TRACE_MOST_LAYERS || array->dims[2] < 1 ||
        array->dims[2] > MOE_TRACE_MOST_K)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GINT64_FORMAT " layers of %" G_GINT64_FORMAT
                        " choices; at most %d and %d are read (is the order [token, layer, rank]?)",
                        path, array->dims[1], array->dims[2], MOE_TRACE_MOST_LAYERS,
                        MOE_TRACE_MOST_K);
    if (files->n_layers > 0 &&
        (array->dims[1] != files->n_layers || array->dims[2] != files->top_k))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: [., %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
                        "] where the files before have [., %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
                        "]",
                        path, array->dims[1], array->dims[2], files->n_layers, files->top_k);
    return TRUE;
}

static gboolean open_weights(Files *files, const char *path, const MoeNpy *experts, GError **error)
{
    MoeNpy *array = moe_npy_open(path, error);
    if (array == NULL)
        return FALSE;
    g_ptr_array_add(files->weights, array);
    if (array->kind != MOE_NPY_FLOAT || array->n_dims != 3 ||
        memcmp(array->dims, experts->dims, 3 * sizeof(gint64)) != 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: weights must be floats of the same shape as the expert ids", path);
    return TRUE;
}

static gboolean read_lengths(Files *files, const char *specification, const char *path,
                             gint64 tokens, GError **error)
{
    guint before = files->lengths->len;
    if (specification == NULL) {
        g_array_append_val(files->lengths, tokens);
        return TRUE;
    }
    if (!moe_import_lengths(specification, files->lengths, error))
        return FALSE;
    gint64 sum = 0;
    for (guint i = before; i < files->lengths->len; i++)
        sum += g_array_index(files->lengths, gint64, i);
    if (sum != tokens)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: the lengths add up to %" G_GINT64_FORMAT
                        " tokens; %s has %" G_GINT64_FORMAT,
                        specification, sum, path, tokens);
    return TRUE;
}

static gboolean open_files(Files *files, const char *const *experts, const char *const *weights,
                           const char *const *lengths, GError **error)
{
    for (int i = 0; experts[i] != NULL; i++) {
        if ((weights != NULL && weights[i] == NULL) || (lengths != NULL && lengths[i] == NULL))
            return moe_fail(error, MOE_ERROR_USAGE,
                            "as many --%s as files of expert ids are needed",
                            weights != NULL && weights[i] == NULL ? "weights" : "lengths");
        MoeNpy *array = moe_npy_open(experts[i], error);
        if (array == NULL)
            return FALSE;
        g_ptr_array_add(files->experts, array);
        if (!check_shape(array, experts[i], files, error))
            return FALSE;
        files->n_layers = array->dims[1];
        files->top_k = array->dims[2];
        if (array->dims[0] == 0)
            continue;
        files->n_tokens += array->dims[0];
        if (files->n_tokens * files->top_k > G_MAXUINT32)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: more than 2^32 pairs in a layer",
                            experts[i]);
        if (!read_lengths(files, lengths != NULL ? lengths[i] : NULL, experts[i], array->dims[0],
                          error) ||
            (weights != NULL && !open_weights(files, weights[i], array, error)))
            return FALSE;
    }
    return TRUE;
}

static gboolean copy_experts(Files *files, const char *const *paths, int layer, guint16 *out,
                             GError **error)
{
    for (guint f = 0; f < files->experts->len; f++) {
        const MoeNpy *array = files->experts->pdata[f];
        for (gint64 t = 0; t < array->dims[0]; t++) {
            gint64 from = (t * files->n_layers + layer) * files->top_k;
            for (gint64 j = 0; j < files->top_k; j++) {
                gint64 expert = moe_npy_int(array, from + j);
                if (expert < 0 || expert >= MOE_TRACE_MOST_EXPERTS)
                    return moe_fail(error, MOE_ERROR_INPUT,
                                    "%s: [%" G_GINT64_FORMAT ", %d, %" G_GINT64_FORMAT
                                    "] is %" G_GINT64_FORMAT ", which is no expert",
                                    paths[f], t, layer, j, expert);
                files->largest = MAX(files->largest, expert);
                *out++ = (guint16)expert;
            }
        }
    }
    return TRUE;
}

/* f2 stays as it is, f4 too; f8 is rounded to f4. Files of different types give f4. */
static void copy_weights(const Files *files, int layer, MoeDtype dtype, void *out)
{
    gsize done = 0, k = (gsize)files->top_k;
    for (guint f = 0; f < files->weights->len; f++) {
        const MoeNpy *array = files->weights->pdata[f];
        for (gint64 t = 0; t < array->dims[0]; t++, done += k) {
            const guint8 *from =
                array->data + (t * files->n_layers + layer) * files->top_k * (gint64)array->size;
            if (dtype == MOE_F16) {
                memcpy((guint16 *)out + done, from, k * 2);
                continue;
            }
            float *to = (float *)out + done;
            for (gsize j = 0; j < k; j++) {
                double wide;
                guint16 half;
                if (array->size == 8) {
                    memcpy(&wide, from + 8 * j, 8);
                    to[j] = (float)wide;
                } else if (array->size == 4) {
                    memcpy(&to[j], from + 4 * j, 4);
                } else {
                    memcpy(&half, from + 2 * j, 2);
                    moe_widen(MOE_F16, &half, 1, &to[j]);
                }
            }
        }
    }
}

static MoeDtype weights_dtype(const Files *files)
{
    for (guint f = 0; f < files->weights->len; f++)
        if (((const MoeNpy *)files->weights->pdata[f])->size != 2)
            return MOE_F32;
    return MOE_F16;
}

static gboolean fill_layers(Files *files, const char *const *paths, const MoeImport *import,
                            MoeTrace *trace, MoeProgress *progress, GError **error)
{
    gsize pairs = (gsize)(files->n_tokens * files->top_k);
    for (int l = 0; l < trace->n_layers; l++) {
        MoeTraceLayer *layer = &trace->layers[l];
        guint16 *experts = moe_trace_alloc(trace, pairs * sizeof(guint16));
        if (!copy_experts(files, paths, l, experts, error))
            return FALSE;
        layer->layer = MAX(import->first_layer, 0) + l;
        layer->n_pairs = (gint64)pairs;
        layer->experts = experts;
        if (files->weights->len > 0) {
            layer->weights_dtype = weights_dtype(files);
            void *weights = moe_trace_alloc(trace, pairs * moe_dtype_bytes(layer->weights_dtype));
            copy_weights(files, l, layer->weights_dtype, weights);
            layer->weights = weights;
        }
        moe_progress_update(progress, l + 1, trace->n_layers);
    }
    return TRUE;
}

static MoeTrace *build(Files *files, const char *const *paths, const MoeImport *import,
                       MoeProgress *progress, GError **error)
{
    g_autoptr(GString) workload = g_string_new(NULL);
    for (int i = 0; paths[i] != NULL; i++) {
        g_autofree char *name = g_path_get_basename(paths[i]);
        g_string_append_printf(workload, "%s%s (%" G_GINT64_FORMAT " tokens)",
                               i > 0 ? ", " : "imported ", name,
                               ((const MoeNpy *)files->experts->pdata[i])->dims[0]);
    }
    g_autoptr(MoeTrace) trace =
        moe_trace_new(import->model, "", "as recorded", workload->str, (int)files->n_layers);
    moe_trace_set_sequences(trace, (const gint64 *)(void *)files->lengths->data,
                            files->lengths->len);
    trace->top_k = files->top_k;
    trace->hidden_size = import->hidden_size;
    if (!fill_layers(files, paths, import, trace, progress, error))
        return NULL;
    trace->n_experts = import->n_experts > 0 ? import->n_experts : files->largest + 1;
    if (import->top_k > 0 && import->top_k != trace->top_k) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: %" G_GINT64_FORMAT " experts per token, but %s chooses %" G_GINT64_FORMAT,
                 paths[0], trace->top_k, import->model, import->top_k);
        return NULL;
    }
    if (import->n_layers > 0 && import->n_layers != trace->n_layers) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: %d layers, but %s has %" G_GINT64_FORMAT " blocks with experts", paths[0],
                 trace->n_layers, import->model, import->n_layers);
        return NULL;
    }
    if (!moe_trace_check(trace, error)) {
        g_prefix_error(error, "%s: ", paths[0]);
        return NULL;
    }
    return g_steal_pointer(&trace);
}

MoeTrace *moe_import_npy(const char *const *experts, const char *const *weights,
                         const char *const *lengths, const MoeImport *import, MoeProgress *progress,
                         GError **error)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func((GDestroyNotify)moe_npy_free);
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func((GDestroyNotify)moe_npy_free);
    g_autoptr(GArray) sequences = g_array_new(FALSE, FALSE, sizeof(gint64));
    Files files = {.experts = ids, .weights = values, .lengths = sequences};
    if (!open_files(&files, experts, weights, lengths, error))
        return NULL;
    if (files.n_tokens == 0) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: the array holds no tokens", experts[0]);
        return NULL;
    }
    return build(&files, experts, import, progress, error);
}

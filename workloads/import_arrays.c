#include "config.h"

#include "workloads/import_arrays.h"

#include <string.h>

static const struct {
    const char *ending;
    gboolean (*open)(const char *path, const MoeImport *import, GPtrArray *arrays, GError **error);
} formats[] = {
    {".npy", moe_import_open_npy},     {".npz", moe_import_open_npz},
    {".jsonl", moe_import_open_jsonl}, {".safetensors", moe_import_open_safetensors},
    {".pt", moe_import_open_pt},
};

/* --- arrays ---------------------------------------------------------------------------------- */

MoeIdArray *moe_id_array_new(const char *name, MoeNpy *ids)
{
    MoeIdArray *array = g_new0(MoeIdArray, 1);
    array->name = g_strdup(name);
    array->ids = ids;
    return array;
}

void moe_id_array_free(MoeIdArray *array)
{
    if (array == NULL)
        return;
    moe_npy_free(array->ids);
    moe_npy_free(array->map);
    g_free(array->name);
    g_free(array);
}

gboolean moe_import_add(GPtrArray *arrays, const char *name, MoeNpy *ids, gboolean layers_first,
                        GError **error)
{
    MoeIdArray *array = moe_id_array_new(name, ids);
    g_ptr_array_add(arrays, array);
    const char *order = layers_first ? "[layer, token, rank]" : "[token, layer, rank]";
    if (ids->n_dims != 3 || ids->kind >= MOE_NPY_FLOAT)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: expert ids must be a whole-number array %s; this one has %d "
                        "dimensions%s",
                        name, order, ids->n_dims, ids->kind >= MOE_NPY_FLOAT ? " of floats" : "");
    array->n_tokens = ids->dims[layers_first ? 1 : 0];
    array->n_layers = ids->dims[layers_first ? 0 : 1];
    array->top_k = ids->dims[2];
    if (array->n_layers < 1 || array->n_layers > MOE_TRACE_MOST_LAYERS || array->top_k < 1 ||
        array->top_k > MOE_TRACE_MOST_K)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GINT64_FORMAT " layers of %" G_GINT64_FORMAT
                        " choices; at most %d and %d are read (is the order %s?)",
                        name, array->n_layers, array->top_k, MOE_TRACE_MOST_LAYERS,
                        MOE_TRACE_MOST_K, order);
    array->token_stride = layers_first ? array->top_k : array->n_layers * array->top_k;
    array->layer_stride = layers_first ? array->n_tokens * array->top_k : array->top_k;
    return TRUE;
}

gboolean moe_import_open_npy(const char *path, const MoeImport *import, GPtrArray *arrays,
                             GError **error)
{
    (void)import;
    MoeNpy *array = moe_npy_open(path, error);
    return array != NULL && moe_import_add(arrays, path, array, FALSE, error);
}

gboolean moe_import_open_npz(const char *path, const MoeImport *import, GPtrArray *arrays,
                             GError **error)
{
    (void)import;
    g_autoptr(GPtrArray) members = g_ptr_array_new_with_free_func((GDestroyNotify)moe_npy_free);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    if (!moe_npz_read(path, members, names, error))
        return FALSE;
    for (guint i = 0; i < members->len; i++)
        if (!moe_import_add(arrays, names->pdata[i], g_steal_pointer(&members->pdata[i]), FALSE,
                            error))
            return FALSE;
    return TRUE;
}

gboolean moe_import_open_pt(const char *path, const MoeImport *import, GPtrArray *arrays,
                            GError **error)
{
    (void)import;
    (void)arrays;
    return moe_fail(
        error, MOE_ERROR_INPUT,
        "%s: a .pt file is a Python pickle, a program that moesim does not run; convert it:\n"
        "python3 -c 'import sys,torch,safetensors.torch as s;d=torch.load(sys.argv[1],"
        "map_location=\"cpu\");s.save_file({\"topk_ids_of_layer\":torch.cat([r[\"topk_ids_of_layer"
        "\"] for r in d[\"records\"]],1),\"last_physical_to_logical_map\":d[\"last_physical_to_"
        "logical_map\"].contiguous()},sys.argv[2])' IN.pt OUT.safetensors",
        path);
}

/* --- the files of one import ----------------------------------------------------------------- */

typedef struct {
    GPtrArray *arrays;  /* MoeIdArray *, none of them empty */
    GPtrArray *weights; /* MoeNpy *, one per array, or none */
    GArray *lengths;    /* gint64 */
    GString *workload;  /* in words */
    gint64 n_tokens, n_layers, top_k;
    gboolean padded;     /* any array is */
    GArray *from, *kept; /* int: layers of the arrays that are blocks with experts; those blocks */
    gint64 largest;      /* expert id */
} Files;

static gboolean open_file(const char *path, const MoeImport *import, GPtrArray *arrays,
                          GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
        if (g_str_has_suffix(path, formats[i].ending))
            return formats[i].open(path, import, arrays, error);
    return moe_fail(error, MOE_ERROR_USAGE,
                    "%s: give one .csv file, or .npy, .npz, .jsonl or .safetensors files", path);
}

static gboolean open_weights(const char *path, const GPtrArray *arrays, GPtrArray *weights,
                             GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    if (g_str_has_suffix(path, ".npz")) {
        if (!moe_npz_read(path, weights, names, error))
            return FALSE;
    } else {
        MoeNpy *array = moe_npy_open(path, error);
        if (array == NULL)
            return FALSE;
        g_ptr_array_add(weights, array);
    }
    gboolean good = weights->len == arrays->len;
    for (guint i = 0; i < arrays->len && good; i++) {
        const MoeIdArray *ids = arrays->pdata[i];
        const MoeNpy *array = weights->pdata[i];
        good = array->kind == MOE_NPY_FLOAT && array->n_dims == 3 &&
               array->dims[0] == ids->n_tokens && array->dims[1] == ids->n_layers &&
               array->dims[2] == ids->top_k;
    }
    return good || moe_fail(error, MOE_ERROR_INPUT,
                            "%s: weights must be floats of the same shape as the expert ids", path);
}

/* Adds array @i of one file, and its weights, unless it is empty. */
static gboolean take_array(Files *files, GPtrArray *arrays, GPtrArray *weights, guint i,
                           GError **error)
{
    const MoeIdArray *array = arrays->pdata[i];
    if (files->n_layers > 0 && (array->n_layers != files->n_layers || array->top_k != files->top_k))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GINT64_FORMAT " layers of %" G_GINT64_FORMAT
                        " choices where the arrays before have %" G_GINT64_FORMAT
                        " of %" G_GINT64_FORMAT,
                        array->name, array->n_layers, array->top_k, files->n_layers, files->top_k);
    files->n_layers = array->n_layers;
    files->top_k = array->top_k;
    files->padded = files->padded || array->padded;
    files->n_tokens += array->n_tokens;
    if (files->n_tokens * files->top_k > G_MAXUINT32)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: more than 2^32 pairs in a layer", array->name);
    if (array->n_tokens == 0)
        return TRUE;
    g_ptr_array_add(files->arrays, g_steal_pointer(&arrays->pdata[i]));
    if (weights->len > 0)
        g_ptr_array_add(files->weights, g_steal_pointer(&weights->pdata[i]));
    return TRUE;
}

static gboolean add_file(Files *files, const char *path, const char *weights_path,
                         const char *lengths, const MoeImport *import, GError **error)
{
    g_autoptr(GPtrArray) arrays = g_ptr_array_new_with_free_func((GDestroyNotify)moe_id_array_free);
    g_autoptr(GPtrArray) weights = g_ptr_array_new_with_free_func((GDestroyNotify)moe_npy_free);
    if (!open_file(path, import, arrays, error) ||
        (weights_path != NULL && !open_weights(weights_path, arrays, weights, error)))
        return FALSE;
    gint64 before = files->n_tokens;
    guint first = files->arrays->len;
    for (guint i = 0; i < arrays->len; i++)
        if (!take_array(files, arrays, weights, i, error))
            return FALSE;
    gint64 tokens = files->n_tokens - before;
    g_autofree char *name = g_path_get_basename(path);
    g_string_append_printf(files->workload, "%s%s (%" G_GINT64_FORMAT " tokens)",
                           files->workload->len > 0 ? ", " : "imported ", name, tokens);
    if (lengths != NULL && tokens > 0)
        return moe_import_lengths_of(lengths, tokens, path, files->lengths, error);
    for (guint i = first; i < files->arrays->len; i++)
        g_array_append_val(files->lengths, ((const MoeIdArray *)files->arrays->pdata[i])->n_tokens);
    return TRUE;
}

static gboolean add_files(Files *files, const char *const *paths, const char *const *weights,
                          const char *const *lengths, const MoeImport *import, GError **error)
{
    for (int i = 0; paths[i] != NULL; i++) {
        if ((weights != NULL && weights[i] == NULL) || (lengths != NULL && lengths[i] == NULL))
            return moe_fail(error, MOE_ERROR_USAGE,
                            "as many --%s as files of expert ids are needed",
                            weights != NULL && weights[i] == NULL ? "weights" : "lengths");
        if (!add_file(files, paths[i], weights != NULL ? weights[i] : NULL,
                      lengths != NULL ? lengths[i] : NULL, import, error))
            return FALSE;
    }
    return files->n_tokens > 0 ||
           moe_fail(error, MOE_ERROR_INPUT, "%s: the array holds no tokens", paths[0]);
}

/* --- ids ------------------------------------------------------------------------------------- */

static gboolean bad_id(const MoeIdArray *array, gint64 t, int layer, gint64 j, gint64 id,
                       GError **error)
{
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: token %" G_GINT64_FORMAT ", layer %d: choice %" G_GINT64_FORMAT
                    " is %" G_GINT64_FORMAT ", which is no expert",
                    array->name, t, layer, j, id);
}

/* The expert that is choice @j, -1 for none. */
static gboolean read_id(const MoeIdArray *array, gint64 t, int layer, gint64 j, gint64 *id_out,
                        GError **error)
{
    gint64 id = moe_npy_int(array->ids, t * array->token_stride + layer * array->layer_stride + j);
    *id_out = id;
    if (array->padded && id == -1)
        return TRUE;
    if (array->map != NULL) {
        gint64 slots = array->map->dims[1];
        if (id < 0 || id >= slots)
            return bad_id(array, t, layer, j, id, error);
        *id_out = id = moe_npy_int(array->map, layer * slots + id);
    }
    return (id >= 0 && id < MOE_TRACE_MOST_EXPERTS) || bad_id(array, t, layer, j, id, error);
}

/* Whether any token has an expert in @layer, and the most that one has there, which is raised. */
static gboolean count_choices(const Files *files, int layer, gboolean *any, gint64 *most,
                              GError **error)
{
    *any = FALSE;
    for (guint f = 0; f < files->arrays->len; f++) {
        const MoeIdArray *array = files->arrays->pdata[f];
        for (gint64 t = 0; t < array->n_tokens; t++) {
            gint64 n = 0, id;
            for (gint64 j = 0; j < files->top_k; j++) {
                if (!read_id(array, t, layer, j, &id, error))
                    return FALSE;
                n += id >= 0 ? 1 : 0;
            }
            *any = *any || n > 0;
            *most = MAX(*most, n);
        }
    }
    return TRUE;
}

/* Servers write zeroes for the blocks without experts, unless they leave these out. */
static gboolean check_not_dense(const Files *files, int layer, GError **error)
{
    const MoeIdArray *array = files->arrays->pdata[0];
    for (gint64 j = 0; j < files->top_k; j++)
        if (moe_npy_int(array->ids, layer * array->layer_stride + j) != 0)
            return TRUE;
    return files->top_k == 1 ||
           moe_fail(error, MOE_ERROR_INPUT,
                    "%s: token 0, layer %d: nothing but expert 0; if that block has no experts, "
                    "name the model with --model",
                    array->name, layer);
}

static gboolean keep_known_layers(Files *files, const MoeImport *import, GError **error)
{
    const MoeModelShape *shape = import->shape;
    gint64 blocks = shape->num_hidden_layers, moe = moe_model_moe_layers(shape);
    if (files->n_layers != moe && files->n_layers != blocks)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GINT64_FORMAT " layers, but %s has %" G_GINT64_FORMAT
                        " blocks with experts, of %" G_GINT64_FORMAT,
                        ((const MoeIdArray *)files->arrays->pdata[0])->name, files->n_layers,
                        import->model, moe, blocks);
    for (int block = 0, l = 0; block < blocks; block++) {
        if (!moe_model_has_experts(shape, block))
            continue;
        int from = files->n_layers == blocks ? block : l;
        int to = import->first_layer >= 0 ? import->first_layer + l : block;
        g_array_append_val(files->from, from);
        g_array_append_val(files->kept, to);
        l++;
    }
    return TRUE;
}

/* Which layers of the arrays are blocks with experts: as the model says, or all that have any. */
static gboolean keep_layers(Files *files, const MoeImport *import, GError **error)
{
    if (import->shape != NULL && !keep_known_layers(files, import, error))
        return FALSE;
    for (int l = 0; import->shape == NULL && l < files->n_layers; l++) {
        int block = MAX(import->first_layer, 0) + l;
        g_array_append_val(files->from, l);
        g_array_append_val(files->kept, block);
        if (!files->padded && !check_not_dense(files, l, error))
            return FALSE;
    }
    gint64 most = 0;
    for (guint i = 0; files->padded && i < files->from->len;) {
        gboolean any;
        if (!count_choices(files, g_array_index(files->from, int, i), &any, &most, error))
            return FALSE;
        if (any || import->shape != NULL) {
            i++;
            continue;
        }
        g_array_remove_index(files->from, i);
        g_array_remove_index(files->kept, i);
    }
    if (files->padded && most == 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: no token has an expert",
                        ((const MoeIdArray *)files->arrays->pdata[0])->name);
    return TRUE;
}

/* --- the trace ------------------------------------------------------------------------------- */

/* Writes the choices of one layer to @out, those that are none left out, and where each token's end
 * to @offsets[1 ...]. */
static gboolean copy_experts(Files *files, int layer, guint16 *out, guint32 *offsets,
                             GError **error)
{
    guint32 n = 0;
    for (guint f = 0; f < files->arrays->len; f++) {
        const MoeIdArray *array = files->arrays->pdata[f];
        for (gint64 t = 0; t < array->n_tokens; t++) {
            for (gint64 j = 0; j < files->top_k; j++) {
                gint64 expert;
                if (!read_id(array, t, layer, j, &expert, error))
                    return FALSE;
                files->largest = MAX(files->largest, expert);
                if (expert >= 0)
                    out[n++] = (guint16)expert;
            }
            if (offsets != NULL)
                *++offsets = n;
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

static gboolean fill_layer(Files *files, MoeTrace *trace, guint i, GError **error)
{
    MoeTraceLayer *layer = &trace->layers[i];
    int from = g_array_index(files->from, int, i);
    gsize pairs = (gsize)(files->n_tokens * files->top_k);
    guint16 *experts = moe_trace_alloc(trace, pairs * sizeof(guint16));
    guint32 *offsets = NULL;
    if (files->padded)
        offsets = moe_trace_alloc(trace, (gsize)(files->n_tokens + 1) * sizeof(guint32));
    if (!copy_experts(files, from, experts, offsets, error))
        return FALSE;
    layer->layer = g_array_index(files->kept, int, i);
    layer->n_pairs = offsets != NULL ? offsets[files->n_tokens] : (gint64)pairs;
    layer->experts = experts;
    layer->offsets = offsets;
    if (files->weights->len > 0) {
        layer->weights_dtype = weights_dtype(files);
        void *weights = moe_trace_alloc(trace, pairs * moe_dtype_bytes(layer->weights_dtype));
        copy_weights(files, from, layer->weights_dtype, weights);
        layer->weights = weights;
    }
    return TRUE;
}

/* The most experts of a token, now that padding is gone; offsets that say nothing are left out. */
static void settle_top_k(MoeTrace *trace, gint64 at_least)
{
    gint64 most = at_least;
    for (int l = 0; l < trace->n_layers; l++) {
        const guint32 *offsets = trace->layers[l].offsets;
        for (gint64 t = 0; t < trace->n_tokens; t++)
            most = MAX(most, (gint64)offsets[t + 1] - offsets[t]);
    }
    trace->top_k = most;
    for (int l = 0; l < trace->n_layers; l++)
        if (trace->layers[l].n_pairs == trace->n_tokens * most)
            trace->layers[l].offsets = NULL;
}

static MoeTrace *build(Files *files, const MoeImport *import, MoeProgress *progress, GError **error)
{
    const char *name = ((const MoeIdArray *)files->arrays->pdata[0])->name;
    g_autoptr(MoeTrace) trace = moe_trace_new(import->model, "", "as recorded",
                                              files->workload->str, (int)files->from->len);
    moe_trace_set_sequences(trace, (const gint64 *)(void *)files->lengths->data,
                            files->lengths->len);
    trace->top_k = files->top_k;
    trace->hidden_size = import->hidden_size;
    for (int l = 0; l < trace->n_layers; l++) {
        if (!fill_layer(files, trace, (guint)l, error))
            return NULL;
        moe_progress_update(progress, l + 1, trace->n_layers);
    }
    if (files->padded)
        settle_top_k(trace, import->top_k);
    trace->n_experts = import->n_experts > 0 ? import->n_experts : files->largest + 1;
    if (import->top_k > 0 && import->top_k != trace->top_k) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: %" G_GINT64_FORMAT " experts per token, but %s chooses %" G_GINT64_FORMAT,
                 name, trace->top_k, import->model, import->top_k);
        return NULL;
    }
    if (!moe_trace_check(trace, error)) {
        g_prefix_error(error, "%s: ", name);
        return NULL;
    }
    return g_steal_pointer(&trace);
}

MoeTrace *moe_import_arrays(const char *const *paths, const char *const *weights,
                            const char *const *lengths, const MoeImport *import,
                            MoeProgress *progress, GError **error)
{
    g_autoptr(GPtrArray) arrays = g_ptr_array_new_with_free_func((GDestroyNotify)moe_id_array_free);
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func((GDestroyNotify)moe_npy_free);
    g_autoptr(GArray) sequences = g_array_new(FALSE, FALSE, sizeof(gint64));
    g_autoptr(GArray) from = g_array_new(FALSE, FALSE, sizeof(int));
    g_autoptr(GArray) kept = g_array_new(FALSE, FALSE, sizeof(int));
    GString *workload = g_string_new(NULL);
    Files files = {.arrays = arrays,
                   .weights = values,
                   .lengths = sequences,
                   .workload = workload,
                   .from = from,
                   .kept = kept};
    MoeTrace *trace = NULL;
    if (add_files(&files, paths, weights, lengths, import, error) &&
        keep_layers(&files, import, error))
        trace = build(&files, import, progress, error);
    g_string_free(workload, TRUE);
    return trace;
}

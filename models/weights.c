#include "config.h"

#include "models/weights.h"

#include "sim/base/file.h"
#include "sim/base/json.h"

#include <string.h>

enum { LARGEST_INDEX = 256 << 20 };

struct MoeWeights {
    char *folder;
    GPtrArray *shards;   /* MoeSafetensors * */
    GHashTable *owner;   /* tensor name -> MoeSafetensors * */
    GHashTable *used;    /* tensor names */
    GHashTable *by_data; /* data pointer -> tensor name, of what was given out */
    GPtrArray *vectors;  /* float *, widened copies */
};

static gboolean add_shard(MoeWeights *weights, const char *file_name, GError **error)
{
    g_autofree char *path = g_build_filename(weights->folder, file_name, NULL);
    MoeSafetensors *shard = moe_safetensors_open(path, error);
    if (shard == NULL)
        return FALSE;
    g_ptr_array_add(weights->shards, shard);
    guint n;
    const MoeTensor *tensors = moe_safetensors_tensors(shard, &n);
    for (guint i = 0; i < n; i++) {
        MoeSafetensors *other = g_hash_table_lookup(weights->owner, tensors[i].name);
        if (other != NULL)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: tensor '%s' is in %s too", path,
                            tensors[i].name, moe_safetensors_path(other));
        g_hash_table_insert(weights->owner, (gpointer)tensors[i].name, shard);
    }
    return TRUE;
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The shards that the index names, each once, sorted. */
static GPtrArray *list_shards(JsonObject *map, const char *path, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    JsonObjectIter iter;
    const char *tensor;
    JsonNode *node;
    json_object_iter_init(&iter, map);
    while (json_object_iter_next(&iter, &tensor, &node)) {
        const char *file = moe_json_get_string(map, tensor, path, error);
        if (file == NULL)
            return NULL;
        if (strchr(file, '/') != NULL || *file == '\0' || *file == '.') {
            moe_fail(error, MOE_ERROR_INPUT, "%s: weight_map: '%s' is not a plain file name", path,
                     file);
            return NULL;
        }
        if (g_hash_table_add(seen, (gpointer)file))
            g_ptr_array_add(names, (gpointer)file);
    }
    g_ptr_array_sort(names, compare_strings);
    return g_steal_pointer(&names);
}

static gboolean open_index(MoeWeights *weights, const char *path, GError **error)
{
    g_autoptr(MoeJson) json = moe_json_load(path, LARGEST_INDEX, error);
    JsonObject *root = json != NULL ? moe_json_object(moe_json_root(json), path, error) : NULL;
    JsonObject *map = root != NULL ? moe_json_get_object(root, "weight_map", path, error) : NULL;
    g_autoptr(GPtrArray) names = map != NULL ? list_shards(map, path, error) : NULL;
    if (names == NULL)
        return FALSE;
    for (guint i = 0; i < names->len; i++) {
        if (!add_shard(weights, names->pdata[i], error)) {
            g_prefix_error(error, "shard %u of %u named by %s: ", i + 1, names->len, path);
            return FALSE;
        }
    }
    JsonObjectIter iter;
    const char *tensor;
    JsonNode *node;
    json_object_iter_init(&iter, map);
    while (json_object_iter_next(&iter, &tensor, &node)) {
        const MoeSafetensors *owner = g_hash_table_lookup(weights->owner, tensor);
        const char *file = json_node_get_string(node);
        g_autofree char *holder =
            owner != NULL ? g_path_get_basename(moe_safetensors_path(owner)) : NULL;
        if (g_strcmp0(holder, file) != 0)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: weight_map: tensor '%s' is not in '%s'",
                            path, tensor, file);
    }
    return TRUE;
}

MoeWeights *moe_weights_open(const char *folder, GError **error)
{
    g_autoptr(MoeWeights) weights = g_new0(MoeWeights, 1);
    weights->folder = g_strdup(folder);
    weights->shards = g_ptr_array_new_with_free_func((GDestroyNotify)moe_safetensors_free);
    weights->owner = g_hash_table_new(g_str_hash, g_str_equal);
    weights->used = g_hash_table_new(g_str_hash, g_str_equal);
    weights->by_data = g_hash_table_new(g_direct_hash, g_direct_equal);
    weights->vectors = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *index = g_build_filename(folder, "model.safetensors.index.json", NULL);
    g_autofree char *single = g_build_filename(folder, "model.safetensors", NULL);
    gboolean good;
    if (g_file_test(index, G_FILE_TEST_EXISTS))
        good = open_index(weights, index, error);
    else if (g_file_test(single, G_FILE_TEST_EXISTS))
        good = add_shard(weights, "model.safetensors", error);
    else
        good = moe_fail(error, MOE_ERROR_INPUT,
                        "%s: neither model.safetensors nor model.safetensors.index.json is there; "
                        "other formats must be converted to safetensors first",
                        folder);
    return good ? g_steal_pointer(&weights) : NULL;
}

void moe_weights_free(MoeWeights *weights)
{
    if (weights == NULL)
        return;
    g_free(weights->folder);
    g_hash_table_unref(weights->owner);
    g_hash_table_unref(weights->used);
    g_hash_table_unref(weights->by_data);
    g_ptr_array_unref(weights->vectors);
    g_ptr_array_unref(weights->shards);
    g_free(weights);
}

/* Finds, checks and remembers the tensor. */
static const MoeTensor *take(MoeWeights *weights, const char *name, int n_dims, const gint64 *dims,
                             GError **error)
{
    const guint types = 1U << MOE_ST_F32 | 1U << MOE_ST_F16 | 1U << MOE_ST_BF16;
    const MoeSafetensors *shard = g_hash_table_lookup(weights->owner, name);
    const MoeTensor *tensor = shard != NULL ? moe_safetensors_find(shard, name) : NULL;
    const char *where = shard != NULL ? moe_safetensors_path(shard) : weights->folder;
    if (!moe_tensor_check(tensor, where, name, types, n_dims, dims, error))
        return NULL;
    g_hash_table_add(weights->used, (gpointer)tensor->name);
    g_hash_table_insert(weights->by_data, (gpointer)tensor->data, (gpointer)tensor->name);
    return tensor;
}

gboolean moe_weights_matrix(MoeWeights *weights, const char *name, gint64 rows, gint64 cols,
                            MoeMatrix *matrix_out, GError **error)
{
    const gint64 dims[] = {rows, cols};
    const MoeTensor *tensor = take(weights, name, 2, dims, error);
    if (tensor == NULL)
        return FALSE;
    *matrix_out = (MoeMatrix){.data = tensor->data, .rows = (size_t)rows, .cols = (size_t)cols};
    return moe_st_type_dtype(tensor->type, &matrix_out->dtype);
}

const float *moe_weights_vector(MoeWeights *weights, const char *name, gint64 n, GError **error)
{
    const gint64 dims[] = {1, n}; /* ERNIE's biases are rows */
    const MoeSafetensors *shard = g_hash_table_lookup(weights->owner, name);
    const MoeTensor *found = shard != NULL ? moe_safetensors_find(shard, name) : NULL;
    gboolean row_shape = found != NULL && found->n_dims == 2 && found->dims[0] == 1;
    const MoeTensor *tensor = take(weights, name, row_shape ? 2 : 1, row_shape ? dims : &n, error);
    MoeMatrix row = {.rows = 1, .cols = (size_t)n};
    if (tensor == NULL)
        return NULL;
    row.data = tensor->data;
    moe_st_type_dtype(tensor->type, &row.dtype);
    if (!moe_weights_check_finite(weights, &row, error))
        return NULL;
    float *vector = g_new(float, MAX(n, 1));
    moe_widen(row.dtype, row.data, (size_t)n, vector);
    g_ptr_array_add(weights->vectors, vector);
    return vector;
}

gboolean moe_weights_has(const MoeWeights *weights, const char *name)
{
    return g_hash_table_contains(weights->owner, name);
}

gboolean moe_weights_check_used(const MoeWeights *weights, const char *const *ignored,
                                GError **error)
{
    for (guint s = 0; s < weights->shards->len; s++) {
        guint n;
        const MoeTensor *tensors = moe_safetensors_tensors(weights->shards->pdata[s], &n);
        for (guint i = 0; i < n; i++) {
            gboolean known = g_hash_table_contains(weights->used, tensors[i].name);
            for (guint j = 0; ignored[j] != NULL && !known; j++)
                known = g_str_has_suffix(tensors[i].name, ignored[j]);
            if (!known)
                return moe_fail(error, MOE_ERROR_INPUT,
                                "%s: tensor '%s' does not belong to this model's architecture",
                                moe_safetensors_path(weights->shards->pdata[s]), tensors[i].name);
        }
    }
    return TRUE;
}

gboolean moe_weights_check_finite(const MoeWeights *weights, const MoeMatrix *matrix,
                                  GError **error)
{
    size_t at = moe_matrix_find_nonfinite(matrix);
    if (at == SIZE_MAX)
        return TRUE;
    const char *name = g_hash_table_lookup(weights->by_data, matrix->data);
    const MoeSafetensors *shard = g_hash_table_lookup(weights->owner, name);
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: tensor '%s': element [%zu, %zu] is not a finite number",
                    moe_safetensors_path(shard), name, at / matrix->cols, at % matrix->cols);
}

char *moe_weights_digest(const MoeWeights *weights, GError **error)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree char *config = g_build_filename(weights->folder, "config.json", NULL);
    for (guint i = 0; i <= weights->shards->len; i++) {
        g_autofree char *digest = moe_file_digest(
            i == 0 ? config : moe_safetensors_path(weights->shards->pdata[i - 1]), error);
        if (digest == NULL)
            return NULL;
        g_checksum_update(sum, (const guchar *)digest, -1);
    }
    return g_strconcat("sha256:", g_checksum_get_string(sum), NULL);
}

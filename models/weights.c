#include "config.h"

#include "models/weights.h"

#include "models/gguf.h"
#include "models/safetensors.h"
#include "sim/base/file.h"
#include "sim/base/json.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGEST_INDEX = 256 << 20 };

struct MoeWeights {
    char *folder;                  /* or the GGUF file */
    GPtrArray *shards;             /* MoeSafetensors * */
    GPtrArray *gguf;               /* MoeGguf *, in place of shards; NULL: shards */
    GPtrArray *files;              /* paths of all */
    GHashTable *tensors;           /* name -> const MoeTensor * */
    GHashTable *paths;             /* name -> const char *, of its file */
    GHashTable *used;              /* tensor names */
    GHashTable *by_data;           /* data pointer -> tensor name, of what was given out */
    GPtrArray *vectors;            /* float *, widened copies */
    gint64 scale_rows, scale_cols; /* 0: 8-bit floats are refused */
};

static gboolean add_tensors(MoeWeights *weights, const char *path, const MoeTensor *tensors,
                            guint n, GError **error)
{
    g_ptr_array_add(weights->files, (gpointer)path);
    for (guint i = 0; i < n; i++) {
        const char *other = g_hash_table_lookup(weights->paths, tensors[i].name);
        if (other != NULL)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: tensor '%s' is in %s too", path,
                            tensors[i].name, other);
        g_hash_table_insert(weights->tensors, (gpointer)tensors[i].name, (gpointer)&tensors[i]);
        g_hash_table_insert(weights->paths, (gpointer)tensors[i].name, (gpointer)path);
    }
    return TRUE;
}

static gboolean add_shard(MoeWeights *weights, const char *path, GError **error)
{
    MoeSafetensors *shard = moe_safetensors_open(path, error);
    if (shard == NULL)
        return FALSE;
    g_ptr_array_add(weights->shards, shard);
    guint n;
    const MoeTensor *tensors = moe_safetensors_tensors(shard, &n);
    return add_tensors(weights, moe_safetensors_path(shard), tensors, n, error);
}

static gboolean open_gguf(MoeWeights *weights, GError **error)
{
    weights->gguf = moe_gguf_open_model(weights->folder, error);
    for (guint i = 0; weights->gguf != NULL && i < weights->gguf->len; i++) {
        guint n;
        const MoeGguf *file = weights->gguf->pdata[i];
        const MoeTensor *tensors = moe_gguf_tensors(file, &n);
        if (!add_tensors(weights, moe_gguf_path(file), tensors, n, error))
            return FALSE;
    }
    return weights->gguf != NULL;
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

/* @part: shards may be missing. */
static gboolean open_index(MoeWeights *weights, const char *path, gboolean part, GError **error)
{
    g_autoptr(MoeJson) json = moe_json_load(path, LARGEST_INDEX, error);
    JsonObject *root = json != NULL ? moe_json_object(moe_json_root(json), path, error) : NULL;
    JsonObject *map = root != NULL ? moe_json_get_object(root, "weight_map", path, error) : NULL;
    g_autoptr(GPtrArray) names = map != NULL ? list_shards(map, path, error) : NULL;
    if (names == NULL)
        return FALSE;
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *shard = g_build_filename(weights->folder, names->pdata[i], NULL);
        if (part && !g_file_test(shard, G_FILE_TEST_EXISTS))
            continue;
        if (!add_shard(weights, shard, error)) {
            g_prefix_error(error, "shard %u of %u named by %s: ", i + 1, names->len, path);
            return FALSE;
        }
    }
    JsonObjectIter iter;
    const char *tensor;
    JsonNode *node;
    json_object_iter_init(&iter, map);
    while (json_object_iter_next(&iter, &tensor, &node)) {
        const char *owner = g_hash_table_lookup(weights->paths, tensor);
        const char *file = json_node_get_string(node);
        if (part && owner == NULL)
            continue;
        g_autofree char *holder = owner != NULL ? g_path_get_basename(owner) : NULL;
        if (g_strcmp0(holder, file) != 0)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: weight_map: tensor '%s' is not in '%s'",
                            path, tensor, file);
    }
    return TRUE;
}

static gboolean open_folder(MoeWeights *weights, gboolean part, GError **error)
{
    const char *folder = weights->folder;
    if (moe_gguf_is_name(folder))
        return open_gguf(weights, error);
    g_autofree char *index = g_build_filename(folder, "model.safetensors.index.json", NULL);
    g_autofree char *single = g_build_filename(folder, "model.safetensors", NULL);
    if (g_file_test(index, G_FILE_TEST_EXISTS))
        return open_index(weights, index, part, error);
    if (g_file_test(single, G_FILE_TEST_EXISTS))
        return add_shard(weights, single, error);
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: neither model.safetensors nor model.safetensors.index.json is there; "
                    "other formats than these and GGUF must be converted first",
                    folder);
}

static MoeWeights *new_weights(const char *folder)
{
    MoeWeights *weights = g_new0(MoeWeights, 1);
    weights->folder = g_strdup(folder);
    weights->shards = g_ptr_array_new_with_free_func((GDestroyNotify)moe_safetensors_free);
    weights->files = g_ptr_array_new();
    weights->tensors = g_hash_table_new(g_str_hash, g_str_equal);
    weights->paths = g_hash_table_new(g_str_hash, g_str_equal);
    weights->used = g_hash_table_new(g_str_hash, g_str_equal);
    weights->by_data = g_hash_table_new(g_direct_hash, g_direct_equal);
    weights->vectors = g_ptr_array_new_with_free_func(g_free);
    return weights;
}

MoeWeights *moe_weights_open(const char *folder, GError **error)
{
    g_autoptr(MoeWeights) weights = new_weights(folder);
    return open_folder(weights, FALSE, error) ? g_steal_pointer(&weights) : NULL;
}

MoeWeights *moe_weights_open_part(const char *folder, const char *file, GError **error)
{
    g_autoptr(MoeWeights) weights = new_weights(folder);
    gboolean good =
        file != NULL ? add_shard(weights, file, error) : open_folder(weights, TRUE, error);
    return good ? g_steal_pointer(&weights) : NULL;
}

void moe_weights_free(MoeWeights *weights)
{
    if (weights == NULL)
        return;
    g_free(weights->folder);
    g_hash_table_unref(weights->tensors);
    g_hash_table_unref(weights->paths);
    g_hash_table_unref(weights->used);
    g_hash_table_unref(weights->by_data);
    g_ptr_array_unref(weights->vectors);
    g_ptr_array_unref(weights->files);
    g_ptr_array_unref(weights->shards);
    if (weights->gguf != NULL)
        g_ptr_array_unref(weights->gguf);
    g_free(weights);
}

enum {
    WIDE_TYPES = 1 << MOE_ST_F32 | 1 << MOE_ST_F16 | 1 << MOE_ST_BF16,
    NARROW_TYPES = 1 << MOE_ST_F8_E4M3 | 1 << MOE_ST_F8_E5M2,
    BLOCK_TYPES = (1 << MOE_ST_COUNT) - (1 << MOE_ST_BLOCKS),
    SCALE_TYPES = WIDE_TYPES | 1 << MOE_ST_F8_E8M0,
    MXFP4_BLOCK = 32,
};

/* GGUF does not tell [n] from [1, n]: @tensor as one of @n_dims dimensions, where only ones are in
 * the way. */
static MoeTensor with_dims(const MoeTensor *tensor, int n_dims)
{
    MoeTensor fit = *tensor;
    while (fit.n_dims > n_dims && fit.dims[0] == 1)
        memmove(fit.dims, fit.dims + 1, (gsize)--fit.n_dims * sizeof(fit.dims[0]));
    while (fit.n_dims < n_dims) {
        memmove(fit.dims + 1, fit.dims, (gsize)fit.n_dims++ * sizeof(fit.dims[0]));
        fit.dims[0] = 1;
    }
    return fit;
}

/* Finds, checks and remembers the tensor; @types as in moe_tensor_check(). */
static const MoeTensor *take(MoeWeights *weights, const char *name, guint types, int n_dims,
                             const gint64 *dims, GError **error)
{
    const MoeTensor *tensor = g_hash_table_lookup(weights->tensors, name);
    const char *path = g_hash_table_lookup(weights->paths, name);
    MoeTensor fit;
    if (tensor != NULL && weights->gguf != NULL)
        fit = with_dims(tensor, n_dims);
    if (!moe_tensor_check(tensor != NULL && weights->gguf != NULL ? &fit : tensor,
                          path != NULL ? path : weights->folder, name, types, n_dims, dims, error))
        return NULL;
    g_hash_table_add(weights->used, (gpointer)tensor->name);
    g_hash_table_insert(weights->by_data, (gpointer)tensor->data, (gpointer)tensor->name);
    return tensor;
}

gboolean moe_weights_set_scale_block(MoeWeights *weights, gint64 rows, gint64 cols, GError **error)
{
    if (rows < 1 || cols < 1)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "weight_block_size is [%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
                        "]; both must be positive",
                        rows, cols);
    weights->scale_rows = rows;
    weights->scale_cols = cols;
    return TRUE;
}

static gint64 blocks_of(gint64 n, gint64 block)
{
    return n / block + (n % block != 0 ? 1 : 0);
}

/* The scales beside @tensor, the last two of whose @n_dims dimensions are rows and columns. */
static gboolean take_scales(MoeWeights *weights, const MoeTensor *tensor, MoeScales *scales_out,
                            GError **error)
{
    const int n_dims = tensor->n_dims;
    g_autofree char *name = g_strconcat(tensor->name, "_scale_inv", NULL);
    if (weights->scale_rows == 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tensor '%s' has the type %s, but config.json has no "
                        "quantization_config with a weight_block_size",
                        weights->folder, tensor->name, moe_st_type_name(tensor->type));
    gint64 dims[3];
    memcpy(dims, tensor->dims, (gsize)n_dims * sizeof(gint64));
    dims[n_dims - 2] = blocks_of(dims[n_dims - 2], weights->scale_rows);
    dims[n_dims - 1] = blocks_of(dims[n_dims - 1], weights->scale_cols);
    const MoeTensor *scales = take(weights, name, SCALE_TYPES, n_dims, dims, error);
    if (scales == NULL)
        return FALSE;
    *scales_out = (MoeScales){.data = scales->data,
                              .rows = (size_t)weights->scale_rows,
                              .cols = (size_t)weights->scale_cols,
                              .stride = (size_t)dims[n_dims - 1]};
    return moe_st_type_dtype(scales->type, &scales_out->dtype);
}

/* The @n matrices of a tensor that has them one after the other. */
static void slice(MoeWeights *weights, const char *name, const MoeMatrix *first, gint64 n,
                  MoeMatrix *out)
{
    const MoeScales *s = &first->scales;
    const gsize bytes = first->rows * moe_dtype_row_bytes(first->dtype, first->cols);
    const gsize scale_rows =
        s->data != NULL ? (gsize)blocks_of((gint64)first->rows, (gint64)s->rows) : 0;
    const gsize scale_bytes = scale_rows * s->stride * moe_dtype_bytes(s->dtype);
    for (gint64 i = 0; i < n; i++) {
        out[i] = *first;
        out[i].data = (const char *)first->data + (gsize)i * bytes;
        if (s->data != NULL)
            out[i].scales.data = (const char *)s->data + (gsize)i * scale_bytes;
        g_hash_table_insert(weights->by_data, (gpointer)out[i].data, (gpointer)name);
    }
}

/* A tensor of @n_dims dimensions: @n matrices [rows, cols], as stored. */
static gboolean take_matrices(MoeWeights *weights, const char *name, int n_dims, const gint64 *dims,
                              gint64 n, MoeMatrix *out, GError **error)
{
    const guint types = WIDE_TYPES | (weights->gguf != NULL ? BLOCK_TYPES : NARROW_TYPES);
    const MoeTensor *tensor = take(weights, name, types, n_dims, dims, error);
    if (tensor == NULL)
        return FALSE;
    MoeMatrix first = {
        .data = tensor->data, .rows = (size_t)dims[n_dims - 2], .cols = (size_t)dims[n_dims - 1]};
    if ((1 << tensor->type & NARROW_TYPES) != 0 &&
        !take_scales(weights, tensor, &first.scales, error))
        return FALSE;
    moe_st_type_dtype(tensor->type, &first.dtype);
    slice(weights, tensor->name, &first, n, out);
    return TRUE;
}

gboolean moe_weights_matrix(MoeWeights *weights, const char *name, gint64 rows, gint64 cols,
                            MoeMatrix *matrix_out, GError **error)
{
    const gint64 dims[] = {rows, cols};
    return take_matrices(weights, name, 2, dims, 1, matrix_out, error);
}

gboolean moe_weights_stack(MoeWeights *weights, const char *name, gint64 n, gint64 rows,
                           gint64 cols, gboolean transposed, MoeMatrix *out, GError **error)
{
    const gint64 dims[] = {n, transposed ? cols : rows, transposed ? rows : cols};
    if (!take_matrices(weights, name, 3, dims, n, out, error))
        return FALSE;
    for (gint64 i = 0; transposed && i < n; i++)
        out[i] = moe_matrix_transpose(&out[i]);
    return TRUE;
}

gboolean moe_weights_mxfp4(MoeWeights *weights, const char *name, gint64 n, gint64 rows,
                           gint64 cols, MoeMatrix *out, GError **error)
{
    g_autofree char *block_name = g_strconcat(name, "_blocks", NULL);
    g_autofree char *scale_name = g_strconcat(name, "_scales", NULL);
    if (cols % MXFP4_BLOCK != 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tensor '%s': rows of %" G_GINT64_FORMAT
                        " elements; MXFP4 needs a multiple of %d",
                        weights->folder, block_name, cols, MXFP4_BLOCK);
    const gint64 dims[] = {n, rows, cols / MXFP4_BLOCK, MXFP4_BLOCK / 2};
    const MoeTensor *blocks = take(weights, block_name, 1U << MOE_ST_U8, 4, dims, error);
    const MoeTensor *scales =
        blocks != NULL ? take(weights, scale_name, 1U << MOE_ST_U8, 3, dims, error) : NULL;
    if (scales == NULL)
        return FALSE;
    const MoeMatrix first = {
        .data = blocks->data,
        .dtype = MOE_F4_E2M1,
        .rows = (size_t)rows,
        .cols = (size_t)cols,
        .scales = {scales->data, MOE_F8_E8M0, 1, MXFP4_BLOCK, (size_t)dims[2]},
    };
    slice(weights, blocks->name, &first, n, out);
    return TRUE;
}

gboolean moe_weights_heads(MoeWeights *weights, const char *k_name, const char *v_name,
                           gint64 heads, gint64 keys, gint64 values, gint64 rank, MoeMatrix *out,
                           GError **error)
{
    g_autofree MoeMatrix *k = g_new(MoeMatrix, heads), *v = g_new(MoeMatrix, heads);
    if (!moe_weights_stack(weights, k_name, heads, keys, rank, TRUE, k, error) ||
        !moe_weights_stack(weights, v_name, heads, values, rank, FALSE, v, error))
        return FALSE;
    for (gint64 h = 0; h < heads; h++)
        if (!moe_weights_check_finite(weights, &k[h], error) ||
            !moe_weights_check_finite(weights, &v[h], error))
            return FALSE;
    const gsize each = (gsize)((keys + values) * rank);
    float *both = g_new(float, (gsize)heads *each), *column = g_new(float, keys);
    g_ptr_array_add(weights->vectors, both);
    for (gint64 h = 0; h < heads; h++) {
        float *to = both + (gsize)h * each;
        const MoeMatrix stored = moe_matrix_transpose(&k[h]); /* [rank, keys] */
        for (gint64 r = 0; r < rank; r++) {
            const float *from = moe_matrix_rows(&stored, (gsize)r, 1, column);
            for (gint64 i = 0; i < keys; i++)
                to[i * rank + r] = from[i];
        }
        to += keys * rank;
        const float *from = moe_matrix_rows(&v[h], 0, (gsize)values, to);
        if (from != to)
            memcpy(to, from, (gsize)(values * rank) * sizeof(float));
    }
    g_free(column);
    *out = (MoeMatrix){.data = both,
                       .dtype = MOE_F32,
                       .rows = (gsize)(heads * (keys + values)),
                       .cols = (gsize)rank};
    return TRUE;
}

const float *moe_weights_vector(MoeWeights *weights, const char *name, gint64 n, GError **error)
{
    const gint64 dims[] = {1, n}; /* ERNIE's biases are rows */
    const MoeTensor *found = g_hash_table_lookup(weights->tensors, name);
    gboolean row_shape = found != NULL && found->n_dims == 2 && found->dims[0] == 1;
    const MoeTensor *tensor =
        take(weights, name, WIDE_TYPES, row_shape ? 2 : 1, row_shape ? dims : &n, error);
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

const float *moe_weights_table(MoeWeights *weights, const char *name, gint64 rows, gint64 cols,
                               gint64 step, GError **error)
{
    MoeMatrix m;
    if (!moe_weights_matrix(weights, name, rows, cols, &m, error) ||
        !moe_weights_check_finite(weights, &m, error))
        return NULL;
    float *table = g_new(float, rows *cols), *row = g_new(float, cols);
    g_ptr_array_add(weights->vectors, table);
    for (gint64 r = 0; r < rows; r++) {
        const float *from = moe_matrix_rows(&m, (size_t)r, 1, row);
        for (gint64 c = 0, to = 0; c < step; c++)
            for (gint64 i = c; i < cols; i += step)
                table[r * cols + to++] = from[i];
    }
    g_free(row);
    return table;
}

gboolean moe_weights_has(const MoeWeights *weights, const char *name)
{
    return g_hash_table_contains(weights->tensors, name);
}

void moe_weights_ignore(MoeWeights *weights, const char *prefix)
{
    GHashTableIter iter;
    gpointer name;
    g_hash_table_iter_init(&iter, weights->tensors);
    while (g_hash_table_iter_next(&iter, &name, NULL))
        if (g_str_has_prefix(name, prefix))
            g_hash_table_add(weights->used, name);
}

static gboolean check_used(const MoeWeights *weights, const char *path, const MoeTensor *tensors,
                           guint n, const char *const *ignored, GError **error)
{
    for (guint i = 0; i < n; i++) {
        gboolean known = g_hash_table_contains(weights->used, tensors[i].name);
        for (guint j = 0; ignored[j] != NULL && !known; j++)
            known = g_str_has_suffix(tensors[i].name, ignored[j]);
        if (!known)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: tensor '%s' does not belong to this model's architecture", path,
                            tensors[i].name);
    }
    return TRUE;
}

gboolean moe_weights_check_used(const MoeWeights *weights, const char *const *ignored,
                                GError **error)
{
    for (guint f = 0; f < weights->files->len; f++) {
        guint n;
        const MoeTensor *tensors = weights->gguf != NULL
                                       ? moe_gguf_tensors(weights->gguf->pdata[f], &n)
                                       : moe_safetensors_tensors(weights->shards->pdata[f], &n);
        if (!check_used(weights, weights->files->pdata[f], tensors, n, ignored, error))
            return FALSE;
    }
    return TRUE;
}

gboolean moe_weights_check_finite(const MoeWeights *weights, const MoeMatrix *matrix,
                                  GError **error)
{
    const gsize at = moe_matrix_find_nonfinite(matrix);
    if (at == SIZE_MAX)
        return TRUE;
    const char *name = g_hash_table_lookup(weights->by_data, matrix->data);
    const MoeTensor *tensor = g_hash_table_lookup(weights->tensors, name);
    const char *path = g_hash_table_lookup(weights->paths, name);
    /* Where in the tensor the view has it. */
    const gsize row = matrix->first_row + at / matrix->cols * MAX(matrix->row_step, 1);
    const gsize col = matrix->first_col + at % matrix->cols;
    g_autofree char *slice_text = NULL;
    if (tensor->n_dims > 2) {
        const gsize bytes = moe_tensor_bytes(tensor->type, tensor->n_elements / tensor->dims[0]);
        const gsize offset = (gsize)((const char *)matrix->data - (const char *)tensor->data);
        slice_text = g_strdup_printf("%" G_GSIZE_FORMAT ", ", offset / bytes);
    }
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: tensor '%s': element [%s%zu, %zu] is not a finite number", path, name,
                    slice_text != NULL ? slice_text : "", matrix->transposed ? col : row,
                    matrix->transposed ? row : col);
}

void moe_weights_release(const MoeWeights *weights)
{
    for (guint s = 0; s < weights->shards->len; s++)
        moe_safetensors_release(weights->shards->pdata[s]);
    for (guint f = 0; weights->gguf != NULL && f < weights->gguf->len; f++)
        moe_gguf_release(weights->gguf->pdata[f]);
}

typedef struct {
    const char *start, *end;
} Span;

static int by_start(gconstpointer a, gconstpointer b)
{
    const Span *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* Many experts' matrices lie side by side in the file: few calls, each of many pages. */
void moe_weights_prefetch(const MoeMatrix *const *matrices, gsize n)
{
    const gsize page = (gsize)sysconf(_SC_PAGESIZE);
    g_autofree Span *spans = g_new(Span, n + 1);
    gsize n_spans = 0;
    for (gsize i = 0; i < n; i++) {
        gsize bytes = 0;
        const char *data = matrices[i]->data != NULL ? moe_matrix_span(matrices[i], &bytes) : NULL;
        if (bytes > 0)
            spans[n_spans++] = (Span){data - (gsize)data % page, data + bytes};
    }
    qsort(spans, n_spans, sizeof(*spans), by_start);
    for (gsize i = 0, next; i < n_spans; i = next) {
        const char *end = spans[i].end;
        for (next = i + 1; next < n_spans && spans[next].start <= end; next++)
            end = MAX(end, spans[next].end);
        (void)madvise((void *)spans[i].start, (gsize)(end - spans[i].start), MADV_WILLNEED);
    }
}

char *moe_weights_digest(const MoeWeights *weights, GError **error)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree char *config = g_build_filename(weights->folder, "config.json", NULL);
    /* A GGUF file is its own configuration. */
    for (guint i = weights->gguf != NULL ? 1 : 0; i <= weights->files->len; i++) {
        g_autofree char *digest =
            moe_file_digest(i == 0 ? config : weights->files->pdata[i - 1], error);
        if (digest == NULL)
            return NULL;
        g_checksum_update(sum, (const guchar *)digest, -1);
    }
    return g_strconcat("sha256:", g_checksum_get_string(sum), NULL);
}

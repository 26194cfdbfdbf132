#include "config.h"

#include "models/safetensors.h"

#include "sim/base/file.h"
#include "sim/base/json.h"

#include <string.h>

enum { LARGEST_HEADER = 100000000 }; /* the reference implementation's limit */

struct MoeSafetensors {
    char *path;
    GMappedFile *file;
    MoeJson *header;
    GArray *tensors;     /* MoeTensor, by offset */
    GHashTable *by_name; /* name -> MoeTensor * */
    GPtrArray *copies;   /* of misaligned data */
};

static gboolean read_ints(JsonArray *array, gint64 *values, guint n)
{
    for (guint i = 0; i < n; i++) {
        JsonNode *node = json_array_get_element(array, i);
        if (json_node_get_value_type(node) != G_TYPE_INT64 || json_node_get_int(node) < 0)
            return FALSE;
        values[i] = json_node_get_int(node);
    }
    return TRUE;
}

/* Fills everything but the data; begin and end are offsets behind the header. */
static gboolean read_tensor(const char *where, const char *name, JsonNode *node, MoeTensor *tensor,
                            gint64 *begin, gint64 *end, GError **error)
{
    JsonObject *object = moe_json_object(node, where, error);
    const char *dtype = object != NULL ? moe_json_get_string(object, "dtype", where, error) : NULL;
    JsonArray *shape = dtype != NULL ? moe_json_get_array(object, "shape", where, error) : NULL;
    JsonArray *offsets =
        shape != NULL ? moe_json_get_array(object, "data_offsets", where, error) : NULL;
    if (offsets == NULL)
        return FALSE;
    if (json_object_get_size(object) != 3)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: keys beside dtype, shape and data_offsets",
                        where);
    tensor->name = name;
    if (!moe_st_type_find(dtype, MOE_ST_BLOCKS, &tensor->type))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: dtype '%s' is not known", where, dtype);
    guint n_dims = json_array_get_length(shape);
    if (n_dims > MOE_ST_MOST_DIMS)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: shape has %u dimensions; at most %d are read",
                        where, n_dims, MOE_ST_MOST_DIMS);
    gint64 bounds[2];
    if (json_array_get_length(offsets) != 2 || !read_ints(offsets, bounds, 2) ||
        !read_ints(shape, tensor->dims, n_dims))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: shape and data_offsets must be lists of numbers from 0", where);
    tensor->n_dims = (int)n_dims;
    tensor->n_elements = 1;
    for (guint i = 0; i < n_dims; i++)
        if (__builtin_mul_overflow(tensor->n_elements, tensor->dims[i], &tensor->n_elements))
            return moe_fail(error, MOE_ERROR_INPUT, "%s: the shape has too many elements", where);
    gint64 bytes;
    if (__builtin_mul_overflow(tensor->n_elements, (gint64)moe_st_type_size(tensor->type),
                               &bytes) ||
        bounds[1] < bounds[0] || bounds[1] - bounds[0] != bytes)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: data_offsets [%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
                        "] do not hold the shape's elements of type %s",
                        where, bounds[0], bounds[1], dtype);
    *begin = bounds[0];
    *end = bounds[1];
    return TRUE;
}

typedef struct {
    MoeTensor tensor;
    gint64 begin, end;
} Entry;

static int compare_entries(gconstpointer a, gconstpointer b)
{
    const Entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static gboolean check_metadata(JsonNode *node, const char *path, GError **error)
{
    JsonObject *object = moe_json_object(node, path, error);
    if (object == NULL)
        return FALSE;
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;
    json_object_iter_init(&iter, object);
    while (json_object_iter_next(&iter, &key, &value))
        if (json_node_get_value_type(value) != G_TYPE_STRING)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: __metadata__: %s is not a string", path,
                            key);
    return TRUE;
}

static gboolean read_entries(const MoeSafetensors *file, JsonObject *root, GArray *entries,
                             GError **error)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;
    json_object_iter_init(&iter, root);
    while (json_object_iter_next(&iter, &name, &node)) {
        if (strcmp(name, "__metadata__") == 0) {
            if (!check_metadata(node, file->path, error))
                return FALSE;
            continue;
        }
        g_autofree char *where = g_strdup_printf("%s: tensor '%s'", file->path, name);
        Entry entry = {0};
        if (!read_tensor(where, name, node, &entry.tensor, &entry.begin, &entry.end, error))
            return FALSE;
        g_array_append_val(entries, entry);
    }
    g_array_sort(entries, compare_entries);
    return TRUE;
}

/* Data must be contiguous and reach the end of the file. */
static gboolean place_entries(MoeSafetensors *file, const GArray *entries, size_t start,
                              GError **error)
{
    const char *data = g_mapped_file_get_contents(file->file) + start;
    gint64 size = (gint64)(g_mapped_file_get_length(file->file) - start), at = 0;
    for (guint i = 0; i < entries->len; i++) {
        const Entry *entry = &g_array_index(entries, Entry, i);
        if (entry->begin != at)
            return moe_fail(
                error, MOE_ERROR_INPUT,
                "%s: tensor '%s': its data begin at byte %" G_GINT64_FORMAT
                " of the data, where %s ends at %" G_GINT64_FORMAT "; data must neither "
                "overlap nor leave gaps",
                file->path, entry->tensor.name, entry->begin,
                i > 0 ? g_array_index(entries, Entry, i - 1).tensor.name : "nothing", at);
        if (entry->end > size)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: tensor '%s': its data end at byte %" G_GINT64_FORMAT
                            " of the data, but the file holds %" G_GINT64_FORMAT
                            "; the file is truncated",
                            file->path, entry->tensor.name, entry->end, size);
        MoeTensor tensor = entry->tensor;
        tensor.data = data + entry->begin;
        size_t element = moe_st_type_size(tensor.type);
        if ((guintptr)tensor.data % element != 0) {
            /* One byte more, so that an empty tensor has data too. */
            void *copy = g_malloc((gsize)(entry->end - entry->begin) + 1);
            memcpy(copy, tensor.data, (size_t)(entry->end - entry->begin));
            g_ptr_array_add(file->copies, copy);
            tensor.data = copy;
        }
        g_array_append_val(file->tensors, tensor);
        at = entry->end;
    }
    if (at != size)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GINT64_FORMAT " bytes of data belong to no tensor", file->path,
                        size - at);
    for (guint i = 0; i < file->tensors->len; i++) {
        MoeTensor *tensor = &g_array_index(file->tensors, MoeTensor, i);
        g_hash_table_insert(file->by_name, (gpointer)tensor->name, tensor);
    }
    return TRUE;
}

static gboolean read_header(MoeSafetensors *file, GError **error)
{
    const guint8 *bytes = (const guint8 *)g_mapped_file_get_contents(file->file);
    size_t length = g_mapped_file_get_length(file->file);
    if (length < 8)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: %zu bytes, too short for a safetensors file",
                        file->path, length);
    guint64 header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | bytes[i];
    if (header > LARGEST_HEADER)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: byte 0: a header of %" G_GUINT64_FORMAT
                        " bytes; at most 100000000 are allowed (is this a safetensors file?)",
                        file->path, header);
    if (header > length - 8)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: byte 0: a header of %" G_GUINT64_FORMAT
                        " bytes in a file of %zu; the file is truncated",
                        file->path, header, length);
    g_autofree char *name = g_strdup_printf("%s: header", file->path);
    file->header = moe_json_parse((const char *)bytes + 8, header, name, error);
    JsonObject *root =
        file->header != NULL ? moe_json_object(moe_json_root(file->header), name, error) : NULL;
    if (root == NULL)
        return FALSE;
    g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    return read_entries(file, root, entries, error) &&
           place_entries(file, entries, 8 + header, error);
}

MoeSafetensors *moe_safetensors_open(const char *path, GError **error)
{
    GMappedFile *mapped = moe_file_map(path, error);
    if (mapped == NULL)
        return NULL;
    g_autoptr(MoeSafetensors) file = g_new0(MoeSafetensors, 1);
    file->path = g_strdup(path);
    file->file = mapped;
    file->tensors = g_array_new(FALSE, FALSE, sizeof(MoeTensor));
    file->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    file->copies = g_ptr_array_new_with_free_func(g_free);
    if (!read_header(file, error))
        return NULL;
    return g_steal_pointer(&file);
}

void moe_safetensors_free(MoeSafetensors *file)
{
    if (file == NULL)
        return;
    g_free(file->path);
    g_hash_table_unref(file->by_name);
    g_array_unref(file->tensors);
    g_ptr_array_unref(file->copies);
    moe_json_free(file->header);
    g_mapped_file_unref(file->file);
    g_free(file);
}

void moe_safetensors_release(const MoeSafetensors *file)
{
    moe_file_release(file->file);
}

const MoeTensor *moe_safetensors_tensors(const MoeSafetensors *file, guint *n_out)
{
    *n_out = file->tensors->len;
    return (const MoeTensor *)(const void *)file->tensors->data;
}

const MoeTensor *moe_safetensors_find(const MoeSafetensors *file, const char *name)
{
    return g_hash_table_lookup(file->by_name, name);
}

const char *moe_safetensors_metadata(const MoeSafetensors *file, const char *key)
{
    JsonObject *root = json_node_get_object(moe_json_root(file->header));
    if (!json_object_has_member(root, "__metadata__"))
        return NULL;
    JsonObject *metadata = json_object_get_object_member(root, "__metadata__");
    return json_object_has_member(metadata, key) ? json_object_get_string_member(metadata, key)
                                                 : NULL;
}

const char *moe_safetensors_path(const MoeSafetensors *file)
{
    return file->path;
}

/* --- writing --------------------------------------------------------------------------------- */

static int larger_first(gconstpointer a, gconstpointer b)
{
    const MoeTensor *x = *(const MoeTensor *const *)a, *y = *(const MoeTensor *const *)b;
    size_t i = moe_st_type_size(x->type), j = moe_st_type_size(y->type);
    return i != j ? (i > j ? -1 : 1) : (x < y ? -1 : x > y);
}

static char *make_header(const GPtrArray *order, const char *const *metadata)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    if (metadata != NULL) {
        json_builder_set_member_name(builder, "__metadata__");
        json_builder_begin_object(builder);
        for (; metadata[0] != NULL; metadata += 2) {
            json_builder_set_member_name(builder, metadata[0]);
            json_builder_add_string_value(builder, metadata[1]);
        }
        json_builder_end_object(builder);
    }
    gint64 at = 0;
    for (guint i = 0; i < order->len; i++) {
        const MoeTensor *tensor = order->pdata[i];
        json_builder_set_member_name(builder, tensor->name);
        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "dtype");
        json_builder_add_string_value(builder, moe_st_type_name(tensor->type));
        json_builder_set_member_name(builder, "shape");
        json_builder_begin_array(builder);
        for (int d = 0; d < tensor->n_dims; d++)
            json_builder_add_int_value(builder, tensor->dims[d]);
        json_builder_end_array(builder);
        json_builder_set_member_name(builder, "data_offsets");
        json_builder_begin_array(builder);
        json_builder_add_int_value(builder, at);
        at += tensor->n_elements * (gint64)moe_st_type_size(tensor->type);
        json_builder_add_int_value(builder, at);
        json_builder_end_array(builder);
        json_builder_end_object(builder);
    }
    json_builder_end_object(builder);
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    g_autofree char *text = moe_json_print_compact(root);
    /* Padded with blanks so that the data begin at a multiple of eight. */
    return g_strdup_printf("%s%*s", text, (int)(-strlen(text) % 8), "");
}

gboolean moe_safetensors_write(const char *path, gboolean force, const MoeTensor *tensors, guint n,
                               const char *const *metadata, GError **error)
{
    g_autoptr(GPtrArray) order = g_ptr_array_new();
    for (guint i = 0; i < n; i++)
        g_ptr_array_add(order, (gpointer)&tensors[i]);
    g_ptr_array_sort(order, larger_first);
    g_autofree char *header = make_header(order, metadata);
    MoeWriter *writer = moe_writer_new(path, force, error);
    if (writer == NULL)
        return FALSE;
    guint64 length = strlen(header);
    guint8 prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (guint8)(length >> (8 * i));
    moe_writer_write(writer, prefix, sizeof(prefix));
    moe_writer_write(writer, header, length);
    for (guint i = 0; i < order->len; i++) {
        const MoeTensor *tensor = order->pdata[i];
        moe_writer_write(writer, tensor->data,
                         (size_t)tensor->n_elements * moe_st_type_size(tensor->type));
    }
    return moe_writer_close(writer, error);
}

#include "config.h"

#include "models/gguf.h"

#include "sim/base/file.h"

#include <math.h>
#include <string.h>

enum { USUAL_ALIGNMENT = 32, MOST_ALIGNMENT = 1 << 20, MOST_DIMS = 4, LONGEST_KEY = 65535 };

struct MoeGguf {
    char *path;
    GMappedFile *file;
    GArray *values, *tensors; /* MoeGgufValue, MoeTensor */
    GHashTable *by_key, *by_name;
    GPtrArray *texts; /* keys and names */
};

/* What is left to read. The first failure sets the error and ends the reading. */
typedef struct {
    const char *path;
    const guint8 *data;
    gsize size, at;
    GError **error;
} Cursor;

static const gsize sizes[MOE_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* The tensors' types by their numbers in the file (enum ggml_type). */
static const struct {
    guint32 number;
    MoeStType type;
} tensor_types[] = {
    {0, MOE_ST_F32},     {1, MOE_ST_F16},     {2, MOE_ST_Q4_0},  {3, MOE_ST_Q4_1},
    {6, MOE_ST_Q5_0},    {7, MOE_ST_Q5_1},    {8, MOE_ST_Q8_0},  {10, MOE_ST_Q2_K},
    {11, MOE_ST_Q3_K},   {12, MOE_ST_Q4_K},   {13, MOE_ST_Q5_K}, {14, MOE_ST_Q6_K},
    {20, MOE_ST_IQ4_NL}, {23, MOE_ST_IQ4_XS}, {24, MOE_ST_I8},   {25, MOE_ST_I16},
    {26, MOE_ST_I32},    {27, MOE_ST_I64},    {28, MOE_ST_F64},  {30, MOE_ST_BF16},
    {39, MOE_ST_MXFP4},
};

/* --- numbers and strings --------------------------------------------------------------------- */

static gboolean fail_at(const Cursor *c, gsize at, const char *format, ...) G_GNUC_PRINTF(3, 4);

static gboolean fail_at(const Cursor *c, gsize at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    return moe_fail(c->error, MOE_ERROR_INPUT, "%s: byte %" G_GSIZE_FORMAT ": %s", c->path, at,
                    what);
}

static guint64 little_endian(const guint8 *bytes, gsize n)
{
    guint64 value = 0;
    for (gsize i = n; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

static gboolean read_number(Cursor *c, gsize bytes, const char *what, guint64 *out)
{
    *out = 0;
    if (c->size - c->at < bytes)
        return fail_at(c, c->at, "the file ends where %s belongs", what);
    *out = little_endian(c->data + c->at, bytes);
    c->at += bytes;
    return TRUE;
}

/* A length or count, of things of at least @least bytes each, which must fit in what is left. */
static gboolean read_count(Cursor *c, gsize least, const char *what, guint64 *out)
{
    gsize at = c->at;
    if (!read_number(c, 8, what, out))
        return FALSE;
    return *out <= (c->size - c->at) / least ||
           fail_at(c, at,
                   "%s: a length or count of %" G_GUINT64_FORMAT ", but %" G_GSIZE_FORMAT
                   " bytes are left",
                   what, *out, c->size - c->at);
}

/* A key or name, which becomes ours. */
static const char *read_name(Cursor *c, MoeGguf *file, const char *what)
{
    guint64 length;
    gsize at = c->at;
    if (!read_count(c, 1, what, &length))
        return NULL;
    const char *text = (const char *)c->data + c->at;
    if (length == 0 || length > LONGEST_KEY || !g_utf8_validate_len(text, length, NULL)) {
        fail_at(c, at, "%s: not a name: empty, longer than %d bytes, or not UTF-8", what,
                LONGEST_KEY);
        return NULL;
    }
    c->at += length;
    g_ptr_array_add(file->texts, g_strndup(text, length));
    return file->texts->pdata[file->texts->len - 1];
}

/* --- metadata -------------------------------------------------------------------------------- */

static gboolean read_type(Cursor *c, const char *key, gboolean of_items, MoeGgufType *out)
{
    guint64 type;
    gsize at = c->at;
    if (!read_number(c, 4, "a type", &type))
        return FALSE;
    if (of_items && type == MOE_GGUF_ARRAY)
        return fail_at(c, at, "%s: an array of arrays; no key needs one", key);
    *out = (MoeGgufType)type;
    return type < MOE_GGUF_TYPE_COUNT ||
           fail_at(c, at, "%s: type %" G_GUINT64_FORMAT " is not known; types go from 0 to %d", key,
                   type, MOE_GGUF_TYPE_COUNT - 1);
}

/* Steps over the items. */
static gboolean skip_items(Cursor *c, const MoeGgufValue *value)
{
    for (gsize i = 0; value->type == MOE_GGUF_STRING && i < value->n; i++) {
        guint64 length;
        if (!read_count(c, 1, value->key, &length))
            return FALSE;
        c->at += length;
    }
    const gsize size = sizes[value->type];
    if (size > 0 && value->n > (c->size - c->at) / size)
        return fail_at(c, c->at,
                       "%s: %" G_GSIZE_FORMAT " items of %" G_GSIZE_FORMAT
                       " bytes, but %" G_GSIZE_FORMAT " bytes are left",
                       value->key, value->n, size, c->size - c->at);
    for (gsize i = 0; value->type == MOE_GGUF_BOOL && i < value->n; i++)
        if (c->data[c->at + i] > 1)
            return fail_at(c, c->at + i, "%s: %u is neither false (0) nor true (1)", value->key,
                           c->data[c->at + i]);
    c->at += value->n * size;
    return TRUE;
}

static gsize least_size(MoeGgufType type)
{
    return type == MOE_GGUF_STRING ? 8 : sizes[type];
}

static gboolean read_value(Cursor *c, MoeGguf *file)
{
    gsize at = c->at;
    guint64 n = 1;
    MoeGgufValue value = {.key = read_name(c, file, "a key")};
    if (value.key == NULL || !read_type(c, value.key, FALSE, &value.type))
        return FALSE;
    if (g_hash_table_contains(file->by_key, value.key))
        return fail_at(c, at, "%s: the same key twice", value.key);
    value.is_array = value.type == MOE_GGUF_ARRAY;
    if (value.is_array && (!read_type(c, value.key, TRUE, &value.type) ||
                           !read_count(c, least_size(value.type), value.key, &n)))
        return FALSE;
    value.n = n;
    value.offset = c->at;
    value.data = c->data + c->at;
    if (!skip_items(c, &value))
        return FALSE;
    g_array_append_val(file->values, value);
    g_hash_table_insert(file->by_key, (gpointer)value.key, GUINT_TO_POINTER(file->values->len));
    return TRUE;
}

void moe_gguf_release(const MoeGguf *file)
{
    moe_file_release(file->file);
}

const MoeGgufValue *moe_gguf_values(const MoeGguf *file, guint *n_out)
{
    *n_out = file->values->len;
    return (const MoeGgufValue *)(const void *)file->values->data;
}

const MoeGgufValue *moe_gguf_find(const MoeGguf *file, const char *key)
{
    guint place = GPOINTER_TO_UINT(g_hash_table_lookup(file->by_key, key));
    return place > 0 ? &g_array_index(file->values, MoeGgufValue, place - 1) : NULL;
}

gboolean moe_gguf_fail(const MoeGguf *file, const MoeGgufValue *value, GError **error,
                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    return moe_fail(error, MOE_ERROR_INPUT, "%s: byte %" G_GSIZE_FORMAT ": %s: %s", file->path,
                    value->offset, value->key, what);
}

/* The fewest digits that give @value back, as a float or a double. */
static char *number_text(double value, gboolean is_double)
{
    char text[40];
    for (int digits = is_double ? 15 : 6; digits <= 17; digits++) {
        g_snprintf(text, sizeof(text), "%.*g", digits, value);
        double back = g_ascii_strtod(text, NULL);
        if (is_double ? back >= value && back <= value
                      : (float)back >= (float)value && (float)back <= (float)value)
            break;
    }
    return g_strdup(text);
}

char *moe_gguf_text(const MoeGgufValue *value, gsize i)
{
    const gsize size = sizes[value->type];
    const guint64 bits = size > 0 ? little_endian(value->data + i * size, size) : 0;
    const guint32 low = (guint32)bits;
    float narrow;
    double wide;
    switch (value->type) {
    case MOE_GGUF_STRING:
        return g_strndup((const char *)value->data + 8, little_endian(value->data, 8));
    case MOE_GGUF_BOOL:
        return g_strdup(bits != 0 ? "true" : "false");
    case MOE_GGUF_FLOAT32:
        memcpy(&narrow, &low, sizeof(narrow));
        return number_text((double)narrow, FALSE);
    case MOE_GGUF_FLOAT64:
        memcpy(&wide, &bits, sizeof(wide));
        return number_text(wide, TRUE);
    case MOE_GGUF_INT8:
        return g_strdup_printf("%d", (gint8)bits);
    case MOE_GGUF_INT16:
        return g_strdup_printf("%d", (gint16)bits);
    case MOE_GGUF_INT32:
        return g_strdup_printf("%d", (gint32)bits);
    case MOE_GGUF_INT64:
        return g_strdup_printf("%" G_GINT64_FORMAT, (gint64)bits);
    default:
        return g_strdup_printf("%" G_GUINT64_FORMAT, bits);
    }
}

gboolean moe_gguf_int(const MoeGguf *file, const char *key, gint64 min, gint64 max, gint64 fallback,
                      gint64 *out, GError **error)
{
    const MoeGgufValue *value = moe_gguf_find(file, key);
    *out = fallback;
    if (value == NULL)
        return TRUE;
    g_autofree char *text = moe_gguf_text(value, 0);
    return (!value->is_array && value->type != MOE_GGUF_STRING &&
            g_ascii_string_to_signed(text, 10, min, max, out, NULL)) ||
           moe_gguf_fail(file, value, error,
                         "not a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, min,
                         max);
}

gboolean moe_gguf_string(const MoeGguf *file, const char *key, char **out, GError **error)
{
    const MoeGgufValue *value = moe_gguf_find(file, key);
    *out = NULL;
    if (value == NULL)
        return TRUE;
    if (value->is_array || value->type != MOE_GGUF_STRING)
        return moe_gguf_fail(file, value, error, "not a string");
    const guint64 length = little_endian(value->data, 8);
    if (memchr(value->data + 8, '\0', length) != NULL)
        return moe_gguf_fail(file, value, error, "a string with U+0000 in it");
    *out = moe_gguf_text(value, 0);
    return TRUE;
}

GPtrArray *moe_gguf_strings(const MoeGguf *file, const MoeGgufValue *value, GError **error)
{
    if (!value->is_array || value->type != MOE_GGUF_STRING || value->n >= G_MAXINT32) {
        moe_gguf_fail(file, value, error, "not a list of strings");
        return NULL;
    }
    g_autoptr(GPtrArray) strings = g_ptr_array_new_full((guint)value->n + 1, g_free);
    const guint8 *at = value->data;
    for (gsize i = 0; i < value->n; i++) {
        const guint64 length = little_endian(at, 8);
        if (memchr(at + 8, '\0', length) != NULL) {
            moe_gguf_fail(file, value, error, "item %" G_GSIZE_FORMAT " has U+0000 in it", i);
            return NULL;
        }
        g_ptr_array_add(strings, g_strndup((const char *)at + 8, length));
        at += 8 + length;
    }
    g_ptr_array_add(strings, NULL);
    return g_steal_pointer(&strings);
}

/* --- tensors --------------------------------------------------------------------------------- */

static gboolean read_shape(Cursor *c, MoeTensor *tensor)
{
    guint64 n;
    gsize at = c->at;
    if (!read_number(c, 4, "the number of dimensions", &n))
        return FALSE;
    if (n < 1 || n > MOST_DIMS)
        return fail_at(c, at,
                       "tensor '%s': %" G_GUINT64_FORMAT " dimensions; they are 1 to %d in number",
                       tensor->name, n, MOST_DIMS);
    tensor->n_dims = (int)n;
    tensor->n_elements = 1;
    for (int i = tensor->n_dims - 1; i >= 0; i--) {
        guint64 dim;
        at = c->at;
        if (!read_number(c, 8, "a dimension", &dim))
            return FALSE;
        if (dim < 1 || dim > G_MAXINT64 ||
            __builtin_mul_overflow(tensor->n_elements, (gint64)dim, &tensor->n_elements))
            return fail_at(c, at,
                           "tensor '%s': a dimension of %" G_GUINT64_FORMAT
                           "; none is empty, and all together count at most 2^63 - 1 elements",
                           tensor->name, dim);
        tensor->dims[i] = (gint64)dim;
    }
    return TRUE;
}

static gboolean read_tensor_type(Cursor *c, MoeTensor *tensor)
{
    guint64 number;
    gsize at = c->at;
    if (!read_number(c, 4, "a tensor's type", &number))
        return FALSE;
    size_t i = 0;
    while (i < G_N_ELEMENTS(tensor_types) && tensor_types[i].number != number)
        i++;
    if (i == G_N_ELEMENTS(tensor_types))
        return fail_at(c, at,
                       "tensor '%s': type %" G_GUINT64_FORMAT " is not read; F32, F16, BF16, Q4_0, "
                       "Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS and MXFP4 are",
                       tensor->name, number);
    tensor->type = tensor_types[i].type;
    const gint64 block = (gint64)moe_st_type_block(tensor->type);
    return tensor->dims[tensor->n_dims - 1] % block == 0 ||
           fail_at(c, at,
                   "tensor '%s': rows of %" G_GINT64_FORMAT
                   " elements are no whole blocks of %s, which have %" G_GINT64_FORMAT,
                   tensor->name, tensor->dims[tensor->n_dims - 1], moe_st_type_name(tensor->type),
                   block);
}

/* Where a tensor says that its data are, to be checked when the data's beginning is known. */
typedef struct {
    gsize at;
    guint64 offset;
} Place;

static gboolean read_tensor(Cursor *c, MoeGguf *file, GArray *places)
{
    gsize at = c->at;
    MoeTensor tensor = {.name = read_name(c, file, "a tensor's name")};
    if (tensor.name == NULL || !read_shape(c, &tensor) || !read_tensor_type(c, &tensor))
        return FALSE;
    if (!g_hash_table_add(file->by_name, (gpointer)tensor.name))
        return fail_at(c, at, "tensor '%s' is there twice", tensor.name);
    Place place = {.at = c->at};
    if (!read_number(c, 8, "a tensor's offset", &place.offset))
        return FALSE;
    g_array_append_val(file->tensors, tensor);
    g_array_append_val(places, place);
    return TRUE;
}

static gsize padded(gsize n, gsize alignment)
{
    return n + (alignment - n % alignment) % alignment;
}

/* Data follow each other in the tensors' order, each padded. @start: of the first. */
static gboolean place_tensors(const Cursor *c, MoeGguf *file, const GArray *places, gsize start,
                              gsize alignment)
{
    gsize at = 0;
    for (guint i = 0; i < file->tensors->len; i++) {
        MoeTensor *tensor = &g_array_index(file->tensors, MoeTensor, i);
        const Place *place = &g_array_index(places, Place, i);
        const gsize left = start + at <= c->size ? c->size - start - at : 0;
        if (place->offset != at)
            return fail_at(c, place->at,
                           "tensor '%s': its data begin at %" G_GUINT64_FORMAT
                           ", where those before it end at %" G_GSIZE_FORMAT
                           "; data must neither overlap nor leave gaps",
                           tensor->name, place->offset, at);
        if ((guint64)tensor->n_elements / moe_st_type_block(tensor->type) >
            left / moe_st_type_size(tensor->type))
            return fail_at(
                c, place->at,
                "tensor '%s': %" G_GINT64_FORMAT " elements of type %s from byte %" G_GSIZE_FORMAT
                " on are not in a file of %" G_GSIZE_FORMAT " bytes; the file is truncated",
                tensor->name, tensor->n_elements, moe_st_type_name(tensor->type), start + at,
                c->size);
        tensor->data = c->data + start + at;
        at = padded(at + moe_tensor_bytes(tensor->type, tensor->n_elements), alignment);
        g_hash_table_insert(file->by_name, (gpointer)tensor->name, tensor);
    }
    return start + at >= c->size ||
           fail_at(c, start + at, "%" G_GSIZE_FORMAT " bytes of data belong to no tensor",
                   c->size - start - at);
}

/* --- the file -------------------------------------------------------------------------------- */

static gboolean read_version(Cursor *c)
{
    guint64 magic, version;
    if (!read_number(c, 4, "the magic number", &magic))
        return FALSE;
    if (memcmp(c->data, "GGUF", 4) != 0)
        return fail_at(c, 0, "not a GGUF file: it does not begin with \"GGUF\"");
    if (!read_number(c, 4, "the version", &version))
        return FALSE;
    if ((version & 0xffff) == 0)
        return fail_at(c, 4, "big-endian numbers; only little-endian files are read");
    return version == 2 || version == 3 ||
           fail_at(c, 4, "version %" G_GUINT64_FORMAT " is not read; 2 and 3 are", version);
}

static gboolean read_header(Cursor *c, MoeGguf *file)
{
    /* Of a key: length, a byte, type, a byte. Of a tensor: length, a byte, dimensions, one, type,
     * offset. */
    enum { LEAST_KEY = 8 + 1 + 4 + 1, LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8 };
    guint64 n_tensors, n_keys;
    gint64 alignment;
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(Place));
    if (!read_version(c) || !read_count(c, LEAST_TENSOR, "the number of tensors", &n_tensors) ||
        !read_count(c, LEAST_KEY, "the number of keys", &n_keys))
        return FALSE;
    for (guint64 i = 0; i < n_keys; i++)
        if (!read_value(c, file))
            return FALSE;
    if (!moe_gguf_int(file, "general.alignment", 1, MOST_ALIGNMENT, USUAL_ALIGNMENT, &alignment,
                      c->error))
        return FALSE;
    if (alignment % 8 != 0)
        return moe_gguf_fail(file, moe_gguf_find(file, "general.alignment"), c->error,
                             "%" G_GINT64_FORMAT " is not a multiple of 8", alignment);
    for (guint64 i = 0; i < n_tensors; i++)
        if (!read_tensor(c, file, places))
            return FALSE;
    return place_tensors(c, file, places, padded(c->at, (gsize)alignment), (gsize)alignment);
}

MoeGguf *moe_gguf_open(const char *path, GError **error)
{
    GMappedFile *mapped = moe_file_map(path, error);
    if (mapped == NULL)
        return NULL;
    g_autoptr(MoeGguf) file = g_new0(MoeGguf, 1);
    file->path = g_strdup(path);
    file->file = mapped;
    file->values = g_array_new(FALSE, FALSE, sizeof(MoeGgufValue));
    file->tensors = g_array_new(FALSE, FALSE, sizeof(MoeTensor));
    file->by_key = g_hash_table_new(g_str_hash, g_str_equal);
    file->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    file->texts = g_ptr_array_new_with_free_func(g_free);
    Cursor cursor = {.path = path,
                     .data = (const guint8 *)g_mapped_file_get_contents(mapped),
                     .size = g_mapped_file_get_length(mapped),
                     .error = error};
    return read_header(&cursor, file) ? g_steal_pointer(&file) : NULL;
}

void moe_gguf_free(MoeGguf *file)
{
    if (file == NULL)
        return;
    g_free(file->path);
    g_array_unref(file->values);
    g_array_unref(file->tensors);
    g_hash_table_unref(file->by_key);
    g_hash_table_unref(file->by_name);
    g_ptr_array_unref(file->texts);
    g_mapped_file_unref(file->file);
    g_free(file);
}

const MoeTensor *moe_gguf_tensors(const MoeGguf *file, guint *n_out)
{
    *n_out = file->tensors->len;
    return (const MoeTensor *)(const void *)file->tensors->data;
}

const MoeTensor *moe_gguf_tensor(const MoeGguf *file, const char *name)
{
    return g_hash_table_lookup(file->by_name, name);
}

const char *moe_gguf_path(const MoeGguf *file)
{
    return file->path;
}

/* --- models of several files ----------------------------------------------------------------- */

gboolean moe_gguf_is_name(const char *path)
{
    return g_str_has_suffix(path, ".gguf");
}

/* The digits of "-NNNNN-of-NNNNN.gguf" at the end of @path; FALSE: it has another name. */
static gboolean split_name(const char *path, char **stem_out, guint *part_out, guint *n_out)
{
    enum { TAIL = sizeof("-00001-of-00001.gguf") - 1 };
    const gsize length = strlen(path);
    int end = 0;
    if (length <= TAIL ||
        sscanf(path + length - TAIL, "-%5u-of-%5u.gguf%n", part_out, n_out, &end) != 2 ||
        end != TAIL)
        return FALSE;
    *stem_out = g_strndup(path, length - TAIL);
    return TRUE;
}

/* The only model in @folder: its file, or the first of its parts. */
static char *find_in_folder(const char *folder, GError **error)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, error);
    g_autofree char *found = NULL;
    for (const char *name; dir != NULL && (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *stem = NULL;
        guint part = 1, n;
        if (!moe_gguf_is_name(name) || (split_name(name, &stem, &part, &n) && part != 1))
            continue;
        if (found != NULL) {
            moe_fail(error, MOE_ERROR_INPUT,
                     "%s: several GGUF files are there; name the one that you want", folder);
            return NULL;
        }
        found = g_build_filename(folder, name, NULL);
    }
    if (found == NULL)
        moe_fail(error, MOE_ERROR_INPUT, "%s: no GGUF file is there", folder);
    return g_steal_pointer(&found);
}

/* The files of the model, as strings. */
static GPtrArray *list_parts(const char *path, GError **error)
{
    g_autofree char *first =
        g_file_test(path, G_FILE_TEST_IS_DIR) ? find_in_folder(path, error) : g_strdup(path);
    g_autofree char *stem = NULL;
    guint part, n;
    if (first == NULL)
        return NULL;
    GPtrArray *parts = g_ptr_array_new_with_free_func(g_free);
    if (!split_name(first, &stem, &part, &n) || n == 0)
        g_ptr_array_add(parts, g_steal_pointer(&first));
    for (guint i = 1; stem != NULL && i <= n; i++)
        g_ptr_array_add(parts, g_strdup_printf("%s-%05u-of-%05u.gguf", stem, i, n));
    return parts;
}

GPtrArray *moe_gguf_open_model(const char *path, GError **error)
{
    g_autoptr(GPtrArray) paths = list_parts(path, error);
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func((GDestroyNotify)moe_gguf_free);
    for (guint i = 0; paths != NULL && i < paths->len; i++) {
        gint64 count = 1;
        MoeGguf *file = moe_gguf_open(paths->pdata[i], error);
        if (file == NULL)
            return NULL;
        g_ptr_array_add(files, file);
        if (!moe_gguf_int(file, "split.count", 0, 99999, 1, &count, error))
            return NULL;
        if (MAX(count, 1) != paths->len) {
            moe_gguf_fail(file, moe_gguf_find(file, "split.count"), error,
                          "%" G_GINT64_FORMAT " parts, but the file's name says %u; parts are "
                          "called NAME-00001-of-00003.gguf",
                          count, paths->len);
            return NULL;
        }
    }
    return paths != NULL ? g_steal_pointer(&files) : NULL;
}

const MoeTensor *moe_gguf_model_tensor(const GPtrArray *files, const char *name)
{
    const MoeTensor *found = NULL;
    for (guint i = 0; i < files->len && found == NULL; i++)
        found = moe_gguf_tensor(files->pdata[i], name);
    return found;
}

#include "config.h"

#include "workloads/npy.h"

#include "sim/base/file.h"

#include <string.h>

void moe_npy_free(MoeNpy *array)
{
    if (array == NULL)
        return;
    if (array->owner != NULL)
        array->free_owner(array->owner);
    g_free(array);
}

static gboolean fail(const char *path, GError **error, const char *what)
{
    return moe_fail(error, MOE_ERROR_INPUT, "%s: header: %s", path, what);
}

/* Finds the value of @key in the header, which is a Python dictionary of three known keys. */
static const char *find_value(const char *header, const char *key)
{
    g_autofree char *quoted = g_strdup_printf("'%s':", key);
    const char *hit = strstr(header, quoted);
    if (hit == NULL)
        return NULL;
    hit += strlen(quoted);
    while (*hit == ' ')
        hit++;
    return hit;
}

static gboolean read_type(MoeNpy *array, const char *text, const char *path, GError **error)
{
    static const char kinds[] = "iufV"; /* in the order of MoeNpyKind */
    if (text == NULL || text[0] != '\'' || strlen(text) < 5)
        return fail(path, error, "descr is missing or not a plain type");
    const char *kind = strchr(kinds, text[2]);
    int size = text[3] - '0';
    gboolean known = kind != NULL && *kind != '\0' && text[4] == '\'' &&
                     (size == 1 || size == 2 || size == 4 || size == 8) &&
                     (*kind != 'f' || size > 1) && (*kind != 'V' || size == 2);
    if (!known || (text[1] != '<' && text[1] != '|' && size > 1)) {
        g_autofree char *shown = g_utf8_make_valid(text, (gssize)MIN(strcspn(text, ",}"), 40));
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: header: the type %s is not read; little-endian integers and floats are "
            "(array.astype('<i4'))",
            path, shown);
    }
    array->kind = (MoeNpyKind)(kind - kinds);
    array->size = size;
    return TRUE;
}

static gboolean read_shape(MoeNpy *array, const char *text, const char *path, GError **error)
{
    if (text == NULL || *text != '(')
        return fail(path, error, "shape is missing");
    array->n_elements = 1;
    for (text++; *text != ')';) {
        char *end;
        guint64 dim = g_ascii_strtoull(text, &end, 10);
        if (end == text || !g_ascii_isdigit(*text) || dim > G_MAXINT64 ||
            array->n_dims == (int)G_N_ELEMENTS(array->dims) ||
            __builtin_mul_overflow(array->n_elements, (gint64)dim, &array->n_elements))
            return fail(path, error, "the shape is not a list of at most 8 sizes");
        array->dims[array->n_dims++] = (gint64)dim;
        text = end;
        while (*text == ',' || *text == ' ')
            text++;
        if (*text == '\0')
            return fail(path, error, "the shape does not end");
    }
    return TRUE;
}

static gboolean read_header(MoeNpy *array, const guint8 *bytes, gsize length, const char *path,
                            GError **error)
{
    if (length < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: not a .npy file", path);
    gsize prefix = bytes[6] == 1 ? 10 : 12;
    gsize size = (gsize)bytes[8] | (gsize)bytes[9] << 8;
    if (bytes[6] != 1)
        size |= (gsize)bytes[10] << 16 | (gsize)bytes[11] << 24;
    if (bytes[6] < 1 || bytes[6] > 3)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: version %u of the format is not read", path,
                        bytes[6]);
    if (size > length - prefix || size > 1 << 20)
        return fail(path, error, "it is longer than the file");
    g_autofree char *header = g_strndup((const char *)bytes + prefix, size);
    const char *order = find_value(header, "fortran_order");
    if (order == NULL)
        return fail(path, error, "fortran_order is missing");
    if (!g_str_has_prefix(order, "False"))
        return fail(path, error, "Fortran order is not read; save np.ascontiguousarray(array)");
    if (!read_type(array, find_value(header, "descr"), path, error) ||
        !read_shape(array, find_value(header, "shape"), path, error))
        return FALSE;
    gint64 data;
    if (__builtin_mul_overflow(array->n_elements, (gint64)array->size, &data) ||
        data != (gint64)(length - prefix - size))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: the shape needs %" G_GINT64_FORMAT
                        " elements of %d bytes, the file holds %" G_GSIZE_FORMAT " bytes of data",
                        path, array->n_elements, array->size, length - prefix - size);
    array->data = bytes + prefix + size;
    return TRUE;
}

MoeNpy *moe_npy_read(GBytes *bytes, const char *name, GError **error)
{
    gsize length;
    const guint8 *data = g_bytes_get_data(bytes, &length);
    g_autoptr(MoeNpy) array = g_new0(MoeNpy, 1);
    array->owner = g_bytes_ref(bytes);
    array->free_owner = (GDestroyNotify)g_bytes_unref;
    if (!read_header(array, data, length, name, error))
        return NULL;
    return g_steal_pointer(&array);
}

MoeNpy *moe_npy_open(const char *path, GError **error)
{
    g_autoptr(GMappedFile) file = moe_file_map(path, error);
    if (file == NULL)
        return NULL;
    g_autoptr(GBytes) bytes = g_mapped_file_get_bytes(file);
    return moe_npy_read(bytes, path, error);
}

gint64 moe_npy_int(const MoeNpy *array, gint64 index)
{
    const guint8 *at = array->data + index * array->size;
    guint64 value = 0;
    memcpy(&value, at,
           (size_t)array->size); /* little-endian, as the machines that we compile for */
    if (array->kind == MOE_NPY_SIGNED) {
        int unused = 64 - 8 * array->size;
        return (gint64)(value << unused) >> unused;
    }
    return (gint64)MIN(value, (guint64)G_MAXINT64);
}

gboolean moe_npy_dtype(const MoeNpy *array, MoeDtype *dtype_out)
{
    *dtype_out = array->size == 4 ? MOE_F32 : array->kind == MOE_NPY_BFLOAT ? MOE_BF16 : MOE_F16;
    return array->kind >= MOE_NPY_FLOAT && array->size <= 4;
}

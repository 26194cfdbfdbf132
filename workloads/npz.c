#include "config.h"

#include "sim/base/file.h"
#include "workloads/npy.h"

#include <string.h>
#include <zip.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(zip_t, zip_discard)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(zip_file_t, zip_fclose)

/* What zlib can make of one deflated byte at the most (zlib.net, "zlib Technical Details"). */
enum { BEST_DEFLATE = 1032 };

/* @left: bytes of the archive that no member before has claimed. */
static gboolean check_member(const zip_stat_t *stat, gsize left, const char *name, GError **error)
{
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((stat->valid & needed) != needed || stat->comp_size > left)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: the archive's directory is damaged", name);
    if (stat->comp_method != ZIP_CM_STORE && stat->comp_method != ZIP_CM_DEFLATE)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: compression method %u is not read; np.savez and np.savez_compressed "
                        "write methods 0 and 8, which are",
                        name, stat->comp_method);
    zip_uint64_t most =
        stat->comp_method == ZIP_CM_STORE ? stat->comp_size : stat->comp_size * BEST_DEFLATE;
    if (stat->size > most)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GUINT64_FORMAT " bytes cannot come of %" G_GUINT64_FORMAT
                        " in the archive",
                        name, (guint64)stat->size, (guint64)stat->comp_size);
    return TRUE;
}

static gboolean fill(zip_file_t *member, guint8 *data, gsize size, const char *name, GError **error)
{
    gsize at = 0;
    zip_int64_t n = 1;
    /* One byte more than there should be: at its end libzip compares the checksum. */
    while (n > 0 && at <= size) {
        guint8 more;
        n = at < size ? zip_fread(member, data + at, size - at) : zip_fread(member, &more, 1);
        at += n > 0 ? (gsize)n : 0;
    }
    if (n < 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: byte %" G_GSIZE_FORMAT ": %s", name, at,
                        zip_file_strerror(member));
    return at == size ||
           moe_fail(error, MOE_ERROR_INPUT,
                    "%s: %s than the %" G_GSIZE_FORMAT " bytes that the archive's directory says",
                    name, at < size ? "less" : "more", size);
}

static MoeNpy *read_member(zip_t *zip, zip_uint64_t index, gsize *left, const char *name,
                           GError **error)
{
    zip_stat_t stat;
    g_autoptr(zip_file_t) member = NULL;
    if (zip_stat_index(zip, index, 0, &stat) == 0)
        member = zip_fopen_index(zip, index, 0);
    if (member == NULL) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: %s", name, zip_strerror(zip));
        return NULL;
    }
    if (!check_member(&stat, *left, name, error))
        return NULL;
    *left -= stat.comp_size;
    guint8 *data = g_try_malloc(MAX(stat.size, 1));
    if (data == NULL) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: no memory for %" G_GUINT64_FORMAT " bytes", name,
                 (guint64)stat.size);
        return NULL;
    }
    g_autoptr(GBytes) bytes = g_bytes_new_take(data, stat.size);
    return fill(member, data, stat.size, name, error) ? moe_npy_read(bytes, name, error) : NULL;
}

static zip_t *open_archive(GMappedFile *file, const char *path, GError **error)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(g_mapped_file_get_contents(file),
                                                    g_mapped_file_get_length(file), 0, &why);
    zip_t *zip = source != NULL ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    if (zip == NULL) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: not a .npz archive: %s", path,
                 zip_error_strerror(&why));
        zip_source_free(source);
    }
    zip_error_fini(&why);
    return zip;
}

gboolean moe_npz_read(const char *path, GPtrArray *arrays, GPtrArray *names, GError **error)
{
    g_autoptr(GMappedFile) file = moe_file_map(path, error);
    g_autoptr(zip_t) zip = file != NULL ? open_archive(file, path, error) : NULL;
    if (zip == NULL)
        return FALSE;
    zip_int64_t n = zip_get_num_entries(zip, 0);
    gsize left = g_mapped_file_get_length(file);
    if (n == 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: the archive is empty", path);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *stored = zip_get_name(zip, (zip_uint64_t)i, 0);
        g_autofree char *member = g_utf8_make_valid(stored != NULL ? stored : "?", -1);
        char *name = g_strdup_printf("%s: %s", path, member);
        g_ptr_array_add(names, name);
        if (!g_str_has_suffix(member, ".npy"))
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: not a .npy member; np.savez writes archives of those", name);
        MoeNpy *array = read_member(zip, (zip_uint64_t)i, &left, name, error);
        if (array == NULL)
            return FALSE;
        g_ptr_array_add(arrays, array);
    }
    return TRUE;
}

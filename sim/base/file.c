#include "config.h"

#include "sim/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean fail_open(const char *path, int code, GError **error)
{
    return moe_fail(error, MOE_ERROR_INPUT, "%s: cannot be read: %s", path, g_strerror(code));
}

/* Opens a regular file or pipe for reading; a folder is refused here, with its reason. @flags:
 * O_NONBLOCK where a pipe is to be refused and not waited for. */
static int open_input(const char *path, int flags, struct stat *info, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0) {
        fail_open(path, errno, error);
        return -1;
    }
    if (fstat(fd, info) != 0 || S_ISDIR(info->st_mode)) {
        fail_open(path, S_ISDIR(info->st_mode) ? EISDIR : errno, error);
        close(fd);
        return -1;
    }
    return fd;
}

gboolean moe_file_read(const char *path, size_t limit, char **data_out, size_t *length_out,
                       GError **error)
{
    struct stat info;
    int fd = open_input(path, 0, &info, error);
    if (fd < 0)
        return FALSE;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    guint8 block[1 << 16];
    ssize_t got = 0;
    while (bytes->len <= limit && (got = read(fd, block, sizeof(block))) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            fail_open(path, errno, error);
            close(fd);
            return FALSE;
        }
        g_byte_array_append(bytes, block, (guint)got);
    }
    close(fd);
    if (bytes->len > limit)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: larger than %zu bytes, the most that is read here", path, limit);
    *length_out = bytes->len;
    g_byte_array_append(bytes, (const guint8 *)"", 1);
    *data_out = (char *)g_byte_array_free(g_steal_pointer(&bytes), FALSE);
    return TRUE;
}

GMappedFile *moe_file_map(const char *path, GError **error)
{
    struct stat info;
    int fd = open_input(path, O_NONBLOCK, &info, error);
    if (fd < 0)
        return NULL;
    GMappedFile *file = NULL;
    if (!S_ISREG(info.st_mode)) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: not a regular file", path);
    } else if (info.st_size == 0) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: the file is empty", path);
    } else {
        g_autoptr(GError) inner = NULL;
        file = g_mapped_file_new_from_fd(fd, FALSE, &inner);
        if (file == NULL)
            moe_fail(error, MOE_ERROR_INPUT, "%s: %s", path, inner->message);
    }
    close(fd);
    return file;
}

void moe_file_release(GMappedFile *file)
{
    (void)madvise(g_mapped_file_get_contents(file), g_mapped_file_get_length(file), MADV_DONTNEED);
}

/* Adds the bytes [at, at + length) of the file @fd to @sum. Read, not mapped: pages of a mapping
 * would count as this process's memory. */
static gboolean add_bytes(GChecksum *sum, int fd, const char *path, gsize at, gsize length,
                          GError **error)
{
    enum { PART = 1 << 18 };
    g_autofree guchar *part = g_malloc(PART);
    while (length > 0) {
        gssize n = pread(fd, part, MIN(length, PART), (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: cannot be read: %s", path,
                            n < 0 ? g_strerror(errno) : "it has become shorter");
        g_checksum_update(sum, part, n);
        at += (gsize)n;
        length -= (gsize)n;
    }
    return TRUE;
}

static gboolean add_samples(GChecksum *sum, int fd, const char *path, gsize length, GError **error)
{
    const gsize mib = 1 << 20, stride = 64 << 20;
    g_autofree char *size = g_strdup_printf("%" G_GSIZE_FORMAT "\n", length);
    g_checksum_update(sum, (const guchar *)size, -1);
    for (gsize at = 0; at + mib <= length; at += stride)
        if (!add_bytes(sum, fd, path, at, mib, error))
            return FALSE;
    return add_bytes(sum, fd, path, length - mib, mib, error);
}

char *moe_file_digest(const char *path, GError **error)
{
    const gsize whole = 256 << 20;
    struct stat info;
    int fd = open_input(path, O_NONBLOCK, &info, error);
    if (fd < 0)
        return NULL;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize length = (gsize)info.st_size;
    gboolean good;
    if (!S_ISREG(info.st_mode))
        good = moe_fail(error, MOE_ERROR_INPUT, "%s: not a regular file", path);
    else if (length == 0)
        good = moe_fail(error, MOE_ERROR_INPUT, "%s: the file is empty", path);
    else if (length <= whole)
        good = add_bytes(sum, fd, path, 0, length, error);
    else
        good = add_samples(sum, fd, path, length, error);
    close(fd);
    const char *kind = length <= whole ? "sha256:" : "sha256-sampled:";
    return good ? g_strconcat(kind, g_checksum_get_string(sum), NULL) : NULL;
}

struct MoeWriter {
    char *path;      /* as the user gave it */
    char *target;    /* a link stays, and what it points to is replaced */
    char *temporary; /* NULL when the target is written to directly */
    gboolean force;
    FILE *stream;
    int failure; /* errno of the first failed write, 0 so far */
};

/* The temporary files of now and the folders made for results, for a signal handler: a slot is set
 * before its file is made and cleared before the name is freed. */
enum { MAX_UNFINISHED = 64 };
static char *volatile unfinished[MAX_UNFINISHED];

static void remember(char *temporary)
{
    for (int i = 0; i < MAX_UNFINISHED; i++)
        if (unfinished[i] == NULL) {
            unfinished[i] = temporary;
            return;
        }
}

static void forget(const char *temporary)
{
    for (int i = 0; i < MAX_UNFINISHED; i++)
        if (unfinished[i] == temporary)
            unfinished[i] = NULL;
}

static void writer_free(MoeWriter *writer)
{
    if (writer->temporary != NULL)
        forget(writer->temporary);
    g_free(writer->path);
    free(writer->target);
    g_free(writer->temporary);
    g_free(writer);
}

/* What was made last goes first: a folder after what is in it. */
void moe_writer_remove_unfinished(void)
{
    for (int i = MAX_UNFINISHED - 1; i >= 0; i--)
        if (unfinished[i] != NULL && unlink(unfinished[i]) != 0)
            rmdir(unfinished[i]);
}

static gboolean fail_exists(const char *path, GError **error)
{
    return moe_fail(error, MOE_ERROR_FAILED, "%s: exists already; add --force to replace it", path);
}

/* Remembers @path and its parents that are not there, outermost first. The names stay for as long as
 * the program runs. */
static void remember_missing(const char *path)
{
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return;
    g_autofree char *parent = g_path_get_dirname(path);
    if (strcmp(parent, path) != 0)
        remember_missing(parent);
    remember(g_strdup(path));
}

/* Makes the folder @path and its parents where they are missing. Returns 0, or sets errno. */
static int make_folders(const char *path)
{
    remember_missing(path);
    return g_mkdir_with_parents(path, 0777);
}

static gboolean fail_write(const char *path, int code, GError **error)
{
    return moe_fail(error, MOE_ERROR_FAILED, "%s: cannot be written: %s", path, g_strerror(code));
}

/* Whether @path may be written to. What is there goes to @info; a mode of 0: nothing. */
static gboolean check_target(const char *path, gboolean force, struct stat *info, GError **error)
{
    struct stat link;
    if (*path == '\0')
        return moe_fail(error, MOE_ERROR_USAGE, "the name of the file to write is empty");
    if (stat(path, info) != 0) {
        info->st_mode = 0;
        /* Writing through the link would make a file where nobody looks for it. */
        if (lstat(path, &link) == 0 && S_ISLNK(link.st_mode))
            return moe_fail(error, MOE_ERROR_FAILED, "%s: is a link to nothing; delete it first",
                            path);
        return TRUE;
    }
    if (S_ISDIR(info->st_mode))
        return moe_fail(error, MOE_ERROR_FAILED, "%s: is a folder; give the name of a file", path);
    return force || !S_ISREG(info->st_mode) || fail_exists(path, error);
}

/* A name beside @target that is short enough wherever the target's is. */
static char *temporary_name(const char *target)
{
    enum { LONGEST = 200 };
    g_autofree char *folder = g_path_get_dirname(target), *base = g_path_get_basename(target);
    size_t length = MIN(strlen(base), LONGEST);
    while (length > 0 && ((guchar)base[length] & 0xC0) == 0x80)
        length--;
    g_autofree char *name =
        g_strdup_printf("%.*s.%08x%08x", (int)length, base, g_random_int(), g_random_int());
    return g_build_filename(folder, name, NULL);
}

/* The file keeps the permissions of the one that it replaces (@mode; 0: none). The name is
 * remembered first: a signal may come as soon as the file is there. */
static int open_temporary(MoeWriter *writer, mode_t mode)
{
    g_autofree char *folder = g_path_get_dirname(writer->target);
    if (make_folders(folder) != 0)
        return -1;
    writer->temporary = temporary_name(writer->target);
    remember(writer->temporary);
    int fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                  mode != 0 ? mode & 0777 : 0666);
    if (fd < 0) {
        int code = errno;
        forget(writer->temporary);
        g_clear_pointer(&writer->temporary, g_free);
        errno = code;
    } else if (mode != 0 && fchmod(fd, mode & 0777) != 0) {
        errno = 0; /* it stays narrower than it was */
    }
    return fd;
}

MoeWriter *moe_writer_new(const char *path, gboolean force, GError **error)
{
    struct stat info;
    if (!check_target(path, force, &info, error))
        return NULL;
    MoeWriter *writer = g_new0(MoeWriter, 1);
    writer->path = g_strdup(path);
    writer->target = info.st_mode != 0 ? realpath(path, NULL) : strdup(path);
    writer->force = force;
    int fd;
    if (info.st_mode != 0 && !S_ISREG(info.st_mode))
        fd = open(path, O_WRONLY | O_CLOEXEC);
    else
        fd = open_temporary(writer, info.st_mode);
    if (fd < 0) {
        fail_write(path, errno, error);
        writer_free(writer);
        return NULL;
    }
    writer->stream = fdopen(fd, "wb");
    return writer;
}

gboolean moe_writer_check(const char *path, gboolean force, GError **error)
{
    struct stat info;
    if (!check_target(path, force, &info, error))
        return FALSE;
    if (info.st_mode != 0 && !S_ISREG(info.st_mode))
        return access(path, W_OK) == 0 || fail_write(path, errno, error);
    MoeWriter *writer = moe_writer_new(path, force, error);
    moe_writer_cancel(writer);
    return writer != NULL;
}

void moe_writer_write(MoeWriter *writer, const void *data, size_t length)
{
    if (writer->failure == 0 && length > 0 && fwrite(data, 1, length, writer->stream) != length)
        writer->failure = errno != 0 ? errno : EIO;
}

void moe_writer_printf(MoeWriter *writer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (writer->failure == 0 && vfprintf(writer->stream, format, args) < 0)
        writer->failure = errno != 0 ? errno : EIO;
    va_end(args);
}

/* Gives the temporary file its name. Without force, what has come to be there meanwhile stays; not
 * every file system knows how to rename like that, but link() never replaces anything. */
static int publish(const MoeWriter *writer)
{
    if (writer->force)
        return g_rename(writer->temporary, writer->target);
    if (renameat2(AT_FDCWD, writer->temporary, AT_FDCWD, writer->target, RENAME_NOREPLACE) == 0)
        return 0;
    if ((errno != EINVAL && errno != ENOSYS) || link(writer->temporary, writer->target) != 0)
        return -1;
    return g_unlink(writer->temporary);
}

gboolean moe_writer_finish(MoeWriter *writer, GError **error)
{
    if (writer->stream != NULL && fflush(writer->stream) != 0 && writer->failure == 0)
        writer->failure = errno;
    if (writer->stream != NULL && fclose(writer->stream) != 0 && writer->failure == 0)
        writer->failure = errno;
    writer->stream = NULL;
    return writer->failure == 0 || fail_write(writer->path, writer->failure, error);
}

gboolean moe_writer_remove_old(const MoeWriter *writer, GError **error)
{
    return writer->temporary == NULL || !writer->force || g_unlink(writer->target) == 0 ||
           errno == ENOENT ||
           moe_fail(error, MOE_ERROR_FAILED, "%s: cannot be removed: %s", writer->path,
                    g_strerror(errno));
}

gboolean moe_writer_close(MoeWriter *writer, GError **error)
{
    gboolean good = moe_writer_finish(writer, error);
    if (good && writer->temporary != NULL && publish(writer) != 0)
        good = errno == EEXIST ? fail_exists(writer->path, error)
                               : fail_write(writer->path, errno, error);
    if (!good && writer->temporary != NULL)
        g_unlink(writer->temporary);
    writer_free(writer);
    return good;
}

void moe_writer_cancel(MoeWriter *writer)
{
    if (writer == NULL)
        return;
    if (writer->stream != NULL)
        fclose(writer->stream);
    if (writer->temporary != NULL)
        g_unlink(writer->temporary);
    writer_free(writer);
}

gboolean moe_file_write(const char *path, gboolean force, const void *data, size_t length,
                        GError **error)
{
    MoeWriter *writer = moe_writer_new(path, force, error);
    if (writer == NULL)
        return FALSE;
    moe_writer_write(writer, data, length);
    return moe_writer_close(writer, error);
}

gboolean moe_folder_prepare(const char *path, gboolean force, GError **error)
{
    if (*path == '\0')
        return moe_fail(error, MOE_ERROR_USAGE, "the name of the folder to write to is empty");
    if (make_folders(path) != 0)
        return moe_fail(error, MOE_ERROR_FAILED, "%s: cannot be created: %s", path,
                        errno == ENOTDIR ? "a file has that name, or that of a folder above"
                                         : g_strerror(errno));
    g_autoptr(GError) inner = NULL;
    g_autoptr(GDir) folder = g_dir_open(path, 0, &inner);
    if (folder == NULL)
        return moe_fail(error, MOE_ERROR_FAILED, "%s: cannot be used: %s", path, inner->message);
    if (g_dir_read_name(folder) != NULL && !force)
        return moe_fail(error, MOE_ERROR_FAILED,
                        "%s: the folder is not empty; choose another or add --force", path);
    return TRUE;
}

static char *find_data_dir(void)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    if (program == NULL)
        return g_strdup(MOESIM_DATADIR);
    if (g_str_has_prefix(program, MOESIM_BUILDDIR "/"))
        return g_strdup(MOESIM_SRCDIR);
    g_autofree char *bin = g_path_get_dirname(program);
    g_autofree char *prefix = g_path_get_dirname(bin);
    g_autofree char *beside = g_build_filename(prefix, "share", "moesim", NULL);
    return g_strdup(g_file_test(beside, G_FILE_TEST_IS_DIR) ? beside : MOESIM_DATADIR);
}

const char *moe_data_dir(void)
{
    static gsize dir = 0;
    if (g_once_init_enter(&dir))
        g_once_init_leave(&dir, (gsize)find_data_dir());
    return (const char *)dir;
}

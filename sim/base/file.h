/* file.h - files in and out: bounded reads, atomic writes, folders for results.
 *
 * Layer: sim/base. A file is written under a temporary name beside its target and renamed when it
 * is complete, so a reader never sees half of one and a failure loses nothing that was there.
 */
#ifndef MOE_BASE_FILE_H
#define MOE_BASE_FILE_H

#include "sim/base/error.h"

#include <stdio.h>

/* Reads the whole file at @path, at most @limit bytes, into @data_out (NUL added; free with
 * g_free()). Errors: MOE_ERROR_INPUT (missing, unreadable, a folder, larger than @limit). */
gboolean moe_file_read(const char *path, size_t limit, char **data_out, size_t *length_out,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Maps the file at @path for reading. Free with g_mapped_file_unref().
 * Errors: MOE_ERROR_INPUT (missing, unreadable, a folder, empty). */
GMappedFile *moe_file_map(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Gives up the memory that the pages of @file take in this process; what is read again comes from the
 * file, or from the system's cache of it. */
void moe_file_release(GMappedFile *file);

/* What tells one file's content from another's, as text. Up to 256 MiB: "sha256:" and the digest of
 * all bytes. Above: "sha256-sampled:" and the digest of the size, the first MiB, the last MiB, and
 * one MiB of every 64, since hashing hundreds of GB would cost more than the run. Free with
 * g_free(); NULL with MOE_ERROR_INPUT when the file cannot be read. */
char *moe_file_digest(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A file being written. */
typedef struct MoeWriter MoeWriter;

/* Opens a temporary file beside @path, with the permissions of what it will replace; folders of its
 * path that are missing are made. When @path
 * exists, it must be replaceable: with @force, or when it is not a regular file (a pipe, a device),
 * which is then written to directly. Errors: MOE_ERROR_FAILED (exists, a link to nothing, cannot be
 * created), MOE_ERROR_USAGE (an empty name); NULL then. */
MoeWriter *moe_writer_new(const char *path, gboolean force,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Whether moe_writer_new() would succeed now; a pipe or device is not opened, since its reader would
 * see the end of it. Errors: as there. */
gboolean moe_writer_check(const char *path, gboolean force,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Appends; a failure is remembered and reported by moe_writer_close(). */
void moe_writer_write(MoeWriter *writer, const void *data, size_t length);
void moe_writer_printf(MoeWriter *writer, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Brings all that was written to the file, still under its temporary name: for files that go together,
 * each of which should appear only when all of them are complete. Only moe_writer_close() or
 * moe_writer_cancel() may follow. Errors: MOE_ERROR_FAILED (disk full ...). */
gboolean moe_writer_finish(MoeWriter *writer, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Removes the file that @writer will replace, if there is one. Errors: MOE_ERROR_FAILED. */
gboolean moe_writer_remove_old(const MoeWriter *writer, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Finishes: flushes, renames, frees @writer. Errors: MOE_ERROR_FAILED (disk full, without force also
 * a target that has come to be there since ...); the target is untouched and the temporary file gone
 * then. */
gboolean moe_writer_close(MoeWriter *writer, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Gives up: removes the temporary file, frees @writer. NULL is fine. */
void moe_writer_cancel(MoeWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeWriter, moe_writer_cancel)

/* Removes the temporary files of all writers that are open, and the folders that were made for them or
 * by moe_folder_prepare() if they are empty. Safe in a signal handler; the program must end then. */
void moe_writer_remove_unfinished(void);

/* Writes @length bytes to @path in one go, atomically, as above. */
gboolean moe_file_write(const char *path, gboolean force, const void *data, size_t length,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Makes sure that @path is a folder to write results into: creates it (parents too), or accepts an
 * empty one; a folder with content only with @force (nothing in it is touched here). Errors:
 * MOE_ERROR_FAILED, MOE_ERROR_USAGE (an empty name). */
gboolean moe_folder_prepare(const char *path, gboolean force,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The folder that holds the read-only data of the program (presets, plot scripts) as
 * "<dir>/topologies/presets" and so on: the source tree when the program runs from its build tree,
 * the share/moesim beside the installed program otherwise. Borrowed, lives for the process. */
const char *moe_data_dir(void);

#endif

/* csv.h - comma-separated values, in and out.
 *
 * Layer: sim/base. RFC 4180 with a header line and LF or CRLF ends; a field may be quoted. Output
 * goes through a MoeWriter: moe_writer_printf() for numbers, moe_csv_quote() for free text.
 */
#ifndef MOE_BASE_CSV_H
#define MOE_BASE_CSV_H

#include "sim/base/error.h"

/* Reads a file line by line; memory does not grow with its length. */
typedef struct MoeCsv MoeCsv;

/* Opens @path and reads the header. @columns is a NULL-terminated list of the names that the caller
 * wants; a trailing '?' marks one that may be absent. The file's columns may come in any order, and
 * others are passed over. Errors: MOE_ERROR_INPUT (unreadable, a wanted column missing, with the
 * nearest name). */
MoeCsv *moe_csv_open(const char *path, const char *const *columns,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Reads the next row. Returns FALSE at the end (@error unset) and on an error (@error set:
 * MOE_ERROR_INPUT, "file:line: what": a wrong number of fields, a line over 64 KiB, bad quotes). */
gboolean moe_csv_next(MoeCsv *csv, GError **error);

/* Where wanted column @index stands in the file, from 1; 0: it does not. */
int moe_csv_place(const MoeCsv *csv, int index);

/* The text of wanted column @index in the current row, or NULL when the file has no such column.
 * Borrowed until the next row. */
const char *moe_csv_text(const MoeCsv *csv, int index);

/* The same as a number in [min, max]; whole numbers only for the first.
 * Errors: MOE_ERROR_INPUT, "file:line: column: what". */
gboolean moe_csv_int(const MoeCsv *csv, int index, gint64 min, gint64 max, gint64 *value_out,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean moe_csv_number(const MoeCsv *csv, int index, double min, double max, double *value_out,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Sets "file:line: message". Always returns FALSE. */
gboolean moe_csv_fail(const MoeCsv *csv, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Whether every line read so far ended as a line does; a file that was cut short may not. */
gboolean moe_csv_is_whole(const MoeCsv *csv);

/* The line of the current row, from 1. */
gint64 moe_csv_line(const MoeCsv *csv);

/* How many bytes of the file have been read, for progress. */
gint64 moe_csv_offset(const MoeCsv *csv);

void moe_csv_close(MoeCsv *csv);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeCsv, moe_csv_close)

/* @text as a CSV field, quoted when it must be. Free with g_free(). */
char *moe_csv_quote(const char *text);

#endif

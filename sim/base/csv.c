#include "config.h"

#include "sim/base/csv.h"

#include "sim/base/text.h"
#include "sim/base/units.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LONGEST_LINE = 1 << 16 };

struct MoeCsv {
    char *path;
    FILE *stream;
    gint64 line;
    gint64 offset;
    gboolean whole;    /* so far every line had an end */
    char *text;        /* the current line, cut into fields in place */
    GPtrArray *fields; /* char *, borrowed from text */
    GArray *wanted;    /* int: which field of the file each wanted column is, -1 when absent */
    GPtrArray *names;  /* char *: the wanted columns' names */
    guint n_columns;   /* of the header */
};

gboolean moe_csv_fail(const MoeCsv *csv, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    return moe_fail(error, MOE_ERROR_INPUT, "%s:%" G_GINT64_FORMAT ": %s", csv->path, csv->line,
                    message);
}

/* Cuts csv->text into fields, in place; quotes are removed. */
static gboolean split(MoeCsv *csv, GError **error)
{
    g_ptr_array_set_size(csv->fields, 0);
    char *from = csv->text, *to = csv->text;
    for (;;) {
        char *field = to;
        if (*from == '"') {
            for (from++; *from != '"' || from[1] == '"';) {
                if (*from == '\0')
                    return moe_csv_fail(csv, error, "a quoted field does not end on its line");
                from += *from == '"' ? 1 : 0;
                *to++ = *from++;
            }
            from++;
        } else {
            while (*from != ',' && *from != '\0')
                *to++ = *from++;
        }
        char end = *from;
        if (end != ',' && end != '\0')
            return moe_csv_fail(csv, error, "text follows a closing quote");
        *to++ = '\0';
        g_ptr_array_add(csv->fields, field);
        if (end == '\0')
            return TRUE;
        from++;
    }
}

/* Reads one line without its end. FALSE at the end of the file and on an error. */
static gboolean read_line(MoeCsv *csv, GError **error)
{
    size_t length = 0;
    int c = 0;
    while (length < LONGEST_LINE && c != '\n' && (c = getc_unlocked(csv->stream)) != EOF)
        csv->text[length++] = (char)c;
    if (ferror(csv->stream))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: cannot be read: %s", csv->path,
                        g_strerror(errno));
    if (length == 0)
        return FALSE;
    csv->line++;
    csv->offset += (gint64)length;
    if (c != EOF && c != '\n')
        return moe_csv_fail(csv, error, "the line is longer than 64 KiB");
    csv->whole = c == '\n';
    csv->text[length] = '\0';
    if (strlen(csv->text) != length)
        return moe_csv_fail(csv, error, "a NUL character in the line");
    if (!g_utf8_validate(csv->text, (gssize)length, NULL))
        return moe_csv_fail(csv, error, "not UTF-8");
    while (length > 0 && (csv->text[length - 1] == '\n' || csv->text[length - 1] == '\r'))
        csv->text[--length] = '\0';
    return TRUE;
}

static gboolean find_columns(MoeCsv *csv, const char *const *columns, GError **error)
{
    g_autoptr(GPtrArray) present = g_ptr_array_new();
    for (guint i = 0; i < csv->fields->len; i++)
        g_ptr_array_add(present, g_strstrip(g_ptr_array_index(csv->fields, i)));
    g_ptr_array_add(present, NULL);
    const char *const *names = (const char *const *)present->pdata;
    for (; *columns != NULL; columns++) {
        gboolean optional = g_str_has_suffix(*columns, "?");
        char *name = g_strndup(*columns, strlen(*columns) - (optional ? 1 : 0));
        g_ptr_array_add(csv->names, name);
        int found = -1;
        for (int i = 0; names[i] != NULL && found < 0; i++)
            if (strcmp(names[i], name) == 0)
                found = i;
        if (found < 0 && !optional) {
            const char *nearest = moe_nearest(name, names);
            return moe_csv_fail(csv, error, "there is no column '%s'%s%s%s", name,
                                nearest != NULL ? "; is it '" : "", nearest != NULL ? nearest : "",
                                nearest != NULL ? "'? rename it" : "; the first line must name it");
        }
        g_array_append_val(csv->wanted, found);
    }
    return TRUE;
}

MoeCsv *moe_csv_open(const char *path, const char *const *columns, GError **error)
{
    FILE *stream = fopen(path, "rbe");
    struct stat info;
    if (stream == NULL || fstat(fileno(stream), &info) != 0 || S_ISDIR(info.st_mode)) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: cannot be read: %s", path,
                 g_strerror(stream == NULL ? errno : EISDIR));
        if (stream != NULL)
            fclose(stream);
        return NULL;
    }
    g_autoptr(MoeCsv) csv = g_new0(MoeCsv, 1);
    csv->path = g_strdup(path);
    csv->stream = stream;
    csv->text = g_malloc(LONGEST_LINE + 1);
    csv->fields = g_ptr_array_new();
    csv->names = g_ptr_array_new_with_free_func(g_free);
    csv->wanted = g_array_new(FALSE, FALSE, sizeof(int));
    g_autoptr(GError) inner = NULL;
    if (!read_line(csv, &inner)) {
        if (inner != NULL)
            g_propagate_error(error, g_steal_pointer(&inner));
        else
            moe_fail(error, MOE_ERROR_INPUT,
                     "%s: the file is empty; the first line must name the columns", path);
        return NULL;
    }
    size_t length = strlen(csv->text);
    memmove(csv->text, moe_text_skip_mark(csv->text, &length), length + 1);
    if (!split(csv, error) || !find_columns(csv, columns, error))
        return NULL;
    csv->n_columns = csv->fields->len;
    return g_steal_pointer(&csv);
}

gboolean moe_csv_next(MoeCsv *csv, GError **error)
{
    do {
        if (!read_line(csv, error))
            return FALSE;
    } while (*csv->text == '\0');
    if (!split(csv, error))
        return FALSE;
    if (csv->fields->len != csv->n_columns)
        return moe_csv_fail(csv, error, "%u fields where the first line names %u", csv->fields->len,
                            csv->n_columns);
    return TRUE;
}

int moe_csv_place(const MoeCsv *csv, int index)
{
    return g_array_index(csv->wanted, int, index) + 1;
}

const char *moe_csv_text(const MoeCsv *csv, int index)
{
    int field = g_array_index(csv->wanted, int, index);
    return field < 0 ? NULL : g_ptr_array_index(csv->fields, field);
}

gboolean moe_csv_number(const MoeCsv *csv, int index, double min, double max, double *value_out,
                        GError **error)
{
    const char *name = g_ptr_array_index(csv->names, index);
    double value = 0;
    g_autoptr(GError) inner = NULL;
    if (!moe_units_parse_number(moe_csv_text(csv, index), &value, &inner))
        return moe_csv_fail(csv, error, "%s: %s", name, inner->message);
    if (value < min || value > max)
        return moe_csv_fail(csv, error, "%s: %.15g is out of range; it must be %.15g to %.15g",
                            name, value, min, max);
    *value_out = value;
    return TRUE;
}

gboolean moe_csv_int(const MoeCsv *csv, int index, gint64 min, gint64 max, gint64 *value_out,
                     GError **error)
{
    double value = 0;
    if (!moe_csv_number(csv, index, (double)min, (double)max, &value, error))
        return FALSE;
    /* From 2^53 on, neighbours have the same double. */
    if (value != floor(value) || fabs(value) >= 0x1p53)
        return moe_csv_fail(csv, error, "%s: '%s' is not a whole number below 2^53",
                            (const char *)g_ptr_array_index(csv->names, index),
                            moe_csv_text(csv, index));
    *value_out = (gint64)value;
    return TRUE;
}

gboolean moe_csv_is_whole(const MoeCsv *csv)
{
    return csv->whole;
}

gint64 moe_csv_line(const MoeCsv *csv)
{
    return csv->line;
}

gint64 moe_csv_offset(const MoeCsv *csv)
{
    return csv->offset;
}

void moe_csv_close(MoeCsv *csv)
{
    if (csv == NULL)
        return;
    fclose(csv->stream);
    g_free(csv->path);
    g_free(csv->text);
    g_clear_pointer(&csv->fields, g_ptr_array_unref);
    g_clear_pointer(&csv->names, g_ptr_array_unref);
    g_clear_pointer(&csv->wanted, g_array_unref);
    g_free(csv);
}

char *moe_csv_quote(const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL)
        return g_strdup(text);
    GString *quoted = g_string_new(text);
    g_string_replace(quoted, "\"", "\"\"", 0);
    g_string_prepend_c(quoted, '"');
    g_string_append_c(quoted, '"');
    return g_string_free(quoted, FALSE);
}

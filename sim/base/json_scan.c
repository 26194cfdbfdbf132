#include "config.h"

#include "sim/base/json_scan.h"

#include <errno.h>
#include <math.h>
#include <string.h>

typedef struct {
    const char *name;
    const char *start, *at, *end;
    const char *counted; /* up to here @line and @column are counted */
    int line, column;
    int depth, deepest;
    MoeJsonScan result;
    GError **error;
} Scan;

/* Columns count characters, as editors do. Counting goes on where it stopped, so all places
 * together cost one pass. */
static void count_place(Scan *scan)
{
    for (; scan->counted < scan->at; scan->counted++) {
        if (*scan->counted == '\n') {
            scan->line++;
            scan->column = 1;
        } else if (((guchar)*scan->counted & 0xC0) != 0x80) {
            scan->column++;
        }
    }
}

static gboolean fail_here(Scan *scan, const char *what)
{
    count_place(scan);
    return moe_fail(scan->error, MOE_ERROR_INPUT, "%s:%d:%d: %s", scan->name, scan->line,
                    scan->column, what);
}

static void skip_blanks(Scan *scan)
{
    while (scan->at < scan->end && strchr(" \t\r\n", *scan->at) != NULL)
        scan->at++;
}

static void note_place(Scan *scan)
{
    if (scan->result.places == NULL)
        return;
    count_place(scan);
    MoeJsonPlace place = {.line = scan->line, .column = scan->column};
    g_array_append_val(scan->result.places, place);
}

/* Reads the four hexadecimal digits after "\u"; -1 when they are not there. */
static int read_hex(Scan *scan)
{
    if (scan->end - scan->at < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value(scan->at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    scan->at += 4;
    return value;
}

static gboolean scan_escape(Scan *scan)
{
    scan->at++;
    if (scan->at >= scan->end)
        return fail_here(scan, "the text ends inside a string");
    if (*scan->at != 'u') {
        if (*scan->at == '\0' || strchr("\"\\/bfnrt", *scan->at) == NULL)
            return fail_here(scan, "not an escape; write \\\\ for a backslash");
        scan->at++;
        return TRUE;
    }
    scan->at++;
    int unit = read_hex(scan);
    if (unit < 0)
        return fail_here(scan, "\\u needs four hexadecimal digits");
    if (unit == 0)
        scan->result.nul = TRUE;
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return fail_here(scan, "a low surrogate without a high one before it");
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        int low = -1;
        if (scan->end - scan->at >= 6 && scan->at[0] == '\\' && scan->at[1] == 'u') {
            scan->at += 2;
            low = read_hex(scan);
        }
        if (low < 0xDC00 || low > 0xDFFF)
            return fail_here(scan, "a high surrogate without a low one after it");
    }
    return TRUE;
}

static gboolean scan_string(Scan *scan)
{
    for (scan->at++; scan->at < scan->end;) {
        guchar c = (guchar)*scan->at;
        if (c == '"') {
            scan->at++;
            return TRUE;
        }
        if (c < 0x20)
            return fail_here(scan, "a control character in a string; write it as an escape");
        if (c != '\\')
            scan->at++;
        else if (!scan_escape(scan))
            return FALSE;
    }
    return fail_here(scan, "the text ends inside a string");
}

static size_t skip_digits(Scan *scan)
{
    const char *from = scan->at;
    while (scan->at < scan->end && g_ascii_isdigit(*scan->at))
        scan->at++;
    return (size_t)(scan->at - from);
}

/* A number is judged as a whole: its place is where it starts. */
static gboolean check_range(Scan *scan, const char *from, gboolean integer)
{
    g_autofree char *number = g_strndup(from, (gsize)(scan->at - from));
    errno = 0;
    if (integer)
        g_ascii_strtoll(number, NULL, 10); /* json-glib holds integers in 64 bits */
    if (errno == 0 && isfinite(g_ascii_strtod(number, NULL)))
        return TRUE;
    scan->at = from;
    return fail_here(scan, "the number is too large");
}

static gboolean scan_number(Scan *scan)
{
    const char *from = scan->at;
    gboolean integer = TRUE;
    if (*scan->at == '-')
        scan->at++;
    gboolean zero = scan->at < scan->end && *scan->at == '0';
    size_t digits = skip_digits(scan);
    if (digits == 0 || (zero && digits > 1))
        return fail_here(scan, "not a number");
    if (scan->at < scan->end && *scan->at == '.') {
        integer = FALSE;
        scan->at++;
        if (skip_digits(scan) == 0)
            return fail_here(scan, "digits are missing after the point");
    }
    if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
        integer = FALSE;
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
            scan->at++;
        if (skip_digits(scan) == 0)
            return fail_here(scan, "digits are missing in the exponent");
    }
    return check_range(scan, from, integer);
}

static gboolean scan_word(Scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(scan->end - scan->at) >= length && memcmp(scan->at, words[i], length) == 0) {
            scan->at += length;
            return TRUE;
        }
    }
    return fail_here(scan,
                     "not a value; write an object, a list, a string, a number, true, false or "
                     "null");
}

static gboolean scan_value(Scan *scan);

static gunichar hex_value(const char *digits)
{
    gunichar value = 0;
    for (int i = 0; i < 4; i++)
        value = value * 16 + (gunichar)g_ascii_xdigit_value(digits[i]);
    return value;
}

/* The characters that the scanned string @from stands for. U+0000 becomes two bytes that are not
 * UTF-8, so that it stays apart from the end of the string. */
static char *unescape(const char *from, const char *end)
{
    static const char letters[] = "bfnrt", controls[] = "\b\f\n\r\t";
    GString *text = g_string_new(NULL);
    for (const char *p = from + 1; p < end - 1; p++) {
        if (*p != '\\') {
            g_string_append_c(text, *p);
            continue;
        }
        const char *letter = strchr(letters, *++p);
        if (*p != 'u') {
            g_string_append_c(text, letter != NULL ? controls[letter - letters] : *p);
            continue;
        }
        gunichar c = hex_value(p + 1);
        p += 4;
        if (c >= 0xD800 && c <= 0xDBFF) {
            gunichar low = hex_value(p + 3);
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
            p += 6;
        }
        if (c == 0)
            g_string_append(text, "\xC0\x80");
        else
            g_string_append_unichar(text, c);
    }
    return g_string_free(text, FALSE);
}

static gboolean scan_key(Scan *scan, GHashTable *seen)
{
    if (scan->at >= scan->end || *scan->at != '"')
        return fail_here(scan, "a key in double quotes is missing here");
    note_place(scan);
    const char *from = scan->at;
    if (!scan_string(scan))
        return FALSE;
    if (!g_hash_table_add(seen, unescape(from, scan->at))) {
        scan->at = from;
        return fail_here(scan, "the same key twice in one object");
    }
    skip_blanks(scan);
    if (scan->at >= scan->end || *scan->at != ':')
        return fail_here(scan, "':' is missing after the key");
    scan->at++;
    skip_blanks(scan);
    return TRUE;
}

static gboolean scan_collection(Scan *scan)
{
    char close = *scan->at == '{' ? '}' : ']';
    g_autoptr(GHashTable) seen =
        close == '}' ? g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) : NULL;
    if (++scan->depth > scan->deepest) {
        g_autofree char *what = g_strdup_printf("nested deeper than %d levels", scan->deepest);
        return fail_here(scan, what);
    }
    scan->at++;
    skip_blanks(scan);
    gboolean first = TRUE;
    while (scan->at < scan->end && (!first || *scan->at != close)) {
        if ((seen != NULL && !scan_key(scan, seen)) || !scan_value(scan))
            return FALSE;
        first = FALSE;
        skip_blanks(scan);
        if (scan->at < scan->end && *scan->at == ',') {
            scan->at++;
            skip_blanks(scan);
            continue;
        }
        break;
    }
    if (scan->at >= scan->end)
        return fail_here(scan, close == '}' ? "the text ends inside an object"
                                            : "the text ends inside a list");
    if (*scan->at != close)
        return fail_here(scan, close == '}' ? "',' or '}' is missing here"
                                            : "',' or ']' is missing here");
    scan->at++;
    scan->depth--;
    return TRUE;
}

static gboolean scan_value(Scan *scan)
{
    if (scan->at >= scan->end)
        return fail_here(scan, "a value is missing here");
    note_place(scan);
    switch (*scan->at) {
    case '{':
    case '[':
        return scan_collection(scan);
    case '"':
        return scan_string(scan);
    case '-':
    case '0' ... '9':
        return scan_number(scan);
    default:
        return scan_word(scan);
    }
}

gboolean moe_json_scan(const char *text, size_t length, const char *name, int deepest,
                       gboolean want_places, MoeJsonScan *scan_out, GError **error)
{
    Scan scan = {.name = name,
                 .at = text,
                 .end = text + length,
                 .counted = text,
                 .line = 1,
                 .column = 1,
                 .deepest = deepest,
                 .error = error};
    const char *invalid;
    if (!g_utf8_validate_len(text, length, &invalid)) {
        scan.at = invalid;
        return fail_here(&scan,
                         *invalid == '\0' ? "a NUL character; write it as an escape" : "not UTF-8");
    }
    g_autoptr(GArray) places = want_places ? g_array_new(FALSE, FALSE, sizeof(MoeJsonPlace)) : NULL;
    scan.result.places = places;
    skip_blanks(&scan);
    if (!scan_value(&scan))
        return FALSE;
    skip_blanks(&scan);
    if (scan.at < scan.end)
        return fail_here(&scan, "something follows the end of the document");
    g_steal_pointer(&places);
    *scan_out = scan.result;
    return TRUE;
}

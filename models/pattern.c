#include "config.h"

#include "models/pattern.h"

#include "models/unicode_data.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

struct MoePattern {
    pcre2_code *code;
    pcre2_match_data *match;
    char *where;
};

/* What an escape stands for inside a set; outside, it is put in brackets. */
typedef struct {
    char letter;
    const char *set;
    gboolean negated;
} Escape;

static const Escape escapes[] = {
    {'s', "\\p{White_Space}", FALSE},
    {'S', "\\p{White_Space}", TRUE},
    {'h', "0-9a-fA-F", FALSE},
    {'H', "0-9a-fA-F", TRUE},
};

static gboolean fail_pattern(const char *where, const char *what, size_t at, GError **error)
{
    return moe_fail(error, MOE_ERROR_INPUT, "%s: pattern: %s, at byte %zu", where, what, at);
}

/* \p{L} and the like: the library's set and the newer characters of that category. @p is behind the
 * 'p' or 'P'; returns what is behind the escape, or NULL when it is not supported here. */
static const char *translate_property(const char *p, gboolean in_set, gboolean negated,
                                      GString *out)
{
    const char *end = *p == '{' ? strchr(p, '}') : p;
    if (end == NULL || *end == '\0' || !g_ascii_isprint(*end)) /* half a character is no name */
        return NULL;
    const char *name = *p == '{' ? p + 1 : p;
    size_t length = *p == '{' ? (size_t)(end - name) : 1;
    if (length > 0 && *name == '^') {
        negated = !negated;
        name++;
        length--;
    }
    g_autoptr(GString) set = g_string_new(NULL);
    g_string_printf(set, "\\p{%.*s}", (int)length, name);
    gsize bare = set->len;
    for (const MoeUnicodeRange *range = moe_unicode_new; length <= 2 && range->first != 0; range++)
        if (strncmp(range->category, name, length) == 0)
            g_string_append_printf(set, "\\x{%X}-\\x{%X}", range->first, range->last);
    if (!in_set)
        g_string_append_printf(out, "[%s%s]", negated ? "^" : "", set->str);
    else if (!negated)
        g_string_append(out, set->str);
    else if (set->len == bare)
        g_string_append_printf(out, "\\P{%.*s}", (int)length, name);
    else
        return NULL; /* a complement of several sets cannot stand inside a set */
    return end + 1;
}

static gboolean translate_escape(char letter, gboolean in_set, GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(escapes); i++) {
        const Escape *escape = &escapes[i];
        if (escape->letter != letter)
            continue;
        if (!in_set)
            g_string_append_printf(out, "[%s%s]", escape->negated ? "^" : "", escape->set);
        else if (!escape->negated)
            g_string_append(out, escape->set);
        else if (letter == 'S')
            g_string_append(out, "\\P{White_Space}");
        else
            return FALSE; /* a complement of several sets cannot stand inside a set */
        return TRUE;
    }
    if (letter == 'w' || letter == 'W')
        return FALSE; /* the sets differ, and no tokenizer is known to use it */
    g_string_append_c(out, '\\');
    g_string_append_c(out, letter);
    return TRUE;
}

/* Rewrites Oniguruma's syntax into PCRE2's where they differ. */
static GString *translate(const char *source, const char *where, GError **error)
{
    g_autoptr(GString) out = g_string_new(NULL);
    gboolean in_set = FALSE;
    for (const char *p = source; *p != '\0'; p++) {
        size_t at = (size_t)(p - source);
        if (*p == '\\' && p[1] != '\0') {
            const char *rest = p + 2;
            if (p[1] == 'p' || p[1] == 'P')
                rest = translate_property(rest, in_set, p[1] == 'P', out);
            else if (!translate_escape(p[1], in_set, out))
                rest = NULL;
            if (rest == NULL) {
                fail_pattern(where, "this escape is not supported here", at, error);
                return NULL;
            }
            p = rest - 1;
            continue;
        }
        if (in_set && ((*p == '[' && p[1] != ':') || (*p == '&' && p[1] == '&'))) {
            fail_pattern(where, "a set inside a set is not supported", at, error);
            return NULL;
        }
        if (in_set && *p == '[') {
            const char *end = strstr(p, ":]");
            if (end == NULL) {
                fail_pattern(where, "[: without :]", at, error);
                return NULL;
            }
            g_string_append_len(out, p, end + 2 - p);
            p = end + 1;
            continue;
        }
        g_string_append_c(out, *p);
        if (!in_set && *p == '[') {
            in_set = TRUE;
            if (p[1] == '^')
                g_string_append_c(out, *++p);
            if (p[1] == ']')
                g_string_append_c(out, *++p);
        } else if (in_set && *p == ']') {
            in_set = FALSE;
        }
    }
    return g_steal_pointer(&out);
}

MoePattern *moe_pattern_new(const char *source, gboolean literal, const char *where, GError **error)
{
    g_autoptr(GString) text = literal ? g_string_new(source) : translate(source, where, error);
    if (text == NULL)
        return NULL;
    guint32 options = PCRE2_UTF | PCRE2_NO_UTF_CHECK;
    options |= literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    int code;
    PCRE2_SIZE offset;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)text->str, text->len, options, &code, &offset, NULL);
    if (compiled == NULL) {
        char message[256];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
        fail_pattern(where, message, offset, error);
        return NULL;
    }
    /* Where the machine code cannot be had, matching is interpreted: slower, the same answers. */
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    MoePattern *pattern = g_new0(MoePattern, 1);
    pattern->code = compiled;
    pattern->match = pcre2_match_data_create_from_pattern(compiled, NULL);
    pattern->where = g_strdup(where);
    return pattern;
}

void moe_pattern_free(MoePattern *pattern)
{
    if (pattern == NULL)
        return;
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->code);
    g_free(pattern->where);
    g_free(pattern);
}

int moe_pattern_find(const MoePattern *pattern, const char *text, size_t length, size_t from,
                     size_t *start_out, size_t *end_out, GError **error)
{
    int count = pcre2_match(pattern->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK,
                            pattern->match, NULL);
    /* The machine code's stack is small; the interpreter's heap is not. */
    if (count == PCRE2_ERROR_JIT_STACKLIMIT)
        count = pcre2_match(pattern->code, (PCRE2_SPTR)text, length, from,
                            PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, pattern->match, NULL);
    if (count == PCRE2_ERROR_NOMATCH)
        return 0;
    if (count < 0) {
        char message[256];
        pcre2_get_error_message(count, (PCRE2_UCHAR *)message, sizeof(message));
        moe_fail(error, MOE_ERROR_INPUT, "%s: the pattern gave up at byte %zu of the text: %s",
                 pattern->where, from, message);
        return -1;
    }
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(pattern->match);
    *start_out = bounds[0];
    *end_out = bounds[1];
    return 1;
}

gboolean moe_pattern_replace(const MoePattern *pattern, const GString *text, const char *content,
                             size_t most, GString *out, gssize *first_out, GError **error)
{
    size_t done = 0, from = 0, start, end;
    gboolean matched = FALSE;
    *first_out = -1;
    while (text->len > 0 && from <= text->len) {
        int found = moe_pattern_find(pattern, text->str, text->len, from, &start, &end, error);
        if (found < 0)
            return FALSE;
        if (found == 0)
            break;
        if (start == end && matched && end == done) {
            from += from < text->len ? (size_t)g_utf8_skip[(guchar)text->str[from]] : 1;
            continue;
        }
        g_string_append_len(out, text->str + done, (gssize)(start - done));
        g_string_append(out, content);
        if (out->len > most)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: %zu bytes of text become more than %zu",
                            pattern->where, text->len, most);
        if (start == 0 && *first_out < 0)
            *first_out = (gssize)end;
        done = from = end;
        matched = TRUE;
    }
    g_string_append_len(out, text->str + done, (gssize)(text->len - done));
    return TRUE;
}

#include "config.h"

#include "models/decoder.h"

#include "models/pretokenizer.h"
#include "models/unicode_data.h"

#include <string.h>

/* More steps, or longer replacements, would let a text grow without end. */
enum { MOST_STEPS = 8, MOST_REPLACEMENTS = 2, LONGEST_CONTENT = 64, MOST_STRIPPED = 1 << 20 };

typedef enum { BYTE_LEVEL, METASPACE, REPLACE, BYTE_FALLBACK, FUSE, STRIP } Kind;

typedef struct {
    Kind kind;
    char *from, *to;     /* what is replaced, what is stripped; what replaces it */
    gint64 start, stop;  /* Strip: how many */
    gboolean drop_first; /* Metaspace: no spaces from the first token */
} Step;

struct MoeDecoder {
    GArray *steps; /* Step */
    gboolean none; /* spaces between the tokens */
};

static void clear_step(gpointer data)
{
    Step *step = data;
    g_free(step->from);
    g_free(step->to);
}

static MoeDecoder *new_decoder(void)
{
    MoeDecoder *decoder = g_new0(MoeDecoder, 1);
    decoder->steps = g_array_new(FALSE, FALSE, sizeof(Step));
    g_array_set_clear_func(decoder->steps, clear_step);
    return decoder;
}

static void add_step(MoeDecoder *decoder, Kind kind, const char *from, const char *to, gint64 start)
{
    Step step = {.kind = kind, .from = g_strdup(from), .to = g_strdup(to), .start = start};
    g_array_append_val(decoder->steps, step);
}

/* A string of exactly one character. */
static const char *get_letter(JsonObject *object, const char *key, const char *where,
                              GError **error)
{
    const char *text = moe_json_get_string(object, key, where, error);
    if (text != NULL && (*text == '\0' || *g_utf8_next_char(text) != '\0')) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: %s '%s' is not one character", where, key, text);
        return NULL;
    }
    return text;
}

static gboolean read_replace(MoeDecoder *decoder, JsonObject *object, const char *where,
                             GError **error)
{
    JsonObject *pattern = moe_json_get_object(object, "pattern", where, error);
    if (pattern == NULL)
        return FALSE;
    if (json_object_has_member(pattern, "Regex"))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: pattern: a Regex is not supported here; a String is", where);
    const char *from = moe_json_get_string(pattern, "String", where, error);
    const char *to = from != NULL ? moe_json_get_string(object, "content", where, error) : NULL;
    if (to == NULL)
        return FALSE;
    guint replacements = 0;
    for (guint i = 0; i < decoder->steps->len; i++)
        replacements += g_array_index(decoder->steps, Step, i).kind == REPLACE ? 1 : 0;
    if (*from == '\0' || strlen(to) > LONGEST_CONTENT || replacements >= MOST_REPLACEMENTS)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: an empty pattern, a content of more than %d bytes and more than %d "
                        "Replace steps are not supported",
                        where, LONGEST_CONTENT, MOST_REPLACEMENTS);
    add_step(decoder, REPLACE, from, to, 0);
    return TRUE;
}

static gboolean read_strip(MoeDecoder *decoder, JsonObject *object, const char *where,
                           GError **error)
{
    const char *content = get_letter(object, "content", where, error);
    gint64 start, stop;
    if (content == NULL ||
        !moe_json_get_int(object, "start", 0, MOST_STRIPPED, where, &start, error) ||
        !moe_json_get_int(object, "stop", 0, MOST_STRIPPED, where, &stop, error))
        return FALSE;
    add_step(decoder, STRIP, content, NULL, start);
    g_array_index(decoder->steps, Step, decoder->steps->len - 1).stop = stop;
    return TRUE;
}

static gboolean read_metaspace(MoeDecoder *decoder, JsonObject *object, const char *where,
                               GError **error)
{
    const char *letter = get_letter(object, "replacement", where, error);
    if (letter == NULL)
        return FALSE;
    gboolean prefix;
    const char *scheme = "always";
    if (!moe_json_is_null(object, "prepend_scheme"))
        scheme = moe_json_get_string(object, "prepend_scheme", where, error);
    if (scheme == NULL ||
        !moe_json_get_bool(object, "add_prefix_space", TRUE, where, &prefix, error))
        return FALSE;
    static const char *const schemes[] = {"always", "first", "never", NULL};
    if (!g_strv_contains(schemes, scheme))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: prepend_scheme '%s' is not known; always, first and never are", where,
                        scheme);
    add_step(decoder, METASPACE, letter, NULL, 0);
    g_array_index(decoder->steps, Step, decoder->steps->len - 1).drop_first =
        prefix && strcmp(scheme, "never") != 0;
    return TRUE;
}

static gboolean read_step(MoeDecoder *decoder, JsonObject *object, const char *type,
                          const char *where, GError **error)
{
    if (decoder->steps->len >= MOST_STEPS)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: more than %d steps", where, MOST_STEPS);
    if (strcmp(type, "Replace") == 0)
        return read_replace(decoder, object, where, error);
    if (strcmp(type, "Strip") == 0)
        return read_strip(decoder, object, where, error);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(decoder, object, where, error);
    if (strcmp(type, "ByteLevel") == 0)
        add_step(decoder, BYTE_LEVEL, NULL, NULL, 0);
    else if (strcmp(type, "ByteFallback") == 0)
        add_step(decoder, BYTE_FALLBACK, NULL, NULL, 0);
    else if (strcmp(type, "Fuse") == 0)
        add_step(decoder, FUSE, NULL, NULL, 0);
    else
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: type '%s' is not supported; ByteLevel, Metaspace, Replace, "
                        "ByteFallback, Fuse, Strip and Sequence are",
                        where, type);
    return TRUE;
}

static gboolean read_node(MoeDecoder *decoder, JsonNode *node, const char *where, int depth,
                          GError **error)
{
    JsonObject *object = moe_json_object(node, where, error);
    const char *type = object != NULL ? moe_json_get_string(object, "type", where, error) : NULL;
    if (type == NULL)
        return FALSE;
    if (strcmp(type, "Sequence") != 0 || depth >= 8)
        return read_step(decoder, object, type, where, error);
    JsonArray *array = moe_json_get_array(object, "decoders", where, error);
    if (array == NULL)
        return FALSE;
    for (guint i = 0; i < json_array_get_length(array); i++) {
        g_autofree char *inner = g_strdup_printf("%s.decoders[%u]", where, i);
        if (!read_node(decoder, json_array_get_element(array, i), inner, depth + 1, error))
            return FALSE;
    }
    return TRUE;
}

MoeDecoder *moe_decoder_new(JsonNode *node, const char *where, GError **error)
{
    g_autoptr(MoeDecoder) decoder = new_decoder();
    decoder->none = node == NULL || JSON_NODE_HOLDS_NULL(node);
    if (!decoder->none && !read_node(decoder, node, where, 0, error))
        return NULL;
    return g_steal_pointer(&decoder);
}

MoeDecoder *moe_decoder_byte_level(void)
{
    MoeDecoder *decoder = new_decoder();
    add_step(decoder, BYTE_LEVEL, NULL, NULL, 0);
    return decoder;
}

MoeDecoder *moe_decoder_spaces(gboolean prefix)
{
    MoeDecoder *decoder = new_decoder();
    add_step(decoder, REPLACE, "\xE2\x96\x81", " ", 0);
    add_step(decoder, BYTE_FALLBACK, NULL, NULL, 0);
    add_step(decoder, FUSE, NULL, NULL, 0);
    add_step(decoder, STRIP, " ", NULL, prefix ? 1 : 0);
    return decoder;
}

void moe_decoder_free(MoeDecoder *decoder)
{
    if (decoder == NULL)
        return;
    g_array_unref(decoder->steps);
    g_free(decoder);
}

/* --- the steps on one token ------------------------------------------------------------------ */

/* Appends the bytes of a token: of its letters, or, when one is not a byte's letter, its own. */
static void append_letters(GString *out, const GString *token)
{
    gsize length = out->len;
    for (size_t at = 0; at < token->len; at += (size_t)g_utf8_skip[(guchar)token->str[at]]) {
        int byte = moe_letter_byte(g_utf8_get_char(token->str + at));
        if (byte < 0) {
            g_string_truncate(out, length);
            g_string_append_len(out, token->str, (gssize)token->len);
            return;
        }
        g_string_append_c(out, (char)byte);
    }
}

static void replace(const char *from, const char *to, GString *token)
{
    GString *out = g_string_sized_new(token->len);
    size_t n = strlen(from);
    for (size_t at = 0; at < token->len;) {
        gboolean here = token->len - at >= n && memcmp(token->str + at, from, n) == 0;
        if (here)
            g_string_append(out, to);
        else
            g_string_append_c(out, token->str[at]);
        at += here ? n : 1;
    }
    g_string_truncate(token, 0);
    g_string_append_len(token, out->str, (gssize)out->len);
    g_string_free(out, TRUE);
}

/* The byte that "<0x41>" stands for, or -1. A plus sign is read as the reference reads it. */
static int fallback_byte(const GString *token)
{
    const char *p = token->str;
    if (token->len != 6 || strncmp(p, "<0x", 3) != 0 || p[5] != '>' || !g_ascii_isxdigit(p[4]))
        return -1;
    if (p[3] == '+')
        return g_ascii_xdigit_value(p[4]);
    return g_ascii_isxdigit(p[3]) ? g_ascii_xdigit_value(p[3]) * 16 + g_ascii_xdigit_value(p[4])
                                  : -1;
}

static void strip(const Step *step, gboolean start, gboolean stop, GString *token)
{
    size_t n = strlen(step->from), from = 0, to = token->len;
    for (gint64 i = 0; start && i < step->start && from + n <= to; i++, from += n)
        if (memcmp(token->str + from, step->from, n) != 0)
            break;
    for (gint64 i = 0; stop && i < step->stop && to >= from + n; i++, to -= n)
        if (memcmp(token->str + to - n, step->from, n) != 0)
            break;
    g_string_truncate(token, to);
    g_string_erase(token, 0, (gssize)from);
}

/* --- the steps on all tokens ----------------------------------------------------------------- */

/* How many bytes at @p begin a character that could still become valid (the "maximal subpart" that
 * Unicode recommends to replace by one U+FFFD); at least 1. */
static size_t invalid_length(const guchar *p, size_t length)
{
    guchar low = 0x80, high = 0xBF;
    size_t need;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        need = 1;
    else if (p[0] >= 0xE0 && p[0] <= 0xEF)
        need = 2;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        need = 3;
    else
        return 1;
    low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : low;
    high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : high;
    size_t n = 1;
    while (n <= need && n < length && p[n] >= low && p[n] <= high) {
        low = 0x80;
        high = 0xBF;
        n++;
    }
    return n;
}

static GString *replace_invalid(const GString *bytes)
{
    GString *text = g_string_sized_new(bytes->len);
    for (size_t at = 0; at < bytes->len;) {
        size_t valid = moe_unicode_valid_length(bytes->str + at, bytes->len - at);
        g_string_append_len(text, bytes->str + at, (gssize)valid);
        at += valid;
        if (at == bytes->len)
            break;
        g_string_append(text, "\xEF\xBF\xBD");
        at += invalid_length((const guchar *)bytes->str + at, bytes->len - at);
    }
    return text;
}

static void free_string(gpointer string)
{
    g_string_free(string, TRUE);
}

static GPtrArray *new_tokens(void)
{
    return g_ptr_array_new_with_free_func(free_string);
}

static GString *join(const GPtrArray *tokens, gboolean letters, const char *between)
{
    GString *all = g_string_new(NULL);
    for (guint i = 0; i < tokens->len; i++) {
        const GString *token = tokens->pdata[i];
        g_string_append(all, i > 0 ? between : "");
        if (letters)
            append_letters(all, token);
        else
            g_string_append_len(all, token->str, (gssize)token->len);
    }
    return all;
}

/* The bytes of byte tokens in a row: text when they are UTF-8, else one U+FFFD for each. */
static void flush_bytes(GString *bytes, GPtrArray *out)
{
    gboolean valid = moe_unicode_valid_length(bytes->str, bytes->len) == bytes->len;
    if (valid && bytes->len > 0)
        g_ptr_array_add(out, g_string_new_len(bytes->str, (gssize)bytes->len));
    for (size_t i = 0; !valid && i < bytes->len; i++)
        g_ptr_array_add(out, g_string_new("\xEF\xBF\xBD"));
    g_string_truncate(bytes, 0);
}

static GPtrArray *join_bytes(GPtrArray *tokens)
{
    GPtrArray *out = new_tokens();
    g_autoptr(GString) bytes = g_string_new(NULL);
    for (guint i = 0; i < tokens->len; i++) {
        GString *token = tokens->pdata[i];
        int byte = fallback_byte(token);
        if (byte >= 0) {
            g_string_append_c(bytes, (char)byte);
            continue;
        }
        flush_bytes(bytes, out);
        g_ptr_array_add(out, g_string_new_len(token->str, (gssize)token->len));
    }
    flush_bytes(bytes, out);
    return out;
}

/* Takes @tokens and returns what the step makes of them. */
static GPtrArray *run_step(const Step *step, GPtrArray *tokens)
{
    GPtrArray *out = NULL;
    if (step->kind == BYTE_LEVEL || step->kind == FUSE) {
        g_autoptr(GString) all = join(tokens, step->kind == BYTE_LEVEL, "");
        out = new_tokens();
        g_ptr_array_add(out, replace_invalid(all));
    } else if (step->kind == BYTE_FALLBACK) {
        out = join_bytes(tokens);
    }
    if (out != NULL) {
        g_ptr_array_unref(tokens);
        return out;
    }
    for (guint i = 0; i < tokens->len; i++) {
        GString *token = tokens->pdata[i];
        if (step->kind == METASPACE)
            replace(step->from, step->drop_first && i == 0 ? "" : " ", token);
        else if (step->kind == REPLACE)
            replace(step->from, step->to, token);
        else
            strip(step, TRUE, TRUE, token);
    }
    return tokens;
}

GString *moe_decoder_run(const MoeDecoder *decoder, const char *const *tokens, size_t n)
{
    GPtrArray *now = new_tokens();
    for (size_t i = 0; i < n; i++)
        g_ptr_array_add(now, g_string_new(tokens[i]));
    for (guint i = 0; i < decoder->steps->len; i++)
        now = run_step(&g_array_index(decoder->steps, Step, i), now);
    GString *text = join(now, FALSE, decoder->none ? " " : "");
    g_ptr_array_unref(now);
    return text;
}

void moe_decoder_bytes(const MoeDecoder *decoder, const char *token, gboolean first, GString *out)
{
    g_autoptr(GString) now = g_string_new(token);
    gboolean fused = FALSE;
    if (decoder->none && !first)
        g_string_prepend_c(now, ' ');
    for (guint i = 0; i < decoder->steps->len; i++) {
        const Step *step = &g_array_index(decoder->steps, Step, i);
        int byte = step->kind == BYTE_FALLBACK ? fallback_byte(now) : -1;
        if (step->kind == BYTE_LEVEL) {
            g_autoptr(GString) letters = g_string_new_len(now->str, (gssize)now->len);
            g_string_truncate(now, 0);
            append_letters(now, letters);
        } else if (byte >= 0) {
            g_string_truncate(now, 0);
            g_string_append_c(now, (char)byte);
        } else if (step->kind == METASPACE) {
            replace(step->from, step->drop_first && first ? "" : " ", now);
        } else if (step->kind == REPLACE) {
            replace(step->from, step->to, now);
        } else if (step->kind == STRIP) {
            strip(step, first || !fused, !fused, now);
        }
        fused = fused || step->kind == FUSE || step->kind == BYTE_LEVEL;
    }
    g_string_append_len(out, now->str, (gssize)now->len);
}

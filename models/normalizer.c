#include "config.h"

#include "models/normalizer.h"

#include "models/charsmap.h"
#include "models/grapheme.h"
#include "models/pattern.h"
#include "models/unicode_data.h"

#include <string.h>

/* How much longer a text may get: replacements of replacements grow without end. */
enum { LARGEST_GROWTH = 64, SPARE_BYTES = 4096 };

typedef enum { NFC, PREPEND, REPLACE, STRIP, PRECOMPILED } Kind;

typedef struct {
    Kind kind;
    char *content;        /* Prepend's and Replace's text */
    MoePattern *pattern;  /* Replace's */
    MoeCharsmap *map;     /* Precompiled's */
    gboolean left, right; /* Strip's sides */
} Step;

struct MoeNormalizer {
    GArray *steps; /* Step */
    char *where;
};

static void clear_step(gpointer data)
{
    Step *step = data;
    g_free(step->content);
    moe_pattern_free(step->pattern);
    moe_charsmap_free(step->map);
}

static MoeNormalizer *new_normalizer(const char *where)
{
    MoeNormalizer *normalizer = g_new0(MoeNormalizer, 1);
    normalizer->steps = g_array_new(FALSE, FALSE, sizeof(Step));
    g_array_set_clear_func(normalizer->steps, clear_step);
    normalizer->where = g_strdup(where);
    return normalizer;
}

static gboolean read_replace(JsonObject *object, Step *step, const char *where, GError **error)
{
    step->kind = REPLACE;
    const char *content = moe_json_get_string(object, "content", where, error);
    JsonObject *pattern =
        content != NULL ? moe_json_get_object(object, "pattern", where, error) : NULL;
    if (pattern == NULL)
        return FALSE;
    gboolean literal = json_object_has_member(pattern, "String");
    const char *source = moe_json_get_string(pattern, literal ? "String" : "Regex", where, error);
    step->content = g_strdup(content);
    step->pattern = source != NULL ? moe_pattern_new(source, literal, where, error) : NULL;
    return step->pattern != NULL;
}

static gboolean read_step(JsonObject *object, const char *type, Step *step, const char *where,
                          GError **error)
{
    if (strcmp(type, "NFC") == 0) {
        step->kind = NFC;
        return TRUE;
    }
    if (strcmp(type, "Prepend") == 0) {
        step->kind = PREPEND;
        step->content = g_strdup(moe_json_get_string(object, "prepend", where, error));
        return step->content != NULL;
    }
    if (strcmp(type, "Replace") == 0)
        return read_replace(object, step, where, error);
    if (strcmp(type, "Strip") == 0) {
        step->kind = STRIP;
        return moe_json_get_bool(object, "strip_left", FALSE, where, &step->left, error) &&
               moe_json_get_bool(object, "strip_right", FALSE, where, &step->right, error);
    }
    if (strcmp(type, "Precompiled") == 0) {
        g_autofree char *inner = g_strconcat(where, ": precompiled_charsmap", NULL);
        const char *map = moe_json_get_string(object, "precompiled_charsmap", where, error);
        step->kind = PRECOMPILED;
        step->map = map != NULL ? moe_charsmap_new(map, inner, error) : NULL;
        return step->map != NULL;
    }
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: type '%s' is not supported; NFC, Prepend, Replace, Strip, Precompiled and "
                    "Sequence are",
                    where, type);
}

static gboolean read_node(MoeNormalizer *normalizer, JsonNode *node, const char *where, int depth,
                          GError **error)
{
    JsonObject *object = moe_json_object(node, where, error);
    const char *type = object != NULL ? moe_json_get_string(object, "type", where, error) : NULL;
    if (type == NULL)
        return FALSE;
    if (strcmp(type, "Sequence") != 0 || depth >= 8) {
        Step step = {0};
        gboolean good = read_step(object, type, &step, where, error);
        g_array_append_val(normalizer->steps, step);
        return good;
    }
    JsonArray *array = moe_json_get_array(object, "normalizers", where, error);
    if (array == NULL)
        return FALSE;
    for (guint i = 0; i < json_array_get_length(array); i++) {
        g_autofree char *inner = g_strdup_printf("%s.normalizers[%u]", where, i);
        if (!read_node(normalizer, json_array_get_element(array, i), inner, depth + 1, error))
            return FALSE;
    }
    return TRUE;
}

MoeNormalizer *moe_normalizer_new(JsonNode *node, const char *where, GError **error)
{
    g_autoptr(MoeNormalizer) normalizer = new_normalizer(where);
    if (node != NULL && !JSON_NODE_HOLDS_NULL(node) &&
        !read_node(normalizer, node, where, 0, error))
        return NULL;
    return g_steal_pointer(&normalizer);
}

MoeNormalizer *moe_normalizer_plain(gboolean nfc)
{
    MoeNormalizer *normalizer = new_normalizer("normalizer");
    Step step = {.kind = NFC};
    if (nfc)
        g_array_append_val(normalizer->steps, step);
    return normalizer;
}

MoeNormalizer *moe_normalizer_spaces(gboolean prefix)
{
    MoeNormalizer *normalizer = new_normalizer("normalizer");
    if (prefix) {
        Step step = {.kind = PREPEND, .content = g_strdup("\xE2\x96\x81")};
        g_array_append_val(normalizer->steps, step);
    }
    Step step = {.kind = REPLACE, .content = g_strdup("\xE2\x96\x81")};
    step.pattern = moe_pattern_new(" ", TRUE, "normalizer", NULL);
    g_array_append_val(normalizer->steps, step);
    return normalizer;
}

void moe_normalizer_free(MoeNormalizer *normalizer)
{
    if (normalizer == NULL)
        return;
    g_array_unref(normalizer->steps);
    g_free(normalizer->where);
    g_free(normalizer);
}

static void append_nfc(GString *out, const char *text, size_t length)
{
    if (length == 0)
        return;
    g_autofree char *normal = g_utf8_normalize(text, (gssize)length, G_NORMALIZE_NFC);
    g_string_append(out, normal);
}

/* GLib stops at a NUL, and the reference leaves newer combining characters as they are; neither
 * composes with anything, so what lies between them is normalised part by part. */
static void compose(const GString *text, GString *out)
{
    size_t done = 0;
    for (size_t at = 0; at < text->len;) {
        gunichar c = g_utf8_get_char(text->str + at);
        size_t next = at + (size_t)g_utf8_skip[(guchar)text->str[at]];
        if (c == 0 || moe_unicode_is_plain(c)) {
            append_nfc(out, text->str + done, at - done);
            g_string_append_len(out, text->str + at, (gssize)(next - at));
            done = next;
        }
        at = next;
    }
    append_nfc(out, text->str + done, text->len - done);
}

static void strip(const Step *step, const GString *text, GString *out, size_t *begin)
{
    size_t start = 0, end = text->len;
    while (step->left && start < end && moe_unicode_is_space(g_utf8_get_char(text->str + start)))
        start += (size_t)g_utf8_skip[(guchar)text->str[start]];
    while (step->right && end > start) {
        const char *last = g_utf8_find_prev_char(text->str + start, text->str + end);
        if (!moe_unicode_is_space(g_utf8_get_char(last)))
            break;
        end = (size_t)(last - text->str);
    }
    *begin -= MIN(*begin, start);
    g_string_append_len(out, text->str + start, (gssize)(end - start));
}

static gboolean append_mapped(const MoeCharsmap *map, const char *text, size_t length, GString *out)
{
    size_t n;
    const char *found = moe_charsmap_find(map, text, length, &n);
    if (found != NULL)
        g_string_append_len(out, found, (gssize)n);
    return found != NULL;
}

/* The reference looks up clusters of up to five bytes, and each character of a cluster that is
 * longer or has no entry. The beginning is what the first character that leaves something becomes;
 * of a cluster replaced as a whole, one character. */
static void map_characters(const MoeCharsmap *map, const GString *text, GString *out, size_t *begin)
{
    size_t first = 0;
    for (size_t at = 0, end; at < text->len; at = end) {
        size_t cluster = moe_grapheme_length(text->str + at, text->len - at);
        size_t one = (size_t)g_utf8_skip[(guchar)text->str[at]];
        end = at + cluster;
        if (cluster < 6 && append_mapped(map, text->str + at, cluster, out)) {
            if (first == 0 && out->len > 0)
                first = cluster == one ? out->len : (size_t)g_utf8_skip[(guchar)out->str[0]];
            continue;
        }
        for (; at < end; at += one) {
            one = (size_t)g_utf8_skip[(guchar)text->str[at]];
            if (!append_mapped(map, text->str + at, one, out))
                g_string_append_len(out, text->str + at, (gssize)one);
            first = first > 0 ? first : out->len;
        }
    }
    *begin = *begin > 0 ? first : 0;
}

/* A replacement counts as the last byte of what it replaces, and at the very beginning as that. */
static gboolean replace(const Step *step, const GString *text, GString *out, size_t most,
                        size_t *begin, GError **error)
{
    gssize first;
    if (!moe_pattern_replace(step->pattern, text, step->content, most, out, &first, error))
        return FALSE;
    if (first == 0)
        *begin += strlen(step->content);
    else if (first > 0)
        *begin = (size_t)first <= *begin ? strlen(step->content) + *begin - (size_t)first : 0;
    return TRUE;
}

static gboolean run_step(const Step *step, const GString *text, GString *out, size_t most,
                         size_t *begin, GError **error)
{
    switch (step->kind) {
    case NFC:
        compose(text, out);
        *begin = *begin > 0 && out->len > 0 ? (size_t)g_utf8_skip[(guchar)out->str[0]] : 0;
        return TRUE;
    case PREPEND:
        g_string_append(out, text->len > 0 ? step->content : "");
        *begin += out->len;
        g_string_append_len(out, text->str, (gssize)text->len);
        return TRUE;
    case STRIP:
        strip(step, text, out, begin);
        return TRUE;
    case PRECOMPILED:
        map_characters(step->map, text, out, begin);
        return TRUE;
    case REPLACE:
        return replace(step, text, out, most, begin, error);
    }
    return TRUE;
}

GString *moe_normalizer_run(const MoeNormalizer *normalizer, const char *text, size_t length,
                            size_t *begin_out, GError **error)
{
    GString *now = g_string_new_len(text, (gssize)length);
    size_t most = length * LARGEST_GROWTH + SPARE_BYTES;
    size_t begin = length > 0 ? (size_t)g_utf8_skip[(guchar)*text] : 0;
    gboolean good = TRUE;
    for (guint i = 0; i < normalizer->steps->len && good; i++) {
        const Step *step = &g_array_index(normalizer->steps, Step, i);
        GString *next = g_string_sized_new(now->len);
        good = run_step(step, now, next, most, &begin, error);
        g_string_free(now, TRUE);
        now = next;
        if (good && now->len > most)
            good = moe_fail(error, MOE_ERROR_INPUT, "%s: %zu bytes of text become %zu",
                            normalizer->where, length, now->len);
    }
    if (!good) {
        g_string_free(now, TRUE);
        return NULL;
    }
    if (begin_out != NULL)
        *begin_out = begin;
    return now;
}

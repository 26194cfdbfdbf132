#include "config.h"

#include "models/tokenizer.h"

#include "models/added_tokens.h"
#include "models/pretokenizer.h"
#include "models/unicode_data.h"

#include <string.h>

enum { LARGEST_BYTES = 256 << 20 };

typedef struct {
    gboolean nfc;
} Normalizer;

struct MoeTokenizer {
    MoeBpe *model;
    MoeAddedTokens *added;
    MoePretokenizer *pretokenizer;
    Normalizer normalizer;
    GArray *before, *after; /* guint32: the template's tokens around a text */
    gboolean byte_letters;  /* the decoder turns letters into bytes */
};

/* --- normaliser ------------------------------------------------------------------------------ */

static gboolean read_normalizer(JsonNode *node, const char *where, int depth, Normalizer *out,
                                GError **error)
{
    if (node == NULL || JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    JsonObject *object = moe_json_object(node, where, error);
    const char *type = object != NULL ? moe_json_get_string(object, "type", where, error) : NULL;
    if (type == NULL)
        return FALSE;
    if (strcmp(type, "NFC") == 0) {
        out->nfc = TRUE;
        return TRUE;
    }
    if (strcmp(type, "Sequence") != 0 || depth >= 8)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: type '%s' is not supported; NFC and Sequence are", where, type);
    JsonArray *array = moe_json_get_array(object, "normalizers", where, error);
    if (array == NULL)
        return FALSE;
    for (guint i = 0; i < json_array_get_length(array); i++)
        if (!read_normalizer(json_array_get_element(array, i), where, depth + 1, out, error))
            return FALSE;
    return TRUE;
}

static void append_normal(GString *out, const char *text, size_t length)
{
    if (length == 0)
        return;
    g_autofree char *normal = g_utf8_normalize(text, (gssize)length, G_NORMALIZE_NFC);
    g_string_append(out, normal);
}

/* GLib stops at a NUL, and the reference leaves newer combining characters as they are; neither
 * composes with anything, so what lies between them is normalised part by part. */
static GString *normalize(gconstpointer normalizer, const char *text, size_t length)
{
    const Normalizer *options = normalizer;
    if (!options->nfc)
        return g_string_new_len(text, (gssize)length);
    GString *out = g_string_new(NULL);
    size_t done = 0;
    for (size_t at = 0; at < length;) {
        gunichar c = g_utf8_get_char(text + at);
        size_t next = at + (size_t)g_utf8_skip[(guchar)text[at]];
        if (c == 0 || moe_unicode_is_plain(c)) {
            append_normal(out, text + done, at - done);
            g_string_append_len(out, text + at, (gssize)(next - at));
            done = next;
        }
        at = next;
    }
    append_normal(out, text + done, length - done);
    return out;
}

/* --- template -------------------------------------------------------------------------------- */

static gboolean append_special(JsonObject *specials, const char *name, const char *where,
                               GArray *ids, GError **error)
{
    JsonObject *special = moe_json_get_object(specials, name, where, error);
    JsonArray *array = special != NULL ? moe_json_get_array(special, "ids", where, error) : NULL;
    if (array == NULL)
        return FALSE;
    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);
        if (json_node_get_value_type(node) != G_TYPE_INT64 || json_node_get_int(node) < 0 ||
            json_node_get_int(node) > G_MAXUINT32)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: ids of '%s' must be token ids", where,
                            name);
        guint32 id = (guint32)json_node_get_int(node);
        g_array_append_val(ids, id);
    }
    return TRUE;
}

static gboolean read_template(MoeTokenizer *tokenizer, JsonObject *object, const char *where,
                              GError **error)
{
    JsonArray *single = moe_json_get_array(object, "single", where, error);
    JsonObject *specials =
        single != NULL ? moe_json_get_object(object, "special_tokens", where, error) : NULL;
    if (specials == NULL)
        return FALSE;
    GArray *ids = tokenizer->before;
    for (guint i = 0; i < json_array_get_length(single); i++) {
        JsonObject *piece = moe_json_object(json_array_get_element(single, i), where, error);
        if (piece == NULL)
            return FALSE;
        if (json_object_has_member(piece, "Sequence")) {
            if (ids == tokenizer->after)
                return moe_fail(error, MOE_ERROR_INPUT, "%s: the text occurs twice", where);
            ids = tokenizer->after;
            continue;
        }
        JsonObject *special = moe_json_get_object(piece, "SpecialToken", where, error);
        const char *name =
            special != NULL ? moe_json_get_string(special, "id", where, error) : NULL;
        if (name == NULL || !append_special(specials, name, where, ids, error))
            return FALSE;
    }
    if (ids == tokenizer->before)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: the text does not occur", where);
    return TRUE;
}

static gboolean read_post(MoeTokenizer *tokenizer, JsonNode *node, const char *where, int depth,
                          GError **error)
{
    if (node == NULL || JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    JsonObject *object = moe_json_object(node, where, error);
    const char *type = object != NULL ? moe_json_get_string(object, "type", where, error) : NULL;
    if (type == NULL)
        return FALSE;
    if (strcmp(type, "ByteLevel") == 0)
        return TRUE; /* it moves offsets, which nobody asks for here */
    if (strcmp(type, "TemplateProcessing") == 0) {
        if (tokenizer->before->len + tokenizer->after->len > 0)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: a second template", where);
        return read_template(tokenizer, object, where, error);
    }
    if (strcmp(type, "Sequence") != 0 || depth >= 8)
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: type '%s' is not supported; TemplateProcessing, ByteLevel and Sequence are", where,
            type);
    JsonArray *array = moe_json_get_array(object, "processors", where, error);
    if (array == NULL)
        return FALSE;
    for (guint i = 0; i < json_array_get_length(array); i++)
        if (!read_post(tokenizer, json_array_get_element(array, i), where, depth + 1, error))
            return FALSE;
    return TRUE;
}

/* --- the file -------------------------------------------------------------------------------- */

static gboolean read_decoder(MoeTokenizer *tokenizer, JsonNode *node, const char *where,
                             GError **error)
{
    if (node == NULL || JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    JsonObject *object = moe_json_object(node, where, error);
    const char *type = object != NULL ? moe_json_get_string(object, "type", where, error) : NULL;
    if (type == NULL)
        return FALSE;
    if (strcmp(type, "ByteLevel") != 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: type '%s' is not supported; ByteLevel is",
                        where, type);
    tokenizer->byte_letters = TRUE;
    return TRUE;
}

static gboolean read_parts(MoeTokenizer *tokenizer, JsonObject *root, const char *path,
                           GError **error)
{
    g_autofree char *model = g_strconcat(path, ": model", NULL);
    g_autofree char *normalizer = g_strconcat(path, ": normalizer", NULL);
    g_autofree char *added = g_strconcat(path, ": added_tokens", NULL);
    g_autofree char *pre = g_strconcat(path, ": pre_tokenizer", NULL);
    g_autofree char *post = g_strconcat(path, ": post_processor", NULL);
    g_autofree char *decoder = g_strconcat(path, ": decoder", NULL);
    JsonObject *object = moe_json_get_object(root, "model", path, error);
    if (object == NULL || (tokenizer->model = moe_bpe_new(object, model, error)) == NULL)
        return FALSE;
    if (!read_normalizer(json_object_get_member(root, "normalizer"), normalizer, 0,
                         &tokenizer->normalizer, error))
        return FALSE;
    tokenizer->added =
        moe_added_tokens_new(json_object_get_member(root, "added_tokens"), tokenizer->model,
                             normalize, &tokenizer->normalizer, added, error);
    if (tokenizer->added == NULL)
        return FALSE;
    tokenizer->pretokenizer =
        moe_pretokenizer_new(json_object_get_member(root, "pre_tokenizer"), pre, error);
    if (tokenizer->pretokenizer == NULL)
        return FALSE;
    if (!moe_pretokenizer_byte_level(tokenizer->pretokenizer))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: no ByteLevel step; only byte-level BPE is read", pre);
    return read_post(tokenizer, json_object_get_member(root, "post_processor"), post, 0, error) &&
           read_decoder(tokenizer, json_object_get_member(root, "decoder"), decoder, error);
}

MoeTokenizer *moe_tokenizer_load(const char *path, GError **error)
{
    g_autoptr(MoeJson) json = moe_json_load(path, LARGEST_BYTES, error);
    if (json == NULL)
        return NULL;
    if (moe_json_has_nul(json)) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: a token with U+0000 in it is not supported", path);
        return NULL;
    }
    JsonObject *root = moe_json_object(moe_json_root(json), path, error);
    if (root == NULL)
        return NULL;
    g_autoptr(MoeTokenizer) tokenizer = g_new0(MoeTokenizer, 1);
    tokenizer->before = g_array_new(FALSE, FALSE, sizeof(guint32));
    tokenizer->after = g_array_new(FALSE, FALSE, sizeof(guint32));
    if (!read_parts(tokenizer, root, path, error))
        return NULL;
    return g_steal_pointer(&tokenizer);
}

void moe_tokenizer_free(MoeTokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    moe_bpe_free(tokenizer->model);
    moe_added_tokens_free(tokenizer->added);
    moe_pretokenizer_free(tokenizer->pretokenizer);
    g_array_unref(tokenizer->before);
    g_array_unref(tokenizer->after);
    g_free(tokenizer);
}

guint32 moe_tokenizer_size(const MoeTokenizer *tokenizer)
{
    gint64 last = moe_added_tokens_last_id(tokenizer->added);
    return MAX((guint32)(last + 1), moe_bpe_last_id(tokenizer->model) + 1);
}

/* --- encoding -------------------------------------------------------------------------------- */

static gboolean encode_text(const MoeTokenizer *tokenizer, const char *text, size_t length,
                            GArray *ids, GError **error)
{
    g_autoptr(GPtrArray) pieces = NULL;
    if (!moe_pretokenizer_cut(tokenizer->pretokenizer, text, length, &pieces, error))
        return FALSE;
    for (guint i = 0; i < pieces->len; i++) {
        const GString *piece = pieces->pdata[i];
        moe_bpe_encode(tokenizer->model, piece->str, piece->len, ids);
    }
    return TRUE;
}

/* Text between added tokens of the raw kind: normalise it, look for those of the normalised kind.
 */
static gboolean encode_normalized(const MoeTokenizer *tokenizer, const char *text, size_t length,
                                  GArray *ids, GError **error)
{
    GString *normal = normalize(&tokenizer->normalizer, text, length);
    g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(MoeAddedSpan));
    gboolean good =
        moe_added_tokens_find(tokenizer->added, TRUE, normal->str, normal->len, spans, error);
    for (guint i = 0; i < spans->len && good; i++) {
        const MoeAddedSpan *span = &g_array_index(spans, MoeAddedSpan, i);
        guint32 id = (guint32)span->id;
        if (span->id >= 0)
            g_array_append_val(ids, id);
        else
            good = encode_text(tokenizer, normal->str + span->start, span->end - span->start, ids,
                               error);
    }
    g_string_free(normal, TRUE);
    return good;
}

gboolean moe_tokenizer_encode(const MoeTokenizer *tokenizer, const char *text, size_t length,
                              gboolean special, GArray *ids, GError **error)
{
    for (const char *p = text, *end = text + length; p < end;) {
        const char *stop;
        if (g_utf8_validate_len(p, (gsize)(end - p), &stop))
            break;
        if (*stop != '\0') /* a NUL is a character like others here */
            return moe_fail(error, MOE_ERROR_INPUT, "byte %td of the text is not UTF-8",
                            stop - text);
        p = stop + 1;
    }
    if (special)
        g_array_append_vals(ids, tokenizer->before->data, tokenizer->before->len);
    g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(MoeAddedSpan));
    if (!moe_added_tokens_find(tokenizer->added, FALSE, text, length, spans, error))
        return FALSE;
    for (guint i = 0; i < spans->len; i++) {
        const MoeAddedSpan *span = &g_array_index(spans, MoeAddedSpan, i);
        guint32 id = (guint32)span->id;
        if (span->id >= 0)
            g_array_append_val(ids, id);
        else if (!encode_normalized(tokenizer, text + span->start, span->end - span->start, ids,
                                    error))
            return FALSE;
    }
    if (special)
        g_array_append_vals(ids, tokenizer->after->data, tokenizer->after->len);
    return TRUE;
}

/* --- decoding -------------------------------------------------------------------------------- */

/* Appends the bytes of a token: of its letters, or, when one is not a byte's letter, its own. */
static void append_token(GString *out, const char *token, gboolean byte_letters)
{
    gsize length = out->len;
    for (const char *p = token; byte_letters && *p != '\0'; p = g_utf8_next_char(p)) {
        int byte = moe_letter_byte(g_utf8_get_char(p));
        if (byte < 0) {
            g_string_truncate(out, length);
            byte_letters = FALSE;
            break;
        }
        g_string_append_c(out, (char)byte);
    }
    if (!byte_letters)
        g_string_append(out, token);
}

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
        const char *stop;
        gboolean valid = g_utf8_validate_len(bytes->str + at, bytes->len - at, &stop);
        g_string_append_len(text, bytes->str + at, stop - (bytes->str + at));
        at = (size_t)(stop - bytes->str);
        if (valid)
            break;
        if (bytes->str[at] == '\0') {
            g_string_append_c(text, '\0');
            at++;
            continue;
        }
        g_string_append(text, "\xEF\xBF\xBD");
        at += invalid_length((const guchar *)bytes->str + at, bytes->len - at);
    }
    return text;
}

GString *moe_tokenizer_decode(const MoeTokenizer *tokenizer, const guint32 *ids, size_t n,
                              gboolean skip_special)
{
    GString *bytes = g_string_new(NULL);
    for (size_t i = 0; i < n; i++) {
        if (skip_special && moe_added_tokens_special(tokenizer->added, ids[i]))
            continue;
        const char *token = moe_added_tokens_text(tokenizer->added, ids[i]);
        if (token == NULL)
            token = moe_bpe_token(tokenizer->model, ids[i]);
        if (token != NULL)
            append_token(bytes, token, tokenizer->byte_letters);
    }
    GString *text = replace_invalid(bytes);
    g_string_free(bytes, TRUE);
    return text;
}

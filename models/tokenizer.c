#include "config.h"

#include "models/tokenizer.h"

#include "models/tokenizer_parts.h"
#include "models/unicode_data.h"

#include <string.h>

enum { LARGEST_BYTES = 256 << 20, LONGEST_TEXT = 1 << 28 };

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

static gboolean read_model(MoeTokenizer *tokenizer, JsonObject *root, const char *path,
                           GError **error)
{
    g_autofree char *where = g_strconcat(path, ": model", NULL);
    JsonObject *object = moe_json_get_object(root, "model", path, error);
    if (object == NULL)
        return FALSE;
    /* Files from before the key was written are BPE where they have merges. */
    const char *type = "BPE";
    if (json_object_has_member(object, "type") || !json_object_has_member(object, "merges"))
        type = moe_json_get_string(object, "type", where, error);
    if (type == NULL)
        return FALSE;
    if (strcmp(type, "BPE") == 0)
        tokenizer->bpe = moe_bpe_new(object, where, error);
    else if (strcmp(type, "Unigram") == 0)
        tokenizer->unigram = moe_unigram_new(object, where, error);
    else
        return moe_fail(error, MOE_ERROR_INPUT, "%s: type is '%s'; BPE and Unigram are read", where,
                        type);
    if (tokenizer->bpe != NULL)
        tokenizer->table = moe_bpe_table(tokenizer->bpe);
    else if (tokenizer->unigram != NULL)
        tokenizer->table = moe_unigram_table(tokenizer->unigram);
    return tokenizer->table != NULL;
}

static gboolean read_parts(MoeTokenizer *tokenizer, JsonObject *root, const char *path,
                           GError **error)
{
    g_autofree char *normalizer = g_strconcat(path, ": normalizer", NULL);
    g_autofree char *added = g_strconcat(path, ": added_tokens", NULL);
    g_autofree char *pre = g_strconcat(path, ": pre_tokenizer", NULL);
    g_autofree char *post = g_strconcat(path, ": post_processor", NULL);
    g_autofree char *decoder = g_strconcat(path, ": decoder", NULL);
    if (!read_model(tokenizer, root, path, error))
        return FALSE;
    tokenizer->normalizer =
        moe_normalizer_new(json_object_get_member(root, "normalizer"), normalizer, error);
    if (tokenizer->normalizer == NULL)
        return FALSE;
    tokenizer->added = moe_added_tokens_new(json_object_get_member(root, "added_tokens"),
                                            tokenizer->table, tokenizer->normalizer, added, error);
    if (tokenizer->added == NULL)
        return FALSE;
    tokenizer->pretokenizer =
        moe_pretokenizer_new(json_object_get_member(root, "pre_tokenizer"), pre, error);
    if (tokenizer->pretokenizer == NULL ||
        !read_post(tokenizer, json_object_get_member(root, "post_processor"), post, 0, error))
        return FALSE;
    tokenizer->decoder = moe_decoder_new(json_object_get_member(root, "decoder"), decoder, error);
    return tokenizer->decoder != NULL;
}

MoeTokenizer *moe_tokenizer_empty(void)
{
    MoeTokenizer *tokenizer = g_new0(MoeTokenizer, 1);
    tokenizer->before = g_array_new(FALSE, FALSE, sizeof(guint32));
    tokenizer->after = g_array_new(FALSE, FALSE, sizeof(guint32));
    return tokenizer;
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
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_empty();
    if (!read_parts(tokenizer, root, path, error))
        return NULL;
    return g_steal_pointer(&tokenizer);
}

void moe_tokenizer_free(MoeTokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    moe_bpe_free(tokenizer->bpe);
    moe_unigram_free(tokenizer->unigram);
    moe_normalizer_free(tokenizer->normalizer);
    moe_added_tokens_free(tokenizer->added);
    moe_pretokenizer_free(tokenizer->pretokenizer);
    moe_decoder_free(tokenizer->decoder);
    g_array_unref(tokenizer->before);
    g_array_unref(tokenizer->after);
    g_free(tokenizer);
}

guint32 moe_tokenizer_size(const MoeTokenizer *tokenizer)
{
    gint64 last = moe_added_tokens_last_id(tokenizer->added);
    return MAX((guint32)(last + 1), moe_token_table_end(tokenizer->table));
}

/* --- encoding -------------------------------------------------------------------------------- */

/* Of the text, @begin bytes are the beginning of what the user wrote. */
static gboolean encode_text(const MoeTokenizer *tokenizer, const char *text, size_t length,
                            size_t begin, GArray *ids, GError **error)
{
    g_autoptr(GPtrArray) pieces = NULL;
    if (!moe_pretokenizer_cut(tokenizer->pretokenizer, text, length, begin, &pieces, error))
        return FALSE;
    for (guint i = 0; i < pieces->len; i++) {
        const GString *piece = pieces->pdata[i];
        if (tokenizer->bpe != NULL)
            moe_bpe_encode(tokenizer->bpe, piece->str, piece->len, ids);
        else if (!moe_unigram_encode(tokenizer->unigram, piece->str, piece->len, ids, error))
            return FALSE;
    }
    return TRUE;
}

/* Text between added tokens of the raw kind: normalise it, look for those of the normalised kind.
 */
static gboolean encode_normalized(const MoeTokenizer *tokenizer, const char *text, size_t length,
                                  gboolean first, GArray *ids, GError **error)
{
    size_t begin;
    g_autoptr(GString) normal =
        moe_normalizer_run(tokenizer->normalizer, text, length, &begin, error);
    g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(MoeAddedSpan));
    if (normal == NULL ||
        !moe_added_tokens_find(tokenizer->added, TRUE, normal->str, normal->len, spans, error))
        return FALSE;
    for (guint i = 0; i < spans->len; i++) {
        const MoeAddedSpan *span = &g_array_index(spans, MoeAddedSpan, i);
        guint32 id = (guint32)span->id;
        if (span->id >= 0)
            g_array_append_val(ids, id);
        else if (!encode_text(tokenizer, normal->str + span->start, span->end - span->start,
                              first && span->start < begin ? begin - span->start : 0, ids, error))
            return FALSE;
    }
    return TRUE;
}

gboolean moe_tokenizer_encode(const MoeTokenizer *tokenizer, const char *text, size_t length,
                              gboolean special, GArray *ids, GError **error)
{
    if (length > LONGEST_TEXT)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "a text of %zu bytes; at most %d are encoded at a time", length,
                        LONGEST_TEXT);
    size_t valid = moe_unicode_valid_length(text, length);
    if (valid < length)
        return moe_fail(error, MOE_ERROR_INPUT, "byte %zu of the text is not UTF-8", valid);
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
        else if (!encode_normalized(tokenizer, text + span->start, span->end - span->start,
                                    span->start == 0, ids, error))
            return FALSE;
    }
    if (special)
        g_array_append_vals(ids, tokenizer->after->data, tokenizer->after->len);
    return TRUE;
}

/* --- decoding -------------------------------------------------------------------------------- */

static const char *token_of(const MoeTokenizer *tokenizer, guint32 id)
{
    const char *token = moe_added_tokens_text(tokenizer->added, id);
    return token != NULL ? token : moe_token_table_token(tokenizer->table, id);
}

GString *moe_tokenizer_decode(const MoeTokenizer *tokenizer, const guint32 *ids, size_t n,
                              gboolean skip_special)
{
    g_autoptr(GPtrArray) tokens = g_ptr_array_new();
    for (size_t i = 0; i < n; i++) {
        const char *token = token_of(tokenizer, ids[i]);
        if (token != NULL && !(skip_special && moe_tokenizer_is_special(tokenizer, ids[i])))
            g_ptr_array_add(tokens, (gpointer)token);
    }
    return moe_decoder_run(tokenizer->decoder, (const char *const *)tokens->pdata, tokens->len);
}

gboolean moe_tokenizer_is_special(const MoeTokenizer *tokenizer, guint32 id)
{
    return moe_added_tokens_special(tokenizer->added, id);
}

void moe_tokenizer_token_bytes(const MoeTokenizer *tokenizer, guint32 id, gboolean first,
                               GString *bytes)
{
    const char *token = token_of(tokenizer, id);
    if (token != NULL)
        moe_decoder_bytes(tokenizer->decoder, token, first, bytes);
}

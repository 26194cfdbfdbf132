#include "config.h"

#include "models/added_tokens.h"

#include "models/pattern.h"
#include "models/unicode_data.h"

#include <string.h>

typedef struct {
    char *content;
    char *search; /* what is looked for: the content, normalised when the token is */
    guint32 id;
    gboolean single_word, lstrip, rstrip, normalized, special;
} Added;

struct MoeAddedTokens {
    GPtrArray *tokens;   /* Added * */
    GHashTable *by_id;   /* id -> Added * */
    GPtrArray *first[2]; /* by "normalized": 256 GPtrArray * of Added *, longest first, or NULL */
    MoePattern *word_start, *word_end, *space_start;
};

static void added_free(gpointer data)
{
    Added *token = data;
    g_free(token->content);
    g_free(token->search);
    g_free(token);
}

static gboolean read_token(JsonNode *node, const char *where, Added *token, GError **error)
{
    JsonObject *object = moe_json_object(node, where, error);
    const char *content =
        object != NULL ? moe_json_get_string(object, "content", where, error) : NULL;
    gint64 id;
    if (content == NULL ||
        !moe_json_get_int(object, "id", 0, MOE_LARGEST_TOKEN_ID, where, &id, error) ||
        !moe_json_get_bool(object, "single_word", FALSE, where, &token->single_word, error) ||
        !moe_json_get_bool(object, "lstrip", FALSE, where, &token->lstrip, error) ||
        !moe_json_get_bool(object, "rstrip", FALSE, where, &token->rstrip, error) ||
        !moe_json_get_bool(object, "special", FALSE, where, &token->special, error) ||
        !moe_json_get_bool(object, "normalized", !token->special, where, &token->normalized, error))
        return FALSE;
    token->content = g_strdup(content);
    token->id = (guint32)id;
    return TRUE;
}

static gboolean check_token(const Added *token, const MoeTokenTable *table, const char *where,
                            GError **error)
{
    if (*token->content == '\0')
        return moe_fail(error, MOE_ERROR_INPUT, "%s: content is empty", where);
    gint64 known = moe_token_table_id(table, token->content);
    if (known >= 0 && known != token->id)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: '%s' has id %u here and %" G_GINT64_FORMAT " in the vocabulary", where,
                        token->content, token->id, known);
    const char *other = moe_token_table_token(table, token->id);
    if (known < 0 && other != NULL)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: '%s' has the id %u of the token '%s'", where,
                        token->content, token->id, other);
    return TRUE;
}

static int longest_first(gconstpointer a, gconstpointer b)
{
    size_t x = strlen((*(Added *const *)a)->search), y = strlen((*(Added *const *)b)->search);
    return x < y ? 1 : x > y ? -1 : 0;
}

static void index_token(MoeAddedTokens *added, Added *token)
{
    GPtrArray **table = &added->first[token->normalized ? 1 : 0];
    if (*table == NULL) {
        *table = g_ptr_array_new();
        g_ptr_array_set_size(*table, 256);
    }
    GPtrArray **list = (GPtrArray **)&(*table)->pdata[(guint8)token->search[0]];
    if (*list == NULL)
        *list = g_ptr_array_new();
    g_ptr_array_add(*list, token);
}

static gboolean compile_patterns(MoeAddedTokens *added, const char *where, GError **error)
{
    /* Rust's \w and \s, which the reference uses here. */
    static const char word[] =
        "[\\p{Alphabetic}\\p{L}\\p{Nl}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";
    g_autofree char *start = g_strconcat("\\G", word, NULL);
    g_autofree char *end = g_strconcat("(?<=", word, ")\\G", NULL);
    added->word_start = moe_pattern_new(start, FALSE, where, error);
    if (added->word_start != NULL)
        added->word_end = moe_pattern_new(end, FALSE, where, error);
    if (added->word_end != NULL)
        added->space_start = moe_pattern_new("\\G\\s*", FALSE, where, error);
    return added->space_start != NULL;
}

/* Takes @token, whatever becomes of it. */
static gboolean add_token(MoeAddedTokens *added, Added *token, const MoeTokenTable *table,
                          const MoeNormalizer *normalizer, GHashTable *seen, const char *where,
                          GError **error)
{
    g_ptr_array_add(added->tokens, token);
    if (!check_token(token, table, where, error))
        return FALSE;
    if (!g_hash_table_add(seen, token->content) ||
        g_hash_table_contains(added->by_id, GUINT_TO_POINTER(token->id)))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: '%s' or its id %u is listed twice", where,
                        token->content, token->id);
    token->search = g_strdup(token->content);
    if (token->normalized) {
        GString *text =
            moe_normalizer_run(normalizer, token->content, strlen(token->content), NULL, error);
        if (text == NULL)
            return FALSE;
        g_free(token->search);
        token->search = g_string_free(text, FALSE);
    }
    g_hash_table_insert(added->by_id, GUINT_TO_POINTER(token->id), token);
    if (*token->search != '\0')
        index_token(added, token);
    return TRUE;
}

static MoeAddedTokens *new_tokens(const char *where, GError **error)
{
    g_autoptr(MoeAddedTokens) added = g_new0(MoeAddedTokens, 1);
    added->tokens = g_ptr_array_new_with_free_func(added_free);
    added->by_id = g_hash_table_new(g_direct_hash, g_direct_equal);
    return compile_patterns(added, where, error) ? g_steal_pointer(&added) : NULL;
}

static void sort_tokens(MoeAddedTokens *added)
{
    for (int t = 0; t < 2; t++)
        for (guint i = 0; added->first[t] != NULL && i < 256; i++)
            if (added->first[t]->pdata[i] != NULL)
                g_ptr_array_sort(added->first[t]->pdata[i], longest_first);
}

MoeAddedTokens *moe_added_tokens_new(JsonNode *node, const MoeTokenTable *table,
                                     const MoeNormalizer *normalizer, const char *where,
                                     GError **error)
{
    g_autoptr(MoeAddedTokens) added = new_tokens(where, error);
    if (added == NULL || node == NULL || JSON_NODE_HOLDS_NULL(node))
        return g_steal_pointer(&added);
    if (!JSON_NODE_HOLDS_ARRAY(node)) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: not a list", where);
        return NULL;
    }
    JsonArray *array = json_node_get_array(node);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        g_autofree char *inner = g_strdup_printf("%s[%u]", where, i);
        Added *token = g_new0(Added, 1);
        if (!read_token(json_array_get_element(array, i), inner, token, error)) {
            added_free(token);
            return NULL;
        }
        if (!add_token(added, token, table, normalizer, seen, inner, error))
            return NULL;
    }
    sort_tokens(added);
    return g_steal_pointer(&added);
}

MoeAddedTokens *moe_added_tokens_from_list(const MoeAddedToken *tokens, size_t n,
                                           const MoeTokenTable *table, const char *where,
                                           GError **error)
{
    g_autoptr(MoeAddedTokens) added = new_tokens(where, error);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (size_t i = 0; i < n && added != NULL; i++) {
        Added *token = g_new0(Added, 1);
        token->content = g_strdup(tokens[i].content);
        token->id = tokens[i].id;
        token->special = tokens[i].special;
        if (!add_token(added, token, table, NULL, seen, where, error))
            return NULL;
    }
    if (added != NULL)
        sort_tokens(added);
    return g_steal_pointer(&added);
}

void moe_added_tokens_free(MoeAddedTokens *added)
{
    if (added == NULL)
        return;
    for (int t = 0; t < 2; t++) {
        for (guint i = 0; added->first[t] != NULL && i < 256; i++)
            if (added->first[t]->pdata[i] != NULL)
                g_ptr_array_unref(added->first[t]->pdata[i]);
        g_clear_pointer(&added->first[t], g_ptr_array_unref);
    }
    g_hash_table_unref(added->by_id);
    g_ptr_array_unref(added->tokens);
    moe_pattern_free(added->word_start);
    moe_pattern_free(added->word_end);
    moe_pattern_free(added->space_start);
    g_free(added);
}

static const Added *match_at(const GPtrArray *table, const char *text, size_t length)
{
    const GPtrArray *list = table->pdata[(guint8)*text];
    for (guint i = 0; list != NULL && i < list->len; i++) {
        const Added *token = list->pdata[i];
        size_t n = strlen(token->search);
        if (n <= length && memcmp(text, token->search, n) == 0)
            return token;
    }
    return NULL;
}

/* Where the white space that ends at @end begins, not before @from. */
static size_t space_before(const char *text, size_t from, size_t end)
{
    while (end > from) {
        const char *last = g_utf8_find_prev_char(text + from, text + end);
        if (!moe_unicode_is_space(g_utf8_get_char(last)))
            break;
        end = (size_t)(last - text);
    }
    return end;
}

static gboolean stands_alone(const MoeAddedTokens *added, const char *text, size_t length,
                             size_t start, size_t end, gboolean *alone_out, GError **error)
{
    size_t a, b;
    int before = moe_pattern_find(added->word_end, text, length, start, &a, &b, error);
    int after =
        before < 0 ? -1 : moe_pattern_find(added->word_start, text, length, end, &a, &b, error);
    *alone_out = before == 0 && after == 0;
    return after >= 0;
}

gboolean moe_added_tokens_find(const MoeAddedTokens *added, gboolean normalized, const char *text,
                               size_t length, GArray *spans, GError **error)
{
    const GPtrArray *table = added->first[normalized ? 1 : 0];
    size_t done = 0;
    for (size_t at = 0; table != NULL && at < length;) {
        const Added *token = match_at(table, text + at, length - at);
        if (token == NULL) {
            at++;
            continue;
        }
        size_t start = at, end = at + strlen(token->search);
        at = end;
        gboolean alone = TRUE;
        if (token->single_word && !stands_alone(added, text, length, start, end, &alone, error))
            return FALSE;
        if (!alone)
            continue;
        if (token->lstrip)
            start = space_before(text, MIN(done, start), start);
        size_t from;
        if (token->rstrip &&
            moe_pattern_find(added->space_start, text, length, end, &from, &end, error) < 0)
            return FALSE;
        if (done < start) {
            MoeAddedSpan between = {done, start, -1};
            g_array_append_val(spans, between);
        }
        MoeAddedSpan span = {start, end, token->id};
        g_array_append_val(spans, span);
        done = end;
    }
    if (done < length) {
        MoeAddedSpan rest = {done, length, -1};
        g_array_append_val(spans, rest);
    }
    return TRUE;
}

static const Added *by_id(const MoeAddedTokens *added, guint32 id)
{
    return g_hash_table_lookup(added->by_id, GUINT_TO_POINTER(id));
}

const char *moe_added_tokens_text(const MoeAddedTokens *added, guint32 id)
{
    const Added *token = by_id(added, id);
    return token != NULL ? token->content : NULL;
}

gboolean moe_added_tokens_special(const MoeAddedTokens *added, guint32 id)
{
    const Added *token = by_id(added, id);
    return token != NULL && token->special;
}

gint64 moe_added_tokens_last_id(const MoeAddedTokens *added)
{
    gint64 last = -1;
    for (guint i = 0; i < added->tokens->len; i++)
        last = MAX(last, (gint64)((Added *)added->tokens->pdata[i])->id);
    return last;
}

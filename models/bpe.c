#include "config.h"

#include "models/bpe.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_ID = 1 << 24 };

typedef struct {
    guint64 pair; /* left id in the upper half, right id in the lower */
    guint32 rank, id;
} Merge;

struct MoeBpe {
    GHashTable *ids;   /* char * (owned by the chunk) -> id + 1 */
    GPtrArray *tokens; /* id -> char *, NULL where no token has the id */
    GStringChunk *text;
    GArray *merges; /* Merge, by pair */
    gboolean ignore_merges;
};

static guint64 pack(guint32 left, guint32 right)
{
    return (guint64)left << 32 | right;
}

static int compare_merges(gconstpointer a, gconstpointer b)
{
    const Merge *x = a, *y = b;
    if (x->pair != y->pair)
        return x->pair < y->pair ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static const Merge *find_merge(const MoeBpe *bpe, guint32 left, guint32 right)
{
    guint64 pair = pack(left, right);
    const Merge *merges = (const Merge *)(const void *)bpe->merges->data;
    size_t low = 0, high = bpe->merges->len;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (merges[middle].pair < pair)
            low = middle + 1;
        else
            high = middle;
    }
    return low < bpe->merges->len && merges[low].pair == pair ? &merges[low] : NULL;
}

static gboolean read_vocab(MoeBpe *bpe, JsonObject *vocab, const char *where, GError **error)
{
    JsonObjectIter iter;
    const char *token;
    JsonNode *node;
    json_object_iter_init(&iter, vocab);
    while (json_object_iter_next(&iter, &token, &node)) {
        gint64 id;
        if (!moe_json_get_int(vocab, token, 0, LARGEST_ID, where, &id, error))
            return FALSE;
        if (id >= (gint64)bpe->tokens->len)
            g_ptr_array_set_size(bpe->tokens, (int)id + 1);
        if (g_ptr_array_index(bpe->tokens, id) != NULL)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: the tokens '%s' and '%s' have the same id %" G_GINT64_FORMAT,
                            where, (char *)g_ptr_array_index(bpe->tokens, id), token, id);
        char *text = g_string_chunk_insert(bpe->text, token);
        g_ptr_array_index(bpe->tokens, id) = text;
        g_hash_table_insert(bpe->ids, text, GUINT_TO_POINTER((guint)id + 1));
    }
    return TRUE;
}

/* Splits "a b" or ["a", "b"] into two strings, borrowed or in @buffer. */
static gboolean split_merge(JsonNode *node, GString *buffer, const char **left, const char **right)
{
    if (JSON_NODE_HOLDS_ARRAY(node)) {
        JsonArray *pair = json_node_get_array(node);
        if (json_array_get_length(pair) != 2)
            return FALSE;
        JsonNode *a = json_array_get_element(pair, 0), *b = json_array_get_element(pair, 1);
        if (json_node_get_value_type(a) != G_TYPE_STRING ||
            json_node_get_value_type(b) != G_TYPE_STRING)
            return FALSE;
        *left = json_node_get_string(a);
        *right = json_node_get_string(b);
        return TRUE;
    }
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
        return FALSE;
    g_string_assign(buffer, json_node_get_string(node));
    char *space = strchr(buffer->str, ' ');
    if (space == NULL || strchr(space + 1, ' ') != NULL)
        return FALSE;
    *space = '\0';
    *left = buffer->str;
    *right = space + 1;
    return TRUE;
}

static gboolean read_merges(MoeBpe *bpe, JsonArray *merges, const char *where, GError **error)
{
    g_autoptr(GString) buffer = g_string_new(NULL), joined = g_string_new(NULL);
    for (guint rank = 0; rank < json_array_get_length(merges); rank++) {
        const char *left, *right;
        if (!split_merge(json_array_get_element(merges, rank), buffer, &left, &right))
            return moe_fail(error, MOE_ERROR_INPUT, "%s: merges[%u] is not a pair of tokens", where,
                            rank);
        g_string_printf(joined, "%s%s", left, right);
        gint64 a = moe_bpe_id(bpe, left), b = moe_bpe_id(bpe, right),
               c = moe_bpe_id(bpe, joined->str);
        if (a < 0 || b < 0 || c < 0)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: merges[%u] uses '%s', which is not in the vocabulary", where, rank,
                            a < 0   ? left
                            : b < 0 ? right
                                    : joined->str);
        Merge merge = {pack((guint32)a, (guint32)b), rank, (guint32)c};
        g_array_append_val(bpe->merges, merge);
    }
    g_array_sort(bpe->merges, compare_merges);
    /* Of a pair that is listed twice the later rank counts, as in the reference's table. */
    Merge *all = (Merge *)(void *)bpe->merges->data;
    guint kept = 0;
    for (guint i = 0; i < bpe->merges->len; i++)
        if (i + 1 == bpe->merges->len || all[i + 1].pair != all[i].pair)
            all[kept++] = all[i];
    g_array_set_size(bpe->merges, kept);
    return TRUE;
}

static gboolean check_options(JsonObject *model, const char *where, GError **error)
{
    static const char *const absent[] = {"dropout", "unk_token"};
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
        if (!moe_json_is_null(model, absent[i]))
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: %s is set; only byte-level BPE without it is read", where,
                            absent[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(empty); i++) {
        if (moe_json_is_null(model, empty[i]))
            continue;
        const char *text = moe_json_get_string(model, empty[i], where, error);
        if (text == NULL)
            return FALSE;
        if (*text != '\0')
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: %s is '%s'; only byte-level BPE without it is read", where,
                            empty[i], text);
    }
    gboolean fallback;
    if (!moe_json_get_bool(model, "byte_fallback", FALSE, where, &fallback, error))
        return FALSE;
    if (fallback)
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: byte_fallback is true; only byte-level BPE is read, where no byte is unknown",
            where);
    return TRUE;
}

MoeBpe *moe_bpe_new(JsonObject *model, const char *where, GError **error)
{
    const char *type = moe_json_get_string(model, "type", where, error);
    if (type == NULL)
        return NULL;
    if (strcmp(type, "BPE") != 0) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: type is '%s'; only BPE is read", where, type);
        return NULL;
    }
    JsonObject *vocab = moe_json_get_object(model, "vocab", where, error);
    if (vocab == NULL)
        return NULL;
    JsonArray *merges = moe_json_get_array(model, "merges", where, error);
    if (merges == NULL)
        return NULL;
    g_autoptr(MoeBpe) bpe = g_new0(MoeBpe, 1);
    bpe->ids = g_hash_table_new(g_str_hash, g_str_equal);
    bpe->tokens = g_ptr_array_new();
    bpe->text = g_string_chunk_new(1 << 16);
    bpe->merges = g_array_new(FALSE, FALSE, sizeof(Merge));
    g_autofree char *where_vocab = g_strconcat(where, ": vocab", NULL);
    if (!check_options(model, where, error) ||
        !moe_json_get_bool(model, "ignore_merges", FALSE, where, &bpe->ignore_merges, error) ||
        !read_vocab(bpe, vocab, where_vocab, error) || !read_merges(bpe, merges, where, error))
        return NULL;
    return g_steal_pointer(&bpe);
}

void moe_bpe_free(MoeBpe *bpe)
{
    if (bpe == NULL)
        return;
    g_hash_table_unref(bpe->ids);
    g_ptr_array_unref(bpe->tokens);
    g_string_chunk_free(bpe->text);
    g_array_unref(bpe->merges);
    g_free(bpe);
}

gint64 moe_bpe_id(const MoeBpe *bpe, const char *token)
{
    return (gint64)GPOINTER_TO_UINT(g_hash_table_lookup(bpe->ids, token)) - 1;
}

const char *moe_bpe_token(const MoeBpe *bpe, guint32 id)
{
    return id < bpe->tokens->len ? g_ptr_array_index(bpe->tokens, id) : NULL;
}

guint32 moe_bpe_last_id(const MoeBpe *bpe)
{
    return bpe->tokens->len > 0 ? bpe->tokens->len - 1 : 0;
}

guint moe_bpe_size(const MoeBpe *bpe)
{
    return g_hash_table_size(bpe->ids);
}

/* The symbols of a word are a doubly linked list in an array; a candidate is a merge of the symbol
 * at
 * @at with its right neighbour. Candidates wait in a binary heap and may have gone stale. */
typedef struct {
    guint32 id;
    gint32 previous, next; /* -1: none */
    gboolean dead;
} Symbol;

typedef struct {
    guint32 rank, id;
    gint32 at;
} Candidate;

static gboolean before(const Candidate *a, const Candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(GArray *heap, Candidate candidate)
{
    g_array_append_val(heap, candidate);
    Candidate *all = (Candidate *)(void *)heap->data;
    for (guint i = heap->len - 1; i > 0 && before(&all[i], &all[(i - 1) / 2]); i = (i - 1) / 2) {
        Candidate other = all[i];
        all[i] = all[(i - 1) / 2];
        all[(i - 1) / 2] = other;
    }
}

static Candidate heap_pop(GArray *heap)
{
    Candidate *all = (Candidate *)(void *)heap->data;
    Candidate top = all[0], last = all[heap->len - 1];
    g_array_set_size(heap, heap->len - 1);
    guint n = heap->len, i = 0;
    for (;;) {
        guint child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(&all[child + 1], &all[child]))
            child++;
        if (!before(&all[child], &last))
            break;
        all[i] = all[child];
        i = child;
    }
    if (n > 0)
        all[i] = last;
    return top;
}

static void consider(const MoeBpe *bpe, const Symbol *symbols, gint32 at, GArray *heap)
{
    if (at < 0 || symbols[at].next < 0)
        return;
    const Merge *merge = find_merge(bpe, symbols[at].id, symbols[symbols[at].next].id);
    if (merge != NULL)
        heap_push(heap, (Candidate){merge->rank, merge->id, at});
}

static void merge_all(const MoeBpe *bpe, GArray *list)
{
    Symbol *symbols = (Symbol *)(void *)list->data;
    g_autoptr(GArray) heap = g_array_sized_new(FALSE, FALSE, sizeof(Candidate), list->len);
    for (gint32 i = 0; i < (gint32)list->len; i++)
        consider(bpe, symbols, i, heap);
    while (heap->len > 0) {
        Candidate top = heap_pop(heap);
        Symbol *left = &symbols[top.at];
        if (left->dead || left->next < 0)
            continue;
        Symbol *right = &symbols[left->next];
        const Merge *merge = find_merge(bpe, left->id, right->id);
        if (merge == NULL || merge->id != top.id)
            continue;
        left->id = top.id;
        left->next = right->next;
        right->dead = TRUE;
        if (right->next >= 0)
            symbols[right->next].previous = top.at;
        consider(bpe, symbols, left->previous, heap);
        consider(bpe, symbols, top.at, heap);
    }
}

void moe_bpe_encode(const MoeBpe *bpe, const char *word, size_t length, GArray *ids)
{
    g_autofree char *text = g_strndup(word, length);
    gint64 whole = bpe->ignore_merges ? moe_bpe_id(bpe, text) : -1;
    if (whole >= 0) {
        guint32 id = (guint32)whole;
        g_array_append_val(ids, id);
        return;
    }
    g_autoptr(GArray) list = g_array_sized_new(FALSE, FALSE, sizeof(Symbol), (guint)length);
    for (const char *p = text; *p != '\0';) {
        const char *end = g_utf8_next_char(p);
        char letter[8];
        memcpy(letter, p, (size_t)(end - p));
        letter[end - p] = '\0';
        p = end;
        gint64 id = moe_bpe_id(bpe, letter);
        if (id < 0)
            continue;
        Symbol symbol = {(guint32)id, (gint32)list->len - 1, (gint32)list->len + 1, FALSE};
        g_array_append_val(list, symbol);
    }
    if (list->len == 0)
        return;
    g_array_index(list, Symbol, list->len - 1).next = -1;
    merge_all(bpe, list);
    for (guint i = 0; i < list->len; i++)
        if (!g_array_index(list, Symbol, i).dead)
            g_array_append_val(ids, g_array_index(list, Symbol, i).id);
}

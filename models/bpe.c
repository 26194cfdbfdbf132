#include "config.h"

#include "models/bpe.h"

#include <stdlib.h>
#include <string.h>

/* The symbol of a character that no merge knows. */
#define NO_SYMBOL G_MAXUINT32

enum { LONGEST_SCORED = 512 };

typedef struct {
    guint64 pair; /* left id in the upper half, right id in the lower */
    guint32 rank, id;
} Merge;

struct MoeBpe {
    MoeTokenTable *table;
    GArray *merges; /* Merge, by pair */
    gboolean ignore_merges, byte_fallback, fuse_unknown;
    gint64 unknown;    /* the id for characters without a token, or -1: they are left out */
    gint64 bytes[256]; /* of the byte tokens, or -1 */
    /* Of merges by score alone: characters (char *) that are no token but part of one -> the symbol
     * that stands for them, from the table's end on. NULL: merges are listed. */
    GHashTable *letters;
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

static gboolean read_vocab(MoeTokenTable *table, JsonObject *vocab, const char *where,
                           GError **error)
{
    JsonObjectIter iter;
    const char *token;
    JsonNode *node;
    json_object_iter_init(&iter, vocab);
    while (json_object_iter_next(&iter, &token, &node)) {
        gint64 id;
        if (!moe_json_get_int(vocab, token, 0, MOE_LARGEST_TOKEN_ID, where, &id, error) ||
            !moe_token_table_add(table, token, id, where, error))
            return FALSE;
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

static gboolean add_merge(MoeBpe *bpe, const char *left, const char *right, guint rank,
                          GString *joined, const char *where, GError **error)
{
    g_string_printf(joined, "%s%s", left, right);
    gint64 a = moe_token_table_id(bpe->table, left), b = moe_token_table_id(bpe->table, right),
           c = moe_token_table_id(bpe->table, joined->str);
    if (a < 0 || b < 0 || c < 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: merges[%u] uses '%s', which is not in the vocabulary", where, rank,
                        a < 0   ? left
                        : b < 0 ? right
                                : joined->str);
    Merge merge = {pack((guint32)a, (guint32)b), rank, (guint32)c};
    g_array_append_val(bpe->merges, merge);
    return TRUE;
}

static void sort_merges(MoeBpe *bpe)
{
    g_array_sort(bpe->merges, compare_merges);
    /* Of a pair that is listed twice the later rank counts, as in the reference's table. */
    Merge *all = (Merge *)(void *)bpe->merges->data;
    guint kept = 0;
    for (guint i = 0; i < bpe->merges->len; i++)
        if (i + 1 == bpe->merges->len || all[i + 1].pair != all[i].pair)
            all[kept++] = all[i];
    g_array_set_size(bpe->merges, kept);
}

static gboolean read_merges(MoeBpe *bpe, JsonArray *merges, const char *where, GError **error)
{
    g_autoptr(GString) buffer = g_string_new(NULL), joined = g_string_new(NULL);
    for (guint rank = 0; rank < json_array_get_length(merges); rank++) {
        const char *left, *right;
        if (!split_merge(json_array_get_element(merges, rank), buffer, &left, &right))
            return moe_fail(error, MOE_ERROR_INPUT, "%s: merges[%u] is not a pair of tokens", where,
                            rank);
        if (!add_merge(bpe, left, right, rank, joined, where, error))
            return FALSE;
    }
    sort_merges(bpe);
    return TRUE;
}

static gboolean check_options(JsonObject *model, const char *where, GError **error)
{
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    if (!moe_json_is_null(model, "dropout"))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: dropout is set; only BPE without it is read, as ids would be random",
                        where);
    for (size_t i = 0; i < G_N_ELEMENTS(empty); i++) {
        if (moe_json_is_null(model, empty[i]))
            continue;
        const char *text = moe_json_get_string(model, empty[i], where, error);
        if (text == NULL)
            return FALSE;
        if (*text != '\0')
            return moe_fail(error, MOE_ERROR_INPUT, "%s: %s is '%s'; only BPE without it is read",
                            where, empty[i], text);
    }
    return TRUE;
}

static gboolean read_unknown(MoeBpe *bpe, JsonObject *model, const char *where, GError **error)
{
    if (moe_json_is_null(model, "unk_token"))
        return TRUE;
    const char *token = moe_json_get_string(model, "unk_token", where, error);
    if (token == NULL)
        return FALSE;
    bpe->unknown = moe_token_table_id(bpe->table, token);
    return bpe->unknown >= 0 ||
           moe_fail(error, MOE_ERROR_INPUT, "%s: unk_token '%s' is not in the vocabulary", where,
                    token);
}

static MoeBpe *new_bpe(MoeTokenTable *table)
{
    MoeBpe *bpe = g_new0(MoeBpe, 1);
    bpe->table = table;
    bpe->merges = g_array_new(FALSE, FALSE, sizeof(Merge));
    bpe->unknown = -1;
    for (int b = 0; b < 256; b++)
        bpe->bytes[b] = moe_token_table_byte(table, (guint8)b);
    return bpe;
}

MoeBpe *moe_bpe_new(JsonObject *model, const char *where, GError **error)
{
    JsonObject *vocab = moe_json_get_object(model, "vocab", where, error);
    if (vocab == NULL)
        return NULL;
    JsonArray *merges = moe_json_get_array(model, "merges", where, error);
    if (merges == NULL || !check_options(model, where, error))
        return NULL;
    g_autofree char *where_vocab = g_strconcat(where, ": vocab", NULL);
    g_autoptr(MoeTokenTable) table = moe_token_table_new();
    if (!read_vocab(table, vocab, where_vocab, error))
        return NULL;
    g_autoptr(MoeBpe) bpe = new_bpe(g_steal_pointer(&table));
    if (!moe_json_get_bool(model, "ignore_merges", FALSE, where, &bpe->ignore_merges, error) ||
        !moe_json_get_bool(model, "byte_fallback", FALSE, where, &bpe->byte_fallback, error) ||
        !moe_json_get_bool(model, "fuse_unk", FALSE, where, &bpe->fuse_unknown, error) ||
        !read_unknown(bpe, model, where, error) || !read_merges(bpe, merges, where, error))
        return NULL;
    return g_steal_pointer(&bpe);
}

MoeBpe *moe_bpe_from_merges(MoeTokenTable *table, const char *const *merges, size_t n,
                            gboolean ignore_merges, const char *where, GError **error)
{
    g_autoptr(MoeBpe) bpe = new_bpe(table);
    bpe->ignore_merges = ignore_merges;
    g_autoptr(GString) left = g_string_new(NULL), joined = g_string_new(NULL);
    for (size_t rank = 0; rank < n; rank++) {
        const char *space = *merges[rank] != '\0' ? strchr(merges[rank] + 1, ' ') : NULL;
        if (space == NULL) {
            moe_fail(error, MOE_ERROR_INPUT, "%s: merges[%zu] is '%s', not two tokens with a space",
                     where, rank, merges[rank]);
            return NULL;
        }
        g_string_truncate(left, 0);
        g_string_append_len(left, merges[rank], space - merges[rank]);
        if (!add_merge(bpe, left->str, space + 1, (guint)rank, joined, where, error))
            return NULL;
    }
    sort_merges(bpe);
    return g_steal_pointer(&bpe);
}

/* The symbol of part of a token: a token itself, or a character that is none; else FALSE. */
static gboolean find_part(MoeBpe *bpe, const char *text, size_t length, guint32 *symbol_out)
{
    gint64 id = moe_token_table_find(bpe->table, text, length);
    if (id < 0 && length == (size_t)g_utf8_skip[(guchar)*text]) {
        g_autofree char *letter = g_strndup(text, length);
        guint next = moe_token_table_end(bpe->table) + g_hash_table_size(bpe->letters);
        id = (gint64)GPOINTER_TO_UINT(g_hash_table_lookup(bpe->letters, letter)) - 1;
        if (id < 0) {
            id = next;
            g_hash_table_insert(bpe->letters, g_steal_pointer(&letter), GUINT_TO_POINTER(next + 1));
        }
    }
    *symbol_out = (guint32)id;
    return id >= 0;
}

/* Two neighbours merge when their text together is a token, however it was put together. */
static gboolean add_scored(MoeBpe *bpe, guint32 id, guint32 rank, const char *where, GError **error)
{
    const char *token = moe_token_table_token(bpe->table, id);
    size_t length = strlen(token);
    if (length > LONGEST_SCORED)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: token %u has %zu bytes; at most %d are read",
                        where, id, length, LONGEST_SCORED);
    for (const char *p = token; *p != '\0'; p = g_utf8_next_char(p)) {
        size_t left = (size_t)(p - token);
        guint32 a, b;
        if (left > 0 && find_part(bpe, token, left, &a) && find_part(bpe, p, length - left, &b)) {
            Merge merge = {pack(a, b), rank, id};
            g_array_append_val(bpe->merges, merge);
        }
    }
    return TRUE;
}

typedef struct {
    float score;
    guint32 id;
} Scored;

static int highest_first(gconstpointer a, gconstpointer b)
{
    float x = ((const Scored *)a)->score, y = ((const Scored *)b)->score;
    return x < y ? 1 : x > y ? -1 : 0;
}

MoeBpe *moe_bpe_from_scores(MoeTokenTable *table, const float *scores, gint64 unknown,
                            const char *where, GError **error)
{
    g_autoptr(MoeBpe) bpe = new_bpe(table);
    bpe->byte_fallback = TRUE;
    bpe->unknown = unknown;
    bpe->letters = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GArray) order = g_array_new(FALSE, FALSE, sizeof(Scored));
    for (guint32 id = 0; id < moe_token_table_end(table); id++) {
        Scored scored = {scores[id], id};
        if (moe_token_table_token(table, id) != NULL)
            g_array_append_val(order, scored);
    }
    g_array_sort(order, highest_first);
    guint32 rank = 0; /* equal scores have one rank, so that the leftmost pair goes first */
    for (guint i = 0; i < order->len; i++) {
        const Scored *scored = &g_array_index(order, Scored, i);
        if (i > 0 && scored->score < scored[-1].score)
            rank++;
        if (!add_scored(bpe, scored->id, rank, where, error))
            return NULL;
    }
    sort_merges(bpe);
    return g_steal_pointer(&bpe);
}

void moe_bpe_free(MoeBpe *bpe)
{
    if (bpe == NULL)
        return;
    moe_token_table_free(bpe->table);
    g_array_unref(bpe->merges);
    g_clear_pointer(&bpe->letters, g_hash_table_unref);
    g_free(bpe);
}

const MoeTokenTable *moe_bpe_table(const MoeBpe *bpe)
{
    return bpe->table;
}

/* The symbols of a word are a doubly linked list in an array; a candidate is a merge of the symbol
 * at @at with its right neighbour. Candidates wait in a binary heap and may have gone stale. */
typedef struct {
    guint32 id;
    guint32 start;         /* byte of the word; for characters that turn out to have no token */
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

static void add_symbol(GArray *list, guint32 id, size_t start)
{
    Symbol symbol = {id, (guint32)start, (gint32)list->len - 1, (gint32)list->len + 1, FALSE};
    g_array_append_val(list, symbol);
}

/* The byte tokens of a character; FALSE when not all of them exist. */
static gboolean byte_tokens(const MoeBpe *bpe, const char *text, size_t length, guint32 *ids)
{
    for (size_t i = 0; i < length; i++) {
        if (!bpe->byte_fallback || bpe->bytes[(guint8)text[i]] < 0)
            return FALSE;
        ids[i] = (guint32)bpe->bytes[(guint8)text[i]];
    }
    return TRUE;
}

static guint32 letter_symbol(const MoeBpe *bpe, const char *text, size_t length)
{
    char letter[8] = {0};
    memcpy(letter, text, length);
    gpointer symbol = g_hash_table_lookup(bpe->letters, letter);
    return symbol != NULL ? GPOINTER_TO_UINT(symbol) - 1 : NO_SYMBOL;
}

/* The symbols that merging starts from. An unknown character waits for the next known one, so that
 * its neighbours can fuse with it; bytes do not end the waiting, as in the reference. */
static void split_letters(const MoeBpe *bpe, const char *word, size_t length, GArray *list)
{
    gboolean waiting = FALSE;
    size_t start = 0;
    for (size_t at = 0, next; at < length; at = next) {
        size_t n = (size_t)g_utf8_skip[(guchar)word[at]];
        next = at + n;
        gint64 id = moe_token_table_find(bpe->table, word + at, n);
        guint32 bytes[8];
        if (id >= 0) {
            if (waiting)
                add_symbol(list, (guint32)bpe->unknown, start);
            waiting = FALSE;
            add_symbol(list, (guint32)id, at);
        } else if (bpe->letters != NULL) {
            add_symbol(list, letter_symbol(bpe, word + at, n), at);
        } else if (byte_tokens(bpe, word + at, n, bytes)) {
            for (size_t i = 0; i < n; i++)
                add_symbol(list, bytes[i], at);
        } else if (bpe->unknown >= 0) {
            if (waiting && !bpe->fuse_unknown)
                add_symbol(list, (guint32)bpe->unknown, start);
            waiting = TRUE;
            start = at;
        }
    }
    if (waiting)
        add_symbol(list, (guint32)bpe->unknown, start);
}

static void append_symbol(const MoeBpe *bpe, const Symbol *symbol, const char *word, GArray *ids)
{
    if (symbol->id < moe_token_table_end(bpe->table)) {
        g_array_append_val(ids, symbol->id);
        return;
    }
    guint32 bytes[8], unknown = (guint32)bpe->unknown;
    size_t n = (size_t)g_utf8_skip[(guchar)word[symbol->start]];
    if (byte_tokens(bpe, word + symbol->start, n, bytes))
        g_array_append_vals(ids, bytes, (guint)n);
    else if (bpe->unknown >= 0)
        g_array_append_val(ids, unknown);
}

void moe_bpe_encode(const MoeBpe *bpe, const char *word, size_t length, GArray *ids)
{
    gint64 whole = bpe->ignore_merges ? moe_token_table_find(bpe->table, word, length) : -1;
    if (whole >= 0) {
        guint32 id = (guint32)whole;
        g_array_append_val(ids, id);
        return;
    }
    g_autoptr(GArray) list = g_array_sized_new(FALSE, FALSE, sizeof(Symbol), (guint)length);
    split_letters(bpe, word, length, list);
    if (list->len == 0)
        return;
    g_array_index(list, Symbol, list->len - 1).next = -1;
    merge_all(bpe, list);
    for (guint i = 0; i < list->len; i++)
        if (!g_array_index(list, Symbol, i).dead)
            append_symbol(bpe, &g_array_index(list, Symbol, i), word, ids);
}

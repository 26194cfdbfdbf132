#include "config.h"

#include "models/unigram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What an unknown character scores below the worst token (SentencePiece, kUnkPenalty). */
static const double unknown_penalty = 10.0;

/* A token in the order of its bytes: the sorted list is the trie that prefixes are looked up in. */
typedef struct {
    const char *text; /* the table's */
    guint32 id;
} Entry;

struct MoeUnigram {
    MoeTokenTable *table;
    double *scores;     /* by id */
    Entry *sorted;      /* [n], by text */
    guint32 first[257]; /* sorted[first[b]] ... sorted[first[b + 1] - 1] begin with byte b */
    gint64 unknown;     /* -1: none */
    double unknown_score;
    gboolean byte_fallback;
    gint64 bytes[256];
    char *where;
};

/* The best way to cut the text up to some byte. */
typedef struct {
    double score;
    gint32 start; /* of its last token; -1: no way found yet */
    guint32 id;
} Node;

/* Bytes that are one token, or neighbouring unknown characters. */
typedef struct {
    gint32 start, end;
    gboolean unknown;
} Stretch;

static int by_text(const void *a, const void *b)
{
    return strcmp(((const Entry *)a)->text, ((const Entry *)b)->text);
}

static gboolean read_pair(MoeUnigram *unigram, JsonNode *node, guint id, const char *where,
                          GError **error)
{
    JsonArray *pair = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    if (pair == NULL || json_array_get_length(pair) != 2)
        return moe_fail(error, MOE_ERROR_INPUT, "%s[%u] is not a pair [token, score]", where, id);
    JsonNode *token = json_array_get_element(pair, 0), *score = json_array_get_element(pair, 1);
    GType type = json_node_get_value_type(score);
    if (json_node_get_value_type(token) != G_TYPE_STRING ||
        (type != G_TYPE_DOUBLE && type != G_TYPE_INT64))
        return moe_fail(error, MOE_ERROR_INPUT, "%s[%u] is not a pair [token, score]", where, id);
    unigram->scores[id] = json_node_get_double(score);
    if (!isfinite(unigram->scores[id]))
        return moe_fail(error, MOE_ERROR_INPUT, "%s[%u]: the score is not a finite number", where,
                        id);
    return moe_token_table_add(unigram->table, json_node_get_string(token), id, where, error);
}

static void sort_tokens(MoeUnigram *unigram, guint n)
{
    unigram->sorted = g_new(Entry, n);
    for (guint id = 0; id < n; id++)
        unigram->sorted[id] = (Entry){moe_token_table_token(unigram->table, id), id};
    qsort(unigram->sorted, n, sizeof(Entry), by_text);
    guint at = 0;
    for (int b = 0; b <= 256; b++) {
        while (at < n && (guchar)unigram->sorted[at].text[0] < b)
            at++;
        unigram->first[b] = at;
    }
}

static gboolean read_vocab(MoeUnigram *unigram, JsonArray *vocab, const char *where, GError **error)
{
    guint n = json_array_get_length(vocab);
    if (n > MOE_LARGEST_TOKEN_ID)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: %u tokens; at most %d are read", where, n,
                        MOE_LARGEST_TOKEN_ID);
    if (n == 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: is empty", where);
    unigram->scores = g_new0(double, n);
    double lowest = INFINITY;
    for (guint id = 0; id < n; id++) {
        if (!read_pair(unigram, json_array_get_element(vocab, id), id, where, error))
            return FALSE;
        lowest = MIN(lowest, unigram->scores[id]);
    }
    unigram->unknown_score = lowest - unknown_penalty;
    sort_tokens(unigram, n);
    return TRUE;
}

MoeUnigram *moe_unigram_new(JsonObject *model, const char *where, GError **error)
{
    g_autoptr(MoeUnigram) unigram = g_new0(MoeUnigram, 1);
    unigram->table = moe_token_table_new();
    unigram->where = g_strdup(where);
    unigram->unknown = -1;
    g_autofree char *where_vocab = g_strconcat(where, ": vocab", NULL);
    JsonArray *vocab = moe_json_get_array(model, "vocab", where, error);
    if (vocab == NULL || !read_vocab(unigram, vocab, where_vocab, error) ||
        !moe_json_get_bool(model, "byte_fallback", FALSE, where, &unigram->byte_fallback, error))
        return NULL;
    gint64 last = (gint64)moe_token_table_end(unigram->table) - 1;
    if (!moe_json_is_null(model, "unk_id") &&
        !moe_json_get_int(model, "unk_id", 0, last, where, &unigram->unknown, error))
        return NULL;
    for (int b = 0; b < 256; b++)
        unigram->bytes[b] = moe_token_table_byte(unigram->table, (guint8)b);
    return g_steal_pointer(&unigram);
}

void moe_unigram_free(MoeUnigram *unigram)
{
    if (unigram == NULL)
        return;
    moe_token_table_free(unigram->table);
    g_free(unigram->scores);
    g_free(unigram->sorted);
    g_free(unigram->where);
    g_free(unigram);
}

const MoeTokenTable *moe_unigram_table(const MoeUnigram *unigram)
{
    return unigram->table;
}

static void offer(Node *node, double score, size_t start, guint32 id)
{
    if (node->start < 0 || score > node->score)
        *node = (Node){score, (gint32)start, id};
}

/* Of the tokens sorted[low ... high), which agree in their first @depth bytes, those with @byte
 * next. */
static void narrow(const Entry *sorted, size_t depth, guint byte, guint32 *low, guint32 *high)
{
    guint32 a = *low, b = *high;
    while (a < b) {
        guint32 middle = a + (b - a) / 2;
        if ((guchar)sorted[middle].text[depth] < byte)
            a = middle + 1;
        else
            b = middle;
    }
    *low = a;
    b = *high;
    while (a < b) {
        guint32 middle = a + (b - a) / 2;
        if ((guchar)sorted[middle].text[depth] <= byte)
            a = middle + 1;
        else
            b = middle;
    }
    *high = a;
}

/* Offers every token that @word has at @start to the node where it ends. Returns whether one of
 * them is the character there, alone. */
static gboolean offer_tokens(const MoeUnigram *unigram, const char *word, size_t length,
                             size_t start, Node *nodes)
{
    size_t one = (size_t)g_utf8_skip[(guchar)word[start]];
    gboolean alone = FALSE;
    if (word[start] == '\0')
        return FALSE;
    guint32 low = unigram->first[(guchar)word[start]],
            high = unigram->first[(guchar)word[start] + 1];
    for (size_t n = 1; low < high && start + n <= length; n++) {
        const Entry *shortest = &unigram->sorted[low];
        if (shortest->text[n] == '\0') {
            offer(&nodes[start + n], nodes[start].score + unigram->scores[shortest->id], start,
                  shortest->id);
            alone = alone || n == one;
            low++;
        }
        if (start + n == length || word[start + n] == '\0')
            break;
        narrow(unigram->sorted, n, (guchar)word[start + n], &low, &high);
    }
    return alone;
}

/* A stretch that the search took for one token or for unknown characters: looked up as a whole. */
static void append_stretch(const MoeUnigram *unigram, const char *text, size_t length, GArray *ids)
{
    gint64 known = moe_token_table_find(unigram->table, text, length);
    gboolean bytes = unigram->byte_fallback && known < 0;
    for (size_t i = 0; i < length && bytes; i++)
        bytes = unigram->bytes[(guint8)text[i]] >= 0;
    guint32 whole = (guint32)(known >= 0 ? known : unigram->unknown);
    if (!bytes)
        g_array_append_val(ids, whole);
    for (size_t i = 0; i < length && bytes; i++) {
        guint32 id = (guint32)unigram->bytes[(guint8)text[i]];
        g_array_append_val(ids, id);
    }
}

static gboolean fill_nodes(const MoeUnigram *unigram, const char *word, size_t length, Node *nodes,
                           GError **error)
{
    for (size_t at = 1; at <= length; at++)
        nodes[at].start = -1;
    for (size_t at = 0; at < length;) {
        size_t one = (size_t)g_utf8_skip[(guchar)word[at]];
        if (!offer_tokens(unigram, word, length, at, nodes)) {
            if (unigram->unknown < 0)
                return moe_fail(error, MOE_ERROR_INPUT,
                                "%s: no token for the character U+%04X, and unk_id is not set",
                                unigram->where, g_utf8_get_char(word + at));
            offer(&nodes[at + one], nodes[at].score + unigram->unknown_score, at,
                  (guint32)unigram->unknown);
        }
        at += one;
    }
    return TRUE;
}

gboolean moe_unigram_encode(const MoeUnigram *unigram, const char *word, size_t length, GArray *ids,
                            GError **error)
{
    g_autofree Node *nodes = g_new0(Node, length + 1);
    if (!fill_nodes(unigram, word, length, nodes, error))
        return FALSE;
    g_autoptr(GArray) stretches = g_array_new(FALSE, FALSE, sizeof(Stretch)); /* last to first */
    for (gint32 at = (gint32)length; at > 0; at = nodes[at].start) {
        Stretch stretch = {nodes[at].start, at, nodes[at].id == unigram->unknown};
        Stretch *behind =
            stretches->len > 0 ? &g_array_index(stretches, Stretch, stretches->len - 1) : NULL;
        if (stretch.unknown && behind != NULL && behind->unknown)
            behind->start = stretch.start;
        else
            g_array_append_val(stretches, stretch);
    }
    for (guint i = stretches->len; i-- > 0;) {
        const Stretch *stretch = &g_array_index(stretches, Stretch, i);
        append_stretch(unigram, word + stretch->start, (size_t)(stretch->end - stretch->start),
                       ids);
    }
    return TRUE;
}

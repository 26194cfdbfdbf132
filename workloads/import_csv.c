#include "config.h"

#include "sim/base/csv.h"
#include "workloads/import.h"

#include <string.h>
#include <sys/stat.h>

/* The columns wanted, in this order. */
enum { TOKEN, LAYER, EXPERT, WEIGHT, SEQUENCE };
static const char *const columns[] = {"token", "layer", "expert", "weight?", "sequence?", NULL};

typedef struct {
    guint32 token;
    guint16 layer, expert;
    float weight;
    guint32 order; /* of the line, for a stable sort */
} Pair;

typedef struct {
    GArray *pairs;    /* Pair */
    GArray *sequence; /* guint32 per token, G_MAXUINT32: not said yet */
    gboolean weights, sequences;
    gint64 largest_expert, largest_token;
} Table;

static gboolean read_row(const MoeCsv *csv, Table *table, GError **error)
{
    gint64 token, layer, expert, sequence = 0;
    double weight = 0;
    if (!moe_csv_int(csv, TOKEN, 0, G_MAXINT32, &token, error) ||
        !moe_csv_int(csv, LAYER, 0, MOE_TRACE_MOST_LAYERS - 1, &layer, error) ||
        !moe_csv_int(csv, EXPERT, 0, MOE_TRACE_MOST_EXPERTS - 1, &expert, error) ||
        (table->weights && !moe_csv_number(csv, WEIGHT, 0, G_MAXFLOAT, &weight, error)) ||
        (table->sequences && !moe_csv_int(csv, SEQUENCE, 0, G_MAXINT32, &sequence, error)))
        return FALSE;
    if (table->pairs->len == G_MAXUINT32 - 1)
        return moe_csv_fail(csv, error, "more than 2^32 pairs");
    Pair pair = {(guint32)token, (guint16)layer, (guint16)expert, (float)weight, table->pairs->len};
    g_array_append_val(table->pairs, pair);
    table->largest_expert = MAX(table->largest_expert, expert);
    table->largest_token = MAX(table->largest_token, token);
    if (!table->sequences)
        return TRUE;
    /* Lines may come in any order, but tokens far beyond the lines so far are a mistake. */
    while (table->sequence->len <= (guint)token && table->sequence->len < (1U << 31)) {
        const guint32 unknown = G_MAXUINT32;
        if ((gint64)table->sequence->len > (gint64)table->pairs->len + (1 << 20))
            return moe_csv_fail(csv, error,
                                "token %" G_GINT64_FORMAT " comes long before the tokens below it",
                                token);
        g_array_append_val(table->sequence, unknown);
    }
    guint32 *known = &g_array_index(table->sequence, guint32, token);
    if (*known != G_MAXUINT32 && *known != sequence)
        return moe_csv_fail(csv, error, "token %" G_GINT64_FORMAT " was in sequence %u before",
                            token, *known);
    *known = (guint32)sequence;
    return TRUE;
}

static int by_layer_and_token(gconstpointer a, gconstpointer b)
{
    const Pair *x = a, *y = b;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    if (x->token != y->token)
        return x->token < y->token ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static gboolean read_table(const char *path, Table *table, MoeProgress *progress, GError **error)
{
    g_autoptr(MoeCsv) csv = moe_csv_open(path, columns, error);
    if (csv == NULL)
        return FALSE;
    struct stat info;
    double size = stat(path, &info) == 0 ? (double)info.st_size : 0;
    g_autoptr(GError) inner = NULL;
    while (moe_csv_next(csv, &inner)) {
        table->weights = moe_csv_text(csv, WEIGHT) != NULL;
        table->sequences = moe_csv_text(csv, SEQUENCE) != NULL;
        if (!read_row(csv, table, error))
            return FALSE;
        moe_progress_update(progress, (double)moe_csv_offset(csv), size);
    }
    if (inner != NULL) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return FALSE;
    }
    if (table->pairs->len == 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: no line follows the names of the columns",
                        path);
    g_array_sort(table->pairs, by_layer_and_token);
    return TRUE;
}

/* Copies the pairs [from, from + n) of one block. */
static void fill_layer(const Table *table, MoeTrace *trace, MoeTraceLayer *layer, guint from,
                       guint n)
{
    const Pair *pairs = &g_array_index(table->pairs, Pair, from);
    guint16 *experts = moe_trace_alloc(trace, n * sizeof(guint16));
    float *weights = table->weights ? moe_trace_alloc(trace, n * sizeof(float)) : NULL;
    guint32 *offsets = moe_trace_alloc(trace, (gsize)(trace->n_tokens + 1) * sizeof(guint32));
    gboolean fixed = TRUE;
    for (guint p = 0; p < n; p++) {
        experts[p] = pairs[p].expert;
        if (weights != NULL)
            weights[p] = pairs[p].weight;
        offsets[pairs[p].token + 1]++;
    }
    for (gint64 t = 0; t < trace->n_tokens; t++) {
        fixed = fixed && offsets[t + 1] == trace->top_k;
        offsets[t + 1] += offsets[t];
    }
    *layer = (MoeTraceLayer){
        .layer = pairs[0].layer,
        .n_pairs = n,
        .experts = experts,
        .weights = weights,
        .weights_dtype = MOE_F32,
        .offsets = fixed ? NULL : offsets,
    };
}

/* The most pairs that a token has in a block. */
static gint64 most_pairs(const Table *table)
{
    gint64 most = 0, run = 0;
    for (guint p = 0; p < table->pairs->len; p++) {
        const Pair *pair = &g_array_index(table->pairs, Pair, p);
        gboolean same = p > 0 && pair[-1].layer == pair->layer && pair[-1].token == pair->token;
        run = same ? run + 1 : 1;
        most = MAX(most, run);
    }
    return most;
}

/* The lengths of consecutive runs of one sequence. */
static gboolean sequence_lengths(const Table *table, gint64 n_tokens, GArray *lengths,
                                 const char *path, GError **error)
{
    if (!table->sequences) {
        g_array_append_val(lengths, n_tokens);
        return TRUE;
    }
    guint32 *sequence = (guint32 *)(void *)table->sequence->data;
    gint64 length = 1, known = 0;
    while (sequence[known] == G_MAXUINT32) /* tokens without a line before the first with one */
        known++;
    sequence[0] = sequence[known];
    for (gint64 t = 1; t <= n_tokens; t++) {
        if (t < n_tokens && sequence[t] == G_MAXUINT32) /* a token without a line */
            sequence[t] = sequence[t - 1];
        if (t < n_tokens && sequence[t] < sequence[t - 1])
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s: token %" G_GINT64_FORMAT
                            " is in sequence %u, the one before in %u; sequences "
                            "must come in order",
                            path, t, sequence[t], sequence[t - 1]);
        if (t < n_tokens && sequence[t] == sequence[t - 1]) {
            length++;
            continue;
        }
        g_array_append_val(lengths, length);
        length = 1;
    }
    return TRUE;
}

/* What the model says about a file that claims to be its. */
static gboolean check_import(const Table *table, const MoeTrace *trace, const char *path,
                             const MoeImport *import, GError **error)
{
    gint64 most = most_pairs(table);
    if (most > MOE_TRACE_MOST_K)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: a token has more than %d experts", path,
                        MOE_TRACE_MOST_K);
    if (import->top_k > 0 && most != import->top_k)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: at most %" G_GINT64_FORMAT
                        " experts per token, but %s chooses %" G_GINT64_FORMAT,
                        path, most, import->model, import->top_k);
    gint64 layers = import->shape != NULL ? moe_model_moe_layers(import->shape) : trace->n_layers;
    if (trace->n_layers != layers)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %d layers, but %s has %" G_GINT64_FORMAT " blocks with experts", path,
                        trace->n_layers, import->model, layers);
    return TRUE;
}

/* Numbers the blocks. A file without gaps between its layers numbers those with experts alone. */
static void place(MoeTrace *trace, const MoeImport *import)
{
    MoeTraceLayer *layers = trace->layers;
    int smallest = layers[0].layer, first = import->first_layer;
    if (first < 0)
        first = import->shape != NULL ? (int)moe_model_first_moe_layer(import->shape) : smallest;
    gboolean gaps = layers[trace->n_layers - 1].layer - smallest >= trace->n_layers;
    for (int l = 0; l < trace->n_layers; l++)
        layers[l].layer += first - smallest;
    if (import->shape != NULL && import->first_layer < 0 && !gaps)
        moe_trace_place(trace, import->shape);
}

static int count_layers(const Table *table)
{
    int n = 0;
    for (guint p = 0; p < table->pairs->len; p++)
        if (p == 0 || g_array_index(table->pairs, Pair, p).layer !=
                          g_array_index(table->pairs, Pair, p - 1).layer)
            n++;
    return n;
}

static MoeTrace *build(const Table *table, const char *path, const MoeImport *import,
                       GError **error)
{
    gint64 n_tokens = table->largest_token + 1;
    if (n_tokens > (gint64)table->pairs->len) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: token %" G_GINT64_FORMAT " occurs, but only %u lines are there; "
                 "count tokens from 0 without gaps",
                 path, table->largest_token, table->pairs->len);
        return NULL;
    }
    g_autoptr(GArray) lengths = g_array_new(FALSE, FALSE, sizeof(gint64));
    if (!sequence_lengths(table, n_tokens, lengths, path, error))
        return NULL;
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *workload =
        g_strdup_printf("imported %s (%" G_GINT64_FORMAT " tokens)", name, n_tokens);
    g_autoptr(MoeTrace) trace =
        moe_trace_new(import->model, "", "as recorded", workload, count_layers(table));
    moe_trace_set_sequences(trace, (const gint64 *)(void *)lengths->data, lengths->len);
    trace->top_k = most_pairs(table);
    trace->n_experts = import->n_experts > 0 ? import->n_experts : table->largest_expert + 1;
    trace->hidden_size = import->hidden_size;
    if (!check_import(table, trace, path, import, error))
        return NULL;
    guint from = 0;
    for (int l = 0; l < trace->n_layers; l++) {
        guint to = from;
        guint16 layer = g_array_index(table->pairs, Pair, from).layer;
        while (to < table->pairs->len && g_array_index(table->pairs, Pair, to).layer == layer)
            to++;
        fill_layer(table, trace, &trace->layers[l], from, to - from);
        from = to;
    }
    place(trace, import);
    if (!moe_trace_check(trace, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    return g_steal_pointer(&trace);
}

MoeTrace *moe_import_csv(const char *path, const MoeImport *import, MoeProgress *progress,
                         GError **error)
{
    g_autoptr(GArray) pairs = g_array_new(FALSE, FALSE, sizeof(Pair));
    g_autoptr(GArray) sequence = g_array_new(FALSE, FALSE, sizeof(guint32));
    Table table = {.pairs = pairs, .sequence = sequence};
    if (!read_table(path, &table, progress, error))
        return NULL;
    return build(&table, path, import, error);
}

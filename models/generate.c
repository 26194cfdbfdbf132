#include "config.h"

#include "models/generate.h"

#include "models/gguf.h"
#include "sim/base/json.h"
#include "sim/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_JSON = 16 << 20 };

/* --- choosing a token ------------------------------------------------------------------------ */

typedef struct {
    guint32 id;
    float logit;
    double weight;
} Candidate;

/* Larger logits first, then lower ids. */
static int compare_candidates(const void *a, const void *b)
{
    const Candidate *x = a, *y = b;
    if (x->logit < y->logit || x->logit > y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static guint32 largest(gsize n, const float *logits)
{
    gsize best = 0;
    for (gsize i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (guint32)best;
}

/* How many of the @n sorted candidates stay; *sum_out: their weight. */
static gsize cut(const MoeSampling *sampling, gsize n, const Candidate *candidates, double *sum_out)
{
    gsize kept = 0;
    double sum = 0, enough = 0;
    if (sampling->top_k > 0)
        n = MIN(n, (gsize)sampling->top_k);
    for (gsize i = 0; i < n; i++)
        sum += candidates[i].weight;
    if (sampling->top_p > 0 && sampling->top_p < 1) {
        double needed = sampling->top_p * sum;
        while (kept < n && enough < needed)
            enough += candidates[kept++].weight;
        n = kept;
        sum = enough;
    }
    *sum_out = sum;
    return n;
}

guint32 moe_sample(const MoeSampling *sampling, gsize n, const float *logits, GRand *random)
{
    guint32 top = largest(n, logits);
    if (!(sampling->temperature > 0))
        return top;
    g_autofree Candidate *candidates = g_new(Candidate, n);
    for (gsize i = 0; i < n; i++) {
        double distance = (double)logits[i] - (double)logits[top];
        candidates[i] = (Candidate){(guint32)i, logits[i], exp(distance / sampling->temperature)};
    }
    gboolean all = sampling->top_k == 0 && !(sampling->top_p > 0 && sampling->top_p < 1);
    if (!all)
        qsort(candidates, n, sizeof(*candidates), compare_candidates);
    double sum;
    n = cut(sampling, n, candidates, &sum);
    double left = g_rand_double(random) * sum;
    for (gsize i = 0; i + 1 < n; i++) {
        left -= candidates[i].weight;
        if (left < 0)
            return candidates[i].id;
    }
    return candidates[n - 1].id;
}

/* --- writing --------------------------------------------------------------------------------- */

static gboolean is_stop(const MoeGeneration *job, guint32 id)
{
    for (gsize i = 0; i < job->n_stops; i++)
        if (job->stops[i] == id)
            return TRUE;
    return FALSE;
}

gboolean moe_generate(const MoeGeneration *job, GArray *ids, GError **error)
{
    MoeSession *session = job->session;
    gsize V = (gsize)moe_session_model(session)->shape.vocab_size;
    moe_session_restart(session);
    g_autofree char *stream = g_strdup_printf("generate/%" G_GUINT64_FORMAT, job->number);
    g_autoptr(GRand) random = moe_rng_new(job->sampling.seed, stream);
    g_autofree float *logits = g_new(float, V);
    if (!moe_session_append(session, job->prompt, job->n_prompt, job->routing, job->user, logits,
                            error))
        return FALSE;
    for (gsize i = 0; i < job->n_tokens; i++) {
        guint32 id = moe_sample(&job->sampling, V, logits, random);
        if (is_stop(job, id))
            break;
        g_array_append_val(ids, id);
        if (job->token != NULL && !job->token(job->user, id, error))
            return FALSE;
        /* The last one too: it is part of the text, so its routing is of the trace. */
        if ((i + 1 < job->n_tokens || job->routing != NULL) &&
            !moe_session_append(session, &id, 1, job->routing, job->user, logits, error))
            return FALSE;
    }
    return TRUE;
}

/* --- where a text ends ----------------------------------------------------------------------- */

static gboolean add_id(JsonNode *node, const char *where, GArray *stops, GError **error)
{
    gint64 id = JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64
                    ? json_node_get_int(node)
                    : -1;
    if (id < 0 || id > G_MAXUINT32)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: eos_token_id: must be an id or a list of ids",
                        where);
    guint32 stop = (guint32)id;
    g_array_append_val(stops, stop);
    return TRUE;
}

/* A JSON file of the model's folder; no object when it is not there. */
typedef struct {
    char *path;
    MoeJson *json;
    JsonObject *object;
} File;

static void file_clear(File *file)
{
    g_free(file->path);
    moe_json_free(file->json);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(File, file_clear)

static gboolean open_file(const MoeModel *model, const char *name, File *file, GError **error)
{
    file->path = g_build_filename(model->path, name, NULL);
    if (!g_file_test(file->path, G_FILE_TEST_EXISTS))
        return TRUE;
    file->json = moe_json_load(file->path, LARGEST_JSON, error);
    if (file->json != NULL)
        file->object = moe_json_object(moe_json_root(file->json), file->path, error);
    return file->object != NULL;
}

static gboolean add_ids(const MoeModel *model, const char *name, GArray *stops, GError **error)
{
    g_auto(File) file = {0};
    if (!open_file(model, name, &file, error))
        return FALSE;
    if (file.object == NULL || moe_json_is_null(file.object, "eos_token_id"))
        return TRUE;
    JsonNode *node = json_object_get_member(file.object, "eos_token_id");
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return add_id(node, file.path, stops, error);
    JsonArray *list = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(list); i++)
        if (!add_id(json_array_get_element(list, i), file.path, stops, error))
            return FALSE;
    return TRUE;
}

/* eos_token: its text, or an object with its content. */
static gboolean add_token(const MoeModel *model, const MoeTokenizer *tokenizer, GArray *stops,
                          GError **error)
{
    g_auto(File) file = {0};
    if (!open_file(model, "tokenizer_config.json", &file, error))
        return FALSE;
    if (file.object == NULL || moe_json_is_null(file.object, "eos_token"))
        return TRUE;
    JsonNode *node = json_object_get_member(file.object, "eos_token");
    const char *text =
        JSON_NODE_HOLDS_OBJECT(node)
            ? moe_json_get_string(json_node_get_object(node), "content", file.path, error)
            : moe_json_get_string(file.object, "eos_token", file.path, error);
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    if (text == NULL || !moe_tokenizer_encode(tokenizer, text, strlen(text), FALSE, ids, error))
        return FALSE;
    if (ids->len == 1) /* otherwise it is not a token of this tokenizer */
        g_array_append_vals(stops, ids->data, 1);
    return TRUE;
}

/* The ends of texts and of turns. */
static gboolean add_gguf(const MoeModel *model, GArray *stops, GError **error)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id"};
    g_autoptr(GPtrArray) files = moe_gguf_open_model(model->path, error);
    for (size_t i = 0; files != NULL && i < G_N_ELEMENTS(keys); i++) {
        gint64 id;
        if (!moe_gguf_int(files->pdata[0], keys[i], -1, G_MAXUINT32, -1, &id, error))
            return FALSE;
        guint32 stop = (guint32)id;
        if (id >= 0 && id < model->shape.vocab_size)
            g_array_append_val(stops, stop);
    }
    return files != NULL;
}

gboolean moe_generation_stops(const MoeModel *model, const MoeTokenizer *tokenizer, GArray *stops,
                              GError **error)
{
    guint before = stops->len;
    if (moe_gguf_is_name(model->path))
        return add_gguf(model, stops, error);
    return add_ids(model, "generation_config.json", stops, error) &&
           (stops->len > before || add_ids(model, "config.json", stops, error)) &&
           (stops->len > before || tokenizer == NULL || add_token(model, tokenizer, stops, error));
}

#include "config.h"

#include "models/session.h"

#include "models/forward_run.h"
#include "sim/base/memory.h"

#include <stdlib.h>

struct MoeSession {
    MoeRun run;
    gsize capacity;
    GArray *ids; /* guint32 */
};

static gboolean check_capacity(const MoeSession *session, GError **error)
{
    const MoeRun *run = &session->run;
    double floats = 0, capacity = (double)session->capacity;
    gint64 context = run->shape->max_position_embeddings;
    if (capacity > (double)context)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%" G_GSIZE_FORMAT
                        " tokens are more than %s's context of %" G_GINT64_FORMAT,
                        session->capacity, run->model->name, context);
    for (int l = 0; l < run->shape->num_hidden_layers; l++)
        for (int p = 0; p < run->blocks[l].n_parts; p++) {
            MoeAttentionWidths w =
                moe_attention_widths(&run->blocks[l].parts[p].attention, run->config);
            floats += capacity * (double)(w.k + w.v);
        }
    return moe_memory_check(floats * sizeof(float), "the keys and values of so many tokens", error);
}

static void allocate_cache(MoeSession *session)
{
    MoeRun *run = &session->run;
    run->cache = g_new0(MoeKeys, 2 * run->shape->num_hidden_layers);
    for (int l = 0; l < run->shape->num_hidden_layers; l++)
        for (int p = 0; p < run->blocks[l].n_parts; p++) {
            MoeAttentionWidths w =
                moe_attention_widths(&run->blocks[l].parts[p].attention, run->config);
            run->cache[2 * l + p] = (MoeKeys){
                .k = moe_scratch(session->capacity * w.k * sizeof(float)),
                .v = moe_scratch(session->capacity * w.v * sizeof(float)),
            };
        }
}

MoeSession *moe_session_new(const MoeModel *model, MoeWeights *weights, MoePrecision precision,
                            gsize capacity, GError **error)
{
    if (model->shape.encoder_layers > 0) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: has an encoder and a decoder; only models without an encoder go on from "
                 "token to token here",
                 model->name);
        return NULL;
    }
    g_autoptr(MoeSession) session = g_new0(MoeSession, 1);
    session->capacity = capacity;
    session->ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    if (!moe_run_open(&session->run, model, weights, precision, capacity, error) ||
        !check_capacity(session, error))
        return NULL;
    allocate_cache(session);
    return g_steal_pointer(&session);
}

void moe_session_free(MoeSession *session)
{
    if (session == NULL)
        return;
    for (int i = 0; session->run.cache != NULL && i < 2 * session->run.shape->num_hidden_layers;
         i++) {
        free(session->run.cache[i].k);
        free(session->run.cache[i].v);
    }
    g_free(session->run.cache);
    moe_run_close(&session->run);
    g_array_unref(session->ids);
    g_free(session);
}

gsize moe_session_length(const MoeSession *session)
{
    return session->ids->len;
}

const MoeModel *moe_session_model(const MoeSession *session)
{
    return session->run.model;
}

void moe_session_restart(MoeSession *session)
{
    g_array_set_size(session->ids, 0);
}

/* Whether a sequence of @before tokens is rotated in another way once it has @after. */
static gboolean turns_long(const MoeRun *run, gsize before, gsize after)
{
    for (int i = 0; i < 2; i++) {
        const MoeRope *rope = &run->config->ropes[i];
        if (moe_rope_sets(rope) > 1 && (double)before <= rope->scaling.original &&
            (double)after > rope->scaling.original)
            return before > 0;
    }
    return FALSE;
}

/* Passes on what was decided for the tokens behind the first @skip. */
typedef struct {
    const MoeRun *run;
    gsize skip;
    MoeRoutingFunc routing;
    void *user;
} News;

static gboolean report(void *user, const MoeRouting *routing, GError **error)
{
    const News *news = user;
    gsize pairs = news->skip * (gsize)news->run->shape->num_experts_per_tok;
    const MoeRouting rest = {
        .layer = routing->layer,
        .n_tokens = routing->n_tokens - news->skip,
        .experts = routing->experts + pairs,
        .weights = routing->weights + pairs,
    };
    return news->routing(news->user, &rest, error);
}

gboolean moe_session_append(MoeSession *session, const guint32 *ids, gsize n,
                            MoeRoutingFunc routing, void *user, float *logits_out, GError **error)
{
    MoeRun *run = &session->run;
    gsize before = session->ids->len, after = before + n, V = (gsize)run->shape->vocab_size;
    g_assert(n > 0);
    if (after > session->capacity)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%" G_GSIZE_FORMAT " tokens are more than the %" G_GSIZE_FORMAT
                        " that there is room for",
                        after, session->capacity);
    g_array_append_vals(session->ids, ids, (guint)n);
    gsize from = turns_long(run, before, after) ? 0 : before;
    News news = {run, before - from, routing, user};
    const gsize offsets[] = {0, after - from}, last = after - from - 1;
    const MoeForward job = {
        .model = run->model,
        .weights = run->weights,
        .ids = &g_array_index(session->ids, guint32, from),
        .n_sequences = 1,
        .offsets = offsets,
        .routing = routing != NULL ? report : NULL,
        .user = &news,
        .head_tokens = &last,
        .n_head_tokens = logits_out != NULL ? 1 : 0,
        .head_out = logits_out,
    };
    run->past = from;
    if (!moe_run_batch(run, &job, error))
        return FALSE;
    run->checked = logits_out != NULL || run->checked;
    size_t bad = logits_out != NULL ? moe_find_nonfinite(MOE_F32, logits_out, V) : SIZE_MAX;
    return bad == SIZE_MAX ||
           moe_fail(error, MOE_ERROR_INPUT,
                    "the logit of token %zu behind %zu tokens is not finite: the activations "
                    "overflow",
                    bad, after);
}

#include "config.h"

#include "workloads/record.h"

#include <string.h>

typedef struct {
    MoeTrace *trace;
    int next; /* row of trace->layers */
} Recorder;

static gboolean keep(void *user, const MoeRouting *routing, GError **error)
{
    (void)error;
    Recorder *recorder = user;
    MoeTrace *trace = recorder->trace;
    gsize pairs = (gsize)(trace->n_tokens * trace->top_k);
    guint16 *experts = moe_trace_alloc(trace, pairs * sizeof(guint16));
    float *weights = moe_trace_alloc(trace, pairs * sizeof(float));
    memcpy(experts, routing->experts, pairs * sizeof(guint16));
    memcpy(weights, routing->weights, pairs * sizeof(float));
    trace->layers[recorder->next++] = (MoeTraceLayer){
        .layer = routing->layer,
        .n_pairs = (gint64)pairs,
        .experts = experts,
        .weights = weights,
        .weights_dtype = MOE_F32,
    };
    return TRUE;
}

static void set_tokens(MoeTrace *trace, const MoeBatch *batch)
{
    g_autofree gint64 *lengths = g_new(gint64, batch->n_sequences);
    for (gsize s = 0; s < batch->n_sequences; s++)
        lengths[s] = (gint64)(batch->offsets[s + 1] - batch->offsets[s]);
    moe_trace_set_sequences(trace, lengths, batch->n_sequences);
    guint32 *ids = moe_trace_alloc(trace, batch->n_tokens * sizeof(guint32));
    memcpy(ids, batch->ids, batch->n_tokens * sizeof(guint32));
    trace->ids = ids;
}

MoeTrace *moe_record(const MoeModel *model, const MoeBatch *batch, double *seconds,
                     MoeProgress *progress, GError **error)
{
    const MoeModelShape *shape = &model->shape;
    g_autoptr(MoeWeights) weights = moe_weights_open(model->path, error);
    g_autofree char *digest = weights != NULL ? moe_weights_digest(weights, error) : NULL;
    if (digest == NULL)
        return NULL;
    g_autofree char *router = moe_family_describe_router(model);
    g_autoptr(MoeTrace) trace = moe_trace_new(model->name, digest, router, batch->description,
                                              (int)moe_model_moe_layers(shape));
    trace->n_experts = shape->num_experts;
    trace->top_k = shape->num_experts_per_tok;
    trace->hidden_size = shape->hidden_size;
    set_tokens(trace, batch);
    Recorder recorder = {.trace = trace};
    const MoeForward job = {
        .model = model,
        .weights = weights,
        .ids = batch->ids,
        .n_sequences = batch->n_sequences,
        .offsets = batch->offsets,
        .routing = keep,
        .user = &recorder,
        .seconds = seconds,
        .progress = progress,
    };
    if (!moe_forward(&job, error))
        return NULL;
    return g_steal_pointer(&trace);
}

#include "config.h"

#include "workloads/record.h"

#include "sim/base/memory.h"
#include "workloads/kept.h"

#include <string.h>

typedef struct {
    const MoeRecord *job;
    MoeTrace *trace;
    const MoeBatch *batch;
    int next; /* row of trace->layers */
    char *key;
    double memory_bytes; /* that the run is planned for */
    gint64 saved_us;     /* when the run was last kept */
    gint64 cost_us;      /* what that took */
    gboolean unkept;     /* it failed once */
} Recorder;

/* The sequence of the batch that is number @s in the trace, where those of an encoder and a decoder
 * alternate. */
static gsize in_batch(const MoeBatch *batch, gsize s)
{
    return batch->n_encoded == 0 ? s : s / 2 + (s % 2) * batch->n_encoded;
}

/* The pairs of a block that runs over some of the sequences. */
static void keep_some(const Recorder *recorder, const MoeRouting *routing, guint16 *experts,
                      float *weights, guint8 *dropped, guint32 *offsets)
{
    const MoeTrace *trace = recorder->trace;
    const gsize *of = recorder->batch->offsets;
    gsize K = (gsize)trace->top_k, token = 0, pair = 0;
    for (gsize s = 0; s < recorder->batch->n_sequences; s++) {
        gsize from = in_batch(recorder->batch, s), length = of[from + 1] - of[from];
        gboolean runs = of[from] >= routing->first_token &&
                        of[from + 1] <= routing->first_token + routing->n_tokens;
        gsize first = runs ? (of[from] - routing->first_token) * K : 0;
        for (gsize t = 0; t < length; t++)
            offsets[token++] = (guint32)(pair + (runs ? t * K : 0));
        if (!runs)
            continue;
        memcpy(experts + pair, routing->experts + first, length * K * sizeof(guint16));
        memcpy(weights + pair, routing->weights + first, length * K * sizeof(float));
        if (dropped != NULL)
            memcpy(dropped + pair, routing->dropped + first, length * K);
        pair += length * K;
    }
    offsets[token] = (guint32)pair;
}

static gboolean keep(void *user, const MoeRouting *routing, GError **error)
{
    (void)error;
    Recorder *recorder = user;
    MoeTrace *trace = recorder->trace;
    gsize pairs = routing->n_tokens * (gsize)trace->top_k;
    guint16 *experts = moe_trace_alloc(trace, pairs * sizeof(guint16));
    float *weights = moe_trace_alloc(trace, pairs * sizeof(float));
    guint8 *dropped = routing->dropped != NULL ? moe_trace_alloc(trace, pairs) : NULL;
    guint32 *offsets = NULL;
    if (recorder->batch->n_encoded > 0) {
        offsets = moe_trace_alloc(trace, (gsize)(trace->n_tokens + 1) * sizeof(guint32));
        keep_some(recorder, routing, experts, weights, dropped, offsets);
    } else {
        memcpy(experts, routing->experts, pairs * sizeof(guint16));
        memcpy(weights, routing->weights, pairs * sizeof(float));
        if (dropped != NULL)
            memcpy(dropped, routing->dropped, pairs);
    }
    trace->layers[recorder->next++] = (MoeTraceLayer){
        .layer = routing->layer,
        .n_pairs = (gint64)pairs,
        .experts = experts,
        .weights = weights,
        .weights_dtype = MOE_F32,
        .offsets = offsets,
        .dropped = dropped,
    };
    return TRUE;
}

static void set_tokens(MoeTrace *trace, const guint32 *from, const gsize *offsets,
                       gsize n_sequences)
{
    gsize n = offsets[n_sequences];
    g_autofree gint64 *lengths = g_new(gint64, n_sequences);
    for (gsize s = 0; s < n_sequences; s++)
        lengths[s] = (gint64)(offsets[s + 1] - offsets[s]);
    moe_trace_set_sequences(trace, lengths, n_sequences);
    guint32 *ids = moe_trace_alloc(trace, n * sizeof(guint32));
    memcpy(ids, from, n * sizeof(guint32));
    trace->ids = ids;
}

/* The same for a batch whose sequences are in another order in the trace. */
static void set_batch(MoeTrace *trace, const MoeBatch *batch)
{
    g_autofree guint32 *ids = g_new(guint32, MAX(batch->n_tokens, 1));
    g_autofree gsize *offsets = g_new0(gsize, batch->n_sequences + 1);
    for (gsize s = 0; s < batch->n_sequences; s++) {
        gsize from = in_batch(batch, s), first = batch->offsets[from];
        gsize length = batch->offsets[from + 1] - first;
        memcpy(ids + offsets[s], batch->ids + first, length * sizeof(guint32));
        offsets[s + 1] = offsets[s] + length;
    }
    set_tokens(trace, ids, offsets, batch->n_sequences);
}

/* A trace without tokens and decisions yet. */
static MoeTrace *new_trace(const MoeModel *model, const MoeWeights *weights, MoePrecision precision,
                           const char *workload, GError **error)
{
    const MoeModelShape *shape = &model->shape;
    g_autofree char *digest = moe_weights_digest(weights, error);
    if (digest == NULL)
        return NULL;
    g_autofree char *router = moe_family_describe_router(model);
    MoeTrace *trace =
        moe_trace_new(model->name, digest, router, workload, (int)moe_model_moe_layers(shape));
    trace->n_experts = shape->num_experts;
    trace->top_k = shape->num_experts_per_tok;
    trace->hidden_size = shape->hidden_size;
    trace->encoder_layers = shape->encoder_layers;
    trace->precision = g_strdup(moe_precision_name(precision));
    return trace;
}

/* --- texts that are given -------------------------------------------------------------------- */

static gboolean is_kept(const MoeRecord *job)
{
    return job->kept != NULL && job->batch->n_encoded == 0;
}

/* A run that cannot be kept, for example on a full disk, goes on without. */
static gboolean keep_run(void *user, int next_block, const float *states, GError **error)
{
    (void)error;
    const gint64 patience_us = G_USEC_PER_SEC / 4, share = 20;
    Recorder *r = user;
    gint64 now = g_get_monotonic_time(), waited = now - r->saved_us;
    if (r->unkept || next_block == r->job->model->shape.num_hidden_layers || waited < patience_us ||
        waited < share * r->cost_us)
        return TRUE;
    r->unkept = !moe_kept_save(r->job->kept, r->key, r->trace, r->next, next_block, r->memory_bytes,
                               states, NULL);
    r->saved_us = g_get_monotonic_time();
    r->cost_us = r->saved_us - now;
    return TRUE;
}

/* What the run takes beside the model's: the trace, and what is read. */
static double own_bytes(const MoeRecord *job)
{
    const MoeModelShape *s = &job->model->shape;
    double pairs = (double)(s->num_experts_per_tok * moe_model_moe_layers(s));
    return (double)job->batch->n_tokens * (pairs * (sizeof(guint16) + sizeof(float)) + 16);
}

/* The states to go on with, when there is a run to go on with; *first_block_out 0: there is none. */
static MoeSafetensors *go_on(Recorder *r, int *first_block_out, GError **error)
{
    const gsize guessed_bytes_us = 200; /* of digest and disk, until it is known */
    const MoeRecord *job = r->job;
    *first_block_out = 0;
    r->saved_us = g_get_monotonic_time();
    r->cost_us = (gint64)(job->batch->n_tokens * (gsize)job->model->shape.hidden_size *
                          sizeof(float) / guessed_bytes_us);
    if (!is_kept(job))
        return NULL;
    r->key = moe_kept_key(r->trace, job->batch);
    if (!g_file_test(job->kept, G_FILE_TEST_EXISTS))
        return NULL;
    double memory;
    g_autoptr(GError) inner = NULL;
    MoeSafetensors *file =
        moe_kept_load(job->kept, r->key, r->trace, &r->next, first_block_out, &memory, &inner);
    if (file == NULL) {
        r->next = 0;
        *first_block_out = 0;
        if (!job->kept_force)
            moe_fail(error, MOE_ERROR_INPUT, "%s; remove it, or begin anew with --force",
                     inner->message);
        return NULL;
    }
    /* As it was cut, so it goes on: products of other sizes may round in another way. */
    if (!(job->memory_bytes > 0))
        r->memory_bytes = memory;
    return file;
}

static gboolean run(Recorder *r, MoeWeights *weights, GError **error)
{
    const MoeRecord *job = r->job;
    int first_block;
    g_autoptr(GError) inner = NULL;
    g_autoptr(MoeSafetensors) states = go_on(r, &first_block, &inner);
    if (inner != NULL) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return FALSE;
    }
    if (job->first_block_out != NULL)
        *job->first_block_out = first_block;
    const MoeForward forward = {
        .model = job->model,
        .weights = weights,
        .ids = job->batch->ids,
        .n_sequences = job->batch->n_sequences,
        .offsets = job->batch->offsets,
        .n_encoded = job->batch->n_encoded,
        .routing = keep,
        .user = r,
        .first_block = first_block,
        .states = states != NULL ? moe_safetensors_find(states, "states")->data : NULL,
        .block_done = is_kept(job) ? keep_run : NULL,
        .precision = job->precision,
        .memory_bytes = r->memory_bytes,
        .caller_bytes = own_bytes(job),
        .seconds = job->seconds,
        .progress = job->progress,
    };
    return moe_forward(&forward, error);
}

MoeTrace *moe_record(const MoeRecord *job, GError **error)
{
    const MoeBatch *batch = job->batch;
    g_autoptr(MoeWeights) weights = moe_weights_open(job->model->path, error);
    g_autoptr(MoeTrace) trace =
        weights != NULL ? new_trace(job->model, weights, job->precision, batch->description, error)
                        : NULL;
    if (trace == NULL)
        return NULL;
    set_batch(trace, batch);
    Recorder recorder = {
        .job = job, .trace = trace, .batch = batch, .memory_bytes = job->memory_bytes};
    if (!(job->memory_bytes > 0))
        recorder.memory_bytes = moe_memory_available();
    gboolean good = run(&recorder, weights, error);
    g_free(recorder.key);
    return good ? g_steal_pointer(&trace) : NULL;
}

/* --- texts that are written ------------------------------------------------------------------ */

/* Decisions as they come, block by block, for ever more tokens. */
typedef struct {
    const MoeWriting *job;
    gsize sequence;
    gsize K, n_layers;
    gboolean wanted;
    GArray *ids, *offsets;        /* guint32, gsize: of all texts so far */
    GPtrArray *experts, *weights; /* of GArray * of guint16 and float, one per block with experts */
    int *layers;                  /* [n_layers]: the blocks */
    gsize next;                   /* in these, of the step under way */
} Written;

static void written_clear(Written *w)
{
    g_array_unref(w->ids);
    g_array_unref(w->offsets);
    g_ptr_array_unref(w->experts);
    g_ptr_array_unref(w->weights);
    g_free(w->layers);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Written, written_clear)

static void written_init(Written *w, const MoeWriting *job, gboolean wanted)
{
    gsize start = 0;
    *w = (Written){
        .job = job,
        .K = (gsize)job->model->shape.num_experts_per_tok,
        .n_layers = (gsize)moe_model_moe_layers(&job->model->shape),
        .wanted = wanted,
        .ids = g_array_new(FALSE, FALSE, sizeof(guint32)),
        .offsets = g_array_new(FALSE, FALSE, sizeof(gsize)),
        .experts = g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref),
        .weights = g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref),
    };
    w->layers = g_new0(int, w->n_layers);
    g_array_append_val(w->offsets, start);
    for (gsize l = 0; l < w->n_layers; l++) {
        g_ptr_array_add(w->experts, g_array_new(FALSE, FALSE, sizeof(guint16)));
        g_ptr_array_add(w->weights, g_array_new(FALSE, FALSE, sizeof(float)));
    }
}

static gboolean append(void *user, const MoeRouting *routing, GError **error)
{
    (void)error;
    Written *w = user;
    guint pairs = (guint)(routing->n_tokens * w->K);
    g_array_append_vals(w->experts->pdata[w->next], routing->experts, pairs);
    g_array_append_vals(w->weights->pdata[w->next], routing->weights, pairs);
    w->layers[w->next] = routing->layer;
    w->next = (w->next + 1) % w->n_layers;
    return TRUE;
}

static gboolean pass_on(void *user, guint32 id, GError **error)
{
    Written *w = user;
    g_array_append_val(w->ids, id);
    return w->job->token == NULL || w->job->token(w->job->user, w->sequence, id, error);
}

static gboolean write_text(Written *w, MoeSession *session, GError **error)
{
    const MoeWriting *job = w->job;
    const gsize *offsets = job->prompts->offsets + w->sequence;
    for (gsize t = offsets[0]; t < offsets[1]; t++)
        if (!pass_on(w, job->prompts->ids[t], error))
            return FALSE;
    const MoeGeneration generation = {
        .session = session,
        .prompt = job->prompts->ids + offsets[0],
        .n_prompt = offsets[1] - offsets[0],
        .n_tokens = job->n_tokens,
        .stops = job->stops,
        .n_stops = job->n_stops,
        .sampling = job->sampling,
        .number = w->sequence,
        .token = pass_on,
        .routing = w->wanted ? append : NULL,
        .user = w,
    };
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    if (!moe_generate(&generation, ids, error))
        return FALSE;
    gsize end = w->ids->len;
    g_array_append_val(w->offsets, end);
    return TRUE;
}

static char *describe(const MoeWriting *job)
{
    const MoeSampling *s = &job->sampling;
    g_autoptr(GString) text = g_string_new(job->prompts->description);
    g_string_append_printf(text, ", continued by at most %" G_GSIZE_FORMAT " tokens, ",
                           job->n_tokens);
    if (!(s->temperature > 0))
        g_string_append(text, "greedy");
    else
        g_string_append_printf(text, "temperature %g, seed %" G_GUINT64_FORMAT, s->temperature,
                               s->seed);
    if (s->temperature > 0 && s->top_k > 0)
        g_string_append_printf(text, ", top-k %" G_GINT64_FORMAT, s->top_k);
    if (s->temperature > 0 && s->top_p > 0 && s->top_p < 1)
        g_string_append_printf(text, ", top-p %g", s->top_p);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void fill_trace(const Written *w, MoeTrace *trace)
{
    set_tokens(trace, (const guint32 *)(void *)w->ids->data,
               (const gsize *)(void *)w->offsets->data, w->offsets->len - 1);
    for (gsize l = 0; l < w->n_layers; l++) {
        const GArray *from_experts = w->experts->pdata[l], *from_weights = w->weights->pdata[l];
        gsize pairs = from_experts->len;
        guint16 *experts = moe_trace_alloc(trace, pairs * sizeof(guint16));
        float *weights = moe_trace_alloc(trace, pairs * sizeof(float));
        memcpy(experts, from_experts->data, pairs * sizeof(guint16));
        memcpy(weights, from_weights->data, pairs * sizeof(float));
        trace->layers[l] = (MoeTraceLayer){.layer = w->layers[l],
                                           .n_pairs = (gint64)pairs,
                                           .experts = experts,
                                           .weights = weights,
                                           .weights_dtype = MOE_F32};
    }
}

gboolean moe_record_writing(const MoeWriting *job, MoeTrace **trace_out, GError **error)
{
    const MoeBatch *prompts = job->prompts;
    gsize longest = 0;
    for (gsize s = 0; s < prompts->n_sequences; s++)
        longest = MAX(longest, prompts->offsets[s + 1] - prompts->offsets[s]);
    g_autoptr(MoeWeights) weights = moe_weights_open(job->model->path, error);
    g_autoptr(MoeSession) session =
        weights != NULL
            ? moe_session_new(job->model, weights, job->precision, longest + job->n_tokens, error)
            : NULL;
    if (session == NULL)
        return FALSE;
    g_autofree char *description = describe(job);
    g_autoptr(MoeTrace) trace =
        trace_out != NULL ? new_trace(job->model, weights, job->precision, description, error)
                          : NULL;
    if (trace_out != NULL && trace == NULL)
        return FALSE;
    g_auto(Written) written;
    written_init(&written, job, trace != NULL);
    for (; written.sequence < prompts->n_sequences; written.sequence++)
        if (!write_text(&written, session, error))
            return FALSE;
    if (trace != NULL) {
        fill_trace(&written, trace);
        *trace_out = g_steal_pointer(&trace);
    }
    return TRUE;
}

#include "config.h"

#include "workloads/synth.h"

#include "sim/base/memory.h"
#include "sim/base/rng.h"

#include <math.h>

typedef enum {
    BALANCED,
    UNIFORM,
    ZIPF,
    HOT_EXPERTS,
    HOT_RANK,
    ROTATING,
    IDLE_EXPERTS,
    RAGGED,
    DEEPEP
} Kind;

const char *const *moe_synth_kinds(void)
{
    static const char *const names[] = {"balanced", "uniform",  "zipf",         "hot-experts",
                                        "hot-rank", "rotating", "idle-experts", "ragged",
                                        "deepep",   NULL};
    return names;
}

#define AT(member) offsetof(MoeSynth, member)

const MoeField moe_synth_fields[] = {
    {"kind", MOE_FIELD_CHOICE, AT(kind), .choices = moe_synth_kinds, .doc = "which rule"},
    {"tokens", MOE_FIELD_INT, AT(tokens), "", .min = 1, .max = MOE_SYNTH_MOST_TOKENS,
     .doc = "in all; tokens_per_gpu of every GPU and step"},
    {"steps", MOE_FIELD_INT, AT(steps), "1", .min = 1, .max = 1 << 20, .doc = "of equal size"},
    {"sequence_length", MOE_FIELD_INT, AT(sequence_length), "1024", .min = 1, .max = 1 << 30,
     .doc = "tokens of a sequence"},
    {"experts", MOE_FIELD_INT, AT(experts), "", .min = 1, .max = MOE_TRACE_MOST_EXPERTS,
     .doc = "of a block; the model's"},
    {"top_k", MOE_FIELD_INT, AT(top_k), "", .min = 1, .max = MOE_TRACE_MOST_K,
     .doc = "the model's"},
    {"layers", MOE_FIELD_INT, AT(layers), "", .min = 1, .max = MOE_TRACE_MOST_LAYERS,
     .doc = "blocks with experts; the model's"},
    {"first_layer", MOE_FIELD_INT, AT(first_layer), "", .max = MOE_TRACE_MOST_LAYERS - 1,
     .doc = "first block with experts; the model's"},
    {"hidden_size", MOE_FIELD_INT, AT(hidden_size), "", .max = 1 << 20, .doc = "the model's"},
    {"ranks", MOE_FIELD_INT, AT(ranks), "", .min = 1, .max = 65536,
     .doc = "hot-rank: ranks that share the experts"},
    {"exponent", MOE_FIELD_NUMBER, AT(exponent), "1", .min = 0, .max = 10, .doc = "zipf"},
    {"hot_experts", MOE_FIELD_INT, AT(hot_experts), "4", .min = 1, .max = MOE_TRACE_MOST_EXPERTS,
     .doc = "hot-experts, rotating: how many"},
    {"hot_share", MOE_FIELD_QUANTITY, AT(hot_share), "50%", .unit = MOE_UNIT_RATIO, .max = 1,
     .doc = "of the pairs that go to the hot ones"},
    {"idle_experts", MOE_FIELD_INT, AT(idle_experts), "1", .min = 1, .max = MOE_TRACE_MOST_EXPERTS,
     .doc = "idle-experts: how many"},
    {"spread", MOE_FIELD_NUMBER, AT(spread), "1", .min = 0, .max = 5,
     .doc = "ragged: sigma of log-normal lengths"},
    {"groups", MOE_FIELD_INT, AT(groups), "", .min = 1, .max = MOE_TRACE_MOST_EXPERTS,
     .doc = "deepep: of experts; the cluster's nodes"},
    {"top_groups", MOE_FIELD_INT, AT(top_groups), "", .min = 1, .max = MOE_TRACE_MOST_EXPERTS,
     .doc = "deepep: that a token may choose from; the 4 best"},
    {"seed", MOE_FIELD_INT, AT(seed), "1", .max = 9007199254740991.0, .doc = "of the random draws"},
    {NULL},
};

static gint64 common_factor(gint64 a, gint64 b)
{
    while (b != 0) {
        gint64 rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The whole number from n/phi up that shares no factor with @n: its multiples visit every residue.
 */
static gint64 golden(gint64 n)
{
    gint64 stride = (gint64)ceil((double)n * 0.6180339887498949);
    while (common_factor(stride, n) != 1)
        stride++;
    return stride;
}

guint16 moe_synth_balanced(gint64 token, gint64 j, gint64 experts, gint64 top_k)
{
    gint64 stride = experts / top_k;
    gint64 start = token % stride * golden(stride) % stride;
    gint64 shift = experts % top_k == 0 ? 0 : token / stride % experts * golden(experts);
    return (guint16)((start + j * stride + shift) % experts);
}

/* --- popularity ------------------------------------------------------------------------------ */

/* A random order of the experts of one block. */
static void shuffle(guint16 *order, gint64 n, GRand *rng)
{
    for (gint64 i = 0; i < n; i++)
        order[i] = (guint16)i;
    for (gint64 i = n - 1; i > 0; i--) {
        gint64 j = g_rand_int_range(rng, 0, (gint32)i + 1);
        guint16 kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

/* @share of the popularity to the experts order[from ... from + n) (cyclic), the rest to the
 * others. */
static void heat(double *popularity, const guint16 *order, gint64 experts, gint64 from, gint64 n,
                 double share)
{
    for (gint64 i = 0; i < experts; i++) {
        gboolean hot = (i - from % experts + experts) % experts < n;
        popularity[order[i]] = hot ? share / (double)n : (1 - share) / (double)(experts - n);
    }
}

static void fill_popularity(const MoeSynth *s, const guint16 *order, gint64 step,
                            double *popularity)
{
    gint64 E = s->experts, per_rank = s->kind == HOT_RANK ? E / s->ranks : 0;
    switch ((Kind)s->kind) {
    case ZIPF:
        for (gint64 i = 0; i < E; i++)
            popularity[order[i]] = pow((double)(i + 1), -s->exponent);
        break;
    case HOT_EXPERTS:
        heat(popularity, order, E, 0, s->hot_experts, s->hot_share);
        break;
    case ROTATING:
        heat(popularity, order, E, step * s->hot_experts, s->hot_experts, s->hot_share);
        break;
    case HOT_RANK:
        for (gint64 e = 0; e < E; e++)
            popularity[e] = e < per_rank ? s->hot_share / (double)per_rank
                                         : (1 - s->hot_share) / (double)(E - per_rank);
        break;
    case IDLE_EXPERTS:
        for (gint64 i = 0; i < E; i++)
            popularity[order[i]] = i < s->idle_experts ? 0 : 1;
        break;
    default:
        for (gint64 e = 0; e < E; e++)
            popularity[e] = 1;
    }
}

/* --- drawing --------------------------------------------------------------------------------- */

static gint64 search(const double *cumulative, gint64 n, double u)
{
    gint64 low = 0, high = n - 1;
    while (low < high) {
        gint64 middle = (low + high) / 2;
        if (cumulative[middle] <= u)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Draws experts one after the other in proportion to what is left of the popularity. Rejecting the
 * ones drawn already is the same and fast; when a few experts hold nearly everything it is not, and
 * the exact sum over the others takes over. */
static void draw_token(const double *popularity, const double *cumulative, gint64 E, gint64 k,
                       GRand *rng, guint8 *taken, guint16 *out)
{
    const int patience = 64;
    double total = cumulative[E - 1], left = total;
    for (gint64 j = 0; j < k; j++) {
        gint64 expert = -1;
        for (int i = 0; i < patience && expert < 0; i++) {
            gint64 candidate = search(cumulative, E, g_rand_double(rng) * total);
            if (!taken[candidate] && popularity[candidate] > 0)
                expert = candidate;
        }
        double u = expert < 0 ? g_rand_double(rng) * left : 0;
        for (gint64 e = 0; e < E && expert < 0; e++) {
            if (taken[e] || popularity[e] <= 0)
                continue;
            u -= popularity[e];
            if (u < 0)
                expert = e;
        }
        /* Rounding may leave a crumb of u: the last free expert with any popularity. */
        for (gint64 e = E - 1; e >= 0 && expert < 0; e--)
            if (!taken[e] && popularity[e] > 0)
                expert = e;
        taken[expert] = 1;
        left -= popularity[expert];
        out[j] = (guint16)expert;
    }
    for (gint64 j = 0; j < k; j++)
        taken[out[j]] = 0;
}

static gint64 top_groups(const MoeSynth *s)
{
    return s->top_groups > 0 ? s->top_groups : MIN(s->groups, 4);
}

/* Draws experts without replacement, shuffling @order as far as needed; @seen [groups]: by @token,
 * counted from 1. */
static void draw_grouped(const MoeSynth *s, guint16 *order, gint64 *seen, gint64 token, GRand *rng,
                         guint16 *out)
{
    gint64 groups = 0, size = s->experts / s->groups;
    for (gint64 i = 0, n = 0; n < s->top_k; i++) {
        gint64 j = g_rand_int_range(rng, (gint32)i, (gint32)s->experts);
        guint16 expert = order[j];
        order[j] = order[i];
        order[i] = expert;
        gint64 group = expert / size;
        if (seen[group] != token && groups == top_groups(s))
            continue;
        groups += seen[group] != token;
        seen[group] = token;
        out[n++] = expert;
    }
}

static void fill_layer(const MoeSynth *s, int layer, const MoeTrace *trace, guint16 *experts)
{
    g_autofree char *name = g_strdup_printf("routing/%d", layer);
    GRand *rng = moe_rng_new((guint64)s->seed, name);
    g_autofree guint16 *order = g_new(guint16, s->experts);
    g_autofree double *popularity = g_new(double, s->experts);
    g_autofree double *cumulative = g_new(double, s->experts);
    g_autofree guint8 *taken = g_new0(guint8, s->experts);
    g_autofree gint64 *seen = g_new0(gint64, s->groups + 1);
    shuffle(order, s->experts, rng);
    for (gint64 step = 0; step < trace->n_steps; step++) {
        fill_popularity(s, order, step, popularity);
        double sum = 0;
        for (gint64 e = 0; e < s->experts; e++)
            cumulative[e] = sum += popularity[e];
        for (gint64 t = trace->steps[step]; t < trace->steps[step + 1]; t++) {
            guint16 *out = experts + t * s->top_k;
            if (s->kind == DEEPEP) {
                draw_grouped(s, order, seen, t + 1, rng, out);
                continue;
            }
            if (s->kind != BALANCED) {
                draw_token(popularity, cumulative, s->experts, s->top_k, rng, taken, out);
                continue;
            }
            for (gint64 j = 0; j < s->top_k; j++)
                out[j] = moe_synth_balanced(t - trace->steps[step], j, s->experts, s->top_k);
        }
    }
    g_rand_free(rng);
}

/* --- the trace ------------------------------------------------------------------------------- */

static void set_tokens(MoeTrace *trace, const MoeSynth *s)
{
    g_autoptr(GArray) lengths = g_array_new(FALSE, FALSE, sizeof(gint64));
    GRand *rng = moe_rng_new((guint64)s->seed, "lengths");
    for (gint64 left = s->tokens; left > 0;) {
        double factor = s->kind == RAGGED ? exp(s->spread * moe_rng_normal(rng)) : 1;
        double wanted = MIN(floor((double)s->sequence_length * factor + 0.5), (double)left);
        gint64 length = MAX((gint64)wanted, 1);
        g_array_append_val(lengths, length);
        left -= length;
    }
    g_rand_free(rng);
    moe_trace_set_sequences(trace, (const gint64 *)(void *)lengths->data, lengths->len);
    guint32 *steps = moe_trace_alloc(trace, (gsize)(s->steps + 1) * sizeof(guint32));
    for (gint64 i = 0; i <= s->steps; i++)
        steps[i] = (guint32)(s->tokens * i / s->steps);
    trace->steps = steps;
    trace->n_steps = s->steps;
}

static gboolean check_groups(const MoeSynth *s, GError **error)
{
    if (s->groups < 1 || s->experts % s->groups != 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "synthetic routing: deepep needs groups that divide the %" G_GINT64_FORMAT
                        " experts, as nodes do",
                        s->experts);
    gint64 open = MIN(top_groups(s), s->groups) * (s->experts / s->groups);
    return open >= s->top_k || moe_fail(error, MOE_ERROR_INPUT,
                                        "synthetic routing: top_groups leaves %" G_GINT64_FORMAT
                                        " experts for top_k %" G_GINT64_FORMAT,
                                        open, s->top_k);
}

static gboolean check(const MoeSynth *s, GError **error)
{
    const gint64 needed[] = {s->tokens, s->experts, s->top_k, s->layers};
    static const char *const names[] = {"tokens", "experts", "top_k", "layers"};
    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++)
        if (needed[i] < 1)
            return moe_fail(error, MOE_ERROR_INPUT, "synthetic routing: %s is not given", names[i]);
    if (s->steps > s->tokens)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "synthetic routing: %" G_GINT64_FORMAT " tokens for %" G_GINT64_FORMAT
                        " steps; take fewer steps",
                        s->tokens, s->steps);
    gint64 active = s->kind == IDLE_EXPERTS ? s->experts - s->idle_experts : s->experts;
    if (s->top_k > active)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "synthetic routing: top_k %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                        " experts that get tokens",
                        s->top_k, MAX(active, 0));
    if ((s->kind == HOT_EXPERTS || s->kind == ROTATING) && s->hot_experts >= s->experts)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "synthetic routing: hot_experts %" G_GINT64_FORMAT
                        " must be fewer than experts %" G_GINT64_FORMAT,
                        s->hot_experts, s->experts);
    if (s->kind == HOT_RANK && (s->ranks < 2 || s->experts % s->ranks != 0))
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "synthetic routing: hot-rank needs ranks, at least 2, that divide the %" G_GINT64_FORMAT
            " experts",
            s->experts);
    gint64 cold =
        s->kind == HOT_RANK ? s->experts - s->experts / s->ranks : s->experts - s->hot_experts;
    gint64 hot = s->experts - cold;
    gboolean heats = s->kind == HOT_EXPERTS || s->kind == ROTATING || s->kind == HOT_RANK;
    if (heats && ((s->hot_share >= 1 && hot < s->top_k) || (s->hot_share <= 0 && cold < s->top_k)))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "synthetic routing: hot_share leaves fewer than top_k %" G_GINT64_FORMAT
                        " experts to choose from",
                        s->top_k);
    if (s->kind == DEEPEP && !check_groups(s, error))
        return FALSE;
    if (s->first_layer + s->layers > MOE_TRACE_MOST_LAYERS)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "synthetic routing: %" G_GINT64_FORMAT " layers from %" G_GINT64_FORMAT
                        "; a trace has blocks 0 to %d",
                        s->layers, s->first_layer, MOE_TRACE_MOST_LAYERS - 1);
    if (s->tokens * s->top_k > G_MAXUINT32)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "synthetic routing: more than 2^32 pairs in a block");
    /* Sequence, position, and at worst a sequence each; two bytes per pair. */
    double bytes = (double)s->tokens * (24 + 2 * (double)s->top_k * (double)s->layers);
    return moe_memory_check(bytes, "synthetic routing: so many tokens and layers", error);
}

MoeTrace *moe_synth(const MoeSynth *synth, MoeProgress *progress, GError **error)
{
    if (!check(synth, error))
        return NULL;
    const char *kind = moe_synth_kinds()[synth->kind];
    g_autofree char *router =
        g_strdup_printf("synthetic %s, seed %" G_GINT64_FORMAT, kind, synth->seed);
    g_autoptr(MoeTrace) trace = moe_trace_new("synthetic", "", router, router, (int)synth->layers);
    trace->n_experts = synth->experts;
    trace->top_k = synth->top_k;
    trace->hidden_size = synth->hidden_size;
    set_tokens(trace, synth);
    gsize pairs = (gsize)(synth->tokens * synth->top_k);
    for (int l = 0; l < trace->n_layers; l++) {
        guint16 *experts = moe_trace_alloc(trace, pairs * sizeof(guint16));
        fill_layer(synth, l, trace, experts);
        trace->layers[l] = (MoeTraceLayer){
            .layer = (int)synth->first_layer + l,
            .n_pairs = (gint64)pairs,
            .experts = experts,
        };
        moe_progress_update(progress, l + 1, trace->n_layers);
    }
    return g_steal_pointer(&trace);
}

/* Takes the pairs away that tokens of an encoder have in a decoder's blocks, and the other way. */
static void split_stacks(MoeTrace *trace, gint64 encoder_layers)
{
    gsize K = (gsize)trace->top_k;
    trace->encoder_layers = encoder_layers;
    for (int l = 0; l < trace->n_layers; l++) {
        MoeTraceLayer *layer = &trace->layers[l];
        int stack = moe_trace_layer_stack(trace, layer->layer);
        guint16 *experts = moe_trace_alloc(trace, (gsize)layer->n_pairs * sizeof(guint16));
        guint32 *offsets = moe_trace_alloc(trace, (gsize)(trace->n_tokens + 1) * sizeof(guint32));
        guint32 n = 0;
        for (gint64 t = 0; t < trace->n_tokens; t++) {
            offsets[t] = n;
            if (moe_trace_token_stack(trace, t) != stack)
                continue;
            memcpy(experts + n, layer->experts + (gsize)t * K, K * sizeof(guint16));
            n += (guint32)K;
        }
        offsets[trace->n_tokens] = n;
        layer->n_pairs = n;
        layer->experts = experts;
        layer->offsets = offsets;
    }
}

MoeTrace *moe_synth_for(MoeSynth *synth, const MoeModelShape *shape, MoeProgress *progress,
                        GError **error)
{
    gboolean placed = synth->first_layer == 0;
    synth->experts = synth->experts > 0 ? synth->experts : shape->num_experts;
    synth->top_k = synth->top_k > 0 ? synth->top_k : shape->num_experts_per_tok;
    synth->layers = synth->layers > 0 ? synth->layers : moe_model_moe_layers(shape);
    synth->hidden_size = synth->hidden_size > 0 ? synth->hidden_size : shape->hidden_size;
    MoeTrace *trace = moe_synth(synth, progress, error);
    if (trace != NULL && placed)
        moe_trace_place(trace, shape);
    if (trace != NULL && shape->encoder_layers > 0)
        split_stacks(trace, shape->encoder_layers);
    return trace;
}

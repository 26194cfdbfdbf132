#include "config.h"

#include "sim/traffic.h"

#include "workloads/synth.h"

#include <math.h>
#include <string.h>

MoeTraffic *moe_traffic_new(gint64 n_ranks, gint64 n_experts, const guint32 *node_of)
{
    MoeTraffic *traffic = g_new0(MoeTraffic, 1);
    traffic->n_ranks = n_ranks;
    traffic->n_experts = n_experts;
    for (gint64 r = 0; r < n_ranks; r++)
        traffic->n_nodes = MAX(traffic->n_nodes, (gint64)node_of[r] + 1);
    traffic->node_of = g_memdup2(node_of, (gsize)n_ranks * sizeof(*node_of));
    traffic->chosen = g_new(gint64, n_ranks * n_experts);
    traffic->pairs = g_new(gint64, n_ranks * n_ranks);
    traffic->unique = g_new(gint64, n_ranks * n_ranks);
    traffic->nodes = g_new(gint64, n_ranks * traffic->n_nodes);
    traffic->experts = g_new(gint64, n_experts);
    traffic->copies = g_new(gint64, n_ranks);
    traffic->tokens = g_new0(gint64, n_ranks);
    return traffic;
}

void moe_traffic_free(MoeTraffic *traffic)
{
    if (traffic == NULL)
        return;
    g_free(traffic->node_of);
    g_free(traffic->chosen);
    g_free(traffic->pairs);
    g_free(traffic->unique);
    g_free(traffic->nodes);
    g_free(traffic->experts);
    g_free(traffic->copies);
    g_free(traffic->tokens);
    g_free(traffic);
}

static void clear(gint64 *counts, gint64 n)
{
    memset(counts, 0, (gsize)n * sizeof(*counts));
}

/* Where an expert's pairs go, in one load; and the last token of the home, counted from 1, that went
 * to each rank and node. */
typedef struct {
    guint32 *rank_of, *node_of;     /* [experts] */
    guint32 *last_rank, *last_node; /* [ranks], [nodes] */
    gboolean distinct;              /* no rank holds two experts, so a token's ranks all differ */
} Counting;

static Counting counting_new(const MoeTraffic *traffic, const MoePlacement *placement)
{
    Counting c = {
        .rank_of = placement->rank_of,
        .node_of = g_new(guint32, traffic->n_experts),
        .last_rank = g_new0(guint32, traffic->n_ranks),
        .last_node = g_new(guint32, traffic->n_nodes),
        .distinct = TRUE,
    };
    for (gint64 e = 0; e < traffic->n_experts; e++) {
        c.node_of[e] = traffic->node_of[c.rank_of[e]];
        c.distinct = c.distinct && c.last_rank[c.rank_of[e]]++ == 0;
    }
    return c;
}

static void counting_clear(Counting *c)
{
    g_free(c->node_of);
    g_free(c->last_rank);
    g_free(c->last_node);
}

/* The experts that token number @i of the step reaches: in place, or gathered in @kept. */
static const guint16 *reached(MoeTraffic *traffic, const MoeTrace *trace,
                              const MoeTraceLayer *layer, gint64 token, gint64 i, gboolean balanced,
                              guint16 *kept, gint64 *n_out)
{
    gint64 n, first = moe_trace_pairs(trace, layer, token, &n), left = 0;
    traffic->total += n;
    *n_out = n;
    if (!balanced && layer->dropped == NULL)
        return layer->experts + first;
    for (gint64 j = 0; j < n; j++) {
        if (layer->dropped != NULL && layer->dropped[first + j] != 0)
            continue;
        kept[left++] = balanced ? moe_synth_balanced(i, j, trace->n_experts, trace->top_k)
                                : layer->experts[first + j];
    }
    traffic->dropped += n - left;
    *n_out = left;
    return kept;
}

/* What follows from the pairs by home and expert. */
static void sum_up(MoeTraffic *traffic, const MoePlacement *placement)
{
    gint64 R = traffic->n_ranks, E = traffic->n_experts;
    clear(traffic->pairs, R * R);
    clear(traffic->experts, E);
    clear(traffic->copies, R);
    for (gint64 home = 0; home < R; home++) {
        for (gint64 e = 0; e < E; e++) {
            gint64 n = traffic->chosen[home * E + e];
            traffic->pairs[home * R + placement->rank_of[e]] += n;
            traffic->experts[e] += n;
            traffic->copies[home] += n;
        }
    }
}

static void count_home(MoeTraffic *traffic, const MoeTrace *trace, const MoeTraceLayer *layer,
                       const MoeAssignment *assignment, gint64 home, gboolean balanced, Counting *c)
{
    gint64 R = traffic->n_ranks, N = traffic->n_nodes;
    gint64 *chosen = traffic->chosen + home * traffic->n_experts,
           *unique = traffic->unique + home * R, *nodes = traffic->nodes + home * N;
    gint64 first = assignment->first[home];
    guint16 kept[MOE_TRACE_MOST_K];
    memset(c->last_rank, 0, (gsize)R * sizeof(*c->last_rank));
    memset(c->last_node, 0, (gsize)N * sizeof(*c->last_node));
    for (guint32 t = 1; t <= traffic->tokens[home]; t++) {
        gint64 n, i = first + t - 1;
        const guint16 *experts =
            reached(traffic, trace, layer, assignment->tokens[i], i, balanced, kept, &n);
        for (gint64 j = 0; j < n; j++) {
            guint16 e = experts[j];
            guint32 node = c->node_of[e];
            chosen[e]++;
            nodes[node] += c->last_node[node] != t;
            c->last_node[node] = t;
        }
        for (gint64 j = 0; j < n && !c->distinct; j++) {
            guint32 to = c->rank_of[experts[j]];
            unique[to] += c->last_rank[to] != t;
            c->last_rank[to] = t;
        }
    }
}

/* The last home before with the same tokens, which is there when a trace is repeated; -1: none.
 * @homes: by their first token. */
static gint64 twin_of(const MoeTraffic *traffic, const MoeAssignment *assignment, gint64 home,
                      GHashTable *homes)
{
    const gint64 *tokens = assignment->tokens + assignment->first[home];
    gint64 n = traffic->tokens[home];
    gint64 twin = GPOINTER_TO_SIZE(g_hash_table_lookup(homes, GSIZE_TO_POINTER(*tokens))) - 1;
    g_hash_table_insert(homes, GSIZE_TO_POINTER(*tokens), GSIZE_TO_POINTER(home + 1));
    return twin >= 0 && traffic->tokens[twin] == n &&
                   memcmp(tokens, assignment->tokens + assignment->first[twin],
                          (gsize)n * sizeof(*tokens)) == 0
               ? twin
               : -1;
}

static void copy_row(gint64 *counts, gint64 n, gint64 to, gint64 from)
{
    memcpy(counts + to * n, counts + from * n, (gsize)n * sizeof(*counts));
}

void moe_traffic_count(MoeTraffic *traffic, const MoeTrace *trace, const MoeTraceLayer *layer,
                       const MoeAssignment *assignment, const MoePlacement *placement,
                       gboolean balanced)
{
    gint64 R = traffic->n_ranks, N = traffic->n_nodes, E = traffic->n_experts;
    Counting c = counting_new(traffic, placement);
    g_autoptr(GHashTable) homes = g_hash_table_new(NULL, NULL);
    g_autofree gint64 *total = g_new(gint64, R), *dropped = g_new(gint64, R);
    clear(traffic->chosen, R * E);
    clear(traffic->unique, R * R);
    clear(traffic->nodes, R * N);
    traffic->dropped = traffic->total = 0;
    traffic->top_k = trace->top_k;
    for (gint64 home = 0; home < R; home++) {
        gint64 total_before = traffic->total, dropped_before = traffic->dropped;
        traffic->tokens[home] = assignment->first[home + 1] - assignment->first[home];
        gint64 twin =
            balanced || traffic->tokens[home] == 0 ? -1 : twin_of(traffic, assignment, home, homes);
        if (twin >= 0) {
            copy_row(traffic->chosen, E, home, twin);
            copy_row(traffic->unique, R, home, twin);
            copy_row(traffic->nodes, N, home, twin);
            traffic->total += total[twin];
            traffic->dropped += dropped[twin];
        } else {
            count_home(traffic, trace, layer, assignment, home, balanced, &c);
        }
        total[home] = traffic->total - total_before;
        dropped[home] = traffic->dropped - dropped_before;
    }
    counting_clear(&c);
    sum_up(traffic, placement);
    if (c.distinct)
        memcpy(traffic->unique, traffic->pairs, (gsize)(R * R) * sizeof(*traffic->unique));
}

gint64 moe_traffic_received(const MoeTraffic *traffic, const MoePlacement *placement, gint64 rank)
{
    gint64 n = 0;
    for (gint64 e = 0; e < traffic->n_experts; e++)
        if (placement->rank_of[e] == rank)
            n += traffic->experts[e];
    return n;
}

/* --- copies ---------------------------------------------------------------------------------- */

/* Buffers of fixed size: @counts [ranks, n] go into them, n of each home rank. */
typedef struct {
    const gint64 *counts;
    gint64 n;
    const char *what; /* "expert", "rank" */
} Buffers;

static gint64 fullest(const Buffers *buffers, gint64 n_ranks)
{
    gint64 most = 0;
    for (gint64 i = 0; i < n_ranks * buffers->n; i++)
        most = MAX(most, buffers->counts[i]);
    return most;
}

/* Copies that a buffer of @home holds; -1 with an error when some holds too few. */
static gint64 capacity(const MoeTraffic *traffic, const Buffers *buffers, double factor,
                       gint64 home, GError **error)
{
    double share = (double)(traffic->tokens[home] * traffic->top_k) / (double)buffers->n;
    gint64 holds = (gint64)ceil(factor * share);
    const gint64 *counts = buffers->counts + home * buffers->n;
    for (gint64 i = 0; i < buffers->n; i++) {
        if (counts[i] <= holds)
            continue;
        moe_fail(error, MOE_ERROR_INPUT,
                 "capacity_factor: %g: buffers of rank %" G_GINT64_FORMAT " hold %" G_GINT64_FORMAT
                 " copies, and %" G_GINT64_FORMAT " go to %s %" G_GINT64_FORMAT
                 "; write %.3g or more, leave it out, or take a trace with drops",
                 factor, home, holds, counts[i], buffers->what, i,
                 ceil(1000 * (double)counts[i] / share) / 1000);
        return -1;
    }
    return holds;
}

static gboolean pad(const MoeTraffic *traffic, const MoePlacement *placement,
                    const MoeTransfer *transfer, const Buffers *buffers, gint64 *copies,
                    GError **error)
{
    gint64 R = traffic->n_ranks, most = fullest(buffers, R);
    for (gint64 home = 0; home < R; home++) {
        gint64 holds = isnan(transfer->capacity_factor)
                           ? most
                           : capacity(traffic, buffers, transfer->capacity_factor, home, error);
        if (holds < 0)
            return FALSE;
        for (gint64 r = 0; r < R; r++)
            copies[home * R + r] = transfer->padding == MOE_PADDING_RANK ? holds : 0;
        for (gint64 e = 0; e < traffic->n_experts && transfer->padding == MOE_PADDING_EXPERT; e++)
            copies[home * R + placement->rank_of[e]] += holds;
    }
    return TRUE;
}

gboolean moe_traffic_copies(const MoeTraffic *traffic, const MoePlacement *placement,
                            const MoeTransfer *transfer, gint64 *copies, GError **error)
{
    gint64 R = traffic->n_ranks;
    const gint64 *counts = transfer->deduplicate ? traffic->unique : traffic->pairs;
    const Buffers of_ranks = {counts, R, "rank"};
    const Buffers of_experts = {traffic->chosen, traffic->n_experts, "expert"};
    if (transfer->padding != MOE_PADDING_NONE)
        return pad(traffic, placement, transfer,
                   transfer->padding == MOE_PADDING_RANK ? &of_ranks : &of_experts, copies, error);
    memcpy(copies, counts, (gsize)(R * R) * sizeof(*copies));
    return TRUE;
}

/* --- check ----------------------------------------------------------------------------------- */

gboolean moe_traffic_check(const MoeTraffic *traffic, GError **error)
{
    gint64 sent = 0, computed = 0, home = 0;
    for (gint64 i = 0; i < traffic->n_ranks * traffic->n_ranks; i++)
        sent += traffic->pairs[i];
    for (gint64 e = 0; e < traffic->n_experts; e++)
        computed += traffic->experts[e];
    for (gint64 r = 0; r < traffic->n_ranks; r++) {
        home += traffic->copies[r];
        if (traffic->copies[r] > traffic->tokens[r] * traffic->top_k)
            return moe_fail(error, MOE_ERROR_FAILED,
                            "invariant broken: %" G_GINT64_FORMAT
                            " tokens of rank %" G_GINT64_FORMAT " have %" G_GINT64_FORMAT " pairs",
                            traffic->tokens[r], r, traffic->copies[r]);
    }
    if (sent == computed && home == computed && computed + traffic->dropped == traffic->total)
        return TRUE;
    return moe_fail(error, MOE_ERROR_FAILED,
                    "invariant broken: %" G_GINT64_FORMAT " pairs sent, %" G_GINT64_FORMAT
                    " computed, %" G_GINT64_FORMAT " expected back, %" G_GINT64_FORMAT
                    " dropped of %" G_GINT64_FORMAT,
                    sent, computed, home, traffic->dropped, traffic->total);
}

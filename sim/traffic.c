#include "config.h"

#include "sim/traffic.h"

#include "workloads/synth.h"

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
    g_free(traffic);
}

static void clear(gint64 *counts, gint64 n)
{
    memset(counts, 0, (gsize)n * sizeof(*counts));
}

/* The last token of a home rank that went to each rank and to each node. */
typedef struct {
    gint64 *rank, *node;
} Last;

static void count_token(MoeTraffic *traffic, const MoePlacement *placement, gint64 home,
                        gint64 token, guint16 expert, const Last *last)
{
    guint32 to = placement->rank_of[expert], node = traffic->node_of[to];
    traffic->chosen[home * traffic->n_experts + expert]++;
    if (last->rank[to] == token)
        return;
    last->rank[to] = token;
    traffic->unique[home * traffic->n_ranks + to]++;
    if (last->node[node] == token)
        return;
    last->node[node] = token;
    traffic->nodes[home * traffic->n_nodes + node]++;
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

void moe_traffic_count(MoeTraffic *traffic, const MoeTrace *trace, const MoeTraceLayer *layer,
                       const MoeAssignment *assignment, const MoePlacement *placement,
                       gboolean balanced)
{
    gint64 R = traffic->n_ranks, N = traffic->n_nodes;
    g_autofree gint64 *last = g_new(gint64, R + N);
    const Last lasts = {last, last + R};
    for (gint64 r = 0; r < R + N; r++)
        last[r] = -1;
    clear(traffic->chosen, R * traffic->n_experts);
    clear(traffic->unique, R * R);
    clear(traffic->nodes, R * N);
    traffic->dropped = 0;
    traffic->total = 0;
    for (gint64 home = 0; home < R; home++) {
        for (gint64 i = assignment->first[home]; i < assignment->first[home + 1]; i++) {
            gint64 n, pair = moe_trace_pairs(trace, layer, assignment->tokens[i], &n);
            traffic->total += n;
            for (gint64 j = 0; j < n; j++) {
                if (layer->dropped != NULL && layer->dropped[pair + j] != 0) {
                    traffic->dropped++;
                    continue;
                }
                guint16 expert = balanced ? moe_synth_balanced(i, j, trace->n_experts, trace->top_k)
                                          : layer->experts[pair + j];
                count_token(traffic, placement, home, i, expert, &lasts);
            }
        }
    }
    sum_up(traffic, placement);
}

gint64 moe_traffic_received(const MoeTraffic *traffic, const MoePlacement *placement, gint64 rank)
{
    gint64 n = 0;
    for (gint64 e = 0; e < traffic->n_experts; e++)
        if (placement->rank_of[e] == rank)
            n += traffic->experts[e];
    return n;
}

void moe_traffic_bytes(const MoeTraffic *traffic, const MoeTransfer *transfer, gint64 hidden_size,
                       gboolean reverse, gint64 *bytes)
{
    gint64 R = traffic->n_ranks;
    gint64 token = moe_type_wire_bytes((MoeType)transfer->dtype, hidden_size);
    const gint64 *copies = transfer->deduplicate ? traffic->unique : traffic->pairs;
    for (gint64 a = 0; a < R; a++)
        for (gint64 b = 0; b < R; b++)
            bytes[reverse ? b * R + a : a * R + b] = copies[a * R + b] * token;
}

gboolean moe_traffic_check(const MoeTraffic *traffic, GError **error)
{
    gint64 sent = 0, computed = 0, home = 0;
    for (gint64 i = 0; i < traffic->n_ranks * traffic->n_ranks; i++)
        sent += traffic->pairs[i];
    for (gint64 e = 0; e < traffic->n_experts; e++)
        computed += traffic->experts[e];
    for (gint64 r = 0; r < traffic->n_ranks; r++)
        home += traffic->copies[r];
    if (sent == computed && home == computed && computed + traffic->dropped == traffic->total)
        return TRUE;
    return moe_fail(error, MOE_ERROR_FAILED,
                    "invariant broken: %" G_GINT64_FORMAT " pairs sent, %" G_GINT64_FORMAT
                    " computed, %" G_GINT64_FORMAT " expected back, %" G_GINT64_FORMAT
                    " dropped of %" G_GINT64_FORMAT,
                    sent, computed, home, traffic->dropped, traffic->total);
}

#include "config.h"

#include "sim/flows.h"

#include <math.h>
#include <string.h>

enum { MOST_INSIDE = 5 };

/* Makes room for @n flows. */
static void fit(MoeFlows *flows, MoeList *list, guint32 n)
{
    guint32 words = moe_flows_words(n);
    flows->n_words += words - list->size / MOE_FLOW_WORD;
    list->size = words * MOE_FLOW_WORD;
    list->entries = g_renew(guint64, list->entries, (gsize)list->size * (1 + flows->inside));
    list->alive = g_renew(guint64, list->alive, words);
    list->own = g_renew(guint64, list->own, words);
    list->marks = g_renew(double, list->marks, list->size);
    list->least = g_renew(double, list->least, words);
}

void moe_flows_init(MoeFlows *flows, guint32 n_links)
{
    g_assert(n_links < MOE_FLOW_GONE);
    *flows = (MoeFlows){
        .n_links = n_links, .lists = g_new0(MoeList, n_links + 1), .most = 2, .inside = 1};
    MoeList *none = &flows->lists[n_links];
    fit(flows, none, 1);
    none->own[0] = 0;
}

void moe_flows_clear(MoeFlows *flows)
{
    for (guint32 l = 0; l <= flows->n_links; l++) {
        MoeList *list = &flows->lists[l];
        g_free(list->entries);
        g_free(list->alive);
        g_free(list->own);
        g_free(list->marks);
        g_free(list->least);
    }
    g_free(flows->lists);
    g_free(flows->pool);
}

void moe_flows_add(MoeFlows *flows, const guint32 *links, guint n, float weight, double mark,
                   guint32 tag)
{
    if (flows->n == flows->n_gone)
        flows->n = flows->n_gone = flows->n_pool = flows->placed = 0;
    guint32 size = (guint32)((sizeof(MoeFlow) + n * sizeof(MoePlace)) / sizeof(guint64));
    if (flows->n_pool + size > flows->size_pool) {
        flows->size_pool = MAX(256, 2 * flows->size_pool + size);
        flows->pool = g_renew(guint64, flows->pool, flows->size_pool);
    }
    MoeFlow *flow = moe_flow(flows, flows->n_pool);
    *flow = (MoeFlow){.mark = mark,
                      .weight = weight,
                      .n = (guint8)n,
                      .by = flows->n_links & MOE_FLOW_GONE,
                      .tag = tag};
    for (guint k = 0; k < n; k++)
        flow->places[k] = (MoePlace){links[k], 0};
    flows->n_pool += size;
    flows->n++;
    flows->most = MAX(flows->most, n);
}

/* The last place of a list becomes that of a flow. */
static guint32 append(MoeFlows *flows, const MoeFlow *flow, guint32 link)
{
    MoeList *list = &flows->lists[link];
    if (list->n == list->size)
        fit(flows, list, list->n + list->live); /* once, where all come together */
    guint32 at = list->n++, word = at / MOE_FLOW_WORD;
    if (at % MOE_FLOW_WORD == 0) {
        list->alive[word] = 0;
        list->least[word] = INFINITY;
    }
    moe_flows_set(list->alive, at, TRUE);
    moe_flows_set(list->own, at, flow->by == link);
    if (flow->by == link)
        list->least[word] = MIN(list->least[word], flow->mark);
    list->marks[at] = flow->mark;
    list->apart |= flow->n > flows->inside + 1;
    return at;
}

static void list_flow(MoeFlows *flows, guint32 id)
{
    MoeFlow *flow = moe_flow(flows, id);
    for (guint32 k = 0; k < flow->n; k++)
        flow->places[k].at = append(flows, flow, flow->places[k].link);
    for (guint32 k = 0; k < flow->n; k++) {
        MoePlace place = flow->places[k];
        MoeListed *entry = moe_flows_listed(flows, place.link, place.at);
        entry->weight = flow->weight;
        entry->flow = id;
        guint32 n = 0;
        for (guint32 i = 0; i < flow->n && n < flows->inside; i++)
            if (i != k)
                entry->others[n++] = flow->places[i];
        while (n < flows->inside)
            entry->others[n++] = (MoePlace){flows->n_links, 0};
        if (flow->n > flows->inside + 1) /* its own place says that all others are in the flow */
            entry->others[0] = place;
    }
}

guint32 moe_flows_owner(const MoeFlows *flows, const MoeFlow *flow)
{
    for (guint32 k = 0; k < flow->n; k++)
        if (moe_flows_has(flows->lists[flow->places[k].link].own, flow->places[k].at))
            return flow->places[k].link;
    return flows->n_links;
}

/* Has flows say themselves what their lists, which are about to go, say about them. */
static void note_owners(MoeFlows *flows)
{
    for (guint32 id = 0; id < flows->placed; id = moe_flow_next(flows, id)) {
        MoeFlow *flow = moe_flow(flows, id);
        for (guint32 k = 0; k < flow->n && flow->by != MOE_FLOW_GONE; k++) {
            const MoeList *list = &flows->lists[flow->places[k].link];
            if (moe_flows_has(list->own, flow->places[k].at)) {
                flow->by = flow->places[k].link & MOE_FLOW_GONE;
                flow->mark = list->marks[flow->places[k].at];
            }
        }
    }
}

/* Puts all flows that are placed and not gone into their lists anew. */
static void list_anew(MoeFlows *flows)
{
    for (guint32 l = 0; l < flows->n_links; l++)
        flows->lists[l].n = flows->lists[l].apart = 0;
    for (guint32 id = 0; id < flows->placed; id = moe_flow_next(flows, id))
        if (moe_flow(flows, id)->by != MOE_FLOW_GONE)
            list_flow(flows, id);
}

/* Makes the entries of lists such that they hold what newer flows put there. */
static void widen(MoeFlows *flows)
{
    guint32 inside = flows->most <= MOST_INSIDE + 1 ? flows->most - 1 : 1;
    if (flows->inside == inside)
        return;
    note_owners(flows);
    flows->inside = inside;
    for (guint32 l = 0; l <= flows->n_links; l++)
        flows->lists[l].size = 0;
    flows->n_words = 0;
    list_anew(flows);
}

guint32 moe_flows_expect(MoeFlows *flows, guint32 link)
{
    if (flows->lists[link].live == 0)
        flows->lists[link].n = 0;
    return ++flows->lists[link].live;
}

void moe_flows_place(MoeFlows *flows)
{
    widen(flows);
    for (; flows->placed < flows->n_pool; flows->placed = moe_flow_next(flows, flows->placed))
        list_flow(flows, flows->placed);
}

void moe_flows_remove(MoeFlows *flows, guint32 id)
{
    MoeFlow *flow = moe_flow(flows, id);
    for (guint32 k = 0; k < flow->n; k++) {
        MoeList *list = &flows->lists[flow->places[k].link];
        list->live--;
        moe_flows_set(list->alive, flow->places[k].at, FALSE);
    }
    flow->by = MOE_FLOW_GONE;
    flows->n_gone++;
}

void moe_flows_number(MoeFlows *flows)
{
    guint32 new_id = 0;
    for (guint32 id = 0; id < flows->n_pool; id = moe_flow_next(flows, id)) {
        MoeFlow *flow = moe_flow(flows, id);
        flow->new_id = new_id;
        if (flow->by != MOE_FLOW_GONE)
            new_id += moe_flow_next(flows, id) - id;
    }
}

void moe_flows_move(MoeFlows *flows)
{
    guint32 n_pool = 0, placed = flows->placed;
    note_owners(flows);
    for (guint32 id = 0, next; id < flows->n_pool; id = next) {
        next = moe_flow_next(flows, id);
        if (id == placed)
            flows->placed = n_pool;
        if (moe_flow(flows, id)->by == MOE_FLOW_GONE)
            continue;
        memmove(flows->pool + n_pool, flows->pool + id, (next - id) * sizeof(guint64));
        n_pool += next - id;
    }
    if (placed == flows->n_pool)
        flows->placed = n_pool;
    flows->n_pool = n_pool;
    flows->n -= flows->n_gone;
    flows->n_gone = 0;
    list_anew(flows);
}

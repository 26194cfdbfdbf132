#include "config.h"

#include "sim/sharing.h"

#include "sim/flows.h"
#include "sim/groups.h"
#include "sim/heap.h"

#include <math.h>
#include <string.h>

/* Times closer than this share of a group's age, or this many seconds, are one. */
static const double equal_share = 1e-9, equal_s = 1e-12;

enum { FEW = 1 << 16 };

typedef struct {
    double capacity, weight; /* weight: of its live flows */
    double work, since;      /* done until then */
    double level;            /* work per second; 0: it fixes no rates */
    double given;            /* rates that it has fixed, of flows that are still there */
    double unused;           /* bytes that those gone since then have left, or taken too much */
    double credit;           /* s that this gives to the others */
} Link;

/* What a solution has not yet given away, and to which flows of the list. */
typedef struct {
    double capacity, weight;
    guint64 *flows; /* the list's */
    guint32 n;
} Open;

struct MoeSharing {
    MoeSharingEnd ended;
    void *user;
    double quantum, longest; /* longest window */
    guint32 n_links;
    Link *links; /* [n_links + 1]; the last one, without work, fixes those that wait to start */
    Open *open;  /* [n_links + 1] */
    MoeFlows flows;
    MoeGroup *groups;
    double begin, started, start_at; /* no flow before; the last ones started; the next ones will */
    double earliest, until;          /* the first end of the solution; where its window may end */
    MoeEnds found;
    MoeHeap heap, events;
};

MoeSharing *moe_sharing_new(guint32 n_links, const double *bandwidth, double quantum,
                            MoeSharingEnd ended, void *user)
{
    MoeSharing *s = g_new0(MoeSharing, 1);
    *s = (MoeSharing){
        .ended = ended,
        .user = user,
        .quantum = quantum,
        .n_links = n_links,
        .links = g_new0(Link, n_links + 1),
        .open = g_new0(Open, n_links + 1),
        .groups = g_new0(MoeGroup, n_links),
        .started = -INFINITY,
        .start_at = INFINITY,
    };
    moe_flows_init(&s->flows, n_links);
    s->open[n_links].flows = s->flows.lists[n_links].open;
    for (guint32 l = 0; l < n_links; l++) {
        g_assert(bandwidth[l] > 0);
        s->links[l].capacity = bandwidth[l];
        s->groups[l].parent = s->groups[l].next = l;
    }
    return s;
}

void moe_sharing_free(MoeSharing *s)
{
    if (s == NULL)
        return;
    for (guint32 l = 0; l < s->n_links; l++)
        g_free(s->groups[l].ends.items);
    moe_flows_clear(&s->flows);
    g_free(s->links);
    g_free(s->open);
    g_free(s->groups);
    g_free(s->found.items);
    g_free(s->heap.items);
    g_free(s->events.items);
    g_free(s);
}

void moe_sharing_set_window(MoeSharing *s, double seconds)
{
    s->longest = seconds;
}

static double rate_of(const MoeSharing *s, const MoeFlow *flow)
{
    return s->links[flow->by].level * (double)flow->weight;
}

/* What a flow would have used until now if it had not ended before, or takes after now, belongs to
 * the flows that its bottleneck has fixed beside it. */
static void remove_flow(MoeSharing *s, const MoeEnd *end, double now)
{
    const MoeFlow *flow = moe_flow(&s->flows, end->flow);
    Link *bottleneck = &s->links[flow->by];
    double rate = rate_of(s, flow);
    bottleneck->given -= rate;
    bottleneck->unused += rate * (now - end->finish);
    bottleneck->credit =
        bottleneck->given > rate * equal_share ? bottleneck->unused / bottleneck->given : 0;
    for (guint32 k = 0; k < flow->n; k++) {
        guint32 l = flow->places[k].link;
        gboolean last = s->flows.lists[l].live == 1;
        s->links[l].weight = last ? 0 : s->links[l].weight - (double)flow->weight;
    }
    moe_flows_remove(&s->flows, end->flow);
}

/* --- one solution ---------------------------------------------------------------------------- */

static guint32 first_of(guint32 word, guint64 bits)
{
    return word * MOE_FLOW_WORD + (guint32)__builtin_ctzll(bits);
}

/* Takes @rate, of a flow of @weight, from the links at all of its places. What that takes from a link
 * that is full, and from that of no link, does not matter. */
static inline void take(Open *links, const MoePlace *places, guint32 n, double rate, double weight)
{
    for (guint32 k = 0; k < n; k++) {
        Open *open = &links[places[k].link];
        open->capacity -= rate;
        open->weight -= weight;
        open->n--;
        moe_flows_set(open->flows, places[k].at, FALSE);
    }
}

/* The same for flows @bits of @entries. */
static void take_all(const MoeFlows *flows, Open *links, guint32 full, const guint64 *entries,
                     guint64 bits, double level)
{
    guint32 inside = flows->inside;
    for (; bits != 0; bits &= bits - 1) {
        const MoeListed *entry = moe_listed(entries, 1 + inside, first_of(0, bits));
        const MoeFlow *flow = moe_flow(flows, entry->flow);
        double weight = (double)entry->weight, rate = level * weight;
        if (entry->others[0].link == full)
            take(links, flow->places, flow->n, rate, weight);
        else if (inside == 1) /* most are of two links */
            take(links, entry->others, 1, rate, weight);
        else
            take(links, entry->others, inside, rate, weight);
    }
}

/* Link @full fixes flow @at of its list, which another has fixed until now. */
static void take_over(MoeSharing *s, guint32 full, guint32 at)
{
    MoeList *list = &s->flows.lists[full];
    const MoeListed *entry = moe_flows_listed(&s->flows, full, at);
    MoeFlow *flow = moe_flow(&s->flows, entry->flow);
    guint32 n, by = flow->by;
    const MoePlace *places = moe_flows_others(&s->flows, full, entry, &n);
    for (guint32 k = 0; k < n; k++)
        if (places[k].link == by)
            moe_flows_set(s->flows.lists[by].own, places[k].at, FALSE);
    flow->mark = list->marks[at] = s->links[full].work + fmax(0, flow->mark - s->links[by].work);
    flow->by = full & MOE_FLOW_GONE;
    list->least[at / MOE_FLOW_WORD] = MIN(list->least[at / MOE_FLOW_WORD], flow->mark);
}

static void prefetch(const MoeFlows *flows, const guint64 *entries, guint32 size, guint64 bits)
{
    for (; bits != 0; bits &= bits - 1)
        __builtin_prefetch(moe_flow(flows, moe_listed(entries, size, first_of(0, bits))->flow));
}

/* Finds those of a word of a link's list that may end in the window. */
static void find_ends(MoeSharing *s, guint32 l, guint32 word, guint64 flows, double now,
                      double begin)
{
    const Link *link = &s->links[l];
    MoeList *list = &s->flows.lists[l];
    double ending = link->work + link->level * (s->until - now);
    if (list->least[word] > ending)
        return;
    list->least[word] = INFINITY;
    for (; flows != 0; flows &= flows - 1) {
        guint32 at = first_of(word, flows);
        double mark = list->marks[at];
        list->least[word] = MIN(list->least[word], mark);
        if (mark > ending)
            continue;
        double finish = now + fmax(0, mark - link->work) / link->level;
        if (finish < s->earliest) {
            s->earliest = finish;
            s->until = finish + s->longest + equal_s + equal_share * (finish - begin);
            ending = link->work + link->level * (s->until - now);
        }
        moe_ends_add(&s->found, finish, moe_flows_listed(&s->flows, l, at)->flow);
    }
}

/* Fixes all flows of a link that is full; how many it has fixed. */
static guint32 freeze(MoeSharing *s, guint32 full, double now, double begin)
{
    MoeList *list = &s->flows.lists[full];
    double level = s->links[full].level;
    guint32 size = 1 + s->flows.inside, fixed = s->open[full].n;
    for (guint32 w = 0; w < moe_flows_words(list->n); w++) {
        const guint64 *entries = list->entries + (gsize)w * MOE_FLOW_WORD * size;
        guint64 open = list->open[w], others = open & ~list->own[w];
        prefetch(&s->flows, entries, size, list->apart ? open : others);
        take_all(&s->flows, s->open, full, entries, open, level);
        for (guint64 rest = others; rest != 0; rest &= rest - 1)
            take_over(s, full, first_of(w, rest));
        list->own[w] |= open;
        find_ends(s, full, w, open, now, begin);
    }
    s->open[full].n = 0;
    return fixed;
}

static void fill(MoeSharing *s, guint32 root, double now)
{
    double begin = s->groups[root].begin;
    MoeHeap *heap = &s->heap;
    heap->n = 0;
    guint32 l = root;
    do {
        Link *link = &s->links[l];
        link->work += link->level * (now - link->since + link->credit);
        link->since = now;
        link->level = link->unused = link->credit = 0;
        const MoeList *list = &s->flows.lists[l];
        s->open[l] = (Open){link->capacity, link->weight, list->open, list->live};
        if (list->live > 0) {
            memcpy(list->open, list->alive, moe_flows_words(list->n) * sizeof(guint64));
            moe_heap_push(heap, link->capacity / link->weight, l, 0);
        }
        l = s->groups[l].next;
    } while (l != root);
    guint32 left = s->groups[root].n_flows;
    for (double level = 0; left > 0 && heap->n > 0;) {
        guint32 first = heap->items[0].id;
        const Open *open = &s->open[first];
        if (open->n == 0) {
            moe_heap_pop(heap);
            continue;
        }
        double share = open->capacity / open->weight;
        share = share > level ? share : level;
        if (share > heap->items[0].key) {
            moe_heap_raise_first(heap, share);
            if (heap->items[0].id != first)
                continue;
        }
        moe_heap_pop(heap);
        level = s->links[first].level = share;
        s->links[first].given = share * open->weight;
        left -= freeze(s, first, now, begin);
    }
}

/* How many of the ends found, the first ones, may fall together: up to the longest window, and as
 * long as no link's rates would be out of date by more than the quantum of the group's age. */
static guint fall_together(MoeSharing *s, double begin)
{
    const MoeEnd *ends = s->found.items;
    double first = ends[0].finish;
    guint n = 0;
    for (; n < s->found.n; n++) {
        const MoeFlow *flow = moe_flow(&s->flows, ends[n].flow);
        double passed = ends[n].finish - first, age = ends[n].finish - begin, share = 0;
        for (guint32 k = 0; k < flow->n; k++) {
            guint32 l = flow->places[k].link;
            s->open[l].capacity += rate_of(s, flow);
            share = MAX(share, s->open[l].capacity / s->links[l].capacity);
        }
        if (passed * share > s->quantum * age + equal_s + equal_share * age)
            break;
    }
    return n;
}

/* Shares the links of a group anew, finds which flows end first and plans to tell them. */
static void solve(MoeSharing *s, guint32 root, double now)
{
    MoeGroup *group = &s->groups[root];
    for (guint i = 0; i < group->ends.n && group->told; i++)
        if (group->ends.items[i].finish <= now) {
            remove_flow(s, &group->ends.items[i], now);
            group->n_flows--;
            group->gone++;
        }
    group->changed = group->told = FALSE;
    group->ends.n = 0;
    s->earliest = s->until = INFINITY;
    s->found.n = 0;
    fill(s, root, now);
    moe_ends_settle(&s->found, s->until);
    guint32 link = root;
    do {
        s->open[link].capacity = 0;
        link = s->groups[link].next;
    } while (link != root);
    guint n = fall_together(s, group->begin);
    for (guint i = 0; i < n; i++)
        moe_ends_add(&group->ends, s->found.items[i].finish, s->found.items[i].flow);
    moe_heap_push(&s->events, s->earliest, root, ++group->version);
}

/* --- ends ------------------------------------------------------------------------------------ */

/* Finds out which links are still connected; solves what is. */
static void split(MoeSharing *s, guint32 root, double now)
{
    double begin = s->groups[root].begin;
    g_autoptr(GArray) members = g_array_new(FALSE, FALSE, sizeof(guint32));
    guint32 l = root;
    do {
        g_array_append_val(members, l);
        l = s->groups[l].next;
    } while (l != root);
    moe_groups_scatter(s->groups, root);
    for (guint m = 0; m < members->len; m++) {
        guint32 from = g_array_index(members, guint32, m);
        const MoeList *list = &s->flows.lists[from];
        for (guint32 i = 0; i < list->n; i++) {
            const MoeFlow *flow = moe_flow(&s->flows, moe_flows_listed(&s->flows, from, i)->flow);
            if (!moe_flows_has(list->alive, i) || flow->places[0].link != from)
                continue;
            guint32 at = moe_group_of(s->groups, from);
            if (s->groups[at].n_flows++ == 0)
                s->groups[at].begin = begin;
            for (guint32 k = 1; k < flow->n; k++)
                moe_groups_unite(s->groups, from, flow->places[k].link);
        }
    }
    for (guint m = 0; m < members->len; m++) {
        guint32 at = g_array_index(members, guint32, m);
        if (s->groups[at].parent == at && s->groups[at].n_flows > 0)
            solve(s, at, now);
    }
}

static void release(MoeSharing *s, guint32 root, double now)
{
    MoeGroup *group = &s->groups[root];
    for (guint i = 0; i < group->ends.n; i++)
        remove_flow(s, &group->ends.items[i], now);
    group->n_flows -= group->ends.n;
    group->gone += group->ends.n;
    group->ends.n = 0;
    group->told = FALSE;
    if (group->n_flows == 0)
        moe_groups_scatter(s->groups, root);
    else if (group->gone >= group->n_flows)
        split(s, root, now);
    else
        solve(s, root, now);
}

/* Tells the ends in the window, and plans their release. */
static void tell(MoeSharing *s, guint32 root, double now)
{
    MoeGroup *group = &s->groups[root];
    double rates = 0, moment = 0;
    for (guint i = 0; i < group->ends.n; i++) {
        const MoeEnd *end = &group->ends.items[i];
        MoeFlow *flow = moe_flow(&s->flows, end->flow);
        double rate = rate_of(s, flow);
        rates += rate;
        moment += rate * (end->finish - now);
        if (flow->tag != MOE_FLOW_TOLD)
            s->ended(flow->tag, end->finish, s->user);
        flow->tag = MOE_FLOW_TOLD;
    }
    group->told = TRUE;
    double at = now + moment / rates;
    if (at > now)
        moe_heap_push(&s->events, at, root, ++group->version);
    else
        release(s, root, now);
}

/* --- flows that come ------------------------------------------------------------------------- */

static void link_add(MoeSharing *s, guint32 l, double weight, double now)
{
    Link *link = &s->links[l];
    if (moe_flows_expect(&s->flows, l) == 1) {
        link->work = link->level = 0;
        link->since = now;
    }
    link->weight += weight;
}

void moe_sharing_add(MoeSharing *s, double now, const guint32 *links, guint n_links, double weight,
                     double bytes, guint32 tag)
{
    g_assert(n_links > 0 && n_links <= G_MAXUINT8 && bytes > 0 && weight > 0 &&
             tag != MOE_FLOW_TOLD);
    if (s->flows.n == s->flows.n_gone)
        s->begin = now;
    if (s->flows.n_pool == s->flows.placed) {
        double delay = fmin(s->longest / 2, s->quantum * (now - s->begin));
        s->start_at = fmax(now, s->started + delay);
    }
    moe_flows_add(&s->flows, links, n_links, (float)weight, bytes / (double)(float)weight, tag);
}

/* Gives the flows that wait their place among links and groups. */
static void place(MoeSharing *s, double now)
{
    const MoeFlows *flows = &s->flows;
    for (guint32 id = flows->placed; id < flows->n_pool; id = moe_flow_next(flows, id)) {
        const MoeFlow *flow = moe_flow(flows, id);
        guint32 root = flow->places[0].link;
        for (guint32 k = 0; k < flow->n; k++) {
            link_add(s, flow->places[k].link, (double)flow->weight, now);
            root = moe_groups_unite(s->groups, root, flow->places[k].link);
        }
        MoeGroup *group = &s->groups[root];
        if (group->n_flows++ == 0)
            group->begin = now;
        group->changed = TRUE;
    }
    moe_flows_place(&s->flows);
}

static void start(MoeSharing *s, double now)
{
    const MoeFlows *flows = &s->flows;
    guint32 first = flows->placed;
    place(s, now);
    s->started = now;
    s->start_at = INFINITY;
    for (guint32 id = first; id < flows->placed; id = moe_flow_next(flows, id)) {
        guint32 root = moe_group_of(s->groups, moe_flow(flows, id)->places[0].link);
        if (s->groups[root].changed)
            solve(s, root, now);
    }
}

/* --- time ------------------------------------------------------------------------------------ */

/* Numbers the live flows anew when most are gone. */
static void renumber(MoeSharing *s)
{
    MoeFlows *flows = &s->flows;
    if (flows->n_gone < FEW || 2 * flows->n_gone < flows->n)
        return;
    moe_flows_number(flows);
    for (guint32 l = 0; l < s->n_links; l++)
        for (guint32 i = 0; i < s->groups[l].ends.n; i++) {
            MoeEnd *end = &s->groups[l].ends.items[i];
            end->flow = moe_flow(flows, end->flow)->new_id;
        }
    moe_flows_move(flows);
}

/* Drops events that newer ones have replaced. */
static void forget(MoeSharing *s)
{
    while (s->events.n > 0 &&
           s->events.items[0].version != s->groups[s->events.items[0].id].version)
        moe_heap_pop(&s->events);
}

double moe_sharing_next(const MoeSharing *s)
{
    return s->events.n > 0 ? fmin(s->events.items[0].key, s->start_at) : s->start_at;
}

void moe_sharing_advance(MoeSharing *s, double now)
{
    for (;;) {
        forget(s);
        if (s->events.n > 0 && s->events.items[0].key <= now) {
            guint32 root = moe_heap_pop(&s->events).id;
            if (s->groups[root].told)
                release(s, root, now);
            else
                tell(s, root, now);
        } else if (s->start_at <= now) {
            start(s, now);
        } else {
            break;
        }
    }
    renumber(s);
}

double moe_sharing_rate(const MoeSharing *s, guint32 tag)
{
    const MoeFlows *flows = &s->flows;
    for (guint32 id = 0; id < flows->placed; id = moe_flow_next(flows, id)) {
        const MoeFlow *flow = moe_flow(flows, id);
        if (flow->by != MOE_FLOW_GONE && flow->tag == tag)
            return rate_of(s, flow);
    }
    return 0;
}

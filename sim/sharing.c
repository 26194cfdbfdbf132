#include "config.h"

#include "sim/sharing.h"

#include "sim/flows.h"
#include "sim/groups.h"
#include "sim/heap.h"

#include <math.h>
#include <string.h>

/* Times closer than this share of a group's age, or this many seconds, are one. */
static const double equal_share = 1e-9, equal_s = 1e-12;

enum { FEW = 1 << 16, AHEAD = 8, LINES = 8, LINE = 8 /* words */ };

typedef struct {
    double capacity, weight; /* weight: of its live flows */
    double work, since;      /* done until then */
    double level;            /* work per second; 0: it fixes no rates */
    double given;            /* rates that it has fixed, of flows that are still there */
    double unused;           /* bytes that those gone since then have left, or taken too much */
    double credit;           /* s that this gives to the others */
} Link;

/* What a solution has not yet given away, and to how many flows of the list; which of them, say the
 * solution's bits from word `at` on. */
typedef struct {
    double capacity, weight;
    guint32 n, at;
} Open;

struct MoeSharing {
    MoeSharingEnd ended;
    void *user;
    double quantum, longest; /* longest window */
    guint32 n_links;
    Link *links;   /* [n_links + 1]; the last one, without work, fixes those that wait to start */
    Open *open;    /* [n_links + 1] */
    guint64 *bits; /* [size_bits]; word 0: of no link */
    gsize size_bits;
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
    g_free(s->bits);
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

static double rate_of(const MoeSharing *s, const MoeFlow *flow, guint32 by)
{
    return s->links[by].level * (double)flow->weight;
}

/* What a flow would have used until now if it had not ended before, or takes after now, belongs to
 * the flows that its bottleneck has fixed beside it. */
static void remove_flow(MoeSharing *s, const MoeEnd *end, double now)
{
    const MoeFlow *flow = moe_flow(&s->flows, end->flow);
    Link *bottleneck = &s->links[end->by];
    double rate = rate_of(s, flow, end->by);
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
static inline void take(Open *links, guint64 *bits, const MoePlace *places, guint32 n, double rate,
                        double weight)
{
    for (guint32 k = 0; k < n; k++) {
        Open *open = &links[places[k].link];
        open->capacity -= rate;
        open->weight -= weight;
        open->n--;
        moe_flows_set(bits + open->at, places[k].at, FALSE);
    }
}

/* The same for flows @which of @entries, of whose other places @inside stand there; or, if @apart and
 * an entry says so, in the flow. */
static inline void take_all(MoeSharing *s, guint32 full, const guint64 *entries, guint64 which,
                            guint32 inside, gboolean apart)
{
    double level = s->links[full].level;
    Open *links = s->open;
    guint64 *bits = s->bits;
    for (; which != 0; which &= which - 1) {
        const MoeListed *entry = moe_listed(entries, 1 + inside, first_of(0, which));
        double weight = (double)entry->weight, rate = level * weight;
        const MoeFlow *flow = moe_flow(&s->flows, entry->flow);
        if (apart && entry->others[0].link == full)
            take(links, bits, flow->places, flow->n, rate, weight);
        else
            take(links, bits, entry->others, inside, rate, weight);
    }
}

/* Link @full fixes flow @at of its list, which another has fixed until now, or none. */
static void take_over(MoeSharing *s, guint32 full, guint32 at)
{
    MoeList *list = &s->flows.lists[full];
    const MoeListed *entry = moe_flows_listed(&s->flows, full, at);
    guint32 n;
    double left = list->marks[at];
    const MoePlace *places = moe_flows_others(&s->flows, full, entry, &n);
    for (guint32 k = 0; k < n; k++) {
        MoeList *other = &s->flows.lists[places[k].link];
        if (!moe_flows_has(other->own, places[k].at))
            continue;
        moe_flows_set(other->own, places[k].at, FALSE);
        left = MAX(0, other->marks[places[k].at] - s->links[places[k].link].work);
    }
    list->marks[at] = s->links[full].work + left;
    list->least[at / MOE_FLOW_WORD] = MIN(list->least[at / MOE_FLOW_WORD], list->marks[at]);
}

static void prefetch_flows(const MoeFlows *flows, const guint64 *entries, guint64 which)
{
    for (; which != 0; which &= which - 1) {
        const MoeListed *entry = moe_listed(entries, 1 + flows->inside, first_of(0, which));
        __builtin_prefetch(moe_flow(flows, entry->flow));
    }
}

/* The list that is probably next. */
static void prefetch_list(const MoeList *list)
{
    for (guint32 line = 0; line < LINES; line++)
        __builtin_prefetch(list->entries + line * LINE);
    __builtin_prefetch(list->own);
    __builtin_prefetch(list->least);
    __builtin_prefetch(list->marks);
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
    const double *marks = list->marks + word * MOE_FLOW_WORD;
    double least = INFINITY;
    for (; flows != 0; flows &= flows - 1) {
        double mark = marks[first_of(0, flows)];
        least = MIN(least, mark);
        if (mark > ending)
            continue;
        double finish = now + MAX(0, mark - link->work) / link->level;
        if (finish < s->earliest) {
            s->earliest = finish;
            s->until = finish + s->longest + equal_s + equal_share * (finish - begin);
            ending = link->work + link->level * (s->until - now);
        }
        guint32 flow = moe_flows_listed(&s->flows, l, first_of(word, flows))->flow;
        moe_ends_add(&s->found, (MoeEnd){finish, flow, l});
    }
    list->least[word] = least;
}

/* Fixes all flows of a link that is full; how many it has fixed. */
static guint32 freeze(MoeSharing *s, guint32 full, double now, double begin)
{
    MoeList *list = &s->flows.lists[full];
    guint32 inside = s->flows.inside, fixed = s->open[full].n;
    for (guint32 w = 0; w < moe_flows_words(list->n); w++) {
        const guint64 *entries = list->entries + (gsize)w * MOE_FLOW_WORD * (1 + inside);
        guint64 open = s->bits[s->open[full].at + w];
        if (open == 0)
            continue;
        if (list->apart) {
            prefetch_flows(&s->flows, entries, open);
            take_all(s, full, entries, open, inside, TRUE);
        } else if (inside == 1) { /* most flows are of two links */
            take_all(s, full, entries, open, 1, FALSE);
        } else {
            take_all(s, full, entries, open, inside, FALSE);
        }
        for (guint64 others = open & ~list->own[w]; others != 0; others &= others - 1)
            take_over(s, full, first_of(w, others));
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
    if (s->size_bits <= s->flows.n_words) {
        s->size_bits = s->flows.n_words + 1;
        s->bits = g_renew(guint64, s->bits, s->size_bits);
    }
    guint32 l = root, n_bits = 1;
    do {
        Link *link = &s->links[l];
        link->work += link->level * (now - link->since + link->credit);
        link->since = now;
        link->level = link->unused = link->credit = 0;
        const MoeList *list = &s->flows.lists[l];
        s->open[l] = (Open){link->capacity, link->weight, list->live, n_bits};
        if (list->live > 0) {
            guint32 words = moe_flows_words(list->n);
            memcpy(s->bits + n_bits, list->alive, words * sizeof(guint64));
            n_bits += words;
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
        if (heap->n > 0)
            prefetch_list(&s->flows.lists[heap->items[0].id]);
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
        __builtin_prefetch(moe_flow(&s->flows, ends[MIN(n + AHEAD, s->found.n - 1)].flow));
        const MoeFlow *flow = moe_flow(&s->flows, ends[n].flow);
        double passed = ends[n].finish - first, age = ends[n].finish - begin, share = 0;
        for (guint32 k = 0; k < flow->n; k++) {
            guint32 l = flow->places[k].link;
            s->open[l].capacity += rate_of(s, flow, ends[n].by);
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
        moe_ends_add(&group->ends, s->found.items[i]);
    moe_heap_push(&s->events, s->earliest, root, ++group->version);
}

/* --- ends ------------------------------------------------------------------------------------ */

/* Unites the links of a flow, of @n_sets sets; how many sets there are then. */
static guint unite_links(MoeSharing *s, const MoeFlow *flow, guint n_sets)
{
    guint32 root = moe_group_of(s->groups, flow->places[0].link);
    for (guint32 k = 1; k < flow->n; k++) {
        guint32 other = moe_group_of(s->groups, flow->places[k].link);
        n_sets -= root != other;
        root = moe_groups_unite(s->groups, root, other);
    }
    return n_sets;
}

/* The same for those flows of a link that begin there, which it counts, or for its first one. */
static guint unite_flows(MoeSharing *s, guint32 link, gboolean first, guint n_sets)
{
    const MoeList *list = &s->flows.lists[link];
    for (guint32 w = 0; w < moe_flows_words(list->n); w++)
        for (guint64 alive = list->alive[w]; alive != 0 && n_sets > 1; alive &= alive - 1) {
            const MoeListed *entry = moe_flows_listed(&s->flows, link, first_of(w, alive));
            const MoeFlow *flow = moe_flow(&s->flows, entry->flow);
            if (first)
                return unite_links(s, flow, n_sets);
            if (flow->places[0].link != link)
                continue;
            n_sets = unite_links(s, flow, n_sets);
            s->groups[moe_group_of(s->groups, link)].n_flows++;
        }
    return n_sets;
}

/* Finds out which links are still connected; solves what is. Most often all are, and the first flows
 * of all links show it. */
static void split(MoeSharing *s, guint32 root, double now)
{
    const MoeGroup before = s->groups[root];
    g_autoptr(GArray) members = g_array_new(FALSE, FALSE, sizeof(guint32)); /* that carry flows */
    guint32 l = root;
    do {
        if (s->flows.lists[l].live > 0)
            g_array_append_val(members, l);
        l = s->groups[l].next;
    } while (l != root);
    moe_groups_scatter(s->groups, root);
    guint n_sets = members->len;
    for (guint m = 0; m < members->len; m++)
        s->groups[g_array_index(members, guint32, m)].begin = before.begin;
    for (int pass = 0; pass < 2; pass++)
        for (guint m = 0; m < members->len; m++)
            n_sets = unite_flows(s, g_array_index(members, guint32, m), pass == 0, n_sets);
    if (n_sets == 1)
        s->groups[moe_group_of(s->groups, g_array_index(members, guint32, 0))].n_flows =
            before.n_flows;
    for (guint m = 0; m < members->len; m++) {
        guint32 at = g_array_index(members, guint32, m);
        if (s->groups[at].parent == at)
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
        double rate = rate_of(s, flow, end->by);
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
        double delay = MIN(s->longest / 2, s->quantum * (now - s->begin));
        s->start_at = MAX(now, s->started + delay);
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
            return rate_of(s, flow, moe_flows_owner(flows, flow));
    }
    return 0;
}

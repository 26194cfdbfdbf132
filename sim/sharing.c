#include "config.h"

#include "sim/sharing.h"

#include "sim/groups.h"
#include "sim/heap.h"

#include <math.h>
#include <string.h>

/* Times closer than this share of a group's age, or this many seconds, are one. */
static const double equal_share = 1e-9, equal_s = 1e-12;

enum { NO_TAG = G_MAXUINT32, MOST_LINKS = 0xffffff, FEW = 4096, INSIDE = 3, AHEAD = 16 };

/* What has become of a flow: out, not looked at by the newest solutions, or which of these fixed its
 * rate. A byte each, apart from the flows: whoever looks for the few asks for no more. */
enum { DEAD, UNFIXED, LAST_PASS = G_MAXUINT8 };

/* Work is bytes / weight. A flow ends when the work of the link that has fixed its rate, what a flow
 * of weight 1 would have got there, reaches a mark; it stays where it is as long as that link does. */
typedef struct {
    double mark;
    guint32 n : 8;   /* links */
    guint32 by : 24; /* the link that has fixed its rate */
    float weight;
    guint32 first; /* its links in the pool */
    guint32 tag;   /* NO_TAG: its end has been told */
} Flow;

/* What the list of a link says about a flow. */
typedef struct {
    double mark; /* if this link has fixed its rate */
    float weight;
    guint32 others[INSIDE]; /* its other links, if so few; n_links: none */
} Entry;

typedef struct {
    double capacity, weight; /* weight: of its live flows */
    guint32 live;            /* its live flows */
    guint32 n, size;
    guint32 *flows;     /* [n]: the live ones, and dead ones not yet weeded out */
    Entry *entries;     /* [n] */
    double work, since; /* done until then */
    double level;       /* work per second; 0: it fixes no rates */
    double given;       /* rates that it has fixed, of flows that are still there */
    double unused;      /* bytes that those gone since then have left, or taken too much */
    double credit;      /* s that this gives to the others */
} Link;

/* What a solution has not yet given away. */
typedef struct {
    double capacity, weight;
    guint32 n;
} Open;

struct MoeSharing {
    MoeSharingEnd ended;
    void *user;
    double quantum, longest; /* longest window */
    guint32 n_links;
    Link *links; /* [n_links + 1]; the last one, without work, fixes those that wait to start */
    Open *open;
    MoeGroup *groups;
    Flow *flows;
    guint8 *passes;                              /* of each flow */
    guint32 n_flows, size_flows, placed, n_dead; /* flows from number `placed` on wait to start */
    guint32 *pool;
    guint32 n_pool, size_pool;
    double begin, started, start_at; /* no flow before; the last ones started; the next ones will */
    guint8 pass;                     /* of the newest solution */
    double earliest, until;          /* the first end of the solution; where its window may end */
    MoeEnds found;
    guint32 *chosen; /* which of its list the link fixes; as long as the longest list */
    guint32 size_chosen;
    MoeHeap heap, events;
};

MoeSharing *moe_sharing_new(guint32 n_links, const double *bandwidth, double quantum,
                            MoeSharingEnd ended, void *user)
{
    g_assert(n_links < MOST_LINKS);
    MoeSharing *s = g_new0(MoeSharing, 1);
    *s = (MoeSharing){
        .ended = ended,
        .user = user,
        .quantum = quantum,
        .n_links = n_links,
        .links = g_new0(Link, n_links + 1),
        .open = g_new(Open, n_links),
        .groups = g_new0(MoeGroup, n_links),
        .started = -INFINITY,
        .start_at = INFINITY,
        .pass = UNFIXED,
    };
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
    for (guint32 l = 0; l < s->n_links; l++) {
        g_free(s->links[l].flows);
        g_free(s->links[l].entries);
        g_free(s->groups[l].ends.items);
    }
    g_free(s->links);
    g_free(s->open);
    g_free(s->groups);
    g_free(s->flows);
    g_free(s->passes);
    g_free(s->pool);
    g_free(s->found.items);
    g_free(s->chosen);
    g_free(s->heap.items);
    g_free(s->events.items);
    g_free(s);
}

void moe_sharing_set_window(MoeSharing *s, double seconds)
{
    s->longest = seconds;
}

static double rate_of(const MoeSharing *s, const Flow *flow)
{
    return s->links[flow->by].level * (double)flow->weight;
}

/* --- lists ----------------------------------------------------------------------------------- */

/* What a flow would have used until now if it had not ended before, or takes after now, belongs to
 * the flows that its bottleneck has fixed beside it. */
static void remove_flow(MoeSharing *s, const MoeEnd *end, double now)
{
    const Flow *flow = &s->flows[end->flow];
    Link *bottleneck = &s->links[flow->by];
    double rate = rate_of(s, flow);
    bottleneck->given -= rate;
    bottleneck->unused += rate * (now - end->finish);
    bottleneck->credit =
        bottleneck->given > rate * equal_share ? bottleneck->unused / bottleneck->given : 0;
    s->passes[end->flow] = DEAD;
    s->n_dead++;
    for (guint32 i = 0; i < flow->n; i++) {
        Link *link = &s->links[s->pool[flow->first + i]];
        link->live--;
        link->weight = link->live > 0 ? link->weight - (double)flow->weight : 0;
    }
}

/* Drops the dead flows of a link. */
static void weed(MoeSharing *s, Link *link)
{
    guint32 n = 0;
    for (guint32 i = 0; i < link->n; i++)
        if (s->passes[link->flows[i]] != DEAD) {
            link->flows[n] = link->flows[i];
            link->entries[n++] = link->entries[i];
        }
    link->n = n;
}

/* --- one solution ---------------------------------------------------------------------------- */

static void begin_pass(MoeSharing *s)
{
    if (s->pass == LAST_PASS) {
        for (guint32 id = 0; id < s->n_flows; id++)
            s->passes[id] = MIN(s->passes[id], UNFIXED);
        s->pass = UNFIXED;
    }
    s->pass++;
}

/* Gathers which flows of a link the solution has not fixed; their number. Without branches, since no
 * processor could predict them. */
static guint32 gather(MoeSharing *s, Link *link)
{
    if (link->n - link->live > link->n / 8)
        weed(s, link);
    const guint8 *passes = s->passes;
    const guint32 *flows = link->flows;
    guint32 *chosen = s->chosen, found = 0, n = link->n;
    guint8 pass = s->pass;
    for (guint32 i = 0; i < n; i++) {
        guint8 of = passes[flows[i]];
        chosen[found] = i;
        found += (of != DEAD) & (of != pass);
    }
    return found;
}

static void take(Open *open, double rate, double weight)
{
    open->capacity -= rate;
    open->weight -= weight;
    open->n--;
}

static void take_from_others(MoeSharing *s, guint32 full, const Flow *flow, const Entry *entry,
                             double rate)
{
    double weight = (double)entry->weight;
    const guint32 *links = s->pool + flow->first;
    if (flow->n <= INSIDE + 1)
        for (guint32 k = 0; k < INSIDE && entry->others[k] != s->n_links; k++)
            take(&s->open[entry->others[k]], rate, weight);
    else
        for (guint32 k = 0; k < flow->n; k++)
            if (links[k] != full)
                take(&s->open[links[k]], rate, weight);
}

/* Fixes all flows of a link that is full. */
static void freeze(MoeSharing *s, guint32 full, double now, double begin)
{
    Link *link = &s->links[full];
    double level = link->level, work = link->work, ending = work + level * (s->until - now);
    guint32 n = gather(s, link);
    guint8 pass = s->pass;
    for (guint32 i = 0; i < n; i++) {
        Entry *entry = &link->entries[s->chosen[i]];
        guint32 id = link->flows[s->chosen[i]];
        Flow *flow = &s->flows[id];
        if (i + AHEAD < n)
            __builtin_prefetch(&s->flows[link->flows[s->chosen[i + AHEAD]]]);
        s->passes[id] = pass;
        if (flow->by != full) {
            flow->mark = entry->mark = work + fmax(0, flow->mark - s->links[flow->by].work);
            flow->by = full & MOST_LINKS;
        }
        take_from_others(s, full, flow, entry, level * (double)entry->weight);
        if (entry->mark > ending)
            continue;
        double finish = now + fmax(0, entry->mark - work) / level;
        if (finish < s->earliest) {
            s->earliest = finish;
            s->until = finish + s->longest + equal_s + equal_share * (finish - begin);
            ending = work + level * (s->until - now);
        }
        moe_ends_add(&s->found, finish, id);
    }
    s->open[full].n = 0;
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
        s->open[l] = (Open){link->capacity, link->weight, link->live};
        if (link->live > 0)
            moe_heap_push(heap, link->capacity / link->weight, l, 0);
        l = s->groups[l].next;
    } while (l != root);
    double level = 0;
    while (heap->n > 0) {
        guint32 first = heap->items[0].id;
        const Open *open = &s->open[first];
        double share = open->capacity / open->weight;
        share = share > level ? share : level;
        if (open->n > 0 && share > heap->items[0].key) {
            moe_heap_raise_first(heap, share);
            if (heap->items[0].id != first)
                continue;
        }
        moe_heap_pop(heap);
        if (open->n == 0)
            continue;
        level = s->links[first].level = share;
        s->links[first].given = share * open->weight;
        freeze(s, first, now, begin);
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
        const Flow *flow = &s->flows[ends[n].flow];
        double passed = ends[n].finish - first, age = ends[n].finish - begin, share = 0;
        for (guint32 k = 0; k < flow->n; k++) {
            guint32 l = s->pool[flow->first + k];
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
    begin_pass(s);
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
        Link *link = &s->links[from];
        weed(s, link);
        for (guint32 i = 0; i < link->n; i++) {
            const Flow *flow = &s->flows[link->flows[i]];
            const guint32 *links = s->pool + flow->first;
            if (links[0] != from)
                continue;
            guint32 at = moe_group_of(s->groups, from);
            if (s->groups[at].n_flows++ == 0)
                s->groups[at].begin = begin;
            for (guint32 k = 1; k < flow->n; k++)
                moe_groups_unite(s->groups, links[0], links[k]);
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
        Flow *flow = &s->flows[end->flow];
        double rate = rate_of(s, flow);
        rates += rate;
        moment += rate * (end->finish - now);
        if (flow->tag != NO_TAG)
            s->ended(flow->tag, end->finish, s->user);
        flow->tag = NO_TAG;
    }
    group->told = TRUE;
    double at = now + moment / rates;
    if (at > now)
        moe_heap_push(&s->events, at, root, ++group->version);
    else
        release(s, root, now);
}

/* --- flows that come ------------------------------------------------------------------------- */

/* How flow @id stands in the list of one of its links. */
static Entry entry_of(const MoeSharing *s, guint32 id, guint32 l)
{
    const Flow *flow = &s->flows[id];
    Entry entry = {.weight = flow->weight, .others = {s->n_links, s->n_links, s->n_links}};
    for (guint32 k = 0, n = 0; k < flow->n && n < INSIDE; k++)
        if (s->pool[flow->first + k] != l)
            entry.others[n++] = s->pool[flow->first + k];
    return entry;
}

static void link_add(MoeSharing *s, guint32 l, guint32 id, double now)
{
    Link *link = &s->links[l];
    if (link->n == link->size) {
        weed(s, link);
        if (link->n >= link->size / 2) {
            link->size = MAX(8, 2 * link->size);
            link->flows = g_renew(guint32, link->flows, link->size);
            link->entries = g_renew(Entry, link->entries, link->size);
            if (link->size > s->size_chosen) {
                s->size_chosen = link->size;
                s->chosen = g_renew(guint32, s->chosen, s->size_chosen);
            }
        }
    }
    if (link->live == 0) {
        link->work = link->level = 0;
        link->since = now;
    }
    link->flows[link->n] = id;
    link->entries[link->n++] = entry_of(s, id, l);
    link->live++;
    link->weight += (double)s->flows[id].weight;
}

/* Where the pool holds these links now. */
static guint32 pool_add(MoeSharing *s, const guint32 *links, guint n_links)
{
    if (s->n_pool + n_links > s->size_pool) {
        s->size_pool = MAX(256, s->size_pool + s->size_pool / 2 + n_links);
        s->pool = g_renew(guint32, s->pool, s->size_pool);
    }
    memcpy(s->pool + s->n_pool, links, n_links * sizeof(*links));
    s->n_pool += n_links;
    return s->n_pool - n_links;
}

void moe_sharing_add(MoeSharing *s, double now, const guint32 *links, guint n_links, double weight,
                     double bytes, guint32 tag)
{
    g_assert(n_links > 0 && n_links <= G_MAXUINT8 && bytes > 0 && weight > 0 && tag != NO_TAG);
    if (s->n_flows == s->size_flows) {
        s->size_flows = MAX(64, s->size_flows + s->size_flows / 2);
        s->flows = g_renew(Flow, s->flows, s->size_flows);
        s->passes = g_renew(guint8, s->passes, s->size_flows);
    }
    Flow *flow = &s->flows[s->n_flows];
    *flow = (Flow){.n = (guint8)n_links,
                   .by = s->n_links & MOST_LINKS,
                   .weight = (float)weight,
                   .first = pool_add(s, links, n_links),
                   .tag = tag};
    flow->mark = bytes / (double)flow->weight;
    s->passes[s->n_flows] = UNFIXED;
    if (s->n_flows == s->n_dead)
        s->begin = now;
    if (s->n_flows++ == s->placed) {
        double delay = fmin(s->longest / 2, s->quantum * (now - s->begin));
        s->start_at = fmax(now, s->started + delay);
    }
}

static void start(MoeSharing *s, double now)
{
    guint32 first = s->placed;
    for (; s->placed < s->n_flows; s->placed++) {
        const Flow *flow = &s->flows[s->placed];
        const guint32 *links = s->pool + flow->first;
        guint32 root = moe_group_of(s->groups, links[0]);
        for (guint32 i = 0; i < flow->n; i++) {
            link_add(s, links[i], s->placed, now);
            root = moe_groups_unite(s->groups, root, links[i]);
        }
        MoeGroup *group = &s->groups[root];
        if (group->n_flows++ == 0)
            group->begin = now;
    }
    s->started = now;
    s->start_at = INFINITY;
    for (guint32 id = first; id < s->placed; id++)
        s->groups[moe_group_of(s->groups, s->pool[s->flows[id].first])].changed = TRUE;
    for (guint32 id = first; id < s->placed; id++) {
        guint32 root = moe_group_of(s->groups, s->pool[s->flows[id].first]);
        if (s->groups[root].changed)
            solve(s, root, now);
    }
}

/* --- time ------------------------------------------------------------------------------------ */

/* Numbers the live flows anew when most are dead. */
static void renumber(MoeSharing *s)
{
    if (s->n_dead < FEW || 2 * s->n_dead < s->n_flows)
        return;
    for (guint32 l = 0; l < s->n_links; l++)
        weed(s, &s->links[l]);
    g_autofree guint32 *map = g_new(guint32, s->n_flows);
    guint32 n = 0, n_pool = 0, placed = s->placed;
    for (guint32 id = 0; id < s->n_flows; id++) {
        Flow flow = s->flows[id];
        if (id == placed)
            s->placed = n;
        if (s->passes[id] == DEAD)
            continue;
        memmove(s->pool + n_pool, s->pool + flow.first, flow.n * sizeof(*s->pool));
        flow.first = n_pool;
        n_pool += flow.n;
        map[id] = n;
        s->passes[n] = s->passes[id];
        s->flows[n++] = flow;
    }
    if (placed == s->n_flows)
        s->placed = n;
    s->n_flows = n;
    s->n_pool = n_pool;
    s->n_dead = 0;
    for (guint32 l = 0; l < s->n_links; l++) {
        for (guint32 i = 0; i < s->links[l].n; i++)
            s->links[l].flows[i] = map[s->links[l].flows[i]];
        for (guint32 i = 0; i < s->groups[l].ends.n; i++)
            s->groups[l].ends.items[i].flow = map[s->groups[l].ends.items[i].flow];
    }
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
    for (guint32 id = 0; id < s->placed; id++)
        if (s->passes[id] != DEAD && s->flows[id].tag == tag)
            return rate_of(s, &s->flows[id]);
    return 0;
}

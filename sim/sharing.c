#include "config.h"

#include "sim/sharing.h"

#include "sim/ends.h"
#include "sim/heap.h"

#include <math.h>
#include <string.h>

/* Times closer than this share of a group's age, or this many seconds, are one. */
static const double equal_share = 1e-9, equal_s = 1e-12;

enum { NO_TAG = G_MAXUINT32, DEAD = G_MAXUINT32, MOST_LINKS = 0xffffff, FEW = 4096, AHEAD = 8 };

/* Half a line of cache; which solution fixed its rate stands elsewhere, for those who only ask that. */
typedef struct {
    double finish, rate; /* at that rate; while it waits to start: bytes, 1 */
    float weight;
    guint32 first;   /* its links in the pool */
    guint32 n : 8;   /* how many */
    guint32 by : 24; /* the link that fixed its rate */
    guint32 tag;     /* NO_TAG: its end has been told */
} Flow;

typedef struct {
    double capacity, weight; /* weight: of its live flows */
    guint32 live;            /* its live flows */
    guint32 n, size;
    guint32 *flows; /* [n]: the live ones, and dead ones not yet weeded out */
    double given;   /* rates that it has fixed, of flows that are still there */
    double unused;  /* bytes that those gone since then have left, or taken too much */
} Link;

/* What a solution has not yet given away. */
typedef struct {
    double capacity, weight;
    guint32 n;
} Open;

/* A set of links that flows connect, stored at its root: a forest of links (union-find), and a ring
 * through the links of every set. */
typedef struct {
    guint32 parent, next;
    double begin; /* when it got its first flow */
    guint32 n_flows;
    guint32 gone;     /* flows that have left since it was found to be connected */
    guint32 version;  /* of its event */
    gboolean told;    /* the ends in the window have been told; they wait to be released */
    gboolean changed; /* to be solved */
    MoeEnds ends;     /* within the window, if no flow comes before */
} Group;

struct MoeSharing {
    MoeSharingEnd ended;
    void *user;
    double quantum, longest; /* longest window */
    guint32 n_links;
    Link *links;
    Open *open;
    double *credit; /* [n_links + 1]: s that the flows that a link has fixed have gained */
    Group *groups;
    Flow *flows;
    guint32 *passes; /* of each flow: the solution that fixed its rate, or DEAD */
    guint32 n_flows, size_flows, placed, n_dead; /* flows from number `placed` on wait to start */
    guint32 *pool;
    guint32 n_pool, size_pool;
    double begin, started, start_at; /* no flow before; the last ones started; the next ones will */
    guint32 pass;
    double earliest, until; /* the first end of the solution; where its window may end */
    MoeEnds found;
    guint32 *chosen; /* flows of the link that is being frozen; as long as the longest list */
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
        .links = g_new0(Link, n_links),
        .open = g_new(Open, n_links),
        .credit = g_new0(double, n_links + 1),
        .groups = g_new0(Group, n_links),
        .started = -INFINITY,
        .start_at = INFINITY,
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
        g_free(s->groups[l].ends.items);
    }
    g_free(s->links);
    g_free(s->open);
    g_free(s->credit);
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

/* --- groups ---------------------------------------------------------------------------------- */

static guint32 root_of(MoeSharing *s, guint32 link)
{
    Group *groups = s->groups;
    while (groups[link].parent != link) {
        groups[link].parent = groups[groups[link].parent].parent;
        link = groups[link].parent;
    }
    return link;
}

static guint32 unite(MoeSharing *s, guint32 a, guint32 b)
{
    a = root_of(s, a);
    b = root_of(s, b);
    if (a == b)
        return a;
    Group *larger = &s->groups[a], *smaller = &s->groups[b];
    if (smaller->n_flows > larger->n_flows) {
        Group *swap = larger;
        larger = smaller;
        smaller = swap;
        guint32 root = a;
        a = b;
        b = root;
    }
    smaller->parent = a;
    guint32 next = larger->next;
    larger->next = smaller->next;
    smaller->next = next;
    if (smaller->n_flows > 0)
        larger->begin = fmin(larger->begin, smaller->begin);
    larger->n_flows += smaller->n_flows;
    larger->gone += smaller->gone;
    /* Ends that were told and not released stay as flows without a tag. */
    for (guint i = 0; i < smaller->ends.n && smaller->told; i++)
        moe_ends_add(&larger->ends, smaller->ends.items[i].finish, smaller->ends.items[i].flow);
    smaller->n_flows = smaller->gone = smaller->ends.n = 0;
    smaller->version++;
    larger->told |= smaller->told;
    return a;
}

/* Makes every link of the group a group of its own, without flows. */
static void scatter(MoeSharing *s, guint32 root)
{
    guint32 link = root;
    do {
        Group *group = &s->groups[link];
        guint32 next = group->next;
        group->parent = group->next = link;
        group->n_flows = group->gone = group->ends.n = 0;
        group->told = FALSE;
        group->version++;
        link = next;
    } while (link != root);
}

/* What flow @id would have used until now if it had not ended before, or takes after now, belongs
 * to the flows that its bottleneck has fixed beside it. */
static void remove_flow(MoeSharing *s, guint32 id, double now)
{
    Flow *flow = &s->flows[id];
    Link *bottleneck = &s->links[flow->by];
    bottleneck->given -= flow->rate;
    bottleneck->unused += flow->rate * (now - flow->finish);
    s->credit[flow->by] =
        bottleneck->given > flow->rate * equal_share ? bottleneck->unused / bottleneck->given : 0;
    s->passes[id] = DEAD;
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
        if (s->passes[link->flows[i]] != DEAD)
            link->flows[n++] = link->flows[i];
    link->n = n;
}

/* --- one solution ---------------------------------------------------------------------------- */

/* Drops the dead flows of a link and gathers those that the solution has not fixed; their number.
 * Without branches, since no processor could predict them. */
static guint32 gather(MoeSharing *s, Link *link)
{
    guint32 n = 0, found = 0, pass = s->pass;
    for (guint32 i = 0; i < link->n; i++) {
        guint32 id = link->flows[i], fixed = s->passes[id];
        link->flows[n] = id;
        s->chosen[found] = id;
        n += fixed != DEAD;
        found += fixed != DEAD && fixed != pass;
    }
    link->n = n;
    return found;
}

/* Fixes all flows of a link that is full at @level. */
static void freeze(MoeSharing *s, guint32 full, double level, double now, double begin)
{
    guint32 n = gather(s, &s->links[full]), pass = s->pass;
    for (guint32 i = 0; i < n; i++) {
        guint32 id = s->chosen[i];
        Flow *flow = &s->flows[id];
        if (i + AHEAD < n)
            __builtin_prefetch(&s->flows[s->chosen[i + AHEAD]], 1);
        s->passes[id] = pass;
        double weight = (double)flow->weight, rate = level * weight;
        double left = (flow->finish - now - s->credit[flow->by]) * flow->rate;
        double finish = left > 0 ? now + left / rate : now;
        flow->rate = rate;
        flow->finish = finish;
        flow->by = full & MOST_LINKS;
        const guint32 *links = s->pool + flow->first;
        for (guint32 k = 0; k < flow->n; k++) {
            Open *open = &s->open[links[k]];
            if (links[k] == full)
                continue;
            open->capacity -= rate;
            open->weight -= weight;
            open->n--;
        }
        if (finish <= s->until) {
            if (finish < s->earliest) {
                s->earliest = finish;
                s->until = finish + s->longest + equal_s + equal_share * (finish - begin);
            }
            moe_ends_add(&s->found, finish, id);
        }
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
        const Link *link = &s->links[l];
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
        s->links[first].given = share * open->weight;
        freeze(s, first, level = share, now, begin);
    }
}

static void plan(MoeSharing *s, guint32 root, double at)
{
    moe_heap_push(&s->events, at, root, ++s->groups[root].version);
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
            const Link *link = &s->links[s->pool[flow->first + k]];
            Open *released = &s->open[s->pool[flow->first + k]];
            released->capacity += flow->rate;
            share = MAX(share, released->capacity / link->capacity);
        }
        if (passed * share > s->quantum * age + equal_s + equal_share * age)
            break;
    }
    return n;
}

/* Shares the links of a group anew, finds which flows end first and plans to tell them. */
static void solve(MoeSharing *s, guint32 root, double now)
{
    Group *group = &s->groups[root];
    for (guint i = 0; i < group->ends.n && group->told; i++)
        if (group->ends.items[i].finish <= now) {
            remove_flow(s, group->ends.items[i].flow, now);
            group->n_flows--;
            group->gone++;
        }
    group->changed = group->told = FALSE;
    group->ends.n = 0;
    s->pass++;
    s->earliest = s->until = INFINITY;
    s->found.n = 0;
    fill(s, root, now);
    moe_ends_settle(&s->found, s->until);
    guint32 link = root;
    do {
        s->open[link].capacity = s->links[link].unused = s->credit[link] = 0;
        link = s->groups[link].next;
    } while (link != root);
    guint n = fall_together(s, group->begin);
    for (guint i = 0; i < n; i++)
        moe_ends_add(&group->ends, s->found.items[i].finish, s->found.items[i].flow);
    plan(s, root, s->earliest);
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
    scatter(s, root);
    for (guint m = 0; m < members->len; m++) {
        guint32 from = g_array_index(members, guint32, m);
        Link *link = &s->links[from];
        weed(s, link);
        for (guint32 i = 0; i < link->n; i++) {
            const Flow *flow = &s->flows[link->flows[i]];
            const guint32 *links = s->pool + flow->first;
            if (links[0] != from)
                continue;
            guint32 at = root_of(s, from);
            if (s->groups[at].n_flows++ == 0)
                s->groups[at].begin = begin;
            for (guint32 k = 1; k < flow->n; k++)
                unite(s, links[0], links[k]);
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
    Group *group = &s->groups[root];
    for (guint i = 0; i < group->ends.n; i++)
        remove_flow(s, group->ends.items[i].flow, now);
    group->n_flows -= group->ends.n;
    group->gone += group->ends.n;
    group->ends.n = 0;
    group->told = FALSE;
    if (group->n_flows == 0)
        scatter(s, root);
    else if (group->gone >= group->n_flows)
        split(s, root, now);
    else
        solve(s, root, now);
}

/* Tells the ends in the window, and plans their release. */
static void tell(MoeSharing *s, guint32 root, double now)
{
    Group *group = &s->groups[root];
    double rates = 0, moment = 0;
    for (guint i = 0; i < group->ends.n; i++) {
        const MoeEnd *end = &group->ends.items[i];
        Flow *flow = &s->flows[end->flow];
        rates += flow->rate;
        moment += flow->rate * (end->finish - now);
        if (flow->tag != NO_TAG)
            s->ended(flow->tag, end->finish, s->user);
        flow->tag = NO_TAG;
    }
    group->told = TRUE;
    double at = now + moment / rates;
    if (at > now)
        plan(s, root, at);
    else
        release(s, root, now);
}

/* --- flows that come ------------------------------------------------------------------------- */

static void link_add(MoeSharing *s, guint32 l, guint32 id, double weight)
{
    Link *link = &s->links[l];
    if (link->n == link->size) {
        weed(s, link);
        if (link->n >= link->size / 2) {
            link->size = MAX(8, 2 * link->size);
            link->flows = g_renew(guint32, link->flows, link->size);
            if (link->size > s->size_chosen) {
                s->size_chosen = link->size;
                s->chosen = g_renew(guint32, s->chosen, s->size_chosen);
            }
        }
    }
    link->flows[link->n++] = id;
    link->live++;
    link->weight += weight;
}

void moe_sharing_add(MoeSharing *s, double now, const guint32 *links, guint n_links, double weight,
                     double bytes, guint32 tag)
{
    g_assert(n_links > 0 && n_links <= G_MAXUINT8 && bytes > 0 && weight > 0 && tag != NO_TAG);
    if (s->n_flows == s->size_flows) {
        s->size_flows = MAX(64, s->size_flows + s->size_flows / 2);
        s->flows = g_renew(Flow, s->flows, s->size_flows);
        s->passes = g_renew(guint32, s->passes, s->size_flows);
    }
    if (s->n_pool + n_links > s->size_pool) {
        s->size_pool = MAX(256, s->size_pool + s->size_pool / 2 + n_links);
        s->pool = g_renew(guint32, s->pool, s->size_pool);
    }
    memcpy(s->pool + s->n_pool, links, n_links * sizeof(*links));
    s->flows[s->n_flows] = (Flow){.finish = bytes,
                                  .rate = 1,
                                  .weight = (float)weight,
                                  .first = s->n_pool,
                                  .n = (guint8)n_links,
                                  .by = s->n_links & MOST_LINKS,
                                  .tag = tag};
    s->passes[s->n_flows] = 0;
    s->n_pool += n_links;
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
        Flow *flow = &s->flows[s->placed];
        const guint32 *links = s->pool + flow->first;
        guint32 root = root_of(s, links[0]);
        for (guint32 i = 0; i < flow->n; i++) {
            link_add(s, links[i], s->placed, (double)flow->weight);
            root = unite(s, root, links[i]);
        }
        Group *group = &s->groups[root];
        if (group->n_flows++ == 0)
            group->begin = now;
        flow->finish += now; /* its bytes, at 1 byte/s */
    }
    s->started = now;
    s->start_at = INFINITY;
    for (guint32 id = first; id < s->placed; id++)
        s->groups[root_of(s, s->pool[s->flows[id].first])].changed = TRUE;
    for (guint32 id = first; id < s->placed; id++) {
        guint32 root = root_of(s, s->pool[s->flows[id].first]);
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
            return s->flows[id].rate;
    return 0;
}

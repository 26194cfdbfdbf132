/* flows.h - the flows of sharing.c, and how they stand in the lists of their links.
 *
 * Layer: sim. Part of sharing.c's workings. A solution walks through the lists: what it needs of a
 * flow stands there, beside its neighbours, and bits say which of a list it has to look at. Lists are
 * in the order of the flows' numbers, which is that of their coming.
 */
#ifndef MOE_SIM_FLOWS_H
#define MOE_SIM_FLOWS_H

#include <glib.h>

enum { MOE_FLOW_TOLD = G_MAXUINT32, MOE_FLOW_GONE = 0xffffff, MOE_FLOW_WORD = 64 };

/* Flows at one time, of which a route of 10 links may be the longest on average, such that the pool,
 * which doubles, has numbers for them. */
enum { MOE_FLOWS_MOST = 1 << 27 };

/* Where a flow stands in the list of one of its links. */
typedef struct {
    guint32 link, at;
} MoePlace;

/* Work is bytes / weight. A flow ends when the work of the link that has fixed its rate, what a flow
 * of weight 1 would have got there, reaches a mark; it stays where it is as long as that link does.
 * Which link that is, and the mark, stand in the lists; here when they are about to be made anew. */
typedef struct {
    double mark;
    float weight;
    guint32 n : 8;   /* links */
    guint32 by : 24; /* the link that has fixed its rate; n_links: none yet; MOE_FLOW_GONE */
    guint32 tag;     /* MOE_FLOW_TOLD: its end has been told */
    guint32 new_id;
    MoePlace places[]; /* [n] */
} MoeFlow;

/* What the list of a link says about a flow: all other places, or that itself if there are more. */
typedef struct {
    float weight;
    guint32 flow;
    MoePlace others[]; /* see moe_flows_others() */
} MoeListed;

typedef struct {
    guint32 live; /* flows that stand in it, or are about to */
    guint32 n, size;
    gboolean apart;   /* the other places of some of its flows are not in their entries */
    guint64 *entries; /* [n] MoeListed: live flows, and gone ones in between */
    guint64 *alive;   /* [n] bits: which of them are live */
    guint64 *own;     /* [n] bits: whose rates the link has fixed */
    double *marks;    /* [n]: of those whose rates it has fixed, or that no link has */
    double *least;    /* [words of bits]: none of their marks is less */
} MoeList;

typedef struct {
    guint32 n_links;
    MoeList *lists;                    /* [n_links + 1]; the last one, of no link, has one place */
    guint64 *pool;                     /* of flows; a flow's number is where it begins */
    guint32 n_pool, size_pool, placed; /* flows from number `placed` on wait: are in no list */
    guint32 n, n_gone;                 /* flows in the pool; of which gone */
    gsize n_words;                     /* of bits, in all lists */
    guint32 most, inside; /* links of a flow so far; places that an entry of a list has */
} MoeFlows;

void moe_flows_init(MoeFlows *flows, guint32 n_links);
void moe_flows_clear(MoeFlows *flows);

/* Appends a flow that no link has fixed; it may move all others. */
void moe_flows_add(MoeFlows *flows, const guint32 *links, guint n, float weight, double mark,
                   guint32 tag);

/* One more of the flows that wait will stand in the list of @link; how many then do. */
guint32 moe_flows_expect(MoeFlows *flows, guint32 link);

/* Puts those that wait, all of which are expected, into the lists of their links. */
void moe_flows_place(MoeFlows *flows);

/* The link that has fixed the rate of a flow that is placed; n_links: none yet. */
guint32 moe_flows_owner(const MoeFlows *flows, const MoeFlow *flow);

/* A flow leaves its lists. */
void moe_flows_remove(MoeFlows *flows, guint32 id);

/* Numbers anew those that are not gone: says so in new_id, then moves them there. */
void moe_flows_number(MoeFlows *flows);
void moe_flows_move(MoeFlows *flows);

static inline MoeFlow *moe_flow(const MoeFlows *flows, guint32 id)
{
    return (MoeFlow *)(flows->pool + id);
}

/* The number of the flow behind, or where the next one will be. */
static inline guint32 moe_flow_next(const MoeFlows *flows, guint32 id)
{
    gsize size = sizeof(MoeFlow) + moe_flow(flows, id)->n * sizeof(MoePlace);
    return id + (guint32)(size / sizeof(guint64));
}

/* Entry @at of entries of @size words. */
static inline MoeListed *moe_listed(const guint64 *entries, guint32 size, guint32 at)
{
    return (MoeListed *)(entries + (gsize)at * size);
}

static inline MoeListed *moe_flows_listed(const MoeFlows *flows, guint32 link, guint32 at)
{
    return moe_listed(flows->lists[link].entries, 1 + flows->inside, at);
}

/* Where else a flow in the list of @link stands: @n places, among them maybe that of no link, and
 * maybe that in this list. */
static inline const MoePlace *moe_flows_others(const MoeFlows *flows, guint32 link,
                                               const MoeListed *entry, guint32 *n)
{
    gboolean apart = entry->others[0].link == link;
    *n = apart ? moe_flow(flows, entry->flow)->n : flows->inside;
    return apart ? moe_flow(flows, entry->flow)->places : entry->others;
}

static inline guint64 moe_flows_bit(guint32 at)
{
    return (guint64)1 << at % MOE_FLOW_WORD;
}

static inline void moe_flows_set(guint64 *bits, guint32 at, gboolean value)
{
    guint64 *word = &bits[at / MOE_FLOW_WORD];
    *word = value ? *word | moe_flows_bit(at) : *word & ~moe_flows_bit(at);
}

static inline gboolean moe_flows_has(const guint64 *bits, guint32 at)
{
    return (bits[at / MOE_FLOW_WORD] & moe_flows_bit(at)) != 0;
}

static inline guint32 moe_flows_words(guint32 n)
{
    return n / MOE_FLOW_WORD + (n % MOE_FLOW_WORD > 0);
}

#endif

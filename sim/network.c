#include "config.h"

#include "sim/network.h"

#include "sim/heap.h"
#include "sim/sharing.h"

#include <math.h>

enum { FEW = 1024 };

/* A message that pays its latency. */
typedef struct {
    double until, bytes;
    guint32 tag, fabric; /* see tag_of() */
} Travelling;

/* Messages of paths of one latency, in the order of time. */
typedef struct {
    GArray *messages; /* Travelling */
    guint first;      /* those before have begun to share */
    double latency;
} Queue;

typedef struct {
    guint op;          /* the exchange that it posted last */
    gboolean posted;   /* anything yet */
    gint64 n_messages; /* of it whose end is not known */
    double end;        /* of those whose end is known */
} Rank;

/* An exchange that is under way. */
typedef struct {
    guint op;
    double window;
    gint64 n_messages; /* whose end is not known */
} Exchange;

struct MoeNetwork {
    const MoeTopology *topology;
    const MoePrograms *programs;
    double quantum;
    double **ends;
    MoeSharing *sharing;
    Rank *ranks;
    GArray *exchanges;     /* Exchange */
    GArray *queues;        /* Queue, by number of path */
    MoeHeap starts;        /* first messages of queues */
    MoeHeap done;          /* ranks, by the end of their exchange */
    double unit_latency_s; /* of weight 1 */
};

static void ended(guint32 tag, double end, void *user);

static void queue_clear(gpointer data)
{
    Queue *queue = data;
    if (queue->messages != NULL)
        g_array_unref(queue->messages);
}

MoeNetwork *moe_network_new(const MoeTopology *topology, const MoePrograms *programs,
                            double quantum, double **ends)
{
    MoeNetwork *network = g_new0(MoeNetwork, 1);
    network->topology = topology;
    network->programs = programs;
    network->quantum = quantum;
    network->ends = ends;
    network->ranks = g_new0(Rank, programs->n_ranks);
    network->exchanges = g_array_new(FALSE, FALSE, sizeof(Exchange));
    network->queues = g_array_new(FALSE, TRUE, sizeof(Queue));
    g_array_set_clear_func(network->queues, queue_clear);
    guint n_links = topology->links->len;
    g_autofree double *bandwidth = g_new(double, n_links);
    for (guint32 l = 0; l < n_links; l++)
        bandwidth[l] = moe_topology_link(topology, l)->bandwidth;
    network->sharing = moe_sharing_new(n_links, bandwidth, quantum, ended, network);
    return network;
}

void moe_network_free(MoeNetwork *network)
{
    if (network == NULL)
        return;
    moe_sharing_free(network->sharing);
    g_array_unref(network->exchanges);
    g_array_unref(network->queues);
    g_free(network->ranks);
    g_free(network->starts.items);
    g_free(network->done.items);
    g_free(network);
}

static const MoeOp *op_of(const MoeNetwork *network, gint64 rank, guint op)
{
    return &g_array_index(network->programs->ranks[rank].ops, MoeOp, op);
}

static MoeRoute route_of(const MoeNetwork *network, guint32 fabric, gint64 from, gint64 to)
{
    return moe_routes_get(network->programs->routes, network->topology, (MoeFabric)fabric, from,
                          to);
}

/* --- exchanges ------------------------------------------------------------------------------- */

static void set_window(MoeNetwork *network)
{
    double window = INFINITY;
    for (guint i = 0; i < network->exchanges->len; i++)
        window = fmin(window, g_array_index(network->exchanges, Exchange, i).window);
    if (network->exchanges->len > 0)
        moe_sharing_set_window(network->sharing, window);
}

/* What the busiest link needs for the bytes of exchange @op; counts its messages. */
static double busiest_link_s(MoeNetwork *network, guint op, gint64 *n_messages)
{
    const MoePrograms *programs = network->programs;
    g_autofree double *bytes = g_new0(double, network->topology->links->len);
    double longest = 0;
    *n_messages = 0;
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        const MoeOp *o = op_of(network, r, op);
        *n_messages += o->n_sends;
        for (guint32 i = 0; i < o->n_sends; i++) {
            const MoeMessage *m =
                &g_array_index(programs->ranks[r].sends, MoeMessage, o->first_send + i);
            MoeRoute route = route_of(network, m->fabric, r, m->peer);
            for (guint k = 0; k < route.n; k++)
                bytes[route.links[k]] += (double)m->bytes;
        }
    }
    for (guint32 l = 0; l < network->topology->links->len; l++)
        longest = fmax(longest, bytes[l] / moe_topology_link(network->topology, l)->bandwidth);
    return longest;
}

static Exchange *find_exchange(MoeNetwork *network, guint op)
{
    for (guint i = 0; i < network->exchanges->len; i++) {
        Exchange *exchange = &g_array_index(network->exchanges, Exchange, i);
        if (exchange->op == op)
            return exchange;
    }
    return NULL;
}

static void open_exchange(MoeNetwork *network, guint op)
{
    Exchange exchange = {.op = op};
    exchange.window = 4 * network->quantum * busiest_link_s(network, op, &exchange.n_messages);
    g_array_append_val(network->exchanges, exchange);
    set_window(network);
}

/* --- messages -------------------------------------------------------------------------------- */

static Queue *queue_of(MoeNetwork *network, const MoeRoute *route)
{
    if (route->path >= network->queues->len)
        g_array_set_size(network->queues, route->path + 1);
    Queue *queue = &g_array_index(network->queues, Queue, route->path);
    if (queue->messages == NULL) {
        queue->messages = g_array_new(FALSE, FALSE, sizeof(Travelling));
        queue->latency = route->latency;
    }
    return queue;
}

/* Says to the sharing between which ranks a message goes: up to 65,536 of them. */
static guint32 tag_of(const MoeNetwork *network, gint64 from, gint64 to)
{
    return (guint32)(from * network->programs->n_ranks + to);
}

static void start(MoeNetwork *network, gint64 from, gint64 to, const MoeMessage *message,
                  double now)
{
    MoeRoute route = route_of(network, message->fabric, from, to);
    g_assert(route.n > 0);
    Queue *queue = queue_of(network, &route);
    const Travelling t = {now + route.latency, (double)message->bytes, tag_of(network, from, to),
                          message->fabric};
    if (network->unit_latency_s == 0)
        network->unit_latency_s = route.latency > 0 ? route.latency : 1;
    if (queue->first == queue->messages->len)
        moe_heap_push(&network->starts, t.until, route.path, 0);
    if (queue->first > FEW && 2 * queue->first > queue->messages->len) {
        g_array_remove_range(queue->messages, 0, queue->first);
        queue->first = 0;
    }
    g_array_append_val(queue->messages, t);
}

static void start_those_of(MoeNetwork *network, gint64 rank, const MoeOp *op, double now)
{
    const MoeProgram *program = &network->programs->ranks[rank];
    const Rank *own = &network->ranks[rank];
    for (guint32 i = 0; i < op->n_sends; i++) {
        const MoeMessage *m = &g_array_index(program->sends, MoeMessage, op->first_send + i);
        const Rank *peer = &network->ranks[m->peer];
        if (peer->posted && peer->op == own->op)
            start(network, rank, m->peer, m, now);
    }
    for (guint32 i = 0; i < op->n_recvs; i++) {
        const MoeMessage *m = &g_array_index(program->recvs, MoeMessage, op->first_recv + i);
        const Rank *peer = &network->ranks[m->peer];
        if (peer->posted && peer->op == own->op)
            start(network, m->peer, rank, m, now);
    }
}

gboolean moe_network_post(MoeNetwork *network, gint64 rank, guint op, double now)
{
    const MoeOp *o = op_of(network, rank, op);
    if (o->n_sends + o->n_recvs == 0)
        return FALSE;
    if (find_exchange(network, op) == NULL)
        open_exchange(network, op);
    network->ranks[rank] = (Rank){op, TRUE, (gint64)o->n_sends + o->n_recvs, now};
    start_those_of(network, rank, o, now);
    return TRUE;
}

/* --- time ------------------------------------------------------------------------------------ */

static void note_end(MoeNetwork *network, guint32 from, guint32 to, double end)
{
    const MoeProgram *program = &network->programs->ranks[from];
    const MoeOp *op = op_of(network, from, network->ranks[from].op);
    for (guint32 i = op->first_send; i < op->first_send + op->n_sends; i++)
        if (g_array_index(program->sends, MoeMessage, i).peer == to &&
            network->ends[from][i] == 0) {
            network->ends[from][i] = end;
            return;
        }
}

static void ended(guint32 tag, double end, void *user)
{
    MoeNetwork *network = user;
    guint32 n = (guint32)network->programs->n_ranks;
    const guint32 both[] = {tag / n, tag % n};
    if (network->ends != NULL)
        note_end(network, both[0], both[1], end);
    for (int i = 0; i < 2; i++) {
        Rank *rank = &network->ranks[both[i]];
        rank->end = MAX(rank->end, end);
        if (--rank->n_messages == 0)
            moe_heap_push(&network->done, rank->end, both[i], 0);
    }
    Exchange *exchange = find_exchange(network, network->ranks[both[0]].op);
    if (--exchange->n_messages > 0)
        return;
    guint index = (guint)(exchange - &g_array_index(network->exchanges, Exchange, 0));
    g_array_remove_index(network->exchanges, index);
    set_window(network);
}

double moe_network_next(const MoeNetwork *network)
{
    double next = moe_sharing_next(network->sharing);
    if (network->starts.n > 0)
        next = fmin(next, network->starts.items[0].key);
    if (network->done.n > 0)
        next = fmin(next, network->done.items[0].key);
    return next;
}

/* The messages at the head of a queue whose latency is over begin to share. */
static void share_those_of(MoeNetwork *network, guint32 path, double now)
{
    Queue *queue = &g_array_index(network->queues, Queue, path);
    double weight = network->unit_latency_s / (queue->latency > 0 ? queue->latency : 1);
    for (; queue->first < queue->messages->len; queue->first++) {
        const Travelling *t = &g_array_index(queue->messages, Travelling, queue->first);
        if (t->until > now) {
            moe_heap_push(&network->starts, t->until, path, 0);
            return;
        }
        guint32 n = (guint32)network->programs->n_ranks;
        MoeRoute route = route_of(network, t->fabric, t->tag / n, t->tag % n);
        moe_sharing_add(network->sharing, now, route.links, route.n, weight, t->bytes, t->tag);
    }
    queue->first = 0;
    g_array_set_size(queue->messages, 0);
}

void moe_network_advance(MoeNetwork *network, double now)
{
    while (network->starts.n > 0 && network->starts.items[0].key <= now)
        share_those_of(network, moe_heap_pop(&network->starts).id, now);
    moe_sharing_advance(network->sharing, now);
}

gint64 moe_network_done(MoeNetwork *network, double now)
{
    if (network->done.n == 0 || network->done.items[0].key > now)
        return -1;
    return moe_heap_pop(&network->done).id;
}

#include "config.h"

#include "sim/collective.h"

/* Inside the nodes at once over the scale-up domain, between them in rings, one per rail, so that
 * what crosses the nodes is the least that can. Rail c is the ranks with place c in their nodes, of P
 * places, the fewest of any node. What belongs to rail c of node m is called its bundle (m, c):
 * chunks of their own in an all-reduce, else the parts of the node's ranks at places c, c + P ...
 * With M nodes of G ranks an all-reduce takes 2 (latency + (G-1)/G B / bandwidth) inside and
 * 2 (M-1) (latency + B/(G M) / NIC) between. */
typedef struct {
    MoeSchedule *schedule;
    const MoeRanks *ranks;
    gint64 n_rails;
    gboolean parts; /* bundles are the parts of ranks */
} Work;

/* The rank of a node that works for a rail. */
static gint64 port(const Work *w, gint64 node, gint64 rail)
{
    return w->ranks->first[node] + rail;
}

/* The rail that a rank's part belongs to. */
static gint64 rail_of(const Work *w, gint64 rank, gint64 node)
{
    return (rank - w->ranks->first[node]) % w->n_rails;
}

/* Moves the bundle of @rail that belongs to @node. */
static void move_bundle(const Work *w, gint64 from, gint64 to, gint64 node, gint64 rail,
                        gboolean reduce)
{
    if (!w->parts) {
        moe_schedule_move(w->schedule, from, to, (guint32)(node * w->n_rails + rail), 1, reduce);
        return;
    }
    for (gint64 r = port(w, node, rail); r < w->ranks->first[node + 1]; r += w->n_rails)
        moe_schedule_move(w->schedule, from, to, (guint32)r, 1, reduce);
}

/* A reduction: every rank gives all bundles of a rail to the one that works for it. Else that one
 * gives them to all ranks of its node. */
static void inside(const Work *w, gboolean reduce)
{
    const MoeRanks *ranks = w->ranks;
    for (gint64 m = 0; m < ranks->n_nodes; m++)
        for (gint64 r = ranks->first[m]; r < ranks->first[m + 1]; r++)
            for (gint64 c = 0; c < w->n_rails; c++)
                for (gint64 of = 0; of < ranks->n_nodes; of++)
                    move_bundle(w, reduce ? r : port(w, m, c), reduce ? port(w, m, c) : r, of, c,
                                reduce);
    moe_schedule_round(w->schedule);
}

/* Between a rank and the one that works for its rail, where they are not the same. */
static void to_ports(const Work *w, gboolean back)
{
    const MoeRanks *ranks = w->ranks;
    gboolean any = FALSE;
    for (gint64 m = 0; m < ranks->n_nodes; m++)
        for (gint64 r = ranks->first[m]; r < ranks->first[m + 1]; r++) {
            gint64 at = port(w, m, rail_of(w, r, m));
            any = any || at != r;
            moe_schedule_move(w->schedule, back ? at : r, back ? r : at, (guint32)r, 1, FALSE);
        }
    if (any)
        moe_schedule_round(w->schedule);
}

/* One turn of the rings, as in collective_ring.c. */
static void between(const Work *w, gboolean reduce)
{
    gint64 n = w->ranks->n_nodes;
    for (gint64 t = 0; t < n - 1; t++) {
        for (gint64 c = 0; c < w->n_rails; c++)
            for (gint64 m = 0; m < n; m++)
                move_bundle(w, port(w, m, c), port(w, (m + 1) % n, c),
                            (m - t - (reduce ? 1 : 0) + n) % n, c, reduce);
        moe_schedule_round(w->schedule);
    }
}

/* The root scatters its buffer over the rails, which pass it down the nodes in pieces; then inside. */
static void broadcast(const Work *w, const MoeCollective *job)
{
    const MoeRanks *ranks = w->ranks;
    gint64 home = moe_topology_node(job->topology, job->root), n = ranks->n_nodes;
    guint32 pieces = moe_schedule_pieces(job, (job->bytes - 1) / w->n_rails + 1);
    moe_schedule_chunks(w->schedule, (guint32)w->n_rails * pieces);
    for (gint64 c = 0; c < w->n_rails; c++)
        moe_schedule_move(w->schedule, job->root, port(w, home, c), (guint32)c * pieces, pieces,
                          FALSE);
    moe_schedule_round(w->schedule);
    for (gint64 t = 0; t < n - 2 + pieces && n > 1; t++) {
        for (gint64 c = 0; c < w->n_rails; c++)
            for (gint64 p = MAX(0, t - pieces + 1); p <= MIN(t, n - 2); p++)
                moe_schedule_move(w->schedule, port(w, (home + p) % n, c),
                                  port(w, (home + p + 1) % n, c), (guint32)(c * pieces + t - p), 1,
                                  FALSE);
        moe_schedule_round(w->schedule);
    }
    for (gint64 m = 0; m < n; m++)
        for (gint64 c = 0; c < w->n_rails; c++)
            for (gint64 r = ranks->first[m]; r < ranks->first[m + 1]; r++)
                if (r != job->root)
                    moe_schedule_move(w->schedule, port(w, m, c), r, (guint32)c * pieces, pieces,
                                      FALSE);
    moe_schedule_round(w->schedule);
}

/* The fewest ranks of any node. */
static gint64 count_rails(const MoeRanks *ranks)
{
    gint64 n_rails = ranks->n_ranks;
    for (gint64 m = 0; m < ranks->n_nodes; m++)
        n_rails = MIN(n_rails, ranks->first[m + 1] - ranks->first[m]);
    return n_rails;
}

/* Of one way: within the nodes every rank with the other ones that work for rails, between them the
 * turns of the rings, and to these ranks what is not there. */
static MoeCollectiveSize size(const MoeCollective *job, const MoeRanks *ranks)
{
    double n = (double)ranks->n_ranks, nodes = (double)ranks->n_nodes;
    double rails = (double)count_rails(ranks), inside = (n - nodes) * rails;
    if (job->operation == MOE_BROADCAST) {
        gint64 bytes = (job->bytes - 1) / count_rails(ranks) + 1;
        double pieces = moe_schedule_pieces(job, bytes);
        return (MoeCollectiveSize){rails + inside + rails * (nodes - 1) * pieces, nodes + pieces};
    }
    gboolean both = job->operation == MOE_ALL_REDUCE;
    double way = inside + (nodes - 1) * nodes * rails;
    return (MoeCollectiveSize){both ? 2 * way : way + n - nodes * rails, both ? 2 * nodes : nodes};
}

static void plan(const MoeCollective *job, MoeSchedule *schedule)
{
    const MoeRanks *ranks = moe_schedule_ranks(schedule);
    Work w = {schedule, ranks, count_rails(ranks), job->operation != MOE_ALL_REDUCE};
    if (ranks->n_ranks == 1)
        return;
    if (job->operation == MOE_BROADCAST) {
        broadcast(&w, job);
        return;
    }
    moe_schedule_chunks(schedule, (guint32)(w.parts ? ranks->n_ranks : ranks->n_nodes * w.n_rails));
    if (job->operation == MOE_ALL_GATHER) {
        to_ports(&w, FALSE);
        between(&w, FALSE);
        inside(&w, FALSE);
        return;
    }
    inside(&w, TRUE);
    between(&w, TRUE);
    if (job->operation == MOE_REDUCE_SCATTER) {
        to_ports(&w, TRUE);
        return;
    }
    between(&w, FALSE);
    inside(&w, FALSE);
}

const MoeCollectiveKind moe_collective_hierarchical = {
    "hierarchical",
    "at once inside the nodes, in rings between them",
    1U << MOE_ALL_REDUCE | 1U << MOE_ALL_GATHER | 1U << MOE_REDUCE_SCATTER | 1U << MOE_BROADCAST,
    FALSE,
    plan,
    size};

#include "config.h"

#include "sim/collective.h"

/* One ring per channel through all ranks, node by node. On even nodes the ring of channel c goes
 * upwards from port c and leaves at the rank before it, on odd nodes the same way back, so that
 * messages between nodes stay on one rail (as NCCL's crossing rings). Every channel carries its
 * part of each rank's part. */
static gint64 *order_of(const MoeRanks *ranks, gint64 channel)
{
    gint64 *order = g_new(gint64, ranks->n_ranks), at = 0;
    for (gint64 m = 0; m < ranks->n_nodes; m++) {
        gint64 first = ranks->first[m], n = ranks->first[m + 1] - first;
        gint64 port = ranks->ports[m * ranks->n_channels + channel] - first;
        for (gint64 k = 0; k < n; k++)
            order[at++] = first + (port + (m % 2 == 0 ? k : n - 1 - k)) % n;
    }
    return order;
}

/* N-1 rounds: in round t the rank at place p of the ring sends the part of the rank at place p - t -
 * @lead to the next one (Patarasu, Yuan 2009). All places at once, so a round takes step + latency +
 * (B/N) / bandwidth. */
static void turn(MoeSchedule *schedule, gint64 *const *orders, gint64 lead, gboolean reduce)
{
    const MoeRanks *ranks = moe_schedule_ranks(schedule);
    gint64 n = ranks->n_ranks, n_channels = ranks->n_channels;
    for (gint64 t = 0; t < n - 1; t++) {
        for (gint64 c = 0; c < n_channels; c++)
            for (gint64 p = 0; p < n; p++) {
                gint64 owner = orders[c][(p - t - lead + 2 * n) % n];
                moe_schedule_move(schedule, orders[c][p], orders[c][(p + 1) % n],
                                  (guint32)(owner * n_channels + c), 1, reduce);
            }
        moe_schedule_round(schedule);
    }
}

/* K pieces behind each other down the ring: K + N - 2 rounds. */
static void pass_on(const MoeCollective *job, MoeSchedule *schedule, gint64 *const *orders)
{
    const MoeRanks *ranks = moe_schedule_ranks(schedule);
    gint64 n = ranks->n_ranks, n_channels = ranks->n_channels;
    guint32 pieces = moe_schedule_pieces(job, (job->bytes - 1) / n_channels + 1);
    moe_schedule_chunks(schedule, (guint32)n_channels * pieces);
    for (gint64 t = 0; t < n - 2 + pieces && n > 1; t++) {
        for (gint64 c = 0; c < n_channels; c++) {
            gint64 start = 0;
            while (orders[c][start] != job->root)
                start++;
            for (gint64 p = MAX(0, t - pieces + 1); p <= MIN(t, n - 2); p++)
                moe_schedule_move(schedule, orders[c][(start + p) % n],
                                  orders[c][(start + p + 1) % n], (guint32)(c * pieces + t - p), 1,
                                  FALSE);
        }
        moe_schedule_round(schedule);
    }
}

/* Every rank has one next rank in a round, at a node's border one per channel. Of pieces, those of all
 * channels go together inside of a node but at the beginning and the end. */
static MoeCollectiveSize size(const MoeCollective *job, const MoeRanks *ranks)
{
    gint64 n = ranks->n_ranks, nodes = ranks->n_nodes, channels = ranks->n_channels;
    if (job->operation == MOE_SEND_RECEIVE)
        return (MoeCollectiveSize){(double)n, 1};
    if (job->operation == MOE_BROADCAST) {
        gint64 pieces = moe_schedule_pieces(job, (job->bytes - 1) / channels + 1);
        gint64 messages = pieces * (nodes - 1) * channels + (pieces + channels - 1) * (n - nodes);
        return (MoeCollectiveSize){(double)messages, (double)(n - 2 + pieces)};
    }
    double turns = job->operation == MOE_ALL_REDUCE ? 2 : 1, rounds = turns * (double)(n - 1);
    return (MoeCollectiveSize){rounds * (double)(n + nodes * (channels - 1)), rounds};
}

static void plan(const MoeCollective *job, MoeSchedule *schedule)
{
    const MoeRanks *ranks = moe_schedule_ranks(schedule);
    gint64 **orders = g_new(gint64 *, ranks->n_channels);
    for (gint64 c = 0; c < ranks->n_channels; c++)
        orders[c] = order_of(ranks, c);
    if (job->operation == MOE_SEND_RECEIVE) {
        for (gint64 r = 0; r < ranks->n_ranks; r++)
            moe_schedule_move(schedule, r, (r + 1) % ranks->n_ranks, 0, 1, FALSE);
        moe_schedule_round(schedule);
    } else if (job->operation == MOE_BROADCAST) {
        pass_on(job, schedule, orders);
    } else {
        moe_schedule_chunks(schedule, (guint32)(ranks->n_ranks * ranks->n_channels));
        if (job->operation != MOE_ALL_GATHER)
            turn(schedule, orders, 1, TRUE);
        if (job->operation != MOE_REDUCE_SCATTER)
            turn(schedule, orders, 0, FALSE);
    }
    for (gint64 c = 0; c < ranks->n_channels; c++)
        g_free(orders[c]);
    g_free(orders);
}

const MoeCollectiveKind moe_collective_ring = {
    "ring",
    "parts go round, N-1 rounds per turn; one ring per NIC of a node",
    1U << MOE_ALL_REDUCE | 1U << MOE_ALL_GATHER | 1U << MOE_REDUCE_SCATTER | 1U << MOE_BROADCAST |
        1U << MOE_SEND_RECEIVE,
    FALSE,
    plan,
    size};

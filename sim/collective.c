#include "config.h"

#include "sim/collective.h"

#include "sim/alltoall.h"
#include "sim/base/memory.h"

#include <math.h>
#include <string.h>

static const MoeCollectiveKind *const kinds[] = {
    &moe_collective_ring,   &moe_collective_tree, &moe_collective_hierarchical,
    &moe_collective_direct, &moe_collective_nvls,
};

const char *const *moe_operation_names(void)
{
    static const char *const names[MOE_OPERATION_COUNT + 1] = {
        "all-reduce", "all-gather", "reduce-scatter", "broadcast", "send-receive", "all-to-all",
    };
    return names;
}

double moe_operation_bus_factor(MoeOperation operation, gint64 n_ranks)
{
    double share = (double)(n_ranks - 1) / (double)n_ranks;
    switch (operation) {
    case MOE_ALL_REDUCE:
        return 2 * share;
    case MOE_ALL_GATHER:
    case MOE_REDUCE_SCATTER:
    case MOE_ALL_TO_ALL:
        return share;
    default:
        return 1;
    }
}

const char **moe_collective_algorithms(MoeOperation operation)
{
    const char **names = g_new0(const char *, G_N_ELEMENTS(kinds) + 1);
    size_t n = 0;
    if (operation == MOE_ALL_TO_ALL) {
        g_free(names);
        return g_memdup2(moe_alltoall_names(),
                         (g_strv_length((char **)moe_alltoall_names()) + 1) * sizeof(char *));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if ((kinds[i]->operations & 1U << operation) != 0)
            names[n++] = kinds[i]->name;
    return names;
}

gboolean moe_collective_does(const char *operation, const char *algorithm, GError **error)
{
    int index = 0;
    while (strcmp(moe_operation_names()[index], operation) != 0)
        index++;
    g_autofree const char **known = moe_collective_algorithms((MoeOperation)index);
    if (g_strv_contains(known, algorithm))
        return TRUE;
    g_autofree char *all = g_strjoinv(", ", (char **)known);
    return moe_fail(error, MOE_ERROR_INPUT, "algorithm: '%s' is none that does %s; write one of %s",
                    algorithm, operation, all);
}

/* --- the schedule ----------------------------------------------------------------------------- */

/* What moves from one rank to another in a round. */
typedef struct {
    guint32 from, to;
    gint64 bytes;
} Sum;

struct MoeSchedule {
    const MoeCollective *job;
    MoePrograms *programs;
    MoeRanks ranks;
    guint32 n_chunks, round;
    GArray *sums;   /* Sum: of the round that is being filled; of one pair perhaps several */
    GError **error; /* set when a message has no route */
};

/* The ranks that have a NIC which none before them has. */
static gint64 count_ports(const MoeTopology *topology, gint64 first, gint64 end, gint64 *ports)
{
    gint64 n = 0;
    for (gint64 r = first; r < end; r++) {
        gint64 nic = moe_topology_nic(topology, r), seen = 0;
        for (gint64 earlier = first; earlier < r && seen == 0; earlier++)
            seen = moe_topology_nic(topology, earlier) == nic;
        if (seen == 0)
            ports[n++] = r;
    }
    return n;
}

static void ranks_clear(MoeRanks *ranks)
{
    g_free(ranks->first);
    g_free(ranks->ports);
}

static void find_ranks(const MoeTopology *topology, gint64 n_ranks, MoeRanks *ranks)
{
    ranks->n_ranks = n_ranks;
    ranks->n_nodes = moe_topology_node(topology, n_ranks - 1) + 1;
    ranks->first = g_new(gint64, ranks->n_nodes + 1);
    ranks->first[0] = 0;
    for (gint64 r = 0; r < n_ranks; r++)
        ranks->first[moe_topology_node(topology, r) + 1] = r + 1;
    g_autofree gint64 *ports = g_new0(gint64, n_ranks);
    ranks->n_channels = ranks->n_nodes > 1 ? n_ranks : 1;
    for (gint64 m = 0; m < ranks->n_nodes && ranks->n_nodes > 1; m++)
        ranks->n_channels = MIN(ranks->n_channels,
                                count_ports(topology, ranks->first[m], ranks->first[m + 1], ports));
    ranks->ports = g_new(gint64, ranks->n_nodes * ranks->n_channels);
    ranks->ports[0] = 0;
    for (gint64 m = 0; m < ranks->n_nodes && ranks->n_nodes > 1; m++) {
        count_ports(topology, ranks->first[m], ranks->first[m + 1], ports);
        memcpy(&ranks->ports[m * ranks->n_channels], ports,
               (gsize)ranks->n_channels * sizeof(gint64));
    }
}

const MoeRanks *moe_schedule_ranks(const MoeSchedule *schedule)
{
    return &schedule->ranks;
}

void moe_schedule_chunks(MoeSchedule *schedule, guint32 count)
{
    schedule->n_chunks = count;
}

guint32 moe_schedule_pieces(const MoeCollective *job, gint64 bytes)
{
    static const gint64 most = 256;
    return (guint32)CLAMP((bytes - 1) / job->chunk + 1, 1, most);
}

/* The first byte of a chunk. */
static gint64 border(const MoeSchedule *schedule, guint32 chunk)
{
    return (gint64)((__int128)schedule->job->bytes * chunk / schedule->n_chunks);
}

/* Algorithms that move many chunks between two ranks name them one after the other: these are added
 * up at once, or a round would take memory with the square of the ranks. */
void moe_schedule_move(MoeSchedule *schedule, gint64 from, gint64 to, guint32 first, guint32 count,
                       gboolean reduce)
{
    MoeMove move = {schedule->round, (guint32)from, (guint32)to, first, count, reduce};
    GArray *sums = schedule->sums;
    g_assert(count >= 1 && first + count <= schedule->n_chunks);
    if (from == to)
        return;
    if (schedule->job->moves != NULL)
        g_array_append_val(schedule->job->moves, move);
    Sum sum = {move.from, move.to, border(schedule, first + count) - border(schedule, first)};
    Sum *last = sums->len > 0 ? &g_array_index(sums, Sum, sums->len - 1) : NULL;
    if (last != NULL && last->from == sum.from && last->to == sum.to)
        last->bytes += sum.bytes;
    else
        g_array_append_val(sums, sum);
}

static int compare_sums(gconstpointer a, gconstpointer b)
{
    const Sum *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

/* A message of the round, and what it costs its sender. */
static void send(MoeSchedule *schedule, guint32 from, guint32 to, gint64 bytes)
{
    const MoeCollective *job = schedule->job;
    MoeFabric fabric = moe_topology_fabric(job->topology, from, to);
    guint32 links[MOE_ROUTE_MOST];
    if (bytes == 0 || *schedule->error != NULL)
        return;
    if (moe_topology_route(job->topology, fabric, from, to, links) == 0) {
        moe_fail(schedule->error, MOE_ERROR_INPUT,
                 "no route from GPU %u to GPU %u over the %s fabric, and %s by %s needs one", from,
                 to, moe_fabric_name(fabric), moe_operation_names()[job->operation],
                 job->algorithm);
        return;
    }
    moe_programs_send(schedule->programs, from, to, fabric, bytes);
    GArray *ops = schedule->programs->ranks[from].ops;
    g_array_index(ops, MoeOp, ops->len - 1).seconds +=
        job->message + (isnan(job->rate) ? 0 : (double)bytes / job->rate);
}

static void begin_round(MoeSchedule *schedule)
{
    moe_programs_exchange(schedule->programs, schedule->job->phase,
                          schedule->round == 0 ? schedule->job->startup : 0);
}

static void end_round(MoeSchedule *schedule)
{
    g_array_set_size(schedule->sums, 0);
    schedule->round++;
}

void moe_schedule_round(MoeSchedule *schedule)
{
    GArray *sums = schedule->sums;
    begin_round(schedule);
    g_array_sort(sums, compare_sums);
    gint64 bytes = 0;
    for (guint i = 0; i < sums->len; i++) {
        const Sum *sum = &g_array_index(sums, Sum, i), *next = sum + 1;
        bytes += sum->bytes;
        if (i + 1 < sums->len && next->from == sum->from && next->to == sum->to)
            continue;
        send(schedule, sum->from, sum->to, bytes);
        bytes = 0;
    }
    end_round(schedule);
}

/* Messages have two ends, sums in a switch have not: what every rank sends into the switch is taken
 * to come out at the next rank, so that each link carries the bytes that it would. */
void moe_schedule_in_switch(MoeSchedule *schedule, gint64 bytes)
{
    guint32 n = (guint32)schedule->ranks.n_ranks;
    begin_round(schedule);
    for (guint32 r = 0; r < n && n > 1; r++)
        send(schedule, r, (r + 1) % n, bytes);
    end_round(schedule);
}

/* --- lowering --------------------------------------------------------------------------------- */

static gboolean lower_all_to_all(const MoeCollective *job, MoePrograms *programs, GError **error)
{
    gint64 n = programs->n_ranks;
    MoeSchedule parts = {.job = job, .n_chunks = (guint32)n};
    g_autofree gint64 *bytes = g_new(gint64, n * n);
    for (gint64 i = 0; i < n * n; i++) {
        bytes[i] = border(&parts, (guint32)(i % n) + 1) - border(&parts, (guint32)(i % n));
    }
    const MoeKernelCost cost = {
        .startup = job->startup,
        .message = job->message,
        .token = isnan(job->rate) ? 0 : 1 / job->rate, /* what counts as a token is a byte here */
    };
    return moe_alltoall_bytes(job->topology, job->algorithm, bytes, job->phase, &cost, programs,
                              error);
}

/* Every rank has an operation for each round. */
static gboolean check_memory(const MoeCollective *job, gint64 n_ranks, GError **error)
{
    const MoeCollectiveSize size = moe_collective_size(job, n_ranks);
    double n = (double)n_ranks;
    double bytes = n * size.rounds * MOE_OPERATION_BYTES + size.messages * MOE_MESSAGE_BYTES +
                   (job->operation == MOE_ALL_TO_ALL ? n * n * sizeof(gint64) : 0);
    return moe_memory_check(bytes, "a collective of so many ranks", error);
}

static gboolean check_node(const MoeCollective *job, const MoeCollectiveKind *kind, gint64 n_ranks,
                           GError **error)
{
    gint64 n_nodes = moe_topology_node(job->topology, n_ranks - 1) + 1;
    const MoeGroup *group = moe_topology_group(job->topology, 0);
    if (!kind->one_node || (n_nodes == 1 && group->scale_up == &moe_scale_up_nvswitch))
        return TRUE;
    return moe_fail(error, MOE_ERROR_INPUT,
                    "algorithm: %s works inside the switch of one node, and %" G_GINT64_FORMAT
                    " ranks are on %" G_GINT64_FORMAT " node%s of kind %s",
                    kind->name, n_ranks, n_nodes, n_nodes == 1 ? "" : "s", group->scale_up->name);
}

/* NULL: none is called so. */
static const MoeCollectiveKind *find_kind(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

static gboolean plan(const MoeCollective *job, MoeSchedule *schedule, GError **error)
{
    const MoeCollectiveKind *kind = find_kind(job->algorithm);
    if (kind != NULL && !check_node(job, kind, schedule->programs->n_ranks, error))
        return FALSE;
    if (kind != NULL)
        kind->plan(job, schedule);
    if (schedule->round == 0) /* one rank alone launches its kernel too */
        moe_schedule_round(schedule);
    return TRUE;
}

gboolean moe_collective_lower(const MoeCollective *job, MoePrograms *programs, GError **error)
{
    g_autoptr(GError) route_error = NULL;
    if (!check_memory(job, programs->n_ranks, error))
        return FALSE;
    if (job->operation == MOE_ALL_TO_ALL)
        return lower_all_to_all(job, programs, error);
    MoeSchedule schedule = {
        .job = job,
        .programs = programs,
        .n_chunks = 1,
        .sums = g_array_new(FALSE, FALSE, sizeof(Sum)),
        .error = &route_error,
    };
    find_ranks(job->topology, programs->n_ranks, &schedule.ranks);
    gboolean good = plan(job, &schedule, error);
    ranks_clear(&schedule.ranks);
    g_array_unref(schedule.sums);
    if (route_error != NULL)
        g_propagate_error(error, g_steal_pointer(&route_error));
    return good && (error == NULL || *error == NULL);
}

MoeCollectiveSize moe_collective_size(const MoeCollective *job, gint64 n_ranks)
{
    const MoeCollectiveKind *kind = find_kind(job->algorithm);
    double n = (double)n_ranks;
    if (n_ranks < 2)
        return (MoeCollectiveSize){0, 1};
    if (job->operation == MOE_ALL_TO_ALL || kind == NULL)
        return (MoeCollectiveSize){n * (n - 1), n - 1}; /* at most */
    MoeRanks ranks;
    find_ranks(job->topology, n_ranks, &ranks);
    const MoeCollectiveSize size = kind->size(job, &ranks);
    ranks_clear(&ranks);
    return size;
}

double moe_collective_estimate(const MoeTopology *topology, const MoePrograms *programs)
{
    double sum = 0;
    for (guint i = 0; i < programs->ranks[0].ops->len; i++) {
        double slowest = 0;
        for (gint64 r = 0; r < programs->n_ranks; r++) {
            const MoeOp *op = &g_array_index(programs->ranks[r].ops, MoeOp, i);
            double latency = 0, wire[MOE_FABRIC_COUNT] = {0};
            for (guint32 s = op->first_send; s < op->first_send + op->n_sends; s++) {
                const MoeMessage *m = &g_array_index(programs->ranks[r].sends, MoeMessage, s);
                MoeFabric fabric = (MoeFabric)m->fabric;
                latency = fmax(latency, moe_topology_latency(topology, fabric, r, m->peer));
                wire[fabric] +=
                    (double)m->bytes / moe_topology_bandwidth(topology, fabric, r, m->peer);
            }
            slowest =
                fmax(slowest, op->seconds + latency +
                                  fmax(wire[MOE_FABRIC_SCALE_UP], wire[MOE_FABRIC_SCALE_OUT]));
        }
        sum += slowest;
    }
    return sum;
}

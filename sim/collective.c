#include "config.h"

#include "sim/collective.h"

#include "sim/alltoall.h"
#include "sim/base/memory.h"
#include "sim/engine.h"

#include <math.h>
#include <string.h>

static const MoeCollectiveKind *const kinds[] = {
    &moe_collective_ring,
    &moe_collective_tree,
    &moe_collective_hierarchical,
    &moe_collective_direct,
};

const char *const *moe_operation_names(void)
{
    static const char *const names[MOE_OPERATION_COUNT + 1] = {
        "all-reduce", "all-gather", "reduce-scatter", "broadcast", "send-receive", "all-to-all",
    };
    return names;
}

const char *const *moe_collective_kernels(void)
{
    static const char *names[MOE_ALL_TO_ALL + 1];
    for (int i = 0; i < MOE_ALL_TO_ALL; i++)
        names[i] = moe_operation_names()[i];
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

/* --- the schedule ----------------------------------------------------------------------------- */

struct MoeSchedule {
    const MoeCollective *job;
    MoePrograms *programs;
    MoeRanks ranks;
    guint32 n_chunks, round;
    GArray *moves; /* MoeMove: of the round that is being filled */
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

void moe_schedule_move(MoeSchedule *schedule, gint64 from, gint64 to, guint32 first, guint32 count,
                       gboolean reduce)
{
    MoeMove move = {schedule->round, (guint32)from, (guint32)to, first, count, reduce};
    g_assert(count >= 1 && first + count <= schedule->n_chunks);
    if (from != to)
        g_array_append_val(schedule->moves, move);
}

static int compare_moves(gconstpointer a, gconstpointer b)
{
    const MoeMove *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* The first byte of a chunk. */
static gint64 border(const MoeSchedule *schedule, guint32 chunk)
{
    return (gint64)((__int128)schedule->job->bytes * chunk / schedule->n_chunks);
}

void moe_schedule_round(MoeSchedule *schedule)
{
    const MoeCollective *job = schedule->job;
    GArray *moves = schedule->moves;
    moe_programs_exchange(schedule->programs, job->phase, schedule->round == 0 ? job->startup : 0);
    g_array_sort(moves, compare_moves);
    gint64 bytes = 0;
    for (guint i = 0; i < moves->len; i++) {
        const MoeMove *m = &g_array_index(moves, MoeMove, i), *next = m + 1;
        bytes += border(schedule, m->first + m->count) - border(schedule, m->first);
        if (i + 1 < moves->len && next->from == m->from && next->to == m->to)
            continue;
        if (bytes > 0)
            moe_programs_send(schedule->programs, m->from, m->to,
                              moe_topology_fabric(job->topology, m->from, m->to),
                              (gint64)ceil((double)bytes * job->overhead));
        bytes = 0;
    }
    for (gint64 r = 0; r < schedule->programs->n_ranks; r++) {
        GArray *ops = schedule->programs->ranks[r].ops;
        MoeOp *op = &g_array_index(ops, MoeOp, ops->len - 1);
        op->seconds += job->message * op->n_sends;
    }
    if (job->moves != NULL)
        g_array_append_vals(job->moves, moves->data, moves->len);
    g_array_set_size(moves, 0);
    schedule->round++;
}

/* --- lowering --------------------------------------------------------------------------------- */

static void lower_all_to_all(const MoeCollective *job, MoePrograms *programs)
{
    gint64 n = programs->n_ranks;
    MoeSchedule parts = {.job = job, .n_chunks = (guint32)n};
    g_autofree gint64 *bytes = g_new(gint64, n * n);
    for (gint64 i = 0; i < n * n; i++) {
        gint64 part = border(&parts, (guint32)(i % n) + 1) - border(&parts, (guint32)(i % n));
        bytes[i] = (gint64)ceil((double)part * job->overhead);
    }
    const MoeAllToAll alltoall = {
        .topology = job->topology,
        .bytes = bytes,
        .phase = job->phase,
        .startup = job->startup,
    };
    for (int i = 0; moe_alltoall_names()[i] != NULL; i++)
        if (strcmp(moe_alltoall_names()[i], job->algorithm) == 0)
            moe_alltoall_kind(i)->lower(&alltoall, programs);
}

/* Every rank has an operation for each round, and sends a message to each neighbour in it; rings
 * have the most rounds, direct algorithms the most neighbours. */
static gboolean check_memory(const MoeCollective *job, gint64 n_ranks, GError **error)
{
    double n = (double)n_ranks, pieces = moe_schedule_pieces(job, job->bytes),
           rounds = 2 * n + 2 * pieces;
    double bytes =
        job->operation == MOE_ALL_TO_ALL
            ? n * n * (sizeof(gint64) + sizeof(MoeOp) + 2 * sizeof(MoeMessage))
            : n * rounds * (sizeof(MoeOp) + sizeof(MoeInterval) + 4 * sizeof(MoeMessage)) +
                  n * n * 2 * sizeof(MoeMessage);
    return moe_memory_check(bytes, "a collective of so many ranks", error);
}

gboolean moe_collective_lower(const MoeCollective *job, MoePrograms *programs, GError **error)
{
    if (!check_memory(job, programs->n_ranks, error))
        return FALSE;
    if (job->operation == MOE_ALL_TO_ALL) {
        lower_all_to_all(job, programs);
        return TRUE;
    }
    MoeSchedule schedule = {
        .job = job,
        .programs = programs,
        .n_chunks = 1,
        .moves = g_array_new(FALSE, FALSE, sizeof(MoeMove)),
    };
    find_ranks(job->topology, programs->n_ranks, &schedule.ranks);
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(kinds[i]->name, job->algorithm) == 0)
            kinds[i]->plan(job, &schedule);
    if (schedule.round == 0) /* one rank alone launches its kernel too */
        moe_schedule_round(&schedule);
    g_free(schedule.ranks.first);
    g_free(schedule.ranks.ports);
    g_array_unref(schedule.moves);
    return TRUE;
}

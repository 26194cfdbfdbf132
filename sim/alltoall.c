#include "config.h"

#include "sim/alltoall.h"

#include <math.h>
#include <string.h>

static const MoeAllToAllKind *const kinds[] = {
    &moe_alltoall_direct,
    &moe_alltoall_pairwise,
    &moe_alltoall_windowed,
    &moe_alltoall_hierarchical,
    &moe_alltoall_rail_forward,
    &moe_alltoall_deepep_normal,
    &moe_alltoall_deepep_low_latency,
    &moe_alltoall_one_sided,
    &moe_alltoall_nccl_ep_low_latency,
};

enum { DEFAULT_WINDOW = 8 };

const char *const *moe_alltoall_names(void)
{
    static const char *names[G_N_ELEMENTS(kinds) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        names[i] = kinds[i]->name;
    return names;
}

const MoeAllToAllKind *moe_alltoall_kind(int index)
{
    return kinds[index];
}

/* --- options --------------------------------------------------------------------------------- */

static const struct {
    const char *key;
    guint option;
} options[] = {
    {"deduplicate", MOE_TAKES_DEDUPLICATE}, {"window", MOE_TAKES_WINDOW},
    {"chunks", MOE_TAKES_CHUNKS},           {"local", MOE_TAKES_LOCAL},
    {"padding", MOE_TAKES_PADDING},         {"capacity_factor", MOE_TAKES_PADDING},
};

void moe_alltoall_describe(GString *text)
{
    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
        g_autoptr(GString) takes = g_string_new(NULL);
        for (size_t o = 0; o < G_N_ELEMENTS(options); o++)
            if (kinds[k]->takes & options[o].option)
                g_string_append_printf(takes, "%s%s", takes->len > 0 ? ", " : "", options[o].key);
        g_string_append_printf(text, "    %-20s %s\n", kinds[k]->name, kinds[k]->summary);
        if (takes->len > 0)
            g_string_append_printf(text, "    %-20s takes %s\n", "", takes->str);
    }
}

static gboolean fail_option(const MoeNode *value, const char *name, const char *algorithm,
                            size_t option, GError **error)
{
    g_autoptr(GString) takers = g_string_new(NULL);
    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++)
        if (kinds[k]->takes & options[option].option)
            g_string_append_printf(takers, "%s%s", takers->len > 0 ? ", " : "", kinds[k]->name);
    return moe_node_fail(value, error, "%s: %s: %s does not take it; these do: %s", name,
                         options[option].key, algorithm, takers->str);
}

gboolean moe_alltoall_resolve(MoeTransfer *transfer, const MoeNode *node, const char *name,
                              GError **error)
{
    const MoeAllToAllKind *kind = kinds[transfer->algorithm];
    const MoeNode *chosen = node != NULL ? moe_node_get(node, "algorithm") : NULL;
    for (size_t o = 0; o < G_N_ELEMENTS(options); o++) {
        const MoeNode *value = node != NULL ? moe_node_get(node, options[o].key) : NULL;
        if (value == NULL || moe_node_is_null(value) || (kind->takes & options[o].option) ||
            moe_node_overrides(chosen, value))
            continue;
        return fail_option(value, name, kind->name, o, error);
    }
    if (transfer->chunks == 0)
        transfer->chunks = kind->chunks;
    if (transfer->window == 0 && (kind->takes & MOE_TAKES_WINDOW))
        transfer->window = DEFAULT_WINDOW;
    if (!(kind->takes & MOE_TAKES_PADDING))
        transfer->padding = MOE_PADDING_NONE;
    transfer->deduplicate =
        kind->unique || (transfer->deduplicate && (kind->takes & MOE_TAKES_DEDUPLICATE));
    if (transfer->padding == MOE_PADDING_EXPERT && transfer->deduplicate)
        return moe_node_fail(moe_node_get(node, "padding"), error,
                             "%s: padding: buffers of experts hold a copy for each of them; take "
                             "deduplicate away, or pad to rank",
                             name);
    return TRUE;
}

/* --- messages -------------------------------------------------------------------------------- */

void moe_alltoall_exchange(MoeAllToAll *job)
{
    moe_programs_exchange(job->programs, job->phase, job->started ? 0 : job->cost.startup);
    moe_programs_last(job->programs, job->started ? 0 : job->cost.pass);
    job->started = TRUE;
}

/* The current chunks' part of @n. */
static gint64 part(const MoeAllToAll *job, gint64 n)
{
    if (job->first_chunk == 0 && job->end_chunk == job->n_chunks)
        return n; /* nearly always, and without divisions */
    return n * job->end_chunk / job->n_chunks - n * job->first_chunk / job->n_chunks;
}

void moe_alltoall_put(MoeAllToAll *job, gint64 from, gint64 to, MoeFabric fabric, gint64 tokens,
                      gint64 at_home, gint64 at_end)
{
    gint64 sender = job->back ? to : from, receiver = job->back ? from : to;
    gint64 n = part(job, tokens);
    if (from == to)
        return;
    job->delivered[to] += part(job, at_end);
    if (n == 0)
        return;
    /* A sum that a combine sends holds the results of its sender and those that it passes on. */
    gint64 own = MIN(part(job, job->back ? at_end : at_home), n);
    job->own[sender] += own;
    job->forwarded[sender] += n - own;
    if (moe_routes_get(job->programs->routes, job->topology, fabric, sender, receiver).n == 0) {
        if (!job->failed) {
            job->failed_from = sender;
            job->failed_to = receiver;
            job->failed_fabric = fabric;
        }
        job->failed = TRUE;
        return;
    }
    double chunks = (double)(job->end_chunk - job->first_chunk) / (double)job->n_chunks;
    moe_programs_send(job->programs, sender, receiver, fabric, n * job->token_bytes);
    moe_programs_delay(job->programs, sender,
                       job->cost.message * chunks + job->cost.token * (double)n);
}

MoeFabric moe_alltoall_fabric(const MoeAllToAll *job, gint64 from, gint64 to)
{
    return job->back ? moe_topology_fabric(job->topology, to, from)
                     : moe_topology_fabric(job->topology, from, to);
}

void moe_alltoall_send(MoeAllToAll *job, gint64 from, gint64 to)
{
    gint64 n = job->copies[from * job->programs->n_ranks + to];
    if (from != to && n > 0)
        moe_alltoall_put(job, from, to, moe_alltoall_fabric(job, from, to), n, n, n);
}

void moe_alltoall_send_all(MoeAllToAll *job)
{
    gint64 n = job->programs->n_ranks;
    moe_alltoall_exchange(job);
    for (gint64 from = 0; from < n; from++)
        for (gint64 offset = 1; offset < n; offset++)
            moe_alltoall_send(job, from, (from + offset) % n);
}

void moe_alltoall_send_all_over(MoeAllToAll *job, MoeFabric fabric)
{
    gint64 n = job->programs->n_ranks;
    moe_alltoall_exchange(job);
    for (gint64 from = 0; from < n; from++) {
        for (gint64 offset = 1; offset < n; offset++) {
            gint64 to = (from + offset) % n, tokens = job->copies[from * n + to];
            moe_alltoall_put(job, from, to, fabric, tokens, tokens, tokens);
        }
    }
}

gint64 moe_alltoall_one_exchange(const MoeTransfer *transfer, gint64 n_ranks)
{
    (void)transfer;
    (void)n_ranks;
    return 1;
}

/* --- nodes ----------------------------------------------------------------------------------- */

gint64 moe_alltoall_first(const MoeAllToAll *job, gint64 node)
{
    return moe_topology_machine(job->topology, node)->first_gpu;
}

gint64 moe_alltoall_count(const MoeAllToAll *job, gint64 node)
{
    const MoeMachine *machine = moe_topology_machine(job->topology, node);
    return MIN(machine->n_gpus, job->programs->n_ranks - machine->first_gpu);
}

gint64 moe_alltoall_rail(const MoeAllToAll *job, gint64 node, gint64 rank)
{
    gint64 place = rank - moe_alltoall_first(job, moe_topology_node(job->topology, rank));
    return moe_alltoall_first(job, node) + place % moe_alltoall_count(job, node);
}

/* --- pipelines ------------------------------------------------------------------------------- */

static void run_stages(MoeAllToAll *job, const MoeAllToAllStage *stages, gint64 n_stages,
                       gint64 first, gint64 end)
{
    moe_alltoall_exchange(job);
    for (gint64 s = 0; s < n_stages; s++) {
        job->first_chunk = CLAMP(first - s, 0, job->n_chunks);
        job->end_chunk = CLAMP(end - s, 0, job->n_chunks);
        if (job->first_chunk < job->end_chunk)
            stages[job->back ? n_stages - 1 - s : s](job);
    }
}

void moe_alltoall_pipeline(MoeAllToAll *job, const MoeAllToAllStage *stages, gint64 n_stages)
{
    gint64 steps = job->n_chunks = MAX(job->transfer->chunks, 1), step = 0;
    steps += n_stages - 1;
    while (step < steps) {
        gboolean full = step == n_stages - 1 && job->n_chunks >= n_stages;
        gint64 end = full ? job->n_chunks : step + 1;
        run_stages(job, stages, n_stages, step, end);
        step = end;
    }
}

gint64 moe_alltoall_pipeline_exchanges(gint64 n_chunks, gint64 n_stages)
{
    return MIN(n_chunks + n_stages - 1, 2 * n_stages - 1);
}

/* --- lowering -------------------------------------------------------------------------------- */

static gboolean fail_route(const MoeAllToAll *job, const char *algorithm, GError **error)
{
    const MoeTopology *t = job->topology;
    gint64 a = job->failed_from, b = job->failed_to;
    const char *name_a = g_array_index(t->vertices, MoeVertex, a).name;
    const char *name_b = g_array_index(t->vertices, MoeVertex, b).name;
    gboolean apart = job->failed_fabric == MOE_FABRIC_SCALE_UP &&
                     moe_topology_node(t, a) != moe_topology_node(t, b);
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s must send from %s (GPU %" G_GINT64_FORMAT ") to %s (GPU %" G_GINT64_FORMAT
                    ") over the %s fabric, which has no route; %s",
                    algorithm, name_a, a, name_b, b, moe_fabric_name(job->failed_fabric),
                    apart ? "it works inside of one scale-up domain: take fewer ranks, larger "
                            "nodes, or another algorithm"
                          : "repair or add a link, or take another algorithm");
}

static gboolean broken(const MoeAllToAll *job, const MoeAllToAllKind *kind, gint64 rank,
                       const char *what, gint64 is, gint64 expected, GError **error)
{
    return moe_fail(error, MOE_ERROR_FAILED,
                    "invariant broken: %s, %s: rank %" G_GINT64_FORMAT " %s %" G_GINT64_FORMAT
                    ", expected %" G_GINT64_FORMAT "; please report this as a bug",
                    moe_phase_name(job->phase), kind->name, rank, what, is, expected);
}

/* Bytes of the messages of @rank from operation @first on. */
static gint64 message_bytes(const MoePrograms *programs, gint64 rank, guint first, gboolean sent)
{
    const MoeProgram *program = &programs->ranks[rank];
    const GArray *messages = sent ? program->sends : program->recvs;
    const MoeOp *op = first < program->ops->len ? &g_array_index(program->ops, MoeOp, first) : NULL;
    guint begin = op == NULL ? messages->len : sent ? op->first_send : op->first_recv;
    gint64 bytes = 0;
    for (guint i = begin; i < messages->len; i++)
        bytes += g_array_index(messages, MoeMessage, i).bytes;
    return bytes;
}

static gboolean check(const MoeAllToAll *job, const MoeAllToAllKind *kind, guint first_op,
                      GError **error)
{
    gint64 R = job->programs->n_ranks, sent = 0, received = 0;
    g_autofree gint64 *rows = g_new0(gint64, R), *columns = g_new0(gint64, R);
    for (gint64 r = 0; r < R; r++)
        for (gint64 other = 0; other < R; other++) {
            rows[r] += job->copies[r * R + other];
            columns[other] += job->copies[r * R + other];
        }
    for (gint64 r = 0; r < R; r++) {
        gint64 column = columns[r], limit = job->back ? column : rows[r];
        gint64 stay = job->copies[r * R + r];
        if (job->own[r] > limit)
            return broken(job, kind, r, "sends more than its copies:", job->own[r], limit, error);
        if (job->delivered[r] != column - stay)
            return broken(job, kind, r, "is due other copies:", job->delivered[r], column - stay,
                          error);
        if (!kind->forwards && job->own[r] != limit - stay)
            return broken(job, kind, r, "sends copies:", job->own[r], limit - stay, error);
        if (!kind->forwards && job->forwarded[r] != 0)
            return broken(job, kind, r, "passes on copies:", job->forwarded[r], 0, error);
        gint64 bytes = message_bytes(job->programs, r, first_op, TRUE);
        gint64 counted = (job->own[r] + job->forwarded[r]) * job->token_bytes;
        if (bytes != counted)
            return broken(job, kind, r, "sends bytes:", bytes, counted, error);
        sent += bytes;
        received += message_bytes(job->programs, r, first_op, FALSE);
    }
    return sent == received ||
           broken(job, kind, -1, "(all) receives bytes:", received, sent, error);
}

gboolean moe_alltoall_lower(MoeAllToAll *job, GError **error)
{
    const MoeAllToAllKind *kind = kinds[job->transfer->algorithm];
    gsize size = (gsize)job->programs->n_ranks * sizeof(gint64);
    guint first_op = job->programs->ranks[0].ops->len;
    memset(job->own, 0, size);
    memset(job->forwarded, 0, size);
    memset(job->delivered, 0, size);
    job->first_chunk = 0;
    job->end_chunk = job->n_chunks = 1;
    job->started = job->failed = FALSE;
    kind->lower(job);
    if (job->failed)
        return fail_route(job, kind->name, error);
    return check(job, kind, first_op, error);
}

gboolean moe_alltoall_bytes(const MoeTopology *topology, const char *name, const gint64 *bytes,
                            MoePhase phase, const MoeKernelCost *cost, MoePrograms *programs,
                            GError **error)
{
    gint64 R = programs->n_ranks, N = moe_topology_node(topology, R - 1) + 1;
    MoeTransfer transfer = {.capacity_factor = NAN};
    while (!g_str_equal(kinds[transfer.algorithm]->name, name))
        transfer.algorithm++;
    if (!moe_alltoall_resolve(&transfer, NULL, name, error))
        return FALSE;
    g_autofree gint64 *nodes = g_new0(gint64, R * N), *per_rank = g_new(gint64, 3 * R);
    for (gint64 from = 0; from < R; from++)
        for (gint64 to = 0; to < R; to++)
            nodes[from * N + moe_topology_node(topology, to)] += bytes[from * R + to];
    MoeAllToAll job = {
        .topology = topology,
        .transfer = &transfer,
        .phase = phase,
        .cost = *cost,
        .token_bytes = 1,
        .copies = bytes,
        .nodes = nodes,
        .n_nodes = N,
        .programs = programs,
        .own = per_rank,
        .forwarded = per_rank + R,
        .delivered = per_rank + 2 * R,
    };
    return moe_alltoall_lower(&job, error);
}

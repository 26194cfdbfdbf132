#include "config.h"

#include "sim/result.h"

#include <math.h>
#include <string.h>

/* Rounding of the engine's clock, which reads @now. */
static double slack(double now)
{
    return 1e-10 + 4e-15 * now;
}

static gboolean broken(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static gboolean broken(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    return moe_fail(error, MOE_ERROR_FAILED, "invariant broken: %s; please report this as a bug",
                    what);
}

static const MoeOp *op_of(const MoePrograms *programs, gint64 rank, guint index)
{
    return &g_array_index(programs->ranks[rank].ops, MoeOp, index);
}

static gboolean check_times(const MoePrograms *programs, const MoeTimes *times, GError **error)
{
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        double now = 0, computed = 0;
        for (guint i = 0; i < programs->ranks[r].ops->len; i++) {
            const MoeOp *op = op_of(programs, r, i);
            const MoeInterval *t = &times->ranks[r][i];
            if (!(t->start >= now - slack(now)) || !(t->end >= t->start) || !isfinite(t->end))
                return broken(error,
                              "operation %u of rank %" G_GINT64_FORMAT
                              " runs from %.12g s to %.12g s, "
                              "after %.12g s",
                              i, r, t->start, t->end, now);
            if (!op->exchange &&
                fabs(t->end - t->start - op->seconds) > slack(t->end) + 1e-9 * t->end)
                return broken(error,
                              "operation %u of rank %" G_GINT64_FORMAT
                              " computes %.12g s instead of %.12g s",
                              i, r, t->end - t->start, op->seconds);
            now = t->end;
            computed += op->exchange ? 0 : op->seconds;
        }
        if (now < computed * (1 - 1e-9) - slack(now))
            return broken(error,
                          "rank %" G_GINT64_FORMAT " is done after %.12g s, but computes %.12g s",
                          r, now, computed);
    }
    return TRUE;
}

static void add_pair(MoeResult *result, MoePhase phase, gint64 from, const MoeMessage *message)
{
    MoePair **pairs = &result->pairs[phase][message->fabric];
    gint64 n = result->n_groups * result->n_groups;
    if (*pairs == NULL) /* written at once: each page of what is read first costs two faults */
        *pairs = memset(g_new(MoePair, n), 0, (gsize)n * sizeof(MoePair));
    MoePair *pair =
        &(*pairs)[from / result->group * result->n_groups + message->peer / result->group];
    pair->bytes += message->bytes;
    pair->messages++;
}

/* Adds what operation @index of @rank sends to the links' bytes and the pairs; checks it against its
 * largest message. */
static gboolean add_messages(const MoeTopology *topology, const MoePrograms *programs,
                             const MoeTimes *times, gint64 rank, guint index, MoeResult *result,
                             gint64 *link_bytes, gint64 *sent, GError **error)
{
    const MoeOp *op = op_of(programs, rank, index);
    const MoeProgram *program = &programs->ranks[rank];
    const MoeInterval *t = &times->ranks[rank][index];
    for (guint32 i = 0; i < op->n_sends; i++) {
        const MoeMessage *m = &g_array_index(program->sends, MoeMessage, op->first_send + i);
        MoeRoute route =
            moe_routes_get(programs->routes, topology, (MoeFabric)m->fabric, rank, m->peer);
        if (route.n == 0)
            return broken(error,
                          "rank %" G_GINT64_FORMAT
                          " sends to %u over a fabric that does not connect them",
                          rank, m->peer);
        for (guint l = 0; l < route.n; l++)
            link_bytes[route.links[l]] += m->bytes;
        double alone = op->seconds + route.latency + (double)m->bytes / route.bandwidth;
        if (t->end - t->start < alone * (1 - 1e-6) - slack(t->end))
            return broken(error,
                          "operation %u of rank %" G_GINT64_FORMAT
                          " takes %.12g s, less than its message to %u "
                          "alone, %.12g s",
                          index, rank, t->end - t->start, m->peer, alone);
        *sent += m->bytes;
        add_pair(result, (MoePhase)op->phase, rank, m);
    }
    return TRUE;
}

/* One exchange of all ranks: bytes sent = received, and the busiest link's time fits in. */
static gboolean check_exchange(const MoeTopology *topology, const MoePrograms *programs,
                               const MoeTimes *times, guint index, MoeResult *result,
                               gint64 *link_bytes, gint64 *sent_out, GError **error)
{
    gint64 sent = 0, received = 0;
    double start = INFINITY, end = 0;
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        const MoeOp *op = op_of(programs, r, index);
        if (!add_messages(topology, programs, times, r, index, result, link_bytes, &sent, error))
            return FALSE;
        for (guint32 i = 0; i < op->n_recvs; i++)
            received +=
                g_array_index(programs->ranks[r].recvs, MoeMessage, op->first_recv + i).bytes;
        start = fmin(start, times->ranks[r][index].start + op->seconds);
        end = fmax(end, times->ranks[r][index].end);
    }
    if (sent != received)
        return broken(error, "%" G_GINT64_FORMAT " bytes sent, %" G_GINT64_FORMAT " received", sent,
                      received);
    for (guint l = 0; l < topology->links->len; l++) {
        const MoeLink *link = &g_array_index(topology->links, MoeLink, l);
        double busy = (double)link_bytes[l] / link->bandwidth;
        if (busy > (end - start) * (1 + 1e-6 + times->tolerance) + slack(end))
            return broken(error,
                          "link '%s' carries %" G_GINT64_FORMAT
                          " bytes in %.12g s, faster than its rate",
                          link->name, link_bytes[l], end - start);
    }
    *sent_out = sent;
    return TRUE;
}

static void phase_clear(gpointer data)
{
    g_free(((MoePhaseTime *)data)->ranks);
}

/* Adds operation @index of all ranks to the newest phase, or begins one. */
static void add_operation(MoeResult *result, const MoePrograms *programs, const MoeTimes *times,
                          guint index, gint64 bytes)
{
    const MoeOp *op = op_of(programs, 0, index);
    MoePhaseTime *phase = result->phases->len > 0 ? &g_array_index(result->phases, MoePhaseTime,
                                                                   result->phases->len - 1)
                                                  : NULL;
    if (phase == NULL || phase->phase != (MoePhase)op->phase || phase->layer != op->layer ||
        phase->step != op->step) {
        MoePhaseTime fresh = {
            .step = op->step,
            .layer = op->layer,
            .phase = (MoePhase)op->phase,
            .ranks = g_new0(MoeInterval, result->n_ranks),
            .start = phase != NULL ? phase->end : 0,
            .end = phase != NULL ? phase->end : 0,
            .link = -1,
        };
        for (gint64 r = 0; r < result->n_ranks; r++)
            fresh.ranks[r].start = times->ranks[r][index].start;
        g_array_append_val(result->phases, fresh);
        phase = &g_array_index(result->phases, MoePhaseTime, result->phases->len - 1);
    }
    phase->bytes += bytes;
    phase->mean = phase->max = 0;
    double first = INFINITY, last = 0;
    for (gint64 r = 0; r < result->n_ranks; r++) {
        MoeInterval *own = &phase->ranks[r];
        own->end = times->ranks[r][index].end;
        first = fmin(first, own->start);
        last = fmax(last, own->end);
        phase->mean += (own->end - own->start) / (double)result->n_ranks;
        phase->max = fmax(phase->max, own->end - own->start);
    }
    phase->end = fmax(phase->end, last);
    phase->seconds = phase->end - phase->start;
    phase->active = last - first;
}

/* Adds the bytes of one exchange, of operation @index, to the run's, its phase's and those of its
 * block's phase, @block_bytes, which begin anew with it; finds the busiest link of the latter. */
static void add_links(MoeResult *result, const MoeTopology *topology, MoePhase phase,
                      const gint64 *link_bytes, gint64 *block_bytes)
{
    guint n = topology->links->len;
    MoePhaseTime *time = &g_array_index(result->phases, MoePhaseTime, result->phases->len - 1);
    if (time->bytes == 0)
        return;
    if (result->phase_link_bytes[phase] == NULL)
        result->phase_link_bytes[phase] = g_new0(gint64, n + 1);
    for (guint l = 0; l < n; l++) {
        if (link_bytes[l] == 0)
            continue;
        result->link_bytes[l] += link_bytes[l];
        result->phase_link_bytes[phase][l] += link_bytes[l];
        block_bytes[l] += link_bytes[l];
        double busy = (double)block_bytes[l] / g_array_index(topology->links, MoeLink, l).bandwidth;
        if (busy > time->link_seconds) {
            time->link = (int)l;
            time->link_seconds = busy;
        }
    }
}

MoeResult *moe_result_new(const MoeTopology *topology, const MoePrograms *programs,
                          const MoeTimes *times, GError **error)
{
    guint n_links = topology->links->len, n_ops = programs->ranks[0].ops->len;
    g_autoptr(MoeResult) result = g_new0(MoeResult, 1);
    result->n_ranks = programs->n_ranks;
    result->group = (programs->n_ranks - 1) / MOE_PAIRS_MOST + 1;
    result->n_groups = (programs->n_ranks - 1) / result->group + 1;
    result->link_bytes = g_new0(gint64, n_links + 1);
    result->phases = g_array_new(FALSE, FALSE, sizeof(MoePhaseTime));
    g_array_set_clear_func(result->phases, phase_clear);
    if (!check_times(programs, times, error))
        return NULL;
    g_autofree gint64 *link_bytes = g_new(gint64, n_links + 1);
    g_autofree gint64 *block_bytes = g_new(gint64, n_links + 1);
    for (guint i = 0; i < n_ops; i++) {
        gint64 sent = 0;
        const MoeOp *op = op_of(programs, 0, i);
        if (op->exchange) {
            memset(link_bytes, 0, n_links * sizeof(gint64));
            if (!check_exchange(topology, programs, times, i, result, link_bytes, &sent, error))
                return NULL;
        }
        guint before = result->phases->len;
        add_operation(result, programs, times, i, sent);
        if (result->phases->len > before)
            memset(block_bytes, 0, n_links * sizeof(gint64));
        if (op->exchange)
            add_links(result, topology, (MoePhase)op->phase, link_bytes, block_bytes);
    }
    if (result->phases->len > 0)
        result->seconds = g_array_index(result->phases, MoePhaseTime, result->phases->len - 1).end;
    return g_steal_pointer(&result);
}

void moe_result_free(MoeResult *result)
{
    if (result == NULL)
        return;
    if (result->phases != NULL)
        g_array_unref(result->phases);
    g_free(result->link_bytes);
    for (int p = 0; p < MOE_PHASE_COUNT; p++) {
        g_free(result->phase_link_bytes[p]);
        for (int f = 0; f < MOE_FABRIC_COUNT; f++)
            g_free(result->pairs[p][f]);
    }
    g_free(result);
}

double moe_result_phase_seconds(const MoeResult *result, MoePhase phase, int layer)
{
    double seconds = 0;
    for (guint i = 0; i < result->phases->len; i++) {
        const MoePhaseTime *p = &g_array_index(result->phases, MoePhaseTime, i);
        if (p->phase == phase && (layer == -2 || p->layer == layer))
            seconds += p->seconds;
    }
    return seconds;
}

double moe_quantile(const double *sorted, gsize n, double share)
{
    gsize rank = (gsize)ceil(share * (double)n - 1e-9);
    return sorted[CLAMP(rank, 1, n) - 1];
}

static int compare_doubles(gconstpointer a, gconstpointer b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void add_travel(MoePhaseSummary *summary, const MoeResult *result,
                       const MoeTopology *topology)
{
    const gint64 *link_bytes = result->phase_link_bytes[summary->phase];
    for (guint l = 0; l < topology->links->len && link_bytes != NULL; l++) {
        const MoeLink *link = &g_array_index(topology->links, MoeLink, l);
        double busy = (double)link_bytes[l] / link->bandwidth;
        if (busy > summary->link_seconds && g_strcmp0(link->kind, summary->bound_kind) == 0) {
            summary->link = (int)l;
            summary->link_seconds = busy;
        }
    }
    for (int f = 0; f < MOE_FABRIC_COUNT; f++) {
        const MoePair *pairs = result->pairs[summary->phase][f];
        for (gint64 i = 0; i < result->n_groups * result->n_groups && pairs != NULL; i++) {
            summary->bytes += pairs[i].bytes;
            summary->messages += pairs[i].messages;
        }
    }
}

/* Adds the busiest link of every block and step. */
static void add_bounds(MoePhaseSummary *summary, const MoeResult *result,
                       const MoeTopology *topology)
{
    g_autoptr(GHashTable) kinds = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    double most = 0;
    for (guint i = 0; i < result->phases->len; i++) {
        const MoePhaseTime *time = &g_array_index(result->phases, MoePhaseTime, i);
        if (time->phase != summary->phase || time->link < 0)
            continue;
        const char *kind = moe_topology_link(topology, (guint32)time->link)->kind;
        double *seconds = g_hash_table_lookup(kinds, kind);
        if (seconds == NULL) {
            seconds = g_new0(double, 1);
            g_hash_table_insert(kinds, (gpointer)kind, seconds);
        }
        *seconds += time->link_seconds;
        summary->bound_seconds += time->link_seconds;
        if (*seconds > most) {
            most = *seconds;
            summary->bound_kind = kind;
        }
    }
}

GArray *moe_result_summaries(const MoeResult *result, const MoeTopology *topology)
{
    GArray *summaries = g_array_new(FALSE, FALSE, sizeof(MoePhaseSummary));
    g_autoptr(GArray) samples = g_array_new(FALSE, FALSE, sizeof(double));
    for (int p = 0; p < MOE_PHASE_COUNT; p++) {
        MoePhaseSummary summary = {.phase = (MoePhase)p, .link = -1};
        g_array_set_size(samples, 0);
        for (guint i = 0; i < result->phases->len; i++) {
            const MoePhaseTime *time = &g_array_index(result->phases, MoePhaseTime, i);
            summary.seconds += time->phase == (MoePhase)p ? time->seconds : 0;
            summary.active += time->phase == (MoePhase)p ? time->active : 0;
            for (gint64 r = 0; r < result->n_ranks && time->phase == (MoePhase)p; r++) {
                double own = time->ranks[r].end - time->ranks[r].start;
                summary.mean += own;
                g_array_append_val(samples, own);
            }
        }
        if (samples->len == 0)
            continue;
        g_array_sort(samples, compare_doubles);
        const double *sorted = &g_array_index(samples, double, 0);
        summary.samples = samples->len;
        summary.mean /= samples->len;
        summary.p50 = moe_quantile(sorted, samples->len, 0.5);
        summary.p90 = moe_quantile(sorted, samples->len, 0.9);
        summary.p99 = moe_quantile(sorted, samples->len, 0.99);
        summary.worst = sorted[samples->len - 1];
        add_bounds(&summary, result, topology);
        add_travel(&summary, result, topology);
        g_array_append_val(summaries, summary);
    }
    return summaries;
}

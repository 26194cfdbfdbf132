#include "config.h"

#include "sim/program.h"

const char *moe_phase_name(MoePhase phase)
{
    static const char *const names[] = {"attention", "router", "dispatch", "experts",   "shared",
                                        "combine",   "dense",  "head",     "collective"};
    return names[phase];
}

MoePrograms *moe_programs_new(gint64 n_ranks)
{
    MoePrograms *programs = g_new0(MoePrograms, 1);
    programs->n_ranks = n_ranks;
    programs->ranks = g_new0(MoeProgram, n_ranks);
    programs->routes = moe_routes_new(n_ranks);
    for (gint64 r = 0; r < n_ranks; r++) {
        programs->ranks[r].ops = g_array_new(FALSE, FALSE, sizeof(MoeOp));
        programs->ranks[r].sends = g_array_new(FALSE, FALSE, sizeof(MoeMessage));
        programs->ranks[r].recvs = g_array_new(FALSE, FALSE, sizeof(MoeMessage));
    }
    return programs;
}

void moe_programs_free(MoePrograms *programs)
{
    if (programs == NULL)
        return;
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        g_array_unref(programs->ranks[r].ops);
        g_array_unref(programs->ranks[r].sends);
        g_array_unref(programs->ranks[r].recvs);
    }
    moe_routes_free(programs->routes);
    g_free(programs->ranks);
    g_free(programs);
}

static void append(MoePrograms *programs, gint64 rank, MoePhase phase, gboolean exchange,
                   double seconds)
{
    MoeProgram *program = &programs->ranks[rank];
    MoeOp op = {
        .phase = (guint8)phase,
        .exchange = exchange ? 1 : 0,
        .step = programs->step,
        .layer = programs->layer,
        .seconds = seconds,
        .first_send = program->sends->len,
        .first_recv = program->recvs->len,
    };
    g_array_append_val(program->ops, op);
}

void moe_programs_compute(MoePrograms *programs, gint64 rank, MoePhase phase, double seconds)
{
    append(programs, rank, phase, FALSE, seconds);
}

void moe_programs_exchange(MoePrograms *programs, MoePhase phase, double startup)
{
    for (gint64 r = 0; r < programs->n_ranks; r++)
        append(programs, r, phase, TRUE, startup);
}

void moe_programs_delay(MoePrograms *programs, gint64 rank, double seconds)
{
    GArray *ops = programs->ranks[rank].ops;
    g_array_index(ops, MoeOp, ops->len - 1).seconds += seconds;
}

void moe_programs_last(MoePrograms *programs, double seconds)
{
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        GArray *ops = programs->ranks[r].ops;
        g_array_index(ops, MoeOp, ops->len - 1).least = seconds;
    }
}

void moe_programs_send(MoePrograms *programs, gint64 from, gint64 to, MoeFabric fabric,
                       gint64 bytes)
{
    g_assert(from != to && bytes >= 1);
    MoeProgram *sender = &programs->ranks[from], *receiver = &programs->ranks[to];
    MoeOp *send = &g_array_index(sender->ops, MoeOp, sender->ops->len - 1);
    MoeOp *receive = &g_array_index(receiver->ops, MoeOp, receiver->ops->len - 1);
    g_assert(send->exchange && receive->exchange);
    MoeMessage outgoing = {(guint32)to, fabric, bytes}, incoming = {(guint32)from, fabric, bytes};
    g_array_append_val(sender->sends, outgoing);
    g_array_append_val(receiver->recvs, incoming);
    send->n_sends++;
    receive->n_recvs++;
}

gint64 moe_programs_count(const MoePrograms *programs)
{
    gint64 n = 0;
    for (gint64 r = 0; r < programs->n_ranks; r++)
        n += programs->ranks[r].ops->len;
    return n;
}

gint64 moe_programs_messages(const MoePrograms *programs)
{
    gint64 n = 0;
    for (gint64 r = 0; r < programs->n_ranks; r++)
        n += programs->ranks[r].sends->len;
    return n;
}

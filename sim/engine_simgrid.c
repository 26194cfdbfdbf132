#include "config.h"

#include "sim/child.h"
#include "sim/engine.h"

#include <errno.h>
#include <simgrid/actor.h>
#include <simgrid/comm.h>
#include <simgrid/engine.h>
#include <simgrid/host.h>
#include <simgrid/mailbox.h>
#include <simgrid/semaphore.h>
#include <simgrid/version.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Every rank is an actor that runs its program. Its messages are posted by one more actor per
 * fabric, on the host that is the rank's endpoint there, because in SimGrid the hosts of the two
 * actors decide the route. A mailbox per pair of ranks and fabric makes a message start when both
 * sides have posted; exchanges come in one order for all, so messages of a pair match first to
 * first. */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

/* Defaults that are wrong for GPU fabrics, and a precision far below a microsecond. The address
 * sanitizer does not follow stacks that are not a thread's. */
static const char *const settings[] = {
    "network/model:CM02",
    "network/crosstraffic:0",
    "network/TCP-gamma:0",
    "network/optim:Full",
    "surf/precision:1e-12",
    "contexts/stack-size:64",
#if defined(__SANITIZE_ADDRESS__)
    "contexts/factory:thread",
#endif
    NULL,
};

typedef struct Simulation Simulation;

/* How messages get their share of the links. */
typedef struct {
    const char *name;
    /* Called by the actor of an endpoint: posts all messages of @op in @fabric, returns when they
     * are complete. */
    void (*exchange)(Simulation *simulation, gint64 rank, guint32 fabric, const MoeOp *op);
} Sharing;

typedef struct {
    Simulation *simulation;
    gint64 rank;
    guint32 fabric;
    const MoeOp *op; /* what to exchange; NULL: nothing more to come */
    sg_sem_t go, done;
} Endpoint;

struct Simulation {
    const MoeTopology *topology;
    const MoePrograms *programs;
    const Sharing *sharing;
    MoeChild *child;
    MoeTimes *times;
    Endpoint *endpoints; /* [ranks, fabrics] */
    gint64 done, total;  /* operations */
};

/* --- SimGrid's own sharing ------------------------------------------------------------------- */

static sg_mailbox_t mailbox(gint64 from, gint64 to, guint32 fabric)
{
    char name[64];
    g_snprintf(name, sizeof(name), "%" G_GINT64_FORMAT ">%" G_GINT64_FORMAT "/%u", from, to,
               fabric);
    return sg_mailbox_by_name(name);
}

static void exchange_simgrid(Simulation *simulation, gint64 rank, guint32 fabric, const MoeOp *op)
{
    static char payload[] = "bytes";
    const MoeProgram *program = &simulation->programs->ranks[rank];
    g_autofree sg_comm_t *comms = g_new(sg_comm_t, op->n_sends + op->n_recvs);
    g_autofree void **arrived = g_new(void *, op->n_recvs);
    size_t n = 0;
    for (guint32 i = 0; i < op->n_recvs; i++) {
        const MoeMessage *message = &g_array_index(program->recvs, MoeMessage, op->first_recv + i);
        if (message->fabric == fabric)
            comms[n++] = sg_mailbox_get_async(mailbox(message->peer, rank, fabric), &arrived[i]);
    }
    for (guint32 i = 0; i < op->n_sends; i++) {
        const MoeMessage *message = &g_array_index(program->sends, MoeMessage, op->first_send + i);
        if (message->fabric == fabric)
            comms[n++] = sg_mailbox_put_async(mailbox(rank, message->peer, fabric), payload,
                                              (long)message->bytes);
    }
    sg_comm_wait_all(comms, n);
}

static const Sharing sharings[] = {
    {"simgrid", exchange_simgrid},
};

const char *const *moe_engine_sharings(void)
{
    static const char *names[G_N_ELEMENTS(sharings) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(sharings); i++)
        names[i] = sharings[i].name;
    return names;
}

/* --- actors ---------------------------------------------------------------------------------- */

static void endpoint_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    Endpoint *endpoint = sg_actor_self_get_data();
    for (;;) {
        sg_sem_acquire(endpoint->go);
        if (endpoint->op == NULL)
            return;
        endpoint->simulation->sharing->exchange(endpoint->simulation, endpoint->rank,
                                                endpoint->fabric, endpoint->op);
        sg_sem_release(endpoint->done);
    }
}

static gboolean uses_fabric(const MoeProgram *program, const MoeOp *op, guint32 fabric)
{
    for (guint32 i = 0; i < op->n_sends; i++)
        if (g_array_index(program->sends, MoeMessage, op->first_send + i).fabric == fabric)
            return TRUE;
    for (guint32 i = 0; i < op->n_recvs; i++)
        if (g_array_index(program->recvs, MoeMessage, op->first_recv + i).fabric == fabric)
            return TRUE;
    return FALSE;
}

static void run_exchange(Simulation *simulation, gint64 rank, const MoeOp *op)
{
    const MoeProgram *program = &simulation->programs->ranks[rank];
    gboolean used[MOE_FABRIC_COUNT];
    for (guint32 f = 0; f < MOE_FABRIC_COUNT; f++) {
        Endpoint *endpoint = &simulation->endpoints[rank * MOE_FABRIC_COUNT + f];
        used[f] = uses_fabric(program, op, f);
        endpoint->op = op;
        if (used[f])
            sg_sem_release(endpoint->go);
    }
    for (guint32 f = 0; f < MOE_FABRIC_COUNT; f++)
        if (used[f])
            sg_sem_acquire(simulation->endpoints[rank * MOE_FABRIC_COUNT + f].done);
}

static void rank_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    Endpoint *first = sg_actor_self_get_data();
    Simulation *simulation = first->simulation;
    const MoeProgram *program = &simulation->programs->ranks[first->rank];
    MoeInterval *times = simulation->times->ranks[first->rank];
    for (guint i = 0; i < program->ops->len; i++) {
        const MoeOp *op = &g_array_index(program->ops, MoeOp, i);
        times[i].start = simgrid_get_clock();
        if (op->seconds > 0)
            sg_actor_sleep_for(op->seconds);
        if (op->exchange)
            run_exchange(simulation, first->rank, op);
        times[i].end = simgrid_get_clock();
        moe_child_progress(simulation->child, (double)++simulation->done,
                           (double)simulation->total);
    }
    for (guint32 f = 0; f < MOE_FABRIC_COUNT; f++) {
        first[f].op = NULL;
        sg_sem_release(first[f].go);
    }
}

/* --- the child ------------------------------------------------------------------------------- */

/* SimGrid reads a file; one without a name cannot be left behind. */
static void load_platform(const MoeTopology *topology)
{
    g_autofree char *xml = moe_topology_platform(topology);
    int fd = memfd_create("moesim-platform", MFD_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL || fputs(xml, file) < 0 || fflush(file) != 0) {
        g_printerr("the platform cannot be written: %s\n", g_strerror(errno));
        _exit(1);
    }
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    simgrid_load_platform(path);
    fclose(file);
}

static void start_actors(Simulation *simulation)
{
    const MoeTopology *topology = simulation->topology;
    for (gint64 rank = 0; rank < simulation->programs->n_ranks; rank++) {
        for (guint32 f = 0; f < MOE_FABRIC_COUNT; f++) {
            Endpoint *endpoint = &simulation->endpoints[rank * MOE_FABRIC_COUNT + f];
            *endpoint = (Endpoint){simulation, rank, f, NULL, sg_sem_init(0), sg_sem_init(0)};
            gboolean attached = f == MOE_FABRIC_SCALE_UP || topology->n_nics > 0;
            g_autofree char *host =
                moe_topology_host(topology, attached ? (MoeFabric)f : MOE_FABRIC_SCALE_UP, rank);
            sg_actor_t actor = sg_actor_init("endpoint", sg_host_by_name(host));
            sg_actor_set_data(actor, endpoint);
            sg_actor_start_(actor, endpoint_main, 0, NULL);
        }
        g_autofree char *host = moe_topology_host(topology, MOE_FABRIC_SCALE_UP, rank);
        sg_actor_t actor = sg_actor_init("rank", sg_host_by_name(host));
        sg_actor_set_data(actor, &simulation->endpoints[rank * MOE_FABRIC_COUNT]);
        sg_actor_start_(actor, rank_main, 0, NULL);
    }
}

static void simulate(MoeChild *child, void *user)
{
    Simulation *simulation = user;
    simulation->child = child;
    g_autoptr(GPtrArray) arguments = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(arguments, g_strdup("moesim"));
    g_ptr_array_add(arguments, g_strdup("--log=root.thres:warning"));
    for (int i = 0; settings[i] != NULL; i++)
        g_ptr_array_add(arguments, g_strconcat("--cfg=", settings[i], NULL));
    int argc = (int)arguments->len;
    g_ptr_array_add(arguments, NULL);
    simgrid_init(&argc, (char **)arguments->pdata);
    load_platform(simulation->topology);
    start_actors(simulation);
    simgrid_run();
    for (gint64 r = 0; r < simulation->programs->n_ranks; r++)
        moe_child_send(child, simulation->times->ranks[r],
                       simulation->programs->ranks[r].ops->len * sizeof(MoeInterval));
}

/* --- the parent ------------------------------------------------------------------------------ */

void moe_times_free(MoeTimes *times)
{
    if (times == NULL)
        return;
    for (gint64 r = 0; r < times->n_ranks; r++)
        g_free(times->ranks[r]);
    g_free(times->ranks);
    g_free(times);
}

static MoeTimes *times_new(const MoePrograms *programs)
{
    MoeTimes *times = g_new0(MoeTimes, 1);
    times->n_ranks = programs->n_ranks;
    times->ranks = g_new0(MoeInterval *, programs->n_ranks);
    for (gint64 r = 0; r < programs->n_ranks; r++)
        times->ranks[r] = g_new0(MoeInterval, programs->ranks[r].ops->len + 1);
    return times;
}

const char *moe_engine_version(void)
{
    return "SimGrid " G_STRINGIFY(SIMGRID_VERSION_MAJOR) "." G_STRINGIFY(SIMGRID_VERSION_MINOR);
}

const char *const *moe_engine_settings(void)
{
    return settings;
}

MoeTimes *moe_engine_run(const MoeTopology *topology, const MoePrograms *programs, int sharing,
                         MoeProgress *progress, GError **error)
{
    if (!moe_topology_check_platform(topology, error))
        return NULL;
    g_autoptr(MoeTimes) times = times_new(programs);
    Simulation simulation = {
        .topology = topology,
        .programs = programs,
        .sharing = &sharings[sharing],
        .times = times,
        .endpoints = g_new0(Endpoint, programs->n_ranks * MOE_FABRIC_COUNT),
        .total = moe_programs_count(programs),
    };
    g_autoptr(GBytes) bytes =
        moe_child_run("the simulation engine", simulate, &simulation, progress, error);
    g_free(simulation.endpoints);
    if (bytes == NULL)
        return NULL;
    gsize expected = (gsize)simulation.total * sizeof(MoeInterval), size;
    const char *at = g_bytes_get_data(bytes, &size);
    if (size != expected) {
        moe_fail(error, MOE_ERROR_FAILED,
                 "the simulation engine ended with %" G_GSIZE_FORMAT " of %" G_GSIZE_FORMAT
                 " bytes of results",
                 size, expected);
        return NULL;
    }
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        gsize part = programs->ranks[r].ops->len * sizeof(MoeInterval);
        memcpy(times->ranks[r], at, part);
        at += part;
    }
    return g_steal_pointer(&times);
}

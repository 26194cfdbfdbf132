#include "config.h"

#include "sim/base/memory.h"
#include "sim/child.h"
#include "sim/engine.h"
#include "sim/flows.h"
#include "sim/network.h"

#include <errno.h>
#include <math.h>
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

/* Every rank is an actor that runs its program. Under SimGrid's own sharing, its messages are posted
 * by one more actor per fabric, on the host that is the rank's endpoint there, because in SimGrid
 * the hosts of the two actors decide the route. A mailbox per pair of ranks and fabric makes a
 * message start when both sides have posted; exchanges come in one order for all, so messages of a
 * pair match first to first. Under ours, ranks post to the network and sleep until it wakes them. */

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
    /* The platform file. */
    char *(*platform)(const MoeTopology *topology);
    /* The host of a rank. */
    char *(*host)(const MoeTopology *topology, gint64 rank);
    /* Starts the actors that are needed beside the ranks; stops those of one rank. */
    void (*start)(Simulation *simulation);
    void (*stop)(Simulation *simulation, gint64 rank);
    /* Called by the actor of a rank: posts the messages of operation @op, returns when they are
     * complete. */
    void (*exchange)(Simulation *simulation, gint64 rank, guint op);
} Sharing;

typedef struct {
    Simulation *simulation;
    gint64 rank;
    guint32 fabric;
    const MoeOp *op; /* what to exchange; NULL: nothing more to come */
    sg_sem_t go, done;
} Endpoint;

typedef struct {
    Simulation *simulation;
    gint64 rank;
    sg_sem_t done; /* its exchange, when moesim shares */
} Rank;

struct Simulation {
    const MoeTopology *topology;
    const MoePrograms *programs;
    const Sharing *sharing;
    double quantum;
    MoeChild *child;
    MoeTimes *times;
    Rank *ranks;
    Endpoint *endpoints; /* [ranks, fabrics] */
    MoeNetwork *network;
    sg_sem_t posted;
    gint64 done, total; /* operations */
};

static void start_actor(const char *name, char *host_take, void (*main)(int, char **), void *data)
{
    g_autofree char *host = host_take;
    sg_actor_t actor = sg_actor_init(name, sg_host_by_name(host));
    sg_actor_set_data(actor, data);
    sg_actor_start_(actor, main, 0, NULL);
}

/* --- SimGrid's own sharing ------------------------------------------------------------------- */

static sg_mailbox_t mailbox(gint64 from, gint64 to, guint32 fabric)
{
    char name[64];
    g_snprintf(name, sizeof(name), "%" G_GINT64_FORMAT ">%" G_GINT64_FORMAT "/%u", from, to,
               fabric);
    return sg_mailbox_by_name(name);
}

/* Waits for all of @comms; where ends are noted, one by one. @sends: which send of the rank each
 * is, -1: a receive. */
static void wait_for(const Endpoint *endpoint, sg_comm_t *comms, gint64 *sends, size_t n)
{
    double **ends = endpoint->simulation->times->sends;
    if (ends == NULL) {
        sg_comm_wait_all(comms, n);
        return;
    }
    for (; n > 0; n--) {
        ssize_t i = sg_comm_wait_any(comms, n);
        if (sends[i] >= 0)
            ends[endpoint->rank][sends[i]] = simgrid_get_clock();
        comms[i] = comms[n - 1];
        sends[i] = sends[n - 1];
    }
}

static void exchange_fabric(const Endpoint *endpoint)
{
    static char payload[] = "bytes";
    const MoeOp *op = endpoint->op;
    gint64 rank = endpoint->rank;
    guint32 fabric = endpoint->fabric;
    const MoeProgram *program = &endpoint->simulation->programs->ranks[rank];
    g_autofree sg_comm_t *comms = g_new(sg_comm_t, op->n_sends + op->n_recvs);
    g_autofree gint64 *sends = g_new(gint64, op->n_sends + op->n_recvs);
    g_autofree void **arrived = g_new(void *, op->n_recvs);
    size_t n = 0;
    for (guint32 i = 0; i < op->n_recvs; i++) {
        const MoeMessage *message = &g_array_index(program->recvs, MoeMessage, op->first_recv + i);
        if (message->fabric != fabric)
            continue;
        sends[n] = -1;
        comms[n++] = sg_mailbox_get_async(mailbox(message->peer, rank, fabric), &arrived[i]);
    }
    for (guint32 i = 0; i < op->n_sends; i++) {
        const MoeMessage *message = &g_array_index(program->sends, MoeMessage, op->first_send + i);
        if (message->fabric != fabric)
            continue;
        sends[n] = op->first_send + i;
        comms[n++] = sg_mailbox_put_async(mailbox(rank, message->peer, fabric), payload,
                                          (long)message->bytes);
    }
    wait_for(endpoint, comms, sends, n);
}

static void endpoint_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    Endpoint *endpoint = sg_actor_self_get_data();
    for (;;) {
        sg_sem_acquire(endpoint->go);
        if (endpoint->op == NULL)
            return;
        exchange_fabric(endpoint);
        sg_sem_release(endpoint->done);
    }
}

static char *host_simgrid(const MoeTopology *topology, gint64 rank)
{
    return moe_topology_host(topology, MOE_FABRIC_SCALE_UP, rank);
}

static void start_endpoints(Simulation *simulation)
{
    const MoeTopology *topology = simulation->topology;
    simulation->endpoints = g_new0(Endpoint, simulation->programs->n_ranks * MOE_FABRIC_COUNT);
    for (gint64 rank = 0; rank < simulation->programs->n_ranks; rank++)
        for (guint32 f = 0; f < MOE_FABRIC_COUNT; f++) {
            Endpoint *endpoint = &simulation->endpoints[rank * MOE_FABRIC_COUNT + f];
            *endpoint = (Endpoint){simulation, rank, f, NULL, sg_sem_init(0), sg_sem_init(0)};
            gboolean attached = f == MOE_FABRIC_SCALE_UP || topology->n_nics > 0;
            MoeFabric fabric = attached ? (MoeFabric)f : MOE_FABRIC_SCALE_UP;
            start_actor("endpoint", moe_topology_host(topology, fabric, rank), endpoint_main,
                        endpoint);
        }
}

static void stop_endpoints(Simulation *simulation, gint64 rank)
{
    for (guint32 f = 0; f < MOE_FABRIC_COUNT; f++) {
        Endpoint *endpoint = &simulation->endpoints[rank * MOE_FABRIC_COUNT + f];
        endpoint->op = NULL;
        sg_sem_release(endpoint->go);
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

static void exchange_simgrid(Simulation *simulation, gint64 rank, guint index)
{
    const MoeProgram *program = &simulation->programs->ranks[rank];
    const MoeOp *op = &g_array_index(program->ops, MoeOp, index);
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

/* --- our own sharing ------------------------------------------------------------------------- */

/* SimGrid is the clock and runs the ranks; one more actor holds the network. */
static char *platform_fast(const MoeTopology *topology)
{
    (void)topology;
    return g_strdup("<?xml version='1.0'?>\n"
                    "<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
                    "<platform version=\"4.1\"><zone id=\"cluster\" routing=\"None\">"
                    "<host id=\"gpus\" speed=\"1Gf\"/></zone></platform>\n");
}

static char *host_fast(const MoeTopology *topology, gint64 rank)
{
    (void)topology;
    (void)rank;
    return g_strdup("gpus");
}

static void network_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    Simulation *simulation = sg_actor_self_get_data();
    MoeNetwork *network = simulation->network;
    sg_actor_daemonize(sg_actor_self());
    for (;;) {
        double next = moe_network_next(network), now = simgrid_get_clock();
        if (isinf(next)) {
            sg_sem_acquire(simulation->posted);
            continue;
        }
        if (next > now && !sg_sem_acquire_timeout(simulation->posted, next - now))
            continue; /* posted; what is next may have changed */
        now = fmax(next, simgrid_get_clock());
        moe_network_advance(network, now);
        gint64 rank;
        while ((rank = moe_network_done(network, now)) >= 0)
            sg_sem_release(simulation->ranks[rank].done);
    }
}

static void start_network(Simulation *simulation)
{
    simulation->network = moe_network_new(simulation->topology, simulation->programs,
                                          simulation->quantum, simulation->times->sends);
    simulation->posted = sg_sem_init(0);
    for (gint64 rank = 0; rank < simulation->programs->n_ranks; rank++)
        simulation->ranks[rank].done = sg_sem_init(0);
    start_actor("network", host_fast(NULL, 0), network_main, simulation);
}

static void stop_nothing(Simulation *simulation, gint64 rank)
{
    (void)simulation;
    (void)rank;
}

static void exchange_fast(Simulation *simulation, gint64 rank, guint op)
{
    if (!moe_network_post(simulation->network, rank, op, simgrid_get_clock()))
        return;
    if (sg_sem_get_capacity(simulation->posted) == 0)
        sg_sem_release(simulation->posted);
    sg_sem_acquire(simulation->ranks[rank].done);
}

static const Sharing sharings[] = {
    {"simgrid", moe_topology_platform, host_simgrid, start_endpoints, stop_endpoints,
     exchange_simgrid},
    {"fast", platform_fast, host_fast, start_network, stop_nothing, exchange_fast},
};

const char *const *moe_engine_sharings(void)
{
    static const char *names[G_N_ELEMENTS(sharings) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(sharings); i++)
        names[i] = sharings[i].name;
    return names;
}

/* --- ranks ----------------------------------------------------------------------------------- */

static void rank_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const Rank *self = sg_actor_self_get_data();
    Simulation *simulation = self->simulation;
    const MoeProgram *program = &simulation->programs->ranks[self->rank];
    MoeInterval *times = simulation->times->ranks[self->rank];
    for (guint i = 0; i < program->ops->len; i++) {
        const MoeOp *op = &g_array_index(program->ops, MoeOp, i);
        times[i].start = simgrid_get_clock();
        if (op->seconds > 0)
            sg_actor_sleep_for(op->seconds);
        if (op->exchange)
            simulation->sharing->exchange(simulation, self->rank, i);
        double rest = times[i].start + op->seconds + op->least - simgrid_get_clock();
        if (op->exchange && rest > 0)
            sg_actor_sleep_for(rest);
        times[i].end = simgrid_get_clock();
        moe_child_progress(simulation->child, (double)++simulation->done,
                           (double)simulation->total);
    }
    simulation->sharing->stop(simulation, self->rank);
}

/* --- the child ------------------------------------------------------------------------------- */

/* SimGrid reads a file; one without a name cannot be left behind. */
static void load_platform(const Simulation *simulation)
{
    g_autofree char *xml = simulation->sharing->platform(simulation->topology);
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

static void start_ranks(Simulation *simulation)
{
    gint64 n = simulation->programs->n_ranks;
    simulation->ranks = g_new0(Rank, n);
    simulation->sharing->start(simulation);
    for (gint64 rank = 0; rank < n; rank++) {
        simulation->ranks[rank].simulation = simulation;
        simulation->ranks[rank].rank = rank;
        start_actor("rank", simulation->sharing->host(simulation->topology, rank), rank_main,
                    &simulation->ranks[rank]);
    }
}

/* SimGrid weighs a flow by 1 / its latency and dies when the sum of a link's weights, less each of
 * them, is not zero to an absolute precision. Rounding grows with the weights: flows of a rank times
 * the smallest latency's. Below a nanosecond or so its default does not do. */
static double precision(const Simulation *simulation)
{
    static const double fallback = 1e-5;
    double shortest = INFINITY;
    guint32 most = 1;
    const GArray *links = simulation->topology->links;
    for (guint l = 0; l < links->len; l++) {
        double latency = g_array_index(links, MoeLink, l).latency;
        shortest = latency > 0 ? fmin(shortest, latency / 2) : shortest; /* a cluster halves it */
    }
    for (gint64 r = 0; r < simulation->programs->n_ranks; r++) {
        const GArray *ops = simulation->programs->ranks[r].ops;
        for (guint i = 0; i < ops->len; i++) {
            const MoeOp *op = &g_array_index(ops, MoeOp, i);
            most = MAX(most, op->n_sends + op->n_recvs);
        }
    }
    return fmax(fallback, 1e-15 * most / shortest);
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
    g_ptr_array_add(arguments, g_strdup_printf("--cfg=maxmin/precision:%g", precision(simulation)));
    int argc = (int)arguments->len;
    g_ptr_array_add(arguments, NULL);
    simgrid_init(&argc, (char **)arguments->pdata);
    load_platform(simulation);
    start_ranks(simulation);
    simgrid_run();
    const MoeTimes *times = simulation->times;
    for (gint64 r = 0; r < times->n_ranks; r++) {
        const MoeProgram *program = &simulation->programs->ranks[r];
        moe_child_send(child, times->ranks[r], program->ops->len * sizeof(MoeInterval));
        if (times->sends != NULL)
            moe_child_send(child, times->sends[r], program->sends->len * sizeof(double));
    }
}

/* --- the parent ------------------------------------------------------------------------------ */

void moe_times_free(MoeTimes *times)
{
    if (times == NULL)
        return;
    for (gint64 r = 0; r < times->n_ranks; r++) {
        g_free(times->ranks[r]);
        if (times->sends != NULL)
            g_free(times->sends[r]);
    }
    g_free(times->ranks);
    g_free(times->sends);
    g_free(times);
}

static MoeTimes *times_new(const MoePrograms *programs, gboolean sends)
{
    MoeTimes *times = g_new0(MoeTimes, 1);
    times->n_ranks = programs->n_ranks;
    times->ranks = g_new0(MoeInterval *, programs->n_ranks);
    times->sends = sends ? g_new0(double *, programs->n_ranks) : NULL;
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        times->ranks[r] = g_new0(MoeInterval, programs->ranks[r].ops->len + 1);
        if (sends)
            times->sends[r] = g_new0(double, programs->ranks[r].sends->len + 1);
    }
    return times;
}

/* Fills @times with what the child has sent; FALSE when that is more or less. */
static gboolean times_fill(MoeTimes *times, const MoePrograms *programs, GBytes *bytes,
                           GError **error)
{
    gsize size, expected = 0;
    const char *at = g_bytes_get_data(bytes, &size);
    for (gint64 r = 0; r < programs->n_ranks; r++)
        expected += programs->ranks[r].ops->len * sizeof(MoeInterval) +
                    (times->sends != NULL ? programs->ranks[r].sends->len * sizeof(double) : 0);
    if (size != expected)
        return moe_fail(error, MOE_ERROR_FAILED,
                        "the simulation engine ended with %" G_GSIZE_FORMAT " of %" G_GSIZE_FORMAT
                        " bytes of results",
                        size, expected);
    for (gint64 r = 0; r < programs->n_ranks; r++) {
        gsize part = programs->ranks[r].ops->len * sizeof(MoeInterval);
        memcpy(times->ranks[r], at, part);
        at += part;
        if (times->sends == NULL)
            continue;
        part = programs->ranks[r].sends->len * sizeof(double);
        memcpy(times->sends[r], at, part);
        at += part;
    }
    return TRUE;
}

const char *moe_engine_version(void)
{
    return "SimGrid " G_STRINGIFY(SIMGRID_VERSION_MAJOR) "." G_STRINGIFY(SIMGRID_VERSION_MINOR);
}

const char *const *moe_engine_settings(void)
{
    return settings;
}

/* What the network keeps about every pair of ranks and every message must fit; messages at one time
 * have numbers (MOE_FLOWS_MOST). */
static gboolean check_fast(const MoePrograms *programs, GError **error)
{
    double n = (double)programs->n_ranks;
    double most = fmin((double)moe_programs_messages(programs), n * n);
    return (most <= MOE_FLOWS_MOST ||
            moe_fail(
                error, MOE_ERROR_INPUT,
                "fast sharing takes up to %d messages at one time, and there may be %.0f; take "
                "fewer GPUs, or an algorithm that sends fewer messages at once",
                MOE_FLOWS_MOST, most)) &&
           moe_memory_check(n * n * 32 + most * 128, "so many ranks", error);
}

MoeTimes *moe_engine_run(const MoeTopology *topology, const MoePrograms *programs,
                         const MoeEngineOptions *options, MoeProgress *progress, GError **error)
{
    static const MoeEngineOptions reference = {.sharing = MOE_SHARING_SIMGRID};
    options = options != NULL ? options : &reference;
    if (options->sharing == MOE_SHARING_SIMGRID ? !moe_topology_check_platform(topology, error)
                                                : !check_fast(programs, error))
        return NULL;
    g_autoptr(MoeTimes) times = times_new(programs, options->messages);
    times->tolerance = options->sharing == MOE_SHARING_FAST ? 2 * options->quantum : 0;
    Simulation simulation = {
        .topology = topology,
        .programs = programs,
        .sharing = &sharings[options->sharing],
        .quantum = options->quantum,
        .times = times,
        .total = moe_programs_count(programs),
    };
    g_autoptr(GBytes) bytes =
        moe_child_run("the simulation engine", simulate, &simulation, progress, error);
    if (bytes == NULL || !times_fill(times, programs, bytes, error))
        return NULL;
    return g_steal_pointer(&times);
}

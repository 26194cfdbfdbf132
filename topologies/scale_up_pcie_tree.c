#include "config.h"

#include "topologies/topology.h"

#include <math.h>

/* A PCIe tree: GPUs share a PCIe switch, switches share a socket, sockets are joined by a link
 * between any two. The lanes of a GPU carry its messages to NICs too (the NICs sit at its switch).
 * Link numbers of a node, after the order of building: lane of GPU g up 2 g, down 2 g + 1; then
 * uplink of switch s up, down; then from socket i to j. */

typedef struct {
    gint64 gpus, switches, sockets; /* of the node */
    gint64 switch_gpus, socket_switches;
} Tree;

static Tree tree_of(const MoeTopology *topology, gint64 node)
{
    const MoeTopologyFile *file = &moe_topology_group(topology, node)->file;
    Tree tree = {.gpus = moe_topology_machine(topology, node)->n_gpus,
                 .switch_gpus = file->scale_up.switch_gpus,
                 .socket_switches = file->scale_up.socket_switches};
    tree.switches = (tree.gpus + tree.switch_gpus - 1) / tree.switch_gpus;
    tree.sockets = (tree.switches + tree.socket_switches - 1) / tree.socket_switches;
    return tree;
}

static void add_lanes(MoeTopology *topology, gint64 node, const Tree *tree, guint32 first_switch)
{
    const MoeTopologyFile *file = &moe_topology_group(topology, node)->file;
    guint32 first_gpu = (guint32)moe_topology_machine(topology, node)->first_gpu;
    for (gint64 gpu = 0; gpu < tree->gpus; gpu++) {
        guint32 own = first_gpu + (guint32)gpu;
        guint32 hub = first_switch + (guint32)(gpu / tree->switch_gpus);
        for (int in = 0; in < 2; in++)
            moe_topology_add_link(
                topology, MOE_FABRIC_SCALE_UP, "GPU to PCIe switch",
                g_strdup_printf("node%" G_GINT64_FORMAT " gpu%" G_GINT64_FORMAT " pcie %s", node,
                                gpu, in ? "in" : "out"),
                in ? hub : own, in ? own : hub,
                file->scale_up.bandwidth * file->scale_up.efficiency, file->scale_up.latency / 2);
    }
}

static gboolean build(MoeTopology *topology, gint64 node, GError **error)
{
    (void)error;
    const MoeTopologyFile *file = &moe_topology_group(topology, node)->file;
    Tree tree = tree_of(topology, node);
    double uplink = isnan(file->scale_up.uplink_bandwidth) ? file->scale_up.bandwidth
                                                           : file->scale_up.uplink_bandwidth;
    double between =
        isnan(file->scale_up.socket_bandwidth) ? uplink : file->scale_up.socket_bandwidth;
    guint32 first_switch = topology->vertices->len;
    for (gint64 s = 0; s < tree.switches; s++)
        moe_topology_add_switch_take(
            topology, g_strdup_printf("node%" G_GINT64_FORMAT " pcie%" G_GINT64_FORMAT, node, s),
            -1);
    guint32 first_socket = topology->vertices->len;
    for (gint64 s = 0; s < tree.sockets; s++)
        moe_topology_add_switch_take(
            topology, g_strdup_printf("node%" G_GINT64_FORMAT " socket%" G_GINT64_FORMAT, node, s),
            -2);
    add_lanes(topology, node, &tree, first_switch);
    double latency = file->scale_up.latency / 2, efficiency = file->scale_up.efficiency;
    for (gint64 s = 0; s < tree.switches; s++)
        moe_topology_add_cable(
            topology, MOE_FABRIC_SCALE_UP, "PCIe switch to socket", first_switch + (guint32)s,
            first_socket + (guint32)(s / tree.socket_switches), uplink * efficiency, latency);
    for (gint64 i = 0; i < tree.sockets; i++)
        for (gint64 j = 0; j < tree.sockets; j++)
            if (i != j)
                moe_topology_add_link(topology, MOE_FABRIC_SCALE_UP, "socket to socket", NULL,
                                      first_socket + (guint32)i, first_socket + (guint32)j,
                                      between * efficiency, latency);
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 node, gint64 a, gint64 b, guint32 *links)
{
    Tree tree = tree_of(topology, node);
    guint32 first = moe_topology_machine(topology, node)->first_link;
    guint32 uplinks = first + 2 * (guint32)tree.gpus,
            sockets = uplinks + 2 * (guint32)tree.switches;
    gint64 sa = a / tree.switch_gpus, sb = b / tree.switch_gpus;
    gint64 i = sa / tree.socket_switches, j = sb / tree.socket_switches;
    int n = 0;
    links[n++] = first + 2 * (guint32)a;
    if (sa != sb)
        links[n++] = uplinks + 2 * (guint32)sa;
    if (i != j)
        links[n++] = sockets + (guint32)(i * (tree.sockets - 1) + (j < i ? j : j - 1));
    if (sa != sb)
        links[n++] = uplinks + 2 * (guint32)sb + 1;
    links[n++] = first + 2 * (guint32)b + 1;
    return n;
}

static guint32 lane(const MoeTopology *topology, gint64 node, gint64 gpu, gboolean in)
{
    return moe_topology_machine(topology, node)->first_link + 2 * (guint32)gpu + (in ? 1 : 0);
}

static const char *const keys[] = {"switch_gpus", "uplink_bandwidth", "socket_switches",
                                   "socket_bandwidth", NULL};

const MoeScaleUpKind moe_scale_up_pcie_tree = {
    .name = "pcie-tree", .keys = keys, .build = build, .route = route, .lane = lane};

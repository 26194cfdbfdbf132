#include "config.h"

#include "topologies/topology.h"

/* One switch per node: every GPU has a link up to it and a link down from it. The switch itself
 * never limits (NVSwitch is non-blocking). Link numbers: up of GPU g, then down of GPU g. */

static gboolean build(MoeTopology *topology, gint64 node, GError **error)
{
    (void)error;
    const MoeTopologyFile *file = &moe_topology_group(topology, node)->file;
    const MoeMachine *machine = moe_topology_machine(topology, node);
    double bandwidth = file->scale_up.bandwidth * file->scale_up.efficiency;
    guint32 hub = moe_topology_add_switch_take(
        topology, g_strdup_printf("node%" G_GINT64_FORMAT " switch", node), -1);
    for (gint64 gpu = 0; gpu < machine->n_gpus; gpu++) {
        guint32 vertex = (guint32)(machine->first_gpu + gpu);
        for (int in = 0; in < 2; in++)
            moe_topology_add_link(
                topology, MOE_FABRIC_SCALE_UP, "GPU to switch",
                g_strdup_printf("node%" G_GINT64_FORMAT " gpu%" G_GINT64_FORMAT " scale-up %s",
                                node, gpu, in ? "in" : "out"),
                in ? hub : vertex, in ? vertex : hub, bandwidth, file->scale_up.latency / 2);
    }
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 node, gint64 a, gint64 b, guint32 *links)
{
    guint32 first = moe_topology_machine(topology, node)->first_link;
    links[0] = first + 2 * (guint32)a;
    links[1] = first + 2 * (guint32)b + 1;
    return 2;
}

const MoeScaleUpKind moe_scale_up_nvswitch = {.name = "nvswitch", .build = build, .route = route};

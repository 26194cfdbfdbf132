#include "config.h"

#include "topologies/topology.h"

/* Direct links: every two GPUs of a node share a cable of their own, one link per direction; a
 * GPU's bandwidth is split evenly over its cables. With G GPUs, the link from local GPU a to b of a
 * node is number a*(G-1) + (b < a ? b : b-1) of the node's G*(G-1). */

static gboolean build(MoeTopology *topology, gint64 node, GError **error)
{
    const MoeTopologyFile *file = &moe_topology_group(topology, node)->file;
    const MoeMachine *machine = moe_topology_machine(topology, node);
    gint64 G = machine->n_gpus;
    if (G > 64)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "kind mesh with %" G_GINT64_FORMAT " GPUs per node; at most 64 have "
                        "direct links to all others",
                        G);
    double bandwidth = file->scale_up.bandwidth * file->scale_up.efficiency / (double)MAX(1, G - 1);
    for (gint64 gpu = 0; gpu < G; gpu++)
        for (gint64 peer = 0; peer < G; peer++)
            if (peer != gpu)
                moe_topology_add_link(
                    topology, MOE_FABRIC_SCALE_UP, "GPU to GPU",
                    g_strdup_printf("node%" G_GINT64_FORMAT " gpu%" G_GINT64_FORMAT
                                    " to gpu%" G_GINT64_FORMAT,
                                    node, gpu, peer),
                    (guint32)(machine->first_gpu + gpu), (guint32)(machine->first_gpu + peer),
                    bandwidth, file->scale_up.latency);
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 node, gint64 a, gint64 b, guint32 *links)
{
    const MoeMachine *machine = moe_topology_machine(topology, node);
    links[0] = machine->first_link + (guint32)(a * (machine->n_gpus - 1) + (b < a ? b : b - 1));
    return 1;
}

const MoeScaleUpKind moe_scale_up_mesh = {.name = "mesh", .build = build, .route = route};

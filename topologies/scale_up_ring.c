#include "config.h"

#include "topologies/topology.h"

/* A ring of GPUs that pass on each other's messages: a GPU's bandwidth is split over its two cables
 * (two GPUs share one cable, with all of it). Messages take the shorter way, of two equal ones
 * upwards from even GPUs and downwards from odd ones. Link numbers: from GPU g to the next is 2 g,
 * to the one before 2 g + 1; with two GPUs the link from GPU g to the other is g. */

static gboolean build(MoeTopology *topology, gint64 node, GError **error)
{
    const MoeTopologyFile *file = &moe_topology_group(topology, node)->file;
    const MoeMachine *machine = moe_topology_machine(topology, node);
    gint64 G = machine->n_gpus;
    if (G > 120)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "kind ring with %" G_GINT64_FORMAT
                        " GPUs per node; routes of at most 60 links, 120 GPUs, are simulated",
                        G);
    int ways = G > 2 ? 2 : 1;
    double bandwidth = file->scale_up.bandwidth * file->scale_up.efficiency / ways;
    for (gint64 gpu = 0; gpu < G && G > 1; gpu++)
        for (int down = 0; down < ways; down++) {
            gint64 peer = (gpu + (down ? G - 1 : 1)) % G;
            moe_topology_add_link(topology, MOE_FABRIC_SCALE_UP, "GPU to GPU",
                                  g_strdup_printf("node%" G_GINT64_FORMAT " gpu%" G_GINT64_FORMAT
                                                  " to gpu%" G_GINT64_FORMAT,
                                                  node, gpu, peer),
                                  (guint32)(machine->first_gpu + gpu),
                                  (guint32)(machine->first_gpu + peer), bandwidth,
                                  file->scale_up.latency);
        }
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 node, gint64 a, gint64 b, guint32 *links)
{
    const MoeMachine *machine = moe_topology_machine(topology, node);
    gint64 G = machine->n_gpus, up = (b - a + G) % G;
    if (G == 2) {
        links[0] = machine->first_link + (guint32)a;
        return 1;
    }
    gboolean down = up * 2 > G || (up * 2 == G && a % 2 != 0);
    gint64 hops = down ? G - up : up;
    for (gint64 i = 0; i < hops; i++) {
        gint64 at = (a + (down ? G - i : i)) % G;
        links[i] = machine->first_link + 2 * (guint32)at + (down ? 1 : 0);
    }
    return (int)hops;
}

const MoeScaleUpKind moe_scale_up_ring = {
    .name = "ring", .relays = TRUE, .build = build, .route = route};

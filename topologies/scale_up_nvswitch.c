#include "config.h"

#include "topologies/topology.h"

/* One switch per node: every GPU has a link up to it and a link down from it. The switch itself
 * never limits (NVSwitch is non-blocking). Link numbers: up of GPU g, then down of GPU g. */

static gboolean add_links(MoeTopology *topology, GError **error)
{
    (void)error;
    const MoeTopologyFile *file = &topology->file;
    double bandwidth = file->scale_up.bandwidth * file->scale_up.efficiency;
    for (gint64 gpu = 0; gpu < topology->n_gpus; gpu++) {
        for (int down = 0; down < 2; down++) {
            char *name = g_strdup_printf(
                "node%" G_GINT64_FORMAT " gpu%" G_GINT64_FORMAT " scale-up %s",
                gpu / file->gpus_per_node, gpu % file->gpus_per_node, down ? "in" : "out");
            moe_topology_add_link_take(topology, name, MOE_FABRIC_SCALE_UP, bandwidth,
                                       file->scale_up.latency / 2);
        }
    }
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 from, gint64 to, guint32 *links)
{
    if (moe_topology_node(topology, from) != moe_topology_node(topology, to))
        return 0;
    guint32 first = topology->first_link[MOE_FABRIC_SCALE_UP];
    links[0] = first + 2 * (guint32)from;
    links[1] = first + 2 * (guint32)to + 1;
    return 2;
}

static void write_zones(const MoeTopology *topology, GString *xml)
{
    const MoeTopologyFile *file = &topology->file;
    for (gint64 node = 0; node < file->nodes; node++)
        g_string_append_printf(
            xml,
            "<cluster id=\"scale-up%" G_GINT64_FORMAT "\" prefix=\"gpu\" suffix=\"\" "
            "radical=\"%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT "\" speed=\"1Gf\" bw=\"%.17gBps\" "
            "lat=\"%.17gs\" sharing_policy=\"SPLITDUPLEX\"/>\n",
            node, node * file->gpus_per_node, (node + 1) * file->gpus_per_node - 1,
            file->scale_up.bandwidth * file->scale_up.efficiency, file->scale_up.latency / 2);
}

const MoeFabricKind moe_scale_up_nvswitch = {"nvswitch", add_links, route, write_zones};

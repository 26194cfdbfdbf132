#include "config.h"

#include "topologies/topology.h"

/* Direct links: every two GPUs of a node share a cable of their own, one link per direction; a
 * GPU's bandwidth is split evenly over its cables. With G GPUs, the link from local GPU a to b of a
 * node is number a*(G-1) + (b < a ? b : b-1) of the node's G*(G-1). */

static double link_bandwidth(const MoeTopologyFile *file)
{
    double cables = (double)(file->gpus_per_node > 1 ? file->gpus_per_node - 1 : 1);
    return file->scale_up.bandwidth * file->scale_up.efficiency / cables;
}

static gboolean add_links(MoeTopology *topology, GError **error)
{
    const MoeTopologyFile *file = &topology->file;
    gint64 G = file->gpus_per_node;
    if (G > 64)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "kind mesh with %" G_GINT64_FORMAT " GPUs per node; at most 64 have "
                        "direct links to all others",
                        G);
    for (gint64 gpu = 0; gpu < topology->n_gpus; gpu++) {
        for (gint64 peer = 0; peer < G; peer++) {
            if (peer == gpu % G)
                continue;
            char *name = g_strdup_printf("node%" G_GINT64_FORMAT " gpu%" G_GINT64_FORMAT
                                         " to gpu%" G_GINT64_FORMAT,
                                         gpu / G, gpu % G, peer);
            moe_topology_add_link_take(topology, name, MOE_FABRIC_SCALE_UP, link_bandwidth(file),
                                       file->scale_up.latency);
        }
    }
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 from, gint64 to, guint32 *links)
{
    if (moe_topology_node(topology, from) != moe_topology_node(topology, to))
        return 0;
    gint64 G = topology->file.gpus_per_node, a = from % G, b = to % G;
    links[0] =
        topology->first_link[MOE_FABRIC_SCALE_UP] + (guint32)(from * (G - 1) + (b < a ? b : b - 1));
    return 1;
}

static void write_node(const MoeTopologyFile *file, gint64 node, GString *xml)
{
    gint64 G = file->gpus_per_node, first = node * G;
    g_string_append_printf(xml, "<zone id=\"scale-up%" G_GINT64_FORMAT "\" routing=\"Full\">\n",
                           node);
    for (gint64 a = first; a < first + G; a++)
        g_string_append_printf(xml, "<host id=\"gpu%" G_GINT64_FORMAT "\" speed=\"1Gf\"/>\n", a);
    for (gint64 a = first; a < first + G; a++)
        for (gint64 b = a + 1; b < first + G; b++)
            g_string_append_printf(xml,
                                   "<link id=\"mesh%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT
                                   "\" bandwidth=\"%.17gBps\" latency=\"%.17gs\" "
                                   "sharing_policy=\"SPLITDUPLEX\"/>\n",
                                   a, b, link_bandwidth(file), file->scale_up.latency);
    for (gint64 a = first; a < first + G; a++)
        for (gint64 b = first; b < first + G; b++)
            if (a != b)
                g_string_append_printf(xml,
                                       "<route src=\"gpu%" G_GINT64_FORMAT
                                       "\" dst=\"gpu%" G_GINT64_FORMAT
                                       "\" symmetrical=\"NO\"><link_ctn id=\"mesh%" G_GINT64_FORMAT
                                       "-%" G_GINT64_FORMAT "\" direction=\"%s\"/></route>\n",
                                       a, b, MIN(a, b), MAX(a, b), a < b ? "UP" : "DOWN");
    g_string_append(xml, "</zone>\n");
}

static void write_zones(const MoeTopology *topology, GString *xml)
{
    for (gint64 node = 0; node < topology->file.nodes; node++)
        write_node(&topology->file, node, xml);
}

const MoeFabricKind moe_scale_up_mesh = {"mesh", add_links, route, write_zones};

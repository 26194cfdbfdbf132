#include "config.h"

#include "topologies/topology.h"

/* A fabric that never limits: every NIC has a link out and a link in, and any two NICs reach each
 * other at full rate. Link numbers: out of NIC n, then in of NIC n. */

static gboolean add_links(MoeTopology *topology, GError **error)
{
    (void)error;
    const MoeTopologyFile *file = &topology->file;
    double bandwidth = file->nics.bandwidth * file->nics.efficiency;
    for (gint64 nic = 0; nic < topology->n_nics; nic++) {
        for (int in = 0; in < 2; in++) {
            char *name = g_strdup_printf("node%" G_GINT64_FORMAT " nic%" G_GINT64_FORMAT " %s",
                                         nic / file->nics.per_node, nic % file->nics.per_node,
                                         in ? "in" : "out");
            moe_topology_add_link_take(topology, name, MOE_FABRIC_SCALE_OUT, bandwidth,
                                       file->scale_out.latency / 2);
        }
    }
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 from, gint64 to, guint32 *links)
{
    gint64 a = moe_topology_nic(topology, from), b = moe_topology_nic(topology, to);
    if (a == b)
        return 0;
    guint32 first = topology->first_link[MOE_FABRIC_SCALE_OUT];
    links[0] = first + 2 * (guint32)a;
    links[1] = first + 2 * (guint32)b + 1;
    return 2;
}

static void write_zones(const MoeTopology *topology, GString *xml)
{
    const MoeTopologyFile *file = &topology->file;
    g_string_append_printf(xml,
                           "<cluster id=\"scale-out\" prefix=\"nic\" suffix=\"\" "
                           "radical=\"0-%" G_GINT64_FORMAT
                           "\" speed=\"1Gf\" bw=\"%.17gBps\" lat=\"%.17gs\" "
                           "sharing_policy=\"SPLITDUPLEX\"/>\n",
                           topology->n_nics - 1, file->nics.bandwidth * file->nics.efficiency,
                           file->scale_out.latency / 2);
}

const MoeFabricKind moe_scale_out_non_blocking = {"non-blocking", add_links, route, write_zones};

#include "config.h"

#include "topologies/topology.h"

/* No scale-up domain: GPUs of a node reach each other through their NICs. */

static gboolean add_links(MoeTopology *topology, GError **error)
{
    (void)topology;
    (void)error;
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 from, gint64 to, guint32 *links)
{
    (void)topology;
    (void)from;
    (void)to;
    (void)links;
    return 0;
}

/* The GPUs' own hosts are there, for the programs that run on them. */
static void write_zones(const MoeTopology *topology, GString *xml)
{
    g_string_append(xml, "<zone id=\"gpus\" routing=\"None\">\n");
    for (gint64 gpu = 0; gpu < topology->n_gpus; gpu++)
        g_string_append_printf(xml, "<host id=\"gpu%" G_GINT64_FORMAT "\" speed=\"1Gf\"/>\n", gpu);
    g_string_append(xml, "</zone>\n");
}

const MoeFabricKind moe_scale_up_none = {"none", add_links, route, write_zones};

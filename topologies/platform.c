#include "config.h"

#include "topologies/topology.h"

enum { MOST_ROUTES = 1 << 22 };

/* --- what a <cluster> can say ---------------------------------------------------------------- */

static gboolean uniform(const MoeTopology *topology, guint32 first, guint32 end)
{
    const MoeLink *one = first < end ? moe_topology_link(topology, first) : NULL;
    for (guint32 l = first; l < end; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        if (link->broken || link->bandwidth != one->bandwidth || link->latency != one->latency)
            return FALSE;
    }
    return one != NULL;
}

/* Routes between rails name links of the scale-up domain. */
static gboolean up_is_cluster(const MoeTopology *topology, gint64 node)
{
    const MoeMachine *machine = moe_topology_machine(topology, node);
    return topology->scale_out != &moe_scale_out_rail_only &&
           topology->file.scale_out.cross_rail == MOE_CROSS_RAIL_SPINE &&
           moe_topology_group(topology, node)->scale_up == &moe_scale_up_nvswitch &&
           uniform(topology, machine->first_link, machine->end_link);
}

/* One host per NIC: the GPUs' NICs must not depend on the peer, nor lanes lie in between. */
static gboolean out_is_cluster(const MoeTopology *topology)
{
    if (topology->scale_out != &moe_scale_out_non_blocking ||
        !uniform(topology, topology->first_link[MOE_FABRIC_SCALE_OUT],
                 topology->end_link[MOE_FABRIC_SCALE_OUT]) ||
        topology->first_pcie != MOE_NO_LINK)
        return FALSE;
    for (guint m = 0; m < topology->machines->len; m++) {
        const MoeMachine *machine = moe_topology_machine(topology, m);
        const MoeGroup *group = moe_topology_group(topology, m);
        if (group->scale_up->lane != NULL || machine->n_nics == 0 ||
            (machine->n_nics > machine->n_gpus && group->file.nics.affinity == NULL))
            return FALSE;
    }
    return TRUE;
}

static void add_cluster(const char *id, const char *prefix, gint64 first, gint64 last,
                        const MoeLink *link, GString *xml)
{
    g_string_append_printf(xml,
                           "<cluster id=\"%s\" prefix=\"%s\" suffix=\"\" "
                           "radical=\"%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT
                           "\" speed=\"1Gf\" bw=\"%.17gBps\" lat=\"%.17gs\" "
                           "sharing_policy=\"SPLITDUPLEX\"/>\n",
                           id, prefix, first, last, link->bandwidth, link->latency);
}

/* --- stated routes --------------------------------------------------------------------------- */

static void add_links(const MoeTopology *topology, guint32 first, guint32 end, GString *xml)
{
    for (guint32 l = first; l < end; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        g_autofree char *name = g_markup_escape_text(link->name, -1);
        g_string_append_printf(xml,
                               "<link id=\"l%u\" bandwidth=\"%.17gBps\" latency=\"%.17gs\">"
                               "<prop id=\"name\" value=\"%s\"/></link>\n",
                               l, link->bandwidth, link->latency, name);
    }
}

static void add_route(const MoeTopology *topology, MoeFabric fabric, const char *prefix, gint64 a,
                      gint64 b, GString *xml)
{
    guint32 links[MOE_ROUTE_MOST];
    int n = moe_topology_route(topology, fabric, a, b, links);
    if (n == 0)
        return;
    g_string_append_printf(xml,
                           "<route src=\"%s%" G_GINT64_FORMAT "\" dst=\"%s%" G_GINT64_FORMAT
                           "\" symmetrical=\"NO\">",
                           prefix, a, prefix, b);
    for (int i = 0; i < n; i++)
        g_string_append_printf(xml, "<link_ctn id=\"l%u\"/>", links[i]);
    g_string_append(xml, "</route>\n");
}

/* GPUs @first to @end - 1 with the routes between them, and links @from to @to - 1. */
static void add_zone(const MoeTopology *topology, MoeFabric fabric, const char *id, gint64 first,
                     gint64 end, guint32 from, guint32 to, GString *xml)
{
    const char *prefix = fabric == MOE_FABRIC_SCALE_UP ? "gpu" : "port";
    g_string_append_printf(xml, "<zone id=\"%s\" routing=\"%s\">\n", id,
                           from < to ? "Full" : "None");
    for (gint64 gpu = first; gpu < end; gpu++)
        g_string_append_printf(xml, "<host id=\"%s%" G_GINT64_FORMAT "\" speed=\"1Gf\"/>\n", prefix,
                               gpu);
    add_links(topology, from, to, xml);
    for (gint64 a = first; a < end && from < to; a++)
        for (gint64 b = first; b < end; b++)
            if (a != b)
                add_route(topology, fabric, prefix, a, b, xml);
    g_string_append(xml, "</zone>\n");
}

static void add_scale_up(const MoeTopology *topology, GString *xml)
{
    for (guint m = 0; m < topology->machines->len; m++) {
        const MoeMachine *machine = moe_topology_machine(topology, m);
        gint64 end = machine->first_gpu + machine->n_gpus;
        g_autofree char *id = g_strdup_printf("scale-up%u", m);
        if (up_is_cluster(topology, m))
            add_cluster(id, "gpu", machine->first_gpu, end - 1,
                        moe_topology_link(topology, machine->first_link), xml);
        else
            add_zone(topology, MOE_FABRIC_SCALE_UP, id, machine->first_gpu, end,
                     machine->first_link, machine->end_link, xml);
    }
}

/* --- questions ------------------------------------------------------------------------------- */

char *moe_topology_host(const MoeTopology *topology, MoeFabric fabric, gint64 gpu)
{
    if (fabric == MOE_FABRIC_SCALE_UP)
        return g_strdup_printf("gpu%" G_GINT64_FORMAT, gpu);
    if (out_is_cluster(topology))
        return g_strdup_printf("nic%" G_GINT64_FORMAT, moe_topology_nic(topology, gpu));
    return g_strdup_printf("port%" G_GINT64_FORMAT, gpu);
}

gboolean moe_topology_check_platform(const MoeTopology *topology, GError **error)
{
    gint64 routes = 0;
    for (guint m = 0; m < topology->machines->len; m++) {
        const MoeMachine *machine = moe_topology_machine(topology, m);
        if (!up_is_cluster(topology, m))
            routes += machine->n_gpus * (machine->n_gpus - 1);
    }
    if (topology->n_nics > 0 && !out_is_cluster(topology))
        routes += topology->n_gpus * (topology->n_gpus - 1);
    return routes <= MOST_ROUTES ||
           moe_fail(error, MOE_ERROR_INPUT,
                    "%" G_GINT64_FORMAT " GPUs: SimGrid would need %" G_GINT64_FORMAT
                    " routes, at most %d are written; take fewer nodes, or scale_out: non-blocking",
                    topology->n_gpus, routes, MOST_ROUTES);
}

char *moe_topology_platform(const MoeTopology *topology)
{
    GString *xml = g_string_new("<?xml version='1.0'?>\n"
                                "<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
                                "<platform version=\"4.1\">\n"
                                "<zone id=\"cluster\" routing=\"None\">\n");
    add_scale_up(topology, xml);
    guint32 first = topology->first_link[MOE_FABRIC_SCALE_OUT];
    if (topology->n_nics > 0 && out_is_cluster(topology))
        add_cluster("scale-out", "nic", 0, topology->n_nics - 1, moe_topology_link(topology, first),
                    xml);
    else if (topology->n_nics > 0)
        add_zone(topology, MOE_FABRIC_SCALE_OUT, "scale-out", 0, topology->n_gpus, first,
                 topology->end_link[MOE_FABRIC_SCALE_OUT], xml);
    g_string_append(xml, "</zone>\n</platform>\n");
    return g_string_free(xml, FALSE);
}

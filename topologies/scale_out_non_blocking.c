#include "config.h"

#include "topologies/topology.h"

/* A fabric that never limits: every NIC has a link out and a link in, and any two NICs reach each
 * other at full rate, as over one switch. */

static gboolean build(MoeTopology *topology, GError **error)
{
    (void)error;
    guint32 fabric = moe_topology_add_switch_take(topology, g_strdup("fabric"), 2);
    for (gint64 nic = 0; nic < topology->n_nics; nic++)
        moe_topology_plug(topology, nic, fabric);
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 a, gint64 b, guint32 *links)
{
    (void)topology;
    (void)a;
    (void)b;
    (void)links;
    return 0;
}

const MoeScaleOutKind moe_scale_out_non_blocking = {
    .name = "non-blocking", .build = build, .route = route};

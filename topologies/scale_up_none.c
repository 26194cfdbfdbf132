#include "config.h"

#include "topologies/topology.h"

/* No scale-up domain: GPUs of a node reach each other through their NICs. */

static gboolean build(MoeTopology *topology, gint64 node, GError **error)
{
    (void)topology;
    (void)node;
    (void)error;
    return TRUE;
}

static int route(const MoeTopology *topology, gint64 node, gint64 a, gint64 b, guint32 *links)
{
    (void)topology;
    (void)node;
    (void)a;
    (void)b;
    (void)links;
    return 0;
}

const MoeScaleUpKind moe_scale_up_none = {.name = "none", .build = build, .route = route};

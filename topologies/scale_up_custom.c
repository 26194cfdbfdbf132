#include "config.h"

#include "topologies/graph.h"

/* The domain that the file draws: the same graph in every node of the group. */

static gboolean build(MoeTopology *topology, gint64 node, GError **error)
{
    const MoeTopologyFile *file = &moe_topology_group(topology, node)->file;
    return moe_graph_build(topology, MOE_FABRIC_SCALE_UP, node, file->scale_up.graph,
                           file->scale_up.bandwidth, file->scale_up.efficiency, error);
}

static const char *const keys[] = {"graph", NULL};

const MoeScaleUpKind moe_scale_up_custom = {
    .name = "custom", .keys = keys, .relays = TRUE, .build = build};

#include "config.h"

#include "topologies/graph.h"

/* The fabric that the file draws, the NICs' own links included. */

static gboolean build(MoeTopology *topology, GError **error)
{
    const MoeTopologyFile *first = &g_array_index(topology->groups, MoeGroup, 0).file;
    return moe_graph_build(topology, MOE_FABRIC_SCALE_OUT, -1, topology->file.scale_out.graph,
                           first->nics.bandwidth, first->nics.efficiency, error);
}

static const char *const keys[] = {"graph", NULL};

const MoeScaleOutKind moe_scale_out_custom = {
    .name = "custom", .keys = keys, .own_nic_links = TRUE, .build = build};

#include "config.h"

#include "topologies/grid.h"

/* A grid of routers whose axes end. */

static gboolean build(MoeTopology *topology, GError **error)
{
    return moe_grid_build(topology, FALSE, error);
}

static const char *const keys[] = {"hop_latency", "switch_nics", "link_bandwidth", "dimensions",
                                   NULL};

const MoeScaleOutKind moe_scale_out_mesh = {
    .name = "mesh", .keys = keys, .build = build, .route = moe_grid_route};

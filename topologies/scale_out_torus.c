#include "config.h"

#include "topologies/grid.h"

/* A grid of routers whose axes close: from the last router back to the first. */

static gboolean build(MoeTopology *topology, GError **error)
{
    return moe_grid_build(topology, TRUE, error);
}

static const char *const keys[] = {"hop_latency", "switch_nics", "link_bandwidth", "dimensions",
                                   NULL};

const MoeScaleOutKind moe_scale_out_torus = {
    .name = "torus", .keys = keys, .build = build, .route = moe_grid_route};

#include "config.h"

#include "topologies/fat_tree.h"

/* One non-blocking switch per rail and nothing between rails (Wang et al., "Rail-only",
 * arXiv 2307.12169): messages to another rail go through the scale-up domain first. */

static gboolean build(MoeTopology *topology, GError **error)
{
    return moe_fat_tree_build(topology, MOE_LEAVES_RAILS, FALSE, error);
}

const MoeScaleOutKind moe_scale_out_rail_only = {
    .name = "rail-only", .build = build, .route = moe_fat_tree_route};

#include "config.h"

#include "topologies/fat_tree.h"

/* NIC r of every node is on rail r: switch_nics nodes share one leaf per rail. Messages within a
 * rail of such nodes stay on its leaf; others go over the spines, or (cross_rail: scale-up) first
 * through the scale-up domain to the GPU that is on the destination's rail, as NCCL's PXN does. */

static gboolean build(MoeTopology *topology, GError **error)
{
    return moe_fat_tree_build(topology, MOE_LEAVES_RAILS, TRUE, error);
}

static const char *const keys[] = {"hop_latency",           "levels",         "switch_nics",
                                   "oversubscription",      "link_bandwidth", "group_switches",
                                   "core_oversubscription", "cross_rail",     NULL};

const MoeScaleOutKind moe_scale_out_rail_optimised = {
    .name = "rail-optimised", .keys = keys, .build = build, .route = moe_fat_tree_route};

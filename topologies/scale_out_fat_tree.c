#include "config.h"

#include "topologies/fat_tree.h"

/* A fat tree of two or three levels, NICs side by side on the leaves. */

static gboolean build(MoeTopology *topology, GError **error)
{
    return moe_fat_tree_build(topology, MOE_LEAVES_BLOCKS, TRUE, error);
}

static const char *const keys[] = {
    "hop_latency",    "levels",         "switch_nics",           "oversubscription",
    "link_bandwidth", "group_switches", "core_oversubscription", NULL};

const MoeScaleOutKind moe_scale_out_fat_tree = {
    .name = "fat-tree", .keys = keys, .build = build, .route = moe_fat_tree_route};

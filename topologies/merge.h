/* merge.h - a topology's keys over those of the preset or file that it builds on.
 *
 * Layer: topologies. What a description says of a cluster goes no further than what is as it was:
 * where keys are changed, the words that the preset has for them are introduced by which ones.
 */
#ifndef MOE_TOPOLOGIES_MERGE_H
#define MOE_TOPOLOGIES_MERGE_H

#include "sim/base/node.h"

/* The preset's map with the keys of @node over it. Where these change the cluster (nodes alone does
 * not where the preset leaves it open) and do not say themselves what it is, it is called "h800,
 * changed" and described as "as h800 but for nics.bandwidth, links", and the sources of the maps with
 * changed keys begin with "changed: bandwidth; h800: ". Free with moe_node_free(). Errors:
 * MOE_ERROR_INPUT; NULL then. */
MoeNode *moe_topology_merge(const MoeNode *node, const char *base_dir,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Lays the keys of the map @over over those of @base, map by map; sources as above, with @name for
 * the preset's, which says whose the rest of the words are. */
void moe_topology_overlay(MoeNode *base, const MoeNode *over, const char *name);

#endif

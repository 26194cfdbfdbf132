/* fat_tree.h - leaves, spines, cores: what the fat tree and the fabrics of rails share.
 *
 * Layer: topologies. Leaf switches hold switch_nics NICs each and have U uplinks:
 *
 *   U = switch_nics * NIC bandwidth / (oversubscription * link bandwidth)
 *
 * Two levels: uplink u goes to spine u. Three: leaves form pods of group_switches; uplink u goes to
 * spine u of the pod, which has C = group_switches / core_oversubscription uplinks to the cores
 * (u, 0 ... C-1), shared by all pods. Routing is static and chosen by the destination (Zahavi's
 * D-mod-k): a NIC at place s of its leaf is reached over spine s mod U and, from other pods, core
 * (leaf in its pod * ceil(switch_nics / U) + s / U) mod C. So the NICs of a leaf use its downlinks
 * evenly, and routes are closed forms.
 */
#ifndef MOE_TOPOLOGIES_FAT_TREE_H
#define MOE_TOPOLOGIES_FAT_TREE_H

#include "topologies/topology.h"

/* Which leaf a NIC is plugged into: side by side, or its rail's. */
typedef enum { MOE_LEAVES_BLOCKS, MOE_LEAVES_RAILS } MoeLeaves;

/* Builds the fabric; @spines FALSE leaves the leaves apart. Errors: MOE_ERROR_INPUT (nodes with
 * different numbers of NICs on rails, numbers of uplinks that are no whole ones). */
gboolean moe_fat_tree_build(MoeTopology *topology, MoeLeaves leaves, gboolean spines,
                            GError **error);

/* The route of MoeScaleOutKind for it. */
int moe_fat_tree_route(const MoeTopology *topology, gint64 a, gint64 b, guint32 *links);

#endif

/* read.h - from YAML to the description of each group of nodes.
 *
 * Layer: topologies.
 */
#ifndef MOE_TOPOLOGIES_READ_H
#define MOE_TOPOLOGIES_READ_H

#include "topologies/topology.h"

/* The most GPUs of a cluster. */
enum { MOE_TOPOLOGY_MOST_GPUS = 1 << 16 };

/* The rows of the kinds, by index. */
const MoeScaleUpKind *moe_scale_up_kind(int index);
const MoeScaleOutKind *moe_scale_out_kind(int index);

/* The node of @key in the map @part of @root, or what is there of the way to it: where a message
 * about it points. */
const MoeNode *moe_topology_at(const MoeNode *root, const char *part, const char *key);

/* Fills file, groups, n_gpus and n_nics from @tree, which the topology has taken. Checks all that
 * can be checked before there are links. Errors: MOE_ERROR_INPUT. */
gboolean moe_topology_read_groups(MoeTopology *topology, gint64 default_nodes,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Frees what a MoeGroup owns: the clear function of MoeTopology.groups. */
void moe_group_clear(gpointer group);

#endif

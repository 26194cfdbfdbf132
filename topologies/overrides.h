/* overrides.h - links that are not as their kind says: slow, far, broken.
 *
 * Layer: topologies.
 */
#ifndef MOE_TOPOLOGIES_OVERRIDES_H
#define MOE_TOPOLOGIES_OVERRIDES_H

#include "topologies/topology.h"

/* The keys of an entry of "links". */
extern const MoeField moe_override_fields[];

/* Changes the links that the list @links names, in its order. Errors: MOE_ERROR_INPUT (a name that
 * no link has, with the nearest one). NULL: nothing to do. */
gboolean moe_topology_override(MoeTopology *topology, const MoeNode *links, GError **error);

#endif

/* graph.h - custom graphs: switches and links as the file states them.
 *
 * Layer: topologies.
 */
#ifndef MOE_TOPOLOGIES_GRAPH_H
#define MOE_TOPOLOGIES_GRAPH_H

#include "topologies/topology.h"

/* The keys of a graph, of a link of it, of a stated route of it. */
extern const MoeField moe_graph_fields[], moe_graph_link_fields[], moe_graph_route_fields[];

/* Appends the switches and links of @graph. Endpoints are GPUs @node's "gpu0" ... in the scale-up
 * domain, all NICs "node0 nic0" ... in the scale-out fabric (@node is -1), where "from" may hold *
 * and ? for many at once. A link without a bandwidth has @bandwidth; a given one is multiplied by
 * @efficiency. Errors: MOE_ERROR_INPUT. */
gboolean moe_graph_build(MoeTopology *topology, MoeFabric fabric, gint64 node, const MoeNode *graph,
                         double bandwidth, double efficiency, GError **error);

/* Puts the stated routes of @graph into the fabric's paths. Errors: MOE_ERROR_INPUT (no such vertex,
 * no such link). */
gboolean moe_graph_state_routes(MoeTopology *topology, MoeFabric fabric, gint64 node,
                                const MoeNode *graph, GError **error);

#endif

/* paths.h - shortest paths over the links that work: for custom graphs and around broken links.
 *
 * Layer: topologies.
 */
#ifndef MOE_TOPOLOGIES_PATHS_H
#define MOE_TOPOLOGIES_PATHS_H

#include "topologies/topology.h"

/* For each endpoint of @fabric (GPUs in scale-up domains, NICs in the scale-out fabric) the next
 * link from every vertex, over the fewest links; of several, number (endpoint mod how many) in the
 * order of the file, so that destinations spread as under static routing. NICs never pass messages
 * on, GPUs only in kinds that relay. Errors: MOE_ERROR_INPUT (over 2^26 entries); NULL then. */
MoePaths *moe_paths_new(const MoeTopology *topology, MoeFabric fabric,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_paths_free(MoePaths *paths);

/* Makes the route from endpoint @from to endpoint @to (numbers of GPUs or NICs) the links @links.
 */
void moe_paths_state(MoePaths *paths, gint64 from, gint64 to, const guint32 *links, guint n);

/* The links from endpoint @from to endpoint @to; returns how many, 0 when there is no path or it
 * is longer than @most. */
int moe_paths_route(const MoePaths *paths, const MoeTopology *topology, gint64 from, gint64 to,
                    guint32 *links, int most);

#endif

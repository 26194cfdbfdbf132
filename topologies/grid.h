/* grid.h - routers on a grid: what torus and mesh share.
 *
 * Layer: topologies. Each router has a cable to its neighbours along every axis, on a torus also
 * from the last back to the first (axes of two have one cable). Router numbers count the last axis
 * fastest. Routing is static, axis by axis from the first on, the shorter way round; of two equal
 * ways upwards from routers with an even coordinate and downwards from odd ones.
 */
#ifndef MOE_TOPOLOGIES_GRID_H
#define MOE_TOPOLOGIES_GRID_H

#include "topologies/topology.h"

/* Builds it; @wraps makes it a torus. Errors: MOE_ERROR_INPUT (more than 8 axes, routers that are
 * not the product of the axes, routes too long). */
gboolean moe_grid_build(MoeTopology *topology, gboolean wraps, GError **error);

/* The route of MoeScaleOutKind for it. */
int moe_grid_route(const MoeTopology *topology, gint64 a, gint64 b, guint32 *links);

/* The extents of the axes of a topology whose fabric is a grid; returns how many. For drawings. */
int moe_grid_axes(const MoeTopology *topology, const gint64 **extents_out);

#endif

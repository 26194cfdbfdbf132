/* routes.h - the routes of a cluster, each looked up once.
 *
 * Layer: topologies. moe_topology_route() works a route out; whoever asks for the same pairs again
 * and again keeps them here: 8 bytes per pair of GPUs of a fabric, and 4 per link of a route. Of more
 * than 8,192 GPUs none are kept, and each look-up works its route out.
 */
#ifndef MOE_TOPOLOGIES_ROUTES_H
#define MOE_TOPOLOGIES_ROUTES_H

#include "topologies/topology.h"

typedef struct MoeRoutes MoeRoutes;

typedef struct {
    const guint32 *links; /* [n]; borrowed until the next look-up */
    guint n;              /* 0: the fabric does not connect the two */
    guint path;           /* its kind: paths of one number have one latency and bandwidth */
    double latency;       /* s: the sum of the links' */
    double bandwidth;     /* bytes/s: the least of the links' */
} MoeRoute;

/* Of the first @n_gpus GPUs of a cluster. Free with moe_routes_free(). */
MoeRoutes *moe_routes_new(gint64 n_gpus);
void moe_routes_free(MoeRoutes *routes);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeRoutes, moe_routes_free)

/* The route of a message on @topology, the same one every time; from != to. */
MoeRoute moe_routes_get(MoeRoutes *routes, const MoeTopology *topology, MoeFabric fabric,
                        gint64 from, gint64 to);

#endif

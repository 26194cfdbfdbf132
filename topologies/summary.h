/* summary.h - what a cluster amounts to: bisection, links by kind, the ladder of bandwidths; and
 * where a drawing puts its parts.
 *
 * Layer: topologies.
 */
#ifndef MOE_TOPOLOGIES_SUMMARY_H
#define MOE_TOPOLOGIES_SUMMARY_H

#include "topologies/topology.h"

/* The bandwidth, bytes/s, from the first half of the fabric's endpoints (GPUs of node 0 for the
 * scale-up domain, NICs of the whole cluster for the scale-out fabric) to the others, in their
 * order: the largest flow over the links that work (Dinic), whatever the routing. 0 with fewer than
 * two endpoints. */
double moe_topology_bisection(const MoeTopology *topology, MoeFabric fabric);

/* Links that are alike. */
typedef struct {
    MoeFabric fabric;
    const char *kind; /* borrowed */
    double bandwidth; /* bytes/s */
    gint64 count, broken;
} MoeLinkCount;

/* All links, in the order of the first of their kind; GArray of MoeLinkCount, free with
 * g_array_unref(). */
GArray *moe_topology_count_links(const MoeTopology *topology);

/* Peers of GPU 0 that are equally near. */
typedef struct {
    MoeFabric fabric;
    int links;
    double bandwidth, latency; /* of the route, alone */
    gint64 peers;
} MoeRung;

/* The ladder of GPU 0, nearest first; GArray of MoeRung, free with g_array_unref(). */
GArray *moe_topology_ladder(const MoeTopology *topology);

/* Writes, for plots/topology.gp, "x,y,part" of every vertex to @vertices (0 GPU, 1 NIC, 2 switch, 3
 * port of a GPU's PCIe lanes) and "x,y,dx,dy,bandwidth,state,fabric" of every pair of vertices that
 * links join to @links (state, the worst of any link between the two: 0 as usual, 1 slowed by the
 * file, 2 broken), as CSV with a header. */
void moe_topology_draw(const MoeTopology *topology, GString *vertices, GString *links);

#endif

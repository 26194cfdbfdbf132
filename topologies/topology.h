/* topology.h - the cluster: GPUs, NICs, links, and which links a message crosses.
 *
 * Layer: topologies. Every GPU has one endpoint in each fabric that it is attached to: the scale-up
 * domain of its node (NVLink, xGMI), and, through its NIC, the scale-out fabric. Which of the two a
 * message takes is the algorithm's choice. GPUs, NICs and links are numbered from 0, node by node.
 * A MoeTopology does not change after it is built and may be shared by threads.
 */
#ifndef MOE_TOPOLOGIES_TOPOLOGY_H
#define MOE_TOPOLOGIES_TOPOLOGY_H

#include "topologies/gpu.h"

typedef enum { MOE_FABRIC_SCALE_UP, MOE_FABRIC_SCALE_OUT, MOE_FABRIC_COUNT } MoeFabric;

/* "scale-up", "scale-out". */
const char *moe_fabric_name(MoeFabric fabric);

/* One direction of a cable or port. */
typedef struct {
    char *name; /* "node0 gpu3 up" */
    MoeFabric fabric;
    double bandwidth; /* bytes/s that reach the other end: nominal times efficiency */
    double latency;   /* s */
} MoeLink;

/* As written in YAML; see moe_topology_fields for the keys. */
typedef struct {
    char *name, *description, *gpu;
    struct {
        char *scale_up, *nics, *scale_out;
    } sources;
    gint64 nodes, gpus_per_node;
    struct {
        int kind; /* index into moe_scale_up_kinds() */
        double bandwidth, efficiency, latency;
    } scale_up;
    struct {
        gint64 per_node; /* 0: none */
        double bandwidth, efficiency;
        GArray *affinity; /* gint64: NIC of each GPU of a node; NULL: shared evenly */
    } nics;
    struct {
        int kind; /* index into moe_scale_out_kinds() */
        double latency;
    } scale_out;
} MoeTopologyFile;

typedef struct MoeTopology MoeTopology;

/* A row per kind of scale-up domain or scale-out fabric. A new kind is one file and one row. */
typedef struct {
    const char *name;
    /* Appends the links of the fabric, for all nodes. Errors: MOE_ERROR_INPUT. */
    gboolean (*add_links)(MoeTopology *topology, GError **error);
    /* The links from the endpoint of GPU @from to that of GPU @to, in order; returns how many (at
     * most MOE_ROUTE_MOST), 0 when the fabric does not connect them. */
    int (*route)(const MoeTopology *topology, gint64 from, gint64 to, guint32 *links);
    /* Appends zones for SimGrid's platform file whose routes between the endpoints' hosts
     * (moe_topology_host()) cross the same links. */
    void (*write_zones)(const MoeTopology *topology, GString *xml);
} MoeFabricKind;

enum { MOE_ROUTE_MOST = 8 };

struct MoeTopology {
    MoeTopologyFile file;
    MoeGpu gpu;
    const MoeFabricKind *kinds[MOE_FABRIC_COUNT];
    gint64 n_gpus, n_nics;
    GArray *links;                        /* MoeLink */
    guint32 first_link[MOE_FABRIC_COUNT]; /* of each fabric */
    guint32 end_link[MOE_FABRIC_COUNT];   /* behind its last */
};

extern const MoeField moe_topology_fields[];
const char *const *moe_scale_up_kinds(void);
const char *const *moe_scale_out_kinds(void);

/* Reads the topology in the map @node, or in the preset or file that its key "preset" names, with
 * its other keys overriding that file's. nodes may be left out: then it is @default_nodes, unless
 * that is 0. Paths are relative to @base_dir. Free with moe_topology_free(). Errors:
 * MOE_ERROR_INPUT; NULL then. */
MoeTopology *moe_topology_read(const MoeNode *node, const char *base_dir, gint64 default_nodes,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for a preset or file. */
MoeTopology *moe_topology_load(const char *name, gint64 default_nodes,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* GPUs of a node in the topology that @node describes, before it is built: what a plan needs to
 * know how many nodes it wants. 0 with MOE_ERROR_INPUT. */
gint64 moe_topology_gpus_per_node(const MoeNode *node, const char *base_dir, GError **error);

void moe_topology_free(MoeTopology *topology);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeTopology, moe_topology_free)

/* The node of a GPU; its NIC (-1: none). */
static inline gint64 moe_topology_node(const MoeTopology *topology, gint64 gpu)
{
    return gpu / topology->file.gpus_per_node;
}
gint64 moe_topology_nic(const MoeTopology *topology, gint64 gpu);

/* The fabric that connects two GPUs most directly: the scale-up domain inside a node that has one,
 * the scale-out fabric otherwise. */
MoeFabric moe_topology_fabric(const MoeTopology *topology, gint64 from, gint64 to);

/* The links that a message crosses (see MoeFabricKind.route); from != to. */
int moe_topology_route(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to,
                       guint32 links[MOE_ROUTE_MOST]);

/* The sum of the latencies and the least bandwidth of a route. */
double moe_topology_latency(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to);
double moe_topology_bandwidth(const MoeTopology *topology, MoeFabric fabric, gint64 from,
                              gint64 to);

/* The name of the simulated host that is the endpoint of @gpu in @fabric. GPUs that share a NIC
 * share one. Free with g_free(). */
char *moe_topology_host(const MoeTopology *topology, MoeFabric fabric, gint64 gpu);

/* The whole cluster as a platform file of SimGrid (platform DTD 4.1). Free with g_free(). */
char *moe_topology_platform(const MoeTopology *topology);

/* For the kinds: appends a link; returns its number. @name is taken. */
guint32 moe_topology_add_link_take(MoeTopology *topology, char *name, MoeFabric fabric,
                                   double bandwidth, double latency);

extern const MoeFabricKind moe_scale_up_none, moe_scale_up_nvswitch, moe_scale_up_mesh;
extern const MoeFabricKind moe_scale_out_non_blocking;

#endif

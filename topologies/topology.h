/* topology.h - the cluster: GPUs, NICs, links, and which links a message crosses.
 *
 * Layer: topologies. Every GPU has one endpoint in each fabric that it is attached to: the scale-up
 * domain of its node (NVLink, xGMI), and, through its NICs, the scale-out fabric. Which of the two a
 * message takes is the algorithm's choice. Nodes, GPUs, NICs and links are numbered from 0, node by
 * node. A MoeTopology does not change after it is built and may be shared by threads.
 */
#ifndef MOE_TOPOLOGIES_TOPOLOGY_H
#define MOE_TOPOLOGIES_TOPOLOGY_H

#include "topologies/gpu.h"

typedef enum { MOE_FABRIC_SCALE_UP, MOE_FABRIC_SCALE_OUT, MOE_FABRIC_COUNT } MoeFabric;

/* "scale-up", "scale-out". */
const char *moe_fabric_name(MoeFabric fabric);

/* The most links that a route may cross; what would be longer is an error of the file. */
enum { MOE_ROUTE_MOST = 72 };

/* One direction of a cable or port. */
typedef struct {
    char *name; /* "node0 gpu3 up" */
    MoeFabric fabric;
    double bandwidth; /* bytes/s that reach the other end: nominal times efficiency */
    double latency;   /* s */
    const char *kind; /* "NIC", "leaf to spine": what summaries count it as; static */
    guint32 from, to; /* vertices */
    gboolean broken;  /* carries nothing: no route crosses it */
    gboolean differs; /* the file's "links" changed it */
    gboolean slowed;  /* they left it less bandwidth or gave it more latency */
} MoeLink;

/* An end of links: GPU g is vertex g, NIC n is vertex n_gpus + n, switches follow. */
typedef struct {
    char *name; /* "node0 nic3", "leaf2" */
    int level; /* for drawings: -2 ... -1 switches inside of nodes, 0 GPUs, 1 NICs, 2 ... switches */
} MoeVertex;

/* As written in YAML; see moe_topology_fields for the keys. A group of nodes has one of its own. */
typedef struct {
    char *name, *description, *gpu;
    struct {
        char *scale_up, *nics, *scale_out;
    } sources;
    gint64 nodes, gpus_per_node;
    struct {
        int kind; /* index into moe_scale_up_kinds() */
        double bandwidth, efficiency, latency;
        gint64 switch_gpus, socket_switches;
        double uplink_bandwidth, socket_bandwidth; /* NaN: as bandwidth */
        const MoeNode *graph;
    } scale_up;
    struct {
        gint64 per_node; /* 0: none */
        double bandwidth, efficiency;
        double pcie;      /* NaN: never limits */
        GArray *affinity; /* gint64: NIC of each GPU of a node; NULL: shared evenly */
    } nics;
    struct {
        int kind; /* index into moe_scale_out_kinds() */
        double latency, hop_latency;
        gint64 levels, switch_nics, group_switches, global_links; /* 0: not given */
        double oversubscription, core_oversubscription;
        double link_bandwidth, global_bandwidth; /* NaN: as the NICs' */
        GArray *dimensions;                      /* gint64; NULL: as even as can be */
        int cross_rail;                          /* MoeCrossRail */
        const MoeNode *graph;
    } scale_out;
    const MoeNode *groups, *links, *kernels;
} MoeTopologyFile;

/* How a message travels whose ends are on different rails. */
typedef enum { MOE_CROSS_RAIL_SPINE, MOE_CROSS_RAIL_SCALE_UP } MoeCrossRail;

typedef struct MoeTopology MoeTopology;
typedef struct MoePaths MoePaths;

/* Nodes that are alike. */
typedef struct {
    MoeTopologyFile file;
    MoeGpu gpu;
    const struct MoeScaleUpKind *scale_up;
} MoeGroup;

/* One node. */
typedef struct {
    gint64 first_gpu, n_gpus, first_nic, n_nics;
    guint group;
    guint32 first_link; /* of its scale-up domain */
    guint32 end_link;
} MoeMachine;

/* A row per kind of scale-up domain. A new kind is one file and one row. @a and @b are numbers of
 * GPUs within the node. */
typedef struct MoeScaleUpKind {
    const char *name;
    const char *const *keys; /* keys of scale_up that only some kinds use and this one does */
    gboolean relays;         /* GPUs pass on what is for others when a link is broken */
    /* Appends the switches and links of one node. Errors: MOE_ERROR_INPUT. */
    gboolean (*build)(MoeTopology *topology, gint64 node, GError **error);
    /* The links from GPU @a to GPU @b, in order; returns how many, 0 when nothing connects them.
     * NULL: along the shortest paths of the graph, or as the file states. */
    int (*route)(const MoeTopology *topology, gint64 node, gint64 a, gint64 b, guint32 *links);
    /* Whether messages to and from NICs cross links of the domain (a GPU's PCIe lanes): that link,
     * MOE_NO_LINK when there is none. NULL: never. */
    guint32 (*lane)(const MoeTopology *topology, gint64 node, gint64 gpu, gboolean in);
} MoeScaleUpKind;

/* A row per kind of scale-out fabric. The links of NIC n, out and in, are made by topology.c and
 * numbered first, 2 n and 2 n + 1 from first_link; the kind plugs them into its switches. */
typedef struct MoeScaleOutKind {
    const char *name;
    const char *const *keys;
    gboolean own_nic_links; /* the kind makes the NICs' links itself, in any order */
    /* Appends the switches, plugs every NIC into one (moe_topology_plug()), appends the links
     * between switches. Errors: MOE_ERROR_INPUT. */
    gboolean (*build)(MoeTopology *topology, GError **error);
    /* The links between the switches of NICs @a and @b (a != b), in order; returns how many, 0 for
     * one switch, -1 when the fabric does not connect them. NULL: as in MoeScaleUpKind. */
    int (*route)(const MoeTopology *topology, gint64 a, gint64 b, guint32 *links);
} MoeScaleOutKind;

#define MOE_NO_LINK G_MAXUINT32

struct MoeTopology {
    MoeTopologyFile file; /* nodes: of all groups; gpus_per_node: the most of any */
    MoeGpu gpu;           /* borrowed: of the first group */
    GArray *groups;       /* MoeGroup; at least one */
    GArray *machines;     /* MoeMachine */
    guint32 *node_of;     /* [n_gpus] */
    const MoeScaleOutKind *scale_out;
    gint64 n_gpus, n_nics;
    GArray *vertices;                     /* MoeVertex */
    GArray *links;                        /* MoeLink */
    guint32 first_link[MOE_FABRIC_COUNT]; /* of each fabric */
    guint32 end_link[MOE_FABRIC_COUNT];   /* behind its last */
    guint32 first_pcie;                   /* link GPU g to NICs; NICs to GPU g is the next one */
    gpointer state;                       /* the scale-out kind's own; freed with g_free() */
    MoePaths *paths[MOE_FABRIC_COUNT];    /* for custom graphs and around broken links; else NULL */
    MoeNode *tree;                        /* what was read; file borrows nodes of it */
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

/* The node of a GPU, its first NIC (-1: none), the kind of GPU that it is. */
static inline gint64 moe_topology_node(const MoeTopology *topology, gint64 gpu)
{
    return topology->node_of[gpu];
}
gint64 moe_topology_nic(const MoeTopology *topology, gint64 gpu);
const MoeGpu *moe_topology_gpu(const MoeTopology *topology, gint64 gpu);

/* The NIC of @gpu that carries its messages to and from @peer: with k NICs per GPU, number (the
 * nodes of both + the places of both in their nodes) mod k, so that the peers of either end spread
 * over its NICs. -1: none. */
gint64 moe_topology_nic_for(const MoeTopology *topology, gint64 gpu, gint64 peer);

/* A node and its group. */
static inline const MoeMachine *moe_topology_machine(const MoeTopology *topology, gint64 node)
{
    return &g_array_index(topology->machines, MoeMachine, node);
}
static inline const MoeGroup *moe_topology_group(const MoeTopology *topology, gint64 node)
{
    return &g_array_index(topology->groups, MoeGroup, moe_topology_machine(topology, node)->group);
}

/* The node of a NIC. */
gint64 moe_topology_nic_node(const MoeTopology *topology, gint64 nic);

/* The fabric that connects two GPUs most directly: the scale-up domain inside a node whose domain
 * connects them, the scale-out fabric otherwise. */
MoeFabric moe_topology_fabric(const MoeTopology *topology, gint64 from, gint64 to);

/* The links that a message crosses from the endpoint of GPU @from to that of GPU @to, in order;
 * from != to. Returns how many, 0 when the fabric does not connect them. A route of the scale-out
 * fabric may begin or end with links of a scale-up domain: PCIe lanes, or the hop to another rail.
 */
int moe_topology_route(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to,
                       guint32 links[MOE_ROUTE_MOST]);

/* The sum of the latencies and the least bandwidth of a route. */
double moe_topology_latency(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to);
double moe_topology_bandwidth(const MoeTopology *topology, MoeFabric fabric, gint64 from,
                              gint64 to);

/* The name of the simulated host that is the endpoint of @gpu in @fabric. GPUs may share one. Free
 * with g_free(). */
char *moe_topology_host(const MoeTopology *topology, MoeFabric fabric, gint64 gpu);

/* Whether a platform file can state all routes. Errors: MOE_ERROR_INPUT (more than 2^22 of them). */
gboolean moe_topology_check_platform(const MoeTopology *topology, GError **error);

/* The whole cluster as a platform file of SimGrid (platform DTD 4.1): every link is a link of
 * SimGrid, every endpoint a host, every route stated, so that its messages cross the links that
 * moe_topology_route() says; a fabric that is one uniform switch is a <cluster>, which says the
 * same in one line. Free with g_free(). */
char *moe_topology_platform(const MoeTopology *topology);

/* --- for the kinds ---------------------------------------------------------------------------- */

static inline const MoeLink *moe_topology_link(const MoeTopology *topology, guint32 link)
{
    return &g_array_index(topology->links, MoeLink, link);
}
static inline guint32 moe_topology_nic_vertex(const MoeTopology *topology, gint64 nic)
{
    return (guint32)(topology->n_gpus + nic);
}

/* Appends a switch; returns its vertex. @name is taken. */
guint32 moe_topology_add_switch_take(MoeTopology *topology, char *name, int level);

/* Appends the link @from -> @to, called "FROM to TO" after its ends unless @name (taken) is given;
 * returns its number. @kind is static. */
guint32 moe_topology_add_link(MoeTopology *topology, MoeFabric fabric, const char *kind, char *name,
                              guint32 from, guint32 to, double bandwidth, double latency);

/* Appends a link each way; returns the number of the first, the other's is the next. */
guint32 moe_topology_add_cable(MoeTopology *topology, MoeFabric fabric, const char *kind,
                               guint32 from, guint32 to, double bandwidth, double latency);

/* Connects both links of @nic with the switch @vertex. */
void moe_topology_plug(MoeTopology *topology, gint64 nic, guint32 vertex);

/* bytes/s of payload of a link between switches, of @nominal or (NaN) as fast as a NIC of the first
 * group: times the efficiency of those NICs. */
double moe_topology_fabric_rate(const MoeTopology *topology, double nominal);

extern const MoeScaleUpKind moe_scale_up_none, moe_scale_up_nvswitch, moe_scale_up_mesh,
    moe_scale_up_ring, moe_scale_up_pcie_tree, moe_scale_up_custom;
extern const MoeScaleOutKind moe_scale_out_non_blocking, moe_scale_out_fat_tree,
    moe_scale_out_rail_optimised, moe_scale_out_rail_only, moe_scale_out_dragonfly,
    moe_scale_out_torus, moe_scale_out_mesh, moe_scale_out_custom;

#endif

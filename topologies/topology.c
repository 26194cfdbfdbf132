#include "config.h"

#include "topologies/topology.h"

#include "sim/base/preset.h"
#include "sim/base/yaml.h"
#include "topologies/graph.h"
#include "topologies/merge.h"
#include "topologies/overrides.h"
#include "topologies/paths.h"
#include "topologies/read.h"

#include <math.h>
#include <string.h>

const char *moe_fabric_name(MoeFabric fabric)
{
    static const char *const names[] = {"scale-up", "scale-out"};
    return names[fabric];
}

/* --- for the kinds --------------------------------------------------------------------------- */

guint32 moe_topology_add_switch_take(MoeTopology *topology, char *name, int level)
{
    MoeVertex vertex = {name, level};
    g_array_append_val(topology->vertices, vertex);
    return topology->vertices->len - 1;
}

static const char *vertex_name(const MoeTopology *topology, guint32 vertex)
{
    return g_array_index(topology->vertices, MoeVertex, vertex).name;
}

guint32 moe_topology_add_link(MoeTopology *topology, MoeFabric fabric, const char *kind, char *name,
                              guint32 from, guint32 to, double bandwidth, double latency)
{
    if (name == NULL)
        name = g_strdup_printf("%s to %s", vertex_name(topology, from), vertex_name(topology, to));
    MoeLink link = {name, fabric, bandwidth, latency, kind, from, to, FALSE, FALSE};
    g_array_append_val(topology->links, link);
    return topology->links->len - 1;
}

guint32 moe_topology_add_cable(MoeTopology *topology, MoeFabric fabric, const char *kind,
                               guint32 from, guint32 to, double bandwidth, double latency)
{
    guint32 first =
        moe_topology_add_link(topology, fabric, kind, NULL, from, to, bandwidth, latency);
    moe_topology_add_link(topology, fabric, kind, NULL, to, from, bandwidth, latency);
    return first;
}

void moe_topology_plug(MoeTopology *topology, gint64 nic, guint32 vertex)
{
    guint32 out = topology->first_link[MOE_FABRIC_SCALE_OUT] + 2 * (guint32)nic;
    g_array_index(topology->links, MoeLink, out).to = vertex;
    g_array_index(topology->links, MoeLink, out + 1).from = vertex;
}

double moe_topology_fabric_rate(const MoeTopology *topology, double nominal)
{
    const MoeTopologyFile *first = &g_array_index(topology->groups, MoeGroup, 0).file;
    return (isnan(nominal) ? first->nics.bandwidth : nominal) * first->nics.efficiency;
}

/* --- building -------------------------------------------------------------------------------- */

static void add_endpoints(MoeTopology *topology)
{
    for (int nics = 0; nics < 2; nics++)
        for (guint m = 0; m < topology->machines->len; m++) {
            const MoeMachine *machine = moe_topology_machine(topology, m);
            gint64 n = nics ? machine->n_nics : machine->n_gpus;
            for (gint64 i = 0; i < n; i++)
                moe_topology_add_switch_take(
                    topology,
                    g_strdup_printf("node%u %s%" G_GINT64_FORMAT, m, nics ? "nic" : "gpu", i),
                    nics);
        }
}

/* A kind does not know where its keys are; a graph does. */
static gboolean misplaced(const MoeTopology *topology, const char *part, gboolean placed,
                          GError **error)
{
    if (!placed)
        moe_node_prefix(moe_topology_at(topology->tree, part, "kind"), part, error);
    return FALSE;
}

static gboolean add_scale_up(MoeTopology *topology, GError **error)
{
    for (guint m = 0; m < topology->machines->len; m++) {
        MoeMachine *machine = &g_array_index(topology->machines, MoeMachine, m);
        machine->first_link = topology->links->len;
        const MoeScaleUpKind *kind = moe_topology_group(topology, m)->scale_up;
        if (!kind->build(topology, m, error))
            return misplaced(topology, "scale_up", kind->route == NULL, error);
        machine->end_link = topology->links->len;
    }
    return TRUE;
}

static void add_nic_links(MoeTopology *topology)
{
    for (gint64 nic = 0; nic < topology->n_nics; nic++) {
        gint64 node = moe_topology_nic_node(topology, nic);
        const MoeTopologyFile *file = &moe_topology_group(topology, node)->file;
        guint32 vertex = moe_topology_nic_vertex(topology, nic);
        for (int in = 0; in < 2; in++)
            moe_topology_add_link(
                topology, MOE_FABRIC_SCALE_OUT, "NIC",
                g_strdup_printf("%s %s", vertex_name(topology, vertex), in ? "in" : "out"), vertex,
                vertex, file->nics.bandwidth * file->nics.efficiency,
                topology->file.scale_out.latency / 2);
    }
}

/* The lanes between a GPU and its NICs, where the file limits them. */
static void add_pcie(MoeTopology *topology)
{
    topology->first_pcie = MOE_NO_LINK;
    for (guint g = 0; g < topology->groups->len; g++)
        if (!isnan(g_array_index(topology->groups, MoeGroup, g).file.nics.pcie))
            topology->first_pcie = topology->links->len;
    for (gint64 gpu = 0; gpu < topology->n_gpus && topology->first_pcie != MOE_NO_LINK; gpu++) {
        const MoeTopologyFile *file =
            &moe_topology_group(topology, moe_topology_node(topology, gpu))->file;
        guint32 vertex = (guint32)gpu;
        guint32 port = moe_topology_add_switch_take(
            topology, g_strdup_printf("%s pcie", vertex_name(topology, vertex)), -1);
        double rate = isnan(file->nics.pcie) ? 1e15 : file->nics.pcie;
        moe_topology_add_link(topology, MOE_FABRIC_SCALE_OUT, "PCIe",
                              g_strdup_printf("%s out", vertex_name(topology, port)), vertex, port,
                              rate, 0);
        moe_topology_add_link(topology, MOE_FABRIC_SCALE_OUT, "PCIe",
                              g_strdup_printf("%s in", vertex_name(topology, port)), port, vertex,
                              rate, 0);
    }
}

static gboolean add_scale_out(MoeTopology *topology, GError **error)
{
    if (topology->n_nics == 0)
        return TRUE;
    if (!topology->scale_out->own_nic_links)
        add_nic_links(topology);
    if (!topology->scale_out->build(topology, error))
        return misplaced(topology, "scale_out", topology->scale_out->route == NULL, error);
    add_pcie(topology);
    return TRUE;
}

/* Custom graphs and fabrics with broken links need paths; the rest have closed forms. */
static gboolean needs_paths(const MoeTopology *topology, MoeFabric fabric)
{
    for (guint32 l = topology->first_link[fabric]; l < topology->end_link[fabric]; l++)
        if (moe_topology_link(topology, l)->broken)
            return TRUE;
    if (fabric == MOE_FABRIC_SCALE_OUT)
        return topology->n_nics > 0 && topology->scale_out->route == NULL;
    for (guint g = 0; g < topology->groups->len; g++)
        if (g_array_index(topology->groups, MoeGroup, g).scale_up->route == NULL)
            return TRUE;
    return FALSE;
}

static gboolean find_paths(MoeTopology *topology, GError **error)
{
    for (int f = 0; f < MOE_FABRIC_COUNT; f++) {
        if (!needs_paths(topology, (MoeFabric)f))
            continue;
        topology->paths[f] = moe_paths_new(topology, (MoeFabric)f, error);
        if (topology->paths[f] == NULL)
            return FALSE;
    }
    if (topology->paths[MOE_FABRIC_SCALE_OUT] != NULL && topology->file.scale_out.graph != NULL &&
        !moe_graph_state_routes(topology, MOE_FABRIC_SCALE_OUT, -1, topology->file.scale_out.graph,
                                error))
        return FALSE;
    for (guint m = 0; m < topology->machines->len && topology->paths[MOE_FABRIC_SCALE_UP] != NULL;
         m++) {
        const MoeNode *graph = moe_topology_group(topology, m)->file.scale_up.graph;
        if (graph != NULL &&
            !moe_graph_state_routes(topology, MOE_FABRIC_SCALE_UP, m, graph, error))
            return FALSE;
    }
    return TRUE;
}

/* Closed forms connect all pairs; what the file draws or breaks may not. */
static gboolean check_reach(const MoeTopology *topology, GError **error)
{
    if (topology->paths[MOE_FABRIC_SCALE_UP] == NULL &&
        topology->paths[MOE_FABRIC_SCALE_OUT] == NULL &&
        topology->scale_out != &moe_scale_out_rail_only)
        return TRUE;
    guint32 links[MOE_ROUTE_MOST];
    for (gint64 a = 0; a < topology->n_gpus; a++)
        for (gint64 b = 0; b < topology->n_gpus; b++)
            if (a != b &&
                moe_topology_route(topology, moe_topology_fabric(topology, a, b), a, b, links) == 0)
                return moe_node_fail(
                    topology->tree, error,
                    "no route from %s (GPU %" G_GINT64_FORMAT ") to %s (GPU %" G_GINT64_FORMAT
                    "); %s",
                    vertex_name(topology, (guint32)a), a, vertex_name(topology, (guint32)b), b,
                    topology->scale_out == &moe_scale_out_rail_only
                        ? "rail-only fabrics reach another rail through a scale-up domain alone: "
                          "write scale_up, or rail-optimised"
                        : "repair or add a link");
    return TRUE;
}

static gboolean build(MoeTopology *topology, gint64 default_nodes, GError **error)
{
    if (!moe_topology_read_groups(topology, default_nodes, error))
        return FALSE;
    add_endpoints(topology);
    if (!add_scale_up(topology, error))
        return FALSE;
    topology->end_link[MOE_FABRIC_SCALE_UP] = topology->first_link[MOE_FABRIC_SCALE_OUT] =
        topology->links->len;
    if (!add_scale_out(topology, error))
        return FALSE;
    topology->end_link[MOE_FABRIC_SCALE_OUT] = topology->links->len;
    return moe_topology_override(topology, topology->file.links, error) &&
           find_paths(topology, error) && check_reach(topology, error);
}

static void link_clear(gpointer link)
{
    g_free(((MoeLink *)link)->name);
}

static void vertex_clear(gpointer vertex)
{
    g_free(((MoeVertex *)vertex)->name);
}

static GArray *array_new(guint size, GDestroyNotify clear)
{
    GArray *array = g_array_new(FALSE, TRUE, size);
    g_array_set_clear_func(array, clear);
    return array;
}

MoeTopology *moe_topology_read(const MoeNode *node, const char *base_dir, gint64 default_nodes,
                               GError **error)
{
    g_autoptr(MoeNode) merged = moe_topology_merge(node, base_dir, error);
    if (merged == NULL)
        return NULL;
    g_autoptr(MoeTopology) topology = g_new0(MoeTopology, 1);
    topology->tree = g_steal_pointer(&merged);
    topology->links = array_new(sizeof(MoeLink), link_clear);
    topology->vertices = array_new(sizeof(MoeVertex), vertex_clear);
    topology->groups = array_new(sizeof(MoeGroup), moe_group_clear);
    topology->machines = g_array_new(FALSE, TRUE, sizeof(MoeMachine));
    if (!build(topology, default_nodes, error))
        return NULL;
    return g_steal_pointer(&topology);
}

MoeTopology *moe_topology_load(const char *name, gint64 default_nodes, GError **error)
{
    g_autofree char *path =
        moe_preset_find(name, "topologies/presets", ".yaml", "topology", NULL, error);
    g_autoptr(MoeNode) root = path != NULL ? moe_yaml_load(path, error) : NULL;
    if (root == NULL)
        return NULL;
    g_autofree char *dir = g_path_get_dirname(path);
    return moe_topology_read(root, dir, default_nodes, error);
}

gint64 moe_topology_gpus_per_node(const MoeNode *node, const char *base_dir, GError **error)
{
    g_autoptr(MoeNode) merged = moe_topology_merge(node, base_dir, error);
    MoeTopologyFile file = {0};
    if (merged == NULL || !moe_fields_read(moe_topology_fields, merged, "topology", &file, error))
        return 0;
    gint64 gpus = file.gpus_per_node;
    moe_fields_clear(moe_topology_fields, &file);
    return gpus;
}

void moe_topology_free(MoeTopology *topology)
{
    if (topology == NULL)
        return;
    moe_fields_clear(moe_topology_fields, &topology->file);
    g_array_unref(topology->groups);
    g_array_unref(topology->machines);
    g_array_unref(topology->vertices);
    g_array_unref(topology->links);
    g_free(topology->node_of);
    g_free(topology->state);
    for (int f = 0; f < MOE_FABRIC_COUNT; f++)
        moe_paths_free(topology->paths[f]);
    moe_node_free(topology->tree);
    g_free(topology);
}

/* --- questions ------------------------------------------------------------------------------- */

const MoeGpu *moe_topology_gpu(const MoeTopology *topology, gint64 gpu)
{
    return &moe_topology_group(topology, moe_topology_node(topology, gpu))->gpu;
}

gint64 moe_topology_nic_node(const MoeTopology *topology, gint64 nic)
{
    guint low = 0, high = topology->machines->len - 1;
    while (low < high) { /* the last node whose first NIC is not behind it */
        guint middle = (low + high + 1) / 2;
        if (moe_topology_machine(topology, middle)->first_nic <= nic)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Number @turn of the NICs of a GPU, in turn. */
static gint64 nic_of(const MoeTopology *topology, gint64 gpu, gint64 turn)
{
    gint64 node = moe_topology_node(topology, gpu);
    const MoeMachine *machine = moe_topology_machine(topology, node);
    const GArray *affinity = moe_topology_group(topology, node)->file.nics.affinity;
    gint64 local = gpu - machine->first_gpu;
    if (machine->n_nics == 0)
        return -1;
    if (affinity != NULL)
        return machine->first_nic + g_array_index(affinity, gint64, local);
    if (machine->n_nics <= machine->n_gpus)
        return machine->first_nic + local / (machine->n_gpus / machine->n_nics);
    gint64 own = machine->n_nics / machine->n_gpus;
    return machine->first_nic + local * own + turn % own;
}

gint64 moe_topology_nic(const MoeTopology *topology, gint64 gpu)
{
    return nic_of(topology, gpu, 0);
}

gint64 moe_topology_nic_for(const MoeTopology *topology, gint64 gpu, gint64 peer)
{
    gint64 a = moe_topology_node(topology, gpu), b = moe_topology_node(topology, peer);
    gint64 places = gpu - moe_topology_machine(topology, a)->first_gpu + peer -
                    moe_topology_machine(topology, b)->first_gpu;
    return nic_of(topology, gpu, a + b + places);
}

static gboolean is_broken(const MoeTopology *topology, const guint32 *links, int n)
{
    for (int i = 0; i < n; i++)
        if (moe_topology_link(topology, links[i])->broken)
            return TRUE;
    return FALSE;
}

static int route_up(const MoeTopology *topology, gint64 from, gint64 to, guint32 *links)
{
    gint64 node = moe_topology_node(topology, from);
    if (node != moe_topology_node(topology, to))
        return 0;
    const MoeScaleUpKind *kind = moe_topology_group(topology, node)->scale_up;
    gint64 first = moe_topology_machine(topology, node)->first_gpu;
    int n = kind->route != NULL ? kind->route(topology, node, from - first, to - first, links) : -1;
    if (n >= 0 && (topology->paths[MOE_FABRIC_SCALE_UP] == NULL || !is_broken(topology, links, n)))
        return n;
    return moe_paths_route(topology->paths[MOE_FABRIC_SCALE_UP], topology, from, to, links,
                           MOE_ROUTE_MOST);
}

/* The lane between @gpu and its NICs, if it limits: 1 and the link, or 0. */
static int lane(const MoeTopology *topology, gint64 gpu, gboolean in, guint32 *link)
{
    gint64 node = moe_topology_node(topology, gpu);
    const MoeScaleUpKind *kind = moe_topology_group(topology, node)->scale_up;
    *link = MOE_NO_LINK;
    if (kind->lane != NULL)
        *link =
            kind->lane(topology, node, gpu - moe_topology_machine(topology, node)->first_gpu, in);
    else if (topology->first_pcie != MOE_NO_LINK)
        *link = topology->first_pcie + 2 * (guint32)gpu + (in ? 1 : 0);
    return *link != MOE_NO_LINK;
}

static int route_nics(const MoeTopology *topology, gint64 a, gint64 b, guint32 *links)
{
    const MoeScaleOutKind *kind = topology->scale_out;
    guint32 first = topology->first_link[MOE_FABRIC_SCALE_OUT];
    int n = kind->route != NULL ? kind->route(topology, a, b, links + 1) : -1;
    if (n >= 0) {
        links[0] = first + 2 * (guint32)a;
        links[n + 1] = first + 2 * (guint32)b + 1;
        n += 2;
    }
    if (n >= 0 && (topology->paths[MOE_FABRIC_SCALE_OUT] == NULL || !is_broken(topology, links, n)))
        return n;
    if (topology->paths[MOE_FABRIC_SCALE_OUT] == NULL)
        return 0;
    return moe_paths_route(topology->paths[MOE_FABRIC_SCALE_OUT], topology, a, b, links,
                           MOE_ROUTE_MOST - 4);
}

/* From NIC to NIC of two GPUs, with the lanes to them. */
static int route_out(const MoeTopology *topology, gint64 from, gint64 to, guint32 *links)
{
    gint64 a = moe_topology_nic_for(topology, from, to),
           b = moe_topology_nic_for(topology, to, from);
    if (a < 0 || b < 0 || a == b)
        return 0;
    int n = lane(topology, from, FALSE, links);
    int between = route_nics(topology, a, b, links + n);
    if (between == 0)
        return 0;
    n += between;
    n += lane(topology, to, TRUE, links + n);
    return n > 0 && topology->paths[MOE_FABRIC_SCALE_OUT] != NULL && is_broken(topology, links, n)
               ? 0
               : n;
}

static gboolean forwards(const MoeTopology *topology)
{
    return topology->scale_out == &moe_scale_out_rail_only ||
           (topology->scale_out == &moe_scale_out_rail_optimised &&
            topology->file.scale_out.cross_rail == MOE_CROSS_RAIL_SCALE_UP);
}

/* The GPU of @from's node that is on the rail of @to; -1: there is none. */
static gint64 forwarder(const MoeTopology *topology, gint64 from, gint64 to)
{
    gint64 node = moe_topology_node(topology, from);
    const MoeMachine *machine = moe_topology_machine(topology, node);
    gint64 nic = moe_topology_nic_for(topology, to, from);
    gint64 rail =
        nic - moe_topology_machine(topology, moe_topology_nic_node(topology, nic))->first_nic;
    if (moe_topology_nic_for(topology, from, to) - machine->first_nic == rail)
        return from;
    for (gint64 gpu = machine->first_gpu; gpu < machine->first_gpu + machine->n_gpus; gpu++)
        if (moe_topology_nic_for(topology, gpu, to) - machine->first_nic == rail)
            return gpu;
    return -1;
}

int moe_topology_route(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to,
                       guint32 links[MOE_ROUTE_MOST])
{
    if (fabric == MOE_FABRIC_SCALE_UP)
        return route_up(topology, from, to, links);
    if (topology->n_nics == 0)
        return 0;
    if (!forwards(topology) || moe_topology_node(topology, from) == moe_topology_node(topology, to))
        return route_out(topology, from, to, links);
    gint64 via = forwarder(topology, from, to);
    if (via == from || via < 0)
        return via < 0 ? 0 : route_out(topology, from, to, links);
    int n = route_up(topology, from, via, links);
    guint32 rest[MOE_ROUTE_MOST];
    int behind = n > 0 ? route_out(topology, via, to, rest) : 0;
    if (behind == 0 || n + behind > MOE_ROUTE_MOST)
        return 0;
    memcpy(links + n, rest, (size_t)behind * sizeof(*links));
    return n + behind;
}

MoeFabric moe_topology_fabric(const MoeTopology *topology, gint64 from, gint64 to)
{
    gint64 node = moe_topology_node(topology, from);
    if (node != moe_topology_node(topology, to) ||
        moe_topology_group(topology, node)->scale_up == &moe_scale_up_none)
        return MOE_FABRIC_SCALE_OUT;
    guint32 links[MOE_ROUTE_MOST];
    return topology->paths[MOE_FABRIC_SCALE_UP] == NULL || topology->n_nics == 0 ||
                   route_up(topology, from, to, links) > 0
               ? MOE_FABRIC_SCALE_UP
               : MOE_FABRIC_SCALE_OUT;
}

double moe_topology_latency(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to)
{
    guint32 links[MOE_ROUTE_MOST];
    int n = moe_topology_route(topology, fabric, from, to, links);
    double latency = 0;
    for (int i = 0; i < n; i++)
        latency += moe_topology_link(topology, links[i])->latency;
    return latency;
}

double moe_topology_bandwidth(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to)
{
    guint32 links[MOE_ROUTE_MOST];
    int n = moe_topology_route(topology, fabric, from, to, links);
    double bandwidth = n > 0 ? INFINITY : 0;
    for (int i = 0; i < n; i++)
        bandwidth = fmin(bandwidth, moe_topology_link(topology, links[i])->bandwidth);
    return bandwidth;
}

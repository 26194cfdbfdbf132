#include "config.h"

#include "topologies/read.h"

#include "topologies/merge.h"

#include <math.h>
#include <string.h>

static const MoeScaleUpKind *const scale_up_kinds[] = {
    &moe_scale_up_none, &moe_scale_up_nvswitch,  &moe_scale_up_mesh,
    &moe_scale_up_ring, &moe_scale_up_pcie_tree, &moe_scale_up_custom,
};
static const MoeScaleOutKind *const scale_out_kinds[] = {
    &moe_scale_out_non_blocking, &moe_scale_out_fat_tree,  &moe_scale_out_rail_optimised,
    &moe_scale_out_rail_only,    &moe_scale_out_dragonfly, &moe_scale_out_torus,
    &moe_scale_out_mesh,         &moe_scale_out_custom,
};

const MoeScaleUpKind *moe_scale_up_kind(int index)
{
    return scale_up_kinds[index];
}

const MoeScaleOutKind *moe_scale_out_kind(int index)
{
    return scale_out_kinds[index];
}

const char *const *moe_scale_up_kinds(void)
{
    static const char *names[G_N_ELEMENTS(scale_up_kinds) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(scale_up_kinds); i++)
        names[i] = scale_up_kinds[i]->name;
    return names;
}

const char *const *moe_scale_out_kinds(void)
{
    static const char *names[G_N_ELEMENTS(scale_out_kinds) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(scale_out_kinds); i++)
        names[i] = scale_out_kinds[i]->name;
    return names;
}

static const char *const *cross_rails(void)
{
    static const char *const names[] = {"spine", "scale-up", NULL};
    return names;
}

#define AT(member)          offsetof(MoeTopologyFile, member)
#define INNER(part, member) offsetof(MoeTopologyFile, part.member) - offsetof(MoeTopologyFile, part)
#define RATE                .unit = MOE_UNIT_RATE, .min = 1, .max = 1e15
#define DELAY               .unit = MOE_UNIT_TIME, .max = 1
#define SHARE               .unit = MOE_UNIT_RATIO, .min = 0.001, .max = 1
#define FACTOR              .unit = MOE_UNIT_RATIO, .min = 0.01, .max = 1000

static const MoeField scale_up_fields[] = {
    {"kind", MOE_FIELD_CHOICE, INNER(scale_up, kind), .choices = moe_scale_up_kinds,
     .doc = "how the GPUs of a node are connected"},
    {"bandwidth", MOE_FIELD_QUANTITY, INNER(scale_up, bandwidth), "", RATE,
     .doc = "per GPU and direction, nominal, over all its links"},
    {"efficiency", MOE_FIELD_QUANTITY, INNER(scale_up, efficiency), "100%", SHARE,
     .doc = "of it that payload reaches"},
    {"latency", MOE_FIELD_QUANTITY, INNER(scale_up, latency), "0us", DELAY,
     .doc = "GPU to GPU, over one switch or cable"},
    {"switch_gpus", MOE_FIELD_INT, INNER(scale_up, switch_gpus), "2", .min = 1, .max = 1024,
     .doc = "pcie-tree: GPUs of a PCIe switch"},
    {"uplink_bandwidth", MOE_FIELD_QUANTITY, INNER(scale_up, uplink_bandwidth), "", RATE,
     .doc = "pcie-tree: of a PCIe switch to its socket; as bandwidth if unset"},
    {"socket_switches", MOE_FIELD_INT, INNER(scale_up, socket_switches), "2", .min = 1, .max = 1024,
     .doc = "pcie-tree: PCIe switches of a socket"},
    {"socket_bandwidth", MOE_FIELD_QUANTITY, INNER(scale_up, socket_bandwidth), "", RATE,
     .doc = "pcie-tree: between two sockets; as uplink_bandwidth if unset"},
    {"graph", MOE_FIELD_NODE, INNER(scale_up, graph), "",
     .doc = "custom: switches, links, routes of a node; ends are gpu0, gpu1 ..."},
    {NULL},
};

static const MoeField nic_fields[] = {
    {"per_node", MOE_FIELD_INT, INNER(nics, per_node), "0", .max = 4096, .doc = "NICs of a node"},
    {"bandwidth", MOE_FIELD_QUANTITY, INNER(nics, bandwidth), "", RATE,
     .doc = "per NIC and direction, nominal"},
    {"efficiency", MOE_FIELD_QUANTITY, INNER(nics, efficiency), "100%", SHARE,
     .doc = "of it that payload reaches; of the fabric's links too"},
    {"pcie", MOE_FIELD_QUANTITY, INNER(nics, pcie), "", RATE,
     .doc = "between a GPU and its NICs, per direction; never limits if unset"},
    {"affinity", MOE_FIELD_INTS, INNER(nics, affinity), "", .max = 4095,
     .doc = "NIC of each GPU of a node; even if unset"},
    {NULL},
};

static const MoeField scale_out_fields[] = {
    {"kind", MOE_FIELD_CHOICE, INNER(scale_out, kind), "non-blocking",
     .choices = moe_scale_out_kinds, .doc = "how the NICs are connected"},
    {"latency", MOE_FIELD_QUANTITY, INNER(scale_out, latency), "0us", DELAY,
     .doc = "NIC to NIC, over one switch"},
    {"hop_latency", MOE_FIELD_QUANTITY, INNER(scale_out, hop_latency), "0us", DELAY,
     .doc = "of each link between switches, added to it"},
    {"levels", MOE_FIELD_INT, INNER(scale_out, levels), "2", .min = 2, .max = 3,
     .doc = "fat-tree, rail-optimised: levels of switches"},
    {"switch_nics", MOE_FIELD_INT, INNER(scale_out, switch_nics), "", .min = 1, .max = 65536,
     .doc = "NICs of a leaf switch or router"},
    {"oversubscription", MOE_FIELD_QUANTITY, INNER(scale_out, oversubscription), "1", FACTOR,
     .doc = "of a leaf: bandwidth of its NICs over that of its uplinks"},
    {"link_bandwidth", MOE_FIELD_QUANTITY, INNER(scale_out, link_bandwidth), "", RATE,
     .doc = "of one link between switches, per direction; as a NIC if unset"},
    {"group_switches", MOE_FIELD_INT, INNER(scale_out, group_switches), "", .min = 1, .max = 4096,
     .doc = "leaves of a pod (levels: 3), routers of a dragonfly's group"},
    {"core_oversubscription", MOE_FIELD_QUANTITY, INNER(scale_out, core_oversubscription), "1",
     FACTOR, .doc = "levels: 3: of the second level, links down over links up"},
    {"global_links", MOE_FIELD_INT, INNER(scale_out, global_links), "", .min = 1, .max = 4096,
     .doc = "dragonfly: links of a router to other groups"},
    {"global_bandwidth", MOE_FIELD_QUANTITY, INNER(scale_out, global_bandwidth), "", RATE,
     .doc = "dragonfly: of one link between groups; as link_bandwidth if unset"},
    {"dimensions", MOE_FIELD_INTS, INNER(scale_out, dimensions), "", .min = 1, .max = 65536,
     .doc = "torus, mesh: routers along each axis; three, as even as can be, if unset"},
    {"cross_rail", MOE_FIELD_CHOICE, INNER(scale_out, cross_rail), "spine", .choices = cross_rails,
     .doc = "rail-optimised: how a message gets to another rail"},
    {"graph", MOE_FIELD_NODE, INNER(scale_out, graph), "",
     .doc = "custom: switches, links, routes; ends are node0 nic0 ..."},
    {NULL},
};

static const MoeField source_fields[] = {
    {"scale_up", MOE_FIELD_STRING, INNER(sources, scale_up), "",
     .doc = "where the figures are from"},
    {"nics", MOE_FIELD_STRING, INNER(sources, nics), "", .doc = "where the figures are from"},
    {"scale_out", MOE_FIELD_STRING, INNER(sources, scale_out), "",
     .doc = "where the figures are from"},
    {NULL},
};

const MoeField moe_topology_fields[] = {
    {"preset", MOE_FIELD_IGNORED, 0, "", .doc = "preset or file that the other keys override"},
    {"name", MOE_FIELD_STRING, AT(name), .doc = "what reports call it"},
    {"description", MOE_FIELD_STRING, AT(description), "", .doc = "one line"},
    {"sources", MOE_FIELD_MAP, AT(sources), .fields = source_fields},
    {"nodes", MOE_FIELD_INT, AT(nodes), "", .min = 1, .max = MOE_TOPOLOGY_MOST_GPUS,
     .doc = "machines, or scale-up domains larger than one"},
    {"gpus_per_node", MOE_FIELD_INT, AT(gpus_per_node), .min = 1, .max = 1024,
     .doc = "GPUs of a machine"},
    {"gpu", MOE_FIELD_STRING, AT(gpu), .doc = "preset or file of the GPU"},
    {"scale_up", MOE_FIELD_MAP, AT(scale_up), .fields = scale_up_fields, .shorthand = "kind"},
    {"nics", MOE_FIELD_MAP, AT(nics), .fields = nic_fields, .shorthand = "per_node"},
    {"scale_out", MOE_FIELD_MAP, AT(scale_out), .fields = scale_out_fields, .shorthand = "kind"},
    {"groups", MOE_FIELD_NODE, AT(groups), "",
     .doc = "list: nodes that differ, with nodes and what of gpus_per_node, gpu, scale_up, nics"},
    {"links", MOE_FIELD_NODE, AT(links), "",
     .doc = "list: links that differ, with name (* and ?), bandwidth, share, latency, broken"},
    {"kernels", MOE_FIELD_NODE, AT(kernels), "",
     .doc = "map: constants of communication kernels, by algorithm (--keys kernels)"},
    {NULL},
};

/* --- checks ---------------------------------------------------------------------------------- */

const MoeNode *moe_topology_at(const MoeNode *root, const char *part, const char *key)
{
    const MoeNode *map = moe_node_get(root, part);
    const MoeNode *node = map != NULL && key != NULL ? moe_node_get(map, key) : NULL;
    return node != NULL ? node : map != NULL ? map : root;
}

/* The GPU's file is relative to the file that names it, which may be the preset or what overrides it,
 * or to the working folder when --set does. */
static gboolean load_gpu(MoeGroup *group, const MoeNode *node, GError **error)
{
    const MoeNode *gpu = moe_topology_at(node, "gpu", NULL);
    g_autofree char *dir = strcmp(gpu->file, "--set") != 0 ? g_path_get_dirname(gpu->file) : NULL;
    if (moe_gpu_load(group->file.gpu, dir, &group->gpu, error))
        return TRUE;
    moe_node_prefix(gpu, "gpu", error);
    return FALSE;
}

/* A key that only other kinds use changes nothing, and the user should know; unless the kind was
 * chosen over a file or preset whose keys stay behind. The map is of the file that lies over. */
static gboolean check_keys(const MoeNode *map, const char *part, const char *kind,
                           const char *const *used, const MoeField *fields, guint n_common,
                           GError **error)
{
    if (map == NULL || map->kind != MOE_NODE_MAP)
        return TRUE;
    const MoeNode *chosen = moe_node_get(map, "kind");
    for (guint f = n_common; fields[f].name != NULL; f++) {
        const MoeNode *value = moe_node_get(map, fields[f].name);
        if (value == NULL || moe_node_is_null(value) ||
            (used != NULL && g_strv_contains(used, fields[f].name)) ||
            (chosen != NULL && g_strcmp0(chosen->file, value->file) != 0 &&
             (moe_node_is_set(chosen) || g_strcmp0(map->file, value->file) != 0)))
            continue;
        return moe_node_fail(value, error, "%s: %s: kind %s does not use it; take it away", part,
                             fields[f].name, kind);
    }
    return TRUE;
}

static gboolean check_affinity(const MoeTopologyFile *file, const MoeNode *node, GError **error)
{
    const GArray *affinity = file->nics.affinity;
    gint64 per_node = file->nics.per_node, gpus = file->gpus_per_node;
    if (affinity != NULL && affinity->len != gpus)
        return moe_node_fail(moe_topology_at(node, "nics", "affinity"), error,
                             "nics: affinity: %u entries; one per GPU of a node, %" G_GINT64_FORMAT
                             ", are needed",
                             affinity->len, gpus);
    for (guint i = 0; affinity != NULL && i < affinity->len; i++)
        if (g_array_index(affinity, gint64, i) >= per_node)
            return moe_node_fail(moe_topology_at(node, "nics", "affinity"), error,
                                 "nics: affinity: GPU %u has NIC %" G_GINT64_FORMAT
                                 "; a node has %" G_GINT64_FORMAT ", counted from 0",
                                 i, g_array_index(affinity, gint64, i), per_node);
    if (affinity == NULL && per_node > 0 && gpus % per_node != 0 && per_node % gpus != 0)
        return moe_node_fail(moe_topology_at(node, "nics", "per_node"), error,
                             "nics: per_node: %" G_GINT64_FORMAT
                             " NICs do not divide %" G_GINT64_FORMAT
                             " GPUs evenly; say which GPU has which with affinity",
                             per_node, gpus);
    return TRUE;
}

static gboolean check_nics(const MoeTopologyFile *file, const MoeNode *node, GError **error)
{
    if (file->nics.per_node > 0 && isnan(file->nics.bandwidth))
        return moe_node_fail(moe_topology_at(node, "nics", NULL), error,
                             "nics: bandwidth: missing; write for example 400Gbps");
    if (!isnan(file->nics.pcie) && file->nics.per_node == 0)
        return moe_node_fail(moe_topology_at(node, "nics", "pcie"), error,
                             "nics: pcie: a node has no NICs; write nics: per_node");
    if (!isnan(file->nics.pcie) && moe_scale_up_kind(file->scale_up.kind)->lane != NULL)
        return moe_node_fail(moe_topology_at(node, "nics", "pcie"), error,
                             "nics: pcie: scale_up: kind %s limits the NICs already; take it away",
                             moe_scale_up_kind(file->scale_up.kind)->name);
    return check_affinity(file, node, error);
}

/* Two GPUs of a node without a scale-up domain need a NIC each. */
static gboolean check_none(const MoeTopologyFile *file, const MoeNode *node, GError **error)
{
    gboolean shared = file->nics.per_node < file->gpus_per_node;
    for (guint i = 0; file->nics.affinity != NULL && i < file->nics.affinity->len; i++)
        for (guint j = 0; j < i; j++)
            shared |= g_array_index(file->nics.affinity, gint64, i) ==
                      g_array_index(file->nics.affinity, gint64, j);
    if (file->gpus_per_node == 1 || !shared)
        return TRUE;
    return moe_node_fail(
        moe_topology_at(node, "scale_up", "kind"), error,
        "scale_up: kind none needs one NIC per GPU (nics: per_node: %" G_GINT64_FORMAT
        "), or GPUs of a node cannot reach each other",
        file->gpus_per_node);
}

static gboolean check_scale_up(const MoeTopologyFile *file, const MoeNode *node, GError **error)
{
    const MoeScaleUpKind *kind = moe_scale_up_kind(file->scale_up.kind);
    if (!check_keys(moe_node_get(node, "scale_up"), "scale_up", kind->name, kind->keys,
                    scale_up_fields, 4, error))
        return FALSE;
    if (kind == &moe_scale_up_none)
        return check_none(file, node, error);
    if (kind == &moe_scale_up_custom && file->scale_up.graph == NULL)
        return moe_node_fail(moe_topology_at(node, "scale_up", "kind"), error,
                             "scale_up: graph: missing; write for example graph: {links: "
                             "[{from: gpu0, to: gpu1}]}");
    if (isnan(file->scale_up.bandwidth))
        return moe_node_fail(moe_topology_at(node, "scale_up", NULL), error,
                             "scale_up: bandwidth: missing; write for example 450GBps");
    return TRUE;
}

static gboolean check_scale_out(const MoeTopology *topology, GError **error)
{
    const MoeTopologyFile *file = &topology->file;
    const MoeScaleOutKind *kind = moe_scale_out_kind(file->scale_out.kind);
    const MoeNode *node = topology->tree;
    if (topology->machines->len > 1)
        for (guint m = 0; m < topology->machines->len; m++)
            if (moe_topology_machine(topology, m)->n_nics == 0)
                return moe_node_fail(moe_topology_at(node, "nodes", NULL), error,
                                     "nics: %u nodes without NICs cannot be reached; "
                                     "write nics: {per_node: ..., bandwidth: ...}",
                                     topology->machines->len);
    if (kind == &moe_scale_out_custom && file->scale_out.graph == NULL)
        return moe_node_fail(moe_topology_at(node, "scale_out", "kind"), error,
                             "scale_out: graph: missing; write for example graph: {switches: [s], "
                             "links: [{from: node* nic*, to: s}]}");
    return check_keys(moe_node_get(node, "scale_out"), "scale_out", kind->name, kind->keys,
                      scale_out_fields, 2, error);
}

/* --- groups ---------------------------------------------------------------------------------- */

void moe_group_clear(gpointer data)
{
    MoeGroup *group = data;
    moe_fields_clear(moe_topology_fields, &group->file);
    moe_gpu_clear(&group->gpu);
}

static gboolean add_group(MoeTopology *topology, const MoeNode *node, gint64 default_nodes,
                          GError **error)
{
    g_array_set_size(topology->groups, topology->groups->len + 1);
    guint index = topology->groups->len - 1;
    MoeGroup *group = &g_array_index(topology->groups, MoeGroup, index);
    MoeTopologyFile *file = &group->file;
    if (!moe_fields_read(moe_topology_fields, node, "topology", file, error))
        return FALSE;
    if (file->nodes == 0)
        file->nodes = default_nodes;
    if (file->nodes == 0)
        return moe_node_fail(node, error,
                             "nodes: missing; write how many machines the cluster has");
    if (topology->n_gpus + file->nodes * file->gpus_per_node > MOE_TOPOLOGY_MOST_GPUS)
        return moe_node_fail(moe_topology_at(node, "nodes", NULL), error,
                             "nodes: %" G_GINT64_FORMAT " GPUs; at most %d are simulated",
                             topology->n_gpus + file->nodes * file->gpus_per_node,
                             MOE_TOPOLOGY_MOST_GPUS);
    if (!check_nics(file, node, error) || !check_scale_up(file, node, error) ||
        !load_gpu(group, node, error))
        return FALSE;
    group->scale_up = moe_scale_up_kind(file->scale_up.kind);
    for (gint64 i = 0; i < file->nodes; i++) {
        MoeMachine machine = {topology->n_gpus,
                              file->gpus_per_node,
                              topology->n_nics,
                              file->nics.per_node,
                              index,
                              0,
                              0};
        g_array_append_val(topology->machines, machine);
        topology->n_gpus += machine.n_gpus;
        topology->n_nics += machine.n_nics;
    }
    return TRUE;
}

/* The keys of the whole with those of the group over them. */
static gboolean add_listed_group(MoeTopology *topology, const MoeNode *item, GError **error)
{
    static const char *const allowed[] = {"nodes",    "gpus_per_node", "gpu",
                                          "scale_up", "nics",          NULL};
    if (item->kind != MOE_NODE_MAP)
        return moe_node_fail(item, error,
                             "groups: each must be a map such as {nodes: 2, gpu: h100-sxm}");
    for (guint i = 0; i < item->keys->len; i++) {
        const MoeNode *key = item->keys->pdata[i];
        if (!g_strv_contains(allowed, key->text))
            return moe_node_fail(key, error,
                                 "groups: %s: not a key of a group; these are nodes, "
                                 "gpus_per_node, gpu, scale_up, nics",
                                 key->text);
    }
    if (moe_node_get(item, "nodes") == NULL)
        return moe_node_fail(item, error, "groups: nodes: missing; write how many are like this");
    g_autoptr(MoeNode) whole = moe_node_copy(topology->tree);
    moe_topology_overlay(whole, item, "other nodes");
    if (!add_group(topology, whole, 0, error))
        return FALSE;
    /* What the group borrows must live as long as the topology. */
    MoeGroup *group = &g_array_index(topology->groups, MoeGroup, topology->groups->len - 1);
    const MoeNode *up = moe_node_get(item, "scale_up"), *base = topology->file.scale_up.graph;
    const MoeNode *graph = up != NULL ? moe_node_get(up, "graph") : NULL;
    group->file.scale_up.graph = graph != NULL ? graph : base;
    group->file.scale_out.graph = topology->file.scale_out.graph;
    group->file.groups = group->file.links = group->file.kernels = NULL;
    return TRUE;
}

static gboolean add_groups(MoeTopology *topology, gint64 default_nodes, GError **error)
{
    const MoeTopologyFile *file = &topology->file;
    if (file->groups == NULL)
        return add_group(topology, topology->tree, default_nodes, error);
    const MoeNode *nodes = moe_node_get(topology->tree, "nodes");
    if (nodes != NULL && !moe_node_is_null(nodes))
        return moe_node_fail(nodes, error,
                             "nodes: the groups say how many there are; take it away");
    if (file->groups->kind != MOE_NODE_LIST || file->groups->items->len == 0)
        return moe_node_fail(file->groups, error,
                             "groups: must be a list such as [{nodes: 2}, {nodes: 2, gpu: "
                             "a100-sxm-80gb}]");
    for (guint i = 0; i < file->groups->items->len; i++)
        if (!add_listed_group(topology, file->groups->items->pdata[i], error))
            return FALSE;
    return TRUE;
}

gboolean moe_topology_read_groups(MoeTopology *topology, gint64 default_nodes, GError **error)
{
    MoeTopologyFile *file = &topology->file;
    if (!moe_fields_read(moe_topology_fields, topology->tree, "topology", file, error) ||
        !add_groups(topology, default_nodes, error))
        return FALSE;
    topology->gpu = g_array_index(topology->groups, MoeGroup, 0).gpu;
    topology->scale_out = moe_scale_out_kind(file->scale_out.kind);
    topology->node_of = g_new(guint32, topology->n_gpus);
    file->nodes = topology->machines->len;
    file->gpus_per_node = 0;
    for (guint m = 0; m < topology->machines->len; m++) {
        const MoeMachine *machine = moe_topology_machine(topology, m);
        file->gpus_per_node = MAX(file->gpus_per_node, machine->n_gpus);
        for (gint64 g = 0; g < machine->n_gpus; g++)
            topology->node_of[machine->first_gpu + g] = m;
    }
    return check_scale_out(topology, error);
}

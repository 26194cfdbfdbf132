#include "config.h"

#include "topologies/topology.h"

#include "sim/base/preset.h"
#include "sim/base/yaml.h"

#include <math.h>
#include <string.h>

static const MoeFabricKind *const scale_up_kinds[] = {
    &moe_scale_up_none,
    &moe_scale_up_nvswitch,
    &moe_scale_up_mesh,
};
static const MoeFabricKind *const scale_out_kinds[] = {
    &moe_scale_out_non_blocking,
};

enum { MOST_GPUS = 1 << 16 };

const char *moe_fabric_name(MoeFabric fabric)
{
    static const char *const names[] = {"scale-up", "scale-out"};
    return names[fabric];
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

#define AT(member)          offsetof(MoeTopologyFile, member)
#define INNER(part, member) offsetof(MoeTopologyFile, part.member) - offsetof(MoeTopologyFile, part)
#define RATE                .unit = MOE_UNIT_RATE, .min = 1, .max = 1e15
#define DELAY               .unit = MOE_UNIT_TIME, .max = 1
#define SHARE               .unit = MOE_UNIT_RATIO, .min = 0.001, .max = 1

static const MoeField scale_up_fields[] = {
    {"kind", MOE_FIELD_CHOICE, INNER(scale_up, kind), .choices = moe_scale_up_kinds,
     .doc = "how the GPUs of a node are connected"},
    {"bandwidth", MOE_FIELD_QUANTITY, INNER(scale_up, bandwidth), "", RATE,
     .doc = "per GPU and direction, nominal, over all its links"},
    {"efficiency", MOE_FIELD_QUANTITY, INNER(scale_up, efficiency), "100%", SHARE,
     .doc = "of it that payload reaches"},
    {"latency", MOE_FIELD_QUANTITY, INNER(scale_up, latency), "0us", DELAY, .doc = "GPU to GPU"},
    {NULL},
};

static const MoeField nic_fields[] = {
    {"per_node", MOE_FIELD_INT, INNER(nics, per_node), "0", .max = 64, .doc = "NICs of a node"},
    {"bandwidth", MOE_FIELD_QUANTITY, INNER(nics, bandwidth), "", RATE,
     .doc = "per NIC and direction, nominal"},
    {"efficiency", MOE_FIELD_QUANTITY, INNER(nics, efficiency), "100%", SHARE,
     .doc = "of it that payload reaches"},
    {"affinity", MOE_FIELD_INTS, INNER(nics, affinity), "", .max = 63,
     .doc = "NIC of each GPU of a node; even if unset"},
    {NULL},
};

static const MoeField scale_out_fields[] = {
    {"kind", MOE_FIELD_CHOICE, INNER(scale_out, kind), "non-blocking",
     .choices = moe_scale_out_kinds, .doc = "how the NICs are connected"},
    {"latency", MOE_FIELD_QUANTITY, INNER(scale_out, latency), "0us", DELAY, .doc = "NIC to NIC"},
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
    {"nodes", MOE_FIELD_INT, AT(nodes), "", .min = 1, .max = MOST_GPUS, .doc = "machines"},
    {"gpus_per_node", MOE_FIELD_INT, AT(gpus_per_node), .min = 1, .max = 1024,
     .doc = "GPUs of a machine"},
    {"gpu", MOE_FIELD_STRING, AT(gpu), .doc = "preset or file of the GPU"},
    {"scale_up", MOE_FIELD_MAP, AT(scale_up), .fields = scale_up_fields, .shorthand = "kind"},
    {"nics", MOE_FIELD_MAP, AT(nics), .fields = nic_fields, .shorthand = "per_node"},
    {"scale_out", MOE_FIELD_MAP, AT(scale_out), .fields = scale_out_fields, .shorthand = "kind"},
    {NULL},
};

/* --- reading --------------------------------------------------------------------------------- */

static MoeNode *copy_node(const MoeNode *node)
{
    MoeNode *copy = moe_node_new(node->kind, node->text, node->file, node->line, node->column);
    copy->quoted = node->quoted;
    for (guint i = 0; node->items != NULL && i < node->items->len; i++) {
        if (node->keys != NULL)
            g_ptr_array_add(copy->keys, copy_node(node->keys->pdata[i]));
        g_ptr_array_add(copy->items, copy_node(node->items->pdata[i]));
    }
    return copy;
}

/* Lays the keys of @over over those of @base, map by map. */
static void overlay(MoeNode *base, const MoeNode *over)
{
    for (guint i = 0; i < over->keys->len; i++) {
        const MoeNode *key = over->keys->pdata[i], *value = over->items->pdata[i];
        MoeNode *old = moe_node_get(base, key->text);
        if (old != NULL && old->kind == MOE_NODE_MAP && value->kind == MOE_NODE_MAP) {
            overlay(old, value);
            continue;
        }
        MoeNode *copy = copy_node(value);
        if (old == NULL) {
            g_ptr_array_add(base->keys, copy_node(key));
            g_ptr_array_add(base->items, copy);
            continue;
        }
        MoeNode kept = *old;
        *old = *copy;
        *copy = kept;
        moe_node_free(copy);
    }
}

/* The preset's map with the node's keys over it. */
static MoeNode *merge_preset(const MoeNode *node, const char *base_dir, GError **error)
{
    const MoeNode *preset = moe_node_get(node, "preset");
    if (preset == NULL || moe_node_is_null(preset))
        return copy_node(node);
    if (preset->kind != MOE_NODE_SCALAR) {
        moe_node_fail(preset, error, "preset: must be the name of a preset or a file");
        return NULL;
    }
    g_autofree char *path =
        moe_preset_find(preset->text, "topologies/presets", ".yaml", "topology", base_dir, error);
    if (path == NULL) {
        moe_node_prefix(preset, "preset", error);
        return NULL;
    }
    MoeNode *root = moe_yaml_load(path, error);
    if (root == NULL)
        return NULL;
    if (root->kind != MOE_NODE_MAP || moe_node_get(root, "preset") != NULL) {
        moe_node_fail(root, error, "a topology is a map of keys without 'preset'");
        moe_node_free(root);
        return NULL;
    }
    overlay(root, node);
    return root;
}

/* The node of @key in the map @part of @root, or, what is there of the way to it. */
static const MoeNode *at(const MoeNode *root, const char *part, const char *key)
{
    const MoeNode *map = moe_node_get(root, part);
    const MoeNode *node = map != NULL && key != NULL ? moe_node_get(map, key) : NULL;
    return node != NULL ? node : map != NULL ? map : root;
}

/* The GPU's file is relative to the file that names it, which may be the preset or what overrides it,
 * or to the working folder when --set does. */
static gboolean load_gpu(MoeTopology *topology, const MoeNode *node, GError **error)
{
    const MoeNode *gpu = at(node, "gpu", NULL);
    g_autofree char *dir = strcmp(gpu->file, "--set") != 0 ? g_path_get_dirname(gpu->file) : NULL;
    if (moe_gpu_load(topology->file.gpu, dir, &topology->gpu, error))
        return TRUE;
    moe_node_prefix(gpu, "gpu", error);
    return FALSE;
}

static gboolean check_nics(const MoeTopologyFile *file, const MoeNode *node, GError **error)
{
    const GArray *affinity = file->nics.affinity;
    if (file->nics.per_node > 0 && isnan(file->nics.bandwidth))
        return moe_node_fail(at(node, "nics", NULL), error,
                             "nics: bandwidth: missing; write for example 400Gbps");
    if (affinity != NULL && affinity->len != file->gpus_per_node)
        return moe_node_fail(at(node, "nics", "affinity"), error,
                             "nics: affinity: %u entries; one per GPU of a node, %" G_GINT64_FORMAT
                             ", are needed",
                             affinity->len, file->gpus_per_node);
    for (guint i = 0; affinity != NULL && i < affinity->len; i++)
        if (g_array_index(affinity, gint64, i) >= file->nics.per_node)
            return moe_node_fail(at(node, "nics", "affinity"), error,
                                 "nics: affinity: GPU %u has NIC %" G_GINT64_FORMAT
                                 "; a node has %" G_GINT64_FORMAT ", counted from 0",
                                 i, g_array_index(affinity, gint64, i), file->nics.per_node);
    if (affinity == NULL && file->nics.per_node > 0 &&
        file->gpus_per_node % file->nics.per_node != 0)
        return moe_node_fail(at(node, "nics", "per_node"), error,
                             "nics: per_node: %" G_GINT64_FORMAT
                             " NICs do not divide %" G_GINT64_FORMAT
                             " GPUs evenly; say which GPU has which with affinity",
                             file->nics.per_node, file->gpus_per_node);
    if (file->nodes > 1 && file->nics.per_node == 0)
        return moe_node_fail(at(node, "nodes", NULL), error,
                             "nics: %" G_GINT64_FORMAT " nodes without NICs cannot be reached; "
                             "write nics: {per_node: ..., bandwidth: ...}",
                             file->nodes);
    return TRUE;
}

static gboolean check_scale_up(const MoeTopologyFile *file, const MoeNode *node, GError **error)
{
    gboolean none = scale_up_kinds[file->scale_up.kind] == &moe_scale_up_none;
    if (!none && isnan(file->scale_up.bandwidth))
        return moe_node_fail(at(node, "scale_up", NULL), error,
                             "scale_up: bandwidth: missing; write for example 450GBps");
    if (none && file->gpus_per_node > 1 && file->nics.per_node != file->gpus_per_node)
        return moe_node_fail(
            at(node, "scale_up", "kind"), error,
            "scale_up: kind none needs one NIC per GPU (nics: per_node: %" G_GINT64_FORMAT
            "), or GPUs of a node cannot reach each other",
            file->gpus_per_node);
    if (file->nodes * file->gpus_per_node > MOST_GPUS)
        return moe_node_fail(at(node, "nodes", NULL), error,
                             "nodes: %" G_GINT64_FORMAT " GPUs; at most %d are simulated",
                             file->nodes * file->gpus_per_node, MOST_GPUS);
    return TRUE;
}

static gboolean build(MoeTopology *topology, const MoeNode *node, gint64 default_nodes,
                      GError **error)
{
    MoeTopologyFile *file = &topology->file;
    if (!moe_fields_read(moe_topology_fields, node, "topology", file, error))
        return FALSE;
    if (file->nodes == 0)
        file->nodes = default_nodes;
    if (file->nodes == 0)
        return moe_node_fail(node, error,
                             "nodes: missing; write how many machines the cluster has");
    if (!check_nics(file, node, error) || !check_scale_up(file, node, error) ||
        !load_gpu(topology, node, error))
        return FALSE;
    topology->n_gpus = file->nodes * file->gpus_per_node;
    topology->n_nics = file->nodes * file->nics.per_node;
    topology->kinds[MOE_FABRIC_SCALE_UP] = scale_up_kinds[file->scale_up.kind];
    topology->kinds[MOE_FABRIC_SCALE_OUT] = scale_out_kinds[file->scale_out.kind];
    for (int f = 0; f < MOE_FABRIC_COUNT; f++) {
        topology->first_link[f] = topology->links->len;
        if ((f == MOE_FABRIC_SCALE_UP || topology->n_nics > 0) &&
            !topology->kinds[f]->add_links(topology, error)) {
            moe_node_prefix(at(node, f == MOE_FABRIC_SCALE_UP ? "scale_up" : "scale_out", "kind"),
                            f == MOE_FABRIC_SCALE_UP ? "scale_up" : "scale_out", error);
            return FALSE;
        }
        topology->end_link[f] = topology->links->len;
    }
    return TRUE;
}

static void link_clear(gpointer link)
{
    g_free(((MoeLink *)link)->name);
}

MoeTopology *moe_topology_read(const MoeNode *node, const char *base_dir, gint64 default_nodes,
                               GError **error)
{
    g_autoptr(MoeNode) merged = merge_preset(node, base_dir, error);
    if (merged == NULL)
        return NULL;
    g_autoptr(MoeTopology) topology = g_new0(MoeTopology, 1);
    topology->links = g_array_new(FALSE, FALSE, sizeof(MoeLink));
    g_array_set_clear_func(topology->links, link_clear);
    if (!build(topology, merged, default_nodes, error))
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
    g_autoptr(MoeNode) merged = merge_preset(node, base_dir, error);
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
    moe_gpu_clear(&topology->gpu);
    g_array_unref(topology->links);
    g_free(topology);
}

/* --- questions ------------------------------------------------------------------------------- */

gint64 moe_topology_nic(const MoeTopology *topology, gint64 gpu)
{
    const MoeTopologyFile *file = &topology->file;
    if (file->nics.per_node == 0)
        return -1;
    gint64 node = gpu / file->gpus_per_node, local = gpu % file->gpus_per_node;
    gint64 nic = file->nics.affinity != NULL ? g_array_index(file->nics.affinity, gint64, local)
                                             : local / (file->gpus_per_node / file->nics.per_node);
    return node * file->nics.per_node + nic;
}

MoeFabric moe_topology_fabric(const MoeTopology *topology, gint64 from, gint64 to)
{
    gboolean same = moe_topology_node(topology, from) == moe_topology_node(topology, to);
    return same && topology->kinds[MOE_FABRIC_SCALE_UP] != &moe_scale_up_none
               ? MOE_FABRIC_SCALE_UP
               : MOE_FABRIC_SCALE_OUT;
}

int moe_topology_route(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to,
                       guint32 links[MOE_ROUTE_MOST])
{
    if (fabric == MOE_FABRIC_SCALE_OUT && topology->n_nics == 0)
        return 0;
    return topology->kinds[fabric]->route(topology, from, to, links);
}

double moe_topology_latency(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to)
{
    guint32 links[MOE_ROUTE_MOST];
    int n = moe_topology_route(topology, fabric, from, to, links);
    double latency = 0;
    for (int i = 0; i < n; i++)
        latency += g_array_index(topology->links, MoeLink, links[i]).latency;
    return latency;
}

double moe_topology_bandwidth(const MoeTopology *topology, MoeFabric fabric, gint64 from, gint64 to)
{
    guint32 links[MOE_ROUTE_MOST];
    int n = moe_topology_route(topology, fabric, from, to, links);
    double bandwidth = n > 0 ? INFINITY : 0;
    for (int i = 0; i < n; i++)
        bandwidth = fmin(bandwidth, g_array_index(topology->links, MoeLink, links[i]).bandwidth);
    return bandwidth;
}

char *moe_topology_host(const MoeTopology *topology, MoeFabric fabric, gint64 gpu)
{
    if (fabric == MOE_FABRIC_SCALE_UP)
        return g_strdup_printf("gpu%" G_GINT64_FORMAT, gpu);
    return g_strdup_printf("nic%" G_GINT64_FORMAT, moe_topology_nic(topology, gpu));
}

char *moe_topology_platform(const MoeTopology *topology)
{
    GString *xml = g_string_new("<?xml version='1.0'?>\n"
                                "<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
                                "<platform version=\"4.1\">\n"
                                "<zone id=\"cluster\" routing=\"None\">\n");
    for (int f = 0; f < MOE_FABRIC_COUNT; f++)
        if (f == MOE_FABRIC_SCALE_UP || topology->n_nics > 0)
            topology->kinds[f]->write_zones(topology, xml);
    g_string_append(xml, "</zone>\n</platform>\n");
    return g_string_free(xml, FALSE);
}

guint32 moe_topology_add_link_take(MoeTopology *topology, char *name, MoeFabric fabric,
                                   double bandwidth, double latency)
{
    MoeLink link = {name, fabric, bandwidth, latency};
    g_array_append_val(topology->links, link);
    return topology->links->len - 1;
}

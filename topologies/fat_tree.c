#include "config.h"

#include "topologies/fat_tree.h"

#include <math.h>

/* Links after the NICs': leaf l to spine u is number 2 (l U + u), back the next; then spine p (of
 * all pods, in order) to its core c 2 (p C + c), back the next. */
typedef struct {
    MoeLeaves kind;
    gint64 rails;                    /* NICs of a node */
    gint64 width;                    /* NICs of a leaf: its places */
    gint64 leaves, pods, pod_leaves; /* pods: 0 with two levels */
    gint64 up, core_up;              /* U, C; 0: no such links */
    guint32 first_leaf;              /* vertex */
    guint32 first_up, first_core;    /* links */
} FatTree;

static gint64 leaf_of(const FatTree *tree, gint64 nic)
{
    if (tree->kind == MOE_LEAVES_BLOCKS)
        return nic / tree->width;
    gint64 node = nic / tree->rails, rail = nic % tree->rails;
    return node / tree->width * tree->rails + rail;
}

static gint64 place_of(const FatTree *tree, gint64 nic)
{
    return (tree->kind == MOE_LEAVES_BLOCKS ? nic : nic / tree->rails) % tree->width;
}

/* A number of links must be a whole one. */
static gboolean whole(double value, const char *what, gint64 *out, GError **error)
{
    if (!(value >= 1 - 1e-9) || fabs(value - round(value)) > 1e-6 * value || value > 4096)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s makes %.4g uplinks per switch; a whole number from 1 to 4096 is needed",
                        what, value);
    *out = (gint64)round(value);
    return TRUE;
}

static gboolean lay_out(const MoeTopology *topology, FatTree *tree, gboolean spines, GError **error)
{
    const MoeTopologyFile *file = &topology->file;
    tree->rails = moe_topology_machine(topology, 0)->n_nics;
    for (guint m = 0; m < topology->machines->len && tree->kind == MOE_LEAVES_RAILS; m++)
        if (moe_topology_machine(topology, m)->n_nics != tree->rails)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "rails need as many NICs in every node; node 0 has %" G_GINT64_FORMAT
                            ", node %u %" G_GINT64_FORMAT,
                            tree->rails, m, moe_topology_machine(topology, m)->n_nics);
    tree->width = file->scale_out.switch_nics;
    if (tree->width == 0 && tree->kind == MOE_LEAVES_BLOCKS)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "switch_nics: missing; write how many NICs a leaf switch has");
    if (tree->width == 0)
        tree->width = topology->machines->len;
    gint64 endpoints =
        tree->kind == MOE_LEAVES_BLOCKS ? topology->n_nics : (gint64)topology->machines->len;
    tree->leaves = (endpoints + tree->width - 1) / tree->width;
    if (tree->kind == MOE_LEAVES_RAILS)
        tree->leaves *= tree->rails;
    tree->pod_leaves = tree->leaves;
    if (!spines || tree->leaves == 1)
        return TRUE;
    double nic = moe_topology_fabric_rate(topology, NAN);
    double link = moe_topology_fabric_rate(topology, file->scale_out.link_bandwidth);
    if (!whole((double)tree->width * nic / (file->scale_out.oversubscription * link),
               "oversubscription", &tree->up, error))
        return FALSE;
    if (file->scale_out.levels == 2)
        return TRUE;
    if (file->scale_out.group_switches == 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "group_switches: missing; write how many leaves a pod has");
    tree->pod_leaves = file->scale_out.group_switches;
    tree->pods = (tree->leaves + tree->pod_leaves - 1) / tree->pod_leaves;
    return tree->pods == 1 ||
           whole((double)tree->pod_leaves / file->scale_out.core_oversubscription,
                 "core_oversubscription", &tree->core_up, error);
}

static void add_leaves(MoeTopology *topology, FatTree *tree)
{
    tree->first_leaf = topology->vertices->len;
    for (gint64 l = 0; l < tree->leaves; l++)
        moe_topology_add_switch_take(topology, g_strdup_printf("leaf%" G_GINT64_FORMAT, l), 2);
    for (gint64 nic = 0; nic < topology->n_nics; nic++)
        moe_topology_plug(topology, nic, tree->first_leaf + (guint32)leaf_of(tree, nic));
}

static void add_spines(MoeTopology *topology, FatTree *tree)
{
    const MoeTopologyFile *file = &topology->file;
    double rate = moe_topology_fabric_rate(topology, file->scale_out.link_bandwidth);
    gint64 groups = MAX(1, tree->pods);
    guint32 first_spine = topology->vertices->len;
    for (gint64 s = 0; s < groups * tree->up; s++)
        moe_topology_add_switch_take(topology, g_strdup_printf("spine%" G_GINT64_FORMAT, s), 3);
    guint32 first_core = topology->vertices->len;
    for (gint64 c = 0; c < tree->up * tree->core_up; c++)
        moe_topology_add_switch_take(topology, g_strdup_printf("core%" G_GINT64_FORMAT, c), 4);
    tree->first_up = topology->links->len;
    for (gint64 l = 0; l < tree->leaves; l++)
        for (gint64 u = 0; u < tree->up; u++)
            moe_topology_add_cable(topology, MOE_FABRIC_SCALE_OUT, "leaf to spine",
                                   tree->first_leaf + (guint32)l,
                                   first_spine + (guint32)(l / tree->pod_leaves * tree->up + u),
                                   rate, file->scale_out.hop_latency);
    tree->first_core = topology->links->len;
    for (gint64 s = 0; s < tree->pods * tree->up; s++)
        for (gint64 c = 0; c < tree->core_up; c++)
            moe_topology_add_cable(topology, MOE_FABRIC_SCALE_OUT, "spine to core",
                                   first_spine + (guint32)s,
                                   first_core + (guint32)(s % tree->up * tree->core_up + c), rate,
                                   file->scale_out.hop_latency);
}

gboolean moe_fat_tree_build(MoeTopology *topology, MoeLeaves leaves, gboolean spines,
                            GError **error)
{
    FatTree *tree = g_new0(FatTree, 1);
    topology->state = tree;
    tree->kind = leaves;
    if (!lay_out(topology, tree, spines, error))
        return FALSE;
    gint64 cables = tree->leaves * tree->up + tree->pods * tree->up * tree->core_up;
    if (cables > 1 << 22)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%" G_GINT64_FORMAT " cables between switches; at most %d are simulated: "
                        "write faster ones (link_bandwidth)",
                        cables, 1 << 22);
    add_leaves(topology, tree);
    add_spines(topology, tree);
    return TRUE;
}

int moe_fat_tree_route(const MoeTopology *topology, gint64 a, gint64 b, guint32 *links)
{
    const FatTree *tree = topology->state;
    gint64 from = leaf_of(tree, a), to = leaf_of(tree, b), place = place_of(tree, b);
    if (from == to)
        return 0;
    if (tree->up == 0)
        return -1;
    gint64 u = place % tree->up;
    gint64 pod_from = from / tree->pod_leaves, pod_to = to / tree->pod_leaves;
    int n = 0;
    links[n++] = tree->first_up + 2 * (guint32)(from * tree->up + u);
    if (pod_from != pod_to) {
        gint64 rows = (tree->width + tree->up - 1) / tree->up;
        gint64 core = (to % tree->pod_leaves * rows + place / tree->up) % tree->core_up;
        links[n++] =
            tree->first_core + 2 * (guint32)((pod_from * tree->up + u) * tree->core_up + core);
        links[n++] =
            tree->first_core + 2 * (guint32)((pod_to * tree->up + u) * tree->core_up + core) + 1;
    }
    links[n++] = tree->first_up + 2 * (guint32)(to * tree->up + u) + 1;
    return n;
}

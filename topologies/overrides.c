#include "config.h"

#include "topologies/overrides.h"

#include <math.h>
#include <string.h>

typedef struct {
    char *name;
    double bandwidth, share, latency;
    gboolean broken;
} Override;

const MoeField moe_override_fields[] = {
    {"name", MOE_FIELD_STRING, offsetof(Override, name),
     .doc = "of links as links.csv calls them; * and ? stand for any text and character"},
    {"bandwidth", MOE_FIELD_QUANTITY, offsetof(Override, bandwidth), "", .unit = MOE_UNIT_RATE,
     .min = 1, .max = 1e15, .doc = "of payload"},
    {"share", MOE_FIELD_QUANTITY, offsetof(Override, share), "", .unit = MOE_UNIT_RATIO,
     .min = 0.0001, .max = 1, .doc = "of the bandwidth that is left: a straggling or lossy link"},
    {"latency", MOE_FIELD_QUANTITY, offsetof(Override, latency), "", .unit = MOE_UNIT_TIME,
     .max = 1, .doc = "of the link"},
    {"broken", MOE_FIELD_BOOL, offsetof(Override, broken), "false", .doc = "carries nothing"},
    {NULL},
};

static gboolean unknown(const MoeTopology *topology, const MoeNode *node, const char *name,
                        GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint32 l = 0; l < topology->links->len; l++)
        g_ptr_array_add(names, moe_topology_link(topology, l)->name);
    g_ptr_array_add(names, NULL);
    const char *near = strpbrk(name, "*?") == NULL && topology->links->len <= 4096
                           ? moe_nearest(name, (const char *const *)names->pdata)
                           : NULL;
    return moe_node_fail(node, error, "links: name: no link is called '%s'; %s %s", name,
                         near != NULL ? "did you mean" : "there is for example",
                         near != NULL               ? near
                         : topology->links->len > 0 ? (const char *)names->pdata[0]
                                                    : "none");
}

static void apply(MoeLink *link, const Override *o)
{
    double bandwidth = link->bandwidth, latency = link->latency;
    if (!isnan(o->bandwidth))
        link->bandwidth = o->bandwidth;
    if (!isnan(o->share))
        link->bandwidth *= o->share;
    if (!isnan(o->latency))
        link->latency = o->latency;
    link->slowed |= link->bandwidth < bandwidth || link->latency > latency;
    link->broken |= o->broken;
    link->differs = TRUE;
}

static gboolean override_one(MoeTopology *topology, const MoeNode *node, GError **error)
{
    Override o = {0};
    if (!moe_fields_read(moe_override_fields, node, "links", &o, error))
        return FALSE;
    guint n = 0;
    for (guint32 l = 0; l < topology->links->len; l++) {
        MoeLink *link = &g_array_index(topology->links, MoeLink, l);
        if (!g_pattern_match_simple(o.name, link->name))
            continue;
        apply(link, &o);
        n++;
    }
    gboolean good = n > 0 || unknown(topology, node, o.name, error);
    if (good && !o.broken && isnan(o.bandwidth) && isnan(o.share) && isnan(o.latency))
        good = moe_node_fail(node, error,
                             "links: nothing changes; write bandwidth, share, latency or broken");
    moe_fields_clear(moe_override_fields, &o);
    return good;
}

gboolean moe_topology_override(MoeTopology *topology, const MoeNode *links, GError **error)
{
    if (links == NULL)
        return TRUE;
    if (links->kind != MOE_NODE_LIST)
        return moe_node_fail(links, error,
                             "links: must be a list such as [{name: node0 nic3 *, share: 50%%}]");
    for (guint i = 0; i < links->items->len; i++)
        if (!override_one(topology, links->items->pdata[i], error))
            return FALSE;
    return TRUE;
}

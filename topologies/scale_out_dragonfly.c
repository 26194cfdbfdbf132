#include "config.h"

#include "topologies/topology.h"

#include <math.h>

/* A dragonfly (Kim, Dally, Scott, Abts, ISCA 2008): routers of p NICs form groups of a that are
 * joined by a cable between any two; each router has h cables to other groups, placed one group
 * after the other. Any two groups share floor(a h / (groups - 1)) cables; cable c of group i to
 * group j leaves at port c (groups - 1) + (j < i ? j : j - 1), h ports to a router. Routing is
 * minimal (local, global, local) and static: NIC n is reached over cable n mod their number.
 * Links after the NICs': from router r of group g to r2, number (g a + r)(a - 1) + (r2 < r ? r2 :
 * r2 - 1); then from group i over cable c to j, (i (groups - 1) + (j < i ? j : j - 1)) cables + c.
 */
typedef struct {
    gint64 width, routers, groups, global, cables; /* p, a, groups, h, cables per two groups */
    guint32 first_local, first_global;             /* links */
} Dragonfly;

static gint64 skip(gint64 self, gint64 other)
{
    return other < self ? other : other - 1;
}

/* The router within group @i at which cable @c to group @j ends. */
static gint64 gateway(const Dragonfly *d, gint64 i, gint64 j, gint64 c)
{
    return (c * (d->groups - 1) + skip(i, j)) / d->global;
}

static gboolean lay_out(const MoeTopology *topology, Dragonfly *d, GError **error)
{
    const MoeTopologyFile *file = &topology->file;
    d->width = file->scale_out.switch_nics;
    d->routers = file->scale_out.group_switches;
    d->global = file->scale_out.global_links;
    if (d->width == 0 || d->routers == 0 || d->global == 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: missing; a dragonfly needs switch_nics (NICs of a router), "
                        "group_switches (routers of a group) and global_links (of a router)",
                        d->width == 0     ? "switch_nics"
                        : d->routers == 0 ? "group_switches"
                                          : "global_links");
    gint64 per_group = d->width * d->routers;
    d->groups = (topology->n_nics + per_group - 1) / per_group;
    d->cables = d->groups > 1 ? d->routers * d->global / (d->groups - 1) : 0;
    if (d->groups > 1 && d->cables == 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "global_links: %" G_GINT64_FORMAT " routers with %" G_GINT64_FORMAT
                        " each reach %" G_GINT64_FORMAT " other groups; there are %" G_GINT64_FORMAT
                        ": write more links, or larger groups",
                        d->routers, d->global, d->routers * d->global, d->groups - 1);
    gint64 links = d->groups * d->routers * (d->routers - 1 + d->global);
    return links <= 1 << 22 ||
           moe_fail(error, MOE_ERROR_INPUT,
                    "group_switches: %" G_GINT64_FORMAT " links; at most %d are simulated", links,
                    1 << 22);
}

static void add_links(MoeTopology *topology, Dragonfly *d, guint32 first)
{
    const MoeTopologyFile *file = &topology->file;
    double local = moe_topology_fabric_rate(topology, file->scale_out.link_bandwidth);
    double global = isnan(file->scale_out.global_bandwidth)
                        ? local
                        : moe_topology_fabric_rate(topology, file->scale_out.global_bandwidth);
    d->first_local = topology->links->len;
    for (gint64 r = 0; r < d->groups * d->routers; r++)
        for (gint64 other = 0; other < d->routers; other++)
            if (other != r % d->routers)
                moe_topology_add_link(topology, MOE_FABRIC_SCALE_OUT, "router to router", NULL,
                                      first + (guint32)r,
                                      first + (guint32)(r / d->routers * d->routers + other), local,
                                      file->scale_out.hop_latency);
    d->first_global = topology->links->len;
    for (gint64 i = 0; i < d->groups; i++)
        for (gint64 j = 0; j < d->groups; j++)
            for (gint64 c = 0; c < d->cables && i != j; c++)
                moe_topology_add_link(topology, MOE_FABRIC_SCALE_OUT, "group to group",
                                      g_strdup_printf("group%" G_GINT64_FORMAT
                                                      " to group%" G_GINT64_FORMAT
                                                      " cable%" G_GINT64_FORMAT,
                                                      i, j, c),
                                      first + (guint32)(i * d->routers + gateway(d, i, j, c)),
                                      first + (guint32)(j * d->routers + gateway(d, j, i, c)),
                                      global, file->scale_out.hop_latency);
}

static gboolean build(MoeTopology *topology, GError **error)
{
    Dragonfly *d = g_new0(Dragonfly, 1);
    topology->state = d;
    if (!lay_out(topology, d, error))
        return FALSE;
    guint32 first = topology->vertices->len;
    for (gint64 r = 0; r < d->groups * d->routers; r++)
        moe_topology_add_switch_take(topology,
                                     g_strdup_printf("group%" G_GINT64_FORMAT
                                                     " router%" G_GINT64_FORMAT,
                                                     r / d->routers, r % d->routers),
                                     2);
    for (gint64 nic = 0; nic < topology->n_nics; nic++)
        moe_topology_plug(topology, nic, first + (guint32)(nic / d->width));
    add_links(topology, d, first);
    return TRUE;
}

static guint32 local_link(const Dragonfly *d, gint64 group, gint64 from, gint64 to)
{
    return d->first_local +
           (guint32)((group * d->routers + from) * (d->routers - 1) + skip(from, to));
}

static int route(const MoeTopology *topology, gint64 a, gint64 b, guint32 *links)
{
    const Dragonfly *d = topology->state;
    gint64 ra = a / d->width, rb = b / d->width, i = ra / d->routers, j = rb / d->routers;
    gint64 at = ra % d->routers, end = rb % d->routers;
    int n = 0;
    if (i != j) {
        gint64 c = b % d->cables, leave = gateway(d, i, j, c);
        if (at != leave)
            links[n++] = local_link(d, i, at, leave);
        links[n++] =
            d->first_global + (guint32)((i * (d->groups - 1) + skip(i, j)) * d->cables + c);
        at = gateway(d, j, i, c);
    }
    if (at != end)
        links[n++] = local_link(d, j, at, end);
    return n;
}

static const char *const keys[] = {
    "hop_latency",      "switch_nics", "link_bandwidth", "group_switches", "global_links",
    "global_bandwidth", NULL};

const MoeScaleOutKind moe_scale_out_dragonfly = {
    .name = "dragonfly", .keys = keys, .build = build, .route = route};

#include "config.h"

#include "topologies/routes.h"

#include <math.h>

/* Where a pair's links begin; its path counts from 1, 0: not looked up. */
typedef struct {
    guint32 first;
    guint32 path : 24;
    guint32 n : 8;
} Entry;

enum { MOST_PATHS = (1 << 24) - 1, REMEMBERED = 256, MOST_GPUS = 8192 };

typedef struct {
    double latency, bandwidth;
} Path;

struct MoeRoutes {
    gint64 n_gpus;
    Entry **entries[MOE_FABRIC_COUNT]; /* [n_gpus][n_gpus]; NULL, row or all: none yet, or never */
    GArray *links;                     /* guint32 */
    GArray *paths;                     /* Path */
};

MoeRoutes *moe_routes_new(gint64 n_gpus)
{
    MoeRoutes *routes = g_new0(MoeRoutes, 1);
    routes->n_gpus = n_gpus;
    routes->links = g_array_new(FALSE, FALSE, sizeof(guint32));
    routes->paths = g_array_new(FALSE, FALSE, sizeof(Path));
    return routes;
}

void moe_routes_free(MoeRoutes *routes)
{
    if (routes == NULL)
        return;
    for (int f = 0; f < MOE_FABRIC_COUNT; f++) {
        for (gint64 from = 0; from < routes->n_gpus && routes->entries[f] != NULL; from++)
            g_free(routes->entries[f][from]);
        g_free(routes->entries[f]);
    }
    g_array_unref(routes->links);
    g_array_unref(routes->paths);
    g_free(routes);
}

/* The number of the path, from 1; the newest are asked for most. Where every link differs from all
 * others, a path may get two numbers. */
static guint32 number_path(MoeRoutes *routes, const Path *path)
{
    guint n = routes->paths->len;
    for (guint p = n; p > 0 && (n - p < REMEMBERED || n == MOST_PATHS); p--) {
        const Path *known = &g_array_index(routes->paths, Path, p - 1);
        if (known->latency == path->latency && known->bandwidth == path->bandwidth)
            return p;
    }
    g_assert(n < MOST_PATHS);
    g_array_append_val(routes->paths, *path);
    return n + 1;
}

static void look_up(MoeRoutes *routes, const MoeTopology *topology, MoeFabric fabric, gint64 from,
                    gint64 to, Entry *entry)
{
    guint32 links[MOE_ROUTE_MOST];
    int n = moe_topology_route(topology, fabric, from, to, links);
    Path path = {.latency = 0, .bandwidth = INFINITY};
    for (int i = 0; i < n; i++) {
        const MoeLink *link = moe_topology_link(topology, links[i]);
        path.latency += link->latency;
        path.bandwidth = MIN(path.bandwidth, link->bandwidth);
    }
    *entry = (Entry){routes->links->len, number_path(routes, &path) & MOST_PATHS, (guint8)n};
    g_array_append_vals(routes->links, links, (guint)n);
}

/* Where a pair's is kept. */
static Entry *entry_of(MoeRoutes *routes, MoeFabric fabric, gint64 from, gint64 to)
{
    gint64 n = routes->n_gpus;
    if (routes->entries[fabric] == NULL)
        routes->entries[fabric] = g_new0(Entry *, n);
    Entry **row = &routes->entries[fabric][from];
    if (*row == NULL)
        *row = g_new0(Entry, n);
    return *row + to;
}

MoeRoute moe_routes_get(MoeRoutes *routes, const MoeTopology *topology, MoeFabric fabric,
                        gint64 from, gint64 to)
{
    gboolean keeps = routes->n_gpus <= MOST_GPUS;
    if (!keeps)
        g_array_set_size(routes->links, 0);
    Entry once = {0}, *entry = keeps ? entry_of(routes, fabric, from, to) : &once;
    if (entry->path == 0)
        look_up(routes, topology, fabric, from, to, entry);
    const Path *path = &g_array_index(routes->paths, Path, entry->path - 1);
    return (MoeRoute){&g_array_index(routes->links, guint32, entry->first), entry->n,
                      entry->path - 1, path->latency, path->bandwidth};
}

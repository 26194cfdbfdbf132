#include "config.h"

#include "topologies/paths.h"

#include <string.h>

enum { MOST_ENTRIES = 1 << 26 };

struct MoePaths {
    MoeFabric fabric;
    gint64 n_ends;      /* endpoints of the fabric */
    guint32 n_vertices; /* of the topology */
    guint32 *next;      /* [n_ends, n_vertices]: link, MOE_NO_LINK where there is no path */
    GHashTable *stated; /* gint64 from * n_ends + to -> GArray of guint32 */
};

/* The links that work, sorted by one of their ends: those of vertex v are item[first[v]] to
 * item[first[v + 1] - 1], in file order. */
typedef struct {
    guint32 *first, *item;
} Index;

static Index index_new(const MoeTopology *topology, MoeFabric fabric, gboolean by_to)
{
    guint32 n = topology->vertices->len;
    guint32 begin = topology->first_link[fabric], end = topology->end_link[fabric];
    Index index = {g_new0(guint32, n + 2), g_new(guint32, end - begin + 1)};
    for (guint32 l = begin; l < end; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        if (!link->broken)
            index.first[(by_to ? link->to : link->from) + 2]++;
    }
    for (guint32 v = 2; v < n + 2; v++)
        index.first[v] += index.first[v - 1];
    for (guint32 l = begin; l < end; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        if (!link->broken)
            index.item[index.first[(by_to ? link->to : link->from) + 1]++] = l;
    }
    return index;
}

static void index_clear(Index *index)
{
    g_free(index->first);
    g_free(index->item);
}

static guint32 vertex_of(const MoeTopology *topology, MoeFabric fabric, gint64 end)
{
    return fabric == MOE_FABRIC_SCALE_UP ? (guint32)end : moe_topology_nic_vertex(topology, end);
}

/* Whether messages of others may pass through @vertex. */
static gboolean passes(const MoeTopology *topology, guint32 vertex)
{
    if (vertex < topology->n_gpus)
        return moe_topology_group(topology, moe_topology_node(topology, vertex))->scale_up->relays;
    return vertex >= topology->n_gpus + topology->n_nics;
}

/* Links to the endpoint from every vertex, breadth first against the links' direction. */
static void measure(const MoeTopology *topology, const Index *into, guint32 end, guint32 *distance,
                    guint32 *queue)
{
    guint32 n = topology->vertices->len, head = 0, tail = 0;
    for (guint32 v = 0; v < n; v++)
        distance[v] = MOE_NO_LINK;
    distance[end] = 0;
    queue[tail++] = end;
    while (head < tail) {
        guint32 v = queue[head++];
        if (v != end && !passes(topology, v))
            continue;
        for (guint32 i = into->first[v]; i < into->first[v + 1]; i++) {
            guint32 from = moe_topology_link(topology, into->item[i])->from;
            if (distance[from] != MOE_NO_LINK)
                continue;
            distance[from] = distance[v] + 1;
            queue[tail++] = from;
        }
    }
}

static gboolean is_step(const MoeTopology *topology, guint32 link, guint32 end,
                        const guint32 *distance)
{
    const MoeLink *l = moe_topology_link(topology, link);
    return distance[l->to] != MOE_NO_LINK && distance[l->to] + 1 == distance[l->from] &&
           (l->to == end || passes(topology, l->to));
}

static void choose(const MoeTopology *topology, const Index *out, gint64 number, guint32 end,
                   const guint32 *distance, guint32 *next)
{
    for (guint32 v = 0; v < topology->vertices->len; v++) {
        guint32 steps = 0, nth = 0;
        next[v] = MOE_NO_LINK;
        if (v == end || distance[v] == MOE_NO_LINK)
            continue;
        for (guint32 i = out->first[v]; i < out->first[v + 1]; i++)
            steps += is_step(topology, out->item[i], end, distance) ? 1 : 0;
        for (guint32 i = out->first[v]; i < out->first[v + 1] && steps > 0; i++)
            if (is_step(topology, out->item[i], end, distance) && nth++ == number % steps)
                next[v] = out->item[i];
    }
}

MoePaths *moe_paths_new(const MoeTopology *topology, MoeFabric fabric, GError **error)
{
    guint32 n = topology->vertices->len;
    gint64 ends = fabric == MOE_FABRIC_SCALE_UP ? topology->n_gpus : topology->n_nics;
    if (ends * n > MOST_ENTRIES) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: %" G_GINT64_FORMAT " endpoints and %u vertices are too many for a custom "
                 "graph or broken links (their product is at most %d)",
                 moe_fabric_name(fabric), ends, n, MOST_ENTRIES);
        return NULL;
    }
    MoePaths *paths = g_new0(MoePaths, 1);
    paths->fabric = fabric;
    paths->n_ends = ends;
    paths->n_vertices = n;
    paths->next = g_new(guint32, ends * n);
    paths->stated =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, (GDestroyNotify)g_array_unref);
    Index into = index_new(topology, fabric, TRUE), out = index_new(topology, fabric, FALSE);
    g_autofree guint32 *distance = g_new(guint32, n);
    g_autofree guint32 *queue = g_new(guint32, n);
    for (gint64 end = 0; end < ends; end++) {
        guint32 vertex = vertex_of(topology, fabric, end);
        measure(topology, &into, vertex, distance, queue);
        choose(topology, &out, end, vertex, distance, paths->next + end * n);
    }
    index_clear(&into);
    index_clear(&out);
    return paths;
}

void moe_paths_free(MoePaths *paths)
{
    if (paths == NULL)
        return;
    g_hash_table_unref(paths->stated);
    g_free(paths->next);
    g_free(paths);
}

void moe_paths_state(MoePaths *paths, gint64 from, gint64 to, const guint32 *links, guint n)
{
    gint64 *key = g_new(gint64, 1);
    *key = from * paths->n_ends + to;
    GArray *route = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_array_append_vals(route, links, n);
    g_hash_table_replace(paths->stated, key, route);
}

int moe_paths_route(const MoePaths *paths, const MoeTopology *topology, gint64 from, gint64 to,
                    guint32 *links, int most)
{
    gint64 key = from * paths->n_ends + to;
    const GArray *route = g_hash_table_lookup(paths->stated, &key);
    if (route != NULL && (int)route->len <= most) {
        memcpy(links, route->data, route->len * sizeof(guint32));
        return (int)route->len;
    }
    const guint32 *next = paths->next + to * paths->n_vertices;
    guint32 at = vertex_of(topology, paths->fabric, from);
    guint32 end = vertex_of(topology, paths->fabric, to);
    int n = 0;
    for (; at != end; at = moe_topology_link(topology, links[n - 1])->to) {
        if (next[at] == MOE_NO_LINK || n == most)
            return 0;
        links[n++] = next[at];
    }
    return n;
}

#include "config.h"

#include "topologies/graph.h"

#include "topologies/paths.h"

#include <math.h>
#include <string.h>

typedef struct {
    char **switches;
    const MoeNode *links, *routes;
} Graph;

typedef struct {
    char *from, *to;
    double bandwidth, latency;
    gboolean one_way;
} GraphLink;

typedef struct {
    char *from, *to;
    char **via;
} GraphRoute;

const MoeField moe_graph_fields[] = {
    {"switches", MOE_FIELD_STRINGS, offsetof(Graph, switches), "", .doc = "names of the switches"},
    {"links", MOE_FIELD_NODE, offsetof(Graph, links),
     .doc = "list: from (* and ? for many ends), to, bandwidth, latency, one_way"},
    {"routes", MOE_FIELD_NODE, offsetof(Graph, routes), "",
     .doc = "list: from, to, via (switches in order); other pairs take the shortest path"},
    {NULL},
};

const MoeField moe_graph_link_fields[] = {
    {"from", MOE_FIELD_STRING, offsetof(GraphLink, from), .doc = "a switch or an end"},
    {"to", MOE_FIELD_STRING, offsetof(GraphLink, to), .doc = "a switch or an end"},
    {"bandwidth", MOE_FIELD_QUANTITY, offsetof(GraphLink, bandwidth), "", .unit = MOE_UNIT_RATE,
     .min = 1, .max = 1e15, .doc = "per direction, nominal"},
    {"latency", MOE_FIELD_QUANTITY, offsetof(GraphLink, latency), "0us", .unit = MOE_UNIT_TIME,
     .max = 1, .doc = "of the link"},
    {"one_way", MOE_FIELD_BOOL, offsetof(GraphLink, one_way), "false", .doc = "no link back"},
    {NULL},
};

const MoeField moe_graph_route_fields[] = {
    {"from", MOE_FIELD_STRING, offsetof(GraphRoute, from), .doc = "an end"},
    {"to", MOE_FIELD_STRING, offsetof(GraphRoute, to), .doc = "an end"},
    {"via", MOE_FIELD_STRINGS, offsetof(GraphRoute, via), "", .doc = "switches in order"},
    {NULL},
};

/* Names of vertices as the file writes them: without the node in a scale-up domain. */
typedef struct {
    MoeTopology *topology;
    MoeFabric fabric;
    gint64 node;
    GHashTable *vertices; /* name -> vertex + 1 */
    GPtrArray *names;     /* in order, borrowed from the table */
} Names;

static gboolean add_name(Names *names, char *name, guint32 vertex)
{
    g_ptr_array_add(names->names, name);
    return g_hash_table_insert(names->vertices, name, GUINT_TO_POINTER(vertex + 1));
}

static void names_clear(Names *names)
{
    g_hash_table_unref(names->vertices);
    g_ptr_array_unref(names->names);
}

static void names_init(Names *names, MoeTopology *topology, MoeFabric fabric, gint64 node)
{
    *names =
        (Names){topology, fabric, node,
                g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL), g_ptr_array_new()};
    if (fabric == MOE_FABRIC_SCALE_UP) {
        const MoeMachine *machine = moe_topology_machine(topology, node);
        for (gint64 g = 0; g < machine->n_gpus; g++)
            add_name(names, g_strdup_printf("gpu%" G_GINT64_FORMAT, g),
                     (guint32)(machine->first_gpu + g));
        return;
    }
    for (gint64 nic = 0; nic < topology->n_nics; nic++) {
        guint32 vertex = moe_topology_nic_vertex(topology, nic);
        add_name(names, g_strdup(g_array_index(topology->vertices, MoeVertex, vertex).name),
                 vertex);
    }
}

static gboolean find(const Names *names, const MoeNode *node, const char *name, guint32 *vertex_out,
                     GError **error)
{
    gpointer found = g_hash_table_lookup(names->vertices, name);
    if (found != NULL) {
        *vertex_out = GPOINTER_TO_UINT(found) - 1;
        return TRUE;
    }
    g_autoptr(GPtrArray) all = g_ptr_array_copy(names->names, NULL, NULL);
    g_ptr_array_add(all, NULL);
    const char *near = moe_nearest(name, (const char *const *)all->pdata);
    return moe_node_fail(node, error,
                         "graph: there is no '%s'; did you mean %s? Ends are called like %s, "
                         "switches as the list switches says",
                         name, near != NULL ? near : (const char *)names->names->pdata[0],
                         (const char *)names->names->pdata[0]);
}

/* Names stand in tables, figures and, with * and ?, in the ends of links. */
static gboolean check_switch(const char *name, const MoeNode *node, GError **error)
{
    if (*name == '\0')
        return moe_node_fail(node, error,
                             "graph: switches: an empty name; write for example 'spine0'");
    for (const char *at = name; *at != '\0'; at = g_utf8_next_char(at)) {
        if (g_unichar_iscntrl(g_utf8_get_char(at))) {
            g_autofree char *shown = g_strescape(name, NULL);
            return moe_node_fail(node, error,
                                 "graph: switches: \"%s\" has a control character; write letters, "
                                 "digits, spaces, '-', '_' or '.'",
                                 shown);
        }
        if (*at == '*' || *at == '?')
            return moe_node_fail(node, error,
                                 "graph: switches: '%s' has a %c, which stands for many ends in "
                                 "links; write letters, digits, spaces, '-', '_' or '.'",
                                 name, *at);
    }
    return TRUE;
}

static gboolean add_switches(Names *names, char **switches, const MoeNode *node, GError **error)
{
    const MoeNode *list = moe_node_get(node, "switches");
    for (guint i = 0; switches != NULL && switches[i] != NULL; i++) {
        const MoeNode *item = list->items->pdata[i];
        if (!check_switch(switches[i], item, error))
            return FALSE;
        if (g_hash_table_contains(names->vertices, switches[i]))
            return moe_node_fail(item, error, "graph: switches: '%s' is there already",
                                 switches[i]);
        char *name = names->fabric == MOE_FABRIC_SCALE_UP
                         ? g_strdup_printf("node%" G_GINT64_FORMAT " %s", names->node, switches[i])
                         : g_strdup(switches[i]);
        guint32 vertex = moe_topology_add_switch_take(
            names->topology, name, names->fabric == MOE_FABRIC_SCALE_UP ? -1 : 2);
        add_name(names, g_strdup(switches[i]), vertex);
    }
    return TRUE;
}

/* One link of the list, from each vertex whose name matches. */
static gboolean add_link(Names *names, const MoeNode *node, double bandwidth, double efficiency,
                         GError **error)
{
    GraphLink link = {0};
    guint32 to = 0, from = 0;
    if (!moe_fields_read(moe_graph_link_fields, node, "graph: links", &link, error))
        return FALSE;
    double rate = (isnan(link.bandwidth) ? bandwidth : link.bandwidth) * efficiency;
    gboolean many = strpbrk(link.from, "*?") != NULL, good = find(names, node, link.to, &to, error);
    guint added = 0;
    if (good && !many)
        good = find(names, node, link.from, &from, error);
    for (guint i = 0; good && i < names->names->len; i++) {
        const char *name = names->names->pdata[i];
        if (many ? !g_pattern_match_simple(link.from, name) : strcmp(link.from, name) != 0)
            continue;
        from = GPOINTER_TO_UINT(g_hash_table_lookup(names->vertices, name)) - 1;
        if (from == to && !many)
            good = moe_node_fail(node, error, "graph: a link from '%s' to itself", name);
        if (from == to)
            continue;
        const char *kind = from < names->topology->n_gpus + names->topology->n_nics ||
                                   to < names->topology->n_gpus + names->topology->n_nics
                               ? "end to switch"
                               : "switch to switch";
        moe_topology_add_link(names->topology, names->fabric, kind, NULL, from, to, rate,
                              link.latency);
        if (!link.one_way)
            moe_topology_add_link(names->topology, names->fabric, kind, NULL, to, from, rate,
                                  link.latency);
        added++;
    }
    if (good && added == 0)
        good = moe_node_fail(node, error, "graph: no end or switch matches '%s'", link.from);
    if (good && names->topology->links->len > 1 << 22)
        good = moe_node_fail(node, error, "graph: more than %d links", 1 << 22);
    moe_fields_clear(moe_graph_link_fields, &link);
    return good;
}

static gboolean is_list(const MoeNode *node, const char *what, GError **error)
{
    return node->kind == MOE_NODE_LIST ||
           moe_node_fail(node, error,
                         "graph: %s: must be a list of maps such as [{from: ..., to: "
                         "...}]",
                         what);
}

gboolean moe_graph_build(MoeTopology *topology, MoeFabric fabric, gint64 node, const MoeNode *graph,
                         double bandwidth, double efficiency, GError **error)
{
    Graph file = {0};
    if (!moe_fields_read(moe_graph_fields, graph, "graph", &file, error))
        return FALSE;
    Names names;
    names_init(&names, topology, fabric, node);
    gboolean good =
        add_switches(&names, file.switches, graph, error) && is_list(file.links, "links", error);
    for (guint i = 0; good && i < file.links->items->len; i++)
        good = add_link(&names, file.links->items->pdata[i], bandwidth, efficiency, error);
    names_clear(&names);
    moe_fields_clear(moe_graph_fields, &file);
    return good;
}

/* --- stated routes --------------------------------------------------------------------------- */

static gboolean find_link(const MoeTopology *topology, MoeFabric fabric, guint32 from, guint32 to,
                          const MoeNode *node, guint32 *link_out, GError **error)
{
    for (guint32 l = topology->first_link[fabric]; l < topology->end_link[fabric]; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        if (link->from == from && link->to == to && !link->broken) {
            *link_out = l;
            return TRUE;
        }
    }
    return moe_node_fail(node, error, "graph: routes: no working link from %s to %s",
                         g_array_index(topology->vertices, MoeVertex, from).name,
                         g_array_index(topology->vertices, MoeVertex, to).name);
}

static gboolean state_route(Names *names, const MoeNode *node, GError **error)
{
    MoeTopology *topology = names->topology;
    gint64 first = names->fabric == MOE_FABRIC_SCALE_UP ? 0 : topology->n_gpus;
    gint64 behind = names->fabric == MOE_FABRIC_SCALE_UP ? topology->n_gpus
                                                         : topology->n_gpus + topology->n_nics;
    GraphRoute route = {0};
    guint32 from = 0, to = 0, at, links[MOE_ROUTE_MOST];
    guint n = 0;
    if (!moe_fields_read(moe_graph_route_fields, node, "graph: routes", &route, error))
        return FALSE;
    gboolean good =
        find(names, node, route.from, &from, error) && find(names, node, route.to, &to, error);
    if (good && (from < first || from >= behind || to < first || to >= behind || from == to))
        good = moe_node_fail(node, error, "graph: routes: from and to must be two different ends");
    if (good && route.via != NULL && g_strv_length(route.via) > MOE_ROUTE_MOST - 8)
        good = moe_node_fail(node, error, "graph: routes: via: more than %d switches",
                             MOE_ROUTE_MOST - 8);
    at = from;
    for (guint i = 0; good && route.via != NULL && route.via[i] != NULL; i++) {
        guint32 next = 0;
        good = find(names, node, route.via[i], &next, error) &&
               find_link(topology, names->fabric, at, next, node, &links[n++], error);
        at = next;
    }
    good = good && find_link(topology, names->fabric, at, to, node, &links[n++], error);
    if (good)
        moe_paths_state(topology->paths[names->fabric], from - first, to - first, links, n);
    moe_fields_clear(moe_graph_route_fields, &route);
    return good;
}

gboolean moe_graph_state_routes(MoeTopology *topology, MoeFabric fabric, gint64 node,
                                const MoeNode *graph, GError **error)
{
    Graph file = {0};
    if (!moe_fields_read(moe_graph_fields, graph, "graph", &file, error))
        return FALSE;
    Names names;
    names_init(&names, topology, fabric, node);
    for (guint32 v = (guint32)(topology->n_gpus + topology->n_nics); v < topology->vertices->len;
         v++) {
        const char *name = g_array_index(topology->vertices, MoeVertex, v).name;
        g_autofree char *prefix = g_strdup_printf("node%" G_GINT64_FORMAT " ", node);
        gboolean inside = g_str_has_prefix(name, prefix);
        if (fabric == MOE_FABRIC_SCALE_OUT || inside)
            add_name(&names, g_strdup(inside ? name + strlen(prefix) : name), v);
    }
    gboolean good = file.routes == NULL || is_list(file.routes, "routes", error);
    for (guint i = 0; good && file.routes != NULL && i < file.routes->items->len; i++)
        good = state_route(&names, file.routes->items->pdata[i], error);
    names_clear(&names);
    moe_fields_clear(moe_graph_fields, &file);
    return good;
}

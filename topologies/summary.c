#include "config.h"

#include "topologies/summary.h"

#include "topologies/grid.h"

#include <math.h>
#include <string.h>

/* --- bisection: the largest flow ------------------------------------------------------------- */

/* Arc 2 i is a link, arc 2 i + 1 the way back. */
typedef struct {
    guint32 n;                    /* vertices: the topology's, source, sink */
    GArray *to, *capacity, *next; /* guint32, double, gint32: -1 ends */
    gint32 *head, *at;
    int *depth;
    double least; /* what counts as a capacity */
} Flow;

#define TO(f, arc)       g_array_index((f)->to, guint32, arc)
#define CAPACITY(f, arc) g_array_index((f)->capacity, double, arc)
#define NEXT(f, arc)     g_array_index((f)->next, gint32, arc)

static void add_arc(Flow *f, guint32 from, guint32 to, double capacity)
{
    for (int back = 0; back < 2; back++) {
        guint32 a = back ? to : from, b = back ? from : to;
        double room = back ? 0 : capacity;
        gint32 arc = (gint32)f->to->len;
        g_array_append_val(f->to, b);
        g_array_append_val(f->capacity, room);
        g_array_append_val(f->next, f->head[a]);
        f->head[a] = arc;
    }
}

static gboolean layer(Flow *f, guint32 source, guint32 sink, guint32 *queue)
{
    guint32 head = 0, tail = 0;
    for (guint32 v = 0; v < f->n; v++)
        f->depth[v] = -1;
    f->depth[source] = 0;
    queue[tail++] = source;
    while (head < tail) {
        guint32 v = queue[head++];
        for (gint32 arc = f->head[v]; arc >= 0; arc = NEXT(f, arc))
            if (CAPACITY(f, arc) > f->least && f->depth[TO(f, arc)] < 0) {
                f->depth[TO(f, arc)] = f->depth[v] + 1;
                queue[tail++] = TO(f, arc);
            }
    }
    return f->depth[sink] >= 0;
}

/* Depth is at most the layers of the graph, which routes bound. */
static double push(Flow *f, guint32 v, guint32 sink, double most)
{
    if (v == sink)
        return most;
    double pushed = 0;
    for (; f->at[v] >= 0; f->at[v] = NEXT(f, f->at[v])) {
        gint32 arc = f->at[v];
        if (CAPACITY(f, arc) <= f->least || f->depth[TO(f, arc)] != f->depth[v] + 1)
            continue;
        double part = push(f, TO(f, arc), sink, fmin(most - pushed, CAPACITY(f, arc)));
        CAPACITY(f, arc) -= part;
        CAPACITY(f, arc ^ 1) += part;
        pushed += part;
        if (most - pushed <= f->least)
            return pushed;
    }
    return pushed;
}

double moe_topology_bisection(const MoeTopology *topology, MoeFabric fabric)
{
    gboolean up = fabric == MOE_FABRIC_SCALE_UP;
    gint64 ends = up ? moe_topology_machine(topology, 0)->n_gpus : topology->n_nics;
    guint32 n = topology->vertices->len, source = n, sink = n + 1;
    if (ends < 2)
        return 0;
    Flow f = {n + 2,
              g_array_new(FALSE, FALSE, sizeof(guint32)),
              g_array_new(FALSE, FALSE, sizeof(double)),
              g_array_new(FALSE, FALSE, sizeof(gint32)),
              g_new(gint32, n + 2),
              g_new(gint32, n + 2),
              g_new(int, n + 2),
              1e-3};
    memset(f.head, -1, (n + 2) * sizeof(gint32));
    for (gint64 e = 0; e < ends; e++) {
        guint32 vertex = up ? (guint32)e : moe_topology_nic_vertex(topology, e);
        add_arc(&f, e < ends / 2 ? source : vertex, e < ends / 2 ? vertex : sink, 1e18);
    }
    for (guint32 l = topology->first_link[fabric]; l < topology->end_link[fabric]; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        if (!link->broken)
            add_arc(&f, link->from, link->to, link->bandwidth);
    }
    g_autofree guint32 *queue = g_new(guint32, n + 2);
    double flow = 0;
    while (layer(&f, source, sink, queue)) {
        memcpy(f.at, f.head, (n + 2) * sizeof(gint32));
        double part = push(&f, source, sink, 1e18);
        if (part <= f.least)
            break;
        flow += part;
    }
    g_array_unref(f.to);
    g_array_unref(f.capacity);
    g_array_unref(f.next);
    g_free(f.head);
    g_free(f.at);
    g_free(f.depth);
    return flow;
}

/* --- counts ---------------------------------------------------------------------------------- */

GArray *moe_topology_count_links(const MoeTopology *topology)
{
    GArray *counts = g_array_new(FALSE, FALSE, sizeof(MoeLinkCount));
    for (guint32 l = 0; l < topology->links->len; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        guint i = 0;
        for (; i < counts->len; i++) {
            MoeLinkCount *c = &g_array_index(counts, MoeLinkCount, i);
            if (c->fabric == link->fabric && strcmp(c->kind, link->kind) == 0 &&
                c->bandwidth == link->bandwidth)
                break;
        }
        if (i == counts->len) {
            MoeLinkCount c = {link->fabric, link->kind, link->bandwidth, 0, 0};
            g_array_append_val(counts, c);
        }
        g_array_index(counts, MoeLinkCount, i).count++;
        g_array_index(counts, MoeLinkCount, i).broken += link->broken ? 1 : 0;
    }
    return counts;
}

static int compare_rungs(gconstpointer a, gconstpointer b)
{
    const MoeRung *x = a, *y = b;
    if (x->fabric != y->fabric)
        return x->fabric < y->fabric ? -1 : 1;
    if (x->links != y->links)
        return x->links < y->links ? -1 : 1;
    return x->bandwidth != y->bandwidth ? (x->bandwidth > y->bandwidth ? -1 : 1) : 0;
}

GArray *moe_topology_ladder(const MoeTopology *topology)
{
    GArray *rungs = g_array_new(FALSE, FALSE, sizeof(MoeRung));
    for (gint64 peer = 1; peer < topology->n_gpus; peer++) {
        guint32 links[MOE_ROUTE_MOST];
        MoeFabric fabric = moe_topology_fabric(topology, 0, peer);
        MoeRung rung = {fabric, moe_topology_route(topology, fabric, 0, peer, links),
                        moe_topology_bandwidth(topology, fabric, 0, peer),
                        moe_topology_latency(topology, fabric, 0, peer), 1};
        guint i = 0;
        for (; i < rungs->len; i++) {
            MoeRung *r = &g_array_index(rungs, MoeRung, i);
            if (compare_rungs(r, &rung) == 0 && fabs(r->latency - rung.latency) < 1e-12) {
                r->peers++;
                break;
            }
        }
        if (i == rungs->len)
            g_array_append_val(rungs, rung);
    }
    g_array_sort(rungs, compare_rungs);
    return rungs;
}

/* --- drawing --------------------------------------------------------------------------------- */

typedef struct {
    double x, y;
} Place;

/* Every level is a row, its vertices evenly spread: what is connected in blocks stands above its
 * block. */
static void place_rows(const MoeTopology *topology, Place *places)
{
    enum { LEVELS = 7, LOWEST = -2 };
    gint64 counts[LEVELS] = {0}, seen[LEVELS] = {0};
    for (guint v = 0; v < topology->vertices->len; v++)
        counts[g_array_index(topology->vertices, MoeVertex, v).level - LOWEST]++;
    for (guint v = 0; v < topology->vertices->len; v++) {
        int level = g_array_index(topology->vertices, MoeVertex, v).level;
        gint64 n = counts[level - LOWEST], i = seen[level - LOWEST]++;
        places[v] = (Place){((double)i + 0.5) / (double)n, level};
    }
}

/* Links within a row would hide each other: GPUs with cables between them hang in an arc per node,
 * routers with cables between them stand in one arch. */
static void bend_rows(const MoeTopology *topology, Place *places)
{
    for (guint m = 0; m < topology->machines->len; m++) {
        const MoeMachine *machine = moe_topology_machine(topology, m);
        if (moe_topology_group(topology, m)->scale_up != &moe_scale_up_mesh &&
            !moe_topology_group(topology, m)->scale_up->relays)
            continue;
        for (gint64 g = 0; g < machine->n_gpus; g++)
            places[machine->first_gpu + g].y -=
                0.5 * sin(G_PI * ((double)g + 0.5) / (double)machine->n_gpus);
    }
    if (topology->scale_out != &moe_scale_out_dragonfly &&
        topology->scale_out != &moe_scale_out_custom)
        return;
    for (guint v = 0; v < topology->vertices->len; v++)
        if (g_array_index(topology->vertices, MoeVertex, v).level >= 2)
            places[v].y += 1.5 * sin(G_PI * places[v].x);
}

/* Switches inside of nodes, in the middle of what they connect and @depth below it. */
static void place_inner(const MoeTopology *topology, int level, double depth, Place *places)
{
    guint n = topology->vertices->len;
    g_autofree Place *sums = g_new0(Place, n);
    g_autofree int *counts = g_new0(int, n);
    for (guint32 l = 0; l < topology->links->len; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        if (g_array_index(topology->vertices, MoeVertex, link->to).level != level ||
            g_array_index(topology->vertices, MoeVertex, link->from).level <= level)
            continue;
        sums[link->to].x += places[link->from].x;
        sums[link->to].y += places[link->from].y;
        counts[link->to]++;
    }
    for (guint v = 0; v < n; v++)
        if (counts[v] > 0)
            places[v] = (Place){sums[v].x / counts[v], sums[v].y / counts[v] - depth};
}

/* A grid lies in its plane, the planes of a third axis and more beside each other and slightly
 * raised; NICs and GPUs below their router. */
static void place_grid(const MoeTopology *topology, Place *places)
{
    const gint64 *extents;
    int n_axes = moe_grid_axes(topology, &extents);
    guint32 first = topology->vertices->len;
    for (guint32 l = topology->first_link[MOE_FABRIC_SCALE_OUT];
         l < topology->end_link[MOE_FABRIC_SCALE_OUT]; l++)
        if (moe_topology_link(topology, l)->to >= topology->n_gpus + topology->n_nics)
            first = MIN(first, moe_topology_link(topology, l)->to);
    gint64 columns = extents[n_axes - 1], rows = n_axes > 1 ? extents[n_axes - 2] : 1;
    for (guint32 v = first; v < topology->vertices->len; v++) {
        gint64 r = v - first, column = r % columns, row = r / columns % rows,
               plane = r / columns / rows;
        places[v] = (Place){(double)(plane * (columns + 1) + column) + 0.25 * (double)row,
                            (double)row + 0.15 * (double)plane};
    }
    for (gint64 nic = 0; nic < topology->n_nics; nic++) {
        guint32 out = topology->first_link[MOE_FABRIC_SCALE_OUT] + 2 * (guint32)nic;
        Place at = places[moe_topology_link(topology, out)->to];
        places[moe_topology_nic_vertex(topology, nic)] = (Place){at.x, at.y - 0.15};
    }
    for (gint64 gpu = 0; gpu < topology->n_gpus; gpu++) {
        Place at = places[moe_topology_nic_vertex(topology, moe_topology_nic(topology, gpu))];
        places[gpu] = (Place){at.x, at.y - 0.15};
    }
}

/* The port of a GPU's lanes, where there is one, halfway to its NIC. */
static guint32 pcie_port(const MoeTopology *topology, gint64 gpu)
{
    return topology->first_pcie == MOE_NO_LINK
               ? (guint32)gpu
               : moe_topology_link(topology, topology->first_pcie + 2 * (guint32)gpu)->to;
}

static void place_ports(const MoeTopology *topology, Place *places)
{
    for (gint64 gpu = 0; gpu < topology->n_gpus; gpu++) {
        gint64 nic = moe_topology_nic(topology, gpu);
        if (nic < 0 || pcie_port(topology, gpu) == gpu)
            continue;
        Place a = places[gpu], b = places[moe_topology_nic_vertex(topology, nic)];
        places[pcie_port(topology, gpu)] = (Place){(a.x + b.x) / 2, (a.y + b.y) / 2};
    }
}

/* What topology.gp tells apart. */
enum { PART_GPU, PART_NIC, PART_SWITCH, PART_PORT };
enum { STATE_NORMAL, STATE_SLOWED, STATE_BROKEN };

static void add_vertices(const MoeTopology *topology, const Place *places, GString *vertices)
{
    guint n = topology->vertices->len;
    g_autofree int *parts = g_new(int, n + 1);
    for (guint v = 0; v < n; v++) {
        int level = g_array_index(topology->vertices, MoeVertex, v).level;
        parts[v] = level == 0 ? PART_GPU : level == 1 ? PART_NIC : PART_SWITCH;
    }
    for (gint64 gpu = 0; gpu < topology->n_gpus; gpu++)
        if (pcie_port(topology, gpu) != gpu)
            parts[pcie_port(topology, gpu)] = PART_PORT;
    g_string_append(vertices, "x,y,part\n");
    for (guint v = 0; v < n; v++)
        g_string_append_printf(vertices, "%.6g,%.6g,%d\n", places[v].x, places[v].y, parts[v]);
}

/* All links between two vertices, either way: the fastest, and the worst state of any. */
typedef struct {
    guint32 from, to;
    double bandwidth;
    int state;
    MoeFabric fabric;
} Line;

/* In the order of the links. */
static GArray *join_links(const MoeTopology *topology)
{
    GArray *lines = g_array_new(FALSE, FALSE, sizeof(Line));
    g_autoptr(GHashTable) known = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (guint32 l = 0; l < topology->links->len; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        guint32 low = MIN(link->from, link->to), high = MAX(link->from, link->to);
        int state = link->broken ? STATE_BROKEN : link->slowed ? STATE_SLOWED : STATE_NORMAL;
        gint64 ends = (gint64)low << 32 | high;
        guint index = GPOINTER_TO_UINT(g_hash_table_lookup(known, &ends));
        if (index == 0) {
            Line line = {low, high, 0, STATE_NORMAL, link->fabric};
            g_array_append_val(lines, line);
            index = lines->len;
            g_hash_table_insert(known, g_memdup2(&ends, sizeof(ends)), GUINT_TO_POINTER(index));
        }
        Line *line = &g_array_index(lines, Line, index - 1);
        line->bandwidth = fmax(line->bandwidth, link->bandwidth);
        line->state = MAX(line->state, state);
    }
    return lines;
}

static void add_line(const Place *places, const Line *line, GString *links)
{
    Place a = places[line->from], b = places[line->to];
    g_string_append_printf(links, "%.6g,%.6g,%.6g,%.6g,%.6g,%d,%d\n", a.x, a.y, b.x - a.x,
                           b.y - a.y, line->bandwidth, line->state, (int)line->fabric);
}

/* The NICs of a GPU, side by side. */
static gint64 count_nics(const MoeTopology *topology, gint64 gpu)
{
    gint64 node = moe_topology_node(topology, gpu);
    const MoeMachine *machine = moe_topology_machine(topology, node);
    gboolean several = moe_topology_group(topology, node)->file.nics.affinity == NULL;
    return machine->n_nics == 0 ? 0 : several ? MAX(1, machine->n_nics / machine->n_gpus) : 1;
}

void moe_topology_draw(const MoeTopology *topology, GString *vertices, GString *links)
{
    g_autofree Place *places = g_new0(Place, topology->vertices->len + 1);
    gboolean grid = topology->n_nics > 0 && (topology->scale_out == &moe_scale_out_torus ||
                                             topology->scale_out == &moe_scale_out_mesh);
    place_rows(topology, places);
    bend_rows(topology, places);
    if (grid)
        place_grid(topology, places);
    for (int level = -1; level >= -2; level--)
        place_inner(topology, level, grid ? 0.15 : 1, places);
    if (topology->n_nics > 0)
        place_ports(topology, places);
    add_vertices(topology, places, vertices);
    g_string_append(links, "x,y,dx,dy,bandwidth,state,fabric\n");
    g_autoptr(GArray) lines = join_links(topology);
    for (guint i = 0; i < lines->len; i++)
        add_line(places, &g_array_index(lines, Line, i), links);
    for (gint64 gpu = 0; gpu < topology->n_gpus; gpu++) {
        gint64 first = moe_topology_nic(topology, gpu);
        for (gint64 nic = first; nic < first + count_nics(topology, gpu); nic++) {
            Line line = {pcie_port(topology, gpu), moe_topology_nic_vertex(topology, nic), 0,
                         STATE_NORMAL, MOE_FABRIC_SCALE_OUT};
            add_line(places, &line, links);
        }
    }
}

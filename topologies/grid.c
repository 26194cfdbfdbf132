#include "config.h"

#include "topologies/grid.h"

enum { MOST_AXES = 8, LONGEST = MOE_ROUTE_MOST - 8 };

typedef struct {
    int n_axes;
    gboolean wraps;
    gint64 extents[MOST_AXES];
    gint64 strides[MOST_AXES];
    gint64 width;    /* NICs of a router */
    guint32 ports[]; /* [routers, axes, 2]: the link upwards and downwards; MOE_NO_LINK: none */
} Grid;

/* Three axes as even as can be, the largest first. */
static void factor(gint64 n, gint64 extents[3])
{
    gint64 best = G_MAXINT64;
    for (gint64 c = 1; c * c * c <= n; c++)
        for (gint64 b = c; n % c == 0 && b * b <= n / c; b++)
            if (n / c % b == 0 && n / c / b - c < best) {
                best = n / c / b - c;
                extents[0] = n / c / b;
                extents[1] = b;
                extents[2] = c;
            }
}

static gboolean lay_out(const MoeTopologyFile *file, gint64 routers, Grid *grid, GError **error)
{
    const GArray *dimensions = file->scale_out.dimensions;
    if (dimensions != NULL && (dimensions->len < 1 || dimensions->len > MOST_AXES))
        return moe_fail(error, MOE_ERROR_INPUT, "dimensions: %u axes; 1 to %d are possible",
                        dimensions->len, MOST_AXES);
    grid->n_axes = dimensions != NULL ? (int)dimensions->len : 3;
    if (dimensions == NULL)
        factor(routers, grid->extents);
    gint64 product = 1, hops = 0;
    for (int k = grid->n_axes - 1; k >= 0; k--) {
        if (dimensions != NULL)
            grid->extents[k] = g_array_index(dimensions, gint64, k);
        grid->strides[k] = product;
        product *= grid->extents[k];
        hops += grid->wraps ? grid->extents[k] / 2 : grid->extents[k] - 1;
        if (product > routers)
            break;
    }
    if (product != routers)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "dimensions: their product is not the number of routers, %" G_GINT64_FORMAT
                        " (NICs over switch_nics); leave them out, or change nodes",
                        routers);
    return hops <= LONGEST ||
           moe_fail(error, MOE_ERROR_INPUT,
                    "dimensions: the longest route crosses %" G_GINT64_FORMAT
                    " links; at most %d are simulated: make the axes more even, or add one",
                    hops, LONGEST);
}

/* The router next to @router along axis @k, -1 at the edge. An axis of two has one cable. */
static gint64 neighbour(const Grid *grid, gint64 router, int k, gboolean down)
{
    gint64 extent = grid->extents[k], at = router / grid->strides[k] % extent;
    gint64 next = down ? at - 1 : at + 1;
    if (next < 0 || next >= extent) {
        if (!grid->wraps || extent < 3)
            return -1;
        next = (next + extent) % extent;
    }
    return router + (next - at) * grid->strides[k];
}

static void add_links(MoeTopology *topology, Grid *grid, gint64 routers, guint32 first)
{
    const MoeTopologyFile *file = &topology->file;
    double rate = moe_topology_fabric_rate(topology, file->scale_out.link_bandwidth);
    for (gint64 r = 0; r < routers; r++)
        for (int k = 0; k < grid->n_axes; k++)
            for (int down = 0; down < 2; down++) {
                gint64 next = neighbour(grid, r, k, down);
                grid->ports[(r * grid->n_axes + k) * 2 + down] =
                    next < 0
                        ? MOE_NO_LINK
                        : moe_topology_add_link(topology, MOE_FABRIC_SCALE_OUT, "router to router",
                                                NULL, first + (guint32)r, first + (guint32)next,
                                                rate, file->scale_out.hop_latency);
            }
}

gboolean moe_grid_build(MoeTopology *topology, gboolean wraps, GError **error)
{
    const MoeTopologyFile *file = &topology->file;
    gint64 width = MAX(1, file->scale_out.switch_nics);
    gint64 routers = (topology->n_nics + width - 1) / width;
    Grid *grid = g_malloc0(sizeof(Grid) + sizeof(guint32) * (gsize)routers * 2 * MOST_AXES);
    topology->state = grid;
    grid->wraps = wraps;
    grid->width = width;
    if (!lay_out(file, routers, grid, error))
        return FALSE;
    guint32 first = topology->vertices->len;
    for (gint64 r = 0; r < routers; r++) {
        GString *name = g_string_new("router");
        for (int k = 0; k < grid->n_axes; k++)
            g_string_append_printf(name, "%s%" G_GINT64_FORMAT, k == 0 ? "" : "-",
                                   r / grid->strides[k] % grid->extents[k]);
        moe_topology_add_switch_take(topology, g_string_free(name, FALSE), 2);
    }
    for (gint64 nic = 0; nic < topology->n_nics; nic++)
        moe_topology_plug(topology, nic, first + (guint32)(nic / width));
    add_links(topology, grid, routers, first);
    return TRUE;
}

int moe_grid_route(const MoeTopology *topology, gint64 a, gint64 b, guint32 *links)
{
    const Grid *grid = topology->state;
    gint64 at = a / grid->width, end = b / grid->width;
    int n = 0;
    for (int k = 0; k < grid->n_axes; k++) {
        gint64 extent = grid->extents[k], from = at / grid->strides[k] % extent;
        gint64 up = (end / grid->strides[k] % extent - from + extent) % extent;
        gboolean down = up * 2 > extent || (up * 2 == extent && from % 2 != 0);
        if (!grid->wraps || extent < 3)
            down = end / grid->strides[k] % extent < from;
        for (gint64 hops = down ? extent - up : up; hops > 0 && up != 0; hops--) {
            links[n++] = grid->ports[(at * grid->n_axes + k) * 2 + (down ? 1 : 0)];
            at = neighbour(grid, at, k, down);
        }
    }
    return n;
}

int moe_grid_axes(const MoeTopology *topology, const gint64 **extents_out)
{
    const Grid *grid = topology->state;
    *extents_out = grid->extents;
    return grid->n_axes;
}

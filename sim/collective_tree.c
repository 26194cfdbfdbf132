#include "config.h"

#include "sim/collective.h"

#include <math.h>

/* The double binary tree (Sanders, Speck, Träff 2009) as NCCL lays it: over the nodes, with a chain
 * of GPUs below each; on a single node over its GPUs. Two trees, in which nobody is an inner vertex
 * of both, carry half of the buffer each; every channel has both, and its trees enter a node at its
 * port. A buffer goes up and comes down again in K pieces: K + 2H - 1 rounds, H the height. */
typedef struct {
    gint64 *parent;       /* [ranks]; -1: the root */
    gint64 *depth, *rise; /* [ranks]: links to the root; to the farthest rank below */
    gint64 height;
} Tree;

/* In-order binary tree of @n units: odd units are leaves, unit u hangs below the one that differs in
 * its lowest set bit and the next; unit 0 is the root. */
static gint64 parent_of(gint64 unit, gint64 n)
{
    if (unit == 0)
        return -1;
    gint64 bit = unit & -unit, up = (unit ^ bit) | bit << 1;
    return up < n ? up : unit ^ bit;
}

/* The second tree is the first one mirrored, or shifted by one where a mirror image of an odd number
 * of units would have the same leaves. */
static gint64 parent_in(int which, gint64 unit, gint64 n)
{
    if (which == 0)
        return parent_of(unit, n);
    gint64 image = n % 2 == 0 ? n - 1 - unit : (unit - 1 + n) % n, parent = parent_of(image, n);
    if (parent < 0)
        return -1;
    return n % 2 == 0 ? n - 1 - parent : (parent + 1) % n;
}

static void measure(Tree *tree, gint64 n_ranks)
{
    for (gint64 r = 0; r < n_ranks; r++) {
        gint64 depth = 0;
        for (gint64 up = r; up >= 0; up = tree->parent[up], depth++)
            tree->rise[up] = MAX(tree->rise[up], depth);
        tree->depth[r] = depth - 1;
        tree->height = MAX(tree->height, depth - 1);
    }
}

static Tree tree_new(const MoeRanks *ranks, gint64 channel, int which)
{
    gint64 n = ranks->n_ranks;
    Tree tree = {g_new(gint64, n), g_new0(gint64, n), g_new0(gint64, n), 0};
    if (ranks->n_nodes == 1)
        for (gint64 r = 0; r < n; r++)
            tree.parent[r] = parent_in(which, r, n);
    for (gint64 m = 0; m < ranks->n_nodes && ranks->n_nodes > 1; m++) {
        gint64 first = ranks->first[m], size = ranks->first[m + 1] - first;
        gint64 port = ranks->ports[m * ranks->n_channels + channel] - first;
        gint64 up = parent_in(which, m, ranks->n_nodes);
        for (gint64 k = 0; k < size; k++)
            tree.parent[first + (port + k) % size] =
                k > 0    ? first + (port + k - 1) % size
                : up < 0 ? -1
                         : ranks->ports[up * ranks->n_channels + channel];
    }
    measure(&tree, n);
    return tree;
}

/* A broadcast begins elsewhere than at the tree's root: the way from there to it is turned round. */
static void hang_at(Tree *tree, gint64 root, gint64 n_ranks)
{
    for (gint64 below = -1, at = root; at >= 0;) {
        gint64 up = tree->parent[at];
        tree->parent[at] = below;
        below = at;
        at = up;
    }
    for (gint64 r = 0; r < n_ranks; r++)
        tree->rise[r] = 0;
    tree->height = 0;
    measure(tree, n_ranks);
}

/* The moves of round @t in the tree whose pieces are chunks @first ... first + pieces - 1. A rank
 * passes a piece up when all below it have, and down when it comes. */
static void add_moves(MoeSchedule *schedule, const Tree *tree, gboolean up, gint64 t, gint64 first,
                      gint64 pieces)
{
    gint64 n = moe_schedule_ranks(schedule)->n_ranks;
    gint64 turn = up ? tree->height : 0; /* when the first piece comes down from the root */
    for (gint64 r = 0; r < n; r++) {
        gint64 parent = tree->parent[r];
        if (parent < 0)
            continue;
        gint64 rising = t - tree->rise[r], falling = t - turn - tree->depth[parent];
        if (up && rising >= 0 && rising < pieces)
            moe_schedule_move(schedule, r, parent, (guint32)(first + rising), 1, TRUE);
        if (falling >= 0 && falling < pieces)
            moe_schedule_move(schedule, parent, r, (guint32)(first + falling), 1, FALSE);
    }
}

/* A piece crosses every link of its tree, twice where it comes down again; those of all trees go
 * together in the chains inside of nodes but at the beginning and the end. */
static MoeCollectiveSize size(const MoeCollective *job, const MoeRanks *ranks)
{
    gint64 n_trees = 2 * ranks->n_channels, n = ranks->n_ranks, nodes = ranks->n_nodes;
    gint64 pieces = moe_schedule_pieces(job, (job->bytes - 1) / n_trees + 1);
    double height = nodes == 1 ? log2((double)n) : log2((double)nodes) + (double)(n / nodes);
    gint64 once = nodes == 1
                      ? n_trees * (n - 1) * pieces
                      : n_trees * (nodes - 1) * pieces + (pieces + n_trees - 1) * (n - nodes);
    double ways = job->operation == MOE_ALL_REDUCE ? 2 : 1;
    return (MoeCollectiveSize){ways * (double)once, (double)pieces + 2 * height};
}

static void plan(const MoeCollective *job, MoeSchedule *schedule)
{
    const MoeRanks *ranks = moe_schedule_ranks(schedule);
    gint64 n_trees = 2 * ranks->n_channels, rounds = 0;
    gint64 pieces = moe_schedule_pieces(job, (job->bytes - 1) / n_trees + 1);
    gboolean up = job->operation == MOE_ALL_REDUCE;
    Tree *trees = g_new(Tree, n_trees);
    for (gint64 i = 0; i < n_trees; i++) {
        trees[i] = tree_new(ranks, i / 2, (int)(i % 2));
        if (!up)
            hang_at(&trees[i], job->root, ranks->n_ranks);
        rounds = MAX(rounds, pieces - 1 + (up ? 2 : 1) * trees[i].height);
    }
    moe_schedule_chunks(schedule, (guint32)(n_trees * pieces));
    for (gint64 t = 0; t < rounds && ranks->n_ranks > 1; t++) {
        for (gint64 i = 0; i < n_trees; i++)
            add_moves(schedule, &trees[i], up, t, i * pieces, pieces);
        moe_schedule_round(schedule);
    }
    for (gint64 i = 0; i < n_trees; i++) {
        g_free(trees[i].parent);
        g_free(trees[i].depth);
        g_free(trees[i].rise);
    }
    g_free(trees);
}

const MoeCollectiveKind moe_collective_tree = {
    "tree",
    "two binary trees over the nodes, chains inside, in pieces",
    1U << MOE_ALL_REDUCE | 1U << MOE_BROADCAST,
    FALSE,
    plan,
    size};

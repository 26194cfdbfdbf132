/* groups.h - which links are connected by flows.
 *
 * Layer: sim. Part of sharing.c's workings.
 */
#ifndef MOE_SIM_GROUPS_H
#define MOE_SIM_GROUPS_H

#include "sim/ends.h"

/* A set of links that flows connect, stored at its root: a forest of links (union-find), and a ring
 * through the links of every set. */
typedef struct {
    guint32 parent, next;
    double begin; /* when it got its first flow */
    guint32 n_flows;
    guint32 gone;     /* flows that have left since it was found to be connected */
    guint32 version;  /* of its event */
    gboolean told;    /* the ends in the window have been told; they wait to be released */
    gboolean changed; /* to be solved */
    MoeEnds ends;     /* within the window, if no flow comes before */
} MoeGroup;

/* The root of the group of @link. */
guint32 moe_group_of(MoeGroup *groups, guint32 link);

/* Makes the groups of two links one; its root. */
guint32 moe_groups_unite(MoeGroup *groups, guint32 a, guint32 b);

/* Makes every link of the group of @root a group of its own, without flows. */
void moe_groups_scatter(MoeGroup *groups, guint32 root);

#endif

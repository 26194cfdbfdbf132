/* ends.h - a list of when flows end.
 *
 * Layer: sim. Part of sharing.c's workings.
 */
#ifndef MOE_SIM_ENDS_H
#define MOE_SIM_ENDS_H

#include <glib.h>

typedef struct {
    double finish;
    guint32 flow, by; /* which link has fixed its rate */
} MoeEnd;

/* Zeroed: an empty list. Free items with g_free(). */
typedef struct {
    MoeEnd *items;
    guint n, size;
} MoeEnds;

void moe_ends_add(MoeEnds *ends, MoeEnd end);

/* Drops those after @until, puts the others in the order of time, then of flow. */
void moe_ends_settle(MoeEnds *ends, double until);

#endif

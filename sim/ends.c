#include "config.h"

#include "sim/ends.h"

#include <stdlib.h>

void moe_ends_add(MoeEnds *ends, double finish, guint32 flow)
{
    if (ends->n == ends->size) {
        ends->size = MAX(16, 2 * ends->size);
        ends->items = g_renew(MoeEnd, ends->items, ends->size);
    }
    ends->items[ends->n++] = (MoeEnd){finish, flow};
}

static int by_finish(const void *a, const void *b)
{
    const MoeEnd *x = a, *y = b;
    if (x->finish != y->finish)
        return x->finish < y->finish ? -1 : 1;
    return x->flow < y->flow ? -1 : x->flow > y->flow;
}

void moe_ends_settle(MoeEnds *ends, double until)
{
    guint n = 0;
    for (guint i = 0; i < ends->n; i++)
        if (ends->items[i].finish <= until)
            ends->items[n++] = ends->items[i];
    ends->n = n;
    qsort(ends->items, n, sizeof(MoeEnd), by_finish);
}

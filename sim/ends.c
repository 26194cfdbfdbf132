#include "config.h"

#include "sim/ends.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT = 16 };

void moe_ends_add(MoeEnds *ends, MoeEnd end)
{
    if (ends->n == ends->size) {
        ends->size = MAX(16, 2 * ends->size);
        ends->items = g_renew(MoeEnd, ends->items, ends->size);
    }
    ends->items[ends->n++] = end;
}

static int by_finish(const void *a, const void *b)
{
    const MoeEnd *x = a, *y = b;
    if (x->finish != y->finish)
        return x->finish < y->finish ? -1 : 1;
    return x->flow < y->flow ? -1 : x->flow > y->flow;
}

static void insertion_sort(MoeEnd *items, guint n)
{
    for (guint i = 1; i < n; i++) {
        MoeEnd item = items[i];
        guint at = i;
        for (; at > 0 && by_finish(&item, &items[at - 1]) < 0; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

/* Into as many buckets of equal width as there are ends, then each bucket by itself: ends are spread
 * evenly as a rule. Where many are at one time, their bucket is long. */
static void sort(MoeEnds *ends)
{
    MoeEnd *items = ends->items;
    guint n = ends->n;
    if (n <= SHORT) {
        insertion_sort(items, n);
        return;
    }
    double first = items[0].finish, last = first;
    for (guint i = 1; i < n; i++) {
        first = MIN(first, items[i].finish);
        last = MAX(last, items[i].finish);
    }
    double scale = last > first ? fmin((n - 1) / (last - first), G_MAXDOUBLE) : 0;
    g_autofree guint *starts = g_new0(guint, n + 1);
    g_autofree MoeEnd *sorted = g_new(MoeEnd, n);
    for (guint i = 0; i < n; i++)
        starts[(guint)((items[i].finish - first) * scale) + 1]++;
    for (guint b = 0; b < n; b++)
        starts[b + 1] += starts[b];
    for (guint i = 0; i < n; i++)
        sorted[starts[(guint)((items[i].finish - first) * scale)]++] = items[i];
    memcpy(items, sorted, n * sizeof(*items));
    for (guint b = 0, begin = 0; b < n; begin = starts[b++])
        if (starts[b] - begin <= SHORT)
            insertion_sort(items + begin, starts[b] - begin);
        else
            qsort(items + begin, starts[b] - begin, sizeof(*items), by_finish);
}

void moe_ends_settle(MoeEnds *ends, double until)
{
    guint n = 0;
    for (guint i = 0; i < ends->n; i++)
        if (ends->items[i].finish <= until)
            ends->items[n++] = ends->items[i];
    ends->n = n;
    sort(ends);
}

/* heap.h - a heap of numbered keys, none negative, the least first; equal keys by number.
 *
 * Layer: sim. Entries are not changed in place: who moves one pushes it anew with another version
 * and drops the old one when it comes up.
 */
#ifndef MOE_SIM_HEAP_H
#define MOE_SIM_HEAP_H

#include <glib.h>

typedef struct {
    double key;
    guint32 id, version;
} MoeHeapItem;

/* Zeroed: an empty heap. Free items with g_free(). */
typedef struct {
    MoeHeapItem *items;
    guint n, size;
} MoeHeap;

void moe_heap_push(MoeHeap *heap, double key, guint32 id, guint32 version);

/* Removes the first; there must be one. */
MoeHeapItem moe_heap_pop(MoeHeap *heap);

/* Gives the first a key that is not less, and puts it where it belongs. */
void moe_heap_raise_first(MoeHeap *heap, double key);

#endif

#include "config.h"

#include "sim/heap.h"

#include <string.h>

enum { CHILDREN = 4 };

/* Keys are not negative: their bits are in their order. One comparison of integers has no branch that
 * a processor would have to predict. */
static unsigned __int128 rank_of(const MoeHeapItem *item)
{
    guint64 key;
    memcpy(&key, &item->key, sizeof(key));
    return (unsigned __int128)key << 64 | item->id;
}

/* Puts @item where the hole at the top ends up. */
static void sink(MoeHeap *heap, MoeHeapItem item)
{
    MoeHeapItem *items = heap->items;
    unsigned __int128 rank = rank_of(&item);
    guint at = 0;
    for (;;) {
        guint child = CHILDREN * at + 1, end = MIN(child + CHILDREN, heap->n);
        if (child >= heap->n)
            break;
        unsigned __int128 least = rank_of(&items[child]);
        for (guint i = child + 1; i < end; i++) {
            unsigned __int128 other = rank_of(&items[i]);
            child = other < least ? i : child;
            least = other < least ? other : least;
        }
        if (rank <= least)
            break;
        items[at] = items[child];
        at = child;
    }
    items[at] = item;
}

void moe_heap_push(MoeHeap *heap, double key, guint32 id, guint32 version)
{
    if (heap->n == heap->size) {
        heap->size = MAX(64, 2 * heap->size);
        heap->items = g_renew(MoeHeapItem, heap->items, heap->size);
    }
    const MoeHeapItem item = {key, id, version};
    guint at = heap->n++;
    for (guint parent; at > 0; at = parent) {
        parent = (at - 1) / CHILDREN;
        if (rank_of(&item) >= rank_of(&heap->items[parent]))
            break;
        heap->items[at] = heap->items[parent];
    }
    heap->items[at] = item;
}

MoeHeapItem moe_heap_pop(MoeHeap *heap)
{
    MoeHeapItem first = heap->items[0];
    heap->n--;
    if (heap->n > 0)
        sink(heap, heap->items[heap->n]);
    return first;
}

void moe_heap_raise_first(MoeHeap *heap, double key)
{
    MoeHeapItem item = heap->items[0];
    item.key = key;
    sink(heap, item);
}

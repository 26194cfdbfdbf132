#include "config.h"

#include "sim/heap.h"

/* 1 or 0; without branches, since no processor could predict them. */
static guint before(const MoeHeapItem *a, const MoeHeapItem *b)
{
    return (guint)(a->key < b->key) | ((guint)(a->key == b->key) & (guint)(a->id < b->id));
}

/* Puts @item where the hole at the top ends up. */
static void sink(MoeHeap *heap, MoeHeapItem item)
{
    guint at = 0;
    for (;;) {
        guint child = 2 * at + 1;
        if (child >= heap->n)
            break;
        if (child + 1 < heap->n)
            child += before(&heap->items[child + 1], &heap->items[child]);
        if (!before(&heap->items[child], &item))
            break;
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = item;
}

void moe_heap_push(MoeHeap *heap, double key, guint32 id, guint32 version)
{
    if (heap->n == heap->size) {
        heap->size = MAX(64, 2 * heap->size);
        heap->items = g_renew(MoeHeapItem, heap->items, heap->size);
    }
    const MoeHeapItem item = {key, id, version};
    guint at = heap->n++;
    while (at > 0 && before(&item, &heap->items[(at - 1) / 2])) {
        heap->items[at] = heap->items[(at - 1) / 2];
        at = (at - 1) / 2;
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

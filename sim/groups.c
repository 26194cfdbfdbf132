#include "config.h"

#include "sim/groups.h"

#include <math.h>

guint32 moe_group_of(MoeGroup *groups, guint32 link)
{
    while (groups[link].parent != link) {
        groups[link].parent = groups[groups[link].parent].parent;
        link = groups[link].parent;
    }
    return link;
}

guint32 moe_groups_unite(MoeGroup *groups, guint32 a, guint32 b)
{
    a = moe_group_of(groups, a);
    b = moe_group_of(groups, b);
    if (a == b)
        return a;
    MoeGroup *larger = &groups[a], *smaller = &groups[b];
    if (smaller->n_flows > larger->n_flows) {
        MoeGroup *swap = larger;
        larger = smaller;
        smaller = swap;
        guint32 root = a;
        a = b;
        b = root;
    }
    smaller->parent = a;
    guint32 next = larger->next;
    larger->next = smaller->next;
    smaller->next = next;
    if (smaller->n_flows > 0)
        larger->begin = fmin(larger->begin, smaller->begin);
    larger->n_flows += smaller->n_flows;
    larger->gone += smaller->gone;
    /* Ends that were told and not released stay as flows without a tag. */
    for (guint i = 0; i < smaller->ends.n && smaller->told; i++)
        moe_ends_add(&larger->ends, smaller->ends.items[i]);
    smaller->n_flows = smaller->gone = smaller->ends.n = 0;
    smaller->version++;
    larger->told |= smaller->told;
    return a;
}

void moe_groups_scatter(MoeGroup *groups, guint32 root)
{
    guint32 link = root;
    do {
        MoeGroup *group = &groups[link];
        guint32 next = group->next;
        group->parent = group->next = link;
        group->n_flows = group->gone = group->ends.n = 0;
        group->told = FALSE;
        group->version++;
        link = next;
    } while (link != root);
}

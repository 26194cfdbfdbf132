/* sharing.h - max-min fair sharing of links by flows, on flat arrays.
 *
 * Layer: sim; knows nothing of clusters, messages and SimGrid. Units: seconds, bytes, bytes/s.
 *
 * Rates are those of weighted max-min fairness (Bertsekas and Gallager, Data Networks, 6.5.2): all
 * flows grow together, each in proportion to its weight, until a link is full; its flows then keep
 * their rates and the others go on growing. They are found by water-filling: the link with the least
 * share per weight is frozen first. A heap holds the links by the share that they had when they were
 * last looked at; shares only grow while others freeze, so the first of the heap is looked at again
 * and either frozen or put back. A solution costs O(flows x links of a flow + links log links).
 *
 * A flow that its bottleneck goes on limiting is left as it is: links count the work that a flow of
 * weight 1 would have got, and a flow ends when its bottleneck's work reaches the flow's mark
 * (virtual time, as in Parekh and Gallager's fair queueing).
 *
 * Flows that no chain of shared links connects do not concern each other: each connected group is
 * solved by itself, and only when one of its flows has come or gone.
 *
 * The quantum. Solving anew at every end of a flow costs flows^2. Instead, flows of a group that end
 * in a window after its first end are told together, each with the end that its own rate gives it,
 * and released at the mean of these ends, weighted by their rates. Whoever ended before that moment
 * has held its share too long, whoever ends after it has given it up too soon; the bytes that this
 * makes are credited to the flows whose rates the same link had fixed. A window is at most as long
 * as moe_sharing_set_window() says, and ends before any link's rates would be out of date by more
 * than the quantum: (time in the window) x (share of the link that has ended) <= quantum x (age of
 * the group). Flows that come a quantum of the network's age after others, and half a window at
 * most, start together. Quantum 0: everything happens when it happens.
 *
 * Deterministic: equal calls, equal results, bit by bit.
 */
#ifndef MOE_SIM_SHARING_H
#define MOE_SIM_SHARING_H

#include <glib.h>

typedef struct MoeSharing MoeSharing;

/* Called once for every flow, never after its end: flow @tag ends at @end. Must not call back. */
typedef void (*MoeSharingEnd)(guint32 tag, double end, void *user);

/* Links 0 ... n_links - 1 of bandwidth[link] > 0. Free with moe_sharing_free(). */
MoeSharing *moe_sharing_new(guint32 n_links, const double *bandwidth, double quantum,
                            MoeSharingEnd ended, void *user);
void moe_sharing_free(MoeSharing *sharing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeSharing, moe_sharing_free)

/* The longest window from now on; 0 at first. */
void moe_sharing_set_window(MoeSharing *sharing, double seconds);

/* A flow of @bytes > 0 over @n_links >= 1 distinct links, with a @weight > 0, comes at @now, which
 * must not be before any time given earlier. @tag is not G_MAXUINT32. */
void moe_sharing_add(MoeSharing *sharing, double now, const guint32 *links, guint n_links,
                     double weight, double bytes, guint32 tag);

/* When moe_sharing_advance() has something to do next; INFINITY: when a flow has come. */
double moe_sharing_next(const MoeSharing *sharing);

/* Does what is due at @now <= moe_sharing_next(). */
void moe_sharing_advance(MoeSharing *sharing, double now);

/* The rate of flow @tag as last solved; 0: no such flow. Slow: for tests. */
double moe_sharing_rate(const MoeSharing *sharing, guint32 tag);

#endif

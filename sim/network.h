/* network.h - the messages of programs on a cluster under moesim's own sharing of bandwidth.
 *
 * Layer: sim. What SimGrid's network does in SimGrid's place: a message starts when both of its
 * ranks have posted it, takes the sum of its links' latencies without using bandwidth, then its
 * bytes at its share (sharing.h). As in SimGrid's CM02, flows share a link in inverse proportion to
 * the latencies of their paths; one without latency counts as one of 1 s. It has no clock of its
 * own: the caller says what time it is, and never goes back.
 */
#ifndef MOE_SIM_NETWORK_H
#define MOE_SIM_NETWORK_H

#include "sim/program.h"

typedef struct MoeNetwork MoeNetwork;

/* @quantum: see sharing.h; windows are up to four quanta of an exchange, whose length is taken to
 * be what its busiest link needs for its bytes. @ends [ranks][sends of the rank] gets the end of
 * every message, in s; NULL: nobody asks. Everything must outlive the network; free with
 * moe_network_free(). */
MoeNetwork *moe_network_new(const MoeTopology *topology, const MoePrograms *programs,
                            double quantum, double **ends);
void moe_network_free(MoeNetwork *network);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeNetwork, moe_network_free)

/* Rank @rank posts the messages of its operation @op, an exchange; it waits in at most one. FALSE:
 * the rank has none and need not wait. */
gboolean moe_network_post(MoeNetwork *network, gint64 rank, guint op, double now);

/* When something happens next, if nobody posts before; INFINITY: nothing. */
double moe_network_next(const MoeNetwork *network);

/* Does what is due at @now <= moe_network_next(). */
void moe_network_advance(MoeNetwork *network, double now);

/* The next of the ranks whose exchange is complete at @now, each once; -1: no more. */
gint64 moe_network_done(MoeNetwork *network, double now);

#endif

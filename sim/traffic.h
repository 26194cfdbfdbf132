/* traffic.h - what one block's routing sends where: counted from the trace, never assumed.
 *
 * Layer: sim.
 */
#ifndef MOE_SIM_TRAFFIC_H
#define MOE_SIM_TRAFFIC_H

#include "sim/assignment.h"
#include "sim/placement.h"

typedef struct {
    gint64 n_ranks, n_experts, n_nodes;
    guint32 *node_of; /* [ranks] */
    gint64 *chosen;   /* [ranks, experts]: (token, expert) pairs of each home rank's tokens */
    gint64 *pairs;    /* [ranks, ranks]: those pairs from home rank to expert's rank */
    gint64 *unique;   /* [ranks, ranks]: tokens with at least one such pair */
    gint64
        *nodes; /* [ranks, nodes]: tokens with at least one pair on a rank of that node, which may
                      be their own */
    gint64 *experts; /* [experts]: pairs that reach each expert */
    gint64 *copies;  /* [ranks]: pairs of each home rank's tokens */
    gint64 *tokens;  /* [ranks]: tokens of each home rank */
    gint64 top_k;    /* the most pairs of a token */
    gint64 dropped;  /* pairs that capacity refused */
    gint64 total;    /* pairs in all, dropped ones included */
} MoeTraffic;

/* @node_of [n_ranks]: the node of each rank, numbered from 0 without gaps; copied. Free with
 * moe_traffic_free(). */
MoeTraffic *moe_traffic_new(gint64 n_ranks, gint64 n_experts, const guint32 *node_of);
void moe_traffic_free(MoeTraffic *traffic);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeTraffic, moe_traffic_free)

/* Counts block @layer of the trace under an assignment and a placement; overwrites @traffic. With
 * @balanced, the experts are those of the balanced control (synth.h) instead, as many per token. */
void moe_traffic_count(MoeTraffic *traffic, const MoeTrace *trace, const MoeTraceLayer *layer,
                       const MoeAssignment *assignment, const MoePlacement *placement,
                       gboolean balanced);

/* The pairs that arrive at @rank. */
gint64 moe_traffic_received(const MoeTraffic *traffic, const MoePlacement *placement, gint64 rank);

/* Fills copies [ranks, ranks]: how many each home rank sends to each rank of experts, its own too:
 * pairs, or with deduplicate tokens. With padding, buffers of fixed size travel, full or not: one per
 * home rank and expert (padding: expert), or per home rank and rank; each holds
 * ceil(capacity_factor * T k / buffers) copies of the T tokens of its home rank, k experts each
 * (GShard, arXiv 2006.16668, section 2.2), or, without a factor, as many as the fullest of the block
 * needs. Errors: MOE_ERROR_INPUT when more go into a buffer than it holds. */
gboolean moe_traffic_copies(const MoeTraffic *traffic, const MoePlacement *placement,
                            const MoeTransfer *transfer, gint64 *copies,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Checks that every pair is either computed once or dropped, and that no rank has more of them than
 * its tokens have experts. Errors: MOE_ERROR_FAILED (a bug). */
gboolean moe_traffic_check(const MoeTraffic *traffic, GError **error);

#endif

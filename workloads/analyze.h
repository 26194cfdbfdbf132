/* analyze.h - how evenly a trace loads experts, or ranks that hold them.
 *
 * Layer: workloads. Formulas, n_i the load of bin i of N, sum S, mean m = S/N:
 *   max/mean   max n_i / m                          1: even
 *   CV         sqrt(mean of (n_i - m)^2) / m         0: even
 *   Gini       sum_i sum_j |n_i - n_j| / (2 N^2 m)   0: even, towards 1: all on one
 *   entropy    -sum p_i ln p_i / ln N, p_i = n_i/S   1: even
 *   idle       share of bins without load
 * A Gini depends on its window: uniform random routing with a mean of m pairs per bin has about
 * 1/sqrt(pi m) by chance alone, which is reported beside it.
 */
#ifndef MOE_WORKLOADS_ANALYZE_H
#define MOE_WORKLOADS_ANALYZE_H

#include "workloads/trace.h"

typedef struct {
    gint64 n_bins, total, max, argmax;
    double mean, max_over_mean, cv, gini, gini_floor, entropy, idle;
} MoeLoad;

/* The statistics of @n loads, each from 0; all zero when they sum to zero. */
MoeLoad moe_load_statistics(const gint64 *loads, gint64 n);

/* Adds to loads[bin_of_expert[e]] the pairs of @layer that chose expert e, dropped ones left out,
 * for the tokens [first, last). bin_of_expert [n_experts]; NULL: one bin per expert. */
void moe_trace_loads(const MoeTrace *trace, const MoeTraceLayer *layer, gint64 first, gint64 last,
                     const guint32 *bin_of_expert, gint64 *loads);

/* How many pairs of @layer the tokens [first, last) have, and how many of them capacity refused. */
void moe_trace_count_pairs(const MoeTrace *trace, const MoeTraceLayer *layer, gint64 first,
                           gint64 last, gint64 *pairs_out, gint64 *dropped_out);

/* The same of all tokens and blocks, in words: "3,669 of 4,096 pairs (89.6 %)". NULL: none is
 * dropped. Free with g_free(). */
char *moe_trace_describe_dropped(const MoeTrace *trace);

#endif

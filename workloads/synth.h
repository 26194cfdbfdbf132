/* synth.h - made-up routing, as a control for the real one.
 *
 * Layer: workloads. Every kind is a rule for how popular each expert is at each step; tokens then
 * draw top_k distinct experts in proportion (successive sampling without replacement). `balanced`
 * alone draws nothing: it deals.
 */
#ifndef MOE_WORKLOADS_SYNTH_H
#define MOE_WORKLOADS_SYNTH_H

#include "sim/base/field.h"
#include "sim/base/progress.h"
#include "workloads/trace.h"

enum { MOE_SYNTH_MOST_TOKENS = 1 << 30 };

typedef struct {
    int kind;      /* index into moe_synth_kinds() */
    gint64 tokens; /* in all */
    gint64 steps;  /* of sizes that differ by at most one token */
    gint64 sequence_length;
    gint64 experts, top_k, layers, first_layer, hidden_size;
    gint64 ranks;              /* hot-rank: how many ranks share the experts, side by side */
    double exponent;           /* zipf */
    gint64 hot_experts;        /* hot-experts, rotating: how many are hot */
    double hot_share;          /* of all pairs that go to them (or to the hot rank) */
    gint64 idle_experts;       /* idle-experts: how many get nothing */
    double spread;             /* ragged: sigma of the log-normal sequence lengths */
    gint64 groups, top_groups; /* deepep: groups of experts side by side; of how many a token may
                                  choose, 0: the 4 best, or all */
    gint64 seed;
} MoeSynth;

/* balanced      experts and ranks get the same load (moe_synth_balanced())
 * uniform       every expert is equally likely
 * zipf          popularity rank^-exponent, experts ranked at random in every block
 * hot-experts   hot_experts of them, drawn per block, share hot_share of the pairs
 * hot-rank      the experts of one rank share hot_share of the pairs
 * rotating      as hot-experts, but the hot set moves on by its size with every step
 * idle-experts  idle_experts of them, drawn per block, get nothing; the rest is uniform
 * ragged        uniform, but sequences have log-normal lengths around sequence_length, so that
 *               whole sequences dealt to GPUs give them different numbers of tokens
 * deepep        as DeepEP's tests draw it (deepseek-ai/DeepEP, tests/test_internode.py), a group being
 *               the experts of a node: scores |N(0,1)| + 1, the top_groups groups with the largest
 *               scores, the top_k experts of those. Of independent scores only the order matters,
 *               and that is a random permutation: experts are drawn one by one, the first top_groups
 *               groups that turn up are the best, and experts of others are passed over */
const char *const *moe_synth_kinds(void);

/* The keys of a synthetic routing, reading a MoeSynth; for scenarios and --keys. tokens,
 * experts, top_k, layers, hidden_size, ranks and groups may be left out where a model, a plan and a
 * cluster say them. */
extern const MoeField moe_synth_fields[];

/* Makes the trace; same parameters, same trace. Every count must be set by now. Free with
 * moe_trace_free(). Errors: MOE_ERROR_INPUT (counts that do not go together); NULL then. */
MoeTrace *moe_synth(const MoeSynth *synth, MoeProgress *progress,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The @j-th of @top_k experts that the balanced control gives token number @token of a step.
 *
 * With S = floor(E/k), token t of round r = floor(t/S) takes the experts (a + j*S + r*c) mod E, j <
 * k: distinct, and spread over the whole range. Within a round, a runs through 0 ... S-1 in the
 * order of multiples of the golden ratio, which fill a circle evenly, so that few tokens spread
 * over the ranks too. (Dealing round robin would leave half of 16 ranks idle for 16 tokens at E =
 * 256, k = 8.) Where k divides E, c = 0 and every round gives every expert one pair; else c shifts
 * the k S experts of a round so that all get their turn. */
guint16 moe_synth_balanced(gint64 token, gint64 j, gint64 experts, gint64 top_k);

/* The same for a model of @shape: it gives what @synth leaves 0 and says which blocks have experts,
 * unless first_layer does. */
MoeTrace *moe_synth_for(MoeSynth *synth, const MoeModelShape *shape, MoeProgress *progress,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

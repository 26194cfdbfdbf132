/* assignment.h - which GPU is home to which token of a step.
 *
 * Layer: sim. Every token has exactly one home: the rank that computes its attention and sources
 * its dispatch.
 */
#ifndef MOE_SIM_ASSIGNMENT_H
#define MOE_SIM_ASSIGNMENT_H

#include "sim/cost.h"
#include "sim/scenario.h"

/* One step: rank r is home to tokens[first[r]] ... tokens[first[r + 1] - 1], indices into the
 * trace. */
typedef struct {
    gint64 n_ranks;
    gint64 *first;  /* [n_ranks + 1] */
    gint64 *tokens; /* [first[n_ranks]] */
} MoeAssignment;

/* The steps of a scenario, MoeAssignment *; free with g_ptr_array_unref().
 *
 * prefill, split tokens: windows of consecutive tokens, equal to one token; a sequence cut at a
 * border goes on at the next GPU and is priced with its whole prefix. prefill, split sequences:
 * whole sequences in order, each to the GPU with the fewest tokens (the first of equals); with
 * tokens_per_gpu, a step ends when the next sequence would not fit. decode: batch slots take one
 * token of a sequence per step, at consecutive positions. Slots are filled with the last `steps`
 * tokens of every sequence in turn, then with the `steps` before those, ... Without tokens_per_gpu
 * the steps are the trace's own. Errors: MOE_ERROR_INPUT (too few tokens, and how many there are;
 * nothing to do); NULL then. */
GPtrArray *moe_assignments_new(const MoeScenario *scenario,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The tokens of @assignment that one stack of an encoder and a decoder works on, each at its home.
 * Free with moe_assignment_free(). */
MoeAssignment *moe_assignment_of_stack(const MoeAssignment *assignment, const MoeTrace *trace,
                                       int stack);
void moe_assignment_free(MoeAssignment *assignment);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeAssignment, moe_assignment_free)

typedef enum {
    MOE_SEES_BEFORE, /* a token sees what is before it, as in a decoder */
    MOE_SEES_ALL,    /* all of its sequence, as in an encoder */
    MOE_SEES_ACROSS, /* all that the encoder read for its sequence, the one before it in the trace */
} MoeSees;

/* What the tokens of @rank attend to; @context: fixed keys per token before it, 0: their position in
 * the trace. */
MoeContext moe_assignment_context(const MoeAssignment *assignment, const MoeTrace *trace,
                                  gint64 rank, MoeSees sees, gint64 context);

/* Sequences that @rank works on. */
gint64 moe_assignment_sequences(const MoeAssignment *assignment, const MoeTrace *trace,
                                gint64 rank);

#endif

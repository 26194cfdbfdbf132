#include "config.h"

#include "sim/assignment.h"

#include "sim/base/memory.h"

#include <math.h>

void moe_assignment_free(MoeAssignment *assignment)
{
    if (assignment == NULL)
        return;
    g_free(assignment->first);
    g_free(assignment->tokens);
    g_free(assignment);
}

static MoeAssignment *assignment_new(gint64 n_ranks, gint64 n_tokens)
{
    MoeAssignment *assignment = g_new0(MoeAssignment, 1);
    assignment->n_ranks = n_ranks;
    assignment->first = g_new0(gint64, n_ranks + 1);
    assignment->tokens = g_new(gint64, MAX(n_tokens, 1));
    return assignment;
}

/* Whether @steps steps of @tokens tokens in all fit in memory. */
static gboolean check_memory(const MoeScenario *s, double steps, double tokens, GError **error)
{
    double bytes = (tokens + steps * (double)(s->n_ranks + 8)) * sizeof(gint64);
    if (moe_memory_check(bytes, "so many steps and tokens", error))
        return TRUE;
    g_prefix_error(error, "%s: phase: ", s->path);
    return FALSE;
}

/* The trace tokens [from, from + n), wrapped around, in windows that differ by at most one token.
 */
static MoeAssignment *windows(const MoeTrace *trace, gint64 n_ranks, gint64 from, gint64 n)
{
    MoeAssignment *assignment = assignment_new(n_ranks, n);
    for (gint64 r = 0; r <= n_ranks; r++)
        assignment->first[r] = n * r / n_ranks;
    for (gint64 i = 0; i < n; i++)
        assignment->tokens[i] = (from + i) % trace->n_tokens;
    return assignment;
}

static gboolean check_enough(const MoeScenario *s, gint64 need, gint64 have, const char *what,
                             GError **error)
{
    if (s->file.phase.repeat || need <= have)
        return TRUE;
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: phase: the steps need %" G_GINT64_FORMAT
                    " %s, the trace has %" G_GINT64_FORMAT
                    "; take fewer, a longer trace, or phase.repeat: true to start it again",
                    s->path, need, what, have);
}

static gboolean split_tokens(const MoeScenario *s, GPtrArray *steps, GError **error)
{
    const MoeTrace *trace = s->trace;
    gint64 per_gpu = s->file.phase.tokens_per_gpu, n_steps = s->file.phase.steps;
    if (per_gpu > 0) {
        gint64 n = per_gpu * s->n_ranks;
        n_steps = MAX(n_steps, 1);
        if (!check_enough(s, n_steps * n, trace->n_tokens, "tokens", error) ||
            !check_memory(s, (double)n_steps, (double)n_steps * (double)n, error))
            return FALSE;
        for (gint64 i = 0; i < n_steps; i++)
            g_ptr_array_add(steps, windows(trace, s->n_ranks, i * n, n));
        return TRUE;
    }
    n_steps = n_steps > 0 ? n_steps : trace->n_steps;
    double rounds = ceil((double)n_steps / (double)trace->n_steps);
    if (!check_enough(s, n_steps, trace->n_steps, "steps", error) ||
        !check_memory(s, (double)n_steps, rounds * (double)trace->n_tokens, error))
        return FALSE;
    for (gint64 i = 0; i < n_steps; i++) {
        gint64 step = i % trace->n_steps, from = trace->steps[step];
        g_ptr_array_add(steps, windows(trace, s->n_ranks, from, trace->steps[step + 1] - from));
    }
    return TRUE;
}

/* --- whole sequences ------------------------------------------------------------------------- */

/* Deals the sequences of the trace tokens [from, to) until one does not fit in @budget (0: no
 * limit) tokens per rank; returns the token that was not dealt any more. */
static gint64 deal(const MoeTrace *trace, gint64 n_ranks, gint64 from, gint64 to, gint64 budget,
                   GPtrArray *steps)
{
    g_autofree gint64 *load = g_new0(gint64, n_ranks);
    g_autoptr(GArray) homes =
        g_array_new(FALSE, FALSE, sizeof(guint32)); /* of tokens from, from + 1 ... */
    gint64 at = from;
    while (at < to) {
        gint64 end = at + 1;
        while (end < to && trace->sequence[end] == trace->sequence[at])
            end++;
        guint32 least = 0;
        for (gint64 r = 1; r < n_ranks; r++)
            if (load[r] < load[least])
                least = (guint32)r;
        if (budget > 0 && load[least] + end - at > budget)
            break;
        load[least] += end - at;
        for (; at < end; at++)
            g_array_append_val(homes, least);
    }
    MoeAssignment *assignment = assignment_new(n_ranks, at - from);
    for (gint64 r = 0; r < n_ranks; r++)
        assignment->first[r + 1] = assignment->first[r] + load[r];
    g_autofree gint64 *next = g_memdup2(assignment->first, (gsize)n_ranks * sizeof(gint64));
    for (gint64 t = from; t < at; t++)
        assignment->tokens[next[g_array_index(homes, guint32, t - from)]++] = t;
    g_ptr_array_add(steps, assignment);
    return at;
}

static gboolean split_sequences(const MoeScenario *s, GPtrArray *steps, GError **error)
{
    const MoeTrace *trace = s->trace;
    gint64 budget = s->file.phase.tokens_per_gpu, n_steps = s->file.phase.steps;
    if (s->file.phase.repeat)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: phase: repeat goes with split tokens only",
                        s->path);
    if (budget == 0) {
        n_steps = n_steps > 0 ? n_steps : trace->n_steps;
        if (!check_enough(s, n_steps, trace->n_steps, "steps", error))
            return FALSE;
        for (gint64 i = 0; i < n_steps; i++)
            deal(trace, s->n_ranks, trace->steps[i], trace->steps[i + 1], 0, steps);
        return TRUE;
    }
    gint64 at = 0;
    for (gint64 i = 0; i < MAX(n_steps, 1); i++) {
        gint64 next = deal(trace, s->n_ranks, at, trace->n_tokens, budget, steps);
        if (next == at)
            return moe_fail(
                error, MOE_ERROR_INPUT,
                at < trace->n_tokens
                    ? "%s: phase: sequence %u is longer than tokens_per_gpu"
                    : "%s: phase: the trace ends before the steps do, after sequence %u",
                s->path, trace->sequence[MIN(at, trace->n_tokens - 1)]);
        at = next;
    }
    return TRUE;
}

/* --- decode ---------------------------------------------------------------------------------- */

/* The first tokens of runs of @length tokens within one sequence, in the order of the header; behind
 * an encoder only decoders write. */
static GArray *list_runs(const MoeTrace *trace, gint64 length)
{
    g_autoptr(GArray) ends = g_array_new(FALSE, FALSE, sizeof(gint64));   /* behind each sequence */
    g_autoptr(GArray) starts = g_array_new(FALSE, FALSE, sizeof(gint64)); /* of each sequence */
    int writes = trace->encoder_layers > 0 ? 1 : 0;
    for (gint64 t = 0; t < trace->n_tokens; t++) {
        gint64 end = t + 1;
        if (moe_trace_token_stack(trace, t) != writes)
            continue;
        if (t == 0 || trace->sequence[t] != trace->sequence[t - 1])
            g_array_append_val(starts, t);
        if (end == trace->n_tokens || trace->sequence[end] != trace->sequence[t])
            g_array_append_val(ends, end);
    }
    GArray *runs = g_array_new(FALSE, FALSE, sizeof(gint64));
    for (gboolean more = TRUE; more;) {
        more = FALSE;
        for (guint s = 0; s < ends->len; s++) {
            gint64 *end = &g_array_index(ends, gint64, s);
            if (*end - length < g_array_index(starts, gint64, s))
                continue;
            *end -= length;
            g_array_append_val(runs, *end);
            more = TRUE;
        }
    }
    return runs;
}

static gboolean decode(const MoeScenario *s, GPtrArray *steps, GError **error)
{
    gint64 batch = s->file.phase.sequences_per_gpu, n_steps = MAX(s->file.phase.steps, 1);
    if (batch == 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: phase: decode needs sequences_per_gpu, the batch of a GPU", s->path);
    g_autoptr(GArray) runs = list_runs(s->trace, n_steps);
    if (runs->len == 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: phase: no sequence of the trace is as long as the %" G_GINT64_FORMAT
                        " steps",
                        s->path, n_steps);
    gint64 slots = batch * s->n_ranks;
    if (!check_enough(s, slots, runs->len, "runs of one sequence", error) ||
        !check_memory(s, (double)n_steps, (double)n_steps * (double)slots, error))
        return FALSE;
    for (gint64 i = 0; i < n_steps; i++) {
        MoeAssignment *assignment = assignment_new(s->n_ranks, slots);
        for (gint64 r = 0; r <= s->n_ranks; r++)
            assignment->first[r] = r * batch;
        /* Slots go round the ranks, so that each has sequences from all over the trace. */
        for (gint64 slot = 0; slot < slots; slot++)
            assignment->tokens[slot % s->n_ranks * batch + slot / s->n_ranks] =
                g_array_index(runs, gint64, slot % runs->len) + i;
        g_ptr_array_add(steps, assignment);
    }
    return TRUE;
}

GPtrArray *moe_assignments_new(const MoeScenario *scenario, GError **error)
{
    g_autoptr(GPtrArray) steps =
        g_ptr_array_new_with_free_func((GDestroyNotify)moe_assignment_free);
    gboolean good;
    if (scenario->file.phase.kind == MOE_STEP_DECODE)
        good = decode(scenario, steps, error);
    else if (scenario->file.phase.split == MOE_SPLIT_SEQUENCES)
        good = split_sequences(scenario, steps, error);
    else
        good = split_tokens(scenario, steps, error);
    return good ? g_steal_pointer(&steps) : NULL;
}

MoeAssignment *moe_assignment_of_stack(const MoeAssignment *assignment, const MoeTrace *trace,
                                       int stack)
{
    gint64 n = 0, R = assignment->n_ranks;
    MoeAssignment *out = assignment_new(R, assignment->first[R]);
    for (gint64 r = 0; r < R; r++) {
        out->first[r] = n;
        for (gint64 i = assignment->first[r]; i < assignment->first[r + 1]; i++)
            if (moe_trace_token_stack(trace, assignment->tokens[i]) == stack)
                out->tokens[n++] = assignment->tokens[i];
    }
    out->first[R] = n;
    return out;
}

/* The length of the sequence around @token. */
static gint64 sequence_length(const MoeTrace *trace, gint64 token)
{
    while (token + 1 < trace->n_tokens && trace->sequence[token + 1] == trace->sequence[token])
        token++;
    return (gint64)trace->position[token] + 1;
}

/* The length of the sequence before that of @token; 0 where it is not there. */
static gint64 length_before(const MoeTrace *trace, gint64 token)
{
    guint32 sequence = trace->sequence[token];
    while (token >= 0 && trace->sequence[token] == sequence)
        token--;
    return token >= 0 && trace->sequence[token] + 1 == sequence ? (gint64)trace->position[token] + 1
                                                                : 0;
}

MoeContext moe_assignment_context(const MoeAssignment *assignment, const MoeTrace *trace,
                                  gint64 rank, MoeSees sees, gint64 context)
{
    MoeContext c = {0};
    gboolean begins = TRUE;
    double length = 0; /* of what a token sees of other sequences or behind it */
    for (gint64 i = assignment->first[rank]; i < assignment->first[rank + 1]; i++) {
        gint64 token = assignment->tokens[i];
        if (begins && sees != MOE_SEES_BEFORE)
            length = (double)(sees == MOE_SEES_ALL ? sequence_length(trace, token)
                                                   : length_before(trace, token));
        double before = context > 0 ? (double)context : (double)trace->position[token] + 1;
        double keys = sees == MOE_SEES_BEFORE ? before : length;
        gboolean last = i + 1 == assignment->first[rank + 1] ||
                        assignment->tokens[i + 1] != token + 1 ||
                        trace->sequence[assignment->tokens[i + 1]] != trace->sequence[token];
        c.tokens++;
        c.pairs += keys;
        c.keys += last ? keys : 0;
        begins = last;
    }
    return c;
}

gint64 moe_assignment_sequences(const MoeAssignment *assignment, const MoeTrace *trace, gint64 rank)
{
    gint64 n = 0;
    for (gint64 i = assignment->first[rank]; i < assignment->first[rank + 1]; i++)
        if (i == assignment->first[rank] ||
            assignment->tokens[i] != assignment->tokens[i - 1] + 1 ||
            trace->sequence[assignment->tokens[i]] != trace->sequence[assignment->tokens[i - 1]])
            n++;
    return n;
}

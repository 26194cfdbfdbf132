#include "config.h"

#include "models/forward_run.h"
#include "sim/base/units.h"

#include <math.h>

/* What is good: beyond it products gain nothing from more rows, or reading nothing from more ahead. */
enum { PIECE = 4096, CHUNK = 8192, WINDOW = 256 << 20, ROWS_BYTES = 512 << 20 };

/* What is possible. A piece is a multiple of the attention's blocks, so that cutting changes
 * nothing. */
enum { LEAST_PIECE = 128, LEAST_CHUNK = 64, LEAST_WINDOW = 16 << 20 };

/* Of the program, libraries and threads; of a tensor's name and place. */
enum { PROGRAM_BYTES = 96 << 20, TENSOR_BYTES = 1 << 10 };

/* --- weights --------------------------------------------------------------------------------- */

double moe_matrix_bytes(const MoeMatrix *matrix)
{
    gsize bytes = 0;
    if (matrix->data != NULL)
        moe_matrix_span(matrix, &bytes);
    return (double)bytes;
}

double moe_attention_bytes(const MoeAttention *a)
{
    return moe_matrix_bytes(&a->q_a) + moe_matrix_bytes(&a->q) + moe_matrix_bytes(&a->k) +
           moe_matrix_bytes(&a->v) + moe_matrix_bytes(&a->o);
}

double moe_expert_bytes(const MoeExpert *expert)
{
    return moe_matrix_bytes(&expert->gate) + moe_matrix_bytes(&expert->up) +
           moe_matrix_bytes(&expert->down);
}

void moe_run_touch(MoeRun *run, double bytes)
{
    if (run->resident > 0 && run->resident + bytes > run->plan.window) {
        moe_weights_release(run->weights);
        run->resident = 0;
    }
    run->resident += bytes;
}

void moe_run_prefetch_experts(const MoeRun *run, const MoeBlock *block, gsize first)
{
    gsize n = (gsize)(run->shape->num_experts - run->shape->identity_experts);
    double bytes = 0;
    if (block->experts == NULL || run->cache != NULL)
        return;
    g_autofree const MoeMatrix **matrices = g_new(const MoeMatrix *, 3 * n + 1);
    gsize n_matrices = 0;
    for (gsize e = first; e < n; e++) {
        const MoeExpert *expert = &block->experts[e];
        bytes += moe_expert_bytes(expert);
        if (bytes > run->plan.window)
            break;
        matrices[n_matrices++] = &expert->gate;
        matrices[n_matrices++] = &expert->up;
        matrices[n_matrices++] = &expert->down;
    }
    moe_weights_prefetch(matrices, n_matrices);
}

void moe_run_prefetch_block(const MoeRun *run, int layer)
{
    if (layer >= run->shape->num_hidden_layers || run->cache != NULL)
        return;
    for (int p = 0; p < run->blocks[layer].n_parts; p++) {
        const MoeAttention *a = &run->blocks[layer].parts[p].attention;
        const MoeExpert *dense = &run->blocks[layer].parts[p].dense;
        const MoeMatrix *matrices[] = {&a->q_a, &a->q,        &a->k,      &a->v,
                                       &a->o,   &dense->gate, &dense->up, &dense->down};
        moe_weights_prefetch(matrices, G_N_ELEMENTS(matrices));
    }
}

/* The most weights that are read at once. */
static double largest_touch(const MoeRun *run)
{
    double most = run->job->n_head_tokens > 0 ? moe_matrix_bytes(&run->ends.head) : 0;
    for (int l = 0; l < run->shape->num_hidden_layers; l++) {
        const MoeBlock *block = &run->blocks[l];
        for (int p = 0; p < block->n_parts; p++) {
            most = MAX(most, moe_attention_bytes(&block->parts[p].attention));
            most = MAX(most, moe_attention_bytes(&block->parts[p].cross));
            most = MAX(most, moe_expert_bytes(&block->parts[p].dense));
        }
        most = MAX(most, moe_expert_bytes(&block->shared));
        if (block->experts != NULL)
            most = MAX(most, moe_expert_bytes(&block->experts[0]));
    }
    return most;
}

/* --- what a plan takes ----------------------------------------------------------------------- */

/* Bytes in all, and per unit of what a plan decides. */
typedef struct {
    double fixed, piece, chunk, pair, touch;
    gsize least_piece; /* an encoder's sequences are whole */
} Costs;

static Costs count_costs(const MoeRun *run)
{
    const MoeForward *job = run->job;
    const MoeModelShape *s = run->shape;
    double H = (double)s->hidden_size, E = (double)s->num_experts, T = (double)run->T;
    double K = (double)s->num_experts_per_tok, F = (double)s->moe_intermediate_size;
    double dense = (double)MAX(run->config->intermediate_size, s->shared_expert_intermediate_size);
    gsize out, longest = 0, encoded = 0;
    MoeAttentionWidths w = moe_run_widest(run, &out);
    for (gsize i = 0; i < job->n_sequences; i++) {
        longest = MAX(longest, job->offsets[i + 1] - job->offsets[i]);
        encoded = i < job->n_encoded ? longest : encoded;
    }
    /* Across, the keys of several sequences lie side by side. */
    if (job->n_encoded > 0)
        longest = run->T;
    double keys = run->cache == NULL ? (double)MAX(longest, MIN(run->T, PIECE)) : 0;
    double of_token = (run->config->parts > 1 ? 2 : 1) * H + 3 + 1.5 * K;
    of_token += (job->want_hidden ? H : 0) + (job->want_logits ? E : 0);
    double tensors = (double)s->num_hidden_layers * (3 * E + 32);
    double rope =
        (double)(run->config->ropes[0].dim + run->config->ropes[1].dim) * (double)run->table;
    return (Costs){
        .fixed = PROGRAM_BYTES + tensors * TENSOR_BYTES +
                 sizeof(float) * (T * of_token + keys * (double)(w.k + w.v) + rope),
        .piece = sizeof(float) * (double)(out + w.q + w.wide),
        .chunk = sizeof(float) * (2 * H + E + K + dense),
        .pair = sizeof(float) * (2 * H + F),
        .touch = largest_touch(run),
        .least_piece = encoded,
    };
}

static double count_bytes(const Costs *c, const MoePlan *p)
{
    return c->fixed + c->piece * (double)MAX(p->piece, c->least_piece) +
           c->chunk * (double)p->chunk + c->pair * (double)p->pairs + MAX(p->window, c->touch);
}

/* Cuts what takes the most in half; FALSE when nothing can be cut any more. */
static gboolean shrink(const Costs *c, MoePlan *p)
{
    double piece = p->piece > MAX(LEAST_PIECE, c->least_piece) ? c->piece * (double)p->piece : 0;
    double chunk = p->chunk > LEAST_CHUNK && p->pairs == p->chunk
                       ? (c->chunk + c->pair) * (double)p->chunk
                       : 0;
    double pairs = p->pairs > p->chunk ? c->pair * (double)p->pairs : 0;
    double window = p->window > LEAST_WINDOW && p->window > c->touch ? p->window : 0;
    double most = MAX(MAX(piece, chunk), MAX(pairs, window));
    if (!(most > 0))
        return FALSE;
    if (piece >= most)
        p->piece = MAX(p->piece / 2 / LEAST_PIECE * LEAST_PIECE, LEAST_PIECE);
    else if (window >= most)
        p->window = MAX(p->window / 2, MAX(c->touch, LEAST_WINDOW));
    else if (pairs >= most)
        p->pairs = MAX(p->pairs / 2, p->chunk);
    else
        p->pairs = p->chunk = MAX(p->chunk / 2, LEAST_CHUNK);
    return TRUE;
}

/* @need as it is written with four digits, rounded up: a number that is enough. */
static double round_up(double need)
{
    double step = pow(10, floor(log10(need)) - 3);
    return ceil(need / step) * step;
}

gboolean moe_run_plan(MoeRun *run, GError **error)
{
    const gsize T = MAX(run->T, 1), K = MAX((gsize)run->shape->num_experts_per_tok, 1);
    const double own = run->job->caller_bytes;
    double memory = run->job->memory_bytes;
    const Costs costs = count_costs(run);
    MoePlan plan = {.piece = PIECE, .chunk = MIN(CHUNK, T), .window = WINDOW};
    plan.pairs = CLAMP((gsize)(ROWS_BYTES / costs.pair), plan.chunk, plan.chunk * K);
    while (memory > 0 && own + count_bytes(&costs, &plan) > memory)
        if (!shrink(&costs, &plan)) {
            char need[MOE_UNITS_TEXT], have[MOE_UNITS_TEXT];
            return moe_fail(
                error, MOE_ERROR_INPUT,
                "%" G_GSIZE_FORMAT
                " tokens of this model need about %s of memory; there is %s; take "
                "fewer tokens or shorter sequences",
                run->T,
                moe_units_format(round_up(own + count_bytes(&costs, &plan)), MOE_UNIT_BYTES, need),
                moe_units_format(memory, MOE_UNIT_BYTES, have));
        }
    if (run->cache != NULL) /* used again and again */
        plan.window = G_MAXDOUBLE;
    run->plan = plan;
    return TRUE;
}

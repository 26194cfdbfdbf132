#include "config.h"

#include "models/forward.h"

#include "kernels/linear.h"
#include "kernels/norm.h"
#include "models/forward_run.h"

#include <stdlib.h>
#include <string.h>

static const char *const stage_names[] = {
    [MOE_STAGE_NORM] = "norm",           [MOE_STAGE_PROJECTIONS] = "projections",
    [MOE_STAGE_ROPE] = "rope",           [MOE_STAGE_ATTENTION] = "attention",
    [MOE_STAGE_ROUTER] = "router",       [MOE_STAGE_GATE] = "gate",
    [MOE_STAGE_PERMUTE] = "permutation", [MOE_STAGE_EXPERTS] = "experts",
    [MOE_STAGE_COMBINE] = "combination", [MOE_STAGE_HEAD] = "LM head",
    [MOE_STAGE_CHECK] = "checks",
};

const char *moe_stage_name(MoeStage stage)
{
    return stage_names[stage];
}

enum { HEAD_BYTES = 64 << 20 }; /* of logits that are told at a time */

void moe_run_lap(MoeRun *run, MoeStage stage)
{
    gint64 now = g_get_monotonic_time();
    if (run->job->seconds != NULL)
        run->job->seconds[stage] += (double)(now - run->lap_us) / G_USEC_PER_SEC;
    run->lap_us = now;
}

void moe_run_norm(const MoeRun *run, const MoeNorm *norm, gsize n, const float *x, float *out)
{
    gsize H = (gsize)run->shape->hidden_size;
    float eps = (float)run->config->rms_norm_eps;
    if (norm->weight == NULL)
        memmove(out, x, n * H * sizeof(float));
    else if (run->model->family->layer_norm)
        moe_layernorm(n, H, x, norm->weight, norm->bias, eps, out);
    else
        moe_rmsnorm(n, H, x, norm->weight, eps, out);
}

void moe_run_add(const MoeRun *run, const MoeNorm *post_norm, gsize n, float *y, float *x)
{
    if (post_norm->weight != NULL)
        moe_run_norm(run, post_norm, n, y, y);
    moe_add_scaled(n * (gsize)run->shape->hidden_size, (float)run->config->residual_multiplier, y,
                   x);
}

static gboolean check_batch(const MoeForward *job, gsize T, GError **error)
{
    gboolean encodes = job->model->shape.encoder_layers > 0;
    if (job->n_encoded != (encodes ? job->n_sequences / 2 : 0) ||
        (encodes && job->n_sequences % 2 != 0))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: the model has %s; the sequences are for another kind",
                        job->model->name, encodes ? "an encoder and a decoder" : "no encoder");
    for (gsize s = 0; s < job->n_encoded; s++)
        if (job->offsets[s] == job->offsets[s + 1])
            return moe_fail(error, MOE_ERROR_INPUT,
                            "sequence %" G_GSIZE_FORMAT " of the encoder has no tokens", s);
    for (gsize t = 0; t < T; t++)
        if ((gint64)job->ids[t] >= job->model->shape.vocab_size)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "token %" G_GSIZE_FORMAT
                            " has the id %u; the model's vocabulary has %" G_GINT64_FORMAT,
                            t, job->ids[t], job->model->shape.vocab_size);
    return TRUE;
}

static gboolean bind(MoeRun *run, GError **error)
{
    run->blocks = g_new0(MoeBlock, run->shape->num_hidden_layers);
    if (!moe_family_bind_ends(run->model, run->weights, &run->ends, error))
        return FALSE;
    for (int l = 0; l < run->shape->num_hidden_layers; l++)
        if (!moe_family_bind_block(run->model, run->weights, l, &run->blocks[l], error))
            return FALSE;
    return moe_weights_check_used(run->weights, run->model->family->ignored_tensors, error);
}

static void set_ffn_precision(MoeExpert *ffn, MoePrecision precision)
{
    ffn->gate.precision = ffn->up.precision = ffn->down.precision = precision;
}

static void set_attention_precision(MoeAttention *a, MoePrecision precision)
{
    a->q_a.precision = a->q.precision = a->k.precision = a->v.precision = precision;
    a->o.precision = precision;
}

/* Of all but the routers. */
static void set_precision(MoeRun *run, MoePrecision precision)
{
    gsize n = (gsize)(run->shape->num_experts - run->shape->identity_experts);
    run->ends.head.precision = precision;
    for (int l = 0; l < run->shape->num_hidden_layers; l++) {
        MoeBlock *block = &run->blocks[l];
        for (int p = 0; p < block->n_parts; p++) {
            set_attention_precision(&block->parts[p].attention, precision);
            set_attention_precision(&block->parts[p].cross, precision);
            set_ffn_precision(&block->parts[p].dense, precision);
        }
        for (gsize e = 0; block->experts != NULL && e < n; e++)
            set_ffn_precision(&block->experts[e], precision);
        set_ffn_precision(&block->shared, precision);
    }
}

/* Part by part: the matrix may be larger than the window of weights. */
static gboolean check_matrix(MoeRun *run, const MoeMatrix *matrix, GError **error)
{
    const gsize part_bytes = 16 << 20;
    double bytes = moe_matrix_bytes(matrix);
    gsize n_parts = matrix->data != NULL ? (gsize)bytes / part_bytes + 1 : 0;
    gsize step = n_parts > 0 ? (matrix->rows + n_parts - 1) / n_parts : 1;
    for (gsize row = 0; n_parts > 0 && row < matrix->rows; row += step) {
        gsize rows = MIN(step, matrix->rows - row);
        const MoeMatrix part = moe_matrix_view(matrix, row, 1, rows, 0, matrix->cols);
        moe_run_touch(run, moe_matrix_bytes(&part));
        if (!moe_weights_check_finite(run->weights, &part, error))
            return FALSE;
    }
    return TRUE;
}

gboolean moe_run_check_ffn(const MoeRun *run, const MoeExpert *ffn, GError **error)
{
    const MoeMatrix *matrices[] = {&ffn->gate, &ffn->up, &ffn->down};
    for (size_t i = 0; i < G_N_ELEMENTS(matrices); i++)
        if (matrices[i]->data != NULL &&
            !moe_weights_check_finite(run->weights, matrices[i], error))
            return FALSE;
    return TRUE;
}

/* All but the experts, which are checked as they are used. */
static gboolean check_block(MoeRun *run, const MoeBlock *block, GError **error)
{
    const MoeMatrix *matrices[] = {&block->router, &block->shared_router, &block->shared.gate,
                                   &block->shared.up, &block->shared.down};
    for (size_t i = 0; i < G_N_ELEMENTS(matrices); i++)
        if (!check_matrix(run, matrices[i], error))
            return FALSE;
    for (int p = 0; p < block->n_parts; p++) {
        const MoeAttention *a = &block->parts[p].attention;
        const MoeAttention *cross = &block->parts[p].cross;
        const MoeExpert *dense = &block->parts[p].dense;
        const MoeMatrix *of_part[] = {&a->q_a,   &a->q,        &a->k,      &a->v,
                                      &a->o,     &cross->q,    &cross->k,  &cross->v,
                                      &cross->o, &dense->gate, &dense->up, &dense->down};
        for (size_t i = 0; i < G_N_ELEMENTS(of_part); i++)
            if (!check_matrix(run, of_part[i], error))
                return FALSE;
    }
    return TRUE;
}

static void plan_stacks(MoeRun *run)
{
    const MoeForward *job = run->job;
    for (int i = 0; i < (job->n_encoded > 0 ? 2 : 1); i++) {
        gsize first = i == 0 ? 0 : job->n_encoded;
        gsize end = i == 0 && job->n_encoded > 0 ? job->n_encoded : job->n_sequences;
        run->stacks[i].first = first;
        run->stacks[i].end = end;
        run->stacks[i].first_token = job->offsets[first];
        run->stacks[i].end_token = job->offsets[end];
    }
}

/* What comes before the first piece of @stack. */
static MoePiece before_first(const MoeRun *run, int stack)
{
    return (MoePiece){
        .last = run->stacks[stack].first, .start = run->stacks[stack].first_token, .stack = stack};
}

/* The next tokens that go through attention together, from the @piece before on: whole sequences, as
 * many as give the products enough rows, or a part of a longer one, but in an encoder, where a token
 * sees those behind it. */
static gboolean next_piece(const MoeRun *run, MoePiece *piece)
{
    const gsize most = run->plan.piece;
    const gsize *offsets = run->job->offsets;
    int stack = piece->stack;
    gsize start = piece->start + piece->n, first = piece->last;
    if (start == run->stacks[stack].end_token)
        return FALSE;
    if (start < offsets[first]) /* more of the same sequence */
        first--;
    else
        while (offsets[first + 1] == start)
            first++;
    gboolean whole = run->job->n_encoded > 0 && stack == 0;
    gsize last = first + 1, end = whole ? offsets[last] : MIN(offsets[last], start + most);
    while (end == offsets[last] && last < run->stacks[stack].end && start == offsets[first] &&
           offsets[last + 1] - start <= most)
        end = offsets[++last];
    *piece = (MoePiece){first, last, start, end - start, run->past + start - offsets[first], stack};
    return TRUE;
}

/* The most tokens of a piece. */
static gsize longest_piece(const MoeRun *run)
{
    gsize most = 1;
    for (int stack = 0; stack < 2; stack++)
        for (MoePiece piece = before_first(run, stack); next_piece(run, &piece);)
            most = MAX(most, piece.n);
    return most;
}

static float *floats(gsize rows, gsize width)
{
    return moe_scratch(MAX(rows * width, 1) * sizeof(float));
}

/* What every attention of the model has room in. */
MoeAttentionWidths moe_run_widest(const MoeRun *run, gsize *out_width)
{
    MoeAttentionWidths most = {.q = (gsize)run->shape->hidden_size};
    *out_width = (gsize)run->shape->hidden_size;
    for (int l = 0; l < run->shape->num_hidden_layers; l++) {
        const MoeAttention *a = &run->blocks[l].parts[0].attention;
        MoeAttentionWidths w = moe_attention_widths(a, run->config);
        most.q = MAX(most.q, w.q);
        most.k = MAX(most.k, w.k);
        most.v = MAX(most.v, w.v);
        most.wide = MAX(most.wide, w.wide);
        *out_width = MAX(*out_width, a->shape.Q * a->shape.DV);
    }
    return most;
}

/* The most keys that a piece needs beside each other. */
static gsize most_keys(const MoeRun *run)
{
    const gsize *offsets = run->job->offsets;
    gsize most = 1, back = run->job->n_encoded;
    for (int stack = 0; stack < 2; stack++)
        for (MoePiece piece = before_first(run, stack); next_piece(run, &piece);) {
            most = MAX(most, piece.past + piece.n);
            if (stack == 1) /* and across */
                most = MAX(most, offsets[piece.last - back] - offsets[piece.first - back]);
        }
    return most;
}

static void allocate_attention(MoeRun *run)
{
    gsize out;
    MoeAttentionWidths most = moe_run_widest(run, &out);
    gsize piece = longest_piece(run);
    run->normed = floats(piece, out);
    run->q = floats(piece, most.q);
    run->wide = floats(piece, most.wide);
    if (run->cache == NULL) {
        gsize n = most_keys(run);
        run->keys = (MoeKeys){floats(n, most.k), floats(n, most.v)};
    }
}

static void allocate(MoeRun *run)
{
    const MoeModelShape *s = run->shape;
    gsize T = run->T, H = (gsize)s->hidden_size, E = (gsize)s->num_experts;
    gsize K = (gsize)s->num_experts_per_tok, F = (gsize)s->moe_intermediate_size;
    gsize chunk = run->plan.chunk, pairs = run->plan.pairs;
    gsize dense = (gsize)MAX(run->config->intermediate_size, s->shared_expert_intermediate_size);
    run->x = floats(T, H);
    run->positions = moe_scratch(T * sizeof(uint32_t));
    allocate_attention(run);
    run->logits = floats(run->job->want_logits ? T : chunk, E);
    run->hidden = floats(run->job->want_hidden ? T : chunk, H);
    run->experts = moe_scratch(T * K * sizeof(uint16_t));
    run->routed = floats(T, K);
    run->offsets = moe_scratch((E + 2) * sizeof(uint32_t));
    run->slots = moe_scratch(chunk * K * sizeof(uint32_t));
    run->rows = floats(pairs, H);
    run->middle = floats(1, MAX(pairs * F, chunk * dense));
    run->rows_out = floats(pairs, H);
    run->sum = floats(chunk, H);
    if (run->config->parts > 1)
        run->shortcut = floats(T, H);
    if (run->config->expert_capacity > 0) {
        run->dropped = moe_scratch(T * K);
        run->counts = moe_scratch(E * sizeof(uint32_t));
        run->kept = moe_scratch(chunk * K * sizeof(uint16_t));
    }
}

static void release(MoeRun *run)
{
    float **owned[] = {&run->x,      &run->normed, &run->q,        &run->wide,    &run->keys.k,
                       &run->keys.v, &run->logits, &run->hidden,   &run->routed,  &run->rows,
                       &run->middle, &run->sum,    &run->rows_out, &run->shortcut};
    for (size_t i = 0; i < G_N_ELEMENTS(owned); i++) {
        free(*owned[i]);
        *owned[i] = NULL;
    }
    free(run->positions);
    free(run->rope_rows[0]);
    free(run->rope_rows[1]);
    free(run->experts);
    free(run->offsets);
    free(run->slots);
    free(run->dropped);
    free(run->counts);
    free(run->kept);
}

static void fill_tables(MoeRun *run, gsize positions)
{
    run->table = positions;
    for (int i = 0; i < 2; i++) {
        const MoeRope *rope = &run->config->ropes[i];
        gsize half = (gsize)rope->dim / 2, sets = moe_rope_sets(rope);
        run->cos[i] = floats(sets * positions, half);
        run->sin[i] = floats(sets * positions, half);
        moe_rope_fill(rope, positions, run->cos[i], run->sin[i]);
    }
}

static void fill_relative(MoeRun *run)
{
    gsize heads = (gsize)run->shape->num_attention_heads, far = (gsize)run->config->relative_far;
    for (int i = 0; i < 2; i++) {
        if (run->ends.relative[i] == NULL)
            continue;
        run->relative[i] = floats(heads, 2 * far + 1);
        moe_relative_bias(heads, (size_t)run->config->relative_buckets, far,
                          run->shape->encoder_layers > 0 && i == 0, run->ends.relative[i],
                          run->relative[i]);
    }
}

/* Each token's position and its row of the tables: of sequences longer than a long RoPE's original
 * context in the second half. */
static void place(MoeRun *run)
{
    const MoeForward *job = run->job;
    for (gsize s = 0; s < job->n_sequences; s++)
        for (gsize t = job->offsets[s]; t < job->offsets[s + 1]; t++)
            run->positions[t] = (uint32_t)(run->past + t - job->offsets[s]);
    for (int i = 0; i < 2; i++) {
        const MoeRope *rope = &run->config->ropes[i];
        run->rope_rows[i] = moe_scratch(MAX(run->T, 1) * sizeof(uint32_t));
        for (gsize s = 0; s < job->n_sequences; s++) {
            gsize length = run->past + job->offsets[s + 1] - job->offsets[s];
            gboolean beyond = moe_rope_sets(rope) > 1 && (double)length > rope->scaling.original;
            for (gsize t = job->offsets[s]; t < job->offsets[s + 1]; t++)
                run->rope_rows[i][t] = run->positions[t] + (beyond ? (uint32_t)run->table : 0);
        }
    }
}

static void embed(MoeRun *run)
{
    const MoeForward *job = run->job;
    const MoeMatrix *embedding = &run->ends.embedding;
    gsize H = embedding->cols;
    const gsize some = 64, around = 1 << 16; /* the system maps pages around the one that is read */
    for (gsize t = 0; t < run->T; t++) {
        float *to = run->x + t * H;
        if (t % some == 0)
            moe_run_touch(run, (double)(some * (H * sizeof(float) + around)));
        const float *row = moe_matrix_rows(embedding, job->ids[t], 1, to);
        if (row != to)
            memcpy(to, row, H * sizeof(float));
    }
    if (run->config->embedding_multiplier < 1 || run->config->embedding_multiplier > 1)
        moe_scale(run->T * H, (float)run->config->embedding_multiplier, run->x);
}

/* How many tokens times blocks there are before block @layer. */
static double work_before(const MoeRun *run, int layer)
{
    double work = 0;
    for (int l = 0; l < layer; l++) {
        int stack = moe_model_stack(run->shape, l);
        work += (double)(run->stacks[stack].end_token - run->stacks[stack].first_token);
    }
    return work;
}

static gboolean run_part(MoeRun *run, int layer, int part, GError **error)
{
    const MoeForward *job = run->job;
    const MoeBlock *block = &run->blocks[layer];
    const int stack = moe_model_stack(run->shape, layer);
    const gsize begin = run->stacks[stack].first_token, end = run->stacks[stack].end_token;
    /* A token is done when it has been through all blocks. */
    double blocks = (double)run->shape->num_hidden_layers, parts = block->n_parts;
    double T = (double)(end - begin) / blocks, unit = 1 / (2 * parts * blocks);
    double done = work_before(run, layer) / blocks + part / parts * T;
    double total = work_before(run, (int)run->shape->num_hidden_layers) / blocks;
    const MoeKeys *keys = run->cache != NULL ? &run->cache[2 * layer + part] : &run->keys;
    for (MoePiece piece = before_first(run, stack); next_piece(run, &piece);) {
        moe_run_attention(run, &block->parts[part].attention, keys, &piece);
        if (block->parts[part].cross.o.data != NULL)
            moe_run_cross(run, &block->parts[part].cross, keys, &piece);
        double here = (double)(piece.start + piece.n - begin);
        moe_progress_update(job->progress, done + here * unit, total);
    }
    for (gsize start = begin; start < end; start += run->plan.chunk) {
        if (!moe_run_ffn(run, block, part, start, MIN(run->plan.chunk, end - start), layer, error))
            return FALSE;
        double here = (double)(start - begin + end - begin);
        moe_progress_update(job->progress, done + here * unit, total);
    }
    return TRUE;
}

static gboolean report(const MoeRun *run, int layer, GError **error)
{
    const MoeForward *job = run->job;
    const int stack = moe_model_stack(run->shape, layer);
    const gsize first = run->stacks[stack].first_token, K = (gsize)run->shape->num_experts_per_tok;
    const MoeRouting routing = {
        .layer = layer,
        .first_token = first,
        .n_tokens = run->stacks[stack].end_token - first,
        .experts = run->experts + first * K,
        .weights = run->routed + first * K,
        .hidden = job->want_hidden ? run->hidden + first * (gsize)run->shape->hidden_size : NULL,
        .logits = job->want_logits ? run->logits + first * (gsize)run->shape->num_experts : NULL,
        .dropped = run->dropped != NULL ? run->dropped + first * K : NULL,
    };
    return job->routing == NULL || job->routing(job->user, &routing, error);
}

static gboolean run_block(MoeRun *run, int layer, GError **error)
{
    const MoeBlock *block = &run->blocks[layer];
    moe_progress_part(run->job->progress, "block", layer + 1, (int)run->shape->num_hidden_layers);
    moe_run_prefetch_experts(run, block, 0);
    gboolean good = run->checked || check_block(run, block, error);
    moe_run_lap(run, MOE_STAGE_CHECK);
    for (int part = 0; part < block->n_parts && good; part++)
        good = run_part(run, layer, part, error);
    if (good && layer + 1 == run->shape->encoder_layers)
        moe_run_norm(run, &run->ends.encoder_norm, run->stacks[0].end_token, run->x, run->x);
    if (!good || block->experts == NULL)
        return good;
    if (block->n_parts > 1)
        moe_add_scaled(run->T * (gsize)run->shape->hidden_size, 1, run->shortcut, run->x);
    return report(run, layer, error);
}

/* The logits of the head tokens [first, first + n). */
static void run_head_piece(MoeRun *run, gsize first, gsize n, float *logits)
{
    const MoeForward *job = run->job;
    gsize H = (gsize)run->shape->hidden_size, V = run->ends.head.rows;
    float *last = moe_scratch(n * H * sizeof(float));
    for (gsize i = 0; i < n; i++)
        memcpy(last + i * H, run->x + job->head_tokens[first + i] * H, H * sizeof(float));
    moe_run_norm(run, &run->ends.final_norm, n, last, last);
    moe_run_touch(run, moe_matrix_bytes(&run->ends.head));
    moe_linear(n, last, &run->ends.head, logits);
    if (run->ends.head_bias != NULL)
        moe_add_bias(n, V, run->ends.head_bias, logits);
    if (run->config->logits_scaling < 1 || run->config->logits_scaling > 1)
        moe_scale(n * V, (float)(1 / run->config->logits_scaling), logits);
    free(last);
    moe_run_lap(run, MOE_STAGE_HEAD);
}

static gboolean run_head(MoeRun *run, GError **error)
{
    const MoeForward *job = run->job;
    if (job->n_head_tokens == 0)
        return TRUE;
    if (!run->checked && run->ends.head.data != run->ends.embedding.data &&
        !check_matrix(run, &run->ends.head, error))
        return FALSE;
    if (job->head_out != NULL) {
        run_head_piece(run, 0, job->n_head_tokens, job->head_out);
        return TRUE;
    }
    const gsize row = run->ends.head.rows * sizeof(float);
    const gsize piece = MIN(MAX(HEAD_BYTES / row, 1), job->n_head_tokens);
    float *logits = moe_scratch(piece * row);
    gboolean good = TRUE;
    for (gsize first = 0; first < job->n_head_tokens && good; first += piece) {
        const gsize n = MIN(piece, job->n_head_tokens - first);
        run_head_piece(run, first, n, logits);
        good = job->head(job->user, first, n, logits, error);
    }
    free(logits);
    return good;
}

gboolean moe_run_open(MoeRun *run, const MoeModel *model, MoeWeights *weights,
                      MoePrecision precision, gsize positions, GError **error)
{
    *run = (MoeRun){
        .model = model, .weights = weights, .shape = &model->shape, .config = model->config};
    if (!bind(run, error))
        return FALSE;
    set_precision(run, precision);
    fill_tables(run, positions);
    fill_relative(run);
    return TRUE;
}

void moe_run_close(MoeRun *run)
{
    for (int i = 0; i < 2; i++) {
        free(run->cos[i]);
        free(run->sin[i]);
        free(run->relative[i]);
    }
    for (int l = 0; run->blocks != NULL && l < run->shape->num_hidden_layers; l++)
        g_free(run->blocks[l].experts);
    g_free(run->blocks);
}

gboolean moe_run_batch(MoeRun *run, const MoeForward *job, GError **error)
{
    run->job = job;
    run->T = job->offsets[job->n_sequences];
    run->lap_us = g_get_monotonic_time();
    if (!check_batch(job, run->T, error))
        return FALSE;
    plan_stacks(run);
    if (!moe_run_plan(run, error) ||
        (!run->checked && job->first_block == 0 && !check_matrix(run, &run->ends.embedding, error)))
        return FALSE;
    allocate(run);
    gsize H = (gsize)run->shape->hidden_size;
    if (job->first_block > 0)
        memcpy(run->x, job->states, run->T * H * sizeof(float));
    else
        embed(run);
    place(run);
    gboolean good = TRUE;
    moe_progress_skip(job->progress,
                      work_before(run, job->first_block) / (double)run->shape->num_hidden_layers);
    for (int l = job->first_block; l < run->shape->num_hidden_layers && good; l++)
        good = run_block(run, l, error) &&
               (job->block_done == NULL || job->block_done(job->user, l + 1, run->x, error));
    good = good && run_head(run, error);
    release(run);
    return good;
}

gboolean moe_forward(const MoeForward *job, GError **error)
{
    gsize longest = 1;
    for (gsize s = 0; s < job->n_sequences; s++)
        longest = MAX(longest, job->offsets[s + 1] - job->offsets[s]);
    MoeRun run;
    gboolean good = moe_run_open(&run, job->model, job->weights, job->precision, longest, error) &&
                    moe_run_batch(&run, job, error);
    moe_run_close(&run);
    return good;
}

#include "config.h"

#include "models/family.h"

#include <math.h>
#include <string.h>

typedef struct {
    const MoeFamily *family;
    const MoeConfig *config;
    const MoeModelShape *shape;
    MoeWeights *weights;
    int layer, part;
    const char *attention; /* which, by name */
    GError **error;
} Binder;

/* What the tensors of a language model inside a larger one begin with. */
static const char WRAPPED[] = "language_model.";

/* @pattern with %@letter in it replaced by @number. */
static char *fill(const char *pattern, char letter, gint64 number)
{
    const char mark[] = {'%', letter, '\0'};
    if (strstr(pattern, mark) == NULL)
        return g_strdup(pattern);
    g_autofree char *digits = g_strdup_printf("%" G_GINT64_FORMAT, number);
    g_auto(GStrv) parts = g_strsplit(pattern, mark, -1);
    return g_strjoinv(digits, parts);
}

static char *full_name(const Binder *b, const char *name, const char *ending)
{
    int stack = moe_model_stack(b->shape, b->layer);
    const MoeTensorNames *names = &b->config->names;
    g_autofree char *of_part = fill(name, 'p', b->part);
    g_autofree char *of_ffn = fill(of_part, 'f', 1 + stack);
    return g_strdup_printf("%s%s.%d.%s%s", b->config->wrapped ? WRAPPED : "",
                           stack == 1 ? names->decoder_block : names->block,
                           b->layer - (stack == 1 ? (int)b->config->encoder_layers : 0), of_ffn,
                           ending);
}

static gboolean matrix(const Binder *b, const char *name, gint64 rows, gint64 cols, MoeMatrix *out)
{
    g_autofree char *full = full_name(b, name, ".weight");
    return moe_weights_matrix(b->weights, full, rows, cols, out, b->error);
}

/* @name NULL: there is none. */
static gboolean vector(const Binder *b, const char *name, const char *ending, gint64 n,
                       const float **out)
{
    if (name == NULL)
        return TRUE;
    g_autofree char *full = full_name(b, name, ending);
    *out = moe_weights_vector(b->weights, full, n, b->error);
    return *out != NULL;
}

static gboolean norm(const Binder *b, const char *name, MoeNorm *out)
{
    gint64 hidden = b->shape->hidden_size;
    return vector(b, name, ".weight", hidden, &out->weight) &&
           vector(b, b->family->layer_norm_bias ? name : NULL, ".bias", hidden, &out->bias);
}

static gboolean ffn(const Binder *b, const char *gate, const char *up, const char *down,
                    gint64 width, MoeExpert *out)
{
    gint64 hidden = b->shape->hidden_size;
    out->act = b->config->activation;
    /* The kernel takes what there always is as the gate. */
    if (b->config->ungated)
        return matrix(b, up, width, hidden, &out->gate) &&
               matrix(b, down, hidden, width, &out->down);
    return matrix(b, gate, width, hidden, &out->gate) && matrix(b, up, width, hidden, &out->up) &&
           matrix(b, down, hidden, width, &out->down);
}

/* Tensors that are there for other ends than this model's: blocks that predict further ahead, and
 * what a larger model sees with. */
static void ignore_others(const MoeModel *model, MoeWeights *weights)
{
    const MoeConfig *config = model->config;
    for (gint64 i = 0; i < config->num_nextn_predict_layers; i++) {
        g_autofree char *prefix = g_strdup_printf("%s.%" G_GINT64_FORMAT ".", config->names.block,
                                                  config->num_hidden_layers + i);
        moe_weights_ignore(weights, prefix);
    }
    if (config->is_gguf)
        moe_weights_ignore(weights, "rope_"); /* read with the configuration */
    if (config->wrapped) {
        moe_weights_ignore(weights, "vision_model.");
        moe_weights_ignore(weights, "multi_modal_projector.");
    }
}

/* A vector outside of the blocks; @wanted FALSE: there is none. */
static gboolean end_vector(const MoeModel *model, MoeWeights *weights, const char *name,
                           const char *ending, gint64 n, gboolean wanted, const float **out,
                           GError **error)
{
    const MoeConfig *config = model->config;
    g_autofree char *full = g_strconcat(config->wrapped ? WRAPPED : "", name, ending, NULL);
    if (wanted)
        *out = moe_weights_vector(weights, full, n, error);
    return !wanted || *out != NULL;
}

/* The biases of relative positions, which the first block of each stack has for all of it. */
static gboolean bind_relative(const MoeModel *model, MoeWeights *weights, MoeEnds *ends,
                              GError **error)
{
    const MoeConfig *config = model->config;
    const MoeTensorNames *names = &config->names;
    const char *const blocks[] = {names->block, names->decoder_block};
    for (int stack = 0; stack < (model->shape.encoder_layers > 0 ? 2 : 1); stack++) {
        g_autofree char *name = g_strdup_printf("%s.0.%s.weight", blocks[stack], names->relative);
        ends->relative[stack] = moe_weights_table(weights, name, config->relative_buckets,
                                                  model->shape.num_attention_heads, 1, error);
        if (ends->relative[stack] == NULL)
            return FALSE;
    }
    return TRUE;
}

gboolean moe_family_bind_ends(const MoeModel *model, MoeWeights *weights, MoeEnds *ends,
                              GError **error)
{
    const MoeModelShape *s = &model->shape;
    const MoeConfig *config = model->config;
    const MoeTensorNames *names = &config->names;
    const gint64 *block = config->quantization.scale_block;
    const char *prefix = config->wrapped ? WRAPPED : "", *head = names->head;
    const char *final = names->final_norm;
    g_autofree char *embedding_name = g_strconcat(prefix, names->embedding, ".weight", NULL);
    g_autofree char *head_name = g_strconcat(prefix, head, ".weight", NULL);
    ignore_others(model, weights);
    if ((block[0] > 0 && !moe_weights_set_scale_block(weights, block[0], block[1], error)) ||
        !moe_weights_matrix(weights, embedding_name, s->vocab_size, s->hidden_size,
                            &ends->embedding, error) ||
        !end_vector(model, weights, final, ".weight", s->hidden_size, TRUE,
                    &ends->final_norm.weight, error) ||
        !end_vector(model, weights, final, ".bias", s->hidden_size, model->family->layer_norm_bias,
                    &ends->final_norm.bias, error) ||
        !end_vector(model, weights, head, ".bias", s->vocab_size, config->head_bias,
                    &ends->head_bias, error) ||
        !end_vector(model, weights, names->encoder_norm, ".weight", s->hidden_size,
                    s->encoder_layers > 0, &ends->encoder_norm.weight, error))
        return FALSE;
    if (config->relative_buckets > 0 && !bind_relative(model, weights, ends, error))
        return FALSE;
    ends->head = ends->embedding;
    if (s->tie_word_embeddings && !moe_weights_has(weights, head_name))
        return TRUE;
    return moe_weights_matrix(weights, head_name, s->vocab_size, s->hidden_size, &ends->head,
                              error);
}

/* --- attention ------------------------------------------------------------------------------- */

/* Fills in what config.json says of the attention of this block. */
static void shape_attention(const Binder *b, MoeAttention *a)
{
    const MoeConfig *c = b->config;
    gboolean local = moe_block_set_has(&c->local, b->layer);
    gint64 width = c->kv_lora_rank > 0 ? c->qk_nope_head_dim + c->qk_rope_head_dim
                   : local             ? c->local_head_dim
                                       : c->head_dim;
    double scale =
        isnan(c->attention_multiplier) ? 1 / sqrt((double)width) : c->attention_multiplier;
    a->shape = (MoeAttentionShape){
        .Q = (size_t)c->num_attention_heads,
        .G = (size_t)(c->kv_lora_rank > 0 ? c->num_attention_heads
                      : local             ? c->local_key_value_heads
                                          : c->num_key_value_heads),
        .D = (size_t)width,
        .DV = (size_t)(local ? c->local_v_head_dim : c->v_head_dim),
        .scale = (float)(scale * c->ropes[local].softmax_scale),
        .window = local ? (size_t)c->sliding_window : 0,
        .chunk = local ? (size_t)c->attention_chunk_size : 0,
    };
    a->rope = moe_block_set_has(&c->no_rope, b->layer) ? -1 : local ? 1 : 0;
    a->clip = c->clip_qkv > 0 ? (float)c->clip_qkv : 0;
    a->v_scale = (float)c->attention_value_scale;
    for (int i = 0; i < 2; i++)
        a->latent_scale[i] = (float)c->latent_scale[i];
}

static char *of_attention(const Binder *b, const char *name)
{
    return g_strconcat(b->attention, name, NULL);
}

/* The tensor @name of the attention and its bias. */
static gboolean projection(const Binder *b, const char *name, gint64 rows, gint64 cols,
                           gboolean has_bias, MoeMatrix *out, const float **bias)
{
    g_autofree char *full = of_attention(b, name);
    return matrix(b, full, rows, cols, out) &&
           vector(b, has_bias ? full : NULL, ".bias", rows, bias);
}

/* q, k and v below each other in one tensor, as three views of it; their biases likewise. */
static gboolean bind_fused(const Binder *b, gint64 q_width, gint64 k_width, gint64 v_width,
                           MoeAttention *a)
{
    const gint64 rows[] = {q_width, k_width, v_width};
    MoeMatrix all, *out[] = {&a->q, &a->k, &a->v};
    const float *biases = NULL, **bias[] = {&a->q_bias, &a->k_bias, &a->v_bias};
    if (!projection(b, b->config->names.qkv, q_width + k_width + v_width, b->shape->hidden_size,
                    b->config->attention_bias, &all, &biases))
        return FALSE;
    size_t first = 0;
    for (int i = 0; i < 3; first += (size_t)rows[i], i++) {
        *out[i] = moe_matrix_view(&all, first, 1, (size_t)rows[i], 0, all.cols);
        *bias[i] = biases != NULL ? biases + first : NULL;
    }
    return TRUE;
}

/* GGUF files of any family may have q, k and v in one. */
static gboolean is_fused(const Binder *b)
{
    if (!b->config->is_gguf)
        return b->config->names.qkv != NULL;
    g_autofree char *full = full_name(b, b->config->names.qkv, ".weight");
    return moe_weights_has(b->weights, full);
}

static gboolean bind_separate(const Binder *b, gint64 q_width, gint64 k_width, gint64 v_width,
                              MoeAttention *a)
{
    const MoeTensorNames *names = &b->config->names;
    gint64 hidden = b->shape->hidden_size;
    gboolean bias = b->config->attention_bias;
    return projection(b, names->q, q_width, hidden, bias, &a->q, &a->q_bias) &&
           projection(b, names->k, k_width, hidden, bias, &a->k, &a->k_bias) &&
           projection(b, names->v, v_width, hidden, bias, &a->v, &a->v_bias);
}

static gboolean bind_gqa(const Binder *b, MoeAttention *a)
{
    const MoeTensorNames *names = &b->config->names;
    const MoeConfig *c = b->config;
    const MoeAttentionShape *s = &a->shape;
    gint64 q_width = (gint64)(s->Q * s->D);
    gint64 k_width = (gint64)(s->G * s->D), v_width = (gint64)(s->G * s->DV);
    gboolean norms = c->use_qk_norm && !b->family->norm_unweighted;
    gboolean good = is_fused(b) ? bind_fused(b, q_width, k_width, v_width, a)
                                : bind_separate(b, q_width, k_width, v_width, a);
    return good &&
           vector(b, norms ? names->q_norm : NULL, ".weight",
                  b->family->norm_heads ? (gint64)s->D : q_width, &a->q_norm) &&
           vector(b, norms ? names->k_norm : NULL, ".weight",
                  b->family->norm_heads ? (gint64)s->D : k_width, &a->k_norm);
}

/* Keys and values of all heads from the latent: one matrix, or GGUF's two. */
static gboolean bind_latent(const Binder *b, MoeAttention *a)
{
    const MoeConfig *c = b->config;
    gint64 heads = (gint64)a->shape.Q, keys = c->qk_nope_head_dim, values = c->v_head_dim;
    g_autofree char *name = of_attention(b, c->names.kv_b);
    g_autofree char *k = full_name(b, "attn_k_b", ".weight");
    g_autofree char *v = full_name(b, "attn_v_b", ".weight");
    return c->is_gguf && moe_weights_has(b->weights, k)
               ? moe_weights_heads(b->weights, k, v, heads, keys, values, c->kv_lora_rank, &a->v,
                                   b->error)
               : matrix(b, name, heads * (keys + values), c->kv_lora_rank, &a->v);
}

static gboolean bind_mla(const Binder *b, MoeAttention *a)
{
    const MoeTensorNames *names = &b->config->names;
    const MoeConfig *c = b->config;
    gint64 hidden = b->shape->hidden_size, rank = c->q_lora_rank, latent = c->kv_lora_rank;
    gint64 q_width = (gint64)(a->shape.Q * a->shape.D);
    g_autofree char *q_norm = of_attention(b, names->q_a_norm);
    g_autofree char *k_norm = of_attention(b, names->kv_a_norm);
    const float *none = NULL;
    gboolean good = rank > 0 ? projection(b, names->q_a, rank, hidden, FALSE, &a->q_a, &none) &&
                                   vector(b, q_norm, ".weight", rank, &a->q_norm) &&
                                   projection(b, names->q_b, q_width, rank, FALSE, &a->q, &none)
                             : projection(b, names->q, q_width, hidden, FALSE, &a->q, &none);
    return good &&
           projection(b, names->kv_a, latent + c->qk_rope_head_dim, hidden, FALSE, &a->k, &none) &&
           vector(b, k_norm, ".weight", latent, &a->k_norm) && bind_latent(b, a);
}

static gboolean bind_output(const Binder *b, MoeAttention *a)
{
    return projection(b, b->config->names.o, b->shape->hidden_size,
                      (gint64)(a->shape.Q * a->shape.DV), b->config->output_bias, &a->o,
                      &a->o_bias);
}

/* Cross attention, in the blocks behind an encoder. */
static gboolean bind_cross(const Binder *b, MoeAttention *a)
{
    Binder cross = *b;
    if (moe_model_stack(b->shape, b->layer) == 0)
        return TRUE;
    cross.attention = b->config->names.cross;
    shape_attention(b, a);
    return norm(b, b->config->names.cross_norm, &a->norm) && bind_gqa(&cross, a) &&
           bind_output(&cross, a);
}

static gboolean bind_attention(const Binder *b, MoeAttention *a)
{
    const MoeTensorNames *names = &b->config->names;
    const MoeConfig *c = b->config;
    shape_attention(b, a);
    gboolean sinks = moe_block_set_has(&c->local, b->layer) ? c->local_sinks : c->other_sinks;
    return norm(b, names->attention_norm, &a->norm) &&
           norm(b, names->attention_post_norm, &a->post_norm) &&
           (c->kv_lora_rank > 0 ? bind_mla(b, a) : bind_gqa(b, a)) && bind_output(b, a) &&
           vector(b, sinks ? names->sinks : NULL, "", c->num_attention_heads, &a->shape.sinks);
}

/* --- FFN ------------------------------------------------------------------------------------- */

static gboolean bind_each(const Binder *b, MoeExpert *experts, gint64 n)
{
    const MoeTensorNames *names = &b->config->names;
    for (gint64 e = 0; e < n; e++) {
        g_autofree char *gate = names->gate != NULL ? fill(names->gate, 'd', e) : NULL;
        g_autofree char *up = fill(b->config->ungated ? names->ungated : names->up, 'd', e);
        g_autofree char *down = fill(names->down, 'd', e);
        if (!ffn(b, gate, up, down, b->shape->moe_intermediate_size, &experts[e]))
            return FALSE;
    }
    return TRUE;
}

/* Splits the rows of @gate_up [2F, H] into an expert's two matrices: halves, or every other row. */
static void split(const MoeMatrix *gate_up, gboolean interleaved, MoeExpert *out)
{
    size_t F = gate_up->rows / 2, step = interleaved ? 2 : 1;
    out->gate = moe_matrix_view(gate_up, 0, step, F, 0, gate_up->cols);
    out->up = moe_matrix_view(gate_up, interleaved ? 1 : F, step, F, 0, gate_up->cols);
}

/* The biases of gpt-oss's experts: [E, 2F], gates at even places, and [E, H]. */
static gboolean bind_expert_biases(const Binder *b, MoeExpert *experts, gint64 n, gint64 F)
{
    const MoeTensorNames *names = &b->config->names;
    gint64 H = b->shape->hidden_size;
    g_autofree char *up_name = full_name(b, names->gate_up, "_bias");
    g_autofree char *down_name = full_name(b, names->down, "_bias");
    const float *down = moe_weights_table(b->weights, down_name, n, H, 1, b->error);
    const float *both =
        down != NULL ? moe_weights_table(b->weights, up_name, n, 2 * F, 2, b->error) : NULL;
    for (gint64 e = 0; both != NULL && e < n; e++) {
        experts[e].gate_bias = both + e * 2 * F;
        experts[e].up_bias = both + e * 2 * F + F;
        experts[e].down_bias = down + e * H;
    }
    return both != NULL;
}

/* The @n matrices of a tensor, one for each expert, however they are stored. */
static gboolean bind_stack(const Binder *b, const char *name, gint64 n, gint64 rows, gint64 cols,
                           MoeMatrix *out)
{
    MoeExpertLayout layout = b->config->layout;
    gboolean flat = layout == MOE_EXPERTS_TRANSPOSED || layout == MOE_EXPERTS_INTERLEAVED;
    g_autofree char *full = full_name(b, name, flat ? "" : ".weight");
    g_autofree char *blocks = g_strconcat(full, "_blocks", NULL);
    if (layout == MOE_EXPERTS_INTERLEAVED && moe_weights_has(b->weights, blocks))
        return moe_weights_mxfp4(b->weights, full, n, rows, cols, out, b->error);
    return moe_weights_stack(b->weights, full, n, rows, cols, flat, out, b->error);
}

static gboolean bind_stacked(const Binder *b, MoeExpert *experts, gint64 n)
{
    const MoeTensorNames *names = &b->config->names;
    gint64 F = b->shape->moe_intermediate_size, H = b->shape->hidden_size;
    gboolean interleaved = b->config->layout == MOE_EXPERTS_INTERLEAVED;
    g_autofree MoeMatrix *up = g_new0(MoeMatrix, n), *down = g_new0(MoeMatrix, n);
    if (!bind_stack(b, names->gate_up, n, 2 * F, H, up) ||
        !bind_stack(b, names->down, n, H, F, down))
        return FALSE;
    for (gint64 e = 0; e < n; e++) {
        split(&up[e], interleaved, &experts[e]);
        experts[e].down = down[e];
        experts[e].limit = (float)b->config->swiglu_limit;
    }
    return !interleaved || bind_expert_biases(b, experts, n, F);
}

/* DBRX: [E*F, H], the experts below each other. */
static gboolean bind_rows(const Binder *b, MoeExpert *experts, gint64 n)
{
    const MoeTensorNames *names = &b->config->names;
    gint64 F = b->shape->moe_intermediate_size, H = b->shape->hidden_size;
    const char *const of[] = {names->gate, names->up, names->down};
    MoeMatrix all[3];
    for (int i = 0; i < 3; i++) {
        g_autofree char *name = full_name(b, of[i], "");
        if (!moe_weights_matrix(b->weights, name, n * F, H, &all[i], b->error))
            return FALSE;
    }
    for (gint64 e = 0; e < n; e++) {
        MoeMatrix *out[] = {&experts[e].gate, &experts[e].up, &experts[e].down};
        for (int i = 0; i < 3; i++)
            *out[i] = moe_matrix_view(&all[i], (size_t)(e * F), 1, (size_t)F, 0, (size_t)H);
        experts[e].down = moe_matrix_transpose(&experts[e].down);
    }
    return TRUE;
}

/* The biases of experts apart, [E, F] and [E, H]. */
static gboolean bind_biases_apart(const Binder *b, MoeExpert *experts, gint64 n, gint64 F)
{
    const MoeTensorNames *names = &b->config->names;
    const gint64 widths[] = {F, F, b->shape->hidden_size};
    const char *const of[] = {names->gate, names->up, names->down};
    const float *tables[3];
    for (int i = 0; i < 3; i++) {
        g_autofree char *name = full_name(b, of[i], ".bias");
        tables[i] = moe_weights_table(b->weights, name, n, widths[i], 1, b->error);
        if (tables[i] == NULL)
            return FALSE;
    }
    for (gint64 e = 0; e < n; e++) {
        experts[e].gate_bias = tables[0] + e * widths[0];
        experts[e].up_bias = tables[1] + e * widths[1];
        experts[e].down_bias = tables[2] + e * widths[2];
    }
    return TRUE;
}

/* Three tensors; gates and ups may be one. */
static gboolean bind_apart(const Binder *b, MoeExpert *experts, gint64 n)
{
    const MoeTensorNames *names = &b->config->names;
    gint64 F = b->shape->moe_intermediate_size, H = b->shape->hidden_size;
    g_autofree char *both = full_name(b, names->gate_up, ".weight");
    g_autofree char *gate_name = full_name(b, names->gate, ".weight");
    g_autofree char *up_name = full_name(b, names->up, ".weight");
    g_autofree char *down_name = full_name(b, names->down, ".weight");
    g_autofree MoeMatrix *m = g_new0(MoeMatrix, 3 * n);
    MoeMatrix *gate = m, *up = m + n, *down = m + 2 * n;
    gboolean fused = moe_weights_has(b->weights, both);
    gboolean good =
        fused ? moe_weights_stack(b->weights, both, n, 2 * F, H, FALSE, up, b->error)
              : moe_weights_stack(b->weights, gate_name, n, F, H, FALSE, gate, b->error) &&
                    moe_weights_stack(b->weights, up_name, n, F, H, FALSE, up, b->error);
    if (!good || !moe_weights_stack(b->weights, down_name, n, H, F, FALSE, down, b->error))
        return FALSE;
    for (gint64 e = 0; e < n; e++) {
        experts[e] = (MoeExpert){.gate = gate[e], .up = up[e], .down = down[e]};
        if (fused)
            split(&up[e], FALSE, &experts[e]);
        experts[e].limit = (float)b->config->swiglu_limit;
    }
    return b->family->layout != MOE_EXPERTS_INTERLEAVED || bind_biases_apart(b, experts, n, F);
}

static gboolean bind_any(const Binder *b, MoeExpert *experts, gint64 n)
{
    switch (b->config->layout) {
    case MOE_EXPERTS_EACH:
        return bind_each(b, experts, n);
    case MOE_EXPERTS_ROWS:
        return bind_rows(b, experts, n);
    case MOE_EXPERTS_APART:
        return bind_apart(b, experts, n);
    default:
        return bind_stacked(b, experts, n);
    }
}

/* Everything that decides which experts a token goes to. */
static gboolean bind_router(const Binder *b, MoeBlock *block)
{
    const MoeTensorNames *names = &b->config->names;
    const MoeModelShape *s = b->shape;
    const MoeConfig *config = b->config;
    block->gate = b->family->gate;
    block->gate.groups = (size_t)config->n_group;
    block->gate.top_groups = (size_t)config->topk_group;
    block->gate.renormalise = config->norm_topk_prob;
    block->gate.scale = (float)config->routed_scaling_factor;
    block->gate.masked = (float)config->masked;
    block->gate.jitter = (float)config->router_jitter;
    block->capacity = config->expert_capacity;
    return matrix(b, names->router, s->num_experts, s->hidden_size, &block->router) &&
           vector(b, config->router_bias ? names->router : NULL, ".bias", s->num_experts,
                  &block->router_bias) &&
           vector(b, names->bias, "", s->num_experts, &block->gate.bias);
}

static gboolean bind_experts(const Binder *b, MoeBlock *block)
{
    const MoeTensorNames *names = &b->config->names;
    const MoeModelShape *s = b->shape;
    gint64 n = s->num_experts - s->identity_experts;
    if (!bind_router(b, block))
        return FALSE;
    block->experts = g_new0(MoeExpert, s->num_experts);
    if (!bind_any(b, block->experts, n) ||
        (names->shared_router != NULL &&
         !matrix(b, names->shared_router, 1, s->hidden_size, &block->shared_router)))
        return FALSE;
    return s->shared_expert_intermediate_size == 0 ||
           ffn(b, names->shared_gate, names->shared_up, names->shared_down,
               s->shared_expert_intermediate_size, &block->shared);
}

static Binder new_binder(const MoeModel *model, MoeWeights *weights, int layer, GError **error)
{
    return (Binder){.family = model->family,
                    .config = model->config,
                    .shape = &model->shape,
                    .weights = weights,
                    .layer = layer,
                    .attention = ((const MoeConfig *)model->config)->names.attention,
                    .error = error};
}

gboolean moe_family_bind_block(const MoeModel *model, MoeWeights *weights, int layer,
                               MoeBlock *block, GError **error)
{
    const MoeTensorNames *names = &((const MoeConfig *)model->config)->names;
    Binder b = new_binder(model, weights, layer, error);
    gboolean sparse = moe_model_has_experts(b.shape, layer);
    block->n_parts = (int)b.config->parts;
    for (b.part = 0; b.part < block->n_parts; b.part++) {
        if (!bind_attention(&b, &block->parts[b.part].attention) ||
            !bind_cross(&b, &block->parts[b.part].cross) ||
            !norm(&b, names->ffn_norm, &block->parts[b.part].norm) ||
            !norm(&b, names->ffn_post_norm, &block->parts[b.part].post_norm))
            return FALSE;
        if ((!sparse || block->n_parts > 1) &&
            !ffn(&b, names->dense_gate, b.config->ungated ? names->dense_ungated : names->dense_up,
                 names->dense_down, b.config->intermediate_size, &block->parts[b.part].dense))
            return FALSE;
    }
    b.part = 0;
    return !sparse || bind_experts(&b, block);
}

gboolean moe_family_bind_router(const MoeModel *model, MoeWeights *weights, int layer,
                                MoeBlock *block, GError **error)
{
    const Binder b = new_binder(model, weights, layer, error);
    return bind_router(&b, block);
}

char *moe_family_describe_router(const MoeModel *model)
{
    static const char *const scores[] = {[MOE_SCORE_SOFTMAX] = "softmax",
                                         [MOE_SCORE_SIGMOID] = "sigmoid",
                                         [MOE_SCORE_SPARSEMIXER] = "sparsemixer"};
    const MoeConfig *c = model->config;
    const MoeFamily *family = model->family;
    GString *text = g_string_new(scores[family->gate.score]);
    if (family->names.bias != NULL)
        g_string_append(text, " + correction bias");
    if (c->n_group > 1)
        g_string_append_printf(text, ", %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " groups",
                               c->topk_group, c->n_group);
    g_string_append_printf(text, ", top-%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT "%s",
                           c->num_experts_per_tok, c->num_experts,
                           c->norm_topk_prob ? ", renormalised" : "");
    if (c->identity_experts > 0)
        g_string_append_printf(text, ", %" G_GINT64_FORMAT " of them identities",
                               c->identity_experts);
    if (fabs(c->routed_scaling_factor - 1) > 0)
        g_string_append_printf(text, ", times %g", c->routed_scaling_factor);
    if (family->weighs_input)
        g_string_append(text, ", weighing inputs");
    if (c->expert_capacity > 0)
        g_string_append_printf(text, ", at most %" G_GINT64_FORMAT " pairs of a sequence each",
                               c->expert_capacity);
    return g_string_free(text, FALSE);
}

#include "config.h"

#include "models/family.h"

#include <math.h>

gboolean moe_family_bind_ends(const MoeModel *model, MoeWeights *weights, MoeEnds *ends,
                              GError **error)
{
    const MoeModelShape *s = &model->shape;
    const MoeConfig *config = model->config;
    ends->norm_eps = (float)config->rms_norm_eps;
    ends->rope_theta = config->rope_theta;
    ends->rotary_dim = (size_t)moe_config_rotary_dim(config);
    if (!moe_weights_matrix(weights, "model.embed_tokens.weight", s->vocab_size, s->hidden_size,
                            &ends->embedding, error))
        return FALSE;
    ends->final_norm = moe_weights_vector(weights, "model.norm.weight", s->hidden_size, error);
    if (ends->final_norm == NULL)
        return FALSE;
    ends->head = ends->embedding;
    if (s->tie_word_embeddings && !moe_weights_has(weights, "lm_head.weight"))
        return TRUE;
    return moe_weights_matrix(weights, "lm_head.weight", s->vocab_size, s->hidden_size, &ends->head,
                              error);
}

typedef struct {
    const MoeModelShape *shape;
    MoeWeights *weights;
    int layer;
    GError **error;
} Binder;

static char *full_name(const Binder *b, const char *name, const char *ending)
{
    return g_strdup_printf("model.layers.%d.%s%s", b->layer, name, ending);
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

static gboolean ffn(const Binder *b, const char *gate, const char *up, const char *down,
                    gint64 width, MoeExpert *out)
{
    gint64 hidden = b->shape->hidden_size;
    return matrix(b, gate, width, hidden, &out->gate) && matrix(b, up, width, hidden, &out->up) &&
           matrix(b, down, hidden, width, &out->down);
}

/* @pattern with its one %d replaced. */
static char *of_expert(const char *pattern, gint64 e)
{
    g_autofree char *number = g_strdup_printf("%" G_GINT64_FORMAT, e);
    g_auto(GStrv) parts = g_strsplit(pattern, "%d", 2);
    return g_strjoinv(number, parts);
}

static gboolean bind_attention(const Binder *b, const MoeFamily *family, const MoeConfig *config,
                               MoeBlock *block)
{
    const MoeTensorNames *names = &family->names;
    gint64 hidden = b->shape->hidden_size;
    gint64 q_width = config->num_attention_heads * config->head_dim;
    gint64 kv_width = config->num_key_value_heads * config->head_dim;
    gboolean bias = config->attention_bias, norms = config->use_qk_norm;
    block->clip = config->clip_qkv > 0 ? (float)config->clip_qkv : 0;
    block->window = (size_t)config->sliding_window;
    return vector(b, names->attention_norm, ".weight", hidden, &block->attention_norm) &&
           vector(b, names->attention_post_norm, ".weight", hidden, &block->attention_post_norm) &&
           matrix(b, "self_attn.q_proj", q_width, hidden, &block->q) &&
           matrix(b, "self_attn.k_proj", kv_width, hidden, &block->k) &&
           matrix(b, "self_attn.v_proj", kv_width, hidden, &block->v) &&
           matrix(b, "self_attn.o_proj", hidden, q_width, &block->o) &&
           vector(b, bias ? "self_attn.q_proj" : NULL, ".bias", q_width, &block->q_bias) &&
           vector(b, bias ? "self_attn.k_proj" : NULL, ".bias", kv_width, &block->k_bias) &&
           vector(b, bias ? "self_attn.v_proj" : NULL, ".bias", kv_width, &block->v_bias) &&
           vector(b, norms ? names->q_norm : NULL, ".weight",
                  family->norm_heads ? config->head_dim : q_width, &block->q_norm) &&
           vector(b, norms ? names->k_norm : NULL, ".weight",
                  family->norm_heads ? config->head_dim : kv_width, &block->k_norm);
}

static gboolean bind_experts(const Binder *b, const MoeFamily *family, const MoeConfig *config,
                             MoeBlock *block)
{
    const MoeTensorNames *names = &family->names;
    const MoeModelShape *s = b->shape;
    block->gate = family->gate;
    block->gate.groups = (size_t)config->n_group;
    block->gate.top_groups = (size_t)config->topk_group;
    block->gate.renormalise = config->norm_topk_prob;
    block->gate.scale = (float)config->routed_scaling_factor;
    if (!matrix(b, names->router, s->num_experts, s->hidden_size, &block->router) ||
        !vector(b, names->bias, "", s->num_experts, &block->gate.bias))
        return FALSE;
    block->experts = g_new0(MoeExpert, s->num_experts);
    for (gint64 e = 0; e < s->num_experts; e++) {
        g_autofree char *gate = of_expert(names->gate, e), *up = of_expert(names->up, e);
        g_autofree char *down = of_expert(names->down, e);
        if (!ffn(b, gate, up, down, s->moe_intermediate_size, &block->experts[e]))
            return FALSE;
    }
    if (names->shared_router != NULL &&
        !matrix(b, names->shared_router, 1, s->hidden_size, &block->shared_router))
        return FALSE;
    return s->shared_expert_intermediate_size == 0 ||
           ffn(b, names->shared_gate, names->shared_up, names->shared_down,
               s->shared_expert_intermediate_size, &block->shared);
}

gboolean moe_family_bind_block(const MoeModel *model, MoeWeights *weights, int layer,
                               MoeBlock *block, GError **error)
{
    const MoeFamily *family = model->family;
    const MoeConfig *config = model->config;
    const Binder b = {&model->shape, weights, layer, error};
    gint64 hidden = model->shape.hidden_size;
    if (!bind_attention(&b, family, config, block) ||
        !vector(&b, family->names.ffn_norm, ".weight", hidden, &block->ffn_norm) ||
        !vector(&b, family->names.ffn_post_norm, ".weight", hidden, &block->ffn_post_norm))
        return FALSE;
    if (!moe_model_has_experts(&model->shape, layer))
        return ffn(&b, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", config->intermediate_size,
                   &block->dense);
    return bind_experts(&b, family, config, block);
}

char *moe_family_describe_router(const MoeModel *model)
{
    const MoeConfig *c = model->config;
    const MoeFamily *family = model->family;
    GString *text = g_string_new(family->gate.score == MOE_SCORE_SIGMOID ? "sigmoid" : "softmax");
    if (family->names.bias != NULL)
        g_string_append(text, " + correction bias");
    if (c->n_group > 1)
        g_string_append_printf(text, ", %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " groups",
                               c->topk_group, c->n_group);
    g_string_append_printf(text, ", top-%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT "%s",
                           c->num_experts_per_tok, c->num_experts,
                           c->norm_topk_prob ? ", renormalised" : "");
    if (fabs(c->routed_scaling_factor - 1) > 0)
        g_string_append_printf(text, ", times %g", c->routed_scaling_factor);
    return g_string_free(text, FALSE);
}

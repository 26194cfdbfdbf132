#include "config.h"

#include "models/family.h"

/* OLMoE (Muennighoff et al., 2024, arXiv 2409.02060), as Hugging Face transformers'
 * OlmoeForCausalLM computes it: norms over all query and all key heads together, softmax gate over
 * all experts. */

typedef struct {
    double rope_theta;
    char *rope_type;
} RopeParameters;

typedef struct {
    gint64 hidden_size, intermediate_size, num_hidden_layers, num_attention_heads,
        num_key_value_heads;
    gint64 num_experts, num_experts_per_tok, vocab_size, max_position_embeddings;
    double rms_norm_eps, rope_theta, clip_qkv;
    gboolean norm_topk_prob, tie_word_embeddings, attention_bias;
    int hidden_act;
    RopeParameters rope_parameters;
} Config;

static const char *const *activations(void)
{
    static const char *const names[] = {"silu", NULL};
    return names;
}

#define AT(member) offsetof(Config, member)
#define WIDTH      .min = 1, .max = 1 << 20

static const MoeField rope_fields[] = {
    {"rope_theta", MOE_FIELD_NUMBER, offsetof(RopeParameters, rope_theta), "", .min = 1,
     .max = 1e12},
    {"rope_type", MOE_FIELD_STRING, offsetof(RopeParameters, rope_type), "default"},
    {NULL},
};

static const MoeField fields[] = {
    {"hidden_size", MOE_FIELD_INT, AT(hidden_size), "2048", WIDTH},
    {"intermediate_size", MOE_FIELD_INT, AT(intermediate_size), "2048", WIDTH},
    {"num_hidden_layers", MOE_FIELD_INT, AT(num_hidden_layers), "16", .min = 1, .max = 4096},
    {"num_attention_heads", MOE_FIELD_INT, AT(num_attention_heads), "16", WIDTH},
    {"num_key_value_heads", MOE_FIELD_INT, AT(num_key_value_heads), "", WIDTH},
    {"num_experts", MOE_FIELD_INT, AT(num_experts), "64", .min = 1, .max = 65535},
    {"num_experts_per_tok", MOE_FIELD_INT, AT(num_experts_per_tok), "8", .min = 1, .max = 256},
    {"vocab_size", MOE_FIELD_INT, AT(vocab_size), "50304", .min = 1, .max = 1 << 24},
    {"max_position_embeddings", MOE_FIELD_INT, AT(max_position_embeddings), "4096", .min = 1,
     .max = 1 << 30},
    {"rms_norm_eps", MOE_FIELD_NUMBER, AT(rms_norm_eps), "1e-5", .min = 1e-30, .max = 1},
    {"rope_theta", MOE_FIELD_NUMBER, AT(rope_theta), "", .min = 1, .max = 1e12},
    {"rope_parameters", MOE_FIELD_MAP, AT(rope_parameters), .fields = rope_fields},
    {"clip_qkv", MOE_FIELD_NUMBER, AT(clip_qkv), "", .min = 1e-6, .max = 1e6},
    {"norm_topk_prob", MOE_FIELD_BOOL, AT(norm_topk_prob), "false"},
    {"tie_word_embeddings", MOE_FIELD_BOOL, AT(tie_word_embeddings), "false"},
    {"attention_bias", MOE_FIELD_BOOL, AT(attention_bias), "false"},
    {"hidden_act", MOE_FIELD_CHOICE, AT(hidden_act), "silu", .choices = activations},
    {"attention_dropout", MOE_FIELD_IGNORED},
    {"rope_scaling", MOE_FIELD_IGNORED}, /* refused below unless null */
    {NULL},
};

static gboolean check(const MoeNode *root, Config *config, GError **error)
{
    const MoeNode *scaling = moe_node_get(root, "rope_scaling");
    if (scaling != NULL && !moe_node_is_null(scaling))
        return moe_node_fail(scaling, error, "rope_scaling: OLMoE is supported without it (null)");
    if (g_strcmp0(config->rope_parameters.rope_type, "default") != 0)
        return moe_node_fail(root, error,
                             "rope_parameters: rope_type '%s' is not supported; 'default' is",
                             config->rope_parameters.rope_type);
    if (config->attention_bias)
        return moe_node_fail(root, error, "attention_bias: OLMoE is supported without it (false)");
    if (config->hidden_size % config->num_attention_heads != 0)
        return moe_node_fail(root, error,
                             "hidden_size: %" G_GINT64_FORMAT
                             " is not a multiple of num_attention_heads %" G_GINT64_FORMAT,
                             config->hidden_size, config->num_attention_heads);
    if (config->hidden_size / config->num_attention_heads % 2 != 0)
        return moe_node_fail(root, error, "hidden_size: RoPE needs heads of even width");
    return TRUE;
}

static gboolean configure(const MoeNode *root, MoeModel *model, GError **error)
{
    Config *config = g_new0(Config, 1);
    model->config = config;
    if (!moe_family_read(fields, root, config, error))
        return FALSE;
    gboolean good = check(root, config, error);
    g_clear_pointer(&config->rope_parameters.rope_type, g_free);
    if (!good)
        return FALSE;
    /* The newer files say rope_parameters.rope_theta, the older rope_theta. */
    if (!(config->rope_theta > 0))
        config->rope_theta = config->rope_parameters.rope_theta;
    if (!(config->rope_theta > 0))
        config->rope_theta = 10000;
    if (config->num_key_value_heads == 0)
        config->num_key_value_heads = config->num_attention_heads;
    model->shape = (MoeModelShape){
        .hidden_size = config->hidden_size,
        .num_hidden_layers = config->num_hidden_layers,
        .vocab_size = config->vocab_size,
        .attention = MOE_ATTENTION_GQA,
        .num_attention_heads = config->num_attention_heads,
        .num_key_value_heads = config->num_key_value_heads,
        .head_dim = config->hidden_size / config->num_attention_heads,
        .num_experts = config->num_experts,
        .num_experts_per_tok = config->num_experts_per_tok,
        .moe_intermediate_size = config->intermediate_size,
        .max_position_embeddings = config->max_position_embeddings,
        .tie_word_embeddings = config->tie_word_embeddings,
    };
    return TRUE;
}

static gboolean bind_ends(const MoeModel *model, MoeWeights *weights, MoeEnds *ends, GError **error)
{
    const MoeModelShape *s = &model->shape;
    const Config *config = model->config;
    ends->norm_eps = (float)config->rms_norm_eps;
    ends->rope_theta = config->rope_theta;
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
    MoeWeights *weights;
    int layer;
    GError **error;
} Binder;

static gboolean matrix(const Binder *b, const char *name, gint64 rows, gint64 cols, MoeMatrix *out)
{
    g_autofree char *full = g_strdup_printf("model.layers.%d.%s.weight", b->layer, name);
    return moe_weights_matrix(b->weights, full, rows, cols, out, b->error);
}

static gboolean vector(const Binder *b, const char *name, gint64 n, const float **out)
{
    g_autofree char *full = g_strdup_printf("model.layers.%d.%s.weight", b->layer, name);
    *out = moe_weights_vector(b->weights, full, n, b->error);
    return *out != NULL;
}

static gboolean expert(const Binder *b, const MoeModelShape *s, gint64 e, MoeExpert *out)
{
    g_autofree char *gate = g_strdup_printf("mlp.experts.%" G_GINT64_FORMAT ".gate_proj", e);
    g_autofree char *up = g_strdup_printf("mlp.experts.%" G_GINT64_FORMAT ".up_proj", e);
    g_autofree char *down = g_strdup_printf("mlp.experts.%" G_GINT64_FORMAT ".down_proj", e);
    gint64 hidden = s->hidden_size, width = s->moe_intermediate_size;
    return matrix(b, gate, width, hidden, &out->gate) && matrix(b, up, width, hidden, &out->up) &&
           matrix(b, down, hidden, width, &out->down);
}

static gboolean bind_block(const MoeModel *model, MoeWeights *weights, int layer, MoeBlock *block,
                           GError **error)
{
    const MoeModelShape *s = &model->shape;
    const Config *config = model->config;
    const Binder b = {weights, layer, error};
    gint64 hidden = s->hidden_size;
    gint64 q_width = s->num_attention_heads * s->head_dim,
           kv_width = s->num_key_value_heads * s->head_dim;
    block->clip = config->clip_qkv > 0 ? (float)config->clip_qkv : 0;
    block->gate = (MoeGate){.renormalise = config->norm_topk_prob, .scale = 1};
    if (!vector(&b, "input_layernorm", hidden, &block->attention_norm) ||
        !matrix(&b, "self_attn.q_proj", q_width, hidden, &block->q) ||
        !matrix(&b, "self_attn.k_proj", kv_width, hidden, &block->k) ||
        !matrix(&b, "self_attn.v_proj", kv_width, hidden, &block->v) ||
        !matrix(&b, "self_attn.o_proj", hidden, q_width, &block->o) ||
        !vector(&b, "self_attn.q_norm", q_width, &block->q_norm) ||
        !vector(&b, "self_attn.k_norm", kv_width, &block->k_norm) ||
        !vector(&b, "post_attention_layernorm", hidden, &block->ffn_norm) ||
        !matrix(&b, "mlp.gate", s->num_experts, hidden, &block->router))
        return FALSE;
    block->experts = g_new0(MoeExpert, s->num_experts);
    for (gint64 e = 0; e < s->num_experts; e++)
        if (!expert(&b, s, e, &block->experts[e]))
            return FALSE;
    return TRUE;
}

static char *describe_router(const MoeModel *model)
{
    const Config *config = model->config;
    return g_strdup_printf("softmax, top-%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT "%s",
                           config->num_experts_per_tok, config->num_experts,
                           config->norm_topk_prob ? ", renormalised" : "");
}

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_olmoe = {
    .model_type = "olmoe",
    .title = "OLMoE",
    .configure = configure,
    .bind_ends = bind_ends,
    .bind_block = bind_block,
    .describe_router = describe_router,
    .ignored_tensors = ignored_tensors,
};

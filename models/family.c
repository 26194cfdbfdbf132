#include "config.h"

#include "models/family.h"

#include <math.h>
#include <string.h>

static const MoeFamily *const families[] = {
    &moe_family_dbrx,       &moe_family_deepseek_v2,   &moe_family_deepseek_v3,
    &moe_family_dots1,      &moe_family_ernie4_5,      &moe_family_flex_olmo,
    &moe_family_glm4_moe,   &moe_family_glm4_moe_lite, &moe_family_gpt_oss,
    &moe_family_granitemoe, &moe_family_hunyuan,       &moe_family_llama,
    &moe_family_llama4,     &moe_family_longcat_flash, &moe_family_mimo_v2_flash,
    &moe_family_minimax_m2, &moe_family_mixtral,       &moe_family_olmoe,
    &moe_family_phimoe,     &moe_family_qwen2_moe,     &moe_family_qwen3_moe,
    &moe_family_switch,
};

/* What every family reads beside its own fields. */
typedef struct {
    MoeConfig config; /* first: the families' fields count from it */
    int hidden_act;
} File;

static const char *const *activations(void)
{
    static const char *const names[] = {"silu", NULL};
    return names;
}

static const MoeField common_fields[] = {
    MOE_CONFIG_NUMBER("rope_theta", rope_theta, "", 1, 1e12),
    {"rope_parameters", MOE_FIELD_IGNORED}, /* read by moe_rope_read() */
    {"rope_scaling", MOE_FIELD_IGNORED},
    {"hidden_act", MOE_FIELD_CHOICE, offsetof(File, hidden_act), "silu", .choices = activations},
    MOE_CONFIG_BOOL("tie_word_embeddings", tie_word_embeddings, "false"),
    /* What says nothing about the forward pass. */
    {"attention_dropout", MOE_FIELD_IGNORED},
    {"_name_or_path", MOE_FIELD_IGNORED},
    {"architectures", MOE_FIELD_IGNORED},
    {"auto_map", MOE_FIELD_IGNORED},
    {"bos_token_id", MOE_FIELD_IGNORED},
    {"dtype", MOE_FIELD_IGNORED}, /* read by moe_quantization_read(), as the next */
    {"quantization_config", MOE_FIELD_IGNORED},
    {"eos_token_id", MOE_FIELD_IGNORED},
    {"initializer_range", MOE_FIELD_IGNORED},
    {"model_type", MOE_FIELD_IGNORED},
    {"output_router_logits", MOE_FIELD_IGNORED},
    {"pad_token_id", MOE_FIELD_IGNORED},
    {"router_aux_loss_coef", MOE_FIELD_IGNORED},
    {"torch_dtype", MOE_FIELD_IGNORED},
    {"transformers_version", MOE_FIELD_IGNORED},
    {"use_cache", MOE_FIELD_IGNORED},
    {NULL},
};

const char *const *moe_family_names(void)
{
    static const char *names[G_N_ELEMENTS(families) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++)
        names[i] = families[i]->model_type;
    return names;
}

const MoeFamily *moe_family_find(const MoeNode *config, GError **error)
{
    const MoeNode *type = moe_node_get(config, "model_type");
    if (type == NULL || type->kind != MOE_NODE_SCALAR) {
        moe_node_fail(config, error, "model_type: missing; it names the architecture");
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++)
        if (strcmp(families[i]->model_type, type->text) == 0 ||
            g_strcmp0(families[i]->wrapper, type->text) == 0 ||
            (families[i]->aliases != NULL && g_strv_contains(families[i]->aliases, type->text)))
            return families[i];
    g_autofree char *all = g_strjoinv(", ", (char **)moe_family_names());
    moe_node_fail(type, error, "model_type: the family '%s' is not supported; supported: %s",
                  type->text, all);
    return NULL;
}

const MoeFamily *moe_family_find_gguf(const char *architecture, gboolean has_experts,
                                      gboolean has_bias)
{
    const MoeFamily *found = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
        const MoeFamily *family = families[i];
        if (g_strcmp0(family->gguf.architecture, architecture) == 0 &&
            (family->names.router != NULL) == has_experts &&
            (found == NULL || (family->names.bias != NULL) == has_bias))
            found = family;
    }
    return found;
}

char *moe_family_architectures(void)
{
    const char *names[G_N_ELEMENTS(families) + 1] = {NULL};
    size_t n = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
        const char *name = families[i]->gguf.architecture;
        if (name != NULL && !g_strv_contains(names, name))
            names[n++] = name;
    }
    return g_strjoinv(", ", (char **)names);
}

static const char *or_usual(const char *name, const char *usual)
{
    return name != NULL ? name : usual;
}

MoeTensorNames moe_family_names_of(const MoeFamily *family)
{
    MoeTensorNames n = family->names;
    n.block = or_usual(n.block, "model.layers");
    n.embedding = or_usual(n.embedding, "model.embed_tokens");
    n.final_norm = or_usual(n.final_norm, "model.norm");
    n.head = or_usual(n.head, "lm_head");
    n.attention = or_usual(n.attention, "self_attn.");
    n.q = or_usual(n.q, "q_proj");
    n.k = or_usual(n.k, "k_proj");
    n.v = or_usual(n.v, "v_proj");
    n.o = or_usual(n.o, "o_proj");
    n.q_a = or_usual(n.q_a, "q_a_proj");
    n.q_b = or_usual(n.q_b, "q_b_proj");
    n.kv_a = or_usual(n.kv_a, "kv_a_proj_with_mqa");
    n.kv_b = or_usual(n.kv_b, "kv_b_proj");
    n.q_a_norm = or_usual(n.q_a_norm, "q_a_layernorm");
    n.kv_a_norm = or_usual(n.kv_a_norm, "kv_a_layernorm");
    n.dense_gate = or_usual(n.dense_gate, "mlp.gate_proj");
    n.dense_up = or_usual(n.dense_up, "mlp.up_proj");
    n.dense_down = or_usual(n.dense_down, "mlp.down_proj");
    return n;
}

static gboolean read_file(const MoeFamily *family, const MoeNode *root, File *file, GError **error)
{
    g_autoptr(GArray) all = g_array_new(TRUE, TRUE, sizeof(MoeField));
    for (const MoeField *field = family->fields; field->name != NULL; field++)
        g_array_append_val(all, *field);
    for (const MoeField *field = common_fields; field->name != NULL; field++)
        g_array_append_val(all, *field);
    return moe_fields_read((const MoeField *)(const void *)all->data, root, "config.json", file,
                           error);
}

gboolean moe_config_only(const MoeNode *root, const char *key, const char *value,
                         const MoeFamily *family, GError **error)
{
    const MoeNode *node = moe_node_get(root, key);
    if (node == NULL || moe_node_is_null(node) ||
        (node->kind == MOE_NODE_SCALAR && strcmp(node->text, value) == 0))
        return TRUE;
    g_autofree char *what = moe_node_describe(node);
    return moe_node_fail(node, error, "%s: %s is not supported for %s; %s is", key, what,
                         family->title, value);
}

gboolean moe_config_only_items(const MoeNode *root, const char *key, const char *value,
                               const MoeFamily *family, GError **error)
{
    const MoeNode *list = moe_node_get(root, key);
    if (list == NULL || moe_node_is_null(list))
        return TRUE;
    if (list->kind != MOE_NODE_LIST)
        return moe_node_fail(list, error, "%s: not a list", key);
    for (guint i = 0; i < list->items->len; i++) {
        const MoeNode *item = g_ptr_array_index(list->items, i);
        if (item->kind != MOE_NODE_SCALAR || strcmp(item->text, value) != 0)
            return moe_node_fail(item, error, "%s: %s is supported with %s alone", key,
                                 family->title, value);
    }
    return TRUE;
}

gboolean moe_block_set_has(const MoeBlockSet *set, gint64 block)
{
    return (set->words[block / 64] >> block % 64 & 1) != 0;
}

void moe_block_set_put(MoeBlockSet *set, gint64 block, gboolean in)
{
    guint64 bit = G_GUINT64_CONSTANT(1) << block % 64;
    set->words[block / 64] = in ? set->words[block / 64] | bit : set->words[block / 64] & ~bit;
}

gboolean moe_config_mark(const MoeNode *root, const char *key, const char *in, const char *out,
                         const MoeConfig *config, MoeBlockSet *set, GError **error)
{
    const MoeNode *list = moe_node_get(root, key);
    if (list == NULL || moe_node_is_null(list))
        return TRUE;
    if (list->kind != MOE_NODE_LIST || list->items->len != config->num_hidden_layers)
        return moe_node_fail(
            list, error, "%s: not a list of one value for each of the %" G_GINT64_FORMAT " blocks",
            key, config->num_hidden_layers);
    for (guint l = 0; l < list->items->len; l++) {
        const MoeNode *item = g_ptr_array_index(list->items, l);
        const char *text = item->kind == MOE_NODE_SCALAR ? item->text : "";
        if (strcmp(text, in) != 0 && strcmp(text, out) != 0)
            return moe_node_fail(item, error, "%s: neither %s nor %s", key, in, out);
        moe_block_set_put(set, l, strcmp(text, in) == 0);
    }
    return TRUE;
}

gboolean moe_config_mark_indices(const MoeNode *root, const char *key, const MoeConfig *config,
                                 MoeBlockSet *set, GError **error)
{
    const MoeNode *list = moe_node_get(root, key);
    if (list == NULL || moe_node_is_null(list))
        return TRUE;
    if (list->kind != MOE_NODE_LIST)
        return moe_node_fail(list, error, "%s: not a list of blocks' indices", key);
    for (guint i = 0; i < list->items->len; i++) {
        const MoeNode *item = g_ptr_array_index(list->items, i);
        guint64 l;
        if (item->kind != MOE_NODE_SCALAR ||
            !g_ascii_string_to_unsigned(item->text, 10, 0, (guint64)config->num_hidden_layers - 1,
                                        &l, NULL))
            return moe_node_fail(item, error, "%s: not the index of a block", key);
        moe_block_set_put(set, (gint64)l, TRUE);
    }
    return TRUE;
}

static double or_else(double value, double fallback)
{
    return isnan(value) ? fallback : value;
}

static gboolean fill_heads(const MoeNode *root, MoeConfig *c, GError **error)
{
    if (c->num_key_value_heads == 0)
        c->num_key_value_heads = c->num_attention_heads;
    if (c->kv_lora_rank > 0)
        return TRUE; /* head_dim is not MLA's */
    if (c->head_dim == 0 && c->hidden_size % c->num_attention_heads != 0)
        return moe_node_fail(root, error,
                             "hidden_size: %" G_GINT64_FORMAT
                             " is not a multiple of num_attention_heads %" G_GINT64_FORMAT,
                             c->hidden_size, c->num_attention_heads);
    if (c->head_dim == 0)
        c->head_dim = c->hidden_size / c->num_attention_heads;
    if (c->v_head_dim == 0)
        c->v_head_dim = c->head_dim;
    return TRUE;
}

/* What local blocks do not say is as in the others. */
static gboolean fill_local(const MoeNode *root, MoeConfig *c, GError **error)
{
    c->local_key_value_heads =
        c->local_key_value_heads > 0 ? c->local_key_value_heads : c->num_key_value_heads;
    c->local_head_dim = c->local_head_dim > 0 ? c->local_head_dim : c->head_dim;
    c->local_v_head_dim = c->local_v_head_dim > 0 ? c->local_v_head_dim : c->v_head_dim;
    c->local_rope_theta = or_else(c->local_rope_theta, c->rope_theta);
    if (c->local_key_value_heads == c->num_key_value_heads ||
        c->num_attention_heads % c->local_key_value_heads == 0)
        return TRUE;
    return moe_node_fail(root, error,
                         "num_attention_heads: %" G_GINT64_FORMAT
                         " is not a multiple of the %" G_GINT64_FORMAT
                         " key/value heads of blocks with a window",
                         c->num_attention_heads, c->local_key_value_heads);
}

static gboolean read_ropes(const MoeNode *root, MoeConfig *c, GError **error)
{
    gboolean mla = c->kv_lora_rank > 0;
    if (c->relative_buckets > 0) {
        c->ropes[0].softmax_scale = c->ropes[1].softmax_scale = 1;
        return TRUE;
    }
    for (int local = 0; local < 2; local++) {
        const MoeRopeContext context = {
            .theta = local ? c->local_rope_theta : c->rope_theta,
            .partial = mla ? NAN : c->partial_rotary_factor,
            .head_dim = mla     ? c->qk_rope_head_dim
                        : local ? c->local_head_dim
                                : c->head_dim,
            .original = c->original_max_position_embeddings,
            .context = c->max_position_embeddings,
            .rotary_dim = c->rotary_dim,
        };
        if (!moe_rope_read(root, local ? "sliding_attention" : "full_attention", &context,
                           &c->ropes[local], error))
            return FALSE;
    }
    return TRUE;
}

static gboolean check_groups(const MoeNode *root, const MoeConfig *c, GError **error)
{
    const MoeNode *open = moe_node_get(root, "topk_group");
    if (c->n_group <= 1)
        return open == NULL || c->topk_group <= MAX(c->n_group, 1) ||
               moe_node_fail(open, error,
                             "topk_group: %" G_GINT64_FORMAT
                             " groups open, but n_group is %" G_GINT64_FORMAT "; write 1",
                             c->topk_group, c->n_group);
    if (c->topk_group < 1 || c->topk_group > c->n_group || c->num_experts % c->n_group != 0 ||
        c->num_experts / c->n_group < 2 ||
        c->num_experts / c->n_group * c->topk_group < c->num_experts_per_tok)
        return moe_node_fail(root, error,
                             "n_group: %" G_GINT64_FORMAT " groups, %" G_GINT64_FORMAT
                             " of them open, do not go with %" G_GINT64_FORMAT
                             " experts, %" G_GINT64_FORMAT " per token",
                             c->n_group, c->topk_group, c->num_experts, c->num_experts_per_tok);
    return TRUE;
}

/* Blocks that the family, first_k_dense_replace or Qwen's decoder_sparse_step leave without experts.
 */
static void fill_dense_blocks(MoeConfig *c)
{
    for (gint64 l = 0; l < c->num_hidden_layers; l++)
        if (c->names.router == NULL || l < c->first_k_dense_replace ||
            (c->decoder_sparse_step > 1 && (l + 1) % c->decoder_sparse_step != 0))
            moe_block_set_put(&c->dense, l, TRUE);
}

static void fill_shape(const MoeConfig *c, MoeModelShape *shape)
{
    gboolean dense = c->names.router == NULL, widths = c->moe_intermediate_size > 0 || dense;
    gint64 width = dense ? 0 : widths ? c->moe_intermediate_size : c->intermediate_size;
    gint64 first = 0;
    while (first < c->num_hidden_layers && moe_block_set_has(&c->dense, first))
        first++;
    if (first == c->num_hidden_layers)
        first = 0; /* the blocks' own bits say that all are dense */
    *shape = (MoeModelShape){
        .hidden_size = c->hidden_size,
        .num_hidden_layers = c->num_hidden_layers,
        .encoder_layers = c->encoder_layers,
        .vocab_size = c->vocab_size,
        .attention = c->kv_lora_rank > 0 ? MOE_ATTENTION_MLA : MOE_ATTENTION_GQA,
        .num_attention_heads = c->num_attention_heads,
        .num_key_value_heads = c->num_key_value_heads,
        .head_dim = c->head_dim,
        .q_lora_rank = c->q_lora_rank,
        .kv_lora_rank = c->kv_lora_rank,
        .qk_nope_head_dim = c->qk_nope_head_dim,
        .qk_rope_head_dim = c->qk_rope_head_dim,
        .v_head_dim = c->v_head_dim,
        .attentions_per_block = c->parts,
        .num_experts = c->num_experts,
        .identity_experts = c->identity_experts,
        .num_experts_per_tok = c->num_experts_per_tok,
        .moe_intermediate_size = width,
        .shared_expert_intermediate_size =
            width * c->n_shared_experts + c->shared_expert_intermediate_size,
        .first_k_dense_replace = first,
        .intermediate_size = widths ? c->intermediate_size : 0,
        .ffn_matrices = c->ungated ? 2 : 3,
        .max_position_embeddings = c->max_position_embeddings,
        .tie_word_embeddings = c->tie_word_embeddings,
        .dtype = (int)c->quantization.dtype,
    };
    memcpy(shape->dense_blocks, c->dense.words, sizeof(shape->dense_blocks));
}

/* What config.json leaves out, where zero is not what that means. */
static void fill_defaults(MoeConfig *c)
{
    c->routed_scaling_factor = or_else(c->routed_scaling_factor, 1);
    c->embedding_multiplier = or_else(c->embedding_multiplier, 1);
    c->residual_multiplier = or_else(c->residual_multiplier, 1);
    c->logits_scaling = or_else(c->logits_scaling, 1);
    c->attention_value_scale = or_else(c->attention_value_scale, 1);
    c->parts = MAX(c->parts, 1);
    for (int i = 0; i < 2; i++)
        c->latent_scale[i] = c->latent_scale[i] > 0 ? c->latent_scale[i] : 1;
}

/* The language model's part of a file that holds more. */
static const MoeNode *unwrap(const MoeNode *root, const MoeFamily *family, GError **error)
{
    const MoeNode *type = moe_node_get(root, "model_type");
    if (family->wrapper == NULL || g_strcmp0(type->text, family->wrapper) != 0)
        return root;
    const MoeNode *inner = moe_node_get(root, "text_config");
    if (inner != NULL && inner->kind == MOE_NODE_MAP)
        return inner;
    moe_node_fail(root, error, "text_config: missing; %s describes its language model there",
                  family->wrapper);
    return NULL;
}

gboolean moe_family_complete(MoeNode *config, const MoeFamily *family, GError **error)
{
    const MoeNode *type = moe_node_get(config, "model_type");
    MoeNode *root = config;
    if (family->wrapper != NULL && g_strcmp0(type->text, family->wrapper) == 0)
        root = moe_node_get(config, "text_config");
    if (root == NULL || root->kind != MOE_NODE_MAP)
        return TRUE; /* refused elsewhere */
    for (const char *const *key = family->usual; key != NULL && *key != NULL; key += 2) {
        if (moe_node_get(root, key[0]) != NULL)
            continue;
        MoeNode *name = moe_node_new(MOE_NODE_SCALAR, key[0], root->file, root->line, root->column);
        MoeNode *value =
            moe_node_new(MOE_NODE_SCALAR, key[1], root->file, root->line, root->column);
        if (!moe_node_append_take(root, name, value, error))
            return FALSE;
    }
    return TRUE;
}

gboolean moe_family_configure(const MoeNode *whole, MoeModel *model, GError **error)
{
    const MoeFamily *family = model->family;
    const MoeNode *root = unwrap(whole, family, error);
    File file = {.config = {.routed_scaling_factor = NAN,
                            .partial_rotary_factor = NAN,
                            .rope_theta = NAN,
                            .local_rope_theta = NAN,
                            .embedding_multiplier = NAN,
                            .residual_multiplier = NAN,
                            .attention_multiplier = NAN,
                            .logits_scaling = NAN,
                            .attention_value_scale = NAN}};
    if (root == NULL || !read_file(family, root, &file, error) ||
        !moe_quantization_read(whole, &file.config.quantization, error))
        return FALSE;
    file.config.wrapped = root != whole;
    file.config.names = moe_family_names_of(family);
    file.config.layout = family->layout;
    file.config.rope_pairs = family->rope_pairs;
    MoeConfig *config = g_memdup2(&file.config, sizeof(*config));
    model->config = config;
    fill_dense_blocks(config);
    if ((family->check != NULL && !family->check(root, config, error)) ||
        !moe_config_mark_indices(root, "mlp_only_layers", config, &config->dense, error) ||
        !moe_config_mark(root, "mlp_layer_types", "dense", "sparse", config, &config->dense,
                         error) ||
        !fill_heads(root, config, error) || !check_groups(root, config, error))
        return FALSE;
    fill_defaults(config);
    if (!fill_local(root, config, error) || !read_ropes(root, config, error))
        return FALSE;
    fill_shape(config, &model->shape);
    return TRUE;
}

guint32 moe_family_decoder_start(const MoeModel *model)
{
    const MoeConfig *config = model->config;
    return (guint32)config->decoder_start;
}

#include "config.h"

#include "models/family.h"

#include <math.h>
#include <string.h>

static const MoeFamily *const families[] = {
    &moe_family_dots1,   &moe_family_flex_olmo,  &moe_family_glm4_moe,
    &moe_family_hunyuan, &moe_family_minimax_m2, &moe_family_mixtral,
    &moe_family_olmoe,   &moe_family_qwen2_moe,  &moe_family_qwen3_moe,
};

/* What every family reads beside its own fields. */
typedef struct {
    double rope_theta, partial_rotary_factor;
    char *rope_type;
} RopeParameters;

typedef struct {
    MoeConfig config; /* first: the families' fields count from it */
    RopeParameters rope;
    int hidden_act;
} File;

static const char *const *activations(void)
{
    static const char *const names[] = {"silu", NULL};
    return names;
}

#define ROPE_AT(MEMBER) offsetof(RopeParameters, MEMBER)
static const MoeField rope_fields[] = {
    {"rope_theta", MOE_FIELD_NUMBER, ROPE_AT(rope_theta), "", .min = 1, .max = 1e12},
    {"rope_type", MOE_FIELD_STRING, ROPE_AT(rope_type), "default"},
    {"partial_rotary_factor", MOE_FIELD_NUMBER, ROPE_AT(partial_rotary_factor), "", .min = 1e-3,
     .max = 1},
    {NULL},
};

static const MoeField common_fields[] = {
    MOE_CONFIG_NUMBER("rope_theta", rope_theta, "", 1, 1e12),
    {"rope_parameters", MOE_FIELD_MAP, offsetof(File, rope), .fields = rope_fields},
    {"hidden_act", MOE_FIELD_CHOICE, offsetof(File, hidden_act), "silu", .choices = activations},
    MOE_CONFIG_BOOL("tie_word_embeddings", tie_word_embeddings, "false"),
    {"rope_scaling", MOE_FIELD_IGNORED}, /* refused below unless null */
    /* What says nothing about the forward pass. */
    {"attention_dropout", MOE_FIELD_IGNORED},
    {"_name_or_path", MOE_FIELD_IGNORED},
    {"architectures", MOE_FIELD_IGNORED},
    {"bos_token_id", MOE_FIELD_IGNORED},
    {"dtype", MOE_FIELD_IGNORED}, /* read by moe_family_dtype() */
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
        if (strcmp(families[i]->model_type, type->text) == 0)
            return families[i];
    g_autofree char *all = g_strjoinv(", ", (char **)moe_family_names());
    moe_node_fail(type, error, "model_type: the family '%s' is not supported; supported: %s",
                  type->text, all);
    return NULL;
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

static gboolean check_rope(const MoeFamily *family, const MoeNode *root, const File *file,
                           GError **error)
{
    const MoeNode *scaling = moe_node_get(root, "rope_scaling");
    if (scaling != NULL && !moe_node_is_null(scaling))
        return moe_node_fail(scaling, error, "rope_scaling: %s is supported without it (null)",
                             family->title);
    if (g_strcmp0(file->rope.rope_type, "default") != 0)
        return moe_node_fail(root, error,
                             "rope_parameters: rope_type '%s' is not supported; 'default' is",
                             file->rope.rope_type);
    return TRUE;
}

/* The newer files say rope_parameters.rope_theta, the older rope_theta. */
static double first_known(double a, double b, double fallback)
{
    return !isnan(a) ? a : !isnan(b) ? b : fallback;
}

static gboolean fill_heads(const MoeNode *root, MoeConfig *c, GError **error)
{
    if (c->num_key_value_heads == 0)
        c->num_key_value_heads = c->num_attention_heads;
    if (c->head_dim == 0 && c->hidden_size % c->num_attention_heads != 0)
        return moe_node_fail(root, error,
                             "hidden_size: %" G_GINT64_FORMAT
                             " is not a multiple of num_attention_heads %" G_GINT64_FORMAT,
                             c->hidden_size, c->num_attention_heads);
    const char *key = c->head_dim == 0 ? "hidden_size" : "head_dim";
    if (c->head_dim == 0)
        c->head_dim = c->hidden_size / c->num_attention_heads;
    if (moe_config_rotary_dim(c) % 2 != 0 || moe_config_rotary_dim(c) == 0)
        return moe_node_fail(root, error, "%s: RoPE needs heads of even width", key);
    return TRUE;
}

static gboolean check_groups(const MoeNode *root, const MoeConfig *c, GError **error)
{
    if (c->n_group <= 1)
        return TRUE;
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

/* Blocks that Qwen's decoder_sparse_step and mlp_only_layers leave without experts. */
static gboolean fill_dense_blocks(const MoeNode *root, const MoeConfig *c, MoeModelShape *shape,
                                  GError **error)
{
    for (gint64 l = 0; l < c->num_hidden_layers && c->decoder_sparse_step > 1; l++)
        if ((l + 1) % c->decoder_sparse_step != 0)
            shape->dense_blocks[l / 64] |= G_GUINT64_CONSTANT(1) << l % 64;
    const MoeNode *list = moe_node_get(root, "mlp_only_layers");
    for (guint i = 0; list != NULL && list->kind == MOE_NODE_LIST && i < list->items->len; i++) {
        const MoeNode *item = g_ptr_array_index(list->items, i);
        guint64 l;
        if (item->kind != MOE_NODE_SCALAR ||
            !g_ascii_string_to_unsigned(item->text, 10, 0, (guint64)c->num_hidden_layers - 1, &l,
                                        NULL))
            return moe_node_fail(item, error, "mlp_only_layers: not the index of a block");
        shape->dense_blocks[l / 64] |= G_GUINT64_CONSTANT(1) << l % 64;
    }
    return TRUE;
}

static void fill_shape(const MoeConfig *c, MoeModelShape *shape)
{
    gint64 width = c->moe_intermediate_size > 0 ? c->moe_intermediate_size : c->intermediate_size;
    *shape = (MoeModelShape){
        .hidden_size = c->hidden_size,
        .num_hidden_layers = c->num_hidden_layers,
        .vocab_size = c->vocab_size,
        .attention = MOE_ATTENTION_GQA,
        .num_attention_heads = c->num_attention_heads,
        .num_key_value_heads = c->num_key_value_heads,
        .head_dim = c->head_dim,
        .num_experts = c->num_experts,
        .num_experts_per_tok = c->num_experts_per_tok,
        .moe_intermediate_size = width,
        .shared_expert_intermediate_size =
            width * c->n_shared_experts + c->shared_expert_intermediate_size,
        .first_k_dense_replace = c->first_k_dense_replace,
        .intermediate_size = c->moe_intermediate_size > 0 ? c->intermediate_size : 0,
        .max_position_embeddings = c->max_position_embeddings,
        .tie_word_embeddings = c->tie_word_embeddings,
    };
}

gint64 moe_config_rotary_dim(const MoeConfig *config)
{
    return (gint64)((double)config->head_dim * config->partial_rotary_factor);
}

gboolean moe_family_configure(const MoeNode *root, MoeModel *model, GError **error)
{
    const MoeFamily *family = model->family;
    File file = {.config = {.routed_scaling_factor = NAN, .partial_rotary_factor = NAN}};
    if (!read_file(family, root, &file, error))
        return FALSE;
    MoeConfig *config = g_memdup2(&file.config, sizeof(*config));
    model->config = config;
    gboolean good = check_rope(family, root, &file, error);
    g_free(file.rope.rope_type);
    config->rope_theta = first_known(config->rope_theta, file.rope.rope_theta, 10000);
    config->partial_rotary_factor =
        first_known(config->partial_rotary_factor, file.rope.partial_rotary_factor, 1);
    config->routed_scaling_factor = first_known(config->routed_scaling_factor, NAN, 1);
    if (!good || (family->check != NULL && !family->check(root, config, error)) ||
        !fill_heads(root, config, error) || !check_groups(root, config, error))
        return FALSE;
    fill_shape(config, &model->shape);
    return fill_dense_blocks(root, config, &model->shape, error);
}

gboolean moe_family_dtype(const MoeNode *config, MoeDtype *dtype_out, GError **error)
{
    static const struct {
        const char *name;
        MoeDtype dtype;
    } names[] = {{"float32", MOE_F32}, {"float16", MOE_F16}, {"bfloat16", MOE_BF16}};
    const MoeNode *node = moe_node_get(config, "dtype");
    if (node == NULL)
        node = moe_node_get(config, "torch_dtype");
    *dtype_out = MOE_BF16;
    if (node == NULL || moe_node_is_null(node))
        return TRUE;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (node->kind == MOE_NODE_SCALAR && strcmp(names[i].name, node->text) == 0) {
            *dtype_out = names[i].dtype;
            return TRUE;
        }
    }
    g_autofree char *what = moe_node_describe(node);
    return moe_node_fail(node, error,
                         "dtype: %s is not supported; bfloat16, float16 and float32 are", what);
}

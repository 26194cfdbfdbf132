#include "config.h"

#include "models/family.h"

#include <math.h>
#include <string.h>

/* Switch Transformers (Fedus et al., 2021, arXiv 2101.03961), as Hugging Face transformers'
 * SwitchTransformersForConditionalGeneration computes it: T5's encoder and decoder, with relative
 * positions and unscaled scores; experts in every other block or so, one per token, each for at most
 * expert_capacity tokens of a sequence. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("d_model", hidden_size, "768"),
    MOE_CONFIG_WIDTH("d_kv", head_dim, "64"),
    MOE_CONFIG_WIDTH("d_ff", intermediate_size, "2048"),
    MOE_CONFIG_COUNT("num_layers", encoder_layers, "12", 2048),
    MOE_CONFIG_COUNT("num_decoder_layers", num_hidden_layers, "12", 2048), /* the sum, below */
    MOE_CONFIG_WIDTH("num_heads", num_attention_heads, "12"),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "32128", 1 << 24),
    MOE_CONFIG_COUNT("n_positions", max_position_embeddings, "512", 1 << 30),
    MOE_CONFIG_NUMBER("layer_norm_epsilon", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_COUNT("num_experts", num_experts, "8", 65535),
    MOE_CONFIG_COUNT("expert_capacity", expert_capacity, "64", 1 << 30),
    MOE_CONFIG_BOOL("router_bias", router_bias, "false"),
    {"relative_attention_num_buckets", MOE_FIELD_INT, MOE_CONFIG_AT(relative_buckets), "32",
     .min = 4, .max = 1 << 16},
    {"relative_attention_max_distance", MOE_FIELD_INT, MOE_CONFIG_AT(relative_far), "128", .min = 2,
     .max = 1 << 20},
    /* Read below. */
    {"num_sparse_encoder_layers", MOE_FIELD_IGNORED},
    {"num_sparse_decoder_layers", MOE_FIELD_IGNORED},
    {"encoder_sparse_step", MOE_FIELD_IGNORED},
    {"decoder_sparse_step", MOE_FIELD_IGNORED},
    {"decoder_start_token_id", MOE_FIELD_IGNORED},
    {"dense_act_fn", MOE_FIELD_IGNORED},
    {"feed_forward_proj", MOE_FIELD_IGNORED},
    {"is_gated_act", MOE_FIELD_IGNORED},
    {"is_encoder_decoder", MOE_FIELD_IGNORED},
    {"router_dtype", MOE_FIELD_IGNORED},
    {"router_type", MOE_FIELD_IGNORED},
    {"batch_prioritized_routing", MOE_FIELD_IGNORED},
    {"num_selected_experts", MOE_FIELD_IGNORED},
    /* Of training, of generation, of padding (there is none here), or of what is returned. */
    {"router_jitter_noise", MOE_FIELD_IGNORED},
    {"router_z_loss_coef", MOE_FIELD_IGNORED},
    {"router_ignore_padding_tokens", MOE_FIELD_IGNORED},
    {"dropout_rate", MOE_FIELD_IGNORED},
    {"initializer_factor", MOE_FIELD_IGNORED},
    {"add_router_probs", MOE_FIELD_IGNORED},
    {"output_past", MOE_FIELD_IGNORED},
    {"task_specific_params", MOE_FIELD_IGNORED},
    {"tokenizer_class", MOE_FIELD_IGNORED},
    {"is_decoder", MOE_FIELD_IGNORED}, /* which of the stacks a file of one is; here it has both */
    {"add_cross_attention", MOE_FIELD_IGNORED},
    {NULL},
};

/* The whole number @key, or @fallback where it is absent. */
static gboolean read_count(const MoeNode *root, const char *key, guint64 least, gint64 fallback,
                           gint64 *out, GError **error)
{
    const MoeNode *node = moe_node_get(root, key);
    guint64 value = (guint64)fallback;
    if (node != NULL && !moe_node_is_null(node) &&
        (node->kind != MOE_NODE_SCALAR ||
         !g_ascii_string_to_unsigned(node->text, 10, least, 1 << 24, &value, NULL)))
        return moe_node_fail(
            node, error, "%s: not a whole number from %" G_GUINT64_FORMAT " to 2^24", key, least);
    *out = (gint64)value;
    return TRUE;
}

/* Blocks of the stack [first, first + n) that are dense: those whose index in it is not 1 modulo
 * the step, which the file gives, or the number of blocks with experts it stands for. */
static gboolean mark_dense(const MoeNode *root, const char *step_key, const char *count_key,
                           gint64 first, gint64 n, MoeConfig *config, GError **error)
{
    gint64 count = 0, step = 0;
    if (!read_count(root, count_key, 0, 3, &count, error) ||
        !read_count(root, step_key, 0, count > 0 ? n / count : n, &step, error))
        return FALSE;
    for (gint64 l = 0; l < n; l++)
        moe_block_set_put(&config->dense, first + l, !(step == 1 || (step > 1 && l % step == 1)));
    return TRUE;
}

static gboolean read_activation(const MoeNode *root, MoeConfig *config, GError **error)
{
    static const struct {
        const char *name, *projection;
        MoeActivation act;
        gboolean gated;
    } known[] = {
        {"relu", "relu", MOE_ACT_RELU, FALSE},
        {"gelu", "gelu", MOE_ACT_GELU, FALSE},
        {"gelu_new", "gelu_new", MOE_ACT_GELU_TANH, FALSE},
        {"gated-gelu", "gated-gelu", MOE_ACT_GELU_TANH, TRUE}, /* T5 1.1's */
    };
    const MoeNode *node = moe_node_get(root, "dense_act_fn");
    const char *name = node == NULL || moe_node_is_null(node) ? "relu" : node->text;
    size_t i = 0;
    while (i < G_N_ELEMENTS(known) && g_strcmp0(name, known[i].name) != 0)
        i++;
    if (i == G_N_ELEMENTS(known))
        return moe_node_fail(node, error,
                             "dense_act_fn: '%s' is not supported; relu, gelu, gelu_new and "
                             "gated-gelu are",
                             name != NULL ? name : "");
    config->activation = known[i].act;
    config->ungated = !known[i].gated;
    return moe_config_only(root, "feed_forward_proj", known[i].projection, &moe_family_switch,
                           error) &&
           moe_config_only(root, "is_gated_act", known[i].gated ? "true" : "false",
                           &moe_family_switch, error);
}

static gboolean check_other_keys(const MoeNode *root, GError **error)
{
    static const char *const only[][2] = {
        {"is_encoder_decoder", "true"},   {"router_dtype", "float32"},
        {"router_type", "tokens_masked"}, {"batch_prioritized_routing", "false"},
        {"num_selected_experts", "1"},    {"rope_theta", "null"},
        {"rope_scaling", "null"},         {"rope_parameters", "null"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(only); i++)
        if (!moe_config_only(root, only[i][0], only[i][1], &moe_family_switch, error))
            return FALSE;
    return TRUE;
}

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    gint64 encoder = config->encoder_layers, decoder = config->num_hidden_layers, pad = 0;
    const MoeNode *given = moe_node_get(root, "num_decoder_layers");
    if (given != NULL && moe_node_is_null(given))
        decoder = encoder;
    config->num_hidden_layers = encoder + decoder;
    config->num_experts_per_tok = 1;
    config->moe_intermediate_size = config->intermediate_size;
    config->attention_multiplier = 1;
    for (gint64 l = 0; l < config->num_hidden_layers; l++)
        moe_block_set_put(&config->no_rope, l, TRUE);
    if (config->tie_word_embeddings)
        config->logits_scaling = sqrt((double)config->hidden_size);
    if (config->relative_far <= config->relative_buckets / 2)
        return moe_node_fail(root, error,
                             "relative_attention_max_distance: must be more than half of "
                             "relative_attention_num_buckets");
    return mark_dense(root, "encoder_sparse_step", "num_sparse_encoder_layers", 0, encoder, config,
                      error) &&
           mark_dense(root, "decoder_sparse_step", "num_sparse_decoder_layers", encoder, decoder,
                      config, error) &&
           read_activation(root, config, error) && check_other_keys(root, error) &&
           read_count(root, "pad_token_id", 0, 0, &pad, error) &&
           read_count(root, "decoder_start_token_id", 0, pad, &config->decoder_start, error);
}

static const char *const usual[] = {"tie_word_embeddings", "true", NULL};

/* The embedding again, under its other names. */
static const char *const ignored_tensors[] = {"coder.embed_tokens.weight", NULL};

const MoeFamily moe_family_switch = {
    .model_type = "switch_transformers",
    .title = "Switch Transformers",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.block = "encoder.block",
              .decoder_block = "decoder.block",
              .encoder_norm = "encoder.final_layer_norm",
              .embedding = "shared",
              .final_norm = "decoder.final_layer_norm",
              .attention_norm = "layer.0.layer_norm",
              .attention = "layer.0.SelfAttention.",
              .relative = "layer.0.SelfAttention.relative_attention_bias",
              .cross_norm = "layer.1.layer_norm",
              .cross = "layer.1.EncDecAttention.",
              .q = "q",
              .k = "k",
              .v = "v",
              .o = "o",
              .ffn_norm = "layer.%f.layer_norm",
              .router = "layer.%f.mlp.router.classifier",
              .gate = "layer.%f.mlp.experts.expert_%d.wi_0",
              .up = "layer.%f.mlp.experts.expert_%d.wi_1",
              .ungated = "layer.%f.mlp.experts.expert_%d.wi",
              .down = "layer.%f.mlp.experts.expert_%d.wo",
              .dense_gate = "layer.%f.mlp.wi_0",
              .dense_up = "layer.%f.mlp.wi_1",
              .dense_ungated = "layer.%f.mlp.wi",
              .dense_down = "layer.%f.mlp.wo"},
    .ignored_tensors = ignored_tensors,
};

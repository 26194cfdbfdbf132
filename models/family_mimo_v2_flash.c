#include "config.h"

#include "models/family.h"

#include <math.h>

/* MiMo-V2-Flash (Xiaomi, 2025), as Hugging Face transformers' MiMoV2FlashForCausalLM computes it:
 * DeepSeek-V3's gate; blocks with a window have more key/value heads, another RoPE and attention
 * sinks; values are narrower than keys, and scaled. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "48", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "64"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, "4"),
    MOE_CONFIG_WIDTH("head_dim", head_dim, "192"),
    MOE_CONFIG_WIDTH("v_head_dim", v_head_dim, "128"),
    MOE_CONFIG_WIDTH("swa_num_key_value_heads", local_key_value_heads, ""),
    MOE_CONFIG_WIDTH("swa_head_dim", local_head_dim, ""),
    MOE_CONFIG_WIDTH("swa_v_head_dim", local_v_head_dim, ""),
    MOE_CONFIG_NUMBER("swa_rope_theta", local_rope_theta, "", 1, 1e12),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "152576", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "131072", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "", 1e-30, 1),
    MOE_CONFIG_NUMBER("layernorm_epsilon", layernorm_epsilon, "", 1e-30, 1), /* the older name */
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "16384"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "2048"),
    MOE_CONFIG_COUNT("n_routed_experts", num_experts, "256", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "8", 256),
    MOE_CONFIG_COUNT("n_group", n_group, "1", 65535),
    MOE_CONFIG_COUNT("topk_group", topk_group, "1", 65535),
    MOE_CONFIG_NUMBER("routed_scaling_factor", routed_scaling_factor, "", 1e-6, 1e6),
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "true"),
    MOE_CONFIG_NUMBER("partial_rotary_factor", partial_rotary_factor, "", 1e-3, 1),
    MOE_CONFIG_NUMBER("attention_value_scale", attention_value_scale, "", 1e-6, 1e6),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    MOE_CONFIG_COUNT("sliding_window", sliding_window, "129", 1 << 30),
    MOE_CONFIG_BOOL("add_swa_attention_sink_bias", local_sinks, "true"),
    MOE_CONFIG_BOOL("add_full_attention_sink_bias", other_sinks, "false"),
    {"layer_types", MOE_FIELD_IGNORED}, /* read below, as the others */
    {"hybrid_layer_pattern", MOE_FIELD_IGNORED},
    {"mlp_layer_types", MOE_FIELD_IGNORED},
    {"moe_layer_freq", MOE_FIELD_IGNORED},
    {"n_shared_experts", MOE_FIELD_IGNORED}, /* checked below, as the others */
    {"scoring_func", MOE_FIELD_IGNORED},
    {"topk_method", MOE_FIELD_IGNORED},
    {"swa_num_attention_heads", MOE_FIELD_IGNORED},
    {"sliding_window_size", MOE_FIELD_IGNORED},
    {"attention_chunk_size", MOE_FIELD_IGNORED}, /* of the servers' kernels: the window again */
    {"hybrid_block_size", MOE_FIELD_IGNORED},
    {"num_nextn_predict_layers", MOE_FIELD_INT, MOE_CONFIG_AT(num_nextn_predict_layers), "0",
     .max = 64}, /* of GGUF files */
    {NULL},
};

/* Where config.json does not say: all positions in block 0 and in every sixth, a dense block 0. */
static void mark_usual(const MoeNode *root, MoeConfig *config)
{
    gboolean types = moe_node_get(root, "layer_types") != NULL ||
                     moe_node_get(root, "hybrid_layer_pattern") != NULL;
    gboolean dense = moe_node_get(root, "mlp_layer_types") != NULL ||
                     moe_node_get(root, "moe_layer_freq") != NULL;
    for (gint64 l = 0; l < config->num_hidden_layers && !types; l++)
        moe_block_set_put(&config->local, l, l > 0 && (l + 1) % 6 != 0);
    if (!dense)
        moe_block_set_put(&config->dense, 0, TRUE);
}

/* The published files count the positions before a query alone. */
static gboolean read_window(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeNode *size = moe_node_get(root, "sliding_window_size");
    guint64 before;
    if (size == NULL || moe_node_is_null(size))
        return TRUE;
    if (size->kind != MOE_NODE_SCALAR ||
        !g_ascii_string_to_unsigned(size->text, 10, 1, 1 << 30, &before, NULL))
        return moe_node_fail(size, error, "sliding_window_size: not a whole number from 1 to 2^30");
    config->sliding_window = (gint64)before + 1;
    return TRUE;
}

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeFamily *family = &moe_family_mimo_v2_flash;
    g_autofree char *heads = g_strdup_printf("%" G_GINT64_FORMAT, config->num_attention_heads);
    if (isnan(config->rms_norm_eps))
        config->rms_norm_eps = isnan(config->layernorm_epsilon) ? 1e-5 : config->layernorm_epsilon;
    if (isnan(config->partial_rotary_factor))
        config->partial_rotary_factor = 0.334;
    if (config->local_key_value_heads == 0)
        config->local_key_value_heads = 2 * config->num_key_value_heads;
    config->masked = -INFINITY;
    mark_usual(root, config);
    return read_window(root, config, error) &&
           moe_config_mark(root, "layer_types", "sliding_attention", "full_attention", config,
                           &config->local, error) &&
           moe_config_mark(root, "hybrid_layer_pattern", "1", "0", config, &config->local, error) &&
           moe_config_mark(root, "moe_layer_freq", "0", "1", config, &config->dense, error) &&
           moe_config_only(root, "n_shared_experts", "0", family, error) &&
           moe_config_only(root, "scoring_func", "sigmoid", family, error) &&
           moe_config_only(root, "topk_method", "noaux_tc", family, error) &&
           moe_config_only(root, "swa_num_attention_heads", heads, family, error);
}

static const char *const keys[] = {"attention.sliding_window", "sliding_window_size", NULL};

static const char *const usual[] = {
    "rope_theta", "5e6", "swa_rope_theta", "10000", "attention_value_scale", "0.707", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_mimo_v2_flash = {
    .model_type = "mimo_v2_flash",
    .title = "MiMo-V2-Flash",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .sinks = "self_attn.attention_sink_bias",
              .router = "mlp.gate",
              .bias = "mlp.gate.e_score_correction_bias",
              .gate = "mlp.experts.%d.gate_proj",
              .up = "mlp.experts.%d.up_proj",
              .down = "mlp.experts.%d.down_proj"},
    .gate = {.score = MOE_SCORE_SIGMOID, .group_best = 2, .epsilon = 1e-20F},
    .gguf = {.architecture = "mimo2", .keys = keys},
    .ignored_tensors = ignored_tensors,
};

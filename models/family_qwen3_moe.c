#include "config.h"

#include "models/family.h"

/* Qwen3-MoE (Yang et al., 2025, arXiv 2505.09388), as Hugging Face transformers'
 * Qwen3MoeForCausalLM computes it: norms of each head, no shared expert, dense blocks where
 * decoder_sparse_step and mlp_only_layers say so. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "2048"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "24", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, "4"),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "151936", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "32768", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "6144"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "768"),
    MOE_CONFIG_COUNT("num_experts", num_experts, "128", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "8", 256),
    MOE_CONFIG_COUNT("decoder_sparse_step", decoder_sparse_step, "1", 4096),
    {"mlp_only_layers", MOE_FIELD_IGNORED}, /* read by family.c */
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "false"),
    {"use_sliding_window", MOE_FIELD_IGNORED}, /* refused below unless false */
    {"sliding_window", MOE_FIELD_IGNORED},     /* of use_sliding_window */
    {"max_window_layers", MOE_FIELD_IGNORED},
    {"layer_types", MOE_FIELD_IGNORED}, /* checked below */
    MOE_CONFIG_WIDTH("head_dim", head_dim, ""),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    {"qkv_bias", MOE_FIELD_IGNORED}, /* refused below unless false, as the next unless 0 */
    {"shared_expert_intermediate_size", MOE_FIELD_IGNORED},
    {"use_qk_norm", MOE_FIELD_IGNORED},
    MOE_CONFIG_COUNT("num_local_experts", num_experts, "", 65535), /* transformers 5's name */
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeNode *window = moe_node_get(root, "use_sliding_window");
    if (window != NULL && g_strcmp0(window->text, "true") == 0)
        return moe_node_fail(window, error,
                             "use_sliding_window: Qwen3-MoE is supported without it (false)");
    config->use_qk_norm = TRUE;
    g_autofree char *experts = g_strdup_printf("%" G_GINT64_FORMAT, config->num_experts);
    if (!moe_config_only_items(root, "layer_types", "full_attention", &moe_family_qwen3_moe,
                               error) ||
        !moe_config_only(root, "num_experts", experts, &moe_family_qwen3_moe, error))
        return FALSE;
    if (!moe_config_only(root, "qkv_bias", "false", &moe_family_qwen3_moe, error) ||
        !moe_config_only(root, "use_qk_norm", "true", &moe_family_qwen3_moe, error) ||
        !moe_config_only(root, "shared_expert_intermediate_size", "0", &moe_family_qwen3_moe,
                         error))
        return FALSE;
    return !config->attention_bias ||
           moe_node_fail(root, error, "attention_bias: Qwen3-MoE is supported without it (false)");
}

static const char *const constants[] = {"norm_topk_prob", "true", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_qwen3_moe = {
    .model_type = "qwen3_moe",
    .title = "Qwen3-MoE",
    .fields = fields,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .q_norm = "self_attn.q_norm",
              .k_norm = "self_attn.k_norm",
              .router = "mlp.gate",
              .gate = "mlp.experts.%d.gate_proj",
              .up = "mlp.experts.%d.up_proj",
              .down = "mlp.experts.%d.down_proj"},
    .norm_heads = TRUE,
    .gguf = {.architecture = "qwen3moe", .constants = constants},
    .ignored_tensors = ignored_tensors,
};

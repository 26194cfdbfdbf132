#include "config.h"

#include "models/family.h"

/* FlexOlmo (Shi et al., 2025, arXiv 2507.07024), as Hugging Face transformers'
 * FlexOlmoForCausalLM computes it: no norm before attention and experts, one behind each; norms over
 * all query and all key heads together. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "32", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "100352", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "4096", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "11008"),
    MOE_CONFIG_COUNT("num_experts", num_experts, "7", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "5", 256),
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "false"),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    config->use_qk_norm = TRUE;
    return !config->attention_bias ||
           moe_node_fail(root, error, "attention_bias: FlexOlmo is supported without it (false)");
}

static const char *const usual[] = {"rope_theta", "5e5", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_flex_olmo = {
    .model_type = "flex_olmo",
    .title = "FlexOlmo",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_post_norm = "post_attention_layernorm",
              .ffn_post_norm = "post_feedforward_layernorm",
              .q_norm = "self_attn.q_norm",
              .k_norm = "self_attn.k_norm",
              .router = "mlp.gate",
              .gate = "mlp.experts.%d.gate_proj",
              .up = "mlp.experts.%d.up_proj",
              .down = "mlp.experts.%d.down_proj"},
    .ignored_tensors = ignored_tensors,
};

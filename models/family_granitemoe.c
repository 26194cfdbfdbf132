#include "config.h"

#include "models/family.h"

/* Granite-MoE (IBM, Granite 3.0, 2024), as Hugging Face transformers' GraniteMoeForCausalLM computes
 * it: multipliers of embedding, residuals, scores and logits; experts stacked; the gate is a softmax
 * of the chosen logits. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "32", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "32000", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "2048", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "11008"),
    MOE_CONFIG_COUNT("num_local_experts", num_experts, "8", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "2", 256),
    MOE_CONFIG_NUMBER("embedding_multiplier", embedding_multiplier, "1", 1e-9, 1e9),
    MOE_CONFIG_NUMBER("residual_multiplier", residual_multiplier, "1", 1e-9, 1e9),
    MOE_CONFIG_NUMBER("attention_multiplier", attention_multiplier, "1", 1e-9, 1e9),
    MOE_CONFIG_NUMBER("logits_scaling", logits_scaling, "1", 1e-9, 1e9),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    {"position_embedding_type", MOE_FIELD_IGNORED}, /* checked below */
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    config->norm_topk_prob = TRUE;
    config->output_bias = config->attention_bias;
    return moe_config_only(root, "position_embedding_type", "rope", &moe_family_granitemoe, error);
}

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_granitemoe = {
    .model_type = "granitemoe",
    .title = "Granite-MoE",
    .fields = fields,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .router = "block_sparse_moe.router.layer",
              .gate_up = "block_sparse_moe.input_linear",
              .down = "block_sparse_moe.output_linear"},
    .layout = MOE_EXPERTS_STACKED,
    .gguf = {.architecture = "granitemoe", .permuted = TRUE},
    .ignored_tensors = ignored_tensors,
};

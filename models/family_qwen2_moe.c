#include "config.h"

#include "models/family.h"

/* Qwen1.5-MoE and Qwen2-MoE (Yang et al., 2024, arXiv 2407.10671), as Hugging Face transformers'
 * Qwen2MoeForCausalLM computes it: biases of q, k and v, a shared expert with a sigmoid gate, dense
 * blocks where decoder_sparse_step and mlp_only_layers say so. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "2048"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "24", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "16"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, "16"),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "151936", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "32768", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "5632"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "1408"),
    MOE_CONFIG_COUNT("num_experts", num_experts, "60", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "4", 256),
    MOE_CONFIG_COUNT("decoder_sparse_step", decoder_sparse_step, "1", 4096),
    {"mlp_only_layers", MOE_FIELD_IGNORED}, /* read by family.c */
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "false"),
    {"use_sliding_window", MOE_FIELD_IGNORED}, /* refused below unless false */
    {"sliding_window", MOE_FIELD_IGNORED},     /* of use_sliding_window */
    {"max_window_layers", MOE_FIELD_IGNORED},
    {"layer_types", MOE_FIELD_IGNORED}, /* checked below */
    MOE_CONFIG_WIDTH("shared_expert_intermediate_size", shared_expert_intermediate_size, "5632"),
    MOE_CONFIG_BOOL("qkv_bias", attention_bias, "true"),
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeNode *window = moe_node_get(root, "use_sliding_window");
    if (window != NULL && g_strcmp0(window->text, "true") == 0)
        return moe_node_fail(window, error,
                             "use_sliding_window: Qwen2-MoE is supported without it (false)");
    (void)config;
    return moe_config_only_items(root, "layer_types", "full_attention", &moe_family_qwen2_moe,
                                 error);
}

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_qwen2_moe = {
    .model_type = "qwen2_moe",
    .title = "Qwen2-MoE",
    .fields = fields,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .router = "mlp.gate",
              .gate = "mlp.experts.%d.gate_proj",
              .up = "mlp.experts.%d.up_proj",
              .down = "mlp.experts.%d.down_proj",
              .shared_gate = "mlp.shared_expert.gate_proj",
              .shared_up = "mlp.shared_expert.up_proj",
              .shared_down = "mlp.shared_expert.down_proj",
              .shared_router = "mlp.shared_expert_gate"},
    .gguf = {.architecture = "qwen2moe"},
    .ignored_tensors = ignored_tensors,
};

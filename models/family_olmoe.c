#include "config.h"

#include "models/family.h"

/* OLMoE (Muennighoff et al., 2024, arXiv 2409.02060), as Hugging Face transformers'
 * OlmoeForCausalLM computes it: norms over all query and all key heads together, softmax gate over
 * all experts. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "2048"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "16", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "16"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "50304", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "4096", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "2048"),
    MOE_CONFIG_COUNT("num_experts", num_experts, "64", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "8", 256),
    MOE_CONFIG_NUMBER("clip_qkv", clip_qkv, "", 1e-6, 1e6),
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "false"),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    config->use_qk_norm = TRUE;
    return !config->attention_bias ||
           moe_node_fail(root, error, "attention_bias: OLMoE is supported without it (false)");
}

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_olmoe = {
    .model_type = "olmoe",
    .title = "OLMoE",
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
    .gguf = {.architecture = "olmoe"},
    .ignored_tensors = ignored_tensors,
};

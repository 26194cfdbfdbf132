#include "config.h"

#include "models/family.h"

/* GLM-4.5 (Zeng et al., 2025, arXiv 2508.06471), as Hugging Face transformers' Glm4MoeForCausalLM
 * computes it: DeepSeek-V3's gate, grouped-query attention with biases, RoPE on a part of each head,
 * norms per head where use_qk_norm says so. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "46", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "96"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "151552", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "131072", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("head_dim", head_dim, ""),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "10944"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "1408"),
    MOE_CONFIG_COUNT("n_routed_experts", num_experts, "128", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "8", 256),
    {"n_shared_experts", MOE_FIELD_INT, MOE_CONFIG_AT(n_shared_experts), "1", .max = 64},
    {"first_k_dense_replace", MOE_FIELD_INT, MOE_CONFIG_AT(first_k_dense_replace), "1",
     .max = 4096},
    {"mlp_layer_types", MOE_FIELD_IGNORED}, /* the newer style; read by family.c */
    MOE_CONFIG_COUNT("n_group", n_group, "1", 65535),
    MOE_CONFIG_COUNT("topk_group", topk_group, "1", 65535),
    MOE_CONFIG_NUMBER("routed_scaling_factor", routed_scaling_factor, "1", 1e-6, 1e6),
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "true"),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    MOE_CONFIG_BOOL("use_qk_norm", use_qk_norm, "false"),
    MOE_CONFIG_NUMBER("partial_rotary_factor", partial_rotary_factor, "", 1e-3, 1),
    {"num_nextn_predict_layers", MOE_FIELD_INT, MOE_CONFIG_AT(num_nextn_predict_layers), "0",
     .max = 64},
    {NULL},
};

static const char *const usual[] = {"partial_rotary_factor", "0.5", "num_key_value_heads", "8",
                                    NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_glm4_moe = {
    .model_type = "glm4_moe",
    .title = "GLM-4.5",
    .fields = fields,
    .usual = usual,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .q_norm = "self_attn.q_norm",
              .k_norm = "self_attn.k_norm",
              .router = "mlp.gate",
              .bias = "mlp.gate.e_score_correction_bias",
              .gate = "mlp.experts.%d.gate_proj",
              .up = "mlp.experts.%d.up_proj",
              .down = "mlp.experts.%d.down_proj",
              .shared_gate = "mlp.shared_experts.gate_proj",
              .shared_up = "mlp.shared_experts.up_proj",
              .shared_down = "mlp.shared_experts.down_proj"},
    .gate = {.score = MOE_SCORE_SIGMOID, .group_best = 2, .epsilon = 1e-20F},
    .norm_heads = TRUE,
    .gguf = {.architecture = "glm4moe", .ffn_norm = "post_attention_norm"},
    .ignored_tensors = ignored_tensors,
};

#include "config.h"

#include "models/family_mla.h"

#include <math.h>

/* GLM-4.7-Flash (Z.ai, 2025), as Hugging Face transformers' Glm4MoeLiteForCausalLM computes it:
 * DeepSeek-V3's latent attention and gate, other experts' groups masked with -infinity. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "2048"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "47", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "20"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "154880", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "202752", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "10240"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "1536"),
    MOE_CONFIG_COUNT("n_routed_experts", num_experts, "64", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "4", 256),
    {"n_shared_experts", MOE_FIELD_INT, MOE_CONFIG_AT(n_shared_experts), "1", .max = 64},
    {"first_k_dense_replace", MOE_FIELD_INT, MOE_CONFIG_AT(first_k_dense_replace), "1",
     .max = 4096},
    MOE_CONFIG_COUNT("n_group", n_group, "1", 65535),
    MOE_CONFIG_COUNT("topk_group", topk_group, "1", 65535),
    MOE_CONFIG_NUMBER("routed_scaling_factor", routed_scaling_factor, "1.8", 1e-6, 1e6),
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "true"),
    MOE_MLA_FIELDS,
    {"mlp_layer_types", MOE_FIELD_IGNORED}, /* read by family.c */
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    config->masked = -INFINITY;
    return moe_mla_check(root, &moe_family_glm4_moe_lite, "sigmoid", "noaux_tc", config, error);
}

static const char *const usual[] = {"q_lora_rank", "768", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_glm4_moe_lite = {
    .model_type = "glm4_moe_lite",
    .title = "GLM-4.7-Flash",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = MOE_MLA_NAMES("mlp.gate.e_score_correction_bias"),
    .gate = {.score = MOE_SCORE_SIGMOID, .group_best = 2, .epsilon = 1e-20F},
    .rope_pairs = MOE_ROPE_NEIGHBOURS,
    .ignored_tensors = ignored_tensors,
};

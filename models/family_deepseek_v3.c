#include "config.h"

#include "models/family_mla.h"

#include <math.h>

/* DeepSeek-V3 and R1 (DeepSeek-AI, 2024, arXiv 2412.19437) and Kimi-K2 (Moonshot AI, 2025, arXiv
 * 2507.20534): latent attention; sigmoid gate with correction bias, limited to groups of experts.
 * The experts of other groups are masked with -infinity, as in DeepSeek's own inference/model.py;
 * Hugging Face transformers' DeepseekV3ForCausalLM masks them with 0, which differs where a biased
 * score is negative: moe_group_mask says which ("-inf" or "0"). */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "7168"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "61", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "128"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "129280", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "4096", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "18432"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "2048"),
    MOE_CONFIG_COUNT("n_routed_experts", num_experts, "256", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "8", 256),
    {"n_shared_experts", MOE_FIELD_INT, MOE_CONFIG_AT(n_shared_experts), "1", .max = 64},
    {"first_k_dense_replace", MOE_FIELD_INT, MOE_CONFIG_AT(first_k_dense_replace), "3",
     .max = 4096},
    {"mlp_layer_types", MOE_FIELD_IGNORED}, /* the newer style; read by family.c */
    MOE_CONFIG_COUNT("n_group", n_group, "8", 65535),
    MOE_CONFIG_COUNT("topk_group", topk_group, "4", 65535),
    MOE_CONFIG_NUMBER("routed_scaling_factor", routed_scaling_factor, "2.5", 1e-6, 1e6),
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "true"),
    MOE_MLA_FIELDS,
    {"moe_group_mask", MOE_FIELD_IGNORED},
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeFamily *family = &moe_family_deepseek_v3;
    const MoeNode *mask = moe_node_get(root, "moe_group_mask");
    if (mask != NULL && g_strcmp0(mask->text, "0") != 0 && g_strcmp0(mask->text, "-inf") != 0)
        return moe_node_fail(mask, error, "moe_group_mask: neither \"-inf\" nor \"0\"");
    config->masked = mask != NULL && g_strcmp0(mask->text, "0") == 0 ? 0 : -INFINITY;
    return moe_mla_check(root, family, "sigmoid", "noaux_tc", config, error);
}

static const char *const aliases[] = {"kimi_k2", NULL};
/* GGUF files are silent on what is off; those from before groups were written are of 256 experts. */
static const char *const constants[] = {
    "n_group", "1", "topk_group", "1", "norm_topk_prob", "false", "routed_scaling_factor",
    "1",       NULL};
static const char *const published[] = {"n_group", "8", "topk_group", "4", NULL};

static const char *const usual[] = {"q_lora_rank", "1536", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_deepseek_v3 = {
    .model_type = "deepseek_v3",
    .aliases = aliases,
    .title = "DeepSeek-V3",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = MOE_MLA_NAMES("mlp.gate.e_score_correction_bias"),
    .gate = {.score = MOE_SCORE_SIGMOID, .group_best = 2, .epsilon = 1e-20F},
    .rope_pairs = MOE_ROPE_NEIGHBOURS,
    .gguf = {.architecture = "deepseek2",
             .constants = constants,
             .special_experts = 256,
             .special = published},
    .ignored_tensors = ignored_tensors,
};

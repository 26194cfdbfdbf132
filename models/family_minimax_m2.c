#include "config.h"

#include "models/family.h"

/* MiniMax-M2, as Hugging Face transformers' MiniMaxM2ForCausalLM computes it: sigmoid gate with
 * correction bias, renormalised; norms over all query and all key heads together; RoPE on a part of
 * each head. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "3072"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "62", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "48"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "200064", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "196608", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("head_dim", head_dim, "128"),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "1536"),
    MOE_CONFIG_COUNT("num_local_experts", num_experts, "256", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "8", 256),
    {"rotary_dim", MOE_FIELD_INT, MOE_CONFIG_AT(rotary_dim), "", .min = 2, .max = 1 << 20},
    {"use_qk_norm", MOE_FIELD_IGNORED}, /* checked below, as the others */
    {"qk_norm_type", MOE_FIELD_IGNORED},
    {"use_routing_bias", MOE_FIELD_IGNORED},
    {"scoring_func", MOE_FIELD_IGNORED},
    {"shared_intermediate_size", MOE_FIELD_IGNORED},
    {"attn_type_list", MOE_FIELD_IGNORED},
    {"use_mtp", MOE_FIELD_IGNORED}, /* of blocks that predict further ahead */
    {"mtp_transformer_layers", MOE_FIELD_IGNORED},
    {"num_mtp_modules", MOE_FIELD_INT, MOE_CONFIG_AT(num_nextn_predict_layers), "0", .max = 64},
    {"router_jitter_noise", MOE_FIELD_IGNORED}, /* of training */
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeFamily *family = &moe_family_minimax_m2;
    config->use_qk_norm = TRUE;
    config->norm_topk_prob = TRUE;
    return moe_config_only(root, "use_qk_norm", "true", family, error) &&
           moe_config_only(root, "qk_norm_type", "per_layer", family, error) &&
           moe_config_only(root, "use_routing_bias", "true", family, error) &&
           moe_config_only(root, "scoring_func", "sigmoid", family, error) &&
           moe_config_only_items(root, "attn_type_list", "1", family, error) &&
           moe_config_only(root, "shared_intermediate_size", "0", family, error);
}

static const char *const usual[] = {"rope_theta", "5e6", "num_key_value_heads", "8", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_minimax_m2 = {
    .model_type = "minimax_m2",
    .title = "MiniMax-M2",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .q_norm = "self_attn.q_norm",
              .k_norm = "self_attn.k_norm",
              .router = "block_sparse_moe.gate",
              .bias = "block_sparse_moe.e_score_correction_bias",
              .gate = "block_sparse_moe.experts.%d.w1",
              .up = "block_sparse_moe.experts.%d.w3",
              .down = "block_sparse_moe.experts.%d.w2"},
    .gate = {.score = MOE_SCORE_SIGMOID},
    .gguf = {.architecture = "minimax-m2"},
    .ignored_tensors = ignored_tensors,
};

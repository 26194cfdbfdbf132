#include "config.h"

#include "models/family_mla.h"

/* DeepSeek-V2 and -Lite (DeepSeek-AI, 2024, arXiv 2405.04434), as Hugging Face transformers'
 * DeepseekV2ForCausalLM computes it: latent attention, softmax gate limited to groups of experts.
 * With YaRN the scores are multiplied by mscale squared, as in the original; transformers 4.57
 * leaves that out. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "32", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "32000", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "2048", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "11008"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "1407"),
    MOE_CONFIG_COUNT("n_routed_experts", num_experts, "64", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "8", 256),
    {"n_shared_experts", MOE_FIELD_INT, MOE_CONFIG_AT(n_shared_experts), "2", .max = 64},
    {"first_k_dense_replace", MOE_FIELD_INT, MOE_CONFIG_AT(first_k_dense_replace), "0",
     .max = 4096},
    {"mlp_layer_types", MOE_FIELD_IGNORED}, /* the newer style; read by family.c */
    MOE_CONFIG_COUNT("n_group", n_group, "1", 65535),
    MOE_CONFIG_COUNT("topk_group", topk_group, "1", 65535),
    MOE_CONFIG_NUMBER("routed_scaling_factor", routed_scaling_factor, "1", 1e-6, 1e6),
    MOE_MLA_FIELDS,
    {"norm_topk_prob", MOE_FIELD_IGNORED}, /* checked below */
    {"mlp_bias", MOE_FIELD_IGNORED},
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeFamily *family = &moe_family_deepseek_v2;
    const MoeNode *method = moe_node_get(root, "topk_method");
    gboolean greedy = method != NULL && g_strcmp0(method->text, "greedy") == 0;
    if (method != NULL && !greedy && g_strcmp0(method->text, "group_limited_greedy") != 0)
        return moe_node_fail(method, error, "topk_method: neither greedy nor group_limited_greedy");
    if (greedy)
        config->n_group = config->topk_group = 1;
    return moe_config_only(root, "norm_topk_prob", "false", family, error) &&
           moe_config_only(root, "mlp_bias", "false", family, error) &&
           moe_mla_check(root, family, "softmax", NULL, config, error);
}

static const char *const keys[] = {"expert_weights_norm", "norm_topk_prob", NULL};

static const char *const usual[] = {"q_lora_rank", "1536", "topk_method", "greedy", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_deepseek_v2 = {
    .model_type = "deepseek_v2",
    .title = "DeepSeek-V2",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = MOE_MLA_NAMES(NULL),
    .gate = {.score = MOE_SCORE_SOFTMAX, .group_best = 1},
    .rope_pairs = MOE_ROPE_NEIGHBOURS,
    .gguf = {.architecture = "deepseek2", .keys = keys},
    .ignored_tensors = ignored_tensors,
};

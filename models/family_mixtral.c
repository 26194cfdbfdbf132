#include "config.h"

#include "models/family.h"

/* Mixtral (Jiang et al., 2024, arXiv 2401.04088), as Hugging Face transformers' MixtralForCausalLM
 * computes it: softmax gate, always renormalised; a sliding window where config.json has one. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "32", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "32000", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "131072", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("head_dim", head_dim, ""),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "14336"),
    MOE_CONFIG_COUNT("num_local_experts", num_experts, "8", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "2", 256),
    MOE_CONFIG_COUNT("sliding_window", sliding_window, "", 1 << 30),
    {"router_jitter_noise", MOE_FIELD_IGNORED}, /* of training */
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    (void)root;
    (void)error;
    config->norm_topk_prob = TRUE;
    for (gint64 l = 0; l < config->num_hidden_layers && config->sliding_window > 0; l++)
        moe_block_set_put(&config->local, l, TRUE);
    return TRUE;
}

static const char *const usual[] = {"rope_theta", "1e6", "num_key_value_heads", "8", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_mixtral = {
    .model_type = "mixtral",
    .title = "Mixtral",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .router = "block_sparse_moe.gate",
              .gate = "block_sparse_moe.experts.%d.w1",
              .up = "block_sparse_moe.experts.%d.w3",
              .down = "block_sparse_moe.experts.%d.w2"},
    .gguf = {.architecture = "llama", .permuted = TRUE},
    .ignored_tensors = ignored_tensors,
};

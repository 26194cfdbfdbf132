#include "config.h"

#include "models/family.h"

/* Llama (Touvron et al., 2023, arXiv 2302.13971 and 2307.09288; Grattafiori et al., 2024, arXiv
 * 2407.21783), as Hugging Face transformers' LlamaForCausalLM computes it. It has no experts: there
 * is nothing to trace, but it runs. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "32", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "32000", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "2048", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("head_dim", head_dim, ""),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "11008"),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    {"mlp_bias", MOE_FIELD_IGNORED}, /* checked below */
    {"pretraining_tp", MOE_FIELD_IGNORED},
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    config->output_bias = config->attention_bias;
    return moe_config_only(root, "mlp_bias", "false", &moe_family_llama, error);
}

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_llama = {
    .model_type = "llama",
    .title = "Llama, a dense family",
    .fields = fields,
    .check = check,
    .names = {.attention_norm = "input_layernorm", .ffn_norm = "post_attention_layernorm"},
    .gguf = {.architecture = "llama", .permuted = TRUE},
    .ignored_tensors = ignored_tensors,
};

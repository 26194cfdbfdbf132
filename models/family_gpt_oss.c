#include "config.h"

#include "models/family.h"

/* gpt-oss (OpenAI, 2025, arXiv 2508.10925), as Hugging Face transformers' GptOssForCausalLM computes
 * it: sinks and biases in attention, every other block with a window, experts with biases and a
 * clamped SwiGLU; the gate is a softmax of the chosen logits. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "2880"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "36", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "64"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, "8"),
    MOE_CONFIG_WIDTH("head_dim", head_dim, "64"),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "201088", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "131072", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "2880"),
    MOE_CONFIG_COUNT("num_local_experts", num_experts, "128", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "4", 256),
    MOE_CONFIG_COUNT("sliding_window", sliding_window, "128", 1 << 30),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "true"),
    MOE_CONFIG_NUMBER("swiglu_limit", swiglu_limit, "7", 1e-6, 1e6),
    {"swiglu_alpha", MOE_FIELD_IGNORED},           /* checked below */
    {"layer_types", MOE_FIELD_IGNORED},            /* read below */
    {"experts_per_token", MOE_FIELD_IGNORED},      /* num_experts_per_tok again: checked below */
    {"initial_context_length", MOE_FIELD_IGNORED}, /* the scaled RoPE's original context again */
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    g_autofree char *k = g_strdup_printf("%" G_GINT64_FORMAT, config->num_experts_per_tok);
    if (moe_node_get(root, "rope_scaling") == NULL && moe_node_get(root, "rope_parameters") == NULL)
        return moe_node_fail(root, error, "rope_scaling: missing; gpt-oss needs it, or null");
    config->norm_topk_prob = TRUE;
    config->output_bias = config->attention_bias;
    config->router_bias = TRUE;
    config->local_sinks = config->other_sinks = TRUE;
    for (gint64 l = 0; l < config->num_hidden_layers; l += 2)
        moe_block_set_put(&config->local, l, TRUE);
    return moe_config_only(root, "experts_per_token", k, &moe_family_gpt_oss, error) &&
           moe_config_only(root, "swiglu_alpha", "1.702", &moe_family_gpt_oss, error) &&
           moe_config_mark(root, "layer_types", "sliding_attention", "full_attention", config,
                           &config->local, error);
}

/* YaRN's bounds are not rounded, which GGUF files do not say. */
static const char *const constants[] = {"rope_scaling.truncate", "false", NULL};

static const char *const usual[] = {"rope_theta", "150000", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_gpt_oss = {
    .model_type = "gpt_oss",
    .title = "gpt-oss",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .sinks = "self_attn.sinks",
              .router = "mlp.router",
              .gate_up = "mlp.experts.gate_up_proj",
              .down = "mlp.experts.down_proj"},
    .layout = MOE_EXPERTS_INTERLEAVED,
    .gguf = {.architecture = "gpt-oss", .ffn_norm = "post_attention_norm", .constants = constants},
    .ignored_tensors = ignored_tensors,
};

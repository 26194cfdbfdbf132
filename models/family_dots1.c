#include "config.h"

#include "models/family.h"

/* dots.llm1 (rednote-hilab, 2025, arXiv 2506.05767), as Hugging Face transformers' Dots1ForCausalLM
 * computes it: DeepSeek-V3's gate, grouped-query attention with a norm on each head. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4608"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "62", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "152064", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "2048", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-6", 1e-30, 1),
    MOE_CONFIG_WIDTH("head_dim", head_dim, ""),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "10944"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "1408"),
    MOE_CONFIG_COUNT("n_routed_experts", num_experts, "128", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "8", 256),
    {"n_shared_experts", MOE_FIELD_INT, MOE_CONFIG_AT(n_shared_experts), "1", .max = 64},
    {"first_k_dense_replace", MOE_FIELD_INT, MOE_CONFIG_AT(first_k_dense_replace), "0",
     .max = 4096},
    {"mlp_layer_types", MOE_FIELD_IGNORED}, /* the newer style; read by family.c */
    MOE_CONFIG_COUNT("n_group", n_group, "1", 65535),
    MOE_CONFIG_COUNT("topk_group", topk_group, "1", 65535),
    MOE_CONFIG_NUMBER("routed_scaling_factor", routed_scaling_factor, "1", 1e-6, 1e6),
    MOE_CONFIG_BOOL("norm_topk_prob", norm_topk_prob, "false"),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    {"layer_types", MOE_FIELD_IGNORED}, /* checked below */
    {"max_window_layers", MOE_FIELD_IGNORED},
    {"sliding_window", MOE_FIELD_IGNORED}, /* of blocks of the type sliding_attention */
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    config->use_qk_norm = TRUE;
    if (config->attention_bias)
        return moe_node_fail(root, error,
                             "attention_bias: dots.llm1 is supported without it (false)");
    /* Without layer_types, blocks from max_window_layers on would have the window. */
    const MoeNode *window = moe_node_get(root, "sliding_window");
    const MoeNode *from = moe_node_get(root, "max_window_layers");
    guint64 first = 62;
    if (from != NULL && (from->kind != MOE_NODE_SCALAR ||
                         !g_ascii_string_to_unsigned(from->text, 10, 0, 4096, &first, NULL)))
        return moe_node_fail(from, error, "max_window_layers: not a whole number from 0 to 4096");
    if ((window == NULL || !moe_node_is_null(window)) &&
        moe_node_get(root, "layer_types") == NULL && (gint64)first < config->num_hidden_layers)
        return moe_node_fail(
            from != NULL ? from : root, error,
            "max_window_layers: dots.llm1 is supported without a window; write the "
            "number of blocks or more");
    return moe_config_only_items(root, "layer_types", "full_attention", &moe_family_dots1, error);
}

static const char *const usual[] = {"num_key_value_heads", "32", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_dots1 = {
    .model_type = "dots1",
    .title = "dots.llm1",
    .fields = fields,
    .usual = usual,
    .check = check,
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
    .gguf = {.architecture = "dots1"},
    .ignored_tensors = ignored_tensors,
};

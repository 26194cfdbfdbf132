#include "config.h"

#include "models/family.h"

/* ERNIE-4.5-MoE (Baidu, 2025, ERNIE 4.5 Technical Report), as Hugging Face transformers'
 * Ernie4_5_MoeForCausalLM computes it: softmax gate with a correction bias, renormalised; RoPE of
 * neighbouring elements; experts in a range of blocks. The weights' sum, at least k/E, is above any
 * sensible moe_norm_min. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "2560"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "28", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "20"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, "4"),
    MOE_CONFIG_WIDTH("head_dim", head_dim, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "103424", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "131072", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "12288"),
    MOE_CONFIG_WIDTH("moe_intermediate_size", moe_intermediate_size, "1536"),
    MOE_CONFIG_COUNT("moe_num_experts", num_experts, "64", 65535),
    MOE_CONFIG_COUNT("moe_k", num_experts_per_tok, "6", 256),
    {"moe_num_shared_experts", MOE_FIELD_INT, MOE_CONFIG_AT(n_shared_experts), "2", .max = 64},
    {"moe_layer_start_index", MOE_FIELD_INT, MOE_CONFIG_AT(first_k_dense_replace), "1",
     .max = 4096},
    MOE_CONFIG_COUNT("moe_layer_interval", decoder_sparse_step, "1", 4096),
    {"moe_layer_end_index", MOE_FIELD_IGNORED}, /* read below */
    {"moe_norm_min", MOE_FIELD_IGNORED},
    {"use_bias", MOE_FIELD_IGNORED}, /* checked below */
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeNode *end = moe_node_get(root, "moe_layer_end_index"), *least = NULL;
    gint64 last = -1;
    config->norm_topk_prob = TRUE;
    if (end != NULL && !moe_node_is_null(end) &&
        (end->kind != MOE_NODE_SCALAR ||
         !g_ascii_string_to_signed(end->text, 10, -1, 4096, &last, NULL)))
        return moe_node_fail(end, error, "moe_layer_end_index: not a whole number from -1 to 4096");
    for (gint64 l = last >= 0 ? last + 1 : config->num_hidden_layers; l < config->num_hidden_layers;
         l++)
        moe_block_set_put(&config->dense, l, TRUE);
    double floor_of_sum = 0;
    least = moe_node_get(root, "moe_norm_min");
    if (least != NULL &&
        (least->kind != MOE_NODE_SCALAR ||
         !moe_units_parse_number(least->text, &floor_of_sum, NULL) ||
         floor_of_sum > (double)config->num_experts_per_tok / (double)config->num_experts / 1e3))
        return moe_node_fail(least, error,
                             "moe_norm_min: large enough to change weights; ERNIE's "
                             "is 1e-12");
    return moe_config_only(root, "use_bias", "false", &moe_family_ernie4_5, error);
}

static const char *const usual[] = {"rope_theta", "5e5", "tie_word_embeddings", "true", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_ernie4_5 = {
    .model_type = "ernie4_5_moe",
    .title = "ERNIE-4.5-MoE",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .router = "mlp.gate",
              .bias = "mlp.moe_statics.e_score_correction_bias",
              .gate = "mlp.experts.%d.gate_proj",
              .up = "mlp.experts.%d.up_proj",
              .down = "mlp.experts.%d.down_proj",
              .shared_gate = "mlp.shared_experts.gate_proj",
              .shared_up = "mlp.shared_experts.up_proj",
              .shared_down = "mlp.shared_experts.down_proj"},
    .rope_pairs = MOE_ROPE_NEIGHBOURS,
    .gguf = {.architecture = "ernie4_5-moe", .shared_divided = TRUE},
    .ignored_tensors = ignored_tensors,
};

#include "config.h"

#include "models/family.h"

/* Llama 4, the language model (Meta, 2025), as Hugging Face transformers' Llama4ForCausalLM computes
 * it: a sigmoid gate that weighs the experts' inputs; chunked attention with RoPE and unweighted
 * norms of each head, but in every fourth block all positions, no RoPE, and queries that grow with
 * the position. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "5120"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "48", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "40"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, "8"),
    MOE_CONFIG_WIDTH("head_dim", head_dim, "128"),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "202048", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "131072", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", moe_intermediate_size, "8192"),
    MOE_CONFIG_WIDTH("intermediate_size_mlp", intermediate_size, "16384"),
    MOE_CONFIG_COUNT("num_local_experts", num_experts, "16", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "1", 256),
    MOE_CONFIG_COUNT("interleave_moe_layer_step", decoder_sparse_step, "1", 4096),
    MOE_CONFIG_COUNT("attention_chunk_size", attention_chunk_size, "8192", 1 << 30),
    MOE_CONFIG_BOOL("use_qk_norm", use_qk_norm, "true"),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    MOE_CONFIG_NUMBER("floor_scale", temperature_floor, "8192", 1, 1e9),
    MOE_CONFIG_NUMBER("attn_scale", temperature_scale, "0.1", 0, 1e3),
    {"attn_temperature_tuning", MOE_FIELD_IGNORED}, /* read below, as the others */
    {"moe_layers", MOE_FIELD_IGNORED},
    {"layer_types", MOE_FIELD_IGNORED},
    {"no_rope_layers", MOE_FIELD_IGNORED},
    {"no_rope_layer_interval", MOE_FIELD_IGNORED},
    {"for_llm_compressor", MOE_FIELD_IGNORED},
    {"router_jitter_noise", MOE_FIELD_IGNORED}, /* of training */
    {NULL},
};

/* no_rope_layers has 1 for blocks with RoPE; an empty list is no list. */
static gboolean read_ropes(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeNode *list = moe_node_get(root, "no_rope_layers");
    const MoeNode *interval = moe_node_get(root, "no_rope_layer_interval");
    guint64 step = 4;
    if (interval != NULL && !moe_node_is_null(interval) &&
        (interval->kind != MOE_NODE_SCALAR ||
         !g_ascii_string_to_unsigned(interval->text, 10, 1, 4096, &step, NULL)))
        return moe_node_fail(interval, error,
                             "no_rope_layer_interval: not a whole number from 1 to 4096");
    for (gint64 l = 0; l < config->num_hidden_layers; l++)
        moe_block_set_put(&config->no_rope, l, (l + 1) % (gint64)step == 0);
    if (list == NULL || (list->kind == MOE_NODE_LIST && list->items->len == 0))
        return TRUE;
    return moe_config_mark(root, "no_rope_layers", "0", "1", config, &config->no_rope, error);
}

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeNode *tuning = moe_node_get(root, "attn_temperature_tuning");
    config->n_shared_experts = 1;
    config->output_bias = config->attention_bias;
    if (tuning != NULL &&
        (g_strcmp0(tuning->text, "false") == 0 || g_strcmp0(tuning->text, "0") == 0))
        config->temperature_floor = 0;
    if (!read_ropes(root, config, error))
        return FALSE;
    for (gint64 l = 0; l < config->num_hidden_layers; l++)
        moe_block_set_put(&config->local, l, !moe_block_set_has(&config->no_rope, l));
    if (!moe_config_mark(root, "layer_types", "chunked_attention", "full_attention", config,
                         &config->local, error))
        return FALSE;
    const MoeNode *sparse = moe_node_get(root, "moe_layers");
    if (sparse == NULL || moe_node_is_null(sparse))
        return TRUE;
    MoeBlockSet listed = {0};
    if (!moe_config_mark_indices(root, "moe_layers", config, &listed, error))
        return FALSE;
    for (gint64 l = 0; l < config->num_hidden_layers; l++)
        moe_block_set_put(&config->dense, l, !moe_block_set_has(&listed, l));
    return TRUE;
}

static const char *const keys[] = {"attention.sliding_window", "attention_chunk_size", NULL};
static const char *const maverick[] = {"use_qk_norm", "false", NULL};

static const char *const usual[] = {"rope_theta", "5e5", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_llama4 = {
    .model_type = "llama4_text",
    .wrapper = "llama4",
    .title = "Llama 4",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .router = "feed_forward.router",
              .gate_up = "feed_forward.experts.gate_up_proj",
              .down = "feed_forward.experts.down_proj",
              .dense_gate = "feed_forward.gate_proj",
              .dense_up = "feed_forward.up_proj",
              .dense_down = "feed_forward.down_proj",
              .shared_gate = "feed_forward.shared_expert.gate_proj",
              .shared_up = "feed_forward.shared_expert.up_proj",
              .shared_down = "feed_forward.shared_expert.down_proj"},
    .gate = {.score = MOE_SCORE_SIGMOID},
    .layout = MOE_EXPERTS_TRANSPOSED,
    .rope_pairs = MOE_ROPE_NEIGHBOURS,
    .norm_heads = TRUE,
    .norm_after_rope = TRUE,
    .norm_unweighted = TRUE,
    .weighs_input = TRUE,
    .gguf = {.architecture = "llama4", .keys = keys, .special_experts = 128, .special = maverick},
    .ignored_tensors = ignored_tensors,
};

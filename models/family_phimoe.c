#include "config.h"

#include "models/family.h"
#include "sim/base/units.h"

#include <math.h>

/* Phi-3.5-MoE (Abdin et al., 2024, arXiv 2404.14219), as Hugging Face transformers'
 * PhimoeForCausalLM computes it: sparsemixer gate, LayerNorm, biases everywhere but in the experts,
 * long RoPE. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "32", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, "8"),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "32064", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "131072", 1 << 30),
    {"original_max_position_embeddings", MOE_FIELD_INT,
     MOE_CONFIG_AT(original_max_position_embeddings), "", .min = 1, .max = 1 << 30},
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "6400"),
    MOE_CONFIG_COUNT("num_local_experts", num_experts, "16", 65535),
    MOE_CONFIG_COUNT("num_experts_per_tok", num_experts_per_tok, "2", 2),
    MOE_CONFIG_NUMBER("router_jitter_noise", router_jitter, "0.01", 0, 1),
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    MOE_CONFIG_BOOL("lm_head_bias", head_bias, "false"),
    {"input_jitter_noise", MOE_FIELD_IGNORED}, /* of training */
    {"hidden_dropout", MOE_FIELD_IGNORED},
    {"sliding_window", MOE_FIELD_INT, MOE_CONFIG_AT(sliding_window), "0", .max = 1 << 30},
    {NULL},
};

/* A factor that the two of Phi stand in for can only be the usual one, which llama.cpp writes. */
static gboolean check_factor(const MoeNode *root, const MoeConfig *config, GError **error)
{
    const MoeNode *map = moe_node_get(root, "rope_scaling");
    const MoeNode *factor =
        map != NULL && map->kind == MOE_NODE_MAP ? moe_node_get(map, "attention_factor") : NULL;
    double trained = (double)config->original_max_position_embeddings, value;
    double longer = (double)config->max_position_embeddings / trained;
    if (factor == NULL || moe_node_is_null(factor) || trained < 2)
        return TRUE;
    double usual = longer > 1 ? sqrt(1 + log(longer) / log(trained)) : 1;
    return (factor->kind == MOE_NODE_SCALAR && moe_units_parse_number(factor->text, &value, NULL) &&
            fabs(value - usual) < 1e-4) ||
           moe_node_fail(factor, error,
                         "attention_factor: Phi's short_mscale and long_mscale stand in for it; "
                         "leave it out, or write %.6g",
                         usual);
}

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    if (!check_factor(root, config, error))
        return FALSE;
    config->output_bias = config->attention_bias;
    /* The published file has a window as long as its context, which hides nothing. */
    if (config->sliding_window > 0 && config->sliding_window < config->max_position_embeddings)
        for (gint64 l = 0; l < config->num_hidden_layers; l++)
            moe_block_set_put(&config->local, l, TRUE);
    return config->num_experts_per_tok == 2 ||
           moe_node_fail(root, error, "num_experts_per_tok: sparsemixer chooses 2");
}

/* llama.cpp's converter drops these two, and writes another factor; all published files have them
 * so. */
static const char *const constants[] = {"rope_scaling.short_mscale", "1.243163121016122",
                                        "rope_scaling.long_mscale", "1.243163121016122", NULL};

static const char *const usual[] = {"rope_theta", "1e6", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_phimoe = {
    .model_type = "phimoe",
    .title = "Phi-3.5-MoE",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .router = "block_sparse_moe.gate",
              .gate = "block_sparse_moe.experts.%d.w1",
              .up = "block_sparse_moe.experts.%d.w3",
              .down = "block_sparse_moe.experts.%d.w2"},
    .gate = {.score = MOE_SCORE_SPARSEMIXER},
    .layer_norm = TRUE,
    .layer_norm_bias = TRUE,
    .gguf = {.architecture = "phimoe", .constants = constants},
    .ignored_tensors = ignored_tensors,
};

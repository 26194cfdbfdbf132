#include "config.h"

#include "models/family.h"

/* HunYuan-MoE (Tencent, Hunyuan-A13B, 2025), as Hugging Face transformers' HunYuanMoEV1ForCausalLM
 * computes it: softmax gate, always renormalised; one shared expert as wide as the others; norms of
 * each head behind RoPE. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "4096"),
    MOE_CONFIG_COUNT("num_hidden_layers", num_hidden_layers, "32", 4096),
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "32"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "290943", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "2048", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("head_dim", head_dim, ""),
    MOE_CONFIG_WIDTH("intermediate_size", intermediate_size, "11008"),
    MOE_CONFIG_COUNT("num_experts", num_experts, "1", 65535),
    {"moe_topk", MOE_FIELD_IGNORED}, /* read below */
    {"eod_token_id", MOE_FIELD_IGNORED},
    {"pretraining_tp", MOE_FIELD_IGNORED},
    {"sep_token_id", MOE_FIELD_IGNORED},
    MOE_CONFIG_BOOL("attention_bias", attention_bias, "false"),
    {NULL},
};

/* One number, or a list of one per block, which must all be the same. */
static gboolean read_top_k(const MoeNode *node, gint64 *k_out, GError **error)
{
    guint n = node->kind == MOE_NODE_LIST ? node->items->len : 1;
    for (guint i = 0; i < n; i++) {
        const MoeNode *item =
            node->kind == MOE_NODE_LIST ? g_ptr_array_index(node->items, i) : node;
        guint64 k;
        if (item->kind != MOE_NODE_SCALAR ||
            !g_ascii_string_to_unsigned(item->text, 10, 1, 256, &k, NULL))
            return moe_node_fail(item, error, "moe_topk: not a whole number from 1 to 256");
        if (i > 0 && (gint64)k != *k_out)
            return moe_node_fail(item, error,
                                 "moe_topk: HunYuan-MoE is supported with the same top-k in every "
                                 "block");
        *k_out = (gint64)k;
    }
    return n > 0 || moe_node_fail(node, error, "moe_topk: the list is empty");
}

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeNode *top_k = moe_node_get(root, "moe_topk");
    config->use_qk_norm = TRUE;
    config->norm_topk_prob = TRUE;
    config->n_shared_experts = 1;
    config->num_experts_per_tok = 1;
    if (config->attention_bias)
        return moe_node_fail(root, error,
                             "attention_bias: HunYuan-MoE is supported without it (false)");
    return top_k == NULL || read_top_k(top_k, &config->num_experts_per_tok, error);
}

static const char *const keys[] = {"expert_used_count", "moe_topk", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_hunyuan = {
    .model_type = "hunyuan_v1_moe",
    .title = "HunYuan-MoE",
    .fields = fields,
    .check = check,
    .names = {.attention_norm = "input_layernorm",
              .ffn_norm = "post_attention_layernorm",
              .q_norm = "self_attn.query_layernorm",
              .k_norm = "self_attn.key_layernorm",
              .router = "mlp.gate.wg",
              .gate = "mlp.experts.%d.gate_proj",
              .up = "mlp.experts.%d.up_proj",
              .down = "mlp.experts.%d.down_proj",
              .shared_gate = "mlp.shared_mlp.gate_proj",
              .shared_up = "mlp.shared_mlp.up_proj",
              .shared_down = "mlp.shared_mlp.down_proj"},
    .norm_heads = TRUE,
    .norm_after_rope = TRUE,
    .gguf = {.architecture = "hunyuan-moe", .keys = keys},
    .ignored_tensors = ignored_tensors,
};

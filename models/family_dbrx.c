#include "config.h"

#include "models/family.h"

/* DBRX (Databricks, 2024), as Hugging Face transformers' DbrxForCausalLM computes it: LayerNorm
 * without bias, one matrix for q, k and v, clipped; experts below each other in one matrix. What
 * attn_config and ffn_config say is read here. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("d_model", hidden_size, "2048"),
    MOE_CONFIG_COUNT("n_layers", num_hidden_layers, "24", 4096),
    MOE_CONFIG_WIDTH("n_heads", num_attention_heads, "16"),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "32000", 1 << 24),
    MOE_CONFIG_COUNT("max_seq_len", max_position_embeddings, "2048", 1 << 30),
    {"attn_config", MOE_FIELD_IGNORED}, /* read below */
    {"ffn_config", MOE_FIELD_IGNORED},
    {"num_key_value_heads", MOE_FIELD_IGNORED}, /* attn_config's kv_n_heads again */
    {"emb_pdrop", MOE_FIELD_IGNORED},
    {"resid_pdrop", MOE_FIELD_IGNORED},
    {NULL},
};

static const MoeField attention_fields[] = {
    MOE_CONFIG_WIDTH("kv_n_heads", num_key_value_heads, "1"),
    MOE_CONFIG_NUMBER("clip_qkv", clip_qkv, "", 1e-6, 1e9),
    MOE_CONFIG_NUMBER("rope_theta", rope_theta, "10000", 1, 1e12),
    {"attn_pdrop", MOE_FIELD_IGNORED},
    {"model_type", MOE_FIELD_IGNORED},
    {NULL},
};

static const MoeField ffn_fields[] = {
    MOE_CONFIG_WIDTH("ffn_hidden_size", intermediate_size, "3584"),
    MOE_CONFIG_COUNT("moe_num_experts", num_experts, "4", 65535),
    MOE_CONFIG_COUNT("moe_top_k", num_experts_per_tok, "1", 256),
    {"moe_normalize_expert_weights", MOE_FIELD_IGNORED}, /* read below */
    {"ffn_act_fn", MOE_FIELD_IGNORED},
    {"moe_jitter_eps", MOE_FIELD_IGNORED}, /* of training */
    {"moe_loss_weight", MOE_FIELD_IGNORED},
    {"uniform_expert_assignment", MOE_FIELD_IGNORED},
    {"hidden_size", MOE_FIELD_IGNORED}, /* d_model again */
    {"model_type", MOE_FIELD_IGNORED},
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeFamily *family = &moe_family_dbrx;
    const MoeNode *attention = moe_node_get(root, "attn_config");
    const MoeNode *ffn = moe_node_get(root, "ffn_config");
    if (!moe_fields_read(attention_fields, attention, "attn_config", config, error) ||
        !moe_fields_read(ffn_fields, ffn, "ffn_config", config, error))
        return FALSE;
    const MoeNode *act = ffn != NULL ? moe_node_get(ffn, "ffn_act_fn") : NULL;
    const MoeNode *power = ffn != NULL ? moe_node_get(ffn, "moe_normalize_expert_weights") : NULL;
    g_autofree char *heads = g_strdup_printf("%" G_GINT64_FORMAT, config->num_key_value_heads);
    config->rms_norm_eps = 1e-5; /* of torch.nn.LayerNorm */
    config->norm_topk_prob = power == NULL || !moe_node_is_null(power);
    g_autofree char *width = g_strdup_printf("%" G_GINT64_FORMAT, config->hidden_size);
    if (ffn != NULL && !moe_config_only(ffn, "hidden_size", width, family, error))
        return FALSE;
    return moe_config_only(root, "num_key_value_heads", heads, family, error) &&
           (act == NULL || moe_config_only(act, "name", "silu", family, error)) &&
           (power == NULL || g_strcmp0(power->text, "1.0") == 0 ||
            moe_config_only(ffn, "moe_normalize_expert_weights", "1", family, error)) &&
           (ffn == NULL ||
            moe_config_only(ffn, "uniform_expert_assignment", "false", family, error));
}

static const char *const keys[] = {"attention.head_count_kv",
                                   "attn_config.kv_n_heads",
                                   "attention.clamp_kqv",
                                   "attn_config.clip_qkv",
                                   "rope.freq_base",
                                   "attn_config.rope_theta",
                                   "feed_forward_length",
                                   "ffn_config.ffn_hidden_size",
                                   "expert_count",
                                   "ffn_config.moe_num_experts",
                                   "expert_used_count",
                                   "ffn_config.moe_top_k",
                                   NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_dbrx = {
    .model_type = "dbrx",
    .title = "DBRX",
    .fields = fields,
    .check = check,
    .names = {.block = "transformer.blocks",
              .embedding = "transformer.wte",
              .final_norm = "transformer.norm_f",
              .attention_norm = "norm_attn_norm.norm_1",
              .ffn_norm = "norm_attn_norm.norm_2",
              .attention = "norm_attn_norm.attn.",
              .qkv = "Wqkv",
              .o = "out_proj",
              .router = "ffn.router.layer",
              .gate = "ffn.experts.mlp.w1",
              .up = "ffn.experts.mlp.v1",
              .down = "ffn.experts.mlp.w2"},
    .layout = MOE_EXPERTS_ROWS,
    .layer_norm = TRUE,
    .gguf = {.architecture = "dbrx", .ffn_norm = "attn_output_norm", .keys = keys},
    .ignored_tensors = ignored_tensors,
};

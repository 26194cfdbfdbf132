#include "config.h"

#include "models/family_mla.h"

#include <math.h>

/* LongCat-Flash (Meituan, 2025, arXiv 2509.01322), as Hugging Face transformers'
 * LongcatFlashForCausalLM computes it: two latent attentions with a dense FFN each in a block, and
 * experts that see the first one's output and are added behind the second; the last experts are
 * identities. */

static const MoeField fields[] = {
    MOE_CONFIG_WIDTH("hidden_size", hidden_size, "6144"),
    MOE_CONFIG_COUNT("num_layers", num_hidden_layers, "28", 4096),
    {"num_hidden_layers", MOE_FIELD_IGNORED}, /* twice num_layers: checked below */
    MOE_CONFIG_WIDTH("num_attention_heads", num_attention_heads, "64"),
    MOE_CONFIG_WIDTH("num_key_value_heads", num_key_value_heads, ""),
    MOE_CONFIG_COUNT("vocab_size", vocab_size, "131072", 1 << 24),
    MOE_CONFIG_COUNT("max_position_embeddings", max_position_embeddings, "131072", 1 << 30),
    MOE_CONFIG_NUMBER("rms_norm_eps", rms_norm_eps, "1e-5", 1e-30, 1),
    MOE_CONFIG_WIDTH("ffn_hidden_size", intermediate_size, "12288"),
    MOE_CONFIG_WIDTH("expert_ffn_hidden_size", moe_intermediate_size, "2048"),
    MOE_CONFIG_COUNT("n_routed_experts", num_experts, "512", 65535),
    {"zero_expert_num", MOE_FIELD_INT, MOE_CONFIG_AT(identity_experts), "256", .max = 65534},
    MOE_CONFIG_COUNT("moe_topk", num_experts_per_tok, "12", 256),
    MOE_CONFIG_NUMBER("routed_scaling_factor", routed_scaling_factor, "6", 1e-6, 1e6),
    MOE_MLA_FIELDS,
    {"zero_expert_type", MOE_FIELD_IGNORED}, /* checked below, as the others */
    {"router_bias", MOE_FIELD_IGNORED},
    {"norm_topk_prob", MOE_FIELD_IGNORED},
    {"mla_scale_q_lora", MOE_FIELD_IGNORED},
    {"mla_scale_kv_lora", MOE_FIELD_IGNORED},
    {"attention_method", MOE_FIELD_IGNORED},
    {NULL},
};

static gboolean check(const MoeNode *root, MoeConfig *config, GError **error)
{
    const MoeFamily *family = &moe_family_longcat_flash;
    const double hidden = (double)config->hidden_size;
    g_autofree char *attentions =
        g_strdup_printf("%" G_GINT64_FORMAT, 2 * config->num_hidden_layers);
    config->num_experts += config->identity_experts;
    config->parts = 2;
    if (config->num_experts > 65535)
        return moe_node_fail(root, error, "zero_expert_num: more than 65535 experts in all");
    if (config->q_lora_rank == 0)
        return moe_node_fail(root, error, "q_lora_rank: missing; LongCat-Flash compresses queries");
    config->latent_scale[0] = sqrt(hidden / (double)config->q_lora_rank);
    config->latent_scale[1] = sqrt(hidden / (double)config->kv_lora_rank);
    return moe_config_only(root, "num_hidden_layers", attentions, family, error) &&
           moe_config_only(root, "zero_expert_type", "identity", family, error) &&
           moe_config_only(root, "router_bias", "false", family, error) &&
           moe_config_only(root, "norm_topk_prob", "false", family, error) &&
           moe_config_only(root, "mla_scale_q_lora", "true", family, error) &&
           moe_config_only(root, "mla_scale_kv_lora", "true", family, error) &&
           moe_config_only(root, "attention_method", "MLA", family, error) &&
           moe_mla_check(root, family, "softmax", NULL, config, error);
}

static const char *const usual[] = {"q_lora_rank", "1536", "rope_theta", "1e7", NULL};

static const char *const ignored_tensors[] = {"rotary_emb.inv_freq", NULL};

const MoeFamily moe_family_longcat_flash = {
    .model_type = "longcat_flash",
    .title = "LongCat-Flash",
    .fields = fields,
    .usual = usual,
    .check = check,
    .names = {.attention_norm = "input_layernorm.%p",
              .ffn_norm = "post_attention_layernorm.%p",
              .attention = "self_attn.%p.",
              .router = "mlp.router.classifier",
              .bias = "mlp.router.e_score_correction_bias",
              .gate = "mlp.experts.%d.gate_proj",
              .up = "mlp.experts.%d.up_proj",
              .down = "mlp.experts.%d.down_proj",
              .dense_gate = "mlps.%p.gate_proj",
              .dense_up = "mlps.%p.up_proj",
              .dense_down = "mlps.%p.down_proj"},
    .gate = {.score = MOE_SCORE_SOFTMAX},
    .rope_pairs = MOE_ROPE_NEIGHBOURS,
    .ignored_tensors = ignored_tensors,
};

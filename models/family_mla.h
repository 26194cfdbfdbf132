/* family_mla.h - what the config.json files of DeepSeek's descendants share.
 *
 * Layer: models. Private to family_*.c.
 */
#ifndef MOE_MODELS_FAMILY_MLA_H
#define MOE_MODELS_FAMILY_MLA_H

#include "models/family.h"

/* Rows of latent attention, and of keys that are checked by moe_mla_check() or say nothing about
 * the forward pass. */
#define MOE_MLA_FIELDS                                                                             \
    MOE_CONFIG_WIDTH("q_lora_rank", q_lora_rank, ""),                                              \
        MOE_CONFIG_WIDTH("kv_lora_rank", kv_lora_rank, "512"),                                     \
        MOE_CONFIG_WIDTH("qk_nope_head_dim", qk_nope_head_dim, "128"),                             \
        MOE_CONFIG_WIDTH("qk_rope_head_dim", qk_rope_head_dim, "64"),                              \
        MOE_CONFIG_WIDTH("v_head_dim", v_head_dim, "128"),                                         \
        {"num_nextn_predict_layers", MOE_FIELD_INT, MOE_CONFIG_AT(num_nextn_predict_layers), "0",  \
         .max = 64},                                                                               \
        {"attention_bias", MOE_FIELD_IGNORED}, {"head_dim", MOE_FIELD_IGNORED},                    \
        {"qk_head_dim", MOE_FIELD_IGNORED}, {"rope_interleave", MOE_FIELD_IGNORED},                \
        {"moe_layer_freq", MOE_FIELD_IGNORED}, {"topk_method", MOE_FIELD_IGNORED},                 \
        {"scoring_func", MOE_FIELD_IGNORED}, {"aux_loss_alpha", MOE_FIELD_IGNORED},                \
        {"seq_aux", MOE_FIELD_IGNORED}, {"ep_size", MOE_FIELD_IGNORED},                            \
    {                                                                                              \
        "pretraining_tp", MOE_FIELD_IGNORED                                                        \
    }

/* Names as DeepSeek-V2 uses them; V3 adds the correction bias. */
#define MOE_MLA_NAMES(BIAS)                                                                        \
    {                                                                                              \
        .attention_norm = "input_layernorm", .ffn_norm = "post_attention_layernorm",               \
        .router = "mlp.gate", .bias = BIAS, .gate = "mlp.experts.%d.gate_proj",                    \
        .up = "mlp.experts.%d.up_proj", .down = "mlp.experts.%d.down_proj",                        \
        .shared_gate = "mlp.shared_experts.gate_proj", .shared_up = "mlp.shared_experts.up_proj",  \
        .shared_down = "mlp.shared_experts.down_proj",                                             \
    }

/* Checks that @root asks for nothing that no model with latent attention has: biases, RoPE in halves,
 * another gate than @score and @method (NULL: the family checks), other head widths than the parts
 * make. Errors: MOE_ERROR_INPUT, at the key. */
gboolean moe_mla_check(const MoeNode *root, const MoeFamily *family, const char *score,
                       const char *method, const MoeConfig *config, GError **error);

#endif

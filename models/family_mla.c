#include "config.h"

#include "models/family_mla.h"

static gboolean check_width(const MoeNode *root, const char *key, gint64 width,
                            const MoeFamily *family, GError **error)
{
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, width);
    return moe_config_only(root, key, text, family, error);
}

gboolean moe_mla_check(const MoeNode *root, const MoeFamily *family, const char *score,
                       const char *method, const MoeConfig *config, GError **error)
{
    const MoeNode *frequency = moe_node_get(root, "moe_layer_freq");
    gint64 rope = config->qk_rope_head_dim;
    return moe_config_only(root, "attention_bias", "false", family, error) &&
           moe_config_only(root, "rope_interleave", "true", family, error) &&
           moe_config_only(root, "scoring_func", score, family, error) &&
           (method == NULL || moe_config_only(root, "topk_method", method, family, error)) &&
           (frequency == NULL || frequency->kind == MOE_NODE_LIST ||
            moe_config_only(root, "moe_layer_freq", "1", family, error)) &&
           check_width(root, "head_dim", rope, family, error) &&
           check_width(root, "qk_head_dim", rope + config->qk_nope_head_dim, family, error);
}

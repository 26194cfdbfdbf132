#include "config.h"

#include "models/family.h"

#include <string.h>

static const MoeFamily *const families[] = {
    &moe_family_olmoe,
};

/* Keys of Hugging Face's PretrainedConfig that say nothing about the forward pass. */
static const MoeField common_fields[] = {
    {"_name_or_path", MOE_FIELD_IGNORED},
    {"architectures", MOE_FIELD_IGNORED},
    {"bos_token_id", MOE_FIELD_IGNORED},
    {"dtype", MOE_FIELD_IGNORED}, /* read by moe_family_dtype() */
    {"eos_token_id", MOE_FIELD_IGNORED},
    {"initializer_range", MOE_FIELD_IGNORED},
    {"model_type", MOE_FIELD_IGNORED},
    {"output_router_logits", MOE_FIELD_IGNORED},
    {"pad_token_id", MOE_FIELD_IGNORED},
    {"router_aux_loss_coef", MOE_FIELD_IGNORED},
    {"torch_dtype", MOE_FIELD_IGNORED},
    {"transformers_version", MOE_FIELD_IGNORED},
    {"use_cache", MOE_FIELD_IGNORED},
    {NULL},
};

const char *const *moe_family_names(void)
{
    static const char *names[G_N_ELEMENTS(families) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++)
        names[i] = families[i]->model_type;
    return names;
}

const MoeFamily *moe_family_find(const MoeNode *config, GError **error)
{
    const MoeNode *type = moe_node_get(config, "model_type");
    if (type == NULL || type->kind != MOE_NODE_SCALAR) {
        moe_node_fail(config, error, "model_type: missing; it names the architecture");
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++)
        if (strcmp(families[i]->model_type, type->text) == 0)
            return families[i];
    g_autofree char *all = g_strjoinv(", ", (char **)moe_family_names());
    moe_node_fail(type, error, "model_type: the family '%s' is not supported; supported: %s",
                  type->text, all);
    return NULL;
}

gboolean moe_family_read(const MoeField *fields, const MoeNode *config, void *object,
                         GError **error)
{
    g_autoptr(GArray) all = g_array_new(TRUE, TRUE, sizeof(MoeField));
    for (const MoeField *field = fields; field->name != NULL; field++)
        g_array_append_val(all, *field);
    for (const MoeField *field = common_fields; field->name != NULL; field++)
        g_array_append_val(all, *field);
    return moe_fields_read((const MoeField *)(const void *)all->data, config, "config.json", object,
                           error);
}

gboolean moe_family_dtype(const MoeNode *config, MoeDtype *dtype_out, GError **error)
{
    static const struct {
        const char *name;
        MoeDtype dtype;
    } names[] = {{"float32", MOE_F32}, {"float16", MOE_F16}, {"bfloat16", MOE_BF16}};
    const MoeNode *node = moe_node_get(config, "dtype");
    if (node == NULL)
        node = moe_node_get(config, "torch_dtype");
    *dtype_out = MOE_BF16;
    if (node == NULL || moe_node_is_null(node))
        return TRUE;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (node->kind == MOE_NODE_SCALAR && strcmp(names[i].name, node->text) == 0) {
            *dtype_out = names[i].dtype;
            return TRUE;
        }
    }
    g_autofree char *what = moe_node_describe(node);
    return moe_node_fail(node, error,
                         "dtype: %s is not supported; bfloat16, float16 and float32 are", what);
}

#include "config.h"

#include "models/quantization.h"

#include "sim/base/field.h"

#include <string.h>

enum { FP8, MXFP4 };

static const char *const *methods(void)
{
    static const char *const names[] = {"fp8", "mxfp4", NULL};
    return names;
}

static const char *const *formats(void)
{
    static const char *const names[] = {"e4m3", "float8_e4m3fn", NULL};
    return names;
}

typedef struct {
    int method, format;
    GArray *block; /* of gint64 */
} Keys;

#define AT(MEMBER) offsetof(Keys, MEMBER)
static const MoeField fields[] = {
    {"quant_method", MOE_FIELD_CHOICE, AT(method), .choices = methods},
    {"fmt", MOE_FIELD_CHOICE, AT(format), "e4m3", .choices = formats},
    {"weight_block_size", MOE_FIELD_INTS, AT(block), "", .min = 1, .max = 1 << 20},
    /* Of activations, of servers' kernels, and lists that the tensors' types repeat. */
    {"activation_scheme", MOE_FIELD_IGNORED},
    {"scale_fmt", MOE_FIELD_IGNORED},
    {"modules_to_not_convert", MOE_FIELD_IGNORED},
    {"ignored_layers", MOE_FIELD_IGNORED},
    {"dequantize", MOE_FIELD_IGNORED},
    {NULL},
};

static gboolean read_method(const MoeNode *node, MoeQuantization *out, GError **error)
{
    Keys keys = {0};
    if (!moe_fields_read(fields, node, "quantization_config", &keys, error))
        return FALSE;
    gboolean good = keys.method == MXFP4 || (keys.block != NULL && keys.block->len == 2);
    out->dtype = keys.method == MXFP4 ? MOE_F4_E2M1 : MOE_F8_E4M3;
    for (guint i = 0; good && keys.method == FP8 && i < 2; i++)
        out->scale_block[i] = g_array_index(keys.block, gint64, i);
    moe_fields_clear(fields, &keys);
    return good || moe_node_fail(node, error,
                                 "weight_block_size: fp8 weights are read with a scale for each "
                                 "block; write [rows, columns]");
}

gboolean moe_quantization_read(const MoeNode *config, MoeQuantization *out, GError **error)
{
    static const struct {
        const char *name;
        MoeDtype dtype;
    } names[] = {{"float32", MOE_F32}, {"float16", MOE_F16}, {"bfloat16", MOE_BF16}};
    const MoeNode *quantization = moe_node_get(config, "quantization_config");
    const MoeNode *node = moe_node_get(config, "dtype");
    *out = (MoeQuantization){.dtype = MOE_BF16};
    if (quantization != NULL && !moe_node_is_null(quantization))
        return read_method(quantization, out, error);
    if (node == NULL)
        node = moe_node_get(config, "torch_dtype");
    if (node == NULL || moe_node_is_null(node))
        return TRUE;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (node->kind == MOE_NODE_SCALAR && strcmp(names[i].name, node->text) == 0) {
            out->dtype = names[i].dtype;
            return TRUE;
        }
    }
    g_autofree char *what = moe_node_describe(node);
    return moe_node_fail(node, error,
                         "dtype: %s is not supported; bfloat16, float16 and float32 are", what);
}

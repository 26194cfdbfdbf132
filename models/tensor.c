#include "config.h"

#include "models/tensor.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size; /* of an element, where there is no matrix type to ask */
    int dtype;   /* MoeDtype, -1: none */
} types[MOE_ST_COUNT] = {
    [MOE_ST_BOOL] = {"BOOL", 1, -1},
    [MOE_ST_U8] = {"U8", 1, -1},
    [MOE_ST_I8] = {"I8", 1, -1},
    [MOE_ST_F8_E4M3] = {"F8_E4M3", 1, MOE_F8_E4M3},
    [MOE_ST_F8_E5M2] = {"F8_E5M2", 1, MOE_F8_E5M2},
    [MOE_ST_F8_E8M0] = {"F8_E8M0", 1, MOE_F8_E8M0},
    [MOE_ST_U16] = {"U16", 2, -1},
    [MOE_ST_I16] = {"I16", 2, -1},
    [MOE_ST_F16] = {"F16", 2, MOE_F16},
    [MOE_ST_BF16] = {"BF16", 2, MOE_BF16},
    [MOE_ST_U32] = {"U32", 4, -1},
    [MOE_ST_I32] = {"I32", 4, -1},
    [MOE_ST_F32] = {"F32", 4, MOE_F32},
    [MOE_ST_U64] = {"U64", 8, -1},
    [MOE_ST_I64] = {"I64", 8, -1},
    [MOE_ST_F64] = {"F64", 8, -1},
    [MOE_ST_Q4_0] = {"Q4_0", 0, MOE_Q4_0},
    [MOE_ST_Q4_1] = {"Q4_1", 0, MOE_Q4_1},
    [MOE_ST_Q5_0] = {"Q5_0", 0, MOE_Q5_0},
    [MOE_ST_Q5_1] = {"Q5_1", 0, MOE_Q5_1},
    [MOE_ST_Q8_0] = {"Q8_0", 0, MOE_Q8_0},
    [MOE_ST_Q2_K] = {"Q2_K", 0, MOE_Q2_K},
    [MOE_ST_Q3_K] = {"Q3_K", 0, MOE_Q3_K},
    [MOE_ST_Q4_K] = {"Q4_K", 0, MOE_Q4_K},
    [MOE_ST_Q5_K] = {"Q5_K", 0, MOE_Q5_K},
    [MOE_ST_Q6_K] = {"Q6_K", 0, MOE_Q6_K},
    [MOE_ST_IQ4_NL] = {"IQ4_NL", 0, MOE_IQ4_NL},
    [MOE_ST_IQ4_XS] = {"IQ4_XS", 0, MOE_IQ4_XS},
    [MOE_ST_MXFP4] = {"MXFP4", 0, MOE_MXFP4},
};

const char *moe_st_type_name(MoeStType type)
{
    return types[type].name;
}

size_t moe_st_type_size(MoeStType type)
{
    return types[type].size > 0 ? types[type].size : moe_dtype_bytes((MoeDtype)types[type].dtype);
}

size_t moe_st_type_block(MoeStType type)
{
    return types[type].size > 0 ? 1 : moe_dtype_block((MoeDtype)types[type].dtype);
}

size_t moe_tensor_bytes(MoeStType type, gint64 n)
{
    return (size_t)n / moe_st_type_block(type) * moe_st_type_size(type);
}

gboolean moe_st_type_find(const char *name, int n, MoeStType *type_out)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(types[i].name, name) == 0) {
            *type_out = (MoeStType)i;
            return TRUE;
        }
    }
    return FALSE;
}

gboolean moe_st_type_dtype(MoeStType type, MoeDtype *dtype_out)
{
    if (types[type].dtype < 0)
        return FALSE;
    *dtype_out = (MoeDtype)types[type].dtype;
    return TRUE;
}

static char *shape_text(int n_dims, const gint64 *dims)
{
    GString *text = g_string_new("[");
    for (int i = 0; i < n_dims; i++) {
        g_string_append(text, i > 0 ? ", " : "");
        if (dims[i] < 0)
            g_string_append_c(text, '?');
        else
            g_string_append_printf(text, "%" G_GINT64_FORMAT, dims[i]);
    }
    g_string_append_c(text, ']');
    return g_string_free(text, FALSE);
}

gboolean moe_tensor_check(const MoeTensor *tensor, const char *where, const char *name,
                          guint wanted, int n_dims, const gint64 *dims, GError **error)
{
    if (tensor == NULL)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: tensor '%s' is missing", where, name);
    gboolean fits = tensor->n_dims == n_dims;
    for (int i = 0; i < n_dims && fits; i++)
        fits = dims[i] < 0 || tensor->dims[i] == dims[i];
    if (!fits) {
        g_autofree char *is = shape_text(tensor->n_dims, tensor->dims);
        g_autofree char *should = shape_text(n_dims, dims);
        return moe_fail(error, MOE_ERROR_INPUT, "%s: tensor '%s' has the shape %s; it must be %s",
                        where, name, is, should);
    }
    if ((wanted >> tensor->type & 1) != 0)
        return TRUE;
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < MOE_ST_COUNT; i++)
        if ((wanted >> i & 1) != 0)
            g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "",
                                   moe_st_type_name((MoeStType)i));
    return moe_fail(error, MOE_ERROR_INPUT, "%s: tensor '%s' has the type %s; it must be %s", where,
                    name, moe_st_type_name(tensor->type), names->str);
}

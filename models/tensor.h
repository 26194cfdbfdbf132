/* tensor.h - a named array as checkpoints store it.
 *
 * Layer: models. What safetensors.h and gguf.h find in a file, and weights.h hands on.
 */
#ifndef MOE_MODELS_TENSOR_H
#define MOE_MODELS_TENSOR_H

#include "kernels/matrix.h"
#include "sim/base/error.h"

/* What a tensor is stored as. From Q4_0 on, blocks of GGUF files, which safetensors does not have. */
typedef enum {
    MOE_ST_BOOL,
    MOE_ST_U8,
    MOE_ST_I8,
    MOE_ST_F8_E4M3,
    MOE_ST_F8_E5M2,
    MOE_ST_F8_E8M0,
    MOE_ST_U16,
    MOE_ST_I16,
    MOE_ST_F16,
    MOE_ST_BF16,
    MOE_ST_U32,
    MOE_ST_I32,
    MOE_ST_F32,
    MOE_ST_U64,
    MOE_ST_I64,
    MOE_ST_F64,
    MOE_ST_Q4_0,
    MOE_ST_Q4_1,
    MOE_ST_Q5_0,
    MOE_ST_Q5_1,
    MOE_ST_Q8_0,
    MOE_ST_Q2_K,
    MOE_ST_Q3_K,
    MOE_ST_Q4_K,
    MOE_ST_Q5_K,
    MOE_ST_Q6_K,
    MOE_ST_IQ4_NL,
    MOE_ST_IQ4_XS,
    MOE_ST_MXFP4,
} MoeStType;
enum { MOE_ST_COUNT = MOE_ST_MXFP4 + 1, MOE_ST_BLOCKS = MOE_ST_Q4_0, MOE_ST_MOST_DIMS = 8 };

/* "F32"; bytes of one element, or of one block; elements of a block, 1 of plain types. */
const char *moe_st_type_name(MoeStType type);
size_t moe_st_type_size(MoeStType type);
size_t moe_st_type_block(MoeStType type);

/* The one of the first @n types that is called @name, or FALSE. */
gboolean moe_st_type_find(const char *name, int n, MoeStType *type_out);

/* The matrix type that @type is, or FALSE when kernels do not read it. */
gboolean moe_st_type_dtype(MoeStType type, MoeDtype *dtype_out);

typedef struct {
    const char *name;
    MoeStType type;
    int n_dims;
    gint64 dims[MOE_ST_MOST_DIMS]; /* row-major: the last one lies together; whole blocks of it */
    gint64 n_elements;
    const void *data; /* aligned to the element size; blocks to nothing */
} MoeTensor;

/* The bytes of @n elements, whole blocks. */
size_t moe_tensor_bytes(MoeStType type, gint64 n);

/* Checks that @tensor, found or not, has @n_dims dimensions dims (-1: any size) and one of the
 * types of the bit mask @types (1 << MoeStType). @where is the file, @name the tensor, for the
 * message. Errors: MOE_ERROR_INPUT. */
gboolean moe_tensor_check(const MoeTensor *tensor, const char *where, const char *name, guint types,
                          int n_dims, const gint64 *dims, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

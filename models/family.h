/* family.h - one row per model architecture: how to read its config.json and name its tensors.
 *
 * Layer: models. A family describes a block in terms of the shared kernels; forward.h runs it. A
 * new family is one file and one row of the table in family.c.
 */
#ifndef MOE_MODELS_FAMILY_H
#define MOE_MODELS_FAMILY_H

#include "kernels/experts.h"
#include "kernels/gate.h"
#include "models/model.h"
#include "models/weights.h"

/* One block, all data borrowed from the weights, but for the array of experts. */
typedef struct {
    /* attention: x += o attention(rope(clip(norm(q h))), rope(clip(norm(k h))), clip(v h)), h =
     * norm(x) */
    const float *attention_norm; /* [hidden] */
    MoeMatrix q, k, v, o;
    const float *q_norm, *k_norm; /* over all heads together: [q.rows], [k.rows]; NULL: none */
    float clip;                   /* of q, k and v; 0: none */
    /* experts: x += sum of weights * expert(h), h = norm(x) */
    const float *ffn_norm; /* [hidden] */
    MoeMatrix router;      /* [experts, hidden] */
    MoeGate gate;
    MoeExpert *experts; /* [num_experts]; g_free() */
} MoeBlock;

/* What is before the first and behind the last block. */
typedef struct {
    MoeMatrix embedding;     /* [vocab, hidden] */
    const float *final_norm; /* [hidden] */
    MoeMatrix head;          /* [vocab, hidden] */
    float norm_eps;          /* of every norm of the model */
    double rope_theta;
} MoeEnds;

struct MoeFamily {
    const char *model_type; /* in config.json */
    const char *title;
    /* Fills model->shape and model->config from config.json; every key is honoured or refused. */
    gboolean (*configure)(const MoeNode *config, MoeModel *model, GError **error);
    /* Finds the tensors. Errors: MOE_ERROR_INPUT. */
    gboolean (*bind_ends)(const MoeModel *model, MoeWeights *weights, MoeEnds *ends,
                          GError **error);
    gboolean (*bind_block)(const MoeModel *model, MoeWeights *weights, int layer, MoeBlock *block,
                           GError **error);
    /* The routing kernel and its parameters, in words. Free with g_free(). */
    char *(*describe_router)(const MoeModel *model);
    /* Endings of tensor names that a checkpoint may hold and nobody needs; NULL-terminated. */
    const char *const *ignored_tensors;
};

extern const MoeFamily moe_family_olmoe;

/* The family that config.json's model_type names. Errors: MOE_ERROR_INPUT, with what is supported.
 */
const MoeFamily *moe_family_find(const MoeNode *config, GError **error);

/* The names of all families, NULL-terminated, static. */
const char *const *moe_family_names(void);

/* Reads config.json into @object by the family's @fields and the keys that every config.json may
 * hold and that change nothing here. Errors: MOE_ERROR_INPUT; an unknown key is one. */
gboolean moe_family_read(const MoeField *fields, const MoeNode *config, void *object,
                         GError **error);

/* The type of the weights that config.json's dtype (or torch_dtype) names; bf16 when it is silent.
 * Errors: MOE_ERROR_INPUT, a type that is not read. */
gboolean moe_family_dtype(const MoeNode *config, MoeDtype *dtype_out, GError **error);

#endif

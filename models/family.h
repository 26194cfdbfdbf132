/* family.h - one row per model architecture: how to read its config.json and name its tensors.
 *
 * Layer: models. A family is data: the keys of its config.json, the names of its tensors, its gate.
 * family.c reads it, forward.h runs it. A new family is one file and one row of the table there.
 */
#ifndef MOE_MODELS_FAMILY_H
#define MOE_MODELS_FAMILY_H

#include "kernels/experts.h"
#include "kernels/gate.h"
#include "models/model.h"
#include "models/weights.h"

/* One block, all data borrowed from the weights, but for the array of experts. A matrix or expert
 * whose data is NULL, and a vector that is NULL, are not there. */
typedef struct {
    /* attention: x += post_norm(o attention(...) + o_bias) of h = norm(x), with q = q h + q_bias ... */
    const float *attention_norm, *attention_post_norm; /* [hidden] */
    MoeMatrix q, k, v, o;
    const float *q_bias, *k_bias, *v_bias; /* [q.rows] ... */
    const float *q_norm, *k_norm;          /* [q.rows], or [head_dim] where norms are per head */
    float clip;                            /* of q, k and v; 0: none */
    size_t window;                         /* of the attention; 0: none */
    /* FFN: x += post_norm(dense(h)), or post_norm(sum of weights * expert(h) + shared(h)) */
    const float *ffn_norm, *ffn_post_norm; /* [hidden] */
    MoeExpert dense;                       /* else: */
    MoeMatrix router;                      /* [experts, hidden] */
    MoeGate gate;
    MoeExpert *experts; /* [num_experts]; g_free() */
    MoeExpert shared;
    MoeMatrix shared_router; /* [1, hidden] */
} MoeBlock;

/* What is before the first and behind the last block. */
typedef struct {
    MoeMatrix embedding;     /* [vocab, hidden] */
    const float *final_norm; /* [hidden] */
    MoeMatrix head;          /* [vocab, hidden] */
    float norm_eps;          /* of every norm of the model */
    double rope_theta;
    size_t rotary_dim; /* elements of each head that are rotated */
} MoeEnds;

/* The numbers of config.json, under the names that most files use. */
typedef struct {
    gint64 hidden_size, intermediate_size, moe_intermediate_size, num_hidden_layers;
    gint64 num_attention_heads, num_key_value_heads, head_dim; /* the last two: 0 when not given */
    gint64 num_experts, num_experts_per_tok, first_k_dense_replace, decoder_sparse_step;
    gint64 n_shared_experts, shared_expert_intermediate_size; /* one or the other */
    gint64 n_group, topk_group;
    gint64 vocab_size, max_position_embeddings, sliding_window;
    double rms_norm_eps, clip_qkv, routed_scaling_factor;
    double rope_theta, partial_rotary_factor; /* NaN when not given */
    gboolean norm_topk_prob, tie_word_embeddings, attention_bias, use_qk_norm;
} MoeConfig;

/* Endings of tensors' names: "model.layers.L." and ".weight" around them, %d the expert. NULL: the
 * family has no such tensor. */
typedef struct {
    const char *attention_norm, *attention_post_norm, *ffn_norm, *ffn_post_norm;
    const char *q_norm, *k_norm;
    const char *router, *bias; /* the correction bias: without ".weight" */
    const char *gate, *up, *down;
    const char *shared_gate, *shared_up, *shared_down;
    const char *shared_router; /* of the shared expert: its output times sigmoid(w h) */
} MoeTensorNames;

struct MoeFamily {
    const char *model_type; /* in config.json */
    const char *title;
    const MoeField *fields; /* of config.json, reading a MoeConfig; ended by {NULL} */
    /* Refuses what the fields cannot, and fills in what goes by other names; NULL: nothing. */
    gboolean (*check)(const MoeNode *root, MoeConfig *config, GError **error);
    MoeTensorNames names;
    /* The part of the gate that config.json does not say: score, group_best, masked, epsilon. */
    MoeGate gate;
    gboolean norm_heads;      /* q_norm and k_norm are of each head, not of all together */
    gboolean norm_after_rope; /* and come after RoPE */
    /* Endings of tensor names that a checkpoint may hold and nobody needs; NULL-terminated. */
    const char *const *ignored_tensors;
};

extern const MoeFamily moe_family_dots1, moe_family_flex_olmo, moe_family_glm4_moe,
    moe_family_hunyuan, moe_family_minimax_m2, moe_family_mixtral, moe_family_olmoe,
    moe_family_qwen2_moe, moe_family_qwen3_moe;

/* Rows of field tables: the key @NAME of config.json is the member of the same name, or @MEMBER. */
#define MOE_CONFIG_AT(MEMBER) offsetof(MoeConfig, MEMBER)
#define MOE_CONFIG_WIDTH(NAME, MEMBER, FALLBACK)                                                   \
    {                                                                                              \
        NAME, MOE_FIELD_INT, MOE_CONFIG_AT(MEMBER), FALLBACK, .min = 1, .max = 1 << 20             \
    }
#define MOE_CONFIG_COUNT(NAME, MEMBER, FALLBACK, MOST)                                             \
    {                                                                                              \
        NAME, MOE_FIELD_INT, MOE_CONFIG_AT(MEMBER), FALLBACK, .min = 1, .max = MOST                \
    }
#define MOE_CONFIG_BOOL(NAME, MEMBER, FALLBACK)                                                    \
    {                                                                                              \
        NAME, MOE_FIELD_BOOL, MOE_CONFIG_AT(MEMBER), FALLBACK                                      \
    }
#define MOE_CONFIG_NUMBER(NAME, MEMBER, FALLBACK, LEAST, MOST)                                     \
    {                                                                                              \
        NAME, MOE_FIELD_NUMBER, MOE_CONFIG_AT(MEMBER), FALLBACK, .min = LEAST, .max = MOST         \
    }

/* The family that config.json's model_type names. Errors: MOE_ERROR_INPUT, with what is supported.
 */
const MoeFamily *moe_family_find(const MoeNode *config, GError **error);

/* The names of all families, NULL-terminated, static. */
const char *const *moe_family_names(void);

/* Elements of each head that are rotated. */
gint64 moe_config_rotary_dim(const MoeConfig *config);

/* Fills model->shape and model->config from config.json; every key is honoured or refused.
 * Errors: MOE_ERROR_INPUT; an unknown key is one. */
gboolean moe_family_configure(const MoeNode *root, MoeModel *model, GError **error);

/* Finds the tensors of a checkpoint. Errors: MOE_ERROR_INPUT. */
gboolean moe_family_bind_ends(const MoeModel *model, MoeWeights *weights, MoeEnds *ends,
                              GError **error);
gboolean moe_family_bind_block(const MoeModel *model, MoeWeights *weights, int layer,
                               MoeBlock *block, GError **error);

/* The routing kernel and its parameters, in words. Free with g_free(). */
char *moe_family_describe_router(const MoeModel *model);

/* The type of the weights that config.json's dtype (or torch_dtype) names; bf16 when it is silent.
 * Errors: MOE_ERROR_INPUT, a type that is not read. */
gboolean moe_family_dtype(const MoeNode *config, MoeDtype *dtype_out, GError **error);

#endif

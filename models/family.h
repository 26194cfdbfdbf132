/* family.h - one row per model architecture: how to read its config.json and name its tensors.
 *
 * Layer: models. A family is data: the keys of its config.json, the names of its tensors, its gate.
 * family.c reads it, forward.h runs it. A new family is one file and one row of the table there.
 */
#ifndef MOE_MODELS_FAMILY_H
#define MOE_MODELS_FAMILY_H

#include "kernels/attention.h"
#include "kernels/experts.h"
#include "kernels/gate.h"
#include "models/model.h"
#include "models/quantization.h"
#include "models/rope_config.h"
#include "models/weights.h"

/* The weight of a norm, and the bias where the family's norms are LayerNorms. Weight NULL: there is
 * no norm. Borrowed. */
typedef struct {
    const float *weight, *bias;
} MoeNorm;

/* x += residual_scale * post_norm(o attention(...) + o_bias) of h = norm(x). A matrix whose data is
 * NULL, and a vector that is NULL, are not there. All data borrowed.
 *
 * MOE_ATTENTION_GQA: q, k, v = q h + q_bias ...
 * MOE_ATTENTION_MLA (arXiv 2405.04434, section 2.1): q = q q_norm(q_a h), or q h without q_a; the
 * latent l and the shared rotated key r are the two parts of k h; keys without positions and values
 * of each head are v k_norm(l). */
typedef struct {
    MoeNorm norm, post_norm; /* [hidden] */
    MoeMatrix q_a, q, k, v, o;
    const float *q_bias, *k_bias, *v_bias, *o_bias; /* [q.rows] ... */
    const float *q_norm, *k_norm; /* [q.rows], or [head_dim] where norms are per head, or [rank] */
    float clip;                   /* of q, k and v; 0: none */
    float latent_scale[2];        /* MLA: of queries and of the latent, behind their norms */
    float v_scale;
    int rope;                /* which of MoeEnds.ropes; -1: none */
    MoeAttentionShape shape; /* keys, bias and past apart */
} MoeAttention;

/* A block is one or two attentions, each with its FFN behind it; the experts belong to the first. In
 * a block of two parts their output is added at the end (LongCat-Flash's shortcut). */
typedef struct {
    int n_parts;
    struct {
        MoeAttention attention;
        MoeAttention cross;      /* to what the encoder made, behind the other; o.data NULL: none */
        MoeNorm norm, post_norm; /* [hidden] */
        MoeExpert dense;
    } parts[2];
    MoeMatrix router;         /* [experts, hidden] */
    const float *router_bias; /* [experts] */
    MoeGate gate;
    gint64 capacity;    /* moe_gate_capacity()'s; 0: none */
    MoeExpert *experts; /* [experts that are not identities]; g_free() */
    MoeExpert shared;
    MoeMatrix shared_router; /* [1, hidden] */
} MoeBlock;

/* What is before the first and behind the last block. */
typedef struct {
    MoeMatrix embedding;  /* [vocab, hidden] */
    MoeNorm encoder_norm; /* behind the encoder's last block */
    MoeNorm final_norm;
    MoeMatrix head;           /* [vocab, hidden] */
    const float *head_bias;   /* [vocab] */
    const float *relative[2]; /* [buckets, heads] of encoder and decoder: moe_relative_bias() */
} MoeEnds;

/* A bit for each block. */
typedef struct {
    guint64 words[64];
} MoeBlockSet;

/* Endings of tensors' names: the block's name and ".weight" around them, %d the expert, %p the
 * part, %f 1, or 2 in blocks with cross attention. NULL: the family has no such tensor, or its name
 * is the usual one, in brackets. */
typedef struct {
    const char *block;                         /* ["model.layers"] */
    const char *embedding, *final_norm, *head; /* ["model.embed_tokens" "model.norm" "lm_head"] */
    const char *attention_norm, *attention_post_norm, *ffn_norm, *ffn_post_norm;
    const char *decoder_block; /* of those behind an encoder, counted from its end */
    const char *encoder_norm;
    const char *relative;           /* of each stack's first block: biases of relative positions */
    const char *cross, *cross_norm; /* as attention and attention_norm, of cross attention */
    const char *attention;          /* what the names of its tensors begin with ["self_attn."] */
    const char *qkv;                /* q, k and v in one, below each other */
    const char *q, *k, *v, *o;      /* ["q_proj" ...] */
    const char *q_a, *q_b;          /* MLA ["q_a_proj" "q_b_proj"] */
    const char *kv_a, *kv_b;        /* ["kv_a_proj_with_mqa" "kv_b_proj"] */
    const char *q_a_norm, *kv_a_norm; /* ["q_a_layernorm" "kv_a_layernorm"] */
    const char *q_norm, *k_norm, *sinks;
    const char *router, *bias; /* the correction bias: without ".weight"; no router: dense blocks */
    const char *gate, *up, *down;
    const char *ungated,
        *dense_ungated;  /* in up's place where config.json says that there is no gate */
    const char *gate_up; /* gates and ups in one tensor, where experts are stacked */
    const char *dense_gate, *dense_up, *dense_down; /* ["mlp.gate_proj" ...] */
    const char *shared_gate, *shared_up, *shared_down;
    const char *shared_router; /* of the shared expert: its output times sigmoid(w h) */
} MoeTensorNames;

/* How the experts' matrices are stored; E experts of F, hidden H. */
typedef enum {
    MOE_EXPERTS_EACH,        /* gate, up and down of each by itself */
    MOE_EXPERTS_STACKED,     /* gate_up [E, 2F, H], gates first; down [E, H, F] */
    MOE_EXPERTS_TRANSPOSED,  /* gate_up [E, H, 2F], gates first; down [E, F, H]; no ".weight" */
    MOE_EXPERTS_INTERLEAVED, /* the same, gates at even places, with biases; or in MXFP4 */
    MOE_EXPERTS_ROWS,        /* gate, up and transposed down [E*F, H]; no ".weight" */
    MOE_EXPERTS_APART,       /* gate and up [E, F, H], down [E, H, F], as GGUF files have them */
} MoeExpertLayout;

/* What GGUF files of a family have that is not the same for all (gguf_config.h). */
typedef struct {
    const char *architecture; /* general.architecture; NULL: llama.cpp does not have the family */
    const char *ffn_norm;     /* ["ffn_norm"] */
    gboolean permuted;        /* q and k were so written that RoPE turns neighbours */
    gboolean shared_divided;  /* the shared experts' width may be the dense one by the k/v heads */
    /* Pairs, NULL-terminated or NULL: keys below the architecture's name, and what they are called
     * in config.json; keys of config.json that the format does not have, and their values. */
    const char *const *keys, *const *constants;
    /* Other values in models of so many experts. */
    gint64 special_experts;
    const char *const *special;
} MoeGgufFamily;

/* The numbers of config.json, under the names that most files use. */
typedef struct {
    gint64 hidden_size, intermediate_size, moe_intermediate_size, num_hidden_layers;
    gint64 num_attention_heads, num_key_value_heads, head_dim; /* the last two: 0 when not given */
    gint64 v_head_dim;                                         /* 0: head_dim */
    gint64 q_lora_rank, kv_lora_rank, qk_nope_head_dim,
        qk_rope_head_dim; /* MLA: kv_lora_rank > 0 */
    gint64 local_key_value_heads, local_head_dim,
        local_v_head_dim; /* of local blocks; 0: as others */
    gint64 num_experts, num_experts_per_tok, first_k_dense_replace, decoder_sparse_step;
    gint64 identity_experts;                                  /* among num_experts, at the end */
    gint64 n_shared_experts, shared_expert_intermediate_size; /* one or the other */
    gint64 n_group, topk_group;
    gint64 vocab_size, max_position_embeddings, original_max_position_embeddings, rotary_dim;
    gint64 sliding_window, attention_chunk_size; /* of local blocks; 0: none */
    gint64 num_nextn_predict_layers;             /* blocks behind the last that predict ahead */
    gint64 parts;                                /* of a block; 0: one */
    gint64 encoder_layers; /* the first so many blocks are an encoder's; 0: no encoder */
    gint64 relative_buckets, relative_far; /* of moe_relative_bias(); 0: none */
    gint64 expert_capacity;                /* 0: no limit */
    gint64 decoder_start;                  /* the token that decoders read first */
    MoeActivation activation;              /* of all FFNs */
    double rms_norm_eps, clip_qkv, routed_scaling_factor;
    double rope_theta, local_rope_theta, partial_rotary_factor; /* NaN when not given */
    double embedding_multiplier, residual_multiplier, attention_multiplier,
        logits_scaling;           /* NaN */
    double attention_value_scale; /* NaN */
    MoeQuantization quantization;
    gboolean wrapped;         /* the tensors' names begin with "language_model." */
    double swiglu_limit;      /* gpt-oss's; 0: none */
    double masked;            /* what group limits do to the scores of other groups */
    double router_jitter;     /* of sparsemixer */
    double layernorm_epsilon; /* another name for rms_norm_eps */
    double temperature_scale, temperature_floor; /* of queries in blocks without RoPE; 0: none */
    double latent_scale[2];                      /* 0: 1 */
    gboolean norm_topk_prob, tie_word_embeddings, attention_bias, output_bias, use_qk_norm;
    gboolean head_bias, router_bias;
    gboolean ungated; /* FFNs have no gate: the activation is that of up's output */
    gboolean local_sinks, other_sinks; /* blocks that have them */
    MoeBlockSet dense, local, no_rope;
    MoeRope ropes[2]; /* of all blocks but the local ones, and of those */
    /* How the checkpoint is written: as the family says, or as in all GGUF files. */
    gboolean is_gguf;
    MoeTensorNames names; /* with the usual ones filled in */
    MoeExpertLayout layout;
    MoeRopePairs rope_pairs;
} MoeConfig;

struct MoeFamily {
    const char *model_type;     /* in config.json */
    const char *const *aliases; /* other names of the same; NULL, or NULL-terminated */
    const char
        *wrapper; /* model_type of files that hold this one's as text_config, beside parts for
                            images; tensors' names then begin with "language_model."; or NULL */
    const char *title;
    const MoeField *fields; /* of config.json, reading a MoeConfig; ended by {NULL} */
    /* Pairs, NULL-terminated or NULL: keys and the values that config.json means where it does not
     * have them. (The fields' own defaults also stand for null.) */
    const char *const *usual;
    /* Refuses what the fields cannot, and fills in what goes by other names; NULL: nothing. */
    gboolean (*check)(const MoeNode *root, MoeConfig *config, GError **error);
    MoeTensorNames names;
    /* The part of the gate that config.json does not say: score, group_best, masked, epsilon. */
    MoeGate gate;
    MoeExpertLayout layout;
    MoeRopePairs rope_pairs;
    gboolean norm_heads;      /* q_norm and k_norm are of each head, not of all together */
    gboolean norm_after_rope; /* and come after RoPE */
    gboolean norm_unweighted; /* and have no weights, in blocks with RoPE alone */
    gboolean layer_norm;      /* LayerNorm, not RMSNorm */
    gboolean layer_norm_bias;
    gboolean weighs_input; /* an expert's input is multiplied by its weight, not its output */
    MoeGgufFamily gguf;
    /* Endings of tensor names that a checkpoint may hold and nobody needs; NULL-terminated. */
    const char *const *ignored_tensors;
};

extern const MoeFamily moe_family_dbrx, moe_family_deepseek_v2, moe_family_deepseek_v3,
    moe_family_dots1, moe_family_ernie4_5, moe_family_flex_olmo, moe_family_glm4_moe,
    moe_family_glm4_moe_lite, moe_family_gpt_oss, moe_family_granitemoe, moe_family_hunyuan,
    moe_family_llama, moe_family_llama4, moe_family_longcat_flash, moe_family_mimo_v2_flash,
    moe_family_minimax_m2, moe_family_mixtral, moe_family_olmoe, moe_family_phimoe,
    moe_family_qwen2_moe, moe_family_qwen3_moe, moe_family_switch;

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

/* The family that GGUF files with this general.architecture hold, or NULL: with experts or without;
 * of several, the one whose gate has a correction bias or has none. */
const MoeFamily *moe_family_find_gguf(const char *architecture, gboolean has_experts,
                                      gboolean has_bias);

/* The architectures of GGUF files that are read, with commas. Free with g_free(). */
char *moe_family_architectures(void);

/* The names of @family's tensors on the Hugging Face Hub, the usual ones filled in. */
MoeTensorNames moe_family_names_of(const MoeFamily *family);

/* Puts the blocks into @set whose item of the list @key is @in, and takes out those where it is
 * @out; does nothing when the key is absent or null. Errors: MOE_ERROR_INPUT, with the place. */
gboolean moe_config_mark(const MoeNode *root, const char *key, const char *in, const char *out,
                         const MoeConfig *config, MoeBlockSet *set, GError **error);

/* The same for a list of the blocks' indices: adds those of the list. */
gboolean moe_config_mark_indices(const MoeNode *root, const char *key, const MoeConfig *config,
                                 MoeBlockSet *set, GError **error);

gboolean moe_block_set_has(const MoeBlockSet *set, gint64 block);
void moe_block_set_put(MoeBlockSet *set, gint64 block, gboolean in);

/* Refuses the key @key of @root unless it is absent, null or has the value @value. */
gboolean moe_config_only(const MoeNode *root, const char *key, const char *value,
                         const MoeFamily *family, GError **error);

/* The same for every item of the list @key, unless it is absent or null. */
gboolean moe_config_only_items(const MoeNode *root, const char *key, const char *value,
                               const MoeFamily *family, GError **error);

/* Gives @config, a config.json, the family's usual keys that it does not have. */
gboolean moe_family_complete(MoeNode *config, const MoeFamily *family, GError **error);

/* Fills model->shape and model->config from config.json; every key is honoured or refused.
 * Errors: MOE_ERROR_INPUT; an unknown key is one. */
gboolean moe_family_configure(const MoeNode *root, MoeModel *model, GError **error);

/* Finds the tensors of a checkpoint. Errors: MOE_ERROR_INPUT. */
gboolean moe_family_bind_ends(const MoeModel *model, MoeWeights *weights, MoeEnds *ends,
                              GError **error);
gboolean moe_family_bind_block(const MoeModel *model, MoeWeights *weights, int layer,
                               MoeBlock *block, GError **error);

/* The same for what decides in a block with experts: the router, the gate and its bias alone. */
gboolean moe_family_bind_router(const MoeModel *model, MoeWeights *weights, int layer,
                                MoeBlock *block, GError **error);

/* The token that the decoder of a model with an encoder reads first. */
guint32 moe_family_decoder_start(const MoeModel *model);

/* The routing kernel and its parameters, in words. Free with g_free(). */
char *moe_family_describe_router(const MoeModel *model);

#endif

/* model.h - what a model is: its shapes, and, for a checkpoint, how to run it.
 *
 * Layer: models. A model comes from a Hugging Face folder (config.json, weights), from GGUF files, or
 * from a file of shapes alone (shapes.yaml), which is enough to price its steps but not to trace its
 * routing.
 */
#ifndef MOE_MODELS_MODEL_H
#define MOE_MODELS_MODEL_H

#include "kernels/matrix.h"
#include "models/tokenizer.h"
#include "sim/base/field.h"

typedef enum {
    MOE_ATTENTION_GQA, /* multi-head, grouped-query or multi-query */
    MOE_ATTENTION_MLA, /* multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) */
} MoeAttentionKind;

/* Shapes under the names that config.json files use; widths count elements. */
typedef struct {
    gint64 hidden_size, num_hidden_layers, vocab_size;
    gint64 encoder_layers; /* the first so many blocks are an encoder's, and those behind them a
                              decoder's, which also attend to what the encoder made; 0: no encoder */
    int attention;         /* MoeAttentionKind */
    gint64 num_attention_heads;
    gint64 num_key_value_heads, head_dim; /* GQA */
    gint64 q_lora_rank, kv_lora_rank;     /* MLA; q_lora_rank 0: queries are not compressed */
    gint64 qk_nope_head_dim, qk_rope_head_dim, v_head_dim;
    gint64 attentions_per_block;             /* 2: each with a dense FFN beside the experts; 0: 1 */
    gint64 num_experts, num_experts_per_tok; /* routed; 0: a dense model */
    gint64 identity_experts;                 /* among them: cost nothing, add the token itself */
    gint64 moe_intermediate_size;            /* width of one routed expert */
    gint64 shared_expert_intermediate_size;  /* of all shared experts together; 0: none */
    gint64 first_k_dense_replace;            /* blocks at the start that have a dense FFN instead */
    guint64 dense_blocks[64];                /* bit l % 64 of word l / 64: block l is dense too */
    gint64 intermediate_size;                /* width of that dense FFN */
    gint64 ffn_matrices;                     /* of each FFN: 2 without a gate; 0: 3 */
    gint64 max_position_embeddings;
    gboolean tie_word_embeddings;
    int dtype; /* MoeDtype of the stored weights */
} MoeModelShape;

typedef struct MoeFamily MoeFamily;

typedef struct {
    char *name;   /* of the folder or preset */
    char *path;   /* the folder, the (first) GGUF file, or the file of shapes */
    char *source; /* where the shapes are from; NULL: config.json */
    MoeModelShape shape;
    const MoeFamily *family; /* NULL: shapes only */
    void *config;            /* the family's own numbers; freed with g_free() */
} MoeModel;

/* Loads the preset or path @name: a folder with config.json, shapes.yaml or the GGUF files of one
 * model, or one of these files.
 * Paths are relative to @base_dir (NULL: the working folder). Weights are not touched.
 * Free with moe_model_free(). Errors: MOE_ERROR_INPUT; NULL then. */
MoeModel *moe_model_load(const char *name, const char *base_dir,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_model_free(MoeModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeModel, moe_model_free)

/* Fails with MOE_ERROR_INPUT when @model is dense: for what needs routing. */
gboolean moe_model_need_experts(const MoeModel *model, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The tokenizer that came with @model: its folder's tokenizer.json, or the arrays of its GGUF file.
 * Free with moe_tokenizer_free(). Errors: MOE_ERROR_INPUT; NULL then. */
MoeTokenizer *moe_model_tokenizer(const MoeModel *model, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The rows of shapes.yaml, for `moesim show --keys model`. */
extern const MoeField moe_model_fields[];

/* Checks what no single key shows (heads a multiple of key/value heads, k <= experts ...).
 * Errors: MOE_ERROR_INPUT, prefixed by nothing. */
gboolean moe_model_shape_check(const MoeModelShape *shape, GError **error);

/* Parameters in all, and those that one token uses (embedding rows apart, LM head included). */
gint64 moe_model_parameters(const MoeModelShape *shape);
gint64 moe_model_active_parameters(const MoeModelShape *shape);

/* Parameters of one attention, norms left out. */
gint64 moe_model_attention_parameters(const MoeModelShape *shape);

/* The stack that runs block @layer: 0, or 1 where the model has an encoder and this is the
 * decoder's. */
int moe_model_stack(const MoeModelShape *shape, gint64 layer);

/* Whether block @layer has experts; how many have, of those before @end. */
gboolean moe_model_has_experts(const MoeModelShape *shape, gint64 layer);
gint64 moe_model_moe_layers_before(const MoeModelShape *shape, gint64 end);

/* How many blocks have experts, and which is the first. */
gint64 moe_model_moe_layers(const MoeModelShape *shape);
gint64 moe_model_first_moe_layer(const MoeModelShape *shape);

#endif

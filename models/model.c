#include "config.h"

#include "models/model.h"

#include "models/family.h"
#include "models/gguf_config.h"
#include "models/vocabulary.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/preset.h"
#include "sim/base/yaml.h"

#include <string.h>

enum { LARGEST_CONFIG = 4 << 20 };

typedef struct {
    char *name, *source;
    MoeModelShape shape;
} ModelFile;

static const char *const *attention_names(void)
{
    static const char *const names[] = {"gqa", "mla", NULL};
    return names;
}

static const char *const *dtype_names(void)
{
    static const char *const names[] = {"f32", "f16", "bf16", NULL};
    return names;
}

#define SHAPE(member) offsetof(ModelFile, shape.member)
#define WIDTH         .min = 1, .max = 1 << 20

const MoeField moe_model_fields[] = {
    {"name", MOE_FIELD_STRING, offsetof(ModelFile, name), .doc = "what reports call the model"},
    {"source", MOE_FIELD_STRING, offsetof(ModelFile, source), .doc = "where the figures are from"},
    {"hidden_size", MOE_FIELD_INT, SHAPE(hidden_size), WIDTH, .doc = "width of a token's state"},
    {"num_hidden_layers", MOE_FIELD_INT, SHAPE(num_hidden_layers), .min = 1, .max = 4096,
     .doc = "blocks"},
    {"encoder_layers", MOE_FIELD_INT, SHAPE(encoder_layers), "0", .max = 4095,
     .doc = "how many of them, at the start, are an encoder"},
    {"vocab_size", MOE_FIELD_INT, SHAPE(vocab_size), .min = 1, .max = 1 << 24, .doc = "tokens"},
    {"attention", MOE_FIELD_CHOICE, SHAPE(attention), "gqa", .choices = attention_names,
     .doc = "grouped-query or latent attention"},
    {"num_attention_heads", MOE_FIELD_INT, SHAPE(num_attention_heads), WIDTH, .doc = "query heads"},
    {"num_key_value_heads", MOE_FIELD_INT, SHAPE(num_key_value_heads), "", WIDTH,
     .doc = "gqa: key/value heads"},
    {"head_dim", MOE_FIELD_INT, SHAPE(head_dim), "", WIDTH, .doc = "gqa: width of a head"},
    {"q_lora_rank", MOE_FIELD_INT, SHAPE(q_lora_rank), "", .max = 1 << 20,
     .doc = "mla: width of the compressed queries"},
    {"kv_lora_rank", MOE_FIELD_INT, SHAPE(kv_lora_rank), "", WIDTH,
     .doc = "mla: width of the compressed keys and values"},
    {"qk_nope_head_dim", MOE_FIELD_INT, SHAPE(qk_nope_head_dim), "", WIDTH,
     .doc = "mla: width of a head without positions"},
    {"qk_rope_head_dim", MOE_FIELD_INT, SHAPE(qk_rope_head_dim), "", WIDTH,
     .doc = "mla: width of the part with positions"},
    {"v_head_dim", MOE_FIELD_INT, SHAPE(v_head_dim), "", WIDTH,
     .doc = "mla: width of a value head"},
    {"attentions_per_block", MOE_FIELD_INT, SHAPE(attentions_per_block), "1", .min = 1, .max = 2,
     .doc = "2: each with a dense FFN, beside the experts"},
    {"num_experts", MOE_FIELD_INT, SHAPE(num_experts), .min = 1, .max = 65535,
     .doc = "routed experts of a block"},
    {"num_experts_per_tok", MOE_FIELD_INT, SHAPE(num_experts_per_tok), .min = 1, .max = 256,
     .doc = "top-k"},
    {"identity_experts", MOE_FIELD_INT, SHAPE(identity_experts), "0", .max = 65534,
     .doc = "how many of them compute nothing"},
    {"moe_intermediate_size", MOE_FIELD_INT, SHAPE(moe_intermediate_size), WIDTH,
     .doc = "width of an expert"},
    {"shared_expert_intermediate_size", MOE_FIELD_INT, SHAPE(shared_expert_intermediate_size), "0",
     .max = 1 << 20, .doc = "width of all shared experts together"},
    {"first_k_dense_replace", MOE_FIELD_INT, SHAPE(first_k_dense_replace), "0", .max = 4096,
     .doc = "dense blocks before the first with experts"},
    {"intermediate_size", MOE_FIELD_INT, SHAPE(intermediate_size), "", WIDTH,
     .doc = "width of their FFN"},
    {"ffn_matrices", MOE_FIELD_INT, SHAPE(ffn_matrices), "3", .min = 2, .max = 3,
     .doc = "of each FFN; 2: without a gate"},
    {"max_position_embeddings", MOE_FIELD_INT, SHAPE(max_position_embeddings), .min = 1,
     .max = 1 << 30, .doc = "context, tokens"},
    {"tie_word_embeddings", MOE_FIELD_BOOL, SHAPE(tie_word_embeddings), "false",
     .doc = "LM head = embedding"},
    {"dtype", MOE_FIELD_CHOICE, SHAPE(dtype), "bf16", .choices = dtype_names,
     .doc = "of the weights"},
    {NULL},
};

/* --- counting -------------------------------------------------------------------------------- */

gboolean moe_model_has_experts(const MoeModelShape *s, gint64 layer)
{
    return layer >= s->first_k_dense_replace &&
           (s->dense_blocks[layer / 64] >> layer % 64 & 1) == 0;
}

int moe_model_stack(const MoeModelShape *s, gint64 layer)
{
    return s->encoder_layers > 0 && layer >= s->encoder_layers ? 1 : 0;
}

gint64 moe_model_moe_layers_before(const MoeModelShape *s, gint64 end)
{
    gint64 n = 0;
    for (gint64 layer = 0; layer < end; layer++)
        n += moe_model_has_experts(s, layer) ? 1 : 0;
    return n;
}

gint64 moe_model_moe_layers(const MoeModelShape *s)
{
    return moe_model_moe_layers_before(s, s->num_hidden_layers);
}

gint64 moe_model_first_moe_layer(const MoeModelShape *s)
{
    gint64 layer = 0;
    while (layer < s->num_hidden_layers && !moe_model_has_experts(s, layer))
        layer++;
    return layer;
}

/* In double, which cannot overflow and is exact up to the 2^53 that a shape may have. */
static double attention_parameters(const MoeModelShape *s)
{
    double heads = (double)s->num_attention_heads, hidden = (double)s->hidden_size;
    if (s->attention == MOE_ATTENTION_GQA)
        return 2 * hidden * (heads + (double)s->num_key_value_heads) * (double)s->head_dim;
    double q_width = heads * (double)(s->qk_nope_head_dim + s->qk_rope_head_dim);
    double q = s->q_lora_rank > 0 ? (double)s->q_lora_rank * (hidden + q_width) : hidden * q_width;
    double kv = hidden * (double)(s->kv_lora_rank + s->qk_rope_head_dim) +
                (double)s->kv_lora_rank * heads * (double)(s->qk_nope_head_dim + s->v_head_dim);
    return q + kv + heads * (double)s->v_head_dim * hidden;
}

/* With @experts of each block's routed ones, and without the embedding rows. */
static double count_parameters(const MoeModelShape *s, gint64 experts)
{
    double hidden = (double)s->hidden_size, n_moe = (double)moe_model_moe_layers(s);
    double parts = (double)MAX(s->attentions_per_block, 1);
    double crossing =
        s->encoder_layers > 0 ? (double)(s->num_hidden_layers - s->encoder_layers) : 0;
    double matrices = s->ffn_matrices > 0 ? (double)s->ffn_matrices : 3;
    double blocks = ((double)s->num_hidden_layers * parts + crossing) * attention_parameters(s);
    double n_dense =
        parts > 1 ? (double)s->num_hidden_layers * parts : (double)s->num_hidden_layers - n_moe;
    double dense = n_dense * matrices * hidden * (double)s->intermediate_size;
    double router = hidden * (double)s->num_experts;
    double shared = matrices * hidden * (double)s->shared_expert_intermediate_size;
    double routed = (double)experts * matrices * hidden * (double)s->moe_intermediate_size;
    return blocks + dense + n_moe * (router + shared + routed) + (double)s->vocab_size * hidden;
}

static double count_all(const MoeModelShape *s)
{
    double embedding = s->tie_word_embeddings ? 0 : (double)(s->vocab_size * s->hidden_size);
    return count_parameters(s, s->num_experts - s->identity_experts) + embedding;
}

gint64 moe_model_attention_parameters(const MoeModelShape *s)
{
    return (gint64)attention_parameters(s);
}

gint64 moe_model_parameters(const MoeModelShape *s)
{
    return (gint64)count_all(s);
}

gint64 moe_model_active_parameters(const MoeModelShape *s)
{
    return (gint64)count_parameters(s, s->num_experts_per_tok);
}

/* --- checks ---------------------------------------------------------------------------------- */

static gboolean check_attention(const MoeModelShape *s, GError **error)
{
    if (s->attention == MOE_ATTENTION_GQA) {
        if (s->num_key_value_heads < 1 || s->head_dim < 1)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "attention gqa needs num_key_value_heads and head_dim");
        if (s->num_attention_heads % s->num_key_value_heads != 0)
            return moe_fail(error, MOE_ERROR_INPUT,
                            "num_attention_heads %" G_GINT64_FORMAT
                            " is not a multiple of num_key_value_heads %" G_GINT64_FORMAT,
                            s->num_attention_heads, s->num_key_value_heads);
        return TRUE;
    }
    if (s->kv_lora_rank < 1 || s->qk_nope_head_dim < 1 || s->qk_rope_head_dim < 1 ||
        s->v_head_dim < 1)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "attention mla needs kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, "
                        "v_head_dim");
    return TRUE;
}

static gboolean check_experts(const MoeModelShape *s, GError **error)
{
    if (s->num_experts_per_tok > s->num_experts)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "num_experts_per_tok %" G_GINT64_FORMAT
                        " is more than num_experts %" G_GINT64_FORMAT,
                        s->num_experts_per_tok, s->num_experts);
    if (s->identity_experts >= s->num_experts)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "identity_experts %" G_GINT64_FORMAT
                        " leaves no expert that computes, of num_experts %" G_GINT64_FORMAT,
                        s->identity_experts, s->num_experts);
    if (s->first_k_dense_replace >= s->num_hidden_layers)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "first_k_dense_replace %" G_GINT64_FORMAT
                        " leaves no block with experts; num_hidden_layers is %" G_GINT64_FORMAT,
                        s->first_k_dense_replace, s->num_hidden_layers);
    return moe_model_moe_layers(s) > 0 || moe_fail(error, MOE_ERROR_INPUT, "no block has experts");
}

gboolean moe_model_shape_check(const MoeModelShape *s, GError **error)
{
    if (s->num_experts > 0 && !check_experts(s, error))
        return FALSE;
    if (s->encoder_layers >= s->num_hidden_layers)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "encoder_layers %" G_GINT64_FORMAT
                        " leaves no decoder; num_hidden_layers is %" G_GINT64_FORMAT,
                        s->encoder_layers, s->num_hidden_layers);
    if (s->encoder_layers > 0 && s->attention != MOE_ATTENTION_GQA)
        return moe_fail(error, MOE_ERROR_INPUT, "encoder_layers goes with attention gqa only");
    if (moe_model_moe_layers(s) < s->num_hidden_layers && s->intermediate_size < 1)
        return moe_fail(error, MOE_ERROR_INPUT, "dense blocks need intermediate_size");
    if (!check_attention(s, error))
        return FALSE;
    if (count_all(s) > 0x1p53)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "these shapes have %.3g parameters; at most 2^53 (9e15) are counted",
                        count_all(s));
    return TRUE;
}

/* --- reading --------------------------------------------------------------------------------- */

static char *folder_name(const char *path)
{
    g_autofree char *full = g_canonicalize_filename(path, NULL);
    return g_path_get_basename(full);
}

static MoeModel *load_shapes(const char *path, GError **error)
{
    g_autoptr(MoeNode) root = moe_yaml_load(path, error);
    ModelFile file = {0};
    if (root == NULL || !moe_fields_read(moe_model_fields, root, path, &file, error))
        return NULL;
    MoeModel *model = g_new0(MoeModel, 1);
    model->name = file.name;
    model->source = file.source;
    model->path = g_strdup(path);
    model->shape = file.shape;
    return model;
}

/* @stem, of the file at @path; a name that any model's file has gives way to the folder's. Free with
 * g_free(). */
static char *telling_name(const char *stem, const char *path)
{
    static const char *const common[] = {"config", "model", "ggml-model", NULL};
    g_autofree char *folder = g_path_get_dirname(path);
    return g_strv_contains(common, stem) ? folder_name(folder) : g_strdup(stem);
}

static char *config_name(const char *path)
{
    g_autofree char *base = g_path_get_basename(path);
    g_autofree char *stem = g_strndup(base, strlen(base) - strlen(".json"));
    return telling_name(stem, path);
}

static MoeModel *load_config(const char *folder, const char *path, GError **error)
{
    g_autoptr(MoeNode) config = moe_json_load_nodes(path, LARGEST_CONFIG, error);
    if (config == NULL)
        return NULL;
    g_autoptr(MoeModel) model = g_new0(MoeModel, 1);
    model->name = config_name(path);
    model->path = g_strdup(folder);
    model->family = moe_family_find(config, error);
    if (model->family == NULL || !moe_family_complete(config, model->family, error) ||
        !moe_family_configure(config, model, error))
        return NULL;
    return g_steal_pointer(&model);
}

/* The file's name without its ending, and without the number of a part. */
static char *gguf_name(const char *path)
{
    g_autofree char *base = g_path_get_basename(path);
    g_autoptr(GRegex) ending = g_regex_new("(-[0-9]{5}-of-[0-9]{5})?\\.gguf$", 0, 0, NULL);
    g_autofree char *stem = g_regex_replace(ending, base, -1, 0, "", 0, NULL);
    return telling_name(stem, path);
}

static MoeModel *load_gguf(const char *path, GError **error)
{
    g_autoptr(GPtrArray) files = moe_gguf_open_model(path, error);
    if (files == NULL)
        return NULL;
    g_autoptr(MoeModel) model = g_new0(MoeModel, 1);
    model->path = g_strdup(moe_gguf_path(files->pdata[0]));
    model->name = gguf_name(model->path);
    g_autoptr(MoeNode) root = moe_gguf_config(files, &model->family, error);
    if (root == NULL || !moe_family_configure(root, model, error))
        return NULL;
    MoeConfig *config = model->config;
    config->is_gguf = TRUE;
    config->names = moe_gguf_names(model->family);
    config->layout = MOE_EXPERTS_APART;
    if (model->family->gguf.permuted)
        config->rope_pairs = MOE_ROPE_NEIGHBOURS;
    config->quantization.dtype = moe_gguf_dtype(files);
    model->shape.dtype = (int)config->quantization.dtype;
    return g_steal_pointer(&model);
}

static gboolean has_gguf(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    for (const char *name; dir != NULL && (name = g_dir_read_name(dir)) != NULL;)
        if (moe_gguf_is_name(name))
            return TRUE;
    return FALSE;
}

static MoeModel *load_path(const char *path, GError **error)
{
    if (moe_gguf_is_name(path))
        return load_gguf(path, error);
    if (!g_file_test(path, G_FILE_TEST_IS_DIR)) {
        g_autofree char *folder = g_path_get_dirname(path);
        return g_str_has_suffix(path, ".json") ? load_config(folder, path, error)
                                               : load_shapes(path, error);
    }
    g_autofree char *config = g_build_filename(path, "config.json", NULL);
    g_autofree char *shapes = g_build_filename(path, "shapes.yaml", NULL);
    if (g_file_test(config, G_FILE_TEST_EXISTS))
        return load_config(path, config, error);
    if (g_file_test(shapes, G_FILE_TEST_EXISTS))
        return load_shapes(shapes, error);
    if (has_gguf(path))
        return load_gguf(path, error);
    moe_fail(error, MOE_ERROR_INPUT,
             "%s: neither config.json nor shapes.yaml nor a GGUF file is there", path);
    return NULL;
}

MoeModel *moe_model_load(const char *name, const char *base_dir, GError **error)
{
    g_autofree char *path = moe_preset_find(name, "models/presets", "", "model", base_dir, error);
    g_autoptr(MoeModel) model = path != NULL ? load_path(path, error) : NULL;
    if (model == NULL)
        return NULL;
    if (!moe_model_shape_check(&model->shape, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    return g_steal_pointer(&model);
}

gboolean moe_model_need_experts(const MoeModel *model, GError **error)
{
    return model->shape.num_experts > 0 ||
           moe_fail(error, MOE_ERROR_INPUT,
                    "%s: a dense model: it has no experts, so there is no routing; moesim generate "
                    "and moesim show take it",
                    model->path);
}

MoeTokenizer *moe_model_tokenizer(const MoeModel *model, GError **error)
{
    if (!moe_gguf_is_name(model->path)) {
        g_autofree char *path = g_build_filename(model->path, "tokenizer.json", NULL);
        return moe_tokenizer_load(path, error);
    }
    g_autoptr(GPtrArray) files = moe_gguf_open_model(model->path, error);
    return files != NULL ? moe_tokenizer_from_gguf(files->pdata[0], error) : NULL;
}

void moe_model_free(MoeModel *model)
{
    if (model == NULL)
        return;
    g_free(model->name);
    g_free(model->path);
    g_free(model->source);
    g_free(model->config);
    g_free(model);
}

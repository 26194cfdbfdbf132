#include "config.h"

#include "models/gguf_config.h"

#include <math.h>
#include <string.h>

#define AT MOE_CONFIG_AT

/* Keys below the architecture's name, the member of MoeConfig that each gives, and what it may say
 * to a family that has no such member: a text, or anything (any shape that is not the tensors' is
 * found out when they are bound). */
static const char ANYTHING[] = "";
static const char PATTERN[] = "attention.sliding_window_pattern";
static const struct {
    const char *key;
    size_t member;
    const char *harmless;
} keys[] = {
    {"context_length", AT(max_position_embeddings), NULL},
    {"embedding_length", AT(hidden_size), NULL},
    {"feed_forward_length", AT(intermediate_size), ANYTHING},
    {"expert_feed_forward_length", AT(moe_intermediate_size), NULL},
    {"expert_shared_feed_forward_length", AT(shared_expert_intermediate_size), ANYTHING},
    {"attention.head_count", AT(num_attention_heads), NULL},
    {"attention.head_count_kv", AT(num_key_value_heads), NULL},
    {"attention.key_length", AT(head_dim), ANYTHING},
    {"attention.value_length", AT(v_head_dim), ANYTHING},
    {"attention.layer_norm_rms_epsilon", AT(rms_norm_eps), NULL},
    {"attention.layer_norm_epsilon", AT(rms_norm_eps), "1e-05"},
    {"attention.clamp_kqv", AT(clip_qkv), "0"},
    {"attention.scale", AT(attention_multiplier), "0"},
    {"attention.value_scale", AT(attention_value_scale), "1"},
    {"attention.sliding_window", AT(sliding_window), "0"},
    {"attention.q_lora_rank", AT(q_lora_rank), NULL},
    {"attention.kv_lora_rank", AT(kv_lora_rank), NULL},
    {"embedding_scale", AT(embedding_multiplier), "1"},
    {"residual_scale", AT(residual_multiplier), "1"},
    {"logit_scale", AT(logits_scaling), "1"},
    {"rope.freq_base", AT(rope_theta), NULL},
    {"rope.freq_base_swa", AT(local_rope_theta), NULL},
    {"expert_count", AT(num_experts), "0"},
    {"expert_used_count", AT(num_experts_per_tok), "0"},
    {"expert_shared_count", AT(n_shared_experts), "1"},
    {"expert_weights_scale", AT(routed_scaling_factor), "1"},
    {"expert_weights_norm", AT(norm_topk_prob), "true"},
    {"expert_group_count", AT(n_group), "1"},
    {"expert_group_used_count", AT(topk_group), "1"},
    {"leading_dense_block_count", AT(first_k_dense_replace), "0"},
    {"interleave_moe_layer_step", AT(decoder_sparse_step), "1"},
    {"nextn_predict_layers", AT(num_nextn_predict_layers), "0"},
};

/* Read by hand below, or nothing that changes the forward pass. */
static const char *const other_keys[] = {"attention.causal",
                                         "attention.key_length_mla",
                                         "attention.value_length_mla",
                                         "block_count",
                                         "expert_gating_func",
                                         "rope.dimension_count",
                                         "rope.scaling.attn_factor",
                                         "rope.scaling.factor",
                                         "rope.scaling.finetuned",
                                         "rope.scaling.original_context_length",
                                         "rope.scaling.type",
                                         "rope.scaling.yarn_attn_factor",
                                         "rope.scaling.yarn_beta_fast",
                                         "rope.scaling.yarn_beta_slow",
                                         "rope.scaling.yarn_ext_factor",
                                         "rope.scaling.yarn_log_multiplier",
                                         "tensor_data_layout",
                                         "vocab_size",
                                         NULL};

typedef struct {
    const GPtrArray *files;
    const MoeGguf *file; /* the first: it has the metadata */
    const char *architecture;
    const MoeFamily *family;
    gint64 experts;
    MoeNode *root;
    GError **error;
} Reader;

enum { MOST_BLOCKS = 4096 };

/* --- building -------------------------------------------------------------------------------- */

static const MoeGgufValue *find(const Reader *r, const char *key)
{
    g_autofree char *full = g_strconcat(r->architecture, ".", key, NULL);
    return moe_gguf_find(r->file, full);
}

static gboolean has_tensor(const Reader *r, const char *name)
{
    return moe_gguf_model_tensor(r->files, name) != NULL;
}

/* What messages call the place of @value; NULL: the file. Lives for the process. */
static const char *place_of(const Reader *r, const MoeGgufValue *value)
{
    const char *path = moe_gguf_path(r->file);
    g_autofree char *place = value == NULL ? g_strdup(path)
                                           : g_strdup_printf("%s: byte %" G_GSIZE_FORMAT ": %s",
                                                             path, value->offset, value->key);
    return g_intern_string(place);
}

/* The map of @root that @path, "a.b", lies in, made where it is missing; its last key. */
static MoeNode *parent_of(MoeNode *root, const char *path, const char **key_out)
{
    const char *dot = strchr(path, '.');
    *key_out = dot != NULL ? dot + 1 : path;
    if (dot == NULL)
        return root;
    g_autofree char *name = g_strndup(path, (gsize)(dot - path));
    MoeNode *map = moe_node_get(root, name);
    if (map != NULL)
        return map;
    map = moe_node_new(MOE_NODE_MAP, NULL, root->file, 0, 0);
    MoeNode *key = moe_node_new(MOE_NODE_SCALAR, name, root->file, 0, 0);
    return moe_node_append_take(root, key, map, NULL) ? map : NULL;
}

/* Sets the key @path to @node, which is taken; a key that is there already keeps its value. */
static void put(const Reader *r, const char *path, MoeNode *node)
{
    const char *name;
    MoeNode *map = parent_of(r->root, path, &name);
    MoeNode *key = moe_node_new(MOE_NODE_SCALAR, name, node->file, 0, 0);
    (void)moe_node_append_take(map, key, node, NULL);
}

static void put_text(const Reader *r, const char *path, const MoeGgufValue *value, const char *text)
{
    put(r, path, moe_node_new(MOE_NODE_SCALAR, text, place_of(r, value), 0, 0));
}

static void put_bool(const Reader *r, const char *path, gboolean value)
{
    put_text(r, path, NULL, value ? "true" : "false");
}

static void put_int(const Reader *r, const char *path, gint64 value)
{
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, value);
    put_text(r, path, NULL, text);
}

static void append(MoeNode *list, const char *text)
{
    MoeNode *item = moe_node_new(MOE_NODE_SCALAR, text, list->file, 0, 0);
    (void)moe_node_append_take(list, NULL, item, NULL);
}

/* What the family's config.json calls @member; NULL: it has none. */
static const char *name_of(const Reader *r, size_t member)
{
    for (const MoeField *f = r->family->fields; f->name != NULL; f++)
        if (f->offset == member && f->kind != MOE_FIELD_IGNORED)
            return f->name;
    return member == AT(rope_theta) ? "rope_theta" : NULL;
}

/* Whether the family's blocks with a window differ from the others in more than it. */
static gboolean has_local_blocks(const Reader *r)
{
    return name_of(r, AT(local_key_value_heads)) != NULL;
}

/* The one value of @value: a list of one per block counts when all are the same. */
static char *single(const Reader *r, const MoeGgufValue *value)
{
    if (value->n == 0 || (value->is_array && value->type == MOE_GGUF_STRING)) {
        moe_gguf_fail(r->file, value, r->error, "a single value is needed");
        return NULL;
    }
    g_autofree char *text = moe_gguf_text(value, 0);
    for (gsize i = 1; i < value->n; i++) {
        g_autofree char *other = moe_gguf_text(value, i);
        if (strcmp(other, text) != 0) {
            moe_gguf_fail(r->file, value, r->error,
                          "blocks differ; %s is read where all are the same", r->family->title);
            return NULL;
        }
    }
    return g_steal_pointer(&text);
}

/* --- keys ------------------------------------------------------------------------------------ */

/* The name that the family's own table gives to @key, or NULL. */
static const char *renamed(const Reader *r, const char *key)
{
    for (const char *const *pair = r->family->gguf.keys; pair != NULL && *pair != NULL; pair += 2)
        if (strcmp(pair[0], key) == 0)
            return pair[1];
    return NULL;
}

static gboolean put_key(const Reader *r, const MoeGgufValue *value, size_t i)
{
    if (has_local_blocks(r) && keys[i].member == AT(num_key_value_heads))
        return TRUE; /* read below */
    g_autofree char *text = single(r, value);
    if (text == NULL)
        return FALSE;
    const char *name = renamed(r, keys[i].key);
    if (name == NULL)
        name = name_of(r, keys[i].member);
    /* Latent attention is written as if it had one key/value head as wide as the latent. */
    if (find(r, "attention.kv_lora_rank") != NULL &&
        (keys[i].member == AT(num_key_value_heads) || keys[i].member == AT(head_dim) ||
         keys[i].member == AT(v_head_dim)))
        return TRUE;
    /* Without a width of their own, experts have intermediate_size. */
    if (name == NULL && keys[i].member == AT(moe_intermediate_size))
        name = name_of(r, AT(intermediate_size));
    if (keys[i].member == AT(intermediate_size) && name_of(r, AT(moe_intermediate_size)) == NULL &&
        find(r, "expert_feed_forward_length") != NULL)
        return TRUE;
    if (name != NULL)
        put_text(r, name, value, text);
    return name != NULL || keys[i].harmless == ANYTHING || g_strcmp0(keys[i].harmless, text) == 0 ||
           (strcmp(text, "0") == 0 && keys[i].member != AT(rms_norm_eps)) ||
           moe_gguf_fail(r->file, value, r->error, "'%s' is not supported for %s%s%s", text,
                         r->family->title, keys[i].harmless != NULL ? "; it is " : "",
                         keys[i].harmless != NULL ? keys[i].harmless : "");
}

static gboolean put_keys(const Reader *r)
{
    guint n;
    const MoeGgufValue *values = moe_gguf_values(r->file, &n);
    g_autofree char *prefix = g_strconcat(r->architecture, ".", NULL);
    for (guint v = 0; v < n; v++) {
        if (!g_str_has_prefix(values[v].key, prefix))
            continue;
        const char *key = values[v].key + strlen(prefix);
        if (has_local_blocks(r) && strcmp(key, PATTERN) == 0)
            continue; /* read below */
        size_t i = 0;
        while (i < G_N_ELEMENTS(keys) && strcmp(keys[i].key, key) != 0)
            i++;
        if (i < G_N_ELEMENTS(keys)
                ? !put_key(r, &values[v], i)
                : !g_strv_contains(other_keys, key) &&
                      !moe_gguf_fail(r->file, &values[v], r->error,
                                     "unknown key; %s does not have it", r->family->title))
            return FALSE;
    }
    return TRUE;
}

/* --- what only the tensors say --------------------------------------------------------------- */

static gboolean put_embedding(const Reader *r)
{
    const MoeTensor *embedding = moe_gguf_model_tensor(r->files, "token_embd.weight");
    const char *name = name_of(r, AT(vocab_size));
    if (embedding == NULL || embedding->n_dims != 2)
        return moe_fail(r->error, MOE_ERROR_INPUT,
                        "%s: the tensor token_embd.weight is missing or no matrix",
                        moe_gguf_path(r->file));
    put_int(r, name, embedding->dims[0]);
    put_bool(r, "tie_word_embeddings", !has_tensor(r, "output.weight"));
    return TRUE;
}

static void put_flags(const Reader *r)
{
    const struct {
        size_t member;
        gboolean value, wanted;
    } flags[] = {
        {AT(attention_bias),
         has_tensor(r, "blk.0.attn_q.bias") || has_tensor(r, "blk.0.attn_qkv.bias"), TRUE},
        {AT(use_qk_norm), has_tensor(r, "blk.0.attn_q_norm.weight"),
         r->family->names.q_norm != NULL},
        {AT(head_bias), has_tensor(r, "output.bias"), TRUE},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        const char *name = name_of(r, flags[i].member);
        if (name != NULL && flags[i].wanted)
            put_bool(r, name, flags[i].value);
    }
}

/* --- widths of heads and of what rotates ----------------------------------------------------- */

static gboolean get_int(const Reader *r, const char *key, gint64 fallback, gint64 *out)
{
    g_autofree char *full = g_strconcat(r->architecture, ".", key, NULL);
    return moe_gguf_int(r->file, full, 0, 1 << 30, fallback, out, r->error);
}

static gboolean put_latent(const Reader *r)
{
    gint64 key, value, rope;
    if (!get_int(r, "attention.key_length", 0, &key) ||
        !get_int(r, "attention.key_length_mla", key, &key) ||
        !get_int(r, "attention.value_length", 0, &value) ||
        !get_int(r, "attention.value_length_mla", value, &value) ||
        !get_int(r, "rope.dimension_count", 0, &rope))
        return FALSE;
    put_int(r, name_of(r, AT(qk_nope_head_dim)), key - rope);
    put_int(r, name_of(r, AT(qk_rope_head_dim)), rope);
    put_int(r, name_of(r, AT(v_head_dim)), value);
    return TRUE;
}

/* Part of a head rotates only where the family has a key for it. */
static gboolean put_heads(const Reader *r)
{
    gint64 hidden, heads, width, rope;
    if (!get_int(r, "embedding_length", 0, &hidden) ||
        !get_int(r, "attention.head_count", 1, &heads) ||
        !get_int(r, "attention.key_length", heads > 0 ? hidden / heads : 0, &width) ||
        !get_int(r, "rope.dimension_count", width, &rope))
        return FALSE;
    const char *partial = name_of(r, AT(partial_rotary_factor));
    const char *rotary = name_of(r, AT(rotary_dim));
    if (rotary != NULL)
        put_int(r, rotary, rope);
    else if (partial != NULL && width > 0) {
        /* Half an element more than rotates, so that rounding cannot take one away. */
        g_autofree char *text = g_strdup_printf("%.17g", ((double)rope + 0.5) / (double)width);
        put_text(r, partial, find(r, "rope.dimension_count"), text);
    } else if (rope != width)
        return moe_gguf_fail(r->file, find(r, "rope.dimension_count"), r->error,
                             "%" G_GINT64_FORMAT " of a head's %" G_GINT64_FORMAT
                             " elements rotate; all do in %s",
                             rope, width, r->family->title);
    return TRUE;
}

/* --- scaled RoPE ----------------------------------------------------------------------------- */

static gboolean put_number(const Reader *r, const char *key, const char *path)
{
    const MoeGgufValue *value = find(r, key);
    g_autofree char *text = value != NULL ? single(r, value) : NULL;
    if (text != NULL)
        put_text(r, path, value, text);
    return value == NULL || text != NULL;
}

static gboolean put_factors(const Reader *r, const char *tensor_name, const char *path)
{
    const MoeTensor *tensor = moe_gguf_model_tensor(r->files, tensor_name);
    const gint64 any = -1;
    if (!moe_tensor_check(tensor, moe_gguf_path(r->file), tensor_name, 1U << MOE_ST_F32, 1, &any,
                          r->error))
        return FALSE;
    MoeNode *list = moe_node_new(MOE_NODE_LIST, NULL, place_of(r, NULL), 0, 0);
    for (gint64 i = 0; i < MIN(tensor->n_elements, MOE_ROPE_MOST_DIVISORS + 1); i++) {
        g_autofree char *text = g_strdup_printf("%.9g", (double)((const float *)tensor->data)[i]);
        append(list, text);
    }
    put(r, path, list);
    return TRUE;
}

/* Divisors of the frequencies: Phi's of short and long sequences, or Llama 3's of all. */
static gboolean put_long_rope(const Reader *r, gboolean both)
{
    put_text(r, "rope_scaling.rope_type", NULL, "longrope");
    if (!both)
        put_text(r, "rope_scaling.attention_factor", NULL, "1");
    const char *original = name_of(r, AT(original_max_position_embeddings));
    return put_factors(r, both ? "rope_factors_short.weight" : "rope_freqs.weight",
                       "rope_scaling.short_factor") &&
           put_factors(r, both ? "rope_factors_long.weight" : "rope_freqs.weight",
                       "rope_scaling.long_factor") &&
           put_number(r, "rope.scaling.attn_factor", "rope_scaling.attention_factor") &&
           put_number(r, "rope.scaling.original_context_length",
                      "rope_scaling.original_max_position_embeddings") &&
           (original == NULL || put_number(r, "rope.scaling.original_context_length", original));
}

static gboolean put_yarn(const Reader *r)
{
    const MoeGgufValue *extrapolation = find(r, "rope.scaling.yarn_ext_factor");
    const MoeGgufValue *logarithm = find(r, "rope.scaling.yarn_log_multiplier");
    g_autofree char *one = extrapolation != NULL ? moe_gguf_text(extrapolation, 0) : NULL;
    if (one != NULL && strcmp(one, "1") != 0)
        return moe_gguf_fail(r->file, extrapolation, r->error, "'%s' is not supported; 1 is", one);
    /* The file has a tenth of mscale_all_dim, which goes with the same mscale. */
    g_autofree char *text = logarithm != NULL ? single(r, logarithm) : NULL;
    if (text != NULL) {
        g_autofree char *mscale = g_strdup_printf("%.9g", 10 * g_ascii_strtod(text, NULL));
        put_text(r, "rope_scaling.mscale", logarithm, mscale);
        put_text(r, "rope_scaling.mscale_all_dim", logarithm, mscale);
    }
    return put_number(r, "rope.scaling.original_context_length",
                      "rope_scaling.original_max_position_embeddings") &&
           put_number(r, "rope.scaling.attn_factor", "rope_scaling.attention_factor") &&
           put_number(r, "rope.scaling.yarn_attn_factor", "rope_scaling.attention_factor") &&
           put_number(r, "rope.scaling.yarn_beta_fast", "rope_scaling.beta_fast") &&
           put_number(r, "rope.scaling.yarn_beta_slow", "rope_scaling.beta_slow");
}

static gboolean put_rope(const Reader *r)
{
    g_autofree char *key = g_strconcat(r->architecture, ".rope.scaling.type", NULL);
    g_autofree char *kind = NULL;
    if (!moe_gguf_string(r->file, key, &kind, r->error))
        return FALSE;
    if (has_tensor(r, "rope_freqs.weight") || has_tensor(r, "rope_factors_long.weight"))
        return put_long_rope(r, !has_tensor(r, "rope_freqs.weight"));
    if (kind == NULL || strcmp(kind, "none") == 0)
        return TRUE;
    put_text(r, "rope_scaling.rope_type", moe_gguf_find(r->file, key), kind);
    return put_number(r, "rope.scaling.factor", "rope_scaling.factor") &&
           (strcmp(kind, "yarn") != 0 || put_yarn(r));
}

/* --- the whole ------------------------------------------------------------------------------- */

/* Blocks that predict further ahead are counted with the others. */
static gboolean put_blocks(const Reader *r, gint64 *blocks_out)
{
    gint64 blocks, ahead;
    if (!get_int(r, "block_count", 0, &blocks) || !get_int(r, "nextn_predict_layers", 0, &ahead))
        return FALSE;
    if (ahead > 0 && ahead >= blocks)
        return moe_gguf_fail(r->file, find(r, "nextn_predict_layers"), r->error,
                             "%" G_GINT64_FORMAT " of the %" G_GINT64_FORMAT
                             " blocks that block_count counts leave none",
                             ahead, blocks);
    *blocks_out = blocks - ahead;
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, *blocks_out);
    put_text(r, name_of(r, AT(num_hidden_layers)), find(r, "block_count"), text);
    return TRUE;
}

/* Sets @name to item @i of @value, one for all blocks or one for each; what is there must agree. */
static gboolean put_item(const Reader *r, const char *name, const MoeGgufValue *value, gsize i)
{
    g_autofree char *text = moe_gguf_text(value, value->is_array ? i : 0);
    const MoeNode *there = moe_node_get(r->root, name);
    if (there == NULL)
        put_text(r, name, value, text);
    return there == NULL || strcmp(there->text, text) == 0 ||
           moe_gguf_fail(r->file, value, r->error,
                         "block %" G_GSIZE_FORMAT
                         " has %s, others of its kind %s; %s is read where they are the same",
                         i, text, there->text, r->family->title);
}

/* Which blocks have a window, as the file says, and which experts, as the tensors do; key/value
 * heads of both kinds of blocks. */
static gboolean put_local_blocks(const Reader *r, gint64 blocks)
{
    const MoeGgufValue *pattern = find(r, PATTERN), *heads = find(r, "attention.head_count_kv");
    const gsize n = (gsize)CLAMP(blocks, 0, MOST_BLOCKS);
    const MoeGgufValue *values[] = {pattern, heads};
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        if (values[i] == NULL || values[i]->type == MOE_GGUF_STRING ||
            values[i]->n < (values[i]->is_array || i == 0 ? n : 1))
            return moe_fail(r->error, MOE_ERROR_INPUT,
                            "%s: %s.%s: missing, or not one number for each of the %" G_GSIZE_FORMAT
                            " blocks",
                            moe_gguf_path(r->file), r->architecture,
                            i == 0 ? PATTERN : "attention.head_count_kv", n);
    MoeNode *windows = moe_node_new(MOE_NODE_LIST, NULL, place_of(r, pattern), 0, 0);
    MoeNode *experts = moe_node_new(MOE_NODE_LIST, NULL, place_of(r, NULL), 0, 0);
    put(r, "layer_types", windows);
    put(r, "mlp_layer_types", experts);
    for (gsize l = 0; l < n; l++) {
        g_autofree char *router = g_strdup_printf("blk.%" G_GSIZE_FORMAT ".ffn_gate_inp.weight", l);
        g_autofree char *text = moe_gguf_text(pattern, l);
        gboolean local = strcmp(text, "1") == 0 || strcmp(text, "true") == 0;
        if (!local && strcmp(text, "0") != 0 && strcmp(text, "false") != 0)
            return moe_gguf_fail(r->file, pattern, r->error,
                                 "'%s' for block %" G_GSIZE_FORMAT "; write 0 or 1", text, l);
        append(windows, local ? "sliding_attention" : "full_attention");
        append(experts, has_tensor(r, router) ? "sparse" : "dense");
        if (!put_item(r, name_of(r, local ? AT(local_key_value_heads) : AT(num_key_value_heads)),
                      heads, l))
            return FALSE;
    }
    return TRUE;
}

static gboolean check_gate(const Reader *r)
{
    enum { SOFTMAX = 1, SIGMOID = 2, SOFTMAX_OF_CHOSEN = 3 };
    gint64 kind;
    if (!get_int(r, "expert_gating_func", 0, &kind))
        return FALSE;
    const MoeScore score = r->family->gate.score;
    return kind == 0 ||
           (kind <= SOFTMAX_OF_CHOSEN && (kind == SIGMOID) == (score == MOE_SCORE_SIGMOID)) ||
           moe_gguf_fail(r->file, find(r, "expert_gating_func"), r->error,
                         "%" G_GINT64_FORMAT " is not %s's gate", kind, r->family->title);
}

/* What config.json may leave to its family, but a file that llama.cpp wrote never does. */
static gboolean check_needed(const Reader *r)
{
    static const char EPSILON[] = "attention.layer_norm_rms_epsilon";
    static const char *const needed[] = {
        "block_count",          "context_length", "embedding_length",
        "attention.head_count", EPSILON,          "expert_used_count"};
    const gsize n = G_N_ELEMENTS(needed) - (r->experts > 0 ? 0 : 1);
    for (gsize i = 0; i < n; i++)
        if (find(r, needed[i]) == NULL &&
            (needed[i] != EPSILON || find(r, "attention.layer_norm_epsilon") == NULL))
            return moe_fail(r->error, MOE_ERROR_INPUT,
                            "%s: %s.%s is missing; convert the model again", moe_gguf_path(r->file),
                            r->architecture, needed[i]);
    gint64 used;
    if (!get_int(r, "expert_used_count", 0, &used))
        return FALSE;
    return used <= r->experts ||
           moe_gguf_fail(r->file, find(r, "expert_used_count"), r->error,
                         "%" G_GINT64_FORMAT " experts per token, but expert_count is "
                         "%" G_GINT64_FORMAT,
                         used, r->experts);
}

static gboolean has_bias(const GPtrArray *files)
{
    for (guint f = 0; f < files->len; f++) {
        guint n;
        const MoeTensor *tensors = moe_gguf_tensors(files->pdata[f], &n);
        for (guint i = 0; i < n; i++)
            if (g_str_has_suffix(tensors[i].name, ".exp_probs_b.bias"))
                return TRUE;
    }
    return FALSE;
}

static void put_pairs(const Reader *r, const char *const *pair)
{
    for (; pair != NULL && *pair != NULL; pair += 2)
        put_text(r, pair[0], NULL, pair[1]);
}

/* What the file does not say: behind all that it does. */
static void put_constants(const Reader *r)
{
    const MoeGgufFamily *gguf = &r->family->gguf;
    if (gguf->special_experts > 0 && gguf->special_experts == r->experts)
        put_pairs(r, gguf->special);
    put_pairs(r, gguf->constants);
}

static gboolean fill(Reader *r)
{
    gboolean latent = find(r, "attention.kv_lora_rank") != NULL;
    gint64 blocks = 0;
    put_text(r, "model_type", NULL, r->family->model_type);
    if (!check_needed(r) || !put_blocks(r, &blocks) ||
        !moe_gguf_check_sizes(r->files, r->architecture, r->family, blocks, r->error) ||
        (has_local_blocks(r) && !put_local_blocks(r, blocks)) || !put_keys(r) ||
        !put_embedding(r) || !check_gate(r) || !put_rope(r) ||
        !(latent ? put_latent(r) : put_heads(r)))
        return FALSE;
    put_flags(r);
    put_constants(r);
    return TRUE;
}

MoeNode *moe_gguf_config(const GPtrArray *files, const MoeFamily **family_out, GError **error)
{
    Reader r = {.files = files, .file = files->pdata[0], .error = error};
    g_autofree char *architecture = NULL;
    if (!moe_gguf_string(r.file, "general.architecture", &architecture, error))
        return NULL;
    if (architecture == NULL) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: general.architecture is missing",
                 moe_gguf_path(r.file));
        return NULL;
    }
    r.architecture = architecture;
    if (!get_int(&r, "expert_count", 0, &r.experts))
        return NULL;
    r.family = moe_family_find_gguf(architecture, r.experts > 0, has_bias(files));
    if (r.family == NULL) {
        g_autofree char *all = moe_family_architectures();
        moe_gguf_fail(r.file, moe_gguf_find(r.file, "general.architecture"), error,
                      "the architecture '%s'%s is not supported; supported: %s", architecture,
                      r.experts > 0 ? "" : " without experts", all);
        return NULL;
    }
    r.root = moe_node_new(MOE_NODE_MAP, NULL, place_of(&r, NULL), 0, 0);
    if (!fill(&r)) {
        moe_node_free(r.root);
        return NULL;
    }
    *family_out = r.family;
    return r.root;
}

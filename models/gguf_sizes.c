#include "config.h"

#include "models/gguf_config.h"

#include <stdlib.h>
#include <string.h>

/* KEY, or KEY times a head's width, is as much as the tensor has along one dimension; @dim 0: along
 * a row, 1: rows. A key that the file lacks says nothing. */
typedef struct {
    const char *key, *width, *tensor;
    int dim;
} Size;

static const char KEYS[] = "attention.key_length";
static const char VALUES[] = "attention.value_length";
static const char HEADS[] = "attention.head_count";
static const char SHARED_HEADS[] = "attention.head_count_kv";
static const char SHARED[] = "expert_shared_feed_forward_length";
static const char AHEAD[] = "nextn_predict_layers";

static const Size ends[] = {
    {"embedding_length", NULL, "token_embd.weight", 0},
    {"vocab_size", NULL, "token_embd.weight", 1},
};

static const Size blocks[] = {
    {"feed_forward_length", NULL, "ffn_down.weight", 0},
    {"expert_feed_forward_length", NULL, "ffn_down_exps.weight", 0},
    {SHARED, NULL, "ffn_down_shexp.weight", 0},
    {"expert_count", NULL, "ffn_gate_inp.weight", 1},
    {"attention.q_lora_rank", NULL, "attn_q_a.weight", 1},
    {"attention.kv_lora_rank", NULL, "attn_kv_a_norm.weight", 0},
    {HEADS, KEYS, "attn_q.weight", 1},
    {HEADS, KEYS, "attn_q_b.weight", 1},
    {HEADS, VALUES, "attn_output.weight", 0},
    {SHARED_HEADS, KEYS, "attn_k.weight", 1},
    {SHARED_HEADS, VALUES, "attn_v.weight", 1},
};

/* Where experts have no width of their own, or the family has one width for all. */
static const Size experts[] = {{"feed_forward_length", NULL, "ffn_down_exps.weight", 0}};

/* What latent attention caches, where its heads have keys of their own. */
static const Size cached[] = {
    {KEYS, NULL, "attn_kv_a_mqa.weight", 1},
    {VALUES, NULL, "attn_kv_a_norm.weight", 0},
};

typedef struct {
    const GPtrArray *files;
    const MoeGguf *file; /* the first */
    const char *architecture;
    const MoeFamily *family;
    gint64 n_blocks; /* without those that predict further ahead */
    gint64 last;     /* block of which there is a tensor */
    gboolean has_shared;
    GError **error;
} Checker;

static const MoeGgufValue *find(const Checker *c, const char *key)
{
    g_autofree char *full = g_strconcat(c->architecture, ".", key, NULL);
    return moe_gguf_find(c->file, full);
}

static char *text_of(const MoeGgufValue *value, gint64 block)
{
    return moe_gguf_text(value, value->is_array ? MIN((gsize)block, value->n - 1) : 0);
}

/* The number that @key has for @block, or @fallback; at most 2^30, wider than any tensor may be. */
static gint64 number(const Checker *c, const char *key, gint64 block, gint64 fallback)
{
    const MoeGgufValue *value = find(c, key);
    if (value == NULL || value->n == 0 || value->type == MOE_GGUF_STRING)
        return fallback;
    g_autofree char *text = text_of(value, block);
    return CLAMP(g_ascii_strtoll(text, NULL, 10), 0, 1 << 30);
}

/* The key that has the width of a head, NULL: none, so that all heads are as wide as embeddings.
 * Latent attention says under @key what it caches. */
static const char *width_key(const Checker *c, const char *key)
{
    const char *own = key == KEYS ? "attention.key_length_mla" : "attention.value_length_mla";
    return find(c, own) != NULL ? own : find(c, key) != NULL ? key : NULL;
}

static gint64 head_width(const Checker *c, const char *key)
{
    const char *stated = width_key(c, key);
    gint64 heads = MAX(number(c, HEADS, 0, 1), 1);
    return stated != NULL ? number(c, stated, 0, 0) : number(c, "embedding_length", 0, 0) / heads;
}

/* llama.cpp's converter of this family divides another width instead. */
static gboolean is_divided(const Checker *c, const char *key, gint64 stated)
{
    gint64 heads = MAX(number(c, SHARED_HEADS, 0, 1), 1);
    return key == SHARED && c->family->gguf.shared_divided &&
           stated == number(c, "feed_forward_length", 0, 0) / heads;
}

static gint64 size_of(const MoeTensor *tensor, int dim)
{
    return dim < tensor->n_dims ? tensor->dims[tensor->n_dims - 1 - dim] : 1;
}

static gboolean fail_heads(const Checker *c, const char *key, gint64 heads, const char *width,
                           const MoeTensor *tensor, int dim)
{
    const char *stated = width_key(c, width);
    return moe_gguf_fail(c->file, find(c, key), c->error,
                         "%" G_GINT64_FORMAT " heads of %" G_GINT64_FORMAT
                         " elements (%s) do not go with the %" G_GINT64_FORMAT
                         " %s of the tensor '%s'; write the heads and the width that it has",
                         heads, head_width(c, width),
                         stated != NULL ? stated : "embedding_length / attention.head_count",
                         size_of(tensor, dim), dim == 0 ? "columns" : "rows", tensor->name);
}

static gboolean check(const Checker *c, const Size *size, gint64 block, const MoeTensor *tensor)
{
    const MoeGgufValue *value = find(c, size->key);
    gint64 there = size_of(tensor, size->dim), stated = number(c, size->key, block, there);
    if (value == NULL || is_divided(c, size->key, stated))
        return TRUE;
    if (size->width != NULL)
        return stated * head_width(c, size->width) == there ||
               fail_heads(c, size->key, stated, size->width, tensor, size->dim);
    if (stated == there)
        return TRUE;
    g_autofree char *text = text_of(value, block);
    return moe_gguf_fail(c->file, value, c->error,
                         "%s, but the tensor '%s' has %" G_GINT64_FORMAT
                         " %s; write %" G_GINT64_FORMAT,
                         text, tensor->name, there, size->dim == 0 ? "columns" : "rows", there);
}

/* Queries, keys and values below each other. */
static gboolean check_fused(const Checker *c, gint64 block, const MoeTensor *tensor)
{
    gint64 heads = number(c, HEADS, block, 0), shared = number(c, SHARED_HEADS, block, heads);
    gint64 keys = head_width(c, KEYS), values = head_width(c, VALUES);
    return (heads + shared) * keys + shared * values == size_of(tensor, 1) ||
           moe_gguf_fail(c->file, find(c, HEADS), c->error,
                         "%" G_GINT64_FORMAT " of queries, %" G_GINT64_FORMAT
                         " of keys and values (%s) do not go with the %" G_GINT64_FORMAT
                         " rows of the tensor '%s'; write the heads that it has",
                         heads, shared, SHARED_HEADS, size_of(tensor, 1), tensor->name);
}

static gboolean check_each(const Checker *c, const Size *sizes, gsize n, const char *name,
                           gint64 block, const MoeTensor *tensor)
{
    for (gsize i = 0; i < n; i++)
        if (strcmp(sizes[i].tensor, name) == 0 && !check(c, &sizes[i], block, tensor))
            return FALSE;
    return TRUE;
}

static gboolean has_one_width(const Checker *c)
{
    if (find(c, "expert_feed_forward_length") == NULL)
        return TRUE;
    const MoeField *f = c->family->fields;
    while (f->name != NULL && f->offset != MOE_CONFIG_AT(moe_intermediate_size))
        f++;
    return f->name == NULL;
}

/* A block behind the others: it must be one that predicts further ahead. */
static gboolean check_ahead(const Checker *c, gint64 block, const MoeTensor *tensor)
{
    gint64 ahead = number(c, AHEAD, 0, 0);
    g_autofree char *mark = g_strdup_printf("blk.%" G_GINT64_FORMAT ".nextn.eh_proj.weight", block);
    if (block >= c->n_blocks + ahead)
        return moe_gguf_fail(c->file, find(c, "block_count"), c->error,
                             "%" G_GINT64_FORMAT
                             " blocks, but the tensor '%s' is of another; count all blocks",
                             c->n_blocks + ahead, tensor->name);
    return moe_gguf_model_tensor(c->files, mark) != NULL ||
           moe_gguf_fail(c->file, find(c, AHEAD), c->error,
                         "%" G_GINT64_FORMAT ", but block %" G_GINT64_FORMAT
                         " does not predict further ahead: it has no tensor '%s'; write 0",
                         ahead, block, mark);
}

static gboolean check_tensor(Checker *c, const MoeTensor *tensor)
{
    char *name;
    if (!g_str_has_prefix(tensor->name, "blk."))
        return TRUE;
    gint64 block = g_ascii_strtoll(tensor->name + strlen("blk."), &name, 10);
    if (*name++ != '.' || block < 0)
        return TRUE;
    c->last = MAX(c->last, block);
    c->has_shared |= g_str_has_suffix(name, "_shexp.weight");
    if (block >= c->n_blocks)
        return check_ahead(c, block, tensor);
    if (strcmp(name, "attn_qkv.weight") == 0)
        return check_fused(c, block, tensor);
    gboolean apart = find(c, "attention.key_length_mla") != NULL;
    return check_each(c, blocks, G_N_ELEMENTS(blocks), name, block, tensor) &&
           check_each(c, experts, has_one_width(c) ? 1 : 0, name, block, tensor) &&
           check_each(c, cached, apart ? G_N_ELEMENTS(cached) : 0, name, block, tensor);
}

static gboolean check_version(const MoeGguf *file, GError **error)
{
    static const char key[] = "general.quantization_version";
    gint64 version;
    return moe_gguf_int(file, key, 0, 1 << 30, 2, &version, error) &&
           (version == 2 ||
            moe_gguf_fail(file, moe_gguf_find(file, key), error,
                          "blocks of version %" G_GINT64_FORMAT "; convert the model again, to 2",
                          version));
}

/* What no tensor has along one dimension. */
static gboolean check_counts(const Checker *c)
{
    gint64 heads = number(c, HEADS, 0, 1);
    gint64 shared = number(c, SHARED_HEADS, 0, heads);
    if (c->last + 1 < c->n_blocks)
        return moe_gguf_fail(c->file, find(c, "block_count"), c->error,
                             "%" G_GINT64_FORMAT
                             " blocks, but there are tensors of %" G_GINT64_FORMAT
                             "; write %" G_GINT64_FORMAT,
                             c->n_blocks, c->last + 1, c->last + 1);
    const char *const keys[] = {SHARED, "expert_shared_count"};
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++)
        if (find(c, keys[i]) != NULL && (number(c, keys[i], 0, 0) > 0) != c->has_shared)
            return moe_gguf_fail(c->file, find(c, keys[i]), c->error,
                                 "%" G_GINT64_FORMAT ", but there are %s tensors of shared experts",
                                 number(c, keys[i], 0, 0), c->has_shared ? "the" : "no");
    return find(c, "attention.kv_lora_rank") == NULL || shared == 1 || shared == heads ||
           moe_gguf_fail(c->file, find(c, SHARED_HEADS), c->error,
                         "%" G_GINT64_FORMAT
                         ", but latent attention has one for all heads or one each; write 1 or "
                         "%" G_GINT64_FORMAT,
                         shared, heads);
}

gboolean moe_gguf_check_sizes(const GPtrArray *files, const char *architecture,
                              const MoeFamily *family, gint64 n_blocks, GError **error)
{
    Checker c = {.files = files,
                 .file = files->pdata[0],
                 .architecture = architecture,
                 .family = family,
                 .n_blocks = n_blocks,
                 .last = -1,
                 .error = error};
    const MoeTensor *embedding = moe_gguf_model_tensor(files, ends[0].tensor);
    if (embedding != NULL &&
        !check_each(&c, ends, G_N_ELEMENTS(ends), ends[0].tensor, 0, embedding))
        return FALSE;
    for (guint f = 0; f < files->len; f++) {
        guint n;
        const MoeTensor *tensors = moe_gguf_tensors(files->pdata[f], &n);
        for (guint i = 0; i < n; i++)
            if (!check_tensor(&c, &tensors[i]))
                return FALSE;
    }
    return check_counts(&c) && check_version(c.file, error);
}

#include "config.h"

#include "models/vocabulary.h"

#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* What the arrays of the file become, for the tokenizer to read. */
typedef struct {
    char *model, *pre;
    GPtrArray *tokens, *merges; /* char *, NULL at the end */
    float *scores;
    gint32 *types;
} Arrays;

static void arrays_clear(Arrays *a)
{
    g_free(a->model);
    g_free(a->pre);
    g_clear_pointer(&a->tokens, g_ptr_array_unref);
    g_clear_pointer(&a->merges, g_ptr_array_unref);
    g_free(a->scores);
    g_free(a->types);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arrays, arrays_clear)

/* The @n items of four bytes of @key, aligned; NULL where it is not there. */
static gboolean read_words(const MoeGguf *file, const char *key, gboolean floats, gsize n,
                           void **out, GError **error)
{
    const MoeGgufValue *value = moe_gguf_find(file, key);
    *out = NULL;
    if (value == NULL)
        return TRUE;
    gboolean right = floats ? value->type == MOE_GGUF_FLOAT32
                            : value->type == MOE_GGUF_INT32 || value->type == MOE_GGUF_UINT32;
    if (!value->is_array || !right || value->n != n)
        return moe_gguf_fail(file, value, error,
                             "not a list of %s, one for each of the %" G_GSIZE_FORMAT " tokens",
                             floats ? "floats" : "32-bit integers", n);
    *out = g_memdup2(value->data, n * sizeof(guint32));
    return TRUE;
}

static gboolean read_strings(const MoeGguf *file, const char *key, GPtrArray **out, GError **error)
{
    const MoeGgufValue *value = moe_gguf_find(file, key);
    *out = value != NULL ? moe_gguf_strings(file, value, error) : NULL;
    return value == NULL || *out != NULL;
}

/* Old converters wrote -1 as an unsigned number. */
static gboolean read_id(const MoeGguf *file, const char *key, gint64 *out, GError **error)
{
    if (!moe_gguf_int(file, key, -1, G_MAXUINT32, -1, out, error))
        return FALSE;
    *out = *out == G_MAXUINT32 ? -1 : *out;
    return TRUE;
}

static gboolean read_flag(const MoeGguf *file, const char *key, MoeFlag *out, GError **error)
{
    const MoeGgufValue *value = moe_gguf_find(file, key);
    *out = value == NULL || value->n == 0 ? MOE_FLAG_ABSENT
           : *value->data != 0            ? MOE_FLAG_ON
                                          : MOE_FLAG_OFF;
    return value == NULL || (!value->is_array && value->type == MOE_GGUF_BOOL) ||
           moe_gguf_fail(file, value, error, "neither true nor false");
}

MoeTokenizer *moe_tokenizer_from_gguf(const MoeGguf *file, GError **error)
{
    g_auto(Arrays) a = {0};
    MoeVocabulary v = {.name = moe_gguf_path(file)};
    if (!moe_gguf_string(file, KEY("model"), &a.model, error) ||
        !moe_gguf_string(file, KEY("pre"), &a.pre, error) ||
        !read_strings(file, KEY("tokens"), &a.tokens, error) ||
        !read_strings(file, KEY("merges"), &a.merges, error))
        return NULL;
    if (a.model == NULL || a.tokens == NULL) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: %s is missing; the file has no tokenizer", v.name,
                 a.model == NULL ? KEY("model") : KEY("tokens"));
        return NULL;
    }
    const gsize n = a.tokens->len - 1;
    if (!read_words(file, KEY("scores"), TRUE, n, (void **)&a.scores, error) ||
        !read_words(file, KEY("token_type"), FALSE, n, (void **)&a.types, error) ||
        !read_id(file, KEY("bos_token_id"), &v.bos, error) ||
        !read_id(file, KEY("eos_token_id"), &v.eos, error) ||
        !read_id(file, KEY("unknown_token_id"), &v.unknown, error) ||
        !read_flag(file, KEY("add_bos_token"), &v.add_bos, error) ||
        !read_flag(file, KEY("add_eos_token"), &v.add_eos, error) ||
        !read_flag(file, KEY("add_space_prefix"), &v.add_space_prefix, error))
        return NULL;
    v.model = a.model;
    v.pre = a.pre;
    v.tokens = (const char *const *)a.tokens->pdata;
    v.n = n;
    v.scores = a.scores;
    v.types = a.types;
    v.merges = a.merges != NULL ? (const char *const *)a.merges->pdata : NULL;
    v.n_merges = a.merges != NULL ? a.merges->len - 1 : 0;
    return moe_tokenizer_from_vocabulary(&v, error);
}

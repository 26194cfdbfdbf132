#include "config.h"

#include "models/vocabulary.h"

#include "models/tokenizer_parts.h"

#include <math.h>
#include <string.h>

/* --- what tokenizer.ggml.pre names ----------------------------------------------------------- */

/* clang-format off */
#define SHORT_FORMS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SIGNS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define MARK "[^\\r\\n\\p{L}\\p{N}]?" /* what may stand before a word */
#define CAPITAL "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define SMALL "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define CASED(capital, small, end) \
    MARK capital "*" small "+" end "|" MARK capital "+" small "*" end

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 SHORT_FORMS "|" MARK "\\p{L}+|\\p{N}{1,3}|" SIGNS
#define QWEN2 SHORT_FORMS "|" MARK "\\p{L}+|\\p{N}|" SIGNS
#define QWEN35 \
    SHORT_FORMS "|" MARK "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
#define GPT4O \
    CASED("[" CAPITAL "]", "[" SMALL "]", SHORT_FORMS "?") \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define TEKKEN \
    CASED("[" CAPITAL "]", "[" SMALL "]", "") \
    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define BAILING \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}" \
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"
/* GPT-4o's words without Han characters, which stand together (Kimi-K2's tokenization_kimi.py). */
#define NO_HAN(set) "(?:(?!\\p{sc:Han})[" set "])"
#define KIMI_K2 \
    "\\p{sc:Han}+|" CASED(NO_HAN(CAPITAL), NO_HAN(SMALL), SHORT_FORMS "?") "|\\p{N}{1,3}|" SIGNS

#define DEEPSEEK_V3_SCRIPTS "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define DEEPSEEK_V3 \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+" \
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES
#define DEEPSEEK_SCRIPTS "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
/* DeepSeek LLM lists its letters: Latin, Greek, Cyrillic and others that have case. */
#define DEEPSEEK_LETTERS \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-" \
    "\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}" \
    "\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}" \
    "\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-" \
    "\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}" \
    "\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-" \
    "\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-" \
    "\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-" \
    "\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}" \
    "\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}" \
    "\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}" \
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}" \
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-" \
    "\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}" \
    "\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}" \
    "\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}" \
    "\\x{1E900}-\\x{1E943}"
#define DEEPSEEK_SIGNS \
    "!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}"
/* clang-format on */

typedef struct {
    const char *names[12];
    const char *patterns[7]; /* one after the other, each match a piece */
    gboolean ignore_merges;  /* a whole word that is a token stays whole */
    gboolean add_bos;        /* where the file does not say */
    gboolean nfc;            /* as the models' tokenizer.json says */
} Pre;

static const Pre pres[] = {
    {.names = {"gpt-2", "phi-2", "mpt", "jais", "trillion", "granite-docling", "exaone4",
               "gigachat", "a.x-4.0", "mellum", "modern-bert"},
     .patterns = {GPT2}},
    {.names = {"olmo"}, .patterns = {GPT2}, .nfc = TRUE},
    {.names = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b",
               "mellum2"},
     .patterns = {"\\p{N}", GPT2}},
    {.names = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
               "lfm2"},
     .patterns = {LLAMA3},
     .ignore_merges = TRUE,
     .add_bos = TRUE},
    {.names = {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, .patterns = {LLAMA3}},
    {.names = {"qwen2", "deepseek-r1-qwen", "megrez"}, .patterns = {QWEN2}, .nfc = TRUE},
    {.names = {"stablelm2", "hunyuan", "solar-open", "grok-2"}, .patterns = {QWEN2}},
    {.names = {"qwen35"}, .patterns = {QWEN35}, .nfc = TRUE},
    {.names = {"gpt-4o", "llama4", "kanana2", "minimax-m2", "talkie"}, .patterns = {GPT4O}},
    {.names = {"tekken"}, .patterns = {TEKKEN}, .ignore_merges = TRUE, .add_bos = TRUE},
    {.names = {"deepseek-llm"},
     .patterns = {"[\\r\\n]", "\\s?[" DEEPSEEK_LETTERS "]+", "\\s?[" DEEPSEEK_SIGNS "]+", "\\s+$",
                  DEEPSEEK_SCRIPTS, "\\p{N}+"}},
    {.names = {"deepseek-coder"},
     .patterns = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_SCRIPTS, "\\p{N}"}},
    {.names = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"},
     .patterns = {"\\p{N}{1,3}", DEEPSEEK_V3_SCRIPTS, DEEPSEEK_V3}},
    {.names = {"bailingmoe", "bailingmoe2", "llada-moe"}, .patterns = {BAILING}},
    {.names = {"kimi-k2"}, .patterns = {KIMI_K2}},
};

static const Pre *find_pre(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(pres); i++)
        if (g_strv_contains(pres[i].names, name))
            return &pres[i];
    return NULL;
}

static gboolean fail_pre(const MoeVocabulary *v, GError **error)
{
    if (v->pre == NULL)
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: tokenizer.ggml.pre is missing, which says how words are cut; write the "
            "file anew with a converter that sets it",
            v->name);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (size_t i = 0; i < G_N_ELEMENTS(pres); i++)
        for (const char *const *name = pres[i].names; *name != NULL; name++)
            g_ptr_array_add(names, (gpointer)*name);
    g_ptr_array_add(names, NULL);
    const char *nearest = moe_nearest(v->pre, (const char *const *)names->pdata);
    g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: tokenizer.ggml.pre '%s' is not known%s%s%s; %s are", v->name, v->pre,
                    nearest != NULL ? "; is it '" : "", nearest != NULL ? nearest : "",
                    nearest != NULL ? "'?" : "", all);
}

/* --- the arrays ------------------------------------------------------------------------------ */

static gint32 type_of(const MoeVocabulary *v, size_t id)
{
    return v->types != NULL ? v->types[id] : MOE_TOKEN_NORMAL;
}

static gboolean check_token(const MoeVocabulary *v, size_t id, GError **error)
{
    if (!g_utf8_validate(v->tokens[id], -1, NULL))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: tokenizer.ggml.tokens[%zu] is not UTF-8",
                        v->name, id);
    /* 0 is "undefined"; llama.cpp takes it for a normal token. */
    if (type_of(v, id) < 0 || type_of(v, id) > MOE_TOKEN_BYTE)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tokenizer.ggml.token_type[%zu] is %d; types go from 0 to %d", v->name,
                        id, type_of(v, id), MOE_TOKEN_BYTE);
    if (v->scores != NULL && !isfinite(v->scores[id]))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tokenizer.ggml.scores[%zu] is not a finite number", v->name, id);
    return TRUE;
}

static MoeTokenTable *make_table(const MoeVocabulary *v, GError **error)
{
    g_autofree char *where = g_strconcat(v->name, ": tokenizer.ggml.tokens", NULL);
    g_autoptr(MoeTokenTable) table = moe_token_table_new();
    if (v->n == 0 || v->n > MOE_LARGEST_TOKEN_ID) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: %zu tokens; 1 to %d are read", where, v->n,
                 MOE_LARGEST_TOKEN_ID);
        return NULL;
    }
    for (size_t id = 0; id < v->n; id++) {
        g_autofree char *empty = NULL;
        const char *token = v->tokens[id];
        if (*token == '\0') /* some files have holes; each gets a name, as in llama.cpp */
            token = empty = g_strdup_printf("[EMPTY_%zu]", id);
        if (!check_token(v, id, error) ||
            !moe_token_table_add(table, token, (gint64)id, where, error))
            return NULL;
    }
    return g_steal_pointer(&table);
}

static MoeAddedTokens *find_added(const MoeVocabulary *v, const MoeTokenTable *table,
                                  GError **error)
{
    g_autofree char *where = g_strconcat(v->name, ": tokenizer.ggml.tokens", NULL);
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(MoeAddedToken));
    for (size_t id = 0; id < v->n; id++) {
        gint32 type = type_of(v, id);
        gboolean special = type == MOE_TOKEN_CONTROL || type == MOE_TOKEN_UNKNOWN;
        MoeAddedToken token = {moe_token_table_token(table, (guint32)id), (guint32)id, special};
        if (special || type == MOE_TOKEN_USER_DEFINED)
            g_array_append_val(list, token);
    }
    return moe_added_tokens_from_list((const MoeAddedToken *)(void *)list->data, list->len, table,
                                      where, error);
}

static gboolean check_id(const MoeVocabulary *v, const char *key, gint64 id, GError **error)
{
    return (id >= -1 && id < (gint64)v->n) ||
           moe_fail(error, MOE_ERROR_INPUT,
                    "%s: tokenizer.ggml.%s is %" G_GINT64_FORMAT "; the vocabulary has %zu tokens",
                    v->name, key, id, v->n);
}

/* Adds the token that @flag, or @fallback where the file is silent, asks for around a text. */
static gboolean add_around(const MoeVocabulary *v, const char *key, MoeFlag flag, gboolean fallback,
                           gint64 id, GArray *ids, GError **error)
{
    gboolean wanted = flag == MOE_FLAG_ABSENT ? fallback && id >= 0 : flag == MOE_FLAG_ON;
    if (wanted && id < 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tokenizer.ggml.add_%s_token is true, but %s_token_id is missing",
                        v->name, key, key);
    guint32 token = (guint32)id;
    if (wanted)
        g_array_append_val(ids, token);
    return TRUE;
}

/* SentencePiece's own ids, where the file is silent. */
static gint64 id_or(const MoeVocabulary *v, gint64 id, gint64 fallback)
{
    return id < 0 && strcmp(v->model, "llama") == 0 && fallback < (gint64)v->n ? fallback : id;
}

/* --- the two kinds --------------------------------------------------------------------------- */

static gboolean make_byte_level(const MoeVocabulary *v, const Pre *pre, MoeTokenTable *table,
                                MoeTokenizer *tokenizer, GError **error)
{
    g_autofree char *where = g_strconcat(v->name, ": tokenizer.ggml", NULL);
    tokenizer->bpe =
        moe_bpe_from_merges(table, v->merges, v->n_merges, pre->ignore_merges, where, error);
    if (tokenizer->bpe == NULL)
        return FALSE;
    tokenizer->normalizer = moe_normalizer_plain(pre->nfc);
    tokenizer->decoder = moe_decoder_byte_level();
    tokenizer->pretokenizer = moe_pretokenizer_from_patterns(pre->patterns, where, error);
    return tokenizer->pretokenizer != NULL;
}

static gboolean make_scored(const MoeVocabulary *v, MoeTokenTable *table, MoeTokenizer *tokenizer,
                            GError **error)
{
    g_autofree char *where = g_strconcat(v->name, ": tokenizer.ggml.tokens", NULL);
    gboolean prefix = v->add_space_prefix != MOE_FLAG_OFF;
    tokenizer->bpe = moe_bpe_from_scores(table, v->scores, id_or(v, v->unknown, 0), where, error);
    if (tokenizer->bpe == NULL)
        return FALSE;
    tokenizer->normalizer = moe_normalizer_spaces(prefix);
    tokenizer->decoder = moe_decoder_spaces(prefix);
    tokenizer->pretokenizer = moe_pretokenizer_new(NULL, where, error);
    return tokenizer->pretokenizer != NULL;
}

/* The kind of model, checked: @pre_out is NULL for "llama". */
static gboolean find_kind(const MoeVocabulary *v, const Pre **pre_out, GError **error)
{
    *pre_out = NULL;
    if (strcmp(v->model, "llama") == 0)
        return v->scores != NULL ||
               moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tokenizer.ggml.scores is missing; model 'llama' merges by score",
                        v->name);
    if (strcmp(v->model, "gpt2") != 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tokenizer.ggml.model '%s' is not supported; gpt2 and llama are",
                        v->name, v->model);
    if (v->merges == NULL)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tokenizer.ggml.merges is missing; model 'gpt2' needs it", v->name);
    *pre_out = v->pre != NULL ? find_pre(v->pre) : NULL;
    return *pre_out != NULL || fail_pre(v, error);
}

MoeTokenizer *moe_tokenizer_from_vocabulary(const MoeVocabulary *v, GError **error)
{
    const Pre *pre;
    if (!find_kind(v, &pre, error) || !check_id(v, "bos_token_id", v->bos, error) ||
        !check_id(v, "eos_token_id", v->eos, error) ||
        !check_id(v, "unknown_token_id", v->unknown, error))
        return NULL;
    MoeTokenTable *table = make_table(v, error);
    if (table == NULL)
        return NULL;
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_empty();
    if (pre != NULL ? !make_byte_level(v, pre, table, tokenizer, error)
                    : !make_scored(v, table, tokenizer, error))
        return NULL;
    tokenizer->table = moe_bpe_table(tokenizer->bpe);
    tokenizer->added = find_added(v, tokenizer->table, error);
    if (tokenizer->added == NULL ||
        !add_around(v, "bos", v->add_bos, pre == NULL || pre->add_bos, id_or(v, v->bos, 1),
                    tokenizer->before, error) ||
        !add_around(v, "eos", v->add_eos, FALSE, id_or(v, v->eos, 2), tokenizer->after, error))
        return NULL;
    return g_steal_pointer(&tokenizer);
}

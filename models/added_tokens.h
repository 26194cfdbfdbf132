/* added_tokens.h - the tokens that are found in the text before anything else looks at it.
 *
 * Layer: models. The behaviour is that of Hugging Face tokenizers (tokenizer/added_vocabulary.rs).
 */
#ifndef MOE_MODELS_ADDED_TOKENS_H
#define MOE_MODELS_ADDED_TOKENS_H

#include "models/normalizer.h"
#include "models/token_table.h"

typedef struct MoeAddedTokens MoeAddedTokens;

/* A stretch of text, or one added token in its place. */
typedef struct {
    size_t start, end; /* bytes */
    gint64 id;         /* of the token; -1: text */
} MoeAddedSpan;

/* Reads the "added_tokens" list of a tokenizer.json (NULL or null: none): content, id, single_word,
 * lstrip, rstrip, normalized, special. A token that the model's @table knows must have its id.
 * Normalised tokens are searched in the form that @normalizer gives them.
 * Free with moe_added_tokens_free(). Errors: MOE_ERROR_INPUT; NULL then. */
MoeAddedTokens *moe_added_tokens_new(JsonNode *node, const MoeTokenTable *table,
                                     const MoeNormalizer *normalizer, const char *where,
                                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A token by itself: found anywhere, as it is written. */
typedef struct {
    const char *content;
    guint32 id;
    gboolean special;
} MoeAddedToken;

/* The same from @n tokens that are in @table under their ids. */
MoeAddedTokens *moe_added_tokens_from_list(const MoeAddedToken *tokens, size_t n,
                                           const MoeTokenTable *table, const char *where,
                                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_added_tokens_free(MoeAddedTokens *added);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeAddedTokens, moe_added_tokens_free)

/* Cuts text[0 ... length) at the tokens whose "normalized" is @normalized: leftmost first, the
 * longest of several at one place. Appends MoeAddedSpan to @spans. Errors: MOE_ERROR_INPUT (a limit
 * of PCRE2). */
gboolean moe_added_tokens_find(const MoeAddedTokens *added, gboolean normalized, const char *text,
                               size_t length, GArray *spans,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The text of added token @id, or NULL; whether it is special; the largest id or -1. */
const char *moe_added_tokens_text(const MoeAddedTokens *added, guint32 id);
gboolean moe_added_tokens_special(const MoeAddedTokens *added, guint32 id);
gint64 moe_added_tokens_last_id(const MoeAddedTokens *added);

#endif

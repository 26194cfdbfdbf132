/* bpe.h - byte-pair encoding: the model part of a tokenizer.
 *
 * Layer: models. The merge order is that of Hugging Face tokenizers (models/bpe): of all neighbours
 * that can merge, the pair of lowest rank goes first, the leftmost of equals.
 */
#ifndef MOE_MODELS_BPE_H
#define MOE_MODELS_BPE_H

#include "sim/base/json.h"

typedef struct MoeBpe MoeBpe;

/* Reads the "model" object of a tokenizer.json: type BPE with vocab and merges (pairs as "a b" or
 * ["a", "b"]), ignore_merges. Refused by name: dropout, unk_token, byte_fallback, prefixes and
 * suffixes of sub-words, a merge of unknown tokens or into one, ids used twice or above 2^24.
 * @where begins the messages. Free with moe_bpe_free(). Errors: MOE_ERROR_INPUT; NULL then. */
MoeBpe *moe_bpe_new(JsonObject *model, const char *where, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_bpe_free(MoeBpe *bpe);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeBpe, moe_bpe_free)

/* Appends the ids (guint32) of one pre-token to @ids. @word is UTF-8 without NUL; a character that
 * is not in the vocabulary is left out, as the reference does when there is no unknown token. */
void moe_bpe_encode(const MoeBpe *bpe, const char *word, size_t length, GArray *ids);

/* The id of @token, or -1; the token of @id, or NULL. */
gint64 moe_bpe_id(const MoeBpe *bpe, const char *token);
const char *moe_bpe_token(const MoeBpe *bpe, guint32 id);

/* The largest id, and how many tokens there are. */
guint32 moe_bpe_last_id(const MoeBpe *bpe);
guint moe_bpe_size(const MoeBpe *bpe);

#endif

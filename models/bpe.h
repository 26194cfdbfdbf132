/* bpe.h - byte-pair encoding: the model part of a tokenizer.
 *
 * Layer: models. The merge order is that of Hugging Face tokenizers (models/bpe): of all neighbours
 * that can merge, the pair of lowest rank goes first, the leftmost of equals. SentencePiece models
 * without a list of merges go by the score of what a pair would become (moe_bpe_from_scores()).
 */
#ifndef MOE_MODELS_BPE_H
#define MOE_MODELS_BPE_H

#include "models/token_table.h"
#include "sim/base/json.h"

typedef struct MoeBpe MoeBpe;

/* Reads the "model" object of a tokenizer.json of type BPE: vocab and merges (pairs as "a b" or
 * ["a", "b"]), ignore_merges, unk_token, fuse_unk, byte_fallback. Refused by name: dropout,
 * prefixes and suffixes of sub-words, a merge of unknown tokens or into one, ids used twice or
 * above MOE_LARGEST_TOKEN_ID. @where begins the messages. Free with moe_bpe_free().
 * Errors: MOE_ERROR_INPUT; NULL then. */
MoeBpe *moe_bpe_new(JsonObject *model, const char *where, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same from @table, which it takes (freed on failure too), and @n merges "a b" in the order of
 * their rank. With @ignore_merges, a word that is a token as it stands is not taken apart. */
MoeBpe *moe_bpe_from_merges(MoeTokenTable *table, const char *const *merges, size_t n,
                            gboolean ignore_merges, const char *where,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for SentencePiece's BPE: any two neighbours whose text together is a token may merge,
 * the highest of @scores (one for each id of @table, finite) first, the leftmost of equals. A
 * character without a token becomes its byte tokens, or, where these are missing, @unknown (-1: is
 * left out). Errors: MOE_ERROR_INPUT (a token of more than 512 bytes). */
MoeBpe *moe_bpe_from_scores(MoeTokenTable *table, const float *scores, gint64 unknown,
                            const char *where, GError **error) G_GNUC_WARN_UNUSED_RESULT;

void moe_bpe_free(MoeBpe *bpe);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeBpe, moe_bpe_free)

/* Appends the ids (guint32) of one pre-token to @ids. @word is @length bytes of UTF-8, NUL allowed,
 * less than 2^31. A character without a token, byte tokens and unknown token is left out, as the
 * reference does. */
void moe_bpe_encode(const MoeBpe *bpe, const char *word, size_t length, GArray *ids);

/* Its vocabulary. Borrowed. */
const MoeTokenTable *moe_bpe_table(const MoeBpe *bpe);

#endif

/* unigram.h - unigram language model: the model part of SentencePiece tokenizers such as T5's.
 *
 * Layer: models. The behaviour is that of Hugging Face tokenizers (models/unigram): of all ways to
 * cut a text into tokens, the one with the largest sum of scores (Viterbi); of equal sums the one
 * whose last token is the longest.
 */
#ifndef MOE_MODELS_UNIGRAM_H
#define MOE_MODELS_UNIGRAM_H

#include "models/token_table.h"
#include "sim/base/json.h"

typedef struct MoeUnigram MoeUnigram;

/* Reads the "model" object of a tokenizer.json of type Unigram: vocab (pairs [token, score]),
 * unk_id, byte_fallback. Refused by name: a token twice, an unk_id outside the vocabulary, a score
 * that is not a number. @where begins the messages. Free with moe_unigram_free().
 * Errors: MOE_ERROR_INPUT; NULL then. */
MoeUnigram *moe_unigram_new(JsonObject *model, const char *where,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_unigram_free(MoeUnigram *unigram);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeUnigram, moe_unigram_free)

/* Appends the ids (guint32) of one pre-token to @ids: @length bytes of UTF-8, NUL allowed, less
 * than 2^31. Neighbouring unknown characters become one unknown token, or their bytes. Errors:
 * MOE_ERROR_INPUT (an unknown character and no unk_id). */
gboolean moe_unigram_encode(const MoeUnigram *unigram, const char *word, size_t length, GArray *ids,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Its vocabulary. Borrowed. */
const MoeTokenTable *moe_unigram_table(const MoeUnigram *unigram);

#endif

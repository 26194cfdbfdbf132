/* tokenizer.h - text to token ids and back, from the tokenizer.json that a model ships.
 *
 * Layer: models. Same ids as Hugging Face tokenizers: added tokens, normaliser (normalizer.h),
 * pre-tokenizer (pretokenizer.h), BPE with bytes as letters or as a fallback (bpe.h) or unigrams
 * (unigram.h), template of special tokens, decoder (decoder.h). Anything else in the file is refused
 * by name.
 */
#ifndef MOE_MODELS_TOKENIZER_H
#define MOE_MODELS_TOKENIZER_H

#include "sim/base/error.h"

typedef struct MoeTokenizer MoeTokenizer;

/* Reads the tokenizer.json at @path (at most 256 MiB). Free with moe_tokenizer_free().
 * Errors: MOE_ERROR_INPUT; NULL then. */
MoeTokenizer *moe_tokenizer_load(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_tokenizer_free(MoeTokenizer *tokenizer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeTokenizer, moe_tokenizer_free)

/* Appends the ids (guint32) of @length bytes of UTF-8 (NUL allowed) to @ids; with @special, the
 * tokens that the template puts around a single text too. Added tokens in the text are found either
 * way. Not for two threads at a time on one tokenizer. Errors: MOE_ERROR_INPUT (not UTF-8, with the
 * byte; more than 256 MiB; a pattern that gives up; a character that unigrams have no token for). */
gboolean moe_tokenizer_encode(const MoeTokenizer *tokenizer, const char *text, size_t length,
                              gboolean special, GArray *ids,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The text of @n ids; unknown ids are left out; bytes that are not UTF-8 become U+FFFD. With
 * @skip_special, special tokens are left out. The caller frees the GString. */
GString *moe_tokenizer_decode(const MoeTokenizer *tokenizer, const guint32 *ids, size_t n,
                              gboolean skip_special);

/* Appends the bytes of token @id to @bytes: for printing tokens as they are generated. They may be
 * part of a character, which later tokens complete. @first: nothing has been printed yet (spaces
 * that a decoder takes from the beginning of a text go). Unknown ids give none; special tokens give
 * their name. */
void moe_tokenizer_token_bytes(const MoeTokenizer *tokenizer, guint32 id, gboolean first,
                               GString *bytes);

/* Whether @id is a special token, such as those of the template. */
gboolean moe_tokenizer_is_special(const MoeTokenizer *tokenizer, guint32 id);

/* One more than the largest id. */
guint32 moe_tokenizer_size(const MoeTokenizer *tokenizer);

#endif

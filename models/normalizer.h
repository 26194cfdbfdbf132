/* normalizer.h - what a tokenizer changes in a text before it cuts it.
 *
 * Layer: models. The behaviour is that of Hugging Face tokenizers (normalizers/).
 */
#ifndef MOE_MODELS_NORMALIZER_H
#define MOE_MODELS_NORMALIZER_H

#include "sim/base/json.h"

typedef struct MoeNormalizer MoeNormalizer;

/* Reads the "normalizer" value of a tokenizer.json: Sequence, NFC, Prepend, Replace (String or
 * Regex), Strip, Precompiled (charsmap.h), or null. Others are refused by name. @where begins the
 * messages. Free with moe_normalizer_free(). Errors: MOE_ERROR_INPUT; NULL then. */
MoeNormalizer *moe_normalizer_new(JsonNode *node, const char *where,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* One that does nothing but NFC, or, without @nfc, nothing. */
MoeNormalizer *moe_normalizer_plain(gboolean nfc);

/* SentencePiece's: spaces become U+2581, and with @prefix a text gets one in front. */
MoeNormalizer *moe_normalizer_spaces(gboolean prefix);

void moe_normalizer_free(MoeNormalizer *normalizer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeNormalizer, moe_normalizer_free)

/* The normal form of @length bytes of valid UTF-8 (NUL allowed); the caller frees the GString.
 * @begin_out (may be NULL): how many bytes at the beginning of the result stem from the beginning of
 * @text. Errors: MOE_ERROR_INPUT (a pattern gives up; more than 64 bytes for each of the text);
 * NULL then. */
GString *moe_normalizer_run(const MoeNormalizer *normalizer, const char *text, size_t length,
                            size_t *begin_out, GError **error);

#endif

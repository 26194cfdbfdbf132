/* decoder.h - turns tokens back into text.
 *
 * Layer: models. The behaviour is that of Hugging Face tokenizers (decoders/).
 */
#ifndef MOE_MODELS_DECODER_H
#define MOE_MODELS_DECODER_H

#include "sim/base/json.h"

typedef struct MoeDecoder MoeDecoder;

/* Reads the "decoder" value of a tokenizer.json: Sequence, ByteLevel, Metaspace, Replace (String),
 * ByteFallback, Fuse, Strip, or null (tokens are put together with spaces between them). Others are
 * refused by name. @where begins the messages. Free with moe_decoder_free().
 * Errors: MOE_ERROR_INPUT; NULL then. */
MoeDecoder *moe_decoder_new(JsonNode *node, const char *where,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* ByteLevel alone; SentencePiece's: U+2581 becomes a space, byte tokens become their byte, and
 * with @prefix the first space of a text goes. */
MoeDecoder *moe_decoder_byte_level(void);
MoeDecoder *moe_decoder_spaces(gboolean prefix);

void moe_decoder_free(MoeDecoder *decoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeDecoder, moe_decoder_free)

/* The text of @n tokens (C strings): UTF-8, what is not so becomes U+FFFD. The caller frees it. */
GString *moe_decoder_run(const MoeDecoder *decoder, const char *const *tokens, size_t n);

/* Appends the bytes of one token, which may be part of a character: for printing tokens as they
 * come. @first: no byte has been printed before. Bytes that do not add up to UTF-8 are left to the
 * caller, and so is what a Strip step takes from the end of a text. */
void moe_decoder_bytes(const MoeDecoder *decoder, const char *token, gboolean first, GString *out);

#endif

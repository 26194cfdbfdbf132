/* pretokenizer.h - cuts text into the pieces that a tokenizer's model then encodes one by one.
 *
 * Layer: models. The behaviour is that of Hugging Face tokenizers (pre_tokenizers/), whose patterns
 * are Oniguruma's; they run here on PCRE2 after a translation of the escapes that mean different
 * sets.
 */
#ifndef MOE_MODELS_PRETOKENIZER_H
#define MOE_MODELS_PRETOKENIZER_H

#include "sim/base/json.h"

typedef struct MoePretokenizer MoePretokenizer;

/* Reads the "pre_tokenizer" value of a tokenizer.json: Sequence, Split (Regex or String, every
 * behaviour, invert), ByteLevel, Digits, Metaspace (prepend_scheme, or add_prefix_space before it),
 * WhitespaceSplit, or null. Others are refused by name. @where begins the messages. Free with
 * moe_pretokenizer_free(). Errors: MOE_ERROR_INPUT; NULL then. */
MoePretokenizer *moe_pretokenizer_new(JsonNode *node, const char *where,
                                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A ByteLevel step behind one Split for each of @patterns (NULL-terminated; Regex, Isolated).
 * Errors: MOE_ERROR_INPUT; NULL then. */
MoePretokenizer *moe_pretokenizer_from_patterns(const char *const *patterns, const char *where,
                                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_pretokenizer_free(MoePretokenizer *pretokenizer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoePretokenizer, moe_pretokenizer_free)

/* Cuts the @length bytes of valid UTF-8 at @text (NUL allowed) into pieces: GStrings that the
 * caller frees with the array. With a ByteLevel step, each byte of a piece has become its visible
 * letter (moe_byte_letter()). @begin: how many bytes of @text count as the beginning of the user's
 * text, which Metaspace's scheme "first" asks. Errors: MOE_ERROR_INPUT when a pattern gives up (its
 * limits, not ours). */
gboolean moe_pretokenizer_cut(const MoePretokenizer *pretokenizer, const char *text, size_t length,
                              size_t begin, GPtrArray **pieces_out,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Whether a ByteLevel step is among the steps, so that pieces are letters that stand for bytes. */
gboolean moe_pretokenizer_byte_level(const MoePretokenizer *pretokenizer);

/* GPT-2's visible alphabet for bytes: printable Latin-1 stands for itself, the rest for U+0100 on,
 * in order (openai/gpt-2, encoder.py). The letter of @byte; the byte of @letter, or -1. */
gunichar moe_byte_letter(guint8 byte);
int moe_letter_byte(gunichar letter);

#endif

/* unicode_data.h - where the Unicode versions of the tokenizer's reference differ from a library's.
 *
 * Layer: models. Hugging Face tokenizers 0.22 cuts text with Oniguruma's Unicode 16 and normalises
 * with tables of Unicode 10. PCRE2 and GLib follow their own versions (14 on Debian 12), so what
 * lies between is listed here. Facts of the Unicode Character Database (UnicodeData.txt, Unicode,
 * Inc.).
 */
#ifndef MOE_MODELS_UNICODE_DATA_H
#define MOE_MODELS_UNICODE_DATA_H

#include <glib.h>

/* The characters first ... last, all of one general category. */
typedef struct {
    gunichar first, last;
    char category[3];
} MoeUnicodeRange;

/* Characters assigned in Unicode 15.0, 15.1 and 16.0, in order; ends with a row of zeros. */
extern const MoeUnicodeRange moe_unicode_new[];

/* Whether the reference's normaliser takes @c for a plain letter although it combines or
 * decomposes: it was assigned after Unicode 10. */
gboolean moe_unicode_is_plain(gunichar c);

/* Whether @c has the property White_Space. */
gboolean moe_unicode_is_space(gunichar c);

/* How many of the @length bytes at @text are UTF-8 before the first that is not; NUL is a character
 * like others. */
size_t moe_unicode_valid_length(const char *text, size_t length);

#endif

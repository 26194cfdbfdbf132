/* grapheme.h - where one character as a reader sees it ends and the next begins.
 *
 * Layer: models. Extended grapheme clusters of Unicode 16 (UAX 29), the version that Hugging Face
 * tokenizers 0.22 cuts with. Libraries follow the Unicode version of their release.
 */
#ifndef MOE_MODELS_GRAPHEME_H
#define MOE_MODELS_GRAPHEME_H

#include <glib.h>

/* The bytes of the first cluster of the @length bytes of valid UTF-8 at @text (NUL allowed);
 * 0 for none. @text begins where a cluster begins. */
size_t moe_grapheme_length(const char *text, size_t length);

#endif

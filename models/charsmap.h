/* charsmap.h - SentencePiece's compiled table of character replacements.
 *
 * Layer: models. The bytes are: the size of a trie (u32), the trie, and the replacements, each
 * ended by a NUL, that its leaves point into. The trie is a double array as Darts-clone writes it
 * (s-yata/darts-clone); the search is that of Hugging Face tokenizers (spm_precompiled).
 */
#ifndef MOE_MODELS_CHARSMAP_H
#define MOE_MODELS_CHARSMAP_H

#include "sim/base/error.h"

typedef struct MoeCharsmap MoeCharsmap;

/* Reads the table from base64 text, at most 4 MiB of bytes. Every path through the trie is walked,
 * so that looking up cannot leave it. @where begins the messages. Free with moe_charsmap_free().
 * Errors: MOE_ERROR_INPUT (not base64; too short; a branch or a leaf that points outside;
 * replacements that are not UTF-8); NULL then. */
MoeCharsmap *moe_charsmap_new(const char *base64, const char *where,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_charsmap_free(MoeCharsmap *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeCharsmap, moe_charsmap_free)

/* What the @length bytes at @text become: the replacement of the shortest key that they begin with,
 * in place of all of them, as the reference does; its length goes to @length_out. NULL: no key.
 * Borrowed. */
const char *moe_charsmap_find(const MoeCharsmap *map, const char *text, size_t length,
                              size_t *length_out);

#endif

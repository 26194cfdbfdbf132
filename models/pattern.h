/* pattern.h - regular expressions as tokenizer files write them.
 *
 * Layer: models.
 */
#ifndef MOE_MODELS_PATTERN_H
#define MOE_MODELS_PATTERN_H

#include "sim/base/error.h"

typedef struct MoePattern MoePattern;

/* Compiles @source, an Oniguruma (Ruby syntax) expression as in tokenizer.json, or, with @literal,
 * a string to be found as it is. \s \S \h \H and the general categories \p{L} ... get Oniguruma's
 * sets, those of Unicode 16. What cannot be translated (\w, a set inside a set, &&) is refused.
 * Free with moe_pattern_free(). Errors: MOE_ERROR_INPUT, "@where: pattern: what, at character n";
 * NULL then. */
MoePattern *moe_pattern_new(const char *source, gboolean literal, const char *where,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_pattern_free(MoePattern *pattern);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoePattern, moe_pattern_free)

/* Finds the first match in text[from ... length): @start_out and @end_out are byte offsets. Returns
 * 1, or 0 when there is none, or -1 with MOE_ERROR_INPUT when PCRE2 hits one of its limits.
 * @text is valid UTF-8. */
int moe_pattern_find(const MoePattern *pattern, const char *text, size_t length, size_t from,
                     size_t *start_out, size_t *end_out, GError **error);

/* Appends @text to @out with every match replaced by @content; a match of nothing counts where it
 * does not follow another match at once, as in the reference. @first_out: where a match at the
 * very beginning ends, or -1. Errors: MOE_ERROR_INPUT (a limit of PCRE2; @out gets longer than
 * @most). */
gboolean moe_pattern_replace(const MoePattern *pattern, const GString *text, const char *content,
                             size_t most, GString *out, gssize *first_out,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

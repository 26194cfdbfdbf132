/* error.h - the one error domain of moesim.
 *
 * Layer: sim/base. Everything that can fail returns FALSE or NULL and fills a GError of this
 * domain. The function that first knows what is wrong words the error, once: lower case, no full
 * stop, the offending value in quotes, and what to write instead. Callers only prefix where it
 * happened. Nobody below sim/cli prints or exits.
 */
#ifndef MOE_BASE_ERROR_H
#define MOE_BASE_ERROR_H

#include <glib.h>

#define MOE_ERROR (moe_error_quark())

/* The value of a code is the exit status of the program. */
typedef enum {
    MOE_ERROR_FAILED =
        1, /* the input is good, but the work could not be done: disk full, engine died */
    MOE_ERROR_USAGE = 2, /* the command line is wrong */
    MOE_ERROR_INPUT =
        3, /* a file the user gave is missing, malformed, or does not fit the others */
} MoeErrorCode;

GQuark moe_error_quark(void);

/* Sets @error (which may be NULL) to @code with a printf-style message.
 * Always returns FALSE, so that a caller can write: return moe_fail(error, MOE_ERROR_INPUT, ...).
 */
gboolean moe_fail(GError **error, MoeErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Returns the candidate that is nearest to @word in edit distance (insertion, deletion,
 * substitution, swap of neighbours; case ignored), or NULL when none is near enough to be a likely
 * slip (distance at most a third of the longer word's length, at least 1). @candidates is
 * NULL-terminated. The result borrows from @candidates. */
const char *moe_nearest(const char *word, const char *const *candidates);

#endif

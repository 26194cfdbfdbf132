/* check.h - rows of `moesim verify`: what was compared, the worst difference, the bound.
 *
 * Layer: sim.
 */
#ifndef MOE_SIM_CHECK_H
#define MOE_SIM_CHECK_H

#include "sim/base/error.h"

typedef struct {
    char *what;   /* "olmoe: layers.0 router logits" */
    double worst; /* largest difference, or a count of differences */
    double bound; /* the row passes when worst <= bound; a NaN never does */
    char *note;   /* of what the difference is, or what went wrong */
} MoeCheck;

/* A list of checks; free with g_ptr_array_unref(). */
GPtrArray *moe_checks_new(void);

/* Appends a row; @note is a printf format. */
void moe_checks_add(GPtrArray *checks, const char *what, double worst, double bound,
                    const char *note, ...) G_GNUC_PRINTF(5, 6);

gboolean moe_check_passed(const MoeCheck *check);

#endif

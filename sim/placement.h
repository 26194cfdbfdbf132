/* placement.h - which rank holds which expert.
 *
 * Layer: sim.
 */
#ifndef MOE_SIM_PLACEMENT_H
#define MOE_SIM_PLACEMENT_H

#include "sim/base/error.h"

typedef struct {
    gint64 n_experts, n_ranks;
    guint32 *rank_of; /* [n_experts] */
} MoePlacement;

/* "contiguous": rank r holds experts r*E/R ... (r+1)*E/R - 1. NULL-terminated. */
const char *const *moe_placement_names(void);

/* Places the experts by the rule with number @kind. Free with moe_placement_free().
 * Errors: MOE_ERROR_INPUT when the ranks do not divide the experts; NULL then. */
MoePlacement *moe_placement_new(int kind, gint64 n_experts, gint64 n_ranks,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_placement_free(MoePlacement *placement);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoePlacement, moe_placement_free)

#endif

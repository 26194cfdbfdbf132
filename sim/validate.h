/* validate.h - published measurements against what is simulated for them.
 *
 * Layer: sim.
 */
#ifndef MOE_SIM_VALIDATE_H
#define MOE_SIM_VALIDATE_H

#include "sim/base/progress.h"
#include "sim/published.h"

/* One figure of one row. */
typedef struct {
    const MoePublishedRow *row;
    const MoePublishedFigure *figure;
    double measured, simulated; /* in the figure's unit */
    double error;               /* simulated / measured - 1 */
    char *bottleneck;           /* the busiest link of the phase: its name */
    double busy;                /* how much of the phase that link is full */
} MoeComparison;

/* What the rows of a group come to. */
typedef struct {
    guint n;            /* figures */
    double mean, worst; /* of |error| */
    gboolean within;    /* both bounds are kept; TRUE where nothing is counted */
} MoeVerdict;

typedef struct {
    const MoePublished *published; /* borrowed */
    GArray *comparisons;           /* MoeComparison, by row and figure */
    MoeVerdict *groups;            /* [groups of the case] */
    MoeVerdict counted;            /* all counted groups together */
} MoeValidation;

/* Simulates every row of @published, equal settings once. Free with moe_validation_free(). Errors:
 * MOE_ERROR_INPUT "file:line: ...: what" (a row that is no scenario), MOE_ERROR_FAILED; NULL then. */
MoeValidation *moe_validate(const MoePublished *published, MoeProgress *progress,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_validation_free(MoeValidation *validation);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeValidation, moe_validation_free)

/* Appends the table of rows, and a line for every group; @verbose: the source and the notes too. */
void moe_validation_report(const MoeValidation *validation, gboolean verbose, GString *text);

#endif

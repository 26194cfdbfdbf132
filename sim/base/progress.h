/* progress.h - "tracing: block 3 of 16, 42 %, 1,234 tokens/s, 12 s left" on a terminal.
 *
 * Layer: sim/base. Only sim/cli creates one; the layers below take a MoeProgress * that may be NULL
 * and report how far they are. Nothing is shown in the first two seconds, or when standard error is
 * not a terminal; no time left while it reads 0 %.
 */
#ifndef MOE_BASE_PROGRESS_H
#define MOE_BASE_PROGRESS_H

#include <glib.h>

typedef struct MoeProgress MoeProgress;

/* @label says what is done, @unit what is counted ("tokens"; NULL: no rate is shown). */
MoeProgress *moe_progress_new(const char *label, const char *unit);

/* @done of @total (in @unit) are done. Cheap: prints at most five times a second. NULL is fine. */
void moe_progress_update(MoeProgress *progress, double done, double total);

/* Part @index of @n, called @name ("block"; static), is under way. */
void moe_progress_part(MoeProgress *progress, const char *name, int index, int n);

/* Begins again at nothing, as @label. */
void moe_progress_again(MoeProgress *progress, const char *label);

/* So much was done before, in no time. */
void moe_progress_skip(MoeProgress *progress, double done);

/* Prints @line, on a terminal or not, where the progress is. NULL is fine. */
void moe_progress_note(MoeProgress *progress, const char *line);

/* Erases the line and frees. NULL is fine. */
void moe_progress_free(MoeProgress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeProgress, moe_progress_free)

#endif

/* child.h - runs a function in a child process and brings back what it sends.
 *
 * Layer: sim. For code that aborts instead of failing, or can run only once in a process: the
 * parent survives it and turns its last words into an error.
 */
#ifndef MOE_SIM_CHILD_H
#define MOE_SIM_CHILD_H

#include "sim/base/error.h"
#include "sim/base/progress.h"

/* The child's end. */
typedef struct MoeChild MoeChild;

/* Sends @size bytes to the parent; they are joined with all that was sent before. */
void moe_child_send(MoeChild *child, const void *data, gsize size);

/* Tells the parent how far the work is. Cheap. */
void moe_child_progress(MoeChild *child, double done, double total);

/* Forks, runs @work in the child, and returns all bytes that it sent; free with g_bytes_unref().
 * The child must not use threads that were started before. What it writes on standard error is kept
 * from the terminal; its last lines become part of the error when it dies. Errors: MOE_ERROR_FAILED
 * ("@what died: ..."); NULL then. */
GBytes *moe_child_run(const char *what, void (*work)(MoeChild *child, void *user), void *user,
                      MoeProgress *progress, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

/* show.h - the parts of moesim show.
 *
 * Layer: sim/cli.
 */
#ifndef MOE_SIM_CLI_SHOW_H
#define MOE_SIM_CLI_SHOW_H

#include "sim/base/error.h"

/* Appends a line: @name and, at a column of its own, what is formatted; control characters as \xNN. */
void moe_show_line(GString *text, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Appends what the GPU in the file or preset @path is. Errors: MOE_ERROR_INPUT. */
gboolean moe_show_gpu(const char *path, GString *text, GError **error);

/* Appends what the topology in the file or preset @path is, of @nodes where it does not say how
 * many. @format: NULL for the summary, else for the platform file of another simulator. Errors:
 * MOE_ERROR_INPUT. */
gboolean moe_show_topology(const char *path, int nodes, const char *format, GString *text,
                           GError **error);

#endif

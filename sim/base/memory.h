/* memory.h - whether this machine has the memory that some work needs.
 *
 * Layer: sim/base. A few numbers in a file can ask for any amount of work; what they ask for is
 * estimated and compared before the first allocation, since a failed one ends the program.
 */
#ifndef MOE_BASE_MEMORY_H
#define MOE_BASE_MEMORY_H

#include "sim/base/error.h"

/* Bytes of physical memory of this machine. */
double moe_memory_size(void);

/* Bytes that can be had without pushing others out, as the kernel estimates it, within the limit of
 * the control group (Linux; elsewhere the machine's). */
double moe_memory_available(void);

/* Whether @bytes, an estimate, fit. @what is what takes them ("the steps"). Errors:
 * MOE_ERROR_INPUT. */
gboolean moe_memory_check(double bytes, const char *what, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

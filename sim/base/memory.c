#include "config.h"

#include "sim/base/memory.h"

#include "sim/base/units.h"

#include <unistd.h>

double moe_memory_size(void)
{
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

gboolean moe_memory_check(double bytes, const char *what, GError **error)
{
    char need[MOE_UNITS_TEXT], have[MOE_UNITS_TEXT];
    return bytes <= moe_memory_size() ||
           moe_fail(error, MOE_ERROR_INPUT, "%s would take about %s of memory; this machine has %s",
                    what, moe_units_format(bytes, MOE_UNIT_BYTES, need),
                    moe_units_format(moe_memory_size(), MOE_UNIT_BYTES, have));
}

#include "config.h"

#include "sim/base/memory.h"

#include "sim/base/units.h"

#include <stdio.h>
#include <unistd.h>

double moe_memory_size(void)
{
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

/* The number in the one-line file at @path; @fallback where there is none. */
static double read_number(const char *path, double fallback)
{
    FILE *file = fopen(path, "re");
    double number = fallback;
    if (file != NULL && fscanf(file, "%lf", &number) != 1)
        number = fallback;
    if (file != NULL)
        fclose(file);
    return number;
}

double moe_memory_available(void)
{
    double available = moe_memory_size(), kib;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "MemAvailable: %lf kB", &kib) == 1)
            available = kib * 1024;
    if (file != NULL)
        fclose(file);
    double limit = read_number("/sys/fs/cgroup/memory.max", available);
    double taken = read_number("/sys/fs/cgroup/memory.current", 0);
    return limit - taken < available && limit < moe_memory_size() ? MAX(limit - taken, 0)
                                                                  : available;
}

gboolean moe_memory_check(double bytes, const char *what, GError **error)
{
    char need[MOE_UNITS_TEXT], have[MOE_UNITS_TEXT];
    return bytes <= moe_memory_size() ||
           moe_fail(error, MOE_ERROR_INPUT, "%s would take about %s of memory; this machine has %s",
                    what, moe_units_format(bytes, MOE_UNIT_BYTES, need),
                    moe_units_format(moe_memory_size(), MOE_UNIT_BYTES, have));
}

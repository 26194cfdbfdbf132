#include "config.h"

#include "sim/check.h"

#include <stdarg.h>

static void check_free(gpointer data)
{
    MoeCheck *check = data;
    g_free(check->what);
    g_free(check->note);
    g_free(check);
}

GPtrArray *moe_checks_new(void)
{
    return g_ptr_array_new_with_free_func(check_free);
}

void moe_checks_add(GPtrArray *checks, const char *what, double worst, double bound,
                    const char *note, ...)
{
    MoeCheck *check = g_new0(MoeCheck, 1);
    check->what = g_strdup(what);
    check->worst = worst;
    check->bound = bound;
    va_list args;
    va_start(args, note);
    check->note = g_strdup_vprintf(note, args);
    va_end(args);
    g_ptr_array_add(checks, check);
}

gboolean moe_check_passed(const MoeCheck *check)
{
    return check->worst <= check->bound;
}

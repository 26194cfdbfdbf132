#include "config.h"

#include "sim/base/error.h"

#include <stdarg.h>
#include <string.h>

GQuark moe_error_quark(void)
{
    return g_quark_from_static_string("moesim");
}

gboolean moe_fail(GError **error, MoeErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error != NULL) {
        g_assert(*error == NULL);
        *error = g_error_new_valist(MOE_ERROR, (int)code, format, args);
    }
    va_end(args);
    return FALSE;
}

/* Optimal string alignment: three rows of the table are enough. Words beyond any table's are far
 * from everything. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return G_MAXSIZE;
    size_t before[LONGEST + 1], last[LONGEST + 1], row[LONGEST + 1];
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    memcpy(before, last, sizeof(before));
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            gboolean same = g_ascii_tolower(a[i - 1]) == g_ascii_tolower(b[j - 1]);
            size_t best = last[j - 1] + (same ? 0 : 1);
            best = MIN(best, MIN(last[j], row[j - 1]) + 1);
            gboolean swapped = i > 1 && j > 1 &&
                               g_ascii_tolower(a[i - 1]) == g_ascii_tolower(b[j - 2]) &&
                               g_ascii_tolower(a[i - 2]) == g_ascii_tolower(b[j - 1]);
            row[j] = swapped ? MIN(best, before[j - 2] + 1) : best;
        }
        memcpy(before, last, sizeof(before));
        memcpy(last, row, sizeof(last));
    }
    return last[m];
}

const char *moe_nearest(const char *word, const char *const *candidates)
{
    const char *nearest = NULL;
    size_t least = G_MAXSIZE;
    for (; *candidates != NULL; candidates++) {
        size_t distance = edit_distance(word, *candidates);
        size_t tolerated = MAX(strlen(word), strlen(*candidates)) / 3;
        if (distance <= MAX(tolerated, 1) && distance < least) {
            nearest = *candidates;
            least = distance;
        }
    }
    return nearest;
}

#include "config.h"

#include "sim/base/progress.h"

#include <stdio.h>
#include <unistd.h>

struct MoeProgress {
    char *label, *unit;
    gboolean terminal;
    gboolean shown;
    gint64 start_us, last_us;
};

MoeProgress *moe_progress_new(const char *label, const char *unit)
{
    MoeProgress *progress = g_new0(MoeProgress, 1);
    progress->label = g_strdup(label);
    progress->unit = g_strdup(unit);
    progress->terminal = isatty(STDERR_FILENO) == 1;
    progress->start_us = g_get_monotonic_time();
    return progress;
}

void moe_progress_update(MoeProgress *progress, double done, double total)
{
    const gint64 patience_us = 2 * G_USEC_PER_SEC, pause_us = G_USEC_PER_SEC / 5;
    if (progress == NULL || !progress->terminal || done <= 0 || total <= 0)
        return;
    gint64 now = g_get_monotonic_time();
    if (now - progress->start_us < patience_us || now - progress->last_us < pause_us)
        return;
    progress->last_us = now;
    progress->shown = TRUE;
    double elapsed = (double)(now - progress->start_us) / G_USEC_PER_SEC;
    fprintf(stderr, "\r\033[K%s: %3.0f %%", progress->label, 100 * done / total);
    if (progress->unit != NULL)
        fprintf(stderr, ", %.0f %s/s", done / elapsed, progress->unit);
    fprintf(stderr, ", %.0f s left", elapsed * (total - done) / done);
    fflush(stderr);
}

void moe_progress_free(MoeProgress *progress)
{
    if (progress == NULL)
        return;
    if (progress->shown)
        fputs("\r\033[K", stderr);
    g_free(progress->label);
    g_free(progress->unit);
    g_free(progress);
}

#include "config.h"

#include "sim/base/progress.h"

#include <stdio.h>
#include <unistd.h>

struct MoeProgress {
    char *label, *unit;
    gboolean terminal;
    gboolean shown;
    gint64 start_us, last_us;
    double before;
    const char *part;
    int part_index, n_parts;
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

static void print_time(double seconds)
{
    int minutes = (int)(seconds / 60);
    if (minutes < 2)
        fprintf(stderr, ", %.0f s left", seconds);
    else if (minutes < 120)
        fprintf(stderr, ", %d min left", minutes);
    else
        fprintf(stderr, ", %d h %02d min left", minutes / 60, minutes % 60);
}

void moe_progress_update(MoeProgress *progress, double done, double total)
{
    const gint64 patience_us = 2 * G_USEC_PER_SEC, pause_us = G_USEC_PER_SEC / 5;
    if (progress == NULL || !progress->terminal || done <= 0 || total <= 0)
        return;
    gint64 now = g_get_monotonic_time();
    if ((!progress->shown && now - progress->start_us < patience_us) ||
        now - progress->last_us < pause_us)
        return;
    progress->last_us = now;
    progress->shown = TRUE;
    double elapsed = (double)(now - progress->start_us) / G_USEC_PER_SEC;
    double rate = (done - progress->before) / elapsed;
    fprintf(stderr, "\r\033[K%s: ", progress->label);
    if (progress->part != NULL)
        fprintf(stderr, "%s %d of %d, ", progress->part, progress->part_index, progress->n_parts);
    fprintf(stderr, "%.0f %%", 100 * done / total);
    if (progress->unit != NULL)
        fprintf(stderr, ", %.*f %s/s", rate < 10 ? 1 : 0, rate, progress->unit);
    if (rate > 0 && done / total >= 0.005)
        print_time((total - done) / rate);
    fflush(stderr);
}

void moe_progress_part(MoeProgress *progress, const char *name, int index, int n)
{
    if (progress == NULL)
        return;
    progress->part = name;
    progress->part_index = index;
    progress->n_parts = n;
}

void moe_progress_again(MoeProgress *progress, const char *label)
{
    if (progress == NULL)
        return;
    g_free(progress->label);
    progress->label = g_strdup(label);
    progress->start_us = progress->last_us = g_get_monotonic_time();
    progress->part = NULL;
    progress->before = 0;
}

void moe_progress_skip(MoeProgress *progress, double done)
{
    if (progress != NULL)
        progress->before = done;
}

void moe_progress_note(MoeProgress *progress, const char *line)
{
    if (progress != NULL)
        fprintf(stderr, "%s%s\n", progress->shown ? "\r\033[K" : "", line);
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

#include "config.h"

#include "workloads/analyze.h"

#include "sim/base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int rising(const void *a, const void *b)
{
    gint64 x = *(const gint64 *)a, y = *(const gint64 *)b;
    return x < y ? -1 : x > y;
}

MoeLoad moe_load_statistics(const gint64 *loads, gint64 n)
{
    MoeLoad s = {.n_bins = n};
    for (gint64 i = 0; i < n; i++) {
        s.total += loads[i];
        if (loads[i] > s.max) {
            s.max = loads[i];
            s.argmax = i;
        }
    }
    if (s.total == 0)
        return s;
    s.mean = (double)s.total / (double)n;
    s.max_over_mean = (double)s.max / s.mean;
    g_autofree gint64 *sorted = g_memdup2(loads, (gsize)n * sizeof(*loads));
    qsort(sorted, (size_t)n, sizeof(*sorted), rising);
    double squares = 0, entropy = 0, weighted = 0;
    for (gint64 i = 0; i < n; i++) {
        double load = (double)sorted[i], p = load / (double)s.total;
        squares += (load - s.mean) * (load - s.mean);
        entropy -= p > 0 ? p * log(p) : 0;
        /* Sorted, the double sum of differences is a weighted sum. */
        weighted += (double)(2 * i + 1 - n) * load;
        s.idle += sorted[i] == 0 ? 1.0 / (double)n : 0;
    }
    s.cv = sqrt(squares / (double)n) / s.mean;
    s.entropy = n > 1 ? entropy / log((double)n) : 1;
    s.gini = weighted / ((double)n * (double)s.total);
    s.gini_floor = fmin(1 / sqrt(G_PI * s.mean), 1);
    return s;
}

void moe_trace_loads(const MoeTrace *trace, const MoeTraceLayer *layer, gint64 first, gint64 last,
                     const guint32 *bin_of_expert, gint64 *loads)
{
    if (first >= last)
        return;
    gint64 n;
    gint64 from = moe_trace_pairs(trace, layer, first, &n);
    gint64 to = moe_trace_pairs(trace, layer, last - 1, &n) + n;
    for (gint64 p = from; p < to; p++)
        if (layer->dropped == NULL || layer->dropped[p] == 0)
            loads[bin_of_expert != NULL ? bin_of_expert[layer->experts[p]] : layer->experts[p]]++;
}

void moe_trace_count_pairs(const MoeTrace *trace, const MoeTraceLayer *layer, gint64 first,
                           gint64 last, gint64 *pairs_out, gint64 *dropped_out)
{
    *pairs_out = *dropped_out = 0;
    if (first >= last)
        return;
    gint64 n;
    gint64 from = moe_trace_pairs(trace, layer, first, &n);
    gint64 to = moe_trace_pairs(trace, layer, last - 1, &n) + n;
    *pairs_out = to - from;
    for (gint64 p = from; p < to && layer->dropped != NULL; p++)
        *dropped_out += layer->dropped[p] != 0 ? 1 : 0;
}

char *moe_trace_describe_dropped(const MoeTrace *trace)
{
    gint64 pairs = 0, dropped = 0;
    for (int l = 0; l < trace->n_layers; l++) {
        gint64 here, lost;
        moe_trace_count_pairs(trace, &trace->layers[l], 0, trace->n_tokens, &here, &lost);
        pairs += here;
        dropped += lost;
    }
    char texts[2][MOE_UNITS_TEXT];
    return dropped == 0 ? NULL
                        : g_strdup_printf("%s of %s pairs (%.1f %%)",
                                          moe_units_format_count(dropped, texts[0]),
                                          moe_units_format_count(pairs, texts[1]),
                                          100 * (double)dropped / (double)pairs);
}

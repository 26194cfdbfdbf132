#include "config.h"

#include "sim/validate.h"

#include "sim/run.h"
#include "sim/traffic.h"

#include <math.h>
#include <string.h>

/* What a simulation says of one phase, or of the whole run. */
typedef struct {
    double seconds, busy;
    gint64 sent;
    char *bottleneck;
} Phase;

typedef struct {
    gint64 n_ranks;
    gint64 copies[MOE_PUBLISHED_BYTES_COUNT]; /* of tokens, all ranks; sent: not used */
    gint64 token[2];                          /* bytes on the wire: dispatch, combine */
    Phase phases[MOE_PHASE_COUNT + 1];
} Outcome;

static void outcome_free(gpointer data)
{
    Outcome *outcome = data;
    for (int p = 0; p <= MOE_PHASE_COUNT; p++)
        g_free(outcome->phases[p].bottleneck);
    g_free(outcome);
}

/* --- one simulation --------------------------------------------------------------------------- */

/* Counts the copies of tokens of all blocks and steps. */
static gboolean count_copies(const MoeScenario *s, const MoeLowered *lowered, Outcome *outcome,
                             GError **error)
{
    if (s->trace == NULL)
        return TRUE;
    g_autoptr(GPtrArray) steps = moe_assignments_new(s, error);
    if (steps == NULL)
        return FALSE;
    g_autoptr(MoeTraffic) traffic =
        moe_traffic_new(s->n_ranks, s->trace->n_experts, s->topology->node_of);
    for (guint step = 0; step < steps->len; step++) {
        for (int l = 0; l < s->trace->n_layers; l++) {
            moe_traffic_count(traffic, s->trace, &s->trace->layers[l], steps->pdata[step],
                              lowered->placement, FALSE);
            for (gint64 i = 0; i < s->n_ranks * s->n_ranks; i++) {
                outcome->copies[MOE_PUBLISHED_PAIRS] += traffic->pairs[i];
                outcome->copies[MOE_PUBLISHED_GPU_COPIES] += traffic->unique[i];
            }
            for (gint64 i = 0; i < s->n_ranks * traffic->n_nodes; i++)
                outcome->copies[MOE_PUBLISHED_NODE_COPIES] += traffic->nodes[i];
        }
    }
    outcome->token[0] =
        moe_type_wire_bytes((MoeType)s->file.dispatch.dtype, s->model->shape.hidden_size);
    outcome->token[1] =
        moe_type_wire_bytes((MoeType)s->file.combine.dtype, s->model->shape.hidden_size);
    return TRUE;
}

/* Adds the bytes that @rank's operations of phase @p put on links. */
static void add_link_bytes(const MoeRun *run, gint64 rank, int p, gint64 *link_bytes)
{
    const MoeProgram *program = &run->lowered->programs->ranks[rank];
    for (guint i = 0; i < program->ops->len; i++) {
        const MoeOp *op = &g_array_index(program->ops, MoeOp, i);
        if (p != MOE_PHASE_COUNT && op->phase != p)
            continue;
        for (guint32 j = 0; j < op->n_sends; j++) {
            const MoeMessage *m = &g_array_index(program->sends, MoeMessage, op->first_send + j);
            guint32 links[MOE_ROUTE_MOST];
            int n = moe_topology_route(run->scenario->topology, (MoeFabric)m->fabric, rank, m->peer,
                                       links);
            for (int l = 0; l < n; l++)
                link_bytes[links[l]] += m->bytes;
        }
    }
}

static void find_bottleneck(const MoeRun *run, int p, Phase *phase)
{
    const GArray *links = run->scenario->topology->links;
    g_autofree gint64 *bytes = g_new0(gint64, links->len + 1);
    for (gint64 r = 0; r < run->scenario->n_ranks; r++)
        add_link_bytes(run, r, p, bytes);
    double most = 0;
    const MoeLink *busiest = NULL;
    for (guint l = 0; l < links->len; l++) {
        const MoeLink *link = &g_array_index(links, MoeLink, l);
        double busy = (double)bytes[l] / link->bandwidth;
        if (busy > most * (1 + 1e-9)) {
            most = busy;
            busiest = link;
        }
    }
    phase->bottleneck = g_strdup(busiest != NULL ? busiest->name : "no link");
    phase->busy = phase->seconds > 0 ? most / phase->seconds : 0;
}

static Outcome *simulate(const MoePublished *published, const char *const *settings, GError **error)
{
    g_autoptr(GPtrArray) set = g_ptr_array_new();
    for (; *settings != NULL; settings++)
        g_ptr_array_add(set, (gpointer)*settings);
    if (moe_node_get(published->file.scenario, "collective") == NULL)
        g_ptr_array_add(set, "control=none");
    g_ptr_array_add(set, NULL);
    g_autoptr(MoeScenario) scenario =
        moe_scenario_load_tree(moe_node_copy(published->file.scenario), published->path,
                               (const char *const *)set->pdata, NULL, error);
    g_autoptr(MoeRun) run = scenario != NULL ? moe_run(scenario, NULL, error) : NULL;
    if (run == NULL)
        return NULL;
    Outcome *outcome = g_new0(Outcome, 1);
    outcome->n_ranks = scenario->n_ranks;
    for (guint i = 0; i < run->result->phases->len; i++) {
        const MoePhaseTime *time = &g_array_index(run->result->phases, MoePhaseTime, i);
        outcome->phases[time->phase].seconds += time->seconds;
        outcome->phases[time->phase].sent += time->bytes;
        outcome->phases[MOE_PHASE_COUNT].sent += time->bytes;
    }
    outcome->phases[MOE_PHASE_COUNT].seconds = run->result->seconds;
    for (guint i = 0; i < published->figures->len; i++) {
        int p = g_array_index(published->figures, MoePublishedFigure, i).phase;
        if (outcome->phases[p].bottleneck == NULL)
            find_bottleneck(run, p, &outcome->phases[p]);
    }
    if (count_copies(scenario, run->lowered, outcome, error))
        return outcome;
    outcome_free(outcome);
    return NULL;
}

/* --- figures ---------------------------------------------------------------------------------- */

/* The simulated figure in its unit; NaN when there is none. */
static double figure_of(const Outcome *outcome, const MoePublishedFigure *figure)
{
    static const double units_s[] = {1, 1e-3, 1e-6};
    const Phase *phase = &outcome->phases[figure->phase];
    if (figure->unit != MOE_PUBLISHED_GBPS)
        return phase->seconds / units_s[figure->unit];
    gint64 token = outcome->token[figure->phase == MOE_PHASE_COMBINE ? 1 : 0];
    gint64 bytes =
        figure->bytes == MOE_PUBLISHED_SENT ? phase->sent : outcome->copies[figure->bytes] * token;
    return (double)bytes / (double)outcome->n_ranks / phase->seconds / 1e9;
}

static gboolean add_row(MoeValidation *v, const MoePublishedRow *row, const Outcome *outcome,
                        GError **error)
{
    const MoePublished *p = v->published;
    for (guint i = 0; i < p->figures->len; i++) {
        const MoePublishedFigure *figure = &g_array_index(p->figures, MoePublishedFigure, i);
        MoeComparison c = {.row = row, .figure = figure};
        c.measured = moe_published_value(figure, row);
        if (isnan(c.measured))
            continue;
        c.simulated = figure_of(outcome, figure);
        if (!(c.simulated > 0) || !isfinite(c.simulated))
            return moe_fail(error, MOE_ERROR_INPUT,
                            "%s:%" G_GINT64_FORMAT ": %s: the scenario has no such phase",
                            p->csv_path, row->line, figure->column);
        c.error = c.simulated / c.measured - 1;
        c.bottleneck = g_strdup(outcome->phases[figure->phase].bottleneck);
        c.busy = outcome->phases[figure->phase].busy;
        g_array_append_val(v->comparisons, c);
    }
    return TRUE;
}

static void add_error(MoeVerdict *verdict, double error)
{
    verdict->n++;
    verdict->mean += (fabs(error) - verdict->mean) / verdict->n;
    verdict->worst = fmax(verdict->worst, fabs(error));
}

static const MoePublishedGroup *group_at(const MoePublished *published, guint index)
{
    return &g_array_index(published->groups, MoePublishedGroup, index);
}

static void judge(MoeValidation *v)
{
    for (guint i = 0; i < v->comparisons->len; i++) {
        const MoeComparison *c = &g_array_index(v->comparisons, MoeComparison, i);
        if (c->row->group < 0)
            continue;
        add_error(&v->groups[c->row->group], c->error);
        if (group_at(v->published, (guint)c->row->group)->counted)
            add_error(&v->counted, c->error);
    }
    v->counted.within = TRUE;
    for (guint g = 0; g < v->published->groups->len; g++) {
        const MoePublishedGroup *group = group_at(v->published, g);
        MoeVerdict *verdict = &v->groups[g];
        /* A bound that is not given is NaN, and nothing is greater than that. */
        verdict->within =
            !group->counted || !(verdict->mean > group->mean || verdict->worst > group->worst);
        v->counted.within = v->counted.within && verdict->within;
    }
}

static void comparison_clear(gpointer data)
{
    g_free(((MoeComparison *)data)->bottleneck);
}

MoeValidation *moe_validate(const MoePublished *published, MoeProgress *progress, GError **error)
{
    g_autoptr(MoeValidation) v = g_new0(MoeValidation, 1);
    v->published = published;
    v->comparisons = g_array_new(FALSE, FALSE, sizeof(MoeComparison));
    g_array_set_clear_func(v->comparisons, comparison_clear);
    v->groups = g_new0(MoeVerdict, published->groups->len);
    g_autoptr(GHashTable) known =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, outcome_free);
    for (guint i = 0; i < published->rows->len; i++) {
        const MoePublishedRow *row = published->rows->pdata[i];
        g_auto(GStrv) settings = moe_published_settings(published, row, error);
        if (settings == NULL)
            return NULL;
        g_autofree char *key = g_strjoinv("\n", settings);
        Outcome *outcome = g_hash_table_lookup(known, key);
        if (outcome == NULL) {
            outcome = simulate(published, (const char *const *)settings, error);
            if (outcome == NULL) {
                g_prefix_error(error, "%s:%" G_GINT64_FORMAT ": ", published->csv_path, row->line);
                return NULL;
            }
            g_hash_table_insert(known, g_steal_pointer(&key), outcome);
        }
        if (!add_row(v, row, outcome, error))
            return NULL;
        moe_progress_update(progress, i + 1, published->rows->len);
    }
    judge(v);
    return g_steal_pointer(&v);
}

void moe_validation_free(MoeValidation *validation)
{
    if (validation == NULL)
        return;
    g_array_unref(validation->comparisons);
    g_free(validation->groups);
    g_free(validation);
}

/* --- report ----------------------------------------------------------------------------------- */

/* How wide the column of cell @cell must be; 0: every row says the same. */
static int cell_width(const MoePublished *p, guint cell)
{
    const char *first = ((const MoePublishedRow *)p->rows->pdata[0])->cells[cell];
    gboolean differs = p->rows->len == 1;
    int width = (int)g_utf8_strlen(p->names->pdata[cell], -1);
    for (guint i = 0; i < p->rows->len; i++) {
        const char *text = ((const MoePublishedRow *)p->rows->pdata[i])->cells[cell];
        differs = differs || strcmp(first, text) != 0;
        width = MAX(width, (int)g_utf8_strlen(text, -1));
    }
    return differs ? width : 0;
}

static gboolean is_figure(const MoePublished *p, guint cell)
{
    for (guint i = 0; i < p->figures->len; i++)
        if (g_array_index(p->figures, MoePublishedFigure, i).cell == cell)
            return TRUE;
    return FALSE;
}

static void add_padded(GString *text, const char *cell, int width)
{
    g_string_append_printf(text, "%*s%s  ", MAX(width - (int)g_utf8_strlen(cell, -1), 0), "", cell);
}

enum { MARK_NONE = ' ', MARK_FITTED = '*', MARK_NOT_COUNTED = '-' };

static char mark_of(const MoePublished *p, const MoePublishedRow *row)
{
    if (row->group < 0 || !group_at(p, (guint)row->group)->counted)
        return MARK_NOT_COUNTED;
    return row->fitted ? MARK_FITTED : MARK_NONE;
}

static void add_comparison(const MoeValidation *v, const MoeComparison *c, const int *widths,
                           int figure_width, GString *text)
{
    const MoePublished *p = v->published;
    for (guint i = 0; i < p->names->len; i++)
        if (widths[i] > 0)
            add_padded(text, c->row->cells[i], widths[i]);
    g_string_append_printf(text, "%-*s %10.4g %10.4g %+7.1f %% %c  %s %.0f %%", figure_width,
                           c->figure->column, c->measured, c->simulated, 100 * c->error,
                           mark_of(p, c->row), c->bottleneck, 100 * c->busy);
    g_string_append_c(text, '\n');
}

static void add_rows(const MoeValidation *v, GString *text)
{
    const MoePublished *p = v->published;
    g_autofree int *widths = g_new0(int, p->names->len);
    int figure_width = 6;
    for (guint i = 0; i < p->names->len; i++) {
        widths[i] = is_figure(p, i) ? 0 : cell_width(p, i);
        if (widths[i] > 0)
            add_padded(text, p->names->pdata[i], widths[i]);
        if (is_figure(p, i))
            figure_width = MAX(figure_width, (int)g_utf8_strlen(p->names->pdata[i], -1));
    }
    g_string_append_printf(text, "%-*s %10s %10s %9s    %s\n", figure_width, "figure", "measured",
                           "simulated", "error", "busiest link");
    for (guint i = 0; i < v->comparisons->len; i++)
        add_comparison(v, &g_array_index(v->comparisons, MoeComparison, i), widths, figure_width,
                       text);
}

/* What the marks of the table mean, as far as no group's line says it. */
static void add_marks(const MoeValidation *v, GString *text)
{
    gboolean fitted = FALSE;
    guint outside = 0;
    for (guint i = 0; i < v->comparisons->len; i++) {
        const MoePublishedRow *row = g_array_index(v->comparisons, MoeComparison, i).row;
        fitted = fitted || mark_of(v->published, row) == MARK_FITTED;
        outside += row->group < 0 ? 1 : 0;
    }
    if (fitted)
        g_string_append(text, "(*: constants of the preset were fitted on this row)\n");
    if (outside > 0)
        g_string_append_printf(text, "others: %u figure%s, not counted (-): rows of no group\n",
                               outside, outside == 1 ? "" : "s");
}

static void add_bound(GString *text, const char *name, double bound)
{
    if (!isnan(bound))
        g_string_append_printf(text, ", %s at most %.3g %%", name, 100 * bound);
}

static void add_group(const MoePublishedGroup *group, const MoeVerdict *verdict, GString *text)
{
    if (verdict->n == 0)
        return;
    g_string_append_printf(text, "%s: %u figure%s, mean %.1f %%, worst %.1f %%", group->name,
                           verdict->n, verdict->n == 1 ? "" : "s", 100 * verdict->mean,
                           100 * verdict->worst);
    if (group->counted) {
        add_bound(text, "mean", group->mean);
        add_bound(text, "worst", group->worst);
        g_string_append(text, verdict->within ? ": ok\n" : ": MISSED\n");
    } else {
        g_string_append_printf(text, ", not counted (-): %s\n", group->why);
    }
}

void moe_validation_report(const MoeValidation *v, gboolean verbose, GString *text)
{
    const MoePublished *p = v->published;
    g_string_append_printf(text, "%s: %s\n", p->name, p->file.description);
    if (verbose)
        g_string_append_printf(
            text, "source: %s\n%s%s%s", p->file.source, p->file.notes != NULL ? "notes: " : "",
            p->file.notes != NULL ? p->file.notes : "", p->file.notes != NULL ? "\n" : "");
    g_string_append_c(text, '\n');
    add_rows(v, text);
    g_string_append_c(text, '\n');
    for (guint g = 0; g < p->groups->len; g++)
        add_group(group_at(p, g), &v->groups[g], text);
    add_marks(v, text);
}

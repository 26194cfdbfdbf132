#include "config.h"

#include "sim/published.h"

#include "sim/base/csv.h"
#include "sim/base/yaml.h"
#include "sim/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 100000 };

/* What one column sets: key = cell, translated. */
typedef struct {
    char *key, *unit;
    double times;
    const MoeNode *values;
    guint cell;
} Setting;

typedef enum { ANY_OF, BELOW, AT_MOST, ABOVE, AT_LEAST } Relation;

typedef struct {
    guint cell;
    Relation relation;
    char **texts;  /* ANY_OF */
    double number; /* the others */
} Condition;

static const char *const *units(void)
{
    static const char *const names[] = {"s", "ms", "us", "GBps", NULL};
    return names;
}

static const char *const *bytes(void)
{
    static const char *const names[] = {"pairs", "gpu-copies", "node-copies", "sent", NULL};
    return names;
}

static const char *const *phases(void)
{
    static const char *names[MOE_PHASE_COUNT + 2];
    for (int p = 0; p < MOE_PHASE_COUNT; p++)
        names[p] = moe_phase_name((MoePhase)p);
    names[MOE_PHASE_COUNT] = "all";
    return names;
}

const MoeField moe_published_fields[] = {
    {"description", MOE_FIELD_STRING, offsetof(MoePublishedFile, description), .doc = "one line"},
    {"source", MOE_FIELD_STRING, offsetof(MoePublishedFile, source),
     .doc = "where the figures are from"},
    {"notes", MOE_FIELD_STRING, offsetof(MoePublishedFile, notes), "",
     .doc = "what a reader must know"},
    {"measured", MOE_FIELD_STRING, offsetof(MoePublishedFile, measured),
     .doc = "the CSV, beside the case"},
    {"scenario", MOE_FIELD_NODE, offsetof(MoePublishedFile, scenario), NULL,
     .doc = "what all rows share"},
    {"columns", MOE_FIELD_NODE, offsetof(MoePublishedFile, columns), NULL,
     .doc = "which keys the columns set"},
    {"compare", MOE_FIELD_NODE, offsetof(MoePublishedFile, compare), NULL,
     .doc = "a list of the columns with figures"},
    {"rows", MOE_FIELD_NODE, offsetof(MoePublishedFile, rows), NULL,
     .doc = "a list of groups of rows, with bounds"},
    {"fitted", MOE_FIELD_NODE, offsetof(MoePublishedFile, fitted), MOE_FIELD_UNSET,
     .doc = "a list of conditions: rows that constants were fitted on"},
    {NULL},
};

static const MoeField setting_fields[] = {
    {"key", MOE_FIELD_STRING, offsetof(Setting, key), .doc = "of the scenario"},
    {"times", MOE_FIELD_NUMBER, offsetof(Setting, times), "", .min = -1e15, .max = 1e15,
     .doc = "the cell is a number, and multiplied"},
    {"unit", MOE_FIELD_STRING, offsetof(Setting, unit), "", .doc = "written behind the number"},
    {"values", MOE_FIELD_NODE, offsetof(Setting, values), "", .doc = "what the cells stand for"},
    {NULL},
};

const MoeField moe_published_figure_fields[] = {
    {"column", MOE_FIELD_STRING, offsetof(MoePublishedFigure, column), .doc = "of the CSV"},
    {"phase", MOE_FIELD_CHOICE, offsetof(MoePublishedFigure, phase), .choices = phases,
     .doc = "whose time it is"},
    {"unit", MOE_FIELD_CHOICE, offsetof(MoePublishedFigure, unit), .choices = units,
     .doc = "of the figures"},
    {"bytes", MOE_FIELD_CHOICE, offsetof(MoePublishedFigure, bytes), "sent", .choices = bytes,
     .doc = "GBps: which bytes count"},
    {"where", MOE_FIELD_NODE, offsetof(MoePublishedFigure, where), "",
     .doc = "rows that have it; all if unset"},
    {NULL},
};

const MoeField moe_published_group_fields[] = {
    {"name", MOE_FIELD_STRING, offsetof(MoePublishedGroup, name), .doc = "of the group"},
    {"where", MOE_FIELD_NODE, offsetof(MoePublishedGroup, where), "",
     .doc = "its rows; all others if unset"},
    {"counted", MOE_FIELD_BOOL, offsetof(MoePublishedGroup, counted), "true",
     .doc = "false: shown, not judged"},
    {"why", MOE_FIELD_STRING, offsetof(MoePublishedGroup, why), "", .doc = "it is not counted"},
    {"mean", MOE_FIELD_QUANTITY, offsetof(MoePublishedGroup, mean), "", .unit = MOE_UNIT_RATIO,
     .doc = "bound of the mean absolute error"},
    {"worst", MOE_FIELD_QUANTITY, offsetof(MoePublishedGroup, worst), "", .unit = MOE_UNIT_RATIO,
     .doc = "bound of the largest absolute error"},
    {NULL},
};

/* --- columns and conditions ------------------------------------------------------------------- */

/* Which cell of a row column @name is. */
static guint find_cell(MoePublished *p, const char *name)
{
    for (guint i = 0; i < p->names->len; i++)
        if (strcmp(p->names->pdata[i], name) == 0)
            return i;
    g_ptr_array_add(p->names, g_strdup(name));
    return p->names->len - 1;
}

static void setting_clear(gpointer data)
{
    moe_fields_clear(setting_fields, data);
}

static void condition_clear(gpointer data)
{
    g_strfreev(((Condition *)data)->texts);
}

static gboolean read_texts(const MoeNode *node, Condition *condition, GError **error)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    gboolean list = node->kind == MOE_NODE_LIST;
    for (guint i = 0; i < (list ? node->items->len : 1); i++) {
        const MoeNode *item = list ? node->items->pdata[i] : node;
        if (item->kind != MOE_NODE_SCALAR)
            return moe_node_fail(item, error, "a text or a list of texts belongs here");
        g_ptr_array_add(texts, g_strdup(item->text));
    }
    g_ptr_array_add(texts, NULL);
    condition->texts = (char **)g_ptr_array_free(g_steal_pointer(&texts), FALSE);
    return TRUE;
}

static gboolean read_condition(const MoeNode *node, Condition *condition, GError **error)
{
    static const struct {
        const char *sign;
        Relation relation;
    } relations[] = {{"<=", AT_MOST}, {">=", AT_LEAST}, {"<", BELOW}, {">", ABOVE}};
    for (size_t i = 0; node->kind == MOE_NODE_SCALAR && i < G_N_ELEMENTS(relations); i++) {
        if (!g_str_has_prefix(node->text, relations[i].sign))
            continue;
        const char *number = node->text + strlen(relations[i].sign);
        condition->relation = relations[i].relation;
        if (moe_units_parse_number(number + strspn(number, " "), &condition->number, NULL))
            return TRUE;
        return moe_node_fail(node, error, "'%s' is no comparison; write such as '>= 64'",
                             node->text);
    }
    condition->relation = ANY_OF;
    return read_texts(node, condition, error);
}

/* The conditions of a "where"; NULL with @error. */
static GArray *read_where(MoePublished *p, const MoeNode *node, GError **error)
{
    g_autoptr(GArray) conditions = g_array_new(FALSE, FALSE, sizeof(Condition));
    g_array_set_clear_func(conditions, condition_clear);
    if (node != NULL && node->kind != MOE_NODE_MAP) {
        moe_node_fail(node, error, "where: a map of columns and what stands there belongs here");
        return NULL;
    }
    for (guint i = 0; node != NULL && i < node->keys->len; i++) {
        const MoeNode *key = node->keys->pdata[i];
        Condition condition = {.cell = find_cell(p, key->text)};
        if (!read_condition(node->items->pdata[i], &condition, error))
            return NULL;
        g_array_append_val(conditions, condition);
    }
    return g_steal_pointer(&conditions);
}

static gboolean holds(const Condition *condition, const char *cell)
{
    if (condition->relation == ANY_OF)
        return g_strv_contains((const char *const *)condition->texts, cell);
    double number;
    if (!moe_units_parse_number(cell, &number, NULL))
        return FALSE;
    switch (condition->relation) {
    case BELOW:
        return number < condition->number;
    case AT_MOST:
        return number <= condition->number;
    case ABOVE:
        return number > condition->number;
    default:
        return number >= condition->number;
    }
}

static gboolean satisfies(const MoePublishedRow *row, const GArray *conditions)
{
    for (guint i = 0; i < conditions->len; i++) {
        const Condition *condition = &g_array_index(conditions, Condition, i);
        if (!holds(condition, row->cells[condition->cell]))
            return FALSE;
    }
    return TRUE;
}

/* --- the case --------------------------------------------------------------------------------- */

/* One of what column @name sets: "key", or {key: ...}. */
static gboolean read_setting(MoePublished *p, const char *name, const MoeNode *node, GError **error)
{
    Setting setting = {.times = NAN};
    if (node->kind == MOE_NODE_SCALAR)
        setting.key = g_strdup(node->text);
    else if (!moe_fields_read(setting_fields, node, name, &setting, error))
        return FALSE;
    setting.cell = find_cell(p, name);
    g_array_append_val(p->settings, setting);
    if (setting.values != NULL && setting.values->kind != MOE_NODE_MAP)
        return moe_node_fail(setting.values, error, "values: a map of cells and values");
    return TRUE;
}

static gboolean read_settings(MoePublished *p, GError **error)
{
    const MoeNode *columns = p->file.columns;
    if (columns->kind != MOE_NODE_MAP)
        return moe_node_fail(columns, error, "columns: a map of columns and keys belongs here");
    for (guint i = 0; i < columns->keys->len; i++) {
        const char *name = ((const MoeNode *)columns->keys->pdata[i])->text;
        const MoeNode *node = columns->items->pdata[i];
        gboolean list = node->kind == MOE_NODE_LIST;
        for (guint j = 0; j < (list ? node->items->len : 1); j++)
            if (!read_setting(p, name, list ? node->items->pdata[j] : node, error))
                return FALSE;
    }
    p->n_settings = p->names->len;
    return TRUE;
}

/* Calls @read for every item of the list @node. */
static gboolean read_list(MoePublished *p, const MoeNode *node, const char *name,
                          gboolean (*read)(MoePublished *p, const MoeNode *item, GError **error),
                          GError **error)
{
    if (node->kind != MOE_NODE_LIST || node->items->len == 0)
        return moe_node_fail(node, error, "%s: a list of maps belongs here", name);
    for (guint i = 0; i < node->items->len; i++)
        if (!read(p, node->items->pdata[i], error))
            return FALSE;
    return TRUE;
}

static void figure_clear(gpointer data)
{
    MoePublishedFigure *figure = data;
    moe_fields_clear(moe_published_figure_fields, figure);
    g_clear_pointer(&figure->conditions, g_array_unref);
}

static gboolean read_figure(MoePublished *p, const MoeNode *item, GError **error)
{
    MoePublishedFigure figure = {0};
    if (!moe_fields_read(moe_published_figure_fields, item, "compare", &figure, error))
        return FALSE;
    figure.conditions = read_where(p, figure.where, error);
    figure.cell = find_cell(p, figure.column);
    g_array_append_val(p->figures, figure);
    return figure.conditions != NULL;
}

static void group_clear(gpointer data)
{
    MoePublishedGroup *group = data;
    moe_fields_clear(moe_published_group_fields, group);
    g_clear_pointer(&group->conditions, g_array_unref);
}

static gboolean read_group(MoePublished *p, const MoeNode *item, GError **error)
{
    MoePublishedGroup group = {0};
    if (!moe_fields_read(moe_published_group_fields, item, "rows", &group, error))
        return FALSE;
    group.conditions = read_where(p, group.where, error);
    g_array_append_val(p->groups, group);
    if (group.conditions == NULL)
        return FALSE;
    if (group.counted && isnan(group.mean) && isnan(group.worst))
        return moe_node_fail(item, error, "%s: a bound is missing; write mean: 5%% or worst: 10%%",
                             group.name);
    if (!group.counted && group.why == NULL)
        return moe_node_fail(item, error, "%s: why: missing; say why it is not counted",
                             group.name);
    return TRUE;
}

static gboolean read_fitted(MoePublished *p, const MoeNode *item, GError **error)
{
    GArray *conditions = read_where(p, item, error);
    if (conditions != NULL)
        g_ptr_array_add(p->fitted, conditions);
    return conditions != NULL;
}

static gboolean read_case(MoePublished *p, GError **error)
{
    p->root = moe_yaml_load(p->path, error);
    if (p->root == NULL ||
        !moe_fields_read(moe_published_fields, p->root, p->path, &p->file, error))
        return FALSE;
    if (p->file.scenario->kind != MOE_NODE_MAP)
        return moe_node_fail(p->file.scenario, error, "scenario: a map of keys and values");
    return read_settings(p, error) &&
           read_list(p, p->file.compare, "compare", read_figure, error) &&
           read_list(p, p->file.rows, "rows", read_group, error) &&
           (p->file.fitted == NULL || read_list(p, p->file.fitted, "fitted", read_fitted, error));
}

/* --- rows ------------------------------------------------------------------------------------- */

static void row_free(gpointer data)
{
    MoePublishedRow *row = data;
    g_strfreev(row->cells);
    g_free(row);
}

static gboolean has_figure(const MoePublishedFigure *figure, const MoePublishedRow *row)
{
    return *row->cells[figure->cell] != '\0' && satisfies(row, figure->conditions);
}

double moe_published_value(const MoePublishedFigure *figure, const MoePublishedRow *row)
{
    double value;
    gboolean has =
        has_figure(figure, row) && moe_units_parse_number(row->cells[figure->cell], &value, NULL);
    return has ? value : NAN;
}

/* The first group that @row satisfies, -1: none. Of rows that are not the case's @own all are judged:
 * by the first counted group that they satisfy, else by the first counted one. */
static int find_group(const MoePublished *p, const MoePublishedRow *row, gboolean own)
{
    int fallback = -1;
    for (guint i = 0; i < p->groups->len; i++) {
        const MoePublishedGroup *group = &g_array_index(p->groups, MoePublishedGroup, i);
        if (!own && !group->counted)
            continue;
        if (satisfies(row, group->conditions))
            return (int)i;
        if (!own && fallback < 0)
            fallback = (int)i;
    }
    return fallback;
}

static gboolean read_row(MoePublished *p, const MoeCsv *csv, gboolean own, GError **error)
{
    MoePublishedRow *row = g_new0(MoePublishedRow, 1);
    row->line = moe_csv_line(csv);
    row->cells = g_new0(char *, p->names->len + 1);
    for (guint i = 0; i < p->names->len; i++)
        row->cells[i] = g_strstrip(g_strdup(moe_csv_text(csv, (int)i)));
    g_ptr_array_add(p->rows, row);
    for (guint i = 0; i < p->figures->len; i++) {
        const MoePublishedFigure *figure = &g_array_index(p->figures, MoePublishedFigure, i);
        double value;
        if (has_figure(figure, row) &&
            !moe_csv_number(csv, (int)figure->cell, 1e-30, 1e30, &value, error))
            return FALSE;
    }
    row->group = find_group(p, row, own);
    for (guint i = 0; own && i < p->fitted->len; i++)
        row->fitted = row->fitted || satisfies(row, p->fitted->pdata[i]);
    return p->rows->len <= MOST_ROWS || moe_csv_fail(csv, error, "more than %d rows", MOST_ROWS);
}

static gboolean read_rows(MoePublished *p, gboolean own, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < p->names->len; i++)
        g_ptr_array_add(names, p->names->pdata[i]);
    g_ptr_array_add(names, NULL);
    g_autoptr(MoeCsv) csv = moe_csv_open(p->csv_path, (const char *const *)names->pdata, error);
    g_autoptr(GError) inner = NULL;
    while (csv != NULL && moe_csv_next(csv, &inner))
        if (!read_row(p, csv, own, error))
            return FALSE;
    if (inner != NULL)
        g_propagate_error(error, g_steal_pointer(&inner));
    else if (csv != NULL && p->rows->len == 0)
        moe_fail(error, MOE_ERROR_INPUT, "%s: there are no rows", p->csv_path);
    else
        return csv != NULL;
    return FALSE;
}

static char *format_number(double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    return value == floor(value) && fabs(value) < 1e15
               ? g_strdup_printf("%.0f", value)
               : g_strdup(g_ascii_dtostr(text, sizeof text, value));
}

/* The value that @setting makes of @cell; NULL with @error. */
static char *translate(const Setting *setting, const char *cell, GError **error)
{
    if (setting->values != NULL) {
        const MoeNode *value = moe_node_get(setting->values, cell);
        if (value != NULL && value->kind == MOE_NODE_SCALAR)
            return g_strdup(value->text);
        moe_fail(error, MOE_ERROR_INPUT, "'%s' is none of the values that the case knows", cell);
        return NULL;
    }
    g_autofree char *number = NULL;
    if (!isnan(setting->times)) {
        double value;
        if (!moe_units_parse_number(cell, &value, error))
            return NULL;
        number = format_number(value * setting->times);
    }
    return g_strconcat(number != NULL ? number : cell, setting->unit, NULL);
}

char **moe_published_settings(const MoePublished *published, const MoePublishedRow *row,
                              GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < published->settings->len; i++) {
        const Setting *setting = &g_array_index(published->settings, Setting, i);
        g_autofree char *value = translate(setting, row->cells[setting->cell], error);
        if (value == NULL) {
            g_prefix_error(error, "%s:%" G_GINT64_FORMAT ": %s: ", published->csv_path, row->line,
                           (const char *)published->names->pdata[setting->cell]);
            return NULL;
        }
        g_ptr_array_add(list, g_strdup_printf("%s=%s", setting->key, value));
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
}

MoePublished *moe_published_load(const char *path, const char *measured, GError **error)
{
    g_autoptr(MoePublished) p = g_new0(MoePublished, 1);
    p->path = g_strdup(path);
    p->name = g_path_get_basename(path);
    char *dot = strrchr(p->name, '.');
    if (dot != NULL)
        *dot = '\0';
    p->names = g_ptr_array_new_with_free_func(g_free);
    p->settings = g_array_new(FALSE, FALSE, sizeof(Setting));
    g_array_set_clear_func(p->settings, setting_clear);
    p->figures = g_array_new(FALSE, FALSE, sizeof(MoePublishedFigure));
    g_array_set_clear_func(p->figures, figure_clear);
    p->groups = g_array_new(FALSE, FALSE, sizeof(MoePublishedGroup));
    g_array_set_clear_func(p->groups, group_clear);
    p->fitted = g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref);
    p->rows = g_ptr_array_new_with_free_func(row_free);
    if (!read_case(p, error))
        return NULL;
    g_autofree char *dir = g_path_get_dirname(path);
    p->csv_path =
        measured != NULL ? g_strdup(measured) : g_build_filename(dir, p->file.measured, NULL);
    return read_rows(p, measured == NULL, error) ? g_steal_pointer(&p) : NULL;
}

void moe_published_free(MoePublished *published)
{
    if (published == NULL)
        return;
    moe_fields_clear(moe_published_fields, &published->file);
    g_array_unref(published->settings);
    g_array_unref(published->figures);
    g_array_unref(published->groups);
    g_ptr_array_unref(published->fitted);
    g_ptr_array_unref(published->rows);
    g_ptr_array_unref(published->names);
    moe_node_free(published->root);
    g_free(published->csv_path);
    g_free(published->path);
    g_free(published->name);
    g_free(published);
}

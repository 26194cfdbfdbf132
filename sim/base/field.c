#include "config.h"

#include "sim/base/field.h"

#include <math.h>
#include <string.h>

static void *slot(void *object, const MoeField *field)
{
    return (char *)object + field->offset;
}

static const void *slot_const(const void *object, const MoeField *field)
{
    return (const char *)object + field->offset;
}

static gboolean in_range(const MoeField *field, double value)
{
    return value >= field->min && (field->max == 0 || value <= field->max);
}

/* A bound as the user would write it: of a ratio, as a number or percentage, whichever @text is. */
static void format_bound(const MoeField *field, const char *text, double bound,
                         char buffer[MOE_UNITS_TEXT])
{
    gboolean quantity = field->kind == MOE_FIELD_QUANTITY;
    if (quantity && field->unit != MOE_UNIT_RATIO)
        moe_units_format(bound, field->unit, buffer);
    else if (quantity && g_str_has_suffix(text, "%"))
        g_snprintf(buffer, MOE_UNITS_TEXT, "%.12g%%", bound * 100);
    else
        g_snprintf(buffer, MOE_UNITS_TEXT, "%.15g", bound);
}

static gboolean fail_range(const MoeField *field, const char *text, GError **error)
{
    char low[MOE_UNITS_TEXT], high[MOE_UNITS_TEXT];
    format_bound(field, text, field->min, low);
    format_bound(field, text, field->max, high);
    if (field->max == 0)
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is too small; the least is %s", text, low);
    return moe_fail(error, MOE_ERROR_INPUT, "'%s' is out of range; write a value from %s to %s",
                    text, low, high);
}

static gboolean read_int(const MoeField *field, const char *text, gint64 *value_out, GError **error)
{
    /* "65536" and, as people write them, "6.5e4" when it is whole. */
    double value;
    if (!moe_units_parse_number(text, &value, error))
        return FALSE;
    if (value != floor(value))
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is not a whole number", text);
    if (!in_range(field, value))
        return fail_range(field, text, error);
    if (fabs(value) >= 0x1p53)
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is too large; the most is %.0f", text,
                        0x1p53 - 1);
    *value_out = (gint64)value;
    return TRUE;
}

static gboolean read_double(const MoeField *field, const char *text, double *value_out,
                            GError **error)
{
    double value;
    gboolean good = field->kind == MOE_FIELD_QUANTITY
                        ? moe_units_parse(text, field->unit, &value, error)
                        : moe_units_parse_number(text, &value, error);
    if (!good)
        return FALSE;
    if (!in_range(field, value))
        return fail_range(field, text, error);
    *value_out = value;
    return TRUE;
}

static gboolean read_choice(const MoeField *field, const char *text, int *value_out, GError **error)
{
    const char *const *choices = field->choices();
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], text) == 0) {
            *value_out = i;
            return TRUE;
        }
    }
    const char *nearest = moe_nearest(text, choices);
    g_autofree char *all = g_strjoinv(", ", (char **)choices);
    if (nearest != NULL)
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is not known; did you mean %s? (%s)", text,
                        nearest, all);
    return moe_fail(error, MOE_ERROR_INPUT, "'%s' is not known; write one of: %s", text, all);
}

static gboolean read_bool(const char *text, gboolean *value_out, GError **error)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is not a truth value; write true or false",
                        text);
    *value_out = *text == 't';
    return TRUE;
}

static gboolean read_scalar(const MoeField *field, const char *text, void *object, GError **error)
{
    void *to = slot(object, field);
    switch (field->kind) {
    case MOE_FIELD_BOOL:
        return read_bool(text, to, error);
    case MOE_FIELD_INT:
        return read_int(field, text, to, error);
    case MOE_FIELD_NUMBER:
    case MOE_FIELD_QUANTITY:
        return read_double(field, text, to, error);
    case MOE_FIELD_STRING:
        *(char **)to = g_strdup(text);
        return TRUE;
    case MOE_FIELD_CHOICE:
        return read_choice(field, text, to, error);
    default:
        g_assert_not_reached();
    }
}

static gboolean read_list(const MoeField *field, const MoeNode *node, void *object, GError **error)
{
    if (node->kind != MOE_NODE_LIST) {
        g_autofree char *what = moe_node_describe(node);
        return moe_node_fail(node, error, "%s: %s is not a list; write [a, b, ...]", field->name,
                             what);
    }
    g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(gint64));
    g_autoptr(GPtrArray) strings = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < node->items->len; i++) {
        const MoeNode *item = g_ptr_array_index(node->items, i);
        if (item->kind != MOE_NODE_SCALAR)
            return moe_node_fail(item, error, "%s: a list or map inside the list", field->name);
        if (field->kind == MOE_FIELD_STRINGS) {
            g_ptr_array_add(strings, g_strdup(item->text));
            continue;
        }
        gint64 value;
        if (!read_int(field, item->text, &value, error)) {
            moe_node_prefix(item, field->name, error);
            return FALSE;
        }
        g_array_append_val(numbers, value);
    }
    if (field->kind == MOE_FIELD_INTS) {
        *(GArray **)slot(object, field) = g_steal_pointer(&numbers);
        return TRUE;
    }
    g_ptr_array_add(strings, NULL);
    *(char ***)slot(object, field) = (char **)g_ptr_array_free(g_steal_pointer(&strings), FALSE);
    return TRUE;
}

static gboolean read_map(const MoeField *field, const MoeNode *node, void *object, GError **error)
{
    if (node->kind == MOE_NODE_SCALAR && field->shorthand != NULL && !moe_node_is_null(node)) {
        g_autoptr(MoeNode) map =
            moe_node_new(MOE_NODE_MAP, NULL, node->file, node->line, node->column);
        MoeNode *key =
            moe_node_new(MOE_NODE_SCALAR, field->shorthand, node->file, node->line, node->column);
        MoeNode *value =
            moe_node_new(MOE_NODE_SCALAR, node->text, node->file, node->line, node->column);
        value->quoted = node->quoted;
        if (!moe_node_append_take(map, key, value, error))
            return FALSE;
        return moe_fields_read(field->fields, map, field->name, slot(object, field), error);
    }
    return moe_fields_read(field->fields, node, field->name, slot(object, field), error);
}

static gboolean read_fields(const MoeField *fields, const MoeNode *node, const MoeNode *outer,
                            const char *name, void *object, GError **error);

/* A key that is absent, or present and null: the fallback, nothing, or an error. @outer: the nearest
 * map that is there, for the place; NULL: none. */
static gboolean read_absent(const MoeField *field, const MoeNode *map, const MoeNode *outer,
                            const char *name, void *object, GError **error)
{
    if (field->kind == MOE_FIELD_MAP)
        return read_fields(field->fields, NULL, outer, field->name, slot(object, field), error);
    if (field->kind == MOE_FIELD_IGNORED)
        return TRUE;
    if (field->fallback == NULL) {
        if (map != NULL)
            return moe_node_fail(map, error, "%s: missing; %s", field->name, field->doc);
        if (outer != NULL)
            return moe_node_fail(outer, error, "%s: %s: missing; %s", name, field->name,
                                 field->doc);
        return moe_fail(error, MOE_ERROR_INPUT, "%s: %s: missing; %s", name, field->name,
                        field->doc);
    }
    if (*field->fallback != '\0')
        return read_scalar(field, field->fallback, object, error);
    if (field->kind == MOE_FIELD_NUMBER || field->kind == MOE_FIELD_QUANTITY)
        *(double *)slot(object, field) = NAN;
    return TRUE;
}

static gboolean read_field(const MoeField *field, const MoeNode *map, const MoeNode *outer,
                           const char *name, void *object, GError **error)
{
    const MoeNode *node = moe_node_get(map, field->name);
    if (node == NULL || moe_node_is_null(node))
        return read_absent(field, map, outer, name, object, error);
    if (field->kind == MOE_FIELD_IGNORED)
        return TRUE;
    if (field->kind == MOE_FIELD_NODE) {
        *(const MoeNode **)slot(object, field) = node;
        return TRUE;
    }
    if (field->kind == MOE_FIELD_MAP)
        return read_map(field, node, object, error);
    if (field->kind == MOE_FIELD_INTS || field->kind == MOE_FIELD_STRINGS)
        return read_list(field, node, object, error);
    if (node->kind != MOE_NODE_SCALAR) {
        g_autofree char *what = moe_node_describe(node);
        return moe_node_fail(node, error, "%s: %s where a single value belongs", field->name, what);
    }
    if (!read_scalar(field, node->text, object, error)) {
        moe_node_prefix(node, field->name, error);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_names(const MoeField *fields, const MoeNode *node, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const MoeField *field = fields; field->name != NULL; field++)
        g_ptr_array_add(names, (gpointer)field->name);
    g_ptr_array_add(names, NULL);
    for (guint i = 0; i < node->keys->len; i++) {
        const MoeNode *key = g_ptr_array_index(node->keys, i);
        if (g_strv_contains((const char *const *)names->pdata, key->text))
            continue;
        const char *nearest = moe_nearest(key->text, (const char *const *)names->pdata);
        if (nearest != NULL)
            return moe_node_fail(key, error, "%s: unknown key; did you mean %s?", key->text,
                                 nearest);
        g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);
        return moe_node_fail(key, error, "%s: unknown key; the keys here are: %s", key->text, all);
    }
    return TRUE;
}

static gboolean read_fields(const MoeField *fields, const MoeNode *node, const MoeNode *outer,
                            const char *name, void *object, GError **error)
{
    if (node != NULL && moe_node_is_null(node))
        node = NULL;
    if (node != NULL && node->kind != MOE_NODE_MAP) {
        g_autofree char *what = moe_node_describe(node);
        return moe_node_fail(node, error, "%s: %s where keys and values belong", name, what);
    }
    if (node != NULL && !check_names(fields, node, error))
        return FALSE;
    for (const MoeField *field = fields; field->name != NULL; field++) {
        if (!read_field(field, node, node != NULL ? node : outer, name, object, error)) {
            moe_fields_clear(fields, object);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean moe_fields_read(const MoeField *fields, const MoeNode *node, const char *name,
                         void *object, GError **error)
{
    return read_fields(fields, node, NULL, name, object, error);
}

void moe_fields_clear(const MoeField *fields, void *object)
{
    for (const MoeField *field = fields; field->name != NULL; field++) {
        void *to = slot(object, field);
        if (field->kind == MOE_FIELD_STRING)
            g_clear_pointer((char **)to, g_free);
        else if (field->kind == MOE_FIELD_STRINGS)
            g_clear_pointer((char ***)to, g_strfreev);
        else if (field->kind == MOE_FIELD_INTS)
            g_clear_pointer((GArray **)to, g_array_unref);
        else if (field->kind == MOE_FIELD_MAP)
            moe_fields_clear(field->fields, to);
    }
}

static void int_list_to_json(const GArray *list, JsonBuilder *builder)
{
    json_builder_begin_array(builder);
    for (guint i = 0; i < list->len; i++)
        json_builder_add_int_value(builder, g_array_index(list, gint64, i));
    json_builder_end_array(builder);
}

static void strings_to_json(char *const *strings, JsonBuilder *builder)
{
    json_builder_begin_array(builder);
    for (; *strings != NULL; strings++)
        json_builder_add_string_value(builder, *strings);
    json_builder_end_array(builder);
}

static gboolean is_unset(const MoeField *field, const void *from)
{
    switch (field->kind) {
    case MOE_FIELD_NUMBER:
    case MOE_FIELD_QUANTITY:
        return isnan(*(const double *)from);
    case MOE_FIELD_STRING:
    case MOE_FIELD_STRINGS:
    case MOE_FIELD_INTS:
        return *(void *const *)from == NULL;
    case MOE_FIELD_INT:
        return field->fallback != NULL && *field->fallback == '\0' && *(const gint64 *)from == 0;
    default:
        return field->kind == MOE_FIELD_IGNORED || field->kind == MOE_FIELD_NODE;
    }
}

void moe_fields_to_json(const MoeField *fields, const void *object, JsonBuilder *builder)
{
    for (const MoeField *field = fields; field->name != NULL; field++) {
        const void *from = slot_const(object, field);
        if (is_unset(field, from))
            continue;
        json_builder_set_member_name(builder, field->name);
        switch (field->kind) {
        case MOE_FIELD_BOOL:
            json_builder_add_boolean_value(builder, *(const gboolean *)from);
            break;
        case MOE_FIELD_INT:
            json_builder_add_int_value(builder, *(const gint64 *)from);
            break;
        case MOE_FIELD_NUMBER:
        case MOE_FIELD_QUANTITY:
            json_builder_add_double_value(builder, *(const double *)from);
            break;
        case MOE_FIELD_STRING:
            json_builder_add_string_value(builder, *(char *const *)from);
            break;
        case MOE_FIELD_CHOICE:
            json_builder_add_string_value(builder, field->choices()[*(const int *)from]);
            break;
        case MOE_FIELD_INTS:
            int_list_to_json(*(GArray *const *)from, builder);
            break;
        case MOE_FIELD_STRINGS:
            strings_to_json(*(char **const *)from, builder);
            break;
        case MOE_FIELD_MAP:
            json_builder_begin_object(builder);
            moe_fields_to_json(field->fields, from, builder);
            json_builder_end_object(builder);
            break;
        case MOE_FIELD_NODE:
        case MOE_FIELD_IGNORED:
            break;
        }
    }
}

static char *describe_kind(const MoeField *field)
{
    static const char *const units[] = {
        [MOE_UNIT_BYTES] = "size (MB, MiB)",   [MOE_UNIT_RATE] = "rate (Gbps, GBps)",
        [MOE_UNIT_TIME] = "time (us, ms)",     [MOE_UNIT_SPEED] = "speed (TFLOPS)",
        [MOE_UNIT_RATIO] = "ratio (0.9, 90%)",
    };
    static const char *const kinds[] = {
        [MOE_FIELD_BOOL] = "true or false",
        [MOE_FIELD_INT] = "whole number",
        [MOE_FIELD_NUMBER] = "number",
        [MOE_FIELD_STRING] = "text",
        [MOE_FIELD_INTS] = "list of whole numbers",
        [MOE_FIELD_STRINGS] = "list of texts",
        [MOE_FIELD_NODE] = "name or map",
        [MOE_FIELD_IGNORED] = "any",
    };
    if (field->kind == MOE_FIELD_QUANTITY)
        return g_strdup(units[field->unit]);
    if (field->kind == MOE_FIELD_CHOICE)
        return g_strjoinv(" | ", (char **)field->choices());
    return g_strdup(kinds[field->kind]);
}

static void describe(const MoeField *fields, const char *prefix, GString *text)
{
    for (const MoeField *field = fields; field->name != NULL; field++) {
        g_autofree char *name = g_strconcat(prefix, field->name, NULL);
        if (field->kind == MOE_FIELD_MAP) {
            g_autofree char *inner = g_strconcat(name, ".", NULL);
            describe(field->fields, inner, text);
            continue;
        }
        g_autofree char *kind = describe_kind(field);
        const char *fallback = field->fallback == NULL    ? "required"
                               : *field->fallback == '\0' ? "-"
                                                          : field->fallback;
        /* A long list of choices takes a line of its own. */
        gboolean is_long = strlen(kind) > 22;
        g_string_append_printf(text, "  %-32s %-22s", name, kind);
        if (is_long)
            g_string_append_printf(text, "\n  %-32s %-22s", "", "");
        g_string_append_printf(text, " %-14s %s\n", fallback, field->doc != NULL ? field->doc : "");
    }
}

void moe_fields_describe(const MoeField *fields, GString *text)
{
    g_string_append_printf(text, "  %-32s %-22s %-14s %s\n", "key", "value", "default", "meaning");
    describe(fields, "", text);
}

const char *moe_fields_shorthand(const MoeField *fields, const char *path)
{
    const char *dot = strchr(path, '.');
    size_t length = dot != NULL ? (size_t)(dot - path) : strlen(path);
    for (const MoeField *field = fields; field->name != NULL; field++) {
        if (strlen(field->name) != length || strncmp(field->name, path, length) != 0)
            continue;
        if (dot == NULL)
            return field->kind == MOE_FIELD_MAP ? field->shorthand : NULL;
        return field->kind == MOE_FIELD_MAP ? moe_fields_shorthand(field->fields, dot + 1) : NULL;
    }
    return NULL;
}

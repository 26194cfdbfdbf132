#include "config.h"

#include "sim/base/json.h"

#include "sim/base/file.h"
#include "sim/base/json_scan.h"

#include <string.h>

struct MoeJson {
    JsonParser *parser;
    char nul[8]; /* the UTF-8 of the noncharacter that stands for U+0000; "" when there is none */
};

/* Replaces every escape \u0000 by that of a noncharacter that occurs nowhere in @text, which
 * json-glib's C strings can hold. Returns NULL when all of U+FDD0 ... U+FDEF occur. */
static char *hide_nul(const char *text, size_t length, char nul_out[8])
{
    g_autofree char *lower = g_ascii_strdown(text, (gssize)length);
    for (gunichar c = 0xFDD0; c <= 0xFDEF; c++) {
        char escape[8];
        g_snprintf(escape, sizeof(escape), "\\u%04x", c);
        nul_out[g_unichar_to_utf8(c, nul_out)] = '\0';
        if (strstr(lower, escape) != NULL || g_strstr_len(text, (gssize)length, nul_out) != NULL)
            continue;
        char *hidden = g_strndup(text, length);
        for (char *p = hidden; *p != '\0'; p += *p == '\\' ? 2 : 1)
            if (g_str_has_prefix(p, "\\u0000"))
                memcpy(p, escape, 6);
        return hidden;
    }
    return NULL;
}

static MoeJson *parse(const char *text, size_t length, const char *name, const MoeJsonScan *scan,
                      GError **error)
{
    g_autoptr(MoeJson) json = g_new0(MoeJson, 1);
    json->parser = json_parser_new_immutable();
    g_autofree char *hidden = NULL;
    if (scan->nul) {
        hidden = hide_nul(text, length, json->nul);
        if (hidden == NULL) {
            moe_fail(error, MOE_ERROR_INPUT, "%s: U+0000 beside all of U+FDD0 to U+FDEF", name);
            return NULL;
        }
        text = hidden;
    }
    g_autoptr(GError) inner = NULL;
    if (!json_parser_load_from_data(json->parser, text, (gssize)length, &inner)) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: %s", name, inner->message);
        return NULL;
    }
    return g_steal_pointer(&json);
}

MoeJson *moe_json_parse(const char *text, size_t length, const char *name, GError **error)
{
    MoeJsonScan scan;
    if (!moe_json_scan(text, length, name, MOE_JSON_DEEPEST, FALSE, &scan, error))
        return NULL;
    return parse(text, length, name, &scan, error);
}

MoeJson *moe_json_load(const char *path, size_t limit, GError **error)
{
    g_autofree char *text = NULL;
    size_t length;
    if (!moe_file_read(path, limit, &text, &length, error))
        return NULL;
    return moe_json_parse(text, length, path, error);
}

void moe_json_free(MoeJson *json)
{
    if (json == NULL)
        return;
    g_clear_object(&json->parser);
    g_free(json);
}

JsonNode *moe_json_root(const MoeJson *json)
{
    return json_parser_get_root(json->parser);
}

gboolean moe_json_has_nul(const MoeJson *json)
{
    return json->nul[0] != '\0';
}

GString *moe_json_text(const MoeJson *json, JsonNode *node)
{
    const char *rest = json_node_get_string(node);
    if (json->nul[0] == '\0')
        return g_string_new(rest);
    GString *text = g_string_new(NULL);
    for (const char *hit; (hit = strstr(rest, json->nul)) != NULL; rest = hit + strlen(json->nul)) {
        g_string_append_len(text, rest, hit - rest);
        g_string_append_c(text, '\0');
    }
    return g_string_append(text, rest);
}

/* Walks json-glib's tree in document order, the order in which the scanner noted the places. */
static MoeNode *convert(JsonNode *node, const GArray *places, guint *next, const char *file)
{
    const MoeJsonPlace *place = &g_array_index(places, MoeJsonPlace, (*next)++);
    if (JSON_NODE_HOLDS_OBJECT(node)) {
        MoeNode *map = moe_node_new(MOE_NODE_MAP, NULL, file, place->line, place->column);
        JsonObjectIter iter;
        const char *name;
        JsonNode *member;
        json_object_iter_init_ordered(&iter, json_node_get_object(node));
        while (json_object_iter_next_ordered(&iter, &name, &member)) {
            const MoeJsonPlace *at = &g_array_index(places, MoeJsonPlace, (*next)++);
            g_ptr_array_add(map->keys,
                            moe_node_new(MOE_NODE_SCALAR, name, file, at->line, at->column));
            g_ptr_array_add(map->items, convert(member, places, next, file));
        }
        return map;
    }
    if (JSON_NODE_HOLDS_ARRAY(node)) {
        MoeNode *list = moe_node_new(MOE_NODE_LIST, NULL, file, place->line, place->column);
        JsonArray *array = json_node_get_array(node);
        for (guint i = 0; i < json_array_get_length(array); i++)
            g_ptr_array_add(list->items,
                            convert(json_array_get_element(array, i), places, next, file));
        return list;
    }
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    const char *text = "null";
    GType type = json_node_get_value_type(node);
    if (type == G_TYPE_STRING)
        text = json_node_get_string(node);
    else if (type == G_TYPE_BOOLEAN)
        text = json_node_get_boolean(node) ? "true" : "false";
    else if (type == G_TYPE_INT64)
        g_snprintf(number, sizeof(number), "%" G_GINT64_FORMAT, json_node_get_int(node));
    else if (type == G_TYPE_DOUBLE)
        g_ascii_dtostr(number, sizeof(number), json_node_get_double(node));
    if (type == G_TYPE_INT64 || type == G_TYPE_DOUBLE)
        text = number;
    MoeNode *scalar = moe_node_new(MOE_NODE_SCALAR, text, file, place->line, place->column);
    scalar->quoted = type == G_TYPE_STRING;
    return scalar;
}

/* Python writes Infinity and NaN, which are no JSON: turns them, outside of strings, into strings of
 * the same length, so that places stay, and who reads such a key says that it is no number. */
static void quote_python_numbers(char *text)
{
    static const char *const words[][2] = {
        {"-Infinity", "\"-infty\" "}, {"Infinity", "\"infty\" "}, {"NaN", "\"N\""}};
    for (char *p = text; *p != '\0'; p++) {
        if (*p == '"')
            for (p++; *p != '"' && *p != '\0'; p++)
                p += *p == '\\' && p[1] != '\0' ? 1 : 0;
        if (*p == '\0')
            return;
        for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
            if (g_str_has_prefix(p, words[i][0]))
                memcpy(p, words[i][1], strlen(words[i][0]));
    }
}

MoeNode *moe_json_load_nodes(const char *path, size_t limit, GError **error)
{
    g_autofree char *text = NULL;
    size_t length;
    if (!moe_file_read(path, limit, &text, &length, error))
        return NULL;
    MoeJsonScan scan;
    quote_python_numbers(text);
    if (!moe_json_scan(text, length, path, MOE_JSON_DEEPEST, TRUE, &scan, error))
        return NULL;
    g_autoptr(GArray) places = scan.places;
    if (scan.nul) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: a string must not contain a NUL character", path);
        return NULL;
    }
    g_autoptr(MoeJson) json = parse(text, length, path, &scan, error);
    if (json == NULL)
        return NULL;
    guint next = 0;
    return convert(moe_json_root(json), places, &next, path);
}

static const char *type_name(JsonNode *node)
{
    if (node == NULL)
        return "missing";
    if (JSON_NODE_HOLDS_OBJECT(node))
        return "an object";
    if (JSON_NODE_HOLDS_ARRAY(node))
        return "a list";
    if (JSON_NODE_HOLDS_NULL(node))
        return "null";
    GType type = json_node_get_value_type(node);
    return type == G_TYPE_STRING    ? "a string"
           : type == G_TYPE_BOOLEAN ? "true or false"
                                    : "a number";
}

static gboolean fail_type(const char *where, const char *key, JsonNode *node, const char *wanted,
                          GError **error)
{
    return moe_fail(error, MOE_ERROR_INPUT, "%s: %s%sis %s; it must be %s", where,
                    key != NULL ? key : "", key != NULL ? " " : "", type_name(node), wanted);
}

JsonObject *moe_json_object(JsonNode *node, const char *where, GError **error)
{
    if (node != NULL && JSON_NODE_HOLDS_OBJECT(node))
        return json_node_get_object(node);
    fail_type(where, NULL, node, "an object", error);
    return NULL;
}

JsonObject *moe_json_get_object(JsonObject *object, const char *key, const char *where,
                                GError **error)
{
    JsonNode *node = json_object_get_member(object, key);
    if (node != NULL && JSON_NODE_HOLDS_OBJECT(node))
        return json_node_get_object(node);
    fail_type(where, key, node, "an object", error);
    return NULL;
}

JsonArray *moe_json_get_array(JsonObject *object, const char *key, const char *where,
                              GError **error)
{
    JsonNode *node = json_object_get_member(object, key);
    if (node != NULL && JSON_NODE_HOLDS_ARRAY(node))
        return json_node_get_array(node);
    fail_type(where, key, node, "a list", error);
    return NULL;
}

static gboolean holds(JsonNode *node, GType type)
{
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
}

const char *moe_json_get_string(JsonObject *object, const char *key, const char *where,
                                GError **error)
{
    JsonNode *node = json_object_get_member(object, key);
    if (holds(node, G_TYPE_STRING))
        return json_node_get_string(node);
    fail_type(where, key, node, "a string", error);
    return NULL;
}

gboolean moe_json_get_int(JsonObject *object, const char *key, gint64 min, gint64 max,
                          const char *where, gint64 *value_out, GError **error)
{
    JsonNode *node = json_object_get_member(object, key);
    if (!holds(node, G_TYPE_INT64))
        return fail_type(where, key, node, "a whole number", error);
    gint64 value = json_node_get_int(node);
    if (value < min || value > max)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %s is %" G_GINT64_FORMAT "; it must be %" G_GINT64_FORMAT
                        " to %" G_GINT64_FORMAT,
                        where, key, value, min, max);
    *value_out = value;
    return TRUE;
}

gboolean moe_json_get_double(JsonObject *object, const char *key, double min, double max,
                             const char *where, double *value_out, GError **error)
{
    JsonNode *node = json_object_get_member(object, key);
    if (!holds(node, G_TYPE_INT64) && !holds(node, G_TYPE_DOUBLE))
        return fail_type(where, key, node, "a number", error);
    double value = json_node_get_double(node);
    if (value < min || value > max)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: %s is %.6g; it must be %.6g to %.6g", where,
                        key, value, min, max);
    *value_out = value;
    return TRUE;
}

gboolean moe_json_get_bool(JsonObject *object, const char *key, gboolean fallback,
                           const char *where, gboolean *value_out, GError **error)
{
    if (moe_json_is_null(object, key)) {
        *value_out = fallback;
        return TRUE;
    }
    JsonNode *node = json_object_get_member(object, key);
    if (!holds(node, G_TYPE_BOOLEAN))
        return fail_type(where, key, node, "true or false", error);
    *value_out = json_node_get_boolean(node);
    return TRUE;
}

gboolean moe_json_is_null(JsonObject *object, const char *key)
{
    JsonNode *node = json_object_get_member(object, key);
    return node == NULL || JSON_NODE_HOLDS_NULL(node);
}

/* What json-glib's generator makes is not always JSON: it leaves U+001F and bytes that are not
 * UTF-8 as they are, and prints 1e-6 as "1e-06.0". */
static char *repair(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    gboolean in_string = FALSE, exponent = FALSE;
    GString *out = g_string_sized_new(strlen(valid));
    for (const char *p = valid; *p != '\0'; p++) {
        if (in_string && *p == '\\') {
            g_string_append_c(out, *p++);
        } else if (*p == '"') {
            in_string = !in_string;
        } else if (!in_string && exponent && p[0] == '.' && p[1] == '0') {
            p++;
            continue;
        }
        exponent = !in_string && (*p == 'e' || (exponent && strchr("+-0123456789", *p) != NULL));
        if (*p == 0x1F)
            g_string_append(out, "\\u001f");
        else
            g_string_append_c(out, *p);
    }
    return g_string_free(out, FALSE);
}

char *moe_json_print(JsonNode *root)
{
    g_autoptr(JsonGenerator) generator = json_generator_new();
    json_generator_set_pretty(generator, TRUE);
    json_generator_set_indent(generator, 2);
    json_generator_set_root(generator, root);
    g_autofree char *text = json_generator_to_data(generator, NULL);
    g_autofree char *repaired = repair(text);
    return g_strconcat(repaired, "\n", NULL);
}

char *moe_json_print_compact(JsonNode *root)
{
    g_autofree char *text = json_to_string(root, FALSE);
    return repair(text);
}

#include "config.h"

#include "sim/base/node.h"

#include "sim/base/yaml.h"

#include <stdarg.h>
#include <string.h>

MoeNode *moe_node_new(MoeNodeKind kind, const char *text, const char *file, int line, int column)
{
    MoeNode *node = g_new0(MoeNode, 1);
    node->kind = kind;
    node->file = g_intern_string(file);
    node->line = line;
    node->column = column;
    if (kind == MOE_NODE_SCALAR)
        node->text = g_strdup(text);
    else
        node->items = g_ptr_array_new_with_free_func((GDestroyNotify)moe_node_free);
    if (kind == MOE_NODE_MAP)
        node->keys = g_ptr_array_new_with_free_func((GDestroyNotify)moe_node_free);
    return node;
}

void moe_node_free(MoeNode *node)
{
    if (node == NULL)
        return;
    g_clear_pointer(&node->keys, g_ptr_array_unref);
    g_clear_pointer(&node->items, g_ptr_array_unref);
    g_free(node->text);
    g_free(node);
}

MoeNode *moe_node_copy(const MoeNode *node)
{
    MoeNode *copy = moe_node_new(node->kind, node->text, node->file, node->line, node->column);
    copy->quoted = node->quoted;
    for (guint i = 0; node->kind == MOE_NODE_MAP && i < node->keys->len; i++)
        g_ptr_array_add(copy->keys, moe_node_copy(node->keys->pdata[i]));
    for (guint i = 0; node->items != NULL && i < node->items->len; i++)
        g_ptr_array_add(copy->items, moe_node_copy(node->items->pdata[i]));
    return copy;
}

gboolean moe_node_append_take(MoeNode *node, MoeNode *key, MoeNode *item, GError **error)
{
    if (node->kind == MOE_NODE_MAP) {
        const MoeNode *other = moe_node_get(node, key->text);
        if (other != NULL) {
            moe_node_fail(key, error, "%s: written twice in one map; delete one of the two",
                          key->text);
            moe_node_free(key);
            moe_node_free(item);
            return FALSE;
        }
        g_ptr_array_add(node->keys, key);
    }
    g_ptr_array_add(node->items, item);
    return TRUE;
}

MoeNode *moe_node_get(const MoeNode *node, const char *key)
{
    if (node == NULL || node->kind != MOE_NODE_MAP)
        return NULL;
    for (guint i = 0; i < node->keys->len; i++) {
        const MoeNode *candidate = g_ptr_array_index(node->keys, i);
        if (strcmp(candidate->text, key) == 0)
            return g_ptr_array_index(node->items, i);
    }
    return NULL;
}

gboolean moe_node_is_null(const MoeNode *node)
{
    if (node->kind != MOE_NODE_SCALAR || node->quoted)
        return FALSE;
    return *node->text == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0;
}

gboolean moe_node_is_set(const MoeNode *node)
{
    return node != NULL && g_str_has_prefix(node->file, "--set ");
}

gboolean moe_node_overrides(const MoeNode *node, const MoeNode *other)
{
    return moe_node_is_set(node) && !moe_node_is_set(other);
}

char *moe_node_describe(const MoeNode *node)
{
    enum { MOST = 60 }; /* characters that help */
    if (node->kind == MOE_NODE_SCALAR && moe_node_is_null(node))
        return g_strdup("nothing");
    if (node->kind == MOE_NODE_SCALAR && g_utf8_strlen(node->text, -1) > MOST) {
        g_autofree char *begin = g_utf8_substring(node->text, 0, MOST);
        return g_strdup_printf("'%s...'", begin);
    }
    if (node->kind == MOE_NODE_SCALAR)
        return g_strdup_printf("'%s'", node->text);
    return g_strdup(node->kind == MOE_NODE_MAP ? "a map" : "a list");
}

static char *place(const MoeNode *node)
{
    if (node->line == 0)
        return g_strdup_printf("%s: ", node->file);
    return g_strdup_printf("%s:%d:%d: ", node->file, node->line, node->column);
}

gboolean moe_node_fail(const MoeNode *node, GError **error, const char *format, ...)
{
    g_autofree char *where = place(node);
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    return moe_fail(error, MOE_ERROR_INPUT, "%s%s", where, message);
}

void moe_node_prefix(const MoeNode *node, const char *key, GError **error)
{
    g_autofree char *where = place(node);
    g_prefix_error(error, "%s%s: ", where, key);
}

/* Makes @node a map, in place; a scalar that has a shorthand key becomes that key's value. */
static gboolean make_map(MoeNode *node, const char *path, MoeNodeShorthand shorthand,
                         GError **error)
{
    if (node->kind == MOE_NODE_MAP)
        return TRUE;
    const char *key = shorthand != NULL ? shorthand(path) : NULL;
    if (node->kind == MOE_NODE_LIST || (!moe_node_is_null(node) && key == NULL)) {
        g_autofree char *what = moe_node_describe(node);
        return moe_fail(error, MOE_ERROR_USAGE, "--set: '%s' is %s and has no keys of its own",
                        path, what);
    }
    MoeNode *map = moe_node_new(MOE_NODE_MAP, NULL, node->file, node->line, node->column);
    if (!moe_node_is_null(node)) {
        MoeNode *value =
            moe_node_new(MOE_NODE_SCALAR, node->text, node->file, node->line, node->column);
        value->quoted = node->quoted;
        MoeNode *name = moe_node_new(MOE_NODE_SCALAR, key, node->file, node->line, node->column);
        if (!moe_node_append_take(map, name, value, error)) {
            moe_node_free(map);
            return FALSE;
        }
    }
    MoeNode old = *node;
    *node = *map;
    *map = old;
    moe_node_free(map);
    return TRUE;
}

static MoeNode *assigned_value(const char *text, const char *source, GError **error)
{
    if (*text == '[' || *text == '{')
        return moe_yaml_parse(text, strlen(text), source, error);
    return moe_node_new(MOE_NODE_SCALAR, text, source, 0, 0);
}

/* Levels below @node. */
static guint depth_of(const MoeNode *node)
{
    guint deepest = 0;
    for (guint i = 0; node->items != NULL && i < node->items->len; i++)
        deepest = MAX(deepest, 1 + depth_of(g_ptr_array_index(node->items, i)));
    return deepest;
}

gboolean moe_node_set(MoeNode *root, const char *assignment, MoeNodeShorthand shorthand,
                      GError **error)
{
    if (!g_utf8_validate(assignment, -1, NULL))
        return moe_fail(error, MOE_ERROR_USAGE, "--set: '%s' is not UTF-8", assignment);
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--set: '%s' is not key=value; write for example "
                        "--set plan.expert=64",
                        assignment);
    g_autofree char *path = g_strndup(assignment, (gsize)(equals - assignment));
    g_auto(GStrv) parts = g_strsplit(path, ".", -1);
    for (guint i = 0; parts[i] != NULL; i++)
        if (*parts[i] == '\0')
            return moe_fail(error, MOE_ERROR_USAGE, "--set: '%s' has an empty key", path);
    if (g_strv_length(parts) > MOE_NODE_DEEPEST)
        return moe_fail(error, MOE_ERROR_USAGE, "--set: '%.40s...' has more than %d keys", path,
                        MOE_NODE_DEEPEST);
    g_autofree char *source = g_strconcat("--set ", path, NULL);
    g_autoptr(MoeNode) value = assigned_value(equals + 1, source, error);
    if (value == NULL)
        return FALSE;
    if (g_strv_length(parts) + depth_of(value) > MOE_NODE_DEEPEST)
        return moe_fail(error, MOE_ERROR_USAGE, "--set: '%.40s...' is nested deeper than %d levels",
                        path, MOE_NODE_DEEPEST);
    g_autoptr(GString) walked = g_string_new(NULL);
    MoeNode *node = root;
    for (guint i = 0; parts[i] != NULL; i++) {
        if (!make_map(node, walked->str, shorthand, error))
            return FALSE;
        g_string_append_printf(walked, "%s%s", i > 0 ? "." : "", parts[i]);
        MoeNode *child = moe_node_get(node, parts[i]);
        if (child == NULL) {
            child = moe_node_new(MOE_NODE_SCALAR, "", source, 0, 0);
            MoeNode *key = moe_node_new(MOE_NODE_SCALAR, parts[i], source, 0, 0);
            if (!moe_node_append_take(node, key, child, error))
                return FALSE;
        }
        node = child;
    }
    MoeNode old = *node;
    *node = *value;
    *value = old;
    return TRUE;
}

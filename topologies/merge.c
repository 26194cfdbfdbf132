#include "config.h"

#include "topologies/merge.h"

#include "sim/base/preset.h"
#include "sim/base/yaml.h"

#include <string.h>

enum { MOST_PRESETS = 8 };

/* --- what changes ---------------------------------------------------------------------------- */

static gboolean is_equal(const MoeNode *a, const MoeNode *b)
{
    if (a->kind != b->kind || g_strcmp0(a->text, b->text) != 0)
        return FALSE;
    if (a->items == NULL)
        return TRUE;
    if (a->items->len != b->items->len)
        return FALSE;
    for (guint i = 0; i < a->items->len; i++)
        if (!is_equal(a->items->pdata[i], b->items->pdata[i]) ||
            (a->keys != NULL && !is_equal(a->keys->pdata[i], b->keys->pdata[i])))
            return FALSE;
    return TRUE;
}

/* Whether @key of the outermost map is no part of the cluster, or what everyone must say. */
static gboolean is_free(const MoeNode *base, const char *key)
{
    static const char *const words[] = {"preset", "name", "description", NULL};
    return g_strv_contains(words, key) ||
           (strcmp(key, "nodes") == 0 && moe_node_get(base, key) == NULL);
}

/* Appends the keys of the map @over that are not in @base as they are in @over, as "a, b.c", behind
 * @prefix (NULL: the maps are the outermost); those that say where others are from are none. */
static void list_changes(const MoeNode *base, const MoeNode *over, const char *prefix,
                         GString *changes)
{
    for (guint i = 0; i < over->keys->len; i++) {
        const char *key = ((const MoeNode *)over->keys->pdata[i])->text;
        const MoeNode *value = over->items->pdata[i], *old = moe_node_get(base, key);
        if (strcmp(key, "sources") == 0 || (prefix == NULL && is_free(base, key)) ||
            (old != NULL ? is_equal(old, value) : moe_node_is_null(value)))
            continue;
        g_autofree char *path = g_strconcat(prefix != NULL ? prefix : "", key, NULL);
        if (old != NULL && old->kind == MOE_NODE_MAP && value->kind == MOE_NODE_MAP) {
            g_autofree char *below = g_strconcat(path, ".", NULL);
            list_changes(old, value, below, changes);
        } else {
            g_string_append_printf(changes, "%s%s", changes->len > 0 ? ", " : "", path);
        }
    }
}

/* Says in @source, of the map @base, what @over changes there. */
static void mark_source(MoeNode *source, const MoeNode *base, const MoeNode *over, const char *name)
{
    if (source == NULL || source->kind != MOE_NODE_SCALAR || base == NULL || over == NULL)
        return;
    g_autoptr(GString) changes = g_string_new(NULL);
    if (base->kind == MOE_NODE_MAP && over->kind == MOE_NODE_MAP)
        list_changes(base, over, "", changes);
    else if (!is_equal(base, over))
        g_string_append(changes, "all");
    if (changes->len == 0)
        return;
    char *text = g_strdup_printf("changed: %s; %s: %s", changes->str, name, source->text);
    g_free(source->text);
    source->text = text;
}

static void mark_sources(MoeNode *base, const MoeNode *over, const char *name)
{
    MoeNode *sources = moe_node_get(base, "sources"), *kernels = moe_node_get(base, "kernels");
    for (guint i = 0; sources != NULL && sources->keys != NULL && i < sources->keys->len; i++) {
        const char *part = ((const MoeNode *)sources->keys->pdata[i])->text;
        mark_source(sources->items->pdata[i], moe_node_get(base, part), moe_node_get(over, part),
                    name);
    }
    const MoeNode *over_kernels = moe_node_get(over, "kernels");
    for (guint i = 0; kernels != NULL && kernels->keys != NULL && i < kernels->keys->len; i++) {
        const char *kernel = ((const MoeNode *)kernels->keys->pdata[i])->text;
        mark_source(moe_node_get(kernels->items->pdata[i], "sources"), kernels->items->pdata[i],
                    moe_node_get(over_kernels, kernel), name);
    }
}

/* The cluster is no longer the one that @base describes. */
static void rename_changed(MoeNode *base, const MoeNode *over, const char *preset)
{
    g_autoptr(GString) changes = g_string_new(NULL);
    list_changes(base, over, NULL, changes);
    MoeNode *name = moe_node_get(base, "name"), *description = moe_node_get(base, "description");
    if (changes->len == 0)
        return;
    if (name != NULL && name->kind == MOE_NODE_SCALAR &&
        !g_str_has_suffix(name->text, ", changed")) {
        char *text = g_strconcat(name->text, ", changed", NULL);
        g_free(name->text);
        name->text = text;
    }
    if (description == NULL) {
        description = moe_node_new(MOE_NODE_SCALAR, "", over->file, over->line, over->column);
        g_ptr_array_add(base->keys, moe_node_new(MOE_NODE_SCALAR, "description", over->file,
                                                 over->line, over->column));
        g_ptr_array_add(base->items, description);
    }
    if (description->kind == MOE_NODE_SCALAR) {
        g_free(description->text);
        description->text = g_strdup_printf("as %s but for %s", preset, changes->str);
    }
}

/* --- laying over ----------------------------------------------------------------------------- */

/* What is wrong with a map that both write can be mended in the one that lies over. */
static void overlay(MoeNode *base, const MoeNode *over)
{
    base->file = over->file;
    base->line = over->line;
    base->column = over->column;
    for (guint i = 0; i < over->keys->len; i++) {
        const MoeNode *key = over->keys->pdata[i], *value = over->items->pdata[i];
        MoeNode *old = moe_node_get(base, key->text);
        if (old != NULL && old->kind == MOE_NODE_MAP && value->kind == MOE_NODE_MAP) {
            overlay(old, value);
            continue;
        }
        MoeNode *copy = moe_node_copy(value);
        if (old == NULL) {
            g_ptr_array_add(base->keys, moe_node_copy(key));
            g_ptr_array_add(base->items, copy);
            continue;
        }
        MoeNode kept = *old;
        *old = *copy;
        *copy = kept;
        moe_node_free(copy);
    }
}

void moe_topology_overlay(MoeNode *base, const MoeNode *over, const char *name)
{
    mark_sources(base, over, name);
    overlay(base, over);
}

/* Presets may build on presets, but not in a circle. */
static MoeNode *merge(const MoeNode *node, const char *base_dir, int depth, GError **error)
{
    const MoeNode *preset = moe_node_get(node, "preset");
    if (preset == NULL || moe_node_is_null(preset))
        return moe_node_copy(node);
    if (preset->kind != MOE_NODE_SCALAR) {
        moe_node_fail(preset, error, "preset: must be the name of a preset or a file");
        return NULL;
    }
    if (depth == MOST_PRESETS) {
        moe_node_fail(preset, error,
                      "preset: over %d presets that build on presets; is it a circle?",
                      MOST_PRESETS);
        return NULL;
    }
    g_autofree char *path =
        moe_preset_find(preset->text, "topologies/presets", ".yaml", "topology", base_dir, error);
    if (path == NULL) {
        moe_node_prefix(preset, "preset", error);
        return NULL;
    }
    g_autoptr(MoeNode) root = moe_yaml_load(path, error);
    if (root == NULL)
        return NULL;
    if (root->kind != MOE_NODE_MAP) {
        moe_node_fail(root, error, "a topology is a map of keys");
        return NULL;
    }
    g_autofree char *dir = g_path_get_dirname(path);
    MoeNode *base = merge(root, dir, depth + 1, error);
    if (base == NULL)
        return NULL;
    rename_changed(base, node, preset->text);
    moe_topology_overlay(base, node, preset->text);
    return base;
}

MoeNode *moe_topology_merge(const MoeNode *node, const char *base_dir, GError **error)
{
    return merge(node, base_dir, 0, error);
}

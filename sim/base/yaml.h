/* yaml.h - reads YAML into a tree of nodes.
 *
 * Layer: sim/base. The subset that a configuration needs: maps, lists and scalars, block or flow.
 * Anchors, aliases, tags, merge keys, several documents and duplicate keys are errors, so that a
 * file says one thing in one place. Limits: 16 MiB, 32 levels, 10,000 keys in one map.
 */
#ifndef MOE_BASE_YAML_H
#define MOE_BASE_YAML_H

#include "sim/base/node.h"

/* Reads @length bytes of @text; messages call the source @name.
 * Returns the root, which the caller frees with moe_node_free(), or NULL with MOE_ERROR_INPUT
 * ("name:line:column: what is wrong"). An empty document is an empty map. */
MoeNode *moe_yaml_parse(const char *text, size_t length, const char *name,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for the file at @path. */
MoeNode *moe_yaml_load(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

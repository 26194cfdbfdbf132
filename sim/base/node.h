/* node.h - a tree of what a YAML or JSON file says, with the place of every value.
 *
 * Layer: sim/base. Scalars stay text: only the reader of a field decides what "1e3" or "no" means.
 * A tree is built by yaml.h or json.h (or by hand for --set), read by field.h, and belongs to
 * whoever built it; nodes inside are borrowed from it.
 */
#ifndef MOE_BASE_NODE_H
#define MOE_BASE_NODE_H

#include "sim/base/error.h"

typedef enum { MOE_NODE_SCALAR, MOE_NODE_LIST, MOE_NODE_MAP } MoeNodeKind;

/* The deepest nesting that yaml.h and moe_node_set() build. */
enum { MOE_NODE_DEEPEST = 32 };

typedef struct MoeNode MoeNode;
struct MoeNode {
    MoeNodeKind kind;
    gboolean quoted;  /* scalar: was a quoted string, so never null, number or boolean */
    char *text;       /* scalar: its text; otherwise NULL */
    GPtrArray *keys;  /* map: scalar MoeNode *, one per item, in file order; otherwise NULL */
    GPtrArray *items; /* map and list: MoeNode *; otherwise NULL */
    const char *file; /* what messages call the source; interned, lives for the process */
    int line, column; /* from 1; 0 when the place is not known */
};

/* Makes an empty node. @text is copied and only used for a scalar. Free with moe_node_free(). */
MoeNode *moe_node_new(MoeNodeKind kind, const char *text, const char *file, int line, int column);
void moe_node_free(MoeNode *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeNode, moe_node_free)

/* A copy of @node and all below it. Free with moe_node_free(). */
MoeNode *moe_node_copy(const MoeNode *node);

/* Appends @item to the list or map @node, which takes it; @key (taken; a scalar) for maps only.
 * Errors: MOE_ERROR_INPUT when the map has the key already; @key and @item are freed then. */
gboolean moe_node_append_take(MoeNode *node, MoeNode *key, MoeNode *item, GError **error);

/* The value of @key in the map @node, or NULL when absent or @node is not a map. Borrowed. */
MoeNode *moe_node_get(const MoeNode *node, const char *key);

/* True for a scalar that says nothing: empty, "~" or "null", not quoted. */
gboolean moe_node_is_null(const MoeNode *node);

/* Whether @node (or NULL) was given by --set; its file is "--set a.b" then. */
gboolean moe_node_is_set(const MoeNode *node);

/* Whether @node (or NULL) was given by --set, and @other by a file. */
gboolean moe_node_overrides(const MoeNode *node, const MoeNode *other);

/* "a map", "a list", "'text'", if long the beginning of it: how messages call what stands there.
 * Free with g_free(). */
char *moe_node_describe(const MoeNode *node);

/* Sets MOE_ERROR_INPUT with "file:line:column: " before the message. Always returns FALSE. */
gboolean moe_node_fail(const MoeNode *node, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Prefixes an error that was worded without a place with "file:line:column: key: ". */
void moe_node_prefix(const MoeNode *node, const char *key, GError **error);

/* Applies "a.b.c=text" to the map @root: makes missing maps on the way, replaces a value that is
 * there. A value in brackets or braces is read as YAML flow. A scalar on the way is turned into a
 * map by giving it the key that @shorthand names for it (NULL: an error), a list never. Errors:
 * MOE_ERROR_USAGE when there is no '=', an empty key or more than MOE_NODE_DEEPEST of them;
 * MOE_ERROR_INPUT when the flow is not YAML. @root is untouched then. */
typedef const char *(*MoeNodeShorthand)(const char *path);
gboolean moe_node_set(MoeNode *root, const char *assignment, MoeNodeShorthand shorthand,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

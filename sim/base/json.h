/* json.h - strict, bounded JSON on top of json-glib.
 *
 * Layer: sim/base. json-glib parses and holds the tree; before it sees a byte, a scanner of ours
 * has checked what json-glib lets pass or does not survive: RFC 8259 syntax (no comments, no single
 * quotes, no trailing commas), UTF-8, surrogate pairs, duplicate keys, numbers in range, and depth
 * (its parser is recursive). Every error has a line and a column.
 */
#ifndef MOE_BASE_JSON_H
#define MOE_BASE_JSON_H

#include "sim/base/node.h"

#include <json-glib/json-glib.h>

/* The deepest nesting that is accepted. */
#define MOE_JSON_DEEPEST 64

/* A parsed document. Strings that contain U+0000, which C strings cannot, come out of
 * moe_json_text() whole; json_node_get_string() would show a noncharacter in its place. */
typedef struct MoeJson MoeJson;

/* Parses @length bytes of @text; messages call it @name. Free with moe_json_free().
 * Errors: MOE_ERROR_INPUT, "name:line:column: what"; NULL then. */
MoeJson *moe_json_parse(const char *text, size_t length, const char *name,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for the file at @path, at most @limit bytes. */
MoeJson *moe_json_load(const char *path, size_t limit, GError **error) G_GNUC_WARN_UNUSED_RESULT;

void moe_json_free(MoeJson *json);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeJson, moe_json_free)

/* The root value. Borrowed. */
JsonNode *moe_json_root(const MoeJson *json);

/* Whether any string contains U+0000. */
gboolean moe_json_has_nul(const MoeJson *json);

/* The bytes of the string node @node, U+0000 restored. The caller frees the GString. */
GString *moe_json_text(const MoeJson *json, JsonNode *node);

/* Reads a JSON document into the tree that field.h reads, with the place of every value: for
 * configuration written as JSON, such as config.json. Same limits and errors; strings with U+0000
 * are an error. Free with moe_node_free(). */
MoeNode *moe_json_load_nodes(const char *path, size_t limit,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Checked access. @where is what a message calls @object ("tokenizer.json: model"). Each returns
 * FALSE or NULL with MOE_ERROR_INPUT when @key is missing or of another type; results are borrowed.
 */
JsonObject *moe_json_object(JsonNode *node, const char *where, GError **error);
JsonObject *moe_json_get_object(JsonObject *object, const char *key, const char *where,
                                GError **error);
JsonArray *moe_json_get_array(JsonObject *object, const char *key, const char *where,
                              GError **error);
const char *moe_json_get_string(JsonObject *object, const char *key, const char *where,
                                GError **error);
gboolean moe_json_get_int(JsonObject *object, const char *key, gint64 min, gint64 max,
                          const char *where, gint64 *value_out, GError **error);

/* Any number, in [min, max]. */
gboolean moe_json_get_double(JsonObject *object, const char *key, double min, double max,
                             const char *where, double *value_out, GError **error);

/* The member @key, or @fallback when it is absent or null. Errors: another type. */
gboolean moe_json_get_bool(JsonObject *object, const char *key, gboolean fallback,
                           const char *where, gboolean *value_out, GError **error);

/* True when @key is absent or null. */
gboolean moe_json_is_null(JsonObject *object, const char *key);

/* Prints @root with two-space indentation and a final newline, or on one line without any. What is
 * not UTF-8 in a string, such as the name of a file, becomes U+FFFD. Free with g_free(). */
char *moe_json_print(JsonNode *root);
char *moe_json_print_compact(JsonNode *root);

#endif

/* field.h - configuration as data: one table per object says what its keys are.
 *
 * Layer: sim/base. A table drives reading (with defaults, ranges, units and nearest-name hints),
 * printing of the resolved values, and the description that `moesim show --keys` prints. A key that
 * no row names is an error.
 *
 *     typedef struct { gint64 nodes; double bandwidth; } Thing;
 *     static const MoeField thing_fields[] = {
 *         {"nodes", MOE_FIELD_INT, offsetof(Thing, nodes), .fallback = "1", .min = 1, .max = 4096,
 *          .doc = "nodes of the cluster"},
 *         {"bandwidth", MOE_FIELD_QUANTITY, offsetof(Thing, bandwidth), .unit = MOE_UNIT_RATE,
 *          .min = 1, .doc = "per GPU and direction"},
 *         {NULL}};
 */
#ifndef MOE_BASE_FIELD_H
#define MOE_BASE_FIELD_H

#include "sim/base/node.h"
#include "sim/base/units.h"

#include <json-glib/json-glib.h>

typedef enum {
    MOE_FIELD_BOOL,     /* gboolean: true or false */
    MOE_FIELD_INT,      /* gint64 in [min, max] */
    MOE_FIELD_NUMBER,   /* double in [min, max] */
    MOE_FIELD_QUANTITY, /* double in SI base units, written with a unit, in [min, max] */
    MOE_FIELD_STRING,   /* char *, owned by the object */
    MOE_FIELD_CHOICE,   /* int: the index of a name in choices() */
    MOE_FIELD_INTS,     /* GArray * of gint64, each in [min, max]; NULL when not given */
    MOE_FIELD_STRINGS,  /* char ** (NULL-terminated); NULL when not given */
    MOE_FIELD_MAP,      /* a struct inside the object, read by the table in .fields */
    MOE_FIELD_NODE, /* const MoeNode *: as it was read, borrowed from the tree; NULL when absent */
    MOE_FIELD_IGNORED, /* nothing is stored; any value is accepted */
} MoeFieldKind;

typedef struct MoeField MoeField;
struct MoeField {
    const char *name; /* NULL ends a table */
    MoeFieldKind kind;
    size_t offset;
    const char *fallback; /* as it would be written; NULL: the key is required; MOE_FIELD_UNSET:
                             when absent, the value stays zero (NaN for numbers and quantities) */
    double min, max;      /* max 0 means no upper limit */
    MoeUnit unit;
    const char *const *(*choices)(void); /* NULL-terminated */
    const MoeField *fields;              /* MOE_FIELD_MAP */
    const char
        *shorthand; /* MOE_FIELD_MAP: "topology: h800" means "topology: {<shorthand>: h800}" */
    const char *doc;
};

#define MOE_FIELD_UNSET ""

/* Reads the map @node into @object by @fields. A NULL @node means an empty map, called @name in
 * messages. On failure the object holds nothing that needs freeing.
 * Errors: MOE_ERROR_INPUT, "file:line:column: key: what; what to write instead". */
gboolean moe_fields_read(const MoeField *fields, const MoeNode *node, const char *name,
                         void *object, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Frees what the fields of @object own and zeroes them. */
void moe_fields_clear(const MoeField *fields, void *object);

/* Adds the resolved values as members of the object that @builder has open. Quantities are numbers
 * in SI base units, unset values are left out. */
void moe_fields_to_json(const MoeField *fields, const void *object, JsonBuilder *builder);

/* Appends one aligned line per key, nested ones as "a.b": name, kind or unit, default, doc. */
void moe_fields_describe(const MoeField *fields, GString *text);

/* The shorthand key of the map that @path ("a.b") names in @fields, or NULL. For moe_node_set(). */
const char *moe_fields_shorthand(const MoeField *fields, const char *path);

#endif

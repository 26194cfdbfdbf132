/* json_scan.h - the scanner in front of json-glib; used by json.c alone.
 *
 * Layer: sim/base.
 */
#ifndef MOE_BASE_JSON_SCAN_H
#define MOE_BASE_JSON_SCAN_H

#include "sim/base/error.h"

/* Where a value starts, from 1. */
typedef struct {
    int line, column;
} MoeJsonPlace;

typedef struct {
    GArray *places; /* MoeJsonPlace of every value and, in an object, of every key before its value,
                       in document order; NULL unless asked for. Free with g_array_unref(). */
    gboolean nul;   /* an escape \u0000 occurs in a string */
} MoeJsonScan;

/* Checks that the @length bytes of @text are one JSON document in the strict sense of json.h, depth
 * at most @deepest. Fills @scan_out; its places only with @want_places. Errors: MOE_ERROR_INPUT,
 * "name:line:column: what". */
gboolean moe_json_scan(const char *text, size_t length, const char *name, int deepest,
                       gboolean want_places, MoeJsonScan *scan_out, GError **error);

#endif

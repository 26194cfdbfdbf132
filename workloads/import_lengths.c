#include "config.h"

#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/text.h"
#include "workloads/import.h"
#include "workloads/npy.h"

#include <string.h>

enum { LARGEST_FILE = 64 << 20 };

static gboolean add_length(GArray *lengths, gint64 length, const char *where, GError **error)
{
    if (length < 1 || length > G_MAXUINT32)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GINT64_FORMAT " is not the length of a sequence", where, length);
    g_array_append_val(lengths, length);
    return TRUE;
}

static gboolean parse_list(const char *text, const char *where, GArray *lengths, GError **error)
{
    for (;;) {
        text += strspn(text, ", \t\r\n");
        if (*text == '\0')
            return TRUE;
        char *end;
        gint64 length = g_ascii_strtoll(text, &end, 10);
        if (end == text || (*end != '\0' && strchr(", \t\r\n", *end) == NULL)) {
            gsize word = strcspn(text, ", \t\r\n");
            g_autofree char *shown = g_utf8_make_valid(text, (gssize)MIN(word, 20));
            return moe_fail(error, MOE_ERROR_INPUT, "%s: '%s' is not the length of a sequence",
                            where, shown);
        }
        if (!add_length(lengths, length, where, error))
            return FALSE;
        text = end;
    }
}

static gboolean read_npy(const char *path, GArray *lengths, GError **error)
{
    g_autoptr(MoeNpy) array = moe_npy_open(path, error);
    if (array == NULL)
        return FALSE;
    if (array->n_dims != 1 || array->kind == MOE_NPY_FLOAT)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: lengths must be a vector of whole numbers",
                        path);
    for (gint64 i = 0; i < array->n_elements; i++)
        if (!add_length(lengths, moe_npy_int(array, i), path, error))
            return FALSE;
    return TRUE;
}

/* Appends the integers at and below @node; inside objects follows keys[0], keys[1] ... */
static gboolean collect(JsonNode *node, char **keys, const char *where, GArray *lengths,
                        GError **error)
{
    if (JSON_NODE_HOLDS_ARRAY(node)) {
        JsonArray *array = json_node_get_array(node);
        for (guint i = 0; i < json_array_get_length(array); i++)
            if (!collect(json_array_get_element(array, i), keys, where, lengths, error))
                return FALSE;
        return TRUE;
    }
    if (JSON_NODE_HOLDS_OBJECT(node) && *keys != NULL) {
        JsonObject *object = json_node_get_object(node);
        if (!json_object_has_member(object, *keys))
            return moe_fail(error, MOE_ERROR_INPUT, "%s: there is no key '%s'", where, *keys);
        return collect(json_object_get_member(object, *keys), keys + 1, where, lengths, error);
    }
    if (json_node_get_value_type(node) != G_TYPE_INT64 || *keys != NULL)
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: no list of whole numbers is there; name the keys that lead to it, as in "
            "meta.json:sets.law.lengths",
            where);
    return add_length(lengths, json_node_get_int(node), where, error);
}

gboolean moe_import_lengths(const char *specification, GArray *lengths, GError **error)
{
    const char *json = strstr(specification, ".json");
    if (json != NULL && (json[5] == '\0' || json[5] == ':')) {
        g_autofree char *path = g_strndup(specification, (gsize)(json + 5 - specification));
        g_auto(GStrv) keys = g_strsplit(json[5] == ':' ? json + 6 : "", ".", -1);
        g_autoptr(MoeJson) root = moe_json_load(path, LARGEST_FILE, error);
        return root != NULL && collect(moe_json_root(root), keys, specification, lengths, error);
    }
    if (g_str_has_suffix(specification, ".npy"))
        return read_npy(specification, lengths, error);
    if (g_ascii_isdigit(*specification) &&
        strspn(specification, "0123456789, ") == strlen(specification))
        return parse_list(specification, "--lengths", lengths, error);
    g_autofree char *text = NULL;
    size_t length;
    if (!moe_file_read(specification, LARGEST_FILE, &text, &length, error))
        return FALSE;
    if (strlen(text) != length)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: a NUL character; lengths are text",
                        specification);
    return parse_list(moe_text_skip_mark(text, &length), specification, lengths, error);
}

gboolean moe_import_lengths_of(const char *specification, gint64 tokens, const char *what,
                               GArray *lengths, GError **error)
{
    guint before = lengths->len;
    if (specification == NULL) {
        g_array_append_val(lengths, tokens);
        return TRUE;
    }
    if (!moe_import_lengths(specification, lengths, error))
        return FALSE;
    gint64 sum = 0;
    for (guint i = before; i < lengths->len; i++)
        sum += g_array_index(lengths, gint64, i);
    if (sum != tokens)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: the lengths add up to %" G_GINT64_FORMAT
                        " tokens; %s has %" G_GINT64_FORMAT,
                        specification, sum, what, tokens);
    return TRUE;
}

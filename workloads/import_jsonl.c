#include "config.h"

#include "sim/base/file.h"
#include "sim/base/json.h"
#include "workloads/import_arrays.h"

#include <string.h>

/* A line is a server's response, as it came. Where the experts are, and how they are written:
 *
 * SGLang, for requests with return_routed_experts: a string, base64 of little-endian int32 [tokens,
 * layers, k], all num_hidden_layers of config.json, those without experts zero, k being
 * num_experts_per_tok; tokens are those that went through the model, which the last one generated
 * did not (python/sglang/srt/state_capturer/base.py and routed_experts.py, of 2026; before,
 * srt/layers/moe/routed_experts_capturer.py). Of /generate it is meta_info.routed_experts, of the
 * OpenAI endpoints sglext.routed_experts (srt/entrypoints/openai/protocol.py, class SglExt).
 *
 * vLLM, with --enable-return-routed-experts: choices[0].routed_experts, base64 of a .npy file
 * [tokens, layers, k] (vllm-project/vllm pull request 44638). Versions with prompt_routed_experts
 * beside it (docs.vllm.ai/en/v0.21.0/training/routed_experts_replay) recorded the prompt apart. */

static const char key[] = "routed_experts";

/* The string called routed_experts in @object, or in its member meta_info or sglext, or NULL. */
static JsonNode *find_here(JsonObject *object)
{
    static const char *const places[] = {"meta_info", "sglext"};
    if (!moe_json_is_null(object, key))
        return json_object_get_member(object, key);
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        JsonNode *node = json_object_get_member(object, places[i]);
        if (node != NULL && JSON_NODE_HOLDS_OBJECT(node) &&
            !moe_json_is_null(json_node_get_object(node), key))
            return json_object_get_member(json_node_get_object(node), key);
    }
    return NULL;
}

static JsonNode *find_in_choices(JsonObject *root, const char *where, GError **error)
{
    JsonArray *choices = moe_json_get_array(root, "choices", where, error);
    if (choices == NULL)
        return NULL;
    if (json_array_get_length(choices) != 1) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: %u choices; one is read per line, write each as a line of its own", where,
                 json_array_get_length(choices));
        return NULL;
    }
    g_autofree char *inside = g_strconcat(where, ": choices[0]", NULL);
    JsonObject *choice = moe_json_object(json_array_get_element(choices, 0), inside, error);
    JsonNode *node = choice != NULL ? find_here(choice) : NULL;
    if (choice != NULL && node == NULL)
        moe_fail(error, MOE_ERROR_INPUT, "%s: there is no routed_experts", inside);
    return node;
}

static const char *find_text(const MoeJson *json, const char *where, GError **error)
{
    JsonObject *root = moe_json_object(moe_json_root(json), where, error);
    if (root == NULL)
        return NULL;
    if (!moe_json_is_null(root, "prompt_routed_experts")) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: prompt_routed_experts: the prompt's experts are apart here; join both arrays "
                 "(np.concatenate) and save them as .npy or .npz",
                 where);
        return NULL;
    }
    JsonNode *node = find_here(root);
    if (node == NULL && !moe_json_is_null(root, "choices")) {
        node = find_in_choices(root, where, error);
        if (node == NULL)
            return NULL;
    }
    if (node == NULL || json_node_get_value_type(node) != G_TYPE_STRING) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: %s; servers write it as a string when they are asked for the experts "
                 "(SGLang: return_routed_experts)",
                 where,
                 node == NULL ? "there is no meta_info.routed_experts"
                              : "routed_experts is not a string of base64");
        return NULL;
    }
    return json_node_get_string(node);
}

/* What @text stands for; NULL with MOE_ERROR_INPUT where it is not base64 (RFC 4648), which GLib
 * would not say. */
static GBytes *decode(const char *text, const char *where, GError **error)
{
    gsize length = strlen(text), n = 0, bytes;
    while (g_ascii_isalnum(text[n]) || text[n] == '+' || text[n] == '/')
        n++;
    gsize end = n + strspn(text + n, "=");
    if (end != length || end - n > 2 || length % 4 != 0) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: routed_experts: character %" G_GSIZE_FORMAT " of %" G_GSIZE_FORMAT
                 ": not base64",
                 where, end, length);
        return NULL;
    }
    guchar *data = length > 0 ? g_base64_decode(text, &bytes) : NULL;
    return g_bytes_new_take(data, length > 0 ? bytes : 0);
}

/* The ids of SGLang's bare int32, whose shape is not in the file. */
static MoeNpy *read_plain(GBytes *bytes, const MoeImport *import, const char *where, GError **error)
{
    gint64 layers = import->n_layers, k = import->top_k;
    if (layers == 0 && import->shape != NULL)
        layers = import->shape->num_hidden_layers;
    if (layers == 0 || k == 0) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: routed_experts: the line does not say how many layers and choices a token "
                 "has; name the model with --model, or give --layers and --top-k",
                 where);
        return NULL;
    }
    gint64 size = (gint64)g_bytes_get_size(bytes), token = 4 * layers * k;
    if (size % token != 0) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: routed_experts: %" G_GINT64_FORMAT " bytes are no whole number of tokens of "
                 "%" G_GINT64_FORMAT " layers x %" G_GINT64_FORMAT
                 " choices x 4 bytes; is it another model?",
                 where, size, layers, k);
        return NULL;
    }
    MoeNpy *array = g_new0(MoeNpy, 1);
    *array = (MoeNpy){.kind = MOE_NPY_SIGNED,
                      .size = 4,
                      .n_dims = 3,
                      .dims = {size / token, layers, k},
                      .n_elements = size / 4,
                      .data = g_bytes_get_data(bytes, NULL),
                      .owner = g_bytes_ref(bytes),
                      .free_owner = (GDestroyNotify)g_bytes_unref};
    return array;
}

static gboolean add_line(const char *line, gsize length, const char *where, const MoeImport *import,
                         GPtrArray *arrays, GError **error)
{
    g_autoptr(MoeJson) json = moe_json_parse(line, length, where, error);
    const char *text = json != NULL ? find_text(json, where, error) : NULL;
    g_autoptr(GBytes) bytes = text != NULL ? decode(text, where, error) : NULL;
    if (bytes == NULL)
        return FALSE;
    gsize size = g_bytes_get_size(bytes);
    gboolean npy = size >= 6 && memcmp(g_bytes_get_data(bytes, NULL), "\x93NUMPY", 6) == 0;
    MoeNpy *ids = npy ? moe_npy_read(bytes, where, error) : read_plain(bytes, import, where, error);
    return ids != NULL && moe_import_add(arrays, where, ids, FALSE, error);
}

gboolean moe_import_open_jsonl(const char *path, const MoeImport *import, GPtrArray *arrays,
                               GError **error)
{
    g_autoptr(GMappedFile) file = moe_file_map(path, error);
    if (file == NULL)
        return FALSE;
    const char *at = g_mapped_file_get_contents(file), *end = at + g_mapped_file_get_length(file);
    for (guint number = 1; at < end; number++) {
        const char *stop = memchr(at, '\n', (gsize)(end - at));
        stop = stop != NULL ? stop : end;
        const char *first = at;
        while (first < stop && g_ascii_isspace(*first))
            first++;
        g_autofree char *where = g_strdup_printf("%s:%u", path, number);
        if (first < stop && !add_line(at, (gsize)(stop - at), where, import, arrays, error))
            return FALSE;
        at = stop + 1;
    }
    return arrays->len > 0 || moe_fail(error, MOE_ERROR_INPUT, "%s: there is no line", path);
}

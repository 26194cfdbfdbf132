#include "config.h"

#include "workloads/batch.h"

#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/text.h"

#include <string.h>

enum { LARGEST_TEXT = 1 << 30 };

typedef struct {
    const MoeTokenizer *tokenizer;
    gsize length, most;
    gboolean special;
    GArray *ids;     /* guint32 */
    GArray *offsets; /* gsize */
    GString *description;
} Builder;

static gboolean is_full(const Builder *b)
{
    return b->most > 0 && b->ids->len >= b->most;
}

/* Encodes @text, or, when only @need tokens of it are wanted, as much of it as gives them: a token
 * is rarely longer than some bytes, and a margin keeps the cut away from what is used. */
static gboolean encode(const Builder *b, const char *text, gsize length, gsize need, GArray *ids,
                       GError **error)
{
    const gsize margin = 256;
    for (gsize part = (need + margin) * 8; need > 0 && part < length; part *= 2) {
        while (part < length && ((guchar)text[part] & 0xC0) == 0x80)
            part++;
        g_array_set_size(ids, 0);
        if (!moe_tokenizer_encode(b->tokenizer, text, part, b->special, ids, error))
            return FALSE;
        if (ids->len >= need + margin)
            return TRUE;
    }
    g_array_set_size(ids, 0);
    return moe_tokenizer_encode(b->tokenizer, text, length, b->special, ids, error);
}

static gboolean add_document(Builder *b, const char *text, gsize length, GError **error)
{
    if (is_full(b))
        return TRUE;
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    gsize need = b->most > 0 ? b->most - b->ids->len : 0;
    if (!encode(b, text, length, need, ids, error))
        return FALSE;
    gsize n = b->most > 0 ? MIN(ids->len, need) : ids->len;
    for (gsize at = 0; at < n; at += b->length) {
        gsize here = MIN(b->length, n - at);
        g_array_append_vals(b->ids, &g_array_index(ids, guint32, at), (guint)here);
        gsize end = b->ids->len;
        g_array_append_val(b->offsets, end);
    }
    return TRUE;
}

static gboolean add_json_line(Builder *b, const char *where, const char *line, gsize length,
                              GError **error)
{
    g_autoptr(MoeJson) json = moe_json_parse(line, length, where, error);
    JsonObject *object = json != NULL ? moe_json_object(moe_json_root(json), where, error) : NULL;
    if (object == NULL || moe_json_get_string(object, "text", where, error) == NULL)
        return FALSE;
    GString *document = moe_json_text(json, json_object_get_member(object, "text"));
    gboolean good = add_document(b, document->str, document->len, error);
    g_string_free(document, TRUE);
    if (!good)
        g_prefix_error(error, "%s: ", where);
    return good;
}

static gboolean add_json_lines(Builder *b, const char *path, const char *text, gsize size,
                               GError **error)
{
    gsize length;
    int number = 1;
    for (gsize at = 0; at < size && !is_full(b); at += length + 1, number++) {
        const char *line = text + at, *end = memchr(line, '\n', size - at);
        length = end != NULL ? (gsize)(end - line) : size - at;
        g_autofree char *where = g_strdup_printf("%s:%d", path, number);
        if (memchr(line, '\0', length) != NULL)
            return moe_fail(error, MOE_ERROR_INPUT, "%s: a NUL character; write \\u0000", where);
        if (strspn(line, " \t\r\n") < length && !add_json_line(b, where, line, length, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean add_file(Builder *b, const char *path, GError **error)
{
    g_autofree char *text = NULL;
    size_t length;
    guint before = b->ids->len;
    if (is_full(b))
        return TRUE;
    if (!moe_file_read(path, LARGEST_TEXT, &text, &length, error))
        return FALSE;
    g_autofree char *digest =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)text, length);
    const char *content = moe_text_skip_mark(text, &length);
    if (g_str_has_suffix(path, ".jsonl")) {
        if (!add_json_lines(b, path, content, length, error))
            return FALSE;
    } else if (!add_document(b, content, length, error)) {
        g_prefix_error(error, "%s: ", path);
        return FALSE;
    }
    g_autofree char *name = g_path_get_basename(path);
    g_string_append_printf(b->description, "%s%s (%u tokens, sha256:%.16s)",
                           b->description->len > 0 ? ", " : "", name, b->ids->len - before, digest);
    return TRUE;
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static gboolean add_folder(Builder *b, const char *path, GError **error)
{
    g_autoptr(GError) inner = NULL;
    g_autoptr(GDir) folder = g_dir_open(path, 0, &inner);
    if (folder == NULL)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: cannot be read: %s", path, inner->message);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;
    while ((name = g_dir_read_name(folder)) != NULL)
        if (g_str_has_suffix(name, ".txt") || g_str_has_suffix(name, ".jsonl"))
            g_ptr_array_add(names, g_build_filename(path, name, NULL));
    g_ptr_array_sort(names, compare_strings);
    if (names->len == 0)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: the folder holds no .txt or .jsonl file",
                        path);
    for (guint i = 0; i < names->len; i++)
        if (!add_file(b, names->pdata[i], error))
            return FALSE;
    return TRUE;
}

static void builder_clear(Builder *b)
{
    g_array_unref(b->ids);
    g_array_unref(b->offsets);
    g_string_free(b->description, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Builder, builder_clear)

static Builder new_builder(const MoeTokenizer *tokenizer, gsize length, gsize most,
                           gboolean special)
{
    Builder b = {tokenizer,
                 length,
                 most,
                 special,
                 g_array_new(FALSE, FALSE, sizeof(guint32)),
                 g_array_new(FALSE, TRUE, sizeof(gsize)),
                 g_string_new(NULL)};
    g_array_set_size(b.offsets, 1);
    return b;
}

static MoeBatch *finish(Builder *b, GError **error)
{
    if (b->ids->len == 0) {
        moe_fail(error, MOE_ERROR_INPUT, "the texts hold no tokens");
        return NULL;
    }
    MoeBatch *batch = g_new0(MoeBatch, 1);
    batch->n_tokens = b->ids->len;
    batch->n_sequences = b->offsets->len - 1;
    batch->ids = g_memdup2(b->ids->data, b->ids->len * sizeof(guint32));
    batch->offsets = g_memdup2(b->offsets->data, b->offsets->len * sizeof(gsize));
    batch->description = g_strdup(b->description->str);
    return batch;
}

MoeBatch *moe_batch_read(const MoeTokenizer *tokenizer, const char *const *paths, gsize length,
                         gsize most_tokens, gboolean special, GError **error)
{
    g_auto(Builder) b = new_builder(tokenizer, length, most_tokens, special);
    for (; *paths != NULL; paths++) {
        gboolean folder = g_file_test(*paths, G_FILE_TEST_IS_DIR);
        if (!(folder ? add_folder(&b, *paths, error) : add_file(&b, *paths, error)))
            return NULL;
    }
    return finish(&b, error);
}

MoeBatch *moe_batch_encode(const MoeTokenizer *tokenizer, const char *const *texts,
                           gboolean special, GError **error)
{
    g_auto(Builder) b = new_builder(tokenizer, G_MAXUINT, 0, special);
    for (; *texts != NULL; texts++) {
        guint before = b.ids->len;
        if (!add_document(&b, *texts, strlen(*texts), error))
            return NULL;
        g_string_append_printf(b.description, "%sprompt of %u tokens",
                               b.description->len > 0 ? ", " : "", b.ids->len - before);
    }
    return finish(&b, error);
}

MoeBatch *moe_batch_pair(const MoeBatch *text, const MoeBatch *target, gboolean cut, guint32 start,
                         GError **error)
{
    const MoeBatch *read = target != NULL ? target : text;
    gsize n = text->n_sequences, encoded = text->n_tokens;
    if (read->n_sequences < n || (read->n_sequences > n && !cut)) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "the text has %" G_GSIZE_FORMAT " sequences, its target %" G_GSIZE_FORMAT
                 "; each needs one of its own",
                 n, read->n_sequences);
        return NULL;
    }
    MoeBatch *batch = g_new0(MoeBatch, 1);
    batch->n_tokens = encoded + read->offsets[n];
    batch->n_sequences = 2 * n;
    batch->n_encoded = n;
    batch->ids = g_new(guint32, batch->n_tokens);
    batch->offsets = g_new(gsize, 2 * n + 1);
    memcpy(batch->ids, text->ids, encoded * sizeof(guint32));
    memcpy(batch->offsets, text->offsets, (n + 1) * sizeof(gsize));
    for (gsize s = 0; s < n; s++) {
        gsize from = read->offsets[s], length = read->offsets[s + 1] - from;
        guint32 *to = batch->ids + encoded + from;
        batch->offsets[n + s + 1] = encoded + from + length;
        if (length == 0)
            continue;
        to[0] = start;
        memcpy(to + 1, read->ids + from, (length - 1) * sizeof(guint32));
    }
    batch->description =
        target != NULL
            ? g_strdup_printf("%s; for the decoder: %s", text->description, target->description)
            : g_strdup_printf("%s; for the decoder: the same", text->description);
    return batch;
}

void moe_batch_free(MoeBatch *batch)
{
    if (batch == NULL)
        return;
    g_free(batch->ids);
    g_free(batch->offsets);
    g_free(batch->description);
    g_free(batch);
}

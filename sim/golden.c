#include "config.h"

#include "sim/golden.h"

#include "models/forward.h"
#include "models/safetensors.h"
#include "models/tokenizer.h"
#include "sim/base/file.h"
#include "sim/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_JSON = 256 << 20 };

/* --- tokenizers ------------------------------------------------------------------------------ */

typedef struct {
    guint ids, special, decoded, n;
    char *first; /* the first difference, in words */
} TokenizerCount;

static gboolean ids_equal(const GArray *ids, JsonArray *expected)
{
    if (expected == NULL || json_array_get_length(expected) != ids->len)
        return FALSE;
    for (guint i = 0; i < ids->len; i++)
        if (json_array_get_int_element(expected, i) != g_array_index(ids, guint32, i))
            return FALSE;
    return TRUE;
}

static gboolean check_case(const MoeTokenizer *tokenizer, const MoeJson *json, JsonObject *object,
                           const char *where, TokenizerCount *count, GError **error)
{
    JsonNode *text_node = json_object_get_member(object, "text");
    JsonNode *decoded_node = json_object_get_member(object, "decoded");
    if (moe_json_get_string(object, "text", where, error) == NULL ||
        moe_json_get_string(object, "decoded", where, error) == NULL)
        return FALSE;
    GString *text = moe_json_text(json, text_node), *decoded = moe_json_text(json, decoded_node);
    g_autoptr(GError) inner = NULL;
    for (int special = 0; special < 2; special++) {
        g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
        const char *key = special != 0 ? "with_special" : "ids";
        gboolean same =
            moe_tokenizer_encode(tokenizer, text->str, text->len, special != 0, ids, &inner) &&
            ids_equal(ids, json_object_get_array_member(object, key));
        if (!same && count->first == NULL)
            count->first =
                g_strdup_printf("; first %s: %s", where, inner != NULL ? inner->message : key);
        g_clear_error(&inner);
        *(special != 0 ? &count->special : &count->ids) += same ? 0 : 1;
        if (special != 0)
            continue;
        GString *back =
            moe_tokenizer_decode(tokenizer, (const guint32 *)(void *)ids->data, ids->len, FALSE);
        count->decoded += g_string_equal(back, decoded) ? 0 : 1;
        g_string_free(back, TRUE);
    }
    g_string_free(text, TRUE);
    g_string_free(decoded, TRUE);
    count->n++;
    return TRUE;
}

static gboolean check_tokenizer(const char *folder, const char *title, GPtrArray *checks,
                                GError **error)
{
    g_autofree char *file = g_build_filename(folder, "tokenizer.json", NULL);
    g_autofree char *cases = g_build_filename(folder, "cases.json", NULL);
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_load(file, error);
    g_autoptr(MoeJson) json = tokenizer != NULL ? moe_json_load(cases, LARGEST_JSON, error) : NULL;
    JsonObject *root = json != NULL ? moe_json_object(moe_json_root(json), cases, error) : NULL;
    JsonArray *list = root != NULL ? moe_json_get_array(root, "cases", cases, error) : NULL;
    if (list == NULL)
        return FALSE;
    TokenizerCount count = {0};
    for (guint i = 0; i < json_array_get_length(list); i++) {
        g_autofree char *where = g_strdup_printf("%s: cases[%u]", cases, i);
        JsonObject *object = moe_json_object(json_array_get_element(list, i), where, error);
        if (object == NULL || !check_case(tokenizer, json, object, where, &count, error)) {
            g_free(count.first);
            return FALSE;
        }
    }
    g_autofree char *ids = g_strconcat(title, ": ids", NULL);
    g_autofree char *special = g_strconcat(title, ": ids with special tokens", NULL);
    g_autofree char *decoded = g_strconcat(title, ": decoded text", NULL);
    const char *first = count.first != NULL ? count.first : "";
    moe_checks_add(checks, ids, count.ids, 0, "of %u texts differ%s", count.n, first);
    moe_checks_add(checks, special, count.special, 0, "of %u texts differ", count.n);
    moe_checks_add(checks, decoded, count.decoded, 0, "of %u texts differ", count.n);
    g_free(count.first);
    return TRUE;
}

/* --- stored blocks --------------------------------------------------------------------------- */

static void check_blocks(const char *title, const char *type, const MoeTensor *blocks,
                         const MoeTensor *values, GPtrArray *checks)
{
    g_autofree char *what = g_strdup_printf("%s: %s", title, type);
    int dtype = 0;
    while (dtype < MOE_DTYPE_COUNT && g_ascii_strcasecmp(moe_dtype_name(dtype), type) != 0)
        dtype++;
    if (blocks == NULL || dtype == MOE_DTYPE_COUNT) {
        moe_checks_add(checks, what, NAN, 0, "this type is not read");
        return;
    }
    gint64 n = values->n_elements, differ = 0;
    if (n % (gint64)moe_dtype_block(dtype) != 0 ||
        blocks->n_elements != (gint64)moe_dtype_row_bytes(dtype, (size_t)n)) {
        moe_checks_add(checks, what, NAN, 0, "blocks and values do not match in size");
        return;
    }
    g_autofree float *ours = g_new(float, n);
    moe_widen(dtype, blocks->data, (size_t)n, ours);
    const float *theirs = values->data;
    for (gint64 i = 0; i < n; i++)
        differ += memcmp(&ours[i], &theirs[i], sizeof(float)) != 0 &&
                  !(isnan(ours[i]) && isnan(theirs[i]));
    moe_checks_add(checks, what, (double)differ, 0, "of %" G_GINT64_FORMAT " values differ", n);
}

/* Whether @file holds stored blocks; appends their rows then. */
static gboolean check_all_blocks(const MoeSafetensors *file, const char *title, GPtrArray *checks)
{
    guint n, found = 0;
    const MoeTensor *tensors = moe_safetensors_tensors(file, &n);
    for (guint i = 0; i < n; i++) {
        if (!g_str_has_suffix(tensors[i].name, ".values") || tensors[i].type != MOE_ST_F32)
            continue;
        g_autofree char *type =
            g_strndup(tensors[i].name, strlen(tensors[i].name) - strlen(".values"));
        g_autofree char *blocks = g_strconcat(type, ".blocks", NULL);
        const MoeTensor *stored = moe_safetensors_find(file, blocks);
        /* All codes of one byte, 0 to 255, serve both 8-bit floats. */
        if (stored == NULL && g_str_has_prefix(type, "F8_"))
            stored = moe_safetensors_find(file, "F8_E4M3.codes");
        check_blocks(title, type, stored, &tensors[i], checks);
        found++;
    }
    return found > 0;
}

/* --- models ---------------------------------------------------------------------------------- */

/* The batch that the reference ran. */
typedef struct {
    guint32 *ids;
    gsize *offsets;
    gsize n_sequences, n_encoded;
} Batch;

/* What a run is compared with, and where the rows go. */
typedef struct {
    const char *title;
    const MoeSafetensors *file;
    const MoeModelShape *shape;
    const Batch *batch;
    GPtrArray *checks;
    /* Tokens that saw one whose tie was decided otherwise, in the block before or further up: what
     * the reference has of them is of another course of things. */
    guint8 *apart; /* [tokens of the batch] */
} Comparison;

/* The tensor @name of block @layer; of an encoder and a decoder, each counts its own. */
static char *full_name(const Comparison *c, int layer, const char *name)
{
    static const char *const stacks[] = {"encoder.", "decoder."};
    int stack = moe_model_stack(c->shape, layer);
    gboolean encodes = c->shape->encoder_layers > 0;
    return g_strdup_printf("%slayers.%d.%s", encodes ? stacks[stack] : "",
                           layer - (stack == 1 ? (int)c->shape->encoder_layers : 0), name);
}

/* A tensor of @n integers of any width, as gint64; NULL with MOE_ERROR_INPUT. */
static gint64 *integers(const MoeTensor *tensor, const char *where, const char *name, gint64 n,
                        GError **error)
{
    const guint types = 1U << MOE_ST_I32 | 1U << MOE_ST_I16 | 1U << MOE_ST_U16 | 1U << MOE_ST_I64 |
                        1U << MOE_ST_U32;
    if (tensor != NULL && tensor->n_elements != n) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: tensor '%s' has %" G_GINT64_FORMAT
                 " elements; it must have %" G_GINT64_FORMAT,
                 where, name, tensor->n_elements, n);
        return NULL;
    }
    const gint64 *dims = tensor != NULL ? tensor->dims : NULL;
    if (!moe_tensor_check(tensor, where, name, types, tensor != NULL ? tensor->n_dims : 0, dims,
                          error))
        return NULL;
    gint64 *out = g_new(gint64, MAX(n, 1));
    for (gint64 i = 0; i < n; i++) {
        switch (tensor->type) {
        case MOE_ST_I16:
            out[i] = ((const gint16 *)tensor->data)[i];
            break;
        case MOE_ST_U16:
            out[i] = ((const guint16 *)tensor->data)[i];
            break;
        case MOE_ST_I64:
            out[i] = ((const gint64 *)tensor->data)[i];
            break;
        default:
            out[i] = ((const gint32 *)tensor->data)[i];
        }
    }
    return out;
}

/* Rows of tokens behind a tie are left out. @tokens: which tokens the rows are of; NULL: those from
 * @first on. */
static gboolean compare_floats(const Comparison *c, const MoeTensor *expected, const char *name,
                               const float *ours, gint64 rows, gint64 cols, gsize first,
                               const gsize *tokens, GError **error)
{
    const gint64 dims[] = {rows, cols};
    if (!moe_tensor_check(expected, moe_safetensors_path(c->file), name, 1U << MOE_ST_F32, 2, dims,
                          error))
        return FALSE;
    const float *theirs = expected->data;
    double worst = 0, largest = 0;
    gint64 compared = 0;
    for (gint64 r = 0; r < rows; r++) {
        gboolean apart = c->apart[tokens != NULL ? tokens[r] : first + (gsize)r] != 0;
        compared += apart ? 0 : 1;
        for (gint64 i = r * cols; i < (r + 1) * cols; i++) {
            double difference = apart ? 0 : fabs((double)ours[i] - theirs[i]);
            worst = difference > worst || isnan(difference) ? difference : worst;
            largest = fmax(largest, fabs((double)theirs[i]));
        }
    }
    g_autofree char *what = g_strdup_printf("%s: %s", c->title, name);
    g_autofree char *left_out =
        compared < rows
            ? g_strdup_printf("; %" G_GINT64_FORMAT " rows behind a tie left out", rows - compared)
            : NULL;
    /* Rows that are all left out agree with nothing. */
    double error_share = rows > 0 && compared == 0 ? NAN : rows * cols == 0 ? 0 : worst / largest;
    moe_checks_add(c->checks, what, error_share, 1e-4, "of the largest absolute value%s",
                   left_out != NULL ? left_out : "");
    return TRUE;
}

static int falling(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* How far the k-th and the next probability of one token are apart in the reference. */
static double decision_margin(const float *logits, gint64 n_experts, gint64 k, double *scratch)
{
    double max = -INFINITY, sum = 0;
    for (gint64 e = 0; e < n_experts; e++)
        max = fmax(max, (double)logits[e]);
    for (gint64 e = 0; e < n_experts; e++)
        sum += scratch[e] = exp(logits[e] - max);
    qsort(scratch, (size_t)n_experts, sizeof(double), falling);
    return k == n_experts ? INFINITY : (scratch[k - 1] - scratch[k]) / sum;
}

/* The weight that our routing gives @expert, or NaN when it did not choose it. */
static double weight_of(const MoeRouting *routing, gint64 k, gsize token, gint64 expert)
{
    for (gint64 j = 0; j < k; j++)
        if (routing->experts[token * k + j] == expert)
            return routing->weights[token * k + j];
    return NAN;
}

/* From @token on, its sequence goes another way than the reference's; in an encoder all of it, and
 * what the decoder reads behind it. */
static void set_apart(const Comparison *c, gsize token)
{
    const gsize *offsets = c->batch->offsets;
    gsize s = 0, n_encoded = c->batch->n_encoded;
    while (offsets[s + 1] <= token)
        s++;
    gsize from = s < n_encoded ? offsets[s] : token;
    memset(c->apart + from, 1, offsets[s + 1] - from);
    if (s < n_encoded)
        memset(c->apart + offsets[n_encoded + s], 1,
               offsets[n_encoded + s + 1] - offsets[n_encoded + s]);
}

static void compare_experts(const Comparison *c, const MoeRouting *routing, const gint64 *experts,
                            const float *weights, const float *logits)
{
    gint64 k = c->shape->num_experts_per_tok, E = c->shape->num_experts;
    g_autofree double *scratch = g_new(double, E);
    g_autoptr(GArray) ties = g_array_new(FALSE, FALSE, sizeof(gsize));
    guint differ = 0;
    double worst = 0, largest = 1; /* DeepSeek-V2 multiplies its weights by 16 */
    for (gsize t = 0; t < routing->n_tokens; t++) {
        gboolean same = TRUE;
        if (c->apart[routing->first_token + t] != 0)
            continue;
        double worst_here = 0;
        for (gint64 j = 0; j < k; j++) {
            largest = fmax(largest, fabs((double)weights[t * k + j]));
            double ours = weight_of(routing, k, t, experts[t * k + j]);
            same = same && !isnan(ours);
            worst_here = fmax(worst_here, fabs(ours - weights[t * k + j]));
        }
        gboolean tie = decision_margin(logits + t * E, E, k, scratch) <= 1e-5;
        if (same)
            worst = fmax(worst, worst_here);
        else if (tie)
            g_array_append_val(ties, t);
        else
            differ++;
    }
    for (guint i = 0; i < ties->len; i++)
        set_apart(c, routing->first_token + g_array_index(ties, gsize, i));
    g_autofree char *sets_name = full_name(c, routing->layer, "experts");
    g_autofree char *weights_name = full_name(c, routing->layer, "weights");
    g_autofree char *sets = g_strdup_printf("%s: %s", c->title, sets_name);
    g_autofree char *what = g_strdup_printf("%s: %s", c->title, weights_name);
    moe_checks_add(c->checks, sets, differ, 0,
                   "of %" G_GSIZE_FORMAT " sets differ; %u more at ties", routing->n_tokens,
                   ties->len);
    moe_checks_add(c->checks, what, worst / largest, 1e-5, "of the largest weight, or of 1");
}

/* What capacity refused; a reference that says nothing drops nothing. */
static gboolean compare_dropped(const Comparison *c, const MoeRouting *routing, GError **error)
{
    g_autofree char *name = full_name(c, routing->layer, "dropped");
    const MoeTensor *theirs = moe_safetensors_find(c->file, name);
    const gint64 dims[] = {(gint64)routing->n_tokens, c->shape->num_experts_per_tok};
    if (theirs == NULL && routing->dropped == NULL)
        return TRUE;
    if (theirs != NULL && !moe_tensor_check(theirs, moe_safetensors_path(c->file), name,
                                            1U << MOE_ST_U8, 2, dims, error))
        return FALSE;
    guint differ = 0, n = 0;
    for (gint64 p = 0; p < dims[0] * dims[1]; p++) {
        gboolean ours = routing->dropped != NULL && routing->dropped[p] != 0;
        if (c->apart[routing->first_token + (gsize)(p / dims[1])] != 0)
            continue;
        n += ours ? 1 : 0;
        differ += ours != (theirs != NULL && ((const guint8 *)theirs->data)[p] != 0) ? 1 : 0;
    }
    g_autofree char *what = g_strdup_printf("%s: %s", c->title, name);
    moe_checks_add(c->checks, what, differ, 0, "of %" G_GINT64_FORMAT " pairs differ; %u dropped",
                   dims[0] * dims[1], n);
    return TRUE;
}

static gboolean compare_layer(void *user, const MoeRouting *routing, GError **error)
{
    const Comparison *c = user;
    const char *where = moe_safetensors_path(c->file);
    gint64 T = (gint64)routing->n_tokens, k = c->shape->num_experts_per_tok;
    g_autofree char *hidden_name = full_name(c, routing->layer, "hidden");
    g_autofree char *logits_name = full_name(c, routing->layer, "router_logits");
    g_autofree char *weights_name = full_name(c, routing->layer, "weights");
    g_autofree char *experts_name = full_name(c, routing->layer, "experts");
    const MoeTensor *hidden = moe_safetensors_find(c->file, hidden_name);
    const MoeTensor *logits = moe_safetensors_find(c->file, logits_name);
    const MoeTensor *weights = moe_safetensors_find(c->file, weights_name);
    gsize first = routing->first_token;
    if (hidden != NULL && !compare_floats(c, hidden, hidden_name, routing->hidden, T,
                                          c->shape->hidden_size, first, NULL, error))
        return FALSE;
    if (!compare_floats(c, logits, logits_name, routing->logits, T, c->shape->num_experts, first,
                        NULL, error))
        return FALSE;
    const gint64 dims[] = {T, k};
    if (!moe_tensor_check(weights, where, weights_name, 1U << MOE_ST_F32, 2, dims, error))
        return FALSE;
    g_autofree gint64 *experts =
        integers(moe_safetensors_find(c->file, experts_name), where, experts_name, T * k, error);
    if (experts == NULL)
        return FALSE;
    compare_experts(c, routing, experts, weights->data, logits->data);
    return compare_dropped(c, routing, error);
}

/* Appends the sequences of @prefix tokens.id and sequences.offsets to @ids and @ends. */
static gboolean read_sequences(const MoeSafetensors *file, const char *prefix, GArray *ids,
                               GArray *ends, GError **error)
{
    const char *where = moe_safetensors_path(file);
    g_autofree char *ids_name = g_strconcat(prefix, "tokens.id", NULL);
    g_autofree char *offsets_name = g_strconcat(prefix, "sequences.offsets", NULL);
    const MoeTensor *tokens = moe_safetensors_find(file, ids_name);
    const MoeTensor *offsets = moe_safetensors_find(file, offsets_name);
    g_autofree gint64 *id =
        integers(tokens, where, ids_name, tokens != NULL ? tokens->n_elements : 0, error);
    g_autofree gint64 *offset = id != NULL
                                    ? integers(offsets, where, offsets_name,
                                               offsets != NULL ? offsets->n_elements : 0, error)
                                    : NULL;
    if (offset == NULL)
        return FALSE;
    gint64 n = offsets->n_elements - 1, n_ids = tokens->n_elements;
    gboolean good = n >= 1 && offset[0] == 0 && offset[n] == n_ids;
    for (gint64 s = 0; s < n && good; s++)
        good = offset[s] <= offset[s + 1];
    for (gint64 t = 0; t < n_ids && good; t++)
        good = id[t] >= 0 && id[t] <= G_MAXUINT32;
    if (!good)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %s must rise from 0 to the number of tokens, and ids be positive",
                        where, offsets_name);
    gsize first = ids->len;
    for (gint64 t = 0; t < n_ids; t++) {
        guint32 one = (guint32)id[t];
        g_array_append_val(ids, one);
    }
    for (gint64 s = 1; s <= n; s++) {
        gsize end = first + (gsize)offset[s];
        g_array_append_val(ends, end);
    }
    return TRUE;
}

static gboolean read_batch(const MoeSafetensors *file, gboolean encodes, Batch *batch,
                           GError **error)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, TRUE, sizeof(guint32));
    g_autoptr(GArray) offsets = g_array_new(FALSE, TRUE, sizeof(gsize));
    g_array_set_size(offsets, 1);
    if (!read_sequences(file, "", ids, offsets, error))
        return FALSE;
    batch->n_encoded = encodes ? offsets->len - 1 : 0;
    if (encodes && !read_sequences(file, "decoder.", ids, offsets, error))
        return FALSE;
    batch->n_sequences = offsets->len - 1;
    batch->ids = (guint32 *)(void *)g_array_free(g_steal_pointer(&ids), FALSE);
    batch->offsets = (gsize *)(void *)g_array_free(g_steal_pointer(&offsets), FALSE);
    return TRUE;
}

/* MANIFEST.json's texts, tokenised and cut at the model's length, must be the batch. */
static gboolean check_texts(const Comparison *c, JsonArray *texts, const MoeModel *model,
                            const Batch *batch, GError **error)
{
    g_autoptr(MoeTokenizer) tokenizer = moe_model_tokenizer(model, error);
    if (tokenizer == NULL)
        return FALSE;
    guint differ = 0, n = json_array_get_length(texts);
    for (guint i = 0; i < n; i++) {
        const char *text = json_array_get_string_element(texts, i);
        g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
        if (text == NULL || !moe_tokenizer_encode(tokenizer, text, strlen(text), FALSE, ids, error))
            return FALSE;
        gsize length = MIN(ids->len, (gsize)model->shape.max_position_embeddings);
        gboolean same =
            i < batch->n_sequences && batch->offsets[i + 1] - batch->offsets[i] == length &&
            memcmp(ids->data, batch->ids + batch->offsets[i], length * sizeof(guint32)) == 0;
        differ += same ? 0 : 1;
    }
    g_autofree char *what = g_strdup_printf("%s: texts tokenised", c->title);
    moe_checks_add(c->checks, what, differ, 0, "of %u texts differ", n);
    return TRUE;
}

/* Which tokens' logits the reference kept: all, or every 16th of each sequence. */
static GArray *head_tokens(const MoeSafetensors *file, const Batch *batch,
                           const MoeTensor **logits_out)
{
    GArray *tokens = g_array_new(FALSE, FALSE, sizeof(gsize));
    *logits_out = moe_safetensors_find(file, "logits");
    gsize step = 1;
    if (*logits_out == NULL) {
        *logits_out = moe_safetensors_find(file, "logits_every_16");
        step = 16;
    }
    if (*logits_out != NULL)
        for (gsize s = batch->n_encoded; s < batch->n_sequences; s++)
            for (gsize t = batch->offsets[s]; t < batch->offsets[s + 1]; t += step)
                g_array_append_val(tokens, t);
    return tokens;
}

static gboolean run_model(Comparison *c, const MoeModel *model, const Batch *batch,
                          MoeProgress *progress, GError **error)
{
    g_autoptr(MoeWeights) weights = moe_weights_open(model->path, error);
    if (weights == NULL)
        return FALSE;
    const MoeTensor *logits;
    g_autoptr(GArray) tokens = head_tokens(c->file, batch, &logits);
    g_autofree float *head = g_new(float, (gsize)tokens->len *(gsize)model->shape.vocab_size + 1);
    const MoeForward job = {
        .model = model,
        .weights = weights,
        .ids = batch->ids,
        .n_sequences = batch->n_sequences,
        .offsets = batch->offsets,
        .n_encoded = batch->n_encoded,
        .routing = compare_layer,
        .user = c,
        .want_hidden = TRUE,
        .want_logits = TRUE,
        .head_tokens = (const gsize *)(void *)tokens->data,
        .n_head_tokens = tokens->len,
        .head_out = head,
        .progress = progress,
    };
    if (!moe_forward(&job, error))
        return FALSE;
    return logits == NULL ||
           compare_floats(c, logits, logits->name, head, tokens->len, model->shape.vocab_size, 0,
                          (const gsize *)(void *)tokens->data, error);
}

/* The model beside the golden file, or the one that MANIFEST.json or the caller names. */
static MoeModel *find_model(const char *folder, const char *model, JsonArray **texts_out,
                            MoeJson **manifest_out, GError **error)
{
    static const char *const files[] = {"config.json", "model.gguf"};
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *file = g_build_filename(folder, files[i], NULL);
        if (g_file_test(file, G_FILE_TEST_EXISTS))
            return moe_model_load(file, NULL, error);
    }
    g_autofree char *path = g_build_filename(folder, "MANIFEST.json", NULL);
    *manifest_out = moe_json_load(path, LARGEST_JSON, error);
    JsonObject *root =
        *manifest_out != NULL ? moe_json_object(moe_json_root(*manifest_out), path, error) : NULL;
    const char *name = root != NULL ? moe_json_get_string(root, "model", path, error) : NULL;
    if (name == NULL)
        return NULL;
    if (json_object_has_member(root, "texts") &&
        (*texts_out = moe_json_get_array(root, "texts", path, error)) == NULL)
        return NULL;
    MoeModel *loaded = moe_model_load(model != NULL ? model : name, NULL, error);
    if (loaded == NULL)
        g_prefix_error(error, "%s names the model '%s'; --model can name its folder: ", path, name);
    return loaded;
}

static gboolean check_model(const char *folder, const char *title, const char *name,
                            const MoeSafetensors *file, GPtrArray *checks, MoeProgress *progress,
                            GError **error)
{
    JsonArray *texts = NULL;
    g_autoptr(MoeJson) manifest = NULL; /* the texts are its own */
    g_autoptr(MoeModel) model = find_model(folder, name, &texts, &manifest, error);
    if (model == NULL)
        return FALSE;
    if (model->family == NULL)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: has shapes but no weights; give a model folder", model->path);
    Batch batch = {0};
    gboolean good = read_batch(file, model->shape.encoder_layers > 0, &batch, error);
    if (good) {
        g_autofree guint8 *apart = g_new0(guint8, batch.offsets[batch.n_sequences] + 1);
        Comparison c = {title, file, &model->shape, &batch, checks, apart};
        good = (texts == NULL || check_texts(&c, texts, model, &batch, error)) &&
               run_model(&c, model, &batch, progress, error);
    }
    g_free(batch.ids);
    g_free(batch.offsets);
    return good;
}

gboolean moe_golden_check(const char *folder, const char *model, GPtrArray *checks,
                          MoeProgress *progress, GError **error)
{
    g_autofree char *full = g_canonicalize_filename(folder, NULL);
    g_autofree char *title = g_path_get_basename(full);
    g_autofree char *cases = g_build_filename(folder, "cases.json", NULL);
    if (g_file_test(cases, G_FILE_TEST_EXISTS))
        return check_tokenizer(folder, title, checks, error);
    g_autofree char *golden = g_build_filename(folder, "golden.safetensors", NULL);
    if (!g_file_test(golden, G_FILE_TEST_EXISTS))
        return moe_fail(
            error, MOE_ERROR_INPUT,
            "%s: neither cases.json nor golden.safetensors is there; this is no golden folder",
            folder);
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(golden, error);
    if (file == NULL)
        return FALSE;
    if (check_all_blocks(file, title, checks))
        return TRUE;
    return check_model(folder, title, model, file, checks, progress, error);
}

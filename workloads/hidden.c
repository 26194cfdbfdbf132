#include "config.h"

#include "workloads/hidden.h"

#include "kernels/linear.h"
#include "kernels/norm.h"
#include "models/family.h"
#include "models/safetensors.h"
#include "workloads/import.h"
#include "workloads/npy.h"

#include <stdlib.h>
#include <string.h>

/* What the states of block L are called: before and behind L. */
typedef struct {
    const char *before, *behind;
} Name;

static const Name files[] = {{"layer_", ".npy"}, {"layers.", ".hidden.npy"}};
static const Name tensors[] = {{"layers.", ".hidden"}};

/* The states of one block. */
typedef struct {
    char *name; /* for messages */
    MoeDtype dtype;
    gint64 n_tokens;
    const guint8 *data; /* [n_tokens, hidden], perhaps unaligned */
    MoeNpy *npy;        /* that holds them; NULL: a safetensors file does */
} States;

static void states_clear(States *states)
{
    g_free(states->name);
    moe_npy_free(states->npy);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(States, states_clear)

typedef struct {
    const MoeHidden *job;
    const MoeModelShape *shape;
    MoeSafetensors *file; /* NULL: states is a folder */
    MoeWeights *weights;
    MoeTrace *trace;
    gint64 n_tokens; /* 0: no block was read yet */
} Run;

/* --- where the states are -------------------------------------------------------------------- */

static char *file_name(const Run *run, const Name *name, gint64 block)
{
    g_autofree char *base =
        g_strdup_printf("%s%" G_GINT64_FORMAT "%s", name->before, block, name->behind);
    return g_build_filename(run->job->states, base, NULL);
}

static const MoeTensor *find_tensor(const Run *run, gint64 block)
{
    const MoeTensor *tensor = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(tensors) && tensor == NULL; i++) {
        g_autofree char *name = g_strdup_printf("%s%" G_GINT64_FORMAT "%s", tensors[i].before,
                                                block, tensors[i].behind);
        tensor = moe_safetensors_find(run->file, name);
    }
    return tensor;
}

/* The path of the file with @block's states, which the caller frees, or NULL. */
static char *find_file(const Run *run, gint64 block)
{
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        char *path = file_name(run, &files[i], block);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return path;
        g_free(path);
    }
    return NULL;
}

static gboolean missing(const Run *run, gint64 block, GError **error)
{
    if (run->file != NULL)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: there is no tensor layers.%" G_GINT64_FORMAT
                        ".hidden; every block with experts needs what its router saw",
                        run->job->states, block);
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: there is neither layer_%" G_GINT64_FORMAT
                    ".npy nor layers.%" G_GINT64_FORMAT
                    ".hidden.npy; every block with experts needs what its router saw",
                    run->job->states, block, block);
}

/* States of one block more than the model has are another model's. */
static gboolean check_last(const Run *run, GError **error)
{
    gint64 end = run->shape->num_hidden_layers;
    g_autofree char *path = run->file == NULL ? find_file(run, end) : NULL;
    if (path == NULL && (run->file == NULL || find_tensor(run, end) == NULL))
        return TRUE;
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: there is a block %" G_GINT64_FORMAT "; %s has the blocks 0 to "
                    "%" G_GINT64_FORMAT,
                    run->job->states, end, run->job->model->name, end - 1);
}

/* --- reading --------------------------------------------------------------------------------- */

static gboolean open_tensor(const Run *run, gint64 block, States *states, GError **error)
{
    const guint types = 1U << MOE_ST_F32 | 1U << MOE_ST_F16 | 1U << MOE_ST_BF16;
    const gint64 dims[] = {-1, run->shape->hidden_size};
    const MoeTensor *tensor = find_tensor(run, block);
    if (tensor == NULL)
        return missing(run, block, error);
    if (!moe_tensor_check(tensor, run->job->states, tensor->name, types, 2, dims, error))
        return FALSE;
    states->name = g_strdup_printf("%s: %s", run->job->states, tensor->name);
    states->n_tokens = tensor->dims[0];
    states->data = tensor->data;
    return moe_st_type_dtype(tensor->type, &states->dtype);
}

static gboolean open_file(const Run *run, gint64 block, States *states, GError **error)
{
    states->name = find_file(run, block);
    if (states->name == NULL)
        return missing(run, block, error);
    MoeNpy *array = states->npy = moe_npy_open(states->name, error);
    if (array == NULL)
        return FALSE;
    if (!moe_npy_dtype(array, &states->dtype) || array->n_dims != 2 ||
        array->dims[1] != run->shape->hidden_size)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: hidden states must be [tokens, %" G_GINT64_FORMAT
                        "] in f2, f4 or bfloat16",
                        states->name, run->shape->hidden_size);
    states->n_tokens = array->dims[0];
    states->data = array->data;
    return TRUE;
}

/* Opens the states of @block and holds their number against the blocks before. */
static gboolean open_states(Run *run, gint64 block, States *states, GError **error)
{
    if (!(run->file != NULL ? open_tensor : open_file)(run, block, states, error))
        return FALSE;
    if (states->n_tokens < 1 ||
        states->n_tokens * run->shape->num_experts_per_tok > (gint64)G_MAXUINT32)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GINT64_FORMAT " tokens; at least one is needed, and at most 2^32 "
                        "pairs of a token and an expert",
                        states->name, states->n_tokens);
    if (run->n_tokens != 0 && states->n_tokens != run->n_tokens)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %" G_GINT64_FORMAT
                        " tokens where the blocks before have %" G_GINT64_FORMAT,
                        states->name, states->n_tokens, run->n_tokens);
    run->n_tokens = states->n_tokens;
    return TRUE;
}

/* --- routing --------------------------------------------------------------------------------- */

/* Memory for a chunk of tokens; letters as in kernels/gate.h. */
typedef struct {
    gsize n;
    guint8 *raw;          /* [n, H] as stored, aligned */
    float *rows, *logits; /* [n, H], [n, E] */
} Chunk;

static gboolean route_chunk(const MoeBlock *block, const States *states, const Chunk *chunk,
                            gsize first, gsize n, gsize K, MoeTraceLayer *layer, GError **error)
{
    gsize H = block->router.cols, E = block->router.rows, row = H * moe_dtype_bytes(states->dtype);
    memcpy(chunk->raw, states->data + first * row, n * row);
    moe_widen(states->dtype, chunk->raw, n * H, chunk->rows);
    gsize bad = moe_find_nonfinite(MOE_F32, chunk->rows, n * H);
    if (bad != SIZE_MAX)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: element [%" G_GSIZE_FORMAT ", %" G_GSIZE_FORMAT
                        "] is not a finite number",
                        states->name, first + bad / H, bad % H);
    moe_linear_steady(n, chunk->rows, &block->router, chunk->logits);
    if (block->router_bias != NULL)
        moe_add_bias(n, E, block->router_bias, chunk->logits);
    bad = moe_find_nonfinite(MOE_F32, chunk->logits, n * E);
    if (bad != SIZE_MAX)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: the router logits of token %" G_GSIZE_FORMAT " are not finite",
                        states->name, first + bad / E);
    moe_gate(n, E, K, chunk->logits, &block->gate, (guint16 *)layer->experts + first * K,
             (float *)layer->weights + first * K);
    return TRUE;
}

static gboolean route_block(Run *run, int index, MoeTraceLayer *layer, GError **error)
{
    MoeBlock block = {0};
    g_auto(States) states = {0};
    if (!moe_family_bind_router(run->job->model, run->weights, index, &block, error) ||
        !moe_weights_check_finite(run->weights, &block.router, error) ||
        !open_states(run, index, &states, error))
        return FALSE;
    gsize H = block.router.cols, E = block.router.rows, T = (gsize)states.n_tokens;
    gsize K = (gsize)run->shape->num_experts_per_tok;
    *layer = (MoeTraceLayer){
        .layer = index,
        .n_pairs = (gint64)(T * K),
        .experts = moe_trace_alloc(run->trace, T * K * sizeof(guint16)),
        .weights = moe_trace_alloc(run->trace, T * K * sizeof(float)),
        .weights_dtype = MOE_F32,
    };
    gsize budget = 64 << 20, per_token = (2 * H + E) * sizeof(float);
    Chunk chunk = {.n = MIN(CLAMP(budget / per_token, 16, 8192), T)};
    chunk.raw = moe_scratch(chunk.n * H * sizeof(float));
    chunk.rows = moe_scratch(chunk.n * H * sizeof(float));
    chunk.logits = moe_scratch(chunk.n * E * sizeof(float));
    gboolean good = TRUE;
    for (gsize first = 0; first < T && good; first += chunk.n)
        good =
            route_chunk(&block, &states, &chunk, first, MIN(chunk.n, T - first), K, layer, error);
    free(chunk.raw);
    free(chunk.rows);
    free(chunk.logits);
    return good;
}

static gboolean route_blocks(Run *run, MoeProgress *progress, GError **error)
{
    int row = 0;
    for (int l = 0; l < run->shape->num_hidden_layers; l++) {
        if (!moe_model_has_experts(run->shape, l))
            continue;
        if (!route_block(run, l, &run->trace->layers[row++], error))
            return FALSE;
        moe_progress_update(progress, row, run->trace->n_layers);
    }
    return check_last(run, error);
}

static gboolean set_sequences(Run *run, GError **error)
{
    const MoeHidden *job = run->job;
    g_autoptr(GArray) lengths = g_array_new(FALSE, FALSE, sizeof(gint64));
    if (!moe_import_lengths_of(job->lengths, run->n_tokens, job->states, lengths, error))
        return FALSE;
    moe_trace_set_sequences(run->trace, (const gint64 *)(void *)lengths->data, lengths->len);
    g_autofree char *name = g_path_get_basename(job->states);
    g_free(run->trace->workload);
    run->trace->workload =
        g_strdup_printf("hidden states %s (%" G_GINT64_FORMAT " tokens)", name, run->n_tokens);
    if (moe_trace_check(run->trace, error))
        return TRUE;
    g_prefix_error(error, "%s: ", job->states);
    return FALSE;
}

MoeTrace *moe_record_hidden(const MoeHidden *job, MoeProgress *progress, GError **error)
{
    const MoeModelShape *shape = &job->model->shape;
    if (shape->encoder_layers > 0) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: has an encoder and a decoder; hidden states are routed for models without an "
                 "encoder",
                 job->model->name);
        return NULL;
    }
    g_autoptr(MoeSafetensors) file = NULL;
    if (!g_file_test(job->states, G_FILE_TEST_IS_DIR)) {
        file = moe_safetensors_open(job->states, error);
        if (file == NULL)
            return NULL;
    }
    g_autoptr(MoeWeights) weights = moe_weights_open_part(job->model->path, job->router, error);
    g_autofree char *digest = weights != NULL ? moe_weights_digest(weights, error) : NULL;
    if (digest == NULL)
        return NULL;
    g_autofree char *router = moe_family_describe_router(job->model);
    g_autoptr(MoeTrace) trace =
        moe_trace_new(job->model->name, digest, router, "", (int)moe_model_moe_layers(shape));
    trace->n_experts = shape->num_experts;
    trace->top_k = shape->num_experts_per_tok;
    trace->hidden_size = shape->hidden_size;
    Run run = {.job = job, .shape = shape, .file = file, .weights = weights, .trace = trace};
    if (!route_blocks(&run, progress, error) || !set_sequences(&run, error))
        return NULL;
    return g_steal_pointer(&trace);
}

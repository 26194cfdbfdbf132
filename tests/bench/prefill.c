/* prefill.c - times a whole prefill: tokens in, routing and the last token's logits out.
 *
 * prefill [--tokens N] [--precision f32|bf16] [--csv FILE] [--logits FILE] MODEL...   prints a
 *     table; the CSV file has the columns model, precision, tokens, stage, seconds, tokens_s, gflop_s,
 *     sgemm_gflop_s, bound_share; the other file the logits behind the last token, floats
 * prefill --make f32|bf16 FOLDER   writes a checkpoint of random weights: OLMoE of hidden 1024, 8
 *     blocks, 16 heads, 16 experts of 1024, top-2, vocabulary 4096
 *
 * The tokens are one sequence, or as many as the model's context demands. The best of at least three
 * runs counts, and before each the SGEMM roof is measured, of which the best counts too. FLOP are those
 * of the matrix products and of the attention that the causal mask leaves. Loading is not timed; the
 * checks of weights and logits are.
 */
#include "config.h"

#include "kernels/linear.h"
#include "kernels/roof.h"
#include "models/forward.h"
#include "models/safetensors.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_RUNS = 3, CONTEXT = 4096 };
static const double LEAST_SECONDS = 4, ROOF_SECONDS = 0.3;

/* --- a checkpoint of random weights ---------------------------------------------------------- */

enum { H = 1024, LAYERS = 8, HEADS = 16, EXPERTS = 16, TOP_K = 2, F = 1024, VOCAB = 4096 };

typedef struct {
    GArray *tensors; /* of MoeTensor */
    MoeStType type;
    guint64 state;
} Maker;

/* Roughly normal with a deviation of @scale, exact in bf16: the same model in either type. */
static float draw(Maker *maker, float scale)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        maker->state = maker->state * 6364136223846793005U + 1442695040888963407U;
        sum += (float)(maker->state >> 40) * 0x1p-24F - 0.5F;
    }
    float value = sum * scale * 1.732F;
    guint32 bits;
    memcpy(&bits, &value, sizeof(bits));
    bits &= 0xFFFF0000;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void add_tensor(Maker *maker, char *name_take, gint64 rows, gint64 cols, float mean,
                       float scale)
{
    gsize n = (gsize)(rows * cols), size = moe_st_type_size(maker->type);
    char *data = g_malloc(n * size);
    for (gsize i = 0; i < n; i++) {
        float value = mean + (scale > 0 ? draw(maker, scale) : 0);
        /* bf16 is the upper half of a little-endian float. */
        memcpy(data + i * size, (char *)&value + sizeof(value) - size, size);
    }
    MoeTensor tensor = {.name = name_take,
                        .type = maker->type,
                        .n_dims = rows > 1 ? 2 : 1,
                        .dims = {rows > 1 ? rows : cols, cols},
                        .n_elements = rows * cols,
                        .data = data};
    g_array_append_val(maker->tensors, tensor);
}

static void add_block(Maker *maker, int layer)
{
    static const char *const square[] = {"q", "k", "v", "o"};
    static const char *const norms[] = {"self_attn.q_norm", "self_attn.k_norm", "input_layernorm",
                                        "post_attention_layernorm"};
    static const char *const expert[] = {"gate", "up", "down"};
    const float scale = 0.02F;
    for (gsize i = 0; i < G_N_ELEMENTS(square); i++)
        add_tensor(maker,
                   g_strdup_printf("model.layers.%d.self_attn.%s_proj.weight", layer, square[i]), H,
                   H, 0, scale);
    for (gsize i = 0; i < G_N_ELEMENTS(norms); i++)
        add_tensor(maker, g_strdup_printf("model.layers.%d.%s.weight", layer, norms[i]), 1, H, 1,
                   0);
    add_tensor(maker, g_strdup_printf("model.layers.%d.mlp.gate.weight", layer), EXPERTS, H, 0,
               scale);
    for (int e = 0; e < EXPERTS; e++)
        for (gsize i = 0; i < G_N_ELEMENTS(expert); i++)
            add_tensor(maker,
                       g_strdup_printf("model.layers.%d.mlp.experts.%d.%s_proj.weight", layer, e,
                                       expert[i]),
                       F, H, 0, scale);
}

static gboolean make_model(const char *type, const char *folder, GError **error)
{
    Maker maker = {.tensors = g_array_new(FALSE, FALSE, sizeof(MoeTensor)), .state = 1};
    gboolean wide = strcmp(type, "f32") == 0;
    maker.type = wide ? MOE_ST_F32 : MOE_ST_BF16;
    if (!wide && strcmp(type, "bf16") != 0)
        return moe_fail(error, MOE_ERROR_USAGE, "--make: '%s' is not f32 or bf16", type);
    g_mkdir_with_parents(folder, 0777);
    g_autofree char *config = g_build_filename(folder, "config.json", NULL);
    g_autofree char *text = g_strdup_printf(
        "{\"architectures\": [\"OlmoeForCausalLM\"], \"model_type\": \"olmoe\",\n"
        " \"hidden_size\": %d, \"intermediate_size\": %d, \"num_hidden_layers\": %d,\n"
        " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"num_experts\": %d,\n"
        " \"num_experts_per_tok\": %d, \"vocab_size\": %d, \"max_position_embeddings\": %d,\n"
        " \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"norm_topk_prob\": false,\n"
        " \"hidden_act\": \"silu\", \"attention_bias\": false, \"tie_word_embeddings\": false,\n"
        " \"torch_dtype\": \"%s\"}\n",
        H, F, LAYERS, HEADS, HEADS, EXPERTS, TOP_K, VOCAB, CONTEXT, wide ? "float32" : "bfloat16");
    if (!g_file_set_contents(config, text, -1, error))
        return FALSE;
    add_tensor(&maker, g_strdup("model.embed_tokens.weight"), VOCAB, H, 0, 1);
    for (int l = 0; l < LAYERS; l++)
        add_block(&maker, l);
    add_tensor(&maker, g_strdup("model.norm.weight"), 1, H, 1, 0);
    add_tensor(&maker, g_strdup("lm_head.weight"), VOCAB, H, 0, 0.02F);
    g_autofree char *path = g_build_filename(folder, "model.safetensors", NULL);
    static const char *const metadata[] = {"format", "pt", NULL};
    gboolean good = moe_safetensors_write(path, TRUE, (MoeTensor *)(void *)maker.tensors->data,
                                          maker.tensors->len, metadata, error);
    for (guint i = 0; i < maker.tensors->len; i++) {
        MoeTensor *tensor = &g_array_index(maker.tensors, MoeTensor, i);
        g_free((char *)tensor->name);
        g_free((void *)tensor->data);
    }
    g_array_free(maker.tensors, TRUE);
    return good;
}

/* --- prefill --------------------------------------------------------------------------------- */

/* Of the products and the causal half of the attention, for all tokens. */
static double count_flop(const MoeForward *job)
{
    const MoeModelShape *s = &job->model->shape;
    double T = (double)job->offsets[job->n_sequences], pairs = 0;
    for (gsize i = 0; i < job->n_sequences; i++) {
        double n = (double)(job->offsets[i + 1] - job->offsets[i]);
        pairs += n * (n + 1) / 2;
    }
    double hidden = (double)s->hidden_size, layers = (double)s->num_hidden_layers;
    double per_token = (double)moe_model_attention_parameters(s) + (double)s->num_experts * hidden +
                       3 * hidden * (double)(s->num_experts_per_tok * s->moe_intermediate_size);
    double per_pair = 2 * (double)(s->num_attention_heads * s->head_dim);
    return 2 * layers * (per_token * T + per_pair * pairs) +
           2 * hidden * (double)s->vocab_size * (double)job->n_head_tokens;
}

typedef struct {
    double seconds, sgemm_flop_s, stages[MOE_STAGE_COUNT];
} Best;

static gboolean run_once(const MoeForward *job, Best *best, GError **error)
{
    double stages[MOE_STAGE_COUNT] = {0};
    MoeForward timed = *job;
    timed.seconds = stages;
    best->sgemm_flop_s = fmax(best->sgemm_flop_s, moe_roof_flops(ROOF_SECONDS));
    double start = moe_roof_now();
    if (!moe_forward(&timed, error))
        return FALSE;
    double seconds = moe_roof_now() - start;
    if (seconds < best->seconds) {
        best->seconds = seconds;
        memcpy(best->stages, stages, sizeof(stages));
    }
    return TRUE;
}

static void print_best(const MoeForward *job, const Best *best, FILE *csv)
{
    const char *name = job->model->name;
    double T = (double)job->offsets[job->n_sequences], flop = count_flop(job);
    double flop_s = flop / best->seconds, share = flop_s / best->sgemm_flop_s;
    const char *precision = moe_precision_name(job->precision);
    printf(
        "%s, in %s: %.0f tokens in %.3f s: %.0f tokens/s, %.1f GFLOP/s; SGEMM alone reaches %.1f: "
        "%.0f %% of its bound of %.0f tokens/s\n",
        name, precision, T, best->seconds, T / best->seconds, flop_s * 1e-9,
        best->sgemm_flop_s * 1e-9, share * 100, T / (flop / best->sgemm_flop_s));
    for (int s = 0; s < MOE_STAGE_COUNT; s++)
        printf("  %-12s %9.3f ms %5.1f %%\n", moe_stage_name((MoeStage)s), best->stages[s] * 1e3,
               best->stages[s] / best->seconds * 100);
    fflush(stdout);
    if (csv == NULL)
        return;
    fprintf(csv, "%s,%s,%.0f,all,%.6g,%.6g,%.4g,%.4g,%.3f\n", name, precision, T, best->seconds,
            T / best->seconds, flop_s * 1e-9, best->sgemm_flop_s * 1e-9, share);
    for (int s = 0; s < MOE_STAGE_COUNT; s++)
        fprintf(csv, "%s,%s,%.0f,%s,%.6g,,,,\n", name, precision, T, moe_stage_name((MoeStage)s),
                best->stages[s]);
}

/* Where results go. */
typedef struct {
    char *csv_path, *logits_path;
    FILE *csv;
} Output;

static gboolean prefill(const char *name, gsize T, MoePrecision precision, const Output *output,
                        GError **error)
{
    g_autoptr(MoeModel) model = moe_model_load(name, NULL, error);
    g_autoptr(MoeWeights) weights = model != NULL ? moe_weights_open(model->path, error) : NULL;
    if (weights == NULL)
        return FALSE;
    gsize context = (gsize)model->shape.max_position_embeddings;
    gsize length = MIN(T, context), n = (T + length - 1) / length;
    g_autofree guint32 *ids = g_new(guint32, T);
    g_autofree gsize *offsets = g_new(gsize, n + 1), *last = g_new(gsize, n);
    for (gsize t = 0; t < T; t++)
        ids[t] = (guint32)(t * 7919 + t / 3) % (guint32)model->shape.vocab_size;
    for (gsize s = 0; s <= n; s++)
        offsets[s] = MIN(s * length, T);
    for (gsize s = 0; s < n; s++)
        last[s] = offsets[s + 1] - 1;
    g_autofree float *logits = g_new(float, n *(gsize)model->shape.vocab_size);
    const MoeForward job = {.model = model,
                            .weights = weights,
                            .ids = ids,
                            .n_sequences = n,
                            .offsets = offsets,
                            .head_tokens = last,
                            .n_head_tokens = n,
                            .head_out = logits,
                            .precision = precision};
    Best best = {.seconds = INFINITY};
    double begin = moe_roof_now();
    for (int i = 0; i < LEAST_RUNS || moe_roof_now() - begin < LEAST_SECONDS; i++)
        if (!run_once(&job, &best, error))
            return FALSE;
    print_best(&job, &best, output->csv);
    gsize V = (gsize)model->shape.vocab_size;
    return output->logits_path == NULL ||
           g_file_set_contents(output->logits_path, (char *)(logits + (n - 1) * V),
                               (gssize)(V * sizeof(float)), error);
}

static gboolean prefill_all(char **names, gsize T, MoePrecision precision, Output *output,
                            GError **error)
{
    const char *path = output->csv_path;
    output->csv = path != NULL ? fopen(path, "w") : NULL;
    if (path != NULL && output->csv == NULL)
        return moe_fail(error, MOE_ERROR_FAILED, "%s cannot be written", path);
    if (output->csv != NULL)
        fprintf(
            output->csv,
            "model,precision,tokens,stage,seconds,tokens_s,gflop_s,sgemm_gflop_s,bound_share\n");
    gboolean good = TRUE;
    for (; good && *names != NULL; names++)
        good = prefill(*names, T, precision, output, error);
    if (output->csv != NULL && fclose(output->csv) != 0 && good)
        good = moe_fail(error, MOE_ERROR_FAILED, "%s cannot be written", path);
    return good;
}

int main(int argc, char **argv)
{
    int tokens = 2048, threads = 0;
    g_autofree char *make = NULL, *precision = NULL;
    Output output = {0};
    g_auto(GStrv) rest = NULL;
    const GOptionEntry entries[] = {
        {"tokens", 0, 0, G_OPTION_ARG_INT, &tokens, "Prefill N tokens (2048)", "N"},
        {"precision", 0, 0, G_OPTION_ARG_STRING, &precision, "Multiply in f32 or bf16 (f32)",
         "f32|bf16"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "Use N threads (one per processor)", "N"},
        {"csv", 0, 0, G_OPTION_ARG_FILENAME, &output.csv_path, "Write the table to FILE too",
         "FILE"},
        {"logits", 0, 0, G_OPTION_ARG_FILENAME, &output.logits_path,
         "Write the logits behind the last token to FILE", "FILE"},
        {"make", 0, 0, G_OPTION_ARG_STRING, &make, "Write random weights to FOLDER", "f32|bf16"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &rest, NULL, "MODEL..."},
        {NULL}};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_add_main_entries(context, entries, NULL);
    g_autoptr(GError) error = NULL;
    gboolean good = g_option_context_parse(context, &argc, &argv, &error);
    const gboolean bf16 = g_strcmp0(precision, "bf16") == 0;
    if (good && (rest == NULL || tokens < 1 || threads < 0 ||
                 (precision != NULL && !bf16 && strcmp(precision, "f32") != 0)))
        good = moe_fail(&error, MOE_ERROR_USAGE,
                        "a model is missing, or a number or precision is wrong; see --help");
    if (good && threads > 0)
        omp_set_num_threads(threads);
    if (good)
        good = make != NULL
                   ? make_model(make, rest[0], &error)
                   : prefill_all(rest, (gsize)tokens, bf16 ? MOE_PRECISION_BF16 : MOE_PRECISION_F32,
                                 &output, &error);
    if (!good)
        fprintf(stderr, "%s: %s\n", g_get_prgname(), error->message);
    g_free(output.csv_path);
    g_free(output.logits_path);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

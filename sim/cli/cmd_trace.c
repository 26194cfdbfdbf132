#include "config.h"

#include "sim/base/file.h"
#include "sim/base/preset.h"
#include "sim/base/units.h"
#include "sim/cli/cli.h"
#include "workloads/hidden.h"
#include "workloads/record.h"
#include "workloads/synth.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

typedef struct {
    char *output, *synthetic, *hidden, *model, *router, *lengths, *memory, *precision_name;
    char **set, **target;
    int length, tokens, threads;
    gboolean no_special, no_resume, force;
    MoePrecision precision;
    double memory_bytes;
} Options;

static void options_clear(Options *o)
{
    g_free(o->output);
    g_free(o->synthetic);
    g_free(o->hidden);
    g_free(o->model);
    g_free(o->router);
    g_free(o->lengths);
    g_free(o->memory);
    g_free(o->precision_name);
    g_strfreev(o->set);
    g_strfreev(o->target);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

/* --- made-up routing ------------------------------------------------------------------------- */

static gboolean add_key(MoeNode *root, const char *name, const char *value, GError **error)
{
    MoeNode *key = moe_node_new(MOE_NODE_SCALAR, name, root->file, 0, 0);
    return moe_node_append_take(root, key, moe_node_new(MOE_NODE_SCALAR, value, root->file, 0, 0),
                                error);
}

static gboolean read_synth(const Options *options, MoeSynth *synth, GError **error)
{
    g_autoptr(MoeNode) root = moe_node_new(MOE_NODE_MAP, NULL, "--synthetic", 0, 0);
    for (char **set = options->set; set != NULL && *set != NULL; set++)
        if (!moe_node_set(root, *set, NULL, error))
            return FALSE;
    if (moe_node_get(root, "kind") != NULL ||
        (options->tokens > 0 && moe_node_get(root, "tokens") != NULL))
        return moe_fail(error, MOE_ERROR_USAGE, "--set: %s is given by --%s already",
                        moe_node_get(root, "kind") != NULL ? "kind" : "tokens",
                        moe_node_get(root, "kind") != NULL ? "synthetic" : "tokens");
    g_autofree char *tokens = g_strdup_printf("%d", options->tokens);
    if (!add_key(root, "kind", options->synthetic, error) ||
        (options->tokens > 0 && !add_key(root, "tokens", tokens, error)))
        return FALSE;
    g_autoptr(GError) inner = NULL;
    if (!moe_fields_read(moe_synth_fields, root, "--synthetic", synth, &inner))
        return moe_fail(error, MOE_ERROR_USAGE, "%s", inner->message);
    return synth->tokens > 0 ||
           moe_fail(error, MOE_ERROR_USAGE,
                    "--synthetic: tokens: missing; give --tokens, all of them");
}

static MoeTrace *synthesise(const MoeCli *cli, const Options *options, GError **error)
{
    MoeSynth synth = {0};
    if (!read_synth(options, &synth, error))
        return NULL;
    g_autoptr(MoeModel) model = NULL;
    if (cli->argc == 1 && ((model = moe_model_load(cli->argv[0], NULL, error)) == NULL ||
                           !moe_model_need_experts(model, error)))
        return NULL;
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, "routing", "blocks");
    return model != NULL ? moe_synth_for(&synth, &model->shape, progress, error)
                         : moe_synth(&synth, progress, error);
}

/* --- real routing ---------------------------------------------------------------------------- */

static MoeBatch *read_texts(const Options *options, const MoeTokenizer *tokenizer, gint64 context,
                            char *const *names, gsize most, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    for (; *names != NULL; names++) {
        char *path = moe_preset_find(*names, "workloads/presets", "", "text", NULL, error);
        if (path == NULL)
            return NULL;
        g_ptr_array_add(paths, path);
    }
    g_ptr_array_add(paths, NULL);
    return moe_batch_read(tokenizer, (const char *const *)paths->pdata,
                          options->length > 0 ? (gsize)options->length : (gsize)context, most,
                          !options->no_special, error);
}

static MoeBatch *read_batch(const MoeCli *cli, const Options *options, const MoeModel *model,
                            GError **error)
{
    gint64 context = model->shape.max_position_embeddings;
    gboolean encodes = model->shape.encoder_layers > 0;
    if (options->length > context) {
        moe_fail(error, MOE_ERROR_USAGE,
                 "--length: %d tokens are more than %s's context of %" G_GINT64_FORMAT,
                 options->length, model->name, context);
        return NULL;
    }
    if (options->target != NULL && !encodes) {
        moe_fail(error, MOE_ERROR_USAGE, "--target: %s has no encoder; it reads one text",
                 model->name);
        return NULL;
    }
    g_autoptr(MoeTokenizer) tokenizer = moe_model_tokenizer(model, error);
    if (tokenizer == NULL)
        return NULL;
    g_auto(GStrv) names = g_new0(char *, cli->argc);
    for (int i = 1; i < cli->argc; i++)
        names[i - 1] = g_strdup(cli->argv[i]);
    g_autoptr(MoeBatch) text =
        read_texts(options, tokenizer, context, names, (gsize)options->tokens, error);
    if (text == NULL || !encodes)
        return g_steal_pointer(&text);
    g_autoptr(MoeBatch) target = NULL;
    if (options->target != NULL &&
        (target = read_texts(options, tokenizer, context, options->target, 0, error)) == NULL)
        return NULL;
    return moe_batch_pair(text, target, options->tokens > 0, moe_family_decoder_start(model),
                          error);
}

/* @share: of the blocks that were run now. */
static void print_speed(const MoeCli *cli, const MoeTrace *trace, double share, double elapsed,
                        const double *seconds)
{
    char memory[MOE_UNITS_TEXT], tokens[MOE_UNITS_TEXT];
    double rate = share * (double)trace->n_tokens / elapsed;
    moe_cli_print(cli, "%.2f s, %s tokens/s, peak memory %s\n", elapsed,
                  moe_units_format_count((gint64)rate, tokens),
                  moe_units_format(moe_cli_peak_memory(), MOE_UNIT_BYTES, memory));
    double sum = 0;
    for (int s = 0; s < MOE_STAGE_COUNT; s++)
        sum += seconds[s];
    for (int s = 0; s < MOE_STAGE_COUNT && cli->verbose; s++)
        moe_cli_print(cli, "  %-12s %8.3f s %5.1f %%\n", moe_stage_name((MoeStage)s), seconds[s],
                      sum > 0 ? 100 * seconds[s] / sum : 0);
}

/* Where a long run is kept as it goes: beside its output, unless that is no file. Free it. */
static char *kept_name(const Options *o)
{
    gboolean plain = g_file_test(o->output, G_FILE_TEST_IS_REGULAR) ||
                     !g_file_test(o->output, G_FILE_TEST_EXISTS);
    return plain && !o->no_resume ? g_strconcat(o->output, ".part", NULL) : NULL;
}

static MoeTrace *record(const MoeCli *cli, const Options *options, GError **error)
{
    g_autoptr(MoeModel) model = moe_cli_load_model(cli->argv[0], error);
    if (model == NULL || !moe_model_need_experts(model, error))
        return NULL;
    g_autoptr(MoeBatch) batch = read_batch(cli, options, model, error);
    if (batch == NULL)
        return NULL;
    double seconds[MOE_STAGE_COUNT] = {0};
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, "tracing", "tokens");
    g_autofree char *kept = kept_name(options);
    int first_block = 0;
    const MoeRecord job = {.model = model,
                           .batch = batch,
                           .precision = options->precision,
                           .memory_bytes = options->memory_bytes,
                           .kept = kept,
                           .kept_force = options->force,
                           .first_block_out = &first_block,
                           .seconds = seconds,
                           .progress = progress};
    gint64 start = g_get_monotonic_time();
    MoeTrace *trace = moe_record(&job, error);
    g_clear_pointer(&progress, moe_progress_free);
    if (trace == NULL)
        return NULL;
    if (first_block > 0)
        moe_cli_print(cli, "resumed at block %d of %" G_GINT64_FORMAT " from %s\n", first_block + 1,
                      model->shape.num_hidden_layers, kept);
    double share = 1 - first_block / (double)model->shape.num_hidden_layers;
    print_speed(cli, trace, share, (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC,
                seconds);
    return trace;
}

static MoeTrace *record_hidden(const MoeCli *cli, const Options *options, GError **error)
{
    g_autoptr(MoeModel) model = moe_cli_load_model(options->model, error);
    if (model == NULL || !moe_model_need_experts(model, error))
        return NULL;
    const MoeHidden job = {.model = model,
                           .router = options->router,
                           .states = options->hidden,
                           .lengths = options->lengths};
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, "routing", "blocks");
    return moe_record_hidden(&job, progress, error);
}

/* --- the command ----------------------------------------------------------------------------- */

static gboolean check_hidden(const MoeCli *cli, const Options *o, GError **error)
{
    if (o->hidden == NULL)
        return (o->model == NULL && o->router == NULL && o->lengths == NULL) ||
               moe_fail(
                   error, MOE_ERROR_USAGE,
                   "--model, --router and --lengths go with --hidden; see moesim trace --help");
    if (o->model == NULL || cli->argc > 0)
        return moe_fail(
            error, MOE_ERROR_USAGE,
            "--hidden takes no text, and its model by --model; see moesim trace --help");
    if (o->synthetic != NULL || o->set != NULL || o->length > 0 || o->tokens > 0 || o->no_special)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--synthetic, --set, --length, --tokens and --no-special do not go with "
                        "--hidden");
    return TRUE;
}

/* An option that would change nothing is a mistake. */
static gboolean check_options(const MoeCli *cli, const Options *o, GError **error)
{
    if (o->output == NULL)
        return moe_fail(error, MOE_ERROR_USAGE, "-o FILE is missing; see moesim trace --help");
    if (!check_hidden(cli, o, error))
        return FALSE;
    if (o->hidden == NULL && o->synthetic == NULL && cli->argc < 2)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "a model and a text are needed; see moesim trace --help");
    if (o->synthetic != NULL && cli->argc > 1)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--synthetic takes no text; see moesim trace --help");
    if (o->synthetic == NULL && o->set != NULL)
        return moe_fail(error, MOE_ERROR_USAGE, "--set goes with --synthetic only");
    if (o->target != NULL && (o->synthetic != NULL || o->hidden != NULL))
        return moe_fail(error, MOE_ERROR_USAGE, "--target goes with a text, not with --%s",
                        o->synthetic != NULL ? "synthetic" : "hidden");
    if (o->synthetic != NULL && (o->length > 0 || o->no_special))
        return moe_fail(error, MOE_ERROR_USAGE, "--%s goes with a text, not with --synthetic%s",
                        o->length > 0 ? "length" : "no-special",
                        o->length > 0 ? "; write --set sequence_length=N" : "");
    return TRUE;
}

static gboolean read_precision(Options *o, GError **error)
{
    if (o->precision_name != NULL && (o->synthetic != NULL || o->hidden != NULL))
        return moe_fail(
            error, MOE_ERROR_USAGE,
            "--precision goes with a text, not with --%s, where no weights but a router's "
            "are read",
            o->synthetic != NULL ? "synthetic" : "hidden");
    return moe_cli_precision(o->precision_name, &o->precision, error);
}

static gboolean read_memory(Options *o, GError **error)
{
    g_autoptr(GError) inner = NULL;
    if (o->memory == NULL)
        return TRUE;
    if (o->synthetic != NULL || o->hidden != NULL)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--memory goes with a text, not with --synthetic or --hidden");
    if (!moe_units_parse(o->memory, MOE_UNIT_BYTES, &o->memory_bytes, &inner))
        return moe_fail(error, MOE_ERROR_USAGE, "--memory: %s", inner->message);
    return o->memory_bytes > 0 ||
           moe_fail(error, MOE_ERROR_USAGE, "--memory: write a size above 0, such as 4GiB");
}

static gboolean run(MoeCli *cli, GError **error)
{
    g_auto(Options)
        o = {.length = MOE_CLI_UNSET, .tokens = MOE_CLI_UNSET, .threads = MOE_CLI_UNSET};
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &o.output, "Write the trace to FILE (required)",
         "FILE"},
        {"length", 0, 0, G_OPTION_ARG_INT, &o.length,
         "Cut sequences after N tokens (the model's context)", "N"},
        {"tokens", 0, 0, G_OPTION_ARG_INT, &o.tokens, "Stop after N tokens (all)", "N"},
        {"no-special", 0, 0, G_OPTION_ARG_NONE, &o.no_special,
         "Leave out the tokenizer's special tokens", NULL},
        {"target", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o.target,
         "What the decoder of a model with an encoder reads (TEXT again)", "TEXT"},
        {"synthetic", 0, 0, G_OPTION_ARG_FILENAME, &o.synthetic,
         "Make routing up instead: balanced, uniform, zipf, ... (moesim show --keys synthetic)",
         "KIND"},
        {"set", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o.set, "A parameter of the synthetic routing",
         "KEY=VALUE"},
        {"hidden", 0, 0, G_OPTION_ARG_FILENAME, &o.hidden,
         "Route hidden states instead: a folder with layer_L.npy, or safetensors with "
         "layers.L.hidden",
         "PATH"},
        {"model", 0, 0, G_OPTION_ARG_FILENAME, &o.model,
         "The model whose router decides on --hidden; its other weights may be missing", "MODEL"},
        {"router", 0, 0, G_OPTION_ARG_FILENAME, &o.router,
         "That router's weights, in safetensors (the model's)", "FILE"},
        {"lengths", 0, 0, G_OPTION_ARG_FILENAME, &o.lengths,
         "The lengths of the sequences of --hidden, as import reads them (one sequence)",
         "LENGTHS"},
        {"memory", 0, 0, G_OPTION_ARG_FILENAME, &o.memory,
         "Take at most SIZE of memory, such as 4GiB (what the machine has)", "SIZE"},
        {"precision", 0, 0, G_OPTION_ARG_FILENAME, &o.precision_name,
         "Multiply in f32, or in bf16 as servers do, faster (f32)", "f32|bf16"},
        {"no-resume", 0, 0, G_OPTION_ARG_NONE, &o.no_resume,
         "Do not keep a long run in FILE.part, nor go on with one kept there", NULL},
        {"threads", 0, 0, G_OPTION_ARG_INT, &o.threads, "Use N threads (one per processor)", "N"},
        {"force", 0, 0, G_OPTION_ARG_NONE, &o.force, "Replace an existing file", NULL},
        {NULL},
    };
    if (!moe_cli_parse(cli, entries, 0, -1, error) || !moe_cli_set_threads(o.threads, error) ||
        !moe_cli_count("length", &o.length, 1, G_MAXINT, 0, error) ||
        !moe_cli_count("tokens", &o.tokens, 1, G_MAXINT, 0, error) ||
        !check_options(cli, &o, error) || !read_memory(&o, error) || !read_precision(&o, error))
        return FALSE;
    /* Better now than after an hour: can the trace be written? */
    if (!moe_writer_check(o.output, o.force, error))
        return FALSE;
    g_autoptr(MoeTrace) trace = o.synthetic != NULL ? synthesise(cli, &o, error)
                                : o.hidden != NULL  ? record_hidden(cli, &o, error)
                                                    : record(cli, &o, error);
    if (trace == NULL || !moe_trace_save(trace, o.output, o.force, error))
        return FALSE;
    g_autofree char *kept = kept_name(&o);
    if (kept != NULL && o.synthetic == NULL && o.hidden == NULL)
        g_unlink(kept);
    moe_cli_print_trace(cli, trace, o.output);
    return TRUE;
}

const MoeCommand moe_command_trace = {
    .name = "trace",
    .arguments = "MODEL TEXT...",
    .summary = "Route text through a model and record every decision",
    .example =
        "moesim trace olmoe-tiny sample -o sample.safetensors\n"
        "moesim trace --synthetic zipf --tokens 65536 --set exponent=1.2 olmoe-tiny -o "
        "z.safetensors\n"
        "moesim trace switch-base-8 questions.jsonl --target answers.jsonl -o qa.safetensors\n"
        "moesim trace --hidden states --model olmoe-tiny --lengths 512,100 -o h.safetensors",
    .run = run,
};

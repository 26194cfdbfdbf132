#include "config.h"

#include "sim/base/file.h"
#include "sim/base/preset.h"
#include "sim/base/units.h"
#include "sim/cli/cli.h"
#include "workloads/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --top-p was not given. */
#define UNSET_SHARE (-G_MAXDOUBLE)

typedef struct {
    char *output, *precision_name;
    char **prompts;
    int tokens, length, texts, seed, top_k, threads;
    double temperature, top_p;
    gboolean no_special, ignore_end, force;
    MoePrecision precision;
} Options;

static void options_clear(Options *o)
{
    g_free(o->output);
    g_free(o->precision_name);
    g_strfreev(o->prompts);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

/* --- printing tokens as they come ------------------------------------------------------------ */

typedef struct {
    const MoeCli *cli;
    const MoeTokenizer *tokenizer;
    gsize n_texts, sequence, n_printed, n_all;
    GString *bytes; /* of a character that is not complete yet */
} Printer;

/* Prints what is complete of the bytes; all of them at the @end of a text. */
static void print_bytes(Printer *p, gboolean end)
{
    gsize done = 0;
    while (done < p->bytes->len) {
        const char *at = p->bytes->str + done;
        gunichar c = g_utf8_get_char_validated(at, (gssize)(p->bytes->len - done));
        if (c == (gunichar)-2 && !end)
            break;
        gboolean good = c < (gunichar)-2 && c != 0;
        gsize length = good ? (gsize)(g_utf8_next_char(at) - at) : 1;
        g_autofree char *character = good ? g_strndup(at, length) : g_strdup("\xEF\xBF\xBD");
        moe_cli_print(p->cli, "%s", character);
        done += length;
    }
    g_string_erase(p->bytes, 0, (gssize)done);
}

static void end_text(Printer *p)
{
    print_bytes(p, TRUE);
    moe_cli_print(p->cli, "\n");
    fflush(stdout);
}

/* Several texts are told apart by a line with their number, and a blank one before it. */
static void start_text(const Printer *p)
{
    if (p->n_texts > 1)
        moe_cli_print(p->cli, "%s[text %zu]\n", p->sequence > 0 ? "\n" : "", p->sequence + 1);
}

static gboolean print_token(void *user, gsize sequence, guint32 id, GError **error)
{
    (void)error;
    Printer *p = user;
    if (sequence != p->sequence) {
        end_text(p);
        p->n_printed = 0;
    }
    if (sequence != p->sequence || p->n_all == 0) {
        p->sequence = sequence;
        start_text(p);
    }
    p->n_all++;
    if (moe_tokenizer_is_special(p->tokenizer, id))
        return TRUE;
    moe_tokenizer_token_bytes(p->tokenizer, id, p->n_printed++ == 0, p->bytes);
    print_bytes(p, FALSE);
    fflush(stdout);
    return TRUE;
}

/* --- the command ----------------------------------------------------------------------------- */

static MoeBatch *read_files(const MoeCli *cli, const Options *o, const MoeModel *model,
                            const MoeTokenizer *tokenizer, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    gint64 room = model->shape.max_position_embeddings - o->tokens;
    if (room < 1) {
        moe_fail(error, MOE_ERROR_USAGE,
                 "--tokens: %d leave no room for a prompt in %s's context of %" G_GINT64_FORMAT,
                 o->tokens, model->name, model->shape.max_position_embeddings);
        return NULL;
    }
    for (int i = 1; i < cli->argc; i++) {
        char *path = moe_preset_find(cli->argv[i], "workloads/presets", "", "text", NULL, error);
        if (path == NULL)
            return NULL;
        g_ptr_array_add(paths, path);
    }
    g_ptr_array_add(paths, NULL);
    gsize length = o->length > 0 ? (gsize)MIN(o->length, room) : (gsize)room;
    gsize most = o->texts > 0 ? length * (gsize)o->texts : 0;
    MoeBatch *batch = moe_batch_read(tokenizer, (const char *const *)paths->pdata, length, most,
                                     !o->no_special, error);
    if (batch != NULL && o->texts > 0)
        batch->n_sequences = MIN(batch->n_sequences, (gsize)o->texts);
    return batch;
}

static MoeTrace *generate(const MoeCli *cli, const Options *o, gboolean *good_out, GError **error)
{
    *good_out = FALSE;
    g_autoptr(MoeModel) model = moe_cli_load_model(cli->argv[0], error);
    if (model == NULL || (o->output != NULL && !moe_model_need_experts(model, error)))
        return NULL;
    g_autoptr(MoeTokenizer) tokenizer = moe_model_tokenizer(model, error);
    if (tokenizer == NULL)
        return NULL;
    g_autoptr(MoeBatch) prompts =
        o->prompts != NULL
            ? moe_batch_encode(tokenizer, (const char *const *)o->prompts, !o->no_special, error)
            : read_files(cli, o, model, tokenizer, error);
    g_autoptr(GArray) stops = g_array_new(FALSE, FALSE, sizeof(guint32));
    if (prompts == NULL ||
        (!o->ignore_end && !moe_generation_stops(model, tokenizer, stops, error)))
        return NULL;
    Printer printer = {.cli = cli,
                       .tokenizer = tokenizer,
                       .n_texts = prompts->n_sequences,
                       .bytes = g_string_new(NULL)};
    const MoeWriting job = {
        .model = model,
        .prompts = prompts,
        .precision = o->precision,
        .n_tokens = (gsize)o->tokens,
        .stops = (const guint32 *)(void *)stops->data,
        .n_stops = stops->len,
        .sampling = {o->temperature, o->top_k, o->top_p, (guint64)o->seed},
        .token = print_token,
        .user = &printer,
    };
    MoeTrace *trace = NULL;
    gint64 start = g_get_monotonic_time();
    *good_out = moe_record_writing(&job, o->output != NULL ? &trace : NULL, error);
    double seconds = (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
    end_text(&printer);
    if (*good_out && cli->verbose)
        fprintf(stderr, "%zu tokens in %.2f s, %.0f tokens/s\n", printer.n_all, seconds,
                (double)printer.n_all / seconds);
    g_string_free(printer.bytes, TRUE);
    return trace;
}

static gboolean check_options(const MoeCli *cli, Options *o, GError **error)
{
    if (!moe_cli_count("tokens", &o->tokens, 1, G_MAXINT / 2, 128, error) ||
        !moe_cli_count("length", &o->length, 1, G_MAXINT, 0, error) ||
        !moe_cli_count("texts", &o->texts, 1, G_MAXINT, 0, error) ||
        !moe_cli_count("top-k", &o->top_k, 1, G_MAXINT, 0, error))
        return FALSE;
    if ((cli->argc < 2) == (o->prompts == NULL))
        return moe_fail(error, MOE_ERROR_USAGE,
                        "either texts or --prompt are needed; see moesim generate --help");
    if (o->prompts != NULL && (o->length > 0 || o->texts > 0))
        return moe_fail(error, MOE_ERROR_USAGE, "--%s goes with texts, not with --prompt",
                        o->length > 0 ? "length" : "texts");
    gboolean sampled = o->temperature >= 0.01 && o->temperature <= 100;
    gboolean given = o->top_p > UNSET_SHARE || isnan(o->top_p);
    if (!sampled && !(o->temperature == 0))
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--temperature: write 0 (greedy) or a number from 0.01 to 100");
    if (given && !(o->top_p > 0 && o->top_p <= 1))
        return moe_fail(error, MOE_ERROR_USAGE, "--top-p: write a number above 0, at most 1");
    if (!sampled && (o->seed != MOE_CLI_UNSET || o->top_k > 0 || given))
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--seed, --top-k and --top-p go with a --temperature above 0");
    if (!given)
        o->top_p = 1;
    return moe_cli_count("seed", &o->seed, 0, G_MAXINT, 1, error);
}

static gboolean run(MoeCli *cli, GError **error)
{
    g_auto(Options) o = {.tokens = MOE_CLI_UNSET,
                         .length = MOE_CLI_UNSET,
                         .texts = MOE_CLI_UNSET,
                         .seed = MOE_CLI_UNSET,
                         .top_k = MOE_CLI_UNSET,
                         .threads = MOE_CLI_UNSET,
                         .top_p = UNSET_SHARE};
    const GOptionEntry entries[] = {
        {"prompt", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o.prompts,
         "A text to continue, in place of files; may be repeated", "STRING"},
        {"tokens", 0, 0, G_OPTION_ARG_INT, &o.tokens, "Write at most N tokens per text (128)", "N"},
        {"temperature", 0, 0, G_OPTION_ARG_DOUBLE, &o.temperature,
         "Sample from softmax(logits / T) (0: take the likeliest token)", "T"},
        {"seed", 0, 0, G_OPTION_ARG_INT, &o.seed, "Of the random numbers (1)", "N"},
        {"top-k", 0, 0, G_OPTION_ARG_INT, &o.top_k, "Sample from the K likeliest tokens (all)",
         "K"},
        {"top-p", 0, 0, G_OPTION_ARG_DOUBLE, &o.top_p,
         "Sample from the fewest tokens whose probability is P together (1)", "P"},
        {"ignore-end", 0, 0, G_OPTION_ARG_NONE, &o.ignore_end,
         "Go on behind the model's end-of-text token", NULL},
        {"length", 0, 0, G_OPTION_ARG_INT, &o.length,
         "Cut texts into prompts of N tokens (what the context leaves)", "N"},
        {"texts", 0, 0, G_OPTION_ARG_INT, &o.texts, "Continue the first N prompts (all)", "N"},
        {"no-special", 0, 0, G_OPTION_ARG_NONE, &o.no_special,
         "Leave out the tokenizer's special tokens", NULL},
        {"precision", 0, 0, G_OPTION_ARG_FILENAME, &o.precision_name,
         "Multiply in f32, or in bf16 as servers do, faster (f32)", "f32|bf16"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &o.output,
         "Write the routing of prompts and written tokens to FILE", "FILE"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &o.threads, "Use N threads (one per processor)", "N"},
        {"force", 0, 0, G_OPTION_ARG_NONE, &o.force, "Replace an existing file", NULL},
        {NULL},
    };
    if (!moe_cli_parse(cli, entries, 1, -1, error) || !moe_cli_set_threads(o.threads, error) ||
        !check_options(cli, &o, error) ||
        !moe_cli_precision(o.precision_name, &o.precision, error) ||
        (o.output != NULL && !moe_writer_check(o.output, o.force, error)))
        return FALSE;
    gboolean good;
    g_autoptr(MoeTrace) trace = generate(cli, &o, &good, error);
    return good && (trace == NULL || moe_trace_save(trace, o.output, o.force, error));
}

const MoeCommand moe_command_generate = {
    .name = "generate",
    .arguments = "MODEL [TEXT...]",
    .summary = "Let a model continue texts, and record every decision",
    .example = "moesim generate olmoe-tiny --prompt 'Once upon a time' --tokens 40 -o "
               "written.safetensors\n"
               "moesim generate olmoe-tiny sample --length 32 --texts 4 --temperature 0.8 --seed 3",
    .run = run,
};

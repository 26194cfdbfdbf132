#include "config.h"

#include "kernels/cases.h"
#include "sim/base/preset.h"
#include "sim/base/units.h"
#include "sim/cli/cli.h"
#include "sim/golden.h"
#include "workloads/loss.h"

#include <math.h>

static void check_kernels(GPtrArray *checks, int n_cases, int seed, MoeProgress *progress)
{
    size_t n;
    const MoeKernel *kernels = moe_kernels(&n);
    for (size_t k = 0; k < n; k++) {
        double worst = 0;
        for (int i = 0; i < n_cases; i++) {
            MoeCaseShape shape = moe_case_shape(&kernels[k], (uint64_t)seed, (size_t)i);
            MoeCase *c = moe_case_new(&kernels[k], &shape);
            worst = fmax(worst, moe_case_error(&kernels[k], c));
            moe_case_free(c);
            moe_progress_update(progress, (double)k * n_cases + i + 1, (double)n * n_cases);
        }
        moe_checks_add(checks, kernels[k].name, worst, kernels[k].bound, "%d shapes; %s", n_cases,
                       kernels[k].reason);
    }
}

static gboolean report(const MoeCli *cli, const GPtrArray *checks, GError **error)
{
    guint failed = 0;
    int width = 4;
    for (guint i = 0; i < checks->len; i++)
        width = MAX(width, (int)g_utf8_strlen(((const MoeCheck *)checks->pdata[i])->what, -1));
    moe_cli_print(cli, "%-*s %12s %9s\n", width, "what", "worst error", "bound");
    for (guint i = 0; i < checks->len; i++) {
        const MoeCheck *check = checks->pdata[i];
        gboolean passed = moe_check_passed(check);
        failed += passed ? 0 : 1;
        moe_cli_print(cli, "%-*s %12.3g %9.3g  %s  %s\n", width, check->what, check->worst,
                      check->bound, passed ? "ok    " : "FAILED", check->note);
    }
    if (failed > 0)
        return moe_fail(error, MOE_ERROR_FAILED, "%u of %u checks failed", failed, checks->len);
    moe_cli_print(cli, "all %u checks passed\n", checks->len);
    return TRUE;
}

typedef struct {
    gboolean golden, loss, no_special;
    char *model, *precision_name;
    MoePrecision precision;
    int cases, seed, length, threads;
} Options;

static void options_clear(Options *o)
{
    g_free(o->model);
    g_free(o->precision_name);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

/* An option that would change nothing is a mistake. */
static gboolean check_options(const MoeCli *cli, const Options *o, GError **error)
{
    gboolean kernels = !o->golden && !o->loss;
    if (o->golden && o->loss)
        return moe_fail(error, MOE_ERROR_USAGE, "--golden and --loss are two ways; take one");
    if (!kernels && (o->cases != MOE_CLI_UNSET || o->seed != MOE_CLI_UNSET))
        return moe_fail(error, MOE_ERROR_USAGE, "--%s goes with the kernels, not with --%s",
                        o->cases != MOE_CLI_UNSET ? "cases" : "seed",
                        o->golden ? "golden" : "loss");
    if (!o->golden && o->model != NULL)
        return moe_fail(error, MOE_ERROR_USAGE, "--model goes with --golden only");
    if (!o->loss && (o->length != MOE_CLI_UNSET || o->no_special || o->precision_name != NULL))
        return moe_fail(error, MOE_ERROR_USAGE, "--%s goes with --loss only",
                        o->no_special               ? "no-special"
                        : o->precision_name != NULL ? "precision"
                                                    : "length");
    if (o->loss && cli->argc < 2)
        return moe_fail(error, MOE_ERROR_USAGE,
                        "--loss needs a model and a text; see moesim verify --help");
    return o->loss || o->golden == (cli->argc > 0) ||
           moe_fail(error, MOE_ERROR_USAGE, "--golden and one or more folders go together");
}

static gboolean check_all(MoeCli *cli, const Options *o, GError **error)
{
    g_autoptr(GPtrArray) checks = moe_checks_new();
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, "verifying", NULL);
    if (!o->golden)
        check_kernels(checks, o->cases, o->seed, progress);
    for (int i = 0; i < cli->argc; i++)
        if (!moe_golden_check(cli->argv[i], o->model, checks, progress, error))
            return FALSE;
    g_clear_pointer(&progress, moe_progress_free);
    return report(cli, checks, error);
}

/* How well a model predicts texts. */
static gboolean print_loss(const MoeCli *cli, const Options *o, GError **error)
{
    g_autoptr(MoeModel) model = moe_cli_load_model(cli->argv[0], error);
    g_autoptr(MoeTokenizer) tokenizer = model != NULL ? moe_model_tokenizer(model, error) : NULL;
    if (tokenizer == NULL)
        return FALSE;
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    for (int i = 1; i < cli->argc; i++) {
        char *path = moe_preset_find(cli->argv[i], "workloads/presets", "", "text", NULL, error);
        if (path == NULL)
            return FALSE;
        g_ptr_array_add(paths, path);
    }
    g_ptr_array_add(paths, NULL);
    const gint64 context = model->shape.max_position_embeddings;
    g_autoptr(MoeBatch) batch = moe_batch_read(
        tokenizer, (const char *const *)paths->pdata,
        (gsize)(o->length > 0 ? MIN(o->length, context) : context), 0, !o->no_special, error);
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, "running", "tokens x blocks");
    MoeLoss loss;
    if (batch == NULL || !moe_loss(model, batch, o->precision, progress, &loss, error))
        return FALSE;
    g_clear_pointer(&progress, moe_progress_free);
    char tokens[MOE_UNITS_TEXT];
    moe_cli_print(cli,
                  "loss %.4f nats/token, perplexity %.3f, %s tokens predicted in %zu sequence%s\n",
                  loss.nats, exp(loss.nats), moe_units_format_count((gint64)loss.n_tokens, tokens),
                  batch->n_sequences, batch->n_sequences == 1 ? "" : "s");
    return TRUE;
}

static gboolean run(MoeCli *cli, GError **error)
{
    g_auto(Options) o = {.cases = MOE_CLI_UNSET,
                         .seed = MOE_CLI_UNSET,
                         .length = MOE_CLI_UNSET,
                         .threads = MOE_CLI_UNSET};
    const GOptionEntry entries[] = {
        {"golden", 0, 0, G_OPTION_ARG_NONE, &o.golden,
         "Compare with the golden folders DIR... instead", NULL},
        {"loss", 0, 0, G_OPTION_ARG_NONE, &o.loss,
         "Say how well MODEL predicts TEXT... instead, in nats per token", NULL},
        {"model", 0, 0, G_OPTION_ARG_FILENAME, &o.model,
         "The model of a golden folder without weights (the one its MANIFEST.json names)", "DIR"},
        {"cases", 0, 0, G_OPTION_ARG_INT, &o.cases, "Shapes per kernel (40)", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT, &o.seed, "Of shapes and inputs (1)", "N"},
        {"length", 0, 0, G_OPTION_ARG_INT, &o.length,
         "Cut the sequences of --loss after N tokens (the model's context)", "N"},
        {"no-special", 0, 0, G_OPTION_ARG_NONE, &o.no_special,
         "Leave out the tokenizer's special tokens with --loss", NULL},
        {"precision", 0, 0, G_OPTION_ARG_FILENAME, &o.precision_name,
         "Multiply in f32, or in bf16 as servers do, with --loss (f32)", "f32|bf16"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &o.threads, "Use N threads (one per processor)", "N"},
        {NULL},
    };
    if (!moe_cli_parse(cli, entries, 0, -1, error) || !moe_cli_set_threads(o.threads, error) ||
        !check_options(cli, &o, error) ||
        !moe_cli_precision(o.precision_name, &o.precision, error) ||
        !moe_cli_count("cases", &o.cases, 1, 100000, 40, error) ||
        !moe_cli_count("seed", &o.seed, 0, G_MAXINT, 1, error) ||
        !moe_cli_count("length", &o.length, 2, G_MAXINT, 0, error))
        return FALSE;
    return o.loss ? print_loss(cli, &o, error) : check_all(cli, &o, error);
}

const MoeCommand moe_command_verify = {
    .name = "verify",
    .arguments = "[--golden DIR... | --loss MODEL TEXT...]",
    .summary = "Check the kernels against their oracles, or everything against golden answers",
    .example =
        "moesim verify\nmoesim verify --golden tests/golden/olmoe tests/golden/tokenizers/qwen\n"
        "moesim verify --loss olmoe-tiny sample --length 256",
    .run = run,
};

#include "config.h"

#include "kernels/cases.h"
#include "sim/cli/cli.h"
#include "sim/golden.h"

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

/* An option that would change nothing is a mistake. */
static gboolean check_options(gboolean golden, const char *model, int cases, int seed,
                              GError **error)
{
    if (golden && (cases != MOE_CLI_UNSET || seed != MOE_CLI_UNSET))
        return moe_fail(error, MOE_ERROR_USAGE, "--%s goes with the kernels, not with --golden",
                        cases != MOE_CLI_UNSET ? "cases" : "seed");
    return golden || model == NULL ||
           moe_fail(error, MOE_ERROR_USAGE, "--model goes with --golden only");
}

static gboolean run(MoeCli *cli, GError **error)
{
    gboolean golden = FALSE;
    char *model_option = NULL;
    int cases = MOE_CLI_UNSET, seed = MOE_CLI_UNSET, threads = MOE_CLI_UNSET;
    const GOptionEntry entries[] = {
        {"golden", 0, 0, G_OPTION_ARG_NONE, &golden,
         "Compare with the golden folders DIR... instead", NULL},
        {"model", 0, 0, G_OPTION_ARG_FILENAME, &model_option,
         "The model of a golden folder without weights (the one its MANIFEST.json names)", "DIR"},
        {"cases", 0, 0, G_OPTION_ARG_INT, &cases, "Shapes per kernel (40)", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT, &seed, "Of shapes and inputs (1)", "N"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "Use N threads (one per processor)", "N"},
        {NULL},
    };
    gboolean good = moe_cli_parse(cli, entries, 0, -1, error);
    g_autofree char *model = model_option;
    if (!good || !moe_cli_set_threads(threads, error) ||
        !check_options(golden, model, cases, seed, error) ||
        !moe_cli_count("cases", &cases, 1, 100000, 40, error) ||
        !moe_cli_count("seed", &seed, 0, G_MAXINT, 1, error))
        return FALSE;
    if (golden != (cli->argc > 0))
        return moe_fail(error, MOE_ERROR_USAGE, "--golden and one or more folders go together");
    g_autoptr(GPtrArray) checks = moe_checks_new();
    g_autoptr(MoeProgress) progress = moe_cli_progress(cli, "verifying", NULL);
    if (!golden)
        check_kernels(checks, cases, seed, progress);
    for (int i = 0; i < cli->argc; i++)
        if (!moe_golden_check(cli->argv[i], model, checks, progress, error))
            return FALSE;
    g_clear_pointer(&progress, moe_progress_free);
    return report(cli, checks, error);
}

const MoeCommand moe_command_verify = {
    .name = "verify",
    .arguments = "[--golden DIR...]",
    .summary = "Check the kernels against their oracles, or everything against golden answers",
    .example =
        "moesim verify\nmoesim verify --golden tests/golden/olmoe tests/golden/tokenizers/qwen",
    .run = run,
};

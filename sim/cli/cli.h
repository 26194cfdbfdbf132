/* cli.h - what the commands share: one table row each, one way to read options.
 *
 * Layer: sim/cli, the only code that prints or chooses an exit status. Results go to standard
 * output, everything else to standard error. Exit status: 0 done, 1 failed, 2 usage, 3 bad input.
 */
#ifndef MOE_SIM_CLI_CLI_H
#define MOE_SIM_CLI_CLI_H

#include "sim/base/error.h"
#include "sim/base/progress.h"
#include "workloads/trace.h"

typedef struct MoeCommand MoeCommand;

/* One call of a command. */
typedef struct {
    const MoeCommand *command;
    gboolean quiet, verbose;
    int argc; /* positional arguments, after moe_cli_parse() */
    char **argv;
} MoeCli;

struct MoeCommand {
    const char *name;
    const char *arguments; /* "MODEL TEXT..." */
    const char *summary;   /* one line */
    const char *example;   /* shell lines, for --help and the man page */
    gboolean (*run)(MoeCli *cli, GError **error);
};

/* Reads the options in @entries and the common ones, and checks that @least to @most (-1: any
 * number) positional arguments are left. --help prints and exits. Texts are read as
 * G_OPTION_ARG_FILENAME, bytes as they are: G_OPTION_ARG_STRING would refuse what the locale does not
 * have. Errors: MOE_ERROR_USAGE. */
gboolean moe_cli_parse(MoeCli *cli, const GOptionEntry *entries, int least, int most,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Prints to standard output unless --quiet; control characters but line ends and tabs as \xNN. */
void moe_cli_print(const MoeCli *cli, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Prints the line about the trace written to @path. */
void moe_cli_print_trace(const MoeCli *cli, const MoeTrace *trace, const char *path);

/* The progress of a long piece of work; NULL with --quiet. */
MoeProgress *moe_cli_progress(const MoeCli *cli, const char *label, const char *unit);

/* A preset or folder whose router can run: with weights. Free with moe_model_free(). Errors:
 * MOE_ERROR_INPUT; NULL then. */
MoeModel *moe_cli_load_model(const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Bytes of memory that the process held at its peak. */
double moe_cli_peak_memory(void);

/* The index of @text in the NULL-terminated @names. Errors: MOE_ERROR_USAGE, "--option: ..."; -1
 * then. */
int moe_cli_choice(const char *option, const char *text, const char *const *names, GError **error);

/* The precision that --precision names: f32, also when @text is NULL, or bf16. Errors:
 * MOE_ERROR_USAGE. */
gboolean moe_cli_precision(const char *text, MoePrecision *out, GError **error);

/* An integer option starts as MOE_CLI_UNSET. Once parsed: makes it @fallback when it was not given.
 * Errors: MOE_ERROR_USAGE when it was, outside of [least, most]. */
#define MOE_CLI_UNSET G_MININT
gboolean moe_cli_count(const char *option, int *value, int least, int most, int fallback,
                       GError **error);

/* Sets the number of OpenMP threads to the option --threads; MOE_CLI_UNSET leaves the default, one
 * per processor. Errors: MOE_ERROR_USAGE. */
gboolean moe_cli_set_threads(int threads, GError **error);

extern const MoeCommand moe_command_trace, moe_command_generate, moe_command_import,
    moe_command_analyze, moe_command_run, moe_command_plot, moe_command_show, moe_command_validate,
    moe_command_verify;

#endif

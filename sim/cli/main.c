#include "config.h"

#include "sim/base/file.h"
#include "sim/base/text.h"
#include "sim/cli/cli.h"
#include "sim/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const MoeCommand *const commands[] = {
    &moe_command_trace,   &moe_command_generate, &moe_command_import,
    &moe_command_analyze, &moe_command_run,      &moe_command_plot,
    &moe_command_show,    &moe_command_validate, &moe_command_verify,
};

static void print_usage(FILE *stream)
{
    fputs("Usage: moesim COMMAND [OPTION...] ARGUMENTS\n\n"
          "Simulates distributed Mixture-of-Experts execution with the routing of real models.\n\n"
          "Commands:\n",
          stream);
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(stream, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nmoesim COMMAND --help explains a command; man moesim explains the files.\n", stream);
}

static const MoeCommand *find_command(const char *name, GError **error)
{
    const char *names[G_N_ELEMENTS(commands) + 1] = {NULL};
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        names[i] = commands[i]->name;
        if (strcmp(name, names[i]) == 0)
            return commands[i];
    }
    const char *nearest = moe_nearest(name, names);
    moe_fail(error, MOE_ERROR_USAGE, "'%s' is not a command%s%s%s; see moesim --help", name,
             nearest != NULL ? "; did you mean '" : "", nearest != NULL ? nearest : "",
             nearest != NULL ? "'?" : "");
    return NULL;
}

/* What was printed may still fail to reach its file. */
static gboolean flush_output(GError **error)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return moe_fail(error, MOE_ERROR_FAILED, "standard output cannot be written: %s",
                        g_strerror(errno));
    return TRUE;
}

static void stop(int number)
{
    moe_writer_remove_unfinished();
    signal(number, SIG_DFL);
    raise(number);
}

/* Weights are read where they are mapped; pages that the file no longer has cannot be. */
static void shrunk(int number)
{
    static const char text[] = "moesim: a file became shorter while it was read; give the command "
                               "again when nothing writes to its files\n";
    static char told;
    (void)number;
    while (
        __atomic_test_and_set(&told, __ATOMIC_SEQ_CST)) /* by another thread, which ends us all */
        pause();
    moe_writer_remove_unfinished();
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(MOE_ERROR_FAILED);
    _exit(MOE_ERROR_INPUT);
}

/* Half-written files and empty folders do not stay behind when the user gives up. */
static void clean_up_on_signals(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE};
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (signal(numbers[i], stop) == SIG_IGN)
            signal(numbers[i], SIG_IGN); /* nohup */
    signal(SIGBUS, shrunk);
}

/* Threads that wait for each other spin for milliseconds in libgomp, which is hardly faster on an
 * idle machine and ten times slower on one that others use too. The count is read before main(),
 * from the environment alone: so the program starts itself once more. */
static void spin_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") != NULL || getenv("OMP_WAIT_POLICY") != NULL)
        return;
    g_setenv("GOMP_SPINCOUNT", "1000", TRUE);
    execv("/proc/self/exe", argv); /* without /proc it goes on as it is */
}

int main(int argc, char **argv)
{
    spin_briefly(argv);
    if (argc < 2) {
        print_usage(stderr);
        return MOE_ERROR_USAGE;
    }
    clean_up_on_signals();
    g_autoptr(GError) error = NULL;
    gboolean good = TRUE;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
    } else if (strcmp(argv[1], "--version") == 0) {
        printf("moesim %s (%s)\n", PACKAGE_VERSION, moe_engine_version());
    } else {
        const MoeCommand *command = find_command(argv[1], &error);
        MoeCli cli = {.command = command, .argc = argc - 1, .argv = argv + 1};
        good = command != NULL && command->run(&cli, &error);
    }
    good = good && flush_output(&error);
    if (good)
        return EXIT_SUCCESS;
    moe_writer_remove_unfinished();
    g_autofree char *message = moe_text_printable(error->message, TRUE);
    fprintf(stderr, "moesim: %s\n", message);
    return error->domain == MOE_ERROR ? error->code : MOE_ERROR_FAILED;
}

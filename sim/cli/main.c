#include "config.h"

#include "sim/base/file.h"
#include "sim/base/text.h"
#include "sim/cli/cli.h"
#include "sim/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
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

static void put(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(MOE_ERROR_FAILED);
}

static uintptr_t read_hexadecimal(const char **text)
{
    uintptr_t value = 0;
    for (int digit; (digit = g_ascii_xdigit_value(**text)) >= 0; (*text)++)
        value = value << 4 | (uintptr_t)digit;
    return value;
}

/* Writes the name of the file that is mapped at @address, by nothing that a signal handler must not
 * do. Each line of the list is "FROM-TO MODE OFFSET DEVICE INODE  /PATH". */
static void put_mapped(uintptr_t address)
{
    char line[PATH_MAX + 128], c;
    size_t n = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && read(fd, &c, 1) == 1) {
        if (n < sizeof(line) - 1)
            line[n++] = c;
        if (c != '\n')
            continue;
        line[n - 1] = '\0';
        n = 0;
        const char *at = line, *path = strchr(line, '/');
        uintptr_t from = read_hexadecimal(&at);
        uintptr_t to = *at++ == '-' ? read_hexadecimal(&at) : 0;
        if (address >= from && address < to && path != NULL) {
            put(path);
            put(":");
            return;
        }
    }
    put("a file");
}

/* Weights are read where they are mapped; pages that the file no longer has cannot be. */
static void shrunk(int number, siginfo_t *info, void *context)
{
    static char told;
    (void)number;
    (void)context;
    while (
        __atomic_test_and_set(&told, __ATOMIC_SEQ_CST)) /* by another thread, which ends us all */
        pause();
    moe_writer_remove_unfinished();
    put("moesim: ");
    put_mapped((uintptr_t)info->si_addr);
    put(" became shorter while it was read; give the command again when nothing writes to it\n");
    _exit(MOE_ERROR_INPUT);
}

/* Half-written files and empty folders do not stay behind when the user gives up. */
static void clean_up_on_signals(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE};
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (signal(numbers[i], stop) == SIG_IGN)
            signal(numbers[i], SIG_IGN); /* nohup */
    const struct sigaction action = {.sa_sigaction = shrunk, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
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

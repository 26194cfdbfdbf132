#include "config.h"

#include "tests/fuzz/fuzz.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_require(gboolean good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "not as promised: %s\n", what);
    abort();
}

void fuzz_require_error(gboolean failed, GError **error)
{
    fuzz_require(failed == (*error != NULL), "an error is set where, and only where, one happens");
    if (*error != NULL)
        fuzz_require((*error)->domain == MOE_ERROR && (*error)->code == MOE_ERROR_INPUT &&
                         (*error)->message[0] != '\0' && (*error)->message[0] != '(',
                     "errors are ours, about the input, and say something");
    g_clear_error(error);
}

static char *folder;

static void remove_folder(void)
{
    g_rmdir(folder);
    g_free(folder);
}

void fuzz_run(const FuzzTarget *target, const char *data, size_t size)
{
    if (target->file == NULL) {
        target->run(NULL, data, size);
        return;
    }
    if (folder == NULL) {
        folder = g_dir_make_tmp("moesim-fuzz-XXXXXX", NULL);
        fuzz_require(folder != NULL, "a temporary folder");
        atexit(remove_folder);
    }
    g_autofree char *path = g_build_filename(folder, target->file, NULL);
    FILE *file = fopen(path, "wb");
    fuzz_require(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0,
                 "the file is written");
    target->run(path, data, size);
    g_remove(path);
}

static const FuzzTarget *need_target(const char *name)
{
    const FuzzTarget *target = fuzz_find(name);
    if (target == NULL) {
        fprintf(stderr, "no fuzz target is called '%s'\n", name);
        exit(2);
    }
    return target;
}

#ifdef FUZZING

static const FuzzTarget *chosen;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libFuzzer passes over what begins with two hyphens. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (int i = 1; i < *argc; i++)
        if (g_str_has_prefix((*argv)[i], "--target="))
            chosen = need_target((*argv)[i] + strlen("--target="));
    fuzz_require(chosen != NULL, "--target=NAME is given");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* An exact copy, so that a read beyond the end is found. */
    g_autofree char *copy = g_memdup2(data, size);
    fuzz_run(chosen, copy != NULL ? copy : "", size);
    return 0;
}

#else

/* fuzz TARGET FILE...: replays the files. */
int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s TARGET FILE...\n", argv[0]);
        return 2;
    }
    const FuzzTarget *target = need_target(argv[1]);
    for (int i = 2; i < argc; i++) {
        g_autofree char *data = NULL;
        gsize size;
        if (!g_file_get_contents(argv[i], &data, &size, NULL)) {
            fprintf(stderr, "%s cannot be read\n", argv[i]);
            return 1;
        }
        /* Without the NUL that g_file_get_contents() adds. */
        g_autofree char *copy = g_memdup2(data, size);
        fuzz_run(target, copy != NULL ? copy : "", size);
    }
    return 0;
}

#endif

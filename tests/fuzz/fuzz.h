/* fuzz.h - the fuzz targets: one per format that moesim reads.
 *
 * A target gets any bytes at all. It must neither crash nor hang, and checks what the reader
 * promises: an error of MOE_ERROR with a message, or an object that keeps its invariants. The same
 * program is a libFuzzer (configure --enable-fuzzing; tests/fuzz/fuzz.sh) or, without it, replays
 * files.
 */
#ifndef MOE_TESTS_FUZZ_FUZZ_H
#define MOE_TESTS_FUZZ_FUZZ_H

#include "sim/base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;
    /* What the file is called that holds the bytes; NULL: the target reads memory. */
    const char *file;
    /* @path: the file; NULL where there is none. */
    void (*run)(const char *path, const char *data, size_t size);
} FuzzTarget;

/* The row called @name, or NULL. */
const FuzzTarget *fuzz_find(const char *name);

/* Runs @target on the bytes, in a file when it wants one. */
void fuzz_run(const FuzzTarget *target, const char *data, size_t size);

/* Ends the process by abort() and says @what, unless @good. */
void fuzz_require(gboolean good, const char *what);

/* Requires that @error is set, by us, with a message, exactly when @failed; clears it. */
void fuzz_require_error(gboolean failed, GError **error);

#endif

/* harness.h - what every unit test program shares. A program defines moe_suite(); harness.c runs
 * it.
 *
 * Each test runs in a child process of its own (Check's fork mode), so a crash is one failure.
 * Random tests print their seed when they fail.
 */
#ifndef MOE_TESTS_UNIT_HARNESS_H
#define MOE_TESTS_UNIT_HARNESS_H

#include "sim/base/error.h"

#include <check.h>

/* Check writes every assertion that holds to a file, to tell where a test crashed: a system call for
 * each of the millions here. */
#define _mark_point(file, line) ((void)0)

/* The program's tests. */
Suite *moe_suite(void);

/* Fails the test unless @error is a MOE_ERROR of @code whose message contains @part; clears it. */
void assert_error(GError **error, MoeErrorCode code, const char *part);

/* Fails the test, with the message, when @error is set. */
void assert_no_error(const GError *error);

/* Fails unless |a - b| <= relative * |b|. */
void assert_close(double a, double b, double relative);

/* @n numbers from -1 to 1, the same for the same @stream; free with g_free(). */
float *random_floats(const char *stream, gsize n);

/* The largest difference, as a share of the largest expected value; all of @got must be finite. */
double error_of(const float *got, const float *expected, gsize n);

/* A fresh folder for the test; removed with all that is in it when the program ends well. */
const char *test_folder(void);

/* Writes @length bytes (-1: a string) to @name in test_folder(); returns the path, which the caller
 * frees. */
char *test_file(const char *name, const void *data, gssize length);

/* A file of the tree's tests/data or of its presets, by its path from the top of the source. Free
 * it. */
char *source_file(const char *path);

#endif

#include "config.h"

#include "tests/unit/harness.h"

#include <string.h>

static const char *const keys[] = {"bandwidth", "efficiency", "latency", "nodes", "expert", NULL};

static const struct {
    const char *word;
    const char *nearest; /* NULL: none is near enough */
} words[] = {
    {"bandwidth", "bandwidth"},
    {"BandWidth", "bandwidth"},  /* case is ignored */
    {"bandwith", "bandwidth"},   /* deletion */
    {"bandwiddth", "bandwidth"}, /* insertion */
    {"bandwodth", "bandwidth"},  /* substitution */
    {"bandwitdh", "bandwidth"},  /* neighbours swapped */
    {"bandwi", "bandwidth"},     /* 3 of 9: just near enough */
    {"bandw", NULL},             /* 4 of 9 */
    {"nodse", "nodes"},
    {"nods", "nodes"},
    {"nod", NULL}, /* 2 of 5 */
    {"experts", "expert"},
    {"", NULL},
    {"placement", NULL},
};

START_TEST(finds_the_nearest)
{
    const char *nearest = moe_nearest(words[_i].word, keys);
    ck_assert_msg(g_strcmp0(nearest, words[_i].nearest) == 0, "'%s': %s instead of %s",
                  words[_i].word, nearest != NULL ? nearest : "none",
                  words[_i].nearest != NULL ? words[_i].nearest : "none");
}
END_TEST

START_TEST(borrows_from_the_candidates)
{
    ck_assert_ptr_eq(moe_nearest("latncy", keys), keys[2]);
    static const char *const none[] = {NULL};
    ck_assert_ptr_null(moe_nearest("latency", none));
}
END_TEST

START_TEST(prefers_the_least_distance)
{
    static const char *const several[] = {"layer", "player", "players", NULL};
    ck_assert_str_eq(moe_nearest("plaayer", several), "player");
    ck_assert_str_eq(moe_nearest("players", several), "players");
    /* One edit is near enough for any length, however short. */
    static const char *const letters[] = {"k", NULL};
    ck_assert_str_eq(moe_nearest("K", letters), "k");
    ck_assert_str_eq(moe_nearest("kk", letters), "k");
}
END_TEST

/* A word of any length may come from a file; nothing is near to one that no table has. */
START_TEST(survives_long_words)
{
    for (size_t length = 60; length < 2000; length += 7) {
        g_autofree char *word = g_strnfill(length, 'x');
        ck_assert_ptr_null(moe_nearest(word, keys));
    }
}
END_TEST

START_TEST(fails_with_code_and_message)
{
    GError *error = NULL;
    ck_assert(!moe_fail(&error, MOE_ERROR_USAGE, "'%s' is %d", "a", 1));
    ck_assert_str_eq(error->message, "'a' is 1");
    assert_error(&error, MOE_ERROR_USAGE, "'a' is 1");
    ck_assert(!moe_fail(NULL, MOE_ERROR_FAILED, "nobody asks"));
}
END_TEST

/* The values are the exit status of the program. */
START_TEST(codes_are_exit_statuses)
{
    ck_assert_int_eq(MOE_ERROR_FAILED, 1);
    ck_assert_int_eq(MOE_ERROR_USAGE, 2);
    ck_assert_int_eq(MOE_ERROR_INPUT, 3);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("error");
    TCase *tests = tcase_create("error");
    tcase_add_loop_test(tests, finds_the_nearest, 0, (int)G_N_ELEMENTS(words));
    tcase_add_test(tests, borrows_from_the_candidates);
    tcase_add_test(tests, prefers_the_least_distance);
    tcase_add_test(tests, survives_long_words);
    tcase_add_test(tests, fails_with_code_and_message);
    tcase_add_test(tests, codes_are_exit_statuses);
    suite_add_tcase(suite, tests);
    return suite;
}

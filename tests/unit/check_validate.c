#include "config.h"

#include "sim/validate.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

/* 8 GPUs of an H800 node, every token to all of them: a rank sends 7 copies of each of its T tokens
 * of 100 elements in bf16 at 160 GB/s, after 10 us and a link's 1 us: 11 us + T 8.75 ns. */
static const char head[] =
    "description: made up\nsource: the test\nmeasured: made-up.csv\n"
    "scenario:\n"
    "  routing: {synthetic: {kind: balanced, experts: 8, top_k: 8, hidden_size: 100}}\n"
    "  topology: {preset: h800, scale_up: {efficiency: 80%}, kernels: {direct: {startup: 10us}}}\n"
    "  phase: {kind: transfer}\n"
    "columns: {tokens: phase.tokens_per_gpu, wire: {key: dispatch.dtype, values: {half: bf16}}}\n";
static const char compare[] =
    "compare:\n"
    "  - {column: time, phase: dispatch, unit: us, where: {kind: latency}}\n"
    "  - {column: rate, phase: dispatch, unit: GBps, bytes: gpu-copies}\n";
static const char groups[] =
    "rows:\n"
    "  - {name: old, where: {kind: [older, oldest]}, counted: false, why: another kernel}\n"
    "  - {name: large, where: {tokens: '>= 5000'}, mean: 5%, worst: 10%}\n"
    "  - {name: small, mean: 25%}\n"
    "fitted: [{tokens: '8000'}]\n";

static double expected_us(double tokens)
{
    return 11 + tokens * 7 * 200 / 160e3;
}

/* The case with the rows @csv; NULL with @error. */
static MoePublished *load(const char *text, const char *csv, GError **error)
{
    g_free(test_file("made-up.csv", csv, -1));
    g_autofree char *path = test_file("made-up.yaml", text, -1);
    return moe_published_load(path, NULL, error);
}

static MoePublished *good(const char *csv)
{
    g_autofree char *text = g_strconcat(head, compare, groups, NULL);
    g_autoptr(GError) error = NULL;
    MoePublished *published = load(text, csv, &error);
    assert_no_error(error);
    return published;
}

static const MoeComparison *at(const MoeValidation *v, guint index)
{
    return &g_array_index(v->comparisons, MoeComparison, index);
}

START_TEST(errors_equal_their_closed_form)
{
    g_autoptr(MoePublished) p = good("wire,kind,tokens,time,rate\n"
                                     "half,latency,8000,82,\n"
                                     "half,latency,1000,20,100\n"
                                     "half,older,1000,20,50\n");
    ck_assert_uint_eq(p->rows->len, 3);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeValidation) v = moe_validate(p, NULL, &error);
    assert_no_error(error);
    ck_assert_uint_eq(v->comparisons->len, 4); /* an empty cell, and a time that is not latency */
    assert_close(at(v, 0)->simulated, expected_us(8000), 1e-6);
    assert_close(at(v, 0)->error, expected_us(8000) / 82 - 1, 1e-6);
    assert_close(at(v, 1)->simulated, expected_us(1000), 1e-6);
    double rate = 8 * 1000 * 200 / expected_us(1000) / 1e3; /* 8 copies, the own one counted */
    assert_close(at(v, 2)->simulated, rate, 1e-6);
    assert_close(at(v, 3)->error, rate / 50 - 1, 1e-6);
    ck_assert(at(v, 0)->row->fitted && !at(v, 1)->row->fitted);
    assert_close(at(v, 0)->busy, 70 / expected_us(8000), 1e-6);
    ck_assert(strstr(at(v, 0)->bottleneck, "scale-up") != NULL);
    /* Groups: old, large, small. */
    ck_assert_uint_eq(v->groups[0].n, 1);
    ck_assert_uint_eq(v->groups[1].n, 1);
    ck_assert_uint_eq(v->groups[2].n, 2);
    assert_close(v->groups[2].mean, (fabs(expected_us(1000) / 20 - 1) + fabs(rate / 100 - 1)) / 2,
                 1e-6);
    assert_close(v->groups[2].worst, fabs(rate / 100 - 1), 1e-6);
    ck_assert(v->groups[0].within && v->groups[1].within && v->groups[2].within);
    ck_assert_uint_eq(v->counted.n, 3);
    g_autoptr(GString) text = g_string_new(NULL);
    moe_validation_report(v, TRUE, text);
    ck_assert(strstr(text->str, "old: 1 figure, mean") != NULL);
    ck_assert(strstr(text->str, "not counted (-): another kernel") != NULL);
    ck_assert(strstr(text->str, "large: 1 figure, mean 1.2 %, worst 1.2 %, mean at most 5 %") !=
              NULL);
}
END_TEST

/* Every mark is explained once below the table, and only what is there. */
START_TEST(marks_are_explained)
{
    static const char some[] = "rows:\n  - {name: large, where: {tokens: '>= 5000'}, mean: 5%}\n";
    static const struct {
        const char *fitted, *csv, *has, *has_not;
    } rows[] = {
        {"fitted: [{tokens: '8000'}]\n", "8000,82,\nhalf,latency,1000,20,\nhalf,older,1000,,50\n",
         "(*: constants of the preset were fitted on this row)\n"
         "others: 2 figures, not counted (-): rows of no group\n",
         "large: 1 figures"},
        {"", "8000,82,\nhalf,latency,1000,20,\n", "others: 1 figure, not counted (-)", "(*:"},
        {"", "8000,82,\n", "large: 1 figure, mean", "not counted"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strconcat(head, compare, some, rows[i].fitted, NULL);
        g_autofree char *csv =
            g_strconcat("wire,kind,tokens,time,rate\nhalf,latency,", rows[i].csv, NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(MoePublished) p = load(text, csv, &error);
        assert_no_error(error);
        g_autoptr(MoeValidation) v = moe_validate(p, NULL, &error);
        assert_no_error(error);
        g_autoptr(GString) report = g_string_new(NULL);
        moe_validation_report(v, FALSE, report);
        ck_assert(strstr(report->str, rows[i].has) != NULL);
        ck_assert(strstr(report->str, rows[i].has_not) == NULL);
    }
}
END_TEST

/* Beyond the worst, though not beyond the mean; rows of no group are not counted. */
START_TEST(a_bound_is_missed)
{
    g_autoptr(MoePublished) p = good("wire,kind,tokens,time,rate\n"
                                     "half,latency,8000,81,\nhalf,latency,8000,82,\n"
                                     "half,latency,8000,80.5,\nhalf,latency,8000,92,\n");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeValidation) v = moe_validate(p, NULL, &error);
    assert_no_error(error);
    ck_assert(v->groups[1].mean < 0.05 && v->groups[1].worst > 0.1);
    ck_assert(!v->groups[1].within && !v->counted.within);
    g_autoptr(GString) text = g_string_new(NULL);
    moe_validation_report(v, FALSE, text);
    ck_assert(strstr(text->str, "worst at most 10 %: MISSED") != NULL);
}
END_TEST

/* Rows that were never seen: nothing was fitted on them. */
START_TEST(takes_other_rows)
{
    g_autoptr(MoePublished) own = good("wire,kind,tokens,time,rate\nhalf,latency,8000,80,\n");
    g_autofree char *rows = test_file("mine.csv",
                                      "rate,tokens,extra,wire,kind,time\n,8000,x,half,latency,81\n"
                                      ",8000,x,half,older,81\n,10,x,half,oldest,81\n",
                                      -1);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePublished) p = moe_published_load(own->path, rows, &error);
    assert_no_error(error);
    ck_assert_uint_eq(p->rows->len, 3);
    ck_assert(!((const MoePublishedRow *)p->rows->pdata[0])->fitted);
    /* No group that is not counted takes any of them. */
    static const int expected[] = {1, 1, 2};
    for (guint i = 0; i < 3; i++)
        ck_assert_int_eq(((const MoePublishedRow *)p->rows->pdata[i])->group, expected[i]);
}
END_TEST

#define ROW "wire,kind,tokens,time,rate\nhalf,latency,8000,80,\n"

static const struct {
    const char *compare, *groups, *csv, *message;
} bad[] = {
    {"compare: []\n", groups, ROW, "made-up.yaml:9:10: compare: a list of maps belongs here"},
    {"compare: [{column: time, phase: dispatch, unit: hours}]\n", groups, ROW,
     "made-up.yaml:9:49: unit: 'hours' is not known"},
    {"compare: [{column: time, phase: despatch, unit: us}]\n", groups, ROW,
     "phase: 'despatch' is not known; did you mean dispatch?"},
    {"compare: [{column: tyme, phase: dispatch, unit: us}]\n", groups, ROW,
     "made-up.csv:1: there is no column 'tyme'; is it 'time'? rename it"},
    {compare, "rows: [{name: x}]\n", ROW,
     "made-up.yaml:12:8: x: a bound is missing; write mean: 5% or worst: 10%"},
    {compare, "rows: [{name: x, counted: false}]\n", ROW, "x: why: missing"},
    {compare, "rows: [{name: x, mean: 5%, where: {tokens: '>= many'}}]\n", ROW,
     "made-up.yaml:12:44: '>= many' is no comparison; write such as '>= 64'"},
    {compare, "rows: [{name: x, mean: 5%, where: tokens}]\n", ROW,
     "where: a map of columns and what stands there belongs here"},
    {compare, groups, "wire,kind,tokens,time,rate\nhalf,latency,8000,fast,\n",
     "made-up.csv:2: time: 'fast' is not a number"},
    {compare, groups, "wire,kind,tokens,time,rate\nhalf,latency,8000,-1,\n",
     "made-up.csv:2: time: -1 is out of range"},
    {compare, groups, "wire,kind,tokens,time,rate\n", "made-up.csv: there are no rows"},
    {compare, groups, "wire,kind,tokens,time,rate\nhalf,latency,8000\n",
     "made-up.csv:2: 3 fields where the first line names 5"},
};

START_TEST(refuses_bad_cases)
{
    g_autofree char *text = g_strconcat(head, bad[_i].compare, bad[_i].groups, NULL);
    GError *error = NULL;
    ck_assert_ptr_null(load(text, bad[_i].csv, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

static const struct {
    const char *csv, *message;
} bad_rows[] = {
    {"wire,kind,tokens,time,rate\nhalf,latency,8000,80,\nhalf,latency,0,80,\n",
     "made-up.csv:3: --set phase.tokens_per_gpu: tokens_per_gpu: '0' is out of range"},
    {"wire,kind,tokens,time,rate\nwhole,latency,8000,80,\n",
     "made-up.csv:2: wire: 'whole' is none of the values that the case knows"},
};

START_TEST(refuses_rows_that_are_no_scenario)
{
    g_autoptr(MoePublished) p = good(bad_rows[_i].csv);
    GError *error = NULL;
    ck_assert_ptr_null(moe_validate(p, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad_rows[_i].message);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("validate");
    TCase *tests = tcase_create("validate");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, errors_equal_their_closed_form);
    tcase_add_test(tests, marks_are_explained);
    tcase_add_test(tests, a_bound_is_missed);
    tcase_add_test(tests, takes_other_rows);
    tcase_add_loop_test(tests, refuses_bad_cases, 0, G_N_ELEMENTS(bad));
    tcase_add_loop_test(tests, refuses_rows_that_are_no_scenario, 0, G_N_ELEMENTS(bad_rows));
    suite_add_tcase(suite, tests);
    return suite;
}

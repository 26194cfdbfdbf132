#include "config.h"

#include "sim/base/csv.h"
#include "tests/unit/harness.h"

#include <string.h>

/* The columns of every table here; "w" may be absent. */
static const char *const columns[] = {"a", "b", "w?", NULL};

static MoeCsv *open_text(const char *text, gssize length, GError **error)
{
    g_autofree char *path = test_file("table.csv", text, length);
    return moe_csv_open(path, columns, error);
}

static const struct {
    const char *text;
    const char *rows; /* the wanted columns as "a|b|w", rows ended by ';', "-" for no column */
} good[] = {
    {"a,b\n1,2\n3,4\n", "1|2|-;3|4|-;"},
    {"a,b\n1,2", "1|2|-;"}, /* the last line need not end */
    {"a,b\r\n1,2\r\n", "1|2|-;"},
    {"a,b,w\n1,2,3\n", "1|2|3;"},
    {"w,x,b,y,a\n5,,2,,1\n", "1|2|5;"}, /* any order, others are passed over */
    {" a , b \n1,2\n", "1|2|-;"},
    {"a,b\n,\n", "||-;"},
    {"a,b\n 1 ,2 \n", " 1 |2 |-;"}, /* blanks belong to the field */
    {"a,b\n\"1\",\"2\"\n", "1|2|-;"},
    {"a,b\n\"1,5\",\"say \"\"so\"\"\"\n", "1,5|say \"so\"|-;"},
    {"a,b\n\"\",\"\"\"\"\n", "|\"|-;"},
    {"\"a\",\"b\"\n1,2\n", "1|2|-;"},
    {"a,b\n1\"2,3\n", "1\"2|3|-;"}, /* a quote inside an unquoted field is a quote */
    {"a,b\n\xC3\xA9,\xE2\x82\xAC\n", "\xC3\xA9|\xE2\x82\xAC|-;"},
    {"a,b\n", ""},
    {"a,b", ""},
};

START_TEST(reads_rows)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeCsv) csv = open_text(good[_i].text, -1, &error);
    assert_no_error(error);
    g_autoptr(GString) rows = g_string_new(NULL);
    while (moe_csv_next(csv, &error)) {
        const char *w = moe_csv_text(csv, 2);
        g_string_append_printf(rows, "%s|%s|%s;", moe_csv_text(csv, 0), moe_csv_text(csv, 1),
                               w != NULL ? w : "-");
    }
    assert_no_error(error);
    ck_assert_str_eq(rows->str, good[_i].rows);
    ck_assert_int_eq(moe_csv_offset(csv), (gint64)strlen(good[_i].text));
    /* The end stays the end. */
    ck_assert(!moe_csv_next(csv, &error));
    assert_no_error(error);
}
END_TEST

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *text;
    gssize length;
    const char *message;
} bad[] = {
    {BYTES(""), "table.csv: the file is empty; the first line must name the columns"},
    {BYTES("\n1,2\n"), "table.csv:1: there is no column 'a'"},
    {BYTES("a,c\n1,2\n"), "table.csv:1: there is no column 'b'; is it 'a'? rename it"},
    {BYTES("a,xyz\n1,2\n"), "table.csv:1: there is no column 'b'"},
    {BYTES("a;b\n1;2\n"), "table.csv:1: there is no column 'a'"},
    {BYTES("a,b\n1,2,3\n"), "table.csv:2: 3 fields where the first line names 2"},
    {BYTES("a,b\n1,2\n1\n"), "table.csv:3: 1 fields where the first line names 2"},
    {BYTES("a,b\n\"1,2\n"), "table.csv:2: a quoted field does not end on its line"},
    {BYTES("a,b\n\"1\n\",2\n"), "table.csv:2: a quoted field does not end on its line"},
    {BYTES("a,b\n\"1\"2,3\n"), "table.csv:2: text follows a closing quote"},
    {BYTES("a,b\n\"1\" ,3\n"), "table.csv:2: text follows a closing quote"},
    {BYTES("a,b\n1,\xFF\n"), "table.csv:2: not UTF-8"},
    {BYTES("a,b\n1,\xC3\n"), "table.csv:2: not UTF-8"},
    {BYTES("a,b\n1,2\0\n"), "table.csv:2: a NUL character in the line"},
    {BYTES("a,b\n\0001,2\n"), "table.csv:2: a NUL character in the line"},
    {BYTES("a,b\n1,2\0junk"), "table.csv:2: a NUL character in the line"},
    {BYTES("a,b\n1,2\n\0"), "table.csv:3: a NUL character in the line"},
    {BYTES("a\0,b\n1,2\n"), "table.csv:1: a NUL character in the line"},
};

START_TEST(refuses_bad_lines)
{
    GError *error = NULL;
    MoeCsv *csv = open_text(bad[_i].text, bad[_i].length, &error);
    while (csv != NULL && moe_csv_next(csv, &error))
        continue;
    moe_csv_close(csv);
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

START_TEST(refuses_what_cannot_be_read)
{
    GError *error = NULL;
    g_autofree char *missing = g_build_filename(test_folder(), "no-such.csv", NULL);
    ck_assert_ptr_null(moe_csv_open(missing, columns, &error));
    assert_error(&error, MOE_ERROR_INPUT, "no-such.csv: cannot be read: ");
    ck_assert_ptr_null(moe_csv_open(test_folder(), columns, &error));
    assert_error(&error, MOE_ERROR_INPUT, "cannot be read: Is a directory");
}
END_TEST

/* 64 KiB bound a line, wherever it stands; @length counts its end. */
static gboolean reads_line_of(size_t length, GError **error)
{
    g_autoptr(GString) text = g_string_new("a,b\n");
    g_autofree char *filler = g_strnfill(length - 3, 'x');
    g_string_append_printf(text, "%s,1\n1,2\n", filler);
    g_autoptr(MoeCsv) csv = open_text(text->str, -1, error);
    assert_no_error(error != NULL ? *error : NULL);
    int rows = 0;
    while (moe_csv_next(csv, error))
        rows++;
    return rows == 2;
}

START_TEST(bounds_a_line)
{
    GError *error = NULL;
    ck_assert(reads_line_of(65000, &error));
    assert_no_error(error);
    ck_assert(!reads_line_of(65537, &error));
    assert_error(&error, MOE_ERROR_INPUT, "table.csv:2: the line is longer than 64 KiB");
    ck_assert(!reads_line_of(1 << 20, &error));
    assert_error(&error, MOE_ERROR_INPUT, "table.csv:2: the line is longer than 64 KiB");
}
END_TEST

static const struct {
    const char *field;
    gboolean whole; /* read with moe_csv_int() */
    double value;
    const char *message; /* NULL: it is good, and @value is in [-8, 9e15] */
} numbers[] = {
    {"0", TRUE, 0, NULL},
    {"-8", TRUE, -8, NULL},
    {"65536", TRUE, 65536, NULL},
    {"1e3", TRUE, 1000, NULL},
    {"9e15", TRUE, 9e15, NULL},
    {"1.5", FALSE, 1.5, NULL},
    {"-0.25", FALSE, -0.25, NULL},
    {"1.5", TRUE, 0, "table.csv:2: a: '1.5' is not a whole number"},
    {"-9", TRUE, 0, "table.csv:2: a: -9 is out of range; it must be -8 to 9e+15"},
    {"1e16", FALSE, 0, "table.csv:2: a: 1e+16 is out of range; it must be -8 to 9e+15"},
    {"", TRUE, 0, "table.csv:2: a: '' is not a number"},
    {"x", FALSE, 0, "table.csv:2: a: 'x' is not a number"},
    {"1 2", TRUE, 0, "table.csv:2: a: '1 2' is not a number"},
    {"0x10", TRUE, 0, "table.csv:2: a: '0x10' is not a number"},
    {"nan", FALSE, 0, "table.csv:2: a: 'nan' is not a number"},
    {"inf", FALSE, 0, "table.csv:2: a: 'inf' is not a number"},
    {"1e999", FALSE, 0, "table.csv:2: a: '1e999' is too large"},
};

START_TEST(reads_numbers)
{
    g_autofree char *text = g_strdup_printf("a,b\n%s,2\n", numbers[_i].field);
    GError *error = NULL;
    g_autoptr(MoeCsv) csv = open_text(text, -1, &error);
    ck_assert(moe_csv_next(csv, &error));
    gint64 whole = -77;
    double value = -77;
    gboolean read;
    if (numbers[_i].whole)
        read = moe_csv_int(csv, 0, -8, G_GINT64_CONSTANT(9000000000000000), &whole, &error);
    else
        read = moe_csv_number(csv, 0, -8, 9e15, &value, &error);
    if (numbers[_i].message != NULL) {
        ck_assert(!read);
        assert_error(&error, MOE_ERROR_INPUT, numbers[_i].message);
        ck_assert(whole == -77 && value == -77); /* untouched */
        return;
    }
    assert_no_error(error);
    ck_assert(read);
    ck_assert((numbers[_i].whole ? (double)whole : value) == numbers[_i].value);
}
END_TEST

/* Beyond 2^53 not every whole number is a double: what would be read is not what was written. */
START_TEST(refuses_inexact_whole_numbers)
{
    static const char *const fields[] = {"9007199254740993", "9223372036854775808", "1e18",
                                         "-1e18"};
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        g_autofree char *text = g_strdup_printf("a,b\n%s,2\n", fields[i]);
        GError *error = NULL;
        g_autoptr(MoeCsv) csv = open_text(text, -1, &error);
        ck_assert(moe_csv_next(csv, &error));
        gint64 value = -77;
        ck_assert(!moe_csv_int(csv, 0, G_MININT64, G_MAXINT64, &value, &error));
        assert_error(&error, MOE_ERROR_INPUT, "table.csv:2: a: ");
        ck_assert_int_eq(value, -77);
    }
}
END_TEST

static const struct {
    const char *text, *field;
} quoted[] = {
    {"", ""},
    {"plain text", "plain text"},
    {"a,b", "\"a,b\""},
    {"say \"so\"", "\"say \"\"so\"\"\""},
    {"\"", "\"\"\"\""},
    {"two\nlines", "\"two\nlines\""},
    {"carriage\rreturn", "\"carriage\rreturn\""},
};

START_TEST(quotes_fields)
{
    g_autofree char *field = moe_csv_quote(quoted[_i].text);
    ck_assert_str_eq(field, quoted[_i].field);
    if (strpbrk(quoted[_i].text, "\r\n") != NULL)
        return; /* written, but not read */
    g_autofree char *text = g_strdup_printf("a,b\n%s,%s\n", field, field);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeCsv) csv = open_text(text, -1, &error);
    ck_assert(moe_csv_next(csv, &error));
    ck_assert_str_eq(moe_csv_text(csv, 0), quoted[_i].text);
    ck_assert_str_eq(moe_csv_text(csv, 1), quoted[_i].text);
}
END_TEST

START_TEST(fails_with_the_line)
{
    GError *error = NULL;
    g_autoptr(MoeCsv) csv = open_text("a,b\n1,2\n3,4\n", -1, &error);
    ck_assert(moe_csv_next(csv, &error) && moe_csv_next(csv, &error));
    ck_assert(!moe_csv_fail(csv, &error, "%s is %d", "b", 4));
    assert_error(&error, MOE_ERROR_INPUT, "table.csv:3: b is 4");
    moe_csv_close(NULL);
}
END_TEST

START_TEST(knows_a_last_line_without_an_end)
{
    static const char *const texts[] = {"a,b\n1,2\n", "a,b\n1,2"};
    for (int whole = 1; whole >= 0; whole--) {
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeCsv) csv = open_text(texts[1 - whole], -1, &error);
        ck_assert(moe_csv_next(csv, &error) && !moe_csv_next(csv, &error));
        ck_assert_int_eq(moe_csv_is_whole(csv), whole);
    }
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("csv");
    TCase *tests = tcase_create("csv");
    tcase_add_loop_test(tests, reads_rows, 0, (int)G_N_ELEMENTS(good));
    tcase_add_loop_test(tests, refuses_bad_lines, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, refuses_what_cannot_be_read);
    tcase_add_test(tests, bounds_a_line);
    tcase_add_loop_test(tests, reads_numbers, 0, (int)G_N_ELEMENTS(numbers));
    tcase_add_test(tests, refuses_inexact_whole_numbers);
    tcase_add_loop_test(tests, quotes_fields, 0, (int)G_N_ELEMENTS(quoted));
    tcase_add_test(tests, fails_with_the_line);
    tcase_add_test(tests, knows_a_last_line_without_an_end);
    suite_add_tcase(suite, tests);
    return suite;
}

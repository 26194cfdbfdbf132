#include "config.h"

#include "sim/base/text.h"
#include "tests/unit/harness.h"

static const struct {
    const char *text, *printable;
} rows[] = {
    {"", ""},
    {"plain, größer, 北京 \xf0\x9f\x98\x80", "plain, größer, 北京 \xf0\x9f\x98\x80"},
    {"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"},
    {"a\nb\tc\r", "a\\x0ab\\x09c\\x0d"},
    {"\xc2\x9b"
     "31m", /* C1: CSI */
     "\\xc2\\x9b31m"},
    {"caf\xe9 \xff\xfe", "caf\\xe9 \\xff\\xfe"},
    {"cut \xe5\x8c", "cut \\xe5\\x8c"},
    {"\xc0\x80 \xed\xa0\x80", "\\xc0\\x80 \\xed\\xa0\\x80"}, /* overlong; half a pair */
};

START_TEST(escapes_what_terminals_obey)
{
    g_autofree char *text = moe_text_printable(rows[_i].text, FALSE);
    ck_assert_str_eq(text, rows[_i].printable);
    ck_assert(g_utf8_validate(text, -1, NULL));
}
END_TEST

START_TEST(lines_may_stay)
{
    g_autofree char *text = moe_text_printable("a\tb\nc\rd\x01", TRUE);
    ck_assert_str_eq(text, "a\tb\nc\\x0dd\\x01");
}
END_TEST

START_TEST(skips_one_mark)
{
    static const char marked[] = "\xef\xbb\xbf\xef\xbb\xbfx", plain[] = "\xef\xbb";
    size_t length = sizeof(marked) - 1;
    ck_assert_ptr_eq(moe_text_skip_mark(marked, &length), marked + 3);
    ck_assert_uint_eq(length, 4);
    length = 2;
    ck_assert_ptr_eq(moe_text_skip_mark(plain, &length), plain);
    ck_assert_uint_eq(length, 2);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("text");
    TCase *tests = tcase_create("text");
    tcase_add_loop_test(tests, escapes_what_terminals_obey, 0, (int)G_N_ELEMENTS(rows));
    tcase_add_test(tests, lines_may_stay);
    tcase_add_test(tests, skips_one_mark);
    suite_add_tcase(suite, tests);
    return suite;
}

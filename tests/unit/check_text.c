#include "config.h"

#include "sim/base/progress.h"
#include "sim/base/text.h"
#include "tests/unit/harness.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* What was written to the terminal @fd since. It comes in pieces, each when the kernel gets to it. */
static const char *shown(int fd, char text[static 512])
{
    enum { PATIENCE_MS = 500 };
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    size_t n = 0;
    while (n < 511 && poll(&ready, 1, PATIENCE_MS) > 0) {
        ssize_t got = read(fd, text + n, 511 - n);
        ck_assert(got > 0);
        n += (size_t)got;
    }
    text[n] = '\0';
    return text;
}

/* On a terminal: no time left before the first per cent; a second pass has a label and clock of its
 * own. */
START_TEST(progress_begins_again)
{
    char text[512];
    int ours = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    ck_assert(ours >= 0 && grantpt(ours) == 0 && unlockpt(ours) == 0);
    int theirs = open(ptsname(ours), O_RDWR | O_NOCTTY), before = dup(STDERR_FILENO);
    ck_assert(theirs >= 0 && dup2(theirs, STDERR_FILENO) >= 0);
    g_autoptr(MoeProgress) progress = moe_progress_new("simulating", NULL);
    moe_progress_update(progress, 1, 2);
    ck_assert_str_eq(shown(ours, text), "");
    g_usleep(2100000);
    moe_progress_update(progress, 1, 1000);
    ck_assert_str_eq(shown(ours, text), "\r\033[Ksimulating: 0 %");
    g_usleep(250000);
    moe_progress_update(progress, 500, 1000);
    ck_assert(g_str_has_prefix(shown(ours, text), "\r\033[Ksimulating: 50 %, "));
    ck_assert(g_str_has_suffix(text, " s left"));
    moe_progress_again(progress, "control");
    g_usleep(250000);
    moe_progress_update(progress, 1, 1000);
    ck_assert_str_eq(shown(ours, text), "\r\033[Kcontrol: 0 %");
    ck_assert(dup2(before, STDERR_FILENO) >= 0);
    close(before);
    close(theirs);
    close(ours);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("text");
    TCase *tests = tcase_create("text");
    tcase_add_loop_test(tests, escapes_what_terminals_obey, 0, (int)G_N_ELEMENTS(rows));
    tcase_add_test(tests, lines_may_stay);
    tcase_add_test(tests, skips_one_mark);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, progress_begins_again);
    suite_add_tcase(suite, tests);
    return suite;
}

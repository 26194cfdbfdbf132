#include "config.h"

#include "sim/base/units.h"
#include "tests/unit/harness.h"

static const struct {
    const char *text;
    MoeUnit unit;
    double value;
} good[] = {
    {"400Gbps", MOE_UNIT_RATE, 50e9},
    {"400GBps", MOE_UNIT_RATE, 400e9},
    {"50 GB/s", MOE_UNIT_RATE, 50e9},
    {"8 Gb/s", MOE_UNIT_RATE, 1e9},
    {"1GiBps", MOE_UNIT_RATE, 1073741824},
    {"0us", MOE_UNIT_TIME, 0},
    {"0.001ns", MOE_UNIT_TIME, 1e-12},
    {"1.5us", MOE_UNIT_TIME, 1.5e-6},
    {"2e3ns", MOE_UNIT_TIME, 2e-6},
    {"80GB", MOE_UNIT_BYTES, 80e9},
    {"80GiB", MOE_UNIT_BYTES, 80.0 * 1073741824},
    {"989.4TFLOPS", MOE_UNIT_SPEED, 989.4e12},
    {"67 TFLOP/s", MOE_UNIT_SPEED, 67e12},
    {"90%", MOE_UNIT_RATIO, 0.9},
    {"0.005", MOE_UNIT_RATIO, 0.005},
};

START_TEST(reads_units)
{
    g_autoptr(GError) error = NULL;
    double value = -1;
    ck_assert(moe_units_parse(good[_i].text, good[_i].unit, &value, &error));
    assert_no_error(error);
    assert_close(value, good[_i].value, 1e-15);
}
END_TEST

static const struct {
    const char *text;
    MoeUnit unit;
    const char *message;
} bad[] = {
    {"400", MOE_UNIT_RATE, "'400' has no unit; write 400Gbps (bits) or 400GBps (bytes)"},
    {"400Gb", MOE_UNIT_RATE, "'Gb' is not a unit here"},
    {"400gbps", MOE_UNIT_RATE, "'gbps' is not a unit here"},
    {"5us", MOE_UNIT_RATE, "'us' is not a unit here"},
    {"-5us", MOE_UNIT_TIME, "is negative"},
    {"", MOE_UNIT_TIME, "is not a number with a unit"},
    {"fast", MOE_UNIT_TIME, "is not a number with a unit"},
    {"inf us", MOE_UNIT_TIME, "is not a number with a unit"},
    {"nanus", MOE_UNIT_TIME, "is not a number with a unit"},
    {"0x10us", MOE_UNIT_TIME, "'x10us' is not a unit here"},
    {"1e999us", MOE_UNIT_TIME, "too large"},
    {"1e-300ns", MOE_UNIT_TIME, "'1e-300ns' is less than a picosecond; write 0us"},
    {"0.0009ns", MOE_UNIT_TIME, "is less than a picosecond"},
    {"1e308TFLOPS", MOE_UNIT_SPEED, "too large"},
    {"90 percent", MOE_UNIT_RATIO, "write a number or a percentage such as 90%"},
};

START_TEST(refuses_what_is_no_quantity)
{
    GError *error = NULL;
    double value = -1;
    ck_assert(!moe_units_parse(bad[_i].text, bad[_i].unit, &value, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
    ck_assert(value == -1); /* untouched */
}
END_TEST

static const struct {
    double value;
    MoeUnit unit;
    const char *text;
} printed[] = {
    {1.2544e-3, MOE_UNIT_TIME, "1.254 ms"},
    {0.99999e-3, MOE_UNIT_TIME, "1.000 ms"},
    {999.4e-6, MOE_UNIT_TIME, "999.4 us"},
    {50e9, MOE_UNIT_RATE, "50.00 GB/s"},
    {66.9e12, MOE_UNIT_SPEED, "66.90 TFLOP/s"},
    {0, MOE_UNIT_TIME, "0 s"},
    {12, MOE_UNIT_BYTES, "12 B"},
    {0.186, MOE_UNIT_RATIO, "18.6 %"},
    {-1.2544e-3, MOE_UNIT_TIME, "-1.254 ms"},
    {-999.96e9, MOE_UNIT_RATE, "-1.000 TB/s"},
};

START_TEST(prints_units)
{
    char buffer[MOE_UNITS_TEXT];
    ck_assert_str_eq(moe_units_format(printed[_i].value, printed[_i].unit, buffer),
                     printed[_i].text);
}
END_TEST

START_TEST(prints_counts)
{
    char buffer[MOE_UNITS_TEXT];
    ck_assert_str_eq(moe_units_format_count(0, buffer), "0");
    ck_assert_str_eq(moe_units_format_count(999, buffer), "999");
    ck_assert_str_eq(moe_units_format_count(65536, buffer), "65,536");
    ck_assert_str_eq(moe_units_format_count(-1234567, buffer), "-1,234,567");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("units");
    TCase *tests = tcase_create("units");
    tcase_add_loop_test(tests, reads_units, 0, (int)G_N_ELEMENTS(good));
    tcase_add_loop_test(tests, refuses_what_is_no_quantity, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_loop_test(tests, prints_units, 0, (int)G_N_ELEMENTS(printed));
    tcase_add_test(tests, prints_counts);
    suite_add_tcase(suite, tests);
    return suite;
}

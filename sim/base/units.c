#include "config.h"

#include "sim/base/units.h"

#include "sim/base/error.h"

#include <math.h>
#include <string.h>

typedef struct {
    const char *suffix;
    double factor;
} Suffix;

static const Suffix bytes_suffixes[] = {
    {"B", 1},        {"kB", 1e3},     {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9}, {"TB", 1e12},
    {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}, {NULL, 0},
};
static const Suffix rate_suffixes[] = {
    {"bps", 0.125},     {"kbps", 0.125e3}, {"Kbps", 0.125e3}, {"Mbps", 0.125e6}, {"Gbps", 0.125e9},
    {"Tbps", 0.125e12}, {"Bps", 1},        {"kBps", 1e3},     {"KBps", 1e3},     {"MBps", 1e6},
    {"GBps", 1e9},      {"TBps", 1e12},    {"KiBps", 0x1p10}, {"MiBps", 0x1p20}, {"GiBps", 0x1p30},
    {"TiBps", 0x1p40},  {NULL, 0},
};
static const Suffix time_suffixes[] = {
    {"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {NULL, 0}};
static const Suffix speed_suffixes[] = {
    {"FLOPS", 1},     {"kFLOPS", 1e3},  {"MFLOPS", 1e6}, {"GFLOPS", 1e9},
    {"TFLOPS", 1e12}, {"PFLOPS", 1e15}, {NULL, 0},
};
static const Suffix ratio_suffixes[] = {{"", 1}, {"%", 0.01}, {NULL, 0}};

typedef struct {
    const Suffix *suffixes;
    const char *remedy; /* two right spellings of the number %s, or one */
} UnitRow;

static const UnitRow unit_rows[] = {
    [MOE_UNIT_BYTES] = {bytes_suffixes, "write %sMB or %sMiB"},
    [MOE_UNIT_RATE] = {rate_suffixes, "write %sGbps (bits) or %sGBps (bytes)"},
    [MOE_UNIT_TIME] = {time_suffixes, "write %sus or %sms"},
    [MOE_UNIT_SPEED] = {speed_suffixes, "write %sTFLOPS or %sGFLOPS"},
    [MOE_UNIT_RATIO] = {ratio_suffixes, "write a number or a percentage such as 90%%"},
};

/* The length of the decimal number that @text starts with; 0 when there is none. */
static size_t number_length(const char *text)
{
    const char *p = text;
    if (*p == '+' || *p == '-')
        p++;
    size_t digits = 0;
    for (; g_ascii_isdigit(*p); p++)
        digits++;
    if (*p == '.')
        for (p++; g_ascii_isdigit(*p); p++)
            digits++;
    if (digits == 0)
        return 0;
    if (*p == 'e' || *p == 'E') {
        const char *q = p + 1;
        if (*q == '+' || *q == '-')
            q++;
        if (g_ascii_isdigit(*q)) {
            while (g_ascii_isdigit(*q))
                q++;
            p = q;
        }
    }
    return (size_t)(p - text);
}

gboolean moe_units_parse_number(const char *text, double *value_out, GError **error)
{
    size_t length = number_length(text);
    if (length == 0 || text[length] != '\0')
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is not a number", text);
    double value = g_ascii_strtod(text, NULL);
    if (!isfinite(value))
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is too large for a number", text);
    *value_out = value;
    return TRUE;
}

/* "GB/s" and "TFLOP/s" are other spellings of "GBps" and "TFLOPS". */
static char *canonical_suffix(const char *suffix, MoeUnit unit)
{
    size_t length = strlen(suffix);
    if (length > 2 && strcmp(suffix + length - 2, "/s") == 0) {
        g_autofree char *stem = g_strndup(suffix, length - 2);
        if (unit == MOE_UNIT_RATE)
            return g_strconcat(stem, "ps", NULL);
        if (unit == MOE_UNIT_SPEED)
            return g_strconcat(stem, "S", NULL);
    }
    return g_strdup(suffix);
}

static gboolean fail_unit(const char *text, const char *number, const char *suffix, MoeUnit unit,
                          GError **error)
{
    GString *remedy = g_string_new(unit_rows[unit].remedy);
    g_string_replace(remedy, "%s", number, 0);
    g_string_replace(remedy, "%%", "%", 0);
    if (*suffix == '\0')
        moe_fail(error, MOE_ERROR_INPUT, "'%s' has no unit; %s", text, remedy->str);
    else
        moe_fail(error, MOE_ERROR_INPUT, "'%s': '%s' is not a unit here; %s", text, suffix,
                 remedy->str);
    g_string_free(remedy, TRUE);
    return FALSE;
}

gboolean moe_units_parse(const char *text, MoeUnit unit, double *value_out, GError **error)
{
    size_t length = number_length(text);
    if (length == 0)
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is not a number with a unit", text);
    g_autofree char *number = g_strndup(text, length);
    double value = 0;
    if (!moe_units_parse_number(number, &value, error))
        return FALSE;
    if (value < 0)
        return moe_fail(error, MOE_ERROR_INPUT, "'%s' is negative", text);
    const char *rest = text + length;
    while (*rest == ' ')
        rest++;
    g_autofree char *suffix = canonical_suffix(rest, unit);
    for (const Suffix *row = unit_rows[unit].suffixes; row->suffix != NULL; row++) {
        if (strcmp(row->suffix, suffix) == 0) {
            if (!isfinite(value * row->factor))
                return moe_fail(error, MOE_ERROR_INPUT, "'%s' is too large", text);
            if (unit == MOE_UNIT_TIME && value > 0 && value * row->factor < 1e-12)
                return moe_fail(error, MOE_ERROR_INPUT,
                                "'%s' is less than a picosecond; write 0us for no time at all",
                                text);
            *value_out = value * row->factor;
            return TRUE;
        }
    }
    return fail_unit(text, number, rest, unit, error);
}

typedef struct {
    double least;
    double divisor;
    const char *prefix;
} Prefix;

static const Prefix large_prefixes[] = {{1e15, 1e15, "P"}, {1e12, 1e12, "T"}, {1e9, 1e9, "G"},
                                        {1e6, 1e6, "M"},   {1e3, 1e3, "k"},   {0, 1, ""}};
static const Prefix time_prefixes[] = {
    {1, 1, ""}, {1e-3, 1e-3, "m"}, {1e-6, 1e-6, "u"}, {0, 1e-9, "n"}};

char *moe_units_format(double value, MoeUnit unit, char buffer[MOE_UNITS_TEXT])
{
    static const char *const symbols[] = {
        [MOE_UNIT_BYTES] = "B",      [MOE_UNIT_RATE] = "B/s", [MOE_UNIT_TIME] = "s",
        [MOE_UNIT_SPEED] = "FLOP/s", [MOE_UNIT_RATIO] = "%",
    };
    if (unit == MOE_UNIT_RATIO) {
        g_snprintf(buffer, MOE_UNITS_TEXT, "%.1f %%", value * 100);
        return buffer;
    }
    /* 999.96 would print as 1000.0 of the smaller prefix: choose the prefix for the rounded value.
     */
    double rounded = fabs(value) * (1 + 5e-5);
    const Prefix *prefix = unit == MOE_UNIT_TIME ? time_prefixes : large_prefixes;
    while (rounded < prefix->least)
        prefix++;
    double scaled = value / prefix->divisor;
    int decimals = fabs(scaled) >= 99.995 ? 1 : fabs(scaled) >= 9.9995 ? 2 : 3;
    if (value == 0 || (unit == MOE_UNIT_BYTES && prefix->divisor == 1))
        decimals = 0;
    g_snprintf(buffer, MOE_UNITS_TEXT, "%.*f %s%s", decimals, scaled,
               value == 0 ? "" : prefix->prefix, symbols[unit]);
    return buffer;
}

char *moe_units_format_count(gint64 count, char buffer[MOE_UNITS_TEXT])
{
    char digits[MOE_UNITS_TEXT];
    g_snprintf(digits, sizeof(digits), "%" G_GINT64_FORMAT, count);
    const char *from = digits;
    char *to = buffer;
    if (*from == '-')
        *to++ = *from++;
    for (size_t left = strlen(from); left > 0; left--) {
        *to++ = *from++;
        if (left > 1 && left % 3 == 1)
            *to++ = ',';
    }
    *to = '\0';
    return buffer;
}

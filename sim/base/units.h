/* units.h - quantities with units, in and out.
 *
 * Layer: sim/base. Inside moesim every quantity is a double in SI base units (bytes, seconds,
 * bytes/s, FLOP/s) or a plain ratio; prefixes exist only here. Bits and bytes differ: 400Gbps is
 * 50e9 bytes/s, 400GBps is 400e9. Decimal prefixes are powers of 1000, Ki/Mi/Gi/Ti powers of 1024.
 */
#ifndef MOE_BASE_UNITS_H
#define MOE_BASE_UNITS_H

#include <glib.h>

typedef enum {
    MOE_UNIT_BYTES, /* B, kB, MB, GB, TB, KiB, MiB, GiB, TiB */
    MOE_UNIT_RATE,  /* per second: bps, kbps, Mbps, Gbps, Tbps (bits); Bps, kBps, ... TiBps; also
                       Gb/s, GB/s */
    MOE_UNIT_TIME,  /* ns, us, ms, s */
    MOE_UNIT_SPEED, /* FLOPS, kFLOPS, MFLOPS, GFLOPS, TFLOPS, PFLOPS; also TFLOP/s */
    MOE_UNIT_RATIO, /* a bare number (0.9) or a percentage (90%) */
} MoeUnit;

/* Reads "400Gbps", "1.5 us", "90%" ... into SI base units.
 *
 * The number is decimal (no hexadecimal, infinity or NaN) and not negative; blanks between number
 * and unit are allowed. A missing or foreign unit is an error whose message names what to write;
 * only a MOE_UNIT_RATIO may be bare. Errors: MOE_ERROR_INPUT; @value_out untouched. */
gboolean moe_units_parse(const char *text, MoeUnit unit, double *value_out,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Reads a decimal number (sign, digits, point, exponent) that spans all of @text, in the C locale.
 * Errors: MOE_ERROR_INPUT (empty, trailing characters, not finite); @value_out untouched. */
gboolean moe_units_parse_number(const char *text, double *value_out,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Writes @value with the prefix that leaves 1 to 999 before the point and three or four significant
 * digits: "1.254 ms", "50.0 GB/s", "66.9 TFLOP/s". @buffer holds MOE_UNITS_TEXT bytes and is
 * returned. */
#define MOE_UNITS_TEXT 32
char *moe_units_format(double value, MoeUnit unit, char buffer[MOE_UNITS_TEXT]);

/* Writes a count with thousands separators: "65,536". Same buffer rule. */
char *moe_units_format_count(gint64 count, char buffer[MOE_UNITS_TEXT]);

#endif

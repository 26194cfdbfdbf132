/* text.h - text that others wrote, before it is printed or stored.
 *
 * Layer: sim/base.
 */
#ifndef MOE_BASE_TEXT_H
#define MOE_BASE_TEXT_H

#include <glib.h>

/* @text with control characters (C0, DEL, C1) and bytes that are not UTF-8 as \xNN, so that it is
 * UTF-8 and moves no terminal's cursor; with @lines, line ends and tabs stay. Free with g_free(). */
char *moe_text_printable(const char *text, gboolean lines);

/* What follows a byte-order mark at the start of the @length bytes at @text, or @text; @length is
 * shortened by it. Borrowed. */
const char *moe_text_skip_mark(const char *text, size_t *length);

#endif

#include "config.h"

#include "sim/base/text.h"

#include <string.h>

char *moe_text_printable(const char *text, gboolean lines)
{
    GString *out = g_string_sized_new(strlen(text));
    while (*text != '\0') {
        gunichar c = g_utf8_get_char_validated(text, -1);
        gboolean valid = c < (gunichar)-2;
        gsize length = valid ? (gsize)(g_utf8_next_char(text) - text) : 1;
        gboolean kept = lines && (c == '\n' || c == '\t');
        if (valid && (kept || !g_unichar_iscntrl(c)))
            g_string_append_len(out, text, (gssize)length);
        else
            for (gsize i = 0; i < length; i++)
                g_string_append_printf(out, "\\x%02x", (guchar)text[i]);
        text += length;
    }
    return g_string_free(out, FALSE);
}

const char *moe_text_skip_mark(const char *text, size_t *length)
{
    if (*length < 3 || memcmp(text, "\xEF\xBB\xBF", 3) != 0)
        return text;
    *length -= 3;
    return text + 3;
}

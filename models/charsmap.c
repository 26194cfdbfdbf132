#include "config.h"

#include "models/charsmap.h"

#include "models/unicode_data.h"

#include <string.h>

enum { LARGEST_BYTES = 4 << 20 };

struct MoeCharsmap {
    guint32 *units; /* [n] */
    size_t n;
    char *text; /* [length], the replacements, and a NUL */
    size_t length;
};

/* A unit of the double array: what its byte is, whether a leaf hangs below it, how far its children
 * are; or, in a leaf, a number of 31 bits. */
static guint32 unit_label(guint32 unit)
{
    return unit & (1U << 31 | 0xFF);
}

static gboolean unit_has_leaf(guint32 unit)
{
    return (unit >> 8 & 1) != 0;
}

static guint32 unit_offset(guint32 unit)
{
    return (unit >> 10) << ((unit & 1U << 9) >> 6);
}

static gboolean is_base64(const char *text)
{
    size_t length = strlen(text), used = length;
    while (used > 0 && length - used < 2 && text[used - 1] == '=')
        used--;
    for (size_t i = 0; i < used; i++)
        if (!g_ascii_isalnum(text[i]) && text[i] != '+' && text[i] != '/')
            return FALSE;
    return length % 4 == 0;
}

static gboolean check_leaf(const MoeCharsmap *map, guint32 base, const char *where, GError **error)
{
    size_t value = map->units[base] & ~(1U << 31);
    if (value < map->length && ((guchar)map->text[value] & 0xC0) == 0x80)
        value = map->length + 1; /* inside a character */
    return value <= map->length ||
           moe_fail(error, MOE_ERROR_INPUT, "%s: leaf %u does not point to a replacement", where,
                    base);
}

/* Puts the children of the node whose children begin at @base on the stack. */
static gboolean push_children(const MoeCharsmap *map, guint32 base, guint8 *seen, GArray *stack,
                              const char *where, GError **error)
{
    if ((base | 0xFF) >= map->n)
        return moe_fail(error, MOE_ERROR_INPUT, "%s: a branch leads to unit %u of %zu", where,
                        base | 0xFF, map->n);
    for (guint32 byte = 1; byte < 256; byte++) {
        guint32 child = base ^ byte;
        if (unit_label(map->units[child]) != byte || seen[child])
            continue;
        seen[child] = TRUE;
        g_array_append_val(stack, child);
    }
    return TRUE;
}

static gboolean check_trie(const MoeCharsmap *map, const char *where, GError **error)
{
    g_autofree guint8 *seen = g_new0(guint8, map->n);
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(guint32));
    if (!push_children(map, unit_offset(map->units[0]), seen, stack, where, error))
        return FALSE;
    while (stack->len > 0) {
        guint32 at = g_array_index(stack, guint32, stack->len - 1);
        g_array_set_size(stack, stack->len - 1);
        guint32 base = at ^ unit_offset(map->units[at]);
        if (!push_children(map, base, seen, stack, where, error) ||
            (unit_has_leaf(map->units[at]) && !check_leaf(map, base, where, error)))
            return FALSE;
    }
    return TRUE;
}

static gboolean take_apart(MoeCharsmap *map, const guchar *bytes, gsize size, const char *where,
                           GError **error)
{
    guint32 trie = 0;
    if (size >= sizeof(trie))
        memcpy(&trie, bytes, sizeof(trie));
    trie = GUINT32_FROM_LE(trie);
    if (trie < sizeof(guint32) || trie % sizeof(guint32) != 0 || trie > size - sizeof(trie))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: a trie of %u bytes in a table of %zu", where,
                        trie, size);
    map->n = trie / sizeof(guint32);
    map->units = g_new(guint32, map->n);
    memcpy(map->units, bytes + sizeof(trie), trie);
    for (size_t i = 0; i < map->n; i++)
        map->units[i] = GUINT32_FROM_LE(map->units[i]);
    map->length = size - sizeof(trie) - trie;
    map->text = g_malloc0(map->length + 1);
    memcpy(map->text, bytes + sizeof(trie) + trie, map->length);
    return moe_unicode_valid_length(map->text, map->length) == map->length ||
           moe_fail(error, MOE_ERROR_INPUT, "%s: the replacements are not UTF-8", where);
}

MoeCharsmap *moe_charsmap_new(const char *base64, const char *where, GError **error)
{
    if (!is_base64(base64)) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: not base64", where);
        return NULL;
    }
    gsize size;
    g_autofree guchar *bytes = g_base64_decode(base64, &size);
    if (size > LARGEST_BYTES) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: %zu bytes; at most %d are read", where, size,
                 LARGEST_BYTES);
        return NULL;
    }
    g_autoptr(MoeCharsmap) map = g_new0(MoeCharsmap, 1);
    if (!take_apart(map, bytes, size, where, error) || !check_trie(map, where, error))
        return NULL;
    return g_steal_pointer(&map);
}

void moe_charsmap_free(MoeCharsmap *map)
{
    if (map == NULL)
        return;
    g_free(map->units);
    g_free(map->text);
    g_free(map);
}

const char *moe_charsmap_find(const MoeCharsmap *map, const char *text, size_t length,
                              size_t *length_out)
{
    guint32 base = unit_offset(map->units[0]);
    for (size_t i = 0; i < length && text[i] != '\0'; i++) {
        guint32 unit = map->units[base ^ (guchar)text[i]];
        if (unit_label(unit) != (guchar)text[i])
            return NULL;
        base ^= (guchar)text[i] ^ unit_offset(unit);
        if (unit_has_leaf(unit)) {
            const char *found = map->text + (map->units[base] & ~(1U << 31));
            *length_out = strlen(found);
            return found;
        }
    }
    return NULL;
}

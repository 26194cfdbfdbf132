#include "config.h"

#include "models/token_table.h"

#include <string.h>

struct MoeTokenTable {
    GHashTable *ids;   /* char * (owned by the chunk) -> id + 1 */
    GPtrArray *tokens; /* id -> char *, NULL where no token has the id */
    GStringChunk *text;
};

MoeTokenTable *moe_token_table_new(void)
{
    MoeTokenTable *table = g_new0(MoeTokenTable, 1);
    table->ids = g_hash_table_new(g_str_hash, g_str_equal);
    table->tokens = g_ptr_array_new();
    table->text = g_string_chunk_new(1 << 16);
    return table;
}

void moe_token_table_free(MoeTokenTable *table)
{
    if (table == NULL)
        return;
    g_hash_table_unref(table->ids);
    g_ptr_array_unref(table->tokens);
    g_string_chunk_free(table->text);
    g_free(table);
}

gboolean moe_token_table_add(MoeTokenTable *table, const char *token, gint64 id, const char *where,
                             GError **error)
{
    if (id < 0 || id > MOE_LARGEST_TOKEN_ID)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: '%s' has the id %" G_GINT64_FORMAT "; ids go from 0 to %d", where,
                        token, id, MOE_LARGEST_TOKEN_ID);
    if (id >= (gint64)table->tokens->len)
        g_ptr_array_set_size(table->tokens, (int)id + 1);
    const char *other = g_ptr_array_index(table->tokens, id);
    if (other != NULL)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: the tokens '%s' and '%s' have the same id %" G_GINT64_FORMAT, where,
                        other, token, id);
    if (g_hash_table_contains(table->ids, token))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: the token '%s' has the ids %" G_GINT64_FORMAT " and %" G_GINT64_FORMAT,
                        where, token, moe_token_table_id(table, token), id);
    char *text = g_string_chunk_insert(table->text, token);
    g_ptr_array_index(table->tokens, id) = text;
    g_hash_table_insert(table->ids, text, GUINT_TO_POINTER((guint)id + 1));
    return TRUE;
}

gint64 moe_token_table_id(const MoeTokenTable *table, const char *token)
{
    return (gint64)GPOINTER_TO_UINT(g_hash_table_lookup(table->ids, token)) - 1;
}

gint64 moe_token_table_find(const MoeTokenTable *table, const char *text, size_t length)
{
    char small[64];
    if (memchr(text, '\0', length) != NULL)
        return -1;
    if (length < sizeof(small)) {
        memcpy(small, text, length);
        small[length] = '\0';
        return moe_token_table_id(table, small);
    }
    g_autofree char *token = g_strndup(text, length);
    return moe_token_table_id(table, token);
}

const char *moe_token_table_token(const MoeTokenTable *table, guint32 id)
{
    return id < table->tokens->len ? g_ptr_array_index(table->tokens, id) : NULL;
}

gint64 moe_token_table_byte(const MoeTokenTable *table, guint8 byte)
{
    char token[8];
    g_snprintf(token, sizeof(token), "<0x%02X>", byte);
    return moe_token_table_id(table, token);
}

guint32 moe_token_table_end(const MoeTokenTable *table)
{
    return table->tokens->len;
}

/* token_table.h - the tokens of a vocabulary by id and the ids by token.
 *
 * Layer: models.
 */
#ifndef MOE_MODELS_TOKEN_TABLE_H
#define MOE_MODELS_TOKEN_TABLE_H

#include "sim/base/error.h"

/* The largest id that a vocabulary may have. */
#define MOE_LARGEST_TOKEN_ID (1 << 24)

typedef struct MoeTokenTable MoeTokenTable;

/* An empty table. Free with moe_token_table_free(). */
MoeTokenTable *moe_token_table_new(void);
void moe_token_table_free(MoeTokenTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeTokenTable, moe_token_table_free)

/* Adds a copy of @token under @id. @where begins the messages. Errors: MOE_ERROR_INPUT (the id is
 * above MOE_LARGEST_TOKEN_ID, or the id or the token is there already). */
gboolean moe_token_table_add(MoeTokenTable *table, const char *token, gint64 id, const char *where,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The id of @token, or -1; of the @length bytes at @text, NUL allowed. */
gint64 moe_token_table_id(const MoeTokenTable *table, const char *token);
gint64 moe_token_table_find(const MoeTokenTable *table, const char *text, size_t length);

/* The token of @id, or NULL. Borrowed. */
const char *moe_token_table_token(const MoeTokenTable *table, guint32 id);

/* The token that stands for @byte where characters fall back to bytes ("<0x0A>"): its id or -1. */
gint64 moe_token_table_byte(const MoeTokenTable *table, guint8 byte);

/* One more than the largest id; 0 for an empty table. */
guint32 moe_token_table_end(const MoeTokenTable *table);

#endif

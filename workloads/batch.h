/* batch.h - what is run through a model: token ids in sequences.
 *
 * Layer: workloads.
 */
#ifndef MOE_WORKLOADS_BATCH_H
#define MOE_WORKLOADS_BATCH_H

#include "models/tokenizer.h"

typedef struct {
    guint32 *ids;   /* [n_tokens] */
    gsize *offsets; /* [n_sequences + 1] */
    gsize n_tokens, n_sequences;
    gsize n_encoded;   /* moe_batch_pair(): as in MoeForward; else 0 */
    char *description; /* of the sources: names, digests, lengths */
} MoeBatch;

/* Tokenises the files and folders @paths (NULL-terminated) in order. A .txt file is one document,
 * each line of a .jsonl file is one ({"text": "..."}); a folder stands for its .txt and .jsonl
 * files, sorted; a byte-order mark is passed over. Documents get the tokenizer's special tokens
 * when @special, are cut into sequences of at most @length tokens, and the whole ends after
 * @most_tokens (0: no end). Free with moe_batch_free(). Errors: MOE_ERROR_INPUT (unreadable, not
 * UTF-8, no tokens); NULL then. */
MoeBatch *moe_batch_read(const MoeTokenizer *tokenizer, const char *const *paths, gsize length,
                         gsize most_tokens, gboolean special,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for the strings @texts, a sequence each, whole. */
MoeBatch *moe_batch_encode(const MoeTokenizer *tokenizer, const char *const *texts,
                           gboolean special, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What an encoder and a decoder read: the sequences of @text, then for each of them one for the
 * decoder, which is taught with known text as T5 is: the token @start, then the sequence of @target
 * of the same number but for its last token. @target NULL: @text again. More sequences than @text
 * has are an error unless @cut. Both stay the caller's.
 * Errors: MOE_ERROR_INPUT (numbers of sequences that differ); NULL then. */
MoeBatch *moe_batch_pair(const MoeBatch *text, const MoeBatch *target, gboolean cut, guint32 start,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_batch_free(MoeBatch *batch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeBatch, moe_batch_free)

#endif

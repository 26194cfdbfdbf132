/* vocabulary.h - a tokenizer from the arrays that a GGUF file carries instead of a tokenizer.json.
 *
 * Layer: models. The names, and the cutting patterns behind tokenizer.ggml.pre, are llama.cpp's
 * (src/llama-vocab.cpp); where it rewrites a model's pattern for its own regular expressions, the
 * model's stands here.
 */
#ifndef MOE_MODELS_VOCABULARY_H
#define MOE_MODELS_VOCABULARY_H

#include "models/gguf.h"
#include "models/tokenizer.h"

/* What tokenizer.ggml.token_type says. */
typedef enum {
    MOE_TOKEN_NORMAL = 1,
    MOE_TOKEN_UNKNOWN = 2,
    MOE_TOKEN_CONTROL = 3,
    MOE_TOKEN_USER_DEFINED = 4,
    MOE_TOKEN_UNUSED = 5,
    MOE_TOKEN_BYTE = 6,
} MoeTokenType;

/* A flag of a file that may be without it. */
typedef enum { MOE_FLAG_ABSENT = -1, MOE_FLAG_OFF, MOE_FLAG_ON } MoeFlag;

/* The keys below tokenizer.ggml of a GGUF file. Everything is borrowed. */
typedef struct {
    const char *name;          /* what messages call the file */
    const char *model;         /* model: "gpt2" or "llama" */
    const char *pre;           /* pre; NULL: absent (only "gpt2" needs it) */
    const char *const *tokens; /* tokens [n]; the index is the id */
    const float *scores;       /* scores [n], or NULL; "llama" needs them */
    const gint32 *types;       /* token_type [n], MoeTokenType, or NULL: all normal */
    size_t n;                  /* at most 2^24 */
    const char *const *merges; /* merges [n_merges], "a b"; only "gpt2" */
    size_t n_merges;
    gint64 bos, eos, unknown; /* ..._token_id, or -1 */
    MoeFlag add_bos, add_eos, add_space_prefix;
} MoeVocabulary;

/* "gpt2" is byte-level BPE with the pattern that pre names, "llama" SentencePiece's BPE by score
 * with byte tokens. Control and user-defined tokens are found in texts as they are written; control
 * tokens are special. Absent flags are as in llama.cpp. Free with moe_tokenizer_free(). Errors:
 * MOE_ERROR_INPUT, with the key and the index: another model or pre, a token that is not UTF-8 or
 * is there twice, a type or id out of range, a score that is not finite, a merge of what is no
 * token; NULL then. */
MoeTokenizer *moe_tokenizer_from_vocabulary(const MoeVocabulary *vocabulary,
                                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same from a GGUF file itself. Errors: also keys of other types, or arrays of other lengths than
 * tokens. */
MoeTokenizer *moe_tokenizer_from_gguf(const MoeGguf *file,
                                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

/* tokenizer_parts.h - what a tokenizer is made of, for those who make one.
 *
 * Layer: models. Private to tokenizer.c (tokenizer.json) and vocabulary.c (arrays of a GGUF file).
 */
#ifndef MOE_MODELS_TOKENIZER_PARTS_H
#define MOE_MODELS_TOKENIZER_PARTS_H

#include "models/added_tokens.h"
#include "models/bpe.h"
#include "models/decoder.h"
#include "models/normalizer.h"
#include "models/pretokenizer.h"
#include "models/tokenizer.h"
#include "models/unigram.h"

struct MoeTokenizer {
    MoeBpe *bpe; /* the model: this or the next */
    MoeUnigram *unigram;
    const MoeTokenTable *table; /* the model's */
    MoeNormalizer *normalizer;
    MoeAddedTokens *added;
    MoePretokenizer *pretokenizer;
    MoeDecoder *decoder;
    GArray *before, *after; /* guint32: the template's tokens around a text */
};

/* One without parts, for moe_tokenizer_free(). */
MoeTokenizer *moe_tokenizer_empty(void);

#endif

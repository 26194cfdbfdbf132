/* generate.h - text that a model writes itself.
 *
 * Layer: models. Greedy or sampled, one token after the other, on a session (session.h).
 */
#ifndef MOE_MODELS_GENERATE_H
#define MOE_MODELS_GENERATE_H

#include "models/session.h"
#include "models/tokenizer.h"

/* How the next token is chosen from its logits. */
typedef struct {
    double temperature; /* 0: the largest logit, the lowest id of equal ones; else >= 0.01 */
    gint64 top_k;       /* only the k largest may come; 0: all */
    double
        top_p; /* only the fewest, largest first, that have this much probability together (Holtzman
                     et al., 2020, arXiv 1904.09751), in (0, 1]; after top_k; 0: as 1 */
    guint64 seed;
} MoeSampling;

typedef struct {
    MoeSession *session;   /* with room for the prompt and n_tokens; restarted */
    const guint32 *prompt; /* [n_prompt], at least one */
    gsize n_prompt;
    gsize n_tokens;       /* write at most so many more */
    const guint32 *stops; /* [n_stops]: ids that end the text, and are not part of it */
    gsize n_stops;
    MoeSampling sampling;
    guint64 number; /* of the text: each has a random stream of its own */
    /* Called for each token written; NULL: nobody. FALSE with @error set ends the run. */
    gboolean (*token)(void *user, guint32 id, GError **error);
    /* As in MoeForward: of the prompt at once, then of each token written; NULL: nobody. */
    MoeRoutingFunc routing;
    void *user;
} MoeGeneration;

/* Writes until a stop, n_tokens tokens or what token() or routing() say, and appends the tokens
 * written (guint32) to @ids. The same for a seed whatever the number of threads.
 * Errors: as moe_session_append(). */
gboolean moe_generate(const MoeGeneration *job, GArray *ids,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The id chosen from @logits [n] (n >= 1, finite). @random: for temperatures above 0. */
guint32 moe_sample(const MoeSampling *sampling, gsize n, const float *logits, GRand *random);

/* Appends to @stops the ids (guint32) that end a text: eos_token_id of the model's
 * generation_config.json, else of its config.json, else eos_token of its tokenizer_config.json. Of
 * a GGUF file, its eos_token_id and eot_token_id. None where none of them says so. Errors:
 * MOE_ERROR_INPUT (a file or an id of the wrong kind). */
gboolean moe_generation_stops(const MoeModel *model, const MoeTokenizer *tokenizer, GArray *stops,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

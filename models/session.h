/* session.h - one sequence that grows: a checkpoint run token by token, with what it has seen kept.
 *
 * Layer: models. The blocks are those of forward.h; keys and values of all tokens so far stay in
 * memory, in every attention of every block, as floats. (Latent attention's too, per head: expanding
 * latents anew for each token would cost more time than it saves memory.)
 */
#ifndef MOE_MODELS_SESSION_H
#define MOE_MODELS_SESSION_H

#include "models/forward.h"

typedef struct MoeSession MoeSession;

/* Binds @weights, to multiply with them in @precision (as MoeForward), for a sequence of at most
 * @capacity tokens (at least 1). Both outlive the session. Free with moe_session_free(). Errors:
 * MOE_ERROR_INPUT (as moe_forward(); a model with an encoder; more tokens than the model's context;
 * keys and values that do not fit in memory); NULL then. */
MoeSession *moe_session_new(const MoeModel *model, MoeWeights *weights, MoePrecision precision,
                            gsize capacity, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_session_free(MoeSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeSession, moe_session_free)

/* Tokens so far; of the model that runs. */
gsize moe_session_length(const MoeSession *session);
const MoeModel *moe_session_model(const MoeSession *session);

/* Begins another sequence: what has been bound and checked stays. */
void moe_session_restart(MoeSession *session);

/* Runs @n more tokens (at least 1): @routing is called for
 * each block with experts with their decisions alone, unless it is NULL; @logits_out [vocab_size],
 * unless NULL, gets the logits of the token that follows them. They are those of moe_forward() for
 * the whole sequence, but for rounding: products of one row add up in another order.
 *
 * Where a long RoPE has factors of its own for sequences longer than its original context, the
 * tokens that make it so are run together with all before, as Hugging Face transformers' Phi-3 does
 * (prepare_inputs_for_generation); what was decided before stands. After an error the session is of
 * no more use. Errors: as moe_forward(); more tokens than the capacity; logits that are not finite. */
gboolean moe_session_append(MoeSession *session, const guint32 *ids, gsize n,
                            MoeRoutingFunc routing, void *user, float *logits_out,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif

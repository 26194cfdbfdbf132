#include "config.h"

#include "workloads/loss.h"

#include <math.h>

typedef struct {
    const guint32 *ids;
    const gsize *tokens; /* [n]: those that predict the next one */
    gsize vocabulary;
    double sum;
} Summing;

static double minus_log_probability(const float *logits, gsize n, guint32 id)
{
    double largest = -INFINITY, sum = 0;
    for (gsize i = 0; i < n; i++)
        largest = fmax(largest, (double)logits[i]);
    for (gsize i = 0; i < n; i++)
        sum += exp((double)logits[i] - largest);
    return log(sum) + largest - (double)logits[id];
}

static gboolean add(void *user, gsize first, gsize n, const float *logits, GError **error)
{
    Summing *s = user;
    const gsize at = moe_find_nonfinite(MOE_F32, logits, n * s->vocabulary);
    if (at != SIZE_MAX)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "the logits of token %" G_GSIZE_FORMAT " are not finite",
                        s->tokens[first + at / s->vocabulary]);
    for (gsize i = 0; i < n; i++)
        s->sum += minus_log_probability(logits + i * s->vocabulary, s->vocabulary,
                                        s->ids[s->tokens[first + i] + 1]);
    return TRUE;
}

gboolean moe_loss(const MoeModel *model, const MoeBatch *batch, MoePrecision precision,
                  MoeProgress *progress, MoeLoss *out, GError **error)
{
    g_autoptr(GArray) tokens = g_array_new(FALSE, FALSE, sizeof(gsize));
    for (gsize s = 0; s < batch->n_sequences; s++)
        for (gsize t = batch->offsets[s]; t + 1 < batch->offsets[s + 1]; t++)
            g_array_append_val(tokens, t);
    if (tokens->len == 0)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "no sequence has two tokens: there is nothing to predict");
    g_autoptr(MoeWeights) weights = moe_weights_open(model->path, error);
    if (weights == NULL)
        return FALSE;
    const gsize *predicting = (const gsize *)(void *)tokens->data;
    Summing sum = {batch->ids, predicting, (gsize)model->shape.vocab_size, 0};
    const MoeForward job = {
        .model = model,
        .weights = weights,
        .ids = batch->ids,
        .n_sequences = batch->n_sequences,
        .offsets = batch->offsets,
        .user = &sum,
        .head_tokens = predicting,
        .n_head_tokens = tokens->len,
        .head = add,
        .precision = precision,
        .progress = progress,
    };
    if (!moe_forward(&job, error))
        return FALSE;
    *out = (MoeLoss){tokens->len, sum.sum / tokens->len};
    return TRUE;
}

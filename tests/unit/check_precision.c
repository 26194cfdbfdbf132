#include "config.h"

#include "models/forward.h"
#include "models/safetensors.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

/* The routing of a trained model in bf16 against what transformers answered in float32
 * (tests/golden/olmoe-tiny): it may differ where two experts are nearly equal, and nowhere else. */

typedef struct {
    MoeSafetensors *golden;
    gsize n_tokens, n_same; /* tokens times blocks; with the same set of experts */
    double worst, squares;  /* of the logits' errors, as shares of their token's largest */
    gsize n_logits;
} Comparison;

static const void *golden(const Comparison *c, int layer, const char *what)
{
    g_autofree char *name = g_strdup_printf("layers.%d.%s", layer, what);
    const MoeTensor *tensor = moe_safetensors_find(c->golden, name);
    ck_assert_ptr_nonnull(tensor);
    return tensor->data;
}

static gboolean has(const gint16 *experts, gsize K, gsize e)
{
    for (gsize j = 0; j < K; j++)
        if ((gsize)experts[j] == e)
            return TRUE;
    return FALSE;
}

/* The largest error of a token's logits, and how far the reference's least chosen expert is before
 * the best of the others. */
static void judge(Comparison *c, gsize E, gsize K, const float *ours, const float *reference,
                  const gint16 *experts, double *error_out, double *margin_out)
{
    double largest = 0, error = 0, least = INFINITY, best = -INFINITY;
    for (gsize e = 0; e < E; e++)
        largest = fmax(largest, fabs((double)reference[e]));
    for (gsize e = 0; e < E; e++) {
        const double apart = fabs((double)ours[e] - reference[e]);
        error = fmax(error, apart);
        c->squares += apart * apart / (largest * largest);
        if (has(experts, K, e))
            least = fmin(least, (double)reference[e]);
        else
            best = fmax(best, (double)reference[e]);
    }
    c->n_logits += E;
    c->worst = fmax(c->worst, error / largest);
    *error_out = error;
    *margin_out = least - best;
}

static gboolean compare(void *user, const MoeRouting *routing, GError **error)
{
    (void)error;
    Comparison *c = user;
    const gsize E = 64, K = 8;
    const float *reference = golden(c, routing->layer, "router_logits");
    const gint16 *experts = golden(c, routing->layer, "experts");
    for (gsize t = 0; t < routing->n_tokens; t++, reference += E, experts += K) {
        double apart, margin;
        gboolean same = TRUE;
        judge(c, E, K, routing->logits + t * E, reference, experts, &apart, &margin);
        for (gsize j = 0; j < K; j++)
            same = same && has(experts, K, routing->experts[t * K + j]);
        ck_assert_msg(same || margin <= 2 * apart,
                      "block %d, token %zu: other experts, though the margin is %g and the logits "
                      "are %g apart",
                      routing->layer, t, margin, apart);
        c->n_tokens++;
        c->n_same += same ? 1 : 0;
    }
    return TRUE;
}

static void run(MoePrecision precision, Comparison *c)
{
    g_autofree char *folder = source_file("models/presets/olmoe-tiny");
    g_autofree char *path = source_file("tests/golden/olmoe-tiny/golden.safetensors");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(folder, NULL, &error);
    assert_no_error(error);
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    *c = (Comparison){.golden = moe_safetensors_open(path, &error)};
    assert_no_error(error);
    const MoeTensor *ids = moe_safetensors_find(c->golden, "tokens.id");
    const MoeTensor *starts = moe_safetensors_find(c->golden, "sequences.offsets");
    g_autofree gsize *offsets = g_new(gsize, starts->n_elements);
    for (gint64 i = 0; i < starts->n_elements; i++)
        offsets[i] = (gsize)((const gint32 *)starts->data)[i];
    const MoeForward job = {.model = model,
                            .weights = weights,
                            .ids = ids->data,
                            .n_sequences = (gsize)starts->n_elements - 1,
                            .offsets = offsets,
                            .routing = compare,
                            .user = c,
                            .want_logits = TRUE,
                            .precision = precision};
    ck_assert(moe_forward(&job, &error));
    assert_no_error(error);
    moe_safetensors_free(c->golden);
}

/* A value rounded to bf16 is 2^-9 off at most, 2^-10.8 in the root mean square (uniform over the
 * spacing, mean over a binade); a product of two such 2^-10.3. Eight blocks of attention and
 * experts, each of two or three products one behind the other, add up to some 2^-8 where nothing is
 * amplified: an error of that size, and not of another. */
START_TEST(bf16_routes_as_f32_but_near_ties)
{
    Comparison c;
    run(MOE_PRECISION_BF16, &c);
    ck_assert_uint_eq(c.n_tokens, 8 * 1534);
    const double error = sqrt(c.squares / (double)c.n_logits);
    ck_assert_msg(error > 0x1p-11 && error < 0x1p-7, "%g", error);
    ck_assert_msg(c.worst < 0x1p-3, "%g", c.worst);
    ck_assert_msg((double)c.n_same >= 0.97 * (double)c.n_tokens, "%zu of %zu", c.n_same,
                  c.n_tokens);
}
END_TEST

START_TEST(f32_routes_as_the_reference)
{
    Comparison c;
    run(MOE_PRECISION_F32, &c);
    ck_assert_uint_eq(c.n_same, c.n_tokens);
    ck_assert_msg(c.worst < 1e-5, "%g", c.worst);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("precision");
    TCase *tests = tcase_create("precision");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, bf16_routes_as_f32_but_near_ties);
    tcase_add_test(tests, f32_routes_as_the_reference);
    suite_add_tcase(suite, tests);
    return suite;
}

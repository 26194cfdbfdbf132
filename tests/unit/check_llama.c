#include "config.h"

#include "models/generate.h"
#include "models/gguf.h"
#include "models/safetensors.h"
#include "tests/unit/harness.h"
#include "workloads/loss.h"

#include <stdlib.h>
#include <string.h>

/* stories260K, a trained dense Llama: see tests/data/stories260K/README.md. */
enum { H = 64, BLOCKS = 5, HEADS = 8, KV = 4, FFN = 172, VOCABULARY = 512, CONTEXT = 512 };
enum { WRITTEN = 200 };

static char *data_file(const char *name)
{
    g_autofree char *path = g_build_filename("tests/data/stories260K", name, NULL);
    return source_file(path);
}

static MoeModel *load(MoeWeights **weights_out)
{
    g_autofree char *path = data_file("stories260K.gguf");
    g_autoptr(GError) error = NULL;
    MoeModel *model = moe_model_load(path, NULL, &error);
    assert_no_error(error);
    if (weights_out != NULL)
        *weights_out = moe_weights_open(model->path, &error);
    assert_no_error(error);
    return model;
}

/* The published text and its tokens, the beginning of texts first. */
static GArray *published(const MoeModel *model, char **text_out)
{
    g_autofree char *path = data_file("greedy.txt");
    g_autoptr(GError) error = NULL;
    gsize length;
    ck_assert(g_file_get_contents(path, text_out, &length, &error));
    g_autoptr(MoeTokenizer) tokenizer = moe_model_tokenizer(model, &error);
    assert_no_error(error);
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    ck_assert(moe_tokenizer_encode(tokenizer, *text_out, length, TRUE, ids, &error));
    ck_assert_uint_eq(ids->len, WRITTEN + 1);
    return ids;
}

START_TEST(writes_what_was_published)
{
    g_autoptr(MoeWeights) weights = NULL;
    g_autoptr(MoeModel) model = load(&weights);
    g_autofree char *expected = NULL;
    g_autoptr(GArray) tokens = published(model, &expected);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = moe_model_tokenizer(model, &error);
    g_autoptr(MoeSession) session =
        moe_session_new(model, weights, MOE_PRECISION_F32, WRITTEN + 1, &error);
    assert_no_error(error);
    const MoeGeneration job = {.session = session,
                               .prompt = (const guint32 *)(void *)tokens->data,
                               .n_prompt = 1,
                               .n_tokens = WRITTEN};
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    ck_assert(moe_generate(&job, ids, &error));
    GString *text =
        moe_tokenizer_decode(tokenizer, (const guint32 *)(void *)ids->data, ids->len, TRUE);
    ck_assert_str_eq(text->str, expected);
    g_string_free(text, TRUE);
}
END_TEST

/* The whole text at once: the likeliest next token is the next one, everywhere. */
static float *run(const MoeModel *model, MoeWeights *weights, const GArray *tokens)
{
    const gsize offsets[] = {0, tokens->len};
    gsize head[WRITTEN];
    for (gsize t = 0; t < WRITTEN; t++)
        head[t] = t;
    float *logits = g_new(float, WRITTEN *VOCABULARY);
    const MoeForward job = {.model = model,
                            .weights = weights,
                            .ids = (const guint32 *)(void *)tokens->data,
                            .n_sequences = 1,
                            .offsets = offsets,
                            .head_tokens = head,
                            .n_head_tokens = WRITTEN,
                            .head_out = logits};
    g_autoptr(GError) error = NULL;
    ck_assert(moe_forward(&job, &error));
    assert_no_error(error);
    return logits;
}

START_TEST(foresees_what_was_published)
{
    g_autoptr(MoeWeights) weights = NULL;
    g_autoptr(MoeModel) model = load(&weights);
    g_autofree char *expected = NULL;
    g_autoptr(GArray) tokens = published(model, &expected);
    g_autofree float *logits = run(model, weights, tokens);
    for (gsize t = 0; t < WRITTEN; t++) {
        const float *row = logits + t * VOCABULARY;
        gsize best = 0;
        for (gsize i = 1; i < VOCABULARY; i++)
            best = row[i] > row[best] ? i : best;
        ck_assert_uint_eq(best, g_array_index(tokens, guint32, t + 1));
    }
}
END_TEST

START_TEST(loses_as_published)
{
    g_autoptr(MoeModel) model = load(NULL);
    g_autofree char *path = data_file("stories.jsonl");
    const char *const paths[] = {path, NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = moe_model_tokenizer(model, &error);
    g_autoptr(MoeBatch) batch = moe_batch_read(tokenizer, paths, CONTEXT, 0, TRUE, &error);
    assert_no_error(error);
    MoeLoss loss;
    ck_assert(moe_loss(model, batch, MOE_PRECISION_F32, NULL, &loss, &error));
    ck_assert_uint_eq(loss.n_tokens, batch->n_tokens - batch->n_sequences);
    assert_close(loss.nats, 1.2968, 0.02); /* on other stories of the same kind */
}
END_TEST

/* A model that knows nothing: every token has the probability 1 / VOCABULARY. */
START_TEST(a_lone_token_predicts_nothing)
{
    g_autoptr(MoeModel) model = load(NULL);
    guint32 ids[] = {1, 2};
    gsize offsets[] = {0, 1, 2};
    const MoeBatch batch = {.ids = ids, .offsets = offsets, .n_tokens = 2, .n_sequences = 2};
    MoeLoss loss;
    GError *error = NULL;
    ck_assert(!moe_loss(model, &batch, MOE_PRECISION_F32, NULL, &loss, &error));
    assert_error(&error, MOE_ERROR_INPUT, "no sequence has two tokens");
}
END_TEST

START_TEST(has_no_routing)
{
    g_autoptr(MoeModel) model = load(NULL);
    ck_assert_int_eq(model->shape.num_experts, 0);
    /* 5 blocks of 2*64*64 + 2*64*32 and 3*64*172, 512*64 twice (stored so). */
    ck_assert_int_eq(moe_model_parameters(&model->shape),
                     BLOCKS * (2 * H * H + 2 * H * 32 + 3 * H * FFN) + 2 * VOCABULARY * H);
    GError *error = NULL;
    ck_assert(!moe_model_need_experts(model, &error));
    assert_error(&error, MOE_ERROR_INPUT,
                 "a dense model: it has no experts, so there is no routing");
}
END_TEST

/* --- the same weights, written otherwise ----------------------------------------------------- */

static const float *tensor(const GPtrArray *files, const char *name, int block)
{
    g_autofree char *full = block < 0 ? g_strdup_printf("%s.weight", name)
                                      : g_strdup_printf("blk.%d.%s.weight", block, name);
    const MoeTensor *found = moe_gguf_model_tensor(files, full);
    ck_assert_ptr_nonnull(found);
    return found->data;
}

static int rising(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Of a fork of llama2.c: seven integers, then each kind of tensor of all blocks (run.c,
 * memory_map_weights); the elements of matrices stand in an order of its own, but are the same. */
START_TEST(is_the_twin)
{
    g_autofree char *path = data_file("stories260K.gguf");
    g_autofree char *twin = data_file("stories260K.bin");
    g_autofree char *bytes = NULL;
    gsize length;
    ck_assert(g_file_get_contents(twin, &bytes, &length, NULL));
    const gint32 header[] = {H, FFN, BLOCKS, HEADS, KV, VOCABULARY, CONTEXT};
    ck_assert_mem_eq(bytes, header, sizeof(header));
    const struct {
        const char *name;
        gboolean of_blocks, ordered;
        gsize n;
    } kinds[] = {
        {"token_embd", FALSE, TRUE, VOCABULARY * H},
        {"attn_norm", TRUE, TRUE, H},
        {"attn_q", TRUE, FALSE, H * H},
        {"attn_k", TRUE, FALSE, H * H / 2},
        {"attn_v", TRUE, FALSE, H * H / 2},
        {"attn_output", TRUE, FALSE, H * H},
        {"ffn_norm", TRUE, TRUE, H},
        {"ffn_gate", TRUE, FALSE, FFN * H},
        {"ffn_down", TRUE, FALSE, FFN * H},
        {"ffn_up", TRUE, FALSE, FFN * H},
        {"output_norm", FALSE, TRUE, H},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) files = moe_gguf_open_model(path, &error);
    assert_no_error(error);
    float *at = (float *)(void *)(bytes + sizeof(header));
    const float *end = (const float *)(const void *)(bytes + length);
    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
        const gsize n = kinds[k].n;
        for (int b = 0; b < (kinds[k].of_blocks ? BLOCKS : 1); b++, at += n) {
            g_autofree float *here = g_memdup2(
                tensor(files, kinds[k].name, kinds[k].of_blocks ? b : -1), n * sizeof(float));
            ck_assert(at + n <= end);
            if (!kinds[k].ordered) {
                qsort(here, n, sizeof(float), rising);
                qsort(at, n, sizeof(float), rising);
            }
            ck_assert_mem_eq(here, at, n * sizeof(float));
        }
    }
    /* Behind them, tables of RoPE's cosines and sines: head_size / 2 for each position. */
    ck_assert_int_eq(end - at, 2 * CONTEXT * (H / HEADS / 2));
}
END_TEST

/* As on the Hub: RoPE turns halves of heads there, so rows of q and k go back to where they were. */
static float *unpermuted(const float *from, gsize heads)
{
    enum { D = H / HEADS };
    float *to = g_new(float, heads *D *H);
    for (gsize h = 0; h < heads; h++)
        for (gsize i = 0; i < D; i++)
            memcpy(to + (h * D + i) * H, from + (h * D + i % (D / 2) * 2 + i / (D / 2)) * H,
                   H * sizeof(float));
    return to;
}

static void add(GArray *tensors, GPtrArray *owned, const char *name, int block, const float *data,
                gint64 rows, gint64 cols)
{
    char *full = block < 0 ? g_strdup_printf("%s.weight", name)
                           : g_strdup_printf("model.layers.%d.%s.weight", block, name);
    g_ptr_array_add(owned, full);
    MoeTensor t = {.name = full, .type = MOE_ST_F32, .n_dims = rows > 1 ? 2 : 1, .data = data};
    t.dims[0] = rows > 1 ? rows : cols;
    t.dims[1] = cols;
    t.n_elements = rows * cols;
    g_array_append_val(tensors, t);
}

static void write_folder(const char *folder, const GPtrArray *files)
{
    g_autoptr(GArray) t = g_array_new(FALSE, FALSE, sizeof(MoeTensor));
    g_autoptr(GPtrArray) owned = g_ptr_array_new_with_free_func(g_free);
    add(t, owned, "model.embed_tokens", -1, tensor(files, "token_embd", -1), VOCABULARY, H);
    add(t, owned, "lm_head", -1, tensor(files, "output", -1), VOCABULARY, H);
    add(t, owned, "model.norm", -1, tensor(files, "output_norm", -1), 1, H);
    for (int b = 0; b < BLOCKS; b++) {
        float *q = unpermuted(tensor(files, "attn_q", b), HEADS);
        float *k = unpermuted(tensor(files, "attn_k", b), KV);
        g_ptr_array_add(owned, q);
        g_ptr_array_add(owned, k);
        add(t, owned, "self_attn.q_proj", b, q, H, H);
        add(t, owned, "self_attn.k_proj", b, k, H / 2, H);
        add(t, owned, "self_attn.v_proj", b, tensor(files, "attn_v", b), H / 2, H);
        add(t, owned, "self_attn.o_proj", b, tensor(files, "attn_output", b), H, H);
        add(t, owned, "mlp.gate_proj", b, tensor(files, "ffn_gate", b), FFN, H);
        add(t, owned, "mlp.up_proj", b, tensor(files, "ffn_up", b), FFN, H);
        add(t, owned, "mlp.down_proj", b, tensor(files, "ffn_down", b), H, FFN);
        add(t, owned, "input_layernorm", b, tensor(files, "attn_norm", b), 1, H);
        add(t, owned, "post_attention_layernorm", b, tensor(files, "ffn_norm", b), 1, H);
    }
    g_autofree char *path = g_build_filename(folder, "model.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_safetensors_write(path, TRUE, (const MoeTensor *)(void *)t->data, t->len, NULL,
                                    &error));
}

START_TEST(is_the_same_as_on_the_hub)
{
    static const char config[] =
        "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 172,"
        "\"num_hidden_layers\": 5, \"num_attention_heads\": 8, \"num_key_value_heads\": 4,"
        "\"vocab_size\": 512, \"max_position_embeddings\": 2048, \"rms_norm_eps\": 1e-5,"
        "\"torch_dtype\": \"float32\"}";
    g_autoptr(MoeWeights) weights = NULL;
    g_autoptr(MoeModel) model = load(&weights);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) files = moe_gguf_open_model(model->path, &error);
    g_autofree char *folder = g_build_filename(test_folder(), "hub", NULL);
    ck_assert_int_eq(g_mkdir_with_parents(folder, 0777), 0);
    g_free(test_file("hub/config.json", config, -1));
    write_folder(folder, files);
    g_autoptr(MoeModel) other = moe_model_load(folder, NULL, &error);
    assert_no_error(error);
    g_autoptr(MoeWeights) other_weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    g_autofree char *text = NULL;
    g_autoptr(GArray) tokens = published(model, &text);
    g_autofree float *here = run(model, weights, tokens);
    g_autofree float *there = run(other, other_weights, tokens);
    for (gsize i = 0; i < (gsize)WRITTEN * VOCABULARY; i++)
        ck_assert_float_eq_tol(here[i], there[i], 1e-4F);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("llama");
    TCase *tests = tcase_create("llama");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, writes_what_was_published);
    tcase_add_test(tests, foresees_what_was_published);
    tcase_add_test(tests, loses_as_published);
    tcase_add_test(tests, a_lone_token_predicts_nothing);
    tcase_add_test(tests, has_no_routing);
    tcase_add_test(tests, is_the_twin);
    tcase_add_test(tests, is_the_same_as_on_the_hub);
    suite_add_tcase(suite, tests);
    return suite;
}

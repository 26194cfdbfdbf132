#include "config.h"

#include "models/family.h"
#include "tests/unit/harness.h"

#include <glib/gstdio.h>
#include <string.h>

/* --- files ----------------------------------------------------------------------------------- */

static char *make_config(const char *text)
{
    g_autofree char *folder = g_build_filename(test_folder(), "model", NULL);
    ck_assert_int_eq(g_mkdir_with_parents(folder, 0777), 0);
    return test_file("model/config.json", text, -1);
}

/* An OLMoE of little width; @line is one more line, the second of the file. */
static char *config_with(const char *line)
{
    g_autofree char *text = g_strdup_printf("{\n%s\n\"model_type\": \"olmoe\", \"hidden_size\": 64,"
                                            "\"num_attention_heads\": 4, \"num_experts\": 16,"
                                            "\"num_experts_per_tok\": 4, \"intermediate_size\": 40,"
                                            "\"num_hidden_layers\": 3, \"vocab_size\": 320}\n",
                                            line);
    return make_config(text);
}

/* As above, but without one of the keys, so that @line can say it. */
static char *config_instead(const char *key, const char *line)
{
    static const char *const keys[] = {"hidden_size", "num_attention_heads", "num_experts",
                                       "num_experts_per_tok", NULL};
    static const char *const values[] = {"64", "4", "16", "4"};
    GString *text = g_string_new("{\n");
    g_string_append_printf(text, "%s\n\"model_type\": \"olmoe\"", line);
    for (int i = 0; keys[i] != NULL; i++)
        if (strcmp(keys[i], key) != 0)
            g_string_append_printf(text, ", \"%s\": %s", keys[i], values[i]);
    g_string_append(text, "}");
    char *path = make_config(text->str);
    g_string_free(text, TRUE);
    return path;
}

/* --- OLMoE's config.json: what is read ------------------------------------------------------- */

static const struct {
    const char *line;
    MoeDtype dtype;
    gint64 kv_heads, context;
    gboolean tied;
} good[] = {
    {"", MOE_BF16, 4, 4096, FALSE},
    /* the older style */
    {"\"torch_dtype\": \"float32\", \"rope_theta\": 10000.0, \"rope_scaling\": null,", MOE_F32, 4,
     4096, FALSE},
    {"\"torch_dtype\": \"float16\", \"num_key_value_heads\": 2,", MOE_F16, 2, 4096, FALSE},
    {"\"torch_dtype\": null, \"tie_word_embeddings\": true,", MOE_BF16, 4, 4096, TRUE},
    /* the newer style */
    {"\"dtype\": \"float16\", \"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": "
     "\"default\"},",
     MOE_F16, 4, 4096, FALSE},
    {"\"dtype\": \"bfloat16\", \"torch_dtype\": \"float32\",", MOE_BF16, 4, 4096, FALSE},
    {"\"rope_parameters\": {\"rope_theta\": 5e5}, \"max_position_embeddings\": 1e5,", MOE_BF16, 4,
     100000, FALSE},
    /* what says nothing about the forward pass, or says the default */
    {"\"architectures\": [\"OlmoeForCausalLM\"], \"attention_bias\": false, \"attention_dropout\": "
     "0.1, \"bos_token_id\": null, \"eos_token_id\": [1, 2], \"pad_token_id\": 0, \"use_cache\": "
     "true, \"output_router_logits\": false, \"router_aux_loss_coef\": 0.01, "
     "\"initializer_range\": 0.02, \"transformers_version\": \"5.0\", \"hidden_act\": \"silu\", "
     "\"clip_qkv\": null, \"norm_topk_prob\": true, \"_name_or_path\": \"x\",",
     MOE_BF16, 4, 4096, FALSE},
};

START_TEST(reads_config)
{
    g_autofree char *path = config_with(good[_i].line);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(path, NULL, &error);
    assert_no_error(error);
    const MoeModelShape *s = &model->shape;
    ck_assert_str_eq(model->name, "model");
    ck_assert_ptr_eq(model->family, &moe_family_olmoe);
    ck_assert_ptr_null(model->source);
    ck_assert_int_eq(s->hidden_size, 64);
    ck_assert_int_eq(s->num_attention_heads, 4);
    ck_assert_int_eq(s->num_key_value_heads, good[_i].kv_heads);
    ck_assert_int_eq(s->head_dim, 16);
    ck_assert_int_eq(s->num_experts, 16);
    ck_assert_int_eq(s->num_experts_per_tok, 4);
    ck_assert_int_eq(s->moe_intermediate_size, 40);
    ck_assert_int_eq(s->num_hidden_layers, 3);
    ck_assert_int_eq(s->vocab_size, 320);
    ck_assert_int_eq(s->max_position_embeddings, good[_i].context);
    ck_assert_int_eq(s->tie_word_embeddings, good[_i].tied);
    ck_assert_int_eq(s->dtype, good[_i].dtype);
    ck_assert_int_eq(s->attention, MOE_ATTENTION_GQA);
    ck_assert_int_eq(s->first_k_dense_replace, 0);
    ck_assert_int_eq(moe_model_moe_layers(s), 3);
}
END_TEST

START_TEST(describes_the_router)
{
    static const struct {
        const char *line, *words;
    } rows[] = {{"", "softmax, top-4 of 16"},
                {"\"norm_topk_prob\": true,", "softmax, top-4 of 16, renormalised"}};
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = config_with(rows[i].line);
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeModel) model = moe_model_load(path, NULL, &error);
        assert_no_error(error);
        g_autofree char *words = moe_family_describe_router(model);
        ck_assert_str_eq(words, rows[i].words);
    }
}
END_TEST

/* --- OLMoE's config.json: what is refused ---------------------------------------------------- */

static const struct {
    const char *line, *message;
} bad[] = {
    /* unknown keys, with place and hint */
    {"\"num_expert\": 16,", "config.json:2:1: num_expert: unknown key; did you mean num_experts?"},
    {"  \"normtopk_prob\": true,", "config.json:2:3: normtopk_prob: unknown key; did you mean "
                                   "norm_topk_prob?"},
    {"\"sliding_window\": 4096,", "2:1: sliding_window: unknown key; the keys here are: "},
    {"\"rope_parameters\": {\"factor\": 2},", "2:20: factor: means nothing without a rope_type"},
    {"\"rope_parameters\": {\"factr\": 2},", "2:21: factr: unknown key; did you mean factor?"},
    {"\"clip_qkv\": 1, \"clip_qkv\": 2,", "the same key twice"},
    /* values that change the forward pass in a way that is not supported */
    {"\"hidden_act\": \"gelu\",", "2:15: hidden_act: 'gelu' is not known; write one of: silu"},
    {"\"attention_bias\": true,", "attention_bias: OLMoE is supported without it (false)"},
    {"\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0},",
     "2:17: rope_type: 'dynamic' is not supported; default, linear, yarn, llama3 and longrope are"},
    {"\"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 1e4},",
     "2:20: factor: missing; rope_type yarn needs it"},
    {"\"rope_scaling\": {\"type\": \"longrope\", \"long_factor\": [1]},",
     "short_factor: longrope needs a list of 8 numbers (half of the 16 rotated elements"},
    {"\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1,1,1,1,0,1,1,1]},",
     "2:63: short_factor: not a number from 1e-3 to 1e6"},
    {"\"torch_dtype\": \"float64\",",
     "2:16: dtype: 'float64' is not supported; bfloat16, float16 and float32 are"},
    {"\"dtype\": \"float8_e4m3fn\",", "2:10: dtype: 'float8_e4m3fn' is not supported"},
    {"\"dtype\": {\"a\": 1},", "dtype: a map is not supported"},
    /* values of the wrong kind or size */
    {"\"tie_word_embeddings\": 1,", "2:24: tie_word_embeddings: '1' is not a truth value"},
    {"\"norm_topk_prob\": \"yes\",", "norm_topk_prob: 'yes' is not a truth value"},
    {"\"clip_qkv\": 0,", "2:13: clip_qkv: '0' is out of range"},
    {"\"clip_qkv\": -1.5,", "clip_qkv: '-1.5' is out of range"},
    {"\"rms_norm_eps\": 0,", "rms_norm_eps: '0' is out of range"},
    {"\"rope_theta\": 0,", "rope_theta: '0' is out of range"},
    {"\"rope_theta\": \"fast\",", "rope_theta: 'fast'"},
    {"\"rope_parameters\": 7,", "rope_parameters: '7' where keys and values belong"},
    {"\"num_key_value_heads\": 3,",
     "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
    {"\"num_key_value_heads\": 0,", "num_key_value_heads: '0' is out of range"},
    {"\"max_position_embeddings\": 2.5,", "'2.5' is not a whole number"},
    {"\"max_position_embeddings\": [1],", "max_position_embeddings: a list where a single value"},
};

START_TEST(refuses_config)
{
    g_autofree char *path = config_with(bad[_i].line);
    GError *error = NULL;
    ck_assert_ptr_null(moe_model_load(path, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

static const struct {
    const char *key, *line, *message;
} bad_instead[] = {
    {"hidden_size", "\"hidden_size\": 62,",
     "hidden_size: 62 is not a multiple of num_attention_heads 4"},
    {"hidden_size", "\"hidden_size\": 12,",
     "head_dim: RoPE needs an even number of rotated elements"},
    {"hidden_size", "\"hidden_size\": 0,", "2:16: hidden_size: '0' is out of range"},
    {"hidden_size", "\"hidden_size\": 1048577,", "write a value from 1 to 1048576"},
    {"num_experts", "\"num_experts\": 65536,", "num_experts: '65536' is out of range"},
    {"num_experts", "\"num_experts\": 3,", "num_experts_per_tok 4 is more than num_experts 3"},
    {"num_experts_per_tok", "\"num_experts_per_tok\": 257,", "write a value from 1 to 256"},
    {"num_experts_per_tok", "\"num_experts_per_tok\": 17,",
     "num_experts_per_tok 17 is more than num_experts 16"},
};

START_TEST(refuses_shapes)
{
    g_autofree char *path = config_instead(bad_instead[_i].key, bad_instead[_i].line);
    GError *error = NULL;
    ck_assert_ptr_null(moe_model_load(path, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad_instead[_i].message);
}
END_TEST

static const struct {
    const char *text, *message;
} bad_files[] = {
    {"", "config.json:1:1"},
    {"[]", "config.json:1:1: model_type: missing"},
    {"{}", "config.json:1:1: model_type: missing; it names the architecture"},
    {"{\"model_type\": [\"olmoe\"]}", "model_type: missing"},
    {"{\"model_type\": null}", "the family 'null' is not supported; supported: "},
    {"{\"hidden_size\": 64,\n  \"model_type\": \"bert\"}",
     "config.json:2:17: model_type: the family 'bert' is not supported; supported: "},
    {"{\"model_type\": \"OLMoE\"}", "the family 'OLMoE' is not supported"},
    {"{\"model_type\": \"olmoe\",}", "config.json:1:24"},
    {"{\"model_type\": \"olm\\u0000oe\"}", "must not contain a NUL character"},
};

START_TEST(refuses_files)
{
    g_autofree char *path = make_config(bad_files[_i].text);
    GError *error = NULL;
    ck_assert_ptr_null(moe_model_load(path, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad_files[_i].message);
}
END_TEST

/* --- shapes.yaml ----------------------------------------------------------------------------- */

static const char gqa[] = "name: toy\nsource: here\nhidden_size: 64\nnum_hidden_layers: 4\n"
                          "vocab_size: 100\nnum_attention_heads: 8\nnum_experts: 16\n"
                          "num_experts_per_tok: 2\nmoe_intermediate_size: 24\n"
                          "max_position_embeddings: 128\n";

static const struct {
    const char *rest, *message; /* NULL: good */
} shapes[] = {
    {"num_key_value_heads: 2\nhead_dim: 10\n", NULL},
    {"num_key_value_heads: 2\nhead_dim: 10\ndtype: f16\ntie_word_embeddings: true\n"
     "first_k_dense_replace: 3\nintermediate_size: 80\nshared_expert_intermediate_size: 12\n",
     NULL},
    {"attention: mla\nkv_lora_rank: 32\nqk_nope_head_dim: 8\nqk_rope_head_dim: 4\nv_head_dim: 6\n",
     NULL},
    {"", "attention gqa needs num_key_value_heads and head_dim"},
    {"num_key_value_heads: 2\n", "attention gqa needs num_key_value_heads and head_dim"},
    {"num_key_value_heads: 3\nhead_dim: 10\n",
     "num_attention_heads 8 is not a multiple of num_key_value_heads 3"},
    {"attention: mla\nkv_lora_rank: 32\nqk_nope_head_dim: 8\nqk_rope_head_dim: 4\n",
     "attention mla needs kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim"},
    {"attention: mqa\n", "11:12: attention: 'mqa' is not known; did you mean gqa? (gqa, mla)"},
    {"num_key_value_heads: 2\nhead_dim: 10\ndtype: fp32\n", "dtype: 'fp32' is not known; did you "
                                                            "mean f32?"},
    {"num_key_value_heads: 2\nhead_dim: 10\nfirst_k_dense_replace: 4\nintermediate_size: 8\n",
     "first_k_dense_replace 4 leaves no block with experts; num_hidden_layers is 4"},
    {"num_key_value_heads: 2\nhead_dim: 10\nfirst_k_dense_replace: 1\n",
     "dense blocks need intermediate_size"},
    {"num_shared_experts: 2\n", "11:1: num_shared_experts: unknown key"},
    {"head_dims: 2\n", "11:1: head_dims: unknown key; did you mean head_dim?"},
    {"head_dim: ten\n", "11:11: head_dim: "},
    {"head_dim: 0\n", "11:11: head_dim: '0' is out of range"},
    {"name: twice\n", "shapes.yaml:11:1"},
};

START_TEST(reads_shapes)
{
    g_autofree char *text = g_strconcat(gqa, shapes[_i].rest, NULL);
    g_autofree char *path = test_file("shapes.yaml", text, -1);
    GError *error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(path, NULL, &error);
    if (shapes[_i].message != NULL) {
        ck_assert_ptr_null(model);
        assert_error(&error, MOE_ERROR_INPUT, shapes[_i].message);
        return;
    }
    assert_no_error(error);
    ck_assert_str_eq(model->name, "toy");
    ck_assert_str_eq(model->source, "here");
    ck_assert_ptr_null(model->family);
    ck_assert_int_eq(model->shape.num_experts, 16);
    ck_assert_int_eq(model->shape.dtype, _i == 1 ? MOE_F16 : MOE_BF16);
}
END_TEST

START_TEST(needs_every_shape)
{
    static const char *const required[] = {"name",
                                           "source",
                                           "hidden_size",
                                           "num_hidden_layers",
                                           "vocab_size",
                                           "num_attention_heads",
                                           "num_experts",
                                           "num_experts_per_tok",
                                           "moe_intermediate_size",
                                           "max_position_embeddings"};
    g_auto(GStrv) lines = g_strsplit(gqa, "\n", -1);
    for (size_t i = 0; i < G_N_ELEMENTS(required); i++) {
        GString *text = g_string_new("num_key_value_heads: 2\nhead_dim: 10\n");
        g_autofree char *start = g_strconcat(required[i], ":", NULL);
        for (char **line = lines; *line != NULL; line++)
            if (!g_str_has_prefix(*line, start))
                g_string_append_printf(text, "%s\n", *line);
        g_autofree char *path = test_file("shapes.yaml", text->str, -1);
        g_string_free(text, TRUE);
        g_autofree char *message = g_strconcat(required[i], ": missing", NULL);
        GError *error = NULL;
        ck_assert_ptr_null(moe_model_load(path, NULL, &error));
        assert_error(&error, MOE_ERROR_INPUT, message);
    }
}
END_TEST

/* --- numbers of parameters ------------------------------------------------------------------- */

/* Norms and biases left out. By hand, for each model: */
static const struct {
    const char *name;
    gint64 all, active, attention, moe_layers;
} counted[] = {
    /* attention 2048*16*192 + 2048*576 + 512*16*256 + 16*128*2048; 27 blocks; a dense one of
     * 3*2048*10944; 26 with a router of 2048*64, shared experts of 3*2048*2816 and 64 (6 active) of
     * 3*2048*1408; embedding and head of 102400*2048. Published: 15.7 B and 2.4 B. */
    {"deepseek-v2-lite", 15706357760, 2451308544, 13762560, 26},
    /* 8 blocks of 4*128*128 + 128*64 + 64*3*128*32 (8 experts active), 4096*128 once. Its card says
     * 7.41 M. */
    {"olmoe-tiny", 7405568, 1900544, 65536, 8},
};

START_TEST(counts_parameters_of_presets)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(counted[_i].name, NULL, &error);
    assert_no_error(error);
    ck_assert_str_eq(model->name, counted[_i].name);
    ck_assert_int_eq(moe_model_parameters(&model->shape), counted[_i].all);
    ck_assert_int_eq(moe_model_active_parameters(&model->shape), counted[_i].active);
    ck_assert_int_eq(moe_model_attention_parameters(&model->shape), counted[_i].attention);
    ck_assert_int_eq(moe_model_moe_layers(&model->shape), counted[_i].moe_layers);
}
END_TEST

START_TEST(counts_parameters_of_olmoe)
{
    /* OLMoE-1B-7B: 16*(4*2048^2 + 2048*64 + 64*3*2048*1024) + 2*50304*2048 = 6.92 B as published;
     * 8 of 64 experts and one of the two ends active: 1.18 B. */
    g_autofree char *path = make_config("{\"model_type\": \"olmoe\", \"intermediate_size\": 1024}");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(path, NULL, &error);
    assert_no_error(error);
    ck_assert_int_eq(moe_model_parameters(&model->shape), 6919028736);
    ck_assert_int_eq(moe_model_active_parameters(&model->shape), 1178861568);
}
END_TEST

START_TEST(counts_compressed_queries)
{
    /* DeepSeek-V3: 1536*(7168 + 128*192) + 7168*576 + 512*128*256 + 128*128*7168. */
    const MoeModelShape shape = {
        .hidden_size = 7168,
        .attention = MOE_ATTENTION_MLA,
        .num_attention_heads = 128,
        .q_lora_rank = 1536,
        .kv_lora_rank = 512,
        .qk_nope_head_dim = 128,
        .qk_rope_head_dim = 64,
        .v_head_dim = 128,
    };
    ck_assert_int_eq(moe_model_attention_parameters(&shape), 187105280);
    /* Grouped heads: q and o of 8 heads, k and v of 2, all of width 10. */
    const MoeModelShape grouped = {
        .hidden_size = 64, .num_attention_heads = 8, .num_key_value_heads = 2, .head_dim = 10};
    ck_assert_int_eq(moe_model_attention_parameters(&grouped), 2 * 64 * 80 + 2 * 64 * 20);
}
END_TEST

/* --- finding models -------------------------------------------------------------------------- */

START_TEST(finds_models)
{
    g_autofree char *config = config_with("");
    g_autofree char *folder = g_path_get_dirname(config);
    g_autofree char *slash = g_strconcat(folder, "/", NULL);
    const struct {
        const char *name, *base;
    } ways[] = {{config, NULL},
                {folder, NULL},
                {slash, NULL},
                {"model", test_folder()},
                {"./model", test_folder()},
                {"model/config.json", test_folder()},
                {folder, "/nowhere"}};
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeModel) model = moe_model_load(ways[i].name, ways[i].base, &error);
        assert_no_error(error);
        ck_assert_str_eq(model->name, "model");
    }
}
END_TEST

static const struct {
    const char *name, *message;
} absent[] = {
    {"olmoe-tyni", "neither a file nor a preset model; did you mean olmoe-tiny?"},
    {"gpt-5", "is neither a file nor a preset model; the presets are: "},
    {"no/such/folder", "'no/such/folder' is neither a file nor a preset model"},
    {"", "'' is neither a file nor a preset model"},
    {"./bare", "bare: neither config.json nor shapes.yaml nor a GGUF file is there"},
};

START_TEST(names_what_it_cannot_find)
{
    GError *error = NULL;
    g_autofree char *bare = g_build_filename(test_folder(), "bare", NULL);
    ck_assert_int_eq(g_mkdir_with_parents(bare, 0777), 0);
    ck_assert_ptr_null(moe_model_load(absent[_i].name, test_folder(), &error));
    assert_error(&error, MOE_ERROR_INPUT, absent[_i].message);
}
END_TEST

START_TEST(lists_families)
{
    const char *const *names = moe_family_names();
    ck_assert(g_strv_contains(names, "olmoe") && g_strv_contains(names, "mixtral"));
    for (int i = 1; names[i] != NULL; i++)
        ck_assert_str_lt(names[i - 1], names[i]); /* sorted, each once */
    moe_model_free(NULL);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("model");
    TCase *tests = tcase_create("model");
    tcase_add_loop_test(tests, reads_config, 0, (int)G_N_ELEMENTS(good));
    tcase_add_test(tests, describes_the_router);
    tcase_add_loop_test(tests, refuses_config, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_loop_test(tests, refuses_shapes, 0, (int)G_N_ELEMENTS(bad_instead));
    tcase_add_loop_test(tests, refuses_files, 0, (int)G_N_ELEMENTS(bad_files));
    tcase_add_loop_test(tests, reads_shapes, 0, (int)G_N_ELEMENTS(shapes));
    tcase_add_test(tests, needs_every_shape);
    tcase_add_loop_test(tests, counts_parameters_of_presets, 0, (int)G_N_ELEMENTS(counted));
    tcase_add_test(tests, counts_parameters_of_olmoe);
    tcase_add_test(tests, counts_compressed_queries);
    tcase_add_test(tests, finds_models);
    tcase_add_loop_test(tests, names_what_it_cannot_find, 0, (int)G_N_ELEMENTS(absent));
    tcase_add_test(tests, lists_families);
    suite_add_tcase(suite, tests);
    return suite;
}

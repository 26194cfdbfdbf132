#include "config.h"

#include "models/forward.h"
#include "tests/unit/harness.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <unistd.h>

/* The config.json files of tests/golden in the other style: that of transformers 4 (rope_theta,
 * rope_scaling, rotary_dim, first_k_dense_replace, torch_dtype) for that of transformers 5
 * (rope_parameters, mlp_layer_types, dtype), and the other way. The same weights must then route the
 * same tokens in the same way, bit by bit. */
static const char *const folders[] = {
    "dbrx",         "deepseek_v2",   "deepseek_v2_lite",   "deepseek_v3",   "dots1",
    "ernie4_5_moe", "flex_olmo",     "glm4_moe",           "glm4_moe_lite", "gpt_oss",
    "granitemoe",   "gpt_oss_mxfp4", "hunyuan_v1_moe",     "llama4_text",   "longcat_flash",
    "mixtral",      "mimo_v2_flash", "minimax_m2",         "olmoe",         "phimoe",
    "qwen2_moe",    "qwen3_moe",     "switch_transformers"};

/* --- the styles ------------------------------------------------------------------------------ */

/* Moves the member @from of @object to @to of @target; does nothing where there is none. */
static void move(JsonObject *object, const char *from, JsonObject *target, const char *to)
{
    if (!json_object_has_member(object, from))
        return;
    JsonNode *node = json_node_copy(json_object_get_member(object, from));
    json_object_remove_member(object, from);
    json_object_set_member(target, to, node);
}

static JsonObject *take_map(JsonObject *root, const char *key)
{
    JsonNode *node = json_object_get_member(root, key);
    JsonObject *map = node != NULL && JSON_NODE_HOLDS_OBJECT(node)
                          ? json_object_ref(json_node_get_object(node))
                          : json_object_new();
    json_object_remove_member(root, key);
    return map;
}

static void set_layer_types(JsonObject *root, gint64 blocks)
{
    gint64 dense = json_object_get_int_member(root, "first_k_dense_replace");
    JsonArray *types = json_array_new();
    for (gint64 l = 0; l < blocks; l++)
        json_array_add_string_element(types, l < dense ? "dense" : "sparse");
    json_object_remove_member(root, "first_k_dense_replace");
    json_object_set_array_member(root, "mlp_layer_types", types);
}

static void to_newer(JsonObject *root)
{
    JsonObject *rope = take_map(root, "rope_scaling");
    move(rope, "type", rope, "rope_type");
    move(root, "rope_theta", rope, "rope_theta");
    move(root, "partial_rotary_factor", rope, "partial_rotary_factor");
    json_object_set_object_member(root, "rope_parameters", rope);
    move(root, "torch_dtype", root, "dtype");
    if (json_object_has_member(root, "first_k_dense_replace"))
        set_layer_types(root, json_object_get_int_member(root, "num_hidden_layers"));
}

/* MiMo-V2-Flash has a map for each kind of block, and keys of their own for them. */
static void split_kinds(JsonObject *root, JsonObject *rope)
{
    JsonObject *full = take_map(rope, "full_attention");
    JsonObject *local = take_map(rope, "sliding_attention");
    move(full, "rope_theta", root, "rope_theta");
    move(full, "partial_rotary_factor", root, "partial_rotary_factor");
    move(local, "rope_theta", root, "swa_rope_theta");
    json_object_unref(full);
    json_object_unref(local);
}

static void to_older(JsonObject *root)
{
    JsonObject *rope = take_map(root, "rope_parameters");
    if (json_object_has_member(rope, "full_attention"))
        split_kinds(root, rope);
    move(rope, "rope_theta", root, "rope_theta");
    gboolean minimax =
        g_strcmp0(json_object_get_string_member(root, "model_type"), "minimax_m2") == 0;
    if (minimax)
        json_object_set_int_member(
            root, "rotary_dim",
            (gint64)(json_object_get_double_member(rope, "partial_rotary_factor") *
                     (double)json_object_get_int_member(root, "head_dim")));
    else
        move(rope, "partial_rotary_factor", root, "partial_rotary_factor");
    move(rope, "rope_type", rope, "type");
    if (json_object_has_member(rope, "factor"))
        json_object_set_object_member(root, "rope_scaling", json_object_ref(rope));
    json_object_unref(rope);
    move(root, "dtype", root, "torch_dtype");
    JsonNode *types = json_object_get_member(root, "mlp_layer_types");
    gint64 dense = 0;
    while (types != NULL &&
           g_strcmp0(json_array_get_string_element(json_node_get_array(types), (guint)dense),
                     "dense") == 0)
        dense++;
    gboolean mimo = json_object_has_member(root, "swa_rope_theta");
    if (types != NULL && !mimo) {
        json_object_remove_member(root, "mlp_layer_types");
        json_object_set_int_member(root, "first_k_dense_replace", dense);
    }
}

/* --- the same routing ------------------------------------------------------------------------ */

typedef struct {
    GByteArray *bytes;
    gsize k;
} Decisions;

static gboolean keep(void *user, const MoeRouting *routing, GError **error)
{
    (void)error;
    Decisions *d = user;
    gsize pairs = routing->n_tokens * d->k;
    g_byte_array_append(d->bytes, (const guint8 *)routing->experts,
                        (guint)(pairs * sizeof(*routing->experts)));
    g_byte_array_append(d->bytes, (const guint8 *)routing->weights,
                        (guint)(pairs * sizeof(*routing->weights)));
    return TRUE;
}

static GByteArray *route(const char *folder)
{
    enum { TOKENS = 40 };
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(folder, NULL, &error);
    assert_no_error(error);
    g_autoptr(MoeWeights) weights = moe_weights_open(folder, &error);
    assert_no_error(error);
    Decisions d = {g_byte_array_new(), (gsize)model->shape.num_experts_per_tok};
    const gsize offsets[] = {0, TOKENS / 2, TOKENS};
    guint32 ids[TOKENS];
    for (guint i = 0; i < TOKENS; i++)
        ids[i] = 3 + i * 37 % 300;
    const MoeForward job = {.model = model,
                            .weights = weights,
                            .ids = ids,
                            .n_sequences = 2,
                            .offsets = offsets,
                            .n_encoded = model->shape.encoder_layers > 0 ? 1 : 0,
                            .routing = keep,
                            .user = &d};
    ck_assert(moe_forward(&job, &error));
    assert_no_error(error);
    return d.bytes;
}

/* The folder @name of tests/golden with another config.json; the rest are links. */
static char *copy_with(const char *name, void (*change)(JsonObject *root))
{
    g_autofree char *relative = g_build_filename("tests/golden", name, NULL);
    g_autofree char *from = source_file(relative);
    char *to = g_build_filename(test_folder(), name, NULL);
    ck_assert_int_eq(g_mkdir_with_parents(to, 0700), 0);
    g_autoptr(GDir) dir = g_dir_open(from, 0, NULL);
    for (const char *file; (file = g_dir_read_name(dir)) != NULL;) {
        if (!g_str_has_prefix(file, "model"))
            continue;
        g_autofree char *target = g_build_filename(from, file, NULL);
        g_autofree char *absolute = g_canonicalize_filename(target, NULL);
        g_autofree char *link = g_build_filename(to, file, NULL);
        g_unlink(link); /* of a test before */
        ck_assert_int_eq(symlink(absolute, link), 0);
    }
    g_autofree char *config = g_build_filename(from, "config.json", NULL);
    g_autofree char *changed = g_build_filename(to, "config.json", NULL);
    g_autoptr(JsonParser) parser = json_parser_new();
    ck_assert(json_parser_load_from_file(parser, config, NULL));
    change(json_node_get_object(json_parser_get_root(parser)));
    g_autofree char *text = json_to_string(json_parser_get_root(parser), TRUE);
    ck_assert(g_file_set_contents(changed, text, -1, NULL));
    return to;
}

static gboolean is_newer(const char *name)
{
    g_autofree char *relative = g_build_filename("tests/golden", name, "config.json", NULL);
    g_autofree char *path = source_file(relative), *text = NULL;
    ck_assert(g_file_get_contents(path, &text, NULL, NULL));
    return strstr(text, "\"rope_parameters\"") != NULL;
}

START_TEST(both_styles_route_the_same)
{
    const char *name = folders[_i];
    g_autofree char *relative = g_build_filename("tests/golden", name, NULL);
    g_autofree char *folder = source_file(relative);
    gboolean encodes = g_strcmp0(name, "switch_transformers") == 0; /* no RoPE */
    g_autofree char *other = copy_with(name, encodes || is_newer(name) ? to_older : to_newer);
    g_autoptr(GByteArray) a = route(folder), b = route(other);
    ck_assert_uint_gt(a->len, 0);
    ck_assert_uint_eq(a->len, b->len);
    ck_assert_mem_eq(a->data, b->data, a->len);
}
END_TEST

/* --- what config.json leaves out, and says ---------------------------------------------------- */

static void as_it_is(JsonObject *root)
{
    (void)root;
}

/* Sets @key of the config.json of @folder to JSON text, or removes it. */
static void set_key(const char *folder, const char *key, const char *value)
{
    g_autofree char *config = g_build_filename(folder, "config.json", NULL);
    g_autoptr(JsonParser) parser = json_parser_new();
    ck_assert(json_parser_load_from_file(parser, config, NULL));
    JsonObject *root = json_node_get_object(json_parser_get_root(parser));
    json_object_remove_member(root, key);
    if (value != NULL)
        json_object_set_member(root, key, json_from_string(value, NULL));
    g_autofree char *text = json_to_string(json_parser_get_root(parser), TRUE);
    ck_assert(g_file_set_contents(config, text, -1, NULL));
}

/* transformers' MixtralConfig: 1e6, which the folder says too. */
START_TEST(a_family_has_its_own_base)
{
    g_autofree char *folder = source_file("tests/golden/mixtral");
    g_autofree char *silent = copy_with("mixtral", as_it_is);
    set_key(silent, "rope_theta", NULL);
    g_autoptr(GByteArray) a = route(folder), b = route(silent);
    ck_assert_uint_eq(a->len, b->len);
    ck_assert_mem_eq(a->data, b->data, a->len);
}
END_TEST

START_TEST(a_window_hides)
{
    g_autofree char *folder = source_file("tests/golden/mixtral");
    g_autoptr(GByteArray) all = route(folder);
    g_autofree char *copy = copy_with("mixtral", as_it_is);
    set_key(copy, "sliding_window", "64");
    g_autoptr(GByteArray) same = route(copy);
    ck_assert_mem_eq(all->data, same->data, all->len);
    set_key(copy, "sliding_window", "4");
    g_autoptr(GByteArray) narrow = route(copy);
    ck_assert(memcmp(all->data, narrow->data, all->len) != 0);
}
END_TEST

/* --- what is refused by name ----------------------------------------------------------------- */

static const struct {
    const char *folder, *key, *value, *message;
} refused[] = {
    {"qwen2_moe", "layer_types", "[\"sliding_attention\"]",
     "layer_types: Qwen2-MoE is supported with full_attention alone"},
    {"dots1", "layer_types", "[\"sliding_attention\"]",
     "layer_types: dots.llm1 is supported with full_attention alone"},
    {"dots1", "layer_types", NULL, NULL}, /* 3 blocks, and windows from the 62nd on */
    {"minimax_m2", "attn_type_list", "[1, 0, 1]", "attn_type_list: MiniMax-M2 is supported with 1"},
    {"gpt_oss", "swiglu_alpha", "1.5",
     "swiglu_alpha: '1.5' is not supported for gpt-oss; 1.702 is"},
    {"gpt_oss", "rope_scaling", NULL, "rope_scaling: missing; gpt-oss needs it, or null"},
    {"qwen3_moe", "num_local_experts", "8", "num_experts: '16' is not supported"},
    {"switch_transformers", "router_dtype", "\"bfloat16\"",
     "router_dtype: 'bfloat16' is not supported for Switch Transformers; float32 is"},
    {"switch_transformers", "dense_act_fn", "\"silu\"", "dense_act_fn: 'silu' is not supported"},
    {"switch_transformers", "dense_act_fn", "\"gelu\"",
     "feed_forward_proj: 'relu' is not supported"},
    {"switch_transformers", "is_encoder_decoder", "false", "is_encoder_decoder: 'false' is not"},
    {"switch_transformers", "encoder_sparse_step", "-1", "encoder_sparse_step: not a whole number"},
    {"switch_transformers", "relative_attention_max_distance", "8",
     "relative_attention_max_distance: must be more than half"},
    {"switch_transformers", "rope_scaling", "{\"type\": \"yarn\"}", "rope_scaling: a map is not"},
};

START_TEST(names_what_it_does_not_honour)
{
    g_autofree char *to = copy_with(refused[_i].folder, as_it_is);
    set_key(to, refused[_i].key, refused[_i].value);
    GError *error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(to, NULL, &error);
    if (refused[_i].message == NULL) {
        assert_no_error(error);
        return;
    }
    ck_assert_ptr_null(model);
    assert_error(&error, MOE_ERROR_INPUT, refused[_i].message);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("styles");
    TCase *tests = tcase_create("styles");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, both_styles_route_the_same, 0, (int)G_N_ELEMENTS(folders));
    tcase_add_test(tests, a_family_has_its_own_base);
    tcase_add_test(tests, a_window_hides);
    tcase_add_loop_test(tests, names_what_it_does_not_honour, 0, (int)G_N_ELEMENTS(refused));
    suite_add_tcase(suite, tests);
    return suite;
}

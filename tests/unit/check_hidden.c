#include "config.h"

#include "models/family.h"
#include "models/safetensors.h"
#include "tests/unit/harness.h"
#include "workloads/hidden.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* --- golden folders -------------------------------------------------------------------------- */

/* A model of tests/golden, and the hidden states, experts and weights of its reference. */
typedef struct {
    char *folder, *states;
    MoeModel *model;
    MoeSafetensors *golden;
} Golden;

static void golden_clear(Golden *g)
{
    g_free(g->folder);
    g_free(g->states);
    moe_model_free(g->model);
    moe_safetensors_free(g->golden);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Golden, golden_clear)

static Golden golden_open(const char *name)
{
    g_autofree char *relative = g_build_filename("tests/golden", name, NULL);
    g_autoptr(GError) error = NULL;
    Golden g = {.folder = source_file(relative)};
    g.states = g_build_filename(g.folder, "golden.safetensors", NULL);
    g.model = moe_model_load(g.folder, NULL, &error);
    assert_no_error(error);
    g.golden = moe_safetensors_open(g.states, &error);
    assert_no_error(error);
    return g;
}

static const MoeTensor *find(const Golden *g, int layer, const char *name)
{
    g_autofree char *full = g_strdup_printf("layers.%d.%s", layer, name);
    return moe_safetensors_find(g->golden, full);
}

/* Fails unless every token of @trace has the experts of the reference, with weights within @bound. */
static void assert_golden(const Golden *g, const MoeTrace *trace, float bound)
{
    gint64 K = trace->top_k;
    ck_assert_int_eq(trace->n_layers, moe_model_moe_layers(&g->model->shape));
    for (int l = 0; l < trace->n_layers; l++) {
        const MoeTraceLayer *layer = &trace->layers[l];
        const MoeTensor *experts = find(g, layer->layer, "experts");
        const MoeTensor *weights = find(g, layer->layer, "weights");
        ck_assert(experts != NULL && experts->type == MOE_ST_I32 && weights->type == MOE_ST_F32);
        ck_assert_int_eq(experts->dims[0], trace->n_tokens);
        ck_assert_int_eq(experts->dims[1], K);
        for (gint64 p = 0; p < trace->n_tokens * K; p++) {
            gint64 first = p / K * K, hit = -1;
            for (gint64 j = first; j < first + K; j++)
                if (layer->experts[j] == ((const gint32 *)experts->data)[p])
                    hit = j;
            ck_assert_msg(hit >= 0, "%s: block %d, token %d: expert %d is not chosen", g->folder,
                          layer->layer, (int)(p / K), ((const gint32 *)experts->data)[p]);
            float ours = ((const float *)layer->weights)[hit];
            ck_assert_msg(fabsf(ours - ((const float *)weights->data)[p]) <= bound,
                          "%s: block %d, token %d: weight %g", g->folder, layer->layer,
                          (int)(p / K), (double)ours);
        }
    }
}

static MoeTrace *route(const Golden *g, const char *router, const char *states, const char *lengths,
                       GError **error)
{
    const MoeHidden job = {
        .model = g->model, .router = router, .states = states, .lengths = lengths};
    return moe_record_hidden(&job, NULL, error);
}

/* Every model of tests/golden whose reference kept what the routers saw. */
START_TEST(the_router_alone_decides_as_the_model_does)
{
    g_autofree char *top = source_file("tests/golden");
    g_autoptr(GDir) dir = g_dir_open(top, 0, NULL);
    guint families = 0;
    for (const char *name = g_dir_read_name(dir); name != NULL; name = g_dir_read_name(dir)) {
        g_autofree char *config = g_build_filename(top, name, "config.json", NULL);
        if (!g_file_test(config, G_FILE_TEST_EXISTS))
            continue;
        g_auto(Golden) g = golden_open(name);
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeTrace) trace = route(&g, NULL, g.states, NULL, &error);
        if (g.model->shape.encoder_layers > 0) { /* two stacks, each with tokens of its own */
            ck_assert(trace == NULL);
            ck_assert(g_error_matches(error, MOE_ERROR, MOE_ERROR_INPUT));
            continue;
        }
        assert_no_error(error);
        assert_golden(&g, trace, 1e-5F);
        ck_assert(trace->ids == NULL && trace->n_tokens > 0);
        families++;
    }
    ck_assert_uint_ge(families, 10);
}
END_TEST

/* --- less than a model ----------------------------------------------------------------------- */

static char *new_folder(const char *name)
{
    char *folder = g_build_filename(test_folder(), name, NULL);
    ck_assert_int_eq(g_mkdir_with_parents(folder, 0777), 0);
    return folder;
}

static void link_file(const char *from, const char *to, const char *name)
{
    g_autofree char *source = g_build_filename(from, name, NULL);
    g_autofree char *target = g_build_filename(to, name, NULL);
    g_unlink(target);
    ck_assert_int_eq(symlink(source, target), 0);
}

/* Writes the tensors of @g's routers, and nothing else, to @path. */
static void write_router(const Golden *g, const char *path)
{
    g_autofree char *from = g_build_filename(g->folder, "model.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(from, &error);
    assert_no_error(error);
    guint n, kept = 0;
    const MoeTensor *tensors = moe_safetensors_tensors(file, &n);
    g_autofree MoeTensor *routers = g_new(MoeTensor, n);
    for (guint i = 0; i < n; i++)
        if (strstr(tensors[i].name, ".mlp.gate.") != NULL)
            routers[kept++] = tensors[i];
    ck_assert_uint_ge(kept, 2);
    ck_assert(moe_safetensors_write(path, TRUE, routers, kept, NULL, &error));
    assert_no_error(error);
}

START_TEST(router_tensors_are_enough)
{
    g_auto(Golden) g = golden_open("dots1"); /* with correction biases and a dense block */
    g_autofree char *folder = new_folder("routers");
    g_autofree char *weights = g_build_filename(folder, "model.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    link_file(g.folder, folder, "config.json");
    write_router(&g, weights);
    g_autoptr(MoeTrace) by_file = route(&g, weights, g.states, "10,61", &error);
    assert_no_error(error);
    assert_golden(&g, by_file, 1e-5F);
    ck_assert(by_file->sequence[9] == 0 && by_file->sequence[10] == 1);
    moe_model_free(g.model);
    g.model = moe_model_load(folder, NULL, &error);
    g_autoptr(MoeTrace) by_folder = route(&g, NULL, g.states, NULL, &error);
    assert_no_error(error);
    assert_golden(&g, by_folder, 1e-5F);
    ck_assert_str_eq(by_folder->weights, by_file->weights);
    const MoeTensor none[] = {{"a", MOE_ST_F32, 1, {1}, 1, &(float){1}}};
    ck_assert(moe_safetensors_write(weights, TRUE, none, 1, NULL, &error));
    ck_assert_ptr_null(route(&g, NULL, g.states, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, "model.layers.1.mlp.gate.weight");
}
END_TEST

/* Shards without routers need not be there. */
START_TEST(shards_may_be_missing)
{
    g_auto(Golden) g = golden_open("qwen3_moe");
    g_autofree char *folder = new_folder("shards");
    g_autoptr(GError) error = NULL;
    link_file(g.folder, folder, "config.json");
    link_file(g.folder, folder, "model.safetensors.index.json");
    g_autoptr(GDir) dir = g_dir_open(g.folder, 0, NULL);
    guint all = 0, kept = 0;
    for (const char *name = g_dir_read_name(dir); name != NULL; name = g_dir_read_name(dir)) {
        g_autofree char *path = g_build_filename(g.folder, name, NULL);
        g_autofree char *bytes = NULL;
        gsize length;
        if (!g_str_has_prefix(name, "model-"))
            continue;
        ck_assert(g_file_get_contents(path, &bytes, &length, NULL));
        all++;
        if (g_strstr_len(bytes + 8, (gssize)length - 8, ".mlp.gate.weight") == NULL)
            continue;
        link_file(g.folder, folder, name);
        kept++;
    }
    ck_assert(kept > 0 && kept < all);
    moe_model_free(g.model);
    g.model = moe_model_load(folder, NULL, &error);
    g_autoptr(MoeTrace) trace = route(&g, NULL, g.states, NULL, &error);
    assert_no_error(error);
    assert_golden(&g, trace, 1e-5F);
}
END_TEST

/* --- states ---------------------------------------------------------------------------------- */

/* Writes @size bytes of states [tokens, hidden] as a version 1.0 .npy file. */
static void write_npy(const char *folder, const char *name, const char *type, gint64 tokens,
                      gint64 hidden, const void *data, gsize size)
{
    GString *file = g_string_new_len("\x93NUMPY\x01\x00\x00\x00", 10);
    g_string_append_printf(file, "{'descr': '%s', 'fortran_order': False, 'shape': (%d, %d), }",
                           type, (int)tokens, (int)hidden);
    while (file->len % 64 != 62) /* the data is not aligned */
        g_string_append_c(file, ' ');
    g_string_append_c(file, '\n');
    file->str[8] = (char)(file->len - 10);
    g_string_append_len(file, data, (gssize)size);
    g_autofree char *path = g_build_filename(folder, name, NULL);
    ck_assert(g_file_set_contents(path, file->str, (gssize)file->len, NULL));
    g_string_free(file, TRUE);
}

/* The states of block @l in the form of row @_i, and how much the weights may differ for it. */
static const struct {
    const char *name, *type;
    float bound;
} forms[] = {
    {"layer_%s.npy", "<f4", 1e-5F},
    {"layers.%s.hidden.npy", "<V2", 2e-2F}, /* bfloat16, cut short */
};

START_TEST(states_may_be_a_folder)
{
    g_auto(Golden) g = golden_open("olmoe");
    g_autofree char *folder = new_folder("states");
    for (int l = 0; l < 3; l++) {
        const MoeTensor *hidden = find(&g, l, "hidden");
        g_autofree guint16 *halves = g_new(guint16, hidden->n_elements);
        for (gint64 i = 0; i < hidden->n_elements; i++)
            halves[i] = ((const guint16 *)hidden->data)[2 * i + 1];
        g_autofree char *number = g_strdup_printf("%d", l);
        g_auto(GStrv) parts = g_strsplit(forms[_i].name, "%s", 2);
        g_autofree char *name = g_strjoinv(number, parts);
        gboolean wide = forms[_i].type[1] == 'f';
        write_npy(folder, name, forms[_i].type, hidden->dims[0], hidden->dims[1],
                  wide ? hidden->data : halves, (gsize)hidden->n_elements * (wide ? 4 : 2));
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = route(&g, NULL, folder, NULL, &error);
    assert_no_error(error);
    ck_assert_str_eq(trace->workload, "hidden states states (71 tokens)");
    if (_i == 0) {
        assert_golden(&g, trace, forms[_i].bound);
        return;
    }
    /* Rounded states: nearly all first choices stay, and their weights nearly. */
    guint same = 0;
    for (gint64 t = 0; t < trace->n_tokens; t++) {
        const MoeTensor *weights = find(&g, 0, "weights"), *experts = find(&g, 0, "experts");
        gint64 p = t * trace->top_k;
        gboolean hit = trace->layers[0].experts[p] == ((const gint32 *)experts->data)[p];
        same += hit ? 1 : 0;
        if (hit)
            ck_assert(fabsf(((const float *)trace->layers[0].weights)[p] -
                            ((const float *)weights->data)[p]) <= forms[_i].bound);
    }
    ck_assert_int_ge(same, trace->n_tokens * 9 / 10);
}
END_TEST

/* Two blocks of two tokens; what makes them wrong. */
static const struct {
    const char *type;
    int hidden, tokens[4];
    float spoilt; /* the first number of block 1 */
    const char *lengths, *message;
} bad[] = {
    {"<f4", 64, {2, 2, 0, 0}, 0, NULL, "neither layer_2.npy nor layers.2.hidden.npy"},
    {"<f4", 64, {2, 3, 2, 0}, 0, NULL, "layer_1.npy: 3 tokens where the blocks before have 2"},
    {"<f4", 63, {2, 2, 2, 0}, 0, NULL, "layer_0.npy: hidden states must be [tokens, 64]"},
    {"<i4", 64, {2, 2, 2, 0}, 0, NULL, "layer_0.npy: hidden states must be [tokens, 64]"},
    {"<f4", 64, {2, 2, 2, 2}, 0, NULL, "there is a block 3; olmoe has the blocks 0 to 2"},
    {"<f4", 64, {2, 2, 2, 0}, NAN, NULL, "layer_1.npy: element [0, 0] is not a finite number"},
    {"<f4", 64, {2, 2, 2, 0}, 3e38F, NULL, "layer_1.npy: the router logits of token 0"},
    {"<f4", 64, {2, 2, 2, 0}, 0, "1,2", "1,2: the lengths add up to 3 tokens"},
};

START_TEST(refuses_other_states)
{
    g_auto(Golden) g = golden_open("olmoe");
    g_autofree char *name_of_case = g_strdup_printf("bad%d", _i);
    g_autofree char *folder = new_folder(name_of_case);
    for (int l = 0; l < 4; l++) {
        float values[3 * 64] = {0};
        if (l == 1)
            for (int i = 0; i < 64; i++)
                values[i] = bad[_i].spoilt;
        g_autofree char *name = g_strdup_printf("layer_%d.npy", l);
        if (bad[_i].tokens[l] > 0)
            write_npy(folder, name, bad[_i].type, bad[_i].tokens[l], bad[_i].hidden, values,
                      (gsize)bad[_i].tokens[l] * (gsize)bad[_i].hidden * 4);
    }
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(route(&g, NULL, folder, bad[_i].lengths, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

START_TEST(refuses_other_files)
{
    g_auto(Golden) g = golden_open("olmoe");
    g_autoptr(GError) error = NULL;
    const MoeTensor odd[] = {{"layers.0.hidden", MOE_ST_F64, 2, {1, 1}, 1, &(double){1}}};
    g_autofree char *path = g_build_filename(test_folder(), "h.safetensors", NULL);
    ck_assert(moe_safetensors_write(path, TRUE, odd, 1, NULL, &error));
    ck_assert_ptr_null(route(&g, NULL, path, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, "h.safetensors: tensor 'layers.0.hidden'");
    ck_assert(moe_safetensors_write(path, TRUE, NULL, 0, NULL, &error));
    ck_assert_ptr_null(route(&g, NULL, path, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, "there is no tensor layers.0.hidden");
    ck_assert_ptr_null(route(&g, NULL, "nowhere", NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, "nowhere");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("hidden");
    TCase *tests = tcase_create("hidden");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, the_router_alone_decides_as_the_model_does);
    tcase_add_test(tests, router_tensors_are_enough);
    tcase_add_test(tests, shards_may_be_missing);
    tcase_add_loop_test(tests, states_may_be_a_folder, 0, (int)G_N_ELEMENTS(forms));
    tcase_add_loop_test(tests, refuses_other_states, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, refuses_other_files);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "models/safetensors.h"
#include "tests/unit/harness.h"
#include "workloads/import.h"
#include "workloads/npy.h"

#include <string.h>
#include <zip.h>

/* --- files ----------------------------------------------------------------------------------- */

/* A .npy file, version 1.0 of numpy.lib.format: magic, header length, header padded to 64, data. */
static GString *npy_bytes(const char *type, const char *shape, const void *data, gsize size)
{
    g_autofree char *header =
        g_strdup_printf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type, shape);
    GString *file = g_string_new_len("\x93NUMPY\x01\x00\x00\x00", 10);
    g_string_append(file, header);
    while (file->len % 64 != 63)
        g_string_append_c(file, ' ');
    g_string_append_c(file, '\n');
    file->str[8] = (char)(file->len - 10);
    return g_string_append_len(file, data, (gssize)size);
}

static char *npy(const char *name, const char *type, const char *shape, const void *data,
                 gsize size)
{
    GString *file = npy_bytes(type, shape, data, size);
    char *path = test_file(name, file->str, (gssize)file->len);
    g_string_free(file, TRUE);
    return path;
}

/* A .npz file of the arrays in the NULL-terminated @files, called arr_0 and so on. */
static char *npz(const char *name, GString *const *files, zip_int32_t method)
{
    char *path = g_build_filename(test_folder(), name, NULL);
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    ck_assert_ptr_nonnull(zip);
    for (int i = 0; files[i] != NULL; i++) {
        g_autofree char *member = g_strdup_printf("arr_%d.npy", i);
        zip_source_t *source = zip_source_buffer(zip, files[i]->str, files[i]->len, 0);
        ck_assert_int_eq(zip_file_add(zip, member, source, 0), i);
        ck_assert_int_eq(zip_set_file_compression(zip, (zip_uint64_t)i, method, 0), 0);
    }
    ck_assert_int_eq(zip_close(zip), 0);
    for (int i = 0; files[i] != NULL; i++)
        g_string_free(files[i], TRUE);
    return path;
}

static MoeTrace *import_one(const char *experts, const char *weights, const char *lengths,
                            const MoeImport *import, GError **error)
{
    const char *const files[] = {experts, NULL}, *const more[] = {weights, NULL};
    const char *const cuts[] = {lengths, NULL};
    return moe_import_arrays(files, weights != NULL ? more : NULL, lengths != NULL ? cuts : NULL,
                             import, NULL, error);
}

/* Three tokens, two layers, two choices: expert = 10 token + layer in the first place. */
static const guint8 choices[] = {0, 5, 1, 5, 10, 5, 11, 5, 20, 5, 21, 5};
static const MoeModelShape three_blocks = {.num_hidden_layers = 3};
static const MoeImport deep = {.model = "m", .first_layer = 4, .hidden_size = 32};

/* --- .npy ------------------------------------------------------------------------------------ */

START_TEST(npy_is_token_layer_rank)
{
    static const guint16 halves[] = {0x3C00, 0x3800, 0x3C00, 0x3800, 0x3C00, 0x3800,
                                     0x3C00, 0x3800, 0x3C00, 0x3800, 0x3C00, 0x3800};
    g_autofree char *path = npy("e.npy", "|u1", "(3, 2, 2)", choices, sizeof(choices));
    g_autofree char *weights = npy("w.npy", "<f2", "(3, 2, 2)", halves, sizeof(halves));
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = import_one(path, weights, "2,1", &deep, &error);
    assert_no_error(error);
    ck_assert_str_eq(trace->model, "m");
    ck_assert_str_eq(trace->weights, ""); /* not traced here */
    ck_assert(trace->n_tokens == 3 && trace->n_layers == 2 && trace->top_k == 2);
    ck_assert(trace->n_experts == 22 && trace->hidden_size == 32);
    for (int l = 0; l < 2; l++) {
        ck_assert_int_eq(trace->layers[l].layer, 4 + l);
        for (int t = 0; t < 3; t++) {
            ck_assert_uint_eq(trace->layers[l].experts[2 * t], 10 * t + l);
            ck_assert_uint_eq(trace->layers[l].experts[2 * t + 1], 5);
        }
        float first, second;
        moe_widen(trace->layers[l].weights_dtype, trace->layers[l].weights, 1, &first);
        moe_widen(trace->layers[l].weights_dtype,
                  (const char *)trace->layers[l].weights +
                      moe_dtype_bytes(trace->layers[l].weights_dtype),
                  1, &second);
        ck_assert(first == 1 && second == 0.5f);
    }
    static const guint32 sequence[] = {0, 0, 1}, position[] = {0, 1, 0};
    ck_assert_mem_eq(trace->sequence, sequence, sizeof(sequence));
    ck_assert_mem_eq(trace->position, position, sizeof(position));
}
END_TEST

START_TEST(files_are_joined)
{
    static const gint64 wide[] = {0, 5, 1, 6};
    g_autofree char *a = npy("a.npy", "|u1", "(3, 2, 2)", choices, sizeof(choices));
    g_autofree char *b = npy("b.npy", "<i8", "(1, 2, 2)", wide, sizeof(wide));
    const char *const files[] = {a, b, NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = moe_import_arrays(files, NULL, NULL, &deep, NULL, &error);
    assert_no_error(error);
    ck_assert(trace->n_tokens == 4 && trace->sequence[2] == 0 && trace->sequence[3] == 1);
    ck_assert_uint_eq(trace->layers[1].experts[7], 6);
}
END_TEST

static const struct {
    const char *type, *shape, *lengths;
    gsize size;
    MoeImport import;
    const char *message;
} bad[] = {
    {"|u1", "(3, 2, 2)", NULL, 11, {.model = "m"}, "the shape needs 12 elements of 1 bytes"},
    {"|u1", "(12,)", NULL, 12, {.model = "m"}, "[token, layer, rank]; this one has 1"},
    {"<f4", "(3, 1, 1)", NULL, 12, {.model = "m"}, "whole-number array"},
    {">i4", "(3, 1, 1)", NULL, 12, {.model = "m"}, "the type '>i4' is not read"},
    {"|u1", "(0, 2, 2)", NULL, 0, {.model = "m"}, "holds no tokens"},
    {"|u1",
     "(3, 2, 2)",
     NULL,
     12,
     {.model = "m", .n_experts = 20},
     "token 2 chose expert 20 of 20"},
    {"|i1",
     "(3, 2, 2)",
     NULL,
     12,
     {.model = "m", .top_k = 4},
     "2 experts per token, but m chooses 4"},
    {"|u1",
     "(3, 2, 2)",
     NULL,
     12,
     {.model = "m", .shape = &three_blocks},
     "2 layers, but m has 3 blocks with experts, of 3"},
    {"|u1", "(3, 2, 2)", "2,2", 12, {.model = "m"}, "add up to 4"},
    {"|u1", "(3, 2, 2)", "3,0", 12, {.model = "m"}, "0 is not the length of a sequence"},
    {"|u1", "(3, 2, 2)", "3,x", 12, {.model = "m"}, "3,x: cannot be read"},
    {"|u1", "(3, 2, 2)", "none.json", 12, {.model = "m"}, "none.json"},
};

START_TEST(refuses_other_arrays)
{
    g_autofree char *path = npy("bad.npy", bad[_i].type, bad[_i].shape, choices, bad[_i].size);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = import_one(path, NULL, bad[_i].lengths, &bad[_i].import, &error);
    ck_assert_ptr_null(trace);
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

/* 2^64 - 1 is no -1. */
START_TEST(large_ids_are_not_negative)
{
    static const guint64 ids[] = {G_MAXUINT64};
    g_autofree char *path = npy("u8.npy", "<u8", "(1, 1, 1)", ids, sizeof(ids));
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(import_one(path, NULL, NULL, &deep, &error));
    assert_error(&error, MOE_ERROR_INPUT,
                 "token 0, layer 0: choice 0 is 9223372036854775807, which is no expert");
}
END_TEST

START_TEST(refuses_other_weights)
{
    g_autofree char *path = npy("e.npy", "|u1", "(3, 2, 2)", choices, sizeof(choices));
    g_autofree char *weights = npy("w.npy", "<f4", "(1, 1, 3)", choices, sizeof(choices));
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(import_one(path, weights, NULL, &deep, &error));
    assert_error(&error, MOE_ERROR_INPUT, "w.npy: weights must be floats of the same shape");
}
END_TEST

/* --- .npz ------------------------------------------------------------------------------------ */

START_TEST(npz_is_one_array_per_member)
{
    static const zip_int32_t methods[] = {ZIP_CM_STORE, ZIP_CM_DEFLATE};
    static const float ones[] = {1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0};
    g_autofree char *path = npz("e.npz",
                                (GString *const[]){npy_bytes("|u1", "(3, 2, 2)", choices, 12),
                                                   npy_bytes("|u1", "(0, 2, 2)", choices, 0),
                                                   npy_bytes("|u1", "(1, 2, 2)", choices, 4), NULL},
                                methods[_i]);
    g_autofree char *weights =
        npz("w.npz",
            (GString *const[]){npy_bytes("<f4", "(3, 2, 2)", ones, 48),
                               npy_bytes("<f4", "(0, 2, 2)", ones, 0),
                               npy_bytes("<f4", "(1, 2, 2)", ones, 16), NULL},
            methods[_i]);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = import_one(path, weights, NULL, &deep, &error);
    assert_no_error(error);
    static const guint32 sequence[] = {0, 0, 0, 1};
    static const guint16 second[] = {1, 5, 11, 5, 21, 5, 1, 5};
    ck_assert(trace->n_tokens == 4 && trace->n_layers == 2 && trace->top_k == 2);
    ck_assert_mem_eq(trace->sequence, sequence, sizeof(sequence));
    ck_assert_mem_eq(trace->layers[1].experts, second, sizeof(second));
    ck_assert_str_eq(trace->workload, "imported e.npz (4 tokens)");
}
END_TEST

/* Every byte of an archive changed in turn: the same trace, or an error that names the file. */
START_TEST(a_damaged_npz_is_refused)
{
    g_autofree char *path =
        npz("e.npz", (GString *const[]){npy_bytes("|u1", "(3, 2, 2)", choices, 12), NULL},
            ZIP_CM_DEFLATE);
    g_autofree char *good = NULL;
    gsize length;
    guint refused = 0;
    ck_assert(g_file_get_contents(path, &good, &length, NULL));
    for (gsize at = 0; at < length; at++) {
        g_autofree char *bytes = g_memdup2(good, length);
        bytes[at] ^= 0x15;
        g_autofree char *damaged = test_file("bad.npz", bytes, (gssize)length);
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeTrace) trace = import_one(damaged, NULL, NULL, &deep, &error);
        if (trace != NULL)
            ck_assert_uint_eq(trace->layers[1].experts[4], 21);
        else
            assert_error(&error, MOE_ERROR_INPUT, "bad.npz");
        refused += trace == NULL ? 1 : 0;
    }
    ck_assert_uint_gt(refused, length / 2);
}
END_TEST

START_TEST(npz_members_are_arrays_of_ids)
{
    static const float halves[4] = {0};
    g_autofree char *path = npz(
        "f.npz", (GString *const[]){npy_bytes("<f4", "(1, 2, 2)", halves, 16), NULL}, ZIP_CM_STORE);
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(import_one(path, NULL, NULL, &deep, &error));
    assert_error(&error, MOE_ERROR_INPUT, "f.npz: arr_0.npy: expert ids must be a whole-number");
}
END_TEST

/* --- the model's blocks ---------------------------------------------------------------------- */

/* Servers record all blocks, or those with experts. */
START_TEST(blocks_without_experts_are_left_out)
{
    static const guint8 ids[] = {0, 0, 3, 1, 0, 0, 2, 3, 0, 0, 1, 2, 0, 0, 0, 1};
    const MoeModelShape shape = {.num_hidden_layers = 4, .dense_blocks = {1 | 4}};
    const MoeImport import = {.model = "m", .shape = &shape, .first_layer = -1};
    g_autofree char *all = npy("all.npy", "|u1", "(2, 4, 2)", ids, sizeof(ids));
    g_autofree char *some = npy("some.npy", "|u1", "(3, 2, 2)", choices, sizeof(choices));
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = import_one(all, NULL, NULL, &import, &error);
    assert_no_error(error);
    static const guint16 first[] = {3, 1, 1, 2}, second[] = {2, 3, 0, 1};
    ck_assert(trace->n_layers == 2 && trace->layers[0].layer == 1 && trace->layers[1].layer == 3);
    ck_assert_mem_eq(trace->layers[0].experts, first, sizeof(first));
    ck_assert_mem_eq(trace->layers[1].experts, second, sizeof(second));
    g_autoptr(MoeTrace) other = import_one(some, NULL, NULL, &import, &error);
    assert_no_error(error);
    ck_assert(other->layers[0].layer == 1 && other->layers[1].layer == 3);
    const MoeImport unknown = {.model = "m"};
    ck_assert_ptr_null(import_one(all, NULL, NULL, &unknown, &error));
    assert_error(&error, MOE_ERROR_INPUT, "token 0, layer 0: nothing but expert 0");
}
END_TEST

/* --- JSON lines ------------------------------------------------------------------------------ */

static const gint32 wide_ids[] = {0, 5, 1, 5, 10, 5, 11, 5, 20, 5, 21, 5};

static char *base64_line(const char *format, const void *data, gsize size)
{
    g_autofree char *text = g_base64_encode(data, size);
    g_auto(GStrv) parts = g_strsplit(format, "@", 2);
    return g_strjoinv(text, parts);
}

START_TEST(each_line_is_a_response)
{
    GString *array = npy_bytes("|u1", "(1, 2, 2)", choices, 4);
    g_autofree char *native = base64_line(
        "{\"text\": \"a\", \"meta_info\": {\"id\": \"1\", \"routed_experts\": \"@\"}}\n", wide_ids,
        48);
    g_autofree char *openai = base64_line(
        "{\"choices\": [{\"text\": \"\"}], \"sglext\": {\"routed_experts\": \"@\"}}\n\n", wide_ids,
        16);
    g_autofree char *vllm =
        base64_line("{\"choices\": [{\"routed_experts\": \"@\"}], \"prompt_routed_experts\": null}",
                    array->str, array->len);
    g_string_free(array, TRUE);
    g_autofree char *text = g_strconcat(native, openai, vllm, NULL);
    g_autofree char *path = test_file("r.jsonl", text, -1);
    const MoeImport import = {.model = "m", .n_layers = 2, .top_k = 2};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = import_one(path, NULL, NULL, &import, &error);
    assert_no_error(error);
    static const guint32 sequence[] = {0, 0, 0, 1, 2}, position[] = {0, 1, 2, 0, 0};
    static const guint16 second[] = {1, 5, 11, 5, 21, 5, 1, 5, 1, 5};
    ck_assert(trace->n_tokens == 5 && trace->n_layers == 2 && trace->n_experts == 22);
    ck_assert_mem_eq(trace->sequence, sequence, sizeof(sequence));
    ck_assert_mem_eq(trace->position, position, sizeof(position));
    ck_assert_mem_eq(trace->layers[1].experts, second, sizeof(second));
}
END_TEST

static const struct {
    const char *text;
    gint64 n_layers, top_k;
    const char *message;
} bad_lines[] = {
    {"", 2, 2, "r.jsonl"},
    {"\n\n", 2, 2, "r.jsonl: there is no line"},
    {"\n{\n", 2, 2, "r.jsonl:2:1:"},
    {"[]", 2, 2, "r.jsonl:1"},
    {"{\"text\": 1}", 2, 2, "r.jsonl:1: there is no meta_info.routed_experts"},
    {"{\"routed_experts\": [1]}", 2, 2, "routed_experts is not a string of base64"},
    {"{\"routed_experts\": \"AA=A\"}", 2, 2, "character 3 of 4: not base64"},
    {"{\"routed_experts\": \"A\\u0000AA\"}", 2, 2, "character 1 of"},
    {"{\"routed_experts\": \"AAA\"}", 2, 2, "not base64"},
    {"{\"routed_experts\": \"AAAA\"}", 2, 2, "3 bytes are no whole number of tokens"},
    {"{\"routed_experts\": \"AAAA\"}", 0, 2, "or give --layers and --top-k"},
    {"{\"routed_experts\": \"/////w==\"}", 1, 1, "r.jsonl:1: token 0, layer 0: choice 0 is -1"},
    {"{\"routed_experts\": \"\"}", 1, 1, "holds no tokens"},
    {"{\"choices\": [{}, {}]}", 1, 1, "r.jsonl:1: 2 choices"},
    {"{\"choices\": [{}]}", 1, 1, "choices[0]: there is no routed_experts"},
    {"{\"prompt_routed_experts\": []}", 1, 1, "the prompt's experts are apart here"},
};

START_TEST(refuses_other_lines)
{
    g_autofree char *path = test_file("r.jsonl", bad_lines[_i].text, -1);
    const MoeImport import = {
        .model = "m", .n_layers = bad_lines[_i].n_layers, .top_k = bad_lines[_i].top_k};
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(import_one(path, NULL, NULL, &import, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad_lines[_i].message);
}
END_TEST

/* --- SGLang's recorder ----------------------------------------------------------------------- */

/* Three layers, the first without experts, of two tokens with at most two experts in four columns;
 * physical expert 4 is a second copy of expert 0. */
static gint32 recorded[] = {-1, -1, -1, -1, -1, -1, -1, -1, 4, 2,  -1, -1,
                            1,  3,  -1, -1, 2,  1,  -1, -1, 0, -1, -1, -1};
static const gint32 copies[] = {0, 1, 2, 3, 0, 0, 1, 2, 3, 0, 0, 1, 2, 3, 0};

static char *recording(const gint32 *ids, const gint32 *map, gint64 map_rows)
{
    const MoeTensor tensors[] = {
        {"topk_ids_of_layer", MOE_ST_I32, 3, {3, 2, 4}, 24, ids},
        {"last_physical_to_logical_map", MOE_ST_I32, 2, {map_rows, 5}, 5 * map_rows, map},
    };
    g_autoptr(GError) error = NULL;
    char *path = g_build_filename(test_folder(), "r.safetensors", NULL);
    ck_assert(moe_safetensors_write(path, TRUE, tensors, map != NULL ? 2 : 1, NULL, &error));
    return path;
}

START_TEST(a_recording_has_no_padding)
{
    const MoeModelShape shape = {.num_hidden_layers = 3, .first_k_dense_replace = 1};
    const MoeImport imports[] = {{.model = "m"},
                                 {.model = "m", .shape = &shape, .top_k = 2, .first_layer = 1}};
    g_autofree char *path = recording(recorded, copies, 3);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = import_one(path, NULL, NULL, &imports[_i], &error);
    assert_no_error(error);
    static const guint16 first[] = {0, 2, 1, 3}, second[] = {2, 1, 0};
    ck_assert(trace->n_layers == 2 && trace->top_k == 2 && trace->n_experts == 4);
    ck_assert(trace->layers[0].layer == 1 && trace->layers[1].layer == 2);
    ck_assert(trace->layers[0].offsets == NULL && trace->layers[1].n_pairs == 3);
    ck_assert_mem_eq(trace->layers[0].experts, first, sizeof(first));
    ck_assert_mem_eq(trace->layers[1].experts, second, sizeof(second));
    ck_assert(trace->layers[1].offsets[1] == 2 && trace->layers[1].offsets[2] == 3);
}
END_TEST

START_TEST(refuses_other_recordings)
{
    const MoeImport import = {.model = "m"};
    g_autofree char *short_map = recording(recorded, copies, 2);
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(import_one(short_map, NULL, NULL, &import, &error));
    assert_error(&error, MOE_ERROR_INPUT, "must be [3, physical experts]");
    recorded[8] = 5;
    g_autofree char *outside = recording(recorded, copies, 3);
    ck_assert_ptr_null(import_one(outside, NULL, NULL, &import, &error));
    assert_error(&error, MOE_ERROR_INPUT, "token 0, layer 1: choice 0 is 5, which is no expert");
    static const gint32 nothing[24] = {[0 ... 23] = -1};
    g_autofree char *empty = recording(nothing, NULL, 0);
    ck_assert_ptr_null(import_one(empty, NULL, NULL, &import, &error));
    assert_error(&error, MOE_ERROR_INPUT, "no token has an expert");
    g_autofree char *pickle = test_file("r.pt", "PK", -1);
    ck_assert_ptr_null(import_one(pickle, NULL, NULL, &import, &error));
    assert_error(&error, MOE_ERROR_INPUT, "python3 -c");
    ck_assert_ptr_null(import_one("r.bin", NULL, NULL, &import, &error));
    assert_error(&error, MOE_ERROR_USAGE, "r.bin: give one .csv file, or");
}
END_TEST

/* --- CSV ------------------------------------------------------------------------------------- */

START_TEST(csv_is_one_line_per_pair)
{
    static const char text[] = "layer,token,expert,weight,sequence\n"
                               "2,0,3,0.75,0\n2,0,1,0.25,0\n7,0,0,1,0\n7,0,2,0,0\n"
                               "7,1,2,0.5,1\n7,1,1,0.5,1\n2,1,0,0.5,1\n2,1,3,0.5,1\n";
    g_autofree char *path = test_file("r.csv", text, -1);
    const MoeImport import = {.model = "m", .first_layer = -1};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = moe_import_csv(path, &import, NULL, &error);
    assert_no_error(error);
    ck_assert(trace->n_tokens == 2 && trace->n_layers == 2 && trace->top_k == 2);
    ck_assert(trace->n_experts == 4 && trace->sequence[1] == 1 && trace->position[1] == 0);
    static const guint16 first[] = {3, 1, 0, 3}, second[] = {0, 2, 2, 1};
    ck_assert_int_eq(trace->layers[0].layer, 2);
    ck_assert_int_eq(trace->layers[1].layer, 7);
    ck_assert_mem_eq(trace->layers[0].experts, first, sizeof(first));
    ck_assert_mem_eq(trace->layers[1].experts, second, sizeof(second));
    float weight[4];
    moe_widen(trace->layers[0].weights_dtype, trace->layers[0].weights, 4, weight);
    ck_assert(weight[0] == 0.75f && weight[1] == 0.25f && weight[2] == 0.5f);
}
END_TEST

/* The first layer of the file becomes the block that is asked for, the others keep their distance. */
START_TEST(csv_layers_move_together)
{
    g_autofree char *path = test_file("r.csv", "token,layer,expert\n0,5,1\n0,3,2\n0,4,0\n", -1);
    for (int first = -1; first < 8; first++) {
        const MoeImport import = {.model = "m", .first_layer = first, .top_k = 1};
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeTrace) trace = moe_import_csv(path, &import, NULL, &error);
        assert_no_error(error);
        for (int l = 0; l < 3; l++)
            ck_assert_int_eq(trace->layers[l].layer, (first >= 0 ? first : 3) + l);
    }
}
END_TEST

START_TEST(csv_must_be_the_models)
{
    static const struct {
        MoeImport import;
        const char *message;
    } rows[] = {
        {{.model = "m", .top_k = 1}, "r.csv: at most 2 experts per token, but m chooses 1"},
        {{.model = "m", .top_k = 3}, "r.csv: at most 2 experts per token, but m chooses 3"},
        {{.model = "m", .shape = &three_blocks},
         "r.csv: 2 layers, but m has 3 blocks with experts"},
    };
    g_autofree char *path = test_file("r.csv", "token,layer,expert\n0,0,1\n0,0,2\n0,1,0\n", -1);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        GError *error = NULL;
        ck_assert_ptr_null(moe_import_csv(path, &rows[i].import, NULL, &error));
        assert_error(&error, MOE_ERROR_INPUT, rows[i].message);
    }
}
END_TEST

/* A token without a line in a block has no expert there. */
START_TEST(csv_may_be_ragged)
{
    g_autofree char *path =
        test_file("r.csv", "token,layer,expert\n0,0,1\n0,0,2\n1,0,0\n1,1,1\n", -1);
    const MoeImport import = {.model = "m"};
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTrace) trace = moe_import_csv(path, &import, NULL, &error);
    assert_no_error(error);
    gint64 n;
    ck_assert_int_eq(trace->top_k, 2);
    moe_trace_pairs(trace, &trace->layers[0], 1, &n);
    ck_assert_int_eq(n, 1);
    moe_trace_pairs(trace, &trace->layers[1], 0, &n);
    ck_assert_int_eq(n, 0);
}
END_TEST

static const struct {
    const char *text, *message;
} bad_csv[] = {
    {"token,layer\n0,0\n", "expert"},
    {"token,layer,expert\n", "no line follows the names of the columns"},
    {"token,layer,expert\n0,0,1\n0,0,x\n", "bad.csv:3"},
    {"token,layer,expert\n-1,0,1\n", "bad.csv:2"},
    {"token,layer,expert\n0,0,1\n3,0,1\n", "token 3 occurs, but only 2 lines are there"},
    {"token,layer,expert\n0,0,1\n0,0,1\n", "chose expert 1 twice"},
    {"token,layer,expert,weight\n0,0,1,nan\n", "bad.csv:2"},
    {"token,layer,expert,sequence\n0,0,1,1\n1,0,1,0\n", "sequences must come in order"},
    {"token,layer,expert,sequence\n0,0,1,0\n0,0,2,1\n", "token 0 was in sequence 0 before"},
};

START_TEST(refuses_other_csv)
{
    g_autofree char *path = test_file("bad.csv", bad_csv[_i].text, -1);
    const MoeImport import = {.model = "m"};
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(moe_import_csv(path, &import, NULL, &error));
    ck_assert(error != NULL && strstr(error->message, "bad.csv") != NULL);
    assert_error(&error, MOE_ERROR_INPUT, bad_csv[_i].message);
}
END_TEST

/* --- lengths --------------------------------------------------------------------------------- */

static const struct {
    const char *name, *text, *keys;
    gint64 sum;
    guint n;
} lists[] = {
    {"l.txt", "64 63,71\n5\n", "", 203, 4},
    {"l.json", "[64, 63]", "", 127, 2},
    {"l.json", "{\"a\": {\"b\": [1, 2, 3]}}", ":a.b", 6, 3},
    {"l.json", "{\"a\": [{\"n\": 4}, {\"n\": 5}]}", ":a.n", 9, 2},
};

START_TEST(lengths_come_in_several_forms)
{
    g_autofree char *path = test_file(lists[_i].name, lists[_i].text, -1);
    g_autofree char *specification = g_strconcat(path, lists[_i].keys, NULL);
    g_autoptr(GArray) lengths = g_array_new(FALSE, FALSE, sizeof(gint64));
    g_autoptr(GError) error = NULL;
    ck_assert(moe_import_lengths(specification, lengths, &error));
    ck_assert_uint_eq(lengths->len, lists[_i].n);
    gint64 sum = 0;
    for (guint i = 0; i < lengths->len; i++)
        sum += g_array_index(lengths, gint64, i);
    ck_assert_int_eq(sum, lists[_i].sum);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("import");
    TCase *tests = tcase_create("import");
    tcase_add_test(tests, npy_is_token_layer_rank);
    tcase_add_test(tests, files_are_joined);
    tcase_add_loop_test(tests, refuses_other_arrays, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, large_ids_are_not_negative);
    tcase_add_test(tests, refuses_other_weights);
    tcase_add_loop_test(tests, npz_is_one_array_per_member, 0, 2);
    tcase_add_test(tests, a_damaged_npz_is_refused);
    tcase_add_test(tests, npz_members_are_arrays_of_ids);
    tcase_add_test(tests, blocks_without_experts_are_left_out);
    tcase_add_test(tests, each_line_is_a_response);
    tcase_add_loop_test(tests, refuses_other_lines, 0, (int)G_N_ELEMENTS(bad_lines));
    tcase_add_loop_test(tests, a_recording_has_no_padding, 0, 2);
    tcase_add_test(tests, refuses_other_recordings);
    tcase_add_test(tests, csv_is_one_line_per_pair);
    tcase_add_test(tests, csv_layers_move_together);
    tcase_add_test(tests, csv_must_be_the_models);
    tcase_add_test(tests, csv_may_be_ragged);
    tcase_add_loop_test(tests, refuses_other_csv, 0, (int)G_N_ELEMENTS(bad_csv));
    tcase_add_loop_test(tests, lengths_come_in_several_forms, 0, (int)G_N_ELEMENTS(lists));
    suite_add_tcase(suite, tests);
    return suite;
}

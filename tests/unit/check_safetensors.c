#include "config.h"

#include "models/safetensors.h"
#include "tests/unit/harness.h"

#include <glib/gstdio.h>
#include <string.h>

/* Bytes of a file with @header, whose stated length is @length (-1: the true one), and @n_data
 * bytes 0, 1, 2 ... behind it. */
static GByteArray *make_bytes(const char *header, gint64 length, size_t n_data)
{
    GByteArray *bytes = g_byte_array_new();
    guint64 stated = length < 0 ? strlen(header) : (guint64)length;
    for (int i = 0; i < 8; i++) {
        guint8 byte = (guint8)(stated >> (8 * i));
        g_byte_array_append(bytes, &byte, 1);
    }
    g_byte_array_append(bytes, (const guint8 *)header, (guint)strlen(header));
    for (size_t i = 0; i < n_data; i++) {
        guint8 byte = (guint8)i;
        g_byte_array_append(bytes, &byte, 1);
    }
    return bytes;
}

static char *make_file(const char *header, gint64 length, size_t n_data)
{
    g_autoptr(GByteArray) bytes = make_bytes(header, length, n_data);
    return test_file("file.safetensors", bytes->data, bytes->len);
}

/* --- round trip ------------------------------------------------------------------------------ */

/* Every type, in an order that is not that of the sizes; no dimension, none of a size, eight. Files
 * written from this table were opened with safetensors 0.8 for Python too. */
static const struct {
    const char *name;
    MoeStType type;
    int n_dims;
    gint64 dims[MOE_ST_MOST_DIMS];
    const char *type_name;
    size_t type_size;
} stored[] = {
    {"a", MOE_ST_U8, 1, {3}, "U8", 1},
    {"b.weight", MOE_ST_F32, 2, {2, 3}, "F32", 4},
    {"c", MOE_ST_BOOL, 1, {1}, "BOOL", 1},
    {"scalar", MOE_ST_F64, 0, {0}, "F64", 8},
    {"d", MOE_ST_I8, 1, {5}, "I8", 1},
    {"empty", MOE_ST_U16, 2, {0, 7}, "U16", 2},
    {"e", MOE_ST_I16, 1, {3}, "I16", 2},
    {"f", MOE_ST_F16, 1, {1}, "F16", 2},
    {"g", MOE_ST_BF16, 2, {1, 3}, "BF16", 2},
    {"h", MOE_ST_F8_E4M3, 1, {2}, "F8_E4M3", 1},
    {"i", MOE_ST_F8_E5M2, 1, {2}, "F8_E5M2", 1},
    {"power", MOE_ST_F8_E8M0, 1, {2}, "F8_E8M0", 1},
    {"eight", MOE_ST_I32, 8, {1, 2, 1, 2, 1, 1, 1, 1}, "I32", 4},
    {"j", MOE_ST_U32, 1, {1}, "U32", 4},
    {"k", MOE_ST_U64, 1, {2}, "U64", 8},
    {"quote \" \\ \n and \xC3\xA9", MOE_ST_I64, 1, {1}, "I64", 8},
};
enum { N_STORED = G_N_ELEMENTS(stored) };

static const char *const metadata[] = {"format", "pt", "note", "\"quoted\"\n\xE2\x82\xAC", NULL};

static void fill(MoeTensor *tensors, const guint8 *data)
{
    for (size_t i = 0; i < N_STORED; i++) {
        tensors[i] = (MoeTensor){
            .name = stored[i].name,
            .type = stored[i].type,
            .n_dims = stored[i].n_dims,
            .n_elements = 1,
            .data = data + 64 * i,
        };
        for (int d = 0; d < stored[i].n_dims; d++)
            tensors[i].n_elements *= tensors[i].dims[d] = stored[i].dims[d];
    }
}

START_TEST(reads_what_it_wrote)
{
    guint8 data[64 * N_STORED];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (guint8)(i * 37 + 11);
    MoeTensor tensors[N_STORED];
    fill(tensors, data);
    g_autofree char *path = g_build_filename(test_folder(), "round.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_safetensors_write(path, FALSE, tensors, N_STORED, metadata, &error));
    assert_no_error(error);
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(path, &error);
    assert_no_error(error);
    ck_assert_str_eq(moe_safetensors_path(file), path);
    ck_assert_str_eq(moe_safetensors_metadata(file, "format"), "pt");
    ck_assert_str_eq(moe_safetensors_metadata(file, "note"), metadata[3]);
    ck_assert_ptr_null(moe_safetensors_metadata(file, "absent"));
    ck_assert_ptr_null(moe_safetensors_find(file, "absent"));
    ck_assert_ptr_null(moe_safetensors_find(file, "__metadata__"));
    for (size_t i = 0; i < N_STORED; i++) {
        const MoeTensor *tensor = moe_safetensors_find(file, stored[i].name);
        ck_assert_ptr_nonnull(tensor);
        ck_assert_str_eq(tensor->name, stored[i].name);
        ck_assert_int_eq(tensor->type, stored[i].type);
        ck_assert_int_eq(tensor->n_dims, stored[i].n_dims);
        ck_assert_int_eq(tensor->n_elements, tensors[i].n_elements);
        for (int d = 0; d < tensor->n_dims; d++)
            ck_assert_int_eq(tensor->dims[d], stored[i].dims[d]);
        ck_assert_uint_eq((guintptr)tensor->data % stored[i].type_size, 0);
        ck_assert(memcmp(tensor->data, tensors[i].data,
                         (size_t)tensor->n_elements * stored[i].type_size) == 0);
    }
}
END_TEST

START_TEST(writes_large_elements_first)
{
    guint8 data[64 * N_STORED] = {0};
    MoeTensor tensors[N_STORED];
    fill(tensors, data);
    g_autofree char *path = g_build_filename(test_folder(), "order.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    ck_assert(moe_safetensors_write(path, FALSE, tensors, N_STORED, NULL, &error));
    g_autofree char *text = NULL;
    gsize length;
    ck_assert(g_file_get_contents(path, &text, &length, NULL));
    guint64 header = 0;
    memcpy(&header, text, 8);
    ck_assert_uint_eq(header % 8, 0); /* so the data are aligned */
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(path, &error);
    assert_no_error(error);
    ck_assert_ptr_null(moe_safetensors_metadata(file, "format"));
    guint n;
    const MoeTensor *all = moe_safetensors_tensors(file, &n);
    ck_assert_uint_eq(n, N_STORED);
    for (guint i = 1; i < n; i++) {
        size_t before = moe_st_type_size(all[i - 1].type), here = moe_st_type_size(all[i].type);
        ck_assert_uint_ge(before, here);
        ck_assert(all[i - 1].data <= all[i].data);
    }
}
END_TEST

START_TEST(writes_the_same_bytes_and_replaces_with_force_alone)
{
    const float one = 1;
    const MoeTensor tensor = {"x", MOE_ST_F32, 1, {1}, 1, &one};
    g_autofree char *path = g_build_filename(test_folder(), "same.safetensors", NULL);
    GError *error = NULL;
    g_autofree char *first = NULL, *second = NULL;
    gsize n_first, n_second;
    ck_assert(moe_safetensors_write(path, FALSE, &tensor, 1, metadata, &error));
    ck_assert(g_file_get_contents(path, &first, &n_first, NULL));
    ck_assert(!moe_safetensors_write(path, FALSE, &tensor, 1, NULL, &error));
    assert_error(&error, MOE_ERROR_FAILED, "exists");
    ck_assert(moe_safetensors_write(path, TRUE, &tensor, 1, metadata, &error));
    ck_assert(g_file_get_contents(path, &second, &n_second, NULL));
    ck_assert_uint_eq(n_first, n_second);
    ck_assert_mem_eq(first, second, n_first);
    g_autofree char *deeper = g_build_filename(test_folder(), "no", "folder", "yet", NULL);
    ck_assert(moe_safetensors_write(deeper, FALSE, &tensor, 1, NULL, &error));
    ck_assert(g_file_test(deeper, G_FILE_TEST_IS_REGULAR));
    g_autofree char *below = g_build_filename(path, "file", NULL);
    ck_assert(!moe_safetensors_write(below, FALSE, &tensor, 1, NULL, &error));
    assert_error(&error, MOE_ERROR_FAILED, path);
}
END_TEST

START_TEST(knows_its_types)
{
    MoeDtype dtype = MOE_F32;
    for (size_t i = 0; i < N_STORED; i++) {
        MoeStType type = stored[i].type;
        ck_assert_str_eq(moe_st_type_name(type), stored[i].type_name);
        ck_assert_uint_eq(moe_st_type_size(type), stored[i].type_size);
        gboolean read = type == MOE_ST_F32 || type == MOE_ST_F16 || type == MOE_ST_BF16 ||
                        type == MOE_ST_F8_E4M3 || type == MOE_ST_F8_E5M2 || type == MOE_ST_F8_E8M0;
        ck_assert(moe_st_type_dtype(type, &dtype) == read);
        if (read) { /* the same name in both lists */
            g_autofree char *upper = g_ascii_strup(moe_dtype_name(dtype), -1);
            ck_assert_str_eq(upper, stored[i].type_name);
        }
    }
}
END_TEST

/* --- good files ------------------------------------------------------------------------------ */

START_TEST(reads_misaligned_data)
{
    /* The header's length is odd, and a byte comes before the wider tensors. */
    const char *header = "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]},"
                         "\"h\":{\"dtype\":\"U16\",\"shape\":[1,1],\"data_offsets\":[9,11]},"
                         "\"z\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[11,11]},"
                         "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    for (int pad = 0; pad < 8; pad++) {
        g_autofree char *padded = g_strdup_printf("%s%*s", header, pad, "");
        g_autofree char *path = make_file(padded, -1, 11);
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeSafetensors) file = moe_safetensors_open(path, &error);
        assert_no_error(error);
        guint n;
        const MoeTensor *tensors = moe_safetensors_tensors(file, &n);
        static const char *const order[] = {"b", "x", "h", "z"}; /* of the data */
        static const guint8 x[] = {1, 2, 3, 4, 5, 6, 7, 8}, h[] = {9, 10};
        ck_assert_uint_eq(n, 4);
        for (guint i = 0; i < n; i++) {
            ck_assert_str_eq(tensors[i].name, order[i]);
            ck_assert_uint_eq((guintptr)tensors[i].data % moe_st_type_size(tensors[i].type), 0);
        }
        ck_assert_mem_eq(tensors[1].data, x, sizeof(x));
        ck_assert_mem_eq(tensors[2].data, h, sizeof(h));
        ck_assert_ptr_nonnull(tensors[3].data);
    }
}
END_TEST

static const struct {
    const char *header;
    size_t n_data;
    guint n_tensors;
} good[] = {
    {"{}", 0, 0},
    {"{\"__metadata__\":{}}", 0, 0},
    {"{\"__metadata__\":{\"a\":\"b\"}}      ", 0, 0},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, 1},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
     "\"y\":{\"dtype\":\"U8\",\"shape\":[0,9223372036854770000],\"data_offsets\":[0,0]}}",
     0, 2},
};

START_TEST(accepts)
{
    g_autofree char *path = make_file(good[_i].header, -1, good[_i].n_data);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeSafetensors) file = moe_safetensors_open(path, &error);
    assert_no_error(error);
    guint n;
    moe_safetensors_tensors(file, &n);
    ck_assert_uint_eq(n, good[_i].n_tensors);
}
END_TEST

/* --- files that lie -------------------------------------------------------------------------- */

#define TENSOR(name, dtype, shape, offsets)                                                        \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{" TENSOR("x", dtype, shape, offsets) "}"
#define TEN(text)                  text text text text text text text text text text

static const struct {
    const char *header;
    gint64 length;
    size_t n_data;
    const char *message;
} bad[] = {
    /* the header's length */
    {"{}", 3, 0, "a header of 3 bytes in a file of 10; the file is truncated"},
    {"{}", 1, 0, "header:1:"},
    {"{}", 0, 0, "header:1:1"},
    {"{}", 100000001, 0, "a header of 100000001 bytes; at most 100000000"},
    {"{}", G_MAXINT64, 0, "is this a safetensors file?"},
    /* no strict JSON, or not of this kind */
    {"[]", -1, 0, "is a list; it must be an object"},
    {"{'x':1}", -1, 0, "header:1:2"},
    {"{\"x\":1,}", -1, 0, "header:1:8"},
    {"not JSON at all", -1, 0, "header:1:1"},
    {"{} {}", -1, 0, "something follows"},
    {"{\"\xC3\":1}", -1, 0, "not UTF-8"},
    {"{\"a\":" TEN(TEN("[")), -1, 0, "nested deeper than 64 levels"},
    {"{" TENSOR("x", "U8", "[1]", "[0,1]") "," TENSOR("x", "U8", "[1]", "[1,2]") "}", -1, 2,
     "the same key twice"},
    {"{" TENSOR("x", "U8", "[1]", "[0,1]") "," TENSOR("\\u0078", "U8", "[1]", "[1,2]") "}", -1, 2,
     "the same key twice"},
    {"{\"x\":1}", -1, 0, "tensor 'x': is a number; it must be an object"},
    {"{\"x\":{\"shape\":[1],\"data_offsets\":[0,1]}}", -1, 1, "tensor 'x': dtype is missing"},
    {"{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", -1, 1, "shape is missing"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[1]}}", -1, 1, "data_offsets is missing"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"strides\":[1]}}", -1, 1,
     "tensor 'x': keys beside dtype, shape and data_offsets"},
    /* metadata */
    {"{\"__metadata__\":[]}", -1, 0, "is a list; it must be an object"},
    {"{\"__metadata__\":{\"a\":1}}", -1, 0, "__metadata__: a is not a string"},
    {"{\"__metadata__\":{\"a\":null}}", -1, 0, "__metadata__: a is not a string"},
    {"{\"__metadata__\":{\"a\":{}}}", -1, 0, "__metadata__: a is not a string"},
    /* types and shapes */
    {ONE("F31", "[1]", "[0,4]"), -1, 4, "tensor 'x': dtype 'F31' is not known"},
    {ONE("f32", "[1]", "[0,4]"), -1, 4, "dtype 'f32' is not known"},
    {"{\"x\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4, "dtype is a number"},
    {ONE("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), -1, 1, "9 dimensions; at most 8"},
    {ONE("U8", "[-1]", "[0,1]"), -1, 1, "lists of numbers from 0"},
    {ONE("U8", "[1.0]", "[0,1]"), -1, 1, "lists of numbers from 0"},
    {ONE("U8", "[\"1\"]", "[0,1]"), -1, 1, "lists of numbers from 0"},
    {ONE("U8", "[null]", "[0,1]"), -1, 1, "lists of numbers from 0"},
    {ONE("U8", "[[1]]", "[0,1]"), -1, 1, "lists of numbers from 0"},
    {ONE("U8", "3", "[0,1]"), -1, 1, "shape is a number; it must be a list"},
    {ONE("U8", "[4294967296,4294967296]", "[0,0]"), -1, 0, "too many elements"},
    {ONE("F64", "[2305843009213693952]", "[0,0]"), -1, 0, "do not hold the shape's elements"},
    {ONE("U8", "[9223372036854775808]", "[0,0]"), -1, 0, "the number is too large"},
    /* where the data lie */
    {ONE("F32", "[2]", "[0,7]"), -1, 7, "[0, 7] do not hold the shape's elements of type F32"},
    {ONE("F32", "[2]", "[0,9]"), -1, 9, "[0, 9] do not hold"},
    {ONE("U8", "[0]", "[1,0]"), -1, 1, "[1, 0] do not hold"},
    {ONE("U8", "[1]", "[0]"), -1, 1, "lists of numbers from 0"},
    {ONE("U8", "[1]", "[0,1,1]"), -1, 1, "lists of numbers from 0"},
    {ONE("U8", "[1]", "[-1,0]"), -1, 1, "lists of numbers from 0"},
    {ONE("U8", "[1]", "{\"0\":1}"), -1, 1, "data_offsets is an object; it must be a list"},
    {ONE("U8", "[2]", "[9223372036854770000,9223372036854770002]"), -1, 2,
     "begin at byte 9223372036854770000"},
    {ONE("U8", "[4]", "[0,4]"), -1, 3, "end at byte 4 of the data, but the file holds 3"},
    {ONE("U8", "[4]", "[0,4]"), -1, 5, "1 bytes of data belong to no tensor"},
    {"{}", -1, 3, "3 bytes of data belong to no tensor"},
    {ONE("U8", "[1]", "[1,2]"), -1, 2, "begin at byte 1 of the data, where nothing ends at 0"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[1,3]") "}", -1, 3,
     "tensor 'b': its data begin at byte 1 of the data, where a ends at 2"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[3,5]") "}", -1, 5,
     "tensor 'b': its data begin at byte 3 of the data, where a ends at 2"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[0,2]") "}", -1, 2,
     "neither overlap nor leave gaps"},
};

START_TEST(refuses_lies)
{
    g_autofree char *path = make_file(bad[_i].header, bad[_i].length, bad[_i].n_data);
    GError *error = NULL;
    ck_assert_ptr_null(moe_safetensors_open(path, &error));
    ck_assert_msg(g_str_has_prefix(error->message, path), "'%s' does not begin with the path",
                  error->message);
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

START_TEST(refuses_every_beginning_of_a_file)
{
    g_autoptr(GByteArray) bytes =
        make_bytes("{\"__metadata__\":{\"a\":\"b\"}," TENSOR("x", "F32", "[2]", "[0,8]") "," TENSOR(
                       "y", "U8", "[1]", "[8,9]") "}",
                   -1, 9);
    GError *error = NULL;
    for (guint n = 0; n < bytes->len; n++) {
        g_autofree char *path = test_file("cut.safetensors", bytes->data, n);
        ck_assert_ptr_null(moe_safetensors_open(path, &error));
        assert_error(&error, MOE_ERROR_INPUT,
                     n == 0  ? "empty"
                     : n < 8 ? "too short for a safetensors file"
                             : "the file is truncated");
    }
}
END_TEST

START_TEST(refuses_what_is_no_file)
{
    GError *error = NULL;
    g_autofree char *missing = g_build_filename(test_folder(), "missing", NULL);
    ck_assert_ptr_null(moe_safetensors_open(missing, &error));
    assert_error(&error, MOE_ERROR_INPUT, missing);
    ck_assert_ptr_null(moe_safetensors_open(test_folder(), &error));
    assert_error(&error, MOE_ERROR_INPUT, test_folder());
}
END_TEST

/* --- checks of one tensor -------------------------------------------------------------------- */

static const struct {
    int n_dims;
    gint64 dims[3];
    guint types;
    const char *message; /* NULL: fits */
} wanted[] = {
    {2, {2, 3}, 1U << MOE_ST_F16, NULL},
    {2, {-1, 3}, 1U << MOE_ST_F16 | 1U << MOE_ST_F32, NULL},
    {2, {-1, -1}, 1U << MOE_ST_F16, NULL},
    {2, {3, 2}, 1U << MOE_ST_F16, "f: tensor 't' has the shape [2, 3]; it must be [3, 2]"},
    {1, {6}, 1U << MOE_ST_F16, "has the shape [2, 3]; it must be [6]"},
    {3, {2, 3, -1}, 1U << MOE_ST_F16, "it must be [2, 3, ?]"},
    {0, {0}, 1U << MOE_ST_F16, "it must be []"},
    {2, {2, 3}, 1U << MOE_ST_F32, "f: tensor 't' has the type F16; it must be F32"},
    {2, {2, 3}, 1U << MOE_ST_F32 | 1U << MOE_ST_U8, "it must be U8, F32"},
};

START_TEST(checks_shape_and_type)
{
    const MoeTensor tensor = {"t", MOE_ST_F16, 2, {2, 3}, 6, NULL};
    GError *error = NULL;
    gboolean fits = moe_tensor_check(&tensor, "f", "t", wanted[_i].types, wanted[_i].n_dims,
                                     wanted[_i].dims, &error);
    ck_assert(fits == (wanted[_i].message == NULL));
    if (fits)
        assert_no_error(error);
    else
        assert_error(&error, MOE_ERROR_INPUT, wanted[_i].message);
    ck_assert(!moe_tensor_check(NULL, "f", "t", wanted[_i].types, wanted[_i].n_dims,
                                wanted[_i].dims, &error));
    assert_error(&error, MOE_ERROR_INPUT, "f: tensor 't' is missing");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tests = tcase_create("safetensors");
    tcase_add_test(tests, reads_what_it_wrote);
    tcase_add_test(tests, writes_large_elements_first);
    tcase_add_test(tests, writes_the_same_bytes_and_replaces_with_force_alone);
    tcase_add_test(tests, knows_its_types);
    tcase_add_test(tests, reads_misaligned_data);
    tcase_add_loop_test(tests, accepts, 0, (int)G_N_ELEMENTS(good));
    tcase_add_loop_test(tests, refuses_lies, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, refuses_every_beginning_of_a_file);
    tcase_add_test(tests, refuses_what_is_no_file);
    tcase_add_loop_test(tests, checks_shape_and_type, 0, (int)G_N_ELEMENTS(wanted));
    suite_add_tcase(suite, tests);
    return suite;
}

#define _GNU_SOURCE /* memmem() */
#include "config.h"

#include "models/forward.h"
#include "models/gguf.h"
#include "models/vocabulary.h"
#include "tests/unit/harness.h"

#include <stdlib.h>
#include <string.h>

/* --- files by hand --------------------------------------------------------------------------- */

static void append_number(GByteArray *bytes, guint64 value, int n)
{
    for (int i = 0; i < n; i++) {
        guint8 byte = (guint8)(value >> (8 * i));
        g_byte_array_append(bytes, &byte, 1);
    }
}

/* What @text spells, its words apart by blanks: bN wN qN are numbers of 1, 4 and 8 bytes, fX a
 * float, dX a double; 'text' is a string with its length before, "text" the bytes alone; zN are N
 * zeros, pN zeros up to a multiple of N. */
static GByteArray *spell(const char *text)
{
    GByteArray *bytes = g_byte_array_new();
    while (*text != '\0') {
        const char kind = *text++;
        char *end = NULL;
        if (kind == '\'' || kind == '"') {
            const char *close = strchr(text, kind);
            if (kind == '\'')
                append_number(bytes, (guint64)(close - text), 8);
            g_byte_array_append(bytes, (const guint8 *)text, (guint)(close - text));
            end = (char *)close + 1;
        } else if (kind == 'f') {
            union {
                float value;
                guint32 bits;
            } number = {.value = (float)g_ascii_strtod(text, &end)};
            append_number(bytes, number.bits, 4);
        } else if (kind == 'd') {
            union {
                double value;
                guint64 bits;
            } number = {.value = g_ascii_strtod(text, &end)};
            append_number(bytes, number.bits, 8);
        } else {
            gboolean negative = *text == '-';
            guint64 value = g_ascii_strtoull(negative ? text + 1 : text, &end, 10);
            ck_assert_msg(strchr("bwqzp", kind) != NULL && end != text, "spelled wrong: %s", text);
            value = negative ? -value : value;
            guint64 zeros = kind == 'z'   ? value
                            : kind == 'p' ? (value - bytes->len % value) % value
                                          : 0;
            for (guint64 i = 0; i < zeros; i++)
                append_number(bytes, 0, 1);
            if (kind != 'z' && kind != 'p')
                append_number(bytes, value, kind == 'b' ? 1 : kind == 'w' ? 4 : 8);
        }
        text = end + strspn(end, " ");
    }
    return bytes;
}

static char *make_file(const char *text)
{
    g_autoptr(GByteArray) bytes = spell(text);
    return test_file("file.gguf", bytes->data, bytes->len);
}

/* The header up to the keys, of a file with so many tensors and keys. */
#define HEAD(tensors, keys) "\"GGUF\" w3 q" #tensors " q" #keys " "
/* A tensor of 2 x 4 floats, its data at @at of the data; those data. */
#define TENSOR(name, at) "'" name "' w2 q4 q2 w0 q" #at " "
#define DATA             "p32 z32"

/* --- what is in a file ----------------------------------------------------------------------- */

static const struct {
    const char *spelled;
    MoeGgufType type;
    gsize n;
    const char *first;
} items[] = {
    {"w0 b200", MOE_GGUF_UINT8, 1, "200"},
    {"w1 b200", MOE_GGUF_INT8, 1, "-56"},
    {"w2 b1 b1", MOE_GGUF_UINT16, 1, "257"},
    {"w3 b254 b255", MOE_GGUF_INT16, 1, "-2"},
    {"w4 w4294967295", MOE_GGUF_UINT32, 1, "4294967295"},
    {"w5 w-7", MOE_GGUF_INT32, 1, "-7"},
    {"w6 f0.1", MOE_GGUF_FLOAT32, 1, "0.1"},
    {"w6 f16777217", MOE_GGUF_FLOAT32, 1, "16777216"},
    {"w7 b1", MOE_GGUF_BOOL, 1, "true"},
    {"w8 'two words'", MOE_GGUF_STRING, 1, "two words"},
    {"w8 ''", MOE_GGUF_STRING, 1, ""},
    {"w10 q18446744073709551615", MOE_GGUF_UINT64, 1, "18446744073709551615"},
    {"w11 q-9", MOE_GGUF_INT64, 1, "-9"},
    {"w12 d0.1", MOE_GGUF_FLOAT64, 1, "0.1"},
    {"w9 w5 q2 w-1 w3", MOE_GGUF_INT32, 2, "-1"},
    {"w9 w8 q2 'a' 'bc'", MOE_GGUF_STRING, 2, "a"},
    {"w9 w6 q0", MOE_GGUF_FLOAT32, 0, NULL},
};

START_TEST(reads_values)
{
    g_autofree char *text = g_strconcat(HEAD(0, 2) "'key' ", items[_i].spelled, " 'z' w4 w1", NULL);
    g_autofree char *path = make_file(text);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeGguf) file = moe_gguf_open(path, &error);
    assert_no_error(error);
    const MoeGgufValue *value = moe_gguf_find(file, "key");
    ck_assert_ptr_nonnull(value);
    ck_assert_ptr_nonnull(moe_gguf_find(file, "z"));
    ck_assert_ptr_null(moe_gguf_find(file, "absent"));
    ck_assert_int_eq(value->type, items[_i].type);
    ck_assert_uint_eq(value->n, items[_i].n);
    if (items[_i].first == NULL)
        return;
    g_autofree char *first = moe_gguf_text(value, 0);
    ck_assert_str_eq(first, items[_i].first);
}
END_TEST

START_TEST(reads_tensors)
{
    /* Alignment 64: the second tensor begins there. Q8_0: 34 bytes per 32 elements. */
    g_autofree char *path = make_file("\"GGUF\" w2 q2 q1 'general.alignment' w4 w64 " TENSOR(
        "a", 0) "'b' w3 q32 q1 q3 w8 q64 p64 b1 z31 p64 b7 z101 p64");
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeGguf) file = moe_gguf_open(path, &error);
    assert_no_error(error);
    guint n;
    const MoeTensor *tensors = moe_gguf_tensors(file, &n);
    ck_assert_uint_eq(n, 2);
    ck_assert_ptr_eq(moe_gguf_tensor(file, "b"), &tensors[1]);
    ck_assert_ptr_null(moe_gguf_tensor(file, "c"));
    ck_assert_int_eq(tensors[0].type, MOE_ST_F32);
    ck_assert_int_eq(tensors[0].n_dims, 2);
    ck_assert_int_eq(tensors[0].dims[0], 2); /* rows before columns here */
    ck_assert_int_eq(tensors[0].dims[1], 4);
    ck_assert_int_eq(*(const guint8 *)tensors[0].data, 1);
    ck_assert_int_eq(tensors[1].type, MOE_ST_Q8_0);
    ck_assert_int_eq(tensors[1].n_elements, 96);
    ck_assert_int_eq(tensors[1].dims[0], 3);
    ck_assert_int_eq(*(const guint8 *)tensors[1].data, 7);
}
END_TEST

/* --- what lies ------------------------------------------------------------------------------- */

static const struct {
    const char *spelled, *message;
} lies[] = {
    /* the beginning */
    {"b71 b71", "byte 0: the file ends where the magic number belongs"},
    {"\"GGML\" w3 q0 q0", "byte 0: not a GGUF file: it does not begin with \"GGUF\""},
    {"\"GGUF\"", "byte 4: the file ends where the version belongs"},
    {"\"GGUF\" w1 q0 q0", "byte 4: version 1 is not read; 2 and 3 are"},
    {"\"GGUF\" b0 b0 b0 b3 q0 q0", "byte 4: big-endian numbers"},
    {"\"GGUF\" w3 q18446744073709551615 q0", "byte 8: the number of tensors: a length or count of "
                                             "18446744073709551615, but 8 bytes are left"},
    {"\"GGUF\" w3 q0 q9000000000", "byte 16: the number of keys: a length or count of 9000000000"},
    {HEAD(0, 1), "byte 16: the number of keys: a length or count of 1, but 0 bytes are left"},
    /* keys */
    {HEAD(0, 1) "q9223372036854775807 z20", "byte 24: a key: a length or count of 92233720368547"},
    {HEAD(0, 1) "'' w4 w1 z9", "byte 24: a key: not a name: empty"},
    {HEAD(0, 1) "q2 b255 b254 w4 w1", "byte 24: a key: not a name: empty, longer than 65535 bytes"},
    {HEAD(0, 2) "'k' w4 w1 'k' w4 w2", "byte 41: k: the same key twice"},
    {HEAD(0, 1) "'k' w13 w1 z9", "byte 33: k: type 13 is not known; types go from 0 to 12"},
    {HEAD(0, 1) "'k' w4 b1", "byte 37: k: 1 items of 4 bytes, but 1 bytes are left"},
    {HEAD(0, 1) "'k' w7 b2", "byte 37: k: 2 is neither false (0) nor true (1)"},
    {HEAD(0, 1) "'key' w8 q99 b1", "byte 39: key: a length or count of 99, but 1 bytes are left"},
    {HEAD(0, 1) "'k' w9 w9 q1 w9", "byte 37: k: an array of arrays"},
    {HEAD(0, 1) "'k' w9 w4 q4611686018427387904 w1",
     "byte 41: k: a length or count of 46116860184"},
    {HEAD(0, 1) "'k' w9 w8 q2 'a' q50",
     "byte 58: k: a length or count of 50, but 0 bytes are left"},
    {HEAD(0, 1) "'general.alignment' w4 w0",
     "byte 53: general.alignment: not a whole number from 1"},
    {HEAD(0, 1) "'general.alignment' w4 w12",
     "byte 53: general.alignment: 12 is not a multiple of 8"},
    {HEAD(0, 1) "'general.alignment' w8 '32'", "byte 53: general.alignment: not a whole number"},
    /* tensors */
    {HEAD(1, 0) "'a' w0 w0 q0 " DATA, "byte 33: tensor 'a': 0 dimensions; they are 1 to 4"},
    {HEAD(1, 0) "'a' w5 q1 q1 q1 q1 q1 w0 q0 " DATA, "byte 33: tensor 'a': 5 dimensions"},
    {HEAD(1, 0) "'a' w1 q0 w0 q0 " DATA, "byte 37: tensor 'a': a dimension of 0; none is empty"},
    {HEAD(1, 0) "'a' w2 q4294967296 q4294967296 w0 q0 " DATA,
     "byte 45: tensor 'a': a dimension of 4294967296; none is empty, and all together"},
    {HEAD(1, 0) "'a' w1 q18446744073709551615 w0 q0 " DATA, "byte 37: tensor 'a': a dimension of"},
    {HEAD(1, 0) "'a' w1 q9223372036854775807 w0 q0 " DATA,
     "byte 49: tensor 'a': 9223372036854775807 elements of type F32 from byte 64 on are not in a "
     "file of 96 bytes"},
    {HEAD(1, 0) "'a' w1 q4 w16 q0 " DATA, "byte 45: tensor 'a': type 16 is not read; F32, F16"},
    {HEAD(1, 0) "'a' w1 q33 w8 q0 " DATA,
     "byte 45: tensor 'a': rows of 33 elements are no whole blocks of Q8_0, which have 32"},
    {HEAD(1, 0) "'a' w2 q128 q2 w12 q0 " DATA, "byte 53: tensor 'a': rows of 128 elements are no "
                                               "whole blocks of Q4_K, which have 256"},
    {HEAD(2, 0) TENSOR("a", 0) TENSOR("a", 32) DATA " z32", "byte 65: tensor 'a' is there twice"},
    {HEAD(2, 0) TENSOR("a", 0) TENSOR("b", 0) DATA " z32",
     "byte 98: tensor 'b': its data begin at 0, where those before it end at 32"},
    {HEAD(2, 0) TENSOR("a", 0) TENSOR("b", 64) DATA " z96",
     "byte 98: tensor 'b': its data begin at "
     "64, where those before it end at 32"},
    {HEAD(1, 0) "'a' w2 q4 q2 w0 q18446744073709551584 " DATA,
     "byte 57: tensor 'a': its data begin"},
    {HEAD(1, 0) TENSOR("a", 0) "p32 z31",
     "byte 57: tensor 'a': 8 elements of type F32 from byte 96 "
     "on are not in a file of 127 bytes; the file is truncated"},
    {HEAD(1, 0) TENSOR("a", 0), "8 elements of type F32 from byte 96 on are not in a file of 65"},
    {HEAD(1, 0) TENSOR("a", 0) DATA " z5", "byte 128: 5 bytes of data belong to no tensor"},
};

START_TEST(refuses_lies)
{
    g_autofree char *path = make_file(lies[_i].spelled);
    g_autofree char *message = g_strconcat("file.gguf: ", lies[_i].message, NULL);
    GError *error = NULL;
    ck_assert_ptr_null(moe_gguf_open(path, &error));
    assert_error(&error, MOE_ERROR_INPUT,
                 g_str_has_prefix(lies[_i].message, "byte") ? message : lies[_i].message);
}
END_TEST

/* A file that ends anywhere is an error, wherever it ends. */
START_TEST(refuses_every_end)
{
    g_autoptr(GByteArray) bytes =
        spell(HEAD(2, 3) "'k' w9 w8 q2 'a' 'b' 'l' w6 f1 'm' w7 b1 " TENSOR("a", 0) TENSOR("b", 32)
                  DATA " z32");
    for (guint n = 1; n < bytes->len; n++) {
        g_autofree char *path = test_file("cut.gguf", bytes->data, n);
        GError *error = NULL;
        ck_assert_ptr_null(moe_gguf_open(path, &error));
        assert_error(&error, MOE_ERROR_INPUT, "cut.gguf: byte ");
    }
}
END_TEST

/* --- metadata of models ---------------------------------------------------------------------- */

/* A golden model, from the key @key on: the bytes behind it (type and value) are @spelled; or the
 * name of the key is @name, of the same length. */
static char *patched(const char *key, const char *name, const char *spelled)
{
    static const char *const models[][2] = {
        {"mimo2.", "mimo_v2_flash"},        {"phimoe.", "phimoe"}, {"glm4moe.", "glm4_moe"},
        {"hunyuan-moe.", "hunyuan_v1_moe"}, {"dbrx.", "dbrx"},
    };
    const char *model = "qwen3_moe";
    for (gsize i = 0; i < G_N_ELEMENTS(models); i++)
        if (g_str_has_prefix(key, models[i][0]))
            model = models[i][1];
    g_autofree char *relative = g_strdup_printf("tests/golden/gguf/%s/model.gguf", model);
    g_autofree char *golden = source_file(relative);
    g_autofree char *data = NULL;
    gsize length;
    ck_assert(g_file_get_contents(golden, &data, &length, NULL));
    char *at = memmem(data, length, key, strlen(key));
    ck_assert_ptr_nonnull(at);
    if (name != NULL)
        memcpy(at, name, strlen(name));
    if (spelled != NULL) {
        g_autoptr(GByteArray) bytes = spell(spelled);
        memcpy(at + strlen(key), bytes->data, bytes->len);
    }
    return test_file("model.gguf", data, (gssize)length);
}

static const struct {
    const char *key, *name, *spelled, *message;
} patches[] = {
    {"qwen3moe.expert_count", "qwen3moe.expert_cound", NULL,
     "the architecture 'qwen3moe' without experts is not supported; supported: "},
    {"qwen3moe.rope.freq_base", "qwen3moe.rope.freq_basx", NULL,
     "qwen3moe.rope.freq_basx: unknown key; Qwen3-MoE does not have it"},
    {"qwen3moe.block_count", "qwen3moe.block_counx", NULL,
     "qwen3moe.block_count is missing; convert the model again"},
    {"qwen3moe.expert_used_count", "qwen3moe.expert_used_counx", NULL,
     "qwen3moe.expert_used_count is missing; convert the model again"},
    {"qwen3moe.attention.layer_norm_rms_epsilon", "qwen3moe.attention.layer_norm_rms_epsilox", NULL,
     "qwen3moe.attention.layer_norm_rms_epsilon is missing; convert the model again"},
    {"general.architecture", NULL, "w8 q8 \"bertlike\"",
     "general.architecture: the architecture 'bertlike' without experts is not supported"},
    {"general.architecture", "general.architecturx", NULL, "general.architecture is missing"},
    {"general.architecture", NULL, "w4", "model.gguf: byte "},
    {"qwen3moe.expert_used_count", NULL, "w4 w0",
     "qwen3moe.expert_used_count: num_experts_per_tok: '0' is out of range"},
    {"qwen3moe.expert_used_count", NULL, "w4 w17",
     "qwen3moe.expert_used_count: 17 experts per token, but expert_count is 16"},
    {"qwen3moe.expert_count", NULL, "w4 w70000",
     "qwen3moe.expert_count: 70000, but the tensor 'blk.0.ffn_gate_inp.weight' has 16 rows"},
    {"qwen3moe.expert_count", NULL, "w4 w0",
     "the architecture 'qwen3moe' without experts is not supported"},
    {"qwen3moe.expert_used_count", NULL, "w6 f1.5", "expert_used_count: not a whole number"},
    {"qwen3moe.block_count", NULL, "w4 w4294967295", "qwen3moe.block_count: not a whole number"},
    {"qwen3moe.block_count", NULL, "w4 w0",
     "qwen3moe.block_count: 0 blocks, but the tensor 'blk.0."},
    {"qwen3moe.block_count", NULL, "w4 w3", "of another; count all blocks"},
    {"qwen3moe.block_count", NULL, "w4 w5",
     "qwen3moe.block_count: 5 blocks, but there are tensors of 4; write 4"},
    {"qwen3moe.attention.head_count_kv", NULL, "w4 w3",
     "qwen3moe.attention.head_count_kv: 3 heads of 24 elements (attention.key_length) do not go "
     "with the 48 rows of the tensor 'blk.0.attn_k.weight'; write the heads and the width that it "
     "has"},
    {"qwen3moe.embedding_length", NULL, "w4 w0",
     "qwen3moe.embedding_length: 0, but the tensor 'token_embd.weight' has 32 columns; write 32"},
    {"qwen3moe.embedding_length", NULL, "w5 w-7", "qwen3moe.embedding_length: -7, but the tensor"},
    {"qwen3moe.expert_count", NULL, "w4 w15",
     "qwen3moe.expert_count: 15, but the tensor 'blk.0.ffn_gate_inp.weight' has 16 rows; write 16"},
    {"general.quantization_version", NULL, "w4 w1", "general.quantization_version: blocks of "},
    {"mimo2.attention.sliding_window_pattern", NULL, "w9 w5 q3 w0 w1 w2",
     "mimo2.attention.sliding_window_pattern: '2' for block 2; write 0 or 1"},
    {"phimoe.rope.scaling.attn_factor", NULL, "w6 f1.5",
     "phimoe.rope.scaling.attn_factor: attention_factor: Phi's short_mscale and long_mscale stand "
     "in for it; leave it out, or write 1.18322"},
    {"glm4moe.expert_group_used_count", NULL, "w4 w2",
     "glm4moe.expert_group_used_count: topk_group: 2 groups open, but n_group is 1; write 1"},
    {"glm4moe.nextn_predict_layers", NULL, "w4 w1",
     "glm4moe.nextn_predict_layers: 1, but block 2 does not predict further ahead: it has no "
     "tensor 'blk.2.nextn.eh_proj.weight'; write 0"},
    {"glm4moe.nextn_predict_layers", NULL, "w4 w3",
     "glm4moe.nextn_predict_layers: 3 of the 3 blocks that block_count counts leave none"},
    {"glm4moe.expert_gating_func", NULL, "w4 w4", "glm4moe.expert_gating_func: 4 is not GLM-4.5's"},
    {"hunyuan-moe.expert_shared_count", NULL, "w4 w0",
     "hunyuan-moe.expert_shared_count: 0, but there are the tensors of shared experts"},
    {"dbrx.attention.layer_norm_epsilon", NULL, "w6 f0",
     "dbrx.attention.layer_norm_epsilon: '0' is not supported for DBRX; it is 1e-05"},
    {"qwen3moe.rope.freq_base", NULL, "w6 f0",
     "qwen3moe.rope.freq_base: rope_theta: '0' is out of"},
    {"qwen3moe.rope.freq_base", NULL, "w6 fnan", "qwen3moe.rope.freq_base: rope_theta: 'nan'"},
    {"token_embd.weight", "token_embd.weighs", NULL, "the tensor token_embd.weight is missing"},
    {"mimo2.attention.sliding_window_pattern", "mimo2.attention.sliding_window_patterx", NULL,
     "mimo2.attention.sliding_window_pattern: missing, or not one number for each of the 3 blocks"},
    {"mimo2.block_count", NULL, "w4 w4", "mimo2.block_count: 4 blocks, but there are tensors of 3"},
    {"mimo2.attention.head_count_kv", NULL, "w9 w5 q3 w2 w4 w2",
     "mimo2.attention.head_count_kv: 2 heads of 24 elements (attention.key_length) do not go with "
     "the 96 rows of the tensor 'blk.2.attn_k.weight'"},
};

START_TEST(refuses_metadata)
{
    g_autofree char *path = patched(patches[_i].key, patches[_i].name, patches[_i].spelled);
    GError *error = NULL;
    ck_assert_ptr_null(moe_model_load(path, NULL, &error));
    assert_error(&error, MOE_ERROR_INPUT, patches[_i].message);
}
END_TEST

/* Keys that state a size, wherever a golden file has them. */
static const char *const sizes[] = {
    "block_count",
    "vocab_size",
    "embedding_length",
    "feed_forward_length",
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "expert_count",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.key_length_mla",
    "attention.value_length_mla",
    "attention.q_lora_rank",
    "attention.kv_lora_rank",
};

/* A width that no tensor has: all blocks of these have experts. */
static gboolean has_no_part(const char *family, const char *key)
{
    return strcmp(key, "feed_forward_length") == 0 &&
           (g_str_has_prefix(family, "qwen3_moe") || strcmp(family, "qwen2_moe") == 0);
}

/* The golden file at @path with the number of @key, or all of its list, 8 more or halved; NULL:
 * it does not have the key. */
static char *changed(const char *path, const char *key, gboolean more)
{
    g_autoptr(MoeGguf) file = moe_gguf_open(path, NULL);
    g_autofree char *architecture = NULL, *data = NULL;
    gsize length;
    ck_assert(moe_gguf_string(file, "general.architecture", &architecture, NULL));
    g_autofree char *full = g_strconcat(architecture, ".", key, NULL);
    const MoeGgufValue *value = moe_gguf_find(file, full);
    if (value == NULL)
        return NULL;
    ck_assert(g_file_get_contents(path, &data, &length, NULL));
    /* Behind the key, its type: of a value, or of a list, with that of its items and how many. */
    char *at = memmem(data, length, full, strlen(full));
    while (at[strlen(full) + 1] != '\0')
        at = memmem(at + 1, length - (gsize)(at + 1 - data), full, strlen(full));
    at += strlen(full) + (value->is_array ? 4 + 4 + 8 : 4);
    for (gsize i = 0; i < value->n; i++) {
        guint32 number;
        memcpy(&number, at + i * sizeof(number), sizeof(number));
        number = more ? number + 8 : number / 2;
        memcpy(at + i * sizeof(number), &number, sizeof(number));
    }
    return test_file("model.gguf", data, (gssize)length);
}

START_TEST(refuses_other_sizes)
{
    g_autofree char *golden = source_file("tests/golden/gguf");
    g_autoptr(GDir) families = g_dir_open(golden, 0, NULL);
    int n = 0;
    for (const char *family; (family = g_dir_read_name(families)) != NULL;) {
        g_autofree char *path = g_build_filename(golden, family, "model.gguf", NULL);
        for (gsize i = 0; i < 2 * G_N_ELEMENTS(sizes); i++) {
            const char *key = sizes[i / 2];
            g_autofree char *other = changed(path, key, i % 2 == 0);
            g_autoptr(GError) error = NULL;
            if (other == NULL)
                continue;
            g_autoptr(MoeModel) model = moe_model_load(other, NULL, &error);
            ck_assert_msg((model != NULL) == has_no_part(family, key), "%s: %s", family, key);
            ck_assert_msg(model != NULL || strstr(error->message, key) != NULL, "%s: %s: %s",
                          family, key, error->message);
            n++;
        }
    }
    ck_assert_int_gt(n, 23 * 2 * 8);
}
END_TEST

/* What the metadata say and the tensors do not hold. */
static const struct {
    const char *key, *name, *spelled, *message;
} misfits[] = {
    {"blk.2.ffn_up_exps.weight", "blk.2.ffn_ux_exps.weight", NULL,
     "tensor 'blk.2.ffn_up_exps.weight' is missing"},
};

START_TEST(refuses_tensors)
{
    g_autofree char *path = patched(misfits[_i].key, misfits[_i].name, misfits[_i].spelled);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeModel) model = moe_model_load(path, NULL, &error);
    assert_no_error(error);
    g_autoptr(MoeWeights) weights = moe_weights_open(path, &error);
    assert_no_error(error);
    const guint32 ids[] = {1};
    const gsize offsets[] = {0, 1};
    const MoeForward job = {
        .model = model, .weights = weights, .ids = ids, .n_sequences = 1, .offsets = offsets};
    GError *failure = NULL;
    ck_assert(!moe_forward(&job, &failure));
    assert_error(&failure, MOE_ERROR_INPUT, misfits[_i].message);
}
END_TEST

/* --- tokenizers ------------------------------------------------------------------------------ */

static const struct {
    const char *key, *name, *spelled, *message;
} tokenizers[] = {
    {"tokenizer.ggml.model", "tokenizer.ggml.modex", NULL, "tokenizer.ggml.model is missing"},
    {"tokenizer.ggml.tokens", "tokenizer.ggml.tokenx", NULL, "tokenizer.ggml.tokens is missing"},
    {"tokenizer.ggml.merges", "tokenizer.ggml.mergex", NULL, "tokenizer.ggml.merges is missing"},
    {"tokenizer.ggml.model", NULL, "w8 q4 \"bert\"",
     "tokenizer.ggml.model 'bert' is not supported"},
    {"tokenizer.ggml.pre", NULL, "w8 q5 \"gpt-x\"", "tokenizer.ggml.pre 'gpt-x' is not known"},
    {"tokenizer.ggml.token_type", NULL, "w9 w6", "tokenizer.ggml.token_type: not a list of 32-bit"},
    {"tokenizer.ggml.token_type", NULL, "w9 w5 q320 w9",
     "tokenizer.ggml.token_type[0] is 9; types go from 0 to 6"},
    {"tokenizer.ggml.eos_token_id", NULL, "w4 w320",
     "tokenizer.ggml.eos_token_id is 320; the vocabulary has 320 tokens"},
    {"tokenizer.ggml.bos_token_id", NULL, "w6 f1.5",
     "tokenizer.ggml.bos_token_id: not a whole number"},
    {"\xC4\xA0 t", "\xC4\xA0 \x07", NULL,
     "tokenizer.ggml: merges[0] uses '"}, /* of what is no token */
    {"<|endoftext|>", "<|endoftext\xFF|", NULL, "tokenizer.ggml.tokens[0] is not UTF-8"},
};

START_TEST(refuses_tokenizers)
{
    g_autofree char *path =
        patched(tokenizers[_i].key, tokenizers[_i].name, tokenizers[_i].spelled);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeGguf) file = moe_gguf_open(path, &error);
    assert_no_error(error);
    GError *failure = NULL;
    ck_assert_ptr_null(moe_tokenizer_from_gguf(file, &failure));
    assert_error(&failure, MOE_ERROR_INPUT, tokenizers[_i].message);
}
END_TEST

/* The vocabulary of the golden models is that of a model that has a tokenizer.json too. */
START_TEST(tokenizes_alike)
{
    static const char text[] =
        "The cat's 12 na\xC3\xAFve\n\n \xE5\x8C\x97 <|endoftext|> and x_1 = 3.";
    g_autofree char *golden = source_file("tests/golden/gguf/mixtral");
    g_autoptr(GError) error = NULL;
    const char *const names[] = {golden, "olmoe-tiny"};
    g_autoptr(GArray) here = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_autoptr(GArray) there = g_array_new(FALSE, FALSE, sizeof(guint32));
    GArray *const ids[] = {here, there};
    for (int i = 0; i < 2; i++) {
        g_autoptr(MoeModel) model = moe_model_load(names[i], NULL, &error);
        assert_no_error(error);
        g_autoptr(MoeTokenizer) tokenizer = moe_model_tokenizer(model, &error);
        assert_no_error(error);
        ck_assert(moe_tokenizer_encode(tokenizer, text, strlen(text), FALSE, ids[i], &error));
    }
    ck_assert_uint_eq(ids[0]->len, ids[1]->len);
    ck_assert_mem_eq(ids[0]->data, ids[1]->data, ids[0]->len * sizeof(guint32));
}
END_TEST

/* --- models of several files ----------------------------------------------------------------- */

/* A file in the folder "parts" of the test. */
static char *part(const char *name, const char *spelled)
{
    g_autoptr(GByteArray) bytes = spell(spelled);
    g_autofree char *folder = g_build_filename(test_folder(), "parts", NULL);
    g_autofree char *path = g_build_filename("parts", name, NULL);
    ck_assert_int_eq(g_mkdir_with_parents(folder, 0777), 0);
    return test_file(path, bytes->data, bytes->len);
}

START_TEST(opens_parts)
{
    g_autofree char *first =
        part("m-00001-of-00002.gguf", HEAD(1, 1) "'split.count' w2 b2 b0 " TENSOR("a", 0) DATA);
    g_autofree char *second =
        part("m-00002-of-00002.gguf", HEAD(1, 1) "'split.count' w2 b2 b0 " TENSOR("b", 0) DATA);
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_path_get_dirname(first);
    const char *const ways[] = {first, second, folder};
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(GPtrArray) files = moe_gguf_open_model(ways[i], &error);
        assert_no_error(error);
        ck_assert_uint_eq(files->len, 2);
        ck_assert_str_eq(moe_gguf_path(files->pdata[0]), first);
        ck_assert_ptr_nonnull(moe_gguf_model_tensor(files, "a"));
        ck_assert_ptr_nonnull(moe_gguf_model_tensor(files, "b"));
    }
}
END_TEST

START_TEST(refuses_parts)
{
    GError *error = NULL;
    g_autofree char *lonely = part("l-00001-of-00002.gguf", HEAD(0, 1) "'split.count' w2 b2 b0");
    ck_assert_ptr_null(moe_gguf_open_model(lonely, &error));
    assert_error(&error, MOE_ERROR_INPUT, "l-00002-of-00002.gguf");
    g_autofree char *other = part("o.gguf", HEAD(0, 1) "'split.count' w2 b3 b0");
    ck_assert_ptr_null(moe_gguf_open_model(other, &error));
    assert_error(&error, MOE_ERROR_INPUT, "split.count: 3 parts, but the file's name says 1");
    ck_assert_ptr_null(moe_gguf_open_model(test_folder(), &error));
    assert_error(&error, MOE_ERROR_INPUT, "several GGUF files are there");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("gguf");
    TCase *tests = tcase_create("gguf");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, reads_values, 0, (int)G_N_ELEMENTS(items));
    tcase_add_test(tests, reads_tensors);
    tcase_add_loop_test(tests, refuses_lies, 0, (int)G_N_ELEMENTS(lies));
    tcase_add_test(tests, refuses_every_end);
    tcase_add_loop_test(tests, refuses_metadata, 0, (int)G_N_ELEMENTS(patches));
    tcase_add_test(tests, refuses_other_sizes);
    tcase_add_loop_test(tests, refuses_tensors, 0, (int)G_N_ELEMENTS(misfits));
    tcase_add_loop_test(tests, refuses_tokenizers, 0, (int)G_N_ELEMENTS(tokenizers));
    tcase_add_test(tests, tokenizes_alike);
    tcase_add_test(tests, opens_parts);
    tcase_add_test(tests, refuses_parts);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "models/pretokenizer.h"
#include "models/tokenizer.h"
#include "tests/unit/harness.h"

#include <string.h>

/* --- pre-tokenizers -------------------------------------------------------------------------- */

/* The pieces with '|' between them. */
static char *cut(const char *json_text, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeJson) json = moe_json_parse(json_text, strlen(json_text), "t", &error);
    assert_no_error(error);
    g_autoptr(MoePretokenizer) p = moe_pretokenizer_new(moe_json_root(json), "t", &error);
    assert_no_error(error);
    GPtrArray *pieces = NULL;
    ck_assert(moe_pretokenizer_cut(p, text, strlen(text), strlen(text), &pieces, &error));
    GString *all = g_string_new(NULL);
    for (guint i = 0; i < pieces->len; i++) {
        GString *piece = g_ptr_array_index(pieces, i);
        g_string_append(all, i > 0 ? "|" : "");
        g_string_append_len(all, piece->str, (gssize)piece->len);
    }
    g_ptr_array_unref(pieces);
    return g_string_free(all, FALSE);
}

#define SPLIT(pattern, behavior)                                                                   \
    "{\"type\": \"Split\", \"pattern\": " pattern ", \"behavior\": \"" behavior                    \
    "\", \"invert\": false}"
#define DASH "{\"String\": \"-\"}"
#define BYTES                                                                                      \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "              \
    "\"use_regex\": true}"

static const struct {
    const char *pretokenizer, *text, *pieces;
} cuts[] = {
    /* The five behaviours on this text stand in the documentation of Hugging Face tokenizers
     * ("SplitDelimiterBehavior"). */
    {SPLIT(DASH, "Removed"), "the-final--countdown", "the|final|countdown"},
    {SPLIT(DASH, "Isolated"), "the-final--countdown", "the|-|final|-|-|countdown"},
    {SPLIT(DASH, "MergedWithPrevious"), "the-final--countdown", "the-|final-|-|countdown"},
    {SPLIT(DASH, "MergedWithNext"), "the-final--countdown", "the|-final|-|-countdown"},
    {SPLIT(DASH, "Contiguous"), "the-final--countdown", "the|-|final|--|countdown"},
    {SPLIT("{\"Regex\": \"\\\\p{N}{1,3}\"}", "Isolated"), "a12345b", "a|123|45|b"},
    {SPLIT("{\"Regex\": \"[aeiou]\"}", "Isolated"), "", ""},
    {"{\"type\": \"Digits\", \"individual_digits\": true}", "Call 123 please",
     "Call |1|2|3| please"},
    {"{\"type\": \"Digits\", \"individual_digits\": false}", "Call 123 please",
     "Call |123| please"},
    {"null", "as it is", "as it is"},
    /* GPT-2's pattern (openai/gpt-2, encoder.py), by hand: contractions, a space goes with the word
     * behind it, the last of several spaces too. */
    {BYTES, "Hello my friend, how is your day going?",
     "Hello|\xc4\xa0my|\xc4\xa0"
     "friend|,|\xc4\xa0how|\xc4\xa0is|\xc4\xa0your|\xc4\xa0"
     "day|\xc4\xa0going|?"},
    {BYTES, "it's  12",
     "it|'s|\xc4\xa0|\xc4\xa0"
     "12"},
    {BYTES, "a\n\xc3\xa9", "a|\xc4\x8a|\xc3\x83\xc2\xa9"}, /* U+00E9 is the bytes C3 A9 */
};

START_TEST(cuts_text)
{
    g_autofree char *pieces = cut(cuts[_i].pretokenizer, cuts[_i].text);
    ck_assert_str_eq(pieces, cuts[_i].pieces);
}
END_TEST

START_TEST(letters_stand_for_bytes)
{
    ck_assert_uint_eq(moe_byte_letter(' '), 0x120);
    ck_assert_uint_eq(moe_byte_letter('\n'), 0x10A);
    ck_assert_uint_eq(moe_byte_letter('!'), '!');
    ck_assert_uint_eq(moe_byte_letter(0xFF), 0xFF);
    ck_assert_uint_eq(moe_byte_letter(0), 0x100);
    for (int b = 0; b < 256; b++)
        ck_assert_int_eq(moe_letter_byte(moe_byte_letter((guint8)b)), b);
    ck_assert_int_eq(moe_letter_byte(' '), -1);
    ck_assert_int_eq(moe_letter_byte(0x2603), -1);
}
END_TEST

/* --- whole tokenizers ------------------------------------------------------------------------ */

/* Letters a to e, the merges ab, bc, abc, cd and a special token; @more comes before the model. */
static char *tokenizer_file(const char *more, const char *model)
{
    g_autofree char *text = g_strdup_printf("{%s \"model\": {\"type\": \"BPE\", %s}}", more, model);
    return test_file("tokenizer.json", text, -1);
}

#define VOCAB                                                                                      \
    "\"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"d\": 3, \"e\": 4, \"ab\": 5, \"bc\": 6, "         \
    "\"abc\": 7, \"cd\": 8}"
#define MERGES "\"merges\": [\"a b\", \"b c\", \"ab c\", \"c d\"]"
#define ADDED                                                                                      \
    "\"added_tokens\": [{\"id\": 9, \"content\": \"<x>\", \"single_word\": false, \"lstrip\": "    \
    "false, \"rstrip\": false, \"normalized\": false, \"special\": true}],"

static const struct {
    const char *merges, *text;
    guint32 ids[8];
    guint n;
} merged[] = {
    {MERGES, "abcd", {7, 3}, 2},     /* ab, then abc; d is alone */
    {MERGES, "bcd", {6, 3}, 2},      /* b c ranks before c d */
    {MERGES, "ecd", {4, 8}, 2},      /* c d when nothing ranks before */
    {MERGES, "abab", {5, 5}, 2},     /* the leftmost of equals first */
    {MERGES, "a<x>b", {0, 9, 1}, 3}, /* an added token is never merged into */
    /* No unknown token: left out, and its neighbours meet (tokenizers, models/bpe/model.rs,
     * merge_word() adds nothing for it). */
    {MERGES, "axb", {5}, 1},
    {MERGES, "", {0}, 0},
    {"\"merges\": [[\"c\", \"d\"], [\"a\", \"b\"]]", "abcd", {5, 8}, 2}, /* pairs as lists */
    {"\"merges\": []", "abc", {0, 1, 2}, 3},
    {"\"ignore_merges\": true, \"merges\": []", "abc", {7}, 1}, /* the whole word is a token */
};

START_TEST(merges_by_rank)
{
    g_autofree char *model = g_strconcat(VOCAB ", ", merged[_i].merges, NULL);
    g_autofree char *path = tokenizer_file("\"pre_tokenizer\": " BYTES "," ADDED, model);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_load(path, &error);
    assert_no_error(error);
    ck_assert_uint_eq(moe_tokenizer_size(tokenizer), 10);
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    const char *text = merged[_i].text;
    ck_assert(moe_tokenizer_encode(tokenizer, text, strlen(text), FALSE, ids, &error));
    ck_assert_uint_eq(ids->len, merged[_i].n);
    if (ids->len > 0)
        ck_assert_mem_eq(ids->data, merged[_i].ids, ids->len * sizeof(guint32));
}
END_TEST

START_TEST(refuses_bytes_that_are_no_text)
{
    g_autofree char *path = tokenizer_file("\"pre_tokenizer\": " BYTES ",", VOCAB ", " MERGES);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_load(path, &error);
    assert_no_error(error);
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    ck_assert(!moe_tokenizer_encode(tokenizer, "ab\xff", 3, FALSE, ids, &error));
    assert_error(&error, MOE_ERROR_INPUT, "UTF-8");
}
END_TEST

static const struct {
    const char *more, *model, *message;
} bad[] = {
    {"", VOCAB ", \"merges\": [\"a x\"]", "merges"},
    {"", VOCAB ", \"merges\": [\"b a\"]", "merges"},
    {"", VOCAB ", \"merges\": [\"ab\"]", "merges"},
    {"", VOCAB ", \"merges\": [3]", "merges"},
    {"", "\"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []", "vocab"},
    {"", "\"vocab\": {\"a\": -1}, \"merges\": []", "vocab"},
    {"", "\"vocab\": {\"a\": 99999999999}, \"merges\": []", "vocab"},
    {"", "\"merges\": []", "vocab"},
    {"", VOCAB ", " MERGES ", \"dropout\": 0.1", "dropout"},
    {"\"normalizer\": {\"type\": \"Lowercase\"},", VOCAB ", " MERGES, "Lowercase"},
    {"\"pre_tokenizer\": {\"type\": \"Whitespace\"},", VOCAB ", " MERGES, "Whitespace"},
    {"\"pre_tokenizer\": " SPLIT("{\"Regex\": \"(\"}", "Isolated") ",", VOCAB ", " MERGES,
     "missing closing parenthesis"},
    {"\"pre_tokenizer\": " SPLIT(DASH, "Sometimes") ",", VOCAB ", " MERGES, "Sometimes"},
    {"\"pre_tokenizer\": " BYTES ", \"post_processor\": {\"type\": \"Bert\"},", VOCAB ", " MERGES,
     "Bert"},
};

START_TEST(refuses_by_name)
{
    g_autofree char *path = tokenizer_file(bad[_i].more, bad[_i].model);
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(moe_tokenizer_load(path, &error));
    ck_assert(error != NULL && strstr(error->message, "tokenizer.json") != NULL);
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *tests = tcase_create("tokenizer");
    tcase_add_loop_test(tests, cuts_text, 0, (int)G_N_ELEMENTS(cuts));
    tcase_add_test(tests, letters_stand_for_bytes);
    tcase_add_loop_test(tests, merges_by_rank, 0, (int)G_N_ELEMENTS(merged));
    tcase_add_test(tests, refuses_bytes_that_are_no_text);
    tcase_add_loop_test(tests, refuses_by_name, 0, (int)G_N_ELEMENTS(bad));
    suite_add_tcase(suite, tests);
    return suite;
}

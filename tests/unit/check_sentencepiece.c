#include "config.h"

#include "models/charsmap.h"
#include "models/grapheme.h"
#include "models/tokenizer.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

#define LOW "\xE2\x96\x81" /* U+2581, SentencePiece's space */

static MoeTokenizer *load(const char *text, GError **error)
{
    g_autofree char *path = test_file("tokenizer.json", text, -1);
    return moe_tokenizer_load(path, error);
}

static char *encode(const char *json, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = load(json, &error);
    assert_no_error(error);
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    ck_assert(moe_tokenizer_encode(tokenizer, text, strlen(text), FALSE, ids, &error));
    GString *all = g_string_new(NULL);
    for (guint i = 0; i < ids->len; i++)
        g_string_append_printf(all, "%s%u", i > 0 ? " " : "", g_array_index(ids, guint32, i));
    return g_string_free(all, FALSE);
}

/* --- BPE with bytes and unknown tokens ------------------------------------------------------- */

#define BPE(options)                                                                               \
    "{\"model\": {\"type\": \"BPE\", " options ", \"vocab\": {\"<unk>\": 0, \"a\": 1, \"b\": 2, "  \
    "\"ab\": 3, \"<0xC3>\": 4, \"<0xA9>\": 5}, \"merges\": [\"a b\"]}}"

static const struct {
    const char *json, *text, *ids;
} bpe[] = {
    {BPE("\"byte_fallback\": true, \"unk_token\": \"<unk>\""),
     "ab\xC3\xA9"
     "ab",
     "3 4 5 3"},
    {BPE("\"byte_fallback\": true, \"unk_token\": \"<unk>\""), "x\xC3\xA9y", "4 5 0 0"},
    {BPE("\"byte_fallback\": true, \"fuse_unk\": true, \"unk_token\": \"<unk>\""), "xyab", "0 3"},
    /* The reference writes bytes before the unknown character that waits for the next known. */
    {BPE("\"byte_fallback\": true, \"fuse_unk\": true, \"unk_token\": \"<unk>\""),
     "x\xC3\xA9"
     "a",
     "4 5 0 1"},
    {BPE("\"fuse_unk\": false, \"unk_token\": \"<unk>\""), "xyab", "0 0 3"},
    {BPE("\"fuse_unk\": false"), "xaby", "3"},
};

START_TEST(falls_back_to_bytes)
{
    g_autofree char *ids = encode(bpe[_i].json, bpe[_i].text);
    ck_assert_str_eq(ids, bpe[_i].ids);
}
END_TEST

/* --- unigrams -------------------------------------------------------------------------------- */

#define UNIGRAM(parts, more, vocab)                                                                \
    "{" parts "\"model\": {\"type\": \"Unigram\", " more "\"vocab\": [" vocab "]}}"
/* The scores of the documentation of Hugging Face's models/unigram. */
#define ABCD                                                                                       \
    "[\"<unk>\", 0], [\"a\", 0], [\"b\", 0], [\"c\", 0], [\"d\", 0], [\"cd\", 1], [\"ab\", 2], "   \
    "[\"abc\", 5], [\"abcd\", 10]"

static const struct {
    const char *json, *text, *ids;
} unigrams[] = {
    {UNIGRAM("", "\"unk_id\": 0, ", ABCD), "abcdacdxx", "8 1 5 0"},
    {UNIGRAM("", "\"unk_id\": 0, ", ABCD), "", ""},
    {UNIGRAM("", "\"unk_id\": 0, ", ABCD), "xaxxb", "0 1 0 2"},
    /* Of equal sums the first that is found, which begins further left. */
    {UNIGRAM("", "\"unk_id\": 0, ", "[\"<unk>\", 0], [\"a\", -1], [\"b\", -1], [\"ab\", -2]"), "ab",
     "3"},
    {UNIGRAM("", "\"unk_id\": 0, \"byte_fallback\": true, ",
             "[\"<unk>\", 0], [\"<0x78>\", -9], [\"a\", -1]"),
     "axxay", "2 1 1 2 0"},
    {UNIGRAM("\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"" LOW "\"}, ",
             "\"unk_id\": 0, ",
             "[\"<unk>\", 0], [\"" LOW "a\", -1], [\"a\", -1], [\"" LOW "\", -1]"),
     "a aa", "1 1 2"},
    {UNIGRAM("\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"" LOW
             "\", \"add_prefix_space\": false}, ",
             "\"unk_id\": 0, ",
             "[\"<unk>\", 0], [\"" LOW "a\", -1], [\"a\", -1], [\"" LOW "\", -1]"),
     "a aa", "2 1 2"},
};

START_TEST(cuts_by_score)
{
    g_autofree char *ids = encode(unigrams[_i].json, unigrams[_i].text);
    ck_assert_str_eq(ids, unigrams[_i].ids);
}
END_TEST

/* The best sum over all ways to cut @text into one- to three-letter tokens, by recursion. */
static double best_ref(const double *scores, const char *text, size_t length)
{
    if (length == 0)
        return 0;
    double best = -INFINITY;
    size_t index = 0;
    for (size_t n = 1; n <= 3 && n <= length; n++) {
        index = index * 2 + (size_t)(text[n - 1] - 'a');
        double rest = best_ref(scores, text + n, length - n);
        best = MAX(best, scores[(1u << n) - 2 + index] + rest);
    }
    return best;
}

START_TEST(viterbi_finds_the_best_sum)
{
    double scores[14];
    g_autoptr(GRand) rand = g_rand_new_with_seed(7 + (guint32)_i);
    g_autoptr(GString) vocab = g_string_new("[\"<unk>\", -99]");
    for (size_t n = 1, at = 0; n <= 3; n++)
        for (size_t index = 0; index < 1u << n; index++, at++) {
            char token[4] = {0};
            for (size_t k = 0; k < n; k++)
                token[k] = (char)('a' + (index >> (n - 1 - k) & 1));
            scores[at] = -g_rand_int_range(rand, 1, 64) / 8.0; /* sums are exact */
            g_string_append_printf(vocab, ", [\"%s\", %.3f]", token, scores[at]);
        }
    g_autofree char *json = g_strdup_printf(
        "{\"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [%s]}}", vocab->str);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = load(json, &error);
    assert_no_error(error);
    char text[16];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + g_rand_int_range(rand, 0, 2));
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    ck_assert(moe_tokenizer_encode(tokenizer, text, sizeof(text), FALSE, ids, &error));
    double sum = 0;
    for (guint i = 0; i < ids->len; i++)
        sum += scores[g_array_index(ids, guint32, i) - 1];
    ck_assert_double_eq(sum, best_ref(scores, text, sizeof(text)));
    g_autoptr(GString) back =
        moe_tokenizer_decode(tokenizer, (const guint32 *)(void *)ids->data, ids->len, FALSE);
    ck_assert_uint_eq(back->len, sizeof(text) + ids->len - 1); /* no decoder: spaces between */
}
END_TEST

/* --- decoders -------------------------------------------------------------------------------- */

#define DECODER(decoder)                                                                           \
    "{\"decoder\": " decoder ", \"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {\"" LOW \
    "a\": 0, \"b" LOW "\": 1, \"<0xC3>\": 2, \"<0xA9>\": 3, \"<0x41>\": 4, \"<0xG1>\": 5}}}"
#define LLAMA                                                                                      \
    "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": "   \
    "\"" LOW "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, "      \
    "{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]}"
#define META(scheme)                                                                               \
    "{\"type\": \"Metaspace\", \"replacement\": \"" LOW "\", \"prepend_scheme\": \"" scheme "\"}"

static const struct {
    const char *json;
    guint32 ids[6];
    guint n;
    const char *text, *bytes; /* of all tokens, and of one after the other */
} decoded[] = {
    {DECODER(LLAMA), {0, 1, 0}, 3, "ab  a", "ab  a"},
    {DECODER(LLAMA),
     {0, 2, 3, 4},
     4,
     "a\xC3\xA9"
     "A",
     "a\xC3\xA9"
     "A"},
    /* A broken character makes every byte in the row one. */
    {DECODER(LLAMA),
     {0, 2, 4, 5},
     4,
     "a\xEF\xBF\xBD\xEF\xBF\xBD<0xG1>",
     "a\xC3"
     "A<0xG1>"},
    {DECODER(META("always")), {0, 0, 1}, 3, "a ab ", "a ab "},
    {DECODER(META("never")), {0, 1}, 2, " ab ", " ab "},
    {DECODER("null"), {4, 0}, 2, "<0x41> " LOW "a", "<0x41> " LOW "a"},
};

START_TEST(decodes)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = load(decoded[_i].json, &error);
    assert_no_error(error);
    g_autoptr(GString) text =
        moe_tokenizer_decode(tokenizer, decoded[_i].ids, decoded[_i].n, FALSE);
    ck_assert_str_eq(text->str, decoded[_i].text);
    g_autoptr(GString) bytes = g_string_new(NULL);
    for (guint i = 0; i < decoded[_i].n; i++)
        moe_tokenizer_token_bytes(tokenizer, decoded[_i].ids[i], bytes->len == 0, bytes);
    ck_assert_str_eq(bytes->str, decoded[_i].bytes);
    moe_tokenizer_token_bytes(tokenizer, 77, FALSE, bytes); /* no such token */
    ck_assert_str_eq(bytes->str, decoded[_i].bytes);
}
END_TEST

/* --- grapheme clusters ----------------------------------------------------------------------- */

/* From Unicode's GraphemeBreakTest.txt 16.0: '|' stands where a cluster ends. */
static const struct {
    const char *text;
    size_t lengths[5];
} clusters[] = {
    {"ab", {1, 1}},
    {"\r\n\r", {2, 1}},
    {"a\xCC\x88 ", {3, 1}},                                       /* a, U+0308 */
    {"\xE1\x84\x80\xE1\x85\xA0\xE1\x86\xA8", {9}},                /* Hangul L V T */
    {"\xEA\xB0\x80\xE1\x86\xA8\xE1\x84\x80", {6, 3}},             /* LV T | L */
    {"\xF0\x9F\x87\xA6\xF0\x9F\x87\xA7\xF0\x9F\x87\xA8", {8, 4}}, /* flags in pairs */
    {"\xF0\x9F\x91\xB6\xE2\x80\x8D\xF0\x9F\x9B\x91", {11}},       /* pictograph ZWJ pictograph */
    {"a\xE2\x80\x8D\xF0\x9F\x9B\x91", {4, 4}},                    /* a ZWJ | pictograph */
    {"\xD8\x80"
     "b\n",
     {3, 1}},                                      /* Prepend */
    {"\xE0\xA4\x95\xE0\xA5\x8D\xE0\xA4\xA4", {9}}, /* KA, VIRAMA, TA */
    {"\xE0\xA4\x95\xE0\xA4\xA4", {3, 3}},          /* KA | TA */
};

START_TEST(finds_clusters)
{
    const char *text = clusters[_i].text;
    size_t left = strlen(text);
    for (int k = 0; left > 0; k++) {
        size_t n = moe_grapheme_length(text, left);
        ck_assert_uint_eq(n, clusters[_i].lengths[k]);
        text += n;
        left -= n;
    }
}
END_TEST

/* --- charsmaps ------------------------------------------------------------------------------- */

/* A trie of 512 units with the one key "A", whose replacement is at @value of @text: the root's
 * children are around unit 256, and so are those of 'A', with its leaf in unit 256 itself. */
static char *charsmap(guint32 trie_bytes, guint32 root, guint32 value, const char *text)
{
    guint32 units[513] = {GUINT32_TO_LE(trie_bytes), GUINT32_TO_LE(root)};
    guint32 key = 256 ^ 'A';
    units[1 + key] = GUINT32_TO_LE((guint32)'A' | 1U << 8 | (key ^ 256) << 10);
    units[1 + 256] = GUINT32_TO_LE(1U << 31 | value);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_byte_array_append(bytes, (const guint8 *)units, sizeof(units));
    g_byte_array_append(bytes, (const guint8 *)text, (guint)strlen(text) + 1);
    return g_base64_encode(bytes->data, bytes->len);
}

static const struct {
    guint32 trie_bytes, root, value;
    const char *text, *message; /* NULL: a good map */
} maps[] = {
    {2048, 256 << 10, 0, "xy", NULL},         {2048, 256 << 10, 1, "xy", NULL},
    {2048, 256 << 10, 9, "xy", "leaf"},       {2048, 512 << 10, 0, "xy", "branch"},
    {2049, 256 << 10, 0, "xy", "trie"},       {1u << 30, 256 << 10, 0, "xy", "trie"},
    {0, 256 << 10, 0, "xy", "trie"},          {2048, 256 << 10, 0, "x\xFF", "UTF-8"},
    {2048, 256 << 10, 1, "\xC3\xA9", "leaf"}, /* inside a character */
};

START_TEST(checks_charsmaps)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *base64 =
        charsmap(maps[_i].trie_bytes, maps[_i].root, maps[_i].value, maps[_i].text);
    g_autoptr(MoeCharsmap) map = moe_charsmap_new(base64, "map", &error);
    if (maps[_i].message != NULL) {
        ck_assert_ptr_null(map);
        assert_error(&error, MOE_ERROR_INPUT, maps[_i].message);
        return;
    }
    assert_no_error(error);
    size_t length;
    const char *found = moe_charsmap_find(map, "A", 1, &length);
    ck_assert_ptr_nonnull(found);
    ck_assert_str_eq(found, maps[_i].text + maps[_i].value);
    ck_assert_uint_eq(length, strlen(found));
    ck_assert_ptr_null(moe_charsmap_find(map, "B", 1, &length));
    ck_assert_ptr_null(moe_charsmap_find(map, "", 0, &length));
}
END_TEST

/* --- what is refused ------------------------------------------------------------------------- */

static const struct {
    const char *json, *message;
} bad[] = {
    {UNIGRAM("", "", ""), "model: vocab: is empty"},
    {UNIGRAM("", "", "[\"a\", \"b\"]"), "model: vocab[0] is not a pair"},
    {UNIGRAM("", "", "[\"a\"]"), "model: vocab[0] is not a pair"},
    {UNIGRAM("", "", "[\"a\", 0], [\"a\", 1]"), "'a' has the ids 0 and 1"},
    {UNIGRAM("", "\"unk_id\": 1, ", "[\"a\", 0]"), "unk_id"},
    {BPE("\"unk_token\": \"<none>\""), "unk_token '<none>' is not in the vocabulary"},
    {UNIGRAM("\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"!!\"}, ", "",
             "[\"a\", 0]"),
     "normalizer: precompiled_charsmap: not base64"},
    {UNIGRAM("\"normalizer\": {\"type\": \"Nmt\"}, ", "", "[\"a\", 0]"), "'Nmt' is not supported"},
    {UNIGRAM("\"decoder\": {\"type\": \"CTC\"}, ", "", "[\"a\", 0]"), "'CTC' is not supported"},
    {UNIGRAM("\"decoder\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a\"}, \"content\": "
             "\"\"}, ",
             "", "[\"a\", 0]"),
     "Regex is not supported"},
    {UNIGRAM("\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"ab\"}, ", "",
             "[\"a\", 0]"),
     "replacement 'ab' is not one character"},
    {UNIGRAM("\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\", "
             "\"add_prefix_space\": false, \"prepend_scheme\": \"always\"}, ",
             "", "[\"a\", 0]"),
     "add_prefix_space is false"},
    {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}", "type is 'WordPiece'"},
};

START_TEST(refuses_by_name)
{
    g_autoptr(GError) error = NULL;
    ck_assert_ptr_null(load(bad[_i].json, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

START_TEST(needs_an_unknown_token)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = load(UNIGRAM("", "", "[\"a\", 0]"), &error);
    assert_no_error(error);
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    ck_assert(!moe_tokenizer_encode(tokenizer, "ab", 2, FALSE, ids, &error));
    assert_error(&error, MOE_ERROR_INPUT, "U+0062");
}
END_TEST

START_TEST(bounds_what_a_text_becomes)
{
    g_autoptr(GString) steps = g_string_new(NULL);
    for (int i = 0; i < 40; i++)
        g_string_append_printf(steps,
                               "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, "
                               "\"content\": \"aaaaaaaaaa\"}",
                               i > 0 ? ", " : "");
    g_autofree char *json = g_strdup_printf(
        "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [%s]}, \"model\": {\"type\": "
        "\"Unigram\", \"vocab\": [[\"a\", 0]]}}",
        steps->str);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTokenizer) tokenizer = load(json, &error);
    assert_no_error(error);
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    ck_assert(!moe_tokenizer_encode(tokenizer, "a", 1, FALSE, ids, &error));
    assert_error(&error, MOE_ERROR_INPUT, "bytes of text become");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("sentencepiece");
    TCase *tests = tcase_create("sentencepiece");
    tcase_add_loop_test(tests, falls_back_to_bytes, 0, (int)G_N_ELEMENTS(bpe));
    tcase_add_loop_test(tests, cuts_by_score, 0, (int)G_N_ELEMENTS(unigrams));
    tcase_add_loop_test(tests, viterbi_finds_the_best_sum, 0, 8);
    tcase_add_loop_test(tests, decodes, 0, (int)G_N_ELEMENTS(decoded));
    tcase_add_loop_test(tests, finds_clusters, 0, (int)G_N_ELEMENTS(clusters));
    tcase_add_loop_test(tests, checks_charsmaps, 0, (int)G_N_ELEMENTS(maps));
    tcase_add_loop_test(tests, refuses_by_name, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, needs_an_unknown_token);
    tcase_add_test(tests, bounds_what_a_text_becomes);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "sim/base/json.h"
#include "tests/unit/harness.h"

#include <string.h>

#define BYTES(text) text, sizeof(text) - 1

/* Numbers with "i" or "d" before them, strings in quotes as bytes, U+0000 as "<NUL>". */
static void dump(const MoeJson *json, JsonNode *node, GString *out)
{
    if (JSON_NODE_HOLDS_OBJECT(node)) {
        JsonObjectIter iter;
        const char *key;
        JsonNode *member;
        g_string_append_c(out, '{');
        json_object_iter_init_ordered(&iter, json_node_get_object(node));
        while (json_object_iter_next_ordered(&iter, &key, &member)) {
            g_string_append_printf(out, "\"%s\":", key);
            dump(json, member, out);
            g_string_append_c(out, ',');
        }
        g_string_append_c(out, '}');
    } else if (JSON_NODE_HOLDS_ARRAY(node)) {
        JsonArray *array = json_node_get_array(node);
        g_string_append_c(out, '[');
        for (guint i = 0; i < json_array_get_length(array); i++) {
            dump(json, json_array_get_element(array, i), out);
            g_string_append_c(out, ',');
        }
        g_string_append_c(out, ']');
    } else if (JSON_NODE_HOLDS_NULL(node)) {
        g_string_append(out, "null");
    } else if (json_node_get_value_type(node) == G_TYPE_INT64) {
        g_string_append_printf(out, "i%" G_GINT64_FORMAT, json_node_get_int(node));
    } else if (json_node_get_value_type(node) == G_TYPE_DOUBLE) {
        g_string_append_printf(out, "d%.17g", json_node_get_double(node));
    } else if (json_node_get_value_type(node) == G_TYPE_BOOLEAN) {
        g_string_append(out, json_node_get_boolean(node) ? "true" : "false");
    } else {
        GString *text = moe_json_text(json, node);
        g_string_append_c(out, '"');
        for (gsize i = 0; i < text->len; i++)
            if (text->str[i] == '\0')
                g_string_append(out, "<NUL>");
            else
                g_string_append_c(out, text->str[i]);
        g_string_append_c(out, '"');
        g_string_free(text, TRUE);
    }
}

static const struct {
    const char *text;
    size_t length;
    const char *tree;
} good[] = {
    /* words, blanks */
    {BYTES("null"), "null"},
    {BYTES("true"), "true"},
    {BYTES("false"), "false"},
    {BYTES(" \t\r\n[ \t\r\n1 \t\r\n, \t\r\n2 ] \n"), "[i1,i2,]"},
    /* numbers */
    {BYTES("0"), "i0"},
    {BYTES("-0"), "i0"},
    {BYTES("-1"), "i-1"},
    {BYTES("123456789012"), "i123456789012"},
    {BYTES("9223372036854775807"), "i9223372036854775807"},
    {BYTES("-9223372036854775808"), "i-9223372036854775808"},
    {BYTES("0.5"), "d0.5"},
    {BYTES("-0.5"), "d-0.5"},
    {BYTES("-0.0"), "d-0"},
    {BYTES("10.0"), "d10"},
    {BYTES("1e2"), "d100"},
    {BYTES("1E2"), "d100"},
    {BYTES("1E+2"), "d100"},
    {BYTES("25e-2"), "d0.25"},
    {BYTES("0e5"), "d0"},
    {BYTES("0E-5"), "d0"},
    {BYTES("0.25e1"), "d2.5"},
    {BYTES("1e18"), "d1e+18"},
    {BYTES("1e-999"), "d0"},
    {BYTES("1.00000000000000000000000000000000000000000000000000000"), "d1"},
    {BYTES("0.000000000000000000000000000000000000000000000000000e9"), "d0"},
    {BYTES("[1,-2,3.5]"), "[i1,i-2,d3.5,]"},
    /* strings */
    {BYTES("\"\""), "\"\""},
    {BYTES("\"a b\""), "\"a b\""},
    {BYTES("\"\\\"\\\\\\/\""), "\"\"\\/\""},
    {BYTES("\"\\b\\f\\n\\r\\t\""), "\"\b\f\n\r\t\""},
    {BYTES("\"\\u0041\\u00e9\\u20AC\""), "\"A\xC3\xA9\xE2\x82\xAC\""},
    {BYTES("\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""), "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""},
    {BYTES("\"\\ud83d\\ude00\""), "\"\xF0\x9F\x98\x80\""},
    {BYTES("\"\\uD83D\\uDE00\""), "\"\xF0\x9F\x98\x80\""},
    {BYTES("\"\\uDBFF\\uDFFF\""), "\"\xF4\x8F\xBF\xBF\""},
    {BYTES("\"\\uD7FF\\uE000\""), "\"\xED\x9F\xBF\xEE\x80\x80\""},
    {BYTES("\"\\uFFFF\""), "\"\xEF\xBF\xBF\""},
    {BYTES("\"\xEF\xBB\xBFx\""), "\"\xEF\xBB\xBFx\""}, /* U+FEFF is a character inside */
    {BYTES("\"\x7F\""), "\"\x7F\""},
    {BYTES("\"\xE2\x80\xA8\""), "\"\xE2\x80\xA8\""},
    {BYTES("\"\\\\u0041\""), "\"\\u0041\""},
    {BYTES("\"/* no comment */ // none\""), "\"/* no comment */ // none\""},
    {BYTES("\"[{:,}]\""), "\"[{:,}]\""},
    /* U+0000, beside the noncharacter that could stand for it, and beside a backslash */
    {BYTES("\"a\\u0000b\""), "\"a<NUL>b\""},
    {BYTES("[\"\\u0000\",\"\\u0000\\u0000\",\"\"]"), "[\"<NUL>\",\"<NUL><NUL>\",\"\",]"},
    {BYTES("\"\\u0000\xEF\xB7\x90\""), "\"<NUL>\xEF\xB7\x90\""},
    {BYTES("\"\\uFDD0\\u0000\""), "\"\xEF\xB7\x90<NUL>\""},
    {BYTES("\"\\\\u0000\""), "\"\\u0000\""},
    {BYTES("\"\\\\\\u0000\""), "\"\\<NUL>\""},
    /* lists and objects */
    {BYTES("[]"), "[]"},
    {BYTES("[ ]"), "[]"},
    {BYTES("{}"), "{}"},
    {BYTES("{ }"), "{}"},
    {BYTES("[[],{},[[]]]"), "[[],{},[[],],]"},
    {BYTES("{\"a\":1,\"b\":{\"a\":[null]}}"), "{\"a\":i1,\"b\":{\"a\":[null,],},}"},
    {BYTES("{\"\":0}"), "{\"\":i0,}"},
    {BYTES("{\"a\":1,\"A\":2}"), "{\"a\":i1,\"A\":i2,}"},
    {BYTES("{\"a b\\n\":1}"), "{\"a b\n\":i1,}"},
    {BYTES("{\"a\":1,\"\\u0061b\":2}"), "{\"a\":i1,\"ab\":i2,}"},
    {BYTES("{\"\\u00e9\":1,\"e\":2}"), "{\"\xC3\xA9\":i1,\"e\":i2,}"},
    {BYTES("{\"z\":1,\"a\":2}"), "{\"z\":i1,\"a\":i2,}"}, /* the order stays */
};

START_TEST(accepts_json)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeJson) json = moe_json_parse(good[_i].text, good[_i].length, "t", &error);
    assert_no_error(error);
    g_autoptr(GString) tree = g_string_new(NULL);
    dump(json, moe_json_root(json), tree);
    ck_assert_str_eq(tree->str, good[_i].tree);
    ck_assert(moe_json_has_nul(json) == (strstr(good[_i].tree, "<NUL>") != NULL));
}
END_TEST

static const struct {
    const char *text;
    size_t length;
    const char *message;
} bad[] = {
    /* no value, or more than one */
    {BYTES(""), "t:1:1: a value is missing here"},
    {BYTES(" \n "), "t:2:2: a value is missing here"},
    {BYTES("1 2"), "t:1:3: something follows the end of the document"},
    {BYTES("{}{}"), "t:1:3: something follows the end of the document"},
    {BYTES("[1]]"), "t:1:4: something follows the end of the document"},
    {BYTES("\"a\"\"b\""), "t:1:4: something follows the end of the document"},
    {BYTES("null,"), "t:1:5: something follows the end of the document"},
    {BYTES("truefalse"), "t:1:5: something follows the end of the document"},
    /* words, blanks, comments */
    {BYTES("nul"), "t:1:1: not a value; write an object, a list, a string, a number, true, "},
    {BYTES("True"), "t:1:1: not a value"},
    {BYTES("TRUE"), "t:1:1: not a value"},
    {BYTES("undefined"), "t:1:1: not a value"},
    {BYTES("NaN"), "t:1:1: not a value"},
    {BYTES("Infinity"), "t:1:1: not a value"},
    {BYTES("a"), "t:1:1: not a value"},
    {BYTES("\f1"), "t:1:1: not a value"},
    {BYTES("\v1"), "t:1:1: not a value"},
    {BYTES("\xC2\xA0"
           "1"),
     "t:1:1: not a value"},
    {BYTES("\xEF\xBB\xBF"
           "1"),
     "t:1:1: not a value"},
    {BYTES("// c\n1"), "t:1:1: not a value"},
    {BYTES("/* c */1"), "t:1:1: not a value"},
    {BYTES("[1/* c */]"), "t:1:3: ',' or ']' is missing here"},
    {BYTES("# c\n1"), "t:1:1: not a value"},
    {BYTES("var x = 1;"), "t:1:1: not a value"},
    /* numbers */
    {BYTES("-"), "t:1:2: not a number"},
    {BYTES("--1"), "t:1:2: not a number"},
    {BYTES("-a"), "t:1:2: not a number"},
    {BYTES("-Infinity"), "t:1:2: not a number"},
    {BYTES("+1"), "t:1:1: not a value"},
    {BYTES(".5"), "t:1:1: not a value"},
    {BYTES("-.5"), "t:1:2: not a number"},
    {BYTES("01"), "t:1:3: not a number"},
    {BYTES("-01"), "t:1:4: not a number"},
    {BYTES("00"), "t:1:3: not a number"},
    {BYTES("5."), "t:1:3: digits are missing after the point"},
    {BYTES("5.e1"), "t:1:3: digits are missing after the point"},
    {BYTES("1e"), "t:1:3: digits are missing in the exponent"},
    {BYTES("1e+"), "t:1:4: digits are missing in the exponent"},
    {BYTES("1eE2"), "t:1:3: digits are missing in the exponent"},
    {BYTES("1e2.5"), "t:1:4: something follows"},
    {BYTES("0x10"), "t:1:2: something follows"},
    {BYTES("1_000"), "t:1:2: something follows"},
    {BYTES("1f"), "t:1:2: something follows"},
    {BYTES("\xD9\xA1"), "t:1:1: not a value"}, /* a digit, but not of ASCII */
    {BYTES("9223372036854775808"), "t:1:1: the number is too large"},
    {BYTES("-9223372036854775809"), "t:1:1: the number is too large"},
    {BYTES("[1, 123456789012345678901234567890]"), "t:1:5: the number is too large"},
    {BYTES("1e309"), "t:1:1: the number is too large"},
    {BYTES("[-1e309]"), "t:1:2: the number is too large"},
    {BYTES("1e99999999999999999999"), "t:1:1: the number is too large"},
    /* strings */
    {BYTES("\"a"), "t:1:3: the text ends inside a string"},
    {BYTES("\"a\\"), "t:1:4: the text ends inside a string"},
    {BYTES("\"a\\\""), "t:1:5: the text ends inside a string"},
    {BYTES("'a'"), "t:1:1: not a value"},
    {BYTES("\"\\x41\""), "t:1:3: not an escape; write \\\\ for a backslash"},
    {BYTES("\"\\a\""), "t:1:3: not an escape"},
    {BYTES("\"\\'\""), "t:1:3: not an escape"},
    {BYTES("\"\\\n\""), "t:1:3: not an escape"},
    {BYTES("\"\\U0041\""), "t:1:3: not an escape"},
    {BYTES("\"\\\xC3\xA9\""), "t:1:3: not an escape"},
    {BYTES("\"\\u\""), "t:1:4: \\u needs four hexadecimal digits"},
    {BYTES("\"\\u004\""), "t:1:4: \\u needs four hexadecimal digits"},
    {BYTES("\"\\u00G1\""), "t:1:4: \\u needs four hexadecimal digits"},
    {BYTES("\"\\u+041\""), "t:1:4: \\u needs four hexadecimal digits"},
    {BYTES("\"\\u00"), "t:1:4: \\u needs four hexadecimal digits"},
    {BYTES("\"a\nb\""), "t:1:3: a control character in a string; write it as an escape"},
    {BYTES("\"a\tb\""), "t:1:3: a control character in a string"},
    {BYTES("\"\x1F\""), "t:1:2: a control character in a string"},
    {BYTES("{\"\x01\":1}"), "t:1:3: a control character in a string"},
    /* surrogates */
    {BYTES("\"\\ud800\""), "a high surrogate without a low one after it"},
    {BYTES("\"\\udbffx\""), "a high surrogate without a low one after it"},
    {BYTES("\"\\ud800\\n\""), "a high surrogate without a low one after it"},
    {BYTES("\"\\ud800\\u0041\""), "a high surrogate without a low one after it"},
    {BYTES("\"\\ud800\\ud800\""), "a high surrogate without a low one after it"},
    {BYTES("\"\\ud83d\\u\""), "a high surrogate without a low one after it"},
    {BYTES("\"\\udc00\""), "a low surrogate without a high one before it"},
    {BYTES("\"\\ude00\\ud83d\""), "a low surrogate without a high one before it"},
    {BYTES("{\"\\udfff\":1}"), "a low surrogate without a high one before it"},
    /* lists */
    {BYTES("["), "t:1:2: the text ends inside a list"},
    {BYTES("[1"), "t:1:3: the text ends inside a list"},
    {BYTES("[1,"), "t:1:4: the text ends inside a list"},
    {BYTES("[1,]"), "t:1:4: not a value"},
    {BYTES("[,1]"), "t:1:2: not a value"},
    {BYTES("[1,,2]"), "t:1:4: not a value"},
    {BYTES("[,]"), "t:1:2: not a value"},
    {BYTES("[1 2]"), "t:1:4: ',' or ']' is missing here"},
    {BYTES("[1:2]"), "t:1:3: ',' or ']' is missing here"},
    {BYTES("[1}"), "t:1:3: ',' or ']' is missing here"},
    {BYTES("[\"a\""), "t:1:5: the text ends inside a list"},
    {BYTES("]"), "t:1:1: not a value"},
    /* objects */
    {BYTES("{"), "t:1:2: the text ends inside an object"},
    {BYTES("{\"a\""), "t:1:5: ':' is missing after the key"},
    {BYTES("{\"a\":"), "t:1:6: a value is missing here"},
    {BYTES("{\"a\":1"), "t:1:7: the text ends inside an object"},
    {BYTES("{\"a\":1,"), "t:1:8: the text ends inside an object"},
    {BYTES("{\"a\":1,}"), "t:1:8: a key in double quotes is missing here"},
    {BYTES("{,}"), "t:1:2: a key in double quotes is missing here"},
    {BYTES("{a:1}"), "t:1:2: a key in double quotes is missing here"},
    {BYTES("{'a':1}"), "t:1:2: a key in double quotes is missing here"},
    {BYTES("{1:1}"), "t:1:2: a key in double quotes is missing here"},
    {BYTES("{[]:1}"), "t:1:2: a key in double quotes is missing here"},
    {BYTES("{\"a\" 1}"), "t:1:6: ':' is missing after the key"},
    {BYTES("{\"a\",1}"), "t:1:5: ':' is missing after the key"},
    {BYTES("{\"a\":}"), "t:1:6: not a value"},
    {BYTES("{\"a\"::1}"), "t:1:6: not a value"},
    {BYTES("{\"a\":1 \"b\":2}"), "t:1:8: ',' or '}' is missing here"},
    {BYTES("{\"a\":1]"), "t:1:7: ',' or '}' is missing here"},
    {BYTES("}"), "t:1:1: not a value"},
    /* the same key twice, however it is written */
    {BYTES("{\"a\":1,\"a\":2}"), "t:1:8: the same key twice in one object"},
    {BYTES("{\"a\":1,\"\\u0061\":2}"), "t:1:8: the same key twice in one object"},
    {BYTES("{\"\\u0061\":1,\"a\":2}"), "t:1:13: the same key twice in one object"},
    {BYTES("{\"\\u006A\":1,\"\\u006a\":2}"), "t:1:13: the same key twice in one object"},
    {BYTES("{\"a/b\":1,\"a\\/b\":2}"), "t:1:10: the same key twice in one object"},
    {BYTES("{\"\\n\":1,\"\\u000a\":2}"), "t:1:9: the same key twice in one object"},
    {BYTES("{\"\\b\\f\\r\\t\":1,\"\\u0008\\u000c\\u000D\\u0009\":2}"), "the same key twice"},
    {BYTES("{\"\\\\\":1,\"\\u005c\":2}"), "t:1:9: the same key twice in one object"},
    {BYTES("{\"\xF0\x9F\x98\x80\":1,\"\\ud83d\\ude00\":2}"), "t:1:8: the same key twice"},
    {BYTES("{\"\\u0000\":1,\"\\u0000\":2}"), "t:1:13: the same key twice in one object"},
    {BYTES("{\"\":1,\"\":2}"), "t:1:7: the same key twice in one object"},
    {BYTES("[{\"x\":{\"b\":1,\n  \"b\":2}}]"), "t:2:3: the same key twice in one object"},
    /* bytes */
    {BYTES("\"\xFF\""), "t:1:2: not UTF-8"},
    {BYTES("\"\xC3\""), "t:1:2: not UTF-8"},
    {BYTES("\"\x80\""), "t:1:2: not UTF-8"},
    {BYTES("\"\xC0\xAF\""), "t:1:2: not UTF-8"},
    {BYTES("\"\xED\xA0\x80\""), "t:1:2: not UTF-8"},
    {BYTES("\"\xF4\x90\x80\x80\""), "t:1:2: not UTF-8"},
    {BYTES("[1,\n\xE2\x82"), "t:2:1: not UTF-8"},
    {BYTES("[\0]"), "t:1:2: a NUL character"},
    {BYTES("1\0"), "t:1:2: a NUL character"},
    {BYTES("\"a\0b\""), "t:1:3: a NUL character"},
    {BYTES("\xFE\xFF\0[\0]"), "t:1:1: not UTF-8"},
    /* lines end at a line feed; columns count characters */
    {BYTES("{\n  \"a\": 1,\n  \"b\": tru\n}"), "t:3:8: not a value"},
    {BYTES("[\r\n\r\n x]"), "t:3:2: not a value"},
    {BYTES("[\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\", x]"), "t:1:9: not a value"},
};

START_TEST(refuses_the_rest)
{
    GError *error = NULL;
    ck_assert_ptr_null(moe_json_parse(bad[_i].text, bad[_i].length, "t", &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

/* The text need not end with a NUL: what is behind must not be read. */
START_TEST(stops_at_the_length)
{
    static const char text[] = "[12345]]";
    GError *error = NULL;
    g_autoptr(MoeJson) json = moe_json_parse(text, 7, "t", &error);
    assert_no_error(error);
    ck_assert_ptr_nonnull(json);
    for (size_t length = 0; length < 7; length++) {
        ck_assert_ptr_null(moe_json_parse(text, length, "t", &error));
        assert_error(&error, MOE_ERROR_INPUT, length == 0 ? "a value is missing" : "inside a list");
    }
}
END_TEST

static char *nested(int depth, const char *open, const char *close)
{
    GString *text = g_string_new(NULL);
    for (int i = 0; i < depth; i++)
        g_string_append(text, open);
    g_string_append_c(text, '1');
    for (int i = 0; i < depth; i++)
        g_string_append(text, close);
    return g_string_free(text, FALSE);
}

START_TEST(bounds_depth)
{
    static const char *const brackets[][2] = {{"[", "]"}, {"{\"a\":", "}"}, {"[{\"a\":", "}]"}};
    const int most[] = {MOE_JSON_DEEPEST, MOE_JSON_DEEPEST, MOE_JSON_DEEPEST / 2};
    for (int b = 0; b < 3; b++) {
        GError *error = NULL;
        g_autofree char *good_text = nested(most[b], brackets[b][0], brackets[b][1]);
        g_autoptr(MoeJson) json = moe_json_parse(good_text, strlen(good_text), "t", &error);
        assert_no_error(error);
        ck_assert_ptr_nonnull(json);
        g_autofree char *deeper = nested(most[b] + 1, brackets[b][0], brackets[b][1]);
        ck_assert_ptr_null(moe_json_parse(deeper, strlen(deeper), "t", &error));
        assert_error(&error, MOE_ERROR_INPUT, "nested deeper than 64 levels");
        g_autofree char *deepest = nested(200000, brackets[b][0], "");
        ck_assert_ptr_null(moe_json_parse(deepest, strlen(deepest), "t", &error));
        assert_error(&error, MOE_ERROR_INPUT, "nested deeper than 64 levels");
    }
}
END_TEST

START_TEST(needs_a_free_noncharacter_for_nul)
{
    GError *error = NULL;
    g_autoptr(GString) text = g_string_new("[\"\\u0000\"");
    for (int c = 0xFDD0; c <= 0xFDEF; c++)
        g_string_append_printf(text, ",\"\\u%04X\"", c);
    g_string_append_c(text, ']');
    ck_assert_ptr_null(moe_json_parse(text->str, text->len, "t", &error));
    assert_error(&error, MOE_ERROR_INPUT, "t: U+0000 beside all of U+FDD0 to U+FDEF");
}
END_TEST

START_TEST(loads_bounded_files)
{
    GError *error = NULL;
    g_autofree char *path = test_file("a.json", "{\"a\": [1]}", -1);
    g_autoptr(MoeJson) json = moe_json_load(path, 10, &error);
    assert_no_error(error);
    ck_assert_ptr_nonnull(json);
    ck_assert_ptr_null(moe_json_load(path, 9, &error));
    assert_error(&error, MOE_ERROR_INPUT, "a.json: larger than 9 bytes");
    g_autofree char *broken = test_file("b.json", "{\"a\": [1}", -1);
    ck_assert_ptr_null(moe_json_load(broken, 99, &error));
    assert_error(&error, MOE_ERROR_INPUT, "b.json:1:9: ',' or ']' is missing here");
    ck_assert_ptr_null(moe_json_load_nodes(broken, 99, &error));
    assert_error(&error, MOE_ERROR_INPUT, "b.json:1:9: ',' or ']' is missing here");
    ck_assert_ptr_null(moe_json_load(test_folder(), 99, &error));
    assert_error(&error, MOE_ERROR_INPUT, "cannot be read");
    moe_json_free(NULL);
}
END_TEST

/* --- nodes ----------------------------------------------------------------------------------- */

static void assert_node(const MoeNode *node, const char *text, gboolean quoted, int line,
                        int column)
{
    ck_assert_ptr_nonnull(node);
    ck_assert_int_eq(node->line, line);
    ck_assert_int_eq(node->column, column);
    ck_assert_str_eq(node->text, text);
    ck_assert_int_eq(node->quoted, quoted);
}

START_TEST(loads_nodes_with_places)
{
    static const char text[] = "{\n"
                               "  \"a\": 1.5, \"\xC3\xA9\": \"two\",\n"
                               "  \"\\u0063\": [null, true,\n"
                               "    {\"d\": {}}, []],\n"
                               "  \"e\":-7}\n";
    GError *error = NULL;
    g_autofree char *path = test_file("nodes.json", text, -1);
    g_autoptr(MoeNode) root = moe_json_load_nodes(path, 999, &error);
    assert_no_error(error);
    ck_assert(root->kind == MOE_NODE_MAP && root->line == 1 && root->column == 1);
    ck_assert_str_eq(root->file, path);
    ck_assert_uint_eq(root->keys->len, 4);
    assert_node(g_ptr_array_index(root->keys, 0), "a", FALSE, 2, 3);
    assert_node(moe_node_get(root, "a"), "1.5", FALSE, 2, 8);
    assert_node(g_ptr_array_index(root->keys, 1), "\xC3\xA9", FALSE, 2, 13);
    assert_node(moe_node_get(root, "\xC3\xA9"), "two", TRUE, 2, 18);
    assert_node(g_ptr_array_index(root->keys, 2), "c", FALSE, 3, 3);
    const MoeNode *list = moe_node_get(root, "c");
    ck_assert(list->kind == MOE_NODE_LIST && list->line == 3 && list->column == 13);
    assert_node(g_ptr_array_index(list->items, 0), "null", FALSE, 3, 14);
    ck_assert(moe_node_is_null(g_ptr_array_index(list->items, 0)));
    assert_node(g_ptr_array_index(list->items, 1), "true", FALSE, 3, 20);
    const MoeNode *map = g_ptr_array_index(list->items, 2);
    ck_assert(map->kind == MOE_NODE_MAP && map->line == 4 && map->column == 5);
    const MoeNode *inner = moe_node_get(map, "d");
    ck_assert(inner->kind == MOE_NODE_MAP && inner->line == 4 && inner->column == 11);
    const MoeNode *empty = g_ptr_array_index(list->items, 3);
    ck_assert(empty->kind == MOE_NODE_LIST && empty->line == 4 && empty->column == 16);
    assert_node(moe_node_get(root, "e"), "-7", FALSE, 5, 7);
}
END_TEST

/* A quoted word is never null or a number, whoever reads the field. */
START_TEST(nodes_remember_quotes)
{
    GError *error = NULL;
    g_autofree char *path = test_file("quotes.json", "[\"null\", \"\", \"1\", null]", -1);
    g_autoptr(MoeNode) root = moe_json_load_nodes(path, 999, &error);
    for (guint i = 0; i < 4; i++)
        ck_assert(moe_node_is_null(g_ptr_array_index(root->items, i)) == (i == 3));
    g_autofree char *nul = test_file("nul.json", "{\"a\": \"\\u0000\"}", -1);
    ck_assert_ptr_null(moe_json_load_nodes(nul, 999, &error));
    assert_error(&error, MOE_ERROR_INPUT, "nul.json: a string must not contain a NUL character");
}
END_TEST

/* --- checked access -------------------------------------------------------------------------- */

START_TEST(checks_types)
{
    static const char text[] =
        "{\"o\":{},\"l\":[],\"s\":\"x\",\"i\":5,\"d\":5.0,\"b\":true,\"n\":null}";
    static const struct {
        const char *key, *is;
    } members[] = {
        {"o", "an object"}, {"l", "a list"},        {"s", "a string"}, {"i", "a number"},
        {"d", "a number"},  {"b", "true or false"}, {"n", "null"},     {"none", "missing"},
    };
    GError *error = NULL;
    g_autoptr(MoeJson) json = moe_json_parse(text, sizeof(text) - 1, "t", &error);
    JsonObject *object = moe_json_object(moe_json_root(json), "t", &error);
    ck_assert_ptr_nonnull(object);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        const char *key = members[i].key;
        gint64 whole = -77;
        gboolean truth = 77;
        const struct {
            gboolean read;
            const char *wanted, *accepted; /* keys that are accepted */
        } rows[] = {
            {moe_json_get_object(object, key, "t", NULL) != NULL, "an object", "o"},
            {moe_json_get_array(object, key, "t", NULL) != NULL, "a list", "l"},
            {moe_json_get_string(object, key, "t", NULL) != NULL, "a string", "s"},
            {moe_json_get_int(object, key, 0, 9, "t", &whole, NULL), "a whole number", "i"},
            {moe_json_get_bool(object, key, FALSE, "t", &truth, NULL), "true or false", "b n none"},
        };
        for (size_t r = 0; r < G_N_ELEMENTS(rows); r++) {
            g_auto(GStrv) accepted = g_strsplit(rows[r].accepted, " ", -1);
            ck_assert_msg(rows[r].read == g_strv_contains((const char *const *)accepted, key),
                          "%s as %s", key, rows[r].wanted);
        }
        ck_assert_int_eq(whole, *key == 'i' ? 5 : -77);
        ck_assert(moe_json_is_null(object, key) == (*key == 'n'));
        if (*key == 'i')
            continue;
        g_autofree char *message =
            g_strdup_printf("t: %s is %s; it must be a whole number", key, members[i].is);
        ck_assert(!moe_json_get_int(object, key, 0, 9, "t", &whole, &error));
        assert_error(&error, MOE_ERROR_INPUT, message);
    }
    ck_assert_ptr_null(moe_json_object(json_object_get_member(object, "l"), "t: l", &error));
    assert_error(&error, MOE_ERROR_INPUT, "t: l: is a list; it must be an object");
    gint64 whole = -77;
    ck_assert(!moe_json_get_int(object, "i", 6, 9, "t", &whole, &error));
    assert_error(&error, MOE_ERROR_INPUT, "t: i is 5; it must be 6 to 9");
    ck_assert_int_eq(whole, -77);
}
END_TEST

START_TEST(prints_what_it_reads)
{
    static const char text[] = "{\n  \"a\" : [\n    1,\n    \"\\u00e9\\\\\\\"\\n\"\n  ],\n"
                               "  \"b\" : null\n}\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeJson) json = moe_json_parse(text, sizeof(text) - 1, "t", &error);
    g_autofree char *printed = moe_json_print(moe_json_root(json));
    ck_assert(g_str_has_prefix(printed, "{\n  \"a\""));
    ck_assert(g_str_has_suffix(printed, "}\n") && !g_str_has_suffix(printed, "\n\n"));
    g_autoptr(MoeJson) again = moe_json_parse(printed, strlen(printed), "t", &error);
    assert_no_error(error);
    g_autoptr(GString) before = g_string_new(NULL), after = g_string_new(NULL);
    dump(json, moe_json_root(json), before);
    dump(again, moe_json_root(again), after);
    ck_assert_str_eq(before->str, after->str);
}
END_TEST

/* json-glib alone prints the first as 1e-06.0. */
START_TEST(prints_numbers_that_are_json)
{
    static const char text[] =
        "[1e-6, 1e+300, 0.1, 2.0, \"1e-6.0 \\\" 1e-6.0\", true, \"\\u001f\"]";
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeJson) json = moe_json_parse(text, sizeof(text) - 1, "t", &error);
    g_autofree char *printed = moe_json_print(moe_json_root(json));
    g_autoptr(MoeJson) again = moe_json_parse(printed, strlen(printed), "t", &error);
    assert_no_error(error);
    JsonArray *array = json_node_get_array(moe_json_root(again));
    static const double expected[] = {1e-6, 1e300, 0.1, 2};
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++)
        ck_assert(json_array_get_double_element(array, i) == expected[i]);
    ck_assert_str_eq(json_array_get_string_element(array, 4), "1e-6.0 \" 1e-6.0");
    ck_assert_str_eq(json_array_get_string_element(array, 6), "\x1f");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("json");
    TCase *tests = tcase_create("json");
    tcase_add_loop_test(tests, accepts_json, 0, (int)G_N_ELEMENTS(good));
    tcase_add_loop_test(tests, refuses_the_rest, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, stops_at_the_length);
    tcase_add_test(tests, bounds_depth);
    tcase_add_test(tests, needs_a_free_noncharacter_for_nul);
    tcase_add_test(tests, loads_bounded_files);
    tcase_add_test(tests, loads_nodes_with_places);
    tcase_add_test(tests, nodes_remember_quotes);
    tcase_add_test(tests, checks_types);
    tcase_add_test(tests, prints_what_it_reads);
    tcase_add_test(tests, prints_numbers_that_are_json);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "sim/base/yaml.h"
#include "tests/unit/harness.h"

#include <string.h>

/* {key: value, ...}, [item, ...], plain or 'quoted' text. */
static void dump(const MoeNode *node, GString *out)
{
    if (node->kind == MOE_NODE_SCALAR) {
        g_string_append_printf(out, node->quoted ? "'%s'" : "%s", node->text);
        return;
    }
    g_string_append_c(out, node->kind == MOE_NODE_MAP ? '{' : '[');
    for (guint i = 0; i < node->items->len; i++) {
        g_string_append(out, i > 0 ? ", " : "");
        if (node->kind == MOE_NODE_MAP) {
            dump(g_ptr_array_index(node->keys, i), out);
            g_string_append(out, ": ");
        }
        dump(g_ptr_array_index(node->items, i), out);
    }
    g_string_append_c(out, node->kind == MOE_NODE_MAP ? '}' : ']');
}

static void assert_dump(const MoeNode *node, const char *wanted)
{
    g_autoptr(GString) text = g_string_new(NULL);
    dump(node, text);
    ck_assert_str_eq(text->str, wanted);
}

static const struct {
    const char *text, *tree;
} good[] = {
    {"a: 1\nb: x y\n", "{a: 1, b: x y}"},
    {"a:\n  b:\n    c: 1\n  d: 2\n", "{a: {b: {c: 1}, d: 2}}"},
    {"- 1\n- [2, 3]\n- {a: 4}\n", "[1, [2, 3], {a: 4}]"},
    {"a: {b: 1, c: [2, {d: 3}]}\n", "{a: {b: 1, c: [2, {d: 3}]}}"},
    /* Scalars stay text, and quotes are remembered. */
    {"a: no\nb: 0x10\nc: 1e3\nd: ~\ne:\nf: null\n", "{a: no, b: 0x10, c: 1e3, d: ~, e: , f: null}"},
    {"a: \"no\"\nb: 'it''s'\nc: \"t\\tab\"\nd: ''\n", "{a: 'no', b: 'it's', c: 't\tab', d: ''}"},
    {"a: |\n  two\n  lines\nb: >-\n  one\n  line\n", "{a: 'two\nlines\n', b: 'one line'}"},
    {"\"a b\": 1\n'c': 2\n", "{'a b': 1, 'c': 2}"},
    {"# a comment\na: 1 # another\n", "{a: 1}"},
    {"---\na: 1\n...\n", "{a: 1}"},
    {"a: \xC3\xA9\xE2\x82\xAC\n", "{a: \xC3\xA9\xE2\x82\xAC}"},
    {"\xEF\xBB\xBF"
     "a: 1\n",
     "{a: 1}"},
    {"a: 1\r\nb: 2\r\n", "{a: 1, b: 2}"},
    {"a: b: c", NULL}, /* no tree: an error, to show that the table can tell */
    {"x", "x"},
    {"a: {}\nb: []\n", "{a: {}, b: []}"},
    {"'<<': 1\n", "{'<<': 1}"},
    {"a: <<\n", "{a: <<}"},
    /* An empty document is an empty map. */
    {"", "{}"},
    {"\n\n", "{}"},
    {"# nothing\n", "{}"},
    {"---\n", "{}"},
    {"---\n...\n", "{}"},
    {"''", "''"},
};

START_TEST(reads_trees)
{
    GError *error = NULL;
    g_autoptr(MoeNode) root = moe_yaml_parse(good[_i].text, strlen(good[_i].text), "t", &error);
    if (good[_i].tree == NULL) {
        assert_error(&error, MOE_ERROR_INPUT, "t:1:");
        return;
    }
    assert_no_error(error);
    assert_dump(root, good[_i].tree);
}
END_TEST

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *text;
    size_t length;
    const char *message;
} bad[] = {
    {BYTES("a: &x 1\n"), "t:1:4: anchors (&) are not supported; write the value again"},
    {BYTES("a: &x [1]\n"), "t:1:4: anchors (&) are not supported"},
    {BYTES("a: &x {b: 1}\n"), "t:1:4: anchors (&) are not supported"},
    {BYTES("&x a: 1\n"), "t:1:1: anchors (&) are not supported"},
    {BYTES("a: 1\nb: *a\n"), "t:2:4: aliases (*) are not supported; write the value again"},
    {BYTES("*a : 1\n"), "t:1:1: a key must be a plain word"},
    {BYTES("a: !!str 1\n"), "t:1:4: tags (!) are not supported; delete the tag"},
    {BYTES("a: !x [1]\n"), "t:1:4: tags (!) are not supported"},
    {BYTES("a: !!map {b: 1}\n"), "t:1:4: tags (!) are not supported"},
    {BYTES("!!str a: 1\n"), "t:1:1: tags (!) are not supported"},
    {BYTES("a:\n  <<: {b: 1}\n"), "t:2:3: merge keys (<<) are not supported; write the keys again"},
    {BYTES("a: 1\n---\nb: 2\n"), "t:2:1: a second document; write one per file"},
    {BYTES("a: 1\nb: 2\na: 3\n"), "t:3:1: a: written twice in one map; delete one of the two"},
    {BYTES("a: 1\n'a': 2\n"), "t:2:1: a: written twice in one map"},
    {BYTES("{a: {b: 1, b: 2}}"), "t:1:12: b: written twice in one map"},
    {BYTES("[a]: 1\n"), "t:1:1: a key must be a plain word"},
    {BYTES("? {a: 1}\n: 2\n"), "t:1:3: a key must be a plain word"},
    {BYTES("a: \"x\\0y\"\n"), "t:1:4: a string must not contain a NUL character"},
    {BYTES("\"x\\0y\": 1\n"), "t:1:1: a string must not contain a NUL character"},
    {BYTES("a: x\0y\n"), "t: byte 4: "},
    {BYTES("a: \xFF\n"), "t: byte 3: "},
    {BYTES("a: \xED\xA0\x80\n"), "t: byte 3: "},
    {BYTES("a: [1, 2\nb: 3\n"), "t:2:"},
    {BYTES("a: {b: 1"), "t:"},
    {BYTES("a: 'x\n"), "t:2:1: "},
    {BYTES("a: \"\\q\"\n"), "t:1:"},
    {BYTES("a:\n\t- 1\n"), "t:2:1: "},
    {BYTES("a: 1\n  b: 2\n"), "t:2:4: "},
    {BYTES("a: 1\n- 2\n"), "t:2:1: "},
    {BYTES("a: @b\n"), "t:1:4: "},
    {BYTES("a: %b\n"), "t:1:4: "},
    {BYTES("%YAML 9.9\n---\na: 1\n"), "t:1:1: "},
};

START_TEST(refuses_the_rest)
{
    GError *error = NULL;
    ck_assert_ptr_null(moe_yaml_parse(bad[_i].text, bad[_i].length, "t", &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

static void assert_place(const MoeNode *node, int line, int column)
{
    ck_assert_str_eq(node->file, "marks.yaml");
    ck_assert_int_eq(node->line, line);
    ck_assert_int_eq(node->column, column);
}

START_TEST(marks_places)
{
    static const char text[] = "a: 1\n"
                               "long:\n"
                               "  - x\n"
                               "  - {\xC3\xA9: y}\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeNode) root = moe_yaml_parse(text, sizeof(text) - 1, "marks.yaml", &error);
    assert_no_error(error);
    assert_place(root, 1, 1);
    assert_place(g_ptr_array_index(root->keys, 1), 2, 1);
    assert_place(moe_node_get(root, "a"), 1, 4);
    const MoeNode *list = moe_node_get(root, "long");
    assert_place(list, 3, 3);
    assert_place(g_ptr_array_index(list->items, 0), 3, 5);
    const MoeNode *map = g_ptr_array_index(list->items, 1);
    assert_place(map, 4, 5);
    assert_place(g_ptr_array_index(map->keys, 0), 4, 6);
    assert_place(moe_node_get(map, "\xC3\xA9"), 4, 9); /* columns count characters */
    ck_assert_ptr_null(moe_node_get(root, "b"));
    ck_assert_ptr_null(moe_node_get(list, "a"));
    ck_assert_ptr_null(moe_node_get(NULL, "a"));
}
END_TEST

static char *nested(int depth)
{
    g_autofree char *open = g_strnfill((gsize)depth, '['), *close = g_strnfill((gsize)depth, ']');
    return g_strconcat(open, close, NULL);
}

START_TEST(bounds_depth)
{
    GError *error = NULL;
    g_autofree char *deepest = nested(32), *deeper = nested(33), *deep = nested(100000);
    g_autoptr(MoeNode) root = moe_yaml_parse(deepest, strlen(deepest), "t", &error);
    assert_no_error(error);
    ck_assert_ptr_nonnull(root);
    ck_assert_ptr_null(moe_yaml_parse(deeper, strlen(deeper), "t", &error));
    assert_error(&error, MOE_ERROR_INPUT, "t:1:33: nested deeper than 32 levels");
    ck_assert_ptr_null(moe_yaml_parse(deep, strlen(deep), "t", &error));
    assert_error(&error, MOE_ERROR_INPUT, "nested deeper than 32 levels");
}
END_TEST

START_TEST(bounds_keys)
{
    GError *error = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    for (int i = 0; i < 10000; i++)
        g_string_append_printf(text, "k%d: 1\n", i);
    g_autoptr(MoeNode) root = moe_yaml_parse(text->str, text->len, "t", &error);
    assert_no_error(error);
    ck_assert_uint_eq(root->keys->len, 10000);
    g_string_append(text, "last: 1\n");
    ck_assert_ptr_null(moe_yaml_parse(text->str, text->len, "t", &error));
    assert_error(&error, MOE_ERROR_INPUT, "t:10001:1: more than 10000 keys in one map");
}
END_TEST

START_TEST(bounds_size)
{
    GError *error = NULL;
    const size_t limit = 16 << 20;
    g_autofree char *text = g_strnfill(limit + 1, '\n');
    g_autoptr(MoeNode) root = moe_yaml_parse(text, limit, "t", &error);
    assert_no_error(error);
    ck_assert_ptr_nonnull(root);
    ck_assert_ptr_null(moe_yaml_parse(text, limit + 1, "t", &error));
    assert_error(&error, MOE_ERROR_INPUT, "t: larger than 16 MiB");
    g_autofree char *path = test_file("large.yaml", text, (gssize)limit + 1);
    ck_assert_ptr_null(moe_yaml_load(path, &error));
    assert_error(&error, MOE_ERROR_INPUT, "large.yaml: larger than 16777216 bytes");
}
END_TEST

START_TEST(loads_files)
{
    GError *error = NULL;
    g_autofree char *path = test_file("small.yaml", "a: [1, 2]\n", -1);
    g_autoptr(MoeNode) root = moe_yaml_load(path, &error);
    assert_no_error(error);
    assert_dump(root, "{a: [1, 2]}");
    g_autofree char *broken = test_file("broken.yaml", "a: 1\na: 2\n", -1);
    ck_assert_ptr_null(moe_yaml_load(broken, &error));
    assert_error(&error, MOE_ERROR_INPUT, "broken.yaml:2:1: a: written twice");
    g_autofree char *missing = g_build_filename(test_folder(), "none.yaml", NULL);
    ck_assert_ptr_null(moe_yaml_load(missing, &error));
    assert_error(&error, MOE_ERROR_INPUT, "none.yaml: cannot be read: ");
}
END_TEST

/* --- nodes ----------------------------------------------------------------------------------- */

START_TEST(builds_by_hand)
{
    GError *error = NULL;
    g_autoptr(MoeNode) map = moe_node_new(MOE_NODE_MAP, NULL, "hand", 0, 0);
    for (int i = 0; i < 2; i++) {
        MoeNode *key = moe_node_new(MOE_NODE_SCALAR, "k", "hand", 2, 3);
        MoeNode *item = moe_node_new(MOE_NODE_SCALAR, "v", "hand", 2, 6);
        ck_assert(moe_node_append_take(map, key, item, &error) == (i == 0));
    }
    assert_error(&error, MOE_ERROR_INPUT, "hand:2:3: k: written twice");
    assert_dump(map, "{k: v}");
    ck_assert(!moe_node_fail(map, &error, "%d", 5));
    assert_error(&error, MOE_ERROR_INPUT, "hand: 5"); /* its place is not known */
    moe_fail(&error, MOE_ERROR_INPUT, "too small");
    moe_node_prefix(moe_node_get(map, "k"), "k", &error);
    assert_error(&error, MOE_ERROR_INPUT, "hand:2:6: k: too small");
    moe_node_free(NULL);
}
END_TEST

START_TEST(knows_null_and_names)
{
    static const struct {
        const char *text;
        gboolean null;
        const char *name;
    } rows[] = {
        {"a: ", TRUE, "nothing"},     {"a: ~", TRUE, "nothing"}, {"a: null", TRUE, "nothing"},
        {"a: ''", FALSE, "''"},       {"a: '~'", FALSE, "'~'"},  {"a: \"null\"", FALSE, "'null'"},
        {"a: Null", FALSE, "'Null'"}, {"a: 1", FALSE, "'1'"},    {"a: []", FALSE, "a list"},
        {"a: {}", FALSE, "a map"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(MoeNode) root = moe_yaml_parse(rows[i].text, strlen(rows[i].text), "t", NULL);
        const MoeNode *node = moe_node_get(root, "a");
        ck_assert_msg(moe_node_is_null(node) == rows[i].null, "%s", rows[i].text);
        g_autofree char *name = moe_node_describe(node);
        ck_assert_str_eq(name, rows[i].name);
    }
}
END_TEST

static const char *shorthand(const char *path)
{
    return strcmp(path, "topology") == 0 ? "preset" : strcmp(path, "a.b") == 0 ? "kind" : NULL;
}

static const struct {
    const char *before, *assignment, *after;
} set[] = {
    {"a: 1", "a=2", "{a: 2}"},
    {"a: 1", "b=2", "{a: 1, b: 2}"},
    {"a: {b: 1}", "a.b=2", "{a: {b: 2}}"},
    {"a: {b: 1}", "a.c=2", "{a: {b: 1, c: 2}}"},
    {"", "a.b.c=2", "{a: {b: {c: 2}}}"},
    {"a: ~", "a.b=2", "{a: {b: 2}}"},
    {"a:", "a.b=2", "{a: {b: 2}}"},
    {"a: 1", "a=", "{a: }"},
    {"a: 1", "a=x=y", "{a: x=y}"}, /* the first '=' counts */
    {"a: 1", "a= b", "{a:  b}"},
    {"a: 1", "a='b'", "{a: 'b'}"}, /* text, not YAML */
    {"a: 1", "a=[1, {b: 2}]", "{a: [1, {b: 2}]}"},
    {"a: [1]", "a={b: 2}", "{a: {b: 2}}"},
    {"a: {b: 1}", "a=3", "{a: 3}"},
    /* A scalar that has a shorthand keeps its meaning. */
    {"topology: h800", "topology.nodes=4", "{topology: {preset: h800, nodes: 4}}"},
    {"topology: '4'", "topology.nodes=4", "{topology: {preset: '4', nodes: 4}}"},
    {"topology: h800", "topology.preset=a100", "{topology: {preset: a100}}"},
    {"a: {b: x}", "a.b.c=1", "{a: {b: {kind: x, c: 1}}}"},
};

START_TEST(sets_values)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeNode) root = moe_yaml_parse(set[_i].before, strlen(set[_i].before), "t", &error);
    ck_assert(moe_node_set(root, set[_i].assignment, shorthand, &error));
    assert_no_error(error);
    assert_dump(root, set[_i].after);
}
END_TEST

static const struct {
    const char *assignment;
    MoeErrorCode code;
    const char *message;
} bad_set[] = {
    {"a", MOE_ERROR_USAGE, "--set: 'a' is not key=value; write for example --set plan.expert=64"},
    {"", MOE_ERROR_USAGE, "--set: '' is not key=value"},
    {"=1", MOE_ERROR_USAGE, "--set: '=1' is not key=value"},
    {".a=1", MOE_ERROR_USAGE, "--set: '.a' has an empty key"},
    {"a.=1", MOE_ERROR_USAGE, "--set: 'a.' has an empty key"},
    {"new..key=1", MOE_ERROR_USAGE, "--set: 'new..key' has an empty key"},
    {"a.b=1", MOE_ERROR_USAGE, "--set: 'a' is '1' and has no keys of its own"},
    {"list.b=1", MOE_ERROR_USAGE, "--set: 'list' is a list and has no keys of its own"},
    {"new.key=[1", MOE_ERROR_INPUT, "--set new.key:2:1: "},
    {"new.key={b: &x 1}", MOE_ERROR_INPUT, "--set new.key:1:5: anchors"},
    {"a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=1", MOE_ERROR_USAGE,
     "more than 32 keys"},
};

START_TEST(refuses_bad_assignments)
{
    static const char text[] = "a: 1\nlist: [1]\n";
    GError *error = NULL;
    g_autoptr(MoeNode) root = moe_yaml_parse(text, sizeof(text) - 1, "t", &error);
    ck_assert(!moe_node_set(root, bad_set[_i].assignment, NULL, &error));
    assert_error(&error, bad_set[_i].code, bad_set[_i].message);
    assert_dump(root, "{a: 1, list: [1]}");
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("yaml");
    TCase *tests = tcase_create("yaml");
    tcase_set_timeout(tests, 60); /* 16 MiB are read, under sanitizers too */
    tcase_add_loop_test(tests, reads_trees, 0, (int)G_N_ELEMENTS(good));
    tcase_add_loop_test(tests, refuses_the_rest, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, marks_places);
    tcase_add_test(tests, bounds_depth);
    tcase_add_test(tests, bounds_keys);
    tcase_add_test(tests, bounds_size);
    tcase_add_test(tests, loads_files);
    tcase_add_test(tests, builds_by_hand);
    tcase_add_test(tests, knows_null_and_names);
    tcase_add_loop_test(tests, sets_values, 0, (int)G_N_ELEMENTS(set));
    tcase_add_loop_test(tests, refuses_bad_assignments, 0, (int)G_N_ELEMENTS(bad_set));
    suite_add_tcase(suite, tests);
    return suite;
}

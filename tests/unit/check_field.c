#include "config.h"

#include "sim/base/field.h"
#include "sim/base/json.h"
#include "sim/base/yaml.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

typedef struct {
    gint64 per_node;
    double rate;
} Inner;

/* One member of every kind. */
typedef struct {
    gboolean flag;
    gint64 count, maybe;
    double factor, share, delay, unset_number;
    char *text, *unset_text;
    int choice;
    GArray *numbers;
    char **names;
    Inner inner;
    const MoeNode *node;
} Thing;

static const char *const *colours(void)
{
    static const char *const names[] = {"red", "green", "blue", NULL};
    return names;
}

#define AT(member) offsetof(Thing, member)

static const MoeField inner_fields[] = {
    {"per_node", MOE_FIELD_INT, offsetof(Inner, per_node), "8", .min = 0, .max = 64,
     .doc = "how many"},
    {"rate", MOE_FIELD_QUANTITY, offsetof(Inner, rate), "", .unit = MOE_UNIT_RATE, .min = 1e9,
     .max = 1e12, .doc = "of each"},
    {NULL},
};

static const MoeField fields[] = {
    {"flag", MOE_FIELD_BOOL, AT(flag), "true", .doc = "a truth"},
    {"count", MOE_FIELD_INT, AT(count), .min = 1, .max = 4096, .doc = "write how many"},
    {"maybe", MOE_FIELD_INT, AT(maybe), MOE_FIELD_UNSET, .min = 1, .doc = "perhaps"},
    {"factor", MOE_FIELD_NUMBER, AT(factor), "1.5", .min = -2, .max = 2, .doc = "a factor"},
    {"share", MOE_FIELD_QUANTITY, AT(share), "50%", .unit = MOE_UNIT_RATIO, .max = 1,
     .doc = "a share"},
    {"delay", MOE_FIELD_QUANTITY, AT(delay), "2us", .unit = MOE_UNIT_TIME, .doc = "a time"},
    {"unset_number", MOE_FIELD_NUMBER, AT(unset_number), "", .max = 9, .doc = "a number"},
    {"text", MOE_FIELD_STRING, AT(text), "hello", .doc = "a text"},
    {"unset_text", MOE_FIELD_STRING, AT(unset_text), "", .doc = "a text"},
    {"choice", MOE_FIELD_CHOICE, AT(choice), "green", .choices = colours, .doc = "a colour"},
    {"numbers", MOE_FIELD_INTS, AT(numbers), "", .max = 63, .doc = "some numbers"},
    {"names", MOE_FIELD_STRINGS, AT(names), "", .doc = "some names"},
    {"inner", MOE_FIELD_MAP, AT(inner), .fields = inner_fields, .shorthand = "per_node"},
    {"node", MOE_FIELD_NODE, AT(node), "", .doc = "anything"},
    {"anything", MOE_FIELD_IGNORED, .doc = "skipped"},
    {NULL},
};

static gboolean read_text(const char *text, Thing *thing, MoeNode **root_out, GError **error)
{
    *root_out = moe_yaml_parse(text, strlen(text), "t", error);
    assert_no_error(error != NULL ? *error : NULL);
    return moe_fields_read(fields, *root_out, "thing", thing, error);
}

START_TEST(fills_in_defaults)
{
    GError *error = NULL;
    Thing thing = {0};
    g_autoptr(MoeNode) root = NULL;
    ck_assert(read_text("count: 7", &thing, &root, &error));
    assert_no_error(error);
    ck_assert(thing.flag);
    ck_assert_int_eq(thing.count, 7);
    ck_assert_int_eq(thing.maybe, 0);
    ck_assert(thing.factor == 1.5 && thing.share == 0.5);
    assert_close(thing.delay, 2e-6, 1e-15);
    ck_assert(isnan(thing.unset_number) && isnan(thing.inner.rate));
    ck_assert_str_eq(thing.text, "hello");
    ck_assert_ptr_null(thing.unset_text);
    ck_assert_int_eq(thing.choice, 1);
    ck_assert(thing.numbers == NULL && thing.names == NULL && thing.node == NULL);
    ck_assert_int_eq(thing.inner.per_node, 8);
    moe_fields_clear(fields, &thing);
    ck_assert_ptr_null(thing.text);
}
END_TEST

START_TEST(reads_every_kind)
{
    static const char text[] = "flag: false\ncount: 4.096e3\nmaybe: 1\nfactor: -2\nshare: 0.25\n"
                               "delay: 3 ms\nunset_number: 9\ntext: 'no'\nunset_text: ''\n"
                               "choice: blue\nnumbers: [0, 63]\nnames: [a, 'b c', 1]\n"
                               "inner: {per_node: 0, rate: 400Gbps}\nnode: [x]\nanything: {y: 1}\n";
    GError *error = NULL;
    Thing thing = {0};
    g_autoptr(MoeNode) root = NULL;
    ck_assert(read_text(text, &thing, &root, &error));
    assert_no_error(error);
    ck_assert(!thing.flag && thing.count == 4096 && thing.maybe == 1 && thing.factor == -2);
    ck_assert(thing.share == 0.25 && thing.unset_number == 9 && thing.choice == 2);
    assert_close(thing.delay, 3e-3, 1e-15);
    ck_assert_str_eq(thing.text, "no");
    ck_assert_str_eq(thing.unset_text, "");
    ck_assert_uint_eq(thing.numbers->len, 2);
    ck_assert_int_eq(g_array_index(thing.numbers, gint64, 1), 63);
    ck_assert_uint_eq(g_strv_length(thing.names), 3);
    ck_assert_str_eq(thing.names[1], "b c");
    ck_assert_int_eq(thing.inner.per_node, 0);
    assert_close(thing.inner.rate, 50e9, 1e-15);
    ck_assert_ptr_eq(thing.node, moe_node_get(root, "node"));
    moe_fields_clear(fields, &thing);
    ck_assert(thing.numbers == NULL && thing.names == NULL && thing.unset_text == NULL);
}
END_TEST

/* A null is an absent key; so is a null map. */
START_TEST(null_is_absent)
{
    GError *error = NULL;
    Thing thing = {0};
    g_autoptr(MoeNode) root = NULL;
    ck_assert(read_text("count: 1\nflag: ~\ntext:\nnumbers: null\nnode: ~\ninner:\n", &thing, &root,
                        &error));
    assert_no_error(error);
    ck_assert(thing.flag && thing.numbers == NULL && thing.node == NULL);
    ck_assert_str_eq(thing.text, "hello");
    ck_assert_int_eq(thing.inner.per_node, 8);
    moe_fields_clear(fields, &thing);
}
END_TEST

START_TEST(reads_shorthands)
{
    GError *error = NULL;
    Thing thing = {0};
    g_autoptr(MoeNode) root = NULL;
    ck_assert(read_text("count: 1\ninner: 4\n", &thing, &root, &error));
    assert_no_error(error);
    ck_assert_int_eq(thing.inner.per_node, 4);
    ck_assert(isnan(thing.inner.rate));
    moe_fields_clear(fields, &thing);
    ck_assert_str_eq(moe_fields_shorthand(fields, "inner"), "per_node");
    ck_assert_ptr_null(moe_fields_shorthand(fields, "inner.rate"));
    ck_assert_ptr_null(moe_fields_shorthand(fields, "inne"));
    ck_assert_ptr_null(moe_fields_shorthand(fields, "count"));
    ck_assert_ptr_null(moe_fields_shorthand(fields, "count.x"));
    ck_assert_ptr_null(moe_fields_shorthand(fields, ""));
}
END_TEST

/* Every row but the last few has a good count, text and list before or behind the fault, so that
 * what was read already must be freed again. */
static const struct {
    const char *text, *message;
} bad[] = {
    {"text: x\n", "t:1:1: count: missing; write how many"},
    {"count: ~\n", "t:1:1: count: missing; write how many"},
    {"count: 0\ntext: x\n", "t:1:8: count: '0' is out of range; write a value from 1 to 4096"},
    {"count: 4097\n", "t:1:8: count: '4097' is out of range; write a value from 1 to 4096"},
    {"count: 1.5\n", "t:1:8: count: '1.5' is not a whole number"},
    {"count: 0x10\n", "t:1:8: count: '0x10' is not a number"},
    {"count: ''\n", "t:1:8: count: '' is not a number"},
    {"count: [1]\n", "t:1:8: count: a list where a single value belongs"},
    {"count: {a: 1}\n", "t:1:8: count: a map where a single value belongs"},
    {"count: 1\nmaybe: 0\n", "t:2:8: maybe: '0' is too small; the least is 1"},
    {"count: 1\nmaybe: 9007199254740993\n", "t:2:8: maybe: '9007199254740993' is too large; "
                                            "the most is 9007199254740991"},
    {"count: 9999999999999999999999\n", "t:1:8: count: '9999999999999999999999' is out of range; "
                                        "write a value from 1 to 4096"},
    {"count: -1e22\n", "t:1:8: count: '-1e22' is out of range; write a value from 1 to 4096"},
    {"count: 1\nflag: yes\n", "t:2:7: flag: 'yes' is not a truth value; write true or false"},
    {"count: 1\nflag: True\n", "t:2:7: flag: 'True' is not a truth value; write true or false"},
    {"count: 1\nfactor: 2.5\n", "t:2:9: factor: '2.5' is out of range; write a value from -2 to 2"},
    {"count: 1\nfactor: nan\n", "t:2:9: factor: 'nan' is not a number"},
    {"count: 1\nfactor: 1e999\n", "t:2:9: factor: '1e999' is too large for a number"},
    {"count: 1\nshare: 110%\n", "t:2:8: share: '110%' is out of range; write a value from 0% to "
                                "100%"},
    {"count: 1\nshare: 1.1\n", "t:2:8: share: '1.1' is out of range; write a value from 0 to 1"},
    {"count: 1\ndelay: 3\n", "t:2:8: delay: '3' has no unit; write 3us or 3ms"},
    {"count: 1\ndelay: -3us\n", "t:2:8: delay: '-3us' is negative"},
    {"count: 1\nchoice: gren\n", "t:2:9: choice: 'gren' is not known; did you mean green? (red, "
                                 "green, blue)"},
    {"count: 1\nchoice: x-ray\n", "t:2:9: choice: 'x-ray' is not known; write one of: red, green, "
                                  "blue"},
    {"count: 1\nchoice: 1\n", "t:2:9: choice: '1' is not known"},
    {"text: x\ncount: 1\nnumbers: 5\n", "t:3:10: numbers: '5' is not a list; write [a, b, ...]"},
    {"count: 1\nnumbers: {a: 5}\n", "t:2:10: numbers: a map is not a list"},
    {"count: 1\nnumbers: [1, 64]\n", "t:2:14: numbers: '64' is out of range"},
    {"count: 1\nnumbers: [1, -1]\n", "t:2:14: numbers: '-1' is out of range"},
    {"count: 1\nnumbers: [1, [2]]\n", "t:2:14: numbers: a list or map inside the list"},
    {"count: 1\nnames: [a, {b: 1}]\n", "t:2:12: names: a list or map inside the list"},
    {"count: 1\nnumbers: [1]\nnames: [a]\ninner: {rate: 5}\n",
     "t:4:15: rate: '5' has no unit; write 5Gbps (bits) or 5GBps (bytes)"},
    {"count: 1\nnames: [a]\ninner: {rate: 1kBps}\n",
     "t:3:15: rate: '1kBps' is out of range; write a value from 1.000 GB/s to 1.000 TB/s"},
    {"count: 1\ninner: {pre_node: 5}\n", "t:2:9: pre_node: unknown key; did you mean per_node?"},
    {"count: 1\ninner: [5]\n", "t:2:8: inner: a list where keys and values belong"},
    {"count: 1\ninner: 65\n", "t:2:8: per_node: '65' is out of range"},
    {"count: 1\ninner: '~'\n", "t:2:8: per_node: '~' is not a number"},
    {"count: 1\nconut: 2\n", "t:2:1: conut: unknown key; did you mean count?"},
    {"count: 1\nCount: 2\n", "t:2:1: Count: unknown key; did you mean count?"},
    {"count: 1\nxyzzy: 2\n", "t:2:1: xyzzy: unknown key; the keys here are: flag, count, maybe, "},
    {"count: 1\n'': 2\n", "t:2:1: : unknown key"},
    {"[1]", "t:1:1: thing: a list where keys and values belong"},
    {"word", "t:1:1: thing: 'word' where keys and values belong"},
};

START_TEST(refuses_bad_values)
{
    GError *error = NULL;
    Thing thing = {0};
    g_autoptr(MoeNode) root = NULL;
    ck_assert(!read_text(bad[_i].text, &thing, &root, &error));
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
    ck_assert(thing.text == NULL && thing.unset_text == NULL && thing.numbers == NULL &&
              thing.names == NULL);
}
END_TEST

/* Without a place to point to, the name says what lacks the key. */
START_TEST(reads_without_a_node)
{
    GError *error = NULL;
    Thing thing = {0};
    ck_assert(!moe_fields_read(fields, NULL, "thing", &thing, &error));
    assert_error(&error, MOE_ERROR_INPUT, "thing: count: missing; write how many");
    Inner inner = {0};
    ck_assert(moe_fields_read(inner_fields, NULL, "inner", &inner, &error));
    assert_no_error(error);
    ck_assert_int_eq(inner.per_node, 8);
}
END_TEST

START_TEST(prints_resolved_values)
{
    GError *error = NULL;
    Thing thing = {0};
    g_autoptr(MoeNode) root = NULL;
    ck_assert(read_text("count: 3\nnumbers: [1, 2]\nnames: [a]\ninner: {rate: 8Gbps}\nnode: x\n"
                        "anything: 1\n",
                        &thing, &root, &error));
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    moe_fields_to_json(fields, &thing, builder);
    json_builder_end_object(builder);
    g_autoptr(JsonNode) json = json_builder_get_root(builder);
    JsonObject *object = json_node_get_object(json);
    ck_assert(json_object_get_boolean_member(object, "flag"));
    ck_assert_int_eq(json_object_get_int_member(object, "count"), 3);
    ck_assert(json_object_get_double_member(object, "factor") == 1.5);
    assert_close(json_object_get_double_member(object, "delay"), 2e-6, 1e-15);
    ck_assert_str_eq(json_object_get_string_member(object, "text"), "hello");
    ck_assert_str_eq(json_object_get_string_member(object, "choice"), "green");
    JsonArray *numbers = json_object_get_array_member(object, "numbers");
    ck_assert_int_eq(json_array_get_int_element(numbers, 1), 2);
    JsonArray *names = json_object_get_array_member(object, "names");
    ck_assert_str_eq(json_array_get_string_element(names, 0), "a");
    JsonObject *inner = json_object_get_object_member(object, "inner");
    ck_assert(json_object_get_double_member(inner, "rate") == 1e9);
    static const char *const absent[] = {"maybe", "unset_number", "unset_text", "node", "anything"};
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
        ck_assert_msg(!json_object_has_member(object, absent[i]), "%s", absent[i]);
    moe_fields_clear(fields, &thing);
}
END_TEST

START_TEST(describes_every_key)
{
    static const struct {
        const char *name, *value, *fallback;
    } rows[] = {
        {"flag", "true or false", "true"},
        {"count", "whole number", "required"},
        {"maybe", "whole number", "-"},
        {"factor", "number", "1.5"},
        {"share", "ratio (0.9, 90%)", "50%"},
        {"delay", "time (us, ms)", "2us"},
        {"text", "text", "hello"},
        {"choice", "red | green | blue", "green"},
        {"numbers", "list of whole numbers", "-"},
        {"names", "list of texts", "-"},
        {"inner.per_node", "whole number", "8"},
        {"inner.rate", "rate (Gbps, GBps)", "-"},
        {"node", "name or map", "-"},
    };
    g_autoptr(GString) text = g_string_new(NULL);
    moe_fields_describe(fields, text);
    g_auto(GStrv) lines = g_strsplit(text->str, "\n", -1);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *wanted =
            g_strdup_printf("  %-32s %-22s %-14s ", rows[i].name, rows[i].value, rows[i].fallback);
        gboolean found = FALSE;
        for (guint l = 0; lines[l] != NULL; l++)
            found = found || g_str_has_prefix(lines[l], wanted);
        ck_assert_msg(found, "no line begins with '%s' in:\n%s", wanted, text->str);
    }
    ck_assert_ptr_null(strstr(text->str, "  inner "));
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("field");
    TCase *tests = tcase_create("field");
    tcase_add_test(tests, fills_in_defaults);
    tcase_add_test(tests, reads_every_kind);
    tcase_add_test(tests, null_is_absent);
    tcase_add_test(tests, reads_shorthands);
    tcase_add_loop_test(tests, refuses_bad_values, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, reads_without_a_node);
    tcase_add_test(tests, prints_resolved_values);
    tcase_add_test(tests, describes_every_key);
    suite_add_tcase(suite, tests);
    return suite;
}

#include "config.h"

#include "models/vocabulary.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

#define LOW "\xE2\x96\x81" /* U+2581, SentencePiece's space */

static char *encode(const MoeTokenizer *tokenizer, const char *text, gboolean special)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    ck_assert(moe_tokenizer_encode(tokenizer, text, strlen(text), special, ids, &error));
    GString *all = g_string_new(NULL);
    for (guint i = 0; i < ids->len; i++)
        g_string_append_printf(all, "%s%u", i > 0 ? " " : "", g_array_index(ids, guint32, i));
    return g_string_free(all, FALSE);
}

/* --- byte-level BPE -------------------------------------------------------------------------- */

static const char *const letters[] = {"a",  "b",  "1",     "\xC4\xA0", "\xC3\x83", "\xC2\xA9",
                                      "ab", "11", "<|x|>", "<y>",      ""};
static const gint32 letter_types[] = {1, 1, 1, 1, 1, 1, 1, 1, 3, 4, 5};
static const char *const merges[] = {"a b", "1 1"};

static MoeVocabulary gpt2(const char *pre)
{
    return (MoeVocabulary){.name = "m.gguf",
                           .model = "gpt2",
                           .pre = pre,
                           .tokens = letters,
                           .types = letter_types,
                           .n = G_N_ELEMENTS(letters),
                           .merges = merges,
                           .n_merges = G_N_ELEMENTS(merges),
                           .bos = 8,
                           .eos = -1,
                           .unknown = -1,
                           .add_bos = MOE_FLAG_ABSENT,
                           .add_eos = MOE_FLAG_ABSENT,
                           .add_space_prefix = MOE_FLAG_ABSENT};
}

static const struct {
    const char *pre, *text, *ids, *special;
} cuts[] = {
    {"gpt-2", "ab 111", "6 3 7 2", "6 3 7 2"},
    {"starcoder", "ab 111", "6 3 2 2 2", "6 3 2 2 2"}, /* digits alone */
    {"qwen2", "11", "2 2", "2 2"},
    {"llama-bpe", "1111", "7 2 2", "8 7 2 2"}, /* three digits at a time; a beginning is added */
    {"dbrx", "1111", "7 2 2", "7 2 2"},
    {"glm4", "1111", "7 2 2", "7 2 2"},
    {"gpt-4o", "ab1111", "6 7 2 2", "6 7 2 2"},
    {"minimax-m2", "1111", "7 2 2", "7 2 2"},
    {"deepseek-v3", "1111", "7 2 2", "7 2 2"},
    {"deepseek-llm", "1111", "7 7", "7 7"},
    {"deepseek-coder", "11", "2 2", "2 2"},
    {"hunyuan", "11", "2 2", "2 2"},
    {"bailingmoe2", "11", "2 2", "2 2"},
    {"kimi-k2", "ab1111", "6 7 2 2", "6 7 2 2"},
    {"tekken", "11", "2 2", "8 2 2"},
    {"gpt-2", "a<|x|><y>b", "0 8 9 1", "0 8 9 1"}, /* found as they are written */
    {"gpt-2", "\xC3\xA9", "4 5", "4 5"},
    {"olmo", "\xE2\x84\xAB", "4", "4"}, /* U+212B composes to U+00C5, bytes C3 85 */
};

START_TEST(cuts_as_pre_says)
{
    g_autoptr(GError) error = NULL;
    MoeVocabulary vocabulary = gpt2(cuts[_i].pre);
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_from_vocabulary(&vocabulary, &error);
    assert_no_error(error);
    g_autofree char *ids = encode(tokenizer, cuts[_i].text, FALSE);
    ck_assert_str_eq(ids, cuts[_i].ids);
    g_autofree char *special = encode(tokenizer, cuts[_i].text, TRUE);
    ck_assert_str_eq(special, cuts[_i].special);
    ck_assert(moe_tokenizer_is_special(tokenizer, 8) && !moe_tokenizer_is_special(tokenizer, 9));
    ck_assert_uint_eq(moe_tokenizer_size(tokenizer), G_N_ELEMENTS(letters));
    g_autoptr(GString) bytes = g_string_new(NULL);
    moe_tokenizer_token_bytes(tokenizer, 4, TRUE, bytes);
    ck_assert_str_eq(bytes->str, "\xC3");
}
END_TEST

/* --- SentencePiece by score ------------------------------------------------------------------ */

static const char *const pieces[] = {"<unk>", "<s>", "</s>",  "<0x78>", LOW,   "a",  "b",
                                     "ab",    "ba",  LOW "a", "aa",     "caa", "<u>"};
static const float scores[] = {0, 0, 0, 0, -9, -9, -9, -2, -2, -3, -1, -0.5F, 0};
static const gint32 piece_types[] = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1, 4};

static MoeVocabulary llama(void)
{
    return (MoeVocabulary){.name = "m.gguf",
                           .model = "llama",
                           .tokens = pieces,
                           .types = piece_types,
                           .scores = scores,
                           .n = G_N_ELEMENTS(pieces),
                           .bos = 1,
                           .eos = 2,
                           .unknown = 0,
                           .add_bos = MOE_FLAG_ABSENT,
                           .add_eos = MOE_FLAG_ABSENT,
                           .add_space_prefix = MOE_FLAG_ABSENT};
}

static const struct {
    const char *text;
    MoeFlag prefix, eos;
    const char *ids;
} scored[] = {
    {"a", MOE_FLAG_ABSENT, MOE_FLAG_ABSENT, "1 9"},
    {"a", MOE_FLAG_OFF, MOE_FLAG_ON, "1 5 2"},
    {"", MOE_FLAG_ON, MOE_FLAG_OFF, "1"},
    {"aba", MOE_FLAG_OFF, MOE_FLAG_OFF, "1 7 5"},     /* ab and ba have one score: the left one */
    {"baab", MOE_FLAG_OFF, MOE_FLAG_OFF, "1 6 10 6"}, /* aa first */
    {"caa", MOE_FLAG_OFF, MOE_FLAG_OFF, "1 11"},      /* c is no token, but part of one */
    {"cxa", MOE_FLAG_OFF, MOE_FLAG_OFF, "1 0 3 5"},   /* no byte token for c, one for x */
    {"a<u>a", MOE_FLAG_ON, MOE_FLAG_OFF, "1 9 12 9"},
    {"a a", MOE_FLAG_OFF, MOE_FLAG_OFF, "1 5 9"},
};

START_TEST(merges_by_score)
{
    g_autoptr(GError) error = NULL;
    MoeVocabulary vocabulary = llama();
    vocabulary.add_space_prefix = scored[_i].prefix;
    vocabulary.add_eos = scored[_i].eos;
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_from_vocabulary(&vocabulary, &error);
    assert_no_error(error);
    g_autofree char *ids = encode(tokenizer, scored[_i].text, TRUE);
    ck_assert_str_eq(ids, scored[_i].ids);
    g_autoptr(GString) bytes = g_string_new(NULL);
    moe_tokenizer_token_bytes(tokenizer, 9, FALSE, bytes);
    moe_tokenizer_token_bytes(tokenizer, 3, FALSE, bytes);
    ck_assert_str_eq(bytes->str, " ax");
}
END_TEST

/* The same by a search through all neighbours in every round. */
static void merge_ref(GPtrArray *parts)
{
    for (;;) {
        float best = -INFINITY;
        guint at = 0;
        for (guint i = 0; i + 1 < parts->len; i++) {
            g_autofree char *both = g_strconcat(parts->pdata[i], parts->pdata[i + 1], NULL);
            for (size_t id = 0; id < G_N_ELEMENTS(pieces); id++)
                if (strcmp(pieces[id], both) == 0 && scores[id] > best) {
                    best = scores[id];
                    at = i;
                }
        }
        if (isinf(best))
            return;
        char *both = g_strconcat(parts->pdata[at], parts->pdata[at + 1], NULL);
        g_free(parts->pdata[at]);
        parts->pdata[at] = both;
        g_ptr_array_remove_index(parts, at + 1);
    }
}

START_TEST(agrees_with_a_search_by_hand)
{
    g_autoptr(GError) error = NULL;
    MoeVocabulary vocabulary = llama();
    vocabulary.add_space_prefix = MOE_FLAG_OFF;
    g_autoptr(MoeTokenizer) tokenizer = moe_tokenizer_from_vocabulary(&vocabulary, &error);
    assert_no_error(error);
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    for (int round = 0; round < 200; round++) {
        g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GString) text = g_string_new(NULL), ids = g_string_new(NULL);
        for (int i = g_rand_int_range(rand, 1, 30); i > 0; i--) {
            static const char *const some[] = {"a", "b", "c", LOW, "a"};
            const char *part = some[g_rand_int_range(rand, 0, G_N_ELEMENTS(some))];
            g_ptr_array_add(parts, g_strdup(part));
            g_string_append(text, strcmp(part, LOW) == 0 ? " " : part);
        }
        merge_ref(parts);
        for (guint i = 0; i < parts->len; i++) {
            size_t id = 0;
            while (id < G_N_ELEMENTS(pieces) && strcmp(pieces[id], parts->pdata[i]) != 0)
                id++;
            g_string_append_printf(ids, "%s%zu", i > 0 ? " " : "", id % G_N_ELEMENTS(pieces));
        }
        g_autofree char *found = encode(tokenizer, text->str, FALSE);
        ck_assert_str_eq(found, ids->str);
    }
}
END_TEST

/* --- what is refused ------------------------------------------------------------------------- */

static void spoil(MoeVocabulary *v, int how)
{
    static const char *const twice[] = {"a", "b", "a"}, *const broken[] = {"a", "\xFF", "b"},
                             *const lost[] = {"a c"}, *const single[] = {"ab"};
    static const gint32 types[] = {1, 1, 1, 1, 1, 1, 1, 1, 9, 1, 1};
    static float wrong[G_N_ELEMENTS(pieces)];
    wrong[5] = NAN;
    switch (how) {
    case 0:
        v->model = "bert";
        break;
    case 1:
        v->pre = "qwenn2";
        break;
    case 2:
        v->pre = NULL;
        break;
    case 3:
        v->tokens = twice;
        v->n = 3;
        v->bos = -1;
        v->types = NULL;
        break;
    case 4:
        v->tokens = broken;
        v->n = 3;
        v->bos = -1;
        v->types = NULL;
        break;
    case 5:
        v->merges = lost;
        v->n_merges = 1;
        break;
    case 6:
        v->merges = single;
        v->n_merges = 1;
        break;
    case 7:
        v->merges = NULL;
        v->n_merges = 0;
        break;
    case 8:
        v->types = types;
        break;
    case 9:
        v->bos = 11;
        break;
    case 10:
        v->n = 0;
        v->bos = -1;
        break;
    case 11:
        v->bos = -1;
        v->add_bos = MOE_FLAG_ON;
        break;
    case 12:
        *v = llama();
        v->scores = NULL;
        break;
    case 13:
        *v = llama();
        v->scores = wrong;
        break;
    default:
        v->n = (size_t)1 << 25;
        v->bos = -1;
        break;
    }
}

static const char *const messages[] = {"m.gguf: tokenizer.ggml.model 'bert' is not supported",
                                       "is it 'qwen2'?",
                                       "tokenizer.ggml.pre is missing",
                                       "'a' has the ids 0 and 2",
                                       "tokens[1] is not UTF-8",
                                       "merges[0] uses 'c'",
                                       "merges[0] is 'ab'",
                                       "tokenizer.ggml.merges is missing",
                                       "token_type[8] is 9",
                                       "bos_token_id is 11",
                                       "0 tokens",
                                       "add_bos_token is true, but bos_token_id is missing",
                                       "tokenizer.ggml.scores is missing",
                                       "scores[5] is not a finite number",
                                       "33554432 tokens"};

START_TEST(refuses_by_name)
{
    g_autoptr(GError) error = NULL;
    MoeVocabulary vocabulary = gpt2("gpt-2");
    spoil(&vocabulary, _i);
    ck_assert_ptr_null(moe_tokenizer_from_vocabulary(&vocabulary, &error));
    assert_error(&error, MOE_ERROR_INPUT, messages[_i]);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("vocabulary");
    TCase *tests = tcase_create("vocabulary");
    tcase_add_loop_test(tests, cuts_as_pre_says, 0, (int)G_N_ELEMENTS(cuts));
    tcase_add_loop_test(tests, merges_by_score, 0, (int)G_N_ELEMENTS(scored));
    tcase_add_test(tests, agrees_with_a_search_by_hand);
    tcase_add_loop_test(tests, refuses_by_name, 0, (int)G_N_ELEMENTS(messages));
    suite_add_tcase(suite, tests);
    return suite;
}

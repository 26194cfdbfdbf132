#include "config.h"

#include "models/pretokenizer.h"

#include "models/pattern.h"

#include <string.h>

/* What becomes of the matches of a Split (tokenizers, SplitDelimiterBehavior). */
typedef enum { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS } Behavior;

static const char *const behaviors[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};

/* When Metaspace puts its letter before a piece (tokenizers, PrependScheme). */
typedef enum { ALWAYS, FIRST, NEVER } Scheme;

static const char *const schemes[] = {"always", "first", "never"};

typedef struct {
    MoePattern *pattern; /* NULL: the step does not cut */
    Behavior behavior;
    gboolean invert;       /* what the pattern leaves is the match */
    gboolean prefix_space; /* ByteLevel's add_prefix_space, before cutting */
    gboolean byte_letters; /* ByteLevel: bytes become letters, after cutting */
    char space[8];         /* Metaspace: what spaces become before cutting; "" in other steps */
    Scheme scheme;
} Step;

struct MoePretokenizer {
    GArray *steps; /* Step */
};

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

gunichar moe_byte_letter(guint8 byte)
{
    if ((byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD))
        return byte;
    if (byte <= ' ')
        return 0x100 + byte;
    if (byte == 0xAD)
        return 0x143;
    return 0x121 + (gunichar)(byte - 0x7F); /* 0x7F ... 0xA0 */
}

int moe_letter_byte(gunichar letter)
{
    if (letter < 0x100)
        return moe_byte_letter((guint8)letter) == letter ? (int)letter : -1;
    if (letter <= 0x120)
        return (int)(letter - 0x100);
    if (letter <= 0x142)
        return (int)(letter - 0x121 + 0x7F);
    return letter == 0x143 ? 0xAD : -1;
}

static gboolean add_step(MoePretokenizer *pretokenizer, Step step, const char *source,
                         gboolean literal, const char *where, GError **error)
{
    if (source != NULL) {
        step.pattern = moe_pattern_new(source, literal, where, error);
        if (step.pattern == NULL)
            return FALSE;
    }
    g_array_append_val(pretokenizer->steps, step);
    return TRUE;
}

static gboolean read_split(MoePretokenizer *pretokenizer, JsonObject *object, const char *where,
                           GError **error)
{
    Step step = {0};
    const char *behavior = moe_json_get_string(object, "behavior", where, error);
    if (behavior == NULL)
        return FALSE;
    int i = 0;
    while (i < (int)G_N_ELEMENTS(behaviors) && strcmp(behaviors[i], behavior) != 0)
        i++;
    if (i == (int)G_N_ELEMENTS(behaviors))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: behavior '%s' is not known", where, behavior);
    step.behavior = (Behavior)i;
    if (!moe_json_get_bool(object, "invert", FALSE, where, &step.invert, error))
        return FALSE;
    JsonObject *pattern = moe_json_get_object(object, "pattern", where, error);
    if (pattern == NULL)
        return FALSE;
    gboolean literal = json_object_has_member(pattern, "String");
    const char *source = moe_json_get_string(pattern, literal ? "String" : "Regex", where, error);
    return source != NULL && add_step(pretokenizer, step, source, literal, where, error);
}

static gboolean read_byte_level(MoePretokenizer *pretokenizer, JsonObject *object,
                                const char *where, GError **error)
{
    Step step = {.behavior = ISOLATED, .byte_letters = TRUE};
    gboolean use_regex;
    /* The letters of the letters: each further step would double the text. */
    if (moe_pretokenizer_byte_level(pretokenizer))
        return moe_fail(error, MOE_ERROR_INPUT, "%s: a second ByteLevel step", where);
    return moe_json_get_bool(object, "add_prefix_space", TRUE, where, &step.prefix_space, error) &&
           moe_json_get_bool(object, "use_regex", TRUE, where, &use_regex, error) &&
           add_step(pretokenizer, step, use_regex ? gpt2_pattern : NULL, FALSE, where, error);
}

static gboolean read_digits(MoePretokenizer *pretokenizer, JsonObject *object, const char *where,
                            GError **error)
{
    gboolean individual;
    if (!moe_json_get_bool(object, "individual_digits", FALSE, where, &individual, error))
        return FALSE;
    Step step = {.behavior = individual ? ISOLATED : CONTIGUOUS};
    return add_step(pretokenizer, step, "\\p{N}", FALSE, where, error);
}

static gboolean read_scheme(JsonObject *object, const char *where, Scheme *scheme, GError **error)
{
    gboolean prefix;
    if (!moe_json_is_null(object, "prepend_scheme")) {
        const char *name = moe_json_get_string(object, "prepend_scheme", where, error);
        guint i = 0;
        while (name != NULL && i < G_N_ELEMENTS(schemes) && strcmp(schemes[i], name) != 0)
            i++;
        if (name == NULL || i == G_N_ELEMENTS(schemes))
            return name != NULL && moe_fail(error, MOE_ERROR_INPUT,
                                            "%s: prepend_scheme '%s' is not known; always, first "
                                            "and never are",
                                            where, name);
        *scheme = (Scheme)i;
    }
    if (!moe_json_get_bool(object, "add_prefix_space", TRUE, where, &prefix, error))
        return FALSE;
    if (!prefix && *scheme != NEVER && !moe_json_is_null(object, "prepend_scheme"))
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: add_prefix_space is false, but prepend_scheme is not never", where);
    if (!prefix)
        *scheme = NEVER;
    return TRUE;
}

static gboolean read_metaspace(MoePretokenizer *pretokenizer, JsonObject *object, const char *where,
                               GError **error)
{
    Step step = {.behavior = MERGED_WITH_NEXT};
    gboolean split;
    const char *space = moe_json_get_string(object, "replacement", where, error);
    if (space == NULL || !read_scheme(object, where, &step.scheme, error) ||
        !moe_json_get_bool(object, "split", TRUE, where, &split, error))
        return FALSE;
    if (*space == '\0' || *g_utf8_next_char(space) != '\0')
        return moe_fail(error, MOE_ERROR_INPUT, "%s: replacement '%s' is not one character", where,
                        space);
    g_strlcpy(step.space, space, sizeof(step.space));
    return add_step(pretokenizer, step, split ? step.space : NULL, TRUE, where, error);
}

static gboolean read_node(MoePretokenizer *pretokenizer, JsonNode *node, const char *where,
                          int depth, GError **error);

static gboolean read_sequence(MoePretokenizer *pretokenizer, JsonObject *object, const char *where,
                              int depth, GError **error)
{
    JsonArray *array = moe_json_get_array(object, "pretokenizers", where, error);
    if (array == NULL)
        return FALSE;
    for (guint i = 0; i < json_array_get_length(array); i++) {
        g_autofree char *inner = g_strdup_printf("%s.pretokenizers[%u]", where, i);
        if (!read_node(pretokenizer, json_array_get_element(array, i), inner, depth + 1, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean read_node(MoePretokenizer *pretokenizer, JsonNode *node, const char *where,
                          int depth, GError **error)
{
    JsonObject *object = moe_json_object(node, where, error);
    const char *type = object != NULL ? moe_json_get_string(object, "type", where, error) : NULL;
    if (type == NULL)
        return FALSE;
    if (strcmp(type, "Sequence") == 0 && depth < 8)
        return read_sequence(pretokenizer, object, where, depth, error);
    if (strcmp(type, "Split") == 0)
        return read_split(pretokenizer, object, where, error);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(pretokenizer, object, where, error);
    if (strcmp(type, "Digits") == 0)
        return read_digits(pretokenizer, object, where, error);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(pretokenizer, object, where, error);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_step(pretokenizer, (Step){.behavior = REMOVED}, "\\s", FALSE, where, error);
    return moe_fail(error, MOE_ERROR_INPUT,
                    "%s: type '%s' is not supported; Sequence, Split, ByteLevel, Digits, Metaspace "
                    "and WhitespaceSplit are",
                    where, type);
}

MoePretokenizer *moe_pretokenizer_new(JsonNode *node, const char *where, GError **error)
{
    g_autoptr(MoePretokenizer) pretokenizer = g_new0(MoePretokenizer, 1);
    pretokenizer->steps = g_array_new(FALSE, FALSE, sizeof(Step));
    if (node != NULL && !JSON_NODE_HOLDS_NULL(node) &&
        !read_node(pretokenizer, node, where, 0, error))
        return NULL;
    return g_steal_pointer(&pretokenizer);
}

MoePretokenizer *moe_pretokenizer_from_patterns(const char *const *patterns, const char *where,
                                                GError **error)
{
    g_autoptr(MoePretokenizer) pretokenizer = g_new0(MoePretokenizer, 1);
    pretokenizer->steps = g_array_new(FALSE, FALSE, sizeof(Step));
    for (; *patterns != NULL; patterns++)
        if (!add_step(pretokenizer, (Step){.behavior = ISOLATED}, *patterns, FALSE, where, error))
            return NULL;
    Step bytes = {.behavior = ISOLATED, .byte_letters = TRUE};
    g_array_append_val(pretokenizer->steps, bytes);
    return g_steal_pointer(&pretokenizer);
}

void moe_pretokenizer_free(MoePretokenizer *pretokenizer)
{
    if (pretokenizer == NULL)
        return;
    for (guint i = 0; i < pretokenizer->steps->len; i++)
        moe_pattern_free(g_array_index(pretokenizer->steps, Step, i).pattern);
    g_array_unref(pretokenizer->steps);
    g_free(pretokenizer);
}

gboolean moe_pretokenizer_byte_level(const MoePretokenizer *pretokenizer)
{
    for (guint i = 0; i < pretokenizer->steps->len; i++)
        if (g_array_index(pretokenizer->steps, Step, i).byte_letters)
            return TRUE;
    return FALSE;
}

/* A stretch of text: a match or what lies between two. */
typedef struct {
    size_t start, end;
    gboolean match;
} Span;

/* All matches and what lies between, in order; empty stretches are left out. */
static gboolean find_spans(const Step *step, const GString *text, GArray *spans, GError **error)
{
    size_t done = 0, from = 0;
    while (from <= text->len) {
        size_t start, end;
        int found =
            moe_pattern_find(step->pattern, text->str, text->len, from, &start, &end, error);
        if (found < 0)
            return FALSE;
        if (found == 0)
            break;
        if (start > done) {
            Span between = {done, start, step->invert};
            g_array_append_val(spans, between);
        }
        if (end > start) {
            Span match = {start, end, !step->invert};
            g_array_append_val(spans, match);
        }
        done = end;
        /* After an empty match, go on one character later. */
        from = end;
        if (end == start)
            from =
                end < text->len ? (size_t)(g_utf8_next_char(text->str + end) - text->str) : end + 1;
    }
    if (done < text->len) {
        Span rest = {done, text->len, step->invert};
        g_array_append_val(spans, rest);
    }
    return TRUE;
}

static gboolean joins_previous(Behavior behavior, gboolean match, gboolean previous_match)
{
    return behavior == CONTIGUOUS ? match == previous_match
                                  : behavior == MERGED_WITH_PREVIOUS && match && !previous_match;
}

/* Applies the behaviour, in place. The first stretch counts as following a non-match. */
static void join_spans(Behavior behavior, GArray *spans)
{
    Span *all = (Span *)(void *)spans->data;
    guint kept = 0;
    gboolean previous = FALSE;
    if (behavior == REMOVED) {
        for (guint i = 0; i < spans->len; i++)
            if (!all[i].match)
                all[kept++] = all[i];
    } else if (behavior == MERGED_WITH_NEXT) {
        for (guint i = spans->len; i-- > 0; previous = all[i].match)
            if (all[i].match && !previous && i + 1 < spans->len) {
                all[i].end = all[i + 1].end;
                all[i + 1].start = all[i + 1].end; /* emptied; dropped below */
            }
        for (guint i = 0; i < spans->len; i++)
            if (all[i].end > all[i].start)
                all[kept++] = all[i];
    } else {
        for (guint i = 0; i < spans->len; i++) {
            gboolean match = all[i].match;
            if (joins_previous(behavior, match, previous) && kept > 0)
                all[kept - 1].end = all[i].end;
            else
                all[kept++] = all[i];
            previous = match;
        }
    }
    g_array_set_size(spans, kept);
}

/* Metaspace before it cuts: spaces become its letter, and perhaps one more comes in front. Of the
 * piece @begin bytes are the beginning of the text, and are counted again. */
static void mark_spaces(const Step *step, GString *piece, size_t *begin)
{
    GString *marked = g_string_sized_new(piece->len);
    size_t counted = 0;
    for (size_t at = 0; at < piece->len; at++) {
        if (piece->str[at] == ' ')
            g_string_append(marked, step->space);
        else
            g_string_append_c(marked, piece->str[at]);
        counted = at < *begin ? marked->len : counted;
    }
    if ((step->scheme == ALWAYS || (step->scheme == FIRST && *begin > 0)) &&
        !g_str_has_prefix(marked->str, step->space)) {
        g_string_prepend(marked, step->space);
        counted += *begin > 0 ? strlen(step->space) : 0;
    }
    *begin = counted;
    g_string_truncate(piece, 0);
    g_string_append_len(piece, marked->str, (gssize)marked->len);
    g_string_free(marked, TRUE);
}

/* Appends the cuts of @piece to @out, and to @begins how many bytes of each are the beginning of
 * the text; of the piece these are @begin. */
static gboolean cut_piece(const Step *step, GString *piece, size_t begin, GPtrArray *out,
                          GArray *begins, GError **error)
{
    if (step->prefix_space && (piece->len == 0 || piece->str[0] != ' ')) {
        g_string_prepend_c(piece, ' ');
        begin += begin > 0 ? 1 : 0;
    }
    if (*step->space != '\0')
        mark_spaces(step, piece, &begin);
    g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(Span));
    if (step->pattern == NULL) {
        Span whole = {0, piece->len, FALSE};
        g_array_append_val(spans, whole);
    } else {
        if (!find_spans(step, piece, spans, error))
            return FALSE;
        join_spans(step->behavior, spans);
    }
    for (guint i = 0; i < spans->len; i++) {
        const Span *span = &g_array_index(spans, Span, i);
        GString *cut = g_string_new(NULL);
        if (!step->byte_letters)
            g_string_append_len(cut, piece->str + span->start, (gssize)(span->end - span->start));
        else
            for (size_t b = span->start; b < span->end; b++)
                g_string_append_unichar(cut, moe_byte_letter((guint8)piece->str[b]));
        g_ptr_array_add(out, cut);
        size_t left = begin - MIN(begin, span->start);
        g_array_append_val(begins, left);
    }
    return TRUE;
}

static void free_piece(gpointer piece)
{
    g_string_free(piece, TRUE);
}

gboolean moe_pretokenizer_cut(const MoePretokenizer *pretokenizer, const char *text, size_t length,
                              size_t begin, GPtrArray **pieces_out, GError **error)
{
    g_autoptr(GPtrArray) pieces = g_ptr_array_new_with_free_func(free_piece);
    g_autoptr(GArray) begins = g_array_new(FALSE, FALSE, sizeof(size_t));
    if (length > 0) {
        g_ptr_array_add(pieces, g_string_new_len(text, (gssize)length));
        g_array_append_val(begins, begin);
    }
    for (guint s = 0; s < pretokenizer->steps->len; s++) {
        const Step *step = &g_array_index(pretokenizer->steps, Step, s);
        GPtrArray *cut = g_ptr_array_new_with_free_func(free_piece);
        GArray *left = g_array_new(FALSE, FALSE, sizeof(size_t));
        gboolean good = TRUE;
        for (guint i = 0; i < pieces->len && good; i++)
            good = cut_piece(step, g_ptr_array_index(pieces, i), g_array_index(begins, size_t, i),
                             cut, left, error);
        g_ptr_array_unref(pieces);
        pieces = cut;
        g_array_unref(begins);
        begins = left;
        if (!good)
            return FALSE;
    }
    *pieces_out = g_steal_pointer(&pieces);
    return TRUE;
}

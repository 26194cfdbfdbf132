#include "config.h"

#include "models/rope_config.h"

#include "sim/base/field.h"

#include <math.h>
#include <string.h>

typedef struct {
    char *rope_type, *type;
    double rope_theta, partial_rotary_factor, factor, original, attention_factor;
    double beta_fast, beta_slow, mscale, mscale_all_dim, low, high, short_mscale, long_mscale,
        alpha;
    gboolean truncate;
    const MoeNode *short_factor, *long_factor;
} Keys;

#define AT(MEMBER) offsetof(Keys, MEMBER)
#define NUMBER(NAME, MEMBER, FALLBACK, LEAST, MOST)                                                \
    {                                                                                              \
        NAME, MOE_FIELD_NUMBER, AT(MEMBER), FALLBACK, .min = LEAST, .max = MOST                    \
    }
static const MoeField fields[] = {
    {"rope_type", MOE_FIELD_STRING, AT(rope_type), ""},
    {"type", MOE_FIELD_STRING, AT(type), ""}, /* the older name */
    NUMBER("rope_theta", rope_theta, "", 1, 1e12),
    NUMBER("partial_rotary_factor", partial_rotary_factor, "", 1e-3, 1),
    NUMBER("factor", factor, "", 1e-3, 1e6),
    NUMBER("original_max_position_embeddings", original, "", 1, 1 << 30),
    NUMBER("attention_factor", attention_factor, "", 1e-3, 1e3),
    NUMBER("beta_fast", beta_fast, "32", 1e-6, 1e6),
    NUMBER("beta_slow", beta_slow, "1", 1e-6, 1e6),
    NUMBER("mscale", mscale, "0", 0, 1e3),
    NUMBER("mscale_all_dim", mscale_all_dim, "0", 0, 1e3),
    NUMBER("low_freq_factor", low, "1", 1e-6, 1e6),
    NUMBER("high_freq_factor", high, "4", 1e-6, 1e6),
    NUMBER("alpha", alpha, "", 1e-3, 1e9),
    NUMBER("short_mscale", short_mscale, "", 1e-3, 1e3),
    NUMBER("long_mscale", long_mscale, "", 1e-3, 1e3),
    {"truncate", MOE_FIELD_BOOL, AT(truncate), "true"},
    {"short_factor", MOE_FIELD_NODE, AT(short_factor), ""},
    {"long_factor", MOE_FIELD_NODE, AT(long_factor), ""},
    {"finetuned", MOE_FIELD_IGNORED},
    {NULL},
};

static double first_known(double a, double b, double fallback)
{
    return !isnan(a) ? a : !isnan(b) ? b : fallback;
}

/* Yarn's attention temperature (Peng et al., eq. 22) with DeepSeek's weight @m of its logarithm. */
static double temperature(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static gboolean read_divisors(const MoeNode *list, const char *key, const MoeNode *map,
                              const MoeRope *rope, double *out, GError **error)
{
    guint n = (guint)rope->dim / 2;
    if (list == NULL || list->kind != MOE_NODE_LIST || list->items->len != n ||
        n > MOE_ROPE_MOST_DIVISORS)
        return moe_node_fail(
            list != NULL ? list : map, error,
            "%s: longrope needs a list of %u numbers (half of the %" G_GINT64_FORMAT
            " rotated elements, at most %d)",
            key, n, rope->dim, MOE_ROPE_MOST_DIVISORS);
    for (guint i = 0; i < n; i++) {
        const MoeNode *item = g_ptr_array_index(list->items, i);
        if (item->kind != MOE_NODE_SCALAR || !moe_units_parse_number(item->text, &out[i], NULL) ||
            !(out[i] >= 1e-3 && out[i] <= 1e6))
            return moe_node_fail(item, error, "%s: not a number from 1e-3 to 1e6", key);
    }
    return TRUE;
}

/* "longrope": Phi-3.5's factors; the trained context is Phi's own key, or the longest one. */
static gboolean read_long(const MoeNode *map, const Keys *keys, const MoeRopeContext *context,
                          MoeRope *rope, GError **error)
{
    double longest = (double)context->context;
    double trained = context->original > 0 ? (double)context->original : NAN;
    double factor = !isnan(trained) ? longest / trained : keys->factor;
    rope->scaling.original = first_known(keys->original, trained, longest);
    double usual = isnan(factor) || factor <= 1
                       ? 1
                       : sqrt(1 + log(factor) / log(fmax(rope->scaling.original, 2)));
    usual = first_known(keys->attention_factor, NAN, usual);
    rope->scale = first_known(keys->short_mscale, NAN, usual);
    rope->long_scale = first_known(keys->long_mscale, NAN, usual);
    return read_divisors(keys->short_factor, "short_factor", map, rope, rope->divisors[0], error) &&
           read_divisors(keys->long_factor, "long_factor", map, rope, rope->divisors[1], error);
}

static gboolean read_kind(const MoeNode *map, const Keys *keys, const MoeRopeContext *context,
                          MoeRope *rope, GError **error)
{
    static const char *const names[] = {
        [MOE_ROPE_DEFAULT] = "default", [MOE_ROPE_LINEAR] = "linear", [MOE_ROPE_YARN] = "yarn",
        [MOE_ROPE_LLAMA3] = "llama3",   [MOE_ROPE_LONG] = "longrope",
    };
    MoeRopeScaling *s = &rope->scaling;
    const char *name = keys->rope_type != NULL ? keys->rope_type : keys->type;
    size_t kind = 0;
    /* HunYuan's dynamic one: the base grows once and for all. */
    gboolean stretched = g_strcmp0(name, "dynamic") == 0 && !isnan(keys->alpha) && rope->dim > 2;
    while (!stretched && name != NULL && kind < G_N_ELEMENTS(names) &&
           strcmp(name, names[kind]) != 0)
        kind++;
    if (kind == G_N_ELEMENTS(names))
        return moe_node_fail(map, error,
                             "rope_type: '%s' is not supported; default, linear, yarn, llama3 and "
                             "longrope are",
                             name);
    s->kind = (MoeRopeKind)kind;
    if (stretched) {
        s->theta *= pow(keys->alpha, (double)rope->dim / (double)(rope->dim - 2));
        return TRUE;
    }
    if (s->kind == MOE_ROPE_DEFAULT)
        return isnan(keys->factor) ||
               moe_node_fail(map, error,
                             "factor: means nothing without a rope_type; write yarn, "
                             "linear ...");
    if (s->kind == MOE_ROPE_LONG)
        return read_long(map, keys, context, rope, error);
    if (isnan(keys->factor))
        return moe_node_fail(map, error, "factor: missing; rope_type %s needs it", name);
    s->factor = keys->factor;
    s->original = first_known(keys->original, NAN, (double)context->context);
    s->beta_fast = keys->beta_fast;
    s->beta_slow = keys->beta_slow;
    s->truncate = keys->truncate;
    s->low = keys->low;
    /* Equal factors mean a step (Llama 4 Scout); a division by zero must not decide it. */
    s->high = keys->high > keys->low ? keys->high : keys->low * (1 + 1e-9);
    if (s->kind != MOE_ROPE_YARN)
        return TRUE;
    gboolean both = keys->mscale > 0 && keys->mscale_all_dim > 0;
    double usual =
        both ? temperature(s->factor, keys->mscale) / temperature(s->factor, keys->mscale_all_dim)
             : temperature(s->factor, 1);
    rope->scale = first_known(keys->attention_factor, NAN, usual);
    if (keys->mscale_all_dim > 0)
        rope->softmax_scale = pow(temperature(s->factor, keys->mscale_all_dim), 2);
    return TRUE;
}

/* rope_scaling of older files, rope_parameters or its map for @kind of newer ones; NULL: neither. */
static const MoeNode *find_map(const MoeNode *root, const char *kind)
{
    const MoeNode *map = moe_node_get(root, "rope_parameters");
    const MoeNode *inner =
        map != NULL && map->kind == MOE_NODE_MAP && kind != NULL ? moe_node_get(map, kind) : NULL;
    if (inner != NULL)
        return inner;
    if (map == NULL || moe_node_is_null(map))
        map = moe_node_get(root, "rope_scaling");
    return map == NULL || moe_node_is_null(map) ? NULL : map;
}

gboolean moe_rope_read(const MoeNode *root, const char *kind, const MoeRopeContext *context,
                       MoeRope *rope, GError **error)
{
    const MoeNode *map = find_map(root, kind);
    Keys keys = {0};
    if (!moe_fields_read(fields, map, "rope_parameters", &keys, error))
        return FALSE;
    *rope = (MoeRope){.scale = 1, .long_scale = 1, .softmax_scale = 1};
    rope->scaling.theta = first_known(keys.rope_theta, context->theta, 10000);
    double partial = first_known(keys.partial_rotary_factor, context->partial, 1);
    rope->dim = context->rotary_dim > 0 ? context->rotary_dim
                                        : (gint64)((double)context->head_dim * partial);
    gboolean good;
    if (rope->dim < 2 || rope->dim % 2 != 0 || rope->dim > context->head_dim)
        good = moe_node_fail(root, error,
                             "head_dim: RoPE needs an even number of rotated elements, from 2 to "
                             "the %" G_GINT64_FORMAT " of a head; there are %" G_GINT64_FORMAT,
                             context->head_dim, rope->dim);
    else
        good = read_kind(map != NULL ? map : root, &keys, context, rope, error);
    moe_fields_clear(fields, &keys);
    return good;
}

size_t moe_rope_sets(const MoeRope *rope)
{
    return rope->scaling.kind == MOE_ROPE_LONG ? 2 : 1;
}

void moe_rope_fill(const MoeRope *rope, size_t M, float *cos_out, float *sin_out)
{
    size_t R = (size_t)rope->dim;
    g_autofree float *frequencies = g_new(float, R / 2);
    for (size_t set = 0; set < moe_rope_sets(rope); set++) {
        MoeRopeScaling scaling = rope->scaling;
        scaling.divisors = rope->divisors[set];
        moe_rope_frequencies(R, &scaling, frequencies);
        moe_rope_table(M, R, frequencies, (float)(set == 0 ? rope->scale : rope->long_scale),
                       cos_out + set * M * R / 2, sin_out + set * M * R / 2);
    }
}

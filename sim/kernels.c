#include "config.h"

#include "sim/kernels.h"

#include "sim/alltoall.h"
#include "sim/collective.h"

#include <math.h>

/* As written: NaN and 0 where nothing is said. */
typedef struct {
    double startup, message, token, pass;
    gint64 sms;
} Cost;

typedef struct {
    char *sources;
    Cost both, dispatch, combine;
    const MoeNode *variants_node;
    GArray *variants; /* MoeKernelVariant, complete; NULL: not given */
} Kernel;

struct MoeKernels {
    double launch; /* of the topology's GPU */
    GPtrArray *names;
    GArray *kernels; /* Kernel, as names */
};

/* Who names kernels. */
static const char *const *(*const name_lists[])(void) = {moe_alltoall_names, moe_operation_names};

#define COST(part)                                                                                 \
    {"startup",                                                                                    \
     MOE_FIELD_QUANTITY,                                                                           \
     part + offsetof(Cost, startup),                                                               \
     "",                                                                                           \
     .unit = MOE_UNIT_TIME,                                                                        \
     .max = 1,                                                                                     \
     .doc = "before a rank's first message; the GPU's launch if unset"},                           \
        {"message",                                                                                \
         MOE_FIELD_QUANTITY,                                                                       \
         part + offsetof(Cost, message),                                                           \
         "",                                                                                       \
         .unit = MOE_UNIT_TIME,                                                                    \
         .max = 1,                                                                                 \
         .doc = "per peer that a rank sends to; 0us if unset"},                                    \
        {"token",                                                                                  \
         MOE_FIELD_QUANTITY,                                                                       \
         part + offsetof(Cost, token),                                                             \
         "",                                                                                       \
         .unit = MOE_UNIT_TIME,                                                                    \
         .max = 1,                                                                                 \
         .doc = "per copy of a token that a rank sends; 0us if unset"},                            \
        {"pass",                                                                                   \
         MOE_FIELD_QUANTITY,                                                                       \
         part + offsetof(Cost, pass),                                                              \
         "",                                                                                       \
         .unit = MOE_UNIT_TIME,                                                                    \
         .max = 1,                                                                                 \
         .doc = "of one token, the least after the start-up; 0us if unset"},                       \
    {                                                                                              \
        "sms", MOE_FIELD_INT, part + offsetof(Cost, sms), "",                                      \
            .min = 1, .max = 4096, .doc = "multiprocessors that it takes from computing"           \
    }

static const MoeField cost_fields[] = {COST((size_t)0), {NULL}};

const MoeField moe_kernel_fields[] = {
    {"sources", MOE_FIELD_STRING, offsetof(Kernel, sources), "",
     .doc = "what the figures were fitted on"},
    COST(offsetof(Kernel, both)),
    {"dispatch", MOE_FIELD_MAP, offsetof(Kernel, dispatch), .fields = cost_fields,
     .shorthand = "startup"},
    {"combine", MOE_FIELD_MAP, offsetof(Kernel, combine), .fields = cost_fields,
     .shorthand = "startup"},
    {"variants", MOE_FIELD_NODE, offsetof(Kernel, variants_node), "",
     .doc = "collectives: a list of algorithm, protocol, startup, message, rate"},
    {NULL},
};

static const MoeField variant_fields[] = {
    {"algorithm", MOE_FIELD_STRING, offsetof(MoeKernelVariant, algorithm), "",
     .doc = "which it is for; any if unset"},
    {"protocol", MOE_FIELD_STRING, offsetof(MoeKernelVariant, protocol), "",
     .doc = "what reports call it"},
    {"startup", MOE_FIELD_QUANTITY, offsetof(MoeKernelVariant, startup), "", .unit = MOE_UNIT_TIME,
     .max = 1, .doc = "as of the kernel, if unset"},
    {"message", MOE_FIELD_QUANTITY, offsetof(MoeKernelVariant, message), "", .unit = MOE_UNIT_TIME,
     .max = 1, .doc = "as of the kernel, if unset"},
    {"rate", MOE_FIELD_QUANTITY, offsetof(MoeKernelVariant, rate), "", .unit = MOE_UNIT_RATE,
     .min = 1, .doc = "at which a rank handles what it sends, before it is sent; at once if unset"},
    {NULL},
};

/* --- reading --------------------------------------------------------------------------------- */

static gboolean check_name(const MoeNode *key, GError **error)
{
    g_autoptr(GPtrArray) known = g_ptr_array_new();
    for (size_t l = 0; l < G_N_ELEMENTS(name_lists); l++)
        for (const char *const *name = name_lists[l](); *name != NULL; name++)
            g_ptr_array_add(known, (gpointer)*name);
    g_ptr_array_add(known, NULL);
    const char *const *names = (const char *const *)known->pdata;
    if (g_strv_contains(names, key->text))
        return TRUE;
    const char *nearest = moe_nearest(key->text, names);
    if (nearest != NULL)
        return moe_node_fail(key, error,
                             "kernels: %s: no algorithm has this name; did you mean %s?", key->text,
                             nearest);
    g_autofree char *all = g_strjoinv(", ", (char **)known->pdata);
    return moe_node_fail(key, error, "kernels: %s: no algorithm has this name; these are: %s",
                         key->text, all);
}

/* The first of the part's, both parts' and the generic value that is given. */
static double first_given(double own, double both, double fallback)
{
    return !isnan(own) ? own : !isnan(both) ? both : fallback;
}

static void variant_clear(gpointer data)
{
    moe_fields_clear(variant_fields, data);
}

static gboolean read_variants(const MoeKernels *kernels, const char *name, Kernel *kernel,
                              GError **error)
{
    const MoeNode *node = kernel->variants_node;
    if (node == NULL)
        return TRUE;
    if (!g_strv_contains(moe_operation_names(), name))
        return moe_node_fail(node, error, "kernels: %s: variants: these are of collectives", name);
    if (node->kind != MOE_NODE_LIST || node->items->len == 0)
        return moe_node_fail(node, error,
                             "kernels: %s: variants: must be a list such as [{protocol: LL, "
                             "message: 1us}]",
                             name);
    kernel->variants = g_array_new(FALSE, TRUE, sizeof(MoeKernelVariant));
    g_array_set_clear_func(kernel->variants, variant_clear);
    for (guint i = 0; i < node->items->len; i++) {
        const MoeNode *item = node->items->pdata[i];
        MoeKernelVariant variant = {0};
        if (!moe_fields_read(variant_fields, item, "variants", &variant, error))
            return FALSE;
        if (isnan(variant.startup))
            variant.startup = first_given(NAN, kernel->both.startup, kernels->launch);
        if (isnan(variant.message))
            variant.message = first_given(NAN, kernel->both.message, 0);
        g_array_append_val(kernel->variants, variant);
        if (variant.algorithm != NULL && !moe_collective_does(name, variant.algorithm, error)) {
            moe_node_prefix(moe_node_get(item, "algorithm"), "kernels", error);
            return FALSE;
        }
    }
    return TRUE;
}

static void kernel_clear(gpointer data)
{
    Kernel *kernel = data;
    moe_fields_clear(moe_kernel_fields, kernel);
    if (kernel->variants != NULL)
        g_array_unref(kernel->variants);
}

MoeKernels *moe_kernels_read(const MoeTopology *topology, GError **error)
{
    const MoeNode *node = topology->file.kernels;
    g_autoptr(MoeKernels) kernels = g_new0(MoeKernels, 1);
    kernels->launch = topology->gpu.launch;
    kernels->names = g_ptr_array_new_with_free_func(g_free);
    kernels->kernels = g_array_new(FALSE, TRUE, sizeof(Kernel));
    g_array_set_clear_func(kernels->kernels, kernel_clear);
    if (node == NULL)
        return g_steal_pointer(&kernels);
    if (node->kind != MOE_NODE_MAP) {
        moe_node_fail(node, error,
                      "kernels: must be a map such as {direct: {startup: 10us, message: 1us}}");
        return NULL;
    }
    for (guint i = 0; i < node->keys->len; i++) {
        const MoeNode *key = node->keys->pdata[i];
        Kernel kernel = {0};
        if (!check_name(key, error) ||
            !moe_fields_read(moe_kernel_fields, node->items->pdata[i], key->text, &kernel, error))
            return NULL;
        g_ptr_array_add(kernels->names, g_strdup(key->text));
        g_array_append_val(kernels->kernels, kernel);
        if (!read_variants(kernels, key->text, &g_array_index(kernels->kernels, Kernel, i), error))
            return NULL;
    }
    return g_steal_pointer(&kernels);
}

void moe_kernels_free(MoeKernels *kernels)
{
    if (kernels == NULL)
        return;
    g_array_unref(kernels->kernels);
    g_ptr_array_unref(kernels->names);
    g_free(kernels);
}

/* --- questions ------------------------------------------------------------------------------- */

static const Kernel *find(const MoeKernels *kernels, const char *name)
{
    for (guint i = 0; i < kernels->names->len; i++)
        if (g_str_equal(kernels->names->pdata[i], name))
            return &g_array_index(kernels->kernels, Kernel, i);
    return NULL;
}

gboolean moe_kernels_cost(const MoeKernels *kernels, const char *name, MoeKernelPart part,
                          MoeKernelCost *cost_out)
{
    const Kernel *kernel = find(kernels, name);
    *cost_out = (MoeKernelCost){.startup = kernels->launch};
    if (kernel == NULL)
        return FALSE;
    const Cost *both = &kernel->both;
    const Cost *own = part == MOE_KERNEL_DISPATCH  ? &kernel->dispatch
                      : part == MOE_KERNEL_COMBINE ? &kernel->combine
                                                   : both;
    cost_out->startup = first_given(own->startup, both->startup, kernels->launch);
    cost_out->message = first_given(own->message, both->message, 0);
    cost_out->token = first_given(own->token, both->token, 0);
    cost_out->pass = first_given(own->pass, both->pass, 0);
    cost_out->sms = own->sms > 0 ? own->sms : both->sms;
    return TRUE;
}

const MoeKernelVariant *moe_kernels_variants(const MoeKernels *kernels, const char *name,
                                             guint *n_out)
{
    const Kernel *kernel = find(kernels, name);
    if (kernel == NULL || kernel->variants == NULL) {
        *n_out = 0;
        return NULL;
    }
    *n_out = kernel->variants->len;
    return &g_array_index(kernel->variants, MoeKernelVariant, 0);
}

const char *moe_kernels_sources(const MoeKernels *kernels, const char *name)
{
    const Kernel *kernel = find(kernels, name);
    return kernel != NULL ? kernel->sources : NULL;
}

static void add_variants(const GArray *variants, JsonBuilder *builder)
{
    json_builder_set_member_name(builder, "variants");
    json_builder_begin_array(builder);
    for (guint i = 0; i < variants->len; i++) {
        json_builder_begin_object(builder);
        moe_fields_to_json(variant_fields, &g_array_index(variants, MoeKernelVariant, i), builder);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
}

void moe_kernels_to_json(const MoeKernels *kernels, JsonBuilder *builder)
{
    for (guint i = 0; i < kernels->names->len; i++) {
        json_builder_set_member_name(builder, kernels->names->pdata[i]);
        json_builder_begin_object(builder);
        const Kernel *kernel = &g_array_index(kernels->kernels, Kernel, i);
        moe_fields_to_json(moe_kernel_fields, kernel, builder);
        if (kernel->variants != NULL)
            add_variants(kernel->variants, builder);
        json_builder_end_object(builder);
    }
}

#include "config.h"

#include "sim/kernels.h"

#include "sim/alltoall.h"
#include "sim/collective.h"

#include <math.h>

/* As written: NaN and 0 where nothing is said. */
typedef struct {
    double startup, message, token;
    gint64 sms;
} Cost;

typedef struct {
    char *sources;
    Cost both, dispatch, combine;
} Kernel;

struct MoeKernels {
    double launch; /* of the topology's GPU */
    GPtrArray *names;
    GArray *kernels; /* Kernel, as names */
};

/* Who names kernels. */
static const char *const *(*const name_lists[])(void) = {moe_alltoall_names,
                                                         moe_collective_kernels};

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

MoeKernels *moe_kernels_read(const MoeTopology *topology, GError **error)
{
    const MoeNode *node = topology->file.kernels;
    g_autoptr(MoeKernels) kernels = g_new0(MoeKernels, 1);
    kernels->launch = topology->gpu.launch;
    kernels->names = g_ptr_array_new_with_free_func(g_free);
    kernels->kernels = g_array_new(FALSE, TRUE, sizeof(Kernel));
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
    }
    return g_steal_pointer(&kernels);
}

void moe_kernels_free(MoeKernels *kernels)
{
    if (kernels == NULL)
        return;
    for (guint i = 0; i < kernels->kernels->len; i++)
        moe_fields_clear(moe_kernel_fields, &g_array_index(kernels->kernels, Kernel, i));
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

/* The first of the part's, both parts' and the generic value that is given. */
static double first_given(double own, double both, double fallback)
{
    return !isnan(own) ? own : !isnan(both) ? both : fallback;
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
    cost_out->sms = own->sms > 0 ? own->sms : both->sms;
    return TRUE;
}

const char *moe_kernels_sources(const MoeKernels *kernels, const char *name)
{
    const Kernel *kernel = find(kernels, name);
    return kernel != NULL ? kernel->sources : NULL;
}

void moe_kernels_to_json(const MoeKernels *kernels, JsonBuilder *builder)
{
    for (guint i = 0; i < kernels->names->len; i++) {
        json_builder_set_member_name(builder, kernels->names->pdata[i]);
        json_builder_begin_object(builder);
        moe_fields_to_json(moe_kernel_fields, &g_array_index(kernels->kernels, Kernel, i), builder);
        json_builder_end_object(builder);
    }
}

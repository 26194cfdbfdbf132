#include "config.h"

#include "models/safetensors.h"
#include "workloads/import_arrays.h"

/* SGLang's expert distribution recorder with --expert-distribution-recorder-mode per_token keeps, of
 * each forward pass, topk_ids_of_layer: int32 [layers, tokens, 8], -1 where a block has no experts or
 * a token fewer than eight. The ids are of physical experts; last_physical_to_logical_map [layers,
 * physical experts] says which expert each is a copy of (python/sglang/srt/eplb/
 * expert_distribution.py, class _DetailSinglePassGatherer and _DetailAccumulator.dump). Its .pt files
 * hold these under the same names, all passes in a list; moe_import_open_pt() says how to join them. */
static const struct {
    const char *name;
    gboolean layers_first;
} tensors[] = {{"topk_ids_of_layer", TRUE}, {"topk_ids", TRUE}, {"routed_experts", FALSE}};

static const char *const maps[] = {"last_physical_to_logical_map", "physical_to_logical_map"};

/* @tensor as an array that takes @owner of its data; NULL with MOE_ERROR_INPUT, and @owner freed, when
 * it does not hold integers. */
static MoeNpy *show(const MoeTensor *tensor, const char *where, gconstpointer data, gpointer owner,
                    GDestroyNotify free_owner, GError **error)
{
    static const struct {
        MoeStType type;
        MoeNpyKind kind;
    } types[] = {
        {MOE_ST_U8, MOE_NPY_UNSIGNED},  {MOE_ST_I8, MOE_NPY_SIGNED},
        {MOE_ST_U16, MOE_NPY_UNSIGNED}, {MOE_ST_I16, MOE_NPY_SIGNED},
        {MOE_ST_U32, MOE_NPY_UNSIGNED}, {MOE_ST_I32, MOE_NPY_SIGNED},
        {MOE_ST_U64, MOE_NPY_UNSIGNED}, {MOE_ST_I64, MOE_NPY_SIGNED},
    };
    size_t i = 0;
    while (i < G_N_ELEMENTS(types) && types[i].type != tensor->type)
        i++;
    if (i == G_N_ELEMENTS(types)) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: tensor '%s' is %s; expert ids are whole numbers",
                 where, tensor->name, moe_st_type_name(tensor->type));
        free_owner(owner);
        return NULL;
    }
    MoeNpy *array = g_new0(MoeNpy, 1);
    *array = (MoeNpy){.kind = types[i].kind,
                      .size = (int)moe_st_type_size(tensor->type),
                      .n_dims = tensor->n_dims,
                      .n_elements = tensor->n_elements,
                      .data = data,
                      .owner = owner,
                      .free_owner = free_owner};
    for (int d = 0; d < tensor->n_dims; d++)
        array->dims[d] = tensor->dims[d];
    return array;
}

/* Reads the map of physical experts, if there is one, into @array. */
static gboolean read_map(const MoeSafetensors *file, MoeIdArray *array, GError **error)
{
    const char *path = moe_safetensors_path(file);
    const MoeTensor *tensor = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(maps) && tensor == NULL; i++)
        tensor = moe_safetensors_find(file, maps[i]);
    if (tensor == NULL)
        return TRUE;
    if (tensor->n_dims != 2 || tensor->dims[0] != array->n_layers)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: tensor '%s' must be [%" G_GINT64_FORMAT
                        ", physical experts], a row for each layer of the ids",
                        path, tensor->name, array->n_layers);
    gsize size = (gsize)tensor->n_elements * moe_st_type_size(tensor->type);
    gpointer copy = g_memdup2(tensor->data, size);
    array->map = show(tensor, path, copy, copy, g_free, error);
    return array->map != NULL;
}

gboolean moe_import_open_safetensors(const char *path, const MoeImport *import, GPtrArray *arrays,
                                     GError **error)
{
    (void)import;
    MoeSafetensors *file = moe_safetensors_open(path, error);
    if (file == NULL)
        return FALSE;
    const MoeTensor *tensor = NULL;
    size_t i = 0;
    while (i < G_N_ELEMENTS(tensors) &&
           (tensor = moe_safetensors_find(file, tensors[i].name)) == NULL)
        i++;
    if (tensor == NULL) {
        gboolean trace = moe_safetensors_metadata(file, "router") != NULL;
        moe_safetensors_free(file);
        return moe_fail(error, MOE_ERROR_INPUT, "%s: %s", path,
                        trace ? "this is a trace already"
                              : "there is no tensor topk_ids_of_layer or topk_ids [layer, token, "
                                "rank], nor routed_experts [token, layer, rank]");
    }
    MoeNpy *ids =
        show(tensor, path, tensor->data, file, (GDestroyNotify)moe_safetensors_free, error);
    g_autofree char *name = g_strdup_printf("%s: %s", path, tensors[i].name);
    if (ids == NULL || !moe_import_add(arrays, name, ids, tensors[i].layers_first, error))
        return FALSE;
    MoeIdArray *array = arrays->pdata[arrays->len - 1];
    array->padded = TRUE;
    return read_map(file, array, error);
}

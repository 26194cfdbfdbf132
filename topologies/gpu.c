#include "config.h"

#include "topologies/gpu.h"

#include "sim/base/preset.h"
#include "sim/base/yaml.h"

const char *const *moe_type_names(void)
{
    static const char *const names[] = {"f32", "f16", "bf16", "fp8", NULL};
    return names;
}

double moe_type_bytes(MoeType type)
{
    static const double bytes[] = {4, 2, 2, 1};
    return bytes[type];
}

gint64 moe_type_wire_bytes(MoeType type, gint64 elements)
{
    gint64 scales = type == MOE_TYPE_FP8 ? (elements + 127) / 128 * 4 : 0;
    return elements * (gint64)moe_type_bytes(type) + scales;
}

#define INNER(part, member) offsetof(MoeGpu, part.member) - offsetof(MoeGpu, part)
#define SPEED               .unit = MOE_UNIT_SPEED, .min = 1e9, .max = 1e18
#define SHARE               .unit = MOE_UNIT_RATIO, .min = 0.01, .max = 1

static const MoeField peak_fields[] = {
    {"f32", MOE_FIELD_QUANTITY, MOE_TYPE_F32 * sizeof(double), "", SPEED,
     .doc = "dense, single precision"},
    {"f16", MOE_FIELD_QUANTITY, MOE_TYPE_F16 * sizeof(double), "", SPEED,
     .doc = "dense, half precision"},
    {"bf16", MOE_FIELD_QUANTITY, MOE_TYPE_BF16 * sizeof(double), SPEED, .doc = "dense, bfloat16"},
    {"fp8", MOE_FIELD_QUANTITY, MOE_TYPE_FP8 * sizeof(double), "", SPEED,
     .doc = "dense, 8-bit float"},
    {NULL},
};

static const MoeField hbm_fields[] = {
    {"bandwidth", MOE_FIELD_QUANTITY, INNER(hbm, bandwidth), .unit = MOE_UNIT_RATE, .min = 1e9,
     .max = 1e15, .doc = "of the memory"},
    {"size", MOE_FIELD_QUANTITY, INNER(hbm, size), .unit = MOE_UNIT_BYTES, .min = 1e6, .max = 1e15,
     .doc = "of the memory"},
    {NULL},
};

static const MoeField efficiency_fields[] = {
    {"compute", MOE_FIELD_QUANTITY, INNER(efficiency, compute), "100%", SHARE,
     .doc = "of the peak that a large kernel reaches"},
    {"memory", MOE_FIELD_QUANTITY, INNER(efficiency, memory), "100%", SHARE,
     .doc = "of the memory's bandwidth"},
    {NULL},
};

static const MoeField source_fields[] = {
    {"peak", MOE_FIELD_STRING, INNER(sources, peak), "", .doc = "where the figure is from"},
    {"hbm", MOE_FIELD_STRING, INNER(sources, hbm), "", .doc = "where the figure is from"},
    {"efficiency", MOE_FIELD_STRING, INNER(sources, efficiency), "",
     .doc = "where the figure is from"},
    {"launch", MOE_FIELD_STRING, INNER(sources, launch), "", .doc = "where the figure is from"},
    {NULL},
};

const MoeField moe_gpu_fields[] = {
    {"name", MOE_FIELD_STRING, offsetof(MoeGpu, name), .doc = "what reports call it"},
    {"sources", MOE_FIELD_MAP, offsetof(MoeGpu, sources), .fields = source_fields},
    {"peak", MOE_FIELD_MAP, offsetof(MoeGpu, peak), .fields = peak_fields},
    {"hbm", MOE_FIELD_MAP, offsetof(MoeGpu, hbm), .fields = hbm_fields},
    {"efficiency", MOE_FIELD_MAP, offsetof(MoeGpu, efficiency), .fields = efficiency_fields},
    {"launch", MOE_FIELD_QUANTITY, offsetof(MoeGpu, launch), "0us", .unit = MOE_UNIT_TIME, .max = 1,
     .doc = "time of a kernel with nothing to do"},
    {NULL},
};

gboolean moe_gpu_load(const char *name, const char *base_dir, MoeGpu *gpu, GError **error)
{
    g_autofree char *path =
        moe_preset_find(name, "topologies/presets/gpus", ".yaml", "GPU", base_dir, error);
    g_autoptr(MoeNode) root = path != NULL ? moe_yaml_load(path, error) : NULL;
    return root != NULL && moe_fields_read(moe_gpu_fields, root, path, gpu, error);
}

void moe_gpu_clear(MoeGpu *gpu)
{
    moe_fields_clear(moe_gpu_fields, gpu);
}

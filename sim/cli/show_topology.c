#include "config.h"

#include "sim/alltoall.h"
#include "sim/base/text.h"
#include "sim/cli/show.h"
#include "sim/collective.h"
#include "sim/kernels.h"
#include "topologies/summary.h"

#include <math.h>

static void add_quantity(GString *text, const char *name, double value, MoeUnit unit,
                         const char *source)
{
    char buffer[MOE_UNITS_TEXT];
    if (!isnan(value))
        moe_show_line(text, name, "%-14s %s", moe_units_format(value, unit, buffer),
                      source != NULL ? source : "");
}

static void add_gpu(const MoeGpu *gpu, GString *text)
{
    moe_show_line(text, "GPU", "%s", gpu->name);
    for (int t = 0; t < MOE_TYPE_COUNT; t++) {
        g_autofree char *name = g_strdup_printf("peak %s", moe_type_names()[t]);
        add_quantity(text, name, gpu->peak[t], MOE_UNIT_SPEED,
                     t == MOE_TYPE_BF16 ? gpu->sources.peak : NULL);
    }
    add_quantity(text, "memory bandwidth", gpu->hbm.bandwidth, MOE_UNIT_RATE, gpu->sources.hbm);
    add_quantity(text, "memory size", gpu->hbm.size, MOE_UNIT_BYTES, NULL);
    add_quantity(text, "compute efficiency", gpu->efficiency.compute, MOE_UNIT_RATIO,
                 gpu->sources.efficiency);
    add_quantity(text, "memory efficiency", gpu->efficiency.memory, MOE_UNIT_RATIO, NULL);
    add_quantity(text, "launch", gpu->launch, MOE_UNIT_TIME, gpu->sources.launch);
}

gboolean moe_show_gpu(const char *path, GString *text, GError **error)
{
    MoeGpu gpu = {0};
    if (!moe_gpu_load(path, NULL, &gpu, error))
        return FALSE;
    g_string_append_printf(text, "gpu %s\n", gpu.name);
    add_gpu(&gpu, text);
    moe_gpu_clear(&gpu);
    return TRUE;
}

static void add_cluster(const MoeTopology *t, GString *text)
{
    const MoeTopologyFile *file = &t->file;
    g_string_append_printf(text, "topology %s%s%s\n", file->name,
                           file->description != NULL ? ": " : "",
                           file->description != NULL ? file->description : "");
    moe_show_line(text, "GPUs", "%" G_GINT64_FORMAT " in %" G_GINT64_FORMAT " node%s", t->n_gpus,
                  file->nodes, file->nodes == 1 ? "" : "s");
    if (t->n_nics == 0) {
        moe_show_line(text, "scale-out", "none");
        return;
    }
    moe_show_line(text, "scale-out", "%s, %" G_GINT64_FORMAT " NIC%s", t->scale_out->name,
                  t->n_nics, t->n_nics == 1 ? "" : "s");
    add_quantity(text, "  latency", file->scale_out.latency, MOE_UNIT_TIME,
                 file->sources.scale_out);
}

static void add_group(const MoeGroup *group, GString *text)
{
    const MoeTopologyFile *file = &group->file;
    moe_show_line(text, "nodes", "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " GPU%s, scale-up %s",
                  file->nodes, file->gpus_per_node, file->gpus_per_node == 1 ? "" : "s",
                  group->scale_up->name);
    if (group->scale_up != &moe_scale_up_none) {
        add_quantity(text, "  bandwidth", file->scale_up.bandwidth, MOE_UNIT_RATE,
                     file->sources.scale_up);
        add_quantity(text, "  efficiency", file->scale_up.efficiency, MOE_UNIT_RATIO, NULL);
        add_quantity(text, "  latency", file->scale_up.latency, MOE_UNIT_TIME, NULL);
    }
    if (file->nics.per_node == 0)
        return;
    moe_show_line(text, "NICs", "%" G_GINT64_FORMAT " per node", file->nics.per_node);
    add_quantity(text, "  bandwidth", file->nics.bandwidth, MOE_UNIT_RATE, file->sources.nics);
    add_quantity(text, "  efficiency", file->nics.efficiency, MOE_UNIT_RATIO, NULL);
    add_quantity(text, "  PCIe", file->nics.pcie, MOE_UNIT_RATE, NULL);
}

/* Of the fabrics that connect anything. */
static void add_bisections(const MoeTopology *t, GString *text)
{
    const double rates[MOE_FABRIC_COUNT] = {
        [MOE_FABRIC_SCALE_UP] = moe_topology_group(t, 0)->scale_up == &moe_scale_up_none
                                    ? 0
                                    : moe_topology_bisection(t, MOE_FABRIC_SCALE_UP),
        [MOE_FABRIC_SCALE_OUT] = moe_topology_bisection(t, MOE_FABRIC_SCALE_OUT)};
    static const char *const names[MOE_FABRIC_COUNT] = {"scale-up, one node", "scale-out"};
    if (rates[MOE_FABRIC_SCALE_UP] > 0 || rates[MOE_FABRIC_SCALE_OUT] > 0)
        g_string_append(text, "bisection, first half to second half\n");
    for (int f = 0; f < MOE_FABRIC_COUNT; f++)
        if (rates[f] > 0)
            add_quantity(text, names[f], rates[f], MOE_UNIT_RATE, NULL);
}

static void add_fabrics(const MoeTopology *t, GString *text)
{
    char rate[MOE_UNITS_TEXT], time[MOE_UNITS_TEXT], count[MOE_UNITS_TEXT];
    g_autoptr(GArray) counts = moe_topology_count_links(t);
    g_autoptr(GArray) rungs = moe_topology_ladder(t);
    if (counts->len > 0)
        g_string_append(text, "links, one per direction, payload\n");
    for (guint i = 0; i < counts->len; i++) {
        const MoeLinkCount *c = &g_array_index(counts, MoeLinkCount, i);
        moe_show_line(text, c->kind, "%8s x %s%s", moe_units_format_count(c->count, count),
                      moe_units_format(c->bandwidth, MOE_UNIT_RATE, rate),
                      c->broken == 0          ? ""
                      : c->broken == c->count ? ", broken"
                                              : ", some broken");
    }
    add_bisections(t, text);
    if (rungs->len > 0)
        g_string_append(text, "ladder of GPU 0, one message alone\n");
    for (guint i = 0; i < rungs->len; i++) {
        const MoeRung *r = &g_array_index(rungs, MoeRung, i);
        g_autofree char *name = g_strdup_printf("%s, %d link%s", moe_fabric_name(r->fabric),
                                                r->links, r->links == 1 ? "" : "s");
        moe_show_line(text, name, "%8s %s at %s, %s", moe_units_format_count(r->peers, count),
                      r->peers == 1 ? "peer " : "peers",
                      moe_units_format(r->bandwidth, MOE_UNIT_RATE, rate),
                      moe_units_format(r->latency, MOE_UNIT_TIME, time));
    }
}

static void add_kernels(const MoeKernels *kernels, GString *text)
{
    char times[3][MOE_UNITS_TEXT];
    for (const char *const *name = moe_alltoall_names(); *name != NULL; name++) {
        static const char *const parts[] = {"dispatch", "combine"};
        for (int part = MOE_KERNEL_DISPATCH; part <= MOE_KERNEL_COMBINE; part++) {
            MoeKernelCost cost;
            if (!moe_kernels_cost(kernels, *name, (MoeKernelPart)part, &cost))
                continue;
            const char *sources = moe_kernels_sources(kernels, *name);
            g_string_append_printf(text, "kernel %s, %s\n", *name, parts[part]);
            moe_show_line(text, "  startup", "%-14s %s",
                          moe_units_format(cost.startup, MOE_UNIT_TIME, times[0]),
                          part == MOE_KERNEL_DISPATCH && sources != NULL ? sources : "");
            if (cost.pass > 0)
                moe_show_line(text, "  one token's pass", "%s",
                              moe_units_format(cost.pass, MOE_UNIT_TIME, times[1]));
            moe_show_line(text, "  per peer, per token", "%s, %s",
                          moe_units_format(cost.message, MOE_UNIT_TIME, times[1]),
                          moe_units_format(cost.token, MOE_UNIT_TIME, times[2]));
            if (cost.sms > 0)
                moe_show_line(text, "  multiprocessors", "%" G_GINT64_FORMAT, cost.sms);
        }
    }
}

static void add_variants(const MoeKernels *kernels, GString *text)
{
    char times[2][MOE_UNITS_TEXT], rate[MOE_UNITS_TEXT];
    for (const char *const *name = moe_operation_names(); *name != NULL; name++) {
        MoeKernelCost cost;
        guint n;
        if (!moe_kernels_cost(kernels, *name, MOE_KERNEL_ALONE, &cost))
            continue;
        const char *sources = moe_kernels_sources(kernels, *name);
        const MoeKernelVariant *variants = moe_kernels_variants(kernels, *name, &n);
        g_string_append_printf(text, "kernel %s, startup and per peer%s%s\n", *name,
                               sources != NULL ? ": " : "", sources != NULL ? sources : "");
        const MoeKernelVariant plain = {NULL, NULL, cost.startup, cost.message, NAN};
        for (guint i = 0; i < MAX(n, 1); i++) {
            const MoeKernelVariant *v = n > 0 ? &variants[i] : &plain;
            g_autofree char *title =
                g_strdup_printf("  %s %s", v->algorithm != NULL ? v->algorithm : "any algorithm",
                                v->protocol != NULL ? v->protocol : "");
            moe_show_line(text, title, "%s, %s%s%s",
                          moe_units_format(v->startup, MOE_UNIT_TIME, times[0]),
                          moe_units_format(v->message, MOE_UNIT_TIME, times[1]),
                          isnan(v->rate) ? "" : ", handles ",
                          isnan(v->rate) ? "" : moe_units_format(v->rate, MOE_UNIT_RATE, rate));
        }
    }
}

gboolean moe_show_topology(const char *path, int nodes, const char *format, GString *text,
                           GError **error)
{
    g_autoptr(MoeTopology) t = moe_topology_load(path, nodes, error);
    g_autoptr(MoeKernels) kernels = t != NULL ? moe_kernels_read(t, error) : NULL;
    if (kernels == NULL)
        return FALSE;
    if (format != NULL) {
        if (!moe_topology_check_platform(t, error))
            return FALSE;
        g_autofree char *xml = moe_topology_platform(t);
        g_string_append(text, xml);
        return TRUE;
    }
    add_cluster(t, text);
    for (guint g = 0; g < t->groups->len; g++) {
        const MoeGroup *group = &g_array_index(t->groups, MoeGroup, g);
        if (t->groups->len > 1)
            g_string_append_printf(text, "group %u\n", g);
        add_group(group, text);
        add_gpu(&group->gpu, text);
    }
    add_fabrics(t, text);
    add_kernels(kernels, text);
    add_variants(kernels, text);
    return TRUE;
}

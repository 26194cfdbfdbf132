#include "config.h"

#include "sim/base/preset.h"
#include "sim/base/yaml.h"
#include "sim/engine.h"
#include "tests/unit/cluster.h"
#include "tests/unit/harness.h"
#include "topologies/summary.h"

#include <glib/gstdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- routes ---------------------------------------------------------------------------------- */

static const struct {
    const char *yaml;
    gint64 from, to;
    MoeFabric fabric;
    double bandwidth, latency; /* 0: no route */
} routes[] = {
    /* Two nodes of four with two shared NICs each; 80 % of 200 GB/s and 50 % of 400 Gb/s. */
    {"shared", 0, 3, MOE_FABRIC_SCALE_UP, 160e9, 1e-6},
    {"shared", 0, 4, MOE_FABRIC_SCALE_UP, 0, 0},
    {"shared", 0, 4, MOE_FABRIC_SCALE_OUT, 25e9, 3e-6},
    {"shared", 0, 1, MOE_FABRIC_SCALE_OUT, 0, 0}, /* one NIC: no link in between */
    {"shared", 0, 2, MOE_FABRIC_SCALE_OUT, 25e9, 3e-6},
    {"shared", 7, 3, MOE_FABRIC_SCALE_OUT, 25e9, 3e-6},
    /* Direct links: 300 GB/s over three peers. */
    {"mesh", 0, 1, MOE_FABRIC_SCALE_UP, 100e9, 0.5e-6},
    {"mesh", 3, 0, MOE_FABRIC_SCALE_UP, 100e9, 0.5e-6},
    {"mesh", 0, 1, MOE_FABRIC_SCALE_OUT, 0, 0}, /* no NICs */
    /* No scale-up domain. */
    {"none", 0, 1, MOE_FABRIC_SCALE_UP, 0, 0},
    {"none", 0, 1, MOE_FABRIC_SCALE_OUT, 12.5e9, 2e-6},
};

static MoeTopology *named(const char *name)
{
    if (strcmp(name, "shared") == 0)
        return test_cluster(
            "{name: t, nodes: 2, gpus_per_node: 4, gpu: h800-sxm,"
            " scale_up: {kind: nvswitch, bandwidth: 200GBps, efficiency: 80%, latency: 1us},"
            " nics: {per_node: 2, bandwidth: 400Gbps, efficiency: 50%},"
            " scale_out: {latency: 3us}}");
    if (strcmp(name, "mesh") == 0)
        return test_cluster("{name: t, nodes: 1, gpus_per_node: 4, gpu: h800-sxm,"
                            " scale_up: {kind: mesh, bandwidth: 300GBps, latency: 0.5us}}");
    return test_cluster("{name: t, nodes: 2, gpus_per_node: 2, gpu: h800-sxm, scale_up: none,"
                        " nics: {per_node: 2, bandwidth: 100Gbps}, scale_out: {latency: 2us}}");
}

START_TEST(knows_routes)
{
    g_autoptr(MoeTopology) t = named(routes[_i].yaml);
    MoeFabric fabric = routes[_i].fabric;
    assert_close(moe_topology_bandwidth(t, fabric, routes[_i].from, routes[_i].to),
                 routes[_i].bandwidth, 1e-12);
    assert_close(moe_topology_latency(t, fabric, routes[_i].from, routes[_i].to),
                 routes[_i].latency, 1e-12);
}
END_TEST

/* One message alone takes latency + bytes / bandwidth of our route; if SimGrid's platform routed it
 * otherwise, it would not. */
static void check_pair(const MoeTopology *t, MoeFabric fabric, gint64 from, gint64 to)
{
    const gint64 bytes = 12345678;
    g_autoptr(MoePrograms) programs = moe_programs_new(t->n_gpus);
    moe_programs_exchange(programs, MOE_PHASE_DISPATCH, 0);
    moe_programs_send(programs, from, to, fabric, bytes);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTimes) times = moe_engine_run(t, programs, 0, NULL, &error);
    assert_no_error(error);
    double alone = moe_topology_latency(t, fabric, from, to) +
                   (double)bytes / moe_topology_bandwidth(t, fabric, from, to);
    assert_close(times->ranks[from][0].end, alone, 1e-9);
    assert_close(times->ranks[to][0].end, alone, 1e-9);
}

START_TEST(platform_routes_as_we_do)
{
    static const char *const names[] = {"shared", "mesh", "none"};
    g_autoptr(MoeTopology) t = named(names[_i]);
    for (gint64 from = 0; from < t->n_gpus; from++)
        for (gint64 to = 0; to < t->n_gpus; to++)
            for (int f = 0; f < MOE_FABRIC_COUNT && from != to; f++)
                if (moe_topology_bandwidth(t, (MoeFabric)f, from, to) > 0)
                    check_pair(t, (MoeFabric)f, from, to);
}
END_TEST

/* --- reading --------------------------------------------------------------------------------- */

#define BASE "name: t\nnodes: 2\ngpus_per_node: 8\ngpu: h800-sxm\n"
#define UP   "scale_up: {kind: nvswitch, bandwidth: 200GBps}\n"
#define NICS "nics: {per_node: 8, bandwidth: 400Gbps}\n"

static const struct {
    const char *yaml, *message;
} bad[] = {
    {BASE UP "nics: {per_node: 8, bandwidth: 400}\n",
     "topology.yaml:6:32: bandwidth: '400' has no unit; write 400Gbps (bits) or 400GBps (bytes)"},
    {BASE UP "nics: {per_node: 8, bandwidth: 0Gbps}\n", "bandwidth: '0Gbps' is out of range"},
    {BASE UP "nics: {per_node: 8, bandwidth: -1Gbps}\n", "bandwidth: '-1Gbps' is negative"},
    {BASE UP "nics: {per_node: 8}\n", "nics: bandwidth: missing"},
    {BASE UP, "nodes without NICs cannot be reached"},
    {BASE UP "nics: {per_node: 3, bandwidth: 400Gbps}\n", "3 NICs do not divide 8 GPUs evenly"},
    {BASE UP "nics: {per_node: 8, bandwidth: 400Gbps, affinity: [0, 1]}\n",
     "affinity: 2 entries; one per GPU of a node, 8, are needed"},
    {BASE UP "nics: {per_node: 2, bandwidth: 400Gbps, affinity: [0, 0, 0, 0, 1, 1, 1, 2]}\n",
     "GPU 7 has NIC 2; a node has 2, counted from 0"},
    {BASE NICS "scale_up: {kind: nvswich, bandwidth: 200GBps}\n", "did you mean nvswitch?"},
    {BASE NICS "scale_up: {kind: nvswitch}\n", "scale_up: bandwidth: missing"},
    {BASE NICS "scale_up: {kind: nvswitch, bandwith: 200GBps}\n",
     "topology.yaml:6:28: bandwith: unknown key; did you mean bandwidth?"},
    {BASE UP NICS "scale_out: {kind: non-blocking, latency: 4}\n", "latency: '4' has no unit"},
    {BASE UP NICS "nodes: 3\n", "topology.yaml:7:1: nodes: written twice in one map"},
    {"name: t\nnodes: 0\ngpus_per_node: 8\ngpu: h800-sxm\n" UP NICS,
     "topology.yaml:2:8: nodes: '0' is out of range"},
    {"name: t\nnodes: 9999\ngpus_per_node: 8\ngpu: h800-sxm\n" UP NICS,
     "at most 65536 are simulated"},
    {"name: t\nnodes: 2\ngpus_per_node: 8\ngpu: h801\n" UP NICS,
     "the presets are: a100-sxm-80gb, ascend-910c"},
    {"name: t\nnodes: 1\ngpus_per_node: 2\ngpu: h800-sxm\nscale_up: none\n",
     "needs one NIC per GPU"},
    {"name: t\nnodes: 1\ngpus_per_node: 65\ngpu: h800-sxm\nscale_up: {kind: mesh, bandwidth: "
     "1GBps}\n",
     "topology.yaml:5:18: scale_up: kind mesh with 65 GPUs per node; at most 64 have direct links"},
    {"- a\n- b\n", "a list where keys and values belong"},
    {"preset: h8000\n",
     "topology.yaml:1:9: preset: 'h8000' is neither a file nor a preset topology; "
     "did you mean h800?"},
    /* Kinds and what belongs to them. */
    {BASE UP NICS "scale_out: {kind: fat-tree}\n", "switch_nics: missing; write how many NICs"},
    {BASE UP NICS "scale_out: {kind: fat-tree, switch_nics: 4, dimensions: [2]}\n",
     "dimensions: kind fat-tree does not use it; take it away"},
    {BASE UP NICS "scale_out: {levels: 3}\n", "levels: kind non-blocking does not use it"},
    {BASE UP NICS "scale_out: {kind: fat-tree, switch_nics: 4, oversubscription: 3}\n",
     "oversubscription makes 1.333 uplinks per switch; a whole number"},
    {BASE UP NICS "scale_out: {kind: fat-tree, switch_nics: 4, levels: 3}\n",
     "group_switches: missing; write how many leaves a pod has"},
    {BASE UP NICS "scale_out: {kind: fat-tree, switch_nics: 2, levels: 3, group_switches: 2, "
                  "core_oversubscription: 4}\n",
     "core_oversubscription makes 0.5 uplinks per switch"},
    {BASE UP NICS "scale_out: {kind: fat-tree, switch_nics: 4, levels: 4}\n", "levels: '4' is out"},
    {BASE UP NICS "scale_out: {kind: dragonfly, switch_nics: 2, group_switches: 2}\n",
     "global_links: missing; a dragonfly needs"},
    {BASE UP NICS "scale_out: {kind: dragonfly, switch_nics: 1, group_switches: 2, global_links: "
                  "1}\n",
     "2 routers with 1 each reach 2 other groups; there are 7"},
    {BASE UP NICS "scale_out: {kind: torus, dimensions: [4, 5]}\n",
     "their product is not the number of routers, 16"},
    {BASE UP NICS "scale_out: {kind: torus, dimensions: [1, 1, 1, 1, 1, 1, 1, 1, 16]}\n",
     "9 axes; 1 to 8 are possible"},
    {"name: t\nnodes: 64\ngpus_per_node: 8\ngpu: h800-sxm\n" UP NICS
     "scale_out: {kind: mesh, dimensions: [512]}\n",
     "the longest route crosses 511 links; at most 64"},
    {BASE UP NICS "scale_out: {kind: fattree}\n", "did you mean fat-tree?"},
    {BASE NICS "scale_up: none\nscale_out: rail-only\n",
     "no route from node0 gpu0 (GPU 0) to node0 gpu1 (GPU 1); rail-only fabrics reach another"},
    {"name: t\nnodes: 1\ngpus_per_node: 200\ngpu: h800-sxm\nscale_up: {kind: ring, bandwidth: "
     "1GBps}\n",
     "routes of at most 60 links, 120 GPUs"},
    {BASE NICS "scale_up: {kind: nvswitch, bandwidth: 1GBps, switch_gpus: 2}\n",
     "switch_gpus: kind nvswitch does not use it"},
    {BASE "scale_up: {kind: pcie-tree, bandwidth: 25GBps}\n"
          "nics: {per_node: 8, bandwidth: 400Gbps, pcie: 25GBps}\n",
     "nics: pcie: scale_up: kind pcie-tree limits the NICs already"},
    {"name: t\nnodes: 1\ngpus_per_node: 8\ngpu: h800-sxm\n" UP "nics: {pcie: 32GBps}\n",
     "nics: pcie: a node has no NICs"},
    /* Custom graphs. */
    {BASE UP NICS "scale_out: custom\n", "scale_out: graph: missing; write for example"},
    {BASE NICS "scale_up: {kind: custom, bandwidth: 1GBps}\n", "scale_up: graph: missing"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s]}}\n", "links: missing"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s, s], links: []}}\n",
     "switches: 's' is there already"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s, \"a\\nb\"], links: []}}\n",
     "topology.yaml:7:49: graph: switches: \"a\\nb\" has a control character; write letters"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [\"a\\x7F\"], links: []}}\n",
     "has a control character; write letters"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s, ''], links: []}}\n",
     "topology.yaml:7:49: graph: switches: an empty name; write for example 'spine0'"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: ['s*'], links: []}}\n",
     "topology.yaml:7:46: graph: switches: 's*' has a *, which stands for many ends in links"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s?], links: []}}\n",
     "graph: switches: 's?' has a ?, which stands for many ends in links; write letters"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [spine], links: [{from: node0 nic0, "
                  "to: spin}]}}\n",
     "there is no 'spin'; did you mean spine?"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s], links: [{from: 'gpu*', to: "
                  "s}]}}\n",
     "no end or switch matches 'gpu*'"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s], links: [{from: s, to: s}]}}\n",
     "a link from 's' to itself"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s], links: {from: s}}}\n",
     "graph: links: must be a list of maps"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s], links: [{from: node0 nic*, to: "
                  "s}]}}\n",
     "no route from node0 gpu0 (GPU 0) to node1 gpu0 (GPU 8); repair or add a link"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s], links: [{from: node* nic*, to: "
                  "s}], routes: [{from: node0 nic0, to: node1 nic0}]}}\n",
     "graph: routes: no working link from node0 nic0 to node1 nic0"},
    {BASE UP NICS "scale_out: {kind: custom, graph: {switches: [s], links: [{from: node* nic*, to: "
                  "s}], routes: [{from: node0 nic0, to: s}]}}\n",
     "from and to must be two different ends"},
    /* Nodes that differ. */
    {BASE UP NICS "groups: [{nodes: 2}]\n",
     "topology.yaml:2:8: nodes: the groups say how many there are; take it away"},
    {"name: t\ngpus_per_node: 8\ngpu: h800-sxm\n" UP NICS "groups: []\n", "groups: must be a list"},
    {"name: t\ngpus_per_node: 8\ngpu: h800-sxm\n" UP NICS "groups: [{gpu: h100-sxm}]\n",
     "groups: nodes: missing"},
    {"name: t\ngpus_per_node: 8\ngpu: h800-sxm\n" UP NICS "groups: [{nodes: 1, name: x}]\n",
     "groups: name: not a key of a group; these are nodes"},
    {"name: t\ngpus_per_node: 8\ngpu: h800-sxm\n" UP NICS "groups: [two]\n",
     "groups: each must be a map"},
    {"name: t\ngpus_per_node: 8\ngpu: h800-sxm\n" UP NICS
     "groups: [{nodes: 1}, {nodes: 1, nics: {per_node: 4}}]\nscale_out: rail-optimised\n",
     "rails need as many NICs in every node; node 0 has 8, node 1 4"},
    /* Links that differ. */
    {BASE UP NICS "links: {name: x}\n", "links: must be a list"},
    {BASE UP NICS "links: [{name: node0 nic9 out, share: 50%}]\n",
     "topology.yaml:7:9: links: name: no link is called 'node0 nic9 out'; did you mean"},
    {BASE UP NICS "links: [{name: 'leaf*', share: 50%}]\n", "there is for example node0 gpu0"},
    {BASE UP NICS "links: [{name: node0 nic0 out}]\n", "nothing changes; write bandwidth, share"},
    {BASE UP NICS "links: [{name: node0 nic0 out, share: 150%}]\n",
     "share: '150%' is out of range; write a value from 0.01% to 100%"},
    {BASE UP NICS "scale_out: {kind: fat-tree, switch_nics: 4, oversubscription: 2000}\n",
     "oversubscription: '2000' is out of range; write a value from 0.01 to 1000"},
    {BASE UP NICS "links: [{name: node0 nic3 out, broken: true}]\n",
     "no route from node0 gpu3 (GPU 3) to node1 gpu0 (GPU 8); repair or add a link"},
    {"name: t\nnodes: 1\ngpus_per_node: 8\ngpu: h800-sxm\n" UP
     "links: [{name: node0 gpu5 scale-up in, broken: true}]\n",
     "no route from node0 gpu0 (GPU 0) to node0 gpu5 (GPU 5)"},
};

START_TEST(refuses_bad_topologies)
{
    g_autofree char *path = test_file("topology.yaml", bad[_i].yaml, -1);
    GError *error = NULL;
    ck_assert(moe_topology_load(path, 0, &error) == NULL);
    assert_error(&error, MOE_ERROR_INPUT, bad[_i].message);
}
END_TEST

START_TEST(overrides_a_preset)
{
    g_autoptr(MoeTopology) t = test_cluster("{preset: h800, nodes: 3, nics: {efficiency: 50%}}");
    ck_assert_int_eq(t->n_gpus, 24);
    ck_assert_str_eq(t->file.name, "h800, changed");
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_OUT, 0, 8), 25e9, 1e-12);
    assert_close(moe_topology_bandwidth(t, MOE_FABRIC_SCALE_UP, 0, 1), 132e9, 1e-12);
}
END_TEST

/* What a topology is called and described as, and the beginning of where its NICs are from. */
static const struct {
    const char *yaml, *name, *description, *nics;
} derived[] = {
    {"preset: theirs.yaml\nnodes: 3\n", "theirs", "eight GPUs", "table 1"},
    {"preset: theirs.yaml\nnics: {bandwidth: 400Gbps}\n", "theirs", "eight GPUs", "table 1"},
    {"preset: theirs.yaml\nnics: {bandwidth: 100Gbps, pcie: 55GBps}\nlinks: [{name: node0 nic0 in, "
     "share: 50%}]\n",
     "theirs, changed", "as theirs.yaml but for nics.bandwidth, nics.pcie, links",
     "changed: bandwidth, pcie; theirs.yaml: table 1"},
    {"preset: theirs.yaml\nscale_out: {latency: 3us}\n", "theirs, changed",
     "as theirs.yaml but for scale_out", "table 1"},
    {"preset: theirs.yaml\nname: mine\nnics: {per_node: 4}\nsources: {nics: table 2}\n", "mine",
     "as theirs.yaml but for nics.per_node", "table 2"},
    {"preset: theirs.yaml\nnics: {per_node: 4}\ndescription: four NICs\n", "theirs, changed",
     "four NICs", "changed: per_node; theirs.yaml: table 1"},
    {"preset: changed.yaml\ngpu: h100-sxm\nnics: {efficiency: 90%}\n", "theirs, changed",
     "as changed.yaml but for gpu, nics.efficiency",
     "changed: efficiency; changed.yaml: changed: per_node; theirs.yaml: table 1"},
};

START_TEST(describes_what_is_changed)
{
    g_free(test_file("theirs.yaml",
                     "name: theirs\ndescription: eight GPUs\nsources: {nics: table 1}\n"
                     "gpus_per_node: 8\ngpu: h800-sxm\n" UP NICS,
                     -1));
    g_free(test_file("changed.yaml", "preset: theirs.yaml\nnics: {per_node: 4}\n", -1));
    g_autofree char *path = test_file("topology.yaml", derived[_i].yaml, -1);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTopology) t = moe_topology_load(path, 2, &error);
    assert_no_error(error);
    ck_assert_str_eq(t->file.name, derived[_i].name);
    ck_assert_str_eq(t->file.description, derived[_i].description);
    ck_assert_str_eq(t->file.sources.nics, derived[_i].nics);
}
END_TEST

/* A group's own figures are not where the others are from, nor is a kernel's. */
START_TEST(marks_the_sources_of_groups_and_kernels)
{
    g_autoptr(MoeTopology) t =
        test_cluster("{preset: h800, groups: [{nodes: 1}, {nodes: 1, nics: {bandwidth: 200Gbps}}],"
                     " kernels: {deepep-low-latency: {dispatch: {startup: 1us}}}}");
    const MoeGroup *groups = (const MoeGroup *)(gpointer)t->groups->data;
    ck_assert(g_str_has_prefix(groups[0].file.sources.nics, "DeepEP README"));
    ck_assert(g_str_has_prefix(groups[1].file.sources.nics, "changed: bandwidth; other nodes: D"));
    const MoeNode *kernel = moe_node_get(t->file.kernels, "deepep-low-latency");
    ck_assert(g_str_has_prefix(moe_node_get(kernel, "sources")->text,
                               "changed: dispatch.startup; h800: DeepEP README"));
}
END_TEST

/* How many lines of a drawing are in @state. */
static guint count_lines(const char *links, int state)
{
    g_auto(GStrv) rows = g_strsplit(links, "\n", -1);
    guint n = 0;
    for (guint i = 1; rows[i] != NULL && *rows[i] != '\0'; i++) {
        g_auto(GStrv) cells = g_strsplit(rows[i], ",", -1);
        ck_assert_uint_eq(g_strv_length(cells), 7);
        n += atoi(cells[5]) == state ? 1 : 0;
    }
    return n;
}

/* What joins two vertices is one line, in the worst state of either way: 2 nodes of 8 GPUs with 16
 * cables to switches, 16 of NICs, 16 from GPU to NIC, and 2 leaves with 8 cables to spines each. */
START_TEST(draws_a_cable_once)
{
    g_autoptr(MoeTopology) t = test_cluster(
        "{preset: h800, nodes: 2, scale_out: {kind: fat-tree, switch_nics: 8},"
        " links: [{name: spine1 to leaf0, broken: true}, {name: leaf1 to spine2, broken: true},"
        " {name: spine2 to leaf1, share: 50%}, {name: node0 nic1 in, share: 50%}]}");
    g_autoptr(GString) vertices = g_string_new(NULL), links = g_string_new(NULL);
    moe_topology_draw(t, vertices, links);
    ck_assert_uint_eq(count_lines(links->str, 0), 16 + 15 + 16 + 14);
    ck_assert_uint_eq(count_lines(links->str, 1), 1);
    ck_assert_uint_eq(count_lines(links->str, 2), 2);
}
END_TEST

/* Of several NICs of a GPU, each is joined to it: 4 GPUs with a cable to their switch and two NICs,
 * whose cables to the fabric are 8 more. */
START_TEST(draws_all_nics_of_a_gpu)
{
    g_autoptr(MoeTopology) t =
        test_cluster("{preset: h800, nodes: 2, gpus_per_node: 2, nics: {per_node: 4}}");
    g_autoptr(GString) vertices = g_string_new(NULL), links = g_string_new(NULL);
    moe_topology_draw(t, vertices, links);
    ck_assert_uint_eq(count_lines(links->str, 0), 4 + 8 + 8);
}
END_TEST

/* What does not fit together is mended where it was changed, not in the preset. */
START_TEST(errors_name_the_file_that_changes_a_preset)
{
    static const struct {
        const char *yaml, *message;
    } rows[] = {
        {"nodes: 2\npreset: h800\nlinks: [{name: node0 nic1 *, broken: true}]\n",
         "topology.yaml:1:1: no route from node0 gpu1 (GPU 1) to node1 gpu0 (GPU 8)"},
        {"preset: h800\nnics: {bandwidth: null}\n", "topology.yaml:2:7: nics: bandwidth: missing"},
        {"preset: h800\nscale_out: {switch_nics: 8}\n",
         "topology.yaml:2:26: scale_out: switch_nics: kind non-blocking does not use it"},
        {"preset: h800\nnics: {per_node: 3}\n",
         "topology.yaml:2:18: nics: per_node: 3 NICs do not divide 8 GPUs evenly"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = test_file("topology.yaml", rows[i].yaml, -1);
        GError *error = NULL;
        ck_assert(moe_topology_load(path, 2, &error) == NULL);
        assert_error(&error, MOE_ERROR_INPUT, rows[i].message);
    }
}
END_TEST

/* Next to a topology of its own, the GPU of the preset is still the preset's. */
START_TEST(a_gpu_is_relative_to_the_file_that_names_it)
{
    static const char gpu[] =
        "name: %s\npeak: {bf16: 1TFLOPS}\nhbm: {bandwidth: 1TBps, size: 1GB}\n";
    g_autofree char *mine = g_strdup_printf(gpu, "mine"), *theirs = g_strdup_printf(gpu, "theirs");
    g_autofree char *folder = g_build_filename(test_folder(), "theirs", NULL);
    ck_assert_int_eq(g_mkdir(folder, 0777), 0);
    g_free(test_file("gpu.yaml", mine, -1));
    g_free(test_file("theirs/gpu.yaml", theirs, -1));
    g_free(
        test_file("theirs/base.yaml", "name: t\ngpus_per_node: 8\ngpu: ./gpu.yaml\n" UP NICS, -1));
    static const char *const rows[][2] = {
        {"preset: h800\ngpu: ./gpu.yaml\n", "mine"},
        {"preset: theirs/base.yaml\n", "theirs"},
        {"preset: theirs/base.yaml\ngpu: ./gpu.yaml\n", "mine"},
        {"preset: theirs/base.yaml\ngpu: theirs/gpu.yaml\n", "theirs"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = test_file("topology.yaml", rows[i][0], -1);
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeTopology) t = moe_topology_load(path, 2, &error);
        assert_no_error(error);
        ck_assert_str_eq(t->gpu.name, rows[i][1]);
    }
}
END_TEST

START_TEST(presets_load_and_cite_sources)
{
    g_auto(GStrv) names = moe_preset_list("topologies/presets", ".yaml");
    ck_assert_uint_ge(g_strv_length(names), 10);
    for (guint i = 0; names[i] != NULL; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(MoeTopology) t = moe_topology_load(names[i], 2, &error);
        assert_no_error(error);
        ck_assert_str_eq(t->file.name, names[i]);
        const char *sources[] = {t->file.sources.scale_up,  t->file.sources.nics,
                                 t->file.sources.scale_out, t->gpu.sources.peak,
                                 t->gpu.sources.hbm,        t->gpu.sources.efficiency,
                                 t->gpu.sources.launch};
        for (size_t s = 0; s < G_N_ELEMENTS(sources); s++)
            ck_assert_msg(sources[s] != NULL && strlen(sources[s]) > 10, "%s: source %zu", names[i],
                          s);
    }
}
END_TEST

/* Published figures, typed in again from the datasheets. */
START_TEST(presets_hold_published_figures)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTopology) h100 = moe_topology_load("dgx-h100", 1, &error);
    g_autoptr(MoeTopology) h800 = moe_topology_load("h800", 1, &error);
    g_autoptr(MoeTopology) a100 = moe_topology_load("a100", 1, &error);
    assert_no_error(error);
    assert_close(h100->file.scale_up.bandwidth, 900e9 / 2, 1e-12);
    assert_close(h800->file.scale_up.bandwidth, 400e9 / 2, 1e-12);
    assert_close(a100->file.scale_up.bandwidth, 600e9 / 2, 1e-12);
    assert_close(h800->file.nics.bandwidth, 400e9 / 8, 1e-12);
    assert_close(a100->file.nics.bandwidth, 200e9 / 8, 1e-12);
    assert_close(h100->gpu.peak[MOE_TYPE_BF16], 1979e12 / 2, 1e-3);
    assert_close(h100->gpu.peak[MOE_TYPE_FP8], 3958e12 / 2, 1e-3);
    assert_close(a100->gpu.peak[MOE_TYPE_BF16], 312e12, 1e-12);
    ck_assert(isnan(a100->gpu.peak[MOE_TYPE_FP8]));
    g_autoptr(MoeTopology) nvl72 = moe_topology_load("gb200-nvl72", 1, &error);
    g_autoptr(MoeTopology) mi300x = moe_topology_load("mi300x", 1, &error);
    g_autoptr(MoeTopology) tpu = moe_topology_load("tpu-v5p", 16, &error);
    g_autoptr(MoeTopology) cloudmatrix = moe_topology_load("cloudmatrix384", 1, &error);
    assert_no_error(error);
    assert_close(72 * 2 * nvl72->file.scale_up.bandwidth, 130e12, 0.01);
    assert_close(72 * nvl72->gpu.peak[MOE_TYPE_FP8], 720e15 / 2, 1e-3);
    assert_close(mi300x->file.scale_up.bandwidth, 7 * 128e9 / 2, 1e-12);
    assert_close(tpu->file.nics.bandwidth, 1200e9 / 2, 1e-12);
    assert_close(6 * tpu->file.scale_out.link_bandwidth, tpu->file.nics.bandwidth, 1e-12);
    assert_close(cloudmatrix->file.scale_up.bandwidth, 392e9, 1e-12);
    ck_assert_int_eq(cloudmatrix->n_gpus, 384);
    assert_close(a100->gpu.hbm.bandwidth, 2039e9, 1e-12);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("topology");
    TCase *tests = tcase_create("topology");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, knows_routes, 0, (int)G_N_ELEMENTS(routes));
    tcase_add_loop_test(tests, platform_routes_as_we_do, 0, 3);
    tcase_add_loop_test(tests, refuses_bad_topologies, 0, (int)G_N_ELEMENTS(bad));
    tcase_add_test(tests, overrides_a_preset);
    tcase_add_loop_test(tests, describes_what_is_changed, 0, G_N_ELEMENTS(derived));
    tcase_add_test(tests, marks_the_sources_of_groups_and_kernels);
    tcase_add_test(tests, draws_a_cable_once);
    tcase_add_test(tests, draws_all_nics_of_a_gpu);
    tcase_add_test(tests, errors_name_the_file_that_changes_a_preset);
    tcase_add_test(tests, a_gpu_is_relative_to_the_file_that_names_it);
    tcase_add_test(tests, presets_load_and_cite_sources);
    tcase_add_test(tests, presets_hold_published_figures);
    suite_add_tcase(suite, tests);
    return suite;
}

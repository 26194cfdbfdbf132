#include "config.h"

#include "tests/unit/cluster.h"

#include "sim/base/yaml.h"
#include "tests/unit/harness.h"

#include <string.h>

MoeTopology *test_cluster(const char *yaml)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeNode) node = moe_yaml_parse(yaml, strlen(yaml), "cluster", &error);
    assert_no_error(error);
    MoeTopology *topology = moe_topology_read(node, NULL, 0, &error);
    assert_no_error(error);
    return topology;
}

MoeTopology *test_cluster_of(int nodes, int gpus)
{
    g_autofree char *yaml =
        g_strdup_printf("{name: test, nodes: %d, gpus_per_node: %d, gpu: h100-sxm,"
                        " scale_up: {kind: nvswitch, bandwidth: 100GBps, latency: 1us},"
                        " nics: {per_node: %d, bandwidth: 10GBps}, scale_out: {latency: 2us}}",
                        nodes, gpus, gpus);
    return test_cluster(yaml);
}

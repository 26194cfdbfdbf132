/* cluster.h - small clusters for tests, written as YAML in the test.
 */
#ifndef MOE_TESTS_UNIT_CLUSTER_H
#define MOE_TESTS_UNIT_CLUSTER_H

#include "topologies/topology.h"

/* A cluster of the H100 preset from flow YAML such as "{name: t, nodes: 2, ...}"; fails the test
 * when it cannot be read. Free with moe_topology_free(). */
MoeTopology *test_cluster(const char *yaml);

/* @nodes nodes of @gpus GPUs: NVSwitch at 100 GB/s and 1 us, a NIC per GPU at 10 GB/s and 2 us. */
MoeTopology *test_cluster_of(int nodes, int gpus);

#define TEST_UP_RATE     100e9
#define TEST_UP_LATENCY  1e-6
#define TEST_OUT_RATE    10e9
#define TEST_OUT_LATENCY 2e-6

#endif

#include "config.h"

#include "tests/unit/alltoalls.h"

#include "sim/result.h"
#include "tests/unit/harness.h"

#include <math.h>
#include <string.h>

static int number_of(const char *name)
{
    int kind = 0;
    while (strcmp(moe_alltoall_names()[kind], name) != 0)
        kind++;
    return kind;
}

MoePrograms *test_alltoall_lower(const MoeTopology *topology, gint64 n_ranks,
                                 const TestAllToAll *what, GError **error)
{
    MoeTransfer transfer = {
        .algorithm = number_of(what->algorithm),
        .window = what->window,
        .chunks = what->chunks,
        .local = what->local,
        .capacity_factor = NAN,
    };
    ck_assert(moe_alltoall_resolve(&transfer, NULL, "dispatch", NULL));
    g_autoptr(MoePrograms) programs = moe_programs_new(n_ranks);
    g_autofree gint64 *per_rank = g_new(gint64, 3 * n_ranks);
    MoeAllToAll job = {
        .topology = topology,
        .transfer = &transfer,
        .phase = what->back ? MOE_PHASE_COMBINE : MOE_PHASE_DISPATCH,
        .back = what->back,
        .cost = what->cost,
        .token_bytes = MAX(what->token_bytes, 1),
        .copies = what->copies,
        .nodes = what->nodes,
        .n_nodes = moe_topology_node(topology, n_ranks - 1) + 1,
        .programs = programs,
        .own = per_rank,
        .forwarded = per_rank + n_ranks,
        .delivered = per_rank + 2 * n_ranks,
    };
    return moe_alltoall_lower(&job, error) ? g_steal_pointer(&programs) : NULL;
}

double test_alltoall_seconds(const MoeTopology *topology, gint64 n_ranks, const TestAllToAll *what)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoePrograms) programs = test_alltoall_lower(topology, n_ranks, what, &error);
    assert_no_error(error);
    double seconds[2];
    for (int sharing = MOE_SHARING_SIMGRID; sharing <= MOE_SHARING_FAST; sharing++) {
        const MoeEngineOptions options = {.sharing = sharing};
        g_autoptr(MoeTimes) times = moe_engine_run(topology, programs, &options, NULL, &error);
        assert_no_error(error);
        g_autoptr(MoeResult) result = moe_result_new(topology, programs, times, &error);
        assert_no_error(error);
        seconds[sharing] = result->seconds;
    }
    assert_close(seconds[MOE_SHARING_FAST], seconds[MOE_SHARING_SIMGRID], 1e-5);
    return seconds[MOE_SHARING_FAST];
}

gint64 *test_equal(gint64 n, gint64 value)
{
    gint64 *matrix = g_new(gint64, n * n);
    for (gint64 i = 0; i < n * n; i++)
        matrix[i] = value;
    return matrix;
}

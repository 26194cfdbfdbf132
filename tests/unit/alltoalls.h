/* alltoalls.h - one all-to-all of a test: lowered, simulated, checked.
 */
#ifndef MOE_TESTS_UNIT_ALLTOALLS_H
#define MOE_TESTS_UNIT_ALLTOALLS_H

#include "sim/alltoall.h"

/* As the members of MoeAllToAll of the same names. */
typedef struct {
    const char *algorithm;
    gint64 window, chunks; /* 0: the default */
    int local;
    gboolean back;
    MoeKernelCost cost;
    gint64 token_bytes; /* 0: 1 */
    const gint64 *copies, *nodes;
} TestAllToAll;

/* The programs of ranks 0 ... @n_ranks - 1; NULL with @error. Free with moe_programs_free(). */
MoePrograms *test_alltoall_lower(const MoeTopology *topology, gint64 n_ranks,
                                 const TestAllToAll *what, GError **error);

/* Seconds until the last rank is done, the same under both sharings; the invariants of the lowering
 * and of the result must hold. */
double test_alltoall_seconds(const MoeTopology *topology, gint64 n_ranks, const TestAllToAll *what);

/* [n, n] counts, all @value. Free with g_free(). */
gint64 *test_equal(gint64 n, gint64 value);

#endif

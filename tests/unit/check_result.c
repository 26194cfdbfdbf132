#include "config.h"

#include "sim/result.h"
#include "tests/unit/cluster.h"
#include "tests/unit/harness.h"

#include <math.h>

static MoeResult *simulate(const MoeTopology *t, const MoePrograms *programs)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeTimes) times = moe_engine_run(t, programs, 0, NULL, &error);
    assert_no_error(error);
    MoeResult *result = moe_result_new(t, programs, times, &error);
    assert_no_error(error);
    return result;
}

/* The least value that at least the share is not above. */
START_TEST(quantiles_are_values_of_the_sample)
{
    const double one[] = {7}, ten[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    double hundred[100];
    for (int i = 0; i < 100; i++)
        hundred[i] = i + 1;
    ck_assert_double_eq(moe_quantile(one, 1, 0), 7);
    ck_assert_double_eq(moe_quantile(one, 1, 0.99), 7);
    ck_assert_double_eq(moe_quantile(ten, 10, 0), 1);
    ck_assert_double_eq(moe_quantile(ten, 10, 0.5), 5);
    ck_assert_double_eq(moe_quantile(ten, 10, 0.51), 6);
    ck_assert_double_eq(moe_quantile(ten, 10, 0.9), 9);
    ck_assert_double_eq(moe_quantile(ten, 10, 0.99), 10);
    ck_assert_double_eq(moe_quantile(ten, 10, 1), 10);
    ck_assert_double_eq(moe_quantile(hundred, 100, 0.99), 99);
    ck_assert_double_eq(moe_quantile(hundred, 100, 0.9), 90);
}
END_TEST

/* Two blocks with an exchange each: the first full on the scale-up link of GPU 0, the second on its
 * NIC. */
START_TEST(summaries_say_what_limits)
{
    g_autoptr(MoeTopology) t = test_cluster_of(2, 2);
    g_autoptr(MoePrograms) programs = moe_programs_new(4);
    moe_programs_exchange(programs, MOE_PHASE_DISPATCH, 0);
    moe_programs_send(programs, 0, 1, MOE_FABRIC_SCALE_UP, 3000000);
    programs->layer = 1;
    moe_programs_exchange(programs, MOE_PHASE_DISPATCH, 0);
    moe_programs_send(programs, 0, 2, MOE_FABRIC_SCALE_OUT, 1000000);
    moe_programs_send(programs, 0, 3, MOE_FABRIC_SCALE_OUT, 1000000);
    for (gint64 r = 0; r < 4; r++)
        moe_programs_compute(programs, r, MOE_PHASE_EXPERTS, (double)(r + 1) * 1e-6);
    g_autoptr(MoeResult) result = simulate(t, programs);
    const MoePhaseTime *first = &g_array_index(result->phases, MoePhaseTime, 0);
    const MoePhaseTime *second = &g_array_index(result->phases, MoePhaseTime, 1);
    ck_assert_str_eq(moe_topology_link(t, (guint32)first->link)->kind, "GPU to switch");
    assert_close(first->link_seconds, 3e6 / TEST_UP_RATE, 1e-12);
    ck_assert_str_eq(moe_topology_link(t, (guint32)second->link)->name, "node0 nic0 out");
    assert_close(second->link_seconds, 2e6 / TEST_OUT_RATE, 1e-12);

    g_autoptr(GArray) summaries = moe_result_summaries(result, t);
    ck_assert_uint_eq(summaries->len, 2);
    const MoePhaseSummary *d = &g_array_index(summaries, MoePhaseSummary, 0);
    ck_assert_int_eq(d->phase, MOE_PHASE_DISPATCH);
    ck_assert_int_eq(d->samples, 8);
    ck_assert_int_eq(d->bytes, 5000000);
    ck_assert_int_eq(d->messages, 3);
    ck_assert_str_eq(d->bound_kind, "NIC");
    assert_close(d->bound_seconds, 3e6 / TEST_UP_RATE + 2e6 / TEST_OUT_RATE, 1e-12);
    assert_close(d->link_seconds, 2e6 / TEST_OUT_RATE, 1e-12);
    double a = TEST_UP_LATENCY + 3e6 / TEST_UP_RATE, b = TEST_OUT_LATENCY + 2e6 / TEST_OUT_RATE;
    /* Block 0: a, a, 0, 0; block 1: GPU 0 b, GPU 1 nothing, GPUs 2 and 3 wait for GPU 0: a + b. */
    assert_close(d->mean, (2 * a + b + 2 * (a + b)) / 8, 1e-6);
    assert_close(d->worst, a + b, 1e-6);
    assert_close(d->p50, a, 1e-6);
    assert_close(d->seconds, a + b, 1e-6);
    assert_close(d->active, a + a + b, 1e-6); /* block 1: from 0, on GPUs 2 and 3 */
    const MoePhaseSummary *e = &g_array_index(summaries, MoePhaseSummary, 1);
    ck_assert_int_eq(e->link, -1);
    assert_close(e->p50, 2e-6, 1e-6);
    assert_close(e->p90, 4e-6, 1e-6);
}
END_TEST

/* Early ranks send while a straggler still computes: that time counts, so that no link is full for
 * longer than the phase. */
START_TEST(no_link_is_overfull)
{
    g_autoptr(MoeTopology) t = test_cluster_of(2, 2);
    g_autoptr(MoePrograms) programs = moe_programs_new(4);
    double busy = 3e6 / TEST_UP_RATE, sends = TEST_UP_LATENCY + busy, straggles = 0.75 * sends;
    for (gint64 r = 0; r < 4; r++)
        moe_programs_compute(programs, r, MOE_PHASE_EXPERTS, r < 3 ? 0 : straggles);
    moe_programs_exchange(programs, MOE_PHASE_COMBINE, 0);
    moe_programs_send(programs, 0, 1, MOE_FABRIC_SCALE_UP, 3000000);
    g_autoptr(MoeResult) result = simulate(t, programs);
    const MoePhaseTime *combine = &g_array_index(result->phases, MoePhaseTime, 1);
    assert_close(combine->seconds, sends - straggles, 1e-6);
    assert_close(combine->active, sends, 1e-6);
    g_autoptr(GArray) summaries = moe_result_summaries(result, t);
    const MoePhaseSummary *c = &g_array_index(summaries, MoePhaseSummary, 1);
    assert_close(c->bound_seconds, busy, 1e-12);
    assert_close(c->active, sends, 1e-6);
    ck_assert_double_gt(c->bound_seconds, c->seconds);
    ck_assert_double_le(c->bound_seconds, c->active);
}
END_TEST

/* Beyond MOE_PAIRS_MOST ranks, groups of consecutive ranks are counted together. */
START_TEST(pairs_are_bounded)
{
    enum { N = 600 };
    g_autoptr(MoeTopology) t = test_cluster_of(1, N);
    g_autoptr(MoePrograms) programs = moe_programs_new(N);
    moe_programs_exchange(programs, MOE_PHASE_COMBINE, 0);
    moe_programs_send(programs, 0, 599, MOE_FABRIC_SCALE_UP, 10);
    moe_programs_send(programs, 1, 598, MOE_FABRIC_SCALE_UP, 100);
    moe_programs_send(programs, 3, 598, MOE_FABRIC_SCALE_UP, 1000);
    g_autoptr(MoeResult) result = simulate(t, programs);
    ck_assert_int_eq(result->group, 3);
    ck_assert_int_eq(result->n_groups, 200);
    const MoePair *pairs = result->pairs[MOE_PHASE_COMBINE][MOE_FABRIC_SCALE_UP];
    ck_assert_int_eq(pairs[199].bytes, 110);
    ck_assert_int_eq(pairs[199].messages, 2);
    ck_assert_int_eq(pairs[200 + 199].bytes, 1000);
    ck_assert(result->pairs[MOE_PHASE_COMBINE][MOE_FABRIC_SCALE_OUT] == NULL);
    ck_assert(result->pairs[MOE_PHASE_DISPATCH][MOE_FABRIC_SCALE_UP] == NULL);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("result");
    TCase *tests = tcase_create("result");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, quantiles_are_values_of_the_sample);
    tcase_add_test(tests, summaries_say_what_limits);
    tcase_add_test(tests, no_link_is_overfull);
    tcase_add_test(tests, pairs_are_bounded);
    suite_add_tcase(suite, tests);
    return suite;
}

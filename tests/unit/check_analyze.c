#include "config.h"

#include "sim/base/rng.h"
#include "tests/unit/harness.h"
#include "workloads/analyze.h"

#include <math.h>

/* Two bins with 3 and 1, by hand: mean 2, deviations of 1, one difference of 2 counted twice. */
START_TEST(two_bins)
{
    static const gint64 loads[] = {3, 1};
    MoeLoad s = moe_load_statistics(loads, 2);
    ck_assert_int_eq(s.n_bins, 2);
    ck_assert_int_eq(s.total, 4);
    ck_assert_int_eq(s.max, 3);
    ck_assert_int_eq(s.argmax, 0);
    assert_close(s.mean, 2, 0);
    assert_close(s.max_over_mean, 1.5, 0);
    assert_close(s.cv, 0.5, 1e-15);
    assert_close(s.gini, 4.0 / (2 * 4 * 2), 1e-15);
    assert_close(s.entropy, 0.75 * log2(4.0 / 3) + 0.25 * 2, 1e-14);
    ck_assert(s.idle == 0);
}
END_TEST

/* All on one of n: the largest that each statistic becomes. */
START_TEST(one_hot)
{
    for (gint64 n = 2; n <= 64; n *= 2) {
        g_autofree gint64 *loads = g_new0(gint64, n);
        loads[n - 1] = 1000;
        MoeLoad s = moe_load_statistics(loads, n);
        ck_assert_int_eq(s.argmax, n - 1);
        assert_close(s.max_over_mean, (double)n, 1e-14);
        assert_close(s.cv, sqrt((double)n - 1), 1e-14);
        assert_close(s.gini, (double)(n - 1) / (double)n, 1e-14);
        ck_assert(s.entropy == 0);
        assert_close(s.idle, (double)(n - 1) / (double)n, 1e-14);
    }
}
END_TEST

START_TEST(even_and_empty)
{
    static const gint64 even[] = {7, 7, 7}, empty[] = {0, 0, 0}, one[] = {5};
    MoeLoad s = moe_load_statistics(even, 3);
    ck_assert(s.max_over_mean == 1 && s.cv == 0 && s.gini == 0 && s.idle == 0);
    assert_close(s.entropy, 1, 1e-14);
    assert_close(s.gini_floor, 1 / sqrt(G_PI * 7), 1e-14);
    s = moe_load_statistics(empty, 3);
    ck_assert(s.total == 0 && s.mean == 0 && s.gini == 0 && s.cv == 0);
    s = moe_load_statistics(one, 1);
    ck_assert(s.entropy == 1 && s.gini == 0 && s.max_over_mean == 1);
}
END_TEST

/* The definition's double sum. */
START_TEST(gini_is_its_double_sum)
{
    GRand *rng = moe_rng_new(7, "gini");
    for (int i = 0; i < 50; i++) {
        gint64 n = g_rand_int_range(rng, 1, 40), loads[40], total = 0;
        double differences = 0;
        for (gint64 b = 0; b < n; b++)
            total += loads[b] = g_rand_int_range(rng, 0, 100);
        if (total == 0)
            continue;
        for (gint64 a = 0; a < n; a++)
            for (gint64 b = 0; b < n; b++)
                differences += fabs((double)(loads[a] - loads[b]));
        MoeLoad s = moe_load_statistics(loads, n);
        ck_assert(fabs(s.gini - differences / (2 * (double)n * (double)total)) < 1e-13);
    }
    g_rand_free(rng);
}
END_TEST

/* Three tokens with 2, 0 and 3 pairs, one of them dropped. */
START_TEST(counts_pairs)
{
    static const guint16 experts[] = {0, 3, 1, 3, 2};
    static const guint32 offsets[] = {0, 2, 2, 5}, bins[] = {0, 0, 1, 1};
    static const guint8 dropped[] = {0, 0, 0, 1, 0};
    static const gint64 length = 3;
    g_autoptr(MoeTrace) trace = moe_trace_new("m", "", "r", "w", 1);
    trace->n_experts = 4;
    trace->top_k = 3;
    moe_trace_set_sequences(trace, &length, 1);
    trace->layers[0] =
        (MoeTraceLayer){.n_pairs = 5, .experts = experts, .offsets = offsets, .dropped = dropped};
    gint64 all[4] = {0}, binned[2] = {0}, last[4] = {0}, none[4] = {0};
    moe_trace_loads(trace, &trace->layers[0], 0, 3, NULL, all);
    ck_assert(all[0] == 1 && all[1] == 1 && all[2] == 1 && all[3] == 1);
    moe_trace_loads(trace, &trace->layers[0], 0, 3, bins, binned);
    ck_assert(binned[0] == 2 && binned[1] == 2);
    moe_trace_loads(trace, &trace->layers[0], 1, 3, NULL, last);
    ck_assert(last[0] == 0 && last[1] == 1 && last[2] == 1 && last[3] == 0);
    moe_trace_loads(trace, &trace->layers[0], 2, 2, NULL, none);
    ck_assert(none[0] + none[1] + none[2] + none[3] == 0);
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("analyze");
    TCase *tests = tcase_create("analyze");
    tcase_add_test(tests, two_bins);
    tcase_add_test(tests, one_hot);
    tcase_add_test(tests, even_and_empty);
    tcase_add_test(tests, gini_is_its_double_sum);
    tcase_add_test(tests, counts_pairs);
    suite_add_tcase(suite, tests);
    return suite;
}

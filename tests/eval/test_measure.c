/* Estimates against tables, hand-computed values and brute force. */
#include "support.h"

#include "eval/measure.h"

#include <math.h>

static void is(const char *what, double got, double want, double within) {
    if (!(fabs(got - want) <= within)) fail_msg("%s: %.12g, wanted %.12g", what, got, want);
}

/* Quantiles as in any table of Student's t. */
static void student(void **state) {
    (void)state;
    static const double table[][2] = {{1, 12.706204736}, {2, 4.302652730}, {5, 2.570581836}, {10, 2.228138852}, {29, 2.045229642}, {100, 1.983971519}, {1e6, 1.959966}};
    for (size_t i = 0; i < DT_COUNT(table); i++)
        is("t", dt_student_975(table[i][0]), table[i][1], 2e-6);
    is("p of 1 at df 1", dt_student_p(1, 1), 0.5, 1e-12);                /* a quarter of the Cauchy distribution each side */
    is("p of 2 at df 2", dt_student_p(-2, 2), 1 - 2 / sqrt(6), 1e-12);   /* 1 - t / sqrt(2 + t^2) */
    is("p of 0", dt_student_p(0, 7), 1, 1e-12);
    is("p of inf", dt_student_p(INFINITY, 7), 0, 0);
}

static void means(void **state) {
    (void)state;
    dt_estimate e = dt_mean((const double[]){0.4, 0.6, 0.5, 0.7}, 4, 0, 1); /* s = sqrt(0.05/3), t(3) = 3.182446305 */
    is("mean", e.value, 0.55, 1e-12);
    is("low", e.lo, 0.55 - 3.182446305 * sqrt(0.05 / 3) / 2, 1e-8);
    is("high", e.hi, 0.55 + 3.182446305 * sqrt(0.05 / 3) / 2, 1e-8);
    e = dt_mean((const double[]){0, 1}, 2, 0, 1);
    assert_true(e.lo == 0 && e.hi == 1);
    e = dt_mean((const double[]){0.25}, 1, 0, 1);
    assert_true(e.value == 0.25 && isnan(e.lo) && isnan(e.hi));
    assert_true(isnan(dt_mean(NULL, 0, 0, 1).value));
}

static void ratios(void **state) {
    (void)state;
    /* x = 1, 2, 6; y = 2, 4, 6: ratio 9/12; residuals -0.5, -1, 1.5; se = sqrt(3.5/2/3)/4; t(2) = 4.302652730 */
    dt_estimate e = dt_ratio((const double[]){1, 2, 6}, (const double[]){2, 4, 6}, 3);
    is("ratio", e.value, 0.75, 1e-12);
    is("low", e.lo, 0.75 - 4.302652730 * sqrt(3.5 / 6) / 4, 1e-8);
    is("high", e.hi, 0.75 + 4.302652730 * sqrt(3.5 / 6) / 4, 1e-8);
    e = dt_ratio((const double[]){1, 2, 3}, (const double[]){2, 4, 6}, 3); /* proportional: no doubt */
    is("width", e.hi - e.lo, 0, 1e-12);
    assert_true(isnan(dt_ratio((const double[]){1}, (const double[]){0}, 1).value));
    e = dt_ratio((const double[]){1}, (const double[]){2}, 1);
    assert_true(e.value == 0.5 && isnan(e.lo));
}

static void paired(void **state) {
    (void)state;
    /* differences 1, 0, 1, -1, 1: mean 0.4, s^2 = (4 - 5*0.16)/4 = 0.8, se = 0.4, t = 1, p(1, 4) = 0.373901 */
    dt_paired r = dt_compare((const double[]){0, 1, 0, 1, 0}, (const double[]){1, 1, 1, 0, 1}, 5);
    is("difference", r.difference.value, 0.4, 1e-12);
    is("low", r.difference.lo, 0.4 - 2.776445105 * 0.4, 1e-8);
    is("p", r.p, 0.3739009663, 1e-9);
    assert_true(r.up == 3 && r.down == 1);
    is("sign", r.p_sign, 2 * (1 + 4) / 16.0, 1e-12);
    r = dt_compare((const double[]){0, 1}, (const double[]){0, 1}, 2);
    assert_true(r.difference.value == 0 && r.p == 1 && r.p_sign == 1 && r.up == 0);
    r = dt_compare((const double[]){0, 0, 0}, (const double[]){1, 1, 1}, 3); /* no spread at all */
    assert_true(r.p == 0 && r.difference.lo == 1);
    is("sign", r.p_sign, 0.25, 1e-12);
    r = dt_compare((const double[]){0}, (const double[]){1}, 1);
    assert_true(isnan(r.p) && isnan(r.difference.lo) && r.difference.value == 1);
}

/* ---- k of n, against all subsets ---- */

enum { MAX_N = 12 };

/* answer[i]: which answer sample i gave, -1 = none; right[]: of each answer. */
static void all_subsets(const int *answer, int n, const bool *right, int n_answers, int k, double *pass, double *majority) {
    double subsets = 0;
    *pass = *majority = 0;
    for (unsigned set = 0; set < 1u << n; set++) {
        if (__builtin_popcount(set) != k) continue;
        int votes[MAX_N] = {0}, most = 0, tied = 0, won = 0;
        bool any = false;
        for (int i = 0; i < n; i++)
            if (set >> i & 1 && answer[i] >= 0) {
                votes[answer[i]]++;
                any = any || right[answer[i]];
            }
        for (int a = 0; a < n_answers; a++)
            most = votes[a] > most ? votes[a] : most;
        for (int a = 0; most && a < n_answers; a++)
            if (votes[a] == most) {
                tied++;
                won += right[a];
            }
        subsets++;
        *pass += any;
        *majority += tied ? (double)won / tied : 0;
    }
    *pass /= subsets;
    *majority /= subsets;
}

static void against_brute_force(void **state) {
    (void)state;
    dt_rng r = dt_rng_make(11, 0);
    for (int round = 0; round < 300; round++) {
        int n = 1 + (int)dt_rng_below(&r, MAX_N), n_answers = 1 + (int)dt_rng_below(&r, 5), answer[MAX_N];
        bool right[MAX_N] = {false};
        dt_vote v[MAX_N] = {{0}};
        size_t silent = 0, c = 0;
        for (int a = 0; a < n_answers; a++)
            v[a].right = right[a] = dt_rng_below(&r, 3) == 0; /* several may be right: forms that grading accepts both */
        for (int i = 0; i < n; i++) {
            answer[i] = (int)dt_rng_below(&r, (uint32_t)n_answers + 1) - 1;
            if (answer[i] < 0) silent++;
            else v[answer[i]].count++;
            c += answer[i] >= 0 && right[answer[i]];
        }
        for (int k = 1; k <= n; k++) {
            double pass = 0, majority = 0;
            all_subsets(answer, n, right, n_answers, k, &pass, &majority);
            if (fabs(dt_pass_at((size_t)n, c, (size_t)k) - pass) > 1e-12) fail_msg("round %d: pass@%d of %d", round, k, n);
            double got = dt_majority_at(v, (size_t)n_answers, silent, (size_t)k);
            if (fabs(got - majority) > 1e-11) fail_msg("round %d: maj@%d of %d is %.15g, wanted %.15g", round, k, n, got, majority);
        }
    }
}

static void by_hand(void **state) {
    (void)state;
    is("pass@2 of 1 in 4", dt_pass_at(4, 1, 2), 0.5, 1e-15);
    is("pass@4 of 1 in 4", dt_pass_at(4, 1, 4), 1, 0);
    is("pass@2 of 3 in 4", dt_pass_at(4, 3, 2), 1, 0);
    is("pass@1 of 0", dt_pass_at(4, 0, 1), 0, 0);
    is("pass@100 of 1 in 4096", dt_pass_at(4096, 1, 100), 100 / 4096.0, 1e-12);
    assert_true(isnan(dt_pass_at(4, 1, 5)) && isnan(dt_pass_at(4, 5, 1)) && isnan(dt_pass_at(4, 1, 0)));
    const dt_vote two[] = {{2, true}, {1, false}};
    is("maj@1", dt_majority_at(two, 2, 0, 1), 2 / 3.0, 1e-14);
    is("maj@2", dt_majority_at(two, 2, 0, 2), (1 + 0.5 + 0.5) / 3, 1e-14); /* RR, RW, RW */
    is("maj@3", dt_majority_at(two, 2, 0, 3), 1, 1e-14);
    is("silence", dt_majority_at(NULL, 0, 3, 2), 0, 0);
    assert_true(isnan(dt_majority_at(two, 2, 0, 4)) && isnan(dt_majority_at(two, 2, 0, 0)));
    const dt_vote many[] = {{2000, true}, {1500, false}, {596, false}}; /* counts of subsets that no double holds */
    is("maj@1 of 4096", dt_majority_at(many, 3, 0, 1), 2000 / 4096.0, 1e-9);
    double m = dt_majority_at(many, 3, 0, 64);
    assert_true(m > 0.8 && m < 0.95);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(student), cmocka_unit_test(means),  cmocka_unit_test(ratios),
                                       cmocka_unit_test(paired),  cmocka_unit_test(by_hand), cmocka_unit_test(against_brute_force)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Estimates over questions. */
#include "eval/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NONE ((double)NAN)

/* ---- Student's t ---- */

/* Continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8), by Lentz's method. */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double f = d;
    for (int m = 1; m < 10000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + even * d;
        c = 1 + even / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        f *= d * c;
        d = 1 + odd * d;
        c = 1 + odd / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        double step = d * c;
        f *= step;
        if (fabs(step - 1) < 1e-15) break;
    }
    return f;
}

static double beta_share(double a, double b, double x) { /* regularised incomplete beta */
    if (!(x > 0)) return 0;
    if (x >= 1) return 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double dt_student_p(double t, double df) {
    return isinf(t) ? 0 : beta_share(df / 2, 0.5, df / (df + t * t));
}

double dt_student_975(double df) {
    double lo = 0, hi = 16; /* 12.706 at one degree of freedom */
    for (int i = 0; i < 80; i++) {
        double mid = (lo + hi) / 2;
        if (dt_student_p(mid, df) > 0.05)
            lo = mid;
        else
            hi = mid;
    }
    return (lo + hi) / 2;
}

/* ---- means ---- */

static double mean_of(const double *x, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += x[i];
    return n ? s / (double)n : NONE;
}

/* Standard error of the mean of n values around `mean`; NaN for fewer than two. */
static double error_of(const double *x, size_t n, double mean) {
    double v = 0;
    for (size_t i = 0; i < n; i++)
        v += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(v / (double)(n - 1) / (double)n) : NONE;
}

static dt_estimate around(double value, double error, size_t n, double lo, double hi) {
    if (isnan(error)) return (dt_estimate){value, NONE, NONE};
    double half = dt_student_975((double)n - 1) * error;
    return (dt_estimate){value, fmax(lo, value - half), fmin(hi, value + half)};
}

dt_estimate dt_mean(const double *x, size_t n, double lo, double hi) {
    double mean = mean_of(x, n);
    return around(mean, error_of(x, n, mean), n, lo, hi);
}

dt_estimate dt_ratio(const double *x, const double *y, size_t n) {
    double below = mean_of(y, n), ratio = n && below ? mean_of(x, n) / below : NONE, v = 0;
    if (isnan(ratio)) return (dt_estimate){NONE, NONE, NONE};
    for (size_t i = 0; i < n; i++)
        v += (x[i] - ratio * y[i]) * (x[i] - ratio * y[i]);
    double error = n > 1 ? sqrt(v / (double)(n - 1) / (double)n) / fabs(below) : NONE;
    return around(ratio, error, n, -INFINITY, INFINITY);
}

/* Two-sided exact: twice the smaller tail of n fair coins, at most 1. */
static double sign_test(size_t up, size_t down) {
    size_t n = up + down, few = up < down ? up : down;
    double tail = 0;
    for (size_t i = 0; i <= few; i++)
        tail += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) - (double)n * log(2));
    return fmin(1, 2 * tail);
}

dt_paired dt_compare(const double *a, const double *b, size_t n) {
    dt_paired r = {.p = 1};
    double sum = 0, v = 0;
    for (size_t i = 0; i < n; i++) {
        double d = b[i] - a[i];
        sum += d;
        r.up += d > 0;
        r.down += d < 0;
    }
    double mean = n ? sum / (double)n : NONE;
    for (size_t i = 0; i < n; i++)
        v += (b[i] - a[i] - mean) * (b[i] - a[i] - mean);
    double error = n > 1 ? sqrt(v / (double)(n - 1) / (double)n) : NONE;
    r.difference = around(mean, error, n, -INFINITY, INFINITY);
    if (n < 2)
        r.p = NONE;
    else if (r.up + r.down)
        r.p = error > 0 ? dt_student_p(mean / error, (double)n - 1) : 0;
    r.p_sign = n ? sign_test(r.up, r.down) : NONE;
    return r;
}

/* ---- k of n samples ---- */

double dt_pass_at(size_t n, size_t c, size_t k) {
    double miss = 1;
    if (!k || k > n || c > n) return NONE;
    for (size_t i = 0; i < k; i++) /* C(n-c,k) / C(n,k), factor by factor: no large numbers */
        miss *= n - c > i ? (double)(n - c - i) / (double)(n - i) : 0;
    return 1 - miss;
}

/* Chance of j heads of n coins that fall on heads with chance p. */
static double coins(size_t n, size_t j, double p) {
    if (p >= 1) return j == n;
    double choose = lgamma((double)n + 1) - lgamma((double)j + 1) - lgamma((double)(n - j) + 1);
    return exp(choose + (double)j * log(p) + (double)(n - j) * log1p(-p));
}

/* Every sample throws a coin that says whether it belongs to the subset; given that k do, all subsets of k are equally likely.
 * So weights are products of chances, which stay within 0..1 where numbers of subsets would not.
 * now[taken][tied]: chance that the answers walked so far give `taken` samples, `tied` of them as many as the winner. */
typedef struct ways {
    double *now, *next;
    size_t k, ties; /* [k + 1][ties + 1] */
    double p;       /* k / n */
} ways;

/* Adds an answer given `count` times that takes at most `top` samples, and ties where it takes as many. */
static void add_answer(ways *s, size_t count, size_t top) {
    size_t width = s->ties + 1;
    memset(s->next, 0, (s->k + 1) * width * sizeof *s->next);
    for (size_t j = 0; j <= count && j <= top; j++) {
        double c = coins(count, j, s->p);
        size_t tie = j == top;
        for (size_t taken = 0; taken + j <= s->k; taken++)
            for (size_t tied = 0; tied + tie <= s->ties; tied++)
                s->next[(taken + j) * width + tied + tie] += c * s->now[taken * width + tied];
    }
    double *swap = s->now;
    s->now = s->next;
    s->next = swap;
}

/* Chance that answer r takes `top` samples and none takes more, shared among those that tie. */
static double won_with(ways *s, const dt_vote *v, size_t n_votes, size_t r, size_t top, size_t silent) {
    double won = 0;
    s->ties = s->k / top - 1;
    memset(s->now, 0, (s->k + 1) * (s->ties + 1) * sizeof *s->now);
    s->now[top * (s->ties + 1)] = coins(v[r].count, top, s->p);
    for (size_t i = 0; i < n_votes; i++)
        if (i != r) add_answer(s, v[i].count, top);
    for (size_t taken = top; taken <= s->k; taken++) {
        if (s->k - taken > silent) continue;
        double c = coins(silent, s->k - taken, s->p);
        for (size_t tied = 0; tied <= s->ties; tied++)
            won += c * s->now[taken * (s->ties + 1) + tied] / (double)(tied + 1);
    }
    return won;
}

double dt_majority_at(const dt_vote *v, size_t n_votes, size_t silent, size_t k) {
    size_t n = silent, size = 0;
    double won = 0;
    for (size_t i = 0; i < n_votes; i++)
        n += v[i].count;
    if (!k || k > n || !dt_mul_size(k + 1, k, &size)) return NONE;
    ways s = {.k = k, .p = (double)k / (double)n};
    s.now = dt_calloc(size, sizeof *s.now);
    s.next = dt_calloc(size, sizeof *s.next);
    bool memory = s.now && s.next;
    for (size_t r = 0; memory && r < n_votes; r++)
        for (size_t top = 1; v[r].right && top <= v[r].count && top <= k; top++)
            won += won_with(&s, v, n_votes, r, top, silent);
    free(s.now);
    free(s.next);
    return memory ? fmin(1, won / coins(n, k, s.p)) : NONE;
}

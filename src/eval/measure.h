/* What samples say about a mode and about two modes: pure functions over counts, with 95 % intervals.
 *
 * Samples of one question are not independent, so a question is the unit everywhere: what is computed for a question from
 * its samples is one observation. Intervals of means are mean +- t * s / sqrt(n) over n questions, with Student's t at
 * n - 1 degrees of freedom, cut to what is possible; a single question, or none, has no interval (NaN). */
#ifndef DT_EVAL_MEASURE_H
#define DT_EVAL_MEASURE_H

#include "base/base.h"

typedef struct dt_estimate {
    double value, lo, hi; /* NaN = cannot be said */
} dt_estimate;

/* 0.975 quantile of Student's t with df >= 1 degrees of freedom, and the two-sided p of |t|. */
double dt_student_975(double df);
double dt_student_p(double t, double df);

/* Mean of n question values, interval cut to lo..hi (give -INFINITY, INFINITY for no cut). */
dt_estimate dt_mean(const double *x, size_t n, double lo, double hi);

/* Chance that k samples drawn without replacement from n, c of them right, hold a right one: 1 - C(n-c,k)/C(n,k), the
 * unbiased estimate of Chen et al. 2021 (arXiv 2107.03374). k <= n, else NaN. */
double dt_pass_at(size_t n, size_t c, size_t k);

/* The answers of one question, equal ones together: how often each was given, whether it is right. */
typedef struct dt_vote {
    size_t count;
    bool right;
} dt_vote;

/* Share of the C(n,k) subsets of k samples whose most frequent answer is right; answers that tie share the subset
 * equally. Samples without an answer have no vote: `silent` of them belong to the n. A subset without any vote is wrong.
 * Over all subsets, not a sample of them, by a recurrence over the answers. NaN: k = 0, k > n, or no memory. */
double dt_majority_at(const dt_vote *v, size_t n_votes, size_t silent, size_t k);

/* sum(x) / sum(y) over n questions, interval by the delta method: residuals x - ratio * y as observations. */
dt_estimate dt_ratio(const double *x, const double *y, size_t n);

/* b - a for n questions that both were asked: mean difference, interval, and p of the paired t test against no difference
 * (1 where no question differs). */
typedef struct dt_paired {
    dt_estimate difference;
    double p;
    size_t up, down; /* questions where b is above, below */
    double p_sign;   /* two-sided exact sign test over those that differ (McNemar's exact test where values are 0 or 1) */
} dt_paired;
dt_paired dt_compare(const double *a, const double *b, size_t n);

#endif

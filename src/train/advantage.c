/* Group-relative advantages. Everything in double: a mean rounded in float, divided by 1e-6, would be noise of size 0.1. */
#include "train/train.h"

#include <math.h>

typedef struct spread {
    double mean, std;
    bool equal; /* two or more members, all the same value */
} spread;

/* Mean and unbiased std of the members of group g. A group of one has mean 0 and std 1. */
static spread group_spread(size_t n, const double *x, const int *group, int g) {
    spread s = {.std = 1, .equal = true};
    size_t count = 0;
    double first = 0, sum = 0, sq = 0;

    for (size_t i = 0; i < n; i++) {
        if (group[i] != g) continue;
        if (!count++) first = x[i];
        if (x[i] != first) s.equal = false;
        sum += x[i];
    }
    if (count < 2) {
        s.equal = false;
        return s;
    }
    s.mean = sum / (double)count;
    for (size_t i = 0; i < n; i++)
        if (group[i] == g) sq += (x[i] - s.mean) * (x[i] - s.mean);
    s.std = sqrt(sq / (double)(count - 1));
    return s;
}

static bool seen_before(const int *group, size_t i) {
    for (size_t j = i; j-- > 0;)
        if (group[j] == group[i]) return true;
    return false;
}

void dt_grpo_advantages(size_t n, const double *score, const int *group, bool norm_std, double eps, bool exact_zero,
                        double *adv, int *n_zero) {
    int zero = 0;
    for (size_t i = 0; i < n; i++) {
        if (seen_before(group, i)) continue;
        spread s = group_spread(n, score, group, group[i]);
        zero += s.equal;
        for (size_t j = i; j < n; j++) {
            if (group[j] != group[i]) continue;
            if (s.equal && exact_zero)
                adv[j] = 0;
            else
                adv[j] = (score[j] - s.mean) / (norm_std ? s.std + eps : 1);
        }
    }
    if (n_zero) *n_zero = zero;
}

/* x - mean of its group, exactly 0 where all are equal. */
static double centred(spread s, double x) {
    return s.equal ? 0 : x - s.mean;
}

void dt_separate_advantages(const dt_separate *o, size_t n, const double *gain, const double *r_Mm, const double *len, const double *kl,
                            const int *group, double *adv, int *n_zero) {
    int zero = 0;
    for (size_t i = 0; i < n; i++) {
        if (seen_before(group, i)) continue;
        spread r = group_spread(n, gain, group, group[i]), l = group_spread(n, len, group, group[i]), k = {.equal = true};
        bool any = false;
        if (kl) k = group_spread(n, kl, group, group[i]);
        size_t count = 0;
        double right = 0;
        for (size_t j = i; j < n; j++)
            if (group[j] == group[i]) right += r_Mm[j], count++;
        right /= (double)count;
        bool alone = count == 1;
        bool priced = o->gate < 0 || (right > 0 && right >= o->gate);
        for (size_t j = i; j < n; j++) {
            if (group[j] != group[i]) continue;
            double a = alone ? gain[j] : centred(r, gain[j]) / (o->no_std ? 1 : fmax(r.std, o->std_floor) + o->eps);
            if (priced) a -= o->lambda * (alone ? len[j] : centred(l, len[j])) / o->bound;
            if (kl) a -= o->beta * (alone ? kl[j] : centred(k, kl[j]));
            adv[j] = a;
            any = any || a != 0;
        }
        zero += !any;
    }
    if (n_zero) *n_zero = zero;
}

/* Rewards and advantages of one step's rollouts, for both models. No I/O, no weights. [duet-algorithm sections 4, 5, 10] */
#include "train/policy.h"

#include <stdlib.h>

void dt_verdict_clear(dt_verdict *v) {
    free(v->block);
    free(v->group);
    *v = (dt_verdict){0};
}

static duet_status reserve(const dt_rollout *o, dt_verdict *v, duet_err *err) {
    size_t n = dt_rollout_n_signals(o), k = o->m ? n * (size_t)o->k : 0;
    *v = (dt_verdict){.n_M = n, .n_m = k, .block = dt_calloc(7 * n + 2 * k, sizeof(double)), .group = dt_calloc(n + k, sizeof(int))};
    if (!v->block || !v->group) return dt_fail(err, DUET_E_NOMEM, "training: no memory for the rewards of %zu samples", n + k);
    double *p = v->block;
    v->r_Mm = p, p += n;
    v->r_m = p, p += n;
    v->len = p, p += n;
    v->kl = p, p += n;
    v->reward = p, p += n;
    v->gain = p, p += n;
    v->adv_M = p, p += n;
    v->adv_m = p, p += k;
    v->score_m = p;
    return DUET_OK;
}

/* Advantages of M. Summed: as the reference, everything divided by the group's spread. Separate: our default. */
static void judge_M(const dt_recipe *r, const dt_rollout *o, const dt_penalty *p, dt_verdict *v) {
    double u = r->reward.marginal ? 1 : 0, beta = r->kl.in_reward ? r->kl.coef : 0;
    for (size_t i = 0; i < v->n_M; i++) {
        v->group[i] = (int)(i / (size_t)o->n);
        v->reward[i] = dt_reward_M(v->r_Mm[i], v->r_m[i], u, p->lambda, v->len[i], p->bound) - beta * v->kl[i];
    }
    if (r->adv.combine == DT_COMBINE_SUM) {
        dt_grpo_advantages(v->n_M, v->reward, v->group, r->adv.norm_std, r->adv.eps, true, v->adv_M, &v->zero_M);
        return;
    }
    dt_separate s = {.std_floor = r->adv.std_floor, .eps = r->adv.eps, .gate = r->penalty.gate, .lambda = p->lambda, .bound = p->bound, .beta = beta,
                     .no_std = !r->adv.norm_std};
    for (size_t i = 0; i < v->n_M; i++) /* a shared baseline cancels; exactly so where it is not subtracted at all */
        v->gain[i] = o->base_shared ? v->r_Mm[i] : v->r_Mm[i] - u * v->r_m[i];
    dt_separate_advantages(&s, v->n_M, v->gain, v->r_Mm, v->len, v->kl, v->group, v->adv_M, &v->zero_M);
}

static void judge_m(const dt_recipe *r, const dt_rollout *o, dt_verdict *v) {
    size_t per_group = (size_t)o->k * (size_t)(r->m.group == DT_GROUP_SIGNAL ? 1 : o->n);
    int *group = v->group + v->n_M;
    for (size_t j = 0; j < v->n_m; j++) {
        v->score_m[j] = o->m[j].grade;
        group[j] = (int)(j / per_group);
    }
    dt_grpo_advantages(v->n_m, v->score_m, group, r->adv.norm_std, r->adv.eps, true, v->adv_m, &v->zero_m);
}

duet_status dt_verdict_of(const dt_recipe *r, const dt_rollout *o, const dt_penalty *p, const double *kl, dt_verdict *v, duet_err *err) {
    duet_status st = reserve(o, v, err);
    if (st) return st;
    for (size_t i = 0; i < v->n_M; i++) {
        v->r_Mm[i] = dt_rollout_r_Mm(o, i);
        v->r_m[i] = dt_rollout_r_m(o, i);
        v->len[i] = dt_sample_len(&o->M[i]);
        v->kl[i] = kl ? kl[i] : 0;
        v->mean_len += v->len[i] / (double)v->n_M;
        v->accuracy += v->r_Mm[i] / (double)v->n_M;
        v->alone += v->r_m[i] / (double)v->n_M;
    }
    judge_M(r, o, p, v);
    if (o->m) judge_m(r, o, v);
    return DUET_OK;
}

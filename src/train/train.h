/* train: pair rollouts + scores -> rewards -> advantages -> updated weights. The pure parts, each a function
 * of its arguments in double precision (duet-algorithm sections 3 to 5). */
#ifndef DT_TRAIN_H
#define DT_TRAIN_H

#include "duet/train.h"
#include "model/model.h"

/* ---- optim.c ---- */
typedef struct dt_adamw {
    double lr, beta1, beta2, eps, weight_decay, max_norm; /* max_norm 0 = no clipping */
} dt_adamw;

typedef struct dt_optim {
    float *m, *v; /* [n_params] */
    size_t n;
    int64_t step; /* updates done */
} dt_optim;

/* clip: c = min(1, max_norm / (norm + 1e-6)); then AdamW on every parameter. *norm (before clipping) and *clip may
 * be NULL. A non-finite norm skips the update: *norm tells, step is unchanged. Deterministic for any thread count. */
void dt_adamw_step(dt_pool *pool, const dt_adamw *h, dt_optim *o, float *params, const float *grad, double *norm, double *clip);

/* ---- loss.c: policy loss and its gradient with respect to the new log-probs (golden/rl/ppo_loss.json) ---- */
typedef struct dt_ppo {
    double clip_low, clip_high, dual_clip; /* 0.2, 0.2, 3.0 */
    double kl_coef;                        /* KL loss, k3 ("low_var_kl"); 0 = off */
} dt_ppo;

typedef struct dt_ppo_out {
    double loss, pg_loss, kl_loss, clipfrac, clipfrac_lower, ppo_kl, ratio_max_dev;
} dt_ppo_out;

/* n tokens with mask; old, ref (may be NULL when kl_coef is 0), adv per token. dlogp[n] = d loss / d new. denom: what
 * the masked sums are divided by (0 = the number of masked tokens). dlogp, loss_t, ratio may be NULL. */
void dt_ppo_loss(const dt_ppo *h, size_t n, const double *new_lp, const double *old_lp, const double *ref_lp, const double *adv,
                 const uint8_t *mask, double denom, double *dlogp, double *loss_t, dt_ppo_out *out);

/* ---- advantage.c ---- */
/* A = (s - mean) / (std + eps) by group (unbiased std, group of one: mean 0, std 1); norm_std false: s - mean.
 * exact_zero: a group whose scores are all equal gets exactly 0. *n_zero counts such groups. */
void dt_grpo_advantages(size_t n, const double *score, const int *group, bool norm_std, double eps, bool exact_zero,
                        double *adv, int *n_zero);

/* Our default for M: the terms apart, so that the price of length is never divided by a group's spread of rewards
 * (duet-algorithm section 10, point 2):
 *   A = (r_Mm - mean) / (max(std, std_floor) + eps) - lambda * (L - mean L) / B - beta * (KL - mean KL)
 * `gain` is r_Mm, less a baseline where that differs within a group. A term whose values are all equal in a group is
 * exactly 0 there. The length term is left out where the mean of r_Mm is 0 or below `gate` (gate < 0: never left out). *n_zero counts groups whose advantages are all 0. */
typedef struct dt_separate {
    double std_floor, eps, gate;
    double lambda, bound, beta;
    bool no_std; /* the first term is not divided by anything */
} dt_separate;
void dt_separate_advantages(const dt_separate *o, size_t n, const double *gain, const double *r_Mm, const double *len,
                            const double *kl /* or NULL */, const int *group, double *adv, int *n_zero);

/* ---- penalty.c ---- */
typedef struct dt_penalty {
    double lambda, eta, bound; /* price of length, its step, B */
    bool adaptive, clip;
} dt_penalty;
/* lambda <- clip(lambda + eta * (mean_len / B - 1), 0, 1); constant schedule: unchanged. */
void dt_penalty_update(dt_penalty *p, double mean_len);

/* ---- reward.c ---- */
/* R = r_Mm - u * r_m - lambda * L / B (duet-algorithm section 4). */
double dt_reward_M(double r_Mm, double r_m, double u, double lambda, double L, double B);

#endif

/* From rollouts to updates: rewards and advantages of a step (verdict.c), and the policy update of one model (policy.c). */
#ifndef DT_POLICY_H
#define DT_POLICY_H

#include "train/rollout.h"
#include "train/trainee.h"

/* ---- verdict.c: what a step's samples were worth ---- */
typedef struct dt_verdict {
    size_t n_M, n_m;       /* samples */
    double *r_Mm, *r_m;    /* [n_M] mean grades with the signal, and of m alone */
    double *len, *kl;      /* [n_M] L; sum of log p - log p_ref (0 without KL) */
    double *reward;        /* [n_M] R_kl: all terms together */
    double *gain;          /* [n_M] r_Mm, less a baseline that differs within a group */
    double *adv_M, *adv_m; /* [n_M], [n_m] */
    double *score_m;       /* [n_m] grades */
    int zero_M, zero_m;    /* groups without any advantage */
    double mean_len, accuracy, alone; /* means of len, r_Mm, r_m */
    double *block;
    int *group;
} dt_verdict;

/* kl: [n_M] or NULL. */
duet_status dt_verdict_of(const dt_recipe *r, const dt_rollout *o, const dt_penalty *p, const double *kl, dt_verdict *v, duet_err *err);
void dt_verdict_clear(dt_verdict *v);

/* ---- policy.c ---- */
typedef struct dt_policy_stats {
    double pg_loss, kl_loss, clipfrac, clipfrac_lower, ppo_kl, entropy, grad_norm, lr;
    double mismatch;      /* largest |log p at rollout - log p in training| of the first mini-batch: must be 0 */
    size_t updates, tokens, skipped; /* sequences skipped: their advantage is exactly 0 */
    double seconds;
} dt_policy_stats;

typedef struct dt_policy_options {
    dt_ppo ppo;
    int agg;           /* enum dt_agg */
    size_t minibatch, micro_seqs; /* sequences; minibatch 0 = all */
    int64_t epochs;
    dt_adamw adamw;
    const bool *mask;  /* [n]: true = leave this sample out altogether; NULL = none */
    const float *const *ref; /* [n] reference log-probs of the responses; NULL = none */
} dt_policy_options;

/* One pass (or several) over n samples in their order, an optimizer step for each mini-batch. */
duet_status dt_policy_update(dt_trainee *t, const dt_policy_options *opt, const dt_sample *s, size_t n, const double *adv, dt_policy_stats *out,
                             duet_err *err);
/* Log-probs of the responses under t's weights into out[i][0 .. len-1]; base: without its adapters. */
duet_status dt_policy_score(dt_trainee *t, bool base, const dt_sample *s, size_t n, float *const *out, duet_err *err);

#endif

/* The policy update of one model: mini-batches of samples, clipped ratios against the log-probs of the rollout. Those are
 * the trainer's own log-probs bit for bit, so they need no second forward pass: `mismatch` proves it in each step. */
#include "train/policy.h"

#include <math.h>
#include <stdlib.h>

/* What the coefficient function sees of the mini-batch it works on. */
typedef struct pass {
    const dt_policy_options *opt;
    const dt_sample *s;      /* all samples */
    const double *adv;
    const size_t *pick;      /* sequence -> sample */
    const double *denom;     /* [sample] what its token sums are divided by */
    double total;            /* tokens of the mini-batch that pass through the model */
    bool first;              /* first mini-batch: the weights are those of the rollout */
    double *new_lp, *old_lp, *ref_lp, *a, *d; /* scratch, one sequence */
    uint8_t *mask;
    dt_policy_stats *out;
} pass;

static void policy_coef(void *user, size_t seq, const dt_seq *q, const float *logp, const float *entropy, float *coef) {
    pass *p = user;
    size_t at = p->pick[seq], n = (size_t)(q->n - q->first);
    const dt_sample *s = &p->s[at];
    const float *ref = p->opt->ref ? p->opt->ref[at] : NULL;
    dt_ppo_out o;

    for (size_t j = 0; j < n; j++) {
        size_t t = (size_t)q->first - 1 + j;
        p->new_lp[j] = (double)logp[t];
        p->old_lp[j] = (double)s->logp[j];
        if (ref) p->ref_lp[j] = (double)ref[j];
        p->a[j] = p->adv[at];
        p->mask[j] = 1;
        p->out->entropy += (double)entropy[t] / p->total;
        if (p->first) p->out->mismatch = fmax(p->out->mismatch, fabs(p->new_lp[j] - p->old_lp[j]));
    }
    dt_ppo_loss(&p->opt->ppo, n, p->new_lp, p->old_lp, ref ? p->ref_lp : NULL, p->a, p->mask, p->denom[at], p->d, NULL, &o);
    double share = (double)n / p->total;
    p->out->pg_loss += o.pg_loss;
    p->out->kl_loss += o.kl_loss;
    p->out->clipfrac += o.clipfrac * share;
    p->out->clipfrac_lower += o.clipfrac_lower * share;
    p->out->ppo_kl += o.ppo_kl * share;
    for (size_t j = 0; j < n; j++)
        coef[(size_t)q->first - 1 + j] = (float)p->d[j];
}

static bool left_out(const dt_policy_options *opt, size_t i) {
    return opt->mask && opt->mask[i];
}

/* Token mean over the mini-batch, or (compat) mean over micro-batches of their token means. Samples without advantage
 * count: what is skipped is their backward pass, not their place in the mean. */
static void set_denoms(const dt_policy_options *opt, const dt_sample *s, size_t from, size_t to, double *denom) {
    size_t step = opt->agg == DT_AGG_MICRO_TOKEN_MEAN ? opt->micro_seqs : to - from, groups = (to - from + step - 1) / step;
    for (size_t a = from; a < to; a += step) {
        double tokens = 0;
        size_t b = a + step < to ? a + step : to;
        for (size_t i = a; i < b; i++)
            if (!left_out(opt, i)) tokens += dt_sample_len(&s[i]);
        for (size_t i = a; i < b; i++)
            denom[i] = tokens * (double)groups;
    }
}

typedef struct workspace {
    dt_seq *seq;
    size_t *pick;
    double *denom, *rows;
    uint8_t *mask;
} workspace;

static void free_workspace(workspace *w) {
    free(w->seq);
    free(w->pick);
    free(w->denom);
    free(w->rows);
    free(w->mask);
}

static duet_status make_workspace(workspace *w, const dt_sample *s, size_t n, size_t *longest, duet_err *err) {
    *longest = 1;
    for (size_t i = 0; i < n; i++)
        if ((size_t)dt_sample_len(&s[i]) > *longest) *longest = (size_t)dt_sample_len(&s[i]);
    *w = (workspace){.seq = dt_calloc(n, sizeof *w->seq), .pick = dt_calloc(n, sizeof *w->pick), .denom = dt_calloc(n, sizeof *w->denom),
                     .rows = dt_calloc(5 * *longest, sizeof *w->rows), .mask = dt_calloc(*longest, 1)};
    if (w->seq && w->pick && w->denom && w->rows && w->mask) return DUET_OK;
    return dt_fail(err, DUET_E_NOMEM, "training: no memory for an update with %zu samples", n);
}

/* The sequences of samples [from, to) that have something to teach. */
static size_t choose(const dt_policy_options *opt, const dt_sample *s, const double *adv, size_t from, size_t to, workspace *w, dt_policy_stats *out,
                     double *tokens) {
    size_t n = 0;
    *tokens = 0;
    for (size_t i = from; i < to; i++) {
        if (left_out(opt, i) || dt_sample_len(&s[i]) == 0) continue;
        if (adv[i] == 0 && !(opt->ref && opt->ppo.kl_coef > 0)) {
            out->skipped++;
            continue;
        }
        w->pick[n] = i;
        w->seq[n++] = (dt_seq){.ids = s[i].ids, .n = s[i].n, .first = s[i].first};
        *tokens += dt_sample_len(&s[i]);
        out->tokens += (size_t)s[i].n;
    }
    return n;
}

duet_status dt_policy_update(dt_trainee *t, const dt_policy_options *opt, const dt_sample *s, size_t n, const double *adv, dt_policy_stats *out,
                             duet_err *err) {
    size_t longest = 1, mini = opt->minibatch ? opt->minibatch : n;
    double t0 = dt_now();
    workspace w;

    *out = (dt_policy_stats){.lr = opt->adamw.lr};
    duet_status st = make_workspace(&w, s, n, &longest, err);
    double *rows = w.rows;
    pass p = {.opt = opt, .s = s, .adv = adv, .pick = w.pick, .denom = w.denom, .first = true, .new_lp = rows, .mask = w.mask, .out = out};
    if (st) goto done;
    p.old_lp = rows + longest, p.ref_lp = rows + 2 * longest, p.a = rows + 3 * longest, p.d = rows + 4 * longest;

    for (int64_t epoch = 0; epoch < opt->epochs && !st; epoch++) {
        for (size_t from = 0; from < n && !st; from += mini) {
            size_t to = from + mini < n ? from + mini : n;
            double norm = 0;
            set_denoms(opt, s, from, to, w.denom);
            size_t n_seqs = choose(opt, s, adv, from, to, &w, out, &p.total);
            if (!n_seqs) continue;
            st = dt_trainee_accumulate(t, w.seq, n_seqs, policy_coef, &p, err);
            if (!st) st = dt_trainee_update(t, &opt->adamw, &norm, err);
            out->grad_norm += norm;
            out->updates++;
            p.first = false;
        }
    }
    if (out->updates) { /* sums over mini-batches become means */
        double c = 1.0 / (double)out->updates;
        out->pg_loss *= c, out->kl_loss *= c, out->clipfrac *= c, out->clipfrac_lower *= c, out->ppo_kl *= c, out->entropy *= c;
        out->grad_norm *= c;
    }
done:
    free_workspace(&w);
    out->seconds = dt_now() - t0;
    return st;
}

/* ---- scoring ---- */

typedef struct score_pass {
    float *const *out;
    const size_t *pick;
} score_pass;

static void take_scores(void *user, size_t seq, const dt_seq *q, const float *logp, const float *entropy, float *coef) {
    const score_pass *p = user;
    (void)entropy;
    (void)coef;
    for (int j = q->first - 1; j < q->n - 1; j++)
        p->out[p->pick[seq]][j - (q->first - 1)] = logp[j];
}

duet_status dt_policy_score(dt_trainee *t, bool base, const dt_sample *s, size_t n, float *const *out, duet_err *err) {
    size_t longest = 1, count = 0;
    workspace w;
    duet_status st = make_workspace(&w, s, n, &longest, err);
    for (size_t i = 0; i < n && !st; i++) {
        if (dt_sample_len(&s[i]) == 0) continue;
        w.pick[count] = i;
        w.seq[count++] = (dt_seq){.ids = s[i].ids, .n = s[i].n, .first = s[i].first};
    }
    score_pass p = {.out = out, .pick = w.pick};
    if (!st) st = (base ? dt_trainee_score_base : dt_trainee_score)(t, w.seq, count, take_scores, &p, err);
    free_workspace(&w);
    return st;
}

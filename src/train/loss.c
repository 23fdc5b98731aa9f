/* The policy loss of one token and its derivative: clipped ratio with dual clip, and the k3 estimate of KL
 * [duet-algorithm section 5]. A value that is clamped passes no gradient. */
#include "train/train.h"

#include <math.h>

#define LOG_CLAMP 20.0 /* of log-ratios, before exp */
#define KL_CLAMP 10.0

typedef struct token_loss {
    double loss, grad, ratio;
    bool clipped, clipped_low;
} token_loss;

static double clamp(double x, double lo, double hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

static token_loss policy_token(const dt_ppo *h, double log_ratio, double A) {
    token_loss t = {0};
    double d = clamp(log_ratio, -LOG_CLAMP, LOG_CLAMP);
    t.ratio = exp(d);
    double l1 = -A * t.ratio, l2 = -A * clamp(t.ratio, 1 - h->clip_low, 1 + h->clip_high);
    double lc = fmax(l1, l2), l3 = -A * h->dual_clip;
    bool live = lc == l1 && d == log_ratio; /* neither ratio nor log-ratio clamped */

    t.clipped = l2 > l1;
    t.clipped_low = A < 0 && lc > l3;
    t.loss = A < 0 ? fmin(l3, lc) : lc;
    if (live && !t.clipped_low) t.grad = l1; /* d(-A exp(d)) / d new */
    return t;
}

static double kl_token(double new_lp, double ref_lp, double *grad) {
    double raw = ref_lp - new_lp, e = clamp(raw, -LOG_CLAMP, LOG_CLAMP), k = exp(e) - e - 1;
    double c = clamp(k, -KL_CLAMP, KL_CLAMP);
    *grad = e == raw && c == k ? 1 - exp(e) : 0;
    return c;
}

void dt_ppo_loss(const dt_ppo *h, size_t n, const double *new_lp, const double *old_lp, const double *ref_lp, const double *adv,
                 const uint8_t *mask, double denom, double *dlogp, double *loss_t, dt_ppo_out *out) {
    dt_ppo_out s = {0};
    size_t n_masked = 0;

    for (size_t i = 0; i < n; i++)
        n_masked += mask[i] != 0;
    double per_token = n_masked ? 1.0 / (double)n_masked : 0; /* of what is only reported */
    double scale = denom > 0 ? 1.0 / denom : per_token;       /* of the loss */

    for (size_t i = 0; i < n; i++) {
        if (dlogp) dlogp[i] = 0;
        if (loss_t) loss_t[i] = 0;
        if (!mask[i]) continue;
        double log_ratio = new_lp[i] - old_lp[i], kl = 0, kl_grad = 0;
        token_loss t = policy_token(h, log_ratio, adv[i]);
        if (ref_lp) kl = kl_token(new_lp[i], ref_lp[i], &kl_grad);
        s.pg_loss += t.loss * scale;
        s.kl_loss += kl * scale;
        s.clipfrac += t.clipped ? per_token : 0;
        s.clipfrac_lower += t.clipped_low ? per_token : 0;
        s.ppo_kl -= clamp(log_ratio, -LOG_CLAMP, LOG_CLAMP) * per_token;
        s.ratio_max_dev = fmax(s.ratio_max_dev, fabs(t.ratio - 1));
        if (dlogp) dlogp[i] = (t.grad + h->kl_coef * kl_grad) * scale;
        if (loss_t) loss_t[i] = t.loss;
    }
    s.loss = s.pg_loss + h->kl_coef * s.kl_loss;
    if (out) *out = s;
}

/* Cross entropy on vectors; the steps of scalar/xent.c, 16 logits at a time. */
#ifndef DT_KERNEL_BODY_XENT_H
#define DT_KERNEL_BODY_XENT_H

#include "kernel/x86/body_elem.h"
#include "kernel/x86/body_exp.h"

static void xent(const float *logits, size_t ld, const int32_t *target, int T, int V, float inv_temp, float *logp,
                 float *entropy, float *lse) {
    size_t n = (size_t)V, full = n & ~(size_t)15, tail = n - full;
    v16 temp = v_set(inv_temp);
    for (int t = 0; t < T; t++) {
        const float *x = logits + t * ld;
        v16 top = v_set(-INFINITY), sum = v_zero(), dot = v_zero();
        for (size_t j = 0; j < full; j += 16)
            top = v_max(v_mul(v_load(x + j), temp), top);
        if (tail)
            top = v_max(v_keep_n(v_mul(v_load_n(x + full, tail), temp), tail, -INFINITY), top);
        float mx = v_fold_max(top);
        v16 mv = v_set(mx);
        for (size_t j = 0; j < full; j += 16) {
            v16 d = v_sub(v_mul(v_load(x + j), temp), mv), p = v_exp(d);
            sum = v_add(sum, p);
            dot = v_fma(p, v_where_nonzero(p, d), dot);
        }
        if (tail) {
            v16 d = v_sub(v_mul(v_load_n(x + full, tail), temp), mv), p = v_keep_n(v_exp(d), tail, 0.0f);
            sum = v_add(sum, p);
            dot = v_fma(p, v_where_nonzero(p, d), dot);
        }
        float z = v_fold_sum(sum), log_z = dt_logf(z);
        if (lse)
            lse[t] = mx + log_z;
        if (entropy)
            entropy[t] = log_z - v_fold_sum(dot) / z;
        if (logp && target[t] >= 0)
            logp[t] = (x[target[t]] * inv_temp - mx) - log_z;
    }
}

static void xent_bwd(float *logits, size_t ld, const int32_t *target, const float *lse, const float *coef, int T, int V,
                     float inv_temp) {
    size_t n = (size_t)V;
    v16 temp = v_set(inv_temp);
    for (int t = 0; t < T; t++) {
        float *x = logits + t * ld;
        float c = target[t] < 0 ? 0.0f : coef[t] * inv_temp;
        if (c == 0.0f) {
            memset(x, 0, n * sizeof *x);
            continue;
        }
        v16 cv = v_set(-c), lv = v_set(lse[t]);
        FOR_BLOCKS(n, put(x + i, v_mul(cv, v_exp(v_sub(v_mul(get(x + i, b), temp), lv))), b););
        x[target[t]] = c + x[target[t]];
    }
}

#endif

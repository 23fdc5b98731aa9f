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

static float max_of(const float *x, size_t n) {
    v16 top = v_set(-INFINITY), top2 = top; /* two chains; the order changes nothing */
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        top = v_max(v_load(x + i), top); /* the running maximum second: a NaN gives way to it */
        top2 = v_max(v_load(x + i + 16), top2);
    }
    for (; i < n; i += 16) {
        size_t b = n - i < 16 ? n - i : 16;
        top = v_max(v_keep_n(v_load_n(x + i, b), b, -INFINITY), top);
    }
    return v_fold_max(v_max(top2, top));
}

static void exp_weights(float *w, const float *x, size_t n, float shift, float scale) {
    v16 sv = v_set(shift), fv = v_set(scale), lo = v_set(DT_WEIGHT_LO);
    FOR_BLOCKS(n, {
        v16 d = v_max(v_mul(v_sub(get(x + i, b), sv), fv), lo); /* a NaN becomes the bound */
        put(w + i, v_where_nonzero(v_sub(d, lo), v_exp(d)), b);
    });
}

#endif

/* RMS norm and rotary positions on vectors; the loops of scalar/rows.c, 16 elements at a time.
 * A tail is loaded with zeros, which add nothing to a sum that started at +0. */
#ifndef DT_KERNEL_BODY_ROWS_H
#define DT_KERNEL_BODY_ROWS_H

static void rmsnorm(float *y, size_t ldy, const float *x, size_t ldx, const float *w, float plus, float *inv, int T,
                    int D, float eps) {
    size_t n = (size_t)D, full = n & ~(size_t)15, tail = n - full;
    for (int t = 0; t < T; t++) {
        const float *xr = x + t * ldx;
        float *yr = y + t * ldy;
        v16 ss = v_zero();
        for (size_t d = 0; d < full; d += 16) {
            v16 v = v_load(xr + d);
            ss = v_fma(v, v, ss);
        }
        if (tail) {
            v16 v = v_load_n(xr + full, tail);
            ss = v_fma(v, v, ss);
        }
        float r = 1.0f / sqrtf(v_fold_sum(ss) / (float)D + eps);
        v16 rv = v_set(r), pv = v_set(plus);
        for (size_t d = 0; d < full; d += 16)
            v_store(yr + d, v_mul(v_mul(v_load(xr + d), rv), v_add(v_load(w + d), pv)));
        if (tail)
            v_store_n(yr + full, v_mul(v_mul(v_load_n(xr + full, tail), rv), v_add(v_load_n(w + full, tail), pv)),
                      tail);
        if (inv)
            inv[t] = r;
    }
}

static void rmsnorm_bwd(float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x, size_t ldx,
                        const float *w, float plus, const float *inv, int T, int D, bool acc) {
    size_t n = (size_t)D, full = n & ~(size_t)15, tail = n - full;
    for (int t = 0; t < T; t++) {
        const float *xr = x + t * ldx, *gr = dy + t * lddy;
        float *out = dx + t * lddx, r = inv[t];
        v16 dot = v_zero(), rv = v_set(r), pv = v_set(plus);
        for (size_t d = 0; d < full; d += 16)
            dot = v_fma(v_mul(v_load(gr + d), v_add(v_load(w + d), pv)), v_load(xr + d), dot);
        if (tail)
            dot = v_fma(v_mul(v_load_n(gr + full, tail), v_add(v_load_n(w + full, tail), pv)),
                        v_load_n(xr + full, tail), dot);
        v16 c = v_set(-(v_fold_sum(dot) * (r * r * r) / (float)D));
        for (size_t d = 0; d < full; d += 16) {
            v16 g = v_load(gr + d), xv = v_load(xr + d);
            v16 v = v_fma(c, xv, v_mul(v_mul(g, v_add(v_load(w + d), pv)), rv));
            v_store(out + d, acc ? v_add(v_load(out + d), v) : v);
            v_store(dw + d, v_fma(g, v_mul(xv, rv), v_load(dw + d)));
        }
        if (tail) {
            v16 g = v_load_n(gr + full, tail), xv = v_load_n(xr + full, tail);
            v16 v = v_fma(c, xv, v_mul(v_mul(g, v_add(v_load_n(w + full, tail), pv)), rv));
            v_store_n(out + full, acc ? v_add(v_load_n(out + full, tail), v) : v, tail);
            v_store_n(dw + full, v_fma(g, v_mul(xv, rv), v_load_n(dw + full, tail)), tail);
        }
    }
}

V16_INLINE void rotate(float *lo, float *hi, const float *co, const float *si, v16 sign, size_t n) {
    v16 a = v_load_n(lo, n), b = v_load_n(hi, n), c = v_load_n(co, n), s = v_mul(v_load_n(si, n), sign);
    v_store_n(lo, v_fma(a, c, v_neg(v_mul(b, s))), n);
    v_store_n(hi, v_fma(b, c, v_mul(a, s)), n);
}

static void rope(float *x, size_t ld, int T, int n, int E, const int *pos, const float *cos_t, const float *sin_t,
                 float sign) {
    size_t half = (size_t)E / 2;
    v16 sv = v_set(sign);
    for (int t = 0; t < T; t++) {
        const float *co = cos_t + (size_t)pos[t] * half, *si = sin_t + (size_t)pos[t] * half;
        for (int h = 0; h < n; h++) {
            float *lo = x + t * ld + (size_t)h * E, *hi = lo + half;
            for (size_t e = 0; e < half; e += 16)
                rotate(lo + e, hi + e, co + e, si + e, sv, half - e < 16 ? half - e : 16);
        }
    }
}

#endif

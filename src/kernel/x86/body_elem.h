/* Elementwise operations on vectors; the formulas of scalar/elem.c. Each is written once for a block of up to
 * 16 elements and run over full blocks, then over the tail. */
#ifndef DT_KERNEL_BODY_ELEM_H
#define DT_KERNEL_BODY_ELEM_H

#include "kernel/x86/body_blocks.h"
#include "kernel/x86/body_exp.h"

static void swiglu(float *h, const float *g, const float *u, size_t n) {
    v16 one = v_set(1.0f);
    FOR_BLOCKS(n, {
        v16 gv = get(g + i, b);
        put(h + i, v_mul(v_div(gv, v_add(one, v_exp(v_neg(gv)))), get(u + i, b)), b);
    });
}

static void swiglu_bwd(float *dg, float *du, const float *dh, const float *g, const float *u, size_t n) {
    v16 one = v_set(1.0f);
    FOR_BLOCKS(n, {
        v16 gv = get(g + i, b);
        v16 d = get(dh + i, b);
        v16 uv = get(u + i, b);
        v16 s = v_div(one, v_add(one, v_exp(v_neg(gv))));
        v16 slope = v_mul(s, v_fma(gv, v_sub(one, s), one));
        put(dg + i, v_mul(v_mul(d, uv), slope), b);
        put(du + i, v_mul(d, v_mul(gv, s)), b);
    });
}

/* k of the tanh form of gelu: kernel.h. */
V16_INLINE v16 gelu_k(v16 g) {
    return v_mul(g, v_fma(v_mul(v_set(DT_GELU_3), g), g, v_set(DT_GELU_1)));
}

static void geglu(float *h, const float *g, const float *u, size_t n) {
    v16 one = v_set(1.0f);
    FOR_BLOCKS(n, {
        v16 gv = get(g + i, b);
        put(h + i, v_mul(v_div(gv, v_add(one, v_exp(v_neg(gelu_k(gv))))), get(u + i, b)), b);
    });
}

static void geglu_bwd(float *dg, float *du, const float *dh, const float *g, const float *u, size_t n) {
    v16 one = v_set(1.0f), first = v_set(DT_GELU_1), third = v_set(3.0f * DT_GELU_3);
    FOR_BLOCKS(n, {
        v16 gv = get(g + i, b);
        v16 d = get(dh + i, b);
        v16 uv = get(u + i, b);
        v16 dk = v_fma(v_mul(third, gv), gv, first);
        v16 s = v_div(one, v_add(one, v_exp(v_neg(gelu_k(gv)))));
        v16 slope = v_mul(s, v_fma(v_mul(gv, v_sub(one, s)), dk, one));
        put(dg + i, v_mul(v_mul(d, uv), slope), b);
        put(du + i, v_mul(d, v_mul(gv, s)), b);
    });
}

static void add(float *y, const float *x, size_t n) {
    FOR_BLOCKS(n, put(y + i, v_add(get(y + i, b), get(x + i, b)), b););
}

static void adamw(float *p, const float *g, float *m, float *v, size_t n, float gscale, float lr, float b1, float b2,
                  float eps, float wd, float bc1, float bc2) {
    v16 gs = v_set(gscale), step_size = v_set(-lr), beta1 = v_set(b1), beta2 = v_set(b2), a1 = v_set(1.0f - b1),
        a2 = v_set(1.0f - b2), ev = v_set(eps), wv = v_set(wd), c1 = v_set(bc1), c2 = v_set(bc2);
    FOR_BLOCKS(n, {
        v16 d = v_mul(get(g + i, b), gs);
        v16 mi = v_fma(beta1, get(m + i, b), v_mul(a1, d));
        v16 vi = v_fma(beta2, get(v + i, b), v_mul(v_mul(a2, d), d));
        v16 step = v_div(v_div(mi, c1), v_add(v_sqrt(v_div(vi, c2)), ev));
        v16 pi = get(p + i, b);
        put(m + i, mi, b);
        put(v + i, vi, b);
        put(p + i, v_fma(step_size, v_fma(wv, pi, step), pi), b);
    });
}

static double sumsq(const float *x, size_t n) {
    d16 s = d_zero();
    double v[DT_LANES];
    FOR_BLOCKS(n, s = d_add_squares(s, get(x + i, b)););
    d_store(v, s);
    for (int w = DT_LANES / 2; w; w /= 2)
        for (int l = 0; l < w; l++)
            v[l] = v[l] + v[l + w];
    return v[0];
}

#endif

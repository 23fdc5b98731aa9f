/* Norms, rotary positions, elementwise operations and the optimiser step. */
#include "kernel_test.h"

static const int widths[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 127, 1000};

/* ---- RMS norm ---- */

typedef struct norm_case {
    int T, D;
    const double *x, *w, *dy;
    double eps, plus;
} norm_case;

static double norm_sum(const norm_case *c, const double *x, const double *w) {
    double sum = 0.0;
    for (int t = 0; t < c->T; t++) {
        double ss = 0.0;
        for (int d = 0; d < c->D; d++)
            ss += x[t * c->D + d] * x[t * c->D + d];
        double r = 1.0 / sqrt(ss / c->D + c->eps);
        for (int d = 0; d < c->D; d++)
            sum += c->dy[t * c->D + d] * x[t * c->D + d] * r * (w[d] + c->plus);
    }
    return sum;
}

static double norm_of_x(const double *x, void *arg) {
    norm_case *c = arg;
    return norm_sum(c, x, c->w);
}

static double norm_of_w(const double *w, void *arg) {
    norm_case *c = arg;
    return norm_sum(c, c->x, w);
}

static void check_rmsnorm(float plus) {
    enum { T = 3, D = 37 };
    const float eps = 1e-3f;
    float *x = floats(T * D), *w = floats(D), *y = floats(T * D), *dy = floats(T * D), *dx = floats(T * D);
    float *dw = floats(D), inv[T], *old = copy_floats(dx, T * D), zero[D + 16] = {0};
    scalar()->rmsnorm(y, D, x, D, w, plus, inv, T, D, eps);
    for (int t = 0; t < T; t++) {
        double ss = 0.0, want[D];
        for (int d = 0; d < D; d++)
            ss += (double)x[t * D + d] * (double)x[t * D + d];
        double r = 1.0 / sqrt(ss / D + (double)eps);
        for (int d = 0; d < D; d++)
            want[d] = (double)x[t * D + d] * r * ((double)w[d] + (double)plus);
        check_near("rmsnorm", y + t * D, want, D, 1e-6);
        check_near("inv", inv + t, &r, 1, 1e-6);
    }
    double *xd = doubles_of(x, T * D), *wd = doubles_of(w, D), *dyd = doubles_of(dy, T * D);
    norm_case c = {T, D, xd, wd, dyd, (double)eps, (double)plus};
    memcpy(dw, zero, D * sizeof *dw);
    scalar()->rmsnorm_bwd(dx, D, dw, dy, D, x, D, w, plus, inv, T, D, false);
    check_gradient("rmsnorm dx", dx, xd, T * D, norm_of_x, &c, 1e-5);
    check_gradient("rmsnorm dw", dw, wd, D, norm_of_w, &c, 1e-5);
    scalar()->rmsnorm_bwd(old, D, dw, dy, D, x, D, w, plus, inv, T, D, true);
    double *both = doubles_of(old, T * D);
    scalar()->rmsnorm_bwd(old, D, dw, dy, D, x, D, w, plus, inv, T, D, true);
    for (int i = 0; i < T * D; i++)
        both[i] += (double)dx[i];
    check_near("accumulated dx", old, both, T * D, 1e-6);
    free(x), free(w), free(y), free(dy), free(dx), free(dw), free(old), free(xd), free(wd), free(dyd), free(both);
}

static void rmsnorm_is_right(void **state) {
    (void)state;
    check_rmsnorm(0.0f);
    check_rmsnorm(1.0f);
}

static void rmsnorm_bits(void **state) {
    (void)state;
    enum { T = 3 };
    const dt_kernels *k;
    for (size_t i = 0; i < DT_COUNT(widths); i++) {
        int D = widths[i];
        size_t ld = (size_t)D + 3, n = T * ld;
        float *x = floats(n), *w = floats(D), *dy = floats(n), *y = floats(n), *dx = floats(n), *dw = floats(D);
        for (int v = 0; v < 4; v++) {
            bool acc = v % 2;
            float plus = v < 2 ? 0.0f : 1.0f;
            float *y0 = copy_floats(y, n), *dx0 = copy_floats(dx, n), *dw0 = copy_floats(dw, D), inv[T + 16] = {0};
            scalar()->rmsnorm(y0, ld, x, ld, w, plus, inv, T, D, 1e-5f);
            scalar()->rmsnorm_bwd(dx0, ld, dw0, dy, ld, x, ld, w, plus, inv, T, D, acc);
            for (int j = 0; (k = next_isa(&j));) {
                float *y1 = copy_floats(y, n), *dx1 = copy_floats(dx, n), *dw1 = copy_floats(dw, D), got[T + 16] = {0};
                k->rmsnorm(y1, ld, x, ld, w, plus, got, T, D, 1e-5f);
                k->rmsnorm_bwd(dx1, ld, dw1, dy, ld, x, ld, w, plus, inv, T, D, acc);
                check_bits("rmsnorm", k, y1, y0, n);
                check_bits("rmsnorm inv", k, got, inv, T);
                check_bits("rmsnorm dx", k, dx1, dx0, n);
                check_bits("rmsnorm dw", k, dw1, dw0, D);
                if (!acc) { /* dx may be dy */
                    memcpy(dx1, dy, (n + 16) * sizeof *dx1);
                    memcpy(dw1, dw, ((size_t)D + 16) * sizeof *dw1);
                    k->rmsnorm_bwd(dx1, ld, dw1, dx1, ld, x, ld, w, plus, inv, T, D, false);
                    check_bits("rmsnorm dw in place", k, dw1, dw0, D);
                    for (int t = 0; t < T; t++)
                        if (memcmp(dx1 + t * ld, dx0 + t * ld, (size_t)D * sizeof *dx1) != 0)
                            fail_msg("%s: D=%d: dx in place differs", k->name, D);
                }
                free(y1), free(dx1), free(dw1);
            }
            free(y0), free(dx0), free(dw0);
        }
        free(x), free(w), free(dy), free(y), free(dx), free(dw);
    }
}

/* ---- rotary positions ---- */

static void rope_turns_and_turns_back(void **state) {
    (void)state;
    enum { T = 4, H = 3, MAX_POS = 9 };
    static const int head_widths[] = {2, 6, 16, 30, 32, 34, 64, 128};
    const int pos[T] = {0, 8, 3, 5};
    const dt_kernels *k;
    for (size_t i = 0; i < DT_COUNT(head_widths); i++) {
        int E = head_widths[i], half = E / 2;
        size_t ld = (size_t)H * E + 5, n = T * ld;
        float *x = floats(n), *co = floats(MAX_POS * half), *si = floats(MAX_POS * half);
        for (int p = 0; p < MAX_POS; p++) {
            for (int e = 0; e < half; e++) {
                double angle = p * pow(10000.0, -2.0 * e / E);
                co[p * half + e] = (float)cos(angle);
                si[p * half + e] = (float)sin(angle);
            }
        }
        float *y = copy_floats(x, n);
        scalar()->rope(y, ld, T, H, E, pos, co, si, 1.0f);
        for (int t = 0; t < T; t++) {
            for (int h = 0; h < H; h++) {
                for (int e = 0; e < half; e++) {
                    const float *p = x + t * ld + h * E;
                    double c = (double)co[pos[t] * half + e], s = (double)si[pos[t] * half + e];
                    double lo = (double)p[e] * c - (double)p[e + half] * s;
                    double hi = (double)p[e + half] * c + (double)p[e] * s;
                    check_near("rope low", y + t * ld + h * E + e, &lo, 1, 1e-6);
                    check_near("rope high", y + t * ld + h * E + half + e, &hi, 1, 1e-6);
                }
            }
        }
        for (int j = 0; (k = next_isa(&j));) {
            float *z = copy_floats(x, n);
            k->rope(z, ld, T, H, E, pos, co, si, 1.0f);
            check_bits("rope", k, z, y, n);
            free(z);
        }
        double *back = doubles_of(x, n);
        scalar()->rope(y, ld, T, H, E, pos, co, si, -1.0f); /* the transpose of a rotation is its inverse */
        check_near("rope back", y, back, n, 1e-6);
        free(x), free(y), free(co), free(si), free(back);
    }
}

/* ---- elementwise ---- */

static double silu(double g) {
    return g / (1.0 + exp(-g));
}

static double swiglu_of_g(const double *g, void *arg) {
    const double *const *ud = arg; /* u, dh */
    return ud[1][0] * silu(*g) * ud[0][0];
}

static double gelu(double g) {
    return 0.5 * g * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (g + 0.044715 * g * g * g)));
}

static double geglu_of_g(const double *g, void *arg) {
    const double *const *ud = arg; /* u, dh */
    return ud[1][0] * gelu(*g) * ud[0][0];
}

static void elementwise_is_right(void **state) {
    (void)state;
    enum { N = 100 };
    float *g = floats(N), *u = floats(N), *h = floats(N), *dh = floats(N), *dg = floats(N), *du = floats(N);
    for (int i = 0; i < N; i++)
        g[i] *= 12.0f;
    g[0] = -200.0f; /* exp overflows */
    g[1] = 200.0f;
    scalar()->swiglu(h, g, u, N);
    scalar()->swiglu_bwd(dg, du, dh, g, u, N);
    for (int i = 0; i < N; i++) {
        double gd = (double)g[i], ud = (double)u[i], d = (double)dh[i];
        double want_h = silu(gd) * ud, want_du = silu(gd) * d;
        const double *arg[2] = {&ud, &d};
        check_near("swiglu", h + i, &want_h, 1, 1e-6);
        check_near("swiglu du", du + i, &want_du, 1, 1e-6);
        check_gradient("swiglu dg", dg + i, &gd, 1, swiglu_of_g, arg, 1e-5);
    }
    scalar()->geglu(h, g, u, N);
    scalar()->geglu_bwd(dg, du, dh, g, u, N);
    for (int i = 0; i < N; i++) {
        double gd = (double)g[i], ud = (double)u[i], d = (double)dh[i];
        double want_h = gelu(gd) * ud, want_du = gelu(gd) * d;
        const double *arg[2] = {&ud, &d};
        check_near("geglu", h + i, &want_h, 1, 1e-6);
        check_near("geglu du", du + i, &want_du, 1, 1e-6);
        check_gradient("geglu dg", dg + i, &gd, 1, geglu_of_g, arg, 1e-5);
    }
    double sum[N], squares = 0.0;
    for (int i = 0; i < N; i++) {
        sum[i] = (double)h[i] + (double)u[i];
        squares += (double)u[i] * (double)u[i];
    }
    scalar()->add(h, u, N);
    check_near("add", h, sum, N, 1e-7);
    assert_true(fabs(scalar()->sumsq(u, N) - squares) < 1e-12);
    free(g), free(u), free(h), free(dh), free(dg), free(du);
}

/* Three AdamW steps against the textbook in double. */
static void adamw_is_right(void **state) {
    (void)state;
    enum { N = 21 };
    const double lr = 0.01, b1 = 0.9, b2 = 0.99, eps = 1e-6, wd = 0.1, gscale = 0.5;
    float *p = floats(N), *m = floats(N), *v = floats(N);
    double *pd = doubles_of(p, N), md[N] = {0}, vd[N] = {0};
    memset(m, 0, N * sizeof *m);
    memset(v, 0, N * sizeof *v);
    for (int t = 1; t <= 3; t++) {
        float *g = floats(N);
        double bc1 = 1.0 - pow(b1, t), bc2 = 1.0 - pow(b2, t);
        for (int i = 0; i < N; i++) {
            double d = (double)g[i] * gscale;
            md[i] = b1 * md[i] + (1 - b1) * d;
            vd[i] = b2 * vd[i] + (1 - b2) * d * d;
            pd[i] -= lr * wd * pd[i] + lr * (md[i] / bc1) / (sqrt(vd[i] / bc2) + eps);
        }
        scalar()->adamw(p, g, m, v, N, (float)gscale, (float)lr, (float)b1, (float)b2, (float)eps, (float)wd,
                        (float)bc1, (float)bc2);
        check_near("adamw p", p, pd, N, 2e-6);
        check_near("adamw m", m, md, N, 2e-6);
        check_near("adamw v", v, vd, N, 2e-6);
        free(g);
    }
    free(p), free(m), free(v), free(pd);
}

static void elementwise_bits(void **state) {
    (void)state;
    const dt_kernels *k;
    for (size_t i = 0; i < DT_COUNT(widths); i++) {
        size_t n = (size_t)widths[i];
        float *a = floats(n), *b = floats(n), *c = floats(n), *d = floats(n);
        for (size_t j = 0; j < n; j++) {
            a[j] *= 60.0f;
            d[j] = fabsf(d[j]);
        }
        for (int j = 0; (k = next_isa(&j));) {
            float *want[4], *got[4];
            for (int o = 0; o < 4; o++) {
                want[o] = copy_floats(o == 2 ? c : o == 3 ? d : b, n);
                got[o] = copy_floats(want[o], n);
            }
            scalar()->swiglu(want[0], a, b, n);
            k->swiglu(got[0], a, b, n);
            check_bits("swiglu", k, got[0], want[0], n);
            scalar()->swiglu_bwd(want[0], want[1], c, a, b, n);
            k->swiglu_bwd(got[0], got[1], c, a, b, n);
            check_bits("swiglu dg", k, got[0], want[0], n);
            check_bits("swiglu du", k, got[1], want[1], n);
            scalar()->geglu(want[0], a, b, n);
            k->geglu(got[0], a, b, n);
            check_bits("geglu", k, got[0], want[0], n);
            scalar()->geglu_bwd(want[0], want[1], c, a, b, n);
            k->geglu_bwd(got[0], got[1], c, a, b, n);
            check_bits("geglu dg", k, got[0], want[0], n);
            check_bits("geglu du", k, got[1], want[1], n);
            scalar()->add(want[0], a, n);
            k->add(got[0], a, n);
            check_bits("add", k, got[0], want[0], n);
            scalar()->adamw(want[1], a, want[2], want[3], n, 0.3f, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.05f);
            k->adamw(got[1], a, got[2], got[3], n, 0.3f, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.05f);
            check_bits("adamw p", k, got[1], want[1], n);
            check_bits("adamw m", k, got[2], want[2], n);
            check_bits("adamw v", k, got[3], want[3], n);
            double s0 = scalar()->sumsq(a, n), s1 = k->sumsq(a, n);
            if (memcmp(&s0, &s1, sizeof s0) != 0)
                fail_msg("%s sumsq of %zu: %.17g, scalar %.17g", k->name, n, s1, s0);
            for (int o = 0; o < 4; o++)
                free(want[o]), free(got[o]);
        }
        free(a), free(b), free(c), free(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_is_right),
        cmocka_unit_test(rmsnorm_bits),
        cmocka_unit_test(rope_turns_and_turns_back),
        cmocka_unit_test(elementwise_is_right),
        cmocka_unit_test(adamw_is_right),
        cmocka_unit_test(elementwise_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

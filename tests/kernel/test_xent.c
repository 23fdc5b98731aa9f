/* Token log-probabilities, entropy and their gradient. */
#include "kernel_test.h"

static const int widths[] = {1, 2, 15, 16, 17, 33, 100, 1003};

static double log_sum_exp(const double *x, int V, double inv_temp, double *entropy) {
    double mx = -(double)INFINITY, z = 0.0, mean = 0.0;
    for (int j = 0; j < V; j++)
        mx = fmax(mx, x[j] * inv_temp);
    for (int j = 0; j < V; j++)
        z += exp(x[j] * inv_temp - mx);
    for (int j = 0; j < V; j++) {
        double p = exp(x[j] * inv_temp - mx) / z;
        mean += p > 0 ? p * (x[j] * inv_temp) : 0;
    }
    *entropy = mx + log(z) - mean;
    return mx + log(z);
}

static void forward_is_right(void **state) {
    (void)state;
    enum { T = 3 };
    for (size_t i = 0; i < DT_COUNT(widths); i++) {
        int V = widths[i];
        size_t ld = (size_t)V + 2;
        float *x = floats(T * ld), logp[T] = {7, 7, 7}, entropy[T], lse[T];
        int32_t target[T] = {V - 1, -1, 0};
        for (size_t j = 0; j < T * ld; j++)
            x[j] *= 20.0f;
        if (V > 2)
            x[2 * ld + 1] = -INFINITY; /* a forbidden token */
        scalar()->xent(x, ld, target, T, V, 0.8f, logp, entropy, lse);
        for (int t = 0; t < T; t++) {
            double *xd = doubles_of(x + t * ld, V), h, want = log_sum_exp(xd, V, (double)0.8f, &h);
            check_near("lse", &lse[t], &want, 1, 1e-6);
            check_near("entropy", &entropy[t], &h, 1, 3e-6);
            if (target[t] >= 0) {
                double lp = xd[target[t]] * (double)0.8f - want;
                check_near("logp", &logp[t], &lp, 1, 1e-6);
            } else if (logp[t] != 7) {
                fail_msg("V=%d: logp of a skipped row was written", V);
            }
            free(xd);
        }
        scalar()->xent(x, ld, target, T, V, 0.8f, NULL, NULL, NULL); /* all outputs are optional */
        free(x);
    }
}

typedef struct loss_case {
    int V, target;
    double inv_temp, coef;
} loss_case;

static double weighted_logp(const double *x, void *arg) {
    const loss_case *c = arg;
    double h;
    return c->coef * (x[c->target] * c->inv_temp - log_sum_exp(x, c->V, c->inv_temp, &h));
}

static void backward_is_the_gradient(void **state) {
    (void)state;
    enum { T = 4, V = 37 };
    float *x = floats(T * V), lse[T], coef[T] = {0.5f, -2.0f, 0.0f, 1.0f};
    int32_t target[T] = {0, 36, 5, -1};
    for (int j = 0; j < T * V; j++)
        x[j] *= 4.0f;
    double *xd = doubles_of(x, T * V);
    scalar()->xent(x, V, target, T, V, 0.9f, NULL, NULL, lse);
    scalar()->xent_bwd(x, V, target, lse, coef, T, V, 0.9f);
    for (int t = 0; t < 2; t++) {
        loss_case c = {V, target[t], (double)0.9f, (double)coef[t]};
        check_gradient("xent", x + t * V, xd + t * V, V, weighted_logp, &c, 1e-5);
    }
    for (int j = 2 * V; j < T * V; j++)
        if (x[j] != 0.0f)
            fail_msg("a row without target or coefficient has gradient %g", (double)x[j]);
    free(x), free(xd);
}

static void every_isa_has_the_bits_of_scalar(void **state) {
    (void)state;
    enum { T = 5 };
    const dt_kernels *k;
    for (size_t i = 0; i < DT_COUNT(widths); i++) {
        int V = widths[i];
        size_t ld = (size_t)V + 1, n = T * ld;
        float *x = floats(n), coef[T] = {0.5f, -2.0f, 0.0f, 1.0f, 3.0f};
        int32_t target[T] = {0, V - 1, V / 2, -1, V / 3};
        for (size_t j = 0; j < n; j++)
            x[j] *= 50.0f;
        if (V > 3)
            x[1] = -INFINITY;
        float *want = copy_floats(x, n), out[3][T + 16] = {{0}};
        scalar()->xent(x, ld, target, T, V, 1.3f, out[0], out[1], out[2]);
        scalar()->xent_bwd(want, ld, target, out[2], coef, T, V, 1.3f);
        for (int j = 0; (k = next_isa(&j));) {
            float *got = copy_floats(x, n), mine[3][T + 16] = {{0}};
            k->xent(x, ld, target, T, V, 1.3f, mine[0], mine[1], mine[2]);
            k->xent_bwd(got, ld, target, out[2], coef, T, V, 1.3f);
            check_bits("logp", k, mine[0], out[0], T);
            check_bits("entropy", k, mine[1], out[1], T);
            check_bits("lse", k, mine[2], out[2], T);
            check_bits("xent gradient", k, got, want, n);
            free(got);
        }
        free(x), free(want);
    }
}

static void max_and_weights_agree_on_every_isa(void **state) {
    (void)state;
    static const int lengths[] = {0, 1, 15, 16, 17, 31, 32, 33, 47, 64, 1003};
    for (size_t i = 0; i < DT_COUNT(lengths); i++) {
        size_t n = (size_t)lengths[i];
        float *x = floats(n + 1), *want = floats(n + 1), *got = floats(n + 1);
        for (size_t j = 0; j < n; j++)
            x[j] = j % 7 == 3 ? NAN : j % 11 == 5 ? -INFINITY : x[j] * 60.0f;
        want[n] = got[n] = 7;
        float top = scalar()->max(x, n);
        for (size_t j = 0; j < n; j++)
            if (x[j] > top)
                fail_msg("n=%zu: %g is above the maximum %g", n, (double)x[j], (double)top);
        scalar()->exp_weights(want, x, n, top, 0.7f);
        for (size_t j = 0; j < n; j++) {
            float d = (x[j] - top) * 0.7f;
            float w = d > -87.0f ? dt_expf(d) : 0.0f;
            if (memcmp(&w, &want[j], sizeof w))
                fail_msg("n=%zu: weight of %g is %g", n, (double)x[j], (double)want[j]);
        }
        for (dt_isa isa = DT_ISA_AVX2; isa <= DT_ISA_AVX512; isa++) {
            const dt_kernels *k = dt_kernels_isa(isa);
            if (!k)
                continue;
            float other = k->max(x, n);
            k->exp_weights(got, x, n, top, 0.7f);
            if (memcmp(&top, &other, sizeof top) || memcmp(want, got, (n + 1) * sizeof *got))
                fail_msg("n=%zu: %s differs from scalar", n, k->name);
        }
        free(x);
        free(want);
        free(got);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_and_weights_agree_on_every_isa),
        cmocka_unit_test(forward_is_right),
        cmocka_unit_test(backward_is_the_gradient),
        cmocka_unit_test(every_isa_has_the_bits_of_scalar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

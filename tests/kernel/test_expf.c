/* dt_expf: accuracy against double, its ends, and the same bits from the vector tables. */
#include "kernel_test.h"

#include "kernel/expf.h"

static double ulp_of(double x) {
    int e;
    frexp(x, &e);
    return ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

static void exp_is_within_an_ulp_and_a_half(void **state) {
    (void)state;
    double worst = 0.0;
    for (uint32_t bits = 0; bits < 0x42b17218u; bits += 9973) { /* up to where exp overflows, both signs */
        for (uint32_t sign = 0; sign <= 0x80000000u; sign += 0x80000000u) {
            uint32_t b = bits | sign;
            float x;
            memcpy(&x, &b, sizeof x);
            double want = exp((double)x), err = fabs((double)dt_expf(x) - want) / ulp_of(want);
            if (err > worst)
                worst = err;
            if (err > 1.5)
                fail_msg("exp(%.9g) = %.9g is off by %.2f ulp", (double)x, (double)dt_expf(x), err);
            if (sign)
                break;
        }
    }
    assert_true(worst > 0.4); /* the measure itself works */
}

static void exp_ends(void **state) {
    (void)state;
    static const struct {
        const char *name;
        float x, want;
    } cases[] = {
        {"zero",           0.0f,      1.0f     },
        {"minus zero",     -0.0f,     1.0f     },
        {"minus infinity", -INFINITY, 0.0f     },
        {"far below",      -1e30f,    0.0f     },
        {"just below",     -104.0f,   0.0f     },
        {"smallest",       -103.0f,   0x1p-149f},
        {"far above",      1e30f,     INFINITY },
        {"just above",     88.73f,    INFINITY },
        {"infinity",       INFINITY,  INFINITY },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        float got = dt_expf(cases[i].x);
        if (memcmp(&got, &cases[i].want, sizeof got) != 0)
            fail_msg("%s: exp(%g) = %.9g, wanted %.9g", cases[i].name, (double)cases[i].x, (double)got,
                     (double)cases[i].want);
    }
    assert_true(isnan(dt_expf(NAN)));
}

/* xent_bwd with coef -1 and lse 0 writes exp(x) everywhere but at its target: a window on each table's exp. */
static void vector_exp_has_the_same_bits(void **state) {
    (void)state;
    enum { N = 1009 };
    float x[N + 16], want[N + 16], got[N + 16], zero = 0.0f, coef = -1.0f;
    int32_t target = 0;
    const dt_kernels *k;
    for (uint32_t start = 0; start < 64; start++) {
        for (uint32_t i = 0; i < N + 16; i++) {
            uint32_t bits = start * 0x04000000u + i * 66533u; /* walks over all floats */
            memcpy(&x[i], &bits, sizeof bits);
            if (isnan(x[i]))
                x[i] = -1.0f;
        }
        memcpy(want, x, sizeof x);
        for (int i = 1; i < N; i++)
            want[i] = dt_expf(x[i]);
        want[0] = coef + dt_expf(x[0]);
        for (int i = -1; (k = next_isa(&i));) {
            memcpy(got, x, sizeof x);
            k->xent_bwd(got, N, &target, &zero, &coef, 1, N, 1.0f);
            check_bits("exp", k, got, want, N);
        }
    }
    float nans[40];
    for (int i = -1; (k = next_isa(&i));) {
        for (int j = 0; j < 40; j++)
            nans[j] = NAN;
        k->xent_bwd(nans, 40, &target, &zero, &coef, 1, 40, 1.0f);
        for (int j = 0; j < 40; j++)
            if (!isnan(nans[j]))
                fail_msg("%s: exp(NaN) is not NaN in lane %d", k->name, j);
    }
}

static void log_is_within_an_ulp(void **state) {
    (void)state;
    for (uint32_t bits = 1; bits < 0x7f800000u; bits += 65003) {
        float x;
        memcpy(&x, &bits, sizeof x);
        double want = log((double)x), err = fabs((double)dt_logf(x) - want);
        if (err > ulp_of(want) * 1.0)
            fail_msg("log(%.9g) = %.9g, wanted %.9g", (double)x, (double)dt_logf(x), want);
    }
    assert_true(dt_logf(1.0f) == 0.0f);
    assert_true(isinf(dt_logf(0.0f)) && dt_logf(0.0f) < 0.0f);
    assert_true(isinf(dt_logf(INFINITY)));
    assert_true(isnan(dt_logf(-1.0f)) && isnan(dt_logf(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_an_ulp_and_a_half),
        cmocka_unit_test(exp_ends),
        cmocka_unit_test(vector_exp_has_the_same_bits),
        cmocka_unit_test(log_is_within_an_ulp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Floats to blocks: how far the result may be off, what must stay exactly as it is, and blocks that break naive
 * searches. */
#include "support.h"
#include "tensor/quant.h"

#include <math.h>

/* Largest mean squared error allowed on normal numbers, relative to their power. The reference quantisers of ggml
 * without an importance matrix have, on such numbers: Q4_0 7.36e-3, Q4_1 6.10e-3, Q5_0 1.82e-3, Q5_1 1.43e-3,
 * Q8_0 2.86e-5, Q4_K 5.08e-3, Q5_K 1.30e-3, Q6_K 3.15e-4. */
static const struct {
    dt_dtype t;
    double most;
    bool again; /* a second pass changes nothing */
} types[] = {
    {DT_Q4_0, 6.7e-3,  true },
    {DT_Q4_1, 4.95e-3, false},
    {DT_Q5_0, 1.65e-3, true },
    {DT_Q5_1, 1.16e-3, false},
    {DT_Q8_0, 2.95e-5, true },
    {DT_Q4_K, 5.08e-3, false},
    {DT_Q5_K, 1.25e-3, false},
    {DT_Q6_K, 2.98e-4, false},
    {DT_F16,  1e-7,    true },
    {DT_BF16, 3e-6,    true },
    {DT_F32,  0,       true },
};

enum { N = 1 << 15 };

static double power(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)(b ? b[i] : 0)) * ((double)a[i] - (double)(b ? b[i] : 0));
    return sum;
}

static void there_and_back(dt_dtype t, const float *x, float *y, size_t n) {
    uint8_t *b = malloc(n * 4);
    assert_non_null(b);
    dt_quant_from_f32(t, x, b, n);
    dt_view v = {.dtype = t, .n_dims = 1, .dims = {n}, .data = b};
    dt_view_to_f32(&v, y);
    free(b);
}

static void test_error(void **state) {
    (void)state;
    float *x = malloc(N * 4), *y = malloc(N * 4), *z = malloc(N * 4);
    dt_rng r = dt_rng_make(7, 0);
    for (int i = 0; i < N; i++)
        x[i] = (float)(0.02 * dt_rng_normal(&r));
    for (size_t k = 0; k < DT_COUNT(types); k++) {
        const char *name = dt_dtype_name(types[k].t);
        assert_true(dt_quant_can_write(types[k].t));
        there_and_back(types[k].t, x, y, N);
        const double err = power(x, y, N), rel = err / power(x, NULL, N);
        if (!(rel <= types[k].most))
            fail_msg("%s: relative error %g, at most %g", name, rel, types[k].most);
        there_and_back(types[k].t, y, z, N);
        const double moved = power(y, z, N);
        if (types[k].again ? moved > 0 : !(moved <= 0.03 * err))
            fail_msg("%s: a second pass moves by %g, the first was off by %g", name, moved, err);
    }
    assert_false(dt_quant_can_write(DT_Q2_K) || dt_quant_can_write(DT_I32));
    free(x);
    free(y);
    free(z);
}

/* Numbers on a grid that the type can hold are found again, whichever numbers of the grid occur. */
static void test_grids(void **state) {
    (void)state;
    static const struct {
        dt_dtype t;
        int lo, hi;
    } grids[] = {
        {DT_Q4_0, -8,   7  },
        {DT_Q4_0, -7,   7  },
        {DT_Q4_0, -5,   4  },
        {DT_Q4_0, -4,   6  },
        {DT_Q5_0, -16,  15 },
        {DT_Q5_0, -9,   15 },
        {DT_Q4_1, 0,    15 },
        {DT_Q5_1, 3,    34 },
        {DT_Q8_0, -127, 127},
        {DT_Q4_K, 0,    15 },
        {DT_Q5_K, 0,    31 },
        {DT_Q6_K, -32,  31 },
    };
    for (size_t k = 0; k < DT_COUNT(grids); k++) {
        float x[256], y[256];
        dt_rng r = dt_rng_make(3, k);
        for (int i = 0; i < 256; i++)
            x[i] = 0.125f * (float)(grids[k].lo + (int)dt_rng_below(&r, (uint32_t)(grids[k].hi - grids[k].lo + 1)));
        for (int i = 0; i < 256; i += 16) { /* both ends in every run */
            x[i] = 0.125f * (float)grids[k].lo;
            x[i + 1] = 0.125f * (float)grids[k].hi;
        }
        there_and_back(grids[k].t, x, y, 256);
        for (int i = 0; i < 256; i++)
            if (fabsf(x[i] - y[i]) > 6e-4f * fabsf(x[i])) /* half a unit of a half float */
                fail_msg("%s, grid %d..%d: %g became %g", dt_dtype_name(grids[k].t), grids[k].lo, grids[k].hi,
                         (double)x[i], (double)y[i]);
    }
}

/* Nothing infinite or NaN comes out, zeros stay zeros, and no element is off by more than a step of its block. */
static void test_odd_blocks(void **state) {
    (void)state;
    static const char *const kinds[] = {"zeros",     "one",   "spike",      "negative spike", "tiny",
                                        "subnormal", "large", "half zeros", "alternating",    "all negative"};
    for (size_t k = 0; k < DT_COUNT(kinds); k++) {
        float x[256], y[256];
        for (int i = 0; i < 256; i++) {
            const float wave = sinf((float)i * 0.7f);
            const float values[] = {0,
                                    1,
                                    i == 77 ? 5.0f : 0.01f * wave,
                                    i == 77 ? -5.0f : 0.01f * wave,
                                    1e-30f * wave,
                                    1e-41f * wave,
                                    60000 * wave,
                                    i < 128 ? 0 : wave,
                                    i % 2 ? 1.0f : -1.0f,
                                    -2 - wave};
            x[i] = values[k];
        }
        for (size_t t = 0; t < DT_COUNT(types); t++) {
            there_and_back(types[t].t, x, y, 256);
            float most = 0;
            for (int i = 0; i < 256; i++)
                most = fmaxf(most, fabsf(x[i]));
            for (int i = 0; i < 256; i++)
                if (!isfinite(y[i]) || (k == 0 && y[i] != 0) || fabsf(x[i] - y[i]) > 0.17f * most + 1e-6f)
                    fail_msg("%s, %s: element %d is %g and became %g", dt_dtype_name(types[t].t), kinds[k], i,
                             (double)x[i], (double)y[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_grids),
        cmocka_unit_test(test_odd_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

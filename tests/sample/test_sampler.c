/* The sampler against a plain reference: which tokens may come, how often, and the log-prob that goes with them. */
#include "sample/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { V = 12, MANY = 40000 };

/* ids 2 and 7 tie at the top; id 9 is impossible */
static const float LOGITS[V] = {0.5F, -1.0F, 3.0F, 2.0F, 0.0F, 1.5F, -4.0F, 3.0F, 1.0F, -INFINITY, 2.5F, -0.5F};

static int32_t draw(const duet_sampling *s, uint64_t stream, uint64_t position, float *logprob) {
    float scratch[2 * V];
    return dt_sample(dt_kernels_get(), LOGITS, V, s, stream, position, scratch, logprob);
}

/* Probabilities after the cuts, by sorting. */
static void reference(const duet_sampling *s, double p[V]) {
    int order[V];
    double sum = 0, mass = 0;
    for (int i = 0; i < V; i++) {
        order[i] = i;
        p[i] = exp(((double)LOGITS[i] - 3.0) / s->temperature);
    }
    for (int i = 0; i < V; i++) { /* selection sort: larger logit first, then lower id */
        for (int j = i + 1; j < V; j++) {
            if (LOGITS[order[j]] > LOGITS[order[i]] || (LOGITS[order[j]] == LOGITS[order[i]] && order[j] < order[i])) {
                int t = order[i];
                order[i] = order[j];
                order[j] = t;
            }
        }
    }
    int k = s->top_k > 0 && s->top_k < V ? s->top_k : V;
    for (int i = 0; i < V; i++) {
        p[order[i]] *= i < k;
        sum += p[order[i]];
    }
    double top_p = s->top_p > 0 ? s->top_p : 1;
    for (int i = 0; i < V; i++) {
        bool keep = (top_p >= 1 || mass < top_p * sum) && (i == 0 || p[order[i]] >= s->min_p);
        mass += p[order[i]];
        p[order[i]] = keep ? p[order[i]] : 0;
    }
    sum = 0;
    for (int i = 0; i < V; i++) {
        sum += p[i];
    }
    for (int i = 0; i < V; i++) {
        p[i] /= sum;
    }
}

static void test_frequencies_follow_the_cut_softmax(void **state) {
    (void)state;
    static const struct {
        const char *name;
        duet_sampling s;
    } cases[] = {
        {"plain",           {.temperature = 1, .top_p = 1, .seed = 1}                             },
        {"zero is off",     {.temperature = 1, .seed = 2}                                         },
        {"cold",            {.temperature = 0.5, .top_p = 1, .seed = 3}                           },
        {"hot",             {.temperature = 3, .top_p = 1, .seed = 4}                             },
        {"top-k 1",         {.temperature = 1, .top_k = 1, .top_p = 1, .seed = 5}                 },
        {"top-k 3",         {.temperature = 1, .top_k = 3, .top_p = 1, .seed = 6}                 },
        {"top-k all",       {.temperature = 1, .top_k = V, .top_p = 1, .seed = 7}                 },
        {"top-k more",      {.temperature = 1, .top_k = 1000, .top_p = 1, .seed = 8}              },
        {"top-p 0.5",       {.temperature = 1, .top_p = 0.5, .seed = 9}                           },
        {"top-p tiny",      {.temperature = 1, .top_p = 1e-9, .seed = 10}                         },
        {"top-p 0.999",     {.temperature = 1, .top_p = 0.999, .seed = 11}                        },
        {"min-p 0.2",       {.temperature = 1, .top_p = 1, .min_p = 0.2, .seed = 12}              },
        {"min-p 1",         {.temperature = 1, .top_p = 1, .min_p = 1, .seed = 13}                },
        {"k and p",         {.temperature = 1.5, .top_k = 5, .top_p = 0.7, .seed = 14}            },
        {"k, p and min-p",  {.temperature = 2, .top_k = 8, .top_p = 0.9, .min_p = 0.3, .seed = 15}},
        {"Qwen's settings", {.temperature = 0.6, .top_k = 20, .top_p = 0.95, .seed = 16}          },
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        double p[V];
        int count[V] = {0};
        reference(&cases[c].s, p);
        for (int i = 0; i < MANY; i++) {
            count[draw(&cases[c].s, 5, (uint64_t)i, NULL)]++;
        }
        for (int i = 0; i < V; i++) {
            double sd = sqrt(MANY * p[i] * (1 - p[i]));
            if ((p[i] <= 0 && count[i]) || fabs(count[i] - MANY * p[i]) > 5 * sd + 0.001) {
                fail_msg("%s: token %d came %d times of %d, wanted %.1f", cases[c].name, i, count[i], MANY,
                         MANY * p[i]);
            }
        }
    }
}

static void test_logprob_is_of_the_uncut_softmax(void **state) {
    (void)state;
    static const duet_sampling settings[] = {
        {.temperature = 0,   .top_p = 1},
        {.temperature = 1,   .top_p = 1},
        {.temperature = 0.7, .top_k = 3, .top_p = 0.9, .min_p = 0.1},
        {.temperature = 2,      .top_p = 0.5               },
    };
    for (size_t c = 0; c < DT_COUNT(settings); c++) {
        double T = settings[c].temperature > 0 ? settings[c].temperature : 1, z = 0;
        for (int i = 0; i < V; i++) {
            z += exp((double)LOGITS[i] / T);
        }
        for (uint64_t pos = 0; pos < 50; pos++) {
            float got, bits;
            int32_t id = draw(&settings[c], 1, pos, &got);
            assert_true(fabs((double)got - ((double)LOGITS[id] / T - log(z))) < 1e-5);
            dt_kernels_get()->xent(LOGITS, V, &id, 1, V, (float)(1 / T), &bits, NULL, NULL);
            assert_memory_equal(&got, &bits, sizeof got);
        }
    }
}

static void test_greedy_takes_the_lowest_of_ties(void **state) {
    (void)state;
    duet_sampling s = duet_sampling_defaults();
    assert_int_equal(draw(&s, 0, 0, NULL), 2);
    duet_sampling one = {.temperature = 1, .top_k = 1, .top_p = 1};
    assert_int_equal(draw(&one, 0, 0, NULL), 2);
}

static void test_draws_are_addressed(void **state) {
    (void)state;
    duet_sampling s = {.temperature = 2, .top_p = 1, .seed = 77};
    int differ[3] = {0};
    for (uint64_t pos = 0; pos < 64; pos++) {
        int32_t id = draw(&s, 3, pos, NULL);
        assert_int_equal(draw(&s, 3, pos, NULL), id);
        duet_sampling other = s;
        other.seed++;
        differ[0] += draw(&other, 3, pos, NULL) != id;
        differ[1] += draw(&s, 4, pos, NULL) != id;
        differ[2] += draw(&s, 3, pos + 64, NULL) != id;
    }
    assert_true(differ[0] > 20 && differ[1] > 20 && differ[2] > 20);
}

/* A model gone wrong must not send the sampler out of the vocabulary. */
static void test_nans_give_a_token(void **state) {
    (void)state;
    float logits[V], scratch[2 * V];
    duet_sampling s[] = {
        {.temperature = 0},
        {                           .temperature = 1},
        { .temperature = 1,    .top_k = 3, .top_p = 0.9}
    };
    for (size_t c = 0; c < DT_COUNT(s); c++) {
        for (int i = 0; i < V; i++) {
            logits[i] = NAN;
        }
        int32_t id = dt_sample(dt_kernels_get(), logits, V, &s[c], 0, 0, scratch, NULL);
        assert_true(id >= 0 && id < V);
        logits[4] = 1;
        assert_int_equal(dt_sample(dt_kernels_get(), logits, V, &s[c], 0, 0, scratch, NULL), 4);
    }
}

/* ---- a vocabulary of real size: the same tokens as by sorting it whole ---- */

enum { WIDE = 5003 };
static const float *sort_by; /* for by_logit */

static int by_logit(const void *a, const void *b) {
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    float x = sort_by[i], y = sort_by[j];
    if (isnan(x) != isnan(y)) {
        return isnan(x) ? 1 : -1;
    }
    return x > y ? -1 : x < y ? 1 : i - j;
}

static int32_t sorted_whole(const float *logits, const duet_sampling *s, double u) {
    static int32_t order[WIDE];
    static float w[WIDE];
    for (int i = 0; i < WIDE; i++) {
        order[i] = i;
    }
    sort_by = logits;
    qsort(order, WIDE, sizeof *order, by_logit);
    double total = 0, mass = 0, sum = 0;
    bool top_k = s->top_k > 0 && s->top_k < WIDE;
    int k = top_k ? s->top_k : WIDE, n = 0;
    for (int i = 0; i < WIDE; i++) {
        float x = (logits[i] - logits[order[0]]) * (float)(1.0 / s->temperature);
        w[i] = x > -87.0F ? dt_expf(x) : 0.0F;
    }
    for (int i = 0; i < k; i++) {
        total += (double)w[top_k ? order[i] : i];
    }
    double goal = s->top_p > 0 && s->top_p < 1 ? s->top_p * total : HUGE_VAL;
    while (n < k && mass < goal && (n == 0 || (double)w[order[n]] >= s->min_p)) {
        mass += (double)w[order[n++]];
    }
    for (int i = 0; i < n; i++) {
        sum += (double)w[order[i]];
        if (sum > u * mass) {
            return order[i];
        }
    }
    return order[0];
}

static void test_a_wide_vocabulary_is_cut_as_if_sorted(void **state) {
    (void)state;
    static const duet_sampling settings[] = {
        {.temperature = 0.6, .top_k = 20, .top_p = 0.95, .seed = 1}, {.temperature = 1, .top_k = 1000, .top_p = 0.999, .seed = 2},
        {.temperature = 1, .top_k = 3000, .top_p = 0.99, .seed = 3}, {.temperature = 1, .top_p = 0.95, .seed = 4},
        {.temperature = 2, .top_p = 0.999999, .min_p = 1e-6, .seed = 5}, {.temperature = 1, .top_k = 50, .min_p = 0.1, .seed = 6},
        {.temperature = 1, .top_k = WIDE - 1, .top_p = 1, .seed = 7}, {.temperature = 30, .top_p = 0.9999, .seed = 8},
        {.temperature = 1, .top_k = 1, .seed = 9},
    };
    static float logits[WIDE], scratch[2 * WIDE];
    for (int shape = 0; shape < 5; shape++) {
        for (int i = 0; i < WIDE; i++) {
            double x = dt_rng_at(7, (uint64_t)shape, (uint64_t)i);
            logits[i] = shape == 0 ? (float)(x * 20) : shape == 1 ? (float)floor(x * 8) : shape == 2 ? (float)(x * 400 - 380) : 1;
            if (shape == 4) { /* two numbers among NaNs */
                logits[i] = i == 77 || i == 4000 ? (float)i : NAN;
            } else if (i % 1009 == 5) {
                logits[i] = i % 2 ? -INFINITY : NAN;
            }
        }
        for (size_t c = 0; c < DT_COUNT(settings); c++) {
            for (uint64_t pos = 0; pos < 20; pos++) {
                int32_t want = sorted_whole(logits, &settings[c], dt_rng_at(settings[c].seed, 3, pos));
                int32_t got = dt_sample(dt_kernels_get(), logits, WIDE, &settings[c], 3, pos, scratch, NULL);
                if (got != want) {
                    fail_msg("shape %d, settings %zu, position %d: token %d, by sorting %d", shape, c, (int)pos, got, want);
                }
            }
        }
    }
}

static void test_settings_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *name;
        duet_sampling s;
        const char *names; /* in the sentence; NULL = accepted */
    } cases[] = {
        {"defaults",   {.top_p = 1},                       NULL         },
        {"zero",       {.seed = 0},                        NULL         },
        {"usual",      {.temperature = 0.6, .top_p = 0.9}, NULL         },
        {"cold",       {.temperature = 1e-4},              "temperature"},
        {"negative",   {.temperature = -1},                "temperature"},
        {"NaN",        {.temperature = (double)NAN},               "temperature"},
        {"infinite",   {.temperature = (double)INFINITY},          "temperature"},
        {"top_k",      {.top_k = -1},                      "top_k"      },
        {"top_p high", {.top_p = 1.01},                    "top_p"      },
        {"top_p NaN",  {.top_p = (double)NAN},                     "top_p"      },
        {"min_p low",  {.min_p = -0.1},                    "min_p"      },
        {"min_p high", {.min_p = 2},                       "min_p"      },
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_err err = {{0}};
        duet_status st = dt_sampling_check(&cases[c].s, &err);
        if (st != (cases[c].names ? DUET_E_RANGE : DUET_OK) || (cases[c].names && !strstr(err.text, cases[c].names))) {
            fail_msg("%s: status %d, \"%s\"", cases[c].name, st, err.text);
        }
    }
}

static void test_a_row_is_changed_as_asked(void **state) {
    (void)state;
    const dt_kernels *kr = dt_kernels_get();
    const duet_logit_bias bias[] = {{2, -1.5F}, {5, 2.0F}, {2, -0.25F}};
    const int32_t said[] = {4, 4, 11, 4};
    const uint32_t some = 1U << 2 | 1U << 4 | 1U << 9, impossible = 1U << 9, none = 0;
    float out[V];
    uint32_t seen = 0;
    dt_adjust a = {.bias = bias, .n_bias = 3, .presence = 0.5, .frequency = 0.25, .ids = said, .n = 4};
    assert_int_equal(dt_adjust_logits(kr, &a, LOGITS, V, out, &seen), -1);
    assert_int_equal(seen, 0);
    for (int i = 0; i < V; i++) {
        double want = (double)LOGITS[i] - (i == 2 ? 1.75 : i == 4 ? 0.5 + 3 * 0.25 : i == 11 ? 0.5 + 0.25 : i == 5 ? -2.0 : 0.0);
        assert_true(isinf(LOGITS[i]) ? isinf(out[i]) : fabs((double)out[i] - want) < 1e-6);
    }
    a = (dt_adjust){.allowed = &some, .n_allowed = V};
    assert_int_equal(dt_adjust_logits(kr, &a, LOGITS, V, out, &seen), -1);
    for (int i = 0; i < V; i++) {
        assert_true(some >> i & 1 ? memcmp(&out[i], &LOGITS[i], sizeof *out) == 0 : isinf(out[i]) && out[i] < 0);
    }
    a.n_allowed = 3; /* ids behind may not come */
    assert_int_equal(dt_adjust_logits(kr, &a, LOGITS, V, out, &seen), -1);
    assert_true(isinf(out[4]) && !isinf(out[2]));
    a = (dt_adjust){.allowed = &impossible, .n_allowed = V}; /* of impossible ones the one that may come */
    assert_int_equal(dt_adjust_logits(kr, &a, LOGITS, V, out, &seen), 9);
    a.allowed = &none;
    assert_int_equal(dt_adjust_logits(kr, &a, LOGITS, V, out, &seen), V);
}

static void test_the_most_likely_come_in_order(void **state) {
    (void)state;
    static const int32_t order[V] = {2, 7, 10, 3, 5, 8, 0, 4, 11, 1, 6, 9};
    const dt_kernels *kr = dt_kernels_get();
    for (int k = 1; k <= V; k++) {
        int32_t ids[V];
        duet_likely out[V];
        const float inv_temp = k % 2 ? 1.0F : 1.0F / 0.7F;
        dt_sample_likely(kr, LOGITS, V, k, inv_temp, ids, out);
        for (int i = 0; i < k; i++) {
            float want = dt_sample_logprob(kr, LOGITS, V, order[i], inv_temp);
            assert_int_equal(out[i].id, order[i]);
            assert_memory_equal(&out[i].logprob, &want, sizeof want);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frequencies_follow_the_cut_softmax),
        cmocka_unit_test(test_logprob_is_of_the_uncut_softmax),
        cmocka_unit_test(test_greedy_takes_the_lowest_of_ties),
        cmocka_unit_test(test_a_wide_vocabulary_is_cut_as_if_sorted),
        cmocka_unit_test(test_draws_are_addressed),
        cmocka_unit_test(test_nans_give_a_token),
        cmocka_unit_test(test_settings_are_checked),
        cmocka_unit_test(test_a_row_is_changed_as_asked),
        cmocka_unit_test(test_the_most_likely_come_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The pure parts of training: golden numbers of shared/golden/rl and train/adamw_unit.json, a few vectors worked out by
 * hand that need no other file, and the properties of duet-algorithm section 10. */
#include "support.h"

#include "train/train.h"

#include <math.h>
#include <stdarg.h>

static json_t *golden(const char *rel) {
    char path[512];
    json_t *j = NULL;
    duet_err err = {{0}};
    if (dt_json_read(shared_path(path, sizeof path, rel), (size_t)64 << 20, &j, &err)) fail_msg("%s", err.text);
    return j;
}

static double num(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number \"%s\"", key);
    return json_number_value(v);
}

static void near(const char *what, size_t at, double got, double want, double tol) {
    if (!(fabs(got - want) <= tol)) fail_msg("%s [%zu]: got %.17g, want %.17g", what, at, got, want);
}

/* Rows of a [B][T] array laid end to end; the caller's to free. */
static double *flat(const json_t *o, const char *key, size_t *n) {
    const json_t *rows = json_object_get(o, key);
    double *out = calloc(100000, sizeof *out);
    size_t k = 0;
    assert_true(json_is_array(rows));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        for (size_t j = 0; j < json_array_size(row); j++)
            out[k++] = json_number_value(json_array_get(row, j));
    }
    *n = k;
    return out;
}

static void ppo_golden(void **state) {
    json_t *all = golden("golden/rl/ppo_loss.json");
    (void)state;
    for (size_t c = 0; c < json_array_size(all); c++) {
        const json_t *o = json_array_get(all, c), *e = json_object_get(o, "expected");
        size_t n = 0, k = 0;
        double *new_lp = flat(o, "log_probs", &n), *old_lp = flat(o, "old_log_probs", &k), *ref = flat(o, "ref_log_probs", &k);
        double *adv = flat(o, "advantages", &k), *mask_d = flat(o, "response_mask", &k);
        double *want_d = flat(e, "dloss_dlogprob", &k), *want_t = flat(e, "token_loss", &k);
        double *d = calloc(n, sizeof *d), *t = calloc(n, sizeof *t);
        uint8_t *mask = calloc(n, 1);
        dt_ppo h = {num(o, "clip_ratio_low"), num(o, "clip_ratio_high"), num(o, "clip_ratio_c"), num(o, "kl_loss_coef")};
        dt_ppo_out out;
        for (size_t i = 0; i < n; i++)
            mask[i] = mask_d[i] > 0;
        dt_ppo_loss(&h, n, new_lp, old_lp, ref, adv, mask, 0, d, t, &out);
        near("loss", c, out.loss, num(e, "loss"), 1e-9);
        near("pg_loss", c, out.pg_loss, num(e, "pg_loss"), 1e-9);
        near("kl_loss", c, out.kl_loss, num(e, "kl_loss"), 1e-9);
        near("clipfrac", c, out.clipfrac, num(e, "pg_clipfrac"), 1e-9);
        near("clipfrac_lower", c, out.clipfrac_lower, num(e, "pg_clipfrac_lower"), 1e-9);
        near("ppo_kl", c, out.ppo_kl, num(e, "ppo_kl"), 1e-9);
        for (size_t i = 0; i < n; i++) {
            if (mask[i]) near("token loss", i, t[i], want_t[i], 1e-9 * (1 + fabs(want_t[i])));
            near("gradient", i, d[i], want_d[i], 1e-12 + 1e-9 * fabs(want_d[i]));
        }
        free(new_lp), free(old_lp), free(ref), free(adv), free(mask_d), free(want_d), free(want_t), free(d), free(t), free(mask);
    }
    json_decref(all);
}

static void groups_golden(void **state) {
    json_t *all = golden("golden/rl/grpo_advantages.json");
    (void)state;
    for (size_t c = 0; c < json_array_size(all); c++) {
        const json_t *o = json_array_get(all, c), *s = json_object_get(o, "scores"), *u = json_object_get(o, "uid");
        const json_t *want = json_object_get(o, "advantages"), *want_mean = json_object_get(o, "advantages_no_std");
        size_t n = json_array_size(s);
        double *score = calloc(n, sizeof *score), *adv = calloc(n, sizeof *adv);
        int *group = calloc(n, sizeof *group);
        for (size_t i = 0; i < n; i++) {
            score[i] = json_number_value(json_array_get(s, i));
            for (size_t j = 0; j <= i; j++)
                if (json_equal(json_array_get(u, i), json_array_get(u, j))) {
                    group[i] = (int)j;
                    break;
                }
        }
        for (int exact = 0; exact < 2; exact++) {
            dt_grpo_advantages(n, score, group, true, num(o, "epsilon"), exact, adv, NULL);
            for (size_t i = 0; i < n; i++)
                near(json_string_value(json_object_get(o, "note")), i, adv[i], json_number_value(json_array_get(want, i)), 2e-9);
            dt_grpo_advantages(n, score, group, false, num(o, "epsilon"), exact, adv, NULL);
            for (size_t i = 0; i < n; i++)
                near("no std", i, adv[i], json_number_value(json_array_get(want_mean, i)), 2e-9);
        }
        free(score), free(adv), free(group);
    }
    json_decref(all);
}

static void rewards_golden(void **state) {
    json_t *all = golden("golden/rl/duet_reward.json");
    (void)state;
    for (size_t c = 0; c < json_array_size(all); c++) {
        const json_t *o = json_array_get(all, c), *batches = json_object_get(o, "batches");
        dt_penalty p = {.lambda = num(o, "lambda0"), .eta = num(o, "eta"), .bound = num(o, "B"), .adaptive = true, .clip = true};
        for (size_t b = 0; b < json_array_size(batches); b++) {
            const json_t *batch = json_array_get(batches, b), *rolls = json_object_get(batch, "rollouts");
            size_t n = json_array_size(rolls);
            double *R = calloc(n, sizeof *R), *adv = calloc(n, sizeof *adv), mean = 0;
            int *group = calloc(n, sizeof *group);
            near("lambda used", b, p.lambda, num(batch, "lambda_used"), 1e-12);
            for (size_t i = 0; i < n; i++) {
                const json_t *r = json_array_get(rolls, i), *g = json_object_get(r, "m_sample_rewards");
                double r_Mm = 0;
                for (size_t j = 0; j < json_array_size(g); j++)
                    r_Mm += json_number_value(json_array_get(g, j));
                r_Mm /= (double)json_array_size(g);
                near("r_Mm", i, r_Mm, num(r, "r_Mm"), 1e-12);
                R[i] = dt_reward_M(r_Mm, num(r, "r_m"), 1, p.lambda, num(r, "L"), p.bound);
                near("reward", i, R[i], num(r, "reward"), 1e-12);
                mean += num(r, "L") / (double)n;
                group[i] = atoi(json_string_value(json_object_get(r, "uid")) + 1);
            }
            dt_grpo_advantages(n, R, group, true, 1e-6, false, adv, NULL);
            for (size_t i = 0; i < n; i++)
                near("advantage", i, adv[i], json_number_value(json_array_get(json_object_get(batch, "grpo_advantages"), i)), 1e-9);
            near("mean L", b, mean, num(batch, "mean_L"), 1e-9);
            dt_penalty_update(&p, mean);
            near("lambda next", b, p.lambda, num(batch, "lambda_next"), 1e-12);
            free(R), free(adv), free(group);
        }
    }
    json_decref(all);
}

static size_t gather(json_t *o, float *out) { /* all named arrays of o, in its order */
    size_t k = 0;
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v) for (size_t i = 0; i < json_array_size(v); i++)
        out[k++] = (float)json_number_value(json_array_get(v, i));
    return k;
}

static void adamw_golden(void **state) {
    json_t *all = golden("golden/train/adamw_unit.json");
    (void)state;
    for (size_t c = 0; c < json_array_size(all); c++) {
        const json_t *o = json_array_get(all, c), *steps = json_object_get(o, "steps");
        float p[4096], g[4096], m[4096] = {0}, v[4096] = {0}, want[4096];
        dt_adamw h = {num(o, "lr"), num(o, "beta1"), num(o, "beta2"), num(o, "eps"), num(o, "weight_decay"), num(o, "max_grad_norm")};
        dt_optim opt = {.m = m, .v = v};
        opt.n = gather(json_object_get(o, "init"), p);
        for (size_t s = 0; s < json_array_size(steps); s++) {
            const json_t *step = json_array_get(steps, s);
            double norm, clip, want_norm = num(step, "grad_norm_before_clip");
            assert_int_equal(gather(json_object_get(step, "grads"), g), opt.n);
            dt_adamw_step(NULL, &h, &opt, p, g, &norm, &clip);
            near("norm", s, norm, want_norm, 1e-6 * want_norm);
            gather(json_object_get(step, "params"), want);
            for (size_t i = 0; i < opt.n; i++)
                near("param", i, (double)p[i], (double)want[i], 2e-6 * (1 + fabs((double)want[i])));
        }
    }
    json_decref(all);
}

/* ---- what needs no golden folder ---- */

static void ppo_by_hand(void **state) {
    static const struct {
        const char *name;
        double new_lp, old_lp, adv, loss, grad;
    } cases[] = {
        {"fresh, A > 0",             -1.0, -1.0,            2.0,  -2.0, -2.0},
        {"fresh, A < 0",             -1.0, -1.0,           -2.0,   2.0,  2.0},
        {"ratio 2, A > 0: clipped",  -1.0, -1.69314718056,  1.0,  -1.2,  0.0},
        {"ratio 2, A < 0: full",     -1.0, -1.69314718056, -1.0,   2.0,  2.0},
        {"ratio 4, A < 0: dual",     -1.0, -2.38629436112, -1.0,   3.0,  0.0},
        {"ratio 1/2, A > 0: full",   -1.0, -0.30685281944,  1.0,  -0.5, -0.5},
        {"ratio 1/2, A < 0: clipped", -1.0, -0.30685281944, -1.0,  0.8,  0.0},
        {"A = 0",                    -1.0, -1.3,            0.0,   0.0,  0.0},
        {"beyond the log clamp",     -30.0, -1.0,           1.0,  -2.061153622438558e-09, 0.0},
    };
    dt_ppo h = {0.2, 0.2, 3.0, 0};
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        double d, t;
        uint8_t mask = 1;
        dt_ppo_loss(&h, 1, &cases[i].new_lp, &cases[i].old_lp, NULL, &cases[i].adv, &mask, 0, &d, &t, NULL);
        near(cases[i].name, i, t, cases[i].loss, 1e-9);
        near(cases[i].name, i, d, cases[i].grad, 1e-9);
    }
}

/* A given denominator makes the gradient independent of how a mini-batch is split. */
static void loss_does_not_see_the_split(void **state) {
    double new_lp[] = {-1, -2, -0.5, -3, -1.5}, old_lp[] = {-1.1, -1.9, -0.5, -2.5, -1.5}, adv[] = {1, -1, 0.5, 0.5, -2}, all[5], part[5];
    uint8_t mask[] = {1, 1, 0, 1, 1};
    dt_ppo h = {0.2, 0.2, 3.0, 0};
    dt_ppo_out whole, a, b;
    (void)state;
    dt_ppo_loss(&h, 5, new_lp, old_lp, NULL, adv, mask, 0, all, NULL, &whole);
    dt_ppo_loss(&h, 2, new_lp, old_lp, NULL, adv, mask, 4, part, NULL, &a);
    dt_ppo_loss(&h, 3, new_lp + 2, old_lp + 2, NULL, adv + 2, mask + 2, 4, part + 2, NULL, &b);
    assert_memory_equal(all, part, sizeof all);
    near("loss", 0, a.loss + b.loss, whole.loss, 1e-15);
}

static void advantages_by_hand(void **state) {
    double s[] = {1, 0, 0.1, 1, 0, 0.1, 0.1, 7}, a[8];
    int g[] = {4, 4, 9, 4, 4, 9, 9, 2}, zero = -1;
    double u = 0.5 / (sqrt(1.0 / 3) + 1e-6);
    double want[] = {u, -u, 0, u, -u, 0, 0, 7 / (1 + 1e-6)};
    (void)state;
    dt_grpo_advantages(8, s, g, true, 1e-6, true, a, &zero);
    for (size_t i = 0; i < 8; i++)
        near("A", i, a[i], want[i], 1e-15);
    assert_int_equal(zero, 1);
}

/* Section 10, point 1: with a baseline shared by the group, r_m changes no advantage. */
static void shared_baseline_changes_nothing(void **state) {
    double r[] = {0.25, 0.75, 1, 0.5}, L[] = {100, 300, 200, 50}, R[4], shifted[4], a[4], b[4];
    int g[] = {0, 0, 0, 0};
    (void)state;
    for (int i = 0; i < 4; i++) {
        R[i] = dt_reward_M(r[i], 0, 1, 0.1, L[i], 1000);
        shifted[i] = dt_reward_M(r[i], 0.625, 1, 0.1, L[i], 1000);
    }
    dt_grpo_advantages(4, R, g, true, 1e-6, true, a, NULL);
    dt_grpo_advantages(4, shifted, g, true, 1e-6, true, b, NULL);
    for (size_t i = 0; i < 4; i++)
        near("A", i, a[i], b[i], 1e-12);
}

/* Section 10, point 2: the price of length keeps its size, and failing groups are not taught to fail briefly. */
static void separate_terms(void **state) {
    double right[] = {1, 1, 1, 1}, wrong[] = {0, 0, 0, 0}, L[] = {100, 300, 200, 400}, a[4];
    int g[] = {0, 0, 0, 0}, zero;
    dt_separate o = {.std_floor = 0.1, .eps = 1e-6, .gate = 0, .bound = 1000};
    (void)state;
    for (double lambda = 1; lambda > 1e-9; lambda /= 10) {
        o.lambda = lambda;
        dt_separate_advantages(&o, 4, right, right, L, NULL, g, a, &zero);
        for (size_t i = 0; i < 4; i++)
            near("length term", i, a[i], -lambda * (L[i] - 250) / 1000, 1e-15);
        assert_int_equal(zero, 0);
    }
    o.lambda = 0;
    dt_separate_advantages(&o, 4, right, right, L, NULL, g, a, &zero);
    for (size_t i = 0; i < 4; i++)
        assert_true(a[i] == 0);
    assert_int_equal(zero, 1);
    o.lambda = 1;
    dt_separate_advantages(&o, 4, wrong, wrong, L, NULL, g, a, &zero);
    for (size_t i = 0; i < 4; i++)
        assert_true(a[i] == 0);
    assert_int_equal(zero, 1);
    o.gate = -1; /* off: as the reference */
    dt_separate_advantages(&o, 4, wrong, wrong, L, NULL, g, a, &zero);
    near("no gate", 0, a[0], 0.15, 1e-15);
    double mixed[] = {1, 0, 1, 1}, u = 1 / (0.5 + 1e-6);
    o.gate = 0.9; /* 0.75 right is not enough */
    dt_separate_advantages(&o, 4, mixed, mixed, L, NULL, g, a, &zero);
    near("gate 0.9", 1, a[1], -0.75 * u, 1e-12);
    double little[] = {1, 1, 1, 0.99};
    o.lambda = 0, o.gate = 0;
    dt_separate_advantages(&o, 4, little, little, L, NULL, g, a, NULL);
    near("floor", 3, a[3], -0.0075 / (0.1 + 1e-6), 1e-12);
    o.no_std = true;
    dt_separate_advantages(&o, 4, little, little, L, NULL, g, a, NULL);
    near("no std", 3, a[3], -0.0075, 1e-12);
    o.no_std = false;
    double kl[] = {1, 2, 3, 2};
    o.beta = 0.5;
    dt_separate_advantages(&o, 4, right, right, L, kl, g, a, NULL);
    near("kl", 0, a[0], 0.5, 1e-15);
}

static void penalty_by_hand(void **state) {
    static const struct {
        const char *name;
        dt_penalty p;
        double len, want;
    } cases[] = {
        {"longer: up",            {0.1, 0.01, 100, true, true},  200, 0.11},
        {"shorter: down",         {0.1, 0.01, 100, true, true},  50,  0.095},
        {"never below 0",         {0.0, 0.01, 100, true, true},  50,  0},
        {"never above 1",         {0.995, 0.01, 100, true, true}, 900, 1},
        {"no clip",               {0.0, 0.01, 100, true, false}, 50,  -0.005},
        {"constant",              {0.1, 0.01, 100, false, true}, 900, 0.1},
    };
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_penalty p = cases[i].p;
        dt_penalty_update(&p, cases[i].len);
        near(cases[i].name, i, p.lambda, cases[i].want, 1e-15);
    }
}

static void adamw_same_bits_on_any_threads(void **state) {
    enum { N = 50021 };
    float *p[2], *m[2], *v[2], *g = calloc(N, sizeof *g);
    double norm[2];
    duet_err err = {{0}};
    (void)state;
    for (size_t i = 0; i < N; i++)
        g[i] = (float)(dt_rng_at(1, 2, i) - 0.5);
    for (int k = 0; k < 2; k++) {
        dt_pool *pool = NULL;
        dt_adamw h = {1e-3, 0.9, 0.95, 1e-8, 0.1, 1.0};
        p[k] = calloc(N, sizeof(float)), m[k] = calloc(N, sizeof(float)), v[k] = calloc(N, sizeof(float));
        dt_optim o = {.m = m[k], .v = v[k], .n = N};
        assert_int_equal(dt_pool_create(k ? 3 : 1, &pool, &err), DUET_OK);
        for (int s = 0; s < 3; s++)
            dt_adamw_step(pool, &h, &o, p[k], g, &norm[k], NULL);
        dt_pool_destroy(pool);
    }
    assert_memory_equal(p[0], p[1], N * sizeof(float));
    assert_memory_equal(v[0], v[1], N * sizeof(float));
    assert_true(norm[0] == norm[1]);
    for (int k = 0; k < 2; k++)
        free(p[k]), free(m[k]), free(v[k]);
    free(g);
}

static void bad_norm_skips_the_step(void **state) {
    float p[3] = {1, 2, 3}, g[3] = {0, INFINITY, 0}, m[3] = {0}, v[3] = {0};
    dt_adamw h = {1e-3, 0.9, 0.95, 1e-8, 0.1, 1.0};
    dt_optim o = {.m = m, .v = v, .n = 3};
    double norm = 0;
    (void)state;
    dt_adamw_step(NULL, &h, &o, p, g, &norm, NULL);
    assert_false(isfinite(norm));
    assert_int_equal(o.step, 0);
    assert_true(p[0] == 1 && p[1] == 2 && v[1] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ppo_golden),
        cmocka_unit_test(groups_golden),
        cmocka_unit_test(rewards_golden),
        cmocka_unit_test(adamw_golden),
        cmocka_unit_test(ppo_by_hand),
        cmocka_unit_test(loss_does_not_see_the_split),
        cmocka_unit_test(advantages_by_hand),
        cmocka_unit_test(shared_baseline_changes_nothing),
        cmocka_unit_test(separate_terms),
        cmocka_unit_test(penalty_by_hand),
        cmocka_unit_test(adamw_same_bits_on_any_threads),
        cmocka_unit_test(bad_norm_skips_the_step),
    };
    return cmocka_run_group_tests_name("train/units", tests, NULL, NULL);
}

/* Golden vectors of training, through the code that trains: cross-entropy with AdamW over three steps (loss, norm, the
 * whole gradient, parameters and moments), and the policy update of one mini-batch. Everything once more with
 * recomputation and on two threads, which must not change a bit ("once": not so, for the slow kernels). Tolerances: the
 * golden README's. */
#include "support.h"

#include "format/safetensors.h"
#include "train/policy.h"

#include <math.h>

static json_t *golden(const char *rel) {
    char path[512];
    json_t *j = NULL;
    duet_err err = {{0}};
    if (dt_json_read(shared_path(path, sizeof path, rel), (size_t)64 << 20, &j, &err))
        fail_msg("%s", err.text);
    return j;
}

static dt_st *tensors(const char *rel) {
    char path[512];
    dt_st *f = NULL;
    duet_err err = {{0}};
    if (dt_st_open(shared_path(path, sizeof path, rel), &f, &err))
        fail_msg("%s", err.text);
    return f;
}

static const json_t *get(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!v)
        fail_msg("no \"%s\"", key);
    return v;
}

static double num(const json_t *o, const char *key) {
    return json_number_value(get(o, key));
}

static double at(const json_t *array, size_t i) {
    return json_number_value(json_array_get(array, i));
}

static void near(const char *what, double got, double want, double tol) {
    if (!(fabs(got - want) <= tol))
        fail_msg("%s: got %.9g, want %.9g (tolerance %g)", what, got, want, tol);
}

/* ---- a model that learns ---- */

typedef struct learner {
    duet_model *model;
    dt_pool *pool;
    dt_trainee t;
} learner;

typedef struct variant {
    const char *name;
    int threads, micro_tokens;
    bool recompute, exact; /* exact: the same bits as the first one */
} variant;

/* 64 tokens hold the longest sequence and never a whole mini-batch. */
static const variant variants[] = {
    {"one thread",  1, 512, false, true },
    {"two threads", 2, 512, false, true },
    {"recompute",   2, 512, true,  true },
    {"cut",         1, 64,  false, false},
};
static size_t n_variants = DT_COUNT(variants);

static learner learner_open(const char *model, const variant *v) {
    learner l = {0};
    char rel[128], path[512];
    duet_err err = {{0}};
    snprintf(rel, sizeof rel, "golden/models/%s", model);
    if (duet_model_open(shared_path(path, sizeof path, rel), NULL, &l.model, &err) ||
        dt_pool_create(v->threads, &l.pool, &err) ||
        dt_trainee_init(&l.t, l.model, l.pool, v->micro_tokens, v->recompute, 1, &err))
        fail_msg("%s", err.text);
    return l;
}

static void learner_close(learner *l) {
    dt_trainee_clear(&l->t);
    dt_pool_destroy(l->pool);
    duet_model_close(l->model);
}

/* ---- comparing blocks laid out like the parameters ---- */

typedef bool (*tolerates)(double got, double want, void *user);

static bool gradient_tolerates(double got, double want, void *user) {
    (void)user;
    return fabs(got - want) <= 2e-5 + 1e-4 * fabs(want);
}

/* Adam's first steps are near lr * sign(g): a few entries with |g| near eps may differ, none by more than 2 lr. */
typedef struct loose {
    double lr;
    size_t n, n_off;
} loose;

static bool params_tolerate(double got, double want, void *user) {
    loose *l = user;
    double d = fabs(got - want);
    l->n++;
    l->n_off += d > 1e-5;
    return d <= 2 * l->lr;
}

static void few_off(const char *what, const loose *l, size_t one_in) {
    if (l->n_off * one_in > l->n)
        fail_msg("%s: %zu of %zu entries differ by more than 1e-5", what, l->n_off, l->n);
}

static void check_tensors(const char *what, const duet_model *m, const float *block, const dt_st *f, tolerates ok,
                          void *user) {
    assert_int_equal(dt_st_count(f), m->n_param);
    for (int i = 0; i < m->n_param; i++) {
        const dt_param *p = &m->param[i];
        size_t n = (size_t)p->rows * (size_t)p->cols;
        const dt_view *v = dt_st_find(f, p->name);
        float *want = malloc(n * sizeof *want);
        size_t count = 0, bytes = 0;
        assert_non_null(v);
        assert_true(dt_view_count(v, &count, &bytes) && count == n);
        dt_view_to_f32(v, want);
        for (size_t j = 0; j < n; j++)
            if (!ok((double)block[p->offset + j], (double)want[j], user))
                fail_msg("%s: %s [%zu]: got %.9g, want %.9g", what, p->name, j, (double)block[p->offset + j],
                         (double)want[j]);
        free(want);
    }
}

/* The summary of every tensor: sampled entries, and l2 and absmax of all of them. */
static void check_summary(const char *what, const duet_model *m, const float *block, const json_t *all, tolerates ok,
                          void *user, double rel) {
    char label[160];
    assert_int_equal(json_object_size(all), m->n_param);
    for (int i = 0; i < m->n_param; i++) {
        const dt_param *p = &m->param[i];
        const json_t *s = get(all, p->name), *idx = get(s, "idx"), *val = get(s, "val");
        size_t n = (size_t)p->rows * (size_t)p->cols;
        double l2 = 0, top = 0, want_l2 = num(s, "l2");
        for (size_t j = 0; j < n; j++) {
            double x = (double)block[p->offset + j];
            l2 += x * x;
            top = fmax(top, fabs(x));
        }
        snprintf(label, sizeof label, "%s: %s", what, p->name);
        near(label, sqrt(l2), want_l2, 1e-12 + rel * want_l2);
        near(label, top, num(s, "absmax"), 1e-12 + rel * fmax(want_l2, num(s, "absmax")));
        assert_true(json_array_size(idx) > 0);
        for (size_t j = 0; j < json_array_size(idx); j++) {
            size_t k = (size_t)at(idx, j);
            assert_true(k < n);
            if (!ok((double)block[p->offset + k], at(val, j), user))
                fail_msg("%s [%zu]: got %.9g, want %.9g", label, k, (double)block[p->offset + k], at(val, j));
        }
    }
}

/* ---- cross-entropy ---- */

typedef struct ce_batch {
    dt_seq *seq;
    uint8_t **mask;    /* [n][tokens of the sequence]: token t is a target */
    const json_t *nll; /* wanted of every token but the first, [n][tokens - 1]; NULL = not compared */
    size_t n, n_targets;
    double loss;
} ce_batch;

static ce_batch ce_open(const json_t *rows) {
    ce_batch b = {.n = json_array_size(rows)};
    b.seq = calloc(b.n, sizeof *b.seq);
    b.mask = calloc(b.n, sizeof *b.mask);
    for (size_t i = 0; i < b.n; i++) {
        const json_t *tokens = get(json_array_get(rows, i), "tokens"),
                     *mask = get(json_array_get(rows, i), "loss_mask");
        size_t n = json_array_size(tokens);
        int32_t *ids = calloc(n, sizeof *ids);
        b.mask[i] = calloc(n, 1);
        for (size_t t = 0; t < n; t++) {
            ids[t] = (int32_t)at(tokens, t);
            b.mask[i][t] = at(mask, t) > 0;
            b.n_targets += t > 0 && b.mask[i][t];
        }
        b.seq[i] = (dt_seq){.ids = ids, .n = (int)n, .first = 1};
    }
    return b;
}

static void ce_close(ce_batch *b) {
    for (size_t i = 0; i < b->n; i++) {
        free((void *)(uintptr_t)(const void *)b->seq[i].ids);
        free(b->mask[i]);
    }
    free(b->seq);
    free(b->mask);
}

static void ce_coef(void *user, size_t i, const dt_seq *s, const float *logp, const float *entropy, float *coef) {
    ce_batch *b = user;
    (void)entropy;
    for (int t = 1; t < s->n; t++) {
        if (b->nll)
            near("nll of a token", -(double)logp[t - 1], at(json_array_get(b->nll, i), (size_t)t - 1), 1e-4);
        if (!b->mask[i][t])
            continue;
        coef[t - 1] = (float)(-1.0 / (double)b->n_targets);
        b->loss -= (double)logp[t - 1] / (double)b->n_targets;
    }
}

static void ce_run(const char *name, const json_t *o, const dt_st *grads, const dt_st *params3, const variant *v,
                   float *params) {
    const json_t *a = get(o, "adamw"), *steps = get(o, "steps"), *batches = get(o, "batches");
    dt_adamw h = {num(a, "lr"),  num(a, "beta1"),        num(a, "beta2"),
                  num(a, "eps"), num(a, "weight_decay"), num(a, "max_grad_norm")};
    learner l = learner_open(name, v);
    loose few = {.lr = h.lr}, all = {.lr = h.lr};
    duet_err err = {{0}};
    char step_name[24];

    assert_int_equal(json_array_size(steps), 3);
    for (size_t s = 0; s < json_array_size(steps); s++) {
        const json_t *step = json_array_get(steps, s);
        ce_batch b = ce_open(json_array_get(batches, s));
        double norm = 0, want = num(step, "grad_norm_before_clip");
        assert_int_equal(b.n_targets, (size_t)num(step, "n_tokens"));
        b.nll = s == 0 ? get(o, "first_batch_nll_per_token") : NULL;
        if (dt_trainee_accumulate(&l.t, b.seq, b.n, ce_coef, &b, &err))
            fail_msg("%s", err.text);
        near("loss", b.loss, num(step, "loss"), 2e-5);
        if (s == 0) {
            check_tensors("gradient", l.model, l.t.grad, grads, gradient_tolerates, NULL);
            check_summary("gradient", l.model, l.t.grad, get(o, "grad_summary_step1_before_clip"), gradient_tolerates,
                          NULL, 1e-4);
        }
        if (dt_trainee_update(&l.t, &h, &norm, &err))
            fail_msg("%s", err.text);
        near("norm", norm, want, 1e-4 * want);
        for (size_t i = 0; i < l.t.optim.n; i++)
            assert_true(l.t.grad[i] == 0.0f);
        snprintf(step_name, sizeof step_name, "%zu", s + 1);
        const json_t *after = json_object_get(get(o, "params_after_step"), step_name);
        assert_true(after != NULL || s == 1);
        if (after)
            check_summary("parameters", l.model, l.model->params, after, params_tolerate, &few, 1e-4);
        ce_close(&b);
    }
    few_off("sampled parameters", &few, 100); /* small tensors weigh more in a sample of each */
    check_tensors("parameters after step 3", l.model, l.model->params, params3, params_tolerate, &all);
    few_off("parameters after step 3", &all, 1000);
    assert_int_equal(l.t.optim.step, 3);
    check_summary("first moment", l.model, l.t.optim.m, get(o, "adam_m_after_step3"), gradient_tolerates, NULL, 2e-4);
    check_summary("second moment", l.model, l.t.optim.v, get(o, "adam_v_after_step3"), gradient_tolerates, NULL, 4e-4);
    memcpy(params, l.model->params, l.t.optim.n * sizeof *params);
    learner_close(&l);
}

static void ce(const char *name) {
    char rel[128];
    snprintf(rel, sizeof rel, "golden/train/ce-%s.json", name);
    json_t *o = golden(rel);
    snprintf(rel, sizeof rel, "golden/train/ce-%s.grads.safetensors", name);
    dt_st *grads = tensors(rel);
    snprintf(rel, sizeof rel, "golden/train/ce-%s.params3.safetensors", name);
    dt_st *params3 = tensors(rel);
    learner l = learner_open(name, &variants[0]);
    size_t n = l.t.optim.n;
    float *first = calloc(n, sizeof *first), *other = calloc(n, sizeof *other);
    learner_close(&l);

    for (size_t i = 0; i < n_variants; i++) {
        print_message("%s, %s\n", name, variants[i].name);
        ce_run(name, o, grads, params3, &variants[i], i ? other : first);
        if (i && variants[i].exact)
            assert_memory_equal(first, other, n * sizeof *first);
    }
    free(first);
    free(other);
    dt_st_close(grads);
    dt_st_close(params3);
    json_decref(o);
}

static void ce_qwen3(void **state) {
    (void)state;
    ce("qwen3-tiny");
}

static void ce_qwen2(void **state) {
    (void)state;
    ce("qwen2-tiny");
}

/* ---- policy ---- */

enum { MAX_PIECES = 64 };

/* The library's samples learn every token of their response; here some tokens inside are masked. A run of unmasked
 * tokens becomes a sample of its own, with all before it as its prompt: the token mean over the mini-batch is the same.
 */
typedef struct pieces {
    dt_sample sample[MAX_PIECES];
    double adv[MAX_PIECES];
    float *ref[MAX_PIECES];
    size_t seq[MAX_PIECES], from[MAX_PIECES]; /* sequence, and where in its response the run begins */
    size_t n, n_tokens;
} pieces;

static void add_piece(pieces *p, const json_t *s, size_t seq, size_t from, size_t to) {
    const json_t *prompt = get(s, "prompt"), *response = get(s, "response");
    size_t n_prompt = json_array_size(prompt), n = n_prompt + to;
    dt_sample *q = &p->sample[p->n];
    assert_true(p->n < MAX_PIECES);
    *q = (dt_sample){.ids = calloc(n, sizeof *q->ids),
                     .logp = calloc(to - from, sizeof *q->logp),
                     .n = (int)n,
                     .first = (int)(n_prompt + from)};
    p->ref[p->n] = calloc(to - from, sizeof(float));
    for (size_t i = 0; i < n; i++)
        q->ids[i] = (int32_t)(i < n_prompt ? at(prompt, i) : at(response, i - n_prompt));
    for (size_t i = from; i < to; i++) {
        q->logp[i - from] = (float)at(get(s, "old_log_probs"), i);
        p->ref[p->n][i - from] = (float)at(get(s, "ref_log_probs"), i);
        near("one advantage a sequence", at(get(s, "advantages"), i), at(get(s, "advantages"), from), 0);
    }
    p->adv[p->n] = at(get(s, "advantages"), from);
    p->seq[p->n] = seq;
    p->from[p->n++] = from;
    p->n_tokens += to - from;
}

static void pieces_open(pieces *p, const json_t *sequences) {
    *p = (pieces){.n = 0};
    for (size_t i = 0; i < json_array_size(sequences); i++) {
        const json_t *s = json_array_get(sequences, i), *mask = get(s, "response_mask");
        size_t n = json_array_size(mask);
        for (size_t from = 0, to = 0; from < n; from = to + 1) {
            for (to = from; to < n && at(mask, to) > 0;)
                to++;
            if (to > from)
                add_piece(p, s, i, from, to);
        }
    }
}

static void pieces_close(pieces *p) {
    for (size_t i = 0; i < p->n; i++) {
        free(p->sample[i].ids);
        free(p->sample[i].logp);
        free(p->ref[i]);
    }
}

/* Per token: new log-probs as the trainer scores them, then the loss, the ratio, the KL and the derivative. */
static void check_tokens(learner *l, const pieces *p, const dt_ppo *h, const json_t *per_sequence) {
    duet_err err = {{0}};
    float *rows[MAX_PIECES];
    for (size_t i = 0; i < p->n; i++)
        rows[i] = calloc((size_t)dt_sample_len(&p->sample[i]), sizeof(float));
    if (dt_policy_score(&l->t, false, p->sample, p->n, rows, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < p->n; i++) {
        const json_t *want = json_array_get(per_sequence, p->seq[i]);
        for (size_t j = 0; j < (size_t)dt_sample_len(&p->sample[i]); j++) {
            /* with A = 1 and no clip the loss is minus the ratio */
            const dt_ppo open = {.clip_low = 1, .clip_high = 1e300, .dual_clip = 3};
            size_t k = p->from[i] + j;
            double new_lp = (double)rows[i][j], old = (double)p->sample[i].logp[j], ref = (double)p->ref[i][j];
            double loss = 0, d = 0, ratio = 0, one = 1, r = at(get(want, "ratio"), k),
                   g = at(get(want, "dloss_dlogprob"), k);
            uint8_t mask = 1;
            dt_ppo_out o;
            dt_ppo_loss(h, 1, &new_lp, &old, &ref, &p->adv[i], &mask, (double)p->n_tokens, &d, &loss, &o);
            dt_ppo_loss(&open, 1, &new_lp, &old, NULL, &one, &mask, 0, NULL, &ratio, NULL);
            near("new log-prob", new_lp, at(get(want, "new_log_probs"), k), 1e-4);
            near("token loss", loss, at(get(want, "token_loss"), k),
                 2e-5 + 1e-4 * fabs(at(get(want, "token_loss"), k)));
            near("ratio", -ratio, r, 2e-5 + 1e-4 * r);
            near("kl", o.kl_loss * (double)p->n_tokens, at(get(want, "kl"), k), 2e-5 + 2e-4 * at(get(want, "kl"), k));
            near("dloss_dlogprob", d, g, 2e-5 + 1e-4 * fabs(g));
        }
        free(rows[i]);
    }
}

/* One policy update with lr 0, beta1 0 and no clipping: the weights stay, and the first moment is the gradient. */
static void policy_run(const char *name, const json_t *c, pieces *p, const dt_st *grads, const variant *v,
                       float *gradient) {
    const json_t *e = get(c, "expected");
    learner l = learner_open("qwen3-tiny", v);
    dt_policy_options opt = {
        .ppo = {num(c,               "clip_ratio_low"), num(c, "clip_ratio_high"), num(c, "clip_ratio_c"), num(c, "kl_loss_coef")},
        .agg = DT_AGG_TOKEN_MEAN,
        .epochs = 1,
        .adamw = {.beta2 = 0.999, .eps = 1e-8            },
        .ref = (const float *const *)p->ref
    };
    dt_policy_stats out;
    duet_err err = {{0}};
    double norm = num(e, "grad_norm");

    near("entropy coefficient", num(c, "entropy_coeff"), 0, 0);
    check_tokens(&l, p, &opt.ppo, get(c, "per_sequence"));
    if (dt_policy_update(&l.t, &opt, p->sample, p->n, p->adv, &out, &err))
        fail_msg("%s", err.text);
    assert_int_equal(out.updates, 1);
    assert_int_equal(out.skipped, 0);
    near("loss", out.pg_loss + opt.ppo.kl_coef * out.kl_loss, num(e, "loss"), 2e-5);
    near("pg_loss", out.pg_loss, num(e, "pg_loss"), 2e-5);
    near("kl_loss", out.kl_loss, num(e, "kl_loss"), 2e-5);
    near("pg_clipfrac", out.clipfrac, num(e, "pg_clipfrac"), 1e-9);
    near("pg_clipfrac_lower", out.clipfrac_lower, num(e, "pg_clipfrac_lower"), 1e-9);
    near("ppo_kl", out.ppo_kl, num(e, "ppo_kl"), 2e-5);
    near("norm", out.grad_norm, norm, 1e-4 * norm);
    if (grads)
        check_tensors(name, l.model, l.t.optim.m, grads, gradient_tolerates, NULL);
    check_summary(name, l.model, l.t.optim.m, get(c, "grad_summary"), gradient_tolerates, NULL, 1e-4);
    memcpy(gradient, l.t.optim.m, l.t.optim.n * sizeof *gradient);
    learner_close(&l);
}

static void policy(const char *name, const char *grads_rel) {
    json_t *o = golden("golden/train/grpo-qwen3-tiny.json");
    dt_st *grads = grads_rel ? tensors(grads_rel) : NULL;
    const json_t *c = get(get(o, "cases"), name);
    learner l = learner_open("qwen3-tiny", &variants[0]);
    size_t n = l.t.optim.n;
    float *first = calloc(n, sizeof *first), *other = calloc(n, sizeof *other);
    pieces p;
    learner_close(&l);

    pieces_open(&p, get(o, "sequences"));
    for (size_t i = 0; i < n_variants; i++) {
        print_message("%s, %s\n", name, variants[i].name);
        policy_run(name, c, &p, grads, &variants[i], i ? other : first);
        if (i && variants[i].exact)
            assert_memory_equal(first, other, n * sizeof *first);
    }
    pieces_close(&p);
    free(first);
    free(other);
    dt_st_close(grads);
    json_decref(o);
}

static void policy_no_kl(void **state) {
    (void)state;
    policy("a_no_kl", "golden/train/grpo-qwen3-tiny.a_no_kl.grads.safetensors");
}

static void policy_kl(void **state) {
    (void)state;
    policy("b_kl", "golden/train/grpo-qwen3-tiny.b_kl.grads.safetensors");
}

static void policy_clip_higher(void **state) {
    (void)state;
    policy("c_clip_higher", NULL);
}

/* The advantages of the policy cases are those of their rewards. */
static void policy_advantages(void **state) {
    json_t *o = golden("golden/train/grpo-qwen3-tiny.json");
    const json_t *uid = get(o, "uid"), *rewards = get(o, "rewards"), *want = get(o, "advantage_per_sequence");
    double score[64], adv[64];
    int group[64];
    size_t n = json_array_size(rewards);
    (void)state;
    assert_true(n > 0 && n <= 64);
    for (size_t i = 0; i < n; i++) {
        score[i] = at(rewards, i);
        for (size_t j = i + 1; j-- > 0;)
            if (json_equal(json_array_get(uid, i), json_array_get(uid, j)))
                group[i] = (int)j;
    }
    dt_grpo_advantages(n, score, group, true, 1e-6, true, adv, NULL);
    for (size_t i = 0; i < n; i++)
        near("advantage", adv[i], at(want, i), 1e-9);
    json_decref(o);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ce_qwen3),  cmocka_unit_test(ce_qwen2),           cmocka_unit_test(policy_no_kl),
        cmocka_unit_test(policy_kl), cmocka_unit_test(policy_clip_higher), cmocka_unit_test(policy_advantages),
    };
    if (argc > 1 && !strcmp(argv[1], "once"))
        n_variants = 1;
    return cmocka_run_group_tests_name("train/golden", tests, NULL, NULL);
}

/* Low-rank adapters on random tiny models, the model under them as f32, as bf16 and as exact bf16: nothing changes with B = 0,
 * gradients against finite differences, rollout against training, threads, recomputation, saving, merging, refusals. */
#include "format/peft.h"
#include "model/kinds.h"

#include <math.h>
#include <unistd.h>

static const int32_t ids[] = {3, 7, 1, 1, 30, 22, 9, 36, 5, 4, 17, 17, 2, 8, 0, 12, 33, 21, 6, 6, 6, 11, 35, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
static const int start[] = {0, 5, 6, 36};
static const dt_batch batch = {.ids = ids, .start = start, .n_seqs = 3};
static const duet_weights forms[] = {DUET_WEIGHTS_F32, DUET_WEIGHTS_FILE, DUET_WEIGHTS_EXACT};
enum { T = 36, V = 37, RANK = 3 };
static char dir[] = "/tmp/duet-lora-XXXXXX";

static char *path_of(const char *name) {
    return dt_path_join(dir, name);
}

/* The base model as a folder, in BF16 unless f32 is asked for. */
static duet_model *base_of(void **state, duet_weights form) {
    duet_err err = {{0}};
    duet_model *m = model_of(state, 21);
    char *path = path_of("base");
    m->cfg.dtype = form == DUET_WEIGHTS_F32 ? DT_F32 : DT_BF16;
    if (duet_model_save(m, path, &err)) fail_msg("%s", err.text);
    duet_model_close(m);
    duet_model_options opt = {.weights = form};
    if (duet_model_open(path, &opt, &m, &err)) fail_msg("%s", err.text);
    free(path);
    return m;
}

static void attach(duet_model *m, const char *targets) {
    duet_err err = {{0}};
    char *path = path_of("base");
    dt_lora_options opt = {.rank = RANK, .alpha = 6, .targets = targets, .base = path, .seed = 4};
    if (dt_lora_attach(m, &opt, &err)) fail_msg("%s", err.text);
    free(path);
}

/* As after some training: no B is 0. */
static duet_model *adapted(void **state, duet_weights form) {
    duet_model *m = base_of(state, form);
    size_t n = 0;
    attach(m, "all-linear");
    float *p = dt_model_trained(m, &n);
    dt_rng r = dt_rng_make(3, 3);
    for (size_t i = 0; i < n; i++)
        p[i] += (float)(0.1 * dt_rng_normal(&r));
    assert_int_equal(dt_model_publish(m, NULL, NULL), DUET_OK);
    return m;
}

static void logits_of(duet_model *m, float *out) {
    duet_err err = {{0}};
    if (duet_model_logits(m, ids + 6, 30, 1, out, &err)) fail_msg("%s", err.text);
}

static void nothing_at_first(void **state) {
    float want[30 * V], got[30 * V];
    for (size_t f = 0; f < DT_COUNT(forms); f++) {
        duet_model *m = base_of(state, forms[f]);
        logits_of(m, want);
        attach(m, "all-linear");
        assert_int_equal(m->lora->n_adapters, 7 * m->cfg.n_layers);
        logits_of(m, got);
        assert_memory_equal(want, got, sizeof want);
        duet_model_close(m);
    }
}

static void coefs(float *c) {
    for (int t = 0; t < T; t++)
        c[t] = t % 3 ? (float)(0.1 * (t % 7) - 0.25) : 0.0f;
}

static float *gradient(duet_model *m, int threads, bool recompute, float *logp, float *base) {
    duet_err err = {{0}};
    dt_pool *pool = NULL;
    dt_learn *l = NULL;
    size_t n = 0;
    dt_model_trained(m, &n);
    float c[T], *g = calloc(n, sizeof *g);
    dt_learn_options opt = {.max_tokens = 64, .recompute = recompute};
    coefs(c);
    assert_int_equal(dt_pool_create(threads, &pool, &err), DUET_OK);
    assert_int_equal(dt_learn_create(m, pool, &opt, &l, &err), DUET_OK);
    if (base) assert_int_equal(dt_learn_score_base(l, &batch, 1, base, NULL, &err), DUET_OK);
    assert_int_equal(dt_learn_forward(l, &batch, 1, logp, NULL, &err), DUET_OK);
    assert_int_equal(dt_learn_backward(l, c, g, &err), DUET_OK);
    dt_learn_destroy(l);
    dt_pool_destroy(pool);
    return g;
}

/* At the largest entry of A and of B, of every adapter (with a window of one key q and k have no gradient). Those of lower layers see dx of all above them. */
static void finite_differences(void **state) {
    static const duet_weights floats[] = {DUET_WEIGHTS_F32, DUET_WEIGHTS_EXACT};
    for (size_t f = 0; f < DT_COUNT(floats); f++) {
        duet_err err = {{0}};
        duet_model *m = adapted(state, floats[f]);
        float lp[T], c[T], *g = gradient(m, 1, false, lp, NULL);
        dt_learn *l = NULL;
        dt_learn_options opt = {.max_tokens = 64};
        coefs(c);
        assert_int_equal(dt_learn_create(m, NULL, &opt, &l, &err), DUET_OK);
        for (int i = 0; i < 2 * m->lora->n_adapters; i++) {
            const dt_adapter *d = &m->lora->adapter[i / 2];
            size_t first = i % 2 ? d->b : d->a, n = (size_t)RANK * (size_t)(i % 2 ? d->rows : d->cols), at = first;
            for (size_t j = first; j < first + n; j++)
                if (fabsf(g[j]) > fabsf(g[at])) at = j;
            float keep = m->lora->params[at];
            double sum[2] = {0, 0}, h = 1e-2;
            for (int side = 0; side < 2; side++) {
                m->lora->params[at] = keep + (float)(side ? h : -h);
                assert_int_equal(dt_model_publish(m, NULL, &err), DUET_OK);
                assert_int_equal(dt_learn_score(l, &batch, 1, lp, NULL, &err), DUET_OK);
                for (int t = 0; t < T; t++)
                    sum[side] += (double)c[t] * (double)lp[t];
            }
            m->lora->params[at] = keep;
            double want = (sum[1] - sum[0]) / (2 * h), got = (double)g[at];
            if (fabs(want - got) > 2e-2 * fabs(got) + 2e-3)
                fail_msg("%s of %s: gradient %g, differences give %g", i % 2 ? "B" : "A", m->param[d->param].name, got, want);
            if (fabs(got) < 1e-6 && m->cfg.window != 1) fail_msg("%s of %s: no gradient", i % 2 ? "B" : "A", m->param[d->param].name);
        }
        dt_learn_destroy(l);
        free(g);
        duet_model_close(m);
    }
}

/* Rollout and training, 1 and 3 threads, saved and recomputed activations; and the scores of the model underneath. */
static void same_bits(void **state) {
    for (size_t f = 0; f < DT_COUNT(forms); f++) {
        duet_err err = {{0}};
        duet_model *m = adapted(state, forms[f]), *base = base_of(state, forms[f]);
        float a[T], b[T], c[T], roll[T] = {0}, under[T], under_roll[T] = {0};
        size_t n = 0;
        dt_model_trained(m, &n);
        float *g1 = gradient(m, 1, false, a, under), *g2 = gradient(m, 3, false, b, NULL), *g3 = gradient(m, 3, true, c, NULL);
        assert_memory_equal(a, b, sizeof a);
        assert_memory_equal(a, c, sizeof a);
        assert_memory_equal(g1, g2, n * sizeof *g1);
        assert_memory_equal(g1, g3, n * sizeof *g1);
        for (int s = 0; s < batch.n_seqs; s++) {
            size_t len = (size_t)(start[s + 1] - start[s]);
            assert_int_equal(duet_model_logprobs(m, ids + start[s], len, 2, roll + start[s], &err), DUET_OK);
            assert_int_equal(duet_model_logprobs(base, ids + start[s], len, 2, under_roll + start[s], &err), DUET_OK);
        }
        assert_memory_equal(a, roll, sizeof a);
        assert_memory_equal(under, under_roll, sizeof a);
        assert_true(memcmp(a, under, sizeof a) != 0);
        free(g1);
        free(g2);
        free(g3);
        duet_model_close(m);
        duet_model_close(base);
    }
}

static void saved_and_merged(void **state) {
    duet_err err = {{0}};
    char *folder = path_of("adapter"), *plain = path_of("merged"), hash[3][65];
    float want[30 * V], got[30 * V];
    duet_model *m = adapted(state, DUET_WEIGHTS_F32), *n = NULL;
    logits_of(m, want);
    if (duet_model_save(m, folder, &err)) fail_msg("%s", err.text);
    if (duet_model_open(folder, NULL, &n, &err)) fail_msg("%s", err.text);
    assert_int_equal(n->lora->rank, RANK);
    logits_of(n, got);
    assert_memory_equal(want, got, sizeof want);
    duet_model_fingerprint(m, hash[0], NULL);
    duet_model_fingerprint(n, hash[1], NULL);
    assert_string_equal(hash[0], hash[1]);
    duet_model_close(n);
    if (duet_model_merge(folder, plain, false, 2, &err)) fail_msg("%s", err.text);
    if (duet_model_open(plain, NULL, &n, &err)) fail_msg("%s", err.text);
    assert_null(n->lora);
    duet_model_fingerprint(n, hash[2], NULL);
    assert_string_not_equal(hash[0], hash[2]);
    logits_of(n, got);
    for (size_t t = 0; t < 30; t++) {
        size_t best[2] = {0, 0};
        for (size_t i = 0; i < V; i++) {
            if (fabsf(want[t * V + i] - got[t * V + i]) > 1e-3f) fail_msg("merged: logit %zu of %zu: %g, was %g", i, t, (double)got[t * V + i], (double)want[t * V + i]);
            if (want[t * V + i] > want[t * V + best[0]]) best[0] = i;
            if (got[t * V + i] > got[t * V + best[1]]) best[1] = i;
        }
        assert_int_equal(best[0], best[1]);
    }
    duet_model_close(n);
    assert_int_equal(duet_model_merge(plain, folder, false, 1, &err), DUET_E_USAGE);
    duet_model_close(m);
    free(folder);
    free(plain);
}

static void refused(void **state) {
    static const struct {
        const char *name, *rest, *says;
    } configs[] = {
        {"DoRA",          ",\"use_dora\":true",               "use_dora"         },
        {"rank patterns", ",\"rank_pattern\":{\"q_proj\":4}", "rank_pattern"     },
        {"biases",        ",\"bias\":\"all\"",                "bias"             },
        {"rsLoRA",        ",\"use_rslora\":true",             "use_rslora"       },
        {"transposed",    ",\"fan_in_fan_out\":true",         "fan_in_fan_out"   },
        {"another init",  ",\"init_lora_weights\":\"pissa\"", "init_lora_weights"},
        {"another kind",  ",\"peft_type\":\"IA3\"",           "peft_type"        },
    };
    char json[256];
    dt_peft p = {.rank = 0};
    duet_err err = {{0}};
    (void)state;
    for (size_t i = 0; i < DT_COUNT(configs); i++) {
        int n = snprintf(json, sizeof json, "{\"r\":4,\"lora_alpha\":8%s}", configs[i].rest);
        if (dt_peft_parse("x", json, (size_t)n, &p, &err) != DUET_E_UNSUPPORTED || !strstr(err.text, configs[i].says))
            fail_msg("%s: %s", configs[i].name, err.text);
        dt_peft_clear(&p);
    }
    static const char fine[] = "{\"r\":4,\"lora_alpha\":8,\"rank_pattern\":{},\"use_dora\":false,\"bias\":\"none\",\"base_model_name_or_path\":\"b\"}";
    assert_int_equal(dt_peft_parse("x", fine, sizeof fine - 1, &p, &err), DUET_OK);
    assert_int_equal(p.rank, 4);
    assert_string_equal(p.base, "b");
    dt_peft_clear(&p);
    assert_int_equal(dt_peft_parse("x", "{\"r\":0,\"lora_alpha\":8}", 22, &p, &err), DUET_E_FORMAT);
    dt_peft_clear(&p);

    duet_model *m = tiny_model(3);
    dt_lora_options bad_name = {.rank = 2, .alpha = 4, .targets = "q_proj,lm_head"}, too_high = {.rank = 25, .alpha = 4, .targets = "all-linear"};
    assert_int_equal(dt_lora_attach(m, &bad_name, &err), DUET_E_USAGE);
    assert_non_null(strstr(err.text, "lm_head"));
    assert_int_equal(dt_lora_attach(m, &too_high, &err), DUET_E_USAGE);
    assert_null(m->lora);
    dt_lora_options some = {.rank = 2, .alpha = 4, .targets = "q_proj, down_proj"};
    assert_int_equal(dt_lora_attach(m, &some, &err), DUET_OK);
    assert_int_equal(m->lora->n_adapters, 2 * m->cfg.n_layers);
    assert_int_equal(dt_lora_attach(m, &some, &err), DUET_E_USAGE);
    duet_model_close(m);
}

int main(void) {
    struct CMUnitTest tests[4 * DT_COUNT(kinds) + 1], each[] = {cmocka_unit_test(nothing_at_first), cmocka_unit_test(finite_differences),
                                                                cmocka_unit_test(same_bits), cmocka_unit_test(saved_and_merged)};
    static char test_names[4 * DT_COUNT(kinds)][64];
    size_t n = 0;
    if (!mkdtemp(dir)) return 1;
    for (size_t k = 0; k < DT_COUNT(kinds); k++)
        for (size_t i = 0; i < DT_COUNT(each); i++, n++)
            tests[n] = test_of_kind(each[i], &kinds[k], test_names[n]);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(refused);
    int bad = _cmocka_run_group_tests("lora", tests, n, NULL, NULL);
    dt_remove_tree(dir, NULL);
    return bad;
}

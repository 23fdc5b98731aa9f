/* One model in the forms its weights can have: as f32, in the type of its file, exactly. What is equal is equal bit for bit,
 * what is rounded stays within bounds, and no form depends on cuts, company or threads. */
#include "model/gguf_of.h"

#include <math.h>

enum { T = 40, V = 99 };

static int32_t ids[T];
static char path[64];

static int make_path(void **state) {
    (void)state;
    dt_rng r = dt_rng_make(3, 0);
    for (int i = 0; i < T; i++)
        ids[i] = (int32_t)dt_rng_below(&r, V);
    snprintf(path, sizeof path, "/tmp/duet-forms-%d.gguf", (int)getpid());
    return 0;
}

static int drop_path(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

static duet_model *opened(const char *what, duet_weights weights, int n_threads) {
    duet_model_options opt = {.weights = weights, .n_threads = n_threads};
    duet_model *m = NULL;
    duet_err err = {{0}};
    if (duet_model_open(what, &opt, &m, &err)) fail_msg("%s", err.text);
    return m;
}

static dt_dtype one_type;
static dt_dtype always(const char *name) {
    (void)name;
    return one_type;
}

/* As in the mixed files people download: v, down and embeddings finer, gate and up different, k of another family. */
static dt_dtype mixed(const char *name) {
    if (strstr(name, "v_proj") || strstr(name, "embed") || strstr(name, "lm_head")) return DT_Q6_K;
    if (strstr(name, "k_proj")) return DT_Q8_0;
    if (strstr(name, "up_proj")) return DT_BF16;
    return strstr(name, "down_proj") ? DT_Q5_K : DT_Q4_K;
}

static void logits_of(duet_model *m, int n_threads, float *out) {
    duet_err err = {{0}};
    if (duet_model_logits(m, ids, T, n_threads, out, &err)) fail_msg("%s", err.text);
}

static double root_mean_square(const float *a, const float *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(s / (double)n);
}

/* ---- every type, through the whole model ---- */

static const struct {
    dt_dtype type;
    duet_weights weights;
    bool equal;   /* to f32, bit for bit */
    double bound; /* else: root mean square of the difference of logits, whose own is about 1 */
} forms[] = {
    {DT_F32,  DUET_WEIGHTS_FILE,  true,  0   },
    {DT_F16,  DUET_WEIGHTS_FILE,  true,  0   },
    {DT_BF16, DUET_WEIGHTS_EXACT, true,  0   },
    {DT_BF16, DUET_WEIGHTS_FILE,  false, 0.02},
    {DT_Q8_0, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q4_0, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q4_1, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q5_0, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q5_1, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q2_K, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q3_K, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q4_K, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q5_K, DUET_WEIGHTS_FILE,  false, 0.05},
    {DT_Q6_K, DUET_WEIGHTS_FILE,  false, 0.05},
};

static void forms_against_f32(void **state) {
    (void)state;
    duet_model *m = wide_model("qwen3", 3 + 5, true, 21);
    float *want = calloc(T * V, sizeof *want), *got = calloc(T * V, sizeof *got);
    for (size_t i = 0; i < DT_COUNT(forms); i++) {
        one_type = forms[i].type;
        write_gguf(m, path, always, NULL);
        duet_model *f = opened(path, DUET_WEIGHTS_F32, 1), *h = opened(path, forms[i].weights, 1);
        duet_model_info info;
        assert_int_equal(duet_model_describe(h, &info, NULL), DUET_OK);
        assert_string_equal(info.held, dt_dtype_name(one_type));
        assert_int_equal(info.weights, forms[i].weights);
        logits_of(f, 1, want);
        logits_of(h, 1, got);
        double rms = root_mean_square(want, got, T * V);
        if (forms[i].equal && memcmp(want, got, T * V * sizeof *got)) fail_msg("%s: other bits than f32 (%g)", info.held, rms);
        if (!forms[i].equal && !(rms < forms[i].bound)) fail_msg("%s: logits differ by %g", info.held, rms);
        if (!forms[i].equal && !(rms > 1e-5)) fail_msg("%s: nothing was rounded: is it held as f32?", info.held);
        duet_model_close(f);
        duet_model_close(h);
    }
    free(want);
    free(got);
    duet_model_close(m);
}

/* ---- cuts, company, threads, the training walk ---- */

static void run_some(dt_infer *f, dt_kv *kv, dt_kv_seq *seq, int n, float *logits) {
    duet_err err = {{0}};
    int at = (int)seq->n_tokens;
    assert_int_equal(dt_kv_grow(kv, seq, n, &err), DUET_OK);
    dt_infer_seq s = {.ids = ids + at, .n = n, .pos0 = at, .pages = seq->pages, .n_logits = n};
    assert_int_equal(dt_infer_run(f, kv, &s, 1, logits + at * V, &err), DUET_OK);
    seq->n_tokens += n;
}

static void check_invariance(duet_model *m, const char *name) {
    static const int cuts[][7] = {{1, 1, 1, 1, 1, 1, 34}, {16, 7, 1, 16}, {39, 1}};
    duet_err err = {{0}};
    dt_pool *pool = NULL;
    dt_infer *f = NULL;
    dt_kv *kv = NULL;
    dt_learn *l = NULL;
    dt_learn_options opt = {.max_tokens = 2 * T};
    const int start[] = {0, 15, 15 + T};
    int32_t two[15 + T];
    float *want = calloc(T * V, sizeof *want), *got = calloc(2 * T * V, sizeof *got), lp[T], scored[15 + T];
    logits_of(m, 1, want);
    logits_of(m, 3, got);
    if (memcmp(want, got, T * V * sizeof *got)) fail_msg("%s: threads change bits", name);
    assert_int_equal(dt_pool_create(2, &pool, &err), DUET_OK);
    assert_int_equal(dt_infer_create(m, pool, 2 * T, &f, &err), DUET_OK);
    assert_int_equal(dt_kv_create(DT_F32, m->cfg.n_layers, m->cfg.n_kv, m->cfg.d_head, 24, &kv, &err), DUET_OK);
    for (size_t c = 0; c < DT_COUNT(cuts); c++) {
        dt_kv_seq seq = {0};
        for (int i = 0; i < 7 && cuts[c][i]; i++)
            run_some(f, kv, &seq, cuts[c][i], got);
        dt_kv_drop(kv, &seq);
        if (memcmp(got, want, T * V * sizeof *got)) fail_msg("%s, cut %zu: other bits", name, c);
    }
    dt_kv_seq a = {0}, b = {0};
    run_some(f, kv, &a, 20, got);
    assert_int_equal(dt_kv_grow(kv, &a, 1, &err), DUET_OK);
    assert_int_equal(dt_kv_grow(kv, &b, 31, &err), DUET_OK);
    dt_infer_seq both[2] = {{.ids = ids + 20, .n = 1, .pos0 = 20, .pages = a.pages, .n_logits = 1},
                            {.ids = ids, .n = 31, .pos0 = 0, .pages = b.pages, .n_logits = 31}};
    assert_int_equal(dt_infer_run(f, kv, both, 2, got, &err), DUET_OK);
    if (memcmp(got, want + 20 * V, V * sizeof *got) || memcmp(got + V, want, 31 * V * sizeof *got)) fail_msg("%s: company changes bits", name);
    dt_kv_drop(kv, &a);
    dt_kv_drop(kv, &b);
    /* the training walk, after another sequence in one batch */
    memcpy(two, ids + 3, 15 * sizeof *two);
    memcpy(two + 15, ids, sizeof ids);
    dt_batch batch = {.ids = two, .start = start, .n_seqs = 2};
    assert_int_equal(dt_learn_create(m, pool, &opt, &l, &err), DUET_OK);
    assert_int_equal(dt_learn_score(l, &batch, 1.0f, scored, NULL, &err), DUET_OK);
    assert_int_equal(duet_model_logprobs(m, ids, T, 1, lp, &err), DUET_OK);
    if (memcmp(lp, scored + 15, (T - 1) * sizeof *lp)) fail_msg("%s: the training walk gives other bits", name);
    dt_learn_destroy(l);
    dt_kv_destroy(kv);
    dt_infer_destroy(f);
    dt_pool_destroy(pool);
    free(want);
    free(got);
}

static void no_form_depends_on_company(void **state) {
    (void)state;
    duet_model *m = wide_model("qwen2", 8, false, 22);
    for (size_t i = 0; i < DT_COUNT(forms); i++) {
        one_type = forms[i].type;
        write_gguf(m, path, always, NULL);
        duet_model *h = opened(path, forms[i].weights, 2);
        check_invariance(h, dt_dtype_name(one_type));
        duet_model_close(h);
    }
    duet_model_close(m);
}

/* Types differ inside q/k/v and gate/up; 3 kv heads of 16 are no whole panels, so parts are cut there too. */
static void mixed_types(void **state) {
    (void)state;
    const int n_kv[] = {8, 1};
    for (size_t i = 0; i < DT_COUNT(n_kv); i++) {
        duet_model *m = wide_model("qwen3", n_kv[i], true, 23);
        float *want = calloc(T * V, sizeof *want), *got = calloc(T * V, sizeof *got);
        write_gguf(m, path, mixed, NULL);
        duet_model *f = opened(path, DUET_WEIGHTS_F32, 2), *h = opened(path, DUET_WEIGHTS_FILE, 2);
        assert_int_equal(h->layer[0].qkv.n_parts, 3);
        assert_int_equal(h->layer[0].gate_up.n_parts, 2);
        check_invariance(h, "mixed");
        logits_of(f, 1, want);
        logits_of(h, 1, got);
        double rms = root_mean_square(want, got, T * V);
        if (!(rms < 0.05 && rms > 1e-5)) fail_msg("logits differ by %g", rms);
        duet_model_close(f);
        duet_model_close(h);
        one_type = DT_Q8_0; /* one type: with whole panels all rows in one part */
        write_gguf(m, path, always, NULL);
        h = opened(path, DUET_WEIGHTS_FILE, 2);
        assert_int_equal(h->layer[0].qkv.n_parts, n_kv[i] == 8 ? 1 : 2);
        check_invariance(h, "one type");
        duet_model_close(h);
        duet_model_close(m);
        free(want);
        free(got);
    }
}

/* ---- files ---- */

/* llama's rows of q and k stand in another order in GGUF files. */
static void rotated_rows_come_back(void **state) {
    (void)state;
    const dt_dtype types[] = {DT_F32, DT_Q8_0, DT_Q4_K};
    char hash[2][65];
    duet_model *m = wide_model("llama", 8, false, 24);
    float *want = calloc(T * V, sizeof *want), *got = calloc(T * V, sizeof *got);
    one_type = DT_F32;
    write_gguf(m, path, always, NULL);
    duet_model *f = opened(path, DUET_WEIGHTS_F32, 2);
    assert_int_equal(f->n_params, m->n_params);
    assert_memory_equal(f->params, m->params, m->n_params * sizeof *m->params);
    duet_model_close(f);
    for (size_t i = 0; i < DT_COUNT(types); i++) {
        one_type = types[i];
        write_gguf(m, path, always, NULL);
        f = opened(path, DUET_WEIGHTS_F32, 2);
        duet_model *h = opened(path, DUET_WEIGHTS_FILE, 2), *again = NULL;
        logits_of(f, 1, want);
        logits_of(h, 1, got);
        if (one_type == DT_F32) assert_memory_equal(want, got, T * V * sizeof *got);
        assert_true(root_mean_square(want, got, T * V) < 0.05);
        assert_int_equal(duet_model_fingerprint(f, hash[0], NULL), DUET_OK);
        assert_int_equal(duet_model_fingerprint(h, hash[1], NULL), DUET_OK);
        assert_true(!strcmp(hash[0], hash[1]) == (one_type == DT_F32));
        assert_int_equal(dt_model_clone(h, &again, NULL), DUET_OK);
        logits_of(again, 1, want);
        assert_memory_equal(want, got, T * V * sizeof *got);
        duet_model_close(again);
        duet_model_close(f);
        duet_model_close(h);
    }
    free(want);
    free(got);
    duet_model_close(m);
}

/* A frozen matrix gives the same gradient behind it as a trained one, and none of its own. */
static void gradients_behind_frozen_matrices(void **state) {
    (void)state;
    duet_err err = {{0}};
    const int start[] = {0, 13, T};
    dt_batch batch = {.ids = ids, .start = start, .n_seqs = 2};
    dt_learn_options opt = {.max_tokens = T};
    const struct {
        dt_dtype type;
        duet_weights weights;
    } cases[] = {{DT_F32, DUET_WEIGHTS_FILE}, {DT_BF16, DUET_WEIGHTS_EXACT}};
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_model *m = wide_model(i ? "llama" : "qwen3", 8, i == 0, 25);
        one_type = cases[i].type;
        write_gguf(m, path, always, NULL);
        duet_model *both[2] = {opened(path, DUET_WEIGHTS_F32, 1), opened(path, cases[i].weights, 1)};
        float *grad[2], lp[T], coef[T];
        for (int t = 0; t < T; t++)
            coef[t] = (float)(0.1 * (t % 7) - 0.25);
        for (int k = 0; k < 2; k++) {
            dt_pool *pool = NULL;
            dt_learn *l = NULL;
            grad[k] = calloc(both[k]->n_params, sizeof *grad[k]);
            assert_int_equal(dt_pool_create(k + 1, &pool, &err), DUET_OK);
            assert_int_equal(dt_learn_create(both[k], pool, &opt, &l, &err), DUET_OK);
            assert_int_equal(dt_learn_forward(l, &batch, 1.0f, lp, NULL, &err), DUET_OK);
            assert_int_equal(dt_learn_backward(l, coef, grad[k], &err), DUET_OK);
            dt_learn_destroy(l);
            dt_pool_destroy(pool);
        }
        for (int p = 0; p < both[1]->n_param; p++) {
            const dt_param *a = &both[0]->param[p], *b = &both[1]->param[p];
            assert_true(b->is_vector == (b->offset != DT_NONE));
            if (b->is_vector && memcmp(grad[0] + a->offset, grad[1] + b->offset, (size_t)a->cols * sizeof(float)))
                fail_msg("%s: another gradient behind frozen %s", a->name, dt_dtype_name(one_type));
        }
        for (int k = 0; k < 2; k++) {
            duet_model_close(both[k]);
            free(grad[k]);
        }
        duet_model_close(m);
    }
}

static void folders_too(void **state) {
    (void)state;
    char dir[] = "/tmp/duet-forms-XXXXXX";
    duet_err err = {{0}};
    float *want = calloc(T * V, sizeof *want), *got = calloc(T * V, sizeof *got);
    duet_model *m = wide_model("qwen3", 8, true, 26);
    assert_non_null(mkdtemp(dir));
    m->cfg.dtype = DT_BF16;
    if (duet_model_save(m, dir, &err)) fail_msg("%s", err.text);
    duet_model *f = opened(dir, DUET_WEIGHTS_F32, 1), *h = opened(dir, DUET_WEIGHTS_EXACT, 1), *small = opened(dir, DUET_WEIGHTS_AUTO, 1);
    assert_int_equal(small->weights, DUET_WEIGHTS_F32);
    logits_of(f, 1, want);
    logits_of(h, 1, got);
    assert_memory_equal(want, got, T * V * sizeof *got);
    assert_int_equal(duet_model_save(h, dir, &err), DUET_E_UNSUPPORTED);
    dt_remove_tree(dir, NULL);
    duet_model_close(f);
    duet_model_close(h);
    duet_model_close(small);
    duet_model_close(m);
    free(want);
    free(got);
}

static void bad_files_are_named(void **state) {
    (void)state;
    duet_err err = {{0}};
    duet_model *m = wide_model("qwen3", 8, true, 27), *none = NULL;
    one_type = DT_Q8_0;
    write_gguf(m, path, always, "model.layers.1.mlp.up_proj.weight");
    assert_int_equal(duet_model_open(path, NULL, &none, &err), DUET_E_FORMAT);
    assert_null(none);
    if (!strstr(err.text, "model.layers.1.mlp.up_proj.weight is missing")) fail_msg("%s", err.text);
    duet_model_close(m);
}

/* ---- memory ---- */

static void too_little_memory_is_said(void **state) {
    (void)state;
    static const struct {
        const char *mib;
        duet_weights weights;
        size_t ctx;
        const char *want; /* NULL: it fits */
    } cases[] = {
        {"100", DUET_WEIGHTS_F32,  0,   NULL                                                     },
        {"16",  DUET_WEIGHTS_F32,  0,   "GiB of memory are free; with --weights file (0.01 GiB)" },
        {"16",  DUET_WEIGHTS_FILE, 0,   NULL                                                     },
        {"10",  DUET_WEIGHTS_FILE, 1024, "for weights and 0.00 GiB for a context of 1024 tokens" },
        {"10",  DUET_WEIGHTS_FILE, 1024, "; with -c 512 it would fit"                            },
        {"10",  DUET_WEIGHTS_FILE, 200, NULL                                                     },
        {"1",   DUET_WEIGHTS_FILE, 0,   "0.00 GiB of memory are free"                            },
    };
    duet_model *m = wide_model("qwen3", 16, true, 28);
    one_type = DT_Q4_0;
    write_gguf(m, path, always, NULL);
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_model_options opt = {.weights = cases[i].weights, .ctx = cases[i].ctx};
        duet_err err = {{0}};
        duet_model *n = NULL;
        setenv("DUET_MEMORY", cases[i].mib, 1);
        duet_status st = duet_model_open(path, &opt, &n, &err);
        if (st != (cases[i].want ? DUET_E_NOMEM : DUET_OK)) fail_msg("case %zu: status %d: %s", i, (int)st, err.text);
        if (cases[i].want && !strstr(err.text, cases[i].want)) fail_msg("case %zu: %s", i, err.text);
        duet_model_close(n);
    }
    /* What the context of an engine may take is not free for the next model. */
    const duet_model_options opt = {.weights = DUET_WEIGHTS_FILE, .ctx = 200};
    duet_err err = {{0}};
    duet_model *n = NULL;
    setenv("DUET_MEMORY", "11", 1);
    dt_memory_promise(3 << 20);
    assert_int_equal(duet_model_open(path, &opt, &n, &err), DUET_E_NOMEM);
    assert_non_null(strstr(err.text, "GiB for the contexts of models that are open"));
    dt_memory_promise(-(3 << 20));
    assert_int_equal(duet_model_open(path, &opt, &n, &err), DUET_OK);
    duet_model_close(n);
    unsetenv("DUET_MEMORY");
    duet_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms_against_f32),
                                       cmocka_unit_test(no_form_depends_on_company),
                                       cmocka_unit_test(mixed_types),
                                       cmocka_unit_test(rotated_rows_come_back),
                                       cmocka_unit_test(gradients_behind_frozen_matrices),
                                       cmocka_unit_test(folders_too),
                                       cmocka_unit_test(bad_files_are_named),
                                       cmocka_unit_test(too_little_memory_is_said)};
    return cmocka_run_group_tests(tests, make_path, drop_path);
}

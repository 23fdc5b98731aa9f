/* The training walk on random tiny models, one for each kind of layer: gradients against finite differences, against recomputation, against
 * another thread count and another packing; save and open again. */
#include "model/kinds.h"

#include <math.h>
#include <unistd.h>

static const int32_t ids[] = {3, 7, 1, 1, 30, 22, 9, 36, 5, 4, 17, 17, 2, 8, 0, 12, 33, 21, 6, 6, 6, 11, 35, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
static const int start[] = {0, 5, 6, 36};
static const dt_batch batch = {.ids = ids, .start = start, .n_seqs = 3};
enum { T = 36 };

static void coefs(float *c) {
    for (int t = 0; t < T; t++)
        c[t] = t % 3 ? (float)(0.1 * (t % 7) - 0.25) : 0.0f;
}

static float *gradient(duet_model *m, int threads, bool recompute, float inv_temp, float *logp) {
    duet_err err = {{0}};
    dt_pool *pool = NULL;
    dt_learn *l = NULL;
    float c[T], *g = calloc(m->n_params, sizeof *g);
    dt_learn_options opt = {.max_tokens = 64, .recompute = recompute};
    coefs(c);
    assert_int_equal(dt_pool_create(threads, &pool, &err), DUET_OK);
    assert_int_equal(dt_learn_create(m, pool, &opt, &l, &err), DUET_OK);
    assert_int_equal(dt_learn_forward(l, &batch, inv_temp, logp, NULL, &err), DUET_OK);
    assert_int_equal(dt_learn_backward(l, c, g, &err), DUET_OK);
    assert_int_equal(dt_learn_backward(l, c, g, &err), DUET_E_INTERNAL);
    dt_learn_destroy(l);
    dt_pool_destroy(pool);
    return g;
}

static double objective(duet_model *m, dt_learn *l, float inv_temp) {
    duet_err err = {{0}};
    float lp[T], c[T];
    double s = 0;
    coefs(c);
    dt_model_publish(m, NULL, &err);
    assert_int_equal(dt_learn_score(l, &batch, inv_temp, lp, NULL, &err), DUET_OK);
    for (int t = 0; t < T; t++)
        s += (double)c[t] * (double)lp[t];
    return s;
}

/* Central differences at the largest entry of every parameter; float forward limits how close they come. */
static void finite_differences(void **state) {
    duet_err err = {{0}};
    duet_model *m = model_of(state, 5);
    float lp[T], *g = gradient(m, 1, false, 1.25f, lp);
    dt_learn *l = NULL;
    dt_learn_options opt = {.max_tokens = 64};
    assert_int_equal(dt_learn_create(m, NULL, &opt, &l, &err), DUET_OK);
    for (int i = 0; i < m->n_param; i++) {
        const dt_param *p = &m->param[i];
        size_t n = (size_t)p->rows * (size_t)p->cols, at = p->offset;
        for (size_t j = 0; j < n; j++)
            if (fabsf(g[p->offset + j]) > fabsf(g[at])) at = p->offset + j;
        float keep = m->params[at];
        double h = 1e-2 * fmax(0.1, fabs((double)keep)), up, down;
        m->params[at] = (float)((double)keep + h);
        double hu = (double)m->params[at] - (double)keep;
        up = objective(m, l, 1.25f);
        m->params[at] = (float)((double)keep - h);
        double hd = (double)keep - (double)m->params[at];
        down = objective(m, l, 1.25f);
        m->params[at] = keep;
        double want = (up - down) / (hu + hd), got = (double)g[at];
        if (fabs(want - got) > 2e-2 * fabs(got) + 2e-3) fail_msg("%s: gradient %g, differences give %g", p->name, got, want);
    }
    dt_learn_destroy(l);
    free(g);
    duet_model_close(m);
}

static void same_bits(void **state) {
    duet_model *m = model_of(state, 6);
    float a[T], b[T], c[T];
    float *g1 = gradient(m, 1, false, 1.0f, a), *g2 = gradient(m, 2, false, 1.0f, b), *g3 = gradient(m, 2, true, 1.0f, c);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(a, c, sizeof a);
    assert_memory_equal(g1, g2, m->n_params * sizeof *g1); /* threads */
    assert_memory_equal(g1, g3, m->n_params * sizeof *g1); /* recomputation */
    free(g1);
    free(g2);
    free(g3);
    duet_model_close(m);
}

/* Packing several sequences in one batch changes no log-prob. */
static void packed_equals_alone(void **state) {
    duet_err err = {{0}};
    duet_model *m = model_of(state, 7);
    float a[T], b[T];
    free(gradient(m, 1, false, 1.0f, a));
    for (int s = 0; s < batch.n_seqs; s++) {
        int n = start[s + 1] - start[s];
        assert_int_equal(duet_model_logprobs(m, ids + start[s], (size_t)n, 1, b + start[s], &err), DUET_OK);
        if (n > 1) assert_memory_equal(a + start[s], b + start[s], (size_t)(n - 1) * sizeof *a);
    }
    duet_model_close(m);
}

static void save_and_open(void **state) {
    duet_err err = {{0}};
    duet_model *m = model_of(state, 8), *n = NULL;
    char a[65], b[65];
    duet_model_info info;
    char dir[] = "/tmp/duet-model-XXXXXX";
    assert_non_null(mkdtemp(dir));
    if (duet_model_save(m, dir, &err)) fail_msg("%s", err.text);
    if (duet_model_open(dir, NULL, &n, &err)) fail_msg("%s", err.text);
    assert_int_equal(duet_model_fingerprint(m, a, &err), DUET_OK);
    assert_int_equal(duet_model_fingerprint(n, b, &err), DUET_OK);
    assert_string_equal(a, b);
    assert_int_equal(duet_model_describe(n, &info, &err), DUET_OK);
    assert_int_equal(info.n_vocab, 37);
    dt_remove_tree(dir, NULL);
    duet_model_close(m);
    duet_model_close(n);
}

static void bad_tokens_are_named(void **state) {
    (void)state;
    duet_err err = {{0}};
    duet_model *m = tiny_model(9);
    const int32_t bad[] = {1, 37};
    float lp[2];
    assert_int_equal(duet_model_logprobs(m, bad, 2, 1, lp, &err), DUET_E_RANGE);
    assert_non_null(strstr(err.text, "37"));
    assert_int_equal(duet_model_logprobs(m, bad, 0, 1, lp, &err), DUET_E_RANGE);
    duet_model_close(m);
}

/* A window bounds what a token depends on: far enough back, another token changes nothing; nearer it does. */
static void windows_end(void **state) {
    (void)state;
    struct kind k = {"one windowed layer", "{\"model_type\":\"mistral\",\"num_hidden_layers\":1,\"hidden_size\":24,\"num_attention_heads\":4,"
                                           "\"intermediate_size\":40,\"vocab_size\":37,\"max_position_embeddings\":512,\"sliding_window\":5}"};
    void *as_state = &k;
    duet_err err = {{0}};
    duet_model *m = model_of(&as_state, 10);
    int32_t other[T];
    float a[T], b[T];
    assert_int_equal(duet_model_logprobs(m, ids, T, 1, a, &err), DUET_OK);
    for (int at = 0; at + 5 < T; at++) {
        memcpy(other, ids, sizeof other);
        other[at] = (ids[at] + 9) % 37;
        assert_int_equal(duet_model_logprobs(m, other, T, 1, b, &err), DUET_OK);
        for (int t = at; t + 1 < T; t++)
            if ((a[t] == b[t]) != (t - at >= 5)) fail_msg("token %d and the prediction after %d: %s", at, t, a[t] == b[t] ? "no influence" : "influence");
    }
    duet_model_close(m);
}

int main(void) {
    struct CMUnitTest tests[4 * DT_COUNT(kinds) + 2], each[] = {cmocka_unit_test(finite_differences), cmocka_unit_test(same_bits),
                                                                cmocka_unit_test(packed_equals_alone), cmocka_unit_test(save_and_open)};
    static char names[4 * DT_COUNT(kinds)][64];
    size_t n = 0;
    for (size_t k = 0; k < DT_COUNT(kinds); k++)
        for (size_t i = 0; i < DT_COUNT(each); i++, n++)
            tests[n] = test_of_kind(each[i], &kinds[k], names[n]);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(windows_end);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(bad_tokens_are_named);
    return _cmocka_run_group_tests("learn", tests, n, NULL, NULL);
}

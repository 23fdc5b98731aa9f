/* Logits, log-probs, entropies and greedy continuations of the golden models, within the tolerances of their README;
 * and the same values cut in chunks. */
#include "support.h"

#include "format/safetensors.h"
#include "model/model.h"

#include <math.h>

static double max_diff(const float *a, const float *b, size_t n) {
    double d = 0;
    for (size_t i = 0; i < n; i++)
        d = fmax(d, fabs((double)a[i] - (double)b[i]));
    return d;
}

static void check_case(duet_model *m, const dt_st *f, int i) {
    char name[32];
    duet_err err = {{0}};
    snprintf(name, sizeof name, "tokens.%d", i);
    const dt_view *tok = dt_st_find(f, name);
    snprintf(name, sizeof name, "logits.%d", i);
    const dt_view *want = dt_st_find(f, name);
    snprintf(name, sizeof name, "logprobs.%d", i);
    const dt_view *want_lp = dt_st_find(f, name);
    snprintf(name, sizeof name, "entropy.%d", i);
    const dt_view *want_en = dt_st_find(f, name);
    assert_true(tok && want && want_lp && want_en);
    size_t T = tok->dims[0], V = (size_t)m->cfg.n_vocab;
    int32_t *ids = malloc(T * sizeof *ids);
    float *got = malloc(T * V * sizeof *got), *ref = malloc(T * V * sizeof *ref), *lp = calloc(T, sizeof *lp), *en = calloc(T, sizeof *en);
    float *lp1 = calloc(T, sizeof *lp1), *lp2 = calloc(T, sizeof *lp2);
    memcpy(ids, tok->data, T * sizeof *ids);

    assert_int_equal(duet_model_logits(m, ids, T, 2, got, &err), DUET_OK);
    dt_view_to_f32(want, ref);
    if (max_diff(got, ref, T * V) > 2e-4) fail_msg("case %d: logits differ by %g", i, max_diff(got, ref, T * V));

    /* the training walk: log-probs and entropies */
    dt_pool *pool = NULL;
    dt_learn *l = NULL;
    dt_learn_options opt = {.max_tokens = (int)T};
    int start[2] = {0, (int)T};
    dt_batch b = {.ids = ids, .start = start, .n_seqs = 1};
    assert_int_equal(dt_pool_create(2, &pool, &err), DUET_OK);
    assert_int_equal(dt_learn_create(m, pool, &opt, &l, &err), DUET_OK);
    assert_int_equal(dt_learn_score(l, &b, 1.0f, lp, en, &err), DUET_OK);
    dt_view_to_f32(want_lp, ref);
    if (max_diff(lp, ref, T - 1) > 1e-4) fail_msg("case %d: log-probs differ by %g", i, max_diff(lp, ref, T - 1));
    dt_view_to_f32(want_en, ref);
    if (max_diff(en, ref, T) > 1e-4) fail_msg("case %d: entropies differ by %g", i, max_diff(en, ref, T));
    /* the inference walk gives the same bits */
    assert_int_equal(duet_model_logprobs(m, ids, T, 1, lp1, &err), DUET_OK);
    assert_int_equal(duet_model_logprobs(m, ids, T, 2, lp2, &err), DUET_OK);
    if (memcmp(lp, lp1, (T - 1) * sizeof *lp) || memcmp(lp, lp2, (T - 1) * sizeof *lp)) fail_msg("case %d: rollout and training log-probs differ", i);
    dt_learn_destroy(l);
    dt_pool_destroy(pool);
    free(ids);
    free(got);
    free(ref);
    free(lp);
    free(en);
    free(lp1);
    free(lp2);
}

static void check_folder_as(const char *model, const char *expected, duet_weights weights) {
    char path[512];
    duet_err err = {{0}};
    duet_model *m = NULL;
    dt_st *f = NULL;
    int n = 0;
    duet_model_options opt = {.weights = weights};
    if (duet_model_open(model, &opt, &m, &err)) fail_msg("%s", err.text);
    snprintf(path, sizeof path, "%s/expected.safetensors", expected);
    if (dt_st_open(path, &f, &err)) fail_msg("%s", err.text);
    for (;; n++) {
        char name[32];
        snprintf(name, sizeof name, "tokens.%d", n);
        if (!dt_st_find(f, name)) break;
        check_case(m, f, n);
    }
    assert_true(n > 0);
    dt_st_close(f);
    duet_model_close(m);
}

/* As f32, and with matrices in the type of the file multiplied exactly: the same within the same bounds. */
static void check_folder(const char *model, const char *expected) {
    check_folder_as(model, expected, DUET_WEIGHTS_F32);
    check_folder_as(model, expected, DUET_WEIGHTS_EXACT);
}

static void run(const char *folder, const char *expected) {
    char model[512], path[512];
    snprintf(model, sizeof model, "%s/golden/models/%s", DUET_SHARED, folder);
    if (!dt_path_exists(model)) {
        printf("skipped: golden model %s is not there\n", folder);
        skip();
    }
    snprintf(path, sizeof path, "%s/golden/models/%s", DUET_SHARED, expected);
    check_folder(model, path);
}

/* tests/golden: in the repository, so always there. */
static void run_own(const char *folder) {
    char path[512];
    snprintf(path, sizeof path, "%s/golden/%s", DUET_TEST_DATA, folder);
    check_folder(path, path);
}

static void qwen3(void **s) {
    (void)s;
    run("qwen3-tiny", "qwen3-tiny");
}
static void qwen3_bf16(void **s) {
    (void)s;
    run("qwen3-tiny-bf16", "qwen3-tiny-bf16");
}
static void qwen3_sharded(void **s) {
    (void)s;
    run("qwen3-tiny-sharded", "qwen3-tiny");
}
static void qwen2(void **s) {
    (void)s;
    run("qwen2-tiny", "qwen2-tiny");
}
static void llama(void **s) {
    (void)s;
    run("llama-tiny", "llama-tiny");
}

static void gemma3(void **s) {
    (void)s;
    run_own("gemma3");
}
static void linear(void **s) {
    (void)s;
    run_own("linear");
}
static void yarn(void **s) {
    (void)s;
    run_own("yarn");
}
static void mistral(void **s) {
    (void)s;
    run_own("mistral");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(qwen3), cmocka_unit_test(qwen3_bf16), cmocka_unit_test(qwen3_sharded),
                                       cmocka_unit_test(qwen2), cmocka_unit_test(llama),
                                       cmocka_unit_test(gemma3), cmocka_unit_test(linear),
                                       cmocka_unit_test(yarn),   cmocka_unit_test(mistral)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

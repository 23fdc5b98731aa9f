/* The inference walk: however a sequence is cut into runs, and whatever else is in the batch, its logits are the same bits. */
#include "model/kinds.h"

enum { T = 50, V = 37, MAX_ROWS = 128 };

static const int32_t ids[T] = {3, 7, 1, 1,  30, 22, 9, 36, 5, 4, 17, 17, 2, 8, 0, 12, 33, 21, 6, 6, 6,  11, 35, 1,  2,
                               3, 4, 5, 19, 20, 8,  9, 10, 1, 2, 13, 14, 8, 3, 2, 0,  5,  1,  4, 4, 34, 23, 26, 24, 29};

/* A model with what its walk needs, and room for logits: want [T, V], got [2 T, V]. */
typedef struct place {
    duet_model *m;
    dt_infer *f;
    dt_kv *kv;
    float *want, *got;
} place;

static place place_open(void **state, uint64_t seed) {
    duet_err err = {{0}};
    place p = {.m = model_of(state, seed), .want = calloc(T * V, sizeof(float)), .got = calloc(2 * T * V, sizeof(float))};
    assert_int_equal(dt_infer_create(p.m, NULL, MAX_ROWS, &p.f, &err), DUET_OK);
    assert_int_equal(dt_kv_create(DT_F32, p.m->cfg.n_layers, p.m->cfg.n_kv, p.m->cfg.d_head, 24, &p.kv, &err), DUET_OK);
    return p;
}

static void place_close(place *p) {
    dt_kv_destroy(p->kv);
    dt_infer_destroy(p->f);
    free(p->want);
    free(p->got);
    duet_model_close(p->m);
}

static void one_run(dt_infer *f, dt_kv *kv, dt_kv_seq *seq, int n, float *logits) {
    duet_err err = {{0}};
    int at = (int)seq->n_tokens;
    assert_int_equal(dt_kv_grow(kv, seq, n, &err), DUET_OK);
    dt_infer_seq s = {.ids = ids + at, .n = n, .pos0 = at, .pages = seq->pages, .n_logits = n};
    assert_int_equal(dt_infer_run(f, kv, &s, 1, logits + at * V, &err), DUET_OK);
    seq->n_tokens += n;
}

static void any_cut(void **state) {
    static const int cuts[][8] = {{50}, {1, 1, 1, 1, 1, 1, 44}, {16, 16, 16, 2}, {17, 1, 1, 15, 1, 15}, {33, 16, 1}};
    place p = place_open(state, 11);
    for (size_t c = 0; c < DT_COUNT(cuts); c++) {
        dt_kv_seq seq = {0};
        for (int i = 0; i < 8 && cuts[c][i]; i++)
            one_run(p.f, p.kv, &seq, cuts[c][i], c ? p.got : p.want);
        assert_int_equal(seq.n_tokens, T);
        dt_kv_drop(p.kv, &seq);
        if (c && memcmp(p.got, p.want, T * V * sizeof(float))) fail_msg("cut %zu: other bits", c);
    }
    place_close(&p);
}

/* Two sequences in one batch, one long run and one token of the other, twice. */
static void with_others(void **state) {
    duet_err err = {{0}};
    dt_kv_seq alone = {0}, a = {0}, b = {0};
    place p = place_open(state, 12);
    one_run(p.f, p.kv, &alone, T, p.want);
    one_run(p.f, p.kv, &a, 20, p.got);
    assert_int_equal(dt_kv_grow(p.kv, &a, 1, &err), DUET_OK);
    assert_int_equal(dt_kv_grow(p.kv, &b, 31, &err), DUET_OK);
    dt_infer_seq both[2] = {{.ids = ids + 20, .n = 1, .pos0 = 20, .pages = a.pages, .n_logits = 1},
                            {.ids = ids, .n = 31, .pos0 = 0, .pages = b.pages, .n_logits = 31}};
    assert_int_equal(dt_infer_run(p.f, p.kv, both, 2, p.got, &err), DUET_OK);
    assert_memory_equal(p.got, p.want + 20 * V, V * sizeof(float));
    assert_memory_equal(p.got + V, p.want, 31 * V * sizeof(float));
    dt_kv_drop(p.kv, &alone);
    dt_kv_drop(p.kv, &a);
    dt_kv_drop(p.kv, &b);
    place_close(&p);
}

/* Rows whose logits nobody asks for are left out of the last layer: the others, and what is written after them, stay the same. */
static void only_what_is_asked_for(void **state) {
    duet_err err = {{0}};
    dt_kv_seq alone = {0}, a = {0}, b = {0};
    place p = place_open(state, 13);
    one_run(p.f, p.kv, &alone, T, p.want);
    assert_int_equal(dt_kv_grow(p.kv, &a, T, &err), DUET_OK);
    assert_int_equal(dt_kv_grow(p.kv, &b, T, &err), DUET_OK);
    dt_infer_seq runs[2] = {{.ids = ids, .n = 20, .pages = a.pages, .n_logits = 0}, {.ids = ids, .n = 31, .pages = b.pages, .n_logits = 1}};
    assert_int_equal(dt_infer_run(p.f, p.kv, runs, 2, p.got, &err), DUET_OK);
    assert_memory_equal(p.got, p.want + 30 * V, V * sizeof(float));
    dt_infer_seq none = {.ids = ids + 20, .n = 7, .pos0 = 20, .pages = a.pages, .n_logits = 0};
    p.got[0] = -7;
    assert_int_equal(dt_infer_run(p.f, p.kv, &none, 1, p.got, &err), DUET_OK);
    assert_true(p.got[0] == -7);
    runs[0] = (dt_infer_seq){.ids = ids + 27, .n = 23, .pos0 = 27, .pages = a.pages, .n_logits = 1};
    runs[1] = (dt_infer_seq){.ids = ids + 31, .n = 19, .pos0 = 31, .pages = b.pages, .n_logits = 19};
    assert_int_equal(dt_infer_run(p.f, p.kv, runs, 2, p.got, &err), DUET_OK);
    assert_memory_equal(p.got, p.want + 49 * V, V * sizeof(float));
    assert_memory_equal(p.got + V, p.want + 31 * V, 19 * V * sizeof(float));
    dt_kv_drop(p.kv, &alone);
    dt_kv_drop(p.kv, &a);
    dt_kv_drop(p.kv, &b);
    place_close(&p);
}

int main(void) {
    enum { EACH = 3 };
    struct CMUnitTest tests[EACH * DT_COUNT(kinds)];
    static char names[EACH * DT_COUNT(kinds)][64];
    size_t n = 0;
    for (size_t k = 0; k < DT_COUNT(kinds); k++, n += EACH) {
        tests[n] = test_of_kind((struct CMUnitTest)cmocka_unit_test(any_cut), &kinds[k], names[n]);
        tests[n + 1] = test_of_kind((struct CMUnitTest)cmocka_unit_test(with_others), &kinds[k], names[n + 1]);
        tests[n + 2] = test_of_kind((struct CMUnitTest)cmocka_unit_test(only_what_is_asked_for), &kinds[k], names[n + 2]);
    }
    return _cmocka_run_group_tests("infer", tests, n, NULL, NULL);
}

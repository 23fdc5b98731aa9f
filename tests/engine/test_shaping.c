/* What a request may change about its sampling: biases, penalties, tokens that may not come, reported alternatives; and how it
 * ends before its time: by its own flag, by its caller's, while others go on. */
#include "engine/tiny.h"
#include "model/model.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

enum { V = 97, CTX = 640, N_OUT = 24 };

static const int32_t PROMPT[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 40, 41};

static duet_gen_request basic(duet_generation *out) {
    return (duet_gen_request){.prompt = PROMPT,
                              .n_prompt = DT_COUNT(PROMPT),
                              .max_tokens = N_OUT,
                              .eos_ids = PROMPT,
                              .n_eos = 0,
                              .key = 3,
                              .sampling = {.temperature = 0.8, .top_p = 0.95, .seed = 11},
                              .out = out};
}

static void generate(duet_engine *e, duet_gen_request *r, size_t n) {
    duet_err err = {{0}};
    if (duet_engine_generate(e, r, n, NULL, &err)) {
        fail_msg("generate: %s", err.text);
    }
}

/* ---- biases, penalties, masks ---- */

static void test_a_bias_moves_a_token_and_not_its_logprob(void **state) {
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 1});
    duet_generation plain = {0}, g = {0};
    duet_gen_request r = basic(&plain);
    r.sampling.temperature = 0;
    generate(e, &r, 1);

    duet_logit_bias never = {plain.ids[0], -INFINITY};
    r.out = &g;
    r.logit_bias = &never;
    r.n_logit_bias = 1;
    r.top_logprobs = 2;
    generate(e, &r, 1);
    assert_int_not_equal(g.ids[0], plain.ids[0]);
    assert_int_equal(g.ids[0], g.top[1].id); /* the second best, and the best is reported as the model sees it */
    assert_int_equal(g.top[0].id, plain.ids[0]);
    assert_memory_equal(&g.top[0].logprob, &plain.logprobs[0], sizeof(float));
    for (size_t i = 0; i < g.n; i++) {
        assert_int_not_equal(g.ids[i], plain.ids[0]);
    }
    duet_generation_clear(&g);

    duet_logit_bias always[2] = {{77, 60}, {77, 60}}; /* both count */
    r.logit_bias = always;
    r.n_logit_bias = 2;
    generate(e, &r, 1);
    int32_t ids[CTX];
    float lp[CTX];
    memcpy(ids, PROMPT, sizeof PROMPT);
    memcpy(ids + r.n_prompt, g.ids, g.n * sizeof *ids);
    assert_int_equal(duet_model_logprobs(*state, ids, r.n_prompt + g.n, 1, lp, NULL), DUET_OK);
    for (size_t i = 0; i < g.n; i++) {
        assert_int_equal(g.ids[i], 77);
    }
    assert_memory_equal(lp + r.n_prompt - 1, g.logprobs, g.n * sizeof *lp);
    duet_generation_clear(&g);
    duet_generation_clear(&plain);
    duet_engine_destroy(e);
}

/* The same tokens come if each step is asked for by itself, with the penalties so far written as biases. */
static void test_penalties_are_biases_by_what_was_said(void **state) {
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 1});
    static const struct {
        double presence, frequency;
    } cases[] = {
        {1.5, 0 },
        {0,   2 },
        {0.5, 1 },
        {-1,  -2}, /* rewarded: it repeats itself */
    };
    int repeats[DT_COUNT(cases)] = {0};
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_generation g = {0};
        duet_gen_request r = basic(&g);
        r.sampling.temperature = 0;
        r.presence_penalty = cases[c].presence;
        r.frequency_penalty = cases[c].frequency;
        generate(e, &r, 1);
        int32_t ids[CTX];
        int count[V] = {0};
        memcpy(ids, PROMPT, sizeof PROMPT);
        for (size_t i = 0; i < g.n; i++) {
            duet_logit_bias bias[V];
            duet_generation one = {0};
            duet_gen_request q = r;
            q.presence_penalty = q.frequency_penalty = 0;
            q.n_logit_bias = 0;
            for (int32_t id = 0; id < V; id++) {
                if (count[id]) {
                    bias[q.n_logit_bias++] = (duet_logit_bias){id, (float)(-cases[c].presence - cases[c].frequency * count[id])};
                }
            }
            q.logit_bias = bias;
            q.prompt = ids;
            q.n_prompt = r.n_prompt + i;
            q.max_tokens = 1;
            q.out = &one;
            generate(e, &q, 1);
            if (one.ids[0] != g.ids[i]) {
                fail_msg("case %zu, token %zu: %d, by biases %d", c, i, (int)g.ids[i], (int)one.ids[0]);
            }
            repeats[c] += count[g.ids[i]]++ > 0;
            ids[r.n_prompt + i] = g.ids[i];
            duet_generation_clear(&one);
        }
        duet_generation_clear(&g);
    }
    for (int c = 1; c < 3; c++) { /* a presence of 1.5 alone is too little for this model's margins */
        if (repeats[c] >= repeats[3]) {
            fail_msg("case %d: %d tokens came again, rewarded %d", c, repeats[c], repeats[3]);
        }
    }
    duet_engine_destroy(e);
}

typedef struct rule {
    uint32_t bits[(V + 31) / 32];
    int32_t n_bits;
    size_t calls, free_from; /* tokens from there on: any */
} rule;

static const uint32_t *allow(void *user, int sample, const int32_t *ids, size_t n, int32_t *n_bits) {
    rule *u = user;
    assert_int_equal(sample, 0);
    assert_true(n == 0 || ids != NULL);
    assert_int_equal(n, u->calls++); /* once a token, in order */
    *n_bits = u->n_bits;
    return n < u->free_from ? u->bits : NULL;
}

static void test_only_allowed_tokens_come(void **state) {
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 2, .max_seqs = 4});
    for (int c = 0; c < 4; c++) {
        duet_generation g = {0};
        duet_gen_request r = basic(&g);
        rule u = {.n_bits = c == 1 ? 20 : V, .free_from = c == 2 ? 5 : SIZE_MAX};
        for (int id = 0; id < V && c < 3; id += 3) {
            u.bits[id / 32] |= (uint32_t)1 << (id % 32);
        }
        r.allow = allow;
        r.user = &u;
        r.sampling.temperature = 2;
        generate(e, &r, 1);
        if (c == 3) { /* none at all */
            assert_int_equal(g.n, 0);
            assert_int_equal(g.stop, DUET_STOP_CALLBACK);
            assert_int_equal(r.usage.output_tokens, 0);
        } else {
            assert_int_equal(g.n, N_OUT);
            int others = 0;
            for (size_t i = 0; i < g.n; i++) {
                bool ok = g.ids[i] % 3 == 0 && g.ids[i] < u.n_bits;
                assert_true(ok || i >= u.free_from);
                others += !ok;
            }
            assert_true(c != 2 || others > 0);
        }
        duet_generation_clear(&g);
    }
    duet_engine_destroy(e);
}

/* ---- alternatives ---- */

static void test_the_most_likely_are_reported(void **state) {
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 1});
    for (int plain = 0; plain < 2; plain++) {
        duet_generation all = {0}, few = {0};
        duet_gen_request r = basic(&all);
        r.top_logprobs = 20;
        r.plain_logprobs = plain;
        r.sampling.top_k = 15; /* so each sampled token is among the twenty */
        generate(e, &r, 1);
        r.top_logprobs = 3;
        r.out = &few;
        generate(e, &r, 1);
        assert_int_equal(all.n, N_OUT);
        assert_int_equal(all.n_top, 20);
        assert_memory_equal(all.ids, few.ids, all.n * sizeof *all.ids);
        for (size_t i = 0; i < all.n; i++) {
            const duet_likely *top = all.top + i * 20;
            bool found = false;
            double sum = 0;
            for (int k = 0; k < 20; k++) {
                sum += exp((double)top[k].logprob);
                assert_true(k == 0 || top[k].logprob < top[k - 1].logprob ||
                            (!(top[k].logprob > top[k - 1].logprob) && top[k].id > top[k - 1].id));
                if (top[k].id == all.ids[i]) {
                    assert_memory_equal(&top[k].logprob, &all.logprobs[i], sizeof(float));
                    found = true;
                }
            }
            assert_true(found && sum < 1.00001);
            assert_memory_equal(top, few.top + i * 3, 3 * sizeof *top);
        }
        if (plain) {
            int32_t ids[CTX];
            float lp[CTX];
            memcpy(ids, PROMPT, sizeof PROMPT);
            memcpy(ids + r.n_prompt, all.ids, all.n * sizeof *ids);
            assert_int_equal(duet_model_logprobs(*state, ids, r.n_prompt + all.n, 1, lp, NULL), DUET_OK);
            assert_memory_equal(lp + r.n_prompt - 1, all.logprobs, all.n * sizeof *lp);
        }
        duet_generation_clear(&all);
        duet_generation_clear(&few);
    }
    duet_engine_destroy(e);
}

static void test_bad_settings_are_named(void **state) {
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 1});
    duet_logit_bias outside = {V, 1}, infinite = {1, INFINITY}, nan = {1, NAN};
    static const char *const names[] = {"top_logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "token 97",
                                        "token 1 is",   "token 1 is"};
    for (size_t c = 0; c < DT_COUNT(names); c++) {
        duet_generation g = {0};
        duet_err err = {{0}};
        duet_gen_request r = basic(&g);
        r.top_logprobs = c == 0 ? 21 : c == 1 ? -1 : 0;
        r.presence_penalty = c == 2 ? 2.5 : 0;
        r.frequency_penalty = c == 3 ? (double)NAN : 0;
        r.logit_bias = c == 4 ? &outside : c == 5 ? &infinite : &nan;
        r.n_logit_bias = c >= 4;
        assert_int_equal(duet_engine_generate(e, &r, 1, NULL, &err), DUET_E_RANGE);
        if (!strstr(err.text, names[c])) {
            fail_msg("case %zu: \"%s\"", c, err.text);
        }
    }
    duet_engine_destroy(e);
}

/* ---- load ---- */

enum { MIXED = 24 };

typedef struct mixed {
    duet_gen_request r[MIXED];
    duet_generation g[MIXED];
    rule u[MIXED];
    int32_t prompt[MIXED][CTX];
    duet_logit_bias bias[2];
} mixed;

static mixed *make_mixed(void) {
    mixed *x = calloc(1, sizeof *x);
    x->bias[0] = (duet_logit_bias){5, 3};
    x->bias[1] = (duet_logit_bias){8, -4};
    for (int i = 0; i < MIXED; i++) {
        int n = 3 + i * 37 % 150;
        for (int j = 0; j < n; j++) {
            x->prompt[i][j] = (j < 40 ? j * 7 + i % 3 : i * 13 + j * 5) % 89;
        }
        duet_gen_request *r = &x->r[i];
        *r = basic(&x->g[i]);
        r->prompt = x->prompt[i];
        r->n_prompt = (size_t)n;
        r->key = (uint64_t)i;
        r->top_logprobs = i % 4 * 2;
        r->presence_penalty = i % 3 == 0 ? 0.7 : 0;
        r->frequency_penalty = i % 3 == 1 ? 0.3 : 0;
        r->logit_bias = x->bias;
        r->n_logit_bias = i % 5 == 0 ? 2 : 0;
        if (i % 6 == 0) {
            x->u[i].n_bits = V;
            x->u[i].free_from = SIZE_MAX;
            memset(x->u[i].bits, 0x5A, sizeof x->u[i].bits);
            r->allow = allow;
            r->user = &x->u[i];
        }
    }
    return x;
}

static void free_mixed(mixed *x) {
    for (int i = 0; i < MIXED; i++) {
        duet_generation_clear(&x->g[i]);
    }
    free(x);
}

static void expect_same(const mixed *want, const mixed *got, int i) {
    const duet_generation *a = &want->g[i], *b = &got->g[i];
    if (a->n != b->n || a->stop != b->stop || a->n_top != b->n_top || memcmp(a->ids, b->ids, a->n * sizeof *a->ids) != 0 ||
        memcmp(a->logprobs, b->logprobs, a->n * sizeof *a->logprobs) != 0 ||
        (a->n_top && memcmp(a->top, b->top, a->n * (size_t)a->n_top * sizeof *a->top) != 0)) {
        fail_msg("request %d differs", i);
    }
}

static void test_the_same_alone_and_together(void **state) {
    duet_engine *one = tiny_engine(*state, (duet_engine_options){.n_threads = 1, .max_seqs = 1, .no_prefix_cache = true});
    mixed *want = make_mixed();
    for (int i = 0; i < MIXED; i++) {
        generate(one, &want->r[i], 1);
    }
    duet_engine_destroy(one);
    static const duet_engine_options opts[] = {
        {.n_threads = 2},
        {.n_threads = 2, .max_seqs = 5,                  .prefill_chunk = 17},
        {.n_threads = 1, .kv_bytes = (size_t)45 * 8192}, /* preempted now and then */
    };
    for (size_t c = 0; c < DT_COUNT(opts); c++) {
        duet_engine *e = tiny_engine(*state, opts[c]);
        mixed *got = make_mixed();
        generate(e, got->r, MIXED);
        for (int i = 0; i < MIXED; i++) {
            expect_same(want, got, i);
        }
        free_mixed(got);
        duet_engine_destroy(e);
    }
    free_mixed(want);
}

/* ---- ends ---- */

static volatile int flag;

static int end_at_five(void *user, int sample, int32_t id, float logprob) {
    size_t *n = user;
    (void)sample;
    (void)id;
    (void)logprob;
    if (++*n == 5) {
        __atomic_store_n(&flag, 1, __ATOMIC_RELAXED);
    }
    return 0;
}

static void test_one_request_ends_and_the_others_go_on(void **state) {
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 1, .max_seqs = 3});
    mixed *want = make_mixed(), *got = make_mixed();
    generate(e, want->r, MIXED);
    for (int before = 0; before < 2; before++) {
        size_t n = 0;
        flag = before; /* set before it came to a slot, or at its fifth token */
        got->r[2].on_token = end_at_five;
        got->r[2].user = &n;
        got->r[2].end = &flag;
        generate(e, got->r, MIXED);
        for (int i = 0; i < MIXED; i++) {
            if (i != 2) {
                expect_same(want, got, i);
            }
        }
        assert_int_equal(got->g[2].stop, DUET_STOP_CALLBACK);
        assert_int_equal(got->g[2].n, before ? 0 : 5);
        assert_memory_equal(got->g[2].ids ? got->g[2].ids : want->g[2].ids, want->g[2].ids, got->g[2].n * sizeof(int32_t));
        free_mixed(got);
        got = make_mixed();
    }
    free_mixed(got);
    free_mixed(want);
    duet_engine_destroy(e);
}

typedef struct caller {
    duet_engine *e;
    mixed *x;
    int first;
    volatile int cancel;
    duet_status st[MIXED];
} caller;

static void *call(void *arg) {
    caller *c = arg;
    for (int i = c->first; i < MIXED; i += 4) {
        c->st[i] = duet_engine_generate(c->e, &c->x->r[i], 1, &c->cancel, NULL);
    }
    return NULL;
}

/* Four callers, two of which leave at random moments: the others' results are those of a quiet engine, what the leavers have is
 * the beginning of theirs, and the engine's count is the sum of what was sampled. */
static void test_a_caller_leaves_and_the_others_do_not_notice(void **state) {
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 2, .max_seqs = 3, .prefill_chunk = 48});
    mixed *want = make_mixed();
    generate(e, want->r, MIXED);
    dt_rng rng = dt_rng_make(5, 0);
    int left = 0;
    for (int round = 0; round < 12; round++) {
        mixed *got = make_mixed();
        duet_engine_stats before, after;
        duet_engine_get_stats(e, &before);
        pthread_t t[4];
        caller c[4] = {{0}};
        for (int i = 0; i < 4; i++) {
            c[i].e = e;
            c[i].x = got;
            c[i].first = i;
            c[i].cancel = round == 0 && i % 2;
            assert_int_equal(pthread_create(&t[i], NULL, call, &c[i]), 0);
        }
        nanosleep(&(struct timespec){.tv_nsec = 200000 + (long)dt_rng_below(&rng, 12000000)}, NULL);
        for (int i = 1; i < 4; i += 2) {
            __atomic_store_n(&c[i].cancel, 1, __ATOMIC_RELAXED);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(t[i], NULL);
        }
        size_t sampled = 0;
        for (int i = 0; i < MIXED; i++) {
            duet_status st = c[i % 4].st[i];
            sampled += got->g[i].n;
            if (st == DUET_OK) {
                expect_same(want, got, i);
                continue;
            }
            left++;
            assert_int_equal(st, DUET_E_CANCELLED);
            assert_int_equal(i % 2, 1);
            assert_int_equal(got->g[i].stop, DUET_STOP_CANCELLED);
            assert_true(got->g[i].n < N_OUT);
            assert_true(got->g[i].n == 0 || !memcmp(got->g[i].ids, want->g[i].ids, got->g[i].n * sizeof(int32_t)));
        }
        duet_engine_get_stats(e, &after);
        assert_int_equal(after.output_tokens - before.output_tokens, sampled);
        assert_int_equal(after.kv_pages_free, after.kv_pages);
        assert_int_equal(after.running + after.waiting, 0);
        free_mixed(got);
    }
    assert_true(left > 0);
    free_mixed(want);
    duet_engine_destroy(e);
}

/* ---- statistics ---- */

typedef struct watcher {
    duet_engine *e;
    size_t running, waiting, used; /* the most there were */
} watcher;

static int watch(void *user, int sample, int32_t id, float logprob) {
    watcher *w = user;
    duet_engine_stats s;
    (void)sample;
    (void)id;
    (void)logprob;
    duet_engine_get_stats(w->e, &s);
    w->running = s.running > w->running ? s.running : w->running;
    w->waiting = s.waiting > w->waiting ? s.waiting : w->waiting;
    w->used = s.kv_pages - s.kv_pages_free > w->used ? s.kv_pages - s.kv_pages_free : w->used;
    return 0;
}

/* More prompts than the pool can remember: it stays as large as it is, what is used again stays, what is old leaves first. */
static void test_the_cache_is_bounded_and_counted(void **state) {
    enum { PAGES = 45, ROUNDS = 30, LONG = 80 };
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 1, .max_seqs = 2, .kv_bytes = (size_t)PAGES * 8192});
    duet_engine_stats s;
    duet_engine_get_stats(e, &s);
    assert_int_equal(s.kv_pages, PAGES);
    assert_int_equal(s.kv_page_bytes, 8192);
    size_t evicted = 0, hits = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int32_t prompt[2][LONG];
        duet_generation g[2] = {{0}, {0}};
        duet_gen_request r[2];
        for (int i = 0; i < 2; i++) { /* the same one each time, and one that is new */
            for (int j = 0; j < LONG; j++) {
                prompt[i][j] = i == 0 ? j % 80 : (round * 7 + 5 + j * (1 + round % 5)) % 89;
            }
            r[i] = basic(&g[i]);
            r[i].prompt = prompt[i];
            r[i].n_prompt = LONG;
            r[i].max_tokens = 4;
        }
        generate(e, r, 2);
        assert_int_equal(r[0].usage.cached_tokens, round ? LONG - 16 : 0);
        assert_int_equal(r[1].usage.cached_tokens, 0);
        duet_engine_get_stats(e, &s);
        assert_true(s.kv_pages_evicted >= evicted);
        assert_int_equal(s.kv_pages, PAGES);
        assert_int_equal(s.kv_pages_free, PAGES);
        assert_true(s.kv_pages_cached <= PAGES && s.kv_pages_cached >= LONG / 16);
        assert_int_equal(s.hits, hits + (round > 0));
        assert_int_equal(s.running + s.waiting, 0);
        evicted = s.kv_pages_evicted;
        hits = s.hits;
        duet_generation_clear(&g[0]);
        duet_generation_clear(&g[1]);
    }
    assert_true(evicted >= (size_t)(ROUNDS * 4 - PAGES));
    assert_int_equal(s.requests, 2 * ROUNDS);
    assert_int_equal(s.prompt_tokens, 2 * ROUNDS * LONG);
    assert_int_equal(s.cached_tokens, (ROUNDS - 1) * (LONG - 16));
    assert_int_equal(s.output_tokens, 2 * ROUNDS * 4);

    watcher w = {.e = e};
    mixed *x = make_mixed();
    for (int i = 0; i < MIXED; i++) {
        if (!x->r[i].allow) {
            x->r[i].on_token = watch;
            x->r[i].user = &w;
        }
    }
    generate(e, x->r, MIXED);
    free_mixed(x);
    assert_int_equal(w.running, 2);
    assert_true(w.waiting >= MIXED - 4 && w.waiting <= MIXED);
    assert_true(w.used > 2 && w.used <= PAGES);
    duet_engine_get_stats(e, &s);
    assert_int_equal(s.running + s.waiting + s.cancelled, 0);
    duet_engine_destroy(e);
}

static int setup(void **state) {
    *state = tiny_model(V, CTX, 1);
    return 0;
}

static int teardown(void **state) {
    duet_model_close(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bias_moves_a_token_and_not_its_logprob),
        cmocka_unit_test(test_penalties_are_biases_by_what_was_said),
        cmocka_unit_test(test_only_allowed_tokens_come),
        cmocka_unit_test(test_the_most_likely_are_reported),
        cmocka_unit_test(test_bad_settings_are_named),
        cmocka_unit_test(test_the_same_alone_and_together),
        cmocka_unit_test(test_one_request_ends_and_the_others_go_on),
        cmocka_unit_test(test_a_caller_leaves_and_the_others_do_not_notice),
        cmocka_unit_test(test_the_cache_is_bounded_and_counted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* The engine: results that depend on nothing but the request, rules of stopping, sharing, limits, cancelling. */
#include "engine/tiny.h"
#include "model/model.h"

#include <jansson.h>
#include <pthread.h>

enum { V = 97, CTX = 160, N_REQS = 64, MAX_N = 3 };

/* ---- a mixed batch ---- */

typedef struct batch {
    duet_gen_request req[N_REQS];
    duet_generation out[N_REQS][MAX_N];
    int32_t prompt[N_REQS][CTX];
} batch;

/* Prompts of 1..70 tokens, many of which share beginnings; all kinds of sampling; some end by EOS or stop ids. */
static void fill_batch(batch *b) {
    dt_rng rng = dt_rng_make(2024, 0);
    memset(b, 0, sizeof *b);
    for (int i = 0; i < N_REQS; i++) {
        duet_gen_request *r = &b->req[i];
        static const int32_t stops[] = {5, 6, 7};
        int n = 1 + (int)dt_rng_below(&rng, 70), fresh = (int)dt_rng_below(&rng, 80);
        for (int j = 0; j < n; j++) {
            b->prompt[i][j] = j < fresh ? (i % 3 * 13 + j * 7) % 89 : (int32_t)dt_rng_below(&rng, 89);
        }
        *r = (duet_gen_request){.prompt = b->prompt[i],
                                .n_prompt = (size_t)n,
                                .n = 1 + i % MAX_N,
                                .max_tokens = 1 + (int)dt_rng_below(&rng, 24),
                                .key = (uint64_t)i * 100,
                                .out = b->out[i]};
        r->sampling = duet_sampling_defaults();
        r->sampling.seed = 7;
        if (i % 4) {
            r->sampling.temperature = i % 4 == 1 ? 1 : 0.8;
            r->sampling.top_k = i % 8 == 2 ? 10 : 0;
            r->sampling.top_p = i % 8 == 3 ? 0.9 : 1;
        }
        if (i % 5 == 0) {
            r->stop_ids = stops;
            r->n_stop = 3;
        }
        if (i == 63) {
            r->max_tokens = -1;
            r->eos_ids = stops;
            r->n_eos = 0;
        }
    }
}

static void clear_batch(batch *b) {
    for (int i = 0; i < N_REQS; i++) {
        for (int j = 0; j < MAX_N; j++) {
            duet_generation_clear(&b->out[i][j]);
        }
    }
}

static void generate(duet_engine *e, duet_gen_request *r, size_t n) {
    duet_err err = {{0}};
    duet_status st = duet_engine_generate(e, r, n, NULL, &err);
    if (st) {
        fail_msg("generate: %s: %s", duet_status_name(st), err.text);
    }
}

static bool same(const duet_generation *a, const duet_generation *b) {
    return a->n == b->n && a->stop == b->stop &&
           (a->n == 0 || (!memcmp(a->ids, b->ids, a->n * sizeof *a->ids) &&
                          !memcmp(a->logprobs, b->logprobs, a->n * sizeof *a->logprobs)));
}

static void expect_same_batch(const char *name, const batch *want, const batch *got) {
    for (int i = 0; i < N_REQS; i++) {
        for (int j = 0; j < want->req[i].n; j++) {
            if (!same(&want->out[i][j], &got->out[i][j])) {
                fail_msg("%s: request %d sample %d differs (%zu and %zu tokens)", name, i, j, want->out[i][j].n,
                         got->out[i][j].n);
            }
        }
    }
}

/* The reference: one request after the other, one sample's worth of company, nothing cached. */
static batch *alone(duet_model *m) {
    static batch b;
    static bool filled;
    if (!filled) {
        duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 1, .max_seqs = 1, .no_prefix_cache = true});
        fill_batch(&b);
        for (int i = 0; i < N_REQS; i++) {
            generate(e, &b.req[i], 1);
        }
        duet_engine_destroy(e);
        filled = true;
    }
    return &b;
}

static void test_bits_do_not_depend_on_load(void **state) {
    duet_model *m = *state;
    static const struct {
        const char *name;
        duet_engine_options opt;
        int rounds;
    } cases[] = {
        {"batch of 64",             {.n_threads = 1, .max_seqs = 64},                                         1},
        {"two threads",             {.n_threads = 2, .max_seqs = 64},                                         1},
        {"chunk 1",                 {.n_threads = 1, .max_seqs = 64, .prefill_chunk = 1},                     1},
        {"two threads, chunk 7",    {.n_threads = 2, .max_seqs = 64, .prefill_chunk = 7},                     1},
        {"two threads, cached",     {.n_threads = 2, .max_seqs = 200},                                        2},
        {"chunk 64",                {.n_threads = 1, .max_seqs = 64, .prefill_chunk = 64},                    1},
        {"not cached",              {.n_threads = 1, .max_seqs = 64, .no_prefix_cache = true},                2},
        {"cached by a first round", {.n_threads = 1, .max_seqs = 200},                                        2},
        {"five at a time",          {.n_threads = 1, .max_seqs = 5, .prefill_chunk = 33},                     2},
        {"few pages",               {.n_threads = 1, .kv_bytes = (size_t)12 * 8192, .prefill_chunk = 50},     2},
        {"few pages, not cached",   {.n_threads = 1, .kv_bytes = (size_t)11 * 8192, .no_prefix_cache = true}, 1},
    };
    const batch *want = alone(m);
    static batch got;
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_engine *e = tiny_engine(m, cases[c].opt);
        for (int round = 0; round < cases[c].rounds; round++) {
            fill_batch(&got);
            generate(e, got.req, N_REQS);
            expect_same_batch(cases[c].name, want, &got);
            clear_batch(&got);
        }
        duet_engine_stats s;
        duet_engine_get_stats(e, &s);
        if (s.kv_pages_free != s.kv_pages) {
            fail_msg("%s: %zu of %zu pages came back", cases[c].name, s.kv_pages_free, s.kv_pages);
        }
        duet_engine_destroy(e);
    }
}

typedef struct caller {
    duet_engine *e;
    batch *b;
    int first, step;
    duet_status st;
} caller;

static void *call_in_parts(void *arg) {
    caller *c = arg;
    for (int i = c->first; i < N_REQS && !c->st; i += c->step) {
        c->st = duet_engine_generate(c->e, &c->b->req[i], 1, NULL, NULL);
    }
    return NULL;
}

static void test_many_threads_may_ask(void **state) {
    duet_model *m = *state;
    const batch *want = alone(m);
    static batch got;
    duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 2, .max_seqs = 6, .prefill_chunk = 20});
    pthread_t t[4];
    caller c[4];
    fill_batch(&got);
    for (int i = 0; i < 4; i++) {
        c[i] = (caller){.e = e, .b = &got, .first = i, .step = 4};
        assert_int_equal(pthread_create(&t[i], NULL, call_in_parts, &c[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(c[i].st, DUET_OK);
    }
    expect_same_batch("four callers", want, &got);
    clear_batch(&got);
    duet_engine_destroy(e);
}

/* Rollout log-probs are the model's, bit for bit. */
static void test_logprobs_are_the_models(void **state) {
    duet_model *m = *state;
    const batch *b = alone(m);
    int checked = 0;
    for (int i = 0; i < N_REQS; i++) {
        const duet_gen_request *r = &b->req[i];
        if (r->sampling.temperature > 0 && r->sampling.temperature < 1) {
            continue; /* duet_model_logprobs is at temperature 1 */
        }
        for (int j = 0; j < r->n; j++) {
            const duet_generation *g = &b->out[i][j];
            int32_t ids[CTX];
            float lp[CTX];
            memcpy(ids, r->prompt, r->n_prompt * sizeof *ids);
            memcpy(ids + r->n_prompt, g->ids, g->n * sizeof *ids);
            assert_int_equal(duet_model_logprobs(m, ids, r->n_prompt + g->n, 1, lp, NULL), DUET_OK);
            assert_memory_equal(lp + r->n_prompt - 1, g->logprobs, g->n * sizeof *lp);
            checked++;
        }
    }
    assert_true(checked > 30);
}

/* And those of training, which packs many sequences in a batch, at every temperature and thread count. */
static void test_logprobs_are_the_trainings(void **state) {
    duet_model *m = *state;
    const batch *b = alone(m);
    int checked = 0;
    for (int threads = 1; threads <= 2; threads++) {
        dt_pool *pool = NULL;
        dt_learn *l = NULL;
        dt_learn_options opt = {.max_tokens = MAX_N * CTX, .recompute = threads == 2};
        assert_int_equal(dt_pool_create(threads, &pool, NULL), DUET_OK);
        assert_int_equal(dt_learn_create(m, pool, &opt, &l, NULL), DUET_OK);
        for (int i = 0; i < N_REQS; i++) {
            const duet_gen_request *r = &b->req[i];
            double temp = r->sampling.temperature > 0 ? r->sampling.temperature : 1;
            static int32_t ids[MAX_N * CTX];
            static float scored[MAX_N * CTX], learned[MAX_N * CTX];
            int start[MAX_N + 1] = {0};
            for (int j = 0; j < r->n; j++) { /* the samples of a request, packed */
                int32_t *at = ids + start[j];
                memcpy(at, r->prompt, r->n_prompt * sizeof *ids);
                memcpy(at + r->n_prompt, b->out[i][j].ids, b->out[i][j].n * sizeof *ids);
                start[j + 1] = start[j] + (int)(r->n_prompt + b->out[i][j].n);
            }
            dt_batch packed = {.ids = ids, .start = start, .n_seqs = r->n};
            assert_int_equal(dt_learn_score(l, &packed, (float)(1.0 / temp), scored, NULL, NULL), DUET_OK);
            assert_int_equal(dt_learn_forward(l, &packed, (float)(1.0 / temp), learned, NULL, NULL), DUET_OK);
            for (int j = 0; j < r->n; j++) {
                const duet_generation *g = &b->out[i][j];
                size_t from = (size_t)start[j] + r->n_prompt - 1;
                if (memcmp(scored + from, g->logprobs, g->n * sizeof *scored) != 0 ||
                    memcmp(learned + from, g->logprobs, g->n * sizeof *learned) != 0) {
                    fail_msg("request %d, sample %d, %d threads: not the bits of training", i, j, threads);
                }
                checked++;
            }
        }
        dt_learn_destroy(l);
        dt_pool_destroy(pool);
    }
    assert_true(checked > 200);
}

/* ---- ends ---- */

typedef struct recorder {
    int32_t ids[CTX];
    size_t n, stop_after;
    volatile int *cancel;
} recorder;

static int record(void *user, int sample, int32_t id, float logprob) {
    recorder *r = user;
    assert_int_equal(sample, 0);
    assert_true(logprob <= 0);
    r->ids[r->n++] = id;
    if (r->cancel && r->n == r->stop_after) {
        __atomic_store_n(r->cancel, 1, __ATOMIC_RELAXED);
        return 0;
    }
    return r->n == r->stop_after;
}

static void test_reasons_to_stop(void **state) {
    duet_model *m = *state;
    duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 1, .max_seqs = 4});
    int32_t prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    duet_generation base = {0};
    duet_gen_request r = {
        .prompt = prompt, .n_prompt = 10, .max_tokens = 30, .key = 3, .out = &base, .eos_ids = prompt, .n_eos = 0};
    r.sampling = (duet_sampling){.temperature = 1, .top_p = 1, .seed = 5};
    generate(e, &r, 1);
    assert_int_equal(base.n, 30);
    assert_int_equal(base.stop, DUET_STOP_LENGTH);
    assert_int_equal(r.usage.prompt_tokens, 10);
    assert_int_equal(r.usage.output_tokens, 30);

    size_t at = 12; /* where its token comes first; longer than that is too late */
    for (size_t i = 0; i < at; i++) {
        at = base.ids[i] == base.ids[at] ? i : at;
    }
    static const struct {
        const char *name;
        int max_tokens;
        bool eos, stop, callback;
        duet_stop want;
        int n; /* -1 = up to the chosen token, -2 = to the context */
    } cases[] = {
        {"length",             7,   false, false, false, DUET_STOP_LENGTH,   7 },
        {"one",                1,   false, false, false, DUET_STOP_LENGTH,   1 },
        {"nothing",            0,   false, false, false, DUET_STOP_LENGTH,   0 },
        {"eos",                30,  true,  false, false, DUET_STOP_EOS,      -1},
        {"stop id",            30,  false, true,  false, DUET_STOP_TOKEN,    -1},
        {"eos before stop id", 30,  true,  true,  false, DUET_STOP_EOS,      -1},
        {"callback",           30,  false, false, true,  DUET_STOP_CALLBACK, 5 },
        {"context",            -1,  false, false, false, DUET_STOP_LENGTH,   -2},
        {"context, bounded",   999, false, false, false, DUET_STOP_LENGTH,   -2},
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_generation g = {0};
        recorder rec = {.stop_after = cases[c].callback ? 5 : 0};
        duet_gen_request q = r;
        q.out = &g;
        q.max_tokens = cases[c].max_tokens;
        q.n_eos = cases[c].eos;
        q.eos_ids = &base.ids[at];
        q.n_stop = cases[c].stop;
        q.stop_ids = &base.ids[at];
        q.on_token = record;
        q.user = &rec;
        generate(e, &q, 1);
        size_t n = cases[c].n == -1 ? at + 1 : cases[c].n == -2 ? CTX - 10 : (size_t)cases[c].n;
        if (g.n != n || g.stop != cases[c].want || q.usage.output_tokens != n || rec.n != n ||
            (n > 0 && memcmp(rec.ids, g.ids, n * sizeof *g.ids) != 0) ||
            (n > 0 && n <= 30 && memcmp(base.ids, g.ids, n * sizeof *g.ids) != 0)) {
            fail_msg("%s: %zu tokens, stop %s; wanted %zu", cases[c].name, g.n, duet_stop_name(g.stop), n);
        }
        duet_generation_clear(&g);
    }
    /* A token that is the model's own EOS (from its config) ends without being named. */
    bool ended = false;
    for (uint64_t key = 0; key < 40 && !ended; key++) {
        duet_generation g = {0};
        duet_gen_request q = r;
        q.out = &g;
        q.eos_ids = NULL;
        q.key = key * 7;
        q.max_tokens = -1;
        q.sampling.temperature = 4;
        generate(e, &q, 1);
        ended = g.stop == DUET_STOP_EOS && (g.ids[g.n - 1] == 90 || g.ids[g.n - 1] == 91);
        for (size_t i = 0; i + 1 < g.n; i++) {
            assert_true(g.ids[i] != 90 && g.ids[i] != 91);
        }
        duet_generation_clear(&g);
    }
    assert_true(ended);
    duet_generation_clear(&base);
    duet_engine_destroy(e);
}

static void test_bad_requests_are_named(void **state) {
    duet_model *m = *state;
    duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 1, .max_seqs = 2, .ctx = 50});
    int32_t prompt[64] = {0};
    static const struct {
        const char *name;
        size_t n_prompt;
        int32_t id;
        int max_tokens, n;
        double temperature;
        const char *says, *and;
    } cases[] = {
        {"too long",        50, 1,  5,  1,  0,  "50",           "context is 50"},
        {"far too long",    60, 1,  0,  1,  0,  "60",           "50"           },
        {"empty",           0,  1,  5,  1,  0,  "empty prompt", ""             },
        {"id too large",    5,  V,  5,  1,  0,  "97",           "0..96"        },
        {"negative id",     5,  -1, 5,  1,  0,  "-1",           "0..96"        },
        {"max_tokens",      5,  1,  -2, 1,  0,  "max_tokens",   "-2"           },
        {"negative number", 5,  1,  5,  -1, 0,  "samples",      "-1"           },
        {"temperature",     5,  1,  5,  1,  -1, "temperature",  "-1"           },
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_generation g = {0};
        duet_err err = {{0}};
        prompt[2] = cases[c].id;
        duet_gen_request r = {.prompt = prompt,
                              .n_prompt = cases[c].n_prompt,
                              .n = cases[c].n,
                              .max_tokens = cases[c].max_tokens,
                              .sampling = {.temperature = cases[c].temperature},
                              .out = &g};
        duet_status st = duet_engine_generate(e, &r, 1, NULL, &err);
        if (st != DUET_E_RANGE || !strstr(err.text, cases[c].says) || !strstr(err.text, cases[c].and)) {
            fail_msg("%s: %s: \"%s\"", cases[c].name, duet_status_name(st), err.text);
        }
    }
    assert_int_equal(duet_engine_generate(e, NULL, 0, NULL, NULL), DUET_OK);
    duet_engine_destroy(e);

    static const struct {
        const char *name;
        duet_engine_options opt;
        const char *says;
    } options[] = {
        {"context past the model's", {.ctx = CTX + 1},                   "161"    },
        {"context past the pool",    {.ctx = 100, .kv_bytes = 3 * 8192}, "100"    },
        {"pool of nothing",          {.kv_bytes = 100},                  "100"    },
        {"negative threads",         {.n_threads = -1},                  "threads"},
    };
    for (size_t c = 0; c < DT_COUNT(options); c++) {
        duet_err err = {{0}};
        duet_engine *none = NULL;
        duet_status st = duet_engine_create(m, &options[c].opt, &none, &err);
        if (st != DUET_E_RANGE || none || !strstr(err.text, options[c].says)) {
            fail_msg("%s: %s: \"%s\"", options[c].name, duet_status_name(st), err.text);
        }
    }
}

/* ---- sharing ---- */

static void test_prompts_are_computed_once(void **state) {
    duet_model *m = *state;
    int32_t prompt[60];
    for (int i = 0; i < 60; i++) {
        prompt[i] = i % 50;
    }
    static const struct {
        const char *name;
        bool no_cache;
        int n, chunk, max_seqs;
        size_t cached_first, cached_again, most_steps;
    } cases[] = {
        {"one",                      false, 1,  512, 8, 0, 48, 4 },
        {"siblings",                 false, 8,  512, 8, 0, 48, 4 },
        {"siblings without cache",   true,  8,  512, 8, 0, 0,  4 },
        {"chunked",                  false, 8,  20,  8, 0, 48, 6 },
        {"more siblings than slots", false, 20, 512, 8, 0, 48, 12},
        {"the same without cache",   true,  20, 512, 8, 0, 0,  12},
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 1,
                                                              .max_seqs = cases[c].max_seqs,
                                                              .prefill_chunk = cases[c].chunk,
                                                              .no_prefix_cache = cases[c].no_cache});
        duet_engine_stats before = {0}, after;
        for (int round = 0; round < 2; round++) {
            duet_generation g[20] = {{0}};
            duet_gen_request r = {
                .prompt = prompt, .n_prompt = 60, .n = cases[c].n, .max_tokens = 4, .eos_ids = prompt, .out = g};
            r.sampling.temperature = 1;
            generate(e, &r, 1);
            duet_engine_get_stats(e, &after);
            size_t want = round ? cases[c].cached_again : cases[c].cached_first;
            size_t steps = after.steps - before.steps;
            if (r.usage.cached_tokens != want || r.usage.prompt_tokens != 60 ||
                r.usage.output_tokens != (size_t)cases[c].n * 4 || steps > cases[c].most_steps) {
                fail_msg("%s, round %d: %zu of %zu cached, %zu out, %zu steps", cases[c].name, round,
                         r.usage.cached_tokens, r.usage.prompt_tokens, r.usage.output_tokens, steps);
            }
            before = after;
            for (int i = 0; i < 20; i++) {
                duet_generation_clear(&g[i]);
            }
        }
        duet_engine_destroy(e);
    }
}

/* Requests with one prompt in one call: the first computes it, the others find its pages. */
static void test_equal_prompts_share(void **state) {
    duet_model *m = *state;
    int32_t prompt[50];
    duet_gen_request r[6];
    duet_generation g[6];
    size_t cached = 0;
    for (int i = 0; i < 50; i++) {
        prompt[i] = i;
    }
    for (int i = 0; i < 6; i++) {
        r[i] = (duet_gen_request){
            .prompt = prompt, .n_prompt = 50, .max_tokens = 3, .out = &g[i], .key = (uint64_t)i, .eos_ids = prompt};
    }
    duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 1, .max_seqs = 8});
    generate(e, r, 6);
    for (int i = 0; i < 6; i++) {
        cached += r[i].usage.cached_tokens;
        duet_generation_clear(&g[i]);
    }
    assert_int_equal(cached, 5 * 48);
    duet_engine_destroy(e);
}

/* Without the cache, siblings share their prompt while they run; then all pages are free, and nobody's later prompt takes others. */
static void test_nothing_is_kept_without_the_cache(void **state) {
    int32_t prompt[50] = {1, 2, 3};
    duet_generation g[3] = {0};
    duet_engine_stats s;
    duet_gen_request r = {.prompt = prompt, .n_prompt = 50, .n = 3, .max_tokens = 20, .out = g, .eos_ids = prompt};
    duet_engine *e = tiny_engine(*state, (duet_engine_options){.n_threads = 1, .max_seqs = 8, .no_prefix_cache = true});
    for (int i = 0; i < 3; i++) {
        generate(e, &r, 1);
        duet_engine_get_stats(e, &s);
        assert_int_equal(s.kv_pages_cached, 0);
        for (int k = 0; k < 3; k++)
            duet_generation_clear(&g[k]);
    }
    duet_engine_destroy(e);
}

static void test_new_weights_forget_old_pages(void **state) {
    (void)state;
    duet_model *m = tiny_model(V, CTX, 99);
    duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 1, .max_seqs = 8});
    int32_t prompt[40] = {1, 2, 3};
    duet_generation a = {0}, b = {0}, want = {0};
    duet_gen_request r = {.prompt = prompt, .n_prompt = 40, .max_tokens = 8, .eos_ids = prompt, .out = &a};
    generate(e, &r, 1);
    for (size_t i = 0; i < m->n_params; i++) {
        m->params[i] *= -0.5F + (float)(i % 7) * 0.5F;
    }
    assert_int_equal(dt_model_publish(m, NULL, NULL), DUET_OK);
    r.out = &b;
    generate(e, &r, 1);
    assert_int_equal(r.usage.cached_tokens, 0);
    duet_engine *fresh = tiny_engine(m, (duet_engine_options){.n_threads = 1, .no_prefix_cache = true});
    r.out = &want;
    generate(fresh, &r, 1);
    assert_true(same(&b, &want));
    assert_false(same(&a, &b));
    duet_generation_clear(&a);
    duet_generation_clear(&b);
    duet_generation_clear(&want);
    duet_engine_destroy(fresh);
    duet_engine_destroy(e);
    duet_model_close(m);
}

/* ---- cancelling ---- */

static void test_cancel_keeps_what_was_sampled(void **state) {
    duet_model *m = *state;
    static batch got;
    const batch *want = alone(m);
    duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 1, .max_seqs = 10});
    volatile int cancel = 0;
    duet_err err = {{0}};
    recorder rec = {.stop_after = 3, .cancel = &cancel};
    fill_batch(&got);
    got.req[12].on_token = record;
    got.req[12].user = &rec;
    assert_true(want->out[12][0].n > 5 && want->req[12].n == 1);
    assert_int_equal(duet_engine_generate(e, got.req, N_REQS, &cancel, &err), DUET_E_CANCELLED);
    assert_true(strlen(err.text) > 0);
    int cut = 0;
    for (int i = 0; i < N_REQS; i++) {
        for (int j = 0; j < got.req[i].n; j++) {
            const duet_generation *a = &want->out[i][j], *b = &got.out[i][j];
            assert_true(b->n <= a->n && (b->n == 0 || !memcmp(a->ids, b->ids, b->n * sizeof *b->ids)));
            assert_true(b->stop == DUET_STOP_CANCELLED || same(a, b));
            cut += b->stop == DUET_STOP_CANCELLED;
        }
    }
    assert_true(cut > 30);
    assert_int_equal(got.out[12][0].n, 3);
    clear_batch(&got);
    cancel = 0; /* the engine goes on */
    fill_batch(&got);
    generate(e, got.req, N_REQS);
    expect_same_batch("after a cancel", want, &got);
    clear_batch(&got);
    duet_engine_destroy(e);
}

typedef struct waker {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool started;
} waker;

static int tell_started(void *user, int sample, int32_t id, float logprob) {
    waker *w = user;
    (void)sample, (void)id, (void)logprob;
    pthread_mutex_lock(&w->lock);
    w->started = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
    return 0;
}

static void test_destroy_ends_running_work(void **state) {
    duet_model *m = *state;
    static batch got;
    waker w = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 2, .max_seqs = 1, .prefill_chunk = 1});
    pthread_t t;
    fill_batch(&got);
    for (int i = 0; i < N_REQS; i++) {
        got.req[i].on_token = tell_started;
        got.req[i].user = &w;
        got.req[i].max_tokens = -1;
        got.req[i].eos_ids = got.prompt[0];
    }
    /* The caller's one request holds all samples, so that it is inside the call when the engine goes. */
    got.req[0].n = MAX_N;
    caller c = {.e = e, .b = &got, .first = 0, .step = N_REQS};
    assert_int_equal(pthread_create(&t, NULL, call_in_parts, &c), 0);
    pthread_mutex_lock(&w.lock);
    while (!w.started) {
        pthread_cond_wait(&w.cond, &w.lock);
    }
    pthread_mutex_unlock(&w.lock);
    duet_engine_destroy(e);
    pthread_join(t, NULL);
    assert_true(c.st == DUET_E_CANCELLED || c.st == DUET_OK);
    assert_true(got.out[0][0].n > 0);
    clear_batch(&got);
}

/* ---- golden ---- */

static void check_continuation(duet_engine *e, const char *name, json_t *prompt, json_t *want) {
    size_t n = json_array_size(prompt), m = json_array_size(want);
    int32_t ids[256];
    duet_generation g = {0};
    assert_true(n > 0 && n < 256 && m > 0);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(prompt, i));
    }
    duet_gen_request r = {.prompt = ids, .n_prompt = n, .max_tokens = (int)m, .eos_ids = ids, .out = &g};
    generate(e, &r, 1);
    assert_int_equal(g.n, m);
    for (size_t i = 0; i < m; i++) {
        if (g.ids[i] != json_integer_value(json_array_get(want, i))) {
            fail_msg("%s: token %zu is %d, want %d", name, i, (int)g.ids[i],
                     (int)json_integer_value(json_array_get(want, i)));
        }
    }
    duet_generation_clear(&g);
}

static json_t *golden_json(const char *model, const char *name) {
    char path[1024];
    json_error_t je;
    snprintf(path, sizeof path, "%s/golden/models/%s/%s", DUET_SHARED, model, name);
    json_t *j = json_load_file(path, 0, &je);
    if (!j) {
        fail_msg("%s: %s", path, je.text);
    }
    return j;
}

static void test_golden_greedy(void **state) {
    (void)state;
    static const char *const models[] = {"qwen3-tiny", "qwen3-tiny-bf16", "qwen3-tiny-sharded"};
    static const char *const expected_of[] = {"qwen3-tiny", "qwen3-tiny-bf16", "qwen3-tiny"};
    for (size_t c = 0; c < DT_COUNT(models); c++) {
        char path[1024];
        duet_model *m = NULL;
        duet_err err = {{0}};
        snprintf(path, sizeof path, "%s/golden/models/%s", DUET_SHARED, models[c]);
        if (!dt_path_is_dir(path)) {
            print_message("skipped: %s is not here\n", path);
            return;
        }
        if (duet_model_open(path, NULL, &m, &err)) {
            fail_msg("%s: %s", models[c], err.text);
        }
        for (int chunk = c ? 7 : 0; chunk < 8; chunk += 7) {
            duet_engine *e = tiny_engine(m, (duet_engine_options){.prefill_chunk = chunk, .ctx = 512, .max_seqs = 4});
            json_t *expected = golden_json(expected_of[c], "expected.json"), *item;
            size_t i;
            json_array_foreach(json_object_get(expected, "greedy"), i, item) {
                check_continuation(e, models[c], json_object_get(item, "prompt"),
                                   json_object_get(item, "continuation"));
            }
            assert_true(i > 0);
            json_decref(expected);
            if (c == 0) {
                json_t *e2e = golden_json(models[c], "e2e.json");
                json_array_foreach(e2e, i, item) {
                    check_continuation(e, "e2e", json_object_get(item, "ids"), json_object_get(item, "greedy_ids"));
                }
                json_decref(e2e);
            }
            duet_engine_destroy(e);
        }
        duet_model_close(m);
    }
}

static int setup(void **state) {
    *state = tiny_model(V, CTX, 1);
    return 0;
}

static int teardown(void **state) {
    clear_batch(alone(*state));
    duet_model_close(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_do_not_depend_on_load),
        cmocka_unit_test(test_many_threads_may_ask),
        cmocka_unit_test(test_logprobs_are_the_models),
        cmocka_unit_test(test_logprobs_are_the_trainings),
        cmocka_unit_test(test_reasons_to_stop),
        cmocka_unit_test(test_bad_requests_are_named),
        cmocka_unit_test(test_prompts_are_computed_once),
        cmocka_unit_test(test_equal_prompts_share),
        cmocka_unit_test(test_nothing_is_kept_without_the_cache),
        cmocka_unit_test(test_new_weights_forget_old_pages),
        cmocka_unit_test(test_cancel_keeps_what_was_sampled),
        cmocka_unit_test(test_destroy_ends_running_work),
        cmocka_unit_test(test_golden_greedy),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

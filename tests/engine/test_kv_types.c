/* Keys and values as f32, f16 and q8_0 through the engine, over several spans of attention: for each type the bits depend
 * on nothing but the request, and the narrower types stay close to f32. */
#include "engine/tiny.h"
#include "model/model.h"

#include <math.h>

enum { V = 97, CTX = 1300, N_REQS = 7, N_OUT = 6 };

static duet_model *wide_model(void) {
    static const char config[] =
        "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"hidden_size\":32,"
        "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,"
        "\"intermediate_size\":48,\"vocab_size\":97,\"max_position_embeddings\":1300,"
        "\"rms_norm_eps\":1e-6,\"rope_theta\":10000,\"tie_word_embeddings\":true,"
        "\"initializer_range\":0.25,\"torch_dtype\":\"float32\",\"eos_token_id\":96}";
    duet_model *m = NULL;
    duet_err err = {{0}};
    if (duet_model_new(config, sizeof config - 1, 5, &m, &err))
        fail_msg("model: %s", err.text);
    return m;
}

/* Short prompts and prompts of more than two spans; the last two share a long beginning. */
static const int lengths[N_REQS] = {1, 17, 500, 520, 1200, 1100, 1117};
static const int32_t never[1] = {-1};

typedef struct batch {
    duet_gen_request req[N_REQS];
    duet_generation out[N_REQS];
    int32_t prompt[N_REQS][CTX];
} batch;

static batch *make_batch(void) {
    batch *b = dt_calloc(1, sizeof *b);
    assert_non_null(b);
    dt_rng rng = dt_rng_make(7, 0);
    for (int i = 0; i < N_REQS; i++) {
        for (int j = 0; j < lengths[i]; j++)
            b->prompt[i][j] = (int32_t)dt_rng_below(&rng, V);
        if (i == N_REQS - 1)
            memcpy(b->prompt[i], b->prompt[i - 1], 1090 * sizeof(int32_t));
        b->req[i] = (duet_gen_request){.prompt = b->prompt[i],
                                       .n_prompt = (size_t)lengths[i],
                                       .n = 1,
                                       .max_tokens = N_OUT,
                                       .sampling = {.temperature = 1, .seed = 3},
                                       .key = (uint64_t)i,
                                       .eos_ids = never,
                                       .out = &b->out[i]};
    }
    return b;
}

static void free_batch(batch *b) {
    for (int i = 0; i < N_REQS; i++)
        duet_generation_clear(&b->out[i]);
    free(b);
}

static batch *run(duet_model *m, duet_engine_options opt, bool together) {
    duet_engine *e = tiny_engine(m, opt);
    batch *b = make_batch();
    duet_err err = {{0}};
    for (int i = 0; i < N_REQS; i += together ? N_REQS : 1)
        if (duet_engine_generate(e, &b->req[i], together ? N_REQS : 1, NULL, &err))
            fail_msg("generate: %s", err.text);
    duet_engine_destroy(e);
    return b;
}

static void expect_same(const char *name, duet_kv_type type, const batch *want, const batch *got) {
    for (int i = 0; i < N_REQS; i++) {
        const duet_generation *a = &want->out[i], *b = &got->out[i];
        assert_int_equal(a->n, N_OUT);
        if (a->n != b->n || memcmp(a->ids, b->ids, a->n * sizeof *a->ids) || memcmp(a->logprobs, b->logprobs, a->n * sizeof *a->logprobs))
            fail_msg("%s, %s: a prompt of %d tokens gives other bits", duet_kv_type_name(type), name, lengths[i]);
    }
}

static void test_bits_do_not_depend_on_load(void **state) {
    duet_model *m = *state;
    static const struct {
        const char *name;
        duet_engine_options opt;
        bool together;
    } cases[] = {
        {"together",                  {.n_threads = 1, .max_seqs = 8},                                             true },
        {"two threads",               {.n_threads = 2, .max_seqs = 8},                                             true },
        {"keys shared by 5 threads",  {.n_threads = 5, .max_seqs = 8, .prefill_chunk = 130},                       false},
        {"7 threads, chunk 33",       {.n_threads = 7, .max_seqs = 8, .prefill_chunk = 33},                        true },
        {"chunk 7",                   {.n_threads = 1, .max_seqs = 8, .prefill_chunk = 7, .no_prefix_cache = true}, true },
        {"few pages",                 {.n_threads = 2, .max_seqs = 4, .ctx = 1220},                                true },
    };
    for (duet_kv_type t = DUET_KV_F32; t <= DUET_KV_Q8_0; t++) {
        batch *want = run(m, (duet_engine_options){.n_threads = 1, .max_seqs = 1, .no_prefix_cache = true, .kv_type = t}, false);
        for (size_t c = 0; c < DT_COUNT(cases); c++) {
            duet_engine_options opt = cases[c].opt;
            opt.kv_type = t;
            if (opt.ctx)
                opt.kv_bytes = duet_model_kv_bytes(m, t) * 1600;
            batch *got = run(m, opt, cases[c].together);
            expect_same(cases[c].name, t, want, got);
            free_batch(got);
        }
        free_batch(want);
    }
}

static void test_types_are_close_to_f32(void **state) {
    duet_model *m = *state;
    static const double mean_bound[] = {[DUET_KV_F16] = 1e-4, [DUET_KV_Q8_0] = 1e-2};
    static float lp[CTX];
    for (duet_kv_type t = DUET_KV_F32; t <= DUET_KV_Q8_0; t++) {
        batch *b = run(m, (duet_engine_options){.n_threads = 2, .max_seqs = 8, .kv_type = t}, true);
        double sum = 0;
        for (int i = 0; i < N_REQS; i++) {
            int32_t ids[CTX];
            memcpy(ids, b->prompt[i], (size_t)lengths[i] * sizeof *ids);
            memcpy(ids + lengths[i], b->out[i].ids, N_OUT * sizeof *ids);
            assert_int_equal(duet_model_logprobs(m, ids, (size_t)lengths[i] + N_OUT, 2, lp, NULL), DUET_OK);
            if (t == DUET_KV_F32)
                assert_memory_equal(lp + lengths[i] - 1, b->out[i].logprobs, N_OUT * sizeof *lp);
            for (int j = 0; j < N_OUT; j++)
                sum += fabs((double)lp[lengths[i] - 1 + j] - (double)b->out[i].logprobs[j]);
        }
        double mean = sum / (N_REQS * N_OUT);
        printf("%s: mean difference of log-probs %.2g\n", duet_kv_type_name(t), mean);
        if (t != DUET_KV_F32)
            assert_true(mean > 0 && mean < mean_bound[t]);
        free_batch(b);
    }
}

/* Training needs its own bits: a model of floats is f32 unless asked otherwise. */
static void test_default_of_floats_is_f32(void **state) {
    duet_model *m = *state;
    duet_model_info info;
    assert_int_equal(duet_model_describe(m, &info, NULL), DUET_OK);
    assert_int_equal(info.kv_type, DUET_KV_F32);
    assert_int_equal(info.kv_bytes_per_token, 2 * 2 * 2 * 32 * 4);
    assert_int_equal(duet_model_kv_bytes(m, DUET_KV_F16), 2 * 2 * 2 * 32 * 2);
    assert_int_equal(duet_model_kv_bytes(m, DUET_KV_Q8_0), 2 * 2 * 2 * 34);
    batch *want = run(m, (duet_engine_options){.n_threads = 1, .kv_type = DUET_KV_F32}, true);
    batch *got = run(m, (duet_engine_options){.n_threads = 1}, true);
    expect_same("default", DUET_KV_F32, want, got);
    free_batch(want);
    free_batch(got);
}

static void test_width_that_does_not_fit(void **state) {
    (void)state;
    duet_model *m = tiny_model(V, 64, 1); /* heads of 16 */
    duet_engine *e = NULL;
    duet_err err = {{0}};
    assert_int_equal(duet_engine_create(m, &(duet_engine_options){.kv_type = DUET_KV_Q8_0}, &e, &err), DUET_E_UNSUPPORTED);
    assert_null(e);
    assert_non_null(strstr(err.text, "16 wide"));
    duet_model_close(m);
}

static int setup(void **state) {
    *state = wide_model();
    return 0;
}

static int teardown(void **state) {
    duet_model_close(*state);
    return 0;
}

/* Pages are taken as tokens come, so a context that was asked for is kept from other models until then. */
static void test_asked_context_is_promised(void **state) {
    (void)state;
    duet_model *m = wide_model();
    duet_engine *e = NULL;
    duet_err err = {{0}};
    const size_t before = dt_memory_promised();
    assert_int_equal(duet_engine_create(m, &(duet_engine_options){.n_threads = 1, .ctx = 1024, .kv_type = DUET_KV_F16}, &e, &err), DUET_OK);
    assert_int_equal(dt_memory_promised() - before, 1024 * duet_model_kv_bytes(m, DUET_KV_F16));
    duet_engine_destroy(e);
    assert_int_equal(dt_memory_promised(), before);
    duet_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_do_not_depend_on_load),
        cmocka_unit_test(test_types_are_close_to_f32),
        cmocka_unit_test(test_default_of_floats_is_f32),
        cmocka_unit_test(test_width_that_does_not_fit),
        cmocka_unit_test(test_asked_context_is_promised),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

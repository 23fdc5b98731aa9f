/* Backends: the script follows the engine's rules; a folder becomes weights, tokenizer and engine. */
#include "backend/fixture.h"
#include "backend/interface.h"

#include <math.h>

static duet_tokenizer *tok;

/* ---- scripted ---- */

typedef struct part {
    const char *reply;
    char prompt[256];
    int calls, last_sample;
} part;

static const char *play(void *user, const char *prompt, int sample) {
    part *p = user;
    snprintf(p->prompt, sizeof p->prompt, "%s", prompt);
    p->calls++;
    p->last_sample = sample;
    return p->reply;
}

static duet_backend *scripted(part *p) {
    duet_backend *b = NULL;
    assert_int_equal(duet_backend_scripted(tok, play, p, &b, NULL), DUET_OK);
    return b;
}

static duet_ids encode(const char *text) {
    duet_ids ids = {0};
    assert_int_equal(duet_tokenizer_encode(tok, text, strlen(text), 0, &ids, NULL), DUET_OK);
    return ids;
}

static int stop_at_2(void *user, int sample, int32_t id, float logprob) {
    int *n = user;
    (void)sample, (void)id, (void)logprob;
    return ++*n == 2;
}

static void test_script_follows_the_engines_rules(void **state) {
    (void)state;
    static const struct {
        const char *name, *reply;
        int max_tokens;
        const char *stop; /* a stop token */
        bool callback;
        int n; /* -1: all of the reply */
        bool end_added;
        duet_stop want;
    } cases[] = {
        {"to the end",        "the answer",                 -1, NULL,       false, -1, true,  DUET_STOP_EOS     },
        {"own end",           "the answer<|im_end|>",       -1, NULL,       false, -1, false, DUET_STOP_EOS     },
        {"other end",         "the<|endoftext|>",           -1, NULL,       false, -1, false, DUET_STOP_EOS     },
        {"end in the middle", "<think><|im_end|>the",       -1, NULL,       false, 2,  false, DUET_STOP_EOS     },
        {"budget",            "<think></think><think>",     2,  NULL,       false, 2,  false, DUET_STOP_LENGTH  },
        {"exact budget",      "<think></think>",            3,  NULL,       false, 3,  true,  DUET_STOP_EOS     },
        {"budget 0",          "<think></think>",            0,  NULL,       false, 0,  false, DUET_STOP_LENGTH  },
        {"stop id",           "<think></think>the",         -1, "</think>", false, 2,  false, DUET_STOP_TOKEN   },
        {"stop id at budget", "<think></think>the",         2,  "</think>", false, 2,  false, DUET_STOP_TOKEN   },
        {"callback",          "<think></think><think> the", -1, NULL,       true,  2,  false, DUET_STOP_CALLBACK},
        {"empty reply",       "",                           -1, NULL,       false, 1,  true,  DUET_STOP_EOS     },
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        part p = {.reply = cases[c].reply};
        duet_backend *b = scripted(&p);
        duet_ids prompt = encode("question<|im_end|>"), want = encode(cases[c].reply);
        duet_generation g = {0};
        int32_t stop = cases[c].stop ? duet_tokenizer_id(tok, cases[c].stop) : -1;
        int calls = 0;
        duet_gen_request r = {.prompt = prompt.v,
                              .n_prompt = prompt.n,
                              .max_tokens = cases[c].max_tokens,
                              .out = &g,
                              .stop_ids = &stop,
                              .n_stop = cases[c].stop != NULL,
                              .on_token = cases[c].callback ? stop_at_2 : NULL,
                              .user = &calls};
        duet_err err = {{0}};
        if (duet_backend_generate(b, &r, 1, NULL, &err)) {
            fail_msg("%s: %s", cases[c].name, err.text);
        }
        size_t n = cases[c].n >= 0 ? (size_t)cases[c].n : want.n + cases[c].end_added;
        size_t said = n - cases[c].end_added;
        bool ok = g.n == n && g.stop == cases[c].want && r.usage.output_tokens == n &&
                  (said == 0 || !memcmp(g.ids, want.v, said * sizeof *g.ids)) &&
                  (!cases[c].end_added || g.ids[n - 1] == duet_tokenizer_id(tok, "<|im_end|>")) &&
                  p.calls == (cases[c].max_tokens != 0) &&
                  r.usage.prompt_tokens == (cases[c].max_tokens ? prompt.n : 0) &&
                  (!p.calls || !strcmp(p.prompt, "question<|im_end|>"));
        if (!ok) {
            fail_msg("%s: %zu tokens, stop %s, prompt \"%s\"", cases[c].name, g.n, duet_stop_name(g.stop), p.prompt);
        }
        duet_generation_clear(&g);
        duet_ids_free(&prompt);
        duet_ids_free(&want);
        duet_backend_close(b);
    }
}

static void test_script_failures(void **state) {
    (void)state;
    part p = {.reply = NULL};
    duet_backend *b = scripted(&p);
    int32_t prompt[8] = {1, 2, 3};
    duet_generation g[3] = {{0}};
    volatile int cancel = 1;
    duet_gen_request r = {.prompt = prompt, .n_prompt = 8, .n = 3, .max_tokens = -1, .out = g};
    assert_int_equal(duet_backend_generate(b, &r, 1, NULL, NULL), DUET_E_BACKEND);
    p.reply = "the answer";
    assert_int_equal(duet_backend_generate(b, &r, 1, &cancel, NULL), DUET_E_CANCELLED);
    for (int i = 0; i < 3; i++) {
        duet_generation_clear(&g[i]);
    }
    dt_backend_limit(b, 8);
    assert_int_equal(duet_backend_ctx(b), 8);
    assert_int_equal(duet_backend_generate(b, &r, 1, NULL, NULL), DUET_E_RANGE);
    dt_backend_limit(b, 10);
    assert_int_equal(duet_backend_generate(b, &r, 1, NULL, NULL), DUET_OK);
    assert_int_equal(p.last_sample, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(g[i].n, 2);
        assert_int_equal(g[i].stop, DUET_STOP_LENGTH);
        duet_generation_clear(&g[i]);
    }
    assert_null(duet_backend_model(b));
    assert_null(duet_backend_engine(b));
    assert_string_equal(duet_backend_name(b), "scripted");
    assert_ptr_equal(duet_backend_tokenizer(b), tok);
    duet_backend_close(b);
    duet_backend_close(NULL);
}

/* ---- local ---- */

static void test_folder_generates_like_its_engine(void **state) {
    (void)state;
    char dir[64];
    duet_backend *b = NULL;
    duet_err err = {{0}};
    model_folder(dir, tok, duet_tokenizer_size(tok), 128, 4);
    if (duet_backend_open(dir,
                          &(duet_backend_options){
                              .engine = {.n_threads = 1, .ctx = 100}
    },
                          &b, &err)) {
        fail_msg("open: %s", err.text);
    }
    assert_int_equal(duet_backend_ctx(b), 100);
    duet_model *m = tiny_model(duet_tokenizer_size(tok), 128, 4);
    duet_engine *e = tiny_engine(m, (duet_engine_options){.n_threads = 1});
    duet_ids prompt = encode("the question is");
    duet_generation a = {0}, c = {0};
    duet_gen_request r = {
        .prompt = prompt.v, .n_prompt = prompt.n, .max_tokens = 20, .out = &a, .sampling = {.temperature = 1}};
    assert_int_equal(duet_backend_generate(b, &r, 1, NULL, NULL), DUET_OK);
    r.out = &c;
    assert_int_equal(duet_engine_generate(e, &r, 1, NULL, NULL), DUET_OK);
    assert_int_equal(a.n, c.n);
    assert_memory_equal(a.ids, c.ids, a.n * sizeof *a.ids);
    assert_memory_equal(a.logprobs, c.logprobs, a.n * sizeof *a.logprobs);
    duet_generation_clear(&a);
    duet_generation_clear(&c);

    r.n_prompt = 0; /* the sentence names the folder */
    assert_int_equal(duet_backend_generate(b, &r, 1, NULL, &err), DUET_E_RANGE);
    assert_non_null(strstr(err.text, dir));
    duet_ids_free(&prompt);
    duet_engine_destroy(e);
    duet_model_close(m);
    duet_backend_close(b);
    assert_int_equal(dt_remove_tree(dir, NULL), DUET_OK);
}

static void test_sampling_comes_from_generation_config(void **state) {
    (void)state;
    static const struct {
        const char *name, *json; /* NULL: no file */
        duet_sampling want;
    } cases[] = {
        {"no file",       NULL,                                                  {.top_p = 1}                                    },
        {"greedy",        "{\"do_sample\":false,\"temperature\":0.6}",           {.top_p = 1}                                    },
        {"silent",        "{\"temperature\":0.6}",                               {.top_p = 1}                                    },
        {"sampled",
         "{\"do_sample\":true,\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95}", {.temperature = 0.6, .top_k = 20, .top_p = 0.95}},
        {"bare sampling", "{\"do_sample\":true}",                                {.temperature = 1, .top_p = 1}                  },
        {"min_p",         "{\"do_sample\":true,\"min_p\":0.05}",                 {.temperature = 1, .top_p = 1, .min_p = 0.05}   },
    };
    char dir[64];
    model_folder(dir, tok, duet_tokenizer_size(tok), 64, 4);
    char *path = dt_path_join(dir, "generation_config.json");
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_backend *b = NULL;
        duet_err err = {{0}};
        unlink(path);
        if (cases[c].json) {
            write_text(dir, "generation_config.json", cases[c].json);
        }
        duet_status st = duet_backend_open(dir, NULL, &b, &err);
        if (st) {
            fail_msg("%s: %s", cases[c].name, err.text);
        }
        duet_sampling s = duet_backend_sampling(b);
        if (fabs(s.temperature - cases[c].want.temperature) > 1e-12 || s.top_k != cases[c].want.top_k ||
            fabs(s.top_p - cases[c].want.top_p) > 1e-12 || fabs(s.min_p - cases[c].want.min_p) > 1e-12) {
            fail_msg("%s: temperature %g, top_k %d, top_p %g, min_p %g", cases[c].name, s.temperature, s.top_k, s.top_p,
                     s.min_p);
        }
        duet_backend_close(b);
    }
    free(path);
    assert_int_equal(dt_remove_tree(dir, NULL), DUET_OK);
}

static void test_bad_folders(void **state) {
    (void)state;
    char dir[64];
    duet_backend *b = NULL;
    duet_err err = {{0}};
    assert_true(duet_backend_open("/nonexistent/model", NULL, &b, &err) < 0);
    assert_null(b);
    assert_non_null(strstr(err.text, "/nonexistent/model"));

    model_folder(dir, tok, 100, 64, 4); /* fewer than the tokenizer has */
    assert_int_equal(duet_backend_open(dir, NULL, &b, &err), DUET_E_FORMAT);
    assert_null(b);
    assert_non_null(strstr(err.text, "100"));
    assert_int_equal(dt_remove_tree(dir, NULL), DUET_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_script_follows_the_engines_rules),
        cmocka_unit_test(test_script_failures),
        cmocka_unit_test(test_folder_generates_like_its_engine),
        cmocka_unit_test(test_sampling_comes_from_generation_config),
        cmocka_unit_test(test_bad_folders),
    };
    tok = small_tokenizer(0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    duet_tokenizer_close(tok);
    return failed;
}

/* The pair with a model behind a server on either side, or on both: what is asked, what is cut, what is counted. */
#include "backend/fake_openai.h"
#include "backend/fixture.h"
#include "backend/interface.h"
#include "duet/pair.h"

#include <jansson.h>
#include <math.h>

#define LISTED "{\"data\":[{\"id\":\"big\",\"owned_by\":\"them\"},{\"id\":\"small\",\"owned_by\":\"them\"}]}"

static duet_tokenizer *tok;

/* How the server's two models behave, and what they were asked last. */
typedef struct scene {
    enum { FIELD, MARKS, UNMARKED, NO_END } style;
    const char *thought, *rest; /* of big: its thought, then its own answer */
    const char *answer;         /* of small */
    int usage;                  /* completion tokens reported; -1 = none */
    json_t *big, *small;        /* the requests */
    fake_server *server;
    const char *reply;          /* of the model that is here */
    char prompt[4096];          /* it was given */
} scene;

static void big(scene *s, fake_conn *c) {
    char text[512];
    if (s->style == FIELD || s->style == NO_END) {
        fake_pieces(c, "reasoning_content", s->thought, 3);
        if (s->style == NO_END) {
            fake_cut(c);
            return;
        }
        if (s->rest && !fake_pieces(c, "content", s->rest, 3))
            return;
    } else {
        snprintf(text, sizeof text, s->style == MARKS ? "<think>\n%s\n</think>\n\n%s" : "%s", s->thought, s->rest ? s->rest : "");
        if (!fake_pieces(c, "content", text, 3))
            return;
    }
    if (s->rest && s->style != UNMARKED && !fake_sleep(c, 5)) /* goes on for long, unless it is cut */
        return;
    fake_finish(c, "stop");
    if (s->usage >= 0)
        fake_usage(c, 21, s->usage);
    fake_end_stream(c);
}

static void reply(void *user, fake_conn *c, const fake_request *r) {
    scene *s = user;
    const char *model = json_string_value(json_object_get(r->body, "model"));
    if (!model) {
        fake_cut(c);
        return;
    }
    json_t **at = !strcmp(model, "big") ? &s->big : &s->small;
    json_decref(*at);
    *at = json_deep_copy(r->body);
    fake_begin_stream(c);
    if (at == &s->big) {
        big(s, c);
        return;
    }
    fake_pieces(c, "content", s->answer, 2);
    fake_finish(c, "stop");
    fake_usage(c, 30, 7);
    fake_end_stream(c);
}

static const char *play(void *user, const char *prompt, int sample) {
    scene *s = user;
    (void)sample;
    snprintf(s->prompt, sizeof s->prompt, "%s", prompt);
    return s->reply;
}

static void begin(scene *s) {
    s->server = fake_start(&(fake_options){.reply = reply, .user = s, .models = LISTED});
    assert_non_null(s->server);
}

static void end(scene *s) {
    fake_stop(s->server);
    json_decref(s->big);
    json_decref(s->small);
}

static duet_backend *open_model(scene *s, const char *name) {
    duet_backend *b = NULL;
    duet_err err = {{0}};
    char more[32];
    if (!name) {
        assert_int_equal(duet_backend_scripted(tok, play, s, &b, NULL), DUET_OK);
        return b;
    }
    snprintf(more, sizeof more, "#%s", name);
    if (duet_backend_open(fake_address(s->server, more), &(duet_backend_options){.remote = {.tries = 2}}, &b, &err))
        fail_msg("%s", err.text);
    return b;
}

typedef struct heard {
    char text[2][512];
} heard;

static int on_text(void *user, int stage, const char *text, size_t n) {
    heard *h = user;
    strncat(h->text[stage], text, n);
    return 0;
}

static const char *content(const json_t *request) {
    const json_t *all = json_object_get(request, "messages");
    return json_string_value(json_object_get(json_array_get(all, json_array_size(all) - 1), "content"));
}

static duet_pair_request ask(duet_mode mode) {
    return (duet_pair_request){.question = "question", .n_question = 8, .mode = mode, .signal_budget = 100, .answer_budget = 50,
                               .M = {.temperature = -1}, .m = {.temperature = 0}, .key = 5};
}

/* A remote M's thought becomes the signal of a model that is here, and the stream is cut where it ends. */
static void test_a_remote_M_and_a_local_m(void **state) {
    (void)state;
    static const struct {
        const char *name, *thought, *rest, *signal;
        int style, usage;
        duet_signal_status status;
        duet_handoff handoff;
        bool cut;
    } cases[] = {
        {"field, cut",  "add seven",  "It is 4.", "add seven",                 FIELD,    -1, DUET_SIGNAL_CLOSED,   DUET_HANDOFF_END,   true },
        {"marks, cut",  "add seven",  "It is 4.", "add seven",                 MARKS,    -1, DUET_SIGNAL_CLOSED,   DUET_HANDOFF_END,   true },
        {"unmarked",    "add seven",  NULL,       "add seven",                 UNMARKED, 12, DUET_SIGNAL_UNTAGGED, DUET_HANDOFF_EOS,   false},
        {"only thought", "add seven", NULL,       "add seven",                 FIELD,    12, DUET_SIGNAL_CLOSED,   DUET_HANDOFF_END,   false},
        {"empty",       "",           "It is 4.", "",                          MARKS,    -1, DUET_SIGNAL_EMPTY,    DUET_HANDOFF_EMPTY, true },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        scene s = {.style = cases[i].style, .thought = cases[i].thought, .rest = cases[i].rest, .usage = cases[i].usage, .reply = "four"};
        heard h = {{{0}}};
        duet_err err = {{0}};
        duet_pair *p = NULL;
        begin(&s);
        duet_backend *M = open_model(&s, "big"), *m = open_model(&s, NULL);
        assert_int_equal(duet_pair_create(M, m, NULL, &p, NULL), DUET_OK);
        duet_pair_request r = ask(DUET_MODE_DUET);
        r.on_text = on_text;
        r.user = &h;
        const double before = dt_now();
        if (duet_pair_answer(p, &r, 1, NULL, &err))
            fail_msg("%s: %s", cases[i].name, err.text);
        char prompt[256];
        snprintf(prompt, sizeof prompt, "<|im_start|>user\nquestion<|im_end|>\n<|im_start|>assistant\n<think>\n%s\n</think>\n\n", cases[i].signal);
        if (strcmp(r.signal_text, cases[i].signal) || strcmp(r.answer_text, "four") || strcmp(s.prompt, prompt) ||
            r.signal_status != cases[i].status || r.handoff != cases[i].handoff || r.ledger.M.estimated != cases[i].cut)
            fail_msg("%s: signal \"%s\" (%s, %s), answer \"%s\", m's prompt \"%s\", estimated %d", cases[i].name, r.signal_text,
                     duet_signal_status_name(r.signal_status), duet_handoff_name(r.handoff), r.answer_text, s.prompt, r.ledger.M.estimated);
        if (strcmp(h.text[0], r.signal_text) || strcmp(h.text[1], "four"))
            fail_msg("%s: streamed \"%s\", \"%s\"", cases[i].name, h.text[0], h.text[1]);
        if (!cases[i].cut) {
            assert_int_equal(r.ledger.M.output_tokens, 12);
            assert_int_equal(r.ledger.M.prompt_tokens, 21);
        } else { /* pieces up to the cut, not the seconds of answer that would have followed */
            assert_in_range(r.ledger.M.output_tokens, 1, 12);
            assert_true(dt_now() - before < 2);
        }
        assert_int_equal(r.ledger.M.cached_tokens, SIZE_MAX);
        assert_false(r.ledger.m.estimated);
        assert_string_equal(content(s.big), "question");
        assert_int_equal(json_integer_value(json_object_get(s.big, "max_tokens")), 100);
        assert_true(json_is_true(json_object_get(json_object_get(s.big, "stream_options"), "include_usage")));
        assert_null(json_object_get(s.big, "temperature")); /* the server's own */
        for (int k = 0; k < 100 && fake_gone(s.server) < cases[i].cut; k++) /* the server sees it within a second */
            usleep(10000);
        assert_int_equal(fake_gone(s.server), cases[i].cut);
        duet_pair_request_clear(&r);
        duet_pair_destroy(p);
        duet_backend_close(M);
        duet_backend_close(m);
        end(&s);
    }
}

/* ---- the other side, and both ---- */

/* A remote m reads the signal as an instruction in the question; its own thought is not shown. */
static void test_a_remote_m(void **state) {
    (void)state;
    scene s = {.answer = "\n four \n", .reply = "<think>\nadd seven\n</think>\n\nIt is 4."};
    heard h = {{{0}}};
    duet_pair *p = NULL;
    begin(&s);
    duet_backend *M = open_model(&s, NULL), *m = open_model(&s, "small");
    assert_int_equal(duet_pair_create(M, m, NULL, &p, NULL), DUET_OK);
    const duet_message history[2] = {{"user", "before", 6}, {"assistant", "said", 4}};
    duet_pair_request r = ask(DUET_MODE_DUET);
    r.history = history;
    r.n_history = 2;
    r.on_text = on_text;
    r.user = &h;
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_OK);
    assert_string_equal(r.signal_text, "add seven");
    assert_string_equal(r.answer_text, "four");
    assert_string_equal(h.text[1], "four \n");
    assert_string_equal(content(s.small), "question\n\nA high-level strategy:\nadd seven\n\nWrite the solution.");
    assert_int_equal(json_array_size(json_object_get(s.small, "messages")), 3);
    assert_int_equal(json_integer_value(json_object_get(s.small, "max_tokens")), 50);
    assert_true(json_number_value(json_object_get(s.small, "temperature")) == 0);
    assert_true(json_is_integer(json_object_get(s.small, "seed")));
    const json_int_t seed = json_integer_value(json_object_get(s.small, "seed"));
    assert_int_equal(r.ledger.m.prompt_tokens, 30);
    assert_int_equal(r.ledger.m.output_tokens, 7);
    assert_false(r.ledger.m.estimated);
    assert_true(r.n_signal_ids > 0); /* M's tokens: m has none here */
    assert_ptr_equal(duet_pair_signal_tokenizer(p), tok);

    duet_pair_request again = ask(DUET_MODE_DUET); /* the same signal, given */
    again.signal = r.signal_ids;
    again.n_signal = r.n_signal_ids;
    s.prompt[0] = 0;
    assert_int_equal(duet_pair_answer(p, &again, 1, NULL, NULL), DUET_OK);
    assert_string_equal(content(s.small), "question\n\nA high-level strategy:\nadd seven\n\nWrite the solution.");
    assert_string_equal(s.prompt, ""); /* M was not asked */
    assert_int_equal(json_integer_value(json_object_get(s.small, "seed")), seed); /* the same question */
    duet_pair_request_clear(&again);
    duet_pair_request_clear(&r);

    r = ask(DUET_MODE_m); /* the baseline is the bare question */
    r.key = 6;
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_OK);
    assert_string_equal(content(s.small), "question");
    assert_int_not_equal(json_integer_value(json_object_get(s.small, "seed")), seed); /* another question, or repeat */
    assert_string_equal(r.signal_text, "");
    duet_pair_request_clear(&r);
    r = ask(DUET_MODE_DUET); /* no budget: nothing is asked */
    r.answer_budget = 0;
    json_decref(s.small);
    s.small = NULL;
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_OK);
    assert_null(s.small);
    assert_true(r.answer_cut);
    assert_int_equal(r.ledger.m.output_tokens, 0);
    duet_pair_request_clear(&r);
    duet_pair_destroy(p);
    duet_backend_close(M);
    duet_backend_close(m);
    end(&s);
}

static void test_both_remote(void **state) {
    (void)state;
    scene s = {.style = MARKS, .thought = "add seven", .usage = 17, .answer = "four"};
    duet_pair *p = NULL;
    duet_err err = {{0}};
    begin(&s);
    duet_backend *M = open_model(&s, "big"), *m = open_model(&s, "small");
    const duet_pair_options o = {.price_M = 10, .price_m = 1, .price_M_in = -1, .price_m_in = -1, .instruction = " Be brief."};
    assert_int_equal(duet_pair_create(M, m, &o, &p, NULL), DUET_OK);
    const duet_pair_terms terms = duet_pair_describe(p);
    assert_string_equal(terms.M_template, "remote");
    assert_string_equal(terms.layout, "instruct");
    assert_false(terms.same_tokens);
    assert_null(duet_pair_signal_tokenizer(p));
    duet_pair_request r = ask(DUET_MODE_DUET);
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_OK);
    assert_string_equal(r.answer_text, "four");
    assert_string_equal(content(s.big), "question Be brief.");
    assert_string_equal(content(s.small), "question Be brief.\n\nA high-level strategy:\nadd seven\n\nWrite the solution.");
    assert_int_equal(r.n_signal_ids, 0);
    char *line = duet_ledger_json(&r.ledger);
    json_t *j = json_loads(line, 0, NULL), *jM = json_object_get(j, "M");
    assert_true(json_is_true(json_object_get(jM, "estimated")));
    assert_true(json_is_null(json_object_get(jM, "cached_tokens")));
    assert_null(json_object_get(json_object_get(j, "m"), "estimated"));
    assert_true(fabs(json_number_value(json_object_get(j, "cost")) -
                     (10e-6 * (double)r.ledger.M.output_tokens + 1e-6 * 7)) < 1e-12);
    json_decref(j);
    free(line);
    const int32_t id = 0;
    duet_pair_request given = ask(DUET_MODE_DUET);
    given.signal = &id;
    given.n_signal = 1;
    assert_int_equal(duet_pair_answer(p, &given, 1, NULL, &err), DUET_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "tokenizer"));
    duet_pair_request_clear(&given);
    duet_pair_request_clear(&r);

    r = ask(DUET_MODE_DUET); /* what M spent is taken off the bound of both */
    r.total_budget = 40;
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_OK);
    assert_int_equal(json_integer_value(json_object_get(s.big, "max_tokens")), 40);
    assert_int_equal(json_integer_value(json_object_get(s.small, "max_tokens")), 40 - (json_int_t)r.ledger.M.output_tokens);
    duet_pair_request_clear(&r);

    r = ask(DUET_MODE_M); /* end to end: thought and answer, and the server's own count */
    heard h = {{{0}}};
    r.on_text = on_text;
    r.user = &h;
    s.style = MARKS;
    s.rest = NULL;
    s.thought = "add seven\n</think>\n\nIt is 4. <think>"; /* marks behind the first are text */
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_OK);
    assert_string_equal(r.signal_text, "add seven");
    assert_string_equal(h.text[0], "add seven");
    assert_non_null(strstr(r.answer_text, "It is 4. <think>"));
    assert_int_equal(strncmp(h.text[1], r.answer_text, r.n_answer_text), 0);
    assert_int_equal(json_integer_value(json_object_get(s.big, "max_tokens")), 150);
    assert_int_equal(r.ledger.M.output_tokens, 17);
    assert_int_equal(r.ledger.M_alone_tokens, 17);
    assert_int_equal(r.handoff, DUET_HANDOFF_NONE);
    duet_pair_request_clear(&r);
    duet_pair_destroy(p);
    duet_backend_close(M);
    duet_backend_close(m);
    end(&s);
}

/* What was spent before it broke off stands in the ledger, and m is not asked. */
static void test_a_broken_stream_is_paid_for(void **state) {
    (void)state;
    scene s = {.style = NO_END, .thought = "add seven then take three", .answer = "four"};
    duet_pair *p = NULL;
    duet_err err = {{0}};
    begin(&s);
    duet_backend *M = open_model(&s, "big"), *m = open_model(&s, "small");
    assert_int_equal(duet_pair_create(M, m, NULL, &p, NULL), DUET_OK);
    duet_pair_request r = ask(DUET_MODE_DUET);
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, &err), DUET_E_BACKEND);
    assert_non_null(strstr(err.text, "broke off after about 9 tokens"));
    assert_int_equal(r.ledger.M.output_tokens, 9 + 1); /* and the mark that began it */
    assert_true(r.ledger.M.estimated);
    assert_null(s.small);
    assert_int_equal(fake_requests(s.server), 1); /* not tried again: it had begun */
    duet_pair_request_clear(&r);
    duet_pair_destroy(p);
    duet_backend_close(M);
    duet_backend_close(m);
    end(&s);
}

static int stops_at_once(void *user, int stage, const char *text, size_t n) {
    (void)user;
    (void)stage;
    (void)text;
    (void)n;
    return 1;
}

static void test_the_caller_stops_it(void **state) {
    (void)state;
    scene s = {.style = FIELD, .thought = "add seven then take three", .rest = "It is 4.", .answer = "four"};
    duet_pair *p = NULL;
    begin(&s);
    duet_backend *M = open_model(&s, "big"), *m = open_model(&s, "small");
    assert_int_equal(duet_pair_create(M, m, NULL, &p, NULL), DUET_OK);
    duet_pair_request r = ask(DUET_MODE_DUET);
    r.on_text = stops_at_once;
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_E_CANCELLED);
    assert_string_equal(r.signal_text, "add");
    assert_int_equal(r.ledger.M.output_tokens, 1 + 1);
    assert_null(s.small);
    duet_pair_request_clear(&r);
    duet_pair_destroy(p);
    duet_backend_close(M);
    duet_backend_close(m);
    end(&s);
}

/* ---- what a request says of its answer, and a hand-over on request ---- */

static void test_stop_strings_and_biases(void **state) {
    (void)state;
    static const char *const stops[] = {"three", "\n\n"};
    const duet_logit_bias bias = {7, -1000};
    scene s = {.answer = " one two three four"};
    heard h = {{{0}}};
    duet_err err = {{0}};
    duet_pair *p = NULL;
    begin(&s);
    duet_backend *M = open_model(&s, "big"), *m = open_model(&s, "small");
    assert_int_equal(duet_pair_create(M, m, NULL, &p, NULL), DUET_OK);
    duet_pair_request r = ask(DUET_MODE_m);
    r.stop = stops;
    r.n_stop = 2;
    r.logit_bias = &bias;
    r.n_logit_bias = 1;
    r.presence_penalty = 0.5;
    r.on_text = on_text;
    r.user = &h;
    if (duet_pair_answer(p, &r, 1, NULL, &err))
        fail_msg("%s", err.text);
    assert_string_equal(r.answer_text, "one two"); /* the server did not stop by itself */
    assert_string_equal(h.text[1], "one two ");
    assert_int_equal(r.answer_stop, DUET_STOP_TOKEN);
    assert_int_equal(r.stop_matched, 0);
    assert_false(r.answer_cut);
    assert_int_equal(json_array_size(json_object_get(s.small, "stop")), 2);
    assert_true(json_number_value(json_object_get(json_object_get(s.small, "logit_bias"), "7")) == -100);
    assert_true(json_number_value(json_object_get(s.small, "presence_penalty")) == 0.5);
    assert_null(json_object_get(s.small, "frequency_penalty"));
    r.top_logprobs = 1;
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, &err), DUET_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "log-probs"));
    duet_pair_request_clear(&r);

    r = ask(DUET_MODE_M); /* a stop string in M's thought is none */
    s.style = MARKS;
    s.thought = "one three\n</think>\n\none two three four";
    s.usage = -1;
    r.stop = stops;
    r.n_stop = 1;
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_OK);
    assert_string_equal(r.signal_text, "one three");
    assert_string_equal(r.answer_text, "one two");
    assert_null(json_object_get(s.big, "stop"));
    duet_pair_request_clear(&r);
    duet_pair_destroy(p);
    duet_backend_close(M);
    duet_backend_close(m);
    end(&s);
}

static int asks_for_it(void *user, int stage, const char *text, size_t n) {
    (void)text;
    (void)n;
    if (stage == 0)
        __atomic_store_n((volatile int *)user, 1, __ATOMIC_RELAXED);
    return 0;
}

static void test_handed_over_on_request(void **state) {
    (void)state;
    volatile int now = 0;
    scene s = {.style = UNMARKED, .thought = "add seven", .rest = "", .answer = "four", .usage = -1};
    duet_pair *p = NULL;
    begin(&s);
    s.style = FIELD; /* says its thought, then nothing for long */
    s.rest = "";
    duet_backend *M = open_model(&s, "big"), *m = open_model(&s, "small");
    assert_int_equal(duet_pair_create(M, m, NULL, &p, NULL), DUET_OK);
    duet_pair_request r = ask(DUET_MODE_DUET);
    r.hand_over = &now;
    r.on_text = asks_for_it;
    r.user = (void *)(uintptr_t)&now;
    const double before = dt_now();
    assert_int_equal(duet_pair_answer(p, &r, 1, NULL, NULL), DUET_OK);
    assert_true(dt_now() - before < 1);
    assert_int_equal(r.handoff, DUET_HANDOFF_REQUEST);
    assert_int_equal(r.signal_status, DUET_SIGNAL_TRUNCATED);
    assert_true(r.n_signal_text > 0 && !strncmp("add seven", r.signal_text, r.n_signal_text));
    assert_string_equal(r.answer_text, "four");
    duet_pair_request_clear(&r);
    duet_pair_destroy(p);
    duet_backend_close(M);
    duet_backend_close(m);
    end(&s);
}

int main(void) {
    tok = small_tokenizer(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_remote_M_and_a_local_m),
        cmocka_unit_test(test_a_remote_m),
        cmocka_unit_test(test_both_remote),
        cmocka_unit_test(test_a_broken_stream_is_paid_for),
        cmocka_unit_test(test_the_caller_stops_it),
        cmocka_unit_test(test_stop_strings_and_biases),
        cmocka_unit_test(test_handed_over_on_request),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    duet_tokenizer_close(tok);
    return failed;
}

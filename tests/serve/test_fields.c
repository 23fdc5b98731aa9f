/* Fields that shape an answer, and the paths beside chat completions. */
#include "serve/stage.h"

STAGE_OF_TESTS

static json_t *ask_json(const char *path, const char *body, int status) {
    reply r = ask(s.port, body ? "POST" : "GET", path, NULL, body);
    if (r.status != status)
        fail_msg("%s %s: %d %s", path, body ? body : "", r.status, r.body.data ? r.body.data : "");
    json_t *j = reply_json(&r);
    assert_non_null(j);
    reply_clear(&r);
    return j;
}

static const json_t *first_choice(const json_t *j) {
    return json_array_get(json_object_get(j, "choices"), 0);
}

static void expect_content(const json_t *j, const char *content, const char *finish) {
    const json_t *c = first_choice(j);
    assert_string_equal(json_string_value(json_object_get(json_object_get(c, "message"), "content")), content);
    assert_string_equal(json_string_value(json_object_get(c, "finish_reason")), finish);
}

static void test_stop_strings(void **state) {
    (void)state;
    json_t *j = ask_json(CHAT, "{\"model\":\"duet\",\"stop\":\"swer\"," QUESTION "}", 200);
    expect_content(j, "the an", "stop");
    json_decref(j);
    j = ask_json(CHAT, "{\"model\":\"duet\",\"stop\":[\"zzz\",\" is\"]," QUESTION "}", 200);
    expect_content(j, "the answer", "stop");
    json_decref(j);
    j = ask_json(CHAT, "{\"model\":\"duet\",\"stop\":[\"zzz\",\"\"]," QUESTION "}", 400);
    json_decref(j);
    j = ask_json(CHAT, "{\"model\":\"duet\",\"stop\":7," QUESTION "}", 400);
    json_decref(j);
}

static void test_names_of_the_signal(void **state) {
    (void)state;
    static const struct {
        const char *field;
        bool content, plain;
    } cases[] = {
        {"\"user\":\"u\"",                     true,  false},
        {"\"reasoning\":{}",                   false, true },
        {"\"reasoning\":{\"effort\":\"high\"}", false, true },
        {"\"reasoning\":{\"exclude\":true}",   false, false},
        {"\"include_reasoning\":false",        false, false},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"model\":\"duet\",%s," QUESTION "}", cases[i].field);
        json_t *j = ask_json(CHAT, body, 200);
        const json_t *m = json_object_get(first_choice(j), "message");
        assert_int_equal(json_object_get(m, "reasoning_content") != NULL, cases[i].content);
        assert_int_equal(json_object_get(m, "reasoning") != NULL, cases[i].plain);
        json_decref(j);
    }
    json_t *j = ask_json(CHAT, "{\"model\":\"duet\",\"enable_thinking\":false," QUESTION "}", 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(first_choice(j), "message"), "reasoning_content")), "");
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "duet"), "handoff")), "budget");
    json_decref(j);
}

static void test_several_answers(void **state) {
    (void)state;
    json_t *j = ask_json(CHAT, "{\"model\":\"duet\",\"n\":3," QUESTION "}", 200);
    assert_int_equal(json_array_size(json_object_get(j, "choices")), 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(j, "choices"), i), "index")), i);
    const json_t *usage = json_object_get(j, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage, "completion_tokens")), s.M.output_tokens + s.m.output_tokens);
    assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), s.M.prompt_tokens + s.m.prompt_tokens);
    json_decref(j);
}

/* The older way to ask: the prompt is the question. */
static void test_completions(void **state) {
    (void)state;
    json_t *j = ask_json("/v1/completions", "{\"model\":\"duet\",\"prompt\":\"question\"}", 200);
    assert_string_equal(json_string_value(json_object_get(j, "object")), "text_completion");
    assert_string_equal(json_string_value(json_object_get(first_choice(j), "text")), "the answer is 4");
    json_decref(j);
    reply r = ask(s.port, "POST", "/v1/completions", NULL, "{\"model\":\"duet\",\"prompt\":[\"question\"],\"stream\":true}");
    dt_buf text = {0};
    for (char *line = r.body.data; line && *line; line = strstr(line, "\n\n") ? strstr(line, "\n\n") + 2 : NULL) {
        const size_t n = (size_t)(strstr(line, "\n\n") - line);
        json_t *one = n > 6 ? json_loadb(line + 6, n - 6, 0, NULL) : NULL;
        const char *piece = json_string_value(json_object_get(first_choice(one), "text"));
        dt_buf_adds(&text, piece ? piece : "");
        json_decref(one);
    }
    assert_string_equal(text.data, "the answer is 4");
    assert_non_null(strstr(r.body.data, "data: [DONE]"));
    dt_buf_clear(&text);
    reply_clear(&r);
    json_decref(ask_json("/v1/completions", "{\"model\":\"duet\"}", 400));
    json_decref(ask_json("/v1/completions", "{\"model\":\"duet\"," QUESTION "}", 400));
    json_decref(ask_json(CHAT, "{\"model\":\"duet\",\"prompt\":\"q\"}", 400));
}

/* Every token of the answer but the one that ended it; streamed or not, the same. */
static void test_logprobs(void **state) {
    (void)state;
    json_t *j = ask_json(CHAT, "{\"model\":\"duet\",\"logprobs\":true," QUESTION "}", 200);
    json_t *whole = json_incref(json_object_get(json_object_get(first_choice(j), "logprobs"), "content")), *streamed = json_array();
    const json_t *t = NULL;
    size_t i = 0;
    dt_buf text = {0};
    json_decref(j);
    assert_true(json_array_size(whole) > 1);
    json_array_foreach(whole, i, t) {
        dt_buf_adds(&text, json_string_value(json_object_get(t, "token")));
        assert_true(json_is_array(json_object_get(t, "top_logprobs")) && json_is_array(json_object_get(t, "bytes")));
        assert_true(json_real_value(json_object_get(t, "logprob")) == 0);
    }
    assert_string_equal(text.data, "the answer is 4");
    reply r = ask(s.port, "POST", CHAT, NULL, "{\"model\":\"duet\",\"logprobs\":true,\"stream\":true," QUESTION "}");
    for (char *line = r.body.data; line && *line; line = strstr(line, "\n\n") ? strstr(line, "\n\n") + 2 : NULL) {
        const size_t n = (size_t)(strstr(line, "\n\n") - line);
        json_t *one = n > 6 ? json_loadb(line + 6, n - 6, 0, NULL) : NULL;
        json_array_extend(streamed, json_object_get(json_object_get(first_choice(one), "logprobs"), "content"));
        json_decref(one);
    }
    assert_true(json_equal(whole, streamed));
    json_decref(whole);
    json_decref(streamed);
    reply_clear(&r);
    dt_buf_clear(&text);
    j = ask_json(CHAT, "{\"model\":\"duet\",\"top_logprobs\":3," QUESTION "}", 400);
    json_decref(j);
}

static void test_biases_name_tokens(void **state) {
    (void)state;
    static const struct {
        const char *bias;
        int status;
    } cases[] = {
        {"{\"5\":1,\"6\":-100}", 200}, {"{\"99999\":1}", 400}, {"{\"x\":1}", 400}, {"{\" 5\":1}", 400}, {"{\"-1\":1}", 400}, {"{\"5\":101}", 400}, {"[]", 400}, {"{}", 200}};
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"model\":\"duet\",\"logit_bias\":%s," QUESTION "}", cases[i].bias);
        json_decref(ask_json(CHAT, body, cases[i].status));
    }
}

/* An answer that fits, from a model that writes what it likes: a scripted one says its line, which must fit. */
static void test_formats(void **state) {
    (void)state;
    static const struct {
        const char *format;
        int status;
        const char *param;
    } cases[] = {
        {"{\"type\":\"text\"}",                                                                    200, NULL                                  },
        {"{\"type\":\"xml\"}",                                                                     400, "response_format.type"                },
        {"{}",                                                                                      400, "response_format"                     },
        {"{\"type\":\"json_schema\"}",                                                             400, "response_format.json_schema"         },
        {"{\"type\":\"json_object\",\"json_schema\":{\"schema\":{}}}",                             400, "response_format.json_schema"         },
        {"{\"type\":\"json_schema\",\"json_schema\":{\"schema\":7}}",                              400, "response_format.json_schema.schema"  },
        {"{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"object\",\"if\":{}}}}", 400, "response_format"                     },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        char body[512];
        snprintf(body, sizeof body, "{\"model\":\"duet\",\"response_format\":%s," QUESTION "}", cases[i].format);
        json_t *j = ask_json(CHAT, body, cases[i].status);
        const char *param = json_string_value(json_object_get(json_object_get(j, "error"), "param"));
        if (!param != !cases[i].param || (param && strcmp(param, cases[i].param) != 0))
            fail_msg("%s: param %s", cases[i].format, param ? param : "none");
        json_decref(j);
    }
    assert_int_equal(s.M.calls, 1);
}

/* A conversation reaches both models without earlier signals. */
static void test_conversations(void **state) {
    (void)state;
    json_t *j = ask_json(CHAT,
                         "{\"model\":\"duet\",\"messages\":[{\"role\":\"developer\",\"content\":\"be first\"},{\"role\":\"user\",\"content\":[{\"type\":"
                         "\"text\",\"text\":\"add \"},{\"type\":\"text\",\"text\":\"two\"}]},{\"role\":\"assistant\",\"content\":\"two\","
                         "\"reasoning_content\":\"red\",\"refusal\":null,\"tool_calls\":null},{\"role\":\"user\",\"content\":\"and now\"}]}",
                         200);
    json_decref(j);
    assert_string_equal(s.M.prompt, "<|im_start|>system\nbe first<|im_end|>\n<|im_start|>user\nadd two<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n"
                                    "<|im_start|>user\nand now<|im_end|>\n<|im_start|>assistant\n");
    assert_null(strstr(s.m.prompt, "red"));
}

/* ---- other paths ---- */

static void test_tokens_and_templates(void **state) {
    (void)state;
    json_t *j = ask_json("/tokenize", "{\"content\":\"the answer\"}", 200);
    char *tokens = json_dumps(json_object_get(j, "tokens"), 0), body[512];
    assert_int_equal(json_integer_value(json_object_get(j, "count")), json_array_size(json_object_get(j, "tokens")));
    snprintf(body, sizeof body, "{\"tokens\":%s,\"model\":\"duet-M\"}", tokens);
    json_decref(j);
    free(tokens);
    j = ask_json("/detokenize", body, 200);
    assert_string_equal(json_string_value(json_object_get(j, "content")), "the answer");
    json_decref(j);
    j = ask_json("/tokenize", "{\"content\":\"the\",\"with_pieces\":true}", 200);
    assert_true(json_is_string(json_object_get(json_array_get(json_object_get(j, "tokens"), 0), "piece")));
    json_decref(j);
    j = ask_json("/apply-template", "{" QUESTION "}", 200);
    assert_string_equal(json_string_value(json_object_get(j, "prompt")), "<|im_start|>user\nquestion<|im_end|>\n<|im_start|>assistant\n");
    json_decref(j);
    static const char *const bad[][2] = {
        {"/tokenize",       "{}"                                  },
        {"/tokenize",       "{\"content\":7}"                     },
        {"/tokenize",       "{\"content\":\"a\",\"x\":1}"         },
        {"/detokenize",     "{\"tokens\":[-1]}"                   },
        {"/detokenize",     "{\"tokens\":[99999]}"                },
        {"/detokenize",     "{\"tokens\":\"a\"}"                  },
        {"/apply-template", "{\"messages\":[{\"role\":\"user\"}]}"},
        {"/apply-template", "{}"                                  },
    };
    for (size_t i = 0; i < DT_COUNT(bad); i++)
        json_decref(ask_json(bad[i][0], bad[i][1], 400));
    json_decref(ask_json("/tokenize", "{\"content\":\"a\",\"model\":\"duet\"}", 404));
}

static void test_what_is_served(void **state) {
    (void)state;
    json_t *j = ask_json("/props", NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "M"), "name")), "scripted");
    assert_int_equal(json_integer_value(json_object_get(j, "parallel")), 64);
    json_decref(j);
    reply r = ask(s.port, "GET", "/", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(reply_header(&r, "Content-Security-Policy"), "default-src 'none'"));
    char known[96];
    snprintf(known, sizeof known, "If-None-Match: %.60s\r\n", reply_header(&r, "ETag"));
    reply_clear(&r);
    r = ask(s.port, "GET", "/", known, NULL);
    assert_int_equal(r.status, 304);
    reply_clear(&r);
}

static double metric(const dt_buf *text, const char *name) {
    const char *at = strstr(text->data, name);
    if (!at)
        fail_msg("no %s", name);
    return at ? strtod(at + strlen(name), NULL) : 0;
}

/* What the server counts is what the models did, whoever stayed for it. */
static void test_metrics(void **state) {
    (void)state;
    json_decref(ask_json(CHAT, "{\"model\":\"duet\"," QUESTION "}", 200));
    json_decref(ask_json(CHAT, "{\"model\":\"duet-m\",\"n\":2," QUESTION "}", 200));
    json_decref(ask_json(CHAT, "{\"model\":\"duet-M\"," QUESTION "}", 200));
    json_decref(ask_json(CHAT, "{\"model\":\"duet\",\"x\":2," QUESTION "}", 400));
    s.M.token_ms = 60;
    client c = client_open(s.port); /* leaves while M speaks */
    client_asks(&c, "POST", CHAT, NULL, "{\"model\":\"duet\",\"stream\":true," QUESTION "}");
    assert_true(becomes(&s.M.now, 1, 10));
    usleep(150000);
    client_close(&c);
    assert_true(becomes(&s.M.now, 0, 5));
    usleep(100000);
    reply r = ask(s.port, "GET", "/metrics", NULL, NULL);
    assert_int_equal(r.status, 200);
    const double M = metric(&r.body, "duet_tokens_total{model=\"M\",stage=\"signal\",kind=\"output\"} ") +
                     metric(&r.body, "duet_tokens_total{model=\"M\",stage=\"answer\",kind=\"output\"} ");
    assert_int_equal((size_t)M, s.M.output_tokens);
    assert_int_equal((size_t)metric(&r.body, "duet_tokens_total{model=\"m\",stage=\"answer\",kind=\"output\"} "), s.m.output_tokens);
    assert_int_equal((size_t)metric(&r.body, "duet_tokens_total{model=\"m\",stage=\"answer\",kind=\"prompt\"} "), s.m.prompt_tokens);
    assert_true(metric(&r.body, "duet_answers_total{mode=\"duet\",outcome=\"answered\"} ") == 1);
    assert_true(metric(&r.body, "duet_answers_total{mode=\"duet\",outcome=\"client_left\"} ") == 1);
    assert_true(metric(&r.body, "duet_requests_total{path=\"/v1/chat/completions\",status=\"200\"} ") == 3);
    assert_true(metric(&r.body, "duet_requests_total{path=\"/v1/chat/completions\",status=\"400\"} ") == 1);
    assert_true(metric(&r.body, "duet_requests_total{path=\"/v1/chat/completions\",status=\"499\"} ") == 1);
    assert_true(metric(&r.body, "duet_answer_seconds_count ") == 3);
    reply_clear(&r);
}

/* ---- while it is being written ---- */

/* A stream's id, as soon as it has begun. */
static void begin(client *c, reply *r, char id[64], const char *body) {
    *c = client_open(s.port);
    client_asks(c, "POST", CHAT, NULL, body);
    assert_int_equal(client_head(c, r, 10), 200);
    snprintf(id, 64, "%.60s", reply_header(r, "X-Duet-Answer"));
}

static void test_hand_over_and_stop(void **state) {
    (void)state;
    for (int stop = 0; stop < 2; stop++) {
        client c;
        reply r = {0};
        char id[64], path[128];
        s.M.token_ms = 100;
        begin(&c, &r, id, "{\"model\":\"duet\",\"stream\":true," QUESTION "}");
        while (!strstr(r.body.data ? r.body.data : "", "reasoning_content"))
            assert_int_equal(client_chunk(&c, &r, 10), 1);
        snprintf(path, sizeof path, "/v1/answers/%s/%s", id, stop ? "stop" : "hand_over");
        reply said = ask(s.port, "POST", path, NULL, "");
        assert_int_equal(said.status, 200);
        reply_clear(&said);
        while (client_chunk(&c, &r, 10) > 0) {
        }
        assert_true(r.whole);
        assert_non_null(strstr(r.body.data, "data: [DONE]"));
        assert_int_equal(strstr(r.body.data, "\"content\":\"t") != NULL, !stop);
        if (!stop)
            assert_non_null(strstr(r.body.data, "\"handoff\":\"request\""));
        reply_clear(&r);
        said = ask(s.port, "POST", path, NULL, "");
        assert_int_equal(said.status, 404); /* it is over */
        reply_clear(&said);
        client_close(&c);
    }
    client c;
    reply r = {0};
    char id[64], path[128];
    s.m.token_ms = 100;
    begin(&c, &r, id, "{\"model\":\"duet-m\",\"stream\":true," QUESTION "}");
    snprintf(path, sizeof path, "/v1/answers/%s/hand_over", id);
    reply said = ask(s.port, "POST", path, NULL, "");
    assert_int_equal(said.status, 409);
    reply_clear(&said);
    reply_clear(&r);
    client_close(&c);
}

/* The same request gives the same bytes alone and among 32, apart from what is its own: id, times. */
static void *ask_stream(void *user) {
    reply *r = user;
    *r = ask(s.port, "POST", CHAT, NULL, "{\"model\":\"duet\",\"seed\":7,\"stream\":true,\"logprobs\":true," QUESTION "}");
    return NULL;
}

static void mask(dt_buf *b) {
    for (char *p = b->data; p && *p; p++) {
        if (!strncmp(p, "chatcmpl-", 9))
            memset(p, 'x', strcspn(p, "\""));
        if (!strncmp(p, "\"created\":", 10))
            memset(p, 'x', strcspn(p, ","));
        if (!strncmp(p, ",\"duet\":", 8))
            memset(p, 'x', strcspn(p, "\n"));
    }
}

static void test_equal_bytes_at_any_load(void **state) {
    (void)state;
    enum { N = 32 };
    reply alone = {0}, r[N];
    pthread_t t[N];
    s.M.token_ms = 1;
    ask_stream(&alone);
    assert_int_equal(alone.status, 200);
    mask(&alone.body);
    for (int i = 0; i < N; i++)
        assert_int_equal(pthread_create(&t[i], NULL, ask_stream, &r[i]), 0);
    for (int i = 0; i < N; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(r[i].status, 200);
        mask(&r[i].body);
        char *end = strstr(r[i].body.data, "xxxxxxxx\n\ndata: [DONE]"), *want = strstr(alone.body.data, "xxxxxxxx\n\ndata: [DONE]");
        assert_non_null(end);
        while (end[-1] == 'x') /* what the ledger took is of other length */
            end--;
        while (want[-1] == 'x')
            want--;
        assert_int_equal(end - r[i].body.data, want - alone.body.data);
        assert_memory_equal(r[i].body.data, alone.body.data, (size_t)(want - alone.body.data));
        reply_clear(&r[i]);
    }
    reply_clear(&alone);
}

static void test_log_and_trace(void **state) {
    (void)state;
    char dir[64], log[96], trace[96];
    duet_serve_options o = duet_serve_defaults(s.pair);
    json_t *j = NULL;
    dt_buf text = {0};
    stage_close(&s);
    temp_dir(dir);
    snprintf(log, sizeof log, "%s/log", dir);
    snprintf(trace, sizeof trace, "%s/trace", dir);
    o.log = log;
    o.trace = trace;
    stage_open(&s, &o);
    json_decref(ask_json(CHAT, "{\"model\":\"duet\",\"seed\":5," QUESTION "}", 200));
    json_decref(ask_json("/nothing", NULL, 404));
    assert_int_equal(dt_file_read(log, 100000, &text, NULL), DUET_OK);
    assert_null(strstr(text.data, "question")); /* nothing of what was said */
    char *second = strchr(text.data, '\n') + 1;
    second[-1] = 0;
    j = json_loads(text.data, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(j, "path")), CHAT);
    assert_int_equal(json_integer_value(json_object_get(j, "status")), 200);
    assert_int_equal(json_integer_value(json_object_get(j, "M_tokens")), s.M.output_tokens);
    json_decref(j);
    j = json_loads(second, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(j, "status")), 404);
    json_decref(j);
    text.len = 0;
    assert_int_equal(dt_file_read(trace, 100000, &text, NULL), DUET_OK);
    j = json_loads(text.data, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(j, "seed")), "5");
    assert_true(json_is_object(json_object_get(j, "request")) && json_is_object(json_object_get(j, "response")));
    const json_t *ids = json_array_get(json_object_get(j, "ids"), 0);
    assert_int_equal(json_array_size(json_object_get(ids, "answer_ids")), s.m.output_tokens);
    json_decref(j);
    dt_buf_clear(&text);
    assert_int_equal(dt_remove_tree(dir, NULL), DUET_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stop_strings, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_names_of_the_signal, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_several_answers, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_completions, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_logprobs, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_biases_name_tokens, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_formats, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_conversations, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_tokens_and_templates, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_what_is_served, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_metrics, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_hand_over_and_stop, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_equal_bytes_at_any_load, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_log_and_trace, open_default, close_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

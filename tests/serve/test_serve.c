/* The server on scripted models, over real sockets: what is answered, and with which status. */
#include "serve/stage.h"

STAGE_OF_TESTS

/* json_unpack_ex that says what is missing. */
#define UNPACK(j, ...)                                                                                                 \
    do {                                                                                                               \
        json_error_t je_;                                                                                              \
        if (json_unpack_ex(j, &je_, 0, __VA_ARGS__))                                                                   \
            fail_msg("%s", je_.text);                                                                                  \
    } while (0)

static void test_a_whole_answer(void **state) {
    (void)state;
    const char *id, *object, *role, *content, *reasoning, *finish, *handoff, *model;
    int prompt, completion, total, cached, thought, M_out, m_out, M_in, m_in;
    double seed;
    reply r = ask(s.port, "POST", CHAT, NULL, "{\"model\":\"duet\"," QUESTION "}");
    assert_int_equal(r.status, 200);
    assert_true(r.whole);
    assert_string_equal(reply_header(&r, "Content-Type"), "application/json");
    json_t *j = reply_json(&r);
    UNPACK(j, "{s:s,s:s,s:s,s:[{s:{s:s,s:s,s:s},s:s}],s:{s:i,s:i,s:i,s:{s:i},s:{s:i}},s:{s:{s:i,s:i},s:{s:i,s:i},s:s,s:F}}", "id", &id,
           "object", &object, "model", &model, "choices", "message", "role", &role, "content", &content, "reasoning_content", &reasoning,
           "finish_reason", &finish, "usage", "prompt_tokens", &prompt, "completion_tokens", &completion, "total_tokens", &total,
           "prompt_tokens_details", "cached_tokens", &cached, "completion_tokens_details", "reasoning_tokens", &thought, "duet", "M",
           "prompt_tokens", &M_in, "output_tokens", &M_out, "m", "prompt_tokens", &m_in, "output_tokens", &m_out, "handoff", &handoff,
           "seed", &seed);
    assert_string_equal(object, "chat.completion");
    assert_string_equal(role, "assistant");
    assert_string_equal(content, "the answer is 4");
    assert_string_equal(reasoning, "first add seven then take three");
    assert_string_equal(finish, "stop");
    assert_string_equal(handoff, "end");
    assert_string_equal(model, "duet");
    assert_int_equal(strncmp(id, "chatcmpl-", 9), 0);
    assert_int_equal(prompt, M_in + m_in);
    assert_int_equal(completion, M_out + m_out);
    assert_int_equal(total, prompt + completion);
    assert_int_equal(thought, M_out);
    assert_int_equal(M_out, s.M.output_tokens); /* the engines' own count */
    assert_int_equal(m_out, s.m.output_tokens);
    json_decref(j);
    reply_clear(&r);
}

/* The pieces of a stream put together; checks that it ends as it should. */
static void join_stream(const reply *r, dt_buf *signal, dt_buf *content, json_t **usage, json_t **last) {
    bool done = false;
    *usage = *last = NULL;
    dt_buf_adds(signal, "");
    dt_buf_adds(content, "");
    for (char *line = r->body.data; line && *line; line = strstr(line, "\n\n") ? strstr(line, "\n\n") + 2 : NULL) {
        const size_t n = (size_t)(strstr(line, "\n\n") - line);
        if (*line == ':')
            continue;
        assert_int_equal(strncmp(line, "data: ", 6), 0);
        assert_false(done);
        if ((done = !strncmp(line, "data: [DONE]", n)))
            continue;
        json_t *j = json_loadb(line + 6, n - 6, 0, NULL);
        assert_non_null(j);
        const json_t *choice = json_array_get(json_object_get(j, "choices"), 0), *delta = json_object_get(choice, "delta");
        const char *s0 = json_string_value(json_object_get(delta, "reasoning_content"));
        const char *s1 = json_string_value(json_object_get(delta, "content"));
        dt_buf_adds(signal, s0 ? s0 : "");
        dt_buf_adds(content, s1 ? s1 : "");
        if (json_is_object(json_object_get(j, "usage")))
            *usage = json_incref(json_object_get(j, "usage"));
        if (json_is_string(json_object_get(choice, "finish_reason")))
            *last = json_incref(j);
        json_decref(j);
    }
    assert_true(done);
}

static void test_a_stream_says_the_same(void **state) {
    (void)state;
    dt_buf signal = {0}, content = {0};
    json_t *usage = NULL, *last = NULL;
    reply r = ask(s.port, "POST", CHAT, NULL, "{\"model\":\"duet@100\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," QUESTION "}");
    assert_int_equal(r.status, 200);
    assert_true(r.whole);
    assert_string_equal(reply_header(&r, "Content-Type"), "text/event-stream");
    assert_non_null(reply_header(&r, "X-Duet-Answer"));
    join_stream(&r, &signal, &content, &usage, &last);
    assert_string_equal(signal.data, "first add seven then take three");
    assert_string_equal(content.data, "the answer is 4");
    assert_non_null(usage);
    assert_int_equal(json_integer_value(json_object_get(usage, "completion_tokens")), s.M.output_tokens + s.m.output_tokens);
    assert_string_equal(json_string_value(json_object_get(json_object_get(last, "duet"), "handoff")), "end");
    json_decref(usage);
    json_decref(last);
    dt_buf_clear(&signal);
    dt_buf_clear(&content);
    reply_clear(&r);
}

/* Every budget of the signal and of both stages, in every spelling: exactly so many tokens at most. */
static void test_budgets_are_exact(void **state) {
    (void)state;
    static const char *const spellings[][2] = {
        {"\"thinking_budget\":", ""},
        {"\"max_reasoning_tokens\":", ""},
        {"\"reasoning\":{\"max_tokens\":", "}"},
        {"\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":", "}"},
        {NULL, NULL},
    };
    reply r = ask(s.port, "POST", CHAT, NULL, "{\"model\":\"duet\"," QUESTION "}");
    const int all_M = (int)s.M.output_tokens, all_m = (int)s.m.output_tokens;
    reply_clear(&r);
    for (size_t k = 0; k < DT_COUNT(spellings); k++) {
        for (int b = k == 3; b <= all_M + 1; b += b < 3 || b > all_M - 3 ? 1 : 3) {
            char body[256];
            snprintf(body, sizeof body, "{\"model\":\"duet\",%s%d%s," QUESTION "}", spellings[k][0], b, spellings[k][1]);
            if (!spellings[k][0])
                snprintf(body, sizeof body, "{\"model\":\"duet@%d\"," QUESTION "}", b);
            s.M.output_tokens = 0;
            r = ask(s.port, "POST", CHAT, NULL, body);
            if (r.status != 200)
                fail_msg("%s: %d %s", body, r.status, r.body.data);
            assert_int_equal(s.M.output_tokens, b < all_M ? b : all_M);
            reply_clear(&r);
        }
    }
    for (int b = 0; b <= all_M + all_m + 1; b++) {
        char body[256];
        snprintf(body, sizeof body, "{\"model\":\"duet\",\"max_completion_tokens\":%d," QUESTION "}", b);
        s.M.output_tokens = s.m.output_tokens = 0;
        r = ask(s.port, "POST", CHAT, NULL, body);
        assert_int_equal(r.status, 200);
        assert_int_equal(s.M.output_tokens + s.m.output_tokens, b < all_M + all_m ? b : all_M + all_m);
        json_t *j = reply_json(&r);
        const char *finish = NULL;
        UNPACK(j, "{s:[{s:s}]}", "choices", "finish_reason", &finish);
        assert_string_equal(finish, b < all_M + all_m ? "length" : "stop");
        json_decref(j);
        reply_clear(&r);
    }
}

static void test_what_is_wrong_is_named(void **state) {
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *param, *code;
    } cases[] = {
        {"{\"model\":\"gpt-4\"," QUESTION "}",                                      404, "model",                        "model_not_found"  },
        {"{\"model\":\"duet@x\"," QUESTION "}",                                     404, "model",                        "model_not_found"  },
        {"{" QUESTION "}",                                                          400, "model",                        NULL               },
        {"{\"model\":\"duet\"}",                                                    400, "messages",                     NULL               },
        {"{\"model\":\"duet\",\"messages\":[]}",                                    400, "messages",                     NULL               },
        {"{\"model\":\"duet\",\"messages\":[{\"role\":\"x\",\"content\":\"\"}]}",   400, "messages[0].role",             NULL               },
        {"{\"model\":\"duet\",\"messages\":[{\"role\":\"user\"}]}",                 400, "messages[0].content",          NULL               },
        {"{\"model\":\"duet\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", 400, "messages[0].content[0]", NULL },
        {"{\"model\":\"duet\",\"messages\":[{\"role\":\"user\",\"content\":\"\",\"tool_calls\":[1]}]}",    400, "messages[0].tool_calls", NULL },
        {"{\"model\":\"duet\",\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}]}",                  400, "messages", NULL               },
        {"{\"model\":\"duet\",\"temprature\":1," QUESTION "}",                      400, "temprature",                   "unknown_parameter"},
        {"{\"model\":\"duet\",\"temperature\":-1," QUESTION "}",                    400, "temperature",                  NULL               },
        {"{\"model\":\"duet\",\"temperature\":\"hot\"," QUESTION "}",               400, "temperature",                  NULL               },
        {"{\"model\":\"duet\",\"top_p\":1.5," QUESTION "}",                         400, "top_p",                        NULL               },
        {"{\"model\":\"duet\",\"n\":0," QUESTION "}",                               400, "n",                            NULL               },
        {"{\"model\":\"duet\",\"n\":1.5," QUESTION "}",                             400, "n",                            NULL               },
        {"{\"model\":\"duet\",\"max_tokens\":-1," QUESTION "}",                     400, "max_tokens",                   NULL               },
        {"{\"model\":\"duet\",\"reasoning\":{\"maxtokens\":1}," QUESTION "}",       400, "reasoning.maxtokens",          "unknown_parameter"},
        {"{\"model\":\"duet\",\"reasoning\":3," QUESTION "}",                       400, NULL,                           NULL               },
        {"{\"model\":\"duet@5\",\"thinking_budget\":6," QUESTION "}",               400, "model",                        NULL               },
        {"{\"model\":\"duet-m\",\"thinking_budget\":6," QUESTION "}",               400, "thinking_budget",              NULL               },
        {"{\"model\":\"duet-M\",\"thinking_budget\":6," QUESTION "}",               400, "thinking_budget",              NULL               },
        {"{\"model\":\"duet\",\"chat_template_kwargs\":{\"x\":1}," QUESTION "}",    400, "chat_template_kwargs.x",       "unknown_parameter"},
        {"{\"model\":\"duet\",\"tools\":[{}]," QUESTION "}",                        400, "tools",                        NULL               },
        {"{\"model\":\"duet\",\"stream_options\":{\"include_usage\":true}," QUESTION "}", 400, "stream_options",         NULL               },
        {"[1]",                                                                     400, NULL,                           "invalid_json"     },
        {"{\"model\":",                                                             400, NULL,                           "invalid_json"     },
        {"",                                                                        400, NULL,                           "invalid_json"     },
        {"{\"model\":\"duet\",\"model\":\"duet\"}",                                 400, NULL,                           "invalid_json"     },
        {"{\"model\":\"\xff\"}",                                                    400, NULL,                           "invalid_json"     },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        reply r = ask(s.port, "POST", CHAT, NULL, cases[i].body);
        json_t *j = reply_json(&r), *e = json_object_get(j, "error");
        const char *param = json_string_value(json_object_get(e, "param")), *code = json_string_value(json_object_get(e, "code"));
        const char *message = json_string_value(json_object_get(e, "message"));
        if (r.status != cases[i].status || !message || json_object_size(e) != 4 || !param != !cases[i].param ||
            (param && strcmp(param, cases[i].param) != 0) || !code != !cases[i].code || (code && strcmp(code, cases[i].code) != 0))
            fail_msg("%s: %d %s", cases[i].body, r.status, r.body.data);
        assert_string_equal(json_string_value(json_object_get(e, "type")), "invalid_request_error");
        json_decref(j);
        reply_clear(&r);
    }
    assert_int_equal(s.M.calls, 0);
}

static void test_deep_json_is_refused(void **state) {
    (void)state;
    enum { DEEP = 100000 };
    char *body = malloc(DEEP + 1);
    memset(body, '[', DEEP);
    body[DEEP] = 0;
    reply r = ask(s.port, "POST", CHAT, NULL, body);
    assert_int_equal(r.status, 400);
    reply_clear(&r);
    free(body);
}

static void test_other_paths_and_methods(void **state) {
    (void)state;
    static const struct {
        const char *method, *path, *extra, *body;
        int status;
    } cases[] = {
        {"GET",     "/health",    NULL,                                NULL, 200},
        {"HEAD",    "/health",    NULL,                                NULL, 200},
        {"GET",     "/health?x",  NULL,                                NULL, 200},
        {"GET",     "/v1/models", NULL,                                NULL, 200},
        {"GET",     "/nothing",   NULL,                                NULL, 404},
        {"POST",    "/nothing",   NULL,                                "{}", 404},
        {"GET",     CHAT,         NULL,                                NULL, 405},
        {"POST",    "/health",    NULL,                                "{}", 405},
        {"OPTIONS", CHAT,         "Origin: https://other.example\r\n", NULL, 405},
        {"POST",    CHAT,         "Content-Type: text/plain\r\n",      NULL, 415},
        {"POST",    CHAT,         NULL,                                NULL, 415},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        reply r = ask(s.port, cases[i].method, cases[i].path, cases[i].extra, cases[i].body);
        if (r.status != cases[i].status || !r.whole)
            fail_msg("%s %s: %d", cases[i].method, cases[i].path, r.status);
        assert_null(reply_header(&r, "Access-Control-Allow-Origin"));
        if (r.status == 405)
            assert_non_null(reply_header(&r, "Allow"));
        reply_clear(&r);
    }
}

static void test_models_that_fail(void **state) {
    (void)state;
    const char *text = s.m.reply;
    s.m.reply = NULL;
    reply r = ask(s.port, "POST", CHAT, NULL, "{\"model\":\"duet\"," QUESTION "}");
    assert_int_equal(r.status, 502);
    reply_clear(&r);
    dt_backend_limit(s.m.b, 16);
    r = ask(s.port, "POST", CHAT, NULL, "{\"model\":\"duet-m\",\"messages\":[{\"role\":\"user\",\"content\":\"a very long question that has many tokens\"}]}");
    assert_int_equal(r.status, 400);
    assert_non_null(strstr(r.body.data, "context_length_exceeded"));
    reply_clear(&r);
    s.m.reply = text;
}

static void test_keys_and_origins(void **state) {
    (void)state;
    static const char *const keys[] = {"first", "second"};
    duet_serve_options o = {0};
    stage_close(&s);
    stage_open(&s, NULL); /* for its defaults */
    o = duet_serve_defaults(s.pair);
    stage_close(&s);
    o.api_keys = keys;
    o.n_api_keys = 2;
    o.cors_origin = "https://page.example";
    stage_open(&s, &o);
    static const struct {
        const char *path, *extra;
        int status;
    } cases[] = {
        {"/health",    NULL,                                   200},
        {"/v1/models", NULL,                                   401},
        {"/v1/models", "Authorization: Bearer third\r\n",      401},
        {"/v1/models", "Authorization: Bearer firs\r\n",       401},
        {"/v1/models", "Authorization: Basic first\r\n",       401},
        {"/v1/models", "Authorization: Bearer first\r\n",      200},
        {"/v1/models", "authorization: bearer second\r\n",     200},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        reply r = ask(s.port, "GET", cases[i].path, cases[i].extra, NULL);
        if (r.status != cases[i].status)
            fail_msg("%s %s: %d", cases[i].path, cases[i].extra ? cases[i].extra : "", r.status);
        reply_clear(&r);
    }
    reply r = ask(s.port, "OPTIONS", CHAT, "Origin: https://page.example\r\n", NULL);
    assert_int_equal(r.status, 204);
    assert_string_equal(reply_header(&r, "Access-Control-Allow-Origin"), "https://page.example");
    reply_clear(&r);
    r = ask(s.port, "OPTIONS", CHAT, "Origin: https://other.example\r\n", NULL);
    assert_int_equal(r.status, 405);
    assert_null(reply_header(&r, "Access-Control-Allow-Origin"));
    reply_clear(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_whole_answer, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_a_stream_says_the_same, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_budgets_are_exact, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_is_named, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_deep_json_is_refused, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_other_paths_and_methods, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_models_that_fail, open_default, close_it),
        cmocka_unit_test_setup_teardown(test_keys_and_origins, open_default, close_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

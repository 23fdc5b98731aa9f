/* A model behind a server: every way a server can answer, and every way it can fail. */
#include "backend/fake_openai.h"
#include "backend/remote.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONE_MODEL "{\"data\":[{\"id\":\"m\"}]}"

typedef void (*reply_fn)(void *user, fake_conn *c, const fake_request *r);

typedef struct scene {
    fake_server *server;
    duet_backend *b;
    duet_err err;
} scene;

static void begin_as(scene *s, reply_fn reply, void *user, const char *models, const char *more,
                     const duet_backend_options *o) {
    *s = (scene){0};
    s->server = fake_start(&(fake_options){.reply = reply, .user = user, .models = models});
    assert_non_null(s->server);
    if (duet_backend_open(fake_address(s->server, more), o, &s->b, &s->err))
        fail_msg("%s", s->err.text);
    ((dt_remote *)s->b)->step_s = 0.05;
}

static void begin(scene *s, reply_fn reply, void *user) {
    begin_as(s, reply, user, ONE_MODEL, "#m", &(duet_backend_options){.remote = {.tries = 3}});
}

static void end(scene *s) {
    duet_backend_close(s->b);
    fake_stop(s->server);
}

static const duet_message question[1] = {{"user", "how many", 8}};

static duet_ask plain(void) {
    return (duet_ask){.turns = question, .n_turns = 1, .max_tokens = 100, .sampling = {.temperature = -1}};
}

static duet_status ask(scene *s, duet_ask *a) {
    s->err.text[0] = 0;
    return duet_backend_ask(s->b, a, 1, NULL, &s->err);
}

/* ---- thoughts ---- */

static void test_thought_and_answer_come_apart(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        bool opened;
        const char *thought, *answer;
        bool closed;
    } cases[] = {
        {"marks",               "<think>\na b\n</think>\n\n42", false, "\na b\n",   "\n\n42",         true },
        {"blank before",        "\n <think>a</think>42",        false, "a",         "42",             true },
        {"no marks",            "a < b, a <thin line",          false, "",          "a < b, a <thin line", false},
        {"not at the start",    "x <think>a</think> y",         false, "x <think>a", " y",            true },
        {"closing alone",       "a b</think>42",                false, "a b",       "42",             true },
        {"opened by the prompt", "a b</think>42",               true,  "a b",       "42",             true },
        {"never closed",        "<think>a b",                   false, "a b",       "",               false},
        {"half a mark at the end", "<think>a b</thin",          false, "a b</thin", "",               false},
        {"half a mark alone",   "<thin",                        false, "",          "<thin",          false},
        {"second pair is text", "<think>a</think>b<think>c</think>", false, "a",    "b<think>c</think>", true},
        {"other marks",         "[THINK]a</think>b[/THINK]c",   false, "a</think>b", "c",             true },
        {"gemma's",             "<thought>a</thought>c",        false, "a",         "c",              true },
        {"empty",               "<think></think>c",             false, "",          "c",              true },
        {"nothing",             "",                             false, "",          "",               false},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++)
        for (size_t size = 1; size <= 12; size++) {
            const size_t n = strlen(cases[i].text);
            dt_think t;
            dt_think_init(&t, cases[i].opened, 1000);
            for (size_t at = 0; at < n; at += size)
                dt_think_say(&t, cases[i].text + at, n - at < size ? n - at : size);
            dt_think_end(&t);
            dt_buf_adds(&t.thought, "");
            dt_buf_adds(&t.answer, "");
            if (strcmp(t.thought.data, cases[i].thought) || strcmp(t.answer.data, cases[i].answer) || t.closed != cases[i].closed)
                fail_msg("%s, pieces of %zu: thought \"%s\", answer \"%s\", closed %d", cases[i].name, size, t.thought.data,
                         t.answer.data, t.closed);
            dt_think_clear(&t);
        }
}

/* ---- events ---- */

static int gather(void *user, const char *data, size_t n) {
    dt_buf *b = user;
    dt_buf_add(b, data, n);
    dt_buf_adds(b, "|");
    return n == 4 && !memcmp(data, "STOP", 4);
}

static void test_events_in_any_pieces(void **state) {
    (void)state;
    static const char text[] = "\xef\xbb\xbf: hello\ndata: one\n\nevent: x\nid: 3\ndata:two\r\ndata: more\r\n\r\ndata\n\n"
                               "database: no\n\ndata:  three\r\rretry: 5\n\ndata: cut";
    for (size_t size = 1; size < sizeof text; size++) {
        dt_sse s = {0};
        dt_buf got = {0};
        for (size_t at = 0; at < sizeof text - 1; at += size)
            assert_int_equal(dt_sse_push(&s, text + at, sizeof text - 1 - at < size ? sizeof text - 1 - at : size, gather, &got, NULL), DUET_OK);
        assert_string_equal(got.data, "one|two\nmore|| three|");
        dt_buf_clear(&got);
        dt_sse_clear(&s);
    }
    dt_sse s = {0};
    dt_buf got = {0};
    static const char stop[] = "data: a\n\ndata: STOP\n\ndata: b\n\n";
    assert_int_equal(dt_sse_push(&s, stop, sizeof stop - 1, gather, &got, NULL), DUET_END);
    assert_string_equal(got.data, "a|STOP|");
    dt_buf_clear(&got);
    dt_sse_clear(&s);
}

/* ---- addresses ---- */

static void test_addresses(void **state) {
    (void)state;
    static const struct {
        const char *text, *base, *model; /* base NULL = refused */
        bool loopback;
    } cases[] = {
        {"https://host/v1#model",          "https://host/v1",          "model",      false},
        {"https://host/v1/#a/b#c",         "https://host/v1",          "a/b#c",      false},
        {"http://127.0.0.1:8080/v1",       "http://127.0.0.1:8080/v1", NULL,         true },
        {"HTTP://localhost",               "HTTP://localhost",         NULL,         true },
        {"http://[::1]:8/v1#m",            "http://[::1]:8/v1",        "m",          true },
        {"https://host/v1#",               "https://host/v1",          NULL,         false},
        {"http://localhost.example.org/",  "http://localhost.example.org", NULL,     false},
        {"https://user:secret@host/v1",    NULL,                       NULL,         false},
        {"https://host/v1?key=secret#m",   NULL,                       NULL,         false},
        {"https://",                       NULL,                       NULL,         false},
        {"http://ho st/v1",                NULL,                       NULL,         false},
        {"http://host/v1#a\nb",            NULL,                       NULL,         false},
        {"http://host:99999/v1",           NULL,                       NULL,         false},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_remote_address a;
        duet_err err = {{0}};
        const duet_status st = dt_remote_address_parse(cases[i].text, &a, &err);
        if ((st == DUET_OK) != (cases[i].base != NULL))
            fail_msg("%s: status %d, %s", cases[i].text, (int)st, err.text);
        if (st) {
            assert_int_equal(st, DUET_E_USAGE);
            assert_null(strstr(err.text, "secret@"));
            continue;
        }
        assert_string_equal(a.base, cases[i].base);
        assert_int_equal(a.loopback, cases[i].loopback);
        if (cases[i].model)
            assert_string_equal(a.model, cases[i].model);
        else
            assert_null(a.model);
        dt_remote_address_clear(&a);
    }
    assert_false(duet_backend_is_address("models/http"));
    assert_true(duet_backend_is_address("HTTPS://x"));
}

/* ---- at the start ---- */

static void serve_models(void *user, fake_conn *c, const fake_request *r) {
    const char *const *how = user; /* status, type, head, body */
    (void)r;
    fake_answer(c, atoi(how[0]), how[1], how[2], how[3]);
}

static void test_what_is_wrong_is_said_at_the_start(void **state) {
    (void)state;
    static const struct {
        const char *how[4], *more, *key, *fields, *template;
        duet_status st;
        const char *words; /* NULL = it opens */
    } cases[] = {
        {{"200", "application/json", NULL, "{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}]}"}, "#c", NULL, NULL, NULL, DUET_E_BACKEND, "there is no model c there; its models: a, b"},
        {{"200", "application/json", NULL, "{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}]}"}, "", NULL, NULL, NULL, DUET_E_USAGE, "which model? Put #NAME behind the address; its models: a, b"},
        {{"200", "application/json", NULL, "{\"data\":[{\"id\":\"a\"}]}"}, "", NULL, NULL, NULL, DUET_OK, NULL},
        {{"200", "application/json", NULL, "{\"data\":[{\"id\":\"models/a\"},{\"id\":\"b:latest\"}]}"}, "#b", NULL, NULL, NULL, DUET_OK, NULL},
        {{"200", "application/json", NULL, "{\"data\":[{\"id\":\"models/a\"},{\"id\":\"b:latest\"}]}"}, "#a", NULL, NULL, NULL, DUET_OK, NULL},
        {{"200", "application/json", NULL, "{\"data\":[]}"}, "#x", NULL, NULL, NULL, DUET_OK, NULL},
        {{"200", "application/json", NULL, "{\"data\":[{\"id\":7},3,null]}"}, "#x", NULL, NULL, NULL, DUET_OK, NULL},
        {{"404", "text/html", NULL, "<html>no</html>"}, "#x", NULL, NULL, NULL, DUET_OK, NULL},
        {{"404", "text/html", NULL, "<html>no</html>"}, "", NULL, NULL, NULL, DUET_E_USAGE, "which model?"},
        {{"200", "text/html", NULL, "<html>no</html>"}, "", NULL, NULL, NULL, DUET_E_USAGE, "which model?"},
        {{"401", "application/json", NULL, "{\"error\":{\"message\":\"no key\\nat all\"}}"}, "#x", NULL, NULL, NULL, DUET_E_BACKEND, "wants a key; --key-env names the variable that holds it (HTTP 401: no key at all)"},
        {{"403", "application/json", NULL, "{\"detail\":\"not you\"}"}, "#x", "k", NULL, NULL, DUET_E_BACKEND, "refuses the key (HTTP 403: not you)"},
        {{"302", "text/plain", "Location: http://other/v1/models\r\n", ""}, "#x", NULL, NULL, NULL, DUET_E_BACKEND, "sends on to http://other/v1/models (HTTP 302)"},
        {{"200", "application/json", NULL, "{}"}, "#x", "a b", NULL, NULL, DUET_E_USAGE, "the key has a blank"},
        {{"200", "application/json", NULL, "{}"}, "#x", NULL, "[1]", NULL, DUET_E_USAGE, "not a JSON object"},
        {{"200", "application/json", NULL, "{}"}, "#x", NULL, "{\"stream\":false}", NULL, DUET_E_USAGE, "stream is not to be set there"},
        {{"200", "application/json", NULL, "{}"}, "#x", NULL, NULL, "nonsense", DUET_E_USAGE, "no chat template is called nonsense"},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_err err = {{0}};
        duet_backend *b = NULL;
        const char *how[4];
        memcpy(how, cases[i].how, sizeof how);
        fake_server *s = fake_start(&(fake_options){.reply = serve_models, .user = how});
        const duet_backend_options o = {.chat_template = cases[i].template, .remote = {.key = cases[i].key, .fields = cases[i].fields}};
        const duet_status st = duet_backend_open(fake_address(s, cases[i].more), &o, &b, &err);
        if (st != cases[i].st || (st && !strstr(err.text, cases[i].words)))
            fail_msg("case %zu: status %d: %s", i, (int)st, err.text);
        assert_true(!st == (b != NULL));
        duet_backend_close(b);
        fake_stop(s);
    }
    duet_err err = {{0}};
    duet_backend *b = NULL;
    fake_server *s = fake_start(&(fake_options){.reply = serve_models});
    char address[64];
    snprintf(address, sizeof address, "%s", fake_address(s, "#m"));
    fake_stop(s); /* nobody listens there now */
    assert_int_equal(duet_backend_open(address, NULL, &b, &err), DUET_E_BACKEND);
    assert_non_null(strstr(err.text, "no server answers there"));
}

/* ---- failures ---- */

static void whole(fake_conn *c, const char *text) {
    fake_begin_stream(c);
    fake_pieces(c, "content", text, 4);
    fake_finish(c, "stop");
    fake_usage(c, 11, 3);
    fake_end_stream(c);
}

enum {
    HTML,
    PLAIN_JSON,
    REDIRECT,
    EMPTY,
    NOT_JSON,
    HALF_A_CHARACTER,
    LONE_SURROGATE,
    NUMBER_FOR_TEXT,
    CUT,
    CUT_IN_EVENT,
    NO_END_MARK,
    OWN_ERROR,
    LONG_LINE,
    LONG_EVENT,
    WRONG_MODEL,
    WRONG_KEY,
    BAD_REQUEST,
    TOO_LONG,
    ALWAYS_BUSY,
    COME_BACK_LATE,
    HUGE_PAGE,
    NULLS,
    DONE_ALONE,
    N_WAYS
};

static void flood(fake_conn *c, const char *head, const char *piece) {
    fake_text(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n%s", head);
    for (int i = 0; i < 100000 && fake_send(c, piece, strlen(piece)); i++)
        ;
    fake_cut(c);
}

static void fail_so(void *user, fake_conn *c, const fake_request *r) {
    static const char line[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    char event[700];
    (void)r;
    switch (*(int *)user) {
    case HTML: fake_answer(c, 200, "text/html; charset=utf-8", NULL, "<html><body>Sign in</body></html>"); return;
    case PLAIN_JSON: fake_answer(c, 200, "application/json", NULL, "{\"choices\":[{\"message\":{\"content\":\"hi\"}}]}"); return;
    case REDIRECT: fake_answer(c, 307, "text/plain", "Location: https://elsewhere/v1\r\n", ""); return;
    case EMPTY: fake_answer(c, 200, "text/event-stream", NULL, ""); return;
    case NOT_JSON: fake_begin_stream(c); fake_piece(c, "content", "ab"); fake_event(c, "<oops>\x01 really"); return;
    case HALF_A_CHARACTER: fake_begin_stream(c); fake_event(c, "{\"choices\":[{\"delta\":{\"content\":\"\xe4\xbd\"}}]}"); return;
    case LONE_SURROGATE: fake_begin_stream(c); fake_event(c, "{\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}]}"); return;
    case NUMBER_FOR_TEXT: fake_begin_stream(c); fake_event(c, "{\"choices\":[{\"delta\":{\"content\":7}}]}"); return;
    case CUT: fake_begin_stream(c); fake_pieces(c, "content", "abcdef", 2); fake_cut(c); return;
    case CUT_IN_EVENT: fake_begin_stream(c); fake_piece(c, "content", "ab"); fake_text(c, "%x\r\ndata: {\"choices\":[{\"del", 500); fake_cut(c); return;
    case NO_END_MARK: fake_begin_stream(c); fake_piece(c, "content", "ab"); fake_send(c, "0\r\n\r\n", 5); return;
    case OWN_ERROR: fake_begin_stream(c); fake_piece(c, "content", "ab"); fake_event(c, "{\"error\":{\"message\":\"out of memory\",\"code\":500}}"); return;
    case LONG_LINE: flood(c, "data: ", line); return;
    case LONG_EVENT: snprintf(event, sizeof event, "data: %s\n", line); flood(c, "", event); return;
    case WRONG_MODEL: fake_answer(c, 404, "application/json", NULL, "{\"error\":{\"message\":\"The model does not exist\"}}"); return;
    case WRONG_KEY: fake_answer(c, 401, "application/json", NULL, "{\"error\":\"bad key\"}"); return;
    case BAD_REQUEST: fake_answer(c, 400, "application/json", NULL, "{\"error\":{\"message\":\"top_k is not allowed\"}}"); return;
    case TOO_LONG: fake_answer(c, 400, "application/json", NULL, "{\"message\":\"This model's maximum context length is 4096 tokens\"}"); return;
    case ALWAYS_BUSY: fake_answer(c, 503, "text/plain", "Retry-After: 0\r\n", "loading model"); return;
    case COME_BACK_LATE: fake_answer(c, 429, "text/plain", "Retry-After: 7200\r\n", "slow down"); return;
    case HUGE_PAGE:
        fake_text(c, "HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\n\r\n");
        for (int i = 0; i < 100000 && fake_send(c, line, sizeof line - 1); i++)
            ;
        fake_cut(c);
        return;
    case NULLS:
        fake_begin_stream(c);
        fake_event(c, "{\"error\":null,\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null},\"finish_reason\":null}],\"usage\":null}");
        fake_event(c, "{\"choices\":[]}");
        fake_event(c, "{\"choices\":[{\"delta\":{\"content\":\"ok\"}}]}");
        fake_finish(c, "stop");
        fake_send(c, "0\r\n\r\n", 5);
        return;
    case DONE_ALONE: fake_begin_stream(c); fake_piece(c, "content", "ok"); fake_end_stream(c); return;
    default: return;
    }
}

static void test_every_way_to_fail_is_one_sentence(void **state) {
    (void)state;
    static const struct {
        duet_status st;
        const char *words;
        int requests;
        size_t output;
    } want[N_WAYS] = {
        [HTML] = {DUET_E_BACKEND, "answered with text/html; charset=utf-8 instead of a stream of events", 1, 0},
        [PLAIN_JSON] = {DUET_E_BACKEND, "answered with application/json instead of a stream", 1, 0},
        [REDIRECT] = {DUET_E_BACKEND, "sends on to https://elsewhere/v1 (HTTP 307), which is not followed", 1, 0},
        [EMPTY] = {DUET_E_BACKEND, "broke off before it answered", 2, 0},
        [NOT_JSON] = {DUET_E_FORMAT, "an event that is no JSON object: <oops> really", 1, 1},
        [HALF_A_CHARACTER] = {DUET_E_FORMAT, "an event that is no JSON object", 1, 0},
        [LONE_SURROGATE] = {DUET_E_FORMAT, "an event that is no JSON object", 1, 0},
        [NUMBER_FOR_TEXT] = {DUET_E_FORMAT, "a content that is no string", 1, 0},
        [CUT] = {DUET_E_BACKEND, "broke off after about 3 tokens, before the end", 1, 3},
        [CUT_IN_EVENT] = {DUET_E_BACKEND, "broke off after about 1 tokens", 1, 1},
        [NO_END_MARK] = {DUET_E_BACKEND, "broke off after about 1 tokens", 1, 1},
        [OWN_ERROR] = {DUET_E_BACKEND, "out of memory", 1, 1},
        [LONG_LINE] = {DUET_E_FORMAT, "a line of its stream is longer than 1048576 bytes", 1, 0},
        [LONG_EVENT] = {DUET_E_FORMAT, "an event of its stream is longer than 1048576 bytes", 1, 0},
        [WRONG_MODEL] = {DUET_E_BACKEND, "not found there: model m or the path (HTTP 404: The model does not exist); its models: m", 1, 0},
        [WRONG_KEY] = {DUET_E_BACKEND, "wants a key; --key-env names the variable that holds it (HTTP 401: bad key)", 1, 0},
        [BAD_REQUEST] = {DUET_E_UNSUPPORTED, "refuses the request (HTTP 400: top_k is not allowed)", 1, 0},
        [TOO_LONG] = {DUET_E_RANGE, "too long for the model (HTTP 400: This model's maximum context length is 4096 tokens)", 1, 0},
        [ALWAYS_BUSY] = {DUET_E_BACKEND, "too busy (HTTP 503: loading model), after 2 tries", 2, 0},
        [COME_BACK_LATE] = {DUET_E_BACKEND, "asks to come back in 7200 s (HTTP 429)", 1, 0},
        [HUGE_PAGE] = {DUET_E_BACKEND, "the server failed (HTTP 500: aaaa", 2, 0},
        [NULLS] = {DUET_OK, "", 1, 1},
        [DONE_ALONE] = {DUET_OK, "", 1, 1},
    };
    for (int way = 0; way < N_WAYS; way++) {
        scene s;
        begin_as(&s, fail_so, &way, ONE_MODEL, "#m", &(duet_backend_options){.remote = {.tries = 2}});
        duet_ask a = plain();
        const duet_status st = ask(&s, &a);
        if (st != want[way].st || !strstr(s.err.text, want[way].words) || fake_requests(s.server) != want[way].requests ||
            a.usage.output_tokens != want[way].output)
            fail_msg("way %d: status %d, %d requests, %zu tokens: %s", way, (int)st, fake_requests(s.server), a.usage.output_tokens,
                     s.err.text);
        if (st)
            assert_non_null(strstr(s.err.text, "http://127.0.0.1:"));
        assert_null(strchr(s.err.text, '\n'));
        assert_true(a.estimated == (want[way].output > 0));
        duet_ask_clear(&a);
        end(&s);
    }
}

/* ---- tries ---- */

static void busy_twice(void *user, fake_conn *c, const fake_request *r) {
    double *at = user;
    at[r->nth] = dt_now();
    if (r->nth == 0)
        fake_answer(c, 429, "application/json", "Retry-After: 1\r\n", "{}");
    else if (r->nth == 1)
        fake_answer(c, 500, "text/plain", NULL, "oops");
    else
        whole(c, "four");
}

static void test_a_busy_server_is_asked_again_when_it_says(void **state) {
    (void)state;
    double at[3] = {0};
    scene s;
    begin(&s, busy_twice, at);
    duet_ask a = plain();
    if (ask(&s, &a))
        fail_msg("%s", s.err.text);
    assert_string_equal(a.answer, "four");
    assert_true(at[1] - at[0] >= 0.99 && at[1] - at[0] < 1.9);
    assert_true(at[2] - at[1] >= 0.07 && at[2] - at[1] < 0.7); /* our own step, doubled, give or take a quarter */
    assert_int_equal(a.usage.output_tokens, 3);
    assert_int_equal(a.usage.prompt_tokens, 11);
    assert_true(a.usage.queue_s > 1 && a.usage.prefill_s < 1);
    assert_false(a.estimated);
    duet_ask_clear(&a);
    end(&s);
}

/* ---- limits in time ---- */

typedef struct slow {
    double before, between;
} slow;

static void be_slow(void *user, fake_conn *c, const fake_request *r) {
    const slow *s = user;
    (void)r;
    if (s->before > 0 && !fake_sleep(c, s->before))
        return;
    fake_begin_stream(c);
    for (int i = 0; i < 100 && fake_piece(c, "content", "a") && fake_sleep(c, s->between); i++)
        ;
}

static void test_limits_in_time(void **state) {
    (void)state;
    static const struct {
        slow how;
        duet_remote_options o;
        const char *words;
    } cases[] = {
        {{9, 0},    {.first_s = 0.2}, "no answer began within 0.2 s"},
        {{0, 9},    {.idle_s = 0.2},  "fell silent for 0.2 s after about 1 tokens"},
        {{0, 0.05}, {.total_s = 0.3}, "no whole answer within 0.3 s"},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        scene s;
        slow how = cases[i].how;
        begin_as(&s, be_slow, &how, ONE_MODEL, "#m", &(duet_backend_options){.remote = cases[i].o});
        duet_ask a = plain();
        const double before = dt_now();
        assert_int_equal(ask(&s, &a), DUET_E_BACKEND);
        assert_true(dt_now() - before < 2);
        if (!strstr(s.err.text, cases[i].words))
            fail_msg("%s", s.err.text);
        assert_int_equal(fake_requests(s.server), 1); /* it may have been paid for: not again */
        duet_ask_clear(&a);
        end(&s);
    }
}

/* ---- cancelling ---- */

typedef struct later {
    volatile int flag;
    double at;
} later;

static void *cancel_later(void *arg) {
    later *l = arg;
    usleep(300000);
    l->at = dt_now();
    __atomic_store_n(&l->flag, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void test_cancelled_within_a_second_in_every_phase(void **state) {
    (void)state;
    static const slow hows[] = {{30, 0}, {0, 30}, {0, 0.01}};
    for (size_t i = 0; i < DT_COUNT(hows) + 1; i++) {
        scene s;
        slow how = hows[i % DT_COUNT(hows)];
        int busy = ALWAYS_BUSY;
        later l = {0};
        pthread_t t;
        const bool waits = i == DT_COUNT(hows); /* between two tries */
        begin_as(&s, waits ? fail_so : be_slow, waits ? (void *)&busy : (void *)&how, ONE_MODEL, "#m",
                 &(duet_backend_options){.remote = {.tries = 100}});
        duet_ask a = plain();
        pthread_create(&t, NULL, cancel_later, &l);
        assert_int_equal(duet_backend_ask(s.b, &a, 1, &l.flag, &s.err), DUET_E_CANCELLED);
        pthread_join(t, NULL);
        assert_true(dt_now() - l.at < 1);
        assert_int_equal(a.stop, DUET_STOP_CANCELLED);
        assert_true((a.n_answer > 0) == (how.before == 0 && !waits));
        for (int k = 0; !waits && k < 100 && !fake_gone(s.server); k++)
            usleep(10000);
        assert_true(waits || fake_gone(s.server)); /* and the server sees it */
        duet_ask_clear(&a);
        end(&s);
    }
}

static void sleeps(void *user, fake_conn *c, const fake_request *r) {
    (void)user;
    (void)r;
    fake_sleep(c, 30);
}

static void test_cancelled_while_it_opens(void **state) {
    (void)state;
    later l = {0};
    pthread_t t;
    duet_backend *b = NULL;
    fake_server *s = fake_start(&(fake_options){.reply = sleeps});
    pthread_create(&t, NULL, cancel_later, &l);
    assert_int_equal(duet_backend_open(fake_address(s, "#m"), &(duet_backend_options){.remote = {.cancel = &l.flag}}, &b, NULL), DUET_E_CANCELLED);
    pthread_join(t, NULL);
    assert_true(dt_now() - l.at < 1.5);
    assert_null(b);
    fake_stop(s);
}

/* ---- counts ---- */

typedef struct lie {
    const char *usage; /* JSON of the last event */
    size_t prompt, output, cached;
    bool estimated;
} lie;

static void tell_lies(void *user, fake_conn *c, const fake_request *r) {
    const lie *l = user;
    (void)r;
    fake_begin_stream(c);
    fake_pieces(c, "content", "abcdefghij", 2);
    fake_finish(c, "stop");
    fake_event(c, l->usage);
    fake_end_stream(c);
}

static void test_counts_are_believed_where_they_can_be_true(void **state) {
    (void)state;
    static lie lies[] = {
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":4}}}", 9, 6, 4, false},
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":0}}", 9, 5, SIZE_MAX, true},
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":-3}}", 6, 5, SIZE_MAX, true},
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5000000}}", 9, 5, SIZE_MAX, true},
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":\"9\",\"completion_tokens\":\"6\"}}", 6, 5, SIZE_MAX, true},
        {"{\"choices\":[],\"usage\":[]}", 6, 5, SIZE_MAX, true},
        {"{\"choices\":[],\"usage\":{\"completion_tokens\":6}}", 6, 6, SIZE_MAX, true},
        {"{\"choices\":[],\"timings\":{\"prompt_n\":3,\"cache_n\":8,\"predicted_n\":7}}", 11, 7, 8, false},
    };
    for (size_t i = 0; i < DT_COUNT(lies); i++) {
        scene s;
        begin(&s, tell_lies, &lies[i]);
        duet_ask a = plain();
        assert_int_equal(ask(&s, &a), DUET_OK);
        if (a.usage.prompt_tokens != lies[i].prompt || a.usage.output_tokens != lies[i].output || a.usage.cached_tokens != lies[i].cached ||
            a.estimated != lies[i].estimated)
            fail_msg("%s: %zu + %zu (%zu cached), estimated %d", lies[i].usage, a.usage.prompt_tokens, a.usage.output_tokens,
                     a.usage.cached_tokens, a.estimated);
        duet_ask_clear(&a);
        end(&s);
    }
}

/* A server that does not keep to its budget is cut. */
static void never_ends(void *user, fake_conn *c, const fake_request *r) {
    (void)user;
    (void)r;
    fake_begin_stream(c);
    for (int i = 0; i < 100000 && fake_piece(c, "content", "ab") && fake_sleep(c, 0.001); i++)
        ;
}

static void test_a_budget_is_kept_for_the_server(void **state) {
    (void)state;
    scene s;
    begin(&s, never_ends, NULL);
    duet_ask a = plain();
    a.max_tokens = 7;
    assert_int_equal(ask(&s, &a), DUET_OK);
    assert_int_equal(a.stop, DUET_STOP_LENGTH);
    assert_string_equal(a.answer, "ababababababab");
    assert_in_range(a.usage.output_tokens, 7, 8);
    assert_true(a.estimated);
    duet_ask_clear(&a);
    a = plain();
    a.max_tokens = 0;
    assert_int_equal(ask(&s, &a), DUET_OK);
    assert_int_equal(fake_requests(s.server), 1);
    assert_int_equal(a.usage.prompt_tokens, 0);
    duet_ask_clear(&a);
    end(&s);
}

/* ---- many ---- */

static void after_a_while(void *user, fake_conn *c, const fake_request *r) {
    (void)user;
    char text[64];
    const json_t *all = json_object_get(r->body, "messages");
    fake_sleep(c, 0.02);
    snprintf(text, sizeof text, "to %s", json_string_value(json_object_get(json_array_get(all, 0), "content")));
    whole(c, text);
}

static void test_many_at_once_on_few_connections(void **state) {
    (void)state;
    enum { N = 40 };
    scene s;
    duet_ask asks[N];
    duet_message said[N];
    char names[N][16];
    begin_as(&s, after_a_while, NULL, ONE_MODEL, "#m", &(duet_backend_options){.remote = {.parallel = 5}});
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "question %d", i);
        said[i] = (duet_message){"user", names[i], strlen(names[i])};
        asks[i] = plain();
        asks[i].turns = &said[i];
        asks[i].key = (uint64_t)i;
    }
    if (duet_backend_ask(s.b, asks, N, NULL, &s.err))
        fail_msg("%s", s.err.text);
    for (int i = 0; i < N; i++) {
        char want[32];
        snprintf(want, sizeof want, "to question %d", i);
        assert_string_equal(asks[i].answer, want);
        duet_ask_clear(&asks[i]);
    }
    assert_in_range(fake_most_at_once(s.server), 2, 5);
    assert_in_range(fake_connections(s.server), 1, 1 + 5);
    assert_int_equal(fake_requests(s.server), N);
    end(&s);
}

static void *ask_ten(void *arg) {
    scene *s = arg;
    for (int i = 0; i < 10; i++) {
        duet_err err = {{0}};
        duet_ask a = plain();
        if (duet_backend_ask(s->b, &a, 1, NULL, &err) || strcmp(a.answer, "to how many") != 0)
            return s;
        duet_ask_clear(&a);
    }
    return NULL;
}

static void test_many_threads_ask_one_backend(void **state) {
    (void)state;
    enum { N = 8 };
    pthread_t t[N];
    scene s;
    begin_as(&s, after_a_while, NULL, ONE_MODEL, "#m", &(duet_backend_options){.remote = {.parallel = 3}});
    for (int i = 0; i < N; i++)
        pthread_create(&t[i], NULL, ask_ten, &s);
    for (int i = 0; i < N; i++) {
        void *bad = NULL;
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    assert_int_equal(fake_requests(s.server), 10 * N);
    assert_in_range(fake_most_at_once(s.server), 2, 3);
    assert_in_range(fake_connections(s.server), 1, 1 + N);
    end(&s);
}

/* ---- what is sent ---- */

static void keep_request(void *user, fake_conn *c, const fake_request *r) {
    if (json_object_size(r->body) == 0) { /* the look whether the path is there */
        fake_answer(c, 400, "application/json", NULL, "{}");
        return;
    }
    json_t **to = user;
    json_decref(to[0]);
    to[0] = r->body ? json_deep_copy(r->body) : NULL;
    json_decref(to[1]);
    to[1] = json_pack("{s:s,s:s}", "path", r->path, "head", r->head);
    fake_begin_stream(c);
    fake_pieces(c, strstr(r->path, "/chat/") ? "content" : "text", "a b", 3);
    fake_finish(c, "stop");
    fake_usage(c, 1, 2);
    fake_end_stream(c);
}

static void test_what_is_sent(void **state) {
    (void)state;
    static const struct {
        const char *owner, *template, *signal;
        bool thought_only;
        const char *want; /* fields that must be there with these values; null = must not be there */
    } cases[] = {
        {"them", NULL, NULL, false, "{\"model\":\"m\",\"stream\":true,\"max_tokens\":100,\"temperature\":0.5,\"top_p\":0.9,\"top_k\":20,\"min_p\":null,"
                                    "\"chat_template_kwargs\":null,\"stream_options\":{\"include_usage\":true},\"prompt\":null,\"user\":\"me\","
                                    "\"messages\":[{\"role\":\"user\",\"content\":\"how many\"}]}"},
        {"them", NULL, "s", false, "{\"chat_template_kwargs\":null,\"messages\":[{\"role\":\"user\",\"content\":\"how many\\n\\nA high-level strategy:\\ns\\n\\nWrite the solution.\"}]}"},
        {"vllm", NULL, "", false, "{\"chat_template_kwargs\":{\"enable_thinking\":false},\"messages\":[{\"role\":\"user\",\"content\":\"how many\"}],"
                                  "\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}}"},
        {"vllm", NULL, NULL, true, "{\"chat_template_kwargs\":null,\"stop\":null}"},
        {"llamacpp", NULL, NULL, true, "{\"timings_per_token\":true}"},
        {"openai", NULL, NULL, false, "{\"max_tokens\":null,\"max_completion_tokens\":100}"},
        {"them", "qwen3", NULL, true, "{\"messages\":null,\"stop\":[\"</think>\"],\"max_tokens\":100,\"prompt\":\"<|im_start|>user\\nhow many<|im_end|>\\n<|im_start|>assistant\\n\"}"},
        {"them", "qwen3", NULL, false, "{\"stop\":null}"},
        {"them", "qwen3", "s", false, "{\"prompt\":\"<|im_start|>user\\nhow many<|im_end|>\\n<|im_start|>assistant\\n<think>\\ns\\n</think>\\n\\n\"}"},
        {"them", "qwen3", "", false, "{\"prompt\":\"<|im_start|>user\\nhow many<|im_end|>\\n<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n\"}"},
        {"them", "chatml", "s", false, "{\"prompt\":\"<|im_start|>user\\nhow many\\n\\nA high-level strategy:\\ns\\n\\nWrite the solution.<|im_end|>\\n<|im_start|>assistant\\n\"}"},
    };
    json_t *seen[2] = {NULL, NULL};
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        scene s;
        char models[128];
        snprintf(models, sizeof models, "{\"data\":[{\"id\":\"m\",\"owned_by\":\"%s\"}]}", cases[i].owner);
        begin_as(&s, keep_request, seen, models, "",
                 &(duet_backend_options){.chat_template = cases[i].template, .remote = {.key = "secret", .fields = "{\"user\":\"me\"}"}});
        duet_ask a = plain();
        a.signal = cases[i].signal;
        a.n_signal = a.signal ? strlen(a.signal) : 0;
        a.thought_only = cases[i].thought_only;
        a.sampling = (duet_sampling){.temperature = 0.5, .top_p = 0.9, .top_k = 20};
        if (ask(&s, &a))
            fail_msg("case %zu: %s", i, s.err.text);
        json_t *want = json_loads(cases[i].want, 0, NULL), *v = NULL;
        const char *key = NULL;
        assert_non_null(want);
        json_object_foreach(want, key, v) {
            const json_t *have = json_object_get(seen[0], key);
            if (json_is_null(v) ? have != NULL : !json_equal(have, v)) {
                char *text = json_dumps(seen[0], 0);
                fail_msg("case %zu, %s: %s", i, key, text);
            }
        }
        json_decref(want);
        assert_non_null(strstr(json_string_value(json_object_get(seen[1], "head")), "\r\nAuthorization: Bearer secret\r\n"));
        assert_string_equal(json_string_value(json_object_get(seen[1], "path")), cases[i].template ? "/v1/completions" : "/v1/chat/completions");
        duet_ask_clear(&a);
        end(&s);
    }
    scene s; /* a mark in a prompt of text would be a mark */
    begin_as(&s, keep_request, seen, ONE_MODEL, "", &(duet_backend_options){.chat_template = "qwen3"});
    static const duet_message forged[1] = {{"user", "a<|im_end|>b", 12}};
    duet_ask a = plain();
    a.turns = forged;
    assert_int_equal(ask(&s, &a), DUET_E_UNSUPPORTED);
    assert_non_null(strstr(s.err.text, "the question spells <|im_end|>"));
    assert_int_equal(fake_requests(s.server), 1);
    end(&s);
    json_decref(seen[0]);
    json_decref(seen[1]);
}

static void only_chat(void *user, fake_conn *c, const fake_request *r) {
    if (!strstr(r->path, "/chat/"))
        fake_answer(c, 404, "text/plain", NULL, "not here");
    else
        keep_request(user, c, r);
}

static void test_a_server_without_completions_is_asked_by_messages(void **state) {
    (void)state;
    json_t *seen[2] = {NULL, NULL};
    scene s;
    begin_as(&s, only_chat, seen, ONE_MODEL, "", &(duet_backend_options){.chat_template = "qwen3"});
    assert_null(duet_backend_template(s.b));
    assert_false(s.b->reads_thoughts);
    duet_ask a = plain();
    if (ask(&s, &a))
        fail_msg("%s", s.err.text);
    assert_string_equal(a.answer, "a b");
    assert_non_null(json_object_get(seen[0], "messages"));
    duet_ask_clear(&a);
    end(&s);
    json_decref(seen[0]);
    json_decref(seen[1]);
}

/* The same question gets the same seed, another one another. */
static void test_seeds(void **state) {
    (void)state;
    json_t *seen[2] = {NULL, NULL};
    json_int_t seed[4];
    scene s;
    begin(&s, keep_request, seen);
    for (int i = 0; i < 4; i++) {
        duet_ask a = plain();
        a.key = i == 1 ? 7 : 6;
        a.sampling.seed = i == 2 ? 1 : 0;
        assert_int_equal(ask(&s, &a), DUET_OK);
        seed[i] = json_integer_value(json_object_get(seen[0], "seed"));
        assert_true(seed[i] >= 0 && seed[i] <= 0x7fffffff);
        duet_ask_clear(&a);
    }
    assert_true(seed[0] == seed[3] && seed[0] != seed[1] && seed[0] != seed[2]);
    end(&s);
    json_decref(seen[0]);
    json_decref(seen[1]);
}

/* ---- a model of ours is not asked in words, nor a remote one in ids ---- */

static void test_the_other_way_to_ask_is_refused(void **state) {
    (void)state;
    json_t *seen[2] = {NULL, NULL};
    scene s;
    begin(&s, keep_request, seen);
    duet_gen_request r = {0};
    assert_int_equal(duet_backend_generate(s.b, &r, 1, NULL, &s.err), DUET_E_UNSUPPORTED);
    assert_null(duet_backend_tokenizer(s.b));
    assert_true(duet_backend_sampling(s.b).temperature < 0);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thought_and_answer_come_apart),
        cmocka_unit_test(test_events_in_any_pieces),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_what_is_wrong_is_said_at_the_start),
        cmocka_unit_test(test_every_way_to_fail_is_one_sentence),
        cmocka_unit_test(test_a_busy_server_is_asked_again_when_it_says),
        cmocka_unit_test(test_limits_in_time),
        cmocka_unit_test(test_cancelled_within_a_second_in_every_phase),
        cmocka_unit_test(test_cancelled_while_it_opens),
        cmocka_unit_test(test_counts_are_believed_where_they_can_be_true),
        cmocka_unit_test(test_a_budget_is_kept_for_the_server),
        cmocka_unit_test(test_many_at_once_on_few_connections),
        cmocka_unit_test(test_many_threads_ask_one_backend),
        cmocka_unit_test(test_what_is_sent),
        cmocka_unit_test(test_a_server_without_completions_is_asked_by_messages),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_the_other_way_to_ask_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

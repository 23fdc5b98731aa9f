/* Bytes -> requests: the same whatever pieces they come in. */
#include "support.h"

#include "serve/http.h"

static const dt_http_limits limits = {.head = 400, .body = 60};

#define GET "GET /a%20b?x=%1 HTTP/1.1\r\nHost: h\r\n"
#define POST "POST /p HTTP/1.1\r\nHost: h\r\n"

static const struct {
    const char *name, *text;
    int status; /* 0 = a whole request, -1 = more is needed */
    const char *method, *path, *body;
    bool close;
    size_t rest; /* bytes behind it that are not its own */
} cases[] = {
    {"plain",                GET "\r\n",                                                                          0,   "GET",     "/a b", "",      false, 0},
    {"lines before",         "\r\n\r\n" GET "\r\n",                                                               0,   "GET",     "/a b", "",      false, 0},
    {"close",                GET "Connection: foo, Close\r\n\r\n",                                                0,   "GET",     "/a b", "",      true,  0},
    {"1.0",                  "GET / HTTP/1.0\r\n\r\n",                                                            0,   "GET",     "/",    "",      true,  0},
    {"1.0 kept",             "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",                                  0,   "GET",     "/",    "",      false, 0},
    {"proxy",                "GET http://x.y:8/z HTTP/1.1\r\nHost: h\r\n\r\n",                                    0,   "GET",     "/z",   "",      false, 0},
    {"proxy root",           "GET http://x.y HTTP/1.1\r\nHost: h\r\n\r\n",                                        0,   "GET",     "/",    "",      false, 0},
    {"star",                 "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",                                             0,   "OPTIONS", "*",    "",      false, 0},
    {"body",                 POST "Content-Length: 5\r\n\r\nhelloGET",                                            0,   "POST",    "/p",   "hello", false, 3},
    {"no body",              POST "Content-Length: 0\r\n\r\nX",                                                   0,   "POST",    "/p",   "",      false, 1},
    {"chunks",               POST "Transfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\nX",      0,   "POST",    "/p",   "hello", false, 1},
    {"trailers",             POST "Transfer-Encoding: chunked\r\n\r\n05\r\nhello\r\n0\r\nA: b\r\n\r\n",           0,   "POST",    "/p",   "hello", false, 0},
    {"half a head",          POST,                                                                                -1,  NULL,      NULL,   NULL,    false, 0},
    {"half a body",          POST "Content-Length: 5\r\n\r\nhell",                                                -1,  NULL,      NULL,   NULL,    false, 0},
    {"half a chunk",         POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",                                   -1,  NULL,      NULL,   NULL,    false, 0},
    {"no trailer's end",     POST "Transfer-Encoding: chunked\r\n\r\n0\r\n",                                      -1,  NULL,      NULL,   NULL,    false, 0},
    {"bare line feed",       "GET / HTTP/1.1\nHost: h\n\n",                                                       400, NULL,      NULL,   NULL,    false, 0},
    {"bare return",          "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",                                           400, NULL,      NULL,   NULL,    false, 0},
    {"folded",               GET "A: b\r\n c\r\n\r\n",                                                            400, NULL,      NULL,   NULL,    false, 0},
    {"blank before colon",   GET "A : b\r\n\r\n",                                                                 400, NULL,      NULL,   NULL,    false, 0},
    {"no colon",             GET "AB\r\n\r\n",                                                                    400, NULL,      NULL,   NULL,    false, 0},
    {"no name",              GET ": b\r\n\r\n",                                                                   400, NULL,      NULL,   NULL,    false, 0},
    {"no host",              "GET / HTTP/1.1\r\n\r\n",                                                            400, NULL,      NULL,   NULL,    false, 0},
    {"two hosts",            GET "Host: i\r\n\r\n",                                                               400, NULL,      NULL,   NULL,    false, 0},
    {"two words",            "GET /\r\n\r\n",                                                                     400, NULL,      NULL,   NULL,    false, 0},
    {"four words",           "GET / x HTTP/1.1\r\nHost: h\r\n\r\n",                                               400, NULL,      NULL,   NULL,    false, 0},
    {"no method",            " / HTTP/1.1\r\nHost: h\r\n\r\n",                                                    400, NULL,      NULL,   NULL,    false, 0},
    {"no path",              "GET x HTTP/1.1\r\nHost: h\r\n\r\n",                                                 400, NULL,      NULL,   NULL,    false, 0},
    {"broken escape",        "GET /%2 HTTP/1.1\r\nHost: h\r\n\r\n",                                               400, NULL,      NULL,   NULL,    false, 0},
    {"escaped zero",         "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n",                                              400, NULL,      NULL,   NULL,    false, 0},
    {"HTTP/2",               "PRI * HTTP/2.0\r\n\r\n",                                                            505, NULL,      NULL,   NULL,    false, 0},
    {"not HTTP",             "\x16\x03\x01\x02\r\n",                                                              400, NULL,      NULL,   NULL,    false, 0},
    {"two lengths",          POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",                              400, NULL,      NULL,   NULL,    false, 0},
    {"length and chunks",    POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",                      400, NULL,      NULL,   NULL,    false, 0},
    {"negative length",      POST "Content-Length: -1\r\n\r\n",                                                   400, NULL,      NULL,   NULL,    false, 0},
    {"signed length",        POST "Content-Length: +1\r\n\r\nx",                                                  400, NULL,      NULL,   NULL,    false, 0},
    {"huge length",          POST "Content-Length: 99999999999999999999999\r\n\r\n",                              400, NULL,      NULL,   NULL,    false, 0},
    {"long body",            POST "Content-Length: 61\r\n\r\n",                                                   413, NULL,      NULL,   NULL,    false, 0},
    {"long chunk",           POST "Transfer-Encoding: chunked\r\n\r\n3d\r\n",                                     413, NULL,      NULL,   NULL,    false, 0},
    {"long chunks",          POST "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n3c\r\n",                           413, NULL,      NULL,   NULL,    false, 0},
    {"huge chunk",           POST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",                     413, NULL,      NULL,   NULL,    false, 0},
    {"no size",              POST "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",                                    400, NULL,      NULL,   NULL,    false, 0},
    {"chunk too long",       POST "Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",                             400, NULL,      NULL,   NULL,    false, 0},
    {"chunk lines bare",     POST "Transfer-Encoding: chunked\r\n\r\n2\n",                                        400, NULL,      NULL,   NULL,    false, 0},
    {"other coding",         POST "Transfer-Encoding: gzip, chunked\r\n\r\n",                                     501, NULL,      NULL,   NULL,    false, 0},
    {"other expectation",    POST "Content-Length: 1\r\nExpect: cake\r\n\r\n",                                    417, NULL,      NULL,   NULL,    false, 0},
};

/* The text in pieces of `step` bytes; returns how many bytes were taken. */
static size_t feed(dt_http *h, const char *text, size_t n, size_t step) {
    size_t at = 0;
    while (at < n && h->state != DT_HTTP_DONE && h->state != DT_HTTP_BAD) {
        const size_t k = step < n - at ? step : n - at;
        for (size_t took = 0, more = 0; took < k; took += more, at += more) {
            more = dt_http_feed(h, text + at, k - took);
            if (h->state == DT_HTTP_DONE || h->state == DT_HTTP_BAD)
                return at + more;
            assert_true(more > 0);
        }
    }
    return at;
}

static void test_requests(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        const size_t n = strlen(cases[i].text);
        for (size_t step = 1; step <= n; step++) {
            dt_http h;
            dt_http_init(&h, &limits);
            const size_t took = feed(&h, cases[i].text, n, step);
            const int got = h.state == DT_HTTP_DONE ? 0 : h.state == DT_HTTP_BAD ? h.status : -1;
            if (got != cases[i].status)
                fail_msg("%s, pieces of %zu: %d (%s), want %d", cases[i].name, step, got, h.why ? h.why : "", cases[i].status);
            if (got > 0)
                assert_non_null(h.why);
            if (got == 0) {
                assert_string_equal(h.method, cases[i].method);
                assert_string_equal(h.path, cases[i].path);
                assert_int_equal(h.body.len, strlen(cases[i].body));
                assert_int_equal(h.body.len ? strncmp(h.body.data, cases[i].body, h.body.len) : 0, 0);
                assert_int_equal(!h.keep_alive, cases[i].close);
                assert_int_equal(n - took, cases[i].rest);
            }
            dt_http_clear(&h);
        }
    }
}

static void test_headers(void **state) {
    (void)state;
    static const char text[] = POST "a: \t x y \r\nEmpty:\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nz";
    dt_http h;
    dt_http_init(&h, &limits);
    assert_false(dt_http_begun(&h));
    const size_t head = dt_http_feed(&h, text, sizeof text - 1);
    size_t at = head;
    while (h.state == DT_HTTP_HEAD) /* a line at a time */
        at += dt_http_feed(&h, text + at, sizeof text - 1 - at);
    assert_true(dt_http_begun(&h) && dt_http_has_head(&h));
    assert_int_equal(at, sizeof text - 2); /* it stops before the body, */
    assert_true(h.expects);                /* for which the client waits */
    assert_string_equal(dt_http_header(&h, "A"), "x y");
    assert_string_equal(dt_http_header(&h, "empty"), "");
    assert_null(dt_http_header(&h, "none"));
    dt_http_feed(&h, text + at, 1);
    assert_int_equal(h.state, DT_HTTP_DONE);
    dt_http_reset(&h);
    assert_false(dt_http_begun(&h));
    assert_null(dt_http_header(&h, "a"));
    dt_http_clear(&h);
}

/* What is too long is refused before it is held. */
static void test_limits(void **state) {
    (void)state;
    static const char *const starts[] = {"GET /", GET "A: ", POST "Transfer-Encoding: chunked\r\n\r\n0\r\nA: ", POST "Transfer-Encoding: chunked\r\n\r\n0"};
    static const int want[] = {414, 431, 431, 400};
    for (size_t i = 0; i < DT_COUNT(starts); i++) {
        dt_http h;
        dt_http_init(&h, &limits);
        feed(&h, starts[i], strlen(starts[i]), 1000);
        for (int k = 0; k < 2000 && h.state != DT_HTTP_BAD; k++)
            dt_http_feed(&h, "0", 1);
        assert_int_equal(h.state, DT_HTTP_BAD);
        assert_int_equal(h.status, want[i]);
        assert_true(h.head.len <= limits.head && h.line.len <= limits.head);
        dt_http_clear(&h);
    }
    dt_http h; /* many short lines */
    const dt_http_limits wide = {.head = 1 << 20, .body = 1};
    dt_http_init(&h, &wide);
    feed(&h, GET, sizeof GET - 1, 1000);
    for (int k = 0; k < DT_HTTP_HEADERS; k++)
        feed(&h, "A: b\r\n", 6, 6);
    feed(&h, "\r\n", 2, 2);
    assert_int_equal(h.status, 431);
    dt_http_clear(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

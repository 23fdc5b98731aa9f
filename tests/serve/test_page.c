/* The page at / and its files: types, the policy that keeps it to this server, tags, and what is not there. */
#include "serve/stage.h"

#include "base/embed.h"

extern const dt_embedded dt_serve_web[];

static stage s;

static int open_with_key(void **state) {
    (void)state;
    static const char *const keys[] = {"key"};
    stage_open(&s, NULL);
    duet_serve_options o = duet_serve_defaults(s.pair);
    stage_close(&s);
    o.api_keys = keys;
    o.n_api_keys = 1;
    stage_open(&s, &o);
    return 0;
}

static int close_it(void **state) {
    (void)state;
    stage_close(&s);
    return 0;
}

static const struct {
    const char *path, *file, *type;
} files[] = {
    {"/",          "index.html", "text/html; charset=utf-8"      },
    {"/app.js",    "app.js",     "text/javascript; charset=utf-8"},
    {"/style.css", "style.css",  "text/css; charset=utf-8"       },
};

/* Without a key: the page is what asks for it. */
static void test_files_and_their_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(files); i++) {
        const dt_embedded *f = dt_embed_find(dt_serve_web, files[i].file);
        assert_non_null(f);
        reply r = ask(s.port, "GET", files[i].path, NULL, NULL), head = ask(s.port, "HEAD", files[i].path, NULL, NULL);
        assert_int_equal(r.status, 200);
        assert_true(r.whole);
        assert_int_equal(r.body.len, f->n);
        assert_memory_equal(r.body.data, f->data, f->n);
        assert_int_equal(head.status, 200);
        assert_int_equal(head.body.len, 0);
        assert_int_equal(strtoul(reply_header(&head, "Content-Length"), NULL, 10), f->n);
        const reply *both[] = {&r, &head};
        for (int k = 0; k < 2; k++) {
            assert_string_equal(reply_header(both[k], "Content-Type"), files[i].type);
            assert_string_equal(reply_header(both[k], "X-Content-Type-Options"), "nosniff");
            const char *policy = reply_header(both[k], "Content-Security-Policy");
            assert_int_equal(strncmp(policy, "default-src 'none'; script-src 'self'; style-src 'self'; ", 56), 0);
            assert_non_null(strstr(policy, "connect-src 'self'"));
            assert_non_null(strstr(policy, "frame-ancestors 'none'"));
            assert_null(strstr(policy, "unsafe"));
        }
        reply_clear(&r);
        reply_clear(&head);
    }
}

static void test_a_browser_gets_it_once(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(files); i++) {
        char known[640];
        reply r = ask(s.port, "GET", files[i].path, NULL, NULL);
        assert_string_equal(reply_header(&r, "Cache-Control"), "no-cache");
        snprintf(known, sizeof known, "If-None-Match: %s\r\n", reply_header(&r, "ETag"));
        reply_clear(&r);
        r = ask(s.port, "GET", files[i].path, known, NULL);
        assert_int_equal(r.status, 304);
        reply_clear(&r);
        r = ask(s.port, "GET", files[i].path, "If-None-Match: \"0\"\r\n", NULL);
        assert_int_equal(r.status, 200);
        reply_clear(&r);
    }
}

static void test_nothing_else(void **state) {
    (void)state;
    static const struct {
        const char *method, *path;
        int status;
    } cases[] = {
        {"GET",  "/index.html",     404},
        {"GET",  "/app.js/",        404},
        {"GET",  "/../style.css",   404},
        {"GET",  "/%2e%2e/app.js",  404},
        {"POST", "/",               405},
        {"GET",  "/?q=1",           200},
        {"GET",  "/v1/models",      401},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        reply r = ask(s.port, cases[i].method, cases[i].path, NULL, NULL);
        if (r.status != cases[i].status)
            fail_msg("%s %s: %d", cases[i].method, cases[i].path, r.status);
        if (r.status != 200)
            assert_string_equal(reply_header(&r, "Content-Type"), "application/json");
        reply_clear(&r);
    }
}

/* What the policy forbids is not there: addresses of others, code and styles inside the HTML. */
static void test_the_page_keeps_its_policy(void **state) {
    (void)state;
    static const char *const never[] = {"http://", "https://", "//cdn", "<style", " style=", " onclick=", "innerHTML", "eval("};
    for (size_t i = 0; i < DT_COUNT(files); i++) {
        const char *text = (const char *)dt_embed_find(dt_serve_web, files[i].file)->data;
        for (size_t k = 0; k < DT_COUNT(never); k++)
            if (strstr(text, never[k]))
                fail_msg("%s has %s", files[i].file, never[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files_and_their_headers, open_with_key, close_it),
        cmocka_unit_test_setup_teardown(test_a_browser_gets_it_once, open_with_key, close_it),
        cmocka_unit_test_setup_teardown(test_nothing_else, open_with_key, close_it),
        cmocka_unit_test(test_the_page_keeps_its_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

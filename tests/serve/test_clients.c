/* Clients that are slow, broken, hasty, half gone or gone: right status, nothing lost, no place held. */
#include "serve/stage.h"

static stage s;

static void open_with(int parallel, int queue) {
    stage_open(&s, NULL);
    duet_serve_options o = duet_serve_defaults(s.pair);
    stage_close(&s);
    o.parallel = parallel;
    o.queue = queue;
    o.head_s = o.body_s = 0.5;
    o.idle_s = 1;
    o.write_s = 1;
    o.keep_alive_s = 0.3;
    o.max_body = 100000;
    o.max_connections = 200;
    stage_open(&s, &o);
}

static int open_small(void **state) {
    (void)state;
    open_with(2, 3);
    return 0;
}

static int close_it(void **state) {
    (void)state;
    stage_close(&s);
    return 0;
}

#define ASK_DUET "{\"model\":\"duet\"," QUESTION "}"
#define ASK_STREAM "{\"model\":\"duet\",\"stream\":true," QUESTION "}"

static void expect(client *c, int status) {
    reply r = client_reads(c, 30, false);
    if (r.status != status)
        fail_msg("status %d, want %d: %s", r.status, status, r.body.data ? r.body.data : "");
    assert_true(r.whole);
    reply_clear(&r);
}

static void expect_end(client *c, double seconds) {
    for (const double end = dt_now() + seconds; dt_now() < end;)
        if (client_more(c, end - dt_now()) == 0)
            return;
    fail_msg("the connection is still open");
}

static void test_pipelined(void **state) {
    (void)state;
    client c = client_open(s.port);
    for (int i = 0; i < 5; i++) {
        assert_true(client_asks(&c, "GET", "/health", NULL, NULL));
        assert_true(client_asks(&c, "POST", CHAT, NULL, i % 2 ? ASK_STREAM : ASK_DUET));
        assert_true(client_asks(&c, "GET", "/nothing", NULL, NULL));
    }
    for (int i = 0; i < 5; i++) {
        expect(&c, 200);
        expect(&c, 200);
        expect(&c, 404);
    }
    assert_int_equal(s.M.calls, 5);
    client_close(&c);
}

static void test_half_closed(void **state) {
    (void)state;
    s.M.prompt_ms = 700; /* long enough that the server wonders */
    for (int i = 0; i < 2; i++) {
        client c = client_open(s.port);
        assert_true(client_asks(&c, "POST", CHAT, NULL, i ? ASK_STREAM : ASK_DUET));
        assert_true(client_asks(&c, "GET", "/health", NULL, NULL));
        shutdown(c.fd, SHUT_WR);
        expect(&c, 200);
        expect(&c, 200);
        expect_end(&c, 10);
        client_close(&c);
    }
    assert_int_equal(s.M.cancelled, 0);
    client c = client_open(s.port);
    assert_true(client_says(&c, "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Le"));
    shutdown(c.fd, SHUT_WR);
    expect(&c, 400);
    expect_end(&c, 10);
    client_close(&c);
}

/* A head or body that comes a byte at a time has no more time than one that does not come. */
static void test_slow(void **state) {
    (void)state;
    static const char *const starts[] = {"", "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        client c = client_open(s.port);
        const double begun = dt_now();
        client_says(&c, starts[i]);
        while (dt_now() < begun + 3 && client_says(&c, "x") && client_more(&c, 0.02) < 0) {
        }
        assert_true(dt_now() - begun > 0.4 && dt_now() - begun < 1.5);
        expect(&c, 408);
        client_close(&c);
    }
    client c = client_open(s.port); /* says nothing at all */
    expect_end(&c, 10);
    client_close(&c);
    c = client_open(s.port); /* nor after an answer */
    client_asks(&c, "GET", "/health", NULL, NULL);
    expect(&c, 200);
    expect_end(&c, 10);
    client_close(&c);
}

static void test_large(void **state) {
    (void)state;
    enum { N = 200000 };
    char *big = malloc(N + 1);
    memset(big, 'a', N);
    big[N] = 0;
    client c = client_open(s.port); /* all of it is sent before the answer is read: it must not be lost by a reset */
    client_asks(&c, "POST", CHAT, NULL, big);
    expect(&c, 413);
    client_close(&c);
    c = client_open(s.port);
    client_says(&c, "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n");
    client_says(&c, big);
    expect(&c, 413);
    client_close(&c);
    c = client_open(s.port);
    client_says(&c, "GET /health HTTP/1.1\r\nHost: h\r\nA: ");
    client_says(&c, big);
    expect(&c, 431);
    client_close(&c);
    c = client_open(s.port);
    client_says(&c, "GET /");
    client_says(&c, big);
    expect(&c, 414);
    client_close(&c);
    free(big);
}

static void test_waits_for_a_word_before_the_body(void **state) {
    (void)state;
    client c = client_open(s.port);
    char head[256];
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %zu\r\n\r\n",
             CHAT, strlen(ASK_DUET));
    client_says(&c, head);
    while (!strstr(c.in.data ? c.in.data : "", "\r\n\r\n"))
        assert_int_equal(client_more(&c, 5), 1);
    assert_string_equal(c.in.data, "HTTP/1.1 100 Continue\r\n\r\n");
    client_says(&c, ASK_DUET);
    expect(&c, 200);
    client_close(&c);
}

/* A client that is gone frees its place within a second, whatever it waited for. */
static void test_gone(void **state) {
    (void)state;
    static const char *const bodies[] = {ASK_DUET, ASK_STREAM};
    for (int k = 0; k < 2; k++) {
        for (int phase = 0; phase < 4; phase++) { /* M's prompt, M's words, m's prompt, m's words */
            actor *a = phase < 2 ? &s.M : &s.m;
            s.M.prompt_ms = s.M.token_ms = s.m.prompt_ms = s.m.token_ms = 0;
            *(phase % 2 ? &a->token_ms : &a->prompt_ms) = 20000;
            const int cancelled = a->cancelled;
            client c = client_open(s.port);
            client_asks(&c, "POST", CHAT, NULL, bodies[k]);
            assert_true(becomes(&a->now, 1, 20));
            usleep(30000);
            client_close(&c);
            if (!becomes(&a->now, 0, 1))
                fail_msg("phase %d, streamed %d: still asked after a second", phase, k);
            assert_int_equal(a->cancelled, cancelled + 1);
        }
    }
}

static void test_gone_from_the_queue(void **state) {
    (void)state;
    client c[5];
    s.M.prompt_ms = 20000;
    for (int i = 0; i < 5; i++) {
        c[i] = client_open(s.port);
        client_asks(&c[i], "POST", CHAT, NULL, i % 2 ? ASK_STREAM : ASK_DUET);
        if (i == 1)
            assert_true(becomes(&s.M.now, 2, 20));
    }
    usleep(300000);
    reply r = ask(s.port, "POST", CHAT, NULL, ASK_DUET);
    assert_int_equal(r.status, 429); /* two at work, three wait */
    assert_true(atoi(reply_header(&r, "Retry-After")) >= 1);
    assert_non_null(strstr(r.body.data, "queue_full"));
    reply_clear(&r);
    client_close(&c[2]);
    client_close(&c[3]);
    usleep(900000);
    s.M.prompt_ms = 0; /* for those that begin from now on */
    client later[2];
    for (int i = 0; i < 2; i++) { /* two places are free again */
        later[i] = client_open(s.port);
        client_asks(&later[i], "POST", CHAT, NULL, ASK_DUET);
    }
    usleep(200000);
    assert_int_equal(s.M.calls, 0); /* who left was never asked for */
    client_close(&c[0]);
    client_close(&c[1]);
    expect(&c[4], 200);
    expect(&later[0], 200);
    expect(&later[1], 200);
    assert_int_equal(s.M.calls, 3);
    client_close(&c[4]);
    client_close(&later[0]);
    client_close(&later[1]);
}

/* A stream says at once that it was taken, and again and again that it is still there. */
static void test_comments_while_nothing_is_said(void **state) {
    (void)state;
    s.M.prompt_ms = 1200;
    client c = client_open(s.port);
    reply r = {0};
    const double begun = dt_now();
    client_asks(&c, "POST", CHAT, NULL, ASK_STREAM);
    assert_int_equal(client_head(&c, &r, 1), 200);
    assert_int_equal(client_chunk(&c, &r, 1), 1);
    assert_true(dt_now() - begun < 0.6);
    int comments = 0;
    for (size_t at = 0; dt_now() < begun + 1.15; at = r.body.len) {
        if (client_chunk(&c, &r, 1) == 1 && at && r.body.data[at] == ':')
            comments++;
    }
    assert_in_range(comments, 1, 4);
    while (client_chunk(&c, &r, 5) > 0) {
    }
    assert_true(r.whole);
    reply_clear(&r);
    client_close(&c);
}

static void test_error_in_a_stream(void **state) {
    (void)state;
    s.M.prompt_ms = 300; /* the stream has begun when m fails */
    s.m.reply = NULL;
    reply r = ask(s.port, "POST", CHAT, NULL, ASK_STREAM);
    assert_int_equal(r.status, 200);
    assert_true(r.whole);
    assert_non_null(strstr(r.body.data, "data: {\"error\":{\"message\":"));
    assert_null(strstr(r.body.data, "[DONE]"));
    reply_clear(&r);
}

/* A client that takes nothing is let go, and others do not notice. */
static void test_takes_nothing(void **state) {
    (void)state;
    enum { N = 200000 };
    char *long_reply = malloc(N + 1);
    for (int i = 0; i < N; i++)
        long_reply[i] = "seven then "[i % 11];
    long_reply[N] = 0;
    s.m.reply = long_reply;
    client c = client_open(s.port);
    const int small = 4096;
    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    client_asks(&c, "POST", CHAT, NULL, "{\"model\":\"duet-m\",\"stream\":true,\"max_tokens\":30000," QUESTION "}");
    assert_true(becomes(&s.m.now, 1, 20));
    struct pollfd p = {.fd = c.fd};
    assert_int_equal(poll(&p, 1, 60000), 1); /* nothing is read: this is the reset */
    assert_true(p.revents & (POLLERR | POLLHUP));
    s.m.reply = "the answer is 4";
    client_close(&c);
    reply r = ask(s.port, "GET", "/health", NULL, NULL);
    assert_int_equal(r.status, 200);
    reply_clear(&r);
    assert_true(becomes(&s.m.now, 0, 20));
    free(long_reply);
}

static void test_too_many_connections(void **state) {
    (void)state;
    client c[210];
    int turned_away = 0;
    for (size_t i = 0; i < DT_COUNT(c); i++)
        c[i] = client_open(s.port);
    for (size_t i = 200; i < DT_COUNT(c); i++) {
        reply r = client_reads(&c[i], 1, false);
        turned_away += r.status == 503 && r.whole;
        reply_clear(&r);
    }
    assert_int_equal(turned_away, 10);
    for (size_t i = 0; i < DT_COUNT(c); i++)
        client_close(&c[i]);
    usleep(300000);
    reply r = ask(s.port, "GET", "/health", NULL, NULL);
    assert_int_equal(r.status, 200);
    reply_clear(&r);
}

/* ---- the end ---- */

static void test_answers_finish(void **state) {
    (void)state;
    client c[4], idle = client_open(s.port), late;
    s.M.prompt_ms = 400;
    for (int i = 0; i < 4; i++) { /* two at work, two wait */
        c[i] = client_open(s.port);
        client_asks(&c[i], "POST", CHAT, NULL, i % 2 ? ASK_STREAM : ASK_DUET);
    }
    assert_true(becomes(&s.M.now, 2, 20));
    usleep(100000);
    s.stop = 1;
    usleep(200000);
    late = client_open(s.port);
    assert_int_equal(late.fd, -1);
    expect_end(&idle, 10);
    for (int i = 0; i < 4; i++) {
        expect(&c[i], 200);
        expect_end(&c[i], 10);
        client_close(&c[i]);
    }
    stage_wait(&s);
    client_close(&idle);
}

static void test_or_are_cut(void **state) {
    (void)state;
    client c[2];
    s.M.prompt_ms = 20000;
    for (int i = 0; i < 2; i++) {
        c[i] = client_open(s.port);
        client_asks(&c[i], "POST", CHAT, NULL, ASK_DUET);
    }
    assert_true(becomes(&s.M.now, 2, 20));
    const double begun = dt_now();
    duet_server_stop(s.server, true);
    expect(&c[0], 503);
    expect(&c[1], 503);
    client_close(&c[0]);
    client_close(&c[1]);
    stage_wait(&s);
    assert_true(dt_now() - begun < 2);
}

static void test_a_socket_in_the_file_system(void **state) {
    (void)state;
    char dir[64], path[96];
    duet_err err = {{0}};
    temp_dir(dir);
    snprintf(path, sizeof path, "%s/socket", dir);
    stage_open(&s, NULL);
    duet_serve_options o = duet_serve_defaults(s.pair);
    duet_server *second = NULL;
    stage_close(&s);
    o.unix_socket = path;
    for (int round = 0; round < 2; round++) {
        if (round) { /* what a killed server leaves */
            struct sockaddr_un sa = {.sun_family = AF_UNIX};
            const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
            strcpy(sa.sun_path, path);
            assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
            close(fd);
        }
        stage_open(&s, &o);
        assert_int_equal(s.port, 0);
        assert_int_equal(duet_server_create(s.pair, s.M.b, s.m.b, &o, &second, &err), DUET_E_IO);
        assert_non_null(strstr(err.text, "another server listens there"));
        client c = client_open_unix(path);
        client_asks(&c, "POST", CHAT, NULL, ASK_DUET);
        expect(&c, 200);
        s.M.prompt_ms = 20000;
        client_asks(&c, "POST", CHAT, NULL, ASK_DUET);
        assert_true(becomes(&s.M.now, 1, 20));
        client_close(&c);
        assert_true(becomes(&s.M.now, 0, 1));
        stage_close(&s);
        assert_false(dt_path_exists(path));
    }
    assert_int_equal(dt_remove_tree(dir, NULL), DUET_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pipelined, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_half_closed, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_slow, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_large, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_waits_for_a_word_before_the_body, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_gone, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_gone_from_the_queue, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_comments_while_nothing_is_said, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_error_in_a_stream, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_takes_nothing, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_too_many_connections, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_answers_finish, open_small, close_it),
        cmocka_unit_test_setup_teardown(test_or_are_cut, open_small, close_it),
        cmocka_unit_test(test_a_socket_in_the_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

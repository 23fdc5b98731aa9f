/* One client: its bytes become requests, one at a time and in order; what comes behind a request waits until that is
 * answered. Clocks bound every wait, and a client that left is noticed while it waits for an answer. */
#include "serve/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DRAIN_S 2.0
#define READ_AT_ONCE ((size_t)256 << 10)

/* ---- writing ---- */

static void put(dt_conn *c, const void *p, size_t n) {
    if (n && bufferevent_write(c->bev, p, n))
        c->close = true; /* no memory: what is there is sent, then the client sees a cut answer */
    c->queued += n;
}

static void put_head(dt_conn *c, int status, const char *type, const char *extra, const char *length) {
    char head[512];
    const int n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\n%s%s%sConnection: %s\r\n%s", status, dt_http_reason(status),
                           type ? "Content-Type: " : "", type ? type : "", type ? "\r\n" : "",
                           c->close ? "close" : "keep-alive", length);
    put(c, head, (size_t)n);
    dt_serve_cors(c);
    if (extra)
        put(c, extra, strlen(extra));
    put(c, "\r\n", 2);
    c->status = status;
    c->sent = 0;
}

void dt_conn_header(dt_conn *c, const char *line) {
    put(c, line, strlen(line));
}

static void begin_answer(dt_conn *c) {
    c->close = c->close || !c->http.keep_alive || c->s->stopping;
}

static void read_requests(dt_conn *c);

/* The connection is free for the next request, or ends. */
static void end_answer(dt_conn *c) {
    dt_log_request(c);
    c->job = NULL;
    c->streaming = false;
    c->since = dt_now();
    if (c->close) {
        c->state = DT_CONN_FLUSHING;
        return;
    }
    dt_http_reset(&c->http);
    c->state = DT_CONN_READING;
    read_requests(c);
}

void dt_conn_reply(dt_conn *c, int status, const char *type, const char *extra, const void *body, size_t n) {
    char length[48];
    begin_answer(c);
    snprintf(length, sizeof length, "Content-Length: %zu\r\n", n);
    put_head(c, status, type, extra, status == 204 || status == 304 ? "" : length);
    if (strcmp(c->http.method, "HEAD") != 0)
        put(c, body, n);
    c->sent = n;
    end_answer(c);
}

void dt_conn_json(dt_conn *c, int status, const char *extra, json_t *body) {
    static const char none[] = "{\"error\":{\"message\":\"no memory\",\"type\":\"server_error\",\"param\":null,\"code\":null}}";
    char *text = body ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    dt_conn_reply(c, text ? status : 500, "application/json", extra, text ? text : none, text ? strlen(text) : sizeof none - 1);
    free(text);
    json_decref(body);
}

void dt_conn_fault(dt_conn *c, const dt_fault *f) {
    char retry[64] = "";
    if (f->status == 429)
        snprintf(retry, sizeof retry, "Retry-After: %d\r\n", dt_jobs_retry_after(c->s));
    dt_conn_json(c, f->status, f->status == 401 ? "WWW-Authenticate: Bearer\r\n" : retry, dt_fault_json(f));
}

void dt_conn_stream(dt_conn *c, const char *type, const char *extra) {
    begin_answer(c);
    c->chunked = !c->http.http10;
    c->close = c->close || !c->chunked; /* an HTTP/1.0 client knows the end by the end of the connection */
    put_head(c, 200, type, extra, c->chunked ? "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n" : "Cache-Control: no-cache\r\n");
    c->streaming = true;
    c->t_wrote = dt_now();
}

void dt_conn_write(dt_conn *c, const void *p, size_t n) {
    char size[24];
    if (!n)
        return;
    if (c->chunked)
        put(c, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    put(c, p, n);
    if (c->chunked)
        put(c, "\r\n", 2);
    c->sent += n;
    c->t_wrote = dt_now();
}

void dt_conn_end(dt_conn *c) {
    if (c->chunked)
        put(c, "0\r\n\r\n", 5);
    end_answer(c);
}

/* ---- reading ---- */

static void bad_request(dt_conn *c, int status, const char *why) {
    dt_fault f;
    dt_fault_set(&f, status, NULL, NULL, "%s", why);
    c->close = true;
    c->http.keep_alive = false;
    dt_conn_fault(c, &f);
}

/* A part of a request came to its end. */
static void advance(dt_conn *c) {
    dt_http *h = &c->http;
    if (h->state == DT_HTTP_BAD) {
        bad_request(c, h->status, h->why);
    } else if (h->state == DT_HTTP_DONE) {
        c->state = DT_CONN_ANSWERING;
        c->t_request = dt_now();
        c->half_closed = false;
        dt_route(c);
    } else if (h->expects) {
        h->expects = false;
        put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
}

static void read_requests(dt_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    if (c->in_use)
        return; /* the loop below is at work and goes on */
    c->in_use = true;
    while (c->state == DT_CONN_READING && evbuffer_get_length(in) > 0) {
        struct evbuffer_iovec v;
        const bool begun = dt_http_begun(&c->http), had_head = dt_http_has_head(&c->http);
        evbuffer_peek(in, -1, NULL, &v, 1);
        const size_t k = dt_http_feed(&c->http, v.iov_base, v.iov_len);
        evbuffer_drain(in, k);
        if (!begun || (!had_head && dt_http_has_head(&c->http)))
            c->since = dt_now();
        const dt_http_state now = c->http.state;
        if (now == DT_HTTP_BAD || now == DT_HTTP_DONE || (!had_head && dt_http_has_head(&c->http)))
            advance(c);
    }
    c->in_use = false;
    if (c->state == DT_CONN_READING)
        bufferevent_enable(c->bev, EV_READ);
    else if (c->state != DT_CONN_DRAINING)
        bufferevent_disable(c->bev, EV_READ);
}

static void on_read(struct bufferevent *bev, void *user) {
    dt_conn *c = user;
    if (c->state == DT_CONN_DRAINING)
        evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
    else
        read_requests(c);
}

/* All that was written is out. */
static void on_written(struct bufferevent *bev, void *user) {
    dt_conn *c = user;
    if (c->state != DT_CONN_FLUSHING)
        return;
    c->state = DT_CONN_DRAINING;
    c->since = dt_now();
    shutdown(bufferevent_getfd(bev), SHUT_WR);
    bufferevent_enable(bev, EV_READ);
}

static void on_event(struct bufferevent *bev, short what, void *user) {
    dt_conn *c = user;
    if ((what & BEV_EVENT_EOF) && c->state == DT_CONN_READING && dt_http_begun(&c->http))
        bad_request(c, 400, "the request ends in the middle"); /* it may still read */
    else if ((what & BEV_EVENT_EOF) && c->state == DT_CONN_READING && evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        c->state = DT_CONN_FLUSHING; /* nothing more to ask; what was answered is still on its way */
    else if (!(what & BEV_EVENT_EOF) || c->state != DT_CONN_FLUSHING)
        dt_conn_free(c);
}

/* ---- its life ---- */

static void name_peer(char out[64], const struct sockaddr *sa) {
    char host[48];
    const void *at = sa->sa_family == AF_INET    ? (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr
                     : sa->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr
                                                 : NULL;
    snprintf(out, 64, "%s", at && evutil_inet_ntop(sa->sa_family, at, host, sizeof host) ? host : "unix");
}

static void turn_away(evutil_socket_t fd) {
    static const char answer[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nRetry-After: 1\r\n"
        "Content-Length: 99\r\n\r\n"
        "{\"error\":{\"message\":\"too many connections\",\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";
    (void)!send(fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    evutil_closesocket(fd);
}

void dt_conn_accept(dt_server *s, evutil_socket_t fd, struct sockaddr *sa) {
    const dt_http_limits limits = {.head = (size_t)32 << 10, .body = s->opt.max_body};
    const int on = 1;
    dt_conn *c = s->n_conns < (size_t)s->opt.max_connections ? calloc(1, sizeof *c) : NULL;
    if (c)
        c->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!c || !c->bev) {
        free(c);
        turn_away(fd);
        return;
    }
    if (sa->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->s = s;
    name_peer(c->peer, sa);
    dt_http_init(&c->http, &limits);
    c->since = c->t_wrote = c->t_out = dt_now();
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->n_conns++;
    s->metrics.connections++;
    bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
    bufferevent_set_max_single_read(c->bev, READ_AT_ONCE);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

void dt_conn_free(dt_conn *c) {
    dt_job *j = c->job;
    if (j) {
        c->status = 499; /* left, as nginx counts it */
        dt_log_request(c);
        c->job = NULL;
        dt_job_leave(j);
    }
    if (c->next)
        c->next->prev = c->prev; /* in the list, so it lives. NOLINT(clang-analyzer-unix.Malloc) */
    *(c->prev ? &c->prev->next : &c->s->conns) = c->next;
    c->s->n_conns--;
    bufferevent_free(c->bev);
    dt_http_clear(&c->http);
    free(c);
}

/* ---- clocks ---- */

/* A half-closed connection may be a client that has said all it has to say, or one that is gone: the second one answers
 * what we send with a reset. So something harmless is sent. */
static void probe(dt_conn *c) {
    c->half_closed = true;
    if (c->streaming)
        dt_conn_write(c, ":\n\n", 3);
    else if (!c->http.http10)
        put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    else
        dt_conn_free(c); /* HTTP/1.0 has no word for this, and its clients do not half-close */
}

static void look_for_gone(dt_server *s) {
    size_t n = 0;
    for (dt_conn *c = s->conns; c; c = c->next)
        n += c->state == DT_CONN_ANSWERING;
    struct pollfd *p = n ? dt_calloc(n, sizeof *p) : NULL;
    dt_conn **who = n ? dt_calloc(n, sizeof *who) : NULL;
    n = 0;
    for (dt_conn *c = p && who ? s->conns : NULL; c; c = c->next) {
        if (c->state != DT_CONN_ANSWERING)
            continue;
        p[n] = (struct pollfd){.fd = bufferevent_getfd(c->bev), .events = POLLRDHUP};
        who[n++] = c;
    }
    if (n && poll(p, (nfds_t)n, 0) > 0) {
        for (size_t i = 0; i < n; i++) {
            if (p[i].revents & (POLLERR | POLLHUP | POLLNVAL))
                dt_conn_free(who[i]);
            else if ((p[i].revents & POLLRDHUP) && !who[i]->half_closed)
                probe(who[i]);
        }
    }
    free(p);
    free(who);
}

/* It takes nothing: what the system still holds for it is thrown away too. */
static void cut_off(dt_conn *c) {
    const struct linger now = {.l_onoff = 1};
    setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    dt_conn_free(c);
}

/* Has it waited too long for its client? */
static void check_clocks(dt_conn *c, double now) {
    const duet_serve_options *o = &c->s->opt;
    const size_t unsent = evbuffer_get_length(bufferevent_get_output(c->bev)), out = c->queued - unsent;
    if (!unsent || out != c->out) {
        c->t_out = now;
        c->out = out;
    }
    const bool idle = c->state == DT_CONN_READING && !dt_http_begun(&c->http);
    if (unsent && idle)
        c->since = now; /* it is not idle before it has the last answer */
    const double waited = now - c->since;
    if (c->state == DT_CONN_FLUSHING && !unsent)
        on_written(c->bev, c);
    else if (unsent && now - c->t_out > o->write_s)
        cut_off(c);
    else if ((c->state == DT_CONN_DRAINING && waited > DRAIN_S) || (idle && (waited > o->idle_s || (c->s->stopping && !unsent))))
        dt_conn_free(c);
    else if (c->state == DT_CONN_READING && dt_http_begun(&c->http) && waited > (dt_http_has_head(&c->http) ? o->body_s : o->head_s))
        bad_request(c, 408, "the request did not come in time");
    else if (c->state == DT_CONN_ANSWERING && c->job && c->job->kind->tick)
        c->job->kind->tick(c->job, now);
}

void dt_conn_tick(dt_server *s, double now) {
    look_for_gone(s);
    for (dt_conn *c = s->conns, *next = NULL; c; c = next) {
        next = c->next; /* who has gone is not in the list. NOLINT(clang-analyzer-unix.Malloc) */
        check_clocks(c, now);
    }
}

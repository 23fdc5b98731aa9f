#include "backend/fake_openai.h"

#include "base/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNS 512
#define MAX_PATHS 8

struct fake_conn {
    fake_server *server;
    int fd;
    bool chunked, cut, gone;
    pthread_t thread;
};

struct fake_server {
    fake_options o;
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    fake_conn *conn[MAX_CONNS];
    int n_conns, n_requests, n_now, n_most, n_gone;
    struct {
        char path[128];
        int n;
    } seen[MAX_PATHS];
    bool stops;
    char address[256];
};

static bool stops(fake_server *s) {
    pthread_mutex_lock(&s->lock);
    const bool yes = s->stops;
    pthread_mutex_unlock(&s->lock);
    return yes;
}

/* ---- writing ---- */

bool fake_send(fake_conn *c, const char *bytes, size_t n) {
    while (n && !c->gone) {
        const ssize_t k = send(c->fd, bytes, n, MSG_NOSIGNAL);
        if (k <= 0) {
            c->gone = true;
            break;
        }
        bytes += k;
        n -= (size_t)k;
    }
    return !c->gone;
}

bool fake_text(fake_conn *c, const char *fmt, ...) {
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    const int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    const bool ok = n >= 0 && fake_send(c, s, (size_t)n);
    free(s);
    return ok;
}

bool fake_answer(fake_conn *c, int status, const char *type, const char *head, const char *body) {
    return fake_text(c, "HTTP/1.1 %d Something\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n", status, type, strlen(body),
                     head ? head : "") &&
           fake_send(c, body, strlen(body));
}

bool fake_begin_stream(fake_conn *c) {
    c->chunked = true;
    return fake_text(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
}

bool fake_event(fake_conn *c, const char *data) {
    return fake_text(c, "%zx\r\ndata: %s\n\n\r\n", strlen(data) + 8, data);
}

static bool event_json(fake_conn *c, json_t *j) {
    char *s = j ? json_dumps(j, JSON_COMPACT) : NULL;
    const bool ok = s && fake_event(c, s);
    free(s);
    json_decref(j);
    return ok;
}

bool fake_piece(fake_conn *c, const char *key, const char *text) {
    if (!strcmp(key, "text"))
        return event_json(c, json_pack("{s:[{s:i,s:s,s:n}]}", "choices", "index", 0, "text", text, "finish_reason"));
    return event_json(c, json_pack("{s:[{s:i,s:{s:s},s:n}]}", "choices", "index", 0, "delta", key, text, "finish_reason"));
}

bool fake_pieces(fake_conn *c, const char *key, const char *text, size_t size) {
    char piece[256];
    for (size_t n = strlen(text), at = 0; at < n; at += size) {
        const size_t k = n - at < size ? n - at : size;
        memcpy(piece, text + at, k);
        piece[k] = 0;
        if (!fake_piece(c, key, piece))
            return false;
    }
    return true;
}

bool fake_finish(fake_conn *c, const char *reason) {
    return event_json(c, json_pack("{s:[{s:i,s:{},s:s}]}", "choices", "index", 0, "delta", "finish_reason", reason));
}

bool fake_usage(fake_conn *c, int prompt, int output) {
    return event_json(c, json_pack("{s:[],s:{s:i,s:i}}", "choices", "usage", "prompt_tokens", prompt, "completion_tokens", output));
}

void fake_end_stream(fake_conn *c) {
    fake_event(c, "[DONE]");
    fake_send(c, "0\r\n\r\n", 5);
}

void fake_cut(fake_conn *c) {
    c->cut = true;
}

bool fake_sleep(fake_conn *c, double s) {
    const double until = dt_now() + s;
    while (dt_now() < until) {
        char byte = 0;
        struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLRDHUP};
        poll(&p, 1, 10);
        if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 || (p.revents & (POLLERR | POLLHUP)))
            c->gone = true;
        if (c->gone || stops(c->server))
            return false;
    }
    return true;
}

/* ---- reading ---- */

/* Head and body of one request into b; the offset of the body, or 0 at the end of the connection. */
static size_t read_request(fake_conn *c, dt_buf *b) {
    char piece[4096];
    size_t body = 0, want = 0;
    b->len = 0;
    for (;;) {
        const char *end = b->len ? strstr(b->data, "\r\n\r\n") : NULL;
        if (end && !body) {
            const char *length = strcasestr(b->data, "\r\nContent-Length:");
            body = (size_t)(end - b->data) + 4;
            want = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        }
        if (body && b->len >= body + want)
            return body;
        const ssize_t k = recv(c->fd, piece, sizeof piece, 0);
        if (k <= 0 || !dt_buf_add(b, piece, (size_t)k))
            return 0;
    }
}

static int count_path(fake_server *s, const char *path) {
    for (int i = 0; i < MAX_PATHS; i++) {
        if (!s->seen[i].path[0])
            snprintf(s->seen[i].path, sizeof s->seen[i].path, "%s", path);
        if (!strcmp(s->seen[i].path, path))
            return s->seen[i].n++;
    }
    return 0;
}

static void answer(fake_conn *c, dt_buf *b, size_t body, int nth) {
    fake_server *s = c->server;
    char method[8] = "", path[128] = "";
    sscanf(b->data, "%7s %127s", method, path);
    b->data[body - 1] = 0;
    const bool models = s->o.models && strlen(path) > 7 && !strcmp(path + strlen(path) - 7, "/models");
    pthread_mutex_lock(&s->lock);
    fake_request r = {.method = method, .path = path, .head = b->data, .nth = count_path(s, path), .nth_on_connection = nth};
    s->n_requests += !models;
    s->n_now++;
    s->n_most = s->n_now > s->n_most ? s->n_now : s->n_most;
    pthread_mutex_unlock(&s->lock);
    r.body = b->len > body ? json_loadb(b->data + body, b->len - body, 0, NULL) : NULL;
    c->chunked = false;
    if (models)
        fake_answer(c, 200, "application/json", NULL, s->o.models);
    else
        s->o.reply(s->o.user, c, &r);
    json_decref(r.body);
    pthread_mutex_lock(&s->lock);
    s->n_now--;
    s->n_gone += c->gone;
    pthread_mutex_unlock(&s->lock);
}

static void *serve(void *arg) {
    fake_conn *c = arg;
    dt_buf b = {0};
    size_t body = 0;
    for (int nth = 0; !c->cut && !c->gone && (body = read_request(c, &b)); nth++)
        answer(c, &b, body, nth);
    shutdown(c->fd, SHUT_RDWR);
    dt_buf_clear(&b);
    return NULL;
}

static void *listens(void *arg) {
    fake_server *s = arg;
    for (;;) {
        const int fd = accept(s->fd, NULL, NULL), yes = 1;
        if (fd < 0)
            return NULL;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        fake_conn *c = calloc(1, sizeof *c);
        pthread_mutex_lock(&s->lock);
        if (!c || s->stops || s->n_conns == MAX_CONNS) {
            pthread_mutex_unlock(&s->lock);
            close(fd);
            free(c);
            continue;
        }
        c->server = s;
        c->fd = fd;
        s->conn[s->n_conns++] = c;
        pthread_create(&c->thread, NULL, serve, c);
        pthread_mutex_unlock(&s->lock);
    }
}

fake_server *fake_start(const fake_options *o) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    fake_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->o = *o;
    pthread_mutex_init(&s->lock, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, sizeof at) || listen(s->fd, 128) ||
        getsockname(s->fd, (struct sockaddr *)&at, &n)) {
        free(s);
        return NULL;
    }
    s->port = ntohs(at.sin_port);
    pthread_create(&s->thread, NULL, listens, s);
    return s;
}

void fake_stop(fake_server *s) {
    pthread_mutex_lock(&s->lock);
    s->stops = true;
    for (int i = 0; i < s->n_conns; i++)
        shutdown(s->conn[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    shutdown(s->fd, SHUT_RDWR);
    close(s->fd);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < s->n_conns; i++) {
        pthread_join(s->conn[i]->thread, NULL);
        close(s->conn[i]->fd);
        free(s->conn[i]);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const char *fake_address(fake_server *s, const char *more) {
    snprintf(s->address, sizeof s->address, "http://127.0.0.1:%d/v1%s", s->port, more);
    return s->address;
}

static int locked(fake_server *s, const int *n) {
    pthread_mutex_lock(&s->lock);
    const int v = *n;
    pthread_mutex_unlock(&s->lock);
    return v;
}

int fake_connections(fake_server *s) {
    return locked(s, &s->n_conns);
}

int fake_requests(fake_server *s) {
    return locked(s, &s->n_requests);
}

int fake_most_at_once(fake_server *s) {
    return locked(s, &s->n_most);
}

int fake_gone(fake_server *s) {
    return locked(s, &s->n_gone);
}

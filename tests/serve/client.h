/* A small HTTP client over sockets: sends what it is told, whole or not, and reads answers one by one. */
#ifndef TESTS_SERVE_CLIENT_H
#define TESTS_SERVE_CLIENT_H

#include "base/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct client {
    int fd;
    dt_buf in; /* received, not read yet */
    bool ended;
} client;

typedef struct reply {
    int status; /* 0 = the connection ended before an answer, -1 = nothing came in time, -2 = not HTTP */
    dt_buf head, body;
    bool whole; /* the body came to its end */
} reply;

static inline void reply_clear(reply *r) {
    dt_buf_clear(&r->head);
    dt_buf_clear(&r->body);
}

static inline client client_open(int port) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    if (connect(c.fd, (struct sockaddr *)&sa, sizeof sa)) {
        close(c.fd);
        c.fd = -1;
    }
    return c;
}

static inline client client_open_unix(const char *path) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    client c = {.fd = socket(AF_UNIX, SOCK_STREAM, 0)};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    if (connect(c.fd, (struct sockaddr *)&sa, sizeof sa)) {
        close(c.fd);
        c.fd = -1;
    }
    return c;
}

static inline void client_close(client *c) {
    if (c->fd >= 0)
        close(c->fd);
    dt_buf_clear(&c->in);
    *c = (client){.fd = -1};
}

static inline bool client_send(client *c, const char *p, size_t n) {
    while (n) {
        const ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static inline bool client_says(client *c, const char *text) {
    return client_send(c, text, strlen(text));
}

/* A whole request; body NULL = none. extra: header lines with CRLF. */
static inline bool client_asks(client *c, const char *method, const char *path, const char *extra, const char *body) {
    dt_buf b = {0};
    dt_buf_addf(&b, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method, path, extra ? extra : "");
    if (body)
        dt_buf_addf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    dt_buf_adds(&b, "\r\n");
    dt_buf_adds(&b, body ? body : "");
    const bool ok = client_send(c, b.data, b.len);
    dt_buf_clear(&b);
    return ok;
}

/* More bytes into c->in: 1, 0 = the end, -1 = not within the time. */
static inline int client_more(client *c, double seconds) {
    char bytes[16384];
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (c->ended)
        return 0;
    if (poll(&p, 1, (int)(seconds * 1000)) <= 0)
        return -1;
    const ssize_t k = recv(c->fd, bytes, sizeof bytes, 0);
    if (k <= 0) {
        c->ended = true;
        return 0;
    }
    dt_buf_add(&c->in, bytes, (size_t)k);
    return 1;
}

static inline void client_drop(client *c, size_t n) {
    memmove(c->in.data, c->in.data + n, c->in.len - n);
    c->in.len -= n;
    c->in.data[c->in.len] = 0;
}

/* A line without its CRLF, moved to `to`. */
static inline int client_line(client *c, dt_buf *to, double seconds) {
    char *end = NULL;
    int got = 1;
    while (!c->in.len || !(end = strstr(c->in.data, "\r\n"))) {
        if ((got = client_more(c, seconds)) <= 0)
            return got;
    }
    to->len = 0;
    dt_buf_add(to, c->in.data, (size_t)(end - c->in.data));
    client_drop(c, (size_t)(end - c->in.data) + 2);
    return 1;
}

static inline int client_bytes(client *c, size_t n, dt_buf *to, double seconds) {
    int got = 1;
    while (c->in.len < n)
        if ((got = client_more(c, seconds)) <= 0)
            return got;
    dt_buf_add(to, c->in.data, n);
    client_drop(c, n);
    return 1;
}

/* A header's value from a reply; NULL = not there. Borrowed until the next call. */
static inline const char *reply_header(const reply *r, const char *name) {
    static _Thread_local char value[512];
    const size_t n = strlen(name);
    for (const char *line = r->head.data; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncasecmp(line, name, n) != 0 || line[n] != ':')
            continue;
        snprintf(value, sizeof value, "%.*s", (int)strcspn(line + n + 2, "\n"), line + n + 2);
        return value;
    }
    return NULL;
}

/* Status and headers; words in between (1xx) are passed over. */
static inline int client_head(client *c, reply *r, double seconds) {
    dt_buf line = {0};
    int got = 0;
    r->head.len = 0;
    do {
        got = client_line(c, &line, seconds);
        if (got <= 0)
            break;
        r->status = line.len > 12 && !strncmp(line.data, "HTTP/1.1 ", 9) ? atoi(line.data + 9) : -2;
        while ((got = client_line(c, &line, seconds)) > 0 && line.len) {
            dt_buf_add(&r->head, line.data, line.len);
            dt_buf_adds(&r->head, "\n");
        }
    } while (got > 0 && r->status >= 100 && r->status < 200);
    if (got <= 0)
        r->status = got;
    dt_buf_clear(&line);
    return r->status;
}

/* The next piece of a chunked body, appended to r->body: 1, 0 = that was the end, -1 = cut or late. */
static inline int client_chunk(client *c, reply *r, double seconds) {
    dt_buf line = {0};
    int got = client_line(c, &line, seconds);
    const size_t n = got > 0 ? strtoul(line.data, NULL, 16) : 0;
    if (got > 0 && n)
        got = client_bytes(c, n, &r->body, seconds);
    const int ended = got > 0 ? client_line(c, &line, seconds) : 0;
    dt_buf_clear(&line);
    r->whole = ended > 0 && !n;
    return ended <= 0 ? -1 : n > 0;
}

/* An answer with its body. */
static inline reply client_reads(client *c, double seconds, bool head_only) {
    reply r = {0};
    if (client_head(c, &r, seconds) <= 0)
        return r;
    const char *length = reply_header(&r, "Content-Length"), *coding = reply_header(&r, "Transfer-Encoding");
    dt_buf_adds(&r.body, "");
    if (head_only || r.status == 204 || r.status == 304) {
        r.whole = true;
    } else if (coding) {
        while (client_chunk(c, &r, seconds) > 0) {
        }
    } else if ((length = reply_header(&r, "Content-Length"))) {
        const size_t n = strtoul(length, NULL, 10);
        r.whole = client_bytes(c, n, &r.body, seconds) > 0;
    } else {
        int got = 1;
        while ((got = client_more(c, seconds)) > 0) {
        }
        dt_buf_add(&r.body, c->in.data ? c->in.data : "", c->in.len);
        r.whole = got == 0;
    }
    return r;
}

/* One request on a connection of its own. */
static inline reply ask(int port, const char *method, const char *path, const char *extra, const char *body) {
    client c = client_open(port);
    reply r = {0};
    if (c.fd >= 0 && client_asks(&c, method, path, extra, body))
        r = client_reads(&c, 20, !strcmp(method, "HEAD"));
    client_close(&c);
    return r;
}

static inline json_t *reply_json(const reply *r) {
    return r->body.data ? json_loadb(r->body.data, r->body.len, JSON_DECODE_ANY, NULL) : NULL;
}

#endif

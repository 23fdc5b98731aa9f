/* Bytes -> requests: a machine with a state for each part of a message. */
#include "serve/http.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define MAX_SIZE_LINE 256

void dt_http_init(dt_http *h, const dt_http_limits *limits) {
    *h = (dt_http){.limits = *limits};
    dt_http_reset(h);
}

void dt_http_clear(dt_http *h) {
    dt_buf_clear(&h->head);
    dt_buf_clear(&h->body);
    dt_buf_clear(&h->line);
}

void dt_http_reset(dt_http *h) {
    const dt_http_limits limits = h->limits;
    dt_http_clear(h);
    *h = (dt_http){.limits = limits, .method = "", .path = "", .query = ""};
}

bool dt_http_begun(const dt_http *h) {
    return h->state != DT_HTTP_HEAD || h->head.len > 0;
}

bool dt_http_has_head(const dt_http *h) {
    return h->state != DT_HTTP_HEAD && h->state != DT_HTTP_BAD;
}

const char *dt_http_header(const dt_http *h, const char *name) {
    for (size_t i = 0; i < h->n_headers; i++)
        if (!strcasecmp(h->names[i], name))
            return h->values[i];
    return NULL;
}

static void bad(dt_http *h, int status, const char *why) {
    h->state = DT_HTTP_BAD;
    h->status = status;
    h->why = why;
    h->keep_alive = false;
}

/* ---- the head ---- */

static bool is_token(const char *s) {
    if (!*s)
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
            return false;
    return true;
}

static int hex(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX in place; false: a broken escape, or one that stands for NUL. */
static bool decode_path(char *s) {
    char *to = s;
    for (; *s; s++) {
        if (*s != '%') {
            *to++ = *s;
            continue;
        }
        const int hi = hex(s[1]), lo = hi < 0 ? -1 : hex(s[2]);
        if (lo < 0 || hi * 16 + lo == 0)
            return false;
        *to++ = (char)(hi * 16 + lo);
        s += 2;
    }
    *to = 0;
    return true;
}

static void read_target(dt_http *h, char *target) {
    if (!strncasecmp(target, "http://", 7)) { /* as proxies are asked */
        char *path = strchr(target + 7, '/');
        if (!path) {
            h->path = "/";
            return;
        }
        target = path;
    }
    if (!strcmp(target, "*") && !strcmp(h->method, "OPTIONS")) {
        h->path = target;
        return;
    }
    if (*target != '/') {
        bad(h, 400, "the request target is not a path");
        return;
    }
    char *query = strchr(target, '?');
    if (query) {
        *query = 0;
        h->query = query + 1;
    }
    if (!decode_path(target)) {
        bad(h, 400, "the path has a broken percent escape");
        return;
    }
    h->path = target;
}

static void read_request_line(dt_http *h, char *line) {
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || strchr(version + 1, ' ')) {
        bad(h, 400, "the first line is not `METHOD PATH HTTP/1.1`");
        return;
    }
    *target++ = *version++ = 0;
    if (!is_token(line)) {
        bad(h, 400, "the method is not a word");
        return;
    }
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0) {
        const bool other = !strncmp(version, "HTTP/", 5);
        bad(h, other ? 505 : 400, other ? "only HTTP/1.1 and HTTP/1.0 are spoken here" : "the first line is not `METHOD PATH HTTP/1.1`");
        return;
    }
    h->method = line;
    h->http10 = version[7] == '0';
    read_target(h, target);
}

static void read_header(dt_http *h, char *line) {
    if (h->n_headers == DT_HTTP_HEADERS) {
        bad(h, 431, "too many header lines");
        return;
    }
    char *colon = strchr(line, ':');
    if (colon)
        *colon = 0;
    if (!colon || !is_token(line)) {
        bad(h, 400, "a header line is not `Name: value`");
        return;
    }
    char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = 0;
    h->names[h->n_headers] = line;
    h->values[h->n_headers++] = value;
}

static size_t count(const dt_http *h, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < h->n_headers; i++)
        n += !strcasecmp(h->names[i], name);
    return n;
}

/* Is `word` an item of a comma-separated header? */
static bool lists(const dt_http *h, const char *name, const char *word) {
    const size_t n = strlen(word);
    for (size_t i = 0; i < h->n_headers; i++) {
        if (strcasecmp(h->names[i], name) != 0)
            continue;
        for (const char *s = h->values[i]; *s;) {
            s += strspn(s, ", \t");
            const size_t k = strcspn(s, ", \t");
            if (k == n && !strncasecmp(s, word, n))
                return true;
            s += k;
        }
    }
    return false;
}

static bool read_length(const char *s, size_t *out) {
    size_t n = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (!isdigit((unsigned char)*s) || n > SIZE_MAX / 10 - 1)
            return false;
        n = n * 10 + (size_t)(*s - '0');
    }
    *out = n;
    return true;
}

static void begin_body(dt_http *h) {
    const char *coding = dt_http_header(h, "Transfer-Encoding"), *length = dt_http_header(h, "Content-Length");
    h->state = DT_HTTP_DONE;
    if (coding) {
        if (length || h->http10 || count(h, "Transfer-Encoding") > 1)
            bad(h, 400, "Transfer-Encoding beside Content-Length, repeated, or in HTTP/1.0");
        else if (strcasecmp(coding, "chunked") != 0)
            bad(h, 501, "the only transfer coding known here is chunked");
        else
            h->state = DT_HTTP_SIZE;
    } else if (length) {
        if (count(h, "Content-Length") > 1 || !read_length(length, &h->left))
            bad(h, 400, "Content-Length is not one number");
        else if (h->left > h->limits.body)
            bad(h, 413, "the body is larger than this server takes");
        else if (h->left > 0)
            h->state = DT_HTTP_LENGTH;
    }
    if (h->state == DT_HTTP_BAD)
        return;
    h->keep_alive = h->http10 ? lists(h, "Connection", "keep-alive") : !lists(h, "Connection", "close");
    const char *expect = dt_http_header(h, "Expect");
    if (expect && strcasecmp(expect, "100-continue") != 0)
        bad(h, 417, "an expectation other than 100-continue");
    h->expects = expect && !h->http10 && h->state != DT_HTTP_DONE && h->state != DT_HTTP_BAD;
}

/* All lines are there, each ended by CRLF: they are cut and read in place. */
static void read_head(dt_http *h) {
    char *line = h->head.data, *end = line + h->head.len;
    bool first = true;
    while (line < end && h->state != DT_HTTP_BAD) {
        char *next = memchr(line, '\n', (size_t)(end - line));
        next[-1] = 0;
        if (first)
            read_request_line(h, line);
        else
            read_header(h, line);
        first = false;
        line = next + 1;
    }
    if (h->state != DT_HTTP_BAD && !h->http10 && count(h, "Host") != 1)
        bad(h, 400, "a request of HTTP/1.1 needs one Host header");
    if (h->state != DT_HTTP_BAD)
        begin_body(h);
}

/* A finished line of the head, from line_at to the end of `head`, its CRLF included. */
static void end_head_line(dt_http *h) {
    char *line = h->head.data + h->line_at;
    const size_t n = h->head.len - h->line_at;
    if (n < 2 || line[n - 2] != '\r') {
        bad(h, 400, "a line ends without a carriage return");
        return;
    }
    if (n == 2) {
        h->head.len = h->line_at;
        if (h->line_at > 0)
            read_head(h); /* else: an empty line before the request, which is allowed */
        return;
    }
    if (h->line_at > 0 && (*line == ' ' || *line == '\t')) {
        bad(h, 400, "a header line is folded");
        return;
    }
    for (size_t i = 0; i + 2 < n; i++) {
        const unsigned char c = (unsigned char)line[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            bad(h, 400, "a control character in the head");
            return;
        }
    }
    h->line_at = h->head.len;
}

static size_t feed_head(dt_http *h, const char *p, size_t n) {
    const char *end = memchr(p, '\n', n);
    const size_t k = end ? (size_t)(end - p) + 1 : n;
    if (h->head.len + k > h->limits.head) {
        bad(h, h->line_at ? 431 : 414, h->line_at ? "the headers are too long" : "the first line is too long");
        return 0;
    }
    if (!dt_buf_add(&h->head, p, k)) {
        bad(h, 503, "no memory");
        return 0;
    }
    if (end)
        end_head_line(h);
    return k;
}

/* ---- the body ---- */

static size_t feed_bytes(dt_http *h, const char *p, size_t n, dt_http_state then) {
    const size_t k = n < h->left ? n : h->left;
    if (!dt_buf_add(&h->body, p, k)) {
        bad(h, 503, "no memory for the body");
        return 0;
    }
    h->left -= k;
    if (h->left == 0)
        h->state = then;
    return k;
}

static void end_size(dt_http *h) {
    size_t size = 0, digits = 0;
    const char *s = h->line.data;
    for (; hex(*s) >= 0 && digits <= 12; s++, digits++)
        size = size * 16 + (size_t)hex(*s);
    s += strspn(s, " \t");
    if (digits <= 12 && (!digits || (*s && *s != ';')))
        bad(h, 400, "the size of a chunk is not a hexadecimal number");
    else if (digits > 12 || size > h->limits.body - h->body.len)
        bad(h, 413, "the body is larger than this server takes");
    else
        h->state = size ? DT_HTTP_DATA : DT_HTTP_TRAILER;
    h->left = size;
}

static void end_line(dt_http *h) {
    if (h->line.len < 2 || h->line.data[h->line.len - 2] != '\r') {
        bad(h, 400, "a line of a chunked body ends without a carriage return");
        return;
    }
    h->line.len -= 2;
    h->line.data[h->line.len] = 0;
    if (strlen(h->line.data) != h->line.len) {
        bad(h, 400, "a zero byte in a line of a chunked body");
        return;
    }
    if (h->state == DT_HTTP_SIZE)
        end_size(h);
    else if (h->state == DT_HTTP_TRAILER)
        h->state = h->line.len ? DT_HTTP_TRAILER : DT_HTTP_DONE; /* what a trailer says is not used */
    else if (h->line.len)
        bad(h, 400, "a chunk is longer than its size says");
    else
        h->state = DT_HTTP_SIZE;
    h->line.len = 0;
}

/* The lines of a chunked body: sizes, what ends data, trailers. */
static size_t feed_line(dt_http *h, const char *p, size_t n) {
    const char *end = memchr(p, '\n', n);
    const size_t k = end ? (size_t)(end - p) + 1 : n;
    h->trailers += h->state == DT_HTTP_TRAILER ? k : 0;
    if (h->trailers > h->limits.head || (h->state != DT_HTTP_TRAILER && h->line.len + k > MAX_SIZE_LINE)) {
        bad(h, h->trailers > h->limits.head ? 431 : 400, "a line of a chunked body is too long");
        return 0;
    }
    if (!dt_buf_add(&h->line, p, k)) {
        bad(h, 503, "no memory");
        return 0;
    }
    if (end)
        end_line(h);
    return k;
}

size_t dt_http_feed(dt_http *h, const char *p, size_t n) {
    size_t at = 0;
    while (at < n && h->state != DT_HTTP_DONE && h->state != DT_HTTP_BAD) {
        const bool in_head = h->state == DT_HTTP_HEAD;
        if (in_head)
            at += feed_head(h, p + at, n - at);
        else if (h->state == DT_HTTP_LENGTH)
            at += feed_bytes(h, p + at, n - at, DT_HTTP_DONE);
        else if (h->state == DT_HTTP_DATA)
            at += feed_bytes(h, p + at, n - at, DT_HTTP_DATA_END);
        else
            at += feed_line(h, p + at, n - at);
        if (in_head && h->state != DT_HTTP_HEAD)
            break; /* the caller looks at the head first */
    }
    return at;
}

/* ---- names ---- */

const char *dt_http_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } all[] = {
        {100, "Continue"},
        {200, "OK"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < DT_COUNT(all); i++)
        if (all[i].status == status)
            return all[i].reason;
    return "Unknown";
}

/* HTTP/1.0 and 1.1 requests from the bytes of a connection (RFC 9112). Knows no socket and never waits: it is fed what came
 * and says how much of it was the request's.
 *
 * request-line CRLF, header lines CRLF, CRLF, then the body: Content-Length bytes, or chunks (hexadecimal size CRLF, data CRLF),
 * or nothing. What is ambiguous is refused, never repaired: bare line feeds, folded lines, blanks before a colon, two lengths. */
#ifndef DT_SERVE_HTTP_H
#define DT_SERVE_HTTP_H

#include "base/base.h"

#define DT_HTTP_HEADERS 64

typedef struct dt_http_limits {
    size_t head; /* bytes of request line and headers together; trailers as well */
    size_t body;
} dt_http_limits;

typedef enum dt_http_state {
    DT_HTTP_HEAD, /* in the request line and headers, or before them */
    DT_HTTP_LENGTH,
    DT_HTTP_SIZE, /* chunks: a size, data, the line behind data, trailers */
    DT_HTTP_DATA,
    DT_HTTP_DATA_END,
    DT_HTTP_TRAILER,
    DT_HTTP_DONE, /* a whole request */
    DT_HTTP_BAD   /* `status` and `why` say what is wrong; nothing more can be read from this connection */
} dt_http_state;

typedef struct dt_http {
    dt_http_limits limits;
    dt_http_state state;
    /* valid from the first byte of the body on; borrowed until dt_http_reset */
    const char *method, *path; /* path: percent-decoded, without its query */
    const char *query;         /* as it came, "" = none */
    const char *names[DT_HTTP_HEADERS], *values[DT_HTTP_HEADERS];
    size_t n_headers;
    bool http10, keep_alive;
    bool expects; /* "Expect: 100-continue": the client waits for a word before it sends the body */
    dt_buf body;
    int status;
    const char *why;
    /* inside */
    dt_buf head, line;
    size_t line_at, left, trailers;
} dt_http;

void dt_http_init(dt_http *h, const dt_http_limits *limits);
void dt_http_clear(dt_http *h);
void dt_http_reset(dt_http *h); /* for the next request of the connection */
/* Takes bytes of the request, up to its end; returns how many. 0 once it is done or bad. */
size_t dt_http_feed(dt_http *h, const char *p, size_t n);
bool dt_http_begun(const dt_http *h); /* did any byte of this request come? */
bool dt_http_has_head(const dt_http *h);
/* The value of a header, "" where it is empty, NULL where it is not there; names are compared without case. */
const char *dt_http_header(const dt_http *h, const char *name);

const char *dt_http_reason(int status); /* "Not Found" */

#endif

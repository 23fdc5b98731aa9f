/* Files that are part of the program: a page and what it needs. Their names are fixed when it is built. */
#include "serve/static.h"

#include <string.h>

static const char policy[] = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
                             "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
                             "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";

bool dt_static_route(const char *path) {
    dt_static_file file;
    return dt_static_find(path, &file);
}

/* The tag is the hash of what is in the file, so a browser keeps it until it changes. */
void dt_static_get(dt_conn *c) {
    dt_static_file file;
    const char *known = dt_http_header(&c->http, "If-None-Match");
    char extra[640], tag[32];
    if (!dt_static_find(c->http.path, &file))
        return; /* the routes sent nobody else */
    snprintf(tag, sizeof tag, "\"%016llx\"", (unsigned long long)dt_hash64(file.data, file.n, 0));
    snprintf(extra, sizeof extra, "ETag: %s\r\nCache-Control: no-cache\r\n%s", tag, policy);
    if (known && strstr(known, tag))
        dt_conn_reply(c, 304, NULL, extra, NULL, 0);
    else
        dt_conn_reply(c, 200, file.type, extra, file.data, file.n);
}

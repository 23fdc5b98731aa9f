/* Files that are part of the program. */
#ifndef DT_SERVE_STATIC_H
#define DT_SERVE_STATIC_H

#include "serve/server.h"

typedef struct dt_static_file {
    const char *path; /* "/", "/app.js" */
    const char *type; /* "text/html; charset=utf-8" */
    const void *data;
    size_t n;
} dt_static_file;

bool dt_static_find(const char *path, dt_static_file *out); /* web.c */

bool dt_static_route(const char *path);
void dt_static_get(dt_conn *c); /* no key is asked for: there is nothing in them that others may not see */

#endif

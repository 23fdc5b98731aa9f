/* The address of a remote model: http(s)://host[:port][/path][#model]. */
#include "backend/remote.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool dt_remote_is_address(const char *path) {
    return !strncasecmp(path, "http://", 7) || !strncasecmp(path, "https://", 8);
}

void dt_remote_address_clear(dt_remote_address *a) {
    free(a->base);
    free(a->model);
    *a = (dt_remote_address){0};
}

static bool is_loopback(const char *host) {
    return !strcasecmp(host, "localhost") || !strcmp(host, "::1") || !strcmp(host, "[::1]") || !strncmp(host, "127.", 4);
}

static char *part_of(CURLU *u, CURLUPart part) {
    char *s = NULL;
    return curl_url_get(u, part, &s, 0) ? NULL : s;
}

duet_status dt_remote_address_parse(const char *text, dt_remote_address *out, duet_err *err) {
    duet_status st = DUET_OK;
    char *host = NULL, *user = NULL, *query = NULL;
    *out = (dt_remote_address){0};

    const char *model = strchr(text, '#');
    char *base = strndup(text, model ? (size_t)(model - text) : strlen(text));
    CURLU *u = curl_url();
    if (!base || !u) {
        st = dt_fail(err, DUET_E_NOMEM, "%.200s: no memory to open it", text);
        goto done;
    }
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            st = dt_fail(err, DUET_E_USAGE, "%.200s: an address has no blanks or control characters", text);
            goto done;
        }
    if (curl_url_set(u, CURLUPART_URL, base, 0)) {
        st = dt_fail(err, DUET_E_USAGE, "%.200s: not an address; one looks like https://host/v1#model", text);
        goto done;
    }
    host = part_of(u, CURLUPART_HOST);
    user = part_of(u, CURLUPART_USER);
    query = part_of(u, CURLUPART_QUERY);
    if (!host || !*host || user || query) {
        st = dt_fail(err, DUET_E_USAGE, "%s: an address looks like https://host/v1#model%s",
                     user || query ? "the address" : text, user ? ", without a user; a key is named by --key-env"
                     : query ? ", without a query"
                             : "");
        goto done;
    }
    for (size_t n = strlen(base); n > 0 && base[n - 1] == '/'; n--)
        base[n - 1] = 0;
    out->loopback = is_loopback(host);
    out->base = base;
    base = NULL;
    if (model && model[1] && !(out->model = dt_strdup(model + 1)))
        st = dt_fail(err, DUET_E_NOMEM, "%.200s: no memory to open it", text);
done:
    curl_free(host);
    curl_free(user);
    curl_free(query);
    curl_url_cleanup(u);
    free(base);
    if (st)
        dt_remote_address_clear(out);
    return st;
}

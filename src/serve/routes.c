/* Which request goes where, and who may ask at all. */
#include "serve/chat.h"
#include "serve/static.h"

#include "format/jsonl.h"

#include <string.h>
#include <strings.h>

typedef struct route {
    const char *method, *path;
    bool open; /* needs no key */
    void (*get)(dt_conn *c);
    void (*post)(dt_conn *c, json_t *body); /* body: taken, an object */
} route;

static void get_health(dt_conn *c) {
    dt_conn_json(c, c->s->stopping ? 503 : 200, NULL, json_pack("{s:s}", "status", c->s->stopping ? "stopping" : "ok"));
}

static void get_models(dt_conn *c) {
    dt_conn_json(c, 200, NULL, dt_models_json(c->s));
}

static const route routes[] = {
    {"GET",  "/health",              true,  get_health, NULL         },
    {"GET",  "/v1/health",           true,  get_health, NULL         },
    {"GET",  "/v1/models",           false, get_models, NULL         },
    {"GET",  "/props",               false, dt_props_get,   NULL              },
    {"GET",  "/metrics",             false, dt_metrics_get, NULL              },
    {"POST", "/v1/chat/completions", false, NULL,           dt_chat_start     },
    {"POST", "/v1/completions",      false, NULL,           dt_completion_start},
    {"POST", "/tokenize",            false, NULL,           dt_tokens_encode  },
    {"POST", "/detokenize",          false, NULL,           dt_tokens_decode  },
    {"POST", "/apply-template",      false, NULL,           dt_tokens_template},
};

/* ---- who may ask ---- */

static bool same_text(const char *a, const char *b, size_t n) {
    unsigned char differ = 0;
    for (size_t i = 0; i < n; i++)
        differ |= (unsigned char)(a[i] ^ b[i]);
    return !differ;
}

/* Hashes are compared, all of them and to their ends: the time says nothing about the keys. */
static bool may_ask(const dt_conn *c) {
    const char *value = dt_http_header(&c->http, "Authorization");
    char hash[65];
    dt_sha256 h;
    bool found = false;
    if (!c->s->opt.n_api_keys)
        return true;
    if (!value || strncasecmp(value, "Bearer ", 7) != 0)
        return false;
    value += 7 + strspn(value + 7, " ");
    dt_sha256_init(&h);
    dt_sha256_add(&h, value, strlen(value));
    dt_sha256_hex(&h, hash);
    for (size_t i = 0; i < c->s->opt.n_api_keys; i++)
        found |= same_text(hash, c->s->keys[i], 64);
    return found;
}

static bool from_allowed_origin(const dt_conn *c) {
    const char *allowed = c->s->opt.cors_origin, *origin = dt_http_header(&c->http, "Origin");
    return allowed && origin && (!strcmp(allowed, "*") || !strcmp(allowed, origin));
}

void dt_serve_cors(dt_conn *c) {
    if (!from_allowed_origin(c))
        return;
    dt_conn_header(c, "Access-Control-Allow-Origin: ");
    dt_conn_header(c, c->s->opt.cors_origin);
    dt_conn_header(c, "\r\nVary: Origin\r\nAccess-Control-Expose-Headers: X-Duet-Answer, Retry-After\r\n");
}

/* ---- the way ---- */

/* Browsers send forms to any server without asking first, but JSON only where that allows it: so only JSON is read. */
static json_t *read_body(dt_conn *c, dt_fault *f) {
    const char *type = dt_http_header(&c->http, "Content-Type");
    const size_t n = type ? strcspn(type, "; \t") : 0;
    json_t *body = NULL;
    duet_err err = {{0}};
    if (!type || n != 16 || strncasecmp(type, "application/json", n) != 0) {
        dt_fault_set(f, 415, NULL, NULL, "Content-Type is %.60s, must be application/json", type ? type : "missing");
        return NULL;
    }
    if (dt_json_parse("the body", c->http.body.data ? c->http.body.data : "", c->http.body.len, &body, &err)) {
        dt_fault_set(f, 400, NULL, "invalid_json", "%s", err.text);
        return NULL;
    }
    if (!json_is_object(body)) {
        json_decref(body);
        dt_fault_set(f, 400, NULL, "invalid_json", "the body is not a JSON object");
        return NULL;
    }
    return body;
}

static void fault(dt_conn *c, int status, const char *code, const char *text) {
    dt_fault f;
    dt_fault_set(&f, status, NULL, code, "%s", text);
    dt_conn_fault(c, &f);
}

static void no_key(dt_conn *c) {
    fault(c, 401, "invalid_api_key",
          dt_http_header(&c->http, "Authorization") ? "the API key is wrong" : "an API key is needed: Authorization: Bearer KEY");
}

static void other_method(dt_conn *c, const route *r) {
    const bool get = r->get != NULL;
    dt_fault f;
    if (!strcmp(c->http.method, "OPTIONS") && from_allowed_origin(c)) {
        dt_conn_reply(c, 204, NULL,
                      "Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Allow-Headers: Authorization, Content-Type\r\n"
                      "Access-Control-Max-Age: 600\r\n",
                      NULL, 0);
        return;
    }
    dt_fault_set(&f, 405, NULL, "method_not_allowed", "%s takes %s, not %.20s", r->path, r->method, c->http.method);
    dt_conn_json(c, 405, get ? "Allow: GET, HEAD\r\n" : "Allow: POST\r\n", dt_fault_json(&f));
}

static void take(dt_conn *c, const route *r) {
    const char *method = c->http.method;
    dt_fault f;
    json_t *body = NULL;
    if (strcmp(method, r->method) != 0 && !(r->get && !strcmp(method, "HEAD")))
        other_method(c, r);
    else if (!r->open && !may_ask(c))
        no_key(c);
    else if (r->get)
        r->get(c);
    else if ((body = read_body(c, &f)))
        r->post(c, body);
    else
        dt_conn_fault(c, &f);
}

const char *dt_route_name(const char *path) {
    for (size_t i = 0; i < DT_COUNT(routes); i++)
        if (!strcmp(routes[i].path, path))
            return path;
    return dt_answers_route(path) ? "/v1/answers" : dt_static_route(path) ? "page" : "other";
}

/* Paths that are not in the table. */
static void take_other(dt_conn *c) {
    static const route page = {.method = "GET", .path = "the page", .open = true, .get = dt_static_get};
    static const route answers = {.method = "POST", .path = "an answer"};
    if (dt_static_route(c->http.path))
        take(c, &page);
    else if (!dt_answers_route(c->http.path))
        fault(c, 404, "not_found", "there is nothing at this path");
    else if (strcmp(c->http.method, "POST") != 0)
        other_method(c, &answers);
    else if (!may_ask(c))
        no_key(c);
    else
        dt_answers_post(c);
}

void dt_route(dt_conn *c) {
    for (size_t i = 0; i < DT_COUNT(routes); i++) {
        if (!strcmp(routes[i].path, c->http.path)) {
            take(c, &routes[i]);
            return;
        }
    }
    take_other(c);
}

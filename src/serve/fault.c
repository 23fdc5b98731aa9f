/* Errors as OpenAI's clients know them: {"error": {"message", "type", "param", "code"}}. */
#include "serve/server.h"

#include <string.h>

static const char *type_of(int status) {
    switch (status) {
    case 401:
        return "authentication_error";
    case 429:
        return "rate_limit_error";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

bool dt_fault_set(dt_fault *f, int status, const char *param, const char *code, const char *fmt, ...) {
    va_list ap;
    *f = (dt_fault){.status = status, .type = type_of(status), .code = code};
    snprintf(f->param, sizeof f->param, "%s", param ? param : "");
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    return false;
}

void dt_fault_from(dt_fault *f, duet_status st, const duet_err *err) {
    switch (st) {
    case DUET_E_RANGE:
        dt_fault_set(f, 400, "messages", "context_length_exceeded", "%s", err->text);
        return;
    case DUET_E_FORMAT:
        dt_fault_set(f, 400, "messages", NULL, "%s", err->text);
        return;
    case DUET_E_USAGE:
    case DUET_E_UNSUPPORTED:
        dt_fault_set(f, 400, NULL, NULL, "%s", err->text);
        return;
    case DUET_E_BACKEND:
        dt_fault_set(f, 502, NULL, "backend_failed", "%s", err->text);
        return;
    case DUET_E_CANCELLED:
        dt_fault_set(f, 503, NULL, "shutting_down", "the server is stopping");
        return;
    default:
        dt_fault_set(f, 500, NULL, NULL, "%s", err->text);
        return;
    }
}

/* A sentence may quote what a client sent; cut anywhere, it must still be UTF-8. */
static json_t *text(const char *s) {
    json_t *j = json_string(s);
    size_t n = strlen(s);
    for (int i = 0; !j && i < 4 && n; i++)
        j = json_stringn(s, --n);
    return j ? j : json_string("(the message is not valid UTF-8)");
}

json_t *dt_fault_json(const dt_fault *f) {
    return json_pack("{s:{s:o,s:s,s:s?,s:s?}}", "error", "message", text(f->text), "type", f->type, "param",
                     f->param[0] ? f->param : NULL, "code", f->code);
}

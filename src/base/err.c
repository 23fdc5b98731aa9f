/* Status names and the one-line error sentence. */
#include "base/base.h"

#include <string.h>

const char *duet_status_name(duet_status st) {
    switch (st) {
    case DUET_OK: return "ok";
    case DUET_WAIT: return "wait";
    case DUET_END: return "end";
    case DUET_E_NOMEM: return "no memory";
    case DUET_E_IO: return "input/output";
    case DUET_E_FORMAT: return "format";
    case DUET_E_RANGE: return "range";
    case DUET_E_USAGE: return "usage";
    case DUET_E_UNSUPPORTED: return "unsupported";
    case DUET_E_CANCELLED: return "cancelled";
    case DUET_E_BACKEND: return "backend";
    case DUET_E_INTERNAL: return "internal";
    }
    return "unknown";
}

#ifdef __clang_analyzer__
#undef dt_fail
#undef dt_fail_in
#endif

duet_status dt_fail(duet_err *err, duet_status st, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
        for (char *p = err->text; *p; p++) /* one line, whatever a file name or token held */
            if (*p == '\n' || *p == '\r') *p = ' ';
    }
    return st;
}

duet_status dt_fail_in(duet_err *err, duet_status st, const char *fmt, ...) {
    if (err) {
        char old[sizeof err->text], head[sizeof err->text];
        va_list ap;
        memcpy(old, err->text, sizeof old);
        old[sizeof old - 1] = 0;
        va_start(ap, fmt);
        vsnprintf(head, sizeof head, fmt, ap);
        va_end(ap);
        size_t n = strlen(head);
        if (n > sizeof head / 2) n = sizeof head / 2; /* keep room for the cause */
        snprintf(err->text, sizeof err->text, "%.*s: %.*s", (int)n, head, (int)(sizeof old - n - 3), old);
    }
    return st;
}

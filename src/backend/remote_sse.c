/* Server-sent events: bytes in any pieces -> the data of each event. Lines end with \n, \r\n or \r; a line that begins with a
 * colon is a comment; fields other than data mean nothing here. [HTML standard, "Server-sent events"] */
#include "backend/remote.h"

#include <string.h>

void dt_sse_clear(dt_sse *s) {
    dt_buf_clear(&s->line);
    dt_buf_clear(&s->data);
    *s = (dt_sse){0};
}

static duet_status too_long(const char *what, duet_err *err) {
    return dt_fail(err, DUET_E_FORMAT, "%s is longer than %zu bytes", what, DT_SSE_MAX);
}

static duet_status add_data(dt_sse *s, const char *line, size_t n, duet_err *err) {
    if (n && *line == ' ') {
        line++;
        n--;
    }
    if (s->data.len + n + 1 > DT_SSE_MAX)
        return too_long("an event of its stream", err);
    if (s->has_data)
        dt_buf_add(&s->data, "\n", 1);
    dt_buf_add(&s->data, line, n);
    s->has_data = true;
    return s->data.failed ? dt_fail(err, DUET_E_NOMEM, "no memory for an event") : DUET_OK;
}

static duet_status take_line(dt_sse *s, const char *line, size_t n, int (*fn)(void *, const char *, size_t), void *user,
                             duet_err *err) {
    duet_status st = DUET_OK;
    if (!s->begun && n >= 3 && !memcmp(line, "\xef\xbb\xbf", 3)) {
        line += 3;
        n -= 3;
    }
    s->begun = true;
    if (n >= 5 && !memcmp(line, "data:", 5))
        return add_data(s, line + 5, n - 5, err);
    if (n == 4 && !memcmp(line, "data", 4))
        return add_data(s, "", 0, err);
    if (n == 0 && s->has_data) {
        st = fn(user, s->data.data ? s->data.data : "", s->data.len) ? DUET_END : DUET_OK;
        s->has_data = false;
        s->data.len = 0;
    }
    return st;
}

duet_status dt_sse_push(dt_sse *s, const char *bytes, size_t n, int (*fn)(void *user, const char *data, size_t n),
                        void *user, duet_err *err) {
    duet_status st = DUET_OK;
    size_t at = 0;
    while (at < n && !st) {
        if (s->after_cr && bytes[at] == '\n') {
            s->after_cr = false;
            at++;
            continue;
        }
        s->after_cr = false;
        size_t end = at;
        while (end < n && bytes[end] != '\n' && bytes[end] != '\r')
            end++;
        const bool whole = end < n;
        if (s->line.len + (end - at) > DT_SSE_MAX)
            return too_long("a line of its stream", err);
        if (whole && s->line.len == 0) { /* the usual case: no copy */
            st = take_line(s, bytes + at, end - at, fn, user, err);
        } else {
            if (!dt_buf_add(&s->line, bytes + at, end - at))
                return dt_fail(err, DUET_E_NOMEM, "no memory for a line of %zu bytes", s->line.len + (end - at));
            if (whole) {
                st = take_line(s, s->line.data ? s->line.data : "", s->line.len, fn, user, err);
                s->line.len = 0;
            }
        }
        s->after_cr = whole && bytes[end] == '\r';
        at = end + whole;
    }
    return st;
}

/* JSON lines in, JSON lines out: one object a line, same order, flushed line by line; a line that fails is answered by
 * {"error": ...} and the rest is done. */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_LINE ((size_t)64 << 20)

typedef struct reader {
    dt_buf buf;
    size_t at;   /* start of what was not yet returned */
    size_t seen; /* from `at`: bytes known to hold no newline */
    bool eof;
    int why; /* errno of a failed read */
} reader;

typedef enum next { NEXT_LINE, NEXT_LATER, NEXT_END } next;

/* Reads once; false at the end, on an error, or when interrupted. */
static bool fill(reader *r) {
    char chunk[1 << 16];
    ssize_t n = 0;
    if (r->at) { /* what was returned is done with */
        memmove(r->buf.data, r->buf.data + r->at, r->buf.len - r->at);
        r->buf.len -= r->at;
        r->at = 0;
    }
    do {
        n = read(STDIN_FILENO, chunk, sizeof chunk);
    } while (n < 0 && errno == EINTR && !dt_interrupted());
    if (n < 0 && errno != EINTR)
        r->why = errno;
    if (n > 0 && (r->buf.len + (size_t)n > MAX_LINE + sizeof chunk || !dt_buf_add(&r->buf, chunk, (size_t)n))) {
        r->why = ENOMEM;
        n = -1;
    }
    r->eof = n <= 0;
    return !r->eof;
}

/* The next line without its end, borrowed until the next call of fill(). With `wait` false only what is there at once.
 */
static next next_line(reader *r, bool wait, const char **line, size_t *n) {
    for (;;) {
        const char *from = r->buf.data ? r->buf.data + r->at : NULL;
        size_t have = r->buf.len - r->at;
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): without data there are no bytes to look at */
        const char *end = have > r->seen ? memchr(from + r->seen, '\n', have - r->seen) : NULL;
        if (end || (r->eof && have)) {
            *line = from;
            *n = end ? (size_t)(end - from) : have;
            r->at += *n + (end != NULL);
            r->seen = 0;
            return NEXT_LINE;
        }
        r->seen = have;
        if (r->eof || dt_interrupted())
            return NEXT_END;
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        if (!wait && poll(&p, 1, 0) != 1)
            return NEXT_LATER;
        if (!fill(r) && dt_interrupted())
            return NEXT_END;
    }
}

static bool blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r", s[i]) || !s[i])
            return false;
    return true;
}

static json_t *parse(const char *line, size_t n, size_t number, json_t **error) {
    json_error_t je;
    duet_err err = {{0}};
    json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!j)
        dt_fail(&err, DUET_E_FORMAT, "line %zu is not valid JSON (column %d): %s", number, je.column, je.text);
    else if (!json_is_object(j))
        dt_fail(&err, DUET_E_FORMAT, "line %zu is not a JSON object", number);
    if (!err.text[0])
        return j;
    json_decref(j);
    *error = cli_error_json(err.text);
    return NULL;
}

/* One round: the good lines go to fn together, then all answers are printed in order. */
static int answer(json_t **in, json_t **out, size_t n, cli_lines_fn fn, void *user, bool *any_failed) {
    json_t **good = dt_calloc(n, sizeof *good), **made = dt_calloc(n, sizeof *made);
    duet_err err = {{0}};
    duet_status st = DUET_OK;
    size_t k = 0;
    int code = EXIT_DONE;
    if (!good || !made) {
        code = cli_fail(EXIT_FAILED, "no memory for %zu lines", n);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        if (in[i])
            good[k++] = in[i];
    if (k)
        st = fn(user, good, made, k, &err);
    k = 0;
    for (size_t i = 0; i < n && !code; i++) {
        json_t *j = in[i] ? made[k] : out[i];
        if (in[i])
            made[k++] = NULL;
        else
            out[i] = NULL;
        if (!j && st)
            continue; /* ended before its turn: fn says why below */
        *any_failed = *any_failed || !j || json_object_get(j, "error");
        if (!cli_put_json(j ? j : cli_error_json("no memory for the answer")))
            code = cli_finish(EXIT_DONE);
    }
    for (size_t i = 0; i < n; i++)
        json_decref(made[i]);
    if (st && !code)
        code = cli_fail_status(st, &err);
done:
    free(good);
    free(made);
    return code;
}

int cli_each_line(size_t batch, cli_lines_fn fn, void *user) {
    reader r = {0};
    size_t number = 0;
    bool any_failed = false, end = false;
    int code = EXIT_DONE;
    if (!batch)
        batch = 1;
    json_t **in = dt_calloc(batch, sizeof *in), **out = dt_calloc(batch, sizeof *out);
    if (!in || !out)
        code = cli_fail(EXIT_FAILED, "no memory for %zu lines", batch);
    while (!code && !end) {
        size_t n = 0;
        while (n < batch) {
            const char *line = NULL;
            size_t len = 0;
            next got = next_line(&r, n == 0, &line, &len);
            end = got == NEXT_END;
            if (got != NEXT_LINE)
                break;
            number++;
            if (blank(line, len))
                continue;
            /* both are there, or the loop would have ended with code: NOLINTBEGIN(clang-analyzer-core.NullDereference) */
            out[n] = NULL;
            in[n] = parse(line, len, number, &out[n]);
            n++;
            /* NOLINTEND(clang-analyzer-core.NullDereference) */
        }
        if (n)
            code = answer(in, out, n, fn, user, &any_failed);
        for (size_t i = 0; i < n; i++) {
            json_decref(in[i]);
            json_decref(out[i]);
            in[i] = out[i] = NULL;
        }
    }
    if (!code && r.why)
        code = cli_fail(EXIT_INPUT, "standard input: cannot read line %zu: %s", number + 1, strerror(r.why));
    if (!code && dt_interrupted())
        code = cli_fail(EXIT_INTERRUPTED, "interrupted");
    free(in);
    free(out);
    dt_buf_clear(&r.buf);
    return code ? code : any_failed ? EXIT_FAILED : EXIT_DONE;
}

typedef struct alone {
    cli_line_fn fn;
    void *user;
} alone;

static duet_status answer_alone(void *user, json_t *const *in, json_t **out, size_t n, duet_err *unused) {
    const alone *a = user;
    (void)unused;
    for (size_t i = 0; i < n; i++) {
        duet_err err = {{0}};
        out[i] = cli_or_error(a->fn(a->user, in[i], &err), &err);
    }
    return DUET_OK;
}

int cli_each_line_alone(size_t batch, cli_line_fn fn, void *user) {
    alone a = {fn, user};
    return cli_each_line(batch, answer_alone, &a);
}

duet_status cli_read_stdin(dt_buf *b, duet_err *err) {
    reader r = {0};
    while (r.buf.len <= MAX_LINE && fill(&r))
        ;
    if (dt_interrupted())
        r.why = EINTR;
    duet_status st = DUET_OK;
    if (r.why)
        st = dt_fail(err, r.why == EINTR ? DUET_E_CANCELLED : DUET_E_IO, "standard input: cannot read: %s",
                     strerror(r.why));
    else if (r.buf.len > MAX_LINE)
        st = dt_fail(err, DUET_E_RANGE, "standard input: more than %zu bytes", MAX_LINE);
    while (r.buf.len && (r.buf.data[r.buf.len - 1] == '\n' || r.buf.data[r.buf.len - 1] == '\r'))
        r.buf.len--;
    if (!st && !dt_buf_add(b, r.buf.data ? r.buf.data : "", r.buf.len))
        st = dt_fail(err, DUET_E_NOMEM, "no memory for standard input");
    dt_buf_clear(&r.buf);
    return st;
}

/* Streams: results on stdout, everything else on stderr; which exit code goes with which failure. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool live_shown;
static int write_error; /* errno of the first failed write to stdout */

bool cli_colour(int fd) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && term && *term && strcmp(term, "dumb") != 0;
}

void cli_live(const char *line) {
    if (!cli_colour(STDERR_FILENO))
        return;
    if (line || live_shown)
        fprintf(stderr, "\r\033[K%s", line ? line : "");
    fflush(stderr);
    live_shown = line != NULL;
}

int cli_fail(int code, const char *fmt, ...) {
    va_list ap;
    cli_live(NULL);
    fflush(stdout);
    fputs("duet: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return code;
}

int cli_fail_status(duet_status st, const duet_err *err) {
    int code = EXIT_FAILED;
    switch (st) {
    case DUET_E_USAGE:
        code = EXIT_USAGE;
        break;
    case DUET_E_FORMAT:
        code = EXIT_INPUT;
        break;
    case DUET_E_BACKEND:
        code = EXIT_BACKEND;
        break;
    case DUET_E_CANCELLED:
        code = EXIT_INTERRUPTED;
        break;
    default:
        break;
    }
    if (code == EXIT_INTERRUPTED)
        return cli_fail(code, "interrupted");
    return cli_fail(code, "%s", err->text[0] ? err->text : duet_status_name(st));
}

int cli_fail_input(duet_status st, const duet_err *err) {
    switch (st) {
    case DUET_E_IO:
    case DUET_E_RANGE:
    case DUET_E_UNSUPPORTED:
        return cli_fail(EXIT_INPUT, "%s", err->text);
    default:
        return cli_fail_status(st, err);
    }
}

int cli_fail_option(duet_status st, const duet_err *err) {
    return st == DUET_E_RANGE ? cli_fail(EXIT_USAGE, "%s", err->text) : cli_fail_status(st, err);
}

void cli_put_text(FILE *f, const char *s, size_t n) {
    bool filter = isatty(fileno(f));
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        putc(filter && control ? '?' : s[i], f);
    }
}

bool cli_flush(void) {
    errno = 0;
    bool ok = !fflush(stdout) && !ferror(stdout);
    if (!ok && !write_error)
        write_error = errno;
    return ok;
}

bool cli_put_json(json_t *j) {
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (!text && !write_error)
        write_error = ENOMEM;
    bool ok = text && puts(text) >= 0 && cli_flush();
    free(text);
    json_decref(j);
    return ok;
}

int cli_print_json(json_t *j) {
    return cli_put_json(j) ? EXIT_DONE : cli_finish(EXIT_DONE);
}

json_t *cli_error_json(const char *text) {
    json_t *said = json_string(text); /* NULL for a text that quotes bytes that are not UTF-8 */
    return json_pack("{s:o}", "error", said ? said : json_string("failed, in a way that quotes invalid UTF-8"));
}

json_t *cli_or_error(json_t *answer, const duet_err *err) {
    return answer ? answer : cli_error_json(err->text[0] ? err->text : "no memory");
}

json_t *cli_real(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *cli_ids_json(const int32_t *ids, size_t n) {
    json_t *a = json_array();
    for (size_t i = 0; a && i < n; i++) {
        if (json_array_append_new(a, json_integer(ids[i]))) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

bool cli_ids_from(const json_t *j, duet_ids *out, duet_err *err) {
    size_t n = json_array_size(j);
    *out = (duet_ids){0};
    if (!json_is_array(j)) {
        dt_fail(err, DUET_E_FORMAT, "ids is not an array");
        return false;
    }
    out->v = dt_calloc(n, sizeof *out->v);
    if (!out->v) {
        dt_fail(err, DUET_E_NOMEM, "no memory for %zu ids", n);
        return false;
    }
    out->n = out->cap = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(j, i);
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > INT32_MAX) {
            dt_fail(err, DUET_E_FORMAT, "ids[%zu] is not a token id", i);
            duet_ids_free(out);
            return false;
        }
        out->v[i] = (int32_t)json_integer_value(x);
    }
    return true;
}

int cli_finish(int code) {
    cli_live(NULL);
    bool bad = !cli_flush() || write_error;
    if (bad && code == EXIT_DONE)
        return cli_fail(EXIT_FAILED, "standard output: cannot write: %s", strerror(write_error ? write_error : EIO));
    return code;
}

const char *cli_bytes_text(double n, char out[32]) {
    const char *unit = n < 1e6 ? "kB" : n < 1e9 ? "MB" : "GB";
    snprintf(out, 32, "%.1f %s", n < 1e6 ? n / 1e3 : n < 1e9 ? n / 1e6 : n / 1e9, unit);
    return out;
}

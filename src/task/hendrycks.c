/* The string normalisation of the MATH benchmark (Hendrycks et al. 2021), exactly as public, right or wrong: the reference's
 * grader (duet-algorithm section 6). */
#include "task/hendrycks.h"

#include <stdlib.h>

/* Replaces every `from` by `to`. */
static void replace(dt_buf *b, const char *from, const char *to) {
    dt_buf out = {0};
    dt_span s = {b->data, b->len};
    for (size_t i = 0; i < s.n;) {
        if (dt_span_starts(s, i, from)) {
            dt_buf_adds(&out, to);
            i += strlen(from);
        } else {
            dt_buf_add(&out, s.p + i, 1);
            i++;
        }
    }
    dt_buf_add(&out, "", 0);
    bool failed = b->failed || out.failed;
    dt_buf_clear(b);
    *b = out;
    b->failed = failed;
}

/* \sqrt3 -> \sqrt{3}; the text after each \sqrt must not be empty, else the normalisation fails. */
static bool fix_sqrt(dt_buf *b) {
    dt_buf out = {0};
    dt_span s = {b->data, b->len};
    bool ok = true;
    for (size_t i = 0; i < s.n;) {
        if (!dt_span_starts(s, i, "\\sqrt")) {
            dt_buf_add(&out, s.p + i++, 1);
            continue;
        }
        i += 5;
        dt_buf_adds(&out, "\\sqrt");
        if (i >= s.n || dt_span_starts(s, i, "\\sqrt")) {
            ok = false;
            break;
        }
        if (s.p[i] == '{') continue;
        dt_buf_addf(&out, "{%c}", s.p[i++]);
    }
    dt_buf_add(&out, "", 0);
    if (ok) {
        dt_buf_clear(b);
        *b = out;
    } else {
        dt_buf_clear(&out);
    }
    return ok;
}

/* \frac12 -> \frac{1}{2}, \frac1{72} -> \frac{1}{72}; too short a piece leaves the whole string as it is. */
static void fix_fracs(dt_buf *b) {
    dt_buf out = {0};
    dt_span s = {b->data, b->len};
    size_t i = dt_span_find(s, 0, "\\frac");
    if (i == SIZE_MAX) return;
    dt_buf_add(&out, s.p, i);
    while (i < s.n) {
        size_t next = dt_span_find(s, i + 5, "\\frac");
        dt_span piece = {s.p + i + 5, (next == SIZE_MAX ? s.n : next) - i - 5};
        dt_buf_adds(&out, "\\frac");
        if (piece.n && piece.p[0] == '{') {
            dt_buf_add(&out, piece.p, piece.n);
        } else {
            if (piece.n < 2) {
                dt_buf_clear(&out);
                return;
            }
            if (piece.p[1] == '{')
                dt_buf_addf(&out, "{%c}", piece.p[0]);
            else
                dt_buf_addf(&out, "{%c}{%c}", piece.p[0], piece.p[1]);
            size_t used = piece.p[1] == '{' ? 1 : 2;
            dt_buf_add(&out, piece.p + used, piece.n - used);
        }
        i = next == SIZE_MAX ? s.n : next;
    }
    dt_buf_clear(b);
    *b = out;
}

static bool whole_number(dt_span s, long long *v) {
    char text[24], *end = NULL;
    if (!s.n || s.n > 18) return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    *v = strtoll(text, &end, 10);
    char again[32];
    snprintf(again, sizeof again, "%lld", *v);
    return !*end && !strcmp(again, text);
}

/* a/b of two plain integers -> \frac{a}{b} */
static void fix_slash(dt_buf *b) {
    dt_span s = {b->data, b->len};
    const char *slash = memchr(s.p, '/', s.n);
    long long x = 0, y = 0;
    if (!slash || memchr(slash + 1, '/', s.n - (size_t)(slash - s.p) - 1)) return;
    if (!whole_number((dt_span){s.p, (size_t)(slash - s.p)}, &x) || !whole_number((dt_span){slash + 1, s.n - (size_t)(slash - s.p) - 1}, &y)) return;
    dt_buf out = {0};
    dt_buf_addf(&out, "\\frac{%lld}{%lld}", x, y);
    dt_buf_clear(b);
    *b = out;
}

bool dt_hendrycks_normalise(dt_span in, dt_buf *b) {
    static const struct {
        const char *from, *to;
    } steps[] = {{"\n", ""},        {"\\!", ""},         {"\\\\", "\\"},       {"tfrac", "frac"}, {"dfrac", "frac"},
                 {"\\left", ""},    {"\\right", ""},     {"^{\\circ}", ""},    {"^\\circ", ""},   {"\\$", ""}};
    dt_buf_add(b, in.p, in.n);
    for (size_t i = 0; i < DT_COUNT(steps); i++)
        replace(b, steps[i].from, steps[i].to);
    dt_span s = {b->data, b->len};
    size_t unit = dt_span_find(s, 0, "\\text{ ");
    if (unit != SIZE_MAX) {
        if (dt_span_find(s, unit + 1, "\\text{ ") != SIZE_MAX) return false;
        b->len = unit;
        b->data[unit] = 0;
    }
    replace(b, "\\%", "");
    replace(b, " .", " 0.");
    replace(b, "{.", "{0.");
    if (!b->len) return !b->failed;
    if (b->data[0] == '.') {
        dt_buf out = {0};
        dt_buf_adds(&out, "0");
        dt_buf_add(&out, b->data, b->len);
        dt_buf_clear(b);
        *b = out;
    }
    const char *eq = memchr(b->data, '=', b->len);
    if (eq && !memchr(eq + 1, '=', b->len - (size_t)(eq - b->data) - 1) && eq - b->data <= 2) {
        dt_buf out = {0};
        dt_buf_adds(&out, eq + 1);
        dt_buf_clear(b);
        *b = out;
    }
    if (!fix_sqrt(b)) return false;
    replace(b, " ", "");
    fix_fracs(b);
    if (b->len == 3 && !memcmp(b->data, "0.5", 3)) {
        b->len = 0;
        dt_buf_adds(b, "\\frac{1}{2}");
    }
    fix_slash(b);
    return !b->failed;
}

bool dt_hendrycks_equal(dt_span a, dt_span b) {
    dt_buf x = {0}, y = {0};
    bool ok = dt_hendrycks_normalise(a, &x), same;
    ok = dt_hendrycks_normalise(b, &y) && ok;
    same = ok ? x.len == y.len && (!x.len || !memcmp(x.data, y.data, x.len)) : dt_span_is(a, b);
    dt_buf_clear(&x);
    dt_buf_clear(&y);
    return same;
}

/* From the first '{' at or after `at` to its partner: the dt_span between them; false if there is none. */
static bool braces(dt_span s, size_t at, dt_span *in, size_t *end) {
    int depth = 0;
    size_t open = SIZE_MAX;
    for (size_t i = at; i < s.n; i++) {
        if (s.p[i] == '{' && depth++ == 0) open = i;
        if (s.p[i] == '}' && depth && --depth == 0) {
            *in = (dt_span){s.p + open + 1, i - open - 1};
            *end = i + 1;
            return true;
        }
    }
    return false;
}

/* The boxed candidate of a whole response; false = none. */
bool dt_hendrycks_box(dt_span s, dt_span *out) {
    size_t at = dt_span_find_last(s, "\\boxed "), end = 0;
    if (at != SIZE_MAX) {
        at += strlen("\\boxed ");
        const char *dollar = memchr(s.p + at, '$', s.n - at);
        *out = (dt_span){s.p + at, dollar ? (size_t)(dollar - s.p) - at : s.n - at};
        return true;
    }
    at = dt_span_find_last(s, "\\boxed");
    dt_span in;
    if (at == SIZE_MAX) return false; /* the reference finds an \fbox too, and then fails to unwrap it */
    if (!braces(s, at, &in, &end) || in.p != s.p + at + strlen("\\boxed{")) return false;
    *out = in;
    return true;
}

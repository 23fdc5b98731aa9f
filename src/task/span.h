/* A piece of a text that belongs to somebody else, and how the graders look through it. */
#ifndef DT_TASK_SPAN_H
#define DT_TASK_SPAN_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct dt_span {
    const char *p;
    size_t n;
} dt_span;

static inline dt_span dt_span_of(const char *s) { return (dt_span){s, strlen(s)}; }
static inline dt_span dt_span_from(dt_span s, size_t at) { return (dt_span){s.p + at, s.n - at}; }
static inline bool dt_span_is(dt_span a, dt_span b) { return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n)); }

static inline dt_span dt_span_trim(dt_span s) {
    while (s.n && isspace((unsigned char)*s.p))
        s.p++, s.n--;
    while (s.n && isspace((unsigned char)s.p[s.n - 1]))
        s.n--;
    return s;
}

static inline bool dt_span_starts(dt_span s, size_t at, const char *what) {
    size_t n = strlen(what);
    return at <= s.n && s.n - at >= n && (!n || !memcmp(s.p + at, what, n));
}

/* The same for ASCII letters of either case; `what` in lower case. */
static inline bool dt_span_starts_nocase(dt_span s, size_t at, const char *what) {
    for (; *what; what++, at++)
        if (at >= s.n || tolower((unsigned char)s.p[at]) != *what) return false;
    return true;
}

/* First place of `what` at or after `from`, or SIZE_MAX. */
static inline size_t dt_span_find(dt_span s, size_t from, const char *what) {
    size_t n = strlen(what);
    if (from > s.n || s.n - from < n) return SIZE_MAX;
    const char *at = n ? memmem(s.p + from, s.n - from, what, n) : s.p + from;
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

/* Last place of `what`, or SIZE_MAX. */
static inline size_t dt_span_find_last(dt_span s, const char *what) {
    for (size_t i = s.n + 1; i-- > 0;)
        if (dt_span_starts(s, i, what)) return i;
    return SIZE_MAX;
}

/* The last \boxed{...} (also "\boxed 7" and "\boxed {7}"), braces balanced, "\{" and "\}" not counted. `at` and `end` are
 * where the whole box stands. False: none, or the last one is not closed. With `before`, only boxes that end there. */
bool dt_last_box(dt_span s, dt_span *in, size_t *at, size_t *end);
/* A number at i: optional sign, digits with commas, decimals; its length, 0 = none. */
size_t dt_number_at(dt_span s, size_t i);
/* The number after the last "####", without its sign if that stands before a currency; false: none. */
bool dt_after_hashes(dt_span s, dt_span *out);
/* The text after the last "answer is" (or its kin), cut at the end of its line or sentence; false: none. */
bool dt_after_answer_is(dt_span s, bool colon, dt_span *out); /* colon: "answer:" counts too */
/* $...$, \(...\), \[...\], stars, a last full stop: away from both ends. */
dt_span dt_strip_markup(dt_span s);

#endif

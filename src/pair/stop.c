/* Stop strings in a text that comes byte by byte (Knuth, Morris and Pratt), all strings at once. */
#include "pair/call.h"

#include <stdlib.h>
#include <string.h>

/* How much of string v (length n) a text ends with that ended with `at` of it before this byte. */
static size_t advance(const char *v, size_t n, const size_t *fail, size_t at, char byte) {
    while (at > 0 && (at == n || v[at] != byte)) {
        at = fail[at - 1];
    }
    return v[at] == byte ? at + 1 : 0;
}

static void fill_fail(const char *v, size_t n, size_t *fail) {
    fail[0] = 0;
    for (size_t i = 1; i < n; i++) {
        fail[i] = advance(v, n, fail, fail[i - 1], v[i]);
    }
}

duet_status dt_stops_open(dt_stops *s, const char *const *strings, size_t n, duet_err *err) {
    size_t total = 0, from = 0;
    *s = (dt_stops){.v = strings, .n = n};
    if (n == 0) {
        return DUET_OK;
    }
    s->len = dt_calloc(n, sizeof *s->len);
    s->at = dt_calloc(n, sizeof *s->at);
    for (size_t i = 0; s->len && i < n; i++) {
        s->len[i] = strlen(strings[i]);
        total += s->len[i];
    }
    s->fail = dt_calloc(total ? total : 1, sizeof *s->fail);
    if (!s->len || !s->at || !s->fail) {
        dt_stops_clear(s);
        return dt_fail(err, DUET_E_NOMEM, "pair: no memory for %zu stop strings", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (s->len[i] == 0) {
            dt_stops_clear(s);
            return dt_fail(err, DUET_E_RANGE, "stop string %zu of %zu is empty", i + 1, n);
        }
        fill_fail(strings[i], s->len[i], s->fail + from);
        from += s->len[i];
    }
    return DUET_OK;
}

void dt_stops_clear(dt_stops *s) {
    free(s->len);
    free(s->at);
    free(s->fail);
    *s = (dt_stops){0};
}

int dt_stops_push(dt_stops *s, char byte) {
    int whole = -1;
    size_t from = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->at[i] = advance(s->v[i], s->len[i], s->fail + from, s->at[i], byte);
        if (s->at[i] == s->len[i] && (whole < 0 || s->len[i] > s->len[whole])) {
            whole = (int)i;
        }
        from += s->len[i];
    }
    return whole;
}

size_t dt_stops_held(const dt_stops *s) {
    size_t held = 0;
    for (size_t i = 0; i < s->n; i++) {
        held = s->at[i] > held ? s->at[i] : held;
    }
    return held;
}

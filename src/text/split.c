/* The pre-tokenizer: text is cut into pieces, and merges never cross a cut. Each step cuts every piece further. */
#include "text/tokenizer.h"

#include <string.h>

static bool push(dt_pieces *a, size_t off, size_t n) {
    if (!n)
        return true;
    if (a->n == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 64;
        dt_piece *v = dt_realloc(a->v, cap, sizeof *v);
        if (!v)
            return false;
        a->v = v;
        a->cap = cap;
    }
    a->v[a->n++] = (dt_piece){off, n};
    return true;
}

/* What stands between matches and the matches themselves come here in the text's order. */
typedef struct cutter {
    const dt_split *split;
    dt_pieces *out;
    size_t from; /* where the piece that is being gathered begins */
    size_t end;  /* and ends */
    bool open, is_match;
} cutter;

static bool cut(cutter *c, size_t b, size_t e, bool match) {
    const bool was = c->is_match;
    bool join = false;
    match = match != c->split->invert;
    switch (c->split->behavior) {
    case DT_SPLIT_ISOLATED:
        break;
    case DT_SPLIT_REMOVED:
        if (match)
            return true;
        break;
    case DT_SPLIT_WITH_PREVIOUS:
        join = c->open && match && !was;
        break;
    case DT_SPLIT_WITH_NEXT:
        join = c->open && !match && was;
        break;
    case DT_SPLIT_CONTIGUOUS:
        join = c->open && match == was;
        break;
    }
    if (join) {
        c->end = e;
    } else {
        if (c->open && !push(c->out, c->from, c->end - c->from))
            return false;
        c->from = b;
        c->end = e;
        c->open = true;
    }
    c->is_match = match;
    return true;
}

static size_t next_char(const char *s, size_t n, size_t i) {
    uint32_t cp = 0;
    bool half = false;
    int len = dt_utf8_next((const uint8_t *)s + i, n - i, &cp, &half);
    return i + (size_t)(len < 0 ? -len : len);
}

/* All matches in s[0, n), which lies at `off` of the whole text. */
static duet_status split_piece(const dt_split *sp, dt_regex_work *w, const char *s, size_t n, size_t off,
                               dt_pieces *out, duet_err *err) {
    cutter c = {.split = sp, .out = out};
    size_t prev = 0, from = 0;
    bool ok = true;
    while (ok && from <= n) {
        size_t b = 0, e = 0;
        duet_status st = dt_regex_find(sp->re, w, s, n, from, &b, &e, err);
        if (st == DUET_END)
            break;
        if (st)
            return st;
        if (b < prev)
            b = prev; /* a lookbehind with \K may reach back */
        if (e < b)
            e = b;
        if (b == e && e == prev && from) { /* an empty match right after a match: go on one character later */
            if (from >= n)
                break;
            from = next_char(s, n, from);
            continue;
        }
        if (b > prev)
            ok = cut(&c, off + prev, off + b, false);
        ok = ok && cut(&c, off + b, off + e, true);
        prev = e;
        from = e > from ? e : from < n ? next_char(s, n, from) : n + 1;
    }
    if (ok && prev < n)
        ok = cut(&c, off + prev, off + n, false);
    if (ok && c.open)
        ok = push(out, c.from, c.end - c.from);
    return ok ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory to split %zu bytes of text", n);
}

duet_status dt_split_run(const dt_split *splits, int n_splits, dt_regex_work *w, const char *s, size_t n, dt_pieces *a,
                         dt_pieces *b, duet_err *err) {
    a->n = 0;
    if (!push(a, 0, n))
        return dt_fail(err, DUET_E_NOMEM, "no memory to split %zu bytes of text", n);
    for (int k = 0; k < n_splits; k++) {
        b->n = 0;
        for (size_t i = 0; i < a->n; i++) {
            duet_status st = split_piece(&splits[k], w, s + a->v[i].off, a->v[i].n, a->v[i].off, b, err);
            if (st)
                return st;
        }
        dt_pieces t = *a;
        *a = *b;
        *b = t;
    }
    return DUET_OK;
}

duet_status dt_tok_add_split(duet_tokenizer *t, const char *pattern, size_t n, bool literal, dt_split_behavior behavior,
                             bool invert, duet_err *err) {
    if (t->n_splits == DT_MAX_STEPS)
        return dt_fail(err, DUET_E_UNSUPPORTED, "more than %d split steps", DT_MAX_STEPS);
    dt_split *s = &t->splits[t->n_splits];
    duet_status st = dt_regex_open(pattern, n, literal, &s->re, err);
    if (st)
        return st;
    t->n_splits++;
    s->pattern = dt_calloc(n + 1, 1);
    if (!s->pattern)
        return dt_fail(err, DUET_E_NOMEM, "no memory for a split pattern");
    memcpy(s->pattern, pattern, n);
    s->n_pattern = n;
    s->literal = literal;
    s->behavior = behavior;
    s->invert = invert;
    return DUET_OK;
}

const char dt_tok_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

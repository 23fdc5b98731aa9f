/* Regular expressions of tokenizer.json on PCRE2.
 *
 * The files are written for another engine (Oniguruma). Where the same text means something else to PCRE2 the
 * pattern is rewritten: \s there is White_Space, which has no U+180E; \w has marks and all connectors; \h is a
 * hexadecimal digit; ^ and $ stand at every line. Class intersection (&&) has no counterpart and is refused. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/tokenizer.h"

#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

#define MAX_PATTERN (16 << 10)

struct dt_regex {
    pcre2_code *code;
    bool jit;
};

struct dt_regex_work {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

/* What the letter of an escape becomes, as the inside of a character class; NULL = leave it. */
static const char *escape_class(char c) {
    switch (c) {
    case 's':
    case 'S':
        return "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{"
               "3000}";
    case 'w':
    case 'W':
        return "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}";
    case 'h':
    case 'H':
        return "0-9a-fA-F";
    default:
        return NULL;
    }
}

static duet_status translate(const char *p, size_t n, dt_buf *out, duet_err *err) {
    int depth = 0; /* nested brackets: only [:name:] is left to PCRE2, which has no nested classes */
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\' && i + 1 < n) {
            const char c = p[++i];
            const char *set = escape_class(c);
            bool upper = c >= 'A' && c <= 'Z';
            if (!set || (depth && (c == 'S' || c == 'W'))) { /* no list for a complement: PCRE2's is near enough */
                dt_buf_add(out, p + i - 1, 2);
            } else if (depth && upper) {
                return dt_fail(err, DUET_E_UNSUPPORTED, "split pattern: \\H inside a character class is not supported");
            } else if (depth) {
                dt_buf_adds(out, set);
            } else {
                dt_buf_addf(out, "[%s%s]", upper ? "^" : "", set);
            }
            continue;
        }
        if (depth && p[i] == '&' && i + 1 < n && p[i + 1] == '&')
            return dt_fail(err, DUET_E_UNSUPPORTED, "split pattern: class intersection (&&) is not supported");
        if (depth && p[i] == '[' && !(i + 1 < n && p[i + 1] == ':'))
            return dt_fail(err, DUET_E_UNSUPPORTED, "split pattern: a class inside a class is not supported");
        if (depth && p[i] == '[') { /* [:name:] up to its end */
            const char *end = memchr(p + i + 2, ']', n - i - 2);
            size_t k = end ? (size_t)(end - (p + i)) + 1 : 1;
            dt_buf_add(out, p + i, k);
            i += k - 1;
            continue;
        }
        dt_buf_add(out, p + i, 1);
        if (!depth && p[i] == '[') {
            depth = 1;
            if (i + 1 < n && p[i + 1] == '^')
                dt_buf_add(out, p + ++i, 1);
            if (i + 1 < n && p[i + 1] == ']')
                dt_buf_add(out, p + ++i, 1); /* a bracket in first place is itself */
        } else if (depth && p[i] == ']') {
            depth = 0;
        }
    }
    if (out->failed)
        return dt_fail(err, DUET_E_NOMEM, "no memory for a split pattern");
    return DUET_OK;
}

duet_status dt_regex_open(const char *pattern, size_t n, bool literal, dt_regex **out, duet_err *err) {
    duet_status st = DUET_OK;
    dt_buf b = {0};
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    int code = 0;
    PCRE2_SIZE at = 0;

    *out = NULL;
    dt_regex *re = dt_calloc(1, sizeof *re);
    if (!re)
        return dt_fail(err, DUET_E_NOMEM, "no memory for a split pattern");
    if (n > MAX_PATTERN) {
        st = dt_fail(err, DUET_E_FORMAT, "split pattern: %zu bytes, more than %d", n, MAX_PATTERN);
        goto done;
    }
    if (!literal) {
        st = translate(pattern, n, &b, err);
        if (st)
            goto done;
        pattern = b.data ? b.data : "";
        n = b.len;
    }
    re->code = pcre2_compile((PCRE2_SPTR)pattern, n, options, &code, &at, NULL);
    if (!re->code) {
        PCRE2_UCHAR why[160] = {0};
        pcre2_get_error_message(code, why, sizeof why);
        st = dt_fail(err, DUET_E_FORMAT, "split pattern cannot be compiled: %s (near byte %zu)", (const char *)why, at);
        goto done;
    }
    re->jit =
        pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0; /* else it is interpreted: slower, the same matches */
    *out = re;
    re = NULL;
done:
    dt_buf_clear(&b);
    dt_regex_close(re);
    return st;
}

void dt_regex_close(dt_regex *re) {
    if (!re)
        return;
    pcre2_code_free(re->code);
    free(re);
}

dt_regex_work *dt_regex_work_create(void) {
    dt_regex_work *w = dt_calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->data = pcre2_match_data_create(1, NULL);
    w->context = pcre2_match_context_create(NULL);
    if (w->data && w->context)
        return w;
    dt_regex_work_destroy(w);
    return NULL;
}

void dt_regex_work_destroy(dt_regex_work *w) {
    if (!w)
        return;
    pcre2_match_data_free(w->data);
    pcre2_match_context_free(w->context);
    free(w);
}

duet_status dt_regex_find(const dt_regex *re, dt_regex_work *w, const char *s, size_t n, size_t from, size_t *begin,
                          size_t *end, duet_err *err) {
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (re->jit)
        rc = pcre2_jit_match(re->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, w->data, w->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {             /* the interpreter keeps its stack on the heap */
        const size_t steps = 10000000 + 8 * (n - from); /* a run of blanks costs a step each */
        pcre2_set_match_limit(w->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
        rc = pcre2_match(re->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, w->data, w->context);
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return DUET_END;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return dt_fail(err, DUET_E_NOMEM, "no memory to match the split pattern");
    if (rc < 0)
        return dt_fail(err, DUET_E_RANGE, "the split pattern takes too many steps at byte %zu of a piece of %zu", from,
                       n);
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(w->data);
    *begin = v[0];
    *end = v[1] < v[0] ? v[0] : v[1]; /* \K in a lookahead can turn them round */
    return DUET_OK;
}

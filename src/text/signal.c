/* What a model said, taken apart: its thought by the ids of the tags, and the reference's reading of text. */
#include "text/render.h"
#include "text/template.h"

#include <string.h>

static bool is_newline(const duet_tokenizer *t, int32_t id) {
    size_t n = 0;
    const char *s = duet_tokenizer_bytes(t, id, &n);
    return s && n == 1 && *s == '\n';
}

/* Whether nothing but newlines stands there: an empty thought is one token of two newlines, or two of one. */
static bool only_newlines(const duet_tokenizer *t, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        const char *s = duet_tokenizer_bytes(t, ids[i], &k);
        for (size_t j = 0; s && j < k; j++)
            if (s[j] != '\n')
                return false;
    }
    return true;
}

static size_t find(const int32_t *ids, size_t from, size_t n, int32_t id) {
    while (from < n && ids[from] != id)
        from++;
    return from;
}

dt_signal_span dt_tmpl_signal(const dt_tmpl *m, const duet_tokenizer *t, const int32_t *ids, size_t n) {
    dt_signal_span s = {.status = DT_SIGNAL_CLOSED};
    for (size_t i = 0; i < m->n_ends; i++) /* what follows the end of the turn is no part of it */
        n = find(ids, 0, n, m->ends[i]);
    if (m->think_close < 0) { /* no tags: all of it */
        return (dt_signal_span){n ? DT_SIGNAL_UNTAGGED : DT_SIGNAL_EMPTY, 0, n};
    }

    const size_t open = find(ids, 0, n, m->think_open);
    s.begin = open < n ? open + 1 : 0;
    s.end = find(ids, s.begin, n, m->think_close);
    if (s.end == n && open < n) { /* a close before the only open: the prompt had opened it */
        const size_t close = find(ids, 0, open, m->think_close);
        if (close < open)
            s = (dt_signal_span){DT_SIGNAL_CLOSED, 0, close};
        else
            s.status = DT_SIGNAL_TRUNCATED;
    } else if (s.end == n) { /* no tag at all */
        s.status = m->opened && n ? DT_SIGNAL_TRUNCATED : DT_SIGNAL_UNTAGGED;
    }

    if (s.status != DT_SIGNAL_UNTAGGED && s.begin < s.end && is_newline(t, ids[s.begin]))
        s.begin++;
    if (s.status == DT_SIGNAL_CLOSED && s.begin < s.end && is_newline(t, ids[s.end - 1]))
        s.end--;
    if ((s.status == DT_SIGNAL_CLOSED && only_newlines(t, ids + s.begin, s.end - s.begin)) ||
        (s.status == DT_SIGNAL_UNTAGGED && s.begin == s.end)) {
        s.status = DT_SIGNAL_EMPTY;
        s.end = s.begin;
    }
    return s;
}

const char *dt_signal_status_name(dt_signal_status s) {
    switch (s) {
    case DT_SIGNAL_CLOSED:
        return "closed";
    case DT_SIGNAL_TRUNCATED:
        return "truncated";
    case DT_SIGNAL_UNTAGGED:
        return "untagged";
    case DT_SIGNAL_EMPTY:
        return "empty";
    }
    return "unknown";
}

void dt_signal_extract_text(const char *text, size_t n, const char **out, size_t *n_out) {
    static const char open[] = "<think>", close[] = "</think>";
    const size_t n_open = sizeof open - 1, n_close = sizeof close - 1;
    const char *end = text + n;
    const char *b = n ? memmem(text, n, open, n_open) : NULL;
    const char *e = b ? memmem(b + n_open, (size_t)(end - b) - n_open, close, n_close) : NULL;
    *out = text;
    *n_out = n;
    if (e) { /* A: a pair */
        *out = b + n_open;
        *n_out = (size_t)(e - *out);
    } else { /* B: a close only; C: none, and nothing is trimmed */
        e = n ? memmem(text, n, close, n_close) : NULL;
        if (!e)
            return;
        *n_out = (size_t)(e - text);
    }
    dt_strip(out, n_out);
}

/* Chat templates by family: prompts as ids, and the signal found again in what a model sampled.
 *
 * The marks of a prompt are pushed as ids and the text between them is encoded plain, so a question that spells a
 * mark stays text. */
#include "text/template.h"

#include "text/tokenizer.h"

#include <string.h>

duet_status dt_tmpl_detect(const duet_tokenizer *t, dt_tmpl *out, duet_err *err) {
    dt_tmpl m = {.family = DT_TMPL_QWEN3};
    const struct {
        const char *content;
        int32_t *id;
        bool needed;
    } marks[] = {
        {"<|im_start|>",  &m.im_start,    true },
        {"<|im_end|>",    &m.im_end,      true },
        {"<think>",       &m.think_open,  true },
        {"</think>",      &m.think_close, true },
        {"<|endoftext|>", &m.endoftext,   false}
    };
    for (size_t i = 0; i < DT_COUNT(marks); i++) {
        const int32_t id = duet_tokenizer_id(t, marks[i].content);
        *marks[i].id = id >= 0 && duet_tokenizer_is_added(t, id) ? id : -1;
        if (*marks[i].id < 0 && marks[i].needed)
            return dt_fail(
                err, DUET_E_UNSUPPORTED,
                "no chat layout is known for this tokenizer: it has no added token %s (known families: qwen3)",
                marks[i].content);
    }
    if (t->chat_template && !strstr(t->chat_template, "<|im_start|>"))
        return dt_fail(err, DUET_E_UNSUPPORTED,
                       "the chat template of this tokenizer does not use <|im_start|> (known families: qwen3)");
    *out = m;
    return DUET_OK;
}

static duet_status add_plain(const duet_tokenizer *t, const char *s, duet_ids *out, duet_err *err) {
    return duet_tokenizer_encode(t, s, strlen(s), DUET_ENC_PLAIN, out, err);
}

static duet_status add_mark(int32_t id, duet_ids *out, duet_err *err) {
    return dt_tok_push(out, id) ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a prompt");
}

duet_status dt_tmpl_user(const dt_tmpl *m, const duet_tokenizer *t, const char *q, size_t n, duet_ids *out,
                         duet_err *err) {
    const size_t n_before = out->n;
    const size_t bad = dt_utf8_bad(q, n);
    dt_buf turn = {0}; /* in one piece: merges may cross from the role's newline into the question */
    if (bad < n)       /* before the role shifts the offset */
        return dt_fail(err, DUET_E_FORMAT, "the question is not UTF-8: byte 0x%02x at offset %zu",
                       (unsigned)(uint8_t)q[bad], bad);
    duet_status st = add_mark(m->im_start, out, err);
    if (!st && (!dt_buf_adds(&turn, "user\n") || !dt_buf_add(&turn, q, n)))
        st = dt_fail(err, DUET_E_NOMEM, "no memory for a prompt");
    if (!st)
        st = duet_tokenizer_encode(t, turn.data, turn.len, DUET_ENC_PLAIN, out, err);
    if (!st)
        st = add_mark(m->im_end, out, err);
    if (!st)
        st = add_plain(t, "\n", out, err);
    if (!st)
        st = add_mark(m->im_start, out, err);
    if (!st)
        st = add_plain(t, "assistant\n", out, err);
    if (st)
        out->n = n_before;
    dt_buf_clear(&turn);
    return st;
}

static bool is_newline(const duet_tokenizer *t, int32_t id) {
    size_t n = 0;
    const char *s = duet_tokenizer_bytes(t, id, &n);
    return s && n == 1 && *s == '\n';
}

/* Whether the text of the ids ends with a newline; tokens without bytes say nothing. */
static bool ends_with_newline(const duet_tokenizer *t, const int32_t *ids, size_t n) {
    while (n--) {
        size_t k = 0;
        const char *s = duet_tokenizer_bytes(t, ids[n], &k);
        if (s && k)
            return s[k - 1] == '\n';
    }
    return false;
}

duet_status dt_tmpl_think(const dt_tmpl *m, const duet_tokenizer *t, const int32_t *signal, size_t n, duet_ids *out,
                          duet_err *err) {
    const size_t n_before = out->n;
    duet_status st = add_mark(m->think_open, out, err);
    if (!st)
        st = add_plain(t, n ? "\n" : "\n\n", out, err);
    if (!st && n) {
        if (!dt_tok_append(out, signal, n))
            st = dt_fail(err, DUET_E_NOMEM, "no memory for a signal of %zu tokens", n);
        if (!st && !ends_with_newline(t, signal, n))
            st = add_plain(t, "\n", out, err);
    }
    if (!st)
        st = add_mark(m->think_close, out, err);
    if (!st)
        st = add_plain(t, "\n\n", out, err);
    if (st)
        out->n = n_before;
    return st;
}

int32_t dt_tmpl_end(const dt_tmpl *m) {
    return m->im_end;
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
    n = find(ids, 0, n, m->im_end); /* what follows the end of the turn is no part of it */
    if (m->endoftext >= 0)
        n = find(ids, 0, n, m->endoftext);

    const size_t open = find(ids, 0, n, m->think_open);
    s.begin = open < n ? open + 1 : 0;
    s.end = find(ids, s.begin, n, m->think_close);
    if (s.end == n && open < n) { /* a close before the only open: the prompt had opened it */
        const size_t close = find(ids, 0, open, m->think_close);
        if (close < open)
            s = (dt_signal_span){DT_SIGNAL_CLOSED, 0, close};
        else
            s.status = DT_SIGNAL_TRUNCATED;
    } else if (s.end == n) {
        s.status = DT_SIGNAL_UNTAGGED;
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

/* White space as Python's str.strip() sees it: Unicode's, and the four separators U+001C..U+001F. */
static bool is_python_space(uint32_t cp) {
    return dt_utf8_is_space(cp) || (cp >= 0x1c && cp <= 0x1f);
}

static void strip(const char **text, size_t *n) {
    const uint8_t *s = (const uint8_t *)*text;
    size_t b = 0, e = *n;
    uint32_t cp = 0;
    bool cut = false;
    while (b < e) {
        const int len = dt_utf8_next(s + b, e - b, &cp, &cut);
        if (len < 0 || !is_python_space(cp))
            break;
        b += (size_t)len;
    }
    while (e > b) {
        size_t i = e - 1;
        while (i > b && (s[i] & 0xc0) == 0x80)
            i--;
        if (dt_utf8_next(s + i, e - i, &cp, &cut) != (int)(e - i) || !is_python_space(cp))
            break;
        e = i;
    }
    *text += b;
    *n = e - b;
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
    strip(out, n_out);
}

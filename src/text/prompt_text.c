/* A prompt as text. What keeps a message from spelling marks where prompts are ids cannot be done here: it is refused. */
#include "text/prompt_text.h"

#include "text/render.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static duet_status no_mark(const char *s, size_t n, const char *mark, const char *what, duet_err *err) {
    return mark && *mark && dt_find(s, n, mark)
               ? dt_fail(err, DUET_E_UNSUPPORTED, "%s spells %s, which a prompt in text cannot keep apart from the mark",
                         what, mark)
               : DUET_OK;
}

static duet_status no_marks(const dt_family *f, const char *s, size_t n, const char *what, duet_err *err) {
    duet_status st = no_mark(s, n, f->open, what, err);
    if (!st)
        st = no_mark(s, n, f->end, what, err);
    if (!st && f->thought != DT_THOUGHT_NONE)
        st = no_mark(s, n, "</think>", what, err);
    if (!st && f->thought != DT_THOUGHT_NONE)
        st = no_mark(s, n, "<think>", what, err);
    for (size_t i = 0; i < DT_FAMILY_MARKS && f->ends[i] && !st; i++)
        st = no_mark(s, n, f->ends[i], what, err);
    return st;
}

/* The turns as a template's messages; `more` behind the text of the last. */
static duet_status messages_of(const dt_family *f, const duet_message *turns, size_t n, const dt_buf *more,
                               json_t **out, duet_err *err) {
    json_t *all = json_array();
    duet_status st = all ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a conversation");
    for (size_t i = 0; i < n && !st; i++) {
        dt_buf text = {0};
        const size_t bad = dt_utf8_bad(turns[i].text, turns[i].n);
        if (bad < turns[i].n)
            st = dt_fail(err, DUET_E_FORMAT, "message %zu is not UTF-8 at offset %zu", i + 1, bad);
        if (!st)
            st = no_marks(f, turns[i].text, turns[i].n, i + 1 == n ? "the question" : "an earlier message", err);
        dt_buf_add(&text, turns[i].text, turns[i].n);
        if (i + 1 == n && more->len)
            dt_buf_add(&text, more->data, more->len);
        if (!st && (text.failed || json_array_append_new(all, json_pack("{s:s,s:o}", "role", turns[i].role, "content",
                                                                         json_stringn(text.data ? text.data : "", text.len)))))
            st = dt_fail(err, DUET_E_NOMEM, "no memory for a conversation");
        dt_buf_clear(&text);
    }
    *out = st ? NULL : all;
    if (st)
        json_decref(all);
    return st;
}

static void add_thought(dt_buf *b, const char *signal, size_t n) {
    dt_buf_adds(b, "<think>\n");
    dt_buf_add(b, signal, n);
    if (n == 0 || signal[n - 1] != '\n')
        dt_buf_adds(b, "\n");
    dt_buf_adds(b, "</think>\n\n");
}

duet_status dt_tmpl_text(const dt_family *f, const duet_message *turns, size_t n, const char *signal, size_t n_signal,
                         duet_text *out, duet_err *err) {
    const bool thinks = f->thought != DT_THOUGHT_NONE;
    dt_page page = {0};
    dt_buf more = {0};
    json_t *messages = NULL;
    *out = (duet_text){0};
    duet_status st = signal ? no_marks(f, signal, n_signal, "the signal", err) : DUET_OK;
    if (signal && n_signal && !thinks) {
        dt_buf_adds(&more, DT_INSTRUCT_INTRO);
        dt_buf_add(&more, signal, n_signal);
        dt_buf_adds(&more, DT_INSTRUCT_OUTRO);
    }
    if (!st)
        st = messages_of(f, turns, n, &more, &messages, err);
    const dt_chat c = {.family = f,
                       .messages = messages,
                       .generation = true,
                       .thinking = DT_YES,
                       .bare = signal && thinks,
                       .bos = "", /* the server begins a text with its tokenizer's own */
                       .eos = f->eos ? f->eos : ""};
    if (!st)
        st = dt_chat_render(&c, &page, err);
    if (!st && signal && thinks)
        add_thought(&page.text, signal, n_signal);
    if (!st && (page.text.failed || more.failed))
        st = dt_fail(err, DUET_E_NOMEM, "no memory for a prompt");
    if (!st) {
        out->n = page.text.len;
        out->data = dt_buf_take(&page.text);
    }
    dt_page_clear(&page);
    dt_buf_clear(&more);
    json_decref(messages);
    return st;
}

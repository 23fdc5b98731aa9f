/* Chat templates as ids: which family a tokenizer's template is, prompts, and a signal as a finished thought. */
#include "text/template.h"

#include "format/jsonl.h"
#include "text/prompt_text.h"
#include "text/render.h"
#include "text/tokenizer.h"

#include <string.h>

/* ---- which family ---- */

static duet_status own_family(const duet_tokenizer *t, const dt_family **out, duet_err *err) {
    char print[DT_FINGERPRINT], what[128];
    if (!t || !t->chat_template)
        return dt_family_unknown(DUET_E_UNSUPPORTED, "no chat template comes with this tokenizer", err);
    duet_status st = dt_template_fingerprint(t->chat_template, strlen(t->chat_template), print, err);
    if (st)
        return st;
    *out = dt_family_of(print);
    if (*out)
        return DUET_OK;
    snprintf(what, sizeof what, "the chat template of this tokenizer is none that is known (its form is %s)", print);
    return dt_family_unknown(DUET_E_UNSUPPORTED, what, err);
}

static duet_status family_named(const duet_tokenizer *t, const char *name, const dt_family **out, duet_err *err) {
    *out = NULL;
    return name ? dt_family_called(name, out, err) : own_family(t, out, err);
}

static int32_t mark_of(const duet_tokenizer *t, const char *content) {
    const int32_t id = duet_tokenizer_id(t, content);
    return id >= 0 && duet_tokenizer_is_added(t, id) ? id : -1;
}

static duet_status need(const duet_tokenizer *t, const dt_family *f, const char *content, int32_t *id, duet_err *err) {
    *id = mark_of(t, content);
    return *id >= 0 ? DUET_OK
                    : dt_fail(err, DUET_E_UNSUPPORTED, "chat template %s: this tokenizer has no added token %s", f->name,
                              content);
}

duet_status dt_tmpl_detect(const duet_tokenizer *t, const char *name, dt_tmpl *out, duet_err *err) {
    dt_tmpl m = {.think_open = -1, .think_close = -1};
    int32_t open = -1;
    const dt_family *f = NULL;
    duet_status st = family_named(t, name, &f, err);
    if (st)
        return st;
    m.family = f;
    m.opened = f->thought == DT_THOUGHT_OPENED; /* found, or st says so. NOLINT(clang-analyzer-core.NullDereference) */
    st = need(t, f, f->open, &open, err);
    if (!st)
        st = need(t, f, f->end, &m.ends[m.n_ends++], err);
    if (!st && f->thought != DT_THOUGHT_NONE)
        st = need(t, f, "<think>", &m.think_open, err);
    if (!st && f->thought != DT_THOUGHT_NONE)
        st = need(t, f, "</think>", &m.think_close, err);
    for (size_t i = 0; i < DT_COUNT(f->ends) && f->ends[i] && m.n_ends < DT_TMPL_ENDS; i++) {
        const int32_t id = mark_of(t, f->ends[i]);
        if (id >= 0)
            m.ends[m.n_ends++] = id;
    }
    if (!st)
        *out = m;
    return st;
}

const char *dt_tmpl_name(const dt_tmpl *m) {
    return m->family->name;
}

bool dt_tmpl_thinks(const dt_tmpl *m) {
    return m->think_close >= 0;
}

bool dt_tmpl_advice(const dt_tmpl *m, double *temperature, double *top_p, int *top_k) {
    if (!(m->family->temperature > 0))
        return false;
    *temperature = m->family->temperature;
    *top_p = m->family->top_p > 0 ? m->family->top_p : 1;
    *top_k = m->family->top_k;
    return true;
}

int32_t dt_tmpl_end(const dt_tmpl *m) {
    return m->ends[0];
}

/* ---- a page as ids ---- */

static duet_status add_plain(const duet_tokenizer *t, const char *s, size_t n, duet_ids *out, duet_err *err) {
    return n ? duet_tokenizer_encode(t, s, n, DUET_ENC_PLAIN, out, err) : DUET_OK;
}

static duet_status add_mark(int32_t id, duet_ids *out, duet_err *err) {
    return dt_tok_push(out, id) ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a prompt");
}

#define MAX_MARK 64 /* bytes of the longest mark that a template writes */

/* The longest added token <...> that begins at s[0] and ends within n; -1 = none. */
static int32_t mark_at(const duet_tokenizer *t, const char *s, size_t n, size_t *len) {
    char word[MAX_MARK + 1];
    for (size_t k = n < MAX_MARK ? n : MAX_MARK; k > 2; k--) {
        if (s[k - 1] != '>')
            continue;
        memcpy(word, s, k);
        word[k] = 0;
        const int32_t id = mark_of(t, word);
        if (id >= 0) {
            *len = k;
            return id;
        }
    }
    return -1;
}

/* p->text[from, to): the marks in the template's own bytes as ids, all else between them in one piece each, because
 * merges may cross from the template's words into a message. */
static duet_status add_page(const duet_tokenizer *t, const dt_page *p, size_t from, size_t to, duet_ids *out,
                            duet_err *err) {
    const char *s = p->text.data;
    size_t done = from, span = 0;
    duet_status st = DUET_OK;
    for (size_t i = from; i < to && !st;) {
        while (span < p->n_data && p->data[span].end <= i)
            span++;
        const bool data = span < p->n_data && p->data[span].begin <= i;
        size_t end = data ? p->data[span].end : span < p->n_data ? p->data[span].begin : to, len = 0;
        end = end < to ? end : to;
        const char *at = data ? NULL : memchr(s + i, '<', end - i);
        if (!at) {
            i = end;
            continue;
        }
        i = (size_t)(at - s);
        const int32_t id = mark_at(t, at, end - i, &len);
        if (id < 0) {
            i++;
            continue;
        }
        st = add_plain(t, s + done, i - done, out, err);
        if (!st)
            st = add_mark(id, out, err);
        i += len;
        done = i;
    }
    return st ? st : add_plain(t, s + done, to - done, out, err);
}

/* ---- prompts ---- */

static duet_status check_text(const duet_message *m, size_t i, size_t n, duet_err *err) {
    const size_t bad = dt_utf8_bad(m->text, m->n);
    if (bad == m->n)
        return DUET_OK;
    if (i + 1 == n)
        return dt_fail(err, DUET_E_FORMAT, "the question is not UTF-8: byte 0x%02x at offset %zu",
                       (unsigned)(uint8_t)m->text[bad], bad);
    return dt_fail(err, DUET_E_FORMAT, "message %zu is not UTF-8: byte 0x%02x at offset %zu", i + 1,
                   (unsigned)(uint8_t)m->text[bad], bad);
}

static json_t *message_of(const duet_message *m, const char *more) {
    dt_buf text = {0};
    dt_buf_add(&text, m->text, m->n);
    dt_buf_adds(&text, more);
    json_t *content = text.failed ? NULL : json_stringn_nocheck(text.data, text.len);
    dt_buf_clear(&text);
    return content ? json_pack("{s:s,s:o}", "role", m->role, "content", content) : NULL;
}

/* The turns as the messages of a template, owned; `more` is added to the last one's text. */
static duet_status messages_of(const duet_message *turns, size_t n, const char *more, json_t **out, duet_err *err) {
    json_t *all = json_array();
    duet_status st = all ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a conversation");
    for (size_t i = 0; i < n && !st; i++) {
        st = check_text(&turns[i], i, n, err);
        if (!st && json_array_append_new(all, message_of(&turns[i], i + 1 == n ? more : "")))
            st = dt_fail(err, DUET_E_NOMEM, "no memory for a conversation");
    }
    if (st) {
        json_decref(all);
        all = NULL;
    }
    *out = all;
    return st;
}

static duet_status page_of(const dt_tmpl *m, const json_t *messages, bool bare, dt_page *page, duet_err *err) {
    const dt_family *f = m->family;
    const dt_chat c = {.family = f,
                       .messages = messages,
                       .generation = true,
                       .thinking = DT_YES,
                       .bare = bare,
                       .bos = f->bos ? f->bos : "",
                       .eos = f->eos ? f->eos : ""};
    return dt_chat_render(&c, page, err);
}

duet_status dt_tmpl_prompt(const dt_tmpl *m, const duet_tokenizer *t, const duet_message *turns, size_t n, bool bare,
                           duet_ids *out, duet_err *err) {
    const size_t n_before = out->n;
    dt_page page = {0};
    json_t *messages = NULL;
    duet_status st = messages_of(turns, n, "", &messages, err);
    if (!st)
        st = page_of(m, messages, bare, &page, err);
    if (!st)
        st = add_page(t, &page, 0, page.text.len, out, err);
    if (st)
        out->n = n_before;
    dt_page_clear(&page);
    json_decref(messages);
    return st;
}

duet_status dt_tmpl_user(const dt_tmpl *m, const duet_tokenizer *t, const char *q, size_t n, duet_ids *out,
                         duet_err *err) {
    const duet_message turn = {"user", q, n};
    return dt_tmpl_prompt(m, t, &turn, 1, false, out, err);
}

duet_status dt_tmpl_instruct(const dt_tmpl *m, const duet_tokenizer *t, const duet_message *turns, size_t n,
                             duet_ids *before, duet_ids *after, duet_err *err) {
    static const char intro[] = DT_INSTRUCT_INTRO, outro[] = DT_INSTRUCT_OUTRO;
    const size_t n_before = before->n, n_after = after->n;
    char more[sizeof intro + sizeof outro];
    dt_page page = {0};
    snprintf(more, sizeof more, "%s%s", intro, outro);
    json_t *messages = NULL;
    duet_status st = messages_of(turns, n, more, &messages, err);
    if (!st) {
        const json_t *last = json_object_get(json_array_get(messages, n - 1), "content");
        page.mark = json_string_value(last) + json_string_length(last) - (sizeof outro - 1);
        st = page_of(m, messages, false, &page, err);
    }
    if (!st && page.hole == SIZE_MAX)
        st = dt_fail(err, DUET_E_UNSUPPORTED, "chat template %s has no place for a signal", m->family->name);
    if (!st)
        st = add_page(t, &page, 0, page.hole, before, err);
    if (!st)
        st = add_page(t, &page, page.hole, page.text.len, after, err);
    if (st) {
        before->n = n_before;
        after->n = n_after;
    }
    dt_page_clear(&page);
    json_decref(messages);
    return st;
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
        st = add_plain(t, "\n\n", n ? 1 : 2, out, err);
    if (!st && n) {
        if (!dt_tok_append(out, signal, n))
            st = dt_fail(err, DUET_E_NOMEM, "no memory for a signal of %zu tokens", n);
        if (!st && !ends_with_newline(t, signal, n))
            st = add_plain(t, "\n", 1, out, err);
    }
    if (!st)
        st = add_mark(m->think_close, out, err);
    if (!st)
        st = add_plain(t, "\n\n", 2, out, err);
    if (st)
        out->n = n_before;
    return st;
}


/* ---- the public calls ---- */

const char *duet_template_name(const duet_tokenizer *t, duet_err *err) {
    const dt_family *f = NULL;
    return own_family(t, &f, err) ? NULL : f->name; /* found, or it fails. NOLINT(clang-analyzer-core.NullDereference) */
}

const char *duet_template_known(size_t i, const char **title) {
    const dt_family *f = dt_family_at(i);
    if (title)
        *title = f ? f->title : NULL;
    return f ? f->name : NULL;
}

duet_status duet_template_check(const char *name, duet_err *err) {
    const dt_family *f = NULL;
    return family_named(NULL, name, &f, err);
}

static duet_status render(const duet_tokenizer *t, const char *name, const char *json, size_t n, dt_page *page,
                          duet_err *err) {
    const dt_family *f = NULL;
    json_t *in = NULL;
    dt_chat c;
    duet_status st = family_named(t, name, &f, err);
    if (!st)
        st = dt_json_parse("request", json, n, &in, err);
    if (!st)
        st = dt_chat_read(f, in, &c, err);
    if (!st)
        st = dt_chat_render(&c, page, err);
    json_decref(in);
    return st;
}

duet_status duet_template_render(const duet_tokenizer *t, const char *name, const char *json, size_t n, duet_text *out,
                                 duet_err *err) {
    dt_page page = {0};
    *out = (duet_text){0};
    duet_status st = render(t, name, json, n, &page, err);
    if (!st) {
        out->n = page.text.len;
        out->data = dt_buf_take(&page.text);
    }
    dt_page_clear(&page);
    return st;
}

duet_status duet_template_encode(const duet_tokenizer *t, const char *name, const char *json, size_t n, duet_ids *out,
                                 duet_err *err) {
    const size_t n_before = out->n;
    dt_page page = {0};
    dt_tmpl m;
    duet_status st = dt_tmpl_detect(t, name, &m, err);
    if (!st)
        st = render(t, name, json, n, &page, err);
    if (!st)
        st = add_page(t, &page, 0, page.text.len, out, err);
    if (st)
        out->n = n_before;
    dt_page_clear(&page);
    return st;
}

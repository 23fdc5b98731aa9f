/* What all chat templates share: the page they write on, the request they read, strings as Python handles them. */
#include "text/render.h"

#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* ---- the page ---- */

void dt_page_clear(dt_page *p) {
    dt_buf_clear(&p->text);
    free(p->data);
    *p = (dt_page){0};
}

void dt_page_own(dt_page *p, const char *s) {
    dt_buf_adds(&p->text, s);
}

void dt_page_data(dt_page *p, const char *s, size_t n) {
    const size_t begin = p->text.len;
    if (p->mark && s <= p->mark && p->mark <= s + n)
        p->hole = begin + (size_t)(p->mark - s);
    if (!n || !dt_buf_add(&p->text, s, n))
        return;
    if (p->n_data && p->data[p->n_data - 1].end == begin) {
        p->data[p->n_data - 1].end = p->text.len;
        return;
    }
    if (p->n_data == p->cap_data) {
        const size_t cap = p->cap_data ? 2 * p->cap_data : 16;
        dt_span *v = dt_realloc(p->data, cap, sizeof *v);
        if (!v) {
            p->text.failed = true;
            return;
        }
        p->data = v;
        p->cap_data = cap;
    }
    p->data[p->n_data++] = (dt_span){begin, p->text.len};
}

bool dt_page_failed(const dt_page *p) {
    return p->text.failed;
}

void dt_page_role(dt_page *p, const json_t *m) {
    const json_t *r = json_object_get(m, "role");
    dt_page_data(p, json_string_value(r), json_string_length(r));
}

void dt_page_json(dt_page *p, const json_t *v, int indent) {
    dt_buf b = {0};
    if (dt_json_py(v, indent, &b))
        dt_page_data(p, b.data, b.len);
    else
        p->text.failed = true;
    dt_buf_clear(&b);
}

/* ---- the request ---- */

static const char *kind(const json_t *j) {
    static const char *const names[] = {"an object", "an array", "a string", "a number",
                                        "a number",  "true",     "false",    "null"};
    return j ? names[json_typeof(j)] : "missing";
}

static duet_status read_flag(const json_t *in, const char *key, dt_tristate *out, duet_err *err) {
    const json_t *j = json_object_get(in, key);
    if (!j || json_is_null(j))
        return DUET_OK;
    if (!json_is_boolean(j))
        return dt_fail(err, DUET_E_FORMAT, "%s is %s, not true or false", key, kind(j));
    *out = json_is_true(j) ? DT_YES : DT_NO;
    return DUET_OK;
}

static duet_status read_text(const json_t *in, const char *key, const char **out, duet_err *err) {
    const json_t *j = json_object_get(in, key);
    if (!j || json_is_null(j))
        return DUET_OK;
    if (!json_is_string(j) || strlen(json_string_value(j)) != json_string_length(j))
        return dt_fail(err, DUET_E_FORMAT, "%s is %s, not a text", key, kind(j));
    *out = json_string_value(j);
    return DUET_OK;
}

duet_status dt_chat_read(const dt_family *f, const json_t *in, dt_chat *out, duet_err *err) {
    static const char *const refused[] = {"custom_tools", "builtin_tools", "tools_in_user_message", "documents"};
    dt_tristate generation = DT_NO;
    const json_t *tools = json_object_get(in, "tools");

    *out = (dt_chat){.family = f, .messages = json_object_get(in, "messages"), .thinking = DT_UNSET};
    out->bos = f->bos ? f->bos : "";
    out->eos = f->eos ? f->eos : "";
    if (!json_is_array(out->messages))
        return dt_fail(err, DUET_E_FORMAT, "messages is %s, not an array", kind(out->messages));
    for (size_t i = 0; i < json_array_size(out->messages); i++) {
        const json_t *m = dt_msg(out, i), *role = json_object_get(m, "role");
        if (!json_is_object(m))
            return dt_fail(err, DUET_E_FORMAT, "messages[%zu] is %s, not an object", i, kind(m));
        if (!json_is_string(role))
            return dt_fail(err, DUET_E_FORMAT, "messages[%zu].role is %s, not a string", i, kind(role));
    }
    for (size_t i = 0; i < DT_COUNT(refused); i++)
        if (json_object_get(in, refused[i]))
            return dt_fail(err, DUET_E_FORMAT, "%s is not read here; give tools", refused[i]);
    if (tools && !json_is_null(tools)) {
        if (!json_is_array(tools))
            return dt_fail(err, DUET_E_FORMAT, "tools is %s, not an array", kind(tools));
        out->tools = tools;
    }
    duet_status st = read_flag(in, "add_generation_prompt", &generation, err);
    if (!st)
        st = read_flag(in, "enable_thinking", &out->thinking, err);
    if (!st)
        st = read_text(in, "date_string", &out->date, err);
    if (!st)
        st = read_text(in, "bos_token", &out->bos, err);
    if (!st)
        st = read_text(in, "eos_token", &out->eos, err);
    out->generation = generation == DT_YES;
    return st;
}

duet_status dt_chat_render(const dt_chat *c, dt_page *out, duet_err *err) {
    out->hole = SIZE_MAX;
    duet_status st = c->family->render(c, out, err);
    if (!st && !dt_buf_adds(&out->text, ""))
        st = dt_fail(err, DUET_E_NOMEM, "no memory for a prompt");
    return st;
}

/* ---- messages ---- */

const json_t *dt_msg(const dt_chat *c, size_t i) {
    return json_array_get(c->messages, i);
}

size_t dt_msg_count(const dt_chat *c) {
    return json_array_size(c->messages);
}

bool dt_msg_is(const json_t *m, const char *role) {
    const char *r = json_string_value(json_object_get(m, "role"));
    return r && !strcmp(r, role);
}

duet_status dt_msg_string(const json_t *m, size_t i, const char *key, const char **s, size_t *n, duet_err *err) {
    const json_t *j = json_object_get(m, key);
    if (!json_is_string(j))
        return dt_fail(err, DUET_E_FORMAT, "messages[%zu].%s is %s, not a string", i, key, kind(j));
    *s = json_string_value(j);
    *n = json_string_length(j);
    return DUET_OK;
}

duet_status dt_msg_content(const dt_chat *c, size_t i, const char **s, size_t *n, duet_err *err) {
    return dt_msg_string(dt_msg(c, i), i, "content", s, n, err);
}

const json_t *dt_msg_calls(const json_t *m) {
    const json_t *calls = json_object_get(m, "tool_calls");
    return json_array_size(calls) ? calls : NULL;
}

duet_status dt_call_parts(const json_t *call, size_t i, const json_t **name, const json_t **arguments, duet_err *err) {
    const json_t *f = json_object_get(call, "function");
    const json_t *from = json_is_object(f) ? f : call;
    *name = json_object_get(from, "name");
    *arguments = json_object_get(from, "arguments");
    if (!json_is_string(*name))
        return dt_fail(err, DUET_E_FORMAT, "messages[%zu]: the name of a tool call is %s, not a string", i, kind(*name));
    if (!*arguments)
        return dt_fail(err, DUET_E_FORMAT, "messages[%zu]: a tool call has no arguments", i);
    return DUET_OK;
}

/* ---- strings ---- */

/* White space as Python's str.strip() sees it: Unicode's, and the four separators U+001C..U+001F. */
static bool is_python_space(uint32_t cp) {
    return dt_utf8_is_space(cp) || (cp >= 0x1c && cp <= 0x1f);
}

void dt_strip(const char **text, size_t *n) {
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

void dt_strip_newlines(const char **s, size_t *n, bool left, bool right) {
    while (left && *n && **s == '\n') {
        (*s)++;
        (*n)--;
    }
    while (right && *n && (*s)[*n - 1] == '\n')
        (*n)--;
}

const char *dt_find(const char *s, size_t n, const char *what) {
    return n ? memmem(s, n, what, strlen(what)) : NULL;
}

const char *dt_find_last(const char *s, size_t n, const char *what) {
    const char *last = NULL;
    const size_t k = strlen(what);
    for (const char *at = dt_find(s, n, what); at; at = dt_find(at + k, (size_t)(s + n - at) - k, what))
        last = at;
    return last;
}

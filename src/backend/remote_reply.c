/* One event of an OpenAI-compatible stream: text, counts, the end, or the server's own error. Fields of the wrong kind are
 * refused where they carry text, and not believed where they carry counts. */
#include "backend/remote.h"

#include <string.h>

/* ---- errors in the server's words ---- */

/* One line, without control characters, cut at a whole character. */
static void copy_words(const char *s, size_t n, char *out, size_t cap) {
    size_t k = 0;
    for (size_t i = 0; i < n && k + 1 < cap; i++) {
        const unsigned char c = (unsigned char)s[i];
        const bool blank = c <= ' ' || c == 0x7f;
        if (!blank)
            out[k++] = s[i];
        else if (k && out[k - 1] != ' ')
            out[k++] = ' ';
    }
    if (k + 1 == cap) /* cut: not in the middle of a character */
        while (k && ((unsigned char)out[k - 1] & 0xc0) == 0x80)
            k--;
    if (k && (unsigned char)out[k - 1] >= 0xc0)
        k--;
    while (k && out[k - 1] == ' ')
        k--;
    out[k] = 0;
}

/* {"error":{"message"}}, {"error":"..."}, {"message"}, {"detail"}: all are in use. */
static const json_t *error_text(const json_t *j) {
    static const char *const names[] = {"message", "detail", "error"};
    const json_t *e = json_object_get(j, "error");
    if (json_is_string(e))
        return e;
    if (!json_is_object(e))
        e = j;
    for (size_t i = 0; i < DT_COUNT(names); i++)
        if (json_is_string(json_object_get(e, names[i])))
            return json_object_get(e, names[i]);
    return NULL;
}

void dt_reply_error_words(const char *body, size_t n, char *out, size_t cap) {
    out[0] = 0;
    while (n && (unsigned char)*body <= ' ') {
        body++;
        n--;
    }
    json_t *j = n && (*body == '{' || *body == '[') ? json_loadb(body, n, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    if (j) {
        const json_t *text = error_text(json_is_array(j) ? json_array_get(j, 0) : j);
        copy_words(json_string_value(text), json_string_length(text), out, cap);
        json_decref(j);
    } else if (n && *body != '<' && *body != '{') { /* a page of HTML says nothing in one line */
        copy_words(body, n, out, cap);
    }
}

/* ---- counts ---- */

static size_t count_of(const json_t *j, const char *key) {
    const json_t *v = json_object_get(j, key);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (size_t)json_integer_value(v) : SIZE_MAX;
}

/* usage as OpenAI writes it; timings as llama-server adds them to every event when asked. */
static void read_counts(const json_t *j, dt_reply *out) {
    const json_t *u = json_object_get(j, "usage"), *t = json_object_get(j, "timings");
    out->counts = (dt_reply_counts){SIZE_MAX, SIZE_MAX, SIZE_MAX};
    if (json_is_object(u)) {
        out->counts.prompt = count_of(u, "prompt_tokens");
        out->counts.output = count_of(u, "completion_tokens");
        out->counts.cached = count_of(json_object_get(u, "prompt_tokens_details"), "cached_tokens");
    } else if (json_is_object(t)) {
        const size_t fresh = count_of(t, "prompt_n"), cached = count_of(t, "cache_n");
        out->counts.output = count_of(t, "predicted_n");
        out->counts.cached = cached;
        if (fresh != SIZE_MAX && cached != SIZE_MAX) /* without cache_n the prompt's own length is not known */
            out->counts.prompt = fresh + cached;
    }
    out->counted = out->counts.output != SIZE_MAX;
}

/* ---- text ---- */

static duet_status read_text(const json_t *from, const char *key, const char **s, size_t *n, duet_err *err) {
    const json_t *v = json_object_get(from, key);
    if (!v || json_is_null(v))
        return DUET_OK;
    if (!json_is_string(v))
        return dt_fail(err, DUET_E_FORMAT, "its stream has a %s that is no string", key);
    *s = json_string_value(v);
    *n = json_string_length(v);
    return DUET_OK;
}

static duet_status read_choice(const json_t *c, dt_reply *out, duet_err *err) {
    const json_t *delta = json_object_get(c, "delta"), *reason = json_object_get(c, "stop_reason");
    duet_status st = DUET_OK;
    if (!json_is_object(c))
        return dt_fail(err, DUET_E_FORMAT, "its stream has a choice that is no object");
    if (json_is_object(delta)) {
        st = read_text(delta, "content", &out->content, &out->n_content, err);
        if (!st)
            st = read_text(delta, "reasoning_content", &out->reasoning, &out->n_reasoning, err);
        if (!st && !out->n_reasoning && json_is_string(json_object_get(delta, "reasoning")))
            st = read_text(delta, "reasoning", &out->reasoning, &out->n_reasoning, err);
    } else {
        st = read_text(c, "text", &out->content, &out->n_content, err);
    }
    out->finish = json_string_value(json_object_get(c, "finish_reason"));
    out->stop_was_ours = json_is_string(reason);
    out->stop_was_eos = reason && !out->stop_was_ours;
    return st;
}

duet_status dt_reply_read(const char *data, size_t n, dt_reply *out, duet_err *err) {
    char words[256];
    json_error_t je;
    *out = (dt_reply){0};
    out->json = json_loadb(data, n, JSON_ALLOW_NUL, &je);
    if (!json_is_object(out->json)) {
        copy_words(data, n < 60 ? n : 60, words, sizeof words);
        dt_reply_clear(out);
        return dt_fail(err, DUET_E_FORMAT, "its stream has an event that is no JSON object: %.80s", words);
    }
    const json_t *e = json_object_get(out->json, "error"), *kind = json_object_get(out->json, "object");
    if ((e && !json_is_null(e)) || (json_is_string(kind) && !strcmp(json_string_value(kind), "error"))) {
        dt_reply_error_words(data, n, words, sizeof words);
        dt_reply_clear(out);
        return dt_fail(err, DUET_E_BACKEND, "%s", words[0] ? words : "the server reports an error without words");
    }
    read_counts(out->json, out);
    const json_t *choices = json_object_get(out->json, "choices");
    duet_status st = json_array_size(choices) ? read_choice(json_array_get(choices, 0), out, err) : DUET_OK;
    if (st)
        dt_reply_clear(out);
    return st;
}

void dt_reply_clear(dt_reply *r) {
    json_decref(r->json);
    *r = (dt_reply){0};
}

/* A conversation as duet chat keeps it: turns in order, saved as {"messages":[...]} and read back. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)256 << 20)

void cli_talk_clear(cli_talk *t) {
    cli_talk_cut(t, 0);
    free(t->v);
    free(t->stopped);
    *t = (cli_talk){0};
}

void cli_talk_cut(cli_talk *t, size_t n) {
    while (t->n > n)
        free((char *)(uintptr_t)t->v[--t->n].text);
}

bool cli_talk_add(cli_talk *t, const char *role, const char *text, size_t n, bool stopped) {
    static const char *const roles[] = {"system", "user", "assistant"};
    if (t->n == t->cap) {
        const size_t cap = t->cap ? 2 * t->cap : 16;
        duet_message *v = dt_realloc(t->v, cap, sizeof *v);
        if (v)
            t->v = v;
        bool *s = dt_realloc(t->stopped, cap, sizeof *s);
        if (s)
            t->stopped = s;
        if (!v || !s)
            return false;
        t->cap = cap;
    }
    dt_buf copy = {0};
    if (!dt_buf_add(&copy, text, n))
        return false;
    for (size_t i = 0; i < DT_COUNT(roles); i++)
        if (!strcmp(role, roles[i]))
            t->v[t->n].role = roles[i];
    t->v[t->n].text = dt_buf_take(&copy);
    t->v[t->n].n = n;
    t->stopped[t->n++] = stopped;
    return true;
}

static bool has_system(const cli_talk *t) {
    return t->n && !strcmp(t->v[0].role, "system");
}

size_t cli_talk_exchanges(const cli_talk *t) {
    return (t->n - has_system(t)) / 2;
}

void cli_talk_drop(cli_talk *t, size_t k) {
    const size_t from = has_system(t), n = 2 * k;
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)t->v[from + i].text);
    memmove(t->v + from, t->v + from + n, (t->n - from - n) * sizeof *t->v);
    memmove(t->stopped + from, t->stopped + from + n, (t->n - from - n) * sizeof *t->stopped);
    t->n -= n;
}

duet_status cli_talk_save(const cli_talk *t, const char *path, duet_err *err) {
    json_t *all = json_array(), *j = json_pack("{s:o}", "messages", all);
    bool ok = j != NULL;
    for (size_t i = 0; ok && i < t->n; i++) {
        json_t *m = json_pack("{s:s,s:o}", "role", t->v[i].role, "content", json_stringn(t->v[i].text, t->v[i].n));
        if (m && t->stopped[i])
            json_object_set_new(m, "stopped", json_true());
        ok = m && !json_array_append_new(all, m);
    }
    char *text = ok ? json_dumps(j, JSON_INDENT(1)) : NULL;
    json_decref(j);
    if (!text)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to save the conversation", path);
    duet_status st = dt_file_write_atomic(path, text, strlen(text), err);
    free(text);
    return st;
}

/* Turns as they must be: perhaps a system message, then user and assistant in turn, an answer last. */
static duet_status take(cli_talk *t, const json_t *messages, duet_err *err) {
    const size_t n = json_array_size(messages);
    size_t spoken = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(messages, i), *content = json_object_get(m, "content");
        const char *role = json_string_value(json_object_get(m, "role"));
        const char *want = spoken % 2 ? "assistant" : "user";
        if (!role || !json_is_string(content))
            return dt_fail(err, DUET_E_FORMAT, "messages[%zu] has no role or no content", i);
        if (i || strcmp(role, "system") != 0) {
            if (strcmp(role, want) != 0)
                return dt_fail(err, DUET_E_FORMAT, "messages[%zu] is of %s, where %s should speak", i, role, want);
            spoken++;
        }
        if (!cli_talk_add(t, role, json_string_value(content), json_string_length(content),
                          json_is_true(json_object_get(m, "stopped"))))
            return dt_fail(err, DUET_E_NOMEM, "no memory for a conversation of %zu turns", n);
    }
    return spoken % 2 ? dt_fail(err, DUET_E_FORMAT, "the last message is no answer") : DUET_OK;
}

duet_status cli_talk_load(cli_talk *t, const char *path, duet_err *err) {
    dt_buf text = {0};
    json_error_t je;
    cli_talk fresh = {0};
    duet_status st = dt_file_read(path, MAX_FILE, &text, err);
    json_t *j = st ? NULL : json_loadb(text.data ? text.data : "", text.len, JSON_ALLOW_NUL, &je);
    if (!st && !j)
        st = dt_fail(err, DUET_E_FORMAT, "%s: not valid JSON at line %d: %s", path, je.line, je.text);
    if (!st && !json_is_array(json_object_get(j, "messages")))
        st = dt_fail(err, DUET_E_FORMAT, "%s: there are no messages in it", path);
    if (!st) {
        st = take(&fresh, json_object_get(j, "messages"), err);
        if (st)
            st = dt_fail_in(err, st, "%s", path);
    }
    json_decref(j);
    dt_buf_clear(&text);
    if (st) {
        cli_talk_clear(&fresh);
        return st;
    }
    cli_talk_clear(t);
    *t = fresh;
    return DUET_OK;
}

/* messages -> turns of a conversation. Only text is read; what else a message may carry is refused by name. */
#include "serve/ask.h"

#include <stdlib.h>
#include <string.h>

static bool text_part(const json_t *part, const char *name, dt_buf *to, dt_fault *f) {
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_object_get(part, "text");
    if (!type || strcmp(type, "text") != 0)
        return dt_fault_set(f, 400, name, NULL, "%s: type %.40s: only text is understood", name, type ? type : "(none)");
    if (!json_is_string(text))
        return dt_fault_set(f, 400, name, NULL, "%s: a part without its text", name);
    dt_buf_add(to, json_string_value(text), json_string_length(text));
    return true;
}

/* content: a string, or an array of text parts, which are one text. */
static bool read_content(dt_ask *a, size_t i, const json_t *content, dt_fault *f) {
    duet_message *m = &a->turns[i];
    char name[64];
    dt_buf b = {0};
    const json_t *part = NULL;
    size_t k = 0;
    snprintf(name, sizeof name, "messages[%zu].content", i);
    if (json_is_string(content)) {
        m->text = json_string_value(content);
        m->n = json_string_length(content);
        return true;
    }
    if (!json_is_array(content))
        return dt_fault_set(f, 400, name, NULL, "%s: neither a string nor an array of text parts", name);
    json_array_foreach((json_t *)(uintptr_t)content, k, part) {
        snprintf(name, sizeof name, "messages[%zu].content[%zu]", i, k);
        if (!text_part(part, name, &b, f)) {
            dt_buf_clear(&b);
            return false;
        }
    }
    if (b.failed)
        return dt_fault_set(f, 500, NULL, NULL, "no memory for a message");
    m->n = b.len;
    m->text = a->owned[i] = b.data ? dt_buf_take(&b) : dt_strdup("");
    return m->text || dt_fault_set(f, 500, NULL, NULL, "no memory for a message");
}

/* Fields of a message beside role and content. What a client copies from an answer of ours may be there: the earlier signal,
 * which is no part of a conversation, and nulls. */
static bool read_rest(const char *key, const json_t *v, size_t i, bool assistant, dt_fault *f) {
    static const char *const ours[] = {"reasoning_content", "reasoning"};
    static const char *const empty[] = {"name", "tool_calls", "tool_call_id", "function_call", "refusal", "audio", "annotations", "prefix"};
    char name[96];
    snprintf(name, sizeof name, "messages[%zu].%s", i, key);
    for (size_t k = 0; k < DT_COUNT(ours); k++)
        if (!strcmp(ours[k], key))
            return assistant || json_is_null(v) || dt_fault_set(f, 400, name, NULL, "%s: only an assistant has thought", name);
    for (size_t k = 0; k < DT_COUNT(empty); k++)
        if (!strcmp(empty[k], key))
            return json_is_null(v) || (json_is_array(v) && !json_array_size(v)) ||
                   dt_fault_set(f, 400, name, NULL, "%s: is not supported", name);
    return dt_fault_set(f, 400, name, "unknown_parameter", "%s: there is no such field", name);
}

static bool read_message(dt_ask *a, size_t i, const json_t *msg, dt_fault *f) {
    static const char *const roles[][2] = {{"system", "system"}, {"developer", "system"}, {"user", "user"}, {"assistant", "assistant"}};
    const char *role = json_string_value(json_object_get(msg, "role")), *key = NULL;
    json_t *v = NULL;
    char name[64];
    snprintf(name, sizeof name, "messages[%zu].role", i);
    for (size_t k = 0; role && k < DT_COUNT(roles); k++)
        if (!strcmp(role, roles[k][0]))
            a->turns[i].role = roles[k][1];
    if (!a->turns[i].role)
        return dt_fault_set(f, 400, name, NULL, "%s: %.40s: must be system, developer, user or assistant", name, role ? role : "(none)");
    json_object_foreach((json_t *)(uintptr_t)msg, key, v) {
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0 &&
            !read_rest(key, v, i, !strcmp(a->turns[i].role, "assistant"), f))
            return false;
    }
    return read_content(a, i, json_object_get(msg, "content"), f);
}

bool dt_ask_messages(dt_ask *a, const json_t *messages, dt_fault *f) {
    const size_t n = json_array_size(messages);
    if (!json_is_array(messages) || !n)
        return dt_fault_set(f, 400, "messages", NULL, "messages: %s", json_is_array(messages) ? "there is none" : "not an array");
    a->turns = dt_calloc(n, sizeof *a->turns);
    a->owned = dt_calloc(n, sizeof *a->owned);
    if (!a->turns || !a->owned)
        return dt_fault_set(f, 500, NULL, NULL, "no memory for %zu messages", n);
    a->n_turns = n;
    for (size_t i = 0; i < n; i++)
        if (!read_message(a, i, json_array_get(messages, i), f))
            return false;
    if (strcmp(a->turns[n - 1].role, "user") != 0)
        return dt_fault_set(f, 400, "messages", NULL, "messages: the last one is the %s's; it must be the user's", a->turns[n - 1].role);
    return true;
}

bool dt_ask_prompt(dt_ask *a, const json_t *prompt, dt_fault *f) {
    if (json_array_size(prompt) == 1)
        prompt = json_array_get(prompt, 0);
    if (!json_is_string(prompt))
        return dt_fault_set(f, 400, "prompt", NULL, "prompt: neither a string nor an array of one string");
    a->turns = dt_calloc(1, sizeof *a->turns);
    a->owned = dt_calloc(1, sizeof *a->owned);
    if (!a->turns || !a->owned)
        return dt_fault_set(f, 500, NULL, NULL, "no memory");
    a->n_turns = 1;
    a->turns[0] = (duet_message){"user", json_string_value(prompt), json_string_length(prompt)};
    return true;
}

/* Turns that must alternate: Gemma 3, and Mistral's first layout. */
#include "text/render.h"

#include <string.h>

static duet_status alternates(const dt_chat *c, size_t i, size_t from, duet_err *err) {
    if (dt_msg_is(dt_msg(c, i), "user") == ((i - from) % 2 == 0))
        return DUET_OK;
    return dt_fail(err, DUET_E_FORMAT, "Conversation roles must alternate user/assistant/user/assistant/...");
}

/* The text of content[k]; NULL where that is no text part. */
static const json_t *part_text(const json_t *content, size_t k) {
    const json_t *part = json_array_get(content, k), *text = json_object_get(part, "text");
    const char *type = json_string_value(json_object_get(part, "type"));
    return type && !strcmp(type, "text") && json_is_string(text) ? text : NULL;
}

static duet_status gemma_content(const dt_chat *c, size_t i, dt_page *p, duet_err *err) {
    const json_t *content = json_object_get(dt_msg(c, i), "content");
    if (json_is_string(content)) {
        const char *s = json_string_value(content);
        size_t n = json_string_length(content);
        dt_strip(&s, &n);
        dt_page_data(p, s, n);
        return DUET_OK;
    }
    if (!json_is_array(content))
        return dt_fail(err, DUET_E_FORMAT, "Invalid content type");
    for (size_t k = 0; k < json_array_size(content); k++) {
        const json_t *text = part_text(content, k);
        if (!text)
            return dt_fail(err, DUET_E_FORMAT, "messages[%zu].content[%zu] is no text: only text is read here", i, k);
        const char *s = json_string_value(text);
        size_t n = json_string_length(text);
        dt_strip(&s, &n);
        dt_page_data(p, s, n);
    }
    return DUET_OK;
}

duet_status dt_render_gemma3(const dt_chat *c, dt_page *p, duet_err *err) {
    const json_t *prefix = NULL;
    size_t from = 0;
    duet_status st = DUET_OK;
    if (!dt_msg_count(c))
        return dt_fail(err, DUET_E_FORMAT, "messages is empty");
    if (dt_msg_is(dt_msg(c, 0), "system")) {
        prefix = json_object_get(dt_msg(c, 0), "content");
        if (!json_is_string(prefix))
            prefix = part_text(prefix, 0);
        if (!prefix)
            return dt_fail(err, DUET_E_FORMAT, "messages[0].content has no text");
        from = 1;
    }
    dt_page_own(p, c->bos);
    for (size_t i = from; i < dt_msg_count(c) && !st; i++) {
        st = alternates(c, i, from, err);
        if (st)
            break;
        dt_page_own(p, "<start_of_turn>");
        if (dt_msg_is(dt_msg(c, i), "assistant"))
            dt_page_own(p, "model");
        else
            dt_page_role(p, dt_msg(c, i));
        dt_page_own(p, "\n");
        if (prefix && i == from) {
            dt_page_data(p, json_string_value(prefix), json_string_length(prefix));
            dt_page_own(p, "\n\n");
        }
        st = gemma_content(c, i, p, err);
        dt_page_own(p, "<end_of_turn>\n");
    }
    if (c->generation)
        dt_page_own(p, "<start_of_turn>model\n");
    return st;
}

duet_status dt_render_mistral(const dt_chat *c, dt_page *p, duet_err *err) {
    duet_status st = DUET_OK;
    dt_page_own(p, c->bos);
    for (size_t i = 0; i < dt_msg_count(c) && !st; i++) {
        const bool user = dt_msg_is(dt_msg(c, i), "user");
        const char *s = NULL;
        size_t n = 0;
        st = alternates(c, i, 0, err);
        if (!st && !user && !dt_msg_is(dt_msg(c, i), "assistant"))
            st = dt_fail(err, DUET_E_FORMAT, "Only user and assistant roles are supported!");
        if (!st)
            st = dt_msg_content(c, i, &s, &n, err);
        if (st)
            break;
        dt_page_own(p, user ? "[INST] " : "");
        dt_page_data(p, s, n);
        dt_page_own(p, user ? " [/INST]" : c->eos);
    }
    return st;
}

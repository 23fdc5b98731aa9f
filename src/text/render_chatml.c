/* Turns between <|im_start|> and <|im_end|>: plain ChatML, SmolLM2, Qwen2, and the layouts of Qwen2.5 and Qwen3. */
#include "text/render.h"

#include <string.h>

static void open_turn(dt_page *p, const json_t *m) {
    dt_page_own(p, "<|im_start|>");
    dt_page_role(p, m);
}

static void whole_turn(dt_page *p, const json_t *m, const char *s, size_t n) {
    open_turn(p, m);
    dt_page_own(p, "\n");
    dt_page_data(p, s, n);
    dt_page_own(p, "<|im_end|>\n");
}

static void system_turn(dt_page *p, const char *text) {
    dt_page_own(p, "<|im_start|>system\n");
    dt_page_own(p, text);
    dt_page_own(p, "<|im_end|>\n");
}

static void generation(const dt_chat *c, dt_page *p, bool can_switch) {
    if (!c->generation)
        return;
    dt_page_own(p, "<|im_start|>assistant\n");
    if (c->family->thought == DT_THOUGHT_OPENED && !c->bare)
        dt_page_own(p, "<think>\n");
    else if (can_switch && c->thinking == DT_NO)
        dt_page_own(p, "<think>\n\n</think>\n\n");
}

duet_status dt_render_chatml(const dt_chat *c, dt_page *p, duet_err *err) {
    for (size_t i = 0; i < dt_msg_count(c); i++) {
        const char *s = NULL;
        size_t n = 0;
        duet_status st = dt_msg_content(c, i, &s, &n, err);
        if (st)
            return st;
        if (!i && c->family->system && !dt_msg_is(dt_msg(c, 0), "system"))
            system_turn(p, c->family->system);
        whole_turn(p, dt_msg(c, i), s, n);
    }
    generation(c, p, c->family->flags & DT_CHATML_SWITCH);
    return DUET_OK;
}

/* ---- Qwen2.5 and Qwen3 ---- */

/* A content that is no string: nothing for the lenient revisions, an error for the others. */
static duet_status content_of(const dt_chat *c, size_t i, const char **s, size_t *n, duet_err *err) {
    if ((c->family->flags & DT_QWEN_LENIENT) && !json_is_string(json_object_get(dt_msg(c, i), "content"))) {
        *s = "";
        *n = 0;
        return DUET_OK;
    }
    return dt_msg_content(c, i, s, n, err);
}

static duet_status qwen_head(const dt_chat *c, dt_page *p, duet_err *err) {
    const char *s = NULL;
    size_t n = 0;
    const bool given = dt_msg_is(dt_msg(c, 0), "system"), tools = json_array_size(c->tools) > 0;
    if (given) {
        duet_status st = dt_msg_content(c, 0, &s, &n, err);
        if (st)
            return st;
    }
    if (!tools && !given && !c->family->system)
        return DUET_OK;
    dt_page_own(p, "<|im_start|>system\n");
    if (given)
        dt_page_data(p, s, n);
    else if (c->family->system)
        dt_page_own(p, c->family->system);
    if (!tools) {
        dt_page_own(p, "<|im_end|>\n");
        return DUET_OK;
    }
    if (given || c->family->system)
        dt_page_own(p, "\n\n");
    dt_page_own(p, "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided "
                   "with function signatures within <tools></tools> XML tags:\n<tools>");
    for (size_t i = 0; i < json_array_size(c->tools); i++) {
        dt_page_own(p, "\n");
        dt_page_json(p, json_array_get(c->tools, i), 0);
    }
    dt_page_own(p, "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
                   "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
                   "<args-json-object>}\n</tool_call><|im_end|>\n");
    return DUET_OK;
}

/* `first`: whether the first call begins on a new line too. */
static duet_status qwen_calls(const dt_chat *c, size_t i, bool first, dt_page *p, duet_err *err) {
    const json_t *calls = dt_msg_calls(dt_msg(c, i));
    for (size_t k = 0; k < json_array_size(calls); k++) {
        const json_t *name = NULL, *arguments = NULL;
        duet_status st = dt_call_parts(json_array_get(calls, k), i, &name, &arguments, err);
        if (st)
            return st;
        dt_page_own(p, k || first ? "\n<tool_call>\n{\"name\": \"" : "<tool_call>\n{\"name\": \"");
        dt_page_data(p, json_string_value(name), json_string_length(name));
        dt_page_own(p, "\", \"arguments\": ");
        if (json_is_string(arguments) && !(c->family->flags & DT_QWEN_25))
            dt_page_data(p, json_string_value(arguments), json_string_length(arguments));
        else
            dt_page_json(p, arguments, 0);
        dt_page_own(p, "}\n</tool_call>");
    }
    return DUET_OK;
}

static bool is_tool(const dt_chat *c, size_t i) {
    return i < dt_msg_count(c) && dt_msg_is(dt_msg(c, i), "tool");
}

static void qwen_tool(const dt_chat *c, size_t i, const char *s, size_t n, dt_page *p) {
    if (!i || !is_tool(c, i - 1))
        dt_page_own(p, "<|im_start|>user");
    dt_page_own(p, "\n<tool_response>\n");
    dt_page_data(p, s, n);
    dt_page_own(p, "\n</tool_response>");
    if (!is_tool(c, i + 1))
        dt_page_own(p, "<|im_end|>\n");
}

static bool is_tool_response(const char *s, size_t n) {
    static const char open[] = "<tool_response>", close[] = "</tool_response>";
    const size_t a = sizeof open - 1, b = sizeof close - 1;
    return n >= a && n >= b && !memcmp(s, open, a) && !memcmp(s + n - b, close, b);
}

/* The last question: thoughts after it are still of use, those before are dropped. */
static duet_status last_query(const dt_chat *c, size_t *out, duet_err *err) {
    *out = dt_msg_count(c) - 1;
    for (size_t i = dt_msg_count(c); i--;) {
        const char *s = NULL;
        size_t n = 0;
        if (!dt_msg_is(dt_msg(c, i), "user"))
            continue;
        if ((c->family->flags & DT_QWEN_LENIENT) && !json_is_string(json_object_get(dt_msg(c, i), "content")))
            continue;
        duet_status st = dt_msg_content(c, i, &s, &n, err);
        if (st)
            return st;
        if (!is_tool_response(s, n)) {
            *out = i;
            return DUET_OK;
        }
    }
    return DUET_OK;
}

/* Takes the thought out of a content: what stands before the first </think>, behind the last <think> there. */
static void split_thought(const char **s, size_t *n, const char **thought, size_t *n_thought) {
    static const char open[] = "<think>", close[] = "</think>";
    const char *end = *s + *n, *first = dt_find(*s, *n, close), *last = dt_find_last(*s, *n, close);
    if (!first)
        return;
    *thought = *s;
    *n_thought = (size_t)(first - *s);
    dt_strip_newlines(thought, n_thought, false, true);
    const char *o = dt_find_last(*thought, *n_thought, open);
    if (o) {
        *n_thought -= (size_t)(o - *thought) + sizeof open - 1;
        *thought = o + sizeof open - 1;
    }
    dt_strip_newlines(thought, n_thought, true, false);
    *s = last + sizeof close - 1;
    *n = (size_t)(end - *s);
    dt_strip_newlines(s, n, true, false);
}

static duet_status qwen3_assistant(const dt_chat *c, size_t i, size_t query, dt_page *p, duet_err *err) {
    const json_t *m = dt_msg(c, i), *given = json_object_get(m, "reasoning_content");
    const char *s = NULL, *thought = "";
    size_t n = 0, n_thought = 0;
    const bool last = i + 1 == dt_msg_count(c);
    duet_status st = content_of(c, i, &s, &n, err);
    if (st)
        return st;
    if (c->family->flags & DT_QWEN_THINKS) {
        if (json_is_string(given)) {
            thought = json_string_value(given);
            n_thought = json_string_length(given);
        } else if (given && !json_is_null(given) && !(c->family->flags & DT_QWEN_LENIENT)) {
            return dt_msg_string(m, i, "reasoning_content", &thought, &n_thought, err);
        } else {
            split_thought(&s, &n, &thought, &n_thought);
        }
    }
    open_turn(p, m);
    dt_page_own(p, "\n");
    const char *said = s;
    size_t n_said = n;
    if ((c->family->flags & DT_QWEN_THINKS) && i > query && (last || n_thought)) {
        dt_strip_newlines(&thought, &n_thought, true, true);
        dt_strip_newlines(&said, &n_said, true, false);
        dt_page_own(p, "<think>\n");
        dt_page_data(p, thought, n_thought);
        dt_page_own(p, "\n</think>\n\n");
    }
    dt_page_data(p, said, n_said);
    st = qwen_calls(c, i, n > 0, p, err);
    dt_page_own(p, "<|im_end|>\n");
    return st;
}

static duet_status qwen25_assistant(const dt_chat *c, size_t i, dt_page *p, duet_err *err) {
    const json_t *m = dt_msg(c, i), *content = json_object_get(m, "content");
    const char *s = NULL;
    size_t n = 0;
    duet_status st = DUET_OK;
    const bool calls = dt_msg_calls(m) != NULL;
    if (!calls || (content && !json_is_null(content)))
        st = dt_msg_content(c, i, &s, &n, err);
    if (st)
        return st;
    open_turn(p, m);
    if (!calls || n) {
        dt_page_own(p, "\n");
        dt_page_data(p, s, n);
    }
    st = qwen_calls(c, i, true, p, err);
    dt_page_own(p, "<|im_end|>\n");
    return st;
}

duet_status dt_render_qwen(const dt_chat *c, dt_page *p, duet_err *err) {
    size_t query = 0;
    if (!dt_msg_count(c))
        return dt_fail(err, DUET_E_FORMAT, "messages is empty");
    duet_status st = qwen_head(c, p, err);
    if (!st && (c->family->flags & DT_QWEN_THINKS))
        st = last_query(c, &query, err);
    for (size_t i = 0; i < dt_msg_count(c) && !st; i++) {
        const json_t *m = dt_msg(c, i);
        const char *s = NULL;
        size_t n = 0;
        const bool turn = dt_msg_is(m, "user") || (dt_msg_is(m, "system") && i), tool = dt_msg_is(m, "tool");
        if (turn || tool)
            st = content_of(c, i, &s, &n, err);
        if (st)
            break;
        if (turn)
            whole_turn(p, m, s, n);
        else if (tool)
            qwen_tool(c, i, s, n, p);
        else if (dt_msg_is(m, "assistant"))
            st = c->family->flags & DT_QWEN_25 ? qwen25_assistant(c, i, p, err)
                                               : qwen3_assistant(c, i, query, p, err);
    }
    generation(c, p, c->family->flags & DT_QWEN_SWITCH);
    return st;
}

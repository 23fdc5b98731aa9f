/* DeepSeek-R1 and its distils: no line between turns, thoughts of earlier answers dropped. */
#include "text/render.h"

#include <string.h>

#define USER "<\xef\xbd\x9cUser\xef\xbd\x9c>"
#define ASSISTANT "<\xef\xbd\x9c" "Assistant\xef\xbd\x9c>"
#define END "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"
#define TOOL(what) "<\xef\xbd\x9ctool\xe2\x96\x81" what "\xef\xbd\x9c>"
#define BEGIN "\xe2\x96\x81" "begin"
#define STOP "\xe2\x96\x81" "end"

typedef struct state {
    bool called;   /* a call was written somewhere before: the template never forgets */
    bool in_tool;  /* the last turn was a tool's */
    bool answered; /* a tool's answer was written before */
} state;

static duet_status call(const dt_chat *c, const json_t *call, size_t i, state *s, dt_page *p, duet_err *err) {
    const json_t *type = json_object_get(call, "type"), *name = NULL, *arguments = NULL;
    const bool json = c->family->flags & DT_DEEPSEEK_SWITCH;
    duet_status st = dt_call_parts(call, i, &name, &arguments, err);
    if (st)
        return st;
    if (!json_is_string(type) || !json_object_get(call, "function"))
        return dt_fail(err, DUET_E_FORMAT, "messages[%zu]: a tool call needs a type and a function", i);
    if (!json && !json_is_string(arguments))
        return dt_fail(err, DUET_E_FORMAT, "messages[%zu]: this template takes the arguments of a tool call as a string",
                       i);
    dt_page_own(p, s->called ? "\n" TOOL("call" BEGIN) : ASSISTANT TOOL("calls" BEGIN) TOOL("call" BEGIN));
    dt_page_data(p, json_string_value(type), json_string_length(type));
    dt_page_own(p, TOOL("sep"));
    dt_page_data(p, json_string_value(name), json_string_length(name));
    dt_page_own(p, "\n```json\n");
    if (json)
        dt_page_json(p, arguments, 0);
    else
        dt_page_data(p, json_string_value(arguments), json_string_length(arguments));
    dt_page_own(p, "\n```" TOOL("call" STOP));
    if (s->called && !json)
        dt_page_own(p, TOOL("calls" STOP) END);
    s->called = true;
    return DUET_OK;
}

static duet_status assistant(const dt_chat *c, size_t i, state *s, dt_page *p, duet_err *err) {
    const json_t *m = dt_msg(c, i), *calls = json_object_get(m, "tool_calls");
    const bool json = c->family->flags & DT_DEEPSEEK_SWITCH, silent = json_is_null(json_object_get(m, "content"));
    const char *t = NULL;
    size_t n = 0;
    duet_status st = DUET_OK;
    if (json ? json_array_size(calls) > 0 : silent) {
        s->in_tool = false;
        for (size_t k = 0; k < json_array_size(calls) && !st; k++)
            st = call(c, json_array_get(calls, k), i, s, p, err);
        if (json)
            dt_page_own(p, TOOL("calls" STOP) END);
    }
    if (st || silent)
        return st;
    st = dt_msg_content(c, i, &t, &n, err);
    if (st)
        return st;
    if (s->in_tool) {
        dt_page_own(p, TOOL("outputs" STOP));
        s->in_tool = false;
    } else {
        static const char close[] = "</think>";
        const char *last = dt_find_last(t, n, close);
        if (last) {
            n -= (size_t)(last - t) + sizeof close - 1;
            t = last + sizeof close - 1;
        }
        dt_page_own(p, ASSISTANT);
    }
    dt_page_data(p, t, n);
    dt_page_own(p, END);
    return DUET_OK;
}

duet_status dt_render_deepseek(const dt_chat *c, dt_page *p, duet_err *err) {
    const char *t = "";
    size_t n = 0;
    state s = {0};
    duet_status st = DUET_OK;
    for (size_t i = 0; i < dt_msg_count(c) && !st; i++) /* the last one counts */
        if (dt_msg_is(dt_msg(c, i), "system"))
            st = dt_msg_content(c, i, &t, &n, err);
    dt_page_own(p, c->bos);
    if (!st)
        dt_page_data(p, t, n);
    for (size_t i = 0; i < dt_msg_count(c) && !st; i++) {
        const json_t *m = dt_msg(c, i);
        const bool user = dt_msg_is(m, "user"), tool = dt_msg_is(m, "tool");
        if (user || tool)
            st = dt_msg_content(c, i, &t, &n, err);
        if (st)
            break;
        if (user) {
            s.in_tool = false;
            dt_page_own(p, USER);
            dt_page_data(p, t, n);
        } else if (tool) {
            dt_page_own(p, s.answered ? "\n" TOOL("output" BEGIN) : TOOL("outputs" BEGIN) TOOL("output" BEGIN));
            dt_page_data(p, t, n);
            dt_page_own(p, TOOL("output" STOP));
            s.in_tool = s.answered = true;
        } else if (dt_msg_is(m, "assistant")) {
            st = assistant(c, i, &s, p, err);
        }
    }
    if (s.in_tool)
        dt_page_own(p, TOOL("outputs" STOP));
    if (c->generation && !s.in_tool) {
        dt_page_own(p, ASSISTANT);
        if (c->family->thought == DT_THOUGHT_OPENED && !c->bare) {
            dt_page_own(p, "<think>\n");
            if ((c->family->flags & DT_DEEPSEEK_SWITCH) && c->thinking != DT_YES)
                dt_page_own(p, "</think>");
        }
    }
    return st;
}

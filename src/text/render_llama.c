/* Turns with headers: Llama 3, and Llama 3.1 to 3.3 with the date and tools. */
#include "text/render.h"

#include <string.h>
#include <time.h>

static duet_status stripped(const dt_chat *c, size_t i, const char **s, size_t *n, duet_err *err) {
    duet_status st = dt_msg_content(c, i, s, n, err);
    if (!st)
        dt_strip(s, n);
    return st;
}

static void header(dt_page *p, const char *role) {
    dt_page_own(p, "<|start_header_id|>");
    dt_page_own(p, role);
    dt_page_own(p, "<|end_header_id|>\n\n");
}

static duet_status turn(const dt_chat *c, size_t i, dt_page *p, duet_err *err) {
    const char *s = NULL;
    size_t n = 0;
    duet_status st = stripped(c, i, &s, &n, err);
    if (st)
        return st;
    dt_page_own(p, "<|start_header_id|>");
    dt_page_role(p, dt_msg(c, i));
    dt_page_own(p, "<|end_header_id|>\n\n");
    dt_page_data(p, s, n);
    dt_page_own(p, "<|eot_id|>");
    return DUET_OK;
}

duet_status dt_render_llama3(const dt_chat *c, dt_page *p, duet_err *err) {
    duet_status st = DUET_OK;
    for (size_t i = 0; i < dt_msg_count(c) && !st; i++) {
        if (!i)
            dt_page_own(p, c->bos);
        st = turn(c, i, p, err);
    }
    if (c->generation)
        header(p, "assistant");
    return st;
}

/* "24 Nov 2026", in English whatever the locale. */
static void today(char out[32]) {
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm = {.tm_mday = 1};
    const time_t now = time(NULL);
    localtime_r(&now, &tm);
    snprintf(out, 32, "%02d %s %d", tm.tm_mday, months[tm.tm_mon % 12], 1900 + tm.tm_year);
}

static void system_turn(const dt_chat *c, const char *s, size_t n, dt_page *p) {
    char now[32];
    header(p, "system");
    if (c->tools)
        dt_page_own(p, "Environment: ipython\n");
    dt_page_own(p, "Cutting Knowledge Date: December 2023\nToday Date: ");
    if (c->date) {
        dt_page_data(p, c->date, strlen(c->date));
    } else if (c->family->flags & DT_LLAMA_TODAY) {
        today(now);
        dt_page_own(p, now);
    } else {
        dt_page_own(p, "26 Jul 2024");
    }
    dt_page_own(p, "\n\n");
    dt_page_data(p, s, n);
    dt_page_own(p, "<|eot_id|>");
}

/* Tools stand in front of the first message after the system's. */
static duet_status tools_turn(const dt_chat *c, size_t i, dt_page *p, duet_err *err) {
    const char *s = NULL;
    size_t n = 0;
    if (i >= dt_msg_count(c))
        return dt_fail(err, DUET_E_FORMAT,
                       "Cannot put tools in the first user message when there's no first user message!");
    duet_status st = stripped(c, i, &s, &n, err);
    if (st)
        return st;
    header(p, "user");
    dt_page_own(p, "Given the following functions, please respond with a JSON for a function call with its proper "
                   "arguments that best answers the given prompt.\n\nRespond in the format {\"name\": function name, "
                   "\"parameters\": dictionary of argument name and its value}.Do not use variables.\n\n");
    for (size_t k = 0; k < json_array_size(c->tools); k++) {
        dt_page_json(p, json_array_get(c->tools, k), 4);
        dt_page_own(p, "\n\n");
    }
    dt_page_data(p, s, n);
    dt_page_own(p, "<|eot_id|>");
    return DUET_OK;
}

static duet_status call_turn(const json_t *m, size_t i, dt_page *p, duet_err *err) {
    const json_t *calls = json_object_get(m, "tool_calls"), *name = NULL, *arguments = NULL;
    if (json_array_size(calls) != 1)
        return dt_fail(err, DUET_E_FORMAT, "This model only supports single tool-calls at once!");
    duet_status st = dt_call_parts(json_array_get(calls, 0), i, &name, &arguments, err);
    if (st)
        return st;
    header(p, "assistant");
    dt_page_own(p, "{\"name\": \"");
    dt_page_data(p, json_string_value(name), json_string_length(name));
    dt_page_own(p, "\", \"parameters\": ");
    dt_page_json(p, arguments, 0);
    dt_page_own(p, "}<|eot_id|>");
    return DUET_OK;
}

static duet_status tool_turn(const json_t *m, size_t i, dt_page *p, duet_err *err) {
    const json_t *content = json_object_get(m, "content");
    const char *s = NULL;
    size_t n = 0;
    if (!json_is_object(content) && !json_is_array(content)) {
        duet_status st = dt_msg_string(m, i, "content", &s, &n, err);
        if (st)
            return st;
    }
    header(p, "ipython");
    dt_page_json(p, content, 0);
    dt_page_own(p, "<|eot_id|>");
    return DUET_OK;
}

duet_status dt_render_llama31(const dt_chat *c, dt_page *p, duet_err *err) {
    const char *s = "";
    size_t n = 0, i = 0;
    duet_status st = DUET_OK;
    if (!dt_msg_count(c))
        return dt_fail(err, DUET_E_FORMAT, "messages is empty");
    if (dt_msg_is(dt_msg(c, 0), "system")) {
        st = stripped(c, 0, &s, &n, err);
        if (st)
            return st;
        i = 1;
    }
    dt_page_own(p, c->bos);
    system_turn(c, s, n, p);
    if (c->tools)
        st = tools_turn(c, i++, p, err);
    for (; i < dt_msg_count(c) && !st; i++) {
        const json_t *m = dt_msg(c, i);
        const bool tool = dt_msg_is(m, "tool") || dt_msg_is(m, "ipython");
        if (json_object_get(m, "tool_calls"))
            st = call_turn(m, i, p, err);
        else
            st = tool ? tool_turn(m, i, p, err) : turn(c, i, p, err);
    }
    if (c->generation)
        header(p, "assistant");
    return st;
}

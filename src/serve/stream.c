/* An answer as server-sent events: a chunk for each piece of text, exactly as the pair gave it, so that a request gives the
 * same chunks at any load. */
#include "serve/chat.h"

#include <stdlib.h>
#include <string.h>

static void event(dt_chat *a, dt_buf *b) {
    dt_buf_adds(b, "\n\n");
    if (b->failed)
        a->job.conn->close = true; /* the client sees a stream without its end */
    else
        dt_conn_write(a->job.conn, b->data, b->len);
    dt_buf_clear(b);
}

/* The beginning of all chunks, up to the choices. */
static bool make_head(dt_chat *a) {
    dt_buf b = {0};
    dt_buf_addf(&b, "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", a->job.id,
                a->ask.completion ? "text_completion" : "chat.completion.chunk", (long long)a->created);
    dt_serve_quote(&b, a->ask.model, strlen(a->ask.model));
    dt_buf_addf(&b, ",\"system_fingerprint\":\"duet-%s\",%s\"choices\":[", DUET_VERSION, a->ask.include_usage ? "\"usage\":null," : "");
    a->head = b.failed ? (dt_buf_clear(&b), NULL) : dt_buf_take(&b);
    return a->head != NULL;
}

/* A chunk of one choice. extra: what stands behind the choices. Log-probs that wait go with it, if it has text or is the last. */
static void chunk(dt_chat *a, int choice, const char *delta, const char *finish, const char *extra) {
    dt_buf b = {0}, *logprobs = &a->choices[choice].logprobs;
    dt_buf_addf(&b, a->ask.completion ? "%s{\"index\":%d,%s,\"logprobs\":" : "%s{\"index\":%d,\"delta\":{%s},\"logprobs\":", a->head, choice,
                *delta || !a->ask.completion ? delta : "\"text\":\"\"");
    if (logprobs->len)
        dt_buf_addf(&b, "{\"content\":[%s],\"refusal\":null}", logprobs->data);
    else
        dt_buf_adds(&b, "null");
    logprobs->len = 0;
    dt_buf_addf(&b, ",\"finish_reason\":%s%s%s}]%s}", finish ? "\"" : "", finish ? finish : "null", finish ? "\"" : "", extra ? extra : "");
    event(a, &b);
}

static void say(dt_chat *a, int choice, const char *name, const char *text, size_t n) {
    dt_buf b = {0};
    dt_buf_addf(&b, "\"%s\":", name);
    dt_serve_quote(&b, text, n);
    if (!b.failed && n)
        chunk(a, choice, b.data, NULL, NULL);
    dt_buf_clear(&b);
}

void dt_sse_begin(dt_chat *a) {
    char id[96];
    if (!a->head && !make_head(a))
        return; /* again at the next tick */
    snprintf(id, sizeof id, "X-Duet-Answer: %s\r\n", a->job.id);
    dt_conn_stream(a->job.conn, "text/event-stream", id);
    if (a->ask.completion)
        dt_conn_write(a->job.conn, ": taken\n\n", 9);
    for (int i = 0; i < a->ask.n && !a->ask.completion; i++)
        chunk(a, i, "\"role\":\"assistant\",\"content\":\"\"", NULL, NULL);
}

static bool is_blank(char c) {
    return c && strchr(" \t\n\r\v\f", c);
}

void dt_sse_text(dt_chat *a, int choice, int stage, const char *text, size_t n) {
    dt_buf *held = &a->choices[choice].held;
    size_t keep = n;
    if (!a->job.conn->streaming)
        dt_sse_begin(a);
    if (!a->head)
        return;
    if (stage == 0) {
        if (!a->ask.hide_reasoning && !a->ask.completion)
            say(a, choice, a->ask.reasoning_name ? "reasoning" : "reasoning_content", text, n);
        return;
    }
    while (keep && is_blank(text[keep - 1]))
        keep--;
    if (keep) {
        dt_buf_add(held, text, keep);
        say(a, choice, a->ask.completion ? "text" : "content", held->data, held->len);
        held->len = 0;
    }
    dt_buf_add(held, text + keep, n - keep);
}

void dt_sse_token(dt_chat *a, int choice, const char *record, size_t n) {
    dt_choice *c = &a->choices[choice];
    dt_spoken t;
    memcpy(&t, record, n < sizeof t ? n : sizeof t);
    c->last_at = c->logprobs.len;
    dt_logprob_add(&c->logprobs, dt_answer_tokenizer(a), t.id, t.logprob, t.top, t.n_top);
}

/* The end of a choice. The token that ended it is no part of the answer. */
static void end_choice(dt_chat *a, int choice, const char *extra) {
    dt_choice *c = &a->choices[choice];
    if (c->logprobs.len && a->reqs[choice].answer_stop == DUET_STOP_EOS) {
        c->logprobs.len = c->last_at;
        c->logprobs.data[c->last_at] = 0;
    }
    chunk(a, choice, "", dt_reply_finish(a, choice), extra);
}

static void last_chunk(dt_chat *a) {
    json_t *duet = dt_reply_duet(a);
    char *text = duet ? json_dumps(duet, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    dt_buf b = {0};
    dt_buf_addf(&b, ",\"duet\":%s", text ? text : "null");
    end_choice(a, a->ask.n - 1, b.data);
    dt_buf_clear(&b);
    free(text);
    json_decref(duet);
}

static void usage_chunk(dt_chat *a) {
    json_t *usage = dt_reply_usage(a);
    char *text = usage ? json_dumps(usage, JSON_COMPACT) : NULL;
    dt_buf b = {0};
    const char *null = strstr(a->head, "\"usage\":null,");
    dt_buf_add(&b, a->head, (size_t)(null - a->head));
    dt_buf_addf(&b, "\"usage\":%s,\"choices\":[]}", text ? text : "null");
    event(a, &b);
    free(text);
    json_decref(usage);
}

void dt_sse_finish(dt_chat *a) {
    dt_conn *c = a->job.conn;
    if (!c->streaming)
        dt_sse_begin(a);
    if (!c->streaming) {
        dt_fault f;
        dt_fault_set(&f, 500, NULL, NULL, "no memory");
        dt_conn_fault(c, &f);
        return;
    }
    for (int i = 0; i + 1 < a->ask.n; i++)
        end_choice(a, i, NULL);
    last_chunk(a);
    if (a->ask.include_usage)
        usage_chunk(a);
    dt_conn_write(c, "data: [DONE]\n\n", 14);
    dt_conn_end(c);
}

void dt_sse_fault(dt_chat *a, const dt_fault *f) {
    json_t *j = dt_fault_json(f);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    dt_buf b = {0};
    dt_buf_addf(&b, "data: %s", text ? text : "{\"error\":{\"message\":\"no memory\",\"type\":\"server_error\"}}");
    event(a, &b);
    free(text);
    json_decref(j);
    dt_conn_end(a->job.conn);
}

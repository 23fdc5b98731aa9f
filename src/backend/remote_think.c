/* Which words are thought and which are answer, while they come. Servers tell it in three ways: a field of its own
 * (reasoning_content, reasoning), marks in the text, or not at all; where the prompt opened the thought, only the closing
 * mark comes. A mark may come in pieces, so what may be the beginning of one is held. */
#include "backend/remote.h"

#include <string.h>

static const struct {
    const char *open, *close;
} marks[] = {
    {"<think>",   "</think>"  },
    {"<thought>", "</thought>"},
    {"[THINK]",   "[/THINK]"  },
};

void dt_think_init(dt_think *t, bool opened, size_t max_bytes) {
    *t = (dt_think){.state = opened ? DT_THINK_INSIDE : DT_THINK_START, .close = marks[0].close};
    t->thought.max = t->answer.max = t->held.max = max_bytes;
}

void dt_think_clear(dt_think *t) {
    dt_buf_clear(&t->thought);
    dt_buf_clear(&t->answer);
    dt_buf_clear(&t->held);
}

bool dt_think_failed(const dt_think *t) {
    return t->thought.failed || t->answer.failed || t->held.failed;
}

static void emit(dt_think *t, int part, const char *s, size_t n) {
    if (n == 0)
        return;
    dt_buf_add(part ? &t->answer : &t->thought, s, n);
    if (t->on_text && !t->stop && t->on_text(t->user, part, s, n))
        t->stop = true;
}

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Bytes at the end of s that may be the beginning of `mark`. */
static size_t begun(const char *s, size_t n, const char *mark) {
    size_t k = strlen(mark) - 1;
    for (k = k < n ? k : n; k > 0; k--)
        if (!memcmp(s + n - k, mark, k))
            return k;
    return 0;
}

/* At the start: is there a mark? True once that is known; *used: bytes that said so. */
static bool starts(dt_think *t, const char *s, size_t n, size_t *used) {
    size_t at = 0;
    bool perhaps = false;
    while (at < n && is_space(s[at]))
        at++;
    for (size_t i = 0; i < DT_COUNT(marks); i++) {
        const size_t k = strlen(marks[i].open), have = n - at < k ? n - at : k;
        if (memcmp(s + at, marks[i].open, have) != 0)
            continue;
        if (have == k) {
            t->state = DT_THINK_INSIDE;
            t->close = marks[i].close;
            *used = at + k;
            return true;
        }
        perhaps = true;
    }
    if (perhaps)
        return false;
    t->state = DT_THINK_PLAIN;
    *used = 0;
    return true;
}

/* What was taken for an answer was a thought that the prompt had opened. */
static void was_thought(dt_think *t) {
    dt_buf spare = t->thought;
    t->thought = t->answer;
    t->answer = spare;
    t->answer.len = 0;
}

/* Text with a closing mark in it, perhaps; returns the bytes that are dealt with. */
static size_t until_close(dt_think *t, const char *s, size_t n) {
    const int part = t->state == DT_THINK_PLAIN;
    const char *at = memmem(s, n, t->close, strlen(t->close));
    if (!at) {
        const size_t sure = n - begun(s, n, t->close);
        emit(t, part, s, sure);
        return sure;
    }
    emit(t, part, s, (size_t)(at - s));
    if (part)
        was_thought(t);
    t->state = DT_THINK_AFTER;
    t->closed = true;
    return (size_t)(at - s) + strlen(t->close);
}

static size_t step(dt_think *t, const char *s, size_t n) {
    size_t used = 0;
    switch (t->state) {
    case DT_THINK_START:
        starts(t, s, n, &used);
        return used;
    case DT_THINK_INSIDE:
    case DT_THINK_PLAIN:
        return until_close(t, s, n);
    case DT_THINK_FIELD:
        t->closed = true;
        t->state = DT_THINK_AFTER;
        return 0;
    case DT_THINK_AFTER:
        break;
    }
    emit(t, 1, s, n);
    return n;
}

void dt_think_say(dt_think *t, const char *s, size_t n) {
    if (n == 0 || !dt_buf_add(&t->held, s, n))
        return;
    size_t at = 0;
    while (at < t->held.len) {
        const int before = (int)t->state;
        const size_t used = step(t, t->held.data + at, t->held.len - at);
        at += used;
        if (used == 0 && before == (int)t->state)
            break; /* more must come before it is known */
    }
    memmove(t->held.data, t->held.data + at, t->held.len - at);
    t->held.len -= at;
}

void dt_think_reason(dt_think *t, const char *s, size_t n) {
    if (n == 0)
        return;
    t->held.len = 0; /* white space before it */
    if (t->state != DT_THINK_AFTER)
        t->state = DT_THINK_FIELD;
    emit(t, 0, s, n);
}

void dt_think_end(dt_think *t) {
    if (t->held.len)
        emit(t, t->state == DT_THINK_PLAIN || t->state == DT_THINK_AFTER || t->state == DT_THINK_START, t->held.data,
             t->held.len);
    t->held.len = 0;
}

/* Any bytes as the stream of a remote model: events, what they say, thought and answer. The result must not depend on the
 * pieces the bytes came in. First byte: how they are cut, and whether the prompt opened the thought. */
#include "backend/remote.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_TEXT ((size_t)1 << 16)

typedef struct reader {
    dt_think think;
    size_t events, spoken; /* spoken: bytes of text the events held */
    duet_status st;
} reader;

static int on_event(void *user, const char *data, size_t n) {
    reader *r = user;
    dt_reply reply;
    duet_err err = {{0}};
    r->events++;
    r->st = dt_reply_read(data, n, &reply, &err);
    if (r->st) {
        if (!err.text[0] || strchr(err.text, '\n') || reply.json)
            abort();
        return 1;
    }
    if (reply.counted && reply.counts.output == SIZE_MAX)
        abort();
    r->spoken += reply.n_reasoning + reply.n_content;
    dt_think_reason(&r->think, reply.reasoning, reply.n_reasoning);
    dt_think_say(&r->think, reply.content, reply.n_content);
    dt_reply_clear(&reply);
    return dt_think_failed(&r->think);
}

static void read_in(reader *r, const char *bytes, size_t n, size_t piece, bool opened) {
    dt_sse s = {0};
    *r = (reader){0};
    dt_think_init(&r->think, opened, MAX_TEXT);
    duet_status st = DUET_OK;
    for (size_t at = 0; at < n && !st; at += piece)
        st = dt_sse_push(&s, bytes + at, n - at < piece ? n - at : piece, on_event, r, NULL);
    if (st && st != DUET_END && r->st == DUET_OK)
        r->st = st;
    dt_think_end(&r->think);
    if (r->think.thought.len + r->think.answer.len > r->spoken) /* nothing is made up */
        abort();
    dt_sse_clear(&s);
}

static bool same(const dt_buf *a, const dt_buf *b) {
    return a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    reader whole, cut;
    char words[100];
    if (size == 0)
        return 0;
    const char *bytes = (const char *)data + 1;
    const bool opened = data[0] & 1;
    dt_reply_error_words(bytes, size - 1, words, sizeof words);
    if (strlen(words) >= sizeof words || strchr(words, '\n'))
        abort();
    read_in(&whole, bytes, size - 1, size, opened);
    read_in(&cut, bytes, size - 1, (size_t)(data[0] >> 1) % 17 + 1, opened);
    if (whole.events != cut.events || whole.st != cut.st || whole.think.closed != cut.think.closed ||
        !same(&whole.think.thought, &cut.think.thought) || !same(&whole.think.answer, &cut.think.answer))
        abort();
    dt_think_clear(&whole.think);
    dt_think_clear(&cut.think);
    return 0;
}

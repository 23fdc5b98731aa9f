/* An answer on its way: what was asked, what the pair gave, and both ways of telling it. */
#ifndef DT_SERVE_CHAT_H
#define DT_SERVE_CHAT_H

#include "serve/ask.h"

/* One of the n answers to a request, as far as it was streamed. */
typedef struct dt_choice {
    dt_buf held; /* white space at the end of the answer so far: it counts only if text follows */
} dt_choice;

typedef struct dt_chat {
    dt_job job; /* first: a job of this kind is cast back */
    dt_ask ask;
    double created; /* seconds since 1970 */
    duet_pair_request *reqs; /* [ask.n] */
    dt_choice *choices;      /* [ask.n] */
    struct dt_voice { /* who speaks in on_text */
        struct dt_chat *chat;
        int choice;
    } *voices;
    duet_status st;
    duet_err err;
    char *head; /* what all chunks of its stream begin with */
    duet_ledger ledger; /* of all answers together */
} dt_chat;

void dt_chat_start(dt_conn *c, json_t *body); /* POST /v1/chat/completions; body: taken */

/* reply.c: as JSON */
json_t *dt_reply_whole(const dt_chat *a); /* NULL = no memory */
json_t *dt_reply_usage(const dt_chat *a);
json_t *dt_reply_duet(const dt_chat *a);
const char *dt_reply_finish(const dt_chat *a, int choice); /* "stop" or "length" */

/* stream.c: as server-sent events */
void dt_sse_begin(dt_chat *a);
void dt_sse_text(dt_chat *a, int choice, int stage, const char *text, size_t n);
void dt_sse_finish(dt_chat *a);
void dt_sse_fault(dt_chat *a, const dt_fault *f);

#endif

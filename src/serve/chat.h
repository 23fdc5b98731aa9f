/* An answer on its way: what was asked, what the pair gave, and both ways of telling it. */
#ifndef DT_SERVE_CHAT_H
#define DT_SERVE_CHAT_H

#include "serve/ask.h"

/* One of the n answers to a request, as far as it was streamed. */
typedef struct dt_choice {
    dt_buf held;     /* white space at the end of the answer so far: it counts only if text follows */
    dt_buf logprobs; /* of tokens whose text was not told yet: JSON, separated by commas */
    size_t last_at;  /* where the last of them begins */
} dt_choice;

/* A token of an answer on its way to the event thread, before its `top`. */
typedef struct dt_spoken {
    int32_t id;
    float logprob;
    int n_top;
    duet_likely top[DUET_TOP_LOGPROBS_MAX];
} dt_spoken;

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
    duet_grammar *grammar; /* owned; NULL = the answer is any text */
    bool format_failed;    /* the schema is what is wrong */
    bool over;             /* no thread writes to this any more */
    duet_status st;
    duet_err err;
    char *head; /* what all chunks of its stream begin with */
    duet_ledger ledger; /* of all answers together */
} dt_chat;

void dt_chat_start(dt_conn *c, json_t *body); /* POST /v1/chat/completions; body: taken */
void dt_completion_start(dt_conn *c, json_t *body); /* POST /v1/completions */

duet_status dt_format_prepare(dt_chat *a); /* format.c */

/* logprobs.c */
void dt_logprob_add(dt_buf *b, const duet_tokenizer *tok, int32_t id, float logprob, const duet_likely *top, int n_top);
json_t *dt_logprobs_json(const dt_chat *a, int choice);
const duet_tokenizer *dt_answer_tokenizer(const dt_chat *a);

void dt_log_trace(const dt_chat *a); /* log.c */

/* answers.c */
bool dt_answers_route(const char *path);
void dt_answers_post(dt_conn *c);

/* tokens.c; body: taken */
void dt_tokens_encode(dt_conn *c, json_t *body);
void dt_tokens_decode(dt_conn *c, json_t *body);
void dt_tokens_template(dt_conn *c, json_t *body);

/* reply.c: as JSON */
json_t *dt_reply_whole(const dt_chat *a); /* NULL = no memory */
json_t *dt_reply_usage(const dt_chat *a);
json_t *dt_reply_duet(const dt_chat *a);
const char *dt_reply_finish(const dt_chat *a, int choice); /* "stop" or "length" */

/* stream.c: as server-sent events */
void dt_sse_begin(dt_chat *a);
void dt_sse_text(dt_chat *a, int choice, int stage, const char *text, size_t n);
void dt_sse_token(dt_chat *a, int choice, const char *record, size_t n); /* a dt_spoken, its top cut at n_top */
void dt_sse_finish(dt_chat *a);
void dt_sse_fault(dt_chat *a, const dt_fault *f);

#endif

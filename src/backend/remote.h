/* A model behind an OpenAI-compatible server, in pieces that each do one thing:
 *
 *   remote.c          the backend: opens, keeps idle connections, answers
 *   remote_address.c  https://host/v1#model
 *   remote_models.c   what the server says about itself, at the start
 *   remote_body.c     a question as the JSON of a request
 *   remote_sse.c      bytes -> events
 *   remote_reply.c    an event -> text, counts, the end
 *   remote_think.c    text -> thought and answer
 *   remote_call.c     one question's exchange: bytes in, verdict out
 *   remote_loop.c     many exchanges at once: limits in time, tries, cancelling
 *   remote_why.c      what went wrong, as one sentence
 *
 * Nothing here trusts a size: lines, events, pages and answers have bounds. */
#ifndef DT_REMOTE_H
#define DT_REMOTE_H

#include "backend/interface.h"

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>

/* ---- address ---- */

typedef struct dt_remote_address {
    char *base;    /* "https://host/v1", without a slash at its end; owned */
    char *model;   /* NULL = not said; owned */
    bool loopback; /* this machine: never asked through a proxy */
} dt_remote_address;

/* DUET_E_USAGE says what is wrong with it. */
duet_status dt_remote_address_parse(const char *text, dt_remote_address *out, duet_err *err);
void dt_remote_address_clear(dt_remote_address *a);

/* ---- server-sent events ---- */

#define DT_SSE_MAX ((size_t)1 << 20) /* bytes of a line, and of an event */

typedef struct dt_sse {
    dt_buf line, data;
    bool has_data, after_cr, begun;
} dt_sse;

/* Gives fn the data of each event that ends within these bytes; non-zero from fn ends it with DUET_END. DUET_E_FORMAT: a
 * line or an event longer than DT_SSE_MAX. */
duet_status dt_sse_push(dt_sse *s, const char *bytes, size_t n, int (*fn)(void *user, const char *data, size_t n),
                        void *user, duet_err *err);
void dt_sse_clear(dt_sse *s);

/* ---- what an event says ---- */

typedef struct dt_reply_counts { /* SIZE_MAX = not said */
    size_t prompt, cached, output;
} dt_reply_counts;

typedef struct dt_reply {
    json_t *json; /* owner of the texts */
    const char *reasoning, *content; /* NULL = none */
    size_t n_reasoning, n_content;
    const char *finish;     /* finish_reason; NULL = goes on */
    bool stop_was_ours;     /* it ended at a stop string (only some servers say so) */
    bool stop_was_eos;      /* ... or surely not */
    bool counted;           /* it has counts */
    dt_reply_counts counts;
} dt_reply;

/* One event of a chat or a text completion. DUET_E_FORMAT: not JSON, or not such an event; DUET_E_BACKEND: it is the
 * server's own error, in its words. End with dt_reply_clear. */
duet_status dt_reply_read(const char *data, size_t n, dt_reply *out, duet_err *err);
void dt_reply_clear(dt_reply *r);
/* The words of an error body (n bytes, JSON or not): one line of at most `cap` - 1 bytes, "" where there are none. */
void dt_reply_error_words(const char *body, size_t n, char *out, size_t cap);

/* ---- thought and answer ---- */

typedef struct dt_think {
    enum { DT_THINK_START, DT_THINK_INSIDE, DT_THINK_FIELD, DT_THINK_PLAIN, DT_THINK_AFTER } state;
    const char *close;      /* what ends a thought that is spelled in the text */
    bool closed;            /* the thought ended */
    dt_buf thought, answer; /* what is certain so far */
    dt_buf held;            /* the beginning of a mark, perhaps */
    int (*on_text)(void *user, int part, const char *text, size_t n); /* part 0 thought, 1 answer; NULL = nobody listens */
    void *user;
    bool stop;              /* on_text asked to stop */
} dt_think;

void dt_think_init(dt_think *t, bool opened, size_t max_bytes); /* opened: the prompt ended with the opening mark */
void dt_think_reason(dt_think *t, const char *s, size_t n); /* text the server calls reasoning */
void dt_think_say(dt_think *t, const char *s, size_t n);    /* text the server calls content */
void dt_think_end(dt_think *t);                             /* what is held becomes text */
bool dt_think_failed(const dt_think *t);                    /* no memory, or more than max_bytes */
void dt_think_clear(dt_think *t);

/* ---- the backend ---- */

typedef enum dt_remote_kind { /* what the server's own list of models says it is */
    DT_REMOTE_ANY,
    DT_REMOTE_OPENAI,
    DT_REMOTE_VLLM,
    DT_REMOTE_SGLANG,
    DT_REMOTE_LLAMACPP,
    DT_REMOTE_DUET
} dt_remote_kind;

#define DT_REMOTE_IDLE 64

typedef struct dt_remote {
    duet_backend base;
    dt_remote_address at;
    dt_remote_kind kind;
    const struct dt_family *family; /* prompts are ours, to /completions; NULL = chat completions */
    char *key;                      /* "Authorization: Bearer ..."; owned; NULL = none */
    json_t *more;                   /* fields for every request; NULL = none */
    char *known;                    /* names of the models the server has, for sentences; NULL = not told */
    double connect_s, first_s, idle_s, total_s;
    double step_s; /* before the second try; doubles with each */
    int tries, parallel;
    const volatile int *cancel; /* while it opens */
    pthread_mutex_t lock; /* of what follows */
    int running;          /* requests under way, of all calls */
    CURLM *idle[DT_REMOTE_IDLE]; /* with their open connections; a call takes one and gives it back */
    size_t n_idle;
} dt_remote;

duet_status dt_remote_open(const char *address, const duet_backend_options *opt, duet_backend **out, duet_err *err);
bool dt_remote_is_address(const char *path);
/* A handle for base + path with what all requests share; NULL = no memory. */
CURL *dt_remote_handle(const dt_remote *r, const char *path);
struct curl_slist *dt_remote_headers(const dt_remote *r, bool post, bool *failed);
/* Asks /models: finds out the model's name where none was given, and what the server is. Forgets the family of exact
 * prompts where the server has no /completions. */
duet_status dt_remote_look(dt_remote *r, duet_err *err);
/* The request's JSON; owned by the caller. */
duet_status dt_remote_body(const dt_remote *r, const duet_ask *ask, char **out, duet_err *err);

/* ---- sentences ---- */

/* An HTTP status other than 200; page: what came with it; `to`: where a redirect leads, or NULL. */
duet_status dt_remote_refused(const dt_remote *r, long status, const char *page, size_t n, const char *to, int tries,
                              duet_err *err);
/* What curl says when no answer came, or it broke off. */
duet_status dt_remote_unreached(const dt_remote *r, CURLcode code, const char *detail, int tries, duet_err *err);

/* ---- exchanges ---- */

typedef struct dt_exchange {
    const dt_remote *remote;
    duet_ask *ask;
    CURL *easy; /* NULL = not running */
    struct curl_slist *headers;
    char *body;
    char detail[CURL_ERROR_SIZE];
    dt_sse sse;
    dt_think think;
    dt_buf page; /* of an answer that is no stream */
    int tries;
    double asked, began, sent, first, heard, ended, next; /* seconds of dt_now; 0 = not yet. began: its first try; ended: its
                                                             last event came */
    double waited; /* before the try that worked */
    bool streams, cut, over, done;
    bool named; /* its thought came in a field of its own */
    size_t n_parts, n_bytes; /* pieces of text, and their bytes */
    dt_reply_counts counts;
    bool counted_live, counted_last; /* counts as of the last piece of text; of the end */
    duet_status st;
    duet_err why;
} dt_exchange;

duet_status dt_exchange_init(dt_exchange *x, const dt_remote *r, duet_ask *ask, duet_err *err);
duet_status dt_exchange_start(dt_exchange *x, CURLM *m, duet_err *err); /* one try, in a place that was entered */
/* One of the places for requests under way, and back; false: none is free. */
bool dt_remote_enter(const dt_remote *r);
void dt_remote_leave(const dt_remote *r);
/* The try ended with `code`: x is done (st says how), or next says when to try again. */
void dt_exchange_judge(dt_exchange *x, CURLcode code);
void dt_exchange_stop(dt_exchange *x, CURLM *m); /* lets go of connection and place; nothing if it is not running */
/* Texts, counts and seconds into the ask. */
void dt_exchange_report(dt_exchange *x);
void dt_exchange_clear(dt_exchange *x);

/* Runs all to their ends; DUET_E_CANCELLED, or what the first that failed says. */
duet_status dt_remote_run(dt_remote *r, CURLM *m, dt_exchange *x, size_t n, const volatile int *cancel, duet_err *err);

#endif

/* The inside of a server, shared by its files: connections, jobs, routes. Everything here belongs to the event thread unless
 * it says otherwise. */
#ifndef DT_SERVE_SERVER_H
#define DT_SERVE_SERVER_H

#include "base/base.h"
#include "duet/duet.h"
#include "serve/http.h"
#include "serve/metrics.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <jansson.h>
#include <pthread.h>

#define DT_TICK_S 0.1 /* how often clients, clocks and the stop flag are looked at */

typedef struct duet_server dt_server;
typedef struct dt_conn dt_conn;
typedef struct dt_job dt_job;

/* ---- fault.c: what a client is told when something does not work ---- */

typedef struct dt_fault {
    int status;
    const char *type, *code; /* code: NULL = none; static */
    char param[96];          /* "" = none */
    char text[512];
} dt_fault;
/* Fills *f and returns false: `return dt_fault_set(f, 400, "n", NULL, "...")`. param and code may be NULL. */
bool dt_fault_set(dt_fault *f, int status, const char *param, const char *code, const char *fmt, ...) DT_PRINTF(5, 6);
void dt_fault_from(dt_fault *f, duet_status st, const duet_err *err); /* of a call to the pair */
json_t *dt_fault_json(const dt_fault *f);                             /* {"error": {...}}; NULL = no memory */

/* ---- conn.c: one client ---- */

typedef enum dt_conn_state {
    DT_CONN_READING,  /* waits for a request, or is in one */
    DT_CONN_ANSWERING,
    DT_CONN_FLUSHING, /* the last answer is on its way, then the connection ends */
    DT_CONN_DRAINING  /* all is sent and our side closed: what still comes is thrown away, so that the answer is not */
} dt_conn_state;

struct dt_conn {
    dt_server *s;
    struct bufferevent *bev;
    dt_http http;
    dt_conn_state state;
    dt_job *job;      /* the answer in progress; NULL = none */
    char peer[64];
    double since;     /* when this state, or this part of a request, began */
    double t_request; /* when the request was whole */
    double t_wrote;   /* last time something was written for it */
    size_t queued, out; /* bytes written so far, and of these, sent at the last look */
    double t_out;     /* last time some went out */
    bool streaming, chunked, close, half_closed, in_use;
    int status;       /* of the answer, for the log */
    size_t sent;      /* bytes of its body */
    dt_conn *prev, *next;
};

void dt_conn_accept(dt_server *s, evutil_socket_t fd, struct sockaddr *sa);
void dt_conn_free(dt_conn *c);
void dt_conn_tick(dt_server *s, double now); /* all of them: clocks, and clients that are gone */
/* A whole answer. type NULL = no body. extra: further header lines, each with CRLF; NULL = none. */
void dt_conn_reply(dt_conn *c, int status, const char *type, const char *extra, const void *body, size_t n);
void dt_conn_json(dt_conn *c, int status, const char *extra, json_t *body); /* body: taken; NULL = no memory: 500 */
void dt_conn_fault(dt_conn *c, const dt_fault *f);
/* An answer in pieces. */
void dt_conn_stream(dt_conn *c, const char *type, const char *extra);
void dt_conn_write(dt_conn *c, const void *p, size_t n);
void dt_conn_end(dt_conn *c);
void dt_conn_header(dt_conn *c, const char *line); /* from within dt_serve_cors */

/* ---- routes.c ---- */

void dt_route(dt_conn *c); /* answers the request, or gives it a job that will */
const char *dt_route_name(const char *path); /* the path as it is counted; "other" for one that is none */
void dt_props_get(dt_conn *c); /* props.c */
void dt_serve_cors(dt_conn *c); /* header lines that let pages of the allowed origin read the answer */

/* ---- log.c ---- */

duet_status dt_log_open(const char *path, FILE **out, duet_err *err); /* path NULL: *out NULL */
void dt_log_close(FILE *f);
void dt_log_request(dt_conn *c); /* its answer has ended, or it has left */

/* ---- metrics.c ---- */

void dt_metrics_get(dt_conn *c);
void dt_metrics_request(dt_server *s, const char *path, int status);

/* ---- jobs.c: what takes time, on the answering threads ---- */

typedef struct dt_job_kind {
    void (*work)(dt_job *j);                                                  /* answering thread */
    void (*text)(dt_job *j, int choice, int stage, const char *text, size_t n); /* what dt_job_say said */
    void (*tick)(dt_job *j, double now);                                      /* while its client waits; may be NULL */
    void (*finish)(dt_job *j); /* conn is NULL where the client has left */
    void (*log)(const dt_job *j, json_t *line); /* adds to the line of its request; may be NULL */
    void (*free)(dt_job *j);
} dt_job_kind;

struct dt_job {
    const dt_job_kind *kind;
    dt_server *s;
    dt_conn *conn;
    char id[48];
    volatile int cancel, hand_over; /* for the pair */
    bool stopped;                   /* on request: what there is is the answer */
    bool can_hand_over;             /* is there a signal that may be ended? */
    double t_queued, t_begun, t_first, t_done; /* begun: 0 = still waits; first: of its text */
    /* under the lock of the jobs: */
    bool done, ready;
    dt_buf news; /* pieces of text not delivered yet */
    dt_job *next_queued, *next_ready;
    dt_job *prev, *next; /* all jobs */
};

typedef struct dt_jobs {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t *threads;
    int n_threads;
    dt_job *first, *last;   /* waiting */
    dt_job *ready, *ready_last; /* with news for the event thread */
    size_t n_waiting, n_running;
    bool stop, open; /* open: dt_jobs_open was called */
    int wake[2]; /* a pipe: the event thread has news */
    struct event *woken;
    dt_job *all; /* event thread */
    size_t n_all;
} dt_jobs;

duet_status dt_jobs_open(dt_server *s, duet_err *err);
void dt_jobs_close(dt_server *s); /* waits for the threads */
void dt_jobs_init(dt_server *s, dt_job *j, const dt_job_kind *kind, dt_conn *c, const char *prefix);
/* Queues j, which is its from here on: freed by its kind when it is finished. DUET_WAIT: the queue is full, j stays the
 * caller's. */
duet_status dt_jobs_submit(dt_job *j);
void dt_jobs_say(dt_job *j, int choice, int stage, const char *text, size_t n); /* answering and engine threads */
void dt_job_leave(dt_job *j); /* its client is gone: a waiting one ends here, a running one is cancelled */
dt_job *dt_jobs_find(dt_server *s, const char *id);
void dt_jobs_counts(dt_server *s, size_t *waiting, size_t *running);
int dt_jobs_retry_after(dt_server *s); /* seconds until a place is likely to be free */
void dt_jobs_cancel_all(dt_server *s);

/* ---- server.c ---- */

struct duet_server {
    duet_pair *pair;
    duet_backend *M, *m;
    duet_serve_options opt;
    char (*keys)[65]; /* SHA-256 of each, hexadecimal */
    char address[256];
    int port;
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *tick;
    const volatile int *stop_flag;
    volatile int stop_asked; /* any thread: 1 = answers may finish, 2 = now */
    bool stopping;
    dt_conn *conns;
    size_t n_conns;
    dt_jobs jobs;
    double started, mean_s; /* mean_s: how long an answer took lately */
    uint64_t n_ids;
    uint64_t seed; /* of the random numbers behind ids and seeds */
    /* answers of M alone so far: what the ledger of the pair is compared with */
    size_t alone_n, alone_tokens;
    dt_metrics metrics;
    FILE *log, *trace; /* NULL = none */
    bool log_failed;
};

double dt_serve_wall(void);                /* seconds since 1970 */
void dt_serve_id(dt_server *s, const char *prefix, char out[48]);
uint64_t dt_serve_random(dt_server *s);
void dt_serve_quote(dt_buf *b, const char *text, size_t n); /* quote.c: UTF-8 text as a JSON string */

#endif

/* An HTTP server in front of a pair: OpenAI's API (docs/serving.md).
 *
 * One thread takes requests and writes answers; `parallel` further threads each ask the pair one question at a time, and the
 * engines decode those together. */
#ifndef DUET_SERVE_H
#define DUET_SERVE_H

#include "duet/pair.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_server duet_server;

typedef struct duet_serve_options {
    const char *host;         /* address or name to listen on; NULL = 127.0.0.1 */
    int port;                 /* 0 = one that is free (duet_server_port) */
    const char *unix_socket;  /* a path to listen on instead of host and port; made with mode 0600; NULL = none */
    const char *const *api_keys; /* a request must carry one of them; n_api_keys 0 = none is asked for */
    size_t n_api_keys;
    const char *cors_origin;  /* pages of this origin ("https://host", or "*") may ask; NULL = only pages served here */
    int parallel;             /* questions answered at once */
    int queue;                /* questions that may wait behind them; one more gets 429; 0 = none waits */
    int max_connections;
    size_t max_body;          /* bytes of a request's body; more gets 413 */
    double head_s, body_s;    /* seconds within which the head and the body of a request must have come */
    double idle_s;            /* a connection without a request is closed after this */
    double write_s;           /* so is one whose client takes nothing of what is written for it */
    double keep_alive_s;      /* a stream without text gets a comment this often */
    int signal_budget, answer_budget; /* where a request names none; -1 = up to the context */
    duet_sampling M, m;       /* where a request names none */
    bool fixed_seed;          /* a request without a seed gets M.seed; false: a fresh one, told in its answer */
    const char *log;          /* append a JSON line for each request: a file, "-" = standard error; NULL = none */
    const char *trace;        /* append a JSON line with the whole of each answer: a file; NULL = none */
} duet_serve_options;
/* 127.0.0.1, any free port, no keys, 64 at once, 512 waiting, budgets and sampling as duet_pair_request_defaults. */
duet_serve_options duet_serve_defaults(const duet_pair *p);

/* Binds and listens, so that clients can connect from here on; they are answered while duet_server_run runs. `p` and its
 * backends (M, m: those it was made with, NULL where it has none) are borrowed and must outlive the server; the options are
 * copied. *out owned by the caller: duet_server_destroy.
 * Errors: DUET_E_IO (cannot listen, cannot open the log), DUET_E_RANGE, DUET_E_NOMEM. */
duet_status duet_server_create(duet_pair *p, duet_backend *M, duet_backend *m, const duet_serve_options *opt, duet_server **out,
                               duet_err *err);
void duet_server_destroy(duet_server *s); /* not while it runs; NULL is fine */
/* Where it listens: "http://127.0.0.1:8080" or "unix:/path"; borrowed. And the port, 0 for a socket in the file system. */
const char *duet_server_address(const duet_server *s);
int duet_server_port(const duet_server *s);

/* Serves until duet_server_stop or until *stop (may be NULL; looked at ten times a second) is not zero. Then it takes no more
 * connections, lets all answers finish, those that wait too, and returns DUET_OK. */
duet_status duet_server_run(duet_server *s, const volatile int *stop, duet_err *err);
/* Asks a running server to stop, from any thread; `now`: answers in progress are cut. */
void duet_server_stop(duet_server *s, bool now);

#ifdef __cplusplus
}
#endif
#endif

/* A server that speaks the OpenAI protocol badly or well, as a test wants: a thread of its own on 127.0.0.1, one more for each
 * connection. The test's function is called with every request and writes whatever it likes. */
#ifndef FAKE_OPENAI_H
#define FAKE_OPENAI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct fake_conn fake_conn;

typedef struct fake_request {
    const char *method, *path, *head; /* head: all header lines */
    json_t *body;                     /* NULL = none */
    int nth;                          /* requests to this path before this one */
    int nth_on_connection;
} fake_request;

typedef struct fake_server fake_server;
/* reply: called from a thread of its own, several at a time. GET .../models is answered by the server itself with `models`
 * (a JSON text; NULL = reply is asked). */
typedef struct fake_options {
    void (*reply)(void *user, fake_conn *c, const fake_request *r);
    void *user;
    const char *models;
} fake_options;

fake_server *fake_start(const fake_options *o);
void fake_stop(fake_server *s); /* cuts what is open, joins all threads */
/* "http://127.0.0.1:PORT/v1" + more; borrowed until the next call. */
const char *fake_address(fake_server *s, const char *more);
int fake_connections(fake_server *s); /* accepted so far */
int fake_requests(fake_server *s);    /* without those for the models */
int fake_most_at_once(fake_server *s);
int fake_gone(fake_server *s); /* answers during which the client left */

/* ---- what reply may do ---- */
bool fake_send(fake_conn *c, const char *bytes, size_t n); /* false: the client left */
bool fake_text(fake_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A whole answer with a length. head: more header lines, each with \r\n; NULL = none. */
bool fake_answer(fake_conn *c, int status, const char *type, const char *head, const char *body);
bool fake_begin_stream(fake_conn *c); /* 200, text/event-stream, chunked */
bool fake_event(fake_conn *c, const char *data);
/* Events of one piece of text: key "content", "reasoning_content", "reasoning"; "text" for a completion. */
bool fake_piece(fake_conn *c, const char *key, const char *text);
/* text in pieces of `size` bytes. */
bool fake_pieces(fake_conn *c, const char *key, const char *text, size_t size);
bool fake_finish(fake_conn *c, const char *reason); /* finish_reason */
bool fake_usage(fake_conn *c, int prompt, int output);
void fake_end_stream(fake_conn *c); /* [DONE] and the end of the chunks; the connection stays */
void fake_cut(fake_conn *c);        /* closes the connection, whatever was promised */
bool fake_sleep(fake_conn *c, double s); /* false: the client left or the server stops */

#endif

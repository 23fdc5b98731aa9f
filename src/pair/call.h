/* The inside of a pair call, shared by pair.c and its stages. */
#ifndef DT_PAIR_CALL_H
#define DT_PAIR_CALL_H

#include "backend/interface.h"
#include "duet/pair.h"
#include "pair/frame.h"
#include "text/template.h"

#include <pthread.h>

/* One model of the pair. */
typedef struct dt_side {
    duet_backend *b; /* borrowed; NULL = not there */
    const duet_tokenizer *tok;
    dt_tmpl tmpl;
    int32_t eos[DT_BACKEND_MAX_EOS + 1]; /* the backend's, and what ends a turn in its template */
    size_t n_eos;
    bool words; /* a remote model: asked in words, no tokenizer and no template here */
    double price, price_in;
} dt_side;

struct duet_pair {
    dt_side M, m;
    duet_keep keep;
    bool handoff_raw;
    char *instruction; /* owned, NULL = none */
    bool shares_tokens;
    pthread_mutex_t lock;     /* guards the two below */
    duet_vocab_trie *tries[2]; /* of M and m, made when a grammar is asked for */
};

/* Stop strings looked for in a text that comes byte by byte (stop.c). */
typedef struct dt_stops {
    const char *const *v; /* borrowed */
    size_t n;
    size_t *len, *at; /* [n]: of each string its length, and how much of it the text ends with */
    size_t *fail;     /* of each prefix the longest proper end that begins the string again; all strings in a row */
} dt_stops;
duet_status dt_stops_open(dt_stops *s, const char *const *strings, size_t n, duet_err *err);
void dt_stops_clear(dt_stops *s);
int dt_stops_push(dt_stops *s, char byte); /* the string that is whole now (the longest), -1 = none */
size_t dt_stops_held(const dt_stops *s);   /* bytes at the end of the text that may begin a string */

/* Text of one generation as it becomes certain, on its way to on_text (stream.c). */
typedef struct dt_stream {
    const duet_pair_request *r;
    const dt_side *side;
    duet_decoder *decoder;
    duet_decoder *of_answer; /* mode M: for what follows the thought */
    dt_stops stops;
    dt_buf unsaid;           /* end of the answer's text that may begin a stop string */
    size_t n_said;           /* bytes of the answer before that */
    int matched;             /* stop string that ended the answer, -1 = none */
    size_t cut;              /* the answer's length before it */
    bool *stop_all;         /* a callback asked to stop: the other requests of the call stop too */
    bool no_memory;         /* it was we who stopped them */
    int stage;              /* 0 signal, 1 answer */
    bool seen_open, fresh;  /* the opening tag came; it was the last token */
    bool in_text;           /* some text of this stage was said */
    size_t held, held_last; /* newlines not said yet, and those of the last token */
} dt_stream;

/* A request's conversation as both models see it: earlier turns, then the question; the instruction behind each user's
 * words. Ends with dt_turns_clear. */
typedef struct dt_turns {
    duet_message *v;
    char **owned; /* [n]: texts with the instruction; NULL = the caller's */
    size_t n;
} dt_turns;

/* One model's part of one request (turn.c; words.c where the model is asked in words). */
typedef struct dt_turn {
    bool ask; /* false: the model is not called */
    duet_ids prompt;
    int limit;
    bool stop_at_close;
    duet_sampling sampling;
    uint64_t key;
    bool answers;              /* what the request says of the answer holds for it */
    const volatile int *end;   /* the request's hand_over, for M */
    duet_matcher *matcher;     /* NULL = the answer may be anything */
    uint32_t *first;           /* tokens to begin with: an answer, or a thought; NULL = that is known */
    bool thinks;               /* a thought of its own comes first */
    size_t answer_from;        /* where the answer begins, SIZE_MAX = not yet */
    duet_generation gen;
    duet_usage usage;
    bool estimated; /* usage was counted here, not by the server */
    dt_stream stream;
    dt_turns turns; /* of words */
    duet_ask said;
    dt_buf space; /* of words: white space of a signal not said yet, for it may be its end */
} dt_turn;

typedef struct dt_pair_call {
    duet_pair_request *r;
    dt_turn M, m;
} dt_pair_call;

/* ---- turn.c ---- */

duet_status dt_turns_make(const duet_pair *p, const duet_pair_request *r, dt_turns *out, duet_err *err);
void dt_turns_clear(dt_turns *t);
/* Asks one model for all turns that want it; the others are left alone. */
duet_status dt_turn_run(const dt_side *side, dt_turn *const *turns, size_t n, bool *stop_all,
                        const volatile int *cancel, duet_err *err);
/* The end of such a call, however the model was asked: held text goes out unless the caller stopped it all; `st` is what the
 * backend said. */
duet_status dt_turns_end(dt_turn *const *turns, size_t n, bool stopped, duet_status st, duet_err *err);
/* Why the answer that t gave has ended; stop: what its model says. */
void dt_turn_ended(const dt_turn *t, duet_stop stop, duet_pair_request *r);
void dt_turn_clear(dt_turn *t);
size_t dt_turn_spoken(const dt_turn *t); /* sampled tokens without the EOS that ended them */

duet_status dt_pair_copy(const int32_t *ids, size_t n, int32_t **out, size_t *n_out, duet_err *err);

/* ---- shape.c ---- */

/* Before anything is paid: what a request says of its answer. */
duet_status dt_shape_check(const dt_side *side, const duet_pair_request *r, duet_err *err);
/* Makes g what the request of t says of its answer. */
duet_status dt_shape_answer(dt_turn *t, duet_gen_request *g, duet_err *err);
void dt_shape_clear(dt_turn *t);

/* ---- stream.c ---- */

duet_status dt_stream_init(dt_stream *s, const duet_pair_request *r, const dt_side *side, int stage, duet_err *err);
void dt_stream_clear(dt_stream *s);
bool dt_stream_reads(const dt_stream *s);      /* false: nobody wants to see tokens */
void dt_stream_text(dt_stream *s, const char *text, size_t n); /* of a model that is asked in words */
/* top[n_top]: as of on_token. Non-zero: stop. */
int dt_stream_token(dt_stream *s, int32_t id, float logprob, const duet_likely *top, int n_top);
void dt_stream_end(dt_stream *s);              /* what is still held becomes text */

/* What is left of `budget` (-1 = no bound) where the request bounds both stages together and `spent` tokens are gone. */
int dt_pair_left(const duet_pair_request *r, int budget, size_t spent);

/* ---- the stages ---- */

duet_status dt_stage1_prepare(const duet_pair *p, dt_pair_call *c, duet_err *err);
duet_status dt_stage1_read(const duet_pair *p, dt_pair_call *c, duet_err *err);
/* handoff.c: the part of the signal that m may see, and m's prompt around it. */
duet_status dt_handoff(const duet_pair *p, dt_pair_call *c, duet_err *err);
duet_status dt_stage2_read(const duet_pair *p, dt_pair_call *c, duet_err *err);
/* What t sampled from token `from` on becomes the request's answer: its text trimmed, without the end token or a stop string. */
duet_status dt_stage2_answer(const dt_side *side, dt_pair_call *c, const dt_turn *t, size_t from, duet_err *err);

/* ---- words.c: the same for a model that is asked in words ---- */

duet_status dt_words_stage1(const duet_pair *p, dt_pair_call *c, duet_err *err);   /* prepares M's turn */
duet_status dt_words_handoff(const duet_pair *p, dt_pair_call *c, duet_err *err); /* prepares m's turn */
duet_status dt_words_run(const dt_side *side, dt_turn *const *turns, size_t n, bool *stop_all,
                         const volatile int *cancel, duet_err *err);
duet_status dt_words_read_signal(const duet_pair *p, dt_pair_call *c, duet_err *err);
duet_status dt_words_read_answer(const duet_pair *p, dt_pair_call *c, duet_err *err);
/* What a request may not ask of such a model's answer. */
duet_status dt_words_check(const duet_pair_request *r, duet_err *err);
void dt_words_clear(dt_turn *t);

/* ledger.c */
void dt_ledger_fill(const duet_pair *p, dt_pair_call *c);
/* The money in a ledger whose tokens are known, at the prices of p. */
void dt_ledger_price(const duet_pair *p, duet_mode mode, duet_ledger *l);

#endif

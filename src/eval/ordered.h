/* Many pieces of work done by several threads, their results handed on in order. */
#ifndef DT_EVAL_ORDERED_H
#define DT_EVAL_ORDERED_H

#include "base/base.h"

typedef struct dt_ordered {
    size_t n;      /* pieces */
    int lanes;     /* threads, the caller among them; 1 = only the caller */
    size_t window; /* pieces begun and not yet handed on, at most: piece i uses slot i % window */
    /* From several threads at once. A status other than DUET_OK ends it all: nothing new is begun. */
    duet_status (*work)(void *user, size_t i, duet_err *err);
    void (*done)(void *user, size_t i); /* one at a time, as pieces end; may be NULL */
    void (*emit)(void *user, size_t i); /* one at a time, in order */
    void *user;
} dt_ordered;

/* Returns the first failure; DUET_E_CANCELLED only where nothing else failed. */
duet_status dt_ordered_run(const dt_ordered *o, duet_err *err);

#endif

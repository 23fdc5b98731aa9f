/* Lanes that take the next piece of work until none is left; a window of slots keeps results until their turn. */
#include "eval/ordered.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct state {
    const dt_ordered *o;
    pthread_mutex_t lock;
    pthread_cond_t moved; /* a slot became free, or work ended */
    size_t next, emitted;
    bool *ready; /* [window] */
    duet_status st;
    duet_err err;
} state;

static void fail(state *s, duet_status st, const duet_err *err) {
    if (!s->st || (s->st == DUET_E_CANCELLED && st != DUET_E_CANCELLED)) {
        s->st = st;
        s->err = *err;
    }
    pthread_cond_broadcast(&s->moved);
}

/* The lock is held. */
static void hand_on(state *s, size_t i) {
    const dt_ordered *o = s->o;
    if (o->done) o->done(o->user, i);
    s->ready[i % o->window] = true;
    size_t before = s->emitted;
    while (s->emitted < o->n && s->ready[s->emitted % o->window]) {
        s->ready[s->emitted % o->window] = false;
        o->emit(o->user, s->emitted++);
    }
    if (s->emitted > before) pthread_cond_broadcast(&s->moved);
}

static void *lane(void *arg) {
    state *s = arg;
    const dt_ordered *o = s->o;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->st && s->next < o->n && s->next >= s->emitted + o->window)
            pthread_cond_wait(&s->moved, &s->lock);
        if (s->st || s->next >= o->n) break;
        size_t i = s->next++;
        duet_err err = {{0}};
        pthread_mutex_unlock(&s->lock);
        duet_status st = o->work(o->user, i, &err);
        pthread_mutex_lock(&s->lock);
        if (st)
            fail(s, st, &err);
        else
            hand_on(s, i);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

duet_status dt_ordered_run(const dt_ordered *o, duet_err *err) {
    state s = {.o = o};
    size_t lanes = o->lanes > 1 ? (size_t)o->lanes : 1, started = 0;
    if (lanes > o->n) lanes = o->n;
    pthread_t *t = dt_calloc(lanes ? lanes : 1, sizeof *t);
    s.ready = dt_calloc(o->window, sizeof *s.ready);
    if (!t || !s.ready) {
        free(t);
        free(s.ready);
        return dt_fail(err, DUET_E_NOMEM, "evaluation: no memory for %zu samples at a time", o->window);
    }
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.moved, NULL);
    while (started + 1 < lanes && !pthread_create(&t[started], NULL, lane, &s)) /* fewer threads do as well */
        started++;
    lane(&s);
    for (size_t i = 0; i < started; i++)
        pthread_join(t[i], NULL);
    pthread_cond_destroy(&s.moved);
    pthread_mutex_destroy(&s.lock);
    free(t);
    free(s.ready);
    if (s.st && err) *err = s.err;
    return s.st;
}

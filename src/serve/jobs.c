/* Work that takes time: a bounded queue, the threads that take from it, and the way back to the event thread. */
#include "serve/server.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct piece { /* before its text in dt_job.news */
    int choice, stage;
    size_t n;
} piece;

/* ---- the answering threads ---- */

/* j has something for the event thread. The lock is held. */
static void make_ready(dt_jobs *q, dt_job *j) {
    const bool first = !q->ready;
    if (j->ready)
        return;
    j->ready = true;
    j->next_ready = NULL;
    *(q->ready ? &q->ready_last->next_ready : &q->ready) = j;
    q->ready_last = j;
    if (first)
        (void)!write(q->wake[1], "", 1); /* a full pipe wakes as well */
}

void dt_jobs_say(dt_job *j, int choice, int stage, const char *text, size_t n) {
    dt_jobs *q = &j->s->jobs;
    const piece p = {choice, stage, n};
    pthread_mutex_lock(&q->lock);
    dt_buf_add(&j->news, &p, sizeof p);
    dt_buf_add(&j->news, text, n);
    make_ready(q, j);
    pthread_mutex_unlock(&q->lock);
}

static dt_job *take(dt_jobs *q) {
    while (!q->first && !q->stop)
        pthread_cond_wait(&q->work, &q->lock);
    dt_job *j = q->first;
    if (!j)
        return NULL;
    q->first = j->next_queued;
    q->n_waiting--;
    q->n_running++;
    return j;
}

static void *answer(void *user) {
    dt_jobs *q = &((dt_server *)user)->jobs;
    pthread_mutex_lock(&q->lock);
    for (dt_job *j = NULL; (j = take(q));) {
        pthread_mutex_unlock(&q->lock);
        j->t_begun = dt_now();
        j->kind->work(j);
        j->t_done = dt_now();
        pthread_mutex_lock(&q->lock);
        q->n_running--;
        j->done = true;
        make_ready(q, j);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* ---- the event thread ---- */

static void forget(dt_job *j) {
    dt_jobs *q = &j->s->jobs;
    if (j->next)
        j->next->prev = j->prev;
    *(j->prev ? &j->prev->next : &q->all) = j->next;
    q->n_all--;
    dt_buf_clear(&j->news);
    j->kind->free(j);
}

static void deliver(dt_job *j, const dt_buf *news, bool done) {
    for (size_t at = 0; at < news->len && j->conn;) {
        piece p;
        memcpy(&p, news->data + at, sizeof p);
        at += sizeof p + p.n;
        if (at > news->len)
            break; /* there was no memory for its text */
        if (!(j->t_first > 0))
            j->t_first = dt_now();
        j->kind->text(j, p.choice, p.stage, news->data + at - p.n, p.n);
    }
    if (!done)
        return;
    const double s = j->t_done - j->t_begun;
    j->s->mean_s = j->s->mean_s > 0 ? 0.9 * j->s->mean_s + 0.1 * s : s;
    j->kind->finish(j);
    forget(j);
}

static void on_news(evutil_socket_t fd, short what, void *user) {
    dt_server *s = user;
    dt_jobs *q = &s->jobs;
    char bytes[256];
    (void)what;
    while (read(fd, bytes, sizeof bytes) > 0) {
    }
    pthread_mutex_lock(&q->lock);
    dt_job *j = q->ready;
    q->ready = q->ready_last = NULL;
    while (j) {
        dt_job *next = j->next_ready;
        dt_buf news = j->news;
        const bool done = j->done;
        j->news = (dt_buf){0};
        j->ready = false;
        pthread_mutex_unlock(&q->lock);
        deliver(j, &news, done);
        dt_buf_clear(&news);
        pthread_mutex_lock(&q->lock);
        j = next;
    }
    pthread_mutex_unlock(&q->lock);
}

void dt_jobs_init(dt_server *s, dt_job *j, const dt_job_kind *kind, dt_conn *c, const char *prefix) {
    j->kind = kind;
    j->s = s;
    j->conn = c;
    dt_serve_id(s, prefix, j->id);
}

duet_status dt_jobs_submit(dt_job *j) {
    dt_server *s = j->s;
    dt_jobs *q = &s->jobs;
    pthread_mutex_lock(&q->lock);
    const bool full = q->n_waiting + q->n_running >= (size_t)s->opt.parallel + (size_t)s->opt.queue;
    if (!full) {
        j->t_queued = dt_now();
        *(q->first ? &q->last->next_queued : &q->first) = j;
        q->last = j;
        q->n_waiting++;
        pthread_cond_signal(&q->work);
    }
    pthread_mutex_unlock(&q->lock);
    if (full)
        return DUET_WAIT;
    j->next = q->all;
    if (j->next)
        j->next->prev = j;
    q->all = j;
    q->n_all++;
    if (j->conn)
        j->conn->job = j;
    return DUET_OK;
}

static bool unqueue(dt_jobs *q, dt_job *j) {
    dt_job *before = NULL;
    for (dt_job *k = q->first; k; before = k, k = k->next_queued) {
        if (k != j)
            continue;
        *(before ? &before->next_queued : &q->first) = j->next_queued;
        if (q->last == j)
            q->last = before;
        q->n_waiting--;
        return true;
    }
    return false;
}

static void cancel(dt_job *j) {
    __atomic_store_n(&j->cancel, 1, __ATOMIC_RELAXED);
}

void dt_job_leave(dt_job *j) {
    dt_jobs *q = &j->s->jobs;
    j->conn = NULL;
    cancel(j);
    pthread_mutex_lock(&q->lock);
    const bool waited = unqueue(q, j);
    pthread_mutex_unlock(&q->lock);
    if (waited) {
        j->t_done = dt_now();
        j->kind->finish(j);
        forget(j);
    }
}

dt_job *dt_jobs_find(dt_server *s, const char *id) {
    for (dt_job *j = s->jobs.all; j; j = j->next)
        if (!strcmp(j->id, id))
            return j;
    return NULL;
}

void dt_jobs_counts(dt_server *s, size_t *waiting, size_t *running) {
    pthread_mutex_lock(&s->jobs.lock);
    *waiting = s->jobs.n_waiting;
    *running = s->jobs.n_running;
    pthread_mutex_unlock(&s->jobs.lock);
}

int dt_jobs_retry_after(dt_server *s) {
    size_t waiting = 0, running = 0;
    dt_jobs_counts(s, &waiting, &running);
    const double wait = s->mean_s * (1 + (double)waiting / (double)s->opt.parallel);
    return wait < 1 ? 1 : wait > 60 ? 60 : (int)ceil(wait);
}

/* Those that wait are taken up and end at once. */
void dt_jobs_cancel_all(dt_server *s) {
    for (dt_job *j = s->jobs.all; j; j = j->next)
        cancel(j);
}

/* ---- start and end ---- */

duet_status dt_jobs_open(dt_server *s, duet_err *err) {
    dt_jobs *q = &s->jobs;
    q->open = true;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->work, NULL);
    q->wake[0] = q->wake[1] = -1;
    if (pipe2(q->wake, O_NONBLOCK | O_CLOEXEC))
        return dt_fail(err, DUET_E_IO, "server: no pipe: %s", strerror(errno));
    q->woken = event_new(s->base, q->wake[0], EV_READ | EV_PERSIST, on_news, s);
    q->threads = dt_calloc((size_t)s->opt.parallel, sizeof *q->threads);
    if (!q->woken || event_add(q->woken, NULL) || !q->threads)
        return dt_fail(err, DUET_E_NOMEM, "server: no memory");
    for (; q->n_threads < s->opt.parallel; q->n_threads++)
        if (pthread_create(&q->threads[q->n_threads], NULL, answer, s))
            return dt_fail(err, DUET_E_NOMEM, "server: only %d of %d answering threads could be started", q->n_threads, s->opt.parallel);
    return DUET_OK;
}

void dt_jobs_close(dt_server *s) {
    dt_jobs *q = &s->jobs;
    dt_jobs_cancel_all(s);
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    for (int i = 0; i < q->n_threads; i++)
        pthread_join(q->threads[i], NULL);
    while (q->all)
        forget(q->all);
    free(q->threads);
    if (q->woken)
        event_free(q->woken);
    for (int i = 0; i < 2; i++)
        if (q->wake[i] >= 0)
            close(q->wake[i]);
    pthread_cond_destroy(&q->work);
    pthread_mutex_destroy(&q->lock);
}

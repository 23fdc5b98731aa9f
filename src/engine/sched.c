/* The worker: continuous batching. Each step admits what fits, takes one row of every sequence that decodes and up
 * to a chunk of prompt tokens, runs the model once, and samples.
 *
 * Nothing here may leak into results: the forward pass gives each row the same bits in any company, random numbers
 * are addressed by (seed, key + sample, index), and a preempted sequence is computed again from its tokens.
 *
 * No deadlock: pages for a whole prompt are taken at admission; when a decoding sequence finds none, the youngest
 * sequence gives its pages back and waits, so the oldest always goes on, and alone it always fits. */
#include "engine/sched.h"

#define SHARED_STEP_S 0.5      /* aim of a step that several callers share, seconds */
#define SERIAL_SAMPLING 16384 /* fewer logits than this are not worth waking other threads for */

/* ---- who leaves ---- */

static bool is_set(const volatile int *flag) {
    return flag && __atomic_load_n(flag, __ATOMIC_RELAXED);
}

static void poll_cancel(duet_engine *e) {
    for (dt_job *job = e->jobs, *next; job; job = next) {
        next = job->next;
        if (is_set(job->cancel)) {
            duet_err why;
            dt_break_job(e, job, dt_fail(&why, DUET_E_CANCELLED, "generation cancelled"), &why);
            continue;
        }
        bool ended = false;
        for (size_t i = 0; job->has_ends && i < job->n_reqs; i++) {
            if (job->reqs[i].n_left > 0 && is_set(job->reqs[i].r->end)) {
                dt_break_request(e, &job->reqs[i], DUET_STOP_CALLBACK);
                ended = true;
            }
        }
        if (ended) {
            dt_end_job(e, job);
        }
    }
}

/* Between the layers of a step: true if at least half of its rows are nobody's any more. The step is given up then and
 * planned anew, so that a long prompt does not outlive its caller; others lose less than those who left had cost them. */
bool dt_engine_step_is_vain(void *engine) {
    const duet_engine *e = engine;
    int all = 0, vain = 0;
    if (__atomic_load_n(&e->stop, __ATOMIC_RELAXED)) {
        return true;
    }
    for (int i = 0; i < e->n_runs; i++) {
        const dt_request *q = e->slots[e->run_slot[i]].req;
        all += e->runs[i].n;
        vain += is_set(q->job->cancel) || is_set(q->r->end) ? e->runs[i].n : 0;
    }
    return vain > 0 && 2 * vain >= all;
}

/* ---- one step ---- */

static void add_run(duet_engine *e, dt_slot *s, int n, int *rows) {
    int32_t *ids = e->row_ids + *rows;
    dt_slot_ids(s->req, s->gen, s->kv.n_tokens, n, ids);
    s->n_run = n;
    e->run_slot[e->n_runs] = (int)(s - e->slots);
    e->runs[e->n_runs++] = (dt_infer_seq){.ids = ids,
                                          .n = n,
                                          .pos0 = s->kv.n_tokens,
                                          .pages = s->kv.pages,
                                          .n_logits = s->state == DT_SLOT_DECODE || s->kv.n_tokens + n == s->target};
    *rows += n;
}

/* A page for the next token of order[at]; younger sequences give way. False if it had to give way itself. */
static bool make_room(duet_engine *e, int at) {
    dt_slot *s = &e->slots[e->order[at]];
    while (dt_kv_grow(e->kv, &s->kv, 1, NULL) != DUET_OK) {
        int victim = e->n_order - 1;
        while (e->slots[e->order[victim]].kv.n_pages == 0) {
            victim--;
        }
        dt_slot_preempt(e, victim);
        if (victim == at) {
            return false;
        }
    }
    return true;
}

/* Prompt tokens of the next step. While several callers share the engine a step is short, for those who decode and for those
 * who leave; one caller alone gets whole chunks and is looked after between layers. */
static int step_budget(const duet_engine *e) {
    if (!e->jobs || !e->jobs->next) {
        return e->chunk;
    }
    int most = e->row_s > 0 ? (int)(SHARED_STEP_S / e->row_s) : 64;
    most = most > 16 ? most : 16;
    return most < e->chunk ? most : e->chunk;
}

static void plan(duet_engine *e) {
    int rows = 0, budget = step_budget(e);
    e->n_runs = 0;
    for (int i = 0; i < e->n_order; i++) {
        dt_slot *s = &e->slots[e->order[i]];
        if (s->state == DT_SLOT_DECODE) {
            if (make_room(e, i)) {
                add_run(e, s, 1, &rows);
            } else {
                i--; /* the place is another's now */
            }
        }
    }
    for (int i = 0; i < e->n_order && budget > 0; i++) {
        dt_slot *s = &e->slots[e->order[i]];
        if (s->state == DT_SLOT_PREFILL) {
            int left = s->target - s->kv.n_tokens;
            add_run(e, s, left < budget ? left : budget, &rows);
            budget -= s->n_run;
        }
    }
}

static void add_draw(duet_engine *e, int slot, const float *logits) {
    e->draws[e->n_draws++] = (dt_draw){.slot = slot, .logits = logits};
}

/* A prompt is done: its pages are remembered, and siblings borrow them and draw from the same logits. */
static duet_status end_prefill(duet_engine *e, int slot, const float *logits, duet_err *err) {
    dt_slot *s = &e->slots[slot];
    dt_request *q = s->req;
    dt_slot_remember(e, s);
    s->state = DT_SLOT_DECODE;
    add_draw(e, slot, logits);
    if (q->lead != slot) {
        return DUET_OK;
    }
    q->lead = -1;
    for (int i = 0; i < e->n_order; i++) {
        dt_slot *f = &e->slots[e->order[i]];
        if (f->req == q && f->state == DT_SLOT_FOLLOW) {
            duet_status st = dt_kv_reserve(&f->kv, (int)q->r->n_prompt + q->limit, err);
            if (!st) {
                st = dt_kv_fork(e->kv, &s->kv, &f->kv, err);
            }
            if (st) {
                return st;
            }
            f->state = DT_SLOT_DECODE;
            add_draw(e, e->order[i], logits);
        }
    }
    return DUET_OK;
}

static void add_stats(duet_engine *e) {
    duet_engine_stats *s = &e->stats;
    const duet_engine_stats *d = &e->since;
    s->requests += d->requests;
    s->prompt_tokens += d->prompt_tokens;
    s->cached_tokens += d->cached_tokens;
    s->output_tokens += d->output_tokens;
    s->steps += d->steps;
    s->busy_s += d->busy_s;
    s->hits += d->hits;
    s->cancelled += d->cancelled;
    s->preempted += d->preempted;
    s->steps_given_up += d->steps_given_up;
    s->running = (size_t)e->n_order;
    s->waiting = e->n_waiting;
    s->kv_pages_free = (size_t)dt_kv_free_pages(e->kv);
    s->kv_pages_cached = (size_t)dt_kv_cached_pages(e->kv);
    s->kv_pages_evicted = dt_kv_evicted(e->kv);
}

/* Statistics, then those whose calls have ended, so that what they read includes them. With the lock. */
static void publish(duet_engine *e) {
    double now = dt_now();
    e->since.busy_s = now - e->t_step;
    e->t_step = now;
    add_stats(e);
    e->since = (duet_engine_stats){0};
    if (e->ended) {
        pthread_cond_broadcast(&e->finished);
    }
    for (dt_job *next; e->ended; e->ended = next) {
        next = e->ended->next;
        e->ended->done = true; /* its caller's from here */
    }
}

/* Steps of few rows read the weights and say little about rows. */
static void note_speed(duet_engine *e, double seconds) {
    int rows = 0;
    for (int i = 0; i < e->n_runs; i++) {
        rows += e->runs[i].n;
    }
    if (rows >= 16) {
        double s = seconds / rows;
        e->row_s = e->row_s > 0 ? 0.5 * (e->row_s + s) : s;
    }
}

static void step(duet_engine *e) {
    duet_err why;
    poll_cancel(e);
    if (e->ended) { /* they do not wait for the others' step */
        pthread_mutex_lock(&e->lock);
        publish(e);
        pthread_mutex_unlock(&e->lock);
    }
    dt_engine_admit(e);
    plan(e);
    if (e->n_runs == 0) {
        return;
    }
    double t0 = dt_now();
    duet_status st = dt_infer_run(e->infer, e->kv, e->runs, e->n_runs, e->logits, &why);
    if (st == DUET_E_CANCELLED) { /* given up; nothing of it counts, and the next step begins with who left */
        e->n_runs = 0;
        e->since.steps_given_up++;
        return;
    }
    note_speed(e, dt_now() - t0);
    const float *row = e->logits;
    e->n_draws = 0;
    for (int i = 0; i < e->n_runs && !st; i++) {
        dt_slot *s = &e->slots[e->run_slot[i]];
        s->kv.n_tokens += s->n_run;
        if (s->state == DT_SLOT_DECODE) {
            add_draw(e, e->run_slot[i], row);
        } else if (e->runs[i].n_logits) {
            st = end_prefill(e, e->run_slot[i], row, &why);
        }
        row += e->runs[i].n_logits ? e->V : 0;
    }
    if (st) { /* nobody's result can be trusted to go on */
        while (e->jobs) {
            dt_break_job(e, e->jobs, st, &why);
        }
        return;
    }
    dt_pool *pool = (size_t)e->n_draws * (size_t)e->V < SERIAL_SAMPLING ? NULL : e->pool;
    dt_pool_run(pool, (size_t)e->n_draws, dt_engine_draw, e);
    for (int i = 0; i < e->n_draws; i++) {
        dt_engine_apply(e, &e->draws[i]);
    }
}

/* ---- the thread ---- */

static size_t take_job(duet_engine *e, dt_job *job) {
    size_t n = 0;
    job->next = e->jobs;
    e->jobs = job;
    for (size_t i = 0; i < job->n_reqs; i++) {
        job->reqs[i].serial = ++e->n_serials;
        if (job->reqs[i].n_todo > 0) {
            dt_wait_insert(e, &job->reqs[i]);
            n++;
        }
    }
    return n;
}

static void break_all(duet_engine *e) {
    duet_err why;
    duet_status st = dt_fail(&why, DUET_E_CANCELLED, "generation cancelled: the engine is shutting down");
    while (e->jobs) {
        dt_break_job(e, e->jobs, st, &why);
    }
}

void *dt_engine_worker(void *engine) {
    duet_engine *e = engine;
    pthread_mutex_lock(&e->lock);
    for (;;) {
        while (!e->incoming && !e->jobs && !e->stop) {
            pthread_cond_wait(&e->wake, &e->lock);
        }
        if (e->stop && !e->incoming && !e->jobs) {
            break;
        }
        dt_job *job = e->incoming;
        bool stop = e->stop;
        e->incoming = e->incoming_last = NULL;
        for (dt_job *j = job; j; j = j->next) {
            j->taken = true;
        }
        pthread_mutex_unlock(&e->lock);

        e->t_step = dt_now();
        e->n_runs = 0;
        for (dt_job *next; job; job = next) {
            next = job->next;
            e->since.requests += take_job(e, job);
        }
        if (stop) {
            break_all(e);
        } else {
            step(e);
        }

        pthread_mutex_lock(&e->lock);
        e->since.steps += e->n_runs > 0;
        publish(e);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

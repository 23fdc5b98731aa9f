/* Requests as callers see them: checked, made into a job, queued for the worker, waited for. */
#include "engine/sched.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *duet_stop_name(duet_stop s) {
    static const char *const names[] = {"eos", "length", "stop", "callback", "cancelled"};
    return (size_t)s < DT_COUNT(names) ? names[s] : "unknown";
}

void duet_generation_clear(duet_generation *g) {
    free(g->ids);
    free(g->logprobs);
    free(g->top);
    *g = (duet_generation){0};
}

static duet_status check(const duet_engine *e, const duet_gen_request *r, duet_err *err) {
    if (r->n < 0) {
        return dt_fail(err, DUET_E_RANGE, "%d samples: must be 1 or more (0 = 1)", r->n);
    }
    if (r->max_tokens < -1) {
        return dt_fail(err, DUET_E_RANGE, "max_tokens %d: must be 0 or more, or -1 for up to the context",
                       r->max_tokens);
    }
    if (r->n_prompt == 0) {
        return dt_fail(err, DUET_E_RANGE, "empty prompt: at least one token is needed");
    }
    if (r->n_prompt >= (size_t)e->ctx) {
        return dt_fail(err, DUET_E_RANGE,
                       "prompt of %zu tokens is too long: the context is %d tokens, one of them for the output",
                       r->n_prompt, e->ctx);
    }
    for (size_t i = 0; i < r->n_prompt; i++) {
        if (r->prompt[i] < 0 || r->prompt[i] >= e->V) {
            return dt_fail(err, DUET_E_RANGE, "prompt token %zu is %d: the vocabulary is 0..%d", i, (int)r->prompt[i],
                           e->V - 1);
        }
    }
    duet_status st = dt_gen_check(r, e->V, err);
    return st ? st : dt_sampling_check(&r->sampling, err);
}

static duet_status check_all(const duet_engine *e, const duet_gen_request *reqs, size_t n, duet_err *err) {
    for (size_t i = 0; i < n; i++) {
        duet_status st = check(e, &reqs[i], err);
        if (st) {
            return n > 1 ? dt_fail_in(err, st, "request %zu of %zu", i + 1, n) : st;
        }
    }
    return DUET_OK;
}

static duet_status prepare(const duet_engine *e, duet_gen_request *r, dt_job *job, dt_request *q) {
    const duet_model *m = e->model;
    int room = e->ctx - (int)r->n_prompt;

    q->r = r;
    q->job = job;
    q->n = r->n > 0 ? r->n : 1;
    q->limit = r->max_tokens < 0 || r->max_tokens > room ? room : r->max_tokens;
    q->lead = -1;
    q->eos = r->eos_ids ? r->eos_ids : m->gen.n_eos > 0 ? m->gen.eos_ids : m->cfg.eos_ids;
    q->n_eos = r->eos_ids ? r->n_eos : (size_t)(m->gen.n_eos > 0 ? m->gen.n_eos : m->cfg.n_eos);
    if (q->limit == 0) {
        return DUET_OK; /* done before it began: the worker never sees it */
    }
    q->state = calloc((size_t)q->n, sizeof *q->state);
    q->n_todo = q->n_left = q->n;
    job->n_left++;
    job->has_ends = job->has_ends || r->end;
    return q->state ? DUET_OK : DUET_E_NOMEM;
}

/* A job the worker has not seen yet is its caller's to take back. */
static void take_back(duet_engine *e, dt_job *job) {
    dt_job **at = &e->incoming, *last = NULL;
    while (*at != job) { /* it is in the list. NOLINT(clang-analyzer-core.NullDereference) */
        last = *at;
        at = &last->next;
    }
    *at = job->next;
    if (e->incoming_last == job) {
        e->incoming_last = last;
    }
    for (size_t i = 0; i < job->n_reqs; i++) {
        for (int j = 0; j < job->reqs[i].n; j++) {
            job->reqs[i].r->out[j].stop = job->reqs[i].limit > 0 ? DUET_STOP_CANCELLED : DUET_STOP_LENGTH;
        }
        job->reqs[i].r->usage.queue_s = dt_now() - job->t_submit;
        e->stats.requests += job->reqs[i].limit > 0;
        e->stats.cancelled += job->reqs[i].limit > 0;
    }
    job->st = dt_fail(&job->err, DUET_E_CANCELLED, "generation cancelled");
    job->done = true;
}

/* The worker may be busy with others for longer than a caller's patience: until it has the job, its caller looks. */
static void wait_for(duet_engine *e, dt_job *job) {
    while (!job->done) {
        if (!job->cancel || job->taken) {
            pthread_cond_wait(&e->finished, &e->lock);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50 * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&e->finished, &e->lock, &until);
        if (!job->done && !job->taken && __atomic_load_n(job->cancel, __ATOMIC_RELAXED)) {
            take_back(e, job);
        }
    }
}

static void queue_and_wait(duet_engine *e, dt_job *job) {
    pthread_mutex_lock(&e->lock);
    if (e->stop) {
        job->st = dt_fail(&job->err, DUET_E_CANCELLED, "the engine is shutting down");
        pthread_mutex_unlock(&e->lock);
        return;
    }
    if (e->incoming_last) {
        e->incoming_last->next = job;
    } else {
        e->incoming = job;
    }
    e->incoming_last = job;
    e->n_callers++;
    pthread_cond_signal(&e->wake);
    wait_for(e, job);
    if (--e->n_callers == 0 && e->stop) {
        pthread_cond_broadcast(&e->finished);
    }
    pthread_mutex_unlock(&e->lock);
}

duet_status duet_engine_generate(duet_engine *e, duet_gen_request *reqs, size_t n_reqs, const volatile int *cancel,
                                 duet_err *err) {
    dt_job job = {.n_reqs = n_reqs, .cancel = cancel, .t_submit = dt_now()};

    for (size_t i = 0; i < n_reqs; i++) { /* before anything can fail: the caller clears them in any case */
        reqs[i].usage = (duet_usage){0};
        for (int j = 0; j < (reqs[i].n == 0 ? 1 : reqs[i].n); j++) {
            reqs[i].out[j] = (duet_generation){.stop = DUET_STOP_LENGTH};
        }
    }
    duet_status st = check_all(e, reqs, n_reqs, err);
    if (st || n_reqs == 0) {
        return st;
    }
    job.reqs = dt_calloc(n_reqs, sizeof *job.reqs);
    if (!job.reqs) {
        return dt_fail(err, DUET_E_NOMEM, "engine: no memory for %zu requests", n_reqs);
    }
    for (size_t i = 0; i < n_reqs && !st; i++) {
        st = prepare(e, &reqs[i], &job, &job.reqs[i]);
    }
    if (st) {
        dt_fail(err, st, "engine: no memory for %zu requests", n_reqs);
    } else if (job.n_left > 0) {
        queue_and_wait(e, &job);
        st = job.st;
        if (st && err) {
            *err = job.err;
        }
    }
    for (size_t i = 0; i < n_reqs; i++) {
        free(job.reqs[i].state);
    }
    free(job.reqs);
    return st;
}

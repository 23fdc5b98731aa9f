/* Who has a place in the engine and who waits for one: a sequence's tokens and pages, the wait list, the slots, and how samples,
 * requests and jobs end. */
#include "engine/sched.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokens of a sequence ---- */

/* Copies tokens [from, from + n): prompt and output are kept apart. */
void dt_slot_ids(const dt_request *q, const duet_generation *g, int from, int n, int32_t *out) {
    int n_prompt = (int)q->r->n_prompt;
    int of_prompt = from < n_prompt ? (n < n_prompt - from ? n : n_prompt - from) : 0;
    if (of_prompt > 0) {
        memcpy(out, q->r->prompt + from, (size_t)of_prompt * sizeof *out);
    }
    if (n > of_prompt) {
        memcpy(out + of_prompt, g->ids + (from + of_prompt - n_prompt), (size_t)(n - of_prompt) * sizeof *out);
    }
}

const int32_t *dt_slot_whole(duet_engine *e, const dt_request *q, const duet_generation *g, int n) {
    if (n <= (int)q->r->n_prompt) {
        return q->r->prompt;
    }
    dt_slot_ids(q, g, 0, n, e->seq_ids);
    return e->seq_ids;
}

void dt_slot_remember(duet_engine *e, const dt_slot *s) {
    if (s->kv.n_tokens >= DT_KV_PAGE) {
        dt_kv_remember(e->kv, s->req->cache_key, dt_slot_whole(e, s->req, s->gen, s->kv.n_tokens), &s->kv, NULL);
    }
}

/* ---- the wait list: requests with samples to do, in the order they came ---- */

void dt_wait_insert(duet_engine *e, dt_request *q) {
    dt_request *after = e->wait_last;
    if (q->waiting) {
        return;
    }
    while (after && after->serial > q->serial) { /* a preempted request goes back near the front */
        after = after->prev;
    }
    q->prev = after;
    q->next = after ? after->next : e->wait_first;
    *(q->prev ? &q->prev->next : &e->wait_first) = q;
    *(q->next ? &q->next->prev : &e->wait_last) = q;
    q->waiting = true;
    e->n_waiting++;
}

static void wait_remove(duet_engine *e, dt_request *q) {
    if (!q->waiting) {
        return;
    }
    *(q->prev ? &q->prev->next : &e->wait_first) = q->next;
    *(q->next ? &q->next->prev : &e->wait_last) = q->prev;
    q->prev = q->next = NULL;
    q->waiting = false;
    e->n_waiting--;
}

/* ---- slots ---- */

dt_slot *dt_slot_take(duet_engine *e, dt_request *q, int sample) {
    int i = e->free_slots[--e->n_free_slots];
    e->order[e->n_order++] = i;
    e->slots[i] = (dt_slot){.req = q, .sample = sample, .gen = &q->r->out[sample]};
    q->state[sample] = DT_RUNNING;
    q->n_todo--;
    if (q->n_todo == 0) {
        wait_remove(e, q);
    }
    return &e->slots[i];
}

void dt_slot_give(duet_engine *e, dt_slot *s) {
    int i = (int)(s - e->slots), at = 0;
    dt_kv_drop(e->kv, &s->kv);
    if (s->req->lead == i) {
        s->req->lead = -1;
    }
    while (e->order[at] != i) {
        at++;
    }
    memmove(e->order + at, e->order + at + 1, (size_t)(e->n_order - at - 1) * sizeof *e->order);
    e->n_order--;
    e->free_slots[e->n_free_slots++] = i;
    s->state = DT_SLOT_FREE;
    s->req = NULL;
}

static void put_back(duet_engine *e, dt_slot *s) {
    dt_request *q = s->req;
    q->state[s->sample] = DT_TODO;
    q->n_todo++;
    if (s->sample < q->first_todo) {
        q->first_todo = s->sample;
    }
    dt_slot_give(e, s);
    dt_wait_insert(e, q);
}

void dt_slot_preempt(duet_engine *e, int at) {
    dt_slot *s = &e->slots[e->order[at]];
    dt_request *q = s->req;
    bool was_lead = q->lead == e->order[at];
    e->since.preempted++;
    dt_slot_remember(e, s);
    put_back(e, s);
    for (int i = e->n_order - 1; was_lead && i >= at; i--) { /* its followers came after it */
        dt_slot *f = &e->slots[e->order[i]];
        if (f->req == q && f->state == DT_SLOT_FOLLOW) {
            put_back(e, f);
        }
    }
}

/* ---- ends ---- */

static void shrink(duet_generation *g) {
    if (g->n == 0) {
        duet_stop stop = g->stop;
        duet_generation_clear(g);
        g->stop = stop;
        return;
    }
    int32_t *ids = realloc(g->ids, g->n * sizeof *ids);
    g->ids = ids ? ids : g->ids;
    float *logprobs = realloc(g->logprobs, g->n * sizeof *logprobs);
    g->logprobs = logprobs ? logprobs : g->logprobs;
    if (g->n_top > 0) {
        duet_likely *top = realloc(g->top, g->n * (size_t)g->n_top * sizeof *top);
        g->top = top ? top : g->top;
    }
}

static void end_request(dt_request *q) {
    double now = dt_now();
    duet_usage *u = &q->r->usage;
    bool began = q->t_start > 0;
    u->queue_s = (began ? q->t_start : now) - q->job->t_submit;
    if (began) {
        double first = q->t_first > 0 ? q->t_first : now;
        u->prefill_s = first - q->t_start;
        u->decode_s = now - first;
    }
    q->job->n_left--;
}

void dt_end_sample(duet_engine *e, dt_request *q, int sample, duet_stop stop) {
    q->state[sample] = DT_DONE;
    q->r->out[sample].stop = stop;
    shrink(&q->r->out[sample]);
    if (--q->n_left > 0) {
        return;
    }
    if (q->named && !e->prefix_cache) { /* nobody else finds these pages */
        dt_kv_forget(e->kv, q->cache_key);
    }
    end_request(q);
}

void dt_end_job(duet_engine *e, dt_job *job) {
    if (job->n_left > 0) {
        return;
    }
    dt_job **at = &e->jobs;
    while (*at != job) { /* it is in the list. NOLINT(clang-analyzer-core.NullDereference) */
        at = &(*at)->next;
    }
    *at = job->next;
    job->next = e->ended;
    e->ended = job;
}

void dt_break_request(duet_engine *e, dt_request *q, duet_stop stop) {
    e->since.cancelled++;
    for (int i = e->n_order - 1; i >= 0; i--) {
        dt_slot *s = &e->slots[e->order[i]];
        if (s->req == q) {
            int sample = s->sample;
            dt_slot_give(e, s);
            dt_end_sample(e, q, sample, stop);
        }
    }
    wait_remove(e, q);
    for (int j = 0; q->state && j < q->n; j++) {
        if (q->state[j] == DT_TODO) {
            dt_end_sample(e, q, j, stop);
        }
    }
}

void dt_break_job(duet_engine *e, dt_job *job, duet_status st, const duet_err *why) {
    job->st = st;
    job->err = *why;
    for (size_t i = 0; i < job->n_reqs; i++) {
        if (job->reqs[i].n_left > 0) {
            dt_break_request(e, &job->reqs[i], DUET_STOP_CANCELLED);
        }
    }
    dt_end_job(e, job);
}

/* The worker: continuous batching. Each step admits what fits, takes one row of every sequence that decodes and up
 * to a chunk of prompt tokens, runs the model once, and samples.
 *
 * Nothing here may leak into results: the forward pass gives each row the same bits in any company, random numbers
 * are addressed by (seed, key + sample, index), and a preempted sequence is computed again from its tokens.
 *
 * No deadlock: pages for a whole prompt are taken at admission; when a decoding sequence finds none, the youngest
 * sequence gives its pages back and waits, so the oldest always goes on, and alone it always fits. */
#include "engine/sched.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SHARED_STEP_S 0.5      /* aim of a step that several callers share, seconds */
#define SERIAL_SAMPLING 16384 /* fewer logits than this are not worth waking other threads for */

/* ---- tokens of a sequence ---- */

/* Copies tokens [from, from + n): prompt and output are kept apart. */
static void copy_ids(const dt_request *q, const duet_generation *g, int from, int n, int32_t *out) {
    int n_prompt = (int)q->r->n_prompt;
    int of_prompt = from < n_prompt ? (n < n_prompt - from ? n : n_prompt - from) : 0;
    if (of_prompt > 0) {
        memcpy(out, q->r->prompt + from, (size_t)of_prompt * sizeof *out);
    }
    if (n > of_prompt) {
        memcpy(out + of_prompt, g->ids + (from + of_prompt - n_prompt), (size_t)(n - of_prompt) * sizeof *out);
    }
}

static const int32_t *whole_ids(duet_engine *e, const dt_request *q, const duet_generation *g, int n) {
    if (n <= (int)q->r->n_prompt) {
        return q->r->prompt;
    }
    copy_ids(q, g, 0, n, e->seq_ids);
    return e->seq_ids;
}

static void remember(duet_engine *e, const dt_slot *s) {
    if (s->kv.n_tokens >= DT_KV_PAGE) {
        dt_kv_remember(e->kv, s->req->cache_key, whole_ids(e, s->req, s->gen, s->kv.n_tokens), &s->kv, NULL);
    }
}

/* ---- the wait list: requests with samples to do, in the order they came ---- */

static void wait_insert(duet_engine *e, dt_request *q) {
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

static dt_slot *take_slot(duet_engine *e, dt_request *q, int sample) {
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

static void give_slot(duet_engine *e, dt_slot *s) {
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
    give_slot(e, s);
    wait_insert(e, q);
}

/* The sequence in order[at] gives its pages back. What is remembered of it may survive until it returns. */
static void preempt(duet_engine *e, int at) {
    dt_slot *s = &e->slots[e->order[at]];
    dt_request *q = s->req;
    bool was_lead = q->lead == e->order[at];
    e->since.preempted++;
    remember(e, s);
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

static void end_sample(dt_request *q, int sample, duet_stop stop) {
    q->state[sample] = DT_DONE;
    q->r->out[sample].stop = stop;
    shrink(&q->r->out[sample]);
    if (--q->n_left == 0) {
        end_request(q);
    }
}

/* Its caller is woken at the end of the step, when the statistics include it. */
static void end_job_if_done(duet_engine *e, dt_job *job) {
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

/* Ends all that is left of a request, keeping what was sampled. */
static void break_request(duet_engine *e, dt_request *q, duet_stop stop) {
    e->since.cancelled++;
    for (int i = e->n_order - 1; i >= 0; i--) {
        dt_slot *s = &e->slots[e->order[i]];
        if (s->req == q) {
            int sample = s->sample;
            give_slot(e, s);
            end_sample(q, sample, stop);
        }
    }
    wait_remove(e, q);
    for (int j = 0; q->state && j < q->n; j++) {
        if (q->state[j] == DT_TODO) {
            end_sample(q, j, stop);
        }
    }
}

static void break_job(duet_engine *e, dt_job *job, duet_status st, const duet_err *why) {
    job->st = st;
    job->err = *why;
    for (size_t i = 0; i < job->n_reqs; i++) {
        if (job->reqs[i].n_left > 0) {
            break_request(e, &job->reqs[i], DUET_STOP_CANCELLED);
        }
    }
    end_job_if_done(e, job);
}

static bool is_set(const volatile int *flag) {
    return flag && __atomic_load_n(flag, __ATOMIC_RELAXED);
}

static void poll_cancel(duet_engine *e) {
    for (dt_job *job = e->jobs, *next; job; job = next) {
        next = job->next;
        if (is_set(job->cancel)) {
            duet_err why;
            break_job(e, job, dt_fail(&why, DUET_E_CANCELLED, "generation cancelled"), &why);
            continue;
        }
        bool ended = false;
        for (size_t i = 0; job->has_ends && i < job->n_reqs; i++) {
            if (job->reqs[i].n_left > 0 && is_set(job->reqs[i].r->end)) {
                break_request(e, &job->reqs[i], DUET_STOP_CALLBACK);
                ended = true;
            }
        }
        if (ended) {
            end_job_if_done(e, job);
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

/* ---- admission ---- */

typedef enum verdict { ADMITTED, LATER, FULL } verdict;

static void name_pages(duet_engine *e, dt_request *q) {
    uint64_t version = e->model->version;
    if (version != e->version) { /* the weights changed since the last request */
        dt_kv_forget(e->kv, version);
        e->version = version;
    }
    /* Without the cache, siblings still find their own prompt: under a key that nobody else has. */
    q->cache_key = e->prefix_cache ? version : ((uint64_t)1 << 63 | q->serial);
    q->named = true;
}

/* True if a running prefill is about to provide more of q's prompt than is remembered now. */
static bool worth_waiting(const duet_engine *e, const dt_request *q, int remembered) {
    for (int i = 0; i < e->n_order; i++) {
        const dt_slot *s = &e->slots[e->order[i]];
        if (s->state != DT_SLOT_PREFILL || s->req->cache_key != q->cache_key) {
            continue;
        }
        size_t most = s->req->r->n_prompt < q->r->n_prompt - 1 ? s->req->r->n_prompt : q->r->n_prompt - 1;
        size_t same = 0;
        while (same < most && s->req->r->prompt[same] == q->r->prompt[same]) {
            same++;
        }
        if ((int)(same / DT_KV_PAGE * DT_KV_PAGE) > remembered) {
            return true;
        }
    }
    return false;
}

/* The output's memory, whole at once: nothing is allocated while tokens come. */
static duet_status reserve_output(const duet_engine *e, const dt_request *q, duet_generation *g, duet_err *err) {
    if (g->ids) {
        return DUET_OK;
    }
    g->ids = dt_calloc((size_t)q->limit, sizeof *g->ids);
    g->logprobs = dt_calloc((size_t)q->limit, sizeof *g->logprobs);
    g->n_top = q->r->top_logprobs < e->V ? q->r->top_logprobs : e->V;
    if (g->n_top > 0) {
        g->top = dt_calloc((size_t)q->limit, (size_t)g->n_top * sizeof *g->top);
    }
    if (!g->ids || !g->logprobs || (g->n_top > 0 && !g->top)) {
        return dt_fail(err, DUET_E_NOMEM, "engine: no memory for an output of %d tokens", q->limit);
    }
    return DUET_OK;
}

/* Pages for all tokens so far, borrowed from the tree where it has them. DUET_WAIT: not enough are free. */
static duet_status take_pages(duet_engine *e, dt_request *q, const int32_t *ids, int target, dt_kv_seq *kv,
                              duet_err *err) {
    duet_status st = dt_kv_reserve(kv, (int)q->r->n_prompt + q->limit, err);
    if (!st) { /* at least the last token is run: its logits are wanted */
        st = dt_kv_match(e->kv, q->cache_key, ids, target, target - 1, kv, err);
    }
    if (!st && e->n_order > 0) { /* leave each running sequence a page to go on with */
        int need = (target - kv->n_tokens + DT_KV_PAGE - 1) / DT_KV_PAGE;
        st = dt_kv_free_pages(e->kv) < need + e->n_order ? DUET_WAIT : DUET_OK;
    }
    if (!st) {
        st = dt_kv_grow(e->kv, kv, target - kv->n_tokens, err);
    }
    if (st) {
        dt_kv_drop(e->kv, kv);
    }
    return st;
}

static verdict admit_sample(duet_engine *e, dt_request *q, duet_status *st, duet_err *err) {
    while (q->state[q->first_todo] != DT_TODO) {
        q->first_todo++;
    }
    int sample = q->first_todo;
    duet_generation *g = &q->r->out[sample];

    if (g->n == 0 && q->lead >= 0) { /* a sibling is computing the prompt */
        if (dt_kv_free_pages(e->kv) <= e->n_order) {
            return FULL;
        }
        *st = reserve_output(e, q, g, err);
        if (*st) {
            return FULL;
        }
        take_slot(e, q, sample)->state = DT_SLOT_FOLLOW;
        return ADMITTED;
    }
    if (!q->named) {
        name_pages(e, q);
    }
    int target = (int)(q->r->n_prompt + g->n);
    const int32_t *ids = whole_ids(e, q, g, target);
    int found = dt_kv_peek(e->kv, q->cache_key, ids, target - 1);
    if (worth_waiting(e, q, found)) {
        return LATER;
    }
    /* A bound that is cheap to see, so that a full engine does not borrow and return pages each step. */
    if (e->n_order > 0 && dt_kv_free_pages(e->kv) < (target - found) / DT_KV_PAGE + e->n_order) {
        return FULL;
    }
    *st = reserve_output(e, q, g, err);
    if (*st) {
        return FULL;
    }
    dt_kv_seq kv = {0};
    *st = take_pages(e, q, ids, target, &kv, err);
    if (*st) {
        if (*st == DUET_WAIT && e->n_order > 0) {
            *st = DUET_OK;
        } else if (*st == DUET_WAIT) {
            *st = dt_fail(err, DUET_E_INTERNAL, "engine: %d tokens do not fit in an idle pool of %d pages", target,
                          dt_kv_pages(e->kv));
        }
        return FULL;
    }
    if (q->t_start <= 0) { /* the prompt counts once, whatever its siblings find later */
        q->t_start = dt_now();
        q->r->usage.prompt_tokens = q->r->n_prompt;
        q->r->usage.cached_tokens = (size_t)kv.n_tokens;
        e->since.prompt_tokens += q->r->n_prompt;
        e->since.cached_tokens += (size_t)kv.n_tokens;
        e->since.hits += kv.n_tokens > 0;
    }
    dt_slot *s = take_slot(e, q, sample);
    s->state = DT_SLOT_PREFILL;
    s->kv = kv;
    s->target = target;
    if (g->n == 0) {
        q->lead = (int)(s - e->slots);
    }
    return ADMITTED;
}

static void admit(duet_engine *e) {
    int looks = 2 * e->max_seqs; /* of a long queue only the front is looked at */
    for (dt_request *q = e->wait_first; q && e->n_free_slots > 0 && looks > 0;) {
        dt_request *next = q->next;
        duet_status st = DUET_OK;
        duet_err why;
        verdict v = admit_sample(e, q, &st, &why);
        if (st) {
            break_job(e, q->job, st, &why);
            return;
        }
        if (v == FULL) {
            return;
        }
        if (v == LATER || q->n_todo == 0) {
            q = next;
            looks--;
        }
    }
}

/* ---- one step ---- */

static void add_run(duet_engine *e, dt_slot *s, int n, int *rows) {
    int32_t *ids = e->row_ids + *rows;
    copy_ids(s->req, s->gen, s->kv.n_tokens, n, ids);
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
        preempt(e, victim);
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
    remember(e, s);
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

static bool changes(const dt_adjust *a) {
    return a->n_bias > 0 || a->allowed || a->presence < 0 || a->presence > 0 || a->frequency < 0 || a->frequency > 0;
}

static void draw_task(void *arg, size_t task, int thread) {
    duet_engine *e = arg;
    dt_draw *d = &e->draws[task];
    const dt_slot *s = &e->slots[d->slot];
    const duet_gen_request *r = s->req->r;
    const size_t V = (size_t)e->V;
    const float inv_temp = r->sampling.temperature > 0 && !r->plain_logprobs ? (float)(1.0 / r->sampling.temperature) : 1.0F;
    float *scratch = e->scratch + (size_t)thread * 3 * V, *changed = scratch + 2 * V;
    duet_generation *g = s->gen;
    dt_adjust a = {.bias = r->logit_bias, .n_bias = r->n_logit_bias, .presence = r->presence_penalty,
                   .frequency = r->frequency_penalty, .ids = g->ids, .n = g->n};
    int32_t only = -1;
    if (r->allow) {
        a.allowed = r->allow(r->user, s->sample, g->ids, g->n, &a.n_allowed);
    }
    if (changes(&a)) {
        only = dt_adjust_logits(e->kernels, &a, d->logits, e->V, changed, e->seen + (size_t)thread * DT_BIT_WORDS(V));
    }
    if (only >= 0) {
        d->id = only < e->V ? only : -1;
    } else {
        d->id = dt_sample_pick(e->kernels, changes(&a) ? changed : d->logits, e->V, &r->sampling, r->key + (uint64_t)s->sample,
                               g->n, scratch);
    }
    if (d->id >= 0) {
        d->logprob = dt_sample_logprob(e->kernels, d->logits, e->V, d->id, inv_temp);
    }
    if (d->id >= 0 && g->n_top > 0) {
        dt_sample_likely(e->kernels, d->logits, e->V, g->n_top, inv_temp, (int32_t *)(void *)scratch,
                         g->top + g->n * (size_t)g->n_top);
    }
}

static bool is_in(const int32_t *ids, size_t n, int32_t id) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* Appends a sampled token; true if it is the sample's last, with the reason. */
static bool append(duet_engine *e, dt_slot *s, const dt_draw *d, duet_stop *stop) {
    dt_request *q = s->req;
    duet_gen_request *r = q->r;
    duet_generation *g = s->gen;
    g->ids[g->n] = d->id;
    g->logprobs[g->n] = d->logprob;
    g->n++;
    r->usage.output_tokens++;
    e->since.output_tokens++;
    if (q->t_first <= 0) {
        q->t_first = dt_now();
    }
    bool ends = true;
    if (is_in(q->eos, q->n_eos, d->id)) {
        *stop = DUET_STOP_EOS;
    } else if (is_in(r->stop_ids, r->n_stop, d->id)) {
        *stop = DUET_STOP_TOKEN;
    } else if (g->n == (size_t)q->limit) {
        *stop = DUET_STOP_LENGTH;
    } else {
        ends = false;
    }
    if (r->on_token && r->on_token(r->user, s->sample, d->id, d->logprob) && !ends) {
        *stop = DUET_STOP_CALLBACK;
        ends = true;
    }
    return ends;
}

static void apply(duet_engine *e, const dt_draw *d) {
    dt_slot *s = &e->slots[d->slot];
    dt_request *q = s->req;
    dt_job *job = q->job;
    int sample = s->sample;
    duet_stop stop = DUET_STOP_CALLBACK;
    if (d->id >= 0 && !append(e, s, d, &stop)) {
        return;
    }
    if (e->prefix_cache) {
        remember(e, s);
    }
    give_slot(e, s);
    end_sample(q, sample, stop);
    end_job_if_done(e, job);
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
    admit(e);
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
            break_job(e, e->jobs, st, &why);
        }
        return;
    }
    dt_pool *pool = (size_t)e->n_draws * (size_t)e->V < SERIAL_SAMPLING ? NULL : e->pool;
    dt_pool_run(pool, (size_t)e->n_draws, draw_task, e);
    for (int i = 0; i < e->n_draws; i++) {
        apply(e, &e->draws[i]);
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
            wait_insert(e, &job->reqs[i]);
            n++;
        }
    }
    return n;
}

static void break_all(duet_engine *e) {
    duet_err why;
    duet_status st = dt_fail(&why, DUET_E_CANCELLED, "generation cancelled: the engine is shutting down");
    while (e->jobs) {
        break_job(e, e->jobs, st, &why);
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

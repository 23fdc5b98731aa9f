/* Admission: the next samples that wait get a slot, with pages for their whole prompt. */
#include "engine/sched.h"

typedef enum verdict { ADMITTED, LATER, FULL } verdict;

static void name_pages(duet_engine *e, dt_request *q) {
    uint64_t version = e->model->version;
    if (version != e->version) { /* the weights changed since the last request */
        dt_kv_forget_others(e->kv, version);
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
        dt_slot_take(e, q, sample)->state = DT_SLOT_FOLLOW;
        return ADMITTED;
    }
    if (!q->named) {
        name_pages(e, q);
    }
    int target = (int)(q->r->n_prompt + g->n);
    const int32_t *ids = dt_slot_whole(e, q, g, target);
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
    dt_slot *s = dt_slot_take(e, q, sample);
    s->state = DT_SLOT_PREFILL;
    s->kv = kv;
    s->target = target;
    if (g->n == 0) {
        q->lead = (int)(s - e->slots);
    }
    return ADMITTED;
}

void dt_engine_admit(duet_engine *e) {
    int looks = 2 * e->max_seqs; /* of a long queue only the front is looked at */
    for (dt_request *q = e->wait_first; q && e->n_free_slots > 0 && looks > 0;) {
        dt_request *next = q->next;
        duet_status st = DUET_OK;
        duet_err why;
        verdict v = admit_sample(e, q, &st, &why);
        if (st) {
            dt_break_job(e, q->job, st, &why);
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

/* From logits to tokens: a draw, with what the request changes about it, and what a token leads to. */
#include "engine/sched.h"

static bool changes(const dt_adjust *a) {
    return a->n_bias > 0 || a->allowed || a->presence < 0 || a->presence > 0 || a->frequency < 0 || a->frequency > 0;
}

void dt_engine_draw(void *arg, size_t task, int thread) {
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
    const bool changes_any = changes(&a);
    if (changes_any) {
        only = dt_adjust_logits(e->kernels, &a, d->logits, e->V, changed, e->seen + (size_t)thread * DT_BIT_WORDS(V));
    }
    if (only >= 0) {
        d->id = only < e->V ? only : -1;
    } else {
        d->id = dt_sample_pick(e->kernels, changes_any ? changed : d->logits, e->V, &r->sampling, r->key + (uint64_t)s->sample,
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

void dt_engine_apply(duet_engine *e, const dt_draw *d) {
    dt_slot *s = &e->slots[d->slot];
    dt_request *q = s->req;
    dt_job *job = q->job;
    int sample = s->sample;
    duet_stop stop = DUET_STOP_CALLBACK;
    if (d->id >= 0 && !append(e, s, d, &stop)) {
        return;
    }
    if (e->prefix_cache) {
        dt_slot_remember(e, s);
    }
    dt_slot_give(e, s);
    dt_end_sample(e, q, sample, stop);
    dt_end_job(e, job);
}

/* A backend that plays a script, so that everything above the waist is tested without a model. It follows the
 * rules of the engine: budgets, end and stop ids, callbacks, cancelling, usage; every log-prob is 0. */
#include "backend/interface.h"
#include "text/template.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct script {
    duet_backend base;
    const char *(*reply)(void *user, const char *prompt, int sample);
    void *user;
    pthread_mutex_t lock; /* held from a reply until it is tokens: what the script returns lives until its next call */
} script;

static bool is_in(const int32_t *ids, size_t n, int32_t id) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

static bool may_come(const duet_gen_request *r, int sample, const duet_generation *g, int32_t id) {
    int32_t n_bits = 0;
    const uint32_t *bits = r->allow ? r->allow(r->user, sample, g->ids, g->n, &n_bits) : NULL;
    return !bits || (id < n_bits && bits[id / 32] >> (id % 32) & 1);
}

/* Plays line into g until something ends it. */
static duet_status play(const duet_backend *b, duet_gen_request *r, int sample, const duet_ids *line,
                        const volatile int *cancel, duet_generation *g, duet_err *err) {
    const int32_t *eos = r->eos_ids ? r->eos_ids : b->eos;
    size_t n_eos = r->eos_ids ? r->n_eos : b->n_eos;
    size_t room = (size_t)b->ctx - r->n_prompt;
    size_t limit = r->max_tokens < 0 || (size_t)r->max_tokens > room ? room : (size_t)r->max_tokens;

    limit = limit < line->n ? limit : line->n;
    if (limit == 0) {
        return DUET_OK;
    }
    g->ids = dt_calloc(limit, sizeof *g->ids);
    g->logprobs = dt_calloc(limit, sizeof *g->logprobs);
    g->n_top = r->top_logprobs > 0; /* nothing else could have come */
    g->top = g->n_top ? dt_calloc(limit, sizeof *g->top) : NULL;
    if (!g->ids || !g->logprobs || (g->n_top && !g->top)) {
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory for %zu tokens", b->name, limit);
    }
    while (g->n < limit) {
        if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) {
            g->stop = DUET_STOP_CANCELLED;
            return dt_fail(err, DUET_E_CANCELLED, "generation cancelled");
        }
        if (r->end && __atomic_load_n(r->end, __ATOMIC_RELAXED)) {
            g->stop = DUET_STOP_CALLBACK;
            break;
        }
        int32_t id = line->v[g->n];
        if (!may_come(r, sample, g, id)) {
            g->stop = DUET_STOP_CALLBACK;
            break;
        }
        if (g->n_top) {
            g->top[g->n].id = id;
        }
        g->ids[g->n++] = id;
        r->usage.output_tokens++;
        bool ends = is_in(eos, n_eos, id), stops = is_in(r->stop_ids, r->n_stop, id);
        bool enough = r->on_token && r->on_token(r->user, sample, id, 0.0F);
        if (ends || stops) {
            g->stop = ends ? DUET_STOP_EOS : DUET_STOP_TOKEN;
            break;
        }
        if (enough && g->n < limit) {
            g->stop = DUET_STOP_CALLBACK;
            break;
        }
    }
    return DUET_OK;
}

static duet_status run_request(duet_backend *b, duet_gen_request *r, const volatile int *cancel, duet_err *err) {
    script *s = (script *)b;
    duet_text prompt = {0};
    duet_ids line = {0};
    duet_status st = DUET_OK;

    if (r->n_prompt == 0 || r->n_prompt >= (size_t)b->ctx) {
        return dt_fail(err, DUET_E_RANGE, "%s: prompt of %zu tokens: must be 1 or more and less than the context, %d",
                       b->name, r->n_prompt, b->ctx);
    }
    if (r->max_tokens == 0) {
        return DUET_OK;
    }
    r->usage.prompt_tokens = r->n_prompt;
    st = duet_tokenizer_decode(b->tok, r->prompt, r->n_prompt, false, &prompt, err);
    for (int i = 0; i < (r->n > 0 ? r->n : 1) && !st; i++) {
        pthread_mutex_lock(&s->lock);
        const char *text = s->reply(s->user, prompt.data, i);
        duet_ids_free(&line);
        st = text ? duet_tokenizer_encode(b->tok, text, strlen(text), 0, &line, err) : DUET_OK;
        pthread_mutex_unlock(&s->lock);
        if (!text) {
            st = dt_fail(err, DUET_E_BACKEND, "%s: the script has no reply to this prompt", b->name);
            break;
        }
        if (st) {
            break;
        }
        if (b->n_eos > 0 && !(line.n > 0 && is_in(b->eos, b->n_eos, line.v[line.n - 1]))) {
            int32_t *v = dt_realloc(line.v, line.n + 1, sizeof *v);
            if (!v) {
                st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", b->name);
                break;
            }
            line.v = v;
            line.v[line.n++] = b->eos[0];
            line.cap = line.n;
        }
        st = play(b, r, i, &line, cancel, &r->out[i], err);
    }
    duet_ids_free(&line);
    duet_text_free(&prompt);
    return st;
}

static duet_status script_generate(duet_backend *b, duet_gen_request *reqs, size_t n, const volatile int *cancel,
                                   duet_err *err) {
    for (size_t i = 0; i < n; i++) {
        reqs[i].usage = (duet_usage){0};
        for (int j = 0; j < (reqs[i].n > 0 ? reqs[i].n : 1); j++) {
            reqs[i].out[j] = (duet_generation){.stop = DUET_STOP_LENGTH};
        }
    }
    for (size_t i = 0; i < n; i++) {
        duet_status st = run_request(b, &reqs[i], cancel, err);
        if (st) {
            return st;
        }
    }
    return DUET_OK;
}

static void script_close(duet_backend *b) {
    pthread_mutex_destroy(&((script *)b)->lock);
    free(b->name);
    free(b);
}

duet_status duet_backend_scripted(const duet_tokenizer *tok,
                                  const char *(*reply)(void *user, const char *prompt, int sample), void *user,
                                  duet_backend **out, duet_err *err) {
    *out = NULL;
    script *s = calloc(1, sizeof *s);
    char *name = dt_strdup("scripted");
    if (!s || !name) {
        free(s);
        free(name);
        return dt_fail(err, DUET_E_NOMEM, "scripted backend: no memory");
    }
    pthread_mutex_init(&s->lock, NULL);
    s->reply = reply;
    s->user = user;
    s->base = (duet_backend){.name = name,
                             .tok = tok,
                             .sampling = duet_sampling_defaults(),
                             .ctx = INT32_MAX,
                             .generate = script_generate,
                             .close = script_close};
    dt_tmpl tmpl;
    if (dt_tmpl_detect(tok, NULL, &tmpl, NULL) == DUET_OK) {
        for (size_t i = 0; i < tmpl.n_ends; i++) {
            dt_backend_add_eos(&s->base, tmpl.ends[i]);
        }
    }
    dt_backend_add_eos(&s->base, duet_tokenizer_id(tok, "<|im_end|>"));
    dt_backend_add_eos(&s->base, duet_tokenizer_id(tok, "<|endoftext|>"));
    *out = &s->base;
    return DUET_OK;
}

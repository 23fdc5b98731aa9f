/* A backend from a Hugging Face folder or a GGUF file: weights, tokenizer and an engine of its own. */
#include "backend/interface.h"
#include "model/model.h"
#include "sample/sample.h"
#include "text/template.h"

#include <stdlib.h>

#define USUAL_CTX 4096 /* tokens whose memory must be there where the caller names no context */

typedef struct local {
    duet_backend base;
    duet_tokenizer *tok;
} local;

static duet_status local_generate(duet_backend *b, duet_gen_request *reqs, size_t n, const volatile int *cancel,
                                  duet_err *err) {
    duet_status st = duet_engine_generate(b->engine, reqs, n, cancel, err);
    return st && st != DUET_E_CANCELLED ? dt_fail_in(err, st, "%s", b->name) : st;
}

static void local_close(duet_backend *b) {
    local *l = (local *)b;
    duet_engine_destroy(b->engine);
    duet_tokenizer_close(l->tok);
    duet_model_close(b->model);
    free(b->name);
    free(b->chat_template);
    free(l);
}

/* What the model's makers advise; greedy where they advise nothing. Fields they leave out are off. t: NULL = no family. */
static duet_sampling advised(const dt_hf_generation *g, const dt_tmpl *t) {
    duet_sampling s = duet_sampling_defaults();
    if (!g->found && t) {
        dt_tmpl_advice(t, &s.temperature, &s.top_p, &s.top_k);
    }
    if (!g->found || g->do_sample != 1) {
        return s;
    }
    s.temperature = g->temperature >= 0 ? g->temperature : 1;
    s.top_k = g->top_k > 0 ? g->top_k : 0;
    s.top_p = g->top_p >= 0 ? g->top_p : 1;
    s.min_p = g->min_p >= 0 ? g->min_p : 0;
    return s;
}

duet_status dt_local_open(const char *path, const duet_backend_options *opt, duet_backend **out, duet_err *err) {
    duet_status st = DUET_OK;

    *out = NULL;
    local *l = calloc(1, sizeof *l);
    if (!l) {
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    }
    duet_backend *b = &l->base;
    b->generate = local_generate;
    b->close = local_close;
    b->name = dt_strdup(path);
    if (!b->name) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
        goto done;
    }
    st = duet_tokenizer_open(path, &l->tok, err); /* first: it is small, and a wrong folder shows here */
    if (st) {
        goto done;
    }
    b->tok = l->tok;
    dt_tmpl tmpl;
    const char *named = opt ? opt->chat_template : NULL;
    st = dt_tmpl_detect(l->tok, named, &tmpl, err);
    const bool known = !st;
    if (st && named) {
        st = dt_fail_in(err, st, "%s", path);
        goto done;
    }
    b->chat_template = dt_strdup(named);
    if (named && !b->chat_template) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
        goto done;
    }
    duet_model_options how = opt ? opt->model : (duet_model_options){0};
    if (opt && how.n_threads == 0) how.n_threads = opt->engine.n_threads;
    if (opt && how.kv_type == DUET_KV_DEFAULT) how.kv_type = opt->engine.kv_type;
    if (how.ctx == 0) how.ctx = opt && opt->engine.ctx > 0 ? (size_t)opt->engine.ctx : USUAL_CTX;
    st = duet_model_open(path, &how, &b->model, err);
    if (st) {
        goto done;
    }
    const duet_model *m = b->model;
    if (duet_tokenizer_size(l->tok) > m->cfg.n_vocab) {
        st = dt_fail(err, DUET_E_FORMAT, "%s: the tokenizer has %d ids, the model's vocabulary only %d", path,
                     (int)duet_tokenizer_size(l->tok), m->cfg.n_vocab);
        goto done;
    }
    for (int i = 0; i < m->gen.n_eos; i++) {
        dt_backend_add_eos(b, m->gen.eos_ids[i]);
    }
    for (int i = 0; m->gen.n_eos <= 0 && i < m->cfg.n_eos; i++) {
        dt_backend_add_eos(b, m->cfg.eos_ids[i]);
    }
    b->sampling = advised(&m->gen, known ? &tmpl : NULL);
    st = dt_sampling_check(&b->sampling, err);
    if (st) {
        st = dt_fail_in(err, st, "%s: advised sampling", path);
        goto done;
    }
    st = duet_engine_create(b->model, opt ? &opt->engine : NULL, &b->engine, err);
    if (st) {
        st = dt_fail_in(err, st, "%s", path);
        goto done;
    }
    b->ctx = duet_engine_ctx(b->engine);
    *out = b;
    l = NULL;
done:
    duet_backend_close(l ? &l->base : NULL);
    return st;
}

/* The one interface: everything above asks these, whatever answers below. */
#include "backend/remote.h"

#include <stdlib.h>

void duet_backend_close(duet_backend *b) {
    if (b) {
        b->close(b);
    }
}

const char *duet_backend_name(const duet_backend *b) {
    return b->name;
}

const duet_tokenizer *duet_backend_tokenizer(const duet_backend *b) {
    return b->tok;
}

duet_model *duet_backend_model(const duet_backend *b) {
    return b->model;
}

duet_engine *duet_backend_engine(const duet_backend *b) {
    return b->engine;
}

duet_sampling duet_backend_sampling(const duet_backend *b) {
    return b->sampling;
}

const char *duet_backend_template(const duet_backend *b) {
    return b->chat_template;
}

int duet_backend_ctx(const duet_backend *b) {
    return b->ctx;
}

duet_status duet_backend_generate(duet_backend *b, duet_gen_request *reqs, size_t n, const volatile int *cancel,
                                  duet_err *err) {
    return b->generate(b, reqs, n, cancel, err);
}

void dt_backend_add_eos(duet_backend *b, int32_t id) {
    for (size_t i = 0; i < b->n_eos; i++) {
        if (b->eos[i] == id) {
            return;
        }
    }
    if (id >= 0 && b->n_eos < DT_BACKEND_MAX_EOS) {
        b->eos[b->n_eos++] = id;
    }
}

const int32_t *dt_backend_eos(const duet_backend *b, size_t *n) {
    *n = b->n_eos;
    return b->eos;
}

void dt_backend_limit(duet_backend *b, int ctx) {
    b->ctx = ctx;
}

bool duet_backend_is_address(const char *path) {
    return dt_remote_is_address(path);
}

duet_status duet_backend_open(const char *path, const duet_backend_options *opt, duet_backend **out, duet_err *err) {
    *out = NULL;
    return dt_remote_is_address(path) ? dt_remote_open(path, opt, out, err) : dt_local_open(path, opt, out, err);
}

duet_status duet_backend_ask(duet_backend *b, duet_ask *asks, size_t n, const volatile int *cancel, duet_err *err) {
    for (size_t i = 0; i < n; i++) {
        duet_ask *a = &asks[i];
        a->thought = a->answer = NULL;
        a->n_thought = a->n_answer = 0;
        a->thought_closed = a->estimated = false;
        a->stop = DUET_STOP_LENGTH;
        a->usage = (duet_usage){0};
    }
    return b->ask ? b->ask(b, asks, n, cancel, err)
                  : dt_fail(err, DUET_E_UNSUPPORTED, "%s: asked in words, but it is asked in token ids", b->name);
}

void duet_ask_clear(duet_ask *a) {
    free(a->thought);
    free(a->answer);
    a->thought = a->answer = NULL;
    a->n_thought = a->n_answer = 0;
}

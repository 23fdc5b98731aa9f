/* The one interface: everything above asks these, whatever answers below. */
#include "backend/interface.h"

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

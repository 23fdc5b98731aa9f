/* What a kind of backend provides; backend.c calls it. A kind fills `base` and keeps its own fields behind it. */
#ifndef DT_BACKEND_INTERFACE_H
#define DT_BACKEND_INTERFACE_H

#include "base/base.h"
#include "duet/backend.h"

#define DT_BACKEND_MAX_EOS 20

struct duet_backend {
    char *name;                /* owned */
    const duet_tokenizer *tok; /* borrowed, or the kind's own */
    duet_model *model;         /* NULL if not local */
    duet_engine *engine;
    char *chat_template; /* owned; NULL = what the tokenizer says */
    duet_sampling sampling;
    int ctx;
    int32_t eos[DT_BACKEND_MAX_EOS]; /* what ends its generations unless a request says otherwise */
    size_t n_eos;
    duet_status (*generate)(duet_backend *b, duet_gen_request *reqs, size_t n, const volatile int *cancel,
                            duet_err *err);
    duet_status (*ask)(duet_backend *b, duet_ask *asks, size_t n, const volatile int *cancel, duet_err *err); /* NULL =
                                                                                    it is asked in token ids */
    bool reads_thoughts; /* asked in words: a signal becomes its own finished thought */
    void (*close)(duet_backend *b); /* frees what the kind owns, and b */
};

void dt_backend_add_eos(duet_backend *b, int32_t id); /* ignores -1 and what is there already */
/* The ids that end a generation of b by default; borrowed. */
const int32_t *dt_backend_eos(const duet_backend *b, size_t *n);
/* A scripted backend that refuses longer sequences, for tests of overflow. */
void dt_backend_limit(duet_backend *b, int ctx);
/* duet_backend_open for what lies on this machine. */
duet_status dt_local_open(const char *path, const duet_backend_options *opt, duet_backend **out, duet_err *err);

#endif

/* A sample as a request: what is asked, the name it has in the store, and how its answer is had. */
#include "duet/duet.h"
#include "eval/internal.h"
#include "eval/ordered.h"
#include "pair/call.h"

#include <string.h>

void dt_eval_ask(const duet_eval_job *j, size_t sample, duet_pair_request *r) {
    size_t k = (size_t)(j->k ? j->k : 1), q = sample / k, repeat = sample % k;
    const duet_example *e = &j->examples[q];
    const char *text = e->prompt && !j->bare ? e->prompt : e->question;
    *r = (duet_pair_request){.question = text, .n_question = strlen(text), .mode = j->mode, .signal_budget = j->signal_budget,
                             .answer_budget = j->answer_budget, .M = j->M, .m = j->m, .key = q + ((uint64_t)repeat << 32)};
}

/* Fields are told apart by their lengths, so no two requests give the same bytes. */
static void add(dt_sha256 *s, const char *name, const void *p, size_t n) {
    char head[64];
    int k = snprintf(head, sizeof head, "%s %zu ", name, n);
    dt_sha256_add(s, head, (size_t)k);
    dt_sha256_add(s, p, n);
}

static void add_text(dt_sha256 *s, const char *name, const char *text) {
    add(s, name, text ? text : "", text ? strlen(text) : 0);
}

static void add_side(dt_sha256 *s, const char *print, const duet_sampling *o) {
    char text[160];
    snprintf(text, sizeof text, "%.17g %d %.17g %.17g %llu", o->temperature, o->top_k, o->top_p, o->min_p, (unsigned long long)o->seed);
    add_text(s, "model", print);
    add_text(s, "sampling", text);
}

void dt_eval_key(const duet_eval_job *j, const duet_pair_request *r, char out[65]) {
    char text[128];
    dt_sha256 s;
    dt_sha256_init(&s);
    add_text(&s, "duet", duet_version());
    add_text(&s, "mode", duet_mode_name(r->mode));
    if (r->mode == DUET_MODE_M || (r->mode == DUET_MODE_DUET && !r->signal)) add_side(&s, j->M_print, &r->M);
    if (r->mode != DUET_MODE_M) add_side(&s, j->m_print, &r->m);
    add_text(&s, "pair", j->pair_print);
    snprintf(text, sizeof text, "%d %d %llu %d", r->signal_budget, r->answer_budget, (unsigned long long)r->key, r->M_to_eos);
    add_text(&s, "request", text);
    add(&s, "question", r->question, r->n_question);
    for (size_t i = 0; i < r->n_history; i++) {
        add_text(&s, "role", r->history[i].role);
        add(&s, "said", r->history[i].text, r->history[i].n);
    }
    if (r->signal) add(&s, "signal", r->signal, r->n_signal * sizeof *r->signal);
    dt_sha256_hex(&s, out);
}

duet_status dt_eval_answer(const duet_eval_job *j, duet_pair_request *r, bool *found, duet_err *err) {
    char key[65];
    duet_status st = DUET_END;
    *found = false;
    if (j->store) {
        dt_eval_key(j, r, key);
        st = duet_store_get(j->store, key, r, err);
        *found = !st;
    }
    if (st == DUET_END) {
        st = duet_pair_answer(j->pair, r, 1, j->cancel, err);
        if (!st && j->store) st = duet_store_put(j->store, key, r, found, err);
    }
    if (*found && !st) dt_ledger_price(j->pair, r->mode, &r->ledger);
    return st;
}

typedef struct all_of {
    const duet_eval_job *j;
    duet_pair_request *r;
    size_t n_found;
} all_of;

static duet_status answer_one(void *user, size_t i, duet_err *err) {
    all_of *a = user;
    bool found = false;
    duet_status st = dt_eval_answer(a->j, &a->r[i], &found, err);
    if (found) __atomic_fetch_add(&a->n_found, 1, __ATOMIC_RELAXED);
    return st;
}

static void leave(void *user, size_t i) { /* it is where it belongs */
    (void)user;
    (void)i;
}

duet_status dt_eval_answer_all(const duet_eval_job *j, duet_pair_request *r, size_t n, size_t *n_found, duet_err *err) {
    all_of a = {j, r, 0};
    dt_ordered o = {.n = n, .lanes = j->batch > 0 ? j->batch : 64, .window = n ? n : 1, .work = answer_one, .emit = leave, .user = &a};
    duet_status st = dt_ordered_run(&o, err);
    *n_found += a.n_found;
    return st;
}

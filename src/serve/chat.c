/* POST /v1/chat/completions: a question becomes a job that asks the pair, and the job an answer, whole or streamed. */
#include "serve/chat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- on an answering thread ---- */

static int on_text(void *user, int stage, const char *text, size_t n) {
    const struct dt_voice *v = user;
    dt_jobs_say(&v->chat->job, v->choice, stage, text, n);
    return 0;
}

static void work(dt_job *j) {
    dt_chat *a = (dt_chat *)j;
    if (j->cancel)
        a->st = dt_fail(&a->err, DUET_E_CANCELLED, "cancelled before it began");
    else
        a->st = duet_pair_answer(j->s->pair, a->reqs, (size_t)a->ask.n, &j->cancel, &a->err);
}

/* ---- on the event thread ---- */

static void add_side(duet_ledger_side *to, const duet_ledger_side *s) {
    to->prompt_tokens += s->prompt_tokens;
    to->cached_tokens += s->cached_tokens;
    to->output_tokens += s->output_tokens;
    to->prefill_s += s->prefill_s;
    to->decode_s += s->decode_s;
    to->cost += s->cost;
}

/* One ledger for all answers to the request. What M alone takes is known from its own answers so far, where there are any. */
static void sum_up(dt_chat *a) {
    dt_server *s = a->job.s;
    duet_ledger *l = &a->ledger;
    *l = (duet_ledger){.M_alone_tokens = SIZE_MAX, .M_alone_cost = (double)NAN};
    for (int i = 0; i < a->ask.n; i++) {
        const duet_ledger *one = &a->reqs[i].ledger;
        add_side(&l->M, &one->M);
        add_side(&l->m, &one->m);
        l->total_s = one->total_s > l->total_s ? one->total_s : l->total_s;
        l->cost += one->cost;
        if (a->ask.mode == DUET_MODE_M && !a->st) {
            s->alone_n++;
            s->alone_tokens += one->M.output_tokens;
        }
    }
    if (a->ask.mode == DUET_MODE_M) {
        l->M_alone_tokens = l->M.output_tokens;
        l->M_alone_cost = l->M.cost;
    } else if (s->alone_n) {
        const double each = (double)s->alone_tokens / (double)s->alone_n;
        l->M_alone_tokens = (size_t)(each * a->ask.n + 0.5);
        l->M_alone_cost = l->M.output_tokens ? l->M.cost / (double)l->M.output_tokens * each * a->ask.n : (double)NAN;
        l->M_alone_estimated = true;
    }
}

static void finish(dt_job *j) {
    dt_chat *a = (dt_chat *)j;
    dt_conn *c = j->conn;
    dt_fault f;
    sum_up(a);
    if (!c)
        return;
    if (a->st == DUET_E_CANCELLED && j->stopped)
        a->st = DUET_OK; /* on request: what there is is the answer */
    if (a->st) {
        dt_fault_from(&f, a->st, &a->err);
        if (c->streaming)
            dt_sse_fault(a, &f);
        else
            dt_conn_fault(c, &f);
    } else if (a->ask.stream) {
        dt_sse_finish(a);
    } else {
        dt_conn_json(c, 200, NULL, dt_reply_whole(a));
    }
}

static void text(dt_job *j, int choice, int stage, const char *s, size_t n) {
    dt_sse_text((dt_chat *)j, choice, stage, s, n);
}

/* A stream says soon that the question is taken, and from time to time that the answer is still coming. */
static void tick(dt_job *j, double now) {
    dt_chat *a = (dt_chat *)j;
    if (!a->ask.stream)
        return;
    if (!j->conn->streaming)
        dt_sse_begin(a);
    else if (now - j->conn->t_wrote > j->s->opt.keep_alive_s)
        dt_conn_write(j->conn, ": working\n\n", 11);
}

static void chat_free(dt_job *j) {
    dt_chat *a = (dt_chat *)j;
    for (int i = 0; i < a->ask.n; i++) {
        if (a->reqs)
            duet_pair_request_clear(&a->reqs[i]);
        if (a->choices)
            dt_buf_clear(&a->choices[i].held);
    }
    free(a->reqs);
    free(a->choices);
    free(a->voices);
    free(a->head);
    dt_ask_clear(&a->ask);
    free(a);
}

static const dt_job_kind kind = {work, text, tick, finish, chat_free};

/* ---- from the request to the job ---- */

static uint64_t name_of(const dt_ask *a) {
    uint64_t key = 0;
    for (size_t i = 0; i < a->n_turns; i++) {
        key = dt_hash64(a->turns[i].role, strlen(a->turns[i].role), key);
        key = dt_hash64(a->turns[i].text, a->turns[i].n, key);
    }
    return key;
}

/* The random numbers of a request hang on its seed and its text: alone or among others, it is answered alike. */
static bool prepare(dt_chat *a) {
    const dt_ask *q = &a->ask;
    const uint64_t key = name_of(q);
    a->reqs = dt_calloc((size_t)q->n, sizeof *a->reqs);
    a->choices = dt_calloc((size_t)q->n, sizeof *a->choices);
    a->voices = dt_calloc((size_t)q->n, sizeof *a->voices);
    if (!a->reqs || !a->choices || !a->voices)
        return false;
    for (int i = 0; i < q->n; i++) {
        a->voices[i] = (struct dt_voice){a, i};
        a->reqs[i] = (duet_pair_request){.question = q->turns[q->n_turns - 1].text,
                                         .n_question = q->turns[q->n_turns - 1].n,
                                         .history = q->turns,
                                         .n_history = q->n_turns - 1,
                                         .mode = q->mode,
                                         .signal_budget = q->total_budget ? q->signal_budget : 0,
                                         .answer_budget = q->total_budget ? q->answer_budget : 0,
                                         .total_budget = q->total_budget > 0 ? q->total_budget : 0,
                                         .M = q->M,
                                         .m = q->m,
                                         .key = key + (uint64_t)i,
                                         .on_text = q->stream ? on_text : NULL,
                                         .user = &a->voices[i]};
    }
    return true;
}

void dt_chat_start(dt_conn *c, json_t *body) {
    dt_server *s = c->s;
    dt_fault f;
    dt_chat *a = calloc(1, sizeof *a);
    if (!a) {
        json_decref(body);
        dt_fault_set(&f, 500, NULL, NULL, "no memory");
        dt_conn_fault(c, &f);
        return;
    }
    dt_jobs_init(s, &a->job, &kind, c, "chatcmpl");
    a->created = dt_serve_wall();
    bool ok = dt_ask_read(s, body, &a->ask, &f);
    if (ok && !a->ask.seed_given && !s->opt.fixed_seed)
        a->ask.M.seed = a->ask.m.seed = dt_serve_random(s) >> 1; /* fits the integers of JSON */
    if (ok && !prepare(a))
        ok = dt_fault_set(&f, 500, NULL, NULL, "no memory");
    if (ok && s->stopping)
        ok = dt_fault_set(&f, 503, NULL, "shutting_down", "the server is stopping");
    if (ok && dt_jobs_submit(&a->job) == DUET_WAIT)
        ok = dt_fault_set(&f, 429, NULL, "queue_full", "%d answers are being written and %d questions wait; try again later",
                          s->opt.parallel, s->opt.queue);
    if (ok)
        return;
    chat_free(&a->job);
    dt_conn_fault(c, &f);
}

/* POST /v1/chat/completions: a question becomes a job that asks the pair, and the job an answer, whole or streamed. */
#include "serve/chat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN 2 /* a "stage" of dt_jobs_say: not text, but a token of the answer */

/* ---- on an answering thread ---- */

static int on_text(void *user, int stage, const char *text, size_t n) {
    const struct dt_voice *v = user;
    dt_jobs_say(&v->chat->job, v->choice, stage, text, n);
    return 0;
}

static void on_token(void *user, int stage, int32_t id, float logprob, const duet_likely *top, int n_top) {
    const struct dt_voice *v = user;
    dt_spoken t = {.id = id, .logprob = logprob, .n_top = n_top};
    if (stage != 1)
        return;
    if (n_top)
        memcpy(t.top, top, (size_t)n_top * sizeof *top);
    dt_jobs_say(&v->chat->job, v->choice, TOKEN, (const char *)&t, offsetof(dt_spoken, top) + (size_t)n_top * sizeof *top);
}

static void work(dt_job *j) {
    dt_chat *a = (dt_chat *)j;
    if (__atomic_load_n(&j->cancel, __ATOMIC_RELAXED))
        a->st = dt_fail(&a->err, DUET_E_CANCELLED, "cancelled before it began");
    else if (!dt_format_prepare(a))
        a->st = duet_pair_answer(j->s->pair, a->reqs, (size_t)a->ask.n, &j->cancel, &a->err);
}

/* ---- on the event thread ---- */

static void add(size_t *to, size_t n) {
    *to = *to == SIZE_MAX || n == SIZE_MAX ? SIZE_MAX : *to + n; /* SIZE_MAX: not known */
}

static void add_side(duet_ledger_side *to, const duet_ledger_side *s) {
    add(&to->prompt_tokens, s->prompt_tokens);
    add(&to->cached_tokens, s->cached_tokens);
    add(&to->output_tokens, s->output_tokens);
    to->prefill_s += s->prefill_s;
    to->decode_s += s->decode_s;
    to->cost += s->cost;
    to->estimated |= s->estimated;
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

static void count(dt_chat *a) {
    const dt_job *j = &a->job;
    dt_metrics *m = &j->s->metrics;
    dt_metrics_answer(m, a->ask.mode, &a->ledger, j->stopped ? DT_STOPPED : !j->conn ? DT_LEFT : a->st ? DT_FAILED : DT_ANSWERED);
    if (a->st)
        return;
    for (int i = 0; i < a->ask.n; i++)
        if (a->ask.mode == DUET_MODE_DUET)
            m->handoffs[a->reqs[i].handoff]++;
    if (a->ask.mode == DUET_MODE_DUET)
        dt_histogram_add(&m->handoff, a->ledger.m.prefill_s / a->ask.n);
    dt_histogram_add(&m->whole, j->t_done - j->t_queued);
    if (j->t_first > 0)
        dt_histogram_add(&m->first, j->t_first - j->t_queued);
}

static void finish(dt_job *j) {
    dt_chat *a = (dt_chat *)j;
    dt_conn *c = j->conn;
    dt_fault f;
    a->over = true;
    sum_up(a);
    if (a->st == DUET_E_CANCELLED && j->stopped)
        a->st = DUET_OK; /* on request: what there is is the answer */
    count(a);
    dt_log_trace(a);
    if (!c)
        return;
    if (a->st) {
        dt_fault_from(&f, a->st, &a->err);
        if (a->format_failed)
            dt_fault_set(&f, a->st == DUET_E_NOMEM ? 500 : 400, "response_format", NULL, "response_format: %s", a->err.text);
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
    j->can_hand_over = j->can_hand_over && stage == 0;
    if (stage == TOKEN)
        dt_sse_token((dt_chat *)j, choice, s, n);
    else
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
            dt_buf_clear(&a->choices[i].held), dt_buf_clear(&a->choices[i].logprobs);
    }
    free(a->reqs);
    free(a->choices);
    free(a->voices);
    free(a->head);
    duet_grammar_destroy(a->grammar);
    dt_ask_clear(&a->ask);
    free(a);
}

static void chat_log(const dt_job *j, json_t *line) {
    const dt_chat *a = (const dt_chat *)j;
    const duet_ledger *l = &a->ledger;
    json_object_set_new(line, "model", json_string(a->ask.model));
    json_object_set_new(line, "stream", json_boolean(a->ask.stream));
    if (!a->over)
        return; /* its client left before the end: the ledger is not there yet */
    json_object_set_new(line, "queue_s", json_real(j->t_begun > 0 ? j->t_begun - j->t_queued : j->t_done - j->t_queued));
    json_object_set_new(line, "M_tokens", json_integer((json_int_t)l->M.output_tokens));
    json_object_set_new(line, "m_tokens", json_integer((json_int_t)l->m.output_tokens));
    json_object_set_new(line, "handoff", json_string(duet_handoff_name(a->reqs[0].handoff)));
}

static const dt_job_kind kind = {.work = work, .text = text, .tick = tick, .finish = finish, .log = chat_log, .free = chat_free};

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
                                         .on_token = q->stream && q->logprobs ? on_token : NULL,
                                         .user = &a->voices[i],
                                         .no_thought = q->no_thought,
                                         .hand_over = &a->job.hand_over,
                                         .logit_bias = q->bias,
                                         .n_logit_bias = q->n_bias,
                                         .presence_penalty = q->presence_penalty,
                                         .frequency_penalty = q->frequency_penalty,
                                         .top_logprobs = q->top_logprobs,
                                         .stop = q->stops,
                                         .n_stop = q->n_stops};
    }
    return true;
}

static void start(dt_conn *c, json_t *body, bool completion) {
    dt_server *s = c->s;
    dt_fault f;
    dt_chat *a = calloc(1, sizeof *a);
    if (!a) {
        json_decref(body);
        dt_fault_set(&f, 500, NULL, NULL, "no memory");
        dt_conn_fault(c, &f);
        return;
    }
    dt_jobs_init(s, &a->job, &kind, c, completion ? "cmpl" : "chatcmpl");
    a->created = dt_serve_wall();
    bool ok = dt_ask_read(s, body, completion, &a->ask, &f);
    if (ok && !a->ask.seed_given && !s->opt.fixed_seed)
        a->ask.M.seed = a->ask.m.seed = dt_serve_random(s) >> 1; /* fits the integers of JSON */
    if (ok && !prepare(a))
        ok = dt_fault_set(&f, 500, NULL, NULL, "no memory");
    a->job.can_hand_over = a->ask.mode == DUET_MODE_DUET;
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

void dt_chat_start(dt_conn *c, json_t *body) {
    start(c, body, false);
}

void dt_completion_start(dt_conn *c, json_t *body) {
    start(c, body, true);
}

/* One row of the table: a mode, or a control of the pair, over all questions, many samples at a time. */
#include "eval/internal.h"
#include "eval/ordered.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums over samples; the row is made from them at the end. */
typedef struct tally {
    double right, M_tokens, m_tokens, m_prompt, no_answer, truncated, leaks, right_no_leak;
    double cost, M_alone_cost, M_s, m_s, M_alone_s;
    size_t samples, signals;
    double *mean; /* [questions] share right */
} tally;

/* What M wrote for a sample of a control, whoever reads it. */
typedef struct own_signal {
    int32_t *v;
    size_t n;
    duet_ledger_side M;
    double total_s;
    bool cut;
} own_signal;

typedef struct slot { /* a sample that has ended, until its turn */
    duet_pair_request r;
    int score;
    bool found;
} slot;

typedef struct row_run {
    const duet_eval_job *j;
    size_t k, n_samples, n_signals, first; /* piece p of the work is sample first + p */
    bool control;
    const duet_tokenizer *tok; /* of signals; NULL = none */
    own_signal *signal;        /* [n_samples], controls only */
    slot *slot;
    size_t window;
    duet_ids truth;
    tally t;
    duet_eval_progress p;
    double right; /* of the answers so far, in any order */
    size_t answers;
} row_run;

/* ---- tokens of a signal ---- */

/* True where ids[at..] begins with what[0..n). */
static bool run_at(const int32_t *ids, size_t n_ids, size_t at, const int32_t *what, size_t n) {
    return n && at + n <= n_ids && !memcmp(ids + at, what, n * sizeof *what);
}

static bool contains(const int32_t *ids, size_t n_ids, const duet_ids *what) {
    for (size_t i = 0; i < n_ids; i++)
        if (run_at(ids, n_ids, i, what->v, what->n)) return true;
    return false;
}

/* Ids of the truth and of "?" in the tokens of the signal; empty where they cannot be spelled. */
static void spell(const duet_tokenizer *t, const char *text, duet_ids *out) {
    out->n = 0;
    if (duet_tokenizer_encode(t, text, strlen(text), DUET_ENC_PLAIN, out, NULL)) out->n = 0;
}

static size_t mask(int32_t *ids, size_t n, const duet_ids *truth, const duet_ids *blank) {
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        if (run_at(ids, n, i, truth->v, truth->n)) {
            if (blank->n == 1) ids[k++] = blank->v[0];
            i += truth->n;
        } else {
            ids[k++] = ids[i++];
        }
    }
    return k;
}

static void mask_all(row_run *u) {
    duet_ids blank = {0};
    spell(u->tok, "?", &blank);
    for (size_t i = 0; i < u->n_samples; i++) {
        spell(u->tok, u->j->examples[i / u->k].answer, &u->truth);
        u->signal[i].n = mask(u->signal[i].v, u->signal[i].n, &u->truth, &blank);
    }
    duet_ids_free(&blank);
}

/* The sample whose signal sample i gets: the next question with another answer. */
static size_t partner(const duet_eval_job *j, size_t sample, size_t k) {
    size_t q = sample / k;
    for (size_t d = 1; d < j->n; d++) {
        size_t o = (q + d) % j->n;
        if (strcmp(j->examples[o].answer, j->examples[q].answer)) return o * k + sample % k;
    }
    return (sample + k) % (j->n * k);
}

/* ---- progress ---- */

static void tell(row_run *u, bool found) {
    u->p.done++;
    u->p.found += found;
    u->p.accuracy = u->answers ? u->right / (double)u->answers : (double)NAN;
    if (u->j->on_progress) u->j->on_progress(u->j->user, &u->p);
}

/* ---- signals of M for all samples, for the controls: stage 2 gets no budget ---- */

/* Of all samples; where one sample alone is wanted, of the two that it needs. */
static size_t whose_signal(const row_run *u, size_t piece) {
    return !u->j->only ? piece : piece ? u->first : partner(u->j, u->first, u->k);
}

static duet_status make_signal(void *user, size_t piece, duet_err *err) {
    row_run *u = user;
    slot *s = &u->slot[piece % u->window];
    dt_eval_ask(u->j, whose_signal(u, piece), &s->r);
    s->r.answer_budget = 0;
    return dt_eval_answer(u->j, &s->r, &s->found, err);
}

static void signal_made(void *user, size_t piece) {
    row_run *u = user;
    tell(u, u->slot[piece % u->window].found);
}

static void take_signal(void *user, size_t piece) {
    row_run *u = user;
    duet_pair_request *r = &u->slot[piece % u->window].r;
    own_signal *s = &u->signal[whose_signal(u, piece)];
    free(s->v); /* one sample may be its own partner */
    *s = (own_signal){r->signal_ids, r->n_signal_ids, r->ledger.M, r->ledger.total_s, r->signal_status == DUET_SIGNAL_TRUNCATED};
    r->signal_ids = NULL; /* taken */
    r->n_signal_ids = 0;
    duet_pair_request_clear(r);
}

/* ---- answers ---- */

static void add_own_signal(const own_signal *s, duet_pair_request *r) {
    r->ledger.M = s->M;
    r->ledger.cost = s->M.cost + r->ledger.m.cost;
    r->ledger.total_s += s->total_s;
    if (s->cut) r->signal_status = DUET_SIGNAL_TRUNCATED;
}

static duet_status make_answer(void *user, size_t piece, duet_err *err) {
    static const int32_t none[1] = {0}; /* an empty signal that is given still needs an address */
    row_run *u = user;
    const duet_eval_job *j = u->j;
    size_t i = u->first + piece;
    slot *s = &u->slot[piece % u->window];
    dt_eval_ask(j, i, &s->r);
    if (u->control) {
        const own_signal *given = &u->signal[j->shuffle_signals ? partner(j, i, u->k) : i];
        s->r.signal = given->v ? given->v : none;
        s->r.n_signal = given->n;
    }
    duet_status st = dt_eval_answer(j, &s->r, &s->found, err);
    if (st) return st;
    if (u->control) add_own_signal(&u->signal[i], &s->r);
    s->score = duet_grade(j->grader, s->r.answer_text ? s->r.answer_text : "", s->r.n_answer_text, j->examples[i / u->k].answer);
    return DUET_OK;
}

static void answer_made(void *user, size_t piece) {
    row_run *u = user;
    const slot *s = &u->slot[piece % u->window];
    u->right += s->score;
    u->answers++;
    tell(u, s->found);
}

/* What M alone spent on this sample: learned in its own mode, told in the others. */
static void compare_alone(row_run *u, size_t i, duet_ledger *l) {
    duet_ledger *alone = u->j->M_alone ? &u->j->M_alone[i] : NULL;
    if (u->j->mode == DUET_MODE_M && alone) *alone = *l;
    if (alone) {
        l->M_alone_tokens = alone->M_alone_tokens;
        l->M_alone_cost = alone->M_alone_cost;
    }
    u->t.M_alone_cost += l->M_alone_cost;
    u->t.M_alone_s += alone && alone->M_alone_tokens != SIZE_MAX ? alone->M.prefill_s + alone->M.decode_s : (double)NAN;
}

static void count(row_run *u, size_t i, const duet_pair_request *r, int right) {
    tally *t = &u->t;
    const duet_ledger *l = &r->ledger;
    t->samples++;
    t->right += right;
    t->mean[i / u->k] += (double)right / (double)u->k;
    t->M_tokens += (double)l->M.output_tokens;
    t->m_tokens += (double)l->m.output_tokens;
    t->m_prompt += (double)l->m.prompt_tokens;
    t->cost += l->cost;
    t->M_s += l->M.prefill_s + l->M.decode_s;
    t->m_s += l->m.prefill_s + l->m.decode_s;
    t->no_answer += !r->n_answer_text;
    t->truncated += r->answer_cut || r->signal_status == DUET_SIGNAL_TRUNCATED;
    if (r->mode == DUET_MODE_DUET) {
        u->truth.n = 0;
        if (u->tok) spell(u->tok, u->j->examples[i / u->k].answer, &u->truth);
        bool leak = contains(r->signal_ids, r->n_signal_ids, &u->truth);
        t->signals++;
        t->leaks += leak;
        if (!leak) t->right_no_leak += right;
    }
}

static void take_answer(void *user, size_t piece) {
    row_run *u = user;
    slot *s = &u->slot[piece % u->window];
    size_t i = u->first + piece;
    compare_alone(u, i, &s->r.ledger);
    count(u, i, &s->r, s->score);
    if (u->j->on_sample) u->j->on_sample(u->j->user, &u->j->examples[i / u->k], &s->r, s->score);
    duet_pair_request_clear(&s->r);
}

/* ---- the row ---- */

static void finish(const duet_eval_job *j, const tally *t, duet_eval_row *row) {
    double n = (double)t->samples, clean = (double)t->signals - t->leaks;
    *row = (duet_eval_row){.questions = j->n, .samples = t->samples, .accuracy = t->right / n, .M_tokens = t->M_tokens / n, .m_tokens = t->m_tokens / n,
                           .m_prompt_tokens = t->m_prompt / n, .saved = (double)NAN, .no_answer = t->no_answer / n, .truncated = t->truncated / n,
                           .leak = t->signals ? t->leaks / (double)t->signals : (double)NAN, .accuracy_no_leak = clean > 0 ? t->right_no_leak / clean : (double)NAN,
                           .cost = t->cost / n, .M_alone_cost = t->M_alone_cost / n, .M_s = t->M_s / n, .m_s = t->m_s / n, .M_alone_s = t->M_alone_s / n};
    dt_eval_name_row(j, t->right, t->mean, row);
}

void dt_eval_name_row(const duet_eval_job *j, double right, const double *mean, duet_eval_row *row) {
    snprintf(row->data, sizeof row->data, "%s", j->data ? j->data : "");
    snprintf(row->mode, sizeof row->mode, "%s", duet_mode_name(j->mode));
    snprintf(row->variant, sizeof row->variant, "%s", j->variant ? j->variant : "");
    if (j->k > 1)
        dt_clustered(mean, j->n, row->ci95);
    else
        dt_wilson(right, (double)row->samples, row->ci95);
}

static duet_status check(const duet_eval_job *j, duet_err *err) {
    if (!j->n) return dt_fail(err, DUET_E_USAGE, "evaluation: there are no questions");
    if (j->k < 0) return dt_fail(err, DUET_E_USAGE, "evaluation: %d samples a question; give 1 or more", j->k);
    if (j->only > j->n * (size_t)(j->k ? j->k : 1)) return dt_fail(err, DUET_E_RANGE, "evaluation: there is no sample %zu", j->only);
    return DUET_OK;
}

static duet_status run_all(row_run *u, int lanes, duet_err *err) {
    dt_ordered o = {.n = u->n_signals, .lanes = lanes, .window = u->window, .work = make_signal, .done = signal_made, .emit = take_signal, .user = u};
    duet_status st = u->control ? dt_ordered_run(&o, err) : DUET_OK;
    if (st) return st;
    if (u->j->mask_answer && u->control && u->tok) mask_all(u);
    o.n = u->p.total - u->n_signals;
    o.work = make_answer;
    o.done = answer_made;
    o.emit = take_answer;
    return dt_ordered_run(&o, err);
}

duet_status duet_eval_run(const duet_eval_job *j, duet_eval_row *row, duet_err *err) {
    enum { WINDOW = 1024 }; /* one long answer does not hold up the others at once */
    row_run u = {.j = j, .k = (size_t)(j->k ? j->k : 1), .first = j->only ? j->only - 1 : 0, .tok = duet_pair_signal_tokenizer(j->pair),
                 .control = j->mode == DUET_MODE_DUET && (j->shuffle_signals || j->mask_answer)};
    int lanes = j->batch > 0 ? j->batch : 64;
    duet_status st = check(j, err);
    if (st) return st;
    u.n_samples = j->n * u.k;
    u.n_signals = !u.control ? 0 : j->only ? 2 : u.n_samples;
    u.p.total = (j->only ? 1 : u.n_samples) + u.n_signals;
    u.window = lanes > WINDOW ? (size_t)lanes : WINDOW;
    if (u.window > u.p.total) u.window = u.p.total;
    u.slot = dt_calloc(u.window, sizeof *u.slot);
    u.t.mean = dt_calloc(j->n, sizeof *u.t.mean);
    if (!u.slot || !u.t.mean || (u.control && !(u.signal = dt_calloc(u.n_samples, sizeof *u.signal))))
        st = dt_fail(err, DUET_E_NOMEM, "evaluation: no memory for %zu samples", u.n_samples);
    if (!st) st = run_all(&u, lanes, err);
    if (!st) finish(j, &u.t, row);
    for (size_t i = 0; u.slot && i < u.window; i++)
        duet_pair_request_clear(&u.slot[i].r);
    for (size_t i = 0; u.signal && i < u.n_samples; i++)
        free(u.signal[i].v);
    free(u.slot);
    free(u.signal);
    free(u.t.mean);
    duet_ids_free(&u.truth);
    return st;
}

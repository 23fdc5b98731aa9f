/* One row of the table: a mode, or a control of the pair, over all questions in batches. */
#include "eval/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums over samples; the row is made from them at the end. */
typedef struct tally {
    double right, M_tokens, m_tokens, m_prompt, no_answer, truncated, leaks, right_no_leak;
    size_t samples, signals;
    double *mean; /* [questions] share right */
} tally;

typedef struct owned_ids {
    int32_t *v;
    size_t n, M_tokens;
    bool cut;
} owned_ids;

static bool duet_mode_with_control(const duet_eval_job *j) {
    return j->mode == DUET_MODE_DUET && (j->shuffle_signals || j->mask_answer);
}

static void set_request(const duet_eval_job *j, size_t sample, duet_pair_request *r) {
    const duet_example *e = &j->examples[sample / (size_t)(j->k ? j->k : 1)];
    const char *text = e->prompt && !j->bare ? e->prompt : e->question;
    *r = (duet_pair_request){.question = text, .n_question = strlen(text), .mode = j->mode, .signal_budget = j->signal_budget,
                             .answer_budget = j->answer_budget, .M = j->M, .m = j->m, .key = sample};
}

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

/* Signals of M for all samples, for the controls: stage 2 gets no budget. */
static duet_status make_signals(const duet_eval_job *j, size_t n_samples, size_t batch, owned_ids *out, duet_err *err) {
    duet_status st = DUET_OK;
    duet_pair_request *r = dt_calloc(batch, sizeof *r);
    if (!r) return dt_fail(err, DUET_E_NOMEM, "evaluation: no memory");
    for (size_t at = 0; !st && at < n_samples; at += batch) {
        size_t n = n_samples - at < batch ? n_samples - at : batch;
        for (size_t i = 0; i < n; i++) {
            set_request(j, at + i, &r[i]);
            r[i].answer_budget = 0;
        }
        st = duet_pair_answer(j->pair, r, n, j->cancel, err);
        for (size_t i = 0; i < n; i++) {
            out[at + i] = (owned_ids){r[i].signal_ids, r[i].n_signal_ids, r[i].ledger.M.output_tokens, r[i].signal_status == DUET_SIGNAL_TRUNCATED};
            r[i].signal_ids = NULL; /* taken */
            r[i].n_signal_ids = 0;
            duet_pair_request_clear(&r[i]);
        }
    }
    free(r);
    return st;
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

static void count(const duet_eval_job *j, tally *t, size_t sample, const duet_pair_request *r, const duet_ids *truth) {
    size_t k = (size_t)(j->k ? j->k : 1);
    const duet_example *e = &j->examples[sample / k];
    int right = duet_grade(j->grader, r->answer_text ? r->answer_text : "", r->n_answer_text, e->answer);
    t->samples++;
    t->right += right;
    t->mean[sample / k] += (double)right / (double)k;
    t->M_tokens += (double)r->ledger.M.output_tokens;
    t->m_tokens += (double)r->ledger.m.output_tokens;
    t->m_prompt += (double)r->ledger.m.prompt_tokens;
    t->no_answer += !r->n_answer_text;
    t->truncated += r->answer_cut || r->signal_status == DUET_SIGNAL_TRUNCATED;
    if (j->mode == DUET_MODE_DUET) {
        bool leak = contains(r->signal_ids, r->n_signal_ids, truth);
        t->signals++;
        t->leaks += leak;
        if (!leak) t->right_no_leak += right;
    }
    if (j->on_sample) j->on_sample(j->user, e, r, right);
}

static void finish(const duet_eval_job *j, const tally *t, duet_eval_row *row) {
    double n = (double)t->samples, clean = (double)t->signals - t->leaks;
    *row = (duet_eval_row){.questions = j->n, .samples = t->samples, .accuracy = t->right / n, .M_tokens = t->M_tokens / n, .m_tokens = t->m_tokens / n,
                           .m_prompt_tokens = t->m_prompt / n, .saved = (double)NAN, .no_answer = t->no_answer / n, .truncated = t->truncated / n,
                           .leak = t->signals ? t->leaks / (double)t->signals : (double)NAN, .accuracy_no_leak = clean > 0 ? t->right_no_leak / clean : (double)NAN};
    snprintf(row->data, sizeof row->data, "%s", j->data ? j->data : "");
    snprintf(row->mode, sizeof row->mode, "%s", duet_mode_name(j->mode));
    snprintf(row->variant, sizeof row->variant, "%s", j->variant ? j->variant : "");
    if (j->k > 1)
        dt_clustered(t->mean, j->n, row->ci95);
    else
        dt_wilson(t->right, n, row->ci95);
}

duet_status duet_eval_run(const duet_eval_job *j, duet_eval_row *row, duet_err *err) {
    duet_status st = DUET_OK;
    size_t k = (size_t)(j->k ? j->k : 1), n_samples = j->n * k, batch = j->batch > 0 ? (size_t)j->batch : 64;
    bool control = duet_mode_with_control(j);
    const duet_tokenizer *tok = duet_pair_signal_tokenizer(j->pair);
    duet_ids truth = {0}, blank = {0};
    owned_ids *signal = NULL;
    tally t = {0};

    if (!j->n) return dt_fail(err, DUET_E_USAGE, "evaluation: there are no questions");
    if (j->k < 0) return dt_fail(err, DUET_E_USAGE, "evaluation: %d samples a question; give 1 or more", j->k);
    if (batch > n_samples) batch = n_samples;
    duet_pair_request *r = dt_calloc(batch, sizeof *r);
    t.mean = dt_calloc(j->n, sizeof *t.mean);
    if (!r || !t.mean || (control && !(signal = dt_calloc(n_samples, sizeof *signal)))) {
        st = dt_fail(err, DUET_E_NOMEM, "evaluation: no memory for %zu samples", n_samples);
        goto done;
    }
    if (control) {
        st = make_signals(j, n_samples, batch, signal, err);
        if (st) goto done;
        if (tok) spell(tok, "?", &blank);
        for (size_t i = 0; j->mask_answer && tok && i < n_samples; i++) {
            spell(tok, j->examples[i / k].answer, &truth);
            signal[i].n = mask(signal[i].v, signal[i].n, &truth, &blank);
        }
    }
    static const int32_t none[1] = {0}; /* an empty signal that is given still needs an address */
    for (size_t at = 0; at < n_samples; at += batch) {
        size_t n = n_samples - at < batch ? n_samples - at : batch;
        for (size_t i = 0; i < n; i++) {
            set_request(j, at + i, &r[i]);
            if (!control) continue;
            const owned_ids *s = &signal[j->shuffle_signals ? partner(j, at + i, k) : at + i];
            r[i].signal = s->v ? s->v : none;
            r[i].n_signal = s->n;
        }
        st = duet_pair_answer(j->pair, r, n, j->cancel, err);
        for (size_t i = 0; i < n; i++) {
            if (tok && j->mode == DUET_MODE_DUET) spell(tok, j->examples[(at + i) / k].answer, &truth);
            if (control) { /* what M spent on this question's own signal, whoever reads it */
                r[i].ledger.M.output_tokens += signal[at + i].M_tokens;
                if (signal[at + i].cut) r[i].signal_status = DUET_SIGNAL_TRUNCATED;
            }
            if (!st) count(j, &t, at + i, &r[i], &truth);
            duet_pair_request_clear(&r[i]);
        }
        if (st) goto done;
        if (j->on_progress) j->on_progress(j->user, at + n, n_samples, t.right / (double)t.samples);
    }
    finish(j, &t, row);
done:
    for (size_t i = 0; signal && i < n_samples; i++)
        free(signal[i].v);
    free(signal);
    free(t.mean);
    free(r);
    duet_ids_free(&truth);
    duet_ids_free(&blank);
    return st;
}

/* The budget curve: how right m is after a share of M's signal, from one pass of M.
 *
 * M writes each signal once. For every share m answers after the signal's beginning: all of its sentences that end within the share
 * of its tokens, or, where the signal has no sentence end inside, its first tokens. The longest beginning is asked first, so the
 * others find their prompt in the pages of m's engine. All shares of a sample use the same random numbers.
 *
 * A share is a row of mode duet with the variant "signal N %"; its M tokens are those that m was given. */
#include "eval/curve.h"

#include "eval/internal.h"
#include "eval/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char dt_curve_caveat[] = "A signal that was cut is not what M would write under that budget: M did not know that it would be cut. "
                               "The curve shows where in M's signal the answer becomes readable for m.";

/* ---- where a signal may be cut ---- */

static bool is_blank(unsigned char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* text[0..n) ends with . ! ? or their like, quotes and brackets behind it allowed. */
static bool ends_with_stop(const char *text, size_t n) {
    static const char *const stop[] = {".", "!", "?", "\xe2\x80\xa6", "\xe3\x80\x82", "\xef\xbc\x81", "\xef\xbc\x9f"}; /* ... and the wide ones */
    while (n && strchr("\"')]}*$_`", text[n - 1]))
        n--;
    for (size_t i = 0; i < DT_COUNT(stop); i++) {
        size_t k = strlen(stop[i]);
        if (n >= k && !memcmp(text + n - k, stop[i], k)) return true;
    }
    return false;
}

bool dt_curve_sentence_ends(const char *text, size_t n, size_t at) {
    size_t end = at;
    bool line = false;
    if (!at || at > n) return false;
    if (at == n) return true;
    while (end && is_blank((unsigned char)text[end - 1]))
        line = text[--end] == '\n' || line;
    if (!end) return false;
    if (line || text[at] == '\n') return true;
    bool wide = end >= 3 && (unsigned char)text[end - 3] >= 0xe3; /* those stand without a blank behind them */
    return ends_with_stop(text, end) && (end < at || is_blank((unsigned char)text[at]) || wide);
}

size_t dt_curve_cut(const char *text, const size_t *ends, size_t n, double share, bool *inside) {
    size_t want = (size_t)floor(share * (double)n + 1e-9), bytes = n ? ends[n - 1] : 0, last = 0;
    bool any = false;
    *inside = false;
    if (want >= n) return n;
    for (size_t i = 1; i < n; i++) {
        if (!dt_curve_sentence_ends(text, bytes, ends[i - 1])) continue;
        any = true;
        if (i <= want) last = i;
    }
    if (any || !want) return last;
    while (want < n && ((unsigned char)text[ends[want - 1]] & 0xC0) == 0x80) /* whole characters */
        want++;
    *inside = want < n;
    return want;
}

/* ---- one batch ---- */

typedef struct signal {
    int32_t *ids; /* owned */
    size_t n, M_tokens;
    size_t *ends; /* [n] bytes of text up to and with each token */
    char *text;
    bool cut;     /* by its budget */
} signal;

typedef struct sums {
    double right, M_tokens, m_tokens, m_prompt, no_answer, truncated;
    double *mean; /* [questions] */
} sums;

static void clear_signal(signal *s) {
    free(s->ids);
    free(s->ends);
    free(s->text);
    *s = (signal){0};
}

/* The text as m's tokens spell it, so that ends are places in it. */
static duet_status spell(const duet_tokenizer *tok, signal *s, duet_err *err) {
    dt_buf b = {0};
    s->ends = dt_calloc(s->n + 1, sizeof *s->ends);
    for (size_t i = 0; s->ends && i < s->n; i++) {
        size_t n = 0;
        const char *bytes = duet_tokenizer_bytes(tok, s->ids[i], &n);
        if (bytes) dt_buf_add(&b, bytes, n);
        s->ends[i] = b.len;
    }
    s->text = dt_buf_take(&b);
    return s->ends && s->text ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "budget curve: no memory for a signal of %zu tokens", s->n);
}

static const duet_example *example_of(const duet_eval_job *j, size_t sample) {
    return &j->examples[sample / (size_t)(j->k ? j->k : 1)];
}

/* In two stages, whatever the job's mode says. */
static duet_pair_request request_of(const duet_eval_job *j, size_t sample) {
    duet_pair_request r;
    dt_eval_ask(j, sample, &r);
    r.mode = DUET_MODE_DUET;
    return r;
}

static duet_status ask_M(const duet_eval_job *j, size_t at, size_t n, duet_pair_request *r, signal *s, size_t *found, duet_err *err) {
    for (size_t i = 0; i < n; i++) {
        r[i] = request_of(j, at + i);
        r[i].answer_budget = 0;
    }
    duet_status st = dt_eval_answer_all(j, r, n, found, err);
    for (size_t i = 0; i < n; i++) {
        s[i] = (signal){.ids = r[i].signal_ids, .n = r[i].n_signal_ids, .M_tokens = r[i].ledger.M.output_tokens, .cut = r[i].signal_status == DUET_SIGNAL_TRUNCATED};
        r[i].signal_ids = NULL; /* taken */
        r[i].n_signal_ids = 0;
        duet_pair_request_clear(&r[i]);
        if (!st) st = spell(duet_pair_signal_tokenizer(j->pair), &s[i], err);
    }
    return st;
}

static duet_status ask_m(const duet_eval_job *j, size_t at, size_t n, double share, duet_pair_request *r, const signal *s, duet_eval_curve *c, size_t *found, duet_err *err) {
    static const int32_t none[1] = {0}; /* an empty signal that is given still needs an address */
    size_t given = 0;
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        given = dt_curve_cut(s[i].text, s[i].ends, s[i].n, share, &inside);
        c->cuts += given && given < s[i].n;
        c->cuts_inside += inside;
        r[i] = request_of(j, at + i);
        r[i].signal = s[i].ids ? s[i].ids : none;
        r[i].n_signal = given;
    }
    duet_status st = dt_eval_answer_all(j, r, n, found, err);
    for (size_t i = 0; i < n; i++) { /* what m read is what M would have been asked for */
        bool whole = r[i].n_signal == s[i].n;
        r[i].ledger.M.output_tokens = whole ? s[i].M_tokens : r[i].n_signal;
        r[i].ledger.cost = (double)NAN; /* nobody paid for a part of a signal */
        if (whole && s[i].cut) r[i].signal_status = DUET_SIGNAL_TRUNCATED;
    }
    return st;
}

static void count(const duet_eval_job *of, const duet_eval_curve *c, size_t sample, const duet_pair_request *r, sums *t) {
    const duet_example *e = example_of(of, sample);
    size_t k = (size_t)(of->k ? of->k : 1);
    int right = duet_grade(of->grader, r->answer_text ? r->answer_text : "", r->n_answer_text, e->answer);
    t->right += right;
    t->mean[sample / k] += (double)right / (double)k;
    t->M_tokens += (double)r->ledger.M.output_tokens;
    t->m_tokens += (double)r->ledger.m.output_tokens;
    t->m_prompt += (double)r->ledger.m.prompt_tokens;
    t->no_answer += !r->n_answer_text;
    t->truncated += r->answer_cut || r->signal_status == DUET_SIGNAL_TRUNCATED;
    if (of->on_sample && c->on_share) c->on_share(of->user, of, sample);
    if (of->on_sample) of->on_sample(of->user, e, r, right);
}

static void finish(const duet_eval_job *of, const sums *t, duet_eval_row *row) {
    double n = (double)of->n * (double)(of->k ? of->k : 1);
    *row = (duet_eval_row){.questions = of->n, .samples = (size_t)n, .accuracy = t->right / n, .M_tokens = t->M_tokens / n, .m_tokens = t->m_tokens / n, .m_prompt_tokens = t->m_prompt / n,
                           .saved = (double)NAN, .no_answer = t->no_answer / n, .truncated = t->truncated / n, .leak = (double)NAN, .accuracy_no_leak = (double)NAN, .cost = (double)NAN,
                           .M_alone_cost = (double)NAN, .M_s = (double)NAN, .m_s = (double)NAN, .M_alone_s = (double)NAN};
    dt_eval_name_row(of, t->right, t->mean, row);
}

void dt_curve_variant(double share, char out[64]) {
    snprintf(out, 64, "signal %.6g %%", 100 * share);
}

bool dt_curve_share(const char *variant, double *share) {
    static const char head[] = "signal ";
    char *end = NULL;
    if (strncmp(variant, head, sizeof head - 1)) return false;
    *share = strtod(variant + sizeof head - 1, &end) / 100;
    return !strcmp(end, " %") && *share >= 0 && *share <= 1;
}

/* The job as each of its shares sees it. */
typedef struct shared_job {
    duet_eval_job job;
    char variant[64];
} shared_job;

static duet_status run_batch(const duet_eval_job *j, duet_eval_curve *c, size_t at, size_t n, const shared_job *of, duet_pair_request *r, signal *s, sums *t, size_t *found, duet_err *err) {
    duet_status st = ask_M(j, at, n, r, s, found, err);
    for (size_t p = c->n; !st && p-- > 0;)
        st = ask_m(j, at, n, c->share[p], r + p * n, s, c, found, err);
    for (size_t p = 0; p < c->n; p++)
        for (size_t i = 0; i < n; i++) {
            if (!st) count(&of[p].job, c, at + i, &r[p * n + i], &t[p]);
            duet_pair_request_clear(&r[p * n + i]);
        }
    for (size_t i = 0; i < n; i++)
        clear_signal(&s[i]);
    return st;
}

static duet_status check(const duet_eval_job *j, const duet_eval_curve *c, duet_err *err) {
    if (!j->n) return dt_fail(err, DUET_E_USAGE, "budget curve: there are no questions");
    if (!c->n) return dt_fail(err, DUET_E_USAGE, "budget curve: there are no shares");
    for (size_t i = 0; i < c->n; i++)
        if (!(c->share[i] >= 0 && c->share[i] <= 1) || (i && c->share[i] <= c->share[i - 1]))
            return dt_fail(err, DUET_E_USAGE, "budget curve: shares are from 0 to 100 %%, each above the one before");
    return j->k < 0 ? dt_fail(err, DUET_E_USAGE, "budget curve: %d samples a question; give 1 or more", j->k) : DUET_OK;
}

duet_status duet_eval_curve_run(const duet_eval_job *j, duet_eval_curve *c, duet_eval_row *rows, duet_err *err) {
    size_t n_samples = j->n * (size_t)(j->k ? j->k : 1), batch = j->batch > 0 ? (size_t)j->batch : 64, n_requests = 0, found = 0;
    duet_status st = check(j, c, err);
    if (st) return st;
    if (batch > n_samples) batch = n_samples;
    c->cuts = c->cuts_inside = 0;
    bool fits = dt_mul_size(batch, c->n, &n_requests);
    duet_pair_request *r = fits ? dt_calloc(n_requests, sizeof *r) : NULL;
    signal *s = dt_calloc(batch, sizeof *s);
    shared_job *of = dt_calloc(c->n, sizeof *of);
    sums *t = dt_calloc(c->n, sizeof *t);
    bool memory = r && s && of && t;
    for (size_t p = 0; memory && p < c->n; p++) {
        of[p].job = *j;
        dt_curve_variant(c->share[p], of[p].variant);
        of[p].job.variant = of[p].variant;
        of[p].job.mode = DUET_MODE_DUET;
        memory = (t[p].mean = dt_calloc(j->n, sizeof *t[p].mean)) != NULL;
    }
    if (!memory) st = dt_fail(err, DUET_E_NOMEM, "budget curve: no memory for %zu samples of %zu shares", n_samples, c->n);
    for (size_t at = 0; !st && at < n_samples; at += batch) {
        size_t n = n_samples - at < batch ? n_samples - at : batch;
        st = run_batch(j, c, at, n, of, r, s, t, &found, err);
        duet_eval_progress p = {.done = (at + n) * (c->n + 1), .total = n_samples * (c->n + 1), .found = found, .accuracy = t[c->n - 1].right / (double)(at + n)};
        if (!st && j->on_progress) j->on_progress(j->user, &p);
    }
    for (size_t p = 0; !st && p < c->n; p++)
        finish(&of[p].job, &t[p], &rows[p]);
    for (size_t p = 0; t && p < c->n; p++)
        free(t[p].mean);
    free(t);
    free(of);
    free(s);
    free(r);
    return st;
}

/* ---- in results.json ---- */

json_t *dt_curve_json(const json_t *rows) {
    json_t *points = json_array(), *row = NULL;
    double share = 0;
    size_t i = 0;
    json_array_foreach(rows, i, row) {
        const char *variant = json_string_value(json_object_get(row, "variant"));
        if (!variant || !dt_curve_share(variant, &share)) continue;
        json_array_append_new(points, json_pack("{s:O, s:f, s:O, s:O, s:O}", "data", json_object_get(row, "data"), "share", share, "signal_tokens", json_object_get(row, "M_tokens"), "accuracy",
                                                json_object_get(row, "avg@k"), "no_answer", json_object_get(row, "no_answer")));
    }
    if (json_array_size(points)) return json_pack("{s:s, s:o}", "caveat", dt_curve_caveat, "rows", points);
    json_decref(points);
    return NULL;
}

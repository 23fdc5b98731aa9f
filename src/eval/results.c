/* results.json out of samples.jsonl; grading again; two folders compared. */
#include "base/base.h"
#include "duet/grade.h"
#include "eval/curve.h"
#include "eval/internal.h"
#include "eval/measure.h"
#include "eval/problems.h"
#include "eval/samples.h"
#include "format/jsonl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_K = 256 }; /* maj@k counts with tables of k^2 */

static const char method[] = "questions are the unit (clusters). Means, rates, pass@k, maj@k: mean over questions +- Student's t (n-1) times its standard error; "
                             "accuracy with one sample a question, or no spread between questions: Wilson score interval over questions. Saved share: 1 minus a "
                             "ratio of means, delta method over questions. Differences: paired over questions, t test; p_sign: exact sign test. 95 %.";

/* ---- values of questions ---- */

typedef double (*value_fn)(const dt_eval_sample *s);
static double strict_of(const dt_eval_sample *s) { return s->strict; }
static double lenient_of(const dt_eval_sample *s) { return s->lenient; }
static double score_of(const dt_eval_sample *s) { return s->score; }
static double no_answer_of(const dt_eval_sample *s) { return s->no_answer; }
static double truncated_of(const dt_eval_sample *s) { return s->truncated; }
static double M_tokens_of(const dt_eval_sample *s) { return s->M_tokens; }
static double m_tokens_of(const dt_eval_sample *s) { return s->m_tokens; }
static double cost_of(const dt_eval_sample *s) { return s->cost; }
static double alone_tokens_of(const dt_eval_sample *s) { return s->alone_tokens; }
static double alone_cost_of(const dt_eval_sample *s) { return s->alone_cost; }

static double question_mean(const dt_eval_question *q, value_fn f) {
    double s = 0;
    for (size_t i = 0; i < q->n; i++)
        s += f(&q->v[i]);
    return s / (double)q->n;
}

static void means(const dt_eval_mode *m, value_fn f, double *out) {
    for (size_t i = 0; i < m->n; i++)
        out[i] = question_mean(&m->q[i], f);
}

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *estimate_json(dt_estimate e) {
    return json_pack("{s:o, s:[o, o]}", "value", number(e.value), "ci95", number(e.lo), number(e.hi));
}

/* A share of questions: the score interval where the spread between them says nothing. */
static dt_estimate share(const double *x, size_t n, bool one_sample) {
    dt_estimate e = dt_mean(x, n, 0, 1);
    bool spread = false;
    for (size_t i = 1; i < n; i++)
        spread = spread || x[i] != x[0];
    if (n && (one_sample || !spread)) {
        double ci[2];
        dt_wilson(e.value * (double)n, (double)n, ci);
        e.lo = ci[0];
        e.hi = ci[1];
    }
    return e;
}

static json_t *share_json(const dt_eval_mode *m, value_fn f, double *x) {
    means(m, f, x);
    return estimate_json(share(x, m->n, m->most == 1));
}

static json_t *mean_json(const dt_eval_mode *m, value_fn f, double *x) {
    means(m, f, x);
    return estimate_json(dt_mean(x, m->n, 0, INFINITY));
}

/* ---- votes ---- */

static bool same_answer(const char *a, const char *b) {
    duet_verdict v = {0};
    if (!strcmp(a, b)) return true;
    if (duet_verify(a, strlen(a), b, strlen(b), NULL, &v, NULL)) return false;
    bool equal = v.equal;
    duet_verdict_clear(&v);
    return equal;
}

/* The different answers of a question, equal ones together; a right and a wrong sample never are. */
static size_t count_votes(const dt_eval_question *q, dt_vote *v, size_t *first, size_t *silent) {
    size_t n = 0;
    *silent = 0;
    for (size_t i = 0; i < q->n; i++) {
        size_t k = 0;
        if (!q->v[i].said || !*q->v[i].said) {
            ++*silent;
            continue;
        }
        while (k < n && !(v[k].right == q->v[i].score && same_answer(q->v[first[k]].said, q->v[i].said)))
            k++;
        if (k == n) {
            first[n] = i;
            v[n++] = (dt_vote){0, q->v[i].score};
        }
        v[k].count++;
    }
    return n;
}

/* pass@k and maj@k for k = 1, 2, 4, ... and the number of samples that every question has. */
static duet_status put_at_k(json_t *o, const dt_eval_mode *m, double *x, duet_err *err) {
    json_t *pass = json_object(), *majority = json_object();
    dt_vote *v = dt_calloc(m->most, sizeof *v);
    size_t *first = dt_calloc(m->most, sizeof *first), n_ks = 0, ks[16], top = m->least < MAX_K ? m->least : MAX_K;
    double *y = NULL;
    char name[16];
    for (size_t k = 1; k < top; k *= 2)
        ks[n_ks++] = k;
    ks[n_ks++] = top;
    y = dt_calloc(m->n, n_ks * sizeof *y);
    bool ok = pass && majority && v && first && y;
    for (size_t i = 0; ok && i < m->n; i++) {
        size_t silent = 0, n = count_votes(&m->q[i], v, first, &silent);
        for (size_t j = 0; j < n_ks; j++)
            y[j * m->n + i] = dt_majority_at(v, n, silent, ks[j]);
    }
    for (size_t j = 0; ok && j < n_ks; j++) {
        snprintf(name, sizeof name, "%zu", ks[j]);
        for (size_t i = 0; i < m->n; i++)
            x[i] = dt_pass_at(m->q[i].n, (size_t)lround(question_mean(&m->q[i], score_of) * (double)m->q[i].n), ks[j]);
        json_object_set_new(pass, name, estimate_json(share(x, m->n, m->most == 1)));
        json_object_set_new(majority, name, estimate_json(share(y + j * m->n, m->n, m->most == 1)));
    }
    free(v);
    free(first);
    free(y);
    json_object_set_new(o, "pass@k", pass);
    json_object_set_new(o, "maj@k", majority);
    return ok ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "evaluation: no memory for the votes of %zu questions", m->n);
}

/* ---- two rows ---- */

static const char *truth_in(const dt_eval_mode *m, const char *id) {
    const dt_eval_question *q = dt_eval_find(m, id);
    return q ? q->truth : NULL;
}

/* f of the questions both have asked, in the order of a; their number. */
static size_t matched(const dt_eval_mode *a, const dt_eval_mode *b, value_fn f, double *x, double *y) {
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        const char *truth = truth_in(b, a->q[i].id);
        if (!truth || strcmp(truth, a->q[i].truth)) continue;
        x[n] = question_mean(&a->q[i], f);
        y[n++] = question_mean(dt_eval_find(b, a->q[i].id), f);
    }
    return n;
}

static json_t *difference_json(const dt_eval_mode *a, const dt_eval_mode *b, value_fn f, double *x, double *y) {
    size_t n = matched(a, b, f, x, y);
    dt_paired p = dt_compare(x, y, n);
    return json_pack("{s:o, s:[o, o], s:o, s:o, s:I, s:I}", "difference", number(p.difference.value), "ci95", number(p.difference.lo), number(p.difference.hi), "p", number(p.p),
                     "p_sign", number(p.p_sign), "up", (json_int_t)p.up, "down", (json_int_t)p.down);
}

/* 1 - M tokens of m / M tokens of `base`, over the questions of both. */
static json_t *saved_json(const dt_eval_mode *m, const dt_eval_mode *base, double *x, double *y) {
    size_t n = base ? matched(m, base, M_tokens_of, x, y) : 0;
    dt_estimate r = dt_ratio(x, y, n);
    return estimate_json((dt_estimate){1 - r.value, 1 - r.hi, 1 - r.lo});
}

/* 1 - what the samples cost / what M alone spent on the same samples. */
static json_t *cost_saved_json(const dt_eval_mode *m, double *x, double *y) {
    means(m, cost_of, x);
    means(m, alone_cost_of, y);
    dt_estimate r = dt_ratio(x, y, m->n);
    return estimate_json((dt_estimate){1 - r.value, 1 - r.hi, 1 - r.lo});
}

/* Measured on the same samples; null where mode M was not run. */
static json_t *alone_json(const dt_eval_mode *m, double *x) {
    means(m, alone_tokens_of, x);
    if (!isfinite(dt_mean(x, m->n, 0, INFINITY).value)) return json_null();
    json_t *tokens = mean_json(m, alone_tokens_of, x);
    return json_pack("{s:o, s:o, s:b}", "output_tokens", tokens, "cost", mean_json(m, alone_cost_of, x), "estimated", 0);
}

/* M's row of the same data: the one without a variant, else the first. */
static const dt_eval_mode *base_of(const dt_eval_samples *s, const char *data) {
    const dt_eval_mode *first = NULL;
    for (size_t i = 0; i < s->n; i++) {
        const dt_eval_mode *m = &s->v[i];
        if (strcmp(m->mode, "M") || strcmp(m->data, data)) continue;
        if (!*m->variant) return m;
        if (!first) first = m;
    }
    return first;
}

static json_t *name_json(const dt_eval_mode *m) {
    return json_pack("{s:s, s:s}", "mode", m->mode, "variant", m->variant);
}

/* ---- a folder ---- */

/* Samples that strict and lenient judge differently. */
static json_t *disputes_json(const dt_eval_mode *m) {
    json_t *list = json_array();
    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; k < m->q[i].n; k++)
            if (m->q[i].v[k].strict != m->q[i].v[k].lenient)
                json_array_append_new(list, json_pack("{s:s, s:I}", "id", m->q[i].id, "repeat", (json_int_t)m->q[i].v[k].repeat));
    return list;
}

static duet_status row_json(const dt_eval_samples *s, const dt_eval_mode *m, double *x, double *y, json_t **out, duet_err *err) {
    size_t samples = 0;
    for (size_t i = 0; i < m->n; i++)
        samples += m->q[i].n;
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "data", m->data, "mode", m->mode, "variant", m->variant, "questions", (json_int_t)m->n, "samples", (json_int_t)samples, "k",
                          (json_int_t)m->least);
    *out = o;
    if (!o) return dt_fail(err, DUET_E_NOMEM, "evaluation: no memory for the results");
    json_object_set_new(o, "avg@k", share_json(m, score_of, x));
    duet_status st = put_at_k(o, m, x, err);
    json_object_set_new(o, "strict", share_json(m, strict_of, x));
    json_object_set_new(o, "lenient", share_json(m, lenient_of, x));
    json_object_set_new(o, "no_answer", share_json(m, no_answer_of, x));
    json_object_set_new(o, "truncated", share_json(m, truncated_of, x));
    json_object_set_new(o, "M_tokens", mean_json(m, M_tokens_of, x));
    json_object_set_new(o, "m_tokens", mean_json(m, m_tokens_of, x));
    json_object_set_new(o, "saved", saved_json(m, base_of(s, m->data), x, y));
    json_object_set_new(o, "cost", mean_json(m, cost_of, x));
    json_object_set_new(o, "M_alone", alone_json(m, x));
    json_object_set_new(o, "cost_saved", cost_saved_json(m, x, y));
    json_object_set_new(o, "disputed", disputes_json(m));
    return st;
}

static size_t most_questions(const dt_eval_samples *s) {
    size_t n = 1;
    for (size_t i = 0; i < s->n; i++)
        n = s->v[i].n > n ? s->v[i].n : n;
    return n;
}

static duet_status add_results(const dt_eval_samples *s, json_t *root, duet_err *err) {
    duet_status st = DUET_OK;
    json_t *rows = json_array(), *pairs = json_array(), *o = NULL;
    double *x = dt_calloc(most_questions(s), sizeof *x), *y = dt_calloc(most_questions(s), sizeof *y);
    if (!rows || !pairs || !x || !y) st = dt_fail(err, DUET_E_NOMEM, "evaluation: no memory for the results");
    for (size_t i = 0; !st && i < s->n; i++) {
        st = row_json(s, &s->v[i], x, y, &o, err);
        json_array_append_new(rows, o);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(s->v[i].data, s->v[k].data)) continue;
            json_array_append_new(pairs, json_pack("{s:s, s:o, s:o, s:o, s:o}", "data", s->v[i].data, "a", name_json(&s->v[k]), "b", name_json(&s->v[i]), "accuracy",
                                                   difference_json(&s->v[k], &s->v[i], score_of, x, y), "M_tokens", difference_json(&s->v[k], &s->v[i], M_tokens_of, x, y)));
        }
    }
    free(x);
    free(y);
    json_object_set_new(root, "method", json_string(method));
    json_object_set_new(root, "rows", rows);
    json_t *curve = st ? NULL : dt_curve_json(rows);
    if (curve) json_object_set_new(root, "budget_curve", curve);
    json_object_set_new(root, "differences", pairs);
    return st;
}

duet_status duet_eval_results(const char *dir, const char *head_json, duet_err *err) {
    dt_eval_samples s = {0};
    json_t *root = NULL, *problems = NULL;
    char *path = dt_path_join(dir, "results.json"), *text = NULL;
    duet_status st = dt_eval_samples_read(dir, &s, err);
    if (!st && !path) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    if (!st) st = head_json ? dt_json_parse("head of the results", head_json, strlen(head_json), &root, err) : dt_json_read(path, (size_t)1 << 30, &root, err);
    if (!st && !json_is_object(root)) st = dt_fail(err, DUET_E_FORMAT, "%s: not a JSON object", path);
    if (!st) st = add_results(&s, root, err);
    if (!st) st = dt_problems_json(dir, &problems, err);
    if (!st) json_object_set_new(root, "problems", problems);
    if (!st && !(text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(12)))) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
    if (!st) st = dt_file_write_atomic(path, text, strlen(text), err);
    if (!st) st = duet_eval_html(dir, err);
    dt_eval_samples_clear(&s);
    json_decref(root);
    free(text);
    free(path);
    return st;
}

/* ---- again ---- */

static bool differs(const json_t *was, const json_t *now) {
    static const char *const who[] = {"strict", "lenient"};
    for (size_t i = 0; i < DT_COUNT(who); i++)
        if (!json_equal(json_object_get(json_object_get(was, who[i]), "right"), json_object_get(json_object_get(now, who[i]), "right"))) return true;
    return !json_equal(json_object_get(was, "score"), json_object_get(now, "score"));
}

static duet_status rescore_line(json_t *line, duet_grader g, dt_atomic *to, size_t *n_changed, duet_err *err) {
    json_t *was = json_deep_copy(line);
    char *text = NULL;
    duet_status st = was ? dt_eval_judge(line, &g, err) : dt_fail(err, DUET_E_NOMEM, "no memory");
    if (!st && differs(was, line)) ++*n_changed;
    if (!st && !(text = json_dumps(line, JSON_COMPACT))) st = dt_fail(err, DUET_E_NOMEM, "no memory");
    if (!st) st = dt_atomic_add(to, text, strlen(text), err);
    if (!st) st = dt_atomic_add(to, "\n", 1, err);
    free(text);
    json_decref(was);
    return st;
}

static duet_status grade_lines(const char *dir, duet_grader g, size_t *n_changed, duet_err *err) {
    dt_atomic to = {.fd = -1};
    dt_jsonl *r = NULL;
    json_t *line = NULL;
    size_t changed = 0;
    char *path = dt_path_join(dir, "samples.jsonl");
    duet_status st = path ? dt_jsonl_open(path, &r, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    if (!st) st = dt_atomic_open(&to, path, err);
    while (!st && !(st = dt_jsonl_next(r, &line, err))) {
        st = rescore_line(line, g, &to, &changed, err);
        if (st) dt_fail_in(err, st, "%s: line %zu", path, dt_jsonl_line(r));
        json_decref(line);
    }
    dt_jsonl_close(r);
    if (st == DUET_END) st = dt_atomic_commit(&to, err);
    dt_atomic_abandon(&to);
    free(path);
    if (n_changed) *n_changed = changed;
    return st;
}

/* An earlier results.json and its settings, which name the grader. *head is the caller's. */
static duet_status open_head(const char *dir, json_t **head, json_t **settings, duet_err *err) {
    char *path = dt_path_join(dir, "results.json");
    duet_status st = path ? dt_json_read(path, (size_t)1 << 30, head, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    *settings = st ? NULL : json_object_get(*head, "settings");
    if (!st && (!json_is_object(*settings) || !json_is_string(json_object_get(*settings, "grader"))))
        st = dt_fail(err, DUET_E_FORMAT, "%s: settings.grader is missing", path);
    free(path);
    return st;
}

duet_status duet_eval_rescore(const char *dir, const char *grader, size_t *n_changed, duet_err *err) {
    duet_grader g = DUET_GRADE_EXACT;
    json_t *head = NULL, *settings = NULL;
    char *text = NULL;
    duet_status st = open_head(dir, &head, &settings, err);
    if (!st && grader) json_object_set_new(settings, "grader", json_string(grader));
    if (!st && !duet_grader_parse(json_string_value(json_object_get(settings, "grader")), &g))
        st = dt_fail(err, DUET_E_USAGE, "grader %s is not known: exact, hendrycks, gpqa-first or plain", json_string_value(json_object_get(settings, "grader")));
    if (json_is_string(json_object_get(settings, "task"))) g = duet_grader_for_family(g);
    if (!st && !(text = json_dumps(head, JSON_COMPACT | JSON_REAL_PRECISION(12)))) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    if (!st) st = grade_lines(dir, g, n_changed, err);
    if (!st) st = duet_eval_results(dir, text, err);
    json_decref(head);
    free(text);
    return st;
}
/* ---- two folders ---- */

static const dt_eval_mode *like(const dt_eval_samples *s, const dt_eval_mode *m) {
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->v[i].data, m->data) && !strcmp(s->v[i].mode, m->mode) && !strcmp(s->v[i].variant, m->variant)) return &s->v[i];
    return NULL;
}

duet_status duet_eval_compare(const char *dir_a, const char *dir_b, char **json, duet_err *err) {
    dt_eval_samples a = {0}, b = {0};
    json_t *rows = json_array(), *root = NULL;
    double *x = NULL, *y = NULL;
    *json = NULL;
    duet_status st = dt_eval_samples_read(dir_a, &a, err);
    if (!st) st = dt_eval_samples_read(dir_b, &b, err);
    if (!st && (!(x = dt_calloc(most_questions(&a), sizeof *x)) || !(y = dt_calloc(most_questions(&a), sizeof *y)))) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir_a);
    for (size_t i = 0; !st && i < a.n; i++) {
        const dt_eval_mode *m = like(&b, &a.v[i]);
        size_t n = m ? matched(&a.v[i], m, score_of, x, y) : 0;
        if (!n) continue;
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "data", m->data, "mode", m->mode, "variant", m->variant, "questions", (json_int_t)n,
                                              "only_a", (json_int_t)(a.v[i].n - n), "only_b", (json_int_t)(m->n - n), "accuracy",
                                              difference_json(&a.v[i], m, score_of, x, y), "M_tokens", difference_json(&a.v[i], m, M_tokens_of, x, y), "m_tokens",
                                              difference_json(&a.v[i], m, m_tokens_of, x, y)));
    }
    if (!st && !json_array_size(rows)) st = dt_fail(err, DUET_E_FORMAT, "%s and %s have no question in common: same data, mode, variant, id and truth", dir_a, dir_b);
    if (!st) {
        root = json_pack("{s:s, s:O}", "method", method, "rows", rows);
        *json = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
        if (!*json) st = dt_fail(err, DUET_E_NOMEM, "comparison: no memory");
    }
    json_decref(root);
    json_decref(rows);
    free(x);
    free(y);
    dt_eval_samples_clear(&a);
    dt_eval_samples_clear(&b);
    return st;
}

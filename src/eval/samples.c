/* Lines of samples.jsonl: written, graded, read back. */
#include "eval/samples.h"

#include "base/base.h"
#include "duet/grade.h"
#include "eval/internal.h"
#include "format/jsonl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one line ---- */

static json_t *text_json(const char *s, size_t n) {
    return dt_json_text(s ? s : "", s ? n : 0);
}

static const char *style_of(const char *instruction) {
    if (instruction && strstr(instruction, "\\boxed")) return "boxed";
    return instruction && strstr(instruction, "Answer: ") ? "answer_letter" : "plain";
}

static bool same(const char *gold, size_t n_gold, const char *pred, size_t n_pred) {
    duet_verdict v = {0};
    if (duet_verify(gold, n_gold, pred, n_pred, NULL, &v, NULL)) return false;
    bool equal = v.equal;
    duet_verdict_clear(&v);
    return equal;
}

static duet_status put(json_t *to, const char *key, char *text, bool right, duet_err *err) {
    json_t *j = json_pack("{s:o, s:b}", "extraction", text ? text_json(text, strlen(text)) : json_null(), "right", right);
    free(text);
    return json_object_set_new(to, key, j) ? dt_fail(err, DUET_E_NOMEM, "no memory for a sample's verdict") : DUET_OK;
}

duet_status dt_eval_judge(json_t *line, const duet_grader *regrade, duet_err *err) {
    const json_t *jt = json_object_get(line, "truth"), *ja = json_object_get(line, "answer"), *js = json_object_get(line, "style");
    if (!json_is_string(jt) || !json_is_string(ja) || !json_is_string(js)) return dt_fail(err, DUET_E_FORMAT, "truth, answer or style is missing or not a string");
    const char *truth = json_string_value(jt), *answer = json_string_value(ja);
    size_t n = json_string_length(ja), n_truth = json_string_length(jt);
    bool plain = !strcmp(json_string_value(js), "plain"), letter = !strcmp(json_string_value(js), "answer_letter"), right = false;
    duet_style style = letter ? DUET_STYLE_ANSWER_LETTER : DUET_STYLE_BOXED;
    char *found = NULL;
    duet_status st = DUET_OK;
    if (plain) {
        const char *from = answer + strspn(answer, " \t\r\n");
        right = duet_grade(DUET_GRADE_PLAIN, answer, n, truth);
        if (*from && !strstr(answer, "\\boxed{") && !(found = dt_strdup(from))) st = DUET_E_NOMEM;
        if (!st && !found) st = duet_extract(DUET_STYLE_BOXED, false, answer, n, &found, err);
    } else {
        st = duet_extract(style, false, answer, n, &found, err);
        right = found && (letter ? !strcmp(found, truth) : same(truth, n_truth, found, strlen(found)));
    }
    if (st) return st == DUET_E_NOMEM ? dt_fail(err, st, "no memory for an answer of %zu bytes", n) : st;
    st = put(line, "strict", found, right, err);
    found = NULL;
    if (!st) st = duet_extract(letter ? DUET_STYLE_LETTER_ANY : style, true, answer, n, &found, err);
    if (st) return st;
    if (!found && plain && n) found = dt_strdup(answer);
    right = right || (letter ? found && !strcmp(found, truth) : duet_grade(DUET_GRADE_EXACT, answer, n, truth));
    st = put(line, "lenient", found, right, err);
    if (!st && regrade && json_object_set_new(line, "score", json_integer(duet_grade(*regrade, answer, n, truth))))
        st = dt_fail(err, DUET_E_NOMEM, "no memory for a sample's score");
    return st;
}

static json_t *money(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

/* What M alone spent on the same sample, measured in this run; null where its mode was not run. */
static json_t *alone_json(const duet_ledger *l) {
    if (l->M_alone_tokens == SIZE_MAX) return json_null();
    return json_pack("{s:I,s:o,s:b}", "output_tokens", (json_int_t)l->M_alone_tokens, "cost", money(l->M_alone_cost), "estimated", (int)l->M_alone_estimated);
}

void duet_eval_sample_name(const duet_eval_job *j, const duet_pair_request *r, char out[17]) {
    char key[65];
    dt_eval_key(j, r, key);
    snprintf(out, 17, "%.16s", key);
}

char *duet_eval_sample_line(const duet_eval_job *j, const char *instruction, const duet_example *e, const duet_pair_request *r, size_t sample, int score) {
    bool cut = r->answer_cut || r->signal_status == DUET_SIGNAL_TRUNCATED;
    const duet_ledger *l = &r->ledger;
    char name[17];
    duet_eval_sample_name(j, r, name);
    json_t *o = json_pack("{s:s,s:o,s:s,s:o,s:s,s:I,s:I,s:I,s:I,s:s?,s:s,s:s,s:o,s:o,s:i,s:s,s:s,s:b,s:I,s:I,s:I,s:I,s:o,s:o}", "sample", name, "data",
                          text_json(j->data, j->data ? strlen(j->data) : 0), "mode", duet_mode_name(j->mode), "variant", text_json(j->variant, j->variant ? strlen(j->variant) : 0),
                          "id", e->id ? e->id : "", "repeat", (json_int_t)(sample % (size_t)(j->k ? j->k : 1)), "key", (json_int_t)r->key, "seed_M", (json_int_t)j->M.seed, "seed_m",
                          (json_int_t)j->m.seed, "question", e->hidden ? NULL : e->question, "truth", e->answer, "style", style_of(instruction), "signal",
                          text_json(r->signal_text, r->n_signal_text), "answer", text_json(r->answer_text, r->n_answer_text), "score", score, "handoff",
                          duet_handoff_name(r->handoff), "signal_status", duet_signal_status_name(r->signal_status), "truncated", cut, "M_tokens",
                          (json_int_t)l->M.output_tokens, "m_tokens", (json_int_t)l->m.output_tokens, "M_prompt_tokens", (json_int_t)l->M.prompt_tokens, "m_prompt_tokens",
                          (json_int_t)l->m.prompt_tokens, "cost", money(l->cost), "M_alone", alone_json(l));
    if (o && (l->M.estimated || l->m.estimated)) json_object_set_new(o, "tokens_estimated", json_true()); /* by us, not by the server that wrote them */
    char *text = o && !dt_eval_judge(o, NULL, NULL) ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(o);
    return text;
}

/* ---- reading ---- */

static size_t *slot_of(const dt_eval_mode *m, const char *id) {
    for (size_t i = (size_t)dt_hash64(id, strlen(id), 0) & (m->n_slots - 1);; i = (i + 1) & (m->n_slots - 1))
        if (!m->slot[i] || !strcmp(m->q[m->slot[i] - 1].id, id)) return &m->slot[i];
}

const dt_eval_question *dt_eval_find(const dt_eval_mode *m, const char *id) {
    size_t *s = m->n_slots ? slot_of(m, id) : NULL;
    return s && *s ? &m->q[*s - 1] : NULL;
}

static bool grow(dt_eval_mode *m) {
    size_t cap = m->cap ? 2 * m->cap : 64;
    dt_eval_question *q = dt_realloc(m->q, cap, sizeof *q);
    size_t *slot = dt_calloc(4 * cap, sizeof *slot);
    if (q) m->q = q;
    if (!q || !slot) {
        free(slot);
        return false;
    }
    free(m->slot);
    m->slot = slot;
    m->n_slots = 4 * cap;
    m->cap = cap;
    for (size_t i = 0; i < m->n; i++)
        *slot_of(m, m->q[i].id) = i + 1;
    return true;
}

static dt_eval_question *question_in(dt_eval_mode *m, const char *id, const char *truth) {
    if (m->n == m->cap && !grow(m)) return NULL;
    size_t *s = slot_of(m, id);
    if (*s) return &m->q[*s - 1];
    dt_eval_question *q = &m->q[m->n];
    *q = (dt_eval_question){.id = dt_strdup(id), .truth = dt_strdup(truth)};
    if (!q->id || !q->truth) {
        free(q->id);
        free(q->truth);
        return NULL;
    }
    *s = ++m->n;
    return q;
}

static dt_eval_mode *mode_in(dt_eval_samples *s, const char *data, const char *mode, const char *variant) {
    for (size_t i = s->n; i-- > 0;)
        if (!strcmp(s->v[i].data, data) && !strcmp(s->v[i].mode, mode) && !strcmp(s->v[i].variant, variant)) return &s->v[i];
    dt_eval_mode *v = dt_realloc(s->v, s->n + 1, sizeof *v);
    if (!v) return NULL;
    s->v = v;
    v[s->n] = (dt_eval_mode){.data = dt_strdup(data), .mode = dt_strdup(mode), .variant = dt_strdup(variant)};
    s->n++; /* from here on clear frees it */
    return v[s->n - 1].data && v[s->n - 1].mode && v[s->n - 1].variant ? &v[s->n - 1] : NULL;
}

/* A number, NaN where there is none. */
static double number_at(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static duet_status add_line(dt_eval_samples *s, json_t *line, duet_err *err) {
    const char *data = NULL, *mode = NULL, *variant = NULL, *id = NULL, *truth = NULL, *answer = NULL, *said = NULL;
    int strict = 0, lenient = 0, score = 0, cut = 0;
    json_int_t repeat = 0, M = 0, m = 0;
    json_error_t why;
    if (json_unpack_ex(line, &why, 0, "{s:s,s:s,s:s,s:s,s:s,s:s,s:{s:b},s:{s:b},s:i,s:b,s:I,s:I,s:I}", "data", &data, "mode", &mode, "variant", &variant, "id", &id, "truth",
                       &truth, "answer", &answer, "strict", "right", &strict, "lenient", "right", &lenient, "score", &score, "truncated", &cut,
                       "repeat", &repeat, "M_tokens", &M, "m_tokens", &m))
        return dt_fail(err, DUET_E_FORMAT, "not a sample: %s", why.text);
    if (repeat < 0 || M < 0 || m < 0) return dt_fail(err, DUET_E_FORMAT, "not a sample: a negative count");
    said = json_string_value(json_object_get(json_object_get(line, "lenient"), "extraction"));
    dt_eval_mode *row = mode_in(s, data, mode, variant);
    dt_eval_question *q = row ? question_in(row, id, truth) : NULL;
    if (q && strcmp(q->truth, truth)) return dt_fail(err, DUET_E_FORMAT, "another truth than an earlier sample of this id has");
    for (size_t i = 0; q && i < q->n; i++)
        if (q->v[i].repeat == (size_t)repeat) return dt_fail(err, DUET_E_FORMAT, "repeat %lld of this question is there already", (long long)repeat);
    if (q && q->n == q->cap) {
        dt_eval_sample *v = dt_realloc(q->v, q->cap ? 2 * q->cap : 4, sizeof *v);
        if (!v) return dt_fail(err, DUET_E_NOMEM, "no memory");
        q->v = v;
        q->cap = q->cap ? 2 * q->cap : 4;
    }
    if (!q) return dt_fail(err, DUET_E_NOMEM, "no memory");
    q->v[q->n] = (dt_eval_sample){.strict = strict, .lenient = lenient, .score = score > 0, .no_answer = !*answer, .truncated = cut, .M_tokens = (double)M,
                                  .m_tokens = (double)m, .repeat = (size_t)repeat, .said = dt_strdup(said),
                                  .cost = number_at(line, "cost"), .alone_tokens = number_at(json_object_get(line, "M_alone"), "output_tokens"),
                                  .alone_cost = number_at(json_object_get(line, "M_alone"), "cost")};
    if (said && !q->v[q->n].said) return dt_fail(err, DUET_E_NOMEM, "no memory");
    q->n++;
    return DUET_OK;
}

duet_status dt_eval_samples_read(const char *dir, dt_eval_samples *out, duet_err *err) {
    dt_jsonl *r = NULL;
    json_t *line = NULL;
    char *path = dt_path_join(dir, "samples.jsonl");
    *out = (dt_eval_samples){0};
    duet_status st = path ? dt_jsonl_open(path, &r, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    while (!st && !(st = dt_jsonl_next(r, &line, err))) {
        st = add_line(out, line, err);
        if (st) dt_fail_in(err, st, "%s: line %zu", path, dt_jsonl_line(r));
        json_decref(line);
    }
    dt_jsonl_close(r);
    if (st == DUET_END) st = out->n ? DUET_OK : dt_fail(err, DUET_E_FORMAT, "%s: there is no sample in it", path);
    free(path);
    for (size_t i = 0; i < out->n; i++) {
        dt_eval_mode *m = &out->v[i];
        m->least = SIZE_MAX;
        for (size_t k = 0; k < m->n; k++) {
            m->least = m->q[k].n < m->least ? m->q[k].n : m->least;
            m->most = m->q[k].n > m->most ? m->q[k].n : m->most;
        }
    }
    return st;
}

void dt_eval_samples_clear(dt_eval_samples *s) {
    for (size_t i = 0; i < s->n; i++) {
        dt_eval_mode *m = &s->v[i];
        for (size_t k = 0; k < m->n; k++) {
            for (size_t j = 0; j < m->q[k].n; j++)
                free(m->q[k].v[j].said);
            free(m->q[k].v);
            free(m->q[k].id);
            free(m->q[k].truth);
        }
        free(m->q);
        free(m->slot);
        free(m->data);
        free(m->mode);
        free(m->variant);
    }
    free(s->v);
    *s = (dt_eval_samples){0};
}

/* The two stages, many at a time: M's samples are read into signals, m answers them, everything is graded. */
#include "train/rollout.h"

#include "pair/frame.h"

#include <stdlib.h>
#include <string.h>

enum { SEED_M = 1, SEED_m = 2, SEED_BASE = 3 };

static uint64_t seed_for(uint64_t seed, uint64_t who) {
    uint64_t v[2] = {seed, who};
    return dt_hash64(v, sizeof v, 0);
}

int dt_sample_len(const dt_sample *s) {
    return s->n - s->first;
}

size_t dt_rollout_n_signals(const dt_rollout *o) {
    return o->n_questions * (size_t)o->n;
}

static size_t n_base(const dt_rollout *o) { /* prompts of m alone */
    return o->base_shared ? o->n_questions : dt_rollout_n_signals(o);
}

static double mean_grade(const dt_sample *s, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += s[i].grade;
    return sum / n;
}

double dt_rollout_r_Mm(const dt_rollout *o, size_t signal) {
    return o->m ? mean_grade(o->m + signal * (size_t)o->k, o->k) : o->M[signal].grade;
}

double dt_rollout_r_m(const dt_rollout *o, size_t signal) {
    size_t at = o->base_shared ? signal / (size_t)o->n : signal;
    return o->base ? mean_grade(o->base + at * (size_t)o->k0, o->k0) : 0;
}

static void clear_samples(dt_sample *s, size_t n) {
    for (size_t i = 0; s && i < n; i++) {
        free(s[i].ids);
        free(s[i].logp);
        free(s[i].text);
        free(s[i].signal);
        free(s[i].signal_text);
    }
    free(s);
}

void dt_rollout_clear(dt_rollout *o) {
    clear_samples(o->M, dt_rollout_n_signals(o));
    clear_samples(o->m, dt_rollout_n_signals(o) * (size_t)o->k);
    clear_samples(o->base, n_base(o) * (size_t)o->k0);
    for (size_t i = 0; o->example && i < o->n_questions; i++)
        duet_example_clear(&o->example[i]);
    free(o->example);
    *o = (dt_rollout){0};
}

/* ---- asking one model ---- */

/* Prompt and response of a generation as one sequence. */
static duet_status take_sample(dt_sample *s, const duet_ids *prompt, const duet_generation *g, duet_err *err) {
    size_t n = prompt->n + g->n;
    s->ids = dt_calloc(n ? n : 1, sizeof *s->ids);
    s->logp = dt_calloc(g->n ? g->n : 1, sizeof *s->logp);
    if (!s->ids || !s->logp) return dt_fail(err, DUET_E_NOMEM, "rollout: no memory for a sample of %zu tokens", n);
    if (prompt->n) memcpy(s->ids, prompt->v, prompt->n * sizeof *s->ids);
    if (g->n) {
        memcpy(s->ids + prompt->n, g->ids, g->n * sizeof *s->ids);
        memcpy(s->logp, g->logprobs, g->n * sizeof *s->logp);
    }
    s->n = (int)n;
    s->first = (int)prompt->n;
    s->stop = g->stop;
    return DUET_OK;
}

/* Samples p->samples responses to each prompt into out[n_prompts * samples]. */
static duet_status ask(const dt_rollout_spec *s, const dt_player *p, uint64_t who, uint64_t key, const duet_ids *prompt, size_t n_prompts,
                       const int32_t *stop, size_t n_stop, dt_sample *out, duet_err *err) {
    duet_gen_request *req = dt_calloc(n_prompts, sizeof *req);
    duet_generation *gen = dt_calloc(n_prompts, (size_t)p->samples * sizeof *gen);
    duet_status st = DUET_OK;

    if (!req || !gen) {
        st = dt_fail(err, DUET_E_NOMEM, "rollout: no memory for %zu prompts", n_prompts);
        goto done;
    }
    for (size_t i = 0; i < n_prompts; i++) {
        req[i] = (duet_gen_request){.prompt = prompt[i].v, .n_prompt = prompt[i].n, .n = p->samples, .max_tokens = p->response_max,
                                    .sampling = p->sampling, .key = (key + i) * (uint64_t)p->samples, .stop_ids = stop,
                                    .n_stop = n_stop, .eos_ids = p->eos, .n_eos = p->n_eos, .out = gen + i * (size_t)p->samples};
        req[i].sampling.seed = seed_for(s->seed, who);
    }
    st = duet_engine_generate(p->engine, req, n_prompts, s->cancel, err);
    for (size_t i = 0; i < n_prompts * (size_t)p->samples && !st; i++)
        st = take_sample(&out[i], &prompt[i / (size_t)p->samples], &gen[i], err);
done:
    for (size_t i = 0; gen && i < n_prompts * (size_t)p->samples; i++)
        duet_generation_clear(&gen[i]);
    free(gen);
    free(req);
    return st;
}

static duet_ids *new_prompts(size_t n, duet_err *err, duet_status *st) {
    duet_ids *p = dt_calloc(n, sizeof *p);
    *st = p ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "rollout: no memory for %zu prompts", n);
    return p;
}

static void free_prompts(duet_ids *p, size_t n) {
    for (size_t i = 0; p && i < n; i++)
        duet_ids_free(&p[i]);
    free(p);
}

/* ---- stage 1 ---- */

/* Response tokens without the end token that closed the turn. */
static size_t spoken(const dt_sample *s) {
    size_t n = (size_t)dt_sample_len(s);
    return s->stop == DUET_STOP_EOS && n ? n - 1 : n;
}

static duet_status copy_ids(const int32_t *v, size_t n, dt_sample *to, duet_err *err) {
    to->signal = dt_calloc(n ? n : 1, sizeof *to->signal);
    if (!to->signal) return dt_fail(err, DUET_E_NOMEM, "rollout: no memory for a signal");
    if (n) memcpy(to->signal, v, n * sizeof *v);
    to->n_signal = n;
    return DUET_OK;
}

/* Text in m's tokens. flags: DUET_ENC_PLAIN, or 0 where tags in it are tags (as the reference reads them). */
static duet_status signal_from_text(const dt_rollout_spec *s, dt_sample *to, const char *text, size_t n, unsigned flags, duet_err *err) {
    duet_ids ids = {0};
    duet_status st = duet_tokenizer_encode(s->m.words->tok, text, n, flags, &ids, err);
    if (!st) st = copy_ids(ids.v, ids.n, to, err);
    duet_ids_free(&ids);
    return st;
}

/* Finds the signal in what M sampled. */
static duet_status read_signal(const dt_rollout_spec *s, dt_sample *M, duet_err *err) {
    const int32_t *said = M->ids + M->first;
    dt_signal_span span = dt_tmpl_signal(&s->M.words->tmpl, s->M.words->tok, said, spoken(M));
    duet_text t = {0};
    duet_status st = DUET_OK;

    M->status = span.status;
    if (!s->use_m) return DUET_OK;
    if (s->r->signal.extract == DT_EXTRACT_TEXT) {
        const char *text = NULL;
        size_t n = 0;
        st = duet_tokenizer_decode(s->M.words->tok, said, (size_t)dt_sample_len(M), true, &t, err);
        if (st) return st;
        dt_signal_extract_text(t.data, t.n, &text, &n);
        M->signal_text = dt_calloc(n + 1, 1);
        if (M->signal_text) memcpy(M->signal_text, text, n);
        st = M->signal_text ? signal_from_text(s, M, text, n, 0, err) : dt_fail(err, DUET_E_NOMEM, "rollout: no memory for a signal");
    } else if (s->same_tokens) {
        st = copy_ids(said + span.begin, span.end - span.begin, M, err);
    } else {
        char *text = NULL;
        size_t n = 0;
        st = dt_pair_text(s->M.words->tok, said + span.begin, span.end - span.begin, false, &text, &n, err);
        if (!st) st = signal_from_text(s, M, text, n, DUET_ENC_PLAIN, err);
        free(text);
    }
    duet_text_free(&t);
    return st;
}

/* What stands behind the end of thinking, as far as M answered itself; compat: all that it said. */
static duet_status read_own_answer(const dt_rollout_spec *s, dt_sample *M, duet_err *err) {
    const dt_words *w = s->M.words;
    const int32_t *said = M->ids + M->first;
    size_t n = spoken(M), from = 0;
    if (s->r->signal.extract == DT_EXTRACT_IDS) from = dt_frame_answer(&w->tmpl, said, n, dt_tmpl_signal(&w->tmpl, w->tok, said, n));
    return dt_words_text(w, said + from, n - from, &M->text, err);
}

static duet_status stage1(const dt_rollout_spec *s, dt_rollout *o, duet_err *err) {
    const dt_tmpl *tmpl = &s->M.words->tmpl;
    duet_status st = DUET_OK;
    duet_ids *prompt = new_prompts(o->n_questions, err, &st);
    bool stop = s->use_m && !s->to_eos;

    for (size_t q = 0; q < o->n_questions && !st; q++)
        st = dt_words_prompt(s->M.words, o->example[q].question, s->r->data.instruction, &prompt[q], err);
    if (!st) st = ask(s, &s->M, SEED_M, s->key, prompt, o->n_questions, &tmpl->think_close, stop && dt_tmpl_thinks(tmpl) ? 1 : 0, o->M, err);
    for (size_t i = 0; i < dt_rollout_n_signals(o) && !st; i++) {
        st = read_signal(s, &o->M[i], err);
        if (!st && !s->use_m) st = read_own_answer(s, &o->M[i], err);
        o->M_tokens += (size_t)dt_sample_len(&o->M[i]);
        o->prompt_tokens += i % (size_t)o->n ? 0 : (size_t)o->M[i].first;
    }
    free_prompts(prompt, o->n_questions);
    return st;
}

/* The examples' own chains as signals. */
static duet_status take_given(const dt_rollout_spec *s, dt_rollout *o, duet_err *err) {
    duet_status st = DUET_OK;
    for (size_t q = 0; q < o->n_questions && !st; q++) {
        const char *chain = o->example[q].chain ? o->example[q].chain : "";
        o->M[q].signal_text = dt_strdup(chain);
        o->M[q].status = *chain ? DT_SIGNAL_CLOSED : DT_SIGNAL_EMPTY;
        st = o->M[q].signal_text ? signal_from_text(s, &o->M[q], chain, strlen(chain), DUET_ENC_PLAIN, err) : dt_fail(err, DUET_E_NOMEM, "rollout: no memory");
    }
    return st;
}

/* ---- stage 2 ---- */

/* The reference's raw text, its beginning cut where it is too long. */
static duet_status raw_prompt(const dt_rollout_spec *s, const dt_player *m, const char *question, const dt_sample *sig, const dt_frame_limit *limit,
                              duet_ids *out, bool *cut, duet_err *err) {
    duet_text t = {0};
    const char *text = sig->signal_text;
    duet_status st = text ? DUET_OK : duet_tokenizer_decode(m->words->tok, sig->signal, sig->n_signal, true, &t, err);
    if (!text) text = t.data;
    if (!st) st = dt_frame_raw(m->words->tok, question, strlen(question), s->r->data.instruction, text, strlen(text), limit, out, cut, err);
    duet_text_free(&t);
    return st;
}

/* m's prompt around a signal (NULL: none). A signal too long for m is shortened here to what m reads. */
static duet_status guided_prompt(const dt_rollout_spec *s, const dt_player *m, const char *question, dt_sample *sig, duet_ids *out, bool *cut,
                                 duet_err *err) {
    dt_frame_limit limit = {.ctx = duet_engine_ctx(m->engine), .answer = m->response_max, .prompt_max = (size_t)m->prompt_max};
    size_t n = sig ? sig->n_signal : 0, from = 0, kept = 0;
    *cut = false;
    if (sig && s->r->handoff == DT_LAYOUT_RAW) return raw_prompt(s, m, question, sig, &limit, out, cut, err);
    dt_buf q = {0};
    duet_status st = dt_words_question(question, s->r->data.instruction, &q, err);
    const duet_message turn = {"user", q.data ? q.data : "", q.len};
    if (!st)
        st = dt_frame_prompt(&m->words->tmpl, m->words->tok, &turn, 1, sig ? sig->signal : NULL, n, (duet_keep)s->r->signal.keep, &limit, out, &from,
                             &kept, err);
    dt_buf_clear(&q);
    if (st || !sig || kept == n) return st;
    memmove(sig->signal, sig->signal + from, kept * sizeof *sig->signal);
    sig->n_signal = kept;
    *cut = true;
    return DUET_OK;
}

static duet_status read_answers(const dt_player *p, dt_sample *s, size_t n, dt_rollout *o, duet_err *err) {
    duet_status st = DUET_OK;
    for (size_t i = 0; i < n && !st; i++) {
        st = dt_words_text(p->words, s[i].ids + s[i].first, spoken(&s[i]), &s[i].text, err);
        o->m_tokens += (size_t)dt_sample_len(&s[i]);
        o->prompt_tokens += i % (size_t)p->samples ? 0 : (size_t)s[i].first;
    }
    return st;
}

static duet_status stage2(const dt_rollout_spec *s, dt_rollout *o, duet_err *err) {
    size_t n = dt_rollout_n_signals(o);
    duet_status st = DUET_OK;
    duet_ids *prompt = new_prompts(n, err, &st);

    for (size_t i = 0; i < n && !st; i++) {
        bool cut = false;
        st = guided_prompt(s, &s->m, o->example[i / (size_t)o->n].question, &o->M[i], &prompt[i], &cut, err);
        o->n_signal_cut += cut;
    }
    if (!st) st = ask(s, &s->m, SEED_m, s->key * (uint64_t)o->n, prompt, n, NULL, 0, o->m, err);
    if (!st) st = read_answers(&s->m, o->m, n * (size_t)o->k, o, err);
    free_prompts(prompt, n);
    return st;
}

/* m alone: the guided prompt with the empty signal, so that the two rewards differ by the signal and nothing else. */
static duet_status baseline(const dt_rollout_spec *s, dt_rollout *o, duet_err *err) {
    size_t n = n_base(o);
    duet_status st = DUET_OK;
    duet_ids *prompt = new_prompts(n, err, &st);

    for (size_t i = 0; i < n && !st; i++) {
        bool cut = false;
        size_t q = o->base_shared ? i : i / (size_t)o->n;
        st = guided_prompt(s, &s->base, o->example[q].question, NULL, &prompt[i], &cut, err);
    }
    if (!st) st = ask(s, &s->base, SEED_BASE, s->key * (uint64_t)(o->base_shared ? 1 : o->n), prompt, n, NULL, 0, o->base, err);
    if (!st) st = read_answers(&s->base, o->base, n * (size_t)o->k0, o, err);
    free_prompts(prompt, n);
    return st;
}

/* ---- all of it ---- */

static void grade(const dt_rollout_spec *s, dt_rollout *o, dt_sample *samples, size_t n, size_t per_question) {
    duet_grader g = (duet_grader)s->r->grader;
    if (s->r->data.task && *s->r->data.task) g = duet_grader_for_family(g);
    for (size_t i = 0; samples && i < n; i++) {
        const char *text = samples[i].text ? samples[i].text : "";
        samples[i].grade = duet_grade(g, text, strlen(text), o->example[i / per_question].answer);
    }
}

static duet_status begin(const dt_rollout_spec *s, duet_example *examples, size_t n, bool answers, dt_rollout *o, duet_err *err) {
    *o = (dt_rollout){.n_questions = n, .n = s->given_signals ? 1 : s->M.samples, .k = 1, .base_shared = s->r->baseline.shared};
    o->example = dt_calloc(n, sizeof *o->example);
    if (!o->example) {
        for (size_t i = 0; i < n; i++)
            duet_example_clear(&examples[i]);
        o->n_questions = 0;
        return dt_fail(err, DUET_E_NOMEM, "rollout: no memory for %zu questions", n);
    }
    memcpy(o->example, examples, n * sizeof *examples);
    memset(examples, 0, n * sizeof *examples);
    o->M = dt_calloc(dt_rollout_n_signals(o), sizeof *o->M);
    bool ok = o->M != NULL;
    if (answers && s->use_m) {
        o->k = s->m.samples;
        o->m = dt_calloc(dt_rollout_n_signals(o), (size_t)o->k * sizeof *o->m);
        ok = ok && o->m;
    }
    if (answers && s->use_m && s->base.engine) {
        o->k0 = s->base.samples;
        o->base = dt_calloc(n_base(o), (size_t)o->k0 * sizeof *o->base);
        ok = ok && o->base;
    }
    return ok ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "rollout: no memory for %zu questions", n);
}

duet_status dt_rollout_signals(const dt_rollout_spec *s, duet_example *examples, size_t n, dt_rollout *o, duet_err *err) {
    duet_status st = begin(s, examples, n, false, o, err);
    return st ? st : stage1(s, o, err);
}

duet_status dt_rollout_run(const dt_rollout_spec *s, duet_example *examples, size_t n, dt_rollout *o, duet_err *err) {
    double t0 = dt_now();
    duet_status st = begin(s, examples, n, true, o, err);
    if (!st) st = s->given_signals ? take_given(s, o, err) : stage1(s, o, err);
    if (!st && o->base) st = baseline(s, o, err);
    if (!st && o->m) st = stage2(s, o, err);
    if (st) return st;
    if (!s->use_m) grade(s, o, o->M, dt_rollout_n_signals(o), (size_t)o->n);
    grade(s, o, o->m, dt_rollout_n_signals(o) * (size_t)o->k, (size_t)(o->n * o->k));
    grade(s, o, o->base, n_base(o) * (size_t)o->k0, (size_t)(o->base_shared ? o->k0 : o->n * o->k0));
    o->seconds = dt_now() - t0;
    return DUET_OK;
}

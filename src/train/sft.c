/* Supervised training of one model: M learns to think and answer, or m to answer after somebody's thoughts.
 *
 * Sequences are laid end to end (no padding). Step s of a run uses the examples cursor .. of its stage's source, where
 * cursor counts the examples of all steps before: the checkpoint needs the counter and nothing else of the data. */
#include "duet/train.h"
#include "pair/frame.h"

#include "train/rollout.h"
#include "train/run.h"
#include "train/setup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOSS_DECAY 0.95 /* of the loss shown in the live line */
#define EVAL_TOKENS 512 /* sampled at most, unless eval.max_tokens says otherwise */

typedef struct sft {
    dt_recipe *r;
    dt_run run;
    dt_pool *pool;
    dt_side side;      /* the model that learns */
    dt_side writer;    /* data.signals_from: the M that writes signals; closed otherwise */
    dt_source *source; /* [n_stages or 1] */
    size_t n_sources;
    dt_source held_out;
    int64_t step;
    uint64_t cursor;   /* examples used so far */
    double shown_loss, tokens_per_s;
    /* the mini-batch */
    duet_ids ids;
    dt_seq *seq;
    size_t *at;        /* where each begins in ids */
    size_t n_seqs, cap_seqs;
    double n_targets;
} sft;

/* ---- the mini-batch ---- */

static size_t stage_at(const dt_recipe *r, int64_t step) {
    size_t i = 0;
    for (int64_t left = step; i + 1 < r->n_stages && left >= r->stages[i].steps; i++)
        left -= r->stages[i].steps;
    return i;
}

static const char *chain_of(const dt_recipe *r, const duet_example *e) {
    const char *c = r->data.form == DT_FORM_VERBOSE ? e->verbose : r->data.form == DT_FORM_COMPACT ? e->compact : e->chain;
    return c ? c : "";
}

/* The prompt and what stands before the answer: the thought, whose opening tag the prompt may have written. A family
 * without think tags: m's prompt holds the thoughts; M is asked and says them. */
static duet_status add_thoughts(const dt_words *w, bool reads, const duet_message *turn, const duet_ids *chain, duet_ids *out, size_t *first,
                                duet_err *err) {
    dt_frame_limit limit = {.ctx = INT32_MAX};
    duet_ids m = {0};
    size_t begin = out->n, from = 0, kept = 0;
    duet_status st = DUET_OK;
    if (reads) {
        st = dt_frame_prompt(&w->tmpl, w->tok, turn, 1, chain->v, chain->n, DUET_KEEP_TAIL, &limit, &m, &from, &kept, err);
        if (!st && !dt_ids_append(out, m.v, m.n)) st = dt_fail(err, DUET_E_NOMEM, "no memory for an example");
        *first = out->n - begin;
        duet_ids_free(&m);
        return st;
    }
    st = dt_tmpl_prompt(&w->tmpl, w->tok, turn, 1, false, out, err);
    *first = out->n - begin;
    if (st) return st;
    if (!dt_tmpl_thinks(&w->tmpl)) {
        if (!dt_ids_append(out, chain->v, chain->n)) return dt_fail(err, DUET_E_NOMEM, "no memory for an example");
        return chain->n ? dt_words_add(w, "\n\n", out, err) : DUET_OK;
    }
    out->n = begin;
    st = dt_tmpl_prompt(&w->tmpl, w->tok, turn, 1, true, out, err);
    return st ? st : dt_tmpl_think(&w->tmpl, w->tok, chain->v, chain->n, out, err);
}

/* Appends prompt, thoughts, answer and end token of one example; *first: where learning begins. */
static duet_status add_tokens(sft *t, const duet_example *e, const dt_sample *written, bool empty, size_t *first, duet_err *err) {
    const dt_words *w = &t->side.words;
    duet_ids chain = {0};
    dt_buf q = {0};
    int32_t end = dt_tmpl_end(&w->tmpl);

    duet_status st = dt_words_question(e->question, t->r->data.instruction, &q, err);
    if (st) goto done;
    if (written && !empty)
        st = dt_ids_append(&chain, written->signal, written->n_signal) ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a signal");
    else if (!empty)
        st = dt_words_add(w, chain_of(t->r, e), &chain, err);
    if (st) goto done;
    const duet_message turn = {"user", q.data ? q.data : "", q.len};
    st = add_thoughts(w, t->r->data.role == DT_ROLE_m, &turn, &chain, &t->ids, first, err);
    if (st) goto done;
    st = dt_words_add(w, e->answer, &t->ids, err);
    if (!st && !dt_ids_append(&t->ids, &end, 1)) st = dt_fail(err, DUET_E_NOMEM, "no memory for an example");
done:
    duet_ids_free(&chain);
    dt_buf_clear(&q);
    return st;
}

static duet_status reserve_seqs(sft *t, duet_err *err) {
    if (t->n_seqs < t->cap_seqs) return DUET_OK;
    size_t cap = t->cap_seqs ? 2 * t->cap_seqs : 256;
    dt_seq *seq = dt_realloc(t->seq, cap, sizeof *seq);
    if (seq) t->seq = seq;
    size_t *at = dt_realloc(t->at, cap, sizeof *at);
    if (at) t->at = at;
    if (!seq || !at) return dt_fail(err, DUET_E_NOMEM, "no memory for %zu sequences", cap);
    t->cap_seqs = cap;
    return DUET_OK;
}

/* Adds one example; false in *fits (and nothing added) where it would pass `max_tokens` (0 = no limit). */
static duet_status add_example(sft *t, const duet_example *e, const dt_sample *written, uint64_t number, size_t max_tokens, bool *fits,
                               duet_err *err) {
    size_t begin = t->ids.n, first = 0;
    bool empty = dt_rng_at((uint64_t)t->r->seed, 0x656d707479, number) < t->r->data.empty;
    duet_status st = reserve_seqs(t, err);
    if (!st) st = add_tokens(t, e, written, empty, &first, err);
    if (st) return st;
    *fits = !max_tokens || !t->n_seqs || t->ids.n <= max_tokens;
    if (!*fits) {
        t->ids.n = begin;
        return DUET_OK;
    }
    t->at[t->n_seqs] = begin;
    t->seq[t->n_seqs++] = (dt_seq){.n = (int)(t->ids.n - begin), .first = (int)first};
    t->n_targets += (double)(t->ids.n - begin - first);
    return DUET_OK;
}

static dt_rollout_spec spec_of(const sft *t, bool greedy, uint64_t seed) {
    const dt_recipe *r = t->r;
    bool is_M = r->data.role == DT_ROLE_M;
    dt_player self = dt_side_player(&t->side, 1, r->eval.max_tokens ? (int)r->eval.max_tokens : EVAL_TOKENS, 0);
    dt_rollout_spec s = {.r = r, .M = self, .m = self, .base = self, .use_m = !is_M, .same_tokens = true, .given_signals = !is_M, .seed = seed,
                         .cancel = t->run.opt->cancel};
    if (t->writer.model) {
        s.M = dt_side_player(&t->writer, 1, (int)r->data.signals_max, greedy ? 0 : r->data.signals_temperature);
        s.given_signals = false;
        s.same_tokens = duet_tokenizer_same(t->writer.words.tok, t->side.words.tok);
    }
    return s;
}

/* Examples whose signals M writes now, as many as the step wants. */
static duet_status draw_written(sft *t, dt_source *src, duet_err *err) {
    size_t n = (size_t)t->r->train.batch;
    duet_example *ex = dt_calloc(n, sizeof *ex);
    dt_rollout o = {0};
    dt_rollout_spec s = spec_of(t, false, (uint64_t)t->r->seed);
    bool fits = false;
    duet_status st = ex ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for %zu examples", n);

    s.key = t->cursor;
    for (size_t i = 0; i < n && !st; i++)
        st = dt_source_example(src, t->cursor + i, &ex[i], err);
    if (!st) st = dt_rollout_signals(&s, ex, n, &o, err);
    for (size_t i = 0; i < n && !st; i++)
        st = add_example(t, &o.example[i], &o.M[i], t->cursor + i, 0, &fits, err);
    if (!st) t->cursor += n;
    for (size_t i = 0; ex && i < n; i++)
        duet_example_clear(&ex[i]);
    dt_rollout_clear(&o);
    free(ex);
    return st;
}

static duet_status draw_batch(sft *t, duet_err *err) {
    size_t stage = stage_at(t->r, t->step);
    dt_source *src = &t->source[t->n_sources > 1 ? stage : 0];
    size_t max_tokens = (size_t)t->r->train.batch_tokens, most = max_tokens ? SIZE_MAX : (size_t)t->r->train.batch;
    duet_status st = DUET_OK;

    if (t->r->n_stages && t->r->stages[stage].batch_tokens) max_tokens = (size_t)t->r->stages[stage].batch_tokens, most = SIZE_MAX;
    t->ids.n = t->n_seqs = 0;
    t->n_targets = 0;
    if (t->writer.model) {
        st = draw_written(t, src, err);
    } else {
        bool fits = true;
        while (!st && fits && t->n_seqs < most) {
            duet_example e = {0};
            st = dt_source_example(src, t->cursor, &e, err);
            if (!st) st = add_example(t, &e, NULL, t->cursor, max_tokens, &fits, err);
            if (!st && fits) t->cursor++;
            duet_example_clear(&e);
        }
    }
    for (size_t i = 0; i < t->n_seqs; i++)
        t->seq[i].ids = t->ids.v + t->at[i];
    return st;
}

/* ---- one step ---- */

typedef struct nll {
    double loss, entropy, per_target;
} nll;

/* Mean over all targets of the mini-batch, however it is cut in micro-batches. */
static void nll_coef(void *user, size_t i, const dt_seq *s, const float *logp, const float *entropy, float *coef) {
    nll *l = user;
    (void)i;
    for (int j = s->first - 1; j < s->n - 1; j++) {
        coef[j] = (float)-l->per_target;
        l->loss -= l->per_target * (double)logp[j];
        l->entropy += l->per_target * (double)entropy[j];
    }
}

static double rate_at(const dt_recipe *r, int64_t step) {
    double lr = r->train.lr;
    if (r->n_stages && r->stages[stage_at(r, step)].lr > 0) lr = r->stages[stage_at(r, step)].lr;
    return dt_lr_at(lr, r->train.schedule, r->train.warmup, r->train.lr_end, step, r->train.steps);
}

static duet_status one_step(sft *t, dt_metrics *m, duet_err *err) {
    double t0 = dt_now(), norm = 0, lr = rate_at(t->r, t->step);
    dt_adamw h = dt_adamw_of(t->r, lr);

    duet_status st = draw_batch(t, err);
    if (st) return st;
    nll l = {.per_target = 1.0 / t->n_targets};
    st = dt_trainee_accumulate(&t->side.trainee, t->seq, t->n_seqs, nll_coef, &l, err);
    if (!st) st = dt_trainee_update(&t->side.trainee, &h, &norm, err);
    if (st) return st;
    t->step++;
    double seconds = dt_now() - t0;
    t->shown_loss = t->step == t->run.first_step + 1 ? l.loss : LOSS_DECAY * t->shown_loss + (1 - LOSS_DECAY) * l.loss;
    dt_metric(m, "train/loss", l.loss);
    dt_metric(m, "train/entropy", l.entropy);
    dt_metric(m, "train/grad_norm", norm);
    dt_metric(m, "train/lr", lr);
    dt_metric(m, "train/sequences", (double)t->n_seqs);
    dt_metric(m, "train/tokens", (double)t->ids.n);
    dt_metric(m, "train/examples", (double)t->cursor);
    t->tokens_per_s = (double)t->ids.n / seconds;
    dt_metric(m, "perf/tokens_per_s", t->tokens_per_s);
    dt_metric(m, "timing/step_s", seconds);
    return DUET_OK;
}

/* ---- held-out questions ---- */

static json_t *sample_line(const sft *t, const dt_rollout *o, size_t i) {
    const duet_example *e = &o->example[i];
    const dt_sample *answer = o->m ? &o->m[i] : &o->M[i];
    char *said = NULL;
    if (dt_words_text(&t->side.words, answer->ids + answer->first, (size_t)dt_sample_len(answer), &said, NULL)) return NULL;
    json_t *line = json_pack("{s:I, s:s, s:s*, s:s, s:s, s:i}", "step", (json_int_t)t->step, "question", e->question, "signal",
                             o->m ? (o->M[i].signal_text ? o->M[i].signal_text : NULL) : NULL, "response", said, "truth", e->answer, "grade",
                             answer->grade);
    free(said);
    return line;
}

/* Greedy answers to eval.n held-out questions: exact matches, and for m also without any signal. */
static duet_status evaluate(sft *t, dt_metrics *m, duet_err *err) {
    size_t n = (size_t)t->r->eval.n, right = 0, alone = 0, n_rows = dt_source_size(&t->held_out);
    dt_rollout_spec s = spec_of(t, true, (uint64_t)t->r->eval.seed);
    dt_rollout o = {0};
    duet_status st = DUET_OK;

    if (n_rows && n > n_rows) n = n_rows;
    if (!n || (!t->held_out.task && !n_rows)) return DUET_OK;
    duet_example *ex = dt_calloc(n, sizeof *ex);
    if (!ex) return dt_fail(err, DUET_E_NOMEM, "no memory for %zu questions", n);
    for (size_t i = 0; i < n && !st; i++)
        st = dt_source_example(&t->held_out, i, &ex[i], err);
    if (!st) st = dt_rollout_run(&s, ex, n, &o, err);
    for (size_t i = 0; i < n && !st; i++) {
        right += (size_t)(o.m ? o.m[i].grade : o.M[i].grade);
        alone += (size_t)(o.base ? o.base[i].grade : 0);
        if (i < (size_t)t->r->log.samples) st = dt_run_sample(&t->run, sample_line(t, &o, i), err);
    }
    if (!st) {
        dt_metric(m, "eval/accuracy", (double)right / (double)n);
        if (o.base) dt_metric(m, "eval/accuracy_alone", (double)alone / (double)n);
        if (!o.m) dt_metric(m, "eval/M_tokens", (double)o.M_tokens / (double)n);
        dt_metric(m, "eval/seconds", o.seconds);
        dt_run_line(&t->run, "step %lld: %zu of %zu held-out questions right (%.1f %%)", (long long)t->step, right, n,
                    100 * (double)right / (double)n);
    }
    for (size_t i = 0; i < n; i++)
        duet_example_clear(&ex[i]);
    free(ex);
    dt_rollout_clear(&o);
    return st;
}

/* ---- the run ---- */

static duet_status save(sft *t, duet_err *err) {
    char *tmp = NULL, hash[65];
    dt_recipe_hash(t->r, hash);
    duet_status st = dt_run_ckpt_begin(&t->run, t->step, &tmp, err);
    if (!st) st = dt_trainee_save(&t->side.trainee, tmp, "model", &t->side.words, err);
    if (!st)
        st = dt_run_ckpt_commit(&t->run, t->step, tmp, json_pack("{s:s, s:s, s:I}", "kind", "sft", "recipe", hash, "cursor", (json_int_t)t->cursor),
                                (int)t->r->train.keep, err);
    free(tmp);
    return st;
}

static duet_status open_sources(sft *t, duet_err *err) {
    const dt_recipe *r = t->r;
    uint64_t seed = (uint64_t)(r->data.seed < 0 ? r->seed : r->data.seed);
    duet_status st = DUET_OK;

    t->source = dt_calloc(r->n_stages ? r->n_stages : 1, sizeof *t->source);
    if (!t->source) return dt_fail(err, DUET_E_NOMEM, "no memory");
    do {
        const char *knobs = r->n_stages && r->stages[t->n_sources].knobs ? r->stages[t->n_sources].knobs : r->data.knobs;
        st = dt_source_open(&t->source[t->n_sources++], r->data.task, knobs, r->data.file, DUET_SPLIT_TRAIN, seed, err);
    } while (!st && t->n_sources < r->n_stages);
    if (!st && (!*r->data.file || *r->eval.file))
        st = dt_source_open(&t->held_out, r->data.task, *r->eval.knobs ? r->eval.knobs : r->data.knobs, r->eval.file, DUET_SPLIT_TEST,
                            (uint64_t)r->eval.seed, err);
    return st;
}

/* The model to start from: a checkpoint's, a given one, or a new one. */
static duet_status open_model(sft *t, const char *checkpoint, duet_err *err) {
    const dt_recipe *r = t->r;
    duet_status st = DUET_OK;
    char *folder = checkpoint ? dt_path_join(checkpoint, "model") : NULL;

    if (*r->model.path && (r->model.lora.rank || !checkpoint))
        st = dt_side_open_lora(&t->side, "model", r->model.path, r->model.chat_template, &r->model.lora, r->model.weights,
                               dt_hash64("model", 5, (uint64_t)r->seed), false, err);
    else if (checkpoint)
        st = dt_side_open(&t->side, NULL, folder, r->model.chat_template, err);
    else
        st = dt_side_new(&t->side, r, err);
    if (!st) st = dt_trainee_init(&t->side.trainee, t->side.model, t->pool, (int)r->train.micro_tokens, r->train.recompute, 1, err);
    if (!st && checkpoint) st = dt_trainee_load(&t->side.trainee, checkpoint, "model", err);
    if (!st) st = dt_side_engine(&t->side, t->run.opt->n_threads, r, err);
    if (!st && *r->data.signals_from) {
        st = dt_side_open(&t->writer, "data.signals_from", r->data.signals_from, NULL, err);
        if (!st) st = dt_side_engine(&t->writer, t->run.opt->n_threads, r, err);
    }
    free(folder);
    return st;
}

static duet_status write_head(sft *t, duet_err *err) {
    duet_model_info info;
    dt_buf b = {0};
    duet_status st = duet_model_describe(t->side.model, &info, err);
    char sha256[65];
    if (st) return st;
    dt_model_hash(t->side.model, sha256);
    dt_buf_addf(&b, "seed %lld\nweights at the start %s\n", (long long)t->r->seed, sha256);
    for (size_t i = 0; i < t->n_sources; i++)
        dt_buf_addf(&b, "data %s\n", t->source[i].sha256);
    st = b.failed ? dt_fail(err, DUET_E_NOMEM, "no memory") : dt_run_write_recipe(&t->run, t->r, b.data, err);
    dt_buf_clear(&b);
    dt_run_line(&t->run, "%s: %d layers, width %d, %zu parameters", t->run.dir, info.n_layers, info.d_model, info.n_params);
    return st;
}

static duet_status begin(sft *t, duet_err *err) {
    char *path = NULL;
    json_t *state = NULL;

    duet_status st = dt_run_open(t->run.opt, t->r, &t->run, err);
    if (!st) st = dt_run_ckpt_latest(&t->run, &path, &state, &t->step, err);
    if (!st) st = open_sources(t, err);
    if (!st) st = open_model(t, path, err);
    if (!st && state) {
        t->cursor = (uint64_t)json_integer_value(json_object_get(state, "cursor"));
        dt_run_check_recipe(&t->run, t->r, state);
    }
    if (!st && !state) st = write_head(t, err);
    if (!st) st = dt_run_begin(&t->run, t->step, err);
    json_decref(state);
    free(path);
    return st;
}

static duet_status finish(sft *t, duet_err *err) {
    static const dt_run_panel panels[] = {
        {"loss",       {"train/loss"}                            },
        {"accuracy",   {"eval/accuracy", "eval/accuracy_alone"}  },
        {"tokens",     {"eval/M_tokens"}                         },
        {"gradient",   {"train/grad_norm"}                       },
    };
    duet_status st = dt_side_save(&t->side, t->run.dir, "model", err);
    if (st) return st;
    dt_run_curves(&t->run, panels, DT_COUNT(panels));
    dt_run_line(&t->run, "%s/model: done after %lld steps, %lld examples", t->run.dir, (long long)t->step, (long long)t->cursor);
    return DUET_OK;
}

static bool every(int64_t n, int64_t step) {
    return n > 0 && step % n == 0;
}

/* First Ctrl-C: what is done is saved; a step that was under way has not touched any weight. */
static duet_status stop(sft *t, duet_err *err) {
    duet_status st = save(t, err);
    return st ? st : dt_fail(err, DUET_E_CANCELLED, "stopped after step %lld; resume goes on from there", (long long)t->step);
}

/* Evaluates, and writes the step's line together with what came out (or what is known without, where none is due). */
static duet_status tell(sft *t, dt_metrics *m, bool look, duet_err *err) {
    duet_status st = look ? evaluate(t, m, err) : DUET_OK;
    if (st == DUET_E_CANCELLED) {
        dt_run_owe(&t->run, t->step, m);
        return stop(t, err);
    }
    return st ? st : dt_run_metrics(&t->run, t->step, m, err);
}

static duet_status loop(sft *t, duet_err *err) {
    const dt_recipe *r = t->r;
    dt_metrics late = {.n = 0};
    duet_status st = DUET_OK;

    if (dt_run_owes(&t->run)) {
        st = tell(t, &late, true, err);
        if (!st) st = save(t, err); /* the checkpoint says no longer that something is owed */
    }

    while (t->step < r->train.steps && !st) {
        dt_metrics m = {.n = 0};
        if (dt_run_cancelled(&t->run)) return stop(t, err);
        st = one_step(t, &m, err);
        if (st == DUET_E_CANCELLED) return stop(t, err);
        if (st) break;
        bool last = t->step == r->train.steps;
        dt_run_live(&t->run, t->step, r->train.steps, "step %lld/%lld  loss %.4f  lr %.2e  %.0f tokens/s", (long long)t->step,
                    (long long)r->train.steps, t->shown_loss, rate_at(r, t->step - 1), t->tokens_per_s);
        bool look = last || every(r->eval.every, t->step);
        if (look || every(r->log.every, t->step)) st = tell(t, &m, look, err);
        if (!st && (last || every(r->train.save_every, t->step))) st = save(t, err);
    }
    return st;
}

static void tell_memory(sft *t, size_t had) {
    char line[256];
    dt_side_bytes b = dt_side_memory(&t->side, t->r, t->r->train.recompute);
    size_t sum = dt_side_tell_memory("model", &b, line);
    dt_run_line(&t->run, "%s", line);
    dt_run_line(&t->run, "memory: %.1f MiB in all%s, %.1f MiB were free", (double)sum / 1048576, t->writer.model ? ", the writer of the signals not counted" : "",
                (double)had / 1048576);
}

/* A few real steps in memory, nothing written. */
static duet_status rehearse(sft *t, duet_err *err) {
    const dt_recipe *r = t->r;
    double best = 0, tokens = 0;
    size_t had = dt_memory_free();
    duet_status st = open_sources(t, err);
    if (!st) st = open_model(t, NULL, err);
    if (!st) tell_memory(t, had);
    for (int i = 0; i < 3 && !st; i++) {
        double t0 = dt_now();
        dt_metrics m = {.n = 0};
        st = one_step(t, &m, err);
        double s = dt_now() - t0;
        if (!i || s < best) best = s;
        tokens += (double)t->ids.n / 3;
    }
    if (st) return st;
    char total[16];
    dt_time_left(best * (double)r->train.steps, total);
    dt_run_line(&t->run, "memory: %.1f MiB at most after these steps", dt_peak_mib());
    dt_run_line(&t->run, "step: %.3f s, the fastest of three real ones, %.0f tokens, %.0f tokens/s", best, tokens, tokens / best);
    dt_run_line(&t->run, "%lld steps: about %s without evaluation", (long long)r->train.steps, total);
    return DUET_OK;
}

duet_status duet_train_sft(const duet_train_options *opt, duet_err *err) {
    sft t = {.run = {.opt = opt}};

    duet_status st = dt_recipe_load(opt->recipe, DT_RUN_SFT, opt->overrides, opt->n_overrides, &t.r, err);
    if (!st) st = dt_pool_create(opt->n_threads, &t.pool, err);
    if (!st && opt->dry_run) {
        st = rehearse(&t, err);
        goto done;
    }
    if (!st) st = begin(&t, err);
    if (!st) st = loop(&t, err);
    if (!st) st = finish(&t, err);
done:
    dt_side_close(&t.side);
    dt_side_close(&t.writer);
    for (size_t i = 0; i < t.n_sources; i++)
        dt_source_close(&t.source[i]);
    free(t.source);
    dt_source_close(&t.held_out);
    duet_ids_free(&t.ids);
    free(t.seq);
    free(t.at);
    dt_run_close(&t.run);
    dt_recipe_free(t.r);
    dt_pool_destroy(t.pool);
    return st;
}

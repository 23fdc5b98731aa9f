/* Joint reinforcement learning of a pair. One step: questions -> M's signals -> m's answers -> grades -> rewards and
 * advantages -> lambda -> m learns, M learns. [duet-algorithm sections 3 to 5]
 *
 * Step s asks questions s*Q .. s*Q + Q-1 of the source and draws from random numbers addressed by those numbers, so a
 * checkpoint needs the weights, the optimizers, lambda, the guards' memory and the step. */
#include "duet/train.h"

#include "train/policy.h"
#include "train/run.h"
#include "train/setup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_DECAY 0.9 /* of the accuracy the guards look at */

/* Memory of the guards. */
typedef struct guards {
    double accuracy, best; /* smoothed; the highest so far */
    bool started, frozen, alarm;
} guards;

typedef struct rl {
    dt_recipe *r;
    dt_run run;
    dt_pool *pool;
    dt_side M, m, ref; /* ref: the initial M, where KL is wanted and M has no adapters to leave out */
    dt_source source, held_out;
    int64_t step;
    dt_penalty penalty;
    guards guard;
} rl;

/* ---- rollout ---- */

static dt_player player_of(const dt_side *s, const dt_recipe_side *r, int samples, bool greedy) {
    dt_player p = dt_side_player(s, samples, (int)r->response_max, greedy ? 0 : r->temperature);
    p.prompt_max = (int)r->prompt_max;
    if (!greedy) {
        p.sampling.top_k = (int)r->top_k;
        p.sampling.top_p = r->top_p;
        p.sampling.min_p = r->min_p;
    }
    return p;
}

static dt_rollout_spec spec_of(const rl *t, bool greedy) {
    const dt_recipe *r = t->r;
    dt_rollout_spec s = {.r = r, .use_m = r->m.enable, .to_eos = r->signal.stop == DT_STOP_AT_EOS, .cancel = t->run.opt->cancel};
    s.seed = (uint64_t)(greedy ? r->eval.seed : r->seed);
    s.M = player_of(&t->M, &r->M, greedy ? 1 : (int)r->M.samples, greedy);
    if (greedy && r->eval.max_tokens) s.M.response_max = (int)r->eval.max_tokens;
    if (!r->m.enable) return s;
    s.m = player_of(&t->m, &r->m, greedy ? 1 : (int)r->m.samples, greedy);
    if (!greedy) s.base = player_of(&t->m, &r->m, (int)(r->baseline.samples ? r->baseline.samples : r->m.samples), false);
    s.same_tokens = duet_tokenizer_same(t->M.words.tok, t->m.words.tok);
    return s;
}

/* n examples from number `from` on; freed with free_examples (dt_rollout_run leaves them empty). */
static duet_status draw_examples(dt_source *src, uint64_t from, size_t n, duet_example **out, duet_err *err) {
    duet_status st = DUET_OK;
    *out = dt_calloc(n ? n : 1, sizeof **out);
    if (!*out) return dt_fail(err, DUET_E_NOMEM, "no memory for %zu questions", n);
    for (size_t i = 0; i < n && !st; i++)
        st = dt_source_example(src, from + i, &(*out)[i], err);
    return st;
}

static void free_examples(duet_example *e, size_t n) {
    for (size_t i = 0; e && i < n; i++)
        duet_example_clear(&e[i]);
    free(e);
}

/* ---- questions too long for M ---- */

/* True where M's prompt would be longer than M.prompt_max or its context allow; says so by the question's id. */
static duet_status too_long(rl *t, const duet_example *e, size_t number, const char *what, bool *out, duet_err *err) {
    int64_t most = t->r->M.prompt_max, ctx = duet_engine_ctx(t->M.engine);
    duet_ids prompt = {0};
    if (!most || most >= ctx) most = ctx - 1;
    duet_status st = dt_words_prompt(&t->M.words, e->question, t->r->data.instruction, &prompt, err);
    *out = !st && prompt.n > (size_t)most;
    if (*out)
        dt_run_line(&t->run, "question %s (number %zu) %s: its prompt has %zu tokens, M's may have %lld", e->id ? e->id : "without an id", number, what,
                    prompt.n, (long long)most);
    duet_ids_free(&prompt);
    return st;
}

/* Rows of a file that are never asked in training. */
static duet_status drop_long_rows(rl *t, duet_err *err) {
    duet_status st = DUET_OK;
    size_t number = 0;
    for (size_t i = 0; i < dt_source_size(&t->source) && !st; number++) {
        bool drop = false;
        st = too_long(t, dt_source_row(&t->source, i), number + 1, "left out", &drop, err);
        if (drop && dt_source_size(&t->source) == 1)
            return dt_fail(err, DUET_E_USAGE, "%s: every question is too long for M (M.prompt_max, or its context)", t->r->data.file);
        if (drop)
            dt_source_drop_row(&t->source, i);
        else
            i++;
    }
    return st;
}

/* Moves the examples that can be asked to the front; the others are cleared. */
static duet_status sort_out_long(rl *t, duet_example *ex, size_t n, size_t *n_asked, duet_err *err) {
    duet_status st = DUET_OK;
    *n_asked = 0;
    for (size_t i = 0; i < n && !st; i++) {
        bool drop = false;
        st = too_long(t, &ex[i], i + 1, "counts as wrong", &drop, err);
        duet_example e = ex[i];
        ex[i] = (duet_example){0};
        if (drop || st)
            duet_example_clear(&e);
        else
            ex[(*n_asked)++] = e;
    }
    return st;
}

static duet_status roll_out(rl *t, dt_rollout *o, duet_err *err) {
    size_t n = (size_t)t->r->train.questions;
    duet_example *ex = NULL;
    dt_rollout_spec s = spec_of(t, false);
    s.key = (uint64_t)t->step * n;
    duet_status st = draw_examples(&t->source, s.key, n, &ex, err);
    if (!st) st = dt_rollout_run(&s, ex, n, o, err);
    free_examples(ex, n);
    return st;
}

/* ---- KL against the initial M ---- */

static bool wants_kl(const dt_recipe *r) {
    return (r->kl.in_reward && r->kl.coef > 0) || (r->M.train && r->kl.loss_coef > 0);
}

typedef struct reference {
    float *block, **logp; /* [n] rows of reference log-probs */
    double *kl;           /* [n] sum over the response of log p - log p_ref (k1) */
} reference;

static void free_reference(reference *f) {
    free(f->block);
    free(f->logp);
    free(f->kl);
}

static duet_status refer(rl *t, const dt_rollout *o, reference *f, duet_err *err) {
    size_t n = dt_rollout_n_signals(o), tokens = 0, at = 0;
    *f = (reference){0};
    if (!wants_kl(t->r)) return DUET_OK;
    for (size_t i = 0; i < n; i++)
        tokens += (size_t)dt_sample_len(&o->M[i]);
    f->block = dt_calloc(tokens + 1, sizeof *f->block);
    f->logp = dt_calloc(n, sizeof *f->logp);
    f->kl = dt_calloc(n, sizeof *f->kl);
    if (!f->block || !f->logp || !f->kl) return dt_fail(err, DUET_E_NOMEM, "training: no memory for %zu reference log-probs", tokens);
    for (size_t i = 0; i < n; i++) {
        f->logp[i] = f->block + at;
        at += (size_t)dt_sample_len(&o->M[i]);
    }
    duet_status st = dt_policy_score(t->ref.model ? &t->ref.trainee : &t->M.trainee, !t->ref.model, o->M, n, f->logp, err);
    for (size_t i = 0; i < n && !st; i++)
        for (int j = 0; j < dt_sample_len(&o->M[i]); j++)
            f->kl[i] += (double)o->M[i].logp[j] - (double)f->logp[i][j];
    return st;
}

/* ---- learning ---- */

static double rate(const rl *t, const dt_recipe_side *side) {
    const dt_recipe *r = t->r;
    return dt_lr_at(side->lr > 0 ? side->lr : r->train.lr, r->train.schedule, r->train.warmup, r->train.lr_end, t->step, r->train.steps);
}

static dt_policy_options options_of(const rl *t, const dt_recipe_side *side) {
    const dt_recipe *r = t->r;
    return (dt_policy_options){.ppo = {.clip_low = r->loss.clip_low, .clip_high = r->loss.clip_high, .dual_clip = r->loss.dual_clip},
                               .agg = r->loss.agg, .minibatch = (size_t)side->minibatch, .micro_seqs = (size_t)side->micro_seqs,
                               .epochs = r->train.epochs, .adamw = dt_adamw_of(r, rate(t, side))};
}

/* Whose turn it is: both, or (train.alternate) M for so many steps, then m. */
static bool has_turn(const dt_recipe *r, int64_t step, bool is_M) {
    int64_t a = r->train.alternate;
    if (!a || !r->M.train || !r->m.enable || !r->m.train) return true;
    return (step / a % 2 == 0) == is_M;
}

static duet_status learn_m(rl *t, const dt_rollout *o, const dt_verdict *v, dt_policy_stats *out, duet_err *err) {
    *out = (dt_policy_stats){.lr = 0};
    if (!o->m || !t->r->m.train || !has_turn(t->r, t->step, false)) return DUET_OK;
    dt_policy_options opt = options_of(t, &t->r->m);
    return dt_policy_update(&t->m.trainee, &opt, o->m, v->n_m, v->adv_m, out, err);
}

static duet_status learn_M(rl *t, const dt_rollout *o, const dt_verdict *v, const reference *f, dt_policy_stats *out, duet_err *err) {
    bool *mask = NULL;
    duet_status st = DUET_OK;
    *out = (dt_policy_stats){.lr = 0};
    if (!t->r->M.train || !has_turn(t->r, t->step, true)) return DUET_OK;
    dt_policy_options opt = options_of(t, &t->r->M);
    if (t->r->kl.loss_coef > 0) {
        opt.ppo.kl_coef = t->r->kl.loss_coef;
        opt.ref = (const float *const *)f->logp;
    }
    if (t->r->overlong == DT_OVERLONG_MASK) {
        mask = dt_calloc(v->n_M, sizeof *mask);
        if (!mask) return dt_fail(err, DUET_E_NOMEM, "training: no memory");
        for (size_t i = 0; i < v->n_M; i++)
            mask[i] = o->M[i].stop == DUET_STOP_LENGTH;
        opt.mask = mask;
    }
    st = dt_policy_update(&t->M.trainee, &opt, o->M, v->n_M, v->adv_M, out, err);
    free(mask);
    return st;
}

/* ---- guards ---- */

static double mean_signal(const dt_rollout *o) {
    double sum = 0;
    size_t n = dt_rollout_n_signals(o);
    for (size_t i = 0; i < n; i++)
        sum += o->m ? (double)o->M[i].n_signal : dt_sample_len(&o->M[i]);
    return sum / (double)n;
}

/* Looks at a step's accuracy and lengths; says aloud when an alarm begins. */
static void watch(rl *t, const dt_verdict *v, double signal_len) {
    guards *g = &t->guard;
    const dt_recipe *r = t->r;
    g->accuracy = g->started ? GUARD_DECAY * g->accuracy + (1 - GUARD_DECAY) * v->accuracy : v->accuracy;
    g->started = true;
    if (g->accuracy > g->best) g->best = g->accuracy;
    g->frozen = g->accuracy < r->guard.accuracy_floor;
    bool fell = r->guard.accuracy_drop > 0 && g->accuracy < g->best - r->guard.accuracy_drop, shrank = signal_len < r->guard.length_min;
    if ((fell || shrank) && !g->alarm) {
        if (fell)
            dt_run_line(&t->run, "alarm: step %lld: accuracy %.2f, was %.2f", (long long)t->step + 1, g->accuracy, g->best);
        else
            dt_run_line(&t->run, "alarm: step %lld: the mean signal has %.1f tokens", (long long)t->step + 1, signal_len);
    }
    g->alarm = fell || shrank;
}

/* lambda for the next step; while the accuracy is below its floor it may only fall. */
static void move_price(rl *t, double mean_len) {
    double was = t->penalty.lambda;
    dt_penalty_update(&t->penalty, mean_len);
    if (t->guard.frozen && t->penalty.lambda > was) t->penalty.lambda = was;
}

/* ---- telling ---- */

typedef struct range {
    double mean, max, min;
} range;

static range range_of(const double *x, size_t n) {
    range g = {0, n ? x[0] : 0, n ? x[0] : 0};
    for (size_t i = 0; i < n; i++) {
        g.mean += x[i] / (double)n;
        g.max = fmax(g.max, x[i]);
        g.min = fmin(g.min, x[i]);
    }
    return g;
}

static double share_of(const dt_sample *s, size_t n, duet_stop stop) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += s[i].stop == stop;
    return n ? (double)k / (double)n : 0;
}

static double share_with(const dt_rollout *o, dt_signal_status status) {
    size_t k = 0, n = dt_rollout_n_signals(o);
    for (size_t i = 0; i < n; i++)
        k += o->M[i].status == status;
    return (double)k / (double)n;
}

static range prompt_range(const dt_rollout *o) {
    double first = o->M[0].first;
    range g = {0, first, first};
    for (size_t q = 0; q < o->n_questions; q++) {
        double n = o->M[q * (size_t)o->n].first;
        g.mean += n / (double)o->n_questions;
        g.max = fmax(g.max, n);
        g.min = fmin(g.min, n);
    }
    return g;
}

#define TELL_POLICY(m, p, s)                                                                                                                  \
    do {                                                                                                                                      \
        dt_metric(m, p "/pg_loss", (s)->pg_loss);                                                                                             \
        dt_metric(m, p "/pg_clipfrac", (s)->clipfrac);                                                                                        \
        dt_metric(m, p "/pg_clipfrac_lower", (s)->clipfrac_lower);                                                                            \
        dt_metric(m, p "/ppo_kl", (s)->ppo_kl);                                                                                               \
        dt_metric(m, p "/entropy", (s)->entropy);                                                                                             \
        dt_metric(m, p "/grad_norm", (s)->grad_norm);                                                                                         \
        dt_metric(m, p "/lr", (s)->lr);                                                                                                       \
        dt_metric(m, p "/updates", (double)(s)->updates);                                                                                     \
        dt_metric(m, p "/skipped", (double)(s)->skipped);                                                                                     \
    } while (0)

#define TELL_RANGE(m, name, g)                                                                                                                \
    do {                                                                                                                                      \
        dt_metric(m, name "/mean", (g).mean);                                                                                                 \
        dt_metric(m, name "/max", (g).max);                                                                                                   \
        dt_metric(m, name "/min", (g).min);                                                                                                   \
    } while (0)

/* Values of one step; lambda is the one its rewards were made with. */
static void tell(const rl *t, const dt_rollout *o, const dt_verdict *v, double lambda, const dt_policy_stats *pM, const dt_policy_stats *pm,
                 dt_metrics *m) {
    range len = range_of(v->len, v->n_M), adv_M = range_of(v->adv_M, v->n_M), prompt = prompt_range(o);
    dt_metric(m, "key_metrics/r_Mm", v->accuracy);
    dt_metric(m, "key_metrics/r_m", v->alone);
    dt_metric(m, "key_metrics/response_length", v->mean_len);
    dt_metric(m, "key_metrics/lambda", lambda);
    if (pM->updates || pM->skipped) TELL_POLICY(m, "actor", pM);
    if (wants_kl(t->r)) {
        dt_metric(m, "actor/reward_kl_penalty", range_of(v->kl, v->n_M).mean);
        dt_metric(m, "actor/reward_kl_penalty_coeff", t->r->kl.in_reward ? t->r->kl.coef : 0);
        dt_metric(m, "actor/kl_loss", pM->kl_loss);
    }
    TELL_RANGE(m, "critic/score", range_of(v->r_Mm, v->n_M));
    TELL_RANGE(m, "critic/rewards", range_of(v->reward, v->n_M));
    TELL_RANGE(m, "critic/advantages", adv_M);
    TELL_RANGE(m, "critic/returns", adv_M); /* one and the same without a critic */
    TELL_RANGE(m, "response_length", len);
    dt_metric(m, "response_length/clip_ratio", share_of(o->M, v->n_M, DUET_STOP_LENGTH));
    TELL_RANGE(m, "prompt_length", prompt);
    dt_metric(m, "train/zero_spread_M", v->zero_M);
    if (o->m) {
        if (pm->updates || pm->skipped) TELL_POLICY(m, "translator", pm);
        range score = range_of(v->score_m, v->n_m), adv = range_of(v->adv_m, v->n_m);
        TELL_RANGE(m, "translator/score", score);
        TELL_RANGE(m, "translator/rewards", score); /* no price, no KL */
        TELL_RANGE(m, "translator/advantages", adv);
        TELL_RANGE(m, "translator/returns", adv);
        dt_metric(m, "translator/response_length", (double)o->m_tokens / (double)(v->n_m + (o->base ? o->n_questions * (size_t)o->k0 * (size_t)(o->base_shared ? 1 : o->n) : 0)));
        dt_metric(m, "translator/clip_ratio", share_of(o->m, v->n_m, DUET_STOP_LENGTH));
        dt_metric(m, "train/zero_spread_m", v->zero_m);
        dt_metric(m, "signal/length", mean_signal(o));
        dt_metric(m, "signal/cut", (double)o->n_signal_cut / (double)v->n_M);
    }
    dt_metric(m, "signal/closed", share_with(o, DT_SIGNAL_CLOSED));
    dt_metric(m, "signal/truncated", share_with(o, DT_SIGNAL_TRUNCATED));
    dt_metric(m, "signal/untagged", share_with(o, DT_SIGNAL_UNTAGGED));
    dt_metric(m, "signal/empty", share_with(o, DT_SIGNAL_EMPTY));
    dt_metric(m, "mismatch/max_abs_logprob_diff", fmax(pM->mismatch, pm->mismatch));
    dt_metric(m, "guard/accuracy", t->guard.accuracy);
    dt_metric(m, "guard/frozen", t->guard.frozen);
    dt_metric(m, "guard/alarm", t->guard.alarm);
}

static json_t *text_of(const dt_words *w, const int32_t *ids, size_t n) {
    char *text = NULL;
    if (dt_words_text(w, ids, n, &text, NULL)) return json_null();
    json_t *s = json_string(text);
    free(text);
    return s ? s : json_null();
}

/* The first M sample of a question with what m made of it. */
static json_t *sample_line(const rl *t, const dt_rollout *o, const dt_verdict *v, size_t q, int64_t step) {
    size_t i = q * (size_t)o->n;
    const dt_sample *M = &o->M[i];
    json_t *answers = json_array(), *grades = json_array();
    for (int j = 0; j < o->k; j++) {
        const dt_sample *a = o->m ? &o->m[i * (size_t)o->k + (size_t)j] : M;
        json_array_append_new(answers, json_string(a->text ? a->text : ""));
        json_array_append_new(grades, json_integer(a->grade));
    }
    json_t *signal = o->m ? text_of(&t->m.words, M->signal, M->n_signal) : text_of(&t->M.words, M->ids + M->first, (size_t)dt_sample_len(M));
    json_t *line = json_pack("{s:I, s:s, s:s, s:o, s:s, s:i, s:o, s:o, s:f, s:f, s:f, s:f}", "step", (json_int_t)step, "question", o->example[q].question,
                             "truth", o->example[q].answer, "signal", signal, "status", dt_signal_status_name(M->status), "L", dt_sample_len(M),
                             "answers", answers, "grades", grades, "r_Mm", v->r_Mm[i], "r_m", v->r_m[i], "reward", v->reward[i], "advantage",
                             v->adv_M[i]);
    return line;
}

/* ---- one step ---- */

static duet_status one_step(rl *t, dt_metrics *m, duet_err *err) {
    double t0 = dt_now(), lambda = t->penalty.lambda;
    dt_rollout o = {0};
    dt_verdict v = {0};
    reference f = {0};
    dt_policy_stats pM = {0}, pm = {0};
    bool log = (t->step + 1) % t->r->log.every == 0 || t->step + 1 == t->r->train.steps;

    duet_status st = roll_out(t, &o, err);
    if (!st) st = refer(t, &o, &f, err);
    if (!st) st = dt_verdict_of(t->r, &o, &t->penalty, f.kl, &v, err);
    if (st) goto done;
    watch(t, &v, mean_signal(&o));
    move_price(t, v.mean_len);
    st = learn_m(t, &o, &v, &pm, err);
    if (!st) st = learn_M(t, &o, &v, &f, &pM, err);
    if (st) goto done;
    t->step++;
    tell(t, &o, &v, lambda, &pM, &pm, m);
    double seconds = dt_now() - t0, sampled = (double)(o.M_tokens + o.m_tokens);
    dt_metric(m, "perf/tokens_per_s", sampled / seconds);
    dt_metric(m, "perf/rollout_tokens_per_s", sampled / o.seconds);
    dt_metric(m, "timing/step_s", seconds);
    dt_metric(m, "timing/rollout_s", o.seconds);
    dt_metric(m, "timing/update_m_s", pm.seconds);
    dt_metric(m, "timing/update_M_s", pM.seconds);
    for (size_t q = 0; log && q < (size_t)t->r->log.samples && q < o.n_questions && !st; q++)
        st = dt_run_sample(&t->run, sample_line(t, &o, &v, q, t->step), err);
    dt_run_live(&t->run, t->step, t->r->train.steps, "step %lld/%lld  right %.2f (m alone %.2f)  L %.0f  lambda %.3f  %.0f tokens/s", (long long)t->step,
                (long long)t->r->train.steps, v.accuracy, v.alone, v.mean_len, lambda, sampled / seconds);
done:
    free_reference(&f);
    dt_verdict_clear(&v);
    dt_rollout_clear(&o);
    return st;
}

/* ---- held-out questions ---- */

/* Answers held-out questions greedily. One that is too long for M counts as wrong. */
static duet_status evaluate(rl *t, dt_metrics *m, duet_err *err) {
    size_t n = (size_t)t->r->eval.n, rows = dt_source_size(&t->held_out), right = 0, signal = 0, n_asked = 0;
    dt_rollout_spec s = spec_of(t, true);
    dt_rollout o = {0};
    duet_example *ex = NULL;

    if (rows && n > rows) n = rows;
    if (!n || (!t->held_out.task && !rows)) return DUET_OK;
    duet_status st = draw_examples(&t->held_out, 0, n, &ex, err);
    if (!st) st = sort_out_long(t, ex, n, &n_asked, err);
    if (!st && n_asked) st = dt_rollout_run(&s, ex, n_asked, &o, err);
    for (size_t i = 0; i < n_asked && !st; i++) {
        right += (size_t)(o.m ? o.m[i].grade : o.M[i].grade);
        signal += o.M[i].n_signal;
    }
    if (!st) {
        double N = n_asked ? (double)n_asked : 1;
        dt_metric(m, "eval/accuracy", (double)right / (double)n);
        dt_metric(m, "eval/M_tokens", (double)o.M_tokens / N);
        if (o.m) dt_metric(m, "eval/m_tokens", (double)o.m_tokens / N);
        if (o.m) dt_metric(m, "eval/signal_tokens", (double)signal / N);
        dt_metric(m, "eval/seconds", o.seconds);
        dt_run_line(&t->run, "step %lld: held out: %.1f %% right, %.1f M tokens a question", (long long)t->step, 100 * (double)right / (double)n,
                    (double)o.M_tokens / N);
    }
    free_examples(ex, n);
    dt_rollout_clear(&o);
    return st;
}

/* ---- the run ---- */

static json_t *state_of(const rl *t) {
    char hash[65];
    dt_recipe_hash(t->r, hash);
    return json_pack("{s:s, s:s, s:f, s:{s:f, s:f, s:b}}", "kind", "rl", "recipe", hash, "lambda", t->penalty.lambda, "guard", "accuracy",
                     t->guard.accuracy, "best", t->guard.best, "started", t->guard.started);
}

static void take_state(rl *t, const json_t *state) {
    const json_t *g = json_object_get(state, "guard");
    if (t->r->resume.keep_lambda) t->penalty.lambda = json_number_value(json_object_get(state, "lambda"));
    t->guard.accuracy = json_number_value(json_object_get(g, "accuracy"));
    t->guard.best = json_number_value(json_object_get(g, "best"));
    t->guard.started = json_is_true(json_object_get(g, "started"));
}

static duet_status save(rl *t, duet_err *err) {
    char *tmp = NULL;
    duet_status st = dt_run_ckpt_begin(&t->run, t->step, &tmp, err);
    if (!st) st = dt_trainee_save(&t->M.trainee, tmp, "M", &t->M.words, err);
    if (!st && t->r->m.enable) st = dt_trainee_save(&t->m.trainee, tmp, "m", &t->m.words, err);
    if (!st) st = dt_run_ckpt_commit(&t->run, t->step, tmp, state_of(t), (int)t->r->train.keep, err);
    free(tmp);
    return st;
}

/* Opens one model as the recipe says; a checkpoint's state goes over it. */
static duet_status open_side(rl *t, dt_side *s, const dt_recipe_side *r, const char *checkpoint, const char *name, duet_err *err) {
    duet_status st = dt_side_open_lora(s, name, r->path, r->chat_template, &r->lora, r->weights,
                                       dt_hash64(name, strlen(name), (uint64_t)t->r->seed), r == &t->r->M && wants_kl(t->r), err);
    if (!st) st = dt_trainee_init(&s->trainee, s->model, t->pool, (int)t->r->train.micro_tokens, t->r->train.recompute, r->temperature, err);
    if (!st && checkpoint) st = dt_trainee_load(&s->trainee, checkpoint, name, err);
    return st ? st : dt_side_engine(s, t->run.opt->n_threads, t->r, err);
}

/* The initial M, only ever scored: one layer's activations are enough. */
static duet_status open_reference(rl *t, duet_err *err) {
    duet_status st = dt_side_open(&t->ref, "M.path", t->r->M.path, t->r->M.chat_template, err);
    return st ? st : dt_trainee_init(&t->ref.trainee, t->ref.model, t->pool, (int)t->r->train.micro_tokens, true, t->r->M.temperature, err);
}

static duet_status open_all(rl *t, const char *checkpoint, duet_err *err) {
    const dt_recipe *r = t->r;
    uint64_t seed = (uint64_t)(r->data.seed < 0 ? r->seed : r->data.seed);

    t->penalty = (dt_penalty){.lambda = r->penalty.lambda0, .eta = r->penalty.eta, .bound = r->penalty.bound,
                              .adaptive = r->penalty.schedule == DT_PRICE_ADAPTIVE, .clip = r->penalty.clip};
    duet_status st = dt_source_open(&t->source, r->data.task, r->data.knobs, r->data.file, DUET_SPLIT_TRAIN, seed, err);
    if (!st && (!*r->data.file || *r->eval.file))
        st = dt_source_open(&t->held_out, r->data.task, *r->eval.knobs ? r->eval.knobs : r->data.knobs, r->eval.file, DUET_SPLIT_TEST,
                            (uint64_t)r->eval.seed, err);
    if (!st) st = open_side(t, &t->M, &r->M, checkpoint, "M", err);
    if (!st && r->m.enable) st = open_side(t, &t->m, &r->m, checkpoint, "m", err);
    if (!st) st = drop_long_rows(t, err);
    if (!st && wants_kl(r) && !r->M.lora.rank) st = open_reference(t, err);
    return st;
}

static duet_status write_head(rl *t, duet_err *err) {
    char hash[65];
    char *differs = dt_recipe_differences(t->r);
    dt_buf b = {0};
    dt_model_hash(t->M.model, hash);
    dt_buf_addf(&b, "seed %lld\nM at the start %s\n", (long long)t->r->seed, hash);
    if (t->m.model) {
        dt_model_hash(t->m.model, hash);
        dt_buf_addf(&b, "m at the start %s\n", hash);
    }
    dt_buf_addf(&b, "data %s\n", t->source.sha256);
    dt_run_line(&t->run, "%s: settings other than the defaults: %s", t->run.dir, differs ? differs : "?");
    duet_status st = b.failed ? dt_fail(err, DUET_E_NOMEM, "no memory") : dt_run_write_recipe(&t->run, t->r, b.data, err);
    dt_buf_clear(&b);
    free(differs);
    return st;
}

static duet_status begin(rl *t, duet_err *err) {
    char *path = NULL;
    json_t *state = NULL;

    duet_status st = dt_run_open(t->run.opt, t->r, &t->run, err);
    if (!st) st = dt_run_ckpt_latest(&t->run, &path, &state, &t->step, err);
    if (!st) st = open_all(t, path, err);
    if (!st && state) {
        take_state(t, state);
        dt_run_check_recipe(&t->run, t->r, state);
    }
    if (!st && !state) st = write_head(t, err);
    if (!st) st = dt_run_begin(&t->run, t->step, err);
    json_decref(state);
    free(path);
    return st;
}

static duet_status finish(rl *t, duet_err *err) {
    static const dt_run_panel panels[] = {
        {"share right",   {"key_metrics/r_Mm", "key_metrics/r_m", "eval/accuracy"} },
        {"tokens of M",   {"key_metrics/response_length", "eval/M_tokens"}         },
        {"lambda",        {"key_metrics/lambda"}                                   },
        {"entropy",       {"actor/entropy", "translator/entropy"}                  },
        {"no spread",     {"train/zero_spread_M", "train/zero_spread_m"}           },
    };
    duet_status st = dt_side_save(&t->M, t->run.dir, "M", err);
    if (!st && t->m.model) st = dt_side_save(&t->m, t->run.dir, "m", err);
    if (st) return st;
    dt_run_curves(&t->run, panels, DT_COUNT(panels));
    dt_run_line(&t->run, "%s: done after %lld steps; lambda %.3f", t->run.dir, (long long)t->step, t->penalty.lambda);
    return DUET_OK;
}

static bool every(int64_t n, int64_t step) {
    return n > 0 && step % n == 0;
}

/* First Ctrl-C: what is done is saved; a step that was under way has not touched any weight. */
static duet_status stop(rl *t, duet_err *err) {
    duet_status st = save(t, err);
    return st ? st : dt_fail(err, DUET_E_CANCELLED, "stopped after step %lld; resume goes on from there", (long long)t->step);
}

/* Evaluates, and writes the step's line together with what came out (or what is known without, where none is due). */
static duet_status report(rl *t, dt_metrics *m, bool look, duet_err *err) {
    duet_status st = look ? evaluate(t, m, err) : DUET_OK;
    if (st == DUET_E_CANCELLED) {
        dt_run_owe(&t->run, t->step, m);
        return stop(t, err);
    }
    return st ? st : dt_run_metrics(&t->run, t->step, m, err);
}

static duet_status loop(rl *t, duet_err *err) {
    const dt_recipe *r = t->r;
    dt_metrics late = {.n = 0};
    duet_status st = DUET_OK;

    if (dt_run_owes(&t->run)) {
        st = report(t, &late, true, err);
        if (!st) st = save(t, err); /* the checkpoint says no longer that something is owed */
    }
    while (t->step < r->train.steps && !st) {
        dt_metrics m = {.n = 0};
        if (dt_run_cancelled(&t->run)) return stop(t, err);
        if (t->step == 0 && r->eval.every) { /* where it starts from */
            st = evaluate(t, &m, err);
            if (st == DUET_E_CANCELLED) return stop(t, err);
            if (!st && m.n) st = dt_run_metrics(&t->run, 0, &m, err);
            if (st) break;
            m.n = 0;
        }
        st = one_step(t, &m, err);
        if (st == DUET_E_CANCELLED) return stop(t, err);
        if (st) break;
        bool last = t->step == r->train.steps, look = last || every(r->eval.every, t->step);
        if (look || every(r->log.every, t->step)) st = report(t, &m, look, err);
        if (!st && (last || every(r->train.save_every, t->step))) st = save(t, err);
    }
    return st;
}

/* What each model takes, against what is free: said before the first step, so that it shows where that does not fit. */
static void tell_memory(rl *t, size_t had) {
    struct {
        const char *name;
        const dt_side *side;
        bool again;
    } sides[] = {{"M", &t->M, t->r->train.recompute}, {"m", &t->m, t->r->train.recompute}, {"reference", &t->ref, true}};
    size_t sum = 0;
    char line[256];
    for (size_t i = 0; i < DT_COUNT(sides); i++) {
        if (!sides[i].side->model) continue;
        dt_side_bytes b = dt_side_memory(sides[i].side, t->r, sides[i].again);
        sum += dt_side_tell_memory(sides[i].name, &b, line);
        dt_run_line(&t->run, "%s", line);
    }
    dt_run_line(&t->run, "memory: %.1f MiB in all, %.1f MiB were free", (double)sum / 1048576, (double)had / 1048576);
}

/* A few real steps in memory, nothing written. */
static duet_status rehearse(rl *t, duet_err *err) {
    double best = 0;
    char total[16];
    size_t had = dt_memory_free();
    duet_status st = open_all(t, NULL, err);
    if (!st) tell_memory(t, had);
    t->r->log.samples = 0;
    for (int i = 0; i < 2 && !st; i++) {
        double t0 = dt_now();
        dt_metrics m = {.n = 0};
        st = one_step(t, &m, err);
        double s = dt_now() - t0;
        if (!i || s < best) best = s;
    }
    if (st) return st;
    dt_time_left(best * (double)t->r->train.steps, total);
    dt_run_line(&t->run, "memory: %.1f MiB at most after these steps", dt_peak_mib());
    dt_run_line(&t->run, "step: %.3f s, the faster of two real ones; %lld steps: about %s without evaluation", best, (long long)t->r->train.steps, total);
    return DUET_OK;
}

duet_status duet_train_rl(const duet_train_options *opt, duet_err *err) {
    rl t = {.run = {.opt = opt}};

    duet_status st = dt_recipe_load(opt->recipe, DT_RUN_RL, opt->overrides, opt->n_overrides, &t.r, err);
    if (!st) st = dt_pool_create(opt->n_threads, &t.pool, err);
    if (!st && opt->dry_run) {
        st = rehearse(&t, err);
        goto done;
    }
    if (!st) st = begin(&t, err);
    if (!st) st = loop(&t, err);
    if (!st) st = finish(&t, err);
done:
    dt_side_close(&t.M);
    dt_side_close(&t.m);
    dt_side_close(&t.ref);
    dt_source_close(&t.source);
    dt_source_close(&t.held_out);
    dt_run_close(&t.run);
    dt_recipe_free(t.r);
    dt_pool_destroy(t.pool);
    return st;
}

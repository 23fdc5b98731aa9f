/* The whole DUET call: stage 1 -> handoff -> stage 2 -> ledger, for many questions at once.
 * [duet-algorithm sections 1 and 2; DUET, arXiv 2605.01111] */
#include "pair/call.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

static const char *const mode_names[] = {"duet", "M", "m"};
static const char *const handoff_names[] = {"end", "budget", "eos", "empty", "gate", "none", "request"};
static const char *const status_names[] = {"closed", "truncated", "untagged", "empty"};

const char *duet_mode_name(duet_mode m) {
    return (size_t)m < DT_COUNT(mode_names) ? mode_names[m] : "unknown";
}

bool duet_mode_parse(const char *name, duet_mode *out) {
    for (size_t i = 0; i < DT_COUNT(mode_names); i++) {
        if (!strcmp(name, mode_names[i])) {
            *out = (duet_mode)i;
            return true;
        }
    }
    return false;
}

const char *duet_handoff_name(duet_handoff h) {
    return (size_t)h < DT_COUNT(handoff_names) ? handoff_names[h] : "unknown";
}

const char *duet_signal_status_name(duet_signal_status s) {
    return (size_t)s < DT_COUNT(status_names) ? status_names[s] : "unknown";
}

/* ---- the pair ---- */

duet_pair_options duet_pair_defaults(void) {
    return (duet_pair_options){.price_M = -1, .price_m = -1, .price_M_in = -1, .price_m_in = -1};
}

static bool has_id(const int32_t *ids, size_t n, int32_t id) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

static duet_status open_side(dt_side *s, const char *name, duet_backend *b, double price, double price_in,
                             duet_err *err) {
    *s = (dt_side){.b = b, .price = price, .price_in = price_in};
    if (!b) {
        return DUET_OK;
    }
    s->tok = duet_backend_tokenizer(b);
    s->words = b->ask != NULL;
    if (s->words) {
        return DUET_OK;
    }
    duet_status st = dt_tmpl_detect(s->tok, duet_backend_template(b), &s->tmpl, err);
    if (st) {
        return dt_fail_in(err, st, "%s (%s)", name, duet_backend_name(b));
    }
    const int32_t *eos = dt_backend_eos(b, &s->n_eos);
    memcpy(s->eos, eos, s->n_eos * sizeof *eos);
    if (!has_id(s->eos, s->n_eos, dt_tmpl_end(&s->tmpl))) { /* a base model's config may name only its end of text */
        s->eos[s->n_eos++] = dt_tmpl_end(&s->tmpl);
    }
    return DUET_OK;
}

duet_status duet_pair_create(duet_backend *M, duet_backend *m, const duet_pair_options *opt, duet_pair **out,
                             duet_err *err) {
    duet_pair_options o = opt ? *opt : duet_pair_defaults();

    *out = NULL;
    if (!M && !m) {
        return dt_fail(err, DUET_E_USAGE, "a pair needs at least one model");
    }
    duet_pair *p = calloc(1, sizeof *p);
    if (!p) {
        return dt_fail(err, DUET_E_NOMEM, "pair: no memory");
    }
    pthread_mutex_init(&p->lock, NULL);
    duet_status st = open_side(&p->M, "M", M, o.price_M, o.price_M_in, err);
    if (!st) {
        st = open_side(&p->m, "m", m, o.price_m, o.price_m_in, err);
    }
    if (!st && o.handoff_raw && (p->M.words || p->m.words)) {
        st = dt_fail(err, DUET_E_UNSUPPORTED, "the raw hand-off needs both models here, not behind a server");
    }
    p->instruction = dt_strdup(o.instruction);
    if (!st && o.instruction && !p->instruction) {
        st = dt_fail(err, DUET_E_NOMEM, "pair: no memory");
    }
    if (st) {
        duet_pair_destroy(p);
        return st;
    }
    p->keep = o.keep;
    p->handoff_raw = o.handoff_raw;
    p->shares_tokens = p->M.tok && p->m.tok && duet_tokenizer_same(p->M.tok, p->m.tok);
    *out = p;
    return DUET_OK;
}

void duet_pair_destroy(duet_pair *p) {
    if (p) {
        duet_vocab_trie_destroy(p->tries[0]);
        duet_vocab_trie_destroy(p->tries[1]);
        pthread_mutex_destroy(&p->lock);
        free(p->instruction);
        free(p);
    }
}

const duet_tokenizer *duet_pair_signal_tokenizer(const duet_pair *p) {
    return p->m.tok ? p->m.tok : p->M.tok;
}

bool duet_pair_shares_tokens(const duet_pair *p) {
    return p->shares_tokens;
}

static bool same_ends(const dt_side *a, const dt_side *b) {
    for (size_t i = 0; i < a->n_eos; i++) {
        if (!has_id(b->eos, b->n_eos, a->eos[i])) {
            return false;
        }
    }
    return a->n_eos == b->n_eos;
}

/* Its family of templates; a remote model that is asked by messages has none that is known here. */
static const char *template_of(const dt_side *s) {
    const char *named = s->b && s->words ? duet_backend_template(s->b) : NULL;
    return !s->b ? NULL : !s->words ? dt_tmpl_name(&s->tmpl) : named ? named : "remote";
}

/* Does it read a signal as its own finished thought? */
static bool reads_thoughts(const dt_side *s) {
    return s->words ? s->b->reads_thoughts : dt_tmpl_thinks(&s->tmpl);
}

duet_pair_terms duet_pair_describe(const duet_pair *p) {
    bool both = p->M.b && p->m.b;
    return (duet_pair_terms){.M_template = template_of(&p->M),
                             .m_template = template_of(&p->m),
                             .same_tokens = p->shares_tokens,
                             .same_ends = both && p->shares_tokens && same_ends(&p->M, &p->m),
                             .M_thinks = p->M.b && (p->M.words || dt_tmpl_thinks(&p->M.tmpl)),
                             .layout = !p->m.b                      ? "none"
                                       : p->handoff_raw             ? "raw"
                                       : reads_thoughts(&p->m)       ? "thought"
                                                                    : "instruct"};
}

static const char *layout_words(const char *layout) {
    return !strcmp(layout, "thought") ? "its own thought" : !strcmp(layout, "raw") ? "raw text" : "an instruction";
}

char *duet_pair_terms_line(const duet_pair *p) {
    duet_pair_terms t = duet_pair_describe(p);
    dt_buf b = {0};
    if (t.M_template) {
        dt_buf_addf(&b, "M: %s", t.M_template);
    }
    if (t.m_template) {
        dt_buf_addf(&b, "%sm: %s", b.len ? ", " : "", t.m_template);
    }
    if (t.M_template && t.m_template) {
        dt_buf_addf(&b, " | %s | signal: %s, read as %s",
                    p->M.words || p->m.words ? "text"
                    : !t.same_tokens         ? "two tokenizers: text"
                    : t.same_ends  ? "one tokenizer: token ids"
                                   : "one tokenizer, other end tokens: token ids",
                    t.M_thinks ? "M's thought" : "all M says", layout_words(t.layout));
    }
    return b.failed ? (dt_buf_clear(&b), NULL) : dt_buf_take(&b);
}

/* ---- the call ---- */

duet_pair_request duet_pair_request_defaults(const duet_pair *p) {
    duet_sampling greedy = duet_sampling_defaults();
    return (duet_pair_request){.mode = DUET_MODE_DUET,
                               .signal_budget = 8192,
                               .answer_budget = 1024,
                               .M = p->M.b ? duet_backend_sampling(p->M.b) : greedy,
                               .m = p->m.b ? duet_backend_sampling(p->m.b) : greedy};
}

void duet_pair_request_clear(duet_pair_request *r) {
    free(r->signal_text);
    free(r->answer_text);
    free(r->signal_ids);
    free(r->answer_ids);
    free(r->answer_logprobs);
    free(r->answer_top);
    r->answer_logprobs = NULL;
    r->answer_top = NULL;
    r->n_answer_top = 0;
    r->signal_text = r->answer_text = NULL;
    r->signal_ids = r->answer_ids = NULL;
    r->n_signal_text = r->n_answer_text = r->n_signal_ids = r->n_answer_ids = 0;
}

int dt_pair_left(const duet_pair_request *r, int budget, size_t spent) {
    if (r->total_budget <= 0) {
        return budget;
    }
    const int left = spent < (size_t)r->total_budget ? r->total_budget - (int)spent : 0;
    return budget < 0 || budget > left ? left : budget;
}

static duet_status check(const duet_pair *p, const duet_pair_request *r, duet_err *err) {
    if ((size_t)r->mode >= DT_COUNT(mode_names)) {
        return dt_fail(err, DUET_E_USAGE, "unknown mode %d", (int)r->mode);
    }
    bool needs_M = r->mode == DUET_MODE_M || (r->mode == DUET_MODE_DUET && !r->signal);
    if ((needs_M && !p->M.b) || (r->mode != DUET_MODE_M && !p->m.b)) {
        return dt_fail(err, DUET_E_USAGE, "mode %s needs model %s, which was not given", duet_mode_name(r->mode),
                       needs_M && !p->M.b ? "M" : "m");
    }
    if (r->signal_budget < -1 || r->answer_budget < -1) {
        return dt_fail(err, DUET_E_RANGE, "budgets of %d and %d tokens: must be 0 or more, or -1 for no bound",
                       r->signal_budget, r->answer_budget);
    }
    return dt_shape_check(r->mode == DUET_MODE_M ? &p->M : &p->m, r, err);
}

/* A step of the call, done for each request; the sentence says which one failed. */
static duet_status each(const duet_pair *p, dt_pair_call *calls, size_t n,
                        duet_status (*step)(const duet_pair *, dt_pair_call *, duet_err *), duet_err *err) {
    for (size_t i = 0; i < n; i++) {
        duet_status st = step(p, &calls[i], err);
        if (st) {
            return n > 1 ? dt_fail_in(err, st, "question %zu of %zu", i + 1, n) : st;
        }
    }
    return DUET_OK;
}

static duet_status begin(const duet_pair *p, duet_pair_request *reqs, size_t n, dt_pair_call *calls, dt_turn **turns,
                         duet_err *err) {
    for (size_t i = 0; i < n; i++) {
        duet_status st = check(p, &reqs[i], err);
        if (st) {
            return n > 1 ? dt_fail_in(err, st, "question %zu of %zu", i + 1, n) : st;
        }
        calls[i].r = &reqs[i];
        calls[i].M.stream.matched = calls[i].m.stream.matched = -1;
        turns[i] = &calls[i].M;
        turns[n + i] = &calls[i].m;
    }
    return DUET_OK;
}

duet_status duet_pair_answer(duet_pair *p, duet_pair_request *reqs, size_t n, const volatile int *cancel,
                             duet_err *err) {
    bool stop_all = false;
    dt_pair_call *calls = dt_calloc(n ? n : 1, sizeof *calls);
    dt_turn **turns = dt_calloc(n ? 2 * n : 1, sizeof *turns); /* M's of all calls, then m's */
    duet_status st = calls && turns ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "pair: no memory for %zu questions", n);

    for (size_t i = 0; i < n; i++) {
        duet_pair_request_clear(&reqs[i]);
        reqs[i].signal_cut = reqs[i].answer_cut = false;
        reqs[i].answer_stop = DUET_STOP_CANCELLED; /* until it is known */
        reqs[i].stop_matched = -1;
        reqs[i].ledger = (duet_ledger){.cost = (double)NAN};
    }
    if (st || (st = begin(p, reqs, n, calls, turns, err))) {
        goto done;
    }

    st = each(p, calls, n, dt_stage1_prepare, err);
    if (st) {
        goto done;
    }
    st = dt_turn_run(&p->M, turns, n, &stop_all, cancel, err);
    if (st && st != DUET_E_CANCELLED) {
        goto count;
    }
    duet_status read = each(p, calls, n, dt_stage1_read, err); /* also of what was cut short by the caller */
    if (st || (st = read)) {
        goto count;
    }
    st = each(p, calls, n, dt_handoff, err);
    if (st) {
        goto count;
    }
    st = dt_turn_run(&p->m, turns + n, n, &stop_all, cancel, err);
    if (st && st != DUET_E_CANCELLED) {
        goto count;
    }
    read = each(p, calls, n, dt_stage2_read, err);
    st = st ? st : read;
count:
    for (size_t i = 0; i < n; i++) {
        dt_ledger_fill(p, &calls[i]);
    }
done:
    for (size_t i = 0; calls && i < n; i++) {
        dt_turn_clear(&calls[i].M);
        dt_turn_clear(&calls[i].m);
    }
    free(calls);
    free(turns);
    return st;
}

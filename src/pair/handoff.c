/* The hand-off: what M wrote becomes what m reads. Ids stay ids where the tokenizers are the same; else the signal
 * goes through text, once, here. A signal too long for m's context is cut at a token boundary, the question never. */
#include "pair/call.h"

#include <stdlib.h>

/* The signal in m's tokens: the request's signal_ids and signal_text from here on. */
static duet_status translate(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    duet_pair_request *r = c->r;
    duet_status st = DUET_OK;

    if (r->mode == DUET_MODE_m) {
        return dt_pair_copy(NULL, 0, &r->signal_ids, &r->n_signal_ids, err);
    }
    if (r->signal) { /* given, in m's tokens */
        return dt_pair_copy(r->signal, r->n_signal, &r->signal_ids, &r->n_signal_ids, err);
    }
    if (!p->shares_tokens) { /* plain: a signal that spells a tag is only text */
        duet_ids ids = {0};
        st = duet_tokenizer_encode(p->m.tok, r->signal_text, r->n_signal_text, DUET_ENC_PLAIN, &ids, err);
        if (!st) {
            st = dt_pair_copy(ids.v, ids.n, &r->signal_ids, &r->n_signal_ids, err);
        }
        duet_ids_free(&ids);
    }
    return st;
}

/* The conversation with the signal, as much of it as fits. */
static duet_status frame(const duet_pair *p, dt_pair_call *c, duet_ids *prompt, duet_err *err) {
    duet_pair_request *r = c->r;
    dt_frame_limit limit = {.ctx = duet_backend_ctx(p->m.b), .answer = r->answer_budget};
    size_t from = 0, kept = 0;
    dt_turns turns;

    duet_status st = dt_turns_make(p, r, &turns, err);
    if (!st) {
        st = dt_frame_prompt(&p->m.tmpl, p->m.tok, turns.v, turns.n, r->signal_ids, r->n_signal_ids, p->keep, &limit,
                             prompt, &from, &kept, err);
    }
    dt_turns_clear(&turns);
    if (st) {
        return st;
    }
    r->signal_cut = kept < r->n_signal_ids;
    return r->signal_cut ? dt_pair_copy(r->signal_ids + from, kept, &r->signal_ids, &r->n_signal_ids, err) : DUET_OK;
}

/* Compat: the reference's extraction on M's whole text, a broken last character replaced as there. */
static duet_status frame_raw(const duet_pair *p, dt_pair_call *c, duet_ids *prompt, duet_err *err) {
    duet_pair_request *r = c->r;
    dt_frame_limit limit = {.ctx = duet_backend_ctx(p->m.b), .answer = r->answer_budget};
    bool given = r->signal != NULL;
    duet_text whole = {0};
    duet_ids ids = {0};

    if (r->n_history > 0) {
        return dt_fail(err, DUET_E_USAGE, "the raw hand-off takes one question, not a conversation");
    }
    duet_status st = duet_tokenizer_decode(given ? p->m.tok : p->M.tok, given ? r->signal : c->M.gen.ids,
                                           given ? r->n_signal : c->M.gen.n, true, &whole, err);
    if (st) {
        return st;
    }
    const char *signal = whole.data;
    size_t n = whole.n;
    if (!given) {
        dt_signal_extract_text(whole.data, whole.n, &signal, &n);
    }
    st = dt_frame_raw(p->m.tok, r->question, r->n_question, p->instruction, signal, n, &limit, prompt, &r->signal_cut,
                      err);
    if (!st) {
        st = duet_tokenizer_encode(p->m.tok, signal, n, 0, &ids, err); /* tags in it are tags, as m reads them */
    }
    if (!st) {
        st = dt_pair_copy(ids.v, ids.n, &r->signal_ids, &r->n_signal_ids, err);
    }
    duet_ids_free(&ids);
    duet_text_free(&whole);
    return st;
}

duet_status dt_handoff(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    duet_pair_request *r = c->r;
    if (r->mode == DUET_MODE_M) {
        return DUET_OK;
    }
    c->m.limit = dt_pair_left(r, r->answer_budget, c->M.usage.output_tokens);
    c->m.ask = c->m.limit != 0;
    c->m.sampling = r->m;
    c->m.key = dt_hash64(&r->key, sizeof r->key, 1); /* a stream apart from M's */
    c->m.answers = true;
    if (p->m.words) {
        return dt_words_handoff(p, c, err);
    }
    bool raw = p->handoff_raw && r->mode == DUET_MODE_DUET; /* the reference's baseline uses the template */
    duet_status st = translate(p, c, err);
    if (!st) {
        st = raw ? frame_raw(p, c, &c->m.prompt, err) : frame(p, c, &c->m.prompt, err);
    }
    if (!st) {
        free(r->signal_text);
        r->signal_text = NULL;
        st = dt_pair_text(p->m.tok, r->signal_ids, r->n_signal_ids, false, &r->signal_text, &r->n_signal_text, err);
    }
    return st ? st : dt_stream_init(&c->m.stream, r, &p->m, 1, err);
}

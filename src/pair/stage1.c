/* Stage 1: M writes the signal. The closing tag, counted, is its last token (the opening one M writes itself, or its
 * prompt ends with it; without think tags all that M says until its end is the signal); in
 * mode M the same generation goes on to M's own answer. Tags are read as token ids, here and nowhere else. */
#include "pair/call.h"

#include <limits.h>
#include <stdlib.h>

static int mode_M_limit(const duet_pair_request *r, bool thinks) {
    if (!thinks) {
        return r->answer_budget;
    }
    if (r->signal_budget < 0 || r->answer_budget < 0) {
        return -1;
    }
    return r->signal_budget > INT_MAX - r->answer_budget ? INT_MAX : r->signal_budget + r->answer_budget;
}

duet_status dt_stage1_prepare(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    const duet_pair_request *r = c->r;
    bool whole = r->mode == DUET_MODE_M;
    /* A model without think tags that answers end to end has no signal to show. */
    bool thinks = dt_tmpl_thinks(&p->M.tmpl) && !r->no_thought;
    if (r->mode == DUET_MODE_m || (!whole && r->signal)) {
        return DUET_OK;
    }
    int most = whole ? mode_M_limit(r, !r->no_thought) : r->no_thought ? 0 : r->signal_budget;
    c->M.limit = dt_pair_left(r, most, 0);
    c->M.thinks = thinks;
    c->M.ask = c->M.limit != 0;
    c->M.stop_at_close = !whole && !r->M_to_eos;
    c->M.sampling = r->M;
    c->M.key = r->key;
    c->M.answers = whole;
    c->M.end = whole ? NULL : r->hand_over;
    if (!c->M.ask) {
        return DUET_OK;
    }
    if (p->M.words) {
        return dt_words_stage1(p, c, err);
    }
    dt_turns turns;
    duet_status st = dt_turns_make(p, r, &turns, err);
    if (!st) {
        bool closed = whole && !thinks && dt_tmpl_thinks(&p->M.tmpl);
        st = dt_tmpl_prompt(&p->M.tmpl, p->M.tok, turns.v, turns.n, closed, &c->M.prompt, err);
        st = st || !closed ? st : dt_tmpl_think(&p->M.tmpl, p->M.tok, NULL, 0, &c->M.prompt, err);
    }
    dt_turns_clear(&turns);
    return st ? st : dt_stream_init(&c->M.stream, r, &p->M, whole && !thinks, err);
}

static bool has_close(const dt_side *side, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (dt_tmpl_thinks(&side->tmpl) && ids[i] == side->tmpl.think_close) {
            return true;
        }
    }
    return false;
}

static duet_signal_status public_status(dt_signal_status s) {
    switch (s) {
    case DT_SIGNAL_CLOSED:
        return DUET_SIGNAL_CLOSED;
    case DT_SIGNAL_TRUNCATED:
        return DUET_SIGNAL_TRUNCATED;
    case DT_SIGNAL_UNTAGGED:
        return DUET_SIGNAL_UNTAGGED;
    case DT_SIGNAL_EMPTY:
        break;
    }
    return DUET_SIGNAL_EMPTY;
}

static duet_status take_signal(const duet_pair *p, dt_pair_call *c, const int32_t *ids, size_t n, duet_err *err) {
    duet_pair_request *r = c->r;
    duet_status st = dt_pair_copy(ids, n, &r->signal_ids, &r->n_signal_ids, err);
    size_t kept = 0, len = 0;
    for (size_t i = 0; !st && i < n; i++) { /* models pad their vocabularies, each its own way: such ids are nothing to hand over */
        if (duet_tokenizer_bytes(p->M.tok, ids[i], &len)) {
            r->signal_ids[kept++] = ids[i];
        }
    }
    r->n_signal_ids = st ? r->n_signal_ids : kept;
    return st ? st : dt_pair_text(p->M.tok, ids, n, false, &r->signal_text, &r->n_signal_text, err);
}

/* Mode M: thought and answer are one generation. */
static duet_status split(const duet_pair *p, dt_pair_call *c, dt_signal_span s, duet_err *err) {
    const dt_turn *t = &c->M;
    size_t n = dt_turn_spoken(t), from = dt_frame_answer(&p->M.tmpl, t->gen.ids, n, s);
    if (c->r->no_thought) {
        s = (dt_signal_span){.status = DT_SIGNAL_EMPTY};
        c->r->signal_status = DUET_SIGNAL_EMPTY;
        from = 0;
    }
    if (s.status == DT_SIGNAL_UNTAGGED) { /* it answered without a thought */
        s.end = s.begin;
    }
    duet_status st = take_signal(p, c, t->gen.ids + s.begin, s.end - s.begin, err);
    if (st) {
        return st;
    }
    return dt_stage2_answer(&p->M, c, t, from, err);
}

duet_status dt_stage1_read(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    duet_pair_request *r = c->r;
    const dt_turn *t = &c->M;

    r->handoff = DUET_HANDOFF_NONE;
    r->signal_status = DUET_SIGNAL_EMPTY;
    if (r->mode == DUET_MODE_m) {
        return DUET_OK;
    }
    if (r->mode == DUET_MODE_DUET && r->signal) {
        r->signal_status = r->n_signal > 0 ? DUET_SIGNAL_CLOSED : DUET_SIGNAL_EMPTY;
        return DUET_OK;
    }
    if (p->M.words) {
        return dt_words_read_signal(p, c, err);
    }
    size_t n = dt_turn_spoken(t);
    dt_signal_span s = {.status = DT_SIGNAL_EMPTY};
    if (n > 0) {
        s = dt_tmpl_signal(&p->M.tmpl, p->M.tok, t->gen.ids, n);
    }
    r->signal_status = public_status(s.status);
    if (r->mode == DUET_MODE_M) {
        return split(p, c, s, err);
    }
    if (has_close(&p->M, t->gen.ids, n)) {
        r->handoff = s.status == DT_SIGNAL_EMPTY ? DUET_HANDOFF_EMPTY : DUET_HANDOFF_END;
    } else if (t->ask && t->gen.stop == DUET_STOP_CALLBACK) {
        r->handoff = DUET_HANDOFF_REQUEST;
    } else {
        r->handoff = t->ask && t->gen.stop == DUET_STOP_EOS ? DUET_HANDOFF_EOS : DUET_HANDOFF_BUDGET;
    }
    return take_signal(p, c, n ? t->gen.ids + s.begin : NULL, s.end - s.begin, err);
}
